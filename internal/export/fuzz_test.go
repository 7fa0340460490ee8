package export

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"
	"unicode/utf8"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/backup/backuptest"
	"cognito-backup/internal/step"
	"cognito-backup/internal/step/steptest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// FuzzInput: whatever starts the ExportWorkflow is understood or refused with
// an InputError, and nobody accepts a mass deletion by mistake.
func FuzzInput(f *testing.F) {
	for _, in := range []string{
		``, ` `, `null`, `{}`, `[]`, `{"AcceptMassDeletion": true}`, `{"AcceptMassDeletion": "true"}`, `{"acceptmassdeletion": true}`,
		`{"AcceptMassDeletions": true}`, `{"ScheduledTime": "2026-11-22T09:00:00Z"}`, `{"AcceptMassDeletion": true} trailing`,
	} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		in, err := ParseInput(json.RawMessage(raw))
		if err != nil {
			if refused := new(InputError); !errors.As(err, &refused) || !utf8.ValidString(err.Error()) {
				t.Errorf("refused with %T: %q", err, err)
			}
			if in != (Input{}) {
				t.Errorf("refused with %+v", in)
			}
			return
		}
		var typed map[string]any // what somebody typed, key for key
		if len(raw) > 0 {
			_ = json.Unmarshal(raw, &typed) // nothing but white space is no JSON, and no input
		}
		if accepts, _ := typed["AcceptMassDeletion"].(bool); in.AcceptMassDeletion != accepts {
			t.Errorf("%q: AcceptMassDeletion is %t", raw, in.AcceptMassDeletion)
		}
		if scheduled, _ := typed["ScheduledTime"].(string); in.ScheduledTime != scheduled {
			t.Errorf("%q: ScheduledTime is %q", raw, in.ScheduledTime)
		}
		for key, value := range typed {
			understood := value == nil // as good as absent
			switch key {
			case "AcceptMassDeletion":
				_, isBool := value.(bool)
				understood = understood || isBool
			case "ScheduledTime":
				_, isString := value.(string)
				understood = understood || isString
			default:
				understood = false
			}
			if !understood {
				t.Errorf("%q is accepted with its %q", raw, key)
			}
		}
	})
}

// deletions is a queue of which only matters what is deleted from it.
type deletions struct {
	QueueAPI
	receipts []string
}

func (d *deletions) DeleteMessage(_ context.Context, in *sqs.DeleteMessageInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error) {
	d.receipts = append(d.receipts, aws.ToString(in.ReceiptHandle))
	return &sqs.DeleteMessageOutput{}, nil
}

// FuzzMessage: whatever somebody put into the clean-up queue is taken off it,
// and removes something only if it names this execution and a chunk that is
// still open: the records of that chunk, and of those only what has not changed
// since. No other object is read for it, and a second delivery does nothing.
func FuzzMessage(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `{"Execution":"mine","Chunk":"0-0"}`, `{"Execution":"mine","Chunk":"0-1"}`, `{"Execution":"other","Chunk":"0-0"}`,
		`{"Execution":"mine","Chunk":"1-0"}`, `{"Execution":"mine","Chunk":"2-0"}`, `{"Execution":"mine","Chunk":"0-0.json"}`,
		`{"Execution":"mine","Chunk":"../removals/0-0"}`, `{"Execution":"mine","Chunk":"../../other/removals/0-0"}`,
		`{"Execution":"mine","Chunk":0}`, `{"Execution":["mine"],"Chunk":"0-0"}`, `{"Execution":"mine","Chunk":"0-0"} trailing`, `[1]`,
	} {
		f.Add(body)
	}
	const run = "2026-11-22T09:00:00.000Z"
	expired := func(sub string) removal { return removal{ID: "USER-" + sub, Type: "USER", ValidFrom: run} }
	chunks := map[string][]removal{
		"mine/removals/0-0":  {expired("a"), expired("changed"), expired("removed already")},
		"mine/removals/0-1":  {expired("b")},
		"mine/removals/1-0":  {expired("answered for")},
		"other/removals/0-0": {expired("of another run")},
	}
	open := map[string]bool{"0-0": true, "0-1": true}
	removes := map[string][]backup.Key{"0-0": {backup.UserKey("a")}, "0-1": {backup.UserKey("b")}}
	f.Fuzz(func(t *testing.T, body string) {
		ctx := t.Context()
		bucket, queue, table := new(steptest.Bucket), new(deletions), new(backuptest.Table)
		s := &step.Slice{
			Event:   step.Event{Execution: "arn:aws:states:eu-west-1:123456789012:execution:CognitoBackup-ExportWorkflow:mine"},
			Objects: &step.Objects{API: bucket, Bucket: "bucket"},
		}
		for name, removals := range chunks {
			if err := s.Objects.Put(ctx, "runs/"+name+".json", removals); err != nil {
				t.Fatal(err)
			}
		}
		for _, sub := range []string{"a", "b", "changed", "answered for", "of another run", "live"} {
			item := backup.Item{Key: backup.UserKey(sub), ValidFrom: run}
			if sub == "changed" {
				item.DeletedAt = "2026-11-23T09:00:00.000Z"
			}
			if done, err := table.Put(ctx, item, backup.Absent()); err != nil || !done {
				t.Fatalf("put %v: %t, %v", item.Key, done, err)
			}
		}
		var named struct{ Execution, Chunk string }
		wantOpen, wantItems, wantObjects := maps.Clone(open), table.Items(), bucket.Keys()
		var wantRead []string
		if json.Unmarshal([]byte(body), &named) == nil && named.Execution == "mine" && open[named.Chunk] {
			delete(wantOpen, named.Chunk)
			for _, key := range removes[named.Chunk] {
				delete(wantItems, key)
			}
			wantRead = []string{"runs/mine/removals/" + named.Chunk + ".json"}
			wantObjects = slices.Sorted(slices.Values(append(wantObjects, "runs/mine/removed/"+named.Chunk)))
		}

		c := &CleanUp{Source: Source{Store: &backup.Store{Table: table}}, Queue: queue, QueueURL: "queue"}
		stillOpen := maps.Clone(open)
		wantReceipts := []string{"first", "second"}
		for _, receipt := range wantReceipts {
			if err := c.answer(ctx, s, stillOpen, types.Message{Body: &body, ReceiptHandle: aws.String(receipt)}); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(stillOpen, wantOpen) {
				t.Errorf("open are %v, want %v", stillOpen, wantOpen)
			}
			if items := table.Items(); !slices.Equal(keys(items), keys(wantItems)) {
				t.Errorf("the table holds %v, want %v", keys(items), keys(wantItems))
			}
			if !slices.Equal(bucket.Read(), wantRead) {
				t.Errorf("read %q, want %q", bucket.Read(), wantRead)
			}
			if !slices.Equal(bucket.Keys(), wantObjects) {
				t.Errorf("the bucket holds %q, want %q", bucket.Keys(), wantObjects)
			}
		}
		if !slices.Equal(queue.receipts, wantReceipts) {
			t.Errorf("%q were deleted, want %q", queue.receipts, wantReceipts)
		}
	})
}

func keys(items map[backup.Key]backup.Item) []string {
	var ids []string
	for key := range items {
		ids = append(ids, key.ID)
	}
	slices.Sort(ids)
	return ids
}
