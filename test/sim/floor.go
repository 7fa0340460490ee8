package sim

import (
	"time"

	"cognito-backup/internal/pool"
)

// Rates are how many calls a second the quotas and CognitoTPS allow.
type Rates struct{ TPS int }

// of is the rate of a category at its documented default quota.
func (r Rates) of(c pool.Category) float64 { return min(float64(r.TPS), pool.DefaultQuota(c)) }

// perOperation is the rate of an operation of the UserPoolResource categories
// on one pool: five a second (developer guide, "Quotas").
func (r Rates) perOperation() float64 { return min(float64(r.TPS), 5) }

func seconds(n, perSecond float64) time.Duration {
	return time.Duration(n / perSecond * float64(time.Second))
}

func pages(n int) int { return (n + pool.PageSize - 1) / pool.PageSize }

// ListFloor is how long it takes at least to list a pool: ListUsers and
// ListUsersInGroup share the UserList quota; ListGroups has its own. The pages
// that shards need beyond are no part of it.
func (s Shape) ListFloor(r Rates) time.Duration {
	calls := pages(s.Users)
	if g := s.Groups(); g > 0 {
		calls += g * pages(s.Memberships()/g)
	}
	return seconds(float64(calls), r.of(pool.UserList))
}

// ExportFloor is the least time that an export can take.
func (s Shape) ExportFloor(r Rates) time.Duration { return s.ListFloor(r) }

// RestoreFloor is the least time that a restore can take which ends with a
// listing of the target, because only what is there when all is written proves
// that all came back. Users are created and memberships added side by side,
// because they draw on different quotas. csvRate is how many users a second an
// import job handles; AWS documents no such figure. Without CSV (0) everybody
// is created by AdminCreateUser and gets a password.
func (s Shape) RestoreFloor(r Rates, csvRate float64) time.Duration {
	users := float64(s.Users)
	var create time.Duration
	if csvRate > 0 {
		create = seconds(users, csvRate)
	} else {
		create = max(seconds(users, r.of(pool.UserCreation)), seconds(users, r.of(pool.UserAccountRecovery)))
	}
	update := max(seconds(float64(s.Memberships()), r.of(pool.UserUpdate)), seconds(float64(s.Groups()), r.perOperation()))
	return max(create, update) + s.ListFloor(r)
}
