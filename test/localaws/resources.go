package localaws

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/localaws/dynamodb"
	"cognito-backup/test/localaws/iam"
	"cognito-backup/test/localaws/lambda"
	"cognito-backup/test/localaws/sqs"
	"cognito-backup/test/localaws/wire"
)

// providers are the resource types that the testbed knows. Any other type in a
// template is an error.
func (b *Bed) providers() map[string]cloudformation.Provider {
	p := map[string]cloudformation.Provider{
		"AWS::DynamoDB::GlobalTable":       b.createGlobalTable,
		"AWS::DynamoDB::Table":             b.createTable,
		"AWS::Events::Rule":                b.createRule,
		"AWS::IAM::ManagedPolicy":          b.createManagedPolicy,
		"AWS::IAM::Policy":                 b.createPolicy,
		"AWS::IAM::Role":                   b.createRole,
		"AWS::KMS::Alias":                  b.createAlias,
		"AWS::KMS::Key":                    b.createKey,
		"AWS::Lambda::Function":            b.createFunction,
		"AWS::Lambda::Permission":          b.createPermission,
		"AWS::S3::Bucket":                  b.createBucket,
		"AWS::S3::BucketPolicy":            b.createBucketPolicy,
		"AWS::SNS::Subscription":           b.createSubscription,
		"AWS::SNS::Topic":                  b.createTopic,
		"AWS::SNS::TopicPolicy":            b.createTopicPolicy,
		"AWS::SQS::Queue":                  b.createQueue,
		"AWS::SQS::QueuePolicy":            b.createQueuePolicy,
		"AWS::Scheduler::Schedule":         b.createSchedule,
		"AWS::StepFunctions::StateMachine": b.createStateMachine,
	}
	for name := range withoutEffect {
		p[name] = createWithoutEffect
	}
	return p
}

// withoutEffect are the types that change nothing here, and why.
var withoutEffect = map[string]string{
	"AWS::CDK::Metadata":              "tells AWS which constructs a template was made of",
	"AWS::CloudWatch::Alarm":          "the testbed keeps no metrics; functions print theirs as log lines, which tests read",
	"AWS::CloudWatch::CompositeAlarm": "made of alarms",
	"AWS::CloudWatch::Dashboard":      "shows metrics",
	"AWS::Lambda::EventInvokeConfig":  "asynchronous events are retried with Lambda's defaults",
	"AWS::Logs::LogGroup":             "log lines are kept by function, without groups and retention",
	"AWS::Logs::MetricFilter":         "the testbed keeps no metrics",
	"AWS::Logs::QueryDefinition":      "a saved query of the console",
	"AWS::Logs::ResourcePolicy":       "lets services write logs, which none does here",
	"AWS::Scheduler::ScheduleGroup":   "schedules are found by name without groups",
}

func createWithoutEffect(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	name := physicalName(r, "LogGroupName", "AlarmName", "DashboardName", "AliasName", "Name")
	arn := map[string]string{
		"AWS::CloudWatch::Alarm":          "arn:aws:cloudwatch:%s:%s:alarm:%s",
		"AWS::CloudWatch::CompositeAlarm": "arn:aws:cloudwatch:%s:%s:alarm:%s",
		"AWS::CloudWatch::Dashboard":      "arn:aws:cloudwatch:%s:%s:dashboard/%s",
		"AWS::Logs::LogGroup":             "arn:aws:logs:%s:%s:log-group:%s:*",
		"AWS::Scheduler::ScheduleGroup":   "arn:aws:scheduler:%s:%s:schedule-group/%s",
	}[r.Type]
	created := cloudformation.Created{Ref: name}
	if arn != "" {
		created.Attributes = map[string]string{"Arn": fmt.Sprintf(arn, r.Stack.Region, wire.Account, name)}
	}
	return created, nil
}

// physicalName is the name that the template gives in one of the properties,
// or one made as CloudFormation makes them: stack, logical id, and a suffix
// that here follows from both.
func physicalName(r cloudformation.Resource, properties ...string) string {
	for _, p := range properties {
		if name := r.Properties.String(p); name != "" {
			return name
		}
	}
	sum := sha256.Sum256([]byte(r.Stack.Name + r.LogicalID))
	suffix := "-" + strings.ToUpper(hex.EncodeToString(sum[:6]))
	base := r.Stack.Name + "-" + r.LogicalID
	const longest = 64 // of a role's or a function's name
	if len(base)+len(suffix) > longest {
		base = base[:longest-len(suffix)]
	}
	return base + suffix
}

func (b *Bed) createRole(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	name := physicalName(r, "RoleName")
	arn := fmt.Sprintf("arn:aws:iam::%s:role%s%s", wire.Account, cmp.Or(r.Properties.String("Path"), "/"), name)
	created := cloudformation.Created{Ref: name, Attributes: map[string]string{"Arn": arn, "RoleId": "AROA" + strings.ToUpper(hex.EncodeToString([]byte(name))[:16])}}
	if err := b.iam.AddRole(arn, r.Properties.JSON("AssumeRolePolicyDocument")); err != nil {
		return created, err
	}
	for _, policy := range r.Properties.Objects("Policies") {
		if err := b.iam.AddPolicy(arn, policy.String("PolicyName"), policy.JSON("PolicyDocument")); err != nil {
			return created, err
		}
	}
	for _, managed := range r.Properties.Strings("ManagedPolicyArns") {
		if err := b.iam.AttachManagedPolicy(arn, managed); err != nil {
			return created, err
		}
	}
	b.remember(name, arn)
	return created, nil
}

// roleARN is the ARN of a role by its name: policies name roles, not ARNs.
func (b *Bed) roleARN(name string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if arn := b.roles[name]; arn != "" {
		return arn, nil
	}
	return "", fmt.Errorf("role %s is not in the templates", name)
}

func (b *Bed) remember(roleName, arn string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.roles[roleName] = arn
}

func (b *Bed) createPolicy(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	name := physicalName(r, "PolicyName")
	roles := r.Properties.Strings("Roles")
	if len(roles) == 0 {
		return cloudformation.Created{}, errors.New("is attached to no role; users and groups are not played")
	}
	for _, role := range roles {
		arn, err := b.roleARN(role)
		if err != nil {
			return cloudformation.Created{}, err
		}
		if err := b.iam.AddPolicy(arn, name, r.Properties.JSON("PolicyDocument")); err != nil {
			return cloudformation.Created{}, err
		}
	}
	return cloudformation.Created{Ref: name, Attributes: map[string]string{"Id": name}}, nil
}

func (b *Bed) createManagedPolicy(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	name := physicalName(r, "ManagedPolicyName")
	arn := fmt.Sprintf("arn:aws:iam::%s:policy%s%s", wire.Account, cmp.Or(r.Properties.String("Path"), "/"), name)
	if err := b.iam.AddManagedPolicy(arn, r.Properties.JSON("PolicyDocument")); err != nil {
		return cloudformation.Created{}, err
	}
	for _, role := range r.Properties.Strings("Roles") {
		roleARN, err := b.roleARN(role)
		if err != nil {
			return cloudformation.Created{}, err
		}
		if err := b.iam.AttachManagedPolicy(roleARN, arn); err != nil {
			return cloudformation.Created{}, err
		}
	}
	return cloudformation.Created{Ref: arn, Attributes: map[string]string{"PolicyArn": arn}}, nil
}

// createKey encrypts nothing; who may use the key is enforced.
func (b *Bed) createKey(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	sum := sha256.Sum256([]byte(r.Stack.Name + r.LogicalID))
	h := hex.EncodeToString(sum[:16])
	id := fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
	arn := fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", r.Stack.Region, wire.Account, id)
	b.mu.Lock()
	b.keys[arn] = true
	b.mu.Unlock()
	if document := r.Properties.JSON("KeyPolicy"); document != nil {
		if err := b.iam.AddResourcePolicy(arn, onResource(document, arn)); err != nil {
			return cloudformation.Created{}, err
		}
	}
	return cloudformation.Created{Ref: id, Attributes: map[string]string{"Arn": arn, "KeyId": id}}, nil
}

func (b *Bed) createAlias(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	name := r.Properties.String("AliasName")
	key, err := b.keyARN(r.Stack.Region, r.Properties.String("TargetKeyId"))
	if err != nil {
		return cloudformation.Created{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.aliases[fmt.Sprintf("arn:aws:kms:%s:%s:%s", r.Stack.Region, wire.Account, name)] = key
	return cloudformation.Created{Ref: name}, nil
}

// keyARN completes what a property calls a key (id, ARN, alias, ARN of an
// alias) to the key's ARN; "" stays, and so do AWS's own keys' aliases.
func (b *Bed) keyARN(region, key string) (string, error) {
	if key == "" || strings.HasPrefix(key, "alias/aws/") || strings.Contains(key, ":alias/aws/") {
		return "", nil
	}
	if !strings.HasPrefix(key, "arn:") {
		kind := "key/"
		if strings.HasPrefix(key, "alias/") {
			kind = ""
		}
		key = fmt.Sprintf("arn:aws:kms:%s:%s:%s%s", region, wire.Account, kind, key)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if target := b.aliases[key]; target != "" {
		key = target
	}
	if !b.keys[key] {
		return "", fmt.Errorf("the KMS key %s does not exist yet: deploy the stack that makes it first", key)
	}
	if parts := strings.Split(key, ":"); parts[3] != region {
		return "", fmt.Errorf("the KMS key %s is not in %s", key, region)
	}
	return key, nil
}

// onResource replaces the resource "*" of a key policy, which means this key,
// by its ARN.
func onResource(document json.RawMessage, arn string) json.RawMessage {
	var policy map[string]any
	if json.Unmarshal(document, &policy) != nil {
		return document
	}
	statements, _ := policy["Statement"].([]any)
	for _, s := range statements {
		if statement, ok := s.(map[string]any); ok && statement["Resource"] == "*" {
			statement["Resource"] = arn
		}
	}
	replaced, err := json.Marshal(policy)
	if err != nil {
		return document
	}
	return replaced
}

func (b *Bed) createGlobalTable(ctx context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	var regions []string
	keys := map[string]string{}
	for _, replica := range r.Properties.Objects("Replicas") {
		region := replica.String("Region")
		key, err := b.keyARN(region, replica.String("SSESpecification", "KMSMasterKeyId"))
		if err != nil {
			return cloudformation.Created{}, fmt.Errorf("replica in %s: %w", region, err)
		}
		keys[region] = key
		regions = append(regions, region)
	}
	if !slices.Contains(regions, r.Stack.Region) {
		return cloudformation.Created{}, fmt.Errorf("no replica is in the stack's own Region %s", r.Stack.Region)
	}
	name := physicalName(r, "TableName")
	for _, region := range regions {
		spec := dynamodb.TableSpec{Name: name, Attributes: r.Properties.JSON("AttributeDefinitions"), Keys: r.Properties.JSON("KeySchema"), Key: keys[region],
			Replicas: slices.DeleteFunc(slices.Clone(regions), func(other string) bool { return other == region })}
		if err := b.regional(region).dynamodb.CreateTable(ctx, spec); err != nil {
			return cloudformation.Created{}, fmt.Errorf("replica in %s: %w", region, err)
		}
	}
	return tableCreated(r, name), nil
}

func (b *Bed) createTable(ctx context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	name := physicalName(r, "TableName")
	key, err := b.keyARN(r.Stack.Region, r.Properties.String("SSESpecification", "KMSMasterKeyId"))
	if err != nil {
		return cloudformation.Created{}, err
	}
	spec := dynamodb.TableSpec{Name: name, Attributes: r.Properties.JSON("AttributeDefinitions"), Keys: r.Properties.JSON("KeySchema"), Key: key}
	if err := b.regional(r.Stack.Region).dynamodb.CreateTable(ctx, spec); err != nil {
		return cloudformation.Created{}, err
	}
	return tableCreated(r, name), nil
}

func tableCreated(r cloudformation.Resource, name string) cloudformation.Created {
	arn := fmt.Sprintf("arn:aws:dynamodb:%s:%s:table/%s", r.Stack.Region, wire.Account, name)
	return cloudformation.Created{Ref: name, Attributes: map[string]string{"Arn": arn, "TableId": name, "StreamArn": arn + "/stream/2026-01-01T00:00:00.000"}}
}

// queueAttributes are the properties of AWS::SQS::Queue that are attributes of
// the same name in the API.
var queueAttributes = []string{"DelaySeconds", "FifoQueue", "KmsDataKeyReusePeriodSeconds", "KmsMasterKeyId", "MaximumMessageSize", "MessageRetentionPeriod",
	"ReceiveMessageWaitTimeSeconds", "RedriveAllowPolicy", "RedrivePolicy", "SqsManagedSseEnabled", "VisibilityTimeout"}

func (b *Bed) createQueue(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	name := physicalName(r, "QueueName")
	attributes := map[string]string{}
	for _, a := range queueAttributes {
		if r.Properties.Object(a) != nil {
			attributes[a] = string(r.Properties.JSON(a))
		} else if r.Properties.Has(a) {
			attributes[a] = r.Properties.String(a)
		}
	}
	arn, err := b.regional(r.Stack.Region).sqs.Create(name, attributes)
	if err != nil {
		return cloudformation.Created{}, err
	}
	url := sqs.URL(b.endpoint, name)
	return cloudformation.Created{Ref: url, Attributes: map[string]string{"Arn": arn, "QueueName": name, "QueueUrl": url}}, nil
}

func (b *Bed) createQueuePolicy(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	document := r.Properties.JSON("PolicyDocument")
	service := b.regional(r.Stack.Region).sqs
	for _, url := range r.Properties.Strings("Queues") {
		name := nameOf(url)
		if err := service.SetPolicy(name, document); err != nil {
			return cloudformation.Created{}, err
		}
		if err := b.iam.AddResourcePolicy(service.ARN(name), document); err != nil {
			return cloudformation.Created{}, err
		}
	}
	return cloudformation.Created{Ref: physicalName(r)}, nil
}

func (b *Bed) createTopic(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	name := physicalName(r, "TopicName")
	attributes := map[string]string{}
	for _, a := range []string{"DisplayName", "FifoTopic", "KmsMasterKeyId"} {
		if r.Properties.Has(a) {
			attributes[a] = r.Properties.String(a)
		}
	}
	service := b.regional(r.Stack.Region).sns
	arn, err := service.Create(name, attributes)
	if err != nil {
		return cloudformation.Created{}, err
	}
	for _, s := range r.Properties.Objects("Subscription") {
		if _, err := service.Subscribe(arn, s.String("Protocol"), s.String("Endpoint")); err != nil {
			return cloudformation.Created{}, err
		}
	}
	return cloudformation.Created{Ref: arn, Attributes: map[string]string{"TopicArn": arn, "TopicName": name}}, nil
}

func (b *Bed) createSubscription(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	arn, err := b.regional(r.Stack.Region).sns.Subscribe(r.Properties.String("TopicArn"), r.Properties.String("Protocol"), r.Properties.String("Endpoint"))
	return cloudformation.Created{Ref: arn, Attributes: map[string]string{"Arn": arn}}, err
}

func (b *Bed) createTopicPolicy(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	document := r.Properties.JSON("PolicyDocument")
	for _, arn := range r.Properties.Strings("Topics") {
		if err := b.regional(r.Stack.Region).sns.SetPolicy(arn, document); err != nil {
			return cloudformation.Created{}, err
		}
		if err := b.iam.AddResourcePolicy(arn, document); err != nil {
			return cloudformation.Created{}, err
		}
	}
	return cloudformation.Created{Ref: physicalName(r)}, nil
}

func (b *Bed) createBucket(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	name := strings.ToLower(physicalName(r, "BucketName"))
	var key string
	for _, rule := range r.Properties.Objects("BucketEncryption", "ServerSideEncryptionConfiguration") {
		var err error
		if key, err = b.keyARN(r.Stack.Region, rule.String("ServerSideEncryptionByDefault", "KMSMasterKeyID")); err != nil {
			return cloudformation.Created{}, err
		}
	}
	if err := b.s3.CreateBucket(name, r.Stack.Region, key, r.Properties.String("VersioningConfiguration", "Status") == "Enabled"); err != nil {
		return cloudformation.Created{}, err
	}
	return cloudformation.Created{Ref: name, Attributes: map[string]string{
		"Arn":                "arn:aws:s3:::" + name,
		"DomainName":         name + ".s3.amazonaws.com",
		"RegionalDomainName": fmt.Sprintf("%s.s3.%s.amazonaws.com", name, r.Stack.Region),
	}}, nil
}

func (b *Bed) createBucketPolicy(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	name := r.Properties.String("Bucket")
	return cloudformation.Created{Ref: name}, b.iam.AddResourcePolicy("arn:aws:s3:::"+name, r.Properties.JSON("PolicyDocument"))
}

func (b *Bed) createFunction(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	p := r.Properties
	name := physicalName(r, "FunctionName")
	arn := functionARN(r.Stack.Region, name)
	role := p.String("Role")
	if d := b.iam.CanAssume("lambda.amazonaws.com", role, nil); !d.Allowed {
		return cloudformation.Created{}, fmt.Errorf("the role defined for the function cannot be assumed by Lambda: %s", d.Reason)
	}
	if runtime := p.String("Runtime"); runtime != "provided.al2023" && runtime != "provided.al2" {
		return cloudformation.Created{}, fmt.Errorf("the testbed runs functions of provided.al2023, not of %s", runtime)
	}
	timeout, err := p.Int(3, "Timeout")
	if err != nil {
		return cloudformation.Created{}, err
	}
	memory, err := p.Int(128, "MemorySize")
	if err != nil {
		return cloudformation.Created{}, err
	}
	reserved, err := p.Int(-1, "ReservedConcurrentExecutions")
	if err != nil {
		return cloudformation.Created{}, err
	}
	b.mu.Lock()
	binary := b.binaries[p.String("Handler")]
	b.mu.Unlock()
	if binary == "" {
		return cloudformation.Created{}, fmt.Errorf("no binary was built for handler %q", p.String("Handler"))
	}
	err = b.lambda.Create(lambda.Function{
		Name: name, ARN: arn, Region: r.Stack.Region, Role: role, Handler: p.String("Handler"), Binary: binary,
		Timeout: time.Duration(timeout) * time.Second, MemoryMB: memory, Environment: p.Texts("Environment", "Variables"), Reserved: reserved,
		LogFormat: p.String("LoggingConfig", "LogFormat"), LogLevel: p.String("LoggingConfig", "ApplicationLogLevel"), LogGroup: p.String("LoggingConfig", "LogGroup"),
	})
	return cloudformation.Created{Ref: name, Attributes: map[string]string{"Arn": arn}}, err
}

// target says what to build for a function's declaration, before any of its
// references can be resolved.
func target(stack *cloudformation.Stack, d *cloudformation.Declaration) lambda.Target {
	p := cloudformation.Properties(d.Properties)
	t := lambda.Target{Handler: p.String("Handler"), Architecture: "x86_64"}
	if architectures := p.Strings("Architectures"); len(architectures) > 0 {
		t.Architecture = architectures[0]
	}
	if asset := stack.Assets[p.String("Code", "S3Key")]; asset != "" && filepath.Ext(asset) != ".zip" {
		t.Asset = asset
	}
	return t
}

func (b *Bed) createPermission(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	arn := functionARN(r.Stack.Region, r.Properties.String("FunctionName"))
	return cloudformation.Created{Ref: physicalName(r)}, b.iam.AddLambdaPermission(arn, iam.LambdaPermission{
		Action: r.Properties.String("Action"), Principal: r.Properties.String("Principal"),
		SourceArn: r.Properties.String("SourceArn"), SourceAccount: r.Properties.String("SourceAccount"),
	})
}

func (b *Bed) createStateMachine(_ context.Context, r cloudformation.Resource) (cloudformation.Created, error) {
	p := r.Properties
	if kind := p.String("StateMachineType"); kind != "" && kind != "STANDARD" {
		return cloudformation.Created{}, fmt.Errorf("the testbed runs standard workflows only, not %s", kind)
	}
	definition := p.String("DefinitionString")
	if p.Object("Definition") != nil {
		definition = string(p.JSON("Definition"))
	}
	if definition == "" {
		return cloudformation.Created{}, errors.New("has neither Definition nor DefinitionString, which the testbed needs")
	}
	for name, value := range p.Texts("DefinitionSubstitutions") {
		definition = strings.ReplaceAll(definition, "${"+name+"}", value)
	}
	role := p.String("RoleArn")
	if d := b.iam.CanAssume("states.amazonaws.com", role, nil); !d.Allowed {
		return cloudformation.Created{}, fmt.Errorf("the role %s cannot be assumed by Step Functions: %s", role, d.Reason)
	}
	name := physicalName(r, "StateMachineName")
	arn, err := b.regional(r.Stack.Region).states.Create(name, definition, role)
	return cloudformation.Created{Ref: arn, Attributes: map[string]string{"Arn": arn, "Name": name}}, err
}
