package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/internal/restore"
	"cognito-backup/internal/step"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/faults"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	idptypes "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// until waits for something to be so.
func (b *importBed) until(what string, so func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("in %v it has not come to pass that %s", patience, what)
		}
	}
}

// reaches waits until an execution has entered a state.
func (b *importBed) reaches(arn, state string) {
	b.t.Helper()
	b.until(arn+" comes to "+state, func() bool {
		out, err := b.states(b.there).GetExecutionHistory(b.t.Context(), &sfn.GetExecutionHistoryInput{ExecutionArn: &arn, MaxResults: 1000, ReverseOrder: true})
		if err != nil {
			b.t.Fatal(err)
		}
		return slices.ContainsFunc(out.Events, func(event types.HistoryEvent) bool {
			return event.StateEnteredEventDetails != nil && *event.StateEnteredEventDetails.Name == state
		})
	})
}

// slowImport lets the first call of each step of an import take so long that the
// lease is asked again before anything is written, and verification's listing
// so long that the target can be tampered with.
func (b *importBed) slowImport() {
	for function, operation := range map[string]string{
		"*check-new-user-pool": "DescribeUserPool", "*scan-table": "Scan", "*import-users": "ReceiveMessage", "*update-users": "ReceiveMessage",
	} {
		b.Faults().Add(faults.Rule{Kind: faults.Delay, Region: b.there, Operation: operation, Function: function, Count: 1, Delay: 1200 * time.Millisecond})
	}
	b.Faults().Add(faults.Rule{Kind: faults.Delay, Region: b.there, Operation: "ListUsers", Function: "*verify-import", Count: 1, Delay: 3 * time.Second})
}

// left is when an execution left a state for the last time, zero if it has not.
func (b *importBed) left(arn, state string) time.Time {
	b.t.Helper()
	var at time.Time
	for _, event := range b.history(arn) {
		if d := event.StateExitedEventDetails; d != nil && *d.Name == state {
			at = *event.Timestamp
		}
	}
	return at
}

// history is all events of an import's execution.
func (b *importBed) history(arn string) []types.HistoryEvent {
	b.t.Helper()
	var events []types.HistoryEvent
	pages := sfn.NewGetExecutionHistoryPaginator(b.states(b.there), &sfn.GetExecutionHistoryInput{ExecutionArn: &arn, MaxResults: 1000})
	for pages.HasMorePages() {
		page, err := pages.NextPage(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		events = append(events, page.Events...)
	}
	return events
}

// timedOut counts, by state, the tasks of an execution that timed out.
func (b *importBed) timedOut(e execution) map[string]int {
	b.t.Helper()
	events := b.history(e.arn)
	counts := map[string]int{}
	for _, event := range events {
		if event.Type != types.HistoryEventTypeTaskTimedOut {
			continue
		}
		for event.StateEnteredEventDetails == nil { // ids count from 1
			event = events[event.PreviousEventId-1]
		}
		counts[*event.StateEnteredEventDetails.Name]++
	}
	return counts
}

// TestVerificationFindsWhatIsWrong changes the target by hand before it is
// verified: what a restore adds is added again, an attribute that somebody
// changed is reported, and left alone.
func TestVerificationFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := exported(t, seed.Pool(seed.Options{Users: 100, Groups: 6, Seed: 41}))
	pool := b.target()
	api := b.cognito(b.there)
	var changed, disabled, member, deleted *cognito.User
	for i := range b.source.Users {
		u := &b.source.Users[i]
		groups := memberOf(b.source, u.Username)
		switch {
		case u.UserStatus == seed.External:
		case !u.Enabled && disabled == nil:
			disabled = u
		case u.Enabled && len(groups) > 0 && member == nil:
			member = u
		case u.Enabled && len(groups) > 0 && deleted == nil:
			deleted = u
		case u.Enabled && len(groups) == 0 && changed == nil:
			changed = u
		}
	}
	b.slowImport()
	arn := b.begin(b.there, "ImportWorkflow", input(pool, nil))
	b.reaches(arn, "VerifyImport")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := api.AdminUpdateUserAttributes(t.Context(), &idp.AdminUpdateUserAttributesInput{UserPoolId: &pool, Username: &changed.Username,
		UserAttributes: []idptypes.AttributeType{{Name: aws.String("name"), Value: aws.String("Tampered")}}})
	must(err)
	_, err = api.AdminEnableUser(t.Context(), &idp.AdminEnableUserInput{UserPoolId: &pool, Username: &disabled.Username})
	must(err)
	api.removeFromGroup(pool, member.Username, memberOf(b.source, member.Username)[0])
	api.deleteUser(pool, deleted.Username)
	e := b.await(b.there, arn)
	if e.Status != types.ExecutionStatusSucceeded {
		b.fail(e)
	}
	r := b.results(pool, e)
	if r.report.Verified || r.report.Users.Failed != 1 {
		t.Errorf("verified %t, users %+v, problems %+v", r.report.Verified, r.report.Users, r.report.Problems)
	}
	if p, ok := r.problem(restore.ReasonDiffers); !ok || len(p.Records) != 1 || p.Records[0] != "USER-"+changed.Attribute("sub")+": name" {
		t.Errorf("problems %+v", r.report.Problems)
	}
	result := seed.Compare(b.source, r.after)
	if len(result.Differences) != 1 || !strings.Contains(result.Differences[0], changed.Username) {
		t.Errorf("the target differs in %q", result.Differences)
	}
	b.silent()
}

// TestExportDuringImport: exports go on while an import reads the same table,
// and each is what it would have been alone.
func TestExportDuringImport(t *testing.T) {
	t.Parallel()
	b := exported(t, seed.Pool(seed.Options{Users: 150, Groups: 8, Seed: 43}), environment("COGNITO_TPS", "60"))
	b.there = b.primary
	target := b.target()
	rate := func(perSecond float64) {
		b.Cognito(b.there).Settings().Update(func(v *cognito.Values) { v.ImportRate = perSecond })
	}
	change := func(i int) {
		for j, u := range b.source.Users {
			if u.UserStatus != seed.External && j%3 == i {
				b.rename(u.Username, "Renamed while the import ran")
			}
		}
	}
	change(0)
	// The first export begins while the import reads the table, the second while
	// it creates users: it has none left to create only when its import job has
	// run, which cannot start before that of somebody else has been stopped.
	busy := b.target()
	rate(0.0001)
	job := b.importJob(busy, 1)
	rate(1000)
	b.Faults().Add(faults.Rule{Kind: faults.Delay, Service: "dynamodb", Operation: "Scan", Function: "*scan-table", Count: 1, Delay: 4 * time.Second})
	arn := b.begin(b.there, "ImportWorkflow", input(target, nil))
	b.reaches(arn, "ScanTable")
	began := time.Now()
	b.asOf(b.primary, b.export("{}"))
	change(1)
	b.reaches(arn, "ImportUsers")
	b.asOf(b.primary, b.export("{}"))
	if b.left(arn, "RestoreUsers") != (time.Time{}) {
		t.Error("the import had created its users before the exports ended")
	}
	b.stopJob(busy, job)
	e := b.await(b.there, arn)
	if e.Status != types.ExecutionStatusSucceeded {
		b.fail(e)
	}
	if read := b.left(arn, "ScanTable"); !began.Before(read) {
		t.Errorf("the exports began at %v, the import had read the table at %v", began, read)
	}
	b.proved(b.results(target, e))
}

// TestImportJobsOfOthers: one import job can be active in an account. One in
// the target is waited for in pre-flight, one in another pool when ours is to
// start; meanwhile users are created by API.
func TestImportJobsOfOthers(t *testing.T) {
	t.Parallel()
	b := exported(t, seed.Pool(seed.Options{Users: 60, Groups: 4, Seed: 47}))
	rate := func(perSecond float64) {
		b.Cognito(b.there).Settings().Update(func(v *cognito.Values) { v.ImportRate = perSecond })
	}
	for name, own := range map[string]bool{"in the target": true, "in another pool": false} {
		t.Run(name, func(t *testing.T) {
			target, busy := b.target(), b.target()
			if own {
				busy = target
			}
			// A job keeps the rate it was started with: two a second here, which is
			// longer than anything else may take.
			rate(0.1)
			job := b.importJob(busy, 1000)
			rate(1000)
			refused := func() int { return b.Cognito(b.there).Settings().Injected().BusyStarts }
			looked, created, before := b.calls("ListUserImportJobs"), b.calls("AdminCreateUser"), refused()
			theirs := func() *idptypes.UserImportJobType {
				out, err := b.cognito(b.there).DescribeUserImportJob(t.Context(), &idp.DescribeUserImportJobInput{UserPoolId: &busy, JobId: &job})
				if err != nil {
					t.Fatal(err)
				}
				return out.UserImportJob
			}
			arn := b.begin(b.there, "ImportWorkflow", input(target, map[string]any{"Mode": "MISSING_ONLY"}))
			b.until("the import waits for the other job, which imports users", func() bool {
				waits := b.calls("ListUserImportJobs") > looked+2
				if !own {
					waits = refused() > before+1 && b.calls("AdminCreateUser") > created
				}
				return waits && theirs().ImportedUsers > 0
			})
			if own && b.calls("AdminCreateUser") > created {
				t.Error("the import created users before the other job had ended")
			}
			if b.left(arn, "RestoreUsers") != (time.Time{}) {
				t.Error("the import did not wait for the other job")
			}
			b.stopJob(busy, job)
			e := b.await(b.there, arn)
			if e.Status != types.ExecutionStatusSucceeded {
				b.fail(e)
			}
			r := b.results(target, e)
			strangers := 0
			for _, u := range r.after.Users {
				if strings.HasPrefix(u.Username, "stranger") {
					strangers++
				}
			}
			if want := int(theirs().ImportedUsers); own && strangers != want {
				t.Errorf("%d users of the other job are left, want %d", strangers, want)
			}
			said := "is active in " + busy
			if own {
				said = "was active in " + busy
			}
			if !slices.ContainsFunc(r.report.Warnings, func(w string) bool {
				return strings.Contains(w, "An import job of somebody else") && strings.Contains(w, said)
			}) {
				t.Errorf("no warning says that a job %s: %q", said, r.report.Warnings)
			}
			if r.report.CreatedCSV == 0 || r.report.Users.Failed+r.report.Users.Conflict != 0 {
				t.Errorf("%d by CSV, users %+v", r.report.CreatedCSV, r.report.Users)
			}
		})
	}
}

// importJob starts somebody else's import job and returns its ID.
func (b *importBed) importJob(pool string, users int) string {
	b.t.Helper()
	api := b.cognito(b.there)
	ctx := b.t.Context()
	header, err := api.GetCSVHeader(ctx, &idp.GetCSVHeaderInput{UserPoolId: &pool})
	if err != nil {
		b.t.Fatal(err)
	}
	file := strings.Join(header.CSVHeader, ",") + "\n"
	for i := range users {
		row := make([]string, len(header.CSVHeader))
		for j, column := range header.CSVHeader {
			switch column {
			case "cognito:username":
				row[j] = "stranger" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
			case "email":
				row[j] = "stranger" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + "@example.org"
			case "email_verified":
				row[j] = "true"
			case "phone_number_verified":
				row[j] = "false"
			}
		}
		file += strings.Join(row, ",") + "\n"
	}
	role := "arn:aws:iam::123456789012:role/logs"
	job, err := api.CreateUserImportJob(ctx, &idp.CreateUserImportJobInput{UserPoolId: &pool, JobName: aws.String("theirs"), CloudWatchLogsRoleArn: &role})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := restore.Upload(ctx, *job.UserImportJob.PreSignedUrl, []byte(file)); err != nil {
		b.t.Fatal(err)
	}
	id := job.UserImportJob.JobId
	if _, err := api.StartUserImportJob(ctx, &idp.StartUserImportJobInput{UserPoolId: &pool, JobId: id}); err != nil {
		b.t.Fatal(err)
	}
	return *id
}

// stopJob stops an import job by hand.
func (b *importBed) stopJob(pool, id string) {
	b.t.Helper()
	if _, err := b.cognito(b.there).StopUserImportJob(b.t.Context(), &idp.StopUserImportJobInput{UserPoolId: &pool, JobId: &id}); err != nil {
		b.t.Fatal(err)
	}
}

// TestImportOutlivesItsTasks: tasks of every step time out while their
// functions work on, and the retries run beside them.
func TestImportOutlivesItsTasks(t *testing.T) {
	t.Parallel()
	b := exported(t, seed.Pool(seed.Options{Users: 100, Groups: 8, Seed: 53}), taskTimeout(15))
	for _, rule := range []faults.Rule{
		{Service: "dynamodb", Operation: "Scan", Function: "*scan-table", Count: 1},
		// Reads: a write that takes so long is given up, because the lease may have
		// passed on.
		{Service: "s3", Operation: "GetObject", Function: "*import-users", Skip: 9, Count: 1},
		{Service: "s3", Operation: "GetObject", Function: "*update-users", Skip: 7, Count: 1},
		{Service: "cognito-idp", Operation: "ListUsersInGroup", Function: "*verify-import", Count: 1},
		{Service: "cognito-idp", Operation: "AdminCreateUser", Skip: 5, Count: 1},
		{Service: "cognito-idp", Operation: "AdminAddUserToGroup", Skip: 9, Count: 1},
	} {
		rule.Kind, rule.Delay, rule.Region = faults.Delay, 18*time.Second, b.there
		b.Faults().Add(rule)
	}
	r := b.restore(b.target(), nil)
	b.proved(r)
	b.once(r)
	if err := b.Faults().VerifyAllExercised(); err != nil {
		t.Error(err)
	}
	// The delayed call ends 18 s after it began, its task 15 s after it began at
	// the latest: from then on the retry ran beside it.
	counts := b.timedOut(r.execution)
	for _, state := range []string{"ScanTable", "ImportUsers", "UpdateUsers", "VerifyImport"} {
		if counts[state] == 0 {
			t.Errorf("no task of %s timed out: %v", state, counts)
		}
	}
}

// TestJobStoppedByHand: an import job that somebody stops has imported some of
// its rows; the others come by API.
func TestJobStoppedByHand(t *testing.T) {
	t.Parallel()
	b := exported(t, seed.Pool(seed.Options{Users: 120, Groups: 5, Seed: 59}))
	b.Cognito(b.there).Settings().Update(func(v *cognito.Values) { v.ImportRate = 0.1 }) // two a second here
	pool := b.target()
	arn := b.begin(b.there, "ImportWorkflow", input(pool, nil))
	var job idptypes.UserImportJobType
	b.until("the job has imported somebody", func() bool {
		jobs, err := b.cognito(b.there).ListUserImportJobs(t.Context(), &idp.ListUserImportJobsInput{UserPoolId: &pool, MaxResults: aws.Int32(10)})
		if err != nil || len(jobs.UserImportJobs) > 1 {
			t.Fatalf("%v, %+v", err, jobs)
		}
		if len(jobs.UserImportJobs) == 1 {
			job = jobs.UserImportJobs[0]
		}
		return job.ImportedUsers > 3
	})
	b.stopJob(pool, *job.JobId)
	e := b.await(b.there, arn)
	if e.Status != types.ExecutionStatusSucceeded {
		b.fail(e)
	}
	r := b.results(pool, e)
	b.proved(r)
	if r.report.CreatedCSV < 4 || !slices.ContainsFunc(r.report.ByReason, func(c restore.ReasonCount) bool { return c.Reason == restore.ReasonJobLeftOut && c.Count > 0 }) {
		t.Errorf("%d by CSV, left out by the job: %+v", r.report.CreatedCSV, r.report.ByReason)
	}
}

// TestJobThatHangs: the import tool fails when pre-flight asks for it, and is
// waited for. Then a job shows no progress for hours: it is stopped, and its
// users come by API.
func TestJobThatHangs(t *testing.T) {
	t.Parallel()
	for _, region := range []string{"primary", "secondary"} { // each has functions and permissions of its own
		t.Run(region, func(t *testing.T) {
			t.Parallel()
			b := exported(t, seed.Pool(seed.Options{Users: 60, Groups: 4, Seed: 61}))
			if region == "primary" {
				b.there = b.primary
			}
			b.Cognito(b.there).Settings().Update(func(v *cognito.Values) { v.ImportStart = 1000 * time.Hour })
			b.Faults().Add(faults.Rule{Kind: faults.ServerError, Region: b.there, Operation: "GetCSVHeader", Count: 8}) // all attempts of a call
			pool := b.target()
			arn := b.begin(b.there, "ImportWorkflow", input(pool, nil))
			api, bucket := b.s3()
			objects := &step.Objects{API: api, Bucket: bucket}
			b.until("the job is stopped", func() bool {
				b.age(objects, arn, 7*time.Hour)
				return b.calls("StopUserImportJob") > 0
			})
			e := b.await(b.there, arn)
			if e.Status != types.ExecutionStatusSucceeded {
				b.fail(e)
			}
			r := b.results(pool, e)
			b.proved(r)
			if r.report.CreatedCSV != 0 || !slices.ContainsFunc(r.report.ByReason, func(c restore.ReasonCount) bool { return c.Reason == restore.ReasonJobLeftOut && c.Count > 0 }) {
				t.Errorf("%d by CSV, %+v", r.report.CreatedCSV, r.report.ByReason)
			}
			if err := b.Faults().VerifyAllExercised(); err != nil {
				t.Error(err)
			}
		})
	}
}

// age makes ImportUsers believe that its job moved last so much earlier.
func (b *importBed) age(objects *step.Objects, arn string, by time.Duration) {
	b.t.Helper()
	keys, err := objects.List(b.t.Context(), "runs/"+arn[strings.LastIndexByte(arn, ':')+1:]+"/cursor/ImportUsers/")
	if err != nil {
		b.t.Fatal(err)
	}
	for _, key := range keys {
		var cursor map[string]any
		if err := objects.Get(b.t.Context(), key, &cursor); err != nil {
			b.t.Fatal(err)
		}
		progress, _ := cursor["Progress"].(map[string]any)
		since, err := time.Parse(time.RFC3339Nano, fmt.Sprint(progress["Since"]))
		if err != nil {
			b.t.Fatal(err)
		}
		if since.IsZero() || time.Since(since) > by {
			continue
		}
		progress["Since"] = since.Add(-by)
		if err := objects.Put(b.t.Context(), key, cursor); err != nil {
			b.t.Fatal(err)
		}
	}
}

// TestRefusedForGood: no CSV import, and no passwords. Users come back all the
// same; the report says why each needs an invitation and what it costs.
func TestRefusedForGood(t *testing.T) {
	t.Parallel()
	b := exported(t, seed.Pool(seed.Options{Users: 40, Groups: 4, Seed: 44}), environment("COGNITO_TPS", "60"))
	pool := b.target()
	for operation, code := range map[string]string{"CreateUserImportJob": "NotAuthorizedException", "AdminSetUserPassword": "InvalidPasswordException"} {
		b.Faults().Add(faults.Rule{Kind: faults.Fail, Region: b.there, Operation: operation, Code: code, Status: 400})
	}
	e := b.await(b.there, b.begin(b.there, "ImportWorkflow", input(pool, nil)))
	if e.Status != types.ExecutionStatusSucceeded {
		b.fail(e)
	}
	r := b.results(pool, e)
	p, ok := r.problem(restore.ReasonPassword)
	if !ok || int64(p.Count) != r.report.Users.Failed || r.report.Verified || r.report.CreatedCSV != 0 {
		t.Errorf("verified %t, %d by CSV, users %+v, problems %+v", r.report.Verified, r.report.CreatedCSV, r.report.Users, r.report.Problems)
	}
	if s := r.report.SignIn; s.ForgotPassword != 0 || s.Invitation != r.report.Users.Restored+r.report.Users.Failed {
		t.Errorf("to sign in: %+v of %+v", s, r.report.Users)
	}
	for _, u := range r.after.Users {
		if u.UserStatus != "FORCE_CHANGE_PASSWORD" {
			t.Errorf("a user is %s without a password", u.UserStatus)
		}
	}
	if !slices.ContainsFunc(r.report.Warnings, func(w string) bool { return strings.Contains(w, "NotAuthorizedException") }) {
		t.Errorf("warnings %q do not say why there was no CSV import", r.report.Warnings)
	}
	b.silent()
}
