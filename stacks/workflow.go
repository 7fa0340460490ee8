package stacks

import (
	"bytes"
	"encoding/json"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsstepfunctions"
	"github.com/aws/jsii-runtime-go"
)

// The definitions are written as Amazon States Language and not with the CDK's
// chain of constructs: what is read here is what the console shows, and the
// role may invoke each function and nothing beyond, not even its versions.

// definition is a state machine, or a branch of a Parallel state.
type definition struct {
	Comment string `json:",omitempty"`
	StartAt string
	States  map[string]state
}

// state is a state of any type in use.
type state struct {
	Type           string
	Comment        string         `json:",omitempty"`
	Resource       string         `json:",omitempty"`
	Parameters     map[string]any `json:",omitempty"`
	OutputPath     string         `json:",omitempty"`
	TimeoutSeconds int            `json:",omitempty"`
	Retry          []retrier      `json:",omitempty"`
	Choices        []choice       `json:",omitempty"`
	Default        string         `json:",omitempty"`
	SecondsPath    string         `json:",omitempty"`
	Branches       []definition   `json:",omitempty"`
	Next           string         `json:",omitempty"`
	End            bool           `json:",omitempty"`
}

type choice struct {
	Variable  string
	IsPresent bool
	Next      string
}

type retrier struct {
	ErrorEquals     []string
	IntervalSeconds int
	BackoffRate     int
	MaxAttempts     int
	MaxDelaySeconds int
	JitterStrategy  string
}

// transient is what a retry may cure. TransientError is the type of the error
// that a step returns when AWS was unavailable or throttled for longer than the
// step itself retries. There is no Catch: a workflow that fails is seen by the
// EventBridge rule, which also sees time-outs and aborts.
var transient = []retrier{{
	ErrorEquals: []string{
		"TransientError",
		"Lambda.ClientExecutionTimeoutException", "Lambda.ServiceException", "Lambda.AWSLambdaException",
		"Lambda.SdkClientException", "Lambda.TooManyRequestsException", "Lambda.Unknown",
		"Runtime.ExitError", "Sandbox.Timedout", "States.Timeout",
	},
	IntervalSeconds: 2, BackoffRate: 2, MaxAttempts: 6, MaxDelaySeconds: 60, JitterStrategy: "FULL",
}}

// What a step's answer, the run document, may hold for the state machine.
const (
	runCursor  = "$.Cursor"      // the step has more to do
	runWait    = "$.WaitSeconds" // and not before this long
	runSkipped = "$.Skipped"     // another execution is at it
	runDryRun  = "$.DryRun"      // nothing may be written
	runAgain   = "$.Again"       // records were queued again
)

// flow builds the states of one definition.
type flow struct {
	site     *site
	workflow string
	states   map[string]state
}

func (s *site) flow(workflow string) flow {
	return flow{site: s, workflow: workflow, states: map[string]state{}}
}

// task adds the state that runs a step. The run document is all that travels
// from state to state.
func (f flow) task(name, step, comment, next string) {
	f.states[name] = state{
		Type:     "Task",
		Comment:  comment,
		Resource: "arn:" + partition(f.site.region) + ":states:::lambda:invoke",
		Parameters: map[string]any{
			"FunctionName": *f.site.functions[step].FunctionArn(),
			"Payload": map[string]any{
				"Workflow":    f.workflow,
				"Step":        name,
				"Execution.$": "$$.Execution.Id",
				"StartTime.$": "$$.Execution.StartTime",
				"Input.$":     "$$.Execution.Input",
				"Run.$":       "$",
			},
		},
		OutputPath:     "$.Payload",
		TimeoutSeconds: taskTimeout,
		Retry:          transient,
		Next:           next,
		End:            next == "",
	}
}

// first adds the state that the workflow begins with. Its input is the user's,
// which the payload holds anyway, and not a run document.
func (f flow) first(name, step, comment, next string) {
	f.task(name, step, comment, next)
	delete(f.states[name].Parameters["Payload"].(map[string]any), "Run.$")
}

// loop adds a step that works in time slices: the task, a choice that returns
// to it while there is a cursor, and, if the step waits for something, a wait.
// Further choices come after those of the loop.
func (f flow) loop(name, step, comment string, waits bool, next string, more ...choice) {
	done := name + "Done?"
	f.task(name, step, comment, done)
	choices := []choice{{runCursor, true, name}}
	if waits {
		wait := "WaitFor" + name
		f.states[wait] = state{Type: "Wait", SecondsPath: runWait, Next: name}
		choices = append([]choice{{runWait, true, wait}}, choices...)
	}
	f.states[done] = state{Type: "Choice", Choices: append(choices, more...), Default: next}
}

// leave adds the end of a branch.
func (f flow) leave(name string) { f.states[name] = state{Type: "Succeed"} }

func (f flow) definition(comment, start string) definition {
	return definition{Comment: comment, StartAt: start, States: f.states}
}

// createWorkflow makes a state machine with its role and log group.
func (s *site) createWorkflow(name string, def definition, steps []string) {
	logs := awslogs.NewLogGroup(s.stack, jsii.String(name+"Logs"), &awslogs.LogGroupProps{
		// This path keeps the account's log resource policy, which has a
		// maximum length, from growing with every state machine.
		LogGroupName:  jsii.String("/aws/vendedlogs/states/" + s.names.of(name)),
		Retention:     logRetention,
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
	})
	role := awsiam.NewRole(s.stack, jsii.String(name+"Role"), &awsiam.RoleProps{
		AssumedBy:   awsiam.NewServicePrincipal(jsii.String("states.amazonaws.com"), nil),
		Description: jsii.String("What the state machine " + s.names.of(name) + " may do"),
	})
	invoked := make([]string, len(steps))
	for i, step := range steps {
		invoked[i] = *s.functions[step].FunctionArn()
	}
	s.allow(role, grant{sid: "InvokeSteps", actions: []string{"lambda:InvokeFunction"}, resources: invoked})

	workflow := awsstepfunctions.NewStateMachine(s.stack, jsii.String(name), &awsstepfunctions.StateMachineProps{
		StateMachineName: jsii.String(s.names.of(name)),
		Comment:          jsii.String(def.Comment),
		DefinitionBody:   awsstepfunctions.DefinitionBody_FromString(jsii.String(def.json())),
		Role:             role,
		TracingEnabled:   jsii.Bool(true),
		Logs: &awsstepfunctions.LogOptions{
			Destination:          logs,
			Level:                awsstepfunctions.LogLevel_ALL,
			IncludeExecutionData: jsii.Bool(false),
		},
	})
	s.workflows[name] = workflow
	suppressTracing(role)
	dependOnPolicy(workflow, role)
	if name != exportWorkflow { // which the schedule refers to anyway
		s.beforeSchedule = append(s.beforeSchedule, workflow)
	}
}

func (d definition) json() string {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(d); err != nil {
		panic("stacks: a definition that is not JSON: " + err.Error())
	}
	return text.String()
}
