package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cognito-backup/internal/restore"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"
)

// importSteps are the functions of an import that work in slices, and how many
// slices of a second each is cut into at least here.
var importSteps = map[string]int{"check-new-user-pool": 1, "scan-table": 2, "import-users": 5, "update-users": 8, "verify-import": 3}

// TestImportDies restores with slices of a second and kills every slice of
// every step once: at its boundary, when everything is done and the answer is
// lost, or inside, after so many of its calls. The retry that follows begins
// where the slice began. What is restored is the same each time, nobody is
// created twice, and nobody gets mail.
func TestImportDies(t *testing.T) {
	inside := func(after int) func(string, int) Death {
		return func(_ string, n int) Death {
			if n%2 == 0 {
				return Death{} // the retry
			}
			return Death{After: after}
		}
	}
	deaths := map[string]func(string, int) Death{
		"nobody": nil,
		"at every boundary": func(_ string, n int) Death {
			return Death{AtEnd: n%2 == 1}
		},
		"inside, ever later": func(_ string, n int) Death {
			if n%2 == 0 {
				return Death{}
			}
			return Death{After: 1 + n*n/2}
		},
	}
	for _, after := range []int{1, 3, 8, 21, 55} {
		deaths[fmt.Sprintf("inside, after %d calls", after)] = inside(after)
	}
	d := definitions(t)
	for _, name := range slices.Sorted(maps.Keys(deaths)) {
		for _, missing := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, MISSING_ONLY %t", name, missing), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { dying(t, d, deaths[name], missing) })
			})
		}
	}
}

func dying(t *testing.T, definitions Definitions, deaths func(string, int) Death, missing bool) {
	latency := Typical()
	latency.Page, latency.Item = 700*time.Millisecond, 150*time.Millisecond // so that there are slices to cut
	cloud := NewCloud(latency)
	cloud.Cognito.Settings().Update(func(v *cognito.Values) { v.ImportRate = 35 })
	mails := 0
	cloud.Cognito.OnMail = func(cognito.Mail) { mails++ }
	source := seed.Pool(seed.Options{PoolID: sourceID, Users: 1000, Groups: 60, Seed: 61})
	for _, s := range []*cognito.Seed{source, seed.Empty(source, targetID)} {
		if _, err := cloud.Cognito.Seed(s); err != nil {
			t.Fatal(err)
		}
	}
	deployment := Deployment{PoolID: sourceID, TPS: 25, Shards: 1, Slice: slice}
	if _, err := cloud.Execute(definitions, "ExportWorkflow", "export", "{}", deployment); err != nil {
		t.Fatal(err)
	}
	killed := map[string]int{}
	if deaths != nil {
		cloud.Deaths = func(function string, n int) Death {
			d := deaths(function, n)
			if importSteps[function] == 0 {
				return Death{}
			}
			if d != (Death{}) {
				killed[function]++
			}
			return d
		}
	}
	deployment.Slice = time.Second
	in := fmt.Sprintf(`{"NewUserPoolId": %q}`, targetID)
	if missing {
		in = fmt.Sprintf(`{"NewUserPoolId": %q, "Mode": "MISSING_ONLY"}`, targetID)
	}
	e, err := cloud.Execute(definitions, "ImportWorkflow", "import", in, deployment)
	if err != nil {
		t.Fatal(err)
	}
	for function, least := range importSteps {
		n := e.Billed[function].Invocations
		t.Logf("%s: %d invocations, %d killed", function, n, killed[function])
		if n < least || (deaths != nil) != (killed[function] > 0) {
			t.Errorf("%s was invoked %d times and killed %d times", function, n, killed[function])
		}
	}
	after, err := cloud.Cognito.Snapshot(targetID)
	if err != nil {
		t.Fatal(err)
	}
	result := seed.Compare(source, after)
	for _, difference := range result.Differences {
		t.Error(difference)
	}
	var report restore.Report
	if err := json.Unmarshal(cloud.Bucket.Bytes("reports/import/report.json"), &report); err != nil {
		t.Fatal(err)
	}
	if u := report.Users; !report.Verified || u.Restored != int64(result.Users.Restored) || u.Deferred != int64(result.DeferredUsers) ||
		report.Memberships.Restored != int64(result.Memberships.Restored) || report.Groups.Restored != int64(result.Groups.Restored) {
		t.Errorf("verified %t, users %+v, groups %+v, memberships %+v; the comparison says %+v; %+v", report.Verified, u, report.Groups, report.Memberships, result, report.Problems)
	}
	if len(after.Users) != result.Users.Restored {
		t.Errorf("the target has %d users, %d were to come back", len(after.Users), result.Users.Restored)
	}
	if mails > 0 {
		t.Errorf("%d mails went to users", mails)
	}
	if err := cloud.Close(); err != nil {
		t.Error(err)
	}
}
