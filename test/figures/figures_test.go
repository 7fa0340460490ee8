package figures

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "figures.md")
	for _, s := range []struct{ section, content string }{{"a", "one\n"}, {"b", "two"}, {"a", "three"}} {
		if err := Put(file, s.section, s.content); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := "<!-- a -->\nthree\n<!-- end of a -->\n\n<!-- b -->\ntwo\n<!-- end of b -->\n"
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
