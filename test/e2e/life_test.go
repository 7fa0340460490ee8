package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/step"
	"cognito-backup/test/localaws/faults"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// TestLifeInOneRegion is what a deployment goes through without a disaster:
// its schedule starts the first export, a group is deleted under another one,
// users are deleted by mistake and restored into the very pool that lost them,
// and what no restore point needs is removed.
func TestLifeInOneRegion(t *testing.T) {
	t.Parallel()
	source := seed.Pool(seed.Options{Users: 30, Groups: 4, Seed: 61})
	// A run is a retention later than any other.
	b := forImports(deploy(t, source, unhurried, environment("RETENTION_DAYS", "0")), source)
	b.there = b.primary
	b.scheduled()

	doomed := b.source.Groups[2].GroupName
	if len(b.source.Members[doomed]) == 0 {
		t.Fatalf("group %q has no members", doomed)
	}
	b.Faults().Add(faults.Rule{Kind: faults.Delay, Operation: "ListUsersInGroup", Count: len(b.source.Groups), Delay: 3 * time.Second})
	listed := b.calls("ListGroups")
	arn := b.begin(b.primary, "ExportWorkflow", "{}")
	b.until("the groups are listed", func() bool { return b.calls("ListGroups") > listed })
	if _, err := b.cognito(b.primary).DeleteGroup(t.Context(), &idp.DeleteGroupInput{UserPoolId: &b.pool, GroupName: &doomed}); err != nil {
		t.Fatal(err)
	}
	if e := b.await(b.primary, arn); e.Status != types.ExecutionStatusSucceeded {
		b.fail(e)
	}
	if err := b.Faults().VerifyAllExercised(); err != nil {
		t.Error(err)
	}

	before := b.bed.source()
	var lost []string
	for _, u := range before.Users {
		if u.UserStatus == "CONFIRMED" && len(lost) < 3 {
			lost = append(lost, u.Username)
			b.cognito(b.primary).deleteUser(b.pool, u.Username)
		}
	}
	// One of those restored vanishes again, before the import looks after them.
	b.slowImport()
	arn = b.begin(b.primary, "ImportWorkflow", input(b.pool, map[string]any{"Mode": "MISSING_ONLY"}))
	b.reaches(arn, "VerifyImport")
	b.cognito(b.primary).deleteUser(b.pool, lost[1])
	e := b.await(b.primary, arn)
	if e.Status != types.ExecutionStatusSucceeded {
		b.fail(e)
	}
	if err := b.Faults().VerifyAllExercised(); err != nil {
		t.Error(err)
	}
	r := b.results(b.pool, e)
	if !r.report.Verified || r.report.Users.Restored != int64(len(lost)) {
		t.Errorf("verified %t, %+v users, %d were lost", r.report.Verified, r.report.Users, len(lost))
	}
	if have, want := sortedKeys(byUsername(r.after)), sortedKeys(byUsername(before)); !slices.Equal(have, want) {
		t.Errorf("users %q, want %q", have, want)
	}
	for _, g := range before.Groups {
		if have, want := r.after.Members[g.GroupName], before.Members[g.GroupName]; !sameNames(have, want) {
			t.Errorf("group %q has the members %q, want %q", g.GroupName, have, want)
		}
	}
	b.silent()

	newest := b.bed.export("{}")
	b.verify(newest, b.bed.source())
	b.onlyNeeded(newest)
	b.watched(b.primary, "ExportWorkflow", "ImportWorkflow")
	b.logged()
}

// scheduled waits for the export that the schedule starts when it is created.
func (b *importBed) scheduled() {
	b.t.Helper()
	machine := b.StateMachineARN(b.stack(b.primary), "ExportWorkflow")
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		list, err := b.states(b.primary).ListExecutions(b.t.Context(), &sfn.ListExecutionsInput{StateMachineArn: &machine})
		if err != nil {
			b.t.Fatal(err)
		}
		if len(list.Executions) == 0 {
			continue
		}
		e := b.await(b.primary, *list.Executions[0].ExecutionArn)
		if e.Status != types.ExecutionStatusSucceeded {
			b.fail(e)
		}
		var in struct{ ScheduledTime time.Time }
		if err := json.Unmarshal([]byte(*e.Input), &in); err != nil || in.ScheduledTime.IsZero() {
			b.t.Errorf("the schedule's input is %s: %v", *e.Input, err)
		}
		var run step.Run
		if err := json.Unmarshal([]byte(*e.Output), &run); err != nil || run.Skipped {
			b.t.Fatalf("the scheduled export's output is %s: %v", *e.Output, err)
		}
		b.verify(run.RunID, b.bed.source())
		b.point = run.RunID
		return
	}
	b.t.Fatal("the schedule has started nothing")
}

// onlyNeeded checks that the table holds one restore point, what it needs, and
// nothing older.
func (b *importBed) onlyNeeded(point string) {
	b.t.Helper()
	points, err := b.store(b.primary).RestorePoints(b.t.Context(), b.pool)
	if err != nil || len(points) != 1 || points[0].ID() != point {
		b.t.Errorf("restore points %+v, %v; want %s alone", points, err, point)
	}
	needed := b.asOf(b.primary, point)
	var stale []string
	for _, item := range b.items() {
		var key backup.Key
		if err := attributevalue.UnmarshalMap(item, &key); err != nil {
			b.t.Fatal(err)
		}
		if _, ok := needed[key]; !ok && backup.Backed(key.Kind()) {
			stale = append(stale, key.ID+" "+key.Type)
		}
	}
	if slices.Sort(stale); len(stale) > 0 {
		b.t.Errorf("no restore point needs\n%s", strings.Join(stale, "\n"))
	}
}

func sameNames(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// items is everything in the primary Region's table.
func (b *importBed) items() []map[string]dynamodbtypes.AttributeValue {
	b.t.Helper()
	var all []map[string]dynamodbtypes.AttributeValue
	pages := dynamodb.NewScanPaginator(dynamodb.NewFromConfig(b.Config(b.primary)), &dynamodb.ScanInput{TableName: aws.String(table)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, page.Items...)
	}
	return all
}
