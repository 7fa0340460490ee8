package main

import (
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

// TestIdleTroubles finds those that were drawn and did nothing.
func TestIdleTroubles(t *testing.T) {
	r := newResult()
	r.Troubled = map[string]int{"calls delayed": 3, "sns: throttle": 2, replicaLags: 1, "stale reads of the table": 4}
	r.Injected = map[string]int{"calls delayed": 7, replicaLags: 1}
	if idle := r.idle(); len(idle) != 1 || !strings.Contains(idle[0], "sns: throttle") {
		t.Errorf("idle: %q", idle)
	}
	r.Injected = map[string]int{"calls delayed": 7, "sns: throttle": 1, "stale reads of the table": 2}
	if idle := r.idle(); len(idle) != 2 || !strings.Contains(idle[0], replicaLags) || !strings.Contains(idle[1], "has struck 2 times") {
		t.Errorf("idle: %q", idle)
	}
	for i := range troubles {
		for j := range i {
			if troubles[i].name == troubles[j].name {
				t.Errorf("two troubles count as %q", troubles[i].name)
			}
		}
	}
}
