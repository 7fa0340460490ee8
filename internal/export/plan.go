package export

import (
	"fmt"
	"math"
	"time"

	"cognito-backup/internal/pool"
)

// Limits of one execution of a state machine.
// Source: Step Functions developer guide, "Service quotas".
const (
	maxEvents   = 25_000
	maxDuration = 365 * 24 * time.Hour
	// eventsPerSlice are entering and leaving the task and its choice, and the
	// task's scheduled, started and succeeded.
	eventsPerSlice = 7
	// spare is the part of the history that is left for retries and for a pool
	// that grows while it is exported.
	spare = 0.2
	// recordsPerSecond is how many records clean-up reads per second at least.
	recordsPerSecond = 5_000
)

// Plan is what an export of a pool takes.
type Plan struct {
	Calls    int64 // of the UserList category
	Duration time.Duration
	Slices   int64
	Events   int64
}

// NewPlan computes what an export of so many users, groups and memberships
// takes at a rate of tps calls per second in slices of the given length.
func NewPlan(users, groups, memberships int64, tps int, slice time.Duration) Plan {
	p := Plan{Calls: pages(users) + pages(memberships) + groups}
	phases := []float64{
		float64(pages(users)) / float64(tps),
		float64(pages(memberships)+groups) / float64(tps),
		float64(pages(groups)) / float64(min(tps, 5)), // ListGroups: 5 per second and pool
		float64(users+groups+memberships) / recordsPerSecond,
	}
	for _, seconds := range phases {
		p.Duration += time.Duration(seconds * float64(time.Second))
		p.Slices += int64(math.Ceil(seconds/slice.Seconds())) + 1
	}
	p.Events = p.Slices*eventsPerSlice + 30 // the steps without slices, and the start and end
	return p
}

func pages(records int64) int64 { return (records + pool.PageSize - 1) / pool.PageSize }

// Fits returns an error with the rate that would fit when the plan is too
// large for one execution of a state machine.
func (p Plan) Fits(tps int, slice time.Duration) error {
	events := float64(p.Events) / (maxEvents * (1 - spare))
	duration := p.Duration.Seconds() / (maxDuration.Seconds() * (1 - spare))
	if over := max(events, duration); over > 1 {
		return &TooLargeError{Plan: p, TPS: tps, Fits: int(math.Ceil(float64(tps) * over))}
	}
	return nil
}

// TooLargeError says that an export does not fit one execution.
type TooLargeError struct {
	Plan Plan
	TPS  int
	Fits int // CognitoTPS that would fit
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("at cognitoTps %d this export would take %.0f days and %d history events, more than one execution of a state machine may have (365 days, %d events): deploy with cognitoTps %d or more",
		e.TPS, e.Plan.Duration.Hours()/24, e.Plan.Events, maxEvents, e.Fits)
}
