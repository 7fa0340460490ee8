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
	DescribeUserImportJob(context.Context, *idp.DescribeUserImportJobInput, ...func(*idp.Options)) (*idp.DescribeUserImportJobOutput, error)
	ListUserImportJobs(context.Context, *idp.ListUserImportJobsInput, ...func(*idp.Options)) (*idp.ListUserImportJobsOutput, error)
}

const (
	// addressLife is how long the address for the upload is used: it is valid
	// for 15 minutes from the job's creation (developer guide).
	addressLife = 14 * time.Minute
	// maxTries is how many jobs are made for a file before its users go by API.
	maxTries = 3
)

// jobEnd is how a file's import job ended.
type jobEnd struct {
	Imported int64
	None     bool // there was no job, or none that could be made
}

// job brings the file's import job forward and returns how it ended, nil while
// it runs. Whatever keeps a job from being made ends in the API path: a
// restore that costs more beats none.
func (w *importer) job(ctx context.Context, f *file) (*jobEnd, error) {
	if f.Rows == 0 || w.cursor.NoCSV != "" {
		return &jobEnd{None: true}, nil
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
		w.cursor.Job = aws.ToString(j.JobId)
		switch j.Status {
		case types.UserImportJobStatusTypePending, types.UserImportJobStatusTypeInProgress, types.UserImportJobStatusTypeStopping:
			if w.cursor.Begun.IsZero() {
				w.cursor.Begun = w.Now()
			}
			return nil, nil
		case types.UserImportJobStatusTypeSucceeded, types.UserImportJobStatusTypeFailed, types.UserImportJobStatusTypeStopped:
			slog.InfoContext(ctx, "import job ended", "job", w.cursor.Job, "status", string(j.Status),
				"imported", j.ImportedUsers, "skipped", j.SkippedUsers, "failed", j.FailedUsers)
			if took := aws.ToTime(j.CompletionDate).Sub(aws.ToTime(j.StartDate)); took > 0 {
				w.cursor.PerRow = took / time.Duration(f.Rows)
			}
			return &jobEnd{Imported: j.ImportedUsers}, nil
		case types.UserImportJobStatusTypeCreated:
			if w.Now().Sub(aws.ToTime(j.CreationDate)) < addressLife {
				started, err := w.startJob(ctx, f, j)
				if err != nil {
					return w.withoutJob(ctx, err)
				}
				if started {
					w.cursor.Begun = w.Now()
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
		w.cursor.Job, w.cursor.Waited = "", false
	}
	return &jobEnd{None: true}, nil
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

// answered refuses an answer without a job, as nothing that knows the import tool
// gives one.
func answered(j *types.UserImportJobType) (*types.UserImportJobType, error) {
	if j == nil || aws.ToString(j.JobId) == "" {
		return nil, &smithy.GenericAPIError{Code: noAnswer, Message: "the answer names no import job"}
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
func (w *importer) startJob(ctx context.Context, f *file, j *types.UserImportJobType) (bool, error) {
	body, err := w.csv(ctx, f)
	if err != nil {
		return false, err
	}
	err = w.Upload(ctx, aws.ToString(j.PreSignedUrl), body)
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
	_, err = w.Jobs.StartUserImportJob(ctx, &idp.StartUserImportJobInput{UserPoolId: &w.plan.Target.ID, JobId: j.JobId})
	if isCode(err, "PreconditionNotMetException") {
		// Perhaps it has started already, by a call whose answer was lost.
		w.cursor.Job = aws.ToString(j.JobId)
		if now, findErr := w.findJob(ctx); findErr == nil && now.Status != types.UserImportJobStatusTypeCreated {
			return true, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("start import job %s: %w", aws.ToString(j.JobId), err)
	}
	return true, nil
}

// withoutJob decides about an error of the import tool: a job of somebody else
// is waited for, other refusals mean that there will be no CSV import, and
// everything else is tried again by the state machine.
func (w *importer) withoutJob(ctx context.Context, err error) (*jobEnd, error) {
	var api smithy.APIError
	if errors.As(err, &api) && otherJob(api) {
		w.cursor.Waited = true
		if w.cursor.Begun.IsZero() {
			w.cursor.Begun = w.Now() // of the wait, so that it grows
		}
		return nil, nil // one active job per account: wait as for our own
	}
	if !noImportTool(err) {
		return nil, err
	}
	w.cursor.NoCSV = fmt.Sprintf("%s: %s", api.ErrorCode(), api.ErrorMessage())
	slog.WarnContext(ctx, "no CSV import", "code", api.ErrorCode())
	if err := w.put(ctx, w.noCSVKey(), w.cursor.NoCSV); err != nil {
		return nil, err
	}
	return &jobEnd{None: true}, nil
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
// the wait grows with the time that the job has run.
func (w *importer) patience(rows int) time.Duration {
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
