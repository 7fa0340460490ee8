package stacks

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Schedule says when exports start.
type Schedule struct {
	// Expression is in the syntax of EventBridge Scheduler.
	Expression string
	// LongestGap is the longest time between two starts; 0 if the expression
	// does not tell simply. The alarm on a missing restore point follows from it.
	LongestGap time.Duration
}

const (
	day              = 24 * time.Hour
	scheduleAccepted = "EVERY_DAY, EVERY_7_DAYS, EVERY_30_DAYS, rate(<number> <minutes|hours|days>) or cron(<minutes> <hours> <day of month> <month> <day of week> <year>) with ? for one of the two days"
)

// frequencies are the values that the retired solution knew.
var frequencies = map[string]Schedule{
	"EVERY_DAY":     {"rate(1 day)", day},
	"EVERY_7_DAYS":  {"rate(7 days)", 7 * day},
	"EVERY_30_DAYS": {"rate(30 days)", 30 * day},
}

var (
	ratePattern = regexp.MustCompile(`^rate\(([0-9]{1,9}) (minute|hour|day)(s?)\)$`)
	cronPattern = regexp.MustCompile(`^cron\((.*)\)$`)
)

// ParseSchedule reads a frequency of the retired solution, a rate expression
// or a cron expression.
func ParseSchedule(text string) (Schedule, error) {
	if s, ok := frequencies[text]; ok {
		return s, nil
	}
	if m := ratePattern.FindStringSubmatch(text); m != nil {
		return parseRate(text, m[1], m[2])
	}
	if m := cronPattern.FindStringSubmatch(text); m != nil {
		return parseCron(text, strings.Fields(m[1]))
	}
	return Schedule{}, fmt.Errorf("schedule %q: neither a frequency nor a rate nor a cron expression", text)
}

func parseRate(text, number, unit string) (Schedule, error) {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 {
		return Schedule{}, fmt.Errorf("schedule %q: the rate is not a positive number", text)
	}
	gap := map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": day}[unit]
	if n > int(10*365*day/gap) {
		return Schedule{}, fmt.Errorf("schedule %q: more than ten years", text)
	}
	return Schedule{text, time.Duration(n) * gap}, nil
}

// A cronField is one of the six fields of a cron expression of EventBridge.
type cronField struct {
	low, high int
	names     []string       // for low, low+1, …
	extra     *regexp.Regexp // forms beyond numbers, ranges, lists and steps
}

var (
	months   = []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
	weekdays = []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}

	cronFields = []cronField{
		{0, 59, nil, nil},
		{0, 23, nil, nil},
		{1, 31, nil, regexp.MustCompile(`^(\?|L|LW|([1-9]|[12][0-9]|3[01])W)$`)},
		{1, 12, months, nil},
		{1, 7, weekdays, regexp.MustCompile(`^(\?|L|[1-7]L|([1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)#[1-5])$`)},
		{1970, 2199, nil, nil},
	}
)

func parseCron(text string, fields []string) (Schedule, error) {
	if len(fields) != len(cronFields) {
		return Schedule{}, fmt.Errorf("schedule %q: %d fields, cron has six", text, len(fields))
	}
	for i, field := range fields {
		if f := cronFields[i]; f.extra != nil && f.extra.MatchString(field) {
			continue
		}
		if _, err := cronFields[i].values(field); err != nil {
			return Schedule{}, fmt.Errorf("schedule %q: %w", text, err)
		}
	}
	// Of the two day fields one must be open, and EventBridge wants it as "?".
	if (fields[2] == "?") == (fields[4] == "?") {
		return Schedule{}, fmt.Errorf("schedule %q: exactly one of day of month and day of week is ?", text)
	}
	return Schedule{text, longestCronGap(fields)}, nil
}

// values is the numbers that a field of numbers, names, ranges, lists and
// steps stands for.
func (f cronField) values(field string) ([]int, error) {
	var all []int
	for part := range strings.SplitSeq(field, ",") {
		span, stepText, stepped := strings.Cut(part, "/")
		low, high := f.low, f.high
		if span != "*" {
			first, last, ranged := strings.Cut(span, "-")
			a, ok := f.number(first)
			b, ok2 := a, true
			if ranged {
				b, ok2 = f.number(last)
			} else if stepped {
				b = f.high
			}
			if !ok || !ok2 || b < a {
				return nil, fmt.Errorf("cron field %q", field)
			}
			low, high = a, b
		}
		step := 1
		if stepped {
			n, err := strconv.Atoi(stepText)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("cron field %q", field)
			}
			step = n
		}
		for v := low; v <= high; v += step {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func (f cronField) number(text string) (int, bool) {
	if i := slices.Index(f.names, strings.ToUpper(text)); i >= 0 {
		return f.low + i, true
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= f.low && n <= f.high
}

// longestCronGap is known for expressions that run on the same weekdays, or
// every day, all year round. Within a day only the first start counts, which
// makes the gap at most a day too long.
func longestCronGap(fields []string) time.Duration {
	if fields[3] != "*" || fields[5] != "*" {
		return 0
	}
	if fields[2] == "*" || fields[4] == "*" {
		return day
	}
	if fields[2] != "?" {
		return 0
	}
	days, err := cronFields[4].values(fields[4])
	if err != nil {
		return 0
	}
	longest := 7 - days[len(days)-1] + days[0] // over the weekend of the week's turn
	for i := 1; i < len(days); i++ {
		longest = max(longest, days[i]-days[i-1])
	}
	return time.Duration(longest) * day
}
