package localaws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/localaws/eventbridge"
	"cognito-backup/test/localaws/scheduler"
	"cognito-backup/test/localaws/wire"
)

func (b *Bed) createSchedule(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	document, err := json.Marshal(r.Properties)
	if err != nil {
		return cloudformation.Created{}, err
	}
	var schedule scheduler.Schedule
	if err := json.Unmarshal(document, &schedule); err != nil {
		return cloudformation.Created{}, err
	}
	schedule.Name = physicalName(r, "Name")
	// Scheduler tries the role when the schedule is made, as CloudFormation
	// users find out.
	if d := b.iam.CanAssume("scheduler.amazonaws.com", schedule.Target.RoleArn, scheduleContext(r.Stack.Region, schedule)); !d.Allowed {
		return cloudformation.Created{}, fmt.Errorf("the execution role must allow Scheduler to assume it: %s", d.Reason)
	}
	arn, err := b.regional(r.Stack.Region).scheduler.Create(schedule)
	return cloudformation.Created{Ref: schedule.Name, Attributes: map[string]string{"Arn": arn}}, err
}

// scheduleContext is what Scheduler tells when it assumes a role.
func scheduleContext(region string, s scheduler.Schedule) map[string]string {
	group := s.GroupName
	if group == "" {
		group = "default"
	}
	return map[string]string{
		"aws:SourceAccount": wire.Account,
		"aws:SourceArn":     fmt.Sprintf("arn:aws:scheduler:%s:%s:schedule-group/%s", region, wire.Account, group),
	}
}

// startScheduled starts an execution on behalf of a schedule's role.
func (b *Bed) startScheduled(region string) scheduler.Starter {
	return func(_ context.Context, t scheduler.Target) error {
		if b.regionDown(region) {
			return &wire.Error{Code: "ServiceUnavailable", Message: "the Region is down", Status: http.StatusServiceUnavailable}
		}
		if err := b.authorizeService(t.RoleARN, "states:StartExecution", t.ARN, nil); err != nil {
			return err
		}
		parts := strings.Split(t.ARN, ":")
		if len(parts) < 4 {
			return wire.Errorf("InvalidArn", "Invalid Arn: %s", t.ARN)
		}
		_, err := b.regional(parts[3]).states.Start(t.ARN, "", t.Input)
		return err
	}
}

func (b *Bed) createRule(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	if r.Properties.Has("ScheduleExpression") {
		return cloudformation.Created{}, errors.New("has a ScheduleExpression; the testbed knows schedules of EventBridge Scheduler only")
	}
	document, err := json.Marshal(r.Properties)
	if err != nil {
		return cloudformation.Created{}, err
	}
	var rule eventbridge.Rule
	if err := json.Unmarshal(document, &rule); err != nil {
		return cloudformation.Created{}, err
	}
	rule.Name = physicalName(r, "Name")
	arn, err := b.regional(r.Stack.Region).events.PutRule(rule)
	return cloudformation.Created{Ref: rule.Name, Attributes: map[string]string{"Arn": arn}}, err
}

// permitRule asks the function's own policy (AWS::Lambda::Permission).
func (b *Bed) permitRule(functionARN, ruleARN string) error {
	d := b.iam.AllowedService("events.amazonaws.com", "lambda:InvokeFunction", functionARN, map[string]string{"aws:SourceArn": ruleARN})
	if d.Allowed {
		return nil
	}
	err := fmt.Errorf("events.amazonaws.com may not invoke %s: %s", functionARN, d.Reason)
	b.violation("EventBridge rule %s: %v", ruleARN, err)
	return err
}
