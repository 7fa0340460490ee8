package export

import (
	"context"
	"fmt"
	"sync"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"

	"golang.org/x/sync/errgroup"
)

const (
	// pagesInFlight is how many pages of one listing may wait to be stored while
	// the next is read: enough that storing does not hold up reading.
	pagesInFlight = 4
	// pagesStored is how many pages are being stored at once, whatever the number
	// of listings: more than the highest rate of listing asks for, and few enough
	// that memory and connections stay small when the table is slow.
	pagesStored = 8
)

// page reads one page of a listing: its records and the token of the next.
type page func(ctx context.Context, token *string) (records []backup.Record, next *string, err error)

// lister reads chains within one slice and stores what they hold.
type lister struct {
	slice *step.Slice
	store *backup.Store
	seen  *hashWriter
	turns chan struct{} // a place for each page being stored

	mu      sync.Mutex
	listed  int64
	written int64
}

// read follows the chain until it or the slice ends. When it returns without
// error, every page before the chain's token is stored and its keys are noted
// as seen; the next page is read while the ones before are being stored.
func (l *lister) read(ctx context.Context, c *pool.Chain, next page) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pagesInFlight)
	err := c.Follow(gctx, l.slice.Expired, func(ctx context.Context, token *string) (*string, error) {
		records, following, err := next(ctx, token)
		if err != nil {
			return following, err
		}
		select {
		case l.turns <- struct{}{}:
		case <-gctx.Done():
			return following, gctx.Err()
		}
		g.Go(func() error {
			defer func() { <-l.turns }()
			return l.keep(gctx, records)
		})
		return following, nil
	})
	if stored := g.Wait(); stored != nil {
		return stored
	}
	return err
}

func (l *lister) keep(ctx context.Context, records []backup.Record) error {
	written, err := l.store.Sync(ctx, l.slice.Event.Run.RunID, records)
	if err != nil {
		return fmt.Errorf("store a page of %d records: %w", len(records), err)
	}
	l.mu.Lock()
	l.listed += int64(len(records))
	l.written += int64(written)
	l.mu.Unlock()
	// Only what is stored is noted as seen, so that clean-up can hold the one
	// against the other.
	hashes := make([]keyHash, len(records))
	for i, r := range records {
		hashes[i] = r.Key.Hash()
	}
	return l.seen.add(ctx, hashes...)
}

func newLister(s *step.Slice, store *backup.Store) *lister {
	return &lister{slice: s, store: store, seen: &hashWriter{slice: s, folder: seenFolder}, turns: make(chan struct{}, pagesStored)}
}

// readAll reads several chains side by side.
func (l *lister) readAll(ctx context.Context, chains []*pool.Chain, next func(*pool.Chain) page) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range chains {
		g.Go(func() error { return l.read(ctx, c, next(c)) })
	}
	return g.Wait()
}

func (l *lister) count(run *step.Run, throttled int64) {
	run.Count(CountListed, l.listed)
	run.Count(CountWritten, l.written)
	run.Count(CountThrottled, throttled)
}
