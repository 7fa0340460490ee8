//go:build unix && !linux

package dynamodb

import "syscall"

// ownGroup starts a process in a group of its own. Only Linux can also tie its
// life to the testbed's; elsewhere Close ends it.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
