package stacks

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

const (
	// sliceSeconds is how long a step works before it hands over to its next
	// invocation; the rest of functionTimeout is for what it is in the middle of.
	// The longer it is, the more an execution can do before its history is full.
	sliceSeconds    = 720
	functionTimeout = 900 // seconds; the maximum
	// taskTimeout is when a state gives up on its function. It is longer than
	// the function can run, so that two invocations do not overlap as a rule.
	taskTimeout = 960 // seconds

	logRetention = awslogs.RetentionDays_THREE_MONTHS
)

// createFunctions makes the function of every step, each with a role and a log
// group of its own.
func (s *site) createFunctions() {
	for _, step := range s.steps() {
		s.createFunction(step)
	}
}

func (s *site) createFunction(step step) {
	name := s.names.of(step.name)
	scope := constructs.NewConstruct(s.stack, jsii.String(step.name))
	logs := awslogs.NewLogGroup(scope, jsii.String("Logs"), &awslogs.LogGroupProps{
		LogGroupName:  jsii.String("/aws/lambda/" + name),
		Retention:     logRetention,
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
	})
	role := awsiam.NewRole(scope, jsii.String("Role"), &awsiam.RoleProps{
		AssumedBy:   awsiam.NewServicePrincipal(jsii.String("lambda.amazonaws.com"), nil),
		Description: jsii.String("What the function " + name + " may do"),
	})
	s.allow(role, step.grants(s)...)
	s.allow(role, grant{
		sid:       "Log",
		actions:   []string{"logs:CreateLogStream", "logs:PutLogEvents"},
		resources: []string{s.arn("logs", "log-group:/aws/lambda/"+name+":*")},
		why:       "Lambda names the log streams. The log group is the function's own.",
	})
	s.allow(role, s.keyGrants(step)...)

	function := awslambda.NewFunction(scope, jsii.String("Function"), &awslambda.FunctionProps{
		FunctionName: jsii.String(name),
		Description:  jsii.String(step.does),
		Runtime:      awslambda.Runtime_PROVIDED_AL2023(),
		Architecture: awslambda.Architecture_ARM_64(),
		Code:         awslambda.Code_FromAsset(jsii.String(filepath.Join(s.assets, step.name)), nil),
		// A custom runtime ignores the handler; the name of the folder it is
		// built from is what someone reading the template wants to know.
		Handler:          jsii.String(step.name),
		MemorySize:       jsii.Number(step.memory),
		Timeout:          awscdk.Duration_Seconds(jsii.Number(functionTimeout)),
		Role:             role,
		Environment:      s.environment(step),
		Tracing:          awslambda.Tracing_ACTIVE,
		LogGroup:         logs,
		LoggingFormat:    awslambda.LoggingFormat_JSON,
		SystemLogLevelV2: awslambda.SystemLogLevel_WARN,
	})
	s.functions[step.name] = function
	suppressTracing(role)
	dependOnPolicy(function, role)
	s.beforeSchedule = append(s.beforeSchedule, scope)
}

// keyGrants is the use of customer-managed keys, through the services whose
// data they protect, as far as the step calls them, and no other way.
func (s *site) keyGrants(step step) []grant {
	var grants []grant
	if s.dataKey != nil {
		var via []string
		for _, service := range []string{"dynamodb", "s3", "sqs", "sns"} {
			if uses(step.grants(s), service) {
				via = append(via, fmt.Sprintf("%s.%s.%s", service, s.region, *awscdk.Aws_URL_SUFFIX()))
			}
		}
		grants = append(grants, grant{
			sid:        "BackupKey",
			actions:    []string{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"},
			resources:  []string{*s.dataKey.KeyArn()},
			conditions: equals("kms:ViaService", via...),
		})
	} else if step.name == "send-message" {
		grants = append(grants, grant{
			sid:       "NotificationsKey",
			actions:   []string{"kms:Decrypt", "kms:GenerateDataKey"},
			resources: []string{*s.topicKey.KeyArn()},
		})
	}
	return grants
}

// uses tells whether the grants allow an action of the service.
func uses(grants []grant, service string) bool {
	return slices.ContainsFunc(grants, func(g grant) bool {
		return slices.ContainsFunc(g.actions, func(action string) bool { return strings.HasPrefix(action, service+":") })
	})
}

// environment is the values of the variables that the step is told.
func (s *site) environment(step step) *map[string]*string {
	values := map[string]func() *string{
		"STACK_PREFIX":          text(s.params.StackPrefix),
		"TABLE_NAME":            text(s.names.table()),
		"BUCKET_NAME":           s.bucket.BucketName,
		"PRIMARY_USER_POOL_ID":  text(s.params.PrimaryUserPoolID),
		"SLICE_SECONDS":         number(sliceSeconds),
		"COGNITO_TPS":           number(s.params.CognitoTPS),
		"EXPORT_SHARDS":         number(s.params.ExportShards),
		"RETENTION_DAYS":        number(s.params.RetentionDays),
		"MASS_DELETION_PERCENT": number(s.params.MassDeletionPercent),
		"SNS_PREFERENCE":        text(string(s.params.SNSPreference)),
		"TOPIC_ARN":             s.topic.TopicArn,
		"IMPORT_JOB_ROLE_ARN":   s.csvLogsRole.RoleArn,
	}
	for variable, queue := range map[string]string{
		"CLEAN_UP_QUEUE_URL":            cleanUpQueue,
		"NEW_USERS_QUEUE_URL":           newUsersQueue,
		"UPDATES_QUEUE_URL":             updatesQueue,
		"UPDATES_DEAD_LETTER_QUEUE_URL": deadLetter(updatesQueue),
	} {
		if q := s.queues[queue]; q != nil {
			values[variable] = q.QueueUrl
		}
	}
	env := map[string]*string{}
	for _, variable := range slices.Concat(commonEnv, step.env) {
		env[variable] = values[variable]()
	}
	return &env
}

func text(value string) func() *string { return func() *string { return &value } }

func number(value int) func() *string { return text(strconv.Itoa(value)) }
