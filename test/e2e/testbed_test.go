package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// without takes one action away from the policies of a function.
func without(function, action string) edit {
	return func(_ string, template map[string]any) {
		cloudformation.TakePermission(template, strings.ReplaceAll(function, "-", ""), action)
	}
}

// TestPoliciesAreEnforced: a permission that a template does not grant is
// missing on the testbed as it would be in AWS.
func TestPoliciesAreEnforced(t *testing.T) {
	t.Parallel()
	b := start(t, seed.Pool(seed.Options{Users: 10, Groups: 2}), fast, without("list-groups", "cognito-idp:ListGroups"))
	e := b.run(b.primary, "ExportWorkflow", "{}")
	if e.Status != types.ExecutionStatusFailed || !strings.Contains(deref(e.Cause), "AccessDeniedException") || !strings.Contains(deref(e.Cause), "cognito-idp:ListGroups") {
		t.Errorf("without cognito-idp:ListGroups the export ended as %s: %s", e.Status, deref(e.Cause))
	}
	message := b.awaitMail(b.primary, want("failed"))
	if !strings.Contains(message, "ListGroups") {
		t.Errorf("the mail does not name the failed step:\n%s", message)
	}
}

// TestTemplatesAreWhatRuns: an environment variable and a state of a template
// decide what happens.
func TestTemplatesAreWhatRuns(t *testing.T) {
	t.Run("environment", func(t *testing.T) {
		t.Parallel()
		b := start(t, seed.Pool(seed.Options{Users: 10, Groups: 2}), environment("COGNITO_TPS", "many"))
		e := b.run(b.primary, "ExportWorkflow", "{}")
		if e.Status != types.ExecutionStatusFailed || !strings.Contains(deref(e.Cause), "COGNITO_TPS") {
			t.Errorf("ended as %s: %s", e.Status, deref(e.Cause))
		}
	})
	t.Run("state", func(t *testing.T) {
		t.Parallel()
		b := start(t, seed.Pool(seed.Options{Users: 10, Groups: 2}), fast, func(_ string, template map[string]any) {
			for id, r := range resources(template, "AWS::StepFunctions::StateMachine") {
				if !strings.HasPrefix(id, "ExportWorkflow") {
					continue
				}
				parts := dig(r, "Properties", "DefinitionString")["Fn::Join"].([]any)[1].([]any)
				for i, part := range parts {
					if s, ok := part.(string); ok {
						parts[i] = strings.ReplaceAll(s, `"Next": "ListGroups"`, `"Next": "SendMessage"`)
						parts[i] = strings.ReplaceAll(parts[i].(string), `"Default": "ListGroups"`, `"Default": "SendMessage"`)
					}
				}
			}
		})
		b.run(b.primary, "ExportWorkflow", "{}")
		if points, err := b.store(b.primary).RestorePoints(t.Context(), b.pool); err != nil || len(points) != 0 {
			t.Errorf("%d restore points, error %v: a workflow that skips its steps made one", len(points), err)
		}
	})
}

// personal is what of a pool's users must never leave table, bucket and pools.
func personal(pool *cognito.Seed) []string {
	seen := map[string]bool{}
	for _, u := range pool.Users {
		for _, a := range u.Attributes {
			switch a.Name {
			case "sub", "identities", "email_verified", "phone_number_verified":
				continue
			}
			// Short words such as "free" or "en" say nothing about a person and
			// occur in any text.
			if len(a.Value) >= 6 {
				seen[a.Value] = true
			}
		}
		if u.Username != u.Attribute("sub") && len(u.Username) >= 6 {
			seen[u.Username] = true
		}
	}
	return sortedKeys(seen)
}

// escaped are the forms that a value takes in JSON, and in JSON within JSON.
func escaped(value string) []string {
	forms := []string{value}
	for range 2 {
		b, _ := json.Marshal(forms[len(forms)-1])
		forms = append(forms, strings.Trim(string(b), `"`))
	}
	return slices.Compact(forms)
}

// TestNoPersonalData searches everything that an export and an import say and
// send for what the pool holds of its users.
func TestNoPersonalData(t *testing.T) {
	t.Parallel()
	source := seed.Pool(seed.Options{Users: 150, Groups: 105, Seed: 29})
	b := start(t, source, fast)
	b.unhurried()
	b.export("{}")
	deleted := b.source()
	b.cognito(b.primary).deletePool(b.pool)
	target := b.emptyPool(b.secondary, deleted)
	e := b.run(b.secondary, "ImportWorkflow", fmt.Sprintf(`{"NewUserPoolId": %q}`, target))
	if e.Status != types.ExecutionStatusSucceeded {
		b.fail(e)
	}

	places := map[string]string{}
	for function, lines := range b.AllLogs() {
		places["log of "+function] = strings.Join(lines, "\n")
	}
	for _, region := range []string{b.primary, b.secondary} {
		places["queues in "+region] = strings.Join(b.SQS(region).Bodies(""), "\n")
		for i, mail := range b.SNS(region).Outbox() {
			places[fmt.Sprintf("mail %d in %s", i, region)] = mail.Subject + "\n" + mail.Message
		}
		client := b.states(region)
		for _, machine := range b.States(region).Machines() {
			list, err := client.ListExecutions(t.Context(), &sfn.ListExecutionsInput{StateMachineArn: &machine.ARN})
			if err != nil {
				t.Fatal(err)
			}
			for _, execution := range list.Executions {
				pages := sfn.NewGetExecutionHistoryPaginator(client, &sfn.GetExecutionHistoryInput{ExecutionArn: execution.ExecutionArn, IncludeExecutionData: aws.Bool(true)})
				for pages.HasMorePages() {
					page, err := pages.NextPage(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					text, err := json.Marshal(page.Events)
					if err != nil {
						t.Fatal(err)
					}
					places["history of "+*execution.ExecutionArn] += string(text)
				}
			}
		}
	}
	for place, text := range places {
		for _, value := range personal(deleted) {
			for _, form := range escaped(value) {
				if strings.Contains(text, form) {
					t.Errorf("%s holds %q", place, form)
				}
			}
		}
	}
	if len(places) < 10 {
		t.Errorf("only %d places were searched", len(places))
	}
}

// emptyPool makes a pool with the configuration of another one and nobody in it.
func (b *bed) emptyPool(region string, like *cognito.Seed) string {
	b.t.Helper()
	empty := seed.Empty(like, "")
	for i := range empty.Clients {
		empty.Clients[i].UserPoolId = ""
	}
	id, err := b.Cognito(region).Seed(empty)
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}
