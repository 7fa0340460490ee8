package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"cognito-backup/test/sim"
)

const (
	// csvRate is how many users a second an import job is assumed to handle. AWS
	// documents no such figure; the retired solution's benchmarks imply this one.
	csvRate = 35
	// most is the CognitoTPS at which every quota is used up; the product asks for
	// no more than a quota that cannot be raised.
	most = 50
)

// outcome is what a simulation showed, and the memory of the functions in MB.
type outcome struct {
	*sim.Outcome
	memory map[string]float64
}

// simulate carries simulations out, in a test binary because virtual time is
// to be had in tests only. What one of them showed is kept as soon as it has
// ended, whatever becomes of the others.
func simulate(ctx context.Context, b *bench, cells []cell) error {
	binary, err := filepath.Abs(filepath.Join(cache, "sim.test"))
	if err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-o", binary, "./test/sim")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the simulation: %w", err)
	}
	version, err := fingerprint(binary, "cdk.out")
	if err != nil {
		return err
	}
	mb, err := memory("cdk.out")
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(max(1, b.parallel))
	for _, c := range cells {
		g.Go(func() error {
			one, err := carryOut(ctx, b.options, binary, version, c.simulation)
			if errors.Is(err, errNotKept) {
				fmt.Fprintf(os.Stderr, "not kept of these sources: %s\n", c.name)
				return nil
			}
			if err != nil {
				return fmt.Errorf("simulate %s: %w", c.name, err)
			}
			return b.put(c.measured(&outcome{one, mb})...)
		})
	}
	return g.Wait()
}

// measured are the rows of a cell.
func (c *cell) measured(o *outcome) []row {
	var rows []row
	for _, p := range c.rows {
		f := p.found(o)
		p.row.Measured, p.row.Bound, p.row.Ratio = f.measured, f.bound, f.ratio
		rows = append(rows, p.row)
	}
	return rows
}

// errNotKept says that a simulation is not carried out because only those kept
// were asked for.
var errNotKept = errors.New("not kept")

// fingerprint is different when anything is that decides how a simulation goes:
// the test binary, or the state machines that it reads.
func fingerprint(binary, assembly string) (string, error) {
	files, err := filepath.Glob(filepath.Join(assembly, "*.template.json"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("no templates in %s; run make synth first", assembly)
	}
	h := sha256.New()
	for _, file := range append(files, binary) {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d ", filepath.Base(file), len(b))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// carryOut carries one simulation out, in a process of its own, which gives its
// memory back at the end. One that somebody ended is begun again. The same
// simulation of the same sources comes out the same, so it is kept, and is not
// carried out twice.
func carryOut(ctx context.Context, options *options, binary, version string, c sim.Case) (*sim.Outcome, error) {
	b, err := json.Marshal([]sim.Case{c})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	name := version + "-" + hex.EncodeToString(sum[:8])
	kept := filepath.Join(cache, "outcomes", name+".json")
	if o, err := readOutcome(kept); err == nil {
		return o, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if options.kept {
		return nil, errNotKept
	}
	list, err := filepath.Abs(filepath.Join(cache, name+".json"))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(list, b, 0o644); err != nil {
		return nil, err
	}
	into := strings.TrimSuffix(list, ".json") + ".jsonl"
	defer os.Remove(list)
	defer os.Remove(into)
	for range 3 {
		run := exec.CommandContext(ctx, binary, "-test.run", "^TestCases$", "-test.v", "-test.timeout", "0", "-cases", list, "-outcomes", into)
		run.Dir = "test/sim"
		if _, set := os.LookupEnv("GOMEMLIMIT"); !set && c.Users+c.Memberships() >= 10_000_000 {
			run.Env = append(os.Environ(), "GOMEMLIMIT=18GiB") // near the usual limit the collector would never rest
		}
		run.Stdout, run.Stderr = os.Stderr, os.Stderr
		err = run.Run()
		if ended, ok := errors.AsType[*exec.ExitError](err); !ok || ended.Exited() || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return nil, err
	}
	if err := os.Rename(into, kept); err != nil {
		return nil, err
	}
	return readOutcome(kept)
}

func readOutcome(file string) (*sim.Outcome, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var o sim.Outcome
	return &o, json.Unmarshal(b, &o)
}

// shards is how an export at that rate is set up: beyond what one cursor can
// do at the latency assumed, users are listed in shards.
func shards(tps int) int {
	if tps > 10 {
		return 16
	}
	return 1
}

// retired are the published minutes of the retired solution at CognitoTPS 10,
// export and restore, by users and groups each.
var retired = map[sim.Shape][2]float64{
	{Users: 10_000}: {2.62, 8.13}, {Users: 10_000, GroupsEach: 1}: {4.76, 29.24},
	{Users: 100_000}: {21.82, 56.31}, {Users: 100_000, GroupsEach: 1}: {40.26, 290.24},
	{Users: 250_000}: {54.79, 128.2}, {Users: 250_000, GroupsEach: 1}: {98.65, 678.29},
	{Users: 500_000}: {146.52, 247.63}, {Users: 500_000, GroupsEach: 1}: {181.46, 1313.31},
}

// Kinds of rows of simulations, in the order of the table.
const (
	ofExports = iota
	ofRestores
	ofMachines
	ofCosts
)

// simulationCells measure durations against the floors that the quotas set.
func simulationCells(sizes []int) []cell {
	var cells []cell
	for _, users := range sizes {
		for _, each := range []int{0, 1, 20} {
			for _, tps := range []int{10, most} {
				for _, rate := range []float64{csvRate, 0} {
					cells = append(cells, simulationCell(sim.Case{Shape: sim.Shape{Users: users, GroupsEach: each}, TPS: tps, Shards: shards(tps), CSVRate: rate, Latency: sim.Typical()}))
				}
			}
		}
	}
	return cells
}

func simulationCell(c sim.Case) cell {
	name := describe(c.Shape, c.TPS)
	restored := name + with(c.CSVRate)
	published := [2]string{}
	if p, ok := retired[c.Shape]; ok && c.TPS == 10 && c.CSVRate > 0 {
		published = [2]string{minutes(p[0]), minutes(p[1])}
	}
	all := cell{name: restored, users: c.Users, simulation: c}
	if c.CSVRate > 0 { // the export is the same without
		all.rows = append(all.rows,
			planned{order: ofExports, row: row{What: "export", Case: name + plural(c.Shards, ", %d shards"), Target: fromSize(c.Users, exportTarget), Retired: published[0]},
				found: func(o *outcome) found {
					return found{took(o.Export.Duration), took(o.ExportFloor), new(o.ExportRatio())}
				}},
			planned{order: ofMachines, row: row{What: "Step Functions: export", Case: name, Target: limitTarget}, found: func(o *outcome) found { return machine(o.Export) }})
	}
	all.rows = append(all.rows,
		planned{order: ofRestores, row: row{What: "restore", Case: restored, Target: fromSize(c.Users, restoreTarget), Retired: published[1]},
			found: func(o *outcome) found {
				return found{took(o.Restore.Duration), took(o.RestoreFloor), new(o.RestoreRatio())}
			}},
		planned{order: ofMachines, row: row{What: "Step Functions: restore", Case: restored, Target: limitTarget}, found: func(o *outcome) found { return machine(o.Restore) }},
		planned{order: ofCosts, row: row{What: costOfRestore, Case: restored}, found: func(o *outcome) found {
			return found{measured: billed(o.Restore, o.memory, &o.RestoreUsage).String()}
		}})
	return all
}

// with says how a restore creates users.
func with(csvRate float64) string {
	if csvRate == 0 {
		return ", all users by API"
	}
	return fmt.Sprintf(", CSV at %g users/s", csvRate)
}

// fromSize is a target that pools of 100,000 users and more have: in a smaller
// one the seconds that do not grow with it weigh more.
func fromSize(users int, target string) string {
	if users < 100_000 {
		return ""
	}
	return target
}

// mostEvents is how many events the history of an execution may have (Step
// Functions, quotas related to state machine executions).
const mostEvents = 25_000

func machine(e *sim.Execution) found {
	return found{bound: number(mostEvents) + " events, 256 KiB", ratio: ratio(float64(e.Events), mostEvents),
		measured: fmt.Sprintf("%s transitions, %s events, largest payload %s bytes", number(e.Transitions), number(e.Events), number(e.LargestPayload))}
}

func describe(s sim.Shape, tps int) string {
	rate := fmt.Sprintf("CognitoTPS %d", tps)
	if tps == most {
		rate = "quota maximum"
	}
	return fmt.Sprintf("%s users, %s, %s", number(s.Users), groups(s.GroupsEach), rate)
}

func groups(each int) string {
	switch each {
	case 0:
		return "no groups"
	case 1:
		return "one group each"
	}
	return fmt.Sprintf("%d groups each", each)
}

func plural(n int, format string) string {
	if n <= 1 {
		return ""
	}
	return fmt.Sprintf(format, n)
}

func minutes(m float64) string { return took(time.Duration(m * float64(time.Minute))) }

// took writes a duration with three digits or more.
func took(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.2f d", d.Hours()/24)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%.2f h", d.Hours())
	case d >= 2*time.Minute:
		return fmt.Sprintf("%.2f min", d.Minutes())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// number writes n with commas between thousands.
func number[N int | int64](n N) string {
	s := fmt.Sprint(n)
	var parts []string
	for len(s) > 3 {
		parts = append([]string{s[len(s)-3:]}, parts...)
		s = s[:len(s)-3]
	}
	return strings.Join(append([]string{s}, parts...), ",")
}

// rateCells measure calls a second against the ceilings.
func rateCells([]int) []cell {
	var cells []cell
	for _, shards := range []int{1, 16} {
		for _, tps := range []int{1, 5, 10, 30} {
			for _, latency := range []time.Duration{20, 100, 200} {
				l := sim.Typical()
				l.Cognito = latency * time.Millisecond
				cells = append(cells, listingCell(sim.Case{Shape: sim.Shape{Users: 50_000, GroupsEach: 1}, TPS: tps, Shards: shards, Latency: l, ExportOnly: true}))
			}
		}
	}
	for _, tps := range []int{1, 5, 10, 25} {
		c := sim.Case{Shape: sim.Shape{Users: 2000, GroupsEach: 4}, TPS: tps, Shards: 1, CSVRate: csvRate, Latency: sim.Typical()}
		r := row{What: "restore: memberships added/s", Case: fmt.Sprintf("CognitoTPS %d, %s", tps, c.Latency.Cognito), Target: rateTarget}
		if tps == 10 {
			r.Retired = "7–8"
		}
		cells = append(cells, cell{name: r.text(), simulation: c, rows: []planned{{order: 2, row: r, found: func(o *outcome) found {
			calls := o.Spans["AdminAddUserToGroup"].Rate()
			return found{fmt.Sprintf("%.2f", calls), fmt.Sprintf("%d.00", tps), ratio(calls, float64(tps))}
		}}}})
	}
	return cells
}

func listingCell(c sim.Case) cell {
	latency, bound := c.Latency.Cognito, fmt.Sprintf("%d.00", c.TPS)
	users := row{What: "export: ListUsers calls/s", Target: rateTarget,
		Case: fmt.Sprintf("CognitoTPS %d, %s, %d shard%s", c.TPS, latency, c.Shards, map[bool]string{true: "s"}[c.Shards > 1])}
	// One cursor makes one call after the other: no more than 1/latency.
	usersBound := bound
	if cursors := float64(c.Shards) / latency.Seconds(); cursors < float64(c.TPS) {
		usersBound, users.Target = bound+fmt.Sprintf(", by one cursor %.2f", cursors), ""
	}
	all := cell{name: users.text(), simulation: c, rows: []planned{{order: 0, row: users, found: func(o *outcome) found {
		calls := o.Spans["ListUsers"].Rate()
		return found{fmt.Sprintf("%.2f (%.0f users/s)", calls, calls*float64(c.Users)/float64(o.Spans["ListUsers"].Calls)), usersBound, ratio(calls, float64(c.TPS))}
	}}}}
	if c.Shards == 1 {
		members := row{What: "export: ListUsersInGroup calls/s", Target: rateTarget,
			Case: fmt.Sprintf("CognitoTPS %d, %s, %d groups of %d", c.TPS, latency, c.Shape.Groups(), c.Users/c.Shape.Groups())}
		all.rows = append(all.rows, planned{order: 1, row: members, found: func(o *outcome) found {
			calls := o.Spans["ListUsersInGroup"].Rate()
			return found{fmt.Sprintf("%.2f (%.0f memberships/s)", calls, calls*float64(c.Memberships())/float64(o.Spans["ListUsersInGroup"].Calls)), bound, ratio(calls, float64(c.TPS))}
		}})
	}
	return all
}
