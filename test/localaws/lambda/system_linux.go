package lambda

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// ownGroup starts a process in a group of its own that the kernel kills when
// the testbed dies, however it dies.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// resetPeak makes the kernel measure the peak from here on.
func resetPeak(pid int) {
	os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // best effort: without it the peak is the process's, not the invocation's
}

// peakRSS is the peak resident memory in bytes, 0 when unknown.
func peakRSS(pid int) int64 { return status(pid, "VmHWM:") }

// currentRSS is the resident memory in bytes, 0 when unknown.
func currentRSS(pid int) int64 { return status(pid, "VmRSS:") }

func status(pid int, field string) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte(field)); ok {
			kb, _ := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
			return kb << 10
		}
	}
	return 0
}
