package e2e

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"cognito-backup/test/localaws"
	"cognito-backup/test/localaws/cloudformation"
	"cognito-backup/test/localaws/iam"
)

// permissions are the grants of all testbeds' templates.
var permissions struct {
	sync.Mutex
	used, unused map[string]bool // by grantName
}

// explained are grants that no test can use, by a part of their name, and why
// they are given all the same.
var explained = map[string]string{}

// narrowed lets one see the list without a run of all tests: tests that run one
// after the other with the same file leave in it what none of them used.
var narrowed = flag.String("unused", "", "file with unused permissions, from which those that this run uses are taken away")

// generated is the end of a name that CloudFormation makes.
var generated = regexp.MustCompile(`([0-9A-F]{5,8})?-[0-9A-F]{12}$`)

func grantName(g iam.Grant) string {
	role := generated.ReplaceAllString(g.Role[strings.LastIndexByte(g.Role, '/')+1:], "")
	return fmt.Sprintf("%s may %s on %s", role, g.Action, g.Resource)
}

// notePermissions remembers which grants of a testbed were used. A test may
// have taken some away before it deployed, so those used count as well. Of
// several deployments in one testbed the one with the usual prefix counts.
func notePermissions(b *localaws.Bed) {
	permissions.Lock()
	defer permissions.Unlock()
	if permissions.used == nil {
		permissions.used, permissions.unused = map[string]bool{}, map[string]bool{}
	}
	for _, g := range b.UnusedPermissions() {
		if name := grantName(g); g.Action != cloudformation.NoAction && strings.Contains(name, usualPrefix+"-") {
			permissions.unused[name] = true
		}
	}
	for _, use := range b.IAM().Uses() {
		for _, g := range use.Grants {
			permissions.used[grantName(g)] = true
		}
	}
}

// neverUsed is what was granted and never used, in order.
func neverUsed() []string {
	maps.DeleteFunc(permissions.unused, func(name string, _ bool) bool { return permissions.used[name] })
	return sortedKeys(permissions.unused)
}

// TestMain fails a run of all tests that leaves a permission unused without an
// explanation: it is not needed, or no test shows that it is.
func TestMain(m *testing.M) {
	flag.Parse()
	// Workflows mostly wait, for quotas and leases: more of them side by side
	// than there are processors, unless -parallel says otherwise.
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	all := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" &&
		flag.Lookup("test.list").Value.String() == "" && !testing.Short()
	if all && code == 0 && !explain(neverUsed()) {
		code = 1
	}
	if *narrowed != "" {
		if err := narrow(*narrowed, neverUsed()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// explain prints the list and tells whether each entry has an explanation, and
// each explanation an entry.
func explain(unused []string) bool {
	fine := true
	needed := map[string]bool{}
	fmt.Printf("%d permissions were granted and never used.\n", len(unused))
	for _, grant := range unused {
		reason := "FAIL: take it away, test what needs it, or explain it in test/e2e/permissions_test.go"
		for part, why := range explained {
			if strings.Contains(grant, part) {
				reason, needed[part] = why, true
			}
		}
		fine = fine && !strings.HasPrefix(reason, "FAIL")
		fmt.Printf("  %s: %s\n", grant, reason)
	}
	for _, part := range sortedKeys(explained) {
		if !needed[part] {
			fine = false
			fmt.Printf("  FAIL: what is explained as %q was used, or is granted no more\n", part)
		}
	}
	return fine
}

// narrow leaves in the file what was in it and is unused this time too.
func narrow(path string, unused []string) error {
	if before, err := os.ReadFile(path); err == nil {
		unused = slices.DeleteFunc(strings.Split(strings.TrimSpace(string(before)), "\n"), func(grant string) bool { return permissions.used[grant] })
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(strings.Join(unused, "\n")+"\n"), 0o644)
}
