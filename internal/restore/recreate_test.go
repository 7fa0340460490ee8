package restore

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode"

	"cognito-backup/internal/pool"
)

// schema is a pool's attributes for tests: the standard ones and three of its own.
func testSchema() map[string]Attribute {
	s := map[string]Attribute{}
	for _, name := range []string{"sub", "name", "email", "phone_number", "birthdate", "preferred_username", "locale"} {
		s[name] = Attribute{Type: "String", Mutable: true}
	}
	s["email_verified"] = Attribute{Type: "Boolean", Mutable: true}
	s["phone_number_verified"] = Attribute{Type: "Boolean", Mutable: true}
	s["updated_at"] = Attribute{Type: "Number", Mutable: true}
	s["custom:plan"] = Attribute{Type: "String", Mutable: true}
	s["custom:old_sub"] = Attribute{Type: "String"}
	return s
}

func testRules(change ...func(*Rules)) *Rules {
	r := &Rules{
		Target: Settings{ID: "us-west-2_T", CaseSensitive: true, AutoVerified: []string{"email"}, Schema: testSchema()},
		Header: []string{"name", "email", "email_verified", "phone_number", "phone_number_verified", "birthdate", "preferred_username", "locale",
			"updated_at", "custom:plan", "custom:old_sub", "cognito:mfa_enabled", "cognito:username"},
	}
	for _, c := range change {
		c(r)
	}
	return r
}

const testSub = "5f5127f6-f1c9-450f-b2ab-745f17a9f952"

// user makes a user of name=value pairs.
func user(status, username string, pairs ...string) pool.User {
	u := pool.User{Sub: testSub, Username: username, Status: status, Enabled: true, Attributes: map[string]string{"sub": testSub}}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		u.Attributes[name] = value
	}
	return u
}

var (
	byEmail        = func(r *Rules) { r.Target.UsernameAttributes = []string{"email"} }
	byEmailOrPhone = func(r *Rules) { r.Target.UsernameAttributes = []string{"phone_number", "email"} }
	noCSV          = func(r *Rules) { r.Header, r.Target.AutoVerified = nil, nil }
)

func TestRecreate(t *testing.T) {
	verified := []string{"email=a@b.c", "email_verified=true"}
	tests := map[string]struct {
		rules     *Rules
		user      pool.User
		path      Path
		username  string
		permanent bool
		reason    string
	}{
		"confirmed, verified":      {testRules(), user(pool.Confirmed, "al", verified...), PathCSV, "al", true, ""},
		"reset required, verified": {testRules(), user(pool.ResetRequired, "al", verified...), PathCSV, "al", true, ""},
		"invited, verified":        {testRules(), user(pool.ForceChangePassword, "al", verified...), PathCSV, "al", true, ""},
		"unconfirmed, verified":    {testRules(), user(pool.Unconfirmed, "al", verified...), PathAPI, "al", false, ReasonUnconfirmed},
		"nothing verified":         {testRules(), user(pool.Confirmed, "al", "email=a@b.c", "email_verified=false"), PathAPI, "al", false, ReasonNoVerifiedAddress},
		"verified without address": {testRules(), user(pool.Confirmed, "al", "email_verified=true"), PathAPI, "al", false, ReasonNoVerifiedAddress},
		"phone verified, e-mail auto-verified": {testRules(), user(pool.Confirmed, "al", "phone_number=+81312345678", "phone_number_verified=true"),
			PathAPI, "al", true, ReasonNoAutoVerified},
		"no CSV possible": {testRules(noCSV), user(pool.Confirmed, "al", verified...), PathAPI, "al", true, ReasonNoCSV},
		"federated":       {testRules(), user(pool.ExternalProvider, "Google_1", verified...), PathDeferred, "Google_1", false, ReasonFederated},

		"e-mail is the username":         {testRules(byEmail), user(pool.Confirmed, testSub, verified...), PathCSV, "a@b.c", true, ""},
		"unverified e-mail is the only":  {testRules(byEmail), user(pool.Confirmed, testSub, "email=a@b.c"), PathAPI, "a@b.c", false, ReasonNoVerifiedAddress},
		"no e-mail where it is the name": {testRules(byEmail), user(pool.Confirmed, testSub, "phone_number=+81312345678", "phone_number_verified=true"), PathNone, "", false, ReasonNoSignInName},
		"verified phone before unverified e-mail": {testRules(byEmailOrPhone),
			user(pool.Confirmed, testSub, "email=a@b.c", "phone_number=+81312345678", "phone_number_verified=true"), PathAPI, "+81312345678", true, ReasonNoAutoVerified},
		"e-mail before phone": {testRules(byEmailOrPhone),
			user(pool.Confirmed, testSub, append(verified, "phone_number=+81312345678", "phone_number_verified=true")...), PathCSV, "a@b.c", true, ""},
		"unverified e-mail before unverified phone": {testRules(byEmailOrPhone),
			user(pool.Confirmed, testSub, "email=a@b.c", "phone_number=+81312345678"), PathAPI, "a@b.c", false, ReasonNoVerifiedAddress},

		"line break":       {testRules(), user(pool.Confirmed, "al", append(verified, "name=a\nb")...), PathAPI, "al", true, ReasonNotCSV},
		"quotation mark":   {testRules(), user(pool.Confirmed, "al", append(verified, `name=a"b`)...), PathAPI, "al", true, ReasonNotCSV},
		"backslash":        {testRules(), user(pool.Confirmed, `a\l`, verified...), PathAPI, `a\l`, true, ReasonNotCSV},
		"space at the end": {testRules(), user(pool.Confirmed, "al", append(verified, "name=a ")...), PathAPI, "al", true, ReasonNotCSV},
		"not a birthdate":  {testRules(), user(pool.Confirmed, "al", append(verified, "birthdate=0000-05-01")...), PathAPI, "al", true, ReasonNotCSV},
		"row too long":     {testRules(), user(pool.Confirmed, "al", append(verified, "name="+strings.Repeat("x", maxRow))...), PathAPI, "al", true, ReasonNotCSV},
		"required value missing": {testRules(func(r *Rules) { r.Target.Schema["locale"] = Attribute{Type: "String", Required: true} }),
			user(pool.Confirmed, "al", verified...), PathAPI, "al", true, ReasonNotCSV},
		"no column for a value": {testRules(func(r *Rules) {
			r.Header = slices.DeleteFunc(r.Header, func(c string) bool { return c == "custom:plan" })
		}),
			user(pool.Confirmed, "al", append(verified, "custom:plan=pro")...), PathAPI, "al", true, ReasonNotCSV},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n := test.rules.Recreate(&test.user)
			if n.Path != test.path || n.Username != test.username || n.Permanent != test.permanent || n.Reason != test.reason {
				t.Errorf("%+v", n)
			}
			if n.Reason != "" && reasonTexts[n.Reason].What == "" {
				t.Errorf("the reason %s has no words", n.Reason)
			}
		})
	}
}

// TestCharactersThatMayEndARow: a reader that knows the line ends of Unicode, or
// takes NUL for the end of a text, must not be given them.
func TestCharactersThatMayEndARow(t *testing.T) {
	r := testRules()
	for c := rune(0); c <= 0x2100; c++ {
		special := unicode.IsControl(c) || c == '\u2028' || c == '\u2029' || c == '"' || c == '\\'
		for name, value := range map[string]string{"name": "a" + string(c) + "b", "custom:plan": "a" + string(c) + "b"} {
			u := user(pool.Confirmed, "al", "email=a@b.c", "email_verified=true", name+"="+value)
			if way := r.Recreate(&u); (way.Path == PathAPI) != special || special && (way.Reason != ReasonNotCSV || way.Attributes[name] != value) {
				t.Errorf("%s with %U: by %s, %q, as %q", name, c, way.Path, way.Reason, way.Attributes[name])
			}
		}
		u := user(pool.Confirmed, "a"+string(c)+"b", "email=a@b.c", "email_verified=true")
		if way := r.Recreate(&u); (way.Path == PathAPI) != (special || c == ' ') {
			t.Errorf("username with %U: by %s", c, way.Path)
		}
	}
}

func TestAttributesThatAreWritten(t *testing.T) {
	r := testRules(func(r *Rules) { r.SubAttribute = "custom:old_sub" })
	u := user(pool.Confirmed, "al", "email=a@b.c", "identities=[]", "dev:x=1", "locale=", "custom:old_sub=older")
	want := map[string]string{"email": "a@b.c", "custom:old_sub": testSub}
	if have := r.Recreate(&u).Attributes; !maps.Equal(have, want) {
		t.Errorf("%v, want %v", have, want)
	}
}

func TestRow(t *testing.T) {
	r := testRules()
	u := user(pool.Confirmed, "漢字🦊", "name=Doe, Jane; née O'Neil", "email=a@b.c", "email_verified=true", "birthdate=1984-02-29", "updated_at=1700000000")
	row, reason := r.row("漢字🦊", r.attributes(&u))
	want := `Doe\, Jane; née O'Neil,a@b.c,true,,false,02/29/1984,,,1700000000,,,,漢字🦊`
	if row != want || reason != "" {
		t.Errorf("%s (%s)\nwant %s", row, reason, want)
	}
}

func TestLinks(t *testing.T) {
	u := user(pool.Confirmed, "al", `identities=[{"userId":"7","providerName":"Google","dateCreated":1},{"userId":"3","providerName":"Corp"}]`)
	if have := Links(&u); !slices.Equal(have, []Link{{"Corp", "3"}, {"Google", "7"}}) {
		t.Errorf("%v", have)
	}
	u.Status = pool.ExternalProvider
	if have := Links(&u); have != nil {
		t.Errorf("a federated user's own identity is no link: %v", have)
	}
	for text, want := range map[string][]Link{
		"":     nil,
		"null": nil,
		"[]":   nil,
		`[{"userId":10215123456789012345678,"providerName":"Facebook","dateCreated":"1700000000000","primary":"false","issuer":null,"added":{"later":[1]}}]`: {{"Facebook", "10215123456789012345678"}},
		"broken":                             {{"", "broken"}},
		`{"userId":"7"}`:                     {{"", `{"userId":"7"}`}},
		`[{"userId":"7","providerName":""}]`: {{"", `{"userId":"7","providerName":""}`}},
		`[{"userId":1.5,"providerName":"Corp"},{"userId":"7","providerName":"Google"},7]`: {{"", "7"}, {"", `{"userId":1.5,"providerName":"Corp"}`}, {"Google", "7"}},
	} {
		u := user(pool.Confirmed, "al", "identities="+text)
		if have := Links(&u); !slices.Equal(have, want) {
			t.Errorf("%s: %q, want %q", text, have, want)
		}
	}
}

// TestUnreadableIdentities: they are told of, once, and the links that can be
// read are made; nobody calls Cognito for the others.
func TestUnreadableIdentities(t *testing.T) {
	e := Entry{User: user(pool.Confirmed, "al", `identities=[{"userId":["7"],"providerName":"Corp"}]`)}
	api := &refuser{err: errors.New("called")}
	u := &updater{UpdateUsers: &UpdateUsers{API: api}, rules: testRules(), round: 1, groups: new(groupCreator)}
	tasks := u.tasks(&e, &userResult{Outcome: Restored, Username: "al"})
	if len(tasks) != 1 {
		t.Fatalf("%+v", tasks)
	}
	failure, err := u.carryOut(t.Context(), tasks[0])
	if err != nil || failure == nil || *failure != (updateFailure{Sub: testSub, Kind: kindLink, Reason: ReasonUnreadable}) || !failure.hopeless() {
		t.Fatalf("%+v, %v", failure, err)
	}
	c := testCensus(u.rules, e)
	v := &verifier{comparison: &comparison{census: c, at: &position{}}}
	c.learn(&judged{chunk: chunk{Entries: []Entry{e}}, done: true, updated: updateResult{Failures: []updateFailure{*failure}},
		imported: importResult{Users: []userResult{{Outcome: Restored, Path: PathAPI, Username: "al", Sub: "99999999-9999-4999-8999-999999999999"}}}}, 0)
	c.sort()
	there := other(pool.Confirmed, "al")
	there.Sub = "99999999-9999-4999-8999-999999999999"
	c.observe(&there)
	if have := v.user(0, &e); have != (verdict{Failed, ReasonUnreadable, kindLink}) {
		t.Errorf("%+v", have)
	}
	if again, more := v.left(0, &e); more {
		t.Errorf("another round for %+v", again)
	}
	if v.open(0) {
		t.Error("the next import tries again what cannot be read")
	}
	// Whatever else fails is in the report beside it, and tried again.
	c.failure(0, updateFailure{Sub: testSub, Kind: kindLink, Name: "Google", Reason: ReasonRefused, Detail: "NotAuthorizedException"})
	if have := v.user(0, &e); have != (verdict{Failed, ReasonUnreadable, "link; link Google: NotAuthorizedException (" + ReasonRefused + ")"}) {
		t.Errorf("%+v", have)
	}
	if _, more := v.left(0, &e); !more || !v.open(0) {
		t.Error("the other link is not tried again")
	}
	there.Attributes["identities"] = e.User.Attributes["identities"]
	if c.observe(&there); c.people[0].saw&sawLinks == 0 {
		t.Error("who has the very same links, unreadable as they are, lacks none")
	}
}

func TestRandomPassword(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		p, err := randomPassword(randomReader{})
		if err != nil {
			t.Fatal(err)
		}
		if len(p) != passwordLength || seen[p] {
			t.Errorf("password of %d characters, seen before %t", len(p), seen[p])
		}
		seen[p] = true
		for _, class := range classes {
			if !strings.ContainsAny(p, class) {
				t.Errorf("no character of %q", class)
			}
		}
	}
	if _, err := randomPassword(strings.NewReader("short")); err == nil {
		t.Error("a password without enough randomness")
	}
}
