package e2e

import (
	"slices"
	"testing"
	"time"

	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"
)

// TestMembershipRate adds memberships at the rate of the quota though every
// call takes 100 ms: AdminAddUserToGroup decides how long a restore takes.
func TestMembershipRate(t *testing.T) {
	const tps, least = "25", 23.75
	source := seed.Pool(seed.Options{Users: 240, Groups: 4, Seed: 29})
	for i, g := range source.Groups { // everybody local in two groups or more
		var members []string
		for j, u := range source.Users {
			if u.UserStatus != seed.External && (j%4 == i || j%4 == (i+1)%4) {
				members = append(members, u.Username)
			}
		}
		source.Members[g.GroupName] = members
	}
	b := exported(t, source, environment("COGNITO_TPS", tps))
	b.Cognito(b.there).Settings().Update(func(v *cognito.Values) {
		clear(v.Quotas)
		v.PoolOperationQuota, v.UserQuota = 5, 10
	})
	b.Faults().Latency("cognito-idp", 100*time.Millisecond, 0)
	b.proved(b.restore(b.target(), nil))
	var at []time.Time
	throttled := 0
	for _, r := range b.Requests() {
		// Flags and links draw on the same quota.
		if slices.Contains([]string{"AdminAddUserToGroup", "AdminDisableUser", "AdminLinkProviderForUser"}, r.Operation) && r.Region == b.there {
			at = append(at, r.At)
			if r.Status != 200 {
				throttled++
			}
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	rate := float64(len(at)-1) / at[len(at)-1].Sub(at[0]).Seconds()
	t.Logf("%d memberships, flags and links at %.2f a second, %d calls throttled", len(at), rate, throttled)
	if rate < least || throttled > 0 {
		t.Errorf("%.2f updates a second at CognitoTPS %s, at least %v were expected; %d calls throttled", rate, tps, least, throttled)
	}
}
