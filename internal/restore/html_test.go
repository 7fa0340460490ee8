package restore

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// exampleReport has everything that a report can show.
func exampleReport() *Report {
	started := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	listed := started.Add(-2 * time.Hour)
	return &Report{
		Version: ReportVersion, Execution: "arn:aws:states:us-west-2:123456789012:execution:CognitoBackup-ImportWorkflow:restore-1",
		SourcePool: "ap-northeast-1_Source", TargetPool: "us-west-2_Target", Mode: EmptyPool, State: "COMPLETED",
		Started: started, Ended: started.Add(83 * time.Minute), RestorePoint: "2026-11-22T00:58:00.000Z", ListingEnded: &listed,
		NotNewest:   "1 suspect restore point is newer: many users had vanished, and nobody has accepted that.",
		Users:       Counts{Total: 12_345, Restored: 12_000, Deferred: 300, Conflict: 40, Failed: 5},
		Groups:      Counts{Total: 20, Restored: 19, Existing: 1},
		Memberships: Counts{Total: 15_000, Restored: 14_500, Deferred: 400, Conflict: 50, Failed: 50},
		SignIn:      SignIn{ForgotPassword: 11_500, Invitation: 500, Provider: 300},
		CreatedCSV:  11_000, CreatedAPI: 1_000, Billed: 9_000, Strangers: 3, Throttled: 17,
		ByReason: []ReasonCount{{ReasonNoVerifiedAddress, reasonTexts[ReasonNoVerifiedAddress].What, 500}, {ReasonNotCSV, reasonTexts[ReasonNotCSV].What, 500}},
		Problems: []Problem{
			{Conflict, ReasonNameTaken, reasonTexts[ReasonNameTaken].What, reasonTexts[ReasonNameTaken].Do, 40, []string{"USER-" + testSub + ": 99999999-9999-4999-8999-999999999999"}},
			{Failed, ReasonGroupMissing, reasonTexts[ReasonGroupMissing].What, reasonTexts[ReasonGroupMissing].Do, 50, []string{"GROUP_MEMBER-" + testSub + " <b>Admins & 読者</b>: ResourceNotFoundException"}},
		},
		Warnings: []string{"us-west-2_Target has a PreSignUp trigger: it runs for every user created by API and may refuse some."},
		Phases:   []Phase{{"CheckNewUserPool", 1.2}, {"ScanTable", 40}, {"ImportUsers", 3600}, {"UpdateUsers", 4500}, {"VerifyImport", 430}},
	}
}

// TestReportHTML holds the page against what was last looked at. It must need
// nothing but itself, whatever the records are called.
func TestReportHTML(t *testing.T) {
	dry := exampleReport()
	dry.DryRun, dry.Problems, dry.Estimate = true, nil, "about 10 min 0 s at CognitoTPS 25"
	dry.RestorePoints = []KnownPoint{{dry.Started, dry.Started.Add(time.Minute), 1, 2, 3, true}}
	unfinished := exampleReport()
	unfinished.State, unfinished.ListingEnded, unfinished.Incomplete, unfinished.Shortfall = "ABORTED", nil, true, "read 1 of 2 users"
	unfinished.Lacking = []string{"GROUP-<i>", "USER-" + testSub}
	unfinished.UnknownUsers = []string{"<script>alert(1)</script>"}
	for name, report := range map[string]*Report{"report": exampleReport(), "dry-run": dry, "unfinished": unfinished} {
		t.Run(name, func(t *testing.T) {
			page, err := renderHTML(report)
			if err != nil {
				t.Fatal(err)
			}
			if found := regexp.MustCompile(`(?i)<script|<link|<img|<iframe|url\(|@import|https?://|\son\w+=|<b>`).Find(page); found != nil {
				t.Errorf("the page has %q", found)
			}
			golden := filepath.Join("testdata", name+".html")
			if *update {
				if err := os.WriteFile(golden, page, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(page, want) {
				t.Errorf("the page is not that of %s; look at it and run the test with -update", golden)
			}
		})
	}
}

func TestHeadline(t *testing.T) {
	for want, change := range map[string]func(*Report){
		"Restored and verified":                       func(r *Report) { r.Verified = true },
		"Restored, except for 145 records":            func(*Report) {},
		"Restored, except for 1 record":               func(r *Report) { r.Users, r.Memberships = Counts{Failed: 1}, Counts{} },
		"Restored what was readable":                  func(r *Report) { r.Users, r.Memberships, r.Incomplete = Counts{}, Counts{}, true },
		"Dry run: nothing was written":                func(r *Report) { r.DryRun = true },
		"The import did not come to its end (FAILED)": func(r *Report) { r.State = "FAILED" },
	} {
		r := exampleReport()
		change(r)
		if have := r.Headline(); have != want {
			t.Errorf("%q, want %q", have, want)
		}
	}
}

// TestReasonsHaveWords: every code that a report can show says what it means
// and what to do.
func TestReasonsHaveWords(t *testing.T) {
	source, err := os.ReadFile("reasons.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`(?m)^\tReason\w+\s+= "(\w+)"`).FindAllSubmatch(source, -1) {
		text, ok := reasonTexts[string(match[1])]
		if !ok || !strings.HasSuffix(text.What, ".") || !strings.HasSuffix(text.Do, ".") {
			t.Errorf("the reason %s has the words %+v", match[1], text)
		}
	}
}

func TestEstimate(t *testing.T) {
	e := estimate(100_000, 10_000, 100, 250_000, 25)
	if e.Users != 90_000/csvRate*time.Second+time.Duration(0) && e.Users.Round(time.Second) != (90_000*time.Second/csvRate).Round(time.Second) {
		t.Errorf("users take %s", e.Users)
	}
	if e.Memberships != 10_000*time.Second {
		t.Errorf("memberships take %s", e.Memberships)
	}
	if e.Total() != e.Memberships+e.Verify {
		t.Errorf("in all %s", e.Total())
	}
}

func TestPlansThatFitNoExecution(t *testing.T) {
	c := &checker{CheckNewUserPool: &CheckNewUserPool{TPS: 1, SliceSeconds: 720}}
	if !c.fits(estimate(1_000_000, 0, 100, 1_000_000, 1)) {
		t.Error("a million memberships at one a second take 12 days, which fits")
	}
	if n := waits(30 * 24 * time.Hour); n < 500 || n > 1500 {
		t.Errorf("UpdateUsers waits %d times for users who take 30 days", n)
	}
	const long = 25 * 24 * time.Hour
	if !c.fits(Estimate{Memberships: long}) || c.fits(Estimate{Users: long}) || !c.fits(Estimate{Users: long / 2}) {
		t.Error("waiting for users takes events, too")
	}
	if !c.fits(estimate(1_000_000, 1_000_000, 20, 20_000_000, 10)) {
		t.Error("a million users with twenty groups each take 24 days at the rate that is set unless another is chosen, which fits")
	}
	if c.fits(estimate(1_000_000, 0, 100, 10_000_000, 1)) {
		t.Error("ten million at one a second take 116 days, whose loops do not fit into 25,000 events")
	}
}
