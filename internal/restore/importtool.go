package restore

import (
	"errors"

	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/smithy-go"
)

// noAnswer is the SDK's code of an answer that is not Cognito's.
const noAnswer = "UnknownError"

// noImportTool says that the CSV import tool refuses, and will refuse again: a
// missing permission, a limit, a setting of the pool, or an endpoint that does
// not know the tool. The users go by API then. What passes, such as throttling
// and errors of Cognito's own, is left to be tried again, because creating
// many users by API costs more.
func noImportTool(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode() {
	case noAnswer:
		return true
	case "LimitExceededException": // a pool has had its thousand jobs; the SDK would call it throttling
		return true
	}
	return permanent(err)
}

// fewAttempts is for calls of the import tool: if it does not answer after
// some seconds, the state machine tries again, or the users go by API.
func fewAttempts(o *idp.Options) { o.RetryMaxAttempts = 8 }
