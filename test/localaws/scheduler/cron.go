package scheduler

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cron is AWS's cron expression: minutes, hours, day of month, month, day of
// week, year. Exactly one of the two day fields is ?.
type cron struct {
	minutes, hours, months, years set
	days                          dayOfMonth
	weekdays                      dayOfWeek
}

// set holds the values that a field allows.
type set map[int]bool

// dayOfMonth is the third field.
type dayOfMonth struct {
	any         bool // ?
	days        set
	last        bool  // L
	lastWeekday bool  // LW
	nearest     []int // nW: the weekday nearest to the nth
}

// dayOfWeek is the fifth field; 1 is Sunday.
type dayOfWeek struct {
	any  bool // ?
	days set
	last []int    // nL: the last such day of the month
	nth  [][2]int // d#n: the nth such day of the month
}

var monthNames = []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
var dayNames = []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}

// lastYear is the last one that AWS accepts.
const lastYear = 2199

func parseCron(fields string) (*cron, error) {
	f := strings.Fields(strings.ToUpper(fields))
	if len(f) != 6 {
		return nil, fmt.Errorf("a cron expression has 6 fields, not %d", len(f))
	}
	c := &cron{}
	var err error
	if c.minutes, err = parseField(f[0], 0, 59, nil); err != nil {
		return nil, fmt.Errorf("minutes: %w", err)
	}
	if c.hours, err = parseField(f[1], 0, 23, nil); err != nil {
		return nil, fmt.Errorf("hours: %w", err)
	}
	if c.days, err = parseDayOfMonth(f[2]); err != nil {
		return nil, fmt.Errorf("day of month: %w", err)
	}
	if c.months, err = parseField(f[3], 1, 12, monthNames); err != nil {
		return nil, fmt.Errorf("month: %w", err)
	}
	if c.weekdays, err = parseDayOfWeek(f[4]); err != nil {
		return nil, fmt.Errorf("day of week: %w", err)
	}
	if c.years, err = parseField(f[5], 1970, lastYear, nil); err != nil {
		return nil, fmt.Errorf("year: %w", err)
	}
	if c.days.any == c.weekdays.any {
		return nil, fmt.Errorf("exactly one of day of month and day of week has to be ?")
	}
	return c, nil
}

// parseField reads values, names, ranges, steps and lists of them. A range whose
// end is before its start goes around, as in FRI-MON.
func parseField(field string, low, high int, names []string) (set, error) {
	s := set{}
	for _, part := range strings.Split(field, ",") {
		span, stepText, stepped := strings.Cut(part, "/")
		step := 1
		if stepped {
			var err error
			if step, err = strconv.Atoi(stepText); err != nil || step < 1 {
				return nil, fmt.Errorf("%q is not a step", stepText)
			}
		}
		from, to := low, high
		if span != "*" {
			first, second, ranged := strings.Cut(span, "-")
			var err error
			if from, err = parseValue(first, low, high, names); err != nil {
				return nil, err
			}
			switch {
			case ranged:
				if to, err = parseValue(second, low, high, names); err != nil {
					return nil, err
				}
			case !stepped:
				to = from
			}
		}
		if to < from {
			to += high - low + 1
		}
		for v := from; v <= to; v += step {
			s[low+(v-low)%(high-low+1)] = true
		}
	}
	return s, nil
}

func parseValue(text string, low, high int, names []string) (int, error) {
	if i := slices.Index(names, text); i >= 0 {
		return low + i, nil
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < low || v > high {
		return 0, fmt.Errorf("%q is not between %d and %d", text, low, high)
	}
	return v, nil
}

func parseDayOfMonth(field string) (dayOfMonth, error) {
	d := dayOfMonth{days: set{}}
	if field == "?" {
		d.any = true
		return d, nil
	}
	for _, part := range strings.Split(field, ",") {
		switch {
		case part == "L":
			d.last = true
		case part == "LW":
			d.lastWeekday = true
		case strings.HasSuffix(part, "W"):
			n, err := parseValue(strings.TrimSuffix(part, "W"), 1, 31, nil)
			if err != nil {
				return d, err
			}
			d.nearest = append(d.nearest, n)
		default:
			s, err := parseField(part, 1, 31, nil)
			if err != nil {
				return d, err
			}
			for v := range s {
				d.days[v] = true
			}
		}
	}
	return d, nil
}

func parseDayOfWeek(field string) (dayOfWeek, error) {
	d := dayOfWeek{days: set{}}
	if field == "?" {
		d.any = true
		return d, nil
	}
	for _, part := range strings.Split(field, ",") {
		day, n, numbered := strings.Cut(part, "#")
		switch {
		case numbered:
			weekday, err := parseValue(day, 1, 7, dayNames)
			if err != nil {
				return d, err
			}
			nth, err := parseValue(n, 1, 5, nil)
			if err != nil {
				return d, err
			}
			d.nth = append(d.nth, [2]int{weekday, nth})
		case part == "L":
			d.days[7] = true
		case strings.HasSuffix(part, "L"):
			weekday, err := parseValue(strings.TrimSuffix(part, "L"), 1, 7, dayNames)
			if err != nil {
				return d, err
			}
			d.last = append(d.last, weekday)
		default:
			s, err := parseField(part, 1, 7, dayNames)
			if err != nil {
				return d, err
			}
			for v := range s {
				d.days[v] = true
			}
		}
	}
	return d, nil
}

// next is the first time after the given one, in its location; zero if there is
// none. A local time that the change to summer time skips does not happen, one
// that the change back repeats happens once.
func (c *cron) next(after time.Time) time.Time {
	location := after.Location()
	year, month, day := after.Date()
	for year <= lastYear {
		if !c.years[year] {
			year, month, day = year+1, time.January, 1
			continue
		}
		if !c.months[int(month)] {
			year, month, day = nextMonth(year, month)
			continue
		}
		if day > daysIn(year, month) {
			year, month, day = nextMonth(year, month)
			continue
		}
		if c.onDay(year, month, day) {
			if t, found := c.onClock(after, year, month, day, location); found {
				return t
			}
		}
		day++
	}
	return time.Time{}
}

func nextMonth(year int, month time.Month) (int, time.Month, int) {
	if month == time.December {
		return year + 1, time.January, 1
	}
	return year, month + 1, 1
}

// daysIn is the number of days of a month.
func daysIn(year int, month time.Month) int {
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func (c *cron) onClock(after time.Time, year int, month time.Month, day int, location *time.Location) (time.Time, bool) {
	for hour := range 24 {
		if !c.hours[hour] {
			continue
		}
		for minute := range 60 {
			if !c.minutes[minute] {
				continue
			}
			t := time.Date(year, month, day, hour, minute, 0, 0, location)
			if earlier := t.Add(-time.Hour); earlier.Hour() == hour {
				t = earlier // summer time ends: the first of the two
			}
			if t.After(after) && t.Hour() == hour && t.Minute() == minute {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

func (c *cron) onDay(year int, month time.Month, day int) bool {
	if c.weekdays.any {
		return c.days.matches(year, month, day)
	}
	return c.weekdays.matches(year, month, day)
}

func (d dayOfMonth) matches(year int, month time.Month, day int) bool {
	last := daysIn(year, month)
	if d.days[day] || d.last && day == last || d.lastWeekday && day == nearestWeekday(year, month, last) {
		return true
	}
	for _, n := range d.nearest {
		if n <= last && day == nearestWeekday(year, month, n) {
			return true
		}
	}
	return false
}

// nearestWeekday is the Monday to Friday nearest to a day within its month.
func nearestWeekday(year int, month time.Month, day int) int {
	switch weekday(year, month, day) {
	case 7: // Saturday
		if day == 1 {
			return 3
		}
		return day - 1
	case 1: // Sunday
		if day == daysIn(year, month) {
			return day - 2
		}
		return day + 1
	}
	return day
}

// weekday is 1 for Sunday to 7 for Saturday.
func weekday(year int, month time.Month, day int) int {
	return int(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Weekday()) + 1
}

func (d dayOfWeek) matches(year int, month time.Month, day int) bool {
	today := weekday(year, month, day)
	if d.days[today] {
		return true
	}
	if slices.Contains(d.last, today) && day+7 > daysIn(year, month) {
		return true
	}
	return slices.Contains(d.nth, [2]int{today, (day-1)/7 + 1})
}
