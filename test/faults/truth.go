package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/restore"
	"cognito-backup/internal/step"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// compareRestorePoint reads a restore point from the table and holds it against
// what the pool was.
func (r *run) compareRestorePoint(ctx context.Context, id string, truth *cognito.Seed) error {
	store := &backup.Store{Table: &backup.DynamoDB{API: dynamodb.NewFromConfig(r.bed.Config(r.primary)), Name: table, Sleep: step.Sleep}}
	point, err := store.RestorePoint(ctx, r.pool, id)
	if err != nil {
		return err
	}
	stored := map[backup.Key]string{}
	var sum backup.Summary
	for p := (backup.Position{}); !p.Done; {
		items, next, err := store.ReadAsOf(ctx, id, backup.Segment{Of: 1}, p)
		if err != nil {
			return err
		}
		for i := range items {
			sum.Add(&items[i])
			if items[i].Kind() != backup.KindPool {
				stored[items[i].Key] = string(items[i].Content)
			}
		}
		p = next
	}
	var problems []error
	if sum != point.Summary {
		problems = append(problems, fmt.Errorf("restore point %s says %+v, the table holds %+v", id, point.Summary, sum))
	}
	want, err := expected(truth)
	if err != nil {
		return err
	}
	r.result.Records += len(want)
	for key, content := range want {
		switch got, there := stored[key]; {
		case !there:
			r.result.Losses++
			problems = append(problems, fmt.Errorf("%v is not in restore point %s", key, id))
		case got != content:
			r.result.Losses++
			problems = append(problems, fmt.Errorf("%v in restore point %s is %s, the pool has %s", key, id, got, content))
		}
	}
	for key := range stored {
		if _, wanted := want[key]; !wanted {
			r.result.Duplicates++
			problems = append(problems, fmt.Errorf("%v is in restore point %s and not in the pool", key, id))
		}
	}
	return errors.Join(problems...)
}

// expected are the records that a restore point of the pool holds.
func expected(pool *cognito.Seed) (map[backup.Key]string, error) {
	want := map[backup.Key]string{}
	subs := map[string]string{}
	var problems []error
	put := func(key backup.Key, content any) {
		record, err := backup.NewRecord(key, content)
		problems = append(problems, err)
		want[key] = string(record.Content)
	}
	for i := range pool.Users {
		u := &pool.Users[i]
		attributes := map[string]string{}
		for _, a := range u.Attributes {
			attributes[a.Name] = a.Value
		}
		subs[u.Username] = attributes["sub"]
		put(backup.UserKey(attributes["sub"]), backup.User{
			Username: u.Username, Status: u.UserStatus, Enabled: u.Enabled, Created: u.UserCreateDate.UTC(), Attributes: attributes,
		})
	}
	for _, g := range pool.Groups {
		group := backup.Group{Name: g.GroupName, Description: g.Description, RoleARN: g.RoleArn}
		if g.Precedence != nil {
			group.Precedence = aws.Int32(int32(*g.Precedence))
		}
		put(backup.GroupKey(g.GroupName), group)
	}
	for group, members := range pool.Members {
		for _, username := range members {
			put(backup.MembershipKey(subs[username], group), backup.Membership{})
		}
	}
	return want, errors.Join(problems...)
}

// change does to the pool what happens between two exports.
func (r *run) change(ctx context.Context, n *rand.Rand) error {
	api := idp.NewFromConfig(r.bed.Config(r.primary))
	now, err := r.bed.Cognito(r.primary).Snapshot(r.pool)
	if err != nil {
		return err
	}
	groups := make([]string, len(now.Groups))
	for i, g := range now.Groups {
		groups[i] = g.GroupName
	}
	for i := range now.Users {
		u := &now.Users[i]
		switch {
		case n.IntN(12) == 0: // less than what makes a restore point suspect
			_, err = api.AdminDeleteUser(ctx, &idp.AdminDeleteUserInput{UserPoolId: &r.pool, Username: &u.Username})
		case u.UserStatus == seed.External:
		case n.IntN(8) == 0:
			_, err = api.AdminUpdateUserAttributes(ctx, &idp.AdminUpdateUserAttributesInput{UserPoolId: &r.pool, Username: &u.Username,
				UserAttributes: []types.AttributeType{{Name: aws.String("nickname"), Value: aws.String(fmt.Sprintf("changed, %d", n.IntN(1000)))}}})
		case n.IntN(12) == 0:
			_, err = api.AdminDisableUser(ctx, &idp.AdminDisableUserInput{UserPoolId: &r.pool, Username: &u.Username})
		case n.IntN(8) == 0 && len(groups) > 0:
			_, err = api.AdminAddUserToGroup(ctx, &idp.AdminAddUserToGroupInput{UserPoolId: &r.pool, Username: &u.Username, GroupName: &groups[n.IntN(len(groups))]})
		}
		if err != nil {
			return fmt.Errorf("change the pool: %w", err)
		}
	}
	for _, group := range slices.Sorted(maps.Keys(now.Members)) {
		if members := now.Members[group]; len(members) > 0 && n.IntN(3) == 0 {
			_, err := api.AdminRemoveUserFromGroup(ctx, &idp.AdminRemoveUserFromGroupInput{UserPoolId: &r.pool, GroupName: &group, Username: &members[0]})
			if gone := new(types.UserNotFoundException); err != nil && !errors.As(err, &gone) {
				return fmt.Errorf("change the pool: %w", err)
			}
		}
	}
	if len(groups) > 1 && n.IntN(2) == 0 {
		if _, err := api.DeleteGroup(ctx, &idp.DeleteGroupInput{UserPoolId: &r.pool, GroupName: &groups[n.IntN(len(groups))]}); err != nil {
			return fmt.Errorf("change the pool: %w", err)
		}
	}
	r.mu.Lock()
	r.mails = 0 // of changes by hand; a restore sends none
	r.mu.Unlock()
	return nil
}

// restore restores the newest restore point into an empty pool of the other
// Region and holds the outcome against the truth. An import that failed is
// taken up again as its documentation says: with MISSING_ONLY.
func (r *run) restore(ctx context.Context, n *rand.Rand) error {
	lagging := n.IntN(3) == 0
	if lagging {
		r.bed.Replicator().SetLag(50*time.Millisecond, time.Duration(200+n.IntN(2000))*time.Millisecond)
		r.bed.Replicator().SetReorder(true)
		r.result.Troubled["replica lags and is out of order"] = 1
		if err := r.export(ctx, n); err != nil { // so that there is something to lag
			return err
		}
	} else if err := r.bed.Replicator().Drain(ctx); err != nil {
		return err
	}
	e, err := r.execute(ctx, n, r.secondary, "ImportWorkflow", func(attempt int) (string, error) {
		in := map[string]any{}
		if attempt == 0 || lagging { // the next attempt may choose another restore point
			target, err := r.bed.Cognito(r.secondary).Seed(seed.Empty(r.seeded, ""))
			if err != nil {
				return "", err
			}
			r.target = target
		} else {
			in["Mode"] = restore.MissingOnly
		}
		in["NewUserPoolId"] = r.target
		j, err := json.Marshal(in)
		return string(j), err
	})
	if err != nil {
		return err
	}
	r.result.Imports++
	return r.compareTarget(ctx, e)
}

func (r *run) compareTarget(ctx context.Context, e *ended) error {
	var report restore.Report
	key := "reports/" + e.name + "/"
	b, err := r.object(ctx, key+"report.json")
	if err == nil {
		err = json.Unmarshal(b, &report)
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	truth := r.truth[report.RestorePoint]
	if truth == nil {
		return fmt.Errorf("the report names the restore point %s, which nobody made", report.RestorePoint)
	}
	after, err := r.bed.Cognito(r.secondary).Snapshot(r.target)
	if err != nil {
		return err
	}
	found := seed.Compare(truth, after)
	r.result.Records += len(truth.Users) + len(truth.Groups) + found.Memberships.Expected + found.DeferredMemberships
	var problems []error
	for _, d := range found.Differences {
		if strings.HasSuffix(d, "not in the source") {
			r.result.Duplicates++
		} else {
			r.result.Losses++
		}
		problems = append(problems, errors.New(d))
	}
	problems = append(problems, r.accounted(ctx, &report, truth, key)...)
	if len(found.Differences) == 0 && !report.Verified {
		problems = append(problems, fmt.Errorf("all is as it was, and the report says that it is not: %+v", report.Problems))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mails > 0 {
		problems = append(problems, fmt.Errorf("%d mails to users", r.mails))
	}
	return errors.Join(problems...)
}

// accounted checks that the report speaks of every record.
func (r *run) accounted(ctx context.Context, report *restore.Report, truth *cognito.Seed, key string) []error {
	var problems []error
	memberships := 0
	for _, members := range truth.Members {
		memberships += len(members)
	}
	for _, kind := range []struct {
		name string
		restore.Counts
		want int
	}{{"users", report.Users, len(truth.Users)}, {"groups", report.Groups, len(truth.Groups)}, {"memberships", report.Memberships, memberships}} {
		sum := kind.Restored + kind.Existing + kind.Deferred + kind.Conflict + kind.Failed + kind.LeftOut
		if kind.Total != int64(kind.want) || sum != kind.Total {
			r.result.Unaccounted += max(1, kind.want-int(sum))
			problems = append(problems, fmt.Errorf("%d %s in the restore point, the report counts %+v", kind.want, kind.name, kind.Counts))
		}
	}
	b, err := r.object(ctx, key+"mapping.csv")
	if err != nil {
		return append(problems, err)
	}
	lines, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil || len(lines) != len(truth.Users)+1 {
		r.result.Unaccounted++
		problems = append(problems, fmt.Errorf("mapping.csv has %d lines for %d users: %v", len(lines)-1, len(truth.Users), err))
	}
	return problems
}

func (r *run) object(ctx context.Context, key string) ([]byte, error) {
	bucket := r.bed.Output(prefix+"-Secondary", "BucketName")
	api := s3.NewFromConfig(r.bed.Config(r.secondary), func(o *s3.Options) { o.UsePathStyle = true })
	out, err := api.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}
