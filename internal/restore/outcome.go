package restore

import (
	"fmt"
	"slices"
	"strings"

	"cognito-backup/internal/pool"
)

// verdict is what became of a user in the end, and why.
type verdict struct {
	Outcome Outcome
	Reason  string
	Detail  string
}

// user says what became of a person. In a dry run it says what would.
func (v *verifier) user(person uint32, e *Entry) verdict {
	p := &v.census.people[person]
	note, noted := v.census.notes[person]
	switch {
	case p.saw&sawTwice != 0:
		return verdict{Conflict, ReasonAmbiguous, ""}
	case p.proof != NoProof && p.has.is(created):
		return v.restored(person, p, e)
	case p.proof != NoProof:
		if p.has.is(whole) && p.toMend() {
			return v.failed(person)
		}
		return verdict{Outcome: Existing}
	case e.User.Status == pool.ExternalProvider:
		return verdict{Deferred, ReasonFederated, ""}
	case p.has.is(conflicted) && noted:
		return verdict{Conflict, note.Reason, note.Detail}
	case p.saw&sawTaken != 0 && !p.has.is(created):
		return verdict{Conflict, ReasonNameTaken, v.at.TakenBy[person]}
	case noted && note.Outcome == Conflict:
		return verdict{Conflict, note.Reason, note.Detail}
	case noted:
		return verdict{Failed, note.Reason, note.Detail}
	case v.plan.Input.DryRun:
		if way := v.census.rules.Recreate(&e.User); way.Path == PathNone {
			return verdict{Failed, way.Reason, ""}
		}
		return verdict{Outcome: Restored}
	case !p.has.is(requested) && (v.state == "" || v.plan.Input.Mode == MissingOnly):
		return verdict{Outcome: LeftOut}
	}
	return v.notThere()
}

// notThere is the verdict on a record that the target has not: in an import
// that did not come to its end it may never have been written.
func (v *verifier) notThere() verdict {
	if v.state != "" {
		return verdict{Failed, ReasonNotReached, ""}
	}
	return verdict{Failed, ReasonNotFound, ""}
}

// restored judges somebody whom this import created.
func (v *verifier) restored(person uint32, p *person, e *Entry) verdict {
	if p.asBefore() {
		if p.has.is(byAPI) && p.state == statusOf(pool.ForceChangePassword) && v.census.rules.Recreate(&e.User).Permanent {
			if v.state != "" {
				return verdict{Failed, ReasonNotReached, "password"}
			}
			return verdict{Failed, ReasonPassword, ""}
		}
		return verdict{Outcome: Restored}
	}
	if names := v.at.Details[person]; len(names) > 0 {
		// A user who should be disabled and could not be is named by its failure.
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "enabled" && p.has.is(flagFailed) })
		if len(names) > 0 {
			return verdict{Failed, ReasonDiffers, strings.Join(names, " ")}
		}
	}
	return v.failed(person)
}

// failed is the verdict on somebody who is not as in the restore point.
func (v *verifier) failed(person uint32) verdict {
	if failures := v.census.noFlag[person]; len(failures) > 0 {
		return together(failures)
	}
	if v.state != "" {
		return verdict{Failed, ReasonNotReached, "flag or links"}
	}
	return verdict{Failed, ReasonDiffers, ""}
}

// together is the verdict on somebody of whom all of these failed. What another
// import will not bring either stands first, because it is to be done by hand;
// the others are named with their reasons.
func together(failures []updateFailure) verdict {
	first := max(0, slices.IndexFunc(failures, func(f updateFailure) bool { return f.hopeless() }))
	details := []string{failures[first].what()}
	for i := range failures {
		if i != first {
			details = append(details, fmt.Sprintf("%s (%s)", failures[i].what(), failures[i].Reason))
		}
	}
	return verdict{Failed, failures[first].Reason, strings.Join(details, "; ")}
}

// membership says what became of one of the person's memberships.
// Unfinished is a user who came back without what the old one had.
func (v *verifier) membership(i int, group uint16, user verdict, present, unfinished bool) verdict {
	asked := v.census.asked.has(i)
	switch {
	case v.census.seen.has(i) && asked:
		return verdict{Outcome: Restored}
	case v.census.seen.has(i):
		return verdict{Outcome: Existing}
	case !present && user.Outcome != Failed && user.Outcome != Restored:
		return user
	case !present && user.Reason == ReasonNotReached:
		return user
	case !present && user.Outcome == Failed:
		return verdict{Failed, ReasonUserMissing, ""}
	case v.plan.Input.DryRun:
		if unfinished || v.census.owed.has(i) || v.wouldAdd(group, user) {
			return verdict{Outcome: Restored}
		}
		return verdict{Outcome: LeftOut}
	case !asked:
		return verdict{Outcome: LeftOut}
	}
	if f, failed := v.census.noGroup[i]; failed {
		return verdict{Failed, f.Reason, f.Detail}
	}
	return v.notThere()
}

// wouldAdd says whether an import would add a membership that is not there.
func (v *verifier) wouldAdd(group uint16, user verdict) bool {
	return user.Outcome == Restored || v.plan.Input.Memberships == AllMemberships || !v.at.Present[v.census.groups[group].Name]
}

// group says what became of a group.
func (v *verifier) groupVerdict(g *pool.Group, results map[string]groupResult, missing []string) verdict {
	result, tried := results[g.Name]
	present := v.at.Present[g.Name]
	differs := v.at.Differ[g.Name]
	// A group that was there when it was to be created may be our own: the answer
	// to a call before was lost.
	made := tried && (result.Outcome == Restored || result.Outcome == Existing && v.at.Made[g.Name])
	switch {
	case present && differs != "" && (made || v.plan.Input.Mode == EmptyPool):
		return verdict{Failed, ReasonDiffers, differs}
	case present && made:
		return verdict{Outcome: Restored}
	case present:
		return verdict{Outcome: Existing}
	case tried && result.Outcome == Failed:
		return verdict{Failed, result.Reason, result.Detail}
	case v.plan.Input.DryRun && (v.plan.Input.chosen() && !v.needed[g.Name]):
		return verdict{Outcome: LeftOut}
	case v.plan.Input.DryRun:
		return verdict{Outcome: Restored}
	case v.plan.Input.Mode == MissingOnly && !slices.Contains(missing, g.Name):
		return verdict{Outcome: LeftOut}
	}
	return v.notThere()
}
