package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/faults"
	"cognito-backup/test/localaws/sqs"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

// trouble is one way in which things go wrong. It begins before a workflow and
// is cleared after it.
type trouble struct {
	name  string
	begin func(*run, *rand.Rand)
}

// troubles are all there are.
var troubles = slices.Concat(
	gateway("cognito-idp", map[faults.Kind]float64{faults.Throttle: .12, faults.ServerError: .08, faults.DropBefore: .04, faults.DropAfter: .04}),
	gateway("dynamodb", map[faults.Kind]float64{faults.Throttle: .08, faults.ServerError: .05, faults.DropBefore: .04, faults.DropAfter: .04}),
	gateway("s3", map[faults.Kind]float64{faults.Throttle: .2, faults.ServerError: .2, faults.DropBefore: .1, faults.DropAfter: .1}),
	gateway("sqs", map[faults.Kind]float64{faults.Throttle: .2, faults.ServerError: .2, faults.DropBefore: .1, faults.DropAfter: .1}),
	gateway("states", map[faults.Kind]float64{faults.Throttle: .3}),
	[]trouble{
		{"dynamodb: unprocessed items", func(r *run, n *rand.Rand) {
			r.bed.Faults().Add(faults.Rule{Kind: faults.Unprocessed, Service: "dynamodb", Operation: "BatchGetItem", Probability: .1 + .4*n.Float64(), Share: .2 + .7*n.Float64()})
		}},
		{"calls delayed", func(r *run, n *rand.Rand) {
			r.bed.Faults().Add(faults.Rule{Kind: faults.Delay, Function: functionsOnly, Probability: .02, Delay: time.Duration(n.IntN(200)) * time.Millisecond, Jitter: 300 * time.Millisecond})
		}},
		{"cognito-idp: burst of errors", func(r *run, n *rand.Rand) {
			r.bed.Faults().Add(faults.Rule{Kind: faults.ServerError, Service: "cognito-idp", Function: functionsOnly, Skip: n.IntN(60), Count: 4 + n.IntN(12)})
		}},
		{"functions killed", func(r *run, n *rand.Rand) {
			for _, f := range r.functions {
				if n.IntN(3) > 0 {
					r.kill(f, 1+n.IntN(40))
				}
			}
		}},
		{"functions killed early", func(r *run, n *rand.Rand) {
			for _, f := range r.functions {
				r.kill(f, 1+n.IntN(4))
			}
		}},
		{"sqs: every message twice", queueFaults(func(f *sqs.Faults) { f.Twice = true })},
		{"sqs: out of order", queueFaults(func(f *sqs.Faults) { f.Shuffle = true })},
		{"sqs: deleted messages come back", queueFaults(func(f *sqs.Faults) { f.Undelete = 2 })},
		{"sqs: empty receives", queueFaults(func(f *sqs.Faults) { f.EmptyReceives = 2 })},
		{"sqs: entries of batches fail", queueFaults(func(f *sqs.Faults) { f.FailEntries = 3 })},
		{"sqs: messages come back while at work", queueFaults(func(f *sqs.Faults) { f.MaxVisibility = time.Second })},
		{"empty pages", pagingFaults(func(f *cognito.PagingFaults) { f.EmptyEvery = 2 })},
		{"short pages", pagingFaults(func(f *cognito.PagingFaults) { f.ShortEvery = 1 })},
		{"users on two pages", pagingFaults(func(f *cognito.PagingFaults) { f.RepeatEvery = 1 })},
		{"empty last pages", pagingFaults(func(f *cognito.PagingFaults) { f.TrailingPage = true })},
		{"tokens of 131,072 characters", pagingFaults(func(f *cognito.PagingFaults) { f.LongTokens = true })},
		{"expired tokens", pagingFaults(func(f *cognito.PagingFaults) { f.ExpireAtPage, f.ExpireTimes = 2, 3 })},
		{"listings lag", func(r *run, n *rand.Rand) {
			r.settings(func(v *cognito.Values) { v.ListUsersLag = time.Duration(200+n.IntN(800)) * time.Millisecond })
		}},
		{"executions lag", func(r *run, n *rand.Rand) {
			for _, region := range r.bed.Regions() {
				r.bed.States(region).SetLag(time.Duration(n.IntN(1000))*time.Millisecond, 3*time.Second)
			}
		}},
		{"import job stopped", func(r *run, n *rand.Rand) { r.stopJob(n.IntN(40)) }},
		{"import job gives up", func(r *run, _ *rand.Rand) {
			r.settings(func(v *cognito.Values) { v.ImportTolerance = -1 })
		}},
		{"quotas in force", func(r *run, _ *rand.Rand) {
			r.settings(func(v *cognito.Values) { // far below what the functions ask for
				v.Quotas["UserList"], v.Quotas["UserUpdate"], v.Quotas["UserCreation"] = 30, 60, 50
			})
		}},
	},
)

// functionsOnly matches the calls of functions, whose names all begin with the
// stacks' prefix; those of the campaign itself have none.
const functionsOnly = "CognitoBackup-*"

// gateway are faults that strike a service's calls with up to a probability.
func gateway(service string, kinds map[faults.Kind]float64) []trouble {
	var all []trouble
	for _, kind := range []faults.Kind{faults.Throttle, faults.ServerError, faults.DropBefore, faults.DropAfter} {
		if most := kinds[kind]; most > 0 {
			all = append(all, trouble{service + ": " + string(kind), func(r *run, n *rand.Rand) {
				r.bed.Faults().Add(faults.Rule{Kind: kind, Service: service, Probability: most * (.2 + .8*n.Float64())})
			}})
		}
	}
	return all
}

func queueFaults(change func(*sqs.Faults)) func(*run, *rand.Rand) {
	return func(r *run, _ *rand.Rand) {
		change(&r.queues)
		for _, region := range r.bed.Regions() {
			r.bed.SQS(region).SetFaults(r.queues)
		}
	}
}

func pagingFaults(change func(*cognito.PagingFaults)) func(*run, *rand.Rand) {
	return func(r *run, _ *rand.Rand) {
		r.settings(func(v *cognito.Values) {
			f := v.Paging[""]
			change(&f)
			v.Paging[""] = f
		})
	}
}

// settings changes Cognito in both Regions.
func (r *run) settings(change func(*cognito.Values)) {
	for _, region := range r.bed.Regions() {
		r.bed.Cognito(region).Settings().Update(change)
	}
}

// kill ends a function's process after some more calls.
func (r *run) kill(function string, calls int) {
	r.kills = append(r.kills, r.bed.KillAfter(function, calls))
}

// stopJob stops the next import job into the target, as somebody at the
// console might, once it has handled some users.
func (r *run) stopJob(users int) {
	ctx := r.calm // ends with the trouble
	api := idp.NewFromConfig(r.bed.Config(r.secondary))
	r.background.Go(func() error {
		for ctx.Err() == nil && r.target != "" {
			out, err := api.ListUserImportJobs(ctx, &idp.ListUserImportJobsInput{UserPoolId: &r.target, MaxResults: aws.Int32(10)})
			if err == nil {
				for _, j := range out.UserImportJobs {
					if j.Status != types.UserImportJobStatusTypeInProgress || j.ImportedUsers < int64(users) {
						continue
					}
					if _, err := api.StopUserImportJob(ctx, &idp.StopUserImportJobInput{UserPoolId: &r.target, JobId: j.JobId}); err == nil {
						r.count("import job stopped", 1)
						return nil
					}
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
		return nil
	})
}

// begin draws troubles and begins them.
func (r *run) begin(ctx context.Context, n *rand.Rand) {
	r.calm, r.calmDown = context.WithCancel(ctx)
	count := 1 // alone
	switch n.IntN(4) {
	case 1, 2:
		count = 2 + n.IntN(4)
	case 3:
		count = len(troubles) / 2
	}
	for _, i := range n.Perm(len(troubles))[:count] {
		troubles[i].begin(r, n)
		r.result.Troubled[troubles[i].name] = 1
	}
}

// clear ends all troubles and counts what they did.
func (r *run) clear() {
	if r.calmDown == nil {
		return
	}
	r.calmDown()
	r.calmDown = nil
	r.bed.Faults().Clear()
	r.queues = sqs.Faults{}
	for _, region := range r.bed.Regions() {
		r.bed.SQS(region).SetFaults(sqs.Faults{})
		r.bed.States(region).SetLag(0, 0)
		r.bed.Cognito(region).Settings().NoQuotas()
	}
	r.settings(func(v *cognito.Values) {
		v.Paging, v.ListUsersLag, v.ImportTolerance = map[string]cognito.PagingFaults{}, 0, .5
	})
	for _, killed := range r.kills {
		select {
		case <-killed:
			r.count("function killed", 1)
		default:
		}
	}
	r.kills = nil
	_ = r.background.Wait() // returns no errors
}

// errNotEnded says that a workflow hangs.
var errNotEnded = errors.New("the execution did not end")
