// Package browser opens pages in headless Chromium for tests: a page is looked
// at in a width, light or dark, with scripts or without, photographed, held
// against axe-core's accessibility rules, and asked what it requested.
//
// Chromium is driven over a pipe by the DevTools protocol, so that no port is
// opened; it resolves no name but localhost.
package browser

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// patience is how long Chromium may take for one command. A machine that is
// busy with other tests needs it.
const patience = time.Minute

// Browser is a running Chromium.
type Browser struct {
	process *exec.Cmd
	exited  chan struct{}
	in      io.WriteCloser

	mu       sync.Mutex
	last     int64
	answers  map[int64]chan answer
	sessions map[string]func(event)
	err      error // why nothing comes any more
}

type answer struct {
	result json.RawMessage
	err    error
}

type event struct {
	Method string
	Params json.RawMessage
}

// Start starts Chromium, which ends with the test. Without Chromium the test
// is skipped; in CI, where make installs it, that is a failure.
func Start(t testing.TB) *Browser {
	t.Helper()
	path := find()
	if path == "" {
		const missing = "Chromium was not found: `make chromium` installs it on Debian and Ubuntu, CHROMIUM names it elsewhere"
		if os.Getenv("CI") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	b, err := start(path, t.TempDir())
	if err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	t.Cleanup(b.close)
	return b
}

// find returns Chromium's path, "" when there is none.
func find() string {
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "chrome"} {
		if name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

func start(path, profile string) (*Browser, error) {
	toChromium, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, fromChromium, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path,
		"--headless", "--remote-debugging-pipe", "--user-data-dir="+profile,
		"--no-sandbox", // cannot be had as root, and only the project's own pages are opened
		"--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check", "--mute-audio",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
		"--disable-extensions", "--disable-breakpad", "--disable-domain-reliability", "--disable-client-side-phishing-detection",
		"--disable-features=Translate,OptimizationHints,MediaRouter,AutofillServerCommunication,CertificateTransparencyComponentUpdater",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost", "--no-proxy-server",
		"--hide-scrollbars", "--force-color-profile=srgb", "--font-render-hinting=none", "about:blank")
	cmd.ExtraFiles = []*os.File{toChromium, fromChromium} // 3 and 4, as the protocol has it
	own(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	toChromium.Close()
	fromChromium.Close()
	b := &Browser{process: cmd, exited: make(chan struct{}), in: in, answers: map[int64]chan answer{}, sessions: map[string]func(event){}}
	go func() { cmd.Wait(); close(b.exited) }()
	go b.read(out)
	return b, nil
}

// close ends Chromium and what it started.
func (b *Browser) close() {
	b.call("", "Browser.close", nil, nil)
	select {
	case <-b.exited:
	case <-time.After(5 * time.Second):
	}
	end(b.process)
	<-b.exited
	b.in.Close()
}

// read takes in messages, which end with a NUL each.
func (b *Browser) read(out io.ReadCloser) {
	defer out.Close()
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadBytes(0)
		if err != nil {
			b.fail(errors.New("no more messages: Chromium has ended"))
			return
		}
		var m struct {
			event
			ID        int64
			SessionID string
			Result    json.RawMessage
			Error     *struct{ Message, Data string }
		}
		if err := json.Unmarshal(line[:len(line)-1], &m); err != nil {
			b.fail(fmt.Errorf("read a message of Chromium: %w", err))
			return
		}
		b.mu.Lock()
		waiting, listen := b.answers[m.ID], b.sessions[m.SessionID]
		delete(b.answers, m.ID)
		b.mu.Unlock()
		switch {
		case waiting != nil && m.Error != nil:
			waiting <- answer{err: errors.New(m.Error.Message + m.Error.Data)}
		case waiting != nil:
			waiting <- answer{result: m.Result}
		case listen != nil:
			listen(m.event)
		}
	}
}

func (b *Browser) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	for id, waiting := range b.answers {
		waiting <- answer{err: err}
		delete(b.answers, id)
	}
}

// call sends a command and reads what it returns into result, if that is not nil.
func (b *Browser) call(session, method string, params, result any) error {
	waiting := make(chan answer, 1)
	b.mu.Lock()
	if b.err != nil {
		b.mu.Unlock()
		return fmt.Errorf("%s: %w", method, b.err)
	}
	b.last++
	id := b.last
	b.answers[id] = waiting
	message, err := json.Marshal(struct {
		ID        int64  `json:"id"`
		Method    string `json:"method"`
		SessionID string `json:"sessionId,omitempty"`
		Params    any    `json:"params,omitempty"`
	}{id, method, session, params})
	if err == nil {
		_, err = b.in.Write(append(message, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case a := <-waiting:
		if a.err != nil {
			return fmt.Errorf("%s: %w", method, a.err)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(a.result, result)
	case <-time.After(patience):
		return fmt.Errorf("%s: no answer from Chromium within %s", method, patience)
	}
}
