package iam

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// condition is one key of one operator of a Condition element.
type condition struct {
	operator  string // as written
	key       string // lower case: condition keys have no case
	values    []string
	variables bool

	test     func(have, want string) bool
	pattern  bool // want may hold wildcards, so that ${*} must be told apart
	negated  bool
	set      string // ForAllValues, ForAnyValue or empty
	ifExists bool
	null     bool
}

// tests are the positive operators. Each negative one is its counterpart's
// opposite.
var tests = map[string]func(have, want string) bool{
	"StringEquals":             func(have, want string) bool { return have == want },
	"StringEqualsIgnoreCase":   strings.EqualFold,
	"StringLike":               glob,
	"ArnEquals":                arnLike, // the same as ArnLike, says the IAM user guide
	"ArnLike":                  arnLike,
	"Bool":                     strings.EqualFold,
	"BinaryEquals":             func(have, want string) bool { return have == want },
	"NumericEquals":            numeric(func(have, want float64) bool { return have == want }),
	"NumericLessThan":          numeric(func(have, want float64) bool { return have < want }),
	"NumericLessThanEquals":    numeric(func(have, want float64) bool { return have <= want }),
	"NumericGreaterThan":       numeric(func(have, want float64) bool { return have > want }),
	"NumericGreaterThanEquals": numeric(func(have, want float64) bool { return have >= want }),
	"DateEquals":               date(func(have, want time.Time) bool { return have.Equal(want) }),
	"DateLessThan":             date(func(have, want time.Time) bool { return have.Before(want) }),
	"DateLessThanEquals":       date(func(have, want time.Time) bool { return !have.After(want) }),
	"DateGreaterThan":          date(func(have, want time.Time) bool { return have.After(want) }),
	"DateGreaterThanEquals":    date(func(have, want time.Time) bool { return !have.Before(want) }),
	"IpAddress":                inPrefix,
}

var negations = map[string]string{
	"StringNotEquals":           "StringEquals",
	"StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
	"StringNotLike":             "StringLike",
	"ArnNotEquals":              "ArnEquals",
	"ArnNotLike":                "ArnLike",
	"NumericNotEquals":          "NumericEquals",
	"DateNotEquals":             "DateEquals",
	"NotIpAddress":              "IpAddress",
}

var likes = []string{"StringLike", "ArnLike", "ArnEquals"}

func newCondition(operator, key string, values []string) (condition, error) {
	c := condition{operator: operator, key: strings.ToLower(key), values: values}
	name := operator
	if set, rest, ok := strings.Cut(name, ":"); ok {
		if set != "ForAllValues" && set != "ForAnyValue" {
			return c, fmt.Errorf("condition operator %q does not exist", operator)
		}
		c.set, name = set, rest
	}
	if name == "Null" {
		c.null = true
		return c, nil
	}
	name, c.ifExists = strings.CutSuffix(name, "IfExists")
	if positive, ok := negations[name]; ok {
		c.negated, name = true, positive
	}
	test, ok := tests[name]
	if !ok {
		return c, fmt.Errorf("condition operator %q does not exist", operator)
	}
	c.test, c.pattern = test, slices.Contains(likes, name)
	return c, nil
}

// holds evaluates the condition in a context. Absent keys fail a positive test
// and pass a negative one, as AWS documents.
func (c condition) holds(ctx context) bool {
	have, present := ctx[c.key]
	if c.null {
		return slices.ContainsFunc(c.values, func(want string) bool { return strings.EqualFold(want, strconv.FormatBool(!present)) })
	}
	if !present {
		switch {
		case c.set == "ForAllValues", c.ifExists:
			return true
		case c.set == "ForAnyValue":
			return false
		}
		return c.negated
	}
	values := strings.Split(have, "\n")
	one := func(value string) bool {
		matched := slices.ContainsFunc(c.values, func(want string) bool {
			if c.variables {
				resolved, ok := ctx.resolve(want, c.pattern)
				return ok && c.test(value, resolved)
			}
			return c.test(value, want)
		})
		return matched != c.negated
	}
	if c.set == "ForAnyValue" || c.set == "" && !c.negated {
		return slices.ContainsFunc(values, one)
	}
	return !slices.ContainsFunc(values, func(value string) bool { return !one(value) })
}

// context is the request context: condition keys in lower case.
type context map[string]string

// resolve replaces policy variables: ${aws:PrincipalArn}, ${key, 'default'},
// and ${*}, ${?}, ${$} for the characters themselves. A variable without value
// makes the element match nothing. In a pattern, characters that come from a
// variable lose their meaning as wildcards.
func (ctx context) resolve(text string, pattern bool) (string, bool) {
	if !strings.Contains(text, "${") {
		return text, true
	}
	literal := func(s string) string { return s }
	if pattern {
		literal = escape
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		out.WriteString(before)
		if !found {
			return out.String(), true
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			out.WriteString("${" + rest)
			return out.String(), true
		}
		text = after
		switch name {
		case "*", "?", "$":
			out.WriteString(literal(name))
			continue
		}
		key, fallback, hasDefault := strings.Cut(name, ",")
		value, ok := ctx[strings.ToLower(strings.TrimSpace(key))]
		if !ok {
			if !hasDefault {
				return "", false
			}
			value = strings.Trim(strings.TrimSpace(fallback), "'")
		}
		out.WriteString(literal(value))
	}
}

// escaped stands before a character of a pattern that means itself; policies
// cannot hold it.
const escaped = '\x00'

func escape(s string) string {
	return strings.NewReplacer("*", string(escaped)+"*", "?", string(escaped)+"?").Replace(s)
}

// glob matches * (any characters) and ? (one character).
func glob(have, pattern string) bool { return globRunes([]rune(have), []rune(pattern)) }

func globRunes(have, pattern []rune) bool {
	for len(pattern) > 0 {
		switch {
		case pattern[0] == '*':
			for len(pattern) > 0 && pattern[0] == '*' {
				pattern = pattern[1:]
			}
			if len(pattern) == 0 {
				return true
			}
			for i := range have {
				if globRunes(have[i:], pattern) {
					return true
				}
			}
			return false
		case len(have) == 0:
			return false
		case pattern[0] == escaped && len(pattern) > 1:
			if have[0] != pattern[1] {
				return false
			}
			pattern = pattern[1:]
		case pattern[0] != '?' && pattern[0] != have[0]:
			return false
		}
		have, pattern = have[1:], pattern[1:]
	}
	return len(have) == 0
}

// arnLike matches each of an ARN's six parts by itself.
func arnLike(have, pattern string) bool {
	haveParts, patternParts := strings.SplitN(have, ":", 6), strings.SplitN(pattern, ":", 6)
	if pattern == "*" {
		return true
	}
	if len(haveParts) != 6 || len(patternParts) != 6 {
		return false
	}
	for i := range haveParts {
		if !glob(haveParts[i], patternParts[i]) {
			return false
		}
	}
	return true
}

func numeric(compare func(have, want float64) bool) func(have, want string) bool {
	return func(have, want string) bool {
		h, err := strconv.ParseFloat(have, 64)
		if err != nil {
			return false
		}
		w, err := strconv.ParseFloat(want, 64)
		return err == nil && compare(h, w)
	}
}

func date(compare func(have, want time.Time) bool) func(have, want string) bool {
	return func(have, want string) bool {
		h, ok := parseTime(have)
		if !ok {
			return false
		}
		w, ok := parseTime(want)
		return ok && compare(h, w)
	}
}

func parseTime(text string) (time.Time, bool) {
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(seconds, 0), true
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func inPrefix(have, want string) bool {
	address, err := netip.ParseAddr(have)
	if err != nil {
		return false
	}
	if prefix, err := netip.ParsePrefix(want); err == nil {
		return prefix.Contains(address)
	}
	single, err := netip.ParseAddr(want)
	return err == nil && single == address
}
