package step

import (
	"runtime/debug"
	"sync/atomic"
)

const (
	// usualMemory is where the collector begins to work for its keep: a step that
	// holds little stays within 128 MB with its program, whatever the load.
	usualMemory = 88 << 20
	// besides is what a step may use beside what it holds.
	besides = 16 << 20
)

// alone says that the process is a function's and no test's.
var alone atomic.Bool

// holds says that the slice has told what it keeps.
var holds atomic.Bool

// Hold tells the collector that the step keeps about so many bytes until its
// slice ends. Left alone it lets garbage grow to as much again as is kept. It
// is to be told before they are allocated.
func Hold(bytes int) {
	if alone.Load() {
		holds.Store(true)
		debug.SetMemoryLimit(max(usualMemory, int64(bytes)+besides))
	}
}

// letGo collects what a slice kept. The next one in this process may allocate
// as much at once, faster than a collection that begins only then comes to its
// end.
func letGo() {
	if holds.Swap(false) {
		debug.SetMemoryLimit(usualMemory)
		debug.FreeOSMemory()
	}
}
