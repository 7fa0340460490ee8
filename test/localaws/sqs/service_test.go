package sqs_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"cognito-backup/test/localaws/model/modeltest"
	"cognito-backup/test/localaws/sqs"
	"cognito-backup/test/localaws/wire"
)

const region = "eu-west-1"

// bench is SQS behind HTTP, the SDK's client, and a clock that can jump.
type bench struct {
	*testing.T
	ctx     context.Context
	service *sqs.Service
	client  *sdk.Client
	offset  time.Duration
}

func start(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, ctx: context.Background()}
	b.service = sqs.New(region, &wire.Clock{Offset: func() time.Duration { return b.offset }})
	b.client = sdk.New(sdk.Options{
		Region:           region,
		BaseEndpoint:     aws.String(modeltest.Serve(t, "sqs", region, b.service)),
		Credentials:      credentials.NewStaticCredentialsProvider("AKID", "SECRET", ""),
		RetryMaxAttempts: 1,
	})
	return b
}

func (b *bench) create(name string, attributes map[string]string) *string {
	b.Helper()
	out, err := b.client.CreateQueue(b.ctx, &sdk.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		b.Fatal(err)
	}
	return out.QueueUrl
}

func (b *bench) send(queue *string, bodies ...string) {
	b.Helper()
	for _, body := range bodies {
		if _, err := b.client.SendMessage(b.ctx, &sdk.SendMessageInput{QueueUrl: queue, MessageBody: &body}); err != nil {
			b.Fatal(err)
		}
	}
}

// receive takes up to ten messages without waiting.
func (b *bench) receive(queue *string) []types.Message {
	b.Helper()
	out, err := b.client.ReceiveMessage(b.ctx, &sdk.ReceiveMessageInput{QueueUrl: queue, MaxNumberOfMessages: 10,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"}})
	if err != nil {
		b.Fatal(err)
	}
	return out.Messages
}

func (b *bench) remove(queue, handle *string) {
	b.Helper()
	if _, err := b.client.DeleteMessage(b.ctx, &sdk.DeleteMessageInput{QueueUrl: queue, ReceiptHandle: handle}); err != nil {
		b.Fatal(err)
	}
}

func bodies(messages []types.Message) string {
	var list []string
	for _, m := range messages {
		list = append(list, *m.Body)
	}
	return strings.Join(list, " ")
}

// refused checks the code an SDK user sees: for SQS the old query protocol's,
// where it had one.
func (b *bench) refused(err error, code, message string) {
	b.Helper()
	var apiError smithy.APIError
	if !errors.As(err, &apiError) || apiError.ErrorCode() != code || !strings.Contains(apiError.ErrorMessage(), message) {
		b.Errorf("got %v, want %s: %s", err, code, message)
	}
}

func TestVisibilityTimeout(t *testing.T) {
	b := start(t)
	q := b.create("q", map[string]string{"VisibilityTimeout": "60"})
	b.send(q, "a", "b")
	first := b.receive(q)
	if got := bodies(first); got != "a b" {
		t.Fatalf("received %q", got)
	}
	if got := b.receive(q); len(got) != 0 {
		t.Fatalf("messages in flight are received: %s", bodies(got))
	}
	b.remove(q, first[0].ReceiptHandle)
	b.offset += 61 * time.Second
	second := b.receive(q)
	if got := bodies(second); got != "b" {
		t.Fatalf("after the time-out %q is received, want b", got)
	}
	if *second[0].MessageId != *first[1].MessageId || *second[0].ReceiptHandle == *first[1].ReceiptHandle {
		t.Error("a redelivery has the same id and another receipt handle")
	}
	if got := second[0].Attributes; got["ApproximateReceiveCount"] != "2" || got["SentTimestamp"] == "" || got["ApproximateFirstReceiveTimestamp"] == "" {
		t.Errorf("attributes %v", got)
	}
	b.remove(q, first[1].ReceiptHandle) // stale: succeeds, deletes nothing
	if c := b.service.Counters("q"); c.InFlight != 1 {
		t.Errorf("a stale receipt handle deleted the message: %+v", c)
	}
	b.remove(q, second[0].ReceiptHandle)
	b.remove(q, second[0].ReceiptHandle)
	want := sqs.Counters{Sent: 2, Received: 3, Redelivered: 1, Deleted: 2, Empty: 1}
	if c := b.service.Counters("q"); c != want {
		t.Errorf("counters %+v, want %+v", c, want)
	}
	if got := b.service.Bodies("q"); strings.Join(got, " ") != "a b" {
		t.Errorf("bodies ever sent: %q", got)
	}
	_, err := b.client.DeleteMessage(b.ctx, &sdk.DeleteMessageInput{QueueUrl: q, ReceiptHandle: aws.String("nonsense")})
	b.refused(err, "ReceiptHandleIsInvalid", "not a valid receipt handle")
}

func TestChangeMessageVisibility(t *testing.T) {
	b := start(t)
	q := b.create("q", nil)
	b.send(q, "a")
	m := b.receive(q)[0]
	change := func(seconds int32) error {
		_, err := b.client.ChangeMessageVisibility(b.ctx, &sdk.ChangeMessageVisibilityInput{QueueUrl: q, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: seconds})
		return err
	}
	if err := change(300); err != nil {
		t.Fatal(err)
	}
	b.offset += 31 * time.Second
	if got := b.receive(q); len(got) != 0 {
		t.Error("the message is visible at its first time-out though it was prolonged")
	}
	b.refused(change(43_200), "InvalidParameterValue", "beyond the limit")
	b.refused(change(43_201), "InvalidParameterValue", "between 0 and 43200")
	if err := change(0); err != nil {
		t.Fatal(err)
	}
	b.refused(change(10), "AWS.SimpleQueueService.MessageNotInflight", "")
	if got := bodies(b.receive(q)); got != "a" {
		t.Errorf("a message given back is not received: %q", got)
	}
	b.refused(change(10), "InvalidParameterValue", "not available for visibility timeout change")

	b.service.ExpireVisibility("q")
	messages := b.receive(q)
	out, err := b.client.ChangeMessageVisibilityBatch(b.ctx, &sdk.ChangeMessageVisibilityBatchInput{QueueUrl: q, Entries: []types.ChangeMessageVisibilityBatchRequestEntry{
		{Id: aws.String("1"), ReceiptHandle: messages[0].ReceiptHandle},
		{Id: aws.String("2"), ReceiptHandle: m.ReceiptHandle},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Successful) != 1 || len(out.Failed) != 1 || *out.Failed[0].Id != "2" || !out.Failed[0].SenderFault {
		t.Errorf("batch %+v", out)
	}
}

func TestDeadLetterQueue(t *testing.T) {
	b := start(t)
	dead := b.create("dead", nil)
	policy := `{"deadLetterTargetArn":"` + b.service.ARN("dead") + `","maxReceiveCount":"2"}`
	q := b.create("q", map[string]string{"RedrivePolicy": policy, "VisibilityTimeout": "0"})
	b.send(q, "poison")
	var id string
	for range 2 {
		messages := b.receive(q)
		if len(messages) != 1 {
			t.Fatalf("received %d messages", len(messages))
		}
		id = *messages[0].MessageId
	}
	if got := b.receive(q); len(got) != 0 {
		t.Fatal("a message is received more often than maxReceiveCount")
	}
	messages := b.receive(dead)
	if len(messages) != 1 || *messages[0].MessageId != id || messages[0].Attributes["DeadLetterQueueSourceArn"] != b.service.ARN("q") {
		t.Fatalf("dead letters %+v", messages)
	}
	if c := b.service.Counters("q"); c.DeadLetters != 1 || c.Visible+c.InFlight != 0 {
		t.Errorf("counters %+v", c)
	}

	b.offset += 31 * time.Second
	if _, err := b.client.StartMessageMoveTask(b.ctx, &sdk.StartMessageMoveTaskInput{SourceArn: aws.String(b.service.ARN("dead"))}); err != nil {
		t.Fatal(err)
	}
	messages = b.receive(q)
	if len(messages) != 1 || *messages[0].Body != "poison" || *messages[0].MessageId == id || messages[0].Attributes["ApproximateReceiveCount"] != "1" {
		t.Errorf("a message moved back starts over as a new one, but: %+v", messages)
	}
	_, err := b.client.StartMessageMoveTask(b.ctx, &sdk.StartMessageMoveTaskInput{SourceArn: aws.String(b.service.ARN("q"))})
	b.refused(err, "InvalidParameterValue", "Dead Letter Queue")
	_, err = b.client.CreateQueue(b.ctx, &sdk.CreateQueueInput{QueueName: aws.String("q2"), Attributes: map[string]string{"RedrivePolicy": strings.Replace(policy, ":dead", ":gone", 1)}})
	b.refused(err, "InvalidParameterValue", "Dead letter target does not exist")
	_, err = b.client.CreateQueue(b.ctx, &sdk.CreateQueueInput{QueueName: aws.String("q2"), Attributes: map[string]string{"RedrivePolicy": strings.Replace(policy, `"2"`, `0`, 1)}})
	b.refused(err, "InvalidAttributeValue", "maxReceiveCount")
}

func TestDelayAndRetention(t *testing.T) {
	b := start(t)
	q := b.create("q", map[string]string{"DelaySeconds": "5", "MessageRetentionPeriod": "60"})
	b.send(q, "late")
	if _, err := b.client.SendMessage(b.ctx, &sdk.SendMessageInput{QueueUrl: q, MessageBody: aws.String("later"), DelaySeconds: 20}); err != nil {
		t.Fatal(err)
	}
	if c := b.service.Counters("q"); c.Delayed != 2 {
		t.Errorf("counters %+v", c)
	}
	for _, step := range []struct {
		wait time.Duration
		want string
	}{{0, ""}, {6 * time.Second, "late"}, {15 * time.Second, "later"}, {45 * time.Second, ""}} {
		b.offset += step.wait
		if got := bodies(b.receive(q)); got != step.want {
			t.Errorf("after %s received %q, want %q", b.offset, got, step.want)
		}
	}
	if c := b.service.Counters("q"); c.Visible+c.InFlight+c.Delayed != 0 {
		t.Errorf("messages outlive the retention period: %+v", c)
	}
}

func TestLongPolling(t *testing.T) {
	b := start(t)
	q := b.create("q", nil)
	poll := func(seconds int32) (string, time.Duration) {
		began := time.Now()
		out, err := b.client.ReceiveMessage(b.ctx, &sdk.ReceiveMessageInput{QueueUrl: q, WaitTimeSeconds: seconds})
		if err != nil {
			t.Fatal(err)
		}
		return bodies(out.Messages), time.Since(began)
	}
	if got, took := poll(1); got != "" || took < time.Second || took > 3*time.Second {
		t.Errorf("an empty queue answers %q after %s, want nothing after 1 s", got, took)
	}
	go func() {
		time.Sleep(200 * time.Millisecond)
		_, _ = b.client.SendMessage(b.ctx, &sdk.SendMessageInput{QueueUrl: q, MessageBody: aws.String("a")}) // the poll below tells
	}()
	if got, took := poll(20); got != "a" || took < 100*time.Millisecond || took > 5*time.Second {
		t.Errorf("a message that arrives answers %q after %s", got, took)
	}
	b.service.SetFaults(sqs.Faults{MaxVisibility: 300 * time.Millisecond})
	b.service.ExpireVisibility("q")
	if got := bodies(b.receive(q)); got != "a" {
		t.Fatalf("received %q", got)
	}
	if got, took := poll(20); got != "a" || took > 5*time.Second {
		t.Errorf("a message that becomes visible again answers %q after %s", got, took)
	}
	ctx, cancel := context.WithTimeout(b.ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := b.client.ReceiveMessage(ctx, &sdk.ReceiveMessageInput{QueueUrl: q, WaitTimeSeconds: 20}); err == nil {
		t.Error("a cancelled poll answers")
	}
}

func TestBatches(t *testing.T) {
	b := start(t)
	q := b.create("q", nil)
	entries := func(ids ...string) []types.SendMessageBatchRequestEntry {
		var list []types.SendMessageBatchRequestEntry
		for _, id := range ids {
			list = append(list, types.SendMessageBatchRequestEntry{Id: aws.String(id), MessageBody: aws.String("body " + id)})
		}
		return list
	}
	send := func(list []types.SendMessageBatchRequestEntry) (*sdk.SendMessageBatchOutput, error) {
		return b.client.SendMessageBatch(b.ctx, &sdk.SendMessageBatchInput{QueueUrl: q, Entries: list})
	}
	bad := entries("1", "2", "3")
	bad[1].MessageBody = aws.String("control \x01")
	bad[2].DelaySeconds = 901
	out, err := send(bad)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Successful) != 1 || *out.Successful[0].Id != "1" || len(out.Failed) != 2 {
		t.Fatalf("batch %+v", out)
	}
	if f := out.Failed[0]; *f.Id != "2" || *f.Code != "InvalidMessageContents" || !f.SenderFault {
		t.Errorf("failed %+v", f)
	}
	ids := make([]string, 11)
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	_, err = send(entries(ids...))
	b.refused(err, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10. You have sent 11.")
	_, err = send([]types.SendMessageBatchRequestEntry{})
	b.refused(err, "AWS.SimpleQueueService.EmptyBatchRequest", "at least one SendMessageBatchRequestEntry")
	_, err = send(entries("1", "1"))
	b.refused(err, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "Id 1 repeated.")
	_, err = send(entries("a b"))
	b.refused(err, "AWS.SimpleQueueService.InvalidBatchEntryId", "alphanumeric")
	large := entries("1", "2")
	for i := range large {
		large[i].MessageBody = aws.String(strings.Repeat("x", 1<<19+1))
	}
	_, err = send(large)
	b.refused(err, "AWS.SimpleQueueService.BatchRequestTooLong", "cannot be longer than 1048576 bytes. You have sent 1048578 bytes.")

	if out, err := send(entries(ids[:10]...)); err != nil || len(out.Successful) != 10 {
		t.Fatalf("a full batch: %+v, %v", out, err)
	}
	var remove []types.DeleteMessageBatchRequestEntry
	for i, m := range b.receive(q) {
		remove = append(remove, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle})
	}
	remove[3].ReceiptHandle = aws.String("nonsense")
	deleted, err := b.client.DeleteMessageBatch(b.ctx, &sdk.DeleteMessageBatchInput{QueueUrl: q, Entries: remove})
	if err != nil {
		t.Fatal(err)
	}
	if len(deleted.Successful) != 9 || len(deleted.Failed) != 1 || *deleted.Failed[0].Id != "3" || *deleted.Failed[0].Code != "ReceiptHandleIsInvalid" {
		t.Errorf("deleted %+v", deleted)
	}
	if c := b.service.Counters("q"); c.Visible+c.InFlight != 2 {
		t.Errorf("counters %+v", c)
	}
}

func TestMessageAttributes(t *testing.T) {
	b := start(t)
	q := b.create("q", nil)
	// The client compares the answer's digests of body and attributes with its own.
	_, err := b.client.SendMessage(b.ctx, &sdk.SendMessageInput{QueueUrl: q, MessageBody: aws.String("ü <&> 🎉"), MessageAttributes: map[string]types.MessageAttributeValue{
		"kind":   {DataType: aws.String("String"), StringValue: aws.String("clean-up")},
		"number": {DataType: aws.String("Number.int"), StringValue: aws.String("7")},
		"bytes":  {DataType: aws.String("Binary"), BinaryValue: []byte{0, 1, 255}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.client.ReceiveMessage(b.ctx, &sdk.ReceiveMessageInput{QueueUrl: q, MessageAttributeNames: []string{"kin.*", "bytes"}})
	if err != nil {
		t.Fatal(err)
	}
	m := out.Messages[0]
	if *m.Body != "ü <&> 🎉" || len(m.MessageAttributes) != 2 || *m.MessageAttributes["kind"].StringValue != "clean-up" || !slices.Equal(m.MessageAttributes["bytes"].BinaryValue, []byte{0, 1, 255}) {
		t.Errorf("message %+v", m)
	}
	// What the SQS developer guide digests: by name, each part behind its length.
	sum := md5.Sum([]byte("\x00\x00\x00\x05bytes\x00\x00\x00\x06Binary\x02\x00\x00\x00\x03\x00\x01\xff" +
		"\x00\x00\x00\x04kind\x00\x00\x00\x06String\x01\x00\x00\x00\x08clean-up"))
	if got := aws.ToString(m.MD5OfMessageAttributes); got != hex.EncodeToString(sum[:]) {
		t.Errorf("digest of attributes: %s, want %x", got, sum)
	}
	_, err = b.client.SendMessage(b.ctx, &sdk.SendMessageInput{QueueUrl: q, MessageBody: aws.String("m"),
		MessageAttributes: map[string]types.MessageAttributeValue{"x": {DataType: aws.String("Text"), StringValue: aws.String("v")}}})
	b.refused(err, "InvalidParameterValue", "invalid message attribute type")
}

func TestQueues(t *testing.T) {
	b := start(t)
	attributes := map[string]string{"VisibilityTimeout": "90", "KmsMasterKeyId": "alias/aws/sqs"}
	q := b.create("Backup-CleanUpQueue", attributes)
	if !strings.HasSuffix(*q, "/123456789012/Backup-CleanUpQueue") || !strings.HasPrefix(*q, "http://127.0.0.1:") {
		t.Errorf("URL %s", *q)
	}
	if again := b.create("Backup-CleanUpQueue", attributes); *again != *q {
		t.Errorf("creating the same queue again answers %s", *again)
	}
	_, err := b.client.CreateQueue(b.ctx, &sdk.CreateQueueInput{QueueName: aws.String("Backup-CleanUpQueue"), Attributes: map[string]string{"VisibilityTimeout": "91"}})
	b.refused(err, "QueueAlreadyExists", "VisibilityTimeout")
	for _, name := range []string{"", "a b", "q.fifo", strings.Repeat("q", 81)} {
		_, err := b.client.CreateQueue(b.ctx, &sdk.CreateQueueInput{QueueName: &name})
		b.refused(err, "InvalidParameterValue", "1 to 80 in length")
	}
	_, err = b.client.CreateQueue(b.ctx, &sdk.CreateQueueInput{QueueName: aws.String("x"), Attributes: map[string]string{"VisibilityTimeout": "43201"}})
	b.refused(err, "InvalidAttributeValue", "VisibilityTimeout")
	_, err = b.client.CreateQueue(b.ctx, &sdk.CreateQueueInput{QueueName: aws.String("x"), Attributes: map[string]string{"QueueArn": "x"}})
	b.refused(err, "InvalidAttributeName", "QueueArn")

	byName, err := b.client.GetQueueUrl(b.ctx, &sdk.GetQueueUrlInput{QueueName: aws.String("Backup-CleanUpQueue")})
	if err != nil || *byName.QueueUrl != *q {
		t.Errorf("GetQueueUrl: %v, %v", byName, err)
	}
	_, err = b.client.GetQueueUrl(b.ctx, &sdk.GetQueueUrlInput{QueueName: aws.String("gone")})
	b.refused(err, "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.")
	var gone *types.QueueDoesNotExist
	if !errors.As(err, &gone) {
		t.Errorf("got %T, want the SDK's QueueDoesNotExist", err)
	}

	policy := `{"Version":"2012-10-17","Statement":[]}`
	if err := b.service.SetPolicy("Backup-CleanUpQueue", []byte(policy)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.SetQueueAttributes(b.ctx, &sdk.SetQueueAttributesInput{QueueUrl: q, Attributes: map[string]string{"DelaySeconds": "1"}}); err != nil {
		t.Fatal(err)
	}
	b.send(q, "m")
	out, err := b.client.GetQueueAttributes(b.ctx, &sdk.GetQueueAttributesInput{QueueUrl: q, AttributeNames: []types.QueueAttributeName{"All"}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"QueueArn": "arn:aws:sqs:eu-west-1:123456789012:Backup-CleanUpQueue", "VisibilityTimeout": "90", "KmsMasterKeyId": "alias/aws/sqs", "Policy": policy,
		"DelaySeconds": "1", "ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesDelayed": "1", "ApproximateNumberOfMessagesNotVisible": "0", "MessageRetentionPeriod": "345600"}
	for name, value := range want {
		if out.Attributes[name] != value {
			t.Errorf("%s is %q, want %q", name, out.Attributes[name], value)
		}
	}
	few, err := b.client.GetQueueAttributes(b.ctx, &sdk.GetQueueAttributesInput{QueueUrl: q, AttributeNames: []types.QueueAttributeName{"ApproximateNumberOfMessages"}})
	if err != nil || len(few.Attributes) != 1 {
		t.Errorf("asked for one attribute: %v, %v", few, err)
	}

	if _, err := b.client.PurgeQueue(b.ctx, &sdk.PurgeQueueInput{QueueUrl: q}); err != nil {
		t.Fatal(err)
	}
	_, err = b.client.PurgeQueue(b.ctx, &sdk.PurgeQueueInput{QueueUrl: q})
	b.refused(err, "AWS.SimpleQueueService.PurgeQueueInProgress", "every 60 seconds")
	if c := b.service.Counters("Backup-CleanUpQueue"); c.Delayed != 0 {
		t.Errorf("purged queue holds %+v", c)
	}
	if _, err := b.client.DeleteQueue(b.ctx, &sdk.DeleteQueueInput{QueueUrl: q}); err != nil {
		t.Fatal(err)
	}
	_, err = b.client.CreateQueue(b.ctx, &sdk.CreateQueueInput{QueueName: aws.String("Backup-CleanUpQueue")})
	b.refused(err, "AWS.SimpleQueueService.QueueDeletedRecently", "60 seconds")
	b.offset += time.Minute
	b.create("Backup-CleanUpQueue", nil)
}

func TestListQueues(t *testing.T) {
	b := start(t)
	for i := range 7 {
		b.create(fmt.Sprintf("a%d", i), nil)
	}
	b.create("b", nil)
	var names []string
	paginator := sdk.NewListQueuesPaginator(b.client, &sdk.ListQueuesInput{QueueNamePrefix: aws.String("a"), MaxResults: aws.Int32(3)})
	for paginator.HasMorePages() {
		page, err := paginator.NextPage(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range page.QueueUrls {
			names = append(names, u[strings.LastIndex(u, "/")+1:])
		}
	}
	if got := strings.Join(names, " "); got != "a0 a1 a2 a3 a4 a5 a6" {
		t.Errorf("queues %s", got)
	}
}

func TestRefusedReceives(t *testing.T) {
	b := start(t)
	q := b.create("q", nil)
	tests := []struct {
		in   sdk.ReceiveMessageInput
		want string
	}{
		{sdk.ReceiveMessageInput{MaxNumberOfMessages: 11}, "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided."},
		{sdk.ReceiveMessageInput{WaitTimeSeconds: 21}, "Value 21 for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided."},
		{sdk.ReceiveMessageInput{VisibilityTimeout: 43_201}, "Value 43201 for parameter VisibilityTimeout is invalid."},
	}
	for _, tt := range tests {
		tt.in.QueueUrl = q
		_, err := b.client.ReceiveMessage(b.ctx, &tt.in)
		b.refused(err, "InvalidParameterValue", tt.want)
	}
	_, err := b.client.SendMessage(b.ctx, &sdk.SendMessageInput{QueueUrl: q, MessageBody: aws.String(strings.Repeat("x", 1<<20+1))})
	b.refused(err, "InvalidParameterValue", "Message must be shorter than 1048576 bytes")
	_, err = b.client.SendMessage(b.ctx, &sdk.SendMessageInput{QueueUrl: q, MessageBody: aws.String("")})
	b.refused(err, "MissingParameter", "The request must contain the parameter MessageBody.")
}

func TestFaults(t *testing.T) {
	t.Run("twice", func(t *testing.T) {
		b := start(t)
		b.service.SetFaults(sqs.Faults{Twice: true})
		q := b.create("q", nil)
		b.send(q, "a")
		messages := b.receive(q)
		if len(messages) != 2 || *messages[0].MessageId != *messages[1].MessageId || *messages[0].ReceiptHandle == *messages[1].ReceiptHandle {
			t.Fatalf("received %+v", messages)
		}
		b.remove(q, messages[0].ReceiptHandle)
		b.service.ExpireVisibility("q")
		if got := b.receive(q); len(got) != 1 {
			t.Errorf("with one copy deleted %d are left", len(got))
		}
		if c := b.service.Counters("q"); c.Sent != 1 || c.Received != 3 || c.Redelivered != 2 {
			t.Errorf("counters %+v", c)
		}
		b.injected(sqs.Injected{Twice: 1})
	})
	t.Run("shuffle", func(t *testing.T) {
		b := start(t)
		b.service.SetFaults(sqs.Faults{Shuffle: true})
		q := b.create("q", nil)
		var sent []string
		for i := range 60 {
			sent = append(sent, strconv.Itoa(i))
		}
		b.send(q, sent...)
		var got []string
		for range 6 {
			for _, m := range b.receive(q) {
				got = append(got, *m.Body)
			}
		}
		if slices.Equal(got, sent) {
			t.Error("sixty messages arrive in order")
		}
		slices.SortFunc(got, func(a, b string) int { return slices.Index(sent, a) - slices.Index(sent, b) })
		if !slices.Equal(got, sent) {
			t.Errorf("messages are lost: %v", got)
		}
		b.injected(sqs.Injected{Shuffle: 6})
	})
	t.Run("undelete", func(t *testing.T) {
		b := start(t)
		b.service.SetFaults(sqs.Faults{Undelete: 2})
		q := b.create("q", nil)
		b.send(q, "a", "b")
		for _, m := range b.receive(q) {
			b.remove(q, m.ReceiptHandle)
		}
		messages := b.receive(q)
		if got := bodies(messages); got != "b" {
			t.Fatalf("came back: %q, want b", got)
		}
		b.remove(q, messages[0].ReceiptHandle)
		if c := b.service.Counters("q"); c.Visible+c.InFlight != 0 {
			t.Errorf("a message comes back twice: %+v", c)
		}
		b.injected(sqs.Injected{Undelete: 1})
	})
	t.Run("empty receives", func(t *testing.T) {
		b := start(t)
		b.service.SetFaults(sqs.Faults{EmptyReceives: 1})
		q := b.create("q", nil)
		b.send(q, "a")
		if got := b.receive(q); len(got) != 0 {
			t.Errorf("received %s", bodies(got))
		}
		out, err := b.client.ReceiveMessage(b.ctx, &sdk.ReceiveMessageInput{QueueUrl: q, WaitTimeSeconds: 1})
		if err != nil || len(out.Messages) != 1 {
			t.Errorf("a long poll asks all servers, but: %v, %v", out, err)
		}
		b.injected(sqs.Injected{EmptyReceives: 1})
	})
	t.Run("failed entries", func(t *testing.T) {
		b := start(t)
		b.service.SetFaults(sqs.Faults{FailEntries: 2})
		q := b.create("q", nil)
		out, err := b.client.SendMessageBatch(b.ctx, &sdk.SendMessageBatchInput{QueueUrl: q, Entries: []types.SendMessageBatchRequestEntry{
			{Id: aws.String("1"), MessageBody: aws.String("a")}, {Id: aws.String("2"), MessageBody: aws.String("b")}}})
		if err != nil || len(out.Successful) != 1 || len(out.Failed) != 1 || *out.Failed[0].Code != "InternalError" || out.Failed[0].SenderFault {
			t.Errorf("batch %+v, %v", out, err)
		}
		if c := b.service.Counters("q"); c.Sent != 1 {
			t.Errorf("counters %+v", c)
		}
		b.injected(sqs.Injected{FailEntries: 1})
	})
}

// injected checks what the faults have done.
func (b *bench) injected(want sqs.Injected) {
	b.Helper()
	if got := b.service.Injected(); got != want {
		b.Errorf("injected %+v, want %+v", got, want)
	}
}

func TestPermissions(t *testing.T) {
	service := sqs.New(region, nil)
	const key = "arn:aws:kms:eu-west-1:123456789012:key/1"
	if _, err := service.Create("locked", map[string]string{"KmsMasterKeyId": key}); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ operation, input, want string }{
		{"SendMessageBatch", `{"QueueUrl":"http://127.0.0.1:1/123456789012/q"}`, "sqs:SendMessage arn:aws:sqs:eu-west-1:123456789012:q"},
		{"DeleteMessageBatch", `{"QueueUrl":"http://127.0.0.1:1/123456789012/q"}`, "sqs:DeleteMessage arn:aws:sqs:eu-west-1:123456789012:q"},
		{"GetQueueUrl", `{"QueueName":"q"}`, "sqs:GetQueueUrl arn:aws:sqs:eu-west-1:123456789012:q"},
		{"ListQueues", `{}`, "sqs:ListQueues *"},
		{"SendMessage", `{"QueueUrl":"http://127.0.0.1:1/123456789012/locked"}`, "sqs:SendMessage arn:aws:sqs:eu-west-1:123456789012:locked kms:GenerateDataKey " + key + " kms:Decrypt " + key},
		{"ReceiveMessage", `{"QueueUrl":"http://127.0.0.1:1/123456789012/locked"}`, "sqs:ReceiveMessage arn:aws:sqs:eu-west-1:123456789012:locked kms:Decrypt " + key},
	}
	for _, tt := range tests {
		var got []string
		for _, p := range service.Permissions(&wire.Call{Operation: tt.operation, Input: []byte(tt.input)}) {
			got = append(got, p.Action, p.Resource)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.operation, got, tt.want)
		}
	}
}
