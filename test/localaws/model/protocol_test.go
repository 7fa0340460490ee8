package model_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	cognitotypes "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/smithy-go"

	"cognito-backup/test/localaws/model"
	"cognito-backup/test/localaws/model/modeltest"
	"cognito-backup/test/localaws/wire"
)

// echo remembers calls and answers what it is told to.
type echo struct {
	calls  []*wire.Call
	answer any
	err    error
}

func (e *echo) Permissions(*wire.Call) []wire.Permission {
	return []wire.Permission{{Action: "test:Echo", Resource: "*"}}
}

func (e *echo) Handle(_ context.Context, c *wire.Call) (any, error) {
	e.calls = append(e.calls, c)
	return e.answer, e.err
}

func (e *echo) last(t *testing.T) (operation string, input map[string]any) {
	t.Helper()
	c := e.calls[len(e.calls)-1]
	if err := json.Unmarshal(c.Input, &input); err != nil {
		t.Fatal(err)
	}
	return c.Operation, input
}

var keys = credentials.NewStaticCredentialsProvider("AKID", "SECRET", "")

func TestJSON(t *testing.T) {
	ctx, service := context.Background(), &echo{}
	client := cognitoidentityprovider.New(cognitoidentityprovider.Options{Region: "eu-west-1", Credentials: keys, RetryMaxAttempts: 1,
		BaseEndpoint: aws.String(modeltest.Serve(t, "cognito-idp", "eu-west-1", service))})

	created := time.Date(2026, 11, 22, 9, 0, 0, 123e6, time.UTC)
	service.answer = map[string]any{"Users": []any{map[string]any{"Username": "ada<&>", "UserCreateDate": wire.Time(created), "Enabled": true, "MFAOptions": nil}}}
	out, err := client.ListUsers(ctx, &cognitoidentityprovider.ListUsersInput{UserPoolId: aws.String("eu-west-1_AbC"), Limit: aws.Int32(60), Filter: aws.String(`sub ^= "0"`)})
	if err != nil {
		t.Fatal(err)
	}
	if u := out.Users[0]; *u.Username != "ada<&>" || !u.UserCreateDate.Equal(created) || !u.Enabled {
		t.Errorf("user %+v", u)
	}
	if operation, input := service.last(t); operation != "ListUsers" || fmt.Sprint(input) != `map[Filter:sub ^= "0" Limit:60 UserPoolId:eu-west-1_AbC]` {
		t.Errorf("%s %v", operation, input)
	}

	service.answer = nil
	if _, err := client.AdminDeleteUser(ctx, &cognitoidentityprovider.AdminDeleteUserInput{UserPoolId: aws.String("eu-west-1_AbC"), Username: aws.String("ada")}); err != nil {
		t.Errorf("an operation without output: %v", err)
	}

	service.err = wire.Errorf("UserNotFoundException", "User does not exist.")
	_, err = client.AdminGetUser(ctx, &cognitoidentityprovider.AdminGetUserInput{UserPoolId: aws.String("eu-west-1_AbC"), Username: aws.String("ada")})
	var notFound *cognitotypes.UserNotFoundException
	if !errors.As(err, &notFound) || notFound.ErrorMessage() != "User does not exist." {
		t.Errorf("got %v, want UserNotFoundException", err)
	}
	calls := len(service.calls)
	_, err = client.ListUsers(ctx, &cognitoidentityprovider.ListUsersInput{UserPoolId: aws.String("nonsense")})
	var invalid *cognitotypes.InvalidParameterException
	if !errors.As(err, &invalid) || !strings.HasPrefix(invalid.ErrorMessage(), "1 validation error detected: Value 'nonsense' at 'userPoolId'") {
		t.Errorf("got %v, want InvalidParameterException", err)
	}
	if len(service.calls) != calls {
		t.Error("an invalid request reaches the service")
	}
	service.err = &wire.Error{Code: "InternalErrorException", Message: "boom"}
	_, err = client.ListUsers(ctx, &cognitoidentityprovider.ListUsersInput{UserPoolId: aws.String("eu-west-1_AbC")})
	var response interface{ HTTPStatusCode() int }
	if !errors.As(err, &response) || response.HTTPStatusCode() != http.StatusInternalServerError {
		t.Errorf("got %v, want status 500", err)
	}
	_, err = client.ListTagsForResource(ctx, &cognitoidentityprovider.ListTagsForResourceInput{ResourceArn: aws.String("arn")})
	var apiError smithy.APIError
	if !errors.As(err, &apiError) || apiError.ErrorCode() != "UnknownOperationException" || !strings.Contains(apiError.ErrorMessage(), "ListTagsForResource") {
		t.Errorf("got %v, want UnknownOperationException", err)
	}
}

func TestJSON10(t *testing.T) {
	ctx, service := context.Background(), &echo{}
	client := sfn.New(sfn.Options{Region: "eu-west-1", Credentials: keys, RetryMaxAttempts: 1, BaseEndpoint: aws.String(modeltest.Serve(t, "states", "eu-west-1", service))})
	began := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	service.answer = map[string]any{"executionArn": "arn:e", "startDate": wire.Time(began)}
	out, err := client.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: aws.String("arn:m"), Input: aws.String(`{"a":1}`)})
	if err != nil || *out.ExecutionArn != "arn:e" || !out.StartDate.Equal(began) {
		t.Errorf("got %+v, %v", out, err)
	}
	service.err = wire.Errorf("ExecutionLimitExceeded", "too many")
	_, err = client.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: aws.String("arn:m")})
	var apiError smithy.APIError
	if !errors.As(err, &apiError) || apiError.ErrorCode() != "ExecutionLimitExceeded" {
		t.Errorf("got %v", err)
	}
}

func TestREST(t *testing.T) {
	ctx, service := context.Background(), &echo{}
	client := scheduler.New(scheduler.Options{Region: "eu-west-1", Credentials: keys, RetryMaxAttempts: 1,
		BaseEndpoint: aws.String(modeltest.Serve(t, "scheduler", "eu-west-1", service))})
	const arn = "arn:aws:scheduler:eu-west-1:123456789012:schedule/default/Backup.Export"
	service.answer = map[string]any{"ScheduleArn": arn}
	start := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	created, err := client.CreateSchedule(ctx, &scheduler.CreateScheduleInput{
		Name: aws.String("Backup.Export"), ScheduleExpression: aws.String("rate(1 day)"), StartDate: &start,
		FlexibleTimeWindow: &schedulertypes.FlexibleTimeWindow{Mode: schedulertypes.FlexibleTimeWindowModeOff},
		Target:             &schedulertypes.Target{Arn: aws.String("arn:m"), RoleArn: aws.String("arn:aws:iam::123456789012:role/r"), Input: aws.String("{}")},
	})
	if err != nil || *created.ScheduleArn != arn {
		t.Fatalf("got %+v, %v", created, err)
	}
	operation, input := service.last(t)
	if operation != "CreateSchedule" || input["Name"] != "Backup.Export" || input["StartDate"] != float64(start.Unix()) {
		t.Errorf("%s %v", operation, input)
	}

	service.answer = map[string]any{"Schedules": []any{map[string]any{"Name": "Backup.Export", "CreationDate": wire.Time(start)}}, "NextToken": nil}
	list, err := client.ListSchedules(ctx, &scheduler.ListSchedulesInput{GroupName: aws.String("default"), MaxResults: aws.Int32(5), NamePrefix: aws.String("Backup")})
	if err != nil || len(list.Schedules) != 1 || !list.Schedules[0].CreationDate.Equal(start) || list.NextToken != nil {
		t.Errorf("got %+v, %v", list, err)
	}
	if operation, input := service.last(t); operation != "ListSchedules" || fmt.Sprint(input) != "map[GroupName:default MaxResults:5 NamePrefix:Backup]" {
		t.Errorf("%s %v", operation, input)
	}
	service.answer = map[string]any{}
	if _, err := client.DeleteSchedule(ctx, &scheduler.DeleteScheduleInput{Name: aws.String("Backup.Export"), GroupName: aws.String("default")}); err != nil {
		t.Error(err)
	}
	if operation, input := service.last(t); operation != "DeleteSchedule" || input["GroupName"] != "default" || input["Name"] != "Backup.Export" {
		t.Errorf("%s %v", operation, input)
	}
	service.err = wire.Errorf("ResourceNotFoundException", "Schedule gone does not exist.")
	_, err = client.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: aws.String("gone")})
	var notFound *schedulertypes.ResourceNotFoundException
	var response interface{ HTTPStatusCode() int }
	if !errors.As(err, &notFound) || notFound.ErrorMessage() != "Schedule gone does not exist." || !errors.As(err, &response) || response.HTTPStatusCode() != http.StatusNotFound {
		t.Errorf("got %v, want 404 ResourceNotFoundException", err)
	}
	service.err = nil
	_, err = client.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: aws.String("a b")})
	var invalid *schedulertypes.ValidationException
	if !errors.As(err, &invalid) || !strings.Contains(invalid.ErrorMessage(), "Value 'a b' at 'name'") {
		t.Errorf("got %v, want ValidationException", err)
	}
}

func TestQuery(t *testing.T) {
	m := model.For("sns")
	parse := func(form url.Values) (string, error) {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		operation, input, err := m.ParseRequest(r, []byte(form.Encode()))
		return operation + " " + string(input), err
	}
	tests := []struct {
		form url.Values
		want string
	}{
		{url.Values{"Action": {"CreateTopic"}, "Version": {"2010-03-31"}, "Name": {"T"}, "Tags.member.2.Key": {"b"}, "Tags.member.2.Value": {"2"},
			"Tags.member.1.Key": {"a"}, "Tags.member.1.Value": {"1"}, "Attributes.entry.1.key": {"DisplayName"}, "Attributes.entry.1.value": {"x y"}},
			`CreateTopic {"Attributes":{"DisplayName":"x y"},"Name":"T","Tags":[{"Key":"a","Value":"1"},{"Key":"b","Value":"2"}]}`},
		{url.Values{"Action": {"CreateTopic"}, "Name": {"T"}, "Tags": {""}}, `CreateTopic {"Name":"T","Tags":[]}`},
		{url.Values{"Action": {"Subscribe"}, "ReturnSubscriptionArn": {"true"}}, `Subscribe {"ReturnSubscriptionArn":true}`},
		{url.Values{"Action": {"Subscribe"}, "Topic": {"x"}}, `Subscribe {"Topic":"x"}`},
	}
	for _, tt := range tests {
		if got, err := parse(tt.form); err != nil || got != tt.want {
			t.Errorf("got  %s, %v\nwant %s", got, err, tt.want)
		}
	}
	for _, form := range []url.Values{{"Action": {"Teleport"}}, {"Action": {"Subscribe"}, "ReturnSubscriptionArn": {"perhaps"}}, {"Action": {"CreateTopic"}, "Tags.member.x.Key": {"a"}}} {
		if got, err := parse(form); err == nil {
			t.Errorf("%v is read as %s", form, got)
		}
	}

	w := httptest.NewRecorder()
	m.WriteResponse(w, "ListSubscriptionsByTopic", json.RawMessage(`{"Subscriptions":[{"Endpoint":"a&b@example.com","Protocol":"email"}],"NextToken":null}`), "id-1")
	want := `<ListSubscriptionsByTopicResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><ListSubscriptionsByTopicResult><Subscriptions><member>` +
		`<Endpoint>a&amp;b@example.com</Endpoint><Protocol>email</Protocol></member></Subscriptions></ListSubscriptionsByTopicResult>` +
		`<ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></ListSubscriptionsByTopicResponse>`
	if got := w.Body.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	w = httptest.NewRecorder()
	m.WriteError(w, "Publish", wire.Errorf("NotFoundException", "Topic <x> does not exist"), "id-2")
	want = `<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type><Code>NotFound</Code>` +
		`<Message>Topic &lt;x&gt; does not exist</Message></Error><RequestId>id-2</RequestId></ErrorResponse>`
	if got := w.Body.String(); got != want || w.Code != http.StatusNotFound {
		t.Errorf("status %d\ngot  %s\nwant %s", w.Code, got, want)
	}
}

func TestQueryErrorHeader(t *testing.T) {
	m := model.For("sqs")
	tests := []struct {
		err    *wire.Error
		status int
		header string
		body   string
	}{
		{wire.Errorf("QueueDoesNotExist", "The specified queue does not exist."), 400, "AWS.SimpleQueueService.NonExistentQueue;Sender",
			`{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The specified queue does not exist."}`},
		{&wire.Error{Code: "AccessDeniedException", Message: "no", Status: 403}, 403, "AccessDenied;Sender", `{"__type":"com.amazonaws.sqs#AccessDeniedException","message":"no"}`},
		{&wire.Error{Code: "InternalFailure", Status: 500}, 500, "InternalFailure;Receiver", `{"__type":"com.amazonaws.sqs#InternalFailure"}`},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		m.WriteError(w, "SendMessage", tt.err, "id")
		if w.Code != tt.status || w.Header().Get("X-Amzn-Query-Error") != tt.header || w.Body.String() != tt.body {
			t.Errorf("%d %s %s", w.Code, w.Header().Get("X-Amzn-Query-Error"), w.Body)
		}
	}
}
