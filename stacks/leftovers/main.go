// Command leftovers prints what `cdk destroy` leaves behind: the resources of
// a cloud assembly that are retained. It looks at the assembly and not at an
// account.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: leftovers <cloud assembly>")
		os.Exit(2)
	}
	text, err := describe(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(text)
}

// kinds is what people call the types that are retained.
var kinds = map[string]string{
	"AWS::DynamoDB::GlobalTable": "table",
	"AWS::S3::Bucket":            "bucket",
	"AWS::KMS::Key":              "key",
}

type manifest struct {
	Artifacts map[string]struct {
		Type        string
		Environment string // aws://<account>/<region>
		Properties  struct{ TemplateFile string }
	}
}

type template struct {
	Resources map[string]struct {
		Type           string
		DeletionPolicy string
		Properties     map[string]any
	}
}

func describe(assembly string) (string, error) {
	var m manifest
	if err := read(filepath.Join(assembly, "manifest.json"), &m); err != nil {
		return "", fmt.Errorf("%w; synthesize first", err)
	}
	var lines []string
	for _, stack := range m.Artifacts {
		if stack.Type != "aws:cloudformation:stack" {
			continue
		}
		var t template
		if err := read(filepath.Join(assembly, stack.Properties.TemplateFile), &t); err != nil {
			return "", err
		}
		region := stack.Environment[strings.LastIndexByte(stack.Environment, '/')+1:]
		for _, r := range t.Resources {
			if strings.HasPrefix(r.DeletionPolicy, "Retain") { // or RetainExceptOnCreate
				lines = append(lines, fmt.Sprintf("  %-15s %-7s %s\n", region, kind(r.Type), name(r.Properties)+replicas(r.Properties, region)))
			}
		}
	}
	slices.Sort(lines)
	return "Left behind on purpose, because a backup must not vanish with the tool that made it:\n\n" + strings.Join(lines, "") + `
Left behind because Cognito has made them: the log groups /aws/cognito/... of
CSV import jobs, in each Region where there was an import. They may name users.

To take table and buckets over again:
  make deploy ARGS=--import-existing-resources   (and the -c of the deployment)
To delete all for good: docs/deployment.md, "Remove everything"
`, nil
}

func kind(typ string) string {
	if kind, ok := kinds[typ]; ok {
		return kind
	}
	return typ
}

// name is the resource's own name, or for a key what it says of itself.
func name(properties map[string]any) string {
	for _, key := range []string{"TableName", "BucketName", "Description"} {
		if value, ok := properties[key]; ok {
			return text(value)
		}
	}
	return "(named by CloudFormation)"
}

func replicas(properties map[string]any, home string) string {
	var regions []string
	list, _ := properties["Replicas"].([]any)
	for _, replica := range list {
		if r, ok := replica.(map[string]any); ok && r["Region"] != home {
			regions = append(regions, text(r["Region"]))
		}
	}
	if regions == nil {
		return ""
	}
	return ", with its replica in " + strings.Join(regions, ", ")
}

// text resolves the intrinsic functions that names are made with.
func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case map[string]any:
		if v["Ref"] == "AWS::AccountId" {
			return "<account>"
		}
		if join, ok := v["Fn::Join"].([]any); ok && len(join) == 2 {
			var parts []string
			list, _ := join[1].([]any)
			for _, part := range list {
				parts = append(parts, text(part))
			}
			return strings.Join(parts, text(join[0]))
		}
	}
	return fmt.Sprint(value)
}

func read(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
