// Command faults torments whole workflows on the testbed: run after run, each
// with a pool, changes and faults that follow from its seed, it exports, changes
// the pool, exports again and restores into the other Region, and holds what
// came of it against the truth. Every kind of fault that the testbed knows
// occurs, alone and together with others.
//
// A workflow may fail under faults that outlast its retries; it is then started
// again, as a person would. What it must never do is lose a record, double one
// or leave one unaccounted.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"cognito-backup/test/figures"
)

// worthKeeping is how many runs make a campaign of which the outcome is kept.
const worthKeeping = 100

func main() {
	c := campaign{assembly: "cdk.out", source: "."}
	flag.IntVar(&c.runs, "runs", 10, "how many runs")
	flag.Uint64Var(&c.seed, "seed", 1, "seed of the first run; each run's is one more than that of the run before")
	flag.IntVar(&c.parallel, "parallel", 2, "runs side by side")
	flag.BoolVar(&c.verbose, "v", false, "say what each run does")
	into := flag.String("into", "", fmt.Sprintf("file that keeps the outcome, if there were %d runs or more", worthKeeping))
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result := c.carryOut(ctx, os.Stdout)
	fmt.Print(result.report())
	if *into != "" && result.runs >= worthKeeping {
		text := fmt.Sprintf("`make faults RUNS=%d SEED=%d` on %s:\n\n%s", c.runs, c.seed, figures.Origin(), result.report())
		if err := figures.Put(*into, "faults", text); err != nil {
			fmt.Fprintln(os.Stderr, "faults:", err)
			os.Exit(1)
		}
	}
	if !result.clean() {
		os.Exit(1)
	}
}
