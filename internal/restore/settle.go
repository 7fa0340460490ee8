package restore

import (
	"context"
	"fmt"
	"slices"

	"cognito-backup/internal/pool"
)

// settle decides what became of the file's rows. Cognito says only how many
// were imported; which ones were not stands in a log, by line number. So
// either all were, or the target is listed and the rows looked for. It reports
// false when the slice was used up before that.
func (w *importer) settle(ctx context.Context, f *file, end *jobEnd) (bool, error) {
	finished, err := w.finishedChunks(ctx)
	if err != nil {
		return false, err
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
		found, err := w.search(ctx, f)
		if err != nil || found == nil {
			return false, err
		}
		decide = found.decide
	}
	for _, name := range f.Chunks {
		if finished[name] {
			continue
		}
		if err := w.settleChunk(ctx, name, decide); err != nil {
			return false, err
		}
	}
	return true, nil
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

// search is a listing of the target for the rows of one file. It is kept in S3
// between slices: a file has at most maxFileRows rows.
type search struct {
	Chain pool.Chain
	Found map[string]*pool.User // by the name that the row has

	importer *importer
}

// search lists the target once for the file's rows; nil when the slice is used
// up before the end of the listing.
func (w *importer) search(ctx context.Context, f *file) (*search, error) {
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
	s := &search{importer: w}
	key := w.partialKey("search", fmt.Sprintf("%d/%06d", w.round, w.cursor.File))
	if _, err := w.get(ctx, key, s); err != nil {
		return nil, err
	}
	if s.Found == nil {
		s.Found = map[string]*pool.User{}
	}
	if s.Chain.Done {
		return s, nil
	}
	err := s.Chain.Follow(ctx, w.Expired, func(ctx context.Context, token *string) (*string, error) {
		users, next, err := pool.UsersPage(ctx, w.API, w.plan.Target.ID, "", token)
		for i := range users {
			for _, held := range w.rules.names(&users[i], users[i].Username) {
				if wanted[held] {
					s.Found[held] = &users[i]
				}
			}
		}
		return next, err
	})
	if err != nil {
		return nil, err
	}
	if err := w.put(ctx, key, s); err != nil || !s.Chain.Done {
		return nil, err
	}
	return s, nil
}

// decide says of a row whether it is there: as ours, as the same person, as
// somebody else, or not, so that it goes by API.
func (s *search) decide(e *Entry, u userResult) userResult {
	for _, held := range s.importer.names(e) {
		if holder := s.Found[held]; holder != nil {
			return s.importer.judge(e, u, []pool.User{*holder})
		}
	}
	u.Path, u.Reason = PathAPI, ReasonJobLeftOut
	return u
}

func (w *importer) names(e *Entry) []string {
	return w.rules.names(&e.User, w.rules.signInName(&e.User))
}
