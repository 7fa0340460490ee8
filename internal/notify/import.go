package notify

import (
	"fmt"
	"time"
)

// Import is a finished run of the ImportWorkflow.
type Import struct {
	Deployment
	RestorePoint time.Time
	Older        string // why not the newest restore point: a sentence, empty when it was
	SourcePoolID string // the pool of the backup
	DryRun       bool
	Incomplete   bool // AllowIncomplete: no restore point verified
	Took         time.Duration
	// Outcomes of the records of the restore point, per kind.
	Users, Groups, Memberships Outcomes
	Throttled                  int64
	// How the restored users get in again.
	ForgotPassword int64 // restored without a password: "forgot password" works
	Invitation     int64 // need an administrator's invitation
	Attention      []string
	Bucket         string
	ReportPrefix   string // key prefix of mapping.csv, report.json, report.html; ends in /
}

// Outcomes counts the records of one kind by what became of them.
type Outcomes struct {
	Total, Restored, Present, Deferred, Conflict, Failed, LeftOut int64
}

func (o Outcomes) unsolved() int64 { return o.Conflict + o.Failed }

func (o Outcomes) describe() string {
	s := ""
	for _, part := range []struct {
		n    int64
		what string
	}{
		{o.Restored, "restored"}, {o.Present, "already there"}, {o.Deferred, "deferred"},
		{o.Conflict, "in conflict"}, {o.Failed, "failed"}, {o.LeftOut, "left out"},
	} {
		if part.n == 0 {
			continue
		}
		if s != "" {
			s += ", "
		}
		s += number(part.n) + " " + part.what
	}
	if s == "" {
		return "none"
	}
	return s
}

// Message tells of a finished import.
func (i *Import) Message() Message {
	if i.DryRun {
		return i.dryRunMessage()
	}
	var t text
	unsolved := i.Users.unsolved() + i.Groups.unsolved() + i.Memberships.unsolved()
	switch {
	case unsolved == 0 && i.Incomplete:
		t.say("", "The user pool %s was restored as far as the backup could be read, and what was read was verified.", i.UserPoolID)
	case unsolved == 0:
		t.line("The user pool %s was restored and verified.", i.UserPoolID)
	default:
		t.say("", "The user pool %s was restored. Not restored, and in need of a decision or a repair: %s.",
			i.UserPoolID, count(unsolved, "record"))
	}
	i.outcomes(&t, "What became of the records of the restore point:")
	t.blank()
	t.line("It took %s. Throttled calls: %s.", duration(i.Took), number(i.Throttled))
	i.signIn(&t)
	t.list("Please look at:", i.attention())
	i.reports(&t)
	i.backUp(&t)
	t.footer(i.Deployment)
	headline := fmt.Sprintf("Import completed: %s restored", count(i.Users.Restored, "user"))
	switch {
	case i.Incomplete && unsolved == 0:
		headline = fmt.Sprintf("Import completed from an incomplete backup: %s restored", count(i.Users.Restored, "user"))
	case unsolved > 0:
		headline = fmt.Sprintf("Import completed, to look at: %s", count(unsolved, "record"))
	}
	return Message{Subject: subject(i.Prefix, "%s", headline), Body: t.String(), Urgent: unsolved > 0 || i.Incomplete || i.Older != ""}
}

func (i *Import) dryRunMessage() Message {
	var t text
	t.line("The dry run for the user pool %s ended.", i.UserPoolID)
	t.line("Nothing was written to the pool.")
	i.outcomes(&t, "What the import would do with the records of the restore point:")
	t.list("Please look at:", i.attention())
	i.reports(&t)
	t.blank()
	t.say("", "To restore, start ImportWorkflow with the same input without DryRun.")
	t.footer(i.Deployment)
	return Message{Subject: subject(i.Prefix, "Dry run of an import completed: %s", count(i.Users.Total, "user")), Body: t.String()}
}

func (i *Import) outcomes(t *text, heading string) {
	t.blank()
	t.line("Restore point: %s", stamp(i.RestorePoint))
	if i.Older != "" {
		t.say("", "This is not the newest one. %s", i.Older)
	}
	if i.Incomplete {
		t.say("", "No restore point could be proved complete, and AllowIncomplete was given. The report lists what is missing.")
	}
	t.blank()
	t.line("%s", heading)
	t.line("Users: %s", i.Users.describe())
	t.line("Groups: %s", i.Groups.describe())
	t.line("Memberships: %s", i.Memberships.describe())
}

func (i *Import) signIn(t *text) {
	var items []string
	if i.ForgotPassword > 0 {
		items = append(items, count(i.ForgotPassword, "user")+`: choose "forgot password" and set a new one.`)
	}
	if i.Invitation > 0 {
		items = append(items, count(i.Invitation, "user")+": need a new invitation from an administrator"+
			" (AdminCreateUser with MessageAction RESEND).")
	}
	if i.Users.Deferred > 0 {
		items = append(items, count(i.Users.Deferred, "federated user")+
			`: sign in through their provider; an import with "Mode": "MISSING_ONLY" then adds their groups.`)
	}
	t.list("To sign in:", items)
}

func (i *Import) attention() []string {
	var items []string
	conflict := i.Users.Conflict + i.Groups.Conflict + i.Memberships.Conflict
	if conflict > 0 {
		items = append(items, count(conflict, "record")+" in conflict: somebody else holds the name or address."+
			" They were given nothing. The report names both.")
	}
	failed := i.Users.Failed + i.Groups.Failed + i.Memberships.Failed
	if failed > 0 {
		items = append(items, count(failed, "record")+` failed. The report gives the reasons; once they are mended,`+
			` start ImportWorkflow again with "Mode": "MISSING_ONLY".`)
	}
	return append(items, i.Attention...)
}

func (i *Import) reports(t *text) {
	if i.Bucket == "" {
		return
	}
	t.blank()
	t.line("Report and the table from old to new users (sub):")
	for _, name := range []string{"report.html", "report.json", "mapping.csv"} {
		t.line("s3://%s/%s%s", i.Bucket, i.ReportPrefix, name)
	}
	t.line("%s", bucketLink(i.Execution, i.Region, i.Bucket, i.ReportPrefix))
}

// backUp reminds that a pool restored into is not the one that is backed up.
func (i *Import) backUp(t *text) {
	if i.SourcePoolID == "" || i.SourcePoolID == i.UserPoolID {
		return
	}
	t.blank()
	t.say("", "This deployment backs up %s, not %s. To have that one backed up, too, deploy once more with it as primaryUserPoolId "+
		"and a stackPrefix of its own.", i.SourcePoolID, i.UserPoolID)
}
