package restore

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseInput(t *testing.T) {
	in, problems := ParseInput([]byte(`{
		"NewUserPoolId": "us-west-2_AbC123", "RestorePoint": "2026-11-22T18:00:00+09:00", "Mode": "MISSING_ONLY",
		"Users": ["alice", "5f5127f6-f1c9-450f-b2ab-745f17a9f952"], "Memberships": "ALL", "SubAttribute": "old_sub",
		"AllowIncomplete": true, "DryRun": true}`), "us-west-2", "bucket")
	if problems != nil {
		t.Fatal(problems)
	}
	want := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	if in.NewUserPoolID != "us-west-2_AbC123" || !in.RestorePoint.Equal(want) || in.Mode != MissingOnly || in.Memberships != AllMemberships ||
		in.SubAttribute != "custom:old_sub" || !in.AllowIncomplete || !in.DryRun || !slices.Equal(in.Users, []string{"alice", "5f5127f6-f1c9-450f-b2ab-745f17a9f952"}) {
		t.Errorf("%+v", in)
	}

	in, problems = ParseInput([]byte(`{"NewUserPoolId": "us-gov-west-1_x", "Mode": null}`), "us-gov-west-1", "bucket")
	if problems != nil || in.Mode != EmptyPool {
		t.Errorf("%+v, %q", in, problems)
	}
	in, problems = ParseInput([]byte(`{"NewUserPoolId": "us-west-2_x", "Mode": "MISSING_ONLY", "Users": "s3://bucket/lists/a b.json"}`), "us-west-2", "bucket")
	if problems != nil || in.UsersObject != "lists/a b.json" {
		t.Errorf("%+v, %q", in, problems)
	}
}

func TestParseInputNamesEveryProblem(t *testing.T) {
	tests := map[string][]string{
		`null`:                 {"is no JSON object"},
		`[]`:                   {"is no JSON object"},
		`{}`:                   {"NewUserPoolId is missing"},
		`{"NewUserPoolId": 7}`: {"NewUserPoolId is 7; give a string"},
		`{"NewUserPoolId": ["` + strings.Repeat("あ", 60) + `"]}`:                            {`NewUserPoolId is ["` + strings.Repeat("あ", 55) + `...; give a string`},
		`{"NewUserPoolId": null}`:                                                           {`NewUserPoolId is "", which is no user pool id`},
		`{"NewUserPoolId": "us-west-2_"}`:                                                   {`"us-west-2_", which is no user pool id`},
		`{"NewUserPoolId": "eu-west-1_x"}`:                                                  {"is in eu-west-1, and this ImportWorkflow restores in us-west-2; start the ImportWorkflow in eu-west-1"},
		`{"newUserPoolId": "us-west-2_x"}`:                                                  {`unknown key "newUserPoolId"`, "NewUserPoolId is missing"},
		`{"NewUserPoolId": "us-west-2_x", "RestorePoint": "yesterday"}`:                     {`RestorePoint is "yesterday", which is no time with an offset`},
		`{"NewUserPoolId": "us-west-2_x", "RestorePoint": "2026-11-22T09:00:00"}`:           {"no time with an offset"},
		`{"NewUserPoolId": "us-west-2_x", "RestorePoint": "9999-12-31T23:59:59-01:00"}`:     {"not within the years 0000 to 9999"},
		`{"NewUserPoolId": "us-west-2_x", "RestorePoint": 5}`:                               {"RestorePoint is 5; give a string"},
		`{"NewUserPoolId": "us-west-2_x", "Mode": "empty"}`:                                 {`Mode is "empty"; give EMPTY_POOL or MISSING_ONLY`},
		`{"NewUserPoolId": "us-west-2_x", "Users": ["a"]}`:                                  {`Users is only for "Mode": "MISSING_ONLY"`},
		`{"NewUserPoolId": "us-west-2_x", "Memberships": "ALL"}`:                            {`Memberships is only for "Mode": "MISSING_ONLY"`},
		`{"NewUserPoolId": "us-west-2_x", "Mode": "MISSING_ONLY", "Users": []}`:             {"Users is an empty list"},
		`{"NewUserPoolId": "us-west-2_x", "Mode": "MISSING_ONLY", "Users": [""]}`:           {"holds an empty name as number 1 of the list"},
		`{"NewUserPoolId": "us-west-2_x", "Mode": "MISSING_ONLY", "Users": 1}`:              {"Users is a number; give a list"},
		`{"NewUserPoolId": "us-west-2_x", "Mode": "MISSING_ONLY", "Users": "s3://other/x"}`: {"names no object of the bucket bucket"},
		`{"NewUserPoolId": "us-west-2_x", "DryRun": "yes"}`:                                 {`DryRun is "yes"; give true or false`},
		`{"NewUserPoolId": "us-west-2_x", "SubAttribute": "custom:"}`:                       {"SubAttribute is empty"},
		`{"NewUserPoolId": "eu-west-1_x", "Mode": "x", "Unknown": 1, "DryRun": 1}`:          {"Unknown", "eu-west-1", "Mode", "DryRun"},
	}
	for raw, want := range tests {
		in, problems := ParseInput([]byte(raw), "us-west-2", "bucket")
		if in != nil || len(problems) != len(want) {
			t.Errorf("%s: problems %q, want %d", raw, problems, len(want))
			continue
		}
		for i := range want {
			if !strings.Contains(problems[i], want[i]) {
				t.Errorf("%s: %q does not say %q", raw, problems[i], want[i])
			}
		}
	}
}

// TestUsersInNoMessage: whatever is wrong with Users, nobody is named.
func TestUsersInNoMessage(t *testing.T) {
	for users, want := range map[string]string{
		`["jo@example.org", 7]`:                  "holds a number as number 2 of the list",
		`["jo@example.org", ["jo@example.org"]]`: "holds a list as number 2 of the list",
		`["jo@example.org", null]`:               "holds null as number 2 of the list",
		`["jo@example.org", true, ""]`:           "holds true or false as number 2 of the list",
		`["", "jo@example.org"]`:                 "holds an empty name as number 1 of the list",
		`{"Username": "jo@example.org"}`:         "is an object; give a list",
		`[{"Username": "jo@example.org"}]`:       "holds an object as number 1 of the list",
		`"s3://jo@example.org"`:                  "names no object of the bucket bucket",
		`"s3://other/jo@example.org"`:            "names no object of the bucket bucket",
	} {
		_, problems := ParseInput([]byte(`{"NewUserPoolId": "us-west-2_x", "Mode": "MISSING_ONLY", "Users": `+users+`}`), "us-west-2", "bucket")
		if len(problems) != 1 || !strings.Contains(problems[0], want) || strings.Contains(problems[0], "example.org") {
			t.Errorf("%s: %q, must say %q", users, problems, want)
		}
		if users[0] != '[' {
			continue
		}
		if _, err := parseUserList([]byte(users)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "example.org") {
			t.Errorf("%s in an object: %v, must say %q", users, err, want)
		}
	}
	if _, err := parseUserList([]byte(`["jo@example.org"; 7]`)); err == nil || strings.Contains(err.Error(), "example.org") {
		t.Error(err)
	}
	w := preflight()
	w.in = `, "Mode": "MISSING_ONLY", "Users": "jo@example.org"`
	if findings, _, _ := w.check(t); len(findings) != 1 || strings.Contains(findings[0], "example.org") {
		t.Errorf("%q", findings)
	}
}

func TestParseUserList(t *testing.T) {
	for text, want := range map[string][]string{
		`["a", "b,c"]`:           {"a", "b,c"},
		"  [\"a\"]\n":            {"a"},
		"alice\r\nbob\n\nc@d.e ": {"alice", "bob", "c@d.e"},
		`[]`:                     nil,
		`[1]`:                    nil,
		"\n":                     nil,
	} {
		have, err := parseUserList([]byte(text))
		if !slices.Equal(have, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: %q, %v", text, have, err)
		}
	}
}
