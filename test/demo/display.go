package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"
)

// display writes the demo's output: headings, lines beneath them, on a terminal
// a block that is drawn again and again while an execution runs, and a last
// line that stands alone, so that it can be grepped.
//
// Colour only repeats what the text says; NO_COLOR switches it off.
type display struct {
	w      io.Writer
	live   bool // a terminal: lines can be drawn again
	colour bool
	width  func() int

	mu    sync.Mutex
	drawn int // lines of the block on the screen
}

func newDisplay(w io.Writer) *display {
	d := &display{w: w, width: func() int { return 80 }}
	if f, ok := w.(*os.File); ok && columns(f) > 0 && os.Getenv("TERM") != "dumb" {
		d.live = true
		d.colour = os.Getenv("NO_COLOR") == ""
		d.width = func() int { return columns(f) }
	}
	return d
}

// The colours in use, as SGR codes.
const (
	bold   = "1"
	green  = "32"
	yellow = "33"
	red    = "31"
	dim    = "2"
)

func (d *display) paint(code, text string) string {
	if !d.colour || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (d *display) heading(format string, args ...any) {
	d.write("\n" + d.paint(bold, "== "+fmt.Sprintf(format, args...)) + "\n")
}

func (d *display) line(format string, args ...any) {
	d.write(strings.TrimRight("   "+fmt.Sprintf(format, args...), " ") + "\n")
}

// different is a line for something that did not come back.
func (d *display) different(text string) { d.write("   " + d.paint(red, "DIFFERENT ") + text + "\n") }

// last is the demo's last line.
func (d *display) last(text string, good bool) {
	code := green
	if !good {
		code = red
	}
	d.write("\n" + d.paint(code, text) + "\n")
}

func (d *display) write(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drawn = 0 // what is on the screen stays, the next block is drawn below
	io.WriteString(d.w, text)
}

// row is a line of a block: the colour is for the mark before the text.
type row struct{ mark, colour, text string }

// block draws rows over those drawn last, if nothing was written in between.
// It does nothing where lines cannot be drawn again.
func (d *display) block(rows []row) {
	if !d.live {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	if d.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", d.drawn)
	}
	room := d.width() - 1
	for _, r := range rows {
		text := cut(r.text, room-utf8.RuneCountInString(r.mark)-4)
		b.WriteString("\r\x1b[K   " + d.paint(r.colour, r.mark) + " " + text + "\n")
	}
	b.WriteString("\x1b[J") // rows of a longer block before
	d.drawn = len(rows)
	io.WriteString(d.w, b.String())
}

// cut keeps text within n columns; everything that is cut here is ASCII.
func cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n || n < 4 {
		return text
	}
	return string([]rune(text)[:n-3]) + "..."
}
