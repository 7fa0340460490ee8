package restore

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"cognito-backup/internal/step"
)

// maxUnfinished is up to how many records the report on an unfinished import
// goes record by record: the function that tells people has less memory than
// those that compare.
const maxUnfinished = 1_000_000

// ReportUnfinished writes the reports of an import that failed, timed out or
// was aborted, from what its results say: the target is not listed, so nothing
// is proved. It returns false when the import had not come to a restore point
// or had written its reports already.
func ReportUnfinished(ctx context.Context, objects *step.Objects, execution, state string, now time.Time) (bool, error) {
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
	if v.frozen.Read.Users+v.frozen.Read.Memberships > maxUnfinished {
		return false, fmt.Errorf("the import is too large to report on what it did; import again with \"Mode\": \"MISSING_ONLY\", which goes on from there and reports on all")
	}
	census, err := r.load(ctx, &v.plan, v.frozen)
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
