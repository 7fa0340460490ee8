package eventbridge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Pattern is a compiled event pattern: an object of fields, each with a nested
// pattern or a list of values and filters of which one has to match.
type Pattern struct {
	fields map[string]node
}

// node is the pattern of one field: nested, or a list of conditions.
type node struct {
	nested     *Pattern
	conditions []condition
}

// condition tells whether a field's value matches; present is false for a field
// that the event does not have.
type condition func(value any, present bool) bool

// ParsePattern compiles an event pattern. Filters: prefix, suffix,
// equals-ignore-case, anything-but, exists and numeric.
func ParsePattern(pattern json.RawMessage) (*Pattern, error) {
	value, err := decode(pattern)
	if err != nil {
		return nil, fmt.Errorf("event pattern is not valid JSON: %w", err)
	}
	object, ok := value.(map[string]any)
	if !ok || len(object) == 0 {
		return nil, fmt.Errorf("event pattern has to be an object with at least one field")
	}
	return compile("", object)
}

func compile(where string, object map[string]any) (*Pattern, error) {
	p := &Pattern{fields: map[string]node{}}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		at := strings.TrimPrefix(where+"."+name, ".")
		switch v := object[name].(type) {
		case map[string]any:
			nested, err := compile(at, v)
			if err != nil {
				return nil, err
			}
			if len(nested.fields) == 0 {
				return nil, fmt.Errorf("event pattern: %s is empty", at)
			}
			p.fields[name] = node{nested: nested}
		case []any:
			conditions, err := compileList(at, v)
			if err != nil {
				return nil, err
			}
			p.fields[name] = node{conditions: conditions}
		default:
			return nil, fmt.Errorf("event pattern: %s has to be an object or an array", at)
		}
	}
	return p, nil
}

func compileList(at string, list []any) ([]condition, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("event pattern: %s is an empty array", at)
	}
	var conditions []condition
	for _, element := range list {
		filter, ok := element.(map[string]any)
		if !ok {
			if _, nested := element.([]any); nested {
				return nil, fmt.Errorf("event pattern: %s contains an array in an array", at)
			}
			conditions = append(conditions, exactly(element))
			continue
		}
		if len(filter) != 1 {
			return nil, fmt.Errorf("event pattern: a filter of %s has to have exactly one member", at)
		}
		for name, argument := range filter {
			c, err := compileFilter(name, argument)
			if err != nil {
				return nil, fmt.Errorf("event pattern: %s: %w", at, err)
			}
			conditions = append(conditions, c)
		}
	}
	return conditions, nil
}

func exactly(want any) condition {
	return func(value any, present bool) bool { return present && reflect.DeepEqual(value, want) }
}

func compileFilter(name string, argument any) (condition, error) {
	switch name {
	case "exists":
		want, ok := argument.(bool)
		if !ok {
			return nil, fmt.Errorf("exists has to be true or false")
		}
		return func(_ any, present bool) bool { return present == want }, nil
	case "numeric":
		return numeric(argument)
	case "anything-but":
		return anythingBut(argument)
	}
	matches, err := textFilter(name, argument)
	if err != nil {
		return nil, err
	}
	return func(value any, present bool) bool {
		s, ok := value.(string)
		return present && ok && matches(s)
	}, nil
}

func textFilter(name string, argument any) (func(string) bool, error) {
	if nested, ok := argument.(map[string]any); ok && len(nested) == 1 && (name == "prefix" || name == "suffix") {
		want, ok := nested["equals-ignore-case"].(string)
		if !ok {
			return nil, fmt.Errorf("%s has to be a string", name)
		}
		inner, err := textFilter(name, strings.ToLower(want))
		return func(s string) bool { return inner(strings.ToLower(s)) }, err
	}
	want, ok := argument.(string)
	if !ok {
		return nil, fmt.Errorf("%s has to be a string", name)
	}
	switch name {
	case "prefix":
		return func(s string) bool { return strings.HasPrefix(s, want) }, nil
	case "suffix":
		return func(s string) bool { return strings.HasSuffix(s, want) }, nil
	case "equals-ignore-case":
		return func(s string) bool { return strings.EqualFold(s, want) }, nil
	}
	return nil, fmt.Errorf("unrecognized match type %s", name)
}

// anythingBut takes a value, a list of values, or one text filter. A field that
// is not there does not match.
func anythingBut(argument any) (condition, error) {
	switch v := argument.(type) {
	case []any:
		if len(v) == 0 {
			return nil, fmt.Errorf("anything-but has to name something")
		}
		return func(value any, present bool) bool {
			return present && !slices.ContainsFunc(v, func(not any) bool { return reflect.DeepEqual(value, not) })
		}, nil
	case map[string]any:
		if len(v) != 1 {
			return nil, fmt.Errorf("anything-but has to have exactly one filter")
		}
		for name, inner := range v {
			matches, err := textFilter(name, inner)
			if err != nil {
				return nil, err
			}
			return func(value any, present bool) bool {
				s, ok := value.(string)
				return present && (!ok || !matches(s))
			}, nil
		}
	}
	return func(value any, present bool) bool { return present && !reflect.DeepEqual(value, argument) }, nil
}

// numeric takes one or two comparisons: [">", 0, "<=", 5].
func numeric(argument any) (condition, error) {
	list, ok := argument.([]any)
	if !ok || len(list) != 2 && len(list) != 4 {
		return nil, fmt.Errorf("numeric has to be an array of one or two comparisons")
	}
	var checks []func(float64) bool
	for i := 0; i < len(list); i += 2 {
		limit, ok := list[i+1].(float64)
		if !ok {
			return nil, fmt.Errorf("numeric compares with numbers")
		}
		switch list[i] {
		case "=":
			checks = append(checks, func(n float64) bool { return n == limit })
		case "<":
			checks = append(checks, func(n float64) bool { return n < limit })
		case "<=":
			checks = append(checks, func(n float64) bool { return n <= limit })
		case ">":
			checks = append(checks, func(n float64) bool { return n > limit })
		case ">=":
			checks = append(checks, func(n float64) bool { return n >= limit })
		default:
			return nil, fmt.Errorf("numeric does not know %v", list[i])
		}
	}
	return func(value any, present bool) bool {
		n, ok := value.(float64)
		if !present || !ok {
			return false
		}
		for _, check := range checks {
			if !check(n) {
				return false
			}
		}
		return true
	}, nil
}

// Match tells whether an event, decoded from JSON, fits the pattern.
func (p *Pattern) Match(event any) bool {
	object, _ := event.(map[string]any)
	for name, n := range p.fields {
		value, present := object[name]
		if !n.match(value, present) {
			return false
		}
	}
	return true
}

// match takes an array in the event when one of its elements fits.
func (n node) match(value any, present bool) bool {
	if list, ok := value.([]any); ok && len(list) > 0 {
		return slices.ContainsFunc(list, func(element any) bool { return n.match(element, true) })
	}
	if n.nested != nil {
		return n.nested.Match(value)
	}
	if _, object := value.(map[string]any); object {
		present = false // conditions look at leaves only
	}
	return slices.ContainsFunc(n.conditions, func(c condition) bool { return c(value, present) })
}

func decode(document []byte) (any, error) {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(document))
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if decoder.More() {
		return nil, fmt.Errorf("more than one value")
	}
	return value, nil
}
