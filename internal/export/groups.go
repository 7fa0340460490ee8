package export

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"golang.org/x/sync/errgroup"
)

// Groups is the step list-groups.
type Groups struct {
	Source
	API pool.ListGroupsAPI
}

// groupsCursor also collects the names of the groups, which the next step
// reads from S3: a pool holds at most 10,000 of 128 characters (service quota).
type groupsCursor struct {
	Chain *pool.Chain
	Names []string
}

func groupNamesKey(s *step.Slice) string { return s.Prefix() + "groups.json" }

// Run lists groups and stores those that differ.
func (g *Groups) Run(ctx context.Context, s *step.Slice) (step.Run, error) {
	cursor := groupsCursor{Chain: &pool.Chain{}}
	if _, err := s.LoadCursor(ctx, &cursor); err != nil {
		return step.Run{}, err
	}
	before := g.Limits.Throttled()
	l := newLister(s, g.Store)
	known := make(map[string]bool, len(cursor.Names)) // a listing that started again names groups twice
	for _, name := range cursor.Names {
		known[name] = true
	}
	err := l.read(ctx, cursor.Chain, func(ctx context.Context, token *string) ([]backup.Record, *string, error) {
		groups, next, err := pool.GroupsPage(ctx, g.API, g.UserPoolID, token)
		if err != nil {
			return nil, nil, err
		}
		records := make([]backup.Record, 0, len(groups))
		for _, group := range groups {
			record, err := backup.FromGroup(group)
			if err != nil {
				return nil, nil, err
			}
			records = append(records, record)
			if !known[group.Name] {
				known[group.Name] = true
				cursor.Names = append(cursor.Names, group.Name)
			}
		}
		return records, next, nil
	})
	if err != nil {
		return step.Run{}, err
	}
	if err := l.seen.flush(ctx); err != nil {
		return step.Run{}, err
	}
	if cursor.Chain.Done {
		if err := s.Objects.Put(ctx, groupNamesKey(s), cursor.Names); err != nil {
			return step.Run{}, err
		}
	}
	run, err := finish(ctx, s, &cursor, []*pool.Chain{cursor.Chain})
	if err != nil {
		return step.Run{}, err
	}
	l.count(&run, g.Limits.Throttled()-before)
	return run, nil
}

// MembersAPI is one page of a group's members, and of users, which tells a
// deleted group from a deleted pool.
type MembersAPI interface {
	pool.ListMembersAPI
	pool.ListUsersAPI
}

// Memberships is the step export-group-members.
type Memberships struct {
	Source
	API MembersAPI
	// Parallel is how many groups are listed side by side, so that the latency
	// of one call does not set the rate.
	Parallel int
}

// membershipsCursor is the next group that nobody has begun, and the listings
// that the slice ended in.
type membershipsCursor struct {
	Next int
	Open []*openGroup
}

type openGroup struct {
	Group int
	Chain *pool.Chain
}

// Run lists the members of every group and stores memberships that differ.
func (m *Memberships) Run(ctx context.Context, s *step.Slice) (step.Run, error) {
	var cursor membershipsCursor
	if _, err := s.LoadCursor(ctx, &cursor); err != nil {
		return step.Run{}, err
	}
	var names []string
	if err := s.Objects.Get(ctx, groupNamesKey(s), &names); err != nil {
		return step.Run{}, err
	}
	before := m.Limits.Throttled()
	l := newLister(s, m.Store)

	var mu sync.Mutex
	waiting, open := cursor.Open, []*openGroup(nil)
	take := func() *openGroup { // the next listing to follow, nil when there is none
		mu.Lock()
		defer mu.Unlock()
		if len(waiting) > 0 {
			first := waiting[0]
			waiting = waiting[1:]
			return first
		}
		if cursor.Next == len(names) {
			return nil
		}
		cursor.Next++
		return &openGroup{Group: cursor.Next - 1, Chain: &pool.Chain{}}
	}
	g, gctx := errgroup.WithContext(ctx)
	for range max(1, m.Parallel) {
		g.Go(func() error {
			for !s.Expired() && gctx.Err() == nil {
				o := take()
				if o == nil {
					return nil
				}
				if err := l.read(gctx, o.Chain, m.page(names[o.Group])); err != nil {
					return err
				}
				if !o.Chain.Done {
					mu.Lock()
					open = append(open, o)
					mu.Unlock()
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return step.Run{}, err
	}
	if err := l.seen.flush(ctx); err != nil {
		return step.Run{}, err
	}
	cursor.Open = append(open, waiting...)
	run := s.Next()
	if len(cursor.Open) > 0 || cursor.Next < len(names) {
		var err error
		if run, err = s.SaveCursor(ctx, &cursor); err != nil {
			return step.Run{}, err
		}
	}
	l.count(&run, m.Limits.Throttled()-before)
	return run, nil
}

func (m *Memberships) page(group string) page {
	return func(ctx context.Context, token *string) ([]backup.Record, *string, error) {
		members, next, err := pool.MembersPage(ctx, m.API, m.UserPoolID, group, token)
		if gone := new(types.ResourceNotFoundException); errors.As(err, &gone) {
			// Deleted since the groups were listed, so it has no members; unless the
			// whole pool is gone, of which no restore point must be made.
			_, err := m.API.ListUsers(ctx, &idp.ListUsersInput{UserPoolId: &m.UserPoolID, Limit: aws.Int32(1)})
			if err != nil {
				return nil, nil, fmt.Errorf("look whether user pool %s still exists: %w", m.UserPoolID, err)
			}
			return nil, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
		records := make([]backup.Record, 0, len(members))
		for _, member := range members {
			record, err := backup.FromMembership(member.Sub, group)
			if err != nil {
				return nil, nil, err
			}
			records = append(records, record)
		}
		return records, next, nil
	}
}
