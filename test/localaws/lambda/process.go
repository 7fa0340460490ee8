package lambda

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// memoryCheck is how often a running function's memory is compared with its
// MemorySize.
const memoryCheck = 250 * time.Millisecond

// nextPatience is how long a caller waits for a process that has answered to
// ask for its next event.
const nextPatience = 500 * time.Millisecond

// process is one execution environment: an operating system process and its
// own Runtime API.
type process struct {
	service *Service
	f       *function
	cmd     *exec.Cmd
	server  *http.Server
	token   string
	started time.Time
	out     *logWriter
	err     *logWriter
	work    chan *invocation // at most one waits
	exited  chan struct{}

	mu       sync.Mutex
	current  *invocation
	answered func()        // tells the caller; nil when nothing is to be told
	init     time.Duration // of the first invocation
	killed   bool          // though it may not be dead yet
	dead     bool
	reason   string // why it was killed, empty if it was not
	exitType string
}

// start launches a process for f. The caller holds f.mu.
func (s *Service) start(f *function) (*process, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start function %s: %w", f.Name, err)
	}
	p := &process{service: s, f: f, token: random(24), started: time.Now(), work: make(chan *invocation, 1), exited: make(chan struct{})}
	p.cmd = exec.Command(f.Binary)
	p.cmd.Dir = filepath.Dir(f.Binary)
	p.cmd.Env = s.environment(f, p.token, listener.Addr().String())
	p.out, p.err = &logWriter{s: s, f: f}, &logWriter{s: s, f: f}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	p.cmd.SysProcAttr = ownGroup()
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		listener.Close()
		return nil, fmt.Errorf("start function %s: %w", f.Name, err)
	}
	p.server = &http.Server{Handler: p.runtimeAPI()}
	go p.server.Serve(listener)
	s.mu.Lock()
	s.byToken[p.token] = p
	s.mu.Unlock()
	go p.wait()
	return p, nil
}

// environment is what a function's process sees: nothing of this machine but
// what Lambda would set and the template declares.
func (s *Service) environment(f *function, token, runtimeAPI string) []string {
	env := []string{
		"AWS_LAMBDA_RUNTIME_API=" + runtimeAPI,
		"AWS_ENDPOINT_URL=" + s.endpoint,
		"AWS_REGION=" + f.Region,
		"AWS_DEFAULT_REGION=" + f.Region,
		"AWS_ACCESS_KEY_ID=" + f.accessKey,
		"AWS_SECRET_ACCESS_KEY=" + strings.Repeat("local", 8),
		"AWS_SESSION_TOKEN=" + token,
		"AWS_LAMBDA_FUNCTION_NAME=" + f.Name,
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(f.MemoryMB),
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=" + cmp.Or(f.LogGroup, "/aws/lambda/"+f.Name),
		"AWS_LAMBDA_LOG_FORMAT=" + cmp.Or(f.LogFormat, "Text"),
		"AWS_LAMBDA_LOG_STREAM_NAME=" + token[:32],
		"AWS_EXECUTION_ENV=AWS_Lambda_provided.al2023",
		"LAMBDA_TASK_ROOT=" + filepath.Dir(f.Binary),
		"_HANDLER=" + f.Handler,
		"TZ=:UTC",
		"LANG=en_US.UTF-8",
		"PATH=/usr/local/bin:/usr/bin:/bin",
	}
	if f.LogLevel != "" {
		env = append(env, "AWS_LAMBDA_LOG_LEVEL="+f.LogLevel)
	}
	for k, v := range f.Environment {
		env = append(env, k+"="+v)
	}
	return env
}

// accept gives the process an invocation; false if the process is gone.
func (p *process) accept(inv *invocation, frozen bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return false
	}
	p.current = inv
	if frozen {
		p.signal(syscall.SIGCONT)
	}
	p.work <- inv
	if !frozen {
		// The time-out of a cold start begins when the process takes the
		// event; until then the limit of the init phase applies.
		time.AfterFunc(initTimeout, func() {
			p.killIf(inv, func() bool { return inv.start.IsZero() }, "Sandbox.Timedout", fmt.Sprintf("Task timed out after %.2f seconds", initTimeout.Seconds()))
		})
	}
	return true
}

func (p *process) busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current != nil && !p.dead
}

// runtimeAPI serves https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html.
func (p *process) runtimeAPI() http.Handler {
	const root = "/2018-06-01/runtime/"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+root+"invocation/next", p.next)
	mux.HandleFunc("POST "+root+"invocation/{id}/response", p.response)
	mux.HandleFunc("POST "+root+"invocation/{id}/error", p.invocationError)
	mux.HandleFunc("POST "+root+"init/error", p.initError)
	return mux
}

func (p *process) next(w http.ResponseWriter, r *http.Request) {
	frozen := p.freeze()
	p.tell()
	var inv *invocation
	select {
	case inv = <-p.work:
	case <-p.exited:
		return
	}
	if !frozen { // the event for which the process was started
		p.mu.Lock()
		p.init = time.Since(p.started)
		p.mu.Unlock()
	}
	resetPeak(p.cmd.Process.Pid)
	p.mu.Lock()
	inv.start = time.Now()
	p.mu.Unlock()
	go p.watch(inv)
	p.platform(fmt.Sprintf("START RequestId: %s Version: $LATEST", inv.id))
	h := w.Header()
	h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.start.Add(p.f.Timeout).UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", p.f.ARN)
	h.Set("Lambda-Runtime-Trace-Id", fmt.Sprintf("Root=1-%08x-%s;Parent=%s;Sampled=0", inv.start.Unix(), random(12), random(8)))
	h.Set("Content-Type", "application/json")
	w.Write(inv.payload)
}

// freeze stops the process, which waits for its next event, and offers it for
// reuse, unless it has that event already: one that is just started may ask for
// it before it is there, and gets it while it waits here for whoever starts it.
func (p *process) freeze() bool {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead || p.current != nil {
		return false
	}
	p.signal(syscall.SIGSTOP)
	p.f.idle = append(p.f.idle, p)
	return true
}

// watch enforces Timeout and MemorySize on one invocation.
func (p *process) watch(inv *invocation) {
	timeout := time.NewTimer(p.f.Timeout)
	defer timeout.Stop()
	memory := time.NewTicker(memoryCheck)
	defer memory.Stop()
	for {
		select {
		case <-inv.done:
			return
		case <-timeout.C:
			p.killIf(inv, always, "Sandbox.Timedout", fmt.Sprintf("Task timed out after %.2f seconds", p.f.Timeout.Seconds()))
			return
		case <-memory.C:
			if rss := currentRSS(p.cmd.Process.Pid); rss > int64(p.f.MemoryMB)<<20 {
				p.killIf(inv, always, "Runtime.ExitError", fmt.Sprintf("Runtime exited with error: signal: killed (Memory Size: %d MB Max Memory Used: %d MB)", p.f.MemoryMB, rss>>20))
				return
			}
		}
	}
}

func (p *process) response(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPayload+1))
	if err != nil {
		return // the process died while it answered
	}
	if len(body) > maxPayload {
		p.complete(r.PathValue("id"), outcome{errorType: "Function.ResponseSizeTooLarge",
			result: mustJSON(map[string]string{"errorType": "Function.ResponseSizeTooLarge",
				"errorMessage": fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", maxPayload)})})
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	p.answer(w, p.complete(r.PathValue("id"), outcome{result: body}))
}

func (p *process) invocationError(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPayload))
	if err != nil {
		return
	}
	p.answer(w, p.complete(r.PathValue("id"), outcome{result: body, errorType: errorType(r, body)}))
}

func (p *process) initError(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPayload))
	if err != nil {
		return
	}
	p.mu.Lock()
	inv := p.current
	p.mu.Unlock()
	if inv != nil {
		p.complete(inv.id, outcome{result: body, errorType: errorType(r, body)})
	}
	p.answer(w, true)
}

// errorType is what the function calls its error.
func errorType(r *http.Request, body []byte) string {
	var e struct{ ErrorType string }
	if json.Unmarshal(body, &e) == nil && e.ErrorType != "" {
		return e.ErrorType
	}
	if t := r.Header.Get("Lambda-Runtime-Function-Error-Type"); t != "" {
		return t
	}
	return "Unhandled"
}

func (p *process) answer(w http.ResponseWriter, known bool) {
	w.Header().Set("Content-Type", "application/json")
	if !known {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"errorType":"InvalidRequestID","errorMessage":"Invalid request ID"}`)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	io.WriteString(w, `{"status":"OK"}`)
}

// complete ends the current invocation if it has this id.
func (p *process) complete(id string, o outcome) bool {
	p.mu.Lock()
	inv := p.current
	if inv == nil || inv.id != id {
		p.mu.Unlock()
		return false
	}
	p.current = nil
	init := p.init
	p.init = 0
	p.mu.Unlock()

	peak := peakRSS(p.cmd.Process.Pid)
	duration := time.Since(inv.start)
	p.mu.Lock()
	p.answered = sync.OnceFunc(func() { p.record(inv, o, init, duration, peak) })
	told := p.answered
	p.mu.Unlock()
	time.AfterFunc(nextPatience, told)
	return true
}

// tell hands the answer to the caller, if there is one. As in Lambda, the
// invocation ends when the runtime asks for the next event.
func (p *process) tell() {
	p.mu.Lock()
	told := p.answered
	p.answered = nil
	p.mu.Unlock()
	if told != nil {
		told()
	}
}

// began is when the process took the invocation, or was started for it.
func (p *process) began(inv *invocation) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if inv.start.IsZero() {
		return p.started
	}
	return inv.start
}

// record books a finished invocation and tells its caller.
func (p *process) record(inv *invocation, o outcome, init, duration time.Duration, peak int64) {
	start := p.began(inv)
	p.platform(fmt.Sprintf("END RequestId: %s", inv.id))
	p.platform(fmt.Sprintf("REPORT RequestId: %s\tDuration: %.2f ms\tMemory Size: %d MB\tMax Memory Used: %d MB", inv.id, float64(duration.Microseconds())/1000, p.f.MemoryMB, peak>>20))
	p.f.mu.Lock()
	p.f.running--
	p.f.mu.Unlock()
	p.service.mu.Lock()
	p.service.invocations = append(p.service.invocations, Invocation{
		Function: p.f.Name, Region: p.f.Region, RequestID: inv.id, Start: start, Duration: duration, Init: init, PeakRSS: peak, ErrorType: o.errorType,
	})
	p.service.mu.Unlock()
	inv.finish(o)
}

// platform writes Lambda's own line about an invocation, in the text format;
// with JSON, the templates ask for warnings only.
func (p *process) platform(line string) {
	if p.f.LogFormat != "JSON" {
		p.f.log(p.service, line)
	}
}

// kill ends the process and everything it started, and reports whether it was
// alive.
func (p *process) kill() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead || p.killed {
		return false
	}
	p.killed = true
	p.signal(syscall.SIGKILL)
	return true
}

func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead && !p.killed
}

// killIf ends the process if it still works on inv and the condition holds;
// inv then fails with the given error.
func (p *process) killIf(inv *invocation, condition func() bool, errorType, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead || p.current != inv || !condition() {
		return
	}
	p.exitType, p.reason = errorType, reason
	p.killed = true
	p.signal(syscall.SIGKILL)
}

func always() bool { return true }

// signal reaches the process and its children, which share its group.
func (p *process) signal(s syscall.Signal) {
	syscall.Kill(-p.cmd.Process.Pid, s)
}

// wait reaps the process and fails the invocation it was working on.
func (p *process) wait() {
	err := p.cmd.Wait()
	p.mu.Lock()
	p.dead = true
	inv := p.current
	p.current = nil
	exitType, reason := p.exitType, p.reason
	p.mu.Unlock()
	p.out.flush()
	p.err.flush()
	close(p.exited)
	p.server.Close()

	p.f.mu.Lock()
	delete(p.f.processes, p)
	for i, idle := range p.f.idle {
		if idle == p {
			p.f.idle = append(p.f.idle[:i], p.f.idle[i+1:]...)
			break
		}
	}
	p.f.mu.Unlock()
	p.service.mu.Lock()
	delete(p.service.byToken, p.token)
	p.service.mu.Unlock()

	p.tell()
	if inv == nil {
		return
	}
	if reason == "" {
		exitType, reason = "Runtime.ExitError", "Runtime exited without providing a reason"
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			reason = "Runtime exited with error: " + exit.ProcessState.String()
		}
	}
	p.f.log(p.service, fmt.Sprintf("RequestId: %s Error: %s", inv.id, reason))
	p.record(inv, failure(exitType, inv.id, reason), 0, time.Since(p.began(inv)), 0)
}

// logWriter turns one output stream of a process into log lines. Only the
// goroutine that copies the stream uses it, and flush after that has ended.
type logWriter struct {
	s       *Service
	f       *function
	partial string // line without its end so far
}

func (w *logWriter) Write(b []byte) (int, error) {
	lines := strings.Split(w.partial+string(b), "\n")
	w.partial = lines[len(lines)-1]
	for _, line := range lines[:len(lines)-1] {
		w.f.log(w.s, line)
	}
	return len(b), nil
}

// flush logs a last line that has no end.
func (w *logWriter) flush() {
	if w.partial != "" {
		w.f.log(w.s, w.partial)
		w.partial = ""
	}
}

func (f *function) log(s *Service, line string) {
	f.mu.Lock()
	if len(f.logs) >= maxLogLines {
		f.logs = append(f.logs[:0:0], f.logs[maxLogLines/4:]...)
	}
	f.logs = append(f.logs, line)
	f.mu.Unlock()
	if s.stream != nil {
		fmt.Fprintf(s.stream, "%s %s: %s\n", f.Region, f.Name, line)
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
