package stacks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/jsii-runtime-go"
)

// node runs a program of node_modules and returns what it printed.
func node(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := os.Stat("../node_modules/asl-validator"); err != nil {
		t.Fatal("the validators of package.json are not installed: run make setup")
	}
	cmd := exec.Command("node", args...)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("node %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestDefinitionsAreValid runs asl-validator over every state machine.
func TestDefinitionsAreValid(t *testing.T) {
	inBoth(t, func(t *testing.T, tmpl *template, _ bool) {
		for _, machine := range tmpl.of(t, "AWS::StepFunctions::StateMachine") {
			// The validator wants ARNs where CloudFormation will put them.
			text := functionARNs(tmpl, plain(machine.at("DefinitionString")))
			path := filepath.Join(t.TempDir(), machine.ID+".asl.json")
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if out := node(t, "node_modules/asl-validator/dist/bin/asl-validator.js", "--json-path", path); !strings.Contains(out, "is valid") {
				t.Errorf("%s: %s", machine.ID, out)
			}
		}
	})
}

func functionARNs(tmpl *template, text string) string {
	for id, r := range tmpl.Resources {
		if r.Type == "AWS::Lambda::Function" {
			text = strings.ReplaceAll(text, "<"+id+".Arn>", "arn:aws:lambda:us-west-2:123456789012:function:"+plain(r.at("FunctionName")))
		}
	}
	return text
}

const validate = `
const { RegoEngine, TemplateFile } = require("./node_modules/@aws/cloudformation-validate");
const engine = new RegoEngine();
console.log(JSON.stringify(engine.validateStandard(new TemplateFile(process.argv[1])).diagnostics));
engine.free();`

// TestTemplatesAreValid runs CloudFormation's own validation over every
// template. Information, such as which change would replace a resource, is not
// a finding.
func TestTemplatesAreValid(t *testing.T) {
	for _, a := range []*assembly{standard(t), ownKeys(t)} {
		templates, err := filepath.Glob(filepath.Join(a.dir, "*.template.json"))
		if err != nil || len(templates) < 2 {
			t.Fatalf("%d templates, %v", len(templates), err)
		}
		for _, path := range templates {
			t.Run(filepath.Base(path), func(t *testing.T) {
				var diagnostics []struct {
					RuleID, Severity, Message string
					Entity                    struct{ LogicalID string }
				}
				out := node(t, "-e", validate, path)
				if err := json.Unmarshal([]byte(out), &diagnostics); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				for _, d := range diagnostics {
					if d.Severity != "INFO" {
						t.Errorf("%s %s on %s: %s", d.Severity, d.RuleID, d.Entity.LogicalID, d.Message)
					}
				}
			})
		}
	}
}

// TestSynthesisValidates: the feature flag of cdk.json makes synthesis itself
// refuse what CloudFormation would, so every other test has passed it.
func TestSynthesisValidates(t *testing.T) {
	context, err := exampleContext()
	if err != nil {
		t.Fatal(err)
	}
	app := awscdk.NewApp(&awscdk.AppProps{Context: &context, Outdir: jsii.String(t.TempDir())})
	stack := awscdk.NewStack(app, jsii.String("Wrong"), nil)
	awssqs.NewCfnQueue(stack, jsii.String("Queue"), &awssqs.CfnQueueProps{KmsDataKeyReusePeriodSeconds: jsii.Number(5)}) // at least 60
	defer func() {
		if failure := recover(); failure == nil || !strings.Contains(fmt.Sprint(failure), "Validation failed") {
			t.Errorf("a wrong template was synthesized: %v", failure)
		}
	}()
	app.Synth(nil)
}

// TestTemplateSizes: CloudFormation takes 500 resources and 1 MB.
func TestTemplateSizes(t *testing.T) {
	for _, stack := range bothStacks {
		info, err := os.Stat(ownKeys(t).path(stack))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(ownKeys(t).template(t, stack).Resources); n > 450 || info.Size() > 900_000 {
			t.Errorf("%s: %d resources, %d bytes", stack, n, info.Size())
		}
	}
}

// TestAssetHashes: the same sources give the same assets, whenever and
// wherever they are synthesized, so that a deployment replaces only what
// changed.
func TestAssetHashes(t *testing.T) {
	again, err := synthesize(nil) // another folder of placeholders, another output folder
	if err != nil {
		t.Fatal(err)
	}
	for _, stack := range bothStacks {
		first, second := hashes(t, standard(t), stack), hashes(t, again, stack)
		if len(first) == 0 || compact(first) != compact(second) {
			t.Errorf("%s: assets %v, then %v", stack, first, second)
		}
		if a, b := read(t, standard(t).path(stack)), read(t, again.path(stack)); !bytes.Equal(a, b) {
			t.Errorf("%s: two syntheses differ", stack)
		}
	}
}

// hashes is the asset hash of each function's code.
func hashes(t *testing.T, a *assembly, stack string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, f := range a.template(t, stack).of(t, "AWS::Lambda::Function") {
		found[plain(f.at("FunctionName"))] = plain(f.at("Code.S3Key"))
	}
	return found
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var buildFlags = regexp.MustCompile(`CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build (-trimpath -buildvcs=false -tags \S+)\s*\\\s*-ldflags="([^"]*)"`)

// TestBinariesAreReproducible builds a function as the Makefile does, here and
// in a copy of the sources elsewhere: the same bytes, hence the same asset.
func TestBinariesAreReproducible(t *testing.T) {
	flags := buildFlags.FindSubmatch(read(t, "../Makefile"))
	if flags == nil {
		t.Fatal("the Makefile builds functions with other flags than this test knows")
	}
	elsewhere := t.TempDir()
	for _, part := range []string{"go.mod", "go.sum", "internal", "lambdas/check-state-machine"} {
		if err := copyTree("../"+part, filepath.Join(elsewhere, part)); err != nil {
			t.Fatal(err)
		}
	}
	build := func(dir string) []byte {
		binary := filepath.Join(t.TempDir(), "bootstrap")
		args := append([]string{"build"}, strings.Fields(string(flags[1]))...)
		cmd := exec.Command("go", append(args, "-ldflags="+string(flags[2]), "-o", binary, "./lambdas/check-state-machine")...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
		return read(t, binary)
	}
	if !bytes.Equal(build(".."), build(elsewhere)) {
		t.Error("the same sources in two folders give two binaries")
	}
}

func copyTree(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}
