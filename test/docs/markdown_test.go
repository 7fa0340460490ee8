package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// root is the module's folder, seen from this one.
const root = "../.."

// document is what the tests need to know of a Markdown file.
type document struct {
	path     string // from the root
	headings []heading
	blocks   []block
	links    []link
	spans    []span // of code, outside blocks
	prose    []line // everything else, without code and addresses
	anchors  map[string]bool
}

type heading struct {
	level int
	text  string
	line  int
}

type block struct {
	language string
	content  string
	line     int
	section  int // index of the heading above, -1 for none
}

type link struct {
	target  string
	line    int
	section int
}

type span struct {
	code    string
	line    int
	section int
}

type line struct {
	text    string
	section int
}

var (
	fence     = regexp.MustCompile("^( *)```([a-z]*)$")
	title     = regexp.MustCompile(`^(#{1,6}) +(.+)$`)
	codeSpan  = regexp.MustCompile("(``[^`].*?``|`[^`]+`)")
	inlined   = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	attribute = regexp.MustCompile(`\b(?:src|srcset|href)="([^"]+)"`)
	alt       = regexp.MustCompile(`\b(?:alt|src|srcset|media)="[^"]*"`)
	anchorID  = regexp.MustCompile(`<a id="([^"]+)">`)
	marks     = regexp.MustCompile("[`*]|\\]\\([^)]*\\)|\\[")
)

// read parses a Markdown file: as much of it as this project writes.
func read(path string) (*document, error) {
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return nil, err
	}
	d := &document{path: path, anchors: map[string]bool{}}
	var open *block
	indent := ""
	for i, text := range strings.Split(string(text), "\n") {
		n, section := i+1, len(d.headings)-1
		if m := fence.FindStringSubmatch(text); m != nil {
			switch {
			case open == nil:
				open, indent = &block{language: m[2], line: n, section: section}, m[1]
			case m[2] == "":
				d.blocks = append(d.blocks, *open)
				open = nil
			default:
				return nil, fmt.Errorf("%s:%d: a block begins in a block", path, n)
			}
			continue
		}
		if open != nil {
			open.content += strings.TrimPrefix(text, indent) + "\n"
			continue
		}
		if m := title.FindStringSubmatch(text); m != nil {
			d.headings = append(d.headings, heading{len(m[1]), m[2], n})
			d.anchor(slug(m[2]))
			continue
		}
		for _, m := range anchorID.FindAllStringSubmatch(text, -1) {
			d.anchors[m[1]] = true
		}
		for _, code := range codeSpan.FindAllString(text, -1) {
			d.spans = append(d.spans, span{strings.TrimSpace(strings.Trim(code, "`")), n, section})
		}
		text = codeSpan.ReplaceAllString(text, "")
		for _, m := range append(inlined.FindAllStringSubmatch(text, -1), attribute.FindAllStringSubmatch(text, -1)...) {
			d.links = append(d.links, link{m[1], n, section})
		}
		text = alt.ReplaceAllString(inlined.ReplaceAllString(text, "]"), "")
		d.prose = append(d.prose, line{text, section})
	}
	if open != nil {
		return nil, fmt.Errorf("%s:%d: the block does not end", path, open.line)
	}
	return d, nil
}

// slug is the anchor that GitHub gives a heading.
func slug(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(marks.ReplaceAllString(heading, "")) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsNumber(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (d *document) anchor(slug string) {
	unique := slug
	for n := 1; d.anchors[unique]; n++ {
		unique = fmt.Sprintf("%s-%d", slug, n)
	}
	d.anchors[unique] = true
}

// section is the heading above, for messages.
func (d *document) section(i int) string {
	if i < 0 {
		return "the beginning"
	}
	return fmt.Sprintf("%q", d.headings[i].text)
}

// under is the indexes of the heading with this anchor and of those below it.
func (d *document) under(t *testing.T, anchor string) map[int]bool {
	t.Helper()
	in := map[int]bool{}
	level := 0
	for i, h := range d.headings {
		switch {
		case slug(h.text) == anchor:
			level = h.level
			in[i] = true
		case level > 0 && h.level > level:
			in[i] = true
		default:
			level = 0
		}
	}
	if len(in) == 0 {
		t.Fatalf("%s has no section #%s", d.path, anchor)
	}
	return in
}

// code is the spans of some sections.
func (d *document) code(sections map[int]bool) map[string]bool {
	found := map[string]bool{}
	for _, s := range d.spans {
		if sections[s.section] {
			found[s.code] = true
		}
	}
	return found
}

// documents is every Markdown file of the project.
func documents(t *testing.T) []*document {
	t.Helper()
	var all []*document
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "dist" || strings.HasPrefix(name, "cdk.out")) {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(name) != ".md" {
			return nil
		}
		path, err = filepath.Rel(root, path)
		if err != nil {
			return err
		}
		d, err := read(path)
		all = append(all, d)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d documents were found", len(all))
	}
	return all
}

func named(t *testing.T, path string) *document {
	t.Helper()
	d, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
