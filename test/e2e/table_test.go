package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/backup/backuptest"
	"cognito-backup/internal/step"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// TestTable holds the table in memory, on which simulations and property tests
// stand, and the one in DynamoDB to the same behaviour.
func TestTable(t *testing.T) {
	t.Parallel()
	t.Run("in memory", func(t *testing.T) { testTable(t, &backuptest.Table{PageSize: 3}) })
	t.Run("DynamoDB", func(t *testing.T) {
		b := start(t, seed.Pool(seed.Options{Users: 1, Groups: 1}))
		testTable(t, b.store(b.primary).Table)
	})
}

func testTable(t *testing.T, table backup.Table) {
	ctx := t.Context()
	put := func(i backup.Item, expect backup.Expectation, want bool) {
		t.Helper()
		if done, err := table.Put(ctx, i, expect); err != nil || done != want {
			t.Fatalf("put %v: %t, %v; want %t", i.Key, done, err, want)
		}
	}
	first := backup.Item{Key: backup.UserKey("1"), Content: []byte(`{"a":1}`), Hash: "h1", ValidFrom: "t1"}
	second := first
	second.Content, second.ValidFrom = []byte(`{"a":2}`), "t2"
	tombstone := second
	tombstone.DeletedAt = "t3"

	put(first, backup.Absent(), true)
	put(first, backup.Absent(), false)
	put(second, backup.Unchanged(&first), true)
	put(second, backup.Unchanged(&first), false)
	put(tombstone, backup.Unchanged(&second), true)
	put(first, backup.Unchanged(&second), false) // it is a tombstone now
	put(tombstone, backup.Anything(), true)

	large := backup.Item{Key: backup.UserKey("large"), Content: []byte(`"` + strings.Repeat("読者", 100_000) + `"`), ValidFrom: "t1"}
	put(large, backup.Absent(), true)
	keys := []backup.Key{first.Key, large.Key, backup.UserKey("none"), first.Key}
	for _, headOnly := range []bool{false, true} {
		found, err := table.Get(ctx, keys, headOnly)
		if err != nil || len(found) != 2 {
			t.Fatalf("get: %d items, %v", len(found), err)
		}
		if got := found[first.Key]; got.DeletedAt != "t3" || got.ValidFrom != "t2" || got.Hash != "h1" {
			t.Errorf("got %+v", got)
		}
		if got := string(found[large.Key].Content); !headOnly && got != string(large.Content) {
			t.Errorf("a large content came back with %d of %d bytes", len(got), len(large.Content))
		}
	}

	// Memberships of many users, with older versions between them.
	for n := range 40 {
		sub := fmt.Sprint("m", n)
		for _, group := range []string{"a", "a!", "b", "読者"} {
			put(backup.Item{Key: backup.MembershipKey(sub, group), ValidFrom: "t1", Content: []byte("{}")}, backup.Absent(), true)
			version := backup.MembershipKey(sub, group)
			version.Type += " t0"
			put(backup.Item{Key: version, ValidFrom: "t0", ValidTo: "t1", Content: []byte("{}")}, backup.Anything(), true)
		}
	}
	items, err := table.Query(ctx, backup.MembershipKey("m7", "").ID, "")
	if err != nil || len(items) != 8 {
		t.Fatalf("query: %d items, %v", len(items), err)
	}
	for i := 1; i < len(items); i++ {
		if items[i-1].Type >= items[i].Type {
			t.Errorf("%q stands before %q", items[i-1].Type, items[i].Type)
		}
	}
	if items, err := table.Query(ctx, backup.MembershipKey("m7", "").ID, "a"); err != nil || len(items) != 4 {
		t.Errorf("query by prefix: %d items, %v", len(items), err)
	}

	// Every record of every segment once, never split, from any position.
	store := &backup.Store{Table: table}
	for _, segments := range []int{1, 4} {
		seen := map[backup.Key]int{}
		for i := range segments {
			for p := (backup.Position{}); !p.Done; {
				records, next, err := store.ReadRecords(ctx, backup.Segment{Index: i, Of: segments}, p)
				if err != nil {
					t.Fatal(err)
				}
				for _, record := range records {
					key := record[0].Key // the current one stands first
					seen[key]++
					if key.Kind() == backup.KindMembership && len(record) != 2 {
						t.Errorf("%v was read with %d of its 2 items", key, len(record))
					}
				}
				p = next
			}
		}
		if len(seen) != 162 {
			t.Errorf("%d records read in %d segments, want 162", len(seen), segments)
		}
		for key, n := range seen {
			if n != 1 {
				t.Errorf("%v was read %d times", key, n)
			}
		}
	}

	if done, err := table.Delete(ctx, first.Key, backup.Unchanged(&second)); err != nil || done {
		t.Errorf("a tombstone was deleted as if it were live: %t, %v", done, err)
	}
	if done, err := table.Delete(ctx, first.Key, backup.Unchanged(&tombstone)); err != nil || !done {
		t.Errorf("delete: %t, %v", done, err)
	}
}

// executions answers DescribeExecution.
type executions map[string]types.ExecutionStatus

func (e executions) DescribeExecution(_ context.Context, in *sfn.DescribeExecutionInput, _ ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	status, ok := e[*in.ExecutionArn]
	if !ok {
		return nil, &types.ExecutionDoesNotExist{}
	}
	return &sfn.DescribeExecutionOutput{Status: status}, nil
}

func TestLease(t *testing.T) {
	t.Parallel()
	b := start(t, seed.Pool(seed.Options{Users: 1, Groups: 1}))
	ctx := t.Context()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	var slept time.Duration
	lease := &step.Lease{
		API: dynamodb.NewFromConfig(b.Config(b.primary)), Table: table, Region: b.primary, Workflow: "TestWorkflow",
		Now: func() time.Time { return now },
		Sleep: func(_ context.Context, d time.Duration) error {
			mu.Lock()
			defer mu.Unlock()
			slept += d
			return nil
		},
	}
	known := executions{"one": types.ExecutionStatusRunning}

	// Of many that ask at once, one gets it.
	var wg sync.WaitGroup
	var winners []string
	contenders := executions{}
	for n := range 8 {
		contenders[fmt.Sprint("c", n)] = types.ExecutionStatusRunning
	}
	for name := range contenders {
		wg.Go(func() {
			_, err := lease.Take(ctx, name, "pool", contenders)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners = append(winners, name)
			} else if held := new(step.HeldError); !errors.As(err, &held) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(winners) != 1 {
		t.Fatalf("%d executions hold the lease", len(winners))
	}

	known[winners[0]] = types.ExecutionStatusSucceeded
	first, err := lease.Take(ctx, "one", "pool", known)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := lease.Take(ctx, "one", "pool", known); err != nil || again != first {
		t.Errorf("asked again: %s, %v; want %s", again, err, first)
	}
	other := new(step.OtherPoolError)
	if _, err := lease.Take(ctx, "two", "another-pool", known); !errors.As(err, &other) {
		t.Errorf("another pool over the same table: %v", err)
	}

	// Two invocations of a step: the second waits, and the first notices.
	slept = 0
	zombie, err := lease.Enter(ctx, "one", "Step", "invocation-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lease.Enter(ctx, "one", "OtherStep", "invocation-x"); err != nil || slept != 0 {
		t.Errorf("a step beside it: %v, slept %v", err, slept)
	}
	heir, err := lease.Enter(ctx, "one", "Step", "invocation-2")
	if err != nil || slept < 5*time.Second {
		t.Errorf("the second invocation began after %v, %v; the first may still write", slept, err)
	}
	now = now.Add(2 * time.Second)
	transient := new(step.TransientError)
	if _, err := zombie.Verify(ctx); !errors.As(err, &transient) {
		t.Errorf("the first invocation may go on writing: %v", err)
	}
	if _, err := heir.Verify(ctx); err != nil {
		t.Error(err)
	}
	if err := heir.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	slept = 0
	if _, err := lease.Enter(ctx, "one", "Step", "invocation-3"); err != nil || slept != 0 {
		t.Errorf("after an orderly end: %v, slept %v", err, slept)
	}

	// Taking over: not from one that runs, nor from an unknown one that was just active.
	held := new(step.HeldError)
	if _, err := lease.Take(ctx, "two", "pool", known); !errors.As(err, &held) {
		t.Errorf("taken from a running execution: %v", err)
	}
	if _, err := lease.Take(ctx, "two", "pool", executions{}); !errors.As(err, &held) {
		t.Errorf("taken from an execution that is not visible yet: %v", err)
	}
	late, err := lease.Enter(ctx, "one", "Step", "invocation-4")
	if err != nil {
		t.Fatal(err)
	}
	slept = 0
	known["one"] = types.ExecutionStatusAborted
	second, err := lease.Take(ctx, "two", "pool", known)
	if err != nil || second <= first || slept < 5*time.Second {
		t.Errorf("taken over from an aborted execution: run %s after %s, %v, slept %v", second, first, err, slept)
	}
	now = now.Add(2 * time.Second)
	lost := new(step.LeaseLostError)
	if _, err := late.Verify(ctx); !errors.As(err, &lost) {
		t.Errorf("an invocation of the dead execution may go on writing: %v", err)
	}
	now = now.Add(16 * time.Minute)
	slept = 0
	if _, err := lease.Take(ctx, "three", "pool", executions{}); err != nil || slept != 0 {
		t.Errorf("an unknown execution of which nothing is at work keeps the lease after 16 minutes: %v, slept %v", err, slept)
	}
	now = now.Add(-time.Hour) // a machine whose clock is behind
	known["three"] = types.ExecutionStatusFailed
	fourth, err := lease.Take(ctx, "four", "pool", known)
	if err != nil || fourth <= second {
		t.Errorf("run %s follows %s, %v", fourth, second, err)
	}

	// Given back: only by its execution, and not by what is older than a renewal.
	known["four"] = types.ExecutionStatusRunning
	for _, c := range []struct {
		execution string
		ended     time.Time
	}{{"three", time.Time{}}, {"four", now.Add(-time.Second)}} {
		if err := lease.GiveBack(ctx, c.execution, c.ended); err != nil {
			t.Error(err)
		}
		if _, err := lease.Take(ctx, "five", "pool", known); !errors.As(err, &held) {
			t.Errorf("%s gave back what it did not hold at %v: %v", c.execution, c.ended, err)
		}
	}
	if err := lease.GiveBack(ctx, "four", now); err != nil {
		t.Fatal(err)
	}
	slept = 0
	if fifth, err := lease.Take(ctx, "five", "pool", nil); err != nil || fifth <= fourth || slept != 0 {
		t.Errorf("after it was given back: run %s follows %s, %v, slept %v", fifth, fourth, err, slept)
	}
	if _, err := lease.Take(ctx, "six", "pool", executions{"five": types.ExecutionStatusRunning}); !errors.As(err, &held) {
		t.Errorf("taken from the execution that took what was given back: %v", err)
	}
}
