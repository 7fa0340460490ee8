// Package eventbridge is the default event bus of EventBridge for the local
// testbed: rules with event patterns, and targets that are Lambda functions.
// Events come from the testbed's other services through Deliver; there is no
// API, and PutEvents, schedules on rules and other buses do not exist here.
package eventbridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ohler55/ojg/jp"

	"cognito-backup/test/localaws/wire"
)

// Rule has the properties of AWS::Events::Rule.
type Rule struct {
	Name         string
	EventPattern json.RawMessage // an object, or a string that holds one
	State        string          // ENABLED unless given
	Targets      []Target
	EventBusName string `json:",omitempty"`

	pattern *Pattern
	arn     string
}

// Target is one of a rule's targets.
type Target struct {
	ID               string `json:"Id"`
	Arn              string
	Input            string            // a constant instead of the event
	InputPath        string            // a part of the event
	InputTransformer *InputTransformer // a text made of parts of the event
}

// InputTransformer makes a target's input: <name> in the template stands for
// what the path of that name finds in the event.
type InputTransformer struct {
	InputPathsMap map[string]string
	InputTemplate string
}

// Service is EventBridge in one Region.
type Service struct {
	// Invoke hands an event to a function asynchronously: it returns when Lambda
	// has accepted it. Set before the first event.
	Invoke func(ctx context.Context, functionARN string, payload []byte) error
	// Permit asks whether the function's policy lets the rule invoke it; nil
	// allows everything. Set before the first event.
	Permit func(functionARN, ruleARN string) error
	// Clock makes retries faster; nil is real time.
	Clock *wire.Clock

	region string
	life   context.Context
	end    context.CancelFunc
	work   sync.WaitGroup

	mu         sync.Mutex
	rules      map[string]*Rule
	deliveries []Delivery
}

// Delivery is one event that matched a rule, for one of its targets.
type Delivery struct {
	Rule     string
	Target   string // ARN
	Payload  []byte
	Attempts int
	Err      error // why it was given up, nil when it was accepted
}

// New makes a bus without rules.
func New(region string) *Service {
	s := &Service{region: region, rules: map[string]*Rule{}}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// Close gives up what has not been delivered and waits for the rest.
func (s *Service) Close() {
	s.end()
	s.work.Wait()
}

// Wait returns when every event so far has been delivered or given up.
func (s *Service) Wait() { s.work.Wait() }

// Deliveries lists what has been delivered or given up.
func (s *Service) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.deliveries)
}

// PutRule makes or replaces a rule and returns its ARN.
func (s *Service) PutRule(rule Rule) (arn string, err error) {
	if rule.Name == "" {
		return "", wire.Errorf("ValidationException", "the rule has no name")
	}
	if rule.EventBusName != "" && rule.EventBusName != "default" {
		return "", wire.Errorf("ResourceNotFoundException", "Event bus %s does not exist.", rule.EventBusName)
	}
	if rule.State == "" {
		rule.State = "ENABLED"
	}
	pattern := rule.EventPattern
	var text string
	if json.Unmarshal(pattern, &text) == nil {
		pattern = json.RawMessage(text)
	}
	if rule.pattern, err = ParsePattern(pattern); err != nil {
		return "", wire.Errorf("InvalidEventPatternException", "Event pattern is not valid. Reason: %v", err)
	}
	for _, target := range rule.Targets {
		if err := target.check(); err != nil {
			return "", wire.Errorf("ValidationException", "target %s of rule %s: %v", target.ID, rule.Name, err)
		}
	}
	rule.arn = fmt.Sprintf("arn:aws:events:%s:%s:rule/%s", s.region, wire.Account, rule.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules[rule.Name] = &rule
	return rule.arn, nil
}

// RemoveRule deletes a rule.
func (s *Service) RemoveRule(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rules, name)
}

func (t Target) check() error {
	if parts := strings.Split(t.Arn, ":"); len(parts) < 7 || parts[2] != "lambda" {
		return fmt.Errorf("the testbed delivers to Lambda functions only, not %q", t.Arn)
	}
	given := 0
	if t.Input != "" {
		given++
		if !json.Valid([]byte(t.Input)) {
			return fmt.Errorf("the Input is not valid JSON")
		}
	}
	if t.InputPath != "" {
		given++
		if _, err := jp.ParseString(t.InputPath); err != nil {
			return fmt.Errorf("the InputPath: %w", err)
		}
	}
	if t.InputTransformer != nil {
		given++
		for name, path := range t.InputTransformer.InputPathsMap {
			if _, err := jp.ParseString(path); err != nil || strings.HasPrefix(name, "AWS") {
				return fmt.Errorf("the input path %s: %q: %v", name, path, err)
			}
		}
	}
	if given > 1 {
		return fmt.Errorf("only one of Input, InputPath and InputTransformer can be given")
	}
	return nil
}

// Deliver gives an event to every rule that it matches and returns at once.
func (s *Service) Deliver(event json.RawMessage) {
	value, err := decode(event)
	if err != nil || s.life.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rule := range s.rules {
		if rule.State == "DISABLED" || !rule.pattern.Match(value) {
			continue
		}
		for _, target := range rule.Targets {
			s.work.Go(func() { s.send(rule, target, event, value) })
		}
	}
}

// EventBridge tries for a day and 185 times, with growing delays.
const (
	maxAttempts = 186
	maxAge      = 24 * time.Hour
	maxDelay    = 5 * time.Minute
)

func (s *Service) send(rule *Rule, target Target, event json.RawMessage, value any) {
	d := Delivery{Rule: rule.Name, Target: target.Arn, Payload: target.payload(rule, event, value)}
	waited, delay := time.Duration(0), time.Second
	for {
		d.Attempts++
		d.Err = s.attempt(rule, target, d.Payload)
		if d.Err == nil || final(d.Err) || d.Attempts == maxAttempts || waited+delay > maxAge {
			break
		}
		timer := time.NewTimer(s.Clock.Scale(delay))
		select {
		case <-timer.C:
		case <-s.life.Done():
			timer.Stop()
			return
		}
		waited, delay = waited+delay, min(2*delay, maxDelay)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliveries = append(s.deliveries, d)
}

func (s *Service) attempt(rule *Rule, target Target, payload []byte) error {
	if s.Permit != nil {
		if err := s.Permit(target.Arn, rule.arn); err != nil {
			return &wire.Error{Code: "AccessDeniedException", Status: 403, Message: err.Error()}
		}
	}
	if s.Invoke == nil {
		return &wire.Error{Code: "ResourceNotFoundException", Status: 404, Message: "no functions in this testbed"}
	}
	return s.Invoke(s.life, target.Arn, payload)
}

// final tells errors that EventBridge does not try again: a missing permission,
// a function that is not there.
func final(err error) bool {
	api, ok := errors.AsType[*wire.Error](err)
	return ok && api.Status < 500 && api.Status != 429
}

// payload is what the target receives.
func (t Target) payload(rule *Rule, event json.RawMessage, value any) []byte {
	switch {
	case t.Input != "":
		return []byte(t.Input)
	case t.InputPath != "":
		return encode(find(t.InputPath, value))
	case t.InputTransformer != nil:
		return t.InputTransformer.apply(rule, event, value)
	}
	return event
}

// find is what a path, checked in PutRule, leads to; null if nothing.
func find(path string, value any) any {
	return jp.MustParseString(path).First(value)
}

func encode(value any) []byte {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // comes from a decoded event
	return []byte(strings.TrimSuffix(text.String(), "\n"))
}

// apply fills the template. A string stands bare inside quotes and quoted
// outside of them, as in a JSON template; the whole text is quoted if the
// template is no JSON.
func (it *InputTransformer) apply(rule *Rule, event json.RawMessage, value any) []byte {
	names := map[string]any{
		"aws.events.rule-arn": rule.arn, "aws.events.rule-name": rule.Name,
		"aws.events.event": value, "aws.events.event.json": string(event),
		"aws.events.event.ingestion-time": find("$.time", value),
	}
	for name, path := range it.InputPathsMap {
		names[name] = find(path, value)
	}
	var text strings.Builder
	quoted := false
	for rest := it.InputTemplate; rest != ""; {
		switch {
		case rest[0] == '\\' && len(rest) > 1:
			text.WriteString(rest[:2])
			rest = rest[2:]
			continue
		case rest[0] == '"':
			quoted = !quoted
		case rest[0] == '<':
			if name, after, closed := strings.Cut(rest[1:], ">"); closed {
				if v, known := names[name]; known {
					writeValue(&text, v, quoted)
					rest = after
					continue
				}
			}
		}
		text.WriteByte(rest[0])
		rest = rest[1:]
	}
	if made := text.String(); json.Valid([]byte(made)) {
		return []byte(made)
	}
	return encode(text.String())
}

func writeValue(text *strings.Builder, value any, quoted bool) {
	encoded := string(encode(value))
	if _, isString := value.(string); isString && quoted {
		encoded = encoded[1 : len(encoded)-1]
	} else if quoted {
		inner := string(encode(encoded))
		encoded = inner[1 : len(inner)-1]
	}
	text.WriteString(encoded)
}
