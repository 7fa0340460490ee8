package docs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// callsFile names the file to which a stand-in writes how it was called.
const callsFile = "DOCS_CALLS"

// standIns are the commands that the documents use and that must not run.
var standIns = []string{"aws", "cdk", "go", "make", "npx"}

// tools are the commands that do run, of the machine; jq if there is one.
var tools = []string{"tr", "date", "jq"}

// TestMain makes the test binary the stand-in of the commands in documents.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); os.Getenv(callsFile) != "" && slices.Contains(standIns, name) {
		if err := standIn(name, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// standIn notes the call and answers where a script goes on with the answer.
func standIn(name string, args []string) error {
	note, err := json.Marshal(append([]string{name}, args...))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(os.Getenv(callsFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(note, '\n')); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if name == "aws" && len(args) > 1 {
		switch args[0] + " " + args[1] {
		case "sts get-caller-identity":
			fmt.Println("123456789012")
		case "sqs get-queue-url":
			fmt.Println("queue-url")
		case "dynamodb get-item":
			configuration, err := os.ReadFile(os.Getenv(callsFile) + ".configuration")
			if err != nil {
				return err
			}
			os.Stdout.Write(configuration)
		}
	}
	return nil
}

// placeholders are what the documents leave to the reader.
var placeholders = strings.NewReplacer(
	"<prefix>", "CognitoBackup", "<account>", "123456789012",
	"<primary Region>", "ap-northeast-1", "<secondary Region>", "us-west-2", "<Region>", "us-west-2",
	"<pool id>", "us-west-2_XXXXXXXXX", "<new pool id>", "us-west-2_XXXXXXXXX", "<standby pool>", "us-west-2_XXXXXXXXX",
	"<all pools>", "us-west-2_XXXXXXXXX,us-west-2_YYYYYYYYY", "<username>", "jo", "<log group>", "/aws/cognito/example",
	"<execution ARN>", "arn:aws:states:us-west-2:123456789012:execution:CognitoBackup-ImportWorkflow:example",
	"<folder>", "folder", "<path>", "path",
)

// script is what a document lets people type.
type script struct {
	d    *document
	line int
	text string
}

// inBlock finds commands in blocks that are no shell blocks.
var inBlock = regexp.MustCompile(`(?m)(?:^|  +)((?:aws|cdk|go|make|npx) [a-z].*)$`)

// scripts are the shell blocks of a document as one, because later ones use
// the variables of earlier ones, and each command in a sentence, or beside a
// drawing, by itself.
func scripts(d *document) []script {
	var all []script
	var blocks strings.Builder
	first := 0
	for _, b := range d.blocks {
		if b.language == "sh" {
			blocks.WriteString(b.content)
			if first == 0 {
				first = b.line
			}
		}
	}
	if first > 0 {
		all = append(all, script{d, first, blocks.String()})
	}
	for _, b := range d.blocks {
		for _, m := range inBlock.FindAllStringSubmatch(b.content, -1) {
			if b.language == "" && !strings.HasPrefix(b.content, "main.go ") { // the tree explains itself in words
				all = append(all, script{d, b.line, m[1]})
			}
		}
	}
	for _, s := range d.spans {
		command, rest, more := strings.Cut(s.code, " ")
		if more && slices.Contains(standIns, command) && !strings.HasPrefix(rest, "…") {
			all = append(all, script{d, s.line, s.code})
		}
	}
	return all
}

// play runs the script in bash with nothing but stand-ins and harmless tools
// within reach, and returns the calls.
func (s script) play(t *testing.T, configuration []byte) [][]string {
	t.Helper()
	home := t.TempDir()
	bin := filepath.Join(home, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range standIns {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range tools {
		path, err := exec.LookPath(name)
		if err != nil && name == "jq" {
			path, err = exec.LookPath("true")
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	calls := filepath.Join(home, "calls")
	for path, content := range map[string][]byte{
		calls: nil, calls + ".configuration": configuration,
		filepath.Join(home, "input.json"): []byte(`{"NewUserPoolId": "us-west-2_XXXXXXXXX"}`),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	text := strings.ReplaceAll(placeholders.Replace(s.text), "(…)", "(1 day)")
	command := exec.CommandContext(ctx, bash, "-eu", "-c", text)
	command.Dir = home
	command.Env = []string{"PATH=" + bin, "HOME=" + home, callsFile + "=" + calls}
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		t.Errorf("%s:%d: %v\n%s", s.d.path, s.line, err, &output)
	}
	noted, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	var list [][]string
	for line := range bytes.Lines(noted) {
		var call []string
		if err := json.Unmarshal(line, &call); err != nil {
			t.Fatal(err)
		}
		list = append(list, call)
	}
	return list
}

// TestCommands plays every command of every document, with stand-ins for those
// that need an account or take long, and holds each call against the product:
// targets, flags, paths, tests, parameters, operations, inputs.
func TestCommands(t *testing.T) {
	known := learn(t)
	total := 0
	for _, d := range documents(t) {
		if d.path == "docs/permissions.md" {
			continue // written from the templates, which have tests of their own
		}
		t.Run(d.path, func(t *testing.T) {
			for _, s := range scripts(d) {
				for _, call := range s.play(t, stored(t)) {
					total++
					if err := known.check(call); err != nil {
						t.Errorf("%s:%d: %s: %v", s.d.path, s.line, strings.Join(call, " "), err)
					}
				}
			}
		})
	}
	if total < 60 {
		t.Errorf("only %d commands were found: has the parser gone blind?", total)
	}
}

// TestBlocks says that blocks are of kinds that these tests know, so that no
// command hides in one of another kind.
func TestBlocks(t *testing.T) {
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if !slices.Contains([]string{"", "sh", "json", "sql"}, b.language) {
				t.Errorf("%s:%d: no test looks into blocks of %s", d.path, b.line, b.language)
			}
		}
	}
}

// TestHelp runs the one command that is cheap: make alone lists the targets.
func TestHelp(t *testing.T) {
	command := exec.CommandContext(t.Context(), "make")
	command.Dir = root
	command.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, target := range []string{"demo", "test", "lint", "local", "deploy", "diff", "destroy", "setup"} {
		if !regexp.MustCompile(`(?m)^  ` + target + ` +\S`).Match(out) {
			t.Errorf("make does not list %s", target)
		}
	}
}

// TestVariablesOfTheRunbook plays the block that everything else there uses.
func TestVariablesOfTheRunbook(t *testing.T) {
	d := named(t, "docs/restore-runbook.md")
	in := d.under(t, "set-these-once")
	for _, b := range d.blocks {
		if !in[b.section] {
			continue
		}
		calls := script{d, b.line, b.content + `aws noted "$BUCKET" "$TABLE" "$MACHINE" "$AWS_REGION${AWS_REGION@a}" "$AWS_DEFAULT_REGION${AWS_DEFAULT_REGION@a}"` + "\n"}.play(t, nil)
		want := []string{"aws", "noted", "cognitobackup-123456789012-us-west-2", "CognitoBackup-BackupTable",
			"arn:aws:states:us-west-2:123456789012:stateMachine:CognitoBackup-ImportWorkflow", "us-west-2x", "us-west-2x"} // x: exported
		if got := calls[len(calls)-1]; !slices.Equal(got, want) {
			t.Errorf("the variables are %q, want %q", got, want)
		}
		return
	}
	t.Error("the runbook sets no variables")
}

// TestDemoCommands runs what the README says to run first, for real: each
// `make demo` there, with a small pool; -kill and -tamper are tested beside the
// demo.
func TestDemoCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("it deploys the stacks several times")
	}
	folder, err := filepath.Abs("../localaws/cognito/testdata/cli-pool")
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, s := range scripts(named(t, "README.md")) {
		for line := range strings.Lines(s.text) {
			command := strings.TrimSpace(comment.ReplaceAllString(line, ""))
			command = strings.ReplaceAll(command, "<folder>", folder)
			tested := strings.Contains(command, "-kill") || strings.Contains(command, "-tamper")
			if strings.HasPrefix(command, "make demo") && !tested && !slices.Contains(commands, command) {
				commands = append(commands, command)
			}
		}
	}
	if len(commands) < 4 {
		t.Fatalf("README.md has only the demos %q", commands)
	}
	for _, command := range commands {
		t.Run(command, func(t *testing.T) {
			// The last of several values of a variable counts.
			run := exec.CommandContext(t.Context(), "bash", "-eu", "-c", command+" USERS=12 USER_GROUPS=3 TPS=25")
			run.Dir = root
			run.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
			out, err := run.CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("\nRESTORED users=")) || !bytes.HasSuffix(out, []byte(" verified=true\n")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
