package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/step"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"golang.org/x/sync/errgroup"
)

const (
	scanSegments = 8      // parts of a large table that clean-up reads side by side
	largeTable   = 50_000 // records from which a table is read so; below, one pass of some seconds is enough
	removalChunk = 1000   // records in one removal chunk
	removers     = 32     // removals under way at once
	// largestIn is how far back the largest trustworthy restore point is the
	// measure of a mass disappearance.
	largestIn = 24 * time.Hour
	// leastGone is how few users may be gone without a second look, however
	// small the pool is.
	leastGone = 20
	// partSize is how many keys seen are held in memory at once: 1 GiB. A pool
	// with more users and memberships costs another reading of the table for
	// each part.
	partSize = 64 << 20
	// maxRequeues is how often removal chunks that nobody answered for are queued
	// again within one slice before they are left to the next export.
	maxRequeues = 3
)

// QueueAPI is what clean-up needs of its queue.
type QueueAPI interface {
	SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error)
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessage(context.Context, *sqs.DeleteMessageInput, ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error)
}

// CleanUp is the step clean-up-backup-table: it proves what is stored, makes
// tombstones of what vanished, commits the restore point, and then removes
// what no restore point within the retention needs.
type CleanUp struct {
	Source
	Queue               QueueAPI
	QueueURL            string
	RetentionDays       int
	MassDeletionPercent int
	// Segments is into how many parts the table is divided to be read side by
	// side; 0 decides by the number of records.
	Segments int
	Metrics  *step.Metrics
	Now      func() time.Time
}

// cleanUpCursor is where clean-up is. What it counted belongs to the positions
// beside it, so that a slice that is repeated counts nothing twice.
type cleanUpCursor struct {
	EndedAt   time.Time // of the listing
	Part      int       // of the keys seen; the table is read once for each part
	Seen      int64     // keys in the parts before
	Segments  []segmentCursor
	Committed bool
	Queued    bool
}

// segmentCursor is how far one segment has been read and what that showed.
type segmentCursor struct {
	Position backup.Position
	Counted  tally
	Removals int // removal chunks written
}

// tally is what one segment of the table holds.
type tally struct {
	backup.Summary
	Matched   int64 // current records whose key the run saw
	Added     int64
	Changed   int64
	RemovedBy map[backup.Kind]int64
	Gone      int64 // users gone since the reference
}

// Run carries out one slice.
func (c *CleanUp) Run(ctx context.Context, s *step.Slice) (step.Run, error) {
	var cursor cleanUpCursor
	resumed, err := s.LoadCursor(ctx, &cursor)
	if err != nil {
		return step.Run{}, err
	}
	if !resumed {
		// In whole milliseconds, as messages print it and people type it; rounded
		// up, so that the listing had ended by then.
		cursor.EndedAt = c.Now().UTC().Add(time.Millisecond - 1).Truncate(time.Millisecond)
		segments := max(1, c.Segments)
		if c.Segments == 0 && s.Event.Run.Counts[CountListed] > largeTable {
			segments = scanSegments
		}
		cursor.Segments = make([]segmentCursor, segments)
	}
	if !cursor.Committed {
		done, err := c.commit(ctx, s, &cursor)
		if err != nil {
			return step.Run{}, err
		}
		if !done {
			return s.SaveCursor(ctx, &cursor)
		}
	}
	done, err := c.remove(ctx, s, &cursor)
	if err != nil {
		return step.Run{}, err
	}
	if !done {
		return s.SaveCursor(ctx, &cursor)
	}
	return s.Next(), nil
}

// history is what the run compares itself with.
type history struct {
	points    []backup.RestorePoint
	previous  string // ID of the restore point before, "" when there is none
	reference *backup.RestorePoint
	retained  []backup.RestorePoint // if this run's restore point is trustworthy
}

func (c *CleanUp) history(ctx context.Context, runID string) (*history, error) {
	points, err := c.Store.RestorePoints(ctx, c.UserPoolID)
	if err != nil {
		return nil, err
	}
	h := new(history)
	for _, p := range points {
		if p.ID() != runID { // a repeated slice may find its own
			h.points = append(h.points, p)
		}
	}
	run, err := time.Parse(step.TimeFormat, runID)
	if err != nil {
		return nil, fmt.Errorf("run id: %w", err)
	}
	if len(h.points) > 0 {
		h.previous = h.points[0].ID()
	}
	h.reference = reference(h.points, run.Add(-largestIn))
	since := step.FormatTime(run.AddDate(0, 0, -c.RetentionDays))
	h.retained = backup.Retained(append([]backup.RestorePoint{{StartedAt: run}}, h.points...), since)
	return h, nil
}

// reference is the restore point with which a mass disappearance is measured:
// the largest trustworthy one since the given time, or the newest trustworthy
// one if that is older; nil when there is none. What was before one that a
// person accepted counts no more.
func reference(points []backup.RestorePoint, since time.Time) *backup.RestorePoint {
	var chosen *backup.RestorePoint
	for i := range points {
		p := &points[i]
		if !p.Trustworthy() {
			continue
		}
		if chosen == nil || (!p.StartedAt.Before(since) && p.Users > chosen.Users) {
			chosen = p
		}
		if p.Accepted {
			break
		}
	}
	return chosen
}

// commit reads the whole table and, at its end, writes the commit record.
func (c *CleanUp) commit(ctx context.Context, s *step.Slice, cursor *cleanUpCursor) (bool, error) {
	runID := s.Event.Run.RunID
	h, err := c.history(ctx, runID)
	if err != nil {
		return false, err
	}
	parts := int(s.Event.Run.Counts[CountListed]/partSize) + 1
	for ; cursor.Part < parts; cursor.Part++ {
		seen, err := loadHashes(ctx, s, seenFolder, cursor.Part, parts, s.Event.Run.Counts[CountListed])
		if err != nil {
			return false, err
		}
		done, err := c.read(ctx, s, cursor, h, &part{seen: seen, index: cursor.Part, of: parts})
		if err != nil || !done {
			return false, err
		}
		cursor.Seen += int64(len(seen))
		for i := range cursor.Segments {
			cursor.Segments[i].Position = backup.Position{}
		}
	}
	total := tally{RemovedBy: map[backup.Kind]int64{}}
	for i := range cursor.Segments {
		total.merge(&cursor.Segments[i].Counted)
	}
	if total.Matched != cursor.Seen {
		return false, fmt.Errorf("%d of the %d records read from user pool %s are not in the backup table: no restore point is made of this export; if the next one fails too, look for other writers of the table",
			cursor.Seen-total.Matched, cursor.Seen, c.UserPoolID)
	}
	if total.Gone, err = c.stillGone(ctx, s, h, total.Gone); err != nil {
		return false, err
	}
	point, err := c.point(s, cursor, h, &total)
	if err != nil {
		return false, err
	}
	if err := c.Store.Commit(ctx, point); err != nil {
		return false, err
	}
	cursor.Committed = true
	if point.Suspect {
		for i := range cursor.Segments {
			cursor.Segments[i].Removals = 0 // nothing is removed until a person has accepted
		}
	} else if err := c.forget(ctx, s, h); err != nil {
		return false, err
	}
	return true, c.announce(ctx, s, point)
}

// part is one part of the keys that the run saw.
type part struct {
	seen      hashSet
	index, of int
}

func (p *part) holds(hash keyHash) bool { return partOf(hash, p.of) == p.index }

// read reads the table once and says whether it came to the end.
func (c *CleanUp) read(ctx context.Context, s *step.Slice, cursor *cleanUpCursor, h *history, p *part) (bool, error) {
	fresh, gone := &hashWriter{slice: s, folder: freshFolder}, &hashWriter{slice: s, folder: goneFolder}
	g, gctx := errgroup.WithContext(ctx)
	for i := range cursor.Segments {
		g.Go(func() error {
			at := &cursor.Segments[i]
			w := &segment{CleanUp: c, slice: s, history: h, part: p, fresh: fresh, gone: gone,
				segment: backup.Segment{Index: i, Of: len(cursor.Segments)}, tally: &at.Counted, removals: &at.Removals}
			return w.read(gctx, &at.Position)
		})
	}
	if err := errors.Join(g.Wait(), fresh.flush(ctx), gone.flush(ctx)); err != nil {
		return false, err
	}
	for _, at := range cursor.Segments {
		if !at.Position.Done {
			return false, nil
		}
	}
	return true, nil
}

// suspicious says that so many users are gone that somebody must look.
func (c *CleanUp) suspicious(gone int64, h *history) bool {
	return h.reference != nil && gone >= leastGone && gone*100 > h.reference.Users*int64(c.MassDeletionPercent)
}

// stillGone takes from the users who are gone since the reference those who
// came back under a new sub, as they do when they are restored into the pool.
func (c *CleanUp) stillGone(ctx context.Context, s *step.Slice, h *history, gone int64) (int64, error) {
	if !c.suspicious(gone, h) {
		return gone, nil // the usual case: nothing turns on it
	}
	vanished, err := loadHashes(ctx, s, goneFolder, 0, 1, gone)
	if err != nil {
		return 0, err
	}
	fresh, err := loadHashes(ctx, s, freshFolder, 0, 1, gone)
	if err != nil {
		return 0, err
	}
	for _, identity := range vanished {
		if fresh.has(identity) {
			gone--
		}
	}
	return gone, nil
}

func (c *CleanUp) point(s *step.Slice, cursor *cleanUpCursor, h *history, total *tally) (*backup.RestorePoint, error) {
	run, err := s.Event.Run.RunTime()
	if err != nil {
		return nil, fmt.Errorf("run id: %w", err)
	}
	input, err := ParseInput(s.Input)
	if err != nil {
		return nil, err
	}
	p := &backup.RestorePoint{
		UserPoolID: c.UserPoolID, Previous: h.previous, StartedAt: run, EndedAt: cursor.EndedAt, Committed: c.Now().UTC(),
		Summary: total.Summary, Added: total.Added, Changed: total.Changed, RemovedBy: total.RemovedBy,
		Throttled: s.Event.Run.Counts[CountThrottled], Gone: total.Gone, Execution: s.ExecutionName(),
	}
	for _, n := range total.RemovedBy {
		p.Removed += n
	}
	if h.reference != nil {
		p.Reference = h.reference.ID()
		p.Suspect = c.suspicious(total.Gone, h)
	}
	if p.Suspect && input.AcceptMassDeletion {
		p.Suspect, p.Accepted = false, true
	}
	return p, nil
}

// forget removes the commit records of expired restore points, before the
// records that only they needed.
func (c *CleanUp) forget(ctx context.Context, s *step.Slice, h *history) error {
	retained := map[string]bool{}
	for _, p := range h.retained {
		retained[p.ID()] = true
	}
	for i := range h.points {
		if p := &h.points[i]; !retained[p.ID()] {
			if err := c.Store.Forget(ctx, p); err != nil {
				return fmt.Errorf("remove the expired restore point %s: %w", p.ID(), err)
			}
		}
	}
	return nil
}

func (c *CleanUp) announce(ctx context.Context, s *step.Slice, p *backup.RestorePoint) error {
	slog.InfoContext(ctx, "restore point committed", "restorePoint", p.ID(),
		"users", p.Users, "groups", p.Groups, "memberships", p.Memberships,
		"added", p.Added, "changed", p.Changed, "removed", p.Removed, "suspect", p.Suspect)
	suspect := 0.0
	if p.Suspect {
		suspect = 1
	}
	return c.Metrics.Emit(s.Workflow, map[string]float64{
		"RestorePoint": 1, "Users": float64(p.Users), "Groups": float64(p.Groups), "Memberships": float64(p.Memberships),
		"Added": float64(p.Added), "Changed": float64(p.Changed), "Removed": float64(p.Removed), "Suspect": suspect,
		"ThrottledCalls": float64(p.Throttled), "DurationSeconds": p.Committed.Sub(p.StartedAt).Seconds(),
	})
}

func (t *tally) merge(o *tally) {
	t.Summary.Merge(o.Summary)
	t.Matched += o.Matched
	t.Added += o.Added
	t.Changed += o.Changed
	t.Gone += o.Gone
	for kind, n := range o.RemovedBy {
		t.RemovedBy[kind] += n
	}
}

// segment is the clean-up of one part of the table.
type segment struct {
	*CleanUp
	slice    *step.Slice
	history  *history
	part     *part
	fresh    *hashWriter
	gone     *hashWriter
	segment  backup.Segment
	tally    *tally
	removals *int

	expired []removal
}

// removal is one item that no restore point needs, as it was read.
type removal struct {
	ID, Type, ValidFrom string
	DeletedAt           string `json:",omitempty"`
}

func (w *segment) read(ctx context.Context, position *backup.Position) error {
	for !position.Done && !w.slice.Expired() {
		records, next, err := w.Store.ReadRecords(ctx, w.segment, *position)
		if err != nil {
			return err
		}
		if err := w.page(ctx, records); err != nil {
			return err
		}
		*position = next
	}
	return w.flush(ctx)
}

// page decides on each record what became of it in this run and what of it may go.
func (w *segment) page(ctx context.Context, records [][]backup.Item) error {
	runID := w.slice.Event.Run.RunID
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(removers)
	for _, items := range records {
		current := &items[0]
		hash := current.Key.Hash()
		if !backup.Backed(current.Kind()) || !w.part.holds(hash) {
			continue
		}
		if current.ValidTo == "" {
			if w.vanished(current, hash) {
				buried := *current
				current.DeletedAt = runID
				g.Go(func() error { return w.Store.Bury(gctx, runID, buried) })
			}
			if err := w.count(ctx, items); err != nil {
				return errors.Join(err, g.Wait())
			}
		}
		for i := range items {
			if !backup.Needed(&items[i], w.history.retained) {
				w.expired = append(w.expired, removal{items[i].ID, items[i].Type, items[i].ValidFrom, items[i].DeletedAt})
			}
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("mark what vanished from the pool: %w", err)
	}
	for len(w.expired) >= removalChunk {
		if err := w.put(ctx, removalChunk); err != nil {
			return err
		}
	}
	return nil
}

// vanished says whether a current record is live in the table and no longer in
// the pool. A membership counts only with its user: one who joined while the
// export ran may show up in a group without having been listed.
func (w *segment) vanished(i *backup.Item, hash keyHash) bool {
	if i.Kind() == backup.KindPool {
		return false
	}
	seen := w.part.seen.has(hash)
	orphan := i.Kind() == backup.KindMembership && !w.part.seen.has(backup.UserKey(i.Name()).Hash())
	if seen && (i.DeletedAt == "" || (orphan && i.DeletedAt == w.slice.Event.Run.RunID)) {
		w.tally.Matched++
	}
	return i.DeletedAt == "" && (!seen || orphan)
}

// count adds a record to what the restore point holds, and to what changed
// since the one before and since the reference.
func (w *segment) count(ctx context.Context, items []backup.Item) error {
	current := &items[0]
	live := current.DeletedAt == ""
	if live {
		w.tally.Summary.Add(current)
	}
	if current.Kind() == backup.KindPool {
		return nil
	}
	before, existed := backup.AsOf(items, w.history.previous)
	switch {
	case live && !existed:
		w.tally.Added++
	case live && before.Hash != current.Hash:
		w.tally.Changed++
	case !live && existed:
		if w.tally.RemovedBy == nil {
			w.tally.RemovedBy = map[backup.Kind]int64{}
		}
		w.tally.RemovedBy[current.Kind()]++
	}
	if w.history.reference == nil || current.Kind() != backup.KindUser {
		return nil
	}
	switch _, existed := backup.AsOf(items, w.history.reference.ID()); {
	case existed && !live:
		w.tally.Gone++
		return w.note(ctx, w.gone, current)
	case !existed && live:
		return w.note(ctx, w.fresh, current)
	}
	return nil
}

// note remembers by what a user signs in.
func (w *segment) note(ctx context.Context, to *hashWriter, i *backup.Item) error {
	var user backup.User
	if err := i.Decode(&user); err != nil {
		return err
	}
	return to.add(ctx, backup.Key{ID: user.Identity()}.Hash())
}

func (w *segment) flush(ctx context.Context) error {
	for len(w.expired) > 0 {
		if err := w.put(ctx, min(len(w.expired), removalChunk)); err != nil {
			return err
		}
	}
	return nil
}

// put stores a removal chunk. Its name follows from the cursor, so that a
// repeated slice stores it again instead of beside.
func (w *segment) put(ctx context.Context, n int) error {
	name := strconv.Itoa(w.segment.Index) + "-" + strconv.Itoa(*w.removals)
	if err := w.slice.Objects.Put(ctx, removalKey(w.slice, name), w.expired[:n]); err != nil {
		return err
	}
	w.expired = w.expired[n:]
	*w.removals++
	return nil
}

func removalKey(s *step.Slice, chunk string) string {
	return s.Prefix() + "removals/" + chunk + ".json"
}
func removedPrefix(s *step.Slice) string { return s.Prefix() + "removed/" }

// message is all that stands in the queue: the chunk is in S3.
type message struct{ Execution, Chunk string }

// remove queues the removal chunks and works the queue off until every chunk
// is answered for. Which ones are is read from S3; an empty queue proves nothing.
func (c *CleanUp) remove(ctx context.Context, s *step.Slice, cursor *cleanUpCursor) (bool, error) {
	open := map[string]bool{}
	for i, at := range cursor.Segments {
		for j := range at.Removals {
			open[strconv.Itoa(i)+"-"+strconv.Itoa(j)] = true
		}
	}
	if len(open) == 0 {
		return true, nil
	}
	if !cursor.Queued {
		if err := c.queue(ctx, s, open); err != nil {
			return false, err
		}
		cursor.Queued = true
	}
	answered, err := s.Objects.List(ctx, removedPrefix(s))
	if err != nil {
		return false, err
	}
	for _, key := range answered {
		delete(open, strings.TrimPrefix(key, removedPrefix(s)))
	}
	for requeued := 0; len(open) > 0; {
		if s.Expired() {
			return false, nil
		}
		out, err := c.Queue.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &c.QueueURL, MaxNumberOfMessages: 10, WaitTimeSeconds: 1,
		})
		if err != nil {
			return false, fmt.Errorf("receive from the clean-up queue: %w", err)
		}
		if len(out.Messages) == 0 {
			if requeued == maxRequeues {
				slog.WarnContext(ctx, "removal left to the next export", step.LogCount, len(open))
				return true, c.Metrics.Emit(s.Workflow, map[string]float64{"RemovalsLeft": float64(len(open))})
			}
			requeued++
			if err := c.queue(ctx, s, open); err != nil {
				return false, err
			}
		}
		for _, m := range out.Messages {
			if err := c.answer(ctx, s, open, m); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

func (c *CleanUp) queue(ctx context.Context, s *step.Slice, chunks map[string]bool) error {
	var entries []types.SendMessageBatchRequestEntry
	send := func() error {
		out, err := c.Queue.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &c.QueueURL, Entries: entries})
		if err != nil {
			return fmt.Errorf("queue removal chunks: %w", err)
		}
		if len(out.Failed) > 0 {
			return &step.TransientError{Err: fmt.Errorf("queue removal chunks: %d of %d were refused, the first with %s",
				len(out.Failed), len(entries), aws.ToString(out.Failed[0].Code))}
		}
		entries = entries[:0]
		return nil
	}
	for chunk := range chunks {
		body, err := json.Marshal(message{s.ExecutionName(), chunk})
		if err != nil {
			return err
		}
		entries = append(entries, types.SendMessageBatchRequestEntry{
			Id: aws.String(strconv.Itoa(len(entries))), MessageBody: aws.String(string(body)),
		})
		if len(entries) == 10 { // the limit of SendMessageBatch
			if err := send(); err != nil {
				return err
			}
		}
	}
	if len(entries) == 0 {
		return nil
	}
	return send()
}

// answer removes the records of one chunk. Messages of another execution, and
// repeated ones, are discarded.
func (c *CleanUp) answer(ctx context.Context, s *step.Slice, open map[string]bool, received types.Message) error {
	var m message
	if err := json.Unmarshal([]byte(aws.ToString(received.Body)), &m); err == nil && m.Execution == s.ExecutionName() && open[m.Chunk] {
		if err := c.removeChunk(ctx, s, m.Chunk); err != nil {
			return err
		}
		delete(open, m.Chunk)
	}
	_, err := c.Queue.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &c.QueueURL, ReceiptHandle: received.ReceiptHandle})
	if err != nil {
		return fmt.Errorf("delete a message of the clean-up queue: %w", err)
	}
	return nil
}

func (c *CleanUp) removeChunk(ctx context.Context, s *step.Slice, chunk string) error {
	var removals []removal
	if err := s.Objects.Get(ctx, removalKey(s, chunk), &removals); err != nil {
		return err
	}
	var mu sync.Mutex
	var removed int
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(removers)
	for _, r := range removals {
		g.Go(func() error {
			done, err := c.Store.Table.Delete(gctx, backup.Key{ID: r.ID, Type: r.Type},
				backup.Unchanged(&backup.Item{ValidFrom: r.ValidFrom, DeletedAt: r.DeletedAt}))
			if done {
				mu.Lock()
				removed++
				mu.Unlock()
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return errors.Join(fmt.Errorf("remove chunk %s of what no restore point needs", chunk), err)
	}
	return s.Objects.Put(ctx, removedPrefix(s)+chunk, removed)
}
