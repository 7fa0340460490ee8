package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"

	"cognito-backup/internal/step"
)

// Category is a request-rate quota category of Cognito; all pools of an
// account in a Region share it.
// Source: developer guide, "Quotas in Amazon Cognito".
type Category string

// The categories in use here.
const (
	UserList               Category = "UserList"
	UserRead               Category = "UserRead"
	UserCreation           Category = "UserCreation"
	UserUpdate             Category = "UserUpdate"
	UserAccountRecovery    Category = "UserAccountRecovery"
	UserResourceRead       Category = "UserResourceRead"
	UserResourceUpdate     Category = "UserResourceUpdate"
	UserPoolRead           Category = "UserPoolRead"
	UserPoolResourceRead   Category = "UserPoolResourceRead"
	UserPoolResourceUpdate Category = "UserPoolResourceUpdate"
	UserPoolClientRead     Category = "UserPoolClientRead"
)

// DefaultQuota is the documented default quota of a category in requests per
// second.
func DefaultQuota(c Category) float64 { return quotas[c] }

var quotas = map[Category]float64{
	UserList: 30, UserRead: 120, UserCreation: 50, UserUpdate: 25, UserAccountRecovery: 30,
	UserResourceRead: 50, UserResourceUpdate: 25, UserPoolRead: 15,
	UserPoolResourceRead: 20, UserPoolResourceUpdate: 15, UserPoolClientRead: 15,
}

// adjustable are the categories whose quota AWS raises on request. Calls beyond
// any other quota would only be turned away, and push the application aside.
var adjustable = map[Category]bool{UserRead: true, UserCreation: true, UserResourceRead: true}

// highest is the highest of the documented quotas. A CognitoTPS beyond it says
// that this account's quotas are others than those documented.
const highest = 120

// perOperation is the quota of each operation of the UserPoolResource
// categories on one pool, in requests per second. It cannot be raised.
const perOperation = 5

// CategoryOf is the quota category of an operation.
func CategoryOf(operation string) Category { return categories[operation] }

var categories = map[string]Category{
	"ListUsers": UserList, "ListUsersInGroup": UserList,
	"AdminGetUser":        UserRead,
	"AdminCreateUser":     UserCreation,
	"AdminAddUserToGroup": UserUpdate, "AdminUpdateUserAttributes": UserUpdate, "AdminDisableUser": UserUpdate,
	"AdminEnableUser": UserUpdate, "AdminLinkProviderForUser": UserUpdate,
	"AdminSetUserPassword":      UserAccountRecovery,
	"AdminListGroupsForUser":    UserResourceRead,
	"AdminSetUserMFAPreference": UserResourceUpdate,
	"DescribeUserPool":          UserPoolRead, "ListUserPools": UserPoolRead,
	"ListGroups": UserPoolResourceRead, "GetGroup": UserPoolResourceRead, "GetUserPoolMfaConfig": UserPoolResourceRead,
	"GetCSVHeader": UserPoolResourceRead, "DescribeUserImportJob": UserPoolResourceRead, "ListUserImportJobs": UserPoolResourceRead,
	"ListIdentityProviders": UserPoolResourceRead, "DescribeIdentityProvider": UserPoolResourceRead,
	"ListResourceServers": UserPoolResourceRead,
	"CreateGroup":         UserPoolResourceUpdate, "CreateUserImportJob": UserPoolResourceUpdate,
	"StartUserImportJob": UserPoolResourceUpdate, "StopUserImportJob": UserPoolResourceUpdate,
	"ListUserPoolClients": UserPoolClientRead, "DescribeUserPoolClient": UserPoolClientRead,
}

// headroom keeps the rate a little below CognitoTPS, so that calls which the
// network delivers closer together than they were sent still are no more than
// CognitoTPS in any second.
const headroom = 0.98

// Limits holds one limiter per quota category, each at CognitoTPS or at the
// documented quota where that is less and cannot be raised. A limiter yields when
// Cognito throttles, whoever used the quota up, and recovers slowly. Every
// attempt pays, retries of the SDK included.
type Limits struct {
	tps float64

	mu        sync.Mutex
	limiters  map[string]*limiter
	calls     map[Category]int64
	throttled map[Category]int64
}

// NewLimits allows tps calls per second in each category.
func NewLimits(tps int) *Limits {
	return &Limits{
		tps: float64(tps), limiters: map[string]*limiter{},
		calls: map[Category]int64{}, throttled: map[Category]int64{},
	}
}

// Throttled is the number of calls that Cognito has turned away so far.
func (l *Limits) Throttled() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for c := range maps.Values(l.throttled) {
		n += c
	}
	return n
}

// Calls is the number of calls made so far in the category.
func (l *Limits) Calls(c Category) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[c]
}

// Wait returns when the operation may be called.
func (l *Limits) Wait(ctx context.Context, operation string) error {
	category := CategoryOf(operation)
	l.mu.Lock()
	limiter := l.limiter(operation, category)
	l.calls[category]++
	l.mu.Unlock()
	if err := limiter.wait(ctx); err != nil {
		// The limiter says in its own words that the deadline comes before the
		// turn; whoever decides on retries looks for the deadline.
		return fmt.Errorf("wait for the quota of %s: %w (%w)", category, context.DeadlineExceeded, err)
	}
	return nil
}

// Observe tells the limiter how a call ended.
func (l *Limits) Observe(operation string, err error) {
	if err == nil || !IsThrottled(err) {
		return
	}
	category := CategoryOf(operation)
	l.mu.Lock()
	l.throttled[category]++
	limiter := l.limiter(operation, category)
	l.mu.Unlock()
	limiter.yield()
}

func (l *Limits) limiter(operation string, category Category) *limiter {
	name, tps := string(category), l.tps
	if category == UserPoolResourceRead || category == UserPoolResourceUpdate {
		name, tps = operation, min(l.tps, perOperation)
	} else if quota, known := quotas[category]; known && !adjustable[category] && l.tps <= highest {
		tps = min(l.tps, quota)
	}
	if l.limiters[name] == nil {
		l.limiters[name] = newLimiter(tps * headroom)
	}
	return l.limiters[name]
}

// IsThrottled says that Cognito turned a call away for its rate.
func IsThrottled(err error) bool {
	if isResourceQuota(err) {
		return false
	}
	if e := new(types.TooManyRequestsException); errors.As(err, &e) {
		return true
	}
	return retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err) == aws.TrueTernary
}

// isResourceQuota says that Cognito has no room for one more of something: too
// many groups, import jobs, linked identities. The SDK takes this code for
// throttling, as which some other services use it; here no later attempt helps.
func isResourceQuota(err error) bool {
	e := new(types.LimitExceededException)
	return errors.As(err, &e)
}

// Apply puts the limits into a Cognito client, inside its retryer:
// cognitoidentityprovider.NewFromConfig(cfg, limits.Apply).
func (l *Limits) Apply(o *idp.Options) {
	o.Retryer = retryer()
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("QuotaLimit",
			func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
				operation := awsmiddleware.GetOperationName(ctx)
				if err := l.Wait(ctx, operation); err != nil {
					return middleware.FinalizeOutput{}, middleware.Metadata{}, err
				}
				out, metadata, err := next.HandleFinalize(ctx, in)
				l.Observe(operation, err)
				return out, metadata, err
			}), "Retry", middleware.After)
	})
}

// retryer waits only briefly after a throttled call, because the limiter has
// lowered the rate already, and longer after anything else.
func retryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 30
		o.RateLimiter = ratelimit.None
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			if isResourceQuota(err) {
				return aws.FalseTernary
			}
			return aws.UnknownTernary
		})}, o.Retryables...)
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, err error) (time.Duration, error) {
			if IsThrottled(err) {
				return min(time.Duration(attempt)*50*time.Millisecond, time.Second), nil
			}
			return step.Backoff(attempt, err)
		})
	})
}

// limiter lets calls through one by one, evenly spaced. It is additive in
// growth and multiplicative in retreat, as TCP is: 0.8 of the rate at most once
// a second while calls are throttled, and 1 % of the full rate more for each
// second without.
type limiter struct {
	mu      sync.Mutex
	limiter *rate.Limiter
	full    rate.Limit
	changed time.Time
}

const (
	retreat = 0.8
	growth  = 0.01 // of the full rate, per second
	lowest  = 0.05 // of the full rate
)

func newLimiter(perSecond float64) *limiter {
	return &limiter{limiter: rate.NewLimiter(rate.Limit(perSecond), 1), full: rate.Limit(perSecond)}
}

func (l *limiter) wait(ctx context.Context) error {
	l.mu.Lock()
	if now := time.Now(); l.limiter.Limit() < l.full && now.Sub(l.changed) >= time.Second {
		seconds := now.Sub(l.changed).Seconds()
		l.limiter.SetLimit(min(l.full, l.limiter.Limit()+l.full*rate.Limit(growth*seconds)))
		l.changed = now
	}
	l.mu.Unlock()
	return l.limiter.Wait(ctx)
}

func (l *limiter) yield() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.limiter.Limit() < l.full && now.Sub(l.changed) < time.Second {
		return // calls of the same moment: one retreat is enough
	}
	l.limiter.SetLimit(max(l.full*lowest, l.limiter.Limit()*retreat))
	l.changed = now
}
