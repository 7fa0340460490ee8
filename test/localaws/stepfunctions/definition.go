package stepfunctions

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// machineDefinition is a checked Amazon States Language document.
type machineDefinition struct {
	scope
	TimeoutSeconds int64 // 0: none
}

// scope is a set of states with a start: the machine, a branch or a Map's
// processor.
type scope struct {
	StartAt string
	States  map[string]*state
}

// state is one state with everything parsed that can be parsed in advance.
type state struct {
	Name string
	Type string
	Next string // empty: End

	InputPath, OutputPath pathField
	ResultPath            pathField
	Parameters            any
	ResultSelector        any
	hasParameters         bool
	hasResultSelector     bool
	Retry                 []retrier
	Catch                 []catcher

	// Task
	Resource                          string
	TimeoutSeconds, HeartbeatSeconds  int64 // 0: not given
	TimeoutSecondsPath, HeartbeatPath *path
	Result                            any // Pass
	hasResult                         bool
	Choices                           []choice // Choice
	Default                           string
	Seconds                           *int64 // Wait
	SecondsPath, TimestampPath        *path
	Timestamp                         string
	FailError, FailCause              *string // Fail
	ErrorExpression, CauseExpression  string
	Branches                          []scope // Parallel
	ItemsPath                         pathField
	ItemProcessor                     *scope // Map
	MaxConcurrency                    int64
	MaxConcurrencyPath                *path
}

// pathField is an optional path that may also be null: nothing is taken (or kept).
type pathField struct {
	null bool
	path *path // nil: not given, the same as $
}

type retrier struct {
	ErrorEquals     []string
	IntervalSeconds int64
	MaxAttempts     int64
	BackoffRate     float64
	MaxDelaySeconds int64 // 0: none
	FullJitter      bool
}

type catcher struct {
	ErrorEquals []string
	Next        string
	ResultPath  pathField
}

var (
	commonFields = []string{"Type", "Comment", "QueryLanguage"}
	flowFields   = []string{"InputPath", "OutputPath", "Next", "End"}
	workFields   = []string{"ResultPath", "Parameters", "ResultSelector", "Retry", "Catch"}

	// fieldsOf lists what a state of each type may have; AWS refuses the rest.
	fieldsOf = map[string][]string{
		"Task":     slices.Concat(commonFields, flowFields, workFields, []string{"Resource", "TimeoutSeconds", "TimeoutSecondsPath", "HeartbeatSeconds", "HeartbeatSecondsPath", "Credentials"}),
		"Pass":     slices.Concat(commonFields, flowFields, []string{"Result", "ResultPath", "Parameters"}),
		"Choice":   slices.Concat(commonFields, []string{"InputPath", "OutputPath", "Choices", "Default"}),
		"Wait":     slices.Concat(commonFields, flowFields, []string{"Seconds", "SecondsPath", "Timestamp", "TimestampPath"}),
		"Succeed":  slices.Concat(commonFields, []string{"InputPath", "OutputPath"}),
		"Fail":     slices.Concat(commonFields, []string{"Error", "ErrorPath", "Cause", "CausePath"}),
		"Parallel": slices.Concat(commonFields, flowFields, workFields, []string{"Branches"}),
		"Map":      slices.Concat(commonFields, flowFields, workFields, []string{"ItemsPath", "ItemSelector", "ItemProcessor", "Iterator", "MaxConcurrency", "MaxConcurrencyPath"}),
	}
)

// parseDefinition checks a definition as CreateStateMachine does and reports
// everything that is wrong with it.
func parseDefinition(text string) (*machineDefinition, error) {
	if len(text) > maxDefinition {
		return nil, fmt.Errorf("the definition has %d bytes, at most %d are allowed", len(text), maxDefinition)
	}
	document, err := decode([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("INVALID_JSON_DESCRIPTION: %w", err)
	}
	p := &definitionParser{seen: map[string]string{}}
	root := p.fieldsAt("", document)
	if root == nil {
		return nil, p.err()
	}
	root.allow("Comment", "StartAt", "States", "Version", "TimeoutSeconds", "QueryLanguage")
	root.jsonPathOnly()
	definition := &machineDefinition{scope: root.scope()}
	definition.TimeoutSeconds = root.integer("TimeoutSeconds", 0, 1, defaultTimeoutSeconds)
	return definition, p.err()
}

type definitionParser struct {
	problems []string
	seen     map[string]string // state name → where, unique in the whole machine
}

func (p *definitionParser) problem(where, format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...)+" at "+where)
}

func (p *definitionParser) err() error {
	if len(p.problems) == 0 {
		return nil
	}
	return fmt.Errorf("SCHEMA_VALIDATION_FAILED: %s", strings.Join(p.problems, ", SCHEMA_VALIDATION_FAILED: "))
}

// fields is one JSON object of the definition with its place in it.
type fields struct {
	*definitionParser
	where  string
	values map[string]any
}

func (p *definitionParser) fieldsAt(where string, value any) *fields {
	values, ok := value.(map[string]any)
	if !ok {
		p.problem(where, "These fields are required to be an object")
		return nil
	}
	return &fields{p, where, values}
}

func (f *fields) bad(field, format string, args ...any) {
	f.problem(f.where+"/"+field, format, args...)
}

func (f *fields) has(field string) bool {
	_, ok := f.values[field]
	return ok
}

func (f *fields) allow(names ...string) {
	for _, name := range slices.Sorted(maps.Keys(f.values)) {
		if !slices.Contains(names, name) {
			f.bad(name, "Field is not supported")
		}
	}
}

func (f *fields) jsonPathOnly() {
	if language := f.text("QueryLanguage", "JSONPath"); language != "JSONPath" {
		f.bad("QueryLanguage", "The testbed interprets JSONPath only, not %q", language)
	}
}

func (f *fields) text(field, fallback string) string {
	value, ok := f.values[field]
	if !ok {
		return fallback
	}
	s, ok := value.(string)
	if !ok {
		f.bad(field, "Expected value of type String")
	}
	return s
}

func (f *fields) required(field string) string {
	if !f.has(field) {
		f.bad(field, "These fields are required: [%s]", field)
	}
	return f.text(field, "")
}

func (f *fields) integer(field string, fallback, low, high int64) int64 {
	value, ok := f.values[field]
	if !ok {
		return fallback
	}
	n, ok := value.(int64)
	if !ok || n < low || n > high {
		f.bad(field, "Expected value of type Integer between %d and %d", low, high)
	}
	return n
}

func (f *fields) boolean(field string) bool {
	value, ok := f.values[field]
	if !ok {
		return false
	}
	b, ok := value.(bool)
	if !ok {
		f.bad(field, "Expected value of type Boolean")
	}
	return b
}

func (f *fields) list(field string, least int) []any {
	value, ok := f.values[field]
	if !ok && least == 0 {
		return nil
	}
	list, ok := value.([]any)
	if !ok || len(list) < least {
		f.bad(field, "Expected an array of at least %d elements", least)
	}
	return list
}

func (f *fields) object(field string) (any, bool) {
	value, ok := f.values[field]
	if !ok {
		return nil, false
	}
	if err := checkTemplate(value); err != nil {
		f.bad(field, "%v", err)
	}
	return value, true
}

// path reads an optional path that may be null.
func (f *fields) path(field string, reference bool) pathField {
	value, ok := f.values[field]
	if !ok {
		return pathField{}
	}
	if value == nil {
		return pathField{null: true}
	}
	return pathField{path: f.referencePath(field, reference)}
}

func (f *fields) referencePath(field string, reference bool) *path {
	if !f.has(field) {
		return nil
	}
	compile := compilePath
	if reference {
		compile = compileReference
	}
	p, err := compile(f.text(field, ""))
	if err != nil {
		f.bad(field, "%v", err)
		return nil
	}
	return p
}

// exclusive refuses two fields that say the same thing in two ways.
func (f *fields) exclusive(names ...string) int {
	given := 0
	for _, name := range names {
		if f.has(name) {
			given++
		}
	}
	if given > 1 {
		f.problem(f.where, "You can use only one of %s", strings.Join(names, ", "))
	}
	return given
}

func (f *fields) scope() scope {
	s := scope{StartAt: f.required("StartAt"), States: map[string]*state{}}
	states := f.fieldsAt(f.where+"/States", f.values["States"])
	if states == nil {
		return s
	}
	if len(states.values) == 0 {
		f.bad("States", "At least one state is required")
	}
	for _, name := range slices.Sorted(maps.Keys(states.values)) {
		where := states.where + "/" + name
		if n := utf8.RuneCountInString(name); n == 0 || n > 80 {
			f.problem(where, "A state name has 1 to 80 characters")
		}
		if other, taken := f.seen[name]; taken {
			f.problem(where, "DUPLICATE_STATE_NAME: the state is also defined at %s", other)
		}
		f.seen[name] = where
		if fields := f.fieldsAt(where, states.values[name]); fields != nil {
			s.States[name] = fields.state(name)
		}
	}
	if s.States[s.StartAt] == nil {
		f.bad("StartAt", "MISSING_TRANSITION_TARGET: Missing 'Next' target: %s", s.StartAt)
	}
	for _, name := range slices.Sorted(maps.Keys(s.States)) {
		for _, target := range s.States[name].targets() {
			if s.States[target] == nil {
				f.problem(states.where+"/"+name, "MISSING_TRANSITION_TARGET: Missing 'Next' target: %s", target)
			}
		}
	}
	return s
}

func (s *state) targets() []string {
	var targets []string
	if s.Next != "" {
		targets = append(targets, s.Next)
	}
	if s.Default != "" {
		targets = append(targets, s.Default)
	}
	for _, c := range s.Choices {
		targets = append(targets, c.Next)
	}
	for _, c := range s.Catch {
		targets = append(targets, c.Next)
	}
	return targets
}

func (f *fields) state(name string) *state {
	s := &state{Name: name, Type: f.required("Type")}
	allowed, known := fieldsOf[s.Type]
	if !known {
		f.bad("Type", "Unknown state type %q", s.Type)
		return s
	}
	f.allow(allowed...)
	f.jsonPathOnly()
	s.InputPath, s.OutputPath = f.path("InputPath", false), f.path("OutputPath", false)
	s.ResultPath = f.path("ResultPath", true)
	if p := s.ResultPath.path; p != nil && p.context {
		f.bad("ResultPath", "The context object cannot be written")
	}
	s.Parameters, s.hasParameters = f.object("Parameters")
	s.ResultSelector, s.hasResultSelector = f.object("ResultSelector")
	s.Retry, s.Catch = f.retriers(), f.catchers()
	if slices.Contains(allowed, "Next") {
		f.next(s)
	}
	switch s.Type {
	case "Task":
		f.task(s)
	case "Pass":
		s.Result, s.hasResult = f.values["Result"], f.has("Result")
	case "Choice":
		f.choices(s)
	case "Wait":
		f.wait(s)
	case "Fail":
		f.fail(s)
	case "Parallel":
		f.parallel(s)
	case "Map":
		f.mapState(s)
	}
	return s
}

func (f *fields) next(s *state) {
	s.Next = f.text("Next", "")
	if end := f.boolean("End"); end == (s.Next != "") {
		f.problem(f.where, "Either 'Next' or 'End' has to be given")
	}
}

func (f *fields) task(s *state) {
	s.Resource = f.required("Resource")
	if _, err := parseResource(s.Resource); err != nil {
		f.bad("Resource", "%v", err)
	}
	f.exclusive("TimeoutSeconds", "TimeoutSecondsPath")
	f.exclusive("HeartbeatSeconds", "HeartbeatSecondsPath")
	s.TimeoutSeconds = f.integer("TimeoutSeconds", 0, 1, defaultTimeoutSeconds)
	s.TimeoutSecondsPath = f.referencePath("TimeoutSecondsPath", true)
	s.HeartbeatSeconds = f.integer("HeartbeatSeconds", 0, 1, defaultTimeoutSeconds)
	s.HeartbeatPath = f.referencePath("HeartbeatSecondsPath", true)
	if s.HeartbeatSeconds > 0 && s.TimeoutSeconds > 0 && s.HeartbeatSeconds >= s.TimeoutSeconds {
		f.bad("HeartbeatSeconds", "The value has to be smaller than TimeoutSeconds")
	}
}

func (f *fields) wait(s *state) {
	if f.exclusive("Seconds", "SecondsPath", "Timestamp", "TimestampPath") == 0 {
		f.problem(f.where, "One of Seconds, SecondsPath, Timestamp, TimestampPath is required")
	}
	if f.has("Seconds") {
		n := f.integer("Seconds", 0, 0, defaultTimeoutSeconds)
		s.Seconds = &n
	}
	s.SecondsPath, s.TimestampPath = f.referencePath("SecondsPath", true), f.referencePath("TimestampPath", true)
	if s.Timestamp = f.text("Timestamp", ""); s.Timestamp != "" {
		if _, ok := parseTimestamp(s.Timestamp); !ok {
			f.bad("Timestamp", "Value is not a valid ISO-8601 timestamp")
		}
	}
}

func (f *fields) fail(s *state) {
	f.exclusive("Error", "ErrorPath")
	f.exclusive("Cause", "CausePath")
	if f.has("Error") {
		s.FailError = new(f.text("Error", ""))
	}
	if f.has("Cause") {
		s.FailCause = new(f.text("Cause", ""))
	}
	s.ErrorExpression, s.CauseExpression = f.expression("ErrorPath"), f.expression("CausePath")
}

func (f *fields) expression(field string) string {
	source := f.text(field, "")
	if source == "" {
		return ""
	}
	if err := checkExpression(source); err != nil {
		f.bad(field, "%v", err)
	}
	return source
}

func (f *fields) parallel(s *state) {
	for i, branch := range f.list("Branches", 1) {
		if b := f.fieldsAt(fmt.Sprintf("%s/Branches[%d]", f.where, i), branch); b != nil {
			b.allow("StartAt", "States", "Comment")
			s.Branches = append(s.Branches, b.scope())
		}
	}
}

func (f *fields) mapState(s *state) {
	f.exclusive("Parameters", "ItemSelector")
	if selector, given := f.object("ItemSelector"); given {
		s.Parameters, s.hasParameters = selector, true
	}
	s.ItemsPath = f.path("ItemsPath", true)
	f.exclusive("MaxConcurrency", "MaxConcurrencyPath")
	s.MaxConcurrency = f.integer("MaxConcurrency", 0, 0, math.MaxInt32)
	s.MaxConcurrencyPath = f.referencePath("MaxConcurrencyPath", true)
	field := "ItemProcessor"
	if f.has("Iterator") {
		field = "Iterator" // the older name of the same thing
	}
	if f.exclusive("ItemProcessor", "Iterator") == 0 {
		f.problem(f.where, "These fields are required: [ItemProcessor]")
		return
	}
	processor := f.fieldsAt(f.where+"/"+field, f.values[field])
	if processor == nil {
		return
	}
	processor.allow("StartAt", "States", "Comment", "ProcessorConfig")
	if config, ok := processor.values["ProcessorConfig"].(map[string]any); ok && config["Mode"] != nil && config["Mode"] != "INLINE" {
		processor.bad("ProcessorConfig", "The testbed runs INLINE maps only")
	}
	s.ItemProcessor = new(processor.scope())
}

func (f *fields) errorEquals() []string {
	var names []string
	for _, value := range f.list("ErrorEquals", 1) {
		name, ok := value.(string)
		if !ok {
			f.bad("ErrorEquals", "Expected value of type String")
		}
		names = append(names, name)
	}
	if slices.Contains(names, errAll) && len(names) > 1 {
		f.bad("ErrorEquals", "States.ALL has to appear alone")
	}
	return names
}

func (f *fields) retriers() []retrier {
	var retriers []retrier
	list := f.list("Retry", 0)
	for i, value := range list {
		r := f.fieldsAt(fmt.Sprintf("%s/Retry[%d]", f.where, i), value)
		if r == nil {
			continue
		}
		r.allow("ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds", "JitterStrategy", "Comment")
		parsed := retrier{
			ErrorEquals:     r.errorEquals(),
			IntervalSeconds: r.integer("IntervalSeconds", 1, 1, defaultTimeoutSeconds),
			MaxAttempts:     r.integer("MaxAttempts", 3, 0, defaultTimeoutSeconds),
			MaxDelaySeconds: r.integer("MaxDelaySeconds", 0, 1, 31_622_400),
			BackoffRate:     2,
		}
		if rate, given := r.values["BackoffRate"]; given {
			var ok bool
			if parsed.BackoffRate, ok = asFloat(rate); !ok || parsed.BackoffRate < 1 {
				r.bad("BackoffRate", "Expected a number of at least 1.0")
			}
		}
		if parsed.MaxDelaySeconds > 0 && parsed.MaxDelaySeconds <= parsed.IntervalSeconds {
			r.bad("MaxDelaySeconds", "The value has to be greater than IntervalSeconds")
		}
		switch r.text("JitterStrategy", "NONE") {
		case "NONE":
		case "FULL":
			parsed.FullJitter = true
		default:
			r.bad("JitterStrategy", "Expected FULL or NONE")
		}
		if slices.Contains(parsed.ErrorEquals, errAll) && i < len(list)-1 {
			r.bad("ErrorEquals", "States.ALL has to appear in the last retrier")
		}
		retriers = append(retriers, parsed)
	}
	return retriers
}

func (f *fields) catchers() []catcher {
	var catchers []catcher
	list := f.list("Catch", 0)
	for i, value := range list {
		c := f.fieldsAt(fmt.Sprintf("%s/Catch[%d]", f.where, i), value)
		if c == nil {
			continue
		}
		c.allow("ErrorEquals", "Next", "ResultPath", "Comment")
		parsed := catcher{ErrorEquals: c.errorEquals(), Next: c.required("Next"), ResultPath: c.path("ResultPath", true)}
		if slices.Contains(parsed.ErrorEquals, errAll) && i < len(list)-1 {
			c.bad("ErrorEquals", "States.ALL has to appear in the last catcher")
		}
		catchers = append(catchers, parsed)
	}
	return catchers
}

// normalize makes two definitions comparable that differ in white space only.
func normalize(definition string) string {
	var value any
	if json.Unmarshal([]byte(definition), &value) != nil {
		return definition
	}
	return encode(value)
}
