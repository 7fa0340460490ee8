// Package backuptest is a backup table in memory, for tests and simulations. It
// behaves like the one in DynamoDB; one suite of tests holds both to that.
package backuptest

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"strings"
	"sync"

	"cognito-backup/internal/backup"
)

// Table is a backup table in memory. The zero value is empty and ready.
type Table struct {
	// PageSize is how many items a page of Scan holds; 100 when zero.
	PageSize int
	// Backwards lets Scan return each partition from its end: no order of a Scan
	// is promised, other than that of a Query.
	Backwards bool

	mu     sync.Mutex
	items  map[backup.Key]backup.Item
	sorted []backup.Key // nil after a change of the key set
	Writes int64        // items put or deleted
	Reads  int64        // items read
}

var _ backup.Table = (*Table)(nil)

// Items returns a copy of all items.
func (t *Table) Items() map[backup.Key]backup.Item {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[backup.Key]backup.Item, len(t.items))
	for k, i := range t.items {
		all[k] = i
	}
	return all
}

// Get implements backup.Table.
func (t *Table) Get(ctx context.Context, keys []backup.Key, headOnly bool) (map[backup.Key]backup.Item, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := map[backup.Key]backup.Item{}
	for _, k := range keys {
		if i, ok := t.items[k]; ok {
			if headOnly {
				i.Content = nil
			}
			found[k] = i
		}
	}
	t.Reads += int64(len(found))
	return found, ctx.Err()
}

// Put implements backup.Table.
func (t *Table) Put(ctx context.Context, item backup.Item, expect backup.Expectation) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	stored, exists := t.items[item.Key]
	if !expect.Met(stored, exists) {
		return false, nil
	}
	if t.items == nil {
		t.items = map[backup.Key]backup.Item{}
	}
	if !exists {
		t.sorted = nil
	}
	t.items[item.Key] = item
	t.Writes++
	return true, nil
}

// Delete implements backup.Table.
func (t *Table) Delete(ctx context.Context, key backup.Key, expect backup.Expectation) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	stored, exists := t.items[key]
	if !expect.Met(stored, exists) {
		return false, nil
	}
	delete(t.items, key)
	t.sorted = nil
	t.Writes++
	return true, nil
}

// Query implements backup.Table.
func (t *Table) Query(ctx context.Context, id, prefix string) ([]backup.Item, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var items []backup.Item
	keys := t.keys()
	at, _ := slices.BinarySearchFunc(keys, backup.Key{ID: id}, compare)
	for _, k := range keys[at:] {
		if k.ID != id {
			break
		}
		if strings.HasPrefix(k.Type, prefix) {
			items = append(items, t.items[k])
		}
	}
	t.Reads += int64(len(items))
	return items, ctx.Err()
}

// Scan implements backup.Table.
func (t *Table) Scan(ctx context.Context, segment backup.Segment, after *backup.Key) ([]backup.Item, *backup.Key, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	size := t.PageSize
	if size == 0 {
		size = 100
	}
	keys, order := t.keys(), compare
	if t.Backwards {
		order = func(a, b backup.Key) int {
			if a.ID == b.ID {
				return -compare(a, b)
			}
			return compare(a, b)
		}
		keys = slices.SortedFunc(slices.Values(keys), order)
	}
	at := 0
	if after != nil {
		var exact bool
		if at, exact = slices.BinarySearchFunc(keys, *after, order); exact {
			at++
		}
	}
	var items []backup.Item
	for ; at < len(keys); at++ {
		k := keys[at]
		if int(partition(k.ID))%segment.Of != segment.Index {
			continue
		}
		if len(items) == size {
			last := items[len(items)-1].Key
			return items, &last, ctx.Err()
		}
		items = append(items, t.items[k])
		t.Reads++
	}
	return items, nil, ctx.Err()
}

func (t *Table) keys() []backup.Key {
	if t.sorted == nil {
		for k := range t.items {
			t.sorted = append(t.sorted, k)
		}
		slices.SortFunc(t.sorted, compare)
	}
	return t.sorted
}

// compare orders keys as a table does: by the hash of the partition key, then
// by the sort key.
func compare(a, b backup.Key) int {
	return cmp.Or(cmp.Compare(partition(a.ID), partition(b.ID)), strings.Compare(a.ID, b.ID), strings.Compare(a.Type, b.Type))
}

func partition(id string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(id))
	return h.Sum32()
}
