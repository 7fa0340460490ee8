// Package faults makes the testbed's services fail on purpose: throttling,
// server errors, delays, connections dropped before or after the service has
// acted, and the partial results of DynamoDB's batch operations. Rules are
// added and removed while the testbed runs; what each rule did is counted, so
// that a failure test can prove it did not pass idle.
package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Kind is what happens to a call.
type Kind string

// The kinds of faults.
const (
	Throttle    Kind = "throttle"     // the service's own throttling error; it does not act
	ServerError Kind = "server-error" // 500 in the service's own words; it does not act
	Fail        Kind = "fail"         // the rule's Code and Status; it does not act
	Delay       Kind = "delay"        // the call takes Delay longer
	DropBefore  Kind = "drop-before"  // the connection breaks, the service does not act
	DropAfter   Kind = "drop-after"   // the service acts, the answer is lost
	Unprocessed Kind = "unprocessed"  // DynamoDB batches: Share of the items come back unprocessed
)

// Call is what a rule can look at.
type Call struct {
	Service   string // signing name: dynamodb, cognito-idp, s3, …
	Operation string
	Region    string
	Function  string // name of the calling function, "" for others
}

// Rule says which calls fail and how. Empty fields match everything.
type Rule struct {
	Name        string // whose faults InjectedBy counts
	Kind        Kind
	Service     string
	Operation   string // exact, or a prefix that ends in *
	Region      string
	Function    string  // name of the calling function, a suffix that begins with * or a prefix that ends in *
	Probability float64 // of a matching call; 1 when zero
	Skip        int     // leave the first matching calls alone
	Count       int     // at most so many faults; no limit when zero
	Delay       time.Duration
	Jitter      time.Duration // up to so much more delay
	Share       float64       // Unprocessed: share of the items; 0.5 when zero
	Code        string        // Fail: error code
	Status      int           // Fail: HTTP status; 400 when zero
}

// Fault is what shall happen to one call. The zero value is nothing.
type Fault struct {
	Delay       time.Duration
	Kind        Kind // at most one of the kinds that are not Delay or Unprocessed
	Code        string
	Status      int
	Unprocessed float64
}

// Set is the faults of a testbed.
type Set struct {
	mu       sync.Mutex
	random   *rand.Rand
	rules    []*active
	injected map[Kind]int
	byName   map[string]int
}

type active struct {
	Rule
	seen, done int
}

// New makes a set without rules. The same seed gives the same decisions for
// the same sequence of calls.
func New(seed uint64) *Set {
	return &Set{random: rand.New(rand.NewPCG(seed, seed)), injected: map[Kind]int{}, byName: map[string]int{}}
}

// Add puts a rule in force and returns what takes it back.
func (s *Set) Add(r Rule) (remove func()) {
	a := &active{Rule: r}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, a)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, other := range s.rules {
			if other == a {
				s.rules = append(s.rules[:i:i], s.rules[i+1:]...)
				return
			}
		}
	}
}

// Latency delays every call of a service ("" for all) by d plus up to jitter.
func (s *Set) Latency(service string, d, jitter time.Duration) (remove func()) {
	return s.Add(Rule{Kind: Delay, Service: service, Delay: d, Jitter: jitter})
}

// Clear takes all rules back; the counters stay.
func (s *Set) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

// Injected counts the faults so far by kind.
func (s *Set) Injected() map[Kind]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[Kind]int{}
	for k, n := range s.injected {
		out[k] = n
	}
	return out
}

// InjectedBy counts the faults so far by the Name of the rule that did them.
func (s *Set) InjectedBy() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.byName)
}

// VerifyAllExercised is an error that names the rules in force that no call
// has met yet, or that have faults left of their Count.
func (s *Set) VerifyAllExercised() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, a := range s.rules {
		if a.done == 0 || a.done < a.Count {
			errs = append(errs, fmt.Errorf("fault not exercised: %s of %s %s %s: %d of %d", a.Kind, a.Service, a.Operation, a.Function, a.done, max(a.Count, 1)))
		}
	}
	return errors.Join(errs...)
}

// For decides what happens to a call and counts it.
func (s *Set) For(c Call) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	var f Fault
	for _, a := range s.rules {
		if !a.matches(c) || (a.Count > 0 && a.done >= a.Count) {
			continue
		}
		if a.seen++; a.seen <= a.Skip {
			continue
		}
		if p := a.Probability; p > 0 && p < 1 && s.random.Float64() >= p {
			continue
		}
		switch a.Kind {
		case Delay:
			f.Delay += a.Delay
			if a.Jitter > 0 {
				f.Delay += time.Duration(s.random.Int64N(int64(a.Jitter)))
			}
		case Unprocessed:
			if f.Unprocessed = a.Share; f.Unprocessed == 0 {
				f.Unprocessed = 0.5
			}
		default:
			if f.Kind != "" {
				continue
			}
			f.Kind, f.Code, f.Status = a.Kind, a.Code, a.Status
		}
		a.done++
		s.injected[a.Kind]++
		s.byName[a.Name]++
	}
	return f
}

func (r *Rule) matches(c Call) bool {
	operation := r.Operation == "" || r.Operation == c.Operation
	if prefix, ok := strings.CutSuffix(r.Operation, "*"); ok {
		operation = strings.HasPrefix(c.Operation, prefix)
	}
	function := r.Function == "" || r.Function == c.Function
	if suffix, ok := strings.CutPrefix(r.Function, "*"); ok {
		function = strings.HasSuffix(c.Function, suffix)
	} else if prefix, ok := strings.CutSuffix(r.Function, "*"); ok {
		function = strings.HasPrefix(c.Function, prefix)
	}
	return operation && function && (r.Service == "" || r.Service == c.Service) && (r.Region == "" || r.Region == c.Region)
}

type faultKey struct{}

// With carries a call's fault to the service, for kinds that only it can
// bring about.
func With(ctx context.Context, f Fault) context.Context {
	return context.WithValue(ctx, faultKey{}, f)
}

// From is the fault that With put there, the zero Fault without one.
func From(ctx context.Context) Fault {
	f, _ := ctx.Value(faultKey{}).(Fault)
	return f
}
