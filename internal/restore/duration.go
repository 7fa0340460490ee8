package restore

import (
	"fmt"
	"time"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

const (
	// csvRate is about how many users a CSV import job creates per second; the
	// benchmark table of the retired AWS solution implies it, Cognito documents none.
	csvRate = 35
	// groupRate is how many groups a second can be created in one pool (quota).
	groupRate = 5
	// eventsPerWait is how many history events entering and leaving a wait are.
	eventsPerWait = 2
	// reservedEvents of an execution's history are for retries.
	reservedEvents = 2_500
)

// Estimate is how long the parts of an import take at the quotas in force.
type Estimate struct{ Users, Memberships, Verify time.Duration }

// Total is how long the import takes: users and memberships are restored side
// by side.
func (e Estimate) Total() time.Duration { return max(e.Users, e.Memberships) + e.Verify }

// estimate computes the time for users and memberships at tps calls a second.
// api is the number of users created by API, the others come by CSV.
func estimate(users, api, groups, memberships int64, tps int) Estimate {
	rate := func(c pool.Category) float64 { return min(float64(tps), pool.DefaultQuota(c)) }
	seconds := func(n int64, perSecond float64) time.Duration {
		return time.Duration(float64(n) / perSecond * float64(time.Second)).Round(time.Second)
	}
	pages := (users + memberships) / pool.PageSize
	return Estimate{
		Users:       max(seconds(users-api, csvRate), seconds(api, min(rate(pool.UserCreation), rate(pool.UserAccountRecovery)))),
		Memberships: max(seconds(memberships, rate(pool.UserUpdate)), seconds(groups, min(float64(tps), groupRate))),
		Verify:      seconds(pages, rate(pool.UserList)),
	}
}

// duration refuses a plan that no execution can carry out, and says how long
// the others take.
func (c *checker) duration() {
	if len(c.plan.Points) == 0 {
		return
	}
	p := c.plan.Points[0]
	c.beforehand("Cognito bills as active this month everybody who is created by API and everybody who is added to a group, at most %s; a dry run counts them.",
		plural(int(p.Users), "user", "users"))
	if c.plan.Input.Mode == MissingOnly {
		c.beforehand("Comparing the target with the restore point takes about %s at CognitoTPS %d.",
			roughly(estimate(p.Users, 0, 0, p.Memberships, c.TPS).Verify), c.TPS)
		return
	}
	var api int64
	if c.plan.Header == nil {
		api = p.Users
	}
	e := estimate(p.Users, api, p.Groups, p.Memberships, c.TPS)
	if !c.fits(e) {
		need := c.TPS
		for need < 1<<20 && !c.fits(estimate(p.Users, api, p.Groups, p.Memberships, need)) && estimate(p.Users, api, p.Groups, p.Memberships, need+1) != estimate(p.Users, api, p.Groups, p.Memberships, need) {
			need++
		}
		advice := fmt.Sprintf("deploy with cognitoTps %d", need)
		if !c.fits(estimate(p.Users, api, p.Groups, p.Memberships, need)) {
			advice = "no cognitoTps within the quotas would do; restore in parts with \"Mode\": \"MISSING_ONLY\" and Users"
		}
		c.stop("restoring %d users and %d memberships at CognitoTPS %d takes about %s, longer than one execution can last; %s",
			p.Users, p.Memberships, c.TPS, roughly(e.Total()), advice)
		return
	}
	c.beforehand("Restoring %d users and %d memberships takes about %s at CognitoTPS %d.", p.Users, p.Memberships, roughly(e.Total()), c.TPS)
}

// fits says that an execution can last that long.
func (c *checker) fits(e Estimate) bool {
	slice := time.Duration(max(1, c.SliceSeconds)) * time.Second
	slices := int(e.Users/slice + e.Memberships/slice + e.Verify/slice)
	waiting := 100               // for import jobs, among others
	if e.Users > e.Memberships { // UpdateUsers waits for users
		waiting += waits(e.Users)
	}
	events := (slices+waiting)*step.EventsPerSlice + waiting*eventsPerWait
	return events < step.MaxEvents-reservedEvents && e.Total() < step.MaxExecution
}

// waits is how often UpdateUsers waits at most in the time that creating the
// users takes, by updater.patience.
func waits(users time.Duration) int {
	n := 0
	for run := time.Duration(0); run < users; n++ {
		run += idleFor(run)
	}
	return n
}

// roughly writes a duration with its two largest units.
func roughly(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days %d hours", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
