package restore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

// PreflightAPI is what pre-flight needs of Cognito. It only reads.
type PreflightAPI interface {
	DescribeUserPool(context.Context, *idp.DescribeUserPoolInput, ...func(*idp.Options)) (*idp.DescribeUserPoolOutput, error)
	ListUsers(context.Context, *idp.ListUsersInput, ...func(*idp.Options)) (*idp.ListUsersOutput, error)
	ListIdentityProviders(context.Context, *idp.ListIdentityProvidersInput, ...func(*idp.Options)) (*idp.ListIdentityProvidersOutput, error)
	ListUserImportJobs(context.Context, *idp.ListUserImportJobsInput, ...func(*idp.Options)) (*idp.ListUserImportJobsOutput, error)
	ListUserPools(context.Context, *idp.ListUserPoolsInput, ...func(*idp.Options)) (*idp.ListUserPoolsOutput, error)
	GetCSVHeader(context.Context, *idp.GetCSVHeaderInput, ...func(*idp.Options)) (*idp.GetCSVHeaderOutput, error)
}

// CheckNewUserPool is the step that looks at everything an import needs before
// anything is written. It reports all findings at once.
type CheckNewUserPool struct {
	API          PreflightAPI
	Store        *backup.Store
	SourcePoolID string
	Region       string
	TPS          int
	SliceSeconds int
	Now          func() time.Time
}

// PreflightError lists everything that keeps an import from starting.
type PreflightError struct{ Findings []string }

func (e *PreflightError) Error() string {
	return "the import was not started and nothing was written:\n- " + strings.Join(e.Findings, "\n- ")
}

// checkCursor is kept while pre-flight waits for somebody else's import job or
// for the import tool, or looks for attributes in use.
type checkCursor struct {
	Waits     int
	WaitedFor string   // the import job of somebody else
	Progress  progress // of that job
	Outage    outage   // of the import tool
	Usage     *usage
}

// Run checks and writes the plan.
func (s *CheckNewUserPool) Run(ctx context.Context, slice *step.Slice) (step.Run, error) {
	r := run{slice}
	in, problems := ParseInput(slice.Input, s.Region, r.Objects.Bucket)
	if problems != nil {
		return step.Run{}, &PreflightError{Findings: problems}
	}
	var cursor checkCursor
	if _, err := r.LoadCursor(ctx, &cursor); err != nil {
		return step.Run{}, err
	}
	c := &checker{CheckNewUserPool: s, run: r, cursor: &cursor, plan: Plan{Input: *in, Started: slice.StartTime, Key: make([]byte, 32)}}
	if _, err := rand.Read(c.plan.Key); err != nil {
		return step.Run{}, fmt.Errorf("make a key: %w", err)
	}
	done, err := c.check(ctx)
	if err != nil {
		return step.Run{}, err
	}
	if !done {
		return r.SaveCursor(ctx, cursor)
	}
	if c.findings != nil {
		return step.Run{}, &PreflightError{Findings: c.findings}
	}
	if c.failing {
		return c.waitForTool(ctx)
	}
	if c.busy != nil {
		return c.wait(ctx)
	}
	for _, warning := range slices.Concat(c.plan.Warnings, c.plan.Beforehand) {
		slog.WarnContext(ctx, "pre-flight", "warning", warning)
	}
	next := r.Next()
	delete(next.Counts, othersImported)
	return next, r.put(ctx, r.planKey(), c.plan)
}

// checker gathers findings; warnings go into the plan.
type checker struct {
	*CheckNewUserPool
	run
	plan     Plan
	cursor   *checkCursor
	findings []string
	busy     *types.UserImportJobType // somebody else's, in the target
	failing  bool                     // the import tool, and perhaps not for long
	// unlisted is why the identity providers of the target are not known.
	unlisted error
}

// wait lets somebody else's import job into the target end first. How far it
// has come is in the log and in the run's document.
func (c *checker) wait(ctx context.Context) (step.Run, error) {
	c.cursor.Waits++
	c.cursor.WaitedFor = aws.ToString(c.busy.JobId)
	next, err := c.SaveCursor(ctx, c.cursor)
	next.WaitSeconds = min(5<<min(c.cursor.Waits, 6), 300)
	next.Counts[othersImported] = c.busy.ImportedUsers
	slog.InfoContext(ctx, "an import job of somebody else is active in the target: waiting", "job", c.cursor.WaitedFor,
		"status", string(c.busy.Status), "imported", c.busy.ImportedUsers, "skipped", c.busy.SkippedUsers, "failed", c.busy.FailedUsers, "seconds", next.WaitSeconds)
	return next, err
}

// waitForTool lets an outage of the import tool pass.
func (c *checker) waitForTool(ctx context.Context) (step.Run, error) {
	wait := c.cursor.Outage.wait()
	next, err := c.SaveCursor(ctx, c.cursor)
	next.WaitSeconds = int(wait.Seconds())
	return next, err
}

// othersImported is the count of users whom the job waited for has imported.
const othersImported = "ImportedByAnotherJob"

func (c *checker) stop(format string, args ...any) {
	c.findings = append(c.findings, fmt.Sprintf(format, args...))
}

func (c *checker) warn(format string, args ...any) {
	c.plan.Warnings = append(c.plan.Warnings, fmt.Sprintf(format, args...))
}

// beforehand warns of something that matters only before the import.
func (c *checker) beforehand(format string, args ...any) {
	c.plan.Beforehand = append(c.plan.Beforehand, fmt.Sprintf(format, args...))
}

// check looks at everything, even after a finding, as far as that makes sense.
// It reports false when it needs another slice.
func (c *checker) check(ctx context.Context) (bool, error) {
	if err := c.restorePoints(ctx); err != nil {
		return false, err
	}
	known, err := c.source(ctx)
	if err != nil {
		return false, err
	}
	there, err := c.target(ctx)
	if err != nil || !there {
		return true, err
	}
	if err := c.users(ctx); err != nil {
		return false, err
	}
	if err := c.empty(ctx); err != nil {
		return false, err
	}
	if known {
		c.signIn()
		if done, err := c.schema(ctx); err != nil || !done {
			return false, err
		}
	}
	c.providers()
	c.subAttribute()
	c.warnings()
	if err := c.csv(ctx); err != nil {
		return false, err
	}
	if !c.failing { // not yet known how many go by API
		c.duration()
	}
	return true, c.unfinished(ctx)
}

// restorePoints chooses which restore points to try, newest first.
func (c *checker) restorePoints(ctx context.Context) error {
	points, err := c.Store.RestorePoints(ctx, c.SourcePoolID)
	if err != nil {
		return err
	}
	c.plan.Known = points
	suspect := 0
	for _, p := range points {
		if t := c.plan.Input.RestorePoint; t != nil && p.EndedAt.After(*t) {
			continue
		}
		if !p.Trustworthy() && !named(&p, c.plan.Input.RestorePoint) {
			if len(c.plan.Points) == 0 {
				suspect++
			}
			continue
		}
		c.plan.Points = append(c.plan.Points, p)
	}
	if suspect > 0 && len(c.plan.Points) > 0 {
		c.plan.Skipped = fmt.Sprintf("%s newer: many users had vanished, and nobody has accepted that.", plural(suspect, "suspect restore point is", "suspect restore points are"))
		c.warn("%s To restore from one of them all the same, name the end of its listing as RestorePoint; %s.", c.plan.Skipped, listPoints(points))
	}
	if len(c.plan.Points) > 0 {
		return nil
	}
	switch t := c.plan.Input.RestorePoint; {
	case len(points) == 0 && c.plan.Input.AllowIncomplete:
		c.warn("The table in this Region holds no restore point; what is readable is restored as it stands.")
	case len(points) == 0:
		c.stop(`the table in this Region holds no restore point of %s; run the ExportWorkflow first, wait for replication, or start with "AllowIncomplete": true to restore what is readable`, c.SourcePoolID)
	case t != nil:
		c.stop("no trustworthy restore point had ended by %s; %s; choose a later RestorePoint, or exactly the time of a suspect one", step.FormatTime(*t), listPoints(points))
	default:
		c.stop(`every restore point is suspect: many users had vanished before it; accept that with {"AcceptMassDeletion": true} as the ExportWorkflow's input if it was meant, and start again, or give exactly the time of one of them as RestorePoint; %s`, listPoints(points))
	}
	return nil
}

// named says that the person asked for just this restore point, by the end of
// its listing as messages and reports print it. Then it is taken even if it is
// suspect.
func named(p *backup.RestorePoint, t *time.Time) bool {
	return t != nil && step.FormatTime(*t) == step.FormatTime(p.EndedAt)
}

// listPoints names the newest restore points.
func listPoints(points []backup.RestorePoint) string {
	var names []string
	for _, p := range points[:min(len(points), 5)] {
		name := step.FormatTime(p.EndedAt)
		if p.Suspect {
			name += " (suspect)"
		}
		names = append(names, name)
	}
	return "restore points ended at " + strings.Join(names, ", ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// source reads the pool's configuration as it was backed up.
func (c *checker) source(ctx context.Context) (bool, error) {
	items, err := c.Store.Table.Query(ctx, backup.PoolKey(c.SourcePoolID).ID, "")
	if err != nil {
		return false, fmt.Errorf("read the configuration of %s: %w", c.SourcePoolID, err)
	}
	if len(items) == 0 {
		c.warn("The configuration of %s is not in the backup, so that it could not be compared with the target's.", c.SourcePoolID)
		return false, nil
	}
	item := items[0]
	if len(c.plan.Points) > 0 {
		if then, ok := backup.AsOf(items, c.plan.Points[0].ID()); ok {
			item = then
		}
	}
	c.plan.AlwaysClosed = c.SourcePoolID == c.plan.Input.NewUserPoolID
	for i := range items {
		var version pool.Configuration
		if err := items[i].Decode(&version); err != nil {
			return false, err
		}
		if SettingsOf(&version.UserPool).SelfSignUp {
			c.plan.AlwaysClosed = false
		}
	}
	var configuration pool.Configuration
	if err := item.Decode(&configuration); err != nil {
		return false, err
	}
	c.plan.Source = SettingsOf(&configuration.UserPool)
	for _, p := range configuration.IdentityProviders {
		c.plan.Source.Providers = append(c.plan.Source.Providers, aws.ToString(p.ProviderName))
	}
	return true, nil
}

// target describes the pool to restore into.
func (c *checker) target(ctx context.Context) (bool, error) {
	id := c.plan.Input.NewUserPoolID
	out, err := c.API.DescribeUserPool(ctx, &idp.DescribeUserPoolInput{UserPoolId: &id})
	if missing := new(types.ResourceNotFoundException); errors.As(err, &missing) {
		c.stop("user pool %s does not exist in %s; check the id, or create the pool first", id, c.Region)
		return false, nil
	}
	if isCode(err, "AccessDeniedException") {
		c.stop("this deployment may not restore into %s; add it to importUserPoolIds, or take that parameter away, and deploy again", id)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("describe user pool %s: %w", id, err)
	}
	if out.UserPool == nil {
		return false, fmt.Errorf("describe user pool %s: the answer has no pool", id)
	}
	c.plan.Target = SettingsOf(out.UserPool)
	in := &idp.ListIdentityProvidersInput{UserPoolId: &id, MaxResults: aws.Int32(pool.PageSize)}
	for {
		page, err := c.API.ListIdentityProviders(ctx, in, fewAttempts)
		if err != nil {
			if err = fmt.Errorf("list identity providers of %s: %w", id, err); ownEnd(err) {
				return false, err
			}
			c.unlisted, c.plan.Target.ProvidersUnknown = err, true // they decide about no more than a warning
			return true, nil
		}
		for _, p := range page.Providers {
			c.plan.Target.Providers = append(c.plan.Target.Providers, aws.ToString(p.ProviderName))
		}
		if in.NextToken = page.NextToken; aws.ToString(in.NextToken) == "" {
			return true, nil
		}
	}
}

// users copies the list of users out of its object, so that it cannot change
// while the import runs.
func (c *checker) users(ctx context.Context) error {
	key := c.plan.Input.UsersObject
	if key == "" {
		return nil
	}
	b, err := c.Objects.GetBytes(ctx, key)
	if errors.Is(err, step.ErrNoObject) || isCode(err, "AccessDenied") {
		// The key may be a username that was meant to be in a list.
		c.stop("Users names an object that the bucket %s does not have; upload the list there first, or give the names themselves as a list", c.Objects.Bucket)
		return nil
	}
	if err != nil {
		return err
	}
	names, err := parseUserList(b)
	if err != nil {
		c.stop("the object that Users names %v; give a JSON list of subs or usernames, or one per line", err)
		return nil
	}
	return c.put(ctx, c.usersKey(), names)
}

// empty refuses a pool with users in EMPTY_POOL mode. Empty pages with a token
// are followed: there may be users behind them.
func (c *checker) empty(ctx context.Context) error {
	if c.plan.Input.Mode != EmptyPool {
		return nil
	}
	found := false
	chain := pool.Chain{}
	err := chain.Follow(ctx, func() bool { return found }, func(ctx context.Context, token *string) (*string, error) {
		users, next, err := pool.UsersPage(ctx, c.API, c.plan.Target.ID, "", token)
		found = len(users) > 0
		return next, err
	})
	if found {
		c.stop(`user pool %s is not empty; name an empty pool, or start with "Mode": "MISSING_ONLY" to restore only what it lacks`, c.plan.Target.ID)
	}
	return err
}

// signIn compares by what people sign in.
func (c *checker) signIn() {
	source, target := &c.plan.Source, &c.plan.Target
	if source.generatedUsernames() != target.generatedUsernames() || !subset(source.UsernameAttributes, target.UsernameAttributes) {
		c.stop("users of the source sign in by %s, users of %s by %s; this cannot be changed later, so create a pool with UsernameAttributes %s",
			signsInBy(source), target.ID, signsInBy(target), list(source.UsernameAttributes))
	}
	if !subset(source.AliasAttributes, target.AliasAttributes) {
		c.stop("the source takes %s as sign-in aliases, %s takes %s; this cannot be changed later, so create a pool with AliasAttributes %s",
			list(source.AliasAttributes), target.ID, list(target.AliasAttributes), list(source.AliasAttributes))
	} else if len(target.AliasAttributes) > len(source.AliasAttributes) {
		c.warn("%s takes %s as sign-in aliases, the source only %s: users who share an address will be in conflict, and usernames that look like an address are refused.",
			target.ID, list(target.AliasAttributes), list(source.AliasAttributes))
	}
	if source.CaseSensitive != target.CaseSensitive {
		c.stop("usernames of the source are case-%s, those of %s case-%s; this cannot be changed later, so create a pool with CaseSensitive %t",
			sensitivity(source), target.ID, sensitivity(target), source.CaseSensitive)
	}
}

func signsInBy(s *Settings) string {
	if !s.generatedUsernames() {
		return "username"
	}
	return list(s.UsernameAttributes)
}

func sensitivity(s *Settings) string {
	if s.CaseSensitive {
		return "sensitive"
	}
	return "insensitive"
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " and ")
}

func subset(small, large []string) bool {
	return !slices.ContainsFunc(small, func(name string) bool { return !slices.Contains(large, name) })
}

// providers warns of identity providers that the target lacks.
func (c *checker) providers() {
	if c.unlisted != nil {
		c.warn("Whether %s has the identity providers of the source could not be checked (%v): users of one that it lacks cannot sign in, and links to it cannot be restored, until it exists.",
			c.plan.Target.ID, c.unlisted)
		return
	}
	var missing []string
	for _, name := range c.plan.Source.Providers {
		if !slices.Contains(c.plan.Target.Providers, name) {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		c.warn("%s lacks the identity providers %s: their users cannot sign in, and links to them cannot be restored, until they exist.",
			c.plan.Target.ID, strings.Join(missing, ", "))
	}
}

// subAttribute checks the attribute that receives the old sub.
func (c *checker) subAttribute() {
	name := c.plan.Input.SubAttribute
	if name == "" {
		return
	}
	if _, both := c.plan.Source.Schema[name]; both {
		c.warn("SubAttribute %s is an attribute of the source, too: its values there are replaced by the old subs.", name)
	}
	a, there := c.plan.Target.Schema[name]
	switch {
	case !there:
		c.stop("SubAttribute %s is not an attribute of %s; add it to the pool (String, up to 36 characters or more), or leave SubAttribute out", name, c.plan.Target.ID)
	case a.Type != "String":
		c.stop("SubAttribute %s of %s is a %s; name an attribute of type String", name, c.plan.Target.ID, a.Type)
	case a.MaxLength != nil && *a.MaxLength < 36 || a.MinLength != nil && *a.MinLength > 36:
		c.stop("SubAttribute %s of %s does not take the 36 characters of a sub; name another attribute", name, c.plan.Target.ID)
	case !a.Mutable && c.plan.Target.SelfSignUp:
		c.warn("SubAttribute %s of %s cannot be changed once it is set, but whoever signs up may set it, so that it proves nobody's identity to a later import. Nor does Cognito link federated identities to users who hold such an attribute: linked users come back without their links.", name, c.plan.Target.ID)
	case !a.Mutable:
		c.warn("SubAttribute %s of %s cannot be changed once it is set. That proves identities to a later import, but Cognito links no federated identities to users who hold such an attribute: linked users come back without their links.", name, c.plan.Target.ID)
	default:
		c.warn("SubAttribute %s of %s can be changed later, so that it proves nobody's identity to a later import.", name, c.plan.Target.ID)
	}
}

func (c *checker) warnings() {
	t := &c.plan.Target
	if t.SelfSignUp {
		c.beforehand("Anybody can sign up in %s: who takes a freed username before it is restored is reported as a conflict and given nothing. Closing sign-up now does not prove who signed up before.", t.ID)
	}
	if slices.Contains(t.Triggers, "PreSignUp") {
		c.warn("%s has a PreSignUp trigger: it runs for every user created by API and may refuse some.", t.ID)
	}
	if slices.Contains(t.Triggers, "CustomMessage") {
		c.warn("%s has a CustomMessage trigger: it may run for users created by API, though no message is sent.", t.ID)
	}
	if t.MFA == string(types.UserPoolMfaTypeOn) {
		c.warn("%s requires MFA: authenticator apps cannot be restored, so users set theirs up again at their first sign-in.", t.ID)
	}
}

// csv finds out whether CSV imports are possible and whether a job is active.
func (c *checker) csv(ctx context.Context) error {
	id := c.plan.Target.ID
	if len(c.plan.Target.AutoVerified) == 0 {
		c.warn("%s verifies no attribute by itself, so that a CSV import is impossible: all users are created by API, and Cognito bills each of them as active this month.", id)
		return nil
	}
	out, err := c.API.GetCSVHeader(ctx, &idp.GetCSVHeaderInput{UserPoolId: &id}, fewAttempts)
	if err != nil {
		return c.withoutCSV(ctx, fmt.Errorf("read the CSV header of %s: %w", id, err))
	}
	c.busy, err = c.activeJob(ctx, id)
	if err != nil {
		return c.withoutCSV(ctx, err)
	}
	c.cursor.Outage = 0
	c.plan.Header = out.CSVHeader
	switch {
	case c.busy != nil:
		c.hangs()
		return nil
	case c.cursor.Waits > 0:
		c.warn("An import job of somebody else, %s, was active in %s; the import began when it had ended.", c.cursor.WaitedFor, id)
	}
	return c.elsewhere(ctx)
}

// hangs refuses to wait any longer for somebody else's job that does not move.
// It is not ours to stop.
func (c *checker) hangs() {
	c.cursor.Progress.see(c.busy, c.Now())
	still := c.Now().Sub(c.cursor.Progress.Since)
	if still < longestStandstill {
		return
	}
	c.stop("import job %s of somebody else in %s has not moved for %s (%s, %s imported); stop it with aws cognito-idp stop-user-import-job --region %s --user-pool-id %s --job-id %s and start again, or wait until it has ended",
		aws.ToString(c.busy.JobId), c.plan.Target.ID, roughly(still), c.busy.Status, plural(int(c.busy.ImportedUsers), "user", "users"), c.Region, c.plan.Target.ID, aws.ToString(c.busy.JobId))
}

// activeJob finds the import job that runs in a pool, if one does.
func (c *checker) activeJob(ctx context.Context, poolID string) (*types.UserImportJobType, error) {
	in := &idp.ListUserImportJobsInput{UserPoolId: &poolID, MaxResults: aws.Int32(pool.PageSize)}
	for {
		jobs, err := c.API.ListUserImportJobs(ctx, in, fewAttempts)
		if err != nil {
			return nil, fmt.Errorf("list the import jobs of %s: %w", poolID, err)
		}
		for i := range jobs.UserImportJobs {
			switch j := &jobs.UserImportJobs[i]; j.Status {
			case types.UserImportJobStatusTypePending, types.UserImportJobStatusTypeInProgress, types.UserImportJobStatusTypeStopping:
				return j, nil
			}
		}
		if in.PaginationToken = jobs.PaginationToken; aws.ToString(in.PaginationToken) == "" {
			return nil, nil
		}
	}
}

// otherPools is in how many pools pre-flight looks for import jobs: five a
// second are allowed.
const otherPools = 100

// elsewhere warns of import jobs in other pools, as far as this function may
// see them: an account has one active job at a time. Ours waits for it, and
// meanwhile users are created by API. Nothing depends on it, so that a failure
// is a warning, too.
func (c *checker) elsewhere(ctx context.Context) error {
	in := &idp.ListUserPoolsInput{MaxResults: aws.Int32(pool.PageSize)}
	for looked := 0; looked < otherPools; {
		page, err := c.API.ListUserPools(ctx, in, fewAttempts)
		if err != nil {
			return c.unseen(fmt.Errorf("list user pools: %w", err))
		}
		found := make([]*types.UserImportJobType, len(page.UserPools))
		g, gctx := limited(ctx, 8)
		for i := range page.UserPools {
			id := aws.ToString(page.UserPools[i].Id)
			if looked++; id == c.plan.Target.ID || looked > otherPools {
				continue
			}
			g.Go(func() (err error) {
				found[i], err = c.activeJob(gctx, id)
				if err != nil && permanent(err) {
					return nil
				}
				return err
			})
		}
		err = g.Wait()
		for i, j := range found {
			if j != nil {
				c.warn("An import job of somebody else is active in %s (%s, %s imported so far), and an account has one at a time: ours starts when that has ended. Users who go by API are created meanwhile, and after %s all do.",
					aws.ToString(page.UserPools[i].Id), aws.ToString(j.JobId), plural(int(j.ImportedUsers), "user", "users"), roughly(longestQueue))
			}
		}
		if err != nil {
			return c.unseen(err)
		}
		if in.NextToken = page.NextToken; aws.ToString(in.NextToken) == "" {
			return nil
		}
	}
	return nil
}

// unseen warns that it is not known whether other pools have import jobs. That
// this function may not see them is no reason to: it is met when our job is to start.
func (c *checker) unseen(err error) error {
	switch {
	case ownEnd(err):
		return err
	case !permanent(err):
		c.warn("Whether an import job of somebody else is active in another pool could not be checked (%v). An account has one at a time: if there is one, ours starts when that has ended.", err)
	}
	return nil
}

// withoutCSV goes on without CSV imports when the tool refuses for good, or has
// failed for too long.
func (c *checker) withoutCSV(ctx context.Context, err error) error {
	switch {
	case ownEnd(err):
		return err
	case noImportTool(err):
		c.warn("No CSV import is possible (%v): all users are created by API, and Cognito bills each of them as active this month.", err)
	case c.cursor.Outage.over():
		c.warn("The CSV import tool failed for more than five minutes (%v): all users are created by API, and Cognito bills each of them as active this month.", err)
	default:
		slog.WarnContext(ctx, "the CSV import tool fails: waiting", step.LogError, err.Error())
		c.failing = true
	}
	return nil
}

// unfinished finds imports into the same pool that did not come to their end,
// and registers this one unless it writes nothing. Whom they created was never
// given what is theirs, so that a MISSING_ONLY import goes on with them.
func (c *checker) unfinished(ctx context.Context) error {
	if c.findings != nil || c.failing || c.busy != nil {
		return nil
	}
	into := importsInto(c.plan.Target.ID)
	keys, err := c.Objects.List(ctx, into)
	if err != nil {
		return err
	}
	for _, key := range keys {
		var e EarlierImport
		if err := c.Objects.Get(ctx, key, &e); err != nil {
			return err
		}
		if e.Execution != c.Execution {
			c.plan.Earlier = append(c.plan.Earlier, e)
		}
	}
	if n := len(c.plan.Earlier); n > 0 && c.plan.Input.Mode == MissingOnly {
		c.warn("%s into this pool did not come to its end; this one goes on from there.", plural(n, "import", "imports"))
	}
	if c.plan.Input.DryRun {
		return nil
	}
	return c.put(ctx, c.registrationKey(c.plan.Target.ID), EarlierImport{Execution: c.Execution, Started: c.plan.Started})
}

func isCode(err error, code string) bool {
	var api interface{ ErrorCode() string }
	return errors.As(err, &api) && api.ErrorCode() == code
}
