package stacks

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
)

// createOutputs prints where to look and what to paste.
func (s *site) createOutputs() {
	for _, workflow := range s.liveWorkflows() {
		s.output(workflow+"Arn", "State machine", *s.workflows[workflow].StateMachineArn())
		s.output(workflow+"Console", "State machine in the console: start executions here", s.workflowURL(workflow))
	}
	s.output("DashboardConsole", "Dashboard", s.console("cloudwatch/home", "#dashboards/dashboard/"+*s.dashboard.DashboardName()))
	s.output("BackupTableConsole", "Backup table", s.console("dynamodbv2/home", "#table?name="+s.names.table()))
	s.output("BucketName", "Reports and working objects of runs", *s.bucket.BucketName())
	s.output("BucketConsole", "Reports of imports in the console", s.console("s3/buckets/"+*s.bucket.BucketName(), ""))
	s.output("ImportInput", "Input of the "+importWorkflow+": put in the id of the pool that is to receive the users",
		fmt.Sprintf(`{"NewUserPoolId": "%s_XXXXXXXXX"}`, s.region))
	s.output("Parameters", "The parameters of this deployment, as cdk.json takes them", s.params.context())
}

func (s *site) output(id, description, value string) {
	awscdk.NewCfnOutput(s.stack, jsii.String(id), &awscdk.CfnOutputProps{
		Description: jsii.String(description), Value: jsii.String(value),
	})
}

func (s *site) workflowURL(workflow string) string {
	return s.console("states/home", "#/statemachines/view/"+s.ref("states", "stateMachine:", workflow))
}

// console is a link into this Region's console.
func (s *site) console(page, fragment string) string {
	host := map[string]string{
		"aws":        "console.aws.amazon.com",
		"aws-cn":     "console.amazonaws.cn",
		"aws-us-gov": "console.amazonaws-us-gov.com",
	}[partition(s.region)]
	return fmt.Sprintf("https://%s.%s/%s?region=%s%s", s.region, host, page, s.region, fragment)
}
