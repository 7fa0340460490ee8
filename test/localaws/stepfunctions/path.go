package stepfunctions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ohler55/ojg/jp"
)

// path is a compiled JSONPath. A definite one names at most one value; a
// reference path is a definite one without negative indexes, the only kind that
// ResultPath, ItemsPath and Choice rules accept.
type path struct {
	source   string
	expr     jp.Expr
	context  bool // starts with $$: applied to the context object
	definite bool
}

// compiled keeps what was parsed once: a loop of thousands of events evaluates
// the same few paths.
var compiled sync.Map // string → *path

// compilePath parses a JSONPath that starts with $ (the state's data) or $$
// (the context object).
func compilePath(source string) (*path, error) {
	if p, ok := compiled.Load(source); ok {
		return p.(*path), nil
	}
	p := &path{source: source}
	text := source
	if strings.HasPrefix(text, "$$") {
		p.context = true
		text = text[1:]
	}
	if !strings.HasPrefix(text, "$") {
		return nil, fmt.Errorf("value %q is not a valid JSONPath: it has to start with $", source)
	}
	expr, err := jp.ParseString(text)
	if err != nil {
		return nil, fmt.Errorf("value %q is not a valid JSONPath: %w", source, err)
	}
	p.expr, p.definite = expr, true
	for _, fragment := range expr {
		switch fragment.(type) {
		case jp.Root, jp.Child, jp.Nth:
		default:
			p.definite = false
		}
	}
	compiled.Store(source, p)
	return p, nil
}

// compileReference parses a path that has to be a reference path.
func compileReference(source string) (*path, error) {
	p, err := compilePath(source)
	if err != nil {
		return nil, err
	}
	if !p.reference() {
		return nil, fmt.Errorf("value %q is not a Reference Path: it has to identify a single value", source)
	}
	return p, nil
}

func (p *path) reference() bool {
	if !p.definite {
		return false
	}
	for _, fragment := range p.expr {
		if n, ok := fragment.(jp.Nth); ok && n < 0 {
			return false
		}
	}
	return true
}

// get applies the path. A definite path that leads nowhere is not found; an
// indefinite one always yields an array, empty if need be.
func (p *path) get(data, contextObject any) (any, bool) {
	if p.context {
		data = contextObject
	}
	if p.definite {
		return p.expr.FirstFound(data)
	}
	found := p.expr.Get(data)
	if found == nil {
		found = []any{}
	}
	return found, true
}

var errNoMatch = errors.New("the path does not fit the input")

// set returns data with value at the path's place, creating the objects on the
// way. Data itself is shared between branches and events and stays as it is.
func (p *path) set(data, value any) (any, error) {
	return setAt(data, p.expr[1:], value) // the first fragment is the root
}

func setAt(data any, rest jp.Expr, value any) (any, error) {
	if len(rest) == 0 {
		return value, nil
	}
	switch fragment := rest[0].(type) {
	case jp.Child:
		object, ok := data.(map[string]any)
		if !ok && data != nil {
			return nil, errNoMatch
		}
		changed, err := setAt(object[string(fragment)], rest[1:], value)
		if err != nil {
			return nil, err
		}
		copied := maps.Clone(object)
		if copied == nil {
			copied = map[string]any{}
		}
		copied[string(fragment)] = changed
		return copied, nil
	case jp.Nth:
		array, ok := data.([]any)
		if !ok || int(fragment) >= len(array) {
			return nil, errNoMatch
		}
		changed, err := setAt(array[fragment], rest[1:], value)
		if err != nil {
			return nil, err
		}
		copied := slices.Clone(array)
		copied[fragment] = changed
		return copied, nil
	}
	return nil, errNoMatch
}

// decode reads one JSON document into maps, slices, strings, bools, nil, int64
// and float64: integers keep every digit, and JSONPath filters can compare them.
func decode(document []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("unexpected characters after the JSON document")
	}
	return numbers(value), nil
}

func numbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case map[string]any:
		for key, member := range v {
			v[key] = numbers(member)
		}
	case []any:
		for i, element := range v {
			v[i] = numbers(element)
		}
	}
	return value
}

// encode writes JSON as Step Functions does: compact, nothing escaped that need
// not be.
func encode(value any) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "null" // values come from decode and from intrinsics: always encodable
	}
	return strings.TrimSuffix(text.String(), "\n")
}
