//go:build !unix

package browser

import "os/exec"

func own(*exec.Cmd) {}

func end(cmd *exec.Cmd) { cmd.Process.Kill() }
