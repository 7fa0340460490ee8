package export_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/step"
)

// slow is a table whose every read of a page takes time.
type slow struct {
	backup.Table
	scan time.Duration
}

func (s slow) Scan(ctx context.Context, segment backup.Segment, after *backup.Key) ([]backup.Item, *backup.Key, error) {
	time.Sleep(s.scan)
	return s.Table.Scan(ctx, segment, after)
}

// mortal kills each of a step's slices in turn: one inside, with an error after
// part of its work, and one at its boundary, when the work is done and the
// answer is lost.
type mortal struct {
	step.Step
	slices, inside, boundary int
}

var errLost = errors.New("killed")

func (m *mortal) Run(ctx context.Context, s *step.Slice) (step.Run, error) {
	m.slices++
	switch m.slices % 5 {
	case 2: // inside: the context ends a third into the slice
		dying, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		if run, err := m.Step.Run(dying, s); err == nil {
			return run, nil // it was done before
		}
		m.inside++
		return step.Run{}, errLost
	case 4: // at the boundary
		if _, err := m.Step.Run(ctx, s); err != nil {
			return step.Run{}, err
		}
		m.boundary++
		return step.Run{}, errLost
	}
	return m.Step.Run(ctx, s)
}

// TestSlicesOfASecond: in virtual time, every looping step is cut into at least
// 20 slices of a second and is killed inside slices and at their boundaries;
// the restore point is that of an undisturbed run.
func TestSlicesOfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.now = time.Now()
		w.fill(600, "a", "b", "c")
		for n := range 400 {
			w.pool.addGroup(fmt.Sprintf("empty-%d", n))
		}
		undisturbed := w.mustExport(t)
		want, err := w.asOf(t.Context(), undisturbed)
		if err != nil {
			t.Fatal(err)
		}
		for sub, u := range w.pool.users { // there is something to write and, later, to remove
			u.Attributes = map[string]string{"sub": sub, "nickname": "changed"}
			w.pool.users[sub] = u
		}

		w.pool.latency, w.pool.pageSize = 250*time.Millisecond, 7
		w.store.Table = slow{w.table, 150 * time.Millisecond}
		w.slice, w.clock = time.Second, time.Now
		w.serial = true
		mortals := map[string]*mortal{}
		w.wrap = func(name string, s step.Step) step.Step {
			mortals[name] = &mortal{Step: s}
			return mortals[name]
		}
		changed := w.state()
		id, _, err := w.export(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"ExportUsers", "ListGroups", "ExportGroupMembers", "CleanUpBackupTable"} {
			m := mortals[name]
			t.Logf("%s: %d slices, killed %d times inside and %d times at the boundary", name, m.slices, m.inside, m.boundary)
			if m.slices < 20 || m.inside == 0 || m.boundary == 0 {
				t.Errorf("%s was not cut and killed enough", name)
			}
		}
		w.store.Table = w.table
		got, err := w.asOf(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if d := changed.diff(got); d != "" {
			t.Errorf("the restore point differs from the pool:\n%s", d)
		}
		before, err := w.asOf(t.Context(), undisturbed)
		if err != nil {
			t.Fatal(err)
		}
		if d := want.diff(before); d != "" {
			t.Errorf("the restore point before differs from what it was:\n%s", d)
		}
	})
}

// busy is a table that takes a second for each write and counts those under
// way at once.
type busy struct {
	backup.Table
	mu        sync.Mutex
	now, most int
}

func (b *busy) Put(ctx context.Context, item backup.Item, expect backup.Expectation) (bool, error) {
	b.mu.Lock()
	b.now++
	b.most = max(b.most, b.now)
	b.mu.Unlock()
	time.Sleep(time.Second)
	b.mu.Lock()
	b.now--
	b.mu.Unlock()
	return b.Table.Put(ctx, item, expect)
}

// TestSlowTable: when the table is slow, listings wait for it: what is read and
// not yet stored does not grow with the number of listings.
func TestSlowTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		table := &busy{Table: w.table}
		w.store = &backup.Store{Table: table}
		w.now, w.shards, w.pool.pageSize = time.Now(), 16, 10
		w.fill(2000)
		w.mustExport(t)
		if table.most > 8*w.pool.pageSize {
			t.Errorf("%d writes at once, with pages of %d", table.most, w.pool.pageSize)
		}
	})
}
