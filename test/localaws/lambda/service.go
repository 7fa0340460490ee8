package lambda

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"time"

	"cognito-backup/test/localaws/wire"
)

const (
	maxPayload     = 6 << 20 // bytes; Lambda quota for synchronous request and response
	maxEnvironment = 4 << 10 // bytes; Lambda quota for all variables together
	maxTimeout     = 15 * time.Minute
	maxLogLines    = 200_000 // per function; the oldest go first
	initTimeout    = 30 * time.Second
)

// Function is a function as its template declares it.
type Function struct {
	Name        string
	ARN         string
	Region      string
	Role        string // ARN
	Handler     string
	Binary      string // executable on this machine
	Timeout     time.Duration
	MemoryMB    int
	Environment map[string]string
	Reserved    int    // reserved concurrency; negative for none
	LogFormat   string // JSON, or Text when empty
	LogLevel    string // of the application, with JSON
	LogGroup    string // /aws/lambda/<name> when empty
}

// Invocation is one finished invocation, for reports and benchmarks.
type Invocation struct {
	Function  string
	Region    string
	RequestID string
	Start     time.Time
	Duration  time.Duration
	Init      time.Duration // zero for a warm start
	PeakRSS   int64         // bytes; zero where the system does not tell
	ErrorType string        // empty on success
}

// Service runs the functions of all Regions.
type Service struct {
	// Gate refuses invocations in a Region, for example while it is down; nil
	// refuses none. Set before the first invocation.
	Gate func(region string) error

	clock    *wire.Clock
	endpoint string
	stream   io.Writer

	mu          sync.Mutex
	functions   map[string]*function // by ARN
	byKey       map[string]*function // by access key
	byToken     map[string]*process  // by session token
	invocations []Invocation
	closed      bool
}

// function is a Function with its processes and logs.
type function struct {
	Function
	accessKey string

	mu        sync.Mutex
	idle      []*process
	processes map[*process]bool
	running   int // invocations in progress
	logs      []string
}

// New makes a service without functions. Processes reach AWS at endpoint; what
// they print also goes to stream unless that is nil.
func New(endpoint string, clock *wire.Clock, stream io.Writer) *Service {
	return &Service{
		clock: clock, endpoint: endpoint, stream: stream,
		functions: map[string]*function{}, byKey: map[string]*function{}, byToken: map[string]*process{},
	}
}

// Create adds a function.
func (s *Service) Create(f Function) error {
	if f.Timeout <= 0 || f.Timeout > maxTimeout {
		return fmt.Errorf("timeout of %s is not between 1 and 900 seconds", f.Timeout)
	}
	if f.MemoryMB < 128 || f.MemoryMB > 10240 {
		return fmt.Errorf("memory size of %d MB is not between 128 and 10240", f.MemoryMB)
	}
	size := 0
	for k, v := range f.Environment {
		size += len(k) + len(v)
		if reserved[k] {
			return fmt.Errorf("the environment sets %s, which Lambda reserves", k)
		}
	}
	if size > maxEnvironment {
		return fmt.Errorf("the environment variables take %d bytes; Lambda allows %d", size, maxEnvironment)
	}
	fn := &function{Function: f, accessKey: "ASIA" + strings.ToUpper(random(8)), processes: map[*process]bool{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.functions[f.ARN] != nil {
		return fmt.Errorf("function %s exists already", f.Name)
	}
	s.functions[f.ARN] = fn
	s.byKey[fn.accessKey] = fn
	return nil
}

// reserved are the variables that a function's configuration cannot set.
var reserved = map[string]bool{
	"_HANDLER": true, "_X_AMZN_TRACE_ID": true, "AWS_DEFAULT_REGION": true, "AWS_REGION": true, "AWS_EXECUTION_ENV": true,
	"AWS_LAMBDA_FUNCTION_NAME": true, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": true, "AWS_LAMBDA_FUNCTION_VERSION": true,
	"AWS_LAMBDA_INITIALIZATION_TYPE": true, "AWS_LAMBDA_LOG_GROUP_NAME": true, "AWS_LAMBDA_LOG_STREAM_NAME": true,
	"AWS_ACCESS_KEY": true, "AWS_ACCESS_KEY_ID": true, "AWS_SECRET_ACCESS_KEY": true, "AWS_SESSION_TOKEN": true,
	"AWS_LAMBDA_RUNTIME_API": true, "LAMBDA_TASK_ROOT": true, "LAMBDA_RUNTIME_DIR": true,
}

// Principal is the function that owns the access key.
func (s *Service) Principal(accessKey string) (wire.Principal, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.byKey[accessKey]
	if !ok {
		return wire.Principal{}, false
	}
	return wire.Principal{Role: f.Role, Name: f.Name}, true
}

// PrincipalOf is the function that owns the process whose requests carry the
// session token.
func (s *Service) PrincipalOf(sessionToken string) (wire.Principal, bool) {
	p := s.process(sessionToken)
	if p == nil {
		return wire.Principal{}, false
	}
	return wire.Principal{Role: p.f.Role, Name: p.f.Name}, true
}

// RegionOf is the Region of the process whose requests carry the session token,
// "" when there is none.
func (s *Service) RegionOf(sessionToken string) string {
	if p := s.process(sessionToken); p != nil {
		return p.f.Region
	}
	return ""
}

// Invoke runs the function and waits for its answer, as the API's synchronous
// Invoke does. functionError is empty on success and "Unhandled" when the
// function failed; result then holds errorMessage and errorType. When ctx ends
// first, Invoke returns and the function runs on.
func (s *Service) Invoke(ctx context.Context, functionARN string, _ wire.Principal, payload []byte) (result []byte, functionError string, err error) {
	s.mu.Lock()
	f, closed := s.functions[strings.TrimSuffix(functionARN, ":$LATEST")], s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return nil, "", &wire.Error{Code: "ServiceException", Message: "the testbed is shutting down", Status: 500}
	case f == nil:
		return nil, "", &wire.Error{Code: "ResourceNotFoundException", Message: "Function not found: " + functionARN, Status: 404}
	case len(payload) > maxPayload:
		return nil, "", &wire.Error{Code: "RequestTooLargeException", Message: fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", maxPayload), Status: 413}
	}
	if s.Gate != nil {
		if err := s.Gate(f.Region); err != nil {
			return nil, "", err
		}
	}
	inv := &invocation{id: requestID(), payload: payload, done: make(chan struct{})}
	if err := s.dispatch(f, inv); err != nil {
		return nil, "", err
	}
	select {
	case <-inv.done:
		return inv.result, inv.functionError, nil
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
}

// InvokeAsync queues an event for the function, which is retried twice when it
// fails, after one minute and then two, as Lambda does. The error is about the
// queueing only.
func (s *Service) InvokeAsync(ctx context.Context, functionARN string, principal wire.Principal, payload []byte) error {
	s.mu.Lock()
	known := s.functions[functionARN] != nil
	s.mu.Unlock()
	if !known {
		return &wire.Error{Code: "ResourceNotFoundException", Message: "Function not found: " + functionARN, Status: 404}
	}
	go func() {
		for attempt := range 3 {
			if attempt > 0 {
				select {
				case <-time.After(s.clock.Scale(time.Duration(attempt) * time.Minute)):
				case <-ctx.Done():
					return
				}
			}
			_, functionError, err := s.Invoke(ctx, functionARN, principal, payload)
			if err == nil && functionError == "" {
				return
			}
		}
	}()
	return nil
}

// dispatch hands the invocation to an idle process or starts one.
func (s *Service) dispatch(f *function, inv *invocation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Reserved >= 0 && f.running >= f.Reserved {
		return &wire.Error{Code: "TooManyRequestsException", Message: "Rate Exceeded.", Status: 429}
	}
	f.running++
	for len(f.idle) > 0 {
		p := f.idle[len(f.idle)-1]
		f.idle = f.idle[:len(f.idle)-1]
		if p.accept(inv, true) {
			return nil
		}
	}
	p, err := s.start(f)
	if err != nil {
		f.running--
		return &wire.Error{Code: "ServiceException", Message: err.Error(), Status: 500}
	}
	f.processes[p] = true
	if !p.accept(inv, false) {
		inv.finish(failure("Runtime.ExitError", inv.id, "Runtime exited before it took the event"))
		f.running--
	}
	return nil
}

// Kill ends every running process of the named function at once, in the middle
// of what it does, and reports how many it ended. Idle processes stay.
func (s *Service) Kill(name string) int {
	killed := 0
	for _, f := range s.named(name) {
		for _, p := range f.snapshot() {
			if p.busy() {
				p.kill()
				killed++
			}
		}
	}
	return killed
}

// Alive says whether a process runs, and has not been killed, whose requests
// carry the session token.
func (s *Service) Alive(sessionToken string) bool {
	p := s.process(sessionToken)
	return p != nil && p.alive()
}

// KillProcess ends the process whose requests carry the session token, and
// reports whether it was alive.
func (s *Service) KillProcess(sessionToken string) bool {
	p := s.process(sessionToken)
	return p != nil && p.kill()
}

func (s *Service) process(sessionToken string) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byToken[sessionToken]
}

// KillRegion ends every process in a Region, idle ones too.
func (s *Service) KillRegion(region string) {
	for _, f := range s.named("") {
		if f.Region == region {
			for _, p := range f.snapshot() {
				p.kill()
			}
		}
	}
}

// Recycle ends all idle processes, so that the next invocations start cold.
func (s *Service) Recycle() {
	for _, f := range s.named("") {
		for _, p := range f.snapshot() {
			if !p.busy() {
				p.kill()
			}
		}
	}
}

// Running reports how many invocations of the named function are in progress.
func (s *Service) Running(name string) int {
	n := 0
	for _, f := range s.named(name) {
		f.mu.Lock()
		n += f.running
		f.mu.Unlock()
	}
	return n
}

// Logs are the lines that the named function printed, in all Regions.
func (s *Service) Logs(name string) []string {
	var lines []string
	for _, f := range s.named(name) {
		f.mu.Lock()
		lines = append(lines, f.logs...)
		f.mu.Unlock()
	}
	return lines
}

// Functions lists all functions in order of ARN.
func (s *Service) Functions() []Function {
	var list []Function
	for _, f := range s.named("") {
		list = append(list, f.Function)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].ARN < list[j].ARN })
	return list
}

// Invocations lists the finished invocations, oldest first.
func (s *Service) Invocations() []Invocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Invocation(nil), s.invocations...)
}

// Close ends all processes.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	var all []*process
	for _, f := range s.named("") {
		for _, p := range f.snapshot() {
			p.kill()
			all = append(all, p)
		}
	}
	for _, p := range all {
		<-p.exited
	}
}

// named lists the functions of that name or ARN, all for "".
func (s *Service) named(name string) []*function {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*function
	for _, f := range s.functions {
		if name == "" || f.Name == name || f.ARN == name {
			list = append(list, f)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].ARN < list[j].ARN })
	return list
}

func (f *function) snapshot() []*process {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*process, 0, len(f.processes))
	for p := range f.processes {
		list = append(list, p)
	}
	return list
}

// invocation is one event on its way through a process.
type invocation struct {
	id      string
	payload []byte
	start   time.Time

	once          sync.Once
	result        []byte
	functionError string
	done          chan struct{}
}

// finish records the outcome; the first one counts.
func (i *invocation) finish(o outcome) bool {
	first := false
	i.once.Do(func() {
		first = true
		i.result = o.result
		if o.errorType != "" {
			i.functionError = "Unhandled"
		}
		close(i.done)
	})
	return first
}

// outcome is how an invocation ended.
type outcome struct {
	result    []byte
	errorType string
}

func failure(errorType, id, message string) outcome {
	b, _ := json.Marshal(map[string]string{"errorType": errorType, "errorMessage": fmt.Sprintf("RequestId: %s Error: %s", id, message)})
	return outcome{result: b, errorType: errorType}
}

func random(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func requestID() string {
	h := random(16)
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}
