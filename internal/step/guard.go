package step

import (
	"context"
	"fmt"
	"strings"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
)

type holderKey struct{}

// withHolder makes the writes of everything called with the context depend on
// the holder.
func withHolder(ctx context.Context, h *Holder) context.Context {
	return context.WithValue(ctx, holderKey{}, h)
}

// guardWrites puts the lease before every write of an AWS client: each attempt
// is sent only while the invocation provably holds its slot, and is given up
// before another invocation may write. It stands inside the SDK's retryer and
// the quota limits, so that neither waiting for a quota nor for a retry uses
// the time up. A write that was given up is attempted again. Listings of a
// pool ask the lease too, lest an invocation whose execution was stopped uses
// the quota beside the next one.
func guardWrites(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("LeaseGuard",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			holder, held := ctx.Value(holderKey{}).(*Holder)
			operation := awsmiddleware.GetOperationName(ctx)
			if !held || !writes(operation) && !lists(operation) {
				return next.HandleFinalize(ctx, in)
			}
			until, err := holder.Verify(ctx)
			if err != nil {
				return middleware.FinalizeOutput{}, middleware.Metadata{}, err
			}
			if lists(operation) {
				return next.HandleFinalize(ctx, in)
			}
			bounded, cancel := context.WithDeadline(ctx, until)
			defer cancel()
			out, metadata, err := next.HandleFinalize(bounded, in)
			if err != nil && bounded.Err() != nil && ctx.Err() == nil {
				err = &boundError{operation: operation, err: err}
			}
			return out, metadata, err
		}), "Retry", middleware.After)
}

// writes says that an operation changes the backup table, a user pool or an
// object of the run. The lease's own updates, and messages, which may be
// repeated, need no guard.
func writes(operation string) bool {
	switch operation {
	case "PutItem", "DeleteItem", "BatchWriteItem", "PutObject", "DeleteObjects", "CreateGroup", "CreateUserImportJob", "StartUserImportJob", "StopUserImportJob":
		return true
	case "AdminGetUser", "AdminListGroupsForUser":
		return false
	}
	return strings.HasPrefix(operation, "Admin")
}

// lists says that an operation reads a pool page by page.
func lists(operation string) bool {
	return operation == "ListUsers" || operation == "ListUsersInGroup" || operation == "ListGroups"
}

// boundError says that a write was given up because the lease has to be
// verified again before it may go on. The SDK's retryer repeats it.
type boundError struct {
	operation string
	err       error
}

func (e *boundError) Error() string {
	return fmt.Sprintf("%s took longer than the lease may be trusted without asking again: %v", e.operation, e.err)
}

// RetryableError tells the SDK's retryer to repeat the attempt. The cause is
// not unwrapped, because a deadline in it would tell the retryer to give up.
func (e *boundError) RetryableError() bool { return true }
