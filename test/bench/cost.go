package main

import (
	"cmp"
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
// Source: the pricing pages of DynamoDB, Lambda (arm64), Step Functions, S3
// (Standard) and SQS (standard queues).
const (
	perWriteUnit   = 0.625e-6 // replicated or not
	perReadUnit    = 0.125e-6
	perGBMonth     = 0.25 + 0.20 // storage and point-in-time recovery
	perGBSecond    = 0.0000133334
	perRequest     = 0.20e-6
	perTransition  = 0.025e-3
	perObjectWrite = 0.005e-3 // PUT and LIST; DELETE is free
	perObjectRead  = 0.0004e-3
	perQueueCall   = 0.40e-6
	perItem        = 100 // bytes that DynamoDB's storage counts beside each item's own
	regions        = 2
	exportsAMonth  = 30
	retentionDays  = 35 // the default
	megabytesPerGB = 1024
	readUnit       = 4096 // bytes that a strongly consistent read gets for one unit
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

// The exports: the first, one of the pool as it was, and one after one user in
// a hundred has changed.
const (
	first     = "first export"
	unchanged = "unchanged"
	changed   = "1 % changed"
)

// Kinds of rows of cost, in the order of the table.
const (
	ofWrites = iota
	ofMonths
	ofRuns
)

const (
	costOfRestore = "cost per restore"
	costOfExport  = "cost per export, without DynamoDB"
)

// costCells measure what a first, an unchanged and a changed export write and
// read, and what a month of daily exports costs.
func costCells(sizes []int) []cell {
	var cells []cell
	for _, users := range sizes {
		cells = append(cells, costCell(sim.Case{Shape: sim.Shape{Users: users, GroupsEach: 1}, TPS: 10, Shards: 1, Latency: sim.Typical(), ExportOnly: true, Repeat: true}))
	}
	return cells
}

func costCell(c sim.Case) cell {
	name := fmt.Sprintf("%s users, one group each", number(c.Users))
	records := c.Users + c.Memberships() + c.Groups() + 1
	all := cell{name: "record writes, " + name, users: c.Users, simulation: c}
	for _, e := range []struct {
		label, target, bound string
		wanted               int // records
		usage                func(*outcome) *sim.Usage
	}{
		{first, allTarget, fmt.Sprintf("%s records", number(records)), records, func(o *outcome) *sim.Usage { return &o.ExportUsage }},
		{unchanged, noneTarget, "0 records", 0, func(o *outcome) *sim.Usage { return &o.Unchanged.Usage }},
		{changed, allTarget, fmt.Sprintf("%s records, each with its older version", number(c.Users/100)), 2 * c.Users / 100, func(o *outcome) *sim.Usage { return &o.Changed.Usage }},
	} {
		all.rows = append(all.rows, planned{order: ofWrites, row: row{What: "record writes", Case: name + ", " + e.label, Target: e.target}, found: func(o *outcome) found {
			u, written := e.usage(o), int64(0)
			for _, kind := range []backup.Kind{backup.KindUser, backup.KindGroup, backup.KindMembership, backup.KindPool} {
				written += u.Written[kind]
			}
			return found{bound: e.bound, ratio: ratio(float64(written), float64(cmp.Or(e.wanted, records))),
				measured: fmt.Sprintf("%s; %s write units in each Region, %s read units", number(written), number(int64(u.WriteUnits)), number(int64(u.ReadUnits)))}
		}})
	}
	const month = "DynamoDB a month, daily, 2 Regions"
	published := ""
	if c.Users == 500_000 {
		published = "$86"
	}
	all.rows = append(all.rows,
		planned{order: ofMonths, row: row{What: month, Case: name + fmt.Sprintf(", %s each day, %d days kept", changed, retentionDays), Retired: published}, found: func(o *outcome) found {
			requests, storage := months(&o.Unchanged.Usage, &o.Changed.Usage)
			return found{measured: fmt.Sprintf("$%.2f (requests $%.2f, storage and recovery $%.2f)", requests+storage, requests, storage)}
		}},
		planned{order: ofMonths, row: row{What: month, Case: name + ", " + unchanged}, found: func(o *outcome) found {
			requests, storage := months(&o.Unchanged.Usage, &o.Unchanged.Usage)
			return found{measured: fmt.Sprintf("$%.2f", requests+storage)}
		}},
		planned{order: ofRuns, row: row{What: costOfExport, Case: name + ", " + changed + ", CognitoTPS 10"}, found: func(o *outcome) found {
			run := billed(o.Changed.Execution, o.memory, nil)
			return found{measured: fmt.Sprintf("%s; $%.2f a month", run, exportsAMonth*run.dollars)}
		}})
	return all
}

// months is what DynamoDB bills for a month of daily exports, each like the one
// that found the table as it was and left it as it is, once the retention has
// passed: as many versions are removed each day as are added, and every export
// reads those that are kept, but for the ones of the day itself, which it has
// read already.
func months(was, is *sim.Usage) (requests, storage float64) {
	older, olderBytes := float64(is.Items-was.Items), float64(is.Bytes-was.Bytes) // a day
	reads := is.ReadUnits + (retentionDays-1)*olderBytes/readUnit
	requests = exportsAMonth * ((is.WriteUnits+older)*perWriteUnit*regions + reads*perReadUnit)
	items, bytes := float64(was.Items)+retentionDays*older, float64(was.Bytes)+retentionDays*olderBytes
	return requests, (bytes + items*perItem) / (1 << 30) * perGBMonth * regions
}

// bill is what AWS bills for one execution.
type bill struct {
	dollars float64
	parts   []string
}

func (b bill) String() string {
	return fmt.Sprintf("$%.4f (%s)", b.dollars, strings.Join(b.parts, "; "))
}

func (b *bill) add(service string, dollars float64, format string, args ...any) {
	b.dollars += dollars
	b.parts = append(b.parts, fmt.Sprintf("%s $%.4f: ", service, dollars)+fmt.Sprintf(format, args...))
}

// billed is the bill of an execution. The time that processors take is not
// simulated; the table's part is left out without its usage.
func billed(e *sim.Execution, memory map[string]float64, u *sim.Usage) bill {
	gbSeconds, requests := 0.0, 0
	for _, function := range slices.Sorted(maps.Keys(e.Billed)) {
		gbSeconds += e.Billed[function].Duration.Seconds() * memory[function] / megabytesPerGB
		requests += e.Billed[function].Invocations
	}
	var b bill
	b.add("Lambda", gbSeconds*perGBSecond+float64(requests)*perRequest, "%s GB-s, %s requests", number(int64(math.Round(gbSeconds))), number(requests))
	b.add("Step Functions", float64(e.Transitions)*perTransition, "%s transitions", number(e.Transitions))
	r := e.Requests
	b.add("S3", float64(r.Writes)*perObjectWrite+float64(r.Reads)*perObjectRead, "%s PUT and LIST, %s GET", number(r.Writes), number(r.Reads))
	b.add("SQS", float64(r.Queue)*perQueueCall, "%s requests", number(r.Queue))
	if u != nil {
		b.add("DynamoDB", u.WriteUnits*perWriteUnit*regions+u.ReadUnits*perReadUnit, "%s write units in each Region, %s read units", number(int64(u.WriteUnits)), number(int64(u.ReadUnits)))
	}
	return b
}
