package page

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"cognito-backup/test/local/graph"
)

const (
	// fresh is how old a look may be before there is another one.
	fresh = 250 * time.Millisecond
	// share of the time that counting may take: one in so many.
	share = 20
)

// look is the page's content at one time.
type look struct {
	// Sections are the parts of the page that change, by the id of their element.
	Sections map[string]template.HTML
	// States are the states of each workflow.
	States map[string]map[string]graph.Status
}

// observer looks at the testbed, as often as it makes sense and no oftener.
type observer struct {
	bed       Testbed
	workflows []*workflow
	now       func() time.Time

	mu        sync.Mutex
	last      *look
	lastAt    time.Time
	progress  map[string]*progress // by workflow
	execution map[string]string    // that the progress is of
	holdings  []Holding
	countNext time.Time
	notice    notice
}

// notice is the answer to what was done last.
type notice struct {
	Text   string
	Failed bool
}

func (o *observer) say(n notice) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.notice = n
	o.lastAt = time.Time{}
}

// look returns the current content.
func (o *observer) look(ctx context.Context) *look {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	if o.last != nil && now.Sub(o.lastAt) < fresh {
		return o.last
	}
	l := &look{Sections: map[string]template.HTML{}, States: map[string]map[string]graph.Status{}}
	var troubles []string
	for _, w := range o.workflows {
		if err := o.follow(ctx, l, w, now); err != nil {
			troubles = append(troubles, fmt.Sprintf("%s: %v", w.Name, err))
		}
	}
	if now.After(o.countNext) {
		holdings, err := o.bed.Holdings(ctx)
		if err != nil {
			troubles = append(troubles, "Counting: "+err.Error())
		} else {
			o.holdings = holdings
		}
		o.countNext = now.Add(share * o.now().Sub(now))
	}
	l.Sections["counts"] = render("counts", struct {
		Columns []Holding
		Rows    []countRow
	}{o.holdings, rows(o.holdings)})
	mails := o.bed.Mails()
	slices.Reverse(mails)
	l.Sections["mails"] = render("mails", mails)
	l.Sections["notice"] = render("notice", o.notice)
	l.Sections["trouble"] = render("trouble", troubles)
	if ctx.Err() == nil { // a reader who left takes no notice, and spoils none
		o.last, o.lastAt = l, now
	}
	return l
}

// follow adds what a workflow does to a look.
func (o *observer) follow(ctx context.Context, l *look, w *workflow, now time.Time) error {
	e, err := o.bed.Newest(ctx, w.Name)
	if err != nil {
		return err
	}
	if e == nil {
		e = &Execution{}
	}
	p := o.progress[w.Name]
	if id := e.Region + " " + e.Name; p == nil || o.execution[w.Name] != id {
		p = newProgress()
		o.progress[w.Name], o.execution[w.Name] = p, id
	}
	p.take(e)
	states := map[string]graph.Status{}
	for name, status := range p.status {
		states[name] = status
	}
	l.States[w.Name] = states
	l.Sections["status-"+w.Name] = render("status", statusOf(e, p, w))
	l.Sections["steps-"+w.Name] = render("steps", struct {
		Name  string
		Steps []stepView
	}{w.Name, p.steps(w, now)})
	return nil
}

// statusView is one line about an execution. It changes with what runs, not
// with every second, because screen readers read every change.
type statusView struct {
	Class  string
	Text   string
	Detail string // name and Region
	Error  string
	Report string // path
}

func statusOf(e *Execution, p *progress, w *workflow) statusView {
	if e.Name == "" {
		return statusView{Class: "todo", Text: "Has not run yet."}
	}
	v := statusView{Detail: fmt.Sprintf("%s, started at %s", e.Region, e.Started.UTC().Format("15:04:05 UTC")), Error: e.Error}
	if e.HasReport {
		v.Report = "/reports/" + url.PathEscape(e.Region) + "/" + url.PathEscape(e.Name)
	}
	took := duration(e.Stopped.Sub(e.Started))
	switch e.Status {
	case types.ExecutionStatusRunning:
		v.Class, v.Text = "running", "Running"
		if names := p.inside(w); len(names) > 0 {
			v.Text += ": " + strings.Join(names, " and ")
		}
	case types.ExecutionStatusSucceeded:
		v.Class, v.Text = "done", "Succeeded in "+took
	case types.ExecutionStatusTimedOut:
		v.Class, v.Text = "failed", "Timed out after "+took
	case types.ExecutionStatusAborted:
		v.Class, v.Text = "failed", "Aborted after "+took
	default:
		v.Class, v.Text = "failed", "Failed after "+took
	}
	return v
}

type countRow struct {
	Kind  Kind
	Cells []string
}

func rows(holdings []Holding) []countRow {
	var list []countRow
	for _, k := range kinds {
		row := countRow{Kind: k}
		for _, h := range holdings {
			cell := "–"
			if n, ok := h.Counts[k]; ok {
				cell = thousands(n)
			}
			if h.Gone {
				cell = "gone"
			}
			row.Cells = append(row.Cells, cell)
		}
		list = append(list, row)
	}
	return list
}

// thousands writes 12345 as 12,345.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func render(name string, data any) template.HTML {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return template.HTML(template.HTMLEscapeString(err.Error())) // a fault of the template itself; tests would see it
	}
	return template.HTML(b.String())
}

// version tells contents of a section apart.
func version(html template.HTML) string {
	h := fnv.New64a()
	h.Write([]byte(html))
	return fmt.Sprintf("%x", h.Sum64())
}
