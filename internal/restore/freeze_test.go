package restore

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/backup/backuptest"
	"cognito-backup/internal/step"
	"cognito-backup/internal/step/steptest"
)

// behind is a table whose first queries come before their items arrive.
type behind struct {
	backup.Table
	empty atomic.Int64
}

func (b *behind) Query(ctx context.Context, id, prefix string) ([]backup.Item, error) {
	if strings.HasPrefix(id, "GROUP_MEMBER-") && b.empty.Add(-1) >= 0 {
		return nil, nil
	}
	return b.Table.Query(ctx, id, prefix)
}

// TestFreezeBehind freezes while the replica catches up: memberships that a
// query missed and the scan met must be in the chunks all the same.
func TestFreezeBehind(t *testing.T) {
	started := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	runID := step.FormatTime(started)
	for name, test := range map[string]struct {
		empty int64  // queries that come too early
		stray bool   // a membership of nobody
		users string // object of names
	}{
		"in time":                {},
		"too early":              {empty: 1},
		"too early, for two":     {empty: 2},
		"a membership of nobody": {stray: true},
		"of nobody, too early":   {empty: 1, stray: true},
		"chosen, too early":      {empty: 1, users: "names"},
	} {
		t.Run(name, func(t *testing.T) {
			table := &behind{Table: new(backuptest.Table)}
			store := &backup.Store{Table: table}
			records := map[backup.Key]any{
				backup.UserKey("a"): backup.User{Username: "a", Status: "CONFIRMED", Enabled: true}, backup.UserKey("b"): backup.User{Username: "b", Status: "CONFIRMED", Enabled: true},
				backup.GroupKey("g"):           backup.Group{Name: "g"},
				backup.MembershipKey("a", "g"): struct{}{}, backup.MembershipKey("b", "g"): struct{}{},
			}
			if test.stray {
				records[backup.MembershipKey("nobody", "g")] = struct{}{}
			}
			for key, content := range records {
				record, err := backup.NewRecord(key, content)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := store.Sync(t.Context(), runID, []backup.Record{record}); err != nil {
					t.Fatal(err)
				}
			}
			point := backup.RestorePoint{StartedAt: started, EndedAt: started.Add(time.Minute)}
			items, _, err := store.ReadAsOf(t.Context(), runID, backup.Segment{Of: 1}, backup.Position{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range items {
				point.Add(&items[i])
			}
			bucket := new(steptest.Bucket)
			r := run{&step.Slice{Event: step.Event{Execution: "arn:aws:states:us-west-2:123456789012:execution:ImportWorkflow:restore-1"},
				Objects: &step.Objects{API: bucket, Bucket: "bucket"}}}
			plan := &Plan{Input: Input{UsersObject: test.users, DryRun: true}, Target: Settings{ID: "us-west-2_T"}, Points: []backup.RestorePoint{point}}
			if err := errors.Join(r.put(t.Context(), r.planKey(), plan), r.put(t.Context(), r.usersKey(), []string{"a"})); err != nil {
				t.Fatal(err)
			}
			table.empty.Store(test.empty)
			flow := &steptest.Workflow{Name: "ImportWorkflow", Execution: "restore-1", Input: "{}", Bucket: bucket, Slice: time.Minute, Now: time.Now}
			err = flow.Do(t.Context(), "ScanTable", &ScanTable{Store: store})
			var frozen Frozen
			if err := errors.Join(err, r.Objects.Get(t.Context(), r.frozenKey(), &frozen)); err != nil {
				t.Fatal(err)
			}
			got := 0
			if err := r.eachChunk(t.Context(), plan.first(), frozen.Chunks, func(_ string, c *chunk) error {
				for _, e := range c.Entries {
					got += len(e.Groups)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			want := 2
			if test.users != "" {
				want = 1
			}
			if got != want || frozen.Stats.Memberships != int64(want) || frozen.Incomplete {
				t.Errorf("the chunks hold %d memberships, the counts say %d, must be %d", got, frozen.Stats.Memberships, want)
			}
		})
	}
}
