package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
)

// newPrimary is the stack in the Region of the user pool: the table, both
// workflows and the schedule of the exports.
func newPrimary(app awscdk.App, props Props) awscdk.Stack {
	p := props.Parameters
	s := newSite(app, props, "Primary", p.PrimaryRegion,
		"Backup of Cognito user pool "+p.PrimaryUserPoolID+": scheduled export, backup table, restore.")

	s.createKeys()
	s.createTable()
	s.createBucket()
	s.createQueue(cleanUpQueue)
	s.createQueue(newUsersQueue)
	s.createQueue(updatesQueue)
	s.createTopic()
	s.createCSVLogsRole()
	s.createFunctions()
	s.createExportWorkflow()
	s.createImportWorkflow()
	s.createFailureRule()
	s.createMonitoring()
	s.createSchedule()
	s.createOutputs()
	return s.stack
}
