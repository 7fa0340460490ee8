package cognito

import (
	"context"
	"slices"
	"time"

	"cognito-backup/test/localaws/wire"
)

const (
	maxGroups        = 10_000 // per pool
	maxGroupsPerUser = 100
)

// group is one group with its members.
type group struct {
	Group
	rank    uint64
	members ordered[*user]
}

func (g *group) cursor() cursor { return cursor{Rank: g.rank, Name: g.GroupName} }

func newGroup(p *pool, g Group) *group {
	g.UserPoolId = p.id
	return &group{
		Group:   g,
		rank:    rank(p.id + " " + g.GroupName),
		members: ordered[*user]{less: func(a, b *user) bool { return b.cursor().after(a.cursor()) }},
	}
}

func (p *pool) addGroup(g *group) {
	p.groups[g.GroupName] = g
	p.groupOrder.insert(g)
}

func (p *pool) group(name string) (*group, error) {
	g := p.groups[name]
	if g == nil {
		return nil, wire.Errorf("ResourceNotFoundException", "Group not found.")
	}
	return g, nil
}

type groupInput struct {
	GroupName   string
	Description *string
	RoleArn     *string
	Precedence  *int
}

// apply takes over the members that the request has.
func (in *groupInput) apply(g *Group) {
	if in.Description != nil {
		g.Description = *in.Description
	}
	if in.RoleArn != nil {
		g.RoleArn = *in.RoleArn
	}
	if in.Precedence != nil {
		precedence := *in.Precedence
		g.Precedence = &precedence
	}
}

type groupOutput struct{ Group Group }

func (s *Service) createGroup(_ context.Context, c *wire.Call) (any, error) {
	var in groupInput
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.groups[in.GroupName] != nil {
		return nil, wire.Errorf("GroupExistsException", "A group with the name already exists.")
	}
	if len(p.groups) >= maxGroups {
		return nil, wire.Errorf("LimitExceededException", "Group limit exceeded.")
	}
	now := Date{s.now()}
	g := Group{GroupName: in.GroupName, CreationDate: now, LastModifiedDate: now}
	in.apply(&g)
	added := newGroup(p, g)
	p.addGroup(added)
	return groupOutput{added.Group}, nil
}

// updateGroup changes what the request names; the rest stays.
func (s *Service) updateGroup(_ context.Context, c *wire.Call) (any, error) {
	var in groupInput
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	g, err := p.group(in.GroupName)
	if err != nil {
		return nil, err
	}
	in.apply(&g.Group)
	g.LastModifiedDate = Date{s.now()}
	return groupOutput{g.Group}, nil
}

func (s *Service) getGroup(_ context.Context, c *wire.Call) (any, error) {
	var in groupInput
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	g, err := p.group(in.GroupName)
	if err != nil {
		return nil, err
	}
	return groupOutput{g.Group}, nil
}

func (s *Service) deleteGroup(_ context.Context, c *wire.Call) (any, error) {
	var in groupInput
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	g, err := p.group(in.GroupName)
	if err != nil {
		return nil, err
	}
	for u := range g.members.all() {
		u.groups = slices.DeleteFunc(u.groups, func(o *group) bool { return o == g })
	}
	delete(p.groups, g.GroupName)
	p.groupOrder.remove(g)
	return empty{}, nil
}

type groupsOutput struct {
	Groups    []Group
	NextToken string `json:",omitempty"`
}

func (s *Service) listGroups(_ context.Context, c *wire.Call) (any, error) {
	var in struct {
		Limit     int
		NextToken string
	}
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	pg, err := s.openPage(c, in.NextToken, in.Limit, usualPage, []any{p.id, in.Limit})
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := groupsOutput{Groups: []Group{}}
	for g := range p.groupOrder.from(func(g *group) bool { return pg.reached(g.cursor()) }) {
		if !pg.add(g.cursor()) {
			break
		}
		out.Groups = append(out.Groups, g.Group)
	}
	out.NextToken = pg.next()
	return out, nil
}

// MemberPage is what ListUsersInGroup returns.
type MemberPage struct {
	Users     []User
	NextToken string `json:",omitempty"`
}

func (s *Service) listUsersInGroup(_ context.Context, c *wire.Call) (any, error) {
	var in struct {
		GroupName string
		Limit     int
		NextToken string
	}
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	pg, err := s.openPage(c, in.NextToken, in.Limit, usualPage, []any{p.id, in.GroupName, in.Limit})
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	g, err := p.group(in.GroupName)
	if err != nil {
		return nil, err
	}
	out := MemberPage{Users: []User{}}
	for u := range g.members.from(func(u *user) bool { return pg.reached(u.cursor()) }) {
		if !pg.add(u.cursor()) {
			break
		}
		out.Users = append(out.Users, p.view(u))
	}
	out.NextToken = pg.next()
	return out, nil
}

func (s *Service) adminListGroupsForUser(_ context.Context, c *wire.Call) (any, error) {
	var in struct {
		Username  string
		Limit     int
		NextToken string
	}
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	pg, err := s.openPage(c, in.NextToken, in.Limit, usualPage, []any{p.id, in.Username, in.Limit})
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	u, err := p.find(in.Username)
	if err != nil {
		return nil, err
	}
	list := slices.Clone(u.groups)
	slices.SortFunc(list, func(a, b *group) int {
		if b.cursor().after(a.cursor()) {
			return -1
		}
		return 1
	})
	out := groupsOutput{Groups: []Group{}}
	for _, g := range list {
		if !pg.reached(g.cursor()) {
			continue
		}
		if !pg.add(g.cursor()) {
			break
		}
		out.Groups = append(out.Groups, g.Group)
	}
	out.NextToken = pg.next()
	return out, nil
}

// join makes a user a member; it changes nothing when the user is one already.
// Memberships do not change the user's UserLastModifiedDate.
func (p *pool) join(u *user, g *group) error {
	if slices.Contains(u.groups, g) {
		return nil
	}
	if len(u.groups) >= maxGroupsPerUser {
		// Inference: the operation documents no LimitExceededException.
		return invalid("Exceeded the maximum number of groups per user (%d).", maxGroupsPerUser)
	}
	u.groups = append(u.groups, g)
	g.members.insert(u)
	return nil
}

func (s *Service) adminAddUserToGroup(_ context.Context, c *wire.Call) (any, error) {
	var in struct{ GroupName string }
	return s.onUser(c, &in, func(p *pool, u *user, _ time.Time) error {
		g, err := p.group(in.GroupName)
		if err != nil {
			return err
		}
		return p.join(u, g)
	})
}

func (s *Service) adminRemoveUserFromGroup(_ context.Context, c *wire.Call) (any, error) {
	var in struct{ GroupName string }
	return s.onUser(c, &in, func(p *pool, u *user, _ time.Time) error {
		g, err := p.group(in.GroupName)
		if err != nil {
			return err
		}
		g.members.remove(u)
		u.groups = slices.DeleteFunc(u.groups, func(o *group) bool { return o == g })
		return nil
	})
}
