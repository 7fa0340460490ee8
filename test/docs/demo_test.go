package docs

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"
)

// TestDemoOutput says that the output of the demo in the README is what the
// demo prints today: its words, the states of both workflows in their order,
// and the counts of the pool that `make demo` makes.
func TestDemoOutput(t *testing.T) {
	var output string
	for _, b := range named(t, "README.md").blocks {
		if strings.HasPrefix(b.content, "== ") {
			output = b.content
		}
	}
	if output == "" {
		t.Fatal("README.md shows no demo")
	}
	words := printed(t, "test/demo", "test/seed")
	var states []string
	row := regexp.MustCompile(`^\[[x> ]\] +(\w+)(?: +\d+\.\d s(?:  (.+))?)?$`)
	for text := range strings.Lines(output) {
		text = strings.TrimSpace(strings.TrimPrefix(strings.TrimRight(text, "\n"), "== "))
		parts := []string{text}
		if m := row.FindStringSubmatch(text); m != nil {
			states = append(states, m[1])
			parts = strings.Split(m[2], ", ")
		} else if !words(text) {
			parts = strings.Split(text, "  ")
		}
		for _, part := range parts {
			if _, count, ok := strings.Cut(part, " "); part != "" && part != "..." && !words(part) && !(ok && words(count)) {
				t.Errorf("the demo does not print %q", part)
			}
		}
	}
	want := slices.Concat(tasks(t, "stacks/export_workflow.go"), tasks(t, "stacks/import_workflow.go"))
	slices.Sort(want)
	slices.Sort(states)
	if !slices.Equal(states, want) {
		t.Errorf("it shows the states %q, the workflows have %q", states, want)
	}
	for _, line := range expectedOfDemo(t) {
		if !strings.Contains(output, line) {
			t.Errorf("it should say %q", line)
		}
	}
}

// printed says whether a text is what some literal of the packages prints.
func printed(t *testing.T, folders ...string) func(string) bool {
	t.Helper()
	verb, letters := regexp.MustCompile(`%[-+.\d]*[a-z]`), regexp.MustCompile(`[A-Za-z]`)
	var patterns []*regexp.Regexp
	for _, folder := range folders {
		for _, text := range literals(t, folder) {
			fixed := verb.Split(strings.TrimSpace(text), -1)
			if len(letters.FindAllString(strings.Join(fixed, ""), -1)) < 5 {
				continue // little but verbs would match anything
			}
			for i := range fixed {
				fixed[i] = regexp.QuoteMeta(fixed[i])
			}
			patterns = append(patterns, regexp.MustCompile("^"+strings.Join(fixed, ".+?")+"$"))
		}
	}
	return func(text string) bool {
		return slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(text) })
	}
}

// tasks are the task states that a workflow's source makes.
func tasks(t *testing.T, path string) []string {
	t.Helper()
	var names []string
	for _, m := range regexp.MustCompile(`\.(?:first|task|loop)\("(\w+)"`).FindAllStringSubmatch(source(t, path), -1) {
		names = append(names, m[1])
	}
	if len(names) < 7 {
		t.Fatalf("%s was not understood: %q", path, names)
	}
	return names
}

// expectedOfDemo is what the README's figures must be, from the pool that the
// Makefile's defaults stand for.
func expectedOfDemo(t *testing.T) []string {
	t.Helper()
	defaults := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^(USERS|USER_GROUPS|SEED) +\?= (\d+)$`).FindAllStringSubmatch(source(t, "Makefile"), -1) {
		defaults[m[1]], _ = strconv.Atoi(m[2])
	}
	var app struct {
		Context struct{ PrimaryUserPoolID string }
	}
	if err := json.Unmarshal([]byte(source(t, "cdk.json")), &app); err != nil || len(defaults) != 3 {
		t.Fatal(err, defaults)
	}
	pool := seed.Pool(seed.Options{PoolID: app.Context.PrimaryUserPoolID, Users: defaults["USERS"], Groups: defaults["USER_GROUPS"], Seed: uint64(defaults["SEED"])})
	federated := map[string]bool{}
	for _, u := range pool.Users {
		if u.UserStatus == seed.External {
			federated[u.Username] = true
		}
	}
	memberships, deferred := countMemberships(pool, federated)
	users := len(pool.Users) - len(federated)
	result := seed.Result{
		Users: seed.Part{Restored: users, Expected: users}, Groups: seed.Part{Restored: len(pool.Groups), Expected: len(pool.Groups)},
		Memberships: seed.Part{Restored: memberships - deferred, Expected: memberships - deferred},
	}
	return []string{
		fmt.Sprintf("%s: %d users, %d groups, %d memberships", app.Context.PrimaryUserPoolID, len(pool.Users), len(pool.Groups), memberships),
		fmt.Sprintf("users=%d memberships=%d (federated)", len(federated), deferred),
		result.Line(),
	}
}

func countMemberships(pool *cognito.Seed, federated map[string]bool) (all, deferred int) {
	for members := range maps.Values(pool.Members) {
		all += len(members)
		for _, username := range members {
			if federated[username] {
				deferred++
			}
		}
	}
	return all, deferred
}
