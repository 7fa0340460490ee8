package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"cognito-backup/internal/step"

	"golang.org/x/sync/errgroup"
)

// writers is how many writes of one page are under way at once.
const writers = 32

// Store reads and writes the backup table in its own terms.
type Store struct {
	Table Table
}

// Sync makes the table say what a run observed in the pool: records that
// differ are written, the older version first; unchanged records cause no
// write. It returns how many records it wrote. Calling it again with the same
// or, for an older observation of the same run, other content changes nothing:
// the first content a run saw stays.
func (s *Store) Sync(ctx context.Context, runID string, observed []Record) (int, error) {
	unique := make(map[Key]Record, len(observed)) // a page may name a user twice
	keys := make([]Key, 0, len(observed))
	for _, r := range observed {
		if _, twice := unique[r.Key]; !twice {
			keys = append(keys, r.Key)
		}
		unique[r.Key] = r
	}
	heads, err := s.Table.Get(ctx, keys, true)
	if err != nil {
		return 0, err
	}
	var written int
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for key, record := range unique {
		head, exists := heads[key]
		if exists && settled(&head, runID, hashOf(record.Content)) {
			continue
		}
		g.Go(func() error {
			wrote, err := s.put(gctx, runID, record, exists)
			if wrote {
				mu.Lock()
				written++
				mu.Unlock()
			}
			return err
		})
	}
	return written, g.Wait()
}

// settled says that the run has nothing to write over this current record.
func settled(current *Item, runID, hash string) bool {
	if current.ValidFrom >= runID || current.DeletedAt >= runID {
		return true // this run has dealt with it, or a later one
	}
	return current.DeletedAt == "" && current.Hash == hash
}

func (s *Store) put(ctx context.Context, runID string, record Record, exists bool) (bool, error) {
	for attempt := range 3 {
		var current Item
		if exists || attempt > 0 {
			stored, err := s.Table.Get(ctx, []Key{record.Key}, false)
			if err != nil {
				return false, err
			}
			current, exists = stored[record.Key]
		}
		item := Item{Key: record.Key, Content: record.Content, Hash: hashOf(record.Content), ValidFrom: runID}
		expect := Absent()
		if exists {
			if settled(&current, runID, item.Hash) {
				return false, nil
			}
			end := runID
			if current.DeletedAt != "" {
				end = current.DeletedAt // it comes back: the version ended when it vanished
			}
			if _, err := s.Table.Put(ctx, current.version(end), Anything()); err != nil {
				return false, err
			}
			expect = Unchanged(&current)
		}
		done, err := s.Table.Put(ctx, item, expect)
		if err != nil {
			return false, err
		}
		if done {
			return true, nil
		}
		// Most likely our own write, whose answer was lost and which was sent
		// again: look once more.
	}
	return false, &step.TransientError{Err: fmt.Errorf("a %s record kept changing while it was written", record.Kind())}
}

// Bury makes a tombstone of a live current record that the run no longer saw:
// the content stays, deletedAt is set.
func (s *Store) Bury(ctx context.Context, runID string, current Item) error {
	tombstone := current
	tombstone.DeletedAt = runID
	_, err := s.Table.Put(ctx, tombstone, Unchanged(&current))
	return err
}

// Position is how far a segment has been read.
type Position struct {
	After *Key `json:",omitempty"`
	Done  bool `json:",omitempty"`
}

// ReadRecords reads the next records of a segment: for each all its items, the
// current one first, then the older versions. A record is never split. Leases
// are passed over. The returned position continues after the last record.
func (s *Store) ReadRecords(ctx context.Context, segment Segment, from Position) ([][]Item, Position, error) {
	var items []Item
	after := from.After
	for {
		page, next, err := s.Table.Scan(ctx, segment, after)
		if err != nil {
			return nil, from, err
		}
		items = append(items, page...)
		records := group(items)
		if next == nil {
			return withoutLeases(records), Position{Done: true}, nil
		}
		// The last record may go on on the next page: leave it for the next call,
		// unless it is all there is.
		if len(records) > 1 {
			open := len(records) - 1
			end := items[len(items)-len(records[open])-1].Key
			records = records[:open]
			return withoutLeases(records), Position{After: &end}, nil
		}
		after = next
	}
}

// group puts the items of each record together, the current one first. A Query
// returns a partition in order; of a Scan that is not promised.
func group(items []Item) (records [][]Item) {
	for i := range items {
		if n := len(records); n > 0 && records[n-1][0].record() == items[i].record() {
			record := append(records[n-1], items[i])
			if last := len(record) - 1; !record[last].isVersion() {
				record[0], record[last] = record[last], record[0]
			}
			records[n-1] = record
			continue
		}
		records = append(records, []Item{items[i]})
	}
	return records
}

func withoutLeases(records [][]Item) [][]Item {
	return slices.DeleteFunc(records, func(items []Item) bool { return items[0].Kind() == KindLease })
}

// Backed says that items of this kind belong to restore points: users, groups,
// memberships and the pool's configuration.
func Backed(k Kind) bool {
	return k == KindUser || k == KindGroup || k == KindMembership || k == KindPool
}

// ReadAsOf reads the next records of a segment as they were at the restore
// point t (its ID). Adding each of them to a Summary gives the restore point's
// own, or what was read is not all.
func (s *Store) ReadAsOf(ctx context.Context, t string, segment Segment, from Position) ([]Item, Position, error) {
	records, next, err := s.ReadRecords(ctx, segment, from)
	if err != nil {
		return nil, from, err
	}
	var live []Item
	for _, items := range records {
		if !Backed(items[0].Kind()) {
			continue
		}
		if item, ok := AsOf(items, t); ok {
			live = append(live, item)
		}
	}
	return live, next, nil
}

// Memberships returns a user's memberships as of the restore point t.
func (s *Store) Memberships(ctx context.Context, sub, t string) ([]Item, error) {
	items, err := s.Table.Query(ctx, MembershipKey(sub, "").ID, "")
	if err != nil {
		return nil, fmt.Errorf("memberships of %s: %w", sub, err)
	}
	var live []Item
	for _, record := range group(items) {
		if item, ok := AsOf(record, t); ok {
			live = append(live, item)
		}
	}
	return live, nil
}

// RestorePoints returns all restore points of the pool, newest first.
func (s *Store) RestorePoints(ctx context.Context, poolID string) ([]RestorePoint, error) {
	items, err := s.Table.Query(ctx, exportID(poolID), "")
	if err != nil {
		return nil, fmt.Errorf("restore points of %s: %w", poolID, err)
	}
	points := make([]RestorePoint, len(items))
	for i := range items {
		if err := items[i].Decode(&points[len(items)-1-i]); err != nil {
			return nil, fmt.Errorf("restore point %s of %s: %w", items[i].Type, poolID, err)
		}
	}
	return points, nil
}

// RestorePoint returns the restore point of a run, or ErrNoRestorePoint.
func (s *Store) RestorePoint(ctx context.Context, poolID, runID string) (*RestorePoint, error) {
	key := Key{exportID(poolID), runID}
	items, err := s.Table.Get(ctx, []Key{key}, false)
	if err != nil {
		return nil, fmt.Errorf("restore point %s of %s: %w", runID, poolID, err)
	}
	item, ok := items[key]
	if !ok {
		return nil, fmt.Errorf("restore point %s of %s: %w", runID, poolID, ErrNoRestorePoint)
	}
	point := new(RestorePoint)
	return point, item.Decode(point)
}

// ErrNoRestorePoint says that a run has not committed a restore point.
var ErrNoRestorePoint = errors.New("no such restore point")

// Commit writes the commit record, by which an export becomes a restore point.
func (s *Store) Commit(ctx context.Context, point *RestorePoint) error {
	record, err := NewRecord(Key{exportID(point.UserPoolID), point.ID()}, point)
	if err != nil {
		return err
	}
	item := Item{Key: record.Key, Content: record.Content, Hash: hashOf(record.Content)}
	if _, err := s.Table.Put(ctx, item, Absent()); err != nil {
		return fmt.Errorf("commit restore point %s: %w", point.ID(), err)
	}
	return nil
}

// Forget removes the commit record of an expired restore point.
func (s *Store) Forget(ctx context.Context, point *RestorePoint) error {
	_, err := s.Table.Delete(ctx, Key{exportID(point.UserPoolID), point.ID()}, Anything())
	return err
}

// Retained picks from the restore points (newest first) those that must stay
// restorable: all that started at or after the given run id, and the newest
// trustworthy one however old it is.
func Retained(points []RestorePoint, since string) []RestorePoint {
	var retained []RestorePoint
	trustworthy := false
	for _, p := range points {
		newestTrustworthy := !trustworthy && p.Trustworthy()
		trustworthy = trustworthy || newestTrustworthy
		if p.ID() >= since || newestTrustworthy {
			retained = append(retained, p)
		}
	}
	return retained
}

// Needed says that at least one of the restore points needs the item. Current
// records that are live are needed by the next one.
func Needed(i *Item, points []RestorePoint) bool {
	if !i.isVersion() && i.DeletedAt == "" {
		return true
	}
	return slices.ContainsFunc(points, func(p RestorePoint) bool { return i.live(p.ID()) })
}
