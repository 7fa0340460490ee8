package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cognito-backup/internal/step"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// leases is a table that notes what is asked of it.
type leases struct {
	step.LeaseAPI
	updates []*dynamodb.UpdateItemInput
	bounded bool
	err     error
}

func (l *leases) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	l.updates = append(l.updates, in)
	_, l.bounded = ctx.Deadline()
	return &dynamodb.UpdateItemOutput{}, l.err
}

func (l *leases) has(value string) bool {
	for _, v := range l.updates[0].ExpressionAttributeValues {
		if s, ok := v.(*types.AttributeValueMemberS); ok && s.Value == value {
			return true
		}
	}
	return false
}

func TestRelease(t *testing.T) {
	const (
		exported = "arn:aws:states:us-east-1:123456789012:execution:CognitoBackup-ExportWorkflow:5f0c"
		imported = "arn:aws:states:us-west-2:123456789012:execution:CognitoBackup-ImportWorkflow:77aa"
	)
	stopped := step.FormatTime(time.UnixMilli(1795338103000))
	for _, c := range []struct {
		name, payload string
		told          bool
		want          string // id of the lease; none: nothing is given back
		execution     string
		asOf          string
	}{
		{name: "an export", payload: exportEvent, told: true, want: "LEASE-us-east-1-ExportWorkflow", execution: exported},
		{name: "an import", payload: importEvent, told: true, want: "LEASE-us-east-1-ImportWorkflow", execution: imported},
		{name: "a message that the state sends again", payload: exportEvent},
		{name: "a skipped export", payload: strings.Replace(exportEvent, `"RunId":"2026-11-22T09:00:33.117Z"`, `"Skipped":true`, 1), told: true},
		{name: "a failure", payload: changed, told: true, want: "LEASE-us-east-1-ImportWorkflow", execution: imported, asOf: stopped},
		{name: "a failure that could not be told", payload: changed, want: "LEASE-us-east-1-ImportWorkflow", execution: imported, asOf: stopped},
		{name: "an execution that runs", payload: strings.Replace(changed, "FAILED", "RUNNING", 1), told: true},
		{name: "a failure without an end", payload: strings.Replace(changed, `"stopDate":1795338103000`, `"stopDate":null`, 1), told: true},
		{name: "no JSON", payload: `"`, told: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := &leases{}
			now := time.Date(2026, 11, 22, 9, 2, 0, 0, time.UTC)
			r := &Release{Lease: &step.Lease{API: table, Table: "table", Region: "us-east-1", Now: func() time.Time { return now }}}
			r.Handle(t.Context(), json.RawMessage(c.payload), c.told)
			if c.want == "" {
				if len(table.updates) > 0 {
					t.Errorf("gave back: %+v", table.updates[0])
				}
				return
			}
			if len(table.updates) != 1 {
				t.Fatalf("%d updates", len(table.updates))
			}
			if id := table.updates[0].Key["id"].(*types.AttributeValueMemberS).Value; id != c.want || !table.has(c.execution) || !table.has(step.FormatTime(now)) {
				t.Errorf("gave back %s: %+v", id, table.updates[0])
			}
			if table.has(stopped) != (c.asOf != "") || !table.bounded {
				t.Errorf("as of the end of the execution: %t, bounded: %t", table.has(stopped), table.bounded)
			}
		})
	}
}

// A lease that cannot be given back is told in the log alone.
func TestReleaseFails(t *testing.T) {
	var lines bytes.Buffer
	log := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&lines, nil)))
	defer slog.SetDefault(log)
	for _, err := range []error{errors.New("table unreachable"), &types.ConditionalCheckFailedException{}} {
		lines.Reset()
		r := &Release{Lease: &step.Lease{API: &leases{err: err}, Table: "table", Region: "us-east-1", Now: time.Now}}
		r.Handle(t.Context(), json.RawMessage(exportEvent), true)
		refused := errors.As(err, new(*types.ConditionalCheckFailedException))
		if warned := strings.Contains(lines.String(), "level=WARN"); warned == refused {
			t.Errorf("%v: logged %q", err, lines.String())
		}
	}
}
