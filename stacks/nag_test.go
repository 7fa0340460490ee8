package stacks

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNag: every rule of AwsSolutions either holds or is suppressed on one
// resource with a reason. (An error or warning of cdk-nag fails synthesis
// already.) The suppressions are printed: go test -v -run TestNag ./stacks
func TestNag(t *testing.T) {
	for name, a := range map[string]*assembly{"AWS-managed keys": standard(t), "customer-managed keys": ownKeys(t)} {
		t.Run(name, func(t *testing.T) {
			reports, err := filepath.Glob(filepath.Join(a.dir, "AwsSolutions-*-NagReport.csv"))
			if err != nil || len(reports) < 2 {
				t.Fatalf("%d reports of cdk-nag, %v", len(reports), err)
			}
			for _, report := range reports {
				checkNagReport(t, report)
			}
		})
	}
}

func checkNagReport(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	column := func(name string) int { return slices.Index(rows[0], name) }
	rule, resource, compliance, reason := column("Rule ID"), column("Resource ID"), column("Compliance"), column("Exception Reason")
	for _, row := range rows[1:] {
		switch row[compliance] {
		case "Compliant", "N/A":
		case "Suppressed":
			t.Logf("suppressed: %s on %s: %s", row[rule], row[resource], row[reason])
			if len(row[reason]) < 40 {
				t.Errorf("%s on %s: that is no reason: %q", row[rule], row[resource], row[reason])
			}
		default:
			t.Errorf("%s on %s: %s", row[rule], row[resource], row[compliance])
		}
	}
}

// TestSuppressionsAreScoped: each names the findings it accepts, and stands on
// the resource that has them.
func TestSuppressionsAreScoped(t *testing.T) {
	inBoth(t, func(t *testing.T, tmpl *template, _ bool) {
		for _, s := range suppressions(tmpl) {
			r := tmpl.Resources[s.resource]
			switch s.rule {
			case "AwsSolutions-S1":
				if r.Type != "AWS::S3::Bucket" {
					t.Errorf("%s is suppressed on %s", s.rule, r.ID)
				}
			case "AwsSolutions-IAM5":
				if r.Type != "AWS::IAM::Policy" || len(s.findings) == 0 {
					t.Errorf("%s is suppressed on %s as a whole", s.rule, r.ID)
				}
				var allowed []string
				for _, st := range list(r.at("PolicyDocument.Statement")) {
					for _, res := range list(st.(map[string]any)["Resource"]) {
						allowed = append(allowed, "Resource::"+plain(res))
					}
				}
				for _, finding := range s.findings {
					if !slices.Contains(allowed, finding) {
						t.Errorf("%s: nothing is left of %s", r.ID, finding)
					}
				}
			default:
				t.Errorf("%s is suppressed on %s, which this test does not know", s.rule, r.ID)
			}
		}
	})
}

type suppression struct {
	resource string // logical id
	rule     string
	reason   string
	findings []string
}

func suppressions(tmpl *template) []suppression {
	var all []suppression
	for id, r := range tmpl.Resources {
		for _, rule := range list(at(r.Metadata, "cdk_nag.rules_to_suppress")) {
			s := suppression{id, plain(at(rule, "id")), plain(at(rule, "reason")), nil}
			for _, finding := range list(at(rule, "applies_to")) {
				s.findings = append(s.findings, plain(finding))
			}
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b suppression) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	return all
}
