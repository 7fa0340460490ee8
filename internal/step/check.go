package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

// CheckStateMachine is the first step of both workflows: it takes the lease of
// the workflow in this Region.
type CheckStateMachine struct {
	Lease      *Lease // Workflow is set from the event
	Executions ExecutionsAPI
	Metrics    *Metrics
	// UserPoolIDs is for each workflow the pool that it writes into the table
	// and that no other pool may follow; "" for one that reads the table.
	UserPoolIDs map[string]string
	// Inputs checks the input of each workflow and says whether the schedule
	// started it; such an execution gives way to one that is running.
	Inputs map[string]func(json.RawMessage) (scheduled bool, err error)
}

// Handle carries out one invocation.
func (c *CheckStateMachine) Handle(ctx context.Context, event Event) (Run, error) {
	ctx = LogRun(ctx, event.Execution, event.Step)
	run, err := c.handle(ctx, event)
	if err != nil {
		err = Classify(err)
		slog.ErrorContext(ctx, "step failed", LogError, err.Error())
	}
	return run, err
}

func (c *CheckStateMachine) handle(ctx context.Context, event Event) (Run, error) {
	check, known := c.Inputs[event.Workflow]
	if !known || event.Execution == "" {
		return Run{}, fmt.Errorf("the event names workflow %q and execution %q: this function is called by its state machine; start that instead", event.Workflow, event.Execution)
	}
	scheduled, err := check(event.Input)
	if err != nil {
		return Run{}, err
	}
	lease := *c.Lease
	lease.Workflow = event.Workflow
	runID, err := lease.Take(ctx, event.Execution, c.UserPoolIDs[event.Workflow], c.Executions)
	if held := new(HeldError); errors.As(err, &held) && scheduled {
		slog.InfoContext(ctx, "skipped: another execution is running", "running", held.Execution)
		return Run{Skipped: true}, c.Metrics.Emit(event.Workflow, map[string]float64{"Skipped": 1})
	}
	if err != nil {
		return Run{}, err
	}
	slog.InfoContext(ctx, "lease taken", "run", runID)
	return Run{RunID: runID}, nil
}
