package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

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
// the testbed with the real functions as processes, without quotas, and tells
// after each what its functions needed. The table is the one of this package.
func functionsAt(ctx context.Context, shape sim.Shape, assembly, source string, workflows []string, tell func([]functionRun) error) error {
	table, err := startTable()
	if err != nil {
		return err
	}
	defer table.close()
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
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
		return err
	}
	bed, err := localaws.Start(ctx, localaws.Options{Assembly: dir, Source: source, Factor: 1})
	if err != nil {
		return err
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
		return err
	}
	if err := bed.Deploy(ctx); err != nil {
		return err
	}
	r := &runner{bed: bed, tell: tell}
	return r.all(ctx, workflows, primary, secondary)
}

// all runs the workflows one after the other. The others need the first export.
func (r *runner) all(ctx context.Context, workflows []string, primary, secondary string) error {
	if err := r.run(ctx, primary, "-Primary", "ExportWorkflow", first, "{}"); err != nil {
		return err
	}
	if slices.Contains(workflows, unchanged) {
		if err := r.run(ctx, primary, "-Primary", "ExportWorkflow", unchanged, "{}"); err != nil {
			return err
		}
	}
	if !slices.Contains(workflows, imported) {
		return violations(r.bed)
	}
	target, err := r.bed.Cognito(secondary).Seed(sim.Shape{}.Seed(secondary + "_Target"))
	if err != nil {
		return err
	}
	input, err := json.Marshal(map[string]string{"NewUserPoolId": target})
	if err != nil {
		return err
	}
	return errors.Join(r.run(ctx, secondary, "-Secondary", "ImportWorkflow", imported, string(input)), violations(r.bed))
}

func violations(bed *localaws.Bed) error {
	var errs []error
	for _, v := range bed.Violations() {
		errs = append(errs, errors.New("testbed: "+v))
	}
	return errors.Join(errs...)
}

type runner struct {
	bed  *localaws.Bed
	seen int // invocations that belong to workflows before
	tell func([]functionRun) error
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
	at, functions := map[string]int{}, []functionRun(nil)
	all := r.bed.Lambda().Invocations()
	for _, i := range all[r.seen:] {
		name := strings.TrimPrefix(i.Function, prefix+"-")
		if _, known := at[name]; !known {
			at[name] = len(functions)
			b := binaries[i.Function]
			size := int64(0)
			if info, err := os.Stat(b.path); err == nil {
				size = info.Size()
			}
			functions = append(functions, functionRun{Workflow: label, Function: name, Binary: size, MemoryMB: b.memory})
		}
		f := &functions[at[name]]
		f.PeakRSS = max(f.PeakRSS, i.PeakRSS)
		f.Init = max(f.Init, i.Init)
		f.Duration += i.Duration
	}
	for _, f := range functions {
		fmt.Fprintf(os.Stderr, "%s: %s %.1f MiB, %s\n", label, f.Function, float64(f.PeakRSS)/(1<<20), f.Duration.Round(time.Millisecond))
	}
	r.seen = len(all)
	return r.tell(functions)
}

type localawsFunction struct {
	path   string
	memory int
}

// memoryTarget is what every step is to stay below up to a million users with
// one group each, which are manyRecords; clean-up may grow by bytesPerRecord for
// each record beyond.
const (
	memoryTarget   = 128 << 20
	manyRecords    = 2_000_000
	bytesPerRecord = 16
)

// The import follows the exports.
const imported = "import"

// functionsOf are the functions that a workflow runs on a pool with groups.
var functionsOf = map[string][]string{
	first:     exporting,
	unchanged: exporting,
	imported:  {"check-new-user-pool", "check-state-machine", "import-users", "scan-table", "send-message", "update-users", "verify-import"},
}

var exporting = []string{"check-state-machine", "check-user-pool-config", cleanUp, "export-group-members", "export-users", "list-groups", "send-message"}

// cleanUp is the function whose memory may grow with the table.
const cleanUp = "clean-up-backup-table"

// How clean-up's memory grows shows between pools of these sizes.
var growthFrom, growthTo = sim.Shape{Users: 100_000, GroupsEach: 1}, sim.Shape{Users: 1_000_000, GroupsEach: 1}

// functionCells measure the real functions as processes.
func functionCells(sizes []int) []cell {
	all := slices.Compact(slices.Sorted(func(yield func(string) bool) {
		for _, functions := range functionsOf {
			for _, f := range functions {
				if !yield(f) {
					return
				}
			}
		}
	}))
	var cells []cell
	for i, users := range sizes {
		c := cell{name: number(users) + " users", users: users}
		for order, function := range all {
			for _, workflow := range []string{first, unchanged, imported} {
				if slices.Contains(functionsOf[workflow], function) {
					c.rows = append(c.rows, planned{order: order, workflow: workflow, row: peak(users, function, workflow)})
				}
			}
		}
		if users == growthFrom.Users || users == growthTo.Users {
			for _, workflow := range []string{first, unchanged} {
				c.rows = append(c.rows, planned{order: len(all), workflow: workflow, row: growth(workflow)})
			}
		}
		if i == 0 { // of whichever pool
			for _, function := range all {
				c.rows = append(c.rows, planned{order: len(all) + 1, row: row{What: coldStart + function, Case: "on this machine"}})
			}
		}
		cells = append(cells, c)
	}
	return cells
}

const coldStart = "cold start: "

func peak(users int, function, workflow string) row {
	return row{What: "peak memory: " + function, Case: fmt.Sprintf("%s users, one group each, %s", number(users), workflow), Target: limitTarget}
}

func growth(workflow string) row {
	return row{What: cleanUp + ": bytes per record", Case: fmt.Sprintf("from %s to %s users, one group each, %s", number(growthFrom.Users), number(growthTo.Users), workflow)}
}

// lacking are expressions for the workflows that missing rows are of; none if
// they are of all.
func lacking(missing []planned) []string {
	var all []string
	for _, workflow := range []string{first, unchanged, imported} {
		if slices.ContainsFunc(missing, func(p planned) bool { return p.workflow == workflow || p.workflow == "" }) {
			all = append(all, ", "+workflow)
		}
	}
	if len(all) == len(functionsOf) {
		return nil
	}
	return all
}

// functions measures the real functions as processes. What a workflow showed is
// kept as soon as it has ended.
func functions(ctx context.Context, b *bench, cells []cell) error {
	cold := map[string]functionRun{}
	for _, c := range cells {
		shape := sim.Shape{Users: c.users, GroupsEach: 1}
		var workflows []string
		for _, workflow := range []string{first, unchanged, imported} {
			if slices.ContainsFunc(c.wanted, func(p planned) bool { return p.workflow == workflow || p.workflow == "" }) {
				workflows = append(workflows, workflow)
			}
		}
		if err := functionsAt(ctx, shape, "cdk.out", ".", workflows, func(all []functionRun) error {
			var rows []row
			for _, f := range all {
				rows = append(rows, f.row(shape))
				if f.Init > cold[f.Function].Init {
					cold[f.Function] = f
				}
			}
			for _, name := range slices.Sorted(maps.Keys(cold)) {
				rows = append(rows, row{What: coldStart + name, Case: "on this machine",
					Measured: fmt.Sprintf("%d ms, binary of %.1f MB", cold[name].Init.Milliseconds(), float64(cold[name].Binary)/1e6)})
			}
			return b.put(rows...)
		}); err != nil {
			return fmt.Errorf("%s: %w", shape, err)
		}
	}
	return nil
}

// row is what a function needed in a workflow.
func (f *functionRun) row(shape sim.Shape) row {
	r := peak(shape.Users, f.Function, f.Workflow)
	limit, of := float64(memoryTarget), ""
	if beyond := shape.Users + shape.Memberships() - manyRecords; f.Function == cleanUp && beyond > 0 {
		limit += bytesPerRecord * float64(beyond)
		of = fmt.Sprintf(" with %d bytes a record beyond %s", bytesPerRecord, number(manyRecords))
	}
	r.Measured = fmt.Sprintf("%.1f MiB, busy %s", float64(f.PeakRSS)/(1<<20), took(f.Duration))
	r.Bound = fmt.Sprintf("%.1f MiB%s (has %d)", limit/(1<<20), of, f.MemoryMB)
	r.Ratio = ratio(float64(f.PeakRSS), limit)
	return r
}

// deriveGrowth computes what clean-up needs for each record more from its peaks
// with two pools, if they are of one machine and commit; otherwise there is no
// such row.
func deriveGrowth(rows map[key]row, workflow string) {
	r := growth(workflow)
	delete(rows, r.key())
	var bytes [2]float64
	var of [2]row
	for i, shape := range []sim.Shape{growthFrom, growthTo} {
		p := peak(shape.Users, cleanUp, workflow)
		var measured bool
		if of[i], measured = rows[p.key()]; !measured {
			return
		}
		if _, err := fmt.Sscanf(of[i].Measured, "%f MiB", &bytes[i]); err != nil {
			return
		}
	}
	if of[0].Machine != of[1].Machine || of[0].Commit != of[1].Commit {
		return
	}
	records := func(s sim.Shape) int { return s.Users + s.Memberships() + s.Groups() }
	each := (bytes[1] - bytes[0]) * (1 << 20) / float64(records(growthTo)-records(growthFrom))
	r.Provenance = of[1].Provenance
	r.Measured, r.Bound = fmt.Sprintf("%.1f bytes", each), fmt.Sprintf("%d bytes beyond %s records", bytesPerRecord, number(manyRecords))
	r.Ratio = ratio(each, bytesPerRecord)
	rows[r.key()] = r
}
