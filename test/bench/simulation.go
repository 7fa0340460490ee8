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
	"slices"
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

// outcomes carries simulations out, in a test binary because virtual time is
// to be had in tests only.
func outcomes(ctx context.Context, o *options, name string, cases []sim.Case) ([]sim.Outcome, error) {
	binary, err := filepath.Abs(filepath.Join(cache, "sim.test"))
	if err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-o", binary, "./test/sim")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build the simulation: %w", err)
	}
	version, err := fingerprint(binary, "cdk.out")
	if err != nil {
		return nil, err
	}
	all := make([]*sim.Outcome, len(cases))
	var g errgroup.Group
	g.SetLimit(max(1, o.parallel))
	for i, c := range cases {
		g.Go(func() error {
			one, err := outcome(ctx, o, binary, version, fmt.Sprintf("%s-%d", name, i), c)
			if err != nil && !errors.Is(err, errNotKept) {
				return fmt.Errorf("simulate %s at CognitoTPS %d: %w", c.Shape, c.TPS, err)
			}
			all[i] = one
			return nil
		})
	}
	err = g.Wait()
	var done []sim.Outcome
	for i, one := range all {
		if one != nil {
			done = append(done, *one)
		} else {
			o.left = append(o.left, describe(cases[i].Shape, cases[i].TPS)+with(cases[i].CSVRate))
		}
	}
	return done, err
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

// outcome carries one simulation out, in a process of its own, which gives its
// memory back at the end. One that somebody ended is begun again. The same
// simulation of the same sources comes out the same, so it is kept, and is not
// carried out twice.
func outcome(ctx context.Context, options *options, binary, version, name string, c sim.Case) (*sim.Outcome, error) {
	b, err := json.Marshal([]sim.Case{c})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	kept := filepath.Join(cache, "outcomes", version+"-"+hex.EncodeToString(sum[:8])+".json")
	if o, err := read(kept); err == nil {
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
		if _, set := os.LookupEnv("GOMEMLIMIT"); !set && c.Memberships() > 10_000_000 {
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
	return read(kept)
}

func read(file string) (*sim.Outcome, error) {
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

// simulate measures durations against the floors that the quotas set.
func simulate(ctx context.Context, o *options) ([]row, error) {
	var cases []sim.Case
	for _, users := range o.sizes {
		for _, each := range []int{0, 1, 20} {
			for _, tps := range []int{10, most} {
				c := sim.Case{Shape: sim.Shape{Users: users, GroupsEach: each}, TPS: tps, Shards: shards(tps), Latency: sim.Typical()}
				for _, c.CSVRate = range []float64{csvRate, 0} {
					if c.Memberships() > o.most {
						o.left = append(o.left, describe(c.Shape, c.TPS)+with(c.CSVRate))
					} else {
						cases = append(cases, c)
					}
				}
			}
		}
	}
	all, err := outcomes(ctx, o, "simulation", cases)
	if err != nil {
		return nil, err
	}
	sizes, err := memory("cdk.out")
	if err != nil {
		return nil, err
	}
	return simulated(all, sizes), nil
}

func simulated(all []sim.Outcome, sizes map[string]float64) []row {
	var exports, restores, machines, costs []row
	done := map[string]bool{}
	for _, o := range all {
		name := describe(o.Shape, o.TPS)
		published := [2]string{}
		if p, ok := retired[o.Shape]; ok && o.TPS == 10 {
			published = [2]string{minutes(p[0]), minutes(p[1])}
		}
		if !done[name] {
			done[name] = true
			exports = append(exports, row{What: "export", Case: name + plural(o.Shards, ", %d shards"), Measured: took(o.Export.Duration),
				Bound: took(o.ExportFloor), Ratio: new(o.ExportRatio()), Target: fromSize(o.Users, "≤ 1.05"), Retired: published[0]})
			machines = append(machines, machine("export", name, o.Export))
		}
		if o.CSVRate == 0 {
			published[1] = ""
		}
		restores = append(restores, row{What: "restore", Case: name + with(o.CSVRate), Measured: took(o.Restore.Duration),
			Bound: took(o.RestoreFloor), Ratio: new(o.RestoreRatio()), Target: fromSize(o.Users, "≤ 1.10"), Retired: published[1]})
		machines = append(machines, machine("restore", name+with(o.CSVRate), o.Restore))
		costs = append(costs, perRun("restore", name+with(o.CSVRate), o.Restore, sizes))
	}
	return slices.Concat(exports, restores, machines, costs)
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

func machine(what, name string, e *sim.Execution) row {
	return row{What: "Step Functions: " + what, Case: name, Bound: "25,000 events, 256 KiB",
		Measured: fmt.Sprintf("%s transitions, %s events, largest payload %s bytes", number(e.Transitions), number(e.Events), number(e.LargestPayload))}
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

// nearCeiling is how near to its ceiling a rate must come.
const nearCeiling = "≥ 0.95"

// rates measures calls a second against the ceilings.
func rates(ctx context.Context, o *options) ([]row, error) {
	var cases []sim.Case
	for _, shards := range []int{1, 16} {
		for _, tps := range []int{1, 5, 10, 30} {
			for _, latency := range []time.Duration{20, 100, 200} {
				l := sim.Typical()
				l.Cognito = latency * time.Millisecond
				cases = append(cases, sim.Case{Shape: sim.Shape{Users: 50_000, GroupsEach: 1}, TPS: tps, Shards: shards, Latency: l, ExportOnly: true})
			}
		}
	}
	exports := len(cases)
	for _, tps := range []int{1, 5, 10, 25} {
		cases = append(cases, sim.Case{Shape: sim.Shape{Users: 2000, GroupsEach: 4}, TPS: tps, Shards: 1, CSVRate: csvRate, Latency: sim.Typical()})
	}
	all, err := outcomes(ctx, o, "rates", cases)
	if err != nil {
		return nil, err
	}
	var users, members, added []row
	for _, o := range all[:exports] {
		latency := o.Latency.Cognito
		name := fmt.Sprintf("CognitoTPS %d, %s, %d shard%s", o.TPS, latency, o.Shards, map[bool]string{true: "s"}[o.Shards > 1])
		// One cursor makes one call after the other: no more than 1/latency.
		bound, target := fmt.Sprintf("%d.00", o.TPS), nearCeiling
		if cursors := float64(o.Shards) / latency.Seconds(); cursors < float64(o.TPS) {
			bound, target = bound+fmt.Sprintf(", by one cursor %.2f", cursors), ""
		}
		calls := o.Spans["ListUsers"].Rate()
		users = append(users, row{What: "export: ListUsers calls/s", Case: name, Measured: fmt.Sprintf("%.2f (%.0f users/s)", calls, calls*float64(o.Users)/float64(o.Spans["ListUsers"].Calls)),
			Bound: bound, Ratio: ratio(calls, float64(o.TPS)), Target: target})
		if o.Shards == 1 {
			calls = o.Spans["ListUsersInGroup"].Rate()
			members = append(members, row{What: "export: ListUsersInGroup calls/s", Case: fmt.Sprintf("CognitoTPS %d, %s, %d groups of %d", o.TPS, latency, o.Shape.Groups(), o.Users/o.Shape.Groups()),
				Measured: fmt.Sprintf("%.2f (%.0f memberships/s)", calls, calls*float64(o.Memberships())/float64(o.Spans["ListUsersInGroup"].Calls)), Bound: fmt.Sprintf("%d.00", o.TPS), Ratio: ratio(calls, float64(o.TPS)), Target: nearCeiling})
		}
	}
	for _, o := range all[exports:] {
		calls := o.Spans["AdminAddUserToGroup"].Rate()
		published := ""
		if o.TPS == 10 {
			published = "7–8"
		}
		added = append(added, row{What: "restore: memberships added/s", Case: fmt.Sprintf("CognitoTPS %d, %s", o.TPS, o.Latency.Cognito), Measured: fmt.Sprintf("%.2f", calls),
			Bound: fmt.Sprintf("%d.00", o.TPS), Ratio: ratio(calls, float64(o.TPS)), Target: nearCeiling, Retired: published})
	}
	return slices.Concat(users, members, added), nil
}
