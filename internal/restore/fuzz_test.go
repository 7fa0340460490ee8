package restore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"cognito-backup/internal/step"
	"cognito-backup/internal/step/steptest"
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
		`{"NewUserPoolId": "eu-west-1_Example01", "RestorePoint": "9999-12-31T23:59:59-01:00"}`,
		`{"NewUserPoolId": "eu-west-1_Example01", "RestorePoint": "0000-01-01T00:00:00+01:00"}`,
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
		asTyped(t, raw, in)
		// What is understood is understood again: plans are stored as JSON.
		stored, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		again := new(Input)
		if err := json.Unmarshal(stored, again); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again, in) {
			t.Errorf("%+v was stored as %s and read as %+v", in, stored, again)
		}
	})
}

// asTyped compares what was understood with what somebody typed, key for key.
func asTyped(t *testing.T, raw []byte, in *Input) {
	var typed map[string]any
	if err := json.Unmarshal(raw, &typed); err != nil {
		t.Fatalf("%q is understood: %v", raw, err)
	}
	text := func(key string) string { s, _ := typed[key].(string); return s }
	flag := func(key string) bool { v, _ := typed[key].(bool); return v }
	if in.DryRun != flag("DryRun") || in.AllowIncomplete != flag("AllowIncomplete") {
		t.Errorf("%q: dry run %t, incomplete %t", raw, in.DryRun, in.AllowIncomplete)
	}
	if in.NewUserPoolID != text("NewUserPoolId") || string(in.Mode) != cmp.Or(text("Mode"), string(EmptyPool)) || string(in.Memberships) != text("Memberships") {
		t.Errorf("%q: pool %q, mode %q, memberships %q", raw, in.NewUserPoolID, in.Mode, in.Memberships)
	}
	if strings.TrimPrefix(in.SubAttribute, "custom:") != strings.TrimPrefix(text("SubAttribute"), "custom:") {
		t.Errorf("%q: attribute %q", raw, in.SubAttribute)
	}
	if (in.RestorePoint != nil) != (typed["RestorePoint"] != nil) {
		t.Errorf("%q: restore point %v", raw, in.RestorePoint)
	}
	if at, err := time.Parse(time.RFC3339, text("RestorePoint")); err == nil && !in.RestorePoint.Equal(at) {
		t.Errorf("%q: restore point %v", raw, in.RestorePoint)
	}
	// Users holds names or the name of an object; a list never becomes everybody.
	var users []string
	list, _ := typed["Users"].([]any)
	for _, user := range list {
		name, _ := user.(string)
		users = append(users, name)
	}
	if !slices.Equal(in.Users, users) || in.UsersObject != strings.TrimPrefix(text("Users"), "s3://bucket/") || in.chosen() != (typed["Users"] != nil) {
		t.Errorf("%q: users %q, object %q", raw, in.Users, in.UsersObject)
	}
	for key := range typed {
		if !slices.Contains(inputKeys, key) {
			t.Errorf("%q is understood with its %q", raw, key)
		}
	}
}

// FuzzUserList: the object that Users may name.
func FuzzUserList(f *testing.F) {
	for _, in := range []string{``, `[]`, `["a", "b"]`, `["a", 1]`, "a\nb\r\n c\td", `[`, "\ufeffa", ` ["one"] `} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		users, err := parseUserList(b)
		if err != nil {
			if users != nil || !utf8.ValidString(err.Error()) {
				t.Errorf("%q: %q with %q", b, err, users)
			}
			return
		}
		if len(users) == 0 || slices.Contains(users, "") {
			t.Errorf("%q: %q", b, users)
		}
		if trimmed := bytes.TrimSpace(b); trimmed[0] == '[' {
			var list []string
			if err := json.Unmarshal(trimmed, &list); err != nil || !slices.Equal(users, list) {
				t.Errorf("%q: %q (%v)", b, users, err)
			}
			return
		}
		solid := func(s string) string {
			return strings.Map(func(r rune) rune {
				if unicode.IsSpace(r) {
					return -1
				}
				return r
			}, s)
		}
		if solid(strings.Join(users, "\n")) != solid(string(b)) {
			t.Errorf("%q: %q", b, users)
		}
		if slices.ContainsFunc(users, func(user string) bool { return strings.ContainsFunc(user, unicode.IsSpace) }) {
			t.Errorf("%q: %q", b, users)
		}
	})
}

// oneMessage is a queue that brings one message once.
type oneMessage struct {
	body     string
	received bool
	deleted  []string
}

func (q *oneMessage) ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	if q.received {
		return &sqs.ReceiveMessageOutput{}, nil
	}
	q.received = true
	return &sqs.ReceiveMessageOutput{Messages: []types.Message{{Body: &q.body, ReceiptHandle: aws.String("receipt")}}}, nil
}

func (q *oneMessage) SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	return &sqs.SendMessageBatchOutput{}, nil
}

func (q *oneMessage) DeleteMessageBatch(_ context.Context, in *sqs.DeleteMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	for _, e := range in.Entries {
		q.deleted = append(q.deleted, aws.ToString(e.ReceiptHandle))
	}
	return &sqs.DeleteMessageBatchOutput{}, nil
}

// FuzzMessage: whatever somebody put into the queues, it is discarded unless it
// names this execution; ImportUsers takes each chunk of the round once and reads
// no other object for it, and UpdateUsers works on no other chunks than those
// that have an import result and no result of its own.
func FuzzMessage(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `{"Execution":"mine","Chunk":"1/000001"}`, `{"Execution":"other","Chunk":"1/000001"}`,
		`{"Execution":"mine","Chunk":"1/000007"}`, `{"Execution":"mine","Chunk":"1/1"}`, `{"Execution":"mine","Chunk":"1/000001/../../plan"}`,
		`{"Execution":"mine","Chunk":"1/000000"}`, `{"Execution":"mine","Chunk":"1/000005"}`, `{"Execution":"mine","Chunk":"1/000006"}`,
		`{"Execution":"mine","Chunk":"2/000001"}`, `{"Execution":"mine","Chunk":7}`, `[1]`,
	} {
		f.Add(body)
	}
	const chunks = 5
	f.Fuzz(func(t *testing.T, body string) {
		api := &oneMessage{body: body}
		ours, err := (&Queue{API: api, URL: "queue"}).receive(t.Context(), "mine", batchLimit, 0)
		if err != nil {
			t.Fatal(err)
		}
		var sent struct{ Execution, Chunk, Record, Reason string } // what send writes
		if json.Unmarshal([]byte(body), &sent) == nil && sent.Execution == "mine" {
			if len(api.deleted) > 0 || !slices.Equal(ours, []receipt{{chunk: sent.Chunk, handle: "receipt"}}) {
				t.Fatalf("%q became %+v, deleted %q", body, ours, api.deleted)
			}
		} else if len(ours) > 0 || !slices.Equal(api.deleted, []string{"receipt"}) {
			t.Fatalf("%q of somebody else became %+v, deleted %q", body, ours, api.deleted)
		}

		bucket := new(steptest.Bucket)
		r := run{&step.Slice{
			Event:   step.Event{Execution: "arn:aws:states:eu-west-1:123456789012:execution:CognitoBackup-ImportWorkflow:mine"},
			Objects: &step.Objects{API: bucket, Bucket: "bucket"},
		}}
		put := func(key string, content any) {
			if err := r.put(t.Context(), key, content); err != nil {
				t.Fatal(err)
			}
		}
		names := chunkNames(1, chunks)
		for _, name := range append(chunkNames(2, 1), names...) {
			put(r.chunkKey(name), chunk{})
		}
		put(r.planKey(), Plan{})
		w := &importer{ImportUsers: &ImportUsers{NewUsers: &Queue{API: &oneMessage{body: body}, URL: "queue"}}, run: r, round: 1, total: chunks}
		gathered := new(file)
		if _, err := w.gather(t.Context(), gathered); err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, name := range names {
			keys = append(keys, r.chunkKey(name))
		}
		if read := slices.Sorted(slices.Values(bucket.Read())); !slices.Equal(gathered.Chunks, names) || !slices.Equal(read, keys) {
			t.Errorf("%q: the file takes %q and was read from %q", body, gathered.Chunks, read)
		}

		for _, name := range names[:3] {
			put(r.importResultKey(name), importResult{})
		}
		put(r.updateResultKey(names[0]), updateResult{})
		updates := &oneMessage{body: body}
		u := &feed{updater: &updater{UpdateUsers: &UpdateUsers{Updates: &Queue{API: updates, URL: "queue"}}, run: r, round: 1, groups: new(groupCreator)},
			total: chunks, receipts: map[string][]receipt{}, busy: map[string]bool{}}
		if err := u.refill(t.Context()); err != nil {
			t.Fatal(err)
		}
		open := names[1:3]
		if len(ours) > 0 && slices.Contains(open, ours[0].chunk) {
			open = []string{ours[0].chunk}
			if len(updates.deleted) > 0 {
				t.Errorf("%q: the message is deleted before its chunk is done", body)
			}
		} else if len(updates.deleted) != 1 {
			t.Errorf("%q: the message is not discarded", body)
		}
		if !slices.Equal(u.waiting, open) {
			t.Errorf("%q: %q are to be updated, not %q", body, u.waiting, open)
		}
	})
}
