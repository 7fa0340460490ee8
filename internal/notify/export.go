package notify

import (
	"fmt"
	"time"
)

// Deployment is what a message says about where it comes from.
type Deployment struct {
	Prefix     string // stackPrefix
	Region     string // of the workflow
	UserPoolID string // the pool backed up or restored into
	Execution  string // ARN
}

// Suspect says why a restore point is not trusted.
type Suspect struct {
	Missing    int64     // users gone
	Of         int64     // users in the restore point compared with
	ComparedTo time.Time // end of that one's listing; zero when it is gone, too
}

// Export is a finished run of the ExportWorkflow.
type Export struct {
	Deployment
	// RestorePoint is the time to name as RestorePoint when restoring: the end of
	// the listing, because a restore takes the last restore point whose listing
	// ended at or before the time it is given.
	RestorePoint time.Time
	Took         time.Duration
	// What the restore point holds.
	Users, Groups, Memberships int64
	// How it differs from the one before, all kinds together.
	Added, Changed, Removed int64
	// Groups and memberships gone since the one before.
	GroupsRemoved, MembershipsRemoved int64

	First     bool     // there is no restore point before
	Throttled int64    // calls that Cognito refused for their rate
	Suspect   *Suspect // nil: trustworthy
	Accepted  bool     // a person accepted a mass disappearance with this run
	Secrets   int64    // of app clients and identity providers, which the backup leaves out
	NotRead   int64    // parts of the pool's configuration that Cognito refused to give out
}

// massLoss is the share of groups or memberships whose disappearance is worth
// a sentence; unlike a loss of users it makes nothing suspect.
const massLoss = 0.2

// manyThrottled is how many refused calls are worth a sentence: a run that
// finds out which rate is free meets some.
const manyThrottled = 20

// Message tells of a restore point.
func (e *Export) Message() Message {
	if e.Suspect != nil {
		return e.suspectMessage()
	}
	attention := e.attention()
	var t text
	t.line("The user pool %s was backed up.", e.UserPoolID)
	e.backedUp(&t)
	if len(attention) == 0 {
		t.blank()
		t.line("Nothing needs attention.")
	}
	t.list("Please look at:", attention)
	e.limits(&t)
	t.footer(e.Deployment)
	return Message{
		Subject: subject(e.Prefix, "Export completed: %s, %s, %s",
			count(e.Users, "user"), count(e.Groups, "group"), count(e.Memberships, "membership")),
		Body:   t.String(),
		Urgent: len(e.massLosses()) > 0,
	}
}

func (e *Export) suspectMessage() Message {
	s := e.Suspect
	var t text
	if s.ComparedTo.IsZero() {
		t.say("", "%s are gone from the user pool %s.", count(s.Missing, "user"), e.UserPoolID)
	} else {
		t.say("", "%s of %s are gone from the user pool %s since the restore point of %s.",
			number(s.Missing), count(s.Of, "user"), e.UserPoolID, stamp(s.ComparedTo))
	}
	t.blank()
	t.say("", "The backup keeps all of them. Nothing is removed from it until a person accepts the loss, "+
		"and a restore skips this restore point unless RestorePoint is exactly the time that names it, below.")
	t.blank()
	t.say("", "If this was an accident, restore the users: start ImportWorkflow for the same user pool with")
	t.line(`{"NewUserPoolId": "%s", "Mode": "MISSING_ONLY"}`, e.UserPoolID)
	t.say("", "or, for a new and empty user pool, with its id and without Mode.")
	t.blank()
	t.say("", "If the users were deleted on purpose, start ExportWorkflow once with")
	t.line(`{"AcceptMassDeletion": true}`)
	e.backedUp(&t)
	t.list("Please look at, too:", e.attention())
	e.limits(&t)
	t.footer(e.Deployment)
	return Message{
		Subject: subject(e.Prefix, "Please check: %s gone from %s", count(s.Missing, "user"), e.UserPoolID),
		Body:    t.String(),
		Urgent:  true,
	}
}

func (e *Export) backedUp(t *text) {
	t.blank()
	t.line("Restore point: %s", stamp(e.RestorePoint))
	t.line("(name this time as RestorePoint to restore exactly this state)")
	t.blank()
	t.line("In the backup:")
	t.line("Users: %s", number(e.Users))
	t.line("Groups: %s", number(e.Groups))
	t.line("Memberships: %s", number(e.Memberships))
	t.blank()
	switch {
	case e.First:
		t.line("This is the first restore point.")
	case e.Added+e.Changed+e.Removed == 0:
		t.line("Nothing changed since the restore point before.")
	default:
		t.line("Since the restore point before, of all these records:")
		t.line("%s added, %s changed, %s removed", number(e.Added), number(e.Changed), number(e.Removed))
	}
	t.blank()
	t.line("It took %s. Throttled calls: %s.", duration(e.Took), number(e.Throttled))
}

// massLosses are sentences on groups or memberships that disappeared by the
// mass. They go out whatever the preference.
func (e *Export) massLosses() []string {
	var items []string
	for _, kind := range []struct {
		name      string
		now, gone int64
	}{{"groups", e.Groups, e.GroupsRemoved}, {"memberships", e.Memberships, e.MembershipsRemoved}} {
		before := kind.now + kind.gone // at most: some of those now there are new
		if float64(kind.gone) > massLoss*float64(before) {
			items = append(items, fmt.Sprintf("%s %s are gone, %s are left. The restore points before this one still have them.",
				number(kind.gone), kind.name, number(kind.now)))
		}
	}
	return items
}

func (e *Export) attention() []string {
	items := e.massLosses()
	if e.Throttled > manyThrottled {
		items = append(items, fmt.Sprintf("Cognito refused %s for their rate. "+
			"The quota is shared with your applications: consider a lower cognitoTps.", count(e.Throttled, "call")))
	}
	if e.NotRead > 0 {
		items = append(items, fmt.Sprintf("Cognito refused to give out %s of the user pool's configuration. Users, groups and memberships are not concerned, "+
			"and the backup keeps what an export before had read. The log of check-user-pool-config says what was refused and why.", count(e.NotRead, "part")))
	}
	if e.Accepted {
		items = append(items, "The disappearance of many users was accepted with this run. Backups of them are kept for the retention, then removed.")
	}
	return items
}

// limits says once what no backup of a user pool can hold.
func (e *Export) limits(t *text) {
	t.blank()
	t.say("", "Cognito gives nobody these, so no backup holds them: "+
		"passwords, MFA preferences, TOTP secrets, passkeys, remembered devices.")
	if e.Secrets > 0 {
		t.say("", "The configuration is in the backup without secrets: app clients and identity providers of this pool have %s.", number(e.Secrets))
	}
	t.say("", "Federated users come back by signing in through their provider.")
}

// stamp writes a time as RestorePoint takes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
