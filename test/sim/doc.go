// Package sim runs whole workflows in virtual time: the real steps with the
// real AWS clients and quota limits, driven by the synthesized state machines,
// against an in-process Cognito that enforces AWS's default quotas, and a
// table, a bucket and queues in memory that answer after settable latencies.
// A restore of days takes minutes, and its figures do not depend on the machine:
// repeated, a small one is the same. In a large one, what is due at the same
// moment may come in another order, which moves last digits.
//
// Everything here must be called in a bubble of testing/synctest, so that it is
// tests that run it: short ones in `make test`, all sizes in `make bench`.
//
// What it leaves out: the time that processors take, the lease (its calls are
// one a second) and mails.
package sim
