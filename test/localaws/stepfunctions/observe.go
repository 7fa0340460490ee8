package stepfunctions

import (
	"context"
	"maps"
	"time"
)

// Observed is what tests measure of an execution without reading its history.
type Observed struct {
	Total          int            // history events
	Events         map[string]int // by type
	Entered        map[string]int // by state name
	LargestPayload int            // bytes of UTF-8: input, output, task result or parameters
	LargestType    string         // type of the event that carried it
}

func (o *Observed) count(e event) {
	if o.Events == nil {
		o.Events, o.Entered = map[string]int{}, map[string]int{}
	}
	o.Total++
	o.Events[e.Type]++
	if e.detailsKey() == "stateEnteredEventDetails" {
		name, _ := e.Details["name"].(string)
		o.Entered[name]++
	}
	for _, member := range []string{"input", "output", "parameters"} {
		if data, ok := e.Details[member].(string); ok && len(data) > o.LargestPayload {
			o.LargestPayload, o.LargestType = len(data), e.Type
		}
	}
}

// Observe returns the counts of an execution so far; false: there is none of
// that ARN.
func (s *Service) Observe(executionARN string) (Observed, bool) {
	e := s.execution(executionARN)
	if e == nil {
		return Observed{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.observed
	o.Events, o.Entered = maps.Clone(o.Events), maps.Clone(o.Entered)
	return o, true
}

// Progress is one history event, for displays.
type Progress struct {
	ExecutionARN string
	StateMachine string // name
	Execution    string // name
	EventID      int64
	Type         string // TaskStateEntered
	State        string // name, for events of entering and leaving
	At           time.Time
}

// Subscribe calls fn with every history event of every execution from now on,
// each execution's events one after the other unless it has parallel branches.
// fn runs on the execution's own goroutine and has to be quick.
func (s *Service) Subscribe(fn func(Progress)) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastSubscriber++
	id := s.lastSubscriber
	s.subscribers[id] = fn
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subscribers, id)
	}
}

func (s *Service) notify(e *execution, added event) {
	s.mu.Lock()
	subscribers := make([]func(Progress), 0, len(s.subscribers))
	for _, fn := range s.subscribers {
		subscribers = append(subscribers, fn)
	}
	s.mu.Unlock()
	if len(subscribers) == 0 {
		return
	}
	p := Progress{ExecutionARN: e.arn, StateMachine: e.machine.Name, Execution: e.name, EventID: added.ID, Type: added.Type, At: added.At}
	if key := added.detailsKey(); key == "stateEnteredEventDetails" || key == "stateExitedEventDetails" {
		p.State, _ = added.Details["name"].(string)
	}
	for _, fn := range subscribers {
		fn(p)
	}
}

// Result is how an execution stands or ended.
type Result struct {
	Status string // RUNNING, SUCCEEDED, FAILED, TIMED_OUT, ABORTED
	Output string
	Error  string
	Cause  string
	Start  time.Time
	Stop   time.Time // zero while running
}

// Wait returns when the execution has ended, without any lag, or when ctx ends.
func (s *Service) Wait(ctx context.Context, executionARN string) (Result, error) {
	e := s.execution(executionARN)
	if e == nil {
		return Result{}, noExecution(executionARN)
	}
	select {
	case <-e.done:
	case <-ctx.Done():
		return Result{}, context.Cause(ctx)
	}
	v := e.view()
	r := Result{Status: v.status, Output: v.output, Start: e.start, Stop: v.stop}
	if v.fail != nil {
		r.Error, r.Cause = v.fail.name, v.fail.cause
	}
	return r, nil
}
