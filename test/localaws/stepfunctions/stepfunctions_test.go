package stepfunctions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cognito-backup/test/localaws/wire"
)

const (
	testRegion = "eu-central-1"
	testRole   = "arn:aws:iam::123456789012:role/workflow"
)

// invokeFunc is an Invoker made of a function.
type invokeFunc func(ctx context.Context, function string, payload []byte) ([]byte, string, error)

func (f invokeFunc) Invoke(ctx context.Context, function string, _ wire.Principal, payload []byte) ([]byte, string, error) {
	return f(ctx, function, payload)
}

// echo answers with what it got.
func echo(_ context.Context, _ string, payload []byte) ([]byte, string, error) {
	return payload, "", nil
}

func newService(t *testing.T, invoker invokeFunc) *Service {
	t.Helper()
	if invoker == nil {
		invoker = echo
	}
	s := New(testRegion, &wire.Clock{Factor: 1000}, invoker)
	t.Cleanup(s.Close)
	return s
}

func create(t *testing.T, s *Service, definition string) string {
	t.Helper()
	arn, err := s.Create("Machine", definition, testRole)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return arn
}

// execute runs a definition to its end.
func execute(t *testing.T, s *Service, definition, input string) (Result, string) {
	t.Helper()
	arn, err := s.Start(create(t, s, definition), "", input)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := s.Wait(ctx, arn)
	if err != nil {
		t.Fatalf("Wait: %v", err)
	}
	return r, arn
}

// single wraps one state into a machine.
func single(state string) string {
	return `{"StartAt":"S","States":{"S":` + state + `}}`
}

func history(t *testing.T, s *Service, arn string) []event {
	t.Helper()
	e := s.execution(arn)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.events
}

func types(events []event) string {
	var names []string
	for _, e := range events {
		names = append(names, fmt.Sprintf("%d<%d %s", e.ID, e.Previous, e.Type))
	}
	return strings.Join(names, "\n")
}

func TestInputAndOutputProcessing(t *testing.T) {
	tests := []struct{ name, state, input, want string }{
		{"pass", `{"Type":"Pass","End":true}`, `{"a":1}`, `{"a":1}`},
		{"large integers keep their digits", `{"Type":"Pass","End":true}`, `{"a":9007199254740993,"b":1.5}`, `{"a":9007199254740993,"b":1.5}`},
		{"nothing is escaped", `{"Type":"Pass","End":true}`, `{"a":"<&> 日本 😀"}`, `{"a":"<&> 日本 😀"}`},
		{"result", `{"Type":"Pass","Result":{"x":[1]},"End":true}`, `{"a":1}`, `{"x":[1]}`},
		{"result path", `{"Type":"Pass","Result":7,"ResultPath":"$.b.c","End":true}`, `{"a":1}`, `{"a":1,"b":{"c":7}}`},
		{"result path into an array", `{"Type":"Pass","Result":7,"ResultPath":"$.a[1]","End":true}`, `{"a":[1,2]}`, `{"a":[1,7]}`},
		{"result path null", `{"Type":"Pass","Result":7,"ResultPath":null,"End":true}`, `{"a":1}`, `{"a":1}`},
		{"input path", `{"Type":"Pass","InputPath":"$.a","End":true}`, `{"a":{"b":2}}`, `{"b":2}`},
		{"input path null", `{"Type":"Pass","InputPath":null,"End":true}`, `{"a":1}`, `{}`},
		{"result path uses the raw input", `{"Type":"Pass","InputPath":"$.a","Result":1,"ResultPath":"$.r","End":true}`, `{"a":2}`, `{"a":2,"r":1}`},
		{"output path", `{"Type":"Pass","OutputPath":"$[0]","End":true}`, `[5,6]`, `5`},
		{"output path null", `{"Type":"Pass","OutputPath":null,"End":true}`, `[5,6]`, `{}`},
		{"an indefinite path gives an array", `{"Type":"Pass","OutputPath":"$..id","End":true}`, `[{"id":1},{"id":2}]`, `[1,2]`},
		{"an indefinite path without a match gives an empty array", `{"Type":"Pass","OutputPath":"$[?(@.id==9)]","End":true}`, `[{"id":1}]`, `[]`},
		{"parameters", `{"Type":"Pass","Parameters":{"x.$":"$.a","y":{"z.$":"$$.State.Name"},"l":[{"e.$":"$.b[-1]"}]},"End":true}`, `{"a":null,"b":[1,2]}`, `{"l":[{"e":2}],"x":null,"y":{"z":"S"}}`},
		{"names in brackets", `{"Type":"Pass","OutputPath":"$['a-b']['c d']","End":true}`, `{"a-b":{"c d":1}}`, `1`},
		{"succeed", `{"Type":"Succeed","OutputPath":"$.a"}`, `{"a":1}`, `1`},
		{"input may be any JSON", `{"Type":"Pass","End":true}`, `"text"`, `"text"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, _ := execute(t, newService(t, nil), single(test.state), test.input)
			if r.Status != succeeded || r.Output != test.want {
				t.Errorf("%+v, want output %s", r, test.want)
			}
		})
	}
}

func TestRuntimeErrors(t *testing.T) {
	catchAll := `,"Retry":[{"ErrorEquals":["States.ALL"]}],"Catch":[{"ErrorEquals":["States.ALL"],"Next":"S"}]`
	tests := []struct{ name, state, wantError, wantCause string }{
		{"input path", `{"Type":"Pass","InputPath":"$.none","End":true}`, errRuntime, "An error occurred while executing the state 'S' (entered at the event id #2). Invalid path '$.none'"},
		{"output path", `{"Type":"Pass","OutputPath":"$.none","End":true}`, errRuntime, "Invalid path '$.none'"},
		{"runtime errors cannot be caught", `{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"f"},"OutputPath":"$.none","End":true` + catchAll + `}`, errRuntime, "$.none"},
		{"parameters", `{"Type":"Pass","Parameters":{"x.$":"$.none"},"End":true}`, errParameterPath, "The JSONPath '$.none' specified for the field 'x.$' could not be found in the input '{\"a\":1}'"},
		{"result path", `{"Type":"Pass","Result":1,"ResultPath":"$.a.b","End":true}`, errResultPath, "Unable to apply"},
		{"no choice", `{"Type":"Choice","Choices":[{"Variable":"$.a","NumericEquals":2,"Next":"S"}]}`, errNoChoice, ""},
		{"a choice on what is not there", `{"Type":"Choice","Choices":[{"Variable":"$.b","NumericEquals":2,"Next":"S"}]}`, errRuntime, "Invalid path '$.b': The choice state's condition path references an invalid value."},
		{"fail", `{"Type":"Fail","Error":"Mine","Cause":"because"}`, "Mine", "because"},
		{"fail with paths", `{"Type":"Fail","ErrorPath":"$$.State.Name","CausePath":"States.Format('a is {}', $.a)"}`, "S", "a is 1"},
		{"fail without anything", `{"Type":"Fail"}`, "", ""},
		{"intrinsic", `{"Type":"Pass","Parameters":{"x.$":"States.MathAdd('1', 2)"},"End":true}`, errIntrinsic, "not a number"},
		{"wait", `{"Type":"Wait","SecondsPath":"$.none","End":true}`, errRuntime, "SecondsPath"},
		{"map", `{"Type":"Map","ItemsPath":"$.a","ItemProcessor":{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}},"End":true}`, errRuntime, "must point to array"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, _ := execute(t, newService(t, nil), single(test.state), `{"a":1}`)
			if r.Status != failed || r.Error != test.wantError || !strings.Contains(r.Cause, test.wantCause) {
				t.Errorf("%+v, want %s: %s", r, test.wantError, test.wantCause)
			}
		})
	}
}

func TestContextObject(t *testing.T) {
	s := newService(t, nil)
	machine := create(t, s, single(`{"Type":"Pass","Parameters":{"c.$":"$$"},"End":true}`))
	arn, err := s.Start(machine, "run-1", `{"k":1}`)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Wait(t.Context(), arn)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		C struct {
			Execution struct {
				ID        string `json:"Id"`
				Name      string
				RoleArn   string
				StartTime time.Time
				Input     map[string]int
			}
			State struct {
				Name        string
				EnteredTime time.Time
				RetryCount  *int
			}
			StateMachine struct {
				ID   string `json:"Id"`
				Name string
			}
		} `json:"c"`
	}
	if err := json.Unmarshal([]byte(r.Output), &got); err != nil {
		t.Fatal(err)
	}
	c := got.C
	if c.Execution.ID != arn || c.Execution.Name != "run-1" || c.Execution.RoleArn != testRole || c.Execution.Input["k"] != 1 ||
		c.Execution.StartTime.IsZero() || c.State.Name != "S" || c.State.RetryCount == nil || c.StateMachine.ID != machine || c.StateMachine.Name != "Machine" {
		t.Errorf("context object: %s", r.Output)
	}
	if arn != "arn:aws:states:eu-central-1:123456789012:execution:Machine:run-1" {
		t.Errorf("execution ARN %s", arn)
	}
}

func TestTask(t *testing.T) {
	s := newService(t, func(_ context.Context, function string, payload []byte) ([]byte, string, error) {
		return fmt.Appendf(nil, `{"function":%q,"got":%s}`, function, payload), "", nil
	})
	r, arn := execute(t, s, single(`{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"f","Payload":{"in.$":"$"}},"TimeoutSeconds":60,"End":true}`), `{"a":1}`)
	var result struct {
		StatusCode      int
		ExecutedVersion string
		Payload         json.RawMessage
		SdkHttpMetadata struct{ HttpStatusCode int }
	}
	if err := json.Unmarshal([]byte(r.Output), &result); err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	if want := `{"function":"arn:aws:lambda:eu-central-1:123456789012:function:f","got":{"in":{"a":1}}}`; string(result.Payload) != want {
		t.Errorf("payload %s, want %s", result.Payload, want)
	}
	if result.StatusCode != 200 || result.ExecutedVersion != "$LATEST" || result.SdkHttpMetadata.HttpStatusCode != 200 {
		t.Errorf("result %s", r.Output)
	}
	if got, want := types(history(t, s, arn)), strings.Join([]string{
		"1<0 ExecutionStarted", "2<0 TaskStateEntered", "3<2 TaskScheduled", "4<3 TaskStarted", "5<4 TaskSucceeded", "6<5 TaskStateExited", "7<6 ExecutionSucceeded",
	}, "\n"); got != want {
		t.Errorf("history:\n%s", got)
	}
	scheduled := history(t, s, arn)[2].wire(true)["taskScheduledEventDetails"].(map[string]any)
	if scheduled["resourceType"] != "lambda" || scheduled["resource"] != "invoke" || scheduled["region"] != testRegion || scheduled["timeoutInSeconds"] != int64(60) || !strings.Contains(scheduled["parameters"].(string), `"FunctionName":"f"`) {
		t.Errorf("TaskScheduled %v", scheduled)
	}
}

func TestTaskOfAPlainFunction(t *testing.T) {
	s := newService(t, nil)
	r, arn := execute(t, s, single(`{"Type":"Task","Resource":"arn:aws:lambda:eu-central-1:123456789012:function:f","ResultSelector":{"x.$":"$.a"},"ResultPath":"$.r","End":true}`), `{"a":1}`)
	if r.Output != `{"a":1,"r":{"x":1}}` {
		t.Errorf("%+v", r)
	}
	if got, want := types(history(t, s, arn)), strings.Join([]string{
		"1<0 ExecutionStarted", "2<0 TaskStateEntered", "3<2 LambdaFunctionScheduled", "4<3 LambdaFunctionStarted", "5<4 LambdaFunctionSucceeded", "6<5 TaskStateExited", "7<6 ExecutionSucceeded",
	}, "\n"); got != want {
		t.Errorf("history:\n%s", got)
	}
}

// TestShortenTasks: a task times out before its time, while its function works on.
func TestShortenTasks(t *testing.T) {
	var calls atomic.Int32
	end := make(chan struct{})
	s := newService(t, func(context.Context, string, []byte) ([]byte, string, error) {
		if calls.Add(1) == 1 {
			<-end
		}
		return []byte("1"), "", nil
	})
	short := []time.Duration{10 * time.Millisecond, 0}
	s.ShortenTasks(func() (d time.Duration) {
		d, short = short[0], short[1:]
		return d
	})
	r, _ := execute(t, s, single(`{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"f"},"TimeoutSeconds":60,"Retry":[{"ErrorEquals":["States.Timeout"]}],"End":true}`), "")
	close(end)
	if r.Status != succeeded || s.TimedOut() != 1 {
		t.Errorf("%+v, %d tasks timed out", r, s.TimedOut())
	}
}

func TestTaskErrors(t *testing.T) {
	type answer struct {
		result, functionError string
		err                   error
	}
	tests := []struct {
		name      string
		answer    answer
		wantError string
		wantCause string
	}{
		{"of the function", answer{`{"errorType":"TransientError","errorMessage":"try again"}`, "Unhandled", nil}, "TransientError", `{"errorMessage":"try again","errorType":"TransientError"}`},
		{"without a type", answer{`{"errorMessage":"gone"}`, "Unhandled", nil}, "Lambda.Unknown", `Returned payload: {"errorMessage":"gone"}`},
		{"throttled", answer{err: &wire.Error{Code: "TooManyRequestsException", Message: "Rate Exceeded.", Status: 429}}, "Lambda.TooManyRequestsException", "Rate Exceeded. (Service: AWSLambda; Status Code: 429; Error Code: TooManyRequestsException"},
		{"service", answer{err: &wire.Error{Code: "ServiceException", Status: 500}}, "Lambda.ServiceException", "500"},
		{"time-out of the client", answer{err: &wire.Error{Code: "ClientExecutionTimeoutException", Status: 500}}, "Lambda.ClientExecutionTimeoutException", "500"},
		{"denied", answer{err: &wire.Error{Code: "AccessDeniedException", Status: 403}}, "Lambda.AWSLambdaException", "Error Code: AccessDeniedException"},
		{"connection", answer{err: errors.New("connection reset")}, "Lambda.SdkClientException", "connection reset"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t, func(context.Context, string, []byte) ([]byte, string, error) {
				return []byte(test.answer.result), test.answer.functionError, test.answer.err
			})
			r, _ := execute(t, s, single(`{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"f"},"End":true}`), "")
			if r.Status != failed || r.Error != test.wantError || !strings.Contains(r.Cause, test.wantCause) {
				t.Errorf("%+v, want %s: %s", r, test.wantError, test.wantCause)
			}
		})
	}
}

func TestTaskNeedsPermission(t *testing.T) {
	s := newService(t, nil)
	s.Authorize = func(role, action, resource string, _ map[string]string) error {
		if role == testRole && action == "lambda:InvokeFunction" && strings.HasSuffix(resource, ":function:allowed") {
			return nil
		}
		return errors.New("denied")
	}
	task := `{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"%s"},"End":true}`
	if r, _ := execute(t, s, single(fmt.Sprintf(task, "allowed")), ""); r.Status != succeeded {
		t.Errorf("allowed: %+v", r)
	}
	r, _ := execute(t, s, single(fmt.Sprintf(task, "other")), "")
	if r.Error != "Lambda.AWSLambdaException" || !strings.Contains(r.Cause, "is not authorized to perform: lambda:InvokeFunction on resource: arn:aws:lambda:eu-central-1:123456789012:function:other") || !strings.Contains(r.Cause, "AccessDeniedException") {
		t.Errorf("other: %+v", r)
	}
}

func TestRetryAndCatch(t *testing.T) {
	var mu sync.Mutex
	calls := 0
	s := newService(t, func(context.Context, string, []byte) ([]byte, string, error) {
		mu.Lock()
		defer mu.Unlock()
		calls++
		kind := "A"
		if calls > 2 {
			kind = "B"
		}
		return fmt.Appendf(nil, `{"errorType":%q,"errorMessage":"%d"}`, kind, calls), "Unhandled", nil
	})
	r, arn := execute(t, s, `{"StartAt":"T","States":{
		"T":{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"f","Payload":{"n.$":"$$.State.RetryCount"}},"Next":"Never",
			"Retry":[{"ErrorEquals":["A"],"IntervalSeconds":2,"MaxAttempts":6},{"ErrorEquals":["States.TaskFailed"],"MaxAttempts":1,"JitterStrategy":"FULL"}],
			"Catch":[{"ErrorEquals":["Other"],"Next":"Never"},{"ErrorEquals":["States.ALL"],"ResultPath":"$.error","Next":"Caught"}]},
		"Never":{"Type":"Fail"},
		"Caught":{"Type":"Pass","End":true}}}`, `{"a":1}`)
	if calls != 4 || r.Status != succeeded || r.Output != `{"a":1,"error":{"Cause":"{\"errorMessage\":\"4\",\"errorType\":\"B\"}","Error":"B"}}` {
		t.Errorf("%d calls, %+v", calls, r)
	}
	o, _ := s.Observe(arn)
	if o.Events["TaskScheduled"] != 4 || o.Events["TaskFailed"] != 4 || o.Entered["T"] != 1 || o.Entered["Caught"] != 1 {
		t.Errorf("%+v", o)
	}
	if last := history(t, s, arn)[12].wire(true)["taskScheduledEventDetails"]; last != nil {
		t.Errorf("event 13 is %v", last)
	}
}

func TestRetryDelay(t *testing.T) {
	r := retrier{IntervalSeconds: 2, BackoffRate: 2, MaxDelaySeconds: 10}
	for n, want := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second} {
		if got := r.delay(int64(n), 0.5); got != want {
			t.Errorf("delay %d: %v, want %v", n, got, want)
		}
	}
	r.FullJitter = true
	if got := r.delay(2, 0.25); got != 2*time.Second {
		t.Errorf("jitter: %v", got)
	}
}

func TestTaskTimeout(t *testing.T) {
	release := make(chan struct{})
	finished := make(chan struct{})
	s := newService(t, func(context.Context, string, []byte) ([]byte, string, error) {
		<-release
		close(finished)
		return []byte(`1`), "", nil
	})
	r, arn := execute(t, s, single(`{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"f"},"TimeoutSeconds":1,"Retry":[{"ErrorEquals":["States.TaskFailed"]}],"End":true}`), "")
	if r.Status != failed || r.Error != errTimeout {
		t.Errorf("%+v", r)
	}
	o, _ := s.Observe(arn)
	if o.Events["TaskTimedOut"] != 1 || o.Events["TaskScheduled"] != 1 {
		t.Errorf("States.TaskFailed took a time-out: %+v", o)
	}
	close(release) // the function outlived its task, and nobody minds
	<-finished
}

func TestParallel(t *testing.T) {
	s := newService(t, nil)
	r, arn := execute(t, s, single(`{"Type":"Parallel","Branches":[
		{"StartAt":"A","States":{"A":{"Type":"Pass","Parameters":{"branch":0,"in.$":"$.a"},"End":true}}},
		{"StartAt":"B","States":{"B":{"Type":"Wait","Seconds":1,"Next":"C"},"C":{"Type":"Pass","Result":"c","End":true}}}],
		"ResultSelector":{"first.$":"$[0]","all.$":"$"},"OutputPath":"$.first","End":true}`), `{"a":1}`)
	if r.Output != `{"branch":0,"in":1}` {
		t.Errorf("%+v", r)
	}
	o, _ := s.Observe(arn)
	if o.Events["ParallelStateStarted"] != 1 || o.Events["ParallelStateSucceeded"] != 1 || o.Events["WaitStateExited"] != 1 {
		t.Errorf("%+v", o)
	}
}

func TestParallelFails(t *testing.T) {
	s := newService(t, nil)
	r, arn := execute(t, s, single(`{"Type":"Parallel","Branches":[
		{"StartAt":"A","States":{"A":{"Type":"Fail","Error":"Bad","Cause":"x"}}},
		{"StartAt":"B","States":{"B":{"Type":"Wait","Seconds":9999999,"End":true}}}],"End":true}`), "")
	if r.Status != failed || r.Error != "Bad" || r.Cause != "x" {
		t.Errorf("%+v", r)
	}
	o, _ := s.Observe(arn)
	if o.Events["ParallelStateFailed"] != 1 || o.Events["WaitStateExited"] != 0 {
		t.Errorf("%+v", o)
	}
}

func TestMap(t *testing.T) {
	s := newService(t, nil)
	r, arn := execute(t, s, single(`{"Type":"Map","InputPath":"$.in","ItemsPath":"$.list","MaxConcurrency":2,
		"ItemSelector":{"i.$":"$$.Map.Item.Index","v.$":"$$.Map.Item.Value","k.$":"$.k"},
		"ItemProcessor":{"ProcessorConfig":{"Mode":"INLINE"},"StartAt":"P","States":{"P":{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"f","Payload.$":"$"},"OutputPath":"$.Payload","End":true}}},
		"ResultPath":"$.out","End":true}`), `{"in":{"k":"x","list":[5,6,7]}}`)
	if want := `{"in":{"k":"x","list":[5,6,7]},"out":[{"i":0,"k":"x","v":5},{"i":1,"k":"x","v":6},{"i":2,"k":"x","v":7}]}`; r.Output != want {
		t.Errorf("%+v", r)
	}
	o, _ := s.Observe(arn)
	if o.Events["MapStateStarted"] != 1 || o.Events["MapIterationSucceeded"] != 3 || o.Entered["P"] != 3 {
		t.Errorf("%+v", o)
	}
	r, arn = execute(t, s, single(`{"Type":"Map","MaxConcurrency":1,"ItemProcessor":{"StartAt":"F","States":{"F":{"Type":"Fail","Error":"E"}}},"End":true}`), `[1,2]`)
	o, _ = s.Observe(arn)
	if r.Error != "E" || o.Events["MapIterationStarted"] != 1 || o.Events["MapIterationFailed"] != 1 || o.Events["MapStateFailed"] != 1 {
		t.Errorf("%+v %+v", r, o)
	}
	if r, _ = execute(t, s, single(`{"Type":"Map","Iterator":{"StartAt":"F","States":{"F":{"Type":"Fail"}}},"End":true}`), `[]`); r.Output != `[]` {
		t.Errorf("%+v", r)
	}
}

func TestWait(t *testing.T) {
	s := newService(t, nil) // 1,000 times faster
	soon := time.Now().Add(30 * time.Second).UTC().Format(time.RFC3339)
	for _, state := range []string{
		`{"Type":"Wait","Seconds":30,"End":true}`,
		`{"Type":"Wait","SecondsPath":"$.n","End":true}`,
		`{"Type":"Wait","TimestampPath":"$.t","End":true}`,
		`{"Type":"Wait","Timestamp":"` + soon + `","End":true}`,
	} {
		start := time.Now()
		r, _ := execute(t, s, single(state), `{"n":30,"t":"`+soon+`"}`)
		if took := time.Since(start); r.Status != succeeded || took < 20*time.Millisecond || took > 5*time.Second {
			t.Errorf("%s: %+v in %v", state, r, took)
		}
	}
	if r, _ := execute(t, s, single(`{"Type":"Wait","Timestamp":"2016-03-14T01:59:00Z","End":true}`), ""); r.Status != succeeded {
		t.Errorf("%+v", r)
	}
}

// TestLoop is the shape of the project's workflows: a task until it returns no
// cursor, with waits.
func TestLoop(t *testing.T) {
	left := 5
	s := newService(t, func(_ context.Context, _ string, payload []byte) ([]byte, string, error) {
		left--
		switch {
		case left == 0:
			return []byte(`{"RunId":"r"}`), "", nil
		case left%2 == 0:
			return []byte(`{"RunId":"r","Cursor":"c","WaitSeconds":1}`), "", nil
		}
		return []byte(`{"RunId":"r","Cursor":"c"}`), "", nil
	})
	r, arn := execute(t, s, `{"StartAt":"Step","States":{
		"Step":{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"f","Payload":{"Step":"Step","Execution.$":"$$.Execution.Id","StartTime.$":"$$.Execution.StartTime","Input.$":"$$.Execution.Input","Run.$":"$"}},"OutputPath":"$.Payload","TimeoutSeconds":960,"Next":"StepDone?"},
		"StepDone?":{"Type":"Choice","Choices":[{"Variable":"$.WaitSeconds","IsPresent":true,"Next":"WaitForStep"},{"Variable":"$.Cursor","IsPresent":true,"Next":"Step"}],"Default":"End"},
		"WaitForStep":{"Type":"Wait","SecondsPath":"$.WaitSeconds","Next":"Step"},
		"End":{"Type":"Succeed"}}}`, `{}`)
	if r.Output != `{"RunId":"r"}` {
		t.Errorf("%+v", r)
	}
	o, _ := s.Observe(arn)
	if o.Entered["Step"] != 5 || o.Entered["WaitForStep"] != 2 || o.Entered["StepDone?"] != 5 || o.Total != len(history(t, s, arn)) {
		t.Errorf("%+v", o)
	}
}

func TestLimits(t *testing.T) {
	large := fmt.Appendf(nil, `"%s"`, strings.Repeat("é", maxPayload/2-1)) // exactly the limit in bytes
	s := newService(t, func(context.Context, string, []byte) ([]byte, string, error) { return large, "", nil })
	plain := `{"Type":"Task","Resource":"arn:aws:lambda:eu-central-1:123456789012:function:f","End":true%s}`
	if r, arn := execute(t, s, single(fmt.Sprintf(plain, "")), ""); r.Status != succeeded {
		t.Errorf("at the limit: %s %s", r.Error, r.Cause)
	} else if o, _ := s.Observe(arn); o.LargestPayload != maxPayload {
		t.Errorf("largest payload %d", o.LargestPayload)
	}
	large = append([]byte(` "x`), large[1:]...)
	r, _ := execute(t, s, single(fmt.Sprintf(plain, `,"Retry":[{"ErrorEquals":["States.ALL"]}],"Catch":[{"ErrorEquals":["States.ALL"],"Next":"S"}]`)), "")
	if r.Error != errDataLimit {
		t.Errorf("above the limit: %s %s", r.Error, r.Cause)
	}
	large = fmt.Appendf(nil, `"%s"`, strings.Repeat("x", maxPayload-2))
	if r, _ := execute(t, s, single(`{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"f"},"OutputPath":"$.Payload","End":true}`), ""); r.Error != errDataLimit {
		t.Errorf("the metadata counts as well: %s", r.Error)
	}
	if r, _ := execute(t, s, single(`{"Type":"Pass","Parameters":{"x.$":"$","y.$":"$"},"End":true}`), `"`+strings.Repeat("x", maxPayload/2)+`"`); r.Error != errDataLimit {
		t.Errorf("parameters: %s", r.Error)
	}
	if _, err := s.Start(machineARN(testRegion, "Machine"), "", `"`+strings.Repeat("x", maxPayload)+`"`); err == nil {
		t.Error("input above the limit accepted")
	}
	if _, err := s.Create("Big", `{"Comment":"`+strings.Repeat("x", maxDefinition)+`"}`, testRole); err == nil {
		t.Error("definition above 1 MiB accepted")
	}
}

func TestHistoryLimit(t *testing.T) {
	s := newService(t, nil)
	r, arn := execute(t, s, `{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"},"B":{"Type":"Pass","Next":"A"}}}`, "")
	if r.Status != failed || r.Error != errRuntime || r.Cause != "The execution reached the maximum number of history events (25000)." {
		t.Errorf("%+v", r)
	}
	if events := history(t, s, arn); len(events) != maxEvents || events[maxEvents-1].Type != "ExecutionFailed" {
		t.Errorf("%d events", len(events))
	}
}

func TestMachineTimeout(t *testing.T) {
	s := newService(t, nil)
	r, arn := execute(t, s, `{"TimeoutSeconds":1,"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":999999,"End":true}}}`, "")
	if r.Status != timedOut || r.Error != errTimeout {
		t.Errorf("%+v", r)
	}
	if got := types(history(t, s, arn)); !strings.HasSuffix(got, "3<2 WaitStateAborted\n4<3 ExecutionTimedOut") {
		t.Errorf("history:\n%s", got)
	}
}

func TestStatusChangeEvents(t *testing.T) {
	var events []json.RawMessage
	s := newService(t, nil)
	s.OnStatusChange = func(event json.RawMessage) { events = append(events, event) }
	_, arn := execute(t, s, single(`{"Type":"Fail","Error":"E","Cause":"C"}`), `{"a":1}`)
	if len(events) != 2 {
		t.Fatalf("%d events", len(events))
	}
	var got struct {
		Source     string
		DetailType string `json:"detail-type"`
		Account    string
		Region     string
		Resources  []string
		Detail     struct {
			ExecutionArn, StateMachineArn, Name, Status, Input string
			StartDate                                          int64
			StopDate                                           *int64
			Output, Error, Cause                               *string
		}
	}
	if err := json.Unmarshal(events[0], &got); err != nil {
		t.Fatal(err)
	}
	if got.Detail.Status != running || got.Detail.StopDate != nil || got.Detail.Error != nil || got.Detail.Input != `{"a":1}` {
		t.Errorf("%s", events[0])
	}
	if err := json.Unmarshal(events[1], &got); err != nil {
		t.Fatal(err)
	}
	d := got.Detail
	if got.Source != "aws.states" || got.DetailType != "Step Functions Execution Status Change" || got.Resources[0] != arn || got.Region != testRegion ||
		d.ExecutionArn != arn || d.Status != failed || d.StopDate == nil || *d.Error != "E" || *d.Cause != "C" || d.Output != nil {
		t.Errorf("%s", events[1])
	}
}

func TestSubscribe(t *testing.T) {
	s := newService(t, nil)
	var seen []string
	cancel := s.Subscribe(func(p Progress) {
		if p.State != "" {
			seen = append(seen, p.StateMachine+" "+p.Type+" "+p.State)
		}
	})
	execute(t, s, single(`{"Type":"Pass","End":true}`), "")
	cancel()
	execute(t, s, single(`{"Type":"Pass","End":true}`), "")
	if got := strings.Join(seen, ", "); got != "Machine PassStateEntered S, Machine PassStateExited S" {
		t.Error(got)
	}
}

// TestClose: what waits ends at once and stays RUNNING.
func TestClose(t *testing.T) {
	s := New(testRegion, nil, invokeFunc(echo))
	arn, err := s.Start(create(t, s, single(`{"Type":"Wait","Seconds":9999,"End":true}`)), "", "")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	r, err := s.Wait(t.Context(), arn)
	if err != nil || r.Status != running {
		t.Errorf("%+v %v", r, err)
	}
}

// TestClockJump: a Wait state notices that a test moved the clock.
func TestClockJump(t *testing.T) {
	var mu sync.Mutex
	var offset time.Duration
	s := New(testRegion, &wire.Clock{Offset: func() time.Duration { mu.Lock(); defer mu.Unlock(); return offset }}, invokeFunc(echo))
	defer s.Close()
	arn, err := s.Start(create(t, s, single(`{"Type":"Wait","Seconds":86400,"End":true}`)), "", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	go func() { // again and again: a jump before the state is entered changes nothing
		for ctx.Err() == nil {
			mu.Lock()
			offset += 48 * time.Hour
			mu.Unlock()
			time.Sleep(30 * time.Millisecond)
		}
	}()
	if r, err := s.Wait(ctx, arn); err != nil || r.Status != succeeded {
		t.Errorf("%+v %v", r, err)
	}
}
