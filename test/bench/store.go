package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"cognito-backup/test/figures"
)

// row is one line of the table.
type row struct {
	Part     string   `json:"part"`
	What     string   `json:"what"`
	Case     string   `json:"case"`
	Measured string   `json:"measured"`
	Bound    string   `json:"bound,omitempty"`
	Ratio    *float64 `json:"ratio,omitempty"`   // of what was measured to the bound
	Target   string   `json:"target,omitempty"`  // what the ratio must be, one of targets
	Retired  string   `json:"retired,omitempty"` // what the retired solution published
	figures.Provenance
}

// key is what a row is about. There are no two of the same.
type key struct{ what, name string }

func (r *row) key() key { return key{r.What, r.Case} }

func (r *row) text() string { return r.What + ", " + r.Case }

// ratio is the row's as the table shows it.
func (r *row) ratio() string {
	if r.Ratio == nil {
		return ""
	}
	return fmt.Sprintf("%.3f", *r.Ratio)
}

// What a ratio must be.
const (
	exportTarget  = "1.00–1.05"
	restoreTarget = "1.00–1.10"
	rateTarget    = "0.95–1.00"
	allTarget     = "exactly 1"
	noneTarget    = "exactly 0"
	limitTarget   = "≤ 1.00"
)

// targets are the least and the most that a ratio may be. Less than a floor, or
// more than a rate, would be as wrong as too slow: work left out, or a quota
// exceeded. A thousandth more is for the arithmetic of rates.
var targets = map[string][2]float64{
	exportTarget: {1, 1.05}, restoreTarget: {1, 1.10}, rateTarget: {0.95, 1.001},
	allTarget: {1, 1}, noneTarget: {0, 0}, limitTarget: {0, 1},
}

// met tells whether a row is as it must be, before anything is rounded. One
// without a target is.
func (r *row) met() bool {
	if r.Target == "" {
		return true
	}
	must, known := targets[r.Target]
	return known && r.Ratio != nil && *r.Ratio >= must[0] && *r.Ratio <= must[1]
}

// table is all rows.
type table struct{ rows []row }

func (t *table) find(k key) *row {
	for i := range t.rows {
		if t.rows[i].key() == k {
			return &t.rows[i]
		}
	}
	return nil
}

// merge puts rows in the place of those of the same key, brings all of them
// into the order of the plan, with its targets, and removes those that are not
// in it. What is derived of others is derived anew.
func (t *table) merge(rows []row, o *options) (removed []row, err error) {
	all := map[key]row{}
	for _, r := range slices.Concat(t.rows, rows) {
		all[r.key()] = r
	}
	for _, workflow := range []string{first, unchanged} {
		deriveGrowth(all, workflow)
	}
	var kept []row
	for _, p := range plan(t, o) {
		r, there := all[p.key()]
		if !there {
			continue
		}
		delete(all, p.key())
		r.Part, r.Target, r.Retired = p.Part, p.Target, p.Retired
		kept = append(kept, r)
	}
	for _, r := range rows {
		if _, left := all[r.key()]; left {
			return nil, fmt.Errorf("%s was measured and is not in the plan of its part; add it there", r.text())
		}
	}
	for _, r := range t.rows {
		if _, left := all[r.key()]; left {
			removed = append(removed, r)
		}
	}
	t.rows = kept
	return removed, nil
}

// read reads a store; one that does not exist, or has no name, is empty.
func read(file string) (*table, error) {
	t := &table{}
	if file == "" {
		return t, nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &t.rows); err != nil {
		return nil, fmt.Errorf("%s: %w; git checkout %[1]s brings back the last one", file, err)
	}
	return t, nil
}

// write writes a row a line, so that changes can be read and merged, and in one
// go, so that a run that is ended leaves the file whole.
func (t *table) write(file string) error {
	var b bytes.Buffer
	b.WriteString("[\n")
	for i, r := range t.rows {
		if i > 0 {
			b.WriteString(",\n")
		}
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(r); err != nil {
			return fmt.Errorf("%s: %w", r.text(), err)
		}
		b.Truncate(b.Len() - 1) // the line's end
	}
	b.WriteString("\n]\n")
	if err := os.WriteFile(file+".new", b.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
