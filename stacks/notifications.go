package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awseventstargets"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssnssubscriptions"
	"github.com/aws/jsii-runtime-go"
)

// createTopic makes the topic that people subscribe to, by e-mail.
func (s *site) createTopic() {
	topic := awssns.NewTopic(s.stack, jsii.String("Notifications"), &awssns.TopicProps{
		TopicName:   jsii.String(s.names.of("Notifications")),
		DisplayName: jsii.String(s.names.prefix),
		MasterKey:   s.topicKey,
		EnforceSSL:  jsii.Bool(true),
	})
	topic.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        jsii.String("AlarmsPublish"),
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(jsii.String("cloudwatch.amazonaws.com"), nil)},
		Actions:    jsii.Strings("sns:Publish"),
		Resources:  &[]*string{topic.TopicArn()},
		Conditions: &map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": *s.stack.Account()}},
	}))
	for _, address := range s.params.NotificationEmails {
		topic.AddSubscription(awssnssubscriptions.NewEmailSubscription(jsii.String(address), nil))
	}
	s.topic = topic
	s.beforeSchedule = append(s.beforeSchedule, topic)
}

// createFailureRule tells people about executions that ended badly. A Catch in
// the state machine would not see a time-out of the whole or an abort.
func (s *site) createFailureRule() {
	arns := []*string{s.workflows[importWorkflow].StateMachineArn()}
	if export := s.workflows[exportWorkflow]; export != nil {
		arns = append([]*string{export.StateMachineArn()}, arns...)
	}
	rule := awsevents.NewRule(s.stack, jsii.String("WorkflowFailed"), &awsevents.RuleProps{
		RuleName:    jsii.String(s.names.of("WorkflowFailed")),
		Description: jsii.String("Tells people about a workflow that failed, timed out or was aborted"),
		EventPattern: &awsevents.EventPattern{
			Source:     jsii.Strings("aws.states"),
			DetailType: jsii.Strings("Step Functions Execution Status Change"),
			Detail: &map[string]any{
				"status":          []string{"FAILED", "TIMED_OUT", "ABORTED"},
				"stateMachineArn": arns,
			},
		},
	})
	rule.AddTarget(awseventstargets.NewLambdaFunction(s.functions["send-message"], nil))
	s.beforeSchedule = append(s.beforeSchedule, rule)
}
