// Command bench measures what the project promises: rates against quotas,
// durations against the floors that quotas set, what AWS bills, and the memory
// of every function. Figures are kept in docs/benchmarks.json; those that are
// measured again replace the ones before, and docs/benchmarks.md shows them all.
//
// Durations and rates come from simulations in virtual time (test/sim) and do not
// depend on the machine. Memory and cold starts are those of the real
// functions as processes on the testbed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"cognito-backup/test/figures"
)

// cache is where outcomes of simulations are kept, and what carries them out.
const cache = ".build/bench"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	sizes     []int          // pools to simulate
	most      int            // memberships of the largest pool to simulate
	processes []int          // pools to run the real functions on
	only      []string       // parts; none: all of them
	cases     *regexp.Regexp // what is measured; nil: everything
	parallel  int            // simulations side by side
	kept      bool           // carry none out
	show      bool           // measure nothing
	store     string         // file of the figures; empty: none
	page      string         // file that shows them; empty: none
}

// membershipsUnasked is up to how many memberships pools are simulated unless
// somebody asks for more.
const membershipsUnasked = 3_000_000

func parse(args []string) (*options, error) {
	o := &options{}
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	sizes := set.String("sizes", "", "users of the pools to simulate, for cost, too; those of the page if it is not given")
	processes := set.String("processes", "10000,100000", "users of the pools to run the real functions on; 1000000 takes hours")
	only := set.String("only", "", "parts to measure, of "+strings.Join(names(), ", ")+"; the others keep their figures")
	cases := set.String("cases", "", "regular expression: measure only what has a row whose columns what and case, with a comma between, match it")
	set.IntVar(&o.most, "memberships", membershipsUnasked, "memberships of the largest pool to simulate: each takes some 0.1 ms and 0.5 KB")
	set.BoolVar(&o.kept, "kept", false, "carry no simulation out, use those that are kept of the same sources")
	set.BoolVar(&o.show, "show", false, "measure nothing, write the page from the figures that are kept")
	set.IntVar(&o.parallel, "parallel", 1, "simulations side by side; their figures do not depend on it, the memory they take does")
	set.StringVar(&o.store, "store", "docs/benchmarks.json", "file that keeps the figures; empty for none")
	set.StringVar(&o.page, "into", "docs/benchmarks.md", "file that shows them; empty for none")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("%q is no flag; bench -h lists them", set.Arg(0))
	}
	var err error
	if o.sizes, err = numbers(*sizes); err != nil {
		return nil, fmt.Errorf("-sizes: %w", err)
	}
	if o.processes, err = numbers(*processes); err != nil {
		return nil, fmt.Errorf("-processes: %w", err)
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	for _, name := range o.only {
		if !slices.Contains(names(), name) {
			return nil, fmt.Errorf("-only: no part is called %q; there are %s", name, strings.Join(names(), ", "))
		}
	}
	if *cases != "" {
		if o.cases, err = regexp.Compile(*cases); err != nil {
			return nil, fmt.Errorf("-cases: %w", err)
		}
	}
	return o, nil
}

func names() []string {
	var all []string
	for _, p := range parts() {
		all = append(all, p.name)
	}
	return all
}

func numbers(list string) ([]int, error) {
	var all []int
	for _, s := range strings.Split(list, ",") {
		if s == "" {
			continue
		}
		n, err := strconv.Atoi(s)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%q is no number of users", s)
		}
		all = append(all, n)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// bench is one run.
type bench struct {
	*options
	origin figures.Provenance // of what is being measured

	mu    sync.Mutex
	table *table
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	b := &bench{options: o}
	if b.table, err = read(o.store); err != nil {
		return err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	measured := 0
	var failed error
	for _, p := range parts() {
		if o.show || len(o.only) > 0 && !slices.Contains(o.only, p.name) {
			continue
		}
		cells := p.chosen(o)
		if len(cells) == 0 {
			continue
		}
		measured += len(cells)
		fmt.Fprintf(os.Stderr, "measuring: %s, %d of it\n", p.name, len(cells))
		b.origin = figures.Here()
		if err := p.measure(ctx, b, cells); err != nil {
			failed = fmt.Errorf("%s: %w", p.name, err)
			break
		}
	}
	if measured == 0 && !o.show {
		return errors.New("nothing that can be measured is chosen; compare -cases with the columns what and case of docs/benchmarks.md, or raise -memberships")
	}
	// What was measured before something failed is kept already.
	if err := b.put(); err != nil {
		return errors.Join(failed, err)
	}
	text, missed := render(b.table)
	fmt.Print(text)
	if failed == nil && missed > 0 {
		failed = fmt.Errorf("%d figures miss their target; the table above names them", missed)
	}
	return failed
}

// put replaces rows in the store and writes the page anew. It reads the store
// again, because another run may have put something there meanwhile.
func (b *bench) put(rows ...row) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.store != "" {
		var err error
		if b.table, err = read(b.store); err != nil {
			return err
		}
	}
	for i := range rows {
		rows[i].Provenance = b.origin
	}
	removed, err := b.table.merge(rows, b.options)
	if err != nil {
		return err
	}
	for _, r := range removed {
		fmt.Fprintf(os.Stderr, "removed, because no part measures it any more: %s (%s)\n", r.text(), r.Measured)
	}
	if b.store != "" {
		if err := b.table.write(b.store); err != nil {
			return err
		}
	}
	if b.page == "" {
		return nil
	}
	text, _ := render(b.table)
	return figures.Put(b.page, "bench", text)
}
