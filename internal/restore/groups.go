package restore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"

	"cognito-backup/internal/pool"
)

// groupResult is what became of a group.
type groupResult struct {
	Outcome Outcome
	Reason  string `json:",omitempty"`
	Detail  string `json:",omitempty"`
}

// groupCreator creates the groups of the restore point, or those of them that
// the target lacks. What it did is kept in S3; a group that it meets again
// costs one call.
type groupCreator struct {
	*updater
	pending []pool.Group
	rank    map[string]int           // in which order the groups are created
	ready   map[string]chan struct{} // closed when a call for the group has ended
	over    chan struct{}            // closed when no more groups are created in this slice

	mu      sync.Mutex
	results map[string]groupResult
	open    int // groups that have no result yet
}

func (u *updater) newGroupCreator(ctx context.Context) (*groupCreator, error) {
	c := &groupCreator{updater: u, rank: map[string]int{}, ready: map[string]chan struct{}{}, over: make(chan struct{}), results: map[string]groupResult{}}
	if _, err := u.get(ctx, u.groupResultsKey(), &c.results); err != nil {
		return nil, err
	}
	groups, err := u.groupsToCreate(ctx, &u.plan)
	if err != nil {
		return nil, err
	}
	for i, g := range groups {
		c.rank[g.Name] = i
		if _, done := c.results[g.Name]; !done {
			c.pending = append(c.pending, g)
			c.ready[g.Name] = make(chan struct{})
		}
	}
	c.open = len(c.pending)
	return c, nil
}

func (r run) groupsToCreate(ctx context.Context, plan *Plan) ([]pool.Group, error) {
	var frozen Frozen
	if err := r.Objects.Get(ctx, r.frozenKey(), &frozen); err != nil {
		return nil, err
	}
	var all []pool.Group
	for n := range frozen.Groups {
		var groups []pool.Group
		if err := r.Objects.Get(ctx, r.groupsKey(n), &groups); err != nil {
			return nil, err
		}
		all = append(all, groups...)
	}
	if plan.Input.Mode != MissingOnly {
		return all, nil
	}
	var missing []string
	if err := r.Objects.Get(ctx, r.missingGroupsKey(), &missing); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(g pool.Group) bool { return !slices.Contains(missing, g.Name) }), nil
}

// saveEvery is how often results are stored while groups are being created.
const saveEvery = 2 * time.Second

// groupsAtATime is how many CreateGroup calls are under way at once; Cognito
// allows five a second.
const groupsAtATime = 10

// create creates groups until all are there or the slice is used up.
func (c *groupCreator) create(ctx context.Context) error {
	defer close(c.over)
	if len(c.pending) == 0 {
		return nil
	}
	saved := time.Now()
	for len(c.pending) > 0 && !c.Expired() && ctx.Err() == nil {
		batch := c.pending[:min(len(c.pending), groupsAtATime)]
		g, gctx := limited(ctx, groupsAtATime)
		for i := range batch {
			g.Go(func() error {
				result, err := c.createOne(gctx, &batch[i])
				if err != nil {
					return err
				}
				c.mu.Lock()
				c.results[batch[i].Name] = result
				c.open--
				c.mu.Unlock()
				close(c.ready[batch[i].Name])
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return errors.Join(err, c.save(context.WithoutCancel(ctx)))
		}
		c.pending = c.pending[len(batch):]
		if time.Since(saved) > saveEvery {
			if err := c.save(ctx); err != nil {
				return err
			}
			saved = time.Now()
		}
	}
	return c.save(context.WithoutCancel(ctx))
}

func (c *groupCreator) save(ctx context.Context) error {
	c.mu.Lock()
	results := maps.Clone(c.results)
	c.mu.Unlock()
	return c.put(ctx, c.groupResultsKey(), results)
}

// done says that every group has a result.
func (c *groupCreator) done() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open == 0
}

// await returns when the group is there or could not be created; false means
// that this slice does not come to it.
func (c *groupCreator) await(ctx context.Context, name string) bool {
	ready, pending := c.ready[name]
	if !pending {
		return true
	}
	select {
	case <-ready:
		return true
	case <-c.over:
	case <-ctx.Done():
		return false
	}
	select { // both may have happened
	case <-ready:
		return true
	default:
		return false
	}
}

func (c *groupCreator) createOne(ctx context.Context, g *pool.Group) (groupResult, error) {
	in := &idp.CreateGroupInput{UserPoolId: &c.plan.Target.ID, GroupName: &g.Name, Precedence: g.Precedence}
	if g.Description != "" {
		in.Description = &g.Description
	}
	if g.RoleARN != "" {
		in.RoleArn = &g.RoleARN
	}
	_, err := c.API.CreateGroup(ctx, in)
	if err == nil {
		return groupResult{Outcome: Restored}, nil
	}
	reason, code := refusal(err)
	switch code {
	case "GroupExistsException":
		// Of this import, whose answer was lost, or of somebody who prepared the
		// pool: verification tells the two apart by the group's age, and compares it
		// with the restore point.
		return groupResult{Outcome: Existing}, nil
	case "AccessDeniedException", "NotAuthorizedException":
		reason = ReasonNoPermission
	}
	if reason == "" {
		return groupResult{}, fmt.Errorf("create a group: %w", err)
	}
	return groupResult{Outcome: Failed, Reason: reason, Detail: code}, nil
}
