// Package wire is the seam between the testbed's gateway and its services: one
// API call, already authenticated and decoded, goes in; an output or an AWS
// error comes out. The gateway owns HTTP, signatures, IAM, validation against
// the API models, faults and latency; a service owns behaviour and nothing else.
package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// Account is the account id of everything in the testbed.
const Account = "123456789012"

// Call is one API request as a service sees it. Input is JSON with the member
// names of the API model, whatever the protocol was on the wire (timestamps are
// epoch seconds, blobs base64, as in AWS JSON 1.1).
type Call struct {
	Service   string // signing name: cognito-idp, sqs, sns, states, scheduler
	Operation string // ListUsers
	Region    string
	Principal Principal
	Session   string // session token of the caller, a function's being that of its process
	Input     json.RawMessage
	Endpoint  string // http://127.0.0.1:port of the gateway, for URLs in answers
}

// Decode reads the input into v, a struct with json tags of the model's names.
func (c *Call) Decode(v any) error {
	if len(c.Input) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.Input, v); err != nil {
		return &Error{Code: "SerializationException", Message: err.Error(), Status: 400}
	}
	return nil
}

// Principal is who calls: the role of a function or state machine, or the
// account's administrator (Role empty), to whom everything is allowed.
type Principal struct {
	Role string // role ARN
	Name string // function name or other label, for reports
}

// Permission is one IAM decision that a call needs, for example
// {"cognito-idp:CreateUserImportJob", pool ARN} and {"iam:PassRole", role ARN}.
type Permission struct {
	Action   string
	Resource string
	Context  map[string]string // condition keys, for example iam:PassedToService
}

// Service is one AWS service in one Region.
type Service interface {
	// Permissions lists every permission the call needs, all of which must be
	// granted. A call without a meaningful resource names "*".
	Permissions(c *Call) []Permission
	// Handle carries the call out. The output is marshalled to JSON with the
	// model's member names; a *Error is sent as AWS would send it, any other
	// error as InternalFailure, 500.
	Handle(ctx context.Context, c *Call) (any, error)
}

// Error is an AWS API error.
type Error struct {
	Code    string // as in the model: ResourceNotFoundException
	Message string
	Status  int // HTTP status; 400 when zero
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an error of the given code with HTTP status 400.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: 400}
}

// Time is an AWS JSON timestamp: epoch seconds with milliseconds.
type Time time.Time

// MarshalJSON writes seconds since the epoch.
func (t Time) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", float64(time.Time(t).UnixMilli())/1000), nil
}

// UnmarshalJSON reads seconds since the epoch.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s float64
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*t = Time(time.UnixMilli(int64(math.Round(s * 1000))).UTC())
	return nil
}

// Clock is the testbed's time. Now is real (or set by a test); durations of
// Wait states, import jobs and schedules are divided by Factor. Functions
// themselves never run faster, so rates are always real.
type Clock struct {
	Factor float64              // 1 when zero
	Offset func() time.Duration // a test's jump ahead; nil is none
}

// Now is the current time in UTC.
func (c *Clock) Now() time.Time {
	now := time.Now().UTC()
	if c != nil && c.Offset != nil {
		now = now.Add(c.Offset())
	}
	return now
}

// Scale is how long d takes in the testbed.
func (c *Clock) Scale(d time.Duration) time.Duration {
	if c == nil || c.Factor <= 0 {
		return d
	}
	return time.Duration(float64(d) / c.Factor)
}
