package export_test

import (
	"encoding/json"
	"errors"
	"testing"

	"cognito-backup/internal/export"
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
		in, err := export.ParseInput(json.RawMessage(raw))
		if refused := new(export.InputError); err != nil && !errors.As(err, &refused) {
			t.Errorf("refused with %T", err)
		}
		if err == nil && in.AcceptMassDeletion && !json.Valid(raw) {
			t.Errorf("%q accepts a mass deletion", raw)
		}
	})
}
