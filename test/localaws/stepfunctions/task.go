package stepfunctions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cognito-backup/test/localaws/wire"
)

// Invoker runs a Lambda function synchronously. result is the function's answer
// or, when functionError is set ("Unhandled"), its error object; err is an error
// of the Invoke call itself, a *wire.Error where Lambda would name one.
type Invoker interface {
	Invoke(ctx context.Context, functionARN string, principal wire.Principal, payload []byte) (result []byte, functionError string, err error)
}

// invocation is a task's call to its function.
type invocation struct {
	function string // ARN
	payload  string
	event    bool // InvocationType Event: the answer is not awaited
	dryRun   bool
}

// task calls the function and waits for it no longer than the time-out. A
// function that takes longer keeps running, and nobody hears of its result.
func (v *visit) task(effective, parameters any) (any, *failure) {
	integration, _ := parseResource(v.state.Resource)
	events := taskEvents{visit: v, integration: integration}
	call := invocation{function: v.state.Resource, payload: encode(parameters)}
	if integration {
		var fail *failure
		if call, fail = v.lambdaInvoke(parameters); fail != nil {
			return nil, fail
		}
	}
	timeout, fail := v.timeout(effective)
	if fail != nil {
		return nil, fail
	}
	events.scheduled(encode(parameters), timeout)
	events.started()
	answer, fail := v.invoke(call, v.exec.service.shortened(timeout))
	if fail != nil {
		if fail.interrupted {
			return nil, fail
		}
		events.failed(fail)
		return nil, fail
	}
	var result any
	if integration {
		result = v.integrationResult(answer, call)
	} else {
		result = answer.data()
	}
	output := encode(result)
	if len(output) > maxPayload {
		fail = failf(errDataLimit, "The state/task '%s' returned a result with a size exceeding the maximum number of bytes service limit.", v.state.Resource)
		events.failed(fail)
		return nil, fail
	}
	events.succeeded(output)
	return result, nil
}

// timeout is the task's TimeoutSeconds, 0 for the default of three years.
func (v *visit) timeout(effective any) (time.Duration, *failure) {
	seconds := v.state.TimeoutSeconds
	if v.state.TimeoutSecondsPath != nil {
		var fail *failure
		if seconds, fail = v.seconds(v.state.TimeoutSecondsPath, "TimeoutSecondsPath", effective); fail != nil {
			return 0, fail
		}
	}
	return time.Duration(seconds) * time.Second, nil
}

// lambdaInvoke reads the Parameters of the lambda:invoke integration.
func (v *visit) lambdaInvoke(parameters any) (invocation, *failure) {
	p, _ := parameters.(map[string]any)
	name, _ := p["FunctionName"].(string)
	if name == "" {
		return invocation{}, v.runtime("The field 'FunctionName' is required but was missing")
	}
	call := invocation{function: v.functionARN(name), payload: "{}"}
	if qualifier, _ := p["Qualifier"].(string); qualifier != "" {
		call.function += ":" + qualifier
	}
	if payload, given := p["Payload"]; given {
		call.payload = encode(payload)
	}
	call.event = p["InvocationType"] == "Event"
	call.dryRun = p["InvocationType"] == "DryRun"
	for field := range p {
		switch field {
		case "FunctionName", "Qualifier", "Payload", "InvocationType", "LogType", "ClientContext":
		default:
			return invocation{}, v.runtime("The field %q is not supported by Step Functions", field)
		}
	}
	return call, nil
}

func (v *visit) functionARN(name string) string {
	if strings.HasPrefix(name, "arn:") {
		return name
	}
	return fmt.Sprintf("arn:aws:lambda:%s:%s:function:%s", v.exec.service.region, wire.Account, name)
}

// answer is what came back from the function.
type answer struct {
	result []byte
	fail   *failure
	status int
}

func (a answer) data() any {
	value, err := decode(a.result)
	if err != nil && len(a.result) > 0 {
		return string(a.result)
	}
	return value
}

func (v *visit) invoke(call invocation, timeout time.Duration) (answer, *failure) {
	s := v.exec.service
	principal := wire.Principal{Role: v.exec.machine.RoleARN, Name: v.exec.machine.Name}
	if s.Authorize != nil {
		if err := s.Authorize(principal.Role, "lambda:InvokeFunction", call.function, nil); err != nil {
			return answer{}, invokeFailure(deniedError(err, principal, call.function))
		}
	}
	if call.dryRun {
		return answer{status: http.StatusNoContent}, nil
	}
	answers := make(chan answer, 1)
	go func() { // with the service's life, not the task's: the function outlives its task
		result, functionError, err := s.invoker.Invoke(s.life, call.function, principal, []byte(call.payload))
		a := answer{result: result, status: http.StatusOK}
		if err != nil {
			a.fail = invokeFailure(err)
		} else if functionError != "" {
			a.fail = functionFailure(result)
		}
		answers <- a
	}()
	if call.event {
		return answer{status: http.StatusAccepted}, nil
	}
	var expired <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case a := <-answers:
		return a, a.fail
	case <-expired:
		s.mu.Lock()
		s.timedOut++
		s.mu.Unlock()
		return answer{}, &failure{name: errTimeout}
	case <-v.ctx.Done():
		return answer{}, errInterrupted
	}
}

// functionFailure is the failure of the function itself: errorType names it and
// the whole error object is the cause.
func functionFailure(payload []byte) *failure {
	if value, err := decode(payload); err == nil {
		if object, ok := value.(map[string]any); ok {
			if name, _ := object["errorType"].(string); name != "" {
				return &failure{name: truncate(name, maxErrorLength), cause: truncate(encode(value), maxCauseLength)}
			}
		}
	}
	return &failure{name: "Lambda.Unknown", cause: truncate("The cause could not be determined because Lambda did not return an error type. Returned payload: "+string(payload), maxCauseLength)}
}

// namedErrors are the errors of Invoke that have an exception class of their own
// in the SDK that Step Functions uses; what has none is an AWSLambdaException.
var namedErrors = map[string]bool{
	"ServiceException": true, "TooManyRequestsException": true, "ResourceNotFoundException": true,
	"InvalidParameterValueException": true, "InvalidRequestContentException": true, "RequestTooLargeException": true,
	"UnsupportedMediaTypeException": true, "ResourceConflictException": true, "ResourceNotReadyException": true,
	"InvalidRuntimeException": true, "InvalidZipFileException": true, "ClientExecutionTimeoutException": true,
	"EC2ThrottledException": true, "EC2UnexpectedException": true, "EC2AccessDeniedException": true, "ENILimitReachedException": true,
	"KMSAccessDeniedException": true, "KMSDisabledException": true, "KMSInvalidStateException": true, "KMSNotFoundException": true,
}

// invokeFailure names an error of the Invoke call as Step Functions does:
// Lambda.TooManyRequestsException, Lambda.AWSLambdaException for what the SDK has
// no class for (AccessDeniedException among it), Lambda.SdkClientException for
// anything that is no answer of Lambda at all.
func invokeFailure(err error) *failure {
	if api, ok := errors.AsType[*wire.Error](err); ok {
		name := "AWSLambdaException"
		if namedErrors[api.Code] {
			name = api.Code
		}
		status := api.Status
		if status == 0 {
			status = http.StatusBadRequest
		}
		return &failure{name: "Lambda." + name, cause: truncate(fmt.Sprintf("%s (Service: AWSLambda; Status Code: %d; Error Code: %s; Request ID: %s; Proxy: null)", api.Message, status, api.Code, newUUID()), maxCauseLength)}
	}
	return &failure{name: "Lambda.SdkClientException", cause: truncate("Unable to execute HTTP request: "+err.Error(), maxCauseLength)}
}

func deniedError(err error, principal wire.Principal, function string) error {
	if _, ok := errors.AsType[*wire.Error](err); ok {
		return err
	}
	role := principal.Role[strings.LastIndexByte(principal.Role, '/')+1:]
	return &wire.Error{
		Code: "AccessDeniedException", Status: http.StatusForbidden,
		Message: fmt.Sprintf("User: arn:aws:sts::%s:assumed-role/%s/%s is not authorized to perform: lambda:InvokeFunction on resource: %s because no identity-based policy allows the lambda:InvokeFunction action", wire.Account, role, principal.Name, function),
	}
}

// integrationResult is what lambda:invoke returns, with the metadata of the call
// around the function's answer: it counts against the payload limit as well.
func (v *visit) integrationResult(a answer, call invocation) any {
	length := strconv.Itoa(len(a.result))
	requestID := newUUID()
	now := v.exec.service.clock.Now().Format(http.TimeFormat)
	headers := map[string]any{
		"Connection": "keep-alive", "Content-Length": length, "Content-Type": "application/json", "Date": now,
		"X-Amz-Executed-Version": "$LATEST", "x-amzn-Remapped-Content-Length": "0", "x-amzn-RequestId": requestID,
		"X-Amzn-Trace-Id": "Root=1-" + requestID[:8] + "-" + strings.ReplaceAll(requestID[9:], "-", "")[:24] + ";Sampled=0",
	}
	all := make(map[string]any, len(headers))
	for name, value := range headers {
		all[name] = []any{value}
	}
	result := map[string]any{
		"StatusCode":          int64(a.status),
		"SdkHttpMetadata":     map[string]any{"AllHttpHeaders": all, "HttpHeaders": headers, "HttpStatusCode": int64(a.status)},
		"SdkResponseMetadata": map[string]any{"RequestId": requestID},
	}
	if !call.event && !call.dryRun {
		result["ExecutedVersion"] = "$LATEST"
		result["Payload"] = a.data()
	}
	return result
}

// taskEvents writes the history of a task in the words of its integration.
type taskEvents struct {
	*visit
	integration bool
}

func (t taskEvents) details(more map[string]any) map[string]any {
	if !t.integration {
		return more
	}
	if more == nil {
		more = map[string]any{}
	}
	more["resourceType"], more["resource"] = "lambda", "invoke"
	return more
}

func (t taskEvents) scheduled(parameters string, timeout time.Duration) {
	details := map[string]any{}
	if timeout > 0 {
		details["timeoutInSeconds"] = int64(timeout / time.Second)
	}
	if t.integration {
		details["region"], details["parameters"] = t.exec.service.region, parameters
		if t.state.HeartbeatSeconds > 0 {
			details["heartbeatInSeconds"] = t.state.HeartbeatSeconds
		}
		t.emit("TaskScheduled", t.details(details))
		return
	}
	details["resource"], details["input"], details["inputDetails"] = t.state.Resource, parameters, notTruncated()
	t.emit("LambdaFunctionScheduled", details)
}

func (t taskEvents) started() { t.emit(t.kind()+"Started", t.details(nil)) }

func (t taskEvents) kind() string {
	if t.integration {
		return "Task"
	}
	return "LambdaFunction"
}

func (t taskEvents) failed(fail *failure) {
	kind := t.kind() + "Failed"
	if fail.name == errTimeout {
		kind = t.kind() + "TimedOut"
	}
	t.emit(kind, t.details(errorDetails(fail)))
}

func (t taskEvents) succeeded(output string) {
	t.emit(t.kind()+"Succeeded", t.details(map[string]any{"output": output, "outputDetails": notTruncated()}))
}
