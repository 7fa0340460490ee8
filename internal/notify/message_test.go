package notify

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files in testdata")

var (
	exported = Deployment{
		Prefix: "CognitoBackup", Region: "us-east-1", UserPoolID: "us-east-1_Example01",
		Execution: "arn:aws:states:us-east-1:123456789012:execution:CognitoBackup-ExportWorkflow:5f0c",
	}
	imported = Deployment{
		Prefix: "CognitoBackup", Region: "us-west-2", UserPoolID: "us-west-2_Example02",
		Execution: "arn:aws:states:us-west-2:123456789012:execution:CognitoBackup-ImportWorkflow:77aa",
	}
	listed = time.Date(2026, 11, 22, 9, 0, 43, 117e6, time.UTC)
)

func export(change func(*Export)) Message {
	e := &Export{
		Deployment: exported, RestorePoint: listed, Took: 74 * time.Second,
		Users: 12480, Groups: 105, Memberships: 9001,
		Added: 71, Changed: 12, Removed: 10, MembershipsRemoved: 6,
	}
	change(e)
	return e.Message()
}

func restore(change func(*Import)) Message {
	i := &Import{
		Deployment: imported, SourcePoolID: exported.UserPoolID, RestorePoint: listed, Took: 95 * time.Minute,
		Users:          Outcomes{Total: 12480, Restored: 12400, Deferred: 80},
		Groups:         Outcomes{Total: 105, Restored: 105},
		Memberships:    Outcomes{Total: 9001, Restored: 8981, Deferred: 20},
		ForgotPassword: 12100, Invitation: 300,
		Bucket: "cognitobackup-123456789012-us-west-2", ReportPrefix: "reports/77aa/",
	}
	change(i)
	return i.Message()
}

func failure(change func(*Failure)) Message {
	f := &Failure{
		Deployment: exported, Workflow: "ExportWorkflow", Status: "FAILED", Step: "ExportUsers", Error: "Failure",
		Cause:   `{"errorMessage":"ExportUsers: list users page 12: operation error Cognito Identity Provider: ListUsers, https response error StatusCode: 400, RequestID: 0f5c-11, ResourceNotFoundException: User pool us-east-1_Example01 does not exist","errorType":"Failure"}`,
		Started: listed, Ended: listed.Add(time.Minute),
	}
	change(f)
	return f.Message()
}

func TestMessages(t *testing.T) {
	messages := map[string]Message{
		"export-completed": export(func(*Export) {}),
		"export-unchanged": export(func(e *Export) {
			e.Users, e.Groups, e.Memberships = 1, 0, 0
			e.Added, e.Changed, e.Removed = 0, 0, 0
		}),
		"export-first": export(func(e *Export) {
			e.First = true
			e.Secrets = 3
		}),
		"export-throttled":      export(func(e *Export) { e.Throttled = 400 }),
		"export-parts-not-read": export(func(e *Export) { e.NotRead = 2 }),
		"export-groups-gone": export(func(e *Export) {
			e.Groups, e.GroupsRemoved = 40, 65
			e.Memberships, e.MembershipsRemoved = 4000, 5001
		}),
		"export-suspect": export(func(e *Export) {
			e.Users = 480
			e.Suspect = &Suspect{Missing: 12000, Of: 12480, ComparedTo: listed.Add(-24 * time.Hour)}
		}),
		"export-accepted":  export(func(e *Export) { e.Accepted = true }),
		"import-completed": restore(func(*Import) {}),
		"import-attention": restore(func(i *Import) {
			i.Users = Outcomes{Total: 12480, Restored: 12390, Present: 5, Deferred: 80, Conflict: 3, Failed: 2}
			i.Memberships.Failed = 1
			i.Older = "The newest has not reached this Region completely."
			i.Attention = []string{"Self-sign-up is open in the target."}
		}),
		"import-incomplete": restore(func(i *Import) { i.Incomplete = true }),
		"import-dry-run": restore(func(i *Import) {
			i.DryRun = true
			i.Attention = []string{"An import takes about 14 minutes at these quotas.", "Cognito will bill about 9,300 users as active."}
		}),
		"failed": failure(func(*Failure) {}),
		"failed-throttled": failure(func(f *Failure) {
			f.Cause = `{"errorMessage":"ExportUsers: list users page 12: operation error Cognito Identity Provider: ListUsers, exceeded maximum number of attempts, 5, https response error StatusCode: 400, RequestID: 0f5c-11, api error TooManyRequestsException: Rate exceeded","errorType":"TransientError"}`
		}),
		"failed-pre-flight": failure(func(f *Failure) {
			f.Deployment, f.Workflow, f.Step = imported, "ImportWorkflow", "CheckNewUserPool"
			f.Cause = `{"errorMessage":"CheckNewUserPool: the import cannot start:\n- the user pool us-west-2_Example02 is not empty\n- the schema lacks custom:plan","errorType":"Failure"}`
		}),
		"failed-dry-run": failure(func(f *Failure) {
			f.Workflow, f.Step, f.DryRun = "ImportWorkflow", "VerifyImport", true
		}),
		"failed-permission": failure(func(f *Failure) {
			f.Cause = `{"errorMessage":"ExportUsers: list users: api error AccessDeniedException: not authorized","errorType":"Failure"}`
		}),
		"failed-killed": failure(func(f *Failure) {
			f.Error, f.Cause = "Runtime.ExitError", `{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 95b35f58 Error: Runtime exited with error: signal: killed"}`
		}),
		"timed-out": failure(func(f *Failure) {
			f.Deployment, f.Workflow, f.Status, f.Step = imported, "ImportWorkflow", "TIMED_OUT", "ImportUsers"
			f.Error, f.Cause = "States.Timeout", ""
		}),
		"aborted": failure(func(f *Failure) {
			f.Deployment, f.Workflow, f.Status, f.Step = imported, "ImportWorkflow", "ABORTED", "ImportUsers"
			f.Error, f.Cause = "", ""
		}),
		"aborted-before-writing": failure(func(f *Failure) {
			f.Deployment, f.Workflow, f.Status, f.Step = imported, "ImportWorkflow", "ABORTED", "WaitForCheckNewUserPool"
			f.Error, f.Cause = "", "the wrong pool"
		}),
		"unexplained": failure(func(f *Failure) { f.Step, f.Error, f.Cause = "", "", "" }),
	}
	for name, message := range messages {
		t.Run(name, func(t *testing.T) {
			checkForm(t, message)
			got := "Subject: " + message.Subject + "\n\n" + message.Body
			path := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the message changed (-update writes the golden file); now:\n%s", got)
			}
		})
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) != len(messages) {
		t.Errorf("%d golden files for %d messages (%v)", len(files), len(messages), err)
	}
}

// checkForm asserts what holds for every message.
func checkForm(t *testing.T, m Message) {
	t.Helper()
	if m.Subject == "" || len(m.Subject) > maxSubject {
		t.Errorf("subject has %d characters: %q", len(m.Subject), m.Subject)
	}
	for _, r := range m.Subject {
		if r < ' ' || r > '~' {
			t.Errorf("subject holds %q: %q", r, m.Subject)
		}
	}
	if strings.Contains(m.Body, "errorMessage") || strings.Contains(m.Body, "%!") {
		t.Errorf("body holds raw data:\n%s", m.Body)
	}
}

func TestSubjectIsWhatSNSAccepts(t *testing.T) {
	for _, name := range []string{"読者", "line\nbreak", strings.Repeat("long ", 60)} {
		checkForm(t, Message{Subject: subject(name, "Export completed: %s", name)})
	}
}

func TestWants(t *testing.T) {
	plain, urgent := export(func(*Export) {}), export(func(e *Export) { e.Suspect = &Suspect{ComparedTo: listed} })
	for _, c := range []struct {
		preference Preference
		message    Message
		want       bool
	}{
		{InfoAndErrors, plain, true}, {InfoAndErrors, urgent, true},
		{ErrorsOnly, plain, false}, {ErrorsOnly, urgent, true},
		{ErrorsOnly, failure(func(*Failure) {}), true},
		{ErrorsOnly, restore(func(*Import) {}), false},
		{ErrorsOnly, restore(func(i *Import) { i.Users.Failed = 1 }), true},
	} {
		if got := c.preference.Wants(c.message); got != c.want {
			t.Errorf("%s wants %q: %v", c.preference, c.message.Subject, got)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		300 * time.Millisecond:          "less than a second",
		time.Second:                     "1 second",
		74 * time.Second:                "1 minute 14 seconds",
		time.Hour + 10*time.Second:      "1 hour",
		26*time.Hour + 30*time.Minute:   "1 day 2 hours",
		59*time.Minute + 59*time.Second: "59 minutes 59 seconds",
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 40000000: "40,000,000", -1234: "-1,234", -123: "-123"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %q, want %q", n, got, want)
		}
	}
}
