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

// Origin says on what, when and of which commit figures were measured.
func Origin() string {
	commit := "unknown commit"
	if out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		commit = "commit " + strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("%s, %d processors (%s/%s), %s, %s, %s", processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH,
		runtime.Version(), time.Now().UTC().Format("2006-01-02"), commit)
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
