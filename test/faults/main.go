// Command faults torments whole workflows on the testbed: run after run, each
// with a pool, changes and faults that follow from its seed, it exports, changes
// the pool, exports again and restores into the other Region. Every restore
// point, its configuration included, is held against what the pool was then,
// again after each export and import that comes later; so is the restored pool,
// and what the report says of each record. Every kind of fault that the testbed
// knows occurs, alone and together with others, and each one counts what it has
// done: in a campaign of some size one that has never struck is a failure. What
// takes hours, such as an import job that hangs, is left to test/e2e.
//
// A workflow may fail under faults that outlast its retries; somebody must then
// be told, and it is started again, as a person would. What it must never do is
// lose a record, double one or leave one unaccounted.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
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
	flag.StringVar(&c.with, "with", "", "troubles that are there in any case, by the beginning of their name; the others are drawn as ever")
	kept := flag.String("keep", "", fmt.Sprintf("folder that keeps the outcome of each run of a campaign of %d runs or more, so that one that was ended goes on where it was", worthKeeping))
	into := flag.String("into", "", fmt.Sprintf("file that keeps the outcome, if there were %d runs or more", worthKeeping))
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *kept != "" && c.runs >= worthKeeping {
		version, err := sources()
		if err != nil {
			fmt.Fprintln(os.Stderr, "faults: no outcome is kept:", err)
		} else if c.kept = filepath.Join(*kept, version); os.MkdirAll(c.kept, 0o755) != nil {
			c.kept = ""
		}
	}
	result := c.carryOut(ctx, os.Stdout)
	fmt.Print(result.report())
	if err := c.cutShort(result); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
	if *into != "" && c.runs >= worthKeeping {
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

// sources names what the outcome of a run depends on, if all of it is committed.
func sources() (string, error) {
	folders := []string{"internal", "lambdas", "stacks", "test", "go.mod"}
	changed, err := exec.Command("git", append([]string{"status", "--porcelain", "--"}, folders...)...).Output()
	if err != nil {
		return "", err
	}
	if len(changed) > 0 {
		return "", errors.New("there are changes that are not committed")
	}
	h := sha256.New()
	for _, folder := range folders {
		tree, err := exec.Command("git", "rev-parse", "HEAD:"+folder).Output()
		if err != nil {
			return "", err
		}
		h.Write(tree)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}
