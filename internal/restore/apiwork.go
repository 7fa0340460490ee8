package restore

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
)

// apiBatch is how many users are created before it is written down whom: few
// enough to find them again after a crash, many enough that S3 does not count.
const apiBatch = 50

// apiWork creates the users of one chunk who go by API. Batch by batch, the
// created users are written down and then get their passwords while the next
// batch is created, because the two draw on different quotas. A user who was
// written down is ours whatever state a crash left it in.
type apiWork struct {
	*importer
	name string
	*chunk
	*partial
}

// run says whether it got through the chunk in this slice.
func (a *apiWork) run(ctx context.Context) (bool, error) {
	open := a.choose(func(i int) bool { return a.Users[i].openAPI() })
	passwords := a.choose(a.needsPassword) // of an attempt before
	select {
	case a.beginning <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	begun := sync.OnceFunc(func() { <-a.beginning })
	defer begun()
	for half := len(open) / 2; ; {
		if len(open) <= half {
			begun()
		}
		batch := open[:min(len(open), apiBatch)]
		open = open[len(batch):]
		if len(batch) == 0 && len(passwords) == 0 {
			return true, nil
		}
		created := slices.Clone(a.Users)
		usable := slices.Clone(a.Usable)
		g, gctx := limited(ctx, 2)
		g.Go(func() error { return a.create(gctx, batch, created) })
		g.Go(func() error { return a.setPasswords(gctx, passwords, usable) })
		err := g.Wait()
		changed := !slices.Equal(created, a.Users) || !slices.Equal(usable, a.Usable)
		a.Users, a.Usable = created, usable
		// Written down even when something failed: whoever tries again then knows
		// whom this attempt created.
		if changed {
			err = errors.Join(err, a.put(context.WithoutCancel(ctx), a.partialKey("import", a.name), a.partial))
		}
		if err != nil {
			return false, err
		}
		left := func(i int) bool { return a.Users[i].openAPI() }
		if slices.ContainsFunc(batch, left) || slices.ContainsFunc(passwords, a.needsPassword) {
			return false, nil // the slice is used up
		}
		passwords = slices.DeleteFunc(batch, func(i int) bool { return !a.needsPassword(i) })
	}
}

func (a *apiWork) choose(wanted func(i int) bool) []int {
	var chosen []int
	for i := range a.Users {
		if wanted(i) {
			chosen = append(chosen, i)
		}
	}
	return chosen
}

// needsPassword says that the user was created by API, by this import or one
// that was stopped, and has a verified address, so that with a random password "forgot password" works.
func (a *apiWork) needsPassword(i int) bool {
	u, e := &a.Users[i], &a.Entries[i]
	if e.Present != nil {
		return e.Present.Password && !a.Usable[i]
	}
	return u.Outcome == Restored && u.Path == PathAPI && !a.Usable[i] && a.rules.Recreate(&e.User).Permanent
}

// create creates users side by side until all are or the slice is used up.
func (a *apiWork) create(ctx context.Context, batch []int, results []userResult) error {
	g, gctx := limited(ctx, a.InFlight)
	for _, i := range batch {
		if a.Expired() || gctx.Err() != nil {
			break
		}
		g.Go(func() (err error) {
			results[i], err = a.importer.create(gctx, &a.Entries[i], results[i])
			return err
		})
	}
	return g.Wait()
}

// setPasswords gives random passwords to users side by side.
func (a *apiWork) setPasswords(ctx context.Context, batch []int, usable []bool) error {
	g, gctx := limited(ctx, a.InFlight)
	for _, i := range batch {
		if a.Expired() || gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			code, err := a.setPassword(gctx, a.Users[i].Username)
			if err != nil {
				return err
			}
			if code != "" {
				slog.WarnContext(gctx, "password refused", "code", code)
			}
			usable[i] = true
			return nil
		})
	}
	return g.Wait()
}
