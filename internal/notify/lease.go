package notify

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"cognito-backup/internal/step"
)

// giveBackWithin bounds what giving the lease back may take. The client tries
// for far longer, and a function that ran into its time-out over it would send
// its message again.
const giveBackWithin = 10 * time.Second

// Release gives the lease of an execution back, by the same payloads by which
// people are told of it. It comes after everything else that is done for the
// execution.
type Release struct {
	Lease *step.Lease // Workflow is set from the payload
}

// Handle gives the lease back after a state's message, if that was told, for
// otherwise the state comes again. An event of EventBridge says that the
// execution has ended, whatever became of the message. Failures are logged and
// not returned, lest the message be sent again: the next execution then asks
// Step Functions about this one.
func (r *Release) Handle(ctx context.Context, payload json.RawMessage, told bool) {
	lease := *r.Lease
	var execution string
	var ended time.Time
	if change, ok := isStatusChange(payload); ok {
		execution, ended = change.Detail.ExecutionARN, milliseconds(change.Detail.StopDate)
		lease.Workflow = workflow(change.Detail.StateMachineARN)
		if ended.IsZero() || !over[change.Detail.Status] {
			return // nothing here says that it has ended
		}
	} else {
		var event step.Event
		if !told || json.Unmarshal(payload, &event) != nil || event.Run.Skipped {
			return // a skipped execution never held it
		}
		execution, lease.Workflow = event.Execution, event.Workflow
	}
	ctx, cancel := context.WithTimeout(ctx, giveBackWithin)
	defer cancel()
	if err := lease.GiveBack(ctx, execution, ended); err != nil {
		slog.WarnContext(ctx, "lease not given back: the next execution asks Step Functions whether this one has ended", step.LogError, err.Error())
	}
}

// over are the states of executions that have ended, of which the rule tells.
var over = map[string]bool{"FAILED": true, "TIMED_OUT": true, "ABORTED": true}
