package restore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"

	"golang.org/x/sync/errgroup"
)

const (
	chunkRecords = 1000    // records of a chunk at most: users and memberships
	chunkBytes   = 4 << 20 // bytes of a chunk, about
	scanSegments = 8       // parts in which a large table is scanned side by side
	largeTable   = 50_000  // records from which it is; below, one pass of some seconds is enough
	lookups      = 64      // queries for memberships under way at once
	stores       = 16      // chunks being stored at once
)

// ScanTable is the step that freezes the restore point: it copies it from the
// table into chunk objects, proves by counts and digest that the copy is
// complete, and only then queues the chunks. Nothing later reads the table, so
// that exports may go on while the import runs.
type ScanTable struct {
	Store  *backup.Store
	Lister Lister // for MISSING_ONLY, which looks what the target has
	Queue  *Queue
}

// freezeCursor is where ScanTable left off.
type freezeCursor struct {
	Candidate  int // index into Plan.Points
	Incomplete bool
	Positions  []backup.Position
	Frozen     Frozen
	Usage      usage  // of attributes by the users in scope
	Found      []int  // indexes into the names of Users that were met
	Older      string // sentences about newer points that did not verify
	// Scanned are the memberships that the scan saw, Held those that the chunks
	// have; Before is Held of the pass before over the same restore point.
	Scanned backup.Summary
	Held    backup.Summary
	Before  *backup.Summary
	Passes  int
	Proved  bool // frozen.json is written: comparing and queueing remain
	Queued  int  // chunks queued
	Listing position
	Listed  bool // the target, all of it
}

// Run freezes, and in MISSING_ONLY mode compares, then queues.
func (s *ScanTable) Run(ctx context.Context, slice *step.Slice) (step.Run, error) {
	r := run{slice}
	var plan Plan
	if err := r.Objects.Get(ctx, r.planKey(), &plan); err != nil {
		return step.Run{}, err
	}
	cursor := new(freezeCursor)
	if resumed, err := r.LoadCursor(ctx, cursor); err != nil {
		return step.Run{}, err
	} else if !resumed {
		cursor.start(&plan)
	}
	f := &freezer{run: r, store: s.Store, plan: &plan, rules: plan.rules(), cursor: cursor, differing: plan.differing()}
	if err := f.loadWanted(ctx); err != nil {
		return step.Run{}, err
	}
	if !cursor.Proved {
		if done, err := f.freeze(ctx); err != nil || !done {
			return r.pause(ctx, cursor, err)
		}
	}
	return s.queue(ctx, f)
}

// pause saves the cursor, unless the slice ended with an error.
func (r run) pause(ctx context.Context, cursor any, err error) (step.Run, error) {
	if err != nil {
		return step.Run{}, err
	}
	return r.SaveCursor(ctx, cursor)
}

// segments is in how many parts the table is scanned to read one of the restore points.
func segments(points []backup.RestorePoint) int {
	for _, p := range points {
		if p.Users+p.Groups+p.Memberships > largeTable {
			return scanSegments
		}
	}
	return 1
}

func (c *freezeCursor) start(plan *Plan) {
	c.Positions = make([]backup.Position, segments(plan.Points))
	c.Frozen = Frozen{}
	c.Usage = usage{Used: map[string]int{}, Refused: map[string]string{}}
	c.Found = nil
	c.Scanned, c.Held = backup.Summary{}, backup.Summary{}
	if c.Candidate < len(plan.Points) {
		p := plan.Points[c.Candidate]
		c.Frozen.Point, c.Frozen.AsOf, c.Frozen.Expected = &p, p.ID(), p.Summary
		return
	}
	c.Frozen.AsOf = step.FormatTime(plan.Started) // no commit record at all: as the table is now
}

// freezer copies one restore point.
type freezer struct {
	run
	store  *backup.Store
	plan   *Plan
	rules  *Rules
	cursor *freezeCursor
	wanted map[string]int // names of Users
	// differing are the attributes that the target has otherwise.
	differing map[string]string
	builder   builder
	groups    []pool.Group
}

// freeze works until the slice is used up or a restore point is frozen and
// proved.
func (f *freezer) freeze(ctx context.Context) (bool, error) {
	f.builder.run, f.builder.round, f.builder.count = f.run, f.plan.first(), &f.cursor.Frozen.Chunks
	for {
		for !f.scanned() {
			if f.Expired() {
				return false, f.flush(ctx)
			}
			if err := f.advance(ctx); err != nil {
				return false, err
			}
		}
		if err := f.flush(ctx); err != nil {
			return false, err
		}
		ok, err := f.judge()
		if err != nil {
			return false, err
		}
		if ok {
			if found := f.cursor.Usage.stoppers(f.plan); found != nil {
				return false, &PreflightError{Findings: found}
			}
			return true, f.finish(ctx)
		}
	}
}

func (f *freezer) scanned() bool {
	return !slices.ContainsFunc(f.cursor.Positions, func(p backup.Position) bool { return !p.Done })
}

// advance reads one page of each segment and turns it into chunks.
func (f *freezer) advance(ctx context.Context) error {
	pages := make([][]backup.Item, len(f.cursor.Positions))
	next := slices.Clone(f.cursor.Positions)
	g, gctx := errgroup.WithContext(ctx)
	for i, position := range f.cursor.Positions {
		if position.Done {
			continue
		}
		g.Go(func() (err error) {
			pages[i], next[i], err = f.store.ReadAsOf(gctx, f.cursor.Frozen.AsOf, backup.Segment{Index: i, Of: len(next)}, position)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	entries, err := f.take(slices.Concat(pages...))
	if err != nil {
		return err
	}
	if err := f.lookUp(ctx, entries); err != nil {
		return err
	}
	if err := f.lack(ctx, slices.Concat(pages...)); err != nil {
		return err
	}
	for i := range entries {
		f.cursor.Frozen.Stats.add(f.rules, &entries[i])
		if err := f.builder.add(ctx, entries[i]); err != nil {
			return err
		}
	}
	f.cursor.Positions = next
	return nil
}

// take counts the records and keeps users and groups.
func (f *freezer) take(items []backup.Item) ([]Entry, error) {
	var entries []Entry
	for i := range items {
		item := &items[i]
		f.cursor.Frozen.Read.Add(item)
		switch item.Kind() {
		case backup.KindUser:
			var u backup.User
			if err := item.Decode(&u); err != nil {
				return nil, err
			}
			entry := Entry{User: pool.User{
				Sub: item.Name(), Username: u.Username, Attributes: u.Attributes, Enabled: u.Enabled, Status: u.Status, Created: u.Created,
			}}
			if f.inScope(&entry.User) {
				f.cursor.Usage.note(f.plan, u.Attributes, f.differing)
				entries = append(entries, entry)
			} else {
				f.cursor.Frozen.Stats.OutOfScope++
			}
		case backup.KindMembership:
			f.cursor.Scanned.Add(item)
		case backup.KindGroup:
			var g backup.Group
			if err := item.Decode(&g); err != nil {
				return nil, err
			}
			f.groups = append(f.groups, pool.Group{Name: g.Name, Description: g.Description, RoleARN: g.RoleARN, Precedence: g.Precedence})
		}
	}
	return entries, nil
}

// lack notes who or what is named by a membership and is not in the table: all
// that an incomplete table tells of what it lacks.
func (f *freezer) lack(ctx context.Context, items []backup.Item) error {
	lacking := &f.cursor.Frozen.Lacking
	if !f.cursor.Incomplete || len(*lacking) >= maxRecords {
		return nil
	}
	users, groups := map[backup.Key]bool{}, map[backup.Key]bool{}
	for i := range items {
		if items[i].Kind() == backup.KindMembership {
			users[backup.UserKey(items[i].Name())] = true
			groups[backup.GroupKey(items[i].Type)] = true
		}
	}
	for _, named := range []map[backup.Key]bool{users, groups} { // one kind a call, as is permitted
		there, err := f.store.Table.Get(ctx, slices.Collect(maps.Keys(named)), true)
		if err != nil {
			return fmt.Errorf("look for what memberships name: %w", err)
		}
		for key := range there {
			delete(named, key)
		}
		for key := range named {
			if at, known := slices.BinarySearch(*lacking, key.ID); !known && len(*lacking) < maxRecords {
				*lacking = slices.Insert(*lacking, at, key.ID)
			}
		}
	}
	return nil
}

// lookUp adds each user's memberships, and in a pool that has seen imports the
// sub that one of them recorded.
func (f *freezer) lookUp(ctx context.Context, entries []Entry) error {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(lookups)
	for i := range entries {
		entry := &entries[i]
		g.Go(func() error {
			items, err := f.store.Memberships(gctx, entry.User.Sub, f.cursor.Frozen.AsOf)
			var held backup.Summary
			for j := range items {
				entry.Groups = append(entry.Groups, items[j].Type)
				held.Add(&items[j])
			}
			mu.Lock()
			defer mu.Unlock()
			f.cursor.Held.Merge(held)
			return err
		})
	}
	if f.plan.Input.Mode == MissingOnly {
		g.Go(func() error { return f.recorded(gctx, entries) })
	}
	return g.Wait()
}

// recorded reads which new subs earlier imports into this pool gave out.
func (f *freezer) recorded(ctx context.Context, entries []Entry) error {
	keys := make([]backup.Key, len(entries))
	for i := range entries {
		keys[i] = backup.RestoredKey(entries[i].User.Sub, f.plan.Target.ID)
	}
	items, err := f.store.Table.Get(ctx, keys, false)
	if err != nil {
		return fmt.Errorf("read what earlier imports recorded: %w", err)
	}
	for i := range entries {
		item, ok := items[keys[i]]
		if !ok {
			continue
		}
		var before restoredContent
		if err := item.Decode(&before); err != nil {
			return err
		}
		entries[i].NewSub, entries[i].Open, entries[i].Owed = before.NewSub, before.Open, before.Owed
	}
	return nil
}

// restoredContent is what an import records of a user it restored, or could not
// give everything.
type restoredContent struct {
	NewSub     string   `json:"newSub"`
	RestoredAt string   `json:"restoredAt"`
	Open       bool     `json:"open,omitempty"` // a flag or link could not be restored
	Owed       []string `json:"owed,omitempty"` // groups that the user could not be added to
}

func (f *freezer) inScope(u *pool.User) bool {
	if f.wanted == nil {
		return true
	}
	found := false
	for _, name := range []string{u.Sub, u.Username} {
		if i, ok := f.wanted[name]; ok {
			found = true
			if at, seen := slices.BinarySearch(f.cursor.Found, i); !seen {
				f.cursor.Found = slices.Insert(f.cursor.Found, at, i)
			}
		}
	}
	return found
}

func (f *freezer) loadWanted(ctx context.Context) error {
	names := f.plan.Input.Users
	if f.plan.Input.UsersObject != "" {
		if err := f.Objects.Get(ctx, f.usersKey(), &names); err != nil {
			return err
		}
	}
	if names == nil {
		return nil
	}
	f.wanted = make(map[string]int, len(names))
	for i, name := range names {
		f.wanted[name] = i
	}
	return nil
}

// flush stores what has gathered, so that the cursor stands for all of it.
func (f *freezer) flush(ctx context.Context) error {
	if len(f.groups) > 0 {
		if err := f.put(ctx, f.groupsKey(f.cursor.Frozen.Groups), f.groups); err != nil {
			return err
		}
		f.cursor.Frozen.Groups++
		f.groups = nil
	}
	return f.builder.flush(ctx)
}

// freezes is how often a restore point is frozen at most until its chunks hold
// what the scan saw.
const freezes = 3

// judge compares what was read with the commit record. On a mismatch it turns
// to the next older restore point; the error is the end of the list.
func (f *freezer) judge() (bool, error) {
	c := f.cursor
	proved := c.Frozen.Point != nil && c.Frozen.Read == c.Frozen.Expected
	if c.Incomplete || proved && f.complete() {
		c.Frozen.Older, c.Frozen.Incomplete = c.Older, c.Incomplete
		return true, nil
	}
	if c.Passes++; proved && c.Passes < freezes {
		held := c.Held
		c.Before = &held
		c.start(f.plan)
		return false, nil
	}
	if c.Frozen.Point != nil {
		c.Older += fmt.Sprintf("Restore point %s could not be proved complete here: %s. ", c.Frozen.AsOf, shortfall(&c.Frozen))
	}
	c.Passes, c.Before = 0, nil
	c.Candidate++
	if c.Candidate >= len(f.plan.Points) {
		if !f.plan.Input.AllowIncomplete {
			return false, &IncompleteError{Details: c.Older}
		}
		// Once more the newest point, taken as it is.
		c.Candidate, c.Incomplete = 0, true
	}
	c.start(f.plan)
	return false, nil
}

// complete says that the chunks hold every membership that the scan saw. The
// chunks are filled by queries, and on a replica that is catching up a query
// may come before items that the scan meets later. Memberships of nobody are in
// no chunk either. The two are told apart by freezing once more: everything can
// be read by then, so that what stays the same belongs to nobody.
func (f *freezer) complete() bool {
	c := f.cursor
	if f.wanted == nil && c.Held == c.Scanned {
		return true
	}
	if f.wanted != nil && c.Frozen.Stats.Users == 0 {
		return true
	}
	return c.Before != nil && *c.Before == c.Held
}

// IncompleteError says that no restore point can be proved complete.
type IncompleteError struct{ Details string }

func (e *IncompleteError) Error() string {
	return "no restore point can be proved complete in this Region's table, and nothing was written. " + e.Details +
		`Wait until the table has replicated and start again, choose an older one with RestorePoint, or start with "AllowIncomplete": true to restore what is readable`
}

func shortfall(f *Frozen) string {
	parts := []struct {
		name           string
		read, expected int64
	}{
		{"users", f.Read.Users, f.Expected.Users},
		{"groups", f.Read.Groups, f.Expected.Groups},
		{"memberships", f.Read.Memberships, f.Expected.Memberships},
	}
	var s string
	for _, p := range parts {
		if p.read != p.expected {
			s += fmt.Sprintf(", %d of %d %s", p.read, p.expected, p.name)
		}
	}
	if s == "" {
		return "the counts agree, the contents do not"
	}
	return "read " + s[2:]
}

// finish writes down that the restore point is frozen.
func (f *freezer) finish(ctx context.Context) error {
	for name, i := range f.wanted {
		if _, found := slices.BinarySearch(f.cursor.Found, i); !found {
			f.cursor.Frozen.Unknown = append(f.cursor.Frozen.Unknown, name)
		}
	}
	slices.Sort(f.cursor.Frozen.Unknown)
	f.cursor.Proved = true
	if f.plan.Skipped != "" {
		f.cursor.Frozen.Older = f.plan.Skipped + " " + f.cursor.Frozen.Older
	}
	if err := f.put(ctx, f.frozenKey(), f.cursor.Frozen); err != nil {
		return err
	}
	return f.put(ctx, f.roundKey(f.plan.first()), round{Chunks: f.cursor.Frozen.Chunks})
}

// add counts an entry by the way it comes back.
func (s *Stats) add(rules *Rules, e *Entry) {
	s.Users++
	s.Memberships += int64(len(e.Groups))
	way := rules.Recreate(&e.User)
	switch way.Path {
	case PathCSV:
		s.CSV++
	case PathAPI:
		s.API++
	case PathDeferred:
		s.Federated++
	default:
		s.Impossible++
	}
	if way.Path == PathAPI || way.Path == PathCSV && len(e.Groups) > 0 {
		s.Billed++
	}
}

// builder packs entries into chunks and stores several at once.
type builder struct {
	run     run
	round   int
	count   *int // chunks so far
	pending []Entry
	records int
	bytes   int
	group   *errgroup.Group
	ctx     context.Context
}

func (b *builder) add(ctx context.Context, e Entry) error {
	size := entrySize(&e)
	if b.records+e.records() > chunkRecords || b.bytes+size > chunkBytes {
		if err := b.cut(ctx); err != nil {
			return err
		}
	}
	b.pending = append(b.pending, e)
	b.records += e.records()
	b.bytes += size
	return nil
}

// entrySize is about how many bytes the entry takes as JSON.
func entrySize(e *Entry) int {
	n := 200
	for name, value := range e.User.Attributes {
		n += len(name) + len(value) + 8
	}
	for _, group := range e.Groups {
		n += len(group) + 3
	}
	return n
}

// cut ends the chunk and begins to store it.
func (b *builder) cut(ctx context.Context) error {
	if len(b.pending) == 0 {
		return nil
	}
	if b.group == nil {
		b.group, b.ctx = errgroup.WithContext(ctx)
		b.group.SetLimit(stores)
	}
	*b.count++
	key, content := b.run.chunkKey(chunkName(b.round, *b.count)), chunk{Entries: b.pending}
	b.pending, b.records, b.bytes = nil, 0, 0
	group, gctx := b.group, b.ctx
	group.Go(func() error { return b.run.put(gctx, key, content) })
	if gctx.Err() != nil {
		return b.wait()
	}
	return nil
}

// wait returns when all that was cut is stored.
func (b *builder) wait() error {
	if b.group == nil {
		return nil
	}
	err := b.group.Wait()
	b.group, b.ctx = nil, nil
	return err
}

// flush stores all and waits until it is safe.
func (b *builder) flush(ctx context.Context) error {
	if err := b.cut(ctx); err != nil {
		return err
	}
	return b.wait()
}
