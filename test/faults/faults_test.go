package main

import (
	"slices"
	"strings"
	"testing"
)

// TestShortCampaign is a campaign short enough for every day. A seed that fails
// is replayed by make faults RUNS=1 SEED=<seed>.
func TestShortCampaign(t *testing.T) {
	if testing.Short() {
		t.Skip("starts testbeds")
	}
	c := campaign{runs: 3, seed: 1021, parallel: 3, assembly: "../../cdk.out", source: "../..", verbose: true}
	var out strings.Builder
	r := c.carryOut(t.Context(), &out)
	t.Log(out.String(), r.report())
	if !r.clean() || r.Losses+r.Duplicates+r.Unaccounted > 0 {
		t.Error("not clean")
	}
	if r.Runs != c.runs || r.Exports != 3*c.runs || r.Imports != c.runs || r.Records == 0 {
		t.Errorf("%d runs, %d exports, %d imports, %d records", r.Runs, r.Exports, r.Imports, r.Records)
	}
	injected := 0 // of so few runs not every trouble strikes
	for _, n := range r.Injected {
		injected += n
	}
	if injected == 0 {
		t.Error("no fault was injected")
	}
}

// TestCutShort: a campaign that was interrupted is no campaign of so many runs.
func TestCutShort(t *testing.T) {
	c, r := campaign{runs: 200}, newResult()
	for runs, want := range map[int]string{200: "", 130: "130 of 200 runs were carried out"} {
		r.Runs = runs
		if err := c.cutShort(r); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d runs: %v", runs, err)
		}
	}
}

// TestIdleTroubles finds those that did nothing, drawn or not, and those that
// struck where they cannot.
func TestIdleTroubles(t *testing.T) {
	r := newResult()
	for i := range troubles {
		r.Injected[troubles[i].name] = 1
	}
	delete(r.Injected, "sns: throttle")
	r.Injected[replicaLags], r.Injected[replicaStopped] = 1, 1
	idle := r.idle()
	slices.Sort(idle)
	if len(idle) != 2 || !strings.Contains(idle[0], replicaHalts) || !strings.Contains(idle[1], "sns: throttle") {
		t.Errorf("idle: %q", idle)
	}
	if all := r.impossible(); len(all) != 2 || !strings.Contains(all[0], "stale reads of the table: has struck 1 times") {
		t.Errorf("impossible: %q", all)
	}
	for i := range troubles {
		for j := range i {
			if troubles[i].name == troubles[j].name {
				t.Errorf("two troubles count as %q", troubles[i].name)
			}
		}
	}
}
