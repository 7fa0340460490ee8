package docs

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLinks says that every relative link and anchor of every document leads
// somewhere. `make lint` runs it.
func TestLinks(t *testing.T) {
	known := map[string]*document{}
	all := documents(t)
	for _, d := range all {
		known[d.path] = d
	}
	checked := 0
	for _, d := range all {
		for _, l := range d.links {
			target, err := url.Parse(l.target)
			if err != nil {
				t.Errorf("%s:%d: %v", d.path, l.line, err)
				continue
			}
			if target.Scheme != "" {
				if target.Scheme != "https" {
					t.Errorf("%s:%d: %s is neither relative nor https", d.path, l.line, l.target)
				}
				continue
			}
			checked++
			path := d.path
			if target.Path != "" {
				path = filepath.Join(filepath.Dir(d.path), target.Path)
			}
			if strings.HasPrefix(path, "..") || filepath.IsAbs(target.Path) {
				t.Errorf("%s:%d: %s leads out of the repository", d.path, l.line, l.target)
				continue
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s:%d: %s is not there", d.path, l.line, path)
				continue
			}
			if target.Fragment == "" {
				continue
			}
			to := known[path]
			if to == nil {
				t.Errorf("%s:%d: %s has an anchor, but %s is no document", d.path, l.line, l.target, path)
			} else if !to.anchors[target.Fragment] {
				t.Errorf("%s:%d: %s has no heading or anchor #%s", d.path, l.line, path, target.Fragment)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d links were found: has the parser gone blind?", checked)
	}
}

func TestSlug(t *testing.T) {
	for text, want := range map[string]string{
		"Try it: two commands, no AWS account": "try-it-two-commands-no-aws-account",
		"D. The Region is down":                "d-the-region-is-down",
		"戻るもの、戻らないもの":                          "戻るもの戻らないもの",
		"report.json and `x_y`":                "reportjson-and-x_y",
	} {
		if got := slug(text); got != want {
			t.Errorf("slug(%q) = %q, want %q", text, got, want)
		}
	}
}
