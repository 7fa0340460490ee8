package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/smithy-go"

	"cognito-backup/internal/step"
)

// JobsAPI is what CSV import jobs need of Cognito.
type JobsAPI interface {
	CreateUserImportJob(context.Context, *idp.CreateUserImportJobInput, ...func(*idp.Options)) (*idp.CreateUserImportJobOutput, error)
	StartUserImportJob(context.Context, *idp.StartUserImportJobInput, ...func(*idp.Options)) (*idp.StartUserImportJobOutput, error)
	StopUserImportJob(context.Context, *idp.StopUserImportJobInput, ...func(*idp.Options)) (*idp.StopUserImportJobOutput, error)
	DescribeUserImportJob(context.Context, *idp.DescribeUserImportJobInput, ...func(*idp.Options)) (*idp.DescribeUserImportJobOutput, error)
	ListUserImportJobs(context.Context, *idp.ListUserImportJobsInput, ...func(*idp.Options)) (*idp.ListUserImportJobsOutput, error)
}

const (
	// addressLife is how long the address for the upload is used: it is valid
	// for 15 minutes from the job's creation (developer guide).
	addressLife = 14 * time.Minute
	// maxTries is how many jobs are made for a file before its users go by API.
	maxTries = 3
	// maxStuck is how many jobs may hang before no more are made: a second one is
	// worth its hours where it spares many users from being billed, a third is not.
	maxStuck = 2
)

// unknown is how many users a job imported that nobody can be asked about.
const unknown = -1

// jobEnd is how a file's import job ended.
type jobEnd struct {
	Imported int64
	None     bool // there was no job, or none that could be made
}

// job brings the file's import job forward and returns how it ended, nil while
// it runs. Whatever keeps a job from being made ends in the API path: a
// restore that costs more beats none.
func (w *importer) job(ctx context.Context, f *file) (*jobEnd, error) {
	w.failing = false
	if f.Rows == 0 {
		return &jobEnd{None: true}, nil
	}
	if w.cursor.NoCSV != "" || w.cursor.GivenUp {
		return w.byAPI(), nil
	}
	for w.cursor.Tries-w.cursor.Waits < maxTries {
		j, err := w.findJob(ctx)
		if err != nil {
			return w.withoutJob(ctx, err)
		}
		if j == nil {
			if j, err = w.createJob(ctx); err != nil {
				return w.withoutJob(ctx, err)
			}
		}
		w.cursor.Job, w.cursor.Worked = aws.ToString(j.JobId), true
		switch j.Status {
		case types.UserImportJobStatusTypePending, types.UserImportJobStatusTypeInProgress, types.UserImportJobStatusTypeStopping:
			if w.cursor.Begun.IsZero() {
				w.cursor.Begun = w.Now()
			}
			return w.watch(ctx, j)
		case types.UserImportJobStatusTypeSucceeded, types.UserImportJobStatusTypeFailed, types.UserImportJobStatusTypeStopped:
			slog.InfoContext(ctx, "import job ended", "job", w.cursor.Job, "status", string(j.Status),
				"imported", j.ImportedUsers, "skipped", j.SkippedUsers, "failed", j.FailedUsers)
			// One that was stopped may have hung before.
			if took := aws.ToTime(j.CompletionDate).Sub(aws.ToTime(j.StartDate)); took > 0 && j.Status != types.UserImportJobStatusTypeStopped {
				w.cursor.PerRow = took / time.Duration(f.Rows)
			}
			w.cursor.Outage = 0
			if w.cursor.Stopped && w.cursor.Stuck >= maxStuck {
				if _, err := w.noCSV(ctx, fmt.Sprintf("%d import jobs did not move for %s and were stopped", w.cursor.Stuck, roughly(longestStandstill))); err != nil {
					return nil, err
				}
			}
			return &jobEnd{Imported: j.ImportedUsers}, nil
		case types.UserImportJobStatusTypeCreated:
			if w.Now().Sub(aws.ToTime(j.CreationDate)) < addressLife {
				body, err := w.csv(ctx, f)
				if err != nil {
					return nil, err
				}
				started, err := w.startJob(ctx, body, j)
				if err != nil {
					return w.withoutJob(ctx, err)
				}
				if started {
					w.cursor.Begun, w.cursor.Outage, w.cursor.Behind = w.Now(), 0, time.Time{}
					return nil, nil
				}
			}
		}
		// Expired, or its address has: another job. That it could not start in time
		// because somebody else's ran is no failure of the file.
		w.cursor.Tries++
		if w.cursor.Waited {
			w.cursor.Waits++
		}
		w.cursor.Job, w.cursor.Waited, w.cursor.Active = "", false, false
	}
	return &jobEnd{None: true}, nil
}

// byAPI ends the file's CSV import. A job that was started may have imported
// users, or do so still: those are looked for in the target, and whom it imports
// after that is met by name when he is to be created.
func (w *importer) byAPI() *jobEnd {
	if w.cursor.Active {
		return &jobEnd{Imported: unknown}
	}
	return &jobEnd{None: true}
}

// watch follows the running job and stops one that hangs: its end is seen when
// it is asked for next, and what it left out goes by API. A job that does not
// stop either is left alone; no other could start beside it.
func (w *importer) watch(ctx context.Context, j *types.UserImportJobType) (*jobEnd, error) {
	w.cursor.Active, w.cursor.Outage, w.cursor.Behind = true, 0, time.Time{}
	w.cursor.Progress.see(j, w.Now())
	still := w.Now().Sub(w.cursor.Progress.Since)
	switch {
	case still < longestStandstill:
		return nil, nil
	case still >= 2*longestStandstill:
		return w.noCSV(ctx, fmt.Sprintf("import job %s did not move for %s and could not be stopped", w.cursor.Job, roughly(still)))
	case j.Status == types.UserImportJobStatusTypeStopping:
		return nil, nil
	}
	_, err := w.Jobs.StopUserImportJob(ctx, &idp.StopUserImportJobInput{UserPoolId: &w.plan.Target.ID, JobId: j.JobId}, fewAttempts)
	switch {
	case err == nil:
		slog.WarnContext(ctx, "an import job that hung was stopped", "job", w.cursor.Job, "status", string(j.Status),
			"imported", j.ImportedUsers, "skipped", j.SkippedUsers, "failed", j.FailedUsers)
		if !w.cursor.Stopped { // else it was without effect, and is tried again
			w.cursor.Stopped = true
			w.cursor.Stuck++
			w.cursor.Begun = w.Now() // of the wait for its end, which comes soon
		}
	case ownEnd(err):
		return nil, fmt.Errorf("stop import job %s: %w", w.cursor.Job, err)
	case noImportTool(err) && !isCode(err, "PreconditionNotMetException"): // which says that it has just ended
		return w.noCSV(ctx, fmt.Sprintf("import job %s did not move for %s and could not be stopped: %s", w.cursor.Job, roughly(still), why(err)))
	default:
		slog.WarnContext(ctx, "an import job that hangs could not be stopped yet", "job", w.cursor.Job, step.LogError, err.Error())
	}
	return nil, nil
}

// jobName follows from execution, file and try, so that whoever comes after a
// crash finds the job. It fits [\w\s+=,.@-]{1,128}.
func (w *importer) jobName() string {
	execution := w.ExecutionName()
	clean := notInJobName.ReplaceAllString(execution, "-")
	if clean != execution || len(clean) > 90 {
		h := fnv.New32a()
		h.Write([]byte(execution))
		clean = fmt.Sprintf("%.80s-%08x", clean, h.Sum32())
	}
	return fmt.Sprintf("%s-%d-%d-%d", clean, w.round, w.cursor.File, w.cursor.Tries)
}

var notInJobName = regexp.MustCompile(`[^A-Za-z0-9_+=,.@-]`)

// findJob returns the file's job, nil if there is none.
func (w *importer) findJob(ctx context.Context) (*types.UserImportJobType, error) {
	if w.cursor.Job != "" {
		out, err := w.Jobs.DescribeUserImportJob(ctx, &idp.DescribeUserImportJobInput{UserPoolId: &w.plan.Target.ID, JobId: &w.cursor.Job}, fewAttempts)
		if err != nil {
			return nil, fmt.Errorf("describe import job %s: %w", w.cursor.Job, err)
		}
		return answered(out.UserImportJob)
	}
	in := &idp.ListUserImportJobsInput{UserPoolId: &w.plan.Target.ID, MaxResults: aws.Int32(60)}
	for {
		out, err := w.Jobs.ListUserImportJobs(ctx, in, fewAttempts)
		if err != nil {
			return nil, fmt.Errorf("list import jobs: %w", err)
		}
		for i := range out.UserImportJobs {
			if aws.ToString(out.UserImportJobs[i].JobName) == w.jobName() {
				return &out.UserImportJobs[i], nil
			}
		}
		if in.PaginationToken = out.PaginationToken; aws.ToString(in.PaginationToken) == "" {
			return nil, nil
		}
	}
}

var errNoJob = errors.New("the answer names no import job")

// answered refuses an answer without a job, as nothing that knows the import tool
// gives one.
func answered(j *types.UserImportJobType) (*types.UserImportJobType, error) {
	if j == nil || aws.ToString(j.JobId) == "" {
		return nil, errNoJob
	}
	return j, nil
}

func (w *importer) createJob(ctx context.Context) (*types.UserImportJobType, error) {
	out, err := w.Jobs.CreateUserImportJob(ctx, &idp.CreateUserImportJobInput{
		UserPoolId: &w.plan.Target.ID, JobName: aws.String(w.jobName()), CloudWatchLogsRoleArn: &w.JobRole,
	}, fewAttempts)
	if err != nil {
		return nil, fmt.Errorf("create import job: %w", err)
	}
	return answered(out.UserImportJob)
}

// startJob uploads the file and starts the job. It reports false when the
// address no longer takes the file.
func (w *importer) startJob(ctx context.Context, body []byte, j *types.UserImportJobType) (bool, error) {
	err := w.Upload(ctx, aws.ToString(j.PreSignedUrl), body)
	if refused := new(UploadRefusedError); errors.As(err, &refused) {
		slog.WarnContext(ctx, "upload refused", "status", refused.Status)
		return false, nil
	}
	if err != nil && ctx.Err() == nil {
		// Tried for a while: another job may have an address that can be reached.
		slog.WarnContext(ctx, "upload failed", step.LogError, err.Error())
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = w.Jobs.StartUserImportJob(ctx, &idp.StartUserImportJobInput{UserPoolId: &w.plan.Target.ID, JobId: j.JobId}, fewAttempts)
	// Unless it is refused in words that can be read, the job may run.
	w.cursor.Active = w.cursor.Active || !permanent(err)
	if isCode(err, "PreconditionNotMetException") {
		// Perhaps it has started already, by a call whose answer was lost.
		w.cursor.Job = aws.ToString(j.JobId)
		now, findErr := w.findJob(ctx)
		if findErr == nil && now.Status != types.UserImportJobStatusTypeCreated {
			return true, nil
		}
		w.cursor.Active = findErr != nil
	}
	if err != nil {
		return false, fmt.Errorf("start import job %s: %w", aws.ToString(j.JobId), err)
	}
	return true, nil
}

// withoutJob decides about an error of the import tool: a job of somebody else
// is waited for, other refusals mean that there will be no CSV import, and
// everything else is tried again for as long as an outage allows. Then the users
// of this file go by API. For the next file the tool is asked anew, but waited
// for again only if a job of ours has run in between.
func (w *importer) withoutJob(ctx context.Context, err error) (*jobEnd, error) {
	if ownEnd(err) {
		return nil, err
	}
	var api smithy.APIError
	if errors.As(err, &api) && otherJob(api) {
		w.cursor.Waited, w.cursor.Outage = true, 0
		if w.cursor.Begun.IsZero() {
			w.cursor.Begun = w.Now() // of the wait, so that it grows
		}
		if w.cursor.Behind.IsZero() {
			w.cursor.Behind = w.Now()
		}
		if w.Now().Sub(w.cursor.Behind) < longestQueue {
			return nil, nil // one active job per account: wait as for our own
		}
		return w.giveUp(ctx, fmt.Sprintf("other import jobs of the account kept ours from starting for %s", roughly(longestQueue)))
	}
	if w.cursor.refuses(err) {
		return w.noCSV(ctx, why(err))
	}
	slog.WarnContext(ctx, "the CSV import tool fails", step.LogError, err.Error())
	if !w.cursor.Outage.over() {
		w.failing = true
		return nil, nil
	}
	return w.giveUp(ctx, "the import tool failed for more than five minutes, last with "+why(err))
}

// giveUp ends the file's CSV import, though there may be one for the next.
func (w *importer) giveUp(ctx context.Context, reason string) (*jobEnd, error) {
	w.cursor.GivenUp = true
	slog.WarnContext(ctx, "no CSV import of this file", "reason", reason)
	if err := w.put(ctx, w.givenUpKey(), reason); err != nil {
		return nil, err
	}
	return w.byAPI(), nil
}

// noCSV ends CSV imports for good.
func (w *importer) noCSV(ctx context.Context, reason string) (*jobEnd, error) {
	w.cursor.NoCSV = reason
	slog.WarnContext(ctx, "no CSV import", "reason", reason)
	if err := w.put(ctx, w.noCSVKey(), reason); err != nil {
		return nil, err
	}
	return w.byAPI(), nil
}

// why is what the import tool said, or what became of the call.
func why(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return fmt.Sprintf("%s: %s", api.ErrorCode(), api.ErrorMessage())
	}
	return err.Error()
}

// otherJob says that the error means a running job. Cognito has an exception
// of its own for it and also says so under others.
func otherJob(err smithy.APIError) bool {
	text := strings.ToLower(err.ErrorMessage())
	return err.ErrorCode() == "UserImportInProgressException" ||
		strings.Contains(text, "import job") && (strings.Contains(text, "in progress") || strings.Contains(text, "active") || strings.Contains(text, "running"))
}

// csv is the file's content. It follows from the chunks, so that it need not
// be stored.
func (w *importer) csv(ctx context.Context, f *file) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(strings.Join(w.rules.Header, ",") + newline)
	for _, name := range f.Chunks {
		var c chunk
		if err := w.Objects.Get(ctx, w.chunkKey(name), &c); err != nil {
			return nil, err
		}
		for i := range c.Entries {
			if line := w.line(&c.Entries[i]); line != "" {
				b.WriteString(line + newline)
			}
		}
	}
	return b.Bytes(), nil
}

// patience is how long to wait for the running job. How long the one before
// took tells when this one should end; without one before, or when it is late,
// the wait grows with the time that the job has run. An import tool that fails
// is waited for otherwise.
func (w *importer) patience(rows int) time.Duration {
	if w.failing {
		return w.cursor.Outage.wait()
	}
	const longest = 30 * time.Minute // a job may also fail early
	run := w.Now().Sub(w.cursor.Begun)
	left := time.Duration(rows)*w.cursor.PerRow - run
	if left <= 0 {
		left = run / 16
	}
	return min(max(left, time.Second), longest)
}

// UploadRefusedError says that the address does not take the file (any more).
type UploadRefusedError struct{ Status int }

func (e *UploadRefusedError) Error() string {
	return fmt.Sprintf("the upload of the import file was refused with status %d", e.Status)
}

// Upload puts the file at the job's address with the header that the import
// tool asks for and a known length: the address refuses chunked bodies.
func Upload(ctx context.Context, address string, body []byte) error {
	for attempt := 0; ; attempt++ {
		err := upload(ctx, address, body)
		refused := new(UploadRefusedError)
		if err == nil || attempt == 4 || errors.As(err, &refused) && refused.Status < 500 {
			return err
		}
		if err := step.Sleep(ctx, time.Second<<attempt); err != nil {
			return err
		}
	}
}

// uploads gives up on a connection that is stuck while there is time to try
// another in the same slice: a file of 64 MiB takes seconds.
var uploads = &http.Client{Timeout: 2 * time.Minute}

// withoutURL takes the address out of an error. Whoever reads it in a log
// could put a file of their own in place of ours for as long as it is valid.
func withoutURL(err error) error {
	if failed := new(url.Error); errors.As(err, &failed) {
		return fmt.Errorf("%s: %w", failed.Op, failed.Err)
	}
	return err
}

func upload(ctx context.Context, address string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, address, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("upload the import file: %w", withoutURL(err))
	}
	request.Header.Set("x-amz-server-side-encryption", "aws:kms")
	response, err := uploads.Do(request)
	if err != nil {
		return fmt.Errorf("upload the import file: %w", withoutURL(err))
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return &UploadRefusedError{Status: response.StatusCode}
	}
	return nil
}
