package cognito

import (
	"encoding/binary"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cognito-backup/test/localaws/wire"
)

const (
	maxCustomAttributes = 50
	maxStringLength     = 2048
)

func stringAttribute(name string, shortest, longest int) SchemaAttribute {
	return SchemaAttribute{
		Name: name, AttributeDataType: "String", Mutable: true,
		StringAttributeConstraints: &StringConstraints{strconv.Itoa(shortest), strconv.Itoa(longest)},
	}
}

// standardAttributes are in the schema of every pool, in the order in which
// DescribeUserPool and GetCSVHeader list them.
func standardAttributes() []SchemaAttribute {
	sub := stringAttribute("sub", 1, maxStringLength)
	sub.Mutable, sub.Required = false, true
	list := []SchemaAttribute{sub}
	for _, name := range []string{
		"name", "given_name", "family_name", "middle_name", "nickname", "preferred_username",
		"profile", "picture", "website", "email",
	} {
		list = append(list, stringAttribute(name, 0, maxStringLength))
	}
	list = append(list, SchemaAttribute{Name: "email_verified", AttributeDataType: "Boolean", Mutable: true},
		stringAttribute("gender", 0, maxStringLength),
		stringAttribute("birthdate", 10, 10),
		stringAttribute("zoneinfo", 0, maxStringLength),
		stringAttribute("locale", 0, maxStringLength),
		stringAttribute("phone_number", 0, maxStringLength),
		SchemaAttribute{Name: "phone_number_verified", AttributeDataType: "Boolean", Mutable: true},
		stringAttribute("address", 0, maxStringLength),
		SchemaAttribute{
			Name: "updated_at", AttributeDataType: "Number", Mutable: true,
			NumberAttributeConstraints: &NumberConstraints{MinValue: "0"},
		},
		SchemaAttribute{
			Name: "identities", AttributeDataType: "String", Mutable: true,
			StringAttributeConstraints: &StringConstraints{},
		})
	return list
}

// verifiedOf is the flag that goes with an attribute, "" when it has none.
func verifiedOf(name string) string {
	switch name {
	case "email", "phone_number":
		return name + "_verified"
	}
	return ""
}

// schema is the attributes that users of a pool may have. It only ever grows, so
// an attribute's number can stand for its name in stored users.
type schema struct {
	attributes []SchemaAttribute
	numbers    map[string]byte
}

func newSchema() *schema {
	s := &schema{numbers: map[string]byte{}}
	for _, a := range standardAttributes() {
		s.put(a)
	}
	return s
}

func (s *schema) put(a SchemaAttribute) {
	s.numbers[a.Name] = byte(len(s.attributes)) // 21 standard and 50 custom at most
	s.attributes = append(s.attributes, a)
}

func (s *schema) find(name string) *SchemaAttribute {
	if n, ok := s.numbers[name]; ok {
		return &s.attributes[n]
	}
	return nil
}

func isCustom(name string) bool {
	return strings.HasPrefix(name, "custom:") || strings.HasPrefix(name, "dev:")
}

func (s *schema) custom() int {
	n := 0
	for _, a := range s.attributes {
		if isCustom(a.Name) {
			n++
		}
	}
	return n
}

// configurable tells whether CreateUserPool's Schema may describe this standard
// attribute; any other name there is a custom attribute's.
func configurable(name string) bool {
	switch name {
	case "email_verified", "phone_number_verified", "identities":
		return false
	}
	return slices.ContainsFunc(standardAttributes(), func(a SchemaAttribute) bool { return a.Name == name })
}

// define applies an entry of CreateUserPool's Schema: a standard attribute's
// settings, or a custom attribute.
func (s *schema) define(a SchemaAttribute) error {
	if configurable(a.Name) {
		own := s.find(a.Name)
		if a.AttributeDataType != "" && a.AttributeDataType != own.AttributeDataType {
			return invalid("You can not change AttributeDataType or set developerOnlyAttribute for standard schema attribute %s", a.Name)
		}
		if a.DeveloperOnlyAttribute {
			return invalid("You can not change AttributeDataType or set developerOnlyAttribute for standard schema attribute %s", a.Name)
		}
		if a.Name == "sub" {
			return nil // always the same
		}
		own.Required, own.Mutable = a.Required, a.Mutable
		if a.StringAttributeConstraints != nil && own.StringAttributeConstraints != nil {
			own.StringAttributeConstraints = a.StringAttributeConstraints
		}
		if a.NumberAttributeConstraints != nil && own.NumberAttributeConstraints != nil {
			own.NumberAttributeConstraints = a.NumberAttributeConstraints
		}
		return nil
	}
	return s.addCustom(a)
}

// addCustom adds a custom attribute, named without its prefix.
func (s *schema) addCustom(a SchemaAttribute) error {
	if a.Required {
		return invalid("Required custom attributes are not supported currently.")
	}
	switch a.AttributeDataType {
	case "String", "Number", "DateTime", "Boolean":
	default:
		return invalid("Invalid AttributeDataType input, consider using the provided AttributeDataType enum.")
	}
	if a.DeveloperOnlyAttribute {
		a.Name = "dev:" + a.Name
	} else {
		a.Name = "custom:" + a.Name
	}
	if s.find(a.Name) != nil {
		return invalid("%s: Existing attribute already has name %s.", a.Name, a.Name)
	}
	if s.custom() >= maxCustomAttributes {
		return invalid("Exceeded the maximum number of custom attributes (%d).", maxCustomAttributes)
	}
	switch a.AttributeDataType {
	case "String":
		if a.StringAttributeConstraints == nil {
			a.StringAttributeConstraints = &StringConstraints{}
		}
		a.NumberAttributeConstraints = nil
	case "Number":
		if a.NumberAttributeConstraints == nil {
			a.NumberAttributeConstraints = &NumberConstraints{}
		}
		a.StringAttributeConstraints = nil
	default:
		a.NumberAttributeConstraints, a.StringAttributeConstraints = nil, nil
	}
	s.put(a)
	return nil
}

var (
	emailForm     = regexp.MustCompile(`^[\p{L}\p{M}\p{S}\p{N}\p{P}]+@[\p{L}\p{M}\p{S}\p{N}\p{P}]+\.[\p{L}\p{M}\p{S}\p{N}\p{P}]+$`)
	phoneForm     = regexp.MustCompile(`^\+[0-9]{1,15}$`)
	numberForm    = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)
	birthdateForm = regexp.MustCompile(`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$`)
)

func looksLikeEmail(s string) bool {
	return strings.Count(s, "@") == 1 && emailForm.MatchString(s)
}
func looksLikePhone(s string) bool { return phoneForm.MatchString(s) }

// problem says why a value does not fit an attribute, "" when it does.
func (a *SchemaAttribute) problem(value string) string {
	switch a.AttributeDataType {
	case "Boolean":
		if value != "true" && value != "false" {
			return "Attribute is not a boolean."
		}
	case "Number":
		if !numberForm.MatchString(value) {
			return "Attribute is not a number."
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return "Attribute is not a number."
		}
		if c := a.NumberAttributeConstraints; c != nil {
			if least, err := strconv.ParseFloat(c.MinValue, 64); err == nil && n < least {
				return "Number is less than the minimum value."
			}
			if most, err := strconv.ParseFloat(c.MaxValue, 64); err == nil && n > most {
				return "Number is greater than the maximum value."
			}
		}
	case "DateTime":
		if _, err := time.Parse(time.RFC3339, value); err != nil && !numberForm.MatchString(value) {
			return "Attribute is not a date."
		}
	default:
		n := utf8.RuneCountInString(value)
		shortest, longest := 0, maxStringLength
		if c := a.StringAttributeConstraints; c != nil {
			if v, err := strconv.Atoi(c.MinLength); err == nil {
				shortest = v
			}
			if v, err := strconv.Atoi(c.MaxLength); err == nil {
				longest = v
			}
		}
		if n < shortest {
			return "String is too short."
		}
		if n > longest {
			return "String is too long."
		}
	}
	return ""
}

// checkValues tests attributes against the schema. Empty values pass: they mean
// that the attribute is absent.
func (s *schema) checkValues(list []Attribute) *wire.Error {
	var problems strings.Builder
	for _, a := range list {
		def := s.find(a.Name)
		switch {
		case def == nil:
			problems.WriteString(a.Name + ": Attribute does not exist in the schema.\n")
			continue
		case a.Name == "sub" || a.Name == "identities":
			return invalid("Cannot modify the non-mutable attribute %s", a.Name)
		case a.Value == "":
			continue
		}
		if text := def.problem(a.Value); text != "" {
			problems.WriteString(a.Name + ": " + text + "\n")
		}
	}
	if problems.Len() > 0 {
		return invalid("Attributes did not conform to the schema: %s", problems.String())
	}
	for _, a := range list {
		switch {
		case a.Value == "":
		case a.Name == "email" && !looksLikeEmail(a.Value):
			return invalid("Invalid email address format.")
		case a.Name == "phone_number" && !looksLikePhone(a.Value):
			return invalid("Invalid phone number format.")
		case a.Name == "birthdate" && !birthdateForm.MatchString(a.Value):
			return invalid("Attributes did not conform to the schema: birthdate: Date is not in the format YYYY-MM-DD.\n")
		}
	}
	return nil
}

// packed is a user's attributes in one string: number, length, value of each. A
// pool of a million users then costs one allocation per user.
type packed string

// pack stores attributes; absent (empty) values are left out, and of two with one
// name the later holds. All names must be in the schema.
func (s *schema) pack(list []Attribute) packed {
	b := make([]byte, 0, 32*len(list))
	for i, a := range list {
		later := slices.ContainsFunc(list[i+1:], func(o Attribute) bool { return o.Name == a.Name })
		if later || a.Value == "" {
			continue
		}
		b = append(b, s.numbers[a.Name])
		b = binary.AppendUvarint(b, uint64(len(a.Value)))
		b = append(b, a.Value...)
	}
	return packed(b)
}

// entries iterates over number and value of each attribute.
func (p packed) entries() iter.Seq2[byte, string] {
	return func(yield func(byte, string) bool) {
		for at := 0; at < len(p); {
			number := p[at]
			at++
			var n, shift uint64
			for { // a varint, read in place: binary.Uvarint wants bytes
				c := p[at]
				at++
				n |= uint64(c&0x7f) << shift
				if c < 0x80 {
					break
				}
				shift += 7
			}
			if !yield(number, string(p[at:at+int(n)])) {
				return
			}
			at += int(n)
		}
	}
}

func (s *schema) value(p packed, name string) string {
	number, ok := s.numbers[name]
	if !ok {
		return ""
	}
	for n, v := range p.entries() {
		if n == number {
			return v
		}
	}
	return ""
}

func (s *schema) unpack(p packed) []Attribute {
	list := make([]Attribute, 0, 12)
	for n, v := range p.entries() {
		list = append(list, Attribute{s.attributes[n].Name, v})
	}
	return list
}
