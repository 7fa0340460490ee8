package export_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"cognito-backup/internal/export"
)

func TestParseInput(t *testing.T) {
	for raw, want := range map[string]export.Input{
		``:                            {},
		" \n":                         {},
		`null`:                        {},
		`{}`:                          {},
		`{"AcceptMassDeletion":true}`: {AcceptMassDeletion: true},
		`{"AcceptMassDeletion": null, "ScheduledTime": "2026-11-22T09:00:00Z"}`: {ScheduledTime: "2026-11-22T09:00:00Z"},
	} {
		if in, err := export.ParseInput(json.RawMessage(raw)); err != nil || in != want {
			t.Errorf("%q: %+v, %v", raw, in, err)
		}
	}
}

func TestParseInputRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		`[]`:                                    "it is no JSON object",
		`{"AcceptMassDeletion": true} trailing`: "it is no JSON object",
		`{"AcceptMassDeletions": true}`:         `unknown key "AcceptMassDeletions"; known are AcceptMassDeletion, ScheduledTime`,
		`{"acceptMassDeletion": true}`:          `unknown key "acceptMassDeletion"`,
		`{"AcceptMassDeletion": false, "ACCEPTMASSDELETION": true}`:     `unknown key "ACCEPTMASSDELETION"`,
		`{"scheduledTime": "2026-11-22T09:00:00Z"}`:                     `unknown key "scheduledTime"`,
		`{"AcceptMassDeletion": "true"}`:                                "AcceptMassDeletion is neither true nor false",
		`{"AcceptMassDeletion": 1}`:                                     "AcceptMassDeletion is neither true nor false",
		`{"ScheduledTime": 1795338000}`:                                 "ScheduledTime is no string",
		`{"AcceptMassDeletion": true, "ScheduledTime": ["2026-11-22"]}`: "ScheduledTime is no string",
	} {
		in, err := export.ParseInput(json.RawMessage(raw))
		if refused := new(export.InputError); !errors.As(err, &refused) || !strings.Contains(err.Error(), want) || in != (export.Input{}) {
			t.Errorf("%s: %+v, %v; want %q", raw, in, err, want)
		}
	}
}
