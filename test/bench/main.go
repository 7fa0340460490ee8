// Command bench measures what the project promises: rates against quotas,
// durations against the floors that quotas set, what DynamoDB, Lambda and Step
// Functions bill, and the memory of every function. It prints one Markdown
// table and keeps it in docs/benchmarks.md.
//
// Durations and rates come from simulations in virtual time (test/sim) and are
// the same on every machine. Memory and cold starts are those of the real
// functions as processes on the testbed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"cognito-backup/test/figures"
)

// cache is where the outcome of each part is kept, so that one can be measured
// again without the others.
const cache = ".build/bench"

// row is one line of the table.
type row struct {
	What, Case      string
	Measured, Bound string
	Ratio           *float64 // of what was measured to the bound; nil: there is no bound
	Target          string   // what the ratio must be: "≤ 1.05", "≥ 0.95"
	Retired         string   // what the retired solution published
}

// ratio of what was measured to its bound.
func ratio(measured, bound float64) *float64 { return new(measured / bound) }

// ratio is the row's as the table shows it.
func (r *row) ratio() string {
	if r.Ratio == nil {
		return ""
	}
	return fmt.Sprintf("%.3f", *r.Ratio)
}

// met tells whether a row is as it must be, before anything is rounded. One
// without a target is.
func (r *row) met() bool {
	sign, limit, found := strings.Cut(r.Target, " ")
	if !found {
		return true
	}
	must, err := strconv.ParseFloat(limit, 64)
	if err != nil || r.Ratio == nil {
		return false
	}
	if sign == "≤" {
		return *r.Ratio <= must
	}
	return *r.Ratio >= must
}

// part is a part of the measurements.
type part struct {
	name    string
	measure func(context.Context, *options) ([]row, error)
}

var parts = []part{
	{"simulation", simulate},
	{"rates", rates},
	{"cost", cost},
	{"functions", functions},
}

type options struct {
	sizes     []int    // pools to simulate
	most      int      // memberships of the largest pool to simulate
	processes []int    // pools to run the real functions on
	parallel  int      // simulations side by side
	kept      bool     // carry none out
	left      []string // cases that were not measured
	into      string
}

// everything measures what the page is to show: sizes and memberships to
// simulate, and pools to run the real functions on.
const everything = "-sizes 10000,100000,1000000 -memberships 20000000 -processes 10000,100000,1000000"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	sizes := flag.String("sizes", "10000,100000,1000000", "users of the pools to simulate")
	processes := flag.String("processes", "10000,100000", "users of the pools to run the real functions on")
	only := flag.String("only", "", "parts to measure again, of simulation, rates, cost, functions; the others keep their figures")
	o := &options{}
	flag.IntVar(&o.most, "memberships", 3_000_000, "memberships of the largest pool to simulate: each takes some 0.1 ms and 0.5 KB")
	flag.BoolVar(&o.kept, "kept", false, "carry no simulation out, use those that are kept of the same sources")
	flag.IntVar(&o.parallel, "parallel", 1, "simulations side by side; their figures do not depend on it, the memory they take does")
	flag.StringVar(&o.into, "into", "docs/benchmarks.md", "file that keeps the table; empty for none")
	flag.Parse()
	var err error
	if o.sizes, err = numbers(*sizes); err != nil {
		return err
	}
	if o.processes, err = numbers(*processes); err != nil {
		return err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	var all []measured
	for _, p := range parts {
		m := measured{Part: p.name}
		if *only == "" || slices.Contains(strings.Split(*only, ","), p.name) {
			fmt.Fprintf(os.Stderr, "measuring: %s\n", p.name)
			o.left = nil
			if m.Rows, err = p.measure(ctx, o); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			m.Origin = figures.Origin()
			m.Left = o.left
			if err := save(&m); err != nil {
				return err
			}
		} else if err := load(&m); err != nil {
			return err
		}
		all = append(all, m)
	}
	text, missed := render(all)
	fmt.Print(text)
	if o.into != "" {
		if err := figures.Put(o.into, "bench", text); err != nil {
			return err
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d figures miss their target; the table above names them", missed)
	}
	return nil
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
	return all, nil
}

// measured is the outcome of a part.
type measured struct {
	Part   string
	Origin string // machine, date, commit
	Rows   []row
	Left   []string // cases that were left out
}

func (m *measured) file() string { return filepath.Join(cache, m.Part+".json") }

func save(m *measured) error {
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(m.file(), b, 0o644)
}

func load(m *measured) error {
	b, err := os.ReadFile(m.file())
	if errors.Is(err, fs.ErrNotExist) {
		m.Origin = "not measured"
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(b, m)
}

// render also says how many rows miss their target.
func render(all []measured) (text string, misses int) {
	var b strings.Builder
	for _, m := range all {
		fmt.Fprintf(&b, "- %s: %s\n", m.Part, m.Origin)
	}
	for _, m := range all {
		if len(m.Left) > 0 {
			fmt.Fprintf(&b, "\nNot measured yet; `make bench BENCH=\"-only %s %s\"` does: %s.\n", m.Part, everything, strings.Join(m.Left, "; "))
		}
	}
	targets, missed := 0, []string(nil)
	for _, m := range all {
		for _, r := range m.Rows {
			if r.Target != "" {
				targets++
			}
			if !r.met() {
				missed = append(missed, fmt.Sprintf("%s, %s: %s, must be %s", r.What, r.Case, r.ratio(), r.Target))
			}
		}
	}
	fmt.Fprintf(&b, "\n**%s rows have a target, %d miss it.**\n", number(targets), len(missed))
	for _, m := range missed {
		fmt.Fprintf(&b, "\n- %s", m)
	}
	b.WriteString("\n| what | case | measured | floor, ceiling or limit | ratio | target | retired solution |\n|---|---|---:|---:|---:|---:|---:|\n")
	for _, m := range all {
		for _, r := range m.Rows {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", r.What, r.Case, r.Measured, r.Bound, r.ratio(), r.Target, r.Retired)
		}
	}
	return b.String(), len(missed)
}
