package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

// Objects of one import, all under runs/<execution name>/:
//
//	plan.json                            what pre-flight found and decided
//	users.json                           the names that Users lists in an object
//	frozen.json                          which restore point, how many chunks
//	groups/<n>.json                      groups of the restore point
//	chunks/<round>/<n>.json              users with their memberships; round 0 is the
//	                                     frozen restore point of a MISSING_ONLY import
//	missing-groups.json                  names of the groups that a MISSING_ONLY import creates
//	no-csv.json                          why no CSV import was made any more
//	given-up.json                        why CSV imports were given up for some users
//	cursor/import-tool.json              what was seen of the CSV import tool, for the next round
//	round-<round>.json                   how many chunks the round has: written last
//	files/<round>/<n>.json               which chunks a CSV file holds: the durable assignment
//	files/<round>/<n>.done               the file's chunks have results
//	results/import/<round>/<chunk>.json  what became of each user
//	results/update/<round>/<chunk>.json  what became of their memberships, flags and links
//	results/groups.json                  what became of the groups
//	partial/import/<chunk>.json          what became of a chunk's users so far
//	partial/update/<chunk>.json          how far their memberships, flags and links have come
//	partial/search/<round>/<n>.json      the listing of the target for a file's rows
//	phases/<step>.json                   when a step ended
//	verify/...                           what the comparison keeps between slices
//	summary.json                         counts for the message
//
// The reports are under reports/<execution name>/.
type run struct {
	*step.Slice
}

func (r run) planKey() string              { return r.Prefix() + "plan.json" }
func (r run) frozenKey() string            { return r.Prefix() + "frozen.json" }
func (r run) usersKey() string             { return r.Prefix() + "users.json" }
func (r run) groupsPrefix() string         { return r.Prefix() + "groups/" }
func (r run) groupsKey(n int) string       { return fmt.Sprintf("%s%06d.json", r.groupsPrefix(), n) }
func (r run) chunkKey(name string) string  { return r.Prefix() + "chunks/" + name + ".json" }
func (r run) roundKey(round int) string    { return fmt.Sprintf("%sround-%d.json", r.Prefix(), round) }
func (r run) filesPrefix(round int) string { return fmt.Sprintf("%sfiles/%d/", r.Prefix(), round) }
func (r run) fileKey(round, n int) string  { return fmt.Sprintf("%s%06d.json", r.filesPrefix(round), n) }
func (r run) doneKey(round, n int) string  { return fmt.Sprintf("%s%06d.done", r.filesPrefix(round), n) }
func (r run) importResults(round int) string {
	return fmt.Sprintf("%sresults/import/%d/", r.Prefix(), round)
}
func (r run) importResultKey(chunk string) string {
	return r.Prefix() + "results/import/" + chunk + ".json"
}
func (r run) updateResultKey(chunk string) string {
	return r.Prefix() + "results/update/" + chunk + ".json"
}
func (r run) partialKey(kind, chunk string) string {
	return r.Prefix() + "partial/" + kind + "/" + chunk + ".json"
}
func (r run) missingGroupsKey() string    { return r.Prefix() + "missing-groups.json" }
func (r run) phaseKey(step string) string { return r.Prefix() + "phases/" + step + ".json" }
func (r run) noCSVKey() string            { return r.Prefix() + "no-csv.json" }
func (r run) givenUpKey() string          { return r.Prefix() + "given-up.json" }
func (r run) importToolKey() string       { return r.Prefix() + "cursor/import-tool.json" }
func (r run) groupResultsKey() string     { return r.Prefix() + "results/groups.json" }
func (r run) summaryKey() string          { return r.Prefix() + "summary.json" }
func (r run) reportsPrefix() string       { return "reports/" + r.ExecutionName() + "/" }

// importsInto is where unfinished imports into a pool are registered, so that a
// later one can go on from them.
func importsInto(poolID string) string { return "runs/imports-into/" + poolID + "/" }

func (r run) registrationKey(poolID string) string {
	return importsInto(poolID) + r.ExecutionName() + ".json"
}

// of gives access to the objects of another execution.
func (r run) of(execution string) run {
	slice := *r.Slice
	slice.Event.Execution = execution
	return run{&slice}
}

// chunkName is <round>/<number>; it is what queue messages carry.
func chunkName(round, n int) string { return fmt.Sprintf("%d/%06d", round, n) }

// nameOf is a key's name: what is left without prefix and .json.
func nameOf(key, prefix string) string {
	return strings.TrimSuffix(strings.TrimPrefix(key, prefix), ".json")
}

// get reads an object that may be missing and says whether it is there.
func (r run) get(ctx context.Context, key string, v any) (bool, error) {
	err := r.Objects.Get(ctx, key, v)
	if errors.Is(err, step.ErrNoObject) {
		return false, nil
	}
	return err == nil, err
}

// put writes an object.
func (r run) put(ctx context.Context, key string, v any) error { return r.Objects.Put(ctx, key, v) }

// Entry is one user of a chunk.
type Entry struct {
	User   pool.User
	Groups []string `json:",omitempty"` // memberships to add
	// NewSub is what an earlier import recorded for the user, if any.
	NewSub string `json:",omitempty"`
	// Open says that the earlier import could not restore a flag or link of the
	// user, Owed names the groups that it could not add the user to.
	Open bool     `json:",omitempty"`
	Owed []string `json:",omitempty"`
	// Present is the user of the target who is provably the same person. Nothing
	// is created then, and only what Disable and Links say is changed.
	Present *Present `json:",omitempty"`
}

// Present is what is to be added to a user who is in the target.
type Present struct {
	Username string
	Sub      string
	Password bool   `json:",omitempty"` // a random one: an import that was stopped did not come to it
	Disable  bool   `json:",omitempty"`
	Links    []Link `json:",omitempty"`
	// LinkTo is the username, by which alone a user to be linked is named. Anything
	// else goes by the sub: a username may have become somebody else's meanwhile.
	LinkTo string `json:",omitempty"`
}

// records is how many records of the restore point the entry stands for.
func (e *Entry) records() int { return 1 + len(e.Groups) }

// chunk is what one queue message stands for.
type chunk struct{ Entries []Entry }

// round says that all chunks of a round are written.
type round struct{ Chunks int }

// Outcome is what became of a record.
type Outcome string

// The outcomes.
const (
	Restored Outcome = "restored"
	Existing Outcome = "already there"
	Deferred Outcome = "deferred"
	Conflict Outcome = "conflict"
	Failed   Outcome = "failed"
	LeftOut  Outcome = "left out" // not asked for: Users or Memberships exclude it
)

// userResult is what became of one entry of a chunk, in the chunk's order.
type userResult struct {
	Outcome  Outcome
	Path     Path   `json:",omitempty"` // of a restored user
	Username string `json:",omitempty"` // by which the target knows the user
	Sub      string `json:",omitempty"` // new sub, when known
	Reason   string `json:",omitempty"`
	Detail   string `json:",omitempty"` // error code or who is in the way; no values of attributes
}

// eligible says that the user may be given memberships, flags and links.
func (u *userResult) eligible() bool { return u.Outcome == Restored || u.Outcome == Existing }

type importResult struct{ Users []userResult }

// updateResult holds what could not be done; everything else of the chunk was.
type updateResult struct {
	Done     int // calls that succeeded
	Failures []updateFailure
}

// updateFailure is one membership, flag or link that could not be restored.
type updateFailure struct {
	Sub    string // old sub
	Kind   string // one of the kinds below
	Name   string // group or provider
	Reason string
	Detail string // error code
}

// Kinds of updates.
const (
	kindMembership = "membership"
	kindDisabled   = "disabled flag"
	kindLink       = "link"
)
