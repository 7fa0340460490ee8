package browser

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// View is how a page is looked at.
type View struct {
	Width, Height int  // 1280 by 800 when zero
	Scale         int  // device pixels per pixel; 1 when zero
	Dark          bool // the reader prefers dark
	NoScript      bool // scripts are switched off
	Touch         bool // a phone
}

// The views that a page is checked in.
var (
	Desktop = View{Width: 1280, Height: 800}
	Phone   = View{Width: 390, Height: 844, Scale: 2, Touch: true}
)

// In returns the view, dark.
func (v View) In(dark bool) View {
	v.Dark = dark
	return v
}

// Page is a page that Chromium has opened.
type Page struct {
	b       *Browser
	t       testing.TB
	session string
	url     string
	width   int

	mu       sync.Mutex
	requests []string
	problems []string
	loaded   chan struct{}
}

// Open opens an http or file URL, or a file's path, and waits until it has
// loaded. At its end the test fails if the page requested anything from
// elsewhere, or if the console holds an error.
func (b *Browser) Open(t testing.TB, address string, v View) *Page {
	t.Helper()
	if !strings.Contains(address, "://") {
		path, err := filepath.Abs(address)
		if err != nil {
			t.Fatal(err)
		}
		address = (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
	}
	if v.Width == 0 {
		v.Width, v.Height = Desktop.Width, Desktop.Height
	}
	if v.Scale == 0 {
		v.Scale = 1
	}
	p := &Page{b: b, t: t, url: address, width: v.Width, loaded: make(chan struct{}, 16)}
	var target struct{ TargetID string }
	p.must(b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target))
	var attached struct{ SessionID string }
	p.must(b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached))
	p.session = attached.SessionID
	b.mu.Lock()
	b.sessions[p.session] = p.take
	b.mu.Unlock()

	theme := "light"
	if v.Dark {
		theme = "dark"
	}
	p.do("Page.enable", nil)
	p.do("Network.enable", nil)
	p.do("Runtime.enable", nil)
	p.do("Log.enable", nil)
	p.do("Emulation.setDeviceMetricsOverride", map[string]any{"width": v.Width, "height": v.Height, "deviceScaleFactor": v.Scale, "mobile": v.Touch})
	p.do("Emulation.setTouchEmulationEnabled", map[string]any{"enabled": v.Touch})
	p.do("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{
		{"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"},
	}})
	p.do("Emulation.setScriptExecutionDisabled", map[string]any{"value": v.NoScript})
	t.Cleanup(func() {
		p.check()
		b.call("", "Target.closeTarget", map[string]any{"targetId": target.TargetID}, nil)
	})
	p.drain()
	var navigated struct{ ErrorText string }
	p.must(b.call(p.session, "Page.navigate", map[string]any{"url": address}, &navigated))
	if navigated.ErrorText != "" {
		t.Fatalf("open %s: %s", address, navigated.ErrorText)
	}
	p.Loaded()
	return p
}

// Loaded waits until the page has loaded, the first time or again.
func (p *Page) Loaded() {
	p.t.Helper()
	select {
	case <-p.loaded:
	case <-time.After(patience):
		p.t.Fatalf("%s has not loaded within %s", p.url, patience)
	}
}

func (p *Page) drain() {
	for {
		select {
		case <-p.loaded:
		default:
			return
		}
	}
}

func (p *Page) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *Page) do(method string, params any) {
	p.t.Helper()
	p.must(p.b.call(p.session, method, params, nil))
}

// take notes what happens on the page.
func (p *Page) take(e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Method {
	case "Page.loadEventFired":
		select {
		case p.loaded <- struct{}{}:
		default:
		}
	case "Network.requestWillBeSent", "Network.webSocketCreated":
		var m struct {
			URL     string
			Request struct{ URL string }
		}
		json.Unmarshal(e.Params, &m)
		p.requests = append(p.requests, m.URL+m.Request.URL)
	case "Runtime.exceptionThrown":
		var m struct {
			ExceptionDetails struct {
				Text      string
				Exception struct{ Description string }
			}
		}
		json.Unmarshal(e.Params, &m)
		p.problems = append(p.problems, m.ExceptionDetails.Text+" "+m.ExceptionDetails.Exception.Description)
	case "Log.entryAdded":
		var m struct {
			Entry struct{ Level, Text, URL string }
		}
		json.Unmarshal(e.Params, &m)
		if m.Entry.Level == "error" {
			p.problems = append(p.problems, m.Entry.Text+" "+m.Entry.URL)
		}
	}
}

// Requests are the URLs that the page has requested, itself among them.
func (p *Page) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.requests...)
}

// External are the requests that went elsewhere than to where the page came from.
func (p *Page) External() []string {
	home, err := url.Parse(p.url)
	if err != nil {
		return p.Requests()
	}
	var list []string
	for _, request := range p.Requests() {
		u, err := url.Parse(request)
		switch {
		case err == nil && u.Scheme == home.Scheme && u.Host == home.Host:
		case err == nil && (u.Scheme == "data" || u.Scheme == "about"):
		default:
			list = append(list, request)
		}
	}
	return list
}

// Problems are the errors in the page's console so far. Taking them says that
// they were expected.
func (p *Page) Problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.problems
	p.problems = nil
	return list
}

func (p *Page) check() {
	for _, request := range p.External() {
		p.t.Errorf("%s requested %s", p.url, request)
	}
	for _, problem := range p.Problems() {
		p.t.Errorf("%s: console: %s", p.url, problem)
	}
}

// Eval evaluates an expression on the page, awaits it if it is a promise, and
// reads its value into result, if that is not nil.
func (p *Page) Eval(expression string, result any) {
	p.t.Helper()
	p.must(p.eval(expression, result))
}

func (p *Page) eval(expression string, result any) error {
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	err := p.b.call(p.session, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &answer)
	if err != nil {
		return err
	}
	if e := answer.ExceptionDetails; e != nil {
		return fmt.Errorf("evaluate %.200s: %s %s", expression, e.Text, e.Exception.Description)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer.Result.Value, result)
}

// Text is the visible text of the first element that a selector finds.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	var text *string
	p.Eval("document.querySelector("+quote(selector)+")?.innerText", &text)
	if text == nil {
		p.t.Fatalf("%s has no %s", p.url, selector)
	}
	return *text
}

// Await waits until an expression is true.
func (p *Page) Await(expression string, limit time.Duration) {
	p.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		var truth bool
		err := p.eval("!!("+expression+")", &truth)
		if truth {
			return
		}
		if time.Now().After(deadline) {
			if err == nil {
				err = fmt.Errorf("still false after %s", limit)
			}
			p.t.Fatalf("wait for %s: %v", expression, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Click clicks the middle of the first element that a selector finds, with the
// mouse.
func (p *Page) Click(selector string) {
	p.t.Helper()
	var at *struct{ X, Y float64 }
	p.Eval(`(() => {
		const e = document.querySelector(`+quote(selector)+`);
		if (!e) return null;
		e.scrollIntoView({block: "center"});
		const r = e.getBoundingClientRect();
		return {X: r.x + r.width / 2, Y: r.y + r.height / 2};
	})()`, &at)
	if at == nil {
		p.t.Fatalf("%s has no %s to click", p.url, selector)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		p.do("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1})
	}
}

// Press presses a key: Tab, Enter or a space.
func (p *Page) Press(key string) {
	p.t.Helper()
	codes := map[string]int{"Tab": 9, "Enter": 13, " ": 32}
	text := map[string]string{"Enter": "\r", " ": " "}[key]
	down := map[string]any{"type": "keyDown", "key": key, "windowsVirtualKeyCode": codes[key]}
	if text != "" {
		down["text"] = text
	}
	p.do("Input.dispatchKeyEvent", down)
	p.do("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "windowsVirtualKeyCode": codes[key]})
}

// Screenshot writes the whole page, not only what the window shows, as PNG.
func (p *Page) Screenshot(path string) {
	p.t.Helper()
	var shot struct{ Data string }
	p.must(p.b.call(p.session, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &shot))
	image, err := base64.StdEncoding.DecodeString(shot.Data)
	p.must(err)
	image, err = palettePNG(image)
	p.must(err)
	p.must(os.MkdirAll(filepath.Dir(path), 0o755))
	p.must(os.WriteFile(path, image, 0o644))
}

// Overflow tells by how many pixels the page is wider than its window.
func (p *Page) Overflow() int {
	p.t.Helper()
	var pixels int
	p.Eval("document.documentElement.scrollWidth", &pixels)
	return max(pixels-p.width, 0)
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
