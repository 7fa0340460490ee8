package sim

import (
	"strings"
	"testing"

	"cognito-backup/test/localaws/cognito"
)

// TestHolds: whatever is missing, changed or too much in a pool is found.
func TestHolds(t *testing.T) {
	for _, s := range []Shape{{Users: 250}, {Users: 250, GroupsEach: 1}, {Users: 250, GroupsEach: 20}} {
		if err := s.holds(s.Seed(targetID)); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	s := Shape{Users: 250, GroupsEach: 3}
	group := groupName(s.group(7, 0))
	for want, spoil := range map[string]func(*cognito.Seed){
		"249 of 250 users": func(p *cognito.Seed) { p.Users = p.Users[1:] },
		"is nobody":        func(p *cognito.Seed) { p.Users[3].Username = "user-00000250" },
		"user 3 is there twice": func(p *cognito.Seed) {
			p.Users[4] = p.Users[3]
		},
		"user 5 is disabled":                func(p *cognito.Seed) { p.Users[5].Enabled = false },
		"user 5: locale is not what it":     func(p *cognito.Seed) { p.Users[5].Attributes[5].Value = "" },
		"user 5: 4 attributes of 5":         func(p *cognito.Seed) { p.Users[5].Attributes = p.Users[5].Attributes[:5] },
		"99 of 100 groups":                  func(p *cognito.Seed) { p.Groups = p.Groups[1:] },
		"749 of 750 memberships":            func(p *cognito.Seed) { p.Members[group] = p.Members[group][1:] },
		group + ": user 8 is no member":     func(p *cognito.Seed) { p.Members[group][0] = username(8) },
		group + ": user 7 is there twice":   func(p *cognito.Seed) { p.Members[group] = append(p.Members[group], username(7)) },
		group + `: "somebody" is nobody of`: func(p *cognito.Seed) { p.Members[group] = append(p.Members[group], "somebody") },
	} {
		p := s.Seed(targetID)
		spoil(p)
		if err := s.holds(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
