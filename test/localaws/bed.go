package localaws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/localaws/dynamodb"
	"cognito-backup/test/localaws/faults"
	"cognito-backup/test/localaws/iam"
	"cognito-backup/test/localaws/lambda"
	"cognito-backup/test/localaws/s3"
	"cognito-backup/test/localaws/wire"
)

// Options of a testbed.
type Options struct {
	Assembly string    // cloud assembly directory; cdk.out under Source when empty
	Source   string    // module root, with lambdas/ and node_modules/; the working directory when empty
	Listen   string    // loopback address of the gateway; 127.0.0.1:0 when empty
	Factor   float64   // how much faster waits, import jobs and schedules run; 1 when zero
	Seed     uint64    // of faults and replication; 1 when zero
	Log      io.Writer // receives what functions print, if set
	Cache    string    // built functions; .build/localaws in the module's root when empty
}

// Bed is a running testbed: an AWS account on this machine. Its methods are
// safe for concurrent use, except Deploy and DeployStack.
type Bed struct {
	options  Options
	assembly *cloudformation.Assembly
	endpoint string
	server   *http.Server
	life     context.Context
	end      context.CancelFunc
	dir      string // temporary files
	// closeOnce lets whoever calls Close wait until everything has stopped.
	closeOnce func() error
	output    *lines

	clock      *wire.Clock
	offset     atomic.Int64
	iam        *iam.Set
	faults     *faults.Set
	lambda     *lambda.Service
	s3         *s3.Service
	replicator *dynamodb.Replicator
	requests   requestLog

	mu          sync.Mutex
	regions     map[string]*region
	deployments map[string]*cloudformation.Deployment // by stack name
	binaries    map[string]string                     // by handler
	roles       map[string]string                     // ARNs by name
	keys        map[string]bool                       // ARNs of KMS keys
	aliases     map[string]string                     // ARNs of KMS keys by ARN of an alias
	exports     map[string]map[string]string          // values by Region and name
	down        map[string]bool                       // Regions
	callsCut    map[string]int                        // by Region that was down
	violations  []string
	killers     []*killer
}

// Start starts the services of a testbed without any stack; Deploy creates
// those. Close must be called, and is when ctx ends.
func Start(ctx context.Context, o Options) (*Bed, error) {
	if o.Source == "" {
		o.Source = "."
	}
	source, err := filepath.Abs(o.Source)
	if err != nil {
		return nil, err
	}
	o.Source = source
	if o.Assembly == "" {
		o.Assembly = filepath.Join(o.Source, "cdk.out")
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	assembly, err := cloudformation.Open(o.Assembly)
	if err != nil {
		return nil, err
	}
	if err := dynamodb.CheckInstalled(o.Source); err != nil {
		return nil, err
	}
	listener, err := listen(o.Listen)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "localaws-")
	if err != nil {
		listener.Close()
		return nil, err
	}
	b := &Bed{
		options: o, assembly: assembly, endpoint: "http://" + listener.Addr().String(), dir: dir,
		iam: iam.New(), faults: faults.New(o.Seed), replicator: dynamodb.NewReplicator(o.Seed),
		regions: map[string]*region{}, deployments: map[string]*cloudformation.Deployment{}, binaries: map[string]string{},
		roles: map[string]string{}, keys: map[string]bool{}, aliases: map[string]string{}, exports: map[string]map[string]string{}, down: map[string]bool{}, callsCut: map[string]int{},
	}
	b.closeOnce = sync.OnceValue(b.close)
	b.life, b.end = context.WithCancel(context.WithoutCancel(ctx))
	b.clock = &wire.Clock{Factor: o.Factor, Offset: func() time.Duration { return time.Duration(b.offset.Load()) }}
	b.iam.Now = b.clock.Now
	var stream io.Writer
	if o.Log != nil {
		b.output = &lines{w: o.Log}
		stream = b.output
	}
	b.lambda = lambda.New(b.endpoint, b.clock, stream)
	b.lambda.Gate = func(region string) error {
		if b.regionDown(region) {
			return &wire.Error{Code: "ServiceException", Message: "the Region is down", Status: http.StatusInternalServerError}
		}
		return nil
	}
	b.s3 = s3.New(b.clock)
	b.server = &http.Server{Handler: b, ErrorLog: quietLog()}
	go b.server.Serve(listener)
	context.AfterFunc(ctx, func() { b.Close() })
	return b, nil
}

// listen opens the gateway's address, which must be on loopback.
func listen(address string) (net.Listener, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: give host and port, for example 127.0.0.1:4599", address)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("listen address %q: the testbed listens on loopback only, for example 127.0.0.1:%s", address, port)
	}
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %s is taken by another program: stop that program or choose another port", port)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return listener, nil
}

// Close stops everything that the testbed started and returns when it is gone.
func (b *Bed) Close() error { return b.closeOnce() }

func (b *Bed) close() error {
	b.mu.Lock()
	regions := b.regionList()
	b.mu.Unlock()

	b.end()
	for _, r := range regions {
		r.stop()
	}
	b.lambda.Close()
	b.server.Close()
	b.replicator.Close()
	for _, r := range regions {
		r.close()
	}
	return os.RemoveAll(b.dir)
}

// Endpoint is the gateway's URL, for AWS_ENDPOINT_URL.
func (b *Bed) Endpoint() string { return b.endpoint }

// Config is for SDK clients in a Region that act as the account's
// administrator.
func (b *Bed) Config(region string) aws.Config {
	return aws.Config{
		Region:       region,
		BaseEndpoint: aws.String(b.endpoint),
		Credentials:  credentials.NewStaticCredentialsProvider("LOCALADMIN", "local", ""),
	}
}

// Clock is the testbed's time.
func (b *Bed) Clock() *wire.Clock { return b.clock }

// Advance sets the testbed's clock ahead by d more.
func (b *Bed) Advance(d time.Duration) { b.offset.Add(int64(d)) }

// Faults are the fault rules in force.
func (b *Bed) Faults() *faults.Set { return b.faults }

// IAM is the set of all policies.
func (b *Bed) IAM() *iam.Set { return b.iam }

// Lambda is the functions and their processes.
func (b *Bed) Lambda() *lambda.Service { return b.lambda }

// S3 is the buckets of all Regions.
func (b *Bed) S3() *s3.Service { return b.s3 }

// Replicator copies between the replicas of global tables.
func (b *Bed) Replicator() *dynamodb.Replicator { return b.replicator }

// Assembly is what the testbed deploys.
func (b *Bed) Assembly() *cloudformation.Assembly { return b.assembly }

// FunctionLogs are the lines that the named function printed, in all Regions;
// the name may leave the prefix out ("import-users").
func (b *Bed) FunctionLogs(name string) []string { return b.lambda.Logs(b.functionName(name)) }

// AllLogs are the lines of all functions, by name.
func (b *Bed) AllLogs() map[string][]string {
	logs := map[string][]string{}
	for _, f := range b.lambda.Functions() {
		if logs[f.Name] == nil {
			logs[f.Name] = b.lambda.Logs(f.Name)
		}
	}
	return logs
}

// functionName completes a name without prefix.
func (b *Bed) functionName(name string) string {
	for _, f := range b.lambda.Functions() {
		if f.Name == name || strings.HasSuffix(f.Name, "-"+name) {
			return f.Name
		}
	}
	return name
}

// Requests is the log of all calls, oldest first.
func (b *Bed) Requests() []Request {
	b.requests.mu.Lock()
	defer b.requests.mu.Unlock()
	return slices.Clone(b.requests.list)
}

// Violations lists what was wrong with the testbed itself: answers that the
// API models do not allow, errors that an operation does not have, requests
// with members that do not exist. A test should find none.
func (b *Bed) Violations() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.violations)
}

func (b *Bed) violation(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(b.violations, text) {
		b.violations = append(b.violations, text)
	}
}

// lines writes whole lines of several writers, one at a time.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
