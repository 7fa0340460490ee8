package stepfunctions

import (
	"fmt"
	"slices"
)

// Error names that the States Language reserves.
const (
	errAll                = "States.ALL"
	errDataLimit          = "States.DataLimitExceeded"
	errIntrinsic          = "States.IntrinsicFailure"
	errNoChoice           = "States.NoChoiceMatched"
	errParameterPath      = "States.ParameterPathFailure"
	errResultPath         = "States.ResultPathMatchFailure"
	errRuntime            = "States.Runtime"
	errTaskFailed         = "States.TaskFailed"
	errTimeout            = "States.Timeout"
	maxErrorLength        = 256    // characters, SensitiveError in the API model
	maxCauseLength        = 32_768 // characters, SensitiveCause in the API model
	maxPayload            = 262_144
	maxEvents             = 25_000
	maxDefinition         = 1 << 20
	defaultTimeoutSeconds = 99_999_999
)

// failure is how a state, a branch or an execution fails.
type failure struct {
	name  string // Error in the States Language; may be empty for a Fail state
	cause string

	// interrupted: not a failure of the state itself. The execution was stopped,
	// timed out or hit a limit, or a sibling branch failed.
	interrupted bool
}

func (f *failure) Error() string { return f.name + ": " + f.cause }

func failf(name, format string, args ...any) *failure {
	return &failure{name: name, cause: fmt.Sprintf(format, args...)}
}

// matches tells whether a Retry's or Catch's ErrorEquals takes the failure.
// States.Runtime is never taken; States.DataLimitExceeded only by its own name.
func (f *failure) matches(errorEquals []string) bool {
	if f.interrupted || f.name == errRuntime {
		return false
	}
	if slices.Contains(errorEquals, f.name) && f.name != "" {
		return true
	}
	if f.name == errDataLimit {
		return false
	}
	return slices.Contains(errorEquals, errAll) ||
		slices.Contains(errorEquals, errTaskFailed) && f.name != errTimeout
}

// output is what a Catch puts into the state's data.
func (f *failure) output() map[string]any {
	return map[string]any{"Error": f.name, "Cause": f.cause}
}

func truncate(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit])
}
