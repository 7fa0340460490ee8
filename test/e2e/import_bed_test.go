package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"cognito-backup/internal/restore"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// unhurried lifts the quotas, for tests that are not about rates: what they
// prove is the same at any rate, and they end sooner.
func unhurried(_ string, template map[string]any) { environment("COGNITO_TPS", "400")("", template) }

// importBed is a testbed whose source pool has been exported once.
type importBed struct {
	*bed
	source *cognito.Seed // what was seeded
	mails  *mailbox
	point  string                       // id of the restore point
	kills  map[string][]<-chan struct{} // by function; closed when it has been killed
	there  string                       // Region of the imports: the secondary, unless a test says otherwise
}

// mailbox collects what Cognito would have sent to users.
type mailbox struct {
	mu   sync.Mutex
	sent []cognito.Mail
}

func (m *mailbox) add(mail cognito.Mail) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, mail)
}

// forget leaves out what came so far, such as the codes of a sign-up.
func (m *mailbox) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = nil
}

// exported starts a testbed without quotas and exports the source.
func exported(t *testing.T, source *cognito.Seed, edits ...edit) *importBed {
	t.Helper()
	b := forImports(start(t, source, append([]edit{unhurried}, edits...)...), source)
	b.point = b.export("{}")
	return b
}

// forImports makes a bed one of imports into the secondary Region.
func forImports(deployed *bed, source *cognito.Seed) *importBed {
	b := &importBed{bed: deployed, source: source, mails: new(mailbox), there: deployed.secondary}
	for _, region := range []string{b.primary, b.secondary} {
		b.Cognito(region).Settings().NoQuotas()
		b.Cognito(region).Settings().Update(func(v *cognito.Values) { v.ImportRate = 1000 })
		b.Cognito(region).OnMail = b.mails.add
	}
	return b
}

// export runs the ExportWorkflow and waits until the replica has all of it.
func (b *importBed) export(input string) string {
	b.t.Helper()
	point := b.bed.export(input)
	if err := b.Replicator().Drain(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return point
}

// target makes an empty pool in the Region of the imports, like the source's.
func (b *importBed) target(change ...func(*cognito.Seed)) string {
	b.t.Helper()
	empty := seed.Empty(b.source, "")
	for _, c := range change {
		c(empty)
	}
	id, err := b.Cognito(b.there).Seed(empty)
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

// input is the ImportWorkflow's input for the pool with more keys.
func input(pool string, more map[string]any) string {
	in := map[string]any{"NewUserPoolId": pool}
	maps.Copy(in, more)
	j, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	return string(j)
}

// restore runs the ImportWorkflow, which must succeed, and
// reads its report.
func (b *importBed) restore(pool string, more map[string]any) *restored {
	b.t.Helper()
	e := b.run(b.there, "ImportWorkflow", input(pool, more))
	if e.Status != types.ExecutionStatusSucceeded {
		b.fail(e)
	}
	return b.results(pool, e)
}

// refused runs the ImportWorkflow, which must fail, and returns the cause.
func (b *importBed) refused(in string) string {
	b.t.Helper()
	e := b.run(b.there, "ImportWorkflow", in)
	if e.Status != types.ExecutionStatusFailed {
		b.t.Fatalf("the import with %s ended as %s", in, e.Status)
	}
	var failure struct {
		ErrorMessage string `json:"errorMessage"`
	}
	if json.Unmarshal([]byte(*e.Cause), &failure) != nil {
		return *e.Cause
	}
	return failure.ErrorMessage
}

// restored is what an import left.
type restored struct {
	execution
	report  restore.Report
	mapping [][]string
	html    string
	pool    string
	after   *cognito.Seed
}

func (b *importBed) results(pool string, e execution) *restored {
	b.t.Helper()
	r := &restored{execution: e, pool: pool}
	prefix := "reports/" + e.arn[strings.LastIndexByte(e.arn, ':')+1:] + "/"
	if err := json.Unmarshal(b.object(prefix+"report.json"), &r.report); err != nil {
		b.t.Fatal(err)
	}
	var err error
	if r.mapping, err = csv.NewReader(bytes.NewReader(b.object(prefix + "mapping.csv"))).ReadAll(); err != nil {
		b.t.Fatal(err)
	}
	r.html = string(b.object(prefix + "report.html"))
	r.after = b.snapshot(pool)
	b.tidy(e)
	return r
}

func (b *importBed) snapshot(pool string) *cognito.Seed {
	b.t.Helper()
	after, err := b.Cognito(b.there).Snapshot(pool)
	if err != nil {
		b.t.Fatal(err)
	}
	return after
}

func (b *importBed) s3() (*s3.Client, string) {
	return s3.NewFromConfig(b.Config(b.there), func(o *s3.Options) { o.UsePathStyle = true }), b.Output(b.stack(b.there), "BucketName")
}

func (b *importBed) object(key string) []byte {
	b.t.Helper()
	api, bucket := b.s3()
	out, err := api.GetObject(b.t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		b.t.Fatalf("%s: %v", key, err)
	}
	defer out.Body.Close()
	content, err := io.ReadAll(out.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return content
}

// tidy checks that nothing of the import with people's data is left, in any version.
func (b *importBed) tidy(e execution) {
	b.t.Helper()
	api, bucket := b.s3()
	prefix := "runs/" + e.arn[strings.LastIndexByte(e.arn, ':')+1:] + "/"
	out, err := api.ListObjectVersions(b.t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &prefix})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, v := range out.Versions {
		if name := strings.TrimPrefix(*v.Key, prefix); name != "summary.json" && !strings.HasPrefix(name, "phases/") && !strings.HasPrefix(name, "round-") &&
			name != "missing-groups.json" && name != "no-csv.json" && name != "given-up.json" {
			b.t.Errorf("the import left the object %s", *v.Key)
		}
	}
}

// proved checks by the test's own comparison that everything came back, and
// that the product's report says the same.
func (b *importBed) proved(r *restored, ignore ...string) seed.Result {
	b.t.Helper()
	result := seed.Compare(b.source, r.after, ignore...)
	for _, d := range result.Differences {
		b.t.Error(d)
	}
	if !r.report.Verified {
		b.t.Errorf("the report says verified=false: %+v", r.report.Problems)
	}
	b.counted(r, result)
	b.silent()
	return result
}

func (b *importBed) counted(r *restored, result seed.Result) {
	b.t.Helper()
	said := func(c restore.Counts) seed.Counts {
		return seed.Counts{Total: c.Total, There: c.Restored + c.Existing, Deferred: c.Deferred}
	}
	for _, problem := range append(result.Account(said(r.report.Users), said(r.report.Groups), said(r.report.Memberships)), result.Mapping(r.mapping)...) {
		b.t.Error(problem)
	}
}

// silent checks that no user got mail.
func (b *importBed) silent() {
	b.t.Helper()
	b.mails.mu.Lock()
	defer b.mails.mu.Unlock()
	for _, m := range b.mails.sent {
		b.t.Errorf("Cognito sent %s to a user by %s", m.Trigger, m.Medium)
	}
}

// mapped finds a user's line in mapping.csv by the old sub.
func (r *restored) mapped(t *testing.T, oldSub string) []string {
	t.Helper()
	i := slices.IndexFunc(r.mapping, func(line []string) bool { return line[1] == oldSub })
	if i < 0 {
		t.Fatalf("mapping.csv does not have the old sub %s", oldSub)
	}
	return r.mapping[i]
}

// problem finds a reason in the report.
func (r *restored) problem(reason string) (restore.Problem, bool) {
	i := slices.IndexFunc(r.report.Problems, func(p restore.Problem) bool { return p.Reason == reason })
	if i < 0 {
		return restore.Problem{}, false
	}
	return r.report.Problems[i], true
}

// unchanged checks that two snapshots of a pool hold the same.
func unchanged(t *testing.T, before, after *cognito.Seed) {
	t.Helper()
	for name, pair := range map[string][2]any{
		"users":       {byUsername(before), byUsername(after)},
		"groups":      {before.Groups, after.Groups},
		"memberships": {before.Members, after.Members},
	} {
		x, err := json.Marshal(pair[0])
		if err != nil {
			t.Fatal(err)
		}
		y, err := json.Marshal(pair[1])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x, y) {
			t.Errorf("the pool's %s have changed", name)
		}
	}
}

func byUsername(s *cognito.Seed) map[string]cognito.User {
	users := make(map[string]cognito.User, len(s.Users))
	for _, u := range s.Users {
		users[u.Username] = u
	}
	return users
}
