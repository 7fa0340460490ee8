package notify

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/step"
)

type outbox struct {
	sent []*sns.PublishInput
	err  error
}

func (o *outbox) Publish(_ context.Context, in *sns.PublishInput, _ ...func(*sns.Options)) (*sns.PublishOutput, error) {
	o.sent = append(o.sent, in)
	return &sns.PublishOutput{}, o.err
}

type points []backup.RestorePoint

func (p points) RestorePoints(context.Context, string) ([]backup.RestorePoint, error) { return p, nil }

type objects map[string]string

func (o objects) Get(_ context.Context, key string, v any) error {
	text, ok := o[key]
	if !ok {
		return step.ErrNoObject
	}
	return json.Unmarshal([]byte(text), v)
}

func testStep() (*Step, *outbox) {
	out := &outbox{}
	newest := backup.RestorePoint{
		UserPoolID: "us-east-1_Example01", StartedAt: listed.Add(-10 * time.Second), EndedAt: listed,
		Summary: backup.Summary{Users: 30, Groups: 2, Memberships: 9}, Removed: 70,
		RemovedBy: map[backup.Kind]int64{backup.KindUser: 70}, Suspect: true, Gone: 70,
	}
	before := newest
	before.StartedAt, before.EndedAt = newest.StartedAt.Add(-time.Hour), newest.EndedAt.Add(-time.Hour)
	before.Users, before.Suspect = 100, false
	newest.Reference = before.ID()
	return &Step{
		Topic:      &Topic{API: out, ARN: "arn:aws:sns:us-east-1:123456789012:CognitoBackup-Notifications", Preference: ErrorsOnly},
		Executions: &execution{page: 10, err: errors.New("not asked")},
		Points:     points{newest, before},
		Objects: objects{"runs/77aa/summary.json": `{"RestorePoint":"2026-11-22T09:00:43.117Z","Users":{"Restored":5,"Failed":1},
			"Groups":{"Restored":2},"Memberships":{"Restored":7},"ForgotPassword":5}`},
		Prefix: "CognitoBackup", Region: "us-east-1", UserPoolID: "us-east-1_Example01", Bucket: "bucket",
		Now: func() time.Time { return listed.Add(30 * time.Second) },
	}, out
}

const (
	exportEvent = `{"Workflow":"ExportWorkflow","Step":"SendMessage","Execution":"arn:aws:states:us-east-1:123456789012:execution:CognitoBackup-ExportWorkflow:5f0c",
		"StartTime":"2026-11-22T09:00:30Z","Input":{},"Run":{"RunId":"2026-11-22T09:00:33.117Z"}}`
	importEvent = `{"Workflow":"ImportWorkflow","Step":"SendMessage","Execution":"arn:aws:states:us-west-2:123456789012:execution:CognitoBackup-ImportWorkflow:77aa",
		"StartTime":"2026-11-22T09:00:30Z","Input":{"NewUserPoolId":"us-west-2_Example02"},"Run":{"RunId":"2026-11-22T09:00:33.117Z"}}`
)

func TestStepTells(t *testing.T) {
	for _, c := range []struct {
		name, payload string
		want          []string // parts of the one message; none: nothing is sent
	}{
		{"a suspect export, though only errors are wanted", exportEvent,
			[]string{"70 of 100 users are gone", "2026-11-22T09:00:43.117Z", "2026-11-22T08:00:43.117Z", "43 seconds"}},
		{"an import that left something to do", importEvent,
			[]string{"us-west-2_Example02", "5 restored, 1 failed", "s3://bucket/reports/77aa/report.html"}},
		{"a failure", changed, []string{"ImportWorkflow failed", "boom"}},
		{"nothing of a skipped export", strings.Replace(exportEvent, `"RunId":"2026-11-22T09:00:33.117Z"`, `"Skipped":true`, 1), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, out := testStep()
			if _, err := s.Handle(t.Context(), json.RawMessage(c.payload)); err != nil {
				t.Fatal(err)
			}
			if len(c.want) == 0 {
				if len(out.sent) > 0 {
					t.Errorf("sent %q", *out.sent[0].Subject)
				}
				return
			}
			if len(out.sent) != 1 {
				t.Fatalf("%d messages", len(out.sent))
			}
			for _, part := range c.want {
				if !strings.Contains(aws.ToString(out.sent[0].Message), part) {
					t.Errorf("the message lacks %q:\n%s", part, aws.ToString(out.sent[0].Message))
				}
			}
		})
	}
}

// The states after this one, and a retry, see the same document.
func TestStepKeepsTheRun(t *testing.T) {
	s, _ := testStep()
	run, err := s.Handle(t.Context(), json.RawMessage(exportEvent))
	if err != nil || run.RunID != "2026-11-22T09:00:33.117Z" {
		t.Errorf("the run became %+v (%v)", run, err)
	}
}

func TestStepFails(t *testing.T) {
	for name, payload := range map[string]string{
		"no restore point of this run": strings.Replace(exportEvent, "33.117Z\"}", "34.000Z\"}", 1),
		"no summary":                   strings.Replace(importEvent, "77aa", "78bb", 1),
		"no event":                     `{}`,
		"no JSON":                      `"`,
	} {
		s, out := testStep()
		if _, err := s.Handle(t.Context(), json.RawMessage(payload)); err == nil || len(out.sent) > 0 {
			t.Errorf("%s: error %v, %d messages", name, err, len(out.sent))
		}
	}
	s, out := testStep()
	out.err = errors.New("topic gone")
	if _, err := s.Handle(t.Context(), json.RawMessage(exportEvent)); err == nil {
		t.Error("a message that could not be published was taken for sent")
	}
}
