package pool

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

// TestResourceQuotasAreNoThrottling: a pool that can have no more groups says
// so at once, and the rate stays.
func TestResourceQuotasAreNoThrottling(t *testing.T) {
	full := &types.LimitExceededException{}
	if IsThrottled(full) || retryer().IsErrorRetryable(full) {
		t.Error("a resource quota is taken for throttling")
	}
	if busy := new(types.TooManyRequestsException); !IsThrottled(busy) || !retryer().IsErrorRetryable(busy) {
		t.Error("throttling is not recognized")
	}
}
