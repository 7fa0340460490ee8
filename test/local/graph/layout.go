package graph

import (
	"cmp"
	"math"
	"slices"
)

// Point is a place in a drawing; y grows downwards, in pixels.
type Point struct{ X, Y float64 }

// Rect is a box in a drawing, given by its upper left corner and size.
type Rect struct{ X, Y, W, H float64 }

// Drawing is a state machine whose states and arrows have their places.
type Drawing struct {
	W, H   float64
	Shapes []Shape // boxes before what is inside them
	Lines  []Line

	compact bool
}

// Shape is a state, or the dot where an execution starts or ends.
type Shape struct {
	Rect
	Name    string // of the state
	Type    string // of the state; Start and End for the dots
	Comment string
	Label   []string // the name in lines; none if there is no room for it
}

// Line is an arrow between two states, drawn from corner to corner.
type Line struct {
	From, To  string
	Condition string // "" on the usual way
	Back      bool   // leads back to an earlier state
	Points    []Point
}

// measures are the sizes of a drawing, in pixels.
type measures struct {
	lineHeight  float64
	small       float64 // width of a character in Choice and Wait states
	large       float64 // and in the others
	longest     int     // characters of a line
	minWidth    float64 // of a state that does something
	between     float64 // layers
	lanes       float64 // between lanes
	track       float64 // between a loop and what it goes round
	port        float64 // between arrows at the same side of a state
	boxPad      float64
	branches    float64 // between branches
	waitIsIcon  bool
	dot, margin float64
}

var (
	wide = measures{lineHeight: 15, small: 6.3, large: 7.3, longest: 19, minWidth: 150, between: 30, lanes: 22,
		track: 16, port: 15, boxPad: 14, branches: 18, dot: 14, margin: 6}
	compact = measures{lineHeight: 13, small: 5.8, large: 6.4, longest: 12, minWidth: 92, between: 24, lanes: 10,
		track: 9, port: 9, boxPad: 6, branches: 8, waitIsIcon: true, dot: 12, margin: 3}
)

// Layout gives every state and arrow its place. A compact drawing fits a
// phone: names are broken into short lines, and a Wait state is a clock.
func Layout(m *Machine, isCompact bool) *Drawing {
	size := &wide
	if isCompact {
		size = &compact
	}
	d := size.machine(m, true)
	d.compact = isCompact
	return d
}

// node is a state on its way to a place.
type node struct {
	name  string
	state *State
	kind  string
	label []string
	inner []*Drawing

	w, h  float64
	layer int
	lane  int
	x, y  float64 // centre of its width, upper edge
}

// edge is an arrow on its way to a place.
type edge struct {
	from, to  *node
	condition string
	back      bool
	corridor  *part // through the layers between from and to
}

// part is what keeps to one lane: a chain of states, or an arrow that passes
// layers it has no business in.
type part struct {
	nodes  []*node
	edge   *edge
	lo, hi int // layers
	lane   int
	x      float64
}

// layout places one machine; branches have layouts of their own.
type layout struct {
	*measures
	nodes  []*node // in the order of a depth-first walk
	edges  []*edge
	parts  []*part
	layers int
	tops   []float64 // upper edge of each layer
	deep   []float64 // height of each layer
	left   []float64 // how far each layer reaches
	right  []float64
	lines  []Line
}

func (size *measures) machine(m *Machine, dots bool) *Drawing {
	l := &layout{measures: size}
	l.walk(m, dots)
	l.rank()
	l.assignLanes()
	l.placeColumns()
	l.placeRows()
	l.forward()
	l.backward()
	return l.drawing()
}

// walk makes nodes and edges. An arrow to a state that the walk has not left
// yet closes a loop.
func (l *layout) walk(m *Machine, dots bool) {
	const inside, left = 1, 2
	found, progress := map[string]*node{}, map[string]int{}
	var visit func(name string) *node
	visit = func(name string) *node {
		n := l.node(name, m.States[name])
		found[name], progress[name] = n, inside
		l.nodes = append(l.nodes, n)
		for _, a := range n.state.arrows() {
			e := &edge{from: n, condition: a.condition, back: progress[a.to] == inside}
			l.edges = append(l.edges, e)
			if e.to = found[a.to]; e.to == nil {
				e.to = visit(a.to)
			}
		}
		if n.state.End && dots {
			end := l.dotNode("End")
			l.nodes = append(l.nodes, end)
			l.edges = append(l.edges, &edge{from: n, to: end})
		}
		progress[name] = left
		return n
	}
	if !dots {
		visit(m.StartAt)
		return
	}
	start := l.dotNode("Start")
	l.nodes = append(l.nodes, start)
	e := &edge{from: start}
	l.edges = append(l.edges, e)
	e.to = visit(m.StartAt)
}

func (l *layout) dotNode(kind string) *node {
	return &node{kind: kind, state: &State{Type: kind}, w: l.dot, h: l.dot}
}

// node measures a state.
func (l *layout) node(name string, s *State) *node {
	n := &node{name: name, state: s, kind: s.Type}
	branches := s.branches()
	if len(branches) > 0 {
		n.label = []string{name}
		n.w, n.h = l.boxPad, 0
		for i, b := range branches {
			d := l.machine(b, false)
			n.inner = append(n.inner, d)
			if i > 0 {
				n.w += l.branches
			}
			n.w, n.h = n.w+d.W, max(n.h, d.H)
		}
		n.w = max(n.w+l.boxPad, float64(len(name))*l.large+2*l.boxPad)
		n.h += l.header() + l.boxPad
		return n
	}
	n.label = wrap(name, l.longest)
	characters := 0
	for _, line := range n.label {
		characters = max(characters, len(line))
	}
	height := float64(len(n.label)) * l.lineHeight
	switch s.Type {
	case "Choice":
		n.w, n.h = float64(characters)*l.small+2*l.lineHeight, height+9
	case "Wait":
		if l.waitIsIcon {
			n.label = nil
			n.w, n.h = 24, 24
		} else {
			n.w, n.h = float64(characters)*l.small+3*l.lineHeight, height+9
		}
	case "Succeed", "Fail":
		n.w, n.h = float64(characters)*l.small+2.5*l.lineHeight, height+11
	default:
		n.w, n.h = max(float64(characters)*l.large+1.6*l.lineHeight, l.minWidth), height+17
	}
	return n
}

// header is the height of a box's heading.
func (size *measures) header() float64 { return size.lineHeight + 12 }

// wrap breaks a name before capitals into lines of at most longest characters,
// where that is possible.
func wrap(name string, longest int) []string {
	if len(name) <= longest {
		return []string{name}
	}
	var words []string
	start := 0
	for i := 1; i < len(name); i++ {
		if upper(name[i]) && !upper(name[i-1]) || name[i-1] == ' ' || name[i-1] == '-' || name[i-1] == '_' {
			words = append(words, name[start:i])
			start = i
		}
	}
	words = append(words, name[start:])
	lines := []string{""}
	for _, w := range words {
		last := &lines[len(lines)-1]
		if *last != "" && len(*last)+len(w) > longest {
			lines = append(lines, w)
			continue
		}
		*last += w
	}
	return lines
}

func upper(c byte) bool { return c >= 'A' && c <= 'Z' }

// rank puts every node one layer below the lowest that leads to it.
func (l *layout) rank() {
	out := map[*node][]*edge{}
	for _, e := range l.edges {
		if !e.back {
			out[e.from] = append(out[e.from], e)
		}
	}
	// Nodes in an order in which every arrow leads onwards.
	var order []*node
	seen := map[*node]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		seen[n] = true
		for _, e := range out[n] {
			if !seen[e.to] {
				visit(e.to)
			}
		}
		order = append(order, n)
	}
	visit(l.nodes[0])
	slices.Reverse(order)
	for _, n := range order {
		l.layers = max(l.layers, n.layer+1)
		for _, e := range out[n] {
			e.to.layer = max(e.to.layer, n.layer+1)
		}
	}
}

// assignLanes gives the usual way lane 0 and everything else the first lane
// to its right that is free, short parts first.
func (l *layout) assignLanes() {
	laned := map[*node]*part{}
	usual := map[*node]*edge{}
	for _, e := range l.edges {
		if usual[e.from] == nil && !e.back && (e.condition == "" || len(e.from.state.arrows()) == 1) {
			usual[e.from] = e
		}
	}
	for _, n := range l.nodes {
		if laned[n] != nil {
			continue
		}
		p := &part{lo: n.layer, hi: n.layer, lane: -1}
		for at := n; ; {
			p.nodes, laned[at], p.hi = append(p.nodes, at), p, at.layer
			e := usual[at]
			if e == nil || laned[e.to] != nil {
				break
			}
			e.corridor = p
			at = e.to
		}
		l.parts = append(l.parts, p)
	}
	l.parts[0].lane = 0 // begins with the first node
	for _, e := range l.edges {
		if !e.back && e.corridor == nil && e.to.layer > e.from.layer+1 {
			e.corridor = &part{edge: e, lo: e.from.layer + 1, hi: e.to.layer - 1, lane: -1}
			l.parts = append(l.parts, e.corridor)
		}
	}
	slices.SortStableFunc(l.parts, func(a, b *part) int {
		return cmp.Or(cmp.Compare(b.lane, a.lane), cmp.Compare(a.hi-a.lo, b.hi-b.lo))
	})
	taken := map[[2]int]bool{} // lane, layer
	for _, p := range l.parts {
		for lane := 1; p.lane < 0; lane++ {
			free := true
			for layer := p.lo; layer <= p.hi; layer++ {
				free = free && !taken[[2]int{lane, layer}]
			}
			if free {
				p.lane = lane
			}
		}
		for layer := p.lo; layer <= p.hi; layer++ {
			taken[[2]int{p.lane, layer}] = true
		}
		for _, n := range p.nodes {
			n.lane = p.lane
		}
	}
	slices.SortStableFunc(l.parts, func(a, b *part) int { return cmp.Compare(a.lane, b.lane) })
}

// placeColumns gives each part its x: as far to the left as what is in the
// same layers allows.
func (l *layout) placeColumns() {
	l.left, l.right = make([]float64, l.layers), make([]float64, l.layers)
	for _, p := range l.parts {
		half := 3.0
		for _, n := range p.nodes {
			half = max(half, n.w/2)
		}
		if p.lane > 0 {
			p.x = math.Inf(-1)
			for layer := p.lo; layer <= p.hi; layer++ {
				p.x = max(p.x, l.right[layer]+l.lanes+half)
			}
		}
		for _, n := range p.nodes {
			n.x = p.x
		}
		for layer := p.lo; layer <= p.hi; layer++ {
			width := 3.0
			for _, n := range p.nodes {
				if n.layer == layer {
					width = n.w / 2
				}
			}
			l.right[layer] = max(l.right[layer], p.x+width)
			l.left[layer] = min(l.left[layer], p.x-width)
		}
	}
}

// placeRows gives each layer its height.
func (l *layout) placeRows() {
	l.tops, l.deep = make([]float64, l.layers), make([]float64, l.layers)
	for _, n := range l.nodes {
		l.deep[n.layer] = max(l.deep[n.layer], n.h)
	}
	for i := 1; i < l.layers; i++ {
		l.tops[i] = l.tops[i-1] + l.deep[i-1] + l.between
	}
	for _, n := range l.nodes {
		n.y = l.tops[n.layer] + (l.deep[n.layer]-n.h)/2
	}
}

// gap is the height at which the i-th of so many arrows crosses from one lane
// to another below a layer.
func (l *layout) gap(layer, i, of int) float64 {
	return l.tops[layer] + l.deep[layer] + l.between*float64(i+1)/float64(of+1)
}

// forward draws the arrows that lead on: down, and across between two layers.
func (l *layout) forward() {
	outs, ins := map[*node]int{}, map[*node]int{}
	for _, e := range l.edges {
		if !e.back {
			outs[e.from]++
			ins[e.to]++
		}
	}
	type crossing struct{ layer, line, point int }
	var crossings []crossing
	perGap := map[int]int{}
	usedOut, usedIn := map[*node]int{}, map[*node]int{}
	for _, e := range l.edges {
		if e.back {
			continue
		}
		at, end := e.from.x, e.to.x
		column := end // between the two
		if e.corridor != nil {
			column = e.corridor.x
		}
		if toward := column - at; outs[e.from] > 1 && toward != 0 {
			usedOut[e.from]++
			at += l.offset(usedOut[e.from], e.from, toward)
		}
		if toward := column - end; ins[e.to] > 1 && (toward != 0 || column != e.from.x) {
			side := toward
			if side == 0 {
				side = e.from.x - end
			}
			usedIn[e.to]++
			end += l.offset(usedIn[e.to], e.to, side)
			if e.corridor == nil {
				column = end
			}
		}
		points := []Point{{at, e.from.y + e.from.h}}
		for layer := e.from.layer; layer < e.to.layer; layer++ {
			next := column
			if layer == e.to.layer-1 {
				next = end
			}
			if next != at {
				crossings = append(crossings, crossing{layer, len(l.lines), len(points)})
				perGap[layer]++
				points = append(points, Point{at, 0}, Point{next, 0})
				at = next
			}
		}
		points = append(points, Point{end, e.to.y})
		l.lines = append(l.lines, Line{From: e.from.name, To: e.to.name, Condition: e.condition, Points: points})
	}
	drawn := map[int]int{}
	for _, c := range crossings {
		y := l.gap(c.layer, drawn[c.layer], perGap[c.layer])
		drawn[c.layer]++
		l.lines[c.line].Points[c.point].Y = y
		l.lines[c.line].Points[c.point+1].Y = y
	}
}

// offset keeps the i-th arrow to one side apart from the one in the middle.
func (l *layout) offset(i int, n *node, toward float64) float64 {
	x := min(float64(i)*l.port, n.w/2-4)
	if toward < 0 {
		return -x
	}
	return x
}

// loop is an arrow back, with the side it goes round and where it touches.
type loop struct {
	*edge
	side       float64 // -1 left, 1 right
	exit, into float64 // y at the side of from and to
	below      bool    // the side of from is not free
	above      bool    // the side of to is not free
}

// backward draws the arrows that close loops, along the side of everything
// they go round, the short ones inside.
func (l *layout) backward() {
	var loops []*loop
	for _, e := range l.edges {
		if e.back {
			loops = append(loops, &loop{edge: e, side: 1})
		}
	}
	slices.SortStableFunc(loops, func(a, b *loop) int {
		return cmp.Compare(a.from.layer-a.to.layer, b.from.layer-b.to.layer)
	})
	for _, b := range loops {
		if b.from.lane == 0 && b.to.lane == 0 {
			b.side = -1
		} else {
			b.below, b.above = !l.outermost(b.from), !l.outermost(b.to)
		}
	}
	l.ports(loops)
	for _, b := range loops {
		l.lines = append(l.lines, Line{From: b.from.name, To: b.to.name, Condition: b.condition, Back: true, Points: l.round(b)})
	}
}

// outermost says that nothing is to the right of a node.
func (l *layout) outermost(n *node) bool {
	return !slices.ContainsFunc(l.parts, func(p *part) bool { return p.lane > n.lane && p.lo <= n.layer && n.layer <= p.hi })
}

// ports spreads the loops that touch the same side of a state, so that they
// do not cross there: those from above keep above those from below.
func (l *layout) ports(loops []*loop) {
	type port struct {
		y     *float64
		order float64
	}
	type place struct {
		n    *node
		side float64
	}
	ports := map[place][]port{}
	for _, b := range loops {
		span := float64(b.from.layer - b.to.layer)
		if !b.below {
			at := place{b.from, b.side}
			ports[at] = append(ports[at], port{&b.exit, -1000 + span})
		}
		if !b.above {
			at := place{b.to, b.side}
			ports[at] = append(ports[at], port{&b.into, 1000 - span})
		}
	}
	for at, list := range ports {
		slices.SortStableFunc(list, func(a, b port) int { return cmp.Compare(a.order, b.order) })
		for i, p := range list {
			*p.y = at.n.y + at.n.h*float64(i+1)/float64(len(list)+1)
		}
	}
}

// round is the way of a loop.
func (l *layout) round(b *loop) []Point {
	reach := l.right
	if b.side < 0 {
		reach = l.left
	}
	lo, hi := b.to.layer, b.from.layer
	x := math.Inf(-1)
	for layer := lo; layer <= hi; layer++ {
		x = max(x, b.side*reach[layer]+l.track)
	}
	for layer := lo; layer <= hi; layer++ {
		reach[layer] = b.side * x
	}
	x *= b.side
	var points []Point
	if b.below {
		y := l.tops[hi] + l.deep[hi] + l.between*0.35
		points = append(points, Point{b.from.x - 4, b.from.y + b.from.h}, Point{b.from.x - 4, y}, Point{x, y})
	} else {
		points = append(points, Point{b.from.x + b.side*b.from.reach(b.exit), b.exit}, Point{x, b.exit})
	}
	if b.above {
		y := l.tops[lo] - l.between*0.35
		port := b.to.x + l.offset(2, b.to, 1)
		return append(points, Point{x, y}, Point{port, y}, Point{port, b.to.y})
	}
	return append(points, Point{x, b.into}, Point{b.to.x + b.side*b.to.reach(b.into), b.into})
}

// reach is the distance from the middle of a node to its outline at height y.
func (n *node) reach(y float64) float64 {
	off := math.Abs(y - n.y - n.h/2)
	half := n.h / 2
	switch n.kind {
	case "Choice":
		return n.w/2 - off/half*point(n.h)
	case "Wait", "Succeed", "Fail":
		return n.w/2 - half + math.Sqrt(max(half*half-off*off, 0))
	}
	return n.w / 2
}

// point is how far the sides of a Choice state's hexagon stick out.
func point(height float64) float64 { return height * 0.4 }

// drawing moves everything to positive coordinates.
func (l *layout) drawing() *Drawing {
	west, north := math.Inf(1), math.Inf(1)
	east, south := math.Inf(-1), math.Inf(-1)
	grow := func(x, y float64) {
		west, east = min(west, x), max(east, x)
		north, south = min(north, y), max(south, y)
	}
	for _, n := range l.nodes {
		grow(n.x-n.w/2, n.y)
		grow(n.x+n.w/2, n.y+n.h)
	}
	for _, line := range l.lines {
		for _, p := range line.Points {
			grow(p.X, p.Y)
		}
	}
	d := &Drawing{W: east - west + 2*l.margin, H: south - north + 2*l.margin}
	dx, dy := l.margin-west, l.margin-north
	for _, n := range l.nodes {
		box := Rect{n.x - n.w/2 + dx, n.y + dy, n.w, n.h}
		d.Shapes = append(d.Shapes, Shape{Rect: box, Name: n.name, Type: n.kind, Comment: n.state.Comment, Label: n.label})
		width := -l.branches
		for _, inner := range n.inner {
			width += inner.W + l.branches
		}
		x := box.X + (box.W-width)/2
		for _, inner := range n.inner {
			d.put(inner, x, box.Y+l.header())
			x += inner.W + l.branches
		}
	}
	for _, line := range l.lines {
		line.move(dx, dy)
		d.Lines = append(d.Lines, line)
	}
	return d
}

// put adds a drawing inside this one.
func (d *Drawing) put(inner *Drawing, dx, dy float64) {
	for _, s := range inner.Shapes {
		s.X, s.Y = s.X+dx, s.Y+dy
		d.Shapes = append(d.Shapes, s)
	}
	for _, line := range inner.Lines {
		line.move(dx, dy)
		d.Lines = append(d.Lines, line)
	}
}

func (l *Line) move(dx, dy float64) {
	for i := range l.Points {
		l.Points[i].X += dx
		l.Points[i].Y += dy
	}
}
