package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"cognito-backup/internal/step"
	"cognito-backup/test/localaws"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/faults"
	"cognito-backup/test/localaws/sqs"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Workflows by name.
const (
	exportWorkflow = "ExportWorkflow"
	importWorkflow = "ImportWorkflow"
)

// trouble is one way in which things go wrong. It begins before a workflow and
// is cleared after it.
type trouble struct {
	name  string
	begin func(*run, *rand.Rand)
	// injected is how often it has struck in the run so far. Nil: as often as the
	// rules of its name, and as the trouble itself has counted.
	injected func(*localaws.Bed) int
	// touches says whether the workflow that is about to run has anything that
	// it could strike. Nil: any has.
	touches func(*run, string) bool
	// ends says that the execution it strikes cannot succeed. Such troubles are
	// drawn apart, so that the others are survived, too.
	ends bool
	// harmless says why the trouble can never strike; it is drawn so that this
	// stays so. Empty: it can.
	harmless string
}

// troubles are all there are, but for those of the replication.
var troubles = slices.Concat(
	gateway("cognito-idp", map[faults.Kind]float64{faults.Throttle: .12, faults.ServerError: .08, faults.DropBefore: .04, faults.DropAfter: .04}),
	gateway("dynamodb", map[faults.Kind]float64{faults.Throttle: .08, faults.ServerError: .05, faults.DropBefore: .04, faults.DropAfter: .04}),
	// A clean-up polls long, and such receives ask all servers.
	within(imports, []trouble{
		queueFaults("sqs: empty receives", func(f *sqs.Faults) { f.EmptyReceives = 1 }, func(i sqs.Injected) int { return i.EmptyReceives }),
	}),
	gateway("s3", map[faults.Kind]float64{faults.Throttle: .2, faults.ServerError: .2, faults.DropBefore: .1, faults.DropAfter: .1}),
	within(usesQueues, gateway("sqs", map[faults.Kind]float64{faults.Throttle: .2, faults.ServerError: .2, faults.DropBefore: .1, faults.DropAfter: .1})),
	stillHeld(gateway("states", map[faults.Kind]float64{faults.Throttle: .3, faults.ServerError: .3, faults.DropBefore: .3, faults.DropAfter: .3})),
	stillHeld([]trouble{
		{name: "executions lag", begin: func(r *run, n *rand.Rand) {
			for _, region := range r.bed.Regions() {
				r.bed.States(region).SetLag(time.Duration(200+n.IntN(1000))*time.Millisecond, 3*time.Second)
			}
		}, injected: inEachRegion(func(bed *localaws.Bed, region string) int { return bed.States(region).Lagged() })},
	}),
	within(imports, uploads),
	// Of all of them together one task in a few is struck: more than six times in a
	// row hardly any.
	gateway("lambda", map[faults.Kind]float64{faults.Throttle: .15, faults.ServerError: .15, faults.DropBefore: .1, faults.DropAfter: .15}),
	[]trouble{
		// A message is one call, so these strike the first ones for certain.
		rules("sns: throttle", nil, func(n *rand.Rand) faults.Rule {
			return faults.Rule{Kind: faults.Throttle, Service: "sns", Count: 1 + n.IntN(4)}
		}),
		rules("sns: server-error", nil, func(n *rand.Rand) faults.Rule {
			return faults.Rule{Kind: faults.ServerError, Service: "sns", Count: 1 + n.IntN(4)}
		}),
		rules("sns: drop-before", nil, func(*rand.Rand) faults.Rule {
			return faults.Rule{Kind: faults.DropBefore, Service: "sns", Count: 1}
		}),
		rules("sns: drop-after", nil, func(*rand.Rand) faults.Rule {
			return faults.Rule{Kind: faults.DropAfter, Service: "sns", Count: 1}
		}),
		rules("dynamodb: request limit", nil, func(*rand.Rand) faults.Rule {
			return faults.Rule{Kind: faults.Fail, Service: "dynamodb", Code: "RequestLimitExceeded", Probability: .05}
		}),
		rules("s3: service unavailable", nil, func(*rand.Rand) faults.Rule {
			return faults.Rule{Kind: faults.Fail, Service: "s3", Code: "ServiceUnavailable", Status: 503, Probability: .15}
		}),
		// One membership may meet it in two of the three rounds, and is added in the third.
		rules("cognito-idp: memberships refused", imports, func(n *rand.Rand) faults.Rule {
			return faults.Rule{Kind: faults.Fail, Service: "cognito-idp", Operation: "AdminAddUserToGroup", Code: "ResourceNotFoundException", Count: 1 + n.IntN(2)}
		}),
		ending(rules("cognito-idp: a listing refused", nil, func(n *rand.Rand) faults.Rule {
			return faults.Rule{Kind: faults.Fail, Service: "cognito-idp", Operation: "ListUsers", Code: "NotAuthorizedException", Skip: n.IntN(3), Count: 1}
		})),
		ending(rules("dynamodb: access taken away", nil, func(n *rand.Rand) faults.Rule {
			return faults.Rule{Kind: faults.Fail, Service: "dynamodb", Code: "AccessDeniedException", Skip: n.IntN(60), Count: 1 + n.IntN(3)}
		})),
		rules("dynamodb: unprocessed items", exports, func(n *rand.Rand) faults.Rule {
			return faults.Rule{Kind: faults.Unprocessed, Service: "dynamodb", Operation: "BatchGetItem", Probability: .1 + .4*n.Float64(), Share: .2 + .7*n.Float64()}
		}),
		rules("calls delayed", nil, func(n *rand.Rand) faults.Rule {
			return faults.Rule{Kind: faults.Delay, Probability: .02, Delay: time.Duration(n.IntN(200)) * time.Millisecond, Jitter: 300 * time.Millisecond}
		}),
		rules("cognito-idp: burst of errors", nil, func(n *rand.Rand) faults.Rule {
			return faults.Rule{Kind: faults.ServerError, Service: "cognito-idp", Skip: n.IntN(12), Count: 4 + n.IntN(12)}
		}),
		rules("lambda: client times out", nil, func(n *rand.Rand) faults.Rule {
			return faults.Rule{Kind: faults.Fail, Service: "lambda", Code: "ClientExecutionTimeoutException", Status: 500, Probability: .02 + .08*n.Float64()}
		}),
		rules("lambda: other errors", nil, func(n *rand.Rand) faults.Rule { // AWSLambdaException to Step Functions
			return faults.Rule{Kind: faults.Fail, Service: "lambda", Code: "InternalFailure", Status: 500, Probability: .02 + .08*n.Float64()}
		}),
		{name: "tasks time out", begin: func(r *run, n *rand.Rand) {
			share, longest := .1+.2*n.Float64(), time.Duration(100+n.IntN(3000))*time.Millisecond
			for _, region := range r.bed.Regions() {
				drawn := rand.New(rand.NewPCG(n.Uint64(), 1))
				r.bed.States(region).ShortenTasks(func() time.Duration {
					if drawn.Float64() >= share {
						return 0
					}
					return time.Millisecond + time.Duration(drawn.Int64N(int64(longest)))
				})
			}
		}, injected: inEachRegion(func(bed *localaws.Bed, region string) int { return bed.States(region).TimedOut() })},
		{name: "functions killed", begin: func(r *run, n *rand.Rand) {
			for _, f := range r.functions() {
				most := 40
				if f == "check-state-machine" || f == "send-message" { // which make a few calls only
					most = 4
				}
				if n.IntN(3) > 0 {
					r.kill("functions killed", f, 1+n.IntN(most))
				}
			}
		}},
		{name: "functions killed early", begin: func(r *run, n *rand.Rand) {
			for _, f := range r.functions() {
				r.kill("functions killed early", f, 1+n.IntN(4))
			}
		}},
		queueFaults("sqs: every message twice", func(f *sqs.Faults) { f.Twice = true }, func(i sqs.Injected) int { return i.Twice }),
		queueFaults("sqs: out of order", func(f *sqs.Faults) { f.Shuffle = true }, func(i sqs.Injected) int { return i.Shuffle }),
		queueFaults("sqs: deleted messages come back", func(f *sqs.Faults) { f.Undelete = 2 }, func(i sqs.Injected) int { return i.Undelete }),
		queueFaults("sqs: entries of batches fail", func(f *sqs.Faults) { f.FailEntries = 3 }, func(i sqs.Injected) int { return i.FailEntries }),
		queueFaults("sqs: messages come back while at work", func(f *sqs.Faults) { f.MaxVisibility = time.Second }, func(i sqs.Injected) int { return i.MaxVisibility }),
		pagingFaults("empty pages", func(f *cognito.PagingFaults) { f.EmptyEvery = 2 }, func(i cognito.Injected) int { return i.EmptyPages }),
		pagingFaults("short pages", func(f *cognito.PagingFaults) { f.ShortEvery = 1 }, func(i cognito.Injected) int { return i.ShortPages }),
		pagingFaults("users on two pages", func(f *cognito.PagingFaults) { f.RepeatEvery = 1 }, func(i cognito.Injected) int { return i.RepeatedItems }),
		pagingFaults("empty last pages", func(f *cognito.PagingFaults) { f.TrailingPage = true }, func(i cognito.Injected) int { return i.TrailingPages }),
		pagingFaults("tokens of 131,072 characters", func(f *cognito.PagingFaults) { f.LongTokens = true }, func(i cognito.Injected) int { return i.LongTokens }),
		pagingFaults("expired tokens", func(f *cognito.PagingFaults) { f.ExpireAtPage, f.ExpireTimes = 2, 3 }, func(i cognito.Injected) int { return i.ExpiredTokens }),
		userPools("short-lived tokens", nil, func(n *rand.Rand, v *cognito.Values) {
			v.TokenLifetime = time.Duration(20+n.IntN(100)) * time.Millisecond // a page takes some, the next slice comes later
		}, func(i cognito.Injected) int { return i.AgedTokens }),
		// Nothing changes in the pool while it is exported.
		userPools("listings lag", imports, func(n *rand.Rand, v *cognito.Values) {
			v.ListUsersLag = time.Duration(200+n.IntN(800)) * time.Millisecond
		}, func(i cognito.Injected) int { return i.LaggingPages }),
		userPools("import job gives up", imports, func(_ *rand.Rand, v *cognito.Values) { v.ImportTolerance = -1 },
			func(i cognito.Injected) int { return i.FailedJobs }),
		{name: "import job stopped", touches: imports, begin: func(r *run, n *rand.Rand) { r.stopJob("import job stopped", n.IntN(10)) }},
		{name: jobInTarget, touches: imports, begin: func(r *run, n *rand.Rand) {
			r.othersJob(r.target, time.Duration(n.IntN(2000))*time.Millisecond, func() int {
				observed, _ := r.bed.States(r.secondary).Observe(r.atWork())
				return observed.Entered["WaitForCheckNewUserPool"]
			}, jobInTarget)
		}},
		{name: "import job of somebody else in another pool", touches: imports, begin: func(r *run, n *rand.Rand) {
			r.jobElsewhere(time.Duration(n.IntN(2000))*time.Millisecond, func(i cognito.Injected) int { return i.BusyStarts })
		}, injected: inEachRegion(func(bed *localaws.Bed, region string) int {
			return bed.Cognito(region).Settings().Injected().BusyStarts
		})},
		{name: "import jobs expire", touches: imports, begin: func(r *run, n *rand.Rand) { // while somebody else's runs
			life := time.Duration(200+n.IntN(800)) * time.Millisecond
			r.settings(func(v *cognito.Values) { v.ImportJobLife = life })
			r.jobElsewhere(time.Duration(n.IntN(3000))*time.Millisecond, func(i cognito.Injected) int { return i.ExpiredJobs })
		}, injected: inEachRegion(func(bed *localaws.Bed, region string) int {
			return bed.Cognito(region).Settings().Injected().ExpiredJobs
		})},
		{name: "quotas in force", begin: func(r *run, _ *rand.Rand) {
			r.settings(func(v *cognito.Values) { // far below what the functions ask for
				v.Quotas["UserList"], v.Quotas["UserUpdate"], v.Quotas["UserCreation"] = 30, 60, 50
				v.PoolOperationQuota, v.UserQuota = 5, 10
			})
		}, injected: inEachRegion(func(bed *localaws.Bed, region string) int {
			throttled := 0
			for _, calls := range bed.Cognito(region).Counts() {
				throttled += calls.Throttled // by quotas alone: the gateway's faults do not get there
			}
			return throttled
		})},
		{name: "stale reads of the table", harmless: "every function reads the table strongly consistent", begin: func(r *run, _ *rand.Rand) {
			for _, region := range r.bed.Regions() {
				r.bed.DynamoDB(region).SetStaleReads(time.Second)
			}
		}, injected: inEachRegion(func(bed *localaws.Bed, region string) int { return bed.DynamoDB(region).StaleReads() })},
		// What the other Region is for. The lease is one of the changes that wait.
		{name: "primary Region down: changes not replicated", touches: imports, begin: primaryDown, injected: func(bed *localaws.Bed) int { return bed.Replicator().Severed() }},
		{name: "calls to a Region that is down", touches: imports, begin: primaryDown, harmless: "an import calls its own Region only",
			injected: inEachRegion(func(bed *localaws.Bed, region string) int { return bed.CallsCut(region) })},
	},
)

func primaryDown(r *run, _ *rand.Rand) { r.bed.RegionDown(r.primary) }

// uploads are faults of the presigned uploads of import files. A function tries
// each five times, and makes three jobs at most.
var uploads = []trouble{
	upload(faults.Rule{Kind: faults.Throttle}, "upload: throttle", 6),
	upload(faults.Rule{Kind: faults.ServerError}, "upload: server-error", 6),
	upload(faults.Rule{Kind: faults.DropBefore}, "upload: drop-before", 3),
	upload(faults.Rule{Kind: faults.DropAfter}, "upload: drop-after", 3),
	upload(faults.Rule{Kind: faults.Delay, Delay: 100 * time.Millisecond, Jitter: 3 * time.Second}, "upload: delayed", 3),
	upload(faults.Rule{Kind: faults.Fail, Code: "AccessDenied", Status: 403}, "upload: address expired", 3),
	{name: "upload: function killed", begin: func(r *run, _ *rand.Rand) {
		r.kills["upload: function killed"] = append(r.kills["upload: function killed"], r.bed.KillAt("import-users", localaws.UploadOperation, 1))
	}},
}

// upload strikes the first uploads, at most so many.
func upload(rule faults.Rule, name string, most int) trouble {
	return rules(name, nil, func(n *rand.Rand) faults.Rule {
		drawn := rule
		drawn.Service, drawn.Operation, drawn.Count = "s3", localaws.UploadOperation, 1+n.IntN(most)
		return drawn
	})
}

const jobInTarget = "import job of somebody else in the target"

// Troubles of the replication last from an export to the import after it, and
// are drawn by restore.
const (
	replicaLags    = "replica lags and is out of order"
	replicaHalts   = "replication halts in the middle of an export"
	replicaStopped = "replication stopped before an export"
)

// functionsOnly matches the calls of functions, whose names all begin with the
// stacks' prefix; those of the campaign itself have none.
const functionsOnly = prefix + "-*"

func imports(_ *run, workflow string) bool { return workflow == importWorkflow }

func exports(_ *run, workflow string) bool { return workflow == exportWorkflow }

// usesQueues says whether the workflow queues anything: an import always does,
// an export when it has restore points to remove.
func usesQueues(r *run, workflow string) bool {
	return workflow == importWorkflow || r.forgetful && len(r.points) > 0
}

// stillHeld are troubles of asking what became of the execution that holds the
// lease. Nobody asks after one that gave it back, so they come with that not
// done, as when the function dies after its message.
func stillHeld(all []trouble) []trouble {
	for i := range all {
		begin := all[i].begin
		all[i].begin = func(r *run, n *rand.Rand) {
			r.keepLease()
			begin(r, n)
		}
	}
	return within(func(r *run, workflow string) bool { return r.begun[workflow] > 0 }, all)
}

// keepLease undoes that the last execution of the workflow gave the lease back.
func (r *run) keepLease() {
	region := r.primary
	if r.workflow == importWorkflow {
		region = r.secondary
	}
	_, err := dynamodb.NewFromConfig(r.bed.Config(region)).UpdateItem(r.calm, &dynamodb.UpdateItemInput{
		TableName: aws.String(table),
		Key: map[string]dynamodbtypes.AttributeValue{
			"id":   &dynamodbtypes.AttributeValueMemberS{Value: "LEASE-" + region + "-" + r.workflow},
			"type": &dynamodbtypes.AttributeValueMemberS{Value: "LEASE"},
		},
		UpdateExpression:    aws.String("REMOVE endedAt"),
		ConditionExpression: aws.String("attribute_exists(endedAt)"),
	})
	if never := new(dynamodbtypes.ConditionalCheckFailedException); err != nil && !errors.As(err, &never) {
		r.note("the lease was not kept: %v", err)
	}
}

func within(touches func(*run, string) bool, all []trouble) []trouble {
	for i := range all {
		all[i].touches = touches
	}
	return all
}

func ending(t trouble) trouble {
	t.ends = true
	return t
}

// rules is a trouble that is a rule for the calls of functions.
func rules(name string, touches func(*run, string) bool, rule func(*rand.Rand) faults.Rule) trouble {
	return trouble{name: name, touches: touches, begin: func(r *run, n *rand.Rand) {
		drawn := rule(n)
		drawn.Name, drawn.Function = name, functionsOnly
		r.bed.Faults().Add(drawn)
	}}
}

// gateway are faults that strike a service's calls with up to a probability.
func gateway(service string, kinds map[faults.Kind]float64) []trouble {
	var all []trouble
	for _, kind := range []faults.Kind{faults.Throttle, faults.ServerError, faults.DropBefore, faults.DropAfter} {
		if most := kinds[kind]; most > 0 {
			all = append(all, rules(service+": "+string(kind), nil, func(n *rand.Rand) faults.Rule {
				return faults.Rule{Kind: kind, Service: service, Probability: most * (.2 + .8*n.Float64())}
			}))
		}
	}
	return all
}

// inEachRegion adds up what was injected in the Regions.
func inEachRegion(count func(bed *localaws.Bed, region string) int) func(*localaws.Bed) int {
	return func(bed *localaws.Bed) int {
		sum := 0
		for _, region := range bed.Regions() {
			sum += count(bed, region)
		}
		return sum
	}
}

func queueFaults(name string, change func(*sqs.Faults), count func(sqs.Injected) int) trouble {
	return trouble{name: name, touches: usesQueues, begin: func(r *run, _ *rand.Rand) {
		change(&r.queues)
		for _, region := range r.bed.Regions() {
			r.bed.SQS(region).SetFaults(r.queues)
		}
	}, injected: inEachRegion(func(bed *localaws.Bed, region string) int { return count(bed.SQS(region).Injected()) })}
}

func pagingFaults(name string, change func(*cognito.PagingFaults), count func(cognito.Injected) int) trouble {
	return userPools(name, nil, func(_ *rand.Rand, v *cognito.Values) {
		f := v.Paging[""]
		change(&f)
		v.Paging[""] = f
	}, count)
}

// userPools is a trouble that is a setting of Cognito.
func userPools(name string, touches func(*run, string) bool, change func(*rand.Rand, *cognito.Values), count func(cognito.Injected) int) trouble {
	return trouble{name: name, touches: touches, begin: func(r *run, n *rand.Rand) {
		drawn := n.Uint64() // the same in both Regions
		r.settings(func(v *cognito.Values) { change(rand.New(rand.NewPCG(drawn, 1)), v) })
	}, injected: inEachRegion(func(bed *localaws.Bed, region string) int { return count(bed.Cognito(region).Settings().Injected()) })}
}

// settings changes Cognito in both Regions.
func (r *run) settings(change func(*cognito.Values)) {
	for _, region := range r.bed.Regions() {
		r.bed.Cognito(region).Settings().Update(change)
	}
}

// kill ends a function's process after some more calls.
func (r *run) kill(name, function string, calls int) {
	r.kills[name] = append(r.kills[name], r.bed.KillAfter(function, calls))
}

// stopJob stops the next import job into the target, as somebody at the
// console might, once it has handled some users. It lists jobs only while one
// that was started may be at work, because the quotas, and the troubles of
// listings and what they count, are of everybody's calls.
func (r *run) stopJob(name string, users int) {
	ctx := r.calm // ends with the trouble
	service := r.bed.Cognito(r.secondary)
	api := idp.NewFromConfig(r.bed.Config(r.secondary))
	started := func() int { return service.Counts()["StartUserImportJob"].Succeeded }
	r.background.Go(func() error {
		for over := 0; ctx.Err() == nil; {
			if begun := started(); begun > over {
				stopped, atWork := r.stopOne(ctx, api, users)
				if stopped {
					r.count(name, 1)
					return nil
				}
				if !atWork {
					over = begun
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

// stopOne stops a job of the target that has handled so many users. Otherwise
// it says whether one may be at work.
func (r *run) stopOne(ctx context.Context, api *idp.Client, users int) (stopped, atWork bool) {
	out, err := api.ListUserImportJobs(ctx, &idp.ListUserImportJobsInput{UserPoolId: &r.target, MaxResults: aws.Int32(10)})
	if err != nil {
		return false, true
	}
	for _, j := range out.UserImportJobs {
		switch j.Status {
		case types.UserImportJobStatusTypeInProgress:
			if j.ImportedUsers >= int64(users) {
				_, err := api.StopUserImportJob(ctx, &idp.StopUserImportJobInput{UserPoolId: &r.target, JobId: j.JobId})
				return err == nil, true
			}
			atWork = true
		case types.UserImportJobStatusTypePending:
			atWork = true
		}
	}
	return false, atWork
}

// jobElsewhere is othersJob in a pool that nothing else is about; the counter
// says how often the job was in the way.
func (r *run) jobElsewhere(last time.Duration, counter func(cognito.Injected) int) {
	id, err := r.bed.Cognito(r.secondary).Seed(seed.Empty(r.seeded, ""))
	if err != nil {
		r.broken = errors.Join(r.broken, err)
		return
	}
	settings := r.bed.Cognito(r.secondary).Settings()
	before := counter(settings.Injected())
	r.othersJob(id, last, func() int { return counter(settings.Injected()) - before }, "")
}

// longestJob is how long somebody else's import job is active at most.
const longestJob = time.Minute

// othersJob starts somebody else's import job, which imports nobody: it stays
// active until it has been in somebody's way, and some time longer. What it did
// counts for the name, unless that is empty.
func (r *run) othersJob(poolID string, last time.Duration, inTheWay func() int, name string) {
	if r.jobOfOthers {
		return // an account has one active job
	}
	r.jobOfOthers = true
	ctx := r.calm // ends with the trouble
	api := idp.NewFromConfig(r.bed.Config(r.secondary))
	job, err := api.CreateUserImportJob(ctx, &idp.CreateUserImportJobInput{
		UserPoolId: &poolID, JobName: aws.String("theirs"), CloudWatchLogsRoleArn: aws.String("arn:aws:iam::123456789012:role/logs"),
	})
	if err == nil {
		settings := r.bed.Cognito(r.secondary).Settings()
		usual := settings.Values().ImportStart
		settings.Update(func(v *cognito.Values) { v.ImportStart = faster * longestJob })
		_, err = api.StartUserImportJob(ctx, &idp.StartUserImportJobInput{UserPoolId: &poolID, JobId: job.UserImportJob.JobId})
		settings.Update(func(v *cognito.Values) { v.ImportStart = usual })
	}
	if refused := new(types.PreconditionNotMetException); errors.As(err, &refused) {
		return // the pool has no auto-verified attribute
	}
	if err != nil {
		r.broken = errors.Join(r.broken, err)
		return
	}
	r.background.Go(func() error {
		for inTheWay() == 0 && step.Sleep(ctx, 20*time.Millisecond) == nil {
			continue
		}
		_ = step.Sleep(ctx, last) // or until the trouble ends
		if name != "" {
			r.count(name, inTheWay())
		}
		_, err := api.StopUserImportJob(context.WithoutCancel(ctx), &idp.StopUserImportJobInput{UserPoolId: &poolID, JobId: job.UserImportJob.JobId})
		if ended := new(types.PreconditionNotMetException); err != nil && !errors.As(err, &ended) {
			return err
		}
		return nil
	})
}

// atWork is the execution at work, by ARN.
func (r *run) atWork() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.execution
}

// begin draws troubles for a workflow and begins them.
func (r *run) begin(ctx context.Context, n *rand.Rand, workflow string) {
	r.calm, r.calmDown = context.WithCancel(ctx)
	r.workflow, r.jobOfOthers = workflow, false
	r.mu.Lock()
	r.execution = ""
	r.mu.Unlock()
	var usual, last []*trouble
	for i := range troubles {
		t := &troubles[i]
		switch {
		case t.touches != nil && !t.touches(r, workflow):
		case t.ends:
			last = append(last, t)
		default:
			usual = append(usual, t)
		}
	}
	count := 1 // alone
	switch n.IntN(4) {
	case 1, 2:
		count = 2 + n.IntN(4)
	case 3:
		count = len(usual) / 2
	}
	var drawn []*trouble
	for _, i := range n.Perm(len(usual))[:count] {
		drawn = append(drawn, usual[i])
	}
	if n.IntN(10) == 0 {
		drawn = append(drawn, last[n.IntN(len(last))])
	}
	for _, t := range append(usual, last...) { // beyond what the seed draws
		if r.with != "" && strings.HasPrefix(t.name, r.with) && !slices.Contains(drawn, t) {
			drawn = append(drawn, t)
		}
	}
	for _, t := range drawn {
		r.result.Troubled[t.name] = 1
		t.begin(r, rand.New(rand.NewPCG(n.Uint64(), 1)))
	}
}

// clear ends all troubles.
func (r *run) clear() {
	if r.calmDown == nil {
		return
	}
	r.calmDown()
	r.calmDown = nil
	r.bed.Disarm()
	r.bed.Faults().Clear()
	r.bed.RegionUp(r.primary)
	r.queues = sqs.Faults{}
	for _, region := range r.bed.Regions() {
		r.bed.SQS(region).SetFaults(sqs.Faults{})
		r.bed.States(region).SetLag(0, 0)
		r.bed.States(region).ShortenTasks(nil)
		r.bed.DynamoDB(region).SetStaleReads(0)
		r.bed.Cognito(region).Settings().NoQuotas()
	}
	r.settings(func(v *cognito.Values) {
		v.Paging, v.TokenLifetime, v.ListUsersLag, v.ImportTolerance, v.ImportJobLife = map[string]cognito.PagingFaults{}, 0, 0, .5, 24*time.Hour
	})
	if err := r.background.Wait(); err != nil {
		r.broken = errors.Join(r.broken, err)
	}
}

// tally counts what the troubles of the run have done.
func (r *run) tally() {
	byRule := r.bed.Faults().InjectedBy()
	for i := range troubles {
		t := &troubles[i]
		n := byRule[t.name]
		if t.injected != nil {
			n += t.injected(r.bed)
		}
		for _, killed := range r.kills[t.name] {
			select {
			case <-killed:
				n++
			default: // it did not make so many calls
			}
		}
		r.count(t.name, n)
	}
}

// errNotEnded says that a workflow hangs.
var errNotEnded = errors.New("the execution did not end")
