package restore

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// FuzzInput: whatever a person starts the ImportWorkflow with is either
// understood or refused with sentences, and what is understood is within
// bounds.
func FuzzInput(f *testing.F) {
	for _, in := range []string{
		``, `null`, `[]`, `{}`, `{"NewUserPoolId": "eu-west-1_Example01"}`,
		`{"NewUserPoolId": "us-east-1_Example01"}`, `{"NewUserPoolId": 7, "newUserPoolId": null}`,
		`{"NewUserPoolId": "eu-west-1_Example01", "RestorePoint": "2026-11-22T09:00:00Z", "Mode": "EMPTY_POOL", "DryRun": true}`,
		`{"NewUserPoolId": "eu-west-1_Example01", "RestorePoint": "2026-11-22 18:00+09:00"}`,
		`{"NewUserPoolId": "eu-west-1_Example01", "Mode": "MISSING_ONLY", "Users": ["a", "b"], "Memberships": "ALL", "SubAttribute": "custom:old"}`,
		`{"NewUserPoolId": "eu-west-1_Example01", "Mode": "MISSING_ONLY", "Users": "s3://bucket/users.json", "AllowIncomplete": true}`,
		`{"NewUserPoolId": "eu-west-1_Example01", "Users": [], "Memberships": "SOME", "SubAttribute": ""}`,
	} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		in, problems := ParseInput(raw, "eu-west-1", "bucket")
		if (in == nil) == (problems == nil) {
			t.Fatalf("input %v with problems %q", in, problems)
		}
		for _, p := range problems {
			if strings.TrimSpace(p) == "" || !utf8.ValidString(p) {
				t.Errorf("problem %q", p)
			}
		}
		if in == nil {
			return
		}
		if !strings.HasPrefix(in.NewUserPoolID, "eu-west-1_") || len(in.NewUserPoolID) > maxPoolID {
			t.Errorf("pool id %q", in.NewUserPoolID)
		}
		if in.Mode != EmptyPool && in.Mode != MissingOnly || in.Mode == EmptyPool && (in.Users != nil || in.UsersObject != "" || in.Memberships != "") {
			t.Errorf("mode %q with users %q, object %q, memberships %q", in.Mode, in.Users, in.UsersObject, in.Memberships)
		}
		if slices.Contains(in.Users, "") || in.SubAttribute == "custom:" {
			t.Errorf("users %q, attribute %q", in.Users, in.SubAttribute)
		}
		// What is understood is understood again: plans are stored as JSON.
		stored, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(stored, new(Input)); err != nil {
			t.Error(err)
		}
	})
}

// FuzzUserList: the object that Users may name.
func FuzzUserList(f *testing.F) {
	for _, in := range []string{``, `[]`, `["a", "b"]`, `["a", 1]`, "a\nb\r\n c\td", `[`, "\ufeffa", ` ["one"] `} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		users, err := parseUserList(b)
		if err == nil && (len(users) == 0 || slices.Contains(users, "")) {
			t.Errorf("%q", users)
		}
	})
}

// oneMessage is a queue that holds one message.
type oneMessage struct {
	body    string
	deleted int
}

func (q *oneMessage) ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	return &sqs.ReceiveMessageOutput{Messages: []types.Message{{Body: &q.body, ReceiptHandle: aws.String("receipt")}}}, nil
}

func (q *oneMessage) SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	return &sqs.SendMessageBatchOutput{}, nil
}

func (q *oneMessage) DeleteMessageBatch(_ context.Context, in *sqs.DeleteMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	q.deleted += len(in.Entries)
	return &sqs.DeleteMessageBatchOutput{}, nil
}

// FuzzMessage: whatever somebody put into the queue is discarded, or names one
// of the round's chunks exactly, so that no other object is ever read for it.
func FuzzMessage(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `{"Execution":"mine","Chunk":"1/000001"}`, `{"Execution":"other","Chunk":"1/000001"}`,
		`{"Execution":"mine","Chunk":"1/000007"}`, `{"Execution":"mine","Chunk":"1/1"}`, `{"Execution":"mine","Chunk":"1/000001/../../plan"}`,
		`{"Execution":"mine","Chunk":"2/000001"}`, `{"Execution":"mine","Chunk":7}`, `[1]`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		api := &oneMessage{body: body}
		ours, err := (&Queue{API: api, URL: "queue"}).receive(t.Context(), "mine", batchLimit, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(ours)+api.deleted != 1 {
			t.Fatalf("%d messages are ours, %d deleted", len(ours), api.deleted)
		}
		w := &importer{round: 1, total: 5}
		for _, r := range ours {
			if w.ofRound(r.chunk) && !slices.Contains([]string{"1/000001", "1/000002", "1/000003", "1/000004", "1/000005"}, r.chunk) {
				t.Errorf("%q is taken for a chunk of the round", r.chunk)
			}
		}
	})
}
