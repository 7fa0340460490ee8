package stacks

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// definitionOf reads a state machine back from the template.
func definitionOf(t *testing.T, tmpl *template, name string) definition {
	t.Helper()
	machine := tmpl.named(t, "AWS::StepFunctions::StateMachine", "StateMachineName", "CognitoBackup-"+name)
	var def definition
	decoder := json.NewDecoder(strings.NewReader(functionARNs(tmpl, plain(machine.at("DefinitionString")))))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&def); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return def
}

// TestWorkflows: the states of a definition, and where each goes next.
func TestWorkflows(t *testing.T) {
	export := map[string]string{
		"CheckStateMachine":         "ExportSkipped?",
		"ExportSkipped?":            "Skipped: ExportSkipped; CheckUserPoolConfig",
		"ExportSkipped":             "",
		"CheckUserPoolConfig":       "ExportUsers",
		"ExportUsers":               "ExportUsersDone?",
		"ExportUsersDone?":          "Cursor: ExportUsers; ListGroups",
		"ListGroups":                "ListGroupsDone?",
		"ListGroupsDone?":           "Cursor: ListGroups; ExportGroupMembers",
		"ExportGroupMembers":        "ExportGroupMembersDone?",
		"ExportGroupMembersDone?":   "Cursor: ExportGroupMembers; CleanUpBackupTable",
		"CleanUpBackupTable":        "CleanUpBackupTableDone?",
		"CleanUpBackupTableDone?":   "WaitSeconds: WaitForCleanUpBackupTable; Cursor: CleanUpBackupTable; SendMessage",
		"WaitForCleanUpBackupTable": "CleanUpBackupTable",
		"SendMessage":               "",
	}
	restore := map[string]string{
		"CheckStateMachine":       "CheckNewUserPool",
		"CheckNewUserPool":        "CheckNewUserPoolDone?",
		"CheckNewUserPoolDone?":   "WaitSeconds: WaitForCheckNewUserPool; Cursor: CheckNewUserPool; ScanTable",
		"WaitForCheckNewUserPool": "CheckNewUserPool",
		"ScanTable":               "ScanTableDone?",
		"ScanTableDone?":          "Cursor: ScanTable; DryRun?",
		"DryRun?":                 "DryRun: VerifyImport; RestoreUsers",
		"RestoreUsers":            "VerifyImport",
		"VerifyImport":            "VerifyImportDone?",
		"VerifyImportDone?":       "WaitSeconds: WaitForVerifyImport; Cursor: VerifyImport; Again: RestoreUsers; SendMessage",
		"WaitForVerifyImport":     "VerifyImport",
		"SendMessage":             "",
	}
	branch := func(task, end string) map[string]string {
		return map[string]string{
			task:             task + "Done?",
			task + "Done?":   "WaitSeconds: WaitFor" + task + "; Cursor: " + task + "; " + end,
			"WaitFor" + task: task,
			end:              "",
		}
	}
	wantPaths(t, definitionOf(t, standard(t).template(t, "Primary"), "ExportWorkflow"), "CheckStateMachine", export)
	for _, stack := range bothStacks {
		def := definitionOf(t, standard(t).template(t, stack), "ImportWorkflow")
		wantPaths(t, def, "CheckStateMachine", restore)
		branches := def.States["RestoreUsers"].Branches
		if len(branches) != 2 {
			t.Fatalf("%d branches", len(branches))
		}
		wantPaths(t, branches[0], "ImportUsers", branch("ImportUsers", "UsersCreated"))
		wantPaths(t, branches[1], "UpdateUsers", branch("UpdateUsers", "UsersUpdated"))
		if got := def.States["RestoreUsers"].OutputPath; got != "$[0]" {
			t.Errorf("the run document after both branches is %s, want that of the first", got)
		}
	}
}

func wantPaths(t *testing.T, def definition, start string, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for name, s := range def.States {
		got[name] = path(s)
	}
	if def.StartAt != start || !maps.Equal(got, want) {
		t.Errorf("starts at %s\ngot  %s\nwant %s", def.StartAt, compact(got), compact(want))
	}
}

// path is where a state goes: "<present key>: <state>; … <default or next>".
func path(s state) string {
	var to []string
	for _, c := range s.Choices {
		if !c.IsPresent {
			return "a choice other than IsPresent"
		}
		to = append(to, strings.TrimPrefix(c.Variable, "$.")+": "+c.Next)
	}
	return strings.Join(append(to, s.Default+s.Next), "; ")
}

// TestTasks: what every task hands to its function, how long it waits, and
// what it tries again.
func TestTasks(t *testing.T) {
	for stack, workflows := range map[string][]string{"Primary": {"ExportWorkflow", "ImportWorkflow"}, "Secondary": {"ImportWorkflow"}} {
		tmpl := standard(t).template(t, stack)
		for _, workflow := range workflows {
			def := definitionOf(t, tmpl, workflow)
			states := maps.Clone(def.States)
			for _, branch := range def.States["RestoreUsers"].Branches {
				maps.Copy(states, branch.States)
			}
			for name, s := range states {
				if s.Type == "Task" {
					checkTask(t, workflow, name, s)
				}
			}
		}
	}
}

func checkTask(t *testing.T, workflow, name string, s state) {
	t.Helper()
	payload := map[string]any{
		"Workflow": workflow, "Step": name,
		"Execution.$": "$$.Execution.Id", "StartTime.$": "$$.Execution.StartTime", "Input.$": "$$.Execution.Input", "Run.$": "$",
	}
	if name == "CheckStateMachine" {
		delete(payload, "Run.$")
	}
	want := map[string]any{"FunctionName": "arn:aws:lambda:us-west-2:123456789012:function:CognitoBackup-" + kebab(name), "Payload": payload}
	if compact(s.Parameters) != compact(want) {
		t.Errorf("%s %s hands over %s, want %s", workflow, name, compact(s.Parameters), compact(want))
	}
	if s.Resource != "arn:aws:states:::lambda:invoke" || s.OutputPath != "$.Payload" {
		t.Errorf("%s %s: resource %s, output %s", workflow, name, s.Resource, s.OutputPath)
	}
	if s.TimeoutSeconds != 960 || s.TimeoutSeconds <= functionTimeout {
		t.Errorf("%s %s gives up after %d s, its function after %d", workflow, name, s.TimeoutSeconds, functionTimeout)
	}
	if len(s.Retry) != 1 || !slices.Contains(s.Retry[0].ErrorEquals, "TransientError") || slices.Contains(s.Retry[0].ErrorEquals, "States.ALL") ||
		compact(s.Retry) != compact(transient) {
		t.Errorf("%s %s retries %s", workflow, name, compact(s.Retry))
	}
	for _, err := range lambdaErrors {
		if len(s.Retry) == 1 && !slices.Contains(s.Retry[0].ErrorEquals, err) {
			t.Errorf("%s %s does not retry %s", workflow, name, err)
		}
	}
}

// lambdaErrors are what Step Functions calls errors of Lambda that pass.
// Source: Step Functions developer guide, "Handle transient Lambda service
// exceptions".
var lambdaErrors = []string{
	"Lambda.ClientExecutionTimeoutException", "Lambda.ServiceException", "Lambda.AWSLambdaException",
	"Lambda.SdkClientException", "Lambda.TooManyRequestsException", "Lambda.Unknown",
}

// kebab is the folder of the step that a state is named after.
func kebab(state string) string {
	var b strings.Builder
	for i, c := range state {
		if c >= 'A' && c <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

func TestStateMachineSettings(t *testing.T) {
	inBoth(t, func(t *testing.T, tmpl *template, _ bool) {
		for _, machine := range tmpl.of(t, "AWS::StepFunctions::StateMachine") {
			machine.want(t, "TracingConfiguration.Enabled", true)
			machine.want(t, "LoggingConfiguration.Level", "ALL")
			machine.want(t, "LoggingConfiguration.IncludeExecutionData", false)
			machine.want(t, "StateMachineType", nil) // standard
			logs := tmpl.Resources[strings.TrimSuffix(strings.Trim(plain(machine.at("LoggingConfiguration.Destinations.0.CloudWatchLogsLogGroup.LogGroupArn")), "<>"), ".Arn")]
			logs.want(t, "LogGroupName", "/aws/vendedlogs/states/"+plain(machine.at("StateMachineName")))
			if strings.Contains(plain(machine.at("DefinitionString")), `"Catch"`) {
				t.Errorf("%s catches errors that the rule should see", machine.ID)
			}
		}
	})
}
