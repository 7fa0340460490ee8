package stacks

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/jsii-runtime-go"
)

const (
	// runObjectDays outlasts every run that the quotas allow in practice: ten
	// million memberships at 10 a second take 12 days. What a run no longer
	// needs it deletes itself; this is for runs that died.
	runObjectDays = 90
	// reportDays keeps the mapping of old to new subs for a year.
	reportDays = 365
)

// createBucket makes the bucket for what is too large for state and queues:
// cursors, chunks, CSV results, reports. Versioned, so that neither a mistake
// nor an overwritten cursor loses anything; the lifecycle bounds the versions.
func (s *site) createBucket() {
	props := &awss3.BucketProps{
		BucketName:        jsii.String(s.names.bucket(s.region)),
		BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		ObjectOwnership:   awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED,
		EnforceSSL:        jsii.Bool(true),
		MinimumTLSVersion: jsii.Number(1.2),
		Encryption:        awss3.BucketEncryption_S3_MANAGED,
		Versioned:         jsii.Bool(true),
		// Kept, but not by a creation that is rolled back: the next would find
		// the name taken.
		RemovalPolicy: awscdk.RemovalPolicy_RETAIN_ON_UPDATE_OR_DELETE,
		LifecycleRules: &[]*awss3.LifecycleRule{
			{
				Id:                          jsii.String("RunObjects"),
				Prefix:                      jsii.String("runs/"),
				Expiration:                  awscdk.Duration_Days(jsii.Number(runObjectDays)),
				NoncurrentVersionExpiration: awscdk.Duration_Days(jsii.Number(1)),
			},
			{
				Id:                          jsii.String("Reports"),
				Prefix:                      jsii.String("reports/"),
				Expiration:                  awscdk.Duration_Days(jsii.Number(reportDays)),
				NoncurrentVersionExpiration: awscdk.Duration_Days(jsii.Number(30)),
			},
			{
				Id:                                  jsii.String("AbandonedUploads"),
				AbortIncompleteMultipartUploadAfter: awscdk.Duration_Days(jsii.Number(1)),
			},
		},
	}
	if s.dataKey != nil {
		props.Encryption = awss3.BucketEncryption_KMS
		props.EncryptionKey = s.dataKey
		props.BucketKeyEnabled = jsii.Bool(true)
	}
	bucket := awss3.NewBucket(s.stack, jsii.String("Bucket"), props)
	suppress(bucket, "AwsSolutions-S1", "Only the functions of this deployment touch the objects, and their log lines tell what they did. "+
		"Server access logs would need a second bucket per Region; CloudTrail data events record every access where a policy demands it.")
	s.bucket = bucket
	s.beforeSchedule = append(s.beforeSchedule, s.bucket)
}

// bucketARN is the bucket's ARN, or that of objects in it.
func (s *site) bucketARN(objects ...string) string {
	arn := "arn:" + partition(s.region) + ":s3:::" + s.names.bucket(s.region)
	for _, key := range objects {
		arn += "/" + key
	}
	return arn
}

// maxReceives is how often a message may be received before SQS gives it up.
// Steps put down on purpose what their time slice does not reach, so receiving
// again is normal; only a message that kills its function gets this far.
const maxReceives = 20

// createQueue makes a queue and its dead-letter queue.
func (s *site) createQueue(queue string) {
	dead := s.newQueue(s.names.deadLetterQueue(queue), nil)
	live := s.newQueue(s.names.of(queue), &awssqs.DeadLetterQueue{Queue: dead, MaxReceiveCount: jsii.Number(maxReceives)})
	s.queues[queue], s.queues[deadLetter(queue)] = live, dead
	s.beforeSchedule = append(s.beforeSchedule, live)
}

func (s *site) newQueue(name string, dead *awssqs.DeadLetterQueue) awssqs.Queue {
	props := &awssqs.QueueProps{
		QueueName:       jsii.String(name),
		DeadLetterQueue: dead,
		EnforceSSL:      jsii.Bool(true),
		Encryption:      awssqs.QueueEncryption_SQS_MANAGED,
		RetentionPeriod: awscdk.Duration_Days(jsii.Number(14)), // the maximum
		// Longer than a function can run, so that nothing is handed out twice
		// while its first receiver may still be at work.
		VisibilityTimeout: awscdk.Duration_Seconds(jsii.Number(taskTimeout)),
	}
	if s.dataKey != nil {
		props.Encryption = awssqs.QueueEncryption_KMS
		props.EncryptionMasterKey = s.dataKey
		props.DataKeyReuse = awscdk.Duration_Hours(jsii.Number(1))
	}
	id := name[len(s.names.prefix)+1:]
	return awssqs.NewQueue(s.stack, jsii.String(id), props)
}

// createCSVLogsRole makes the role with which Cognito logs an import job.
// Cognito documents neither a source ARN nor a source account for it, so its
// trust has no such condition.
func (s *site) createCSVLogsRole() {
	role := awsiam.NewRole(s.stack, jsii.String("ImportJobLogs"), &awsiam.RoleProps{
		AssumedBy:   awsiam.NewServicePrincipal(jsii.String("cognito-idp.amazonaws.com"), nil),
		Description: jsii.String("Cognito logs the CSV import jobs of " + s.names.of(importWorkflow) + " with it"),
	})
	s.allow(role, grant{
		sid:       "LogImportJobs",
		actions:   []string{"logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"},
		resources: []string{s.arn("logs", "log-group:/aws/cognito/*")},
		why:       "Cognito names the log group of an import job after the pool and the job, under /aws/cognito/.",
	})
	s.csvLogsRole = role
	s.beforeSchedule = append(s.beforeSchedule, role)
}
