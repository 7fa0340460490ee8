package restore

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

// Settings is what an import must know of a user pool, source or target.
type Settings struct {
	ID                 string
	Name               string
	UsernameAttributes []string // email, phone_number; empty: usernames of their own
	AliasAttributes    []string // email, phone_number, preferred_username
	CaseSensitive      bool
	AutoVerified       []string
	SelfSignUp         bool
	Created            time.Time
	Modified           time.Time // when a setting last changed, Created at first; zero: not known
	MFA                string    // OFF, ON, OPTIONAL
	Triggers           []string  // that run for users created by API
	Schema             map[string]Attribute
	Providers          []string // names of identity providers
	ProvidersUnknown   bool     // they could not be listed, or not all of them
}

// Attribute is one attribute of a pool's schema.
type Attribute struct {
	Type      string // String, Number, DateTime, Boolean
	Mutable   bool
	Required  bool
	MinLength *int // characters; nil: no bound
	MaxLength *int
	Min, Max  *float64
}

// SettingsOf reads DescribeUserPool's answer.
func SettingsOf(p *types.UserPoolType) Settings {
	s := Settings{
		ID: aws.ToString(p.Id), Name: aws.ToString(p.Name),
		UsernameAttributes: names(p.UsernameAttributes), AliasAttributes: names(p.AliasAttributes),
		CaseSensitive: true, // what the API means when it says nothing
		AutoVerified:  names(p.AutoVerifiedAttributes),
		SelfSignUp:    p.AdminCreateUserConfig == nil || !p.AdminCreateUserConfig.AllowAdminCreateUserOnly,
		Created:       aws.ToTime(p.CreationDate),
		Modified:      aws.ToTime(p.LastModifiedDate),
		MFA:           string(p.MfaConfiguration),
		Schema:        standardSchema(),
	}
	if p.UsernameConfiguration != nil && p.UsernameConfiguration.CaseSensitive != nil {
		s.CaseSensitive = *p.UsernameConfiguration.CaseSensitive
	}
	if l := p.LambdaConfig; l != nil {
		if aws.ToString(l.PreSignUp) != "" {
			s.Triggers = append(s.Triggers, "PreSignUp")
		}
		if aws.ToString(l.CustomMessage) != "" || l.CustomEmailSender != nil || l.CustomSMSSender != nil {
			s.Triggers = append(s.Triggers, "CustomMessage")
		}
	}
	for i := range p.SchemaAttributes {
		s.Schema[aws.ToString(p.SchemaAttributes[i].Name)] = attributeOf(&p.SchemaAttributes[i])
	}
	return s
}

// standardSchema is the attributes that every pool has (developer guide, "Working
// with user attributes"), as they are unless its creator said otherwise. A
// description of a pool may leave them out; no pool lacks them, and nobody could
// add them.
func standardSchema() map[string]Attribute {
	text := func(shortest, longest int) Attribute {
		return Attribute{Type: "String", Mutable: true, MinLength: &shortest, MaxLength: &longest}
	}
	schema := map[string]Attribute{
		"sub":                   {Type: "String", Required: true, MinLength: aws.Int(1), MaxLength: aws.Int(2048)},
		"birthdate":             text(10, 10),
		"email_verified":        {Type: "Boolean", Mutable: true},
		"phone_number_verified": {Type: "Boolean", Mutable: true},
		"updated_at":            {Type: "Number", Mutable: true, Min: aws.Float64(0)},
		"identities":            {Type: "String", Mutable: true},
	}
	for _, name := range []string{
		"name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website",
		"email", "gender", "zoneinfo", "locale", "phone_number", "address",
	} {
		schema[name] = text(0, 2048)
	}
	return schema
}

func attributeOf(t *types.SchemaAttributeType) Attribute {
	a := Attribute{Type: string(t.AttributeDataType), Mutable: aws.ToBool(t.Mutable), Required: aws.ToBool(t.Required)}
	if c := t.StringAttributeConstraints; c != nil {
		a.MinLength, a.MaxLength = integer(c.MinLength), integer(c.MaxLength)
	}
	if c := t.NumberAttributeConstraints; c != nil {
		a.Min, a.Max = decimal(c.MinValue), decimal(c.MaxValue)
	}
	return a
}

// accepts says why the attribute does not take the value, "" when it does.
func (a *Attribute) accepts(value string) string {
	switch a.Type {
	case "Number":
		n, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
			return "is no number"
		case a.Min != nil && n < *a.Min:
			return "is below its minimum"
		case a.Max != nil && n > *a.Max:
			return "is above its maximum"
		}
	case "Boolean":
		if value != "true" && value != "false" {
			return "is neither true nor false"
		}
	case "String":
		n := len([]rune(value))
		switch {
		case a.MinLength != nil && n < *a.MinLength:
			return "is shorter than its minimum length of " + strconv.Itoa(*a.MinLength)
		case a.MaxLength != nil && n > *a.MaxLength:
			return "is longer than its maximum length of " + strconv.Itoa(*a.MaxLength)
		}
	}
	return ""
}

// verifiable are the attributes that Cognito verifies.
var verifiable = []string{"email", "phone_number"}

// signInAttributes are the verifiable attributes by which people sign in.
func (s *Settings) signInAttributes() []string {
	var in []string
	for _, name := range verifiable {
		if slices.Contains(s.UsernameAttributes, name) || slices.Contains(s.AliasAttributes, name) {
			in = append(in, name)
		}
	}
	return in
}

// generatedUsernames says that the pool makes usernames of its own and people
// sign in by an address.
func (s *Settings) generatedUsernames() bool { return len(s.UsernameAttributes) > 0 }

// fold brings a username or address into the form in which the pool compares it.
func (s *Settings) fold(name string) string {
	if s.CaseSensitive {
		return name
	}
	return strings.ToLower(name)
}

// names turns the SDK's enums into strings.
func names[T ~string](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}

func integer(s *string) *int {
	n, err := strconv.Atoi(aws.ToString(s))
	if err != nil {
		return nil
	}
	return &n
}

func decimal(s *string) *float64 {
	n, err := strconv.ParseFloat(aws.ToString(s), 64)
	if err != nil {
		return nil
	}
	return &n
}
