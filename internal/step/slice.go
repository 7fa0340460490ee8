package step

import (
	"context"
	"fmt"
	"time"
)

// Slice is one time slice of a step: what it was called with, until when it
// works, and the ways to keep its place and to write safely.
type Slice struct {
	Event
	Objects *Objects
	// Until is when the step stops taking new work and returns its cursor.
	Until time.Time

	half       time.Time
	invocation string
	now        func() time.Time
	latest     time.Time     // that Until may be; zero: any time
	least      time.Duration // of work in a slice, however long it took to find its place
}

// Expired says that the slice is used up.
func (s *Slice) Expired() bool { return !s.now().Before(s.Until) }

// Late says that half of the slice is used up. What takes minutes and has no
// place to go on from is better begun in the next one.
func (s *Slice) Late() bool { return !s.now().Before(s.half) }

// Settled says that the step has found its place and begins to work. One that
// first reads much, to know what is done, has some of its slice left
// afterwards however long that took: otherwise it would never get on.
func (s *Slice) Settled() {
	until := s.now().Add(s.least)
	if !s.latest.IsZero() && until.After(s.latest) {
		until = s.latest
	}
	if until.After(s.Until) {
		s.Until = until
	}
}

// Prefix is where the run keeps its objects: runs/<execution name>/.
func (s *Slice) Prefix() string { return "runs/" + s.ExecutionName() + "/" }

// Invocation is unique to this invocation; objects that several attempts may
// write side by side carry it in their names.
func (s *Slice) Invocation() string { return s.invocation }

// LoadCursor reads where the step left off into v and says whether there was
// such a place.
func (s *Slice) LoadCursor(ctx context.Context, v any) (bool, error) {
	if s.Event.Run.Cursor == "" {
		return false, nil
	}
	if err := s.Objects.Get(ctx, s.Event.Run.Cursor, v); err != nil {
		return false, fmt.Errorf("load the cursor of %s: %w", s.Step, err)
	}
	return true, nil
}

// SaveCursor stores v, from which the next slice continues, and returns the
// document to hand to the state machine.
func (s *Slice) SaveCursor(ctx context.Context, v any) (Run, error) {
	run := s.Next()
	run.Cursor = s.Prefix() + "cursor/" + s.Step + "/" + s.invocation + ".json"
	if err := s.Objects.Put(ctx, run.Cursor, v); err != nil {
		return Run{}, fmt.Errorf("save the cursor of %s: %w", s.Step, err)
	}
	return run, nil
}

// Next is the run's document for the state that follows, without the cursor
// and the one-time answers of this step.
func (s *Slice) Next() Run {
	run := s.Event.Run
	run.Cursor, run.WaitSeconds, run.Again = "", 0, false
	counts := make(map[string]int64, len(run.Counts))
	for name, n := range run.Counts {
		counts[name] = n
	}
	run.Counts = counts
	return run
}
