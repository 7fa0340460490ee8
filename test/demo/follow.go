package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// redraw is how often the progress is looked at and drawn.
const redraw = 500 * time.Millisecond

// follow shows an execution until it has ended, and fails when it did not
// succeed. Gauge gives a line about the work that goes on.
func (d *demo) follow(ctx context.Context, region, arn string, gauge func() string) error {
	api := sfn.NewFromConfig(d.bed.Config(region))
	mails := len(d.bed.SNS(region).Outbox())
	stopKilling := d.killFunctions(ctx)
	defer stopKilling()
	p, err := newProgress(ctx, api, arn)
	if err != nil {
		return err
	}
	for {
		described, err := api.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
		if err != nil {
			return fmt.Errorf("describe the execution: %w", err)
		}
		if err := p.read(ctx, api, arn); err != nil {
			return err
		}
		running := described.Status == types.ExecutionStatusRunning
		line := ""
		if running {
			line = gauge()
		}
		if d.out.live {
			d.out.block(p.rows(time.Now(), running, line))
		} else {
			for _, line := range p.news() {
				d.out.line("%s", line)
			}
		}
		if !running {
			d.spent += aws.ToTime(described.StopDate).Sub(aws.ToTime(described.StartDate))
			return d.ended(ctx, region, described, p, mails)
		}
		if err := pause(ctx, redraw); err != nil {
			return err
		}
	}
}

func (d *demo) ended(ctx context.Context, region string, e *sfn.DescribeExecutionOutput, p *progress, mails int) error {
	took := aws.ToTime(e.StopDate).Sub(aws.ToTime(e.StartDate))
	if e.Status == types.ExecutionStatusSucceeded {
		d.out.line("succeeded in %s, %d history events", seconds(took), p.events)
		return nil
	}
	d.out.line("ended as %s after %s", e.Status, seconds(took))
	d.failureMail(ctx, region, mails)
	d.mails()
	return fmt.Errorf("the execution ended as %s: %s", e.Status, cause(e))
}

// cause is the reason in words: a function's error comes as JSON.
func cause(e *sfn.DescribeExecutionOutput) string {
	var lambda struct{ ErrorMessage string }
	text := aws.ToString(e.Cause)
	if json.Unmarshal([]byte(text), &lambda) == nil && lambda.ErrorMessage != "" {
		return lambda.ErrorMessage
	}
	return strings.TrimSpace(aws.ToString(e.Error) + " " + text)
}

// progress is what is known of an execution's task states: their order from
// the definition, what became of them from the history.
type progress struct {
	started time.Time
	states  []*state
	byName  map[string]*state
	events  int64            // read so far
	counts  map[string]int64 // of the run, as last seen
	fresh   []string
}

// state is a task state of the workflow.
type state struct {
	name           string
	depth          int // 1 inside a Parallel
	first, last    time.Time
	inside         bool
	slices, failed int
	lastError      string
	counts         map[string]int64
}

func newProgress(ctx context.Context, api *sfn.Client, arn string) (*progress, error) {
	described, err := api.DescribeStateMachineForExecution(ctx, &sfn.DescribeStateMachineForExecutionInput{ExecutionArn: &arn})
	if err != nil {
		return nil, fmt.Errorf("read the workflow's definition: %w", err)
	}
	p := &progress{byName: map[string]*state{}}
	var root machine
	if err := json.Unmarshal([]byte(aws.ToString(described.Definition)), &root); err != nil {
		return nil, fmt.Errorf("read the workflow's definition: %w", err)
	}
	p.add(&root, 0)
	return p, nil
}

// machine is as much of a definition as the order of its tasks needs.
type machine struct {
	StartAt string
	States  map[string]struct {
		Type     string
		Next     string
		Default  string
		Choices  []struct{ Next string }
		Branches []machine
	}
}

// add walks the states from the first on; a loop back ends the walk.
func (p *progress) add(m *machine, depth int) {
	seen := map[string]bool{"": true}
	var walk func(name string)
	walk = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		s := m.States[name]
		if s.Type == "Task" {
			p.states = append(p.states, &state{name: name, depth: depth})
			p.byName[name] = p.states[len(p.states)-1]
		}
		for i := range s.Branches {
			p.add(&s.Branches[i], depth+1)
		}
		walk(s.Next)
		walk(s.Default) // the way on; choices lead back or round
		for _, c := range s.Choices {
			walk(c.Next)
		}
	}
	walk(m.StartAt)
}

// read takes in what happened since the last time.
func (p *progress) read(ctx context.Context, api *sfn.Client, arn string) error {
	at := map[int64]string{} // event id -> task state it belongs to
	pages := sfn.NewGetExecutionHistoryPaginator(api, &sfn.GetExecutionHistoryInput{ExecutionArn: &arn, MaxResults: 1000})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("read the execution's history: %w", err)
		}
		for _, e := range page.Events {
			if e.StateEnteredEventDetails != nil {
				at[e.Id] = aws.ToString(e.StateEnteredEventDetails.Name)
			} else {
				at[e.Id] = at[e.PreviousEventId]
			}
			if e.Id > p.events {
				p.events = e.Id
				p.take(e, p.byName[at[e.Id]])
			}
		}
	}
	return nil
}

func (p *progress) take(e types.HistoryEvent, s *state) {
	when := aws.ToTime(e.Timestamp)
	if e.Type == types.HistoryEventTypeExecutionStarted {
		p.started = when
	}
	if s == nil {
		return
	}
	switch e.Type {
	case types.HistoryEventTypeTaskStateEntered:
		if s.slices == 0 {
			s.first = when
			p.note(when, s, "started")
		}
		s.slices++
		s.inside = true
	case types.HistoryEventTypeTaskFailed, types.HistoryEventTypeTaskTimedOut:
		s.failed++
		s.last = when
		s.lastError = "time-out"
		if e.TaskFailedEventDetails != nil {
			s.lastError = aws.ToString(e.TaskFailedEventDetails.Error)
		}
		p.note(when, s, "failed with "+s.lastError)
	case types.HistoryEventTypeTaskStateExited:
		var run struct {
			Cursor      string
			WaitSeconds int
			Counts      map[string]int64
		}
		if json.Unmarshal([]byte(aws.ToString(e.StateExitedEventDetails.Output)), &run) != nil {
			return // a state that passes no run on
		}
		for name, n := range run.Counts {
			s.count(name, n-p.counts[name])
		}
		p.counts = run.Counts
		s.last = when
		if run.Cursor == "" && run.WaitSeconds == 0 {
			s.inside = false
			p.note(when, s, strings.TrimSuffix("done: "+s.describe(), ": "))
		}
	}
}

func (p *progress) note(when time.Time, s *state, what string) {
	p.fresh = append(p.fresh, fmt.Sprintf("%6.1f s  %-20s %s", when.Sub(p.started).Seconds(), s.name, strings.TrimSpace(what)))
}

// count keeps what the state added to the run's counts.
func (s *state) count(name string, n int64) {
	if n == 0 {
		return
	}
	if s.counts == nil {
		s.counts = map[string]int64{}
	}
	s.counts[name] += n
}

// describe is what came of a state so far.
func (s *state) describe() string {
	var parts []string
	if s.slices > 1 {
		parts = append(parts, fmt.Sprintf("%d slices", s.slices))
	}
	if s.failed > 0 {
		parts = append(parts, fmt.Sprintf("%d retried after %s", s.failed, s.lastError))
	}
	for _, c := range told {
		if n := s.counts[c.name]; n != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c.words))
		}
	}
	return strings.Join(parts, ", ")
}

// told are the counts of a run that are shown, and in which words: few enough
// for a terminal of 80 columns.
var told = []struct{ name, words string }{
	{"Listed", "listed"}, {"Written", "written"},
	{"UsersRestored", "users"}, {"GroupsRestored", "groups"}, {"MembershipsRestored", "memberships"},
	{"ThrottledCalls", "throttled"},
}

// rows are the states as a block, with a line about the work below.
func (p *progress) rows(now time.Time, running bool, gauge string) []row {
	var rows []row
	for _, s := range p.states {
		r := row{mark: "[ ]", colour: dim}
		took := ""
		switch {
		case s.slices == 0:
		case s.inside && !running:
			r.mark, r.colour = "[!]", red
			took = seconds(s.last.Sub(s.first))
		case s.inside:
			r.mark, r.colour = "[>]", yellow
			took = seconds(now.Sub(s.first))
		default:
			r.mark, r.colour = "[x]", green
			took = seconds(s.last.Sub(s.first))
		}
		r.text = strings.TrimRight(fmt.Sprintf("%-20s %7s  %s", strings.Repeat("  ", s.depth)+s.name, took, s.describe()), " ")
		rows = append(rows, r)
	}
	if gauge != "" {
		rows = append(rows, row{mark: "   ", text: gauge})
	}
	return rows
}

// news are the lines that have not been shown.
func (p *progress) news() []string {
	lines := p.fresh
	p.fresh = nil
	return lines
}
