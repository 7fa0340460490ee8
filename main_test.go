package main

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// app builds the program once a test needs it, as cdk.json would run it.
func app(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// synthesize runs the program as the CDK does, in a folder without assets.
func synthesize(t *testing.T, program string, context map[string]any) (stderr string, code int) {
	t.Helper()
	text, err := json.Marshal(context)
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd := exec.Command(program)
	cmd.Dir = t.TempDir()
	cmd.Stderr = &errs
	cmd.Env = append(os.Environ(), "CDK_CONTEXT_JSON="+string(text), "CDK_OUTDIR="+filepath.Join(cmd.Dir, "cdk.out"))
	err = cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return errs.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return errs.String(), 0
}

// TestBadInput: wrong values and missing binaries end with exit code 1 and
// with words, never with a stack trace.
func TestBadInput(t *testing.T) {
	program := app(t)
	right := map[string]any{
		"primaryUserPoolId": "ap-northeast-1_ExampleID", "secondaryRegion": "us-west-2", "notificationEmail": "identity-team@example.com",
	}
	tests := []struct {
		name    string
		changes map[string]any
		want    []string
	}{
		{"wrong values", map[string]any{"primaryUserPoolId": "mine", "cognitoTps": 0, "snsPreference": "ALL"}, []string{
			"The context (cdk.json, or -c key=value) needs a change:\n\n" +
				`primaryUserPoolId: given "mine"; accepted: a user pool id such as ap-northeast-1_AbCdEfGhI, at most 55 characters` + "\n" +
				"cognitoTps: given 0; accepted: a whole number from 1\n" +
				`snsPreference: given "ALL"; accepted: INFO_AND_ERRORS, ERRORS_ONLY` + "\n",
		}},
		{"no binaries", nil, []string{"Synthesis failed: ", "dist/check-state-machine", "run make build first"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			context := maps.Clone(right)
			maps.Copy(context, test.changes)
			stderr, code := synthesize(t, program, context)
			if code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			for _, want := range test.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("got\n%s\nwant\n%s", stderr, want)
				}
			}
			if strings.Contains(stderr, "goroutine") || strings.Contains(stderr, "panic") {
				t.Errorf("a stack trace:\n%s", stderr)
			}
		})
	}
}

// TestAccount: the account that the CDK names gets into the names of buckets,
// which CloudFormation takes over only if they are literal.
func TestAccount(t *testing.T) {
	steps, err := os.ReadDir("lambdas")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, step := range steps {
		folder := filepath.Join(dir, "dist", step.Name())
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "bootstrap"), []byte(step.Name()), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(app(t))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CDK_DEFAULT_ACCOUNT=123456789012", "CDK_OUTDIR="+filepath.Join(dir, "cdk.out"),
		`CDK_CONTEXT_JSON={"primaryUserPoolId": "ap-northeast-1_ExampleID", "secondaryRegion": "us-west-2", "notificationEmail": "identity-team@example.com"}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "cdk.out", "CognitoBackup-Secondary.template.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"BucketName": "cognitobackup-123456789012-us-west-2"`) {
		t.Error("the bucket's name is not literal")
	}
}
