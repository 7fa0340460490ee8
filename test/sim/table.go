package sim

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"cognito-backup/internal/backup"
)

// Table is the backup table in memory: small enough for millions of records,
// with DynamoDB's latencies and its way of counting capacity.
type Table struct {
	latency Latency

	mu         sync.Mutex
	partitions map[string]*partition
	segments   map[int][][]*partition // by number of segments; nil after a new partition
	texts      []string               // what records hold, by number; the first is empty
	numbers    map[string]uint32      // of texts that many records share
	used       Usage
}

var _ backup.Table = (*Table)(nil)

// Usage is what calls have consumed.
type Usage struct {
	Written    map[backup.Kind]int64 // items put or deleted
	ReadUnits  float64               // strongly consistent: one for each 4 KB begun
	WriteUnits float64               // one for each KB begun
	Items      int64                 // stored now
	Bytes      int64                 // stored now
}

// partition is all items of one id, in the order of their types.
type partition struct {
	id    string
	hash  uint32
	items []packed
}

// packed is an item as numbers of texts, because of memberships there are tens
// of millions, and nothing in it is for the collector to follow.
type packed struct{ itemType, content, hash, validFrom, validTo, deletedAt uint32 }

func (t *Table) unpack(p *partition, at int) backup.Item {
	i := &p.items[at]
	return backup.Item{
		Key: backup.Key{ID: p.id, Type: t.texts[i.itemType]}, Content: []byte(t.texts[i.content]), Hash: t.texts[i.hash],
		ValidFrom: t.texts[i.validFrom], ValidTo: t.texts[i.validTo], DeletedAt: t.texts[i.deletedAt],
	}
}

// Usage is what has been consumed so far.
func (t *Table) Usage() Usage {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.used
	u.Written = map[backup.Kind]int64{}
	for k, n := range t.used.Written {
		u.Written[k] = n
	}
	return u
}

// ResetUsage begins to count anew what is consumed.
func (t *Table) ResetUsage() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used.Written, t.used.ReadUnits, t.used.WriteUnits = nil, 0, 0
}

// size is about an item's size as DynamoDB counts it: names and values.
func size(i *backup.Item) int {
	n := len(i.ID) + len(i.Type) + len(i.Content) + len("idtypecontent")
	for _, v := range []struct{ name, value string }{
		{"hash", i.Hash}, {"validFrom", i.ValidFrom}, {"validTo", i.ValidTo}, {"deletedAt", i.DeletedAt},
	} {
		if v.value != "" {
			n += len(v.name) + len(v.value)
		}
	}
	return n
}

func units(bytes, per int) float64 { return float64(max(1, (bytes+per-1)/per)) }

const (
	readUnit  = 4096
	writeUnit = 1024
	pageBytes = 1 << 20 // of a Scan
	batchSize = 100     // of a BatchGetItem
)

// Get implements backup.Table.
func (t *Table) Get(ctx context.Context, keys []backup.Key, headOnly bool) (map[backup.Key]backup.Item, error) {
	if err := reach(ctx, time.Duration((len(keys)+batchSize-1)/batchSize)*t.latency.Batch); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	found := map[backup.Key]backup.Item{}
	for _, k := range keys {
		bytes := 0
		if p := t.partitions[k.ID]; p != nil {
			if at, ok := t.find(p, k.Type); ok {
				item := t.unpack(p, at)
				bytes = size(&item)
				if headOnly {
					item.Content = nil
				}
				found[k] = item
			}
		}
		t.used.ReadUnits += units(bytes, readUnit)
	}
	return found, nil
}

func (t *Table) find(p *partition, itemType string) (int, bool) {
	return slices.BinarySearchFunc(p.items, itemType, func(i packed, want string) int { return strings.Compare(t.texts[i.itemType], want) })
}

// Put implements backup.Table.
func (t *Table) Put(ctx context.Context, item backup.Item, expect backup.Expectation) (bool, error) {
	if err := reach(ctx, t.latency.Item); err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.partitions[item.ID]
	var stored backup.Item
	at, exists := 0, false
	if p != nil {
		if at, exists = t.find(p, item.Type); exists {
			stored = t.unpack(p, at)
		}
	}
	bytes := size(&item)
	t.used.WriteUnits += units(max(bytes, size(&stored)), writeUnit)
	if !expect.Met(stored, exists) {
		return false, nil
	}
	if p == nil {
		p = t.newPartition(item.ID)
	}
	i := packed{t.shared(item.Type), 0, 0, t.shared(item.ValidFrom), t.shared(item.ValidTo), t.shared(item.DeletedAt)}
	if item.Kind() == backup.KindMembership { // all of them hold the same
		i.content, i.hash = t.shared(string(item.Content)), t.shared(item.Hash)
	} else {
		i.content, i.hash = t.text(string(item.Content)), t.text(strings.Clone(item.Hash))
	}
	if exists {
		t.used.Bytes -= int64(size(&stored))
		p.items[at] = i
	} else {
		t.used.Items++
		// No room for more than there are: of records there are millions.
		grown := make([]packed, 0, len(p.items)+1)
		p.items = append(append(append(grown, p.items[:at]...), i), p.items[at:]...)
	}
	t.used.Bytes += int64(bytes)
	t.wrote(item.Key)
	return true, nil
}

func (t *Table) wrote(k backup.Key) {
	if t.used.Written == nil {
		t.used.Written = map[backup.Kind]int64{}
	}
	t.used.Written[k.Kind()]++
}

func (t *Table) newPartition(id string) *partition {
	if t.partitions == nil {
		t.partitions, t.texts, t.numbers = map[string]*partition{}, []string{""}, map[string]uint32{}
	}
	h := fnv.New32a()
	h.Write([]byte(id))
	p := &partition{id: strings.Clone(id), hash: h.Sum32()}
	t.partitions[p.id] = p
	t.segments = nil
	return p
}

// text is the number of a text of one record.
func (t *Table) text(s string) uint32 {
	if s == "" {
		return 0
	}
	t.texts = append(t.texts, s)
	return uint32(len(t.texts) - 1)
}

// shared is the number of the one copy of what many records hold: group names,
// run ids, contents of memberships.
func (t *Table) shared(s string) uint32 {
	if n, ok := t.numbers[s]; ok {
		return n
	}
	n := t.text(strings.Clone(s))
	if len(t.numbers) < 100_000 {
		t.numbers[t.texts[n]] = n
	}
	return n
}

// Delete implements backup.Table.
func (t *Table) Delete(ctx context.Context, key backup.Key, expect backup.Expectation) (bool, error) {
	if err := reach(ctx, t.latency.Item); err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var stored backup.Item
	at, exists := 0, false
	p := t.partitions[key.ID]
	if p != nil {
		if at, exists = t.find(p, key.Type); exists {
			stored = t.unpack(p, at)
		}
	}
	t.used.WriteUnits += units(size(&stored), writeUnit)
	if !expect.Met(stored, exists) {
		return false, nil
	}
	if exists {
		p.items = slices.Delete(p.items, at, at+1)
		t.used.Items--
		t.used.Bytes -= int64(size(&stored))
	}
	t.wrote(key)
	return true, nil
}

// Query implements backup.Table.
func (t *Table) Query(ctx context.Context, id, prefix string) ([]backup.Item, error) {
	if err := reach(ctx, t.latency.Item); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var items []backup.Item
	bytes := 0
	if p := t.partitions[id]; p != nil {
		for at := range p.items {
			if item := t.unpack(p, at); strings.HasPrefix(item.Type, prefix) {
				items = append(items, item)
				bytes += size(&item)
			}
		}
	}
	t.used.ReadUnits += units(bytes, readUnit)
	return items, nil
}

// Scan implements backup.Table.
func (t *Table) Scan(ctx context.Context, segment backup.Segment, after *backup.Key) ([]backup.Item, *backup.Key, error) {
	if err := reach(ctx, t.latency.Page); err != nil {
		return nil, nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.segment(segment)
	from := partition{}
	if after != nil {
		h := fnv.New32a()
		h.Write([]byte(after.ID))
		from = partition{id: after.ID, hash: h.Sum32()}
	}
	at, _ := slices.BinarySearchFunc(all, &from, inOrder)
	var items []backup.Item
	bytes := 0
	for _, p := range all[at:] {
		for at := range p.items {
			item := t.unpack(p, at)
			if after != nil && p.id == after.ID && item.Type <= after.Type {
				continue
			}
			if bytes >= pageBytes {
				last := items[len(items)-1].Key
				t.used.ReadUnits += units(bytes, readUnit)
				return items, &last, nil
			}
			items = append(items, item)
			bytes += size(&item)
		}
	}
	t.used.ReadUnits += units(bytes, readUnit)
	return items, nil, nil
}

func inOrder(a, b *partition) int {
	return cmp.Or(cmp.Compare(a.hash, b.hash), strings.Compare(a.id, b.id))
}

// segment is the partitions of a segment in order. Partitions that come later
// are seen by the next scan from the beginning.
func (t *Table) segment(s backup.Segment) []*partition {
	if t.segments == nil {
		t.segments = map[int][][]*partition{}
	}
	if t.segments[s.Of] == nil {
		divided := make([][]*partition, s.Of)
		for _, p := range t.partitions {
			i := int(p.hash) % s.Of
			divided[i] = append(divided[i], p)
		}
		for _, d := range divided {
			slices.SortFunc(d, inOrder)
		}
		t.segments[s.Of] = divided
	}
	return t.segments[s.Of][s.Index]
}
