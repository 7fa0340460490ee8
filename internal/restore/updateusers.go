package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"

	"golang.org/x/sync/errgroup"
)

// UpdateAPI is what UpdateUsers needs of Cognito.
type UpdateAPI interface {
	CreateGroup(context.Context, *idp.CreateGroupInput, ...func(*idp.Options)) (*idp.CreateGroupOutput, error)
	AdminAddUserToGroup(context.Context, *idp.AdminAddUserToGroupInput, ...func(*idp.Options)) (*idp.AdminAddUserToGroupOutput, error)
	AdminDisableUser(context.Context, *idp.AdminDisableUserInput, ...func(*idp.Options)) (*idp.AdminDisableUserOutput, error)
	AdminLinkProviderForUser(context.Context, *idp.AdminLinkProviderForUserInput, ...func(*idp.Options)) (*idp.AdminLinkProviderForUserOutput, error)
}

// UpdateUsers is the step that creates the groups and gives the users who are
// there what is theirs: memberships, disabled flags and linked identities. It
// runs beside ImportUsers and draws on another quota. What cannot be done is
// noted, goes to the dead-letter queue, and stops nothing else.
type UpdateUsers struct {
	API         UpdateAPI
	Updates     *Queue
	DeadLetters *Queue
	InFlight    int // calls under way at once
	Metrics     *step.Metrics
}

// updateCursor is where UpdateUsers left off.
type updateCursor struct {
	Open []string // chunks begun, which no message may bring again
}

// updatePartial is how far a chunk has come.
type updatePartial struct {
	Next  int         // entries before it are done
	Calls map[int]int `json:",omitempty"` // calls done of entries from Next on
	updateResult
}

// Run works on chunks that ImportUsers is done with until all chunks of the
// round are.
func (s *UpdateUsers) Run(ctx context.Context, slice *step.Slice) (step.Run, error) {
	r := run{slice}
	u := &updater{UpdateUsers: s, run: r, round: slice.Event.Run.Round}
	if err := r.Objects.Get(ctx, r.planKey(), &u.plan); err != nil {
		return step.Run{}, err
	}
	u.rules = u.plan.rules()
	if _, err := r.LoadCursor(ctx, &u.cursor); err != nil {
		return step.Run{}, err
	}
	return u.work(ctx)
}

type updater struct {
	*UpdateUsers
	run
	plan   Plan
	rules  *Rules
	round  int
	cursor updateCursor
	calls  chan struct{} // a place for each call under way
	groups *groupCreator
}

// work creates the groups and updates users side by side: a membership waits
// for its group only.
func (u *updater) work(ctx context.Context) (step.Run, error) {
	u.calls = make(chan struct{}, u.InFlight)
	groups, err := u.newGroupCreator(ctx)
	if err != nil {
		return step.Run{}, err
	}
	u.groups = groups
	var next step.Run
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return groups.create(gctx) })
	g.Go(func() (err error) {
		next, err = u.update(gctx)
		return err
	})
	if err := g.Wait(); err != nil {
		return step.Run{}, err
	}
	if next.Cursor == "" && !groups.done() {
		return u.SaveCursor(ctx, u.cursor)
	}
	return next, nil
}

// updatesAtOnce is how many chunks are worked on side by side, so that the end
// of one does not leave the quota unused.
const updatesAtOnce = 10

func (u *updater) update(ctx context.Context) (step.Run, error) {
	var round round
	if err := u.Objects.Get(ctx, u.roundKey(u.round), &round); err != nil {
		return step.Run{}, err
	}
	_, updated, err := u.results(ctx)
	if err != nil {
		return step.Run{}, err
	}
	f := &feed{updater: u, total: round.Chunks, turn: make(chan struct{}, 1), receipts: map[string][]receipt{}, busy: map[string]bool{}}
	for _, name := range u.cursor.Open {
		if !updated[name] {
			f.waiting = append(f.waiting, name)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	for range updatesAtOnce {
		g.Go(func() error { return f.work(gctx) })
	}
	if err := g.Wait(); err != nil {
		return step.Run{}, err
	}
	if f.finished {
		return u.Next(), nil
	}
	u.cursor.Open = f.left()
	next, err := u.SaveCursor(ctx, u.cursor)
	if f.idle {
		next.WaitSeconds = u.patience()
	}
	return next, err
}

// patience is how many seconds to wait for chunks that users are still being
// created of: it grows with the time that the import has run, so that waiting
// costs little of it, and no more history events than an execution has.
func (u *updater) patience() int { return int(idleFor(time.Since(u.StartTime)).Seconds()) }

func idleFor(run time.Duration) time.Duration {
	return max(time.Second, min(run/32, time.Minute), run/128).Truncate(time.Second)
}

// feed hands chunks to those who work on them: chunks begun before, those that
// the queue brings, and those that have an import result and no message.
type feed struct {
	*updater
	total int           // chunks of the round
	turn  chan struct{} // holds a token while somebody takes a chunk

	mu       sync.Mutex
	waiting  []string
	receipts map[string][]receipt // by chunk, of messages not deleted yet
	busy     map[string]bool
	open     []string // the slice ended in them
	finished bool     // every chunk of the round is updated
	idle     bool     // nobody has anything to do for now
}

// left are the chunks that the next slice begins with.
func (f *feed) left() []string {
	all := append(f.open, f.waiting...)
	slices.Sort(all)
	return slices.Compact(all)
}

// work takes chunks until there are none for now or the slice is used up.
func (f *feed) work(ctx context.Context) error {
	for !f.Expired() && ctx.Err() == nil {
		name, err := f.take(ctx)
		if err != nil {
			return err
		}
		if name == "" {
			f.mu.Lock()
			over := f.finished || f.idle
			f.mu.Unlock()
			if over {
				return nil
			}
			if err := step.Sleep(ctx, time.Second); err != nil {
				return err
			}
			continue
		}
		done, err := f.updateChunk(ctx, name)
		if err != nil {
			return err
		}
		if err := f.giveBack(ctx, name, done); err != nil {
			return err
		}
	}
	return nil
}

// giveBack ends the work on a chunk for this slice.
func (f *feed) giveBack(ctx context.Context, name string, done bool) error {
	f.mu.Lock()
	delete(f.busy, name)
	receipts := f.receipts[name]
	delete(f.receipts, name)
	if !done {
		f.open = append(f.open, name)
	}
	f.mu.Unlock()
	// Also of one that is not done: the cursor stands for it.
	return f.Updates.delete(ctx, receipts)
}

// take returns a chunk to work on, "" when there is none for now.
func (f *feed) take(ctx context.Context) (string, error) {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	f.mu.Lock()
	empty := len(f.waiting) == 0 && !f.finished && !f.idle
	f.mu.Unlock()
	if empty {
		if err := f.refill(ctx); err != nil {
			return "", err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) == 0 {
		return "", nil
	}
	name := f.waiting[0]
	f.waiting = f.waiting[1:]
	f.busy[name] = true
	return name, nil
}

// refill looks for chunks in the queue and then in S3, which is the account of
// what is done. The caller has the turn.
func (f *feed) refill(ctx context.Context) error {
	f.mu.Lock()
	busy := maps.Clone(f.busy) // a chunk that is finished meanwhile may not be listed yet
	f.mu.Unlock()
	received, err := f.Updates.receive(ctx, f.ExecutionName(), batchLimit, 1)
	if err != nil {
		return err
	}
	imported, updated, err := f.results(ctx)
	if err != nil {
		return err
	}
	var names []string
	var late []receipt // doubles of what is done or not of this round
	f.mu.Lock()
	for _, r := range received {
		if !imported[r.chunk] || updated[r.chunk] {
			late = append(late, r)
			continue
		}
		names = append(names, r.chunk)
		f.receipts[r.chunk] = append(f.receipts[r.chunk], r)
	}
	if len(names) == 0 {
		names = slices.Collect(maps.Keys(imported))
	}
	slices.Sort(names)
	f.waiting = slices.DeleteFunc(slices.Compact(names), func(name string) bool {
		return updated[name] || busy[name] || f.busy[name] || slices.Contains(f.open, name)
	})
	f.finished = len(updated) >= f.total
	f.idle = len(f.waiting)+len(busy)+len(f.busy)+len(f.open) == 0 && f.groups.done()
	f.mu.Unlock()
	return f.Updates.delete(ctx, late)
}

// results lists which chunks of the round have results of either kind.
func (u *updater) results(ctx context.Context) (imported, updated map[string]bool, err error) {
	list := func(kind string) (map[string]bool, error) {
		prefix := u.Prefix() + "results/" + kind + "/"
		keys, err := u.Objects.List(ctx, fmt.Sprintf("%s%d/", prefix, u.round))
		names := make(map[string]bool, len(keys))
		for _, key := range keys {
			names[nameOf(key, prefix)] = true
		}
		return names, err
	}
	if imported, err = list("import"); err != nil {
		return nil, nil, err
	}
	updated, err = list("update")
	return imported, updated, err
}

// updateChunk works on one chunk and says whether it is done.
func (u *updater) updateChunk(ctx context.Context, name string) (bool, error) {
	var c chunk
	var imported importResult
	if err := u.Objects.Get(ctx, u.chunkKey(name), &c); err != nil {
		return false, err
	}
	if err := u.Objects.Get(ctx, u.importResultKey(name), &imported); err != nil {
		return false, err
	}
	p := updatePartial{}
	if _, err := u.get(ctx, u.partialKey("update", name), &p); err != nil {
		return false, err
	}
	save := func(p *updatePartial) error {
		return u.put(context.WithoutCancel(ctx), u.partialKey("update", name), p)
	}
	err := u.entries(ctx, &c, &imported, &p, save)
	if p.Next < len(c.Entries) {
		return false, errors.Join(err, save(&p))
	}
	if err != nil {
		return false, err
	}
	if err := u.bury(ctx, name, p.Failures); err != nil {
		return false, err
	}
	if err := u.put(ctx, u.updateResultKey(name), p.updateResult); err != nil {
		return false, err
	}
	return true, u.Metrics.Emit(u.Workflow, map[string]float64{"MembershipsRestored": float64(p.Done)})
}

// keepEvery is how often it is written down how far a chunk has come, so that
// whoever follows a killed invocation does not begin the chunk again: seldom
// enough that the requests cost little next to the calls, which are idempotent
// and may be made again.
const keepEvery = 20 * time.Second

// entries works on all entries of a chunk side by side until they are done or
// the slice is used up, and leaves in p how far each has come.
func (u *updater) entries(ctx context.Context, c *chunk, imported *importResult, p *updatePartial, save func(*updatePartial) error) error {
	var mu sync.Mutex
	calls := make(map[int]int, len(p.Calls)) // of entries that are not done
	g, gctx := errgroup.WithContext(ctx)
	for i := p.Next; i < len(c.Entries); i++ {
		if i >= len(imported.Users) || !imported.Users[i].eligible() {
			continue
		}
		all := u.tasks(&c.Entries[i], &imported.Users[i])
		done := p.Calls[i]
		if done >= len(all) {
			continue
		}
		calls[i] = done
		g.Go(func() error {
			return u.entry(gctx, all[done:], func(failure *updateFailure) {
				mu.Lock()
				defer mu.Unlock()
				if calls[i]++; calls[i] == len(all) {
					delete(calls, i)
				}
				if failure != nil {
					p.Failures = append(p.Failures, *failure)
				} else {
					p.Done++
				}
			})
		})
	}
	stop := make(chan struct{})
	var kept errgroup.Group
	kept.Go(func() error {
		for tick := time.NewTicker(keepEvery); ; {
			select {
			case <-stop:
				tick.Stop()
				return nil
			case <-tick.C:
			}
			mu.Lock()
			so := updatePartial{Next: p.Next, updateResult: updateResult{Done: p.Done, Failures: slices.Clone(p.Failures)}}
			u.progress(c, imported, &so, maps.Clone(calls))
			mu.Unlock()
			if err := save(&so); err != nil {
				return err
			}
		}
	})
	err := g.Wait()
	close(stop)
	err = errors.Join(err, kept.Wait())
	u.progress(c, imported, p, calls)
	return err
}

// progress brings p up to date: entries before Next are done, and of those
// after it Calls says how many calls are.
func (u *updater) progress(c *chunk, imported *importResult, p *updatePartial, open map[int]int) {
	for p.Next < len(c.Entries) {
		if _, isOpen := open[p.Next]; isOpen {
			break
		}
		p.Next++
	}
	p.Calls = map[int]int{}
	for i := p.Next; i < min(len(c.Entries), len(imported.Users)); i++ {
		if done, isOpen := open[i]; isOpen {
			p.Calls[i] = done
		} else if imported.Users[i].eligible() {
			p.Calls[i] = len(u.tasks(&c.Entries[i], &imported.Users[i]))
		}
	}
}

// perUser is the least time between two calls for the same user: Cognito
// allows ten writes a second for each (developer guide, "Quotas").
const perUser = 110 * time.Millisecond

// entry makes the calls for one user one after the other. It returns without
// error when the slice is used up.
func (u *updater) entry(ctx context.Context, all []task, done func(*updateFailure)) error {
	var last time.Time
	for _, t := range all {
		if t.kind == kindMembership && !u.groups.await(ctx, t.group) {
			return ctx.Err()
		}
		if err := step.Sleep(ctx, perUser-time.Since(last)); err != nil {
			return err
		}
		select {
		case u.calls <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if u.Expired() {
			<-u.calls
			return nil
		}
		last = time.Now()
		failure, err := u.carryOut(ctx, t)
		<-u.calls
		if err != nil {
			return err
		}
		done(failure)
	}
	return nil
}

// task is one call for one user.
type task struct {
	sub      string // old sub
	username string // in the target
	kind     string
	group    string
	link     Link
	fixed    bool // the user holds an attribute that cannot be changed
}

// tasks are the calls that an entry asks for.
func (u *updater) tasks(e *Entry, r *userResult) []task {
	var all []task
	add := func(t task) {
		t.sub, t.username = e.User.Sub, r.Username
		all = append(all, t)
	}
	disable, links := !e.User.Enabled, Links(&e.User)
	if e.Present != nil {
		disable, links = e.Present.Disable, e.Present.Links
	}
	// Links before the flag: nothing says that a disabled user can be linked.
	for _, l := range links {
		add(task{kind: kindLink, link: l, fixed: u.rules.holdsImmutable(&e.User)})
		if e.Present != nil && e.Present.LinkTo != "" {
			all[len(all)-1].username = e.Present.LinkTo
		}
	}
	if disable {
		add(task{kind: kindDisabled})
	}
	// In the order in which the groups are created, so that nobody waits for a
	// late one before an early one.
	groups := slices.Clone(e.Groups)
	slices.SortStableFunc(groups, func(a, b string) int { return cmp.Compare(u.groups.rank[a], u.groups.rank[b]) })
	for _, name := range groups {
		add(task{kind: kindMembership, group: name})
	}
	return all
}

// carryOut makes one call. A refusal is a failure of this record alone.
func (u *updater) carryOut(ctx context.Context, t task) (*updateFailure, error) {
	if t.kind == kindLink && !t.link.readable() {
		return &updateFailure{Sub: t.sub, Kind: t.kind, Reason: ReasonUnreadable}, nil
	}
	err := u.call(ctx, t)
	if err == nil || t.kind == kindLink && alreadyLinked(err) {
		return nil, nil
	}
	reason, code := refusal(err)
	if reason == "" && t.kind == kindLink && pool.Refused(err) {
		reason = ReasonRefused // the endpoint knows no links, in whatever form it says so
	}
	switch code {
	case "ResourceNotFoundException":
		switch t.kind {
		case kindMembership:
			reason = ReasonGroupMissing
		case kindLink:
			reason = ReasonNoProvider
		case kindDisabled: // or the pool is gone, which every other call meets too
			reason = ReasonUserMissing
		}
	case "AliasExistsException":
		reason = ReasonLinkTaken
	case "InvalidParameterException":
		if t.kind == kindLink {
			reason = ReasonLinkTaken
			if t.fixed {
				reason = ReasonImmutable
			}
			if known := !u.plan.Target.ProvidersUnknown; known && !slices.Contains(u.plan.Target.Providers, t.link.Provider) {
				reason = ReasonNoProvider
			}
		}
	}
	if reason == "" {
		return nil, fmt.Errorf("restore a %s of %s: %w", t.kind, t.sub, err)
	}
	name := t.group
	if t.kind == kindLink {
		name = t.link.Provider
	}
	return &updateFailure{Sub: t.sub, Kind: t.kind, Name: name, Reason: reason, Detail: code}, nil
}

// alreadyLinked says that the identity is linked to this very user, by a call
// of ours whose answer was lost. Cognito has no error code of its own for it.
func alreadyLinked(err error) bool {
	return strings.Contains(err.Error(), "already linked to DestinationUser")
}

func (u *updater) call(ctx context.Context, t task) error {
	var err error
	switch t.kind {
	case kindDisabled:
		_, err = u.API.AdminDisableUser(ctx, &idp.AdminDisableUserInput{UserPoolId: &u.plan.Target.ID, Username: &t.username})
	case kindLink:
		_, err = u.API.AdminLinkProviderForUser(ctx, &idp.AdminLinkProviderForUserInput{
			UserPoolId: &u.plan.Target.ID,
			DestinationUser: &types.ProviderUserIdentifierType{
				ProviderName: aws.String("Cognito"), ProviderAttributeValue: &t.username,
			},
			SourceUser: &types.ProviderUserIdentifierType{
				ProviderName: &t.link.Provider, ProviderAttributeName: aws.String("Cognito_Subject"), ProviderAttributeValue: &t.link.UserID,
			},
		})
	default:
		_, err = u.API.AdminAddUserToGroup(ctx, &idp.AdminAddUserToGroupInput{UserPoolId: &u.plan.Target.ID, Username: &t.username, GroupName: &t.group})
	}
	return err
}

// bury tells the dead-letter queue, by key and code, what could not be done and
// no later round tries again.
func (u *updater) bury(ctx context.Context, chunk string, failures []updateFailure) error {
	var messages []message
	for _, f := range failures {
		if u.round == rounds || f.hopeless() {
			messages = append(messages, message{Execution: u.ExecutionName(), Chunk: chunk, Record: f.key(), Reason: f.Reason})
		}
	}
	return u.DeadLetters.send(ctx, messages)
}

// hopeless says that what kept the record from being restored cannot pass while
// the import runs.
func (f *updateFailure) hopeless() bool {
	return f.Reason == ReasonImmutable || f.Reason == ReasonNoProvider || f.Reason == ReasonUnreadable
}

// what says which of the user's flags and links it is, and Cognito's code.
func (f *updateFailure) what() string {
	what := strings.TrimSpace(f.Kind + " " + f.Name)
	if f.Detail != "" {
		what += ": " + f.Detail
	}
	return what
}

// key is the record's key in the backup table.
func (f *updateFailure) key() string {
	if f.Kind == kindMembership {
		return "GROUP_MEMBER-" + f.Sub + " " + f.Name
	}
	return "USER-" + f.Sub
}
