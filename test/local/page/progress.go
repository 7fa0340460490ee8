package page

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"cognito-backup/test/local/graph"
)

// workflow is a workflow with its drawings.
type workflow struct {
	Name          string
	wide, compact *graph.Drawing
	steps         []graph.Step // tasks only
}

func newWorkflow(w Workflow) (*workflow, error) {
	m, err := graph.Read(w.Definition)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.Name, err)
	}
	known := &workflow{Name: w.Name, wide: graph.Layout(m, false), compact: graph.Layout(m, true)}
	for _, s := range m.Steps() {
		if s.Type == "Task" {
			known.steps = append(known.steps, s)
		}
	}
	return known, nil
}

// progress is what is known of an execution from its history.
type progress struct {
	status map[string]graph.Status
	tasks  map[string]*task
	at     map[int64]string // state by event id
	read   int64            // last event taken in
}

// task is what became of a Task state.
type task struct {
	first, last     time.Time // entered first, left last
	slices, retries int
	lastError       string
	before, after   map[string]int64 // counts of the run, which only grow
}

func newProgress() *progress {
	return &progress{status: map[string]graph.Status{}, tasks: map[string]*task{}, at: map[int64]string{}}
}

// take takes in what is new in an execution's history.
func (p *progress) take(e *Execution) {
	for i := range e.History {
		if h := &e.History[i]; h.Id > p.read {
			p.read = h.Id
			p.event(h)
		}
	}
	if e.Status == types.ExecutionStatusRunning {
		return
	}
	// States that an end caught inside have no event of leaving.
	final := graph.Done
	if e.Status != types.ExecutionStatusSucceeded {
		final = graph.Failed
	}
	for name, s := range p.status {
		if s == graph.Running {
			p.status[name] = final
		}
	}
}

func (p *progress) event(h *types.HistoryEvent) {
	when := aws.ToTime(h.Timestamp)
	name := p.at[h.PreviousEventId]
	switch {
	case h.StateEnteredEventDetails != nil:
		name = aws.ToString(h.StateEnteredEventDetails.Name)
		p.status[name] = graph.Running
		if h.Type == types.HistoryEventTypeTaskStateEntered {
			t := p.tasks[name]
			if t == nil {
				t = &task{first: when, before: runOf(h.StateEnteredEventDetails.Input).Counts}
				p.tasks[name] = t
			}
			t.slices++
		}
	case h.StateExitedEventDetails != nil:
		name = aws.ToString(h.StateExitedEventDetails.Name)
		p.status[name] = graph.Done
		t := p.tasks[name]
		if t == nil {
			break
		}
		t.last = when
		run := runOf(h.StateExitedEventDetails.Output)
		t.after = run.Counts
		if run.Cursor != "" || run.WaitSeconds > 0 {
			p.status[name] = graph.Running // it will be back
		}
	case h.TaskFailedEventDetails != nil:
		p.failed(name, aws.ToString(h.TaskFailedEventDetails.Error))
	case h.TaskTimedOutEventDetails != nil:
		p.failed(name, cmp.Or(aws.ToString(h.TaskTimedOutEventDetails.Error), "time-out"))
	}
	p.at[h.Id] = name
}

// run is what the page understands of the document that travels from state to
// state.
type run struct {
	Cursor      string
	WaitSeconds float64
	Counts      map[string]int64
}

func runOf(document *string) run {
	var r run
	if json.Unmarshal([]byte(aws.ToString(document)), &r) != nil {
		return run{} // the user's input, or something else of another state machine
	}
	return r
}

func (p *progress) failed(name, reason string) {
	if t := p.tasks[name]; t != nil {
		t.retries++
		t.lastError = reason
	}
}

// stepView is a step as the list below the drawing shows it.
type stepView struct {
	Name   string
	Depth  int
	Status graph.Status
	Word   string
	Detail string
}

var words = map[graph.Status]string{graph.Todo: "not yet", graph.Running: "running", graph.Done: "done", graph.Failed: "failed"}

func (p *progress) steps(w *workflow, now time.Time) []stepView {
	var list []stepView
	for _, s := range w.steps {
		v := stepView{Name: s.Name, Depth: s.Depth, Status: cmp.Or(p.status[s.Name], graph.Todo)}
		v.Word = words[v.Status]
		if t := p.tasks[s.Name]; t != nil {
			v.Detail = t.describe(v.Status, now)
		}
		list = append(list, v)
	}
	return list
}

// describe is how long a task took and what came of it.
func (t *task) describe(status graph.Status, now time.Time) string {
	var parts []string
	if status == graph.Running {
		// Whole seconds, so that the page changes once a second only.
		parts = append(parts, fmt.Sprintf("%d s", int(max(0, now.Sub(t.first)).Seconds())))
	} else if !t.last.IsZero() {
		parts = append(parts, duration(t.last.Sub(t.first)))
	}
	if t.slices > 1 {
		parts = append(parts, fmt.Sprintf("%d slices", t.slices))
	}
	if t.retries > 0 {
		parts = append(parts, fmt.Sprintf("failed %s, last with %s", times(t.retries), t.lastError))
	}
	for _, k := range slices.Sorted(maps.Keys(t.after)) {
		if n := t.after[k] - t.before[k]; n != 0 {
			parts = append(parts, k+" "+thousands(int(n)))
		}
	}
	return strings.Join(parts, " · ")
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// inside names the tasks that run.
func (p *progress) inside(w *workflow) []string {
	var names []string
	for _, s := range w.steps {
		if p.status[s.Name] == graph.Running {
			names = append(names, s.Name)
		}
	}
	return names
}

func duration(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
}
