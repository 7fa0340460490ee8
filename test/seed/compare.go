package seed

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cognito-backup/test/localaws/cognito"
)

// Part is how many records of a kind came back, of those that had to.
type Part struct{ Restored, Expected int }

func (p Part) String() string { return fmt.Sprintf("%d/%d", p.Restored, p.Expected) }

// Result of a comparison.
type Result struct {
	Users, Groups, Memberships Part
	// Deferred are federated users, who come back by signing in, and their memberships.
	DeferredUsers, DeferredMemberships int
	// EndStates counts restored users by "source status -> target status".
	EndStates map[string]int
	// Differences has one line for everything that is missing, wrong or too much.
	Differences []string

	pairs map[string]pair // by the sub in the source
}

// Verified says that everything came back as it was and nothing else is there.
func (r *Result) Verified() bool { return len(r.Differences) == 0 }

// Line is the last line of a demo.
func (r *Result) Line() string {
	return fmt.Sprintf("RESTORED users=%s groups=%s memberships=%s verified=%t", r.Users, r.Groups, r.Memberships, r.Verified())
}

func (r *Result) differ(format string, args ...any) {
	r.Differences = append(r.Differences, fmt.Sprintf(format, args...))
}

// Compare holds a restored pool against the one that was lost. Users are
// matched by username or, where e-mail address or phone number is the username,
// by those. Ignore names attributes that a restore is allowed to add.
func Compare(source, target *cognito.Seed, ignore ...string) Result {
	c := &comparison{
		source: source, target: target, ignore: ignore,
		matches: map[string]*cognito.User{},
		taken:   map[string]string{},
		result:  Result{EndStates: map[string]int{}, pairs: map[string]pair{}},
	}
	c.index()
	for i := range source.Users {
		c.user(&source.Users[i])
	}
	for i := range target.Users {
		if u := &target.Users[i]; c.taken[u.Username] == "" {
			c.result.differ("user %s: not in the source", u.Username)
		}
	}
	c.groups()
	c.memberships()
	return c.result
}

type comparison struct {
	source, target *cognito.Seed
	ignore         []string
	byName         map[string][]*cognito.User // users of the target by everything they may be found by
	matches        map[string]*cognito.User   // source username -> user of the target
	taken          map[string]string          // target username -> source username
	result         Result
}

// fold makes names comparable the way the pool compares them.
func (c *comparison) fold(name string) string {
	if u := c.source.Pool.UsernameConfiguration; u != nil && !u.CaseSensitive {
		return strings.ToLower(name)
	}
	return name
}

func (c *comparison) index() {
	c.byName = map[string][]*cognito.User{}
	for i := range c.target.Users {
		u := &c.target.Users[i]
		for _, name := range c.names(u) {
			c.byName[name] = append(c.byName[name], u)
		}
	}
}

// names are what a user can be found by, the best first.
func (c *comparison) names(u *cognito.User) []string {
	attributes := c.source.Pool.UsernameAttributes
	if len(attributes) == 0 || u.UserStatus == External {
		return []string{"username " + c.fold(u.Username)}
	}
	var verified, unverified []string
	for _, a := range []string{emailName, phoneName} {
		value := u.Attribute(a)
		if value == "" || !slices.Contains(attributes, a) {
			continue
		}
		if u.Attribute(a+verifiedSuffix) == "true" {
			verified = append(verified, a+" "+c.fold(value))
		} else {
			unverified = append(unverified, a+" "+c.fold(value))
		}
	}
	return append(verified, unverified...)
}

func (c *comparison) find(u *cognito.User) *cognito.User {
	for _, name := range c.names(u) {
		if found := c.byName[name]; len(found) == 1 {
			return found[0]
		}
	}
	return nil
}

func (c *comparison) user(u *cognito.User) {
	r := &c.result
	found := c.find(u)
	together := pair{username: u.Username, status: u.UserStatus}
	if found != nil {
		together.sub, together.newStatus = found.Attribute("sub"), found.UserStatus
	}
	r.pairs[u.Attribute("sub")] = together
	if u.UserStatus == External && found == nil {
		r.DeferredUsers++
		return
	}
	r.Users.Expected++
	if found == nil {
		r.differ("user %s: missing", u.Username)
		return
	}
	if other := c.taken[found.Username]; other != "" {
		r.differ("user %s: the target has only one user for this one and %s", u.Username, other)
		return
	}
	c.taken[found.Username] = u.Username
	c.matches[u.Username] = found
	before := len(r.Differences)
	c.attributes(u, found)
	if u.Enabled != found.Enabled {
		r.differ("user %s: enabled was %t, is %t", u.Username, u.Enabled, found.Enabled)
	}
	if was, is := links(u), links(found); !slices.Equal(was, is) {
		r.differ("user %s: linked identities were %q, are %q", u.Username, was, is)
	}
	if expected := c.endStates(u); !slices.Contains(expected, found.UserStatus) {
		r.differ("user %s: was %s, must end as %s, is %s", u.Username, u.UserStatus, strings.Join(expected, " or "), found.UserStatus)
	}
	r.EndStates[u.UserStatus+" -> "+found.UserStatus]++
	if len(r.Differences) == before {
		r.Users.Restored++
	}
}

// attributes compares everything a user is, the verified flags included, but
// for sub, which is new, and identities, which are compared as links.
func (c *comparison) attributes(u, found *cognito.User) {
	was, is := c.values(u), c.values(found)
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if was[name] != is[name] {
			c.result.differ("user %s: %s was %s, is %s", u.Username, name, shown(was[name]), shown(is[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if _, had := was[name]; !had {
			c.result.differ("user %s: %s was absent, is %s", u.Username, name, shown(is[name]))
		}
	}
}

func (c *comparison) values(u *cognito.User) map[string]string {
	values := map[string]string{}
	for _, a := range u.Attributes {
		switch {
		case a.Name == "sub", a.Name == "identities", slices.Contains(c.ignore, a.Name), a.Value == "":
		case strings.HasSuffix(a.Name, verifiedSuffix) && a.Value == "false":
			// An absent flag means the same.
		default:
			values[a.Name] = a.Value
		}
	}
	return values
}

// shown keeps long values readable.
func shown(value string) string {
	if value == "" {
		return "absent"
	}
	if len(value) > 60 {
		return fmt.Sprintf("%.60q... (%d bytes)", value, len(value))
	}
	return fmt.Sprintf("%q", value)
}

// links are the identities linked to a native user.
func links(u *cognito.User) []string {
	var identities []struct{ UserID, ProviderName string }
	if json.Unmarshal([]byte(cmp.Or(u.Attribute("identities"), "[]")), &identities) != nil {
		return []string{"unreadable"}
	}
	all := []string{}
	for _, i := range identities {
		all = append(all, i.ProviderName+" "+i.UserID)
	}
	slices.Sort(all)
	return all
}

// endStates are the states in which a user may be after a restore: without an
// export of passwords none can simply be CONFIRMED as before.
func (c *comparison) endStates(u *cognito.User) []string {
	verified := func(a string) bool { return u.Attribute(a) != "" && u.Attribute(a+verifiedSuffix) == "true" }
	switch {
	case u.UserStatus == External:
		return []string{External}
	case u.UserStatus == Unconfirmed, !verified(emailName) && !verified(phoneName):
		return []string{ForceChangePassword}
	case slices.ContainsFunc(c.source.Pool.AutoVerifiedAttributes, verified):
		return []string{ResetRequired, Confirmed} // by CSV, or by API where the job did not take them
	default:
		return []string{Confirmed} // no CSV job takes them
	}
}

func (c *comparison) groups() {
	r := &c.result
	in := map[string]*cognito.Group{}
	for i := range c.target.Groups {
		in[c.target.Groups[i].GroupName] = &c.target.Groups[i]
	}
	for _, g := range c.source.Groups {
		r.Groups.Expected++
		found := in[g.GroupName]
		if found == nil {
			r.differ("group %s: missing", g.GroupName)
			continue
		}
		delete(in, g.GroupName)
		same := true
		for _, field := range []struct{ name, was, is string }{
			{"description", g.Description, found.Description},
			{"role", g.RoleArn, found.RoleArn},
			{"precedence", precedence(g.Precedence), precedence(found.Precedence)},
		} {
			if field.was != field.is {
				same = false
				r.differ("group %s: %s was %s, is %s", g.GroupName, field.name, shown(field.was), shown(field.is))
			}
		}
		if same {
			r.Groups.Restored++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		r.differ("group %s: not in the source", name)
	}
}

func precedence(p *int) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(*p)
}

func (c *comparison) memberships() {
	r := &c.result
	type membership struct{ group, user string }
	there := map[membership]bool{}
	for group, members := range c.target.Members {
		for _, user := range members {
			there[membership{group, user}] = true
		}
	}
	federated := map[string]bool{}
	for i := range c.source.Users {
		u := &c.source.Users[i]
		federated[u.Username] = u.UserStatus == External
	}
	for _, group := range slices.Sorted(maps.Keys(c.source.Members)) {
		for _, user := range c.source.Members[group] {
			found := c.matches[user]
			if found == nil && federated[user] {
				r.DeferredMemberships++
				continue
			}
			r.Memberships.Expected++
			if found == nil || !there[membership{group, found.Username}] {
				r.differ("membership of %s in %s: missing", user, group)
				continue
			}
			delete(there, membership{group, found.Username})
			r.Memberships.Restored++
		}
	}
	for _, m := range slices.SortedFunc(maps.Keys(there), func(a, b membership) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.user, b.user))
	}) {
		r.differ("membership of %s in %s: not in the source", m.user, m.group)
	}
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
