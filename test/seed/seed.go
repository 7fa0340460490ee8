// Package seed makes user pools for demos and tests, and compares what came
// back from a restore with what was there.
//
// Pool is deterministic: the same options give the same users, byte for byte.
// The users are as varied as those of real pools: every status, e-mail
// addresses and phone numbers verified, unverified and absent, disabled and
// federated users, linked identities, values that break naive CSV and JSON,
// users in none, one and a hundred groups.
//
// Compare knows nothing of the product: it works from the seed alone, so that
// a demo or a test proves a restore independently of the product's report.
package seed

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"cognito-backup/test/localaws/cognito"
)

// Kind is a way to set up sign-in; all of them exist in the field.
type Kind string

// The kinds of pools.
const (
	Plain                Kind = "plain usernames"
	EmailUsername        Kind = "e-mail as username"
	PhoneUsername        Kind = "phone number as username"
	EmailOrPhone         Kind = "e-mail or phone number as username"
	EmailAlias           Kind = "e-mail as alias"
	CaseInsensitive      Kind = "case-insensitive usernames"
	MFAOptional          Kind = "optional MFA"
	MFARequired          Kind = "required MFA"
	NoAutoVerified       Kind = "no auto-verified attribute"
	defaultPool               = "us-east-1_Example01"
	defaultPoolName           = "web-shop"
	maxValue                  = "2048"
	role                      = "arn:aws:iam::123456789012:role/cognito-sms"
	samlMetadata              = "https://idp.example.com/metadata"
	verifiedSuffix            = "_verified"
	emailName, phoneName      = "email", "phone_number"
)

// Kinds are all of them.
var Kinds = []Kind{Plain, EmailUsername, PhoneUsername, EmailOrPhone, EmailAlias, CaseInsensitive, MFAOptional, MFARequired, NoAutoVerified}

// Options of a made-up pool.
type Options struct {
	PoolID string
	Kind   Kind // Plain when empty
	Users  int
	Groups int
	Seed   uint64
}

// Pool makes a pool.
func Pool(o Options) *cognito.Seed {
	if o.Kind == "" {
		o.Kind = Plain
	}
	if o.PoolID == "" {
		o.PoolID = defaultPool
	}
	r := rand.New(rand.NewPCG(o.Seed, uint64(len(o.Kind))))
	start := time.Date(2023, 4, 1, 8, 0, 0, 0, time.UTC)
	s := &cognito.Seed{Members: map[string][]string{}}
	s.Pool = pool(o, start)
	if s.Pool.MfaConfiguration != "OFF" {
		s.MFA = &cognito.MFAConfig{
			MfaConfiguration:              s.Pool.MfaConfiguration,
			SmsMfaConfiguration:           json.RawMessage(`{"SmsConfiguration":` + string(s.Pool.SmsConfiguration) + `}`),
			SoftwareTokenMfaConfiguration: json.RawMessage(`{"Enabled":true}`),
		}
	}
	s.IdentityProviders = identityProviders(o.PoolID, start)
	s.Clients = []cognito.Client{{
		UserPoolId: o.PoolID, ClientName: "shop", ClientId: "1example23456789", CreationDate: cognito.Date{Time: start}, LastModifiedDate: cognito.Date{Time: start},
		ExplicitAuthFlows: []string{"ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"}, RefreshTokenValidity: 30,
	}}
	s.ResourceServers = []cognito.ResourceServer{{
		UserPoolId: o.PoolID, Identifier: "https://api.example.com", Name: "orders",
		Scopes: []cognito.Scope{{ScopeName: "read", ScopeDescription: "Read orders"}},
	}}
	all := people(o.Users, r, start)
	for _, p := range all {
		o.Kind.adapt(p)
		s.Users = append(s.Users, o.Kind.user(p))
	}
	made := groups(o.Groups)
	for _, g := range made {
		s.Groups = append(s.Groups, cognito.Group{
			GroupName: g.name, UserPoolId: o.PoolID, Description: g.description, RoleArn: g.role, Precedence: g.precedence,
			CreationDate: cognito.Date{Time: start}, LastModifiedDate: cognito.Date{Time: start},
		})
	}
	for g, in := range members(all, o.Groups, r) {
		for _, i := range in {
			s.Members[made[g].name] = append(s.Members[made[g].name], s.Users[i].Username)
		}
	}
	return s
}

// Empty is the configuration of a pool without its users and groups, as a pool
// to restore into, under another id.
func Empty(s *cognito.Seed, poolID string) *cognito.Seed {
	e := *s
	e.Users, e.Groups, e.Members = nil, nil, nil
	e.Pool.Id, e.Pool.Arn, e.Pool.EstimatedNumberOfUsers = poolID, "", 0
	e.Clients, e.IdentityProviders, e.ResourceServers = nil, nil, nil
	for _, c := range s.Clients {
		c.UserPoolId = poolID
		e.Clients = append(e.Clients, c)
	}
	for _, p := range s.IdentityProviders {
		p.UserPoolId = poolID
		e.IdentityProviders = append(e.IdentityProviders, p)
	}
	for _, r := range s.ResourceServers {
		r.UserPoolId = poolID
		e.ResourceServers = append(e.ResourceServers, r)
	}
	return &e
}

func pool(o Options, start time.Time) cognito.UserPool {
	custom := func(name, kind string, mutable bool) cognito.SchemaAttribute {
		a := cognito.SchemaAttribute{Name: "custom:" + name, AttributeDataType: kind, Mutable: mutable}
		if kind == "Number" {
			a.NumberAttributeConstraints = &cognito.NumberConstraints{MinValue: "1", MaxValue: "999999999"}
		} else {
			a.StringAttributeConstraints = &cognito.StringConstraints{MinLength: "0", MaxLength: maxValue}
		}
		return a
	}
	p := cognito.UserPool{
		Id: o.PoolID, Name: defaultPoolName, CreationDate: cognito.Date{Time: start}, LastModifiedDate: cognito.Date{Time: start},
		DeletionProtection: "INACTIVE", MfaConfiguration: "OFF", UserPoolTier: "ESSENTIALS",
		Policies: &cognito.Policies{PasswordPolicy: &cognito.PasswordPolicy{
			MinimumLength: 12, RequireUppercase: true, RequireLowercase: true, RequireNumbers: true, RequireSymbols: true, TemporaryPasswordValidityDays: 7,
		}},
		SchemaAttributes: []cognito.SchemaAttribute{
			custom("plan", "String", true), custom("signup_source", "String", false),
			custom("customer_no", "Number", true), custom("remark", "String", true),
		},
		AutoVerifiedAttributes: []string{emailName, phoneName},
		AdminCreateUserConfig:  &cognito.AdminCreateUserConfig{UnusedAccountValidityDays: 7},
		UsernameConfiguration:  &cognito.UsernameConfiguration{CaseSensitive: true},
		EmailConfiguration:     json.RawMessage(`{"EmailSendingAccount":"COGNITO_DEFAULT"}`),
		AccountRecoverySetting: json.RawMessage(`{"RecoveryMechanisms":[{"Priority":1,"Name":"verified_email"},{"Priority":2,"Name":"verified_phone_number"}]}`),
		SmsConfiguration:       json.RawMessage(`{"SnsCallerArn":"` + role + `","ExternalId":"example","SnsRegion":"us-east-1"}`),
	}
	switch o.Kind {
	case EmailUsername:
		p.UsernameAttributes = []string{emailName}
		p.AutoVerifiedAttributes = []string{emailName}
	case PhoneUsername:
		p.UsernameAttributes = []string{phoneName}
		p.AutoVerifiedAttributes = []string{phoneName}
	case EmailOrPhone:
		p.UsernameAttributes = []string{emailName, phoneName}
	case EmailAlias:
		p.AliasAttributes = []string{emailName}
		p.AutoVerifiedAttributes = []string{emailName}
	case CaseInsensitive:
		p.UsernameConfiguration.CaseSensitive = false
	case MFAOptional:
		p.MfaConfiguration = "OPTIONAL"
	case MFARequired:
		p.MfaConfiguration = "ON"
	case NoAutoVerified:
		p.AutoVerifiedAttributes = nil
	}
	return p
}

func identityProviders(poolID string, start time.Time) []cognito.IdentityProvider {
	details := map[string]map[string]string{
		"Google":   {"client_id": "example.apps", "client_secret": "example-secret", "authorize_scopes": "email profile"},
		"CorpSAML": {"MetadataURL": samlMetadata},
		"Okta": {"client_id": "example", "client_secret": "example-secret", "oidc_issuer": "https://idp.example.com",
			"authorize_scopes": "openid email", "attributes_request_method": "GET"},
	}
	var all []cognito.IdentityProvider
	for _, p := range providers {
		all = append(all, cognito.IdentityProvider{
			UserPoolId: poolID, ProviderName: p.name, ProviderType: p.kind, ProviderDetails: details[p.name],
			AttributeMapping: map[string]string{"email": "email"},
			CreationDate:     cognito.Date{Time: start}, LastModifiedDate: cognito.Date{Time: start},
		})
	}
	return all
}

// adapt makes the person possible in a pool of the kind.
func (k Kind) adapt(p *person) {
	needEmail, needPhone := k == EmailUsername, k == PhoneUsername
	if k == EmailOrPhone && p.email.value == "" && p.phone.value == "" {
		needEmail, needPhone = p.n%2 == 0, p.n%2 == 1
	}
	if needEmail && p.email.value == "" {
		p.email = contact{value: fmt.Sprintf("needed.%d@example.com", p.n)}
	}
	if needPhone && p.phone.value == "" {
		p.phone = contact{value: fmt.Sprintf("+4477009%05d", p.n)}
	}
	if k == CaseInsensitive {
		p.email.value = strings.ToLower(p.email.value)
	}
}

// user is the person as Cognito stores them in a pool of the kind.
func (k Kind) user(p *person) cognito.User {
	u := cognito.User{
		Username: p.plainUsername(), Enabled: p.enabled, UserStatus: p.status,
		UserCreateDate: cognito.Date{Time: p.created}, UserLastModifiedDate: cognito.Date{Time: p.modified},
	}
	switch k {
	case EmailUsername, PhoneUsername, EmailOrPhone:
		if p.status != External {
			u.Username = p.sub
		}
		if k == EmailOrPhone {
			u.SignIn = emailName
			if p.email.value == "" || !p.email.verified && p.phone.verified {
				u.SignIn = phoneName
			}
		}
	case CaseInsensitive:
		if p.status != External {
			u.Username = strings.ToLower(u.Username)
		}
	case MFAOptional, MFARequired:
		if p.phone.verified && p.status == Confirmed {
			u.MFA, u.PreferredMFA = []string{"SMS_MFA"}, "SMS_MFA"
		}
	}
	put := func(name, value string) {
		if value != "" {
			u.Attributes = append(u.Attributes, cognito.Attribute{Name: name, Value: value})
		}
	}
	put("sub", p.sub)
	for _, c := range []struct {
		name string
		contact
	}{{emailName, p.email}, {phoneName, p.phone}} {
		put(c.name, c.value)
		if c.value != "" {
			put(c.name+verifiedSuffix, fmt.Sprint(c.verified))
		}
	}
	for _, name := range sortedKeys(p.attributes) {
		put(name, p.attributes[name])
	}
	if len(p.identities) > 0 {
		b, err := json.Marshal(p.identities)
		if err != nil {
			panic(err) // strings only
		}
		put("identities", string(b))
	}
	return u
}
