package graph

import (
	_ "embed"
	"fmt"
	"html"
	"math"
	"strings"
)

// CSS colours a drawing, light and dark. A page that shows drawings links it;
// a drawing that stands alone carries it.
//
//go:embed graph.css
var CSS string

// Status is what became of a state in an execution.
type Status string

const (
	Todo    Status = "todo"
	Running Status = "running"
	Done    Status = "done"
	Failed  Status = "failed"
)

// SVG is the drawing as an element for a page that links CSS. Title is what a
// screen reader says for it; status is that of states by name, Todo for others.
// States are groups with the attribute data-state and the status as a class.
func (d *Drawing) SVG(title string, status map[string]Status) string {
	var b strings.Builder
	d.open(&b, title, "")
	d.body(&b, status)
	b.WriteString("</svg>\n")
	return b.String()
}

// Standalone is the drawing as a file.
func (d *Drawing) Standalone(title string) string {
	var b strings.Builder
	d.open(&b, title, ` xmlns="http://www.w3.org/2000/svg"`)
	fmt.Fprintf(&b, "<style>\n%s</style>\n", CSS)
	d.body(&b, nil)
	b.WriteString("</svg>\n")
	return b.String()
}

func (d *Drawing) open(b *strings.Builder, title, attributes string) {
	class := "workflow"
	if d.compact {
		class += " compact"
	}
	fmt.Fprintf(b, `<svg%s class="%s" viewBox="0 0 %s %s" width="%s" height="%s" role="img" aria-label="%s">`+"\n",
		attributes, class, num(d.W), num(d.H), num(d.W), num(d.H), html.EscapeString(title))
}

func (d *Drawing) body(b *strings.Builder, status map[string]Status) {
	// Boxes first, so that arrows inside them are seen.
	for _, s := range d.Shapes {
		if s.box() {
			s.draw(b, status[s.Name], d.compact)
		}
	}
	for _, l := range d.Lines {
		l.draw(b)
	}
	for _, s := range d.Shapes {
		if !s.box() {
			s.draw(b, status[s.Name], d.compact)
		}
	}
}

// box says that the shape holds others.
func (s *Shape) box() bool { return s.Type == "Parallel" || s.Type == "Map" }

func (s *Shape) draw(b *strings.Builder, status Status, isCompact bool) {
	if status == "" {
		status = Todo
	}
	x, y, w, h := s.X, s.Y, s.W, s.H
	cx, cy := x+w/2, y+h/2
	switch s.Type {
	case "Start":
		fmt.Fprintf(b, `<circle class="dot" cx="%s" cy="%s" r="%s"/>`+"\n", num(cx), num(cy), num(h/2))
		return
	case "End":
		fmt.Fprintf(b, `<g class="dot"><circle class="ring" cx="%s" cy="%s" r="%s"/><circle cx="%[1]s" cy="%[2]s" r="%[4]s"/></g>`+"\n",
			num(cx), num(cy), num(h/2-0.75), num(h/2-3.5))
		return
	}
	fmt.Fprintf(b, `<g class="state %s %s" data-state="%s"><title>%s</title>`,
		strings.ToLower(s.Type), status, html.EscapeString(s.Name), html.EscapeString(s.title()))
	switch s.Type {
	case "Choice":
		p := point(h)
		fmt.Fprintf(b, `<path class="shape" d="M%s %sL%s %sL%s %sL%s %sL%s %sL%s %sZ"/>`, num(x), num(cy), num(x+p), num(y), num(x+w-p), num(y),
			num(x+w), num(cy), num(x+w-p), num(y+h), num(x+p), num(y+h))
	case "Wait", "Succeed", "Fail":
		fmt.Fprintf(b, `<rect class="shape" x="%s" y="%s" width="%s" height="%s" rx="%s"/>`, num(x), num(y), num(w), num(h), num(h/2))
	default:
		fmt.Fprintf(b, `<rect class="shape" x="%s" y="%s" width="%s" height="%s" rx="6"/>`, num(x), num(y), num(w), num(h))
	}
	line := wide.lineHeight
	if isCompact {
		line = compact.lineHeight
	}
	textX := cx
	if s.Type == "Wait" {
		clockX := cx
		if len(s.Label) > 0 {
			clockX = x + 15
			textX += 7
		}
		fmt.Fprintf(b, `<path class="clock" d="M%s %sa6 6 0 1 0 12 0a6 6 0 1 0 -12 0M%s %sv-4m0 4l2.5 1.5"/>`, num(clockX-6), num(cy), num(clockX), num(cy))
	}
	if len(s.Label) > 0 {
		top := cy - line*float64(len(s.Label)-1)/2
		if s.box() {
			top = y + line/2 + 7
		}
		b.WriteString("<text>")
		for i, text := range s.Label {
			fmt.Fprintf(b, `<tspan x="%s" y="%s">%s</tspan>`, num(textX), num(top+float64(i)*line), html.EscapeString(text))
		}
		b.WriteString("</text>")
	}
	// The mark says by its form what the colour says; CSS shows the one that applies.
	mx, my := x+w-1, y+1
	if s.Type == "Choice" || s.Type == "Wait" || s.Type == "Succeed" || s.Type == "Fail" {
		mx, my = x+w-h*0.3, y+1
	}
	fmt.Fprintf(b, `<g class="mark" transform="translate(%s %s)"><circle r="7.5"/><path class="tick" d="M-3.2 .2L-1 2.6L3.4 -2.6"/>`+
		`<path class="play" d="M-2 -3.4L3.6 0L-2 3.4Z"/><path class="cross" d="M-2.7 -2.7L2.7 2.7M2.7 -2.7L-2.7 2.7"/></g></g>`+"\n", num(mx), num(my))
}

// title is what pointing at a state shows.
func (s *Shape) title() string {
	if s.Comment == "" {
		return s.Name
	}
	return s.Name + ": " + s.Comment
}

func (l *Line) draw(b *strings.Builder) {
	class := "arrow"
	if l.Back {
		class += " back"
	}
	fmt.Fprintf(b, `<g class="%s">`, class)
	if l.Condition != "" {
		fmt.Fprintf(b, "<title>%s</title>", html.EscapeString(l.Condition))
	}
	const corner = 7
	fmt.Fprintf(b, `<path class="line" d="M%s %s`, num(l.Points[0].X), num(l.Points[0].Y))
	for i := 1; i < len(l.Points)-1; i++ {
		at := l.Points[i]
		in, out := toward(at, l.Points[i-1], corner), toward(at, l.Points[i+1], corner)
		fmt.Fprintf(b, "L%s %sQ%s %s %s %s", num(in.X), num(in.Y), num(at.X), num(at.Y), num(out.X), num(out.Y))
	}
	end, before := l.Points[len(l.Points)-1], l.Points[len(l.Points)-2]
	base := toward(end, before, 5)
	fmt.Fprintf(b, `L%s %s"/>`, num(base.X), num(base.Y))
	// The head: a triangle with its tip at the end.
	dx, dy := (end.X-base.X)/5, (end.Y-base.Y)/5
	fmt.Fprintf(b, `<path class="head" d="M%s %sL%s %sL%s %sZ"/></g>`+"\n", num(end.X), num(end.Y),
		num(end.X-6.5*dx-3.8*dy), num(end.Y-6.5*dy+3.8*dx), num(end.X-6.5*dx+3.8*dy), num(end.Y-6.5*dy-3.8*dx))
}

// toward is the point at a distance from one point to another, half of the way
// at most.
func toward(from, to Point, distance float64) Point {
	length := math.Hypot(to.X-from.X, to.Y-from.Y)
	if length == 0 {
		return from
	}
	f := min(distance/length, 0.5)
	return Point{from.X + f*(to.X-from.X), from.Y + f*(to.Y-from.Y)}
}

// num is a coordinate with one decimal, if it needs one.
func num(f float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0")
}
