package export

import (
	"context"
	"fmt"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

// Users is the step export-users.
type Users struct {
	Source
	API pool.ListUsersAPI
	// Shards is 1, or 16 to list by the first digit of the sub, side by side.
	Shards int
}

type usersCursor struct{ Chains []*pool.Chain }

// Run lists users and stores those that differ.
func (u *Users) Run(ctx context.Context, s *step.Slice) (step.Run, error) {
	var cursor usersCursor
	resumed, err := s.LoadCursor(ctx, &cursor)
	if err != nil {
		return step.Run{}, err
	}
	if !resumed {
		cursor.Chains = userChains(u.Shards)
	}
	before := u.Limits.Throttled()
	l := newLister(s, u.Store)
	err = l.readAll(ctx, cursor.Chains, func(c *pool.Chain) page {
		return func(ctx context.Context, token *string) ([]backup.Record, *string, error) {
			return u.page(ctx, c.Name, token)
		}
	})
	if err != nil {
		return step.Run{}, err
	}
	if err := l.seen.flush(ctx); err != nil {
		return step.Run{}, err
	}
	run, err := finish(ctx, s, &cursor, cursor.Chains)
	if err != nil {
		return step.Run{}, err
	}
	l.count(&run, u.Limits.Throttled()-before)
	return run, nil
}

// userChains divides the users by the first hexadecimal digit of their sub.
func userChains(shards int) []*pool.Chain {
	if shards != 16 {
		return []*pool.Chain{{}}
	}
	chains := make([]*pool.Chain, 16)
	for i := range chains {
		chains[i] = &pool.Chain{Name: fmt.Sprintf(`sub ^= "%x"`, i)}
	}
	return chains
}

func (u *Users) page(ctx context.Context, filter string, token *string) ([]backup.Record, *string, error) {
	users, next, err := pool.UsersPage(ctx, u.API, u.UserPoolID, filter, token)
	if err != nil {
		return nil, nil, err
	}
	records := make([]backup.Record, 0, len(users))
	for _, user := range users {
		record, err := backup.FromUser(user)
		if err != nil {
			return nil, nil, err
		}
		records = append(records, record)
	}
	return records, next, nil
}

// finish returns the run's document: with a cursor as long as a chain goes on.
func finish(ctx context.Context, s *step.Slice, cursor any, chains []*pool.Chain) (step.Run, error) {
	done := true
	for _, c := range chains {
		done = done && c.Done
	}
	if done {
		return s.Next(), nil
	}
	return s.SaveCursor(ctx, cursor)
}
