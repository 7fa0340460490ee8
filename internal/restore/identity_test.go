package restore

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/internal/pool"
)

type randomReader struct{}

func (randomReader) Read(p []byte) (int, error) { return rand.Read(p) }

var (
	noSelfSignUp = func(r *Rules) { r.AlwaysClosed = true }
	closedLater  = func(r *Rules) { r.Target.Modified = targetCreated.Add(time.Hour) }
	closedBefore = func(r *Rules) { r.Target.Modified = targetCreated.Add(-time.Second) }
	closedAtOnce = func(r *Rules) { r.Target.Modified = targetCreated }
	bornClosed   = func(r *Rules) { r.Target.Created = targetCreated.Add(time.Hour); r.Target.Modified = r.Target.Created }
	selfSignUp   = func(r *Rules) { r.Target.SelfSignUp = true }
	emailAlias   = func(r *Rules) { r.Target.AliasAttributes = []string{"email"} }
	folded       = func(r *Rules) { r.Target.CaseSensitive = false }
	keepsOldSub  = func(r *Rules) { r.SubAttribute = "custom:old_sub" }
	mutableSub   = func(r *Rules) { r.SubAttribute = "custom:plan" }
)

// targetCreated is when the users of the target were.
var targetCreated = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// other is a user of the target with a new sub.
func other(status, username string, pairs ...string) pool.User {
	u := user(status, username, pairs...)
	u.Sub = "99999999-9999-4999-8999-999999999999"
	u.Attributes["sub"] = u.Sub
	u.Created = targetCreated
	return u
}

func TestSamePerson(t *testing.T) {
	const newSub = "99999999-9999-4999-8999-999999999999"
	verified := []string{"email=a@b.c", "email_verified=true"}
	others := []string{"email=m@b.c", "email_verified=true"}
	phone := append(slices.Clone(verified), "phone_number=+41440000000", "phone_number_verified=true")
	tests := map[string]struct {
		rules          *Rules
		source, target pool.User
		newSub         string
		want           Proof
	}{
		"the same sub":     {testRules(selfSignUp), user(pool.Confirmed, "al"), user(pool.Confirmed, "renamed"), "", ProofSub},
		"the recorded sub": {testRules(selfSignUp), user(pool.Confirmed, "al"), other(pool.Confirmed, "else"), newSub, ProofRecorded},
		"another recorded": {testRules(selfSignUp), user(pool.Confirmed, "al"), other(pool.Confirmed, "al"), "11111111-9999-4999-8999-999999999999", NoProof},

		"immutable attribute holds the old sub": {testRules(noSelfSignUp, keepsOldSub), user(pool.Confirmed, "al"), other(pool.Confirmed, "x", "custom:old_sub="+testSub), "", ProofSubAttribute},
		"immutable, but anybody signs up":       {testRules(selfSignUp, keepsOldSub), user(pool.Confirmed, "al"), other(pool.Confirmed, "x", "custom:old_sub="+testSub), "", NoProof},
		"immutable, but anybody signed up":      {testRules(closedLater, keepsOldSub), user(pool.Confirmed, "al"), other(pool.Confirmed, "x", "custom:old_sub="+testSub), "", NoProof},
		"immutable, nobody can have signed up":  {testRules(closedBefore, keepsOldSub), user(pool.Confirmed, "al"), other(pool.Confirmed, "x", "custom:old_sub="+testSub), "", ProofSubAttribute},
		"mutable attribute holds the old sub":   {testRules(noSelfSignUp, mutableSub), user(pool.Confirmed, "al"), other(pool.Confirmed, "x", "custom:plan="+testSub), "", NoProof},
		"immutable, but not asked for":          {testRules(noSelfSignUp), user(pool.Confirmed, "al"), other(pool.Confirmed, "x", "custom:old_sub="+testSub), "", NoProof},

		"the same federated username": {testRules(selfSignUp), user(pool.ExternalProvider, "Google_7"), other(pool.ExternalProvider, "Google_7"), "", ProofFederated},
		"a local user of that name":   {testRules(selfSignUp), user(pool.ExternalProvider, "Google_7"), other(pool.Confirmed, "Google_7"), "", NoProof},
		"a federated user of a local": {testRules(noSelfSignUp), user(pool.Confirmed, "Google_7"), other(pool.ExternalProvider, "Google_7"), "", NoProof},
		"a federated user's address":  {testRules(byEmail), user(pool.Confirmed, testSub, verified...), other(pool.ExternalProvider, "Google_7", verified...), "", NoProof},

		"verified username attribute":             {testRules(byEmail, selfSignUp), user(pool.Confirmed, testSub, verified...), other(pool.Confirmed, "u", verified...), "", ProofVerified},
		"unverified in the target":                {testRules(byEmail, selfSignUp), user(pool.Confirmed, testSub, verified...), other(pool.Unconfirmed, "u", "email=a@b.c"), "", NoProof},
		"signed in by an unverified address":      {testRules(byEmail, selfSignUp), user(pool.Confirmed, testSub, "email=a@b.c"), other(pool.Confirmed, "u", verified...), "", ProofVerified},
		"verified alias":                          {testRules(emailAlias, selfSignUp), user(pool.Confirmed, "al", verified...), other(pool.Confirmed, "bo", verified...), "", ProofVerified},
		"alias that was not verified":             {testRules(emailAlias, selfSignUp), user(pool.Confirmed, "al", "email=a@b.c"), other(pool.Confirmed, "bo", verified...), "", NoProof},
		"verified, but nobody signs in by it":     {testRules(selfSignUp), user(pool.Confirmed, "al", verified...), other(pool.Confirmed, "al", verified...), "", NoProof},
		"case counts where the pool says so":      {testRules(byEmail, selfSignUp), user(pool.Confirmed, testSub, verified...), other(pool.Confirmed, "u", "email=A@b.c", "email_verified=true"), "", NoProof},
		"case does not where the pool says so":    {testRules(byEmail, selfSignUp, folded), user(pool.Confirmed, testSub, verified...), other(pool.Confirmed, "u", "email=A@b.c", "email_verified=true"), "", ProofVerified},
		"the username without self-sign-up":       {testRules(noSelfSignUp), user(pool.Confirmed, "al"), other(pool.Confirmed, "al"), "", ProofUsername},
		"the freed username, self-sign-up":        {testRules(selfSignUp), user(pool.Confirmed, "al"), other(pool.Confirmed, "al"), "", NoProof},
		"created before sign-up was closed":       {testRules(closedLater), user(pool.Confirmed, "al"), other(pool.Confirmed, "al"), "", NoProof},
		"created after sign-up was closed":        {testRules(closedBefore), user(pool.Confirmed, "al"), other(pool.Confirmed, "al"), "", ProofUsername},
		"created as sign-up was closed":           {testRules(closedAtOnce), user(pool.Confirmed, "al"), other(pool.Confirmed, "al"), "", NoProof},
		"closed ever since, whatever a date says": {testRules(bornClosed), user(pool.Confirmed, "al"), other(pool.Confirmed, "al"), "", ProofUsername},
		"nobody knows since when it is closed":    {testRules(), user(pool.Confirmed, "al"), other(pool.Confirmed, "al"), "", NoProof},
		"only who signs up is unconfirmed":        {testRules(noSelfSignUp), user(pool.Confirmed, "al"), other(pool.Unconfirmed, "al"), "", NoProof},
		"the username, but another's address":     {testRules(noSelfSignUp), user(pool.Confirmed, "al", verified...), other(pool.Confirmed, "al", others...), "", NoProof},
		"the username, with a fresh address":      {testRules(noSelfSignUp), user(pool.Confirmed, "al"), other(pool.Confirmed, "al", others...), "", NoProof},
		"the username and the address":            {testRules(noSelfSignUp), user(pool.Confirmed, "al", "email=a@b.c"), other(pool.Confirmed, "al", verified...), "", ProofUsername},
		"the username and one of two":             {testRules(noSelfSignUp), user(pool.Confirmed, "al", phone...), other(pool.Confirmed, "al", phone[2:]...), "", ProofUsername},
		"the username and both":                   {testRules(noSelfSignUp), user(pool.Confirmed, "al", phone...), other(pool.Confirmed, "al", phone...), "", ProofUsername},
		"the username and an unverified one":      {testRules(noSelfSignUp), user(pool.Confirmed, "al", verified...), other(pool.Confirmed, "al", "email=m@b.c"), "", ProofUsername},
		"generated usernames say nothing":         {testRules(byEmail, noSelfSignUp), user(pool.Confirmed, testSub), other(pool.Confirmed, testSub), "", NoProof},
		"nothing in common":                       {testRules(noSelfSignUp), user(pool.Confirmed, "al"), other(pool.Confirmed, "bo"), "", NoProof},
		"the strongest proof counts":              {testRules(noSelfSignUp, emailAlias), user(pool.Confirmed, "al", verified...), other(pool.Confirmed, "al", verified...), newSub, ProofRecorded},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if have := test.rules.SamePerson(&test.source, test.newSub, &test.target); have != test.want {
				t.Errorf("proof %d, want %d", have, test.want)
			}
			// The census must judge by the same rule, however it is implemented.
			c := testCensus(test.rules, Entry{User: test.source, NewSub: test.newSub})
			_, matched := c.observe(&test.target)
			if matched != (test.want != NoProof) {
				t.Errorf("the census says %t", matched)
			}
		})
	}
}

func testCensus(rules *Rules, entries ...Entry) *census {
	c := &census{bySubs: true, rules: rules, key: []byte("key"), groupNo: map[string]uint16{}, linkSets: map[uint32][]uint64{}, notes: map[uint32]userResult{},
		byReason: map[string]int64{}, noFlag: map[uint32][]updateFailure{}, noGroup: map[int]updateFailure{}}
	for _, e := range entries {
		for _, g := range e.Groups {
			if _, known := c.groupNo[g]; !known {
				c.groupNo[g] = uint16(len(c.groups))
				c.groups = append(c.groups, pool.Group{Name: g})
			}
		}
	}
	for i := range entries {
		c.add(&entries[i])
	}
	c.sort()
	c.asked, c.owed, c.failed, c.seen = newBitset(len(c.wants)), newBitset(len(c.wants)), newBitset(len(c.wants)), newBitset(len(c.wants))
	return c
}

func TestOurs(t *testing.T) {
	r := testRules(selfSignUp)
	began := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	source := user(pool.Confirmed, "al", "email=a@b.c", "email_verified=false", "name=Al")
	tests := map[string]struct {
		change func(*pool.User)
		want   bool
	}{
		"as the import creates it":   {func(*pool.User) {}, true},
		"by CSV":                     {func(u *pool.User) { u.Status = pool.ResetRequired }, true},
		"reachable by signing up":    {func(u *pool.User) { u.Status = pool.Confirmed }, false},
		"from before the import":     {func(u *pool.User) { u.Created = began.Add(-time.Second) }, false},
		"another name":               {func(u *pool.User) { u.Attributes["name"] = "Bo" }, false},
		"another username":           {func(u *pool.User) { u.Username = "bo" }, false},
		"Cognito says nothing of it": {func(u *pool.User) { delete(u.Attributes, "email_verified") }, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			target := other(pool.ForceChangePassword, "al", "email=a@b.c", "email_verified=false", "name=Al")
			target.Created = began
			test.change(&target)
			if have := r.Ours(&source, &target, began); have != test.want {
				t.Errorf("%t", have)
			}
		})
	}
}

// TestComparedWithoutCase: a target that ignores the case of what people sign in
// by may keep it in lower case, and nothing else.
func TestComparedWithoutCase(t *testing.T) {
	ignoresCase := func(r *Rules) { r.Target.CaseSensitive = false }
	aliases := func(r *Rules) { r.Target.AliasAttributes = []string{"email", "preferred_username"} }
	for name, test := range map[string]struct {
		rules *Rules
		have  string
		want  []string
	}{
		"alias":                  {testRules(aliases, ignoresCase), "email=al@b.c preferred_username=ally", nil},
		"the other way round":    {testRules(aliases, ignoresCase), "email=AL@B.C preferred_username=ALLY", nil},
		"address is the name":    {testRules(byEmail, ignoresCase), "email=al@b.c preferred_username=Ally", nil},
		"another name":           {testRules(aliases, ignoresCase), "email=al@b.c preferred_username=allie", []string{"preferred_username"}},
		"nobody signs in by it":  {testRules(byEmail, ignoresCase), "email=al@b.c preferred_username=ally", []string{"preferred_username"}},
		"another attribute":      {testRules(aliases, ignoresCase), "email=al@b.c preferred_username=ally name=al", []string{"name"}},
		"a case-sensitive alias": {testRules(aliases), "email=al@b.c preferred_username=Ally", []string{"email"}},
	} {
		t.Run(name, func(t *testing.T) {
			source := user(pool.Confirmed, "al", "email=Al@b.c", "email_verified=true", "preferred_username=Ally", "name=Al")
			target := other(pool.ResetRequired, "al", append([]string{"email_verified=true", "name=Al"}, strings.Fields(test.have)...)...)
			if have := test.rules.differences(&source, &target); !slices.Equal(have, test.want) {
				t.Errorf("%q differ, want %q", have, test.want)
			}
			c := testCensus(test.rules, Entry{User: source, NewSub: target.Sub})
			if c.observe(&target); (c.people[0].saw&sawSame != 0) != (test.want == nil) {
				t.Errorf("the census says %b", c.people[0].saw)
			}
			if have := test.rules.Ours(&source, &target, time.Time{}); have != (test.want == nil) {
				t.Errorf("ours: %t", have)
			}
			if way := test.rules.Recreate(&source); way.Attributes["email"] != "Al@b.c" {
				t.Errorf("written is %q", way.Attributes)
			}
		})
	}
}

func TestCensusAmbiguity(t *testing.T) {
	r := testRules(emailAlias, noSelfSignUp)
	entry := Entry{User: user(pool.Confirmed, "al", "email=a@b.c", "email_verified=true")}
	first := other(pool.Confirmed, "al")
	second := other(pool.Confirmed, "bo", "email=a@b.c", "email_verified=true")
	second.Sub = "22222222-9999-4999-8999-999999999999"

	c := testCensus(r, entry)
	c.observe(&first)
	c.observe(&second)
	if p := c.people[0]; p.proof != ProofVerified || c.unpack(p.sub) != second.Sub || p.saw&sawTwice != 0 {
		t.Errorf("a verified address must beat a username: %+v", p)
	}
	third := other(pool.Confirmed, "ca", "email=a@b.c", "email_verified=true")
	third.Sub = "33333333-9999-4999-8999-999999999999"
	c.observe(&third)
	if p := c.people[0]; p.saw&sawTwice == 0 {
		t.Errorf("two equal proofs must be ambiguous: %+v", p)
	}
	if c.observe(&second); c.people[0].saw&sawTwice == 0 {
		t.Error("seeing a user again must not end the ambiguity")
	}
}

// TestCensusRivals: one user of the target could be either of two people, who
// both get nothing then.
func TestCensusRivals(t *testing.T) {
	al := Entry{User: user(pool.Confirmed, "al", "email=a@b.c", "email_verified=true")}
	bo := Entry{User: user(pool.Confirmed, "bo", "email=a@b.c", "email_verified=true")}
	bo.User.Sub = "22222222-9999-4999-8999-999999999999"
	c := testCensus(testRules(emailAlias, noSelfSignUp), al, bo)
	either := other(pool.Confirmed, "ca", "email=a@b.c", "email_verified=true")
	if _, matched := c.observe(&either); matched {
		t.Error("matched")
	}
	comparison := &comparison{census: c, at: &position{}}
	for i, e := range []Entry{al, bo} {
		if p := c.people[i]; p.proof != NoProof || p.saw&sawTwice == 0 {
			t.Errorf("%+v", p)
		}
		if _, create := comparison.missing(&Plan{}, uint32(i), &e); create {
			t.Errorf("%s would be created beside the user who may be the same", e.User.Username)
		}
	}
}

func TestCensusTakenNames(t *testing.T) {
	c := testCensus(testRules(selfSignUp), Entry{User: user(pool.Confirmed, "al")})
	squatter := other(pool.Unconfirmed, "al")
	if _, matched := c.observe(&squatter); matched || c.people[0].saw&sawTaken == 0 {
		t.Errorf("matched %t, saw %b", matched, c.people[0].saw)
	}
}

func TestCensusHashDependsOnKey(t *testing.T) {
	a, b := testCensus(testRules()), testCensus(testRules())
	b.key = []byte("another key")
	if a.hash("x") == b.hash("x") || a.hash("a", "b") == a.hash("ab") {
		t.Error("hashes can be foreseen")
	}
}

func TestPackSub(t *testing.T) {
	c := new(census)
	if have := c.unpack(c.pack(testSub)); have != testSub || c.odd != nil {
		t.Errorf("%s, odd are %q", have, c.odd)
	}
	odd := []string{"user-00017", "user-00018", strings.ToUpper(testSub), strings.ReplaceAll(testSub, "-", ""), "5f5127f6f1c9-450f-b2ab-745f-17a9f952", testSub + "0", "5f5127f6-f1c9-450f-b2ab-745f17a9f95g"}
	for _, sub := range odd {
		c.pack(sub)
	}
	for _, sub := range append(odd, testSub) {
		if have := c.unpack(packSub(sub)); have != sub {
			t.Errorf("%s became %s", sub, have)
		}
	}
	if c.unpack([16]byte{}) != "" {
		t.Error("no sub is no text")
	}
}

// TestOddSubs: a sub that is no UUID is what the target's user is called by, and
// what mapping.csv says, also in a later slice.
func TestOddSubs(t *testing.T) {
	for _, sub := range []string{"99999999-9999-4999-8999-999999999999", "user-00017", "9F5127F6-F1C9-450F-B2AB-745F17A9F952"} {
		e := Entry{User: user(pool.Confirmed, "al"), Groups: []string{"staff"}}
		before, after := testCensus(testRules(noSelfSignUp), e), testCensus(testRules(noSelfSignUp), e)
		there := other(pool.Confirmed, "al")
		there.Sub = sub
		if _, matched := before.observe(&there); !matched {
			t.Fatal("not matched")
		}
		var kept bytes.Buffer
		if err := before.writeObserved(&kept); err != nil {
			t.Fatal(err)
		}
		if err := after.readObserved(&kept); err != nil {
			t.Fatal(err)
		}
		created := testCensus(testRules(), e)
		created.outcome(0, &e, &userResult{Outcome: Restored, Path: PathAPI, Username: "al", Sub: sub})
		for name, c := range map[string]*census{"observed": before, "in a later slice": after, "created": created} {
			v := &comparison{census: c, at: &position{}}
			if add := v.toAdd(0, &e, func(int, uint16) bool { return true }); add.Present.Username != sub || add.Present.Sub != sub {
				t.Errorf("%s: %+v, want %s", name, add.Present, sub)
			}
			if isUUID(sub) != (len(c.odd) == 0) {
				t.Errorf("%s: odd are %q", name, c.odd)
			}
			v.bySub()
			if person, known := v.person(sub); name != "created" && (!known || person != 0) {
				t.Errorf("%s: %s is not found", name, sub)
			}
		}
	}
}

// TestCensusSize: a census of a million users with one membership each, with
// the new subs that the import noted, takes less than 96 bytes for each and no
// room twice, and finds everybody.
func TestCensusSize(t *testing.T) {
	if testing.Short() {
		t.Skip("a million users")
	}
	const users = 1_000_000
	sub := func(of string, i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012s", i, of) }
	c := testCensus(testRules())
	c.groupNo["staff"], c.bySubs, c.sorted = 0, false, false
	const reserved = 3 * users // the username with and without the verified address, the new sub
	c.people, c.wants, c.refs = make([]person, 0, users), make([]uint64, 0, users), make([]ref, 0, reserved)
	e := Entry{User: user(pool.Confirmed, "al", "email=a@b.c", "email_verified=true"), Groups: []string{"staff"}}
	for i := range users {
		e.User.Sub, e.User.Username = sub("1", i), fmt.Sprintf("user-%d", i)
		c.add(&e)
	}
	c.sort()
	for i := range uint32(users) {
		c.note(fmt.Sprintf("username:user-%d", i), i, made)
		c.note("sub:"+sub("2", int(i)), i, ProofRecorded.role())
	}
	c.sort()
	if have := c.size() / users; have >= 96 || cap(c.refs) != reserved || cap(c.fresh) > 2*notes {
		t.Errorf("%d bytes a user, room for %d references and for %d besides", have, cap(c.refs), cap(c.fresh))
	}
	for i := uint32(0); i < users; i += 97 {
		for value, as := range map[string]role{"sub:" + sub("2", int(i)): ProofRecorded.role(), fmt.Sprintf("username:user-%d", i): made} {
			found := uint32(nobody)
			c.find(value, as, func(person uint32, _ role) { found = person })
			if found != i {
				t.Fatalf("%s leads to %d, not to %d", value, found, i)
			}
		}
	}
}
