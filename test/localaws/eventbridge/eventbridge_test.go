package eventbridge

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"cognito-backup/test/localaws/wire"
)

const function = "arn:aws:lambda:eu-central-1:123456789012:function:send-message"

const failedExecution = `{"version":"0","source":"aws.states","detail-type":"Step Functions Execution Status Change","resources":["arn:1","arn:2"],"time":"2026-11-22T09:00:00Z",
	"detail":{"status":"FAILED","stateMachineArn":"arn:machine:A","name":"say \"hi\"","error":null,"count":7,"nested":{"deep":[{"x":1},{"x":2}]}}}`

func TestPatterns(t *testing.T) {
	tests := []struct {
		pattern string
		want    bool
	}{
		{`{"source":["aws.states"]}`, true},
		{`{"source":["aws.s3"]}`, false},
		{`{"source":["aws.states"],"detail-type":["Step Functions Execution Status Change"],"detail":{"status":["FAILED","TIMED_OUT","ABORTED"],"stateMachineArn":["arn:machine:A","arn:machine:B"]}}`, true},
		{`{"detail":{"status":["SUCCEEDED"],"stateMachineArn":["arn:machine:A"]}}`, false},
		{`{"resources":["arn:2"]}`, true},
		{`{"resources":["arn:3"]}`, false},
		{`{"detail":{"status":[{"prefix":"FAI"}]}}`, true},
		{`{"detail":{"status":[{"prefix":{"equals-ignore-case":"fai"}}]}}`, true},
		{`{"detail":{"status":[{"suffix":"LED"}]}}`, true},
		{`{"detail":{"status":[{"suffix":"X"},"FAILED"]}}`, true},
		{`{"detail":{"status":[{"equals-ignore-case":"failed"}]}}`, true},
		{`{"detail":{"status":[{"anything-but":["SUCCEEDED","RUNNING"]}]}}`, true},
		{`{"detail":{"status":[{"anything-but":"FAILED"}]}}`, false},
		{`{"detail":{"status":[{"anything-but":{"prefix":"FAI"}}]}}`, false},
		{`{"detail":{"none":[{"anything-but":"FAILED"}]}}`, false},
		{`{"detail":{"status":[{"exists":true}]}}`, true},
		{`{"detail":{"none":[{"exists":false}]}}`, true},
		{`{"detail":{"none":[{"exists":true}]}}`, false},
		{`{"none":{"deep":[{"exists":false}]}}`, true},
		{`{"detail":{"error":[null]}}`, true},
		{`{"detail":{"status":[null]}}`, false},
		{`{"detail":{"count":[7]}}`, true},
		{`{"detail":{"count":["7"]}}`, false},
		{`{"detail":{"count":[{"numeric":[">",0,"<=",7]}]}}`, true},
		{`{"detail":{"count":[{"numeric":["<",7]}]}}`, false},
		{`{"detail":{"count":[{"numeric":["=",7]}]}}`, true},
		{`{"detail":{"nested":{"deep":{"x":[2]}}}}`, true},
		{`{"detail":{"nested":[{"exists":true}]}}`, false},
	}
	event, err := decode([]byte(failedExecution))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		p, err := ParsePattern(json.RawMessage(test.pattern))
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
			continue
		}
		if got := p.Match(event); got != test.want {
			t.Errorf("%s: %t", test.pattern, got)
		}
	}
	for _, pattern := range []string{
		``, `{`, `[]`, `{}`, `{"source":"aws.states"}`, `{"source":[]}`, `{"detail":{}}`, `{"a":[["b"]]}`, `{"a":[{"like":"b"}]}`, `{"a":[{"prefix":1}]}`,
		`{"a":[{"numeric":[">"]}]}`, `{"a":[{"numeric":["!",1]}]}`, `{"a":[{"exists":"yes"}]}`, `{"a":[{"prefix":"b","suffix":"c"}]}`, `{"a":[{"anything-but":[]}]}`,
	} {
		if _, err := ParsePattern(json.RawMessage(pattern)); err == nil {
			t.Errorf("%s accepted", pattern)
		}
	}
}

// received records what reaches the function; the first errors are answered in turn.
type received struct {
	mu       sync.Mutex
	errors   []error
	payloads []string
}

func (r *received) invoke(_ context.Context, _ string, payload []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.errors) > 0 {
		err := r.errors[0]
		r.errors = r.errors[1:]
		return err
	}
	r.payloads = append(r.payloads, string(payload))
	return nil
}

func newService(t *testing.T, r *received, targets ...Target) *Service {
	t.Helper()
	s := New("eu-central-1")
	s.Clock = &wire.Clock{Factor: 10_000}
	s.Invoke = r.invoke
	t.Cleanup(s.Close)
	arn, err := s.PutRule(Rule{Name: "WorkflowFailed", EventPattern: json.RawMessage(`{"detail":{"status":["FAILED"]}}`), Targets: targets})
	if err != nil {
		t.Fatal(err)
	}
	if arn != "arn:aws:events:eu-central-1:123456789012:rule/WorkflowFailed" {
		t.Errorf("rule ARN %s", arn)
	}
	return s
}

func TestDeliver(t *testing.T) {
	r := &received{}
	s := newService(t, r, Target{ID: "1", Arn: function})
	s.Deliver(json.RawMessage(failedExecution))
	s.Deliver(json.RawMessage(`{"detail":{"status":"SUCCEEDED"}}`))
	s.Deliver(json.RawMessage(`not JSON`))
	s.Wait()
	if len(r.payloads) != 1 || r.payloads[0] != failedExecution {
		t.Errorf("%q", r.payloads)
	}
	s.RemoveRule("WorkflowFailed")
	s.Deliver(json.RawMessage(failedExecution))
	s.Wait()
	if len(r.payloads) != 1 {
		t.Error("a removed rule delivered")
	}
}

func TestTargetInput(t *testing.T) {
	for _, test := range []struct {
		target Target
		want   string
	}{
		{Target{Input: `{"fixed":1}`}, `{"fixed":1}`},
		{Target{InputPath: "$.detail.count"}, `7`},
		{Target{InputPath: "$.detail.none"}, `null`},
		{Target{InputTransformer: &InputTransformer{map[string]string{"s": "$.detail.status", "n": "$.detail.count", "q": "$.detail.name"}, `{"status":<s>,"text":"it <s> <n> times: <q>","rule":<aws.events.rule-name>,"x":"<unknown>"}`}}, `{"status":"FAILED","text":"it FAILED 7 times: say \"hi\"","rule":"WorkflowFailed","x":"<unknown>"}`},
		{Target{InputTransformer: &InputTransformer{map[string]string{"s": "$.detail.status"}, `"Status <s>"`}}, `"Status FAILED"`},
	} {
		r := &received{}
		test.target.Arn = function
		s := newService(t, r, test.target)
		s.Deliver(json.RawMessage(failedExecution))
		s.Wait()
		if len(r.payloads) != 1 || r.payloads[0] != test.want {
			t.Errorf("%+v: %q, want %s", test.target, r.payloads, test.want)
		}
	}
}

func TestRetries(t *testing.T) {
	r := &received{errors: []error{errors.New("connection reset"), &wire.Error{Code: "TooManyRequestsException", Status: 429}, &wire.Error{Code: "ServiceException", Status: 500}}}
	s := newService(t, r, Target{Arn: function})
	s.Deliver(json.RawMessage(failedExecution))
	s.Wait()
	if d := s.Deliveries(); len(r.payloads) != 1 || len(d) != 1 || d[0].Attempts != 4 || d[0].Err != nil {
		t.Errorf("%+v", d)
	}
}

func TestPermission(t *testing.T) {
	r := &received{}
	s := newService(t, r, Target{Arn: function})
	s.Permit = func(functionARN, ruleARN string) error {
		if functionARN == function && strings.HasSuffix(ruleARN, ":rule/WorkflowFailed") {
			return errors.New("the function's policy does not name the rule")
		}
		return nil
	}
	s.Deliver(json.RawMessage(failedExecution))
	s.Wait()
	if d := s.Deliveries(); len(r.payloads) != 0 || len(d) != 1 || d[0].Attempts != 1 || d[0].Err == nil {
		t.Errorf("%+v", d)
	}
}

func TestInvalidRules(t *testing.T) {
	pattern := json.RawMessage(`"{\"source\":[\"aws.states\"]}"`) // as text, the form of the API
	s := New("eu-central-1")
	defer s.Close()
	if _, err := s.PutRule(Rule{Name: "R", EventPattern: pattern}); err != nil {
		t.Error(err)
	}
	for name, rule := range map[string]Rule{
		"no name":         {EventPattern: pattern},
		"no pattern":      {Name: "R"},
		"other bus":       {Name: "R", EventPattern: pattern, EventBusName: "mine"},
		"queue as target": {Name: "R", EventPattern: pattern, Targets: []Target{{Arn: "arn:aws:sqs:eu-central-1:123456789012:q"}}},
		"two inputs":      {Name: "R", EventPattern: pattern, Targets: []Target{{Arn: function, Input: "{}", InputPath: "$"}}},
		"invalid input":   {Name: "R", EventPattern: pattern, Targets: []Target{{Arn: function, Input: "{"}}},
		"invalid path":    {Name: "R", EventPattern: pattern, Targets: []Target{{Arn: function, InputPath: "$["}}},
	} {
		if _, err := s.PutRule(rule); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}
