//go:build unix && !linux

package lambda

import "syscall"

// ownGroup starts a process in a group of its own. Only Linux can also tie its
// life to the testbed's; elsewhere Close ends it.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Peak memory of a living process can be read on Linux only.
func resetPeak(int) {}

func peakRSS(int) int64 { return 0 }

func currentRSS(int) int64 { return 0 }
