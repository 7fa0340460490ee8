// Package model holds AWS's own API models of the services that the testbed
// plays, and holds requests and responses against them, so that the testbed
// does not merely agree with what its authors believe. It also speaks the
// services' wire protocols: whatever the protocol, a service sees and answers
// JSON with the model's member names.
package model

import (
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
)

//go:embed data/*.json
var data embed.FS

// files maps signing names to models.
var files = map[string]string{
	"cognito-idp": "cognito-idp",
	"scheduler":   "scheduler",
	"sns":         "sns",
	"sqs":         "sqs",
	"states":      "stepfunctions",
}

// Model is the API of one service. It is read-only and safe for concurrent use.
type Model struct {
	// SigningName is the service's name in a credential scope and in IAM
	// actions: cognito-idp, scheduler, sns, sqs, states.
	SigningName string

	Protocol     string                `json:"protocol"`     // json, query or rest-json
	TargetPrefix string                `json:"targetPrefix"` // of X-Amz-Target
	Operations   map[string]*Operation `json:"operations"`
	Shapes       map[string]*Shape     `json:"shapes"`
}

// Operation names the shapes of one API operation. Output is empty when the
// operation answers nothing.
type Operation struct {
	Input  string   `json:"input"`
	Output string   `json:"output"`
	Errors []string `json:"errors"`
}

// Shape is one type of a model.
type Shape struct {
	Type      string             `json:"type"`
	Required  []string           `json:"required"`
	Members   map[string]*Member `json:"members"`
	Member    string             `json:"member"` // of a list
	Key       string             `json:"key"`    // of a map
	Value     string             `json:"value"`  // of a map
	Min       *float64           `json:"min"`
	Max       *float64           `json:"max"`
	Pattern   string             `json:"pattern"`
	Enum      []string           `json:"enum"`
	Sensitive bool               `json:"sensitive"`
	Exception bool               `json:"exception"`
	Error     struct {
		Code           string `json:"code"`
		HTTPStatusCode int    `json:"httpStatusCode"`
		SenderFault    bool   `json:"senderFault"`
	} `json:"error"`

	name  string
	order []string // members in alphabetical order, so that messages are stable
	match func(string) bool
}

// Member is one member of a structure.
type Member struct {
	Shape            string `json:"shape"`
	Location         string `json:"location"` // uri or querystring; the body when empty
	LocationName     string `json:"locationName"`
	Flattened        bool   `json:"flattened"`
	IdempotencyToken bool   `json:"idempotencyToken"`
}

var load = sync.OnceValue(func() map[string]*Model {
	models := make(map[string]*Model, len(files))
	for name, file := range files {
		m, err := read(name, file)
		if err != nil {
			panic(fmt.Sprintf("model %s: %v", name, err)) // embedded data: a fault of this package
		}
		models[name] = m
	}
	return models
})

// For returns the model of a service by its signing name, or nil when the
// testbed has none (DynamoDB and S3 bring their own servers).
func For(signingName string) *Model { return load()[signingName] }

// Names lists the signing names that have a model.
func Names() []string {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ByTarget returns the model an X-Amz-Target header belongs to, or nil.
func ByTarget(target string) *Model {
	prefix, _, _ := strings.Cut(target, ".")
	for _, m := range load() {
		if m.TargetPrefix != "" && m.TargetPrefix == prefix {
			return m
		}
	}
	return nil
}

func read(name, file string) (*Model, error) {
	b, err := data.ReadFile("data/" + file + ".json")
	if err != nil {
		return nil, err
	}
	m := &Model{SigningName: name}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, err
	}
	for shapeName, s := range m.Shapes {
		s.name = shapeName
		for member := range s.Members {
			s.order = append(s.order, member)
		}
		sort.Strings(s.order)
		if s.Pattern != "" {
			if s.match, err = compile(s.Pattern); err != nil {
				return nil, fmt.Errorf("shape %s: %w", shapeName, err)
			}
		}
	}
	return m, nil
}

// input returns the input shape of an operation; nil when it takes none.
func (m *Model) input(operation string) *Shape {
	if op := m.Operations[operation]; op != nil {
		return m.Shapes[op.Input]
	}
	return nil
}

// output returns the output shape of an operation; nil when it answers nothing.
func (m *Model) output(operation string) *Shape {
	if op := m.Operations[operation]; op != nil {
		return m.Shapes[op.Output]
	}
	return nil
}
