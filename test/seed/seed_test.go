package seed

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cognito-backup/test/localaws/cognito"
)

func made(kind Kind) *cognito.Seed {
	return Pool(Options{Kind: kind, Users: 500, Groups: 105, Seed: 1})
}

func TestPoolIsDeterministic(t *testing.T) {
	text := func(seed uint64) string {
		b, err := json.Marshal(Pool(Options{Users: 300, Groups: 20, Seed: seed}))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if first, second := text(7), text(7); first != second {
		t.Error("the same options gave two pools")
	}
	if text(7) == text(8) {
		t.Error("the seed makes no difference")
	}
}

// namePattern is UsernameType and GroupNameType of the API model.
var namePattern = regexp.MustCompile(`^[\p{L}\p{M}\p{S}\p{N}\p{P}]+$`)

func TestEveryKindIsPossibleInCognito(t *testing.T) {
	for _, kind := range Kinds {
		t.Run(string(kind), func(t *testing.T) {
			s := made(kind)
			names, signIn := map[string]bool{}, map[string]bool{}
			for _, u := range s.Users {
				name := u.Username
				if kind == CaseInsensitive {
					name = strings.ToLower(name)
				}
				if names[name] {
					t.Errorf("two users are %s", name)
				}
				names[name] = true
				if n := len([]rune(u.Username)); !namePattern.MatchString(u.Username) || n > 128 {
					t.Errorf("username %q is not allowed", u.Username)
				}
				for _, a := range u.Attributes {
					if a.Value == "" || len([]rune(a.Value)) > 2048 {
						t.Errorf("%s of %s has %d characters", a.Name, u.Username, len([]rune(a.Value)))
					}
				}
				for _, a := range s.Pool.UsernameAttributes {
					value := u.Attribute(a)
					if value != "" && u.UserStatus != External {
						if signIn[value] {
							t.Errorf("two users sign in as %s", value)
						}
						signIn[value] = true
					}
				}
				if len(s.Pool.UsernameAttributes) > 0 && u.Attribute(emailName)+u.Attribute(phoneName) == "" {
					t.Errorf("user %s cannot sign in", u.Username)
				}
			}
			for _, g := range s.Groups {
				if !namePattern.MatchString(g.GroupName) || len([]rune(g.GroupName)) > 128 || len([]rune(g.Description)) > 2048 {
					t.Errorf("group %q is not allowed", g.GroupName)
				}
			}
			for user, n := range groupsOf(s) {
				if n > 100 {
					t.Errorf("user %s is in %d groups", user, n)
				}
			}
		})
	}
}

func groupsOf(s *cognito.Seed) map[string]int {
	n := map[string]int{}
	for _, members := range s.Members {
		for _, user := range members {
			n[user]++
		}
	}
	return n
}

// The demo promises this variety; a change of the generator must not lose it.
func TestVariety(t *testing.T) {
	s := made(Plain)
	has := map[string]int{}
	for _, u := range s.Users {
		has[u.UserStatus]++
		has[fmt.Sprintf("enabled %t", u.Enabled)]++
		for _, a := range []string{emailName, phoneName} {
			state := "absent"
			if u.Attribute(a) != "" {
				state = u.Attribute(a + verifiedSuffix)
			}
			has[a+" "+state]++
		}
		for _, a := range u.Attributes {
			has[a.Name]++
			if len(a.Value) == longest {
				has["2,048 bytes"]++
			}
			for _, part := range []string{",", `"`, "\n", "\r\n", "🎉", "漢", "東京", `\,`} {
				if strings.Contains(a.Value, part) {
					has["value with "+part]++
				}
			}
		}
		if u.Attribute("identities") != "" && u.UserStatus != External {
			has["linked"]++
		}
	}
	counts := groupsOf(s)
	for _, u := range s.Users {
		has[fmt.Sprintf("in %d groups", counts[u.Username])]++
	}
	for _, g := range s.Groups {
		for _, part := range []string{"#", "@", "/", ",", "🚀", "読者"} {
			if strings.Contains(g.GroupName, part) {
				has["group with "+part]++
			}
		}
		if g.Description == "" {
			has["group without description"]++
		}
		if g.RoleArn != "" {
			has["group with role"]++
		}
		switch {
		case g.Precedence == nil:
			has["group without precedence"]++
		case *g.Precedence == 0:
			has["group with precedence 0"]++
		}
	}
	for _, what := range []string{
		Confirmed, Unconfirmed, ForceChangePassword, ResetRequired, External, "enabled true", "enabled false", "linked",
		"email true", "email false", "email absent", "phone_number true", "phone_number false", "phone_number absent",
		"birthdate", "custom:plan", "custom:signup_source", "2,048 bytes",
		"value with ,", `value with "`, "value with \n", "value with \r\n", "value with 🎉", "value with 漢", "value with 東京", `value with \,`,
		"in 0 groups", "in 1 groups", "in 100 groups",
		"group with #", "group with @", "group with /", "group with ,", "group with 🚀", "group with 読者",
		"group without description", "group with role", "group without precedence", "group with precedence 0",
	} {
		if has[what] == 0 {
			t.Errorf("nobody and nothing: %s", what)
		}
	}
	memberships := 0
	for _, n := range counts {
		memberships += n
	}
	// Cognito takes 25 of them a second, and the demo is to end in a minute.
	if memberships > 450 || memberships < 250 {
		t.Errorf("%d memberships", memberships)
	}
	t.Logf("%d memberships; %v", memberships, has)
}

// restored is the pool as a perfect restore leaves it.
func restored(s *cognito.Seed) *cognito.Seed {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	after := new(cognito.Seed)
	if err := json.Unmarshal(b, after); err != nil {
		panic(err)
	}
	federated := map[string]bool{}
	after.Users = slices.DeleteFunc(after.Users, func(u cognito.User) bool {
		federated[u.Username] = u.UserStatus == External
		return u.UserStatus == External
	})
	for group, members := range after.Members {
		after.Members[group] = slices.DeleteFunc(members, func(u string) bool { return federated[u] })
	}
	states := comparison{source: s}
	for i := range after.Users {
		u := &after.Users[i]
		u.UserStatus = states.endStates(u)[0]
		u.Attributes = slices.DeleteFunc(u.Attributes, func(a cognito.Attribute) bool { return a.Name == "sub" })
		u.Attributes = append(u.Attributes, cognito.Attribute{Name: "sub", Value: fmt.Sprint("new-", i)})
		if len(s.Pool.UsernameAttributes) > 0 {
			old := u.Username
			u.Username = fmt.Sprint("new-", i)
			for _, members := range after.Members {
				if j := slices.Index(members, old); j >= 0 {
					members[j] = u.Username
				}
			}
		}
	}
	return after
}

func TestCompareAcceptsARestore(t *testing.T) {
	for _, kind := range Kinds {
		s := made(kind)
		r := Compare(s, restored(s))
		if !r.Verified() || r.Users.Restored != r.Users.Expected || r.Users.Expected+r.DeferredUsers != 500 ||
			r.DeferredUsers == 0 || r.Groups.Restored != 105 || r.Memberships.Restored == 0 {
			t.Errorf("%s: %s, deferred %d: %q", kind, r.Line(), r.DeferredUsers, r.Differences)
		}
	}
}

func TestCompareFindsEveryDifference(t *testing.T) {
	set := func(u *cognito.User, name, value string) {
		for i := range u.Attributes {
			if u.Attributes[i].Name == name {
				u.Attributes[i].Value = value
				return
			}
		}
		u.Attributes = append(u.Attributes, cognito.Attribute{Name: name, Value: value})
	}
	linked := func(s *cognito.Seed) *cognito.User {
		i := slices.IndexFunc(s.Users, func(u cognito.User) bool { return u.Attribute("identities") != "" })
		return &s.Users[i]
	}
	changes := map[string]func(*cognito.Seed){
		"an attribute":           func(s *cognito.Seed) { set(&s.Users[0], "locale", "xx") },
		"an attribute too much":  func(s *cognito.Seed) { set(&s.Users[0], "middle_name", "Q") },
		"a verified flag":        func(s *cognito.Seed) { set(&s.Users[0], "email_verified", "false") },
		"a birthdate":            func(s *cognito.Seed) { set(&s.Users[0], "birthdate", "2001-01-01") },
		"a disabled user":        func(s *cognito.Seed) { s.Users[1].Enabled = !s.Users[1].Enabled },
		"a status":               func(s *cognito.Seed) { s.Users[2].UserStatus = Unconfirmed },
		"a user gone":            func(s *cognito.Seed) { s.Users = s.Users[1:] },
		"a user too much":        func(s *cognito.Seed) { s.Users = append(s.Users, cognito.User{Username: "new"}) },
		"a link":                 func(s *cognito.Seed) { set(linked(s), "identities", "[]") },
		"a group gone":           func(s *cognito.Seed) { s.Groups = s.Groups[1:] },
		"a group too much":       func(s *cognito.Seed) { s.Groups = append(s.Groups, cognito.Group{GroupName: "new"}) },
		"a description":          func(s *cognito.Seed) { s.Groups[0].Description = "" },
		"a precedence":           func(s *cognito.Seed) { s.Groups[0].Precedence = nil },
		"a role":                 func(s *cognito.Seed) { s.Groups[0].RoleArn = "" },
		"a membership gone":      func(s *cognito.Seed) { s.Members["Admins"] = s.Members["Admins"][1:] },
		"a membership too much":  func(s *cognito.Seed) { s.Members["team-104"] = append(s.Members["team-104"], s.Users[0].Username) },
		"a federated user's one": func(s *cognito.Seed) { s.Members["Admins"][0] = "somebody" },
	}
	for _, kind := range []Kind{Plain, EmailUsername} {
		s := made(kind)
		for name, change := range changes {
			after := restored(s)
			change(after)
			r := Compare(s, after)
			if r.Verified() || !strings.HasSuffix(r.Line(), "verified=false") {
				t.Errorf("%s, %s: not found", kind, name)
			}
		}
	}
}

// mapping is mapping.csv as a perfect restore writes it.
func mapping(r *Result) [][]string {
	lines := [][]string{mappingHeader}
	for _, old := range slices.Sorted(maps.Keys(r.pairs)) {
		p := r.pairs[old]
		lines = append(lines, []string{p.username, old, p.sub, p.status, p.newStatus, "restored"})
	}
	return lines
}

func TestAccount(t *testing.T) {
	for _, kind := range []Kind{Plain, EmailUsername} {
		s := made(kind)
		after := restored(s)
		r := Compare(s, after)
		users := Counts{500, int64(r.Users.Restored), int64(r.DeferredUsers)}
		groups := Counts{105, 105, 0}
		memberships := Counts{int64(r.Memberships.Expected + r.DeferredMemberships), int64(r.Memberships.Restored), int64(r.DeferredMemberships)}
		if problems := r.Account(users, groups, memberships); len(problems) > 0 {
			t.Errorf("%s: %q", kind, problems)
		}
		for name, wrong := range map[string][3]Counts{
			"one less in all":   {{499, users.There, users.Deferred}, groups, memberships},
			"one said to fail":  {{500, users.There - 1, users.Deferred}, groups, memberships},
			"nobody deferred":   {{500, users.There + users.Deferred, 0}, groups, memberships},
			"a group not there": {users, {105, 104, 0}, memberships},
			"a membership":      {users, groups, {memberships.Total, memberships.There - 1, memberships.Deferred}},
		} {
			if problems := r.Account(wrong[0], wrong[1], wrong[2]); len(problems) != 1 {
				t.Errorf("%s, %s: %q", kind, name, problems)
			}
		}

		good := mapping(&r)
		if problems := r.Mapping(good); len(problems) > 0 || len(good) != 501 {
			t.Errorf("%s: %d lines, %q", kind, len(good), problems)
		}
		of := func(name string) int {
			return slices.IndexFunc(good, func(line []string) bool { return line[0] == name })
		}
		a, b := of(s.Users[0].Username), of(s.Users[1].Username)
		for name, test := range map[string]struct {
			change   func([][]string) [][]string
			problems int
		}{
			"nothing":               {func([][]string) [][]string { return nil }, 1},
			"a line missing":        {func(l [][]string) [][]string { return slices.Delete(l, a, a+1) }, 1},
			"a line twice":          {func(l [][]string) [][]string { return append(l, l[a]) }, 1},
			"old subs swapped":      {func(l [][]string) [][]string { l[a][1], l[b][1] = l[b][1], l[a][1]; return l }, 4},
			"new subs swapped":      {func(l [][]string) [][]string { l[a][2], l[b][2] = l[b][2], l[a][2]; return l }, 2},
			"the old sub unchanged": {func(l [][]string) [][]string { l[a][2] = l[a][1]; return l }, 1},
			"a stranger":            {func(l [][]string) [][]string { l[a][1] = "somebody"; return l }, 2},
			"another state":         {func(l [][]string) [][]string { l[a][4] = Unconfirmed; return l }, 1},
		} {
			if problems := r.Mapping(test.change(mapping(&r))); len(problems) != test.problems {
				t.Errorf("%s, %s: %q", kind, name, problems)
			}
		}
	}
}

func TestCompareIgnores(t *testing.T) {
	s := made(Plain)
	after := restored(s)
	for i := range after.Users {
		after.Users[i].Attributes = append(after.Users[i].Attributes, cognito.Attribute{Name: "custom:old_sub", Value: "x"})
	}
	if r := Compare(s, after, "custom:old_sub"); !r.Verified() {
		t.Errorf("%q", r.Differences[:1])
	}
}

func TestEmpty(t *testing.T) {
	s := made(MFARequired)
	e := Empty(s, "us-west-2_Example02")
	if e.Pool.Id != "us-west-2_Example02" || len(e.Users)+len(e.Groups)+len(e.Members) > 0 || e.Pool.MfaConfiguration != "ON" {
		t.Errorf("%+v", e.Pool)
	}
	if s.Pool.Id != defaultPool || s.Clients[0].UserPoolId != defaultPool {
		t.Error("the source changed")
	}
}

// The testbed's Cognito takes every kind, and gives back what was seeded.
func TestSeedsTheTestbed(t *testing.T) {
	for _, kind := range Kinds {
		service := cognito.New("us-east-1", nil)
		defer service.Close()
		s := made(kind)
		id, err := service.Seed(s)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		back, err := service.Snapshot(id)
		if err != nil {
			t.Fatal(err)
		}
		if len(back.Users) != len(s.Users) || len(back.Groups) != len(s.Groups) {
			t.Errorf("%s: %d users and %d groups came back", kind, len(back.Users), len(back.Groups))
		}
		for _, d := range Compare(s, back).Differences {
			if !strings.Contains(d, "must end as") {
				t.Errorf("%s: %s", kind, d)
			}
		}
	}
}
