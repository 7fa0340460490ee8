package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"cognito-backup/test/local/page"
	"cognito-backup/test/localaws"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/stepfunctions"
)

var _ page.Testbed = (*testbed)(nil)

// testbed is what the page sees of the bed.
type testbed struct {
	bed    *localaws.Bed
	source string // id of the backed-up pool
	target string // id of the pool in the other Region, "" without one
	table  string

	machines []machine

	reading sync.Mutex // one reads at a time

	mu     sync.Mutex
	newest map[string]*followed // by workflow
	counts map[string]*counted  // of the table, by Region
}

// machine is a deployed state machine.
type machine struct{ workflow, region, arn string }

// followed is an execution with as much of its history as was read.
type followed struct {
	page.Execution
	arn string
	// stale says that something has happened since.
	stale bool
}

// counted is what a table held after so many writes.
type counted struct {
	writes int
	of     map[page.Kind]int
}

// watch begins to follow the executions of a bed that is deployed.
func watch(bed *localaws.Bed, source, target string) *testbed {
	t := &testbed{bed: bed, source: source, target: target, newest: map[string]*followed{}, counts: map[string]*counted{}}
	for _, d := range bed.Stacks() {
		for _, name := range []string{"ExportWorkflow", "ImportWorkflow"} {
			if arn := bed.StateMachineARN(d.Stack.Name, name); arn != "" {
				t.machines = append(t.machines, machine{name, d.Stack.Region, arn})
			}
		}
		for id, r := range d.Stack.Template.Resources {
			if c, ok := d.Created(id); ok && r.Type == "AWS::DynamoDB::GlobalTable" {
				t.table = c.Ref
			}
		}
	}
	for _, m := range t.machines {
		if t.newest[m.workflow] == nil {
			t.newest[m.workflow] = &followed{stale: true}
		}
	}
	for _, region := range bed.Regions() {
		bed.States(region).Subscribe(t.happened)
	}
	return t
}

func (t *testbed) happened(p stepfunctions.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for workflow, f := range t.newest {
		f.stale = f.stale || strings.HasSuffix(p.StateMachine, workflow)
	}
}

func (t *testbed) Endpoint() string { return t.bed.Endpoint() }

func (t *testbed) Mails() []page.Mail {
	var list []page.Mail
	for _, region := range t.bed.Regions() {
		for _, m := range t.bed.SNS(region).Outbox() {
			list = append(list, page.Mail{At: m.Time, From: region, To: m.To, Subject: m.Subject, Message: m.Message})
		}
	}
	slices.SortStableFunc(list, func(a, b page.Mail) int { return a.At.Compare(b.At) })
	return list
}

func (t *testbed) Workflows() []page.Workflow {
	var list []page.Workflow
	for _, region := range t.bed.Regions() {
		for _, m := range t.bed.States(region).Machines() {
			for _, deployed := range t.machines {
				known := slices.ContainsFunc(list, func(w page.Workflow) bool { return w.Name == deployed.workflow })
				if deployed.arn == m.ARN && !known {
					list = append(list, page.Workflow{Name: deployed.workflow, Definition: m.Definition})
				}
			}
		}
	}
	return list
}

func (t *testbed) states(region string) *sfn.Client { return sfn.NewFromConfig(t.bed.Config(region)) }

// Newest asks Step Functions only when something has happened.
func (t *testbed) Newest(ctx context.Context, workflow string) (*page.Execution, error) {
	t.reading.Lock()
	defer t.reading.Unlock()
	f := t.take(workflow)
	if f.stale {
		f.stale = false
		err := t.refresh(ctx, workflow, &f)
		t.put(workflow, f, err != nil || f.ending())
		if err != nil {
			return nil, err
		}
	}
	if f.arn == "" {
		return nil, nil
	}
	return &f.Execution, nil
}

// take returns what is known; what happens from now on makes it stale again.
func (t *testbed) take(workflow string) followed {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := *t.newest[workflow]
	t.newest[workflow].stale = false
	return f
}

func (t *testbed) put(workflow string, f followed, stale bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.stale = stale || t.newest[workflow].stale
	t.newest[workflow] = &f
}

// ending says that the history has an end which the status does not know yet.
func (f *followed) ending() bool {
	if f.Status != sfntypes.ExecutionStatusRunning || len(f.History) == 0 {
		return false
	}
	last := f.History[len(f.History)-1].Type
	return strings.HasPrefix(string(last), "Execution") && last != sfntypes.HistoryEventTypeExecutionStarted
}

func (t *testbed) refresh(ctx context.Context, workflow string, f *followed) error {
	var arn string
	var region string
	var started time.Time
	for _, m := range t.machines {
		if m.workflow != workflow {
			continue
		}
		out, err := t.states(m.region).ListExecutions(ctx, &sfn.ListExecutionsInput{StateMachineArn: &m.arn, MaxResults: 1})
		if err != nil {
			return fmt.Errorf("look for executions in %s: %w", m.region, err)
		}
		if len(out.Executions) > 0 && !aws.ToTime(out.Executions[0].StartDate).Before(started) {
			arn, region, started = aws.ToString(out.Executions[0].ExecutionArn), m.region, aws.ToTime(out.Executions[0].StartDate)
		}
	}
	if arn == "" {
		return nil
	}
	if arn != f.arn {
		*f = followed{arn: arn}
	}
	described, err := t.states(region).DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
	if err != nil {
		return fmt.Errorf("describe an execution in %s: %w", region, err)
	}
	fresh, err := t.since(ctx, region, f)
	if err != nil {
		return fmt.Errorf("read the history of an execution in %s: %w", region, err)
	}
	f.Name, f.Region, f.Status = aws.ToString(described.Name), region, described.Status
	f.Started, f.Stopped = aws.ToTime(described.StartDate), aws.ToTime(described.StopDate)
	f.Error = reason(described)
	if described.Status != sfntypes.ExecutionStatusRunning {
		_, err := t.Report(ctx, region, f.Name)
		f.HasReport = err == nil
	}
	f.History = append(f.History, fresh...) // readers of the shorter list keep it
	return nil
}

// since reads what happened in an execution after what is known, by reading
// backwards.
func (t *testbed) since(ctx context.Context, region string, f *followed) ([]sfntypes.HistoryEvent, error) {
	var known int64
	if n := len(f.History); n > 0 {
		known = f.History[n-1].Id
	}
	var fresh []sfntypes.HistoryEvent
	pages := sfn.NewGetExecutionHistoryPaginator(t.states(region), &sfn.GetExecutionHistoryInput{
		ExecutionArn: &f.arn, ReverseOrder: true, MaxResults: 100,
	})
read:
	for pages.HasMorePages() {
		p, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range p.Events {
			if e.Id <= known {
				break read
			}
			fresh = append(fresh, e)
		}
	}
	slices.Reverse(fresh)
	return fresh, nil
}

// reason is why an execution failed, in words: a function's error comes as JSON.
func reason(e *sfn.DescribeExecutionOutput) string {
	var function struct{ ErrorMessage string }
	cause := aws.ToString(e.Cause)
	if json.Unmarshal([]byte(cause), &function) == nil && function.ErrorMessage != "" {
		cause = function.ErrorMessage
	}
	return strings.TrimPrefix(strings.Join([]string{aws.ToString(e.Error), cause}, ": "), ": ")
}

func (t *testbed) Report(ctx context.Context, region, execution string) ([]byte, error) {
	for _, d := range t.bed.Stacks() {
		for id, r := range d.Stack.Template.Resources {
			c, ok := d.Created(id)
			if !ok || r.Type != "AWS::S3::Bucket" || d.Stack.Region != region {
				continue
			}
			client := s3.NewFromConfig(t.bed.Config(region), func(o *s3.Options) { o.UsePathStyle = true })
			out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &c.Ref, Key: aws.String("reports/" + execution + "/report.html")})
			if err != nil {
				return nil, fmt.Errorf("there is no report of %s in %s: %w", execution, region, err)
			}
			defer out.Body.Close()
			return io.ReadAll(out.Body)
		}
	}
	return nil, fmt.Errorf("there is no bucket in %s", region)
}

func (t *testbed) Holdings(ctx context.Context) ([]page.Holding, error) {
	list := []page.Holding{t.pool("Source pool", t.source)}
	if t.target != "" {
		list = append(list, t.pool("Target pool", t.target))
	}
	if t.table == "" {
		return list, nil
	}
	for i, region := range t.bed.Regions() {
		of, err := t.records(ctx, region)
		if err != nil {
			return nil, fmt.Errorf("read the backup table in %s: %w", region, err)
		}
		title := "Backup table"
		if i > 0 {
			title = "Its replica"
		}
		list = append(list, page.Holding{Title: title, ID: t.table, Region: region, Counts: of})
	}
	return list, nil
}

func regionOf(poolID string) string {
	region, _, _ := strings.Cut(poolID, "_")
	return region
}

func (t *testbed) pool(title, id string) page.Holding {
	h := page.Holding{Title: title, ID: id, Region: regionOf(id)}
	held, err := t.bed.Cognito(h.Region).Snapshot(id)
	if err != nil {
		h.Gone = true
		return h
	}
	h.Counts = map[page.Kind]int{page.Users: len(held.Users), page.Groups: len(held.Groups), page.Memberships: 0}
	for _, members := range held.Members {
		h.Counts[page.Memberships] += len(members)
	}
	return h
}

// records counts a table's records, unless nothing was written since the last
// time.
func (t *testbed) records(ctx context.Context, region string) (map[page.Kind]int, error) {
	stats := t.bed.DynamoDB(region).Stats()
	writes := t.bed.Replicator().Copied()
	for _, of := range []map[string]int{stats.Puts, stats.Updates, stats.Deletes} {
		for _, n := range of {
			writes += n
		}
	}
	t.mu.Lock()
	known := t.counts[region]
	t.mu.Unlock()
	if known != nil && known.writes == writes {
		return known.of, nil
	}
	of := map[page.Kind]int{page.Users: 0, page.Groups: 0, page.Memberships: 0, page.Kept: 0, page.RestorePoints: 0}
	items := dynamodb.NewScanPaginator(dynamodb.NewFromConfig(t.bed.Config(region)), &dynamodb.ScanInput{
		TableName: &t.table, ProjectionExpression: aws.String("#id, #type, deletedAt"),
		ExpressionAttributeNames: map[string]string{"#id": "id", "#type": "type"},
	})
	for items.HasMorePages() {
		p, err := items.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, item := range p.Items {
			if kind := kindOf(item); kind != "" {
				of[kind]++
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[region] = &counted{writes, of}
	return of, nil
}

// kindOf sorts an item of the backup table; "" is none of what people count.
func kindOf(item map[string]types.AttributeValue) page.Kind {
	text := func(name string) string {
		v, _ := item[name].(*types.AttributeValueMemberS)
		if v == nil {
			return ""
		}
		return v.Value
	}
	prefix, _, _ := strings.Cut(text("id"), "-")
	kind := map[string]page.Kind{"USER": page.Users, "GROUP": page.Groups, "GROUP_MEMBER": page.Memberships, "EXPORT": page.RestorePoints}[prefix]
	_, deleted := item["deletedAt"]
	if older := strings.Contains(text("type"), " "); kind != "" && kind != page.RestorePoints && (older || deleted) {
		return page.Kept
	}
	return kind
}

func (t *testbed) Targets() []page.Target {
	var list []page.Target
	if t.target != "" {
		list = append(list, page.Target{PoolID: t.target, Label: "the target pool, in the other Region:"})
	}
	return append(list, page.Target{PoolID: t.source, Label: "the source pool itself:"})
}

func (t *testbed) Export(ctx context.Context) error {
	return t.start(ctx, "ExportWorkflow", regionOf(t.source), `{}`)
}

// start starts a workflow, unless it runs already: a second execution would
// only fail, as check-state-machine sees to.
func (t *testbed) start(ctx context.Context, workflow, region, input string) error {
	for _, m := range t.machines {
		if m.workflow != workflow || m.region != region {
			continue
		}
		out, err := t.states(region).ListExecutions(ctx, &sfn.ListExecutionsInput{
			StateMachineArn: &m.arn, StatusFilter: sfntypes.ExecutionStatusRunning, MaxResults: 1,
		})
		if err != nil {
			return fmt.Errorf("look for running executions: %w", err)
		}
		if len(out.Executions) > 0 {
			return fmt.Errorf("the %s is running already: wait until it has ended", workflow)
		}
		if _, err := t.states(region).StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: &m.arn, Input: &input}); err != nil {
			return fmt.Errorf("start the %s: %w", workflow, err)
		}
		return nil
	}
	return fmt.Errorf("there is no %s in %s", workflow, region)
}

// Restore deletes the users before it starts the import, and only when there
// is something to restore them from.
func (t *testbed) Restore(ctx context.Context, poolID string) (deleted int, err error) {
	if poolID != t.target && poolID != t.source || poolID == "" {
		return 0, errors.New("choose one of the pools to restore into")
	}
	held, err := t.records(ctx, regionOf(poolID))
	if err != nil {
		return 0, fmt.Errorf("look for a restore point: %w", err)
	}
	if held[page.RestorePoints] == 0 {
		return 0, errors.New("there is no restore point yet, so nothing was deleted: let an export finish first")
	}
	for _, workflow := range []string{"ExportWorkflow", "ImportWorkflow"} {
		e, err := t.Newest(ctx, workflow)
		if err != nil {
			return 0, err
		}
		if e != nil && e.Status == sfntypes.ExecutionStatusRunning {
			return 0, fmt.Errorf("the %s is running, so nothing was deleted: wait until it has ended", workflow)
		}
	}
	if deleted, err = t.deleteUsers(ctx); err != nil {
		return deleted, fmt.Errorf("delete the users of %s: %w", t.source, err)
	}
	input, err := json.Marshal(map[string]string{"NewUserPoolId": poolID})
	if err != nil {
		return deleted, err
	}
	return deleted, t.start(ctx, "ImportWorkflow", regionOf(poolID), string(input))
}

// deleteUsers empties the source pool. The quota would make it take longer
// than anybody wants to look at; nothing else runs meanwhile.
func (t *testbed) deleteUsers(ctx context.Context) (int, error) {
	service := t.bed.Cognito(regionOf(t.source))
	held, err := service.Snapshot(t.source)
	if err != nil {
		return 0, err
	}
	var before cognito.Values
	service.Settings().Update(func(v *cognito.Values) {
		before = *v
		v.Quotas = map[string]float64{cognito.Category("AdminDeleteUser"): cognito.Unlimited}
		v.UserQuota = cognito.Unlimited
	})
	defer service.Settings().Update(func(v *cognito.Values) { v.Quotas, v.UserQuota = before.Quotas, before.UserQuota })

	api := idp.NewFromConfig(t.bed.Config(regionOf(t.source)))
	for i, u := range held.Users {
		if _, err := api.AdminDeleteUser(ctx, &idp.AdminDeleteUserInput{UserPoolId: &t.source, Username: &u.Username}); err != nil {
			return i, err
		}
	}
	return len(held.Users), nil
}
