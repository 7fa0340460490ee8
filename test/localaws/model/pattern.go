package model

import (
	"regexp"
	"strings"
)

// unsupported patterns use look-ahead, which Go's regular expressions leave
// out on purpose; each is written out as code.
var unsupported = map[string]func(string) bool{
	// Scheduler's EventBridge source: not from aws., or a JSON path.
	`^(?=[/\.\-_A-Za-z0-9]+)((?!aws\.).*)|(\$(\.[\w_-]+(\[(\d+|\*)\])*)*)$`: func(s string) bool {
		return jsonPath.MatchString(s) || sourceStart.MatchString(s) && !strings.HasPrefix(s, "aws.")
	},
}

var (
	jsonPath    = regexp.MustCompile(`^\$(\.[\w-]+(\[(\d+|\*)\])*)*$`)
	sourceStart = regexp.MustCompile(`^[/.\-_A-Za-z0-9]+`)
)

// compile turns a pattern of a model (Java's dialect, matched against the whole
// value) into a matcher.
func compile(pattern string) (func(string) bool, error) {
	if match, ok := unsupported[pattern]; ok {
		return match, nil
	}
	re, err := regexp.Compile(`\A(?:` + translate(pattern) + `)\z`)
	if err != nil {
		return nil, err
	}
	return re.MatchString, nil
}

// The parts of Java's dialect that Go reads differently: \s contains the
// vertical tab, a dot stops at every line terminator, and \p{ASCII} exists.
const (
	javaSpace = `\t\n\x0b\f\r `
	javaDot   = `[^\n\r\x{85}\x{2028}\x{2029}]`
	javaASCII = `\x00-\x7F`
)

func translate(pattern string) string {
	dotAll := strings.HasPrefix(pattern, "(?s)")
	var out strings.Builder
	class := false
	wrap := func(s string) {
		if class {
			out.WriteString(s)
			return
		}
		out.WriteString("[" + s + "]")
	}
	for i := 0; i < len(pattern); i++ {
		rest := pattern[i:]
		switch {
		case strings.HasPrefix(rest, `\p{ASCII}`):
			wrap(javaASCII)
			i += len(`\p{ASCII}`) - 1
		case strings.HasPrefix(rest, `\s`):
			wrap(javaSpace)
			i++
		case strings.HasPrefix(rest, `[\S]`):
			out.WriteString(`[^` + javaSpace + `]`)
			i += len(`[\S]`) - 1
		case rest[0] == '\\' && len(rest) > 1:
			out.WriteString(rest[:2])
			i++
		case rest[0] == '[' && !class:
			class = true
			out.WriteByte('[')
		case rest[0] == ']' && class:
			class = false
			out.WriteByte(']')
		case rest[0] == '.' && !class && !dotAll:
			out.WriteString(javaDot)
		default:
			out.WriteByte(rest[0])
		}
	}
	return out.String()
}
