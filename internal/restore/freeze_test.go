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
			if err := r.eachChunk(t.Context(), plan.first(), frozen.Chunks, func(c *chunk) error {
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

// TestFreezeStopsAtLostAttributes: what pre-flight cannot know of the restore
// point that is frozen in the end, freezing finds before anything is written.
func TestFreezeStopsAtLostAttributes(t *testing.T) {
	started := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	text := func(names ...string) map[string]Attribute {
		s := map[string]Attribute{"sub": {Type: "String"}}
		for _, name := range names {
			s[name] = Attribute{Type: "String", Mutable: true}
		}
		return s
	}
	lost := "the attribute custom:plan, in use, differs: the target lacks it; create the pool with the source's schema, or add the attribute"
	number := map[string]Attribute{"email": {Type: "String", Mutable: true}, "custom:plan": {Type: "Number", Mutable: true}}
	for name, test := range map[string]struct {
		source, target map[string]Attribute
		point          bool   // the older restore point is there, and a newer one that does not verify
		value          string // of custom:plan
		want           string
	}{
		"an older restore point":       {text("email", "custom:plan"), text("email"), true, "gold", lost},
		"no restore point":             {text("email", "custom:plan"), text("email"), false, "gold", lost},
		"no configuration":             {nil, text("email"), true, "gold", lost},
		"no configuration, refused":    {nil, number, true, "gold", "us-west-2_T refuses values of the attribute custom:plan: a value is no number; create the pool with the source's schema"},
		"no configuration, accepted":   {nil, number, true, "7", ""},
		"all there":                    {text("email", "custom:plan"), text("email", "custom:plan"), true, "gold", ""},
		"another type, though it fits": {text("email", "custom:plan"), number, true, "7", "the attribute custom:plan, in use, differs: type String in the source, Number in the target; create the pool with the source's schema, or add the attribute"},
		"nobody uses it":               {text("email", "custom:plan"), text("email"), true, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			store := &backup.Store{Table: new(backuptest.Table)}
			record, err := backup.NewRecord(backup.UserKey("a"), backup.User{Username: "a", Status: "CONFIRMED", Enabled: true,
				Attributes: map[string]string{"sub": "a", "email": "a@example.org", "custom:plan": test.value, "identities": "[]"}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.Sync(t.Context(), step.FormatTime(started), []backup.Record{record}); err != nil {
				t.Fatal(err)
			}
			plan := &Plan{Input: Input{AllowIncomplete: true, DryRun: true}, Started: started.Add(2 * time.Hour),
				Source: Settings{Schema: test.source}, Target: Settings{ID: "us-west-2_T", Schema: test.target}}
			if test.point {
				older := backup.RestorePoint{StartedAt: started, EndedAt: started.Add(time.Minute)}
				items, _, err := store.ReadAsOf(t.Context(), older.ID(), backup.Segment{Of: 1}, backup.Position{})
				if err != nil {
					t.Fatal(err)
				}
				for i := range items {
					older.Add(&items[i])
				}
				newer := backup.RestorePoint{StartedAt: started.Add(time.Hour), EndedAt: started.Add(time.Hour), Summary: backup.Summary{Users: 9}}
				plan.Points = []backup.RestorePoint{newer, older}
			}
			bucket := new(steptest.Bucket)
			r := run{&step.Slice{Event: step.Event{Execution: "arn:aws:states:us-west-2:123456789012:execution:ImportWorkflow:restore-1"},
				Objects: &step.Objects{API: bucket, Bucket: "bucket"}}}
			if err := r.put(t.Context(), r.planKey(), plan); err != nil {
				t.Fatal(err)
			}
			flow := &steptest.Workflow{Name: "ImportWorkflow", Execution: "restore-1", Input: "{}", Bucket: bucket, Slice: time.Minute, Now: time.Now}
			err = flow.Do(t.Context(), "ScanTable", &ScanTable{Store: store})
			switch refused := new(PreflightError); {
			case test.want == "":
				if err != nil {
					t.Error(err)
				}
			case !errors.As(err, &refused) || len(refused.Findings) != 1 || refused.Findings[0] != test.want:
				t.Errorf("%v\nwant\n%s", err, test.want)
			}
			if there, err := r.get(t.Context(), r.frozenKey(), new(Frozen)); err != nil || there != (test.want == "") {
				t.Errorf("frozen: %t, %v", there, err)
			}
		})
	}
}
