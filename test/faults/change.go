package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

// past is what the pool has lost, to come back later.
type past struct {
	users   []cognito.User
	groups  []cognito.Group
	members map[string][]string // of groups, by name
	left    []membership
	made    int // users created
}

type membership struct{ user, group string }

// change does to the pool what happens between two exports: users, groups and
// memberships come, change, go and come back.
func (r *run) change(ctx context.Context, n *rand.Rand) error {
	now, err := r.bed.Cognito(r.primary).Snapshot(r.pool)
	if err != nil {
		return err
	}
	c := &changer{run: r, Rand: n, api: idp.NewFromConfig(r.bed.Config(r.primary)), now: now}
	before := r.past // what goes now comes back after the next export
	for _, step := range []func(context.Context) error{
		c.users, c.leave, c.groups,
		func(ctx context.Context) error { return c.comeBack(ctx, before) },
		c.newcomers, c.configuration,
	} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("change the pool: %w", err)
		}
	}
	r.mu.Lock()
	r.mails = 0 // of changes by hand; a restore sends none
	r.mu.Unlock()
	return nil
}

// changer changes the pool by calls that anybody could make.
type changer struct {
	*run
	*rand.Rand
	api *idp.Client
	now *cognito.Seed
}

func (c *changer) users(ctx context.Context) error {
	groups := c.groupNames()
	users := slices.Clone(c.now.Users)
	// By what the seed has drawn: the order of the listing follows from usernames,
	// which Cognito draws itself where an address is the username.
	slices.SortFunc(users, func(a, b cognito.User) int { return strings.Compare(c.name(&a), c.name(&b)) })
	for i := range users {
		u := &users[i]
		var err error
		switch {
		case c.IntN(12) == 0: // less than what makes a restore point suspect
			_, err = c.api.AdminDeleteUser(ctx, &idp.AdminDeleteUserInput{UserPoolId: &c.pool, Username: &u.Username})
			if u.UserStatus != seed.External {
				c.past.users = append(c.past.users, *u)
			}
		case u.UserStatus == seed.External:
		case c.IntN(8) == 0:
			_, err = c.api.AdminUpdateUserAttributes(ctx, &idp.AdminUpdateUserAttributesInput{UserPoolId: &c.pool, Username: &u.Username,
				UserAttributes: []types.AttributeType{{Name: aws.String("nickname"), Value: aws.String(fmt.Sprintf("changed, %d", c.IntN(1000)))}}})
		case !u.Enabled && c.IntN(2) == 0:
			_, err = c.api.AdminEnableUser(ctx, &idp.AdminEnableUserInput{UserPoolId: &c.pool, Username: &u.Username})
		case c.IntN(12) == 0:
			_, err = c.api.AdminDisableUser(ctx, &idp.AdminDisableUserInput{UserPoolId: &c.pool, Username: &u.Username})
		case c.IntN(8) == 0 && len(groups) > 0:
			err = c.join(ctx, u.Username, groups[c.IntN(len(groups))])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// name is what a user is known by before Cognito makes a username of its own.
func (c *changer) name(u *cognito.User) string {
	if len(c.now.Pool.UsernameAttributes) == 0 || u.UserStatus == seed.External {
		return u.Username
	}
	for _, attribute := range c.now.Pool.UsernameAttributes {
		if value := u.Attribute(attribute); value != "" && (u.SignIn == "" || u.SignIn == attribute) {
			return value
		}
	}
	return u.Username
}

func (c *changer) groupNames() []string {
	var names []string
	for _, g := range c.now.Groups {
		names = append(names, g.GroupName)
	}
	return slices.Sorted(slices.Values(names))
}

// join makes somebody a member, unless user or group are gone.
func (c *changer) join(ctx context.Context, user, group string) error {
	_, err := c.api.AdminAddUserToGroup(ctx, &idp.AdminAddUserToGroupInput{UserPoolId: &c.pool, Username: &user, GroupName: &group})
	return unlessGone(err)
}

func unlessGone(err error) error {
	var user *types.UserNotFoundException
	var group *types.ResourceNotFoundException
	if errors.As(err, &user) || errors.As(err, &group) {
		return nil
	}
	return err
}

func (c *changer) leave(ctx context.Context) error {
	for _, group := range slices.Sorted(maps.Keys(c.now.Members)) {
		if c.IntN(3) > 0 {
			continue
		}
		member := c.now.Members[group][0]
		_, err := c.api.AdminRemoveUserFromGroup(ctx, &idp.AdminRemoveUserFromGroupInput{UserPoolId: &c.pool, GroupName: &group, Username: &member})
		if err := unlessGone(err); err != nil {
			return err
		}
		c.past.left = append(c.past.left, membership{member, group})
	}
	return nil
}

func (c *changer) groups(ctx context.Context) error {
	gone := -1
	if len(c.now.Groups) > 1 && c.IntN(2) == 0 {
		gone = c.IntN(len(c.now.Groups))
	}
	groups := slices.SortedFunc(slices.Values(c.now.Groups), func(a, b cognito.Group) int { return strings.Compare(a.GroupName, b.GroupName) })
	for i, g := range groups {
		var err error
		switch {
		case i == gone:
			_, err = c.api.DeleteGroup(ctx, &idp.DeleteGroupInput{UserPoolId: &c.pool, GroupName: &g.GroupName})
			c.past.groups = append(c.past.groups, g)
			if c.past.members == nil {
				c.past.members = map[string][]string{}
			}
			c.past.members[g.GroupName] = c.now.Members[g.GroupName]
		case c.IntN(5) == 0:
			_, err = c.api.UpdateGroup(ctx, &idp.UpdateGroupInput{UserPoolId: &c.pool, GroupName: &g.GroupName,
				Description: aws.String(fmt.Sprintf("changed, %d", c.IntN(1000))), Precedence: aws.Int32(c.Int32N(100))})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// comeBack brings some of what was lost back: memberships and groups, whose
// tombstones end with that, and users, whom Cognito gives another sub.
func (c *changer) comeBack(ctx context.Context, lost past) error {
	for _, g := range lost.groups {
		if c.IntN(4) == 0 {
			continue
		}
		in := &idp.CreateGroupInput{UserPoolId: &c.pool, GroupName: &g.GroupName}
		if c.IntN(2) == 0 && g.Description != "" { // as it was, so far
			in.Description = &g.Description
		}
		_, err := c.api.CreateGroup(ctx, in)
		if there := new(types.GroupExistsException); err != nil && !errors.As(err, &there) {
			return err
		}
		for _, member := range lost.members[g.GroupName] {
			if err := c.join(ctx, member, g.GroupName); err != nil {
				return err
			}
		}
	}
	for _, m := range lost.left {
		if c.IntN(2) == 0 {
			if err := c.join(ctx, m.user, m.group); err != nil {
				return err
			}
		}
	}
	for i := range lost.users {
		u := &lost.users[i]
		if c.IntN(3) > 0 {
			continue
		}
		var attributes []types.AttributeType
		for _, a := range u.Attributes {
			if a.Name != "sub" && a.Name != "identities" {
				attributes = append(attributes, types.AttributeType{Name: &a.Name, Value: &a.Value})
			}
		}
		if err := c.create(ctx, c.name(u), attributes); err != nil {
			return err
		}
	}
	return nil
}

// newcomers are some users who were never there.
func (c *changer) newcomers(ctx context.Context) error {
	for range c.IntN(12) {
		c.past.made++
		email, phone := fmt.Sprintf("newcomer.%d@example.com", c.past.made), fmt.Sprintf("+4477001%05d", c.past.made)
		name := fmt.Sprintf("newcomer-%d", c.past.made)
		switch attributes := c.now.Pool.UsernameAttributes; {
		case slices.Contains(attributes, "email"):
			name = email
		case len(attributes) > 0:
			name = phone
		}
		if err := c.create(ctx, name, []types.AttributeType{
			{Name: aws.String("email"), Value: &email}, {Name: aws.String("email_verified"), Value: aws.String([]string{"true", "false"}[c.IntN(2)])},
			{Name: aws.String("phone_number"), Value: &phone}, {Name: aws.String("phone_number_verified"), Value: aws.String("true")},
		}); err != nil {
			return err
		}
	}
	return nil
}

// configuration changes settings of the pool and an app client, or adds one that
// has a secret, now and then.
func (c *changer) configuration(ctx context.Context) error {
	if c.IntN(2) == 0 {
		described, err := c.api.DescribeUserPool(ctx, &idp.DescribeUserPoolInput{UserPoolId: &c.pool})
		if err != nil {
			return err
		}
		// What the request leaves out goes back to its default.
		in := &idp.UpdateUserPoolInput{}
		if j, err := json.Marshal(described.UserPool); err != nil {
			return err
		} else if err := json.Unmarshal(j, in); err != nil {
			return err
		}
		in.UserPoolId = &c.pool
		in.Policies.PasswordPolicy.MinimumLength = aws.Int32(8 + c.Int32N(8))
		in.UserPoolTags = map[string]string{"changed": fmt.Sprint(c.IntN(1000))}
		in.EmailVerificationSubject = aws.String(fmt.Sprintf("changed, %d", c.IntN(1000)))
		if _, err := c.api.UpdateUserPool(ctx, in); err != nil {
			return err
		}
	}
	if len(c.now.Clients) > 0 && c.IntN(2) == 0 {
		id := c.now.Clients[c.IntN(len(c.now.Clients))].ClientId
		validity, callback := 1+c.IntN(60), fmt.Sprintf("https://example.com/changed/%d", c.IntN(1000))
		if err := c.bed.Cognito(c.primary).ChangeClient(c.pool, id, func(client *cognito.Client) {
			client.RefreshTokenValidity, client.CallbackURLs = validity, []string{callback}
		}); err != nil {
			return err
		}
	}
	if c.IntN(4) == 0 {
		_, err := c.api.CreateUserPoolClient(ctx, &idp.CreateUserPoolClientInput{
			UserPoolId: &c.pool, ClientName: aws.String(fmt.Sprintf("client-%d", c.IntN(1000))), GenerateSecret: true,
		})
		return err
	}
	return nil
}

// create makes a user, half of them with a password of their own, in some group.
func (c *changer) create(ctx context.Context, name string, attributes []types.AttributeType) error {
	const password = "Campaign-1-Campaign"
	confirmed, group := c.IntN(2) == 0, c.IntN(1+len(c.now.Groups))
	_, err := c.api.AdminCreateUser(ctx, &idp.AdminCreateUserInput{
		UserPoolId: &c.pool, Username: &name, UserAttributes: attributes, TemporaryPassword: aws.String(password), MessageAction: types.MessageActionTypeSuppress,
	})
	taken := new(types.UsernameExistsException)
	if alias := new(types.AliasExistsException); errors.As(err, &taken) || errors.As(err, &alias) {
		return nil // came back already, or somebody else has the address
	}
	if err == nil && confirmed {
		_, err = c.api.AdminSetUserPassword(ctx, &idp.AdminSetUserPasswordInput{UserPoolId: &c.pool, Username: &name, Password: aws.String(password), Permanent: true})
	}
	if err == nil && group < len(c.now.Groups) {
		err = c.join(ctx, name, c.groupNames()[group])
	}
	return err
}
