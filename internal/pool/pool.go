// Package pool is a user pool as seen through Cognito's API: its users and
// groups in the project's own terms, paging that cannot end early, and the
// quota categories that its calls must stay within.
//
// What Cognito never hands out, and so no backup holds: passwords and their
// hashes, TOTP secrets, passkeys, remembered devices.
package pool

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/smithy-go"

	"cognito-backup/internal/step"
)

// PageSize is the documented maximum of ListUsers, ListUsersInGroup and
// ListGroups; without it Cognito returns smaller pages.
const PageSize = 60

// Statuses of a user, as in the API's UserStatus.
const (
	Confirmed           = string(types.UserStatusTypeConfirmed)
	Unconfirmed         = string(types.UserStatusTypeUnconfirmed)
	ResetRequired       = string(types.UserStatusTypeResetRequired)
	ForceChangePassword = string(types.UserStatusTypeForceChangePassword)
	ExternalProvider    = string(types.UserStatusTypeExternalProvider)
)

// User is one user of a pool.
type User struct {
	Sub        string
	Username   string
	Attributes map[string]string // all, sub included
	Enabled    bool
	Status     string
	Created    time.Time
}

// FromUserType reads a user as ListUsers and ListUsersInGroup return it.
func FromUserType(u types.UserType) User {
	user := User{
		Username: aws.ToString(u.Username), Enabled: u.Enabled, Status: string(u.UserStatus),
		Created: aws.ToTime(u.UserCreateDate).UTC(), Attributes: make(map[string]string, len(u.Attributes)),
	}
	for _, a := range u.Attributes {
		user.Attributes[aws.ToString(a.Name)] = aws.ToString(a.Value)
	}
	user.Sub = user.Attributes["sub"]
	return user
}

// Group is one group of a pool. Precedence is nil when the group has none; 0
// is a precedence, the highest.
type Group struct {
	Name        string
	Description string
	RoleARN     string
	Precedence  *int32
	Created     time.Time `json:"-"` // zero when unknown; no part of a backup
}

// FromGroupType reads a group as ListGroups returns it.
func FromGroupType(g types.GroupType) Group {
	return Group{
		Name: aws.ToString(g.GroupName), Description: aws.ToString(g.Description),
		RoleARN: aws.ToString(g.RoleArn), Precedence: g.Precedence, Created: aws.ToTime(g.CreationDate),
	}
}

// Region is the Region of a pool id, its part before the underscore.
func Region(poolID string) string {
	region, _, _ := strings.Cut(poolID, "_")
	return region
}

// IsTokenExpired says that a listing must start again because Cognito no
// longer takes its token. Cognito has no error of its own for that, so an
// invalid parameter counts when the call carried a token.
func IsTokenExpired(err error, token *string) bool {
	invalid := new(types.InvalidParameterException)
	return token != nil && errors.As(err, &invalid)
}

// ofTheCaller are codes about the caller's credentials and permissions, its
// clock, or the way to Cognito (Common Errors, API reference).
var ofTheCaller = map[string]bool{
	"AccessDenied": true, "AccessDeniedException": true, "AuthFailure": true, "ExpiredToken": true, "ExpiredTokenException": true,
	"ForbiddenException": true, "IncompleteSignature": true, "IncompleteSignatureException": true, "InvalidAccessKeyId": true,
	"InvalidClientTokenId": true, "InvalidSignatureException": true, "MissingAuthenticationToken": true, "MissingAuthenticationTokenException": true,
	"OptInRequired": true, "RequestExpired": true, "RequestTimeTooSkewed": true, "SignatureDoesNotMatch": true, "UnauthorizedOperation": true,
	"UnrecognizedClientException": true,
}

// OfTheCaller says that a call was refused for who made it and not for what it
// asked: the next call will be, too.
func OfTheCaller(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && ofTheCaller[api.ErrorCode()]
}

// NamesNoError says that the answer is an error without a name. Cognito's have
// one each, so that something else answered.
func NamesNoError(err error) bool {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode() == "UnknownError" // the SDK's code for it
	}
	return errors.As(err, new(*smithy.DeserializationError))
}

// Refused says that an endpoint refuses a call and will refuse it again: it
// does not know the operation, in whatever form it says so, or the pool's
// settings or plan exclude it. What passes, such as throttling and errors of
// Cognito's own, is to be tried again; missing permissions are the deployment's
// defect and must be seen.
func Refused(err error) bool {
	status := 0
	if answer := interface{ HTTPStatusCode() int }(nil); errors.As(err, &answer) {
		status = answer.HTTPStatusCode()
	}
	var api smithy.APIError
	nameless := NamesNoError(err)
	switch {
	case !errors.As(err, &api) && !nameless: // not an answer
		return false
	case status == http.StatusNotImplemented:
		return true
	case status == http.StatusInternalServerError && nameless:
		return true // and a gateway in an outage says 502 to 504
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return false
	case api == nil:
		return status >= 300 // a success that cannot be read was cut off on its way
	case nameless:
		return true
	}
	transient := new(step.TransientError)
	return !OfTheCaller(err) && api.ErrorFault() != smithy.FaultServer && !errors.As(step.Classify(err), &transient)
}
