package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
)

// newSecondary is the stack in the other Region: the ImportWorkflow over the
// table's replica. Nothing in it refers to the primary stack.
func newSecondary(app awscdk.App, props Props) awscdk.Stack {
	p := props.Parameters
	s := newSite(app, props, "Secondary", p.SecondaryRegion,
		"Restore of Cognito user pool "+p.PrimaryUserPoolID+" in another Region, from the replica of the backup table.")

	s.createKeys()
	s.createBucket()
	s.createQueue(newUsersQueue)
	s.createQueue(updatesQueue)
	s.createTopic()
	s.createCSVLogsRole()
	s.createFunctions()
	s.createImportWorkflow()
	s.createFailureRule()
	s.createMonitoring()
	s.createOutputs()
	return s.stack
}

// newSecondaryKey is the stack of the secondary Region's key. It stands alone
// because a replica needs its key before the table is created, and the
// secondary stack comes after the table.
func newSecondaryKey(app awscdk.App, props Props) awscdk.Stack {
	s := newSite(app, props, "SecondaryKey", props.Parameters.SecondaryRegion,
		"Key of the backup of Cognito user pool "+props.Parameters.PrimaryUserPoolID+" in the secondary Region.")
	// Nothing is encrypted with it before its stack stands.
	key := s.newBackupKey(awscdk.RemovalPolicy_RETAIN_ON_UPDATE_OR_DELETE)
	awscdk.NewCfnOutput(s.stack, jsii.String("KeyArn"), &awscdk.CfnOutputProps{
		Description: jsii.String("Key of the backup in this Region, for " + s.names.of("Secondary")),
		Value:       key.KeyArn(),
		ExportName:  jsii.String(s.names.keyExport()),
	})
	return s.stack
}
