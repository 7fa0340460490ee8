// Package sqs plays Amazon SQS for the testbed: standard queues with visibility
// timeouts, delays, long polling, batches and dead-letter queues. What SQS only
// seldom does but is allowed to do (deliver twice, out of order, again after a
// delete, nothing though there is something) is a setting.
package sqs

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cognito-backup/test/localaws/wire"
)

// Service is SQS in one Region. It is safe for concurrent use.
type Service struct {
	region string
	clock  *wire.Clock

	mu       sync.Mutex
	queues   map[string]*queue
	deleted  map[string]time.Time // when a queue of this name was deleted
	faults   Faults
	pages    map[string]string                        // ListQueues' tokens: the name to go on after
	counted  struct{ entries, receives, deletes int } // for the faults that strike every so many times
	injected Injected
}

// New makes SQS without queues.
func New(region string, clock *wire.Clock) *Service {
	return &Service{region: region, clock: clock, queues: map[string]*queue{}, deleted: map[string]time.Time{}, pages: map[string]string{}}
}

// Faults is how unfriendly SQS is. Everything here is within what AWS promises
// of standard queues. The zero value is the friendliest.
type Faults struct {
	// Twice delivers every message that is sent from now on twice: two copies
	// with the same id, to be received and deleted each by itself.
	Twice bool
	// Shuffle receives in random order; otherwise the oldest comes first.
	Shuffle bool
	// Undelete brings a deleted message back once for every so many deletes
	// (1 is each, 0 none), as when a server was away during the delete.
	Undelete int
	// EmptyReceives answers every so many-th receive empty though there are
	// messages, as short polling does when it asks the wrong servers (0 none).
	EmptyReceives int
	// FailEntries fails every so many-th entry of a batch with InternalError,
	// while the rest of its batch succeeds (0 none).
	FailEntries int
	// MaxVisibility bounds every visibility timeout, so that a test sees a
	// message again without waiting for as long as a real queue would (0 does not).
	MaxVisibility time.Duration
}

// Injected is how often each of the Faults has struck.
type Injected struct {
	Twice         int // messages of which there was a second copy
	Shuffle       int // receives that had several messages to choose from
	Undelete      int
	EmptyReceives int
	FailEntries   int
	MaxVisibility int // time-outs cut short
}

// Injected counts the faults so far.
func (s *Service) Injected() Injected {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.injected
}

// SetFaults changes the faults from now on.
func (s *Service) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// Counters is what has happened to a queue since it was created.
type Counters struct {
	Sent        int // messages accepted; a copy made by a fault does not count
	Received    int // deliveries
	Redelivered int // deliveries of a message that had been delivered before
	Deleted     int
	DeadLetters int // messages moved to the dead-letter queue
	Empty       int // receives that answered no message

	Visible, InFlight, Delayed int // now
}

// Counters returns the counters of a queue; zero if there is none.
func (s *Service) Counters(name string) Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[name]
	if q == nil {
		return Counters{}
	}
	s.sweep(q)
	c := q.counters
	c.Visible, c.InFlight, c.Delayed = q.count(s.clock.Now())
	return c
}

// Queues lists the names of the queues.
func (s *Service) Queues() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names("")
}

// Bodies returns every message body ever sent to a queue, deleted ones
// included, in the order of sending; of all queues if the name is empty. Tests
// search them for what must never be in a queue.
func (s *Service) Bodies(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var bodies []string
	for _, n := range s.names("") {
		if name == "" || n == name {
			bodies = append(bodies, s.queues[n].bodies...)
		}
	}
	return bodies
}

// ExpireVisibility ends the visibility timeout of every message in flight, as
// if a test had waited for it.
func (s *Service) ExpireVisibility(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[name]
	if q == nil {
		return
	}
	now := s.clock.Now()
	for _, m := range q.messages {
		if m.deliveries > 0 && m.visibleAt.After(now) {
			m.visibleAt = now
		}
	}
	q.wake()
}

func (s *Service) names(prefix string) []string {
	var names []string
	for name := range s.queues {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ARN returns the ARN of a queue of this Region.
func (s *Service) ARN(name string) string {
	return fmt.Sprintf("arn:aws:sqs:%s:%s:%s", s.region, wire.Account, name)
}

// URL returns the URL of a queue: https://…/<account>/<name>.
func URL(endpoint, name string) string { return endpoint + "/" + wire.Account + "/" + name }

// Create creates a queue for the deployer, which knows no HTTP. Attributes are
// those of the API: VisibilityTimeout, RedrivePolicy (JSON) and so on.
func (s *Service) Create(name string, attributes map[string]string) (arn string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.create(name, attributes, nil); err != nil {
		return "", err
	}
	return s.ARN(name), nil
}

// SetPolicy sets a queue's policy (AWS::SQS::QueuePolicy).
func (s *Service) SetPolicy(name string, policy json.RawMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[name]
	if q == nil {
		return noQueue()
	}
	q.attributes["Policy"] = string(policy)
	return nil
}

// Permissions implements wire.Service. The actions of batches are those of
// their single forms. A queue with a key of the customer's own needs the key,
// too.
func (s *Service) Permissions(c *wire.Call) []wire.Permission {
	var input struct {
		QueueUrl, QueueName, SourceArn, DestinationArn string
	}
	if err := c.Decode(&input); err != nil {
		return []wire.Permission{{Action: "sqs:" + c.Operation, Resource: "*"}}
	}
	action := "sqs:" + strings.TrimSuffix(c.Operation, "Batch")
	name := cmp.Or(input.QueueName, nameOf(input.QueueUrl))
	switch {
	case c.Operation == "ListQueues":
		return []wire.Permission{{Action: action, Resource: "*"}}
	case c.Operation == "StartMessageMoveTask":
		permissions := []wire.Permission{{Action: action, Resource: input.SourceArn}, {Action: "sqs:ReceiveMessage", Resource: input.SourceArn},
			{Action: "sqs:DeleteMessage", Resource: input.SourceArn}, {Action: "sqs:GetQueueAttributes", Resource: input.SourceArn}}
		if input.DestinationArn != "" {
			permissions = append(permissions, wire.Permission{Action: "sqs:SendMessage", Resource: input.DestinationArn})
		}
		return permissions
	}
	permissions := []wire.Permission{{Action: action, Resource: s.ARN(name)}}
	if key := s.key(name); key != "" {
		switch action {
		case "sqs:SendMessage":
			permissions = append(permissions, wire.Permission{Action: "kms:GenerateDataKey", Resource: key}, wire.Permission{Action: "kms:Decrypt", Resource: key})
		case "sqs:ReceiveMessage":
			permissions = append(permissions, wire.Permission{Action: "kms:Decrypt", Resource: key})
		}
	}
	return permissions
}

// key returns the ARN of the customer's key that encrypts the queue.
func (s *Service) key(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.queues[name]; q != nil && strings.HasPrefix(q.attributes["KmsMasterKeyId"], "arn:aws:kms:") && strings.Contains(q.attributes["KmsMasterKeyId"], ":key/") {
		return q.attributes["KmsMasterKeyId"]
	}
	return ""
}

// nameOf returns the queue's name in its URL: the last part of the path.
func nameOf(queueURL string) string {
	u, err := url.Parse(queueURL)
	if err != nil {
		return ""
	}
	return u.Path[strings.LastIndex(u.Path, "/")+1:]
}

// Handle implements wire.Service.
func (s *Service) Handle(ctx context.Context, c *wire.Call) (any, error) {
	switch c.Operation {
	case "CreateQueue":
		return handle(c, s.createQueue)
	case "DeleteQueue":
		return handle(c, s.deleteQueue)
	case "GetQueueUrl":
		return handle(c, s.getQueueURL)
	case "GetQueueAttributes":
		return handle(c, s.getQueueAttributes)
	case "SetQueueAttributes":
		return handle(c, s.setQueueAttributes)
	case "ListQueues":
		return handle(c, s.listQueues)
	case "PurgeQueue":
		return handle(c, s.purgeQueue)
	case "SendMessage":
		return handle(c, s.sendMessage)
	case "SendMessageBatch":
		return handle(c, s.sendMessageBatch)
	case "ReceiveMessage":
		return handle(c, func(c *wire.Call, in *receiveInput) (any, error) { return s.receiveMessage(ctx, in) })
	case "DeleteMessage":
		return handle(c, s.deleteMessage)
	case "DeleteMessageBatch":
		return handle(c, s.deleteMessageBatch)
	case "ChangeMessageVisibility":
		return handle(c, s.changeMessageVisibility)
	case "ChangeMessageVisibilityBatch":
		return handle(c, s.changeMessageVisibilityBatch)
	case "StartMessageMoveTask":
		return handle(c, s.startMessageMoveTask)
	}
	return nil, wire.Errorf("UnsupportedOperation", "The testbed does not know %s", c.Operation)
}

func handle[In any](c *wire.Call, f func(*wire.Call, *In) (any, error)) (any, error) {
	in := new(In)
	if err := c.Decode(in); err != nil {
		return nil, err
	}
	return f(c, in)
}

func noQueue() *wire.Error {
	return wire.Errorf("QueueDoesNotExist", "The specified queue does not exist.")
}

func invalid(value any, parameter, reason string) *wire.Error {
	return wire.Errorf("InvalidParameterValue", "Value %v for parameter %s is invalid. Reason: %s", value, parameter, reason)
}

// queue looks a queue up by its URL. Callers hold the lock.
func (s *Service) queue(queueURL string) (*queue, error) {
	if q := s.queues[nameOf(queueURL)]; q != nil {
		return q, nil
	}
	return nil, noQueue()
}

// byARN looks a queue of this Region up. Callers hold the lock.
func (s *Service) byARN(arn string) *queue {
	name := arn[strings.LastIndex(arn, ":")+1:]
	if arn != s.ARN(name) {
		return nil
	}
	return s.queues[name]
}

type createInput struct {
	QueueName  string
	Attributes map[string]string
	Tags       map[string]string `json:"tags"`
}

func (s *Service) createQueue(c *wire.Call, in *createInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.create(in.QueueName, in.Attributes, in.Tags); err != nil {
		return nil, err
	}
	return map[string]string{"QueueUrl": URL(c.Endpoint, in.QueueName)}, nil
}

// recreateAfter is how long the name of a deleted queue is blocked.
const recreateAfter = 60 * time.Second

func (s *Service) create(name string, attributes, tags map[string]string) error {
	if !isName(name) {
		return wire.Errorf("InvalidParameterValue", "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	}
	if err := s.checkAttributes(attributes); err != nil {
		return err
	}
	if q := s.queues[name]; q != nil {
		for key, value := range attributes {
			if q.attributes[key] != value {
				return wire.Errorf("QueueNameExists", "A queue already exists with the same name and a different value for attribute %s", key)
			}
		}
		return nil
	}
	now := s.clock.Now()
	if now.Sub(s.deleted[name]) < recreateAfter {
		return wire.Errorf("QueueDeletedRecently", "You must wait 60 seconds after deleting a queue before you can create another with the same name.")
	}
	q := &queue{name: name, attributes: defaults(), tags: tags, created: now, modified: now, changed: make(chan struct{})}
	for key, value := range attributes {
		q.attributes[key] = value
	}
	s.queues[name] = q
	return nil
}

func isName(name string) bool {
	return len(name) > 0 && len(name) <= 80 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

// The attributes that can be set to a number, with their ranges and what a new
// queue has (SQS API reference, CreateQueue).
var numericAttributes = map[string]struct{ low, high, initial int }{
	"DelaySeconds":                  {0, 900, 0},
	"MaximumMessageSize":            {1024, maxMessage, maxMessage},
	"MessageRetentionPeriod":        {60, 1_209_600, 345_600},
	"ReceiveMessageWaitTimeSeconds": {0, 20, 0},
	"VisibilityTimeout":             {0, maxVisibility, 30},
	"KmsDataKeyReusePeriodSeconds":  {60, 86_400, 300},
}

const (
	maxMessage    = 1 << 20 // bytes, of a message and of a batch
	maxVisibility = 43_200  // seconds
	maxInFlight   = 120_000 // messages of one standard queue
	maxBatch      = 10      // entries
)

func defaults() map[string]string {
	attributes := map[string]string{"SqsManagedSseEnabled": "true"}
	for name, a := range numericAttributes {
		if name != "KmsDataKeyReusePeriodSeconds" { // shown only with a key
			attributes[name] = strconv.Itoa(a.initial)
		}
	}
	return attributes
}

func (s *Service) checkAttributes(attributes map[string]string) error {
	for key, value := range attributes {
		if a, ok := numericAttributes[key]; ok {
			if n, err := strconv.Atoi(value); err != nil || n < a.low || n > a.high {
				return wire.Errorf("InvalidAttributeValue", "Invalid value for the parameter %s.", key)
			}
			continue
		}
		switch key {
		case "Policy", "RedriveAllowPolicy":
			if value != "" && !json.Valid([]byte(value)) {
				return wire.Errorf("InvalidAttributeValue", "Invalid value for the parameter %s.", key)
			}
		case "RedrivePolicy":
			policy, err := parseRedrive(value)
			if err != nil {
				return err
			}
			if value != "" && s.byARN(policy.DeadLetterTargetArn) == nil {
				return invalid(value, "RedrivePolicy", "Dead letter target does not exist.")
			}
		case "KmsMasterKeyId":
		case "SqsManagedSseEnabled":
			if value != "true" && value != "false" {
				return wire.Errorf("InvalidAttributeValue", "Invalid value for the parameter %s.", key)
			}
		default: // read-only ones and those of FIFO queues
			return wire.Errorf("InvalidAttributeName", "Unknown Attribute %s.", key)
		}
	}
	return nil
}

// redrive is a RedrivePolicy.
type redrive struct {
	DeadLetterTargetArn string      `json:"deadLetterTargetArn"`
	MaxReceiveCount     json.Number `json:"maxReceiveCount"` // number or string, as AWS accepts
	max                 int
}

func parseRedrive(value string) (redrive, error) {
	var r redrive
	if value == "" {
		return r, nil
	}
	fault := wire.Errorf("InvalidAttributeValue", "Value %s for parameter RedrivePolicy is invalid. Reason: Redrive policy is not a valid JSON map.", value)
	if err := json.Unmarshal([]byte(value), &r); err != nil {
		return r, fault
	}
	n, err := strconv.Atoi(r.MaxReceiveCount.String())
	if err != nil || n < 1 || n > 1000 || r.DeadLetterTargetArn == "" {
		fault.Message = fmt.Sprintf("Value %s for parameter RedrivePolicy is invalid. Reason: Invalid value for maxReceiveCount: %s, valid values are from 1 to 1000 both inclusive.", value, r.MaxReceiveCount)
		return r, fault
	}
	r.max = n
	return r, nil
}

type queueInput struct{ QueueUrl string }

func (s *Service) deleteQueue(_ *wire.Call, in *queueInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	delete(s.queues, q.name)
	s.deleted[q.name] = s.clock.Now()
	q.wake()
	return nil, nil
}

type nameInput struct{ QueueName string }

func (s *Service) getQueueURL(c *wire.Call, in *nameInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queues[in.QueueName] == nil {
		return nil, noQueue()
	}
	return map[string]string{"QueueUrl": URL(c.Endpoint, in.QueueName)}, nil
}

type attributesInput struct {
	QueueUrl       string
	AttributeNames []string
}

func (s *Service) getQueueAttributes(_ *wire.Call, in *attributesInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	s.sweep(q)
	visible, inFlight, delayed := q.count(s.clock.Now())
	all := map[string]string{
		"QueueArn":                              s.ARN(q.name),
		"CreatedTimestamp":                      strconv.FormatInt(q.created.Unix(), 10),
		"LastModifiedTimestamp":                 strconv.FormatInt(q.modified.Unix(), 10),
		"ApproximateNumberOfMessages":           strconv.Itoa(visible),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(inFlight),
		"ApproximateNumberOfMessagesDelayed":    strconv.Itoa(delayed),
	}
	for key, value := range q.attributes {
		if value != "" {
			all[key] = value
		}
	}
	attributes := map[string]string{}
	for key, value := range all {
		if slices.Contains(in.AttributeNames, "All") || slices.Contains(in.AttributeNames, key) {
			attributes[key] = value
		}
	}
	if len(attributes) == 0 {
		return struct{}{}, nil
	}
	return map[string]any{"Attributes": attributes}, nil
}

type setAttributesInput struct {
	QueueUrl   string
	Attributes map[string]string
}

func (s *Service) setQueueAttributes(_ *wire.Call, in *setAttributesInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	if err := s.checkAttributes(in.Attributes); err != nil {
		return nil, err
	}
	for key, value := range in.Attributes {
		q.attributes[key] = value
	}
	q.modified = s.clock.Now()
	return nil, nil
}

type listInput struct {
	QueueNamePrefix, NextToken string
	MaxResults                 *int
}

func (s *Service) listQueues(c *wire.Call, in *listInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := 1000
	if in.MaxResults != nil {
		limit = *in.MaxResults
	}
	if limit < 1 || limit > 1000 {
		return nil, invalid(limit, "MaxResults", "MaxResults must be an integer between 1 and 1000.")
	}
	after := ""
	if in.NextToken != "" {
		var ok bool
		if after, ok = s.pages[in.NextToken]; !ok {
			return nil, invalid(in.NextToken, "NextToken", "NextToken is not valid.")
		}
	}
	var out struct {
		QueueUrls []string `json:",omitempty"`
		NextToken string   `json:",omitempty"`
	}
	last := ""
	for _, name := range s.names(in.QueueNamePrefix) {
		if name <= after {
			continue
		}
		if len(out.QueueUrls) == limit {
			// Pages, like AWS's, are asked for by MaxResults only.
			if in.MaxResults != nil {
				out.NextToken = fmt.Sprintf("page-%d", len(s.pages)+1)
				s.pages[out.NextToken] = last
			}
			break
		}
		out.QueueUrls, last = append(out.QueueUrls, URL(c.Endpoint, name)), name
	}
	return out, nil
}

// purgeEvery is how often a queue may be purged.
const purgeEvery = 60 * time.Second

func (s *Service) purgeQueue(_ *wire.Call, in *queueInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	now := s.clock.Now()
	if now.Sub(q.purged) < purgeEvery {
		return nil, wire.Errorf("PurgeQueueInProgress", "Only one PurgeQueue operation on %s is allowed every 60 seconds.", q.name)
	}
	q.purged = now
	q.messages = nil
	return nil, nil
}
