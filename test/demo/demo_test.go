package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// play runs the demo on what is under cdk.out, as `make test` left it.
func play(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"-assembly", filepath.Join(root, "cdk.out"), "-source", root, "-reports", t.TempDir()}, args...)
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func TestDemoRestoresEverything(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		last string
	}{
		{"made-up pool, every function killed twice", []string{"-users", "60", "-groups", "13", "-kill", "2"}, ""},
		{"empty pool", []string{"-users", "0", "-groups", "0"}, "RESTORED users=0/0 groups=0/0 memberships=0/0 verified=true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := play(t, c.args...)
			line := lastLine(out)
			if code != 0 || !strings.HasPrefix(line, "RESTORED ") || !strings.HasSuffix(line, " verified=true") {
				t.Fatalf("exit %d, last line %q\n%s%s", code, line, out, errs)
			}
			if c.last != "" && line != c.last {
				t.Errorf("last line %q", line)
			}
			for _, part := range []string{"deferred until they sign in", "Subject: [CognitoBackup] Export completed", "Subject: [CognitoBackup] Import completed"} {
				if !strings.Contains(out, part) {
					t.Errorf("the output lacks %q", part)
				}
			}
		})
	}
}

// The comparison is the demo's own, so it has to notice what the product cannot
// know: a change made by hand after the import.
func TestDemoNoticesAChangeByHand(t *testing.T) {
	for _, what := range []string{"attribute", "flag", "membership"} {
		t.Run(what, func(t *testing.T) {
			code, out, _ := play(t, "-users", "12", "-groups", "3", "-tamper", what)
			if code != 1 || !strings.HasSuffix(lastLine(out), " verified=false") || strings.Count(out, "DIFFERENT") != 1 {
				t.Errorf("exit %d, last line %q\n%s", code, lastLine(out), out)
			}
		})
	}
}

func TestBadInputGetsASentence(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"users", []string{"-users", "many"}, "USERS=many: give a whole number"},
		{"groups", []string{"-groups", "10001"}, "USER_GROUPS=10001"},
		{"seed", []string{"-seed", "-1"}, "SEED=-1"},
		{"kind", []string{"-kind", "odd"}, "-kind \"odd\""},
		{"tamper", []string{"-tamper", "everything"}, "-tamper everything"},
		{"factor", []string{"-factor", "0"}, "-factor 0"},
		{"no dash", []string{"kill", "2"}, "kill is no option"},
		{"no folder", []string{"-from", "/nonexistent"}, "FROM=/nonexistent cannot be read"},
		{"another pool's folder", []string{"-from", "../localaws/cognito/testdata/cli-pool"}, "make demo FROM="},
		{"no assembly", []string{"-assembly", t.TempDir()}, "make synth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := play(t, c.args...)
			if code == 0 || !strings.Contains(errs, c.want) || strings.Contains(out, "RESTORED") {
				t.Errorf("exit %d: %s%s", code, out, errs)
			}
		})
	}
}

func TestPoolIDOfAFolder(t *testing.T) {
	code, out, errs := play(t, "-print-pool-id", "-from", "../localaws/cognito/testdata/cli-pool")
	if code != 0 || !regexp.MustCompile(`^us-east-1_\w+\n$`).MatchString(out) {
		t.Errorf("exit %d: %q %q", code, out, errs)
	}
}

// A pipe gets whole lines and no control characters.
func TestPipedOutputIsPlain(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d := newDisplay(w)
	d.heading("Export")
	d.block([]row{{mark: "[x]", colour: green, text: "drawn on terminals only"}})
	d.line("plain")
	d.last("RESTORED", true)
	w.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "\n== Export\n   plain\n\nRESTORED\n"; got != want {
		t.Errorf("%q", got)
	}
}

func TestBlockIsDrawnOverItself(t *testing.T) {
	var b bytes.Buffer
	d := &display{w: &b, live: true, width: func() int { return 30 }}
	d.block([]row{{mark: "[>]", colour: yellow, text: "ExportUsers"}, {mark: "[ ]", text: strings.Repeat("x", 100)}})
	d.block([]row{{mark: "[x]", colour: green, text: "ExportUsers"}})
	want := "\r\x1b[K   [>] ExportUsers\n\r\x1b[K   [ ] " + strings.Repeat("x", 19) + "...\n\x1b[J" +
		"\x1b[2A\r\x1b[K   [x] ExportUsers\n\x1b[J"
	if b.String() != want {
		t.Errorf("%q", b.String())
	}
}
