package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"cognito-backup/internal/step"
	"cognito-backup/test/localaws"
	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/sns"
	"cognito-backup/test/localaws/sqs"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"golang.org/x/sync/errgroup"
)

const (
	prefix   = "CognitoBackup"
	table    = prefix + "-BackupTable"
	faster   = 20               // waits, import jobs and schedules
	patience = 30 * time.Minute // for one execution; minutes are needed where many faults strike at once
	attempts = 4                // of a workflow, the last without troubles
)

// run is one run of a campaign.
type run struct {
	*campaign
	bed                *localaws.Bed
	primary, secondary string // Regions
	pool, target       string // ids
	seeded             *cognito.Seed
	points             []string          // restore points that must be there, oldest first
	truth              map[string]*truth // what the pool was, by restore point
	forgetful          bool              // no restore point is retained but the newest
	past               past
	begun              map[string]int // executions by workflow

	workflow    string // at work
	jobOfOthers bool   // somebody else's import job has been started for the execution at work
	broken      error  // what the campaign could not do to the workflow
	queues      sqs.Faults
	kills       map[string][]<-chan struct{} // by trouble
	background  errgroup.Group
	calm        context.Context
	calmDown    context.CancelFunc

	mu        sync.Mutex
	execution string // at work, ARN; empty until it has been started
	result    *result
	mails     int
	notes     []string // what happened, for a run that is not clean
}

func (r *run) count(kind string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Injected[kind] += n
}

func (r *run) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// run carries out the run of a seed.
func (c *campaign) run(ctx context.Context, seed uint64) *result {
	r := &run{campaign: c, result: newResult(), truth: map[string]*truth{}, begun: map[string]int{}, kills: map[string][]<-chan struct{}{}}
	r.result.Runs = 1
	err := r.carryOut(ctx, rand.New(rand.NewPCG(seed, 1)))
	if err != nil && ctx.Err() == nil {
		r.result.Failures = append(r.result.Failures, fmt.Sprintf("seed %d: %v\n  troubles: %s\n  %s", seed, err,
			r.result.troubled(), strings.Join(r.notes, "\n  ")))
	}
	return r.result
}

func (r *run) carryOut(ctx context.Context, n *rand.Rand) (err error) {
	kind := seed.Kinds[n.IntN(len(seed.Kinds))]
	r.seeded = seed.Pool(seed.Options{Kind: kind, Users: 60 + n.IntN(240), Groups: 2 + n.IntN(25), Seed: n.Uint64()})
	slice := []string{"2", "5", "600"}[n.IntN(3)]
	shards := []string{"1", "16"}[n.IntN(2)]
	retention := []string{"0", "35", "35"}[n.IntN(3)] // days
	r.forgetful = retention == "0"
	r.note("%s, %d users, slices of %s s, %s shards, retention of %s days", kind, len(r.seeded.Users), slice, shards, retention)
	dir, err := os.MkdirTemp("", "faults-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := r.start(ctx, dir, n.Uint64(), map[string]string{
		"SLICE_SECONDS": slice, "EXPORT_SHARDS": shards, "RETENTION_DAYS": retention, "COGNITO_TPS": "400",
	}); err != nil {
		return err
	}
	defer func() {
		if r.bed == nil {
			return
		}
		r.tally()
		err = errors.Join(err, r.broken)
		err = errors.Join(err, r.bed.Close())
		for _, violation := range r.bed.Violations() {
			err = errors.Join(err, errors.New("testbed: "+violation))
		}
	}()
	for range 2 {
		if err := r.export(ctx, n); err != nil {
			return err
		}
		if err := r.change(ctx, n); err != nil {
			return err
		}
	}
	// What happened to the pool since the last export is lost: the restore point
	// is the truth.
	return r.restore(ctx, n)
}

// start starts a testbed with an edited copy of the assembly, over the seeded pool.
func (r *run) start(ctx context.Context, dir string, seedOfFaults uint64, environment map[string]string) error {
	if err := cloudformation.Copy(r.assembly, dir, func(_ string, template map[string]any) error {
		cloudformation.SetVariables(template, func(string) map[string]string { return environment })
		cloudformation.DisableSchedules(template) // exports begin when the run says so
		return nil
	}); err != nil {
		return err
	}
	bed, err := localaws.Start(ctx, localaws.Options{Assembly: dir, Source: r.source, Factor: faster, Seed: seedOfFaults | 1})
	if err != nil {
		return err
	}
	r.bed = bed
	for _, stack := range bed.Assembly().Stacks {
		if stack.Matches("Primary") {
			r.primary = stack.Region
			r.pool = stack.Variable("PRIMARY_USER_POOL_ID")
		} else {
			r.secondary = stack.Region
		}
	}
	source := seed.Empty(r.seeded, r.pool)
	source.Users, source.Groups, source.Members = r.seeded.Users, r.seeded.Groups, r.seeded.Members
	for i := range source.Clients { // which a backup leaves out
		source.Clients[i].ClientSecret = fmt.Sprintf("theSecretOfAnAppClientOfTheCampaign%d", i)
	}
	for i := range source.IdentityProviders {
		p := &source.IdentityProviders[i]
		p.ProviderDetails = maps.Clone(p.ProviderDetails)
		p.ProviderDetails["client_secret"] = fmt.Sprintf("theSecretOfAProviderOfTheCampaign%d", i)
	}
	if _, err := bed.Cognito(r.primary).Seed(source); err != nil {
		return err
	}
	if err := bed.Deploy(ctx); err != nil {
		return err
	}
	for _, region := range []string{r.primary, r.secondary} {
		bed.Cognito(region).Settings().NoQuotas()
		bed.Cognito(region).Settings().Update(func(v *cognito.Values) { v.ImportRate = 10 }) // before the clock's factor
		bed.Cognito(region).OnMail = func(cognito.Mail) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.mails++
		}
	}
	return nil
}

// functions are those of the workflow at work, in the order of its steps.
func (r *run) functions() []string {
	if r.workflow == importWorkflow {
		return []string{"check-state-machine", "check-new-user-pool", "scan-table", "import-users", "update-users", "verify-import", "send-message"}
	}
	return []string{"check-state-machine", "check-user-pool-config", "export-users", "list-groups", "export-group-members", "clean-up-backup-table", "send-message"}
}

// ended is how an execution ended.
type ended struct {
	*sfn.DescribeExecutionOutput
	name string
}

// execute runs a workflow until it succeeds: first under troubles, after a
// failure under others, at last without any.
func (r *run) execute(ctx context.Context, n *rand.Rand, region, workflow string, input func(attempt int) (string, error)) (*ended, error) {
	var drawn [attempts - 1]uint64 // beforehand, so that what follows does not depend on how many are needed
	for i := range drawn {
		drawn[i] = n.Uint64()
	}
	for attempt := range attempts {
		in, err := input(attempt)
		if err != nil {
			return nil, err
		}
		if attempt < attempts-1 {
			r.begin(ctx, rand.New(rand.NewPCG(drawn[attempt], 1)), workflow)
		}
		if r.broken != nil {
			r.clear()
			return nil, errors.New("the troubles could not begin or end")
		}
		r.begun[workflow]++
		e, err := r.once(ctx, region, workflow, in)
		succeeded := err == nil && e.Status == types.ExecutionStatusSucceeded
		told := err == nil && r.told(ctx, region, e.name, map[bool]time.Duration{true: 0, false: undisturbed}[succeeded])
		r.clear()
		switch {
		case err != nil:
			return nil, err
		case succeeded && !told:
			return nil, fmt.Errorf("%s succeeded and told nobody", workflow)
		case succeeded:
			return e, nil
		case !told && !r.told(ctx, region, e.name, time.Minute):
			return nil, fmt.Errorf("%s ended as %s, and nobody was told: %s", workflow, e.Status, deref(e.Cause))
		}
		cause := deref(e.Cause)
		r.note("%s %s: %s: %s", workflow, e.Status, deref(e.Error), cause[:min(len(cause), 400)])
		r.result.Restarted++
	}
	return nil, fmt.Errorf("%s fails without any fault", workflow)
}

// undisturbed is how long a message on a failure has to come through the
// troubles: two of the three times that Lambda invokes the function. The third
// time comes when they are over.
const undisturbed = 6 * time.Second

// told waits for a message that names the execution.
func (r *run) told(ctx context.Context, region, execution string, patience time.Duration) bool {
	for deadline := time.Now().Add(patience); ; {
		if slices.ContainsFunc(r.bed.SNS(region).Outbox(), func(m sns.Mail) bool { return strings.Contains(m.Message, ":"+execution) }) {
			return true
		}
		if time.Now().After(deadline) || step.Sleep(ctx, 20*time.Millisecond) != nil {
			return false
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (r *run) once(ctx context.Context, region, workflow, input string) (*ended, error) {
	states := r.bed.States(region)
	stack := prefix + "-Primary"
	if region == r.secondary {
		stack = prefix + "-Secondary"
	}
	arn, err := states.Start(r.bed.StateMachineARN(stack, workflow), "", input)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.execution = arn
	r.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	done, err := states.Wait(limited, arn)
	if err != nil {
		if limited.Err() != nil && ctx.Err() == nil {
			err = r.hangs(region, arn)
		}
		return nil, fmt.Errorf("%s: %w", workflow, err)
	}
	e := &ended{DescribeExecutionOutput: &sfn.DescribeExecutionOutput{Status: types.ExecutionStatus(done.Status)}, name: arn[strings.LastIndexByte(arn, ':')+1:]}
	e.Output, e.Error, e.Cause = &done.Output, &done.Error, &done.Cause
	return e, nil
}

// hangs says where an execution hangs: the states it has entered, and what was
// called last.
func (r *run) hangs(region, arn string) error {
	observed, _ := r.bed.States(region).Observe(arn)
	calls := r.bed.Requests()
	for _, c := range calls[max(0, len(calls)-12):] {
		r.note("%s %s of %s: %d %s", c.At.Format("15:04:05.000"), c.Operation, c.Caller, c.Status, c.Code)
	}
	return fmt.Errorf("%w within %s, by %s; states entered: %v", errNotEnded, patience, time.Now().UTC().Format("15:04:05"), observed.Entered)
}

// export makes a restore point and holds it and those before against the pool.
func (r *run) export(ctx context.Context, n *rand.Rand) error {
	r.target = ""
	truth, err := r.now(ctx)
	if err != nil {
		return err
	}
	e, err := r.execute(ctx, n, r.primary, "ExportWorkflow", func(int) (string, error) { return "{}", nil })
	if err != nil {
		return err
	}
	var out step.Run
	if err := json.Unmarshal([]byte(*e.Output), &out); err != nil {
		return err
	}
	r.result.Exports++
	if err := r.settle(ctx, out.RunID, truth); err != nil {
		return err
	}
	return r.compareRestorePoints(ctx, r.primary)
}

// settle notes which restore points there are after an export. One that failed
// after its commit has made one, too, of the same pool.
func (r *run) settle(ctx context.Context, newest string, truth *truth) error {
	listed, err := r.store(r.primary).RestorePoints(ctx, r.pool)
	if err != nil {
		return err
	}
	if len(listed) == 0 || listed[0].ID() != newest {
		return fmt.Errorf("the newest restore point is not %s, which the export has made: %+v", newest, listed)
	}
	want := append(r.points, newest)
	if r.forgetful && listed[0].Trustworthy() {
		want = []string{newest}
	}
	var there []string
	for _, p := range slices.Backward(listed) {
		id := p.ID()
		there = append(there, id)
		if r.truth[id] == nil {
			r.truth[id] = truth
		} else if !slices.Contains(want, id) {
			err = errors.Join(err, fmt.Errorf("restore point %s is past its retention, and still there", id))
		}
	}
	for _, id := range want {
		if !slices.Contains(there, id) {
			r.result.Losses++
			err = errors.Join(err, fmt.Errorf("restore point %s is gone", id))
		}
	}
	if r.forgetful && listed[0].Trustworthy() && len(there) > 1 {
		err = errors.Join(err, fmt.Errorf("restore points %v are there, %s alone is retained", there, newest))
	}
	r.points = there
	return err
}
