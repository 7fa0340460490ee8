package graph

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func read(t *testing.T, name string) *Machine {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Read(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// drawings calls f with every drawing of the definitions in testdata.
func drawings(t *testing.T, f func(t *testing.T, m *Machine, d *Drawing)) {
	for _, name := range []string{"export", "import", "knots"} {
		m := read(t, name)
		for size, isCompact := range map[string]bool{"wide": false, "compact": true} {
			t.Run(name+" "+size, func(t *testing.T) { f(t, m, Layout(m, isCompact)) })
		}
	}
}

func TestEveryStateAndArrowIsDrawn(t *testing.T) {
	drawings(t, func(t *testing.T, m *Machine, d *Drawing) {
		drawn := map[string]int{}
		for _, s := range d.Shapes {
			drawn[s.Name]++
		}
		arrows := map[[2]string]int{}
		for _, l := range d.Lines {
			arrows[[2]string{l.From, l.To}]++
		}
		for _, s := range m.Steps() {
			if drawn[s.Name] != 1 {
				t.Errorf("%s is drawn %d times", s.Name, drawn[s.Name])
			}
			for _, a := range s.arrows() {
				if arrows[[2]string{s.Name, a.to}] != 1 {
					t.Errorf("the arrow from %s to %s is drawn %d times", s.Name, a.to, arrows[[2]string{s.Name, a.to}])
				}
			}
		}
	})
}

func (r Rect) contains(o Rect) bool {
	return r.X <= o.X && r.Y <= o.Y && r.X+r.W >= o.X+o.W && r.Y+r.H >= o.Y+o.H
}

func TestStatesDoNotOverlap(t *testing.T) {
	drawings(t, func(t *testing.T, _ *Machine, d *Drawing) {
		page := Rect{0, 0, d.W, d.H}
		for i, a := range d.Shapes {
			if !page.contains(a.Rect) {
				t.Errorf("%q is outside the drawing", a.Name)
			}
			for _, b := range d.Shapes[i+1:] {
				if a.box() && a.contains(b.Rect) {
					continue
				}
				if a.X < b.X+b.W+4 && b.X < a.X+a.W+4 && a.Y < b.Y+b.H+4 && b.Y < a.Y+a.H+4 {
					t.Errorf("%q %v and %q %v are too close", a.Name, a.Rect, b.Name, b.Rect)
				}
			}
		}
	})
}

func TestArrowsKeepClearOfOtherStates(t *testing.T) {
	drawings(t, func(t *testing.T, _ *Machine, d *Drawing) {
		page := Rect{0, 0, d.W, d.H}
		for _, l := range d.Lines {
			for i := range l.Points[1:] {
				from, to := l.Points[i], l.Points[i+1]
				if from.X != to.X && from.Y != to.Y {
					t.Errorf("%s to %s: segment %v %v is oblique", l.From, l.To, from, to)
				}
				segment := Rect{min(from.X, to.X), min(from.Y, to.Y), math.Abs(from.X - to.X), math.Abs(from.Y - to.Y)}
				if !page.contains(segment) {
					t.Errorf("%s to %s: segment %v %v leaves the drawing", l.From, l.To, from, to)
				}
				for _, s := range d.Shapes {
					if s.Name == l.From || s.Name == l.To || s.box() && s.contains(segment) {
						continue
					}
					if segment.X < s.X+s.W && s.X < segment.X+segment.W && segment.Y < s.Y+s.H && s.Y < segment.Y+segment.H ||
						segment.W == 0 && segment.X > s.X && segment.X < s.X+s.W && segment.Y < s.Y+s.H && s.Y < segment.Y+segment.H ||
						segment.H == 0 && segment.Y > s.Y && segment.Y < s.Y+s.H && segment.X < s.X+s.W && s.X < segment.X+segment.W {
						t.Errorf("%s to %s runs through %q", l.From, l.To, s.Name)
					}
				}
			}
		}
	})
}

func TestArrowsTouchWhatTheyJoin(t *testing.T) {
	drawings(t, func(t *testing.T, _ *Machine, d *Drawing) {
		shapes := map[string]Shape{}
		for _, s := range d.Shapes {
			shapes[s.Name] = s
		}
		touches := func(s Shape, p Point) bool {
			// A slanted or round side begins a little inside of the box around the shape.
			dx := max(s.X-p.X, p.X-s.X-s.W, 0)
			dy := max(s.Y-p.Y, p.Y-s.Y-s.H, 0)
			inside := min(p.X-s.X, s.X+s.W-p.X, p.Y-s.Y, s.Y+s.H-p.Y)
			return dx+dy < 0.01 && inside < 0.5*s.H
		}
		for _, l := range d.Lines {
			first, last := l.Points[0], l.Points[len(l.Points)-1]
			if from := shapes[l.From]; l.From != "" && !touches(from, first) {
				t.Errorf("%s to %s begins at %v, off %v", l.From, l.To, first, from.Rect)
			}
			if to := shapes[l.To]; l.To != "" && !touches(to, last) {
				t.Errorf("%s to %s ends at %v, off %v", l.From, l.To, last, to.Rect)
			}
			if l.From == "" || l.To == "" || l.From == l.To {
				continue
			}
			if down := shapes[l.To].Y > shapes[l.From].Y; down == l.Back {
				t.Errorf("%s to %s: back is %t, down is %t", l.From, l.To, l.Back, down)
			}
		}
	})
}

func TestLoopsComeBack(t *testing.T) {
	var back []string
	for _, l := range Layout(read(t, "import"), false).Lines {
		if l.Back {
			back = append(back, l.From+" > "+l.To+": "+l.Condition)
		}
	}
	slices.Sort(back)
	want := []string{
		"CheckNewUserPoolDone? > CheckNewUserPool: $.Cursor is present",
		"ImportUsersDone? > ImportUsers: $.Cursor is present",
		"ScanTableDone? > ScanTable: $.Cursor is present",
		"UpdateUsersDone? > UpdateUsers: $.Cursor is present",
		"VerifyImportDone? > RestoreUsers: $.Again is present",
		"VerifyImportDone? > VerifyImport: $.Cursor is present",
		"WaitForCheckNewUserPool > CheckNewUserPool: ",
		"WaitForImportUsers > ImportUsers: ",
		"WaitForUpdateUsers > UpdateUsers: ",
		"WaitForVerifyImport > VerifyImport: ",
	}
	if !slices.Equal(back, want) {
		t.Errorf("arrows back are\n%s\nnot\n%s", strings.Join(back, "\n"), strings.Join(want, "\n"))
	}
}

func TestBranchesStandSideBySide(t *testing.T) {
	for _, isCompact := range []bool{false, true} {
		shapes := map[string]Shape{}
		for _, s := range Layout(read(t, "import"), isCompact).Shapes {
			shapes[s.Name] = s
		}
		box, one, other := shapes["RestoreUsers"], shapes["ImportUsers"], shapes["UpdateUsers"]
		if one.Y != other.Y || one.X+one.W >= other.X {
			t.Errorf("ImportUsers is at %v, UpdateUsers at %v", one.Rect, other.Rect)
		}
		if !box.contains(one.Rect) || !box.contains(other.Rect) {
			t.Errorf("RestoreUsers %v does not hold %v and %v", box.Rect, one.Rect, other.Rect)
		}
		if outside := shapes["VerifyImport"]; outside.Y <= box.Y+box.H {
			t.Errorf("VerifyImport %v is not below RestoreUsers %v", outside.Rect, box.Rect)
		}
	}
}

func TestUsualWayRunsStraightDown(t *testing.T) {
	shapes := map[string]Shape{}
	for _, s := range Layout(read(t, "export"), false).Shapes {
		shapes[s.Name] = s
	}
	middle := func(name string) float64 { return shapes[name].X + shapes[name].W/2 }
	for _, name := range []string{"ExportSkipped?", "CheckUserPoolConfig", "ExportUsers", "ExportUsersDone?", "ListGroups", "SendMessage"} {
		if math.Abs(middle(name)-middle("CheckStateMachine")) > 0.01 {
			t.Errorf("%s is beside the usual way", name)
		}
	}
	if middle("ExportSkipped") <= middle("CheckStateMachine") || middle("WaitForCleanUpBackupTable") <= middle("CheckStateMachine") {
		t.Error("what leaves the usual way is not on its right")
	}
}

func TestCompactDrawingFitsAPhone(t *testing.T) {
	for _, name := range []string{"export", "import"} {
		if d := Layout(read(t, name), true); d.W > 375 {
			t.Errorf("%s is %g pixels wide", name, d.W)
		}
	}
}

func TestSVG(t *testing.T) {
	status := map[string]Status{"CheckStateMachine": Done, "ImportUsers": Running, "RestoreUsers": Running, "ScanTable": Failed}
	for _, isCompact := range []bool{false, true} {
		svg := Layout(read(t, "import"), isCompact).SVG(`The "import" & more`, status)
		d := xml.NewDecoder(strings.NewReader(svg))
		classes := map[string]string{}
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := token.(xml.StartElement); ok {
				attribute := map[string]string{}
				for _, a := range e.Attr {
					attribute[a.Name.Local] = a.Value
				}
				if name := attribute["data-state"]; name != "" {
					classes[name] = attribute["class"]
				}
				if e.Name.Local == "svg" && (attribute["role"] != "img" || attribute["aria-label"] != `The "import" & more`) {
					t.Errorf("a screen reader finds %v", attribute)
				}
			}
		}
		for name, want := range map[string]string{
			"CheckStateMachine": "state task done", "ImportUsers": "state task running", "RestoreUsers": "state parallel running",
			"ScanTable": "state task failed", "DryRun?": "state choice todo", "WaitForImportUsers": "state wait todo",
		} {
			if classes[name] != want {
				t.Errorf("%s has class %q, not %q", name, classes[name], want)
			}
		}
	}
}

// A golden file shows in review what a change does to a drawing.
func TestStandalone(t *testing.T) {
	got := Layout(read(t, "import"), false).Standalone("ImportWorkflow")
	if again := Layout(read(t, "import"), false).Standalone("ImportWorkflow"); again != got {
		t.Error("two drawings of the same definition differ")
	}
	golden := filepath.Join("testdata", "import.svg")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the drawing differs from %s; -update writes it anew, then look at it", golden)
	}
}

func TestConditionsInWords(t *testing.T) {
	got := map[string]string{}
	for _, l := range Layout(read(t, "knots"), false).Lines {
		if l.From == "Which?" {
			got[l.To] = l.Condition
		}
	}
	for to, want := range map[string]string{
		"A1": "$.a NumericEquals 1", "B1": "$.b is present and not $.b StringEquals no", "Which?": "$.c is absent",
		"Last": "$.d BooleanEquals true", "Middle": "",
	} {
		if got[to] != want {
			t.Errorf("the arrow to %s says %q, not %q", to, got[to], want)
		}
	}
}

func TestReadRefusesBrokenDefinitions(t *testing.T) {
	for definition, want := range map[string]string{
		`{`:                                   "unexpected end",
		`{"StartAt":"A","States":{}}`:         `StartAt names "A"`,
		`{"StartAt":"A","States":{"A":null}}`: `"A"`,
		`{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"B"}}}`:                                              `"A" leads to "B"`,
		`{"StartAt":"A","States":{"A":{"Type":"Parallel","End":true,"Branches":[null]}}}`:                        `branch of state "A"`,
		`{"StartAt":"A","States":{"A":{"Type":"Parallel","End":true,"Branches":[{"StartAt":"B","States":{}}]}}}`: `StartAt names "B"`,
	} {
		if _, err := Read(definition); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", definition, err, want)
		}
	}
}

func TestStepsInReadingOrder(t *testing.T) {
	var tasks []string
	for _, s := range read(t, "import").Steps() {
		if s.Type == "Task" {
			tasks = append(tasks, strings.Repeat("-", s.Depth)+s.Name)
		}
	}
	want := "CheckStateMachine CheckNewUserPool ScanTable -ImportUsers -UpdateUsers VerifyImport SendMessage"
	if got := strings.Join(tasks, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
