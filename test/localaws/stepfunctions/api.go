package stepfunctions

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cognito-backup/test/localaws/wire"
)

// parameters are the inputs of all operations; each reads what it knows.
type parameters struct {
	Name                 string          `json:"name"`
	Definition           string          `json:"definition"`
	RoleARN              string          `json:"roleArn"`
	Type                 string          `json:"type"`
	LoggingConfiguration json.RawMessage `json:"loggingConfiguration"`
	TracingConfiguration json.RawMessage `json:"tracingConfiguration"`
	StateMachineARN      string          `json:"stateMachineArn"`
	ExecutionARN         string          `json:"executionArn"`
	Input                string          `json:"input"`
	Error                string          `json:"error"`
	Cause                string          `json:"cause"`
	StatusFilter         string          `json:"statusFilter"`
	MaxResults           int             `json:"maxResults"`
	NextToken            string          `json:"nextToken"`
	ReverseOrder         bool            `json:"reverseOrder"`
	IncludeExecutionData *bool           `json:"includeExecutionData"`
	IncludedData         string          `json:"includedData"`
}

// Permissions lists what a call needs.
func (s *Service) Permissions(c *wire.Call) []wire.Permission {
	var p parameters
	_ = c.Decode(&p) // Handle reports what is wrong with it
	action := "states:" + c.Operation
	switch c.Operation {
	case "CreateStateMachine":
		return []wire.Permission{
			{Action: action, Resource: machineARN(s.region, p.Name)},
			{Action: "iam:PassRole", Resource: p.RoleARN, Context: map[string]string{"iam:PassedToService": "states.amazonaws.com"}},
		}
	case "DescribeStateMachine", "StartExecution", "ListExecutions":
		return []wire.Permission{{Action: action, Resource: orAny(p.StateMachineARN)}}
	case "StopExecution", "DescribeExecution", "GetExecutionHistory", "DescribeStateMachineForExecution":
		return []wire.Permission{{Action: action, Resource: orAny(p.ExecutionARN)}}
	}
	return []wire.Permission{{Action: action, Resource: "*"}}
}

func orAny(arn string) string {
	if arn == "" {
		return "*"
	}
	return arn
}

// Handle carries out one call.
func (s *Service) Handle(_ context.Context, c *wire.Call) (any, error) {
	var p parameters
	if err := c.Decode(&p); err != nil {
		return nil, err
	}
	switch c.Operation {
	case "CreateStateMachine":
		return s.createStateMachine(p)
	case "DescribeStateMachine":
		return s.describeStateMachine(p)
	case "ListStateMachines":
		return s.listStateMachines(p)
	case "StartExecution":
		e, err := s.start(p.StateMachineARN, p.Name, p.Input)
		if err != nil {
			return nil, err
		}
		return map[string]any{"executionArn": e.arn, "startDate": wire.Time(e.start)}, nil
	case "StopExecution":
		stopped, err := s.Stop(p.ExecutionARN, p.Error, p.Cause)
		if err != nil {
			return nil, err
		}
		return map[string]any{"stopDate": wire.Time(stopped)}, nil
	case "DescribeExecution":
		return s.describeExecution(p)
	case "DescribeStateMachineForExecution":
		return s.describeStateMachineForExecution(p)
	case "ListExecutions":
		return s.listExecutions(p)
	case "GetExecutionHistory":
		return s.getExecutionHistory(p)
	}
	return nil, wire.Errorf("UnknownOperationException", "the testbed has no operation states:%s", c.Operation)
}

func (s *Service) createStateMachine(p parameters) (any, error) {
	if p.Type == "EXPRESS" {
		return nil, wire.Errorf("StateMachineTypeNotSupported", "the testbed runs STANDARD workflows only")
	}
	m, err := s.newMachine(p.Name, p.Definition, p.RoleARN)
	if err != nil {
		return nil, err
	}
	m.logging, m.tracing = p.LoggingConfiguration, p.TracingConfiguration
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.machines[m.ARN]; old == nil {
		s.machines[m.ARN] = m
	} else if normalize(old.Definition) != normalize(m.Definition) || old.RoleARN != m.RoleARN {
		return nil, wire.Errorf("StateMachineAlreadyExists", "State Machine Already Exists: '%s'", m.ARN)
	} else {
		m = old
	}
	return map[string]any{"stateMachineArn": m.ARN, "creationDate": wire.Time(m.Created)}, nil
}

func (s *Service) describeStateMachine(p parameters) (any, error) {
	if err := checkARN(p.StateMachineARN, "stateMachine"); err != nil {
		return nil, err
	}
	m := s.machine(p.StateMachineARN)
	if m == nil {
		return nil, noMachine(p.StateMachineARN)
	}
	out := m.describe()
	out["status"], out["type"], out["creationDate"] = "ACTIVE", "STANDARD", wire.Time(m.Created)
	return out, nil
}

func (m *Machine) describe() map[string]any {
	out := map[string]any{
		"stateMachineArn": m.ARN, "name": m.Name, "definition": m.Definition, "roleArn": m.RoleARN,
		"loggingConfiguration": map[string]any{"level": "OFF", "includeExecutionData": false},
		"tracingConfiguration": map[string]any{"enabled": false},
	}
	if m.logging != nil {
		out["loggingConfiguration"] = m.logging
	}
	if m.tracing != nil {
		out["tracingConfiguration"] = m.tracing
	}
	return out
}

func (s *Service) describeStateMachineForExecution(p parameters) (any, error) {
	e, err := s.visible(p.ExecutionARN)
	if err != nil {
		return nil, err
	}
	out := e.machine.describe()
	out["updateDate"] = wire.Time(e.machine.Created)
	return out, nil
}

func (s *Service) listStateMachines(p parameters) (any, error) {
	machines := s.Machines()
	from, size, err := page(p, "machines")
	if err != nil {
		return nil, err
	}
	list := []any{}
	out := map[string]any{}
	for i := from; i < len(machines); i++ {
		if len(list) == size {
			out["nextToken"] = token("machines", i)
			break
		}
		m := machines[i]
		list = append(list, map[string]any{"stateMachineArn": m.ARN, "name": m.Name, "type": "STANDARD", "creationDate": wire.Time(m.Created)})
	}
	out["stateMachines"] = list
	return out, nil
}

// visible finds an execution that DescribeExecution can already see.
func (s *Service) visible(arn string) (*execution, error) {
	if err := checkARN(arn, "execution"); err != nil {
		return nil, err
	}
	e := s.execution(arn)
	if e == nil {
		return nil, noExecution(arn)
	}
	v, started := e.viewAt(s.seenAt(false))
	if !started || v.status != e.view().status {
		s.mu.Lock()
		s.lagged++
		s.mu.Unlock()
	}
	if !started {
		return nil, noExecution(arn)
	}
	return e, nil
}

// seenAt is the moment that a lagging API shows.
func (s *Service) seenAt(listing bool) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	lag := s.describeLag
	if listing {
		lag = s.listLag
	}
	if lag <= 0 {
		lag = -time.Hour // as current as can be, whatever the clock's resolution
	}
	return s.clock.Now().Add(-lag)
}

func (s *Service) describeExecution(p parameters) (any, error) {
	e, err := s.visible(p.ExecutionARN)
	if err != nil {
		return nil, err
	}
	v, _ := e.viewAt(s.seenAt(false))
	out := e.item(v)
	delete(out, "redriveDate")
	out["redriveStatus"] = "NOT_REDRIVABLE"
	if p.IncludedData != "METADATA_ONLY" {
		out["input"], out["inputDetails"] = e.input, map[string]any{"included": true}
	}
	if v.status == succeeded && p.IncludedData != "METADATA_ONLY" {
		out["output"], out["outputDetails"] = v.output, map[string]any{"included": true}
	}
	for member, value := range errorDetails(v.fail) {
		out[member] = value
	}
	return out, nil
}

func (e *execution) item(v view) map[string]any {
	item := map[string]any{
		"executionArn": e.arn, "stateMachineArn": e.machine.ARN, "name": e.name, "status": v.status,
		"startDate": wire.Time(e.start), "redriveCount": 0,
	}
	if v.status != running {
		item["stopDate"] = wire.Time(v.stop)
	}
	return item
}

// listExecutions lists the newest first. Its token names the last execution
// shown, so that executions which start in between shift nothing.
func (s *Service) listExecutions(p parameters) (any, error) {
	if err := checkARN(p.StateMachineARN, "stateMachine"); err != nil {
		return nil, err
	}
	if s.machine(p.StateMachineARN) == nil {
		return nil, noMachine(p.StateMachineARN)
	}
	scope := "executions " + p.StateMachineARN + " " + p.StatusFilter
	from, size, err := page(p, scope)
	if err != nil {
		return nil, err
	}
	at := s.seenAt(true)
	s.mu.Lock()
	all := s.order
	s.mu.Unlock()
	if p.NextToken == "" {
		from = len(all)
	}
	list := []any{}
	out := map[string]any{}
	for i := min(from, len(all)) - 1; i >= 0; i-- {
		e := all[i]
		if e.machine.ARN != p.StateMachineARN {
			continue
		}
		v, started := e.viewAt(at)
		if !started || p.StatusFilter != "" && p.StatusFilter != v.status {
			continue
		}
		if len(list) == size {
			out["nextToken"] = token(scope, i+1)
			break
		}
		list = append(list, e.item(v))
	}
	out["executions"] = list
	return out, nil
}

// getExecutionHistory pages by event id, so that a token stays good while the
// history grows.
func (s *Service) getExecutionHistory(p parameters) (any, error) {
	if err := checkARN(p.ExecutionARN, "execution"); err != nil {
		return nil, err
	}
	e := s.execution(p.ExecutionARN)
	if e == nil {
		return nil, noExecution(p.ExecutionARN)
	}
	scope := fmt.Sprintf("history %s %t", p.ExecutionARN, p.ReverseOrder)
	from, size, err := page(p, scope)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	events := e.events // only ever appended to
	e.mu.Unlock()
	step := 1
	if p.ReverseOrder {
		step = -1
		if p.NextToken == "" {
			from = len(events) - 1
		}
	}
	includeData := p.IncludeExecutionData == nil || *p.IncludeExecutionData
	list := []any{}
	out := map[string]any{}
	for i := from; i >= 0 && i < len(events); i += step {
		if len(list) == size {
			out["nextToken"] = token(scope, i)
			break
		}
		list = append(list, events[i].wire(includeData))
	}
	out["events"] = list
	return out, nil
}

// defaultPage is the number of results when maxResults is absent or 0.
const defaultPage = 100

// page reads where to go on and how much to show. A token works only for the
// request that it came from.
func page(p parameters, scope string) (from, size int, err error) {
	size = p.MaxResults
	if size == 0 {
		size = defaultPage
	}
	if size < 0 || size > 1000 {
		return 0, 0, wire.Errorf("ValidationException", "1 validation error detected: Value '%d' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 1000", p.MaxResults)
	}
	if p.NextToken == "" {
		return 0, size, nil
	}
	invalid := wire.Errorf("InvalidToken", "Invalid Token: 'Invalid token'")
	raw, err := base64.RawURLEncoding.DecodeString(p.NextToken)
	if err != nil {
		return 0, 0, invalid
	}
	position, of, ok := strings.Cut(string(raw), " ")
	from, err = strconv.Atoi(position)
	if !ok || of != scope || err != nil {
		return 0, 0, invalid
	}
	return from, size, nil
}

func token(scope string, position int) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(position) + " " + scope))
}
