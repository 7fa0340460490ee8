// Package step is what every step of both workflows shares: the document that
// travels between states, time slices and their cursors, the lease that keeps
// one execution and one invocation at work, objects in S3, the environment,
// logging and metrics.
//
// It promises that two invocations of a step never write at the same time,
// that a step which dies anywhere is taken up again from its last cursor, and
// that what travels in state stays small and free of personal data however
// large the pool is.
package step

import (
	"context"
	"encoding/json"
	"strings"
	"time"
)

// Event is what a state hands to its function.
type Event struct {
	Workflow  string          // ExportWorkflow or ImportWorkflow
	Step      string          // name of the state, for example ExportUsers
	Execution string          // ARN of the execution
	StartTime time.Time       // of the execution
	Input     json.RawMessage // of the execution, as a person typed it
	Run       Run
}

// ExecutionName is the last part of the execution's ARN; it names the run's
// objects in S3 and its queue messages.
func (e *Event) ExecutionName() string {
	return e.Execution[strings.LastIndexByte(e.Execution, ':')+1:]
}

// StateMachine is the ARN of the execution's state machine.
func (e *Event) StateMachine() string {
	arn := e.Execution[:max(strings.LastIndexByte(e.Execution, ':'), 0)]
	return strings.Replace(arn, ":execution:", ":stateMachine:", 1)
}

// Run is the only thing that travels in the state of a workflow: references
// and counts, never records, so that its size does not grow with the pool.
type Run struct {
	// RunID is when the lease was taken, RFC 3339 with milliseconds, UTC. It is
	// later than that of every run before it; for an export it names the restore
	// point.
	RunID string `json:"RunId"`
	// Cursor names the S3 object from which the step continues; the state machine
	// calls the step again until it is empty.
	Cursor string `json:",omitempty"`
	// WaitSeconds asks the state machine to wait before it calls the step again.
	WaitSeconds int `json:",omitempty"`
	// Skipped ends a scheduled export that met a running one.
	Skipped bool `json:",omitempty"`
	// Again sends an import back to restoring: verify-import queued records anew.
	Again bool `json:",omitempty"`
	// DryRun ends an import before its first write.
	DryRun bool `json:",omitempty"`
	// Round counts the restoring rounds of an import from 1.
	Round int `json:",omitempty"`
	// Counts is what people are told of the run so far.
	Counts map[string]int64 `json:",omitempty"`
}

// CountSecrets is the count of secrets of app clients and identity providers
// that the backup leaves out.
const CountSecrets = "SecretsLeftOut"

// CountNotRead is the count of parts of the pool's configuration that could not
// be read.
const CountNotRead = "ConfigurationPartsNotRead"

// Count adds n to a count of the run.
func (r *Run) Count(name string, n int64) {
	if n == 0 {
		return
	}
	if r.Counts == nil {
		r.Counts = map[string]int64{}
	}
	r.Counts[name] += n
}

// RunTime is the RunID as a time.
func (r *Run) RunTime() (time.Time, error) { return time.Parse(TimeFormat, r.RunID) }

// TimeFormat is how times are stored and compared as text: RFC 3339, UTC, with
// exactly three digits of milliseconds.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// FormatTime writes t in TimeFormat.
func FormatTime(t time.Time) string { return t.UTC().Format(TimeFormat) }

// Step is the work of one state. Run is called once per time slice. It returns
// the document for the next state; a step that is not done stores its cursor
// with Slice.SaveCursor and returns what that gave it.
type Step interface {
	Run(ctx context.Context, s *Slice) (Run, error)
}

// Func makes a function a Step.
type Func func(ctx context.Context, s *Slice) (Run, error)

// Run calls f.
func (f Func) Run(ctx context.Context, s *Slice) (Run, error) { return f(ctx, s) }
