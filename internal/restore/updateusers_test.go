package restore

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
	"cognito-backup/internal/step/steptest"
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
		"not Cognito's answer":           {answeredWith(400, odd("UnknownError")), ""},
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
	for unknown, want := range map[bool]string{false: ReasonNoProvider, true: ReasonLinkTaken} {
		u := &updater{UpdateUsers: &UpdateUsers{API: &refuser{err: answeredWith(400, &types.InvalidParameterException{})}}, plan: Plan{Target: Settings{ProvidersUnknown: unknown}}}
		if failure, err := u.carryOut(t.Context(), link); err != nil || failure.Reason != want {
			t.Errorf("a link, providers unknown %t: %+v, %v", unknown, failure, err)
		}
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

// careful is a target that links nobody who is disabled. Each call uses a slice
// up.
type careful struct {
	refuser
	mu    sync.Mutex
	now   time.Time
	calls []string
	off   bool
}

func (c *careful) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *careful) call(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Hour)
	c.calls = append(c.calls, what)
}

func (c *careful) AdminAddUserToGroup(_ context.Context, in *idp.AdminAddUserToGroupInput, _ ...func(*idp.Options)) (*idp.AdminAddUserToGroupOutput, error) {
	c.call("add to " + *in.GroupName)
	return nil, nil
}

func (c *careful) AdminDisableUser(context.Context, *idp.AdminDisableUserInput, ...func(*idp.Options)) (*idp.AdminDisableUserOutput, error) {
	c.call("disable")
	c.off = true
	return nil, nil
}

func (c *careful) AdminLinkProviderForUser(_ context.Context, in *idp.AdminLinkProviderForUserInput, _ ...func(*idp.Options)) (*idp.AdminLinkProviderForUserOutput, error) {
	c.call("link " + *in.SourceUser.ProviderName)
	if c.off {
		return nil, &types.InvalidParameterException{}
	}
	return nil, nil
}

// TestLinkedBeforeDisabled: a user who is linked and disabled gets the links
// first, also across slices, and each call is made once.
func TestLinkedBeforeDisabled(t *testing.T) {
	identities := `identities=[{"userId":"7","providerName":"Google"},{"userId":"3","providerName":"Corp"}]`
	e := Entry{User: user(pool.Confirmed, "al", identities), Groups: []string{"staff"}}
	e.User.Enabled = false
	present := e
	present.Present = &Present{Username: testSub, Sub: testSub, LinkTo: "al", Disable: true, Links: Links(&e.User)}
	for name, entry := range map[string]Entry{"created": e, "already there": present} {
		t.Run(name, func(t *testing.T) {
			bucket := new(steptest.Bucket)
			r := run{&step.Slice{Event: step.Event{Execution: "arn:aws:states:us-west-2:123456789012:execution:ImportWorkflow:restore-1"},
				Objects: &step.Objects{API: bucket, Bucket: "bucket"}}}
			for key, v := range map[string]any{
				r.planKey():                        Plan{Input: Input{Mode: EmptyPool}, Target: testRules().Target},
				r.frozenKey():                      Frozen{Chunks: 1},
				r.roundKey(1):                      round{Chunks: 1},
				r.chunkKey(chunkName(1, 1)):        chunk{Entries: []Entry{entry}},
				r.importResultKey(chunkName(1, 1)): importResult{Users: []userResult{{Outcome: Restored, Path: PathAPI, Username: "al", Sub: testSub}}},
			} {
				if err := r.put(t.Context(), key, v); err != nil {
					t.Fatal(err)
				}
			}
			api := &careful{now: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}
			queue := &Queue{API: new(noMessages)}
			flow := &steptest.Workflow{Name: "ImportWorkflow", Execution: "restore-1", Input: "{}", Bucket: bucket, Slice: time.Minute,
				Now: api.clock, Run: step.Run{Round: 1}}
			if err := flow.Do(t.Context(), "UpdateUsers", &UpdateUsers{API: api, Updates: queue, DeadLetters: queue, InFlight: 1}); err != nil {
				t.Fatal(err)
			}
			if want := []string{"link Corp", "link Google", "disable", "add to staff"}; !slices.Equal(api.calls, want) {
				t.Errorf("%q, want %q", api.calls, want)
			}
			var result updateResult
			if err := r.Objects.Get(t.Context(), r.updateResultKey(chunkName(1, 1)), &result); err != nil || result.Done != 4 || len(result.Failures) > 0 {
				t.Errorf("%+v, %v", result, err)
			}
			if n := flow.Slices["UpdateUsers"]; n < 4 {
				t.Errorf("%d slices", n)
			}
		})
	}
}

// noMessages is a queue that loses every message.
type noMessages struct{ oneMessage }

func (*noMessages) ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	return &sqs.ReceiveMessageOutput{}, nil
}
