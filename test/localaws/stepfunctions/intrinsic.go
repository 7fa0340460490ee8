package stepfunctions

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	mathrand "math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// call is a parsed intrinsic function: its arguments are literals, paths or
// calls again.
type call struct {
	name string
	args []any // literal{…}, *path or *call
}

type literal struct{ value any }

// parseIntrinsic reads States.Name(arg, …).
func parseIntrinsic(source string) (*call, error) {
	p := &intrinsicParser{rest: source}
	c, err := p.call()
	if err != nil {
		return nil, fmt.Errorf("the function %q is not valid: %w", source, err)
	}
	if p.space(); p.rest != "" {
		return nil, fmt.Errorf("the function %q is not valid: unexpected %q at its end", source, p.rest)
	}
	return c, nil
}

type intrinsicParser struct{ rest string }

func (p *intrinsicParser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *intrinsicParser) call() (*call, error) {
	open := strings.IndexByte(p.rest, '(')
	if open < 0 {
		return nil, fmt.Errorf("expected '(' after %q", p.rest)
	}
	c := &call{name: strings.TrimSpace(p.rest[:open])}
	if _, known := intrinsics[c.name]; !known {
		return nil, fmt.Errorf("unknown function %q", c.name)
	}
	p.rest = p.rest[open+1:]
	if p.space(); strings.HasPrefix(p.rest, ")") {
		p.rest = p.rest[1:]
		return c, nil
	}
	for {
		arg, err := p.argument()
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, arg)
		p.space()
		switch {
		case strings.HasPrefix(p.rest, ","):
			p.rest = p.rest[1:]
		case strings.HasPrefix(p.rest, ")"):
			p.rest = p.rest[1:]
			return c, nil
		default:
			return nil, fmt.Errorf("expected ',' or ')' before %q", p.rest)
		}
	}
}

func (p *intrinsicParser) argument() (any, error) {
	p.space()
	switch {
	case p.rest == "":
		return nil, fmt.Errorf("an argument is missing")
	case p.rest[0] == '\'':
		return p.text()
	case p.rest[0] == '$':
		end := pathEnd(p.rest)
		source := strings.TrimSpace(p.rest[:end])
		p.rest = p.rest[end:]
		return compilePath(source)
	case strings.HasPrefix(p.rest, "States."):
		return p.call()
	}
	end := strings.IndexAny(p.rest, ",)")
	if end < 0 {
		end = len(p.rest)
	}
	word := strings.TrimSpace(p.rest[:end])
	p.rest = p.rest[end:]
	value, err := decode([]byte(word))
	if err != nil {
		return nil, fmt.Errorf("%q is neither a string in single quotes, a number, a path nor a function", word)
	}
	return literal{value}, nil
}

// text reads a string in single quotes; a backslash takes the next character as
// it is, except that States.Format needs to see \{ and \}.
func (p *intrinsicParser) text() (any, error) {
	var text strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case '\\':
			if i++; i == len(p.rest) {
				return nil, fmt.Errorf("the string %s does not end", p.rest)
			}
			switch escaped := p.rest[i]; escaped {
			case '{', '}', '\\':
				text.WriteByte('\\')
				text.WriteByte(escaped)
			case 'n':
				text.WriteByte('\n')
			case 't':
				text.WriteByte('\t')
			case 'r':
				text.WriteByte('\r')
			default:
				text.WriteByte(escaped)
			}
		case '\'':
			p.rest = p.rest[i+1:]
			return quoted(text.String()), nil
		default:
			text.WriteByte(c)
		}
	}
	return nil, fmt.Errorf("the string %s does not end", p.rest)
}

// quoted is a string literal that still carries its backslashes.
type quoted string

func (q quoted) plain() string {
	return strings.NewReplacer(`\\`, `\`, `\{`, `{`, `\}`, `}`).Replace(string(q))
}

// pathEnd is where a path argument ends: at a comma or a closing parenthesis
// outside brackets, quotes and filters.
func pathEnd(text string) int {
	depth := 0
	var quote byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0:
			if c == '\\' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '[' || c == '(':
			depth++
		case (c == ']' || c == ')') && depth > 0:
			depth--
		case (c == ',' || c == ')') && depth == 0:
			return i
		}
	}
	return len(text)
}

// eval computes the call. A path that leads nowhere fails as it would in
// Parameters; anything else wrong is States.IntrinsicFailure.
func (c *call) eval(data, contextObject any) (any, *failure) {
	args := make([]any, len(c.args))
	for i, arg := range c.args {
		switch arg := arg.(type) {
		case literal:
			args[i] = arg.value
		case quoted:
			if args[i] = arg.plain(); c.name == "States.Format" && i == 0 {
				args[i] = arg
			}
		case *path:
			value, found := arg.get(data, contextObject)
			if !found {
				return nil, failf(errParameterPath, "The JsonPath argument for the field '%s' could not be found in the input '%s'", arg.source, encode(data))
			}
			args[i] = value
		case *call:
			value, fail := arg.eval(data, contextObject)
			if fail != nil {
				return nil, fail
			}
			args[i] = value
		}
	}
	value, err := intrinsics[c.name](args)
	if err != nil {
		return nil, failf(errIntrinsic, "The function '%s' failed: %v", c.name, err)
	}
	return value, nil
}

// maxArray is the largest array an intrinsic makes: 1,000 elements for
// ArrayRange, as documented.
const maxArray = 1000

// intrinsics is filled at start: the parser needs to know the names, and the
// functions would otherwise refer to themselves.
var intrinsics map[string]func(args []any) (any, error)

func init() {
	intrinsics = map[string]func(args []any) (any, error){
		"States.Format":         format,
		"States.StringToJson":   stringToJSON,
		"States.JsonToString":   func(a []any) (any, error) { return encode(first(a)), arity(a, 1) },
		"States.Array":          func(a []any) (any, error) { return append([]any{}, a...), nil },
		"States.ArrayPartition": arrayPartition,
		"States.ArrayContains":  arrayContains,
		"States.ArrayRange":     arrayRange,
		"States.ArrayGetItem":   arrayGetItem,
		"States.ArrayLength":    arrayLength,
		"States.ArrayUnique":    arrayUnique,
		"States.Base64Encode":   base64Encode,
		"States.Base64Decode":   base64Decode,
		"States.Hash":           hashOf,
		"States.JsonMerge":      jsonMerge,
		"States.MathRandom":     mathRandom,
		"States.MathAdd":        mathAdd,
		"States.StringSplit":    stringSplit,
		"States.UUID":           func(a []any) (any, error) { return newUUID(), arity(a, 0) },
	}
}

func first(args []any) any {
	if len(args) == 0 {
		return nil
	}
	return args[0]
}

func arity(args []any, want int) error {
	if len(args) != want {
		return fmt.Errorf("%d arguments given, %d expected", len(args), want)
	}
	return nil
}

func asString(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s is not a string", encode(v))
	}
	return s, nil
}

func asArray(v any) ([]any, error) {
	a, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s is not an array", encode(v))
	}
	return a, nil
}

// asInteger rounds a fraction down, as the documentation of the array and math
// functions has it ("rounded down to the nearest integer").
func asInteger(v any) (int64, error) {
	switch n := v.(type) {
	case int64:
		return n, nil
	case float64:
		return int64(math.Floor(n)), nil
	}
	return 0, fmt.Errorf("%s is not a number", encode(v))
}

// format replaces each {} with an argument: a string as it is, anything else as
// JSON. \{ and \} are braces.
func format(args []any) (any, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("no template given")
	}
	var template string
	switch t := args[0].(type) {
	case quoted:
		template = string(t)
	case string:
		template = t
	default:
		return nil, fmt.Errorf("the template is not a string")
	}
	var text strings.Builder
	next := 1
	for i := 0; i < len(template); i++ {
		switch {
		case template[i] == '\\' && i+1 < len(template):
			i++
			text.WriteByte(template[i])
		case strings.HasPrefix(template[i:], "{}"):
			if next == len(args) {
				return nil, fmt.Errorf("more placeholders than arguments")
			}
			if s, ok := args[next].(string); ok {
				text.WriteString(s)
			} else {
				text.WriteString(encode(args[next]))
			}
			next++
			i++
		case template[i] == '{' || template[i] == '}':
			return nil, fmt.Errorf("an unescaped brace in the template")
		default:
			text.WriteByte(template[i])
		}
	}
	if next != len(args) {
		return nil, fmt.Errorf("more arguments than placeholders")
	}
	return text.String(), nil
}

func stringToJSON(args []any) (any, error) {
	if err := arity(args, 1); err != nil {
		return nil, err
	}
	s, err := asString(args[0])
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	return decode([]byte(s))
}

func arrayPartition(args []any) (any, error) {
	if err := arity(args, 2); err != nil {
		return nil, err
	}
	array, err := asArray(args[0])
	if err != nil {
		return nil, err
	}
	size, err := asInteger(args[1])
	if err != nil {
		return nil, err
	}
	if size < 1 {
		return nil, fmt.Errorf("the chunk size is not a positive number")
	}
	parts := []any{}
	for len(array) > 0 {
		n := min(int(size), len(array))
		parts = append(parts, append([]any{}, array[:n]...))
		array = array[n:]
	}
	return parts, nil
}

func arrayContains(args []any) (any, error) {
	if err := arity(args, 2); err != nil {
		return nil, err
	}
	array, err := asArray(args[0])
	if err != nil {
		return nil, err
	}
	for _, element := range array {
		if equal(element, args[1]) {
			return true, nil
		}
	}
	return false, nil
}

func arrayRange(args []any) (any, error) {
	if err := arity(args, 3); err != nil {
		return nil, err
	}
	var n [3]int64
	for i, arg := range args {
		var err error
		if n[i], err = asInteger(arg); err != nil {
			return nil, err
		}
	}
	from, to, by := n[0], n[1], n[2]
	if by == 0 {
		return nil, fmt.Errorf("the increment is zero")
	}
	numbers := []any{}
	for v := from; by > 0 && v <= to || by < 0 && v >= to; v += by {
		if len(numbers) == maxArray {
			return nil, fmt.Errorf("the array would have more than %d elements", maxArray)
		}
		numbers = append(numbers, v)
	}
	return numbers, nil
}

func arrayGetItem(args []any) (any, error) {
	if err := arity(args, 2); err != nil {
		return nil, err
	}
	array, err := asArray(args[0])
	if err != nil {
		return nil, err
	}
	index, err := asInteger(args[1])
	if err != nil {
		return nil, err
	}
	if index < 0 || index >= int64(len(array)) {
		return nil, fmt.Errorf("index %d is outside of an array of %d", index, len(array))
	}
	return array[index], nil
}

func arrayLength(args []any) (any, error) {
	if err := arity(args, 1); err != nil {
		return nil, err
	}
	array, err := asArray(args[0])
	return int64(len(array)), err
}

func arrayUnique(args []any) (any, error) {
	if err := arity(args, 1); err != nil {
		return nil, err
	}
	array, err := asArray(args[0])
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	unique := []any{}
	for _, element := range array {
		if key := encode(element); !seen[key] {
			seen[key] = true
			unique = append(unique, element)
		}
	}
	return unique, nil
}

// maxEncode is the longest string that Base64Encode, Base64Decode and Hash take.
const maxEncode = 10_000

func limitedString(v any) (string, error) {
	s, err := asString(v)
	if err == nil && utf8.RuneCountInString(s) > maxEncode {
		return "", fmt.Errorf("the string is longer than %d characters", maxEncode)
	}
	return s, err
}

func base64Encode(args []any) (any, error) {
	if err := arity(args, 1); err != nil {
		return nil, err
	}
	s, err := limitedString(args[0])
	return base64.StdEncoding.EncodeToString([]byte(s)), err
}

func base64Decode(args []any) (any, error) {
	if err := arity(args, 1); err != nil {
		return nil, err
	}
	s, err := limitedString(args[0])
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	return string(b), err
}

func hashOf(args []any) (any, error) {
	if err := arity(args, 2); err != nil {
		return nil, err
	}
	text, ok := args[0].(string)
	if !ok {
		text = encode(args[0])
	}
	if _, err := limitedString(text); err != nil {
		return nil, err
	}
	data := []byte(text)
	switch args[1] {
	case "MD5":
		sum := md5.Sum(data)
		return hex.EncodeToString(sum[:]), nil
	case "SHA-1":
		sum := sha1.Sum(data)
		return hex.EncodeToString(sum[:]), nil
	case "SHA-256":
		sum := sha256.Sum256(data)
		return hex.EncodeToString(sum[:]), nil
	case "SHA-384":
		sum := sha512.Sum384(data)
		return hex.EncodeToString(sum[:]), nil
	case "SHA-512":
		sum := sha512.Sum512(data)
		return hex.EncodeToString(sum[:]), nil
	}
	return nil, fmt.Errorf("unknown algorithm %s", encode(args[1]))
}

// jsonMerge merges shallowly; the deep mode does not exist in AWS either.
func jsonMerge(args []any) (any, error) {
	if err := arity(args, 3); err != nil {
		return nil, err
	}
	left, leftOK := args[0].(map[string]any)
	right, rightOK := args[1].(map[string]any)
	if !leftOK || !rightOK {
		return nil, fmt.Errorf("both arguments have to be objects")
	}
	if args[2] != false {
		return nil, fmt.Errorf("the deep merging mode is not supported: the third argument has to be false")
	}
	merged := maps.Clone(left)
	if merged == nil {
		merged = map[string]any{}
	}
	maps.Copy(merged, right)
	return merged, nil
}

// mathRandom is in [start, end), from a seed if one is given.
func mathRandom(args []any) (any, error) {
	if len(args) != 2 && len(args) != 3 {
		return nil, arity(args, 2)
	}
	from, err := asInteger(args[0])
	if err != nil {
		return nil, err
	}
	to, err := asInteger(args[1])
	if err != nil {
		return nil, err
	}
	if to <= from {
		return nil, fmt.Errorf("the end is not greater than the start")
	}
	if len(args) == 3 {
		seed, err := asInteger(args[2])
		if err != nil {
			return nil, err
		}
		return from + mathrand.New(mathrand.NewPCG(uint64(seed), 0)).Int64N(to-from), nil
	}
	return from + mathrand.Int64N(to-from), nil
}

func mathAdd(args []any) (any, error) {
	if err := arity(args, 2); err != nil {
		return nil, err
	}
	a, err := asInteger(args[0])
	if err != nil {
		return nil, err
	}
	b, err := asInteger(args[1])
	return a + b, err
}

// stringSplit splits at every single character of the second argument and drops
// empty parts, as Java's tokenizer and so AWS does.
func stringSplit(args []any) (any, error) {
	if err := arity(args, 2); err != nil {
		return nil, err
	}
	s, err := asString(args[0])
	if err != nil {
		return nil, err
	}
	separators, err := asString(args[1])
	if err != nil {
		return nil, err
	}
	parts := []any{}
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		parts = append(parts, part)
	}
	return parts, nil
}

// equal compares JSON values; 1 and 1.0 are the same number.
func equal(a, b any) bool {
	x, xok := asFloat(a)
	y, yok := asFloat(b)
	if xok && yok {
		return x == y
	}
	return reflect.DeepEqual(a, b)
}

func asFloat(v any) (float64, bool) {
	switch n := v.(type) {
	case int64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

// newUUID is a random (version 4) UUID.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// resolve evaluates a payload template: members whose name ends in .$ are paths
// or functions, everything else is taken as it is.
func resolve(template, data, contextObject any) (any, *failure) {
	switch t := template.(type) {
	case map[string]any:
		object := make(map[string]any, len(t))
		for key, member := range t {
			var value any
			var fail *failure
			if name, dynamic := strings.CutSuffix(key, ".$"); dynamic {
				value, fail = resolveField(key, member, data, contextObject)
				key = name
			} else {
				value, fail = resolve(member, data, contextObject)
			}
			if fail != nil {
				return nil, fail
			}
			object[key] = value
		}
		return object, nil
	case []any:
		array := make([]any, len(t))
		for i, element := range t {
			value, fail := resolve(element, data, contextObject)
			if fail != nil {
				return nil, fail
			}
			array[i] = value
		}
		return array, nil
	}
	return template, nil
}

func resolveField(key string, member, data, contextObject any) (any, *failure) {
	source, _ := member.(string)
	if strings.HasPrefix(source, "$") {
		p, err := compilePath(source)
		if err != nil {
			return nil, failf(errRuntime, "%v", err)
		}
		value, found := p.get(data, contextObject)
		if !found {
			return nil, failf(errParameterPath, "The JSONPath '%s' specified for the field '%s' could not be found in the input '%s'", source, key, encode(data))
		}
		return value, nil
	}
	c, err := parseIntrinsic(source)
	if err != nil {
		return nil, failf(errRuntime, "%v", err)
	}
	return c.eval(data, contextObject)
}

// checkTemplate finds what is wrong in a payload template before it runs.
func checkTemplate(template any) error {
	switch t := template.(type) {
	case map[string]any:
		for key, member := range t {
			if !strings.HasSuffix(key, ".$") {
				if err := checkTemplate(member); err != nil {
					return err
				}
				continue
			}
			source, ok := member.(string)
			if !ok {
				return fmt.Errorf("the value for the field '%s' must be a STRING that contains a JSONPath but was %s", key, encode(member))
			}
			if err := checkExpression(source); err != nil {
				return fmt.Errorf("the value for the field '%s' must be a valid JSONPath or a valid intrinsic function call: %w", key, err)
			}
		}
	case []any:
		for i, element := range t {
			if err := checkTemplate(element); err != nil {
				return fmt.Errorf("element %s: %w", strconv.Itoa(i), err)
			}
		}
	}
	return nil
}

func checkExpression(source string) error {
	if strings.HasPrefix(source, "$") {
		_, err := compilePath(source)
		return err
	}
	_, err := parseIntrinsic(source)
	return err
}
