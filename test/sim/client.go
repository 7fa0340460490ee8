package sim

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/model"
	"cognito-backup/test/localaws/wire"
)

// Client is the SDK's client of Cognito with a shorter way for the calls that
// a simulation makes by the million. They wait for the same limiter, take the
// same time and are tried again as the same retryer says, but no request or
// answer is written for them.
type Client struct {
	*idp.Client
	cloud   *Cloud
	limits  *pool.Limits
	retryer aws.Retryer
}

// direct is a call without request and answer. A refusal becomes the error
// that the SDK makes of it: refuse has a client read it.
func (c *Client) direct(ctx context.Context, operation string, input any, refuse func(*idp.Client) error) (any, error) {
	body, err := json.Marshal(input)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		if err := c.limits.Wait(ctx, operation); err != nil {
			return nil, err
		}
		output, refusal, err := c.cloud.exchange(ctx, c.cloud.latency.Cognito, func() (any, error) {
			output, err := c.cloud.Cognito.Handle(ctx, &wire.Call{Service: "cognito-idp", Operation: operation, Region: Region, Input: body, Endpoint: endpoint})
			c.cloud.tell(operation, err)
			if err == nil {
				c.cloud.carriedOut(operation)
			}
			return output, err
		})
		if err == nil && refusal != nil {
			err = refuse(c.reads(operation, refusal))
		}
		c.limits.Observe(operation, err)
		if err == nil {
			return output, nil
		}
		if attempt >= c.retryer.MaxAttempts() || !c.retryer.IsErrorRetryable(err) {
			return nil, err
		}
		delay, cause := c.retryer.RetryDelay(attempt, err)
		if cause != nil {
			return nil, cause
		}
		if err := step.Sleep(ctx, delay); err != nil {
			return nil, err
		}
	}
}

// reads is a client to whom every call is refused.
func (c *Client) reads(operation string, refusal error) *idp.Client {
	cfg := c.cloud.config()
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	cfg.HTTPClient = refuses(func(r *http.Request) (*http.Response, error) {
		return c.cloud.answer(r, model.ByTarget(r.Header.Get("X-Amz-Target")), operation, nil, refusal)
	})
	return idp.NewFromConfig(cfg)
}

type refuses func(*http.Request) (*http.Response, error)

func (f refuses) Do(r *http.Request) (*http.Response, error) { return f(r) }

// AdminAddUserToGroup implements restore.UpdateAPI.
func (c *Client) AdminAddUserToGroup(ctx context.Context, in *idp.AdminAddUserToGroupInput, options ...func(*idp.Options)) (*idp.AdminAddUserToGroupOutput, error) {
	if c.cloud.Validate || len(options) > 0 {
		return c.Client.AdminAddUserToGroup(ctx, in, options...)
	}
	if _, err := c.direct(ctx, "AdminAddUserToGroup", in, func(client *idp.Client) error {
		_, err := client.AdminAddUserToGroup(ctx, in)
		return err
	}); err != nil {
		return nil, err
	}
	return &idp.AdminAddUserToGroupOutput{}, nil
}

// AdminCreateUser implements restore.UserCreator.
func (c *Client) AdminCreateUser(ctx context.Context, in *idp.AdminCreateUserInput, options ...func(*idp.Options)) (*idp.AdminCreateUserOutput, error) {
	if c.cloud.Validate || len(options) > 0 {
		return c.Client.AdminCreateUser(ctx, in, options...)
	}
	output, err := c.direct(ctx, "AdminCreateUser", in, func(client *idp.Client) error {
		_, err := client.AdminCreateUser(ctx, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	created := output.(cognito.UserOutput)
	user := userType(&created.User)
	return &idp.AdminCreateUserOutput{User: &user}, nil
}

// AdminSetUserPassword implements restore.UserCreator.
func (c *Client) AdminSetUserPassword(ctx context.Context, in *idp.AdminSetUserPasswordInput, options ...func(*idp.Options)) (*idp.AdminSetUserPasswordOutput, error) {
	if c.cloud.Validate || len(options) > 0 {
		return c.Client.AdminSetUserPassword(ctx, in, options...)
	}
	if _, err := c.direct(ctx, "AdminSetUserPassword", in, func(client *idp.Client) error {
		_, err := client.AdminSetUserPassword(ctx, in)
		return err
	}); err != nil {
		return nil, err
	}
	return &idp.AdminSetUserPasswordOutput{}, nil
}

// ListUsers implements pool.ListAPI.
func (c *Client) ListUsers(ctx context.Context, in *idp.ListUsersInput, options ...func(*idp.Options)) (*idp.ListUsersOutput, error) {
	if c.cloud.Validate || len(options) > 0 {
		return c.Client.ListUsers(ctx, in, options...)
	}
	output, err := c.direct(ctx, "ListUsers", in, func(client *idp.Client) error {
		_, err := client.ListUsers(ctx, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	page := output.(cognito.UserPage)
	return &idp.ListUsersOutput{Users: userTypes(page.Users), PaginationToken: notEmpty(page.PaginationToken)}, nil
}

// ListUsersInGroup implements pool.ListAPI.
func (c *Client) ListUsersInGroup(ctx context.Context, in *idp.ListUsersInGroupInput, options ...func(*idp.Options)) (*idp.ListUsersInGroupOutput, error) {
	if c.cloud.Validate || len(options) > 0 {
		return c.Client.ListUsersInGroup(ctx, in, options...)
	}
	output, err := c.direct(ctx, "ListUsersInGroup", in, func(client *idp.Client) error {
		_, err := client.ListUsersInGroup(ctx, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	page := output.(cognito.MemberPage)
	return &idp.ListUsersInGroupOutput{Users: userTypes(page.Users), NextToken: notEmpty(page.NextToken)}, nil
}

func notEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func userTypes(users []cognito.User) []types.UserType {
	all := make([]types.UserType, len(users))
	for i := range users {
		all[i] = userType(&users[i])
	}
	return all
}

// userType is a user as the SDK reads one.
func userType(u *cognito.User) types.UserType {
	t := types.UserType{
		Username: &u.Username, Enabled: u.Enabled, UserStatus: types.UserStatusType(u.UserStatus),
		UserCreateDate: &u.UserCreateDate.Time, UserLastModifiedDate: &u.UserLastModifiedDate.Time,
		Attributes: make([]types.AttributeType, len(u.Attributes)),
	}
	for i := range u.Attributes {
		t.Attributes[i] = types.AttributeType{Name: &u.Attributes[i].Name, Value: &u.Attributes[i].Value}
	}
	for i := range u.MFAOptions {
		o := &u.MFAOptions[i]
		t.MFAOptions = append(t.MFAOptions, types.MFAOptionType{AttributeName: &o.AttributeName, DeliveryMedium: types.DeliveryMediumType(o.DeliveryMedium)})
	}
	return t
}
