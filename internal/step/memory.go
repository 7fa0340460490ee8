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
	besides = 24 << 20
)

// alone says that the process is a function's and no test's.
var alone atomic.Bool

// Hold tells the collector that the step keeps about so many bytes until its
// slice ends. Left alone it lets garbage grow to as much again as is kept.
func Hold(bytes int) {
	if alone.Load() {
		debug.SetMemoryLimit(max(usualMemory, int64(bytes)+besides))
	}
}
