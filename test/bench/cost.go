package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"cognito-backup/internal/backup"
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
	regions        = 2
	exportsAMonth  = 30
	megabytesPerGB = 1024
)

// memory is what the templates give the functions of the ExportWorkflow, in MB.
var memory = map[string]float64{"clean-up-backup-table": 3008}

const usualMemory = 512

// unchanged is the export of a pool as it was.
const unchanged = "unchanged"

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
			{"1 % changed", o.Changed.Usage, fmt.Sprintf("%s records, each with its older version", number(o.Users/100))},
		} {
			records := int64(0)
			for _, kind := range []backup.Kind{backup.KindUser, backup.KindGroup, backup.KindMembership, backup.KindPool} {
				records += e.usage.Written[kind]
			}
			quotient, target := "", ""
			if e.label == unchanged {
				quotient, target = ratio(float64(records)/float64(o.Users+o.Memberships()+o.Groups()+1)), "≤ 0"
			}
			writes = append(writes, row{What: "record writes", Case: name + ", " + e.label, Bound: e.bound, Ratio: quotient, Target: target,
				Measured: fmt.Sprintf("%s; %s write units in each Region, %s read units", number(records), number(int64(e.usage.WriteUnits)), number(int64(e.usage.ReadUnits)))})
		}
		month := func(u sim.Usage) float64 {
			return exportsAMonth * (u.WriteUnits*perWriteUnit*regions + u.ReadUnits*perReadUnit)
		}
		stored := float64(o.Changed.Usage.Bytes) / (1 << 30) * perGBMonth * regions
		published := ""
		if o.Users == 500_000 {
			published = "$86"
		}
		months = append(months,
			row{What: "DynamoDB a month, daily, 2 Regions", Case: name + ", 1 % changed each day", Retired: published,
				Measured: fmt.Sprintf("$%.2f (requests $%.2f, storage and recovery $%.2f)", month(o.Changed.Usage)+stored, month(o.Changed.Usage), stored)},
			row{What: "DynamoDB a month, daily, 2 Regions", Case: name + ", unchanged",
				Measured: fmt.Sprintf("$%.2f", month(o.Unchanged.Usage)+stored)})
		gbSeconds, requests := billed(o.Changed.Execution)
		lambdas = append(lambdas, row{What: "Lambda and Step Functions per export", Case: name + ", 1 % changed, CognitoTPS 10",
			Measured: fmt.Sprintf("$%.4f (%.0f GB-s, %d requests, %d transitions); $%.2f a month", gbSeconds*perGBSecond+float64(requests)*perRequest+float64(o.Changed.Execution.Transitions)*perTransition,
				gbSeconds, requests, o.Changed.Execution.Transitions, exportsAMonth*(gbSeconds*perGBSecond+float64(requests)*perRequest+float64(o.Changed.Execution.Transitions)*perTransition))})
	}
	return slices.Concat(writes, months, lambdas), nil
}

func billed(e *sim.Execution) (gbSeconds float64, requests int) {
	for _, name := range slices.Sorted(maps.Keys(e.Billed)) {
		size := memory[name]
		if size == 0 {
			size = usualMemory
		}
		gbSeconds += e.Billed[name].Duration.Seconds() * size / megabytesPerGB
		requests += e.Billed[name].Invocations
	}
	return gbSeconds, requests
}
