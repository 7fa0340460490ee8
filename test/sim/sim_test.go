package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"cognito-backup/test/localaws/cloudformation"
)

const assembly = "../../cdk.out"

var (
	cases = flag.String("cases", "", "file of simulations to carry out, a list of Case as JSON")
	into  = flag.String("outcomes", "", "file for their outcomes, one JSON object a line")
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // millions of lines otherwise
	// What is due at the same virtual moment happens in the same order each
	// time only if nothing runs side by side.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(400) // memory is there, time is not
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(12 << 30) // up to here
	}
	os.Exit(m.Run())
}

func definitions(t *testing.T) Definitions {
	t.Helper()
	d, err := ReadDefinitions(assembly)
	if err != nil {
		t.Fatalf("%v; run make synth first", err)
	}
	return d
}

// simulate runs a case in a bubble of its own.
func simulate(t *testing.T, c Case) *Outcome {
	t.Helper()
	d := definitions(t)
	began := time.Now()
	var o *Outcome
	synctest.Test(t, func(t *testing.T) {
		var err error
		if o, err = c.Run(d); err != nil {
			t.Fatalf("%s at CognitoTPS %d: %v", c.Shape, c.TPS, err)
		}
	})
	o.Wall = time.Since(began)
	o.log(t)
	return o
}

func (o *Outcome) log(t *testing.T) {
	t.Logf("%s, CognitoTPS %d, %d shards: export %v, floor %v, ratio %.3f; %d throttled; %v of this machine's time",
		o.Shape, o.TPS, o.Shards, o.Export.Duration.Round(time.Second), o.ExportFloor.Round(time.Second), o.ExportRatio(), o.Throttled, o.Wall.Round(time.Millisecond))
	if o.Restore == nil {
		return
	}
	t.Logf("  restore with CSV at %g/s: %v, floor %v, ratio %.3f; %d transitions, %d events, largest payload %d",
		o.CSVRate, o.Restore.Duration.Round(time.Second), o.RestoreFloor.Round(time.Second), o.RestoreRatio(),
		o.Restore.Transitions, o.Restore.Events, o.Restore.LargestPayload)
	for _, phase := range []string{"ScanTable", "ImportUsers", "UpdateUsers", "VerifyImport"} {
		t.Logf("  %s %v", phase, o.Restore.Phases[phase].Round(time.Second))
	}
}

// TestCases carries out what -cases says, for make bench.
func TestCases(t *testing.T) {
	if *cases == "" {
		t.Skip("no -cases")
	}
	b, err := os.ReadFile(*cases)
	if err != nil {
		t.Fatal(err)
	}
	var all []Case
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	out := io.Discard
	if *into != "" {
		f, err := os.Create(*into)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		out = f
	}
	for _, c := range all {
		if err := json.NewEncoder(out).Encode(simulate(t, c)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAsInTheTemplates holds what is simulated against what is deployed.
func TestAsInTheTemplates(t *testing.T) {
	a, err := cloudformation.Open(assembly)
	if err != nil {
		t.Fatal(err)
	}
	stack, err := a.Stack("Primary")
	if err != nil {
		t.Fatal(err)
	}
	if seconds := stack.Variable("SLICE_SECONDS"); seconds != fmt.Sprint(slice.Seconds()) {
		t.Errorf("slices last %s s there, %s here", seconds, slice)
	}
	for id, r := range stack.Template.Resources {
		p := cloudformation.Properties(r.Properties)
		if r.Type == "AWS::SQS::Queue" {
			for name, value := range queueAttributes {
				if p.String(name) != value {
					t.Errorf("%s of %s is %s there, %s here", name, id, p.String(name), value)
				}
			}
		}
		if r.Type != "AWS::Lambda::Function" {
			continue
		}
		if p.Has("Environment", "Variables", "SLICE_SECONDS") && p.String("Timeout") != fmt.Sprint(functionTimeout.Seconds()) {
			t.Errorf("the time-out of %s is %s s there, %s here", id, p.String("Timeout"), functionTimeout)
		}
	}
}

// TestSmallPool simulates export and restore of a small pool, every call held
// against the API models. Calls by the shorter way take as long.
func TestSmallPool(t *testing.T) {
	for _, rate := range []float64{35, 0} {
		c := Case{Shape: Shape{Users: 1500, GroupsEach: 1}, TPS: 10, CSVRate: rate, Latency: Typical(), Validate: true}
		first := simulate(t, c)
		if first.Throttled > 0 {
			t.Errorf("%d calls were throttled", first.Throttled)
		}
		c.Validate = false
		second := simulate(t, c)
		if !maps.Equal(first.Calls, second.Calls) {
			t.Errorf("calls %v, then %v", first.Calls, second.Calls)
		}
		// A percent is for what is due at the same moment and comes in another order.
		for what, took := range map[string][2]time.Duration{"export": {first.Export.Duration, second.Export.Duration}, "restore": {first.Restore.Duration, second.Restore.Duration}} {
			if (took[0] - took[1]).Abs() > took[0]/100 {
				t.Errorf("the %s took %v, and %v by the shorter way", what, took[0], took[1])
			}
		}
		third := simulate(t, c)
		// How much of its progress a step stores at once depends on what comes first
		// of what is due at the same moment.
		if a, b := second.Restore.Requests.Writes, third.Restore.Requests.Writes; 100*max(a-b, b-a) > a {
			t.Errorf("the restore put and listed %d objects, then %d", a, b)
		}
		second.Restore.Requests.Writes, third.Restore.Requests.Writes = 0, 0
		if a, b := document(t, second), document(t, third); a != b {
			t.Errorf("the same simulation came out as\n%s\nthen as\n%s", a, b)
		}
	}
}

// TestSlicesFollowAtOnce restores memberships in slices of different lengths.
// With fewer chunks than there are workers some of these are idle, and still a
// slice that ends amid the chunks is followed at once by the next.
func TestSlicesFollowAtOnce(t *testing.T) {
	for _, length := range []time.Duration{slice, 620 * time.Second, 500 * time.Second} {
		o := simulate(t, Case{Shape: Shape{Users: 2000, GroupsEach: 4}, TPS: 10, Slice: length, CSVRate: 35, Latency: Typical()})
		if rate := o.Spans["AdminAddUserToGroup"].Rate(); rate < 9.7 {
			t.Errorf("with slices of %s: %.2f memberships a second", length, rate)
		}
	}
}

func document(t *testing.T, o *Outcome) string {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestManyChunks restores memberships with short slices and a slow bucket, so
// that the few chunks take as much of a slice to read as those of a million
// users with twenty groups each do of the usual one. A slice is there to verify,
// and not to find out what was done.
func TestManyChunks(t *testing.T) {
	latency := Typical()
	latency.Object = time.Second
	o := simulate(t, Case{Shape: Shape{Users: 3000, GroupsEach: 20}, TPS: 2, Slice: 4 * time.Minute, CSVRate: 35, Latency: latency})
	pages := float64(o.Memberships()+o.Users) / 60
	if took, floor := o.Restore.Phases["VerifyImport"].Seconds(), pages/2; took > 1.3*floor {
		t.Errorf("verification took %.0f s, %.2f times what the calls take", took, took/floor)
	}
}

// TestReportInASliceOfItsOwn verifies a pool whose listing takes 25 seconds. A
// slice that is more than half over then leaves repair and report, which cannot
// be interrupted, to the next.
func TestReportInASliceOfItsOwn(t *testing.T) {
	for length, want := range map[time.Duration]int{time.Minute: 1, 40 * time.Second: 2} {
		o := simulate(t, Case{Shape: Shape{Users: 1500}, TPS: 1, Slice: length, CSVRate: 35, Latency: Typical()})
		if got := o.Restore.Billed["verify-import"].Invocations; got != want {
			t.Errorf("with slices of %s: %d invocations, want %d", length, got, want)
		}
	}
}
