package browser

import (
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// recorder is a test that takes note of its failures.
type recorder struct {
	testing.TB
	errors  []string
	cleanup []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Cleanup(f func()) { r.cleanup = append(r.cleanup, f) }
func (r *recorder) finish() {
	for _, f := range slices.Backward(r.cleanup) {
		f()
	}
}

func write(t *testing.T, html string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(path, []byte(html), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const good = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Good</title><main><h1>Good</h1><button id="b" onclick="this.textContent='clicked'">press</button>
<p id="p">no script</p><script>document.getElementById("p").textContent = "script"</script></main>`

func TestOneBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Chromium")
	}
	b := Start(t)

	t.Run("good page", func(t *testing.T) {
		seen := map[string]string{}
		b.Check(t, write(t, good), func(p *Page, name string) { seen[name] = p.Text("#p") })
		for name, text := range seen {
			if want := map[bool]string{true: "no script", false: "script"}[name == "no-script"]; text != want {
				t.Errorf("%s shows %q, not %q", name, text, want)
			}
		}
		if len(seen) != 5 {
			t.Errorf("looked at %d views", len(seen))
		}
	})

	t.Run("mouse and keys", func(t *testing.T) {
		p := b.Open(t, write(t, good), Desktop)
		p.Click("#b")
		p.Await(`document.querySelector("#b").textContent == "clicked"`, time.Second)
		p = b.Open(t, write(t, good), Phone)
		p.Press("Tab")
		p.Press("Enter")
		p.Await(`document.querySelector("#b").textContent == "clicked"`, time.Second)
	})

	t.Run("screenshot", func(t *testing.T) {
		p := b.Open(t, write(t, `<!doctype html><html lang="en"><title>t</title><div style="height:3000px">tall</div>`), View{Width: 400, Height: 300, Scale: 2})
		path := filepath.Join(t.TempDir(), "new", "shot.png")
		p.Screenshot(path)
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		image, err := png.DecodeConfig(f)
		if err != nil {
			t.Fatal(err)
		}
		if image.Width != 800 || image.Height < 6000 {
			t.Errorf("the screenshot has %d by %d pixels, want 800 by 6000", image.Width, image.Height)
		}
	})

	t.Run("requests to elsewhere are found", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/favicon.ico" {
				return
			}
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `<!doctype html><title>t</title><img src="/own.png"><img src="https://elsewhere.example/a.png"><img src="data:,">`)
		}))
		defer server.Close()
		r := &recorder{TB: t}
		p := b.Open(r, server.URL, Desktop)
		if got := p.External(); !slices.Equal(got, []string{"https://elsewhere.example/a.png"}) {
			t.Errorf("external requests: %v", got)
		}
		p.Await(`[...document.images].every(i => i.complete)`, 5*time.Second)
		r.finish()
		if all := strings.Join(r.errors, "\n"); !strings.Contains(all, "requested https://elsewhere.example/a.png") {
			t.Errorf("the test would not have failed: %s", all)
		}
	})

	t.Run("errors of scripts are found", func(t *testing.T) {
		r := &recorder{TB: t}
		b.Open(r, write(t, `<!doctype html><title>t</title><script>missing()</script>`), Desktop)
		r.finish()
		if all := strings.Join(r.errors, "\n"); !strings.Contains(all, "missing is not defined") {
			t.Errorf("the test would not have failed: %s", all)
		}
	})

	t.Run("bad page", func(t *testing.T) {
		p := b.Open(t, write(t, `<!doctype html><html><title>Bad</title><img src="data:,"><p style="color:#bbb;background:#fff">faint</p>
			<div style="width:2000px">wide</div>`), Phone)
		var rules []string
		for _, v := range p.Axe() {
			rules = append(rules, v.ID)
		}
		for _, want := range []string{"color-contrast", "html-has-lang", "image-alt"} {
			if !slices.Contains(rules, want) {
				t.Errorf("axe-core reports %v, not %s", rules, want)
			}
		}
		if p.Overflow() == 0 {
			t.Error("a page of 2000 pixels fits a phone")
		}
	})
}
