package docs

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"cognito-backup/internal/export"
	"cognito-backup/internal/restore"
)

// product is what the documents may name, as the sources have it.
type product struct {
	targets    map[string]bool // of the Makefile
	variables  map[string]bool // of the Makefile
	parameters map[string]bool // keys of the deployment parameters
	demoFlags  map[string]bool
	names      map[string]bool // what follows the prefix in names of resources
}

var (
	makeTarget   = regexp.MustCompile(`(?m)^\.PHONY: (.+)$`)
	makeVariable = regexp.MustCompile(`(?m)^([A-Z_]+) *\?=`)
	flagName     = regexp.MustCompile(`\bf\.[A-Za-z0-9]+\((?:&[\w.]+, )?"([\w-]+)"`)
)

func learn(t *testing.T) *product {
	t.Helper()
	p := &product{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	makefile := source(t, "Makefile")
	for _, m := range makeTarget.FindAllStringSubmatch(makefile, -1) {
		for _, target := range strings.Fields(m[1]) {
			p.targets[target] = true
		}
	}
	for _, m := range makeVariable.FindAllStringSubmatch(makefile, -1) {
		p.variables[m[1]] = true
	}
	p.variables["CHROMIUM"] = strings.Contains(makefile, "$(CHROMIUM)")
	for _, m := range flagName.FindAllStringSubmatch(source(t, "test/demo/main.go"), -1) {
		p.demoFlags[m[1]] = true
	}
	for name, value := range constants(t, "stacks/parameters.go") {
		if strings.HasPrefix(name, "key") {
			p.parameters[value] = true
		}
	}
	for _, text := range literals(t, "stacks") {
		p.names[text] = true
	}
	for _, folder := range folders(t, "lambdas") {
		p.names[folder] = true
	}
	if len(p.targets) < 10 || len(p.parameters) < 10 || len(p.demoFlags) < 5 {
		t.Fatalf("the sources were not understood: %+v", p)
	}
	return p
}

func source(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func folders(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// constants are the string constants of a file by name.
func constants(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, path), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, name := range spec.Names {
			if i < len(spec.Values) {
				if text, ok := literal(spec.Values[i]); ok {
					values[name.Name] = text
				}
			}
		}
		return true
	})
	return values
}

// literals are the string literals of the Go files below a folder, tests apart.
func literals(t *testing.T, folder string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if text, ok := literal(e); ok {
					all = append(all, text)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}

// check holds a call of a document against the product.
func (p *product) check(call []string) error {
	switch call[0] {
	case "make":
		return p.checkMake(call[1:])
	case "go":
		return checkGo(call[1:])
	case "npx":
		if call[1] != "cdk" {
			return errors.New("npx is for the cdk")
		}
		return p.checkCDK(call[2:])
	case "cdk":
		return p.checkCDK(call[1:])
	case "aws":
		return p.checkAWS(call[1:])
	}
	return errors.New("no such command is known")
}

func (p *product) checkMake(args []string) error {
	for _, arg := range args {
		name, value, assigns := strings.Cut(arg, "=")
		switch {
		case !assigns && !p.targets[arg]:
			return fmt.Errorf("no target %s", arg)
		case !assigns:
		case !p.variables[name]:
			return fmt.Errorf("no variable %s", name)
		case name == "ARGS":
			if err := p.checkCDK(append([]string{"deploy"}, words(value)...)); err != nil {
				return err
			}
		case name == "DEMO_FLAGS":
			for _, word := range words(value) {
				if flag, ok := strings.CutPrefix(word, "-"); ok && !p.demoFlags[flag] {
					return fmt.Errorf("the demo has no flag %s", word)
				}
			}
		}
	}
	return nil
}

// words splits as a shell would, as far as documents need it.
func words(text string) []string {
	var list []string
	for i, part := range strings.Split(text, `"`) {
		if i%2 == 1 {
			list = append(list, part)
			continue
		}
		list = append(list, strings.Fields(part)...)
	}
	return list
}

func checkGo(args []string) error {
	if len(args) < 2 || args[0] != "test" && args[0] != "run" {
		return errors.New("neither go test nor go run")
	}
	folder := filepath.Join(root, args[1])
	tests, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(tests) == 0 {
		return fmt.Errorf("no package %s", args[1])
	}
	var text strings.Builder
	for _, path := range tests {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text.Write(b)
	}
	for i := 2; i < len(args); i++ {
		switch {
		case args[i] == "-run" && i+1 < len(args):
			i++
			if !strings.Contains(text.String(), "func "+args[i]+"(") {
				return fmt.Errorf("no test %s", args[i])
			}
		case args[i] == "-short":
		case args[i] == "-update" && strings.Contains(text.String(), `flag.Bool("update"`):
		default:
			return fmt.Errorf("the argument %s", args[i])
		}
	}
	return nil
}

var environment = regexp.MustCompile(`^aws://[0-9]{12}/[a-z]{2}(-[a-z]+)+-[0-9]$`)

func (p *product) checkCDK(args []string) error {
	if !slices.Contains([]string{"bootstrap", "deploy", "destroy", "diff", "synth"}, args[0]) {
		return fmt.Errorf("the cdk command %s", args[0])
	}
	for i := 1; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "-c" && i+1 < len(args):
			i++
			key, value, ok := strings.Cut(args[i], "=")
			if key == "key" && value == "value" {
				break // "-c key=value" explains the form
			}
			if !ok || !p.parameters[key] {
				return fmt.Errorf("no parameter %s", args[i])
			}
		case arg == "--profile" && i+1 < len(args):
			i++
		case slices.Contains([]string{"--exclusively", "--import-existing-resources", "--method=prepare-change-set"}, arg):
		case args[0] == "bootstrap" && environment.MatchString(arg):
		case args[0] != "bootstrap" && p.resource(arg):
		default:
			return fmt.Errorf("the argument %s", arg)
		}
	}
	return nil
}

// resource says that there is something of that name in the stacks.
func (p *product) resource(name string) bool {
	what, ok := strings.CutPrefix(name, "CognitoBackup-")
	return ok && p.names[strings.Replace(what, "DeadLetterQueue", "Queue", 1)]
}

// operations are those of the AWS CLI that documents use: the SDK's input and
// the options that must be there.
var operations = map[string]struct {
	input    any
	required []string
}{
	"cloudformation delete-stack":       {struct{ StackName string }{}, []string{"--stack-name"}},
	"cloudformation describe-stacks":    {struct{ StackName string }{}, []string{"--stack-name"}},
	"cloudtrail lookup-events":          {struct{ LookupAttributes []string }{}, []string{"--lookup-attributes"}},
	"cloudwatch set-alarm-state":        {struct{ AlarmName, StateValue, StateReason string }{}, []string{"--alarm-name", "--state-value", "--state-reason"}},
	"cognito-idp admin-create-user":     {cognitoidentityprovider.AdminCreateUserInput{}, []string{"--user-pool-id", "--username"}},
	"cognito-idp list-user-import-jobs": {cognitoidentityprovider.ListUserImportJobsInput{}, []string{"--user-pool-id", "--max-results"}},
	"logs delete-log-group":             {struct{ LogGroupName string }{}, []string{"--log-group-name"}},
	"logs describe-log-groups":          {struct{ LogGroupNamePrefix string }{}, nil},
	"sqs get-queue-url":                 {sqs.GetQueueUrlInput{}, []string{"--queue-name"}},
	"sqs purge-queue":                   {sqs.PurgeQueueInput{}, []string{"--queue-url"}},
	"stepfunctions stop-execution":      {sfn.StopExecutionInput{}, []string{"--execution-arn"}},
	"cognito-idp create-user-pool":      {cognitoidentityprovider.CreateUserPoolInput{}, []string{"--cli-input-json"}},
	"cognito-idp describe-user-pool":    {cognitoidentityprovider.DescribeUserPoolInput{}, []string{"--user-pool-id"}},
	"dynamodb delete-table":             {dynamodb.DeleteTableInput{}, []string{"--table-name"}},
	"dynamodb describe-table":           {dynamodb.DescribeTableInput{}, []string{"--table-name"}},
	"dynamodb get-item":                 {dynamodb.GetItemInput{}, []string{"--table-name", "--key"}},
	"dynamodb query":                    {dynamodb.QueryInput{}, []string{"--table-name", "--key-condition-expression"}},
	"dynamodb scan":                     {dynamodb.ScanInput{}, []string{"--table-name"}},
	"dynamodb update-table":             {dynamodb.UpdateTableInput{}, []string{"--table-name"}},
	"stepfunctions describe-execution":  {sfn.DescribeExecutionInput{}, []string{"--execution-arn"}},
	"stepfunctions start-execution":     {sfn.StartExecutionInput{}, []string{"--state-machine-arn", "--input"}},
	"sts get-caller-identity":           {struct{}{}, nil},
}

// general are options of every operation.
var general = []string{"--region", "--query", "--output", "--profile", "--max-items", "--cli-input-json"}

func (p *product) checkAWS(args []string) error {
	if len(args) > 1 && args[0] == "s3" && args[1] == "cp" {
		return checkCopy(args[2:])
	}
	if len(args) > 2 && args[0] == "dynamodb" && args[1] == "wait" && slices.Contains([]string{"table-exists", "table-not-exists"}, args[2]) {
		args = slices.Concat([]string{"dynamodb", "describe-table"}, args[3:])
	}
	if len(args) < 2 {
		return errors.New("no operation")
	}
	operation, ok := operations[args[0]+" "+args[1]]
	if !ok {
		return errors.New("the operation is not known here")
	}
	options := map[string]string{}
	for i := 2; i < len(args); i++ {
		option := args[i]
		field, boolean := member(operation.input, option)
		switch {
		case boolean:
			options[option] = ""
		case (field || slices.Contains(general, option)) && i+1 < len(args):
			i++
			options[option] = args[i]
		default:
			return fmt.Errorf("%s has no option %s", args[1], option)
		}
	}
	for _, option := range operation.required {
		if _, given := options[option]; !given {
			return fmt.Errorf("%s needs %s", args[1], option)
		}
	}
	return p.checkOptions(options)
}

// member says whether the input has a member of the option's name, and whether
// it is one without a value.
func member(input any, option string) (there, boolean bool) {
	name := strings.TrimPrefix(option, "--")
	for field := range reflect.TypeOf(input).Fields() {
		kind := field.Type
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		switch kebab := kebab(field.Name); {
		case kebab == name:
			return true, kind.Kind() == reflect.Bool
		case "no-"+kebab == name && kind.Kind() == reflect.Bool:
			return true, true
		}
	}
	return false, false
}

func kebab(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

var (
	placeholder = regexp.MustCompile(`[#:][a-z]+`)
	machine     = regexp.MustCompile(`^arn:aws:(states):[a-z0-9-]+:[0-9]{12}:(?:stateMachine|execution):(CognitoBackup-(Import|Export)Workflow)(?::[\w-]+)?$`)
)

// checkOptions looks at the values.
func (p *product) checkOptions(options map[string]string) error {
	for _, option := range []string{"--table-name", "--stack-name", "--alarm-name", "--queue-name"} {
		if name, ok := options[option]; ok && !p.resource(name) {
			return fmt.Errorf("%s: there is no %s", option, name)
		}
	}
	for _, option := range []string{"--key", "--expression-attribute-names", "--expression-attribute-values", "--replica-updates"} {
		if value, ok := options[option]; ok && !json.Valid([]byte(value)) {
			return fmt.Errorf("%s is no JSON", option)
		}
	}
	used := placeholder.FindAllString(options["--key-condition-expression"]+" "+options["--filter-expression"]+" "+options["--projection-expression"], -1)
	var defined []string
	for _, option := range []string{"--expression-attribute-names", "--expression-attribute-values"} {
		var names map[string]any
		if value, ok := options[option]; ok {
			if err := json.Unmarshal([]byte(value), &names); err != nil {
				return err
			}
		}
		for name := range names {
			defined = append(defined, name)
		}
	}
	slices.Sort(used)
	slices.Sort(defined)
	if used = slices.Compact(used); !slices.Equal(used, defined) {
		return fmt.Errorf("the expressions use %q, defined are %q", used, defined)
	}
	for _, option := range []string{"--state-machine-arn", "--execution-arn"} {
		arn, given := options[option]
		if !given {
			continue
		}
		m := machine.FindStringSubmatch(arn)
		if m == nil || !p.resource(m[2]) {
			return fmt.Errorf("%s is %s", option, arn)
		}
		if input := options["--input"]; input != "" && !strings.HasPrefix(input, "file://") {
			return checkInput(input, m[3] == "Export")
		}
	}
	return nil
}

// checkInput has the product itself read the input of a workflow.
func checkInput(input string, exports bool) error {
	if exports {
		_, err := export.ParseInput(json.RawMessage(input))
		return err
	}
	var of struct{ NewUserPoolId string }
	if err := json.Unmarshal([]byte(input), &of); err != nil {
		return err
	}
	region, _, _ := strings.Cut(of.NewUserPoolId, "_")
	if _, problems := restore.ParseInput(json.RawMessage(input), region, "cognitobackup-123456789012-"+region); problems != nil {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

func checkCopy(args []string) error {
	for _, arg := range args {
		if arg == "--recursive" || arg == "." || arg == "users.txt" || arg == "s3://cognitobackup-123456789012-us-west-2/users.txt" {
			continue
		}
		if !strings.HasPrefix(arg, "s3://cognitobackup-123456789012-us-west-2/reports/restore-") {
			return fmt.Errorf("the argument %s", arg)
		}
	}
	return nil
}
