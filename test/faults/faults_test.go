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
	if !r.clean() || r.losses+r.duplicates+r.unaccounted > 0 {
		t.Error("not clean")
	}
	if r.runs != c.runs || r.exports < 2*c.runs || r.imports != c.runs || r.records == 0 {
		t.Errorf("%d runs, %d exports, %d imports, %d records", r.runs, r.exports, r.imports, r.records)
	}
	injected := 0
	for _, n := range r.injected {
		injected += n
	}
	if injected == 0 {
		t.Error("no fault was injected")
	}
}
