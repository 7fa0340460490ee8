package export

import (
	"context"
	"fmt"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
)

// ListUsersAPI is one page of users.
type ListUsersAPI interface {
	ListUsers(context.Context, *idp.ListUsersInput, ...func(*idp.Options)) (*idp.ListUsersOutput, error)
}

// Users is the step export-users.
type Users struct {
	Source
	API ListUsersAPI
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
	l := &lister{slice: s, store: u.Store, seen: &seenWriter{slice: s}}
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
	in := &idp.ListUsersInput{UserPoolId: &u.UserPoolID, Limit: aws.Int32(pool.PageSize), PaginationToken: token}
	if filter != "" {
		in.Filter = &filter
	}
	out, err := u.API.ListUsers(ctx, in)
	if err != nil {
		return nil, nil, fmt.Errorf("list users of %s: %w", u.UserPoolID, err)
	}
	records := make([]backup.Record, 0, len(out.Users))
	for _, user := range out.Users {
		record, err := backup.FromUser(pool.FromUserType(user))
		if err != nil {
			return nil, nil, err
		}
		records = append(records, record)
	}
	return records, out.PaginationToken, nil
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
