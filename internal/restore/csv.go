package restore

import (
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cognito-backup/internal/pool"
)

// Limits of a CSV import file, from the developer guide's chapter on the
// import tool. Files stay below them.
const (
	maxRow      = 16_000   // characters
	maxFile     = 64 << 20 // bytes; the limit is 100 MB, the function's memory 512
	maxFileRows = 100_000  // the limit is 500,000; see search
	newline     = "\n"     // UTF-8 without BOM
	columnName  = "cognito:username"
	columnMFA   = "cognito:mfa_enabled"
	columnBirth = "birthdate"
)

// Row is the user's line of the CSV file, "" for one who comes back another way.
func (r *Rules) Row(u *pool.User) string {
	way := r.Recreate(u)
	if way.Path != PathCSV {
		return ""
	}
	line, _ := r.row(way.Username, way.Attributes)
	return line
}

// row is a line of the CSV file in the order of the header, or the reason
// why there can be none. Cognito's file has one escape, a backslash before a
// comma, and says nothing of quotes, backslashes and line breaks, nor of which
// characters its reader takes for one: whoever has one of these or a control
// character goes by API, where every value arrives as it is.
func (r *Rules) row(username string, attributes map[string]string) (string, string) {
	if strings.ContainsAny(username, " \t") {
		return "", ReasonNotCSV
	}
	for name, a := range r.Target.Schema {
		if a.Required && attributes[name] == "" && name != "sub" {
			return "", ReasonNotCSV // only AdminCreateUser may omit it
		}
	}
	var line strings.Builder
	written := 0
	for i, column := range r.Header {
		if i > 0 {
			line.WriteByte(',')
		}
		value, ok := csvValue(column, username, attributes)
		if !ok {
			return "", ReasonNotCSV
		}
		line.WriteString(value)
		if attributes[column] != "" {
			written++
		}
	}
	if written < len(attributes) || utf8.RuneCountInString(line.String()) > maxRow {
		return "", ReasonNotCSV // an attribute without a column, or too long
	}
	return line.String(), ""
}

func csvValue(column, username string, attributes map[string]string) (string, bool) {
	value := attributes[column]
	switch {
	case column == columnName:
		value = username
	case column == columnMFA:
		return "", true // blank agrees with every requirement
	case strings.HasSuffix(column, "_verified"):
		if value != "true" {
			value = "false"
		}
		return value, true
	case value == "":
		return "", true
	case column == columnBirth:
		return csvDate(value)
	case column == "updated_at":
		return value, digits.MatchString(value)
	}
	if strings.ContainsAny(value, "\"\\\u2028\u2029") || strings.ContainsFunc(value, unicode.IsControl) || strings.TrimSpace(value) != value {
		return "", false
	}
	return strings.ReplaceAll(value, ",", `\,`), true
}

var digits = regexp.MustCompile(`^[0-9]+$`)

// csvDate turns the stored YYYY-MM-DD into the mm/dd/yyyy of the file.
func csvDate(value string) (string, bool) {
	t, err := time.Parse(time.DateOnly, value)
	if err != nil || t.Year() < 1000 { // OpenID Connect allows the year 0000 for "not told"
		return "", false
	}
	return t.Format("01/02/2006"), true
}
