package cognito

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

const logRole = "arn:aws:iam::123456789012:role/logs"

// job creates an import job and returns its id and the upload address on a server.
func (b *bench) newJob(pool string, server *httptest.Server) (id, address string) {
	b.Helper()
	j := b.call("CreateUserImportJob", in{"UserPoolId": pool, "JobName": "j", "CloudWatchLogsRoleArn": logRole})["UserImportJob"].(map[string]any)
	if j["Status"] != "Created" {
		b.Fatalf("new job %v", j)
	}
	return j["JobId"].(string), strings.Replace(j["PreSignedUrl"].(string), "http://127.0.0.1:1", server.URL, 1)
}

// upload puts a file; its status tells how it went.
func (b *bench) upload(address string, body io.Reader, encrypted bool) int {
	b.Helper()
	r, err := http.NewRequest(http.MethodPut, address, body)
	if err != nil {
		b.Fatal(err)
	}
	if encrypted {
		r.Header.Set("x-amz-server-side-encryption", "aws:kms")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func (b *bench) describeJob(pool, id string) map[string]any {
	b.Helper()
	return b.call("DescribeUserImportJob", in{"UserPoolId": pool, "JobId": id})["UserImportJob"].(map[string]any)
}

// finished waits for a job to end.
func (b *bench) finished(pool, id string) map[string]any {
	b.Helper()
	for range 2000 {
		j := b.describeJob(pool, id)
		switch j["Status"] {
		case "Pending", "InProgress", "Stopping":
			time.Sleep(5 * time.Millisecond)
		default:
			return j
		}
	}
	b.Fatal("the job does not end")
	return nil
}

func (b *bench) header(pool string) []string {
	b.Helper()
	var names []string
	for _, name := range b.call("GetCSVHeader", in{"UserPoolId": pool})["CSVHeader"].([]any) {
		names = append(names, name.(string))
	}
	return names
}

// csv makes a file of rows, each name, value pairs.
func csv(header []string, rows ...[]string) string {
	lines := []string{strings.Join(header, ",")}
	for _, row := range rows {
		fields := make([]string, len(header))
		for i := 0; i < len(row); i += 2 {
			fields[slices.Index(header, row[i])] = row[i+1]
		}
		lines = append(lines, strings.Join(fields, ","))
	}
	return strings.Join(lines, "\n") + "\n"
}

// runImport imports a file and returns the job's end and its log.
func (b *bench) runImport(pool string, server *httptest.Server, file string) (map[string]any, []string) {
	b.Helper()
	id, address := b.newJob(pool, server)
	if status := b.upload(address, strings.NewReader(file), true); status != http.StatusOK {
		b.Fatalf("upload: %d", status)
	}
	b.call("StartUserImportJob", in{"UserPoolId": pool, "JobId": id})
	return b.finished(pool, id), b.JobLog(pool, id)
}

func importBench(t *testing.T) (*bench, *httptest.Server) {
	t.Helper()
	b := newBench(t)
	b.Settings().Update(func(v *Values) { v.ImportTolerance = 1 })
	server := httptest.NewServer(http.HandlerFunc(b.ServeUpload))
	t.Cleanup(server.Close)
	return b, server
}

func TestImport(t *testing.T) {
	b, server := importBench(t)
	pool := b.newPool(in{"AutoVerifiedAttributes": []string{"email"}, "AliasAttributes": []string{"email"}, "Schema": []in{
		{"Name": "plan", "AttributeDataType": "String", "StringAttributeConstraints": in{"MaxLength": "5"}},
		{"Name": "fixed", "AttributeDataType": "String", "Mutable": false},
		{"Name": "given_name", "AttributeDataType": "String", "Required": true, "Mutable": true},
	}})
	header := b.header(pool)
	want := "name,given_name,family_name,middle_name,nickname,preferred_username,profile,picture,website,email,email_verified,gender,birthdate,zoneinfo,locale,phone_number,phone_number_verified,address,updated_at,custom:plan,custom:fixed,cognito:mfa_enabled,cognito:username"
	if got := strings.Join(header, ","); got != want {
		t.Fatalf("header %s", got)
	}
	b.create(pool, "exists", "email", "held@example.com", "email_verified", "true")

	user := func(name string, more ...string) []string {
		return append([]string{"cognito:username", name, "given_name", "G", "email", name + "@example.com", "email_verified", "true"}, more...)
	}
	unverified := "The User Record does not set any of the auto verified attributes to true. (Example: email_verified to true)."
	cases := []struct {
		row  []string
		want string // the log line after its number, or its beginning
	}{
		{user("anna", "birthdate", "12/31/1999", "name", `Doe\, Anna "A" \n`, "custom:plan", "free", "custom:fixed", "x", "updated_at", "1700000000", "cognito:mfa_enabled", "false"), "[SUCCEEDED] - The import succeeded."},
		{user("exists"), "[SKIPPED] - The user already exists."},
		{[]string{"cognito:username", "bert", "given_name", "G", "email", "b@example.com", "email_verified", "false"}, "[FAILED] - " + unverified},
		{[]string{"cognito:username", "cleo", "given_name", "G", "phone_number", "+491", "phone_number_verified", "true"}, "[FAILED] - " + unverified},
		{[]string{"cognito:username", "dora", "given_name", "G", "email", "held@example.com", "email_verified", "true"}, "[FAILED] - An account with the given email already exists."},
		{user("emil", "birthdate", "1999-12-31"), "[FAILED] - The birthdate"},
		{user("fred", "custom:plan", "too long"), "[FAILED] - Attributes did not conform to the schema: custom:plan"},
		{user("gina", "given_name", ""), "[FAILED] - Attributes did not conform to the schema: given_name"},
		{user("", "email", "x@example.com"), "[FAILED] - cognito:username"},
		{user("two words", "email", "x@example.com"), "[FAILED] - cognito:username"},
		{user("hans", "cognito:mfa_enabled", "true"), "[FAILED] - cognito:mfa_enabled"},
		{user("ines", "phone_number_verified", "yes"), "[FAILED] - Attributes did not conform to the schema: phone_number_verified"},
		{user("mail@example.com", "email", "y@example.com"), "[FAILED] - Username cannot be of email format"},
		{user("jana", "name", strings.Repeat("x", 16_001)), "[FAILED] - The row is longer"},
		{user("kurt", "name", "a,b"), "[FAILED] - The row has 24 columns"},
		{user("lena", "email", "not an address"), "[FAILED] - Invalid email address format."},
	}
	var rows [][]string
	for _, c := range cases {
		rows = append(rows, c.row)
	}
	j, log := b.runImport(pool, server, csv(header, rows...))
	if j["Status"] != "Succeeded" || j["ImportedUsers"] != 1.0 || j["SkippedUsers"] != 1.0 || j["FailedUsers"] != 14.0 || j["CompletionMessage"] == nil {
		t.Errorf("job %v", j)
	}
	if len(log) != len(cases) {
		t.Fatalf("%d lines in the log for %d users", len(log), len(cases))
	}
	for i, c := range cases {
		result, text, _ := strings.Cut(c.want, " - ")
		if !strings.HasPrefix(log[i], fmt.Sprintf("%s Line Number %d - %s", result, i+2, text)) {
			t.Errorf("user %d: %s, want %s", i, log[i], c.want)
		}
	}
	u := b.get(pool, "anna")
	if u["UserStatus"] != ResetRequired || value(u, "birthdate") != "1999-12-31" || value(u, "name") != `Doe, Anna "A" \n` || value(u, "custom:fixed") != "x" {
		t.Errorf("imported %v", u)
	}
	if len(b.mails) != 0 {
		t.Errorf("an import sent mail: %v", b.mails)
	}
}

func TestImportIntoUsernameAttributes(t *testing.T) {
	b, server := importBench(t)
	pool := b.newPool(in{"AutoVerifiedAttributes": []string{"email", "phone_number"}, "UsernameAttributes": []string{"email", "phone_number"}})
	header := b.header(pool)
	j, log := b.runImport(pool, server, csv(header,
		[]string{"cognito:username", "a@example.com", "email", "a@example.com", "email_verified", "true"},
		[]string{"cognito:username", "+491", "phone_number", "+491", "phone_number_verified", "true"},
		[]string{"cognito:username", "a@example.com", "email", "a@example.com", "email_verified", "true"},
		[]string{"cognito:username", "bert", "email", "b@example.com", "email_verified", "true"},
		[]string{"cognito:username", "c@example.com", "email", "c@example.com", "email_verified", "true", "phone_number", "+491", "phone_number_verified", "true"},
	))
	if j["ImportedUsers"] != 2.0 || j["SkippedUsers"] != 1.0 || j["FailedUsers"] != 2.0 {
		t.Errorf("job %v, log %q", j, log)
	}
	u := b.get(pool, "a@example.com")
	if u["Username"] != value(u, "sub") {
		t.Errorf("imported %v", u)
	}
}

func TestImportMFA(t *testing.T) {
	for _, c := range []struct {
		required, value string
		imported        float64
	}{
		{"OFF", "", 1}, {"OFF", "false", 1}, {"OFF", "true", 0},
		{"OPTIONAL", "", 1}, {"OPTIONAL", "false", 1}, {"OPTIONAL", "true", 1},
		{"ON", "", 1}, {"ON", "false", 0}, {"ON", "true", 1}, {"ON", "maybe", 0},
	} {
		b, server := importBench(t)
		pool := b.newPool(in{"AutoVerifiedAttributes": []string{"phone_number"}, "MfaConfiguration": c.required, "SmsConfiguration": in{"SnsCallerArn": logRole}})
		j, log := b.runImport(pool, server, csv(b.header(pool), []string{"cognito:username", "anna", "phone_number", "+491", "phone_number_verified", "true", "cognito:mfa_enabled", c.value}))
		if j["ImportedUsers"] != c.imported {
			t.Errorf("MFA %s, cognito:mfa_enabled %q: %v %q", c.required, c.value, j, log)
		}
		if c.value == "true" && c.imported == 1 {
			if u := b.get(pool, "anna"); fmt.Sprint(u["UserMFASettingList"]) != "[SMS_MFA]" {
				t.Errorf("factors %v", u["UserMFASettingList"])
			}
		}
	}
}

func TestUpload(t *testing.T) {
	b, server := importBench(t)
	pool := b.newPool(in{"AutoVerifiedAttributes": []string{"email"}})
	id, address := b.newJob(pool, server)
	chunked := io.MultiReader(strings.NewReader("x")) // a length that the client cannot know
	for _, c := range []struct {
		name      string
		address   string
		body      io.Reader
		encrypted bool
		want      int
	}{
		{"chunked", address, chunked, true, http.StatusNotImplemented},
		{"without encryption header", address, strings.NewReader("x"), false, http.StatusForbidden},
		{"wrong signature", address + "0", strings.NewReader("x"), true, http.StatusForbidden},
		{"wrong job", strings.Replace(address, id, "import-x", 1), strings.NewReader("x"), true, http.StatusForbidden},
		{"right", address, strings.NewReader("x"), true, http.StatusOK},
		{"again", address, strings.NewReader("y"), true, http.StatusOK},
	} {
		if got := b.upload(c.address, c.body, c.encrypted); got != c.want {
			t.Errorf("%s: status %d, want %d", c.name, got, c.want)
		}
	}
	b.clock.advance(16 * time.Minute)
	if got := b.upload(address, strings.NewReader("x"), true); got != http.StatusForbidden {
		t.Errorf("after 16 minutes: status %d", got)
	}
	if got := UploadRegion(strings.TrimPrefix(strings.SplitN(address, "?", 2)[0], server.URL)); got != region {
		t.Errorf("the address is of Region %q", got)
	}
}

func TestFilesThatEndAJob(t *testing.T) {
	for name, change := range map[string]func(header []string, file string) string{
		"byte order mark": func(_ []string, file string) string { return "\ufeff" + file },
		"not UTF-8":       func(_ []string, file string) string { return file + "\xff" },
		"empty":           func([]string, string) string { return "" },
		"column missing":  func(h []string, file string) string { return csv(h[1:]) },
		"other order": func(h []string, _ string) string {
			h = slices.Clone(h)
			slices.Reverse(h)
			return csv(h)
		},
		"too many users": func(h []string, _ string) string {
			return csv(h) + strings.Repeat("x\n", maxImportRows+1)
		},
	} {
		b, server := importBench(t)
		pool := b.newPool(in{"AutoVerifiedAttributes": []string{"email"}})
		header := b.header(pool)
		file := change(header, csv(header, []string{"cognito:username", "anna", "email", "a@example.com", "email_verified", "true"}))
		j, _ := b.runImport(pool, server, file)
		if j["Status"] != "Failed" || j["ImportedUsers"] != 0.0 || j["CompletionMessage"] == "" {
			t.Errorf("%s: %v", name, j)
		}
	}
}

func TestTooManyFailures(t *testing.T) {
	b, server := importBench(t)
	b.Settings().Update(func(v *Values) { v.ImportTolerance = 0.5 })
	pool := b.newPool(in{"AutoVerifiedAttributes": []string{"email"}})
	header := b.header(pool)
	var rows [][]string
	for i := range 300 {
		row := []string{"cognito:username", fmt.Sprint("u", i), "email", fmt.Sprintf("u%d@example.com", i), "email_verified", "true"}
		if i < 200 {
			row[5] = "false"
		}
		rows = append(rows, row)
	}
	j, _ := b.runImport(pool, server, csv(header, rows...))
	if j["Status"] != "Failed" || j["CompletionMessage"] != "Too many users have failed or been skipped during the import." || j["FailedUsers"] != 100.0 {
		t.Errorf("job %v", j)
	}
	j, _ = b.runImport(pool, server, csv(header, rows[190:]...))
	if j["Status"] != "Succeeded" || j["ImportedUsers"] != 100.0 {
		t.Errorf("few failures: %v", j)
	}
	j, _ = b.runImport(pool, server, csv(header, rows[200:]...))
	if j["Status"] != "Failed" || j["SkippedUsers"] != 100.0 {
		t.Errorf("the same users again: %v", j)
	}
	if got := b.Settings().Injected().FailedJobs; got != 2 {
		t.Errorf("%d jobs gave up", got)
	}
}

func TestJobLife(t *testing.T) {
	b, server := importBench(t)
	b.Settings().Update(func(v *Values) { v.ImportStart = time.Hour }) // 3.6 s at the test's factor
	pool := b.newPool(in{"AutoVerifiedAttributes": []string{"email"}})
	first, address := b.newJob(pool, server)
	second, _ := b.newJob(pool, server)
	b.upload(address, strings.NewReader(csv(b.header(pool))), true)
	start := func(id string) in { return in{"UserPoolId": pool, "JobId": id} }
	if j := b.call("StartUserImportJob", start(first))["UserImportJob"].(map[string]any); j["Status"] != "Pending" || j["StartDate"] == nil {
		t.Errorf("started %v", j)
	}
	b.refused("PreconditionNotMetException", "", "StartUserImportJob", start(first))
	b.refused("PreconditionNotMetException", "Only one", "StartUserImportJob", start(second))
	b.refused("UserImportInProgressException", "", "DeleteUserPool", in{"UserPoolId": pool})
	b.refused("UserImportInProgressException", "", "UpdateUserPool", in{"UserPoolId": pool})
	b.refused("UserImportInProgressException", "", "AddCustomAttributes", in{"UserPoolId": pool, "CustomAttributes": []in{{"Name": "x", "AttributeDataType": "String"}}})
	b.call("StopUserImportJob", start(first))
	if j := b.finished(pool, first); j["Status"] != "Stopped" {
		t.Errorf("stopped %v", j)
	}
	b.refused("PreconditionNotMetException", "", "StopUserImportJob", start(first))
	b.refused("ResourceNotFoundException", "", "StartUserImportJob", start("import-x"))

	b.Settings().Update(func(v *Values) { v.ImportStart = 0 })
	b.call("StartUserImportJob", start(second)) // without a file
	if j := b.finished(pool, second); j["Status"] != "Failed" {
		t.Errorf("without a file %v", j)
	}
	third, _ := b.newJob(pool, server)
	b.clock.advance(25 * time.Hour)
	if j := b.describeJob(pool, third); j["Status"] != "Expired" {
		t.Errorf("after a day %v", j)
	}
	pages := b.chain("ListUserImportJobs", "UserImportJobs", "PaginationToken", "PaginationToken", in{"UserPoolId": pool, "MaxResults": 2})
	if got := sizes(pages); !slices.Equal(got, []int{2, 1}) || pages[0][0]["JobId"] != third {
		t.Errorf("jobs %v", pages)
	}

	plain := b.newPool(nil)
	j := b.call("CreateUserImportJob", in{"UserPoolId": plain, "JobName": "j", "CloudWatchLogsRoleArn": logRole})["UserImportJob"].(map[string]any)
	b.refused("PreconditionNotMetException", "auto verified", "StartUserImportJob", in{"UserPoolId": plain, "JobId": j["JobId"]})
}

// TestImportJobLife: a job that waits too long for somebody else's expires.
func TestImportJobLife(t *testing.T) {
	b, server := importBench(t)
	b.Settings().Update(func(v *Values) { v.ImportStart, v.ImportJobLife = time.Hour, time.Minute })
	pool := b.newPool(in{"AutoVerifiedAttributes": []string{"email"}})
	first, _ := b.newJob(pool, server)
	second, _ := b.newJob(pool, server)
	b.call("StartUserImportJob", in{"UserPoolId": pool, "JobId": first})
	b.refused("PreconditionNotMetException", "Only one", "StartUserImportJob", in{"UserPoolId": pool, "JobId": second})
	b.clock.advance(2 * time.Minute)
	b.refused("PreconditionNotMetException", "Expired", "StartUserImportJob", in{"UserPoolId": pool, "JobId": second})
	if got := b.Settings().Injected(); got.BusyStarts != 1 || got.ExpiredJobs != 1 {
		t.Errorf("%+v", got)
	}
	b.call("StopUserImportJob", in{"UserPoolId": pool, "JobId": first})
}

func TestImportRate(t *testing.T) {
	b, server := importBench(t)
	b.Settings().Update(func(v *Values) { v.ImportStart, v.ImportRate = 0, 1 }) // 1 ms per user at the test's factor
	pool := b.newPool(in{"AutoVerifiedAttributes": []string{"email"}})
	var rows [][]string
	for i := range 200 {
		rows = append(rows, []string{"cognito:username", fmt.Sprint("u", i), "email", fmt.Sprintf("u%d@example.com", i), "email_verified", "true"})
	}
	began := time.Now()
	j, _ := b.runImport(pool, server, csv(b.header(pool), rows...))
	if took := time.Since(began); j["ImportedUsers"] != 200.0 || took < 200*time.Millisecond {
		t.Errorf("%v after %v, want 200 users and at least 200 ms", j, took)
	}
}

func TestPasswordHashColumn(t *testing.T) {
	b, server := importBench(t)
	pool := b.newPool(in{"AutoVerifiedAttributes": []string{"email"}})
	file := strings.Join(b.header(pool), ",") + ",password_hash\n"
	for i, hash := range []string{"", "$2b$12$abcdefghijklmnopqrstuv", "$2b$14$abcdefghijklmnopqrstuv", "plain"} {
		row := csv(b.header(pool), []string{"cognito:username", fmt.Sprint("u", i), "email", fmt.Sprintf("u%d@example.com", i), "email_verified", "true"})
		file += strings.TrimSuffix(strings.SplitN(row, "\n", 2)[1], "\n") + "," + hash + "\n"
	}
	j, log := b.runImport(pool, server, file)
	if j["ImportedUsers"] != 2.0 || j["FailedUsers"] != 2.0 {
		t.Errorf("%v %q", j, log)
	}
	if a, c := b.get(pool, "u0")["UserStatus"], b.get(pool, "u1")["UserStatus"]; a != ResetRequired || c != Confirmed {
		t.Errorf("statuses %v, %v", a, c)
	}
}

func TestSplitRow(t *testing.T) {
	for text, want := range map[string][]string{
		`a,b,c`:     {"a", "b", "c"},
		`a\,b,c`:    {"a,b", "c"},
		`,`:         {"", ""},
		`"a,b"`:     {`"a`, `b"`},
		`a\b\\,c\,`: {`a\b\,c,`},
	} {
		if got := splitRow(text); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
