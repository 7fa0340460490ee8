package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/test/figures"
	"cognito-backup/test/sim"
)

// complete is a table without gaps.
func complete() *table {
	t := &table{}
	for _, p := range plan(t, nil) {
		p.row.Measured, p.row.Commit = "1 MiB", "0000001"
		t.rows = append(t.rows, p.row)
	}
	return t
}

// TestMerge: what is measured replaces the row before, all others stay, and
// what nobody measures any more is told.
func TestMerge(t *testing.T) {
	table := complete()
	n := len(table.rows)
	old := table.rows[7]
	stale := row{Part: "rates", What: "export: ListUsers calls/s", Case: "CognitoTPS 7, 20ms, 1 shard", Measured: "7"}
	table.rows = slices.Insert(table.rows, 3, stale)
	measured := row{What: old.What, Case: old.Case, Measured: "2", Provenance: figures.Provenance{Commit: "0000002"}}
	removed, err := table.merge([]row{measured}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(removed) != 1 || removed[0].text() != stale.text() {
		t.Errorf("removed %v", removed)
	}
	if len(table.rows) != n {
		t.Errorf("%d rows, want %d", len(table.rows), n)
	}
	for i, r := range table.rows {
		want := "0000001"
		if i == 7 {
			want = "0000002"
		}
		if r.Commit != want {
			t.Errorf("row %d, %s, is of %s", i, r.text(), r.Commit)
		}
	}
	if now := table.rows[7]; now.key() != old.key() || now.Measured != "2" || now.Part != old.Part || now.Target != old.Target || now.Retired != old.Retired {
		t.Errorf("%+v became %+v", old, now)
	}
	if _, err := table.merge([]row{{What: "export", Case: "nobody plans this"}}, nil); err == nil || len(table.rows) != n {
		t.Errorf("a row that no part plans was taken: %v", err)
	}
}

// TestOtherPools: a pool of any size can be measured, and its rows stay.
func TestOtherPools(t *testing.T) {
	o, err := parse([]string{"-sizes", "10000000"})
	if err != nil {
		t.Fatal(err)
	}
	table := complete()
	n := len(table.rows)
	ten := row{What: "export", Case: "10,000,000 users, no groups, CognitoTPS 10", Measured: "1"}
	for _, step := range []struct {
		rows []row
		o    *options
	}{{[]row{ten}, o}, {nil, nil}} {
		if removed, err := table.merge(step.rows, step.o); err != nil || len(removed) > 0 {
			t.Fatal(removed, err)
		}
		if r := table.find(ten.key()); r == nil || r.Target != exportTarget || len(table.rows) != n+1 {
			t.Errorf("%+v among %d rows", r, len(table.rows))
		}
	}
}

// TestPut: what is put is in both files at once, and survives another run.
func TestPut(t *testing.T) {
	dir := t.TempDir()
	o := &options{store: filepath.Join(dir, "figures.json"), page: filepath.Join(dir, "figures.md")}
	one, other := &bench{options: o, table: &table{}}, &bench{options: o, table: &table{}}
	rows := complete().rows
	for i, b := range []*bench{one, other, one} {
		b.origin.Commit = fmt.Sprintf("%07d", i)
		if err := b.put(rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := read(o.store)
	if err != nil {
		t.Fatal(err)
	}
	if len(kept.rows) != 3 {
		t.Fatalf("%d rows", len(kept.rows))
	}
	page, err := os.ReadFile(o.page)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range kept.rows {
		if r.key() != rows[i].key() || r.Commit != fmt.Sprintf("%07d", i) || !strings.Contains(string(page), r.Case+" | 1 MiB |") {
			t.Errorf("row %d is %+v", i, r)
		}
	}
	if err := one.put(row{What: "nothing"}); err == nil {
		t.Error("a row that no part plans was put")
	}
	if again, err := read(o.store); err != nil || len(again.rows) != 3 {
		t.Error(again, err)
	}
}

func TestWrongFlags(t *testing.T) {
	for want, args := range map[string][]string{
		`no part is called "simulations"`: {"-only", "rates,simulations"},
		"-cases: error parsing regexp":    {"-cases", "("},
		`-sizes: "many"`:                  {"-sizes", "many"},
		`"rates" is no flag`:              {"rates"},
	} {
		if _, err := parse(args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
	t.Chdir(t.TempDir())
	if err := run(t.Context(), []string{"-cases", "no such case"}); err == nil || !strings.Contains(err.Error(), "nothing that can be measured is chosen") {
		t.Errorf("a case that does not exist: %v", err)
	}
}

func TestChosenCases(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string // cells
	}{
		{[]string{"-only", "simulation", "-memberships", "20000000", "-cases", "1,000,000 users, 20 groups each, CognitoTPS 10"},
			[]string{"1,000,000 users, 20 groups each, CognitoTPS 10, CSV at 35 users/s", "1,000,000 users, 20 groups each, CognitoTPS 10, all users by API"}},
		{[]string{"-only", "simulation", "-cases", "1,000,000 users, 20 groups each"}, nil}, // too many memberships
		{[]string{"-only", "simulation", "-sizes", "10000", "-cases", "^export, .* one group each, quota"}, []string{"10,000 users, one group each, quota maximum, CSV at 35 users/s"}},
		{[]string{"-only", "rates", "-cases", "added/s, CognitoTPS 10"}, []string{"restore: memberships added/s, CognitoTPS 10, 100ms"}},
		{[]string{"-only", "cost", "-cases", "500,000"}, []string{"record writes, 500,000 users, one group each"}},
		{[]string{"-only", "functions", "-cases", "bytes per record"}, []string{"100,000 users"}},
	} {
		o, err := parse(c.args)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range parts() {
			if slices.Contains(o.only, p.name) {
				for _, c := range p.chosen(o) {
					got = append(got, c.name)
				}
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v chose %q", c.args, got)
		}
	}
}

// TestNames: no two rows have the same key, no two cells are called the same by
// -cases, and of pools with figures the size is known.
func TestNames(t *testing.T) {
	known := map[key]bool{}
	for _, p := range plan(&table{}, nil) {
		if known[p.key()] {
			t.Errorf("%s is there twice", p.text())
		}
		known[p.key()] = true
		if _, ok := targets[p.Target]; p.Target != "" && !ok {
			t.Errorf("%s must be %q, which nobody knows", p.text(), p.Target)
		}
	}
	for _, p := range parts() {
		cells := p.cells(p.sizes)
		if p.name == "functions" {
			continue // told apart by -processes
		}
		for _, c := range cells {
			e := regexp.MustCompile(regexp.QuoteMeta(c.name))
			for _, other := range cells {
				matches := slices.ContainsFunc(other.rows, func(r planned) bool { return e.MatchString(r.text()) })
				if matches != (other.name == c.name) {
					t.Errorf("%q and %q: %t", c.name, other.name, matches)
				}
			}
		}
	}
}

// TestGaps: everything that is missing is named, and the command beside it
// measures it.
func TestGaps(t *testing.T) {
	if gaps := complete().gaps(); len(gaps) > 0 {
		t.Fatalf("gaps in a complete table: %v", gaps)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		table := complete()
		all := len(table.rows)
		missing := map[key]bool{}
		few := []int{1, 5, all}[r.IntN(3)]
		table.rows = slices.DeleteFunc(table.rows, func(row row) bool {
			gone := r.IntN(all) < few
			if gone {
				missing[row.key()] = true
			}
			return gone
		})
		text, _ := render(table)
		named := 0
		for _, g := range table.gaps() {
			named += len(g.rows)
			o := commanded(t, g.command)
			p := parts()[slices.Index(names(), o.only[0])]
			measured := map[key]bool{}
			cells := p.chosen(o)
			for _, c := range cells {
				if p.name != "functions" && !slices.ContainsFunc(c.rows, func(r planned) bool { return missing[r.key()] }) {
					t.Errorf("%s measures %s, which is not missing", g.command, c.name)
				}
				for _, r := range c.rows {
					// The first export is always made.
					if r.workflow == "" || r.workflow == first || slices.ContainsFunc(c.wanted, func(w planned) bool { return w.workflow == r.workflow || w.workflow == "" }) {
						measured[r.key()] = true
					}
				}
			}
			for _, r := range g.rows {
				if !missing[r.key()] || !measured[r.key()] {
					t.Errorf("%s is missing: %t, %s measures it: %t", r.text(), missing[r.key()], g.command, measured[r.key()])
				}
				if !strings.Contains(text, "- "+r.Case+" (") || !strings.Contains(text, r.What) {
					t.Errorf("the page does not name %s", r.text())
				}
			}
		}
		if named != len(missing) {
			t.Errorf("%d rows named, %d are missing", named, len(missing))
		}
	}
}

// commanded is what the flags in a command mean to a shell.
func commanded(t *testing.T, command string) *options {
	t.Helper()
	flags, err := strconv.Unquote(strings.TrimPrefix(command, "make bench BENCH="))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", `printf '%s\n' `+flags).Output()
	if err != nil {
		t.Fatal(err)
	}
	o, err := parse(strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"))
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return o
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		target string
		ratio  float64
		met    bool
	}{
		{exportTarget, 0.4, false}, {exportTarget, 0.9999, false}, {exportTarget, 1, true}, {exportTarget, 1.05, true}, {exportTarget, 1.0501, false},
		{restoreTarget, 0.99, false}, {restoreTarget, 1.1, true}, {restoreTarget, 1.11, false},
		{rateTarget, 0.94, false}, {rateTarget, 0.98, true}, {rateTarget, 1.0005, true}, {rateTarget, 1.002, false}, {rateTarget, 2.9, false},
		{allTarget, 1, true}, {allTarget, 0.999, false}, {allTarget, 1.001, false},
		{noneTarget, 0, true}, {noneTarget, 0.001, false},
		{limitTarget, 0.5, true}, {limitTarget, 1.01, false},
		{"≥ 0.95", 1, false}, // nobody knows it
		{"", 7, true},
	} {
		if r := (row{Target: c.target, Ratio: &c.ratio}); r.met() != c.met {
			t.Errorf("%s: %g met: %t", c.target, c.ratio, r.met())
		}
	}
	if (&row{Target: exportTarget}).met() {
		t.Error("a target is met without a figure")
	}
}

// TestPage: the page shows the figures that are kept, all of them, the same
// each time.
func TestPage(t *testing.T) {
	kept, err := read("../../docs/benchmarks.json")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := render(kept)
	if again, _ := render(kept); again != text {
		t.Error("rendered again it is another")
	}
	page, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "<!-- bench -->\n"+text+"<!-- end of bench -->\n") {
		t.Error(`docs/benchmarks.md does not show docs/benchmarks.json; make bench BENCH=-show writes it anew`)
	}
	copied := filepath.Join(t.TempDir(), "figures.json")
	if err := kept.write(copied); err != nil {
		t.Fatal(err)
	}
	if a, b := content(t, copied), content(t, "../../docs/benchmarks.json"); a != b {
		t.Error("docs/benchmarks.json is not as it would be written")
	}
	rows, with := len(kept.rows), 0
	for _, r := range kept.rows {
		if r.Target != "" {
			with++
		}
		if r.Commit == "" || r.Machine == "" || r.Go == "" || r.Date == "" {
			t.Errorf("%s has no origin", r.text())
		}
		if !strings.Contains(text, fmt.Sprintf("| %s | %s | %s |", r.What, r.Case, r.Measured)) {
			t.Errorf("%s is not shown", r.text())
		}
	}
	if with < 202 {
		t.Errorf("%d rows have a target; there were 202", with)
	}
	if removed, err := kept.merge(nil, nil); err != nil || len(removed) > 0 || len(kept.rows) != rows {
		t.Errorf("a run would remove %v, %v", removed, err)
	}
	if merged, _ := render(kept); merged != text {
		t.Error("a run that measures nothing changes the page")
	}
}

func content(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestMonths: beside a day's requests a month has the removal of as many
// versions as come, and the reads of all that are kept.
func TestMonths(t *testing.T) {
	was := &sim.Usage{Items: 1000, Bytes: 1 << 20, ReadUnits: 1256}
	is := &sim.Usage{Items: 1100, Bytes: 1<<20 + 4096*10, ReadUnits: 1266, WriteUnits: 200}
	requests, _ := months(was, is)
	want := 30 * ((200+100)*0.625e-6*2 + (1266+34*10)*0.125e-6)
	if diff := requests - want; diff > 1e-12 || diff < -1e-12 {
		t.Errorf("requests of a month are $%g, want $%g", requests, want)
	}
	if requests, _ = months(was, was); requests != 30*1256*perReadUnit {
		t.Errorf("$%g for a pool that does not change", requests)
	}
}

func TestBill(t *testing.T) {
	e := &sim.Execution{Transitions: 1000, Billed: map[string]sim.Billed{"a": {Invocations: 10, Duration: 100 * time.Second}},
		Requests: sim.Requests{Writes: 1000, Reads: 10_000, Deletions: 5, Queue: 100_000}}
	memory := map[string]float64{"a": 512}
	got := billed(e, memory, &sim.Usage{WriteUnits: 1e5, ReadUnits: 1e6, Written: map[backup.Kind]int64{}}).String()
	want := "$0.3247 (Lambda $0.0007: 50 GB-s, 10 requests; Step Functions $0.0250: 1,000 transitions; S3 $0.0090: 1,000 PUT and LIST, 10,000 GET; " +
		"SQS $0.0400: 100,000 requests; DynamoDB $0.2500: 100,000 write units in each Region, 1,000,000 read units)"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if got := billed(e, memory, nil).String(); strings.Contains(got, "DynamoDB") {
		t.Errorf("without the table: %s", got)
	}
}

// TestGrowth: it takes both pools, of one machine and commit, and goes when one
// of them is measured of another.
func TestGrowth(t *testing.T) {
	o := &options{}
	table, of := &table{}, growth(first)
	measure := func(users, mebibytes int, commit string) *row {
		t.Helper()
		r := peak(users, cleanUp, first)
		r.Measured, r.Commit = fmt.Sprintf("%d.0 MiB, busy 1.0 s", mebibytes), commit
		if removed, err := table.merge([]row{r}, o); err != nil || len(removed) != 0 {
			t.Fatalf("removed %+v, %v", removed, err)
		}
		return table.find(of.key())
	}
	if r := measure(100_000, 60, "0000001"); r != nil {
		t.Errorf("with one pool: %+v", r)
	}
	if r := measure(1_000_000, 80, "0000001"); r == nil || r.Measured != "11.7 bytes" || r.Commit != "0000001" {
		t.Errorf("with both: %+v", r)
	}
	if r := measure(100_000, 60, "0000002"); r != nil {
		t.Errorf("from one commit to another: %+v", r)
	}
	if r := measure(1_000_000, 100, "0000002"); r == nil || r.Measured != "23.3 bytes" || r.Commit != "0000002" {
		t.Errorf("with both measured again: %+v", r)
	}
}
