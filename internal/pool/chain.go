package pool

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
)

// maxRestarts is how often one listing starts again because Cognito no longer
// takes its token, before something else must be wrong.
const maxRestarts = 20

// Chain is one listing, page after page, each token the key to the next page.
// It is kept between time slices.
type Chain struct {
	Name     string  `json:",omitempty"` // tells chains apart: a filter, a group
	Token    *string `json:",omitempty"`
	Done     bool    `json:",omitempty"`
	Restarts int     `json:",omitempty"`
}

// Follow reads page after page until the listing ends or stop says so. An empty
// page with a token is normal; only a missing token is the end. A listing
// whose token expired starts again, so that page must not mind seeing a record twice.
func (c *Chain) Follow(ctx context.Context, stop func() bool, page func(ctx context.Context, token *string) (next *string, err error)) error {
	for !c.Done && !stop() && ctx.Err() == nil {
		next, err := page(ctx, c.Token)
		if IsTokenExpired(err, c.Token) && c.Restarts < maxRestarts {
			c.Token, c.Restarts = nil, c.Restarts+1
			continue
		}
		if err != nil {
			return err
		}
		c.Token, c.Done = next, aws.ToString(next) == ""
	}
	return ctx.Err()
}

// ListUsersAPI is one page of users.
type ListUsersAPI interface {
	ListUsers(context.Context, *idp.ListUsersInput, ...func(*idp.Options)) (*idp.ListUsersOutput, error)
}

// ListGroupsAPI is one page of groups.
type ListGroupsAPI interface {
	ListGroups(context.Context, *idp.ListGroupsInput, ...func(*idp.Options)) (*idp.ListGroupsOutput, error)
}

// ListMembersAPI is one page of a group's users.
type ListMembersAPI interface {
	ListUsersInGroup(context.Context, *idp.ListUsersInGroupInput, ...func(*idp.Options)) (*idp.ListUsersInGroupOutput, error)
}

// ListAPI is what listing a whole pool needs of Cognito.
type ListAPI interface {
	ListUsersAPI
	ListGroupsAPI
	ListMembersAPI
}

// UsersPage reads one page of a pool's users, of those that match the filter
// if there is one.
func UsersPage(ctx context.Context, api ListUsersAPI, poolID, filter string, token *string) ([]User, *string, error) {
	in := &idp.ListUsersInput{UserPoolId: &poolID, Limit: aws.Int32(PageSize), PaginationToken: token}
	if filter != "" {
		in.Filter = &filter
	}
	out, err := api.ListUsers(ctx, in)
	if err != nil {
		return nil, nil, fmt.Errorf("list users of %s: %w", poolID, err)
	}
	users := make([]User, len(out.Users))
	for i, u := range out.Users {
		users[i] = FromUserType(u)
	}
	return users, out.PaginationToken, nil
}

// GroupsPage reads one page of a pool's groups.
func GroupsPage(ctx context.Context, api ListGroupsAPI, poolID string, token *string) ([]Group, *string, error) {
	out, err := api.ListGroups(ctx, &idp.ListGroupsInput{UserPoolId: &poolID, Limit: aws.Int32(PageSize), NextToken: token})
	if err != nil {
		return nil, nil, fmt.Errorf("list groups of %s: %w", poolID, err)
	}
	groups := make([]Group, len(out.Groups))
	for i, g := range out.Groups {
		groups[i] = FromGroupType(g)
	}
	return groups, out.NextToken, nil
}

// MembersPage reads one page of a group's users.
func MembersPage(ctx context.Context, api ListMembersAPI, poolID, group string, token *string) ([]User, *string, error) {
	out, err := api.ListUsersInGroup(ctx, &idp.ListUsersInGroupInput{UserPoolId: &poolID, GroupName: &group, Limit: aws.Int32(PageSize), NextToken: token})
	if err != nil {
		return nil, nil, fmt.Errorf("list the users of a group of %s: %w", poolID, err)
	}
	users := make([]User, len(out.Users))
	for i, u := range out.Users {
		users[i] = FromUserType(u)
	}
	return users, out.NextToken, nil
}
