package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/internal/restore"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/faults"
	"cognito-backup/test/localaws/sqs"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	sqsclient "github.com/aws/aws-sdk-go-v2/service/sqs"
)

// importFunctions are the functions of an import that work in slices.
var importFunctions = []string{"check-new-user-pool", "scan-table", "import-users", "update-users", "verify-import"}

// TestImportUnderFaults restores under every kind of trouble: nothing is lost,
// nothing is doubled, nobody gets mail.
func TestImportUnderFaults(t *testing.T) {
	tests := map[string]struct {
		edits   []edit
		options seed.Options
		primary bool             // the import runs in the primary Region
		trouble func(*importBed) // begins before the import
		after   func(*testing.T, *importBed, *restored)
	}{
		"slices of a second": {
			primary: true,
			edits:   []edit{environment("SLICE_SECONDS", "1"), environment("COGNITO_TPS", "25")},
			options: seed.Options{Users: 200, Groups: 20, Seed: 4},
			after: func(t *testing.T, b *importBed, r *restored) {
				if n := b.slices(r.execution); n < 12 {
					t.Errorf("the import took %d slices, too few to prove anything", n)
				}
			},
		},
		"functions killed": {
			edits: []edit{environment("SLICE_SECONDS", "3"), environment("COGNITO_TPS", "40")},
			trouble: func(b *importBed) {
				b.kills = map[string][]<-chan struct{}{}
				for _, f := range importFunctions { // at the beginning, and in the middle of its work
					middle := 17
					if f == "check-new-user-pool" { // which makes fewer calls
						middle = 9
					}
					b.kills[f] = []<-chan struct{}{b.KillAfter(f, 3), b.KillAfter(f, middle)}
				}
			},
			after: func(t *testing.T, b *importBed, _ *restored) {
				for f, kills := range b.kills {
					for i, killed := range kills {
						select {
						case <-killed:
						default:
							t.Errorf("%s was not killed for the %d. time", f, i+1)
						}
					}
				}
			},
		},
		"killed right after the import job started": {
			trouble: func(b *importBed) {
				b.killAfterOperation("import-users", "StartUserImportJob")
			},
			after: func(t *testing.T, b *importBed, r *restored) {
				if n := b.calls("StartUserImportJob"); n != 1 {
					t.Errorf("%d import jobs were started", n)
				}
				if b.slices(r.execution) == 0 || r.report.CreatedCSV == 0 {
					t.Errorf("nobody came by CSV")
				}
			},
		},
		"answers lost": {
			primary: true,
			trouble: func(b *importBed) {
				for _, operation := range []string{"StartUserImportJob", "CreateUserImportJob", "AdminCreateUser", "AdminSetUserPassword",
					"CreateGroup", "AdminAddUserToGroup", "AdminLinkProviderForUser", "AdminDisableUser", "SendMessageBatch", "PutObject"} {
					b.Faults().Add(faults.Rule{Kind: faults.DropAfter, Region: b.there, Operation: operation, Count: 2})
				}
			},
			after: func(t *testing.T, b *importBed, r *restored) {
				// Who made them is told by their age, not by an answer.
				if g := r.report.Groups; g.Restored != int64(len(b.source.Groups)) {
					t.Errorf("groups %+v, all %d are of this import", g, len(b.source.Groups))
				}
			},
		},
		"a fifth of the calls throttled": {
			primary: true,
			trouble: func(b *importBed) {
				b.Faults().Add(faults.Rule{Kind: faults.Throttle, Region: b.there, Service: "cognito-idp", Function: "*", Probability: 0.2})
			},
		},
		"messages twice and out of order": {
			trouble: func(b *importBed) {
				b.SQS(b.there).SetFaults(sqs.Faults{Twice: true, Shuffle: true})
			},
		},
		"the job gives up": {
			options: seed.Options{Users: 400, Groups: 8, Seed: 5},
			trouble: func(b *importBed) {
				// Less than no failure is too many: the job ends after its first users.
				b.Cognito(b.there).Settings().Update(func(v *cognito.Values) { v.ImportTolerance = -1 })
			},
			after: func(t *testing.T, _ *importBed, r *restored) {
				if r.report.CreatedCSV == 0 || r.report.CreatedAPI < r.report.CreatedCSV {
					t.Errorf("%d users by CSV and %d by API", r.report.CreatedCSV, r.report.CreatedAPI)
				}
			},
		},
		"no permission for import jobs": {
			edits: []edit{without("import-users", "cognito-idp:CreateUserImportJob")},
			after: func(t *testing.T, _ *importBed, r *restored) {
				if r.report.CreatedCSV != 0 {
					t.Errorf("%d users came by CSV", r.report.CreatedCSV)
				}
			},
		},
		"late listings": {
			trouble: func(b *importBed) {
				b.Cognito(b.there).Settings().Update(func(v *cognito.Values) { v.ListUsersLag = 3 * time.Second })
				// Created, though nobody said so: only asking for the name tells.
				b.Faults().Add(faults.Rule{Kind: faults.DropAfter, Region: b.there, Operation: "AdminCreateUser", Count: 5})
			},
		},
		"empty, short and expiring pages": {
			trouble: func(b *importBed) {
				b.Cognito(b.there).Settings().Update(func(v *cognito.Values) {
					v.Paging[""] = cognito.PagingFaults{EmptyEvery: 2, ShortEvery: 3, RepeatEvery: 2, TrailingPage: true, ExpireAtPage: 3, ExpireTimes: 1}
				})
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := test.options
			if o.Users == 0 {
				o = seed.Options{Users: 120, Groups: 12, Seed: 21}
			}
			b := exported(t, seed.Pool(o), test.edits...)
			if test.primary {
				b.there = b.primary
			}
			if test.trouble != nil {
				test.trouble(b)
			}
			r := b.restore(b.target(), nil)
			b.proved(r)
			b.once(r)
			if test.after != nil {
				test.after(t, b, r)
			}
			if err := b.Faults().VerifyAllExercised(); err != nil {
				t.Error(err)
			}
		})
	}
}

// once checks that nobody was created twice.
func (b *importBed) once(r *restored) {
	b.t.Helper()
	if have, want := len(r.after.Users), int(r.report.Users.Restored); have != want {
		b.t.Errorf("the target has %d users, %d were restored", have, want)
	}
}

// slices counts the time slices of an execution.
func (b *importBed) slices(e execution) int {
	b.t.Helper()
	n := 0
	for _, event := range b.history(e.arn) {
		if event.Type == types.HistoryEventTypeTaskStateEntered {
			n++
		}
	}
	return n
}

// killAfterOperation kills the function as soon as it has made a call.
func (b *importBed) killAfterOperation(function, operation string) {
	go func() {
		for b.calls(operation) == 0 && b.t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		b.KillFunction(function)
	}()
}

// calls counts the calls of an operation in the Region of the imports that succeeded.
func (b *importBed) calls(operation string) int {
	n := 0
	for _, r := range b.Requests() {
		if r.Region == b.there && r.Operation == operation && r.Status/100 == 2 {
			n++
		}
	}
	return n
}

// TestMembershipsOfAUserWhoCannotBeCreated fails alone: the user and what is
// his, with the reason, and nobody else.
func TestMembershipsOfAUserWhoCannotBeCreated(t *testing.T) {
	t.Parallel()
	b := exported(t, seed.Pool(seed.Options{Users: 80, Groups: 6, Seed: 8}))
	b.Faults().Add(faults.Rule{Kind: faults.Fail, Operation: "AdminCreateUser", Region: b.there, Code: "InvalidParameterException", Count: 3})
	r := b.restore(b.target(), nil)
	if r.report.Verified || r.report.Users.Failed != 3 || r.report.Groups.Failed != 0 {
		t.Errorf("users %+v, groups %+v, verified %t", r.report.Users, r.report.Groups, r.report.Verified)
	}
	if p, ok := r.problem(restore.ReasonInvalid); !ok || p.Count != 3 || len(p.Records) != 3 {
		t.Errorf("problems: %+v", r.report.Problems)
	}
	result := seed.Compare(b.source, r.after)
	if missing := result.Users.Expected - result.Users.Restored; missing != 3 {
		t.Errorf("%d users are missing", missing)
	}
	if m := r.report.Memberships; int(m.Failed) != result.Memberships.Expected-result.Memberships.Restored || m.Restored != int64(result.Memberships.Restored) {
		t.Errorf("the report counts memberships as %+v, the comparison as %s", m, result.Memberships)
	}
	b.silent()
}

// TestRefusalsNobodyForesaw: an error code of Cognito that this project does not
// know fails the record whose call met it. The import goes on and names them.
func TestRefusalsNobodyForesaw(t *testing.T) {
	t.Parallel()
	b := exported(t, seed.Pool(seed.Options{Users: 80, Groups: 6, Seed: 8}))
	const code = "UnknownOperationException" // of an endpoint that does not know every operation
	for operation, count := range map[string]int{"AdminCreateUser": 2, "AdminAddUserToGroup": 9, "AdminDisableUser": 0, "CreateGroup": 1} {
		b.Faults().Add(faults.Rule{Kind: faults.Fail, Operation: operation, Region: b.there, Code: code, Count: count})
	}
	r := b.restore(b.target(), nil)
	p, ok := r.problem(restore.ReasonRefused)
	if !ok || r.report.Verified || r.report.State != "COMPLETED" {
		t.Fatalf("verified %t, problems %+v", r.report.Verified, r.report.Problems)
	}
	users, flags := 0, 0
	for _, record := range p.Records {
		if !strings.HasSuffix(record, ": "+code) {
			t.Errorf("%q does not name the code", record)
		}
		if strings.HasPrefix(record, "USER-") {
			users++
		}
		if strings.HasSuffix(record, ": disabled flag: "+code) {
			flags++
		}
	}
	disabled := 0
	for _, u := range b.source.Users {
		if !u.Enabled {
			disabled++
		}
	}
	if users-flags != 2 || flags == 0 || flags > disabled || r.report.Users.Failed != int64(users) {
		t.Errorf("%d users failed, %d flags of %d: %+v, %q", users, flags, disabled, r.report.Users, p.Records)
	}
	if created := r.report.CreatedCSV + r.report.CreatedAPI; int64(len(r.after.Users)) != created || created != r.report.Users.Restored+int64(flags) {
		t.Errorf("%d users are there, %d created, users %+v", len(r.after.Users), created, r.report.Users)
	}
	b.silent()
}

// TestIdentitiesInOtherForms: the form of linked identities is not documented.
// What can be read of them is linked, and of the rest the report tells.
func TestIdentitiesInOtherForms(t *testing.T) {
	t.Parallel()
	source := seed.Pool(seed.Options{Users: 80, Groups: 6, Seed: 8})
	forms := []string{`[{"userId":10215123456789012345678,"providerName":"Google","dateCreated":"1700000000000","new":{}}]`, `{"Google":"7"}`}
	var changed []cognito.User
	for i, u := range source.Users {
		at := slices.IndexFunc(u.Attributes, func(a cognito.Attribute) bool { return a.Name == "identities" })
		if at < 0 || u.UserStatus == "EXTERNAL_PROVIDER" || len(changed) == len(forms) {
			continue
		}
		source.Users[i].Attributes[at].Value = forms[len(changed)]
		changed = append(changed, source.Users[i])
	}
	if len(changed) != len(forms) {
		t.Fatalf("%d users with linked identities", len(changed))
	}
	b := exported(t, source)
	r := b.restore(b.target(), nil)
	p, ok := r.problem(restore.ReasonUnreadable)
	if !ok || !slices.Equal(p.Records, []string{"USER-" + changed[1].Attribute("sub") + ": link"}) || r.report.Users.Failed != 1 || r.report.Verified {
		t.Errorf("users %+v, problems %+v", r.report.Users, r.report.Problems)
	}
	for _, u := range r.after.Users {
		if have := u.Attribute("identities"); u.Username == changed[0].Username && !strings.Contains(have, `"userId":"10215123456789012345678"`) || u.Username == changed[1].Username && have != "" {
			t.Errorf("linked is %s", have)
		}
	}
	b.silent()
}

// TestMembershipsThatCannotBeAdded are tried in each round. After the last they
// go to the dead-letter queue by key and code and into the report, and stop
// nothing else.
func TestMembershipsThatCannotBeAdded(t *testing.T) {
	t.Parallel()
	b := exported(t, seed.Pool(seed.Options{Users: 80, Groups: 6, Seed: 9}))
	for _, region := range []string{b.primary, b.secondary} {
		t.Run(region, func(t *testing.T) {
			b.there = region
			b.membershipsFail(t)
		})
	}
}

func (b *importBed) membershipsFail(t *testing.T) {
	t.Helper()
	const added = 5
	mend := b.Faults().Add(faults.Rule{Kind: faults.Fail, Operation: "AdminAddUserToGroup", Region: b.there, Code: "ResourceNotFoundException", Skip: added})
	r := b.restore(b.target(), nil)
	mend()
	failed := r.report.Memberships.Failed
	if r.report.Verified || r.report.Memberships.Restored != added || failed == 0 || r.report.Users.Failed != 0 {
		t.Errorf("users %+v, memberships %+v, verified %t", r.report.Users, r.report.Memberships, r.report.Verified)
	}
	p, ok := r.problem(restore.ReasonGroupMissing)
	if !ok || p.Count != failed {
		t.Errorf("problems: %+v", r.report.Problems)
	}
	tried := int64(0)
	for _, request := range b.Requests() {
		if request.Region == b.there && request.Operation == "AdminAddUserToGroup" && request.Status == 400 {
			tried++
		}
	}
	if tried != 3*failed {
		t.Errorf("%d memberships were tried %d times in all", failed, tried)
	}
	queue := sqsclient.NewFromConfig(b.Config(b.there))
	url, err := queue.GetQueueUrl(t.Context(), &sqsclient.GetQueueUrlInput{QueueName: aws.String("CognitoBackup-UpdatesDeadLetterQueue")})
	if err != nil {
		t.Fatal(err)
	}
	dead := map[string]bool{}
	for letters := 1; letters > 0; {
		out, err := queue.ReceiveMessage(t.Context(), &sqsclient.ReceiveMessageInput{QueueUrl: url.QueueUrl, MaxNumberOfMessages: 10})
		if err != nil {
			t.Fatal(err)
		}
		letters = len(out.Messages)
		for _, m := range out.Messages {
			var letter struct{ Execution, Chunk, Record, Reason string }
			if err := json.Unmarshal([]byte(*m.Body), &letter); err != nil || letter.Reason != restore.ReasonGroupMissing || !strings.HasSuffix(r.arn, ":"+letter.Execution) {
				t.Errorf("dead letter %s: %v", *m.Body, err)
			}
			if dead[letter.Record] {
				t.Errorf("more than one dead letter about %s", letter.Record)
			}
			dead[letter.Record] = true
		}
	}
	for _, record := range p.Records {
		if key, _, _ := strings.Cut(record, ": "); !dead[key] {
			t.Errorf("no dead letter about %s, only %v", key, dead)
		}
	}
	// The next import adds them, though user and group have been there all along.
	b.proved(b.restore(r.pool, map[string]any{"Mode": "MISSING_ONLY"}))
}
