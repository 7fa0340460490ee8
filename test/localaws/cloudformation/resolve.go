package cloudformation

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// noValue is what Ref AWS::NoValue resolves to; the property that holds it goes.
type noValue struct{}

// scope resolves the intrinsic functions of one stack.
type scope struct {
	template *Template
	pseudo   map[string]string
	created  map[string]Created
	exports  map[string]string // by name, of the stacks of this Region
}

// resolve returns v with every intrinsic function replaced by its value.
func (s *scope) resolve(v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		if name, argument, ok := intrinsic(v); ok {
			return s.call(name, argument)
		}
		out := make(map[string]any, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			r, err := s.resolve(v[key])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			if _, gone := r.(noValue); !gone {
				out[key] = r
			}
		}
		return out, nil
	case []any:
		out := make([]any, 0, len(v))
		for _, item := range v {
			r, err := s.resolve(item)
			if err != nil {
				return nil, err
			}
			if _, gone := r.(noValue); !gone {
				out = append(out, r)
			}
		}
		return out, nil
	}
	return v, nil
}

// intrinsic recognizes {"Ref": …}, {"Fn::…": …} and {"Condition": …} is left
// alone, since policy documents use that key too.
func intrinsic(m map[string]any) (name string, argument any, ok bool) {
	if len(m) != 1 {
		return "", nil, false
	}
	for k, v := range m {
		if k == "Ref" || strings.HasPrefix(k, "Fn::") {
			return k, v, true
		}
	}
	return "", nil, false
}

func (s *scope) call(name string, argument any) (any, error) {
	switch name {
	case "Ref":
		id, _ := argument.(string)
		return s.ref(id)
	case "Fn::GetAtt":
		id, attribute, err := s.getAttArgument(argument)
		if err != nil {
			return nil, err
		}
		return s.getAtt(id, attribute)
	case "Fn::If":
		return s.ifElse(argument)
	case "Fn::Sub":
		return s.sub(argument)
	}
	resolved, err := s.resolve(argument)
	if err != nil {
		return nil, err
	}
	args, _ := resolved.([]any)
	switch name {
	case "Fn::Join":
		if len(args) != 2 {
			return nil, fmt.Errorf("malformed Fn::Join: %v", argument)
		}
		parts, ok := args[1].([]any)
		if !ok {
			return nil, fmt.Errorf("the second argument of Fn::Join is no list: %v", argument)
		}
		texts := make([]string, len(parts))
		for i, p := range parts {
			texts[i] = text(p)
		}
		return strings.Join(texts, text(args[0])), nil
	case "Fn::Select":
		if len(args) != 2 {
			return nil, fmt.Errorf("malformed Fn::Select: %v", argument)
		}
		list, _ := args[1].([]any)
		var index int
		if _, err := fmt.Sscan(text(args[0]), &index); err != nil || index < 0 || index >= len(list) {
			return nil, fmt.Errorf("no element %v in a list of %d (Fn::Select)", args[0], len(list))
		}
		return list[index], nil
	case "Fn::Split":
		if len(args) != 2 {
			return nil, fmt.Errorf("malformed Fn::Split: %v", argument)
		}
		var parts []any
		for _, p := range strings.Split(text(args[1]), text(args[0])) {
			parts = append(parts, p)
		}
		return parts, nil
	case "Fn::ImportValue":
		v, ok := s.exports[text(resolved)]
		if !ok {
			return nil, fmt.Errorf("no stack deployed to this Region exports %s (Fn::ImportValue)", text(resolved))
		}
		return v, nil
	case "Fn::Base64":
		return base64.StdEncoding.EncodeToString([]byte(text(resolved))), nil
	case "Fn::FindInMap":
		if len(args) != 3 {
			return nil, fmt.Errorf("malformed Fn::FindInMap: %v", argument)
		}
		var at any = s.template.Mappings
		for _, key := range args {
			m, _ := at.(map[string]any)
			if at = m[text(key)]; at == nil {
				return nil, fmt.Errorf("no mapping %v (Fn::FindInMap)", args)
			}
		}
		return at, nil
	case "Fn::ToJsonString":
		b, err := json.Marshal(resolved)
		return string(b), err
	case "Fn::Equals", "Fn::And", "Fn::Or", "Fn::Not":
		return s.condition(map[string]any{name: argument})
	}
	return nil, fmt.Errorf("the testbed does not know the function %s", name)
}

func (s *scope) ref(id string) (any, error) {
	if id == "AWS::NoValue" {
		return noValue{}, nil
	}
	if v, ok := s.pseudo[id]; ok {
		return v, nil
	}
	if p, ok := s.template.Parameters[id]; ok {
		if p.Default == nil {
			return nil, fmt.Errorf("parameter %s has no default, and the testbed passes no values", id)
		}
		return p.Default, nil
	}
	if c, ok := s.created[id]; ok {
		return c.Ref, nil
	}
	return nil, fmt.Errorf("reference to %s, which does not exist", id)
}

func (s *scope) getAttArgument(argument any) (id, attribute string, err error) {
	switch a := argument.(type) {
	case string:
		if id, attribute, ok := strings.Cut(a, "."); ok {
			return id, attribute, nil
		}
	case []any:
		if len(a) == 2 {
			name, err := s.resolve(a[1])
			if err != nil {
				return "", "", err
			}
			return text(a[0]), text(name), nil
		}
	}
	return "", "", fmt.Errorf("malformed Fn::GetAtt: %v", argument)
}

func (s *scope) getAtt(id, attribute string) (any, error) {
	c, ok := s.created[id]
	if !ok {
		return nil, fmt.Errorf("reference to an attribute of %s, which does not exist", id)
	}
	v, ok := c.Attributes[attribute]
	if !ok {
		d := s.template.Resources[id]
		return nil, fmt.Errorf("the testbed knows no attribute %s of %s (%s)", attribute, id, d.Type)
	}
	return v, nil
}

func (s *scope) ifElse(argument any) (any, error) {
	args, _ := argument.([]any)
	if len(args) != 3 {
		return nil, fmt.Errorf("malformed Fn::If: %v", argument)
	}
	holds, err := s.named(text(args[0]))
	if err != nil {
		return nil, err
	}
	if holds {
		return s.resolve(args[1])
	}
	return s.resolve(args[2])
}

// named evaluates a condition of the Conditions section.
func (s *scope) named(name string) (bool, error) {
	c, ok := s.template.Conditions[name]
	if !ok {
		return false, fmt.Errorf("condition %s does not exist", name)
	}
	holds, err := s.condition(c)
	if err != nil {
		return false, fmt.Errorf("condition %s: %w", name, err)
	}
	return holds, nil
}

func (s *scope) condition(c any) (bool, error) {
	m, ok := c.(map[string]any)
	if !ok || len(m) != 1 {
		return false, fmt.Errorf("malformed condition: %v", c)
	}
	for name, argument := range m {
		if name == "Condition" {
			return s.named(text(argument))
		}
		args, _ := argument.([]any)
		switch name {
		case "Fn::Equals":
			resolved, err := s.resolve(args)
			if err != nil {
				return false, err
			}
			if r := resolved.([]any); len(r) == 2 {
				return text(r[0]) == text(r[1]), nil
			}
		case "Fn::Not":
			if len(args) == 1 {
				holds, err := s.condition(args[0])
				return !holds, err
			}
		case "Fn::And", "Fn::Or":
			for _, a := range args {
				holds, err := s.condition(a)
				if err != nil {
					return false, err
				}
				if holds == (name == "Fn::Or") {
					return holds, nil
				}
			}
			return name == "Fn::And", nil
		default:
			return false, fmt.Errorf("the testbed does not know the condition function %s", name)
		}
	}
	return false, fmt.Errorf("malformed condition: %v", c)
}

var placeholder = regexp.MustCompile(`\$\{(!?)([^}]*)\}`)

func (s *scope) sub(argument any) (any, error) {
	pattern, variables := "", map[string]any{}
	switch a := argument.(type) {
	case string:
		pattern = a
	case []any:
		if len(a) != 2 {
			return nil, fmt.Errorf("malformed Fn::Sub: %v", argument)
		}
		pattern = text(a[0])
		variables, _ = a[1].(map[string]any)
	}
	var firstErr error
	out := placeholder.ReplaceAllStringFunc(pattern, func(match string) string {
		groups := placeholder.FindStringSubmatch(match)
		if groups[1] == "!" { // ${!Literal}
			return "${" + groups[2] + "}"
		}
		name := strings.TrimSpace(groups[2])
		var v any
		var err error
		if argument, ok := variables[name]; ok {
			v, err = s.resolve(argument)
		} else if id, attribute, ok := strings.Cut(name, "."); ok {
			v, err = s.getAtt(id, attribute)
		} else {
			v, err = s.ref(name)
		}
		if err != nil && firstErr == nil {
			firstErr = fmt.Errorf("Fn::Sub %q: %w", pattern, err)
		}
		return text(v)
	})
	return out, firstErr
}

// references collects the logical ids that v refers to.
func references(v any, found map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		if name, argument, ok := intrinsic(v); ok {
			switch name {
			case "Ref":
				found[text(argument)] = true
			case "Fn::GetAtt":
				switch a := argument.(type) {
				case string:
					id, _, _ := strings.Cut(a, ".")
					found[id] = true
				case []any:
					if len(a) > 0 {
						found[text(a[0])] = true
					}
				}
			case "Fn::Sub":
				pattern, variables := argument, map[string]any(nil)
				if a, ok := argument.([]any); ok && len(a) == 2 {
					pattern = a[0]
					variables, _ = a[1].(map[string]any)
				}
				for _, groups := range placeholder.FindAllStringSubmatch(text(pattern), -1) {
					name := strings.TrimSpace(groups[2])
					id, _, _ := strings.Cut(name, ".")
					if _, variable := variables[name]; !variable && groups[1] == "" {
						found[id] = true
					}
				}
			}
		}
		for _, item := range v {
			references(item, found)
		}
	case []any:
		for _, item := range v {
			references(item, found)
		}
	}
}

// text is a template value as CloudFormation would put it into a string.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "true"
		}
		return "false"
	}
	return fmt.Sprint(v)
}
