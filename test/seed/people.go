package seed

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// person is a user before the kind of pool decides on the username.
type person struct {
	n          int
	sub        string
	given      string
	family     string
	status     string
	enabled    bool
	email      contact
	phone      contact
	identities []identity
	attributes map[string]string // everything else
	created    time.Time
	modified   time.Time
	provider   string // federated users: the provider that Cognito created them for
	subject    string
}

// contact is an address and whether it is verified; an empty value is absent.
type contact struct {
	value    string
	verified bool
}

// identity is an entry of the identities attribute.
type identity struct {
	UserID       string  `json:"userId"`
	ProviderName string  `json:"providerName"`
	ProviderType string  `json:"providerType"`
	Issuer       *string `json:"issuer"`
	Primary      bool    `json:"primary"`
	DateCreated  int64   `json:"dateCreated"` // milliseconds since the epoch
}

// User states as Cognito names them.
const (
	Confirmed           = "CONFIRMED"
	Unconfirmed         = "UNCONFIRMED"
	ForceChangePassword = "FORCE_CHANGE_PASSWORD"
	ResetRequired       = "RESET_REQUIRED"
	External            = "EXTERNAL_PROVIDER"
)

var (
	givenNames = []string{
		"Hiroshi", "Ines", "Uma", "Zoë", "Pedro", "Rosa", "Yuki", "さくら", "太郎", "Björn", "Łukasz", "Anaïs",
		"Siobhán", "Đức", "Mary-Jane", "Jean Luc", "José", "Nguyễn", "Олена", "محمد", "Grace", "Kofi", "Priya", "Wei",
	}
	familyNames = []string{
		"Tanaka", "Watanabe", "O'Brien", "Müller", "García", "佐藤", "鈴木", "Nowak", "de la Cruz", "Smith, Jr.",
		"Van den Berg", "Ångström", "Коваленко", "Okafor", "Sharma", "Li", `"Lee"`, "Rossi", "Jensen", "Endo",
	}
	// remarks carry what breaks naive CSV, JSON and shells.
	remarks = []string{
		"prefers e-mail, not phone",
		`said "call me later", twice`,
		"first line\nsecond line\r\nthird line",
		"🎉 birthday customer 🎂 👩‍👩‍👧",
		"東京都千代田区、電話は夕方以降",
		`back\slash, comma and \, both`,
		"  leading and trailing spaces  ",
		"'; DROP TABLE users; --",
		"=SUM(A1:A9)",
		"<b>bold</b> & <script>",
		"tab\tseparated\tvalue",
		"#hash at the start",
	}
	locales = []string{"en-GB", "ja-JP", "de-DE", "fr-FR", "es-ES"}
	zones   = []string{"Asia/Tokyo", "Europe/Berlin", "America/New_York"}
	plans   = []string{"free", "pro", "team", "enterprise, annual"}
	sources = []string{"web", "ios", "android", "partner"}
)

// longest is the size of the longest attribute values: the quota of Cognito.
const longest = 2048 // bytes

// people makes n users. What a user is depends on its number, so that every
// variety is there whenever the pool is large enough, and on the generator for
// the rest.
func people(n int, r *rand.Rand, start time.Time) []*person {
	all := make([]*person, n)
	for i := range all {
		p := &person{
			n:          i,
			sub:        uuid(r),
			given:      givenNames[r.IntN(len(givenNames))],
			family:     familyNames[r.IntN(len(familyNames))],
			enabled:    i%19 != 11,
			attributes: map[string]string{},
		}
		p.created = start.Add(time.Duration(i) * 37 * time.Minute).Add(time.Duration(r.IntN(60000)) * time.Millisecond)
		p.modified = p.created.Add(time.Duration(r.IntN(40*24)) * time.Hour)
		p.status = status(i)
		p.reach(r)
		p.describe(r)
		if p.status == External {
			p.federate(r)
		} else if i%29 == 3 {
			p.link(r)
		}
		all[i] = p
	}
	return all
}

// status spreads the states of users over their numbers: of twenty, one is
// federated, two have yet to change a temporary password, one is unconfirmed,
// one has to reset the password.
func status(i int) string {
	switch i % 20 {
	case 4:
		return External
	case 7, 16:
		return ForceChangePassword
	case 9:
		return Unconfirmed
	case 13:
		return ResetRequired
	}
	return Confirmed
}

// reach gives the person an e-mail address and a phone number, each verified,
// unverified or absent, in all nine combinations.
func (p *person) reach(r *rand.Rand) {
	var email, phone int // 0 verified, 1 unverified, 2 absent
	switch k := r.IntN(20); {
	case p.n < 9:
		email, phone = p.n%3, p.n/3
	case k < 12:
		email, phone = 0, 2
	case k < 15:
		email, phone = 0, 0
	default:
		email, phone = r.IntN(3), r.IntN(3)
	}
	if p.status == Unconfirmed && email == 0 {
		email = 1 // nobody confirmed the address yet
	}
	if email < 2 {
		p.email = contact{fmt.Sprintf("%s.%d@example.com", localPart(p.given), p.n), email == 0}
	}
	if phone < 2 {
		p.phone = contact{fmt.Sprintf("+4477009%05d", p.n), phone == 0}
	}
	switch p.n {
	case 21:
		p.email.value = "o'hara+news@example.com"
	case 22:
		p.email.value = "Mixed.Case.22@Example.com"
	}
}

// localPart is an ASCII e-mail local part for a name.
func localPart(name string) string {
	s := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' {
			return c
		}
		return -1
	}, strings.ToLower(name))
	if s == "" {
		s = "user"
	}
	return s
}

func (p *person) describe(r *rand.Rand) {
	a := p.attributes
	a["given_name"] = p.given
	a["family_name"] = p.family
	a["name"] = p.given + " " + p.family
	a["locale"] = locales[r.IntN(len(locales))]
	a["custom:plan"] = plans[r.IntN(len(plans))]
	a["custom:signup_source"] = sources[r.IntN(len(sources))]
	a["custom:customer_no"] = fmt.Sprint(710_203_947 + p.n) // a number that turns up nowhere by chance
	if p.n%3 == 0 {
		a["birthdate"] = fmt.Sprintf("%04d-%02d-%02d", 1940+r.IntN(70), 1+r.IntN(12), 1+r.IntN(28))
	}
	if p.n%5 == 0 {
		a["zoneinfo"] = zones[r.IntN(len(zones))]
		a["updated_at"] = fmt.Sprint(p.modified.Unix())
	}
	if p.n%4 == 1 {
		a["custom:remark"] = remarks[p.n/4%len(remarks)]
	}
	if p.n%10 == 6 {
		a["nickname"] = remarks[r.IntN(2)]
		a["preferred_username"] = fmt.Sprintf("pref-%d-%s", p.n, p.given)
		a["preferred_username"] = strings.ReplaceAll(a["preferred_username"], " ", "")
	}
	if p.n%25 == 12 {
		a["address"] = "1-2-3 丸の内\n千代田区, 東京\n100-0005"
		a["website"] = "https://example.com/?q=a,b&c=\"d\""
		a["profile"] = "https://example.com/people/" + fmt.Sprint(p.n)
	}
	switch p.n {
	case 14:
		a["custom:remark"] = strings.Repeat("0123456789abcde,", longest/16)
	case 15:
		a["custom:remark"] = strings.Repeat("漢", longest/3) + "ab" // 2,048 bytes, 684 characters
	case 18:
		a["custom:remark"] = strings.Repeat("🦊", longest/4)
	}
}

// providers are the identity providers of the pool.
var providers = []struct{ name, kind string }{{"Google", "Google"}, {"CorpSAML", "SAML"}, {"Okta", "OIDC"}}

// federate makes the person one whom Cognito created at a federated sign-in.
func (p *person) federate(r *rand.Rand) {
	provider := providers[p.n/20%len(providers)]
	p.provider, p.subject = provider.name, subject(r, p.n)
	p.enabled = true
	p.email.verified = false
	p.identities = []identity{newIdentity(provider.name, provider.kind, p.subject, true, p.created)}
	p.attributes["custom:signup_source"] = "partner"
}

// link gives the person one or two linked identities, the way an application
// does it with AdminLinkProviderForUser. That call refuses users who have an
// attribute which is not mutable (API reference), so linked users have none.
func (p *person) link(r *rand.Rand) {
	delete(p.attributes, "custom:signup_source")
	for i := range 1 + p.n%2 {
		provider := providers[(p.n+i)%len(providers)]
		p.identities = append(p.identities, newIdentity(provider.name, provider.kind, subject(r, p.n), false, p.modified))
	}
}

func newIdentity(provider, kind, subject string, primary bool, created time.Time) identity {
	return identity{UserID: subject, ProviderName: provider, ProviderType: kind, Primary: primary, DateCreated: created.UnixMilli()}
}

// subject is a user id at a provider; unique because it carries the number.
func subject(r *rand.Rand, n int) string {
	return fmt.Sprintf("%d%06d", 100000000+r.IntN(900000000), n)
}

// uuid is a version 4 UUID from the generator.
func uuid(r *rand.Rand) string {
	a, b := r.Uint64(), r.Uint64()
	a = a&^0xf000 | 0x4000
	b = b&^(3<<62) | 2<<62
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&(1<<48-1))
}

// plainUsername is the username in a pool where people chose one.
func (p *person) plainUsername() string {
	if p.status == External {
		return p.provider + "_" + p.subject
	}
	odd := map[int]string{
		1:  "comma,name",
		2:  `quote"name`,
		3:  "hash#tag/slash",
		5:  "🦊fox",
		6:  "佐藤さくら",
		8:  "plus+minus-under_score.dot",
		10: "back\\slash",
		11: "Ünïcödé",
		14: "it's:me;ok?&=%41",
		15: strings.Repeat("x", 128),
		17: "true",
		18: "=1+1",
	}
	if name := odd[p.n]; name != "" {
		return name
	}
	return fmt.Sprintf("%s%d", localPart(p.given), p.n)
}
