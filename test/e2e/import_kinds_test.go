package e2e

import (
	"strings"
	"testing"
	"unicode"

	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"
)

// TestImportOfEveryKindOfPool restores the varied pool for every way of
// signing in and compares it by the test's own code; each user must have come
// back by the path and in the state that the table in the README promises.
func TestImportOfEveryKindOfPool(t *testing.T) {
	for i, kind := range seed.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			b := exported(t, seed.Pool(seed.Options{Kind: kind, Users: 120, Groups: 12, Seed: uint64(i + 1)}))
			r := b.restore(b.target(), nil)
			b.proved(r)
			for i := range b.source.Users {
				u := &b.source.Users[i]
				line := r.mapped(t, u.Attribute("sub"))
				state, outcome := promised(&b.source.Pool, u)
				if line[0] != u.Username || line[3] != u.UserStatus || line[4] != state || line[5] != outcome {
					t.Errorf("user %s, %s: mapping.csv says %q, promised are state %q and outcome %q", u.Username, u.UserStatus, line, state, outcome)
				}
				if state != "" && line[2] == "" {
					t.Errorf("user %s: mapping.csv has no new sub", u.Username)
				}
			}
		})
	}
}

// promised is the table: in which state a user comes back. Where a value
// cannot stand in a CSV file, the user comes by API and is CONFIRMED.
func promised(pool *cognito.UserPool, u *cognito.User) (state, outcome string) {
	verified := func(name string) bool { return u.Attribute(name) != "" && u.Attribute(name+"_verified") == "true" }
	csv := false
	for _, name := range pool.AutoVerifiedAttributes {
		csv = csv || verified(name)
	}
	csv = csv && !awkward(u.Username)
	for _, a := range u.Attributes {
		csv = csv && (a.Name == "identities" || !awkward(a.Value))
	}
	switch {
	case u.UserStatus == seed.External:
		return "", "deferred"
	case u.UserStatus == "UNCONFIRMED" || !verified("email") && !verified("phone_number"):
		return "FORCE_CHANGE_PASSWORD", "restored"
	case csv:
		return "RESET_REQUIRED", "restored"
	}
	return "CONFIRMED", "restored"
}

// awkward says that a value cannot stand in a CSV file, whose only escape is a
// backslash before a comma, or that a reader may take a part of it for a line end.
func awkward(value string) bool {
	return strings.ContainsAny(value, "\"\\\u2028\u2029") || strings.ContainsFunc(value, unicode.IsControl) || strings.TrimSpace(value) != value
}
