package cognito

import (
	"context"
	"encoding/json"
	"slices"

	"cognito-backup/test/localaws/wire"
)

const (
	maxLinks      = 5 // linked identities of one user
	localProvider = "Cognito"
	subjectName   = "Cognito_Subject"
)

// identity is one entry of the identities attribute.
type identity struct {
	UserID       string  `json:"userId"`
	ProviderName string  `json:"providerName"`
	ProviderType string  `json:"providerType"`
	Issuer       *string `json:"issuer"`
	Primary      bool    `json:"primary"`
	DateCreated  int64   `json:"dateCreated"` // milliseconds since the epoch
}

func linkKey(provider, userID string) string { return provider + "\x00" + userID }

// identities are the linked identities of a user; text that is not a list of them
// (a seed may have any) counts as none.
func (p *pool) identities(u *user) []identity {
	text := p.schema.value(u.attrs, "identities")
	if text == "" {
		return nil
	}
	var list []identity
	if json.Unmarshal([]byte(text), &list) != nil {
		return nil
	}
	return list
}

// setIdentities stores the list; the caller has the pool's lock.
func (s *Service) setIdentities(p *pool, u *user, list []identity) error {
	text := ""
	if len(list) > 0 {
		b, err := json.Marshal(list)
		if err != nil {
			return err
		}
		text = string(b)
	}
	now := s.now()
	return p.change(u, func() {
		s.touch(u, now)
		u.attrs = p.schema.pack(append(p.schema.unpack(u.attrs), Attribute{"identities", text}))
	}, false)
}

type providerUser struct {
	ProviderName           string
	ProviderAttributeName  string
	ProviderAttributeValue string
}

func social(providerType string) bool {
	switch providerType {
	case "Facebook", "Google", "LoginWithAmazon", "SignInWithApple":
		return true
	}
	return false
}

func (s *Service) adminLinkProviderForUser(_ context.Context, c *wire.Call) (any, error) {
	var in struct{ DestinationUser, SourceUser providerUser }
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var u *user
	if in.DestinationUser.ProviderName == localProvider {
		name := in.DestinationUser.ProviderAttributeValue
		u, err = p.find(name)
		if err != nil {
			return nil, err
		}
		if u.sub == name && p.users[p.fold(name)] != u {
			// API reference, AdminLinkProviderForUser: the username, and only that.
			return nil, wire.Errorf("UserNotFoundException", "User does not exist.")
		}
	} else if u = p.byLink[linkKey(in.DestinationUser.ProviderName, in.DestinationUser.ProviderAttributeValue)]; u == nil {
		return nil, wire.Errorf("UserNotFoundException", "User does not exist.")
	}
	source := in.SourceUser
	provider := p.providers[source.ProviderName]
	switch {
	case source.ProviderName == localProvider:
		return nil, invalid("SourceUser must be a federated user.")
	case provider == nil:
		return nil, wire.Errorf("ResourceNotFoundException", "Identity provider %s does not exist.", source.ProviderName)
	case social(provider.ProviderType) && source.ProviderAttributeName != subjectName:
		return nil, invalid("ProviderAttributeName must be Cognito_Subject for social identity providers.")
	case source.ProviderAttributeValue == "" || source.ProviderAttributeName == "":
		return nil, invalid("SourceUser must have an attribute name and value.")
	}
	for number := range u.attrs.entries() {
		if a := p.schema.attributes[number]; !a.Mutable {
			// Documented: all attributes in the destination's profile must be mutable.
			return nil, invalid("user.%s: Attribute cannot be updated.\n", a.Name)
		}
	}
	key := linkKey(source.ProviderName, source.ProviderAttributeValue)
	switch holder := p.byLink[key]; {
	case holder == u:
		return nil, invalid("SourceUser is already linked to DestinationUser")
	case holder != nil:
		return nil, invalid("Merging is not currently supported, provide a SourceUser without an existing profile")
	}
	list := p.identities(u)
	if len(list) >= maxLinks {
		return nil, wire.Errorf("LimitExceededException", "Exceeded the maximum number of linked identities per user (%d).", maxLinks)
	}
	list = append(list, identity{
		UserID: source.ProviderAttributeValue, ProviderName: source.ProviderName, ProviderType: provider.ProviderType,
		DateCreated: s.now().UnixMilli(),
	})
	if err := s.setIdentities(p, u, list); err != nil {
		return nil, err
	}
	p.byLink[key] = u
	return empty{}, nil
}

// adminDisableProviderForUser takes a linked identity away. For a local user
// (ProviderName Cognito) it takes the password away instead.
func (s *Service) adminDisableProviderForUser(_ context.Context, c *wire.Call) (any, error) {
	var in struct{ User providerUser }
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if in.User.ProviderName == localProvider {
		u, err := p.find(in.User.ProviderAttributeValue)
		if err != nil {
			return nil, err
		}
		s.touch(u, s.now())
		u.password = nil
		return empty{}, nil
	}
	key := linkKey(in.User.ProviderName, in.User.ProviderAttributeValue)
	u := p.byLink[key]
	if u == nil {
		return nil, wire.Errorf("UserNotFoundException", "User does not exist.")
	}
	list := slices.DeleteFunc(p.identities(u), func(i identity) bool {
		return linkKey(i.ProviderName, i.UserID) == key
	})
	if err := s.setIdentities(p, u, list); err != nil {
		return nil, err
	}
	delete(p.byLink, key)
	return empty{}, nil
}
