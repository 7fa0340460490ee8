package model

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

// The query protocol sends a form whose keys are paths: Tags.member.1.Key,
// Attributes.entry.1.value, or Names.1 when a list is flattened. It answers XML.

// parameters is the form as a tree of its keys' parts.
type parameters struct {
	value    string
	children map[string]*parameters
}

func (p *parameters) child(name string) *parameters {
	if p.children == nil {
		p.children = map[string]*parameters{}
	}
	if p.children[name] == nil {
		p.children[name] = &parameters{}
	}
	return p.children[name]
}

// numbered returns the children 1, 2, 3 … in the order of their numbers.
func (p *parameters) numbered() ([]*parameters, error) {
	numbers := make([]int, 0, len(p.children))
	for key := range p.children {
		n, err := strconv.Atoi(key)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no index", key)
		}
		numbers = append(numbers, n)
	}
	sort.Ints(numbers)
	list := make([]*parameters, 0, len(numbers))
	for _, n := range numbers {
		list = append(list, p.children[strconv.Itoa(n)])
	}
	return list, nil
}

func (m *Model) parseQuery(r *http.Request, body []byte) (string, json.RawMessage, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", nil, serialization("The form is not valid")
	}
	if len(form) == 0 {
		form = r.URL.Query()
	}
	operation := form.Get("Action")
	if m.Operations[operation] == nil {
		return operation, nil, m.unknownOperation(operation)
	}
	tree := &parameters{}
	for key, values := range form {
		if key == "Action" || key == "Version" || strings.HasPrefix(key, "X-Amz-") {
			continue
		}
		node := tree
		for part := range strings.SplitSeq(key, ".") {
			node = node.child(part)
		}
		node.value = values[0]
	}
	input, err := m.fromForm(m.input(operation), tree, false)
	if err != nil {
		return operation, nil, serialization(err.Error())
	}
	encoded, err := json.Marshal(input)
	return operation, encoded, err
}

func (m *Model) fromForm(s *Shape, p *parameters, flattened bool) (any, error) {
	switch s.Type {
	case "structure":
		members := map[string]any{}
		for name, child := range p.children {
			member := s.Members[name]
			if member == nil {
				members[name] = child.value // for UnknownMembers to report
				continue
			}
			value, err := m.fromForm(m.Shapes[member.Shape], child, member.Flattened)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			members[name] = value
		}
		return members, nil
	case "list":
		if !flattened {
			p = p.child("member")
		}
		elements, err := p.numbered()
		if err != nil {
			return nil, err
		}
		list := make([]any, 0, len(elements))
		for _, element := range elements {
			value, err := m.fromForm(m.Shapes[s.Member], element, false)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case "map":
		if !flattened {
			p = p.child("entry")
		}
		entries, err := p.numbered()
		if err != nil {
			return nil, err
		}
		mapping := map[string]any{}
		for _, entry := range entries {
			key, value := "key", "value"
			if entry.children["Name"] != nil { // SNS's message attributes
				key, value = "Name", "Value"
			}
			member, err := m.fromForm(m.Shapes[s.Value], entry.child(value), false)
			if err != nil {
				return nil, err
			}
			mapping[entry.child(key).value] = member
		}
		return mapping, nil
	}
	return m.fromText(s, p.value)
}

// fromText reads a scalar as it stands in a form or a URL.
func (m *Model) fromText(s *Shape, text string) (any, error) {
	switch s.Type {
	case "boolean":
		return strconv.ParseBool(text)
	case "integer", "long":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no whole number", text)
		}
		return n, nil
	case "timestamp":
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, fmt.Errorf("%q is no time", text)
		}
		return float64(t.UnixMilli()) / 1000, nil
	}
	return text, nil
}

// namespaces are the XML namespaces of services that speak the query protocol.
var namespaces = map[string]string{"sns": "http://sns.amazonaws.com/doc/2010-03-31/"}

func (m *Model) writeXML(w io.Writer, operation string, output json.RawMessage, requestID string) {
	var b strings.Builder
	fmt.Fprintf(&b, `<%sResponse xmlns="%s">`, operation, namespaces[m.SigningName])
	if s := m.output(operation); s != nil {
		value, err := decode(output)
		if err != nil {
			value = nil // ValidateResponse has reported it
		}
		m.element(&b, operation+"Result", s, value, false)
	}
	b.WriteString("<ResponseMetadata>")
	text(&b, "RequestId", requestID)
	fmt.Fprintf(&b, "</ResponseMetadata></%sResponse>", operation)
	io.WriteString(w, b.String()) // a client that hung up is no concern of the server's
}

func (m *Model) element(b *strings.Builder, name string, s *Shape, value any, flattened bool) {
	switch v := value.(type) {
	case []any:
		if !flattened {
			b.WriteString("<" + name + ">")
		}
		for _, element := range v {
			inner := "member"
			if flattened {
				inner = name
			}
			m.element(b, inner, m.Shapes[s.Member], element, false)
		}
		if !flattened {
			b.WriteString("</" + name + ">")
		}
		return
	case map[string]any:
		if s.Type == "map" {
			m.entries(b, name, s, v, flattened)
			return
		}
		b.WriteString("<" + name + ">")
		for _, key := range s.order {
			if v[key] != nil {
				m.element(b, key, m.Shapes[s.Members[key].Shape], v[key], s.Members[key].Flattened)
			}
		}
		b.WriteString("</" + name + ">")
		return
	case json.Number:
		if seconds, err := v.Float64(); err == nil && s.Type == "timestamp" {
			text(b, name, time.UnixMilli(int64(math.Round(seconds*1000))).UTC().Format("2006-01-02T15:04:05.000Z"))
			return
		}
	}
	text(b, name, fmt.Sprint(value))
}

func (m *Model) entries(b *strings.Builder, name string, s *Shape, entries map[string]any, flattened bool) {
	entry := name
	if !flattened {
		entry = "entry"
		b.WriteString("<" + name + ">")
	}
	for _, key := range sortedKeys(entries) {
		b.WriteString("<" + entry + ">")
		text(b, "key", key)
		m.element(b, "value", m.Shapes[s.Value], entries[key], false)
		b.WriteString("</" + entry + ">")
	}
	if !flattened {
		b.WriteString("</" + name + ">")
	}
}

func writeXMLError(w io.Writer, code, message string, sender bool, requestID string) {
	kind := "Receiver"
	if sender {
		kind = "Sender"
	}
	var b strings.Builder
	b.WriteString(`<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error>`)
	text(&b, "Type", kind)
	text(&b, "Code", code)
	text(&b, "Message", message)
	b.WriteString("</Error>")
	text(&b, "RequestId", requestID)
	b.WriteString("</ErrorResponse>")
	io.WriteString(w, b.String()) // a client that hung up is no concern of the server's
}

func text(b *strings.Builder, name, value string) {
	b.WriteString("<" + name + ">")
	if err := xml.EscapeText(b, []byte(value)); err != nil { // a Builder never fails
		panic(err)
	}
	b.WriteString("</" + name + ">")
}
