package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// The order in which states are shown is that of the work, whatever loops and
// short cuts the definition has.
func TestTaskOrder(t *testing.T) {
	const definition = `{"StartAt": "Check", "States": {
		"Again?": {"Type": "Choice", "Choices": [{"Next": "Restore"}], "Default": "SendMessage"},
		"Check": {"Type": "Task", "Next": "Scan"},
		"DryRun?": {"Type": "Choice", "Choices": [{"Next": "Verify"}], "Default": "Restore"},
		"Restore": {"Type": "Parallel", "Next": "Verify", "Branches": [
			{"StartAt": "Import", "States": {"Import": {"Type": "Task", "Next": "Done?"},
				"Done?": {"Type": "Choice", "Choices": [{"Next": "Wait"}], "Default": "Imported"},
				"Wait": {"Type": "Wait", "Next": "Import"}, "Imported": {"Type": "Succeed"}}},
			{"StartAt": "Update", "States": {"Update": {"Type": "Task", "End": true}}}]},
		"Scan": {"Type": "Task", "Next": "DryRun?"},
		"SendMessage": {"Type": "Task", "End": true},
		"Verify": {"Type": "Task", "Next": "Again?"}}}`
	var m machine
	if err := json.Unmarshal([]byte(definition), &m); err != nil {
		t.Fatal(err)
	}
	p := &progress{byName: map[string]*state{}}
	p.add(&m, 0)
	var order []string
	for _, s := range p.states {
		order = append(order, strings.Repeat(">", s.depth)+s.name)
	}
	if got, want := strings.Join(order, " "), "Check Scan >Import >Update Verify SendMessage"; got != want {
		t.Errorf("the order is %s", got)
	}
}

func TestProgressOfAState(t *testing.T) {
	start := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	p := &progress{started: start}
	s := &state{name: "ExportUsers"}
	p.states = append(p.states, s)
	at := func(seconds int, e types.HistoryEvent) {
		e.Timestamp = aws.Time(start.Add(time.Duration(seconds) * time.Second))
		p.take(e, s)
	}
	entered := types.HistoryEvent{Type: types.HistoryEventTypeTaskStateEntered}
	exited := func(output string) types.HistoryEvent {
		return types.HistoryEvent{Type: types.HistoryEventTypeTaskStateExited, StateExitedEventDetails: &types.StateExitedEventDetails{Output: &output}}
	}
	running := true
	row := func() string { r := p.rows(start.Add(9*time.Second), running, "")[0]; return r.mark + " " + r.text }

	if got := row(); got != "[ ] ExportUsers" {
		t.Errorf("before: %q", got)
	}
	at(1, entered)
	at(2, types.HistoryEvent{Type: types.HistoryEventTypeTaskFailed, TaskFailedEventDetails: &types.TaskFailedEventDetails{Error: aws.String("TransientError")}})
	if got := strings.Join(strings.Fields(row()), " "); got != "[>] ExportUsers 8.0 s 1 retried after TransientError" {
		t.Errorf("at work: %q", got)
	}
	running = false
	if got := strings.Join(strings.Fields(row()), " "); got != "[!] ExportUsers 1.0 s 1 retried after TransientError" {
		t.Errorf("failed: %q", got)
	}
	running = true
	at(3, exited(`{"Cursor": "runs/x", "Counts": {"Listed": 60}}`))
	at(3, entered)
	at(5, exited(`{"Counts": {"Listed": 90}}`))
	if got := strings.Join(strings.Fields(row()), " "); got != "[x] ExportUsers 4.0 s 2 slices, 1 retried after TransientError, 90 listed" {
		t.Errorf("done: %q", got)
	}
	if news := p.news(); len(news) != 3 || len(p.news()) != 0 {
		t.Errorf("lines were %q", news)
	}
}

func TestMeter(t *testing.T) {
	var m meter
	start := time.Now()
	for i := range 30 {
		m.look(start.Add(time.Duration(i)*time.Second), 25*i)
	}
	if rate := m.rate(); rate < 24.9 || rate > 25.1 {
		t.Errorf("the rate is %.1f", rate)
	}
	if left := m.left(25*29 + 250); left != ", about 10s left" {
		t.Errorf("left%s", left)
	}
	if m.left(10) != "" || new(meter).left(10) != "" {
		t.Error("time left though nothing is, or can be told")
	}
}
