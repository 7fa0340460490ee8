package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// Executions is what finding the cause of a failure needs of Step Functions.
type Executions interface {
	DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error)
	GetExecutionHistory(context.Context, *sfn.GetExecutionHistoryInput, ...func(*sfn.Options)) (*sfn.GetExecutionHistoryOutput, error)
}

// statusChange is the EventBridge event of an execution that ended.
type statusChange struct {
	DetailType string    `json:"detail-type"`
	Region     string    `json:"region"`
	Time       time.Time `json:"time"`
	Detail     struct {
		ExecutionARN    string `json:"executionArn"`
		StateMachineARN string `json:"stateMachineArn"`
		Status          string `json:"status"`
		StartDate       int64  `json:"startDate"` // epoch milliseconds
		StopDate        int64  `json:"stopDate"`
		Input           string `json:"input"`
		Error           string `json:"error"`
		Cause           string `json:"cause"`
	} `json:"detail"`
}

// failure describes the execution that the event is about. What the event
// lacks is read from the execution; a message without a failed step beats none,
// so that errors of those reads end up in the message's place for the cause.
func (e *statusChange) failure(ctx context.Context, api Executions, prefix string) Failure {
	d := &e.Detail
	f := Failure{
		Deployment: Deployment{Prefix: prefix, Region: e.Region, Execution: d.ExecutionARN},
		Workflow:   workflow(d.StateMachineARN),
		Status:     d.Status,
		Error:      d.Error,
		Cause:      d.Cause,
		Started:    milliseconds(d.StartDate),
		Ended:      milliseconds(d.StopDate),
	}
	input := d.Input // which the event leaves out if it is long
	described, err := api.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &d.ExecutionARN})
	if err == nil {
		input = cmp.Or(aws.ToString(described.Input), input)
		// The description is eventually consistent: it may still be of an
		// execution that runs, which has no end and no cause.
		f.Error, f.Cause = cmp.Or(aws.ToString(described.Error), f.Error), cmp.Or(aws.ToString(described.Cause), f.Cause)
		f.Started, f.Ended = cmp.Or(aws.ToTime(described.StartDate), f.Started), cmp.Or(aws.ToTime(described.StopDate), f.Ended)
	}
	f.DryRun = asksForDryRun(input)
	failed, historyErr := findFailed(ctx, api, d.ExecutionARN)
	f.Step = failed.step
	if f.Cause == "" && f.Error == "" {
		f.Error, f.Cause = failed.name, failed.cause
	}
	if f.Cause == "" && historyErr != nil {
		f.Cause = fmt.Sprintf("the execution's history could not be read: %s", historyErr)
	}
	return f
}

// asksForDryRun reads an import's input, which may be anything.
func asksForDryRun(input string) bool {
	var in struct{ DryRun bool }
	return json.Unmarshal([]byte(input), &in) == nil && in.DryRun
}

// workflow is ExportWorkflow or ImportWorkflow, from the ARN of
// <prefix>-<workflow>.
func workflow(stateMachineARN string) string {
	return stateMachineARN[strings.LastIndexByte(stateMachineARN, '-')+1:]
}

func milliseconds(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// failedTask is where an execution ended and why.
type failedTask struct{ step, name, cause string }

// historyPages bounds the search: the failed state is among the last events
// unless the other branch of a Parallel wrote thousands after it.
const historyPages = 5

// findFailed reads the history backwards from its end. The last failure event
// of a task leads, by the ids of the events before it, to the state that was
// entered. Error and cause are those of the execution's own end where that tells
// them: a task that failed was perhaps retried, and the execution was stopped
// or ran too long for another reason.
func findFailed(ctx context.Context, api Executions, execution string) (failedTask, error) {
	var failed failedTask
	var told bool    // error and cause are known, or there are none
	var follow int64 // id of the event that leads to the state; 0 until the failure is found
	pages := sfn.NewGetExecutionHistoryPaginator(api, &sfn.GetExecutionHistoryInput{
		ExecutionArn: &execution, ReverseOrder: true, MaxResults: 1000, IncludeExecutionData: aws.Bool(false),
	})
	for n := 0; n < historyPages && pages.HasMorePages(); n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return failed, fmt.Errorf("get execution history: %w", err)
		}
		for _, event := range page.Events {
			if name, cause, ended := executionEnd(&event); ended {
				if !told && follow == 0 { // and not the end before a redrive
					failed.name, failed.cause = name, cause
					told = name != "" || cause != "" || event.Type != types.HistoryEventTypeExecutionFailed
				}
				continue
			}
			name, cause, failure := taskFailure(&event)
			switch {
			case follow == 0 && failure:
				if !told {
					failed.name, failed.cause = name, cause
				}
				follow = event.PreviousEventId
			case follow == 0 && event.StateEnteredEventDetails != nil:
				// Stopped or failed inside a state without a failed task.
				failed.step = aws.ToString(event.StateEnteredEventDetails.Name)
				return failed, nil
			case event.Id == follow && event.StateEnteredEventDetails != nil:
				failed.step = aws.ToString(event.StateEnteredEventDetails.Name)
				return failed, nil
			case event.Id == follow:
				follow = event.PreviousEventId
			}
		}
	}
	return failed, nil
}

// executionEnd is what an event says of the end of the whole execution. The
// API promises the details of no event.
func executionEnd(event *types.HistoryEvent) (name, cause string, is bool) {
	switch event.Type {
	case types.HistoryEventTypeExecutionFailed:
		if d := event.ExecutionFailedEventDetails; d != nil {
			name, cause = aws.ToString(d.Error), aws.ToString(d.Cause)
		}
	case types.HistoryEventTypeExecutionTimedOut:
		if d := event.ExecutionTimedOutEventDetails; d != nil {
			name, cause = aws.ToString(d.Error), aws.ToString(d.Cause)
		}
	case types.HistoryEventTypeExecutionAborted:
		if d := event.ExecutionAbortedEventDetails; d != nil {
			name, cause = aws.ToString(d.Error), aws.ToString(d.Cause)
		}
	default:
		return "", "", false
	}
	return name, cause, true
}

// taskFailure is what an event says of a task that failed.
func taskFailure(event *types.HistoryEvent) (name, cause string, is bool) {
	switch event.Type {
	case types.HistoryEventTypeTaskFailed:
		if d := event.TaskFailedEventDetails; d != nil {
			name, cause = aws.ToString(d.Error), aws.ToString(d.Cause)
		}
	case types.HistoryEventTypeTaskTimedOut:
		if d := event.TaskTimedOutEventDetails; d != nil {
			name, cause = aws.ToString(d.Error), aws.ToString(d.Cause)
		}
	case types.HistoryEventTypeTaskStartFailed:
		if d := event.TaskStartFailedEventDetails; d != nil {
			name, cause = aws.ToString(d.Error), aws.ToString(d.Cause)
		}
	default:
		return "", "", false
	}
	return name, cause, true
}

// isStatusChange says whether the payload comes from the EventBridge rule.
func isStatusChange(payload json.RawMessage) (statusChange, bool) {
	var e statusChange
	return e, json.Unmarshal(payload, &e) == nil && e.DetailType != ""
}
