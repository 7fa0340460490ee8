package seed

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// group is a group of the made-up pool; precedence nil is absent.
type group struct {
	name, description, role string
	precedence              *int
}

// maxGroupsPerUser is Cognito's quota.
const maxGroupsPerUser = 100

func at(n int) *int { return &n }

// oddGroups come first in every pool: what a group can be.
var oddGroups = []group{
	{name: "Admins", description: "Operators of the shop", precedence: at(0), role: "arn:aws:iam::123456789012:role/shop-admins"},
	{name: "読者", description: "ニュースレターの読者、日本", precedence: at(20)},
	{name: "support/eu", description: "Support, Europe"},
	{name: "C#", description: `people who say "C#", not C++`, precedence: at(5)},
	{name: "team@example.com"},
	{name: "a,b,c", description: "commas, in name and description", precedence: at(1)},
	{name: "🚀launch", description: "🎉", role: "arn:aws:iam::123456789012:role/service/launch"},
	{name: "R&D+(2)%20", description: "two\nlines", precedence: at(1000000)},
	{name: `quote"s'`, precedence: at(2)},
	{name: strings.Repeat("g", 128), description: strings.Repeat("0123456789abcdef", 2048/16)},
	{name: "USER-not-a-user", description: "a name that looks like a key of the backup"},
	{name: "GROUP_MEMBER-x"},
}

// groups makes n groups.
func groups(n int) []group {
	all := make([]group, 0, n)
	for i := range n {
		if i < len(oddGroups) {
			all = append(all, oddGroups[i])
			continue
		}
		g := group{name: fmt.Sprintf("team-%03d", i)}
		if i%3 != 0 {
			g.description = fmt.Sprintf("Team number %d", i)
		}
		if i%4 != 0 {
			g.precedence = at(i)
		}
		all = append(all, g)
	}
	return all
}

// members puts people into groups: one user in a thousand, and one more, is in
// as many groups as Cognito allows, of the others every fourth is in one and a
// few are in several.
// The result maps a group's index to the indices of its members.
func members(people []*person, n int, r *rand.Rand) [][]int {
	in := make([][]int, n)
	if n == 0 {
		return in
	}
	everywhere := min(n, maxGroupsPerUser)
	for i, p := range people {
		switch {
		case i%1000 == 20 || i == 33 || i == 0 && len(people) <= 20:
			for _, g := range r.Perm(n)[:everywhere] {
				in[g] = append(in[g], i)
			}
		case i%4 == 0 && p.status != External, i%40 == 24:
			// The odd groups have most members, so that odd names are met often.
			g := r.IntN(min(n, len(oddGroups)))
			if i%16 == 0 {
				g = r.IntN(n)
			}
			in[g] = append(in[g], i)
		case i%50 == 18:
			for _, g := range r.Perm(n)[:min(n, 3)] {
				in[g] = append(in[g], i)
			}
		}
	}
	return in
}
