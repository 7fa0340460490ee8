package notify

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// execution is a Step Functions that knows one execution.
type execution struct {
	events   []types.HistoryEvent // oldest first
	describe *sfn.DescribeExecutionOutput
	page     int
	err      error
}

func (e *execution) DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	return e.describe, e.err
}

func (e *execution) GetExecutionHistory(_ context.Context, in *sfn.GetExecutionHistoryInput, _ ...func(*sfn.Options)) (*sfn.GetExecutionHistoryOutput, error) {
	if e.err != nil {
		return nil, e.err
	}
	all := slices.Clone(e.events)
	if in.ReverseOrder {
		slices.Reverse(all)
	}
	from := 0
	if in.NextToken != nil {
		from = int((*in.NextToken)[0] - 'A')
	}
	out := &sfn.GetExecutionHistoryOutput{Events: all[from:min(from+e.page, len(all))]}
	if from+e.page < len(all) {
		out.NextToken = aws.String(string(rune('A' + from + e.page)))
	}
	return out, nil
}

func event(id, previous int64, kind types.HistoryEventType) types.HistoryEvent {
	return types.HistoryEvent{Id: id, PreviousEventId: previous, Type: kind}
}

func entered(id, previous int64, name string) types.HistoryEvent {
	e := event(id, previous, types.HistoryEventTypeTaskStateEntered)
	e.StateEnteredEventDetails = &types.StateEnteredEventDetails{Name: &name}
	return e
}

func failed(id, previous int64, cause string) types.HistoryEvent {
	e := event(id, previous, types.HistoryEventTypeTaskFailed)
	e.TaskFailedEventDetails = &types.TaskFailedEventDetails{Error: aws.String("Failure"), Cause: &cause}
	return e
}

// end is the end of an execution, with details.
func end(id, previous int64, kind types.HistoryEventType, name, cause string) types.HistoryEvent {
	e := event(id, previous, kind)
	switch kind {
	case types.HistoryEventTypeExecutionFailed:
		e.ExecutionFailedEventDetails = &types.ExecutionFailedEventDetails{Error: &name, Cause: &cause}
	case types.HistoryEventTypeExecutionTimedOut:
		e.ExecutionTimedOutEventDetails = &types.ExecutionTimedOutEventDetails{Error: &name, Cause: &cause}
	case types.HistoryEventTypeExecutionAborted:
		e.ExecutionAbortedEventDetails = &types.ExecutionAbortedEventDetails{Error: &name, Cause: &cause}
	}
	return e
}

func TestFindFailed(t *testing.T) {
	scheduled := func(id, previous int64) types.HistoryEvent {
		return event(id, previous, types.HistoryEventTypeTaskScheduled)
	}
	for _, c := range []struct {
		name   string
		events []types.HistoryEvent
		want   failedTask
	}{
		{"a task", []types.HistoryEvent{
			event(1, 0, types.HistoryEventTypeExecutionStarted),
			entered(2, 1, "ExportUsers"), scheduled(3, 2), event(4, 3, types.HistoryEventTypeTaskStarted), failed(5, 4, "why"),
			event(6, 5, types.HistoryEventTypeExecutionFailed),
		}, failedTask{"ExportUsers", "Failure", "why"}},
		{"a retried task", []types.HistoryEvent{
			entered(2, 1, "ScanTable"), scheduled(3, 2), failed(4, 3, "first"), scheduled(5, 4), failed(6, 5, "last"),
			event(7, 6, types.HistoryEventTypeExecutionFailed),
		}, failedTask{"ScanTable", "Failure", "last"}},
		{"one branch of two", []types.HistoryEvent{
			entered(2, 1, "ImportUsers"), entered(3, 1, "UpdateUsers"), scheduled(4, 2), scheduled(5, 3), failed(6, 4, "why"),
			event(7, 6, types.HistoryEventTypeParallelStateFailed), event(8, 7, types.HistoryEventTypeExecutionFailed),
		}, failedTask{"ImportUsers", "Failure", "why"}},
		{"stopped while it waits", []types.HistoryEvent{
			entered(2, 1, "ImportUsers"), event(3, 2, types.HistoryEventTypeTaskSucceeded),
			entered(4, 3, "WaitForImportUsers"), event(5, 4, types.HistoryEventTypeExecutionAborted),
		}, failedTask{step: "WaitForImportUsers"}},
		{"a task without details", []types.HistoryEvent{
			entered(2, 1, "ScanTable"), scheduled(3, 2), event(4, 3, types.HistoryEventTypeTaskFailed),
			event(5, 4, types.HistoryEventTypeExecutionFailed),
		}, failedTask{step: "ScanTable"}},
		{"a time-out without details", []types.HistoryEvent{
			entered(2, 1, "ScanTable"), scheduled(3, 2), event(4, 3, types.HistoryEventTypeTaskTimedOut),
			event(5, 4, types.HistoryEventTypeExecutionFailed),
		}, failedTask{step: "ScanTable"}},
		{"a task without details, and an execution with them", []types.HistoryEvent{
			entered(2, 1, "ScanTable"), scheduled(3, 2), event(4, 3, types.HistoryEventTypeTaskFailed),
			end(5, 4, types.HistoryEventTypeExecutionFailed, "Failure", "why"),
		}, failedTask{"ScanTable", "Failure", "why"}},
		{"stopped while a task is retried", []types.HistoryEvent{
			entered(2, 1, "ScanTable"), scheduled(3, 2), failed(4, 3, "passed by"), scheduled(5, 4),
			end(6, 5, types.HistoryEventTypeExecutionAborted, "", "maintenance"),
		}, failedTask{"ScanTable", "", "maintenance"}},
		{"stopped without a reason", []types.HistoryEvent{
			entered(2, 1, "ScanTable"), scheduled(3, 2), failed(4, 3, "passed by"), scheduled(5, 4), event(6, 5, types.HistoryEventTypeExecutionAborted),
		}, failedTask{step: "ScanTable"}},
		{"ran too long", []types.HistoryEvent{
			entered(2, 1, "ScanTable"), scheduled(3, 2), failed(4, 3, "passed by"), scheduled(5, 4),
			end(6, 5, types.HistoryEventTypeExecutionTimedOut, "States.Timeout", ""),
		}, failedTask{"ScanTable", "States.Timeout", ""}},
		{"redriven", []types.HistoryEvent{
			entered(2, 1, "ScanTable"), scheduled(3, 2), failed(4, 3, "first"), end(5, 4, types.HistoryEventTypeExecutionFailed, "Failure", "first"),
			event(6, 5, types.HistoryEventTypeExecutionRedriven), scheduled(7, 2), failed(8, 7, "last"), event(9, 8, types.HistoryEventTypeExecutionFailed),
		}, failedTask{"ScanTable", "Failure", "last"}},
		{"nothing", nil, failedTask{}},
	} {
		for _, page := range []int{1, 2, 100} {
			got, err := findFailed(t.Context(), &execution{events: c.events, page: page}, "arn")
			if page*historyPages < len(c.events) {
				continue // beyond what is read
			}
			if err != nil || got != c.want {
				t.Errorf("%s, %d a page: %+v, %v", c.name, page, got, err)
			}
		}
	}
}

const changed = `{"version":"0","detail-type":"Step Functions Execution Status Change","source":"aws.states","region":"us-west-2",
 "time":"2026-11-22T09:01:43Z","detail":{"executionArn":"arn:aws:states:us-west-2:123456789012:execution:CognitoBackup-ImportWorkflow:77aa",
 "stateMachineArn":"arn:aws:states:us-west-2:123456789012:stateMachine:CognitoBackup-ImportWorkflow","name":"77aa","status":"FAILED",
 "startDate":1795338043000,"stopDate":1795338103000,"input":"{\"NewUserPoolId\":\"us-west-2_Example02\"}","error":"Failure","cause":"boom"}}`

func TestFailureFromEvent(t *testing.T) {
	e, ok := isStatusChange(json.RawMessage(changed))
	if !ok {
		t.Fatal("the event was not recognised")
	}
	api := &execution{page: 10, events: []types.HistoryEvent{entered(2, 1, "ScanTable"), failed(3, 2, "boom")},
		describe: &sfn.DescribeExecutionOutput{Error: aws.String("Failure"), Cause: aws.String("boom")}}
	f := e.failure(t.Context(), api, "CognitoBackup")
	if f.Workflow != "ImportWorkflow" || f.Step != "ScanTable" || f.Cause != "boom" || f.Region != "us-west-2" {
		t.Errorf("failure is %+v", f)
	}

	if f.DryRun {
		t.Error("an import was taken for a dry run")
	}
	api.describe.Input = aws.String(`{"NewUserPoolId":"us-west-2_Example02","DryRun":true}`)
	if f := e.failure(t.Context(), api, "CognitoBackup"); !f.DryRun {
		t.Error("a dry run was not recognised")
	}

	// What is described may lag behind the event: nothing in it is lost to that.
	api.describe = &sfn.DescribeExecutionOutput{Status: types.ExecutionStatusRunning, StartDate: aws.Time(time.UnixMilli(1795338043500).UTC())}
	f = e.failure(t.Context(), api, "CognitoBackup")
	if f.Error != "Failure" || f.Cause != "boom" || !f.Started.Equal(*api.describe.StartDate) || f.Ended.UnixMilli() != 1795338103000 {
		t.Errorf("failure of an execution that seems to run is %+v", f)
	}
	api.describe = &sfn.DescribeExecutionOutput{Error: aws.String("Failure"), Cause: aws.String("more of it")}
	if f := e.failure(t.Context(), api, "CognitoBackup"); f.Cause != "more of it" || f.Started.UnixMilli() != 1795338043000 {
		t.Errorf("failure with a description is %+v", f)
	}

	// Without access to the execution the event itself has to do.
	f = e.failure(t.Context(), &execution{err: errors.New("throttled")}, "CognitoBackup")
	if f.Cause != "boom" || f.Step != "" || f.Started.IsZero() {
		t.Errorf("failure without the execution is %+v", f)
	}
	if body := f.Message().Body; !strings.Contains(body, "boom") {
		t.Errorf("the message lacks the cause:\n%s", body)
	}
	if _, ok := isStatusChange(json.RawMessage(`{"Workflow":"ExportWorkflow","Step":"SendMessage"}`)); ok {
		t.Error("a step's event was taken for a status change")
	}
}
