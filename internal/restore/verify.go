package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

const (
	// rounds is how often an import restores at most: once, and twice what
	// verification still misses.
	rounds = 3
	// passes is how often the target is listed in one round before something
	// counts as missing: listings show new records only after a while.
	passes = 4
	// freshListing is how long a listing takes at most for its lag to matter:
	// after a longer one, what was created before it began is visible.
	freshListing = 2 * time.Minute
)

// VerifyImport is the step that proves the restore: it lists the target, holds
// every record of the restore point against it, queues again what is missing,
// and at last writes the reports and removes the import's working objects.
type VerifyImport struct {
	Lister   Lister
	Store    *backup.Store
	NewUsers *Queue
	TPS      int
	Metrics  *step.Metrics
	Now      func() time.Time
}

// verifyCursor is where VerifyImport left off.
type verifyCursor struct {
	At       position
	Listed   bool // everything, and what is missing is missing
	Recorded int  // chunks whose new subs are recorded in the table
}

// Run lists, compares and decides.
func (s *VerifyImport) Run(ctx context.Context, slice *step.Slice) (step.Run, error) {
	r := run{slice}
	if done, err := r.get(ctx, r.summaryKey(), new(Summary)); err != nil {
		return step.Run{}, err
	} else if done { // an attempt before died while it tidied up
		return r.Next(), r.tidyUp(ctx)
	}
	v := &verifier{VerifyImport: s, comparison: &comparison{run: r, api: s.Lister, explain: true}}
	if _, err := r.LoadCursor(ctx, &v.cursor); err != nil {
		return step.Run{}, err
	}
	if err := v.prepare(ctx); err != nil {
		return step.Run{}, err
	}
	slice.Settled()
	return v.verify(ctx)
}

type verifier struct {
	*VerifyImport
	*comparison
	plan   Plan
	cursor verifyCursor
	round  int
	needed map[string]bool // groups that a dry run would add somebody to
	state  string          // how an import ended that did not come to verification
}

// prepare reads what the import did and what earlier slices observed.
func (v *verifier) prepare(ctx context.Context) error {
	v.comparison.frozen = new(Frozen)
	if err := v.Objects.Get(ctx, v.planKey(), &v.plan); err != nil {
		return err
	}
	if err := v.Objects.Get(ctx, v.frozenKey(), v.frozen); err != nil {
		return err
	}
	v.round = v.Event.Run.Round
	census, err := v.load(ctx, &v.plan, v.frozen, v.round)
	if err != nil {
		return err
	}
	v.census, v.target, v.at, v.started = census, v.plan.Target.ID, &v.cursor.At, v.plan.Started
	if err := v.earlier(ctx, census, &v.plan); err != nil {
		return err
	}
	if !v.plan.Input.DryRun {
		if err := v.learn(ctx, census, v.round); err != nil {
			return err
		}
	}
	return v.comparison.restore(ctx)
}

func (v *verifier) verify(ctx context.Context) (step.Run, error) {
	done, err := v.list(ctx)
	if err != nil {
		return step.Run{}, err
	}
	listed := v.cursor.Listed
	if done && !listed && !v.plan.Input.DryRun && v.lagging() {
		pass := v.at.Pass
		v.again()
		next, err := v.SaveCursor(ctx, v.cursor)
		next.WaitSeconds = 1 << (2 * pass) // 1, 4, 16 seconds
		return next, err
	}
	v.cursor.Listed = done
	if !done || !listed && v.Late() { // repair and report get a slice of their own then
		if err := v.save(ctx); err != nil {
			return step.Run{}, err
		}
		return v.SaveCursor(ctx, v.cursor)
	}
	if v.plan.Input.DryRun {
		return v.report(ctx)
	}
	if v.round < rounds {
		again, err := v.repair(ctx)
		if err != nil {
			return step.Run{}, err
		}
		if again {
			next := v.Next()
			next.Again, next.Round = true, v.round+1
			return next, nil
		}
	}
	return v.report(ctx)
}

// lagging says that something is missing that a listing may show yet.
func (v *verifier) lagging() bool {
	if v.at.Pass+1 >= passes || v.Now().Sub(v.at.Began) > freshListing {
		return false
	}
	for i := range v.census.people {
		p := &v.census.people[i]
		if !p.has.is(requested) {
			continue
		}
		if p.has.is(created|existing) && p.proof == NoProof || p.late() {
			return true
		}
		waiting := false
		if p.proof != NoProof {
			v.census.memberships(uint32(i), func(at int, _ uint16) {
				waiting = waiting || v.census.asked.has(at) && !v.census.seen.has(at) && !v.census.failed.has(at)
			})
		}
		if waiting {
			return true
		}
	}
	return false
}

// asBefore says that somebody whom the import created is as in the restore
// point: attributes, enabled or not, linked identities.
func (p *person) asBefore() bool {
	return p.saw&sawSame != 0 && p.saw&sawLinks != 0 && p.has.is(enabled) == (p.saw&sawEnabled != 0)
}

// toMend says that a disabled flag or a link is missing, which a restore adds.
func (p *person) toMend() bool {
	return p.toDisable() || p.saw&sawLinks == 0
}

func (p *person) toDisable() bool { return !p.has.is(enabled) && p.saw&sawEnabled != 0 }

// late says that what the listing shows of somebody is wrong and may be no
// more than late: not what is known to have failed.
func (p *person) late() bool {
	if p.proof == NoProof || !p.has.is(whole) {
		return false
	}
	flag := !p.has.is(enabled) && p.saw&sawEnabled != 0 && !p.has.is(flagFailed)
	link := p.saw&sawLinks == 0 && !p.has.is(linkFailed)
	return flag || link || p.has.is(created) && (p.saw&sawSame == 0 || p.has.is(enabled) && p.saw&sawEnabled == 0)
}

// repair queues what is missing as another round.
func (v *verifier) repair(ctx context.Context) (bool, error) {
	next := v.round + 1
	groups, err := v.forget(ctx)
	if err != nil {
		return false, err
	}
	chunks, entries, err := v.write(ctx, next, v.left, func(*Entry) {})
	if err != nil || entries == 0 && groups == 0 {
		return false, err
	}
	if err := v.put(ctx, v.roundKey(next), round{Chunks: chunks}); err != nil {
		return false, err
	}
	queued := 0
	for done := false; !done && err == nil; { // no more than fits: chunks of a repair are few
		done, err = v.enqueue(ctx, v.NewUsers, next, chunks, &queued)
		if err == nil && !done && v.Expired() {
			// What no message names is found by its missing result.
			break
		}
	}
	return true, err
}

// forget clears the results of groups that are not there, so that the next
// round creates them, and says how many there are.
func (v *verifier) forget(ctx context.Context) (int, error) {
	groups, err := v.groupsToCreate(ctx, &v.plan)
	if err != nil {
		return 0, err
	}
	groups = slices.DeleteFunc(groups, func(g pool.Group) bool { return v.at.Present[g.Name] })
	if len(groups) == 0 {
		return 0, nil
	}
	results := map[string]groupResult{}
	if _, err := v.get(ctx, v.groupResultsKey(), &results); err != nil {
		return 0, err
	}
	for _, g := range groups {
		delete(results, g.Name)
	}
	return len(groups), v.put(ctx, v.groupResultsKey(), results)
}

// report writes the outcome down, records the new subs and tidies up.
func (v *verifier) report(ctx context.Context) (step.Run, error) {
	v.census.release()
	w := newReporter(v)
	if err := w.write(ctx); err != nil {
		return step.Run{}, err
	}
	if !v.plan.Input.DryRun {
		if done, err := v.record(ctx); err != nil || !done {
			return v.pause(ctx, v.cursor, err)
		}
	}
	if err := v.put(ctx, v.summaryKey(), w.summary()); err != nil {
		return step.Run{}, err
	}
	next := v.Next()
	w.count(&next)
	if err := v.Metrics.Emit(v.Workflow, w.metrics(v.Now())); err != nil {
		return step.Run{}, err
	}
	return next, v.tidyUp(ctx)
}

// record writes into the table which new sub each old one got, so that a later
// import into the same pool knows its people.
func (v *verifier) record(ctx context.Context) (bool, error) {
	person := uint32(0)
	done, before := 0, v.cursor.Recorded
	v.Settled() // a report takes its time as well
	err := v.eachChunk(ctx, v.census.round, v.frozen.Chunks, func(c *chunk) error {
		done++
		from := person
		person += uint32(len(c.Entries))
		if done <= v.cursor.Recorded {
			return nil
		}
		if v.Expired() && v.cursor.Recorded > before {
			return errSliceOver
		}
		if err := v.recordChunk(ctx, from, c); err != nil {
			return err
		}
		v.cursor.Recorded = done
		return nil
	})
	if errors.Is(err, errSliceOver) {
		// The listing is at its end and need not be done again.
		return false, v.save(ctx)
	}
	return err == nil, err
}

var errSliceOver = errors.New("the slice is used up")

func (v *verifier) recordChunk(ctx context.Context, from uint32, c *chunk) error {
	g, gctx := limited(ctx, lookups)
	for i := range c.Entries {
		e, p := &c.Entries[i], &v.census.people[from+uint32(i)]
		sub := v.census.unpack(p.sub)
		open, owed := v.open(from+uint32(i)), v.owed(from+uint32(i))
		known := (sub == e.NewSub || sub == e.User.Sub) && open == e.Open && slices.Equal(owed, e.Owed)
		if known || p.proof == NoProof || p.saw&sawTwice != 0 || !p.has.is(requested) && !e.Open && len(e.Owed) == 0 {
			continue
		}
		g.Go(func() error {
			record, err := backup.NewRecord(backup.RestoredKey(e.User.Sub, v.target), restoredContent{NewSub: sub, RestoredAt: v.Event.Run.RunID, Open: open, Owed: owed})
			if err != nil {
				return err
			}
			_, err = v.Store.Table.Put(gctx, backup.Item{Key: record.Key, Content: record.Content}, backup.Anything())
			if err != nil {
				return fmt.Errorf("record a new sub: %w", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// open says that somebody lacks a flag or a link that the next MISSING_ONLY
// import is to try again. Links that cannot be read are none: no import will
// know whether they are there, and this one's report tells whoever is to make
// them by hand.
func (v *verifier) open(person uint32) bool {
	p := &v.census.people[person]
	toldOf := v.census.linksFailed(person, func(f *updateFailure) bool { return f.Reason == ReasonUnreadable })
	return p.has.is(whole) && (p.toDisable() || p.saw&sawLinks == 0 && !toldOf)
}

// owed names the groups that somebody was to be added to and is not in: the
// next MISSING_ONLY import tries that again.
func (v *verifier) owed(person uint32) []string {
	return v.names(person, func(i int, _ uint16) bool {
		return (v.census.asked.has(i) || v.census.owed.has(i)) && !v.census.seen.has(i)
	})
}

// tidyUp removes everything of the import that holds people's data, in every
// version, and of unfinished imports that this one has completed. Reports and
// summary stay. The plan goes last, because it says what there is to remove.
func (r run) tidyUp(ctx context.Context) error {
	var plan Plan
	if there, err := r.get(ctx, r.planKey(), &plan); err != nil || !there {
		return err
	}
	runs := []run{r}
	if !plan.Input.DryRun {
		for _, e := range plan.Earlier {
			if done, err := r.completed(ctx, &plan, r.of(e.Execution)); err != nil {
				return err
			} else if done {
				runs = append(runs, r.of(e.Execution))
			}
		}
	}
	for _, one := range slices.Backward(runs) {
		if err := r.Objects.DeleteAll(ctx, one.registrationKey(plan.Target.ID)); err != nil {
			return err
		}
		for _, part := range []string{"chunks/", "groups/", "files/", "partial/", "results/", "verify/", "cursor/", "users.json", "frozen.json", "plan.json"} {
			if err := r.Objects.DeleteAll(ctx, one.Prefix()+part); err != nil {
				return err
			}
		}
	}
	return nil
}

// completed says that nobody is left whom an unfinished import created and
// this one, now at its end, did not come to: it restored the same restore
// point, and all of it.
func (r run) completed(ctx context.Context, plan *Plan, e run) (bool, error) {
	if plan.Input.Mode != MissingOnly { // the pool was empty
		return true, nil
	}
	if plan.Input.chosen() {
		return false, nil
	}
	var mine, theirs Frozen
	if there, err := r.get(ctx, r.frozenKey(), &mine); err != nil || !there {
		return false, err // an attempt before had removed the others when it removed this
	}
	if there, err := r.get(ctx, e.frozenKey(), &theirs); err != nil || !there {
		return err == nil, err // it had come to nobody
	}
	return mine.AsOf == theirs.AsOf, nil
}
