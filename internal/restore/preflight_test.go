package restore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/smithy-go"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/backup/backuptest"
	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
	"cognito-backup/internal/step/steptest"
)

// preflightWorld is everything that pre-flight looks at. Its Cognito has no
// call that writes.
type preflightWorld struct {
	in             string // more keys of the input
	source, target types.UserPoolType
	older          *types.UserPoolType // an older version of the source
	itself         bool                // the target is the source
	gone           bool                // the target does not exist
	denied         bool                // the target may not be described
	occupied       bool
	providers      []string // of the target
	values         map[string]string
	users          int64 // as the restore point counts them; there is one record
	memberships    int64
	suspect        bool
	none           bool // no restore point
	tps            int
	jobs           map[string]types.UserImportJobType // by pool
	pools          []string
	headerErr      error
	listErr        error
	providersErr   error
	jobsErr        map[string]error // by pool
	tool           PreflightAPI     // the import tool, if another than this world's
	now            func() time.Time
}

const (
	sourcePool = "us-east-1_Source"
	targetPool = "us-west-2_Target"
)

func preflight() *preflightWorld {
	text := func(name string) types.SchemaAttributeType {
		return types.SchemaAttributeType{Name: &name, AttributeDataType: types.AttributeDataTypeString, Mutable: aws.Bool(true),
			StringAttributeConstraints: &types.StringAttributeConstraintsType{MinLength: aws.String("0"), MaxLength: aws.String("2048")}}
	}
	like := func(id string) types.UserPoolType {
		return types.UserPoolType{
			Id: &id, AliasAttributes: []types.AliasAttributeType{types.AliasAttributeTypeEmail}, AutoVerifiedAttributes: []types.VerifiedAttributeType{types.VerifiedAttributeTypeEmail},
			AdminCreateUserConfig: &types.AdminCreateUserConfigType{AllowAdminCreateUserOnly: true}, MfaConfiguration: types.UserPoolMfaTypeOptional,
			SchemaAttributes: []types.SchemaAttributeType{text("sub"), text("email"), text("custom:plan")},
		}
	}
	return &preflightWorld{
		source: like(sourcePool), target: like(targetPool), values: map[string]string{"email": "a@example.org", "custom:plan": "gold plan"},
		users: 100, memberships: 150, tps: 10, pools: []string{targetPool, "us-west-2_Other", "us-west-2_Denied"}, jobs: map[string]types.UserImportJobType{},
	}
}

func (w *preflightWorld) DescribeUserPool(context.Context, *idp.DescribeUserPoolInput, ...func(*idp.Options)) (*idp.DescribeUserPoolOutput, error) {
	switch {
	case w.gone:
		return nil, &types.ResourceNotFoundException{}
	case w.denied:
		return nil, &smithy.GenericAPIError{Code: "AccessDeniedException"}
	}
	return &idp.DescribeUserPoolOutput{UserPool: &w.target}, nil
}

func (w *preflightWorld) ListUsers(_ context.Context, in *idp.ListUsersInput, _ ...func(*idp.Options)) (*idp.ListUsersOutput, error) {
	switch {
	case !w.occupied:
		return &idp.ListUsersOutput{}, nil
	case in.PaginationToken == nil: // an empty page is no empty pool
		return &idp.ListUsersOutput{PaginationToken: aws.String("more")}, nil
	}
	return &idp.ListUsersOutput{Users: []types.UserType{{Username: aws.String("someone")}}}, nil
}

func (w *preflightWorld) ListIdentityProviders(context.Context, *idp.ListIdentityProvidersInput, ...func(*idp.Options)) (*idp.ListIdentityProvidersOutput, error) {
	out := new(idp.ListIdentityProvidersOutput)
	for _, name := range w.providers {
		out.Providers = append(out.Providers, types.ProviderDescription{ProviderName: &name})
	}
	return out, w.providersErr
}

func (w *preflightWorld) ListUserImportJobs(_ context.Context, in *idp.ListUserImportJobsInput, _ ...func(*idp.Options)) (*idp.ListUserImportJobsOutput, error) {
	if strings.HasSuffix(*in.UserPoolId, "_Denied") {
		return nil, &smithy.GenericAPIError{Code: "AccessDeniedException"}
	}
	job, known := w.jobs[*in.UserPoolId]
	switch err := w.jobsErr[*in.UserPoolId]; {
	case err != nil:
		return nil, err
	case !known:
		return &idp.ListUserImportJobsOutput{}, nil
	case in.PaginationToken == nil: // old jobs first
		return &idp.ListUserImportJobsOutput{PaginationToken: aws.String("more"), UserImportJobs: []types.UserImportJobType{{Status: types.UserImportJobStatusTypeSucceeded}}}, nil
	}
	return &idp.ListUserImportJobsOutput{UserImportJobs: []types.UserImportJobType{job}}, nil
}

func (w *preflightWorld) ListUserPools(context.Context, *idp.ListUserPoolsInput, ...func(*idp.Options)) (*idp.ListUserPoolsOutput, error) {
	out := new(idp.ListUserPoolsOutput)
	for _, id := range w.pools {
		out.UserPools = append(out.UserPools, types.UserPoolDescriptionType{Id: &id})
	}
	return out, w.listErr
}

func (w *preflightWorld) GetCSVHeader(context.Context, *idp.GetCSVHeaderInput, ...func(*idp.Options)) (*idp.GetCSVHeaderOutput, error) {
	return &idp.GetCSVHeaderOutput{CSVHeader: []string{"email", "email_verified", "custom:plan", columnMFA, columnName}}, w.headerErr
}

// check runs one slice of pre-flight over the world.
func (w *preflightWorld) check(t *testing.T) (findings []string, plan *Plan, run step.Run) {
	t.Helper()
	runner, event := w.runner(t)
	run, err := runner.Handle(t.Context(), event)
	if refused := new(PreflightError); errors.As(err, &refused) {
		return refused.Findings, nil, run
	}
	if err != nil {
		t.Fatal(err)
	}
	return nil, planned(t, runner, event), run
}

// planned is the plan that pre-flight wrote, empty if none.
func planned(t *testing.T, runner *step.Runner, event step.Event) *Plan {
	t.Helper()
	r, plan := run{&step.Slice{Event: event, Objects: runner.Objects}}, new(Plan)
	if _, err := r.get(t.Context(), r.planKey(), plan); err != nil {
		t.Fatal(err)
	}
	return plan
}

// runner is pre-flight over the world with the event of its first slice.
func (w *preflightWorld) runner(t *testing.T) (*step.Runner, step.Event) {
	t.Helper()
	started := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	store := &backup.Store{Table: new(backuptest.Table)}
	from := sourcePool
	if w.itself {
		from = targetPool
	}
	point := &backup.RestorePoint{UserPoolID: from, StartedAt: started, EndedAt: started.Add(time.Minute), Suspect: w.suspect}
	point.Users, point.Memberships = w.users, w.memberships
	person, err := backup.NewRecord(backup.UserKey("a"), backup.User{Username: "a", Attributes: w.values})
	if err != nil {
		t.Fatal(err)
	}
	if w.older != nil {
		older, err := backup.NewRecord(backup.PoolKey(from), pool.Configuration{UserPool: *w.older})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Sync(t.Context(), step.FormatTime(started.Add(-time.Hour)), []backup.Record{older}); err != nil {
			t.Fatal(err)
		}
	}
	configuration, err := backup.NewRecord(backup.PoolKey(from), pool.Configuration{UserPool: w.source, IdentityProviders: []types.IdentityProviderType{{ProviderName: aws.String("Google")}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Sync(t.Context(), point.ID(), []backup.Record{person, configuration}); err != nil {
		t.Fatal(err)
	}
	if !w.none {
		if err := store.Commit(t.Context(), point); err != nil {
			t.Fatal(err)
		}
	}
	objects := &step.Objects{API: new(steptest.Bucket), Bucket: "bucket"}
	event := step.Event{Workflow: "ImportWorkflow", Step: "CheckNewUserPool", StartTime: started.Add(time.Hour),
		Execution: "arn:aws:states:us-west-2:123456789012:execution:CognitoBackup-ImportWorkflow:restore-1",
		Input:     []byte(fmt.Sprintf(`{"NewUserPoolId": %q%s}`, targetPool, w.in))}
	s := &CheckNewUserPool{API: w, Store: store, SourcePoolID: from, Region: "us-west-2", TPS: w.tps, SliceSeconds: 720, Now: time.Now}
	if w.tool != nil {
		s.API = w.tool
	}
	if w.now != nil {
		s.Now = w.now
	}
	return &step.Runner{Step: s, Objects: objects, Slice: time.Minute, Now: time.Now}, event
}

func (w *preflightWorld) attribute(name string, change func(*types.SchemaAttributeType)) {
	w.target.SchemaAttributes = slices.Clone(w.target.SchemaAttributes)
	for i := range w.target.SchemaAttributes {
		if *w.target.SchemaAttributes[i].Name == name {
			change(&w.target.SchemaAttributes[i])
		}
	}
}

func (w *preflightWorld) length(name, shortest, longest string) {
	w.attribute(name, func(a *types.SchemaAttributeType) {
		a.StringAttributeConstraints = &types.StringAttributeConstraintsType{MinLength: &shortest, MaxLength: &longest}
	})
}

// TestStoppers: each keeps the import from starting by its own sentence, which
// ends with what to do, and is the only one.
func TestStoppers(t *testing.T) {
	for want, change := range map[string]func(*preflightWorld){
		"user pool us-west-2_Target does not exist in us-west-2; check the id, or create the pool first":                                    func(w *preflightWorld) { w.gone = true },
		"this deployment may not restore into us-west-2_Target; add it to importUserPoolIds, or take that parameter away, and deploy again": func(w *preflightWorld) { w.denied = true },
		`user pool us-west-2_Target is not empty; name an empty pool, or start with "Mode": "MISSING_ONLY" to restore only what it lacks`:   func(w *preflightWorld) { w.occupied = true },
		"users of the source sign in by username, users of us-west-2_Target by email; this cannot be changed later, so create a pool with UsernameAttributes none": func(w *preflightWorld) {
			w.target.UsernameAttributes = []types.UsernameAttributeType{types.UsernameAttributeTypeEmail}
		},
		"the source takes email as sign-in aliases, us-west-2_Target takes none; this cannot be changed later, so create a pool with AliasAttributes email": func(w *preflightWorld) {
			w.target.AliasAttributes = nil
		},
		"usernames of the source are case-sensitive, those of us-west-2_Target case-insensitive; this cannot be changed later, so create a pool with CaseSensitive true": func(w *preflightWorld) {
			w.target.UsernameConfiguration = &types.UsernameConfigurationType{CaseSensitive: aws.Bool(false)}
		},
		"the attribute custom:plan, in use, differs: the target lacks it; create the pool with the source's schema, or add the attribute": func(w *preflightWorld) {
			w.target.SchemaAttributes = w.target.SchemaAttributes[:2]
		},
		"the attribute custom:plan, in use, differs: mutable true in the source, false in the target; create the pool with the source's schema, or add the attribute": func(w *preflightWorld) {
			w.attribute("custom:plan", func(a *types.SchemaAttributeType) { a.Mutable = nil })
		},
		"us-west-2_Target refuses values of the attribute custom:plan: a value is no number; create the pool with the source's schema": func(w *preflightWorld) {
			w.attribute("custom:plan", func(a *types.SchemaAttributeType) { a.AttributeDataType = types.AttributeDataTypeNumber })
		},
		"us-west-2_Target refuses values of the attribute custom:plan: a value is longer than its maximum length of 5; create the pool with the source's schema": func(w *preflightWorld) {
			w.length("custom:plan", "0", "5")
		},
		"SubAttribute custom:old is not an attribute of us-west-2_Target; add it to the pool (String, up to 36 characters or more), or leave SubAttribute out": func(w *preflightWorld) {
			w.in = `, "SubAttribute": "old"`
		},
		"SubAttribute custom:old of us-west-2_Target is a Number; name an attribute of type String": func(w *preflightWorld) {
			w.sub("0", "64", func(a *types.SchemaAttributeType) { a.AttributeDataType = types.AttributeDataTypeNumber })
		},
		"SubAttribute custom:old of us-west-2_Target does not take the 36 characters of a sub; name another attribute": func(w *preflightWorld) {
			w.sub("0", "35", func(*types.SchemaAttributeType) {})
		},
		`the table in this Region holds no restore point of us-east-1_Source; run the ExportWorkflow first, wait for replication, or start with "AllowIncomplete": true to restore what is readable`: func(w *preflightWorld) {
			w.none = true
		},
		`every restore point is suspect: many users had vanished before it; accept that with {"AcceptMassDeletion": true} as the ExportWorkflow's input if it was meant, and start again, or give exactly the time of one of them as RestorePoint; restore points ended at 2026-11-22T09:01:00.000Z (suspect)`: func(w *preflightWorld) {
			w.suspect = true
		},
		"no trustworthy restore point had ended by 2026-11-21T00:00:00.000Z; restore points ended at 2026-11-22T09:01:00.000Z; choose a later RestorePoint, or exactly the time of a suspect one": func(w *preflightWorld) {
			w.in = `, "RestorePoint": "2026-11-21T00:00:00Z"`
		},
		"Users names an object that the bucket bucket does not have; upload the list there first, or give the names themselves as a list": func(w *preflightWorld) {
			w.in = `, "Mode": "MISSING_ONLY", "Users": "lists/a"`
		},
		"restoring 100 users and 12000000 memberships at CognitoTPS 1 takes about 141 days 4 hours, longer than one execution can last; deploy with cognitoTps 6": func(w *preflightWorld) {
			w.memberships, w.tps = 12_000_000, 1
		},
		`restoring 100 users and 60000000 memberships at CognitoTPS 25 takes about 28 days 5 hours, longer than one execution can last; no cognitoTps within the quotas would do; restore in parts with "Mode": "MISSING_ONLY" and Users`: func(w *preflightWorld) {
			w.memberships, w.tps = 60_000_000, 25
		},
	} {
		t.Run(want[:min(len(want), 60)], func(t *testing.T) {
			w := preflight()
			change(w)
			findings, plan, _ := w.check(t)
			if len(findings) != 1 || findings[0] != want {
				t.Errorf("%q\nwant\n%q, plan %v", findings, want, plan)
			}
		})
	}
}

// sub gives the target the attribute that is to receive the old sub.
func (w *preflightWorld) sub(shortest, longest string, change func(*types.SchemaAttributeType)) {
	w.in = `, "SubAttribute": "custom:old"`
	w.target.SchemaAttributes = append(slices.Clone(w.target.SchemaAttributes), types.SchemaAttributeType{
		Name: aws.String("custom:old"), AttributeDataType: types.AttributeDataTypeString,
	})
	w.length("custom:old", shortest, longest)
	w.attribute("custom:old", change)
}

// TestAllFindingsAtOnce: one does not hide another.
func TestAllFindingsAtOnce(t *testing.T) {
	w := preflight()
	w.occupied, w.in = true, `, "SubAttribute": "old"`
	w.target.UsernameConfiguration = &types.UsernameConfigurationType{CaseSensitive: aws.Bool(false)}
	w.target.AliasAttributes = nil
	w.length("custom:plan", "0", "5")
	if findings, _, _ := w.check(t); len(findings) != 5 {
		t.Errorf("%q", findings)
	}
}

// TestPreflightWarnings: each says its sentence and lets the import go on.
func TestPreflightWarnings(t *testing.T) {
	const (
		billed    = "Cognito bills as active this month everybody who is created by API and everybody who is added to a group, at most 100 users; a dry run counts them."
		takes     = "Restoring 100 users and 150 memberships takes about 15 s at CognitoTPS 10."
		providers = "us-west-2_Target lacks the identity providers Google: their users cannot sign in, and links to them cannot be restored, until they exist."
	)
	always := []string{billed, takes, providers}
	for want, change := range map[string]func(*preflightWorld){
		"": func(*preflightWorld) {},
		"Anybody can sign up in us-west-2_Target: who takes a freed username before it is restored is reported as a conflict and given nothing. Closing sign-up now does not prove who signed up before.": func(w *preflightWorld) {
			w.target.AdminCreateUserConfig = nil
		},
		"us-west-2_Target has a PreSignUp trigger: it runs for every user created by API and may refuse some.": func(w *preflightWorld) {
			w.target.LambdaConfig = &types.LambdaConfigType{PreSignUp: aws.String("arn")}
		},
		"us-west-2_Target has a CustomMessage trigger: it may run for users created by API, though no message is sent.": func(w *preflightWorld) {
			w.target.LambdaConfig = &types.LambdaConfigType{CustomMessage: aws.String("arn")}
		},
		"us-west-2_Target requires MFA: authenticator apps cannot be restored, so users set theirs up again at their first sign-in.": func(w *preflightWorld) {
			w.target.MfaConfiguration = types.UserPoolMfaTypeOn
		},
		"us-west-2_Target verifies no attribute by itself, so that a CSV import is impossible: all users are created by API, and Cognito bills each of them as active this month.": func(w *preflightWorld) {
			w.target.AutoVerifiedAttributes = nil
		},
		"No CSV import is possible (read the CSV header of us-west-2_Target: api error AccessDeniedException: no): all users are created by API, and Cognito bills each of them as active this month.": func(w *preflightWorld) {
			w.headerErr = &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}
		},
		"us-west-2_Target takes email and phone_number as sign-in aliases, the source only email: users who share an address will be in conflict, and usernames that look like an address are refused.": func(w *preflightWorld) {
			w.target.AliasAttributes = append(slices.Clone(w.target.AliasAttributes), types.AliasAttributeTypePhoneNumber)
		},
		"us-west-2_Target has the attribute custom:plan otherwise than the source: length or range narrower in the target. All stored values fit.": func(w *preflightWorld) {
			w.length("custom:plan", "0", "9")
		},
		"us-west-2_Target has the attribute custom:plan otherwise than the source: the target lacks it. Nobody in the restore point uses it.": func(w *preflightWorld) {
			w.target.SchemaAttributes = w.target.SchemaAttributes[:2]
			w.values = map[string]string{"email": "a@example.org"}
		},
		"SubAttribute custom:old of us-west-2_Target cannot be changed once it is set. That proves identities to a later import, but Cognito links no federated identities to users who hold such an attribute: linked users come back without their links.": func(w *preflightWorld) {
			w.sub("0", "36", func(*types.SchemaAttributeType) {})
		},
		"SubAttribute custom:old of us-west-2_Target can be changed later, so that it proves nobody's identity to a later import.": func(w *preflightWorld) {
			w.sub("36", "36", func(a *types.SchemaAttributeType) { a.Mutable = aws.Bool(true) })
		},
		"An import job of somebody else is active in us-west-2_Other (import-7, 41 users imported so far), and an account has one at a time: ours starts when that has ended. Users who go by API are created meanwhile, and after 6 h 0 min all do.": func(w *preflightWorld) {
			w.jobs["us-west-2_Other"] = types.UserImportJobType{JobId: aws.String("import-7"), Status: types.UserImportJobStatusTypeInProgress, ImportedUsers: 41}
		},
	} {
		t.Run(want[:min(len(want), 60)], func(t *testing.T) {
			w := preflight()
			change(w)
			findings, plan, run := w.check(t)
			if findings != nil || run.WaitSeconds != 0 {
				t.Fatalf("%q, %+v", findings, run)
			}
			got := map[string]bool{}
			for _, warning := range slices.Concat(plan.Warnings, plan.Beforehand) {
				got[warning] = true
			}
			expected := map[string]bool{}
			for _, sentence := range append(slices.Clone(always), want) {
				expected[sentence] = sentence != ""
			}
			delete(expected, "")
			if plan.Header == nil { // everybody by API takes another time
				maps.DeleteFunc(got, func(s string, _ bool) bool { return strings.HasPrefix(s, "Restoring ") })
				delete(expected, takes)
			}
			if !maps.Equal(got, expected) {
				t.Errorf("have %q\nwant %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(expected)))
			}
		})
	}
	t.Run("pools that may not be listed", func(t *testing.T) {
		w := preflight()
		w.listErr = &smithy.GenericAPIError{Code: "AccessDeniedException"}
		if findings, plan, _ := w.check(t); findings != nil || plan.Header == nil {
			t.Errorf("%q", findings)
		}
	})
}

// TestWaitForAnotherJob: an import job of somebody else in the target is waited
// for, and the run's document says how far it has come.
func TestWaitForAnotherJob(t *testing.T) {
	w := preflight()
	w.jobs[targetPool] = types.UserImportJobType{JobId: aws.String("import-7"), Status: types.UserImportJobStatusTypeInProgress, ImportedUsers: 41}
	findings, plan, run := w.check(t)
	if findings != nil || plan.Header != nil || run.WaitSeconds == 0 || run.Cursor == "" || run.Counts[othersImported] != 41 {
		t.Errorf("%q, %+v, %+v", findings, plan, run)
	}
	w.occupied = true // a finding is told at once, not after the wait
	if findings, _, _ = w.check(t); len(findings) != 1 {
		t.Errorf("%q", findings)
	}
}

// TestAlwaysClosed: that sign-up is closed counts only in the pool of the backup,
// and only if it was closed by all that the backup knows.
func TestAlwaysClosed(t *testing.T) {
	open := preflight().source
	open.AdminCreateUserConfig = nil
	for name, test := range map[string]struct {
		change func(*preflightWorld)
		want   bool
	}{
		"closed":                        {func(w *preflightWorld) { w.itself = true }, true},
		"another pool":                  {func(*preflightWorld) {}, false},
		"open at the restore point":     {func(w *preflightWorld) { w.itself, w.source = true, open }, false},
		"open before the restore point": {func(w *preflightWorld) { w.itself, w.older = true, &open }, false},
		"closed before, in another version": {func(w *preflightWorld) {
			w.itself, w.older = true, &types.UserPoolType{AdminCreateUserConfig: w.source.AdminCreateUserConfig}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := preflight()
			test.change(w)
			findings, plan, _ := w.check(t)
			if findings != nil || plan.AlwaysClosed != test.want || plan.rules().AlwaysClosed != test.want {
				t.Errorf("%t, findings %q", plan != nil && plan.AlwaysClosed, findings)
			}
		})
	}
}

// TestSubAttributeWithSignUp: who signs up may set an attribute that nobody can
// change afterwards.
func TestSubAttributeWithSignUp(t *testing.T) {
	w := preflight()
	w.sub("0", "36", func(*types.SchemaAttributeType) {})
	w.target.AdminCreateUserConfig = nil
	findings, plan, _ := w.check(t)
	if findings != nil || !slices.ContainsFunc(plan.Warnings, func(s string) bool {
		return strings.Contains(s, "whoever signs up may set it, so that it proves nobody's identity")
	}) {
		t.Errorf("%q, %+v", findings, plan)
	}
}

// TestLackingAttributeWithoutRestorePoint: what is readable is looked through too.
func TestLackingAttributeWithoutRestorePoint(t *testing.T) {
	w := preflight()
	w.none, w.in = true, `, "AllowIncomplete": true`
	w.target.SchemaAttributes = w.target.SchemaAttributes[:2]
	if findings, _, _ := w.check(t); len(findings) != 1 || !strings.HasPrefix(findings[0], "the attribute custom:plan, in use, differs: the target lacks it") {
		t.Errorf("%q", findings)
	}
}
