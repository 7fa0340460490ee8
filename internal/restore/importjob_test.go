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

	"cognito-backup/internal/step"
	"cognito-backup/internal/step/steptest"
)

// fakeJobs plays the import tool for forced failures.
type fakeJobs struct {
	jobs               []types.UserImportJobType
	created, started   int
	createErr, startOf error
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

func (f *fakeJobs) DescribeUserImportJob(_ context.Context, in *idp.DescribeUserImportJobInput, _ ...func(*idp.Options)) (*idp.DescribeUserImportJobOutput, error) {
	return &idp.DescribeUserImportJobOutput{UserImportJob: f.find(*in.JobId)}, nil
}

func (f *fakeJobs) ListUserImportJobs(context.Context, *idp.ListUserImportJobsInput, ...func(*idp.Options)) (*idp.ListUserImportJobsOutput, error) {
	return &idp.ListUserImportJobsOutput{UserImportJobs: f.jobs}, nil
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

func TestImportJobOutage(t *testing.T) {
	f := &fakeJobs{createErr: errors.New("connection reset")}
	w := jobImporter(t, f)
	if _, err := w.job(t.Context(), &file{Rows: 10}); err == nil || w.cursor.NoCSV != "" {
		t.Errorf("an outage must be tried again, not end CSV imports: %v, %q", err, w.cursor.NoCSV)
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

// TestWaitingForSomebodyElsesJob: however long it takes, the file's users do
// not go by API for it.
func TestWaitingForSomebodyElsesJob(t *testing.T) {
	f := &fakeJobs{}
	w := jobImporter(t, f)
	f.startOf = &types.UserImportInProgressException{Message: aws.String("another one")}
	for range 10 {
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
}
