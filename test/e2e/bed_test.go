// Package e2e runs whole workflows on the testbed: the synthesized templates
// and the functions built from the same sources, unchanged, through the real
// AWS clients.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/step"
	"cognito-backup/test/localaws"
	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

const (
	root     = "../.."
	assembly = root + "/cdk.out"

	usualPrefix = "CognitoBackup"
	table       = usualPrefix + "-BackupTable"

	patience   = 5 * time.Minute // for a workflow to end
	fasterWait = 20              // waits, import jobs and schedules
)

// bed is a testbed with both stacks deployed.
type bed struct {
	*localaws.Bed
	t         *testing.T
	prefix    string
	primary   string // Region
	secondary string
	pool      string // id of the source pool
}

// edit changes a template of a copy of the assembly before it is deployed.
type edit func(stack string, template map[string]any)

// environment sets an environment variable of every function that has it.
func environment(name, value string) edit {
	return func(_ string, template map[string]any) {
		cloudformation.SetVariables(template, func(string) map[string]string { return map[string]string{name: value} })
	}
}

// resources returns the resources of a type by logical id.
func resources(template map[string]any, resourceType string) map[string]map[string]any {
	found := map[string]map[string]any{}
	for id, r := range template["Resources"].(map[string]any) {
		if r := r.(map[string]any); r["Type"] == resourceType {
			found[id] = r
		}
	}
	return found
}

func dig(m map[string]any, path ...string) map[string]any {
	for _, name := range path {
		next, _ := m[name].(map[string]any)
		m = next
	}
	return m
}

// copyAssembly copies a cloud assembly and edits its templates.
func copyAssembly(t *testing.T, from string, edits ...edit) string {
	t.Helper()
	dir := t.TempDir()
	err := cloudformation.Copy(from, dir, func(stack string, template map[string]any) error {
		for _, e := range edits {
			e(stack, template)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v; run make synth first", err)
	}
	return dir
}

// asleep disables schedules: exports start when a test says so.
func asleep(_ string, template map[string]any) { cloudformation.DisableSchedules(template) }

// start deploys an edited copy of the assembly over a source pool that holds
// the seed. No schedule has started an export when it returns.
func start(t *testing.T, source *cognito.Seed, edits ...edit) *bed {
	t.Helper()
	return deploy(t, source, append(edits, asleep)...)
}

func deploy(t *testing.T, source *cognito.Seed, edits ...edit) *bed {
	t.Helper()
	if testing.Short() {
		t.Skip("starts the testbed")
	}
	return deployFrom(t, copyAssembly(t, assembly, edits...), source)
}

// deployFrom deploys an assembly. If it holds stacks of several prefixes, the
// bed is that of the usual one.
func deployFrom(t *testing.T, dir string, source *cognito.Seed) *bed {
	t.Helper()
	b := &bed{t: t, prefix: usualPrefix}
	b.launch(dir)
	b.fill(source)
	b.create()
	return b
}

// launch starts a testbed for an assembly, without any stack.
func (b *bed) launch(dir string) {
	b.t.Helper()
	var err error
	b.Bed, err = localaws.Start(b.t.Context(), localaws.Options{Assembly: dir, Source: root, Factor: fasterWait})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		notePermissions(b.Bed)
		if err := b.Close(); err != nil {
			b.t.Error(err)
		}
		for _, violation := range b.Violations() {
			b.t.Error("testbed:", violation)
		}
	})
	b.locate()
}

func (b *bed) create() {
	b.t.Helper()
	if err := b.Deploy(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// locate finds out from the templates where the deployment of the bed's prefix
// will be and what pool it backs up.
func (b *bed) locate() {
	b.t.Helper()
	for _, stack := range b.Assembly().Stacks {
		switch stack.Name {
		case b.prefix + "-Primary":
			b.primary, b.pool = stack.Region, stack.Variable("PRIMARY_USER_POOL_ID")
		case b.prefix + "-Secondary":
			b.secondary = stack.Region
		}
	}
}

// fill makes the source pool, under the id that the templates name.
func (b *bed) fill(source *cognito.Seed) {
	b.t.Helper()
	full := seed.Empty(source, b.pool)
	full.Users, full.Groups, full.Members = source.Users, source.Groups, source.Members
	if _, err := b.Cognito(b.primary).Seed(full); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) states(region string) *sfn.Client { return sfn.NewFromConfig(b.Config(region)) }

// execution is how an execution ended.
type execution struct {
	*sfn.DescribeExecutionOutput
	arn string
}

// stack is the name of a Region's stack.
func (b *bed) stack(region string) string {
	if region == b.primary {
		return b.prefix + "-Primary"
	}
	return b.prefix + "-Secondary"
}

// begin starts a workflow.
func (b *bed) begin(region, workflow, input string) string {
	b.t.Helper()
	arn := b.StateMachineARN(b.stack(region), workflow)
	out, err := b.states(region).StartExecution(b.t.Context(), &sfn.StartExecutionInput{StateMachineArn: &arn, Input: &input})
	if err != nil {
		b.t.Fatal(err)
	}
	return *out.ExecutionArn
}

// await waits for an execution to end.
func (b *bed) await(region, arn string) execution {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	for {
		out, err := b.states(region).DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
		if err != nil {
			b.t.Fatalf("waiting for %s: %v", arn, err)
		}
		if out.Status != types.ExecutionStatusRunning {
			return execution{out, arn}
		}
		if err := step.Sleep(ctx, 50*time.Millisecond); err != nil {
			b.t.Fatalf("waiting for %s: %v\n%s", arn, err, b.lastLines())
		}
	}
}

func (b *bed) run(region, workflow, input string) execution {
	b.t.Helper()
	return b.await(region, b.begin(region, workflow, input))
}

// export runs the ExportWorkflow, which must succeed, and returns the restore point's id.
func (b *bed) export(input string) string {
	b.t.Helper()
	e := b.run(b.primary, "ExportWorkflow", input)
	if e.Status != types.ExecutionStatusSucceeded {
		b.fail(e)
	}
	var run step.Run
	if err := json.Unmarshal([]byte(*e.Output), &run); err != nil {
		b.t.Fatal(err)
	}
	return run.RunID
}

// fail ends the test with what is known of a failed execution.
func (b *bed) fail(e execution) {
	b.t.Helper()
	var cause strings.Builder
	if e.Cause != nil {
		fmt.Fprintf(&cause, "%s: %s\n", *e.Error, *e.Cause)
	}
	cause.WriteString(b.lastLines())
	b.t.Fatalf("%s ended as %s\n%s", e.arn, e.Status, cause.String())
}

// lastLines is what each function logged last.
func (b *bed) lastLines() string {
	var text strings.Builder
	logs := b.AllLogs()
	for _, name := range sortedKeys(logs) {
		lines := logs[name]
		for _, line := range lines[max(0, len(lines)-5):] {
			fmt.Fprintf(&text, "%s: %s\n", name, line)
		}
	}
	return text.String()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// store reads the backup table of a Region with the project's own code.
func (b *bed) store(region string) *backup.Store {
	return &backup.Store{Table: &backup.DynamoDB{API: dynamodb.NewFromConfig(b.Config(region)), Name: b.prefix + "-BackupTable", Sleep: step.Sleep}}
}

// asOf reads a restore point and checks it against its commit record.
func (b *bed) asOf(region, id string) map[backup.Key]backup.Item {
	b.t.Helper()
	ctx := b.t.Context()
	point, err := b.store(region).RestorePoint(ctx, b.pool, id)
	if err != nil {
		b.t.Fatal(err)
	}
	found := map[backup.Key]backup.Item{}
	var sum backup.Summary
	for p := (backup.Position{}); !p.Done; {
		items, next, err := b.store(region).ReadAsOf(ctx, id, backup.Segment{Of: 1}, p)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, item := range items {
			sum.Add(&item)
			found[item.Key] = item
		}
		p = next
	}
	if sum != point.Summary {
		b.t.Fatalf("restore point %s says %+v, the table holds %+v", id, point.Summary, sum)
	}
	return found
}
