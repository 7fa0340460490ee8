package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Violation is a rule of axe-core that a page breaks.
type Violation struct {
	ID, Help string
	Nodes    []struct {
		Target         []any
		FailureSummary string
	}
}

func (v Violation) String() string {
	text := v.ID + ": " + v.Help
	for _, n := range v.Nodes {
		text += fmt.Sprintf("\n  %v: %s", n.Target, n.FailureSummary)
	}
	return text
}

// Axe holds the page against the rules of WCAG 2.2, levels A and AA, and
// axe-core's best practices.
func (p *Page) Axe() []Violation {
	p.t.Helper()
	source, err := os.ReadFile(filepath.Join(p.root(), "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		p.t.Fatalf("axe-core is not installed, run `make setup`: %v", err)
	}
	// Only now: what the page shows without scripts is on the page already.
	p.do("Emulation.setScriptExecutionDisabled", map[string]any{"value": false})
	p.Eval(string(source)+";0", nil)
	var result struct{ Violations []Violation }
	p.Eval(`axe.run(document, {
		runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
		resultTypes: ["violations"],
	}).then(r => ({Violations: r.violations.map(v => ({ID: v.id, Help: v.help,
		Nodes: v.nodes.map(n => ({Target: n.target, FailureSummary: n.failureSummary}))}))}))`, &result)
	return result.Violations
}

// root is the module's folder, which also holds node_modules.
func (p *Page) root() string {
	p.t.Helper()
	dir, err := os.Getwd()
	p.must(err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			p.t.Fatal("no folder above holds go.mod")
		}
		dir = filepath.Dir(dir)
	}
}

// Check opens a page as readers do, on a desktop and a phone, light and dark,
// with scripts and without, and fails the test where it breaks a rule of
// accessibility, is wider than the window, or requests something from
// elsewhere. Each view is then handed to look, if that is not nil.
func (b *Browser) Check(t *testing.T, address string, look func(p *Page, name string)) {
	t.Helper()
	for name, view := range map[string]View{
		"desktop": Desktop, "desktop-dark": Desktop.In(true),
		"phone": Phone, "phone-dark": Phone.In(true),
		"no-script": {Width: Desktop.Width, Height: Desktop.Height, NoScript: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.Open(t, address, view)
			if look != nil {
				look(p, name)
			}
			if wider := p.Overflow(); wider > 0 {
				t.Errorf("the page is %d pixels wider than the window", wider)
			}
			for _, v := range p.Axe() {
				t.Error(v)
			}
		})
	}
}

// Shots is the folder that screenshots are to be written to, by the
// environment variable SCREENSHOTS; "" when none are wanted.
func Shots(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return ""
	}
	// Tests run in their packages' folders.
	if !filepath.IsAbs(dir) {
		dir = filepath.Join((&Page{t: t}).root(), dir)
	}
	return dir
}
