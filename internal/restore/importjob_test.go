package restore

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/smithy-go"

	"cognito-backup/internal/step"
	"cognito-backup/internal/step/steptest"
)

// fakeJobs plays the import tool for forced failures.
type fakeJobs struct {
	jobs               []types.UserImportJobType
	created, started   int
	createErr, startOf error
	stopErr, lookErr   error
	stopped            int
	deaf               bool // stopping has no effect
	onStart            func(*types.UserImportJobType)
	now                time.Time
	silent             bool // answers are empty
}

var _ JobsAPI = (*fakeJobs)(nil)

func (f *fakeJobs) CreateUserImportJob(_ context.Context, in *idp.CreateUserImportJobInput, _ ...func(*idp.Options)) (*idp.CreateUserImportJobOutput, error) {
	if f.createErr != nil {
		return nil, f.createErr
	}
	if f.silent {
		return &idp.CreateUserImportJobOutput{}, nil
	}
	f.created++
	j := types.UserImportJobType{JobId: aws.String("job" + *in.JobName), JobName: in.JobName, Status: types.UserImportJobStatusTypeCreated,
		CreationDate: aws.Time(f.now), PreSignedUrl: aws.String("https://upload.invalid/" + *in.JobName)}
	f.jobs = append([]types.UserImportJobType{j}, f.jobs...)
	return &idp.CreateUserImportJobOutput{UserImportJob: &j}, nil
}

func (f *fakeJobs) find(id string) *types.UserImportJobType {
	for i := range f.jobs {
		if *f.jobs[i].JobId == id {
			return &f.jobs[i]
		}
	}
	return nil
}

func (f *fakeJobs) StartUserImportJob(_ context.Context, in *idp.StartUserImportJobInput, _ ...func(*idp.Options)) (*idp.StartUserImportJobOutput, error) {
	f.started++
	if f.onStart != nil {
		f.onStart(f.find(*in.JobId))
	}
	if f.startOf != nil {
		return nil, f.startOf
	}
	f.find(*in.JobId).Status = types.UserImportJobStatusTypePending
	return &idp.StartUserImportJobOutput{}, nil
}

func (f *fakeJobs) StopUserImportJob(_ context.Context, in *idp.StopUserImportJobInput, _ ...func(*idp.Options)) (*idp.StopUserImportJobOutput, error) {
	f.stopped++
	if f.stopErr != nil {
		return nil, f.stopErr
	}
	if !f.deaf {
		f.find(*in.JobId).Status = types.UserImportJobStatusTypeStopping
	}
	return &idp.StopUserImportJobOutput{}, nil
}

func (f *fakeJobs) DescribeUserImportJob(_ context.Context, in *idp.DescribeUserImportJobInput, _ ...func(*idp.Options)) (*idp.DescribeUserImportJobOutput, error) {
	if f.lookErr != nil {
		return nil, f.lookErr
	}
	return &idp.DescribeUserImportJobOutput{UserImportJob: f.find(*in.JobId)}, nil
}

func (f *fakeJobs) ListUserImportJobs(context.Context, *idp.ListUserImportJobsInput, ...func(*idp.Options)) (*idp.ListUserImportJobsOutput, error) {
	return &idp.ListUserImportJobsOutput{UserImportJobs: f.jobs}, f.lookErr
}

// jobImporter is an importer with one file of ten rows whose chunks nobody reads.
func jobImporter(t *testing.T, jobs *fakeJobs) *importer {
	t.Helper()
	jobs.now = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	w := &importer{
		ImportUsers: &ImportUsers{Jobs: jobs, JobRole: "role", Now: func() time.Time { return jobs.now },
			Upload: func(context.Context, string, []byte) error { return nil }},
		run:   run{&step.Slice{Event: step.Event{Execution: "arn:aws:states:us-west-2:123456789012:execution:CognitoBackup-ImportWorkflow:restore-1"}, Objects: &step.Objects{API: new(steptest.Bucket), Bucket: "bucket"}}},
		plan:  Plan{Target: Settings{ID: "us-west-2_T"}},
		round: 1, cursor: importCursor{File: 1},
	}
	w.rules = w.plan.rules()
	return w
}

func TestImportJob(t *testing.T) {
	file := &file{Rows: 10}
	state := func(s types.UserImportJobStatusType, imported int64, age time.Duration) func(*importer, *fakeJobs) {
		return func(w *importer, f *fakeJobs) {
			f.jobs = []types.UserImportJobType{{JobId: aws.String("1"), JobName: aws.String(w.jobName()), Status: s, ImportedUsers: imported,
				CreationDate: aws.Time(f.now.Add(-age)), PreSignedUrl: aws.String("https://upload.invalid/1")}}
		}
	}
	tests := map[string]struct {
		before           func(*importer, *fakeJobs)
		want             *jobEnd // nil: it runs
		created, started int
		noCSV            bool
	}{
		"none yet":                {nil, nil, 1, 1, false},
		"created by one who died": {state(types.UserImportJobStatusTypeCreated, 0, time.Minute), nil, 0, 1, false},
		"created too long ago":    {state(types.UserImportJobStatusTypeCreated, 0, 20*time.Minute), nil, 1, 1, false},
		"pending":                 {state(types.UserImportJobStatusTypePending, 0, 0), nil, 0, 0, false},
		"in progress":             {state(types.UserImportJobStatusTypeInProgress, 3, 0), nil, 0, 0, false},
		"stopping":                {state(types.UserImportJobStatusTypeStopping, 3, 0), nil, 0, 0, false},
		"succeeded":               {state(types.UserImportJobStatusTypeSucceeded, 10, time.Hour), &jobEnd{Imported: 10}, 0, 0, false},
		"failed":                  {state(types.UserImportJobStatusTypeFailed, 4, time.Hour), &jobEnd{Imported: 4}, 0, 0, false},
		"stopped":                 {state(types.UserImportJobStatusTypeStopped, 4, time.Hour), &jobEnd{Imported: 4}, 0, 0, false},
		"expired":                 {state(types.UserImportJobStatusTypeExpired, 0, 25*time.Hour), nil, 1, 1, false},
		"somebody else's": {func(_ *importer, f *fakeJobs) {
			f.jobs = []types.UserImportJobType{{JobName: aws.String("theirs"), JobId: aws.String("x")}}
		}, nil, 1, 1, false},
		"may not be made": {func(_ *importer, f *fakeJobs) { f.createErr = &types.LimitExceededException{} }, &jobEnd{None: true}, 0, 0, true},
		"given up before": {func(w *importer, _ *fakeJobs) { w.cursor.NoCSV = "before" }, &jobEnd{None: true}, 0, 0, true},
		"no address answers": {func(w *importer, _ *fakeJobs) {
			w.Upload = func(context.Context, string, []byte) error { return errors.New("no such host") }
		}, &jobEnd{None: true}, 3, 0, false},
		"an answer without a job":     {func(_ *importer, f *fakeJobs) { f.silent = true }, &jobEnd{None: true}, 0, 0, true},
		"the upload is refused twice": {refuseUploads(2), nil, 3, 1, false},
		"every upload is refused":     {refuseUploads(9), &jobEnd{None: true}, 3, 0, false},
		"started, the answer is lost": {func(_ *importer, f *fakeJobs) {
			f.startOf = &types.PreconditionNotMetException{Message: aws.String("its status is Pending")}
			f.onStart = func(j *types.UserImportJobType) { j.Status = types.UserImportJobStatusTypeInProgress }
		}, nil, 1, 1, false},
		"another one is active": {func(_ *importer, f *fakeJobs) {
			f.startOf = &types.PreconditionNotMetException{Message: aws.String("Only one user import job can be active in an account.")}
		}, nil, 1, 1, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := new(fakeJobs)
			w := jobImporter(t, f)
			if test.before != nil {
				test.before(w, f)
			}
			end, err := w.job(t.Context(), file)
			if err != nil {
				t.Fatal(err)
			}
			if (end == nil) != (test.want == nil) || end != nil && *end != *test.want {
				t.Errorf("ended %+v, want %+v", end, test.want)
			}
			if f.created != test.created || f.started != test.started || (w.cursor.NoCSV != "") != test.noCSV {
				t.Errorf("%d created, %d started, no CSV because %q", f.created, f.started, w.cursor.NoCSV)
			}
		})
	}
}

// refuseUploads lets the first uploads meet an address that has expired.
func refuseUploads(n int) func(*importer, *fakeJobs) {
	return func(w *importer, _ *fakeJobs) {
		w.ImportUsers.Upload = func(context.Context, string, []byte) error {
			if n--; n >= 0 {
				return &UploadRefusedError{Status: http.StatusForbidden}
			}
			return nil
		}
	}
}

// pass asks for the job, waiting as the step would, until it has ended, and
// returns how it ended and how long was waited.
func (w *importer) pass(t *testing.T, f *fakeJobs, meanwhile func()) (*jobEnd, time.Duration) {
	t.Helper()
	began := f.now
	for range 10_000 {
		end, err := w.job(t.Context(), &file{Rows: 10})
		if err != nil {
			t.Fatal(err)
		}
		if end != nil {
			return end, f.now.Sub(began)
		}
		f.now = f.now.Add(w.patience(10))
		if meanwhile != nil {
			meanwhile()
		}
	}
	t.Fatal("the wait does not end")
	return nil, 0
}

// noted is the text of one of the import's objects, "" if it is not there.
func (w *importer) noted(t *testing.T, key string) string {
	t.Helper()
	var text string
	if _, err := w.get(t.Context(), key, &text); err != nil {
		t.Fatal(err)
	}
	return text
}

// TestImportJobOutage: a tool that fails is waited for; then this file's users
// go by API, and the next file's only if it still fails.
func TestImportJobOutage(t *testing.T) {
	broken := outageError()
	for name, test := range map[string]struct {
		fail func(*fakeJobs)
		want jobEnd
	}{
		"cannot be looked for":       {func(f *fakeJobs) { f.lookErr = broken }, jobEnd{None: true}},
		"cannot be created":          {func(f *fakeJobs) { f.createErr = broken }, jobEnd{None: true}},
		"no connection":              {func(f *fakeJobs) { f.createErr = errors.New("connection reset") }, jobEnd{None: true}},
		"cannot be started, may run": {func(f *fakeJobs) { f.startOf = broken }, jobEnd{Imported: unknown}},
	} {
		t.Run(name, func(t *testing.T) {
			f := new(fakeJobs)
			w := jobImporter(t, f)
			test.fail(f)
			end, waited := w.pass(t, f, nil)
			if *end != test.want || waited != longestOutage || w.cursor.NoCSV != "" || w.noted(t, w.givenUpKey()) == "" {
				t.Errorf("%+v after %v, no CSV because %q", end, waited, w.cursor.NoCSV)
			}
			*f = fakeJobs{now: f.now, jobs: f.jobs} // it works again: too late for this file
			if end, _ := w.pass(t, f, nil); *end != test.want || f.created+f.started != 0 {
				t.Errorf("%+v, %d created, %d started", end, f.created, f.started)
			}
			w.next()
			test.fail(f)
			if end, waited := w.pass(t, f, nil); *end != test.want || waited != 0 {
				t.Errorf("the next file: %+v after %v", end, waited)
			}
			w.next()
			*f = fakeJobs{now: f.now}
			if end, err := w.job(t.Context(), &file{Rows: 10}); end != nil || err != nil || f.started != 1 || w.cursor.Outage != 0 {
				t.Errorf("the tool works again: %+v, %v, %d started", end, err, f.started)
			}
		})
	}
}

// TestRunningJobOutage: a job that was seen to run is looked for in the target
// when nobody can be asked about it, whether the tool fails or refuses.
func TestRunningJobOutage(t *testing.T) {
	for _, test := range []struct {
		err  error
		wait time.Duration
	}{
		{outageError(), longestOutage},
		{&smithy.GenericAPIError{Code: "UnknownError"}, longestOutage}, // nothing that knows the job
		{&types.NotAuthorizedException{}, 0},
		{&types.ResourceNotFoundException{}, 0},
	} {
		f := new(fakeJobs)
		w := jobImporter(t, f)
		for range 2 {
			if end, err := w.job(t.Context(), &file{Rows: 10}); end != nil || err != nil {
				t.Fatal(end, err)
			}
		}
		f.lookErr = test.err
		if end, waited := w.pass(t, f, nil); *end != (jobEnd{Imported: unknown}) || waited != test.wait || f.created != 1 {
			t.Errorf("%v: %+v after %v", test.err, end, waited)
		}
	}
}

// TestJobOutagePasses: a job is neither forgotten nor made twice.
func TestJobOutagePasses(t *testing.T) {
	f := new(fakeJobs)
	w := jobImporter(t, f)
	f.startOf = outageError()
	f.onStart = func(j *types.UserImportJobType) { j.Status = types.UserImportJobStatusTypePending } // and yet it starts
	polls := 0
	end, _ := w.pass(t, f, func() {
		f.startOf, f.onStart = nil, nil
		switch polls++; polls {
		case 1:
			f.lookErr = outageError()
		case 4:
			f.lookErr = nil
		case 6:
			f.jobs[0].Status, f.jobs[0].ImportedUsers = types.UserImportJobStatusTypeSucceeded, 10
		}
	})
	if *end != (jobEnd{Imported: 10}) || f.created != 1 || f.started != 1 {
		t.Errorf("%+v, %d created, %d started", end, f.created, f.started)
	}
}

// TestJobLeaseLost: that is no failure of the import tool.
func TestJobLeaseLost(t *testing.T) {
	for _, want := range []error{&step.LeaseLostError{}, context.Canceled} {
		f := &fakeJobs{createErr: want}
		w := jobImporter(t, f)
		if end, err := w.job(t.Context(), &file{Rows: 10}); end != nil || !errors.Is(err, want) || w.cursor.NoCSV != "" {
			t.Errorf("%v became %+v, %v", want, end, err)
		}
	}
}

// TestJobEndpoints: every form in which an endpoint refuses a job, or fails,
// ends in the API path.
func TestJobEndpoints(t *testing.T) {
	for want, answers := range map[time.Duration]map[string]answer{0: refusedForGood, longestOutage: passing} {
		for name, a := range answers {
			for _, operation := range []string{"ListUserImportJobs", "CreateUserImportJob"} {
				t.Run(operation+" "+name, func(t *testing.T) {
					f := new(fakeJobs)
					w := jobImporter(t, f)
					e, client := serve(t)
					e.answer(operation, a)
					w.Jobs = client
					end, waited := w.pass(t, f, nil)
					if *end != (jobEnd{None: true}) || waited != want || e.count("StartUserImportJob") != 0 {
						t.Errorf("%+v after %v", end, waited)
					}
					if reason := w.noted(t, w.noCSVKey()) + w.noted(t, w.givenUpKey()); reason == "" || (w.cursor.NoCSV == "") != (want > 0) {
						t.Errorf("noted %q", reason)
					}
				})
			}
		}
	}
}

// TestJobHangs: a job that does not move is stopped, and those whom it left out
// are looked for as after any stopped job. A second one ends CSV imports.
func TestJobHangs(t *testing.T) {
	f := new(fakeJobs)
	w := jobImporter(t, f)
	hang := func() (*jobEnd, time.Duration) {
		moves := 3
		return w.pass(t, f, func() {
			j := &f.jobs[0]
			switch {
			case moves > 0 && f.now.Sub(w.cursor.Progress.Since) > longestStandstill*3/4:
				moves--
				j.Status, j.ImportedUsers = types.UserImportJobStatusTypeInProgress, j.ImportedUsers+1
			case j.Status == types.UserImportJobStatusTypeStopping:
				j.Status = types.UserImportJobStatusTypeStopped
			}
		})
	}
	if end, took := hang(); *end != (jobEnd{Imported: 3}) || f.stopped != 1 || took < 2*longestStandstill || w.cursor.NoCSV != "" {
		t.Errorf("%+v after %v, stopped %d times, no CSV because %q", end, took, f.stopped, w.cursor.NoCSV)
	}
	w.next()
	if end, _ := hang(); *end != (jobEnd{Imported: 3}) || f.stopped != 2 || w.noted(t, w.noCSVKey()) == "" {
		t.Errorf("%+v, stopped %d times", end, f.stopped)
	}
	w.next()
	if end, took := hang(); *end != (jobEnd{None: true}) || took != 0 {
		t.Errorf("%+v after %v", end, took)
	}
}

// TestJobDoesNotStop: its users are looked for, and no other job is made beside it.
func TestJobDoesNotStop(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*fakeJobs)
		took   time.Duration // at least
	}{
		"may not be stopped":     {func(f *fakeJobs) { f.stopErr = &smithy.GenericAPIError{Code: "AccessDeniedException"} }, longestStandstill},
		"cannot be stopped":      {func(f *fakeJobs) { f.stopErr = outageError() }, 2 * longestStandstill},
		"has ended, and has not": {func(f *fakeJobs) { f.stopErr = &types.PreconditionNotMetException{} }, 2 * longestStandstill},
		"stops for ever":         {func(*fakeJobs) {}, 3 * longestStandstill},
		"is stopped in vain":     {func(f *fakeJobs) { f.deaf = true }, 2 * longestStandstill},
	} {
		t.Run(name, func(t *testing.T) {
			f := new(fakeJobs)
			w := jobImporter(t, f)
			test.change(f)
			polls := 0
			end, took := w.pass(t, f, func() { polls++ })
			if polls > 1000 { // each of them is in the execution's history, which has an end
				t.Errorf("asked %d times", polls)
			}
			if *end != (jobEnd{Imported: unknown}) || took < test.took || took > test.took+2*time.Hour || f.created != 1 || w.noted(t, w.noCSVKey()) == "" {
				t.Errorf("%+v after %v", end, took)
			}
		})
	}
}

func TestJobName(t *testing.T) {
	w := jobImporter(t, new(fakeJobs))
	names := map[string]bool{}
	for _, execution := range []string{"restore-1", "restore 1", "レストア", strings.Repeat("x", 90), strings.Repeat("x", 91) + "a", strings.Repeat("x", 91) + "b"} {
		w.Execution = "arn:aws:states:us-west-2:123456789012:execution:W:" + execution
		name := w.jobName()
		if !regexp.MustCompile(`^[\w\s+=,.@-]{1,128}$`).MatchString(name) || names[name] {
			t.Errorf("%s: job name %q", execution, name)
		}
		names[name] = true
	}
}

// TestUpload holds the request to what the import tool accepts.
// TestUploadHidesTheAddress: whoever reads it could put another file there.
func TestUploadHidesTheAddress(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	for _, address := range []string{server.URL + "/file?X-Amz-Signature=secret", "http://[secret"} {
		if err := upload(t.Context(), address, nil); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("an upload to %s: %v", address, err)
		}
	}
}

func TestUpload(t *testing.T) {
	status, requests := http.StatusOK, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "header\nrow\n" || r.Method != http.MethodPut || r.ContentLength != int64(len(body)) ||
			r.TransferEncoding != nil || r.Header.Get("x-amz-server-side-encryption") != "aws:kms" {
			t.Errorf("%s with %d bytes, %q, %v: %v", r.Method, r.ContentLength, r.TransferEncoding, r.Header, err)
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	if err := Upload(t.Context(), server.URL, []byte("header\nrow\n")); err != nil {
		t.Fatal(err)
	}
	status = http.StatusForbidden
	refused := new(UploadRefusedError)
	if err := Upload(t.Context(), server.URL, []byte("header\nrow\n")); !errors.As(err, &refused) || refused.Status != status || requests != 2 {
		t.Errorf("%v after %d requests", err, requests)
	}
}

// TestWaitingForSomebodyElsesJob: for hours the file's users do not go by API for
// it, however many of our jobs expire, and it is not waited for ever: nobody may
// stop it. The next file's users wait for it only if a job of ours ran meanwhile.
func TestWaitingForSomebodyElsesJob(t *testing.T) {
	busy := &types.UserImportInProgressException{Message: aws.String("another one")}
	f := &fakeJobs{startOf: busy}
	w := jobImporter(t, f)
	for range 5 {
		end, err := w.job(t.Context(), &file{Rows: 10})
		if end != nil || err != nil {
			t.Fatal(end, err)
		}
		f.now = f.now.Add(time.Hour) // the address expires
	}
	f.startOf = nil
	if end, err := w.job(t.Context(), &file{Rows: 10}); end != nil || err != nil || f.jobs[0].Status != types.UserImportJobStatusTypePending {
		t.Errorf("%+v, %v, the job is %s", end, err, f.jobs[0].Status)
	}

	f.jobs[0].Status = types.UserImportJobStatusTypeSucceeded
	f.startOf = busy
	w.next()
	if end, took := w.pass(t, f, nil); *end != (jobEnd{None: true}) || took < longestQueue || took > longestQueue+time.Hour {
		t.Errorf("%+v after %v", end, took)
	}
	if w.cursor.NoCSV != "" || !strings.Contains(w.noted(t, w.givenUpKey()), "6 h 0 min") {
		t.Errorf("no CSV because %q; given up because %q", w.cursor.NoCSV, w.noted(t, w.givenUpKey()))
	}
	w.next()
	if end, took := w.pass(t, f, nil); *end != (jobEnd{None: true}) || took != 0 {
		t.Errorf("the next file: %+v after %v", end, took)
	}
	w.next()
	f.startOf = nil
	if end, err := w.job(t.Context(), &file{Rows: 10}); end != nil || err != nil || !w.cursor.Behind.IsZero() {
		t.Errorf("the other job has ended: %+v, %v", end, err)
	}
}

// TestJobNeedNotMove: nobody says how often Cognito counts what a job has done,
// so that one which answers in between is no outage.
func TestJobNeedNotMove(t *testing.T) {
	f := new(fakeJobs)
	w := jobImporter(t, f)
	for poll := range 100 {
		f.lookErr = nil
		if poll%2 == 1 {
			f.lookErr = outageError()
		}
		if end, err := w.job(t.Context(), &file{Rows: 10}); end != nil || err != nil {
			t.Fatalf("poll %d: %+v, %v", poll, end, err)
		}
		f.now = f.now.Add(w.patience(10))
	}
}

// TestImportToolAcrossRounds: what made CSV imports impossible in one round does
// so in the next, though that begins without a cursor.
func TestImportToolAcrossRounds(t *testing.T) {
	f := new(fakeJobs)
	w := jobImporter(t, f)
	want := importTool{NoCSV: "import job 1 could not be stopped", Worked: true, Stuck: 2, Outage: outage(longestOutage), Behind: f.now}
	for key, v := range map[string]any{w.planKey(): w.plan, w.roundKey(1): round{}, w.roundKey(2): round{Chunks: 1}} {
		if err := w.put(t.Context(), key, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.put(t.Context(), w.importToolKey(), want); err != nil {
		t.Fatal(err)
	}
	handle := func(round int, slice time.Duration) step.Run {
		event := w.Event
		event.Step, event.Run = "ImportUsers", step.Run{Round: round}
		next, err := (&step.Runner{Step: w.ImportUsers, Objects: w.Objects, Slice: slice, Now: w.Now}).Handle(t.Context(), event)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	var tool importTool
	handle(1, time.Minute)
	if err := w.Objects.Get(t.Context(), w.importToolKey(), &tool); err != nil || tool != want {
		t.Errorf("kept %+v, %v", tool, err)
	}
	var cursor importCursor
	next := handle(2, 0) // no time for more than to begin
	if err := w.Objects.Get(t.Context(), next.Cursor, &cursor); err != nil || cursor.importTool != want {
		t.Errorf("the next round begins with %+v, %v", cursor, err)
	}
}
