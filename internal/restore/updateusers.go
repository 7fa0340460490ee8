package restore

import (
	"context"
	"fmt"
	"slices"
	"sync"

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
}

// updateCursor is where UpdateUsers left off.
type updateCursor struct {
	GroupsDone bool
	Open       []string // chunks begun, which no message may bring again
	Idle       int      // slices in a row that found nothing to do
}

// updatePartial is how far a chunk has come.
type updatePartial struct {
	Next int // entries before it are done
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
	if _, err := r.LoadCursor(ctx, &u.cursor); err != nil {
		return step.Run{}, err
	}
	return u.work(ctx)
}

type updater struct {
	*UpdateUsers
	run
	plan   Plan
	round  int
	cursor updateCursor
	calls  chan struct{} // a place for each call under way
}

func (u *updater) work(ctx context.Context) (step.Run, error) {
	u.calls = make(chan struct{}, u.InFlight)
	if !u.cursor.GroupsDone {
		done, err := u.createGroups(ctx)
		if err != nil || !done {
			return u.pause(ctx, u.cursor, err)
		}
		u.cursor.GroupsDone = true
	}
	var round round
	if err := u.Objects.Get(ctx, u.roundKey(u.round), &round); err != nil {
		return step.Run{}, err
	}
	for !u.Expired() {
		chunks, receipts, finished, err := u.take(ctx, round.Chunks)
		if err != nil {
			return step.Run{}, err
		}
		if finished {
			return u.Next(), nil
		}
		if len(chunks) == 0 {
			u.cursor.Idle++
			next, err := u.SaveCursor(ctx, u.cursor)
			next.WaitSeconds = min(1<<min(u.cursor.Idle/4, 6), 60) // seconds: 1, then doubled every fourth time
			return next, err
		}
		u.cursor.Idle, u.cursor.Open = 0, chunks
		if err := u.updateAll(ctx, chunks); err != nil {
			return step.Run{}, err
		}
		if err := u.Updates.delete(ctx, receipts); err != nil {
			return step.Run{}, err
		}
	}
	return u.SaveCursor(ctx, u.cursor)
}

// take returns chunks to work on: those begun before, those that the queue
// brings, or those that have an import result and no message. finished says
// that every chunk of the round has been updated.
func (u *updater) take(ctx context.Context, total int) (chunks []string, receipts []receipt, finished bool, err error) {
	chunks = u.cursor.Open
	if len(chunks) == 0 {
		receipts, err = u.Updates.receive(ctx, u.ExecutionName(), 1)
		if err != nil {
			return nil, nil, false, err
		}
		for _, r := range receipts {
			chunks = append(chunks, r.chunk)
		}
	}
	imported, updated, err := u.results(ctx)
	if err != nil {
		return nil, nil, false, err
	}
	if len(updated) >= total {
		return nil, nil, true, u.Updates.delete(ctx, receipts)
	}
	if len(chunks) == 0 {
		for name := range imported {
			chunks = append(chunks, name)
		}
	}
	slices.Sort(chunks)
	chunks = slices.DeleteFunc(slices.Compact(chunks), func(name string) bool { return !imported[name] || updated[name] })
	return chunks[:min(len(chunks), batchLimit)], receipts, false, nil
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

// updateAll works on several chunks side by side, so that the end of one does
// not leave the quota unused.
func (u *updater) updateAll(ctx context.Context, chunks []string) error {
	var mu sync.Mutex
	var open []string
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(batchLimit)
	for _, name := range chunks {
		g.Go(func() error {
			done, err := u.update(gctx, name)
			if err != nil || done {
				return err
			}
			mu.Lock()
			open = append(open, name)
			mu.Unlock()
			return nil
		})
	}
	err := g.Wait()
	slices.Sort(open)
	u.cursor.Open = open
	return err
}

// update works on one chunk and says whether it is done.
func (u *updater) update(ctx context.Context, name string) (bool, error) {
	var c chunk
	var imported importResult
	if err := u.Objects.Get(ctx, u.chunkKey(name), &c); err != nil {
		return false, err
	}
	if err := u.Objects.Get(ctx, u.importResultKey(name), &imported); err != nil {
		return false, err
	}
	var p updatePartial
	if _, err := u.get(ctx, u.partialKey("update", name), &p); err != nil {
		return false, err
	}
	begun := p.Next
	err := u.entries(ctx, &c, &imported, &p)
	if p.Next < len(c.Entries) {
		// Written down even when something failed, so that the next attempt does
		// not begin the chunk again.
		if p.Next > begun {
			if putErr := u.put(context.WithoutCancel(ctx), u.partialKey("update", name), p); putErr != nil && err == nil {
				err = putErr
			}
		}
		return false, err
	}
	if err := u.bury(ctx, name, p.Failures); err != nil {
		return false, err
	}
	return true, u.put(ctx, u.updateResultKey(name), p.updateResult)
}

// entries works through the chunk's entries, several at once, and leaves in p
// how far all of them are done.
func (u *updater) entries(ctx context.Context, c *chunk, imported *importResult, p *updatePartial) error {
	const window = 50 // entries between two looks at the clock
	for p.Next < len(c.Entries) && !u.Expired() {
		end := min(p.Next+window, len(c.Entries))
		var mu sync.Mutex
		done, failures := 0, []updateFailure(nil)
		g, gctx := errgroup.WithContext(ctx)
		for i := p.Next; i < end; i++ {
			if i >= len(imported.Users) || !imported.Users[i].eligible() {
				continue
			}
			for _, t := range tasks(&c.Entries[i], &imported.Users[i]) {
				select {
				case u.calls <- struct{}{}:
				case <-gctx.Done():
					return g.Wait()
				}
				g.Go(func() error {
					defer func() { <-u.calls }()
					failure, err := u.carryOut(gctx, t)
					mu.Lock()
					defer mu.Unlock()
					if failure != nil {
						failures = append(failures, *failure)
					} else if err == nil {
						done++
					}
					return err
				})
			}
		}
		if err := g.Wait(); err != nil {
			return err
		}
		p.Next, p.Done = end, p.Done+done
		p.Failures = append(p.Failures, failures...)
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
}

// tasks are the calls that an entry asks for.
func tasks(e *Entry, r *userResult) []task {
	var all []task
	add := func(t task) {
		t.sub, t.username = e.User.Sub, r.Username
		all = append(all, t)
	}
	disable, links := !e.User.Enabled, Links(&e.User)
	if e.Present != nil {
		disable, links = e.Present.Disable, e.Present.Links
	}
	if disable {
		add(task{kind: kindDisabled})
	}
	for _, l := range links {
		add(task{kind: kindLink, link: l})
	}
	for _, name := range e.Groups {
		add(task{kind: kindMembership, group: name})
	}
	return all
}

// carryOut makes one call. A refusal is a failure of this record alone.
func (u *updater) carryOut(ctx context.Context, t task) (*updateFailure, error) {
	err := u.call(ctx, t)
	if err == nil {
		return nil, nil
	}
	reason, code := refusal(err)
	switch code {
	case "ResourceNotFoundException":
		reason = ReasonGroupMissing
		if t.kind == kindLink {
			reason = ReasonNoProvider
		}
	case "AliasExistsException":
		reason = ReasonLinkTaken
	case "InvalidParameterException":
		if t.kind == kindLink {
			reason = ReasonLinkTaken
			if !slices.Contains(u.plan.Target.Providers, t.link.Provider) {
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

// bury tells the dead-letter queue, by key and code, what could not be done.
func (u *updater) bury(ctx context.Context, chunk string, failures []updateFailure) error {
	messages := make([]message, len(failures))
	for i, f := range failures {
		messages[i] = message{Execution: u.ExecutionName(), Chunk: chunk, Record: f.key(), Reason: f.Reason}
	}
	return u.DeadLetters.send(ctx, messages)
}

// key is the record's key in the backup table.
func (f *updateFailure) key() string {
	if f.Kind == kindMembership {
		return "GROUP_MEMBER-" + f.Sub + " " + f.Name
	}
	return "USER-" + f.Sub
}

// groupResult is what became of a group.
type groupResult struct {
	Outcome Outcome
	Reason  string `json:",omitempty"`
	Detail  string `json:",omitempty"`
}

// createGroups creates the groups of the restore point, or those of them that
// the target lacks. It begins anew when it did not get through: a group that
// exists costs one call.
func (u *updater) createGroups(ctx context.Context) (bool, error) {
	results := map[string]groupResult{}
	if _, err := u.get(ctx, u.groupResultsKey(), &results); err != nil {
		return false, err
	}
	groups, err := u.groupsToCreate(ctx)
	if err != nil {
		return false, err
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(min(u.InFlight, 8)) // five calls a second are allowed
	complete := true
	for i := range groups {
		mu.Lock()
		_, known := results[groups[i].Name]
		mu.Unlock()
		if known {
			continue
		}
		if u.Expired() {
			complete = false
			break
		}
		g.Go(func() error {
			result, err := u.createGroup(gctx, &groups[i])
			if err != nil {
				return err
			}
			mu.Lock()
			results[groups[i].Name] = result
			mu.Unlock()
			return nil
		})
	}
	err = g.Wait()
	if putErr := u.put(context.WithoutCancel(ctx), u.groupResultsKey(), results); err == nil {
		err = putErr
	}
	return complete, err
}

func (u *updater) groupsToCreate(ctx context.Context) ([]pool.Group, error) {
	var frozen Frozen
	if err := u.Objects.Get(ctx, u.frozenKey(), &frozen); err != nil {
		return nil, err
	}
	var all []pool.Group
	for n := range frozen.Groups {
		var groups []pool.Group
		if err := u.Objects.Get(ctx, u.groupsKey(n), &groups); err != nil {
			return nil, err
		}
		all = append(all, groups...)
	}
	if u.plan.Input.Mode != MissingOnly {
		return all, nil
	}
	var missing []string
	if err := u.Objects.Get(ctx, u.missingGroupsKey(), &missing); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(g pool.Group) bool { return !slices.Contains(missing, g.Name) }), nil
}

func (u *updater) createGroup(ctx context.Context, g *pool.Group) (groupResult, error) {
	in := &idp.CreateGroupInput{UserPoolId: &u.plan.Target.ID, GroupName: &g.Name, Precedence: g.Precedence}
	if g.Description != "" {
		in.Description = &g.Description
	}
	if g.RoleARN != "" {
		in.RoleArn = &g.RoleARN
	}
	_, err := u.API.CreateGroup(ctx, in)
	if err == nil {
		return groupResult{Outcome: Restored}, nil
	}
	reason, code := refusal(err)
	switch code {
	case "GroupExistsException":
		// Of this import, whose answer was lost, or of somebody who prepared the
		// pool: verification compares it with the restore point.
		return groupResult{Outcome: Existing}, nil
	case "AccessDeniedException", "NotAuthorizedException":
		reason = ReasonNoPermission
	}
	if reason == "" {
		return groupResult{}, fmt.Errorf("create a group: %w", err)
	}
	return groupResult{Outcome: Failed, Reason: reason, Detail: code}, nil
}
