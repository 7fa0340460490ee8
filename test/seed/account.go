package seed

import (
	"fmt"
	"slices"
)

// Counts is what a report says became of the records of one kind.
type Counts struct{ Total, There, Deferred int64 }

// Account holds a report's counts against the comparison and has one line for
// everything in which they differ.
func (r *Result) Account(users, groups, memberships Counts) []string {
	var problems []string
	for _, kind := range []struct {
		name     string
		said     Counts
		found    Part
		deferred int
	}{
		{"users", users, r.Users, r.DeferredUsers},
		{"groups", groups, r.Groups, 0},
		{"memberships", memberships, r.Memberships, r.DeferredMemberships},
	} {
		want := Counts{int64(kind.found.Expected + kind.deferred), int64(kind.found.Restored), int64(kind.deferred)}
		if kind.said != want {
			problems = append(problems, fmt.Sprintf("%s: the report counts %+v, the comparison %+v", kind.name, kind.said, want))
		}
	}
	return problems
}

// mappingHeader is the first line of mapping.csv, as it is documented.
var mappingHeader = []string{"username", "old_sub", "new_sub", "source_state", "new_state", "outcome"}

// Mapping holds the lines of mapping.csv against the comparison: every user of
// the source stands there once, by username and sub, with the sub and the state
// of the very user of the target that the comparison found. It has one line for
// everything that is missing, wrong or too much.
func (r *Result) Mapping(lines [][]string) []string {
	if len(lines) == 0 || !slices.Equal(lines[0], mappingHeader) {
		return []string{"mapping.csv has no header, or another one"}
	}
	var problems []string
	seen := map[string]bool{}
	for n, line := range lines[1:] {
		problem := func(format string, args ...any) {
			problems = append(problems, fmt.Sprintf("mapping.csv, line %d: ", n+2)+fmt.Sprintf(format, args...))
		}
		username, old := line[0], line[1]
		want, known := r.pairs[old]
		switch {
		case !known:
			problem("nobody in the source has the sub %s", old)
			continue
		case seen[old]:
			problem("the sub %s stands there already", old)
			continue
		}
		seen[old] = true
		if username != want.username {
			problem("the user with the sub %s is %q, not %q", old, want.username, username)
		}
		if line[2] != want.sub || line[3] != want.status || line[4] != want.newStatus {
			problem("%s became %s (%s -> %s), the comparison found %s (%s -> %s)", old, line[2], line[3], line[4], want.sub, want.status, want.newStatus)
		}
	}
	for old, want := range r.pairs {
		if !seen[old] {
			problems = append(problems, fmt.Sprintf("mapping.csv: %s, %q, is not there", old, want.username))
		}
	}
	slices.Sort(problems)
	return problems
}

// pair is a user of the source and what the comparison found of them in the
// target; empty where it found nobody.
type pair struct{ username, status, sub, newStatus string }
