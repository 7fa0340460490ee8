package restore

import (
	"context"
	"maps"
	"slices"

	"cognito-backup/internal/step"
)

// queue is the second half of ScanTable: in MISSING_ONLY mode it finds out what
// the target lacks, then it queues the chunks of the first round.
func (s *ScanTable) queue(ctx context.Context, f *freezer) (step.Run, error) {
	next := f.Next()
	next.Round = 1
	if f.plan.Input.DryRun {
		next.DryRun = true
		return next, nil
	}
	if f.plan.Input.Mode == MissingOnly {
		done, err := s.compare(ctx, f)
		if err != nil || !done {
			return f.pause(ctx, f.cursor, err)
		}
	}
	var round round
	if err := f.Objects.Get(ctx, f.roundKey(1), &round); err != nil {
		return step.Run{}, err
	}
	if done, err := f.enqueue(ctx, s.Queue, 1, round.Chunks, &f.cursor.Queued); err != nil || !done {
		return f.pause(ctx, f.cursor, err)
	}
	return next, nil
}

// enqueue queues the chunks of a round, from where an earlier slice left off.
func (r run) enqueue(ctx context.Context, q *Queue, round, chunks int, queued *int) (bool, error) {
	const atOnce = 100
	for *queued < chunks {
		if r.Expired() {
			return false, nil
		}
		var messages []message
		for n := *queued + 1; n <= min(chunks, *queued+atOnce); n++ {
			messages = append(messages, message{Execution: r.ExecutionName(), Chunk: chunkName(round, n)})
		}
		if err := q.send(ctx, messages); err != nil {
			return false, err
		}
		*queued += len(messages)
	}
	return true, nil
}

// compare lists the target and stores what it lacks as the chunks of round 1.
func (s *ScanTable) compare(ctx context.Context, f *freezer) (bool, error) {
	if there, err := f.get(ctx, f.roundKey(1), new(round)); err != nil || there {
		return there, err
	}
	census, err := f.load(ctx, f.plan, &f.cursor.Frozen, 0)
	if err != nil {
		return false, err
	}
	if err := f.earlier(ctx, census, f.plan); err != nil {
		return false, err
	}
	c := &comparison{run: f.run, api: s.Lister, target: f.plan.Target.ID, census: census, frozen: &f.cursor.Frozen, at: &f.cursor.Listing}
	if err := c.restore(ctx); err != nil {
		return false, err
	}
	f.Settled()
	done, err := c.list(ctx)
	if err != nil {
		return false, err
	}
	if !done || !f.cursor.Listed && f.Late() { // writing the chunks gets a slice of its own then
		f.cursor.Listed = done
		return false, c.save(ctx)
	}
	groups := map[string]bool{}
	choose := func(person uint32, e *Entry) (Entry, bool) { return c.missing(f.plan, person, e) }
	chunks, _, err := c.write(ctx, 1, choose, func(e *Entry) {
		for _, name := range e.Groups {
			groups[name] = true
		}
	})
	if err != nil {
		return false, err
	}
	if f.wanted == nil { // no choice of users: every group that is missing comes back
		for _, g := range census.groups {
			groups[g.Name] = true
		}
	}
	maps.DeleteFunc(groups, func(name string, _ bool) bool { return c.at.Present[name] })
	if err := f.put(ctx, f.missingGroupsKey(), slices.Sorted(maps.Keys(groups))); err != nil {
		return false, err
	}
	return true, f.put(ctx, f.roundKey(1), round{Chunks: chunks})
}
