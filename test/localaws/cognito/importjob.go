//lint:file-ignore ST1005 The errors of rows are the sentences of Cognito, which the job log shows.

package cognito

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cognito-backup/test/localaws/wire"
)

const (
	maxJobs       = 1000 // per pool, ever
	maxImportRows = 500_000
	maxImportSize = 100 << 20
	maxRowLength  = 16_000 // characters
	uploadLife    = 15 * time.Minute
	jobLife       = 24 * time.Hour // a job that is not started by then expires

	// tolerancePeriod is how many users a job handles before their share of failures
	// can end it (inference).
	tolerancePeriod = 100
)

// Import job states.
const (
	jobCreated    = "Created"
	jobPending    = "Pending"
	jobInProgress = "InProgress"
	jobStopping   = "Stopping"
	jobStopped    = "Stopped"
	jobExpired    = "Expired"
	jobFailed     = "Failed"
	jobSucceeded  = "Succeeded"
)

// ImportJob is UserImportJobType.
type ImportJob struct {
	JobName               string
	JobId                 string
	UserPoolId            string
	PreSignedUrl          string
	CreationDate          Date
	StartDate             Date `json:",omitzero"`
	CompletionDate        Date `json:",omitzero"`
	Status                string
	CloudWatchLogsRoleArn string
	ImportedUsers         int
	SkippedUsers          int
	FailedUsers           int
	CompletionMessage     string `json:",omitempty"`
}

// job is an import job with its file. The pool's lock guards it.
type job struct {
	ImportJob
	pool      *pool
	signature string
	file      []byte
	uploaded  bool
	hashes    bool // the file has a password_hash column
	stop      chan struct{}
	log       []string
}

type jobOutput struct{ UserImportJob ImportJob }

// notImporting refuses changes to a pool while users are imported into it.
func (s *Service) notImporting(p *pool) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.active != nil && s.active.pool == p {
		return wire.Errorf("UserImportInProgressException", "A user import job is in progress for user pool %s.", p.id)
	}
	return nil
}

// csvHeader is the columns of an import file: the attributes that can be set, the
// custom ones after the standard ones, then the two that are not attributes.
func (p *pool) csvHeader() []string {
	var header []string
	for _, a := range p.schema.attributes {
		if a.Name != "sub" && a.Name != "identities" {
			header = append(header, a.Name)
		}
	}
	return append(header, "cognito:mfa_enabled", "cognito:username")
}

func (s *Service) getCSVHeader(_ context.Context, c *wire.Call) (any, error) {
	p, err := s.begin(c, &empty{})
	if err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return struct {
		UserPoolId string
		CSVHeader  []string
	}{p.id, p.csvHeader()}, nil
}

func (s *Service) createUserImportJob(_ context.Context, c *wire.Call) (any, error) {
	var in struct{ JobName, CloudWatchLogsRoleArn string }
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.jobs) >= maxJobs {
		return nil, wire.Errorf("LimitExceededException", "User import job limit exceeded.")
	}
	now := s.now()
	j := &job{pool: p, signature: randomText(64, digits+"abcdef"), stop: make(chan struct{})}
	j.ImportJob = ImportJob{
		JobName: in.JobName, JobId: "import-" + randomText(10, lowercase+uppercase+digits), UserPoolId: p.id,
		CreationDate: Date{now}, Status: jobCreated, CloudWatchLogsRoleArn: in.CloudWatchLogsRoleArn,
	}
	j.PreSignedUrl = fmt.Sprintf("%s%s%s/%s/%s?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=%s&X-Amz-Expires=%d&X-Amz-SignedHeaders=host%%3Bx-amz-server-side-encryption&X-Amz-Signature=%s",
		c.Endpoint, uploadPath, s.region, p.id, j.JobId, now.Format("20060102T150405Z"), int(uploadLife.Seconds()), j.signature)
	p.jobs = append(p.jobs, j)
	return jobOutput{j.describe(c)}, nil
}

// describe is the job for a caller, whose session the upload address names.
func (j *job) describe(c *wire.Call) ImportJob {
	shown := j.ImportJob
	if c.Session != "" {
		shown.PreSignedUrl += "&" + SecurityToken + "=" + url.QueryEscape(c.Session)
	}
	return shown
}

// job finds an import job and lets it expire. The caller has the pool's lock.
func (s *Service) job(p *pool, id string) (*job, error) {
	for _, j := range p.jobs {
		if j.JobId == id {
			s.expire(j)
			return j, nil
		}
	}
	return nil, wire.Errorf("ResourceNotFoundException", "User import job %s does not exist.", id)
}

func (s *Service) expire(j *job) {
	if now := s.now(); j.Status == jobCreated && now.Sub(j.CreationDate.Time) > s.settings.Values().ImportJobLife {
		j.Status, j.CompletionMessage, j.CompletionDate = jobExpired, "The user import job has expired.", Date{now}
		j.file = nil
		s.settings.count(func(i *Injected) *int { return &i.ExpiredJobs })
	}
}

func (s *Service) describeUserImportJob(_ context.Context, c *wire.Call) (any, error) {
	var in struct{ JobId string }
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	j, err := s.job(p, in.JobId)
	if err != nil {
		return nil, err
	}
	return jobOutput{j.describe(c)}, nil
}

func (s *Service) listUserImportJobs(_ context.Context, c *wire.Call) (any, error) {
	var in listInput
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pg, err := s.openPage(c, in.PaginationToken, min(in.MaxResults, shortPage), shortPage, []any{p.id, in.MaxResults})
	if err != nil {
		return nil, err
	}
	out := struct {
		UserImportJobs  []ImportJob `json:",omitempty"` // the model has no empty list
		PaginationToken string      `json:",omitempty"`
	}{}
	for i, j := range slices.Backward(p.jobs) { // newest first
		at := cursor{Rank: uint64(len(p.jobs) - i)}
		if !pg.reached(at) {
			continue
		}
		if !pg.add(at) {
			break
		}
		s.expire(j)
		out.UserImportJobs = append(out.UserImportJobs, j.describe(c))
	}
	out.PaginationToken = pg.next()
	return out, nil
}

func (s *Service) startUserImportJob(_ context.Context, c *wire.Call) (any, error) {
	var in struct{ JobId string }
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := s.now()
	j, err := s.job(p, in.JobId)
	switch {
	case err != nil:
		return nil, err
	case j.Status != jobCreated:
		return nil, wire.Errorf("PreconditionNotMetException", "User import job %s cannot be started, its status is %s.", j.JobId, j.Status)
	case s.active != nil:
		s.settings.count(func(i *Injected) *int { return &i.BusyStarts })
		return nil, wire.Errorf("PreconditionNotMetException", "Only one user import job can be active in an account.")
	case len(p.config.AutoVerifiedAttributes) == 0:
		return nil, wire.Errorf("PreconditionNotMetException", "The user pool has no auto verified attribute.")
	}
	s.active = j
	j.Status, j.StartDate = jobPending, Date{now}
	v := s.settings.Values() // of now, whatever they are when the job gets its turn
	s.jobs.Go(func() { s.runJob(j, &v) })
	return jobOutput{j.describe(c)}, nil
}

func (s *Service) stopUserImportJob(_ context.Context, c *wire.Call) (any, error) {
	var in struct{ JobId string }
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	j, err := s.job(p, in.JobId)
	switch {
	case err != nil:
		return nil, err
	case j.Status != jobPending && j.Status != jobInProgress:
		return nil, wire.Errorf("PreconditionNotMetException", "User import job %s cannot be stopped, its status is %s.", j.JobId, j.Status)
	}
	j.Status = jobStopping
	close(j.stop)
	return jobOutput{j.describe(c)}, nil
}

// JobLog is what an import job wrote to CloudWatch Logs: a line per user, which
// names the user by line number only.
func (s *Service) JobLog(poolID, jobID string) []string {
	p, err := s.pool(poolID)
	if err != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	j, err := s.job(p, jobID)
	if err != nil {
		return nil
	}
	return slices.Clone(j.log)
}

// finish ends the active job.
func (s *Service) finish(j *job, status, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.pool.mu.Lock()
	defer j.pool.mu.Unlock()
	s.active = nil
	j.Status, j.CompletionMessage, j.CompletionDate = status, message, Date{s.now()}
	j.file = nil
}

var errTooMany = errors.New("Too many users have failed or been skipped during the import.") //nolint:staticcheck // AWS's wording

// runJob imports the file under the settings that it was started with.
func (s *Service) runJob(j *job, v *Values) {
	err := s.importFile(j, v)
	switch {
	case errors.Is(err, context.Canceled):
		s.finish(j, jobStopped, "The user import job has been stopped.")
	case err != nil:
		if errors.Is(err, errTooMany) {
			s.settings.count(func(i *Injected) *int { return &i.FailedJobs })
		}
		s.finish(j, jobFailed, err.Error())
	default:
		s.finish(j, jobSucceeded, "Import Job Completed Successfully.")
	}
}

// pause waits in the testbed's time; a stopped job does not.
func (s *Service) pause(j *job, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-j.stop:
	case <-s.closed:
	}
	return context.Canceled
}

func (s *Service) importFile(j *job, v *Values) error {
	if err := s.pause(j, s.clock.Scale(v.ImportStart)); err != nil {
		return err
	}
	j.pool.mu.Lock()
	if j.Status == jobPending {
		j.Status = jobInProgress
	}
	rows, err := j.read()
	j.pool.mu.Unlock()
	if err != nil {
		return err
	}
	var perUser time.Duration
	if v.ImportRate > 0 {
		perUser = s.clock.Scale(time.Duration(float64(time.Second) / v.ImportRate))
	}
	began := time.Now()
	for i := 0; i < len(rows); {
		due := len(rows)
		if perUser > 0 {
			due = min(due, int(time.Since(began)/perUser))
		}
		due = min(due, i+1000) // so that other calls get their turn
		if due <= i {
			if err := s.pause(j, max(perUser, 10*time.Millisecond)); err != nil {
				return err
			}
			continue
		}
		if err := s.pause(j, 0); err != nil {
			return err
		}
		j.pool.mu.Lock()
		for ; i < due; i++ {
			s.importLine(j, rows[i])
			if done := i + 1; done >= tolerancePeriod && j.tooMany(done, v.ImportTolerance) {
				j.pool.mu.Unlock()
				return errTooMany
			}
		}
		j.pool.mu.Unlock()
	}
	if perUser > 0 { // the last user takes as long as the others
		if err := s.pause(j, max(0, time.Duration(len(rows))*perUser-time.Since(began))); err != nil {
			return err
		}
	}
	j.pool.mu.Lock()
	defer j.pool.mu.Unlock()
	if j.tooMany(len(rows), v.ImportTolerance) {
		return errTooMany
	}
	return nil
}

func (j *job) tooMany(done int, tolerance float64) bool {
	return float64(j.FailedUsers+j.SkippedUsers) > tolerance*float64(done)
}

// line is a row of the file with its line number, the header's being 1.
type line struct {
	number int
	text   string
}

// read splits the file and checks what concerns all of it. That a file is refused
// in these cases is documented, the messages are inference.
func (j *job) read() ([]line, error) {
	switch {
	case !j.uploaded:
		return nil, errors.New("The .csv file has not been uploaded.") //nolint:staticcheck // shown to a person
	case len(j.file) > maxImportSize:
		return nil, errors.New("The .csv file is larger than 100 MB.") //nolint:staticcheck // as above
	case bytes.HasPrefix(j.file, []byte("\xef\xbb\xbf")) || !utf8.Valid(j.file):
		return nil, errors.New("The .csv file is not UTF-8 without byte order mark.") //nolint:staticcheck // as above
	}
	var rows []line
	number := 0
	for text := range strings.Lines(string(j.file)) {
		number++
		text = strings.TrimRight(text, "\r\n")
		if number == 1 {
			header := strings.Split(text, ",")
			want := j.pool.csvHeader()
			if !slices.Equal(header, want) && !slices.Equal(header, append(want, passwordHash)) {
				return nil, errors.New("The header of the .csv file does not match the user pool.") //nolint:staticcheck // as above
			}
			j.hashes = len(header) > len(want)
			j.log = make([]string, 0, bytes.Count(j.file, []byte("\n")))
			continue
		}
		if text != "" {
			rows = append(rows, line{number, text})
		}
	}
	switch {
	case number == 0:
		return nil, errors.New("The .csv file is empty.") //nolint:staticcheck // as above
	case len(rows) > maxImportRows:
		return nil, errors.New("The .csv file has more than 500,000 users.") //nolint:staticcheck // as above
	}
	return rows, nil
}

// passwordHash is the optional last column. Which status users with one get is not
// documented; here they can sign in at once (inference), with no password that the
// testbed could check.
const passwordHash = "password_hash"

var hashForm = regexp.MustCompile(`^\$(2[aby]\$(0[4-9]|1[0-2])\$|scrypt\$|argon2id\$|pbkdf2-sha256\$|pbkdf2_sha256\$)`)

// splitRow splits at commas that have no backslash before them. Quotation marks
// mean nothing.
func splitRow(text string) []string {
	var fields []string
	var field strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == ',':
			i++
			field.WriteByte(',')
		case text[i] == ',':
			fields = append(fields, field.String())
			field.Reset()
		default:
			field.WriteByte(text[i])
		}
	}
	return append(fields, field.String())
}

var errExists = errors.New("The user already exists.") //nolint:staticcheck // AWS's wording

// importLine imports one user and writes the job's log. The caller has the lock.
func (s *Service) importLine(j *job, row line) {
	err := s.importUser(j.pool, row.text, j.hashes)
	switch {
	case err == nil:
		j.ImportedUsers++
		j.log = append(j.log, fmt.Sprintf("[SUCCEEDED] Line Number %d - The import succeeded.", row.number))
	case errors.Is(err, errExists):
		j.SkippedUsers++
		j.log = append(j.log, fmt.Sprintf("[SKIPPED] Line Number %d - The user already exists.", row.number))
	default:
		j.FailedUsers++
		text := err.Error()
		if e := (*wire.Error)(nil); errors.As(err, &e) {
			text = strings.TrimSpace(e.Message)
		}
		j.log = append(j.log, fmt.Sprintf("[FAILED] Line Number %d - %s", row.number, text))
	}
}

func (s *Service) importUser(p *pool, text string, hashes bool) error {
	if utf8.RuneCountInString(text) > maxRowLength {
		return errors.New("The row is longer than 16,000 characters.") //nolint:staticcheck // shown to a person
	}
	header := p.csvHeader()
	fields := splitRow(text)
	columns := len(header)
	if hashes {
		columns++
	}
	if len(fields) != columns {
		return fmt.Errorf("The row has %d columns, the header %d.", len(fields), columns) //nolint:staticcheck // as above
	}
	hash := strings.Join(fields[len(header):], "")
	var attrs []Attribute
	var username, mfa string
	for i, name := range header {
		value := fields[i]
		switch {
		case name == "cognito:username":
			username = value
		case name == "cognito:mfa_enabled":
			mfa = value
		case value == "":
		case name == "birthdate":
			date, err := time.Parse("01/02/2006", value)
			if err != nil {
				return errors.New("The birthdate is not in the format mm/dd/yyyy.") //nolint:staticcheck // as above
			}
			attrs = append(attrs, Attribute{name, date.Format("2006-01-02")})
		default:
			attrs = append(attrs, Attribute{name, value})
		}
	}
	if err := p.checkImported(username, mfa, hash, attrs); err != nil {
		return err
	}
	now := s.now()
	u, err := p.newUser(username, attrs, now)
	if err != nil {
		return err
	}
	if p.taken(u) {
		return errExists
	}
	u.status = ResetRequired
	if hash != "" {
		u.status = Confirmed
	}
	u.factors.sms = mfa == "true"
	return s.admit(p, u, false, errExists.Error())
}

// checkImported applies the rules of a row that go beyond those of any new user.
func (p *pool) checkImported(username, mfa, hash string, attrs []Attribute) error {
	switch {
	case username == "":
		return errors.New("cognito:username is required.")
	case strings.ContainsAny(username, " \t") || utf8.RuneCountInString(username) > 128:
		return errors.New("cognito:username is not valid.")
	case hash != "" && !hashForm.MatchString(hash):
		return errors.New("password_hash is not valid.")
	}
	switch required := p.config.MfaConfiguration; {
	case mfa == "":
	case mfa != "true" && mfa != "false",
		mfa == "true" && required != "ON" && required != "OPTIONAL",
		mfa == "false" && required == "ON":
		return errors.New("cognito:mfa_enabled does not match the MFA setting of the user pool.")
	case mfa == "true" && attributeOf(attrs, "phone_number") == "":
		return errors.New("cognito:mfa_enabled needs a phone number.")
	}
	for _, a := range p.schema.attributes {
		if a.Required && a.Name != "sub" && attributeOf(attrs, a.Name) == "" {
			return fmt.Errorf("Attributes did not conform to the schema: %s: The attribute is required", a.Name) //nolint:staticcheck // AWS's wording
		}
	}
	for _, name := range p.config.AutoVerifiedAttributes {
		if attributeOf(attrs, verifiedOf(name)) == "true" {
			return nil
		}
	}
	return errors.New("The User Record does not set any of the auto verified attributes to true. (Example: email_verified to true).") //nolint:staticcheck // AWS's wording
}
