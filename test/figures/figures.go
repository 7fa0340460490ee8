// Package figures keeps measured figures in documents: each program that
// measures rewrites its own section and leaves the others alone.
package figures

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

func marks(section string) (begin, end string) {
	return "<!-- " + section + " -->\n", "<!-- end of " + section + " -->\n"
}

// Put puts the content into a section of a Markdown file: in its place, or at
// the end of a file that does not have the section yet.
func Put(file, section, content string) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	begin, end := marks(section)
	text := string(old)
	head, rest, found := strings.Cut(text, begin)
	tail := ""
	if found {
		if _, tail, found = strings.Cut(rest, end); !found {
			return fmt.Errorf("%s: section %s has no end", file, section)
		}
	} else if head != "" && !strings.HasSuffix(head, "\n\n") {
		head = strings.TrimRight(head, "\n") + "\n\n"
	}
	return os.WriteFile(file, []byte(head+begin+strings.TrimRight(content, "\n")+"\n"+end+tail), 0o644)
}

// Provenance is on what, when and of which commit figures were measured.
type Provenance struct {
	Machine string `json:"machine"`
	Go      string `json:"go"`
	Date    string `json:"date"`
	Commit  string `json:"commit"` // short; with "-dirty" if sources differed from it
}

func (p Provenance) String() string {
	return fmt.Sprintf("%s, %s, %s, commit %s", p.Machine, p.Go, p.Date, p.Commit)
}

// Here is the provenance of what is measured now, of the sources in this folder.
func Here() Provenance {
	return Provenance{
		Machine: fmt.Sprintf("%s, %d processors (%s/%s)", processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH),
		Go:      runtime.Version(), Date: time.Now().UTC().Format("2006-01-02"), Commit: commit("."),
	}
}

// Origin is the provenance of what is measured now, in words.
func Origin() string { return Here().String() }

// commit is the commit that is checked out in a folder.
func commit(dir string) string {
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	short, err := git("rev-parse", "--short=7", "HEAD")
	if err != nil {
		return "unknown"
	}
	// Documents are no sources; those who measure write into them.
	if changes, err := git("status", "--porcelain", "--", ".", ":(exclude)docs", ":(exclude)*.md"); err != nil || changes != "" {
		short += "-dirty"
	}
	return short
}

// processor is the model of this machine's processor, where Linux tells.
func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "processor unknown"
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "processor unknown"
}
