package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/faults"
	"cognito-backup/test/seed"

	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestPreflight holds each stopper and each warning to its sentence. Nothing
// may be written to a target that is refused, and all findings come at once.
func TestPreflight(t *testing.T) {
	t.Parallel()
	b := exported(t, seed.Pool(seed.Options{Users: 40, Groups: 4, Seed: 17}))
	attribute := func(name string, change func(*cognito.SchemaAttribute)) func(*cognito.Seed) {
		return func(s *cognito.Seed) {
			s.Pool.SchemaAttributes = slices.Clone(s.Pool.SchemaAttributes)
			for i := range s.Pool.SchemaAttributes {
				if s.Pool.SchemaAttributes[i].Name == name {
					change(&s.Pool.SchemaAttributes[i])
				}
			}
		}
	}
	stoppers := map[string]struct {
		pool   func() string
		change func(*cognito.Seed)
		more   map[string]any
		want   []string
	}{
		"absent":         {pool: func() string { return "" }, want: []string{"NewUserPoolId is missing", b.there + "_XXXXXXXXX"}},
		"malformed":      {pool: func() string { return "pool-1" }, want: []string{`NewUserPoolId is "pool-1", which is no user pool id`}},
		"another Region": {pool: func() string { return b.pool }, want: []string{"is in " + b.primary, "start the ImportWorkflow in " + b.primary}},
		"does not exist": {pool: func() string { return b.there + "_Nowhere1" }, want: []string{"does not exist in " + b.there}},
		"unknown key":    {more: map[string]any{"Users ": 1}, want: []string{`unknown key "Users "`, "known are NewUserPoolId"}},
		"wrong mode":     {more: map[string]any{"Mode": "ALL"}, want: []string{`Mode is "ALL"; give EMPTY_POOL or MISSING_ONLY`}},
		"users, empty":   {more: map[string]any{"Users": []string{"a"}}, want: []string{`Users is only for "Mode": "MISSING_ONLY"`}},
		"list not there": {more: map[string]any{"Mode": "MISSING_ONLY", "Users": "nowhere.json"}, want: []string{"Users names an object that the bucket", "upload the list there first"}},
		"not empty":      {pool: func() string { return b.occupied() }, want: []string{"is not empty", "MISSING_ONLY"}},
		"username attributes": {change: func(s *cognito.Seed) { s.Pool.UsernameAttributes = []string{"email"} },
			want: []string{"sign in by username", "by email", "create a pool with UsernameAttributes none"}},
		"case": {change: func(s *cognito.Seed) {
			s.Pool.UsernameConfiguration = &cognito.UsernameConfiguration{CaseSensitive: false}
		},
			want: []string{"case-sensitive", "case-insensitive", "CaseSensitive true"}},
		"attribute missing": {change: func(s *cognito.Seed) {
			s.Pool.SchemaAttributes = slices.DeleteFunc(slices.Clone(s.Pool.SchemaAttributes), func(a cognito.SchemaAttribute) bool { return a.Name == "custom:plan" })
		}, want: []string{"custom:plan", "the target lacks it"}},
		"attribute immutable": {change: attribute("custom:plan", func(a *cognito.SchemaAttribute) { a.Mutable = false }),
			want: []string{"custom:plan", "mutable true in the source, false in the target"}},
		"attribute of another type": {change: attribute("custom:plan", func(a *cognito.SchemaAttribute) {
			a.AttributeDataType, a.StringAttributeConstraints = "Number", nil
		}), want: []string{"custom:plan", "is no number"}},
		"attribute too short": {change: attribute("custom:remark", func(a *cognito.SchemaAttribute) {
			a.StringAttributeConstraints = &cognito.StringConstraints{MinLength: "0", MaxLength: "10"}
		}), want: []string{"custom:remark", "is longer than its maximum length of 10"}},
		"sub attribute missing": {more: map[string]any{"SubAttribute": "old_sub"}, want: []string{"SubAttribute custom:old_sub is not an attribute"}},
	}
	for name, test := range stoppers {
		t.Run(name, func(t *testing.T) {
			var pool string
			switch {
			case test.pool != nil:
				pool = test.pool()
			case test.change != nil:
				pool = b.target(test.change)
			default:
				pool = b.target()
			}
			in := input(pool, test.more)
			if pool == "" {
				in = "{}"
			}
			var before *cognito.Seed
			if strings.HasPrefix(pool, b.there) && !strings.Contains(pool, "Nowhere") {
				before = b.snapshot(pool)
			}
			cause := b.refused(in)
			for _, want := range test.want {
				if !strings.Contains(cause, want) {
					t.Errorf("the cause lacks %q:\n%s", want, cause)
				}
			}
			if strings.Count(cause, "\n") != 1 {
				t.Errorf("one finding was expected:\n%s", cause)
			}
			if before != nil {
				unchanged(t, before, b.snapshot(pool))
			}
			message := b.awaitMail(b.there, func(message string) bool { return strings.Contains(message, "Nothing was written") })
			if strings.Contains(message, "{\"errorMessage") {
				t.Errorf("the mail dumps JSON:\n%s", message)
			}
		})
	}

	t.Run("all at once", func(t *testing.T) {
		pool := b.target(func(s *cognito.Seed) {
			s.Pool.UsernameConfiguration = &cognito.UsernameConfiguration{CaseSensitive: false}
			attribute("custom:plan", func(a *cognito.SchemaAttribute) { a.Mutable = false })(s)
		})
		cause := b.refused(input(pool, map[string]any{"SubAttribute": "old_sub"}))
		if strings.Count(cause, "\n- ") != 3 {
			t.Errorf("three findings were expected:\n%s", cause)
		}
	})

	for _, r := range b.Requests() { // whatever the target: none of them was to be written to
		if strings.HasPrefix(r.Service, "cognito-idp") && r.Region == b.secondary && !strings.HasPrefix(r.Operation, "Describe") &&
			!strings.HasPrefix(r.Operation, "List") && !strings.HasPrefix(r.Operation, "Get") {
			t.Errorf("an import that was refused called %s", r.Operation)
		}
	}

	for _, region := range []string{b.primary, b.secondary} { // each has functions and permissions of its own
		t.Run("another import in "+region, func(t *testing.T) {
			b.there = region
			// Longer than the other one asks whether the first still runs.
			b.Faults().Add(faults.Rule{Kind: faults.Delay, Region: region, Operation: "GetCSVHeader", Delay: 15 * time.Second, Count: 1})
			running := b.begin(b.there, "ImportWorkflow", input(b.target(), nil))
			b.reaches(running, "CheckNewUserPool")
			cause := b.refused(input(b.target(), nil))
			if !strings.Contains(cause, "another execution of the ImportWorkflow is running") || !strings.Contains(cause, running) {
				t.Errorf("the cause does not name the running import: %s", cause)
			}
			b.await(b.there, running)
		})
	}

	t.Run("warnings", func(t *testing.T) {
		pool := b.target(func(s *cognito.Seed) {
			s.Pool.AutoVerifiedAttributes = nil
			s.IdentityProviders = nil
			s.Pool.MfaConfiguration = "ON"
			s.Pool.LambdaConfig = map[string]json.RawMessage{
				"PreSignUp":     json.RawMessage(`"arn:aws:lambda:us-west-2:123456789012:function:check"`),
				"CustomMessage": json.RawMessage(`"arn:aws:lambda:us-west-2:123456789012:function:word"`),
			}
		})
		r := b.restore(pool, map[string]any{"DryRun": true})
		for _, want := range []string{"Anybody can sign up", "PreSignUp trigger", "CustomMessage trigger", "requires MFA", "bills as active", "verifies no attribute by itself", "lacks the identity providers", "takes about"} {
			if !slices.ContainsFunc(r.report.Warnings, func(w string) bool { return strings.Contains(w, want) }) {
				t.Errorf("no warning says %q: %q", want, r.report.Warnings)
			}
		}
	})
}

// occupied is a pool with one user.
func (b *importBed) occupied() string {
	return b.target(func(s *cognito.Seed) {
		s.Users = []cognito.User{{Username: "someone", Enabled: true, UserStatus: "CONFIRMED",
			Attributes: []cognito.Attribute{{Name: "sub", Value: "88888888-0000-4000-8000-000000000000"}}}}
	})
}

// TestDryRun says what an import would do and does nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	b := exported(t, seed.Pool(seed.Options{Users: 90, Groups: 6, Seed: 18}))
	pool := b.target()
	dry := b.restore(pool, map[string]any{"DryRun": true})
	after := b.snapshot(pool)
	if len(after.Users)+len(after.Groups) != 0 {
		t.Errorf("the dry run wrote %d users and %d groups", len(after.Users), len(after.Groups))
	}
	for _, operation := range []string{"AdminCreateUser", "CreateGroup", "CreateUserImportJob"} {
		if n := b.calls(operation); n != 0 {
			t.Errorf("the dry run called %s %d times", operation, n)
		}
	}
	if len(dry.report.RestorePoints) != 1 || dry.report.Estimate == "" || !dry.report.DryRun {
		t.Errorf("restore points %+v, estimate %q", dry.report.RestorePoints, dry.report.Estimate)
	}
	wet := b.restore(pool, nil)
	b.proved(wet)
	b.watched(b.secondary, "ImportWorkflow")
	for name, pair := range map[string][2]any{
		"users":       {dry.report.Users, wet.report.Users},
		"groups":      {dry.report.Groups, wet.report.Groups},
		"memberships": {dry.report.Memberships, wet.report.Memberships},
		"billed":      {dry.report.Billed, wet.report.Billed},
		"by CSV":      {dry.report.CreatedCSV, wet.report.CreatedCSV},
		"by API":      {dry.report.CreatedAPI, wet.report.CreatedAPI},
		"sign-in":     {dry.report.SignIn, wet.report.SignIn},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: the dry run promised %+v, the import did %+v", name, pair[0], pair[1])
		}
	}
}

// TestSubAttributeAndListOfUsers keeps the old sub in an immutable attribute,
// by which a later import knows its people, and takes the list of users from S3.
func TestSubAttributeAndListOfUsers(t *testing.T) {
	t.Parallel()
	source := seed.Pool(seed.Options{Users: 70, Groups: 6, Seed: 19})
	// Cognito links nothing to users who hold an immutable attribute.
	source.Users = slices.DeleteFunc(source.Users, func(u cognito.User) bool {
		return u.UserStatus != seed.External && u.Attribute("identities") != ""
	})
	for group, members := range source.Members {
		source.Members[group] = slices.DeleteFunc(members, func(m string) bool {
			return !slices.ContainsFunc(source.Users, func(u cognito.User) bool { return u.Username == m })
		})
	}
	b := exported(t, source)
	b.there = b.primary
	pool := b.target(func(s *cognito.Seed) {
		s.Pool.SchemaAttributes = append(slices.Clone(s.Pool.SchemaAttributes), cognito.SchemaAttribute{
			Name: "custom:old_sub", AttributeDataType: "String", StringAttributeConstraints: &cognito.StringConstraints{MinLength: "0", MaxLength: "64"},
		})
		for i := range s.Pool.SchemaAttributes { // narrower than in the source, and wide enough for everybody
			if a := &s.Pool.SchemaAttributes[i]; a.Name == "custom:plan" {
				a.StringAttributeConstraints = &cognito.StringConstraints{MinLength: "0", MaxLength: "32"}
			}
		}
	})
	var names []string
	for i, u := range b.source.Users {
		if u.UserStatus != seed.External && i%3 == 0 {
			names = append(names, u.Username)
		}
	}
	list, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	api, bucket := b.s3()
	key := "lists/users.json"
	if _, err := api.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(string(list))}); err != nil {
		t.Fatal(err)
	}
	some := b.restore(pool, map[string]any{"Mode": "MISSING_ONLY", "SubAttribute": "old_sub", "Users": fmt.Sprintf("s3://%s/%s", bucket, key)})
	if n := len(some.after.Users); n != len(names) {
		t.Errorf("%d users were restored of the %d listed", n, len(names))
	}
	rest := b.restore(pool, map[string]any{"Mode": "MISSING_ONLY", "SubAttribute": "custom:old_sub"})
	for i := range b.source.Users {
		if u := &b.source.Users[i]; u.UserStatus != seed.External {
			line := rest.mapped(t, u.Attribute("sub"))
			j := slices.IndexFunc(rest.after.Users, func(n cognito.User) bool { return n.Attribute("sub") == line[2] })
			if j < 0 || rest.after.Users[j].Attribute("custom:old_sub") != u.Attribute("sub") {
				t.Errorf("user %s does not hold its old sub", u.Username)
			}
		}
	}
	b.proved(rest, "custom:old_sub")
}

// TestFederatedUsersReturn: they are deferred; when they have signed in again,
// MISSING_ONLY gives them their groups, once.
func TestFederatedUsersReturn(t *testing.T) {
	t.Parallel()
	b := exported(t, seed.Pool(seed.Options{Users: 80, Groups: 5, Seed: 23}))
	pool := b.target()
	b.proved(b.restore(pool, nil))
	var returned *cognito.User
	for i := range b.source.Users {
		if u := &b.source.Users[i]; u.UserStatus == seed.External && len(memberOf(b.source, u.Username)) > 0 {
			returned = u
			break
		}
	}
	if returned == nil {
		t.Fatal("the seed has no federated user with groups")
	}
	now := *b.snapshot(pool)
	back := *returned
	back.Attributes = slices.Clone(back.Attributes)
	for i := range back.Attributes {
		if back.Attributes[i].Name == "sub" {
			back.Attributes[i].Value = "77777777-0000-4000-8000-000000000000"
		}
	}
	now.Pool.Id = ""
	now.Users = append(slices.Clone(now.Users), back)
	second, err := b.Cognito(b.there).Seed(&now)
	if err != nil {
		t.Fatal(err)
	}
	r := b.restore(second, map[string]any{"Mode": "MISSING_ONLY"})
	if have, want := memberOf(r.after, back.Username), memberOf(b.source, back.Username); len(have) != len(want) {
		t.Errorf("the federated user is in %q, was in %q", have, want)
	}
	group := memberOf(b.source, back.Username)[0]
	b.cognito(b.there).removeFromGroup(second, back.Username, group)
	again := b.restore(second, map[string]any{"Mode": "MISSING_ONLY"})
	if slices.Contains(memberOf(again.after, back.Username), group) {
		t.Error("a membership revoked after the import came back")
	}
	b.silent()
}

func (c cognitoClient) removeFromGroup(pool, username, group string) {
	c.t.Helper()
	_, err := c.AdminRemoveUserFromGroup(c.t.Context(), &idp.AdminRemoveUserFromGroupInput{UserPoolId: &pool, Username: &username, GroupName: &group})
	if err != nil {
		c.t.Fatal(err)
	}
}
