package sim

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/export"
	"cognito-backup/test/localaws/cognito"
)

// calls are the times at which calls reached Cognito, by operation.
type calls struct {
	mu        sync.Mutex
	all       map[string][]time.Time
	throttled map[string][]time.Time // those turned away
}

func (c *calls) add(operation string, throttled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all, c.throttled = map[string][]time.Time{}, map[string][]time.Time{}
	}
	now := time.Now() // of the bubble
	c.all[operation] = append(c.all[operation], now)
	if throttled {
		c.throttled[operation] = append(c.throttled[operation], now)
	}
}

// of is the times of calls of any of the operations, in order.
func (c *calls) of(operations ...string) []time.Time {
	var all []time.Time
	for _, operation := range operations {
		all = append(all, c.all[operation]...)
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// after counts the times that are later.
func after(times []time.Time, t time.Time) int {
	n := 0
	for _, at := range times {
		if at.After(t) {
			n++
		}
	}
	return n
}

// busiest is the most calls in any second, wherever that second begins.
func busiest(at []time.Time) int {
	most, from := 0, 0
	for i := range at {
		for at[i].Sub(at[from]) >= time.Second {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

func perSecond(at []time.Time) float64 {
	return float64(len(at)-1) / at[len(at)-1].Sub(at[0]).Seconds()
}

// TestListRate: the rate of listing is CognitoTPS and no more, whatever the
// latency of a call, up to what one cursor allows.
func TestListRate(t *testing.T) {
	var seen calls
	c := Case{Shape: Shape{Users: 20_000}, TPS: 10, Latency: Typical(), ExportOnly: true, OnCall: seen.add}
	simulate(t, c)
	at := seen.of("ListUsers", "ListUsersInGroup")
	t.Logf("%.2f calls a second on average, %d in the busiest second", perSecond(at), busiest(at))
	if busiest(at) > 10 {
		t.Errorf("%d list calls in one second", busiest(at))
	}
	if perSecond(at) < 9.5 {
		t.Errorf("%.2f list calls a second", perSecond(at))
	}
}

// TestYieldsToTheQuota: where CognitoTPS is more than Cognito allows, because
// the application uses the quota too, the export takes what there is.
func TestYieldsToTheQuota(t *testing.T) {
	var seen calls
	c := Case{Shape: Shape{Users: 20_000}, TPS: 10, Latency: Typical(), ExportOnly: true, OnCall: seen.add,
		Quotas: map[string]float64{"UserList": 5}}
	o := simulate(t, c)
	at := seen.of("ListUsers")
	successful := float64(o.Calls["ListUsers"]) / at[len(at)-1].Sub(at[0]).Seconds()
	// Settled after half a minute: what came before is the way down from 10.
	settled := at[0].Add(30 * time.Second)
	throttled := float64(after(seen.throttled["ListUsers"], settled)) / float64(after(at, settled))
	t.Logf("%d users listed, %.2f successful calls a second, %.1f %% throttled once settled, %d reported",
		o.Export.Run.Counts[export.CountListed], successful, 100*throttled, o.Export.Run.Counts[export.CountThrottled])
	if got := o.Export.Run.Counts[export.CountListed]; got != 20_000 {
		t.Errorf("%d users listed", got)
	}
	if successful < 4 {
		t.Errorf("%.2f successful calls a second", successful)
	}
	if throttled > 0.1 {
		t.Errorf("%.1f %% of the calls were throttled", 100*throttled)
	}
	if got := o.Export.Run.Counts[export.CountThrottled]; got == 0 || got != int64(o.Throttled) {
		t.Errorf("%d throttled calls reported of %d", got, o.Throttled)
	}
}

// TestMembershipRate: memberships are added at the quota.
func TestMembershipRate(t *testing.T) {
	var seen calls
	c := Case{Shape: Shape{Users: 1000, GroupsEach: 4}, TPS: 25, CSVRate: 35, Latency: Typical(), OnCall: seen.add}
	o := simulate(t, c)
	at := seen.of("AdminAddUserToGroup")
	t.Logf("%.2f memberships a second, %d throttled calls", perSecond(at), o.Throttled)
	if perSecond(at) < 23.75 {
		t.Errorf("%.2f memberships a second", perSecond(at))
	}
	if o.Throttled > 0 {
		t.Errorf("%d calls were throttled", o.Throttled)
	}
}

// TestThrottledFails: a simulation whose calls are turned away although its
// CognitoTPS is within the quotas has no outcome.
func TestThrottledFails(t *testing.T) {
	d := definitions(t)
	synctest.Test(t, func(t *testing.T) {
		cloud := NewCloud(Typical())
		defer cloud.Close()
		cloud.Cognito.Settings().Update(func(v *cognito.Values) { v.Quotas["UserList"] = 5 }) // as if the limiter let too many through
		_, err := Case{Shape: Shape{Users: 3000}, TPS: 10, Latency: Typical(), ExportOnly: true}.run(cloud, d)
		if err == nil || !strings.Contains(err.Error(), "calls were throttled") {
			t.Errorf("got %v", err)
		}
	})
}

// TestQuotaMaximum: at the CognitoTPS at which every quota is used up no call
// is turned away; Run fails otherwise. What an application's own calls are
// refused is not counted.
func TestQuotaMaximum(t *testing.T) {
	simulate(t, Case{Shape: Shape{Users: 4000, GroupsEach: 1}, TPS: 50, Shards: 16, CSVRate: 35, Latency: Typical()})
	o := simulate(t, Case{Shape: Shape{Users: 6000, GroupsEach: 1}, TPS: 10, Latency: Typical(), ExportOnly: true, Repeat: true})
	if o.Changed.Usage.Written[backup.KindUser] != 120 {
		t.Errorf("%v records written for 60 changed users", o.Changed.Usage.Written)
	}
}
