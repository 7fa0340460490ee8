package stacks

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var bothStacks = []string{"Primary", "Secondary"}

// inBoth runs a test for each stack of each assembly.
func inBoth(t *testing.T, test func(t *testing.T, tmpl *template, ownKey bool)) {
	t.Helper()
	for _, stack := range bothStacks {
		t.Run(stack, func(t *testing.T) { test(t, standard(t).template(t, stack), false) })
		t.Run(stack+" with customer-managed keys", func(t *testing.T) { test(t, ownKeys(t).template(t, stack), true) })
	}
}

func TestTable(t *testing.T) {
	for name, a := range map[string]*assembly{"AWS-managed keys": standard(t), "customer-managed keys": ownKeys(t)} {
		t.Run(name, func(t *testing.T) {
			tables := a.template(t, "Primary").of(t, "AWS::DynamoDB::GlobalTable")
			if len(tables) != 1 {
				t.Fatalf("%d tables", len(tables))
			}
			table := tables[0]
			table.want(t, "TableName", "CognitoBackup-BackupTable")
			table.want(t, "KeySchema", []any{
				map[string]any{"AttributeName": "id", "KeyType": "HASH"}, map[string]any{"AttributeName": "type", "KeyType": "RANGE"}})
			table.want(t, "BillingMode", "PAY_PER_REQUEST")
			table.want(t, "SSESpecification", map[string]any{"SSEEnabled": true, "SSEType": "KMS"})
			table.want(t, "TimeToLiveSpecification", nil)
			table.wantRetained(t)
			table.want(t, "Replicas.0.Region", "us-west-2")
			table.want(t, "Replicas.1.Region", "ap-northeast-1")
			for _, replica := range []string{"Replicas.0.", "Replicas.1."} {
				table.want(t, replica+"DeletionProtectionEnabled", true)
				table.want(t, replica+"PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled", true)
			}
		})
	}
}

// wantRetained: neither a destroyed stack nor a replaced resource takes the
// data along, and the name by which it can be taken over again is known.
func (r resource) wantRetained(t *testing.T) {
	t.Helper()
	if !r.retained() || r.UpdateReplacePolicy != "Retain" {
		t.Errorf("%s %s: deletion policy %s, when replaced %s", r.Type, r.ID, r.DeletionPolicy, r.UpdateReplacePolicy)
	}
	if r.Type != "AWS::KMS::Key" && r.at("TableName") == nil && r.at("BucketName") == nil {
		t.Errorf("%s %s has a name that only CloudFormation knows", r.Type, r.ID)
	}
}

func (r resource) retained() bool { return strings.HasPrefix(r.DeletionPolicy, "Retain") }

// TestCreationRolledBack: a first deployment that fails leaves nothing in the
// way of the next, but for the table and, for as long as the table is there,
// its key. CloudFormation cannot delete the one, and the other must stay.
func TestCreationRolledBack(t *testing.T) {
	for name, want := range map[string]map[string]string{
		"Primary":      {"AWS::DynamoDB::GlobalTable": "Retain", "AWS::KMS::Key": "Retain", "AWS::S3::Bucket": "RetainExceptOnCreate"},
		"Secondary":    {"AWS::S3::Bucket": "RetainExceptOnCreate"},
		"SecondaryKey": {"AWS::KMS::Key": "RetainExceptOnCreate"},
	} {
		got := map[string]string{}
		for _, r := range ownKeys(t).template(t, name).Resources {
			if r.retained() {
				got[r.Type] = r.DeletionPolicy
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: deletion policies %v, want %v", name, got, want)
		}
	}
}

// TestNamesOfWhatIsRetained: CloudFormation takes over what an earlier
// deployment has left only if its name is in the template as it is, without a
// function. The account that the CDK CLI names is for nothing else.
func TestNamesOfWhatIsRetained(t *testing.T) {
	props := Props{Account: "123456789012"}
	known, err := synthesizeFor(props, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, stack := range bothStacks {
		tmpl, unknown := known.template(t, stack), standard(t).template(t, stack)
		found := 0
		for id, r := range tmpl.Resources {
			if r.retained() {
				found++
				name, _ := cmp.Or(r.at("TableName"), r.at("BucketName")).(string)
				if !strings.HasPrefix(strings.ToLower(name), "cognitobackup-") {
					t.Errorf("%s %s has no literal name: %s%s", stack, id, compact(r.at("TableName")), compact(r.at("BucketName")))
				}
			}
			if got, want := strings.ReplaceAll(plainAll(r.Properties), "cognitobackup-123456789012-", "cognitobackup-<AWS::AccountId>-"),
				plainAll(unknown.Resources[id].Properties); sortedLines(got) != sortedLines(want) {
				t.Errorf("%s %s differs in more than the bucket's name:\n%s\nwithout account\n%s", stack, id, got, want)
			}
		}
		if want := map[string]int{"Primary": 2, "Secondary": 1}[stack]; found != want {
			t.Errorf("%s retains %d resources, want %d", stack, found, want)
		}
	}
}

// sortedLines makes texts of maps comparable.
func sortedLines(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestTableKeys: the replica's key is named by its alias, because a reference
// to it would cross Regions.
func TestTableKeys(t *testing.T) {
	standardTable := standard(t).template(t, "Primary").of(t, "AWS::DynamoDB::GlobalTable")[0]
	standardTable.want(t, "Replicas.0.SSESpecification", nil)
	standardTable.want(t, "Replicas.1.SSESpecification", nil)

	primary := ownKeys(t).template(t, "Primary")
	table := primary.of(t, "AWS::DynamoDB::GlobalTable")[0]
	if got := plain(table.at("Replicas.0.SSESpecification.KMSMasterKeyId")); got != "arn:aws:kms:us-west-2:<AWS::AccountId>:alias/CognitoBackup-Backup" {
		t.Errorf("the replica is encrypted with %s", got)
	}
	key := primary.of(t, "AWS::KMS::Key")[0]
	if got := plain(table.at("Replicas.1.SSESpecification.KMSMasterKeyId")); got != "<"+key.ID+".Arn>" {
		t.Errorf("the table is encrypted with %s", got)
	}
	alias := ownKeys(t).template(t, "SecondaryKey").of(t, "AWS::KMS::Alias")[0]
	alias.want(t, "AliasName", "alias/CognitoBackup-Backup")
}

// TestOrderOfStacks: the secondary Region's key, then the table with its
// replica, then what uses the replica.
func TestOrderOfStacks(t *testing.T) {
	for _, test := range []struct {
		a         *assembly
		stack     string
		dependsOn []string
	}{
		{standard(t), "Primary", nil},
		{standard(t), "Secondary", []string{"CognitoBackup-Primary"}},
		{ownKeys(t), "SecondaryKey", nil},
		{ownKeys(t), "Primary", []string{"CognitoBackup-SecondaryKey"}},
		{ownKeys(t), "Secondary", []string{"CognitoBackup-Primary", "CognitoBackup-SecondaryKey"}},
	} {
		var manifest struct {
			Artifacts map[string]struct{ Dependencies []string }
		}
		readJSON(t, test.a.dir+"/manifest.json", &manifest)
		got := slices.DeleteFunc(manifest.Artifacts["CognitoBackup-"+test.stack].Dependencies,
			func(name string) bool { return strings.HasSuffix(name, ".assets") })
		if slices.Sort(got); !slices.Equal(got, test.dependsOn) {
			t.Errorf("%s depends on %v, want %v", test.stack, got, test.dependsOn)
		}
	}
}

func TestBucket(t *testing.T) {
	inBoth(t, func(t *testing.T, tmpl *template, ownKey bool) {
		buckets := tmpl.of(t, "AWS::S3::Bucket")
		if len(buckets) != 1 {
			t.Fatalf("%d buckets", len(buckets))
		}
		bucket := buckets[0]
		region := map[string]string{"Primary": "ap-northeast-1", "Secondary": "us-west-2"}[tmpl.name]
		if got := plain(bucket.at("BucketName")); got != "cognitobackup-<AWS::AccountId>-"+region {
			t.Errorf("the bucket is %s", got)
		}
		bucket.want(t, "PublicAccessBlockConfiguration", map[string]any{
			"BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true})
		bucket.want(t, "OwnershipControls.Rules.0.ObjectOwnership", "BucketOwnerEnforced")
		bucket.want(t, "VersioningConfiguration.Status", "Enabled")
		algorithm := "AES256"
		if ownKey {
			algorithm = "aws:kms"
		}
		bucket.want(t, "BucketEncryption.ServerSideEncryptionConfiguration.0.ServerSideEncryptionByDefault.SSEAlgorithm", algorithm)
		bucket.wantRetained(t)
		wantDenied(t, tmpl.of(t, "AWS::S3::BucketPolicy")[0], "s3:*", "Bool", "aws:SecureTransport", "false")
		wantDenied(t, tmpl.of(t, "AWS::S3::BucketPolicy")[0], "s3:*", "NumericLessThan", "s3:TlsVersion", 1.2)

		rules := map[any]map[string]any{}
		for _, rule := range list(bucket.at("LifecycleConfiguration.Rules")) {
			rules[rule.(map[string]any)["Prefix"]] = rule.(map[string]any)
		}
		for prefix, want := range map[any][2]float64{"runs/": {90, 1}, "reports/": {365, 30}} {
			got := [2]any{rules[prefix]["ExpirationInDays"], at(rules[prefix], "NoncurrentVersionExpiration.NoncurrentDays")}
			if got != [2]any{want[0], want[1]} || rules[prefix]["Status"] != "Enabled" {
				t.Errorf("%s expires after %v days, its old versions after %v; want %v", prefix, got[0], got[1], want)
			}
		}
		if rules[nil]["AbortIncompleteMultipartUpload"] == nil {
			t.Error("abandoned uploads are kept")
		}
	})
}

// wantDenied checks that a resource policy denies everybody the actions under
// a condition.
func wantDenied(t *testing.T, policy resource, action, operator, key string, value any) {
	t.Helper()
	for _, s := range list(policy.at("PolicyDocument.Statement")) {
		statement := s.(map[string]any)
		principal := compact(statement["Principal"])
		if statement["Effect"] == "Deny" && slices.Contains(list(statement["Action"]), any(action)) &&
			(principal == `"*"` || principal == `{"AWS":"*"}`) && compact(at(statement, "Condition."+operator)) == compact(map[string]any{key: value}) {
			return
		}
	}
	t.Errorf("%s %s does not deny %s when %s is %v", policy.Type, policy.ID, action, key, value)
}

func TestQueues(t *testing.T) {
	inBoth(t, func(t *testing.T, tmpl *template, ownKey bool) {
		want := []string{"NewUsersQueue", "UpdatesQueue"}
		if tmpl.name == "Primary" {
			want = append(want, "CleanUpQueue")
		}
		if got := len(tmpl.of(t, "AWS::SQS::Queue")); got != 2*len(want) {
			t.Errorf("%d queues, want %v and their dead-letter queues", got, want)
		}
		for _, name := range want {
			dead := tmpl.named(t, "AWS::SQS::Queue", "QueueName", "CognitoBackup-"+strings.TrimSuffix(name, "Queue")+"DeadLetterQueue")
			live := tmpl.named(t, "AWS::SQS::Queue", "QueueName", "CognitoBackup-"+name)
			if got := plain(live.at("RedrivePolicy.deadLetterTargetArn")); got != "<"+dead.ID+".Arn>" {
				t.Errorf("what %s gives up goes to %s", name, got)
			}
			dead.want(t, "RedrivePolicy", nil)
			for _, queue := range []resource{dead, live} {
				queue.want(t, "MessageRetentionPeriod", 14*24*3600)
				queue.want(t, "VisibilityTimeout", 960)
				if ownKey {
					if queue.at("KmsMasterKeyId") == nil {
						t.Errorf("%s is not encrypted with the deployment's key", queue.ID)
					}
				} else {
					queue.want(t, "SqsManagedSseEnabled", true)
				}
				wantDenied(t, policyFor(t, tmpl, "AWS::SQS::QueuePolicy", "Queues", queue), "sqs:*", "Bool", "aws:SecureTransport", "false")
			}
		}
	})
}

func policyFor(t *testing.T, tmpl *template, typ, property string, of resource) resource {
	t.Helper()
	for _, policy := range tmpl.of(t, typ) {
		if slices.ContainsFunc(list(policy.at(property)), func(ref any) bool { return plain(ref) == "<"+of.ID+">" }) {
			return policy
		}
	}
	t.Fatalf("%s has no policy", of.ID)
	return resource{}
}

func TestTopic(t *testing.T) {
	inBoth(t, func(t *testing.T, tmpl *template, ownKey bool) {
		topic := tmpl.named(t, "AWS::SNS::Topic", "TopicName", "CognitoBackup-Notifications")
		if topic.at("KmsMasterKeyId") == nil {
			t.Error("the topic is not encrypted")
		}
		policy := policyFor(t, tmpl, "AWS::SNS::TopicPolicy", "Topics", topic)
		wantDenied(t, policy, "sns:Publish", "Bool", "aws:SecureTransport", "false")
		if !strings.Contains(compact(policy.Properties), `"Service":"cloudwatch.amazonaws.com"`) {
			t.Error("alarms may not publish to the topic")
		}
		subscription := tmpl.of(t, "AWS::SNS::Subscription")[0]
		subscription.want(t, "Protocol", "email")
		subscription.want(t, "Endpoint", "identity-team@example.com")
	})
}

// TestKeys: alarms publish to an encrypted topic only if the key lets them.
func TestKeys(t *testing.T) {
	for name, tmpl := range map[string]*template{
		"topic key, primary":   standard(t).template(t, "Primary"),
		"topic key, secondary": standard(t).template(t, "Secondary"),
		"own key, primary":     ownKeys(t).template(t, "Primary"),
		"own key, secondary":   ownKeys(t).template(t, "SecondaryKey"),
	} {
		t.Run(name, func(t *testing.T) {
			keys := tmpl.of(t, "AWS::KMS::Key")
			if len(keys) != 1 {
				t.Fatalf("%d keys", len(keys))
			}
			key := keys[0]
			key.want(t, "EnableKeyRotation", true)
			wanted := map[string]any{"Service": "cloudwatch.amazonaws.com"}
			key.want(t, "KeyPolicy.Statement.1.Principal", wanted)
			key.want(t, "KeyPolicy.Statement.1.Action", []any{"kms:Decrypt", "kms:GenerateDataKey*"})
			if strings.HasPrefix(name, "own") {
				key.wantRetained(t)
			} else if key.DeletionPolicy != "Delete" {
				t.Errorf("deletion policy %s", key.DeletionPolicy)
			}
		})
	}
}

func TestFunctions(t *testing.T) {
	memory := map[string]int{"clean-up-backup-table": 3008, "scan-table": 3008, "verify-import": 3008}
	everywhere := []string{"check-state-machine", "send-message", "check-new-user-pool", "scan-table", "import-users", "update-users", "verify-import"}
	primaryOnly := []string{"check-user-pool-config", "export-users", "list-groups", "export-group-members", "clean-up-backup-table"}
	inBoth(t, func(t *testing.T, tmpl *template, _ bool) {
		want := everywhere
		if tmpl.name == "Primary" {
			want = slices.Concat(everywhere, primaryOnly)
		}
		if got := len(tmpl.of(t, "AWS::Lambda::Function")); got != len(want) {
			t.Errorf("%d functions, want %d", got, len(want))
		}
		roles := map[string]bool{}
		for _, step := range want {
			f := tmpl.named(t, "AWS::Lambda::Function", "FunctionName", "CognitoBackup-"+step)
			f.want(t, "Handler", step)
			f.want(t, "Architectures", []any{"arm64"})
			f.want(t, "Runtime", "provided.al2023")
			f.want(t, "Timeout", 900)
			f.want(t, "TracingConfig.Mode", "Active")
			f.want(t, "LoggingConfig.LogFormat", "JSON")
			size := memory[step]
			if size == 0 {
				size = 512
			}
			f.want(t, "MemorySize", size)
			role := plain(f.at("Role"))
			if roles[role] {
				t.Errorf("%s shares its role", step)
			}
			roles[role] = true
			logs := tmpl.Resources[strings.Trim(plain(f.at("LoggingConfig.LogGroup")), "<>")]
			logs.want(t, "LogGroupName", "/aws/lambda/CognitoBackup-"+step)
		}
	})
}

func TestEnvironment(t *testing.T) {
	a, err := synthesize(map[string]any{
		"cognitoTps": "17", "retentionDays": "90", "massDeletionPercent": "5", "exportShards": "16",
		"snsPreference": "ERRORS_ONLY", "stackPrefix": "CognitoBackup",
	})
	if err != nil {
		t.Fatal(err)
	}
	common := map[string]string{
		"STACK_PREFIX": "CognitoBackup", "TABLE_NAME": "CognitoBackup-BackupTable", "PRIMARY_USER_POOL_ID": "ap-northeast-1_ExampleID",
		"SLICE_SECONDS": "720", "COGNITO_TPS": "17",
		"EXPORT_SHARDS": "16", "RETENTION_DAYS": "90", "MASS_DELETION_PERCENT": "5", "SNS_PREFERENCE": "ERRORS_ONLY",
	}
	for _, stack := range bothStacks {
		tmpl := a.template(t, stack)
		resources := map[string]string{
			"BUCKET_NAME":                   "AWS::S3::Bucket",
			"TOPIC_ARN":                     "AWS::SNS::Topic",
			"CLEAN_UP_QUEUE_URL":            "CognitoBackup-CleanUpQueue",
			"NEW_USERS_QUEUE_URL":           "CognitoBackup-NewUsersQueue",
			"UPDATES_QUEUE_URL":             "CognitoBackup-UpdatesQueue",
			"UPDATES_DEAD_LETTER_QUEUE_URL": "CognitoBackup-UpdatesDeadLetterQueue",
		}
		for _, f := range tmpl.of(t, "AWS::Lambda::Function") {
			for variable, value := range f.at("Environment.Variables").(map[string]any) {
				got := plain(value)
				if want, ok := common[variable]; ok {
					if got != want {
						t.Errorf("%s %s: %s is %s, want %s", stack, f.ID, variable, got, want)
					}
					continue
				}
				if variable == "IMPORT_JOB_ROLE_ARN" {
					if r := tmpl.Resources[strings.TrimSuffix(strings.Trim(got, "<>"), ".Arn")]; r.Type != "AWS::IAM::Role" {
						t.Errorf("%s %s: %s is %s", stack, f.ID, variable, got)
					}
					continue
				}
				want, ok := resources[variable]
				r := tmpl.Resources[strings.Trim(got, "<>")]
				if !ok || r.Type != want && r.Properties["QueueName"] != want {
					t.Errorf("%s %s: %s is %s, a %s", stack, f.ID, variable, got, r.Type)
				}
			}
		}
	}
}

func TestLogGroups(t *testing.T) {
	inBoth(t, func(t *testing.T, tmpl *template, _ bool) {
		for _, logs := range tmpl.of(t, "AWS::Logs::LogGroup") {
			logs.want(t, "RetentionInDays", 90)
			if logs.DeletionPolicy != "Delete" {
				t.Errorf("%s would be in the way of the next deployment", logs.ID)
			}
		}
	})
}

func TestScheduleExpressions(t *testing.T) {
	schedule := standard(t).template(t, "Primary").named(t, "AWS::Scheduler::Schedule", "Name", "CognitoBackup-ExportSchedule")
	schedule.want(t, "ScheduleExpression", "rate(1 day)")
	schedule.want(t, "ScheduleExpressionTimezone", "UTC")
	schedule.want(t, "FlexibleTimeWindow.Mode", "OFF")
	schedule.want(t, "Target.Input", `{"ScheduledTime":"<aws.scheduler.scheduled-time>"}`)
	workflow := standard(t).template(t, "Primary").named(t, "AWS::StepFunctions::StateMachine", "StateMachineName", "CognitoBackup-ExportWorkflow")
	if got := plain(schedule.at("Target.Arn")); got != "<"+workflow.ID+">" {
		t.Errorf("the schedule starts %s", got)
	}
	for _, test := range []struct {
		give, want string
		alarm      int // hours; 0: none
	}{
		{"EVERY_7_DAYS", "rate(7 days)", 0},
		{"EVERY_30_DAYS", "rate(30 days)", 0},
		{"rate(12 hours)", "rate(12 hours)", 24},
		{"cron(0 3 ? * MON-FRI *)", "cron(0 3 ? * MON-FRI *)", 96},
	} {
		t.Run(test.give, func(t *testing.T) {
			a, err := synthesize(map[string]any{"exportFrequency": test.give})
			if err != nil {
				t.Fatal(err)
			}
			tmpl := a.template(t, "Primary")
			tmpl.of(t, "AWS::Scheduler::Schedule")[0].want(t, "ScheduleExpression", test.want)
			if test.alarm == 0 {
				for _, alarm := range tmpl.of(t, "AWS::CloudWatch::Alarm") {
					if alarm.at("AlarmName") == "CognitoBackup-NoRestorePoint" {
						t.Error("an alarm that would ring between two exports")
					}
				}
				if !strings.Contains(compact(tmpl.of(t, "AWS::CloudWatch::Dashboard")[0].Properties), "No alarm watches for a missing restore point") {
					t.Error("the dashboard does not say that no alarm watches")
				}
				return
			}
			tmpl.named(t, "AWS::CloudWatch::Alarm", "AlarmName", "CognitoBackup-NoRestorePoint").want(t, "EvaluationPeriods", test.alarm)
		})
	}
}

// TestScheduleComesLast: a schedule with a rate starts the first export when it
// is created.
func TestScheduleComesLast(t *testing.T) {
	tmpl := standard(t).template(t, "Primary")
	before := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		if before[id] {
			return
		}
		before[id] = true
		r := tmpl.Resources[id]
		for _, dependency := range list(r.DependsOn) {
			visit(dependency.(string))
		}
		text := compact(r.Properties)
		for other := range tmpl.Resources {
			if strings.Contains(text, `{"Ref":"`+other+`"}`) || strings.Contains(text, `["`+other+`","`) {
				visit(other)
			}
		}
	}
	visit(tmpl.of(t, "AWS::Scheduler::Schedule")[0].ID)
	for id, r := range tmpl.Resources {
		switch r.Type {
		case "AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard":
		case "AWS::SQS::QueuePolicy", "AWS::SQS::Queue": // dead-letter queues and their policies may come when they come
		default:
			if !before[id] {
				t.Errorf("%s %s may be created after the first export has started", r.Type, id)
			}
		}
	}
}

func TestFailureRule(t *testing.T) {
	inBoth(t, func(t *testing.T, tmpl *template, _ bool) {
		rule := tmpl.named(t, "AWS::Events::Rule", "Name", "CognitoBackup-WorkflowFailed")
		rule.want(t, "EventPattern.source", []any{"aws.states"})
		rule.want(t, "EventPattern.detail-type", []any{"Step Functions Execution Status Change"})
		rule.want(t, "EventPattern.detail.status", []any{"FAILED", "TIMED_OUT", "ABORTED"})
		var watched []string
		for _, ref := range list(rule.at("EventPattern.detail.stateMachineArn")) {
			watched = append(watched, fmt.Sprint(tmpl.Resources[strings.Trim(plain(ref), "<>")].Properties["StateMachineName"]))
		}
		want := []string{"CognitoBackup-ImportWorkflow"}
		if tmpl.name == "Primary" {
			want = []string{"CognitoBackup-ExportWorkflow", "CognitoBackup-ImportWorkflow"}
		}
		if !slices.Equal(watched, want) {
			t.Errorf("watches %v, want %v", watched, want)
		}
		sender := tmpl.named(t, "AWS::Lambda::Function", "FunctionName", "CognitoBackup-send-message")
		if got := plain(rule.at("Targets.0.Arn")); got != "<"+sender.ID+".Arn>" {
			t.Errorf("tells %s", got)
		}
		permission := tmpl.of(t, "AWS::Lambda::Permission")[0]
		if got := plain(permission.at("SourceArn")); got != "<"+rule.ID+".Arn>" {
			t.Errorf("the function may be invoked by %s", got)
		}
	})
}

func TestAlarms(t *testing.T) {
	alarms := map[string]struct {
		primaryOnly bool
		threshold   float64
		periods     int
		operator    string
		missing     string
	}{
		"ExportFailed":            {true, 1, 1, "GreaterThanOrEqualToThreshold", "notBreaching"},
		"RestorePointSuspect":     {true, 1, 1, "GreaterThanOrEqualToThreshold", "ignore"},
		"NoRestorePoint":          {true, 1, 48, "LessThanThreshold", "breaching"},
		"ReplicationLatency":      {true, 900_000, 1, "GreaterThanOrEqualToThreshold", "notBreaching"},
		"CleanUpDeadLetterQueue":  {true, 1, 1, "GreaterThanOrEqualToThreshold", "notBreaching"},
		"ImportFailed":            {false, 1, 1, "GreaterThanOrEqualToThreshold", "notBreaching"},
		"SendMessageFailed":       {false, 1, 1, "GreaterThanOrEqualToThreshold", "notBreaching"},
		"NewUsersDeadLetterQueue": {false, 1, 1, "GreaterThanOrEqualToThreshold", "notBreaching"},
		"UpdatesDeadLetterQueue":  {false, 1, 1, "GreaterThanOrEqualToThreshold", "notBreaching"},
	}
	inBoth(t, func(t *testing.T, tmpl *template, _ bool) {
		topic := tmpl.of(t, "AWS::SNS::Topic")[0]
		count := 0
		for name, want := range alarms {
			if want.primaryOnly && tmpl.name != "Primary" {
				continue
			}
			count++
			alarm := tmpl.named(t, "AWS::CloudWatch::Alarm", "AlarmName", "CognitoBackup-"+name)
			alarm.want(t, "Threshold", want.threshold)
			alarm.want(t, "EvaluationPeriods", want.periods)
			alarm.want(t, "ComparisonOperator", want.operator)
			alarm.want(t, "TreatMissingData", want.missing)
			if got := plain(alarm.at("AlarmActions.0")); got != "<"+topic.ID+">" {
				t.Errorf("%s tells %s", name, got)
			}
			if description := plain(alarm.at("AlarmDescription")); !strings.Contains(description, ". To do: ") || len(description) > 1024 {
				t.Errorf("%s does not say what to do, or at too great length: %s", name, description)
			}
		}
		if got := len(tmpl.of(t, "AWS::CloudWatch::Alarm")); got != count {
			t.Errorf("%d alarms, want %d", got, count)
		}
	})
	inBoth(t, func(t *testing.T, tmpl *template, _ bool) {
		for _, workflow := range []string{"Export", "Import"} {
			if workflow == "Export" && tmpl.name != "Primary" {
				continue
			}
			alarm := tmpl.named(t, "AWS::CloudWatch::Alarm", "AlarmName", "CognitoBackup-"+workflow+"Failed")
			machine := tmpl.named(t, "AWS::StepFunctions::StateMachine", "StateMachineName", "CognitoBackup-"+workflow+"Workflow")
			var counted []string
			for _, query := range list(alarm.at("Metrics")) {
				if at(query, "MetricStat") == nil {
					continue
				}
				counted = append(counted, plain(at(query, "MetricStat.Metric.MetricName")))
				if got := plain(at(query, "MetricStat.Metric.Dimensions.0.Value")); got != "<"+machine.ID+">" || at(query, "MetricStat.Metric.Namespace") != "AWS/States" {
					t.Errorf("%s counts executions of %s", alarm.ID, got)
				}
			}
			if slices.Sort(counted); !slices.Equal(counted, []string{"ExecutionsAborted", "ExecutionsFailed", "ExecutionsTimedOut"}) {
				t.Errorf("%s counts %v", alarm.ID, counted)
			}
		}
		for _, alarm := range tmpl.of(t, "AWS::CloudWatch::Alarm") {
			name := strings.TrimPrefix(plain(alarm.at("AlarmName")), "CognitoBackup-")
			switch {
			case strings.HasSuffix(name, "DeadLetterQueue"):
				queue := tmpl.named(t, "AWS::SQS::Queue", "QueueName", "CognitoBackup-"+name)
				alarm.want(t, "MetricName", "ApproximateNumberOfMessagesVisible")
				if got := plain(alarm.at("Dimensions.0.Value")); got != "<"+queue.ID+".QueueName>" {
					t.Errorf("%s watches %s", name, got)
				}
			case name == "SendMessageFailed":
				sender := tmpl.named(t, "AWS::Lambda::Function", "FunctionName", "CognitoBackup-send-message")
				alarm.want(t, "MetricName", "Errors")
				if got := plain(alarm.at("Dimensions.0.Value")); got != "<"+sender.ID+">" {
					t.Errorf("%s watches %s", name, got)
				}
			}
		}
	})
	primary := standard(t).template(t, "Primary")
	suspect := primary.named(t, "AWS::CloudWatch::Alarm", "AlarmName", "CognitoBackup-RestorePointSuspect")
	suspect.want(t, "Namespace", "CognitoBackup")
	suspect.want(t, "MetricName", "Suspect")
	missing := primary.named(t, "AWS::CloudWatch::Alarm", "AlarmName", "CognitoBackup-NoRestorePoint")
	missing.want(t, "MetricName", "RestorePoint")
	missing.want(t, "Period", 3600)
	latency := primary.named(t, "AWS::CloudWatch::Alarm", "AlarmName", "CognitoBackup-ReplicationLatency")
	latency.want(t, "MetricName", "ReplicationLatency")
	latency.want(t, "Statistic", "Maximum")
	latency.want(t, "DatapointsToAlarm", nil) // all of the one
	latency.want(t, "Dimensions", []any{
		map[string]any{"Name": "ReceivingRegion", "Value": "us-west-2"}, map[string]any{"Name": "TableName", "Value": "CognitoBackup-BackupTable"}})
}

func TestDashboards(t *testing.T) {
	shown := map[string][]string{
		"Primary": {"RestorePoint", "Users", "Groups", "Memberships", "Added", "Changed", "Removed", "Suspect", "UsersRestored",
			"MembershipsRestored", "Restored", "Failed", "ThrottledCalls", "DurationSeconds", "ApproximateNumberOfMessagesVisible",
			"ReplicationLatency", "ExecutionsFailed", "EPOCH", "RUNNING_SUM(FILL(usersRestored, 0))", "RUNNING_SUM(FILL(membershipsRestored, 0))"},
		"Secondary": {"UsersRestored", "MembershipsRestored", "Restored", "Failed", "ThrottledCalls", "DurationSeconds",
			"ApproximateNumberOfMessagesVisible", "ExecutionsFailed", "RUNNING_SUM(FILL(usersRestored, 0))", "RUNNING_SUM(FILL(membershipsRestored, 0))",
			"aws dynamodb query --region us-west-2 --table-name CognitoBackup-BackupTable", "EXPORT-ap-northeast-1_ExampleID"},
	}
	inBoth(t, func(t *testing.T, tmpl *template, _ bool) {
		dashboard := tmpl.named(t, "AWS::CloudWatch::Dashboard", "DashboardName", "CognitoBackup-"+tmpl.name)
		body := plain(dashboard.at("DashboardBody"))
		if !json.Valid([]byte(body)) {
			t.Fatalf("the dashboard is not JSON: %s", body)
		}
		for _, metric := range shown[tmpl.name] {
			if !strings.Contains(body, metric) {
				t.Errorf("the dashboard does not show %s", metric)
			}
		}
	})
}

func TestOutputs(t *testing.T) {
	inBoth(t, func(t *testing.T, tmpl *template, _ bool) {
		region := map[string]string{"Primary": "ap-northeast-1", "Secondary": "us-west-2"}[tmpl.name]
		console := "https://" + region + ".console.aws.amazon.com/"
		want := map[string]string{
			"ImportWorkflowConsole": console + "states/home?region=" + region + "#/statemachines/view/arn:aws:states:" + region +
				":<AWS::AccountId>:stateMachine:CognitoBackup-ImportWorkflow",
			"BackupTableConsole": console + "dynamodbv2/home?region=" + region + "#table?name=CognitoBackup-BackupTable",
			"DashboardConsole":   console + "cloudwatch/home?region=" + region + "#dashboards/dashboard/<" + tmpl.of(t, "AWS::CloudWatch::Dashboard")[0].ID + ">",
			"BucketConsole":      console + "s3/buckets/<" + tmpl.of(t, "AWS::S3::Bucket")[0].ID + ">?region=" + region,
			"ImportInput":        `{"NewUserPoolId": "` + region + `_XXXXXXXXX"}`,
		}
		if tmpl.name == "Primary" {
			want["ExportWorkflowConsole"] = strings.Replace(want["ImportWorkflowConsole"], "Import", "Export", 1)
		}
		for id, value := range want {
			if got := plain(tmpl.Outputs[id].Value); got != value {
				t.Errorf("%s is %s, want %s", id, got, value)
			}
		}
	})
}

// untagged is the types that CloudFormation cannot tag.
var untagged = []string{
	"AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::SNS::Subscription", "AWS::IAM::Policy",
	"AWS::Lambda::Permission", "AWS::Scheduler::Schedule", "AWS::KMS::Alias",
}

func TestTags(t *testing.T) {
	check := func(t *testing.T, tmpl *template, _ bool) {
		for id, r := range tmpl.Resources {
			text := compact(r.Properties)
			tagged := strings.Contains(text, `"cognito-backup:prefix"`) && strings.Contains(text, `"cognito-backup:user-pool"`)
			if tagged == slices.Contains(untagged, r.Type) {
				t.Errorf("%s %s: tagged %v", r.Type, id, tagged)
			}
		}
	}
	inBoth(t, check)
	check(t, ownKeys(t).template(t, "SecondaryKey"), true)
}

// TestSecondaryStandsAlone: with the primary Region unreachable the secondary
// stack can be deployed, updated and used. The primary Region may be named in
// text, for people and for reports, but nothing is looked up there.
func TestSecondaryStandsAlone(t *testing.T) {
	for name, a := range map[string]*assembly{"AWS-managed keys": standard(t), "customer-managed keys": ownKeys(t)} {
		t.Run(name, func(t *testing.T) {
			tmpl := a.template(t, "Secondary")
			for id, r := range tmpl.Resources {
				if strings.HasPrefix(r.Type, "Custom::") || r.Type == "AWS::CloudFormation::CustomResource" {
					t.Errorf("%s is a custom resource", id)
				}
				text := plainAll(r.Properties)
				if strings.Contains(text, ":ap-northeast-1:") {
					t.Errorf("%s holds an ARN of the primary Region: %s", id, text)
				}
				for _, name := range imports(r.Properties) {
					if name != "CognitoBackup-SecondaryKeyArn" { // exported in this Region
						t.Errorf("%s imports %s", id, name)
					}
				}
				if strings.Contains(text, "Fn::GetStackOutput") {
					t.Errorf("%s refers to another stack", id)
				}
			}
			table := "arn:aws:dynamodb:us-west-2:<AWS::AccountId>:table/CognitoBackup-BackupTable"
			for _, policy := range tmpl.of(t, "AWS::IAM::Policy") {
				for _, s := range list(policy.at("PolicyDocument.Statement")) {
					for _, res := range list(s.(map[string]any)["Resource"]) {
						if got := plain(res); strings.Contains(got, ":dynamodb:") && got != table {
							t.Errorf("%s allows %s, want the replica by name", policy.ID, got)
						}
					}
				}
			}
		})
	}
}

// plainAll is a value as text, with intrinsic functions resolved at any depth.
func plainAll(value any) string {
	switch v := value.(type) {
	case []any:
		texts := make([]string, len(v))
		for i, item := range v {
			texts[i] = plainAll(item)
		}
		return strings.Join(texts, "\n")
	case map[string]any:
		if len(v) == 1 && (v["Fn::Join"] != nil || v["Ref"] != nil || v["Fn::GetAtt"] != nil) {
			return plain(v)
		}
		var text strings.Builder
		for key, item := range v {
			text.WriteString(key + "\n" + plainAll(item) + "\n")
		}
		return text.String()
	}
	return plain(value)
}

func imports(value any) []string {
	var names []string
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			names = append(names, imports(item)...)
		}
	case map[string]any:
		if name, ok := v["Fn::ImportValue"]; ok {
			names = append(names, plain(name))
		}
		for _, item := range v {
			names = append(names, imports(item)...)
		}
	}
	return names
}

// TestPrefixes: two deployments in one account share no name.
func TestPrefixes(t *testing.T) {
	other, err := synthesize(map[string]any{"stackPrefix": "Shop", "primaryUserPoolId": "ap-northeast-1_Shop"})
	if err != nil {
		t.Fatal(err)
	}
	for _, stack := range bothStacks {
		names := physicalNames(standard(t).template(t, stack))
		for name, id := range physicalNames(other.template(t, stack)) {
			if names[name] != "" {
				t.Errorf("%s: both deployments have a %s, %s", stack, name, id)
			}
			if !strings.Contains(strings.ToLower(name), "shop-") {
				t.Errorf("%s: %s is not named after its prefix", stack, name)
			}
		}
	}
}

// physicalNames is the names that the template gives, and whose they are.
func physicalNames(tmpl *template) map[string]string {
	names := map[string]string{}
	for id, r := range tmpl.Resources {
		for _, property := range []string{"TableName", "BucketName", "QueueName", "TopicName", "FunctionName", "StateMachineName",
			"LogGroupName", "AlarmName", "DashboardName", "RoleName", "AliasName"} {
			if name := r.Properties[property]; name != nil && r.Type != "AWS::Lambda::Permission" {
				names[plain(name)] = id
			}
		}
		if r.Type == "AWS::Events::Rule" || r.Type == "AWS::Scheduler::Schedule" {
			names[r.Type+" "+plain(r.Properties["Name"])] = id
		}
	}
	return names
}

// TestImportUserPoolIDs narrows what the ImportWorkflow may touch.
func TestImportUserPoolIDs(t *testing.T) {
	a, err := synthesize(map[string]any{"importUserPoolIds": "us-west-2_AAA,us-west-2_BBB"})
	if err != nil {
		t.Fatal(err)
	}
	pools := func(stack string) []string {
		var found []string
		for _, policy := range a.template(t, stack).of(t, "AWS::IAM::Policy") {
			for _, s := range list(policy.at("PolicyDocument.Statement")) {
				if s := s.(map[string]any); s["Sid"] == "TargetPools" {
					for _, res := range list(s["Resource"]) {
						found = append(found, plain(res))
					}
				}
			}
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	want := []string{"arn:aws:cognito-idp:us-west-2:<AWS::AccountId>:userpool/us-west-2_AAA", "arn:aws:cognito-idp:us-west-2:<AWS::AccountId>:userpool/us-west-2_BBB"}
	if got := pools("Secondary"); !slices.Equal(got, want) {
		t.Errorf("the secondary Region's import may touch %v, want %v", got, want)
	}
	if got := pools("Primary"); got != nil {
		t.Errorf("the primary Region's import may touch %v, though no pool of that Region is named", got)
	}
}

var (
	variableInCode = regexp.MustCompile(`"([A-Z]+(?:_[A-Z]+)+)"`)
	sourceFolders  = []string{"../lambdas", "../internal"}
)

// TestEnvironmentMatchesTheCode: what a function's main.go asks for it is
// given, and nothing is given that no code asks for.
func TestEnvironmentMatchesTheCode(t *testing.T) {
	asked := map[string]bool{}
	for _, folder := range sourceFolders {
		for name := range variablesIn(t, folder) {
			asked[name] = true
		}
	}
	tmpl := standard(t).template(t, "Primary")
	for _, step := range steps {
		f := tmpl.named(t, "AWS::Lambda::Function", "FunctionName", "CognitoBackup-"+step.name)
		given := f.at("Environment.Variables").(map[string]any)
		for name := range variablesIn(t, "../lambdas/"+step.name) {
			if given[name] == nil {
				t.Errorf("%s asks for %s, which it is not given", step.name, name)
			}
		}
		for name := range given {
			if !asked[name] {
				t.Errorf("%s is given %s, for which no code asks", step.name, name)
			}
		}
	}
}

// variablesIn is the names of environment variables in the code of a folder.
func variablesIn(t *testing.T, folder string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, match := range variableInCode.FindAllSubmatch(read(t, path), -1) {
			found[string(match[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestOtherPartitions: nothing takes the partition for granted.
func TestOtherPartitions(t *testing.T) {
	a, err := synthesize(map[string]any{"primaryUserPoolId": "us-gov-west-1_Example", "secondaryRegion": "us-gov-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, stack := range bothStacks {
		for id, r := range a.template(t, stack).Resources {
			if text := plainAll(r.Properties); strings.Contains(text, "arn:aws:") {
				t.Errorf("%s %s holds an ARN of another partition: %s", stack, id, text)
			}
		}
		if got := plain(a.template(t, stack).Outputs["DashboardConsole"].Value); !strings.Contains(got, ".console.amazonaws-us-gov.com/") {
			t.Errorf("%s: the console is at %s", stack, got)
		}
	}
}

// TestParametersOutput: what a deployment was made with can be read from its
// stacks, and makes the same deployment again.
func TestParametersOutput(t *testing.T) {
	a, err := synthesize(map[string]any{"importUserPoolIds": []any{"us-west-2_AAA", "us-west-2_BBB"}, "cognitoTps": "17",
		"notificationEmail": "a@example.com,b@example.com", "exportFrequency": "EVERY_7_DAYS", "stackPrefix": "CognitoBackup"})
	if err != nil {
		t.Fatal(err)
	}
	for _, stack := range bothStacks {
		text := plain(a.template(t, stack).Outputs["Parameters"].Value)
		var context map[string]any
		if err := json.Unmarshal([]byte(text), &context); err != nil {
			t.Fatalf("%s: %v\n%s", stack, err, text)
		}
		for _, key := range contextKeys {
			if context[key] == nil {
				t.Errorf("%s: %s is missing in %s", stack, key, text)
			}
		}
		again, err := ParseParameters(context)
		if err != nil {
			t.Fatalf("%s: %v", stack, err)
		}
		if again.context() != text || again.CognitoTPS != 17 || len(again.ImportUserPoolIDs) != 2 || len(again.NotificationEmails) != 2 {
			t.Errorf("%s: %s comes back as %s", stack, text, again.context())
		}
	}
}
