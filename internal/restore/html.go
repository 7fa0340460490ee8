package restore

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"

	"cognito-backup/internal/step"
)

//go:embed report.html.tmpl
var reportTemplate string

var reportHTML = template.Must(template.New("report.html").Funcs(template.FuncMap{
	"number":  grouped,
	"seconds": func(s float64) string { return roughly(time.Duration(math.Round(s)) * time.Second) },
	"stamp":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"name":    step.FormatTime, // as RestorePoint takes it: seconds alone would name the one before
	"deref":   func(t *time.Time) time.Time { return *t },
	"sub":     func(a, b int) int { return a - b },
	"took":    func(a, b time.Time) string { return roughly(b.Sub(a).Round(time.Second)) },
	"first":   func(records []string) []string { return records[:min(len(records), 50)] },
}).Parse(reportTemplate))

// renderHTML makes report.html: one file without scripts and without requests
// to anywhere.
func renderHTML(r *Report) ([]byte, error) {
	var b bytes.Buffer
	if err := reportHTML.Execute(&b, r); err != nil {
		return nil, fmt.Errorf("write report.html: %w", err)
	}
	return b.Bytes(), nil
}

// grouped writes n with a comma between thousands.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	var parts []string
	for len(s) > 3 {
		parts = append([]string{s[len(s)-3:]}, parts...)
		s = s[:len(s)-3]
	}
	return strings.Join(append([]string{s}, parts...), ",")
}

// Headline is the report's outcome in one sentence.
func (r *Report) Headline() string {
	unsolved := r.unsolved()
	switch {
	case r.State != "COMPLETED":
		return "The import did not come to its end (" + r.State + ")"
	case r.DryRun:
		return "Dry run: nothing was written"
	case r.Verified:
		return "Restored and verified"
	case unsolved == 1:
		return "Restored, except for 1 record"
	case unsolved > 0:
		return "Restored, except for " + grouped(unsolved) + " records"
	}
	return "Restored what was readable"
}

// Good says that nothing needs attention.
func (r *Report) Good() bool { return r.Verified }

func (r *Report) unsolved() int64 {
	return r.Users.Conflict + r.Users.Failed + r.Groups.Conflict + r.Groups.Failed + r.Memberships.Conflict + r.Memberships.Failed
}

// Row is one row of the table of counts.
type Row struct {
	Kind string
	Counts
}

// Rows are the table of counts.
func (r *Report) Rows() []Row {
	return []Row{{"Users", r.Users}, {"Groups", r.Groups}, {"Memberships", r.Memberships}}
}
