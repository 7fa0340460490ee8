package model

import (
	"encoding/json"
	"errors"

	"cognito-backup/test/localaws/wire"
)

// ValidateRequest checks the input of an operation as AWS would before the
// service sees it: required members, types, lengths, ranges, patterns and
// enums. The error is a *wire.Error with AWS's code and wording, all violations
// in one message; values of sensitive members are not echoed.
func (m *Model) ValidateRequest(operation string, input json.RawMessage) error {
	return nil
}

// UnknownMembers lists, as paths, what the input holds beyond the model. AWS
// ignores such members without a word, so a request that has any is valid; the
// gateway reports them, because somebody meant something by them.
func (m *Model) UnknownMembers(operation string, input json.RawMessage) []string {
	return nil
}

// ValidateResponse checks the output of an operation. An error is a fault of
// the testbed: AWS would never answer that.
func (m *Model) ValidateResponse(operation string, output json.RawMessage) error {
	return nil
}

// ValidateError checks that the operation can answer this error: that it is in
// the operation's list, or one that every AWS service can answer. An error is a
// fault of the testbed.
func (m *Model) ValidateError(operation string, e *wire.Error) error {
	return errors.New("TODO")
}
