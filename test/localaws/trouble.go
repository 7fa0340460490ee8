package localaws

import (
	"slices"
	"strings"

	"cognito-backup/test/localaws/iam"
)

// RegionDown takes a Region away: every call to it breaks, its functions die,
// nothing is replicated from or to it. RegionUp brings it back with what it
// had stored.
func (b *Bed) RegionDown(region string) {
	b.mu.Lock()
	b.down[region] = true
	b.mu.Unlock()
	b.replicator.Cut(region, true)
	b.lambda.KillRegion(region)
}

// RegionUp ends RegionDown.
func (b *Bed) RegionUp(region string) {
	b.mu.Lock()
	delete(b.down, region)
	b.mu.Unlock()
	b.replicator.Cut(region, false)
}

// CallsCut counts the calls of functions in other Regions that broke because
// the Region was down.
func (b *Bed) CallsCut(region string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.callsCut[region]
}

// cut counts a call to a Region that is down, unless it comes from a process
// there, which dies at this time.
func (b *Bed) cut(x *exchange) {
	if from := b.lambda.RegionOf(x.caller.token); from == "" || from == x.caller.region {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.callsCut[x.caller.region]++
}

func (b *Bed) regionDown(region string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.down[region]
}

// KillFunction kills the running processes of a function in the middle of what
// they do and reports how many there were. The name may leave the prefix out.
func (b *Bed) KillFunction(name string) int { return b.lambda.Kill(b.functionName(name)) }

// killer waits for a function's n-th call, of an operation or of any.
type killer struct {
	function  string
	operation string
	left      int
	done      chan struct{}
}

// KillAfter kills the process of a function once it has made n more calls to
// any service: when the n-th has been carried out and before its answer is
// sent. The channel is closed when that has happened. Calls of a process that
// has been killed do not count.
func (b *Bed) KillAfter(function string, n int) <-chan struct{} {
	return b.KillAt(function, "", n)
}

// KillAt is KillAfter where only the calls of an operation count.
func (b *Bed) KillAt(function, operation string, n int) <-chan struct{} {
	k := &killer{function: b.functionName(function), operation: operation, left: n, done: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.killers = append(b.killers, k)
	return k.done
}

// Disarm takes back what KillAfter has not done yet; the channels of those
// stay open.
func (b *Bed) Disarm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.killers = nil
}

// acted runs when a service has acted on a call, before the answer goes out.
func (b *Bed) acted(x *exchange) {
	if x.caller.principal.Name == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.killers) == 0 || !b.lambda.Alive(x.caller.token) {
		return // a process that was killed had other calls on the way
	}
	for i, k := range b.killers {
		if k.function != x.caller.principal.Name || k.operation != "" && k.operation != x.operation {
			continue
		}
		if k.left--; k.left <= 0 && b.lambda.KillProcess(x.caller.token) {
			close(k.done)
			b.killers = slices.Delete(b.killers, i, i+1)
			return
		}
	}
}

// invisible are services whose permissions no API call here can show, and why.
var invisible = map[string]string{
	"kms":  "which of a key's actions a service needs for its caller is the service's affair",
	"logs": "the Lambda service and Cognito's import jobs write logs, out of sight",
	"xray": "the tracing daemon of Lambda sends segments, out of sight",
}

// invisibleTo are principals whose calls nothing here makes, and why.
var invisibleTo = map[string]string{
	"cloudwatch.amazonaws.com": "the testbed has no alarms, so none publishes to a topic",
}

// UnusedPermissions lists what the templates grant and no call has used since
// the start, except what no call could show.
func (b *Bed) UnusedPermissions() []iam.Grant {
	var list []iam.Grant
	for _, g := range b.iam.Unused() {
		service, _, _ := strings.Cut(g.Action, ":")
		if invisible[service] == "" && invisibleTo[g.Role] == "" {
			list = append(list, g)
		}
	}
	return list
}
