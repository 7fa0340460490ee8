package export

import (
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"
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
