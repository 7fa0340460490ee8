package restore

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"cognito-backup/internal/pool"
)

// Path is the way a user comes back.
type Path string

// The ways. Federated users have none: Cognito creates them when they sign in.
const (
	PathCSV      Path = "csv"      // CSV import: ends in RESET_REQUIRED, no cost as an active user
	PathAPI      Path = "api"      // AdminCreateUser
	PathDeferred Path = "deferred" // at the next federated sign-in
	PathNone     Path = "none"     // there is nothing to create the user by
)

// Recreation is how one user of the restore point comes back.
type Recreation struct {
	Path Path
	// Username is what the user is created by: the username, or in a pool that
	// generates usernames the address to sign in with.
	Username string
	// Attributes are what is written, without those that Cognito sets itself.
	Attributes map[string]string
	// Permanent says that an API user gets a random password for good, so that
	// "forgot password" works; without a verified address it would lead nowhere.
	Permanent bool
	// Reason is why not by CSV, or why not at all; a code of reasons.go.
	Reason string
}

// Rules are what decides how users come back: the target's settings and what
// the import was asked for.
type Rules struct {
	Target       Settings
	SubAttribute string   // receives the old sub; "" when not asked for
	Header       []string // of the CSV file; nil: no CSV import is possible
	AlwaysClosed bool     // Plan.AlwaysClosed
}

// Recreate says how u comes back.
func (r *Rules) Recreate(u *pool.User) Recreation {
	if u.Status == pool.ExternalProvider {
		return Recreation{Path: PathDeferred, Username: u.Username, Reason: ReasonFederated}
	}
	n := Recreation{Path: PathAPI, Attributes: r.attributes(u)}
	if n.Username = r.signInName(u); n.Username == "" {
		n.Path, n.Reason = PathNone, ReasonNoSignInName
		return n
	}
	n.Permanent = u.Status != pool.Unconfirmed && hasVerifiedAddress(u)
	switch {
	case u.Status == pool.Unconfirmed:
		n.Reason = ReasonUnconfirmed
	case !n.Permanent:
		n.Reason = ReasonNoVerifiedAddress
	case r.Header == nil:
		n.Reason = ReasonNoCSV
	case !r.autoVerified(u):
		n.Reason = ReasonNoAutoVerified
	default:
		if _, n.Reason = r.row(n.Username, n.Attributes); n.Reason == "" {
			n.Path = PathCSV
		}
	}
	return n
}

// notWritable are attributes that Cognito sets itself.
var notWritable = []string{"sub", "identities"}

// attributes are those of u that are written to the target. Empty values count
// as absent: a CSV file cannot tell the two apart.
func (r *Rules) attributes(u *pool.User) map[string]string {
	out := make(map[string]string, len(u.Attributes))
	for name, value := range u.Attributes {
		if _, known := r.Target.Schema[name]; known && value != "" && !slices.Contains(notWritable, name) {
			out[name] = value
		}
	}
	if r.SubAttribute != "" {
		out[r.SubAttribute] = u.Sub
	}
	return out
}

// holdsImmutable says that u is created with an attribute that cannot be
// changed later.
func (r *Rules) holdsImmutable(u *pool.User) bool {
	for name := range r.attributes(u) {
		if a, ok := r.Target.Schema[name]; ok && !a.Mutable {
			return true
		}
	}
	return false
}

// signInName is what u is created by. A pool that generates usernames takes an
// address: the verified one, e-mail before phone; if none is verified, the one
// there is. No API tells by which of two addresses somebody signed up.
func (r *Rules) signInName(u *pool.User) string {
	if !r.Target.generatedUsernames() {
		return u.Username
	}
	var unverified string
	for _, name := range verifiable {
		value := u.Attributes[name]
		if value == "" || !slices.Contains(r.Target.UsernameAttributes, name) {
			continue
		}
		if verified(u, name) {
			return value
		}
		if unverified == "" {
			unverified = value
		}
	}
	return unverified
}

func verified(u *pool.User, name string) bool {
	return u.Attributes[name] != "" && u.Attributes[name+"_verified"] == "true"
}

func hasVerifiedAddress(u *pool.User) bool {
	return slices.ContainsFunc(verifiable, func(name string) bool { return verified(u, name) })
}

// autoVerified says whether u has a verified address of a kind that the target
// verifies by itself: without one a CSV import refuses the row.
func (r *Rules) autoVerified(u *pool.User) bool {
	return slices.ContainsFunc(r.Target.AutoVerified, func(name string) bool { return verified(u, name) })
}

// Link is one federated identity of a local user. Without Provider it is one
// that cannot be read, and UserID is its text.
type Link struct {
	Provider string
	UserID   string
}

func (l *Link) readable() bool { return l.Provider != "" }

// Links reads the identities that are linked to u. Those of a federated user
// are its own and come with it.
func Links(u *pool.User) []Link {
	if u.Status == pool.ExternalProvider {
		return nil
	}
	return identities(u)
}

// identities reads the attribute of that name. What cannot be read of it is in
// the result, too: it is lost unless somebody is told.
func identities(u *pool.User) []Link {
	text := u.Attributes["identities"]
	if text == "" {
		return nil
	}
	var entries []json.RawMessage
	if json.Unmarshal([]byte(text), &entries) != nil {
		return []Link{{UserID: text}}
	}
	var links []Link
	for _, entry := range entries {
		links = append(links, linkOf(entry))
	}
	slices.SortFunc(links, func(a, b Link) int {
		return strings.Compare(a.Provider+" "+a.UserID, b.Provider+" "+b.UserID)
	})
	return links
}

// linkOf reads one entry. Nothing documents its form: only what names the
// identity is looked at, and a provider whose ids are numbers may have them
// stand there as such.
func linkOf(entry json.RawMessage) Link {
	var parsed struct {
		UserID       any    `json:"userId"`
		ProviderName string `json:"providerName"`
	}
	d := json.NewDecoder(bytes.NewReader(entry))
	d.UseNumber() // an id may have more digits than a float64
	if d.Decode(&parsed) == nil && parsed.ProviderName != "" {
		switch id := parsed.UserID.(type) {
		case string:
			if id != "" {
				return Link{parsed.ProviderName, id}
			}
		case json.Number:
			if digits.MatchString(id.String()) {
				return Link{parsed.ProviderName, id.String()}
			}
		}
	}
	return Link{UserID: string(entry)}
}

// comparable is what of a user's attributes must be the same after a restore:
// not what Cognito sets itself, nor the sub attribute. An address that is not
// verified is the same whether Cognito says so or says nothing, and what people
// sign in by is the same in any case of letters where the target ignores it: it
// may keep it in another.
func (r *Rules) comparable(u *pool.User) map[string]string {
	out := r.attributes(u)
	maps.DeleteFunc(out, func(name, value string) bool {
		return name == r.SubAttribute || strings.HasSuffix(name, "_verified") && value == "false"
	})
	for _, names := range [][]string{r.Target.UsernameAttributes, r.Target.AliasAttributes} {
		for _, name := range names {
			if value, there := out[name]; there {
				out[name] = r.Target.fold(value)
			}
		}
	}
	return out
}
