package export

import (
	"fmt"
	"math"
	"time"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

const (
	// spare is the part of the history that is left for retries and for a pool
	// that grows while it is exported.
	spare = 0.2
	// recordsPerSecond is how many records clean-up is taken to read per second, an
	// assumption on the safe side: eight segments with a page of 1 MB each.
	recordsPerSecond = 10_000
)

// Plan is what an export of a pool takes.
type Plan struct {
	Users, Groups, Memberships int64
	TPS                        int
	Slice                      time.Duration

	Calls    int64 // of the UserList category
	Duration time.Duration
	Slices   int64
	Events   int64
}

// NewPlan computes what an export of so many users, groups and memberships
// takes at a rate of tps calls per second in slices of the given length.
func NewPlan(users, groups, memberships int64, tps int, slice time.Duration) Plan {
	p := Plan{Users: users, Groups: groups, Memberships: memberships, TPS: tps, Slice: slice}
	p.Calls = pages(users) + pages(memberships) + groups
	listing := min(float64(tps), pool.DefaultQuota(pool.UserList)) // it cannot be raised
	records := users + groups + memberships
	for _, seconds := range []float64{
		float64(pages(users)) / listing,
		float64(pages(memberships)+groups) / listing,
		float64(pages(groups)) / float64(min(tps, 5)), // ListGroups: 5 per second and pool
		float64(records*(records/partSize+1)) / recordsPerSecond,
	} {
		p.Duration += time.Duration(seconds * float64(time.Second))
		p.Slices += int64(math.Ceil(seconds/slice.Seconds())) + 1
	}
	p.Events = p.Slices*step.EventsPerSlice + 30 // the steps without slices, and the start and end
	return p
}

func pages(records int64) int64 { return (records + pool.PageSize - 1) / pool.PageSize }

func (p Plan) fits() bool {
	return float64(p.Events) <= step.MaxEvents*(1-spare) && p.Duration.Seconds() <= step.MaxExecution.Seconds()*(1-spare)
}

// Check returns a *TooLargeError, with the rate that would fit if one does,
// when the plan is too large for one execution of a state machine.
func (p Plan) Check() error {
	if p.fits() {
		return nil
	}
	e := &TooLargeError{Plan: p}
	for tps := p.TPS + 1; tps <= int(pool.DefaultQuota(pool.UserList)); tps++ {
		if NewPlan(p.Users, p.Groups, p.Memberships, tps, p.Slice).fits() {
			e.Fits = tps
			break
		}
	}
	return e
}

// TooLargeError says that an export does not fit one execution.
type TooLargeError struct {
	Plan Plan
	Fits int // CognitoTPS that would fit, 0 if none does
}

func (e *TooLargeError) Error() string {
	advice := fmt.Sprintf("deploy with cognitoTps %d or more", e.Fits)
	if e.Fits == 0 {
		advice = "no cognitoTps within Cognito's quota of list calls would do; fewer groups per user would"
	}
	return fmt.Sprintf("at cognitoTps %d the export of %d users and %d memberships would take about %.0f days and %d history events, more than one execution of a state machine may have (365 days, %d events): %s",
		e.Plan.TPS, e.Plan.Users, e.Plan.Memberships, e.Plan.Duration.Hours()/24, e.Plan.Events, step.MaxEvents, advice)
}
