package restore

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// TestReportVersions reads a report of every version ever released.
func TestReportVersions(t *testing.T) {
	golden := filepath.Join("testdata", "report-v1.json")
	report := exampleReport()
	report.UnknownUsers, report.Estimate, report.Shortfall, report.OutOfScope = []string{"nobody"}, "about 1 min 0 s", "read 1 of 2 users", 3
	report.Lacking = []string{"USER-" + testSub}
	report.RestorePoints = []KnownPoint{{report.Started, report.Ended, 1, 2, 3, true}}
	now, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, now, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	released, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var read Report
	d := json.NewDecoder(bytes.NewReader(released))
	d.DisallowUnknownFields() // a member that is gone would be misread elsewhere
	if err := d.Decode(&read); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&read, report) {
		t.Errorf("read %+v\nwritten %+v", read, report)
	}
}
