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

// Tally is how many records of a kind a restore point holds and how it differs
// from the one before.
type Tally struct {
	Total, Added, Changed, Removed int64
}

// Suspect says why a restore point is not trusted.
type Suspect struct {
	Missing    int64     // users gone
	Of         int64     // users in the restore point compared with
	ComparedTo time.Time // end of that one's listing: what to name to restore it
}

// Export is a finished run of the ExportWorkflow.
type Export struct {
	Deployment
	// RestorePoint is the time to name as RestorePoint when restoring: the end of
	// the listing, because a restore takes the last restore point whose listing
	// ended at or before the time it is given.
	RestorePoint               time.Time
	Took                       time.Duration
	Users, Groups, Memberships Tally
	Federated                  int64 // users who come back by signing in
	First                      bool  // nothing to compare with
	Throttled                  int64 // calls that Cognito refused for their rate
	Calls                      int64 // calls made to Cognito
	Suspect                    *Suspect
	Accepted                   bool     // a person accepted a mass disappearance with this run
	Attention                  []string // sentences of other things to look at
}

// massLoss is the share of groups or memberships whose disappearance is worth
// a sentence; unlike a loss of users it makes nothing suspect.
const massLoss = 0.2

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
			count(e.Users.Total, "user"), count(e.Groups.Total, "group"), count(e.Memberships.Total, "membership")),
		Body: t.String(),
	}
}

func (e *Export) suspectMessage() Message {
	s := e.Suspect
	var t text
	t.say("", "%s of %s are gone from the user pool %s since the restore point of %s.",
		number(s.Missing), count(s.Of, "user"), e.UserPoolID, moment(s.ComparedTo))
	t.blank()
	t.say("", "The backup keeps all of them. Nothing is removed from it until a person accepts the loss, "+
		"and a restore skips this restore point unless it is named.")
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
	if e.First {
		t.line("In the backup, which is the first one:")
	} else {
		t.line("In the backup, compared with the restore point before:")
	}
	for _, kind := range []struct {
		name string
		Tally
	}{{"Users", e.Users}, {"Groups", e.Groups}, {"Memberships", e.Memberships}} {
		if e.First {
			t.line("%s: %s", kind.name, number(kind.Total))
			continue
		}
		t.line("%s: %s (%s)", kind.name, number(kind.Total), kind.difference())
	}
	t.blank()
	t.line("It took %s. Throttled calls: %s.", duration(e.Took), number(e.Throttled))
}

func (c Tally) difference() string {
	if c.Added == 0 && c.Changed == 0 && c.Removed == 0 {
		return "unchanged"
	}
	return fmt.Sprintf("%s added, %s changed, %s removed", number(c.Added), number(c.Changed), number(c.Removed))
}

func (e *Export) attention() []string {
	var items []string
	for _, kind := range []struct {
		name string
		Tally
	}{{"groups", e.Groups}, {"memberships", e.Memberships}} {
		before := kind.Total - kind.Added + kind.Removed
		if kind.Removed > 0 && float64(kind.Removed) > massLoss*float64(before) {
			items = append(items, fmt.Sprintf("%s of %s %s are gone. They stay in the restore points before this one.",
				number(kind.Removed), number(before), kind.name))
		}
	}
	// A call in ten is what a run shows while it finds the rate that is free.
	if e.Throttled > 0 && e.Throttled*10 > e.Calls {
		items = append(items, fmt.Sprintf("Cognito refused %s for their rate. "+
			"The quota is shared with your applications: consider a lower cognitoTps.", count(e.Throttled, "call")))
	}
	if e.Accepted {
		items = append(items, "The disappearance of many users was accepted with this run. Backups of them are kept for the retention, then removed.")
	}
	return append(items, e.Attention...)
}

// limits says once what no backup of a user pool can hold.
func (e *Export) limits(t *text) {
	t.blank()
	t.say("", "Cognito gives nobody these, so no backup holds them: "+
		"passwords, MFA preferences, TOTP secrets, passkeys, remembered devices.")
	if e.Federated > 0 {
		t.say("", "Federated users, who come back when they sign in: %s.", number(e.Federated))
	}
}

// stamp writes a time as RestorePoint takes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
