package step

import "time"

// Limits of one execution of a state machine.
// Source: Step Functions developer guide, "Service quotas".
const (
	MaxEvents    = 25_000 // in its history
	MaxExecution = 365 * 24 * time.Hour
)

// EventsPerSlice is how many history events a time slice of a step takes:
// entering and leaving the task and its choice, and the task's scheduled,
// started and succeeded.
const EventsPerSlice = 7
