package restore

import (
	"context"
	"errors"
	"net/http"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"cognito-backup/internal/pool"
)

// answeredWith is an error as the SDK returns it.
func answeredWith(status int, err error) error {
	return &smithy.OperationError{ServiceID: "Cognito Identity Provider", OperationName: "Some", Err: &awshttp.ResponseError{
		ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: err},
	}}
}

func odd(code string) error {
	return &smithy.GenericAPIError{Code: code, Message: "about al@example.com"}
}

// TestRefusal: what Cognito refuses for good fails one record, under whatever
// code; what every other call would meet as well ends the import, or is tried
// again.
func TestRefusal(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		reason string
	}{
		"no error":                       {nil, ""},
		"no answer":                      {errors.New("broken pipe"), ""},
		"foreseen":                       {answeredWith(400, &types.InvalidParameterException{}), ReasonInvalid},
		"no room for more":               {answeredWith(400, &types.LimitExceededException{}), ReasonLimit},
		"unforeseen":                     {answeredWith(400, odd("SomethingNewException")), ReasonRefused},
		"unforeseen, in the model":       {answeredWith(400, &types.UnsupportedOperationException{}), ReasonRefused},
		"unknown operation":              {answeredWith(404, odd("UnknownOperationException")), ReasonRefused},
		"too large":                      {answeredWith(413, odd("RequestEntityTooLarge")), ReasonRefused},
		"unforeseen, of unknown origin":  {odd("SomethingNewException"), ""},
		"throttled":                      {answeredWith(400, &types.TooManyRequestsException{}), ""},
		"throttled under an odd code":    {answeredWith(429, odd("SomethingNewException")), ""},
		"Cognito's own fault":            {answeredWith(500, &types.InternalErrorException{}), ""},
		"Cognito's own fault, for good":  {answeredWith(501, odd("NotImplemented")), ""},
		"not Cognito's answer":           {answeredWith(400, odd(noAnswer)), ""},
		"no permission":                  {answeredWith(400, odd("AccessDeniedException")), ""},
		"no permission, in odd words":    {answeredWith(403, odd("SomethingNewException")), ""},
		"credentials expired":            {answeredWith(400, odd("ExpiredTokenException")), ""},
		"credentials of nobody":          {answeredWith(400, odd("UnrecognizedClientException")), ""},
		"signature wrong":                {answeredWith(400, odd("InvalidSignatureException")), ""},
		"the pool is not there any more": {answeredWith(400, &types.ResourceNotFoundException{}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if reason, _ := refusal(test.err); reason != test.reason {
				t.Errorf("reason %q, want %q", reason, test.reason)
			}
		})
	}
}

// refuser answers every call with an error.
type refuser struct {
	UserCreator
	err error
}

func (r *refuser) AdminCreateUser(context.Context, *idp.AdminCreateUserInput, ...func(*idp.Options)) (*idp.AdminCreateUserOutput, error) {
	return nil, r.err
}

func (r *refuser) AdminSetUserPassword(context.Context, *idp.AdminSetUserPasswordInput, ...func(*idp.Options)) (*idp.AdminSetUserPasswordOutput, error) {
	return nil, r.err
}

func (r *refuser) CreateGroup(context.Context, *idp.CreateGroupInput, ...func(*idp.Options)) (*idp.CreateGroupOutput, error) {
	return nil, r.err
}

func (r *refuser) AdminAddUserToGroup(context.Context, *idp.AdminAddUserToGroupInput, ...func(*idp.Options)) (*idp.AdminAddUserToGroupOutput, error) {
	return nil, r.err
}

func (r *refuser) AdminDisableUser(context.Context, *idp.AdminDisableUserInput, ...func(*idp.Options)) (*idp.AdminDisableUserOutput, error) {
	return nil, r.err
}

func (r *refuser) AdminLinkProviderForUser(context.Context, *idp.AdminLinkProviderForUserInput, ...func(*idp.Options)) (*idp.AdminLinkProviderForUserOutput, error) {
	return nil, r.err
}

// TestRefusedRecords: each call fails its own record with the right reason and
// the code, and nothing of the message.
func TestRefusedRecords(t *testing.T) {
	const code = "SomethingNewException"
	membership, flag, link := task{kind: kindMembership, group: "staff"}, task{kind: kindDisabled}, task{kind: kindLink, link: Link{"Corp", "7"}}
	for name, test := range map[string]struct {
		task   task
		err    error
		reason string
		what   string
	}{
		"membership, unforeseen":         {membership, odd(code), ReasonRefused, "membership staff: " + code},
		"flag, unforeseen":               {flag, odd(code), ReasonRefused, "disabled flag: " + code},
		"link, unforeseen":               {link, odd("UnknownOperationException"), ReasonRefused, "link Corp: UnknownOperationException"},
		"membership without a group":     {membership, &types.ResourceNotFoundException{}, ReasonGroupMissing, "membership staff: ResourceNotFoundException"},
		"link without a provider":        {link, &types.ResourceNotFoundException{}, ReasonNoProvider, "link Corp: ResourceNotFoundException"},
		"flag of somebody who is not":    {flag, &types.ResourceNotFoundException{}, ReasonUserMissing, "disabled flag: ResourceNotFoundException"},
		"flag of somebody who was there": {flag, &types.UserNotFoundException{}, ReasonUserMissing, "disabled flag: UserNotFoundException"},
	} {
		t.Run(name, func(t *testing.T) {
			u := &updater{UpdateUsers: &UpdateUsers{API: &refuser{err: answeredWith(400, test.err)}}, plan: Plan{Target: Settings{ID: "us-west-2_T", Providers: []string{"Corp"}}}}
			failure, err := u.carryOut(t.Context(), test.task)
			if err != nil || failure == nil || failure.Reason != test.reason || failure.what() != test.what {
				t.Errorf("%+v, %v", failure, err)
			}
		})
	}
	t.Run("group", func(t *testing.T) {
		c := &groupCreator{updater: &updater{UpdateUsers: &UpdateUsers{API: &refuser{err: answeredWith(400, odd(code))}}}}
		if r, err := c.createOne(t.Context(), &pool.Group{Name: "staff"}); err != nil || r != (groupResult{Failed, ReasonRefused, code}) {
			t.Errorf("%+v, %v", r, err)
		}
	})
	for name, err := range map[string]error{"user": odd(code), "user, in odd words": &types.UserNotFoundException{}} {
		t.Run(name, func(t *testing.T) {
			var api smithy.APIError
			errors.As(err, &api)
			w := &importer{ImportUsers: &ImportUsers{API: &refuser{err: answeredWith(400, err)}, Random: randomReader{}}, rules: testRules()}
			e := Entry{User: user(pool.Confirmed, "al")}
			if r, err := w.create(t.Context(), &e, userResult{Path: PathAPI}); err != nil || r.Outcome != Failed || r.Reason != ReasonRefused || r.Detail != api.ErrorCode() {
				t.Errorf("%+v, %v", r, err)
			}
			if refused, err := w.setPassword(t.Context(), "al"); err != nil || refused != api.ErrorCode() {
				t.Errorf("password: %q, %v", refused, err)
			}
		})
	}
	t.Run("no permission ends the import", func(t *testing.T) {
		u := &updater{UpdateUsers: &UpdateUsers{API: &refuser{err: answeredWith(400, odd("AccessDeniedException"))}}}
		if failure, err := u.carryOut(t.Context(), membership); err == nil {
			t.Errorf("%+v", failure)
		}
	})
}
