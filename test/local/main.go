// Command local starts the testbed with the stacks of a cloud assembly and a
// seeded user pool, and keeps it running until it is interrupted: for the AWS
// CLI, any SDK, and a page that shows the workflows as they run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"cognito-backup/test/localaws"
	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"
)

type options struct {
	assembly string
	source   string
	port     int
	users    int
	groups   int
	seed     uint64
	from     string
	factor   float64
	verbose  bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "local:", err)
		stop()
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("local", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.assembly, "assembly", "cdk.out", "cloud assembly to deploy")
	f.StringVar(&o.source, "source", ".", "root of this module")
	f.IntVar(&o.port, "port", 4599, "port of the endpoint on 127.0.0.1, the page is on the next one; 0 for any that are free")
	f.IntVar(&o.users, "users", 500, "users of the seeded pool")
	f.IntVar(&o.groups, "groups", 105, "groups of the seeded pool")
	f.Uint64Var(&o.seed, "seed", 1, "number from which the seeded pool follows")
	f.StringVar(&o.from, "from", "", "folder with the AWS CLI's output of a pool, instead of a made-up one")
	f.Float64Var(&o.factor, "factor", 1, "how much faster waits, import jobs and schedules run; functions never do")
	f.BoolVar(&o.verbose, "verbose", false, "print the log lines of the functions")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errors.New("see -help")
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%s is no option: options begin with a dash, see -help", f.Arg(0))
	}
	if o.port < 0 || o.port > 65535 {
		return o, fmt.Errorf("PORT=%d: give a number from 0 to 65535", o.port)
	}
	if o.users < 0 || o.groups < 0 {
		return o, fmt.Errorf("-users %d -groups %d: give numbers from 0", o.users, o.groups)
	}
	if o.factor <= 0 {
		return o, fmt.Errorf("-factor %g: give a number above 0", o.factor)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	start := localaws.Options{Assembly: o.assembly, Source: o.source, Listen: "127.0.0.1:" + strconv.Itoa(o.port), Factor: o.factor}
	if o.verbose {
		start.Log = stderr
	}
	bed, err := localaws.Start(ctx, start)
	if err != nil {
		return err
	}
	defer bed.Close()
	listener, err := listenForPage(o.port)
	if err != nil {
		return err
	}
	defer listener.Close()
	fmt.Fprintln(stdout, "building the functions and deploying the stacks of", o.assembly, "...")
	poolID, err := seedPool(bed, o)
	if err != nil {
		return err
	}
	if err := bed.Deploy(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // interrupted while starting
		}
		return err
	}
	target, err := emptyPool(bed, poolID)
	if err != nil {
		return err
	}
	stopPage, err := servePage(listener, watch(bed, poolID, target))
	if err != nil {
		return err
	}
	defer stopPage()
	describe(stdout, bed, "http://"+listener.Addr().String(), poolID, target)
	<-ctx.Done()
	fmt.Fprintln(stdout, "\nstopping")
	return nil
}

// seedPool puts the pool in place that the stacks back up.
func seedPool(bed *localaws.Bed, o options) (string, error) {
	poolID := backedUpPool(bed.Assembly())
	if poolID == "" {
		return "", fmt.Errorf("the functions in %s are not told which user pool they back up: run `make synth` again", o.assembly)
	}
	var source *cognito.Seed
	if o.from != "" {
		var err error
		if source, err = cognito.ReadCLI(o.from); err != nil {
			return "", fmt.Errorf("-from %s cannot be read as the AWS CLI's output of a user pool: %s", o.from, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		if source.Pool.Id != poolID {
			return "", fmt.Errorf("the pool in %s is %s, but the stacks in %s back up %s: synthesize with -c primaryUserPoolId=%s", o.from, source.Pool.Id, o.assembly, poolID, source.Pool.Id)
		}
	} else {
		source = seed.Pool(seed.Options{PoolID: poolID, Users: o.users, Groups: o.groups, Seed: o.seed})
	}
	region, _, _ := strings.Cut(poolID, "_")
	_, err := bed.Cognito(region).Seed(source)
	return poolID, err
}

// backedUpPool is the pool id that the functions of the assembly are given.
func backedUpPool(assembly *cloudformation.Assembly) string {
	for _, stack := range assembly.Stacks {
		if id := stack.Variable("PRIMARY_USER_POOL_ID"); id != "" {
			return id
		}
	}
	return ""
}

// emptyPool makes a pool in the secondary Region, configured as the backed-up
// one, to try a restore with. There is none without a secondary Region.
func emptyPool(bed *localaws.Bed, poolID string) (string, error) {
	primary, _, _ := strings.Cut(poolID, "_")
	snapshot, err := bed.Cognito(primary).Snapshot(poolID)
	if err != nil {
		return "", err
	}
	for _, region := range bed.Regions() {
		if region != primary {
			return bed.Cognito(region).Seed(seed.Empty(snapshot, ""))
		}
	}
	return "", nil
}

// describe prints what runs and what to try.
func describe(w io.Writer, bed *localaws.Bed, pageURL, poolID, target string) {
	primary, _, _ := strings.Cut(poolID, "_")
	fmt.Fprintf(w, "\npage              %s  (open it in a browser)\n", pageURL)
	fmt.Fprintf(w, "endpoint          %s\n", bed.Endpoint())
	fmt.Fprintf(w, "user pool         %s\n", poolID)
	if target != "" {
		fmt.Fprintf(w, "empty user pool   %s, to restore into\n", target)
	}
	var importARN, table string
	for _, d := range bed.Stacks() {
		fmt.Fprintf(w, "stack             %s in %s\n", d.Stack.Name, d.Stack.Region)
		for id, r := range d.Stack.Template.Resources {
			c, ok := d.Created(id)
			switch {
			case ok && r.Type == "AWS::DynamoDB::GlobalTable":
				table = c.Ref
			case ok && r.Type == "AWS::S3::Bucket":
				fmt.Fprintf(w, "  bucket          %s\n", c.Ref)
			}
		}
		for _, name := range []string{"ExportWorkflow", "ImportWorkflow"} {
			if arn := bed.StateMachineARN(d.Stack.Name, name); arn != "" {
				fmt.Fprintf(w, "  state machine   %s\n", arn)
				if name == "ImportWorkflow" {
					importARN = arn
				}
			}
		}
	}
	secondary := primary
	if target != "" {
		secondary, _, _ = strings.Cut(target, "_")
	}
	fmt.Fprintf(w, `
The schedule has started the first export. In another terminal:

export AWS_ENDPOINT_URL=%[1]s AWS_REGION=%[2]s AWS_DEFAULT_REGION=%[2]s
export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local

aws cognito-idp list-users --user-pool-id %[3]s --limit 5
aws dynamodb scan --table-name %[4]s --projection-expression id --max-items 5
aws stepfunctions start-execution --region %[5]s --state-machine-arn %[6]s --input '{"NewUserPoolId":"%[7]s"}'

Ctrl-C stops everything.
`, bed.Endpoint(), primary, poolID, table, secondary, importARN, target)
}
