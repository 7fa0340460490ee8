package cloudformation

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Copy makes a copy of the assembly in dir under to, in which edit may change
// each stack's template before it is written. Assets are linked, not copied.
func Copy(dir, to string, edit func(stack string, template map[string]any) error) error {
	a, err := Open(dir)
	if err != nil {
		return err
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	templates := map[string]string{} // file → stack name
	for _, s := range a.Stacks {
		templates[s.file] = s.Name
	}
	for _, e := range entries {
		stack, isTemplate := templates[e.Name()]
		if !isTemplate {
			if err := os.Symlink(filepath.Join(absolute, e.Name()), filepath.Join(to, e.Name())); err != nil {
				return err
			}
			continue
		}
		var template map[string]any
		if err := readJSON(filepath.Join(dir, e.Name()), &template); err != nil {
			return err
		}
		if err := edit(stack, template); err != nil {
			return fmt.Errorf("edit stack %s: %w", stack, err)
		}
		b, err := json.Marshal(template)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// SetVariables gives the functions of a template other environment variables,
// which may depend on a function's handler. A function gets those that it has
// already, and those for the SDK (AWS_…).
func SetVariables(template map[string]any, environment func(handler string) map[string]string) {
	for _, properties := range propertiesOf(template, "AWS::Lambda::Function") {
		variables, _ := properties.Get("Environment", "Variables").(map[string]any)
		for name, value := range environment(properties.String("Handler")) {
			if _, used := variables[name]; used || variables != nil && strings.HasPrefix(name, "AWS_") {
				variables[name] = value
			}
		}
	}
}

// DisableSchedules leaves it to the caller to start what a template starts by
// schedule.
func DisableSchedules(template map[string]any) {
	for _, properties := range propertiesOf(template, "AWS::Scheduler::Schedule") {
		properties["State"] = "DISABLED"
	}
}

// propertiesOf returns the properties of the resources of a type.
func propertiesOf(template map[string]any, resourceType string) []Properties {
	var found []Properties
	resources, _ := template["Resources"].(map[string]any)
	for _, r := range resources {
		resource, _ := r.(map[string]any)
		if properties, ok := resource["Properties"].(map[string]any); ok && resource["Type"] == resourceType {
			found = append(found, properties)
		}
	}
	return found
}

// NoAction is what a statement grants from which TakePermission took all:
// nothing asks for it.
const NoAction = "none:None"

// TakePermission removes an action from every statement that grants it in the
// policies whose logical ids begin with prefix (a function's folder without
// hyphens: "exportusers"), and reports in how many statements it was.
func TakePermission(template map[string]any, prefix, action string) int {
	taken := 0
	resources, _ := template["Resources"].(map[string]any)
	for id, r := range resources {
		resource, _ := r.(map[string]any)
		if !strings.HasPrefix(id, prefix) || (resource["Type"] != "AWS::IAM::Policy" && resource["Type"] != "AWS::IAM::Role") {
			continue
		}
		taken += takeAction(resource["Properties"], action)
	}
	return taken
}

// takeAction removes the action wherever a statement allows it.
func takeAction(v any, action string) int {
	taken := 0
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			taken += takeAction(item, action)
		}
	case map[string]any:
		if v["Effect"] == "Allow" {
			list, ok := v["Action"].([]any)
			if !ok {
				list = []any{v["Action"]}
			}
			kept := slices.DeleteFunc(slices.Clone(list), func(a any) bool { return a == action })
			if taken = len(list) - len(kept); taken > 0 {
				v["Action"] = append(kept, NoAction) // a statement needs some action
			}
			return taken
		}
		for _, item := range v {
			taken += takeAction(item, action)
		}
	}
	return taken
}
