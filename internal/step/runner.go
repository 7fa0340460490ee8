package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	"github.com/google/uuid"
)

// reserve is how long before the function's own deadline a slice ends at the
// latest, so that what is under way can be finished and the cursor saved.
const reserve = 60 * time.Second

// connections is how many connections to a service stay open for reuse; the
// SDK's ten would be closed and opened over and over by the calls that steps
// make side by side.
const connections = 128

// Runner gives a step its time slices.
type Runner struct {
	Step    Step
	Lease   *Lease // Workflow is set from the event; nil: no lease is needed
	Objects *Objects
	Slice   time.Duration
	Now     func() time.Time
}

// Handle carries out one invocation.
func (r *Runner) Handle(ctx context.Context, event Event) (Run, error) {
	ctx = LogRun(ctx, event.Execution, event.Step)
	run, err := r.handle(ctx, event)
	if err != nil {
		err = Classify(err)
		slog.ErrorContext(ctx, "step failed", LogError, err.Error())
		return Run{}, err
	}
	return run, nil
}

func (r *Runner) handle(ctx context.Context, event Event) (run Run, err error) {
	if event.Execution == "" || event.Step == "" {
		return Run{}, errors.New("the event names no execution and step: this function is called by its state machine; start that instead")
	}
	started := r.Now()
	s := &Slice{Event: event, Objects: r.Objects, Until: started.Add(r.Slice), invocation: uuid.NewString(), now: r.Now, least: r.Slice / 4}
	if deadline, ok := ctx.Deadline(); ok {
		// A function whose time-out is shorter than the reserve still gets half of it.
		s.latest = started.Add(max(deadline.Add(-reserve).Sub(started), deadline.Sub(started)/2))
		if s.latest.Before(s.Until) {
			s.Until = s.latest
		}
	}
	s.half = started.Add(s.Until.Sub(started) / 2)
	if r.Lease != nil {
		lease := *r.Lease
		lease.Workflow = event.Workflow
		holder, err := lease.Enter(ctx, event.Execution, event.Step, s.invocation)
		if err != nil {
			return Run{}, err
		}
		defer func() { err = errors.Join(err, holder.Leave(context.WithoutCancel(ctx))) }()
		ctx = withHolder(ctx, holder)
	}
	defer letGo()
	run, err = r.Step.Run(ctx, s)
	if err != nil {
		return Run{}, fmt.Errorf("%s: %w", event.Step, err)
	}
	slog.InfoContext(ctx, "slice done",
		"done", run.Cursor == "", "seconds", r.Now().Sub(started).Seconds(), "counts", run.Counts)
	return run, nil
}

// Clients are what most steps are built from.
type Clients struct {
	Config   aws.Config
	DynamoDB *dynamodb.Client
	Objects  *Objects
	Region   string
}

// Main is the main function of a step's binary: it reads the environment,
// builds the step and serves invocations. Build uses the environment freely;
// what is missing or wrong is reported together.
func Main(build func(*Environment, *Clients) Step) {
	serve(func(env *Environment, c *Clients) any {
		seconds := env.Int("SLICE_SECONDS")
		r := &Runner{
			Step:    build(env, c),
			Lease:   NewLease(env, c),
			Objects: c.Objects,
			Slice:   time.Duration(seconds) * time.Second,
			Now:     time.Now,
		}
		return r.Handle
	})
}

// Serve is the main function of a binary that is no ordinary step: handler is
// any function that Lambda accepts.
func Serve(build func(*Environment, *Clients) any) { serve(build) }

func serve(build func(*Environment, *Clients) any) {
	slog.SetDefault(slog.New(runHandler{slog.NewJSONHandler(os.Stdout, nil)}))
	alone.Store(true)
	Hold(0)
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithRetryer(Retryer),
		config.WithAPIOptions([]func(*middleware.Stack) error{guardWrites}), config.WithHTTPClient(
			awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, connections })))
	env := NewEnvironment()
	var handler any
	if err == nil {
		c := &Clients{Config: cfg, DynamoDB: dynamodb.NewFromConfig(cfg), Region: cfg.Region}
		c.Objects = &Objects{API: s3.NewFromConfig(cfg, pathStyle), Bucket: env.String("BUCKET_NAME")}
		handler = build(env, c)
		err = env.Err()
	}
	if err != nil {
		// Every invocation tells what is wrong; ending here would only say that
		// the process ended.
		failure := &Failure{err}
		handler = func(context.Context, json.RawMessage) (any, error) { return nil, failure }
	}
	lambda.Start(handler)
}

// pathStyle names the bucket in the path where AWS_ENDPOINT_URL or
// AWS_ENDPOINT_URL_S3 says whom to call: an emulator, or an interface endpoint,
// need not have a host name for each bucket.
func pathStyle(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil }

// NewLease is the lease in the table of the function's environment.
func NewLease(env *Environment, c *Clients) *Lease {
	return &Lease{API: c.DynamoDB, Table: env.String("TABLE_NAME"), Region: c.Region, Now: time.Now, Sleep: Sleep}
}

// Retryer is the retryer of every client: fifteen attempts within some 40
// seconds. The SDK's default gives up after three attempts, and its token bucket
// sooner when many calls run side by side, which a throttled table or an
// outage of half a minute would turn into a failed step. It does not multiply
// the rate at Cognito: the limiters sit inside it, and each attempt pays.
func Retryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 15
		o.Backoff = retry.BackoffDelayerFunc(Backoff)
		o.RateLimiter = ratelimit.None
	})
}

// longestBackoff is the longest wait between two attempts.
const longestBackoff = 5 * time.Second

// Backoff is how long to wait after an attempt that failed: a fifth of a second
// at most after the first, as most failures are gone at once, and twice as long
// after each more, up to five seconds. The SDK's own begins with seconds.
func Backoff(attempt int, _ error) (time.Duration, error) {
	longest := min(100*time.Millisecond<<min(attempt, 10), longestBackoff)
	return longest/2 + rand.N(longest/2), nil
}

// Sleep waits for d or until the context ends.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
