package export

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/step"

	"golang.org/x/sync/errgroup"
)

// keyHash stands for the key of a record.
type keyHash = [16]byte

const (
	seenFlush   = 1 << 16 // hashes in one object: 1 MiB
	seenReaders = 8       // objects read at once
)

func seenPrefix(s *step.Slice) string { return s.Prefix() + "seen/" }

// seenWriter notes which keys a run saw in the pool. Its objects carry the
// invocation in their names: an attempt that was given up can only add truth,
// never overwrite what another one noted.
type seenWriter struct {
	slice *step.Slice

	mu      sync.Mutex
	pending []keyHash
	objects int
}

func (w *seenWriter) add(ctx context.Context, records []backup.Record) error {
	w.mu.Lock()
	for _, r := range records {
		w.pending = append(w.pending, r.Key.Hash())
	}
	var full []keyHash
	if len(w.pending) >= seenFlush {
		full, w.pending = w.pending, nil
	}
	w.mu.Unlock()
	return w.put(ctx, full)
}

// flush stores what is pending. It comes before the cursor that lies beyond it.
func (w *seenWriter) flush(ctx context.Context) error {
	w.mu.Lock()
	rest := w.pending
	w.pending = nil
	w.mu.Unlock()
	return w.put(ctx, rest)
}

func (w *seenWriter) put(ctx context.Context, hashes []keyHash) error {
	if len(hashes) == 0 {
		return nil
	}
	w.mu.Lock()
	w.objects++
	key := fmt.Sprintf("%s%s/%s-%d", seenPrefix(w.slice), w.slice.Step, w.slice.Invocation(), w.objects)
	w.mu.Unlock()
	b := make([]byte, 0, len(hashes)*len(keyHash{}))
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return w.slice.Objects.PutBytes(ctx, key, "application/octet-stream", b)
}

// seenKeys is the set of keys that a run saw: sorted, without duplicates, 16
// bytes a key.
type seenKeys []keyHash

func loadSeen(ctx context.Context, s *step.Slice) (seenKeys, error) {
	objects, err := s.Objects.List(ctx, seenPrefix(s))
	if err != nil {
		return nil, err
	}
	var all seenKeys
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(seenReaders)
	for _, object := range objects {
		g.Go(func() error {
			b, err := s.Objects.GetBytes(ctx, object)
			if err != nil {
				return err
			}
			if len(b)%len(keyHash{}) != 0 {
				return fmt.Errorf("object %s is cut off: %d bytes are no whole number of keys", object, len(b))
			}
			mu.Lock()
			defer mu.Unlock()
			for hash := range slices.Chunk(b, len(keyHash{})) {
				all = append(all, keyHash(hash))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(all, compareHashes)
	return slices.Compact(all), nil
}

func (k seenKeys) has(key backup.Key) bool {
	_, found := slices.BinarySearchFunc(k, key.Hash(), compareHashes)
	return found
}

func compareHashes(a, b keyHash) int { return bytes.Compare(a[:], b[:]) }
