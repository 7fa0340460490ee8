package stepfunctions

import (
	"context"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"
)

// branch is one line of control through an execution: the execution itself, a
// branch of a Parallel state or one iteration of a Map.
type branch struct {
	exec     *execution
	ctx      context.Context
	previous int64    // id of the branch's last history event
	item     *mapItem // of the innermost Map around it
}

type mapItem struct {
	index int
	value any
}

// visit is one stay in a state.
type visit struct {
	*branch
	state   *state
	entered int64 // event id
	at      time.Time
	retries int64
}

var errInterrupted = &failure{interrupted: true, name: "Interrupted"}

// errSibling is why a branch ends whose neighbour failed.
var errSibling = errors.New("another branch failed")

func (b *branch) emit(kind string, details map[string]any) int64 {
	b.previous = b.exec.emit(kind, b.previous, details)
	return b.previous
}

// run carries out the states of a scope and returns what the last one puts out.
func (b *branch) run(s scope, input any) (any, *failure) {
	name := s.StartAt
	for {
		if b.ctx.Err() != nil {
			return nil, errInterrupted
		}
		st := s.States[name]
		output, next, fail := b.visit(st, input)
		if fail != nil {
			return nil, fail
		}
		if next == "" {
			return output, nil
		}
		name, input = next, output
	}
}

// visit carries out one state with its retries and catchers.
func (b *branch) visit(st *state, input any) (output any, next string, fail *failure) {
	v := &visit{branch: b, state: st, at: b.exec.service.clock.Now()}
	v.entered = b.emit(st.Type+"StateEntered", stateData(st.Name, "input", encode(input)))
	attempts := make([]int64, len(st.Retry))
	for {
		output, next, fail = v.attempt(input)
		if fail == nil {
			break
		}
		if fail.interrupted || b.ctx.Err() != nil {
			return nil, "", v.abort()
		}
		delay, again := v.retryDelay(fail, attempts)
		if !again {
			break
		}
		if b.exec.service.sleep(b.ctx, delay) != nil {
			return nil, "", v.abort()
		}
		v.retries++
	}
	if fail != nil {
		if output, next, fail = v.catch(input, fail); fail != nil {
			return nil, "", fail
		}
	}
	if b.ctx.Err() != nil {
		return nil, "", v.abort()
	}
	b.emit(st.Type+"StateExited", stateData(st.Name, "output", encode(output)))
	return output, next, nil
}

// abort notes that the state did not get to its end, for the types that AWS has
// such an event for.
func (v *visit) abort() *failure {
	switch v.state.Type {
	case "Task", "Wait", "Parallel", "Map":
		v.emit(v.state.Type+"StateAborted", nil)
	}
	return errInterrupted
}

// attempt carries the state out once, from input to output.
func (v *visit) attempt(input any) (output any, next string, fail *failure) {
	effective, fail := v.take(v.state.InputPath, "InputPath", input)
	if fail != nil {
		return nil, "", fail
	}
	switch v.state.Type {
	case "Choice":
		if next, fail = v.choose(effective); fail != nil {
			return nil, "", fail
		}
		output, fail = v.take(v.state.OutputPath, "OutputPath", effective)
		return output, next, v.limited(output, fail)
	case "Succeed":
		output, fail = v.take(v.state.OutputPath, "OutputPath", effective)
		return output, "", fail
	case "Wait":
		if fail = v.wait(effective); fail != nil {
			return nil, "", fail
		}
		output, fail = v.take(v.state.OutputPath, "OutputPath", effective)
		return output, v.state.Next, fail
	case "Fail":
		return nil, "", v.fail(effective)
	}
	result, fail := v.work(effective)
	if fail != nil {
		return nil, "", fail
	}
	if v.state.hasResultSelector {
		if result, fail = v.template("ResultSelector", v.state.ResultSelector, result, v.context()); fail != nil {
			return nil, "", fail
		}
	}
	if output, fail = v.place(v.state.ResultPath, input, result); fail != nil {
		return nil, "", fail
	}
	output, fail = v.take(v.state.OutputPath, "OutputPath", output)
	return output, v.state.Next, v.limited(output, fail)
}

// work makes the state's result: of a Pass, a Task, a Parallel or a Map.
func (v *visit) work(effective any) (any, *failure) {
	if v.state.Type == "Map" {
		return v.mapItems(effective) // Parameters are its item selector
	}
	parameters := effective
	if v.state.hasParameters {
		var fail *failure
		if parameters, fail = v.template("Parameters", v.state.Parameters, effective, v.context()); fail != nil {
			return nil, fail
		}
		if len(encode(parameters)) > maxPayload {
			return nil, v.tooLarge("input")
		}
	}
	switch v.state.Type {
	case "Pass":
		if v.state.hasResult {
			return v.state.Result, nil
		}
		return parameters, nil
	case "Parallel":
		return v.parallel(parameters)
	}
	return v.task(effective, parameters)
}

// take applies InputPath or OutputPath.
func (v *visit) take(field pathField, name string, data any) (any, *failure) {
	switch {
	case field.null:
		return map[string]any{}, nil
	case field.path == nil:
		return data, nil
	}
	taken, found := field.path.get(data, v.context())
	if !found {
		return nil, v.runtime("Invalid path '%s' in %s: No results for the path", field.path.source, name)
	}
	return taken, nil
}

// place applies ResultPath: the result into the state's raw input.
func (v *visit) place(field pathField, input, result any) (any, *failure) {
	switch {
	case field.null:
		return input, nil
	case field.path == nil:
		return result, nil
	}
	output, err := field.path.set(input, result)
	if err != nil {
		return nil, failf(errResultPath, "%sUnable to apply ReferencePath %s to input %s", v.where(), field.path.source, encode(input))
	}
	return output, nil
}

func (v *visit) template(field string, template, data, contextObject any) (any, *failure) {
	resolved, fail := resolve(template, data, contextObject)
	if fail != nil {
		return nil, failf(fail.name, "%s%s: %s", v.where(), field, fail.cause)
	}
	return resolved, nil
}

// limited fails a state whose output is too large.
func (v *visit) limited(output any, fail *failure) *failure {
	if fail == nil && len(encode(output)) > maxPayload {
		return v.tooLarge("output")
	}
	return fail
}

func (v *visit) tooLarge(what string) *failure {
	return failf(errDataLimit, "The state '%s' has an %s with a size exceeding the maximum number of bytes service limit.", v.state.Name, what)
}

func (v *visit) where() string {
	return fmt.Sprintf("An error occurred while executing the state '%s' (entered at the event id #%d). ", v.state.Name, v.entered)
}

func (v *visit) runtime(format string, args ...any) *failure {
	return failf(errRuntime, "%s%s", v.where(), fmt.Sprintf(format, args...))
}

// retryDelay finds the first retrier for the failure and counts its attempt.
func (v *visit) retryDelay(fail *failure, attempts []int64) (time.Duration, bool) {
	for i, r := range v.state.Retry {
		if !fail.matches(r.ErrorEquals) {
			continue
		}
		if attempts[i] >= r.MaxAttempts {
			return 0, false
		}
		delay := r.delay(attempts[i], mathrand.Float64())
		attempts[i]++
		return v.exec.service.clock.Scale(delay), true
	}
	return 0, false
}

// delay is how long to wait before retry n (0 is the first), in full jitter a
// random part of it.
func (r retrier) delay(n int64, random float64) time.Duration {
	seconds := float64(r.IntervalSeconds) * math.Pow(r.BackoffRate, float64(n))
	limit := float64(defaultTimeoutSeconds)
	if r.MaxDelaySeconds > 0 {
		limit = float64(r.MaxDelaySeconds)
	}
	seconds = min(seconds, limit)
	if r.FullJitter {
		seconds *= random
	}
	return time.Duration(seconds * float64(time.Second))
}

func (v *visit) catch(input any, fail *failure) (output any, next string, uncaught *failure) {
	for _, c := range v.state.Catch {
		if !fail.matches(c.ErrorEquals) {
			continue
		}
		output, broken := v.place(c.ResultPath, input, fail.output())
		if broken != nil {
			return nil, "", broken
		}
		return output, c.Next, nil
	}
	return nil, "", fail
}

// context is the context object, $$.
func (v *visit) context() map[string]any {
	e := v.exec
	object := map[string]any{
		"Execution": map[string]any{
			"Id": e.arn, "Name": e.name, "Input": e.inputData, "RoleArn": e.machine.RoleARN,
			"StartTime": isoTime(e.start), "RedriveCount": int64(0),
		},
		"State":        map[string]any{"Name": v.state.Name, "EnteredTime": isoTime(v.at), "RetryCount": v.retries},
		"StateMachine": map[string]any{"Id": e.machine.ARN, "Name": e.machine.Name},
	}
	if v.item != nil {
		object["Map"] = map[string]any{"Item": map[string]any{"Index": int64(v.item.index), "Value": v.item.value}}
	}
	return object
}

// isoTime is a time as the context object shows it.
func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (v *visit) choose(effective any) (string, *failure) {
	contextObject := v.context()
	for _, c := range v.state.Choices {
		matched, fail := c.rule(effective, contextObject)
		if fail != nil {
			return "", failf(fail.name, "%s%s", v.where(), fail.cause)
		}
		if matched {
			return c.Next, nil
		}
	}
	if v.state.Default == "" {
		return "", failf(errNoChoice, "%sFailed to find a choice that matches, and there is no Default.", v.where())
	}
	return v.state.Default, nil
}

func (v *visit) wait(effective any) *failure {
	clock := v.exec.service.clock
	var d time.Duration
	switch st := v.state; {
	case st.Seconds != nil:
		d = time.Duration(*st.Seconds) * time.Second
	case st.SecondsPath != nil:
		seconds, fail := v.seconds(st.SecondsPath, "SecondsPath", effective)
		if fail != nil {
			return fail
		}
		d = time.Duration(seconds) * time.Second
	default:
		text := st.Timestamp
		if st.TimestampPath != nil {
			value, found := st.TimestampPath.get(effective, v.context())
			if text, _ = value.(string); !found {
				return v.runtime("The TimestampPath parameter does not reference a value: %s", st.TimestampPath.source)
			}
		}
		at, ok := parseTimestamp(text)
		if !ok {
			return v.runtime("The TimestampPath parameter does not reference a valid ISO-8601 extended offset date-time format string: %q", text)
		}
		d = at.Sub(clock.Now())
	}
	if v.exec.service.sleep(v.ctx, clock.Scale(d)) != nil {
		return errInterrupted
	}
	return nil
}

// seconds reads a number of seconds that a path leads to.
func (v *visit) seconds(p *path, field string, effective any) (int64, *failure) {
	value, found := p.get(effective, v.context())
	n, ok := value.(int64)
	if f, isFloat := value.(float64); isFloat && f == math.Trunc(f) {
		n, ok = int64(f), true
	}
	if !found || !ok || n < 0 || n > defaultTimeoutSeconds {
		return 0, v.runtime("The %s parameter does not reference an integer value: %s == %s", field, p.source, encode(value))
	}
	return n, nil
}

func (v *visit) fail(effective any) *failure {
	f := &failure{}
	if v.state.FailError != nil {
		f.name = *v.state.FailError
	}
	if v.state.FailCause != nil {
		f.cause = *v.state.FailCause
	}
	for _, field := range []struct {
		name, expression string
		target           *string
	}{{"ErrorPath", v.state.ErrorExpression, &f.name}, {"CausePath", v.state.CauseExpression, &f.cause}} {
		if field.expression == "" {
			continue
		}
		value, broken := resolveField(field.name, field.expression, effective, v.context())
		if broken != nil {
			return v.runtime("%s", broken.cause)
		}
		text, ok := value.(string)
		if !ok {
			return v.runtime("The %s parameter does not reference a string: %s", field.name, field.expression)
		}
		*field.target = text
	}
	return f
}

// outcome of one branch or iteration.
type outcome struct {
	index int
	value any
	fail  *failure
	last  int64 // event id
}

func (v *visit) parallel(input any) (any, *failure) {
	v.emit("ParallelStateStarted", nil)
	started := v.previous
	results, fail := v.fan(len(v.state.Branches), 0, func(ctx context.Context, i int) outcome {
		b := &branch{exec: v.exec, ctx: ctx, previous: started, item: v.item}
		value, fail := b.run(v.state.Branches[i], input)
		return outcome{value: value, fail: fail, last: b.previous}
	})
	return v.collect("Parallel", results, fail)
}

func (v *visit) collect(kind string, results []any, fail *failure) (any, *failure) {
	switch {
	case v.ctx.Err() != nil:
		return nil, errInterrupted
	case fail != nil:
		v.emit(kind+"StateFailed", nil)
		return nil, fail
	}
	v.emit(kind+"StateSucceeded", nil)
	if len(encode(results)) > maxPayload {
		return nil, v.tooLarge("output")
	}
	return results, nil
}

// fan runs n branches, at most limit at once (0: all), and stops the others when
// one fails.
func (v *visit) fan(n, limit int, run func(ctx context.Context, i int) outcome) ([]any, *failure) {
	ctx, cancel := context.WithCancelCause(v.ctx)
	defer cancel(nil)
	if limit == 0 || limit > n {
		limit = n
	}
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		next  int
		first *failure
	)
	results := make([]any, n)
	last := v.previous
	for range limit {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= n || ctx.Err() != nil {
					return
				}
				o := run(ctx, i)
				mu.Lock()
				results[i], last = o.value, max(last, o.last)
				if o.fail != nil && !o.fail.interrupted && first == nil {
					first = o.fail
					cancel(errSibling)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	v.previous = last
	return results, first
}

// maxInline is how many iterations of an inline Map run at once in AWS.
const maxInline = 40

func (v *visit) mapItems(effective any) (any, *failure) {
	items := effective
	if p := v.state.ItemsPath.path; p != nil {
		var found bool
		if items, found = p.get(effective, v.context()); !found {
			return nil, v.runtime("Reference path %q could not be found in the input.", p.source)
		}
	}
	list, ok := items.([]any)
	if !ok {
		return nil, v.runtime("Reference path %q must point to array.", v.itemsSource())
	}
	limit := v.state.MaxConcurrency
	if v.state.MaxConcurrencyPath != nil {
		var fail *failure
		if limit, fail = v.seconds(v.state.MaxConcurrencyPath, "MaxConcurrencyPath", effective); fail != nil {
			return nil, fail
		}
	}
	if limit == 0 {
		limit = maxInline
	}
	v.emit("MapStateStarted", map[string]any{"length": len(list)})
	started := v.previous
	results, fail := v.fan(len(list), int(min(limit, maxInline)), func(ctx context.Context, i int) outcome {
		return v.iterate(ctx, started, effective, i, list[i])
	})
	return v.collect("Map", results, fail)
}

func (v *visit) itemsSource() string {
	if p := v.state.ItemsPath.path; p != nil {
		return p.source
	}
	return "$"
}

func (v *visit) iterate(ctx context.Context, started int64, effective any, i int, item any) outcome {
	b := &branch{exec: v.exec, ctx: ctx, previous: started, item: &mapItem{i, item}}
	name := map[string]any{"name": v.state.Name, "index": i}
	b.emit("MapIterationStarted", name)
	input, fail := item, (*failure)(nil)
	if v.state.hasParameters {
		inner := *v
		inner.branch = b // the context object shows this item
		input, fail = inner.template("ItemSelector", v.state.Parameters, effective, inner.context())
	}
	var value any
	if fail == nil {
		value, fail = b.run(*v.state.ItemProcessor, input)
	}
	switch {
	case fail == nil:
		b.emit("MapIterationSucceeded", name)
	case fail.interrupted:
		b.emit("MapIterationAborted", name)
	default:
		b.emit("MapIterationFailed", name)
	}
	return outcome{index: i, value: value, fail: fail, last: b.previous}
}

// parseResource tells what a Task calls: the lambda:invoke integration or a
// function directly.
func parseResource(resource string) (integration bool, err error) {
	if resource == "arn:aws:states:::lambda:invoke" {
		return true, nil
	}
	parts := strings.Split(resource, ":")
	if len(parts) >= 7 && parts[2] == "lambda" && parts[5] == "function" {
		return false, nil
	}
	return false, fmt.Errorf("the testbed runs arn:aws:states:::lambda:invoke and Lambda function ARNs, not %q", resource)
}
