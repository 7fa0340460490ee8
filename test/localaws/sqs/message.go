package sqs

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"cognito-backup/test/localaws/wire"
)

// queue is one standard queue. The service's lock guards it.
type queue struct {
	name              string
	attributes        map[string]string
	tags              map[string]string
	created, modified time.Time
	purged            time.Time
	messages          []*message // oldest first; deleted ones are gone
	bodies            []string
	counters          Counters
	changed           chan struct{} // closed and replaced when a message may have become visible
}

// message is one message in a queue, or one copy of it.
type message struct {
	id         string
	copy       int // tells copies of one message apart
	body       string
	attributes map[string]attribute
	trace      string // AWSTraceHeader
	source     string // ARN of the queue it was moved here from

	sent          time.Time
	visibleAt     time.Time
	delayed       bool // not yet received and visibleAt is a delay's end
	firstReceived time.Time
	lastReceived  time.Time
	receives      int
	deliveries    int    // number in the receipt handle; receives without resets
	undeleted     bool   // came back once already
	group         string // MessageGroupId, kept for fair queues
}

// attribute is a message attribute.
type attribute struct {
	StringValue *string `json:",omitempty"`
	BinaryValue []byte  `json:",omitempty"`
	DataType    string
}

func (q *queue) number(name string) int {
	n, err := strconv.Atoi(q.attributes[name])
	if err != nil { // checked when it was set
		panic(err)
	}
	return n
}

func (q *queue) seconds(name string) time.Duration {
	return time.Duration(q.number(name)) * time.Second
}

// wake lets long polls look again.
func (q *queue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *queue) count(now time.Time) (visible, inFlight, delayed int) {
	for _, m := range q.messages {
		switch {
		case !m.visibleAt.After(now):
			visible++
		case m.delayed:
			delayed++
		default:
			inFlight++
		}
	}
	return visible, inFlight, delayed
}

// sweep drops what has outlived the retention period.
func (s *Service) sweep(q *queue) {
	oldest := s.clock.Now().Add(-q.seconds("MessageRetentionPeriod"))
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool { return m.sent.Before(oldest) })
}

type sendEntry struct {
	Id                      string
	MessageBody             string
	DelaySeconds            *int
	MessageAttributes       map[string]attribute
	MessageSystemAttributes map[string]attribute
	MessageDeduplicationId  string
	MessageGroupId          string
}

type sendInput struct {
	QueueUrl string
	sendEntry
}

type sendOutput struct {
	Id                           string `json:",omitempty"`
	MessageId                    string
	MD5OfMessageBody             string
	MD5OfMessageAttributes       string `json:",omitempty"`
	MD5OfMessageSystemAttributes string `json:",omitempty"`
}

func (s *Service) sendMessage(_ *wire.Call, in *sendInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	return s.send(q, in.sendEntry)
}

func (s *Service) send(q *queue, e sendEntry) (*sendOutput, error) {
	if err := s.checkEntry(q, e); err != nil {
		return nil, err
	}
	delay := q.seconds("DelaySeconds")
	if e.DelaySeconds != nil {
		delay = time.Duration(*e.DelaySeconds) * time.Second
	}
	now := s.clock.Now()
	m := message{id: newID(), body: e.MessageBody, attributes: e.MessageAttributes, group: e.MessageGroupId,
		sent: now, visibleAt: now.Add(delay), delayed: delay > 0}
	if trace, ok := e.MessageSystemAttributes["AWSTraceHeader"]; ok && trace.StringValue != nil {
		m.trace = *trace.StringValue
	}
	q.bodies = append(q.bodies, e.MessageBody)
	q.counters.Sent++
	q.messages = append(q.messages, &m)
	if s.faults.Twice {
		again := m
		again.copy = 1
		s.injected.Twice++
		q.messages = append(q.messages, &again)
	}
	q.wake()
	return &sendOutput{Id: e.Id, MessageId: m.id, MD5OfMessageBody: md5Hex([]byte(e.MessageBody)),
		MD5OfMessageAttributes: md5OfAttributes(e.MessageAttributes), MD5OfMessageSystemAttributes: md5OfAttributes(e.MessageSystemAttributes)}, nil
}

func (s *Service) checkEntry(q *queue, e sendEntry) error {
	if e.MessageBody == "" {
		return wire.Errorf("MissingParameter", "The request must contain the parameter MessageBody.")
	}
	for _, r := range e.MessageBody {
		// #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return wire.Errorf("InvalidMessageContents", "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.")
		}
	}
	if limit := q.number("MaximumMessageSize"); e.size() > limit {
		return wire.Errorf("InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", limit)
	}
	if e.DelaySeconds != nil && (*e.DelaySeconds < 0 || *e.DelaySeconds > 900) {
		return invalid(*e.DelaySeconds, "DelaySeconds", "DelaySeconds must be >= 0 and <= 900.")
	}
	if e.MessageDeduplicationId != "" {
		return invalid(e.MessageDeduplicationId, "MessageDeduplicationId", "The request include parameter that is not valid for this queue type.")
	}
	if len(e.MessageAttributes) > 10 {
		return wire.Errorf("InvalidParameterValue", "Number of message attributes [%d] exceeds the allowed maximum [10].", len(e.MessageAttributes))
	}
	for name, a := range e.MessageAttributes {
		kind, _, _ := strings.Cut(a.DataType, ".")
		switch {
		case kind != "String" && kind != "Number" && kind != "Binary":
			return wire.Errorf("InvalidParameterValue", "The message attribute '%s' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String.", name)
		case kind == "Binary" && len(a.BinaryValue) == 0, kind != "Binary" && (a.StringValue == nil || *a.StringValue == ""):
			return wire.Errorf("InvalidParameterValue", "The message attribute '%s' must contain a non-empty message attribute value for message attribute type '%s'.", name, a.DataType)
		}
	}
	return nil
}

func (e sendEntry) size() int {
	size := len(e.MessageBody)
	for name, a := range e.MessageAttributes {
		size += len(name) + len(a.DataType) + len(a.BinaryValue)
		if a.StringValue != nil {
			size += len(*a.StringValue)
		}
	}
	return size
}

type batchError struct {
	Id          string
	SenderFault bool
	Code        string
	Message     string `json:",omitempty"`
}

// batch answers for each entry by itself; both lists are always there.
type batch struct {
	Successful []any
	Failed     []batchError
}

// eachEntry checks a batch as a whole and carries out its entries one by one.
func eachEntry[E any](s *Service, kind string, entries []E, id func(E) string, size func(E) int, f func(E) (any, error)) (any, error) {
	if len(entries) == 0 {
		return nil, wire.Errorf("EmptyBatchRequest", "There should be at least one %s in the request.", kind)
	}
	if len(entries) > maxBatch {
		return nil, wire.Errorf("TooManyEntriesInBatchRequest", "Maximum number of entries per request are %d. You have sent %d.", maxBatch, len(entries))
	}
	seen, bytes := map[string]bool{}, 0
	for _, e := range entries {
		if !isName(id(e)) {
			return nil, wire.Errorf("InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.")
		}
		if seen[id(e)] {
			return nil, wire.Errorf("BatchEntryIdsNotDistinct", "Id %s repeated.", id(e))
		}
		seen[id(e)] = true
		bytes += size(e)
	}
	if bytes > maxMessage {
		return nil, wire.Errorf("BatchRequestTooLong", "Batch requests cannot be longer than %d bytes. You have sent %d bytes.", maxMessage, bytes)
	}
	out := batch{Successful: []any{}, Failed: []batchError{}}
	for _, e := range entries {
		if every(&s.counted.entries, s.faults.FailEntries) {
			s.injected.FailEntries++
			out.Failed = append(out.Failed, batchError{Id: id(e), Code: "InternalError", Message: "We encountered an internal error. Please try again."})
			continue
		}
		result, err := f(e)
		if err != nil {
			apiError, ok := err.(*wire.Error)
			if !ok {
				return nil, err
			}
			out.Failed = append(out.Failed, batchError{Id: id(e), SenderFault: true, Code: apiError.Code, Message: apiError.Message})
			continue
		}
		out.Successful = append(out.Successful, result)
	}
	return out, nil
}

// every counts and is true each n-th time, and never when n is 0.
func every(count *int, n int) bool {
	if n == 0 {
		return false
	}
	*count++
	return *count%n == 0
}

type sendBatchInput struct {
	QueueUrl string
	Entries  []sendEntry
}

func (s *Service) sendMessageBatch(_ *wire.Call, in *sendBatchInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	return eachEntry(s, "SendMessageBatchRequestEntry", in.Entries, func(e sendEntry) string { return e.Id }, sendEntry.size,
		func(e sendEntry) (any, error) { return s.send(q, e) })
}

type receiveInput struct {
	QueueUrl                    string
	AttributeNames              []string
	MessageSystemAttributeNames []string
	MessageAttributeNames       []string
	MaxNumberOfMessages         *int
	VisibilityTimeout           *int
	WaitTimeSeconds             *int
}

type received struct {
	MessageId              string
	ReceiptHandle          string
	MD5OfBody              string
	Body                   string
	Attributes             map[string]string    `json:",omitempty"`
	MD5OfMessageAttributes string               `json:",omitempty"`
	MessageAttributes      map[string]attribute `json:",omitempty"`
}

// pollEvery is how often a long poll looks whether a message has become visible
// by the mere passing of time.
const pollEvery = 50 * time.Millisecond

func (s *Service) receiveMessage(ctx context.Context, in *receiveInput) (any, error) {
	limit := 1
	if in.MaxNumberOfMessages != nil {
		limit = *in.MaxNumberOfMessages
	}
	if limit < 1 || limit > maxBatch {
		return nil, invalid(limit, "MaxNumberOfMessages", "Must be between 1 and 10, if provided.")
	}
	if w := in.WaitTimeSeconds; w != nil && (*w < 0 || *w > 20) {
		return nil, invalid(*w, "WaitTimeSeconds", "Must be >= 0 and <= 20, if provided.")
	}
	if v := in.VisibilityTimeout; v != nil && (*v < 0 || *v > maxVisibility) {
		return nil, invalid(*v, "VisibilityTimeout", fmt.Sprintf("Must be >= 0 and <= %d, if provided.", maxVisibility))
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var end <-chan time.Time
	for {
		messages, changed, wait, err := s.receive(in, limit)
		if err != nil || len(messages) > 0 || wait == 0 {
			return answer(messages), err
		}
		if end == nil {
			timer := time.NewTimer(wait) // real time: what polls is not sped up either
			defer timer.Stop()
			end = timer.C
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-end:
			return answer(nil), nil
		case <-ctx.Done():
			return answer(nil), nil
		}
	}
}

// answer leaves an empty list out, as AWS does.
func answer(messages []received) any {
	if len(messages) == 0 {
		return struct{}{}
	}
	return map[string]any{"Messages": messages}
}

// receive takes what is visible now. It also returns a channel that closes when
// that may have changed, and how long the queue or the caller would wait.
func (s *Service) receive(in *receiveInput, limit int) ([]received, <-chan struct{}, time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, nil, 0, err
	}
	wait := q.seconds("ReceiveMessageWaitTimeSeconds")
	if in.WaitTimeSeconds != nil {
		wait = time.Duration(*in.WaitTimeSeconds) * time.Second
	}
	s.sweep(q)
	now := s.clock.Now()
	candidates := s.candidates(q, now)
	// A long poll asks all servers, so only a short one misses messages.
	if len(candidates) > 0 && wait == 0 && every(&s.counted.receives, s.faults.EmptyReceives) {
		candidates = nil
		s.injected.EmptyReceives++
	}
	if _, inFlight, _ := q.count(now); inFlight >= maxInFlight {
		if wait == 0 {
			return nil, nil, 0, wire.Errorf("OverLimit", "The maximum number of in flight messages for the queue has been reached.")
		}
		candidates = nil
	}
	visibility := q.number("VisibilityTimeout")
	if in.VisibilityTimeout != nil {
		visibility = *in.VisibilityTimeout
	}
	var messages []received
	for _, m := range candidates {
		if len(messages) == limit {
			break
		}
		q.counters.Received++
		if m.deliveries > 0 || m.copy > 0 {
			q.counters.Redelivered++
		}
		m.receives++
		m.deliveries++
		m.delayed = false
		m.lastReceived = now
		if m.firstReceived.IsZero() {
			m.firstReceived = now
		}
		m.visibleAt = now.Add(s.visibility(visibility))
		messages = append(messages, m.received(in))
	}
	if len(messages) == 0 {
		q.counters.Empty++
	}
	return messages, q.changed, wait, nil
}

// visibility bounds a visibility timeout in seconds by the test's setting.
func (s *Service) visibility(seconds int) time.Duration {
	timeout := time.Duration(seconds) * time.Second
	if bound := s.faults.MaxVisibility; bound > 0 && timeout > bound {
		s.injected.MaxVisibility++
		return bound
	}
	return timeout
}

// candidates returns the visible messages in the order of delivery, after
// moving those that have been received often enough to the dead-letter queue.
func (s *Service) candidates(q *queue, now time.Time) []*message {
	policy, err := parseRedrive(q.attributes["RedrivePolicy"])
	if err != nil { // checked when it was set
		panic(err)
	}
	target := s.byARN(policy.DeadLetterTargetArn)
	var visible, kept []*message
	for _, m := range q.messages {
		if !m.visibleAt.After(now) {
			if target != nil && m.receives >= policy.max {
				// The time of sending is kept: retention goes on (SQS developer guide, dead-letter queues).
				m.source, m.delayed = s.ARN(q.name), false
				target.messages = append(target.messages, m)
				target.bodies = append(target.bodies, m.body)
				target.wake()
				q.counters.DeadLetters++
				continue
			}
			visible = append(visible, m)
		}
		kept = append(kept, m)
	}
	q.messages = kept
	if s.faults.Shuffle && len(visible) > 1 {
		s.injected.Shuffle++
		mathrand.Shuffle(len(visible), func(i, j int) { visible[i], visible[j] = visible[j], visible[i] })
	}
	return visible
}

func (m *message) received(in *receiveInput) received {
	all := map[string]string{
		"SenderId":                         "AIDATESTBED",
		"SentTimestamp":                    millis(m.sent),
		"ApproximateReceiveCount":          strconv.Itoa(m.receives),
		"ApproximateFirstReceiveTimestamp": millis(m.firstReceived),
	}
	for name, value := range map[string]string{"AWSTraceHeader": m.trace, "DeadLetterQueueSourceArn": m.source, "MessageGroupId": m.group} {
		if value != "" {
			all[name] = value
		}
	}
	names := append(slices.Clip(in.MessageSystemAttributeNames), in.AttributeNames...)
	r := received{MessageId: m.id, ReceiptHandle: m.handle(), MD5OfBody: md5Hex([]byte(m.body)), Body: m.body,
		Attributes: map[string]string{}, MessageAttributes: map[string]attribute{}}
	for name, value := range all {
		if slices.Contains(names, "All") || slices.Contains(names, name) {
			r.Attributes[name] = value
		}
	}
	for name, a := range m.attributes {
		if slices.ContainsFunc(in.MessageAttributeNames, func(want string) bool {
			prefix, wild := strings.CutSuffix(want, ".*")
			return want == "All" || want == name || wild && strings.HasPrefix(name, prefix)
		}) {
			r.MessageAttributes[name] = a
		}
	}
	r.MD5OfMessageAttributes = md5OfAttributes(r.MessageAttributes)
	return r
}

// handle is the receipt handle of the latest delivery.
func (m *message) handle() string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s %d %d", m.id, m.copy, m.deliveries))
}

// find looks the message of a receipt handle up. The message is nil when it is
// gone, or was delivered again since: such a handle is valid and stale.
func (q *queue) find(handle string) (*message, error) {
	var id string
	var number, delivery int
	raw, err := base64.StdEncoding.DecodeString(handle)
	if err == nil {
		_, err = fmt.Sscanf(string(raw), "%s %d %d", &id, &number, &delivery)
	}
	if err != nil {
		return nil, wire.Errorf("ReceiptHandleIsInvalid", "The input receipt handle \"%s\" is not a valid receipt handle.", handle)
	}
	for _, m := range q.messages {
		if m.id == id && m.copy == number && m.deliveries == delivery {
			return m, nil
		}
	}
	return nil, nil
}

type handleEntry struct {
	Id                string
	ReceiptHandle     string
	VisibilityTimeout *int
}

type handleInput struct {
	QueueUrl string
	handleEntry
}

type handleBatchInput struct {
	QueueUrl string
	Entries  []handleEntry
}

func (e handleEntry) id() string { return e.Id }

func (e handleEntry) size() int { return 0 }

func (s *Service) deleteMessage(_ *wire.Call, in *handleInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	return nil, s.delete(q, in.ReceiptHandle)
}

// delete removes a message. A stale handle succeeds and deletes nothing, which
// is how work done twice goes unnoticed.
func (s *Service) delete(q *queue, handle string) error {
	m, err := q.find(handle)
	if err != nil || m == nil {
		return err
	}
	q.counters.Deleted++
	if !m.undeleted && every(&s.counted.deletes, s.faults.Undelete) {
		m.undeleted = true
		s.injected.Undelete++
		m.visibleAt = s.clock.Now()
		q.wake()
		return nil
	}
	q.messages = slices.DeleteFunc(q.messages, func(other *message) bool { return other == m })
	return nil
}

func (s *Service) deleteMessageBatch(_ *wire.Call, in *handleBatchInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	return eachEntry(s, "DeleteMessageBatchRequestEntry", in.Entries, handleEntry.id, handleEntry.size, func(e handleEntry) (any, error) {
		return map[string]string{"Id": e.Id}, s.delete(q, e.ReceiptHandle)
	})
}

func (s *Service) changeMessageVisibility(_ *wire.Call, in *handleInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	return nil, s.changeVisibility(q, in.handleEntry)
}

func (s *Service) changeVisibility(q *queue, e handleEntry) error {
	seconds := 0
	if e.VisibilityTimeout != nil {
		seconds = *e.VisibilityTimeout
	}
	if seconds < 0 || seconds > maxVisibility {
		return invalid(seconds, "VisibilityTimeout", fmt.Sprintf("VisibilityTimeout must be an integer between 0 and %d", maxVisibility))
	}
	m, err := q.find(e.ReceiptHandle)
	if err != nil {
		return err
	}
	if m == nil {
		return invalid(e.ReceiptHandle, "ReceiptHandle", "Message does not exist or is not available for visibility timeout change.")
	}
	now := s.clock.Now()
	if !m.visibleAt.After(now) {
		return wire.Errorf("MessageNotInflight", "The specified message isn't in flight.")
	}
	if now.Add(time.Duration(seconds) * time.Second).After(m.lastReceived.Add(maxVisibility * time.Second)) {
		return invalid(seconds, "VisibilityTimeout", "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]")
	}
	m.visibleAt = now.Add(s.visibility(seconds))
	q.wake()
	return nil
}

func (s *Service) changeMessageVisibilityBatch(_ *wire.Call, in *handleBatchInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.queue(in.QueueUrl)
	if err != nil {
		return nil, err
	}
	return eachEntry(s, "ChangeMessageVisibilityBatchRequestEntry", in.Entries, handleEntry.id, handleEntry.size, func(e handleEntry) (any, error) {
		return map[string]string{"Id": e.Id}, s.changeVisibility(q, e)
	})
}

type moveInput struct{ SourceArn, DestinationArn string }

// startMessageMoveTask moves what is in a dead-letter queue back to where it
// came from, or elsewhere, all at once. Moved messages are new ones: their ids,
// times and receive counts start over.
func (s *Service) startMessageMoveTask(_ *wire.Call, in *moveInput) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	source := s.byARN(in.SourceArn)
	if source == nil {
		return nil, wire.Errorf("ResourceNotFoundException", "The resource that you specified for the SourceArn parameter doesn't exist.")
	}
	isDeadLetterQueue := false
	for _, q := range s.queues {
		isDeadLetterQueue = isDeadLetterQueue || strings.Contains(q.attributes["RedrivePolicy"], `"`+s.ARN(source.name)+`"`)
	}
	if !isDeadLetterQueue {
		return nil, wire.Errorf("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
	}
	s.sweep(source)
	now := s.clock.Now()
	var kept []*message
	for _, m := range source.messages {
		to := cmp.Or(in.DestinationArn, m.source)
		target := s.byARN(to)
		if target == nil || target == source || m.visibleAt.After(now) {
			kept = append(kept, m)
			continue
		}
		target.messages = append(target.messages, &message{id: newID(), body: m.body, attributes: m.attributes, trace: m.trace, group: m.group, sent: now, visibleAt: now})
		target.bodies = append(target.bodies, m.body)
		target.counters.Sent++
		target.wake()
	}
	source.messages = kept
	return map[string]string{"TaskHandle": base64.StdEncoding.EncodeToString([]byte(newID() + " " + in.SourceArn))}, nil
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func md5Hex(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

// md5OfAttributes digests message attributes as the SQS developer guide says:
// in order of their names, each name, type and value with its length before it,
// and one byte that tells text from binary.
func md5OfAttributes(attributes map[string]attribute) string {
	if len(attributes) == 0 {
		return ""
	}
	names := make([]string, 0, len(attributes))
	for name := range attributes {
		names = append(names, name)
	}
	slices.Sort(names)
	var b []byte
	add := func(v []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	for _, name := range names {
		a := attributes[name]
		add([]byte(name))
		add([]byte(a.DataType))
		if strings.HasPrefix(a.DataType, "Binary") {
			b = append(b, 2)
			add(a.BinaryValue)
			continue
		}
		b = append(b, 1)
		if a.StringValue != nil {
			add([]byte(*a.StringValue))
		}
	}
	return md5Hex(b)
}
