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
	c := campaign{runs: 3, seed: 1000, parallel: 3, assembly: "../../cdk.out", source: "../..", verbose: true}
	var out strings.Builder
	r := c.carryOut(t.Context(), &out)
	t.Log(out.String(), r.report())
	if !r.clean() || r.Losses+r.Duplicates+r.Unaccounted > 0 {
		t.Error("not clean")
	}
	if r.Runs != c.runs || r.Exports < 2*c.runs || r.Imports != c.runs || r.Records == 0 {
		t.Errorf("%d runs, %d exports, %d imports, %d records", r.Runs, r.Exports, r.Imports, r.Records)
	}
	injected := 0
	for _, n := range r.Injected {
		injected += n
	}
	if injected == 0 {
		t.Error("no fault was injected")
	}
}
