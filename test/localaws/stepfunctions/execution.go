package stepfunctions

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	"cognito-backup/test/localaws/wire"
)

// Execution states.
const (
	running   = "RUNNING"
	succeeded = "SUCCEEDED"
	failed    = "FAILED"
	timedOut  = "TIMED_OUT"
	aborted   = "ABORTED"
)

// execution is one run of a state machine with its history.
type execution struct {
	service   *Service
	machine   *Machine // as it was when the execution started
	arn, name string
	input     string
	inputData any
	start     time.Time
	number    int // in the order of starting, for paging
	cancel    context.CancelCauseFunc
	done      chan struct{}

	mu       sync.Mutex
	status   string
	stop     time.Time
	output   string
	fail     *failure
	events   []event
	observed Observed
}

// ending is why an execution was cancelled from outside its states.
type ending struct {
	status string
	fail   *failure
}

func (e *ending) Error() string { return e.status }

// event is one entry of the history.
type event struct {
	ID       int64
	Previous int64
	Type     string
	At       time.Time
	Details  map[string]any // nil if the type has none
}

// detailsKey is the member that holds an event's details: several types share one.
func (e event) detailsKey() string {
	for _, suffix := range []string{"StateEntered", "StateExited"} {
		if len(e.Type) > len(suffix) && e.Type[len(e.Type)-len(suffix):] == suffix {
			return "s" + suffix[1:] + "EventDetails"
		}
	}
	return string(e.Type[0]|0x20) + e.Type[1:] + "EventDetails"
}

// wire is the event as GetExecutionHistory shows it, with or without the data of
// the execution.
func (e event) wire(includeData bool) map[string]any {
	shown := map[string]any{"id": e.ID, "previousEventId": e.Previous, "type": e.Type, "timestamp": wire.Time(e.At)}
	if e.Details == nil {
		return shown
	}
	details := e.Details
	if !includeData {
		details = maps.Clone(details)
		for _, member := range []string{"input", "inputDetails", "output", "outputDetails"} {
			delete(details, member)
		}
		if _, given := details["parameters"]; given {
			details["parameters"] = "" // required by the model
		}
	}
	shown[e.detailsKey()] = details
	return shown
}

func notTruncated() map[string]any { return map[string]any{"truncated": false} }

func stateData(name, member, data string) map[string]any {
	return map[string]any{"name": name, member: data, member + "Details": notTruncated()}
}

func errorDetails(fail *failure) map[string]any {
	details := map[string]any{}
	if fail == nil {
		return details
	}
	if fail.name != "" {
		details["error"] = truncate(fail.name, maxErrorLength)
	}
	if fail.cause != "" {
		details["cause"] = truncate(fail.cause, maxCauseLength)
	}
	return details
}

// emit appends an event and returns its id. The last place of the history is kept
// for the event that ends the execution: whoever would take it ends it.
func (e *execution) emit(kind string, previous int64, details map[string]any) int64 {
	e.mu.Lock()
	if e.status != running {
		e.mu.Unlock()
		return previous
	}
	if len(e.events) >= e.service.maxEvents-1 {
		e.mu.Unlock()
		e.cancel(&ending{failed, failf(errRuntime, "The execution reached the maximum number of history events (%d).", e.service.maxEvents)})
		return previous
	}
	added := e.append(kind, previous, details)
	e.mu.Unlock()
	e.service.notify(e, added)
	return added.ID
}

// append needs the lock.
func (e *execution) append(kind string, previous int64, details map[string]any) event {
	added := event{ID: int64(len(e.events)) + 1, Previous: previous, Type: kind, At: e.service.clock.Now(), Details: details}
	e.events = append(e.events, added)
	e.observed.count(added)
	return added
}

// run carries the execution out, in a goroutine of its own.
func (e *execution) run(ctx context.Context) {
	defer close(e.done)
	e.emit("ExecutionStarted", 0, map[string]any{"input": e.input, "inputDetails": notTruncated(), "roleArn": e.machine.RoleARN})
	e.changed()
	if seconds := e.machine.parsed.TimeoutSeconds; seconds > 0 {
		timer := time.AfterFunc(time.Duration(seconds)*time.Second, func() {
			e.cancel(&ending{timedOut, &failure{name: errTimeout}})
		})
		defer timer.Stop()
	}
	root := &branch{exec: e, ctx: ctx} // AWS counts the first state's previous event as 0
	output, fail := root.run(e.machine.parsed.scope, e.inputData)
	status := succeeded
	if cause, ok := context.Cause(ctx).(*ending); ok {
		status, fail = cause.status, cause.fail
	} else if ctx.Err() != nil {
		return // the testbed shuts down: the execution just ends, as the lights go out
	} else if fail != nil {
		status = failed
	}
	e.finish(status, output, fail, root.previous)
}

// finish writes the last event and publishes the outcome.
func (e *execution) finish(status string, output any, fail *failure, previous int64) {
	e.mu.Lock()
	e.stop = e.service.clock.Now()
	var added event
	if status == succeeded {
		e.output = encode(output)
		added = e.append("ExecutionSucceeded", previous, map[string]any{"output": e.output, "outputDetails": notTruncated()})
	} else {
		if fail != nil {
			fail = &failure{name: truncate(fail.name, maxErrorLength), cause: truncate(fail.cause, maxCauseLength)}
		}
		e.fail = fail
		kind := map[string]string{failed: "ExecutionFailed", timedOut: "ExecutionTimedOut", aborted: "ExecutionAborted"}[status]
		added = e.append(kind, previous, errorDetails(fail))
	}
	e.status = status
	e.mu.Unlock()
	e.service.notify(e, added)
	e.changed()
}

// view is an execution as it stood at a moment.
type view struct {
	status string
	stop   time.Time // zero while running
	output string
	fail   *failure
}

// viewAt is what an API sees that lags behind; false: the execution had not
// started then.
func (e *execution) viewAt(at time.Time) (view, bool) {
	if at.Before(e.start) {
		return view{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.status == running || at.Before(e.stop) {
		return view{status: running}, true
	}
	return view{e.status, e.stop, e.output, e.fail}, true
}

func (e *execution) view() view {
	v, _ := e.viewAt(e.service.clock.Now().Add(time.Hour))
	return v
}

// maxEventData is how much escaped input and output fit into a status change
// event (events are limited to 256 KiB as a whole).
const maxEventData = 248 << 10

// changed publishes the documented "Step Functions Execution Status Change" event.
func (e *execution) changed() {
	if e.service.OnStatusChange == nil {
		return
	}
	v := e.view()
	detail := map[string]any{
		"executionArn": e.arn, "stateMachineArn": e.machine.ARN, "name": e.name, "status": v.status,
		"startDate": e.start.UnixMilli(), "stopDate": nil,
		"input": e.input, "inputDetails": map[string]any{"included": true},
		"output": nil, "outputDetails": nil, "error": nil, "cause": nil,
		"stateMachineVersionArn": nil, "stateMachineAliasArn": nil,
		"redriveCount": 0, "redriveDate": nil, "redriveStatus": "NOT_REDRIVABLE", "redriveStatusReason": nil,
	}
	at := e.start
	if v.status != running {
		at = v.stop
		detail["stopDate"] = v.stop.UnixMilli()
	}
	if v.status == succeeded {
		detail["output"], detail["outputDetails"] = v.output, map[string]any{"included": true}
	}
	if v.fail != nil {
		detail["error"], detail["cause"] = orNull(v.fail.name), orNull(v.fail.cause)
	}
	input, output := len(encode(e.input)), len(encode(v.output))
	if input+output > maxEventData {
		detail["input"], detail["inputDetails"] = nil, map[string]any{"included": false}
	}
	if output > maxEventData {
		detail["output"], detail["outputDetails"] = nil, map[string]any{"included": false}
	}
	e.service.OnStatusChange(json.RawMessage(encode(map[string]any{
		"version": "0", "id": newUUID(), "detail-type": "Step Functions Execution Status Change", "source": "aws.states",
		"account": wire.Account, "time": at.UTC().Format(time.RFC3339), "region": e.service.region,
		"resources": []any{e.arn}, "detail": detail,
	})))
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func executionARN(region, machine, name string) string {
	return fmt.Sprintf("arn:aws:states:%s:%s:execution:%s:%s", region, wire.Account, machine, name)
}

func machineARN(region, name string) string {
	return fmt.Sprintf("arn:aws:states:%s:%s:stateMachine:%s", region, wire.Account, name)
}
