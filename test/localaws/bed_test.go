package localaws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/faults"
	"cognito-backup/test/localaws/wire"
)

const (
	here  = "eu-west-1"
	there = "us-east-1"
)

// definition calls the probe function once, with the execution's input.
const definition = `{"StartAt":"Probe","States":{"Probe":{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke",
	"Parameters":{"FunctionName":"arn:aws:lambda:eu-west-1:123456789012:function:T-probe","Payload.$":"$"},"OutputPath":"$.Payload","TimeoutSeconds":60,"End":true}}}`

// template is a small stack with one resource of most types.
func template() map[string]any {
	allow := func(actions any, resource any) any {
		return map[string]any{"Effect": "Allow", "Action": actions, "Resource": resource}
	}
	document := func(statements ...any) any {
		return map[string]any{"Version": "2012-10-17", "Statement": statements}
	}
	role := func(service string, statements ...any) any {
		return resource("AWS::IAM::Role", map[string]any{
			"AssumeRolePolicyDocument": document(map[string]any{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": map[string]any{"Service": service}}),
			"Policies":                 []any{map[string]any{"PolicyName": "Inline", "PolicyDocument": document(statements...)}},
		})
	}
	return map[string]any{
		"Parameters": map[string]any{"BootstrapVersion": map[string]any{"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/cdk-bootstrap/x/version"}},
		"Resources": map[string]any{
			"Table": resource("AWS::DynamoDB::GlobalTable", map[string]any{
				"TableName":            "T-Table",
				"AttributeDefinitions": []any{map[string]any{"AttributeName": "id", "AttributeType": "S"}, map[string]any{"AttributeName": "type", "AttributeType": "S"}},
				"KeySchema":            []any{map[string]any{"AttributeName": "id", "KeyType": "HASH"}, map[string]any{"AttributeName": "type", "KeyType": "RANGE"}},
				"Replicas":             []any{map[string]any{"Region": here}, map[string]any{"Region": there}},
			}),
			"ProbeRole":    role("lambda.amazonaws.com", allow([]any{"dynamodb:PutItem", "dynamodb:GetItem"}, getAtt("Table", "Arn"))),
			"WorkflowRole": role("states.amazonaws.com", allow("lambda:InvokeFunction", getAtt("Probe", "Arn"))),
			"Probe": resource("AWS::Lambda::Function", map[string]any{
				"FunctionName": "T-probe", "Handler": "probe", "Runtime": "provided.al2023", "Architectures": []any{"arm64"}, "Timeout": 2, "MemorySize": 128,
				"Role": getAtt("ProbeRole", "Arn"), "Code": map[string]any{"S3Bucket": "assets", "S3Key": "none.zip"},
				"Environment": map[string]any{"Variables": map[string]any{"TABLE_NAME": ref("Table"), "QUEUE": ref("Queue")}},
			}),
			"Workflow": resource("AWS::StepFunctions::StateMachine", map[string]any{
				"StateMachineName": "T-Workflow", "RoleArn": getAtt("WorkflowRole", "Arn"), "DefinitionString": definition,
			}),
			"DeadLetters": resource("AWS::SQS::Queue", map[string]any{"QueueName": "T-DeadLetters"}),
			"Queue": resource("AWS::SQS::Queue", map[string]any{"QueueName": "T-Queue", "VisibilityTimeout": 30,
				"RedrivePolicy": map[string]any{"deadLetterTargetArn": getAtt("DeadLetters", "Arn"), "maxReceiveCount": 3}}),
			"Topic":        resource("AWS::SNS::Topic", map[string]any{"TopicName": "T-Topic"}),
			"Subscription": resource("AWS::SNS::Subscription", map[string]any{"TopicArn": ref("Topic"), "Protocol": "email", "Endpoint": "team@example.com"}),
			"Bucket": resource("AWS::S3::Bucket", map[string]any{
				"BucketName":              map[string]any{"Fn::Join": []any{"-", []any{"t", ref("AWS::AccountId"), ref("AWS::Region")}}},
				"VersioningConfiguration": map[string]any{"Status": "Enabled"},
			}),
			"Alarm": resource("AWS::CloudWatch::Alarm", map[string]any{}),
		},
		"Outputs": map[string]any{
			"QueueUrl": map[string]any{"Value": ref("Queue")},
			"Bucket":   map[string]any{"Value": map[string]any{"Fn::Sub": "s3://${Bucket}/"}},
		},
	}
}

func resource(kind string, properties map[string]any) any {
	return map[string]any{"Type": kind, "Properties": properties}
}

func ref(id string) any { return map[string]any{"Ref": id} }

func getAtt(id, attribute string) any { return map[string]any{"Fn::GetAtt": []any{id, attribute}} }

// writeAssembly writes a cloud assembly of one stack and returns its directory.
func writeAssembly(t testing.TB, template map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, v any) {
		b, err := json.Marshal(v)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write("manifest.json", map[string]any{"artifacts": map[string]any{"T-Stack": map[string]any{
		"type": "aws:cloudformation:stack", "environment": "aws://unknown-account/" + here, "properties": map[string]any{"templateFile": "t.json"},
	}}})
	write("t.json", template)
	return dir
}

// startBed starts a testbed with the small stack.
func startBed(t *testing.T, template map[string]any) *Bed {
	t.Helper()
	bed, err := Start(t.Context(), Options{Assembly: writeAssembly(t, template), Source: "testdata", Cache: cacheDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bed.Close() })
	if err := bed.Deploy(t.Context()); err != nil {
		t.Fatal(err)
	}
	return bed
}

// cacheDir keeps the probe's binary between runs, as the functions' are.
func cacheDir(t *testing.T) string {
	dir, err := filepath.Abs("../../.build/localaws-test")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func TestBed(t *testing.T) {
	bed := startBed(t, template())
	ctx := t.Context()

	t.Run("outputs", func(t *testing.T) {
		if got := bed.Output("Stack", "Bucket"); got != "s3://t-"+wire.Account+"-"+here+"/" {
			t.Errorf("output Bucket = %q", got)
		}
		if got := bed.StateMachineARN("T-Stack", "Workflow"); !strings.HasSuffix(got, ":stateMachine:T-Workflow") {
			t.Errorf("state machine = %q", got)
		}
	})

	run := func(t *testing.T, input string) *sfn.DescribeExecutionOutput {
		t.Helper()
		client := sfn.NewFromConfig(bed.Config(here))
		started, err := client.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: aws.String(bed.StateMachineARN("Stack", "Workflow")), Input: aws.String(input)})
		if err != nil {
			t.Fatal(err)
		}
		for {
			d, err := client.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: started.ExecutionArn})
			if err != nil {
				t.Fatal(err)
			}
			if d.Status != sfntypes.ExecutionStatusRunning {
				return d
			}
			time.Sleep(20 * time.Millisecond)
		}
	}

	t.Run("workflow", func(t *testing.T) {
		d := run(t, `{"Do":"echo","Text":"hello"}`)
		if d.Status != sfntypes.ExecutionStatusSucceeded || !strings.Contains(aws.ToString(d.Output), `"Text":"hello"`) {
			t.Errorf("%s: %s %s", d.Status, aws.ToString(d.Output), aws.ToString(d.Cause))
		}
	})

	t.Run("error names reach the workflow", func(t *testing.T) {
		for do, want := range map[string]string{"fail": "SpecialError", "exit": "Runtime.ExitError", "panic": "", "large": "Function.ResponseSizeTooLarge"} {
			d := run(t, fmt.Sprintf(`{"Do":%q,"Text":"x","Size":7000000}`, do))
			if d.Status != sfntypes.ExecutionStatusFailed || (want != "" && aws.ToString(d.Error) != want) {
				t.Errorf("%s: %s, error %s, cause %s", do, d.Status, aws.ToString(d.Error), aws.ToString(d.Cause))
			}
		}
	})

	t.Run("permissions and calls of a function", func(t *testing.T) {
		d := run(t, `{"Do":"put","Text":"USER-1"}`)
		if d.Status != sfntypes.ExecutionStatusSucceeded {
			t.Fatalf("%s: %s", d.Status, aws.ToString(d.Cause))
		}
		unused := bed.UnusedPermissions()
		if len(unused) != 1 || unused[0].Action != "dynamodb:GetItem" {
			t.Errorf("unused permissions: %+v", unused)
		}
		if got := bed.DynamoDB(here).Stats().Puts["USER"]; got != 3 {
			t.Errorf("puts of kind USER: %d", got)
		}
	})

	t.Run("kill after two calls", func(t *testing.T) {
		killed := bed.KillAfter("probe", 2)
		d := run(t, `{"Do":"put","Text":"GROUP-1"}`)
		if d.Status != sfntypes.ExecutionStatusFailed || aws.ToString(d.Error) != "Runtime.ExitError" {
			t.Errorf("%s: %s", d.Status, aws.ToString(d.Error))
		}
		<-killed
		if got := bed.DynamoDB(here).Stats().Puts["GROUP"]; got != 2 {
			t.Errorf("puts of kind GROUP: %d", got)
		}
		spared := bed.KillAfter("probe", 1)
		bed.Disarm()
		if d := run(t, `{"Do":"put","Text":"USER-1"}`); d.Status != sfntypes.ExecutionStatusSucceeded {
			t.Errorf("disarmed: %s: %s", d.Status, aws.ToString(d.Error))
		}
		select {
		case <-spared:
			t.Error("a killer that was disarmed has struck")
		default:
		}
	})

	t.Run("queues and topics", func(t *testing.T) {
		q := sqs.NewFromConfig(bed.Config(here))
		url := bed.Output("Stack", "QueueUrl")
		if _, err := q.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("hello")}); err != nil {
			t.Fatal(err)
		}
		got, err := q.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &url})
		if err != nil || len(got.Messages) != 1 || aws.ToString(got.Messages[0].Body) != "hello" {
			t.Fatalf("received %+v, %v", got, err)
		}
		n := sns.NewFromConfig(bed.Config(here))
		topic := fmt.Sprintf("arn:aws:sns:%s:%s:T-Topic", here, wire.Account)
		if _, err := n.Publish(ctx, &sns.PublishInput{TopicArn: &topic, Subject: aws.String("Hi"), Message: aws.String("there")}); err != nil {
			t.Fatal(err)
		}
		if mails := bed.SNS(here).Outbox(); len(mails) != 1 {
			t.Errorf("outbox: %+v", mails)
		}
	})

	t.Run("replication", func(t *testing.T) {
		if err := bed.Replicator().Drain(ctx); err != nil {
			t.Fatal(err)
		}
		got, err := ddb.NewFromConfig(bed.Config(there)).Scan(ctx, &ddb.ScanInput{TableName: aws.String("T-Table")})
		if err != nil || got.Count != 5 {
			t.Errorf("replica holds %d items, %v", got.Count, err)
		}
	})

	t.Run("faults", func(t *testing.T) {
		client := ddb.NewFromConfig(bed.Config(here), func(o *ddb.Options) { o.RetryMaxAttempts = 1 })
		scan := func() error {
			_, err := client.Scan(ctx, &ddb.ScanInput{TableName: aws.String("T-Table")})
			return err
		}
		for kind, want := range map[faults.Kind]string{faults.Throttle: "ProvisionedThroughputExceededException", faults.ServerError: "InternalServerError"} {
			bed.Faults().Add(faults.Rule{Kind: kind, Service: "dynamodb", Operation: "Scan", Count: 1})
			if err := scan(); code(err) != want {
				t.Errorf("%s: %v", kind, err)
			}
		}
		bed.Faults().Add(faults.Rule{Kind: faults.DropAfter, Service: "dynamodb", Operation: "Scan", Count: 1})
		if err := scan(); err == nil || !strings.Contains(err.Error(), "EOF") {
			t.Errorf("dropped connection: %v", err)
		}
		if err := bed.Faults().VerifyAllExercised(); err != nil {
			t.Error(err)
		}
		bed.Faults().Clear()
		bed.Faults().Add(faults.Rule{Kind: faults.Unprocessed, Operation: "BatchWriteItem"})
		var writes []types.WriteRequest
		for i := range 10 {
			writes = append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: map[string]types.AttributeValue{
				"id": &types.AttributeValueMemberS{Value: fmt.Sprintf("USER-%d", i)}, "type": &types.AttributeValueMemberS{Value: "USER"}}}})
		}
		out, err := client.BatchWriteItem(ctx, &ddb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"T-Table": writes}})
		if err != nil || len(out.UnprocessedItems["T-Table"]) != 5 {
			t.Errorf("unprocessed: %d, %v", len(out.UnprocessedItems["T-Table"]), err)
		}
		bed.Faults().Clear()
	})

	t.Run("invocations that fail", func(t *testing.T) {
		for want, rule := range map[string]faults.Rule{
			"Lambda.TooManyRequestsException":        {Kind: faults.Throttle},
			"Lambda.ServiceException":                {Kind: faults.ServerError},
			"Lambda.ClientExecutionTimeoutException": {Kind: faults.Fail, Code: "ClientExecutionTimeoutException", Status: 500},
			"Lambda.SdkClientException":              {Kind: faults.DropBefore},
		} {
			before := len(bed.Lambda().Invocations())
			rule.Service, rule.Function, rule.Count = "lambda", "T-*", 1
			bed.Faults().Add(rule)
			if d := run(t, `{"Do":"echo"}`); aws.ToString(d.Error) != want || len(bed.Lambda().Invocations()) != before {
				t.Errorf("%s: error %s; want %s, and no invocation", rule.Kind, aws.ToString(d.Error), want)
			}
		}
		before := len(bed.Lambda().Invocations())
		bed.Faults().Add(faults.Rule{Kind: faults.DropAfter, Service: "lambda", Count: 1})
		if d := run(t, `{"Do":"echo"}`); aws.ToString(d.Error) != "Lambda.SdkClientException" || len(bed.Lambda().Invocations()) != before+1 {
			t.Errorf("an answer that got lost: error %s", aws.ToString(d.Error))
		}
		bed.Faults().Clear()
	})

	t.Run("uploads of import files", func(t *testing.T) {
		users := cognitoidentityprovider.NewFromConfig(bed.Config(here))
		pool, err := users.CreateUserPool(ctx, &cognitoidentityprovider.CreateUserPoolInput{PoolName: aws.String("p")})
		if err != nil {
			t.Fatal(err)
		}
		job, err := users.CreateUserImportJob(ctx, &cognitoidentityprovider.CreateUserImportJobInput{
			UserPoolId: pool.UserPool.Id, JobName: aws.String("j"), CloudWatchLogsRoleArn: aws.String("arn:aws:iam::123456789012:role/logs"),
		})
		if err != nil {
			t.Fatal(err)
		}
		put := func() (int, string) {
			r, err := http.NewRequestWithContext(ctx, http.MethodPut, aws.ToString(job.UserImportJob.PreSignedUrl), strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("x-amz-server-side-encryption", "aws:kms")
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				return 0, ""
			}
			defer answer.Body.Close()
			body, _ := io.ReadAll(answer.Body)
			return answer.StatusCode, string(body)
		}
		for _, c := range []struct {
			kind   faults.Kind
			status int
			code   string
		}{{faults.Throttle, 503, "SlowDown"}, {faults.ServerError, 500, "InternalError"}, {faults.DropBefore, 0, ""}, {faults.DropAfter, 0, ""}, {faults.Delay, 200, ""}} {
			bed.Faults().Add(faults.Rule{Kind: c.kind, Service: "s3", Operation: UploadOperation, Count: 1, Delay: time.Millisecond})
			if status, body := put(); status != c.status || !strings.Contains(body, c.code) {
				t.Errorf("%s: %d %s", c.kind, status, body)
			}
		}
		if err := bed.Faults().VerifyAllExercised(); err != nil {
			t.Error(err)
		}
		bed.Faults().Clear()
	})

	t.Run("a Region that is down", func(t *testing.T) {
		bed.RegionDown(there)
		client := ddb.NewFromConfig(bed.Config(there), func(o *ddb.Options) { o.RetryMaxAttempts = 1 })
		if _, err := client.Scan(ctx, &ddb.ScanInput{TableName: aws.String("T-Table")}); err == nil {
			t.Error("a call to it succeeded")
		}
		bed.RegionUp(there)
		if _, err := client.Scan(ctx, &ddb.ScanInput{TableName: aws.String("T-Table")}); err != nil {
			t.Error(err)
		}
	})

	if v := bed.Violations(); len(v) > 0 {
		t.Errorf("violations:\n%s", strings.Join(v, "\n"))
	}
}

func TestMissingPermission(t *testing.T) {
	tmpl := template()
	role := tmpl["Resources"].(map[string]any)["ProbeRole"].(map[string]any)["Properties"].(map[string]any)
	role["Policies"] = []any{}
	bed := startBed(t, tmpl)
	result, functionError, err := bed.Lambda().Invoke(t.Context(), functionARN(here, "T-probe"), wire.Principal{}, []byte(`{"Do":"put","Text":"USER-1"}`))
	if err != nil || functionError == "" || !strings.Contains(string(result), "AccessDeniedException") {
		t.Errorf("%s %q %v", result, functionError, err)
	}
}

func TestCustomerManagedKey(t *testing.T) {
	for name, c := range map[string]struct {
		action string
		want   string // in the answer
	}{
		"with permission":    {"kms:Decrypt", `"Calls":1`},
		"without permission": {"kms:Encrypt", "kms:Decrypt"},
	} {
		t.Run(name, func(t *testing.T) {
			tmpl := template()
			resources := tmpl["Resources"].(map[string]any)
			statement := func(principal, resource any, action string, condition map[string]any) any {
				s := map[string]any{"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition}
				if principal != nil {
					s["Principal"] = principal
				}
				return s
			}
			resources["Key"] = resource("AWS::KMS::Key", map[string]any{"KeyPolicy": map[string]any{"Version": "2012-10-17", "Statement": []any{
				statement(map[string]any{"AWS": "arn:aws:iam::123456789012:root"}, "*", "kms:*", map[string]any{})}}})
			resources["Alias"] = resource("AWS::KMS::Alias", map[string]any{"AliasName": "alias/t", "TargetKeyId": ref("Key")})
			table := resources["Table"].(map[string]any)
			table["DependsOn"] = "Alias"
			table["Properties"].(map[string]any)["Replicas"].([]any)[0].(map[string]any)["SSESpecification"] = map[string]any{"KMSMasterKeyId": "alias/t"}
			role := resources["ProbeRole"].(map[string]any)["Properties"].(map[string]any)
			role["Policies"] = append(role["Policies"].([]any), map[string]any{"PolicyName": "Key", "PolicyDocument": map[string]any{"Version": "2012-10-17", "Statement": []any{
				statement(nil, getAtt("Key", "Arn"), c.action, map[string]any{"StringEquals": map[string]any{"kms:ViaService": "dynamodb.eu-west-1.amazonaws.com"}})}}})
			bed := startBed(t, tmpl)
			result, _, err := bed.Lambda().Invoke(t.Context(), functionARN(here, "T-probe"), wire.Principal{}, []byte(`{"Do":"put","Text":"USER-1"}`))
			if err != nil || !strings.Contains(string(result), c.want) {
				t.Errorf("%s %v", result, err)
			}
		})
	}
}

func TestUnknownTypeIsNamed(t *testing.T) {
	tmpl := map[string]any{"Resources": map[string]any{"Strange": resource("AWS::EC2::Instance", nil)}}
	bed, err := Start(t.Context(), Options{Assembly: writeAssembly(t, tmpl), Source: "testdata"})
	if err != nil {
		t.Fatal(err)
	}
	defer bed.Close()
	if err := bed.Deploy(t.Context()); err == nil || !strings.Contains(err.Error(), "AWS::EC2::Instance") || !strings.Contains(err.Error(), "Strange") {
		t.Errorf("error: %v", err)
	}
}

func TestStartRefuses(t *testing.T) {
	taken, err := listen("")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	go http.Serve(taken, nil)
	good := writeAssembly(t, map[string]any{"Resources": map[string]any{}})
	for name, c := range map[string]struct {
		options Options
		want    string
	}{
		"no assembly":     {Options{Assembly: t.TempDir(), Source: "testdata"}, "make synth"},
		"port taken":      {Options{Assembly: good, Source: "testdata", Listen: taken.Addr().String()}, "is taken by another program"},
		"not on loopback": {Options{Assembly: good, Source: "testdata", Listen: "0.0.0.0:0"}, "loopback only"},
	} {
		t.Run(name, func(t *testing.T) {
			bed, err := Start(context.Background(), c.options)
			if err == nil {
				bed.Close()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error: %v", err)
			}
		})
	}
	t.Run("no node", func(t *testing.T) {
		t.Setenv("PATH", "")
		if _, err := Start(context.Background(), Options{Assembly: good, Source: "testdata"}); err == nil || !strings.Contains(err.Error(), "install Node.js") {
			t.Errorf("error: %v", err)
		}
	})
}

func TestUnsignedSignIn(t *testing.T) {
	bed := startBed(t, map[string]any{"Resources": map[string]any{}})
	pool, err := bed.Cognito(here).Seed(&cognito.Seed{Clients: []cognito.Client{{ClientId: "app", ClientName: "app"}}})
	if err != nil {
		t.Fatal(err)
	}
	anybody := bed.Config(here)
	anybody.Credentials = aws.AnonymousCredentials{}
	client := cognitoidentityprovider.NewFromConfig(anybody)
	_, err = client.ConfirmSignUp(t.Context(), &cognitoidentityprovider.ConfirmSignUpInput{ClientId: aws.String("app"), Username: aws.String("nobody"), ConfirmationCode: aws.String("1")})
	if c := code(err); c != "UserNotFoundException" && c != "ExpiredCodeException" {
		t.Errorf("ConfirmSignUp of nobody: %v", err)
	}
	_, err = client.DescribeUserPoolClient(t.Context(), &cognitoidentityprovider.DescribeUserPoolClientInput{ClientId: aws.String("app"), UserPoolId: &pool})
	if code(err) != "MissingAuthenticationTokenException" {
		t.Errorf("an unsigned call that needs a signature: %v", err)
	}
}

// TestOtherProtocols calls what speaks neither JSON 1.x nor S3.
func TestOtherProtocols(t *testing.T) {
	bed := startBed(t, template())
	identity, err := sts.NewFromConfig(bed.Config(here)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || aws.ToString(identity.Account) != wire.Account {
		t.Errorf("identity %+v, %v", identity, err)
	}
	schedules, err := scheduler.NewFromConfig(bed.Config(here)).ListSchedules(t.Context(), &scheduler.ListSchedulesInput{})
	if err != nil || len(schedules.Schedules) != 0 {
		t.Errorf("schedules %+v, %v", schedules, err)
	}
	invoke := func(name, kind string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, bed.Endpoint()+"/2015-03-31/functions/"+name+"/invocations", strings.NewReader(`{"Do":"echo","Text":"hi"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Invocation-Type", kind)
		if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "k", SecretAccessKey: "s"}, r, "x", "lambda", here, time.Now()); err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return response
	}
	answer, err := io.ReadAll(invoke("T-probe", "RequestResponse").Body)
	if err != nil || !strings.Contains(string(answer), `"Text":"hi"`) {
		t.Errorf("Invoke: %s, %v", answer, err)
	}
	if status := invoke("T-probe", "Event").StatusCode; status != http.StatusAccepted {
		t.Errorf("Invoke of an event: %d", status)
	}
	if status := invoke("T-none", "RequestResponse").StatusCode; status != http.StatusNotFound {
		t.Errorf("Invoke of no function: %d", status)
	}
	query, err := http.NewRequestWithContext(t.Context(), http.MethodPost, bed.Endpoint(), strings.NewReader("Action=DescribeStacks&Version=2010-05-15"))
	if err != nil {
		t.Fatal(err)
	}
	query.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "k", SecretAccessKey: "s"}, query, "x", "cloudformation", here, time.Now()); err != nil {
		t.Fatal(err)
	}
	refused, err := http.DefaultClient.Do(query)
	if err != nil {
		t.Fatal(err)
	}
	defer refused.Body.Close()
	if document, err := io.ReadAll(refused.Body); err != nil || !strings.Contains(string(document), "<Message>The testbed does not play the service cloudformation</Message>") {
		t.Errorf("a service that nobody plays: %s, %v", document, err)
	}
	log := bed.Requests()
	log = log[:len(log)-1]
	if last := log[len(log)-1]; last.Service != "lambda" || last.Operation != "Invoke" || last.Code != "ResourceNotFoundException" {
		t.Errorf("request log ends with %+v", last)
	}
}
