package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// campaign is a number of runs.
type campaign struct {
	runs     int
	seed     uint64
	parallel int
	verbose  bool
	with     string // troubles that are there in any case, by the beginning of their name
	assembly string // cloud assembly
	source   string // module root
	kept     string // folder that keeps the runs' outcomes; empty for none
}

// result is what a run or a campaign showed.
type result struct {
	Runs, Exports, Imports int
	Restarted              int            // executions that failed under their faults and were started again
	Records                int            // held against the truth, each as often as that was done
	Injected               map[string]int // faults by trouble
	Troubled               map[string]int // runs by the troubles that were drawn for them
	Losses, Duplicates     int
	Unaccounted            int
	Failures               []string      // one for each run that was not clean
	Took                   time.Duration // all runs, one after the other
}

func newResult() *result {
	return &result{Injected: map[string]int{}, Troubled: map[string]int{}}
}

func (r *result) add(o *result) {
	r.Runs += o.Runs
	r.Exports += o.Exports
	r.Imports += o.Imports
	r.Restarted += o.Restarted
	r.Records += o.Records
	r.Losses += o.Losses
	r.Duplicates += o.Duplicates
	r.Unaccounted += o.Unaccounted
	r.Took += o.Took
	r.Failures = append(r.Failures, o.Failures...)
	for kind, n := range o.Injected {
		r.Injected[kind] += n
	}
	for trouble, n := range o.Troubled {
		r.Troubled[trouble] += n
	}
}

func (r *result) clean() bool { return len(r.Failures) == 0 }

func (c *campaign) carryOut(ctx context.Context, out io.Writer) *result {
	total := newResult()
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(max(1, c.parallel))
	for i := range c.runs {
		g.Go(func() error {
			seed := c.seed + uint64(i)
			one := c.outcome(ctx, seed)
			if ctx.Err() != nil {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			total.add(one)
			for _, f := range one.Failures {
				fmt.Fprintf(out, "%s\nreplay: %s\n", f, c.replay(seed))
			}
			if c.verbose {
				fmt.Fprintf(out, "seed %d in %s: %d records, %d executions started again, %s\n", seed, one.Took.Round(time.Second), one.Records, one.Restarted, one.troubled())
			}
			return nil
		})
	}
	_ = g.Wait() // the runs' failures are in the result
	total.Failures = append(total.Failures, total.impossible()...)
	if total.Runs >= worthKeeping && c.with == "" {
		total.Failures = append(total.Failures, total.idle()...)
	}
	return total
}

// replay is the command that carries out the run of a seed again.
func (c *campaign) replay(seed uint64) string {
	if c.with != "" {
		return fmt.Sprintf(".build/faults -runs 1 -seed %d -with %q", seed, c.with)
	}
	return fmt.Sprintf("make faults RUNS=1 SEED=%d", seed)
}

// cutShort says how far a campaign came that was ended before its last run; nil
// for one that was not.
func (c *campaign) cutShort(r *result) error {
	if r.Runs == c.runs {
		return nil
	}
	next := "the next call begins anew"
	if c.kept != "" {
		next = "the next call goes on from there"
	}
	return fmt.Errorf("%d of %d runs were carried out; %s", r.Runs, c.runs, next)
}

// idle names the troubles that have never struck, though they can.
func (r *result) idle() []string {
	all := []string{replicaLags, replicaHalts, replicaStopped}
	for i := range troubles {
		if t := &troubles[i]; t.harmless == "" {
			all = append(all, t.name)
		}
	}
	all = slices.DeleteFunc(all, func(name string) bool { return r.Injected[name] > 0 })
	for i, name := range all {
		all[i] = fmt.Sprintf("%s: drawn for %d runs, and has never struck", name, r.Troubled[name])
	}
	return all
}

// impossible names the troubles that could not strike and have.
func (r *result) impossible() []string {
	var failures []string
	for i := range troubles {
		if t := &troubles[i]; t.harmless != "" && r.Injected[t.name] > 0 {
			failures = append(failures, fmt.Sprintf("%s: has struck %d times, though %s", t.name, r.Injected[t.name], t.harmless))
		}
	}
	return failures
}

// outcome carries out the run of a seed, unless one of the same sources is kept.
func (c *campaign) outcome(ctx context.Context, seed uint64) *result {
	one := newResult()
	file := filepath.Join(c.kept, fmt.Sprintf("%d.json", seed))
	if c.kept != "" {
		if b, err := os.ReadFile(file); err == nil && json.Unmarshal(b, one) == nil {
			return one
		}
	}
	if ctx.Err() != nil {
		return one
	}
	began := time.Now()
	one = c.run(ctx, seed)
	one.Took = time.Since(began)
	if c.kept != "" && ctx.Err() == nil {
		b, err := json.Marshal(one)
		if err == nil {
			err = os.WriteFile(file, b, 0o644)
		}
		if err != nil {
			one.Failures = append(one.Failures, fmt.Sprintf("seed %d: keep the outcome: %v", seed, err))
		}
	}
	return one
}

// report is the campaign's outcome as Markdown.
func (r *result) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs with %d exports and %d imports that took %s one after the other; %d records held against the truth; %d executions failed under their faults and were started again.\n\n",
		r.Runs, r.Exports, r.Imports, r.Took.Round(time.Second), r.Records, r.Restarted)
	fmt.Fprintf(&b, "**%d losses, %d duplicates, %d unaccounted; %d runs not clean.**\n\n", r.Losses, r.Duplicates, r.Unaccounted, len(r.Failures))
	b.WriteString("| fault | runs | injected |\n|---|---:|---:|\n")
	for _, name := range slices.Sorted(maps.Keys(r.Troubled)) {
		fmt.Fprintf(&b, "| %s | %d | %d |\n", name, r.Troubled[name], r.Injected[name])
	}
	for i := range troubles {
		if t := &troubles[i]; t.harmless != "" && r.Troubled[t.name] > 0 {
			fmt.Fprintf(&b, "\nNot one of the %s may happen: %s.\n", t.name, t.harmless)
		}
	}
	return b.String()
}

// troubled lists the troubles with how often they have struck.
func (r *result) troubled() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.Troubled)) {
		all = append(all, fmt.Sprintf("%s: %d", name, r.Injected[name]))
	}
	return strings.Join(all, ", ")
}
