package cognito

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/test/localaws/wire"
)

func TestReadCLI(t *testing.T) {
	seed, err := ReadCLI("testdata/cli-pool")
	if err != nil {
		t.Fatal(err)
	}
	if len(seed.Users) != 150 || len(seed.Groups) != 5 || len(seed.Members["読者"]) == 0 {
		t.Fatalf("%d users, %d groups, members of %v", len(seed.Users), len(seed.Groups), slices.Collect(maps.Keys(seed.Members)))
	}
	if _, err := New("ap-northeast-1", nil).Seed(seed); err == nil {
		t.Error("a pool of another Region was accepted")
	}
	b := newBench(t)
	b.Service = New("us-east-1", nil)
	b.Settings().NoQuotas()
	id, err := b.Seed(seed)
	if err != nil {
		t.Fatal(err)
	}
	if id != seed.Pool.Id {
		t.Errorf("pool id %s", id)
	}
	if _, err := b.Seed(seed); err == nil {
		t.Error("the pool was created twice")
	}
	pool := b.call("DescribeUserPool", in{"UserPoolId": id})["UserPool"].(map[string]any)
	if n := len(pool["SchemaAttributes"].([]any)); n != 24 || pool["EstimatedNumberOfUsers"] != 150.0 {
		t.Errorf("%d attributes in the schema, %v users", n, pool["EstimatedNumberOfUsers"])
	}
	if n := distinct(usernames(b.listUsers(id, in{"Limit": 60}))); n != 150 {
		t.Errorf("%d users listed", n)
	}
	first := seed.Users[0]
	u := b.get(id, first.Attribute("email"))
	if u["Username"] != first.Username || u["UserStatus"] != ForceChangePassword || u["Enabled"] != false || u["UserCreateDate"] != 1795336027.344 {
		t.Errorf("seeded %v", u)
	}
	again, err := b.Snapshot(id)
	if err != nil {
		t.Fatal(err)
	}
	compareSeeds(t, seed, again)
}

// TestReadCLIOfAPoolInUse: the lists were made one after the other, and one was
// cut off.
func TestReadCLIOfAPoolInUse(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"describe-user-pool.json":          `{"UserPool": {"Id": "us-east-1_Example01", "Name": "example"}}`,
		"list-users.json":                  `{"Users": [{"Username": "early", "Enabled": true, "UserStatus": "CONFIRMED"}]}`,
		"list-groups.json":                 `{"Groups": [{"GroupName": "a"}]}`,
		"list-users-in-group-a.json":       `{"Users": [{"Username": "early"}, {"Username": "late", "Enabled": true, "UserStatus": "CONFIRMED"}]}`,
		"list-users-in-group-late%2F.json": `{"Users": [{"Username": "late"}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	seed, err := ReadCLI(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(seed.Users) != 2 || len(seed.Groups) != 2 || len(seed.Members["a"]) != 2 || len(seed.Members["late/"]) != 1 {
		t.Errorf("read %+v", seed)
	}
	if _, err := New("us-east-1", nil).Seed(seed); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "list-users.json"), []byte(`{"Users": [], "NextToken": "eyJ"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCLI(dir); err == nil || !strings.Contains(err.Error(), "list-users.json ends with a token") {
		t.Errorf("a list that was cut off was read with %v", err)
	}
}

// compareSeeds tells apart what two seeds hold, whatever its order.
func compareSeeds(t *testing.T, a, b *Seed) {
	t.Helper()
	text := func(s *Seed) []string {
		var lines []string
		for _, u := range s.Users {
			var list []string
			for _, a := range u.Attributes {
				list = append(list, a.Name+"="+a.Value)
			}
			slices.Sort(list)
			lines = append(lines, fmt.Sprint("user ", u.Username, u.UserStatus, u.Enabled, u.UserCreateDate.UnixMilli(), u.UserLastModifiedDate.UnixMilli(), u.MFA, u.PreferredMFA, list))
		}
		for _, g := range s.Groups {
			precedence := -1
			if g.Precedence != nil {
				precedence = *g.Precedence
			}
			lines = append(lines, fmt.Sprint("group ", g.GroupName, g.Description, g.RoleArn, precedence, g.CreationDate.UnixMilli()))
		}
		for g, members := range s.Members {
			for _, m := range members {
				lines = append(lines, "member "+g+" "+m)
			}
		}
		slices.Sort(lines)
		return lines
	}
	x, y := text(a), text(b)
	if !slices.Equal(x, y) {
		for i := range min(len(x), len(y)) {
			if x[i] != y[i] {
				t.Errorf("seeds differ:\n%s\n%s", x[i], y[i])
				return
			}
		}
		t.Errorf("seeds have %d and %d lines", len(x), len(y))
	}
}

func TestSeedWhatTheAPICannotMake(t *testing.T) {
	b := newBench(t)
	at := Date{time.Date(2020, 2, 3, 4, 5, 6, 7e6, time.UTC)}
	zero := 0
	seed := &Seed{
		Pool: UserPool{Id: region + "_fixed1", Name: "p", AliasAttributes: []string{"email"}, SchemaAttributes: []SchemaAttribute{{Name: "custom:a", AttributeDataType: "String"}}},
		Users: []User{
			{Username: "google_1", UserStatus: ExternalProvider, Enabled: true, UserCreateDate: at, UserLastModifiedDate: at, Attributes: []Attribute{
				{"sub", "sub-1"}, {"email", "same@example.com"}, {"email_verified", "true"},
				{"identities", `[{"userId":"1","providerName":"Google","providerType":"Google","issuer":null,"primary":true,"dateCreated":1580702706007}]`}}},
			{Username: "local", UserStatus: Unconfirmed, UserCreateDate: at, UserLastModifiedDate: at, MFA: []string{"SMS_MFA", "SOFTWARE_TOKEN_MFA"}, PreferredMFA: "SOFTWARE_TOKEN_MFA", Attributes: []Attribute{
				{"sub", "sub-2"}, {"email", "same@example.com"}, {"email_verified", "true"}, {"custom:a", strings.Repeat("ä\n\"", 682)}}},
		},
		Groups:            []Group{{GroupName: "g", Precedence: &zero, CreationDate: at, LastModifiedDate: at}},
		Members:           map[string][]string{"g": {"google_1", "local"}},
		IdentityProviders: []IdentityProvider{{ProviderName: "Google", ProviderType: "Google"}},
	}
	id, err := b.Seed(seed)
	if err != nil || id != region+"_fixed1" {
		t.Fatal(id, err)
	}
	if got := b.get(id, "same@example.com")["Username"]; got != "local" {
		t.Errorf("the alias names %v", got)
	}
	again, err := b.Snapshot(id)
	if err != nil {
		t.Fatal(err)
	}
	compareSeeds(t, seed, again)
	b.refused("InvalidParameterException", "already linked", "AdminLinkProviderForUser", in{"UserPoolId": id,
		"DestinationUser": in{"ProviderName": "Google", "ProviderAttributeValue": "1"},
		"SourceUser":      in{"ProviderName": "Google", "ProviderAttributeName": "Cognito_Subject", "ProviderAttributeValue": "1"}})
}

func TestSeedRefuses(t *testing.T) {
	user := func(name string, a ...Attribute) User { return User{Username: name, Attributes: a} }
	for want, seed := range map[string]*Seed{
		"Region":          {Pool: UserPool{Id: "eu-west-1_a"}},
		"occurs twice":    {Users: []User{user("a"), user("a")}},
		"schema":          {Users: []User{user("a", Attribute{"custom:x", "1"})}},
		"group \"x\"":     {Members: map[string][]string{"x": nil}},
		"member":          {Groups: []Group{{GroupName: "g"}}, Members: map[string][]string{"g": {"nobody"}}},
		"email":           {Pool: UserPool{UsernameAttributes: []string{"email"}}, Users: []User{user("", Attribute{"email", "a@b.c"}), user("", Attribute{"email", "a@b.c"})}},
		`group "g" occur`: {Groups: []Group{{GroupName: "g"}, {GroupName: "g"}}},
	} {
		if _, err := New(region, nil).Seed(seed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func TestDates(t *testing.T) {
	for text, want := range map[string]string{
		"1795336027.344":                     "1795336027.344",
		"1795336027":                         "1795336027.000",
		`"2026-11-22T09:07:07.344000+00:00"`: "1795338427.344",
		`"2026-11-22T18:07:07.344Z"`:         "1795370827.344",
	} {
		var d Date
		if err := d.UnmarshalJSON([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got, _ := d.MarshalJSON(); string(got) != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for i := range int64(1000) {
		d := dateOf(1795336027000 + i)
		text, _ := d.MarshalJSON()
		var back Date
		if err := back.UnmarshalJSON(text); err != nil || !back.Equal(d.Time) {
			t.Fatalf("%s came back as %v", text, back)
		}
	}
}

// A large pool is listed page by page without looking at the rest of it.
func TestLargePool(t *testing.T) {
	const users = 30_000
	s := New(region, &wire.Clock{})
	s.Settings().NoQuotas()
	seed := &Seed{Groups: []Group{{GroupName: "all"}}, Members: map[string][]string{}}
	for i := range users {
		name := fmt.Sprint("u", i)
		seed.Users = append(seed.Users, User{Username: name, Enabled: true, UserStatus: Confirmed, Attributes: []Attribute{{"email", name + "@example.com"}}})
		seed.Members["all"] = append(seed.Members["all"], name)
	}
	id, err := s.Seed(seed)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, Service: s}
	began := time.Now()
	b.call("ListUsers", in{"UserPoolId": id, "Filter": `sub ^= "0"`}) // builds the index
	if n := distinct(usernames(b.listUsers(id, in{"Limit": 60, "Filter": `sub ^= "00"`}))); n < users/512 || n > users/128 {
		t.Errorf("%d users with a prefix of two digits", n)
	}
	first := b.listUsers(id, in{"Limit": 60, "Filter": `email = "u4711@example.com"`})
	if got := usernames(first); !slices.Equal(got, []string{"u4711"}) {
		t.Errorf("found %v", got)
	}
	if n := distinct(usernames(b.chain("ListUsersInGroup", "Users", "NextToken", "NextToken", in{"UserPoolId": id, "GroupName": "all", "Limit": 60}))); n != users {
		t.Errorf("%d members", n)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}

func BenchmarkListUsers(b *testing.B) {
	s := New(region, &wire.Clock{})
	s.Settings().NoQuotas()
	seed := &Seed{}
	for i := range 1_000_000 {
		name := fmt.Sprint("u", i)
		seed.Users = append(seed.Users, User{Username: name, Enabled: true, UserStatus: Confirmed, Attributes: []Attribute{
			{"email", name + "@example.com"}, {"email_verified", "true"}, {"given_name", "Anna"}, {"family_name", "Example"}}})
	}
	id, err := s.Seed(seed)
	if err != nil {
		b.Fatal(err)
	}
	input := fmt.Appendf(nil, `{"UserPoolId":%q,"Limit":60}`, id)
	for b.Loop() {
		if _, err := s.Handle(b.Context(), &wire.Call{Operation: "ListUsers", Input: input}); err != nil {
			b.Fatal(err)
		}
	}
}
