package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/internal/restore"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// slow makes an import long enough to be stopped in the middle.
var slow = []edit{environment("COGNITO_TPS", "25"), environment("SLICE_SECONDS", "2")}

// stopAfter starts an import and stops it once it has made some calls.
func (b *importBed) stopAfter(pool, operation string, calls int) execution {
	b.t.Helper()
	before := b.calls(operation)
	arn := b.begin(b.there, "ImportWorkflow", input(pool, nil))
	b.until(fmt.Sprintf("the import makes %d calls of %s", calls, operation), func() bool { return b.calls(operation) >= before+calls })
	if _, err := b.states(b.there).StopExecution(b.t.Context(), &sfn.StopExecutionInput{ExecutionArn: &arn}); err != nil {
		b.t.Fatal(err)
	}
	e := b.await(b.there, arn)
	if e.Status != sfntypes.ExecutionStatusAborted {
		b.t.Fatalf("the import ended as %s", e.Status)
	}
	return e
}

// TestStoppedImport is gone on with in MISSING_ONLY mode, and is of no concern
// to an import into another pool.
func TestStoppedImport(t *testing.T) {
	for name, test := range map[string]struct {
		operation string
		calls     int
		primary   bool // the import runs in the primary Region
	}{
		"while users are created":     {"AdminCreateUser", 10, false},
		"while memberships are added": {"AdminAddUserToGroup", 40, true},
		"while the import job runs":   {"StartUserImportJob", 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := exported(t, seed.Pool(seed.Options{Users: 150, Groups: 12, Seed: 31}), slow...)
			if test.primary {
				b.there = b.primary
			}
			first := b.target()
			stopped := b.stopAfter(first, test.operation, test.calls)
			b.accounted(stopped)

			b.Cognito(b.there).Settings().NoQuotas()
			second := b.target()
			r := b.restore(second, nil)
			b.proved(r)

			// One user first: the others must not be forgotten over that.
			b.restore(first, map[string]any{"Mode": "MISSING_ONLY", "Users": []string{b.source.Users[0].Username}})

			before := b.snapshot(first)
			dry := b.restore(first, map[string]any{"Mode": "MISSING_ONLY", "DryRun": true})
			unchanged(t, before, b.snapshot(first))
			resumed := b.restore(first, map[string]any{"Mode": "MISSING_ONLY"})
			b.proved(resumed)
			for kind, pair := range map[string][2]restore.Counts{
				"users": {dry.report.Users, resumed.report.Users}, "groups": {dry.report.Groups, resumed.report.Groups}, "memberships": {dry.report.Memberships, resumed.report.Memberships},
			} {
				if pair[0] != pair[1] {
					t.Errorf("%s: the dry run promised %+v, the resumed import did %+v", kind, pair[0], pair[1])
				}
			}
			if len(resumed.after.Users) != len(r.after.Users) {
				t.Errorf("%d users after the resumed import, %d after the other", len(resumed.after.Users), len(r.after.Users))
			}
			unchanged(t, r.after, b.snapshot(second))
		})
	}
}

// accounted checks the report on an import that was stopped: it says what had
// been done by then, of every record, and proves nothing.
func (b *importBed) accounted(stopped execution) {
	b.t.Helper()
	name := stopped.arn[strings.LastIndexByte(stopped.arn, ':')+1:]
	message := b.awaitMail(b.there, func(message string) bool {
		return strings.Contains(message, "was aborted") && strings.Contains(message, name)
	})
	if !strings.Contains(message, "reports/"+name+"/") {
		b.t.Errorf("the mail does not say where the report is:\n%s", message)
	}
	var report restore.Report
	api, bucket := b.s3()
	key := "reports/" + name + "/report.json"
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := api.HeadObject(b.t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: &key}); err == nil {
			break
		} else if time.Now().After(deadline) {
			b.t.Fatalf("no report on the stopped import: %v\n%s", err, strings.Join(b.FunctionLogs("send-message"), "\n"))
		}
	}
	if err := json.Unmarshal(b.object(key), &report); err != nil {
		b.t.Fatal(err)
	}
	u := report.Users
	if report.State != "ABORTED" || report.Verified || u.Total != int64(len(b.source.Users)) || u.Restored+u.Failed+u.Deferred != u.Total || u.Failed == 0 && report.Memberships.Failed == 0 {
		b.t.Errorf("state %s, verified %t, users %+v, memberships %+v", report.State, report.Verified, u, report.Memberships)
	}
	for _, p := range report.Problems {
		if p.Reason != restore.ReasonNotReached {
			b.t.Errorf("a record failed for the reason %s", p.Reason)
		}
	}
}

// TestRaceForAName: somebody signs up with a freed username or address after
// pre-flight found the pool empty. Who lost a name is reported with who has it,
// and whoever has it is given nothing.
func TestRaceForAName(t *testing.T) {
	const mallory = "mallory@example.org"
	for name, test := range map[string]struct {
		kind     seed.Kind
		take     func(victim *cognito.User, n int) (username, email string)
		confirm  bool // the squatter proves an address of their own
		conflict bool
	}{
		"a freed username":                           {seed.Plain, func(v *cognito.User, _ int) (string, string) { return v.Username, mallory }, false, true},
		"a freed username, with a verified address":  {seed.EmailAlias, func(v *cognito.User, n int) (string, string) { return v.Username, fmt.Sprint(n, mallory) }, true, true},
		"an address that is the username":            {seed.EmailUsername, func(v *cognito.User, _ int) (string, string) { return v.Attribute("email"), v.Attribute("email") }, false, true},
		"an address, unverified, under another name": {seed.EmailAlias, func(v *cognito.User, n int) (string, string) { return fmt.Sprint("mallory", n), v.Attribute("email") }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := exported(t, seed.Pool(seed.Options{Kind: test.kind, Users: 100, Groups: 6, Seed: 12}), slow...)
			if test.kind == seed.Plain { // both Regions' functions ask for names
				b.there = b.primary
			}
			pool := b.target()
			api := b.cognito(b.there)
			client, err := api.CreateUserPoolClient(t.Context(), &idp.CreateUserPoolClientInput{UserPoolId: &pool, ClientName: aws.String("app")})
			if err != nil {
				t.Fatal(err)
			}
			// One who would come by CSV and, if there is one, one who would come by
			// API, with groups and an address.
			var victims []*cognito.User
			taken := map[bool]bool{}
			for i := range b.source.Users {
				u := &b.source.Users[i]
				state, _ := promised(&b.source.Pool, u)
				if csv := state == "RESET_REQUIRED"; state != "" && !taken[csv] && len(memberOf(b.source, u.Username)) > 0 && u.UserStatus == "CONFIRMED" &&
					(test.kind == seed.Plain || u.Attribute("email_verified") == "true") {
					taken[csv] = true
					victims = append(victims, u)
				}
			}
			if !taken[true] || test.kind == seed.Plain && !taken[false] {
				t.Fatalf("the seed has nobody to be robbed: %v", taken)
			}
			arn := b.begin(b.there, "ImportWorkflow", input(pool, nil))
			b.until("the pool is found empty", func() bool { return b.calls("GetCSVHeader") > 0 })
			var squatters, records []string
			for n, victim := range victims {
				username, email := test.take(victim, n)
				signedUp, err := api.SignUp(t.Context(), &idp.SignUpInput{
					ClientId: client.UserPoolClient.ClientId, Username: &username, Password: aws.String("Squatter-1-Squatter"),
					UserAttributes: []types.AttributeType{{Name: aws.String("email"), Value: &email}},
				})
				if err != nil {
					t.Fatal(err)
				}
				if test.confirm {
					b.confirm(pool, username)
				}
				squatters = append(squatters, *signedUp.UserSub)
				if test.conflict {
					records = append(records, "USER-"+victim.Attribute("sub")+": "+*signedUp.UserSub)
				}
			}
			b.mails.forget() // confirmation codes
			e := b.await(b.there, arn)
			if e.Status != sfntypes.ExecutionStatusSucceeded {
				b.fail(e)
			}
			r := b.results(pool, e)
			if u := r.report.Users; u.Conflict != int64(len(records)) || u.Failed != 0 || r.report.Verified == test.conflict {
				t.Errorf("users %+v, verified %t, problems %+v", u, r.report.Verified, r.report.Problems)
			}
			slices.Sort(records)
			if p, ok := r.problem(restore.ReasonNameTaken); ok != test.conflict || ok && (p.Outcome != restore.Conflict || !slices.Equal(p.Records, records)) {
				t.Errorf("problems %+v, want %q", r.report.Problems, records)
			}
			for i := range r.after.Users {
				u := &r.after.Users[i]
				if groups := memberOf(r.after, u.Username); slices.Contains(squatters, u.Attribute("sub")) && groups != nil {
					t.Errorf("the squatter %s is a member of %q", u.Username, groups)
				}
			}
			for _, victim := range victims {
				if line := r.mapped(t, victim.Attribute("sub")); slices.Contains(squatters, line[2]) {
					t.Errorf("the squatter is taken for %s: %q", victim.Username, line)
				}
			}
			want := seed.Compare(b.source, r.after)
			if n := want.Users.Expected - want.Users.Restored; n != len(records) {
				t.Errorf("%d users are not as they were, the %d in conflict must be: %q", n, len(records), want.Differences)
			}
			b.silent()
		})
	}
}
