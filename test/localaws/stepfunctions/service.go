// Package stepfunctions is AWS Step Functions for the local testbed: state
// machines in the Amazon States Language (JSONPath), run by an interpreter with
// AWS's input and output processing, retries, catchers, limits and history, and
// the API operations that start, stop and describe executions.
//
// It runs Task (the lambda:invoke integration and plain Lambda ARNs), Pass,
// Choice, Wait, Succeed, Fail, Parallel and inline Map. JSONata, variables
// (Assign), distributed maps, activities, task tokens and Express workflows are
// refused when the state machine is created. A member of a JSONPath with
// characters other than letters, digits and _ needs the bracket form.
//
// Wait states and the delays of retries pass faster by the clock's factor.
// TimeoutSeconds does not: functions run at their own pace.
package stepfunctions

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"cognito-backup/test/localaws/wire"
)

// Service is Step Functions in one Region.
type Service struct {
	// Authorize asks whether a role may do something; nil allows everything. Set
	// before the first execution.
	Authorize func(principalRole, action, resource string, ctx map[string]string) error
	// OnStatusChange receives the EventBridge event of each change of an
	// execution's status. Set before the first execution.
	OnStatusChange func(event json.RawMessage)

	region    string
	clock     *wire.Clock
	invoker   Invoker
	maxEvents int
	life      context.Context
	end       context.CancelFunc
	work      sync.WaitGroup

	mu             sync.Mutex
	machines       map[string]*Machine // by ARN
	executions     map[string]*execution
	order          []*execution
	describeLag    time.Duration
	listLag        time.Duration
	lagged         int // descriptions that were not up to date
	shorten        func() time.Duration
	timedOut       int // tasks
	subscribers    map[int]func(Progress)
	lastSubscriber int
	closed         bool
}

var _ wire.Service = (*Service)(nil)

// Machine is a state machine.
type Machine struct {
	Name       string
	ARN        string
	Definition string
	RoleARN    string
	Created    time.Time

	parsed  *machineDefinition
	logging json.RawMessage
	tracing json.RawMessage
}

// New makes an empty service. Close ends what runs in it.
func New(region string, clock *wire.Clock, invoker Invoker) *Service {
	s := &Service{
		region: region, clock: clock, invoker: invoker, maxEvents: maxEvents,
		machines: map[string]*Machine{}, executions: map[string]*execution{}, subscribers: map[int]func(Progress){},
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// Close stops every execution where it is and waits for their goroutines. What
// runs then stays RUNNING.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.work.Wait()
}

// SetLag makes DescribeExecution and ListExecutions show the past, as they may
// in AWS. StartExecution, StopExecution and the history are always current.
func (s *Service) SetLag(describe, list time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.describeLag, s.listLag = describe, list
}

// Lagged counts the descriptions of executions that were not up to date.
func (s *Service) Lagged() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lagged
}

// ShortenTasks makes tasks time out after what draw says, and for 0 after what
// their definition says; nil ends that. As ever, a function works on when its
// task has timed out.
func (s *Service) ShortenTasks(draw func() time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shorten = draw
}

// shortened is a task's time-out, given that of its definition.
func (s *Service) shortened(timeout time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shorten != nil {
		if short := s.shorten(); short > 0 {
			return short
		}
	}
	return timeout
}

// TimedOut counts the tasks that timed out.
func (s *Service) TimedOut() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.timedOut
}

// sleep waits for d, already scaled; with a test's clock that jumps, it also
// notices the jump.
func (s *Service) sleep(ctx context.Context, d time.Duration) error {
	const jumpCheck = 20 * time.Millisecond
	until := s.clock.Now().Add(d)
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

// Create makes a state machine, for the deployer, and returns its ARN. The same
// definition again changes nothing; another one replaces it, and running
// executions go on with the old one, as after UpdateStateMachine.
func (s *Service) Create(name, definition, roleARN string) (string, error) {
	m, err := s.newMachine(name, definition, roleARN)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.machines[m.ARN]; old != nil {
		m.Created = old.Created
	}
	s.machines[m.ARN] = m
	return m.ARN, nil
}

func (s *Service) newMachine(name, definition, roleARN string) (*Machine, error) {
	if !validName(name) {
		return nil, wire.Errorf("InvalidName", "Invalid Name: '%s'", name)
	}
	parsed, err := parseDefinition(definition)
	if err != nil {
		return nil, wire.Errorf("InvalidDefinition", "Invalid State Machine Definition: '%v'", err)
	}
	return &Machine{
		Name: name, ARN: machineARN(s.region, name), Definition: definition, RoleARN: roleARN,
		Created: s.clock.Now(), parsed: parsed,
	}, nil
}

// validName applies the rules for names of state machines and executions.
func validName(name string) bool {
	if n := utf8.RuneCountInString(name); n == 0 || n > 80 || !utf8.ValidString(name) {
		return false
	}
	for _, r := range name {
		if unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("<>{}[]?*\"#%\\^|~`$&,;:/", r) || r == 0xFFFE || r == 0xFFFF {
			return false
		}
	}
	return true
}

// Start starts an execution and returns its ARN. An empty name is replaced by a
// UUID. The same name again is the same execution if it still runs with the same
// input, and ExecutionAlreadyExists otherwise.
func (s *Service) Start(stateMachineARN, name, input string) (executionARN string, err error) {
	e, err := s.start(stateMachineARN, name, input)
	if err != nil {
		return "", err
	}
	return e.arn, nil
}

func (s *Service) start(machine, name, input string) (*execution, error) {
	if err := checkARN(machine, "stateMachine"); err != nil {
		return nil, err
	}
	if name == "" {
		name = newUUID()
	}
	if !validName(name) {
		return nil, wire.Errorf("InvalidName", "Invalid Name: '%s'", name)
	}
	if input == "" {
		input = "{}"
	}
	if len(input) > maxPayload {
		return nil, wire.Errorf("InvalidExecutionInput", "Invalid State Machine Execution Input: 'The input has %d bytes, at most %d are allowed'", len(input), maxPayload)
	}
	data, err := decode([]byte(input))
	if err != nil {
		return nil, wire.Errorf("InvalidExecutionInput", "Invalid State Machine Execution Input: '%v'", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.machines[machine]
	if m == nil || s.closed {
		return nil, noMachine(machine)
	}
	arn := executionARN(s.region, m.Name, name)
	if old := s.executions[arn]; old != nil {
		if old.view().status == running && old.input == input {
			return old, nil
		}
		return nil, wire.Errorf("ExecutionAlreadyExists", "Execution Already Exists: '%s'", arn)
	}
	e := &execution{
		service: s, machine: m, arn: arn, name: name, input: input, inputData: data,
		start: s.clock.Now(), number: len(s.order), status: running, done: make(chan struct{}),
	}
	ctx, cancel := context.WithCancelCause(s.life)
	e.cancel = cancel
	s.executions[arn] = e
	s.order = append(s.order, e)
	s.work.Go(func() {
		defer cancel(nil)
		e.run(ctx)
	})
	return e, nil
}

// Stop aborts an execution and returns when it has ended. One that has ended
// already stays as it is.
func (s *Service) Stop(executionARN, errorName, cause string) (stopped time.Time, err error) {
	if err := checkARN(executionARN, "execution"); err != nil {
		return time.Time{}, err
	}
	e := s.execution(executionARN)
	if e == nil {
		return time.Time{}, noExecution(executionARN)
	}
	e.cancel(&ending{aborted, &failure{name: errorName, cause: cause}})
	<-e.done
	return e.view().stop, nil
}

func (s *Service) execution(arn string) *execution {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.executions[arn]
}

func (s *Service) machine(arn string) *Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machines[arn]
}

// Machines lists the state machines by name.
func (s *Service) Machines() []Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	machines := make([]Machine, 0, len(s.machines))
	for _, m := range s.machines {
		machines = append(machines, *m)
	}
	slices.SortFunc(machines, func(a, b Machine) int { return strings.Compare(a.Name, b.Name) })
	return machines
}

// checkARN refuses what is no ARN of the kind at all, which AWS tells apart from
// one that does not exist.
func checkARN(arn, kind string) error {
	parts := strings.Split(arn, ":")
	if len(parts) < 6 || parts[0] != "arn" || parts[2] != "states" {
		return wire.Errorf("InvalidArn", "Invalid Arn: 'Invalid ARN prefix: %s'", arn)
	}
	if parts[5] != kind {
		return wire.Errorf("InvalidArn", "Invalid Arn: 'Resource type not valid in this context: %s'", parts[5])
	}
	if want := map[string]int{"stateMachine": 7, "execution": 8}[kind]; len(parts) != want {
		return wire.Errorf("InvalidArn", "Invalid Arn: 'Invalid ARN: %s'", arn)
	}
	return nil
}

func noExecution(arn string) error {
	return wire.Errorf("ExecutionDoesNotExist", "Execution Does Not Exist: '%s'", arn)
}

func noMachine(arn string) error {
	return wire.Errorf("StateMachineDoesNotExist", "State Machine Does Not Exist: '%s'", arn)
}
