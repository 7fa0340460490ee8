package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsscheduler"
	"github.com/aws/jsii-runtime-go"
)

// createExportWorkflow makes the state machine that copies the pool into the
// backup table.
func (s *site) createExportWorkflow() {
	f := s.flow(exportWorkflow)
	f.first("CheckStateMachine", "check-state-machine",
		"Takes the lease. A scheduled export that meets a running one is skipped.", "ExportSkipped?")
	f.states["ExportSkipped?"] = state{Type: "Choice",
		Choices: []choice{{runSkipped, true, "ExportSkipped"}}, Default: "CheckUserPoolConfig"}
	f.leave("ExportSkipped")
	f.task("CheckUserPoolConfig", "check-user-pool-config", "Backs up the configuration and plans the run.", "ExportUsers")
	f.loop("ExportUsers", "export-users", "Users that differ from the backup.", false, "ListGroups")
	f.loop("ListGroups", "list-groups", "Groups that differ from the backup.", false, "ExportGroupMembers")
	f.loop("ExportGroupMembers", "export-group-members", "Memberships that differ from the backup.", false, "CleanUpBackupTable")
	f.loop("CleanUpBackupTable", "clean-up-backup-table",
		"Marks what vanished, commits the restore point, removes what none needs.", true, "SendMessage")
	f.task("SendMessage", "send-message", "Failures are told by the rule "+s.names.of("WorkflowFailed")+".", "")

	s.createWorkflow(exportWorkflow,
		f.definition("Copies user pool "+s.params.PrimaryUserPoolID+" into "+s.names.table()+". Start by hand with {}.", "CheckStateMachine"),
		[]string{"check-state-machine", "check-user-pool-config", "export-users", "list-groups",
			"export-group-members", "clean-up-backup-table", "send-message"})
}

// createSchedule starts exports. A schedule with a rate starts its first one
// as soon as it is created, so everything an export needs comes before it.
func (s *site) createSchedule() {
	workflow := *s.workflows[exportWorkflow].StateMachineArn()
	role := awsiam.NewRole(s.stack, jsii.String("ExportScheduleRole"), &awsiam.RoleProps{
		AssumedBy: awsiam.NewServicePrincipal(jsii.String("scheduler.amazonaws.com"), &awsiam.ServicePrincipalOpts{
			Conditions: &map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": *s.stack.Account()}},
		}),
		Description: jsii.String("Starts " + s.names.of(exportWorkflow) + " on schedule"),
	})
	s.allow(role, grant{sid: "StartExport", actions: []string{"states:StartExecution"}, resources: []string{workflow}})

	schedule := awsscheduler.NewCfnSchedule(s.stack, jsii.String("ExportSchedule"), &awsscheduler.CfnScheduleProps{
		Name:                       jsii.String(s.names.of("ExportSchedule")),
		Description:                jsii.String("Exports of user pool " + s.params.PrimaryUserPoolID),
		ScheduleExpression:         jsii.String(s.params.Schedule.Expression),
		ScheduleExpressionTimezone: jsii.String("UTC"),
		FlexibleTimeWindow:         &awsscheduler.CfnSchedule_FlexibleTimeWindowProperty{Mode: jsii.String("OFF")},
		Target: &awsscheduler.CfnSchedule_TargetProperty{
			Arn:     jsii.String(workflow),
			RoleArn: role.RoleArn(),
			// An export that knows that the schedule started it gives way to one
			// that is still running; one that a person starts complains.
			Input: jsii.String(`{"ScheduledTime":"<aws.scheduler.scheduled-time>"}`),
		},
	})
	schedule.Node().AddDependency(policyOf(role))
	for _, needed := range s.beforeSchedule {
		schedule.Node().AddDependency(needed)
	}
}
