package iam

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"cognito-backup/test/localaws/wire"
)

const (
	exporter = "arn:aws:iam::123456789012:role/Exporter"
	other    = "arn:aws:iam::123456789012:role/path/Other"
	pool     = "arn:aws:cognito-idp:eu-west-1:123456789012:userpool/eu-west-1_AbC123"
	bucket   = "arn:aws:s3:::backup"
	function = "arn:aws:lambda:eu-west-1:123456789012:function:send-message"
)

func doc(statements ...string) json.RawMessage {
	return json.RawMessage(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`)
}

func TestIdentityPolicies(t *testing.T) {
	type ask struct {
		action, resource string
		ctx              map[string]string
		reason           string // empty when allowed
	}
	const none = "because no identity-based policy allows the "
	tests := []struct {
		name      string
		statement string
		asks      []ask
	}{
		{"action and resource", `{"Effect":"Allow","Action":"cognito-idp:ListUsers","Resource":"` + pool + `"}`, []ask{
			{"cognito-idp:ListUsers", pool, nil, ""},
			{"cognito-idp:listusers", pool, nil, ""},
			{"cognito-idp:ListUsers", pool + "x", nil, none + "cognito-idp:ListUsers action"},
			{"cognito-idp:ListUsers", "*", nil, none + "cognito-idp:ListUsers action"},
			{"cognito-idp:ListUsersInGroup", pool, nil, none + "cognito-idp:ListUsersInGroup action"},
		}},
		{"wildcards", `{"Effect":"Allow","Action":["s3:GetObject*","s3:?etBucket"],"Resource":"` + bucket + `/*"}`, []ask{
			{"s3:GetObject", bucket + "/a/b", nil, ""},
			{"s3:GetObjectVersion", bucket + "/a", nil, ""},
			{"s3:SetBucket", bucket + "/", nil, ""},
			{"s3:GetObject", bucket, nil, none + "s3:GetObject action"},
			{"s3:GetObject", strings.ToUpper(bucket) + "/a", nil, none + "s3:GetObject action"},
		}},
		{"a star in what is asked for is no wildcard", `{"Effect":"Allow","Action":"*","Resource":"` + pool + `"}`, []ask{
			{"cognito-idp:ListUserPools", "*", nil, none + "cognito-idp:ListUserPools action"},
		}},
		{"NotAction", `{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`, []ask{
			{"s3:GetObject", bucket + "/a", nil, ""},
			{"iam:PassRole", other, nil, none + "iam:PassRole action"},
		}},
		{"NotResource", `{"Effect":"Allow","Action":"s3:*","NotResource":["` + bucket + `","` + bucket + `/*"]}`, []ask{
			{"s3:GetObject", "arn:aws:s3:::elsewhere/a", nil, ""},
			{"s3:GetObject", bucket + "/a", nil, none + "s3:GetObject action"},
		}},
		{"StringEquals", `{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"cognito-idp.amazonaws.com"}}}`, []ask{
			{"iam:PassRole", other, map[string]string{"iam:PassedToService": "cognito-idp.amazonaws.com"}, ""},
			{"iam:PassRole", other, map[string]string{"iam:passedtoservice": "cognito-idp.amazonaws.com"}, ""},
			{"iam:PassRole", other, map[string]string{"iam:PassedToService": "ec2.amazonaws.com"}, none + "iam:PassRole action"},
			{"iam:PassRole", other, nil, none + "iam:PassRole action"},
		}},
		{"StringNotEquals passes without the key", `{"Effect":"Allow","Action":"a:B","Resource":"*","Condition":{"StringNotEquals":{"a:k":["1","2"]}}}`, []ask{
			{"a:B", "*", nil, ""},
			{"a:B", "*", map[string]string{"a:k": "3"}, ""},
			{"a:B", "*", map[string]string{"a:k": "2"}, none + "a:B action"},
		}},
		{"IfExists", `{"Effect":"Allow","Action":"a:B","Resource":"*","Condition":{"StringLikeIfExists":{"a:k":"x*"}}}`, []ask{
			{"a:B", "*", nil, ""},
			{"a:B", "*", map[string]string{"a:k": "xyz"}, ""},
			{"a:B", "*", map[string]string{"a:k": "y"}, none + "a:B action"},
		}},
		{"Null", `{"Effect":"Allow","Action":"a:B","Resource":"*","Condition":{"Null":{"a:k":"true"}}}`, []ask{
			{"a:B", "*", nil, ""},
			{"a:B", "*", map[string]string{"a:k": "1"}, none + "a:B action"},
		}},
		{"ForAllValues", `{"Effect":"Allow","Action":"dynamodb:GetItem","Resource":"*","Condition":{"ForAllValues:StringLike":{"dynamodb:LeadingKeys":["USER-*","GROUP-*"]}}}`, []ask{
			{"dynamodb:GetItem", "*", nil, ""},
			{"dynamodb:GetItem", "*", map[string]string{"dynamodb:LeadingKeys": "USER-1\nGROUP-a"}, ""},
			{"dynamodb:GetItem", "*", map[string]string{"dynamodb:LeadingKeys": "USER-1\nLEASE"}, none + "dynamodb:GetItem action"},
		}},
		{"ForAnyValue", `{"Effect":"Allow","Action":"a:B","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":["x"]}}}`, []ask{
			{"a:B", "*", nil, none + "a:B action"},
			{"a:B", "*", map[string]string{"aws:TagKeys": "y\nx"}, ""},
			{"a:B", "*", map[string]string{"aws:TagKeys": "y"}, none + "a:B action"},
		}},
		{"numbers, dates, addresses, booleans", `{"Effect":"Allow","Action":"a:B","Resource":"*","Condition":{"NumericLessThanEquals":{"a:n":10},` +
			`"DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"},"IpAddressIfExists":{"aws:SourceIp":"10.0.0.0/8"},"Bool":{"aws:SecureTransport":true}}}`, []ask{
			{"a:B", "*", map[string]string{"a:n": "10"}, ""},
			{"a:B", "*", map[string]string{"a:n": "10", "aws:SourceIp": "10.1.2.3"}, ""},
			{"a:B", "*", map[string]string{"a:n": "10.5"}, none + "a:B action"},
			{"a:B", "*", map[string]string{"a:n": "1", "aws:SourceIp": "11.0.0.1"}, none + "a:B action"},
			{"a:B", "*", map[string]string{"a:n": "1", "aws:SecureTransport": "false"}, none + "a:B action"},
		}},
		{"ArnLike goes part by part", `{"Effect":"Allow","Action":"a:B","Resource":"*","Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:states:*:123456789012:stateMachine:Backup-*"}}}`, []ask{
			{"a:B", "*", map[string]string{"aws:SourceArn": "arn:aws:states:eu-west-1:123456789012:stateMachine:Backup-Export"}, ""},
			{"a:B", "*", map[string]string{"aws:SourceArn": "arn:aws:states:eu-west-1:999:x:123456789012:stateMachine:Backup-Export"}, none + "a:B action"},
		}},
		{"variables", `{"Effect":"Allow","Action":"s3:PutObject","Resource":["` + bucket + `/${aws:PrincipalAccount}/*","` + bucket + `/${a:absent}","` + bucket + `/${a:absent, 'home'}/${*}"]}`, []ask{
			{"s3:PutObject", bucket + "/123456789012/x", nil, ""},
			{"s3:PutObject", bucket + "/1/x", nil, none + "s3:PutObject action"},
			{"s3:PutObject", bucket + "/", nil, none + "s3:PutObject action"},
			{"s3:PutObject", bucket + "/home/*", nil, ""},
			{"s3:PutObject", bucket + "/home/x", nil, none + "s3:PutObject action"},
		}},
		{"deny wins", `{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:DeleteObject","Resource":"` + bucket + `/reports/*"}`, []ask{
			{"s3:DeleteObject", bucket + "/runs/1", nil, ""},
			{"s3:DeleteObject", bucket + "/reports/1", nil, "with an explicit deny in an identity-based policy"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New()
			if err := s.AddPolicy(exporter, "P", doc(tt.statement)); err != nil {
				t.Fatal(err)
			}
			for _, a := range tt.asks {
				d := s.Allowed(exporter, a.action, a.resource, a.ctx)
				if d.Allowed != (a.reason == "") || d.Reason != a.reason {
					t.Errorf("%s on %s with %v: %+v, want %q", a.action, a.resource, a.ctx, d, a.reason)
				}
				if d := s.Allowed(other, a.action, a.resource, a.ctx); d.Allowed {
					t.Errorf("%s on %s is allowed to a role without policies", a.action, a.resource)
				}
				if d := s.Allowed("", a.action, a.resource, a.ctx); !d.Allowed {
					t.Errorf("%s on %s is denied to the administrator", a.action, a.resource)
				}
			}
		})
	}
}

func TestResourcePolicies(t *testing.T) {
	s := New()
	add := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	add(s.AddPolicy(exporter, "P", doc(`{"Effect":"Allow","Action":["s3:*","kms:Decrypt"],"Resource":"*"}`)))
	add(s.AddResourcePolicy(bucket, doc(
		`{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"s3:*","Resource":["`+bucket+`","`+bucket+`/*"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}}`,
		`{"Effect":"Allow","Principal":{"AWS":"`+other+`"},"Action":"s3:GetObject","Resource":"`+bucket+`/*"}`,
		`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"s3:PutObject","Resource":"`+bucket+`/*"}`)))
	const closed, open = "arn:aws:kms:eu-west-1:123456789012:key/closed", "arn:aws:kms:eu-west-1:123456789012:key/open"
	add(s.AddResourcePolicy(closed, doc(`{"Effect":"Allow","Principal":{"AWS":"`+other+`"},"Action":"kms:*","Resource":"*"}`)))
	add(s.AddResourcePolicy(open, doc(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"}`)))

	tests := []struct {
		name, role, action, resource string
		ctx                          map[string]string
		reason                       string
	}{
		{"identity policy over TLS", exporter, "s3:PutObject", bucket + "/a", nil, ""},
		{"deny without TLS", exporter, "s3:PutObject", bucket + "/a", map[string]string{"aws:SecureTransport": "false"}, "with an explicit deny in a resource-based policy"},
		{"granted by the bucket alone", other, "s3:GetObject", bucket + "/a", nil, ""},
		{"the account's root is no grant to its roles", other, "s3:PutObject", bucket + "/a", nil, "because no identity-based policy allows the s3:PutObject action"},
		{"another bucket that starts alike", other, "s3:GetObject", bucket + "2/a", nil, "because no identity-based policy allows the s3:GetObject action"},
		{"key whose policy lets identity policies count", exporter, "kms:Decrypt", open, nil, ""},
		{"key whose policy does not", exporter, "kms:Decrypt", closed, nil, "because no resource-based policy allows the kms:Decrypt action"},
		{"key whose policy names the role", other, "kms:Decrypt", closed, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := s.Allowed(tt.role, tt.action, tt.resource, tt.ctx); d.Allowed != (tt.reason == "") || d.Reason != tt.reason {
				t.Errorf("%+v, want %q", d, tt.reason)
			}
		})
	}
}

func TestServices(t *testing.T) {
	s := New()
	const rule = "arn:aws:events:eu-west-1:123456789012:rule/Failed"
	if err := s.AddLambdaPermission(function, LambdaPermission{Action: "lambda:InvokeFunction", Principal: "events.amazonaws.com", SourceArn: rule}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddRole(exporter, doc(`{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}`)); err != nil {
		t.Fatal(err)
	}
	if d := s.AllowedService("events.amazonaws.com", "lambda:InvokeFunction", function, map[string]string{"aws:SourceArn": rule}); !d.Allowed {
		t.Errorf("the rule may not invoke: %s", d.Reason)
	}
	if d := s.AllowedService("events.amazonaws.com", "lambda:InvokeFunction", function, map[string]string{"aws:SourceArn": rule + "2"}); d.Allowed {
		t.Error("another rule may invoke")
	} else if want := "because no resource-based policy allows the lambda:InvokeFunction action"; d.Reason != want {
		t.Errorf("reason %q, want %q", d.Reason, want)
	}
	if d := s.AllowedService("s3.amazonaws.com", "lambda:InvokeFunction", function, map[string]string{"aws:SourceArn": rule}); d.Allowed {
		t.Error("another service may invoke")
	}
	if d := s.Allowed(exporter, "lambda:InvokeFunction", function, map[string]string{"aws:SourceArn": rule}); d.Allowed {
		t.Error("a role may invoke by a permission given to a service")
	}
	if d := s.CanAssume("lambda.amazonaws.com", exporter, nil); !d.Allowed {
		t.Errorf("Lambda may not assume the role: %s", d.Reason)
	}
	for _, service := range []string{"states.amazonaws.com", "events.amazonaws.com"} {
		if d := s.CanAssume(service, exporter, nil); d.Allowed {
			t.Errorf("%s may assume the role", service)
		}
	}
	if d := s.CanAssume("lambda.amazonaws.com", other, nil); d.Allowed {
		t.Error("a role that does not exist can be assumed")
	}
}

func TestUnused(t *testing.T) {
	s := New()
	if err := s.AddPolicy(exporter, "P", doc(
		`{"Sid":"Bucket","Effect":"Allow","Action":["s3:GetObject*","s3:List*"],"Resource":["`+bucket+`","`+bucket+`/*"]}`,
		`{"Effect":"Allow","Action":"sqs:SendMessage","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}`,
		`{"Effect":"Deny","Action":"s3:GetObjectAcl","Resource":"*"}`)); err != nil {
		t.Fatal(err)
	}
	if err := s.AddLambdaPermission(function, LambdaPermission{Action: "lambda:InvokeFunction", Principal: "events.amazonaws.com"}); err != nil {
		t.Fatal(err)
	}
	if err := s.AttachManagedPolicy(other, "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"); err != nil {
		t.Fatal(err)
	}
	list := func() []string {
		var lines []string
		for _, g := range s.Unused() {
			lines = append(lines, fmt.Sprintf("%s %s %s %v %v", g.Role[strings.LastIndex(g.Role, "/")+1:], g.Action, g.Resource, g.ActionUsed, g.ResourceUsed))
		}
		return lines
	}
	if got := list(); len(got) != 4+1+3+1 {
		t.Errorf("before any call %d grants are unused, want 9: %q", len(got), got)
	}
	s.Allowed(exporter, "s3:GetObject", bucket+"/a", nil)
	s.Allowed(exporter, "s3:GetObject", bucket+"/b", nil)
	s.Allowed(exporter, "s3:GetObjectAcl", bucket+"/b", nil) // denied, so it uses nothing
	s.Allowed(exporter, "s3:ListBucket", bucket, nil)
	s.Allowed(other, "logs:PutLogEvents", "*", nil)
	want := []string{
		"Exporter s3:GetObject* arn:aws:s3:::backup true true",
		"Exporter s3:List* arn:aws:s3:::backup/* true true",
		"Exporter sqs:SendMessage * false false",
		"Other logs:CreateLogGroup * false true",
		"Other logs:CreateLogStream * false true",
		"events.amazonaws.com lambda:InvokeFunction " + function + " false false",
	}
	if got := list(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("unused:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	var uses []string
	for _, u := range s.Uses() {
		uses = append(uses, fmt.Sprintf("%s %v %d", u.Action, u.Allowed, u.Count))
	}
	if got, want := strings.Join(uses, " "), "s3:GetObject true 2 s3:GetObjectAcl false 1 s3:ListBucket true 1 logs:PutLogEvents true 1"; got != want {
		t.Errorf("uses %s, want %s", got, want)
	}
}

func TestManagedPolicies(t *testing.T) {
	s := New()
	const arn = "arn:aws:iam::123456789012:policy/Shared"
	if err := s.AddManagedPolicy(arn, doc(`{"Effect":"Allow","Action":"sns:Publish","Resource":"*"}`)); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{exporter, other} {
		if err := s.AttachManagedPolicy(role, arn); err != nil {
			t.Fatal(err)
		}
	}
	if d := s.Allowed(other, "sns:Publish", "*", nil); !d.Allowed || d.Grants[0].Policy != "Shared" {
		t.Errorf("%+v", d)
	}
	if got := s.Unused(); len(got) != 1 || got[0].Role != exporter {
		t.Errorf("use by one role counts for the other: %v", got)
	}
	if err := s.AttachManagedPolicy(other, "arn:aws:iam::aws:policy/Unheard"); err == nil {
		t.Error("an unknown policy can be attached")
	}
}

func TestMalformed(t *testing.T) {
	tests := []struct{ name, document, want string }{
		{"no statement", `{"Version":"2012-10-17","Statement":[]}`, "no statement"},
		{"effect", string(doc(`{"Effect":"allow","Action":"a:B","Resource":"*"}`)), `Effect is "allow"`},
		{"action missing", string(doc(`{"Effect":"Allow","Resource":"*"}`)), "Action is missing"},
		{"resource missing", string(doc(`{"Effect":"Allow","Action":"a:B"}`)), "Resource is missing"},
		{"both", string(doc(`{"Effect":"Allow","Action":"a:B","NotAction":"a:C","Resource":"*"}`)), "exclude each other"},
		{"action without service", string(doc(`{"Effect":"Allow","Action":"ListUsers","Resource":"*"}`)), "no service prefix"},
		{"resource that is no ARN", string(doc(`{"Effect":"Allow","Action":"a:B","Resource":"eu-west-1_AbC"}`)), "neither an ARN nor *"},
		{"unresolved intrinsic", string(doc(`{"Effect":"Allow","Action":"a:B","Resource":{"Ref":"Table"}}`)), "intrinsics"},
		{"operator", string(doc(`{"Effect":"Allow","Action":"a:B","Resource":"*","Condition":{"StringIs":{"a":"b"}}}`)), `"StringIs" does not exist`},
		{"principal", string(doc(`{"Effect":"Allow","Principal":"*","Action":"a:B","Resource":"*"}`)), "names no principal"},
		{"misspelt element", string(doc(`{"Effect":"Allow","Actions":"a:B","Resource":"*"}`)), "Actions"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := New().AddPolicy(exporter, "P", json.RawMessage(tt.document)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestTime(t *testing.T) {
	s := New()
	s.Now = func() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) }
	if err := s.AddPolicy(exporter, "P", doc(`{"Effect":"Allow","Action":"a:B","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-11-22T09:00:01Z"}}}`)); err != nil {
		t.Fatal(err)
	}
	if d := s.Allowed(exporter, "a:B", "*", nil); !d.Allowed {
		t.Error(d.Reason)
	}
}

func TestDenied(t *testing.T) {
	s := New()
	p := wire.Principal{Role: other, Name: "CognitoBackup-export-users"}
	const queue = "arn:aws:sqs:eu-west-1:123456789012:q"
	tests := []struct{ service, action, resource, code, message string }{
		{"cognito-idp", "cognito-idp:ListUsers", pool, "AccessDeniedException",
			"User: arn:aws:sts::123456789012:assumed-role/Other/CognitoBackup-export-users is not authorized to perform: cognito-idp:ListUsers on resource: " + pool +
				" because no identity-based policy allows the cognito-idp:ListUsers action"},
		{"cognito-idp", "iam:PassRole", exporter, "AccessDeniedException",
			"User: arn:aws:sts::123456789012:assumed-role/Other/CognitoBackup-export-users is not authorized to perform: iam:PassRole on resource: " + exporter +
				" because no identity-based policy allows the iam:PassRole action"},
		{"sqs", "sqs:SendMessage", queue, "AccessDeniedException",
			"User: arn:aws:sts::123456789012:assumed-role/Other/CognitoBackup-export-users is not authorized to perform: sqs:sendmessage on resource: " + queue +
				" because no identity-based policy allows the sqs:sendmessage action"},
		{"s3", "s3:PutObject", bucket + "/a", "AccessDenied",
			"User: arn:aws:sts::123456789012:assumed-role/Other/CognitoBackup-export-users is not authorized to perform: s3:PutObject on resource: \"" + bucket +
				"/a\" because no identity-based policy allows the s3:PutObject action"},
	}
	for _, tt := range tests {
		e := Denied(tt.service, p, tt.action, tt.resource, s.Allowed(p.Role, tt.action, tt.resource, nil))
		if e.Code != tt.code || e.Message != tt.message {
			t.Errorf("got  %v\nwant %s: %s", e, tt.code, tt.message)
		}
	}
}
