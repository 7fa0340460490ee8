package restore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/smithy-go"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

// create makes one user by AdminCreateUser. Nobody gets mail. A name that is
// taken is looked into: it may be a call of ours whose answer was lost.
func (w *importer) create(ctx context.Context, e *Entry, result userResult) (userResult, error) {
	way := w.rules.Recreate(&e.User)
	in := &idp.AdminCreateUserInput{
		UserPoolId: &w.plan.Target.ID, Username: &way.Username,
		UserAttributes: attributeTypes(way.Attributes),
		MessageAction:  types.MessageActionTypeSuppress,
	}
	out, err := w.API.AdminCreateUser(ctx, in)
	switch reason, code := refusal(err); {
	case err == nil && out.User == nil: // nothing was said of it; the name is as good
		result.Outcome, result.Username = Restored, way.Username
		return result, nil
	case err == nil:
		created := pool.FromUserType(*out.User)
		result.Outcome, result.Username, result.Sub = Restored, created.Username, created.Sub
		return result, nil
	case reason == ReasonNameTaken:
		return w.whoIsThere(ctx, e, result)
	case reason == ReasonUserMissing: // a refusal in odd words: there is no user yet who could be missing
		result.Outcome, result.Reason, result.Detail = Failed, ReasonRefused, code
		return result, nil
	case reason != "":
		result.Outcome, result.Reason, result.Detail = Failed, reason, code
		return result, nil
	}
	return result, fmt.Errorf("create the user of %s: %w", e.User.Sub, withoutValue(err))
}

func attributeTypes(attributes map[string]string) []types.AttributeType {
	out := make([]types.AttributeType, 0, len(attributes))
	for name, value := range attributes {
		out = append(out, types.AttributeType{Name: aws.String(name), Value: aws.String(value)})
	}
	slices.SortFunc(out, func(a, b types.AttributeType) int { return strings.Compare(*a.Name, *b.Name) })
	return out
}

// refusal is the reason of an error that trying again will not mend, and its
// code; "" for every other error. A code that nobody foresaw fails the record
// that the call was for: it is no reason to restore nothing else.
func refusal(err error) (reason, code string) {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return "", ""
	}
	code = api.ErrorCode()
	if reason := refusals[code]; reason != "" {
		return reason, code
	}
	if permanent(err) && ofTheCall(err, api) {
		return ReasonRefused, code
	}
	return "", code
}

// ofTheCall says that Cognito refused what the call asked for, not whoever made
// it, and that the pool is there: anything else would meet the next record, too.
func ofTheCall(err error, api smithy.APIError) bool {
	if pool.OfTheCaller(err) || pool.NamesNoError(err) || api.ErrorCode() == "ResourceNotFoundException" {
		return false
	}
	var answer interface{ HTTPStatusCode() int }
	if !errors.As(err, &answer) {
		return api.ErrorFault() == smithy.FaultClient
	}
	switch status := answer.HTTPStatusCode(); status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	default:
		return status/100 == 4
	}
}

var refusals = map[string]string{
	"UsernameExistsException":                  ReasonNameTaken,
	"AliasExistsException":                     ReasonNameTaken,
	"InvalidParameterException":                ReasonInvalid,
	"InvalidPasswordException":                 ReasonInvalid,
	"UserLambdaValidationException":            ReasonTrigger,
	"UnexpectedLambdaException":                ReasonTriggerFailed,
	"InvalidLambdaResponseException":           ReasonTriggerFailed,
	"PreconditionNotMetException":              ReasonRefused,
	"UnsupportedUserStateException":            ReasonRefused,
	"NotAuthorizedException":                   ReasonRefused,
	"InvalidSmsRoleAccessPolicyException":      ReasonRefused,
	"InvalidSmsRoleTrustRelationshipException": ReasonRefused,
	"CodeDeliveryFailureException":             ReasonRefused,
	"LimitExceededException":                   ReasonLimit,
	"PasswordHistoryPolicyViolationException":  ReasonRefused,
	"UserNotFoundException":                    ReasonUserMissing,
}

// whoIsThere decides about a user whose name or address is taken. Cognito knows
// at once who has a name; ListUsers shows a new user only after a while, and is
// asked as well because an address that is no alias can be looked for there only.
func (w *importer) whoIsThere(ctx context.Context, e *Entry, result userResult) (userResult, error) {
	for _, find := range []func(context.Context, *Entry) ([]pool.User, error){w.namesakes, w.holders} {
		found, err := find(ctx, e)
		if err != nil {
			return result, err
		}
		if len(found) > 0 {
			return w.judge(e, result, found), nil
		}
	}
	// Taken, and nobody has it: gone meanwhile, or not shown yet. Verification
	// leaves the user to the next round, which tries again.
	result.Outcome, result.Reason, result.Detail = Conflict, ReasonNameTaken, ""
	return result, nil
}

// namesakes finds those who hold e's name or one of its addresses as an alias,
// by asking for each name.
func (w *importer) namesakes(ctx context.Context, e *Entry) ([]pool.User, error) {
	var found []pool.User
	for _, name := range w.rules.unique(&e.User) {
		out, err := w.API.AdminGetUser(ctx, &idp.AdminGetUserInput{UserPoolId: &w.plan.Target.ID, Username: &name})
		if err != nil {
			if permanent(err) { // nobody has it, or it cannot be asked for
				continue
			}
			return nil, fmt.Errorf("look for the holder of a name: %w", withoutValue(err))
		}
		u := pool.FromUserType(types.UserType{
			Username: out.Username, Attributes: out.UserAttributes, Enabled: out.Enabled, UserStatus: out.UserStatus, UserCreateDate: out.UserCreateDate,
		})
		if w.rules.inTheWay(&e.User, &u) && !slices.ContainsFunc(found, func(f pool.User) bool { return f.Sub == u.Sub }) {
			found = append(found, u)
		}
	}
	return found, nil
}

// permanent says that Cognito answered with an error that trying again will not
// mend.
func permanent(err error) bool {
	var api smithy.APIError
	transient := new(step.TransientError)
	return errors.As(err, &api) && !errors.As(step.Classify(err), &transient)
}

// judge tells our own user and the same person from a stranger.
func (w *importer) judge(e *Entry, result userResult, holders []pool.User) userResult {
	for i := range holders {
		h := &holders[i]
		if w.rules.Ours(&e.User, h, w.since()) {
			result.Outcome, result.Username, result.Sub = Restored, h.Username, h.Sub
			if h.Status == pool.ResetRequired { // by the import job after all
				result.Path, result.Reason = PathCSV, ""
			}
			return result
		}
	}
	for i := range holders {
		h := &holders[i]
		if w.rules.SamePerson(&e.User, e.NewSub, h) != NoProof {
			result.Outcome, result.Path, result.Reason = Existing, "", ""
			result.Username, result.Sub = h.Username, h.Sub
			return result
		}
	}
	result.Outcome, result.Path, result.Reason, result.Detail = Conflict, "", ReasonNameTaken, holders[0].Sub
	if !w.rules.holdsName(&e.User, &holders[0]) {
		result.Reason = ReasonAddressTaken
	}
	return result
}

// since is from when on users may be of this import or an unfinished one
// before it.
func (w *importer) since() time.Time { return w.plan.Since().Add(-clockSkew) }

// holdsName says that the target's user has a name by which the other would be
// created.
func (r *Rules) holdsName(source, target *pool.User) bool {
	held := r.names(target, target.Username)
	return slices.ContainsFunc(r.names(source, r.signInName(source)), func(name string) bool { return slices.Contains(held, name) })
}

// holders finds the users of the target who hold e's username or one of its
// addresses.
func (w *importer) holders(ctx context.Context, e *Entry) ([]pool.User, error) {
	filters := map[string]string{}
	if !w.rules.Target.generatedUsernames() {
		filters["username"] = e.User.Username
	}
	for _, name := range w.rules.Target.signInAttributes() {
		if value := e.User.Attributes[name]; value != "" {
			filters[name] = value
		}
	}
	if value := e.User.Attributes["preferred_username"]; value != "" && slices.Contains(w.rules.Target.AliasAttributes, "preferred_username") {
		filters["preferred_username"] = value
	}
	var found []pool.User
	for name, value := range filters {
		if len([]rune(filter(name, value))) > maxFilter {
			continue // verification, which lists everybody, will say who it is
		}
		in := &idp.ListUsersInput{UserPoolId: &w.plan.Target.ID, Limit: aws.Int32(pool.PageSize), Filter: aws.String(filter(name, value))}
		for {
			out, err := w.API.ListUsers(ctx, in)
			if reason, _ := refusal(err); reason != "" {
				break // nobody is found by a value that cannot be asked for
			}
			if err != nil {
				return nil, fmt.Errorf("look for the holder of a name: %w", withoutValue(err))
			}
			for _, u := range out.Users {
				found = append(found, pool.FromUserType(u))
			}
			if in.PaginationToken = out.PaginationToken; aws.ToString(in.PaginationToken) == "" {
				break
			}
		}
	}
	slices.SortFunc(found, func(a, b pool.User) int { return strings.Compare(a.Sub, b.Sub) })
	found = slices.CompactFunc(found, func(a, b pool.User) bool { return a.Sub == b.Sub })
	// Those who only share an address that they have not verified hold nothing.
	return slices.DeleteFunc(found, func(u pool.User) bool { return !w.rules.inTheWay(&e.User, &u) }), nil
}

// maxFilter is how long a filter of ListUsers may be (API reference, UserFilterType).
const maxFilter = 256

// withoutValue keeps of Cognito's answers only the code: the message may repeat
// the value that was looked for.
func withoutValue(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err
	}
	return &codeError{code: api.ErrorCode(), error: err}
}

// codeError is an error of which only the code is shown. What it wraps still
// decides whether it is tried again.
type codeError struct {
	code string
	error
}

func (e *codeError) Error() string { return e.code }
func (e *codeError) Unwrap() error { return e.error }

// unique are the names and addresses of u that only one user of the target can
// have.
func (r *Rules) unique(u *pool.User) []string {
	var all []string
	add := func(value string) {
		if value != "" && !slices.Contains(all, value) {
			all = append(all, value)
		}
	}
	if !r.Target.generatedUsernames() {
		add(u.Username)
	}
	for _, name := range r.Target.UsernameAttributes {
		add(u.Attributes[name])
	}
	for _, name := range r.Target.AliasAttributes {
		if name == "preferred_username" || verified(u, name) {
			add(u.Attributes[name])
		}
	}
	return all
}

// inTheWay says that the target's user keeps the other from being created.
func (r *Rules) inTheWay(source, target *pool.User) bool {
	if r.holdsName(source, target) {
		return true
	}
	for _, name := range r.Target.AliasAttributes {
		value := source.Attributes[name]
		if value == "" || r.Target.fold(value) != r.Target.fold(target.Attributes[name]) {
			continue
		}
		if name == "preferred_username" || verified(source, name) && verified(target, name) {
			return true
		}
	}
	return false
}

// filter is a ListUsers filter for one value.
func filter(attribute, value string) string {
	return attribute + ` = "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}

// setPassword gives a user a random password that nobody knows. The code is
// that of a refusal; the user is then left in FORCE_CHANGE_PASSWORD.
func (w *importer) setPassword(ctx context.Context, username string) (string, error) {
	password, err := randomPassword(w.Random)
	if err != nil {
		return "", err
	}
	_, err = w.API.AdminSetUserPassword(ctx, &idp.AdminSetUserPasswordInput{
		UserPoolId: &w.plan.Target.ID, Username: &username, Password: &password, Permanent: true,
	})
	if reason, code := refusal(err); reason != "" {
		return code, nil
	}
	if err != nil {
		return "", fmt.Errorf("set a random password: %w", err)
	}
	return "", nil
}
