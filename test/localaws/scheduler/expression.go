package scheduler

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Expression is a parsed schedule expression: rate(…), cron(…) or at(…).
type Expression struct {
	period time.Duration // rate
	cron   *cron
	at     time.Time // at
	zone   *time.Location
}

// units of rate expressions, which are written in the singular or plural.
var units = map[string]time.Duration{
	"minute": time.Minute, "minutes": time.Minute, "hour": time.Hour, "hours": time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
}

// Parse reads a schedule expression; the time zone, an IANA name, counts for
// cron and at and is UTC when empty.
func Parse(expression, timezone string) (*Expression, error) {
	zone, err := time.LoadLocation(timezone) // "" is UTC
	if err != nil {
		return nil, fmt.Errorf("invalid schedule expression time zone %q", timezone)
	}
	kind, rest, ok := strings.Cut(expression, "(")
	body, closed := strings.CutSuffix(rest, ")")
	if !ok || !closed {
		return nil, fmt.Errorf("invalid schedule expression %q: it has to be rate(…), cron(…) or at(…)", expression)
	}
	e := &Expression{zone: zone}
	switch kind {
	case "rate":
		e.period, err = parseRate(body)
	case "cron":
		e.cron, err = parseCron(body)
	case "at":
		e.at, err = time.ParseInLocation("2006-01-02T15:04:05", body, zone)
	default:
		err = fmt.Errorf("it has to be rate(…), cron(…) or at(…)")
	}
	if err != nil {
		return nil, fmt.Errorf("invalid schedule expression %q: %w", expression, err)
	}
	return e, nil
}

func parseRate(body string) (time.Duration, error) {
	fields := strings.Fields(body)
	if len(fields) != 2 {
		return 0, fmt.Errorf("a rate is a value and a unit")
	}
	value, err := strconv.Atoi(fields[0])
	if err != nil || value < 1 {
		return 0, fmt.Errorf("%q is not a positive number", fields[0])
	}
	unit, ok := units[fields[1]]
	if !ok {
		return 0, fmt.Errorf("%q is not minutes, hours or days", fields[1])
	}
	return time.Duration(value) * unit, nil
}

// first is when a schedule that is created now invokes its target for the first
// time: a rate without a start date at once.
func (e *Expression) first(now, start time.Time) time.Time {
	switch {
	case e.cron != nil:
		if start.After(now) {
			now = start.Add(-time.Nanosecond) // the start itself counts
		}
		return e.cron.next(now.In(e.zone))
	case e.period > 0 && start.IsZero():
		return now
	case e.period > 0:
		if !start.Before(now) {
			return start
		}
		missed := (now.Sub(start) + e.period - 1) / e.period
		return start.Add(missed * e.period)
	case e.at.After(now):
		return e.at
	}
	return time.Time{}
}

// Next is the first time after the given one, which for a rate has to be a time
// at which the schedule fired; zero if there is none.
func (e *Expression) Next(after time.Time) time.Time {
	switch {
	case e.cron != nil:
		return e.cron.next(after.In(e.zone))
	case e.period > 0:
		return after.Add(e.period)
	case e.at.After(after):
		return e.at
	}
	return time.Time{}
}
