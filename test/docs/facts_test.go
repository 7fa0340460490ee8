package docs

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/pool"
	"cognito-backup/internal/restore"
	"cognito-backup/test/localaws/model"

	"github.com/itchyny/gojq"
)

// TestInputs has the product read every input of a workflow that a document
// shows, whole or in part.
func TestInputs(t *testing.T) {
	checked := 0
	for _, d := range documents(t) {
		try := func(line int, text string) {
			text = strings.ReplaceAll(placeholders.Replace(text), `"…"`, `"us-west-2_XXXXXXXXX"`)
			text = strings.ReplaceAll(text, "s3://<bucket>", "s3://cognitobackup-123456789012-us-west-2")
			if !strings.HasPrefix(text, "{") {
				text = "{" + text + "}"
			}
			var keys map[string]json.RawMessage
			if json.Unmarshal([]byte(text), &keys) != nil || keys["Execution"] != nil || keys["newSub"] != nil {
				return // a fragment of something else
			}
			_, exports := keys["AcceptMassDeletion"]
			if _, whole := keys["NewUserPoolId"]; !whole && !exports {
				if len(keys) == 0 {
					return
				}
				keys["NewUserPoolId"] = json.RawMessage(`"us-west-2_XXXXXXXXX"`)
				if keys["Mode"] == nil {
					keys["Mode"] = json.RawMessage(`"MISSING_ONLY"`)
				}
			}
			input, err := json.Marshal(keys)
			if err == nil {
				err = checkInput(string(input), exports)
			}
			if err != nil {
				t.Errorf("%s:%d: %s: %v", d.path, line, text, err)
			}
			checked++
		}
		for _, b := range d.blocks {
			if b.language == "json" {
				try(b.line, b.content)
			}
		}
		for _, s := range d.spans {
			if strings.HasPrefix(s.code, `{"`) || regexp.MustCompile(`^"[A-Z]\w+": `).MatchString(s.code) {
				try(s.line, s.code)
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d inputs were found: has the parser gone blind?", checked)
	}
}

// TestQuotedMessages says that what the runbook makes people look for is what
// the product says.
func TestQuotedMessages(t *testing.T) {
	said := literals(t, "internal")
	d := named(t, "docs/restore-runbook.md")
	in := d.under(t, "when-it-fails")
	row := regexp.MustCompile(`^\| ([^|]+) \|`)
	text := strings.Split(source(t, d.path), "\n")
	quoted := 0
	for _, s := range d.spans {
		m := row.FindStringSubmatch(text[s.line-1])
		if !in[s.section] || m == nil || !strings.Contains(m[1], "`"+s.code+"`") {
			continue
		}
		quoted++
		if !slices.ContainsFunc(said, func(sentence string) bool { return strings.Contains(sentence, s.code) }) {
			t.Errorf("%s:%d: nothing in internal/ says %q", d.path, s.line, s.code)
		}
	}
	if quoted < 10 {
		t.Errorf("only %d messages are quoted", quoted)
	}
}

// TestParameters says that docs/deployment.md describes the parameters there
// are, and the README no others.
func TestParameters(t *testing.T) {
	known := learn(t).parameters
	d := named(t, "docs/deployment.md")
	described := map[string]bool{}
	row := regexp.MustCompile("^\\| `([a-zA-Z]+)` \\|")
	for line := range strings.SplitSeq(source(t, d.path), "\n") {
		if m := row.FindStringSubmatch(line); m != nil {
			described[m[1]] = true
		}
	}
	if !maps.Equal(described, known) {
		t.Errorf("%s describes %v, the app reads %v", d.path, sorted(described), sorted(known))
	}
	readme := named(t, "README.md")
	for _, s := range readme.spans {
		if readme.section(s.section) == `"1. Put in your values"` && regexp.MustCompile(`^[a-z]+[A-Z]\w+$`).MatchString(s.code) && !known[s.code] {
			t.Errorf("README.md:%d: no parameter %s", s.line, s.code)
		}
	}
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

// TestDataModel says that docs/data-model.md names every member of what is
// stored, every reason, and nothing that is no more.
func TestDataModel(t *testing.T) {
	d := named(t, "docs/data-model.md")
	for section, of := range map[string]any{
		"user": backup.User{}, "group": backup.Group{}, "restore-point": backup.RestorePoint{}, "reportjson": restore.Report{},
	} {
		have, want := d.firstColumn(t, section), map[string]bool{}
		members(reflect.TypeOf(of), want)
		if section == "reportjson" {
			for _, inner := range []string{"reason", "FEDERATED"} {
				delete(have, inner)
			}
		}
		if !maps.Equal(have, want) {
			t.Errorf("%s, #%s: describes %v, has %v", d.path, section, sorted(have), sorted(want))
		}
	}
	reasons := map[string]bool{}
	for _, code := range constants(t, "internal/restore/reasons.go") {
		reasons[code] = true
	}
	described := d.firstColumn(t, "reasons")
	for code := range described {
		if !reasons[code] {
			t.Errorf("%s: there is no reason %s", d.path, code)
		}
	}
	used := strings.Builder{}
	files, err := filepath.Glob(filepath.Join(root, "internal/restore/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if base := filepath.Base(path); base != "reasons.go" && !strings.HasSuffix(base, "_test.go") {
			used.WriteString(source(t, filepath.Join("internal/restore", base)))
		}
	}
	for name, code := range constants(t, "internal/restore/reasons.go") {
		if regexp.MustCompile(`\b`+name+`\b`).MatchString(used.String()) && !described[code] {
			t.Errorf("%s does not describe the reason %s", d.path, code)
		}
	}
	header := regexp.MustCompile(`mappingHeader = \[\]string\{([^}]+)\}`).FindStringSubmatch(source(t, "internal/restore/report.go"))
	if header == nil {
		t.Fatal("internal/restore/report.go has no mappingHeader any more")
	}
	columns := strings.NewReplacer(`"`, "", ", ", ",").Replace(header[1])
	if !d.code(d.under(t, "mappingcsv"))[columns] {
		t.Errorf("%s does not name the columns %s", d.path, columns)
	}
}

// firstColumn is the code in the first column of a section's tables.
func (d *document) firstColumn(t *testing.T, anchor string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	text := strings.Split(source(t, d.path), "\n")
	for _, s := range d.spans {
		if s.section < 0 || slug(d.headings[s.section].text) != anchor {
			continue
		}
		first, _, table := strings.Cut(strings.TrimPrefix(text[s.line-1], "| "), " | ")
		if table && strings.HasPrefix(text[s.line-1], "|") && strings.Contains(first, "`"+s.code+"`") {
			found[s.code] = true
		}
	}
	return found
}

// members are the JSON names of a struct's fields, those of embedded ones too.
func members(of reflect.Type, names map[string]bool) {
	for field := range of.Fields() {
		tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous:
			members(field.Type, names)
		case tag != "":
			names[tag] = true
		}
	}
}

// TestInputKeys says that docs/architecture.md describes the keys of the
// ImportWorkflow's input that the product names when it meets another one.
func TestInputKeys(t *testing.T) {
	_, problems := restore.ParseInput(json.RawMessage(`{"NewUserPoolId": "us-west-2_XXXXXXXXX", "Unknown": 1}`), "us-west-2", "bucket")
	if len(problems) != 1 {
		t.Fatalf("%q", problems)
	}
	_, list, _ := strings.Cut(problems[0], "known are ")
	described := named(t, "docs/architecture.md").firstColumn(t, "the-importworkflow")
	known := map[string]bool{}
	for key := range strings.SplitSeq(list, ", ") {
		known[key] = true
	}
	if !maps.Equal(known, described) {
		t.Errorf("described are %v, known %v", sorted(described), sorted(known))
	}
}

// TestTree says that the README's tree of files is there, and complete as to
// internal/ and test/.
func TestTree(t *testing.T) {
	for _, b := range named(t, "README.md").blocks {
		if !strings.HasPrefix(b.content, "main.go ") {
			continue
		}
		listed, parent := map[string]bool{}, ""
		for line := range strings.Lines(b.content) {
			name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if strings.HasPrefix(line, " ") {
				name = parent + name
			} else {
				parent = name
			}
			listed[name] = true
			if strings.Contains(name, "<") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("README.md names %s, which is not there", name)
			}
		}
		for _, parent := range []string{"internal", "test"} {
			for _, folder := range folders(t, parent) {
				if name := parent + "/" + folder + "/"; !listed[name] {
					t.Errorf("README.md does not name %s", name)
				}
			}
		}
		return
	}
	t.Error("README.md has no tree of files")
}

// TestNames says that resources that documents name exist in the stacks.
func TestNames(t *testing.T) {
	p := learn(t)
	name := regexp.MustCompile(`(?:CognitoBackup|<prefix>)-([A-Za-z][A-Za-z-]*[A-Za-z])`)
	for _, d := range documents(t) {
		if d.path == "docs/permissions.md" {
			continue
		}
		for _, s := range d.spans {
			for _, m := range name.FindAllStringSubmatch(s.code, -1) {
				if !p.resource("CognitoBackup-" + m[1]) {
					t.Errorf("%s:%d: nothing is named %s", d.path, s.line, m[0])
				}
			}
		}
	}
}

// poolConfiguration is a POOL record as the export stores it, with what makes
// an input for a new pool difficult: members that are null, empty or not of the
// new pool's choice.
const poolConfiguration = `{"UserPool": {"Id": "ap-northeast-1_ExampleID", "Name": "app", "Arn": "arn", "Domain": null, "EstimatedNumberOfUsers": 0,
 "MfaConfiguration": "OFF", "UserPoolTier": "", "AliasAttributes": null, "UsernameAttributes": ["email"], "AutoVerifiedAttributes": ["email"],
 "UsernameConfiguration": {"CaseSensitive": false}, "AccountRecoverySetting": {"RecoveryMechanisms": [{"Name": "verified_email", "Priority": 1}]},
 "AdminCreateUserConfig": {"AllowAdminCreateUserOnly": false, "InviteMessageTemplate": null, "UnusedAccountValidityDays": 0},
 "Policies": {"PasswordPolicy": {"MinimumLength": 12, "PasswordHistorySize": null, "RequireLowercase": true, "RequireNumbers": true, "RequireSymbols": false, "RequireUppercase": true, "TemporaryPasswordValidityDays": 7}, "SignInPolicy": null},
 "SchemaAttributes": [
  {"Name": "sub", "AttributeDataType": "String", "DeveloperOnlyAttribute": false, "Mutable": false, "NumberAttributeConstraints": null, "Required": true, "StringAttributeConstraints": {"MaxLength": "2048", "MinLength": "1"}},
  {"Name": "email", "AttributeDataType": "String", "DeveloperOnlyAttribute": false, "Mutable": true, "NumberAttributeConstraints": null, "Required": true, "StringAttributeConstraints": {"MaxLength": "2048", "MinLength": "0"}},
  {"Name": "email_verified", "AttributeDataType": "Boolean", "DeveloperOnlyAttribute": false, "Mutable": true, "NumberAttributeConstraints": null, "Required": false, "StringAttributeConstraints": null},
  {"Name": "phone_number_verified", "AttributeDataType": "Boolean", "DeveloperOnlyAttribute": false, "Mutable": true, "NumberAttributeConstraints": null, "Required": false, "StringAttributeConstraints": null},
  {"Name": "identities", "AttributeDataType": "String", "DeveloperOnlyAttribute": false, "Mutable": true, "NumberAttributeConstraints": null, "Required": false, "StringAttributeConstraints": {"MaxLength": null, "MinLength": null}},
  {"Name": "custom:plan", "AttributeDataType": "String", "DeveloperOnlyAttribute": false, "Mutable": false, "NumberAttributeConstraints": null, "Required": false, "StringAttributeConstraints": {"MaxLength": "20", "MinLength": null}},
  {"Name": "custom:score", "AttributeDataType": "Number", "DeveloperOnlyAttribute": false, "Mutable": true, "NumberAttributeConstraints": {"MaxValue": "100", "MinValue": "0"}, "Required": false, "StringAttributeConstraints": null},
  {"Name": "dev:custom:old", "AttributeDataType": "String", "DeveloperOnlyAttribute": true, "Mutable": true, "NumberAttributeConstraints": null, "Required": false, "StringAttributeConstraints": null}]},
 "MFA": {}, "Clients": null, "IdentityProviders": null, "ResourceServers": null}`

// TestNewPool runs the runbook's way from the backup to the input for a new
// pool, and holds the input against the API's model.
func TestNewPool(t *testing.T) {
	d := named(t, "docs/restore-runbook.md")
	program := regexp.MustCompile(`(?s)jq '(.*?)' configuration\.json`).FindStringSubmatch(source(t, d.path))
	if program == nil {
		t.Fatal("the runbook makes no new pool")
	}
	query, err := gojq.Parse(program[1])
	if err != nil {
		t.Fatal(err)
	}
	var configuration any
	if err := json.Unmarshal(stored(t), &configuration); err != nil {
		t.Fatal(err)
	}
	result, _ := query.RunWithContext(t.Context(), configuration).Next()
	if err, failed := result.(error); failed {
		t.Fatal(err)
	}
	input, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	api := model.For("cognito-idp")
	if err := api.ValidateRequest("CreateUserPool", input); err != nil {
		t.Errorf("%v\n%s", err, input)
	}
	if unknown := api.UnknownMembers("CreateUserPool", input); len(unknown) > 0 {
		t.Errorf("CreateUserPool does not know %q", unknown)
	}
	var made struct {
		PoolName           string
		UsernameAttributes []string
		Schema             []struct{ Name string }
	}
	if err := json.Unmarshal(input, &made); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range made.Schema {
		names = append(names, a.Name)
	}
	if made.PoolName != "app" || !slices.Equal(made.UsernameAttributes, []string{"email"}) || !slices.Equal(names, []string{"email", "plan", "score"}) {
		t.Errorf("the new pool is not as the old one: %s", input)
	}
}

// stored is poolConfiguration as the product writes it.
func stored(t *testing.T) []byte {
	t.Helper()
	var configuration pool.Configuration
	if err := json.Unmarshal([]byte(poolConfiguration), &configuration); err != nil {
		t.Fatal(err)
	}
	record, err := backup.NewRecord(backup.PoolKey("ap-northeast-1_ExampleID"), configuration)
	if err != nil {
		t.Fatal(err)
	}
	return record.Content
}

// TestQuotedMails says that e-mails and headings of the report that documents
// name are called so.
func TestQuotedMails(t *testing.T) {
	said := append(literals(t, "internal/notify"), source(t, "internal/restore/report.html.tmpl"))
	quoted := regexp.MustCompile(`mail "([A-Z][^"]+)"|メール「([^」]+)」|lists it under "([^"]+)"`)
	found := 0
	for _, d := range documents(t) {
		text := strings.Join(strings.Fields(source(t, d.path)), " ") // a quotation may go over lines
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			found++
			name := m[1] + m[2] + m[3]
			if !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, name) }) {
				t.Errorf("%s: nothing is called %q", d.path, name)
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d quotations were found: has the parser gone blind?", found)
	}
}

// TestDurations says that the README's durations are the measured ones,
// rounded.
func TestDurations(t *testing.T) {
	const pool, rate, most = "100,000 users, one group each", "CognitoTPS 10", "quota maximum"
	measured := map[string]string{}
	for line := range strings.SplitSeq(source(t, "docs/benchmarks.md"), "\n") {
		if cells := strings.Split(line, " | "); len(cells) > 6 && strings.HasPrefix(cells[1], pool) && !strings.Contains(cells[1], "by API") {
			what := strings.TrimPrefix(cells[0], "| ")
			for _, at := range []string{rate, most} {
				if strings.Contains(cells[1], at) {
					measured[what+at] = cells[2]
				}
			}
			if retired := strings.TrimSpace(cells[6]); retired != "" {
				measured[what] = retired
			}
		}
	}
	if len(measured) < 6 {
		t.Fatalf("docs/benchmarks.md has only %v of this pool", measured)
	}
	rows := regexp.MustCompile(`(?m)^\| ([^|]+) \| (\d[\d.]* (?:s|min|h)) \| (\d[\d.]* (?:s|min|h)) \|$`).FindAllStringSubmatch(source(t, "README.md"), -1)
	if len(rows) != 3 {
		t.Fatalf("README.md has %d rows of durations", len(rows))
	}
	for i, at := range []string{rate, most, ""} {
		for j, what := range []string{"export", "restore"} {
			shown, really := seconds(t, rows[i][j+2]), seconds(t, measured[what+at])
			if shown < 0.95*really || shown > 1.05*really {
				t.Errorf("README.md says %s for the %s in %q, measured is %s", rows[i][j+2], what, rows[i][1], measured[what+at])
			}
		}
	}
}

func seconds(t *testing.T, text string) float64 {
	t.Helper()
	number, unit, _ := strings.Cut(text, " ")
	n, err := strconv.ParseFloat(number, 64)
	factor := map[string]float64{"s": 1, "min": 60, "h": 3600}[unit]
	if err != nil || factor == 0 {
		t.Fatalf("%q is no duration", text)
	}
	return n * factor
}
