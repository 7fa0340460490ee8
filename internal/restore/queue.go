package restore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// QueueAPI is what a queue needs of SQS. Each step uses part of it.
type QueueAPI interface {
	SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error)
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput, ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
}

// Queue is a queue of chunks.
type Queue struct {
	API QueueAPI
	URL string
}

// message is all that a queue carries. Record and Reason are set in the
// dead-letter queue: the key of a record that could not be restored and a code.
type message struct {
	Execution string
	Chunk     string
	Record    string `json:",omitempty"`
	Reason    string `json:",omitempty"`
}

const batchLimit = 10 // messages in one SQS call; API reference

// send queues the messages, ten a call; those that SQS leaves out of a batch
// are sent again.
func (q *Queue) send(ctx context.Context, messages []message) error {
	for len(messages) > 0 {
		n := min(len(messages), batchLimit)
		left, err := q.sendBatch(ctx, messages[:n])
		if err != nil {
			return err
		}
		messages = append(messages[n:len(messages):len(messages)], left...)
	}
	return nil
}

func (q *Queue) sendBatch(ctx context.Context, messages []message) ([]message, error) {
	entries := make([]types.SendMessageBatchRequestEntry, len(messages))
	for i, m := range messages {
		body, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		entries[i] = types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), MessageBody: aws.String(string(body))}
	}
	out, err := q.API.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &q.URL, Entries: entries})
	if err != nil {
		return nil, fmt.Errorf("queue %d messages: %w", len(messages), err)
	}
	var left []message
	for _, failed := range out.Failed {
		if failed.SenderFault {
			return nil, fmt.Errorf("queue %d messages: %s: %s", len(messages), aws.ToString(failed.Code), aws.ToString(failed.Message))
		}
		var i int
		if _, err := fmt.Sscan(aws.ToString(failed.Id), &i); err != nil || i >= len(messages) {
			return nil, fmt.Errorf("queue %d messages: SQS names the unknown entry %q", len(messages), aws.ToString(failed.Id))
		}
		left = append(left, messages[i])
	}
	return left, nil
}

// receipt is a received message that must be deleted once what it stands for is safe.
type receipt struct {
	chunk  string
	handle string
}

// receive returns at most so many chunks of the execution, ten being the
// limit. Messages of other executions are left-overs of imports that were
// stopped: they are deleted.
func (q *Queue) receive(ctx context.Context, execution string, most, waitSeconds int32) ([]receipt, error) {
	out, err := q.API.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &q.URL, MaxNumberOfMessages: most, WaitTimeSeconds: waitSeconds,
	})
	if err != nil {
		return nil, fmt.Errorf("receive messages: %w", err)
	}
	var ours, others []receipt
	for _, received := range out.Messages {
		var m message
		err := json.Unmarshal([]byte(aws.ToString(received.Body)), &m)
		r := receipt{chunk: m.Chunk, handle: aws.ToString(received.ReceiptHandle)}
		if err != nil || m.Execution != execution {
			others = append(others, r)
			continue
		}
		ours = append(ours, r)
	}
	return ours, q.delete(ctx, others)
}

// delete takes messages off the queue. One that stays comes again and is then
// recognized as done, so single failures do not matter.
func (q *Queue) delete(ctx context.Context, receipts []receipt) error {
	for len(receipts) > 0 {
		n := min(len(receipts), batchLimit)
		entries := make([]types.DeleteMessageBatchRequestEntry, n)
		for i, r := range receipts[:n] {
			entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint(i)), ReceiptHandle: aws.String(r.handle)}
		}
		if _, err := q.API.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &q.URL, Entries: entries}); err != nil {
			return fmt.Errorf("delete %d messages: %w", n, err)
		}
		receipts = receipts[n:]
	}
	return nil
}
