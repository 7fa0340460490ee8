package fuzz

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/restore"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/wire"
)

const (
	region = "eu-west-1"
	target = region + "_Target"
)

// names is UsernameType of the API model.
var names = regexp.MustCompile(`^[\p{L}\p{M}\p{S}\p{N}\p{P}]{1,128}$`)

// FuzzCSV: a user whom the product writes into a CSV file comes out of the
// testbed's import job with the attributes of the backup, whatever they hold.
// Whoever would not is not written at all and goes by API, with the same
// attributes; and nobody goes by API, at the cost of an active user, whom a
// file can hold.
func FuzzCSV(f *testing.F) {
	f.Add("ada", "ada@example.com", "Ada Lovelace", "1815-12-10", "1600000000", "gold", "+441234567", true)
	f.Add("o'neil,jr", "a+b@example.com", "comma, \\, backslash", "0001-01-01", "-1", " leading and trailing ", "", false)
	f.Add("日本", "u@example.com", "quote \" and\nline", "2000-02-30", "1e3", "\u2028\u00a0\u200b", "+1", true)
	f.Add("-", "x@example.com", "=SUM(A1)", "", "", ",", "", false)
	f.Add("a\\", "y@example.com", "ends with \\", "1970-01-01", "0", "\\,", "", false)
	f.Fuzz(func(t *testing.T, username, email, name, birth, updated, plan, phone string, phoneVerified bool) {
		for _, value := range []string{email, name, birth, updated, plan, phone} {
			if !utf8.ValidString(value) || utf8.RuneCountInString(value) > 2048 {
				t.Skip("no attribute of a pool")
			}
		}
		if !utf8.ValidString(username) || !names.MatchString(username) {
			t.Skip("no username")
		}
		user := pool.User{
			Sub: "8f14e45f-ceea-467f-a0e6-b1a2c3d4e5f6", Username: username, Enabled: true, Status: pool.Confirmed,
			Attributes: map[string]string{"sub": "8f14e45f-ceea-467f-a0e6-b1a2c3d4e5f6"},
		}
		for attribute, value := range map[string]string{"email": email, "name": name, "birthdate": birth, "updated_at": updated, "custom:plan": plan, "phone_number": phone} {
			if value != "" {
				user.Attributes[attribute] = value
			}
		}
		user.Attributes["email_verified"] = "true"
		if phone != "" {
			user.Attributes["phone_number_verified"] = map[bool]string{true: "true", false: "false"}[phoneVerified]
		}
		roundTrip(t, &user)
	})
}

func roundTrip(t *testing.T, user *pool.User) {
	service := cognito.New(region, &wire.Clock{})
	defer service.Close()
	service.Settings().NoQuotas()
	service.Settings().Update(func(v *cognito.Values) { v.ImportRate, v.ImportStart = 0, 0 })
	if _, err := service.Seed(&cognito.Seed{Pool: cognito.UserPool{
		Id: target, Name: "target", AutoVerifiedAttributes: []string{"email"},
		SchemaAttributes: []cognito.SchemaAttribute{{Name: "custom:plan", AttributeDataType: "String", Mutable: true,
			StringAttributeConstraints: &cognito.StringConstraints{MinLength: "0", MaxLength: "2048"}}},
	}}); err != nil {
		t.Fatal(err)
	}
	c := caller{t, service}
	var header struct{ CSVHeader []string }
	c.call("GetCSVHeader", map[string]any{"UserPoolId": target}, &header)
	rules := &restore.Rules{Header: header.CSVHeader, Target: restore.Settings{
		ID: target, CaseSensitive: true, AutoVerified: []string{"email"}, Schema: map[string]restore.Attribute{},
	}}
	for _, column := range header.CSVHeader {
		rules.Target.Schema[column] = restore.Attribute{Type: "String", Mutable: true}
	}
	way := rules.Recreate(user)
	want := maps.Clone(user.Attributes)
	delete(want, "sub") // which Cognito sets itself
	if !maps.Equal(way.Attributes, want) || way.Username != user.Username {
		t.Fatalf("%q with %q is to be recreated as %q with %q", user.Username, want, way.Username, way.Attributes)
	}
	row := rules.Row(user)
	if (way.Path == restore.PathCSV) != (row != "") {
		t.Fatalf("path %s with row %q", way.Path, row)
	}
	if row == "" {
		if representable(user, len(header.CSVHeader)) {
			t.Fatalf("%q with %q has no row: %s", user.Username, want, way.Reason)
		}
		return
	}
	if strings.ContainsAny(row, "\r\n\v\f\x00\x1c\x1d\x1e\u0085\u2028\u2029") {
		t.Fatalf("row %q is more than one line", row)
	}
	job := c.importJob(strings.Join(header.CSVHeader, ",") + "\n" + row + "\n")
	if job.ImportedUsers != 1 {
		if valid(user) {
			t.Fatalf("row %q was not imported: %v", row, service.JobLog(target, job.JobId))
		}
		return // the target refuses the value whichever way it comes
	}
	after, err := service.Snapshot(target)
	if err != nil {
		t.Fatal(err)
	}
	if after.Users[0].Username != user.Username {
		t.Errorf("username %q came back as %q", user.Username, after.Users[0].Username)
	}
	got := map[string]string{}
	for _, a := range after.Users[0].Attributes {
		if a.Name != "sub" {
			got[a.Name] = a.Value
		}
	}
	for _, attributes := range []map[string]string{got, want} {
		for _, flag := range []string{"email_verified", "phone_number_verified"} {
			if attributes[flag] == "false" { // an absent flag means the same
				delete(attributes, flag)
			}
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("row %q: %q came back as %q", row, want, got)
	}
}

// representable says that a CSV file holds the user, by what the tool's chapter
// of the developer guide says of rows: no quotes, backslashes and line breaks,
// nor what a reader may take for one, no white space around a value, dates and
// numbers in their columns, at most 16,000 characters.
func representable(u *pool.User, columns int) bool {
	row := columns + len("false")*2 // separators and flags
	for attribute, value := range u.Attributes {
		if attribute == "sub" || strings.HasSuffix(attribute, "_verified") {
			continue
		}
		row += utf8.RuneCountInString(value) + strings.Count(value, ",")
		switch attribute {
		case "birthdate":
			if _, err := time.Parse(time.DateOnly, value); err != nil || value < "1000" {
				return false
			}
		case "updated_at":
			if strings.Trim(value, "0123456789") != "" {
				return false
			}
		default:
			if !plain(value) {
				return false
			}
		}
	}
	row += utf8.RuneCountInString(u.Username) + strings.Count(u.Username, ",")
	return u.Attributes["email"] != "" && plain(u.Username) && row <= 16_000
}

func plain(value string) bool {
	first, _ := utf8.DecodeRuneInString(value)
	last, _ := utf8.DecodeLastRuneInString(value)
	return !strings.ContainsAny(value, "\"\\\u2028\u2029") && !strings.ContainsFunc(value, unicode.IsControl) && !unicode.IsSpace(first) && !unicode.IsSpace(last)
}

// valid says that a pool takes the values whichever way they come; what the
// testbed refuses beyond that is no fault of the row.
func valid(u *pool.User) bool {
	return regexp.MustCompile(`^[A-Za-z0-9.+_-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`).MatchString(u.Attributes["email"]) &&
		(u.Attributes["phone_number"] == "" || regexp.MustCompile(`^\+[0-9]{2,15}$`).MatchString(u.Attributes["phone_number"])) &&
		len(u.Attributes["updated_at"]) <= 15
}

type caller struct {
	t       *testing.T
	service *cognito.Service
}

func (c caller) call(operation string, in, out any) {
	c.t.Helper()
	input, err := json.Marshal(in)
	if err != nil {
		c.t.Fatal(err)
	}
	answer, err := c.service.Handle(context.Background(), &wire.Call{Service: "cognito-idp", Operation: operation, Region: region, Input: input, Endpoint: "http://localaws.invalid"})
	if err != nil {
		c.t.Fatalf("%s: %v", operation, err)
	}
	b, err := json.Marshal(answer)
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		c.t.Fatalf("%s: %v", operation, err)
	}
}

type importJob struct {
	JobId, PreSignedUrl, Status string
	ImportedUsers               int
}

// importJob imports a file.
func (c caller) importJob(file string) importJob {
	c.t.Helper()
	var out struct{ UserImportJob importJob }
	c.call("CreateUserImportJob", map[string]any{"UserPoolId": target, "JobName": "fuzz", "CloudWatchLogsRoleArn": "arn:aws:iam::123456789012:role/logs"}, &out)
	upload, err := http.NewRequest(http.MethodPut, out.UserImportJob.PreSignedUrl, strings.NewReader(file))
	if err != nil {
		c.t.Fatal(err)
	}
	upload.Header.Set("x-amz-server-side-encryption", "aws:kms")
	w := httptest.NewRecorder()
	if c.service.ServeUpload(w, upload); w.Code != http.StatusOK {
		c.t.Fatalf("upload: status %d", w.Code)
	}
	in := map[string]any{"UserPoolId": target, "JobId": out.UserImportJob.JobId}
	for c.call("StartUserImportJob", in, &out); out.UserImportJob.Status == "Pending" || out.UserImportJob.Status == "InProgress"; c.call("DescribeUserImportJob", in, &out) {
		time.Sleep(50 * time.Microsecond)
	}
	return out.UserImportJob
}
