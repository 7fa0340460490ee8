package pool_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cognito-backup/internal/pool"

	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

// quota is Cognito's side: a token bucket that turns calls away.
type quota struct {
	perSecond float64
	mu        sync.Mutex
	tokens    float64
	last      time.Time
	ok        []time.Time
	throttled []time.Time
}

func (q *quota) call() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.tokens = min(q.perSecond, q.tokens+now.Sub(q.last).Seconds()*q.perSecond)
	q.last = now
	if q.tokens < 1 {
		q.throttled = append(q.throttled, now)
		return &types.TooManyRequestsException{}
	}
	q.tokens--
	q.ok = append(q.ok, now)
	return nil
}

// list makes calls one after the other with the given latency until there are
// n successful ones, as the SDK's client does under the limits.
func list(ctx context.Context, limits *pool.Limits, q *quota, latency time.Duration, n int) error {
	for n > 0 {
		if err := limits.Wait(ctx, "ListUsers"); err != nil {
			return err
		}
		err := q.call()
		time.Sleep(latency)
		limits.Observe("ListUsers", err)
		if err == nil {
			n--
		}
	}
	return nil
}

func mostInASecond(calls []time.Time) (most int) {
	for i, from := 0, 0; i < len(calls); i++ {
		for calls[i].Sub(calls[from]) >= time.Second {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

func TestLimitsReachTheRateAndKeepIt(t *testing.T) {
	for _, chains := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			q := &quota{perSecond: 1000, tokens: 1000, last: time.Now()}
			limits := pool.NewLimits(10)
			start := time.Now()
			var wg sync.WaitGroup
			for range chains {
				wg.Go(func() {
					if err := list(t.Context(), limits, q, 100*time.Millisecond, 400/chains); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if most := mostInASecond(q.ok); most > 10 {
				t.Errorf("%d calls within a second at CognitoTPS 10", most)
			}
			if rate := 400 / time.Since(start).Seconds(); rate < 9.5 {
				t.Errorf("%d chains at 100 ms latency make %.2f calls per second, want at least 9.5", chains, rate)
			}
		})
	}
}

func TestLimitsYieldToThrottling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &quota{perSecond: 5, tokens: 5, last: time.Now()}
		limits := pool.NewLimits(10)
		start := time.Now()
		if err := list(t.Context(), limits, q, 100*time.Millisecond, 1500); err != nil {
			t.Fatal(err)
		}
		if rate := 1500 / time.Since(start).Seconds(); rate < 4 {
			t.Errorf("%.2f successful calls per second at a quota of 5, want at least 4", rate)
		}
		settled := 0
		for _, at := range q.throttled {
			if at.Sub(start) > 30*time.Second {
				settled++
			}
		}
		if settled*10 > 1500 {
			t.Errorf("%d calls throttled of 1500 once settled, want at most one in ten", settled)
		}
		if got := limits.Throttled(); got != int64(len(q.throttled)) {
			t.Errorf("%d throttled calls reported of %d", got, len(q.throttled))
		}
		t.Logf("rate %.2f/s, %d throttled of %d", 1500/time.Since(start).Seconds(), len(q.throttled), 1500+len(q.throttled))
	})
}

func TestLimitsRecoverWhenTheQuotaIsFreeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &quota{perSecond: 2, tokens: 2, last: time.Now()}
		limits := pool.NewLimits(10)
		if err := list(t.Context(), limits, q, 10*time.Millisecond, 100); err != nil {
			t.Fatal(err)
		}
		q.perSecond, q.ok = 1000, nil
		if err := list(t.Context(), limits, q, 10*time.Millisecond, 1500); err != nil {
			t.Fatal(err)
		}
		last := q.ok[len(q.ok)-100:]
		if rate := 99 / last[99].Sub(last[0]).Seconds(); rate < 9.5 {
			t.Errorf("%.2f calls per second long after the throttling ended, want the full 9.5", rate)
		}
	})
}

func TestPerOperationQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := pool.NewLimits(50)
		start := time.Now()
		for range 50 {
			if err := limits.Wait(t.Context(), "ListGroups"); err != nil {
				t.Fatal(err)
			}
		}
		if rate := 49 / time.Since(start).Seconds(); rate > 5 {
			t.Errorf("%.2f ListGroups per second; Cognito allows 5 per operation and pool", rate)
		}
	})
}
