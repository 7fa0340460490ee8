package stepfunctions

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// choice is one rule of a Choice state; nested rules have no Next.
type choice struct {
	Next string
	rule rule
}

// rule is a condition over the state's input.
type rule func(data, contextObject any) (bool, *failure)

// comparisons take the value of Variable and the one it is compared with; a
// value of another type never matches.
var comparisons = map[string]comparison{
	"StringEquals":               ordered(asText, func(c int) bool { return c == 0 }),
	"StringLessThan":             ordered(asText, func(c int) bool { return c < 0 }),
	"StringGreaterThan":          ordered(asText, func(c int) bool { return c > 0 }),
	"StringLessThanEquals":       ordered(asText, func(c int) bool { return c <= 0 }),
	"StringGreaterThanEquals":    ordered(asText, func(c int) bool { return c >= 0 }),
	"NumericEquals":              ordered(asNumber, func(c int) bool { return c == 0 }),
	"NumericLessThan":            ordered(asNumber, func(c int) bool { return c < 0 }),
	"NumericGreaterThan":         ordered(asNumber, func(c int) bool { return c > 0 }),
	"NumericLessThanEquals":      ordered(asNumber, func(c int) bool { return c <= 0 }),
	"NumericGreaterThanEquals":   ordered(asNumber, func(c int) bool { return c >= 0 }),
	"TimestampEquals":            ordered(asTime, func(c int) bool { return c == 0 }),
	"TimestampLessThan":          ordered(asTime, func(c int) bool { return c < 0 }),
	"TimestampGreaterThan":       ordered(asTime, func(c int) bool { return c > 0 }),
	"TimestampLessThanEquals":    ordered(asTime, func(c int) bool { return c <= 0 }),
	"TimestampGreaterThanEquals": ordered(asTime, func(c int) bool { return c >= 0 }),
	"BooleanEquals":              ordered(asTruth, func(c int) bool { return c == 0 }),
}

// comparison tells whether a literal has its type, and whether two values match.
type comparison struct {
	takes   func(value any) bool
	matches func(value, with any) bool
}

// typeTests compare what a value is with true or false.
var typeTests = map[string]func(value any) bool{
	"IsNull":      func(v any) bool { return v == nil },
	"IsNumeric":   func(v any) bool { _, ok := asFloat(v); return ok },
	"IsString":    func(v any) bool { _, ok := v.(string); return ok },
	"IsBoolean":   func(v any) bool { _, ok := v.(bool); return ok },
	"IsTimestamp": func(v any) bool { _, ok := asTime(v); return ok },
}

type sortable[T any] interface{ Compare(T) int }

type text string

func (t text) Compare(u text) int { return strings.Compare(string(t), string(u)) }

type number float64

func (n number) Compare(m number) int {
	switch {
	case n < m:
		return -1
	case n > m:
		return 1
	}
	return 0
}

func asText(v any) (text, bool) {
	s, ok := v.(string)
	return text(s), ok
}

func asNumber(v any) (number, bool) {
	f, ok := asFloat(v)
	return number(f), ok
}

type truth bool

func (t truth) Compare(u truth) int {
	if t == u {
		return 0
	}
	return 1 // only equality is ever asked for
}

func asTruth(v any) (truth, bool) {
	b, ok := v.(bool)
	return truth(b), ok
}

func asTime(v any) (time.Time, bool) {
	s, ok := v.(string)
	if !ok {
		return time.Time{}, false
	}
	return parseTimestamp(s)
}

// parseTimestamp reads the profile of ISO 8601 that the States Language asks
// for: RFC 3339 with upper-case T and Z.
func parseTimestamp(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, s)
	return t, err == nil && strings.ToUpper(s) == s
}

func ordered[T sortable[T]](convert func(any) (T, bool), accept func(int) bool) comparison {
	return comparison{
		takes: func(value any) bool {
			_, ok := convert(value)
			return ok
		},
		matches: func(value, with any) bool {
			a, ok := convert(value)
			b, alsoOK := convert(with)
			return ok && alsoOK && accept(a.Compare(b))
		},
	}
}

func (f *fields) choices(s *state) {
	for i, value := range f.list("Choices", 1) {
		c := f.fieldsAt(fmt.Sprintf("%s/Choices[%d]", f.where, i), value)
		if c == nil {
			continue
		}
		s.Choices = append(s.Choices, choice{Next: c.required("Next"), rule: c.rule(true)})
	}
	s.Default = f.text("Default", "")
}

// rule compiles one rule. Only a top-level one may name the next state.
func (f *fields) rule(top bool) rule {
	var operators []string
	for _, name := range slices.Sorted(maps.Keys(f.values)) {
		switch name {
		case "Comment", "Variable":
		case "Next":
			if !top {
				f.bad(name, "Field is not supported in a nested rule")
			}
		default:
			operators = append(operators, name)
		}
	}
	if len(operators) != 1 {
		f.problem(f.where, "A choice rule needs exactly one operator, found %v", operators)
		return never
	}
	operator := operators[0]
	switch operator {
	case "And", "Or":
		return f.combination(operator)
	case "Not":
		nested := f.fieldsAt(f.where+"/Not", f.values["Not"])
		if nested == nil {
			return never
		}
		inner := nested.rule(false)
		return func(data, contextObject any) (bool, *failure) {
			matched, fail := inner(data, contextObject)
			return !matched, fail
		}
	}
	f.required("Variable")
	variable := f.referencePath("Variable", true)
	if variable == nil {
		return never
	}
	return f.comparison(operator, variable)
}

func never(_, _ any) (bool, *failure) { return false, nil }

func (f *fields) combination(operator string) rule {
	var rules []rule
	for i, value := range f.list(operator, 1) {
		if nested := f.fieldsAt(fmt.Sprintf("%s/%s[%d]", f.where, operator, i), value); nested != nil {
			rules = append(rules, nested.rule(false))
		}
	}
	all := operator == "And"
	return func(data, contextObject any) (bool, *failure) {
		for _, r := range rules {
			matched, fail := r(data, contextObject)
			if fail != nil || matched != all {
				return matched, fail
			}
		}
		return all, nil
	}
}

func (f *fields) comparison(operator string, variable *path) rule {
	value := f.values[operator]
	if operator == "IsPresent" {
		want := f.boolean(operator)
		return func(data, contextObject any) (bool, *failure) {
			_, found := variable.get(data, contextObject)
			return found == want, nil
		}
	}
	if test, ok := typeTests[operator]; ok {
		want := f.boolean(operator)
		return func(data, contextObject any) (bool, *failure) {
			v, fail := lookUp(variable, data, contextObject)
			return fail == nil && test(v) == want, fail
		}
	}
	if operator == "StringMatches" {
		return f.stringMatches(variable)
	}
	if compare, ok := comparisons[operator]; ok {
		if !compare.takes(value) {
			f.bad(operator, "Value %s has the wrong type", encode(value))
		}
		return func(data, contextObject any) (bool, *failure) {
			v, fail := lookUp(variable, data, contextObject)
			return fail == nil && compare.matches(v, value), fail
		}
	}
	if compare, ok := comparisons[strings.TrimSuffix(operator, "Path")]; ok && strings.HasSuffix(operator, "Path") {
		other := f.referencePath(operator, true)
		if other == nil {
			return never
		}
		return func(data, contextObject any) (bool, *failure) {
			v, fail := lookUp(variable, data, contextObject)
			if fail != nil {
				return false, fail
			}
			with, fail := lookUp(other, data, contextObject)
			return fail == nil && compare.matches(v, with), fail
		}
	}
	f.bad(operator, "Field is not supported")
	return never
}

// stringMatches compiles a pattern in which * stands for any characters and a
// backslash takes away the meaning of * and itself.
func (f *fields) stringMatches(variable *path) rule {
	pattern := f.text("StringMatches", "")
	var expression strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '*':
			expression.WriteString(".*")
		case c == '\\' && i+1 < len(pattern):
			i++
			expression.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		case c == '\\':
			f.bad("StringMatches", "The pattern ends in a backslash")
		case c < 0x80:
			expression.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		default:
			expression.WriteByte(c) // part of a longer character, never special
		}
	}
	compiled, err := regexp.Compile(`(?s)\A` + expression.String() + `\z`)
	if err != nil {
		f.bad("StringMatches", "%v", err)
		return never
	}
	return func(data, contextObject any) (bool, *failure) {
		v, fail := lookUp(variable, data, contextObject)
		if fail != nil {
			return false, fail
		}
		s, ok := v.(string)
		return ok && compiled.MatchString(s), nil
	}
}

// lookUp reads a value that a rule needs: only IsPresent may ask for one that is
// not there.
func lookUp(p *path, data, contextObject any) (any, *failure) {
	v, found := p.get(data, contextObject)
	if !found {
		return nil, failf(errRuntime, "Invalid path '%s': The choice state's condition path references an invalid value.", p.source)
	}
	return v, nil
}
