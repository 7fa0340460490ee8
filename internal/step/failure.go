package step

import (
	"context"
	"errors"
	"reflect"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// TransientError is a failure that a later attempt may not meet. The state
// machine retries it by this name, which Lambda takes from the Go type.
type TransientError struct{ Err error }

func (e *TransientError) Error() string { return e.Err.Error() }
func (e *TransientError) Unwrap() error { return e.Err }

// Failure is any other failure of a step; nobody retries it.
type Failure struct{ Err error }

func (e *Failure) Error() string { return e.Err.Error() }
func (e *Failure) Unwrap() error { return e.Err }

var retryable = retry.IsErrorRetryables(retry.DefaultRetryables)

// Classify gives an error the type that Step Functions will see as its name:
// TransientError, the error's own exported type, or Failure.
func Classify(err error) error {
	if err == nil {
		return nil
	}
	if t := reflect.TypeOf(err); t.Kind() == reflect.Pointer && strings.HasPrefix(t.Elem().PkgPath(), modulePath) && exported(t.Elem().Name()) {
		return err
	}
	for _, final := range []any{new(*LeaseLostError), new(*HeldError)} {
		if errors.As(err, final) {
			return &Failure{err}
		}
	}
	if transient := new(TransientError); errors.As(err, &transient) {
		return &TransientError{err}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || retryable.IsErrorRetryable(err) == aws.TrueTernary {
		return &TransientError{err}
	}
	return &Failure{err}
}

var modulePath = strings.TrimSuffix(reflect.TypeFor[Failure]().PkgPath(), "/internal/step")

func exported(name string) bool { return name != "" && name[0] >= 'A' && name[0] <= 'Z' }
