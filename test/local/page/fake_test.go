package page

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// A workflow with everything that a page has to show: a loop, a wait, branches.
const definition = `{"StartAt":"Begin","States":{
	"Begin":{"Type":"Task","Next":"Work"},
	"Work":{"Type":"Task","Comment":"Does \"it\" & more.","Next":"Done?"},
	"Done?":{"Type":"Choice","Choices":[{"Variable":"$.WaitSeconds","IsPresent":true,"Next":"Pause"},{"Variable":"$.Cursor","IsPresent":true,"Next":"Work"}],"Default":"Both"},
	"Pause":{"Type":"Wait","SecondsPath":"$.WaitSeconds","Next":"Work"},
	"Both":{"Type":"Parallel","Next":"Tell","Branches":[
		{"StartAt":"One","States":{"One":{"Type":"Task","End":true}}},
		{"StartAt":"Two","States":{"Two":{"Type":"Task","End":true}}}]},
	"Tell":{"Type":"Task","End":true}}}`

var begun = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// story is an execution that a test tells event by event.
type story struct {
	e    Execution
	last int64
}

func newStory(name string) *story {
	s := &story{e: Execution{Name: name, Region: "ap-northeast-1", Status: types.ExecutionStatusRunning, Started: begun}}
	return s.add(types.HistoryEvent{Type: types.HistoryEventTypeExecutionStarted})
}

// add appends an event, a second after the last one, which it follows.
func (s *story) add(h types.HistoryEvent) *story {
	if h.PreviousEventId == 0 {
		h.PreviousEventId = s.last
	}
	s.last++
	h.Id = s.last
	h.Timestamp = aws.Time(begun.Add(time.Duration(s.last-1) * time.Second))
	s.e.History = append(slices.Clone(s.e.History), h)
	return s
}

func (s *story) enter(kind, state, input string) *story {
	return s.add(types.HistoryEvent{Type: types.HistoryEventType(kind + "StateEntered"),
		StateEnteredEventDetails: &types.StateEnteredEventDetails{Name: &state, Input: &input}})
}

func (s *story) exit(kind, state, output string) *story {
	return s.add(types.HistoryEvent{Type: types.HistoryEventType(kind + "StateExited"),
		StateExitedEventDetails: &types.StateExitedEventDetails{Name: &state, Output: &output}})
}

func (s *story) task(state, input, output string) *story {
	return s.enter("Task", state, input).exit("Task", state, output)
}

func (s *story) fail(reason string) *story {
	return s.add(types.HistoryEvent{Type: types.HistoryEventTypeTaskFailed, TaskFailedEventDetails: &types.TaskFailedEventDetails{Error: &reason}})
}

func (s *story) end(status types.ExecutionStatus, reason string) *story {
	s.e.Status, s.e.Error, s.e.Stopped = status, reason, begun.Add(time.Duration(s.last)*time.Second)
	return s
}

// fake is a testbed that does what the test says.
type fake struct {
	mu       sync.Mutex
	newest   map[string]*Execution
	holdings []Holding
	mails    []Mail
	counted  int
	broken   error
	exports  int
	restored []string
	refuse   error
	hold     chan struct{} // a button waits for it
}

func newFake() *fake {
	return &fake{newest: map[string]*Execution{}, holdings: []Holding{
		{Title: "Source pool", ID: "ap-northeast-1_Source", Region: "ap-northeast-1", Counts: map[Kind]int{Users: 12345, Groups: 7, Memberships: 0}},
		{Title: "Target pool", ID: "us-west-2_Target", Region: "us-west-2", Gone: true},
		{Title: "Backup table", ID: "T", Region: "ap-northeast-1", Counts: map[Kind]int{Users: 1, Groups: 2, Memberships: 3, Kept: 4, RestorePoints: 5}},
	}}
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) Endpoint() string { return "http://127.0.0.1:4599" }

func (f *fake) Workflows() []Workflow {
	return []Workflow{{"ExportWorkflow", definition}, {"ImportWorkflow", definition}}
}

func (f *fake) Newest(_ context.Context, workflow string) (*Execution, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newest[workflow], f.broken
}

func (f *fake) Holdings(context.Context) ([]Holding, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counted++
	return f.holdings, nil
}

func (f *fake) Mails() []Mail {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.mails)
}

func (f *fake) Targets() []Target {
	return []Target{{"us-west-2_Target", "the target pool, in the other Region:"}, {"ap-northeast-1_Source", "the source pool itself:"}}
}

func (f *fake) Export(ctx context.Context) error {
	if f.hold != nil {
		<-f.hold
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return f.refuse
	}
	f.exports++
	return ctx.Err()
}

func (f *fake) Restore(_ context.Context, poolID string) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restored = append(f.restored, poolID)
	return 12345, f.refuse
}

func (f *fake) Report(_ context.Context, region, execution string) ([]byte, error) {
	if execution != "e-1" {
		return nil, errors.New("there is no report")
	}
	return fmt.Appendf(nil, "<!doctype html><html lang=en><meta name=viewport content=width=device-width><title>Report</title><style>p{color:green}</style><main><h1>Report</h1><p>%s</p></main>", region), nil
}
