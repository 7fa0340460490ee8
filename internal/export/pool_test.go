package export_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cognito-backup/internal/pool"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

// fakePool is a user pool with just what exports read, and the oddities of its
// listings as switches.
type fakePool struct {
	mu      sync.Mutex
	users   map[string]pool.User       // by sub
	groups  map[string]pool.Group      // by name
	members map[string]map[string]bool // group name → subs
	gone    bool                       // the pool was deleted

	pageSize     int
	emptyPages   bool           // every other page is empty, with a token
	expireAfter  int            // the token of this call expires, once
	repeatUser   bool           // the last user of a page is also the first of the next
	onCall       func(call int) // runs before each listing call
	calls        int
	latency      time.Duration // of a listing call
	refuseParts  error         // what reading parts of the configuration fails with
	tokensExpire bool          // those of lists of clients, always
	moreClients  int           // asks for the second page of clients; the first one meets an expired token
}

func newPool() *fakePool {
	return &fakePool{users: map[string]pool.User{}, groups: map[string]pool.Group{}, members: map[string]map[string]bool{}, pageSize: 7}
}

func (p *fakePool) addUser(n int) string {
	sub := fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(n)*2654435761, n)
	p.users[sub] = pool.User{Sub: sub, Username: "user-" + strconv.Itoa(n), Status: pool.Confirmed, Enabled: true,
		Created: time.Unix(1700000000, 0).UTC(), Attributes: map[string]string{"sub": sub, "email": fmt.Sprintf("u%d@example.com", n)}}
	return sub
}

func (p *fakePool) addGroup(name string) {
	p.groups[name] = pool.Group{Name: name}
	p.members[name] = map[string]bool{}
}

func userType(u pool.User) types.UserType {
	out := types.UserType{Username: &u.Username, Enabled: u.Enabled, UserStatus: types.UserStatusType(u.Status), UserCreateDate: &u.Created}
	for name, value := range u.Attributes { // in no order, as Cognito
		out.Attributes = append(out.Attributes, types.AttributeType{Name: aws.String(name), Value: aws.String(value)})
	}
	return out
}

// turn counts a call and returns the page after the token: names from (the
// token is the last name delivered) and the next token.
func (p *fakePool) turn(all []string, token *string) ([]string, *string, error) {
	p.calls++
	if call := p.calls; p.onCall != nil {
		p.mu.Unlock()
		p.onCall(call)
		p.mu.Lock()
	}
	if p.gone {
		return nil, nil, &types.ResourceNotFoundException{Message: aws.String("User pool does not exist.")}
	}
	if token != nil && p.expireAfter > 0 && p.calls >= p.expireAfter {
		p.expireAfter = 0
		return nil, nil, &types.InvalidParameterException{Message: aws.String("Invalid pagination token")}
	}
	at := 0
	after := ""
	if token != nil {
		var empty bool
		if after, empty = strings.CutPrefix(*token, "empty:"); empty {
			return nil, aws.String(after), nil
		}
		at, _ = slices.BinarySearch(all, after)
		if at < len(all) && all[at] == after && !p.repeatUser {
			at++
		}
	}
	size := p.pageSize
	if p.repeatUser {
		size++
	}
	end := min(at+size, len(all))
	page := all[at:end]
	if end == len(all) {
		return page, nil, nil
	}
	next := page[len(page)-1]
	if p.emptyPages {
		next = "empty:" + next
	}
	return page, &next, nil
}

func (p *fakePool) ListUsers(_ context.Context, in *idp.ListUsersInput, _ ...func(*idp.Options)) (*idp.ListUsersOutput, error) {
	time.Sleep(p.latency)
	p.mu.Lock()
	defer p.mu.Unlock()
	prefix := ""
	if in.Filter != nil {
		prefix = strings.TrimSuffix(strings.TrimPrefix(*in.Filter, `sub ^= "`), `"`)
	}
	all := slices.DeleteFunc(slices.Sorted(maps.Keys(p.users)), func(sub string) bool { return !strings.HasPrefix(sub, prefix) })
	page, next, err := p.turn(all, in.PaginationToken)
	out := &idp.ListUsersOutput{PaginationToken: next}
	for _, sub := range page {
		if u, ok := p.users[sub]; ok {
			out.Users = append(out.Users, userType(u))
		}
	}
	return out, err
}

func (p *fakePool) ListGroups(_ context.Context, in *idp.ListGroupsInput, _ ...func(*idp.Options)) (*idp.ListGroupsOutput, error) {
	time.Sleep(p.latency)
	p.mu.Lock()
	defer p.mu.Unlock()
	page, next, err := p.turn(slices.Sorted(maps.Keys(p.groups)), in.NextToken)
	out := &idp.ListGroupsOutput{NextToken: next}
	for _, name := range page {
		if g, ok := p.groups[name]; ok {
			group := types.GroupType{GroupName: aws.String(g.Name), Precedence: g.Precedence}
			if g.Description != "" {
				group.Description = aws.String(g.Description)
			}
			out.Groups = append(out.Groups, group)
		}
	}
	return out, err
}

func (p *fakePool) ListUsersInGroup(_ context.Context, in *idp.ListUsersInGroupInput, _ ...func(*idp.Options)) (*idp.ListUsersInGroupOutput, error) {
	time.Sleep(p.latency)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.groups[*in.GroupName]; !ok || p.gone {
		return nil, &types.ResourceNotFoundException{Message: aws.String("Group not found.")}
	}
	page, next, err := p.turn(slices.Sorted(maps.Keys(p.members[*in.GroupName])), in.NextToken)
	out := &idp.ListUsersInGroupOutput{NextToken: next}
	for _, sub := range page {
		if u, ok := p.users[sub]; ok {
			out.Users = append(out.Users, userType(u))
		}
	}
	return out, err
}

func (p *fakePool) DescribeUserPool(_ context.Context, in *idp.DescribeUserPoolInput, _ ...func(*idp.Options)) (*idp.DescribeUserPoolOutput, error) {
	if p.gone {
		return nil, &types.ResourceNotFoundException{Message: aws.String("User pool does not exist.")}
	}
	return &idp.DescribeUserPoolOutput{UserPool: &types.UserPoolType{Id: in.UserPoolId, Name: aws.String("pool"), EstimatedNumberOfUsers: int32(len(p.users))}}, nil
}

func (p *fakePool) GetUserPoolMfaConfig(context.Context, *idp.GetUserPoolMfaConfigInput, ...func(*idp.Options)) (*idp.GetUserPoolMfaConfigOutput, error) {
	return &idp.GetUserPoolMfaConfigOutput{MfaConfiguration: types.UserPoolMfaTypeOff}, p.refuseParts
}

func (p *fakePool) ListUserPoolClients(_ context.Context, in *idp.ListUserPoolClientsInput, _ ...func(*idp.Options)) (*idp.ListUserPoolClientsOutput, error) {
	if in.NextToken != nil {
		if p.moreClients--; p.moreClients == 1 || p.tokensExpire {
			return nil, &types.InvalidParameterException{Message: aws.String("Invalid pagination token")}
		}
		return &idp.ListUserPoolClientsOutput{UserPoolClients: []types.UserPoolClientDescription{{ClientId: aws.String("second")}}}, p.refuseParts
	}
	if p.moreClients > 0 {
		return &idp.ListUserPoolClientsOutput{UserPoolClients: []types.UserPoolClientDescription{{ClientId: aws.String("client")}}, NextToken: aws.String("more")}, p.refuseParts
	}
	return &idp.ListUserPoolClientsOutput{UserPoolClients: []types.UserPoolClientDescription{{ClientId: aws.String("client")}}}, p.refuseParts
}

func (p *fakePool) DescribeUserPoolClient(context.Context, *idp.DescribeUserPoolClientInput, ...func(*idp.Options)) (*idp.DescribeUserPoolClientOutput, error) {
	return &idp.DescribeUserPoolClientOutput{UserPoolClient: &types.UserPoolClientType{ClientId: aws.String("client"), ClientSecret: aws.String("client-secret-value")}}, nil
}

func (p *fakePool) ListIdentityProviders(context.Context, *idp.ListIdentityProvidersInput, ...func(*idp.Options)) (*idp.ListIdentityProvidersOutput, error) {
	return &idp.ListIdentityProvidersOutput{Providers: []types.ProviderDescription{{ProviderName: aws.String("Google")}}}, p.refuseParts
}

func (p *fakePool) DescribeIdentityProvider(context.Context, *idp.DescribeIdentityProviderInput, ...func(*idp.Options)) (*idp.DescribeIdentityProviderOutput, error) {
	return &idp.DescribeIdentityProviderOutput{IdentityProvider: &types.IdentityProviderType{ProviderName: aws.String("Google"),
		ProviderDetails: map[string]string{"client_id": "id", "client_secret": "provider-secret-value"}}}, nil
}

func (p *fakePool) ListResourceServers(context.Context, *idp.ListResourceServersInput, ...func(*idp.Options)) (*idp.ListResourceServersOutput, error) {
	return &idp.ListResourceServersOutput{}, p.refuseParts
}
