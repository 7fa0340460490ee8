package cognito

import (
	"context"
	"slices"
	"time"

	"cognito-backup/test/localaws/wire"
)

// newUser checks a username and attributes and makes a user of them that is not
// in the pool yet. In a pool with username attributes the name given is an e-mail
// address or phone number, and the username is generated.
func (p *pool) newUser(username string, attrs []Attribute, now time.Time) (*user, error) {
	if err := p.schema.checkValues(attrs); err != nil {
		return nil, err
	}
	u := &user{
		username: username,
		sub:      newUUID(),
		created:  now.UnixMilli(),
		modified: now.UnixMilli(),
		enabled:  true,
	}
	if len(p.config.UsernameAttributes) > 0 {
		attribute, err := p.usernameAttribute(username)
		if err != nil {
			return nil, err
		}
		if given := attributeOf(attrs, attribute); given != "" && p.fold(given) != p.fold(username) {
			return nil, invalid("The %s attribute does not match the username.", attribute)
		} else if given == "" {
			attrs = append(slices.Clone(attrs), Attribute{attribute, username})
		}
		u.username, u.signIn = u.sub, attribute
	} else if err := p.checkUsername(username); err != nil {
		return nil, err
	}
	if err := checkVerified(attrs); err != nil {
		return nil, err
	}
	u.attrs = p.schema.pack(attrs)
	return u, nil
}

// checkVerified refuses a verified address that is not there.
func checkVerified(attrs []Attribute) error {
	for _, name := range []string{"email", "phone_number"} {
		if attributeOf(attrs, verifiedOf(name)) == "true" && attributeOf(attrs, name) == "" {
			return invalid("%s is required when %s is true.", name, verifiedOf(name))
		}
	}
	return nil
}

func attributeOf(list []Attribute, name string) string {
	value := ""
	for _, a := range list {
		if a.Name == name {
			value = a.Value
		}
	}
	return value
}

// usernameAttribute tells which username attribute a name is a value of.
func (p *pool) usernameAttribute(name string) (string, error) {
	email := slices.Contains(p.config.UsernameAttributes, "email")
	phone := slices.Contains(p.config.UsernameAttributes, "phone_number")
	switch {
	case email && looksLikeEmail(name):
		return "email", nil
	case phone && looksLikePhone(name):
		return "phone_number", nil
	case email && phone:
		return "", invalid("Username should be either an email or a phone number.")
	case email:
		return "", invalid("Username should be an email.")
	}
	return "", invalid("Username should be a phone number.")
}

// checkUsername refuses names that could be mistaken for an alias.
func (p *pool) checkUsername(name string) error {
	for _, alias := range p.config.AliasAttributes {
		switch {
		case alias == "email" && looksLikeEmail(name):
			return invalid("Username cannot be of email format, since user pool is configured for email alias.")
		case alias == "phone_number" && looksLikePhone(name):
			return invalid("Username cannot be of phone number format, since user pool is configured for phone number alias.")
		}
	}
	return nil
}

// taken tells whether a new user's name is in use already.
func (p *pool) taken(u *user) bool {
	if u.signIn == "" {
		return p.users[p.fold(u.username)] != nil
	}
	return p.byAlias[aliasKey(u.signIn, p.fold(p.schema.value(u.attrs, u.signIn)))] != nil
}

// admit puts a new user into the pool.
func (s *Service) admit(p *pool, u *user, force bool, exists string) error {
	if p.taken(u) {
		return wire.Errorf("UsernameExistsException", "%s", exists)
	}
	if len(p.config.UsernameAttributes) > 0 {
		if attribute, holder := p.conflict(u, p.aliasKeys(u, u.attrs)); holder != nil && !force {
			return wire.Errorf("UsernameExistsException", "An account with the given %s already exists.", attribute)
		}
	}
	if lag := s.settings.Values().ListUsersLag; lag > 0 {
		u.visible = u.created + lag.Milliseconds()
	}
	return p.insert(u, force)
}

type adminCreateUserInput struct {
	Username               string
	UserAttributes         []Attribute
	ValidationData         []Attribute
	TemporaryPassword      string
	ForceAliasCreation     bool
	MessageAction          string
	DesiredDeliveryMediums []string
	ClientMetadata         map[string]string
}

// UserOutput is what AdminCreateUser returns.
type UserOutput struct{ User User }

func (s *Service) adminCreateUser(ctx context.Context, c *wire.Call) (any, error) {
	var in adminCreateUserInput
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	temporary := in.TemporaryPassword
	if temporary == "" {
		temporary = randomText(4, uppercase) + randomText(4, lowercase) + "-" + randomText(4, digits)
	} else {
		p.mu.RLock()
		err := p.checkPassword(temporary)
		p.mu.RUnlock()
		if err != nil {
			return nil, err
		}
	}
	if in.MessageAction == "RESEND" {
		return s.resend(ctx, p, &in, temporary)
	}
	if _, err := s.preSignUp(ctx, p, "PreSignUp_AdminCreateUser", in.Username, in.UserAttributes, in.ValidationData, in.ClientMetadata); err != nil {
		return nil, err
	}
	now := s.now()
	p.mu.Lock()
	u, err := p.newUser(in.Username, in.UserAttributes, now)
	if err == nil {
		u.status = ForceChangePassword
		u.password = newPassword(temporary, now)
		err = s.admit(p, u, in.ForceAliasCreation, "User account already exists")
	}
	if err != nil {
		p.mu.Unlock()
		return nil, err
	}
	view := p.view(u)
	p.mu.Unlock()
	if in.MessageAction != "SUPPRESS" {
		err = s.send(ctx, p, view, "CustomMessage_AdminCreateUser", temporary, in.DesiredDeliveryMediums, in.ClientMetadata)
	}
	return UserOutput{view}, err
}

// resend renews the invitation of a user who has not signed in yet.
func (s *Service) resend(ctx context.Context, p *pool, in *adminCreateUserInput, temporary string) (any, error) {
	p.mu.Lock()
	u, err := p.find(in.Username)
	if err == nil && u.status != ForceChangePassword {
		err = wire.Errorf("UnsupportedUserStateException", "Resend not possible. %s status is not FORCE_CHANGE_PASSWORD", in.Username)
	}
	if err != nil {
		p.mu.Unlock()
		return nil, err
	}
	now := s.now()
	s.touch(u, now)
	u.password = newPassword(temporary, now)
	view := p.view(u)
	p.mu.Unlock()
	return UserOutput{view}, s.send(ctx, p, view, "CustomMessage_AdminCreateUser", temporary, in.DesiredDeliveryMediums, in.ClientMetadata)
}

func (s *Service) adminGetUser(_ context.Context, c *wire.Call) (any, error) {
	var in target
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	u, err := p.find(in.Username)
	if err != nil {
		return nil, err
	}
	v := p.view(u)
	return struct {
		Username             string
		UserAttributes       []Attribute
		UserCreateDate       Date
		UserLastModifiedDate Date
		Enabled              bool
		UserStatus           string
		MFAOptions           []MFAOption `json:",omitempty"`
		PreferredMfaSetting  string      `json:",omitempty"`
		UserMFASettingList   []string    `json:",omitempty"`
	}{
		v.Username, v.Attributes, v.UserCreateDate, v.UserLastModifiedDate, v.Enabled, v.UserStatus, v.MFAOptions,
		u.factors.preferred, u.factors.list(),
	}, nil
}

// onUser finds the user of a call and changes it under the pool's lock.
func (s *Service) onUser(c *wire.Call, in any, change func(*pool, *user, time.Time) error) (any, error) {
	p, err := s.begin(c, in)
	if err != nil {
		return nil, err
	}
	var t target
	if err := c.Decode(&t); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u, err := p.find(t.Username)
	if err != nil {
		return nil, err
	}
	if err := change(p, u, s.now()); err != nil {
		return nil, err
	}
	return empty{}, nil
}

func (s *Service) adminDeleteUser(_ context.Context, c *wire.Call) (any, error) {
	return s.onUser(c, &empty{}, func(p *pool, u *user, now time.Time) error {
		until := int64(0)
		if lag := s.settings.Values().ListUsersLag; lag > 0 {
			until = now.Add(lag).UnixMilli()
		}
		p.remove(u, until)
		return nil
	})
}

// setEnabled is idempotent: nothing changes when there is nothing to change.
func (s *Service) setEnabled(c *wire.Call, enabled bool) (any, error) {
	return s.onUser(c, &empty{}, func(p *pool, u *user, now time.Time) error {
		if u.enabled == enabled {
			return nil
		}
		return p.change(u, func() {
			s.touch(u, now)
			u.enabled = enabled
		}, false)
	})
}

func (s *Service) adminDisableUser(_ context.Context, c *wire.Call) (any, error) {
	return s.setEnabled(c, false)
}

func (s *Service) adminEnableUser(_ context.Context, c *wire.Call) (any, error) {
	return s.setEnabled(c, true)
}

func (s *Service) adminUpdateUserAttributes(ctx context.Context, c *wire.Call) (any, error) {
	var in struct {
		UserAttributes []Attribute
		ClientMetadata map[string]string
	}
	var codes []string
	var view User
	var owner *pool
	out, err := s.onUser(c, &in, func(p *pool, u *user, now time.Time) error {
		if err := p.schema.checkValues(in.UserAttributes); err != nil {
			return err
		}
		current := p.schema.unpack(u.attrs)
		for _, a := range in.UserAttributes {
			if def := p.schema.find(a.Name); !def.Mutable {
				return invalid("user.%s: Attribute cannot be updated.\n", a.Name)
			}
			if a.Value == "" {
				if err := p.deletable(u, a.Name); err != nil {
					return err
				}
			}
		}
		next, mailed := p.updated(current, in.UserAttributes)
		if err := checkVerified(next); err != nil {
			return err
		}
		if err := p.change(u, func() {
			s.touch(u, now)
			u.attrs = p.schema.pack(next)
		}, false); err != nil {
			return err
		}
		codes, view, owner = mailed, p.view(u), p
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range codes {
		medium := "EMAIL"
		if name == "phone_number" {
			medium = "SMS"
		}
		if err := s.send(ctx, owner, view, "CustomMessage_UpdateUserAttribute", randomText(6, digits), []string{medium}, in.ClientMetadata); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// updated merges changes into attributes. An address that changes is unverified
// unless the same call says otherwise; where the pool wants it verified before it
// changes, it stays as it was until then. A changed address that the pool verifies
// gets a code.
func (p *pool) updated(current, changes []Attribute) (next []Attribute, mailed []string) {
	next = slices.Clone(current)
	for _, a := range changes {
		flag := verifiedOf(a.Name)
		if flag == "" || a.Value == attributeOf(current, a.Name) || attributeOf(changes, flag) == "true" {
			next = append(next, a)
			continue
		}
		if a.Value != "" && slices.Contains(p.config.AutoVerifiedAttributes, a.Name) {
			mailed = append(mailed, a.Name)
		}
		if a.Value != "" && p.config.UserAttributeUpdateSettings != nil &&
			slices.Contains(p.config.UserAttributeUpdateSettings.AttributesRequireVerificationBeforeUpdate, a.Name) {
			continue
		}
		next = append(next, a)
		if a.Value == "" {
			next = append(next, Attribute{flag, ""})
		} else {
			next = append(next, Attribute{flag, "false"})
		}
	}
	return next, mailed
}

// deletable refuses to take away what a user must have.
func (p *pool) deletable(u *user, name string) error {
	def := p.schema.find(name)
	switch {
	case def == nil:
		return invalid("Attributes did not conform to the schema: %s: Attribute does not exist in the schema.\n", name)
	case name == "sub" || name == "identities" || !def.Mutable:
		return invalid("Cannot modify the non-mutable attribute %s", name)
	case def.Required || u.signIn == name:
		return invalid("Cannot delete required attribute %s", name)
	}
	return nil
}

func (s *Service) adminDeleteUserAttributes(_ context.Context, c *wire.Call) (any, error) {
	var in struct{ UserAttributeNames []string }
	return s.onUser(c, &in, func(p *pool, u *user, now time.Time) error {
		next := p.schema.unpack(u.attrs)
		for _, name := range in.UserAttributeNames {
			if err := p.deletable(u, name); err != nil {
				return err
			}
			next = append(next, Attribute{Name: name})
			if flag := verifiedOf(name); flag != "" {
				next = append(next, Attribute{Name: flag})
			}
		}
		return p.change(u, func() {
			s.touch(u, now)
			u.attrs = p.schema.pack(next)
		}, false)
	})
}

func (s *Service) adminSetUserPassword(_ context.Context, c *wire.Call) (any, error) {
	var in struct {
		Password  string
		Permanent bool
	}
	return s.onUser(c, &in, func(p *pool, u *user, now time.Time) error {
		if err := p.checkPassword(in.Password); err != nil {
			return err
		}
		if u.status == ExternalProvider {
			return wire.Errorf("NotAuthorizedException", "Cannot set the password of a federated user.")
		}
		return p.change(u, func() {
			s.touch(u, now)
			u.password = newPassword(in.Password, now)
			u.status = ForceChangePassword
			if in.Permanent {
				u.status = Confirmed
			}
		}, false)
	})
}

func (s *Service) adminResetUserPassword(ctx context.Context, c *wire.Call) (any, error) {
	var in struct{ ClientMetadata map[string]string }
	var view User
	var owner *pool
	var medium, code string
	out, err := s.onUser(c, &in, func(p *pool, u *user, now time.Time) error {
		switch {
		case !u.enabled:
			return wire.Errorf("NotAuthorizedException", "User is disabled.")
		case u.status != Confirmed && u.status != ResetRequired:
			return wire.Errorf("NotAuthorizedException", "User password cannot be reset in the current state.")
		case p.schema.value(u.attrs, "email_verified") == "true":
			medium = "EMAIL"
		case p.schema.value(u.attrs, "phone_number_verified") == "true":
			medium = "SMS"
		default:
			return invalid("Cannot reset password for the user as there is no registered/verified email or phone_number")
		}
		code = randomText(6, digits)
		p.codes["reset "+u.sub] = code
		err := p.change(u, func() {
			s.touch(u, now)
			u.status = ResetRequired
		}, false)
		view, owner = p.view(u), p
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, s.send(ctx, owner, view, "CustomMessage_ForgotPassword", code, []string{medium}, in.ClientMetadata)
}

func (s *Service) adminConfirmSignUp(_ context.Context, c *wire.Call) (any, error) {
	return s.onUser(c, &empty{}, func(p *pool, u *user, now time.Time) error {
		if u.status != Unconfirmed {
			return wire.Errorf("NotAuthorizedException", "User cannot be confirmed. Current status is %s", u.status)
		}
		return p.change(u, func() {
			s.touch(u, now)
			u.status = Confirmed
		}, false)
	})
}

func (s *Service) adminListDevices(_ context.Context, c *wire.Call) (any, error) {
	var in target
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if _, err := p.find(in.Username); err != nil {
		return nil, invalid("User does not exist.") // the model has no UserNotFoundException here
	}
	return struct{ Devices []empty }{[]empty{}}, nil
}

// factorSetting is one factor in AdminSetUserMFAPreference.
type factorSetting struct {
	Enabled      bool
	PreferredMfa bool
}

func (s *Service) adminSetUserMFAPreference(_ context.Context, c *wire.Call) (any, error) {
	var in struct {
		SMSMfaSettings           *factorSetting
		SoftwareTokenMfaSettings *factorSetting
		EmailMfaSettings         *factorSetting
	}
	return s.onUser(c, &in, func(p *pool, u *user, now time.Time) error {
		f := u.factors
		preferred := 0
		set := func(setting *factorSetting, factor *bool, name, address string) error {
			if setting == nil {
				return nil
			}
			if setting.Enabled && address == "" {
				return invalid("User does not have delivery config set to turn on %s", name)
			}
			if setting.PreferredMfa && !setting.Enabled {
				return invalid("%s cannot be preferred when it is not enabled", name)
			}
			*factor = setting.Enabled
			switch {
			case setting.PreferredMfa:
				preferred++
				f.preferred = name
			case f.preferred == name:
				f.preferred = ""
			}
			return nil
		}
		if err := set(in.SMSMfaSettings, &f.sms, "SMS_MFA", p.schema.value(u.attrs, "phone_number")); err != nil {
			return err
		}
		if err := set(in.EmailMfaSettings, &f.email, "EMAIL_OTP", p.schema.value(u.attrs, "email")); err != nil {
			return err
		}
		if t := in.SoftwareTokenMfaSettings; t != nil && t.Enabled && !u.factors.totp {
			return invalid("User has not verified software token mfa")
		}
		if err := set(in.SoftwareTokenMfaSettings, &f.totp, "SOFTWARE_TOKEN_MFA", "token"); err != nil {
			return err
		}
		if preferred > 1 {
			return invalid("Only one MFA factor can be preferred")
		}
		if f.email && p.config.UserPoolTier == "LITE" {
			return invalid("Email MFA is not available in the pricing tier of this user pool.")
		}
		s.touch(u, now)
		u.factors = f
		return nil
	})
}
