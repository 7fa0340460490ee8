package cognito

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"cognito-backup/test/localaws/wire"
)

const maxPools = 1000 // per account and Region

type poolOutput struct{ UserPool UserPool }

func (s *Service) describeUserPool(_ context.Context, c *wire.Call) (any, error) {
	p, err := s.begin(c, &empty{})
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return poolOutput{p.describe()}, nil
}

func (s *Service) createUserPool(_ context.Context, c *wire.Call) (any, error) {
	var in struct {
		PoolName string
		Schema   []SchemaAttribute
	}
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	// Mutable is true unless the caller says otherwise, which needs a second look.
	var mutable struct{ Schema []struct{ Mutable *bool } }
	if err := c.Decode(&mutable); err != nil {
		return nil, err
	}
	for i := range in.Schema {
		in.Schema[i].Mutable = mutable.Schema[i].Mutable == nil || *mutable.Schema[i].Mutable
	}
	var config UserPool
	if err := c.Decode(&config); err != nil {
		return nil, err
	}
	config.Name = in.PoolName
	config.SchemaAttributes = nil
	config.Domain, config.CustomDomain = "", ""
	if len(config.AliasAttributes) > 0 && len(config.UsernameAttributes) > 0 {
		return nil, invalid("Only one of aliasAttributes or usernameAttributes can be set in a user pool.")
	}
	if err := checkConfig(&config); err != nil {
		return nil, err
	}

	now := Date{s.now()}
	config.Id = s.region + "_" + randomText(9, lowercase+uppercase+digits)
	config.Arn = s.arn(config.Id)
	config.CreationDate, config.LastModifiedDate = now, now
	p := newPool(config.Id)
	setDefaults(&config)
	p.config = config
	p.mfa = MFAConfig{MfaConfiguration: config.MfaConfiguration}
	for _, a := range in.Schema {
		if err := p.schema.define(a); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pools) >= maxPools {
		return nil, wire.Errorf("LimitExceededException", "User pool limit exceeded.")
	}
	s.pools[p.id] = p
	s.order.insert(p)
	return poolOutput{p.describe()}, nil
}

// checkConfig refuses settings that contradict each other.
func checkConfig(c *UserPool) error {
	if m := c.MfaConfiguration; (m == "ON" || m == "OPTIONAL") && len(c.SmsConfiguration) == 0 {
		return invalid("SMS configuration and Auto verification for phone_number are required when MFA is required/optional")
	}
	if u := c.UserAttributeUpdateSettings; u != nil {
		for _, name := range u.AttributesRequireVerificationBeforeUpdate {
			if !slices.Contains(c.AutoVerifiedAttributes, name) {
				return invalid("AttributesRequireVerificationBeforeUpdate can only contain auto verified attributes.")
			}
		}
	}
	return nil
}

// setDefaults fills what a request left out with AWS's defaults.
func setDefaults(c *UserPool) {
	if c.Policies == nil {
		c.Policies = &Policies{}
	}
	if c.Policies.PasswordPolicy == nil {
		c.Policies.PasswordPolicy = &PasswordPolicy{
			MinimumLength: 8, RequireUppercase: true, RequireLowercase: true, RequireNumbers: true, RequireSymbols: true,
		}
	}
	if c.Policies.PasswordPolicy.MinimumLength == 0 {
		c.Policies.PasswordPolicy.MinimumLength = 8
	}
	if c.Policies.PasswordPolicy.TemporaryPasswordValidityDays == 0 {
		c.Policies.PasswordPolicy.TemporaryPasswordValidityDays = 7
	}
	raw := func(m *json.RawMessage, usual string) {
		if len(*m) == 0 {
			*m = json.RawMessage(usual)
		}
	}
	text := func(m *string, usual string) {
		if *m == "" {
			*m = usual
		}
	}
	raw(&c.Policies.SignInPolicy, `{"AllowedFirstAuthFactors":["PASSWORD"]}`)
	raw(&c.VerificationMessageTemplate, `{"DefaultEmailOption":"CONFIRM_WITH_CODE"}`)
	raw(&c.EmailConfiguration, `{"EmailSendingAccount":"COGNITO_DEFAULT"}`)
	raw(&c.AccountRecoverySetting, `{"RecoveryMechanisms":[{"Priority":1,"Name":"verified_email"},{"Priority":2,"Name":"verified_phone_number"}]}`)
	text(&c.DeletionProtection, "INACTIVE")
	text(&c.MfaConfiguration, "OFF")
	text(&c.UserPoolTier, "ESSENTIALS")
	if c.LambdaConfig == nil {
		c.LambdaConfig = map[string]json.RawMessage{}
	}
	if c.UserAttributeUpdateSettings == nil {
		c.UserAttributeUpdateSettings = &UpdateSettings{}
	}
	if c.UserAttributeUpdateSettings.AttributesRequireVerificationBeforeUpdate == nil {
		c.UserAttributeUpdateSettings.AttributesRequireVerificationBeforeUpdate = []string{}
	}
	if c.AdminCreateUserConfig == nil {
		c.AdminCreateUserConfig = &AdminCreateUserConfig{}
	}
	if c.AdminCreateUserConfig.UnusedAccountValidityDays == 0 {
		c.AdminCreateUserConfig.UnusedAccountValidityDays = 7
	}
}

// updateUserPool replaces the configuration: what the request leaves out goes back
// to its default, as AWS warns. What is fixed at creation stays.
func (s *Service) updateUserPool(_ context.Context, c *wire.Call) (any, error) {
	var in struct{ PoolName string }
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	var config UserPool
	if err := c.Decode(&config); err != nil {
		return nil, err
	}
	if err := s.notImporting(p); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := checkConfig(&config); err != nil {
		return nil, err
	}
	old := p.config
	config.Id, config.Arn, config.Name = old.Id, old.Arn, old.Name
	if in.PoolName != "" {
		config.Name = in.PoolName
	}
	config.AliasAttributes, config.UsernameAttributes = old.AliasAttributes, old.UsernameAttributes
	config.UsernameConfiguration = old.UsernameConfiguration
	config.Domain, config.CustomDomain = old.Domain, old.CustomDomain
	config.CreationDate, config.LastModifiedDate = old.CreationDate, Date{s.now()}
	config.SchemaAttributes = nil
	setDefaults(&config)
	p.config = config
	p.mfa.MfaConfiguration = config.MfaConfiguration
	return empty{}, nil
}

func (s *Service) deleteUserPool(_ context.Context, c *wire.Call) (any, error) {
	p, err := s.begin(c, &empty{})
	if err != nil {
		return nil, err
	}
	if err := s.notImporting(p); err != nil {
		return nil, err
	}
	p.mu.RLock()
	protected := p.config.DeletionProtection == "ACTIVE"
	clients := slices.Collect(maps.Keys(p.clients))
	p.mu.RUnlock()
	if protected {
		return nil, invalid("The user pool cannot be deleted because deletion protection is activated. Deletion protection must be inactivated first.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.pools[p.id]; ok {
		delete(s.pools, p.id)
		s.order.remove(p)
	}
	for _, id := range clients {
		delete(s.clients, id)
	}
	return empty{}, nil
}

func (s *Service) listUserPools(_ context.Context, c *wire.Call) (any, error) {
	var in struct {
		NextToken  string
		MaxResults int
	}
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	pg, err := s.openPage(c, in.NextToken, in.MaxResults, 60, in.MaxResults)
	if err != nil {
		return nil, err
	}
	type description struct {
		Id               string
		Name             string
		LambdaConfig     map[string]json.RawMessage
		LastModifiedDate Date
		CreationDate     Date
	}
	out := struct {
		UserPools []description
		NextToken string `json:",omitempty"`
	}{UserPools: []description{}}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for p := range s.order.from(func(p *pool) bool { return pg.reached(cursor{Name: p.id}) }) {
		if !pg.add(cursor{Name: p.id}) {
			break
		}
		p.mu.RLock()
		out.UserPools = append(out.UserPools, description{p.id, p.config.Name, p.config.LambdaConfig, p.config.LastModifiedDate, p.config.CreationDate})
		p.mu.RUnlock()
	}
	out.NextToken = pg.next()
	return out, nil
}

func (s *Service) addCustomAttributes(_ context.Context, c *wire.Call) (any, error) {
	var in struct{ CustomAttributes []SchemaAttribute }
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	var mutable struct{ CustomAttributes []struct{ Mutable *bool } }
	if err := c.Decode(&mutable); err != nil {
		return nil, err
	}
	if err := s.notImporting(p); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	tentative := newSchema()
	tentative.attributes = slices.Clone(p.schema.attributes)
	for n, a := range tentative.attributes {
		tentative.numbers[a.Name] = byte(n)
	}
	for i, a := range in.CustomAttributes {
		a.Mutable = mutable.CustomAttributes[i].Mutable == nil || *mutable.CustomAttributes[i].Mutable
		if err := tentative.addCustom(a); err != nil {
			return nil, err
		}
	}
	p.schema = tentative
	p.config.LastModifiedDate = Date{s.now()}
	return empty{}, nil
}

func (s *Service) getUserPoolMfaConfig(_ context.Context, c *wire.Call) (any, error) {
	p, err := s.begin(c, &empty{})
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.mfa, nil
}

// setUserPoolMfaConfig replaces the MFA settings.
func (s *Service) setUserPoolMfaConfig(_ context.Context, c *wire.Call) (any, error) {
	var in MFAConfig
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if in.MfaConfiguration == "" {
		in.MfaConfiguration = "OFF"
	}
	totp := strings.Contains(string(in.SoftwareTokenMfaConfiguration), "true")
	if in.MfaConfiguration != "OFF" && !totp && len(in.SmsMfaConfiguration) == 0 && len(in.EmailMfaConfiguration) == 0 {
		return nil, invalid("Invalid MFA configuration given, at least one MFA factor must be turned on when MFA is required/optional.")
	}
	if len(in.EmailMfaConfiguration) > 0 && p.config.UserPoolTier == "LITE" {
		return nil, wire.Errorf("FeatureUnavailableInTierException", "Email MFA is not available in the pricing tier of this user pool.")
	}
	p.mfa = in
	p.config.MfaConfiguration = in.MfaConfiguration
	p.config.LastModifiedDate = Date{s.now()}
	return p.mfa, nil
}
