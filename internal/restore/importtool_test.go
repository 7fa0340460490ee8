package restore

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"cognito-backup/internal/step"
)

// answer is what an endpoint says to a call of the import tool.
type answer struct {
	status int
	body   string
}

// refusedForGood are answers of endpoints that have no import tool, passing are
// those that one which works may give for a while.
var (
	refusedForGood = map[string]answer{
		"404 with a page":         {404, "<html>not found</html>"},
		"404 with a line of text": {404, "404 page not found\n"},
		"404 with nothing":        {404, ""},
		"405 with a page":         {405, "<html>method not allowed</html>"},
		"403 with a page":         {403, "<html>forbidden</html>"},
		"302 with a page":         {302, "<html>moved</html>"},
		"501 with a page":         {501, "<html>not implemented</html>"},
		"500 with a page":         {500, "<html>oops</html>"},
		"500 with nothing":        {500, ""},
		"501 with nothing":        {501, ""},
		"501 in JSON":             {501, `{"__type": "InternalFailure", "message": "not implemented"}`},
		"400 in JSON":             {400, `{"__type": "UnknownOperationException"}`},
		"access denied":           {400, `{"__type": "AccessDeniedException", "message": "no"}`},
		"a limit":                 {400, `{"__type": "LimitExceededException", "message": "jobs"}`},
	}
	passing = map[string]answer{
		"500 in JSON":          {500, `{"__type": "InternalErrorException", "message": "oops"}`},
		"500 of no known sort": {500, `{"__type": "InternalFailure"}`},
		"503 with a page":      {503, "<html>busy</html>"},
		"520 with a page":      {520, "<html>the proxy's own</html>"},
		"429 with a page":      {429, "<html>slow down</html>"},
		"throttled":            {400, `{"__type": "TooManyRequestsException"}`},
		"cut off":              {200, `{"CSVHeader": ["na`},
	}
)

// endpoint answers calls as answers says, by operation, and notes them.
type endpoint struct {
	mu      sync.Mutex
	answers map[string]answer
	calls   []string
}

func (e *endpoint) answer(operation string, a answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answers[operation] = a
}

func (e *endpoint) count(operation string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, call := range e.calls {
		if call == operation {
			n++
		}
	}
	return n
}

// serve returns the SDK's client of a new endpoint. It does not try again by
// itself: what comes of an error after all attempts is at issue here.
func serve(t *testing.T) (*endpoint, *idp.Client) {
	t.Helper()
	e := &endpoint{answers: map[string]answer{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AWSCognitoIdentityProviderService.")
		e.mu.Lock()
		defer e.mu.Unlock()
		e.calls = append(e.calls, operation)
		a, known := e.answers[operation]
		if !known {
			a = answer{200, "{}"}
		}
		w.WriteHeader(a.status)
		_, _ = w.Write([]byte(a.body))
	}))
	t.Cleanup(server.Close)
	return e, idp.New(idp.Options{Region: "us-west-2", BaseEndpoint: &server.URL, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "key", SecretAccessKey: "secret"}, nil
		})})
}

// toolAt is a world whose import tool is an endpoint.
type toolAt struct {
	*preflightWorld
	client *idp.Client
}

func (w *toolAt) GetCSVHeader(ctx context.Context, in *idp.GetCSVHeaderInput, options ...func(*idp.Options)) (*idp.GetCSVHeaderOutput, error) {
	return w.client.GetCSVHeader(ctx, in, options...)
}

func (w *toolAt) ListUserImportJobs(ctx context.Context, in *idp.ListUserImportJobsInput, options ...func(*idp.Options)) (*idp.ListUserImportJobsOutput, error) {
	return w.client.ListUserImportJobs(ctx, in, options...)
}

// through runs pre-flight to its end and returns how long it asked to wait.
func through(t *testing.T, runner *step.Runner, event step.Event, meanwhile func()) (*Plan, time.Duration) {
	t.Helper()
	var waited time.Duration
	for range 100 {
		run, err := runner.Handle(t.Context(), event)
		if err != nil {
			t.Fatal(err)
		}
		if run.Cursor == "" {
			return planned(t, runner, event), waited
		}
		if plan := planned(t, runner, event); plan.Started != (time.Time{}) {
			t.Fatal("a plan was written while pre-flight waited")
		}
		waited += time.Duration(run.WaitSeconds) * time.Second
		event.Run = run
		if meanwhile != nil {
			meanwhile()
		}
	}
	t.Fatal("pre-flight does not end")
	return nil, 0
}

func warned(plan *Plan, parts ...string) bool {
	return slices.ContainsFunc(plan.Warnings, func(s string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(s, part) })
	})
}

// outageError is what the SDK makes of an error of Cognito's own.
func outageError() error {
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: http.StatusInternalServerError}},
		Err:      &types.InternalErrorException{Message: aws.String("oops")},
	}
}

const goodHeader = `{"CSVHeader": ["email", "email_verified", "custom:plan", "cognito:mfa_enabled", "cognito:username"]}`

// TestPreflightWithoutImportTool: whatever an endpoint says that has no import
// tool, or one that does not work, the import goes on.
func TestPreflightWithoutImportTool(t *testing.T) {
	for _, operation := range []string{"GetCSVHeader", "ListUserImportJobs"} {
		try := func(t *testing.T, a answer) (*Plan, time.Duration) {
			t.Helper()
			e, client := serve(t)
			e.answer("GetCSVHeader", answer{200, goodHeader})
			e.answer(operation, a)
			w := preflight()
			w.tool = &toolAt{w, client}
			runner, event := w.runner(t)
			plan, waited := through(t, runner, event, nil)
			if plan.Header != nil {
				t.Errorf("users are to go by CSV all the same: %q", plan.Header)
			}
			for _, call := range e.calls {
				if call != "GetCSVHeader" && call != "ListUserImportJobs" {
					t.Errorf("%s was called", call)
				}
			}
			return plan, waited
		}
		for name, a := range refusedForGood {
			t.Run(operation+" "+name, func(t *testing.T) {
				if plan, waited := try(t, a); waited != 0 || !warned(plan, "No CSV import is possible", "bills each of them as active") {
					t.Errorf("waited %v, %q", waited, plan.Warnings)
				}
			})
		}
		for name, a := range passing {
			t.Run(operation+" "+name, func(t *testing.T) {
				if plan, waited := try(t, a); waited != longestOutage || !warned(plan, "failed for more than five minutes", "bills each of them as active") {
					t.Errorf("waited %v, %q", waited, plan.Warnings)
				}
			})
		}
	}
}

// TestPreflightOutagePasses: an outage that passes costs nobody's CSV import.
func TestPreflightOutagePasses(t *testing.T) {
	e, client := serve(t)
	e.answer("GetCSVHeader", answer{503, ""})
	w := preflight()
	w.tool = &toolAt{w, client}
	runner, event := w.runner(t)
	slices := 0
	plan, waited := through(t, runner, event, func() {
		if slices++; slices == 4 {
			e.answer("GetCSVHeader", answer{200, goodHeader})
		}
	})
	if plan.Header == nil || waited == 0 || waited >= longestOutage || warned(plan, "by API") {
		t.Errorf("waited %v, %q, %q", waited, plan.Header, plan.Warnings)
	}
}

// TestPreflightFindingsInOutage: what keeps the import from starting is told at
// once, not after the wait.
func TestPreflightFindingsInOutage(t *testing.T) {
	w := preflight()
	w.headerErr = outageError()
	w.occupied = true
	if findings, _, _ := w.check(t); len(findings) != 1 || !strings.Contains(findings[0], "is not empty") {
		t.Errorf("%q", findings)
	}
}

// TestPreflightChecksThatFail: calls that decide about a warning fail no import.
func TestPreflightChecksThatFail(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*preflightWorld, error)
		want   string
	}{
		"identity providers": {func(w *preflightWorld, err error) { w.providersErr = err }, "Whether us-west-2_Target has the identity providers of the source could not be checked (list identity providers"},
		"pools":              {func(w *preflightWorld, err error) { w.listErr = err }, "active in another pool could not be checked (list user pools"},
		"jobs of another pool": {func(w *preflightWorld, err error) { w.jobsErr = map[string]error{"us-west-2_Other": err} },
			"active in another pool could not be checked (list the import jobs of us-west-2_Other"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, err := range []error{
				outageError(), errors.New("no such host"), &types.TooManyRequestsException{},
				&smithy.DeserializationError{Err: errors.New("invalid character '<'")},
			} {
				w := preflight()
				test.change(w, err)
				findings, plan, run := w.check(t)
				if findings != nil || run.Cursor != "" || plan.Header == nil || !warned(plan, test.want) {
					t.Errorf("%v: %q, %q", err, findings, plan.Warnings)
				}
			}
			for _, err := range []error{context.Canceled, &step.LeaseLostError{}} {
				w := preflight()
				test.change(w, err)
				runner, event := w.runner(t)
				if _, got := runner.Handle(t.Context(), event); !errors.Is(got, err) {
					t.Errorf("%v became %v", err, got)
				}
			}
		})
	}
}

// TestPreflightLeaseLost: an invocation that may no longer work does not take
// that for a failure of the import tool.
func TestPreflightLeaseLost(t *testing.T) {
	for _, err := range []error{&step.LeaseLostError{}, context.DeadlineExceeded} {
		w := preflight()
		w.headerErr = err
		runner, event := w.runner(t)
		if _, got := runner.Handle(t.Context(), event); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
}

// TestAnotherJobHangs: somebody else's job is waited for as long as it moves.
func TestAnotherJobHangs(t *testing.T) {
	w := preflight()
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	w.now = func() time.Time { return now }
	w.jobs[targetPool] = types.UserImportJobType{JobId: aws.String("import-7"), Status: types.UserImportJobStatusTypeInProgress, ImportedUsers: 41}
	runner, event := w.runner(t)
	wait := func() error {
		t.Helper()
		run, err := runner.Handle(t.Context(), event)
		if err == nil && (run.Cursor == "" || run.WaitSeconds == 0) {
			t.Errorf("pre-flight does not wait: %+v", run)
		}
		event.Run = run
		return err
	}
	for range 20 { // more than a day, and it moves
		if err := wait(); err != nil {
			t.Fatal(err)
		}
		now = now.Add(longestStandstill - time.Minute)
		job := w.jobs[targetPool]
		job.SkippedUsers++
		w.jobs[targetPool] = job
	}
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	before := event
	now = now.Add(longestStandstill)
	refused := new(PreflightError)
	want := "import job import-7 of somebody else in us-west-2_Target has not moved for 6 h 0 min (InProgress, 41 users imported); stop it with aws cognito-idp stop-user-import-job --region us-west-2 --user-pool-id us-west-2_Target --job-id import-7 and start again, or wait until it has ended"
	if err := wait(); !errors.As(err, &refused) || len(refused.Findings) != 1 || refused.Findings[0] != want {
		t.Errorf("%v", err)
	}
	event = before
	w.jobs[targetPool] = types.UserImportJobType{JobId: aws.String("import-8"), Status: types.UserImportJobStatusTypeInProgress, ImportedUsers: 41}
	if err := wait(); err != nil { // another one
		t.Error(err)
	}
}

// TestNoImportTool: an outage must not end CSV imports for good, and what has no
// import tool must not be waited for.
func TestNoImportTool(t *testing.T) {
	e, client := serve(t)
	pool := "us-west-2_T"
	for want, answers := range map[bool]map[string]answer{true: refusedForGood, false: passing} {
		for name, a := range answers {
			e.answer("GetCSVHeader", a)
			_, err := client.GetCSVHeader(t.Context(), &idp.GetCSVHeaderInput{UserPoolId: &pool})
			if err == nil || noImportTool(err) != want || ownEnd(err) {
				t.Errorf("%s: for good is %t: %v", name, !want, err)
			}
		}
	}
	for _, err := range []error{context.Canceled, &step.LeaseLostError{}, errors.New("no such host")} {
		if noImportTool(err) {
			t.Errorf("%v", err)
		}
	}
}
