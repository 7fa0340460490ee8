package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	idptypes "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"cognito-backup/test/localaws"
	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"
)

// demo is one performance.
type demo struct {
	options
	out *display

	expects expectation
	seeded  *cognito.Seed // what was made, untouched: the record for the comparison
	bed     *localaws.Bed
	spent   time.Duration // by the workflows
}

// expectation is what the assembly says it backs up, and where.
type expectation struct {
	poolID, tps        string
	primary, secondary string // Regions
}

// play runs the demo from the seed to the comparison.
func (d *demo) play(ctx context.Context) (seed.Result, error) {
	if err := d.prepare(); err != nil {
		return seed.Result{}, err
	}
	defer func() {
		if d.bed != nil {
			d.trouble()
			d.bed.Close()
		}
	}()
	if err := d.backUp(ctx); err != nil {
		return seed.Result{}, err
	}
	if err := d.lose(ctx); err != nil {
		return seed.Result{}, err
	}
	target, err := d.restore(ctx)
	if err != nil {
		return seed.Result{}, err
	}
	return d.prove(ctx, target)
}

// trouble prints what was wrong with calls: always when the testbed itself was
// at fault, and with -verbose every call that was refused.
func (d *demo) trouble() {
	for _, v := range d.bed.Violations() {
		d.out.line("testbed: %s", v)
	}
	if !d.verbose {
		return
	}
	for _, region := range []string{d.expects.primary, d.expects.secondary} {
		service := d.bed.Cognito(region)
		for _, operation := range slices.Sorted(maps.Keys(service.Counts())) {
			var rates []string
			began := service.Seconds(operation)[0].Time
			for _, s := range service.Seconds(operation) {
				rates = append(rates, fmt.Sprintf("%.0fs:%d", s.Time.Sub(began).Seconds(), s.Succeeded))
			}
			d.out.line("%s %s from %s: %s", region, operation, began.Format(time.TimeOnly), strings.Join(rates, " "))
		}
	}
	refused := map[string]int{}
	for _, r := range d.bed.Requests() {
		if r.Status >= 400 || r.Status == 0 {
			refused[fmt.Sprintf("%s %s %s by %s: %d %s", r.Region, r.Service, r.Operation, r.Caller, r.Status, r.Code)]++
		}
	}
	for _, what := range slices.Sorted(maps.Keys(refused)) {
		d.out.line("refused %d times: %s", refused[what], what)
	}
}

// prepare makes the record and starts the testbed with the source pool.
func (d *demo) prepare() error {
	var err error
	if d.expects, err = expected(d.assembly); err != nil {
		return err
	}
	if d.from != "" {
		if d.seeded, err = cognito.ReadCLI(d.from); err != nil {
			return unreadable(d.from, err)
		}
		if d.seeded.Pool.Id != d.expects.poolID {
			return fmt.Errorf("the pool in %s is %s, but the stacks in %s back up %s: run `make demo FROM=%s`, which synthesizes for it",
				d.from, d.seeded.Pool.Id, d.assembly, d.expects.poolID, d.from)
		}
	} else {
		d.seeded = seed.Pool(seed.Options{PoolID: d.expects.poolID, Kind: d.kind, Users: d.users, Groups: d.groups, Seed: d.seed})
	}
	return nil
}

// expected reads from the templates what they back up.
func expected(dir string) (expectation, error) {
	var e expectation
	assembly, err := cloudformation.Open(dir)
	if err != nil {
		return e, err
	}
	for name, region := range map[string]*string{"Primary": &e.primary, "Secondary": &e.secondary} {
		stack, err := assembly.Stack(name)
		if err != nil {
			return e, err
		}
		*region = stack.Region
	}
	for _, stack := range assembly.Stacks {
		e.poolID = cmp.Or(e.poolID, stack.Variable("PRIMARY_USER_POOL_ID"))
		e.tps = cmp.Or(e.tps, stack.Variable("COGNITO_TPS"))
	}
	if e.poolID == "" {
		return e, fmt.Errorf("the functions in %s are not told which user pool they back up: run `make synth` again", dir)
	}
	return e, nil
}

// backUp starts everything and waits for the export that the schedule starts.
func (d *demo) backUp(ctx context.Context) error {
	d.out.heading("Testbed")
	started := time.Now()
	options := localaws.Options{Assembly: d.assembly, Source: d.source, Listen: "127.0.0.1:0", Factor: d.factor}
	if d.verbose {
		options.Log = os.Stderr
	}
	bed, err := localaws.Start(ctx, options)
	if err != nil {
		return err
	}
	d.bed = bed
	if _, err := bed.Cognito(d.expects.primary).Seed(d.seeded); err != nil {
		return fmt.Errorf("make the source pool: %w", err)
	}
	memberships := 0
	for _, members := range d.seeded.Members {
		memberships += len(members)
	}
	d.out.line("source  %s: %d users, %d groups, %d memberships",
		d.expects.poolID, len(d.seeded.Users), len(d.seeded.Groups), memberships)
	d.out.line("stacks  from %s to %s and %s; building functions ...", d.assembly, d.expects.primary, d.expects.secondary)
	if err := bed.Deploy(ctx); err != nil {
		return fmt.Errorf("deploy %s: %w", d.assembly, err)
	}
	d.out.line("        deployed in %s, at %s", seconds(time.Since(started)), bed.Endpoint())
	d.out.line("speed   CognitoTPS %s; waits and import jobs %g times faster than in AWS", d.expects.tps, d.factor)

	d.out.heading("Export, started by the schedule")
	arn, err := d.scheduled(ctx)
	if err != nil {
		return err
	}
	return d.follow(ctx, d.expects.primary, arn, d.exportGauge())
}

// scheduled waits for the execution that the schedule starts.
func (d *demo) scheduled(ctx context.Context) (string, error) {
	states := sfn.NewFromConfig(d.bed.Config(d.expects.primary))
	machine := d.bed.StateMachineARN("Primary", "ExportWorkflow")
	for {
		out, err := states.ListExecutions(ctx, &sfn.ListExecutionsInput{StateMachineArn: &machine})
		if err != nil {
			return "", fmt.Errorf("look for the scheduled export: %w", err)
		}
		if len(out.Executions) > 0 {
			return aws.ToString(out.Executions[len(out.Executions)-1].ExecutionArn), nil
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return "", fmt.Errorf("wait for the schedule to start the export: %w", err)
		}
	}
}

// lose deletes the source pool, once the table's replica has what was exported.
func (d *demo) lose(ctx context.Context) error {
	if err := d.bed.Replicator().Drain(ctx); err != nil {
		return fmt.Errorf("wait for the replica of the table: %w", err)
	}
	d.out.heading("Disaster")
	idp := cognitoidentityprovider.NewFromConfig(d.bed.Config(d.expects.primary))
	if _, err := idp.DeleteUserPool(ctx, &cognitoidentityprovider.DeleteUserPoolInput{UserPoolId: &d.expects.poolID}); err != nil {
		return fmt.Errorf("delete the source pool: %w", err)
	}
	_, err := idp.DescribeUserPool(ctx, &cognitoidentityprovider.DescribeUserPoolInput{UserPoolId: &d.expects.poolID})
	if gone := new(idptypes.ResourceNotFoundException); !errors.As(err, &gone) {
		return fmt.Errorf("the source pool should be gone, but DescribeUserPool says: %v", err)
	}
	d.out.line("source  %s deleted, with everything in it", d.expects.poolID)
	return nil
}

// restore makes an empty pool in the other Region and imports into it.
func (d *demo) restore(ctx context.Context) (string, error) {
	if err := d.dropReports(); err != nil {
		return "", err
	}
	target, err := d.bed.Cognito(d.expects.secondary).Seed(seed.Empty(d.seeded, ""))
	if err != nil {
		return "", fmt.Errorf("make the target pool: %w", err)
	}
	d.out.line("target  %s made, empty, with the same configuration", target)

	input, err := json.Marshal(map[string]string{"NewUserPoolId": target})
	if err != nil {
		return "", err
	}
	d.out.heading("Import, started with %s", input)
	states := sfn.NewFromConfig(d.bed.Config(d.expects.secondary))
	started, err := states.StartExecution(ctx, &sfn.StartExecutionInput{
		StateMachineArn: aws.String(d.bed.StateMachineARN("Secondary", "ImportWorkflow")), Input: aws.String(string(input)),
	})
	if err != nil {
		return "", fmt.Errorf("start the import: %w", err)
	}
	arn := aws.ToString(started.ExecutionArn)
	err = d.follow(ctx, d.expects.secondary, arn, d.importGauge(target))
	return target, errors.Join(err, d.keepReports(ctx, arn[strings.LastIndexByte(arn, ':')+1:]))
}

// dropReports removes the reports of an earlier run: an import that is refused
// leaves none that would take their place.
func (d *demo) dropReports() error {
	if d.reports == "" {
		return nil
	}
	for _, name := range []string{"report.html", "report.json", "mapping.csv"} {
		if err := os.Remove(filepath.Join(d.reports, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the report of an earlier run: %w", err)
		}
	}
	return nil
}

// keepReports saves what the import reported, so that it can be opened after
// the testbed is gone.
func (d *demo) keepReports(ctx context.Context, execution string) error {
	if d.reports == "" {
		return nil
	}
	bucket := d.bed.Output("Secondary", "BucketName")
	api := s3.NewFromConfig(d.bed.Config(d.expects.secondary), func(o *s3.Options) { o.UsePathStyle = true })
	listed, err := api.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String("reports/" + execution + "/")})
	if err != nil {
		return fmt.Errorf("list the reports: %w", err)
	}
	if err := os.MkdirAll(d.reports, 0o755); err != nil {
		return err
	}
	for _, object := range listed.Contents {
		if err := download(ctx, api, bucket, *object.Key, filepath.Join(d.reports, path.Base(*object.Key))); err != nil {
			return err
		}
	}
	if len(listed.Contents) > 0 {
		d.out.line("report.html, report.json and mapping.csv are in %s", d.reports)
	}
	return nil
}

func download(ctx context.Context, api *s3.Client, bucket, key, file string) error {
	object, err := api.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return fmt.Errorf("fetch %s: %w", key, err)
	}
	defer object.Body.Close()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, object.Body)
	return errors.Join(err, f.Close())
}

// prove prints the e-mails and compares the pool with the record.
func (d *demo) prove(ctx context.Context, target string) (seed.Result, error) {
	d.mails()
	d.out.heading("Comparison with the record of what was seeded")
	if err := d.tamperWith(ctx, target); err != nil {
		return seed.Result{}, err
	}
	restored, err := d.bed.Cognito(d.expects.secondary).Snapshot(target)
	if err != nil {
		return seed.Result{}, fmt.Errorf("read the restored pool: %w", err)
	}
	result := seed.Compare(d.seeded, restored)
	if len(result.EndStates) > 0 {
		d.out.line("users by their status before and after:")
	}
	for _, change := range slices.Sorted(maps.Keys(result.EndStates)) {
		d.out.line("%7d  %s", result.EndStates[change], change)
	}
	const most = 20
	for i, difference := range result.Differences {
		if i == most {
			d.out.line("... and %d more differences", len(result.Differences)-most)
			break
		}
		d.out.different(difference)
	}
	d.out.line("the workflows took %s", seconds(d.spent))
	d.out.line("deferred until they sign in: users=%d memberships=%d (federated)", result.DeferredUsers, result.DeferredMemberships)
	d.out.last(result.Line(), result.Verified())
	return result, nil
}

// failureMail waits for the e-mail that tells of a failed execution: the event
// takes its own way, a moment after the execution ends.
func (d *demo) failureMail(ctx context.Context, region string, before int) {
	for range 50 {
		if len(d.bed.SNS(region).Outbox()) > before || pause(ctx, 200*time.Millisecond) != nil {
			return
		}
	}
}

// mails prints what people were told.
func (d *demo) mails() {
	for _, region := range []string{d.expects.primary, d.expects.secondary} {
		for _, mail := range d.bed.SNS(region).Outbox() {
			if mail.Confirmation {
				continue // asks to confirm the subscription, once per address and topic
			}
			d.out.heading("E-mail to %s", mail.To)
			d.out.line("Subject: %s", mail.Subject)
			d.out.line("")
			for line := range strings.Lines(mail.Message) {
				d.out.line("%s", strings.TrimRight(line, "\n"))
			}
		}
	}
}

func pause(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func seconds(t time.Duration) string { return fmt.Sprintf("%.1f s", t.Seconds()) }
