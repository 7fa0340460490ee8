package e2e

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"cognito-backup/test/localaws/iam"
)

// unused counts in how many testbeds each grant was not used.
var unused struct {
	sync.Mutex
	beds   int
	counts map[string]int
}

// explained are grants that no test can use, by a part of their text, and why
// they are given all the same.
var explained = map[string]string{}

var generated = regexp.MustCompile(`-[0-9A-F]{12}\b`)

func noteUnused(grants []iam.Grant) {
	unused.Lock()
	defer unused.Unlock()
	unused.beds++
	if unused.counts == nil {
		unused.counts = map[string]int{}
	}
	for _, g := range grants {
		unused.counts[generated.ReplaceAllString(fmt.Sprintf("%s may %s on %s", g.Role, g.Action, g.Resource), "")]++
	}
}

// TestMain ends a run of all tests with a list of the permissions that the
// templates grant and no test has used.
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
	all := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && !testing.Short()
	if all && code == 0 {
		reportUnused()
	}
	os.Exit(code)
}

func reportUnused() {
	fmt.Println("Permissions granted and never used:")
	for _, grant := range sortedKeys(unused.counts) {
		if unused.counts[grant] < unused.beds {
			continue
		}
		reason := ""
		for part, why := range explained {
			if strings.Contains(grant, part) {
				reason = why
			}
		}
		if reason == "" {
			reason = "take it away, test what needs it, or explain it in test/e2e/permissions_test.go"
		}
		fmt.Printf("  %s: %s\n", grant, reason)
	}
}
