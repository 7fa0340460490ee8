package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"cognito-backup/internal/backup"
	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/sim"
)

// Public on-demand prices of us-east-1 in US dollars, 2026.
// Source: the pricing pages of DynamoDB, Lambda (arm64) and Step Functions.
const (
	perWriteUnit   = 0.625e-6 // replicated or not
	perReadUnit    = 0.125e-6
	perGBMonth     = 0.25 + 0.20 // storage and point-in-time recovery
	perGBSecond    = 0.0000133334
	perRequest     = 0.20e-6
	perTransition  = 0.025e-3
	perItem        = 100 // bytes that DynamoDB's storage counts beside each item's own
	regions        = 2
	exportsAMonth  = 30
	retentionDays  = 35 // the default
	megabytesPerGB = 1024
)

// memory is what the templates in an assembly give the functions, in MB by name.
func memory(assembly string) (map[string]float64, error) {
	a, err := cloudformation.Open(assembly)
	if err != nil {
		return nil, err
	}
	sizes := map[string]float64{}
	for _, stack := range a.Stacks {
		for _, r := range stack.Template.Resources {
			if r.Type != "AWS::Lambda::Function" {
				continue
			}
			p := cloudformation.Properties(r.Properties)
			mb, err := p.Int(128, "MemorySize")
			if err != nil {
				return nil, fmt.Errorf("MemorySize of %s: %w", p.String("FunctionName"), err)
			}
			sizes[strings.TrimPrefix(p.String("FunctionName"), prefix+"-")] = float64(mb)
		}
	}
	return sizes, nil
}

// The exports that follow the first: of the pool as it was, and after one user
// in a hundred has changed.
const (
	unchanged = "unchanged"
	changed   = "1 % changed"
)

// cost measures what a first, an unchanged and a changed export write and read,
// and what a month of daily exports costs.
func cost(ctx context.Context, o *options) ([]row, error) {
	var cases []sim.Case
	for _, users := range []int{10_000, 100_000, 500_000, 1_000_000} {
		cases = append(cases, sim.Case{Shape: sim.Shape{Users: users, GroupsEach: 1}, TPS: 10, Shards: 1, Latency: sim.Typical(), ExportOnly: true, Repeat: true})
	}
	all, err := outcomes(ctx, o, "cost", cases)
	if err != nil {
		return nil, err
	}
	sizes, err := memory("cdk.out")
	if err != nil {
		return nil, err
	}
	var writes, months, lambdas []row
	for _, o := range all {
		name := fmt.Sprintf("%s users, one group each", number(o.Users))
		for _, e := range []struct {
			label string
			usage sim.Usage
			bound string
		}{
			{"first export", o.ExportUsage, fmt.Sprintf("%s records", number(o.Users+o.Memberships()+o.Groups()+1))},
			{unchanged, o.Unchanged.Usage, "0 records"},
			{changed, o.Changed.Usage, fmt.Sprintf("%s records, each with its older version", number(o.Users/100))},
		} {
			records := int64(0)
			for _, kind := range []backup.Kind{backup.KindUser, backup.KindGroup, backup.KindMembership, backup.KindPool} {
				records += e.usage.Written[kind]
			}
			all := o.Users + o.Memberships() + o.Groups() + 1
			wanted, target := all, "≤ 1"
			switch e.label {
			case unchanged:
				wanted, target = 0, "≤ 0"
			case changed:
				wanted = 2 * o.Users / 100
			}
			quotient := ratio(float64(records), float64(cmp.Or(wanted, all)))
			writes = append(writes, row{What: "record writes", Case: name + ", " + e.label, Bound: e.bound, Ratio: quotient, Target: target,
				Measured: fmt.Sprintf("%s; %s write units in each Region, %s read units", number(records), number(int64(e.usage.WriteUnits)), number(int64(e.usage.ReadUnits)))})
		}
		requests := func(u sim.Usage, removed float64) float64 {
			return exportsAMonth * ((u.WriteUnits+removed)*perWriteUnit*regions + u.ReadUnits*perReadUnit)
		}
		stored := func(items, bytes float64) float64 {
			return (bytes + items*perItem) / (1 << 30) * perGBMonth * regions
		}
		was, is := o.Unchanged.Usage, o.Changed.Usage
		older := float64(is.Items - was.Items) // versions a day; once the retention has passed as many are removed
		changing := requests(is, older)
		keeping := stored(float64(was.Items)+retentionDays*older, float64(was.Bytes)+retentionDays*float64(is.Bytes-was.Bytes))
		published := ""
		if o.Users == 500_000 {
			published = "$86"
		}
		months = append(months,
			row{What: "DynamoDB a month, daily, 2 Regions", Case: name + fmt.Sprintf(", %s each day, %d days kept", changed, retentionDays), Retired: published,
				Measured: fmt.Sprintf("$%.2f (requests $%.2f, storage and recovery $%.2f)", changing+keeping, changing, keeping)},
			row{What: "DynamoDB a month, daily, 2 Regions", Case: name + ", " + unchanged,
				Measured: fmt.Sprintf("$%.2f", requests(was, 0)+stored(float64(was.Items), float64(was.Bytes)))})
		lambdas = append(lambdas, perRun("export", name+", "+changed+", CognitoTPS 10", o.Changed.Execution, sizes))
	}
	return slices.Concat(writes, months, lambdas), nil
}

// perRun is what Lambda and Step Functions bill for an execution; the time that
// processors take is not simulated.
func perRun(what, name string, e *sim.Execution, sizes map[string]float64) row {
	gbSeconds, requests := 0.0, 0
	for _, function := range slices.Sorted(maps.Keys(e.Billed)) {
		gbSeconds += e.Billed[function].Duration.Seconds() * sizes[function] / megabytesPerGB
		requests += e.Billed[function].Invocations
	}
	dollars := gbSeconds*perGBSecond + float64(requests)*perRequest + float64(e.Transitions)*perTransition
	month := ""
	if what == "export" {
		month = fmt.Sprintf("; $%.2f a month", exportsAMonth*dollars)
	}
	return row{What: "Lambda and Step Functions per " + what, Case: name,
		Measured: fmt.Sprintf("$%.4f (%s GB-s, %s requests, %s transitions)%s", dollars, number(int64(math.Round(gbSeconds))), number(requests), number(e.Transitions), month)}
}
