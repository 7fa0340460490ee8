package cognito

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Date is a timestamp as the API writes it, epoch seconds with milliseconds. It
// also reads the ISO 8601 text that version 2 of the AWS CLI prints.
type Date struct{ time.Time }

// MarshalJSON writes seconds since the epoch.
func (d Date) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%d.%03d", d.UnixMilli()/1000, d.UnixMilli()%1000), nil
}

// UnmarshalJSON reads seconds since the epoch or ISO 8601.
func (d *Date) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		t, err := time.Parse(time.RFC3339Nano, text)
		d.Time = t.UTC()
		return err
	}
	seconds, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return fmt.Errorf("timestamp %s: %w", b, err)
	}
	d.Time = time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
	return nil
}

func dateOf(ms int64) Date { return Date{time.UnixMilli(ms).UTC()} }

// UserPool is UserPoolType: what DescribeUserPool returns. Members that this
// Cognito only keeps are raw JSON.
type UserPool struct {
	Id                          string                     `json:",omitempty"`
	Name                        string                     `json:",omitempty"`
	Policies                    *Policies                  `json:",omitempty"`
	DeletionProtection          string                     `json:",omitempty"`
	LambdaConfig                map[string]json.RawMessage `json:",omitempty"`
	LastModifiedDate            Date                       `json:",omitzero"`
	CreationDate                Date                       `json:",omitzero"`
	SchemaAttributes            []SchemaAttribute          `json:",omitempty"`
	AutoVerifiedAttributes      []string                   `json:",omitempty"`
	AliasAttributes             []string                   `json:",omitempty"`
	UsernameAttributes          []string                   `json:",omitempty"`
	SmsVerificationMessage      string                     `json:",omitempty"`
	EmailVerificationMessage    string                     `json:",omitempty"`
	EmailVerificationSubject    string                     `json:",omitempty"`
	VerificationMessageTemplate json.RawMessage            `json:",omitempty"`
	SmsAuthenticationMessage    string                     `json:",omitempty"`
	UserAttributeUpdateSettings *UpdateSettings            `json:",omitempty"`
	MfaConfiguration            string                     `json:",omitempty"`
	DeviceConfiguration         json.RawMessage            `json:",omitempty"`
	EstimatedNumberOfUsers      int
	EmailConfiguration          json.RawMessage        `json:",omitempty"`
	SmsConfiguration            json.RawMessage        `json:",omitempty"`
	UserPoolTags                map[string]string      `json:",omitempty"`
	Domain                      string                 `json:",omitempty"`
	CustomDomain                string                 `json:",omitempty"`
	AdminCreateUserConfig       *AdminCreateUserConfig `json:",omitempty"`
	UserPoolAddOns              json.RawMessage        `json:",omitempty"`
	UsernameConfiguration       *UsernameConfiguration `json:",omitempty"`
	Arn                         string                 `json:",omitempty"`
	AccountRecoverySetting      json.RawMessage        `json:",omitempty"`
	UserPoolTier                string                 `json:",omitempty"`
}

// Policies is UserPoolPolicyType.
type Policies struct {
	PasswordPolicy *PasswordPolicy `json:",omitempty"`
	SignInPolicy   json.RawMessage `json:",omitempty"`
}

// PasswordPolicy is PasswordPolicyType.
type PasswordPolicy struct {
	MinimumLength                 int
	RequireUppercase              bool
	RequireLowercase              bool
	RequireNumbers                bool
	RequireSymbols                bool
	PasswordHistorySize           int `json:",omitempty"`
	TemporaryPasswordValidityDays int
}

// UpdateSettings is UserAttributeUpdateSettingsType.
type UpdateSettings struct {
	AttributesRequireVerificationBeforeUpdate []string
}

// AdminCreateUserConfig is AdminCreateUserConfigType.
type AdminCreateUserConfig struct {
	AllowAdminCreateUserOnly  bool
	UnusedAccountValidityDays int             `json:",omitempty"`
	InviteMessageTemplate     json.RawMessage `json:",omitempty"`
}

// UsernameConfiguration is UsernameConfigurationType.
type UsernameConfiguration struct {
	CaseSensitive bool
}

// SchemaAttribute is SchemaAttributeType.
type SchemaAttribute struct {
	Name                       string
	AttributeDataType          string             `json:",omitempty"`
	DeveloperOnlyAttribute     bool               // legacy
	Mutable                    bool               //
	Required                   bool               //
	NumberAttributeConstraints *NumberConstraints `json:",omitempty"`
	StringAttributeConstraints *StringConstraints `json:",omitempty"`
}

// NumberConstraints is NumberAttributeConstraintsType; the API has text for numbers.
type NumberConstraints struct {
	MinValue string `json:",omitempty"`
	MaxValue string `json:",omitempty"`
}

// StringConstraints is StringAttributeConstraintsType.
type StringConstraints struct {
	MinLength string `json:",omitempty"`
	MaxLength string `json:",omitempty"`
}

// Attribute is AttributeType: one attribute of a user.
type Attribute struct {
	Name  string
	Value string
}

// User is UserType, with what only seeding needs at its end.
type User struct {
	Username             string
	Attributes           []Attribute
	UserCreateDate       Date `json:",omitzero"`
	UserLastModifiedDate Date `json:",omitzero"`
	Enabled              bool
	UserStatus           string
	MFAOptions           []MFAOption `json:",omitempty"`

	// MFA are the factors of the user, as AdminGetUser lists them:
	// SMS_MFA, EMAIL_OTP, SOFTWARE_TOKEN_MFA.
	MFA          []string `json:"UserMFASettingList,omitempty"`
	PreferredMFA string   `json:"PreferredMfaSetting,omitempty"`
	// Password lets a seeded user sign in; Snapshot does not return it.
	Password string `json:",omitempty"`
	// SignIn is the attribute the user signed up with in a pool where e-mail address
	// and phone number both can be the username: email or phone_number.
	SignIn string `json:",omitempty"`
}

// Attribute is the value of an attribute, "" when the user has none.
func (u *User) Attribute(name string) string {
	for _, a := range u.Attributes {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}

// MFAOption is MFAOptionType, the legacy form of an SMS factor.
type MFAOption struct {
	DeliveryMedium string
	AttributeName  string
}

// Group is GroupType.
type Group struct {
	GroupName        string
	UserPoolId       string `json:",omitempty"`
	Description      string `json:",omitempty"`
	RoleArn          string `json:",omitempty"`
	Precedence       *int   `json:",omitempty"`
	LastModifiedDate Date   `json:",omitzero"`
	CreationDate     Date   `json:",omitzero"`
}

// MFAConfig is what GetUserPoolMfaConfig returns.
type MFAConfig struct {
	SmsMfaConfiguration           json.RawMessage `json:",omitempty"`
	SoftwareTokenMfaConfiguration json.RawMessage `json:",omitempty"`
	EmailMfaConfiguration         json.RawMessage `json:",omitempty"`
	MfaConfiguration              string          `json:",omitempty"`
	WebAuthnConfiguration         json.RawMessage `json:",omitempty"`
}

// Client is UserPoolClientType: an app client.
type Client struct {
	UserPoolId                               string          `json:",omitempty"`
	ClientName                               string          `json:",omitempty"`
	ClientId                                 string          `json:",omitempty"`
	ClientSecret                             string          `json:",omitempty"`
	LastModifiedDate                         Date            `json:",omitzero"`
	CreationDate                             Date            `json:",omitzero"`
	RefreshTokenValidity                     int             `json:",omitempty"`
	AccessTokenValidity                      int             `json:",omitempty"`
	IdTokenValidity                          int             `json:",omitempty"`
	TokenValidityUnits                       json.RawMessage `json:",omitempty"`
	ReadAttributes                           []string        `json:",omitempty"`
	WriteAttributes                          []string        `json:",omitempty"`
	ExplicitAuthFlows                        []string        `json:",omitempty"`
	SupportedIdentityProviders               []string        `json:",omitempty"`
	CallbackURLs                             []string        `json:",omitempty"`
	LogoutURLs                               []string        `json:",omitempty"`
	DefaultRedirectURI                       string          `json:",omitempty"`
	AllowedOAuthFlows                        []string        `json:",omitempty"`
	AllowedOAuthScopes                       []string        `json:",omitempty"`
	AllowedOAuthFlowsUserPoolClient          bool
	AnalyticsConfiguration                   json.RawMessage `json:",omitempty"`
	PreventUserExistenceErrors               string          `json:",omitempty"`
	EnableTokenRevocation                    *bool           `json:",omitempty"`
	EnablePropagateAdditionalUserContextData *bool           `json:",omitempty"`
	AuthSessionValidity                      int             `json:",omitempty"`
	RefreshTokenRotation                     json.RawMessage `json:",omitempty"`
}

// IdentityProvider is IdentityProviderType.
type IdentityProvider struct {
	UserPoolId       string            `json:",omitempty"`
	ProviderName     string            `json:",omitempty"`
	ProviderType     string            `json:",omitempty"`
	ProviderDetails  map[string]string `json:",omitempty"`
	AttributeMapping map[string]string `json:",omitempty"`
	IdpIdentifiers   []string          `json:",omitempty"`
	LastModifiedDate Date              `json:",omitzero"`
	CreationDate     Date              `json:",omitzero"`
}

// ResourceServer is ResourceServerType.
type ResourceServer struct {
	UserPoolId string  `json:",omitempty"`
	Identifier string  `json:",omitempty"`
	Name       string  `json:",omitempty"`
	Scopes     []Scope `json:",omitempty"`
}

// Scope is ResourceServerScopeType.
type Scope struct {
	ScopeName        string
	ScopeDescription string
}

// Statuses of a user.
const (
	Unconfirmed         = "UNCONFIRMED"
	Confirmed           = "CONFIRMED"
	ResetRequired       = "RESET_REQUIRED"
	ForceChangePassword = "FORCE_CHANGE_PASSWORD"
	ExternalProvider    = "EXTERNAL_PROVIDER"
)
