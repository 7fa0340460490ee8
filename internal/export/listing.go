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
	// maxRestarts is how often one listing starts again because Cognito no longer
	// takes its token, before something else must be wrong.
	maxRestarts = 20
	// pagesInFlight is how many pages of one listing may wait to be stored while
	// the next is read: enough that storing does not hold up reading, few enough
	// that memory stays small.
	pagesInFlight = 4
)

// chain is one listing, page after page, each token the key to the next page.
type chain struct {
	// Name tells the chains of a step apart: a filter or the index of a group.
	Name     string  `json:",omitempty"`
	Token    *string `json:",omitempty"`
	Done     bool    `json:",omitempty"`
	Restarts int     `json:",omitempty"`
}

// page reads one page of a listing: its records and the token of the next.
type page func(ctx context.Context, token *string) (records []backup.Record, next *string, err error)

// lister reads chains within one slice and stores what they hold.
type lister struct {
	slice *step.Slice
	store *backup.Store
	seen  *seenWriter

	mu      sync.Mutex
	listed  int64
	written int64
}

// read follows the chain until it or the slice ends. When it returns without
// error, every page before the chain's token is stored and its keys are noted
// as seen; the next page is read while the ones before are being stored.
func (l *lister) read(ctx context.Context, c *chain, next page) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pagesInFlight)
	err := func() error {
		for !c.Done && !l.slice.Expired() && gctx.Err() == nil {
			records, token, err := next(gctx, c.Token)
			if pool.IsTokenExpired(err, c.Token) && c.Restarts < maxRestarts {
				c.Token, c.Restarts = nil, c.Restarts+1 // what was seen stays seen
				continue
			}
			if err != nil {
				return err
			}
			g.Go(func() error { return l.keep(gctx, records) })
			// An empty page with a token is normal; only a missing token is the end.
			c.Token, c.Done = token, token == nil || *token == ""
		}
		return nil
	}()
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
	return l.seen.add(ctx, records)
}

// readAll reads several chains side by side.
func (l *lister) readAll(ctx context.Context, chains []*chain, next func(*chain) page) error {
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
