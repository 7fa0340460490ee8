package dynamodb

import "syscall"

// ownGroup starts a process in a group of its own that the kernel kills when
// the testbed dies, however it dies.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
