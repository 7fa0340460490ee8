package sim

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/export"
	"cognito-backup/internal/pool"
	"cognito-backup/internal/restore"
	"cognito-backup/internal/step"
	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/localaws/stepfunctions"
	"cognito-backup/test/localaws/wire"
)

// Definitions are the state machines' definitions by workflow, as they were
// synthesized.
type Definitions map[string]string

// ReadDefinitions reads the state machines of the primary stack of a cloud
// assembly. Functions stand in them by their names.
func ReadDefinitions(assembly string) (Definitions, error) {
	a, err := cloudformation.Open(assembly)
	if err != nil {
		return nil, err
	}
	stack, err := a.Stack("Primary")
	if err != nil {
		return nil, err
	}
	definitions := Definitions{}
	for _, r := range stack.Template.Resources {
		if r.Type != "AWS::StepFunctions::StateMachine" {
			continue
		}
		name, _ := r.Properties["StateMachineName"].(string)
		definitions[name[strings.LastIndexByte(name, '-')+1:]], err = text(stack.Template, r.Properties["DefinitionString"])
		if err != nil {
			return nil, fmt.Errorf("definition of %s: %w", name, err)
		}
	}
	return definitions, nil
}

// text joins a definition and puts names in the place of functions' ARNs.
func text(t *cloudformation.Template, v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case map[string]any:
		if join, ok := v["Fn::Join"].([]any); ok && len(join) == 2 && join[0] == "" {
			var b strings.Builder
			parts, _ := join[1].([]any)
			for _, part := range parts {
				s, err := text(t, part)
				if err != nil {
					return "", err
				}
				b.WriteString(s)
			}
			return b.String(), nil
		}
		if get, ok := v["Fn::GetAtt"].([]any); ok {
			if f := t.Resources[get[0].(string)]; f != nil && f.Type == "AWS::Lambda::Function" {
				name, _ := f.Properties["FunctionName"].(string)
				return "arn:aws:lambda:" + Region + ":" + wire.Account + ":function:" + name, nil
			}
		}
	}
	return "", fmt.Errorf("%v is nothing that stands for a function", v)
}

// Deployment is how the functions are set up.
type Deployment struct {
	PoolID string // source
	TPS    int    // CognitoTPS
	Shards int    // of export-users
	Slice  time.Duration
}

// handler is a function as its state machine calls it.
type handler func(context.Context, step.Event) (step.Run, error)

// functions are the functions by name, as their main packages build them. Each
// has limits of its own, because each is a process of its own.
type functions struct {
	cloud    *Cloud
	d        Deployment
	handlers map[string]handler
	err      error

	mu     sync.Mutex
	billed map[string]Billed
}

// Billed is what Lambda bills for a function.
type Billed struct {
	Invocations int
	Duration    time.Duration
}

func (c *Cloud) functions(d Deployment) (*functions, error) {
	f := &functions{cloud: c, d: d, handlers: map[string]handler{}, billed: map[string]Billed{}}
	store := &backup.Store{Table: c.Table}
	source := func() (export.Source, *Client) {
		limits, client := f.client()
		return export.Source{UserPoolID: d.PoolID, Store: store, Limits: limits}, client
	}
	metrics := &step.Metrics{StackPrefix: "CognitoBackup", Out: io.Discard, Now: time.Now}

	// Stands in for the lease, whose calls are no part of the simulation.
	f.handlers["check-state-machine"] = func(context.Context, step.Event) (step.Run, error) {
		return step.Run{RunID: step.FormatTime(time.Now())}, nil
	}
	f.handlers["send-message"] = func(_ context.Context, e step.Event) (step.Run, error) { return e.Run, nil }

	s, client := source()
	f.step("check-user-pool-config", &export.Configuration{Source: s, API: client, TPS: d.TPS, Slice: d.Slice})
	s, client = source()
	f.step("export-users", &export.Users{Source: s, API: client, Shards: d.Shards})
	s, client = source()
	f.step("list-groups", &export.Groups{Source: s, API: client})
	s, client = source()
	f.step("export-group-members", &export.Memberships{Source: s, API: client, Parallel: min(d.TPS, 64)})
	cleanUp, newUsers, updates, dead := f.queue("CleanUp"), f.queue("NewUsers"), f.queue("Updates"), f.queue("UpdatesDeadLetter")
	if f.err != nil {
		return nil, f.err
	}
	s, _ = source()
	removals, ok := cleanUp.API.(export.QueueAPI)
	if !ok {
		return nil, errors.New("the queue's client is no client for clean-up")
	}
	f.step("clean-up-backup-table", &export.CleanUp{Source: s, Queue: removals, QueueURL: cleanUp.URL, RetentionDays: 35, MassDeletionPercent: 20, Metrics: metrics, Now: time.Now})

	inFlight := min(max(2*d.TPS, 2), 128) // as restore.Clients has it
	limits, client := f.client()
	f.timed("check-new-user-pool", limits, &restore.CheckNewUserPool{
		API: client, Store: store, SourcePoolID: d.PoolID, Region: Region, TPS: d.TPS, SliceSeconds: int(d.Slice.Seconds()), Now: time.Now,
	})
	limits, client = f.client()
	f.timed("scan-table", limits, &restore.ScanTable{Store: store, Lister: client, Queue: newUsers})
	limits, client = f.client()
	f.timed("import-users", limits, &restore.ImportUsers{
		API: client, Jobs: client, Upload: c.Upload, NewUsers: newUsers, Updates: updates, JobRole: "arn:aws:iam::" + wire.Account + ":role/ImportJobLogs",
		InFlight: inFlight, Random: rand.Reader, Now: time.Now,
	})
	limits, client = f.client()
	f.timed("update-users", limits, &restore.UpdateUsers{API: client, Updates: updates, DeadLetters: dead, InFlight: inFlight})
	_, client = f.client()
	f.step("verify-import", &restore.VerifyImport{Lister: client, Store: store, NewUsers: newUsers, TPS: d.TPS, Now: time.Now})
	return f, nil
}

func (f *functions) client() (*pool.Limits, *Client) {
	limits := pool.NewLimits(f.d.TPS)
	return limits, f.cloud.Users(limits)
}

func (f *functions) queue(name string) *restore.Queue {
	q, err := f.cloud.queue(name)
	f.err = errors.Join(f.err, err)
	return q
}

func (f *functions) step(name string, s step.Step) {
	r := &step.Runner{Step: s, Objects: &step.Objects{API: f.cloud.Bucket, Bucket: "bucket"}, Slice: f.d.Slice, Now: time.Now}
	f.handlers[name] = r.Handle
}

func (f *functions) timed(name string, limits *pool.Limits, s step.Step) {
	f.step(name, &restore.Timed{Step: s, Limits: limits, Now: time.Now})
}

// Those of the templates.
const (
	functionTimeout = 900 * time.Second
	slice           = 720 * time.Second
)

// Invoke implements stepfunctions.Invoker.
func (f *functions) Invoke(ctx context.Context, functionARN string, _ wire.Principal, payload []byte) ([]byte, string, error) {
	name := functionARN[strings.LastIndexByte(functionARN, ':')+1:]
	_, name, _ = strings.Cut(name, "-") // the prefix
	h := f.handlers[name]
	if h == nil {
		return nil, "", wire.Errorf("ResourceNotFoundException", "Function not found: %s", functionARN)
	}
	var event step.Event
	if err := json.Unmarshal(payload, &event); err != nil {
		return nil, "", err
	}
	if err := step.Sleep(ctx, f.cloud.latency.Invoke); err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, functionTimeout)
	defer cancel()
	f.mu.Lock()
	n := f.billed[name].Invocations + 1
	f.billed[name] = Billed{n, f.billed[name].Duration}
	var death Death
	if f.cloud.Deaths != nil {
		death = f.cloud.Deaths(name, n)
	}
	f.mu.Unlock()
	ctx, life := live(ctx, death.After)
	defer life.end()
	began := time.Now()
	run, err := h(ctx, event)
	f.mu.Lock()
	f.billed[name] = Billed{f.billed[name].Invocations, f.billed[name].Duration + time.Since(began)}
	f.mu.Unlock()
	if life.killed() || err == nil && death.AtEnd {
		return []byte(`{"errorType":"Runtime.ExitError","errorMessage":"signal: killed"}`), "Unhandled", nil
	}
	if err != nil {
		t := reflect.TypeOf(err)
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		object, _ := json.Marshal(map[string]string{"errorType": t.Name(), "errorMessage": err.Error()}) // strings always marshal
		return object, "Unhandled", nil
	}
	result, err := json.Marshal(run)
	return result, "", err
}

// Execution is how an execution went.
type Execution struct {
	Name     string
	Run      step.Run // the last document
	Duration time.Duration
	// Phases are the durations of the states of a workflow, from first to last
	// activity.
	Phases         map[string]time.Duration
	Transitions    int
	Events         int
	LargestPayload int               // bytes
	Billed         map[string]Billed // by function
	Requests       Requests
}

// Execute runs a workflow from beginning to end.
func (c *Cloud) Execute(definitions Definitions, workflow, name, input string, d Deployment) (*Execution, error) {
	f, err := c.functions(d)
	if err != nil {
		return nil, err
	}
	states := stepfunctions.New(Region, &wire.Clock{}, f)
	defer states.Close()
	arn, err := states.Create("CognitoBackup-"+workflow, definitions[workflow], "arn:aws:iam::"+wire.Account+":role/Workflow")
	if err != nil {
		return nil, err
	}
	began, ended := map[string]time.Time{}, map[string]time.Time{}
	var mu sync.Mutex // branches run side by side
	stop := states.Subscribe(func(p stepfunctions.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if _, known := began[p.State]; !known {
			began[p.State] = p.At
		}
		ended[p.State] = p.At
	})
	defer stop()
	before := c.requests()
	execution, err := states.Start(arn, name, input)
	if err != nil {
		return nil, err
	}
	result, err := states.Wait(context.Background(), execution)
	if err != nil {
		return nil, err
	}
	if result.Status != "SUCCEEDED" {
		return nil, fmt.Errorf("%s ended as %s: %s: %s", workflow, result.Status, result.Error, result.Cause)
	}
	observed, _ := states.Observe(execution)
	e := &Execution{Name: name, Duration: result.Stop.Sub(result.Start), Phases: map[string]time.Duration{}, Events: observed.Total, LargestPayload: observed.LargestPayload, Billed: f.billed, Requests: c.requests().minus(before)}
	for _, n := range observed.Entered {
		e.Transitions += n
	}
	for state := range began {
		e.Phases[state] = ended[state].Sub(began[state])
	}
	return e, json.Unmarshal([]byte(result.Output), &e.Run)
}
