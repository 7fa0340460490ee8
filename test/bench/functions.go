package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"cognito-backup/internal/step"
	"cognito-backup/test/figures"
	"cognito-backup/test/localaws"
	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/sim"
)

const prefix = "CognitoBackup"

// functionRun is what one function needed in one workflow.
type functionRun struct {
	Workflow, Function string
	PeakRSS            int64 // bytes
	Duration           time.Duration
	Init               time.Duration // the longest cold start
	Binary             int64         // bytes
	MemoryMB           int
}

// functionsAt runs export, export and import of a pool of the given shape on
// the testbed with the real functions as processes, without quotas, and says
// what each needed. The table is the one of this package.
func functionsAt(ctx context.Context, shape sim.Shape, assembly, source string) ([]functionRun, error) {
	table, err := startTable()
	if err != nil {
		return nil, err
	}
	defer table.close()
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	environment := func(handler string) map[string]string {
		// Listings at the highest rate that Cognito allows, which decides how many
		// pages are in memory at once. Those who create and update would take days at
		// theirs, so they have more calls in flight than any quota allows.
		tps := "30"
		if handler == "import-users" || handler == "update-users" {
			tps = "5000"
		}
		// Sixteen cursors have more pages in memory than one.
		return map[string]string{"COGNITO_TPS": tps, "EXPORT_SHARDS": "16", "AWS_ENDPOINT_URL_DYNAMODB": table.endpoint()}
	}
	if err := cloudformation.Copy(assembly, dir, func(_ string, template map[string]any) error {
		cloudformation.SetVariables(template, environment)
		cloudformation.DisableSchedules(template)
		return nil
	}); err != nil {
		return nil, err
	}
	bed, err := localaws.Start(ctx, localaws.Options{Assembly: dir, Source: source, Factor: 1})
	if err != nil {
		return nil, err
	}
	defer bed.Close()
	var primary, secondary, poolID string
	for _, stack := range bed.Assembly().Stacks {
		if stack.Matches("Primary") {
			primary, poolID = stack.Region, stack.Variable("PRIMARY_USER_POOL_ID")
		} else {
			secondary = stack.Region
		}
	}
	for _, region := range []string{primary, secondary} {
		bed.Cognito(region).Settings().NoQuotas()
		bed.Cognito(region).Settings().Update(func(v *cognito.Values) { v.ImportRate, v.ImportStart = 0, 0 })
	}
	// Every other user comes by API, because no CSV import takes who has no
	// verified address.
	pool := shape.Seed(poolID)
	for i := 0; i < len(pool.Users); i += 2 {
		for j := range pool.Users[i].Attributes {
			if a := &pool.Users[i].Attributes[j]; a.Name == "email_verified" {
				a.Value = "false"
			}
		}
	}
	if _, err := bed.Cognito(primary).Seed(pool); err != nil {
		return nil, err
	}
	if err := bed.Deploy(ctx); err != nil {
		return nil, err
	}
	r := &runner{bed: bed}
	err = r.all(ctx, shape, primary, secondary)
	return r.functions, err
}

// all runs the workflows one after the other.
func (r *runner) all(ctx context.Context, shape sim.Shape, primary, secondary string) error {
	if err := r.run(ctx, primary, "-Primary", "ExportWorkflow", "first export", "{}"); err != nil {
		return err
	}
	if shape.Users <= 100_000 { // a second hour would show nothing new
		if err := r.run(ctx, primary, "-Primary", "ExportWorkflow", "unchanged", "{}"); err != nil {
			return err
		}
	}
	target, err := r.bed.Cognito(secondary).Seed(sim.Shape{}.Seed(secondary + "_Target"))
	if err != nil {
		return err
	}
	input, err := json.Marshal(map[string]string{"NewUserPoolId": target})
	if err != nil {
		return err
	}
	return errors.Join(r.run(ctx, secondary, "-Secondary", "ImportWorkflow", "import", string(input)), violations(r.bed))
}

func violations(bed *localaws.Bed) error {
	var errs []error
	for _, v := range bed.Violations() {
		errs = append(errs, errors.New("testbed: "+v))
	}
	return errors.Join(errs...)
}

type runner struct {
	bed       *localaws.Bed
	seen      int // invocations that belong to workflows before
	functions []functionRun
}

func (r *runner) run(ctx context.Context, region, stack, workflow, label, input string) error {
	states := r.bed.States(region)
	arn, err := states.Start(r.bed.StateMachineARN(prefix+stack, workflow), "", input)
	if err != nil {
		return err
	}
	done, err := states.Wait(ctx, arn)
	if err != nil {
		return err
	}
	if done.Status != "SUCCEEDED" {
		return fmt.Errorf("%s ended as %s: %s: %s", label, done.Status, done.Error, done.Cause)
	}
	binaries := map[string]localawsFunction{}
	for _, f := range r.bed.Lambda().Functions() {
		binaries[f.Name] = localawsFunction{f.Binary, f.MemoryMB}
	}
	at, before := map[string]int{}, len(r.functions)
	all := r.bed.Lambda().Invocations()
	for _, i := range all[r.seen:] {
		name := strings.TrimPrefix(i.Function, prefix+"-")
		if _, known := at[name]; !known {
			at[name] = len(r.functions)
			b := binaries[i.Function]
			size := int64(0)
			if info, err := os.Stat(b.path); err == nil {
				size = info.Size()
			}
			r.functions = append(r.functions, functionRun{Workflow: label, Function: name, Binary: size, MemoryMB: b.memory})
		}
		f := &r.functions[at[name]]
		f.PeakRSS = max(f.PeakRSS, i.PeakRSS)
		f.Init = max(f.Init, i.Init)
		f.Duration += i.Duration
	}
	for _, f := range r.functions[before:] {
		fmt.Fprintf(os.Stderr, "%s: %s %.1f MiB, %s\n", label, f.Function, float64(f.PeakRSS)/(1<<20), f.Duration.Round(time.Millisecond))
	}
	r.seen = len(all)
	var run step.Run
	if err := json.Unmarshal([]byte(done.Output), &run); err != nil {
		return err
	}
	return nil
}

type localawsFunction struct {
	path   string
	memory int
}

// memoryTarget is what every step is to stay below up to a million users with
// one group each, which are manyRecords; clean-up may grow by 16 bytes for each
// record beyond.
const (
	memoryTarget = 128 << 20
	manyRecords  = 2_000_000
)

// functions measures the real functions as processes.
func functions(ctx context.Context, o *options) ([]row, error) {
	var peaks, starts []row
	cold := map[string]functionRun{}
	for _, users := range o.processes {
		shape := sim.Shape{Users: users, GroupsEach: 1}
		all, err := functionsAt(ctx, shape, "cdk.out", ".")
		if err != nil && ctx.Err() != nil && len(all) > 0 {
			fmt.Fprintf(os.Stderr, "%s: ended before all of it was measured: %v\n", shape, err)
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", shape, err)
		}
		for _, f := range all {
			limit, of := float64(memoryTarget), ""
			if beyond := shape.Users + shape.Memberships() - manyRecords; f.Function == "clean-up-backup-table" && beyond > 0 {
				limit += 16 * float64(beyond)
				of = fmt.Sprintf(" with 16 bytes a record beyond %s", number(manyRecords))
			}
			peaks = append(peaks, row{What: "peak memory: " + f.Function, Case: fmt.Sprintf("%s users, one group each, %s, busy %s", number(users), f.Workflow, took(f.Duration)),
				Measured: fmt.Sprintf("%.1f MiB", float64(f.PeakRSS)/(1<<20)), Bound: fmt.Sprintf("%.1f MiB%s (has %d)", limit/(1<<20), of, f.MemoryMB),
				Ratio: ratio(float64(f.PeakRSS), limit), Target: "≤ 1.00"})
			if f.Init > cold[f.Function].Init {
				cold[f.Function] = f
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cold)) {
		starts = append(starts, row{What: "cold start on this machine: " + name, Case: fmt.Sprintf("binary of %.1f MB", float64(cold[name].Binary)/1e6),
			Measured: fmt.Sprintf("%d ms", cold[name].Init.Milliseconds())})
	}
	others, err := otherSizes(o.processes)
	if err != nil {
		return nil, err
	}
	peaks = append(others, peaks...)
	for _, users := range []int{10_000, 100_000, 1_000_000} {
		if !slices.ContainsFunc(peaks, func(r row) bool { return strings.HasPrefix(r.Case, number(users)+" users") }) {
			o.left = append(o.left, "memory of the functions for "+number(users)+" users")
		}
	}
	slices.SortStableFunc(peaks, func(a, b row) int {
		return cmp.Or(strings.Compare(a.What, b.What), cmp.Compare(strings.Index(a.Case, " "), strings.Index(b.Case, " "))) // smaller pools first
	})
	return append(peaks, starts...), nil
}

// dated is the date in an origin.
var dated = regexp.MustCompile(`\d{4}-\d\d-\d\d`)

// otherSizes are the rows of sizes that are not measured now and were before,
// on this machine and of this commit.
func otherSizes(now []int) ([]row, error) {
	before := measured{Part: "functions"}
	if err := load(&before); err != nil || dated.ReplaceAllString(before.Origin, "") != dated.ReplaceAllString(figures.Origin(), "") {
		return nil, err
	}
	return slices.DeleteFunc(before.Rows, func(r row) bool {
		return !strings.HasPrefix(r.What, "peak memory") || slices.ContainsFunc(now, func(users int) bool {
			return strings.HasPrefix(r.Case, number(users)+" users")
		})
	}), nil
}
