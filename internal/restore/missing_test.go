package restore

import (
	"testing"

	"cognito-backup/internal/pool"
)

// TestLinkTo: who is to be linked is named by the username in the target, which
// may be another than in the restore point; where Cognito gives out usernames,
// by the sub, which is one.
func TestLinkTo(t *testing.T) {
	attributes := []string{"email=a@b.c", "email_verified=true"}
	for name, test := range map[string]struct {
		rules    *Rules
		username string // in the target
		want     string
	}{
		"the same":  {testRules(emailAlias, selfSignUp), "al", "al"},
		"another":   {testRules(emailAlias, selfSignUp), "bo", "bo"},
		"generated": {testRules(byEmail, selfSignUp), "u", ""},
	} {
		t.Run(name, func(t *testing.T) {
			source := user(pool.Confirmed, "al", append(attributes, `identities=[{"providerName":"Google","userId":"7"}]`)...)
			target := other(pool.Confirmed, test.username, attributes...)
			e := Entry{User: source, NewSub: target.Sub, Open: true}
			c := testCensus(test.rules, e)
			c.renamed = map[uint32]string{}
			if _, known := c.observe(&target); !known {
				t.Fatal("not the same person")
			}
			v := &comparison{census: c, at: &position{Renamed: c.renamed}}
			add, chosen := v.missing(&Plan{Input: Input{Mode: MissingOnly}}, 0, &e)
			if !chosen || len(add.Present.Links) != 1 || add.Present.LinkTo != test.want || add.Present.Sub != target.Sub {
				t.Errorf("%t, %+v, want %q", chosen, add.Present, test.want)
			}
		})
	}
}
