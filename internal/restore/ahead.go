package restore

import (
	"context"
	"errors"

	"cognito-backup/internal/step"

	"golang.org/x/sync/errgroup"
)

// A large import has tens of thousands of chunks, each of which takes some
// hundredths of a second to come, so they are read several at once: as many as
// make aheadBytes, because they are held until it is their turn.
const (
	fewestAhead = 4 // of up to chunkBytes
	mostAhead   = 40
	aheadBytes  = 1 << 20
)

// judged is a chunk with what became of it.
type judged struct {
	chunk
	imported importResult
	updated  updateResult
	done     bool // it has an update result
}

// size is about how many bytes they take as JSON.
func (j *judged) size() int {
	const result, failure = 150, 200
	n := len(j.imported.Users)*result + len(j.updated.Failures)*failure
	for i := range j.Entries {
		n += entrySize(&j.Entries[i])
	}
	return n
}

// inOrder reads chunks ahead and hands them on one by one, in the order of
// their names.
func inOrder(ctx context.Context, names []string, read func(ctx context.Context, name string, j *judged) error, do func(at int, j *judged) error) error {
	ahead := fewestAhead
	for from := 0; from < len(names); {
		batch := make([]judged, min(ahead, len(names)-from))
		g, gctx := errgroup.WithContext(ctx)
		for i := range batch {
			g.Go(func() error { return read(gctx, names[from+i], &batch[i]) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		largest := 1
		for i := range batch {
			largest = max(largest, batch[i].size())
			if err := do(from+i, &batch[i]); err != nil {
				return err
			}
		}
		from += len(batch)
		ahead = min(max(aheadBytes/largest, fewestAhead), mostAhead, 2*ahead)
	}
	return nil
}

// chunkNames are the names of a round's chunks.
func chunkNames(round, count int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = chunkName(round, i+1)
	}
	return names
}

// eachChunk reads the chunks of a round in order.
func (r run) eachChunk(ctx context.Context, round, count int, do func(c *chunk) error) error {
	return inOrder(ctx, chunkNames(round, count), r.getChunk, func(_ int, j *judged) error { return do(&j.chunk) })
}

func (r run) getChunk(ctx context.Context, name string, j *judged) error {
	return r.Objects.Get(ctx, r.chunkKey(name), &j.chunk)
}

// getJudged reads a chunk and the results that there are; an import that was
// stopped lacks some.
func (r run) getJudged(ctx context.Context, name string, j *judged) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.getChunk(gctx, name, j) })
	g.Go(func() error {
		_, err := r.get(gctx, r.importResultKey(name), &j.imported)
		return err
	})
	g.Go(func() (err error) {
		j.done, err = r.get(gctx, r.updateResultKey(name), &j.updated)
		return err
	})
	return g.Wait()
}

// getEarlier reads what there is of a chunk of an import that was stopped: of
// what it had only begun with, how far it had come.
func (r run) getEarlier(ctx context.Context, name string, j *judged) error {
	err := r.getJudged(ctx, name, j)
	if errors.Is(err, step.ErrNoObject) { // the chunk is gone; results are of nobody then
		*j = judged{}
		return nil
	}
	if err != nil || j.imported.Users != nil {
		return err
	}
	_, err = r.get(ctx, r.partialKey("import", name), &j.imported)
	return err
}
