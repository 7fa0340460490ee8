package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/restore"
	"cognito-backup/internal/step"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/model"
	localsqs "cognito-backup/test/localaws/sqs"
	"cognito-backup/test/localaws/wire"
)

// Region is where everything is. Source and target pool share one Region's
// quotas, as they do when somebody restores beside the loss.
const Region = "eu-west-1"

// Latency is how long calls take until their answer is there.
type Latency struct {
	Cognito time.Duration
	Item    time.Duration // one item or one small query of the table
	Batch   time.Duration // a hundred items of the table
	Page    time.Duration // a megabyte of the table
	Object  time.Duration
	Queue   time.Duration
	Invoke  time.Duration // of a function by its state machine
}

// Typical are latencies within a Region, at the high end of what is usual.
func Typical() Latency {
	return Latency{
		Cognito: 100 * time.Millisecond, Item: 5 * time.Millisecond, Batch: 10 * time.Millisecond, Page: 50 * time.Millisecond,
		Object: 30 * time.Millisecond, Queue: 10 * time.Millisecond, Invoke: 50 * time.Millisecond,
	}
}

// Cloud is the services of one Region in memory.
type Cloud struct {
	Cognito *cognito.Service
	Table   *Table
	Bucket  *Bucket
	// Validate holds requests and answers against the API models.
	Validate bool
	// OnCall is told of each call when it reaches its service; nil for nobody.
	OnCall func(operation string, throttled bool)
	// Refuse answers a call to Cognito in its place; nil: it answers itself. Only
	// with Validate, which has every call go the long way.
	Refuse func(operation string, input json.RawMessage) error
	// Deaths says when an invocation of a function dies: the n-th in this
	// execution, from 1; nil: none does. It is asked for one invocation at a time.
	Deaths func(function string, n int) Death

	latency Latency
	queues  *localsqs.Service
	mu      sync.Mutex
	faults  []error // of the testbed itself
	spans   map[string]Span
	queued  int // requests that SQS bills
}

// Span is from when to when calls of an operation reached Cognito and were
// carried out.
type Span struct {
	First, Last time.Time
	Calls       int
}

// Rate is calls a second between the first and the last.
func (s Span) Rate() float64 {
	if s.Calls < 2 {
		return 0
	}
	return float64(s.Calls-1) / s.Last.Sub(s.First).Seconds()
}

// Spans are those of all operations.
func (c *Cloud) Spans() map[string]Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.spans)
}

// requests are the calls so far that are billed by their number.
func (c *Cloud) requests() Requests {
	r := c.Bucket.Requests()
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Queue = c.queued
	return r
}

// queuedBytes is how much of a call SQS bills as one.
const queuedBytes = 64 << 10

func (c *Cloud) billQueue(bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queued += max(1, (bytes+queuedBytes-1)/queuedBytes)
}

func (c *Cloud) carriedOut(operation string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.spans == nil {
		c.spans = map[string]Span{}
	}
	s := c.spans[operation]
	s.Last = time.Now()
	if s.Calls++; s.Calls == 1 {
		s.First = s.Last
	}
	c.spans[operation] = s
}

// change changes an attribute of a user, as the application would.
func (c *Cloud) change(poolID, username string) error {
	input, err := json.Marshal(map[string]any{"UserPoolId": poolID, "Username": username,
		"UserAttributes": []cognito.Attribute{{Name: "locale", Value: "it-CH"}}})
	if err != nil {
		return err
	}
	for { // the application has quotas too
		_, err = c.Cognito.Handle(context.Background(), &wire.Call{Service: "cognito-idp", Operation: "AdminUpdateUserAttributes", Region: Region, Input: input})
		if refused, ok := errors.AsType[*wire.Error](err); !ok || refused.Code != "TooManyRequestsException" {
			return err
		}
		time.Sleep(time.Second)
	}
}

// throttled is how many calls Cognito has turned away.
func (c *Cloud) throttled() int {
	n := 0
	for _, count := range c.Cognito.Counts() {
		n += count.Throttled
	}
	return n
}

// lose deletes a pool, as the disaster does that restores are for.
func (c *Cloud) lose(poolID string) error {
	input, err := json.Marshal(map[string]string{"UserPoolId": poolID})
	if err != nil {
		return err
	}
	_, err = c.Cognito.Handle(context.Background(), &wire.Call{Service: "cognito-idp", Operation: "DeleteUserPool", Region: Region, Input: input})
	return err
}

// NewCloud makes empty services.
func NewCloud(latency Latency) *Cloud {
	clock := &wire.Clock{}
	return &Cloud{
		Cognito: cognito.New(Region, clock), queues: localsqs.New(Region, clock), latency: latency,
		Table: &Table{latency: latency}, Bucket: &Bucket{latency: latency.Object},
	}
}

// Close ends what runs in the services. The error is what was wrong with them.
func (c *Cloud) Close() error {
	c.Cognito.Close()
	return errors.Join(c.faults...)
}

// Users is a Cognito client that stays within the limits.
func (c *Cloud) Users(limits *pool.Limits) *Client {
	client := &Client{Client: idp.NewFromConfig(c.config(), limits.Apply), cloud: c, limits: limits}
	var o idp.Options
	limits.Apply(&o)
	client.retryer = o.Retryer
	return client
}

// queueAttributes are those of the templates. There is no dead-letter queue:
// nothing here is received in vain.
var queueAttributes = map[string]string{"VisibilityTimeout": "960", "MessageRetentionPeriod": "1209600"}

func (c *Cloud) queue(name string) (*restore.Queue, error) {
	if _, err := c.queues.Create(name, queueAttributes); err != nil {
		return nil, err
	}
	return &restore.Queue{API: sqs.NewFromConfig(c.config()), URL: localsqs.URL(endpoint, name)}, nil
}

const endpoint = "http://localaws.invalid"

func (c *Cloud) config() aws.Config {
	return aws.Config{
		Region: Region, BaseEndpoint: aws.String(endpoint), Credentials: aws.AnonymousCredentials{},
		HTTPClient: c, Retryer: step.Retryer,
	}
}

// Do carries out one request of an AWS client without any socket. It is how
// the clients' HTTPClient is called.
func (c *Cloud) Do(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
	}
	m := model.ByTarget(r.Header.Get("X-Amz-Target"))
	if m == nil {
		return nil, fmt.Errorf("nobody here plays %q", r.Header.Get("X-Amz-Target"))
	}
	var service wire.Service = c.Cognito
	latency := c.latency.Cognito
	if m.SigningName == "sqs" {
		service, latency = c.queues, c.latency.Queue
	}
	var operation string
	output, refusal, err := c.exchange(r.Context(), latency, func() (any, error) {
		var input json.RawMessage
		var err error
		operation, input, err = m.ParseRequest(r, body)
		if err == nil && c.Validate {
			err = m.ValidateRequest(operation, input)
		}
		if err == nil && c.Refuse != nil && m.SigningName == "cognito-idp" {
			err = c.Refuse(operation, input)
		}
		var output any
		if err == nil {
			call := &wire.Call{Service: m.SigningName, Operation: operation, Region: Region, Input: input, Endpoint: endpoint}
			output, err = service.Handle(r.Context(), call)
		}
		c.tell(operation, err)
		if err == nil && m.SigningName == "cognito-idp" {
			c.carriedOut(operation)
		}
		if m.SigningName == "sqs" {
			c.billQueue(len(body))
		}
		return output, err
	})
	if err != nil {
		return nil, err
	}
	return c.answer(r, m, operation, output, refusal)
}

// exchange takes as long as a call does. The answer of the service may be its
// refusal; err is that the caller no longer waits for either.
func (c *Cloud) exchange(ctx context.Context, latency time.Duration, handle func() (any, error)) (output any, refusal, err error) {
	if err := reach(ctx, latency/2); err != nil {
		return nil, nil, err
	}
	output, refusal = handle()
	return output, refusal, step.Sleep(ctx, latency-latency/2)
}

func (c *Cloud) tell(operation string, err error) {
	if c.OnCall == nil {
		return
	}
	refused, ok := errors.AsType[*wire.Error](err)
	c.OnCall(operation, ok && refused.Code == "TooManyRequestsException")
}

func (c *Cloud) answer(r *http.Request, m *model.Model, operation string, output any, err error) (*http.Response, error) {
	w := httptest.NewRecorder()
	var refused *wire.Error
	switch {
	case errors.As(err, &refused):
		m.WriteError(w, operation, refused, "simulated")
		if c.Validate {
			c.fault(m.ValidateError(operation, refused))
		}
	case err != nil:
		c.fault(err)
		return nil, err
	default:
		document, err := json.Marshal(output)
		if err != nil {
			return nil, err
		}
		if c.Validate {
			c.fault(m.ValidateResponse(operation, document))
		}
		m.WriteResponse(w, operation, document, "simulated")
	}
	response := w.Result()
	response.Request = r
	return response, nil
}

func (c *Cloud) fault(err error) {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.faults) < 20 {
		c.faults = append(c.faults, err)
	}
}

// Upload puts an import file at its job's address.
func (c *Cloud) Upload(ctx context.Context, url string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("x-amz-server-side-encryption", "aws:kms")
	request.Header.Set("Content-Length", strconv.Itoa(len(body)))
	// 20 MB a second, beside the latency of an object.
	if err := reach(ctx, c.latency.Object+time.Duration(len(body))*time.Second/(20<<20)); err != nil {
		return err
	}
	w := httptest.NewRecorder()
	c.Cognito.ServeUpload(w, request)
	if w.Code/100 != 2 {
		return fmt.Errorf("upload refused with status %d: %s", w.Code, strings.TrimSpace(w.Body.String()))
	}
	return nil
}
