package restore

import (
	"context"
	"errors"
	"slices"

	"cognito-backup/internal/pool"
)

// settle decides what became of the file's rows. Cognito says only how many
// were imported; which ones were not stands in a log, by line number. So
// either all were, or the target is listed and the rows looked for.
func (w *importer) settle(ctx context.Context, f *file, end *jobEnd) error {
	finished, err := w.finishedChunks(ctx)
	if err != nil {
		return err
	}
	decide := func(e *Entry, u userResult) userResult { // no job: by API
		u.Path, u.Reason = PathAPI, ReasonNoCSV
		return u
	}
	switch {
	case end.None:
	case end.Imported == int64(f.Rows):
		decide = func(_ *Entry, u userResult) userResult {
			u.Outcome = Restored
			return u
		}
	default:
		if decide, err = w.search(ctx, f); err != nil {
			return err
		}
	}
	for _, name := range f.Chunks {
		if finished[name] {
			continue
		}
		if err := w.settleChunk(ctx, name, decide); err != nil {
			return err
		}
	}
	return nil
}

// settleChunk gives the chunk's rows their outcomes, or sends them to the API.
func (w *importer) settleChunk(ctx context.Context, name string, decide func(*Entry, userResult) userResult) error {
	var c chunk
	if err := w.Objects.Get(ctx, w.chunkKey(name), &c); err != nil {
		return err
	}
	p := new(partial)
	if there, err := w.get(ctx, w.partialKey("import", name), p); err != nil {
		return err
	} else if !there { // nobody of the chunk went by API
		p = w.begin(&c)
	}
	changed := false
	for i := range p.Users {
		if p.Users[i].Outcome == "" && p.Users[i].Path == PathCSV {
			p.Users[i] = decide(&c.Entries[i], p.Users[i])
			changed = true
		}
	}
	if !changed {
		return nil
	}
	if slices.ContainsFunc(p.Users, func(u userResult) bool { return u.Outcome == "" }) {
		return w.put(ctx, w.partialKey("import", name), p)
	}
	return w.conclude(ctx, name, p)
}

// search lists the target once and says of a row whether it is there: as ours,
// as the same person, as somebody else, or not, so that it goes by API.
func (w *importer) search(ctx context.Context, f *file) (func(*Entry, userResult) userResult, error) {
	wanted := map[string]bool{} // names of the file's rows
	for _, name := range f.Chunks {
		var c chunk
		if err := w.Objects.Get(ctx, w.chunkKey(name), &c); err != nil {
			return nil, err
		}
		for i := range c.Entries {
			if w.line(&c.Entries[i]) != "" {
				for _, held := range w.names(&c.Entries[i]) {
					wanted[held] = true
				}
			}
		}
	}
	found := map[string]*pool.User{}
	chain := pool.Chain{}
	err := chain.Follow(ctx, func() bool { return false }, func(ctx context.Context, token *string) (*string, error) {
		users, next, err := pool.UsersPage(ctx, w.API, w.plan.Target.ID, "", token)
		for i := range users {
			for _, held := range w.rules.names(&users[i], users[i].Username) {
				if wanted[held] {
					found[held] = &users[i]
				}
			}
		}
		return next, err
	})
	if err == nil && !chain.Done {
		err = errors.New("the listing of the target did not end")
	}
	if err != nil {
		return nil, err
	}
	return func(e *Entry, u userResult) userResult {
		for _, held := range w.names(e) {
			if holder := found[held]; holder != nil {
				return w.judge(e, u, []pool.User{*holder})
			}
		}
		u.Path, u.Reason = PathAPI, ReasonJobLeftOut
		return u
	}, nil
}

func (w *importer) names(e *Entry) []string {
	return w.rules.names(&e.User, w.rules.signInName(&e.User))
}
