package sim

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

const assembly = "../../cdk.out"

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil))) // millions of lines otherwise
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
	return o
}

func TestSmall(t *testing.T) {
	for _, c := range []Case{
		{Shape: Shape{Users: 2000, GroupsEach: 1}, TPS: 10, CSVRate: 35, Latency: Typical(), Validate: true},
	} {
		o := simulate(t, c)
		t.Logf("%s TPS %d: export %v floor %v ratio %.3f; restore %v floor %v ratio %.3f; wall %v", c.Shape, c.TPS,
			o.Export.Duration, o.ExportFloor, o.ExportRatio(), o.Restore.Duration, o.RestoreFloor, o.RestoreRatio(), o.Wall)
		fmt.Println(o.Export, o.Restore, o.Calls, o.Throttled)
	}
}
