package sim

import (
	"encoding/binary"
	"fmt"
	"time"

	"cognito-backup/test/localaws/cognito"
)

// Shape is the size of a pool.
type Shape struct {
	Users      int
	GroupsEach int // groups that every user is in
}

// groups is how many groups a pool with memberships has.
const groups = 100

// Groups is how many groups the pool has.
func (s Shape) Groups() int {
	if s.GroupsEach == 0 {
		return 0
	}
	return groups
}

// Memberships is how many memberships the pool has.
func (s Shape) Memberships() int { return s.Users * s.GroupsEach }

// String names the shape.
func (s Shape) String() string {
	return fmt.Sprintf("%d users, %d groups each", s.Users, s.GroupsEach)
}

// Seed is a pool of that shape. Every user is confirmed and has a verified
// address, so that a CSV import takes them all.
func (s Shape) Seed(id string) *cognito.Seed {
	seed := &cognito.Seed{Pool: cognito.UserPool{Id: id, Name: "simulated", AutoVerifiedAttributes: []string{"email"},
		AdminCreateUserConfig: &cognito.AdminCreateUserConfig{AllowAdminCreateUserOnly: true}}}
	seed.Users = make([]cognito.User, s.Users)
	for i := range seed.Users {
		seed.Users[i] = user(i)
	}
	if s.GroupsEach == 0 {
		return seed
	}
	seed.Members = map[string][]string{}
	for g := range groups {
		seed.Groups = append(seed.Groups, cognito.Group{GroupName: groupName(g), Description: "one of " + fmt.Sprint(groups), CreationDate: created, LastModifiedDate: created})
	}
	for i := range seed.Users {
		for n := range s.GroupsEach {
			group := seed.Groups[s.group(i, n)].GroupName
			seed.Members[group] = append(seed.Members[group], seed.Users[i].Username)
		}
	}
	return seed
}

var created = cognito.Date{Time: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}

func user(i int) cognito.User {
	name := username(i)
	return cognito.User{
		Username: name, Enabled: true, UserStatus: cognito.Confirmed, UserCreateDate: created, UserLastModifiedDate: created,
		Attributes: []cognito.Attribute{
			{Name: "sub", Value: sub(i)},
			{Name: "email", Value: name + "@example.com"},
			{Name: "email_verified", Value: "true"},
			{Name: "given_name", Value: fmt.Sprintf("Given %d", i%997)},
			{Name: "family_name", Value: fmt.Sprintf("Family %d", i%9973)},
			{Name: "locale", Value: "de-CH"},
		},
	}
}

func username(i int) string { return fmt.Sprintf("user-%08d", i) }

func groupName(g int) string { return fmt.Sprintf("group-%03d", g) }

// group is the n-th group that a user is in.
func (s Shape) group(user, n int) int { return (user + n*groups/s.GroupsEach) % groups }

// sub is a UUID that follows from the number; the digits of the subs are as
// evenly spread as Cognito's.
func sub(i int) string {
	x := splitMix(uint64(i)*2 + 1)
	y := splitMix(x ^ 0x9e3779b97f4a7c15)
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], x)
	binary.BigEndian.PutUint64(b[8:], y)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func splitMix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
