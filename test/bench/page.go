package main

import (
	"fmt"
	"slices"
	"strings"

	"cognito-backup/test/figures"
)

// render is what the page shows of the table. It also says how many rows miss
// their target.
func render(t *table) (text string, misses int) {
	var b strings.Builder
	var origins []figures.Provenance
	of := map[figures.Provenance][]string{} // parts
	count := map[figures.Provenance]int{}
	targets, missed := 0, []string(nil)
	for _, r := range t.rows {
		p := r.Provenance
		if count[p]++; count[p] == 1 {
			origins = append(origins, p)
		}
		if !slices.Contains(of[p], r.Part) {
			of[p] = append(of[p], r.Part)
		}
		if r.Target != "" {
			targets++
		}
		if !r.met() {
			missed = append(missed, fmt.Sprintf("%s: %s, must be %s", r.text(), r.ratio(), r.Target))
		}
	}
	for _, p := range origins {
		fmt.Fprintf(&b, "- %s: %s rows of %s\n", p, number(count[p]), strings.Join(of[p], ", "))
	}
	for _, g := range t.gaps() {
		fmt.Fprintf(&b, "\nNot measured yet; `%s` does:\n\n", g.command)
		var cases []string
		whats := map[string][]string{}
		for _, r := range g.rows {
			if whats[r.Case] == nil {
				cases = append(cases, r.Case)
			}
			whats[r.Case] = append(whats[r.Case], r.What)
		}
		for _, c := range cases {
			fmt.Fprintf(&b, "- %s (%s)\n", c, strings.Join(whats[c], "; "))
		}
	}
	fmt.Fprintf(&b, "\n**%s rows have a target, %d miss it.**\n", number(targets), len(missed))
	if len(missed) > 0 {
		b.WriteString("\n")
	}
	for _, m := range missed {
		fmt.Fprintf(&b, "- %s\n", m)
	}
	b.WriteString("\n| what | case | measured | floor, ceiling or limit | ratio | target | retired solution | commit |\n|---|---|---:|---:|---:|---:|---:|---|\n")
	for _, r := range t.rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", r.What, r.Case, r.Measured, r.Bound, r.ratio(), r.Target, r.Retired, r.Commit)
	}
	return strings.TrimLeft(b.String(), "\n"), len(missed)
}
