package stacks

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// TestLeftovers: what a destroy leaves behind is said in full.
func TestLeftovers(t *testing.T) {
	tests := []struct {
		name string
		a    *assembly
		want string
	}{
		{"AWS-managed keys", standard(t), `  ap-northeast-1  bucket  cognitobackup-<account>-ap-northeast-1
  ap-northeast-1  table   CognitoBackup-BackupTable, with its replica in us-west-2
  us-west-2       bucket  cognitobackup-<account>-us-west-2
`},
		{"customer-managed keys", ownKeys(t), `  ap-northeast-1  bucket  cognitobackup-<account>-ap-northeast-1
  ap-northeast-1  key     Backup table, bucket, queues and topic of CognitoBackup
  ap-northeast-1  table   CognitoBackup-BackupTable, with its replica in us-west-2
  us-west-2       bucket  cognitobackup-<account>-us-west-2
  us-west-2       key     Backup table, bucket, queues and topic of CognitoBackup
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out, err := exec.Command("go", "run", "./leftovers", test.a.dir).CombinedOutput()
			want := "Left behind on purpose, because a backup must not vanish with the tool that made it:\n\n" + test.want + `
Left behind because Cognito has made them: the log groups /aws/cognito/... of
CSV import jobs, in each Region where there was an import. They may name users.

To take table and buckets over again:
  make deploy ARGS=--import-existing-resources   (and the -c of the deployment)
To delete all for good: docs/deployment.md, "Remove everything"
`
			if err != nil || string(out) != want {
				t.Errorf("%v\ngot\n%s\nwant\n%s", err, out, want)
			}
		})
	}
}

// TestOptionsOfTheCDK: what is said about deploying over leftovers and about a
// disaster names options that the CDK of package.json has.
func TestOptionsOfTheCDK(t *testing.T) {
	help, err := exec.Command("../node_modules/.bin/cdk", "deploy", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, help)
	}
	for _, option := range []string{"--import-existing-resources", "--method", "prepare-change-set", "--exclusively"} {
		if !strings.Contains(string(help), option) {
			t.Errorf("cdk deploy has no %s", option)
		}
	}
}

// TestDeploySecondary: what `make deploy-secondary` selects, whatever the
// prefix, is the one stack that can be deployed when the primary Region is down.
func TestDeploySecondary(t *testing.T) {
	const selection = "--exclusively '*-Secondary'"
	if !strings.Contains(string(read(t, "../Makefile")), "$(cdk) deploy "+selection+" $(deployment) $(ARGS)") {
		t.Errorf("the Makefile does not select by %s", selection)
	}
	synth := exec.Command("../node_modules/.bin/cdk", "synth", "--app", ownKeys(t).dir, "--json", "--exclusively", "*-Secondary")
	out, err := synth.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var selected struct{ Description string }
	if err := json.Unmarshal(out, &selected); err != nil || !strings.HasPrefix(selected.Description, "Restore of Cognito user pool ") {
		t.Errorf("%v: selected is not the secondary stack alone: %.300s", err, out)
	}
}
