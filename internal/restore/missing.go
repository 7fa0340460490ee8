package restore

import (
	"cmp"
	"context"

	"cognito-backup/internal/pool"
)

// missing says what of a person a MISSING_ONLY import restores, from what the
// target has. It creates and adds; it changes and removes nothing.
func (c *comparison) missing(plan *Plan, person uint32, e *Entry) (Entry, bool) {
	p := &c.census.people[person]
	if p.saw&sawTwice != 0 {
		return Entry{}, false
	}
	if p.proof == NoProof {
		// Federated users come back by themselves; a name that somebody else holds
		// is a conflict, which verification reports.
		return *e, e.User.Status != pool.ExternalProvider && p.saw&sawTaken == 0
	}
	all := plan.Input.Memberships == AllMemberships || p.unfinished(e)
	add := c.toAdd(person, e, func(i int, group uint16) bool {
		return !c.census.seen.has(i) && (all || !c.at.Present[c.census.groups[group].Name] || c.census.owed.has(i))
	})
	if p.unfinished(e) || e.Open && p.sub == packSub(e.NewSub) {
		c.addFlags(&add, person, e)
	}
	return add, add.asks()
}

// unfinished says that the target's user is one that came back but was never
// given what the old one had: a federated user who has signed in again, or
// whom an import that was stopped had created. No import recorded it as done.
func (p *person) unfinished(e *Entry) bool {
	came := e.User.Status == pool.ExternalProvider || p.has.is(earlier)
	return came && p.sub != packSub(e.User.Sub) && p.sub != packSub(e.NewSub)
}

// left says what of a person is still to be done after a round.
func (c *comparison) left(person uint32, e *Entry) (Entry, bool) {
	p := &c.census.people[person]
	if !p.has.is(requested) || p.saw&sawTwice != 0 {
		return Entry{}, false
	}
	asked := func(i int, _ uint16) bool { return c.census.asked.has(i) && !c.census.seen.has(i) }
	if p.proof == NoProof {
		if e.User.Status == pool.ExternalProvider || p.has.is(conflicted|refused) {
			return Entry{}, false
		}
		again := *e
		again.Groups = c.names(person, asked)
		return again, true
	}
	add := c.toAdd(person, e, asked)
	if p.has.is(whole) {
		c.addFlags(&add, person, e)
	}
	return add, add.asks()
}

// toAdd is an entry for somebody who is there, with the memberships chosen.
func (c *comparison) toAdd(person uint32, e *Entry, choose func(i int, group uint16) bool) Entry {
	p := &c.census.people[person]
	there := &Present{Sub: c.census.unpack(p.sub)}
	there.Username = there.Sub // as good as the username, and known
	if e.User.Status == pool.ExternalProvider {
		there.Username = e.User.Username
	}
	return Entry{User: e.User, NewSub: e.NewSub, Present: there, Groups: c.names(person, choose)}
}

func (c *comparison) names(person uint32, choose func(i int, group uint16) bool) []string {
	var names []string
	c.census.memberships(person, func(i int, group uint16) {
		if choose(i, group) {
			names = append(names, c.census.groups[group].Name)
		}
	})
	return names
}

// addFlags adds to the entry of somebody whom an import created what that
// import did not come to.
func (c *comparison) addFlags(add *Entry, person uint32, e *Entry) {
	p := &c.census.people[person]
	if p.has.is(created|earlier) && p.state == statusOf(pool.ForceChangePassword) {
		add.Present.Password = c.census.rules.Recreate(&e.User).Permanent
	}
	if p.toDisable() {
		add.Present.Disable = true
	}
	if p.saw&sawLinks == 0 && !c.census.linksFailed(person, (*updateFailure).hopeless) {
		if add.Present.Links = Links(&e.User); len(add.Present.Links) > 0 && !c.census.rules.Target.generatedUsernames() {
			add.Present.LinkTo = cmp.Or(c.at.Renamed[person], c.census.rules.signInName(&e.User))
		}
	}
}

// asks says that there is something to do for somebody who is there.
func (e *Entry) asks() bool {
	return e.Present != nil && (len(e.Groups) > 0 || e.Present.whole())
}

// whole says that more than memberships is to be added.
func (p *Present) whole() bool { return p.Password || p.Disable || len(p.Links) > 0 }

// write stores the chosen entries as the chunks of a round and returns how
// many chunks and entries there are.
func (c *comparison) write(ctx context.Context, round int, choose func(person uint32, e *Entry) (Entry, bool), note func(*Entry)) (chunks, entries int, err error) {
	b := builder{run: c.run, round: round, count: &chunks}
	person := uint32(0)
	err = c.eachChunk(ctx, c.census.round, c.frozen.Chunks, func(chunk *chunk) error {
		for i := range chunk.Entries {
			entry, chosen := choose(person, &chunk.Entries[i])
			person++
			if !chosen {
				continue
			}
			entries++
			note(&entry)
			if err := b.add(ctx, entry); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	err = b.flush(ctx) // counts the last chunk
	return chunks, entries, err
}
