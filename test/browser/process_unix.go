//go:build unix

package browser

import (
	"os/exec"
	"syscall"
)

// own puts Chromium and its children into a process group of their own.
func own(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// end kills that group.
func end(cmd *exec.Cmd) { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
