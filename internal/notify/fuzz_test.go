package notify

import (
	"testing"
	"unicode/utf8"
)

// FuzzPayload: whatever reaches send-message, from a state or from EventBridge,
// becomes a mail that SNS takes, or an error.
func FuzzPayload(f *testing.F) {
	for _, payload := range []string{
		`{}`, `null`, `7`,
		`{"Workflow":"ExportWorkflow","Step":"SendMessage","Execution":"arn:aws:states:us-east-1:123456789012:execution:CognitoBackup-ExportWorkflow:77aa","StartTime":"2026-11-22T09:00:00Z","Run":{"RunId":"2026-11-22T09:00:43.117Z"}}`,
		`{"Workflow":"ImportWorkflow","Step":"SendMessage","Execution":"arn:aws:states:us-east-1:123456789012:execution:CognitoBackup-ImportWorkflow:77aa","Input":{"NewUserPoolId":"us-east-1_B"},"Run":{"RunId":"x","Counts":{"Users":5}}}`,
		`{"Execution":"77aa","Run":{"Skipped":true}}`, `{"Execution":":","Workflow":"ImportWorkflow"}`,
		`{"detail-type":"Step Functions Execution Status Change","source":"aws.states","detail":{"executionArn":"arn:aws:states:us-east-1:123456789012:execution:CognitoBackup-ExportWorkflow:1","stateMachineArn":"arn:aws:states:us-east-1:123456789012:stateMachine:CognitoBackup-ExportWorkflow","status":"FAILED","cause":"{\"errorMessage\":\"x\"}","startDate":1,"stopDate":2}}`,
		`{"detail-type":"Step Functions Execution Status Change","detail":{"status":"ABORTED"}}`,
	} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, out := testStep()
		s.Topic.Preference = InfoAndErrors
		_, err := s.Handle(t.Context(), payload)
		for _, mail := range out.sent {
			if subject := *mail.Subject; len(subject) == 0 || len(subject) > 100 || !utf8.ValidString(subject) {
				t.Errorf("subject %q", subject)
			}
			if message := *mail.Message; message == "" || len(message) > 256<<10 || !utf8.ValidString(message) {
				t.Errorf("message of %d bytes", len(message))
			}
		}
		if err == nil && len(out.sent) > 1 {
			t.Errorf("%d mails", len(out.sent))
		}
	})
}
