package main

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sfn"

	"cognito-backup/test/browser"
	"cognito-backup/test/local/graph"
)

var update = flag.Bool("update", false, "draw the workflows in docs/images anew")

const (
	root     = "../.."
	patience = 3 * time.Minute // for a workflow to end on a busy machine
)

// TestPage plays what a newcomer does: open the page, watch the scheduled
// export, start another, delete all users, and watch them come back.
// With SCREENSHOTS=docs/images it also takes the pictures of the documentation,
// of a pool of the usual size.
func TestPage(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the testbed and Chromium")
	}
	if _, err := os.Stat(filepath.Join(root, "cdk.out", "manifest.json")); err != nil {
		t.Fatal("cdk.out is not there: run `make synth` first")
	}
	b := browser.Start(t)
	shots := browser.Shots(t)
	size := []string{"-users", "60", "-groups", "7", "-factor", "20"}
	if shots != "" {
		size = []string{"-factor", "4"}
	}
	shown := startLocal(t, size...)
	url := regexp.MustCompile(`page +(http://127\.0\.0\.1:\d+)`).FindStringSubmatch(shown)[1]
	target := regexp.MustCompile(`empty user pool +(\S+),`).FindStringSubmatch(shown)[1]
	drawWorkflows(t, regexp.MustCompile(`endpoint +(http://127\.0\.0\.1:\d+)`).FindStringSubmatch(shown)[1])

	p := b.Open(t, url, browser.Desktop)
	await := func(workflow, status string) {
		t.Helper()
		p.Await(`["Succeeded", "Failed", "Timed", "Aborted"].some(w => document.getElementById("status-`+workflow+`").innerText.startsWith(w))`, patience)
		if got := p.Text("#status-" + workflow); !strings.HasPrefix(got, status) {
			t.Fatalf("%s: %s", workflow, got)
		}
	}
	await("ExportWorkflow", "Succeeded")
	for _, state := range []string{"CheckStateMachine", "ExportUsers", "ListGroups", "ExportGroupMembers", "CleanUpBackupTable", "SendMessage"} {
		p.Await(`document.querySelector(".wide [data-state=`+state+`]").classList.contains("done")`, patience)
	}
	p.Await(`document.querySelectorAll("#mails li").length == 1`, patience)

	p.Click("form[action='/export'] button")
	p.Await(`document.getElementById("status-ExportWorkflow").innerText.startsWith("Running")`, patience)
	await("ExportWorkflow", "Succeeded")
	p.Await(`document.querySelectorAll("#mails li").length == 2`, patience)
	p.Await(cell("Restore points", 3)+` == "2"`, patience)
	users := value(p, "Users", 1)

	p.Click("form[action='/restore'] button")
	p.Await(`document.getElementById("notice").innerText != "The export has started."`, 30*time.Second)
	if got, want := p.Text("#notice"), users+" users deleted"; !strings.HasPrefix(got, want) {
		t.Fatalf("the page says %q, not %q", got, want)
	}
	p.Await(cell("Users", 1)+` == "0"`, patience)
	if shots != "" {
		p.Await(`document.querySelector("[data-state=UpdateUsers]").classList.contains("running") && document.querySelector("[data-state=ImportUsers]").classList.contains("done")`, patience)
		photograph(t, b, url, shots, "page")
	}
	await("ImportWorkflow", "Succeeded")
	p.Await(`document.querySelector(".wide [data-state=RestoreUsers]").classList.contains("done")`, patience)
	p.Await(cell("Groups", 1)+" == "+cell("Groups", 2), patience)
	// Federated users come back by signing in, so not all of them are there.
	if restored := value(p, "Users", 2); restored == "0" {
		t.Error("nobody is in the target pool")
	}
	p.Await(`document.querySelectorAll("#mails li").length == 3`, patience)
	if got := p.Text("#mails li:first-child .subject"); !strings.Contains(got, "Import completed") {
		t.Errorf("the newest e-mail is %q", got)
	}
	if got := p.Text("#status-ImportWorkflow"); !strings.Contains(got, strings.SplitN(target, "_", 2)[0]) {
		t.Errorf("the import was not in the Region of %s: %s", target, got)
	}
	var report string
	p.Eval(`document.querySelector("#status-ImportWorkflow a").href`, &report)
	execution := report[strings.LastIndex(report, "/")+1:]
	b.Check(t, report, func(p *browser.Page, _ string) {
		if got := p.Text("main"); !strings.Contains(got, execution) || !strings.Contains(got, target) {
			t.Errorf("the report names neither execution nor pool:\n%s", got)
		}
	})
	if shots != "" {
		photograph(t, b, report, shots, "report")
	}

	// By mistake, not by disaster: back into the pool they were deleted from.
	p.Click("input[name=into]:not(:checked)")
	p.Click("form[action='/restore'] button")
	p.Await(`document.getElementById("notice").innerText.startsWith("0 users deleted")`, 30*time.Second)
	p.Await(`document.getElementById("status-ImportWorkflow").innerText.startsWith("Running")`, patience)
	await("ImportWorkflow", "Succeeded")
	p.Await(cell("Users", 1)+" == "+cell("Users", 2), patience)
}

// startLocal runs the command until the test ends and returns what it printed
// when it was up.
func startLocal(t *testing.T, args ...string) string {
	t.Helper()
	// The test's own context ends before the pages are closed.
	ctx, interrupt := context.WithCancel(context.WithoutCancel(t.Context()))
	var out output
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, append([]string{"-assembly", filepath.Join(root, "cdk.out"), "-source", root, "-port", "0"}, args...), &out, &out)
	}()
	t.Cleanup(func() {
		interrupt()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for begun := time.Now(); !strings.Contains(out.String(), "Ctrl-C"); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-done:
			done <- nil
			t.Fatalf("ended: %v\n%s", err, &out)
		default:
		}
		if time.Since(begun) > patience {
			t.Fatalf("not up after %s:\n%s", patience, &out)
		}
	}
	return out.String()
}

// cell is an expression for a count.
func cell(row string, column int) string {
	return `[...document.querySelectorAll("#counts tr")].find(r => r.cells[0].innerText == "` + row + `").cells[` + string(rune('0'+column)) + `].innerText`
}

func value(p *browser.Page, row string, column int) string {
	var text string
	p.Eval(cell(row, column), &text)
	return text
}

// photograph takes the pictures of a page.
func photograph(t *testing.T, b *browser.Browser, url, dir, name string) {
	t.Helper()
	phone := browser.Phone
	phone.Scale = 1
	for suffix, view := range map[string]browser.View{
		"desktop": browser.Desktop, "desktop-dark": browser.Desktop.In(true), "phone": phone, "phone-dark": phone.In(true),
	} {
		p := b.Open(t, url, view)
		if name == "page" {
			p.Await(`document.getElementById("connection").textContent == "This page follows what happens."`, patience)
		}
		p.Screenshot(filepath.Join(dir, name+"-"+suffix+".png"))
	}
}

// drawWorkflows holds the drawings of the documentation against the workflows
// that are deployed.
func drawWorkflows(t *testing.T, endpoint string) {
	t.Helper()
	api := sfn.New(sfn.Options{Region: "ap-northeast-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("local", "local", "")})
	machines, err := api.ListStateMachines(t.Context(), &sfn.ListStateMachinesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range machines.StateMachines {
		described, err := api.DescribeStateMachine(t.Context(), &sfn.DescribeStateMachineInput{StateMachineArn: m.StateMachineArn})
		if err != nil {
			t.Fatal(err)
		}
		definition, err := graph.Read(aws.ToString(described.Definition))
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(aws.ToString(m.Name), "-")
		file := filepath.Join(root, "docs", "images", map[string]string{"ExportWorkflow": "export-workflow.svg", "ImportWorkflow": "import-workflow.svg"}[name])
		got := graph.Layout(definition, false).Standalone("States of the " + name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || string(want) != got {
			t.Errorf("%s does not show the %s that is deployed: `make screenshots` draws it anew", file, name)
		}
	}
}
