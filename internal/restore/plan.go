package restore

import (
	"time"

	"cognito-backup/internal/backup"
)

// Plan is what pre-flight found and decided; the later steps go by it.
type Plan struct {
	Input   Input
	Started time.Time // of the execution
	Key     []byte    // random; see census.hash
	Source  Settings  // as of the newest backup of the pool's configuration
	Target  Settings
	// AlwaysClosed says that the target is the pool of the backup, and that it
	// did not allow sign-up by any configuration that the backup has.
	AlwaysClosed bool
	Header       []string // of the CSV file; nil: no CSV import
	// Points are the restore points to try, newest first; Known are all there are.
	Points []backup.RestorePoint
	Known  []backup.RestorePoint
	// Skipped says why the newest restore point is not among Points.
	Skipped string
	// Earlier are unfinished imports into the same pool.
	Earlier  []EarlierImport
	Warnings []string
	// Beforehand are warnings that matter only until the import has begun: the
	// message on a dry run has them, that on a finished import does not.
	Beforehand []string
}

// rules is how users come back under the plan.
func (p *Plan) rules() *Rules {
	return &Rules{Target: p.Target, SubAttribute: p.Input.SubAttribute, Header: p.Header, AlwaysClosed: p.AlwaysClosed}
}

// first is the round of the frozen restore point: what an EMPTY_POOL import
// restores at once, and what a MISSING_ONLY import compares with first.
func (p *Plan) first() int {
	if p.Input.Mode == MissingOnly {
		return 0
	}
	return 1
}

// Since is when the first import began that may have created users of this
// restore: this one, or an unfinished one that it continues.
func (p *Plan) Since() time.Time {
	since := p.Started
	for _, e := range p.Earlier {
		if e.Started.Before(since) {
			since = e.Started
		}
	}
	return since
}

// EarlierImport is an import into the same pool that did not come to its end.
type EarlierImport struct {
	Execution string // ARN
	Started   time.Time
}

// Frozen is the restore point as it was frozen into chunks.
type Frozen struct {
	Point      *backup.RestorePoint // nil: AllowIncomplete found none at all
	AsOf       string
	Older      string         // why not the newest: a sentence
	Incomplete bool           // no restore point verified
	Expected   backup.Summary // what the commit record says
	Read       backup.Summary // what was read
	Chunks     int            // of the first round
	Groups     int            // objects of groups
	Stats      Stats
	// Lacking are the first of the users, by key, whom an incomplete table names
	// in memberships and does not have, and of the groups.
	Lacking []string
	// Unknown are names of Users that the restore point does not have.
	Unknown []string
}

// Stats are the counts that decide about time and cost.
type Stats struct {
	Users       int64 // in scope
	Memberships int64 // of users in scope
	CSV         int64
	API         int64
	Federated   int64
	Impossible  int64
	Billed      int64 // users whom Cognito bills as active: created by API or changed by API
	OutOfScope  int64 // users whom the input leaves out
}
