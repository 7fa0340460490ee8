package figures

import (
	"os"
	"os/exec"
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

// TestCommit: figures of sources that no commit has say so, and documents are
// no sources.
func TestCommit(t *testing.T) {
	dir := t.TempDir()
	if got := commit(dir); got != "unknown" {
		t.Errorf("without a repository: %s", got)
	}
	write := func(file, content string) {
		t.Helper()
		file = filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("docs/figures.json", "{}")
	write("source.go", "package a")
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "a"}} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Skipf("git %v: %v: %s", args, err, out)
		}
	}
	clean := commit(dir)
	write("docs/figures.json", "[]")
	write("README.md", "a")
	if got := commit(dir); got != clean || len(got) != 7 {
		t.Errorf("%s with other documents, %s before", got, clean)
	}
	write("source.go", "package b")
	if got := commit(dir); got != clean+"-dirty" {
		t.Errorf("%s with other sources", got)
	}
}
