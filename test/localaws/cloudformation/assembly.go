package cloudformation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Assembly is a cloud assembly directory (cdk.out).
type Assembly struct {
	Dir    string
	Stacks []*Stack // a stack comes after the stacks it depends on
}

// Stack is one stack of an assembly, not yet deployed.
type Stack struct {
	ID        string // artifact id in the manifest
	Name      string // stack name
	Region    string
	DependsOn []string // artifact ids of stacks
	Template  *Template
	Assets    map[string]string // object key in the asset bucket → file or directory

	file string // of the template, in the assembly's directory
}

// Variable is what the stack's functions find in an environment variable, ""
// if none has it.
func (s *Stack) Variable(name string) string {
	for _, r := range s.Template.Resources {
		if value := Properties(r.Properties).String("Environment", "Variables", name); value != "" && r.Type == "AWS::Lambda::Function" {
			return value
		}
	}
	return ""
}

// Template is a CloudFormation template, decoded with json.Number.
type Template struct {
	Parameters map[string]Parameter
	Mappings   map[string]any
	Conditions map[string]any
	Resources  map[string]*Declaration
	Outputs    map[string]Output
}

// Parameter is a template parameter.
type Parameter struct {
	Type    string
	Default any
}

// Declaration is a resource as the template declares it.
type Declaration struct {
	Type       string
	Condition  string
	DependsOn  any
	Properties map[string]any
}

// Output is a stack output.
type Output struct {
	Value     any
	Condition string
	Export    struct{ Name any }
}

type manifest struct {
	Artifacts map[string]struct {
		Type         string
		Environment  string
		Dependencies []string
		DisplayName  string
		Properties   struct {
			TemplateFile string
			StackName    string
			File         string
		}
	}
}

// Open reads the assembly in dir.
func Open(dir string) (*Assembly, error) {
	var m manifest
	if err := readJSON(filepath.Join(dir, "manifest.json"), &m); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("no cloud assembly in %s: run `make synth` first", dir)
		}
		return nil, err
	}
	stacks := map[string]*Stack{}
	for id, artifact := range m.Artifacts {
		if artifact.Type != "aws:cloudformation:stack" {
			continue
		}
		region, err := regionOf(artifact.Environment)
		if err != nil {
			return nil, fmt.Errorf("stack %s: %w", id, err)
		}
		stack := &Stack{ID: id, Name: artifact.Properties.StackName, Region: region, Template: &Template{}, Assets: map[string]string{}, file: artifact.Properties.TemplateFile}
		if stack.Name == "" {
			stack.Name = id
		}
		if err := readJSON(filepath.Join(dir, artifact.Properties.TemplateFile), stack.Template); err != nil {
			return nil, fmt.Errorf("template of stack %s: %w", id, err)
		}
		for _, dependency := range artifact.Dependencies {
			switch d := m.Artifacts[dependency]; d.Type {
			case "aws:cloudformation:stack":
				stack.DependsOn = append(stack.DependsOn, dependency)
			case "cdk:asset-manifest":
				if err := stack.readAssets(dir, d.Properties.File); err != nil {
					return nil, fmt.Errorf("assets of stack %s: %w", id, err)
				}
			}
		}
		stacks[id] = stack
	}
	if len(stacks) == 0 {
		return nil, fmt.Errorf("the cloud assembly in %s holds no stack", dir)
	}
	a := &Assembly{Dir: dir}
	if err := a.order(stacks); err != nil {
		return nil, err
	}
	return a, nil
}

// Stack finds a stack by name, artifact id or the last part of its name
// ("Primary" for CognitoBackup-Primary).
func (a *Assembly) Stack(name string) (*Stack, error) {
	var names []string
	for _, s := range a.Stacks {
		if s.Matches(name) {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return nil, fmt.Errorf("no stack %q in the assembly, which holds %s", name, strings.Join(names, ", "))
}

// Matches reports whether name means this stack.
func (s *Stack) Matches(name string) bool {
	return name == s.Name || name == s.ID || strings.HasSuffix(s.Name, "-"+name)
}

// order sorts stacks so that each follows what it depends on.
func (a *Assembly) order(stacks map[string]*Stack) error {
	ids := make([]string, 0, len(stacks))
	edges := map[string][]string{}
	for id, s := range stacks {
		ids = append(ids, id)
		edges[id] = s.DependsOn
	}
	sorted, err := topological(ids, edges)
	if err != nil {
		return fmt.Errorf("stacks depend on each other in a circle: %w", err)
	}
	for _, id := range sorted {
		a.Stacks = append(a.Stacks, stacks[id])
	}
	return nil
}

func (s *Stack) readAssets(dir, file string) error {
	var assets struct {
		Files map[string]struct {
			Source       struct{ Path string }
			Destinations map[string]struct{ ObjectKey string }
		}
	}
	if err := readJSON(filepath.Join(dir, file), &assets); err != nil {
		return err
	}
	for _, f := range assets.Files {
		for _, d := range f.Destinations {
			s.Assets[d.ObjectKey] = filepath.Join(dir, f.Source.Path)
		}
	}
	return nil
}

// regionOf reads the Region of an environment such as aws://unknown-account/eu-west-1.
func regionOf(environment string) (string, error) {
	parts := strings.Split(strings.TrimPrefix(environment, "aws://"), "/")
	if len(parts) != 2 || parts[1] == "" || parts[1] == "unknown-region" {
		return "", fmt.Errorf("environment %q names no Region, so the testbed cannot tell where the stack belongs", environment)
	}
	return parts[1], nil
}

func readJSON(file string, v any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // a number in a template means its digits
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	return nil
}

// topological sorts ids so that each comes after everything edges[id] names;
// ties are in order of name. Edges to unknown ids are ignored.
func topological(ids []string, edges map[string][]string) ([]string, error) {
	slices.Sort(ids)
	const visiting, done = 1, 2
	state := map[string]int{}
	known := map[string]bool{}
	for _, id := range ids {
		known[id] = true
	}
	var sorted []string
	var visit func(id string, path []string) error
	visit = func(id string, path []string) error {
		switch state[id] {
		case done:
			return nil
		case visiting:
			return errors.New(strings.Join(append(path, id), " → "))
		}
		state[id] = visiting
		next := slices.Clone(edges[id])
		slices.Sort(next)
		for _, n := range next {
			if known[n] {
				if err := visit(n, append(path, id)); err != nil {
					return err
				}
			}
		}
		state[id] = done
		sorted = append(sorted, id)
		return nil
	}
	for _, id := range ids {
		if err := visit(id, nil); err != nil {
			return nil, err
		}
	}
	return sorted, nil
}
