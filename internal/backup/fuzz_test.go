package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// storedTable is a table of which only items matter that somebody else wrote.
type storedTable struct {
	Table
	items []Item
}

func (t storedTable) Scan(context.Context, Segment, *Key) ([]Item, *Key, error) {
	return t.items, nil, nil
}
func (t storedTable) Query(context.Context, string, string) ([]Item, error) { return t.items, nil }

// FuzzItem: an item of the table, whoever wrote it, is read as what it is, or
// refused; it is never a reason to end. What is read is stored again as the same.
func FuzzItem(f *testing.F) {
	add := func(id, itemType, content string, compressed []byte, validFrom, validTo, deletedAt string) {
		f.Add(id, itemType, content, compressed, validFrom, validTo, deletedAt)
	}
	now := "2026-11-22T09:00:00.000Z"
	add("USER-1", "USER", `{"username":"a","status":"CONFIRMED","enabled":true,"created":"2020-01-01T00:00:00Z","attributes":{"sub":"1"}}`, nil, now, "", "")
	add("USER-1", "USER "+now, `{}`, nil, now, "2026-11-23T09:00:00.000Z", "")
	add("GROUP-g", "GROUP", `{"name":"g","precedence":0}`, nil, now, "", now)
	add("GROUP_MEMBER-1", "g", `{}`, nil, now, "", "")
	add("EXPORT-eu-west-1_A", now, `{"userPoolId":"eu-west-1_A","digest":"00"}`, nil, "", "", "")
	add("EXPORT-eu-west-1_A", "no time", `{"digest":7}`, nil, "", "", "")
	add("LEASE-eu-west-1-ExportWorkflow", "LEASE", ``, []byte("no gzip"), "", "", "")
	add("", "", "", []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}, "", "", "")
	f.Fuzz(func(t *testing.T, id, itemType, content string, compressed []byte, validFrom, validTo, deletedAt string) {
		for _, s := range []string{id, itemType, content, validFrom, validTo, deletedAt} {
			if !utf8.ValidString(s) {
				t.Skip("DynamoDB holds UTF-8")
			}
		}
		av := map[string]types.AttributeValue{}
		for name, value := range map[string]string{"id": id, "type": itemType, "content": content, "validFrom": validFrom, "validTo": validTo, "deletedAt": deletedAt} {
			if value != "" {
				av[name] = &types.AttributeValueMemberS{Value: value}
			}
		}
		if len(compressed) > 0 {
			av["compressed"] = &types.AttributeValueMemberB{Value: compressed}
		}
		item, err := unmarshal(av)
		if err != nil {
			return
		}
		again, err := marshal(&item)
		if err != nil {
			t.Fatal(err)
		}
		back, err := unmarshal(again)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.Content, item.Content) || back.Key != item.Key || back.ValidFrom != item.ValidFrom || back.ValidTo != item.ValidTo || back.DeletedAt != item.DeletedAt {
			t.Errorf("%+v was stored as %+v", item, back)
		}
		read(t, item)
	})
}

// read puts the item through everything that reads items.
func read(t *testing.T, item Item) {
	for _, v := range []any{new(User), new(Group), new(Membership), new(RestorePoint)} {
		_ = item.Decode(v) // may fail, must not panic
	}
	item.Kind()
	item.Name()
	item.Hash = hashOf(item.Content)
	if older := item.version("2026-11-22T09:00:00.000Z"); !item.isVersion() && older.record() != item.Key {
		t.Errorf("an older version of %v is one of %v", item.Key, older.record())
	}
	store := &Store{Table: storedTable{items: []Item{item, item}}}
	ctx := t.Context()
	live, next, err := store.ReadAsOf(ctx, "2026-11-22T10:00:00.000Z", Segment{Of: 1}, Position{})
	if err != nil || !next.Done {
		t.Errorf("position %+v, error %v", next, err)
	}
	var sum Summary
	for i := range live {
		sum.Add(&live[i])
	}
	_, _ = store.Memberships(ctx, "1", "2026-11-22T10:00:00.000Z")
	points, err := store.RestorePoints(ctx, "eu-west-1_A")
	if err == nil {
		Needed(&item, Retained(points, "2026-01-01T00:00:00.000Z"))
	}
}

// FuzzDigest: digests are read as they were written, and nothing else is.
func FuzzDigest(f *testing.F) {
	f.Add([]byte(`"0000000000000000000000000000000000000000000000000000000000000000"`))
	f.Add([]byte(`"ff"`))
	f.Add([]byte(`null`))
	f.Add([]byte(`"FFFFffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Digest
		if json.Unmarshal(b, &d) != nil {
			return
		}
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var again Digest
		if err := json.Unmarshal(text, &again); err != nil || again != d {
			t.Errorf("%v became %v: %v", d, again, err)
		}
	})
}

// FuzzRecord: the canonical form of a user is read as the same user, whatever
// the attributes hold.
func FuzzRecord(f *testing.F) {
	f.Add("ada", "CONFIRMED", true, "email", "ada@example.com", "name", "Ada, \"Countess\"\n\u2028\\")
	f.Add("", "", false, "", "", "\x00", "\u00e9\U0001F600")
	f.Fuzz(func(t *testing.T, username, status string, enabled bool, name1, value1, name2, value2 string) {
		for _, s := range []string{username, status, name1, value1, name2, value2} {
			if !utf8.ValidString(s) {
				t.Skip("Cognito answers UTF-8")
			}
		}
		want := User{Username: username, Status: status, Enabled: enabled, Created: time.Unix(1_600_000_000, 0).UTC(), Attributes: map[string]string{name1: value1, name2: value2}}
		record, err := NewRecord(UserKey("1"), want)
		if err != nil {
			t.Fatal(err)
		}
		item := Item{Key: record.Key, Content: record.Content}
		var got User
		if err := item.Decode(&got); err != nil {
			t.Fatal(err)
		}
		again, err := NewRecord(UserKey("1"), got)
		if err != nil || !bytes.Equal(again.Content, record.Content) {
			t.Errorf("%s became %s: %v", record.Content, again.Content, err)
		}
		if got.Username != want.Username || got.Attributes[name1] != want.Attributes[name1] || got.Attributes[name2] != want.Attributes[name2] {
			t.Errorf("%+v became %+v", want, got)
		}
	})
}
