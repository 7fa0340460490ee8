package restore

import (
	"context"
	"math"
)

// learn adds to the census what ImportUsers and UpdateUsers did in the rounds
// so far.
func (r run) learn(ctx context.Context, c *census, rounds int) error {
	for n := 1; n <= rounds; n++ {
		var round round
		if there, err := r.get(ctx, r.roundKey(n), &round); err != nil {
			return err
		} else if !there {
			break
		}
		if err := r.learnRound(ctx, c, n, round.Chunks); err != nil {
			return err
		}
	}
	c.sort()
	return nil
}

func (r run) learnRound(ctx context.Context, c *census, n, count int) error {
	return inOrder(ctx, chunkNames(n, count), r.getJudged, func(at int, j *judged) error {
		first := -1
		if n == c.round {
			first = int(c.chunks[at])
		}
		c.learn(j, first)
		return nil
	})
}

// learn adds what became of a chunk, whose first entry is the person first; -1:
// its people are found by their subs.
func (c *census) learn(j *judged, first int) {
	failed := map[string]uint32{}
	for _, f := range j.updated.Failures {
		failed[f.Sub] = nobody
	}
	for i := range j.Entries {
		e := &j.Entries[i]
		person, known := uint32(first+i), true
		if first < 0 {
			person, known = c.bySub(e.User.Sub)
		}
		if !known {
			continue
		}
		if _, is := failed[e.User.Sub]; is {
			failed[e.User.Sub] = person
		}
		c.request(person, e)
		if j.done {
			c.people[person].has |= updated
			c.tried(person, e)
		}
		if i < len(j.imported.Users) {
			c.outcome(person, e, &j.imported.Users[i])
		}
	}
	for _, f := range j.updated.Failures {
		if person := failed[f.Sub]; person != nobody {
			c.failure(person, f)
		}
	}
}

// nobody is no person.
const nobody = math.MaxUint32

// request notes what a chunk asked for.
func (c *census) request(person uint32, e *Entry) {
	p := &c.people[person]
	p.has |= requested
	if e.Present == nil || e.Present.whole() {
		p.has |= whole
	}
	if e.Present != nil { // proved when the chunk was made; what proved it may have changed since
		c.note("sub:"+e.Present.Sub, person, ProofRecorded.role())
	}
	for _, name := range e.Groups {
		if g, known := c.group(name); known {
			if i, wanted := c.want(person, g); wanted {
				c.asked.set(i)
			}
		}
	}
}

// tried forgets what an earlier round could not do: this one did it, or failed
// and says so itself.
func (c *census) tried(person uint32, e *Entry) {
	if e.Present == nil || e.Present.whole() {
		delete(c.noFlag, person)
		c.people[person].has &^= flagFailed | linkFailed
	}
	for _, name := range e.Groups {
		if g, known := c.group(name); known {
			if i, wanted := c.want(person, g); wanted {
				c.failed.clear(i)
				delete(c.noGroup, i)
			}
		}
	}
}

// outcome notes what ImportUsers made of a person; a later round overrules an
// earlier one, except that who was created stays created.
func (c *census) outcome(person uint32, e *Entry, u *userResult) {
	p := &c.people[person]
	if e.Present != nil {
		return
	}
	p.has &^= conflicted | refused
	delete(c.notes, person)
	if u.Sub != "" {
		p.sub = c.pack(u.Sub) // until the listing says so
	}
	switch u.Outcome {
	case Restored:
		p.has |= created
		if u.Path == PathAPI {
			p.has |= byAPI
			c.byReason[u.Reason]++
		}
		if u.Sub != "" {
			c.note("sub:"+u.Sub, person, ProofRecorded.role())
		} else {
			for _, name := range c.rules.names(&e.User, u.Username) {
				c.note(name, person, made)
			}
		}
	case Existing:
		p.has |= existing
		if u.Sub != "" {
			c.note("sub:"+u.Sub, person, ProofRecorded.role())
		}
	case Conflict:
		if u.Detail != "" { // else nobody is known to hold the name: another round tries again
			p.has |= conflicted
		}
		c.notes[person] = *u
	case Failed:
		if u.Reason != ReasonTriggerFailed { // another round tries again
			p.has |= refused
		}
		c.notes[person] = *u
	}
}

func (c *census) failure(person uint32, f updateFailure) {
	switch f.Kind {
	case kindMembership:
		if g, known := c.group(f.Name); known {
			if i, wanted := c.want(person, g); wanted {
				c.failed.set(i)
				c.noGroup[i] = f
			}
		}
	case kindDisabled:
		c.noFlag[person] = append(c.noFlag[person], f)
		c.people[person].has |= flagFailed
	case kindLink:
		c.noFlag[person] = append(c.noFlag[person], f)
		c.people[person].has |= linkFailed
	}
}

// linksFailed says that links of the person failed, and each of them so.
func (c *census) linksFailed(person uint32, so func(*updateFailure) bool) bool {
	failed := false
	for i := range c.noFlag[person] {
		if f := &c.noFlag[person][i]; f.Kind == kindLink {
			if !so(f) {
				return false
			}
			failed = true
		}
	}
	return failed
}
