package cognito

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cognito-backup/test/localaws/wire"
)

const (
	maxClients   = 1000 // per pool, as the two below
	maxProviders = 300
	maxServers   = 25

	// shortPage is the most that a page of identity providers, resource servers or
	// import jobs holds by the API model, also where 60 may be asked for.
	shortPage = 50
)

// requiredDetails are the provider details that a type cannot do without.
var requiredDetails = map[string][]string{
	"Facebook":        {"client_id", "client_secret", "authorize_scopes"},
	"Google":          {"client_id", "client_secret", "authorize_scopes"},
	"LoginWithAmazon": {"client_id", "client_secret", "authorize_scopes"},
	"SignInWithApple": {"client_id", "team_id", "key_id", "private_key", "authorize_scopes"},
	"OIDC":            {"client_id", "attributes_request_method", "oidc_issuer", "authorize_scopes"},
}

func (s *Service) createIdentityProvider(_ context.Context, c *wire.Call) (any, error) {
	var in IdentityProvider
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	for _, name := range requiredDetails[in.ProviderType] {
		if in.ProviderDetails[name] == "" {
			return nil, invalid("Missing required parameter %s in ProviderDetails.", name)
		}
	}
	if in.ProviderType == "SAML" && in.ProviderDetails["MetadataURL"] == "" && in.ProviderDetails["MetadataFile"] == "" {
		return nil, invalid("Either MetadataURL or MetadataFile must be present in ProviderDetails.")
	}
	if social(in.ProviderType) && in.ProviderName != in.ProviderType {
		return nil, invalid("Provider name must be %s.", in.ProviderType)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.providers[in.ProviderName] != nil || in.ProviderName == localProvider {
		return nil, wire.Errorf("DuplicateProviderException", "A provider already exists with the name %s.", in.ProviderName)
	}
	if len(p.providers) >= maxProviders {
		return nil, wire.Errorf("LimitExceededException", "Identity provider limit exceeded.")
	}
	for name := range in.AttributeMapping {
		if name != "username" && p.schema.find(name) == nil {
			return nil, invalid("Attribute mapping contains an attribute that does not exist in the schema: %s", name)
		}
	}
	if in.AttributeMapping == nil {
		in.AttributeMapping = map[string]string{"username": "sub"}
	}
	in.UserPoolId = p.id
	in.CreationDate = Date{s.now()}
	in.LastModifiedDate = in.CreationDate
	p.providers[in.ProviderName] = &in
	return struct{ IdentityProvider IdentityProvider }{in.shown()}, nil
}

// shown is the provider as it can be read: Apple's private key cannot.
func (i IdentityProvider) shown() IdentityProvider {
	if _, ok := i.ProviderDetails["private_key"]; ok {
		i.ProviderDetails = maps.Clone(i.ProviderDetails)
		delete(i.ProviderDetails, "private_key")
	}
	return i
}

func (s *Service) describeIdentityProvider(_ context.Context, c *wire.Call) (any, error) {
	var in struct{ ProviderName string }
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	found := p.providers[in.ProviderName]
	if found == nil {
		return nil, wire.Errorf("ResourceNotFoundException", "Identity provider %s does not exist.", in.ProviderName)
	}
	return struct{ IdentityProvider IdentityProvider }{found.shown()}, nil
}

// listNamed pages over a small map in the order of its keys.
func listNamed[T any](s *Service, c *wire.Call, p *pool, token string, limit int, items map[string]T) ([]T, string, error) {
	pg, err := s.openPage(c, token, limit, shortPage, []any{p.id, limit})
	if err != nil {
		return nil, "", err
	}
	found := []T{}
	for _, name := range slices.Sorted(maps.Keys(items)) {
		at := cursor{Name: name}
		if !pg.reached(at) {
			continue
		}
		if !pg.add(at) {
			break
		}
		found = append(found, items[name])
	}
	return found, pg.next(), nil
}

type listInput struct {
	MaxResults      int
	NextToken       string
	PaginationToken string
}

func (s *Service) listIdentityProviders(_ context.Context, c *wire.Call) (any, error) {
	var in listInput
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	list, token, err := listNamed(s, c, p, in.NextToken, min(in.MaxResults, shortPage), p.providers)
	if err != nil {
		return nil, err
	}
	type description struct {
		ProviderName     string
		ProviderType     string
		LastModifiedDate Date
		CreationDate     Date
	}
	out := struct {
		Providers []description
		NextToken string `json:",omitempty"`
	}{[]description{}, token}
	for _, i := range list {
		out.Providers = append(out.Providers, description{i.ProviderName, i.ProviderType, i.LastModifiedDate, i.CreationDate})
	}
	return out, nil
}

type clientOutput struct{ UserPoolClient Client }

func (s *Service) createUserPoolClient(_ context.Context, c *wire.Call) (any, error) {
	var in struct {
		Client
		GenerateSecret bool
	}
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	client := in.Client
	if in.GenerateSecret && client.ClientSecret != "" {
		return nil, invalid("ClientSecret cannot be given together with GenerateSecret.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.clients) >= maxClients {
		return nil, wire.Errorf("LimitExceededException", "User pool client limit exceeded.")
	}
	if err := p.checkClient(&client); err != nil {
		return nil, err
	}
	if in.GenerateSecret {
		client.ClientSecret = randomText(51, lowercase+digits)
	}
	client.UserPoolId, client.ClientId = p.id, randomText(26, lowercase+digits)
	client.CreationDate = Date{s.now()}
	client.LastModifiedDate = client.CreationDate
	setClientDefaults(&client)
	p.clients[client.ClientId] = &client
	s.clients[client.ClientId] = p
	return clientOutput{client}, nil
}

// ChangeClient changes an app client as somebody at the console would, without
// the checks of the API.
func (s *Service) ChangeClient(poolID, clientID string, change func(*Client)) error {
	p, err := s.pool(poolID)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	client := p.clients[clientID]
	if client == nil {
		return fmt.Errorf("change app client %s: pool %s has none of that id", clientID, poolID)
	}
	changed := *client
	change(&changed)
	changed.LastModifiedDate = Date{s.now()}
	p.clients[clientID] = &changed
	return nil
}

func setClientDefaults(c *Client) {
	if c.RefreshTokenValidity == 0 {
		c.RefreshTokenValidity = 30
	}
	if c.AuthSessionValidity == 0 {
		c.AuthSessionValidity = 3
	}
	if c.EnableTokenRevocation == nil {
		c.EnableTokenRevocation = new(true)
	}
	if c.EnablePropagateAdditionalUserContextData == nil {
		c.EnablePropagateAdditionalUserContextData = new(false)
	}
	if len(c.TokenValidityUnits) == 0 {
		c.TokenValidityUnits = []byte(`{}`)
	}
	if len(c.ExplicitAuthFlows) == 0 {
		c.ExplicitAuthFlows = []string{"ALLOW_REFRESH_TOKEN_AUTH", "ALLOW_USER_SRP_AUTH", "ALLOW_CUSTOM_AUTH"}
	}
}

// checkClient refuses a client that refers to what the pool does not have.
func (p *pool) checkClient(c *Client) error {
	for _, name := range c.SupportedIdentityProviders {
		if name != "COGNITO" && p.providers[name] == nil {
			return invalid("The provider %s does not exist for User Pool %s.", name, p.id)
		}
	}
	for _, name := range c.ReadAttributes {
		if p.schema.find(name) == nil {
			return invalid("Invalid read attributes specified while creating a client")
		}
	}
	for _, name := range c.WriteAttributes {
		if a := p.schema.find(name); a == nil || name == "sub" || verifiedOf(strings.TrimSuffix(name, "_verified")) == name {
			return invalid("Invalid write attributes specified while creating a client")
		}
	}
	if len(c.AllowedOAuthFlows) > 0 && !c.AllowedOAuthFlowsUserPoolClient {
		return wire.Errorf("InvalidOAuthFlowException", "AllowedOAuthFlows needs AllowedOAuthFlowsUserPoolClient.")
	}
	for _, scope := range c.AllowedOAuthScopes {
		switch scope {
		case "phone", "email", "openid", "profile", "aws.cognito.signin.user.admin":
			continue
		}
		known := false
		for _, server := range p.servers {
			known = known || slices.ContainsFunc(server.Scopes, func(o Scope) bool {
				return server.Identifier+"/"+o.ScopeName == scope
			})
		}
		if !known {
			return wire.Errorf("ScopeDoesNotExistException", "Invalid scope requested: %s", scope)
		}
	}
	return nil
}

func (s *Service) describeUserPoolClient(_ context.Context, c *wire.Call) (any, error) {
	var in struct{ ClientId string }
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	client := p.clients[in.ClientId]
	if client == nil {
		return nil, wire.Errorf("ResourceNotFoundException", "User pool client %s does not exist.", in.ClientId)
	}
	return clientOutput{*client}, nil
}

func (s *Service) listUserPoolClients(_ context.Context, c *wire.Call) (any, error) {
	var in listInput
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	list, token, err := listNamed(s, c, p, in.NextToken, in.MaxResults, p.clients)
	if err != nil {
		return nil, err
	}
	type description struct{ ClientId, UserPoolId, ClientName string }
	out := struct {
		UserPoolClients []description
		NextToken       string `json:",omitempty"`
	}{[]description{}, token}
	for _, client := range list {
		out.UserPoolClients = append(out.UserPoolClients, description{client.ClientId, p.id, client.ClientName})
	}
	return out, nil
}

func (s *Service) createResourceServer(_ context.Context, c *wire.Call) (any, error) {
	var in ResourceServer
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.servers[in.Identifier] != nil {
		return nil, invalid("%s already exists in user pool %s.", in.Identifier, p.id)
	}
	if len(p.servers) >= maxServers {
		return nil, wire.Errorf("LimitExceededException", "Resource server limit exceeded.")
	}
	in.UserPoolId = p.id
	p.servers[in.Identifier] = &in
	return struct{ ResourceServer ResourceServer }{in}, nil
}

func (s *Service) listResourceServers(_ context.Context, c *wire.Call) (any, error) {
	var in listInput
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	list, token, err := listNamed(s, c, p, in.NextToken, min(in.MaxResults, shortPage), p.servers)
	if err != nil {
		return nil, err
	}
	return struct {
		ResourceServers []*ResourceServer
		NextToken       string `json:",omitempty"`
	}{list, token}, nil
}
