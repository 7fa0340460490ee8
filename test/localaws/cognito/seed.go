package cognito

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Seed is a whole user pool, in the shapes of the API: what Seed puts in place and
// Snapshot takes out.
type Seed struct {
	// Pool is UserPoolType. Id may be absent (one is made up) or fixed; its Region
	// must be the service's. Standard attributes that SchemaAttributes does not list
	// are added.
	Pool              UserPool
	Users             []User
	Groups            []Group
	Members           map[string][]string // usernames by group
	MFA               *MFAConfig
	Clients           []Client
	IdentityProviders []IdentityProvider
	ResourceServers   []ResourceServer
}

// Seed puts a pool in place without the checks of the API: users may have any
// status, sub, dates and attribute values. It refuses only what could not be
// stored: names and subs that occur twice, verified aliases of two users,
// attributes that the schema lacks, members that do not exist.
func (s *Service) Seed(seed *Seed) (string, error) {
	now := Date{s.now()}
	config := seed.Pool
	if config.Id == "" {
		config.Id = s.region + "_" + randomText(9, lowercase+uppercase+digits)
	}
	if region, _, _ := strings.Cut(config.Id, "_"); region != s.region {
		return "", fmt.Errorf("seed pool %s: this is Region %s", config.Id, s.region)
	}
	config.Arn = s.arn(config.Id)
	if config.CreationDate.IsZero() {
		config.CreationDate = now
	}
	if config.LastModifiedDate.IsZero() {
		config.LastModifiedDate = config.CreationDate
	}
	config.SchemaAttributes = nil
	config.EstimatedNumberOfUsers = 0
	policies := Policies{}
	if config.Policies != nil {
		policies = *config.Policies // setDefaults must not write into the caller's
	}
	config.Policies = &policies
	setDefaults(&config)

	p := newPool(config.Id)
	p.config = config
	p.mfa = MFAConfig{MfaConfiguration: config.MfaConfiguration}
	if seed.MFA != nil {
		p.mfa = *seed.MFA
	}
	for _, a := range seed.Pool.SchemaAttributes {
		if own := p.schema.find(a.Name); own != nil {
			*own = a
		} else {
			p.schema.put(a)
		}
	}
	if n := p.schema.custom(); n > maxCustomAttributes {
		return "", fmt.Errorf("seed pool %s: %d custom attributes, %d are possible", p.id, n, maxCustomAttributes)
	}
	for i := range seed.Users {
		if err := p.seedUser(&seed.Users[i], now); err != nil {
			return "", fmt.Errorf("seed pool %s: user %d: %w", p.id, i, err)
		}
	}
	if err := p.seedGroups(seed, now); err != nil {
		return "", fmt.Errorf("seed pool %s: %w", p.id, err)
	}
	for _, i := range seed.IdentityProviders {
		i.UserPoolId = p.id
		p.providers[i.ProviderName] = &i
	}
	for _, r := range seed.ResourceServers {
		r.UserPoolId = p.id
		p.servers[r.Identifier] = &r
	}
	for _, c := range seed.Clients {
		c.UserPoolId = p.id
		if c.ClientId == "" {
			c.ClientId = randomText(26, lowercase+digits)
		}
		setClientDefaults(&c)
		p.clients[c.ClientId] = &c
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pools[p.id] != nil {
		return "", fmt.Errorf("seed pool %s: it exists already", p.id)
	}
	s.pools[p.id] = p
	s.order.insert(p)
	for id := range p.clients {
		s.clients[id] = p
	}
	return p.id, nil
}

func (p *pool) seedUser(from *User, now Date) error {
	u := &user{
		username: from.Username,
		sub:      from.Attribute("sub"),
		status:   from.UserStatus,
		enabled:  from.Enabled,
		signIn:   from.SignIn,
		factors: factors{
			sms:       slices.Contains(from.MFA, "SMS_MFA") || len(from.MFAOptions) > 0,
			email:     slices.Contains(from.MFA, "EMAIL_OTP"),
			totp:      slices.Contains(from.MFA, "SOFTWARE_TOKEN_MFA"),
			preferred: from.PreferredMFA,
		},
	}
	created, modified := from.UserCreateDate, from.UserLastModifiedDate
	if created.IsZero() {
		created = now
	}
	if modified.IsZero() {
		modified = created
	}
	u.created, u.modified = created.UnixMilli(), modified.UnixMilli()
	if u.sub == "" && len(p.config.UsernameAttributes) > 0 {
		u.sub = u.username
	}
	if u.sub == "" {
		u.sub = newUUID()
	}
	if u.username == "" {
		u.username = u.sub
	}
	if u.status == "" {
		u.status = Confirmed
	}
	if from.Password != "" {
		u.password = newPassword(from.Password, now.Time)
	}
	attrs := make([]Attribute, 0, len(from.Attributes))
	for _, a := range from.Attributes {
		if a.Name == "sub" {
			continue
		}
		if p.schema.find(a.Name) == nil {
			return fmt.Errorf("attribute %s is not in the schema", a.Name)
		}
		attrs = append(attrs, a)
	}
	u.attrs = p.schema.pack(attrs)
	if u.signIn == "" {
		u.signIn = p.likelySignIn(u)
	}
	if p.users[p.fold(u.username)] != nil || p.bySub[u.sub] != nil {
		return errors.New("its username or sub occurs twice")
	}
	if err := p.insert(u, false); err != nil {
		return err
	}
	for _, i := range p.identities(u) {
		p.byLink[linkKey(i.ProviderName, i.UserID)] = u
	}
	return nil
}

// likelySignIn guesses what a user of a pool with username attributes signed up
// with: a verified address if there is one.
func (p *pool) likelySignIn(u *user) string {
	var any string
	for _, name := range p.config.UsernameAttributes {
		if p.schema.value(u.attrs, name) == "" {
			continue
		}
		if p.schema.value(u.attrs, verifiedOf(name)) == "true" {
			return name
		}
		if any == "" {
			any = name
		}
	}
	return any
}

func (p *pool) seedGroups(seed *Seed, now Date) error {
	for _, g := range seed.Groups {
		if p.groups[g.GroupName] != nil {
			return fmt.Errorf("group %q occurs twice", g.GroupName)
		}
		if g.CreationDate.IsZero() {
			g.CreationDate = now
		}
		if g.LastModifiedDate.IsZero() {
			g.LastModifiedDate = g.CreationDate
		}
		p.addGroup(newGroup(p, g))
	}
	for name, members := range seed.Members {
		g := p.groups[name]
		if g == nil {
			return fmt.Errorf("members of group %q, which does not exist", name)
		}
		for _, username := range members {
			u := p.users[p.fold(username)]
			if u == nil {
				return fmt.Errorf("group %q: a member does not exist", name)
			}
			if err := p.join(u, g); err != nil {
				return fmt.Errorf("group %q: %w", name, err)
			}
		}
	}
	return nil
}

// Snapshot is everything that a pool holds, users and groups in no particular
// order. It does not count as a call and knows no lag and no faults.
func (s *Service) Snapshot(poolID string) (*Seed, error) {
	p, err := s.pool(poolID)
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	mfa := p.mfa
	seed := &Seed{
		Pool: p.describe(), MFA: &mfa, Members: map[string][]string{},
		Users: make([]User, 0, len(p.users)), Groups: make([]Group, 0, len(p.groups)),
	}
	for u := range p.order.all() {
		if u.gone != 0 {
			continue
		}
		view := p.view(u)
		view.MFA, view.PreferredMFA, view.SignIn = u.factors.list(), u.factors.preferred, u.signIn
		seed.Users = append(seed.Users, view)
	}
	for g := range p.groupOrder.all() {
		seed.Groups = append(seed.Groups, g.Group)
		for u := range g.members.all() {
			seed.Members[g.GroupName] = append(seed.Members[g.GroupName], u.username)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.clients)) {
		seed.Clients = append(seed.Clients, *p.clients[name])
	}
	for _, name := range slices.Sorted(maps.Keys(p.providers)) {
		seed.IdentityProviders = append(seed.IdentityProviders, *p.providers[name])
	}
	for _, name := range slices.Sorted(maps.Keys(p.servers)) {
		seed.ResourceServers = append(seed.ResourceServers, *p.servers[name])
	}
	return seed, nil
}

// PoolIDs are the pools of the Region.
func (s *Service) PoolIDs() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.pools))
}

// ReadCLI reads a pool that the AWS CLI printed into a folder: the output of
// describe-user-pool, list-users and list-groups in files of those names with
// .json, and of list-users-in-group in list-users-in-group-<name>.json, the
// group's name percent-encoded. If present, get-user-pool-mfa-config.json,
// describe-user-pool-client-<id>.json, describe-identity-provider-<name>.json and
// list-resource-servers.json are read too.
func ReadCLI(dir string) (*Seed, error) {
	seed := &Seed{Members: map[string][]string{}}
	read := func(name string, v any) error {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		var rest struct{ NextToken, PaginationToken string }
		if json.Unmarshal(b, &rest) == nil && rest.NextToken+rest.PaginationToken != "" {
			return fmt.Errorf("%s ends with a token, so there is more than it holds: let the AWS CLI list without --max-items, --limit and --no-paginate", name)
		}
		return nil
	}
	optional := func(err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var pool struct{ UserPool UserPool }
	var users struct{ Users []User }
	var groups struct{ Groups []Group }
	var servers struct{ ResourceServers []ResourceServer }
	if err := errors.Join(
		read("describe-user-pool.json", &pool),
		read("list-users.json", &users),
		optional(read("list-groups.json", &groups)),
		optional(read("list-resource-servers.json", &servers)),
	); err != nil {
		return nil, fmt.Errorf("read pool from %s: %w", filepath.Base(dir), err)
	}
	if pool.UserPool.Id == "" {
		return nil, fmt.Errorf("read pool from %s: describe-user-pool.json names no user pool", filepath.Base(dir))
	}
	seed.Pool, seed.Users, seed.Groups, seed.ResourceServers = pool.UserPool, users.Users, groups.Groups, servers.ResourceServers

	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	members := map[string][]User{} // by group
	for _, entry := range entries {
		name, isJSON := strings.CutSuffix(entry.Name(), ".json")
		if !isJSON {
			continue
		}
		if err := seed.readCLIFile(name, func(v any) error { return read(entry.Name(), v) }, members); err != nil {
			return nil, fmt.Errorf("read pool from %s: %w", filepath.Base(dir), err)
		}
	}
	seed.addMembers(members)
	return seed, nil
}

// addMembers puts users into groups. The AWS CLI lists one thing after the
// other: users and groups that came meanwhile stand in the list of a group's
// users alone.
func (seed *Seed) addMembers(members map[string][]User) {
	users, groups := map[string]bool{}, map[string]bool{}
	for i := range seed.Users {
		users[seed.Users[i].Username] = true
	}
	for i := range seed.Groups {
		groups[seed.Groups[i].GroupName] = true
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !groups[name] {
			seed.Groups = append(seed.Groups, Group{GroupName: name})
		}
		for _, u := range members[name] {
			seed.Members[name] = append(seed.Members[name], u.Username)
			if !users[u.Username] {
				users[u.Username] = true
				seed.Users = append(seed.Users, u)
			}
		}
	}
}

// readCLIFile reads the files whose names say of what they are.
func (seed *Seed) readCLIFile(name string, read func(any) error, members map[string][]User) error {
	switch {
	case name == "get-user-pool-mfa-config":
		seed.MFA = &MFAConfig{}
		return read(seed.MFA)
	case strings.HasPrefix(name, "list-users-in-group-"):
		group, err := url.PathUnescape(strings.TrimPrefix(name, "list-users-in-group-"))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		var in struct{ Users []User }
		if err := read(&in); err != nil {
			return err
		}
		members[group] = in.Users
	case strings.HasPrefix(name, "describe-user-pool-client-"):
		var in clientOutput
		if err := read(&in); err != nil {
			return err
		}
		seed.Clients = append(seed.Clients, in.UserPoolClient)
	case strings.HasPrefix(name, "describe-identity-provider-"):
		var in struct{ IdentityProvider IdentityProvider }
		if err := read(&in); err != nil {
			return err
		}
		seed.IdentityProviders = append(seed.IdentityProviders, in.IdentityProvider)
	}
	return nil
}
