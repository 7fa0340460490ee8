package cognito

import (
	"maps"
	"sync"
	"time"
)

// Values are what a test may change about a Region.
type Values struct {
	// Quotas are requests per second by category; a category that is not here has
	// AWS's default, Unlimited has none.
	Quotas map[string]float64
	// PoolOperationQuota is the rate of one operation on one pool in the
	// UserPoolResource categories: 5.
	PoolOperationQuota float64
	// UserQuota is the rate of reads, and of writes, of one user: 10.
	UserQuota float64

	// Paging holds the faults of listings by operation; "" is for all others.
	Paging map[string]PagingFaults
	// TokenLifetime is how long a pagination token is accepted; 0 is for ever.
	TokenLifetime time.Duration
	// ListUsersLag is how far ListUsers is behind: users appear, change and
	// disappear there so much later than in every other call.
	ListUsersLag time.Duration

	// ImportRate is how many users per second an import job handles, before the
	// clock's factor: 35, which the retired solution's benchmarks imply.
	ImportRate float64
	// ImportStart is how long a started job stays Pending, before the factor: 2 s.
	ImportStart time.Duration
	// ImportTolerance is the share of failed and skipped users above which a job
	// fails: 0.5 (inference: that there is a limit is documented, its height is not).
	ImportTolerance float64
	// ImportJobLife is how long a job may wait to be started: 24 hours.
	ImportJobLife time.Duration
}

// PagingFaults are what listings may do to their callers. Pages of a chain are
// counted from 1; "every" 0 is never.
type PagingFaults struct {
	EmptyEvery   int  // every nth page is empty and has a token
	ShortEvery   int  // every nth page holds half of what was asked for
	RepeatEvery  int  // the last item of every nth page comes again on the next
	TrailingPage bool // the last page has a token that leads to an empty one
	LongTokens   bool // tokens of 131,072 characters, the maximum

	// ExpireAtPage refuses the token that leads to this page, ExpireTimes times.
	ExpireAtPage int
	ExpireTimes  int
}

// Injected is how often the settings have made things worse than usual.
type Injected struct {
	EmptyPages, ShortPages, RepeatedItems, TrailingPages, LongTokens int

	ExpiredTokens int // refused for ExpireAtPage
	AgedTokens    int // refused for TokenLifetime
	LaggingPages  int // of ListUsers that showed a user as before, or not yet, or still
	FailedJobs    int // import jobs that gave up over ImportTolerance
	ExpiredJobs   int // import jobs that were not started within ImportJobLife
	BusyStarts    int // starts of import jobs that were refused because another was active
}

// Settings guards Values.
type Settings struct {
	mu       sync.Mutex
	set      bool
	values   Values
	injected Injected
}

// Injected counts so far.
func (s *Settings) Injected() Injected {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.injected
}

// count notes something that was injected.
func (s *Settings) count(what func(*Injected) *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*what(&s.injected)++
}

// init must be called with the lock held.
func (s *Settings) init() {
	if s.set {
		return
	}
	s.set = true
	s.values = Values{
		Quotas:             map[string]float64{},
		PoolOperationQuota: 5,
		UserQuota:          10,
		Paging:             map[string]PagingFaults{},
		ImportRate:         35,
		ImportStart:        2 * time.Second,
		ImportTolerance:    0.5,
		ImportJobLife:      jobLife,
	}
}

// Values is a copy of the current settings.
func (s *Settings) Values() Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	v := s.values
	v.Quotas, v.Paging = maps.Clone(v.Quotas), maps.Clone(v.Paging)
	return v
}

// Update changes settings; calls that come later see all of the change.
func (s *Settings) Update(change func(*Values)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	change(&s.values)
}

// NoQuotas lets every call through, for tests that are not about rates.
func (s *Settings) NoQuotas() {
	s.Update(func(v *Values) {
		for category := range defaultQuotas {
			v.Quotas[category] = Unlimited
		}
		v.PoolOperationQuota, v.UserQuota = Unlimited, Unlimited
	})
}

// pagingFaults are those of one operation.
func (s *Settings) pagingFaults(operation string) PagingFaults {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	if f, ok := s.values.Paging[operation]; ok {
		return f
	}
	return s.values.Paging[""]
}

// expire tells whether the token for a page is to be refused, and counts it.
func (s *Settings) expire(operation string, page int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	key := operation
	f, ok := s.values.Paging[key]
	if !ok {
		key = ""
		f = s.values.Paging[key]
	}
	if f.ExpireTimes <= 0 || f.ExpireAtPage != page {
		return false
	}
	f.ExpireTimes--
	s.values.Paging[key] = f
	s.injected.ExpiredTokens++
	return true
}
