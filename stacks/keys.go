package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/jsii-runtime-go"
)

// createKeys makes the key of the topic, which is customer-managed in any
// case: alarms cannot publish to a topic under the AWS-managed key, whose
// policy nobody can change. With customerManagedKeys one key per Region serves
// table, bucket, queues and topic.
func (s *site) createKeys() {
	if !s.params.CustomerManagedKeys {
		s.topicKey = s.newKey("NotificationsKey", "Notifications of "+s.names.prefix, awscdk.RemovalPolicy_DESTROY)
		return
	}
	if s.isPrimary() {
		// Kept in any case: the table survives even a creation that is rolled
		// back, and cannot be read without its key.
		s.dataKey = s.newBackupKey(awscdk.RemovalPolicy_RETAIN)
	} else {
		s.dataKey = awskms.Key_FromKeyArn(s.stack, jsii.String("BackupKey"),
			awscdk.Fn_ImportValue(jsii.String(s.names.keyExport())))
	}
	s.topicKey = s.dataKey
}

// newBackupKey makes the customer-managed key of a Region. It outlives the
// stack, like the table and the bucket that cannot be read without it.
func (s *site) newBackupKey(removal awscdk.RemovalPolicy) awskms.Key {
	key := s.newKey("BackupKey", "Backup table, bucket, queues and topic of "+s.names.prefix, removal)
	key.AddAlias(jsii.String(s.names.keyAlias()))
	return key
}

// newKey makes a key that CloudWatch alarms of this account can use on their
// way to the topic. AWS supports the condition for CloudWatch (not for
// EventBridge, which publishes nothing here).
func (s *site) newKey(id, description string, removal awscdk.RemovalPolicy) awskms.Key {
	key := awskms.NewKey(s.stack, jsii.String(id), &awskms.KeyProps{
		Description:       jsii.String(description),
		EnableKeyRotation: jsii.Bool(true),
		RemovalPolicy:     removal,
	})
	key.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid:        jsii.String("AlarmsPublishToTheTopic"),
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(jsii.String("cloudwatch.amazonaws.com"), nil)},
		Actions:    jsii.Strings("kms:Decrypt", "kms:GenerateDataKey*"),
		Resources:  jsii.Strings("*"), // in a key policy: this key
		Conditions: &map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": awscdk.Aws_ACCOUNT_ID()}},
	}), nil)
	return key
}
