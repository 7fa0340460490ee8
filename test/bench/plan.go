package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cognito-backup/test/sim"
)

// part is a part of the measurements.
type part struct {
	name    string
	sizes   []int                // of the pools that the page is to show
	asked   func(*options) []int // of those to measure, none: sizes; nil: always sizes
	cells   func(sizes []int) []cell
	measure func(context.Context, *bench, []cell) error
}

func parts() []part {
	sizes := []int{10_000, 100_000, 1_000_000}
	simulated := func(o *options) []int { return o.sizes }
	return []part{
		{"simulation", sizes, simulated, simulationCells, simulate},
		{"rates", nil, nil, rateCells, simulate},
		{"cost", []int{10_000, 100_000, 500_000, 1_000_000}, simulated, costCells, simulate},
		{"functions", sizes, func(o *options) []int { return o.processes }, functionCells, functions},
	}
}

// cell is what is measured at once: one simulation, or the real functions on
// one pool.
type cell struct {
	// name is in the text of one of its rows, and of no row of another cell.
	name       string
	users      int
	simulation sim.Case
	rows       []planned
	wanted     []planned // those of its rows that were asked for
}

// planned is a row that a part measures.
type planned struct {
	row
	order    int // of its kind among the others of the part
	workflow string
	found    func(*outcome) found
}

// found is what there is to say once it is measured.
type found struct {
	measured, bound string
	ratio           *float64 // of what was measured to the bound; nil: there is no bound
}

// ratio of what was measured to its bound.
func ratio(measured, bound float64) *float64 { return new(measured / bound) }

// chosen are the cells that the options ask for.
func (p *part) chosen(o *options) []cell {
	sizes := p.sizes
	if p.asked != nil && len(p.asked(o)) > 0 {
		sizes = p.asked(o)
	}
	var all []cell
	for _, c := range p.cells(sizes) {
		if c.simulation.Memberships() > o.most {
			continue
		}
		for _, r := range c.rows {
			if o.cases == nil || o.cases.MatchString(r.text()) {
				c.wanted = append(c.wanted, r)
			}
		}
		if len(c.wanted) > 0 {
			all = append(all, c)
		}
	}
	return all
}

// rowsOf are the rows of cells in the order of the table, each once.
func (p *part) rowsOf(cells []cell) []planned {
	var all []planned
	known := map[key]bool{}
	for _, c := range cells {
		for _, r := range c.rows {
			if !known[r.key()] {
				known[r.key()] = true
				r.Part = p.name
				all = append(all, r)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b planned) int { return a.order - b.order })
	return all
}

var pool = regexp.MustCompile(`^([\d,]+) users, `)

// plan is every row that the parts can measure, in the order of the table: of
// the pools that the page is to show, of those that were asked for, and of
// those that have figures already.
func plan(t *table, o *options) []planned {
	var all []planned
	for _, p := range parts() {
		sizes := slices.Clone(p.sizes)
		if p.asked != nil {
			if o != nil {
				sizes = append(sizes, p.asked(o)...)
			}
			for _, r := range t.rows {
				if m := pool.FindStringSubmatch(r.Case); m != nil && r.Part == p.name {
					if users, err := strconv.Atoi(strings.ReplaceAll(m[1], ",", "")); err == nil {
						sizes = append(sizes, users)
					}
				}
			}
		}
		slices.Sort(sizes)
		all = append(all, p.rowsOf(p.cells(slices.Compact(sizes)))...)
	}
	return all
}

// gap is what a part has not measured of what the page is to show.
type gap struct {
	rows    []planned
	command string // measures it
}

// gaps are those of all parts.
func (t *table) gaps() []gap {
	var all []gap
	for _, p := range parts() {
		cells := p.cells(p.sizes)
		lacks := func(r planned) bool { return t.find(r.key()) == nil }
		missing := slices.DeleteFunc(p.rowsOf(cells), func(r planned) bool { return !lacks(r) })
		if len(missing) == 0 {
			continue
		}
		cells = slices.DeleteFunc(cells, func(c cell) bool { return !slices.ContainsFunc(c.rows, lacks) })
		all = append(all, gap{missing, p.command(cells, missing)})
	}
	return all
}

// command is how to measure the missing rows of these cells.
func (p *part) command(cells []cell, missing []planned) string {
	args := []string{"-only", p.name}
	var sizes []string
	memberships := 0
	for _, c := range cells {
		if size := strconv.Itoa(c.users); !slices.Contains(sizes, size) {
			sizes = append(sizes, size)
		}
		memberships = max(memberships, c.simulation.Memberships())
	}
	switch p.name {
	case "simulation", "cost":
		args = append(args, "-sizes", strings.Join(sizes, ","))
	case "functions":
		args = append(args, "-processes", strings.Join(sizes, ","))
	}
	if memberships > membershipsUnasked {
		args = append(args, "-memberships", strconv.Itoa(memberships))
	}
	// An expression only if these flags alone would measure more.
	var only []string
	if p.name == "functions" {
		only = lacking(missing)
	} else if o, err := parse(args); err == nil && len(p.chosen(o)) > len(cells) {
		for _, c := range cells {
			only = append(only, regexp.QuoteMeta(c.name))
		}
	}
	if len(only) > 0 {
		args = append(args, "-cases", "'"+strings.Join(only, "|")+"'")
	}
	return fmt.Sprintf("make bench BENCH=%q", strings.Join(args, " "))
}
