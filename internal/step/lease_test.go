package step_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"cognito-backup/internal/step"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/smithy-go"
)

// record is a table that holds the lease and evaluates what is said of it.
type record struct {
	item   map[string]types.AttributeValue
	before func() // called once, before the next update
	err    error
}

func (r *record) GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	return &dynamodb.GetItemOutput{Item: maps.Clone(r.item)}, r.err
}

func (r *record) UpdateItem(_ context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	if r.err != nil {
		return nil, r.err
	}
	if before := r.before; before != nil {
		r.before = nil
		before()
	}
	name := func(s string) string { return in.ExpressionAttributeNames[strings.Trim(s, " ()")] }
	value := func(s string) types.AttributeValue {
		v, ok := in.ExpressionAttributeValues[strings.Trim(s, " ()")]
		if !ok {
			panic("no value " + s + " in an expression that this test does not know")
		}
		return v
	}
	text := func(v types.AttributeValue) string {
		if s, ok := v.(*types.AttributeValueMemberS); ok {
			return s.Value
		}
		return ""
	}
	for term := range strings.SplitSeq(*in.ConditionExpression, " AND ") {
		var holds bool
		if of, ok := strings.CutPrefix(strings.Trim(term, "("), "attribute_not_exists "); ok {
			_, exists := r.item[name(of)]
			holds = !exists
		} else if n, v, ok := strings.Cut(term, " <= "); ok {
			holds = r.item[name(n)] != nil && text(r.item[name(n)]) <= text(value(v))
		} else {
			n, v, _ := strings.Cut(term, " = ")
			holds = r.item[name(n)] != nil && text(r.item[name(n)]) == text(value(v))
		}
		if !holds {
			return nil, &types.ConditionalCheckFailedException{}
		}
	}
	old := maps.Clone(r.item)
	if r.item == nil {
		r.item = maps.Clone(in.Key)
	}
	for clause := range strings.SplitSeq(strings.TrimSpace(*in.UpdateExpression), "\n") {
		kind, list, _ := strings.Cut(clause, " ")
		for part := range strings.SplitSeq(list, ", ") {
			switch n, v, _ := strings.Cut(part, " = "); kind {
			case "SET":
				r.item[name(n)] = value(v)
			case "REMOVE":
				delete(r.item, name(n))
			default:
				panic(clause)
			}
		}
	}
	return &dynamodb.UpdateItemOutput{Attributes: old}, nil
}

// answers is what DescribeExecution says, one after the other and the last one
// from then on: a status or an error.
type answers struct {
	list  []any
	asked int
}

func (a *answers) DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	answer := a.list[min(a.asked, len(a.list)-1)]
	a.asked++
	if err, ok := answer.(error); ok {
		return nil, err
	}
	return &sfn.DescribeExecutionOutput{Status: answer.(sfntypes.ExecutionStatus)}, nil
}

// trial is a lease with a clock that Sleep moves.
type trial struct {
	*step.Lease
	table *record
	now   time.Time
	slept time.Duration
}

func newTrial() *trial {
	l := &trial{table: &record{}, now: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}
	l.Lease = &step.Lease{
		API: l.table, Table: "table", Region: "us-east-1", Workflow: "ExportWorkflow",
		Now: func() time.Time { return l.now },
		Sleep: func(_ context.Context, d time.Duration) error {
			l.slept += d
			l.now = l.now.Add(d)
			return nil
		},
	}
	return l
}

func (l *trial) take(t *testing.T, execution string, a *answers) string {
	t.Helper()
	run, err := l.Take(t.Context(), execution, "pool", a)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func (l *trial) giveBack(t *testing.T, execution string, ended time.Time) {
	t.Helper()
	if err := l.GiveBack(t.Context(), execution, ended); err != nil {
		t.Fatal(err)
	}
}

func (l *trial) ended() bool { return l.table.item["endedAt"] != nil }

func running() *answers { return &answers{list: []any{sfntypes.ExecutionStatusRunning}} }

func TestTakeWhatWasGivenBack(t *testing.T) {
	l := newTrial()
	first := l.take(t, "one", nil)
	l.giveBack(t, "other", time.Time{}) // skipped, or refused
	if l.ended() {
		t.Fatal("given back by an execution that does not hold it")
	}
	l.giveBack(t, "one", time.Time{})
	second := l.take(t, "two", nil) // which asks nobody
	if second <= first || l.ended() || l.slept != 0 {
		t.Errorf("run %s after %s, ended %t, slept %v", second, first, l.ended(), l.slept)
	}
	l.giveBack(t, "one", time.Time{}) // a message that was retried
	held := new(step.HeldError)
	if _, err := l.Take(t.Context(), "three", "pool", running()); !errors.As(err, &held) || held.Execution != "two" {
		t.Errorf("the lease of the execution after it was given back: %v", err)
	}
}

// Functions that did not end in order are waited for, given back or not.
func TestTakeWaitsForStragglers(t *testing.T) {
	l := newTrial()
	l.take(t, "one", nil)
	straggler, err := l.Enter(t.Context(), "one", "Step", "invocation-1")
	if err != nil {
		t.Fatal(err)
	}
	l.giveBack(t, "one", l.now)
	l.take(t, "two", nil)
	if l.slept < 5*time.Second {
		t.Errorf("the next execution began after %v", l.slept)
	}
	lost := new(step.LeaseLostError)
	if _, err := straggler.Verify(t.Context()); !errors.As(err, &lost) {
		t.Errorf("the straggler may go on writing: %v", err)
	}
	if _, err := l.Enter(t.Context(), "one", "Step", "invocation-2"); !errors.As(err, &lost) {
		t.Errorf("another one of the execution before came in: %v", err)
	}
}

// Whoever enters after the lease was given back holds it, be it a redriven
// execution or a straggler: then Step Functions is asked again.
func TestEnterWhatWasGivenBack(t *testing.T) {
	l := newTrial()
	l.take(t, "one", nil)
	l.giveBack(t, "one", l.now)
	if _, err := l.Enter(t.Context(), "one", "Step", "invocation-1"); err != nil || l.ended() {
		t.Fatalf("entered: %v, ended %t", err, l.ended())
	}
	held := new(step.HeldError)
	if _, err := l.Take(t.Context(), "two", "pool", running()); !errors.As(err, &held) {
		t.Errorf("taken from a redriven execution: %v", err)
	}
	l.slept = 0
	l.take(t, "two", &answers{list: []any{sfntypes.ExecutionStatusAborted}})
	if l.slept < 5*time.Second {
		t.Errorf("the straggler may write for 5s, and the next execution began after %v", l.slept)
	}
}

// In between reading the lease and taking it a straggler enters, within the
// millisecond of the renewal before.
func TestEnterWhileTheLeaseIsTaken(t *testing.T) {
	l := newTrial()
	l.take(t, "one", nil)
	l.giveBack(t, "one", l.now)
	l.table.before = func() {
		if _, err := l.Enter(t.Context(), "one", "Step", "invocation-1"); err != nil {
			t.Error(err)
		}
	}
	asked := &answers{list: []any{sfntypes.ExecutionStatusAborted}}
	l.take(t, "two", asked)
	if asked.asked == 0 || l.slept < 5*time.Second {
		t.Errorf("asked %d times and waited %v for the straggler", asked.asked, l.slept)
	}
}

// A redriven execution does not lose the lease to what is told late of its
// failure, and one whose first state is redriven takes it again.
func TestGiveBackOfARedrivenExecution(t *testing.T) {
	l := newTrial()
	run := l.take(t, "one", nil)
	ended := l.now.Add(time.Second)
	l.giveBack(t, "one", ended)
	l.now = ended.Add(time.Minute)
	if again := l.take(t, "one", nil); again != run || l.ended() {
		t.Errorf("run %s became %s, ended %t", run, again, l.ended())
	}
	l.giveBack(t, "one", ended) // the event again
	if l.ended() {
		t.Error("given back by an event that is older than the redrive")
	}
}

func TestGiveBackFails(t *testing.T) {
	l := newTrial()
	l.table.err = errors.New("table unreachable")
	if err := l.GiveBack(t.Context(), "one", time.Time{}); err == nil || !strings.Contains(err.Error(), "give back the lease of the ExportWorkflow") {
		t.Error(err)
	}
}

// What Step Functions says of an execution that has just ended may be old.
func TestTakeAsksAgain(t *testing.T) {
	for _, old := range []any{sfntypes.ExecutionStatusRunning, sfntypes.ExecutionStatusPendingRedrive, &sfntypes.ExecutionDoesNotExist{}} {
		l := newTrial()
		l.take(t, "one", nil)
		l.take(t, "two", &answers{list: []any{old, old, sfntypes.ExecutionStatusSucceeded}})
		if l.slept == 0 || l.slept > 3*time.Second {
			t.Errorf("after %v the lease was taken in %v", old, l.slept)
		}
	}

	l := newTrial()
	l.take(t, "one", nil)
	asked := running()
	held := new(step.HeldError)
	if _, err := l.Take(t.Context(), "two", "pool", asked); !errors.As(err, &held) || asked.asked < 3 || l.slept > 5*time.Second {
		t.Errorf("asked %d times within %v, then %v", asked.asked, l.slept, err)
	}

	l = newTrial() // given back while Step Functions still says that it runs
	l.take(t, "one", nil)
	sleep := l.Sleep
	l.Sleep = func(ctx context.Context, d time.Duration) error {
		l.giveBack(t, "one", time.Time{})
		return sleep(ctx, d)
	}
	l.take(t, "two", running())

	l = newTrial()
	l.take(t, "one", nil)
	l.Sleep = func(context.Context, time.Duration) error { return context.Canceled }
	if _, err := l.Take(t.Context(), "two", "pool", running()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What Step Functions cannot know keeps the lease for 15 minutes; what it
// refuses to say is an error at once.
func TestTakeFromTheUnknown(t *testing.T) {
	for _, unknown := range []error{
		&sfntypes.ExecutionDoesNotExist{},
		&sfntypes.InvalidArn{},
		&smithy.GenericAPIError{Code: "StateMachineDoesNotExist"},
		fmt.Errorf("operation error SFN: %w", &smithy.GenericAPIError{Code: "UnknownOperationException"}),
	} {
		l := newTrial()
		l.take(t, "one", nil)
		a := &answers{list: []any{unknown}}
		held := new(step.HeldError)
		if _, err := l.Take(t.Context(), "two", "pool", a); !errors.As(err, &held) {
			t.Errorf("%v: %v", unknown, err)
		}
		l.now = l.now.Add(15 * time.Minute)
		l.take(t, "two", a)
	}
	for _, code := range []string{"AccessDeniedException", "ThrottlingException", "InternalFailure"} {
		l := newTrial()
		l.take(t, "one", nil)
		l.now = l.now.Add(time.Hour)
		refused := &smithy.GenericAPIError{Code: code}
		if _, err := l.Take(t.Context(), "two", "pool", &answers{list: []any{refused}}); !errors.Is(err, refused) {
			t.Errorf("%s: %v", code, err)
		}
	}
}
