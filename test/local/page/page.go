package page

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"sync"
	"time"

	"cognito-backup/test/local/graph"
)

//go:embed page.html page.css page.js
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"version": version,
	"clock":   func(t time.Time) string { return t.UTC().Format("15:04:05 UTC") },
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
}).ParseFS(files, "page.html"))

// follow-up of a page that is open.
const (
	tick      = 300 * time.Millisecond
	heartbeat = 15 * time.Second // keeps a connection open that has no news
)

// Page is the page's handler.
type Page struct {
	bed  Testbed
	see  *observer
	mux  *http.ServeMux
	busy sync.Mutex // one button at a time
}

// New makes the handler. It fails when a definition cannot be read.
func New(bed Testbed) (*Page, error) {
	see := &observer{bed: bed, now: time.Now, progress: map[string]*progress{}, execution: map[string]string{}}
	for _, w := range bed.Workflows() {
		known, err := newWorkflow(w)
		if err != nil {
			return nil, err
		}
		see.workflows = append(see.workflows, known)
	}
	p := &Page{bed: bed, see: see, mux: http.NewServeMux()}
	p.mux.HandleFunc("GET /{$}", p.index)
	p.mux.HandleFunc("GET /page.css", asset("text/css", read("page.css")+graph.CSS))
	p.mux.HandleFunc("GET /page.js", asset("text/javascript", read("page.js")))
	p.mux.HandleFunc("GET /events", p.events)
	p.mux.HandleFunc("GET /reports/{region}/{execution}", p.report)
	p.mux.HandleFunc("POST /export", p.export)
	p.mux.HandleFunc("POST /restore", p.restore)
	return p, nil
}

func read(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(b)
}

func asset(kind, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind+"; charset=utf-8")
		fmt.Fprint(w, text)
	}
}

// ServeHTTP answers readers on this machine. Other sites cannot press the
// buttons, nor read the page under a name that leads to this machine.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !local(r.Host) {
		http.Error(w, "This page is for this machine: open it at 127.0.0.1.", http.StatusMisdirectedRequest)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "+
		"img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	http.NewCrossOriginProtection().Handler(p.mux).ServeHTTP(w, r)
}

// local says that a Host header names this machine.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// drawn is a workflow as the template shows it.
type drawn struct {
	Name                  string
	Width                 string // class of what the wide drawing needs
	Wide, Compact         template.HTML
	StatusID, StepsID     string
	StatusHTML, StepsHTML template.HTML
}

func (p *Page) index(w http.ResponseWriter, r *http.Request) {
	l := p.see.look(r.Context())
	data := struct {
		Endpoint  string
		Sections  map[string]template.HTML
		Workflows []drawn
		Targets   []Target
	}{Endpoint: p.bed.Endpoint(), Sections: l.Sections, Targets: p.bed.Targets()}
	for _, w := range p.see.workflows {
		title := "Drawing of the " + w.Name + "; the list of its steps follows"
		d := drawn{
			Name: w.Name, Width: "narrow",
			Wide:     template.HTML(w.wide.SVG(title, l.States[w.Name])),
			Compact:  template.HTML(w.compact.SVG(title, l.States[w.Name])),
			StatusID: "status-" + w.Name, StepsID: "steps-" + w.Name,
		}
		if w.wide.W > 480 {
			d.Width = "broad"
		}
		d.StatusHTML, d.StepsHTML = l.Sections[d.StatusID], l.Sections[d.StepsID]
		data.Workflows = append(data.Workflows, d)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, render("page", data))
}

// change is what an event tells a page that is open.
type change struct {
	Sections map[string]section                 `json:"sections,omitempty"`
	States   map[string]map[string]graph.Status `json:"states,omitempty"`
}

type section struct {
	HTML    template.HTML `json:"html"`
	Version string        `json:"version"`
}

// events streams what changes, everything at first.
func (p *Page) events(w http.ResponseWriter, r *http.Request) {
	flush := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "retry: 1000\n\n")
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var sent look
	quiet := time.Now()
	for {
		l := p.see.look(r.Context())
		if c, any := sent.changes(l); any {
			b, err := json.Marshal(c)
			if err != nil {
				return
			}
			if _, err := fmt.Fprintf(w, "data: %s\n\n", b); err != nil {
				return
			}
			quiet = time.Now()
		} else if time.Since(quiet) > heartbeat {
			fmt.Fprint(w, ":\n\n")
			quiet = time.Now()
		}
		if flush.Flush() != nil {
			return
		}
		sent = *l
		select {
		case <-r.Context().Done():
			return
		case <-ticker.C:
		}
	}
}

// changes are what differs in a newer look.
func (l *look) changes(newer *look) (c change, any bool) {
	c = change{Sections: map[string]section{}, States: map[string]map[string]graph.Status{}}
	for id, html := range newer.Sections {
		if old, known := l.Sections[id]; !known || old != html {
			c.Sections[id], any = section{html, version(html)}, true
		}
	}
	for name, states := range newer.States {
		if l.States == nil || !same(l.States[name], states) {
			c.States[name], any = states, true
		}
	}
	return c, any
}

func same(a, b map[string]graph.Status) bool {
	if len(a) != len(b) {
		return false
	}
	for name, status := range a {
		if b[name] != status {
			return false
		}
	}
	return true
}

// report shows a report as it is stored. It has its style inside and no script.
func (p *Page) report(w http.ResponseWriter, r *http.Request) {
	html, err := p.bed.Report(r.Context(), r.PathValue("region"), r.PathValue("execution"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(html)
}

func (p *Page) export(w http.ResponseWriter, r *http.Request) {
	p.press(w, r, func(ctx context.Context) (string, error) {
		return "The export has started.", p.bed.Export(ctx)
	})
}

func (p *Page) restore(w http.ResponseWriter, r *http.Request) {
	into := r.PostFormValue("into")
	p.press(w, r, func(ctx context.Context) (string, error) {
		deleted, err := p.bed.Restore(ctx, into)
		return fmt.Sprintf("%s users deleted; the import into %s has started.", thousands(deleted), into), err
	})
}

// press does what a button is for and tells everybody who looks what came of
// it. What was begun is finished, even if the reader leaves.
func (p *Page) press(w http.ResponseWriter, r *http.Request, do func(context.Context) (string, error)) {
	if !p.busy.TryLock() {
		p.see.say(notice{"The last button pressed is still at work. Wait until it is done.", true})
	} else {
		defer p.busy.Unlock()
		text, err := do(context.WithoutCancel(r.Context()))
		if err != nil {
			p.see.say(notice{err.Error(), true})
		} else {
			p.see.say(notice{Text: text})
		}
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
