package page

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"cognito-backup/test/local/graph"
)

func serve(t *testing.T, f *fake) *httptest.Server {
	t.Helper()
	p, err := New(f)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	return server
}

func get(t *testing.T, address string) (*http.Response, string) {
	t.Helper()
	r, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(b)
}

func TestProgress(t *testing.T) {
	w, err := newWorkflow(Workflow{"W", definition})
	if err != nil {
		t.Fatal(err)
	}
	const running, done, failed = graph.Running, graph.Done, graph.Failed
	partly := newStory("e").task("Begin", `{"whatever":1}`, `{"Counts":{}}`).
		enter("Task", "Work", `{"Counts":{"Users":5}}`).fail("TransientError").exit("Task", "Work", `{"Cursor":"runs/…","Counts":{"Users":1500,"Groups":2}}`)
	looping := *partly
	looping.enter("Choice", "Done?", "{}").exit("Choice", "Done?", "{}").
		task("Work", "{}", `{"WaitSeconds":30,"Counts":{"Users":2005,"Groups":2}}`).enter("Wait", "Pause", "{}")
	side := looping
	side.exit("Wait", "Pause", "{}").task("Work", "{}", `{"Counts":{"Users":2005,"Groups":2}}`).enter("Parallel", "Both", "{}").
		enter("Task", "One", "{}").enter("Task", "Two", "{}")
	both := side.last - 2
	aborted := side
	finished := side
	side.add(types.HistoryEvent{PreviousEventId: side.last - 1, Type: types.HistoryEventTypeTaskTimedOut,
		TaskTimedOutEventDetails: &types.TaskTimedOutEventDetails{}})
	if both == 0 {
		t.Fatal("no event of Both")
	}
	finished.exit("Task", "One", "{}").exit("Task", "Two", "{}").exit("Parallel", "Both", "{}").enter("Task", "Tell", "{}")

	for name, c := range map[string]struct {
		story  *story
		states map[string]graph.Status
		steps  map[string]string // details
		inside string
	}{
		"not begun": {newStory("e"), map[string]graph.Status{}, map[string]string{"Work": ""}, ""},
		"between slices": {partly, map[string]graph.Status{"Begin": done, "Work": running},
			map[string]string{"Begin": "1.0 s", "Work": "97 s · failed once, last with TransientError · Groups 2 · Users 1,495", "Tell": ""}, "Work"},
		"waiting": {&looping, map[string]graph.Status{"Begin": done, "Work": running, "Done?": done, "Pause": running},
			map[string]string{"Work": "97 s · 2 slices · failed once, last with TransientError · Groups 2 · Users 2,000"}, "Work"},
		"side by side": {&side, map[string]graph.Status{"Begin": done, "Work": done, "Done?": done, "Pause": done, "Both": running, "One": running, "Two": running},
			map[string]string{"One": "85 s · failed once, last with time-out", "Two": "84 s"}, "One and Two"},
		"aborted": {aborted.end(types.ExecutionStatusAborted, ""), map[string]graph.Status{"Begin": done, "Work": done, "Done?": done, "Pause": done, "Both": failed, "One": failed, "Two": failed}, nil, ""},
		"finished": {finished.end(types.ExecutionStatusSucceeded, ""), map[string]graph.Status{"Begin": done, "Work": done, "Done?": done, "Pause": done,
			"Both": done, "One": done, "Two": done, "Tell": done}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProgress()
			p.take(&c.story.e)
			p.take(&c.story.e) // nothing counts twice
			if !maps.Equal(p.status, c.states) {
				t.Errorf("states are %v, want %v", p.status, c.states)
			}
			for _, s := range p.steps(w, begun.Add(100*time.Second)) {
				if want, ok := c.steps[s.Name]; ok && s.Detail != want {
					t.Errorf("%s says %q, want %q", s.Name, s.Detail, want)
				}
			}
			if got := strings.Join(p.inside(w), " and "); got != c.inside {
				t.Errorf("inside are %q, want %q", got, c.inside)
			}
		})
	}
}

func TestStatusLine(t *testing.T) {
	w, _ := newWorkflow(Workflow{"W", definition})
	for want, e := range map[string]Execution{
		"Has not run yet.":        {},
		"Running: Begin":          newStory("e").enter("Task", "Begin", "{}").e,
		"Running":                 newStory("e").e,
		"Succeeded in 1.0 s":      newStory("e").end(types.ExecutionStatusSucceeded, "").e,
		"Failed after 1.0 s":      newStory("e").end(types.ExecutionStatusFailed, "why").e,
		"Timed out after 1.0 s":   newStory("e").end(types.ExecutionStatusTimedOut, "").e,
		"Aborted after 2 min 5 s": {Name: "e", Status: types.ExecutionStatusAborted, Started: begun, Stopped: begun.Add(125 * time.Second)},
	} {
		p := newProgress()
		p.take(&e)
		if got := statusOf(&e, p, w); got.Text != want || e.Error != got.Error {
			t.Errorf("the status says %q %q, want %q %q", got.Text, got.Error, want, e.Error)
		}
	}
}

func TestPageShowsEverything(t *testing.T) {
	f := newFake()
	e := newStory("e-1").task("Begin", "{}", "{}").enter("Task", "Work", "{}").end(types.ExecutionStatusFailed, "PermissionDenied: <not> allowed").e
	e.HasReport = true
	f.newest["ImportWorkflow"] = &e
	f.mails = []Mail{
		{At: begun, From: "us-west-2", To: "a@example.com", Subject: "First <mail>", Message: "one & two"},
		{At: begun.Add(time.Hour), From: "us-west-2", To: "a@example.com", Subject: "Second", Message: "three"},
	}
	server := serve(t, f)
	r, html := get(t, server.URL)
	if r.StatusCode != http.StatusOK || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("answered %s, %s", r.Status, r.Header.Get("Content-Type"))
	}
	if csp := r.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
		t.Errorf("the policy is %q", csp)
	}
	for _, want := range []string{
		`<td>12,345</td><td>gone</td><td>1</td>`, `<td>–</td><td>gone</td><td>5</td>`, "<code>us-west-2_Target</code>",
		`class="state task done" data-state="Begin"`, `class="state task failed" data-state="Work"`, `class="state task todo" data-state="Tell"`,
		"Does &#34;it&#34; &amp; more.", "Has not run yet.", "Failed after 4.0 s", "PermissionDenied: &lt;not&gt; allowed",
		"First &lt;mail&gt;", "one &amp; two", "10:00:00 UTC", `href="/reports/ap-northeast-1/e-1"`, `value="us-west-2_Target" checked`,
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Index(html, "Second") > strings.Index(html, "First &lt;mail&gt;") {
		t.Error("the newest e-mail is not on top")
	}
	if strings.Contains(html, "style=") || strings.Contains(html, "onclick") || strings.Contains(html, "https://") {
		t.Error("the page has inline style or script, or leads elsewhere")
	}
	for path, kind := range map[string]string{"/page.css": "text/css", "/page.js": "text/javascript", "/reports/us-west-2/e-1": "text/html"} {
		if r, body := get(t, server.URL+path); r.StatusCode != http.StatusOK || !strings.HasPrefix(r.Header.Get("Content-Type"), kind) || body == "" {
			t.Errorf("%s answers %s, %s", path, r.Status, r.Header.Get("Content-Type"))
		}
	}
	if r, _ := get(t, server.URL+"/reports/us-west-2/other"); r.StatusCode != http.StatusNotFound {
		t.Errorf("a report that is not there answers %s", r.Status)
	}
}

func TestTroubleIsShown(t *testing.T) {
	f := newFake()
	f.broken = errors.New("look for executions: no answer")
	if _, html := get(t, serve(t, f).URL); !strings.Contains(html, "ExportWorkflow: look for executions: no answer") {
		t.Error("the page does not tell what is wrong")
	}
}

func TestButtons(t *testing.T) {
	f := newFake()
	server := serve(t, f)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	press := func(path string, form url.Values, says string) {
		t.Helper()
		r, err := client.PostForm(server.URL+path, form)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/" {
			t.Errorf("%s answered %s", path, r.Status)
		}
		if _, html := get(t, server.URL); !strings.Contains(html, says) {
			t.Errorf("after %s the page lacks %q", path, says)
		}
	}
	press("/export", nil, "The export has started.")
	press("/restore", url.Values{"into": {"us-west-2_Target"}}, "12,345 users deleted; the import into us-west-2_Target has started.")
	f.set(func() { f.refuse = errors.New("there is no restore point yet") })
	press("/export", nil, `<p class="failed">there is no restore point yet</p>`)
	f.set(func() { f.refuse, f.hold = nil, make(chan struct{}) })
	first := make(chan struct{})
	go func() {
		defer close(first)
		if r, err := client.PostForm(server.URL+"/export", nil); err == nil {
			r.Body.Close()
		}
	}()
	time.Sleep(100 * time.Millisecond) // the first is inside
	press("/restore", url.Values{"into": {"us-west-2_Target"}}, "still at work")
	close(f.hold)
	<-first
	if f.exports != 2 || len(f.restored) != 1 {
		t.Errorf("%d exports, restored %v", f.exports, f.restored)
	}
}

func TestOnlyThisMachinePressesButtons(t *testing.T) {
	f := newFake()
	server := serve(t, f)
	for name, c := range map[string]struct {
		method, path, host string
		header             http.Header
		want               int
	}{
		"another name for this machine": {"GET", "/", "rebound.example", nil, http.StatusMisdirectedRequest},
		"another name, with a port":     {"GET", "/events", "rebound.example:80", nil, http.StatusMisdirectedRequest},
		"localhost":                     {"GET", "/", "localhost:4600", nil, http.StatusOK},
		"IPv6":                          {"GET", "/", "[::1]:4600", nil, http.StatusOK},
		"form of another site":          {"POST", "/export", "", http.Header{"Sec-Fetch-Site": {"cross-site"}}, http.StatusForbidden},
		"form of another port":          {"POST", "/export", "", http.Header{"Origin": {"http://127.0.0.1:1"}}, http.StatusForbidden},
		"button by a link":              {"GET", "/export", "", nil, http.StatusMethodNotAllowed},
		"no such page":                  {"GET", "/nothing", "", nil, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequest(c.method, server.URL+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			maps.Copy(r.Header, c.header)
			r.Host = c.host
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != c.want {
				t.Errorf("answered %s, want %d", answer.Status, c.want)
			}
		})
	}
	if f.exports != 0 {
		t.Errorf("%d exports were started", f.exports)
	}
}

func TestEvents(t *testing.T) {
	f := newFake()
	server := serve(t, f)
	r, err := http.Get(server.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if kind := r.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("content type %s", kind)
	}
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	next := func() (c change) {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &c); err != nil {
					t.Fatal(err)
				}
				return c
			}
		}
		t.Fatal("the stream has ended")
		return c
	}
	first := next()
	_, html := get(t, server.URL)
	for id, s := range first.Sections {
		if !strings.Contains(html, `id="`+id+`"`) {
			t.Errorf("the page has no element %s", id)
		}
		if !strings.Contains(html, `data-version="`+s.Version+`"`) {
			t.Errorf("%s has another version on the page", id)
		}
	}
	if len(first.Sections) != 8 || len(first.States) != 2 {
		t.Errorf("at first %d sections and %d workflows", len(first.Sections), len(first.States))
	}

	e := newStory("e").enter("Task", "Begin", "{}").e
	f.set(func() { f.newest["ExportWorkflow"] = &e })
	second := next()
	if got := second.States["ExportWorkflow"]["Begin"]; got != graph.Running {
		t.Errorf("Begin is %q", got)
	}
	if _, told := second.States["ImportWorkflow"]; told {
		t.Error("the other workflow is told although nothing changed")
	}
	if _, told := second.Sections["counts"]; told {
		t.Error("counts are told although they are the same")
	}
	if !strings.Contains(string(second.Sections["status-ExportWorkflow"].HTML), "Running: Begin") {
		t.Errorf("the status says %s", second.Sections["status-ExportWorkflow"].HTML)
	}
}

// A second execution begins anew.
func TestNewExecutionStartsGrey(t *testing.T) {
	f := newFake()
	now := begun
	w, _ := newWorkflow(Workflow{"ExportWorkflow", definition})
	o := &observer{bed: f, workflows: []*workflow{w}, now: func() time.Time { return now }, progress: map[string]*progress{}, execution: map[string]string{}}
	first := newStory("one").task("Begin", "{}", "{}").end(types.ExecutionStatusSucceeded, "").e
	f.newest["ExportWorkflow"] = &first
	if got := o.look(t.Context()).States["ExportWorkflow"]; got["Begin"] != graph.Done {
		t.Errorf("states are %v", got)
	}
	second := newStory("two").e
	f.newest["ExportWorkflow"] = &second
	now = now.Add(time.Second)
	if got := o.look(t.Context()).States["ExportWorkflow"]; len(got) != 0 {
		t.Errorf("states are %v", got)
	}
}

func TestManyReadersLookOnce(t *testing.T) {
	f := newFake()
	now := begun
	o := &observer{bed: f, now: func() time.Time { return now }, progress: map[string]*progress{}, execution: map[string]string{}}
	for range 100 {
		o.look(t.Context())
	}
	if f.counted != 1 {
		t.Errorf("counted %d times", f.counted)
	}
	now = now.Add(fresh)
	o.look(t.Context())
	if f.counted != 2 {
		t.Errorf("counted %d times", f.counted)
	}
}

func TestNewRefusesBrokenDefinition(t *testing.T) {
	if _, err := newWorkflow(Workflow{"W", `{"StartAt":"A"}`}); err == nil || !strings.Contains(err.Error(), "W: ") {
		t.Errorf("error: %v", err)
	}
}
