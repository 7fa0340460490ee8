// Package graph draws a state machine of the Amazon States Language as SVG,
// from its definition and nothing else.
//
// Read takes the definition, Layout places states and arrows, SVG draws them.
// The way that states take by default runs straight down in the first lane;
// what leaves it goes to lanes on its right, loops come back along the sides,
// and the branches of a Parallel stand side by side in a box.
package graph

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Machine is a state machine, or a branch of a Parallel or Map state.
type Machine struct {
	Comment string
	StartAt string
	States  map[string]*State
}

// State is as much of a state as a drawing shows.
type State struct {
	Type          string
	Comment       string
	Next          string
	Default       string
	End           bool
	Choices       []Rule
	Catch         []struct{ Next string }
	Branches      []*Machine // Parallel
	ItemProcessor *Machine   // Map
	Iterator      *Machine   // Map, older form
}

// Rule is a rule of a Choice state.
type Rule struct {
	Next      string
	Condition string // in words
}

// UnmarshalJSON reads a rule and puts its condition into words.
func (r *Rule) UnmarshalJSON(b []byte) error {
	var rule map[string]any
	if err := json.Unmarshal(b, &rule); err != nil {
		return err
	}
	r.Next, _ = rule["Next"].(string)
	r.Condition = condition(rule)
	return nil
}

func condition(rule map[string]any) string {
	for _, operator := range []string{"And", "Or"} {
		if parts, ok := rule[operator].([]any); ok {
			var words []string
			for _, part := range parts {
				if part, ok := part.(map[string]any); ok {
					words = append(words, condition(part))
				}
			}
			return strings.Join(words, " "+strings.ToLower(operator)+" ")
		}
	}
	if part, ok := rule["Not"].(map[string]any); ok {
		return "not " + condition(part)
	}
	variable := fmt.Sprint(rule["Variable"])
	if present, ok := rule["IsPresent"].(bool); ok {
		if present {
			return variable + " is present"
		}
		return variable + " is absent"
	}
	for _, key := range sortedKeys(rule) {
		switch key {
		case "Variable", "Next", "Comment", "Assign", "Output":
		default:
			return fmt.Sprintf("%s %s %v", variable, key, rule[key])
		}
	}
	return variable
}

// Read reads a definition. It fails when a state leads to one that is not
// there, so that Layout has no such case.
func Read(definition string) (*Machine, error) {
	var m Machine
	if err := json.Unmarshal([]byte(definition), &m); err != nil {
		return nil, fmt.Errorf("read a state machine's definition: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("read a state machine's definition: %w", err)
	}
	return &m, nil
}

func (m *Machine) check() error {
	if m.States[m.StartAt] == nil {
		return fmt.Errorf("StartAt names %q, which is no state", m.StartAt)
	}
	var errs []error
	for _, name := range sortedKeys(m.States) {
		s := m.States[name]
		if s == nil {
			return fmt.Errorf("state %q is null", name)
		}
		for _, a := range s.arrows() {
			if m.States[a.to] == nil {
				errs = append(errs, fmt.Errorf("state %q leads to %q, which is no state", name, a.to))
			}
		}
		for _, branch := range s.branches() {
			if branch == nil {
				return fmt.Errorf("a branch of state %q is null", name)
			}
			errs = append(errs, branch.check())
		}
	}
	return errors.Join(errs...)
}

// arrow leads from one state to another.
type arrow struct {
	to        string
	condition string // "" on the way that is taken otherwise
}

// arrows are where a state leads to, the usual way first.
func (s *State) arrows() []arrow {
	var list []arrow
	for _, next := range []string{s.Next, s.Default} {
		if next != "" {
			list = append(list, arrow{to: next})
		}
	}
	for _, r := range s.Choices {
		list = append(list, arrow{r.Next, r.Condition})
	}
	for _, c := range s.Catch {
		list = append(list, arrow{c.Next, "error"})
	}
	return list
}

func (s *State) branches() []*Machine {
	list := s.Branches
	for _, m := range []*Machine{s.ItemProcessor, s.Iterator} {
		if m != nil {
			list = append(slices.Clip(list), m)
		}
	}
	return list
}

// Step is a state in the order in which a reader meets it.
type Step struct {
	Name  string
	Depth int // 1 in a branch
	*State
}

// Steps lists all states, the usual way first, branches after their state.
func (m *Machine) Steps() []Step { return m.steps(0) }

func (m *Machine) steps(depth int) []Step {
	var list []Step
	seen := map[string]bool{}
	var walk func(name string)
	walk = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		s := m.States[name]
		list = append(list, Step{name, depth, s})
		for _, branch := range s.branches() {
			list = append(list, branch.steps(depth+1)...)
		}
		for _, a := range s.arrows() {
			walk(a.to)
		}
	}
	walk(m.StartAt)
	return list
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
