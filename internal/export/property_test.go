package export_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/step"

	"pgregory.net/rapid"
)

// change makes one random change of the pool.
func (w *world) change(t *rapid.T, next *int) {
	p := w.pool
	subs := slices.Sorted(maps.Keys(p.users))
	groups := slices.Sorted(maps.Keys(p.groups))
	user := func() string { return rapid.SampledFrom(subs).Draw(t, "user") }
	group := func() string { return rapid.SampledFrom(groups).Draw(t, "group") }
	kind := rapid.SampledFrom([]string{"create", "change", "disable", "delete", "re-create", "join", "leave", "add group", "change group", "delete group"}).Draw(t, "change")
	switch {
	case kind == "create":
		p.addUser(*next)
		*next++
	case kind == "re-create" && *next > 0: // the same sub comes back
		p.addUser(rapid.IntRange(0, *next-1).Draw(t, "n"))
	case kind == "add group":
		if name := rapid.SampledFrom([]string{"a", "b", "a!", "読者", "A"}).Draw(t, "name"); p.groups[name].Name == "" {
			p.addGroup(name)
		}
	case kind == "change" && len(subs) > 0:
		u := p.users[user()]
		u.Attributes = map[string]string{"sub": u.Sub, "nickname": rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "nickname")}
		p.users[u.Sub] = u
	case kind == "disable" && len(subs) > 0:
		u := p.users[user()]
		u.Enabled = !u.Enabled
		p.users[u.Sub] = u
	case kind == "delete" && len(subs) > 0:
		sub := user()
		delete(p.users, sub)
		for _, members := range p.members {
			delete(members, sub)
		}
	case kind == "join" && len(subs) > 0 && len(groups) > 0:
		p.members[group()][user()] = true
	case kind == "leave" && len(subs) > 0 && len(groups) > 0:
		delete(p.members[group()], user())
	case kind == "change group" && len(groups) > 0:
		g := p.groups[group()]
		g.Description = rapid.StringMatching(`[a-z]{0,2}`).Draw(t, "description")
		p.groups[g.Name] = g
	case kind == "delete group" && len(groups) > 0:
		name := group()
		delete(p.groups, name)
		delete(p.members, name)
	}
}

// TestEveryRestorePointIsThePoolAsItWas: whatever happens to the pool and to
// exports between, reading as of a retained restore point gives exactly the
// pool that was exported.
func TestEveryRestorePointIsThePoolAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.pool.pageSize = 2
		w.retentionDays = rapid.IntRange(1, 10).Draw(t, "retention")
		w.shards = rapid.SampledFrom([]int{1, 16}).Draw(t, "shards")
		w.segments = rapid.IntRange(0, 4).Draw(t, "segments")
		ctx := context.Background()
		was := map[string]state{}
		next := 0
		for range rapid.IntRange(1, 30).Draw(t, "actions") {
			switch rapid.SampledFrom([]string{"change", "change", "change", "export", "crash", "days"}).Draw(t, "action") {
			case "change":
				w.change(t, &next)
			case "crash":
				if _, _, err := w.export(ctx, rapid.IntRange(1, 4).Draw(t, "steps")); err != nil {
					t.Fatal(err)
				}
			case "days":
				w.now = w.now.AddDate(0, 0, rapid.IntRange(1, 5).Draw(t, "days"))
			case "export":
				pool := w.state()
				id, _, err := w.export(ctx, 5)
				if err != nil {
					t.Fatal(err)
				}
				was[id] = pool
			}
			points, err := w.store.RestorePoints(ctx, poolID)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range points {
				got, err := w.asOf(ctx, p.ID())
				if err != nil {
					t.Fatal(err)
				}
				if d := was[p.ID()].diff(got); d != "" {
					t.Fatalf("restore point %s:\n%s", p.ID(), d)
				}
			}
		}
	})
}

// TestRecordsOfAChangingPool: while the pool changes during an export, each
// record equals a state that it had between the start and the end of the
// listing, and no membership stands without its user.
func TestRecordsOfAChangingPool(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.pool.pageSize = 2
		next := 0
		for range 30 {
			w.change(t, &next)
		}
		for range 3 {
			seen := map[backup.Key]map[string]bool{} // the states a record had
			absent := map[backup.Key]bool{}          // it was missing at some time
			note := func() {
				now := w.state()
				for k, content := range now {
					if seen[k] == nil {
						seen[k] = map[string]bool{}
					}
					seen[k][content] = true
				}
				for k := range seen {
					if _, ok := now[k]; !ok {
						absent[k] = true
					}
				}
			}
			start := w.state()
			note()
			w.pool.onCall = func(int) {
				w.pool.mu.Lock()
				defer w.pool.mu.Unlock()
				if rapid.Bool().Draw(t, "changes") {
					w.change(t, &next)
					note()
				}
			}
			id, _, err := w.exportOneByOne(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			w.pool.onCall = nil
			got, err := w.asOf(context.Background(), id)
			if err != nil {
				t.Fatal(err)
			}
			for k, content := range got {
				if !seen[k][content] {
					t.Fatalf("%v: %s was never in the pool", k, content)
				}
				if k.Kind() == backup.KindMembership && got[backup.UserKey(k.Name())] == "" {
					t.Fatalf("%v stands without its user", k)
				}
			}
			for k := range start {
				if _, ok := got[k]; !ok && !absent[k] {
					t.Fatalf("%v was there all the time and is not in the restore point", k)
				}
			}
		}
	})
}

// exportOneByOne lists one group at a time, because rapid draws from one
// goroutine only.
func (w *world) exportOneByOne(ctx context.Context) (string, step.Run, error) {
	w.shards = 1
	w.serial = true
	defer func() { w.serial = false }()
	id, flow, err := w.export(ctx, 5)
	return id, flow.Run, err
}

// dying kills a slice at a random call to the table, as a crash would, and
// repeats it from its last cursor.
type dying struct {
	backup.Table
	mu    sync.Mutex
	after int
}

var errKilled = errors.New("killed")

func (d *dying) Put(ctx context.Context, item backup.Item, expect backup.Expectation) (bool, error) {
	if d.dies() {
		return false, errKilled
	}
	return d.Table.Put(ctx, item, expect)
}

func (d *dying) Delete(ctx context.Context, key backup.Key, expect backup.Expectation) (bool, error) {
	if d.dies() {
		return false, errKilled
	}
	return d.Table.Delete(ctx, key, expect)
}

func (d *dying) dies() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.after--
	return d.after == 0
}

// TestSlicesAndCrashes: with every step cut into many slices, and slices that
// die and are repeated, the restore point is the same.
func TestSlicesAndCrashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.pool.pageSize = 3
		w.shards = rapid.SampledFrom([]int{1, 16}).Draw(t, "shards")
		w.segments = rapid.IntRange(0, 4).Draw(t, "segments")
		w.fill(rapid.IntRange(0, 60).Draw(t, "users"), "a", "b", "c", "d")
		// The clock moves with every look at it, so that slices of a few looks
		// cut the work into pieces.
		var ticks atomic.Int64 // listings run side by side
		clock := func() time.Time { return w.now.Add(time.Duration(ticks.Add(1)) * time.Millisecond) }
		table := &dying{Table: w.table}
		w.store.Table = table
		w.slice, w.clock = time.Duration(rapid.IntRange(5, 60).Draw(t, "slice"))*time.Millisecond, clock
		w.retentionDays = 1
		was := map[string]state{}
		for round := range 5 {
			want := w.state()
			w.kill = func() { table.after = rapid.IntRange(1, 40).Draw(t, "kill after") }
			if rapid.Bool().Draw(t, "a run dies for good") {
				// In clean-up too: it has marked what vanished and commits nothing.
				w.abandon = rapid.IntRange(1, 4).Draw(t, "after so many kills")
				if _, _, err := w.export(context.Background(), 5); err != nil && !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
				w.abandon = 0
			}
			id, flow, err := w.export(context.Background(), 5)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("slices %v", flow.Slices)
			got, err := w.asOf(context.Background(), id)
			if err != nil {
				t.Fatalf("round %d, slices %v: %v", round, flow.Slices, err)
			}
			if d := want.diff(got); d != "" {
				t.Fatalf("round %d, slices %v:\n%s", round, flow.Slices, d)
			}
			was[id] = want
			points, err := w.store.RestorePoints(context.Background(), poolID)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range points {
				got, err := w.asOf(context.Background(), p.ID())
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if before, known := was[p.ID()]; known {
					if d := before.diff(got); d != "" {
						t.Fatalf("round %d: restore point %s is no longer what it was:\n%s", round, p.ID(), d)
					}
				}
			}
			n := 0
			for sub, u := range w.pool.users {
				if n++; n%7 == 0 { // some leave, the others change
					delete(w.pool.users, sub)
					continue
				}
				u.Attributes = map[string]string{"sub": sub, "round": fmt.Sprint(round)}
				w.pool.users[sub] = u
			}
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "hours")) * time.Hour)
		}
	})
}
