package e2e

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"cognito-backup/internal/restore"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

// accident is a pool in use from which users and a group vanished, while life
// went on.
type accident struct {
	lost    []cognito.User // by accident
	left    []cognito.User // deleted themselves
	changed []cognito.User
	fresh   []string // new usernames
	revoked map[string]string
	group   string // deleted by accident
}

// TestMissingOnlyAfterAnAccident restores what a pool in use has lost, with and
// without a choice of users, and touches nothing else.
func TestMissingOnlyAfterAnAccident(t *testing.T) {
	t.Parallel()
	source := seed.Pool(seed.Options{Users: 5000, Groups: 20, Seed: 11})
	b := exported(t, source)
	for name, test := range map[string]struct {
		chosen bool
		all    bool
	}{
		"everybody":       {},
		"chosen":          {chosen: true},
		"all memberships": {all: true},
	} {
		t.Run(name, func(t *testing.T) {
			pool, a := b.happen(t)
			before := b.snapshot(pool)
			more := map[string]any{"Mode": "MISSING_ONLY"}
			if test.chosen {
				var users []string
				for i, u := range a.lost {
					users = append(users, []string{u.Username, u.Attribute("sub")}[i%2])
				}
				more["Users"] = users
			}
			if test.all {
				more["Memberships"] = "ALL"
			}
			more["DryRun"] = true
			dry := b.restore(pool, more)
			unchanged(t, before, b.snapshot(pool))
			delete(more, "DryRun")
			r := b.restore(pool, more)
			for kind, pair := range map[string][2]restore.Counts{
				"users": {dry.report.Users, r.report.Users}, "groups": {dry.report.Groups, r.report.Groups}, "memberships": {dry.report.Memberships, r.report.Memberships},
			} {
				if pair[0] != pair[1] {
					t.Errorf("%s: the dry run promised %+v, the import did %+v", kind, pair[0], pair[1])
				}
			}
			a.check(t, b, before, r, test.chosen, test.all)

			again := b.restore(pool, more)
			if n := again.report.Users.Restored + again.report.Groups.Restored + again.report.Memberships.Restored; n != 0 {
				t.Errorf("a second import restored %d records again: %+v", n, again.report)
			}
			unchanged(t, r.after, again.after)
		})
	}
	b.silent()
}

// happen makes a copy of the source in the secondary Region, subs and all, and
// lets the accident happen to it.
func (b *importBed) happen(t *testing.T) (string, *accident) {
	t.Helper()
	a := &accident{revoked: map[string]string{}, group: b.source.Groups[1].GroupName}
	now := seed.Empty(b.source, "")
	now.Members = map[string][]string{}
	gone := map[string]bool{}
	for i, u := range b.source.Users {
		local := u.UserStatus != seed.External
		switch {
		case i%20 == 1 && local && len(a.lost) < 200: // vanish by accident
			a.lost = append(a.lost, u)
			gone[u.Username] = true
			continue
		case i%100 == 2 && local && len(a.left) < 30: // deleted themselves
			a.left = append(a.left, u)
			gone[u.Username] = true
			continue
		case i%40 == 3 && local && len(a.changed) < 100: // changed their name
			u.Attributes = slices.Clone(u.Attributes)
			for j := range u.Attributes {
				if u.Attributes[j].Name == "name" {
					u.Attributes[j].Value = fmt.Sprintf("Renamed %d", i)
				}
			}
			a.changed = append(a.changed, u)
		}
		now.Users = append(now.Users, u)
	}
	for i := range 50 { // new users
		name := fmt.Sprintf("newcomer%d", i)
		a.fresh = append(a.fresh, name)
		sub := fmt.Sprintf("99999999-0000-4000-8000-%012d", i)
		now.Users = append(now.Users, cognito.User{Username: name, Enabled: true, UserStatus: "CONFIRMED", Attributes: []cognito.Attribute{{Name: "sub", Value: sub}}})
	}
	for _, g := range b.source.Groups {
		if g.GroupName == a.group {
			continue
		}
		now.Groups = append(now.Groups, g)
		for _, member := range b.source.Members[g.GroupName] {
			if gone[member] {
				continue
			}
			if len(a.revoked) < 20 && a.revoked[member] == "" && g.GroupName == b.source.Groups[0].GroupName { // revoked on purpose
				a.revoked[member] = g.GroupName
				continue
			}
			now.Members[g.GroupName] = append(now.Members[g.GroupName], member)
		}
	}
	if len(a.lost) != 200 || len(a.left) != 30 || len(a.changed) != 100 || len(a.revoked) != 20 {
		t.Fatalf("%d lost, %d left, %d changed, %d memberships revoked", len(a.lost), len(a.left), len(a.changed), len(a.revoked))
	}
	id, err := b.Cognito(b.there).Seed(now)
	if err != nil {
		t.Fatal(err)
	}
	return id, a
}

// check holds the pool against what a MISSING_ONLY import may and must do.
func (a *accident) check(t *testing.T, b *importBed, before *cognito.Seed, r *restored, chosen, all bool) {
	t.Helper()
	want := map[string]*cognito.User{} // what must be there, by username
	for i := range before.Users {
		want[before.Users[i].Username] = &before.Users[i]
	}
	back := slices.Clone(a.lost)
	if !chosen {
		back = append(back, a.left...)
	}
	created := map[string]bool{}
	for i := range back {
		want[back[i].Username] = &back[i]
		created[back[i].Username] = true
	}
	have := map[string]*cognito.User{}
	for i := range r.after.Users {
		have[r.after.Users[i].Username] = &r.after.Users[i]
	}
	for name, w := range want {
		h := have[name]
		switch {
		case h == nil:
			t.Errorf("user %s is missing", name)
		case created[name] && h.Attribute("sub") == w.Attribute("sub"):
			t.Errorf("user %s was not created anew", name)
		case !created[name] && h.Attribute("sub") != w.Attribute("sub"):
			t.Errorf("user %s was replaced", name)
		case h.Enabled != w.Enabled:
			t.Errorf("user %s: enabled is %t, must be %t", name, h.Enabled, w.Enabled)
		case h.Attribute("name") != w.Attribute("name"):
			t.Errorf("user %s: the name is %q, must be %q", name, h.Attribute("name"), w.Attribute("name"))
		}
	}
	for name := range have {
		if want[name] == nil {
			t.Errorf("user %s must not be there", name)
		}
	}
	groups := map[string]map[string]bool{}
	for _, g := range b.source.Groups {
		members := map[string]bool{}
		for _, m := range before.Members[g.GroupName] {
			members[m] = true
		}
		for _, m := range b.source.Members[g.GroupName] {
			// Of those there before, the members of the group that came back, or with
			// ALL whoever lacks a membership; of those created, all.
			present := want[m] != nil
			if present && (created[m] || !chosen && g.GroupName == a.group || all) {
				members[m] = true
			}
		}
		groups[g.GroupName] = members
	}
	for name, members := range groups {
		have := map[string]bool{}
		for _, m := range r.after.Members[name] {
			have[m] = true
		}
		if !maps.Equal(members, have) {
			t.Errorf("group %s: %d members, must be %d; missing %q, too many %q", name, len(have), len(members), minus(members, have), minus(have, members))
		}
	}
	if want := int64(len(back)); r.report.Users.Restored != want {
		t.Errorf("the report says %d users were restored, not %d", r.report.Users.Restored, want)
	}
}

func minus(a, b map[string]bool) []string {
	var left []string
	for name := range a {
		if !b[name] {
			left = append(left, name)
		}
	}
	slices.Sort(left)
	return left
}

// TestSquatters is about people who took names and addresses before the
// import: they are given nothing. Who lost a name to them is in conflict; who
// shares no more than an address that the other has not verified comes back.
func TestSquatters(t *testing.T) {
	for name, test := range map[string]struct {
		kind     seed.Kind
		take     func(victim *cognito.User) (username, email string)
		confirm  bool // the squatter proves an address of their own
		conflict bool
		closed   bool // sign-up, once the squatter is in
	}{
		"the address that is the username":              {seed.EmailUsername, func(v *cognito.User) (string, string) { return v.Attribute("email"), v.Attribute("email") }, false, true, false},
		"the freed username":                            {seed.Plain, func(v *cognito.User) (string, string) { return v.Username, "mallory@example.org" }, false, true, false},
		"the freed username, with a verified address":   {seed.EmailAlias, func(v *cognito.User) (string, string) { return v.Username, "mallory@example.org" }, true, true, false},
		"the freed username, sign-up closed afterwards": {seed.Plain, func(v *cognito.User) (string, string) { return v.Username, "mallory@example.org" }, false, true, true},
		"the same address, unverified":                  {seed.EmailAlias, func(v *cognito.User) (string, string) { return "mallory", v.Attribute("email") }, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := exported(t, seed.Pool(seed.Options{Kind: test.kind, Users: 60, Groups: 5, Seed: 3}))
			i := slices.IndexFunc(b.source.Users, func(u cognito.User) bool {
				return u.UserStatus == "CONFIRMED" && u.Attribute("email_verified") == "true" && len(memberOf(b.source, u.Username)) > 0
			})
			victim := &b.source.Users[i]
			pool := b.target()
			api := b.cognito(b.there)
			client, err := api.CreateUserPoolClient(t.Context(), &idp.CreateUserPoolClientInput{UserPoolId: &pool, ClientName: aws.String("app")})
			if err != nil {
				t.Fatal(err)
			}
			username, email := test.take(victim)
			signedUp, err := api.SignUp(t.Context(), &idp.SignUpInput{
				ClientId: client.UserPoolClient.ClientId, Username: &username, Password: aws.String("Squatter-1-Squatter"),
				UserAttributes: []types.AttributeType{{Name: aws.String("email"), Value: &email}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if test.confirm {
				b.confirm(pool, username)
			}
			if test.closed {
				if _, err := api.AdminConfirmSignUp(t.Context(), &idp.AdminConfirmSignUpInput{UserPoolId: &pool, Username: &username}); err != nil {
					t.Fatal(err)
				}
				if _, err := api.UpdateUserPool(t.Context(), &idp.UpdateUserPoolInput{UserPoolId: &pool, AutoVerifiedAttributes: []types.VerifiedAttributeType{"email"},
					AdminCreateUserConfig: &types.AdminCreateUserConfigType{AllowAdminCreateUserOnly: true}}); err != nil {
					t.Fatal(err)
				}
			}
			b.mails.forget() // the confirmation code of the sign-up
			r := b.restore(pool, map[string]any{"Mode": "MISSING_ONLY", "Memberships": "ALL"})
			line := r.mapped(t, victim.Attribute("sub"))
			if (line[5] == "conflict") != test.conflict || line[2] == *signedUp.UserSub || r.report.Verified == test.conflict {
				t.Errorf("the victim's line is %q, verified is %t", line, r.report.Verified)
			}
			if p, ok := r.problem(restore.ReasonNameTaken); ok != test.conflict || ok && (p.Outcome != restore.Conflict ||
				!slices.Equal(p.Records, []string{"USER-" + victim.Attribute("sub") + ": " + *signedUp.UserSub})) {
				t.Errorf("problems %+v", r.report.Problems)
			}
			for i := range r.after.Users {
				if u := &r.after.Users[i]; u.Attribute("sub") == *signedUp.UserSub && memberOf(r.after, u.Username) != nil {
					t.Errorf("the squatter is a member of %q", memberOf(r.after, u.Username))
				}
			}
			if r.report.Strangers != 1 {
				t.Errorf("%d users of the target are nobody of the restore point", r.report.Strangers)
			}
			b.silent()
		})
	}
}

// confirm confirms a sign-up and its e-mail address.
func (b *importBed) confirm(pool, username string) {
	b.t.Helper()
	api := b.cognito(b.there)
	if _, err := api.AdminConfirmSignUp(b.t.Context(), &idp.AdminConfirmSignUpInput{UserPoolId: &pool, Username: &username}); err != nil {
		b.t.Fatal(err)
	}
	if _, err := api.AdminUpdateUserAttributes(b.t.Context(), &idp.AdminUpdateUserAttributesInput{UserPoolId: &pool, Username: &username,
		UserAttributes: []types.AttributeType{{Name: aws.String("email_verified"), Value: aws.String("true")}}}); err != nil {
		b.t.Fatal(err)
	}
}

func memberOf(s *cognito.Seed, username string) []string {
	var groups []string
	for group, members := range s.Members {
		if slices.Contains(members, username) {
			groups = append(groups, group)
		}
	}
	return groups
}
