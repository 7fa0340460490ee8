// Package scheduler is EventBridge Scheduler for the local testbed: schedules
// with rate, cron and at expressions that start executions of state machines,
// and the API operations to create, read, change and delete them.
//
// Schedules run faster by the clock's factor. When a test moves the clock, a
// schedule that is overdue then fires once, however many times it missed.
package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cognito-backup/test/localaws/wire"
)

// Target is what a schedule starts.
type Target struct {
	ARN     string // state machine
	RoleARN string // on whose behalf
	Input   string // JSON of the execution
}

// Starter starts an execution of the target. An error is tried again unless it
// is a *wire.Error that says the call itself is wrong or forbidden.
type Starter func(ctx context.Context, target Target) error

// Schedule has the members of the API, which are the properties of
// AWS::Scheduler::Schedule as well.
type Schedule struct {
	Name                       string
	GroupName                  string
	ScheduleExpression         string
	ScheduleExpressionTimezone string
	State                      string
	Description                string
	StartDate                  *Date `json:",omitempty"`
	EndDate                    *Date `json:",omitempty"`
	ActionAfterCompletion      string
	FlexibleTimeWindow         FlexibleTimeWindow
	Target                     ScheduleTarget
	KmsKeyArn                  string `json:",omitempty"`
}

// FlexibleTimeWindow lets Scheduler choose a time within a window; the testbed
// always takes its start.
type FlexibleTimeWindow struct {
	Mode                   string
	MaximumWindowInMinutes int `json:",omitempty"`
}

// ScheduleTarget is a Schedule's target.
type ScheduleTarget struct {
	Arn              string
	RoleArn          string
	Input            string            `json:",omitempty"`
	RetryPolicy      *RetryPolicy      `json:",omitempty"`
	DeadLetterConfig *DeadLetterConfig `json:",omitempty"`
}

// RetryPolicy bounds the attempts of one invocation.
type RetryPolicy struct {
	MaximumRetryAttempts     *int `json:",omitempty"`
	MaximumEventAgeInSeconds *int `json:",omitempty"`
}

// DeadLetterConfig names the queue for what could not be delivered. The testbed
// keeps it in Dropped instead.
type DeadLetterConfig struct {
	Arn string `json:",omitempty"`
}

// Date is a time as the API sends it (epoch seconds) or a template writes it
// (RFC 3339).
type Date time.Time

// UnmarshalJSON reads either form.
func (d *Date) UnmarshalJSON(b []byte) error {
	var t time.Time
	if err := json.Unmarshal(b, &t); err == nil {
		*d = Date(t.UTC())
		return nil
	}
	return (*wire.Time)(d).UnmarshalJSON(b)
}

// MarshalJSON writes epoch seconds.
func (d Date) MarshalJSON() ([]byte, error) { return wire.Time(d).MarshalJSON() }

func (d *Date) time() time.Time {
	if d == nil {
		return time.Time{}
	}
	return time.Time(*d)
}

// Service is EventBridge Scheduler in one Region.
type Service struct {
	region string
	clock  *wire.Clock
	start  Starter
	life   context.Context
	end    context.CancelFunc
	work   sync.WaitGroup

	mu        sync.Mutex
	schedules map[string]*entry // by group/name
	groups    map[string]bool
	dropped   []Dropped
}

var _ wire.Service = (*Service)(nil)

type entry struct {
	Schedule
	arn               string
	created, modified time.Time
	token             string
	expression        *Expression
	stop              context.CancelFunc
	fired             int
}

// Dropped is an invocation that never came through.
type Dropped struct {
	Schedule string // name
	Attempts int
	Err      error
}

// New makes a service without schedules.
func New(region string, clock *wire.Clock, start Starter) *Service {
	s := &Service{region: region, clock: clock, start: start, schedules: map[string]*entry{}, groups: map[string]bool{defaultGroup: true}}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// Close stops all schedules and waits for them.
func (s *Service) Close() {
	s.end()
	s.work.Wait()
}

// Dropped lists the invocations that were given up.
func (s *Service) Dropped() []Dropped {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.dropped)
}

// Fired is how often a schedule of the default group has invoked its target.
func (s *Service) Fired(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.schedules[defaultGroup+"/"+name]; e != nil {
		return e.fired
	}
	return 0
}

const (
	defaultGroup = "default"
	enabled      = "ENABLED"
	disabled     = "DISABLED"
)

// AddGroup makes a schedule group.
func (s *Service) AddGroup(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups[name] = true
}

func (s *Service) hasGroup(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groups[name]
}

// Create makes a schedule, which runs from now on, and returns its ARN.
func (s *Service) Create(spec Schedule) (arn string, err error) {
	return s.create(spec, "")
}

func (s *Service) create(spec Schedule, token string) (string, error) {
	e, err := s.newEntry(spec)
	if err != nil {
		return "", err
	}
	e.token = token
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.schedules[e.key()]; old != nil {
		if token != "" && old.token == token {
			return old.arn, nil
		}
		return "", &wire.Error{Code: "ConflictException", Status: 409, Message: fmt.Sprintf("Schedule %s already exists.", e.Name)}
	}
	s.run(e)
	return e.arn, nil
}

// Update replaces a schedule as a whole.
func (s *Service) Update(spec Schedule) (arn string, err error) {
	e, err := s.newEntry(spec)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.schedules[e.key()]
	if old == nil {
		return "", notFound(e.Name)
	}
	old.stop()
	e.created, e.fired = old.created, old.fired
	s.run(e)
	return e.arn, nil
}

// Delete removes a schedule.
func (s *Service) Delete(group, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := groupOr(group) + "/" + name
	e := s.schedules[key]
	if e == nil {
		return notFound(name)
	}
	e.stop()
	delete(s.schedules, key)
	return nil
}

func notFound(name string) error {
	return &wire.Error{Code: "ResourceNotFoundException", Status: 404, Message: fmt.Sprintf("Schedule %s does not exist.", name)}
}

func groupOr(group string) string {
	if group == "" {
		return defaultGroup
	}
	return group
}

func (e *entry) key() string { return e.GroupName + "/" + e.Name }

func scheduleARN(region, group, name string) string {
	return fmt.Sprintf("arn:aws:scheduler:%s:%s:schedule/%s/%s", region, wire.Account, groupOr(group), name)
}

// newEntry checks a schedule and fills in the defaults.
func (s *Service) newEntry(spec Schedule) (*entry, error) {
	spec.GroupName = groupOr(spec.GroupName)
	if !s.hasGroup(spec.GroupName) {
		return nil, &wire.Error{Code: "ResourceNotFoundException", Status: 404, Message: fmt.Sprintf("Schedule group %s does not exist.", spec.GroupName)}
	}
	if spec.State == "" {
		spec.State = enabled
	}
	if spec.ScheduleExpressionTimezone == "" {
		spec.ScheduleExpressionTimezone = "UTC"
	}
	if spec.ActionAfterCompletion == "" {
		spec.ActionAfterCompletion = "NONE"
	}
	expression, err := Parse(spec.ScheduleExpression, spec.ScheduleExpressionTimezone)
	if err != nil {
		return nil, wire.Errorf("ValidationException", "%v", err)
	}
	if spec.Name == "" {
		return nil, wire.Errorf("ValidationException", "The name is missing.")
	}
	if spec.State != enabled && spec.State != disabled {
		return nil, wire.Errorf("ValidationException", "The state has to be ENABLED or DISABLED, not %q.", spec.State)
	}
	switch w := spec.FlexibleTimeWindow; {
	case w.Mode != "OFF" && w.Mode != "FLEXIBLE":
		return nil, wire.Errorf("ValidationException", "The mode of the flexible time window has to be OFF or FLEXIBLE, not %q.", w.Mode)
	case (w.Mode == "FLEXIBLE") != (w.MaximumWindowInMinutes > 0):
		return nil, wire.Errorf("ValidationException", "MaximumWindowInMinutes is for the mode FLEXIBLE, and needed there.")
	}
	if start, end := spec.StartDate.time(), spec.EndDate.time(); !start.IsZero() && !end.IsZero() && !end.After(start) {
		return nil, wire.Errorf("ValidationException", "The EndDate has to be after the StartDate.")
	}
	if spec.Target.RoleArn == "" {
		return nil, wire.Errorf("ValidationException", "The target's RoleArn is missing.")
	}
	if _, err := spec.Target.resolve(); err != nil {
		return nil, err
	}
	now := s.clock.Now()
	return &entry{Schedule: spec, arn: scheduleARN(s.region, spec.GroupName, spec.Name), created: now, modified: now, expression: expression}, nil
}

// universal is the target ARN that calls StartExecution with the API's own input.
const universal = "arn:aws:scheduler:::aws-sdk:sfn:startExecution"

// resolve finds the state machine, given directly or in the input of a universal
// target.
func (t ScheduleTarget) resolve() (Target, error) {
	if t.Arn == universal {
		var input struct{ StateMachineArn, Input string }
		if err := json.Unmarshal([]byte(t.Input), &input); err != nil || input.StateMachineArn == "" {
			return Target{}, wire.Errorf("ValidationException", "The input of a universal StartExecution target has to name a StateMachineArn.")
		}
		return Target{ARN: input.StateMachineArn, RoleARN: t.RoleArn, Input: input.Input}, nil
	}
	parts := strings.Split(t.Arn, ":")
	if len(parts) != 7 || parts[2] != "states" || parts[5] != "stateMachine" {
		return Target{}, wire.Errorf("ValidationException", "Provided Arn is not in correct format, or no state machine: the testbed starts nothing else: %s", t.Arn)
	}
	if t.Input != "" && !json.Valid([]byte(t.Input)) {
		return Target{}, wire.Errorf("ValidationException", "The target's Input is not valid JSON.")
	}
	return Target{ARN: t.Arn, RoleARN: t.RoleArn, Input: t.Input}, nil
}

// run keeps a schedule and starts it; it needs the lock.
func (s *Service) run(e *entry) {
	s.schedules[e.key()] = e
	ctx, stop := context.WithCancel(s.life)
	e.stop = stop
	if e.State == enabled && s.life.Err() == nil {
		s.work.Go(func() { s.follow(ctx, e) })
	}
}

// follow invokes the target whenever the schedule says so. Time in the schedule
// runs from an anchor, faster than the clock by its factor.
func (s *Service) follow(ctx context.Context, e *entry) {
	anchor := s.clock.Now() // of the clock …
	at := anchor            // … and of the schedule
	due := e.expression.first(at, e.StartDate.time())
	for {
		if due.IsZero() || e.EndDate != nil && due.After(e.EndDate.time()) {
			s.complete(e)
			return
		}
		if s.sleepUntil(ctx, anchor.Add(s.clock.Scale(due.Sub(at)))) != nil {
			return
		}
		now := due
		s.work.Go(func() { s.invoke(e, now) })
		anchor, at = anchor.Add(s.clock.Scale(due.Sub(at))), due
		due = e.expression.Next(at)
		reached := at.Add(s.unscale(s.clock.Now().Sub(anchor)))
		for !due.IsZero() && !due.After(reached) { // missed in a jump of the clock
			due = e.expression.Next(due)
			anchor, at = s.clock.Now(), reached
		}
	}
}

// unscale is how much time passes in a schedule while d passes on the clock.
func (s *Service) unscale(d time.Duration) time.Duration {
	if s.clock == nil || s.clock.Factor <= 0 {
		return d
	}
	return time.Duration(float64(d) * s.clock.Factor)
}

func (s *Service) sleepUntil(ctx context.Context, until time.Time) error {
	const jumpCheck = 50 * time.Millisecond // a test may move the clock
	for {
		left := until.Sub(s.clock.Now())
		if left <= 0 {
			return ctx.Err()
		}
		if s.clock != nil && s.clock.Offset != nil {
			left = min(left, jumpCheck)
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// complete ends a schedule that will not fire again.
func (s *Service) complete(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.ActionAfterCompletion == "DELETE" && s.schedules[e.key()] == e {
		delete(s.schedules, e.key())
	}
}

// Defaults of the retry policy.
const (
	defaultAttempts = 185
	defaultAge      = 24 * time.Hour
)

// invoke starts the target once, with the retries of the policy. Deleting the
// schedule does not take back what is under way.
func (s *Service) invoke(e *entry, due time.Time) {
	s.mu.Lock()
	e.fired++
	s.mu.Unlock()
	target, _ := e.Target.resolve() // checked at creation
	attempts, age := defaultAttempts, defaultAge
	if p := e.Target.RetryPolicy; p != nil {
		if p.MaximumRetryAttempts != nil {
			attempts = *p.MaximumRetryAttempts
		}
		if p.MaximumEventAgeInSeconds != nil {
			age = time.Duration(*p.MaximumEventAgeInSeconds) * time.Second
		}
	}
	id := fmt.Sprintf("%s-%d", e.Name, due.UnixMilli())
	waited, delay := time.Duration(0), time.Second
	for attempt := 1; ; attempt++ {
		try := target
		try.Input = strings.NewReplacer(
			"<aws.scheduler.schedule-arn>", e.arn, "<aws.scheduler.scheduled-time>", due.UTC().Format(time.RFC3339),
			"<aws.scheduler.execution-id>", id, "<aws.scheduler.attempt-number>", fmt.Sprint(attempt),
		).Replace(target.Input)
		err := s.start(s.life, try)
		if err == nil || s.life.Err() != nil {
			return
		}
		if final(err) || attempt > attempts || waited+delay > age {
			s.mu.Lock()
			s.dropped = append(s.dropped, Dropped{e.Name, attempt, err})
			s.mu.Unlock()
			return
		}
		if s.sleepUntil(s.life, s.clock.Now().Add(s.clock.Scale(delay))) != nil {
			return
		}
		waited, delay = waited+delay, min(2*delay, 5*time.Minute)
	}
}

// final tells errors that another attempt cannot cure: those of the caller,
// except throttling.
func final(err error) bool {
	api, ok := errors.AsType[*wire.Error](err)
	return ok && api.Status < 500 && api.Status != 429 && !strings.Contains(api.Code, "Throttling")
}
