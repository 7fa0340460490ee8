package restore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

// importTool is what an import has seen of the CSV import tool. It outlives the
// files and rounds of the import, so that the patience with it is not had anew
// for each of them.
type importTool struct {
	NoCSV  string        // why no import jobs are made any more
	Worked bool          // it has brought a job
	PerRow time.Duration // how long a row took in the last one
	Stuck  int           // jobs that hung
	Outage outage
	Behind time.Time // since when jobs of somebody else have kept ours from starting
}

// noImportTool says that the CSV import tool refuses, and will refuse again: a
// missing permission, a limit, a setting of the pool, or an endpoint that does
// not know the tool, in whatever form it says so. The users go by API then. What
// may pass, such as throttling and errors of Cognito's own, is waited for first,
// as long as an outage allows, because creating many users by API costs more.
func noImportTool(err error) bool {
	return pool.Refused(err) || errors.Is(err, errNoJob) || isCode(err, "AccessDeniedException") ||
		isCode(err, "LimitExceededException") // a pool has had its thousand jobs; the SDK would call it throttling
}

// refuses says that there will be no import job any more. An endpoint that has
// brought one knows the tool: what then answers without naming an error, or a
// job, is something before it that fails.
func (t *importTool) refuses(err error) bool {
	return noImportTool(err) && !(t.Worked && (pool.NamesNoError(err) || errors.Is(err, errNoJob)))
}

// ownEnd says that the error is none of the service that was called: this
// invocation has no time left, or no longer holds the lease.
func ownEnd(err error) bool {
	for _, kind := range []any{new(*step.LeaseLostError), new(*step.HeldError), new(*step.TransientError)} {
		if errors.As(err, kind) {
			return true
		}
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// fewAttempts is for calls of the import tool: if it does not answer after
// some seconds, the step waits, or the users go by API.
func fewAttempts(o *idp.Options) { o.RetryMaxAttempts = 8 }

// longestOutage is how long altogether a step waits for an import tool that
// fails. An outage that passes must not cost many users who are billed as
// active; one that does not must not keep them from coming back.
const longestOutage = 5 * time.Minute

// outage is how long the import tool has been waited for since it last worked.
// Waits are counted, and not the time, so that a slice which did something else
// meanwhile does not use the patience up.
type outage time.Duration

func (o outage) over() bool { return time.Duration(o) >= longestOutage }

// wait is how long to wait before the tool is asked again: as long as it has
// been waited for so far.
func (o *outage) wait() time.Duration {
	waited := time.Duration(*o)
	d := min(max(waited, 10*time.Second), longestOutage-waited)
	*o += outage(d)
	return d
}

// longestQueue is for how long jobs of somebody else may keep ours from
// starting: an account has one active job at a time, and whose they are can
// hang, or begin anew all the time. A file as large as Cognito takes, half a
// million users, is through by then; after it, being billed for users who are
// created by API is better than users who are locked out.
const longestQueue = 6 * time.Hour

// longestStandstill is how long a running job may show no progress. AWS
// documents how a job can end, and not how long it may take: a healthy one
// imports many users a minute, so that hours without any mean that it hangs.
const longestStandstill = 6 * time.Hour

// progress is when a job was last seen to be another than before.
type progress struct {
	State string
	Since time.Time
}

// see notes how far the job is.
func (p *progress) see(j *types.UserImportJobType, now time.Time) {
	state := fmt.Sprintf("%s %s %d %d %d", aws.ToString(j.JobId), j.Status, j.ImportedUsers, j.SkippedUsers, j.FailedUsers)
	if state != p.State {
		p.State, p.Since = state, now
	}
}
