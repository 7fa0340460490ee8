package lambda

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// Builder makes the binaries that the functions run on this machine.
type Builder struct {
	Source string // module root; functions are in <Source>/lambdas/<handler>
	Cache  string // kept between runs; .build/localaws in the module's root when empty
	Dir    string // receives this testbed's own copies, so that a rebuild elsewhere does not pull a binary from under it
}

// Target is a function to build.
type Target struct {
	Handler      string // folder under lambdas/
	Asset        string // directory with the shipped bootstrap, "" for none
	Architecture string // of the shipped bootstrap: arm64 or x86_64
}

// Build returns the executable for each handler. On a Linux machine of the
// shipped architecture that is the shipped bootstrap itself; anywhere else it
// is built from the same sources.
func (b *Builder) Build(ctx context.Context, targets []Target) (map[string]string, error) {
	binaries := map[string]string{}
	var handlers []string
	for _, t := range targets {
		if binaries[t.Handler] != "" || slices.Contains(handlers, t.Handler) {
			continue
		}
		if shipped := t.shipped(); shipped != "" {
			binaries[t.Handler] = shipped
			continue
		}
		if t.Handler == "" || strings.ContainsAny(t.Handler, `/\`) {
			return nil, fmt.Errorf("handler %q does not name a folder under lambdas/", t.Handler)
		}
		if _, err := os.Stat(filepath.Join(b.Source, "lambdas", t.Handler)); err != nil {
			return nil, fmt.Errorf("function source of handler %s: %w", t.Handler, err)
		}
		handlers = append(handlers, t.Handler)
	}
	if len(handlers) == 0 {
		return binaries, nil
	}
	built, err := b.compile(ctx, handlers)
	if err != nil {
		return nil, err
	}
	for handler, binary := range built {
		binaries[handler] = binary
	}
	return binaries, nil
}

// shipped is the asset's own bootstrap where this machine can run it.
func (t Target) shipped() string {
	architecture := map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	if runtime.GOOS != "linux" || t.Asset == "" || architecture != t.Architecture {
		return ""
	}
	bootstrap := filepath.Join(t.Asset, "bootstrap")
	if _, err := os.Stat(bootstrap); err != nil {
		return ""
	}
	return bootstrap
}

func (b *Builder) compile(ctx context.Context, handlers []string) (map[string]string, error) {
	cache := b.Cache
	if cache == "" {
		cache = filepath.Join(moduleRoot(b.Source), ".build", "localaws", runtime.GOOS+"-"+runtime.GOARCH)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(cache, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()

	goTool, err := exec.LookPath("go")
	if err != nil {
		return nil, errors.New("cannot build the functions: the go command is not on the PATH; install Go and try again")
	}
	// The flags of production but for -buildid=: with the id kept, go build
	// sees that a binary is up to date and links nothing.
	args := []string{"build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags=-s -w", "-o", cache + string(filepath.Separator)}
	for _, h := range handlers {
		args = append(args, "./lambdas/"+h)
	}
	cmd := exec.CommandContext(ctx, goTool, args...)
	cmd.Dir = b.Source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the functions: %w\n%s", err, out)
	}
	binaries := map[string]string{}
	for _, h := range handlers {
		own := filepath.Join(b.Dir, h)
		if err := linkOrCopy(filepath.Join(cache, h), own); err != nil {
			return nil, fmt.Errorf("keep the binary of %s: %w", h, err)
		}
		binaries[h] = own
	}
	return binaries, nil
}

// moduleRoot is the folder of go.mod at or above dir, dir itself without one.
func moduleRoot(dir string) string {
	for root := dir; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			return root
		}
		if root == filepath.Dir(root) {
			return dir
		}
	}
}

// lock serializes testbeds that build into the same cache.
func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	return func() { f.Close() }, nil
}

func linkOrCopy(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from) // another file system
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
