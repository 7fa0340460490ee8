package restore

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// earlier marks whom unfinished imports into the same pool had set out to
// create, and which memberships they still owe. Who of the former is there was
// created by one of them and still lacks what that import did not come to.
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
	var recreated []string // groups that it created among those in use
	if _, err := r.get(ctx, r.missingGroupsKey(), &recreated); err != nil {
		return err
	}
	begun := map[string]bool{} // chunks; a chunk of no file had not been begun
	for n := 1; ; n++ {
		var f file
		there, err := r.get(ctx, r.fileKey(round, n), &f)
		if err != nil {
			return err
		}
		if !there {
			break
		}
		for _, name := range f.Chunks {
			begun[name] = true
		}
	}
	names := slices.Sorted(maps.Keys(begun))
	if len(recreated) > 0 {
		// Its groups were there before it came to those who are to be in them.
		keys, err := r.Objects.List(ctx, fmt.Sprintf("%schunks/%d/", r.Prefix(), round))
		if err != nil {
			return err
		}
		names = names[:0]
		for _, key := range keys {
			names = append(names, nameOf(key, r.Prefix()+"chunks/"))
		}
	}
	return inOrder(ctx, names, r.getEarlier, func(at int, j *judged) error {
		c.earlierChunk(j, begun[names[at]], recreated)
		return nil
	})
}

// earlierChunk notes what an import that was stopped had done and begun of a
// chunk.
func (c *census) earlierChunk(j *judged, begun bool, recreated []string) {
	for i := range j.Entries {
		e := &j.Entries[i]
		person, of := c.bySub(e.User.Sub)
		if !of {
			continue
		}
		u := userResult{}
		if i < len(j.imported.Users) {
			u = j.imported.Users[i]
		}
		if e.Present == nil && begun {
			c.begun(person, e, &u)
		}
		if e.Present == nil && u.Outcome != Existing {
			continue // nobody, or somebody whom it had created and who lacks everything
		}
		c.owe(person, slices.DeleteFunc(e.Groups, func(group string) bool {
			if e.Present != nil && !slices.Contains(recreated, group) {
				return true // as Memberships said then; this import has its own
			}
			return j.done && !slices.ContainsFunc(j.updated.Failures, func(f updateFailure) bool {
				return f.Sub == e.User.Sub && f.Kind == kindMembership && f.Name == group
			})
		}))
	}
}

// owe notes memberships that an earlier import was to add and did not.
func (c *census) owe(person uint32, groups []string) {
	for _, name := range groups {
		if g, known := c.group(name); known {
			if i, wanted := c.want(person, g); wanted {
				c.owed.set(i)
			}
		}
	}
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
