package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
)

// policy is a parsed policy document.
type policy struct {
	name       string
	statements []*statement
}

// statement is one statement of a policy.
type statement struct {
	sid        string
	allow      bool
	actions    patterns
	resources  patterns
	principals *principals // nil in identity policies
	conditions []condition
	text       string // the conditions as written

	used map[[2]string]bool // pairs of patterns that allowed something
}

// patterns is Action or NotAction, Resource or NotResource.
type patterns struct {
	list []string
	not  bool
}

// matching returns the patterns that cover the value; for a Not… element the
// whole of it when no pattern does.
func (p patterns) matching(value string, match func(pattern, value string) bool) []string {
	var hits []string
	for _, pattern := range p.list {
		if match(pattern, value) {
			hits = append(hits, pattern)
		}
	}
	if !p.not {
		return hits
	}
	if len(hits) > 0 {
		return nil
	}
	return p.granted()
}

// granted is what the element grants, for reports.
func (p patterns) granted() []string {
	if !p.not {
		return p.list
	}
	return []string{"not " + strings.Join(p.list, ", ")}
}

// principals is Principal or NotPrincipal.
type principals struct {
	not      bool
	everyone bool
	aws      []string
	services []string
}

func (p *principals) String() string {
	if p.everyone {
		return "*"
	}
	return strings.Join(append(append([]string{}, p.aws...), p.services...), ", ")
}

// textOrList is a JSON string, number or boolean, or a list of them: policies
// may leave out the brackets around one value.
type textOrList []string

func (l *textOrList) UnmarshalJSON(b []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	*l = textOrList{}
	for _, v := range list {
		switch v.(type) {
		case string, json.Number, bool:
			*l = append(*l, fmt.Sprint(v))
		default:
			return fmt.Errorf("%s is neither a value nor a list of values; are its intrinsics resolved?", b)
		}
	}
	return nil
}

type document struct {
	Version   string
	Statement json.RawMessage
}

type statementDocument struct {
	Sid          string
	Effect       string
	Action       textOrList
	NotAction    textOrList
	Resource     textOrList
	NotResource  textOrList
	Principal    json.RawMessage
	NotPrincipal json.RawMessage
	Condition    map[string]map[string]textOrList
}

// kind tells what a document is attached to, which decides what it must hold.
type kind int

const (
	identity kind = iota // has resources, no principal
	resource             // has principals and resources
	trust                // has principals, no resources
)

// parse reads a policy document and refuses what AWS refuses as malformed.
func parse(name string, raw json.RawMessage, k kind) (*policy, error) {
	var doc document
	if err := strict(raw, &doc, "Id"); err != nil {
		return nil, fmt.Errorf("policy %s: %w", name, err)
	}
	var statements []json.RawMessage
	if trimmed := bytes.TrimSpace(doc.Statement); len(trimmed) > 0 && trimmed[0] == '{' {
		statements = []json.RawMessage{trimmed}
	} else if err := json.Unmarshal(doc.Statement, &statements); err != nil {
		return nil, fmt.Errorf("policy %s: Statement: %w", name, err)
	}
	p := &policy{name: name}
	for i, raw := range statements {
		s, err := parseStatement(raw, k, doc.Version)
		if err != nil {
			return nil, fmt.Errorf("policy %s, statement %d: %w", name, i+1, err)
		}
		p.statements = append(p.statements, s)
	}
	if len(p.statements) == 0 {
		return nil, fmt.Errorf("policy %s has no statement", name)
	}
	return p, nil
}

// strict decodes an object and refuses members it does not know; ignored ones
// are those that have no say in a decision.
func strict(raw json.RawMessage, v any, ignored ...string) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return err
	}
	for _, name := range ignored {
		delete(members, name)
	}
	cleaned, err := json.Marshal(members)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(cleaned))
	decoder.DisallowUnknownFields()
	return decoder.Decode(v)
}

func parseStatement(raw json.RawMessage, k kind, version string) (*statement, error) {
	var doc statementDocument
	if err := strict(raw, &doc); err != nil {
		return nil, err
	}
	s := &statement{sid: doc.Sid, used: map[[2]string]bool{}}
	switch doc.Effect {
	case "Allow":
		s.allow = true
	case "Deny":
	default:
		return nil, fmt.Errorf("the Effect is %q", doc.Effect)
	}
	var err error
	if s.actions, err = either("Action", doc.Action, doc.NotAction, true); err != nil {
		return nil, err
	}
	for _, action := range s.actions.list {
		if action != "*" && strings.Count(action, ":") != 1 {
			return nil, fmt.Errorf("action %q has no service prefix", action)
		}
	}
	if s.resources, err = either("Resource", doc.Resource, doc.NotResource, k != trust); err != nil {
		return nil, err
	}
	for _, r := range s.resources.list {
		if !strings.HasPrefix(r, "*") && strings.Count(r, ":") < 5 {
			return nil, fmt.Errorf("resource %q is neither an ARN nor *", r)
		}
	}
	if k == trust {
		s.resources = patterns{list: []string{"*"}}
	}
	if k == identity && (doc.Principal != nil || doc.NotPrincipal != nil) {
		return nil, errors.New("an identity policy names no principal")
	}
	if k != identity {
		if s.principals, err = parsePrincipals(doc.Principal, doc.NotPrincipal); err != nil {
			return nil, err
		}
	}
	if s.conditions, err = parseConditions(doc.Condition, version); err != nil {
		return nil, err
	}
	if len(doc.Condition) > 0 {
		text, err := json.Marshal(doc.Condition)
		if err != nil {
			return nil, err
		}
		s.text = string(text)
	}
	return s, nil
}

func either(name string, values, not textOrList, required bool) (patterns, error) {
	switch {
	case len(values) > 0 && len(not) > 0:
		return patterns{}, fmt.Errorf("%s and Not%s exclude each other", name, name)
	case len(values) > 0:
		return patterns{list: values}, nil
	case len(not) > 0:
		return patterns{list: not, not: true}, nil
	case required:
		return patterns{}, fmt.Errorf("%s is missing", name)
	}
	return patterns{}, nil
}

func parsePrincipals(is, not json.RawMessage) (*principals, error) {
	raw := is
	p := &principals{}
	if raw == nil {
		raw, p.not = not, true
	}
	if raw == nil {
		return nil, errors.New("no Principal is named")
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if text != "*" {
			return nil, fmt.Errorf("the Principal is %q", text)
		}
		p.everyone = true
		return p, nil
	}
	var named struct{ AWS, Service, Federated, CanonicalUser textOrList }
	if err := strict(raw, &named); err != nil {
		return nil, fmt.Errorf("the Principal: %w", err)
	}
	p.aws, p.services = named.AWS, named.Service
	for _, arn := range p.aws {
		p.everyone = p.everyone || arn == "*"
	}
	return p, nil
}

// parseConditions reads the Condition element in a stable order.
func parseConditions(doc map[string]map[string]textOrList, version string) ([]condition, error) {
	var conditions []condition
	for operator, keys := range doc {
		for key, values := range keys {
			c, err := newCondition(operator, key, values)
			if err != nil {
				return nil, err
			}
			// Policy variables exist since version 2012-10-17; before, ${ is text.
			c.variables = version == "2012-10-17"
			conditions = append(conditions, c)
		}
	}
	sort.Slice(conditions, func(i, j int) bool {
		return conditions[i].operator+conditions[i].key < conditions[j].operator+conditions[j].key
	})
	return conditions, nil
}
