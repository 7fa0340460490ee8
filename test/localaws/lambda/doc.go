// Package lambda runs functions as processes that speak the real Lambda
// Runtime API, so that the binaries of provided.al2023 run unchanged.
//
// As in AWS: one process serves one invocation at a time and is reused;
// between invocations it is frozen (SIGSTOP), so background goroutines stop; a
// function beyond its Timeout is killed; one that outgrows its MemorySize is
// killed; a caller that gives up (a task that timed out) does not stop the
// function. Every function has credentials of its own, by which the gateway
// recognizes its role.
package lambda
