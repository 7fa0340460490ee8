package stacks

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
	"github.com/cdklabs/cdk-nag-go/cdknag/v2"
)

// Nothing here calls t.Parallel: jsii is one process with one conversation, and
// two tests that talk at once deadlock.

// assembly is what synthesis wrote.
type assembly struct {
	dir    string
	prefix string
}

// synthesize builds the app with the context of cdk.json and the given changes.
// Functions get placeholder code, so that the tests need no build.
func synthesize(changes map[string]any) (*assembly, error) { return synthesizeFor(Props{}, changes) }

// synthesizeFor adds parameters and functions to the props.
func synthesizeFor(props Props, changes map[string]any) (a *assembly, err error) {
	defer func() {
		if failure := recover(); failure != nil {
			err = fmt.Errorf("%v", failure)
		}
	}()
	context, err := exampleContext()
	if err != nil {
		return nil, err
	}
	maps.Copy(context, changes)
	if props.Parameters, err = ParseParameters(context); err != nil {
		return nil, err
	}
	if props.Assets, err = placeholderAssets(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(testDir(), "out")
	if err != nil {
		return nil, err
	}
	app := awscdk.NewApp(&awscdk.AppProps{Context: &context, Outdir: jsii.String(dir), AnalyticsReporting: jsii.Bool(false)})
	New(app, props)
	if examined(changes) {
		awscdk.Aspects_Of(app).Add(cdknag.NewAwsSolutionsChecks(&cdknag.NagPackProps{Verbose: jsii.Bool(true)}), nil)
	}
	app.Synth(nil)
	return &assembly{dir, props.Parameters.StackPrefix}, nil
}

// examined tells whether cdk-nag looks at the stacks: at the two kinds of
// deployment that differ in what they are made of.
func examined(changes map[string]any) bool {
	return len(changes) == 0 || changes["customerManagedKeys"] != nil
}

// exampleContext is the context of cdk.json: an example of the parameters, and
// the feature flags that the templates are meant to be synthesized with.
func exampleContext() (map[string]any, error) {
	text, err := os.ReadFile("../cdk.json")
	if err != nil {
		return nil, err
	}
	var file struct{ Context map[string]any }
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("cdk.json: %w", err)
	}
	return file.Context, nil
}

var testDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "stacks-test-")
	if err != nil {
		panic(err)
	}
	return dir
})

func placeholderAssets() (string, error) {
	dir, err := os.MkdirTemp(testDir(), "dist")
	if err != nil {
		return "", err
	}
	for _, step := range steps {
		if err := os.Mkdir(filepath.Join(dir, step.name), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, step.name, "bootstrap"), []byte("placeholder of "+step.name), 0o755); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func TestMain(m *testing.M) {
	os.Setenv("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
	code := m.Run()
	jsii.Close()
	os.RemoveAll(testDir())
	os.Exit(code)
}

// The assemblies that most tests look at, each synthesized once.
var (
	standard = onceAssembly(nil)
	ownKeys  = onceAssembly(map[string]any{"customerManagedKeys": true})
)

func onceAssembly(changes map[string]any) func(*testing.T) *assembly {
	once := sync.OnceValues(func() (*assembly, error) { return synthesize(changes) })
	return func(t *testing.T) *assembly {
		t.Helper()
		a, err := once()
		if err != nil {
			t.Fatalf("synthesize: %v", err)
		}
		return a
	}
}

// template is a CloudFormation template as far as the tests read it.
type template struct {
	name      string
	Resources map[string]resource
	Outputs   map[string]struct{ Description, Value any }
}

type resource struct {
	ID                  string
	Type                string
	Properties          map[string]any
	DeletionPolicy      string
	UpdateReplacePolicy string
	DependsOn           any
	Metadata            map[string]any
}

func (a *assembly) path(stack string) string {
	return filepath.Join(a.dir, a.prefix+"-"+stack+".template.json")
}

func (a *assembly) template(t *testing.T, stack string) *template {
	t.Helper()
	tmpl := &template{name: stack}
	readJSON(t, a.path(stack), tmpl)
	for id, r := range tmpl.Resources {
		r.ID = id
		tmpl.Resources[id] = r
	}
	return tmpl
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// of is the resources of a type, at least one.
func (tmpl *template) of(t *testing.T, typ string) []resource {
	t.Helper()
	var found []resource
	for _, r := range tmpl.Resources {
		if r.Type == typ {
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s has no %s", tmpl.name, typ)
	}
	return found
}

// named is the resource of a type whose property has the value.
func (tmpl *template) named(t *testing.T, typ, property, value string) resource {
	t.Helper()
	for _, r := range tmpl.of(t, typ) {
		if r.Properties[property] == value {
			return r
		}
	}
	t.Fatalf("%s has no %s with %s %q", tmpl.name, typ, property, value)
	return resource{}
}

// at is the value at a path of the properties, such as "Replicas.0.Region";
// nil if there is none.
func (r resource) at(path string) any { return at(r.Properties, path) }

func at(value any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[key]
		case []any:
			var i int
			if _, err := fmt.Sscanf(key, "%d", &i); err != nil || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

// want compares the value at a path with what is wanted, both as JSON.
func (r resource) want(t *testing.T, path string, wanted any) {
	t.Helper()
	got, expected := compact(r.at(path)), compact(wanted)
	if got != expected {
		t.Errorf("%s %s: %s is %s, want %s", r.Type, r.ID, path, got, expected)
	}
}

func compact(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// plain is a value with intrinsic functions resolved to readable text: a
// reference to a resource becomes <logical id>, or <logical id.attribute>.
func plain(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case map[string]any:
		if ref, ok := v["Ref"].(string); ok {
			return "<" + ref + ">"
		}
		if get, ok := v["Fn::GetAtt"].([]any); ok {
			return fmt.Sprintf("<%v.%v>", get[0], get[1])
		}
		if name, ok := v["Fn::ImportValue"].(string); ok {
			return "<import " + name + ">"
		}
		if join, ok := v["Fn::Join"].([]any); ok {
			parts := join[1].([]any)
			texts := make([]string, len(parts))
			for i, part := range parts {
				texts[i] = plain(part)
			}
			return strings.Join(texts, join[0].(string))
		}
	}
	return compact(value)
}

// list is a value that IAM allows to be single as a list.
func list(value any) []any {
	if values, ok := value.([]any); ok {
		return values
	}
	if value == nil {
		return nil
	}
	return []any{value}
}
