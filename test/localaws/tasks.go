package localaws

import (
	"context"
	"errors"

	"cognito-backup/test/localaws/faults"
	"cognito-backup/test/localaws/wire"
)

// tasks is how a state machine invokes the functions of its tasks: without a
// connection to the gateway, but not past the faults. To a rule its calls are
// Invoke of Lambda, and its name that of the function that calls.
type tasks struct {
	bed    *Bed
	region string
}

// errConnection is what the client of Lambda reports when it has no answer.
var errConnection = errors.New("the connection was reset")

func (t tasks) Invoke(ctx context.Context, functionARN string, principal wire.Principal, payload []byte) (result []byte, functionError string, err error) {
	const service = "lambda"
	f := t.bed.faults.For(faults.Call{Service: service, Operation: "Invoke", Region: t.region, Function: principal.Name})
	if err := pause(ctx, f.Delay); err != nil {
		return nil, "", err
	}
	switch f.Kind {
	case faults.Throttle:
		return nil, "", throttled(service)
	case faults.ServerError:
		return nil, "", serverError(service)
	case faults.Fail:
		return nil, "", &wire.Error{Code: f.Code, Message: "Injected by the testbed", Status: f.Status}
	case faults.DropBefore:
		return nil, "", errConnection
	}
	result, functionError, err = t.bed.lambda.Invoke(ctx, functionARN, principal, payload)
	if f.Kind == faults.DropAfter {
		return nil, "", errConnection
	}
	return result, functionError, err
}
