package stepfunctions

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/test/localaws/wire"
)

// request makes an API call and decodes the answer; the error code is "" if it went
// well.
func request(t *testing.T, s *Service, operation string, input any) (map[string]any, string) {
	t.Helper()
	body, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Handle(t.Context(), &wire.Call{Service: "states", Operation: operation, Region: testRegion, Input: body})
	if err != nil {
		api, ok := errors.AsType[*wire.Error](err)
		if !ok {
			t.Fatalf("%s: %v", operation, err)
		}
		return nil, api.Code
	}
	body, err = json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	var decoded map[string]any
	if err := json.Unmarshal(body, &decoded); err != nil {
		t.Fatal(err)
	}
	checkModel(t, operation, decoded)
	return decoded, ""
}

type in map[string]any

// model is the part of the API model that the answers are checked with.
var model struct {
	Operations map[string]struct{ Output string }
	Shapes     map[string]shape
}

type shape struct {
	Type     string
	Member   json.RawMessage
	Members  map[string]struct{ Shape string }
	Required []string
	Enum     []string
}

func checkModel(t *testing.T, operation string, out any) {
	t.Helper()
	if model.Shapes == nil {
		data, err := os.ReadFile("../model/data/stepfunctions.json")
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &model); err != nil {
			t.Fatal(err)
		}
	}
	checkShape(t, operation, model.Operations[operation].Output, out)
}

func checkShape(t *testing.T, where, name string, value any) {
	t.Helper()
	s := model.Shapes[name]
	switch v := value.(type) {
	case map[string]any:
		for _, member := range s.Required {
			if _, ok := v[member]; !ok {
				t.Errorf("%s: %s is required", where, member)
			}
		}
		for member, inner := range v {
			m, ok := s.Members[member]
			if !ok {
				t.Errorf("%s: %s is not in the model (%s)", where, member, name)
				continue
			}
			checkShape(t, where+"."+member, m.Shape, inner)
		}
	case []any:
		var member string
		if err := json.Unmarshal(s.Member, &member); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		for _, element := range v {
			checkShape(t, where+"[]", member, element)
		}
	case string:
		if s.Type != "string" || len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
			t.Errorf("%s: %q is no %s", where, v, name)
		}
	}
}

func finish(t *testing.T, s *Service, arn string) {
	t.Helper()
	if _, err := s.Wait(t.Context(), arn); err != nil {
		t.Fatal(err)
	}
}

func TestStartExecution(t *testing.T) {
	s := newService(t, nil)
	machine := create(t, s, `{"StartAt":"W","States":{"W":{"Type":"Wait","SecondsPath":"$.n","End":true}}}`)
	waiting := make(chan struct{})
	cancel := s.Subscribe(func(p Progress) {
		if p.Type == "WaitStateEntered" {
			close(waiting)
		}
	})
	first, code := request(t, s, "StartExecution", in{"stateMachineArn": machine, "name": "a", "input": `{"n":100000}`})
	if code != "" {
		t.Fatal(code)
	}
	<-waiting
	cancel()
	if again, code := request(t, s, "StartExecution", in{"stateMachineArn": machine, "name": "a", "input": `{"n":100000}`}); code != "" || again["startDate"] != first["startDate"] {
		t.Errorf("the same again: %v %s", again, code)
	}
	for _, test := range []struct {
		input in
		want  string
	}{
		{in{"stateMachineArn": machine, "name": "a", "input": `{"n":1}`}, "ExecutionAlreadyExists"},
		{in{"stateMachineArn": machine, "input": `{"n":`}, "InvalidExecutionInput"},
		{in{"stateMachineArn": machine, "input": `{} {}`}, "InvalidExecutionInput"},
		{in{"stateMachineArn": machine, "name": "a b"}, "InvalidName"},
		{in{"stateMachineArn": machine, "name": strings.Repeat("x", 81)}, "InvalidName"},
		{in{"stateMachineArn": machine + "2"}, "StateMachineDoesNotExist"},
		{in{"stateMachineArn": first["executionArn"]}, "InvalidArn"},
		{in{"stateMachineArn": "Machine"}, "InvalidArn"},
	} {
		if _, code := request(t, s, "StartExecution", test.input); code != test.want {
			t.Errorf("%v: %q, want %s", test.input, code, test.want)
		}
	}
	arn := first["executionArn"].(string)
	if _, code := request(t, s, "StopExecution", in{"executionArn": arn, "error": "Mine", "cause": "enough"}); code != "" {
		t.Fatal(code)
	}
	described, _ := request(t, s, "DescribeExecution", in{"executionArn": arn})
	if described["status"] != aborted || described["error"] != "Mine" || described["cause"] != "enough" || described["input"] != `{"n":100000}` || described["stateMachineArn"] != machine {
		t.Errorf("%v", described)
	}
	if got := types(history(t, s, arn)); !strings.HasSuffix(got, "WaitStateAborted\n4<3 ExecutionAborted") {
		t.Errorf("history:\n%s", got)
	}
	if _, code := request(t, s, "StartExecution", in{"stateMachineArn": machine, "name": "a", "input": `{"n":100000}`}); code != "ExecutionAlreadyExists" {
		t.Errorf("a name that has ended: %s", code)
	}
	generated, _ := request(t, s, "StartExecution", in{"stateMachineArn": machine, "input": `{"n":0}`})
	if name := generated["executionArn"].(string); len(name[strings.LastIndex(name, ":")+1:]) != 36 {
		t.Errorf("generated name in %s", name)
	}
}

func TestDescribe(t *testing.T) {
	s := newService(t, nil)
	definition := single(`{"Type":"Pass","End":true}`)
	_, arn := execute(t, s, definition, `{"a":1}`)
	described, _ := request(t, s, "DescribeExecution", in{"executionArn": arn})
	if described["status"] != succeeded || described["output"] != `{"a":1}` || described["stopDate"] == nil {
		t.Errorf("%v", described)
	}
	if machine, _ := request(t, s, "DescribeStateMachineForExecution", in{"executionArn": arn}); machine["definition"] != definition || machine["roleArn"] != testRole {
		t.Errorf("%v", machine)
	}
	if machine, _ := request(t, s, "DescribeStateMachine", in{"stateMachineArn": described["stateMachineArn"]}); machine["definition"] != definition || machine["status"] != "ACTIVE" {
		t.Errorf("%v", machine)
	}
	if list, _ := request(t, s, "ListStateMachines", in{}); len(list["stateMachines"].([]any)) != 1 {
		t.Errorf("%v", list)
	}
	if _, code := request(t, s, "DescribeExecution", in{"executionArn": arn + "x"}); code != "ExecutionDoesNotExist" {
		t.Error(code)
	}
	if _, code := request(t, s, "GetExecutionHistory", in{"executionArn": "x"}); code != "InvalidArn" {
		t.Error(code)
	}
}

func TestCreateStateMachine(t *testing.T) {
	s := newService(t, nil)
	definition := single(`{"Type":"Pass","End":true}`)
	made, code := request(t, s, "CreateStateMachine", in{"name": "M", "definition": definition, "roleArn": testRole})
	if code != "" || made["stateMachineArn"] != "arn:aws:states:eu-central-1:123456789012:stateMachine:M" {
		t.Fatal(made, code)
	}
	for want, input := range map[string]in{
		"":                             {"name": "M", "definition": definition + " ", "roleArn": testRole},
		"StateMachineAlreadyExists":    {"name": "M", "definition": single(`{"Type":"Succeed"}`), "roleArn": testRole},
		"InvalidName":                  {"name": "M M", "definition": definition, "roleArn": testRole},
		"InvalidDefinition":            {"name": "N", "definition": "{", "roleArn": testRole},
		"StateMachineTypeNotSupported": {"name": "N", "definition": definition, "roleArn": testRole, "type": "EXPRESS"},
	} {
		if _, code := request(t, s, "CreateStateMachine", input); code != want {
			t.Errorf("%v: %q, want %q", input, code, want)
		}
	}
}

func TestListExecutions(t *testing.T) {
	s := newService(t, nil)
	machine := create(t, s, `{"StartAt":"C","States":{"C":{"Type":"Choice","Choices":[{"Variable":"$.bad","IsPresent":true,"Next":"F"}],"Default":"P"},"P":{"Type":"Pass","End":true},"F":{"Type":"Fail"}}}`)
	for i := range 7 {
		input := `{}`
		if i%2 == 1 {
			input = `{"bad":1}`
		}
		arn, err := s.Start(machine, fmt.Sprint("run-", i), input)
		if err != nil {
			t.Fatal(err)
		}
		finish(t, s, arn)
	}
	list := func(filter string) (names []string) {
		token := ""
		for {
			input := in{"stateMachineArn": machine, "maxResults": 2}
			if filter != "" {
				input["statusFilter"] = filter
			}
			if token != "" {
				input["nextToken"] = token
			}
			out, code := request(t, s, "ListExecutions", input)
			if code != "" {
				t.Fatal(code)
			}
			for _, e := range out["executions"].([]any) {
				names = append(names, e.(map[string]any)["name"].(string))
			}
			var more bool
			if token, more = out["nextToken"].(string); !more {
				return names
			}
			if _, err := s.Start(machine, "", `{}`); filter == failed && err != nil { // shifts nothing
				t.Fatal(err)
			}
		}
	}
	if got := strings.Join(list(failed), " "); got != "run-5 run-3 run-1" {
		t.Error(got)
	}
	if got := list(""); got[len(got)-1] != "run-0" || !slices.Contains(got, "run-6") {
		t.Error(got)
	}
	if _, code := request(t, s, "ListExecutions", in{"stateMachineArn": machine, "nextToken": "abc"}); code != "InvalidToken" {
		t.Error(code)
	}
	if _, code := request(t, s, "ListExecutions", in{"stateMachineArn": machine + "x"}); code != "StateMachineDoesNotExist" {
		t.Error(code)
	}
}

func TestLag(t *testing.T) {
	s := newService(t, nil)
	s.SetLag(time.Hour, time.Hour)
	_, arn := execute(t, s, single(`{"Type":"Pass","End":true}`), "")
	if _, code := request(t, s, "DescribeExecution", in{"executionArn": arn}); code != "ExecutionDoesNotExist" {
		t.Errorf("describe: %q", code)
	}
	machine := machineARN(testRegion, "Machine")
	if out, _ := request(t, s, "ListExecutions", in{"stateMachineArn": machine}); len(out["executions"].([]any)) != 0 {
		t.Errorf("%v", out)
	}
	if n := s.Lagged(); n != 1 {
		t.Errorf("%d descriptions were behind", n)
	}
	s.SetLag(0, 0)
	if out, _ := request(t, s, "ListExecutions", in{"stateMachineArn": machine, "statusFilter": succeeded}); len(out["executions"].([]any)) != 1 {
		t.Errorf("%v", out)
	}
	if out, code := request(t, s, "DescribeExecution", in{"executionArn": arn}); out["status"] != succeeded {
		t.Errorf("%v %s", out, code)
	}
}

func TestGetExecutionHistory(t *testing.T) {
	s := newService(t, nil)
	// Every kind of event that the testbed writes fits the model: request checks it.
	_, arn := execute(t, s, `{"StartAt":"P","States":{
		"P":{"Type":"Parallel","Branches":[
			{"StartAt":"T","States":{"T":{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Parameters":{"FunctionName":"f"},"HeartbeatSeconds":5,"TimeoutSeconds":9,"End":true}}},
			{"StartAt":"L","States":{"L":{"Type":"Task","Resource":"arn:aws:lambda:eu-central-1:123456789012:function:f","TimeoutSeconds":9,"End":true}}}],"Next":"M"},
		"M":{"Type":"Map","ItemProcessor":{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":0,"End":true}}},"Next":"C"},
		"C":{"Type":"Choice","Choices":[{"Variable":"$","IsPresent":true,"Next":"S"}]},
		"S":{"Type":"Succeed"}}}`, `{"a":1}`)
	all, _ := request(t, s, "GetExecutionHistory", in{"executionArn": arn})
	events := all["events"].([]any)
	if first := events[0].(map[string]any); first["type"] != "ExecutionStarted" || first["executionStartedEventDetails"].(map[string]any)["input"] != `{"a":1}` {
		t.Errorf("%v", first)
	}
	if last := events[len(events)-1].(map[string]any); last["type"] != "ExecutionSucceeded" {
		t.Errorf("%v", last)
	}
	var reversed []any
	token := ""
	for {
		input := in{"executionArn": arn, "reverseOrder": true, "maxResults": 7}
		if token != "" {
			input["nextToken"] = token
		}
		out, code := request(t, s, "GetExecutionHistory", input)
		if code != "" {
			t.Fatal(code)
		}
		reversed = append(reversed, out["events"].([]any)...)
		var more bool
		if token, more = out["nextToken"].(string); !more {
			break
		}
		if _, code := request(t, s, "GetExecutionHistory", in{"executionArn": arn, "nextToken": token}); code != "InvalidToken" {
			t.Errorf("a token of the other order: %q", code)
		}
	}
	slices.Reverse(reversed)
	if fmt.Sprint(reversed) != fmt.Sprint(events) {
		t.Errorf("reversed pages differ:\n%v\n%v", reversed, events)
	}
	bare, _ := request(t, s, "GetExecutionHistory", in{"executionArn": arn, "includeExecutionData": false})
	if text := fmt.Sprint(bare); strings.Contains(text, "output:") || strings.Contains(text, "input:") {
		t.Errorf("data shown: %s", text)
	}
}

func TestPermissions(t *testing.T) {
	s := newService(t, nil)
	machine, execution := machineARN(testRegion, "M"), executionARN(testRegion, "M", "e")
	for _, test := range []struct {
		operation, input, wantAction, wantResource string
	}{
		{"StartExecution", `{"stateMachineArn":"` + machine + `"}`, "states:StartExecution", machine},
		{"ListExecutions", `{"stateMachineArn":"` + machine + `"}`, "states:ListExecutions", machine},
		{"DescribeExecution", `{"executionArn":"` + execution + `"}`, "states:DescribeExecution", execution},
		{"StopExecution", `{"executionArn":"` + execution + `"}`, "states:StopExecution", execution},
		{"GetExecutionHistory", `{"executionArn":"` + execution + `"}`, "states:GetExecutionHistory", execution},
		{"ListStateMachines", `{}`, "states:ListStateMachines", "*"},
		{"CreateStateMachine", `{"name":"M","roleArn":"r"}`, "states:CreateStateMachine", machine},
	} {
		got := s.Permissions(&wire.Call{Operation: test.operation, Input: json.RawMessage(test.input)})
		if got[0].Action != test.wantAction || got[0].Resource != test.wantResource {
			t.Errorf("%s: %+v", test.operation, got)
		}
	}
}
