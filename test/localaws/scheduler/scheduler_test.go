package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"cognito-backup/test/localaws/wire"
)

const (
	testRegion = "eu-central-1"
	machine    = "arn:aws:states:eu-central-1:123456789012:stateMachine:ExportWorkflow"
	testRole   = "arn:aws:iam::123456789012:role/schedule"
)

func TestCron(t *testing.T) {
	tests := []struct {
		name, expression, zone, after string
		want                          []string
	}{
		{"every day", "cron(0 9 * * ? *)", "", "2026-11-22T09:00:00Z", []string{"2026-11-23T09:00:00Z", "2026-11-24T09:00:00Z"}},
		{"the same day", "cron(0 9 * * ? *)", "", "2026-11-22T08:59:59Z", []string{"2026-11-22T09:00:00Z"}},
		{"steps", "cron(0/20 * * * ? *)", "", "2026-11-22T08:50:00Z", []string{"2026-11-22T09:00:00Z", "2026-11-22T09:20:00Z", "2026-11-22T09:40:00Z"}},
		{"a step of a range", "cron(0 8-12/2 * * ? *)", "", "2026-11-22T08:30:00Z", []string{"2026-11-22T10:00:00Z", "2026-11-22T12:00:00Z", "2026-11-23T08:00:00Z"}},
		{"a list", "cron(5,35 14 * * ? *)", "", "2026-11-22T14:05:00Z", []string{"2026-11-22T14:35:00Z", "2026-11-23T14:05:00Z"}},
		{"weekdays", "cron(15 10 ? * MON-FRI *)", "", "2026-11-20T10:15:00Z", []string{"2026-11-23T10:15:00Z"}},
		{"weekdays in numbers", "cron(15 10 ? * 2-6 *)", "", "2026-11-20T10:15:00Z", []string{"2026-11-23T10:15:00Z"}},
		{"around the week", "cron(0 0 ? * FRI-SUN *)", "", "2026-11-19T00:00:00Z", []string{"2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z", "2026-11-27T00:00:00Z"}},
		{"first of the month", "cron(0 8 1 * ? *)", "", "2026-12-01T08:00:00Z", []string{"2027-01-01T08:00:00Z"}},
		{"31st", "cron(0 0 31 * ? *)", "", "2026-10-31T00:00:00Z", []string{"2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z", "2027-03-31T00:00:00Z"}},
		{"last day of the month", "cron(0 0 L * ? *)", "", "2028-01-31T00:00:00Z", []string{"2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z"}},
		{"last weekday of the month", "cron(0 0 LW * ? *)", "", "2026-01-01T00:00:00Z", []string{"2026-01-30T00:00:00Z", "2026-02-27T00:00:00Z"}},
		{"weekday nearest to a Saturday", "cron(0 0 15W * ? *)", "", "2026-08-01T00:00:00Z", []string{"2026-08-14T00:00:00Z"}},
		{"weekday nearest to a Sunday", "cron(0 0 15W * ? *)", "", "2026-11-01T00:00:00Z", []string{"2026-11-16T00:00:00Z"}},
		{"weekday nearest to Saturday the 1st", "cron(0 0 1W * ? *)", "", "2026-07-31T00:00:00Z", []string{"2026-08-03T00:00:00Z"}},
		{"last Thursday", "cron(0 0 ? * 5L *)", "", "2026-11-01T00:00:00Z", []string{"2026-11-26T00:00:00Z", "2026-12-31T00:00:00Z"}},
		{"second Tuesday", "cron(0 0 ? * 3#2 *)", "", "2026-11-01T00:00:00Z", []string{"2026-11-10T00:00:00Z", "2026-12-08T00:00:00Z"}},
		{"fifth Sunday by name", "cron(0 0 ? * SUN#5 *)", "", "2026-11-01T00:00:00Z", []string{"2026-11-29T00:00:00Z", "2027-01-31T00:00:00Z"}},
		{"L is Saturday", "cron(0 0 ? * L *)", "", "2026-11-22T00:00:00Z", []string{"2026-11-28T00:00:00Z", "2026-12-05T00:00:00Z"}},
		{"months by name", "cron(0 0 1 JAN,jul ? *)", "", "2026-11-22T00:00:00Z", []string{"2027-01-01T00:00:00Z", "2027-07-01T00:00:00Z"}},
		{"leap day", "cron(0 0 29 2 ? *)", "", "2026-11-22T00:00:00Z", []string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
		{"years", "cron(0 0 1 1 ? 2030-2032/2)", "", "2026-11-22T00:00:00Z", []string{"2030-01-01T00:00:00Z", "2032-01-01T00:00:00Z", ""}},
		{"in the past", "cron(0 0 1 1 ? 2020)", "", "2026-11-22T00:00:00Z", []string{""}},
		{"a time zone", "cron(0 9 * * ? *)", "Asia/Tokyo", "2026-11-22T00:00:00Z", []string{"2026-11-23T00:00:00Z"}},
		{"skipped by summer time", "cron(30 2 * * ? *)", "Europe/Berlin", "2026-03-28T01:30:00Z", []string{"2026-03-30T00:30:00Z"}},
		{"once when summer time ends", "cron(30 2 * * ? *)", "Europe/Berlin", "2026-10-24T23:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, err := Parse(test.expression, test.zone)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, test.after)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				at = e.Next(at)
				got := ""
				if !at.IsZero() {
					got = at.UTC().Format(time.RFC3339)
				}
				if got != want {
					t.Fatalf("%s, want %s", got, want)
				}
			}
		})
	}
}

func TestInvalidExpressions(t *testing.T) {
	for _, expression := range []string{
		"", "daily", "every(1 day)", "rate(1)", "rate(0 days)", "rate(1 week)", "rate(-1 days)", "rate(1 day",
		"cron(0 9 * * ?)", "cron(0 9 * * * *)", "cron(0 9 ? * ? *)", "cron(60 9 * * ? *)", "cron(0 24 * * ? *)", "cron(0 9 32 * ? *)",
		"cron(0 9 * 13 ? *)", "cron(0 9 ? * 8 *)", "cron(0 9 ? * 2#6 *)", "cron(0 9 * * ? 2200)", "cron(a 9 * * ? *)", "cron(0/0 9 * * ? *)",
		"at(2026-11-22)", "at(2026-11-22T09:00:00Z)",
	} {
		if _, err := Parse(expression, ""); err == nil {
			t.Errorf("%q accepted", expression)
		}
	}
	if _, err := Parse("rate(1 day)", "Mars/Olympus"); err == nil {
		t.Error("unknown time zone accepted")
	}
}

func TestFirst(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		expression  string
		start, want time.Time
	}{
		{"rate(1 day)", time.Time{}, now},
		{"rate(1 day)", now.Add(time.Hour), now.Add(time.Hour)},
		{"rate(1 day)", now.Add(-30 * time.Hour), now.Add(18 * time.Hour)},
		{"cron(0 9 * * ? *)", time.Time{}, now.Add(24 * time.Hour)},
		{"cron(0 9 * * ? *)", now.Add(48 * time.Hour), now.Add(48 * time.Hour)},
		{"at(2026-11-22T10:00:00)", time.Time{}, now.Add(time.Hour)},
		{"at(2026-11-22T08:00:00)", time.Time{}, time.Time{}},
	} {
		e, err := Parse(test.expression, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := e.first(now, test.start); !got.Equal(test.want) {
			t.Errorf("%s from %v: %v, want %v", test.expression, test.start, got, test.want)
		}
	}
}

// recorder is a Starter that remembers; the first errors are answered in turn.
type recorder struct {
	mu      sync.Mutex
	errors  []error
	targets chan Target
}

func (r *recorder) start(_ context.Context, target Target) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.errors) > 0 {
		err := r.errors[0]
		r.errors = r.errors[1:]
		return err
	}
	select {
	case r.targets <- target:
	default: // nobody counts any more
	}
	return nil
}

func (r *recorder) next(t *testing.T) Target {
	t.Helper()
	select {
	case target := <-r.targets:
		return target
	case <-time.After(5 * time.Second):
		t.Fatal("the schedule did not fire")
		return Target{}
	}
}

func newService(t *testing.T, clock *wire.Clock, errors ...error) (*Service, *recorder) {
	t.Helper()
	r := &recorder{errors: errors, targets: make(chan Target, 100)}
	s := New(testRegion, clock, r.start)
	t.Cleanup(s.Close)
	return s, r
}

func schedule(expression string) Schedule {
	return Schedule{
		Name: "Export", ScheduleExpression: expression, FlexibleTimeWindow: FlexibleTimeWindow{Mode: "OFF"},
		Target: ScheduleTarget{Arn: machine, RoleArn: testRole, Input: `{}`},
	}
}

func TestRateFiresAtOnceAndAgain(t *testing.T) {
	s, r := newService(t, &wire.Clock{Factor: 3600}) // a minute is 17 ms
	start := time.Now()
	if _, err := s.Create(schedule("rate(5 minutes)")); err != nil {
		t.Fatal(err)
	}
	if got := r.next(t); got != (Target{machine, testRole, `{}`}) {
		t.Errorf("%+v", got)
	}
	first := time.Since(start)
	r.next(t)
	r.next(t)
	if took := time.Since(start); first > 50*time.Millisecond || took < 150*time.Millisecond || took > 2*time.Second {
		t.Errorf("first after %v, third after %v", first, took)
	}
	if err := s.Delete("", "Export"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // what was under way
	for len(r.targets) > 0 {
		<-r.targets
	}
	time.Sleep(200 * time.Millisecond)
	if len(r.targets) > 0 {
		t.Error("a deleted schedule fires")
	}
}

func TestDisabledAndEnabled(t *testing.T) {
	s, r := newService(t, nil)
	spec := schedule("rate(1 day)")
	spec.State = disabled
	if _, err := s.Create(spec); err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.targets:
		t.Error("a disabled schedule fired")
	case <-time.After(50 * time.Millisecond):
	}
	spec.State = enabled
	if _, err := s.Update(spec); err != nil {
		t.Fatal(err)
	}
	r.next(t)
}

func TestClockJump(t *testing.T) {
	var mu sync.Mutex
	var offset time.Duration
	s, r := newService(t, &wire.Clock{Offset: func() time.Duration { mu.Lock(); defer mu.Unlock(); return offset }})
	if _, err := s.Create(schedule("rate(1 day)")); err != nil {
		t.Fatal(err)
	}
	r.next(t)
	mu.Lock()
	offset = 100*24*time.Hour + time.Hour
	mu.Unlock()
	r.next(t)
	time.Sleep(150 * time.Millisecond)
	if got := s.Fired("Export"); got != 2 {
		t.Errorf("fired %d times, want once after the jump", got)
	}
}

func TestOneTimeScheduleGoesAway(t *testing.T) {
	s, r := newService(t, &wire.Clock{Factor: 10_000})
	spec := schedule("at(" + time.Now().UTC().Add(time.Minute).Format("2006-01-02T15:04:05") + ")")
	spec.ActionAfterCompletion = "DELETE"
	if _, err := s.Create(spec); err != nil {
		t.Fatal(err)
	}
	r.next(t)
	for deadline := time.Now().Add(5 * time.Second); ; {
		if out, _ := request(t, s, "ListSchedules", `{}`); len(out["Schedules"].([]any)) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the schedule is still there")
		}
	}
}

func TestRetries(t *testing.T) {
	throttled := &wire.Error{Code: "ThrottlingException", Status: 429}
	s, r := newService(t, &wire.Clock{Factor: 1000}, errors.New("connection reset"), throttled, &wire.Error{Code: "InternalFailure", Status: 500})
	if _, err := s.Create(schedule("rate(30 days)")); err != nil {
		t.Fatal(err)
	}
	r.next(t)
	if dropped := s.Dropped(); len(dropped) != 0 {
		t.Errorf("%+v", dropped)
	}

	s, _ = newService(t, &wire.Clock{Factor: 1000}, &wire.Error{Code: "AccessDeniedException", Status: 403})
	if _, err := s.Create(schedule("rate(30 days)")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); len(s.Dropped()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing dropped")
		}
	}
	if dropped := s.Dropped(); dropped[0].Attempts != 1 || dropped[0].Schedule != "Export" {
		t.Errorf("%+v", dropped)
	}
}

func TestUniversalTarget(t *testing.T) {
	s, r := newService(t, nil)
	spec := schedule("rate(1 day)")
	spec.Target.Arn = universal
	spec.Target.Input = `{"StateMachineArn":"` + machine + `","Input":"{\"at\":\"<aws.scheduler.scheduled-time>\",\"n\":<aws.scheduler.attempt-number>}"}`
	if _, err := s.Create(spec); err != nil {
		t.Fatal(err)
	}
	got := r.next(t)
	if got.ARN != machine || !strings.HasPrefix(got.Input, `{"at":"20`) || !strings.HasSuffix(got.Input, `Z","n":1}`) {
		t.Errorf("%+v", got)
	}
}

// TestTemplateProperties: a schedule reads from a template as it stands there.
func TestTemplateProperties(t *testing.T) {
	var spec Schedule
	if err := json.Unmarshal([]byte(`{"Name":"E","ScheduleExpression":"rate(1 day)","StartDate":"2026-11-22T09:00:00Z","FlexibleTimeWindow":{"Mode":"OFF"},
		"Target":{"Arn":"`+machine+`","RoleArn":"`+testRole+`","Input":"{}","RetryPolicy":{"MaximumRetryAttempts":3}}}`), &spec); err != nil {
		t.Fatal(err)
	}
	if got := spec.StartDate.time(); !got.Equal(time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)) || *spec.Target.RetryPolicy.MaximumRetryAttempts != 3 {
		t.Errorf("%+v", spec)
	}
}

func request(t *testing.T, s *Service, operation, input string) (map[string]any, string) {
	t.Helper()
	out, err := s.Handle(t.Context(), &wire.Call{Service: "scheduler", Operation: operation, Region: testRegion, Input: json.RawMessage(input)})
	if err != nil {
		api, ok := errors.AsType[*wire.Error](err)
		if !ok {
			t.Fatal(err)
		}
		return nil, api.Code
	}
	body, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	var decoded map[string]any
	if err := json.Unmarshal(body, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded, ""
}

func TestAPI(t *testing.T) {
	s, _ := newService(t, nil)
	const valid = `"ScheduleExpression":"cron(0 3 * * ? *)","ScheduleExpressionTimezone":"Europe/Berlin","FlexibleTimeWindow":{"Mode":"OFF"},"Target":{"Arn":"` + machine + `","RoleArn":"` + testRole + `"}`
	for _, test := range []struct{ operation, input, want string }{
		{"CreateSchedule", `{"Name":"A","ClientToken":"t",` + valid + `}`, ""},
		{"CreateSchedule", `{"Name":"A","ClientToken":"t",` + valid + `}`, ""},
		{"CreateSchedule", `{"Name":"A",` + valid + `}`, "ConflictException"},
		{"CreateSchedule", `{"Name":"B","State":"DISABLED",` + valid + `}`, ""},
		{"CreateSchedule", `{"Name":"C","GroupName":"other",` + valid + `}`, "ResourceNotFoundException"},
		{"CreateSchedule", `{"Name":"C","ScheduleExpression":"rate(x)","FlexibleTimeWindow":{"Mode":"OFF"},"Target":{"Arn":"` + machine + `","RoleArn":"r"}}`, "ValidationException"},
		{"CreateSchedule", `{"Name":"C","ScheduleExpression":"rate(1 day)","FlexibleTimeWindow":{"Mode":"FLEXIBLE"},"Target":{"Arn":"` + machine + `","RoleArn":"r"}}`, "ValidationException"},
		{"CreateSchedule", `{"Name":"C","ScheduleExpression":"rate(1 day)","FlexibleTimeWindow":{"Mode":"OFF"},"Target":{"Arn":"arn:aws:sqs:eu-central-1:123456789012:q","RoleArn":"r"}}`, "ValidationException"},
		{"UpdateSchedule", `{"Name":"C",` + valid + `}`, "ResourceNotFoundException"},
		{"UpdateSchedule", `{"Name":"A","Description":"new",` + valid + `}`, ""},
		{"DeleteSchedule", `{"Name":"C"}`, "ResourceNotFoundException"},
		{"GetSchedule", `{"Name":"C"}`, "ResourceNotFoundException"},
		{"Nothing", `{}`, "UnknownOperationException"},
	} {
		if _, code := request(t, s, test.operation, test.input); code != test.want {
			t.Errorf("%s %s: %q, want %q", test.operation, test.input, code, test.want)
		}
	}
	got, _ := request(t, s, "GetSchedule", `{"Name":"A"}`)
	if got["Arn"] != "arn:aws:scheduler:eu-central-1:123456789012:schedule/default/A" || got["State"] != enabled || got["Description"] != "new" || got["GroupName"] != "default" {
		t.Errorf("%v", got)
	}
	page, _ := request(t, s, "ListSchedules", `{"MaxResults":1}`)
	if list := page["Schedules"].([]any); len(list) != 1 || list[0].(map[string]any)["Name"] != "A" {
		t.Errorf("%v", page)
	}
	page, _ = request(t, s, "ListSchedules", `{"MaxResults":1,"NextToken":"`+page["NextToken"].(string)+`"}`)
	if list := page["Schedules"].([]any); len(list) != 1 || list[0].(map[string]any)["Name"] != "B" || page["NextToken"] != nil {
		t.Errorf("%v", page)
	}
	page, _ = request(t, s, "ListSchedules", `{"State":"DISABLED","NamePrefix":"B"}`)
	if len(page["Schedules"].([]any)) != 1 {
		t.Errorf("%v", page)
	}
	p := s.Permissions(&wire.Call{Operation: "CreateSchedule", Input: json.RawMessage(`{"Name":"A",` + valid + `}`)})
	if p[0].Resource != "arn:aws:scheduler:eu-central-1:123456789012:schedule/default/A" || p[1].Action != "iam:PassRole" || p[1].Resource != testRole {
		t.Errorf("%+v", p)
	}
}
