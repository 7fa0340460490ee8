package cognito

import (
	"crypto/sha256"
	"slices"
	"strings"
	"sync"
	"time"

	"cognito-backup/test/localaws/wire"
)

// pool is one user pool with everything in it.
type pool struct {
	id string

	mu     sync.RWMutex
	config UserPool // without schema and number of users, see describe
	schema *schema
	mfa    MFAConfig

	users   map[string]*user // by folded username
	bySub   map[string]*user // where it differs from the username
	byAlias map[string]*user // by alias key: values that can stand for a username
	byLink  map[string]*user // by link key: linked identities
	order   ordered[*user]
	indexes map[string]*ordered[indexed] // by searchable attribute, built when first asked for
	ghosts  []*user                      // deleted, but still in ListUsers

	groups     map[string]*group
	groupOrder ordered[*group]

	clients   map[string]*Client
	providers map[string]*IdentityProvider
	servers   map[string]*ResourceServer
	jobs      []*job
	sessions  map[string]session
	codes     map[string]string // confirmation codes by sub and purpose
}

// user is one user. Everything but its rank may change, under the pool's lock.
type user struct {
	username string
	sub      string
	attrs    packed
	rank     uint64
	created  int64 // milliseconds since the epoch, as the others
	modified int64
	status   string
	enabled  bool
	factors  factors
	signIn   string // attribute that is the username: email or phone_number; "" where it is a name of its own
	password *password
	groups   []*group

	visible int64      // when ListUsers first shows it; 0 is always
	gone    int64      // when ListUsers no longer shows it; 0 is never
	past    *pastState // what ListUsers shows for now
}

// pastState is what a lagging ListUsers still shows of a changed user.
type pastState struct {
	attrs    packed
	modified int64
	status   string
	enabled  bool
	until    int64
}

// password is kept as a hash, with the time it was set for temporary ones.
type password struct {
	hash [sha256.Size]byte
	set  int64
}

// factors are the second factors that a user has.
type factors struct {
	sms, email, totp bool
	preferred        string // SMS_MFA, EMAIL_OTP, SOFTWARE_TOKEN_MFA or ""
}

func (f factors) list() []string {
	var list []string
	if f.sms {
		list = append(list, "SMS_MFA")
	}
	if f.totp {
		list = append(list, "SOFTWARE_TOKEN_MFA")
	}
	if f.email {
		list = append(list, "EMAIL_OTP")
	}
	return list
}

// indexed is a user's place in the index of one attribute.
type indexed struct {
	value string
	user  *user
}

func (i indexed) cursor() cursor {
	return cursor{Value: i.value, Rank: i.user.rank, Name: i.user.username}
}
func (u *user) cursor() cursor { return cursor{Rank: u.rank, Name: u.username} }

func newPool(id string) *pool {
	return &pool{
		id:        id,
		schema:    newSchema(),
		users:     map[string]*user{},
		bySub:     map[string]*user{},
		byAlias:   map[string]*user{},
		byLink:    map[string]*user{},
		order:     ordered[*user]{less: func(a, b *user) bool { return b.cursor().after(a.cursor()) }},
		indexes:   map[string]*ordered[indexed]{},
		groups:    map[string]*group{},
		clients:   map[string]*Client{},
		providers: map[string]*IdentityProvider{},
		servers:   map[string]*ResourceServer{},
		sessions:  map[string]session{},
		codes:     map[string]string{},
		groupOrder: ordered[*group]{
			less: func(a, b *group) bool { return b.cursor().after(a.cursor()) },
		},
	}
}

// fold makes names comparable: a pool is case-sensitive unless created otherwise.
func (p *pool) fold(name string) string {
	if c := p.config.UsernameConfiguration; c != nil && !c.CaseSensitive {
		return strings.ToLower(name)
	}
	return name
}

func aliasKey(attribute, value string) string { return attribute + "\x00" + value }

// aliasKeys are the values by which a user with these attributes can be named
// besides username and sub. In a pool with aliases those are verified addresses
// and the preferred username; in a pool with username attributes the one that the
// user signed up with and whatever else is verified. Federated users have none:
// the same address may belong to a local user too.
func (p *pool) aliasKeys(u *user, attrs packed) []string {
	if u.status == ExternalProvider {
		return nil
	}
	var keys []string
	add := func(name string, unverified bool) {
		value := p.schema.value(attrs, name)
		if value == "" {
			return
		}
		flag := verifiedOf(name)
		if flag == "" || unverified || p.schema.value(attrs, flag) == "true" {
			keys = append(keys, aliasKey(name, p.fold(value)))
		}
	}
	for _, name := range p.config.AliasAttributes {
		add(name, false)
	}
	for _, name := range p.config.UsernameAttributes {
		add(name, u.signIn == name)
	}
	return keys
}

// find is the user of a username, sub or alias value.
func (p *pool) find(name string) (*user, error) {
	if u := p.users[p.fold(name)]; u != nil {
		return u, nil
	}
	if u := p.bySub[name]; u != nil {
		return u, nil
	}
	for _, list := range [][]string{p.config.AliasAttributes, p.config.UsernameAttributes} {
		for _, attribute := range list {
			if u := p.byAlias[aliasKey(attribute, p.fold(name))]; u != nil {
				return u, nil
			}
		}
	}
	return nil, wire.Errorf("UserNotFoundException", "User does not exist.")
}

// conflict is the attribute among these keys that another user holds as an alias.
func (p *pool) conflict(u *user, keys []string) (attribute string, holder *user) {
	for _, k := range keys {
		if holder := p.byAlias[k]; holder != nil && holder != u {
			attribute, _, _ := strings.Cut(k, "\x00")
			return attribute, holder
		}
	}
	return "", nil
}

// insert adds a user whose username is free. A verified alias that someone else
// holds is refused, or moved when force is set.
func (p *pool) insert(u *user, force bool) error {
	keys := p.aliasKeys(u, u.attrs)
	if err := p.claim(u, keys, force); err != nil {
		return err
	}
	u.rank = rank(p.id + " " + u.username)
	p.users[p.fold(u.username)] = u
	if u.sub != u.username {
		p.bySub[u.sub] = u
	}
	p.order.insert(u)
	for attribute, index := range p.indexes {
		p.indexUser(attribute, index, u, true)
	}
	return nil
}

// claim makes a user the holder of aliases.
func (p *pool) claim(u *user, keys []string, force bool) error {
	for {
		attribute, holder := p.conflict(u, keys)
		if holder == nil {
			break
		}
		if !force {
			return wire.Errorf("AliasExistsException", "An account with the given %s already exists.", attribute)
		}
		p.lose(holder, attribute)
	}
	for _, k := range keys {
		p.byAlias[k] = u
	}
	return nil
}

// lose takes an alias from a user: the address stays, but no longer verified. A
// preferred username cannot be unverified and goes.
func (p *pool) lose(u *user, attribute string) {
	attrs := p.schema.unpack(u.attrs)
	if flag := verifiedOf(attribute); flag != "" {
		attrs = append(attrs, Attribute{flag, "false"})
	} else {
		attrs = append(attrs, Attribute{attribute, ""})
	}
	// It cannot conflict: the user only gives up an alias.
	_ = p.change(u, func() { u.attrs = p.schema.pack(attrs) }, false)
}

// change applies a change to a user and keeps every index right. A conflict of
// aliases undoes it.
func (p *pool) change(u *user, apply func(), force bool) error {
	type place struct {
		index *ordered[indexed]
		entry indexed
	}
	var places []place
	for attribute, index := range p.indexes {
		places = append(places, place{index, indexed{p.indexValue(attribute, u), u}})
	}
	old := *u
	apply()
	oldKeys, newKeys := p.aliasKeys(&old, old.attrs), p.aliasKeys(u, u.attrs)
	if !slices.Equal(oldKeys, newKeys) {
		if err := p.claim(u, newKeys, force); err != nil {
			*u = old
			return err
		}
		for _, k := range oldKeys {
			if !slices.Contains(newKeys, k) && p.byAlias[k] == u {
				delete(p.byAlias, k)
			}
		}
	}
	for _, at := range places {
		at.index.remove(at.entry)
	}
	for attribute, index := range p.indexes {
		p.indexUser(attribute, index, u, true)
	}
	return nil
}

// remove deletes a user. While ListUsers lags it stays in the listing.
func (p *pool) remove(u *user, until int64) {
	for _, g := range u.groups {
		g.members.remove(u)
	}
	u.groups = nil
	for _, k := range p.aliasKeys(u, u.attrs) {
		if p.byAlias[k] == u {
			delete(p.byAlias, k)
		}
	}
	for _, link := range p.identities(u) {
		delete(p.byLink, linkKey(link.ProviderName, link.UserID))
	}
	delete(p.users, p.fold(u.username))
	delete(p.bySub, u.sub)
	if until == 0 {
		p.unlist(u)
		return
	}
	u.gone = until
	p.ghosts = append(p.ghosts, u)
}

// unlist takes a user out of the listings.
func (p *pool) unlist(u *user) {
	p.order.remove(u)
	for attribute, index := range p.indexes {
		p.indexUser(attribute, index, u, false)
	}
}

// sweep forgets the deleted users that no listing shows any longer.
func (p *pool) sweep(now int64) {
	p.ghosts = slices.DeleteFunc(p.ghosts, func(u *user) bool {
		if u.gone > now {
			return false
		}
		p.unlist(u)
		return true
	})
}

// searchable are the attributes that a ListUsers filter may name.
var searchable = []string{
	"username", "email", "phone_number", "name", "given_name", "family_name",
	"preferred_username", "cognito:user_status", "status", "sub",
}

// indexValue is what a filter on an attribute compares with.
func (p *pool) indexValue(attribute string, u *user) string {
	switch attribute {
	case "username":
		return p.fold(u.username)
	case "sub":
		return u.sub
	case "status":
		if u.enabled {
			return "Enabled"
		}
		return "Disabled"
	case "cognito:user_status":
		return strings.ToLower(u.status)
	case "email", "preferred_username":
		return p.fold(p.schema.value(u.attrs, attribute))
	}
	return p.schema.value(u.attrs, attribute)
}

// indexUser adds a user to an index or takes it out; users without the attribute
// are in no index.
func (p *pool) indexUser(attribute string, index *ordered[indexed], u *user, add bool) {
	entry := indexed{p.indexValue(attribute, u), u}
	switch {
	case entry.value == "":
	case add:
		index.insert(entry)
	default:
		index.remove(entry)
	}
}

// index is the index of an attribute, built now if need be (the pool's write
// lock must be held then).
func (p *pool) buildIndex(attribute string) {
	if p.indexes[attribute] != nil {
		return
	}
	index := &ordered[indexed]{less: func(a, b indexed) bool { return b.cursor().after(a.cursor()) }}
	for u := range p.order.all() {
		p.indexUser(attribute, index, u, true)
	}
	p.indexes[attribute] = index
}

// touch notes a change: its time, and for a lagging ListUsers what was before.
func (s *Service) touch(u *user, now time.Time) {
	ms := now.UnixMilli()
	if lag := s.settings.Values().ListUsersLag; lag > 0 && (u.past == nil || u.past.until <= ms) {
		u.past = &pastState{u.attrs, u.modified, u.status, u.enabled, ms + lag.Milliseconds()}
	}
	u.modified = ms
}

// listed is a user as ListUsers shows it now, and whether it does at all.
func (p *pool) listed(u *user, now int64) (User, bool) {
	if u.visible > now || u.gone != 0 && u.gone <= now {
		return User{}, false
	}
	view := p.view(u)
	if past := u.past; past != nil && past.until > now {
		view.Attributes = append(p.schema.unpack(past.attrs), Attribute{"sub", u.sub})
		view.UserLastModifiedDate = dateOf(past.modified)
		view.UserStatus, view.Enabled = past.status, past.enabled
	}
	return view, true
}

// lags says that ListUsers shows the user differently from every other call.
func (u *user) lags(now int64) bool {
	return u.visible > now || u.gone > now || u.past != nil && u.past.until > now
}

// view is a user as UserType.
func (p *pool) view(u *user) User {
	v := User{
		Username:             u.username,
		Attributes:           append(p.schema.unpack(u.attrs), Attribute{"sub", u.sub}),
		UserCreateDate:       dateOf(u.created),
		UserLastModifiedDate: dateOf(u.modified),
		Enabled:              u.enabled,
		UserStatus:           u.status,
	}
	if u.factors.sms {
		v.MFAOptions = []MFAOption{{"SMS", "phone_number"}}
	}
	return v
}

// describe is the pool as DescribeUserPool returns it.
func (p *pool) describe() UserPool {
	c := p.config
	c.SchemaAttributes = slices.Clone(p.schema.attributes)
	c.EstimatedNumberOfUsers = len(p.users)
	return c
}
