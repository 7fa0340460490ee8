package model

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"cognito-backup/test/localaws/wire"
)

// ValidateRequest checks the input of an operation as AWS would before the
// service sees it: required members, types, lengths, ranges, patterns and
// enums. The error is a *wire.Error with AWS's code and wording, all violations
// in one message; values of sensitive members are not echoed.
func (m *Model) ValidateRequest(operation string, input json.RawMessage) error {
	if m.Operations[operation] == nil {
		return m.unknownOperation(operation)
	}
	value, err := decode(input)
	if err != nil {
		return err
	}
	c := &check{model: m}
	c.structure(m.input(operation), value, place{})
	if c.mistyped != "" {
		return serialization(c.mistyped)
	}
	if len(c.violations) == 0 {
		return nil
	}
	return m.refuse(c.violations)
}

// UnknownMembers lists, as paths, what the input holds beyond the model. AWS
// ignores such members without a word, so a request that has any is valid; the
// gateway reports them, because somebody meant something by them.
func (m *Model) UnknownMembers(operation string, input json.RawMessage) []string {
	value, err := decode(input)
	if err != nil {
		return nil
	}
	c := &check{model: m}
	c.structure(m.input(operation), value, place{})
	return c.unknown
}

// ValidateResponse checks the output of an operation. An error is a fault of
// the testbed: AWS would never answer that.
func (m *Model) ValidateResponse(operation string, output json.RawMessage) error {
	if m.Operations[operation] == nil {
		return m.unknownOperation(operation)
	}
	value, err := decode(output)
	if err != nil {
		return fmt.Errorf("%s answers no JSON object: %w", operation, err)
	}
	c := &check{model: m}
	c.structure(m.output(operation), value, place{})
	var faults []string
	for _, v := range c.violations {
		if v.shape == nil || !longerInAnswers[v.shape.name] {
			faults = append(faults, v.String())
		}
	}
	for _, path := range c.unknown {
		faults = append(faults, fmt.Sprintf("Member '%s' is not in the API model", path))
	}
	if c.mistyped != "" {
		faults = append(faults, c.mistyped)
	}
	if len(faults) > 0 {
		return fmt.Errorf("%s answers what its API model does not allow: %s", operation, strings.Join(faults, "; "))
	}
	return nil
}

// longerInAnswers are shapes whose constraints hold for requests only. Names of
// attributes have at most 20 characters when they are created; Cognito answers
// them with the prefix custom:, and its own phone_number_verified has 21. A
// schema may have 50 custom attributes beside the standard ones. The documented
// completion messages of import jobs are sentences, which the pattern is not.
var longerInAnswers = map[string]bool{
	"CustomAttributeNameType": true, "SchemaAttributesListType": true, "CompletionMessageType": true,
}

// commonErrors can be answered to any request, whatever the operation lists:
// AWS documents them once per service under "Common Errors".
var commonErrors = []string{
	"AccessDenied", "AccessDeniedException", "AuthorizationError", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature",
	"IncompleteSignatureException", "InternalError", "InternalFailure", "InternalServerError", "InvalidAction", "InvalidClientTokenId",
	"InvalidParameterValue", "InvalidSignatureException", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "MissingParameter",
	"OptInRequired", "RequestExpired", "RequestTimeout", "SerializationException", "ServiceUnavailable", "ServiceUnavailableException",
	"SignatureDoesNotMatch", "ThrottledException", "Throttling", "ThrottlingException", "UnknownOperationException", "UnrecognizedClientException",
	"ValidationError", "ValidationException",
}

// ValidateError checks that the operation can answer this error: that it is in
// the operation's list, or one that every AWS service can answer. An error is a
// fault of the testbed.
func (m *Model) ValidateError(operation string, e *wire.Error) error {
	if slices.Contains(commonErrors, e.Code) {
		return nil
	}
	if operation == "AdminCreateUser" && e.Code == "AliasExistsException" {
		return nil // documented under ForceAliasCreation; the model's list leaves it out
	}
	if op := m.Operations[operation]; op != nil {
		for _, name := range op.Errors {
			if name == e.Code || m.Shapes[name] != nil && m.Shapes[name].Error.Code == e.Code {
				return nil
			}
		}
	}
	return fmt.Errorf("%s answers %s, which is not among its errors", operation, e.Code)
}

func (m *Model) unknownOperation(operation string) *wire.Error {
	message := fmt.Sprintf("The testbed does not know the operation %q of %s", operation, m.SigningName)
	if m.Protocol == "query" {
		return &wire.Error{Code: "InvalidAction", Message: message, Status: http.StatusBadRequest}
	}
	return &wire.Error{Code: "UnknownOperationException", Message: message, Status: http.StatusBadRequest}
}

func serialization(message string) *wire.Error {
	return &wire.Error{Code: "SerializationException", Message: message, Status: http.StatusBadRequest}
}

// refuse words violations as the service in question does.
func (m *Model) refuse(violations []violation) *wire.Error {
	code := "ValidationException"
	switch m.SigningName {
	case "cognito-idp":
		code = "InvalidParameterException"
	case "sns":
		code = "ValidationError"
	case "sqs":
		return refuseSQS(violations[0])
	}
	var texts []string
	for _, v := range violations {
		texts = append(texts, v.String())
	}
	noun := "errors"
	if len(violations) == 1 {
		noun = "error"
	}
	return wire.Errorf(code, "%d validation %s detected: %s", len(violations), noun, strings.Join(texts, "; "))
}

// refuseSQS words a violation as SQS does, which predates the common wording.
func refuseSQS(v violation) *wire.Error {
	if v.null {
		return wire.Errorf("MissingParameter", "The request must contain the parameter %s.", v.at.sqs)
	}
	if v.shape.name == "QueueAttributeName" || v.shape.name == "MessageSystemAttributeName" {
		return wire.Errorf("InvalidAttributeName", "Unknown Attribute %s.", v.member)
	}
	return wire.Errorf("InvalidParameterValue", "Value %s for parameter %s is invalid. Reason: %s.", v.member, v.at.sqs, v.constraint)
}

// place is where a value stands, in the words of the error messages.
type place struct {
	path string // userAttributes.1.member.name
	sqs  string // SendMessageBatchRequestEntry.1.Id
}

func (p place) member(name string) place {
	first, size := utf8.DecodeRuneInString(name)
	return place{join(p.path, string(unicode.ToLower(first))+name[size:]), join(p.sqs, name)}
}

func (p place) element(i int, shape string) place {
	number := strconv.Itoa(i + 1)
	return place{p.path + "." + number + ".member", shape + "." + number}
}

func (p place) entry(key string) place {
	return place{p.path + "." + key + ".member", p.sqs + "." + key}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// violation is one constraint that a value does not satisfy.
type violation struct {
	at         place
	shape      *Shape
	value      string // the value, or the list or map it stands in
	member     string // the value itself
	null       bool
	hidden     bool // of a sensitive member
	constraint string
}

func (v violation) String() string {
	switch {
	case v.null:
		return fmt.Sprintf("Value null at '%s' failed to satisfy constraint: %s", v.at.path, v.constraint)
	case v.hidden:
		return fmt.Sprintf("Value at '%s' failed to satisfy constraint: %s", v.at.path, v.constraint)
	}
	return fmt.Sprintf("Value '%s' at '%s' failed to satisfy constraint: %s", v.value, v.at.path, v.constraint)
}

// check collects what is wrong with one document.
type check struct {
	model      *Model
	violations []violation
	unknown    []string
	mistyped   string // the first value of a wrong type, in AWS's words
}

func (c *check) wrongType(value any, at place, want string) {
	if c.mistyped != "" {
		return
	}
	got := "STRING_VALUE"
	switch v := value.(type) {
	case map[string]any:
		c.mistyped = fmt.Sprintf("Start of structure or map found where not expected ('%s')", at.path)
		return
	case []any:
		c.mistyped = fmt.Sprintf("Start of list found where not expected ('%s')", at.path)
		return
	case json.Number:
		got = "NUMBER_VALUE"
	case bool:
		got = strings.ToUpper(strconv.FormatBool(v)) + "_VALUE"
	}
	c.mistyped = fmt.Sprintf("%s can not be converted to %s ('%s')", got, want, at.path)
}

func (c *check) structure(s *Shape, value any, at place) {
	members, ok := value.(map[string]any)
	if !ok {
		if value != nil {
			c.wrongType(value, at, "a structure")
		}
		members = nil
	}
	if s == nil {
		s = &Shape{}
	}
	for _, name := range s.order {
		v, member := members[name], s.Members[name]
		switch {
		case v != nil:
			c.value(c.model.Shapes[member.Shape], v, at.member(name))
		case slices.Contains(s.Required, name):
			c.violations = append(c.violations, violation{at: at.member(name), shape: c.model.Shapes[member.Shape], null: true, constraint: "Member must not be null"})
		}
	}
	for _, name := range sortedKeys(members) {
		if s.Members[name] == nil {
			c.unknown = append(c.unknown, at.member(name).path)
		}
	}
}

func (c *check) value(s *Shape, value any, at place) {
	switch s.Type {
	case "structure":
		c.structure(s, value, at)
	case "list":
		c.list(s, value, at)
	case "map":
		c.mapping(s, value, at)
	default:
		for _, constraint := range c.scalar(s, value, at) {
			c.violations = append(c.violations, violation{at: at, shape: s, value: show(value), member: show(value), hidden: s.Sensitive, constraint: constraint})
		}
	}
}

func (c *check) list(s *Shape, value any, at place) {
	list, ok := value.([]any)
	if !ok {
		c.wrongType(value, at, "a list")
		return
	}
	element := c.model.Shapes[s.Member]
	for _, constraint := range bounds(s, float64(len(list)), "length") {
		c.violations = append(c.violations, violation{at: at, shape: s, value: show(value), member: show(value), hidden: c.sensitive(s), constraint: constraint})
	}
	for i, v := range list {
		if v == nil {
			continue
		}
		switch element.Type {
		case "structure", "list", "map":
			c.value(element, v, at.element(i, element.name))
		default:
			// AWS reports an element that is no structure as a fault of the list.
			if constraints := c.scalar(element, v, at); len(constraints) > 0 {
				c.violations = append(c.violations, violation{at: at, shape: element, value: show(value), member: show(v), hidden: c.sensitive(element),
					constraint: "Member must satisfy constraint: [" + strings.Join(constraints, ", ") + "]"})
			}
		}
	}
}

func (c *check) mapping(s *Shape, value any, at place) {
	entries, ok := value.(map[string]any)
	if !ok {
		c.wrongType(value, at, "a map")
		return
	}
	for _, constraint := range bounds(s, float64(len(entries)), "length") {
		c.violations = append(c.violations, violation{at: at, shape: s, value: show(value), member: show(value), hidden: c.sensitive(s), constraint: constraint})
	}
	keyShape, valueShape := c.model.Shapes[s.Key], c.model.Shapes[s.Value]
	for _, key := range sortedKeys(entries) {
		if constraints := c.scalar(keyShape, key, at); len(constraints) > 0 {
			c.violations = append(c.violations, violation{at: at, shape: keyShape, value: show(value), member: key, hidden: c.sensitive(s),
				constraint: "Map keys must satisfy constraint: [" + strings.Join(constraints, ", ") + "]"})
		}
		v := entries[key]
		if v == nil {
			continue
		}
		switch valueShape.Type {
		case "structure", "list", "map":
			c.value(valueShape, v, at.entry(key))
		default:
			if constraints := c.scalar(valueShape, v, at); len(constraints) > 0 {
				c.violations = append(c.violations, violation{at: at, shape: valueShape, value: show(value), member: show(v), hidden: c.sensitive(s),
					constraint: "Map value must satisfy constraint: [" + strings.Join(constraints, ", ") + "]"})
			}
		}
	}
}

// sensitive reports whether a value of this shape shows a sensitive one when it
// is printed.
func (c *check) sensitive(s *Shape) bool {
	return c.sensitiveIn(s, map[string]bool{})
}

func (c *check) sensitiveIn(s *Shape, seen map[string]bool) bool {
	if s == nil || seen[s.name] {
		return false
	}
	seen[s.name] = true
	if s.Sensitive {
		return true
	}
	for _, m := range s.Members {
		if c.sensitiveIn(c.model.Shapes[m.Shape], seen) {
			return true
		}
	}
	return c.sensitiveIn(c.model.Shapes[s.Member], seen) || c.sensitiveIn(c.model.Shapes[s.Key], seen) || c.sensitiveIn(c.model.Shapes[s.Value], seen)
}

// scalar returns the constraints that a string, number, boolean, blob or
// timestamp does not satisfy.
func (c *check) scalar(s *Shape, value any, at place) []string {
	switch s.Type {
	case "string":
		text, ok := value.(string)
		if !ok {
			c.wrongType(value, at, "a String")
			return nil
		}
		faults := bounds(s, float64(utf8.RuneCountInString(text)), "length")
		if s.match != nil && !s.match(text) {
			faults = append(faults, "Member must satisfy regular expression pattern: "+s.Pattern)
		}
		if len(s.Enum) > 0 && !slices.Contains(s.Enum, text) {
			faults = append(faults, "Member must satisfy enum value set: ["+strings.Join(s.Enum, ", ")+"]")
		}
		return faults
	case "integer", "long":
		number, ok := value.(json.Number)
		if !ok {
			c.wrongType(value, at, map[string]string{"integer": "an Integer", "long": "a Long"}[s.Type])
			return nil
		}
		whole, err := strconv.ParseInt(number.String(), 10, 64)
		if err != nil || s.Type == "integer" && (whole < math.MinInt32 || whole > math.MaxInt32) {
			c.wrongType(value, at, map[string]string{"integer": "an Integer", "long": "a Long"}[s.Type])
			return nil
		}
		return bounds(s, float64(whole), "value")
	case "timestamp":
		if _, ok := value.(json.Number); !ok {
			c.wrongType(value, at, "a Timestamp")
		}
	case "boolean":
		if _, ok := value.(bool); !ok {
			c.wrongType(value, at, "a Boolean")
		}
	case "blob":
		text, ok := value.(string)
		blob, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil {
			c.wrongType(value, at, "a Blob")
			return nil
		}
		return bounds(s, float64(len(blob)), "length")
	}
	return nil
}

func bounds(s *Shape, size float64, what string) []string {
	var faults []string
	if s.Max != nil && size > *s.Max {
		faults = append(faults, fmt.Sprintf("Member must have %s less than or equal to %.0f", what, *s.Max))
	}
	if s.Min != nil && size < *s.Min {
		faults = append(faults, fmt.Sprintf("Member must have %s greater than or equal to %.0f", what, *s.Min))
	}
	return faults
}

// show prints a value as AWS's messages do, which are Java's toString.
func show(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []any:
		var texts []string
		for _, element := range v {
			texts = append(texts, show(element))
		}
		return "[" + strings.Join(texts, ", ") + "]"
	case map[string]any:
		var texts []string
		for _, key := range sortedKeys(v) {
			texts = append(texts, key+"="+show(v[key]))
		}
		return "{" + strings.Join(texts, ", ") + "}"
	}
	return fmt.Sprint(value)
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// decode reads a JSON object with its numbers as written; nothing and null are
// the empty object.
func decode(document json.RawMessage) (map[string]any, error) {
	if len(bytes.TrimSpace(document)) == 0 {
		return map[string]any{}, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, serialization("The request is not valid JSON")
	}
	if decoder.More() {
		return nil, serialization("The request holds more than one JSON value")
	}
	switch v := value.(type) {
	case nil:
		return map[string]any{}, nil
	case map[string]any:
		return v, nil
	}
	return nil, serialization("The request is not a JSON object")
}
