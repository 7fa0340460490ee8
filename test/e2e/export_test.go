package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/step"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/faults"
	"cognito-backup/test/localaws/stepfunctions"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// unhurried lets workflows call Cognito as fast as the machine can, for tests
// that are not about rates.
func (b *bed) unhurried() {
	for _, region := range []string{b.primary, b.secondary} {
		b.Cognito(region).Settings().NoQuotas()
	}
}

var fast = environment("COGNITO_TPS", "2000")

// verify holds a restore point against the pool, written from the seed's side:
// every user, group and membership of the snapshot, and nothing else.
func (b *bed) verify(id string, pool *cognito.Seed) {
	b.t.Helper()
	records := b.asOf(b.primary, id)
	want := map[backup.Key]bool{backup.PoolKey(b.pool): true}
	subs := map[string]string{}
	for _, u := range pool.Users {
		attributes := map[string]string{}
		for _, a := range u.Attributes {
			attributes[a.Name] = a.Value
		}
		subs[u.Username] = attributes["sub"]
		key := backup.UserKey(attributes["sub"])
		want[key] = true
		item, ok := records[key]
		if !ok {
			b.t.Errorf("user %s is not in restore point %s", attributes["sub"], id)
			continue
		}
		var stored backup.User
		if err := item.Decode(&stored); err != nil {
			b.t.Fatal(err)
		}
		if stored.Username != u.Username || stored.Status != u.UserStatus || stored.Enabled != u.Enabled || fmt.Sprint(stored.Attributes) != fmt.Sprint(attributes) {
			b.t.Errorf("user %s is stored as %+v, the pool has %+v", attributes["sub"], stored, u)
		}
	}
	for _, g := range pool.Groups {
		key := backup.GroupKey(g.GroupName)
		want[key] = true
		item, ok := records[key]
		if !ok {
			b.t.Errorf("group %q is not in restore point %s", g.GroupName, id)
			continue
		}
		var stored backup.Group
		if err := item.Decode(&stored); err != nil {
			b.t.Fatal(err)
		}
		if stored.Description != g.Description || stored.RoleARN != g.RoleArn || (stored.Precedence == nil) != (g.Precedence == nil) {
			b.t.Errorf("group %q is stored as %+v, the pool has %+v", g.GroupName, stored, g)
		}
	}
	for group, members := range pool.Members {
		for _, username := range members {
			key := backup.MembershipKey(subs[username], group)
			want[key] = true
			if _, ok := records[key]; !ok {
				b.t.Errorf("membership of %s in %q is not in restore point %s", subs[username], group, id)
			}
		}
	}
	for key := range records {
		if !want[key] {
			b.t.Errorf("%v is in restore point %s and not in the pool", key, id)
		}
	}
}

func (b *bed) source() *cognito.Seed {
	b.t.Helper()
	s, err := b.Cognito(b.primary).Snapshot(b.pool)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// slowExport lets the first call of each step of an export take so long that the
// lease is asked again before anything is written.
func (b *bed) slowExport() {
	for function, operation := range map[string]string{
		"*check-user-pool-config": "DescribeUserPool", "*export-users": "ListUsers", "*list-groups": "ListGroups",
		"*export-group-members": "ListUsersInGroup", "*clean-up-backup-table": "Scan",
	} {
		b.Faults().Add(faults.Rule{Kind: faults.Delay, Region: b.primary, Operation: operation, Function: function, Count: 1, Delay: 1200 * time.Millisecond})
	}
}

func TestUnchangedPoolCausesNoWrites(t *testing.T) {
	t.Parallel()
	b := start(t, seed.Pool(seed.Options{Users: 2000, Groups: 20, Seed: 3}), fast)
	b.unhurried()
	b.slowExport()
	b.verify(b.export("{}"), b.source())
	b.DynamoDB(b.primary).ResetStats()
	b.export("{}")
	stats := b.DynamoDB(b.primary).Stats()
	for _, kind := range []string{"USER", "GROUP", "GROUP_MEMBER", "POOL"} {
		if n := stats.Puts[kind] + stats.Updates[kind] + stats.Deletes[kind]; n != 0 {
			t.Errorf("the second export of an unchanged pool wrote %d %s records", n, kind)
		}
	}
	if stats.Puts["EXPORT"] != 1 {
		t.Errorf("%d commit records written, want 1", stats.Puts["EXPORT"])
	}
	t.Logf("second export: puts %v, updates %v, %.0f read units, %.0f write units", stats.Puts, stats.Updates, stats.ReadUnits, stats.WriteUnits)
}

// TestSlicesAndKills cuts a run into slices of a second and kills functions in
// the middle of them.
func TestSlicesAndKills(t *testing.T) {
	t.Parallel()
	b := start(t, seed.Pool(seed.Options{Users: 400, Groups: 60, Seed: 5}), environment("SLICE_SECONDS", "1"), environment("COGNITO_TPS", "5"))
	b.Cognito(b.primary).Settings().Update(func(v *cognito.Values) {
		v.Paging[""] = cognito.PagingFaults{ShortEvery: 1, EmptyEvery: 3}
	})
	kills := map[string]<-chan struct{}{}
	for function, after := range map[string]int{
		"export-users": 60, "list-groups": 12, "export-group-members": 40, "clean-up-backup-table": 4, "check-user-pool-config": 3,
	} {
		kills[function] = b.KillAfter(function, after)
	}
	id := b.export("{}")
	for function, killed := range kills {
		select {
		case <-killed:
		default:
			t.Errorf("%s was to be killed and made fewer calls", function)
		}
	}
	b.verify(id, b.source())
}

func TestListingOddities(t *testing.T) {
	for name, paging := range map[string]cognito.PagingFaults{
		"empty and short pages": {EmptyEvery: 2, ShortEvery: 3, TrailingPage: true},
		"users on two pages":    {RepeatEvery: 1},
		"expired tokens":        {ExpireAtPage: 3, ExpireTimes: 3},
		"longest tokens":        {LongTokens: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, seed.Pool(seed.Options{Users: 300, Groups: 105, Seed: 11}), fast)
			b.unhurried()
			b.Cognito(b.primary).Settings().Update(func(v *cognito.Values) { v.Paging[""] = paging })
			b.verify(b.export("{}"), b.source())
		})
	}
}

func TestFaultyServices(t *testing.T) {
	t.Parallel()
	b := start(t, seed.Pool(seed.Options{Users: 200, Groups: 40, Seed: 13}), fast)
	b.unhurried()
	for _, rule := range []faults.Rule{
		{Kind: faults.Throttle, Service: "cognito-idp", Probability: 0.2},
		{Kind: faults.ServerError, Service: "cognito-idp", Probability: 0.05},
		{Kind: faults.Throttle, Service: "dynamodb", Probability: 0.05},
		{Kind: faults.Unprocessed, Service: "dynamodb", Operation: "BatchGetItem", Probability: 0.3},
		{Kind: faults.DropAfter, Service: "dynamodb", Operation: "PutItem", Probability: 0.05},
		{Kind: faults.DropBefore, Service: "dynamodb", Probability: 0.02},
		{Kind: faults.ServerError, Service: "s3", Skip: 1, Count: 3}, // of a dozen calls, so that none is left to chance
	} {
		rule.Function = "*"
		b.Faults().Add(rule)
	}
	id := b.export("{}")
	if err := b.Faults().VerifyAllExercised(); err != nil {
		t.Error(err)
	}
	b.Faults().Clear()
	b.verify(id, b.source())
	point, err := b.store(b.primary).RestorePoint(t.Context(), b.pool, id)
	if err != nil {
		t.Fatal(err)
	}
	if point.Throttled == 0 {
		t.Error("no throttled calls are reported")
	}
}

func TestTenThousandGroups(t *testing.T) {
	source := seed.Pool(seed.Options{Users: 20, Groups: 1, Seed: 17})
	for n := range 10_000 - len(source.Groups) {
		name := fmt.Sprintf("group-%05d-%s", n, strings.Repeat("g", 100))
		source.Groups = append(source.Groups, cognito.Group{GroupName: name})
	}
	b := start(t, source, fast, environment("SLICE_SECONDS", "2"))
	b.unhurried()
	e := b.run(b.primary, "ExportWorkflow", "{}")
	if e.Status != types.ExecutionStatusSucceeded {
		b.fail(e)
	}
	observed, _ := b.States(b.primary).Observe(e.arn)
	events := 0
	for _, n := range observed.Events {
		events += n
	}
	t.Logf("10,000 groups in slices of 2 s: %d history events, largest payload %d bytes", events, observed.LargestPayload)
	if events >= 5000 || observed.LargestPayload >= 32<<10 {
		t.Errorf("%d history events, largest payload %d bytes", events, observed.LargestPayload)
	}
}

// TestOneExecutionGoesOn: whatever is started side by side, one export runs;
// scheduled ones give way without an error.
func TestOneExecutionGoesOn(t *testing.T) {
	b := start(t, seed.Pool(seed.Options{Users: 200, Groups: 60, Seed: 19}), environment("COGNITO_TPS", "5")) // for longer than the others wait
	b.States(b.primary).SetLag(500*time.Millisecond, 5*time.Second)
	arns := make([]string, 3)
	inputs := []string{"{}", `{"ScheduledTime": "2026-01-01T00:00:00Z"}`, "{}"}
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() { arns[i] = b.begin(b.primary, "ExportWorkflow", inputs[i]) })
	}
	wg.Wait()
	time.Sleep(time.Second) // into the run
	arns[2] = b.begin(b.primary, "ExportWorkflow", inputs[2])
	points := 0
	for i, arn := range arns {
		e := b.await(b.primary, arn)
		switch {
		case e.Status == types.ExecutionStatusSucceeded && strings.Contains(*e.Output, "Skipped"):
			if i != 1 {
				t.Errorf("%s was skipped although no schedule started it", arn)
			}
		case e.Status == types.ExecutionStatusSucceeded:
			points++
		case i == 1:
			t.Errorf("the scheduled execution failed: %s", *e.Cause)
		case !strings.Contains(*e.Cause, "is running in this Region"):
			t.Errorf("execution failed for another reason: %s", *e.Cause)
		}
	}
	if points != 1 {
		t.Errorf("%d executions exported, want 1", points)
	}
	gaveWay := strings.Contains(deref(b.await(b.primary, arns[1]).Output), "Skipped")
	if counted := strings.Contains(strings.Join(b.FunctionLogs("check-state-machine"), "\n"), `"Skipped":1`); counted != gaveWay {
		t.Errorf("the scheduled execution gave way: %t, a metric says so: %t", gaveWay, counted)
	}
	for _, mail := range b.SNS(b.primary).Outbox() {
		if gaveWay && strings.Contains(mail.Message, arns[1]) && strings.Contains(mail.Subject, "failed") {
			t.Errorf("a mail about the skipped execution:\n%s", mail.Message)
		}
	}
	stored, err := b.store(b.primary).RestorePoints(t.Context(), b.pool)
	if err != nil || len(stored) != 1 {
		t.Errorf("%d restore points, error %v; want 1", len(stored), err)
	}
}

// TestOneExecutionAfterAnother: the next export need not wait until Step
// Functions has noticed that the one before ended, in order or not.
func TestOneExecutionAfterAnother(t *testing.T) {
	t.Parallel()
	b := start(t, seed.Pool(seed.Options{Users: 60, Groups: 10, Seed: 29}), environment("COGNITO_TPS", "5"))
	states := b.States(b.primary)
	ends := func(arn string) stepfunctions.Result {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		r, err := states.Wait(ctx, arn)
		if err != nil {
			t.Fatalf("waiting for %s: %v\n%s", arn, err, b.lastLines())
		}
		return r
	}
	exports := func() stepfunctions.Result {
		t.Helper()
		r := ends(b.begin(b.primary, "ExportWorkflow", `{"ScheduledTime": "2026-01-01T00:00:00Z"}`))
		if r.Status != "SUCCEEDED" || strings.Contains(r.Output, "Skipped") {
			t.Fatalf("ended as %s: %s%s\n%s", r.Status, r.Cause, r.Output, b.lastLines())
		}
		return r
	}
	first := exports()
	states.SetLag(time.Since(first.Start.Add(100*time.Millisecond)), 0) // the first still runs, as far as anybody knows
	exports()
	if n := states.Lagged(); n != 0 {
		t.Errorf("Step Functions was asked %d times about an execution that had given the lease back", n)
	}

	states.SetLag(time.Hour, 0) // nobody knows of any execution
	stopped := b.begin(b.primary, "ExportWorkflow", "{}")
	lease := func() map[string]dynamodbtypes.AttributeValue {
		out, err := dynamodb.NewFromConfig(b.Config(b.primary)).GetItem(t.Context(), &dynamodb.GetItemInput{
			TableName: aws.String(table), ConsistentRead: aws.Bool(true), Key: map[string]dynamodbtypes.AttributeValue{
				"id":   &dynamodbtypes.AttributeValueMemberS{Value: "LEASE-" + b.primary + "-ExportWorkflow"},
				"type": &dynamodbtypes.AttributeValueMemberS{Value: "LEASE"},
			}})
		if err != nil {
			t.Fatal(err)
		}
		return out.Item
	}
	eventually := func(what string, is func(map[string]dynamodbtypes.AttributeValue) bool) {
		t.Helper()
		for until := time.Now().Add(time.Minute); !is(lease()); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("not %s within a minute: %v\n%s", what, lease(), b.lastLines())
			}
		}
	}
	eventually("taken", func(item map[string]dynamodbtypes.AttributeValue) bool {
		holder, _ := item["execution"].(*dynamodbtypes.AttributeValueMemberS)
		return holder != nil && holder.Value == stopped
	})
	if _, err := b.states(b.primary).StopExecution(t.Context(), &sfn.StopExecutionInput{ExecutionArn: &stopped}); err != nil {
		t.Fatal(err)
	}
	if r := ends(stopped); r.Status != "ABORTED" {
		t.Fatalf("was to be stopped, and ended as %s", r.Status)
	}
	eventually("given back", func(item map[string]dynamodbtypes.AttributeValue) bool { return item["endedAt"] != nil })
	b.awaitMail(b.primary, want("was aborted"))
	exports()
}

func TestAcceptMassDeletionAndBadInput(t *testing.T) {
	t.Parallel()
	b := start(t, seed.Pool(seed.Options{Users: 100, Groups: 3, Seed: 23}), fast)
	b.unhurried()
	good := b.export("{}")
	client := b.cognito(b.primary)
	for i, u := range b.source().Users {
		if i%20 != 0 {
			client.deleteUser(b.pool, u.Username)
		}
	}
	suspect := b.export(`{"ScheduledTime": "2026-01-01T00:00:00Z"}`)
	points, err := b.store(b.primary).RestorePoints(t.Context(), b.pool)
	if err != nil {
		t.Fatal(err)
	}
	if points[0].ID() != suspect || !points[0].Suspect || points[0].Reference != good {
		t.Fatalf("after 95 of 100 users were deleted: %+v", points[0])
	}
	mails := b.SNS(b.primary).Outbox()
	if last := mails[len(mails)-1]; !strings.Contains(last.Message, "AcceptMassDeletion") {
		t.Errorf("the mail does not say how to accept:\n%s", last.Message)
	}
	if e := b.run(b.primary, "ExportWorkflow", `{"AcceptMassDeletions": true}`); e.Status != types.ExecutionStatusFailed || !strings.Contains(*e.Cause, "AcceptMassDeletions") {
		t.Errorf("a misspelt input ended as %s: %s", e.Status, deref(e.Cause))
	}
	accepted := b.export(`{"AcceptMassDeletion": true}`)
	point, err := b.store(b.primary).RestorePoint(t.Context(), b.pool, accepted)
	if err != nil || point.Suspect || !point.Accepted {
		t.Errorf("accepted: %+v, %v", point, err)
	}
}

// TestMissingSourcePool: an export of a pool that is not there says so, also
// after a deployment with another id that was wrong as well: a pool that was
// never backed up stands in nobody's way.
func TestMissingSourcePool(t *testing.T) {
	t.Parallel()
	b := start(t, seed.Pool(seed.Options{Users: 1, Groups: 1}), fast)
	b.cognito(b.primary).deletePool(b.pool)
	lease := &step.Lease{
		API: dynamodb.NewFromConfig(b.Config(b.primary)), Table: table, Region: b.primary, Workflow: "ExportWorkflow",
		Now: func() time.Time { return time.Now().Add(-time.Hour) }, Sleep: step.Sleep,
	}
	gone := strings.Replace(b.StateMachineARN(b.stack(b.primary), "ExportWorkflow"), ":stateMachine:", ":execution:", 1) + ":gone"
	if _, err := lease.Take(t.Context(), gone, "ap-northeast-1_Misspelt", executions{}); err != nil {
		t.Fatal(err)
	}
	e := b.run(b.primary, "ExportWorkflow", "{}")
	if e.Status != types.ExecutionStatusFailed {
		t.Fatalf("ended as %s", e.Status)
	}
	var cause struct{ ErrorMessage string }
	if err := json.Unmarshal([]byte(*e.Cause), &cause); err != nil {
		t.Fatal(err)
	}
	if want := "user pool " + b.pool + " does not exist"; !strings.Contains(cause.ErrorMessage, want) {
		t.Errorf("%q does not say %q", cause.ErrorMessage, want)
	}
	b.awaitMail(b.primary, want(b.pool))
}

func want(text string) func(string) bool {
	return func(message string) bool { return strings.Contains(message, text) }
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// taskTimeout shortens the time-out of every task of the state machines.
func taskTimeout(seconds int) edit {
	return func(_ string, template map[string]any) {
		for _, r := range resources(template, "AWS::StepFunctions::StateMachine") {
			parts := dig(r, "Properties", "DefinitionString")["Fn::Join"].([]any)[1].([]any)
			for i, part := range parts {
				if s, ok := part.(string); ok {
					parts[i] = strings.ReplaceAll(s, `"TimeoutSeconds": 960`, fmt.Sprintf(`"TimeoutSeconds": %d`, seconds))
				}
			}
		}
	}
}

// TestInvocationsThatOutliveTheirTask: a task times out while its function
// works on, and the retry runs beside it.
func TestInvocationsThatOutliveTheirTask(t *testing.T) {
	t.Parallel()
	b := start(t, seed.Pool(seed.Options{Users: 300, Groups: 30, Seed: 31}), fast, taskTimeout(15))
	b.unhurried()
	for _, rule := range []faults.Rule{
		{Service: "cognito-idp", Operation: "ListUsers", Skip: 2, Count: 1},
		{Service: "dynamodb", Operation: "PutItem", Function: "*export-group-members", Skip: 20, Count: 1},
		{Service: "dynamodb", Operation: "Scan", Function: "*clean-up-backup-table", Count: 1},
	} {
		rule.Kind, rule.Delay = faults.Delay, 18*time.Second
		b.Faults().Add(rule)
	}
	id := b.export("{}")
	if err := b.Faults().VerifyAllExercised(); err != nil {
		t.Error(err)
	}
	b.verify(id, b.source())
	again := b.export("{}")
	b.verify(id, b.source())
	b.verify(again, b.source())
}
