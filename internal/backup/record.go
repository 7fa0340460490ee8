// Package backup is the backup table: records and their older versions, the
// restore points that exports commit, and reading the table as of any of them.
//
// It promises that a record is never overwritten before its older version is
// safe, that every overwrite is conditional, so that a late or doubled writer
// changes nothing, and that what a restore point says it holds can be proved
// from what is stored.
package backup

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

// Key is the primary key of an item: partition key id, sort key type.
type Key struct {
	ID   string `dynamodbav:"id"`
	Type string `dynamodbav:"type"`
}

// Kind is what an item is about.
type Kind string

// The kinds of items in the table.
const (
	KindUser       Kind = "USER"
	KindGroup      Kind = "GROUP"
	KindMembership Kind = "GROUP_MEMBER"
	KindPool       Kind = "POOL"
	KindExport     Kind = "EXPORT"   // commit records
	KindRestored   Kind = "RESTORED" // which new sub an import gave to an old one
	KindLease      Kind = "LEASE"
)

// UserKey is the key of a user's record: USER-<sub>, USER.
func UserKey(sub string) Key { return Key{"USER-" + sub, "USER"} }

// GroupKey is the key of a group's record: GROUP-<name>, GROUP.
func GroupKey(name string) Key { return Key{"GROUP-" + name, "GROUP"} }

// MembershipKey is the key of a membership: GROUP_MEMBER-<sub>, <group name>.
// A user's memberships are one Query, and a group of a million members does
// not heat one partition.
func MembershipKey(sub, group string) Key { return Key{"GROUP_MEMBER-" + sub, group} }

// PoolKey is the key of the pool's configuration: POOL-<pool id>, POOL.
func PoolKey(poolID string) Key { return Key{"POOL-" + poolID, "POOL"} }

// RestoredKey is the key under which an import records the new sub of a user.
func RestoredKey(oldSub, targetPoolID string) Key { return Key{"RESTORED-" + oldSub, targetPoolID} }

func exportID(poolID string) string { return "EXPORT-" + poolID }

// Kind is the part of the id before the first dash.
func (k Key) Kind() Kind {
	kind, _, _ := strings.Cut(k.ID, "-")
	return Kind(kind)
}

// Name is the part of the id after the first dash: a sub, a group name or a pool id.
func (k Key) Name() string {
	_, name, _ := strings.Cut(k.ID, "-")
	return name
}

// Hash is 16 bytes that stand for the key in the objects of keys seen: eight
// for the name, so that a user and all memberships of that user share them,
// and eight for the key.
func (k Key) Hash() (h [16]byte) {
	name := sha256.Sum256([]byte(k.Name()))
	key := sha256.Sum256([]byte(k.ID + "\x00" + k.Type))
	copy(h[:8], name[:])
	copy(h[8:], key[:])
	return h
}

// Item is one item of the table. Content is the canonical JSON of a User,
// Group, Membership, PoolConfig or RestorePoint; Hash is the hash of Content.
type Item struct {
	Key
	Content []byte
	Hash    string
	// ValidFrom is the run that first saw this content.
	ValidFrom string
	// ValidTo is set in an older version: the run that replaced it.
	ValidTo string
	// DeletedAt is set in a tombstone: the run that no longer saw the record.
	DeletedAt string
}

// Live says that the record was in the pool at time t, as far as this item
// tells. A current record counts unless it was gone by t; an older version
// counts while it was valid.
func (i *Item) live(t string) bool {
	switch {
	case i.ValidFrom > t:
		return false
	case i.ValidTo != "":
		return t < i.ValidTo
	default:
		return i.DeletedAt == "" || t < i.DeletedAt
	}
}

// isVersion says that the item is an older version of a record.
func (i *Item) isVersion() bool { return i.ValidTo != "" }

// record is the key of the record that the item is the current state or an older
// version of. By Cognito's rules no type contains a space, a group's name
// included; should an endpoint take one all the same, the version tells itself.
func (i *Item) record() Key {
	if i.isVersion() {
		return Key{i.ID, strings.TrimSuffix(i.Type, " "+i.ValidFrom)}
	}
	return i.Key
}

// version is the older version that replaces the item when its content ends at
// the given run. Its key follows from the item, so that a retry reproduces it.
func (i *Item) version(end string) Item {
	v := *i
	v.Type += " " + i.ValidFrom
	v.ValidTo, v.DeletedAt = end, ""
	return v
}

// AsOf picks from all items of one record the one that was in the pool at t.
func AsOf(items []Item, t string) (Item, bool) {
	for _, item := range items { // the current record stands first
		if item.live(t) {
			item.Key = item.record()
			return item, true
		}
	}
	return Item{}, false
}

// User is the content of a user's record.
type User struct {
	Username   string            `json:"username"`
	Status     string            `json:"status"`
	Enabled    bool              `json:"enabled"`
	Created    time.Time         `json:"created"`
	Attributes map[string]string `json:"attributes"` // all, sub and identities included
}

// Group is the content of a group's record.
type Group struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Precedence  *int32 `json:"precedence,omitempty"`
	RoleARN     string `json:"roleArn,omitempty"`
}

// Identity is by what a person signs in, for recognizing users who came back
// under a new sub: the username, or, where Cognito generated that, the e-mail
// address or else the phone number.
func (u *User) Identity() string {
	if u.Username != u.Attributes["sub"] {
		return u.Username
	}
	return cmp.Or(u.Attributes["email"], u.Attributes["phone_number"], u.Username)
}

// Membership is the content of a membership: its key says it all.
type Membership struct{}

// Record is one record as observed in the pool.
type Record struct {
	Key
	Content []byte // canonical JSON
}

// FromUser is the record of a user.
func FromUser(u pool.User) (Record, error) {
	if u.Sub == "" {
		return Record{}, noSub("a user of the pool")
	}
	return NewRecord(UserKey(u.Sub), User{
		Username: u.Username, Status: u.Status, Enabled: u.Enabled, Created: u.Created, Attributes: u.Attributes,
	})
}

func noSub(who string) error {
	return fmt.Errorf("%s has no sub attribute, by which users are recorded; if this is a test double of Cognito, let it return sub", who)
}

// FromGroup is the record of a group.
func FromGroup(g pool.Group) (Record, error) {
	return NewRecord(GroupKey(g.Name), Group{
		Name: g.Name, Description: g.Description, Precedence: g.Precedence, RoleARN: g.RoleARN,
	})
}

// FromMembership is the record of a user's membership of a group.
func FromMembership(sub, group string) (Record, error) {
	if sub == "" {
		return Record{}, noSub("a member of a group")
	}
	return NewRecord(MembershipKey(sub, group), Membership{})
}

// NewRecord is a record with the canonical form of the content: JSON with the
// members in a fixed order and map keys sorted, so that the order in which
// Cognito lists attributes does not matter.
func NewRecord(key Key, content any) (Record, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(content); err != nil {
		return Record{}, fmt.Errorf("encode record %s: %w", key.Kind(), err)
	}
	return Record{Key: key, Content: bytes.TrimSuffix(b.Bytes(), []byte("\n"))}, nil
}

// Decode reads the content of the item into v.
func (i *Item) Decode(v any) error {
	if err := json.Unmarshal(i.Content, v); err != nil {
		return fmt.Errorf("decode the content of a %s record: %w", i.Kind(), err)
	}
	return nil
}

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// RestorePoint is the commit record of an export, its last write. Without it
// the export is no restore point.
type RestorePoint struct {
	UserPoolID string    `json:"userPoolId"`
	StartedAt  time.Time `json:"startedAt"`   // names the restore point
	EndedAt    time.Time `json:"endedAt"`     // of the listing: a later accident cannot be in it
	Committed  time.Time `json:"committedAt"` // of this record
	Summary
	// Previous is the ID of the restore point before, "" for the first.
	Previous string `json:"previous,omitempty"`
	// Added, Changed and Removed count users, groups and memberships together
	// against the restore point before.
	Added   int64 `json:"added"`
	Changed int64 `json:"changed"`
	Removed int64 `json:"removed"`
	// RemovedBy counts what disappeared by kind.
	RemovedBy map[Kind]int64 `json:"removedBy,omitempty"`
	Throttled int64          `json:"throttledCalls"`
	// Suspect: so many users are gone compared with Reference that somebody
	// must look first. Skipped by default when restoring.
	Suspect   bool   `json:"suspect"`
	Gone      int64  `json:"gone,omitempty"`
	Reference string `json:"reference,omitempty"` // StartedAt of the restore point compared with
	Accepted  bool   `json:"accepted,omitempty"`  // a person accepted the mass disappearance
	Execution string `json:"execution"`
}

// ID is the time that names the restore point, as it stands in the records.
func (p *RestorePoint) ID() string { return step.FormatTime(p.StartedAt) }

// Trustworthy says that a restore may take the point without being told to.
func (p *RestorePoint) Trustworthy() bool { return !p.Suspect }

// Summary is what a restore point holds: counts and a digest.
type Summary struct {
	Users       int64  `json:"users"`
	Groups      int64  `json:"groups"`
	Memberships int64  `json:"memberships"`
	Digest      Digest `json:"digest"`
}

// Add counts an item that belongs to the restore point.
func (s *Summary) Add(i *Item) {
	switch i.Kind() {
	case KindUser:
		s.Users++
	case KindGroup:
		s.Groups++
	case KindMembership:
		s.Memberships++
	}
	s.Digest.add(i.Key, i.Content)
}

// Merge adds the counts and the digest of another part of the table.
func (s *Summary) Merge(other Summary) {
	s.Users += other.Users
	s.Groups += other.Groups
	s.Memberships += other.Memberships
	s.Digest.merge(other.Digest)
}
