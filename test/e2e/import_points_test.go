package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/step"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// ended is when the listing of a restore point ended.
func (b *importBed) ended(point string) time.Time {
	b.t.Helper()
	p, err := b.store(b.primary).RestorePoint(b.t.Context(), b.pool, point)
	if err != nil {
		b.t.Fatal(err)
	}
	return p.EndedAt
}

// rename changes one user of the source and updates the record of what is there.
func (b *importBed) rename(username, name string) {
	b.t.Helper()
	_, err := b.cognito(b.primary).AdminUpdateUserAttributes(b.t.Context(), &idp.AdminUpdateUserAttributesInput{
		UserPoolId: &b.pool, Username: &username,
		UserAttributes: []types.AttributeType{{Name: aws.String("name"), Value: &name}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// TestRestorePoints chooses among several: the newest by default, one between
// two exports as the pool was then, record by record, never one whose listing
// had not ended, and a suspect one only if it is named.
func TestRestorePoints(t *testing.T) {
	t.Parallel()
	b := exported(t, seed.Pool(seed.Options{Users: 60, Groups: 5, Seed: 14}))
	before := *b.source
	local := func() (name string, group string) {
		for _, u := range b.source.Users {
			if groups := memberOf(b.source, u.Username); u.UserStatus == "CONFIRMED" && len(groups) > 0 {
				return u.Username, groups[0]
			}
		}
		t.Fatal("nobody has a group")
		return "", ""
	}
	name, group := local()
	b.rename(name, "As of the second export")
	api := b.cognito(b.primary)
	if _, err := api.AdminRemoveUserFromGroup(t.Context(), &idp.AdminRemoveUserFromGroupInput{UserPoolId: &b.pool, Username: &name, GroupName: &group}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.AdminDisableUser(t.Context(), &idp.AdminDisableUserInput{UserPoolId: &b.pool, Username: &name}); err != nil {
		t.Fatal(err)
	}
	first, second := b.point, b.export("{}")
	after, err := b.Cognito(b.primary).Snapshot(b.pool)
	if err != nil {
		t.Fatal(err)
	}
	// More than a fifth of the users vanish: the third is suspect.
	for i, u := range after.Users {
		if i < 25 {
			api.deleteUser(b.pool, u.Username)
		}
	}
	third := b.export("{}")
	suspect, err := b.Cognito(b.primary).Snapshot(b.pool)
	if err != nil {
		t.Fatal(err)
	}

	choose := func(name string, at *time.Time, want string, how string) {
		t.Run(name, func(t *testing.T) {
			more := map[string]any{}
			if at != nil {
				more["RestorePoint"] = at.Format(time.RFC3339Nano)
			}
			r := b.restore(b.target(), more)
			if r.report.RestorePoint != want {
				t.Errorf("%s was restored, not %s", r.report.RestorePoint, want)
			}
			if (how == "") != (r.report.NotNewest == "") || !strings.Contains(r.report.NotNewest, how) {
				t.Errorf("it is not the newest because of %q, want %q", r.report.NotNewest, how)
			}
			b.source = &before
			switch want {
			case second:
				b.source = after
			case third:
				b.source = suspect
			}
			b.proved(r)
		})
	}
	startOf := func(point string) time.Time {
		at, err := time.Parse(step.TimeFormat, point)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	choose("the newest is suspect", nil, second, "suspect")
	endOfThird := b.ended(third)
	choose("the suspect one, named", &endOfThird, third, "")
	between := b.ended(first).Add(startOf(second).Sub(b.ended(first)) / 2)
	choose("between two exports", &between, first, "")
	listing := startOf(second).Add(b.ended(second).Sub(startOf(second)) / 2)
	choose("while a listing ran", &listing, first, "")
	end := b.ended(second)
	choose("as a listing ended", &end, second, "")

	long := b.ended(first).Add(-time.Hour)
	cause := b.refused(input(b.target(), map[string]any{"RestorePoint": long.Format(time.RFC3339)}))
	if !strings.Contains(cause, "no trustworthy restore point had ended by") || !strings.Contains(cause, step.FormatTime(b.ended(first))) {
		t.Errorf("the cause does not help: %s", cause)
	}
	if third == "" {
		t.Error("no third restore point")
	}
}

// TestLaggingReplica stops the replication in the middle of the last export:
// the older point is restored and the message says so; without an older one
// the import fails clearly, and AllowIncomplete restores what there is.
func TestLaggingReplica(t *testing.T) {
	t.Parallel()
	source := seed.Pool(seed.Options{Users: 60, Groups: 5, Seed: 15})
	for name, older := range map[string]bool{"an older point": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := forImports(start(t, source, unhurried), source)
			if older {
				b.point = b.export("{}")
			}
			for i, u := range source.Users { // every user changes, so that the last export writes
				if u.UserStatus != seed.External {
					b.rename(u.Username, fmt.Sprintf("Changed %d", i))
				}
			}
			last := b.exportWithHoles()
			if older {
				r := b.restore(b.target(), nil)
				if r.report.RestorePoint != b.point || !strings.Contains(r.report.NotNewest, last) {
					t.Errorf("%s was restored because %q", r.report.RestorePoint, r.report.NotNewest)
				}
				b.proved(r)
				return
			}
			pool := b.target()
			if cause := b.refused(input(pool, nil)); !strings.Contains(cause, "AllowIncomplete") {
				t.Errorf("the cause does not name AllowIncomplete: %s", cause)
			}
			if n := len(b.snapshot(pool).Users); n != 0 {
				t.Errorf("the failed import left %d users", n)
			}
			r := b.restore(pool, map[string]any{"AllowIncomplete": true})
			if !r.report.Incomplete || r.report.Verified || !strings.Contains(r.report.Shortfall, fmt.Sprintf("of %d users", len(source.Users))) {
				t.Errorf("incomplete %t, verified %t, shortfall %q", r.report.Incomplete, r.report.Verified, r.report.Shortfall)
			}
			if r.report.Users.Restored == 0 || r.report.Users.Failed != 0 {
				t.Errorf("users %+v", r.report.Users)
			}
			// Who is lost is listed, as far as memberships tell.
			var lost []string
			for i := range source.Users {
				u := &source.Users[i]
				read := slices.ContainsFunc(r.mapping, func(line []string) bool { return line[1] == u.Attribute("sub") })
				if !read && memberOf(source, u.Username) != nil {
					lost = append(lost, "USER-"+u.Attribute("sub"))
				}
			}
			slices.Sort(lost)
			if len(lost) == 0 || !slices.Equal(lost, r.report.Lacking) {
				t.Errorf("the report lists %q as lacking, not %q", r.report.Lacking, lost)
			}
		})
	}
}

// TestMassDeletionThenDefaultRestore: 95 % of the users are deleted, an export
// runs over it, and a restore with the pool's id alone brings everybody back,
// also while the replica holds the suspect restore point only in part.
func TestMassDeletionThenDefaultRestore(t *testing.T) {
	t.Parallel()
	for name, lagging := range map[string]bool{"replica up to date": false, "replica behind": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := exported(t, seed.Pool(seed.Options{Users: 100, Groups: 5, Seed: 37}))
			if err := b.Replicator().Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i, u := range b.source.Users {
				if i%20 != 0 {
					b.cognito(b.primary).deleteUser(b.pool, u.Username)
				}
			}
			if lagging { // changes arrive one by one and late, and at some time no more
				b.Replicator().SetLag(0, 2*time.Minute)
			}
			if e := b.run(b.primary, "ExportWorkflow", "{}"); e.Status != sfntypes.ExecutionStatusSucceeded {
				b.fail(e)
			}
			if lagging {
				if b.Replicator().Pending() == 0 {
					t.Fatal("the replica has caught up")
				}
				b.Replicator().Stop()
			}
			points, err := b.store(b.primary).RestorePoints(t.Context(), b.pool)
			if err != nil || len(points) != 2 || !points[0].Suspect {
				t.Fatalf("%+v, %v", points, err)
			}
			r := b.restore(b.target(), nil)
			if r.report.RestorePoint != b.point {
				t.Errorf("%s was restored, not %s", r.report.RestorePoint, b.point)
			}
			b.proved(r)
		})
	}
}

// exportWithHoles exports while the replica gets the commit record, but not all
// of the records that the export wrote.
func (b *importBed) exportWithHoles() string {
	b.t.Helper()
	point := b.export("{}")
	b.Replicator().Stop()
	replica := dynamodb.NewFromConfig(b.Config(b.secondary))
	n := 0
	for key, item := range b.asOf(b.secondary, point) {
		if key.Kind() != backup.KindUser || item.ValidFrom != point {
			continue
		}
		if n++; n%2 == 0 {
			continue
		}
		av, err := attributevalue.MarshalMap(key)
		if err != nil {
			b.t.Fatal(err)
		}
		if _, err := replica.DeleteItem(b.t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String(table), Key: av}); err != nil {
			b.t.Fatal(err)
		}
	}
	if n == 0 {
		b.t.Fatal("the export has written nothing")
	}
	return point
}
