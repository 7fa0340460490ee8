// Package modeltest serves a testbed service over HTTP without the gateway's
// signatures, permissions and faults, so that a service's own tests can talk to
// it with the real SDK clients. Requests, responses and errors are checked
// against the API model; a violation by the service fails the test.
package modeltest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"cognito-backup/test/localaws/model"
	"cognito-backup/test/localaws/wire"
)

// Serve starts a server for one service, as the administrator would see it, and
// returns its endpoint. It ends with the test.
func Serve(t testing.TB, signingName, region string, service wire.Service) string {
	t.Helper()
	m := model.For(signingName)
	if m == nil {
		t.Fatalf("no model for %q; there are %v", signingName, model.Names())
	}
	var requests atomic.Int64
	var endpoint string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requestID := fmt.Sprintf("00000000-0000-4000-8000-%012d", requests.Add(1))
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read request: %v", err)
			return
		}
		operation, output, err := call(t, m, service, endpoint, region, r, body)
		if err != nil {
			var apiError *wire.Error
			if !errors.As(err, &apiError) {
				t.Errorf("%s: %v", operation, err)
				apiError = &wire.Error{Code: "InternalFailure", Message: err.Error(), Status: http.StatusInternalServerError}
			}
			m.WriteError(w, operation, apiError, requestID)
			return
		}
		m.WriteResponse(w, operation, output, requestID)
	}))
	endpoint = server.URL
	t.Cleanup(server.Close)
	return endpoint
}

func call(t testing.TB, m *model.Model, service wire.Service, endpoint, region string, r *http.Request, body []byte) (string, json.RawMessage, error) {
	operation, input, err := m.ParseRequest(r, body)
	if err != nil {
		return operation, nil, err
	}
	if err := m.ValidateRequest(operation, input); err != nil {
		return operation, nil, err
	}
	if unknown := m.UnknownMembers(operation, input); len(unknown) > 0 {
		t.Errorf("%s: members that the model does not have: %v", operation, unknown)
	}
	c := &wire.Call{Service: m.SigningName, Operation: operation, Region: region, Input: input, Endpoint: endpoint}
	if len(service.Permissions(c)) == 0 {
		t.Errorf("%s: needs no permission", operation)
	}
	answer, err := service.Handle(r.Context(), c)
	if err != nil {
		var apiError *wire.Error
		if errors.As(err, &apiError) {
			if err := m.ValidateError(operation, apiError); err != nil {
				t.Error(err)
			}
		}
		return operation, nil, err
	}
	output, err := json.Marshal(answer)
	if err != nil {
		return operation, nil, err
	}
	if err := m.ValidateResponse(operation, output); err != nil {
		t.Error(err)
	}
	return operation, output, nil
}
