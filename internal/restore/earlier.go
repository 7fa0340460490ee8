package restore

import (
	"context"
	"fmt"
)

// earlier marks whom unfinished imports into the same pool had set out to
// create. Who of them is there was created by one of them and still lacks what
// that import did not come to. Chunks that no file had been made of yet had not
// been begun.
func (r run) earlier(ctx context.Context, c *census, plan *Plan) error {
	if plan.Input.Mode != MissingOnly {
		return nil
	}
	for _, e := range plan.Earlier {
		for round := 1; round <= rounds; round++ {
			if err := r.of(e.Execution).earlierRound(ctx, c, round); err != nil {
				return fmt.Errorf("read what import %s had done: %w", e.Execution, err)
			}
		}
	}
	c.sort()
	return nil
}

func (r run) earlierRound(ctx context.Context, c *census, round int) error {
	for n := 1; ; n++ {
		var f file
		if there, err := r.get(ctx, r.fileKey(round, n), &f); err != nil || !there {
			return err
		}
		for _, name := range f.Chunks {
			if err := r.earlierChunk(ctx, c, name); err != nil {
				return err
			}
		}
	}
}

func (r run) earlierChunk(ctx context.Context, c *census, name string) error {
	var chunk chunk
	if there, err := r.get(ctx, r.chunkKey(name), &chunk); err != nil || !there {
		return err
	}
	var known struct{ Users []userResult } // of a result or, before there is one, of a partial
	there, err := r.get(ctx, r.importResultKey(name), &known)
	if err == nil && !there {
		_, err = r.get(ctx, r.partialKey("import", name), &known)
	}
	if err != nil {
		return err
	}
	for i := range chunk.Entries {
		e := &chunk.Entries[i]
		person, of := c.bySub(e.User.Sub)
		if !of || e.Present != nil {
			continue
		}
		u := userResult{}
		if i < len(known.Users) {
			u = known.Users[i]
		}
		c.begun(person, e, &u)
	}
	return nil
}

// begun notes that an earlier import created somebody, or was about to.
func (c *census) begun(person uint32, e *Entry, u *userResult) {
	switch {
	case u.Outcome == Restored && u.Sub != "":
		c.note("sub:"+u.Sub, person, ProofRecorded.role())
	case u.Outcome == Restored || u.Outcome == "":
		// By name, and only as long as nobody else can have reached the state: much
		// may have happened since that import was stopped.
		for _, name := range c.rules.names(&e.User, c.rules.signInName(&e.User)) {
			c.note(name, person, maybe)
		}
	default:
		return
	}
	c.people[person].has |= earlier
}
