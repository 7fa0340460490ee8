package model

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"cognito-backup/test/localaws/wire"
)

func TestEveryModelLoads(t *testing.T) {
	for _, name := range Names() {
		m := For(name)
		if m == nil || len(m.Operations) == 0 {
			t.Fatalf("%s: no operations", name)
		}
		for operation, shapes := range m.Operations {
			if shapes.Input != "" && m.input(operation) == nil || shapes.Output != "" && m.output(operation) == nil {
				t.Errorf("%s %s: input or output shape is missing", name, operation)
			}
			for _, code := range shapes.Errors {
				if m.Shapes[code] == nil {
					t.Errorf("%s %s: error %s is missing", name, operation, code)
				}
			}
		}
		for shape, s := range m.Shapes {
			for member, target := range s.Members {
				if m.Shapes[target.Shape] == nil {
					t.Errorf("%s %s.%s: shape %s is missing", name, shape, member, target.Shape)
				}
			}
			for _, target := range []string{s.Member, s.Key, s.Value} {
				if target != "" && m.Shapes[target] == nil {
					t.Errorf("%s %s: shape %s is missing", name, shape, target)
				}
			}
		}
	}
	if For("dynamodb") != nil {
		t.Error("DynamoDB brings its own server")
	}
	if m := ByTarget("AWSStepFunctions.StartExecution"); m == nil || m.SigningName != "states" {
		t.Errorf("ByTarget finds %+v", m)
	}
}

func TestValidateRequest(t *testing.T) {
	tests := []struct {
		name, service, operation, input string
		code, message                   string // empty when valid
	}{
		{"valid", "cognito-idp", "ListUsers", `{"UserPoolId":"eu-west-1_AbC123","Limit":60}`, "", ""},
		{"null is absent", "cognito-idp", "ListUsers", `{"UserPoolId":"eu-west-1_AbC123","Filter":null}`, "", ""},
		{"required", "cognito-idp", "ListUsers", `{}`, "InvalidParameterException",
			"1 validation error detected: Value null at 'userPoolId' failed to satisfy constraint: Member must not be null"},
		{"pattern", "cognito-idp", "ListUsers", `{"UserPoolId":"nonsense"}`, "InvalidParameterException",
			`1 validation error detected: Value 'nonsense' at 'userPoolId' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w-]+_[0-9a-zA-Z]+`},
		{"two faults", "cognito-idp", "ListUsers", `{"UserPoolId":"nonsense","Limit":61}`, "InvalidParameterException",
			`2 validation errors detected: Value '61' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 60; ` +
				`Value 'nonsense' at 'userPoolId' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w-]+_[0-9a-zA-Z]+`},
		{"sensitive values are not echoed", "cognito-idp", "AdminGetUser", `{"UserPoolId":"eu-west-1_AbC123","Username":"with space"}`, "InvalidParameterException",
			`1 validation error detected: Value at 'username' failed to satisfy constraint: Member must satisfy regular expression pattern: [\p{L}\p{M}\p{S}\p{N}\p{P}]+`},
		{"usernames may hold emoji, signs and letters", "cognito-idp", "AdminGetUser", `{"UserPoolId":"eu-west-1_AbC123","Username":"山田+#/@,🎉"}`, "", ""},
		{"an element of a list", "cognito-idp", "AdminUpdateUserAttributes",
			`{"UserPoolId":"eu-west-1_AbC123","Username":"ada","UserAttributes":[{"Name":"email","Value":"a"},{"Name":"","Value":"b"}]}`, "InvalidParameterException",
			`2 validation errors detected: Value '' at 'userAttributes.2.member.name' failed to satisfy constraint: Member must have length greater than or equal to 1; ` +
				`Value '' at 'userAttributes.2.member.name' failed to satisfy constraint: Member must satisfy regular expression pattern: [\p{L}\p{M}\p{S}\p{N}\p{P}\t\n\r ]+`},
		{"characters count, not bytes", "cognito-idp", "AdminUpdateUserAttributes",
			`{"UserPoolId":"eu-west-1_AbC123","Username":"ada","UserAttributes":[{"Name":"name","Value":"` + strings.Repeat("é", 2048) + `"}]}`, "", ""},
		{"one character too many", "cognito-idp", "AdminUpdateUserAttributes",
			`{"UserPoolId":"eu-west-1_AbC123","Username":"ada","UserAttributes":[{"Name":"name","Value":"` + strings.Repeat("é", 2049) + `"}]}`, "InvalidParameterException",
			"1 validation error detected: Value at 'userAttributes.1.member.value' failed to satisfy constraint: Member must have length less than or equal to 2048"},
		{"enum in a list", "cognito-idp", "AdminCreateUser", `{"UserPoolId":"eu-west-1_AbC123","Username":"ada","DesiredDeliveryMediums":["FAX"]}`, "InvalidParameterException",
			"1 validation error detected: Value '[FAX]' at 'desiredDeliveryMediums' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [SMS, EMAIL]]"},
		{"wrong type", "cognito-idp", "ListUsers", `{"UserPoolId":7}`, "SerializationException", "NUMBER_VALUE can not be converted to a String ('userPoolId')"},
		{"not JSON", "cognito-idp", "ListUsers", `{`, "SerializationException", "The request is not valid JSON"},
		{"step functions", "states", "StartExecution", `{"stateMachineArn":""}`, "ValidationException",
			"1 validation error detected: Value '' at 'stateMachineArn' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"scheduler", "scheduler", "GetSchedule", `{"Name":"a b"}`, "ValidationException",
			"1 validation error detected: Value 'a b' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[0-9a-zA-Z-_.]+$"},
		{"sns", "sns", "Publish", `{"TopicArn":"x"}`, "ValidationError",
			"1 validation error detected: Value null at 'message' failed to satisfy constraint: Member must not be null"},
		{"sqs", "sqs", "SendMessage", `{"QueueUrl":"x"}`, "MissingParameter", "The request must contain the parameter MessageBody."},
		{"sqs batch", "sqs", "SendMessageBatch", `{"QueueUrl":"x","Entries":[{"Id":"1","MessageBody":"a"},{"Id":"2"}]}`, "MissingParameter",
			"The request must contain the parameter SendMessageBatchRequestEntry.2.MessageBody."},
		{"sqs attribute", "sqs", "GetQueueAttributes", `{"QueueUrl":"x","AttributeNames":["Colour"]}`, "InvalidAttributeName", "Unknown Attribute Colour."},
		{"unknown operation", "sqs", "AddPermission", `{}`, "UnknownOperationException", `The testbed does not know the operation "AddPermission" of sqs`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := For(tt.service).ValidateRequest(tt.operation, json.RawMessage(tt.input))
			if tt.code == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var apiError *wire.Error
			if !errors.As(err, &apiError) {
				t.Fatalf("got %v, want a *wire.Error", err)
			}
			if apiError.Code != tt.code || apiError.Message != tt.message {
				t.Errorf("got  %s: %s\nwant %s: %s", apiError.Code, apiError.Message, tt.code, tt.message)
			}
		})
	}
}

func TestUnknownMembers(t *testing.T) {
	m := For("cognito-idp")
	got := m.UnknownMembers("AdminUpdateUserAttributes", json.RawMessage(`{"UserPoolId":"a_b","Usrname":"x","UserAttributes":[{"Name":"a","Wert":"b"}]}`))
	if want := "userAttributes.1.member.wert usrname"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if err := m.ValidateRequest("ListUsers", json.RawMessage(`{"UserPoolId":"eu-west-1_AbC123","Usrname":"x"}`)); err != nil {
		t.Errorf("AWS ignores unknown members, but: %v", err)
	}
}

func TestValidateResponse(t *testing.T) {
	m := For("cognito-idp")
	tests := []struct {
		name, operation, output, want string
	}{
		{"valid", "ListUsers", `{"Users":[{"Username":"ada","UserCreateDate":1.5,"Enabled":true,"UserStatus":"CONFIRMED","Attributes":null}]}`, ""},
		{"nothing where nothing is answered", "AdminDeleteUser", `null`, ""},
		{"something where nothing is answered", "AdminDeleteUser", `{"Username":"ada"}`, "Member 'username' is not in the API model"},
		{"misspelt member", "ListUsers", `{"users":[]}`, "Member 'users' is not in the API model"},
		{"wrong enum", "ListUsers", `{"Users":[{"UserStatus":"HAPPY"}]}`, "Value 'HAPPY' at 'users.1.member.userStatus'"},
		{"wrong type", "ListUsers", `{"Users":[{"Enabled":"true"}]}`, "STRING_VALUE can not be converted to a Boolean"},
		{"time as text", "ListUsers", `{"Users":[{"UserCreateDate":"2026-11-22T09:00:00Z"}]}`, "STRING_VALUE can not be converted to a Timestamp"},
		{"too long, not echoed", "ListUsers", `{"Users":[{"Username":"` + strings.Repeat("x", 129) + `"}]}`, "Value at 'users.1.member.username'"},
		{"not an object", "ListUsers", `[]`, "no JSON object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := m.ValidateResponse(tt.operation, json.RawMessage(tt.output))
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	if err := For("states").ValidateResponse("StartExecution", json.RawMessage(`{"executionArn":"arn"}`)); err == nil || !strings.Contains(err.Error(), "'startDate'") {
		t.Errorf("a missing required member passes: %v", err)
	}
}

func TestValidateError(t *testing.T) {
	tests := []struct {
		service, operation, code string
		ok                       bool
	}{
		{"cognito-idp", "ListUsers", "ResourceNotFoundException", true},
		{"cognito-idp", "ListUsers", "UserNotFoundException", false},
		{"cognito-idp", "ListUsers", "AccessDeniedException", true},
		{"sns", "Publish", "NotFoundException", true},
		{"sns", "Publish", "NotFound", true},
		{"sqs", "SendMessage", "QueueDoesNotExist", true},
		{"sqs", "SendMessage", "ReceiptHandleIsInvalid", false},
	}
	for _, tt := range tests {
		if err := For(tt.service).ValidateError(tt.operation, &wire.Error{Code: tt.code}); (err == nil) != tt.ok {
			t.Errorf("%s %s %s: %v", tt.service, tt.operation, tt.code, err)
		}
	}
}

func TestPatterns(t *testing.T) {
	tests := []struct {
		pattern, value string
		want           bool
	}{
		{`[\w-]+_[0-9a-zA-Z]+`, "eu-west-1_AbC", true},
		{`[\w-]+_[0-9a-zA-Z]+`, "eu-west-1_AbC\n", false}, // the whole value, not a line of it
		{`[\S]+`, "a\vb", false},                          // Java's white space holds the vertical tab
		{`[\w\s+=,.@-]+`, "a\vb c", true},
		{`.*\{####\}.*`, "code {####}", true},
		{`.*\{####\}.*`, "code\n{####}", false},
		{`.*\{####\}.*`, "code\u2028{####}", false},
		{`(?s).*`, "a\nb", true},
		{`\p{ASCII}*`, "Root=1-2", true},
		{`\p{ASCII}*`, "é", false},
		{`^[0-9a-zA-Z-_.]+$`, "a-b_c.d", true},
		{`[\p{L}\p{M}\p{S}\p{N}\p{P}\s*]*\{####\}[\p{L}\p{M}\p{S}\p{N}\p{P}\s*]*`, "Ihr Code:\n{####}", true},
		{`^(?=[/\.\-_A-Za-z0-9]+)((?!aws\.).*)|(\$(\.[\w_-]+(\[(\d+|\*)\])*)*)$`, "my.source", true},
		{`^(?=[/\.\-_A-Za-z0-9]+)((?!aws\.).*)|(\$(\.[\w_-]+(\[(\d+|\*)\])*)*)$`, "aws.states", false},
	}
	for _, tt := range tests {
		match, err := compile(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if match(tt.value) != tt.want {
			t.Errorf("%s matches %q: %v", tt.pattern, tt.value, !tt.want)
		}
	}
}
