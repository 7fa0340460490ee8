package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/internal/step"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamodbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// synthesized runs the CDK app as the CDK does, with the context of cdk.json
// and changes to it, and returns the assembly.
func synthesized(t *testing.T, changes map[string]any) string {
	t.Helper()
	text, err := os.ReadFile(root + "/cdk.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Context map[string]any }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	maps.Copy(file.Context, changes)
	context, err := json.Marshal(file.Context)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	app := exec.CommandContext(t.Context(), "go", "run", ".")
	app.Dir = root
	app.Env = append(os.Environ(), "CDK_OUTDIR="+dir, "CDK_CONTEXT_JSON="+string(context), "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=20")
	if out, err := app.CombinedOutput(); err != nil {
		t.Fatalf("synthesize with %v: %v\n%s", changes, err, out)
	}
	return dir
}

// merge adds the stacks of another assembly to one: what one account holds
// after both were deployed.
func merge(t *testing.T, dir, other string) {
	t.Helper()
	read := func(dir string) (manifest struct {
		Version   string         `json:"version"`
		Artifacts map[string]any `json:"artifacts"`
	}) {
		text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &manifest); err != nil {
			t.Fatal(err)
		}
		return manifest
	}
	both := read(dir)
	maps.Copy(both.Artifacts, read(other).Artifacts)
	text, err := json.Marshal(both)
	if err != nil {
		t.Fatal(err)
	}
	absolute, err := filepath.Abs(other)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(other)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := os.Lstat(filepath.Join(dir, e.Name())); err == nil {
			continue // the manifest, and assets that both have
		}
		if err := os.Symlink(filepath.Join(absolute, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	manifest := filepath.Join(dir, "manifest.json")
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(manifest, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestTwoDeploymentsInOneAccount: two prefixes back up two pools and see
// nothing of each other. One of them has customer-managed keys, in three
// stacks, and its functions may use theirs by the policies of the templates.
func TestTwoDeploymentsInOneAccount(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts the testbed")
	}
	const prefix = "Shop"
	dir := copyAssembly(t, assembly, unhurried, asleep)
	second := synthesized(t, map[string]any{
		"stackPrefix": prefix, "primaryUserPoolId": "ap-northeast-1_ShopPool", "customerManagedKeys": true, "cognitoTps": 400,
	})
	merge(t, dir, copyAssembly(t, second, asleep))

	ours, theirs := seed.Pool(seed.Options{Users: 30, Groups: 3, Seed: 67}), seed.Pool(seed.Options{Users: 50, Groups: 5, Seed: 71})
	first := forImports(deployFrom(t, dir, ours), ours)
	shop := &bed{Bed: first.Bed, t: t, prefix: prefix}
	shop.locate()
	shop.fill(theirs)
	other := forImports(shop, theirs)

	first.point, other.point = first.export("{}"), other.export("{}")
	first.verify(first.point, ours)
	other.verify(other.point, theirs)
	for _, b := range []*importBed{first, other} {
		b.proved(b.restore(b.target(), nil))
	}

	// A key is the only thing that lets a function read what it wrote.
	denied := copyAssembly(t, second, asleep, without("export-users", "kms:Decrypt"))
	alone := &bed{t: t, prefix: prefix}
	alone.launch(denied)
	alone.fill(theirs)
	alone.create()
	e := alone.run(alone.primary, "ExportWorkflow", "{}")
	if e.Status != types.ExecutionStatusFailed || !strings.Contains(deref(e.Cause), "kms:Decrypt") {
		t.Errorf("without kms:Decrypt the export ended as %s: %s", e.Status, deref(e.Cause))
	}
}

// TestDeploymentOverAnOldTable: the table outlives its stacks. Stacks deployed
// over it go on where the old ones stopped, and refuse to back up another pool.
func TestDeploymentOverAnOldTable(t *testing.T) {
	t.Parallel()
	source := seed.Pool(seed.Options{Users: 40, Groups: 4, Seed: 73})
	old := exported(t, source)
	rename := source.Users[slices.IndexFunc(source.Users, func(u cognito.User) bool { return u.UserStatus == "CONFIRMED" })].Username

	b := forImports(start(t, source, unhurried), source)
	b.inherit(old)
	b.rename(rename, "Renamed after the old stacks were gone")
	newest := b.export("{}")
	b.verify(newest, b.bed.source())
	b.verify(old.point, source) // still readable
	points, err := b.store(b.primary).RestorePoints(t.Context(), b.pool)
	if err != nil || len(points) != 2 || points[0].Previous != old.point || points[0].Changed != 1 || points[0].Added != 0 {
		t.Errorf("restore points %+v, %v", points, err)
	}
	r := b.restore(b.target(), map[string]any{"RestorePoint": b.ended(old.point)})
	if r.report.RestorePoint != old.point {
		t.Errorf("%s was restored, not %s", r.report.RestorePoint, old.point)
	}
	b.proved(r)

	t.Run("another pool", func(t *testing.T) {
		const another = "ap-northeast-1_Another"
		b := forImports(start(t, source, unhurried, environment("PRIMARY_USER_POOL_ID", another)), source)
		b.inherit(old)
		e := b.run(b.primary, "ExportWorkflow", "{}")
		want := fmt.Sprintf("table %s holds the backup of user pool %s, and one stackPrefix backs up one pool: deploy with another stackPrefix to back up %s as well, or set primaryUserPoolId back to %s",
			table, old.pool, another, old.pool)
		if e.Status != types.ExecutionStatusFailed || !strings.Contains(deref(e.Cause), want) {
			t.Errorf("ended as %s: %s", e.Status, deref(e.Cause))
		}
		b.awaitMail(b.primary, func(message string) bool { return strings.Contains(message, "another stackPrefix") })
		if cause := b.refused(input(b.target(), nil)); !strings.Contains(cause, another) {
			t.Errorf("the import does not say which pool it looks for: %s", cause)
		}
		for pool, want := range map[string]int{old.pool: 1, another: 0} {
			if points, err := b.store(b.primary).RestorePoints(t.Context(), pool); err != nil || len(points) != want {
				t.Errorf("%d restore points of %s, %v; want %d", len(points), pool, err, want)
			}
		}
	})
}

// inherit puts the items of an old table into the bed's, an hour after the old
// stacks have gone: of their executions nothing is known, so the lease has to
// run out.
func (b *importBed) inherit(old *importBed) {
	b.t.Helper()
	api := dynamodb.NewFromConfig(b.Config(b.primary))
	for _, item := range old.items() {
		if _, leased := item["renewedAt"]; leased {
			item["renewedAt"] = &dynamodbtypes.AttributeValueMemberS{Value: step.FormatTime(time.Now().Add(-time.Hour))}
		}
		if _, err := api.PutItem(b.t.Context(), &dynamodb.PutItemInput{TableName: aws.String(table), Item: item}); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := b.Replicator().Drain(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// TestPrimaryRegionUnreachable: with nothing answering in the primary Region
// the secondary stack is deployed by itself, as --exclusively does, and
// restores what the replica holds.
func TestPrimaryRegionUnreachable(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts the testbed")
	}
	source := seed.Pool(seed.Options{Users: 40, Groups: 4, Seed: 79})
	deployed := &bed{t: t, prefix: usualPrefix}
	deployed.launch(copyAssembly(t, assembly, unhurried, asleep))
	deployed.fill(source)
	if err := deployed.DeployStack(t.Context(), "Primary"); err != nil {
		t.Fatal(err)
	}
	b := forImports(deployed, source)
	b.point = b.export("{}")

	b.RegionDown(b.primary)
	before := len(b.Requests())
	if err := b.DeployStack(t.Context(), "Secondary"); err != nil {
		t.Fatal(err)
	}
	r := b.restore(b.target(), nil)
	b.proved(r)
	b.awaitMail(b.secondary, func(message string) bool { return strings.Contains(message, r.pool) })
	for _, call := range b.Requests()[before:] {
		if call.Region == b.primary {
			t.Errorf("%s called %s in the Region that is down", call.Caller, call.Operation)
		}
	}
}
