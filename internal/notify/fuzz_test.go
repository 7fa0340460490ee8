package notify

import (
	"encoding/json"
	"log/slog"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"cognito-backup/internal/step"
)

// FuzzPayload: whatever reaches send-message, from a state or from EventBridge,
// becomes exactly one mail that SNS takes, or an error; only a skipped run is
// told to nobody. The state's run document is handed on as it came.
func FuzzPayload(f *testing.F) {
	for _, payload := range []string{
		`{}`, `null`, `7`, exportEvent, importEvent, changed,
		`{"Workflow":"ExportWorkflow","Step":"SendMessage","Execution":"arn:aws:states:us-east-1:123456789012:execution:CognitoBackup-ExportWorkflow:77aa","StartTime":"2026-11-22T09:00:00Z","Run":{"RunId":"2026-11-22T09:00:43.117Z"}}`,
		`{"Workflow":"ImportWorkflow","Step":"SendMessage","Execution":"arn:aws:states:us-east-1:123456789012:execution:CognitoBackup-ImportWorkflow:77aa","Input":{"NewUserPoolId":"us-east-1_B"},"Run":{"RunId":"x","Counts":{"Users":5}}}`,
		`{"Execution":"77aa","Run":{"Skipped":true}}`, `{"Execution":":","Workflow":"ImportWorkflow"}`,
		`{"detail-type":"Step Functions Execution Status Change","source":"aws.states","detail":{"executionArn":"arn:aws:states:us-east-1:123456789012:execution:CognitoBackup-ExportWorkflow:1","stateMachineArn":"arn:aws:states:us-east-1:123456789012:stateMachine:CognitoBackup-ExportWorkflow","status":"FAILED","cause":"{\"errorMessage\":\"x\"}","startDate":1,"stopDate":2}}`,
		`{"detail-type":"Step Functions Execution Status Change","detail":{"status":"ABORTED"}}`,
	} {
		f.Add([]byte(payload))
	}
	log := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // a line for each payload would be most of the work
	f.Cleanup(func() { slog.SetDefault(log) })
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, out := testStep()
		s.Topic.Preference = InfoAndErrors
		run, err := s.Handle(t.Context(), payload)
		for _, mail := range out.sent {
			if subject := *mail.Subject; !subjects.MatchString(subject) {
				t.Errorf("subject %q", subject)
			}
			if message := *mail.Message; strings.TrimSpace(message) == "" || len(message) > 256<<10 || !utf8.ValidString(message) {
				t.Errorf("message of %d bytes", len(message))
			}
		}
		var state struct{ Run step.Run }
		_ = json.Unmarshal(payload, &state) // what is unreadable is an error below
		switch _, ended := isStatusChange(payload); {
		case err != nil:
			if len(out.sent) > 0 || !reflect.DeepEqual(run, step.Run{}) {
				t.Errorf("%d mails and the run %+v with the error %v", len(out.sent), run, err)
			}
		case len(out.sent) != 1 && (len(out.sent) > 0 || ended || !state.Run.Skipped):
			t.Errorf("%d mails and no error", len(out.sent))
		case !ended && !reflect.DeepEqual(run, state.Run):
			t.Errorf("the run %+v became %+v", state.Run, run)
		}
	})
}

// subjects are those that SNS takes.
var subjects = regexp.MustCompile(`^[!-~][ -~]{0,98}$`)
