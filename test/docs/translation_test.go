package docs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	number  = regexp.MustCompile(`[0-9][0-9,.]*`)
	comment = regexp.MustCompile(`(?m)\s+#.*$`)
)

// TestJapanese says that README.ja.md has every section, command, link and
// figure of README.md. What it says about them is for people to compare.
func TestJapanese(t *testing.T) {
	en, ja := named(t, "README.md"), named(t, "README.ja.md")
	if len(en.headings) != len(ja.headings) {
		t.Fatalf("README.md has %d headings, README.ja.md %d", len(en.headings), len(ja.headings))
	}
	anchors := map[string]string{}
	for i := range en.headings {
		if en.headings[i].level != ja.headings[i].level {
			t.Errorf("%q is of level %d, %q of level %d", en.headings[i].text, en.headings[i].level, ja.headings[i].text, ja.headings[i].level)
		}
		anchors["#"+slug(ja.headings[i].text)] = "#" + slug(en.headings[i].text)
	}
	for i := -1; i < len(en.headings); i++ {
		compare := func(what string, of func(*document) []string) {
			want, have := of(en), of(ja)
			slices.Sort(want)
			slices.Sort(have)
			if !slices.Equal(want, have) {
				t.Errorf("%s under %s: README.md has %q, README.ja.md %q", what, en.section(i), minus(want, have), minus(have, want))
			}
		}
		compare("blocks", func(d *document) (all []string) {
			for _, b := range d.blocks {
				if b.section == i {
					all = append(all, b.language+"\n"+withoutWords(b.content))
				}
			}
			return all
		})
		compare("code", func(d *document) (all []string) {
			for _, s := range d.spans {
				if s.section == i {
					all = append(all, s.code)
				}
			}
			return all
		})
		compare("links", func(d *document) (all []string) {
			for _, l := range d.links {
				target := l.target
				if here, ok := anchors[target]; ok && d == ja {
					target = here
				}
				if l.section == i && !strings.HasPrefix(target, "README") {
					all = append(all, target)
				}
			}
			return all
		})
		compare("numbers", func(d *document) (all []string) {
			if i >= 0 {
				all = number.FindAllString(d.headings[i].text, -1)
			}
			for _, l := range d.prose {
				if l.section == i {
					for _, n := range number.FindAllString(l.text, -1) {
						all = append(all, strings.TrimRight(n, ".,"))
					}
				}
			}
			return all
		})
		compare("rows of tables", func(d *document) []string {
			rows := 0
			for _, l := range d.prose {
				if l.section == i && strings.HasPrefix(l.text, "|") {
					rows++
				}
			}
			return []string{fmt.Sprint(rows)}
		})
	}
}

// withoutWords drops what is translated in a block: comments, and the
// explanations in a tree of files.
func withoutWords(content string) string {
	if !strings.HasPrefix(content, "main.go ") {
		return comment.ReplaceAllString(content, "")
	}
	var paths []string
	for entry := range strings.SplitSeq(content, "\n") {
		path, _, _ := strings.Cut(strings.TrimLeft(entry, " "), " ")
		paths = append(paths, path)
	}
	return strings.Join(paths, "\n")
}

func minus(a, b []string) []string {
	left := slices.Clone(a)
	for _, gone := range b {
		if i := slices.Index(left, gone); i >= 0 {
			left = slices.Delete(left, i, i+1)
		}
	}
	return left
}

// TestJapaneseParagraphs says that no paragraph of README.ja.md is broken into
// lines: a line break shows as a space, which Japanese does not have.
func TestJapaneseParagraphs(t *testing.T) {
	broken := regexp.MustCompile(`[\p{Hiragana}\p{Katakana}\p{Han}。、)」]\n *[^\s|<#>*-]`)
	for i, part := range strings.Split(source(t, "README.ja.md"), "```") {
		if found := broken.FindString(part); i%2 == 0 && found != "" {
			at := strings.Index(part, found)
			t.Errorf("a paragraph is broken at %q", part[max(0, at-60):min(len(part), at+60)])
		}
	}
}
