package page

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"cognito-backup/test/browser"
)

// soon is how long a page that is open may take to show what happened.
const soon = 10 * time.Second

// class is an expression for the classes of a state's shape.
func class(workflow, state string) string {
	return `document.querySelector('[data-workflow=` + workflow + `] .wide [data-state=` + state + `]').getAttribute("class")`
}

func TestInChromium(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Chromium")
	}
	b := browser.Start(t)

	t.Run("follows an execution", func(t *testing.T) {
		f := newFake()
		p := b.Open(t, serve(t, f).URL, browser.Desktop)
		p.Await(`document.getElementById("connection").textContent == "This page follows what happens."`, soon)
		told := newStory("e")
		tell := func(state, want string) {
			t.Helper()
			e := told.e
			f.set(func() { f.newest["ExportWorkflow"] = &e })
			p.Await(class("ExportWorkflow", state)+` == "state task `+want+`"`, soon)
		}
		told.enter("Task", "Begin", "{}")
		tell("Begin", "running")
		if got := p.Text("#status-ExportWorkflow"); !strings.HasPrefix(got, "Running: Begin") {
			t.Errorf("the status says %q", got)
		}
		told.exit("Task", "Begin", "{}").enter("Task", "Work", "{}")
		tell("Begin", "done")
		tell("Work", "running")
		told.end(types.ExecutionStatusFailed, "no such pool")
		tell("Work", "failed")
		if got := p.Text("#status-ExportWorkflow"); !strings.Contains(got, "Failed") || !strings.Contains(got, "no such pool") {
			t.Errorf("the status says %q", got)
		}
		if got := p.Text("#steps-ExportWorkflow"); !strings.Contains(got, "Work\nfailed") {
			t.Errorf("the steps are %q", got)
		}
		told = newStory("another")
		tell("Work", "todo")
		var stroke, untouched string
		p.Eval(`getComputedStyle(document.querySelector("[data-workflow=ImportWorkflow] .wide .task .shape")).stroke`, &untouched)
		told.enter("Task", "Begin", "{}").end(types.ExecutionStatusSucceeded, "")
		tell("Begin", "done")
		p.Eval(`getComputedStyle(document.querySelector("[data-workflow=ExportWorkflow] .wide .task.done .shape")).stroke`, &stroke)
		if stroke != "rgb(10, 125, 51)" || stroke == untouched {
			t.Errorf("a state that is done is drawn in %s, others in %s", stroke, untouched)
		}
	})

	t.Run("buttons", func(t *testing.T) {
		f := newFake()
		p := b.Open(t, serve(t, f).URL, browser.Desktop)
		p.Await(`document.getElementById("connection").textContent == "This page follows what happens."`, soon)
		p.Click("form[action='/export'] button")
		p.Await(`document.getElementById("notice").innerText.includes("The export has started.")`, soon)
		p.Click("input[value=ap-northeast-1_Source]")
		p.Click("form[action='/restore'] button")
		p.Await(`document.getElementById("notice").innerText.includes("the import into ap-northeast-1_Source has started.")`, soon)
		var focused string
		p.Eval("document.activeElement.innerText", &focused)
		if focused != "Delete all users and start the import" {
			t.Errorf("the focus is at %q", focused)
		}
		if requests := p.Requests(); strings.Count(strings.Join(requests, " "), "page.js") != 1 {
			t.Errorf("the page was left: %v", requests)
		}
		if f.exports != 1 || len(f.restored) != 1 {
			t.Errorf("%d exports, restored %v", f.exports, f.restored)
		}
	})

	t.Run("keyboard alone", func(t *testing.T) {
		f := newFake()
		p := b.Open(t, serve(t, f).URL, browser.Phone)
		p.Press("Tab")
		p.Press(" ")
		p.Await(`document.getElementById("notice").innerText.includes("The export has started.")`, soon)
		p.Press("Tab") // the pools
		p.Press("Tab")
		p.Press("Enter")
		p.Await(`document.getElementById("notice").innerText.includes("the import into us-west-2_Target has started.")`, soon)
	})

	t.Run("without scripts", func(t *testing.T) {
		f := newFake()
		view := browser.Desktop
		view.NoScript = true
		p := b.Open(t, serve(t, f).URL, view)
		if got := p.Text("noscript"); !strings.Contains(got, "load it again") {
			t.Errorf("the page says %q", got)
		}
		p.Click("form[action='/export'] button")
		p.Loaded()
		if got := p.Text("#notice"); got != "The export has started." {
			t.Errorf("after the button the page says %q", got)
		}
	})

	t.Run("open e-mail stays open", func(t *testing.T) {
		f := newFake()
		f.mails = []Mail{{At: begun, Subject: "First", Message: "one"}, {At: begun, Subject: "Second", Message: "two"}}
		p := b.Open(t, serve(t, f).URL, browser.Desktop)
		p.Click("#mails li:last-child summary")
		p.Await(`document.querySelector("#mails li:last-child details").open`, soon)
		f.set(func() { f.mails = append(f.mails, Mail{At: begun, Subject: "Third", Message: "three"}) })
		p.Await(`document.querySelectorAll("#mails li").length == 3`, soon)
		var open []bool
		p.Eval(`[...document.querySelectorAll("#mails details")].map(d => d.open)`, &open)
		if len(open) != 3 || open[0] || open[1] || !open[2] {
			t.Errorf("open are %v", open)
		}
	})

	t.Run("testbed stops and comes back", func(t *testing.T) {
		page, err := New(newFake())
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(page)
		address := server.Listener.Addr().String()
		p := b.Open(t, server.URL, browser.Desktop)
		p.Await(`document.getElementById("connection").textContent == "This page follows what happens."`, soon)
		server.CloseClientConnections()
		server.Close()
		p.Await(`document.getElementById("connection").textContent.includes("does not answer")`, soon)
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Skip("the port was taken meanwhile: ", err)
		}
		again := &http.Server{Handler: page}
		go again.Serve(listener)
		defer again.Close()
		p.Await(`document.getElementById("connection").textContent == "This page follows what happens."`, 2*soon)
		p.Problems() // connections refused, as expected
	})

	t.Run("every look", func(t *testing.T) {
		f := newFake()
		running := newStory("e").task("Begin", "{}", "{}").enter("Task", "Work", "{}").e
		failed := newStory("e-1").task("Begin", "{}", "{}").enter("Task", "Work", "{}").
			end(types.ExecutionStatusFailed, "PermissionDenied: "+strings.Repeat("arn:aws:states:ap-northeast-1:123456789012:", 5)).e
		failed.HasReport = true
		f.newest["ExportWorkflow"], f.newest["ImportWorkflow"] = &running, &failed
		f.mails = []Mail{{At: begun, From: "us-west-2", To: "somebody-with-a-long-address@example.com", Subject: "Import failed",
			Message: "A line that is long enough to need " + strings.Repeat("very ", 40) + "much room\n" + strings.Repeat("x", 300)}}
		f.holdings = append(f.holdings, Holding{Title: "Its replica", ID: "T", Region: "us-west-2", Counts: map[Kind]int{Users: 1000000, RestorePoints: 1}})
		server := serve(t, f)
		resp, err := http.PostForm(server.URL+"/export", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		b.Check(t, server.URL, func(p *browser.Page, name string) {
			p.Eval(`document.querySelectorAll("details").forEach(d => { d.open = true })`, nil)
			wide, compact := `[data-workflow=ImportWorkflow] .wide svg`, `[data-workflow=ImportWorkflow] .compact svg`
			for selector, want := range map[string]bool{wide: !strings.HasPrefix(name, "phone"), compact: strings.HasPrefix(name, "phone")} {
				var shown bool
				p.Eval(`document.querySelector("`+selector+`").getClientRects().length > 0`, &shown)
				if shown != want {
					t.Errorf("%s: %s is shown: %t", name, selector, shown)
				}
			}
		})
		b.Check(t, server.URL+"/reports/us-west-2/e-1", nil)
	})
}
