package stacks

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/permissions.md from the templates")

const permissionsDocument = "../docs/permissions.md"

// TestPermissionsDocument: what is written about permissions is what the
// templates grant. After a change: go test ./stacks -run TestPermissionsDocument -update
func TestPermissionsDocument(t *testing.T) {
	want := permissions(t)
	if *update {
		if err := os.MkdirAll("../docs", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(permissionsDocument, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := string(read(t, permissionsDocument)); got != want {
		t.Errorf("docs/permissions.md is not what the templates grant; write it again with go test ./stacks -run TestPermissionsDocument -update, and look at what changed:\n%s",
			firstDifference(got, want))
	}
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d\nwritten  %s\ntemplate %s", i+1, a[i], b[i])
		}
	}
	return "one is longer than the other"
}

// TestBothRegionsGrantTheSame: the document shows the primary Region's
// functions; those of the secondary differ in nothing but the Region, and in
// what concerns the ExportWorkflow, which is not there.
func TestBothRegionsGrantTheSame(t *testing.T) {
	primary, secondary := functionGrants(t, standard(t).template(t, "Primary")), functionGrants(t, standard(t).template(t, "Secondary"))
	for function, grants := range secondary {
		shared := func(statements []statement) string {
			return rows(slices.DeleteFunc(slices.Clone(statements), func(s statement) bool {
				return s.sid == "Executions" || s.sid == "RestorePoints" && (function == "send-message" || function == "check-state-machine")
			}))
		}
		if got, want := shared(grants), shared(primary[function]); got != want {
			t.Errorf("%s: in the secondary Region\n%s\nin the primary\n%s", function, got, want)
		}
	}
}

// TestLeastPrivilege: no role has a managed policy, no action is a pattern, and
// only actions that know no resources are granted on all of them.
func TestLeastPrivilege(t *testing.T) {
	inBoth(t, func(t *testing.T, tmpl *template, _ bool) {
		roles := tmpl.of(t, "AWS::IAM::Role")
		granted := 0
		for _, role := range roles {
			for _, s := range roleGrants(t, tmpl, role.ID) {
				granted++
				for _, action := range s.actions {
					if strings.Contains(action, "*") {
						t.Errorf("%s may %s", role.ID, action)
					}
				}
				if slices.Contains(s.resources, "*") && !slices.Contains([]string{"Tracing", "DeliverLogs", "ListPools"}, s.sid) {
					t.Errorf("%s may %v on everything", role.ID, s.actions)
				}
			}
			if role.at("Policies") != nil {
				t.Errorf("%s has policies that are written down nowhere", role.ID)
			}
		}
		if granted < 3*len(roles) {
			t.Errorf("%d statements in %d roles", granted, len(roles))
		}
	})
}

// TestKeysAreUsedThroughServices: a function may use the Region's key through
// the services that it may call, and not by itself.
func TestKeysAreUsedThroughServices(t *testing.T) {
	for _, stack := range bothStacks {
		for function, grants := range functionGrants(t, ownKeys(t).template(t, stack)) {
			var want []string
			for _, service := range []string{"dynamodb", "s3", "sqs", "sns"} {
				if slices.ContainsFunc(grants, func(s statement) bool {
					return slices.ContainsFunc(s.actions, func(a string) bool { return strings.HasPrefix(a, service+":") })
				}) {
					want = append(want, "`"+service+".<region>.<AWS::URLSuffix>`")
				}
			}
			for _, s := range grants {
				if !strings.HasPrefix(s.actions[0], "kms:") {
					continue
				}
				if got := "`kms:ViaService` is " + strings.Join(want, " or "); s.condition != got {
					t.Errorf("%s in %s may use the key only if %s, want %s", function, stack, s.condition, got)
				}
				want = nil
			}
			if want != nil {
				t.Errorf("%s in %s may not use the key", function, stack)
			}
		}
	}
}

// statement is one statement of a policy in readable form.
type statement struct {
	sid, condition     string
	actions, resources []string
}

// functionGrants is the statements of every function, by step.
func functionGrants(t *testing.T, tmpl *template) map[string][]statement {
	t.Helper()
	found := map[string][]statement{}
	for _, f := range tmpl.of(t, "AWS::Lambda::Function") {
		role := strings.TrimSuffix(strings.Trim(plain(f.at("Role")), "<>"), ".Arn")
		found[plain(f.at("Handler"))] = roleGrants(t, tmpl, role)
	}
	return found
}

func roleGrants(t *testing.T, tmpl *template, role string) []statement {
	t.Helper()
	if managed := tmpl.Resources[role].at("ManagedPolicyArns"); managed != nil {
		t.Errorf("%s has managed policies: %v", role, managed)
	}
	var found []statement
	for _, policy := range tmpl.of(t, "AWS::IAM::Policy") {
		if !slices.ContainsFunc(list(policy.at("Roles")), func(r any) bool { return plain(r) == "<"+role+">" }) {
			continue
		}
		for _, s := range list(policy.at("PolicyDocument.Statement")) {
			found = append(found, readable(tmpl, s.(map[string]any)))
		}
	}
	return found
}

func readable(tmpl *template, s map[string]any) statement {
	st := statement{sid: plain(s["Sid"])}
	for _, action := range list(s["Action"]) {
		st.actions = append(st.actions, plain(action))
	}
	for _, res := range list(s["Resource"]) {
		st.resources = append(st.resources, anonymous(tmpl, plain(res)))
	}
	slices.Sort(st.resources)
	if s["Sid"] == nil {
		st.sid = "Tracing"
		if slices.ContainsFunc(st.actions, func(a string) bool { return strings.HasPrefix(a, "logs:") }) {
			st.sid = "DeliverLogs"
		}
	}
	var conditions []string
	if operators, ok := s["Condition"].(map[string]any); ok {
		for _, operator := range slices.Sorted(maps.Keys(operators)) {
			for _, key := range slices.Sorted(maps.Keys(operators[operator].(map[string]any))) {
				var values []string
				for _, value := range list(operators[operator].(map[string]any)[key]) {
					values = append(values, "`"+anonymous(tmpl, plain(value))+"`")
				}
				condition := "`" + key + "` is " + strings.Join(values, " or ")
				if strings.HasSuffix(operator, "IfExists") {
					condition += ", or there is none"
				}
				conditions = append(conditions, condition)
			}
		}
	}
	st.condition = strings.Join(conditions, ", ")
	return st
}

var logicalID = regexp.MustCompile(`<([A-Za-z]+?)[0-9A-F]{8}(\.Arn)?>`)

// anonymous replaces what is the example's own by what it stands for.
func anonymous(tmpl *template, text string) string {
	region := map[string]string{"Primary": "ap-northeast-1", "Secondary": "us-west-2"}[tmpl.name]
	text = functionARNs(tmpl, text)
	text = strings.NewReplacer(
		"ap-northeast-1_ExampleID", "<primary user pool>",
		"arn:aws:lambda:us-west-2:123456789012", "arn:aws:lambda:<region>:<account>",
		"<AWS::AccountId>", "<account>", region, "<region>", "CognitoBackup", "<prefix>", "cognitobackup", "<prefix>",
	).Replace(text)
	return logicalID.ReplaceAllString(text, "ARN of $1")
}

func rows(statements []statement) string {
	var b strings.Builder
	for _, s := range statements {
		code := func(values []string) string { return "`" + strings.Join(values, "`<br>`") + "`" }
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.sid, code(s.actions), code(s.resources), s.condition)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

const tableHead = "| for | actions | resources | only if |\n|---|---|---|---|\n"

// permissions writes the document.
func permissions(t *testing.T) string {
	primary, secondary := standard(t).template(t, "Primary"), standard(t).template(t, "Secondary")
	grants, there := functionGrants(t, primary), functionGrants(t, secondary)
	var b strings.Builder
	fmt.Fprint(&b, `# Who may do what

Written from the templates; `+"`go test ./stacks -run TestPermissionsDocument -update`"+` writes it again, and the tests fail while it differs.

Every function has a role of its own, and no role has a managed policy. The local testbed enforces these policies on every call, so a permission
that is missing here fails there. `+"`<region>`"+` is the Region of the function: nothing is granted across Regions.

## What the permission on target pools covers

The pool that replaces a lost one does not exist yet when this is deployed. So the steps of the ImportWorkflow may, by default, read and write
**any user pool of the account in their Region**: create users and groups, set passwords, disable users, add users to groups, link them to identity
providers, and start import jobs. (The code sets passwords only of users it has just created; IAM cannot say that.) They cannot delete users, groups or
pools, nor change attributes of existing users or the configuration of a pool.
Whoever may start the ImportWorkflow can therefore write to these pools. Two ways to narrow that:

- `+"`-c importUserPoolIds=<pool id>,<pool id>`"+` at deployment: then only these pools, and in a Region where none of them lies, no pool at all.
  Add the new pool and deploy again (`+"`cdk deploy --exclusively <prefix>-Secondary`"+` while the primary Region is down) before restoring.
- Grant `+"`states:StartExecution`"+` on the ImportWorkflow to few people.

A group is restored with the IAM role it had. Which roles that will be is known from the backup alone, so update-users may hand any role of the account
to Cognito, and to nothing else. (AWS does not document which of its two service names counts when a group is created, so both are allowed.)

## Every function

`)
	common := commonStatements(grants)
	fmt.Fprint(&b, tableHead+rows(common)+"\n\nwhere the log group is the function's own; send-message, which takes no part in the work, may only give the lease back. With `customerManagedKeys` every function may also use its Region's key, through those of DynamoDB, S3, SQS and SNS that it calls.\n")
	for _, step := range steps {
		where := "both Regions"
		if there[step.name] == nil {
			where = "the primary Region"
		}
		own := slices.DeleteFunc(slices.Clone(grants[step.name]), func(s statement) bool {
			return slices.ContainsFunc(common, func(c statement) bool { return c.sid == s.sid })
		})
		fmt.Fprintf(&b, "\n## %s\n\n%s. In %s.\n\n%s%s\n", step.name, step.does, where, tableHead, rows(own))
	}
	fmt.Fprint(&b, "\n## Roles that are not of functions\n")
	for _, other := range []struct{ id, what string }{
		{"ExportWorkflowRole", "The state machine ExportWorkflow, in the primary Region."},
		{"ImportWorkflowRole", "The state machine ImportWorkflow, in both Regions."},
		{"ExportScheduleRole", "EventBridge Scheduler, in the primary Region."},
		{"ImportJobLogs", "Cognito, when it logs a CSV import job, in both Regions."},
	} {
		fmt.Fprintf(&b, "\n%s\n\n%s%s\n", other.what, tableHead, rows(roleGrants(t, primary, roleID(t, primary, other.id))))
	}
	fmt.Fprint(&b, "\n## Findings of cdk-nag that are accepted\n\nEach is suppressed on one resource, for the named finding alone.\n\n| rule | reason | findings |\n|---|---|---|\n")
	fmt.Fprint(&b, acceptedFindings(primary))
	return b.String()
}

// commonStatements is what the roles of all functions have in common.
func commonStatements(grants map[string][]statement) []statement {
	var common []statement
	for _, s := range grants["export-users"] {
		if s.sid == "Lease" || s.sid == "Log" || s.sid == "Tracing" {
			for i := range s.resources {
				s.resources[i] = strings.Replace(s.resources[i], "export-users", "<step>", 1)
			}
			common = append(common, s)
		}
	}
	return common
}

func roleID(t *testing.T, tmpl *template, name string) string {
	t.Helper()
	for _, r := range tmpl.of(t, "AWS::IAM::Role") {
		if r.ID[:len(r.ID)-8] == name {
			return r.ID
		}
	}
	t.Fatalf("no role %s", name)
	return ""
}

func acceptedFindings(tmpl *template) string {
	type group struct{ rule, reason string }
	groups := map[group][]string{}
	for _, s := range suppressions(tmpl) {
		findings := s.findings
		if len(findings) == 0 {
			findings = []string{"all"}
		}
		for _, finding := range findings {
			finding = anonymous(tmpl, strings.TrimPrefix(finding, "Resource::"))
			for _, step := range steps { // the same finding on several functions
				finding = strings.ReplaceAll(finding, "-"+step.name+":", "-<step>:")
			}
			g := group{s.rule, s.reason}
			if text := "`" + finding + "`"; !slices.Contains(groups[g], text) {
				groups[g] = append(groups[g], text)
			}
		}
	}
	var lines []string
	for g, findings := range groups {
		slices.Sort(findings)
		lines = append(lines, fmt.Sprintf("| %s | %s | %s |\n", g.rule, g.reason, strings.Join(findings, "<br>")))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
