package restore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

// ReportVersion is the version of report.json. It grows when a reader of an
// older version could misunderstand a newer one; members may be added freely.
const ReportVersion = 1

// Report is report.json: what became of every record of the restore point.
// It names records by their keys, so it holds subs, usernames of conflicts and
// group names; it is for the people who run the restore.
type Report struct {
	Version       int           `json:"version"`
	Execution     string        `json:"execution"` // ARN
	SourcePool    string        `json:"sourcePool"`
	TargetPool    string        `json:"targetPool"`
	Mode          Mode          `json:"mode"`
	DryRun        bool          `json:"dryRun"`
	State         string        `json:"state"` // COMPLETED, or how the execution ended before it was: FAILED, TIMED_OUT, ABORTED
	Verified      bool          `json:"verified"`
	Started       time.Time     `json:"started"`
	Ended         time.Time     `json:"ended"`
	RestorePoint  string        `json:"restorePoint"`        // start of the export
	ListingEnded  *time.Time    `json:"listingEnded"`        // until when the restore point holds what happened
	NotNewest     string        `json:"notNewest,omitempty"` // why it is not the newest one
	Incomplete    bool          `json:"incomplete"`
	Shortfall     string        `json:"shortfall,omitempty"`
	Lacking       []string      `json:"lacking,omitempty"` // keys of records that the table lacks and others name
	Users         Counts        `json:"users"`
	Groups        Counts        `json:"groups"`
	Memberships   Counts        `json:"memberships"`
	SignIn        SignIn        `json:"signIn"`
	CreatedCSV    int64         `json:"createdByCsv"`
	CreatedAPI    int64         `json:"createdByApi"`
	ByReason      []ReasonCount `json:"createdByApiBecause"`
	Billed        int64         `json:"billedAsActive"` // users whom Cognito bills as active for this import
	Strangers     int64         `json:"otherUsersInTarget"`
	Throttled     int64         `json:"throttledCalls"`
	Problems      []Problem     `json:"problems"`
	Warnings      []string      `json:"warnings"`
	Phases        []Phase       `json:"phases"`
	RestorePoints []KnownPoint  `json:"restorePoints,omitempty"` // dry run
	Estimate      string        `json:"estimate,omitempty"`      // dry run
	UnknownUsers  []string      `json:"unknownUsers,omitempty"`  // of Users: neither sub nor username in the restore point
	OutOfScope    int64         `json:"outOfScope,omitempty"`
}

// Counts are the records of one kind by what became of them.
type Counts struct {
	Total    int64 `json:"total"`
	Restored int64 `json:"restored"`
	Existing int64 `json:"alreadyThere"`
	Deferred int64 `json:"deferred"`
	Conflict int64 `json:"conflict"`
	Failed   int64 `json:"failed"`
	LeftOut  int64 `json:"leftOut"` // not asked for by Users or Memberships
}

func (c *Counts) add(o Outcome, n int64) {
	c.Total += n
	switch o {
	case Restored:
		c.Restored += n
	case Existing:
		c.Existing += n
	case Deferred:
		c.Deferred += n
	case Conflict:
		c.Conflict += n
	case Failed:
		c.Failed += n
	case LeftOut:
		c.LeftOut += n
	}
}

// SignIn counts the restored users by how they get in again.
type SignIn struct {
	ForgotPassword int64 `json:"forgotPassword"`
	Invitation     int64 `json:"invitation"`
	Provider       int64 `json:"provider"`
}

// ReasonCount is how many users there were for a reason.
type ReasonCount struct {
	Reason string `json:"reason"`
	What   string `json:"what"`
	Count  int64  `json:"count"`
}

// Problem is a reason with the records that it concerns.
type Problem struct {
	Outcome Outcome  `json:"outcome"`
	Reason  string   `json:"reason"`
	What    string   `json:"what"`
	Do      string   `json:"do"`
	Count   int64    `json:"count"`
	Records []string `json:"records"` // the first maxRecords by key, with the detail
}

// maxRecords is how many records a problem names; mapping.csv names every user.
const maxRecords = 1000

// Phase is one step of the import.
type Phase struct {
	Step    string  `json:"step"`
	Seconds float64 `json:"seconds"`
}

// KnownPoint is a restore point that could be chosen.
type KnownPoint struct {
	Started     time.Time `json:"started"`
	Ended       time.Time `json:"ended"`
	Users       int64     `json:"users"`
	Groups      int64     `json:"groups"`
	Memberships int64     `json:"memberships"`
	Suspect     bool      `json:"suspect"`
}

// Summary is summary.json, from which the message is written: counts, times
// and sentences without personal data.
type Summary struct {
	RestorePoint               time.Time // end of its listing
	Older                      string    // why not the newest
	Incomplete                 bool
	Users, Groups, Memberships Outcomes
	ForgotPassword             int64
	Invitation                 int64
	Throttled                  int64
	Attention                  []string
}

// Outcomes are Counts as the message names them.
type Outcomes struct{ Total, Restored, Present, Deferred, Conflict, Failed, LeftOut int64 }

func (c *Counts) outcomes() Outcomes {
	return Outcomes{c.Total, c.Restored, c.Existing, c.Deferred, c.Conflict, c.Failed, c.LeftOut}
}

// reporter goes through the restore point once more and writes down what
// became of each record.
type reporter struct {
	*verifier
	Report
	problems map[[2]string]*Problem
	mapping  bytes.Buffer
	rows     *csv.Writer
	lines    int // of this part of the mapping
	parts    int // stored
}

func newReporter(v *verifier) *reporter {
	v.needed = map[string]bool{}
	return &reporter{verifier: v, problems: map[[2]string]*Problem{}}
}

// write makes the reports and stores them.
func (w *reporter) write(ctx context.Context) error {
	w.head()
	if err := w.withoutCSV(ctx); err != nil {
		return err
	}
	if err := w.people(ctx); err != nil {
		return err
	}
	if err := w.groups(ctx); err != nil {
		return err
	}
	if err := w.phases(ctx); err != nil {
		return err
	}
	w.tail()
	return w.store(ctx)
}

// withoutCSV warns of users created by API because the import tool did not do.
func (w *reporter) withoutCSV(ctx context.Context) error {
	for _, note := range []struct{ key, sentence string }{
		{w.noCSVKey(), "No CSV import was possible any more (%s), so the users after that were created by API, and Cognito bills them as active this month. Mend it before the next import."},
		{w.givenUpKey(), "CSV imports were given up for some of the users (%s); they were created by API, and Cognito bills them as active this month."},
	} {
		var reason string
		if there, err := w.get(ctx, note.key, &reason); err != nil {
			return err
		} else if there {
			w.Warnings = append(w.Warnings, fmt.Sprintf(note.sentence, reason))
		}
	}
	return nil
}

func (w *reporter) head() {
	f := w.frozen
	w.Report = Report{
		Version: ReportVersion, Execution: w.verifier.Execution, State: cmp.Or(w.state, "COMPLETED"),
		SourcePool: w.plan.Source.ID, TargetPool: w.plan.Target.ID, Mode: w.plan.Input.Mode, DryRun: w.plan.Input.DryRun,
		Started: w.plan.Started, Ended: w.Now().UTC(), RestorePoint: f.AsOf, NotNewest: f.Older, Incomplete: f.Incomplete,
		Strangers: w.at.Strangers, Warnings: slices.Clone(w.plan.Warnings), UnknownUsers: f.Unknown, OutOfScope: f.Stats.OutOfScope,
	}
	if f.Point != nil {
		w.ListingEnded = &f.Point.EndedAt
	}
	if f.Incomplete {
		w.Shortfall, w.Lacking = shortfall(f), f.Lacking
	}
	if w.DryRun {
		w.Warnings = append(w.Warnings, w.plan.Beforehand...)
		for _, p := range w.plan.Known {
			w.RestorePoints = append(w.RestorePoints, KnownPoint{p.StartedAt, p.EndedAt, p.Users, p.Groups, p.Memberships, p.Suspect})
		}
	}
}

var mappingHeader = []string{"username", "old_sub", "new_sub", "source_state", "new_state", "outcome"}

// mappingPart is how many users stand in one file: up to here mapping.csv
// alone, then mapping-2.csv and so on. It bounds memory, and the time of one
// write, which the lease bounds to some seconds.
const mappingPart = 100_000

// mappingBytes is about as long as such a file gets.
const mappingBytes = mappingPart * 140

func (w *reporter) people(ctx context.Context) error {
	if err := w.beginMapping(); err != nil {
		return err
	}
	person := uint32(0)
	err := w.eachChunk(ctx, w.census.round, w.frozen.Chunks, func(c *chunk) error {
		if w.lines >= mappingPart && len(c.Entries) > 0 {
			if err := errors.Join(w.storeMapping(ctx), w.beginMapping()); err != nil {
				return err
			}
		}
		for i := range c.Entries {
			if err := w.person(person, &c.Entries[i]); err != nil {
				return err
			}
			person++
		}
		w.lines += len(c.Entries)
		return nil
	})
	if err != nil {
		return err
	}
	return w.storeMapping(ctx)
}

func (w *reporter) beginMapping() error {
	w.mapping.Reset()
	w.mapping.Grow(min(len(w.census.people)*(mappingBytes/mappingPart), mappingBytes)) // growing leaves copies behind
	w.rows, w.lines = csv.NewWriter(&w.mapping), 0
	return w.rows.Write(mappingHeader)
}

func (w *reporter) storeMapping(ctx context.Context) error {
	w.rows.Flush()
	if err := w.rows.Error(); err != nil {
		return fmt.Errorf("write mapping.csv: %w", err)
	}
	name := "mapping.csv"
	if w.parts++; w.parts > 1 {
		name = fmt.Sprintf("mapping-%d.csv", w.parts)
	}
	return w.Objects.PutBytes(ctx, w.reportsPrefix()+name, "text/csv; charset=utf-8", w.mapping.Bytes())
}

func (w *reporter) person(person uint32, e *Entry) error {
	p := &w.census.people[person]
	v := w.user(person, e)
	w.Users.add(v.Outcome, 1)
	w.note(v, "USER-"+e.User.Sub)
	present := p.proof != NoProof
	unfinished := present && p.unfinished(e)
	if v.Outcome == Restored || v.Outcome == Failed && p.has.is(created) {
		w.way(p, e)
	}
	if v.Outcome == Deferred {
		w.SignIn.Provider++
	}
	billed := p.has.is(byAPI)
	w.census.memberships(person, func(i int, group uint16) {
		m := w.membership(i, group, v, present, unfinished)
		w.Memberships.add(m.Outcome, 1)
		if m.Outcome == Restored {
			billed = true
			w.needed[w.census.groups[group].Name] = true
		}
		if m.Outcome == Failed || m.Outcome == Conflict && m != v {
			w.note(m, "GROUP_MEMBER-"+e.User.Sub+" "+w.census.groups[group].Name)
		}
	})
	if w.DryRun && w.census.rules.Recreate(&e.User).Path == PathAPI && v.Outcome == Restored {
		billed = true
	}
	if billed {
		w.Billed++
	}
	state := ""
	if present {
		state = p.state.String()
	}
	return w.rows.Write([]string{e.User.Username, e.User.Sub, w.census.unpack(p.sub), e.User.Status, state, string(v.Outcome)})
}

// way counts by which way a user came and how to sign in now.
func (w *reporter) way(p *person, e *Entry) {
	way := w.census.rules.Recreate(&e.User)
	api := p.has.is(byAPI)
	if w.DryRun {
		api = way.Path == PathAPI
		if api {
			w.census.byReason[way.Reason]++
		}
	}
	if api {
		w.CreatedAPI++
	} else {
		w.CreatedCSV++
	}
	if api && !way.Permanent || p.state == statusOf(pool.ForceChangePassword) {
		w.SignIn.Invitation++
	} else {
		w.SignIn.ForgotPassword++
	}
}

// note adds a record to the problems.
func (w *reporter) note(v verdict, record string) {
	if v.Outcome != Conflict && v.Outcome != Failed {
		return
	}
	key := [2]string{string(v.Outcome), v.Reason}
	p := w.problems[key]
	if p == nil {
		p = &Problem{Outcome: v.Outcome, Reason: v.Reason, What: reasonTexts[v.Reason].What, Do: reasonTexts[v.Reason].Do}
		w.problems[key] = p
	}
	p.Count++
	if v.Detail != "" {
		record += ": " + v.Detail
	}
	if len(p.Records) < maxRecords {
		p.Records = append(p.Records, record)
	}
}

func (w *reporter) groups(ctx context.Context) error {
	results := map[string]groupResult{}
	var missing []string
	if !w.DryRun {
		if _, err := w.get(ctx, w.groupResultsKey(), &results); err != nil {
			return err
		}
		if _, err := w.get(ctx, w.missingGroupsKey(), &missing); err != nil {
			return err
		}
	}
	for i := range w.census.groups {
		g := &w.census.groups[i]
		v := w.groupVerdict(g, results, missing)
		w.Groups.add(v.Outcome, 1)
		w.note(v, "GROUP-"+g.Name)
	}
	return nil
}

// phases reads when each step ended.
func (w *reporter) phases(ctx context.Context) error {
	began := w.plan.Started
	for _, name := range []string{"CheckNewUserPool", "ScanTable", "ImportUsers", "UpdateUsers"} {
		var p phase
		if there, err := w.get(ctx, w.phaseKey(name), &p); err != nil {
			return err
		} else if !there {
			continue
		}
		w.Throttled += p.Throttled
		w.Phases = append(w.Phases, Phase{name, p.Ended.Sub(began).Seconds()})
		if name != "ImportUsers" { // UpdateUsers began with it
			began = p.Ended
		}
	}
	w.Phases = append(w.Phases, Phase{"VerifyImport", max(0, w.Ended.Sub(began).Seconds())})
	return nil
}

func (w *reporter) tail() {
	if n := w.frozen.Read.Memberships - w.frozen.Stats.Memberships; n > 0 && w.frozen.Stats.OutOfScope == 0 {
		w.Memberships.add(LeftOut, n)
		w.Warnings = append(w.Warnings, fmt.Sprintf("%d memberships of the restore point belong to users who were not in the pool yet, or no longer, when the users were listed; they are left out.", n))
	}
	if w.census.orphans > 0 {
		w.Memberships.add(LeftOut, w.census.orphans)
		w.Warnings = append(w.Warnings, fmt.Sprintf("%d memberships of the restore point belong to groups that were not in the pool when the groups were listed; they are left out.", w.census.orphans))
	}
	for _, reason := range slices.Sorted(maps.Keys(w.census.byReason)) {
		w.ByReason = append(w.ByReason, ReasonCount{reason, reasonTexts[reason].What, w.census.byReason[reason]})
	}
	for _, p := range w.problems {
		slices.Sort(p.Records)
		w.Problems = append(w.Problems, *p)
	}
	slices.SortFunc(w.Problems, func(a, b Problem) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Outcome, b.Outcome))
	})
	if w.DryRun {
		e := estimate(w.Users.Restored, w.CreatedAPI, w.Groups.Restored, w.Memberships.Restored, w.TPS)
		w.Estimate = fmt.Sprintf("about %s at CognitoTPS %d: users %s, memberships %s side by side, then verification %s",
			roughly(e.Total()), w.TPS, roughly(e.Users), roughly(e.Memberships), roughly(e.Verify))
	}
	unsolved := w.Users.Conflict + w.Users.Failed + w.Groups.Conflict + w.Groups.Failed + w.Memberships.Conflict + w.Memberships.Failed
	w.Verified = unsolved == 0 && !w.Incomplete && !w.DryRun && len(w.UnknownUsers) == 0 && w.state == ""
}

// store writes the report in both forms.
func (w *reporter) store(ctx context.Context) error {
	j, err := json.MarshalIndent(w.Report, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report.json: %w", err)
	}
	if err := w.Objects.PutBytes(ctx, w.reportsPrefix()+"report.json", "application/json", j); err != nil {
		return err
	}
	html, err := renderHTML(&w.Report)
	if err != nil {
		return err
	}
	return w.Objects.PutBytes(ctx, w.reportsPrefix()+"report.html", "text/html; charset=utf-8", html)
}

func (w *reporter) summary() Summary {
	r := &w.Report
	sum := Summary{
		Older: r.NotNewest, Incomplete: r.Incomplete,
		Users: r.Users.outcomes(), Groups: r.Groups.outcomes(), Memberships: r.Memberships.outcomes(),
		ForgotPassword: r.SignIn.ForgotPassword, Invitation: r.SignIn.Invitation, Throttled: r.Throttled,
	}
	sum.Attention = append(sum.Attention, r.Warnings...)
	if r.ListingEnded != nil {
		sum.RestorePoint = *r.ListingEnded
	}
	if r.Billed > 0 {
		verb := "bills"
		if r.DryRun {
			verb = "would bill"
		}
		sum.Attention = append(sum.Attention, fmt.Sprintf("Cognito %s %s as active this month: those created by API and those added to a group.", verb, plural(int(r.Billed), "user", "users")))
	}
	if n := r.Users.LeftOut + r.Groups.LeftOut + r.Memberships.LeftOut; n > 0 {
		sum.Attention = append(sum.Attention, fmt.Sprintf("%s.", plural(int(n), "record was not asked for and left as it is", "records were not asked for and left as they are")))
	}
	if r.DryRun {
		sum.Attention = append(sum.Attention, "It would take "+r.Estimate+".")
	}
	if r.Incomplete {
		sum.Attention = append(sum.Attention, "The backup is incomplete here: "+r.Shortfall+".")
	}
	if n := len(r.UnknownUsers); n > 0 {
		sum.Attention = append(sum.Attention, fmt.Sprintf("%s not in the restore point; the report lists them. Whoever was lost before it comes back from an earlier RestorePoint.", plural(n, "name of Users is", "names of Users are")))
	}
	return sum
}

// metrics are what the dashboard and alarms know of the import. A dry run has
// no outcome.
func (w *reporter) metrics(now time.Time) map[string]float64 {
	if w.DryRun {
		return nil
	}
	m := map[string]float64{"Imports": 1, "DurationSeconds": now.Sub(w.plan.Started).Seconds()}
	for _, o := range []Outcomes{w.Users.outcomes(), w.Groups.outcomes(), w.Memberships.outcomes()} {
		m["Restored"] += float64(o.Restored)
		m["Deferred"] += float64(o.Deferred)
		m["Conflicts"] += float64(o.Conflict)
		m["Failed"] += float64(o.Failed)
	}
	return m
}

// count puts the main figures into the run's document.
func (w *reporter) count(run *step.Run) {
	for name, n := range map[string]int64{
		"Users": w.Users.Total, "UsersRestored": w.Users.Restored, "Groups": w.Groups.Total, "GroupsRestored": w.Groups.Restored,
		"Memberships": w.Memberships.Total, "MembershipsRestored": w.Memberships.Restored,
	} {
		run.Count(name, n)
	}
}
