package model

import (
	"encoding/json"
	"errors"
	"net/http"

	"cognito-backup/test/localaws/wire"
)

// ParseRequest reads the operation and its input from a request, whose body has
// been read already: X-Amz-Target and JSON, the query protocol's form, or
// rest-json's method, path, query and body. The input has the model's member
// names; it is not validated. The error is a *wire.Error to be written with
// WriteError (operation may be empty then).
func (m *Model) ParseRequest(r *http.Request, body []byte) (operation string, input json.RawMessage, err error) {
	return "", nil, errors.New("TODO")
}

// WriteResponse writes the output of an operation in the service's protocol.
func (m *Model) WriteResponse(w http.ResponseWriter, operation string, output json.RawMessage, requestID string) {
}

// WriteError writes an error in the service's protocol: code and status as the
// model maps them, unless the error sets a status of its own. Operation may be
// empty.
func (m *Model) WriteError(w http.ResponseWriter, operation string, e *wire.Error, requestID string) {
}
