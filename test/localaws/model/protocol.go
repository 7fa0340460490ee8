package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"cognito-backup/test/localaws/wire"
)

// ParseRequest reads the operation and its input from a request, whose body has
// been read already: X-Amz-Target and JSON, the query protocol's form, or
// rest-json's method, path, query and body. The input has the model's member
// names; it is not validated. The error is a *wire.Error to be written with
// WriteError (operation may be empty then).
func (m *Model) ParseRequest(r *http.Request, body []byte) (operation string, input json.RawMessage, err error) {
	switch m.Protocol {
	case "query":
		return m.parseQuery(r, body)
	case "rest-json":
		return m.parseREST(r, body)
	}
	return m.parseJSON(r, body)
}

func (m *Model) parseJSON(r *http.Request, body []byte) (string, json.RawMessage, error) {
	prefix, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if prefix != m.TargetPrefix || m.Operations[operation] == nil {
		return operation, nil, m.unknownOperation(operation)
	}
	if _, err := decode(body); err != nil {
		return operation, nil, err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	return operation, body, nil
}

// route is a rest-json operation's method and path; {Name} is a uri member. The
// models at hand hold the members' locations but not the operations' paths,
// which are in the EventBridge Scheduler API reference.
type route struct {
	method, prefix, member, operation string
}

var routes = map[string][]route{
	"scheduler": {
		{http.MethodPost, "/schedules/", "Name", "CreateSchedule"},
		{http.MethodGet, "/schedules/", "Name", "GetSchedule"},
		{http.MethodPut, "/schedules/", "Name", "UpdateSchedule"},
		{http.MethodDelete, "/schedules/", "Name", "DeleteSchedule"},
		{http.MethodGet, "/schedules", "", "ListSchedules"},
	},
}

func (m *Model) parseREST(r *http.Request, body []byte) (string, json.RawMessage, error) {
	path := r.URL.EscapedPath()
	for _, route := range routes[m.SigningName] {
		if route.method != r.Method {
			continue
		}
		rest, ok := strings.CutPrefix(path, route.prefix)
		if !ok || (route.member == "") != (rest == "") || strings.Contains(rest, "/") {
			continue
		}
		value, err := url.PathUnescape(rest)
		if err != nil {
			return route.operation, nil, serialization("The path is not valid")
		}
		input, err := decode(body)
		if err != nil {
			return route.operation, nil, err
		}
		if route.member != "" {
			input[route.member] = value
		}
		if err := m.bindQuery(m.input(route.operation), r.URL.Query(), input); err != nil {
			return route.operation, nil, err
		}
		encoded, err := json.Marshal(input)
		return route.operation, encoded, err
	}
	return "", nil, m.unknownOperation(r.Method + " " + r.URL.Path)
}

func (m *Model) bindQuery(s *Shape, query url.Values, input map[string]any) error {
	for _, name := range s.order {
		member := s.Members[name]
		if member.Location != "querystring" || !query.Has(member.LocationName) {
			continue
		}
		value, err := m.fromText(m.Shapes[member.Shape], query.Get(member.LocationName))
		if err != nil {
			return serialization(fmt.Sprintf("%s: %v", member.LocationName, err))
		}
		input[name] = value
	}
	return nil
}

// WriteResponse writes the output of an operation in the service's protocol.
func (m *Model) WriteResponse(w http.ResponseWriter, operation string, output json.RawMessage, requestID string) {
	header := w.Header()
	header.Set("X-Amzn-Requestid", requestID)
	if m.Protocol == "query" {
		header.Set("Content-Type", "text/xml")
		m.writeXML(w, operation, output, requestID)
		return
	}
	header.Set("Content-Type", m.contentType())
	if m.output(operation) == nil {
		header.Set("Content-Length", "0")
		return
	}
	output = dropNulls(output)
	header.Set("Content-Length", strconv.Itoa(len(output)))
	w.Write(output) // a client that hung up is no concern of the server's
}

func (m *Model) contentType() string {
	switch {
	case m.Protocol == "rest-json":
		return "application/json"
	case m.SigningName == "cognito-idp":
		return "application/x-amz-json-1.1"
	}
	return "application/x-amz-json-1.0"
}

// dropNulls leaves out members that are null, as AWS does.
func dropNulls(output json.RawMessage) json.RawMessage {
	trimmed := bytes.TrimSpace(output)
	if len(trimmed) == 0 || bytes.Equal(trimmed, []byte("null")) {
		return json.RawMessage("{}")
	}
	if !bytes.Contains(trimmed, []byte("null")) {
		return trimmed
	}
	value, err := decode(trimmed)
	if err != nil {
		return trimmed // ValidateResponse has reported it
	}
	prune(value)
	pruned, err := json.Marshal(value)
	if err != nil {
		return trimmed
	}
	return pruned
}

func prune(value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, member := range v {
			if member == nil {
				delete(v, key)
				continue
			}
			prune(member)
		}
	case []any:
		for _, element := range v {
			prune(element)
		}
	}
}

// WriteError writes an error in the service's protocol: code and status as the
// model maps them, unless the error sets a status of its own. Operation may be
// empty.
func (m *Model) WriteError(w http.ResponseWriter, operation string, e *wire.Error, requestID string) {
	shape := m.Shapes[e.Code]
	code, status := e.Code, e.Status
	if shape != nil && shape.Error.Code != "" && m.Protocol == "query" {
		code = shape.Error.Code
	}
	// 400 is what an error says that was made without a thought of its status.
	if status == 0 || status == http.StatusBadRequest {
		switch {
		case shape != nil && shape.Error.HTTPStatusCode != 0:
			status = shape.Error.HTTPStatusCode
		case strings.HasPrefix(e.Code, "Internal"):
			status = http.StatusInternalServerError
		default:
			status = http.StatusBadRequest
		}
	}
	sender := status < http.StatusInternalServerError

	header := w.Header()
	header.Set("X-Amzn-Requestid", requestID)
	if m.Protocol == "query" {
		header.Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		writeXMLError(w, code, e.Message, sender, requestID)
		return
	}
	header.Set("Content-Type", m.contentType())
	document := map[string]string{}
	message := "message"
	if shape != nil && shape.Members["Message"] != nil || shape == nil && m.Protocol == "rest-json" {
		message = "Message"
	}
	if e.Message != "" {
		document[message] = e.Message
	}
	if m.Protocol == "rest-json" || m.SigningName == "cognito-idp" {
		header.Set("X-Amzn-Errortype", code+":")
	}
	if m.Protocol == "json" {
		document["__type"] = errorNamespace[m.SigningName] + code
	}
	if m.SigningName == "sqs" {
		header.Set("X-Amzn-Query-Error", queryError(code, sender))
	}
	body, err := json.Marshal(document)
	if err != nil { // strings always marshal
		panic(err)
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body) // a client that hung up is no concern of the server's
}

// errorNamespace is what stands before the code in __type.
var errorNamespace = map[string]string{"sqs": "com.amazonaws.sqs#"}

// queryCodes are the error codes of SQS's old query protocol where they differ
// from the names of the shapes. SDKs hand them to their users still, by way of
// the X-Amzn-Query-Error header: whoever wrote code against the old protocol
// finds its codes.
var queryCodes = map[string]string{
	"AccessDeniedException":        "AccessDenied",
	"BatchEntryIdsNotDistinct":     "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
	"BatchRequestTooLong":          "AWS.SimpleQueueService.BatchRequestTooLong",
	"EmptyBatchRequest":            "AWS.SimpleQueueService.EmptyBatchRequest",
	"InvalidBatchEntryId":          "AWS.SimpleQueueService.InvalidBatchEntryId",
	"KmsAccessDenied":              "KMS.AccessDeniedException",
	"KmsDisabled":                  "KMS.DisabledException",
	"KmsInvalidKeyUsage":           "KMS.InvalidKeyUsageException",
	"KmsInvalidState":              "KMS.InvalidStateException",
	"KmsNotFound":                  "KMS.NotFoundException",
	"KmsOptInRequired":             "KMS.OptInRequired",
	"KmsThrottled":                 "KMS.ThrottlingException",
	"MessageNotInflight":           "AWS.SimpleQueueService.MessageNotInflight",
	"PurgeQueueInProgress":         "AWS.SimpleQueueService.PurgeQueueInProgress",
	"QueueDeletedRecently":         "AWS.SimpleQueueService.QueueDeletedRecently",
	"QueueDoesNotExist":            "AWS.SimpleQueueService.NonExistentQueue",
	"QueueNameExists":              "QueueAlreadyExists",
	"TooManyEntriesInBatchRequest": "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
	"UnsupportedOperation":         "AWS.SimpleQueueService.UnsupportedOperation",
}

func queryError(code string, sender bool) string {
	if old, ok := queryCodes[code]; ok {
		code = old
	}
	if sender {
		return code + ";Sender"
	}
	return code + ";Receiver"
}
