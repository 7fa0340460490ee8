// Package cognito is the testbed's Amazon Cognito: user pools of one Region,
// kept in memory, behind the calls that an export, a restore or anyone who
// looks at the result makes.
//
// It follows the developer guide and the API reference: paging with opaque
// tokens, filters, request quotas per category, statuses, aliases, username
// attributes, the schema, groups, linked identities and the CSV import job.
// Where the documentation is silent a comment says "inference". Faults that
// real pools show now and then (short and empty pages, expired tokens, a lagging
// ListUsers) are settings, so that a test can have them on demand.
//
// What it does not do: SRP, TOTP and passkeys, hosted sign-in, and the content of
// messages. It never sends anything; what would have been sent goes to OnMail.
package cognito

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"cognito-backup/test/localaws/wire"
)

// Service is Cognito in one Region. Its hooks are set before it is used.
type Service struct {
	// OnMail is told of every message that Cognito would have sent to a user.
	OnMail func(Mail)
	// PreSignUp stands for the Lambda function of that trigger. It runs for pools
	// whose LambdaConfig names one, before a user is created by AdminCreateUser or
	// SignUp; its error refuses the user.
	PreSignUp func(context.Context, *PreSignUpEvent) error
	// CustomMessage stands for the Lambda function of that trigger, run before a
	// message is sent.
	CustomMessage func(context.Context, *CustomMessageEvent) error

	region   string
	clock    *wire.Clock
	settings Settings
	quota    throttle
	counts   counters
	closed   chan struct{}
	jobs     sync.WaitGroup

	mu      sync.RWMutex
	pools   map[string]*pool
	order   ordered[*pool]
	clients map[string]*pool // by client id
	active  *job             // the one import job that may run
}

var _ wire.Service = (*Service)(nil)

// New is a Region without user pools.
func New(region string, clock *wire.Clock) *Service {
	return &Service{
		region:  region,
		clock:   clock,
		closed:  make(chan struct{}),
		pools:   map[string]*pool{},
		order:   ordered[*pool]{less: func(a, b *pool) bool { return a.id < b.id }},
		clients: map[string]*pool{},
	}
}

// Close ends running import jobs. The service must not be called afterwards.
func (s *Service) Close() {
	close(s.closed)
	s.jobs.Wait()
}

// HasClient reports whether an app client of this id is in the Region.
func (s *Service) HasClient(id string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.clients[id] != nil
}

// Settings are the quotas and faults of this Region.
func (s *Service) Settings() *Settings { return &s.settings }

// access is what a call does to one user, for the quotas per user.
type access int

const (
	noUser access = iota
	readsUser
	writesUser
)

// operation is how a call is throttled and carried out.
type operation struct {
	category string
	access   access
	handle   func(*Service, context.Context, *wire.Call) (any, error)
}

// operations are all that this Cognito knows, with the quota category of each
// (developer guide, "Quotas in Amazon Cognito").
var operations = map[string]operation{
	"ListUsers":        {"UserList", noUser, (*Service).listUsers},
	"ListUsersInGroup": {"UserList", noUser, (*Service).listUsersInGroup},

	"AdminGetUser":           {"UserRead", readsUser, (*Service).adminGetUser},
	"AdminListGroupsForUser": {"UserResourceRead", readsUser, (*Service).adminListGroupsForUser},
	"AdminListDevices":       {"UserResourceRead", readsUser, (*Service).adminListDevices},

	"AdminCreateUser":    {"UserCreation", noUser, (*Service).adminCreateUser},
	"SignUp":             {"UserCreation", noUser, (*Service).signUp},
	"ConfirmSignUp":      {"UserCreation", writesUser, (*Service).confirmSignUp},
	"AdminConfirmSignUp": {"UserCreation", writesUser, (*Service).adminConfirmSignUp},

	"AdminAddUserToGroup":         {"UserUpdate", writesUser, (*Service).adminAddUserToGroup},
	"AdminRemoveUserFromGroup":    {"UserUpdate", writesUser, (*Service).adminRemoveUserFromGroup},
	"AdminUpdateUserAttributes":   {"UserUpdate", writesUser, (*Service).adminUpdateUserAttributes},
	"AdminDeleteUserAttributes":   {"UserUpdate", writesUser, (*Service).adminDeleteUserAttributes},
	"AdminDisableUser":            {"UserUpdate", writesUser, (*Service).adminDisableUser},
	"AdminEnableUser":             {"UserUpdate", writesUser, (*Service).adminEnableUser},
	"AdminDeleteUser":             {"UserUpdate", writesUser, (*Service).adminDeleteUser},
	"AdminLinkProviderForUser":    {"UserUpdate", noUser, (*Service).adminLinkProviderForUser},
	"AdminDisableProviderForUser": {"UserUpdate", noUser, (*Service).adminDisableProviderForUser},
	"AdminSetUserMFAPreference":   {"UserResourceUpdate", writesUser, (*Service).adminSetUserMFAPreference},

	"AdminSetUserPassword":   {"UserAccountRecovery", writesUser, (*Service).adminSetUserPassword},
	"AdminResetUserPassword": {"UserAccountRecovery", writesUser, (*Service).adminResetUserPassword},

	"AdminInitiateAuth":           {"UserAuthentication", noUser, (*Service).adminInitiateAuth},
	"AdminRespondToAuthChallenge": {"UserAuthentication", noUser, (*Service).adminRespondToAuthChallenge},

	"DescribeUserPool": {"UserPoolRead", noUser, (*Service).describeUserPool},
	"ListUserPools":    {"UserPoolRead", noUser, (*Service).listUserPools},
	"CreateUserPool":   {"UserPoolUpdate", noUser, (*Service).createUserPool},
	"UpdateUserPool":   {"UserPoolUpdate", noUser, (*Service).updateUserPool},
	"DeleteUserPool":   {"UserPoolUpdate", noUser, (*Service).deleteUserPool},

	"ListGroups":               {poolResourceRead, noUser, (*Service).listGroups},
	"GetGroup":                 {poolResourceRead, noUser, (*Service).getGroup},
	"GetUserPoolMfaConfig":     {poolResourceRead, noUser, (*Service).getUserPoolMfaConfig},
	"GetCSVHeader":             {poolResourceRead, noUser, (*Service).getCSVHeader},
	"DescribeUserImportJob":    {poolResourceRead, noUser, (*Service).describeUserImportJob},
	"ListUserImportJobs":       {poolResourceRead, noUser, (*Service).listUserImportJobs},
	"ListIdentityProviders":    {poolResourceRead, noUser, (*Service).listIdentityProviders},
	"DescribeIdentityProvider": {poolResourceRead, noUser, (*Service).describeIdentityProvider},
	"ListResourceServers":      {poolResourceRead, noUser, (*Service).listResourceServers},

	"CreateGroup":            {poolResourceUpdate, noUser, (*Service).createGroup},
	"UpdateGroup":            {poolResourceUpdate, noUser, (*Service).updateGroup},
	"DeleteGroup":            {poolResourceUpdate, noUser, (*Service).deleteGroup},
	"SetUserPoolMfaConfig":   {poolResourceUpdate, noUser, (*Service).setUserPoolMfaConfig},
	"AddCustomAttributes":    {poolResourceUpdate, noUser, (*Service).addCustomAttributes},
	"CreateIdentityProvider": {poolResourceUpdate, noUser, (*Service).createIdentityProvider},
	"CreateResourceServer":   {poolResourceUpdate, noUser, (*Service).createResourceServer},
	"CreateUserImportJob":    {poolResourceUpdate, noUser, (*Service).createUserImportJob},
	"StartUserImportJob":     {poolResourceUpdate, noUser, (*Service).startUserImportJob},
	"StopUserImportJob":      {poolResourceUpdate, noUser, (*Service).stopUserImportJob},

	"CreateUserPoolClient":   {"UserPoolClientUpdate", noUser, (*Service).createUserPoolClient},
	"ListUserPoolClients":    {"UserPoolClientRead", noUser, (*Service).listUserPoolClients},
	"DescribeUserPoolClient": {"UserPoolClientRead", noUser, (*Service).describeUserPoolClient},
}

// target is what most requests name.
type target struct {
	UserPoolId string
	Username   string
}

// Handle carries out one call: the quota first, as in AWS, then the operation.
func (s *Service) Handle(ctx context.Context, c *wire.Call) (any, error) {
	op, ok := operations[c.Operation]
	if !ok {
		return nil, wire.Errorf("UnknownOperationException", "Unknown operation %s.", c.Operation)
	}
	var t target
	if err := c.Decode(&t); err != nil {
		return nil, err
	}
	now := s.clock.Now()
	if !s.quota.take(now, s.settings.limits(c.Operation, op, t)) {
		s.counts.add(now, c.Operation, Count{Throttled: 1})
		return nil, wire.Errorf("TooManyRequestsException", "Rate exceeded")
	}
	out, err := op.handle(s, ctx, c)
	if err != nil {
		s.counts.add(now, c.Operation, Count{Failed: 1})
		return nil, err
	}
	s.counts.add(now, c.Operation, Count{Succeeded: 1})
	return out, nil
}

// Permissions lists the IAM decisions of a call: the action on the pool, and
// iam:PassRole wherever a role is handed to Cognito. SignUp and ConfirmSignUp
// are public calls and need none.
func (s *Service) Permissions(c *wire.Call) []wire.Permission {
	var in struct {
		target
		RoleArn               string
		CloudWatchLogsRoleArn string
		SmsConfiguration      struct{ SnsCallerArn string }
	}
	_ = c.Decode(&in) // Handle refuses what cannot be decoded
	resource := "*"
	switch c.Operation {
	case "SignUp", "ConfirmSignUp":
		return nil
	case "ListUserPools", "CreateUserPool":
	default:
		resource = s.arn(in.UserPoolId)
	}
	needed := []wire.Permission{{Action: "cognito-idp:" + c.Operation, Resource: resource}}
	pass := func(role, service string) {
		if role != "" {
			needed = append(needed, wire.Permission{
				Action:   "iam:PassRole",
				Resource: role,
				Context:  map[string]string{"iam:PassedToService": service},
			})
		}
	}
	switch c.Operation {
	case "CreateGroup", "UpdateGroup":
		// Inference: the role is for identity pools, so it is passed to that service.
		pass(in.RoleArn, "cognito-identity.amazonaws.com")
	case "CreateUserImportJob":
		pass(in.CloudWatchLogsRoleArn, "cognito-idp.amazonaws.com")
	case "CreateUserPool", "UpdateUserPool":
		pass(in.SmsConfiguration.SnsCallerArn, "cognito-idp.amazonaws.com")
	}
	return needed
}

func (s *Service) arn(poolID string) string {
	return "arn:aws:cognito-idp:" + s.region + ":" + wire.Account + ":userpool/" + poolID
}

// pool finds a user pool or answers as AWS does.
func (s *Service) pool(id string) (*pool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.pools[id]
	if !ok {
		return nil, wire.Errorf("ResourceNotFoundException", "User pool %s does not exist.", id)
	}
	return p, nil
}

// begin decodes a request and finds its pool.
func (s *Service) begin(c *wire.Call, in any) (*pool, error) {
	if err := c.Decode(in); err != nil {
		return nil, err
	}
	var t target
	if err := c.Decode(&t); err != nil {
		return nil, err
	}
	return s.pool(t.UserPoolId)
}

// now is the time of a change, to the millisecond as Cognito reports it.
func (s *Service) now() time.Time { return s.clock.Now().Truncate(time.Millisecond) }

// empty is the answer of calls that return nothing.
type empty struct{}

func invalid(format string, args ...any) *wire.Error {
	return wire.Errorf("InvalidParameterException", format, args...)
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// randomText is n characters of an alphabet.
func randomText(n int, alphabet string) string {
	b := make([]byte, n)
	rand.Read(b)
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}

const (
	digits    = "0123456789"
	lowercase = "abcdefghijklmnopqrstuvwxyz"
	uppercase = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)
