package cloudformation

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write makes an assembly of the given stacks: name → template. The second and
// later stacks depend on those that dependsOn names.
func write(t *testing.T, stacks map[string]string, dependsOn map[string][]string) string {
	t.Helper()
	dir := t.TempDir()
	artifacts := map[string]any{"Tree": map[string]any{"type": "cdk:tree"}}
	for name, template := range stacks {
		file := name + ".template.json"
		if err := os.WriteFile(filepath.Join(dir, file), []byte(template), 0o644); err != nil {
			t.Fatal(err)
		}
		assets := `{"files":{"x":{"source":{"path":"asset.abc"},"destinations":{"here":{"objectKey":"abc.zip"}}}}}`
		if err := os.WriteFile(filepath.Join(dir, name+".assets.json"), []byte(assets), 0o644); err != nil {
			t.Fatal(err)
		}
		artifacts[name+".assets"] = map[string]any{"type": "cdk:asset-manifest", "properties": map[string]any{"file": name + ".assets.json"}}
		artifacts[name] = map[string]any{"type": "aws:cloudformation:stack", "environment": "aws://unknown-account/eu-west-1",
			"properties": map[string]any{"templateFile": file}, "dependencies": append([]string{name + ".assets"}, dependsOn[name]...)}
	}
	b, err := json.Marshal(map[string]any{"artifacts": artifacts})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "manifest.json"), b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// deploy deploys one template and returns what was created, in order, with the
// properties as JSON.
func deploy(t *testing.T, template string) (created []string, d *Deployment, err error) {
	t.Helper()
	a, err := Open(write(t, map[string]string{"S-One": template}, nil))
	if err != nil {
		return nil, nil, err
	}
	record := func(_ context.Context, r Resource) (Created, error) {
		created = append(created, r.LogicalID+" "+string(Properties{"p": map[string]any(r.Properties)}.JSON("p")))
		if r.Properties.String("Fail") != "" {
			return Created{}, fmt.Errorf("as told")
		}
		return Created{Ref: "ref-" + r.LogicalID, Attributes: map[string]string{"Arn": "arn-" + r.LogicalID}}, nil
	}
	d, err = Deploy(t.Context(), a.Stacks[0], map[string]Provider{"T": record, "Later": record}, map[string]string{"shared": "imported"}, "Later")
	if err == nil {
		err = d.Finish(t.Context())
	}
	return created, d, err
}

func TestOpen(t *testing.T) {
	dir := write(t, map[string]string{"S-B": "{}", "S-A": "{}", "S-C": "{}"}, map[string][]string{"S-A": {"S-C"}})
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range a.Stacks {
		names = append(names, s.Name)
	}
	if got := strings.Join(names, " "); got != "S-C S-A S-B" {
		t.Errorf("order %s", got)
	}
	s, err := a.Stack("B")
	if err != nil || s.Name != "S-B" || s.Region != "eu-west-1" || s.Assets["abc.zip"] != filepath.Join(dir, "asset.abc") {
		t.Errorf("stack %+v, %v", s, err)
	}
	if _, err := a.Stack("D"); err == nil || !strings.Contains(err.Error(), "S-C, S-A, S-B") {
		t.Errorf("unknown stack: %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "make synth") {
		t.Errorf("empty directory: %v", err)
	}
	if _, err := Open(write(t, map[string]string{"A": "{}", "B": "{}"}, map[string][]string{"A": {"B"}, "B": {"A"}})); err == nil || !strings.Contains(err.Error(), "circle") {
		t.Errorf("circle: %v", err)
	}
}

func TestResolve(t *testing.T) {
	// Each value is the property P of a resource in a stack with parameter
	// Name (default "param"), condition Yes and No, mapping M, and resource Other.
	for value, want := range map[string]string{
		`{"Ref":"Other"}`:                                       `"ref-Other"`,
		`{"Fn::GetAtt":["Other","Arn"]}`:                        `"arn-Other"`,
		`{"Fn::GetAtt":"Other.Arn"}`:                            `"arn-Other"`,
		`{"Ref":"Name"}`:                                        `"param"`,
		`{"Ref":"AWS::Region"}`:                                 `"eu-west-1"`,
		`{"Ref":"AWS::AccountId"}`:                              `"123456789012"`,
		`{"Fn::Join":["-",["a",{"Ref":"Other"},3,true]]}`:       `"a-ref-Other-3-true"`,
		`{"Fn::Sub":"${Other}/${Other.Arn}/${AWS::Partition}"}`: `"ref-Other/arn-Other/aws"`,
		`{"Fn::Sub":["${X}/${!Y}",{"X":{"Ref":"Name"}}]}`:       `"param/${Y}"`,
		`{"Fn::Select":[1,{"Fn::Split":["-","a-b-c"]}]}`:        `"b"`,
		`{"Fn::Select":["0",["x"]]}`:                            `"x"`,
		`{"Fn::If":["Yes",1,2]}`:                                `1`,
		`{"Fn::If":["No",1,{"Ref":"Name"}]}`:                    `"param"`,
		`{"Fn::FindInMap":["M","k","v"]}`:                       `"mapped"`,
		`{"Fn::ImportValue":"shared"}`:                          `"imported"`,
		`{"Fn::Base64":"hi"}`:                                   `"aGk="`,
		`{"Fn::ToJsonString":{"a":{"Ref":"Name"}}}`:             `"{\"a\":\"param\"}"`,
		`[1,{"Ref":"AWS::NoValue"},2]`:                          `[1,2]`,
		`{"a":{"Ref":"AWS::NoValue"},"b":12345678901234567890}`: `{"b":12345678901234567890}`,
		`{"Condition":{"StringEquals":{"k":{"Ref":"Name"}}}}`:   `{"Condition":{"StringEquals":{"k":"param"}}}`,
		`{"Fn::If":["Both",{"Ref":"AWS::URLSuffix"},"no"]}`:     `"amazonaws.com"`,
		`{"Fn::If":["Either",{"Fn::If":["Not","x","y"]},"no"]}`: `"y"`,
	} {
		created, _, err := deploy(t, `{"Parameters":{"Name":{"Type":"String","Default":"param"}},"Mappings":{"M":{"k":{"v":"mapped"}}},
			"Conditions":{"Yes":{"Fn::Equals":[{"Ref":"Name"},"param"]},"No":{"Fn::Equals":["a","b"]},"Not":{"Fn::Not":[{"Condition":"Yes"}]},
				"Both":{"Fn::And":[{"Condition":"Yes"},{"Fn::Not":[{"Condition":"No"}]}]},"Either":{"Fn::Or":[{"Condition":"No"},{"Condition":"Yes"}]}},
			"Resources":{"Other":{"Type":"T"},"X":{"Type":"T","DependsOn":"Other","Properties":{"P":`+value+`}}}}`)
		if err != nil {
			t.Errorf("%s: %v", value, err)
			continue
		}
		if got := created[1]; got != `X {"P":`+want+`}` {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
}

func TestOrderConditionsOutputs(t *testing.T) {
	created, d, err := deploy(t, `{
		"Conditions":{"No":{"Fn::Equals":["a","b"]}},
		"Resources":{
			"A":{"Type":"T","Properties":{"P":{"Fn::Sub":"${B.Arn}"}}},
			"B":{"Type":"T","DependsOn":["C"]},
			"C":{"Type":"T"},
			"D":{"Type":"Later"},
			"E":{"Type":"T","Properties":{"P":{"Ref":"D"}}},
			"F":{"Type":"T","Condition":"No","Properties":{"P":{"Ref":"Missing"}}},
			"G":{"Type":"T"}},
		"Outputs":{"One":{"Value":{"Ref":"E"},"Export":{"Name":{"Fn::Sub":"${AWS::StackName}:One"}}},"None":{"Condition":"No","Value":{"Ref":"F"}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, c := range created {
		order = append(order, c[:1])
	}
	if got := strings.Join(order, ""); got != "CBAGDE" {
		t.Errorf("order %s", got)
	}
	if !maps.Equal(d.Outputs, map[string]string{"One": "ref-E"}) {
		t.Errorf("outputs %v", d.Outputs)
	}
	if got := d.scope.exports["S-One:One"]; got != "ref-E" {
		t.Errorf("exported %q", got)
	}
}

func TestErrors(t *testing.T) {
	for name, c := range map[string]struct{ template, want string }{
		"unknown type":      {`{"Resources":{"X":{"Type":"AWS::Odd::Thing"}}}`, "stack S-One: resource X: the testbed does not know the type AWS::Odd::Thing"},
		"unknown function":  {`{"Resources":{"X":{"Type":"T","Properties":{"P":{"Fn::GetAZs":""}}}}}`, "stack S-One: resource X (T): P: the testbed does not know the function Fn::GetAZs"},
		"unknown reference": {`{"Resources":{"X":{"Type":"T","Properties":{"P":{"Ref":"Y"}}}}}`, "reference to Y, which does not exist"},
		"unknown attribute": {`{"Resources":{"Y":{"Type":"T"},"X":{"Type":"T","Properties":{"P":{"Fn::GetAtt":["Y","Color"]}}}}}`, "the testbed knows no attribute Color of Y (T)"},
		"unknown export":    {`{"Resources":{"X":{"Type":"T","Properties":{"P":{"Fn::ImportValue":"none"}}}}}`, "exports none"},
		"no default":        {`{"Parameters":{"N":{"Type":"String"}},"Resources":{"X":{"Type":"T","Properties":{"P":{"Ref":"N"}}}}}`, "parameter N has no default"},
		"circle":            {`{"Resources":{"X":{"Type":"T","DependsOn":"Y"},"Y":{"Type":"T","Properties":{"P":{"Ref":"X"}}}}}`, "circle: X → Y → X"},
		"provider":          {`{"Resources":{"X":{"Type":"T","Properties":{"Fail":"1"}}}}`, "stack S-One: resource X (T): as told"},
		"output":            {`{"Resources":{},"Outputs":{"O":{"Value":{"Ref":"Y"}}}}`, "stack S-One: output O: reference to Y"},
		"not JSON":          {`{`, "S-One.template.json"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := deploy(t, c.template); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestProperties(t *testing.T) {
	p := Properties{"a": map[string]any{"b": json.Number("5"), "c": "true", "d": []any{"x", json.Number("1")}, "e": map[string]any{"f": true}}, "doc": `{"x":1}`, "one": "single", "list": []any{map[string]any{"k": "v"}}}
	n, err := p.Int(3, "a", "b")
	m, err2 := p.Int(3, "a", "none")
	_, err3 := p.Int(3, "one")
	if n != 5 || m != 3 || err != nil || err2 != nil || err3 == nil {
		t.Errorf("Int: %d %d %v %v %v", n, m, err, err2, err3)
	}
	if !p.Bool("a", "c") || p.Bool("a", "b") || p.String("a", "d", "z") != "" {
		t.Error("Bool or String")
	}
	if got := fmt.Sprint(p.Strings("a", "d"), p.Strings("one"), p.Texts("a", "e"), p.Objects("list")[0].String("k")); got != "[x 1] [single] map[f:true]v" {
		t.Errorf("lists: %s", got)
	}
	if string(p.JSON("doc")) != `{"x":1}` || string(p.JSON("a", "d")) != `["x",1]` || p.JSON("none") != nil {
		t.Error("JSON")
	}
}

// edited is a copy of the assembly in dir, read again.
func edited(t *testing.T, dir string, edit func(stack string, template map[string]any)) *Assembly {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	err := Copy(dir, to, func(stack string, template map[string]any) error {
		edit(stack, template)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := Open(to)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCopyWithOtherVariables(t *testing.T) {
	dir := write(t, map[string]string{"S-One": `{"Resources":{
		"one":{"Type":"AWS::Lambda::Function","Properties":{"Handler":"one","Environment":{"Variables":{"A":"1","B":"2"}}}},
		"two":{"Type":"AWS::Lambda::Function","Properties":{"Handler":"two","Environment":{"Variables":{"B":"2"}}}},
		"bare":{"Type":"AWS::Lambda::Function","Properties":{"Handler":"bare"}},
		"daily":{"Type":"AWS::Scheduler::Schedule","Properties":{"State":"ENABLED"}}}}`}, nil)
	a := edited(t, dir, func(_ string, template map[string]any) {
		SetVariables(template, func(handler string) map[string]string { return map[string]string{"A": handler, "AWS_X": "3"} })
		DisableSchedules(template)
	})
	var got []string
	for _, id := range slices.Sorted(maps.Keys(a.Stacks[0].Template.Resources)) {
		p := Properties(a.Stacks[0].Template.Resources[id].Properties)
		got = append(got, fmt.Sprint(id, p.Texts("Environment", "Variables"), p.String("State")))
	}
	if want := "[baremap[] dailymap[]DISABLED onemap[A:one AWS_X:3 B:2] twomap[AWS_X:3 B:2]]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if a.Stacks[0].Variable("A") != "one" || a.Stacks[0].Variable("C") != "" {
		t.Errorf("A is %q, C %q", a.Stacks[0].Variable("A"), a.Stacks[0].Variable("C"))
	}
}

func TestCopyWithoutPermission(t *testing.T) {
	dir := write(t, map[string]string{"S-One": `{"Resources":{
		"exportusersRolePolicy":{"Type":"AWS::IAM::Policy","Properties":{"PolicyDocument":{"Statement":[
			{"Effect":"Allow","Action":["a:One","a:Two"],"Resource":"*"},{"Effect":"Allow","Action":"a:One","Resource":"*"},{"Effect":"Deny","Action":"a:One","Resource":"*"}]}}},
		"otherRolePolicy":{"Type":"AWS::IAM::Policy","Properties":{"PolicyDocument":{"Statement":{"Effect":"Allow","Action":"a:One","Resource":"*"}}}}}}`}, nil)
	a := edited(t, dir, func(stack string, template map[string]any) {
		if n := TakePermission(template, "exportusers", "a:One"); n != 2 || stack != "S-One" {
			t.Errorf("%d taken in stack %s", n, stack)
		}
	})
	statements := func(id string) string {
		p := Properties(a.Stacks[0].Template.Resources[id].Properties)
		return string(p.JSON("PolicyDocument", "Statement"))
	}
	if got := statements("exportusersRolePolicy"); got != `[{"Action":["a:Two","none:None"],"Effect":"Allow","Resource":"*"},{"Action":["none:None"],"Effect":"Allow","Resource":"*"},{"Action":"a:One","Effect":"Deny","Resource":"*"}]` {
		t.Errorf("statements %s", got)
	}
	if got := statements("otherRolePolicy"); !strings.Contains(got, "a:One") {
		t.Errorf("another function's statements %s", got)
	}
}
