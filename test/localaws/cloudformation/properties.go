package cloudformation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// Properties are the resolved properties of a resource. Accessors are lenient
// as CloudFormation is: "5" counts as a number, "true" as a boolean.
type Properties map[string]any

// Get follows names into nested objects; nil when there is nothing.
func (p Properties) Get(path ...string) any {
	var at any = map[string]any(p)
	for _, name := range path {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[name]
	}
	return at
}

// Has reports whether the property is there.
func (p Properties) Has(path ...string) bool { return p.Get(path...) != nil }

// String is the property as text, "" when absent.
func (p Properties) String(path ...string) string { return text(p.Get(path...)) }

// Bool is the property as a boolean, false when absent.
func (p Properties) Bool(path ...string) bool { return p.String(path...) == "true" }

// Int is the property as a number, otherwise when absent.
func (p Properties) Int(otherwise int, path ...string) (int, error) {
	if !p.Has(path...) {
		return otherwise, nil
	}
	n, err := strconv.Atoi(p.String(path...))
	if err != nil {
		return 0, fmt.Errorf("%v: %q is no whole number", path, p.String(path...))
	}
	return n, nil
}

// List is the property's elements; a single value counts as a list of one.
func (p Properties) List(path ...string) []any {
	switch v := p.Get(path...).(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

// Strings is the property as a list of texts.
func (p Properties) Strings(path ...string) []string {
	var out []string
	for _, v := range p.List(path...) {
		out = append(out, text(v))
	}
	return out
}

// Objects is the property as a list of objects.
func (p Properties) Objects(path ...string) []Properties {
	var out []Properties
	for _, v := range p.List(path...) {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// Object is a nested object, nil when absent.
func (p Properties) Object(path ...string) Properties {
	m, _ := p.Get(path...).(map[string]any)
	return m
}

// Texts is a nested object with its values as text.
func (p Properties) Texts(path ...string) map[string]string {
	out := map[string]string{}
	for k, v := range p.Object(path...) {
		out[k] = text(v)
	}
	return out
}

// JSON is the property as a JSON document. A property that holds a document as
// a string (a queue policy, a redrive policy) is taken as it is.
func (p Properties) JSON(path ...string) json.RawMessage {
	v := p.Get(path...)
	if v == nil {
		return nil
	}
	if s, ok := v.(string); ok && json.Valid([]byte(s)) {
		return json.RawMessage(s)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // decoded JSON always encodes
	}
	return bytes.TrimSpace(b.Bytes())
}
