// Package sns plays Amazon SNS for the testbed: topics whose subscribers are
// e-mail addresses, and an outbox of the mails that went out.
package sns

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"cognito-backup/test/localaws/wire"
)

// Service is SNS in one Region. It is safe for concurrent use.
type Service struct {
	region string
	clock  *wire.Clock

	mu          sync.Mutex
	topics      map[string]*topic // by ARN
	outbox      []Mail
	onMail      func(Mail)
	unconfirmed bool // new subscriptions wait to be confirmed
}

type topic struct {
	arn           string
	attributes    map[string]string
	tags          map[string]string
	subscriptions []*subscription
}

type subscription struct {
	arn       string
	protocol  string
	endpoint  string
	confirmed bool
}

// Mail is one e-mail that SNS sent to one address.
type Mail struct {
	TopicArn     string
	To           string
	Subject      string
	Message      string
	Time         time.Time
	MessageId    string
	Confirmation bool // asks to confirm the subscription; everything else is a notification
}

// New makes SNS without topics. Subscriptions are confirmed at once, as if
// their owners had clicked the link, until RequireConfirmation.
func New(region string, clock *wire.Clock) *Service {
	return &Service{region: region, clock: clock, topics: map[string]*topic{}}
}

// Outbox returns the mails sent so far, in order.
func (s *Service) Outbox() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.outbox)
}

// OnMail sets a function that is called with each mail as it goes out, one at a
// time in the order of the outbox. It must not call the service.
func (s *Service) OnMail(f func(Mail)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onMail = f
}

// RequireConfirmation makes new e-mail subscriptions wait, as in AWS: the
// address gets a confirmation mail and nothing else until Confirm.
func (s *Service) RequireConfirmation() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unconfirmed = true
}

// Confirm confirms every subscription of an address and returns how many were
// waiting.
func (s *Service) Confirm(address string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, t := range s.topics {
		for _, sub := range t.subscriptions {
			if sub.endpoint == address && !sub.confirmed {
				sub.confirmed = true
				n++
			}
		}
	}
	return n
}

// ARN returns the ARN of a topic of this Region.
func (s *Service) ARN(name string) string {
	return fmt.Sprintf("arn:aws:sns:%s:%s:%s", s.region, wire.Account, name)
}

// Create creates a topic for the deployer and returns its ARN. Attributes are
// those of the API: DisplayName, KmsMasterKeyId, Policy and so on.
func (s *Service) Create(name string, attributes map[string]string) (arn string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.create(name, attributes, nil)
}

// Subscribe subscribes an address for the deployer.
func (s *Service) Subscribe(topicARN, protocol, endpoint string) (subscriptionARN string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub, err := s.add(topicARN, protocol, endpoint)
	if err != nil {
		return "", err
	}
	return sub.arn, nil
}

// SetPolicy sets a topic's policy (AWS::SNS::TopicPolicy).
func (s *Service) SetPolicy(topicARN string, policy json.RawMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[topicARN]
	if t == nil {
		return noTopic()
	}
	t.attributes["Policy"] = string(policy)
	return nil
}

// Permissions implements wire.Service. A topic with a key of the customer's own
// needs the key, too.
func (s *Service) Permissions(c *wire.Call) []wire.Permission {
	var input struct{ TopicArn, TargetArn, Name string }
	if err := c.Decode(&input); err != nil {
		return []wire.Permission{{Action: "sns:" + c.Operation, Resource: "*"}}
	}
	arn := cmp.Or(input.TopicArn, input.TargetArn)
	switch {
	case c.Operation == "CreateTopic":
		arn = s.ARN(input.Name)
	case arn == "": // a text message to a phone number
		arn = "*"
	}
	permissions := []wire.Permission{{Action: "sns:" + c.Operation, Resource: arn}}
	if c.Operation != "Publish" {
		return permissions
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.topics[arn]; t != nil {
		if key := t.attributes["KmsMasterKeyId"]; strings.HasPrefix(key, "arn:aws:kms:") && strings.Contains(key, ":key/") {
			permissions = append(permissions, wire.Permission{Action: "kms:GenerateDataKey", Resource: key}, wire.Permission{Action: "kms:Decrypt", Resource: key})
		}
	}
	return permissions
}

// Handle implements wire.Service.
func (s *Service) Handle(_ context.Context, c *wire.Call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c.Operation {
	case "CreateTopic":
		return handle(c, s.createTopic)
	case "Subscribe":
		return handle(c, s.subscribe)
	case "Publish":
		return handle(c, s.publish)
	case "ListSubscriptionsByTopic":
		return handle(c, s.listSubscriptionsByTopic)
	case "GetTopicAttributes":
		return handle(c, s.getTopicAttributes)
	}
	return nil, wire.Errorf("InvalidAction", "The testbed does not know %s", c.Operation)
}

func handle[In any](c *wire.Call, f func(*In) (any, error)) (any, error) {
	in := new(In)
	if err := c.Decode(in); err != nil {
		return nil, err
	}
	return f(in)
}

func noTopic() *wire.Error { return wire.Errorf("NotFoundException", "Topic does not exist") }

func invalid(format string, args ...any) *wire.Error {
	return wire.Errorf("InvalidParameterException", "Invalid parameter: "+format, args...)
}

// topic looks a topic up by its ARN. Callers hold the lock.
func (s *Service) topic(arn string) (*topic, error) {
	if strings.Count(arn, ":") != 5 || !strings.HasPrefix(arn, "arn:") {
		return nil, invalid("TopicArn Reason: An ARN must have at least 6 elements, not %d", strings.Count(arn, ":")+1)
	}
	if t := s.topics[arn]; t != nil {
		return t, nil
	}
	return nil, noTopic()
}

type createInput struct {
	Name       string
	Attributes map[string]string
	Tags       []struct{ Key, Value string }
}

func (s *Service) createTopic(in *createInput) (any, error) {
	tags := map[string]string{}
	for _, tag := range in.Tags {
		tags[tag.Key] = tag.Value
	}
	arn, err := s.create(in.Name, in.Attributes, tags)
	if err != nil {
		return nil, err
	}
	return map[string]string{"TopicArn": arn}, nil
}

// settable are the attributes a standard topic takes.
var settable = []string{"DataProtectionPolicy", "DeliveryPolicy", "DisplayName", "KmsMasterKeyId", "Policy", "SignatureVersion", "TracingConfig"}

func (s *Service) create(name string, attributes, tags map[string]string) (string, error) {
	if len(name) == 0 || len(name) > 256 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return "", invalid("Topic Name")
	}
	for key, value := range attributes {
		if !slices.Contains(settable, key) {
			return "", invalid("Attributes Reason: Unknown attribute %s", key)
		}
		if key == "Policy" && !json.Valid([]byte(value)) {
			return "", invalid("Attributes Reason: Policy statement must be valid JSON")
		}
	}
	arn := s.ARN(name)
	if t := s.topics[arn]; t != nil {
		for key, value := range attributes {
			if t.attributes[key] != value {
				return "", invalid("Attributes Reason: Topic already exists with different attributes")
			}
		}
		for key, value := range tags {
			if t.tags[key] != value {
				return "", invalid("Tags Reason: Topic already exists with different tags")
			}
		}
		return arn, nil
	}
	t := &topic{arn: arn, attributes: map[string]string{}, tags: tags}
	maps.Copy(t.attributes, attributes)
	s.topics[arn] = t
	return arn, nil
}

type subscribeInput struct {
	TopicArn, Protocol, Endpoint string
	ReturnSubscriptionArn        bool
}

func (s *Service) subscribe(in *subscribeInput) (any, error) {
	sub, err := s.add(in.TopicArn, in.Protocol, in.Endpoint)
	if err != nil {
		return nil, err
	}
	arn := sub.arn
	if !sub.confirmed && !in.ReturnSubscriptionArn {
		arn = "pending confirmation"
	}
	return map[string]string{"SubscriptionArn": arn}, nil
}

// add subscribes an address, or finds its subscription.
func (s *Service) add(topicARN, protocol, endpoint string) (*subscription, error) {
	t, err := s.topic(topicARN)
	if err != nil {
		return nil, err
	}
	switch protocol {
	case "email", "email-json":
		if local, domain, ok := strings.Cut(endpoint, "@"); !ok || local == "" || domain == "" || strings.ContainsAny(endpoint, " \t\r\n") {
			return nil, invalid("Email address")
		}
	case "application", "firehose", "http", "https", "lambda", "sms", "sqs":
		// Better refused than taken and never delivered.
		return nil, invalid("Protocol Reason: the testbed delivers to e-mail addresses only, not by %s", protocol)
	default:
		return nil, invalid("Does not support this protocol string: %s", protocol)
	}
	for _, sub := range t.subscriptions {
		if sub.protocol == protocol && sub.endpoint == endpoint {
			return sub, nil
		}
	}
	sub := &subscription{arn: t.arn + ":" + newID(), protocol: protocol, endpoint: endpoint, confirmed: !s.unconfirmed}
	t.subscriptions = append(t.subscriptions, sub)
	if !sub.confirmed {
		s.mail(Mail{TopicArn: t.arn, To: endpoint, Subject: "AWS Notification - Subscription Confirmation", MessageId: newID(), Confirmation: true,
			Message: "You have chosen to subscribe to the topic: " + t.arn + "\nTo confirm this subscription, click or visit the link below"})
	}
	return sub, nil
}

func (s *Service) mail(m Mail) {
	m.Time = s.clock.Now()
	s.outbox = append(s.outbox, m)
	if s.onMail != nil {
		s.onMail(m)
	}
}

type messageAttribute struct {
	DataType, StringValue string
	BinaryValue           []byte
}

type publishInput struct {
	TopicArn, TargetArn, PhoneNumber       string
	Message, MessageStructure              string
	Subject                                *string
	MessageAttributes                      map[string]messageAttribute
	MessageDeduplicationId, MessageGroupId string
}

// maxMessage is what a message and its attributes may take, in bytes.
const maxMessage = 256 << 10

func (s *Service) publish(in *publishInput) (any, error) {
	if in.PhoneNumber != "" {
		return nil, invalid("PhoneNumber Reason: the testbed sends no text messages")
	}
	arn := cmp.Or(in.TopicArn, in.TargetArn)
	if arn == "" {
		return nil, invalid("TopicArn or TargetArn Reason: no value for required parameter")
	}
	t, err := s.topic(arn)
	if err != nil {
		return nil, err
	}
	if in.Message == "" {
		return nil, invalid("Empty message")
	}
	size := len(in.Message)
	for name, a := range in.MessageAttributes {
		size += len(name) + len(a.DataType) + len(a.StringValue) + len(a.BinaryValue)
	}
	if size > maxMessage {
		return nil, invalid("Message too long")
	}
	if !utf8.ValidString(in.Message) {
		return nil, invalid("Message Reason: must be UTF-8 encoded")
	}
	if in.MessageDeduplicationId != "" {
		return nil, invalid("MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for this topic type")
	}
	subject := "AWS Notification Message"
	if in.Subject != nil {
		if !isSubject(*in.Subject) {
			return nil, invalid("Subject")
		}
		subject = *in.Subject
	}
	message := in.Message
	switch in.MessageStructure {
	case "":
	case "json":
		if message, err = forEmail(in.Message); err != nil {
			return nil, err
		}
	default:
		return nil, invalid("MessageStructure")
	}
	id := newID()
	for _, sub := range t.subscriptions {
		if sub.confirmed {
			s.mail(Mail{TopicArn: t.arn, To: sub.endpoint, Subject: subject, Message: message, MessageId: id})
		}
	}
	return map[string]string{"MessageId": id}, nil
}

// isSubject checks what the API reference says of subjects: "must be ASCII text
// that begins with a letter, number, or punctuation mark; must not include line
// breaks or control characters; and must be less than 100 characters long".
func isSubject(subject string) bool {
	if subject == "" || len(subject) >= 100 || subject[0] == ' ' {
		return false
	}
	return !strings.ContainsFunc(subject, func(r rune) bool { return r < ' ' || r > '~' })
}

// forEmail picks what e-mail subscribers get of a message by protocol.
func forEmail(message string) (string, error) {
	var texts map[string]any
	if err := json.Unmarshal([]byte(message), &texts); err != nil {
		return "", invalid("Message Structure - JSON message body failed to parse")
	}
	fallback, ok := texts["default"].(string)
	if !ok {
		return "", invalid("Message Structure - No default entry in JSON message body")
	}
	if text, ok := texts["email"].(string); ok {
		return text, nil
	}
	return fallback, nil
}

type listInput struct{ TopicArn, NextToken string }

// pageSize is how many subscriptions a page holds (API reference).
const pageSize = 100

func (s *Service) listSubscriptionsByTopic(in *listInput) (any, error) {
	t, err := s.topic(in.TopicArn)
	if err != nil {
		return nil, err
	}
	start := 0
	if in.NextToken != "" {
		if start, err = strconv.Atoi(in.NextToken); err != nil || start < 0 || start > len(t.subscriptions) {
			return nil, invalid("nextToken")
		}
	}
	end := min(start+pageSize, len(t.subscriptions))
	type entry struct{ SubscriptionArn, Owner, Protocol, Endpoint, TopicArn string }
	out := struct {
		Subscriptions []entry
		NextToken     string `json:",omitempty"`
	}{Subscriptions: []entry{}}
	for _, sub := range t.subscriptions[start:end] {
		arn := sub.arn
		if !sub.confirmed {
			arn = "PendingConfirmation"
		}
		out.Subscriptions = append(out.Subscriptions, entry{arn, wire.Account, sub.protocol, sub.endpoint, t.arn})
	}
	if end < len(t.subscriptions) {
		out.NextToken = strconv.Itoa(end)
	}
	return out, nil
}

type topicInput struct{ TopicArn string }

func (s *Service) getTopicAttributes(in *topicInput) (any, error) {
	t, err := s.topic(in.TopicArn)
	if err != nil {
		return nil, err
	}
	confirmed := 0
	for _, sub := range t.subscriptions {
		if sub.confirmed {
			confirmed++
		}
	}
	attributes := map[string]string{
		"TopicArn":               t.arn,
		"Owner":                  wire.Account,
		"SubscriptionsConfirmed": strconv.Itoa(confirmed),
		"SubscriptionsPending":   strconv.Itoa(len(t.subscriptions) - confirmed),
		"SubscriptionsDeleted":   "0",
		"DisplayName":            "",
	}
	maps.Copy(attributes, t.attributes)
	return map[string]any{"Attributes": attributes}, nil
}

func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
