package export

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"cognito-backup/internal/step"

	"golang.org/x/sync/errgroup"
)

// keyHash stands for the key of a record.
type keyHash = [16]byte

const (
	seenFlush   = 1 << 16 // hashes in one object: 1 MiB
	seenReaders = 8       // objects read at once
)

// Folders of hash objects under the run's prefix.
const (
	seenFolder  = "seen/"  // keys of what is in the pool
	freshFolder = "fresh/" // identities of users that are new since the reference
	goneFolder  = "gone/"  // identities of users that are gone since the reference
)

// hashWriter notes a set of hashes, for example of the keys a run saw in the
// pool, in objects under a folder. They carry the invocation in their names: an
// attempt that was given up can only add truth, never overwrite what another
// one noted.
type hashWriter struct {
	slice  *step.Slice
	folder string

	mu      sync.Mutex
	pending []keyHash
	objects int
}

func (w *hashWriter) add(ctx context.Context, hashes ...keyHash) error {
	w.mu.Lock()
	w.pending = append(w.pending, hashes...)
	var full []keyHash
	if len(w.pending) >= seenFlush {
		full, w.pending = w.pending, nil
	}
	w.mu.Unlock()
	return w.put(ctx, full)
}

// flush stores what is pending. It comes before the cursor that lies beyond it.
func (w *hashWriter) flush(ctx context.Context) error {
	w.mu.Lock()
	rest := w.pending
	w.pending = nil
	w.mu.Unlock()
	return w.put(ctx, rest)
}

func (w *hashWriter) put(ctx context.Context, hashes []keyHash) error {
	if len(hashes) == 0 {
		return nil
	}
	w.mu.Lock()
	w.objects++
	key := fmt.Sprintf("%s%s%s-%s-%d", w.slice.Prefix(), w.folder, w.slice.Step, w.slice.Invocation(), w.objects)
	w.mu.Unlock()
	b := make([]byte, 0, len(hashes)*len(keyHash{}))
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return w.slice.Objects.PutBytes(ctx, key, "application/octet-stream", b)
}

// hashSet is a set of hashes: sorted, without duplicates, 16 bytes each.
type hashSet []keyHash

// loadHashes reads the hashes under a folder that belong to one of several
// parts. About how many there are in all, expected, keeps the set from being
// copied over and over while it grows.
func loadHashes(ctx context.Context, s *step.Slice, folder string, part, parts int, expected int64) (hashSet, error) {
	objects, err := s.Objects.List(ctx, s.Prefix()+folder)
	if err != nil {
		return nil, err
	}
	set := make(hashSet, 0, expected/int64(parts)*21/20+seenFlush) // parts differ a little
	step.Hold(cap(set) * len(keyHash{}))
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
			for b := range slices.Chunk(b, len(keyHash{})) {
				if hash := keyHash(b); partOf(hash, parts) == part {
					set = append(set, hash)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(set, compareHashes)
	return slices.Compact(set), nil
}

// partOf divides hashes evenly; a user and the user's memberships are in the
// same part.
func partOf(hash keyHash, parts int) int { return int(hash[0]) % parts }

func (set hashSet) has(hash keyHash) bool {
	_, found := slices.BinarySearchFunc(set, hash, compareHashes)
	return found
}

func compareHashes(a, b keyHash) int { return bytes.Compare(a[:], b[:]) }
