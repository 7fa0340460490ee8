package cognito

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cognito-backup/test/localaws/wire"
)

func newPassword(text string, now time.Time) *password {
	return &password{sha256.Sum256([]byte(text)), now.UnixMilli()}
}

func (p *password) is(text string) bool {
	if p == nil {
		return false
	}
	h := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(h[:], p.hash[:]) == 1
}

// checkPassword applies the pool's password policy.
func (p *pool) checkPassword(text string) error {
	bad := func(why string) error {
		return wire.Errorf("InvalidPasswordException", "Password did not conform with policy: %s", why)
	}
	policy := p.config.Policies.PasswordPolicy
	has := func(in func(rune) bool) bool { return strings.IndexFunc(text, in) >= 0 }
	switch {
	case utf8.RuneCountInString(text) < policy.MinimumLength:
		return bad("Password not long enough")
	case policy.RequireUppercase && !has(func(r rune) bool { return 'A' <= r && r <= 'Z' }):
		return bad("Password must have uppercase characters")
	case policy.RequireLowercase && !has(func(r rune) bool { return 'a' <= r && r <= 'z' }):
		return bad("Password must have lowercase characters")
	case policy.RequireNumbers && !has(unicode.IsDigit):
		return bad("Password must have numeric characters")
	case policy.RequireSymbols && !has(func(r rune) bool { return strings.ContainsRune("^$*.[]{}()?\"!@#%&/\\,><':;|_~`=+- ", r) }):
		return bad("Password must have symbol characters")
	}
	return nil
}

// clientPool finds the pool of an app client, for calls that name no pool.
func (s *Service) clientPool(id string) (*pool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.clients[id]
	if p == nil {
		return nil, wire.Errorf("ResourceNotFoundException", "User pool client %s does not exist.", id)
	}
	return p, nil
}

// checkSecret demands a client's secret hash: HMAC-SHA256 of username and client id.
func (c *Client) checkSecret(username, hash string) error {
	if c.ClientSecret == "" {
		return nil
	}
	if hash == "" {
		return wire.Errorf("NotAuthorizedException", "Client %s is configured with secret but SECRET_HASH was not received", c.ClientId)
	}
	mac := hmac.New(sha256.New, []byte(c.ClientSecret))
	mac.Write([]byte(username + c.ClientId))
	if !hmac.Equal([]byte(hash), []byte(base64.StdEncoding.EncodeToString(mac.Sum(nil)))) {
		return wire.Errorf("NotAuthorizedException", "Unable to verify secret hash for client %s", c.ClientId)
	}
	return nil
}

type codeDelivery struct {
	Destination    string
	DeliveryMedium string
	AttributeName  string
}

// masked hides most of an address, as Cognito's answers do.
func masked(address string) string {
	if name, domain, ok := strings.Cut(address, "@"); ok {
		return name[:1] + "***@" + domain[:1] + "***"
	}
	return "+" + strings.Repeat("*", max(0, len(address)-5)) + address[max(0, len(address)-4):]
}

func (s *Service) signUp(ctx context.Context, c *wire.Call) (any, error) {
	var in struct {
		ClientId       string
		SecretHash     string
		Username       string
		Password       string
		UserAttributes []Attribute
		ValidationData []Attribute
		ClientMetadata map[string]string
	}
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	p, err := s.clientPool(in.ClientId)
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	err = p.maySignUp(in.ClientId, in.Username, in.SecretHash, in.Password, in.UserAttributes)
	p.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	event, err := s.preSignUp(ctx, p, "PreSignUp_SignUp", in.Username, in.UserAttributes, in.ValidationData, in.ClientMetadata)
	if err != nil {
		return nil, err
	}
	now := s.now()
	p.mu.Lock()
	attrs := slices.Clone(in.UserAttributes)
	u, err := p.newUser(in.Username, attrs, now)
	if err != nil {
		p.mu.Unlock()
		return nil, err
	}
	attrs = p.schema.unpack(u.attrs)
	for name, verify := range map[string]bool{"email": event.AutoVerifyEmail, "phone_number": event.AutoVerifyPhone} {
		if attributeOf(attrs, name) != "" {
			attrs = append(attrs, Attribute{verifiedOf(name), fmt.Sprint(verify && event.AutoConfirmUser)})
		}
	}
	u.attrs = p.schema.pack(attrs)
	u.password = newPassword(in.Password, now)
	u.status = Unconfirmed
	if event.AutoConfirmUser {
		u.status = Confirmed
	}
	if err := s.admit(p, u, false, "User already exists"); err != nil {
		p.mu.Unlock()
		return nil, err
	}
	view := p.view(u)
	out := struct {
		UserConfirmed       bool
		CodeDeliveryDetails *codeDelivery `json:",omitempty"`
		UserSub             string
	}{u.status == Confirmed, nil, u.sub}
	medium, code := "", randomText(6, digits)
	if u.status == Unconfirmed {
		// Documented: with both verified automatically, the phone number gets the code.
		for _, name := range []string{"phone_number", "email"} {
			address := view.Attribute(name)
			if address == "" || !slices.Contains(p.config.AutoVerifiedAttributes, name) || medium != "" {
				continue
			}
			medium = map[string]string{"phone_number": "SMS", "email": "EMAIL"}[name]
			out.CodeDeliveryDetails = &codeDelivery{masked(address), medium, name}
			p.codes["confirm "+u.sub] = name + " " + code
		}
	}
	p.mu.Unlock()
	if medium != "" {
		err = s.send(ctx, p, view, "CustomMessage_SignUp", code, []string{medium}, in.ClientMetadata)
	}
	return out, err
}

// maySignUp checks what SignUp demands of its caller beyond a new user.
func (p *pool) maySignUp(clientID, username, hash, text string, attrs []Attribute) error {
	if err := p.clients[clientID].checkSecret(username, hash); err != nil {
		return err
	}
	if p.config.AdminCreateUserConfig.AllowAdminCreateUserOnly {
		return wire.Errorf("NotAuthorizedException", "SignUp is not permitted for this user pool")
	}
	if err := p.checkPassword(text); err != nil {
		return err
	}
	var missing strings.Builder
	for _, a := range p.schema.attributes {
		if a.Required && a.Name != "sub" && attributeOf(attrs, a.Name) == "" && !slices.Contains(p.config.UsernameAttributes, a.Name) {
			missing.WriteString(a.Name + ": The attribute is required\n")
		}
	}
	if missing.Len() > 0 {
		return invalid("Attributes did not conform to the schema: %s", missing.String())
	}
	for _, a := range attrs {
		switch {
		case strings.HasSuffix(a.Name, "_verified"):
			return wire.Errorf("NotAuthorizedException", "A client attempted to write unauthorized attribute")
		case a.Name == "preferred_username" && slices.Contains(p.config.AliasAttributes, a.Name):
			return invalid("The preferred_username attribute cannot be set before the user is confirmed.")
		}
	}
	return nil
}

func (s *Service) confirmSignUp(_ context.Context, c *wire.Call) (any, error) {
	var in struct {
		ClientId           string
		SecretHash         string
		Username           string
		ConfirmationCode   string
		ForceAliasCreation bool
	}
	if err := c.Decode(&in); err != nil {
		return nil, err
	}
	p, err := s.clientPool(in.ClientId)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.clients[in.ClientId].checkSecret(in.Username, in.SecretHash); err != nil {
		return nil, err
	}
	u, err := p.find(in.Username)
	if err != nil {
		return nil, err
	}
	if u.status != Unconfirmed {
		return nil, wire.Errorf("NotAuthorizedException", "User cannot be confirmed. Current status is %s", u.status)
	}
	name, code, _ := strings.Cut(p.codes["confirm "+u.sub], " ")
	if code == "" {
		return nil, wire.Errorf("ExpiredCodeException", "Invalid code provided, please request a code again.")
	}
	if code != in.ConfirmationCode {
		return nil, wire.Errorf("CodeMismatchException", "Invalid verification code provided, please try again.")
	}
	now := s.now()
	attrs := append(p.schema.unpack(u.attrs), Attribute{verifiedOf(name), "true"})
	if err := p.change(u, func() {
		s.touch(u, now)
		u.attrs = p.schema.pack(attrs)
		u.status = Confirmed
	}, in.ForceAliasCreation); err != nil {
		return nil, err
	}
	delete(p.codes, "confirm "+u.sub)
	return empty{}, nil
}

// session is an unanswered challenge, or a refresh token.
type session struct {
	user      *user
	challenge string // REFRESH for a refresh token
	code      string
	expires   int64
}

type tokens struct {
	AccessToken  string
	ExpiresIn    int
	TokenType    string
	RefreshToken string `json:",omitempty"`
	IdToken      string
}

type authOutput struct {
	ChallengeName        string            `json:",omitempty"`
	Session              string            `json:",omitempty"`
	ChallengeParameters  map[string]string `json:",omitempty"`
	AuthenticationResult *tokens           `json:",omitempty"`
}

const refresh = "REFRESH"

// adminInitiateAuth signs in with a password, or renews tokens. SRP and custom
// flows are not here.
func (s *Service) adminInitiateAuth(ctx context.Context, c *wire.Call) (any, error) {
	var in struct {
		ClientId       string
		AuthFlow       string
		AuthParameters map[string]string
		ClientMetadata map[string]string
	}
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	client := p.clients[in.ClientId]
	if client == nil {
		p.mu.Unlock()
		return nil, wire.Errorf("ResourceNotFoundException", "User pool client %s does not exist.", in.ClientId)
	}
	out, message, err := s.signIn(p, client, in.AuthFlow, in.AuthParameters)
	p.mu.Unlock()
	if err == nil && message != nil {
		err = s.send(ctx, p, message.user, "CustomMessage_Authentication", message.code, []string{message.medium}, in.ClientMetadata)
	}
	return out, err
}

// challengeMessage is a code to send once the pool's lock is released.
type challengeMessage struct {
	user         User
	medium, code string
}

func (s *Service) signIn(p *pool, client *Client, flow string, params map[string]string) (*authOutput, *challengeMessage, error) {
	allowed := map[string][]string{
		"ADMIN_USER_PASSWORD_AUTH": {"ALLOW_ADMIN_USER_PASSWORD_AUTH", "ADMIN_NO_SRP_AUTH"},
		"ADMIN_NO_SRP_AUTH":        {"ALLOW_ADMIN_USER_PASSWORD_AUTH", "ADMIN_NO_SRP_AUTH"},
		"REFRESH_TOKEN_AUTH":       {"ALLOW_REFRESH_TOKEN_AUTH"},
		"REFRESH_TOKEN":            {"ALLOW_REFRESH_TOKEN_AUTH"},
	}[flow]
	if allowed == nil {
		return nil, nil, invalid("Initiate Auth method not supported.")
	}
	if !slices.ContainsFunc(allowed, func(f string) bool { return slices.Contains(client.ExplicitAuthFlows, f) }) {
		return nil, nil, invalid("Auth flow not enabled for this client")
	}
	now := s.now()
	refused := wire.Errorf("NotAuthorizedException", "Incorrect username or password.")
	if strings.HasPrefix(flow, "REFRESH") {
		held, ok := p.sessions[params["REFRESH_TOKEN"]]
		switch {
		case !ok || held.challenge != refresh || held.expires < now.UnixMilli() || p.users[p.fold(held.user.username)] != held.user:
			return nil, nil, wire.Errorf("NotAuthorizedException", "Invalid Refresh Token")
		case !held.user.enabled:
			return nil, nil, wire.Errorf("NotAuthorizedException", "User is disabled.")
		}
		return &authOutput{AuthenticationResult: s.tokens(p, client, held.user, false)}, nil, nil
	}
	for _, name := range []string{"USERNAME", "PASSWORD"} {
		if params[name] == "" {
			return nil, nil, invalid("Missing required parameter %s", name)
		}
	}
	if err := client.checkSecret(params["USERNAME"], params["SECRET_HASH"]); err != nil {
		return nil, nil, err
	}
	u, err := p.find(params["USERNAME"])
	if err != nil {
		if client.PreventUserExistenceErrors == "ENABLED" {
			err = refused
		}
		return nil, nil, err
	}
	switch {
	case !u.enabled:
		return nil, nil, wire.Errorf("NotAuthorizedException", "User is disabled.")
	case u.status == ResetRequired:
		return nil, nil, wire.Errorf("PasswordResetRequiredException", "Password reset required for the user")
	case !u.password.is(params["PASSWORD"]):
		return nil, nil, refused
	case u.status == Unconfirmed:
		return nil, nil, wire.Errorf("UserNotConfirmedException", "User is not confirmed.")
	case u.status == ForceChangePassword:
		life := time.Duration(p.config.Policies.PasswordPolicy.TemporaryPasswordValidityDays) * 24 * time.Hour
		if now.UnixMilli()-u.password.set > life.Milliseconds() {
			return nil, nil, wire.Errorf("NotAuthorizedException", "Temporary password has expired and must be reset by an administrator.")
		}
		attrs := map[string]string{}
		for _, a := range p.schema.unpack(u.attrs) {
			attrs[a.Name] = a.Value
		}
		text, err := json.Marshal(attrs)
		if err != nil {
			return nil, nil, err
		}
		return p.challenge(u, "NEW_PASSWORD_REQUIRED", "", now, map[string]string{
			"USER_ID_FOR_SRP": u.username, "userAttributes": string(text), "requiredAttributes": "[]",
		}), nil, nil
	}
	return s.secondFactor(p, client, u, now)
}

// challenge asks the caller for more.
func (p *pool) challenge(u *user, name, code string, now time.Time, params map[string]string) *authOutput {
	id := randomText(64, lowercase+uppercase+digits)
	p.sessions[id] = session{u, name, code, now.Add(3 * time.Minute).UnixMilli()}
	return &authOutput{ChallengeName: name, Session: id, ChallengeParameters: params}
}

// secondFactor goes on after the right password: a code if the user has a factor
// in a pool with MFA, tokens otherwise.
func (s *Service) secondFactor(p *pool, client *Client, u *user, now time.Time) (*authOutput, *challengeMessage, error) {
	factor := u.factors.preferred
	if list := u.factors.list(); factor == "" && len(list) > 0 {
		factor = list[0]
	}
	switch {
	case p.config.MfaConfiguration == "OFF" || p.config.MfaConfiguration == "":
		factor = ""
	case factor == "" && p.config.MfaConfiguration == "ON":
		return p.challenge(u, "MFA_SETUP", "", now, map[string]string{"USER_ID_FOR_SRP": u.username}), nil, nil
	}
	if factor == "" {
		return &authOutput{AuthenticationResult: s.tokens(p, client, u, true)}, nil, nil
	}
	code := randomText(6, digits)
	out := p.challenge(u, factor, code, now, map[string]string{"USER_ID_FOR_SRP": u.username})
	switch factor {
	case "SMS_MFA":
		return out, &challengeMessage{p.view(u), "SMS", code}, nil
	case "EMAIL_OTP":
		return out, &challengeMessage{p.view(u), "EMAIL", code}, nil
	}
	return out, nil, nil
}

func (s *Service) adminRespondToAuthChallenge(ctx context.Context, c *wire.Call) (any, error) {
	var in struct {
		ClientId           string
		ChallengeName      string
		ChallengeResponses map[string]string
		Session            string
		ClientMetadata     map[string]string
	}
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	client := p.clients[in.ClientId]
	if client == nil {
		p.mu.Unlock()
		return nil, wire.Errorf("ResourceNotFoundException", "User pool client %s does not exist.", in.ClientId)
	}
	out, message, err := s.answer(p, client, in.ChallengeName, in.Session, in.ChallengeResponses)
	p.mu.Unlock()
	if err == nil && message != nil {
		err = s.send(ctx, p, message.user, "CustomMessage_Authentication", message.code, []string{message.medium}, in.ClientMetadata)
	}
	return out, err
}

func (s *Service) answer(p *pool, client *Client, name, id string, responses map[string]string) (*authOutput, *challengeMessage, error) {
	now := s.now()
	held, ok := p.sessions[id]
	u := held.user
	if !ok || held.challenge != name || held.expires < now.UnixMilli() || p.users[p.fold(u.username)] != u {
		return nil, nil, wire.Errorf("NotAuthorizedException", "Invalid session for the user.")
	}
	if err := client.checkSecret(responses["USERNAME"], responses["SECRET_HASH"]); err != nil {
		return nil, nil, err
	}
	switch name {
	case "NEW_PASSWORD_REQUIRED":
		if err := p.checkPassword(responses["NEW_PASSWORD"]); err != nil {
			return nil, nil, err
		}
		var changes []Attribute
		for key, value := range responses {
			if attribute, ok := strings.CutPrefix(key, "userAttributes."); ok {
				changes = append(changes, Attribute{attribute, value})
			}
		}
		if err := p.schema.checkValues(changes); err != nil {
			return nil, nil, err
		}
		next, _ := p.updated(p.schema.unpack(u.attrs), changes)
		if err := p.change(u, func() {
			s.touch(u, now)
			u.attrs = p.schema.pack(next)
			u.password = newPassword(responses["NEW_PASSWORD"], now)
			u.status = Confirmed
		}, false); err != nil {
			return nil, nil, err
		}
		delete(p.sessions, id)
		return s.secondFactor(p, client, u, now)
	case "SMS_MFA", "EMAIL_OTP":
		code := responses[name+"_CODE"]
		if code != held.code {
			return nil, nil, wire.Errorf("CodeMismatchException", "Invalid code or auth state for the user.")
		}
		delete(p.sessions, id)
		return &authOutput{AuthenticationResult: s.tokens(p, client, u, true)}, nil, nil
	}
	return nil, nil, invalid("Challenge %s is not supported.", name)
}

// tokens are JWTs in form; their signature is not one.
func (s *Service) tokens(p *pool, client *Client, u *user, first bool) *tokens {
	const hour = 3600
	now := s.now()
	token := func(use string, claims map[string]any) string {
		claims["sub"], claims["token_use"] = u.sub, use
		claims["iss"] = "https://cognito-idp." + s.region + ".amazonaws.com/" + p.id
		claims["iat"], claims["exp"] = now.Unix(), now.Unix()+hour
		if len(u.groups) > 0 {
			var names []string
			for _, g := range u.groups {
				names = append(names, g.GroupName)
			}
			claims["cognito:groups"] = names
		}
		b, err := json.Marshal(claims)
		if err != nil {
			panic(err) // strings and numbers
		}
		encode := base64.RawURLEncoding.EncodeToString
		return encode([]byte(`{"alg":"RS256","kid":"testbed"}`)) + "." + encode(b) + "." + randomText(43, lowercase+digits)
	}
	id := map[string]any{"aud": client.ClientId, "cognito:username": u.username}
	for _, a := range p.schema.unpack(u.attrs) {
		id[a.Name] = a.Value
	}
	t := &tokens{
		AccessToken: token("access", map[string]any{"client_id": client.ClientId, "username": u.username}),
		IdToken:     token("id", id),
		ExpiresIn:   hour,
		TokenType:   "Bearer",
	}
	if first {
		t.RefreshToken = randomText(128, lowercase+uppercase+digits)
		life := time.Duration(client.RefreshTokenValidity) * 24 * time.Hour
		p.sessions[t.RefreshToken] = session{u, refresh, "", now.Add(life).UnixMilli()}
	}
	return t
}
