package localaws

import (
	"context"
	"log"
	"slices"
	"strings"

	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/dynamodb"
	"cognito-backup/test/localaws/eventbridge"
	"cognito-backup/test/localaws/iam"
	"cognito-backup/test/localaws/scheduler"
	"cognito-backup/test/localaws/sns"
	"cognito-backup/test/localaws/sqs"
	"cognito-backup/test/localaws/stepfunctions"
	"cognito-backup/test/localaws/wire"
)

// importPath begins the URLs of presigned uploads for CSV import jobs.
const importPath = "/_cognito-import/"

// region is the services of one Region.
type region struct {
	name      string
	cognito   *cognito.Service
	dynamodb  *dynamodb.Service
	sqs       *sqs.Service
	sns       *sns.Service
	states    *stepfunctions.Service
	scheduler *scheduler.Service
	events    *eventbridge.Service
}

// regional finds a Region, which begins to exist when it is first asked for.
func (b *Bed) regional(name string) *region {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.regions[name]; r != nil {
		return r
	}
	r := &region{
		name:      name,
		cognito:   cognito.New(name, b.clock),
		dynamodb:  dynamodb.New(b.options.Source, name, b.replicator),
		sqs:       sqs.New(name, b.clock),
		sns:       sns.New(name, b.clock),
		states:    stepfunctions.New(name, b.clock, tasks{b, name}),
		scheduler: scheduler.New(name, b.clock, b.startScheduled(name)),
		events:    eventbridge.New(name),
	}
	r.states.Authorize = b.authorizeService
	r.states.OnStatusChange = r.events.Deliver
	r.events.Clock = b.clock
	r.events.Invoke = func(_ context.Context, functionARN string, payload []byte) error {
		return b.lambda.InvokeAsync(b.life, functionARN, wire.Principal{Name: "events.amazonaws.com"}, payload)
	}
	r.events.Permit = b.permitRule
	b.regions[name] = r
	return r
}

// regionList is the Regions by name. Callers hold the lock.
func (b *Bed) regionList() []*region {
	var list []*region
	for _, r := range b.regions {
		list = append(list, r)
	}
	slices.SortFunc(list, func(x, y *region) int { return strings.Compare(x.name, y.name) })
	return list
}

// service is what plays a service in a Region, nil when nothing does.
func (b *Bed) service(regionName, signingName string) wire.Service {
	r := b.regional(regionName)
	switch signingName {
	case "cognito-idp":
		return r.cognito
	case "dynamodb":
		return r.dynamodb
	case "sqs":
		return r.sqs
	case "sns":
		return r.sns
	case "states":
		return r.states
	case "scheduler":
		return r.scheduler
	}
	return nil
}

// stop ends what acts of its own accord.
func (r *region) stop() {
	r.scheduler.Close()
	r.states.Close()
	r.events.Close()
}

// close ends the rest.
func (r *region) close() {
	r.cognito.Close()
	r.dynamodb.Close()
}

// Cognito is Cognito in a Region.
func (b *Bed) Cognito(region string) *cognito.Service { return b.regional(region).cognito }

// DynamoDB is DynamoDB in a Region.
func (b *Bed) DynamoDB(region string) *dynamodb.Service { return b.regional(region).dynamodb }

// SQS is SQS in a Region.
func (b *Bed) SQS(region string) *sqs.Service { return b.regional(region).sqs }

// SNS is SNS in a Region.
func (b *Bed) SNS(region string) *sns.Service { return b.regional(region).sns }

// States is Step Functions in a Region.
func (b *Bed) States(region string) *stepfunctions.Service { return b.regional(region).states }

// Scheduler is EventBridge Scheduler in a Region.
func (b *Bed) Scheduler(region string) *scheduler.Service { return b.regional(region).scheduler }

// Events is EventBridge in a Region.
func (b *Bed) Events(region string) *eventbridge.Service { return b.regional(region).events }

// Regions lists the Regions of the stacks, each once, in the stacks' order.
func (b *Bed) Regions() []string {
	var names []string
	for _, s := range b.assembly.Stacks {
		if !slices.Contains(names, s.Region) {
			names = append(names, s.Region)
		}
	}
	return names
}

// authorizeService asks for a role that a service uses on its own account.
func (b *Bed) authorizeService(role, action, resource string, ctx map[string]string) error {
	d := b.iam.Allowed(role, action, resource, ctx)
	if d.Allowed {
		return nil
	}
	service, _, _ := strings.Cut(action, ":")
	return iam.Denied(service, wire.Principal{Role: role}, action, resource, d)
}

// nameOf is the last part of an ARN.
func nameOf(arn string) string { return arn[strings.LastIndexAny(arn, ":/")+1:] }

// quietLog drops what http.Server has to say about connections that the faults
// broke.
func quietLog() *log.Logger { return log.New(discardWriter{}, "", 0) }

type discardWriter struct{}

func (discardWriter) Write(b []byte) (int, error) { return len(b), nil }
