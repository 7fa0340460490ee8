package restore

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"time"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

// maxUnfinished is up to how many records the report on an unfinished import
// goes record by record: the function that tells people has less memory than
// those that compare. Beyond it the report counts, and says so.
const maxUnfinished = 1_000_000

// ReportUnfinished writes the reports of an import that failed, timed out or
// was aborted, from what its results say: the target is not listed, so nothing
// is proved. It returns false when the import had not come to a restore point
// or had written its reports already.
func ReportUnfinished(ctx context.Context, objects *step.Objects, execution, state string, now time.Time) (bool, error) {
	return reportUnfinished(ctx, objects, execution, state, now, maxUnfinished)
}

func reportUnfinished(ctx context.Context, objects *step.Objects, execution, state string, now time.Time, most int64) (bool, error) {
	slice := &step.Slice{Event: step.Event{Workflow: "ImportWorkflow", Execution: execution}, Objects: objects, Until: now.Add(time.Hour)}
	r := run{slice}
	v := &verifier{
		VerifyImport: &VerifyImport{TPS: 1, Now: func() time.Time { return now }},
		comparison:   &comparison{run: r, frozen: new(Frozen)},
		state:        state,
	}
	if done, err := r.get(ctx, r.summaryKey(), new(Summary)); err != nil || done {
		return false, err
	}
	for key, into := range map[string]any{r.planKey(): &v.plan, r.frozenKey(): v.frozen} {
		if there, err := r.get(ctx, key, into); err != nil || !there {
			return false, err
		}
	}
	if v.frozen.Read.Users+v.frozen.Read.Memberships > most {
		v.census, v.at = new(census), new(position)
		return true, newReporter(v).tally(ctx)
	}
	census, err := r.load(ctx, &v.plan, v.frozen, rounds)
	if err != nil {
		return false, err
	}
	if err := r.learn(ctx, census, rounds); err != nil {
		return false, err
	}
	v.census, v.at, v.target = census, &v.cursor.At, v.plan.Target.ID
	results := map[string]groupResult{}
	if _, err := r.get(ctx, r.groupResultsKey(), &results); err != nil {
		return false, err
	}
	v.at.Present = map[string]bool{}
	for name, result := range results {
		v.at.Present[name] = result.eligible()
	}
	census.believe()
	return true, newReporter(v).write(ctx)
}

// onlyCounts stands in a report that does not go record by record.
const onlyCounts = "The import was too large for a report on every record at this point: what stands here was counted from its results, up to 1,000 records are named for each reason, " +
	`and there is no mapping.csv. An import with "Mode": "MISSING_ONLY" goes on from there and reports on every record.`

// tally reports on an import by counting what its results say.
func (w *reporter) tally(ctx context.Context) error {
	w.head()
	if err := w.withoutCSV(ctx); err != nil {
		return err
	}
	w.Warnings = append(w.Warnings, onlyCounts)
	var asked round
	if _, err := w.get(ctx, w.roundKey(1), &asked); err != nil {
		return err
	}
	err := inOrder(ctx, chunkNames(1, asked.Chunks), w.getJudged, func(_ int, j *judged) error {
		w.tallyChunk(j)
		return nil
	})
	if err != nil {
		return err
	}
	rest := verdict{Outcome: LeftOut} // of a pool in use: nothing of it was missing
	if w.plan.Input.Mode != MissingOnly || asked.Chunks == 0 {
		rest = w.notThere()
	}
	if n := w.frozen.Stats.Users - w.Users.Total; n > 0 {
		w.Users.add(rest.Outcome, n)
	}
	if n := w.frozen.Stats.Memberships - w.Memberships.Total; n > 0 {
		w.Memberships.add(rest.Outcome, n)
	}
	if err := w.tallyGroups(ctx); err != nil {
		return err
	}
	if err := w.phases(ctx); err != nil {
		return err
	}
	w.tail()
	return w.store(ctx)
}

func (w *reporter) tallyChunk(j *judged) {
	failures := map[string][]updateFailure{}
	for _, f := range j.updated.Failures {
		failures[f.Sub] = append(failures[f.Sub], f)
	}
	for i := range j.Entries {
		e := &j.Entries[i]
		user := w.notThere()
		if i < len(j.imported.Users) && j.imported.Users[i].Outcome != "" {
			u := &j.imported.Users[i]
			if user = (verdict{u.Outcome, u.Reason, u.Detail}); u.eligible() {
				user = verdict{Outcome: u.Outcome}
			}
		} else if e.User.Status == pool.ExternalProvider && e.Present == nil {
			user = verdict{Deferred, ReasonFederated, ""}
		}
		present := user.Outcome == Restored || user.Outcome == Existing
		missed := map[string]updateFailure{}
		var flags []updateFailure
		for _, f := range failures[e.User.Sub] {
			if f.Kind == kindMembership {
				missed[f.Name] = f
			} else {
				flags = append(flags, f)
			}
		}
		if present && len(flags) > 0 {
			user = together(flags)
		}
		w.Users.add(user.Outcome, 1)
		w.note(user, "USER-"+e.User.Sub)
		for _, group := range e.Groups {
			m := user
			switch f, failed := missed[group]; {
			case present && failed:
				m = verdict{Failed, f.Reason, f.Detail}
			case present && j.done:
				m = verdict{Outcome: Restored}
			case present:
				m = w.notThere()
			case user.Outcome == Failed && user.Reason != ReasonNotReached:
				m = verdict{Failed, ReasonUserMissing, ""}
			}
			w.Memberships.add(m.Outcome, 1)
			if m.Outcome == Failed {
				w.note(m, "GROUP_MEMBER-"+e.User.Sub+" "+group)
			}
		}
	}
}

func (w *reporter) tallyGroups(ctx context.Context) error {
	results := map[string]groupResult{}
	var missing []string
	if _, err := w.get(ctx, w.groupResultsKey(), &results); err != nil {
		return err
	}
	if _, err := w.get(ctx, w.missingGroupsKey(), &missing); err != nil {
		return err
	}
	for n := range w.frozen.Groups {
		var groups []pool.Group
		if err := w.Objects.Get(ctx, w.groupsKey(n), &groups); err != nil {
			return err
		}
		for _, g := range groups {
			v := w.notThere()
			if result, tried := results[g.Name]; tried {
				v = verdict(result)
			} else if w.plan.Input.Mode == MissingOnly && !slices.Contains(missing, g.Name) {
				v = verdict{Outcome: LeftOut}
			}
			w.Groups.add(v.Outcome, 1)
			w.note(v, "GROUP-"+g.Name)
		}
	}
	return nil
}

func (g groupResult) eligible() bool { return g.Outcome == Restored || g.Outcome == Existing }

// believe takes what the results say for what a listing would have shown.
func (c *census) believe() {
	for i := range c.people {
		p := &c.people[i]
		if !p.has.is(created | existing) {
			continue
		}
		p.proof, p.saw = ProofRecorded, sawSame // the new sub is known of users created by API
		if p.has.is(updated) {
			c.memberships(uint32(i), func(at int, _ uint16) {
				if c.asked.has(at) && !c.failed.has(at) {
					c.seen.set(at)
				}
			})
		}
		if p.has.is(enabled) || !p.has.is(updated) || p.has.is(flagFailed) {
			p.saw |= sawEnabled
		}
		if !p.has.is(linked) || p.has.is(updated) && !p.has.is(linkFailed) {
			p.saw |= sawLinks
		}
	}
}

// Aftermath reports on imports that did not come to their end: it handles the
// same EventBridge events by which people are told of them.
type Aftermath struct {
	Objects *step.Objects
	Now     func() time.Time
}

// Handle does nothing for any other payload. Its failures are logged and not
// returned: the message about the failed import matters more.
func (a *Aftermath) Handle(ctx context.Context, payload json.RawMessage) {
	var event struct {
		Detail struct {
			Execution    string `json:"executionArn"`
			StateMachine string `json:"stateMachineArn"`
			Status       string `json:"status"`
		} `json:"detail"`
	}
	if json.Unmarshal(payload, &event) != nil || !strings.HasSuffix(event.Detail.StateMachine, "-ImportWorkflow") {
		return
	}
	written, err := ReportUnfinished(ctx, a.Objects, event.Detail.Execution, event.Detail.Status, a.Now().UTC())
	if err != nil {
		slog.ErrorContext(ctx, "no report on the unfinished import", step.LogError, err.Error())
		return
	}
	slog.InfoContext(ctx, "report on the unfinished import", "written", written)
}
