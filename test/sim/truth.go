package sim

import (
	"fmt"
	"strconv"
	"strings"

	"cognito-backup/test/localaws/cognito"
)

// holds says that a pool is of the shape: it has all users, with all of their
// attributes but the sub, which is new in another pool, all groups and all
// memberships, and nothing beside them. What must be there is computed user by
// user, because of a large pool there is no room for one more.
func (s Shape) holds(p *cognito.Seed) error {
	seen := make([]bool, s.Users)
	for i := range p.Users {
		u := &p.Users[i]
		number, err := s.once(u.Username, seen)
		if err != nil {
			return err
		}
		if !u.Enabled {
			return fmt.Errorf("user %d is disabled", number)
		}
		want := user(number)
		if err := sameAttributes(&want, u); err != nil {
			return fmt.Errorf("user %d: %w", number, err)
		}
	}
	if len(p.Users) != s.Users {
		return fmt.Errorf("%d of %d users", len(p.Users), s.Users)
	}
	if len(p.Groups) != s.Groups() {
		return fmt.Errorf("%d of %d groups", len(p.Groups), s.Groups())
	}
	memberships := 0
	for g := range s.Groups() {
		clear(seen)
		members := p.Members[groupName(g)]
		for _, name := range members {
			number, err := s.once(name, seen)
			if err == nil && !s.member(number, g) {
				err = fmt.Errorf("user %d is no member", number)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", groupName(g), err)
			}
		}
		memberships += len(members)
	}
	if memberships != s.Memberships() {
		return fmt.Errorf("%d of %d memberships", memberships, s.Memberships())
	}
	return nil
}

// once is the number of a user of the shape who was not seen before.
func (s Shape) once(name string, seen []bool) (int, error) {
	digits, _ := strings.CutPrefix(name, "user-")
	number, err := strconv.Atoi(digits)
	if err != nil || number < 0 || number >= s.Users || username(number) != name {
		return 0, fmt.Errorf("%q is nobody of the pool", name)
	}
	if seen[number] {
		return 0, fmt.Errorf("user %d is there twice", number)
	}
	seen[number] = true
	return number, nil
}

// member says whether a user of the shape is in a group.
func (s Shape) member(user, group int) bool {
	for n := range s.GroupsEach {
		if s.group(user, n) == group {
			return true
		}
	}
	return false
}

func sameAttributes(want, have *cognito.User) error {
	n := 0
	for _, a := range have.Attributes {
		// A CSV import says of everybody whether phone numbers are verified, even of
		// those who have none.
		if a.Name == "sub" || a.Name == "phone_number_verified" && a.Value == "false" {
			continue
		}
		n++
		if want.Attribute(a.Name) != a.Value {
			return fmt.Errorf("%s is not what it was", a.Name)
		}
	}
	if n != len(want.Attributes)-1 { // all but the sub
		return fmt.Errorf("%d attributes of %d", n, len(want.Attributes)-1)
	}
	return nil
}
