package main

import (
	"context"
	"fmt"
	"io"
	"maps"
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
	assembly string // cloud assembly
	source   string // module root
}

// result is what a campaign showed.
type result struct {
	runs, exports, imports int
	restarted              int            // executions that failed under their faults and were started again
	records                int            // held against the truth
	injected               map[string]int // faults by kind
	troubled               map[string]int // runs by the troubles they had
	losses, duplicates     int
	unaccounted            int
	failures               []string // one for each run that was not clean
	took                   time.Duration
}

func newResult() *result {
	return &result{injected: map[string]int{}, troubled: map[string]int{}}
}

func (r *result) add(o *result) {
	r.runs += o.runs
	r.exports += o.exports
	r.imports += o.imports
	r.restarted += o.restarted
	r.records += o.records
	r.losses += o.losses
	r.duplicates += o.duplicates
	r.unaccounted += o.unaccounted
	r.failures = append(r.failures, o.failures...)
	for kind, n := range o.injected {
		r.injected[kind] += n
	}
	for trouble, n := range o.troubled {
		r.troubled[trouble] += n
	}
}

func (r *result) clean() bool { return len(r.failures) == 0 }

func (c *campaign) carryOut(ctx context.Context, out io.Writer) *result {
	total, began := newResult(), time.Now()
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(max(1, c.parallel))
	for i := range c.runs {
		g.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			seed := c.seed + uint64(i)
			began := time.Now()
			one := c.run(ctx, seed)
			mu.Lock()
			defer mu.Unlock()
			total.add(one)
			for _, f := range one.failures {
				fmt.Fprintf(out, "%s\nreplay: make faults RUNS=1 SEED=%d\n", f, seed)
			}
			if c.verbose {
				fmt.Fprintf(out, "seed %d in %s: %d records, %d executions started again, %s\n", seed, time.Since(began).Round(time.Second), one.records, one.restarted, strings.Join(slices.Sorted(maps.Keys(one.troubled)), ", "))
			}
			return nil
		})
	}
	_ = g.Wait() // the runs' failures are in the result
	total.took = time.Since(began)
	return total
}

// report is the campaign's outcome as Markdown.
func (r *result) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs with %d exports and %d imports in %s; %d records held against the truth; %d executions failed under their faults and were started again.\n\n",
		r.runs, r.exports, r.imports, r.took.Round(time.Second), r.records, r.restarted)
	fmt.Fprintf(&b, "**%d losses, %d duplicates, %d unaccounted; %d runs not clean.**\n\n", r.losses, r.duplicates, r.unaccounted, len(r.failures))
	b.WriteString("| fault | injected |\n|---|---:|\n")
	for _, kind := range slices.Sorted(maps.Keys(r.injected)) {
		fmt.Fprintf(&b, "| %s | %d |\n", kind, r.injected[kind])
	}
	b.WriteString("\n| trouble | runs |\n|---|---:|\n")
	for _, trouble := range slices.Sorted(maps.Keys(r.troubled)) {
		fmt.Fprintf(&b, "| %s | %d |\n", trouble, r.troubled[trouble])
	}
	return b.String()
}
