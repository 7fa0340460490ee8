package lambda

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cognito-backup/test/localaws/wire"
)

// answer is what the probe function returns, or its error.
type answer struct {
	Text         string
	PID          int
	RequestID    string
	Left         float64
	Calls        int
	ErrorType    string
	ErrorMessage string
}

const arn = "arn:aws:lambda:eu-west-1:123456789012:function:T-probe"

// newService runs the probe function, changed by change.
func newService(t *testing.T, change func(*Function)) *Service {
	t.Helper()
	cache, err := filepath.Abs("../../../.build/localaws-test")
	if err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Abs("../testdata")
	if err != nil {
		t.Fatal(err)
	}
	builder := Builder{Source: source, Cache: cache, Dir: t.TempDir()}
	binaries, err := builder.Build(t.Context(), []Target{{Handler: "probe", Architecture: "other"}})
	if err != nil {
		t.Fatal(err)
	}
	f := Function{Name: "T-probe", ARN: arn, Region: "eu-west-1", Role: "arn:aws:iam::123456789012:role/probe", Handler: "probe",
		Binary: binaries["probe"], Timeout: time.Second, MemoryMB: 128, Reserved: -1, Environment: map[string]string{"TABLE_NAME": "T"}}
	if change != nil {
		change(&f)
	}
	s := New("http://127.0.0.1:9", &wire.Clock{Factor: 1000}, nil)
	t.Cleanup(s.Close)
	if err := s.Create(f); err != nil {
		t.Fatal(err)
	}
	return s
}

func invoke(t *testing.T, s *Service, event string) answer {
	t.Helper()
	result, functionError, err := s.Invoke(t.Context(), arn, wire.Principal{}, []byte(event))
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(result, &a); err != nil {
		t.Fatalf("%s: %v", result, err)
	}
	if (functionError != "") != (a.ErrorType != "") {
		t.Errorf("function error %q with %s", functionError, result)
	}
	return a
}

func TestInvoke(t *testing.T) {
	t.Parallel()
	s := newService(t, nil)
	first := invoke(t, s, `{"Do":"echo","Text":"hello"}`)
	if first.Text != "hello" || first.Left < 0.5 || first.Left > 1 || len(first.RequestID) != 36 {
		t.Errorf("answer %+v", first)
	}
	second := invoke(t, s, `{"Do":"echo"}`)
	if second.PID != first.PID || second.Calls != 2 || second.RequestID == first.RequestID {
		t.Errorf("not reused: %+v after %+v", second, first)
	}
	if logs := strings.Join(s.Logs("T-probe"), "\n"); !strings.Contains(logs, "START RequestId: "+first.RequestID) || !strings.Contains(logs, "probe echo") || !strings.Contains(logs, "REPORT RequestId: "+second.RequestID) {
		t.Errorf("logs: %s", logs)
	}
	list := s.Invocations()
	if len(list) != 2 || list[0].Init == 0 || list[1].Init != 0 {
		t.Errorf("invocations %+v", list)
	}
	if runtime.GOOS == "linux" && list[1].PeakRSS < 1<<20 {
		t.Errorf("peak memory %d", list[1].PeakRSS)
	}
}

// TestEventWhileFreezing: a process that asked for its event before it was there,
// as on a machine with much to do, is not stopped with it.
func TestEventWhileFreezing(t *testing.T) {
	f := &function{processes: map[*process]bool{}}
	p := &process{f: f, work: make(chan *invocation, 1), exited: make(chan struct{})}
	if !p.accept(&invocation{id: "1", start: time.Now()}, false) {
		t.Fatal("the event was not taken")
	}
	if p.freeze() || len(f.idle) > 0 {
		t.Error("stopped with an event")
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("LEAKED", "from the testbed")
	t.Setenv("GOMEMLIMIT", "1GiB")
	s := newService(t, func(f *Function) { f.LogFormat = "JSON" })
	env := map[string]string{}
	for line := range strings.Lines(invoke(t, s, `{"Do":"environment"}`).Text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[name] = value
	}
	for name, want := range map[string]string{
		"TABLE_NAME": "T", "AWS_REGION": "eu-west-1", "AWS_LAMBDA_FUNCTION_NAME": "T-probe", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
		"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_LAMBDA_LOG_FORMAT": "JSON", "LEAKED": "", "GOMEMLIMIT": "", "HOME": "",
	} {
		if env[name] != want {
			t.Errorf("%s = %q, want %q", name, env[name], want)
		}
	}
	p, ok := s.Principal(env["AWS_ACCESS_KEY_ID"])
	if !ok || p.Role != "arn:aws:iam::123456789012:role/probe" || p.Name != "T-probe" {
		t.Errorf("principal of its key: %+v", p)
	}
	if _, ok := s.Principal("somebody"); ok {
		t.Error("an unknown key has a principal")
	}
}

func TestFrozenBetweenInvocations(t *testing.T) {
	t.Parallel()
	s := newService(t, nil)
	ticks := func() int {
		n, err := strconv.Atoi(invoke(t, s, `{"Do":"ticks"}`).Text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := ticks()
	time.Sleep(500 * time.Millisecond) // 50 ticks of a process that runs
	if after := ticks(); after-before > 15 {
		t.Errorf("%d ticks between two invocations", after-before)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, event, errorType, message string }{
		{"error type by name", `{"Do":"fail","Text":"no"}`, "SpecialError", "no"},
		{"exit", `{"Do":"exit"}`, "Runtime.ExitError", "exit status 3"},
		{"time-out", `{"Do":"sleep","Seconds":60}`, "Sandbox.Timedout", "Task timed out after 1.00 seconds"},
		{"too large", `{"Do":"large","Size":7000000}`, "Function.ResponseSizeTooLarge", "exceeded maximum allowed payload size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, nil)
			a := invoke(t, s, c.event)
			if a.ErrorType != c.errorType || !strings.Contains(a.ErrorMessage, c.message) {
				t.Errorf("answer %+v", a)
			}
			if a := invoke(t, s, `{"Do":"echo","Text":"again"}`); a.Text != "again" {
				t.Errorf("the next invocation: %+v", a)
			}
		})
	}
	t.Run("panic", func(t *testing.T) {
		if a := invoke(t, newService(t, nil), `{"Do":"panic","Text":"oh"}`); a.ErrorType == "" || !strings.Contains(a.ErrorMessage, "oh") {
			t.Errorf("answer %+v", a)
		}
	})
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		if runtime.GOOS != "linux" {
			t.Skip("memory can be read on Linux only")
		}
		s := newService(t, func(f *Function) { f.Timeout = 10 * time.Second })
		if a := invoke(t, s, `{"Do":"memory","Size":200000000}`); a.ErrorType != "Runtime.ExitError" || !strings.Contains(a.ErrorMessage, "Memory Size: 128 MB") {
			t.Errorf("answer %+v", a)
		}
	})
	t.Run("unknown function", func(t *testing.T) {
		_, _, err := newService(t, nil).Invoke(t.Context(), arn+"2", wire.Principal{}, []byte("{}"))
		if e, ok := err.(*wire.Error); !ok || e.Code != "ResourceNotFoundException" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("binary that is none", func(t *testing.T) {
		s := newService(t, func(f *Function) { f.Binary = filepath.Join(t.TempDir(), "none") })
		_, _, err := s.Invoke(t.Context(), arn, wire.Principal{}, []byte("{}"))
		if e, ok := err.(*wire.Error); !ok || e.Code != "ServiceException" {
			t.Errorf("error %v", err)
		}
	})
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	s := newService(t, func(f *Function) { f.Reserved = 2; f.Timeout = 5 * time.Second })
	var work sync.WaitGroup
	pids := make([]int, 2)
	for i := range pids {
		work.Go(func() { pids[i] = invoke(t, s, `{"Do":"sleep","Seconds":0.5}`).PID })
	}
	for s.Running("T-probe") < 2 {
		time.Sleep(5 * time.Millisecond)
	}
	_, _, err := s.Invoke(t.Context(), arn, wire.Principal{}, []byte("{}"))
	if e, ok := err.(*wire.Error); !ok || e.Code != "TooManyRequestsException" {
		t.Errorf("a third invocation of two reserved: %v", err)
	}
	work.Wait()
	if pids[0] == pids[1] {
		t.Error("one process served two invocations at once")
	}
	if s.Running("T-probe") != 0 {
		t.Errorf("%d still running", s.Running("T-probe"))
	}
}

func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	s := newService(t, func(f *Function) { f.Timeout = 5 * time.Second })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := s.Invoke(ctx, arn, wire.Principal{}, []byte(`{"Do":"sleep","Seconds":0.6}`)); err == nil {
		t.Fatal("no error")
	}
	if s.Running("T-probe") != 1 {
		t.Error("the function was stopped with its caller")
	}
	for s.Running("T-probe") > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if list := s.Invocations(); len(list) != 1 || list[0].ErrorType != "" {
		t.Errorf("invocations %+v", list)
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	s := newService(t, func(f *Function) { f.Timeout = 10 * time.Second })
	if n := s.Kill("T-probe"); n != 0 {
		t.Errorf("killed %d of none", n)
	}
	go func() {
		for s.Kill("T-probe") == 0 {
			time.Sleep(20 * time.Millisecond)
		}
	}()
	if a := invoke(t, s, `{"Do":"sleep","Seconds":9}`); a.ErrorType != "Runtime.ExitError" || !strings.Contains(a.ErrorMessage, "signal: killed") {
		t.Errorf("answer %+v", a)
	}
}

func TestAsyncRetries(t *testing.T) {
	t.Parallel()
	s := newService(t, nil)
	if err := s.InvokeAsync(t.Context(), arn, wire.Principal{}, []byte(`{"Do":"fail"}`)); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); len(s.Invocations()) < 3; time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("%d attempts", len(s.Invocations()))
		}
	}
	if err := s.InvokeAsync(t.Context(), arn+"2", wire.Principal{}, nil); err == nil {
		t.Error("no error for a function that does not exist")
	}
}

func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	s := newService(t, nil)
	pid := invoke(t, s, `{"Do":"echo"}`).PID
	s.Close()
	if p, err := os.FindProcess(pid); err == nil && runtime.GOOS == "linux" {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", p.Pid)); err == nil {
			t.Errorf("process %d still exists", pid)
		}
	}
	if _, _, err := s.Invoke(t.Context(), arn, wire.Principal{}, nil); err == nil {
		t.Error("invoked after Close")
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Function){
		"time-out":          func(f *Function) { f.Timeout = time.Hour },
		"memory":            func(f *Function) { f.MemoryMB = 64 },
		"reserved variable": func(f *Function) { f.Environment = map[string]string{"AWS_REGION": "x"} },
		"large environment": func(f *Function) { f.Environment = map[string]string{"X": strings.Repeat("x", 5000)} },
	} {
		f := Function{Name: "f", ARN: "f", Timeout: time.Second, MemoryMB: 128}
		change(&f)
		if err := New("", nil, nil).Create(f); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
