package cognito

import (
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	poolResourceRead   = "UserPoolResourceRead"
	poolResourceUpdate = "UserPoolResourceUpdate"
)

// Unlimited switches a quota off.
const Unlimited = -1.0

// defaultQuotas are AWS's defaults in requests per second, each shared by all
// pools of an account in a Region.
var defaultQuotas = map[string]float64{
	"UserAuthentication":   120,
	"UserCreation":         50,
	"UserAccountRecovery":  30,
	"UserRead":             120,
	"UserUpdate":           25,
	"UserList":             30,
	"UserResourceRead":     50,
	"UserResourceUpdate":   25,
	"UserPoolRead":         15,
	"UserPoolUpdate":       15,
	poolResourceRead:       20,
	poolResourceUpdate:     15,
	"UserPoolClientRead":   15,
	"UserPoolClientUpdate": 15,
}

// Category is the quota category of an operation, "" for an unknown one.
func Category(operation string) string { return operations[operation].category }

// Operations are the names of all operations, in order.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

// limit is one quota that a call draws on.
type limit struct {
	key  string
	rate float64 // requests per second
}

// limits are the quotas of a call: its category, the 5 per second of an operation
// on one pool that the UserPoolResource categories have, and those of one user.
func (s *Settings) limits(name string, op operation, t target) []limit {
	v := s.Values()
	rate, ok := v.Quotas[op.category]
	if !ok {
		rate = defaultQuotas[op.category]
	}
	limits := []limit{{op.category, rate}}
	if op.category == poolResourceRead || op.category == poolResourceUpdate {
		limits = append(limits, limit{name + " " + t.UserPoolId, v.PoolOperationQuota})
	}
	switch op.access {
	case readsUser:
		limits = append(limits, limit{"read " + t.UserPoolId + " " + t.Username, v.UserQuota})
	case writesUser:
		limits = append(limits, limit{"write " + t.UserPoolId + " " + t.Username, v.UserQuota})
	}
	return slices.DeleteFunc(limits, func(l limit) bool { return l.rate < 0 })
}

// throttle holds a token bucket per quota. A bucket holds one second's worth, so
// that the sustained rate is the quota and a pause earns no more than a second.
type throttle struct {
	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	tokens float64
	filled time.Time
}

const maxBuckets = 20_000 // swept above that: a full bucket says nothing

// take draws one request from every limit, or from none when one is exhausted.
func (t *throttle) take(now time.Time, limits []limit) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.buckets == nil {
		t.buckets = map[string]*bucket{}
	}
	if len(t.buckets) > maxBuckets {
		maps.DeleteFunc(t.buckets, func(_ string, b *bucket) bool { return now.Sub(b.filled) > time.Second })
	}
	drawn := make([]*bucket, 0, len(limits))
	for _, l := range limits {
		b := t.buckets[l.key]
		size := max(1, l.rate)
		if b == nil {
			b = &bucket{tokens: size, filled: now}
			t.buckets[l.key] = b
		}
		b.tokens = min(size, b.tokens+max(0, now.Sub(b.filled).Seconds())*l.rate)
		b.filled = now
		if b.tokens < 1 {
			return false
		}
		drawn = append(drawn, b)
	}
	for _, b := range drawn {
		b.tokens--
	}
	return true
}

// Count is what became of calls.
type Count struct {
	Succeeded int
	Throttled int // refused with TooManyRequestsException
	Failed    int // refused for any other reason
}

// Second is the calls of one operation in one second of the clock.
type Second struct {
	Time time.Time
	Count
}

type counters struct {
	mu      sync.Mutex
	total   map[string]Count
	seconds map[string][]Second
}

func (n *Count) add(o Count) {
	n.Succeeded += o.Succeeded
	n.Throttled += o.Throttled
	n.Failed += o.Failed
}

func (k *counters) add(now time.Time, operation string, n Count) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.total == nil {
		k.total, k.seconds = map[string]Count{}, map[string][]Second{}
	}
	sum := k.total[operation]
	sum.add(n)
	k.total[operation] = sum

	at := now.Truncate(time.Second)
	list := k.seconds[operation]
	if len(list) == 0 || !list[len(list)-1].Time.Equal(at) {
		list = append(list, Second{Time: at})
		k.seconds[operation] = list
	}
	list[len(list)-1].add(n)
}

// Counts are all calls so far per operation.
func (s *Service) Counts() map[string]Count {
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	return maps.Clone(s.counts.total)
}

// Seconds are the calls of one operation, one entry per second that had any.
func (s *Service) Seconds(operation string) []Second {
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	return slices.Clone(s.counts.seconds[operation])
}

// ResetCounts starts counting anew.
func (s *Service) ResetCounts() {
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	s.counts.total, s.counts.seconds = nil, nil
}
