package step

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/expression"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/smithy-go"
)

const (
	// fence is how long an invocation waits before it works when the one before
	// it did not end in order: by then the other has stopped writing.
	fence = 5 * time.Second
	// writeBound is how long after its last verification an invocation may still
	// have a write under way; it is shorter than the fence by the time that such
	// a write may spend on the wire.
	writeBound = 4 * time.Second
	// verifyEvery is how old a verification may be before the next write asks again.
	verifyEvery = time.Second
	// unknownAfter is how long an execution that Step Functions does not know
	// (not yet visible, or its history is gone) keeps the lease: longer than any
	// function runs.
	unknownAfter = 15 * time.Minute
	// descriptions is how often, a second apart, the holder is asked after before
	// it counts as running: "This operation is eventually consistent. The results
	// are best effort and may not reflect very recent updates and changes" (AWS
	// Step Functions API Reference, DescribeExecution).
	descriptions = 4
)

// slotPrefix begins the names of the attributes that hold the invocation at
// work, one for each step.
const slotPrefix = "invocation-"

// LeaseAPI is what the lease needs of DynamoDB.
type LeaseAPI interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

// ExecutionsAPI tells whether an execution still runs.
type ExecutionsAPI interface {
	DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error)
}

// Lease is the record LEASE-<Region>-<workflow> of the backup table. It belongs
// to one execution, and within it to one invocation per step.
type Lease struct {
	API      LeaseAPI
	Table    string
	Region   string
	Workflow string
	Now      func() time.Time
	Sleep    func(context.Context, time.Duration) error
	// BackedUp says whether the table holds a restore point of a pool. The pool
	// that the lease was last taken for may never have been backed up: then its
	// id was a mistake, and another one is no other pool. Nil: always.
	BackedUp func(ctx context.Context, userPoolID string) (bool, error)
}

type leaseRecord struct {
	Execution  string `dynamodbav:"execution"`
	RunID      string `dynamodbav:"runId"`
	UserPoolID string `dynamodbav:"userPoolId"`
	RenewedAt  string `dynamodbav:"renewedAt"`
	// EndedAt is when the lease was given back. The rest of the record stays,
	// because each run id is later than the one before it.
	EndedAt string `dynamodbav:"endedAt"`
}

// unchanged is true while the record is as it was read. EndedAt is part of it
// because a renewal within the same millisecond shows there alone.
func (r *leaseRecord) unchanged() expression.ConditionBuilder {
	ended := expression.AttributeNotExists(expression.Name("endedAt"))
	if r.EndedAt != "" {
		ended = expression.Name("endedAt").Equal(expression.Value(r.EndedAt))
	}
	return expression.Name("execution").Equal(expression.Value(r.Execution)).
		And(expression.Name("renewedAt").Equal(expression.Value(r.RenewedAt)), ended)
}

// HeldError says that another execution holds the lease.
type HeldError struct{ Workflow, Execution, RenewedAt string }

func (e *HeldError) Error() string {
	return fmt.Sprintf("another execution of the %s is running in this Region: %s, last active %s; wait until it has ended, or stop it, and start again",
		e.Workflow, e.Execution, e.RenewedAt)
}

// LeaseLostError says that this execution no longer holds the lease, so that
// nothing more may be written for it.
type LeaseLostError struct{ Workflow, Execution string }

func (e *LeaseLostError) Error() string {
	return fmt.Sprintf("execution %s no longer holds the lease of the %s: another one has taken over; nothing more is written for this one", e.Execution, e.Workflow)
}

// OtherPoolError says that the table already backs up another pool.
type OtherPoolError struct{ Table, Stored, Given string }

func (e *OtherPoolError) Error() string {
	return fmt.Sprintf("table %s holds the backup of user pool %s, and one stackPrefix backs up one pool: deploy with another stackPrefix to back up %s as well, or set primaryUserPoolId back to %s",
		e.Table, e.Stored, e.Given, e.Stored)
}

func (l *Lease) key() map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		"id":   &types.AttributeValueMemberS{Value: "LEASE-" + l.Region + "-" + l.Workflow},
		"type": &types.AttributeValueMemberS{Value: "LEASE"},
	}
}

func (l *Lease) read(ctx context.Context) (*leaseRecord, map[string]types.AttributeValue, error) {
	out, err := l.API.GetItem(ctx, &dynamodb.GetItemInput{TableName: &l.Table, Key: l.key(), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, nil, fmt.Errorf("read the lease of the %s: %w", l.Workflow, err)
	}
	var record leaseRecord
	if err := attributevalue.UnmarshalMap(out.Item, &record); err != nil {
		return nil, nil, fmt.Errorf("decode the lease of the %s: %w", l.Workflow, err)
	}
	return &record, out.Item, nil
}

// Take gives the lease to the execution and returns its run id. Asking again
// for the same execution returns the same id. The lease is taken over only
// when it was given back or its execution no longer runs; otherwise the error
// is a *HeldError.
// userPoolID is the pool that the table backs up, "" where that does not matter.
func (l *Lease) Take(ctx context.Context, execution, userPoolID string, executions ExecutionsAPI) (string, error) {
	for described := 0; ; {
		held, item, err := l.read(ctx)
		if err != nil {
			return "", err
		}
		if held.UserPoolID != "" && userPoolID != "" && held.UserPoolID != userPoolID {
			if other, err := l.backedUp(ctx, held.UserPoolID); err != nil {
				return "", err
			} else if other {
				return "", &OtherPoolError{Table: l.Table, Stored: held.UserPoolID, Given: userPoolID}
			}
		}
		again := held.Execution == execution
		if again && held.EndedAt == "" {
			return held.RunID, l.clear(ctx, execution, item)
		}
		if !again && held.Execution != "" && held.EndedAt == "" {
			running, err := l.running(ctx, held, executions)
			if err != nil {
				return "", err
			}
			if described++; running && described >= descriptions {
				return "", &HeldError{Workflow: l.Workflow, Execution: held.Execution, RenewedAt: held.RenewedAt}
			}
			if running {
				if err := l.Sleep(ctx, time.Second); err != nil {
					return "", fmt.Errorf("wait whether execution %s, which holds the lease, has ended: %w", held.Execution, err)
				}
				continue // it may have given the lease back meanwhile
			}
		}
		runID := held.RunID // of an execution that ended and was redriven
		if !again {
			if runID, err = l.nextRunID(held.RunID); err != nil {
				return "", err
			}
		}
		condition := expression.AttributeNotExists(expression.Name("id"))
		if held.RunID != "" {
			condition = held.unchanged()
		}
		update := expression.Set(expression.Name("execution"), expression.Value(execution)).
			Set(expression.Name("runId"), expression.Value(runID)).
			Set(expression.Name("renewedAt"), expression.Value(FormatTime(l.Now()))).
			Remove(expression.Name("endedAt"))
		if userPoolID != "" {
			update = update.Set(expression.Name("userPoolId"), expression.Value(userPoolID))
		}
		_, err = l.update(ctx, update, condition, types.ReturnValueNone)
		if lost := new(types.ConditionalCheckFailedException); errors.As(err, &lost) {
			continue // somebody else was quicker: look again who it is
		}
		if err != nil {
			return "", fmt.Errorf("take the lease of the %s: %w", l.Workflow, err)
		}
		return runID, l.clear(ctx, execution, item)
	}
}

// GiveBack says that the execution writes nothing more that the lease guards,
// so that the next one need not ask Step Functions, which may not know yet.
// Nothing happens if the execution does not hold the lease. ended is when it
// ended; the zero time is for the last state of an execution, which is still
// running. A lease that was renewed after ended stays: the execution was
// redriven meanwhile, and what says that it ended is older than that.
//
// The slots stay, too: whoever takes the lease waits for functions that did not
// end in order, whether or not it was given back.
func (l *Lease) GiveBack(ctx context.Context, execution string, ended time.Time) error {
	condition := expression.Name("execution").Equal(expression.Value(execution))
	if !ended.IsZero() {
		condition = condition.And(expression.Name("renewedAt").LessThanEqual(expression.Value(FormatTime(ended))))
	}
	_, err := l.update(ctx, expression.Set(expression.Name("endedAt"), expression.Value(FormatTime(l.Now()))), condition, types.ReturnValueNone)
	if other := new(types.ConditionalCheckFailedException); errors.As(err, &other) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("give back the lease of the %s: %w", l.Workflow, err)
	}
	return nil
}

func (l *Lease) backedUp(ctx context.Context, userPoolID string) (bool, error) {
	if l.BackedUp == nil {
		return true, nil
	}
	return l.BackedUp(ctx, userPoolID)
}

// clear waits for functions of the execution before that did not end in order
// and may still be at work, by the end of the fence they have noticed, and
// removes their slots. Until then the slots stay, so that a repeated call waits too.
func (l *Lease) clear(ctx context.Context, execution string, item map[string]types.AttributeValue) error {
	var update expression.UpdateBuilder
	unfinished := false
	for name := range item {
		if strings.HasPrefix(name, slotPrefix) {
			unfinished, update = true, update.Remove(expression.Name(name))
		}
	}
	if !unfinished {
		return nil
	}
	if err := l.Sleep(ctx, fence); err != nil {
		return fmt.Errorf("wait for the execution before to stop writing: %w", err)
	}
	_, err := l.update(ctx, update, expression.Name("execution").Equal(expression.Value(execution)), types.ReturnValueNone)
	if err != nil {
		return fmt.Errorf("clear the lease of the %s: %w", l.Workflow, err)
	}
	return nil
}

// nextRunID is now, or a millisecond after the run before when the clock of
// this machine is behind it.
func (l *Lease) nextRunID(last string) (string, error) {
	now := l.Now().UTC().Truncate(time.Millisecond)
	if last != "" {
		before, err := time.Parse(TimeFormat, last)
		if err != nil {
			return "", fmt.Errorf("the lease of the %s holds a run id that is no time: %w", l.Workflow, err)
		}
		if !now.After(before) {
			now = before.Add(time.Millisecond)
		}
	}
	return FormatTime(now), nil
}

func (l *Lease) running(ctx context.Context, held *leaseRecord, executions ExecutionsAPI) (bool, error) {
	out, err := executions.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &held.Execution})
	if unknown(err) {
		renewed, err := time.Parse(TimeFormat, held.RenewedAt)
		if err != nil {
			return false, fmt.Errorf("the lease of the %s holds a renewal that is no time: %w", l.Workflow, err)
		}
		return l.Now().Sub(renewed) < unknownAfter, nil
	}
	if err != nil {
		return false, fmt.Errorf("describe execution %s, which holds the lease: %w", held.Execution, err)
	}
	return out.Status == sfntypes.ExecutionStatusRunning || out.Status == sfntypes.ExecutionStatusPendingRedrive, nil
}

// unknown says that Step Functions does not know the execution: not yet, no
// more, or, with the last of these codes, because the endpoint does not have
// the operation at all. What may be cured, such as a missing permission, says
// nothing of the execution and stays an error.
func unknown(err error) bool {
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.ErrorCode() {
	case "ExecutionDoesNotExist", "InvalidArn", "StateMachineDoesNotExist", "UnknownOperationException":
		return true
	}
	return false
}

func (l *Lease) update(ctx context.Context, update expression.UpdateBuilder, condition expression.ConditionBuilder, returned types.ReturnValue) (*dynamodb.UpdateItemOutput, error) {
	e, err := expression.NewBuilder().WithUpdate(update).WithCondition(condition).Build()
	if err != nil {
		return nil, err
	}
	return l.API.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &l.Table, Key: l.key(),
		UpdateExpression: e.Update(), ConditionExpression: e.Condition(),
		ExpressionAttributeNames: e.Names(), ExpressionAttributeValues: e.Values(),
		ReturnValues: returned,
	})
}

// Holder is one invocation that holds its step's slot in the lease.
type Holder struct {
	lease      *Lease
	execution  string
	slot       string
	invocation string

	mu       sync.Mutex
	verified time.Time
}

// Enter takes the step's slot for one invocation. When the invocation before
// did not end in order it may still be at work somewhere, and Enter waits
// until it cannot write any more.
//
// A lease that was given back is held again by whoever enters. That may be a
// redriven execution, which goes on, or a straggler of one that has ended. The
// straggler is no worse than if nothing had been given back: either the next
// execution took the lease before, and the straggler is refused, or it finds
// the lease held, asks Step Functions, and waits for the straggler's slot. And
// one that read the lease before and takes it after fails on its condition.
func (l *Lease) Enter(ctx context.Context, execution, step, invocation string) (*Holder, error) {
	h := &Holder{lease: l, execution: execution, slot: slotPrefix + step, invocation: invocation}
	now := l.Now()
	out, err := l.update(ctx,
		expression.Set(expression.Name(h.slot), expression.Value(invocation)).
			Set(expression.Name("renewedAt"), expression.Value(FormatTime(now))).
			Remove(expression.Name("endedAt")),
		expression.Name("execution").Equal(expression.Value(execution)), types.ReturnValueAllOld)
	if lost := new(types.ConditionalCheckFailedException); errors.As(err, &lost) {
		return nil, &LeaseLostError{Workflow: l.Workflow, Execution: execution}
	}
	if err != nil {
		return nil, fmt.Errorf("enter the lease of the %s: %w", l.Workflow, err)
	}
	h.verified = now
	// Our own id may stand there, when the answer to the update was lost and it
	// was sent again: whose slot it was before, nobody knows any more.
	if _, unfinished := out.Attributes[h.slot]; unfinished {
		if err := l.Sleep(ctx, fence); err != nil {
			return nil, fmt.Errorf("wait for the invocation before: %w", err)
		}
	}
	return h, nil
}

// Verify makes sure that this invocation still holds its slot, asking the
// table when it last asked more than a second ago, and returns until when a
// write may be under way.
func (h *Holder) Verify(ctx context.Context) (time.Time, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if asked := h.lease.Now(); asked.Sub(h.verified) >= verifyEvery {
		held, item, err := h.lease.read(ctx)
		if err != nil {
			return time.Time{}, err
		}
		if held.Execution != h.execution {
			return time.Time{}, &LeaseLostError{Workflow: h.lease.Workflow, Execution: h.execution}
		}
		if slot, ok := item[h.slot].(*types.AttributeValueMemberS); !ok || slot.Value != h.invocation {
			return time.Time{}, &TransientError{Err: errors.New("another invocation of this step has taken over")}
		}
		h.verified = asked
	}
	return h.verified.Add(writeBound), nil
}

// Leave says that the invocation has ended in order: nothing of it is still
// writing, and the next one need not wait.
func (h *Holder) Leave(ctx context.Context) error {
	_, err := h.lease.update(ctx,
		expression.Remove(expression.Name(h.slot)),
		expression.Name(h.slot).Equal(expression.Value(h.invocation)), types.ReturnValueNone)
	if lost := new(types.ConditionalCheckFailedException); errors.As(err, &lost) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("leave the lease of the %s: %w", h.lease.Workflow, err)
	}
	return nil
}
