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
	"slices"
	"strings"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/pool"
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

// truth is what the pool was.
type truth struct {
	*cognito.Seed
	configuration *pool.Configuration
	secrets       []string // which nothing may hold
}

// now reads what the pool is. Its configuration is what Cognito answers, less
// what a restore point leaves out: secrets, and what changes without anybody's
// doing.
func (r *run) now(ctx context.Context) (*truth, error) {
	snapshot, err := r.bed.Cognito(r.primary).Snapshot(r.pool)
	if err != nil {
		return nil, err
	}
	t := &truth{Seed: snapshot, configuration: &pool.Configuration{}}
	api, c := idp.NewFromConfig(r.bed.Config(r.primary)), t.configuration
	described, err := api.DescribeUserPool(ctx, &idp.DescribeUserPoolInput{UserPoolId: &r.pool})
	if err != nil {
		return nil, err
	}
	c.UserPool = *described.UserPool
	c.UserPool.EstimatedNumberOfUsers, c.UserPool.LastModifiedDate = 0, nil
	slices.SortFunc(c.UserPool.SchemaAttributes, func(a, b types.SchemaAttributeType) int { return strings.Compare(*a.Name, *b.Name) })
	mfa, err := api.GetUserPoolMfaConfig(ctx, &idp.GetUserPoolMfaConfigInput{UserPoolId: &r.pool})
	if err != nil {
		return nil, err
	}
	c.MFA = pool.MFAConfiguration{
		MfaConfiguration: mfa.MfaConfiguration, EmailMfaConfiguration: mfa.EmailMfaConfiguration, SmsMfaConfiguration: mfa.SmsMfaConfiguration,
		SoftwareTokenMfaConfiguration: mfa.SoftwareTokenMfaConfiguration, WebAuthnConfiguration: mfa.WebAuthnConfiguration,
	}
	for _, there := range snapshot.Clients {
		out, err := api.DescribeUserPoolClient(ctx, &idp.DescribeUserPoolClientInput{UserPoolId: &r.pool, ClientId: &there.ClientId})
		if err != nil {
			return nil, err
		}
		client := *out.UserPoolClient
		if client.ClientSecret != nil {
			t.secrets = append(t.secrets, *client.ClientSecret)
		}
		client.ClientSecret, client.LastModifiedDate = nil, nil
		c.Clients = append(c.Clients, client)
	}
	slices.SortFunc(c.Clients, func(a, b types.UserPoolClientType) int { return strings.Compare(*a.ClientId, *b.ClientId) })
	for _, there := range snapshot.IdentityProviders {
		out, err := api.DescribeIdentityProvider(ctx, &idp.DescribeIdentityProviderInput{UserPoolId: &r.pool, ProviderName: &there.ProviderName})
		if err != nil {
			return nil, err
		}
		provider := *out.IdentityProvider
		provider.LastModifiedDate = nil
		if secret, has := provider.ProviderDetails["client_secret"]; has {
			t.secrets = append(t.secrets, secret)
			delete(provider.ProviderDetails, "client_secret")
		}
		c.IdentityProviders = append(c.IdentityProviders, provider)
	}
	slices.SortFunc(c.IdentityProviders, func(a, b types.IdentityProviderType) int {
		return strings.Compare(*a.ProviderName, *b.ProviderName)
	})
	servers, err := api.ListResourceServers(ctx, &idp.ListResourceServersInput{UserPoolId: &r.pool, MaxResults: aws.Int32(50)})
	if err != nil {
		return nil, err
	}
	c.ResourceServers = servers.ResourceServers
	slices.SortFunc(c.ResourceServers, func(a, b types.ResourceServerType) int { return strings.Compare(*a.Identifier, *b.Identifier) })
	return t, nil
}

// store is the backup as it stands in a Region.
func (r *run) store(region string) *backup.Store {
	return &backup.Store{Table: &backup.DynamoDB{API: dynamodb.NewFromConfig(r.bed.Config(region)), Name: table, Sleep: step.Sleep}}
}

// compareRestorePoints holds every restore point that a Region has against what
// the pool was then: those made before, too, of which later exports have moved
// or removed what changed.
func (r *run) compareRestorePoints(ctx context.Context, region string) error {
	var problems []error
	for _, id := range r.points {
		if err := r.compareRestorePoint(ctx, region, id, r.truth[id]); err != nil {
			problems = append(problems, fmt.Errorf("in %s: %w", region, err))
		}
	}
	return errors.Join(problems...)
}

// compareRestorePoint reads a restore point from the table and holds it against
// what the pool was.
func (r *run) compareRestorePoint(ctx context.Context, region, id string, truth *truth) error {
	store := r.store(region)
	point, err := store.RestorePoint(ctx, r.pool, id)
	if err != nil {
		return err
	}
	stored := map[backup.Key]string{}
	var sum backup.Summary
	var configurations []error
	for p := (backup.Position{}); !p.Done; {
		items, next, err := store.ReadAsOf(ctx, id, backup.Segment{Of: 1}, p)
		if err != nil {
			return err
		}
		for i := range items {
			sum.Add(&items[i])
			if items[i].Kind() == backup.KindPool {
				configurations = append(configurations, r.compareConfiguration(&items[i], truth))
			} else {
				stored[items[i].Key] = string(items[i].Content)
			}
		}
		p = next
	}
	problems := configurations
	if n := len(configurations); n == 0 {
		r.result.Losses++
		problems = append(problems, fmt.Errorf("restore point %s has no configuration of the pool", id))
	} else if n > 1 {
		r.result.Duplicates += n - 1
		problems = append(problems, fmt.Errorf("restore point %s has %d configurations of the pool", id, n))
	}
	if sum != point.Summary {
		problems = append(problems, fmt.Errorf("restore point %s says %+v, the table holds %+v", id, point.Summary, sum))
	}
	want, err := expected(truth.Seed)
	if err != nil {
		return err
	}
	r.result.Records += len(want) + 1 // the configuration
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

// compareConfiguration holds the record of the pool itself against what it was.
func (r *run) compareConfiguration(item *backup.Item, truth *truth) error {
	var stored pool.Configuration
	if err := item.Decode(&stored); err != nil {
		return err
	}
	var problems []error
	problem := func(format string, args ...any) {
		r.result.Losses++
		problems = append(problems, fmt.Errorf(format, args...))
	}
	if item.Key != backup.PoolKey(r.pool) {
		problem("the configuration is stored as %v", item.Key)
	}
	is, was := members(&stored), members(truth.configuration)
	for name, want := range was {
		if got := is[name]; got != want {
			problem("%v: %s is %s, the pool had %s", item.Key, name, got, want)
		}
	}
	if text := strings.Join(slices.Collect(maps.Values(is)), " "); slices.ContainsFunc(truth.secrets, func(s string) bool { return strings.Contains(text, s) }) {
		problem("%v holds a secret", item.Key)
	}
	return errors.Join(problems...)
}

// members are the members of a configuration as JSON, by name.
func members(c *pool.Configuration) map[string]string {
	texts := map[string]string{}
	for name, member := range map[string]any{
		"UserPool": c.UserPool, "MFA": c.MFA, "Clients": c.Clients, "IdentityProviders": c.IdentityProviders, "ResourceServers": c.ResourceServers,
	} {
		text, err := json.Marshal(member)
		if err != nil {
			text = []byte(err.Error())
		}
		texts[name] = string(text)
	}
	return texts
}

// expected are the records that a restore point of the pool holds.
func expected(was *cognito.Seed) (map[backup.Key]string, error) {
	want := map[backup.Key]string{}
	subs := map[string]string{}
	var problems []error
	put := func(key backup.Key, content any) {
		record, err := backup.NewRecord(key, content)
		problems = append(problems, err)
		want[key] = string(record.Content)
	}
	for i := range was.Users {
		u := &was.Users[i]
		attributes := map[string]string{}
		for _, a := range u.Attributes {
			attributes[a.Name] = a.Value
		}
		subs[u.Username] = attributes["sub"]
		put(backup.UserKey(attributes["sub"]), backup.User{
			Username: u.Username, Status: u.UserStatus, Enabled: u.Enabled, Created: u.UserCreateDate.UTC(), Attributes: attributes,
		})
	}
	for _, g := range was.Groups {
		group := backup.Group{Name: g.GroupName, Description: g.Description, RoleARN: g.RoleArn}
		if g.Precedence != nil {
			group.Precedence = aws.Int32(int32(*g.Precedence))
		}
		put(backup.GroupKey(g.GroupName), group)
	}
	for group, members := range was.Members {
		for _, username := range members {
			put(backup.MembershipKey(subs[username], group), backup.Membership{})
		}
	}
	return want, errors.Join(problems...)
}

// compareTarget holds what an import has made, and what it says of that, against
// the truth, and returns the restore point that it restored.
func (r *run) compareTarget(ctx context.Context, e *ended) (string, error) {
	var report restore.Report
	key := "reports/" + e.name + "/"
	b, err := r.object(ctx, key+"report.json")
	if err == nil {
		err = json.Unmarshal(b, &report)
	}
	if err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	truth := r.truth[report.RestorePoint]
	if truth == nil {
		return "", fmt.Errorf("the report names the restore point %s, which nobody made", report.RestorePoint)
	}
	after, err := r.bed.Cognito(r.secondary).Snapshot(r.target)
	if err != nil {
		return "", err
	}
	found := seed.Compare(truth.Seed, after)
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
	problems = append(problems, r.accounted(ctx, &report, &found, key)...)
	if len(found.Differences) == 0 && !report.Verified {
		problems = append(problems, fmt.Errorf("all is as it was, and the report says that it is not: %+v", report.Problems))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mails > 0 {
		problems = append(problems, fmt.Errorf("%d mails to users", r.mails))
	}
	return report.RestorePoint, errors.Join(problems...)
}

// accounted checks that the report says of every record what the comparison
// found: the counts of each kind, and for every user who it is now.
func (r *run) accounted(ctx context.Context, report *restore.Report, found *seed.Result, key string) []error {
	said := func(c restore.Counts) seed.Counts {
		return seed.Counts{Total: c.Total, There: c.Restored + c.Existing, Deferred: c.Deferred}
	}
	different := found.Account(said(report.Users), said(report.Groups), said(report.Memberships))
	for _, kind := range []struct {
		name string
		restore.Counts
	}{{"users", report.Users}, {"groups", report.Groups}, {"memberships", report.Memberships}} {
		if sum := kind.Restored + kind.Existing + kind.Deferred + kind.Conflict + kind.Failed + kind.LeftOut; sum != kind.Total {
			different = append(different, fmt.Sprintf("%s: %+v do not add up", kind.name, kind.Counts))
		}
	}
	b, err := r.object(ctx, key+"mapping.csv")
	if err != nil {
		return []error{err}
	}
	lines, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil {
		return []error{fmt.Errorf("mapping.csv: %w", err)}
	}
	different = append(different, found.Mapping(lines)...)
	r.result.Unaccounted += len(different)
	problems := make([]error, len(different))
	for i, d := range different {
		problems[i] = errors.New(d)
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
