package restore

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/smithy-go"

	"cognito-backup/internal/pool"
)

// nameHolders is a target in which names are taken. A listing shows nobody who
// is not listed.
type nameHolders struct {
	UserCreator
	byName map[string]pool.User
	listed []pool.User
	getErr error
}

func attributesOf(u *pool.User) []types.AttributeType {
	attributes := []types.AttributeType{{Name: aws.String("sub"), Value: &u.Sub}}
	for name, value := range u.Attributes {
		attributes = append(attributes, types.AttributeType{Name: &name, Value: &value})
	}
	return attributes
}

func (n *nameHolders) AdminGetUser(_ context.Context, in *idp.AdminGetUserInput, _ ...func(*idp.Options)) (*idp.AdminGetUserOutput, error) {
	u, known := n.byName[*in.Username]
	if n.getErr != nil || !known {
		return nil, cmp.Or[error](n.getErr, &types.UserNotFoundException{})
	}
	return &idp.AdminGetUserOutput{Username: &u.Username, UserAttributes: attributesOf(&u), UserStatus: types.UserStatusType(u.Status), UserCreateDate: &u.Created, Enabled: u.Enabled}, nil
}

func (n *nameHolders) ListUsers(context.Context, *idp.ListUsersInput, ...func(*idp.Options)) (*idp.ListUsersOutput, error) {
	out := new(idp.ListUsersOutput)
	for _, u := range n.listed {
		out.Users = append(out.Users, types.UserType{Username: &u.Username, Attributes: attributesOf(&u), UserStatus: types.UserStatusType(u.Status), UserCreateDate: &u.Created})
	}
	return out, nil
}

// TestTakenNames: who holds a name is known at once, though no listing shows it
// yet; it is our own user, the same person or somebody else. Only somebody who
// is known makes a conflict for good.
func TestTakenNames(t *testing.T) {
	began := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	at := func(u pool.User, created time.Time) pool.User {
		u.Created = created
		return u
	}
	ours := at(other(pool.ForceChangePassword, "al", "email=a@b.c", "email_verified=true"), began)
	byCSV := at(other(pool.ResetRequired, "al", "email=a@b.c", "email_verified=true"), began)
	squatter := at(other(pool.Confirmed, "al", "email=m@b.c"), began)
	alias := at(other(pool.Confirmed, "bo", "email=a@b.c", "email_verified=true"), began.AddDate(-1, 0, 0))
	unverified := at(other(pool.Unconfirmed, "ca", "email=a@b.c", "email_verified=false"), began)
	denied := &smithy.GenericAPIError{Code: "AccessDeniedException"}
	for name, test := range map[string]struct {
		api     nameHolders
		outcome Outcome
		path    Path
		detail  string
		again   bool // the next round tries again
	}{
		"by our own call, whose answer was lost": {nameHolders{byName: map[string]pool.User{"al": ours}}, Restored, PathAPI, "", false},
		"by our own import job":                  {nameHolders{byName: map[string]pool.User{"al": byCSV}}, Restored, PathCSV, "", false},
		"by somebody else":                       {nameHolders{byName: map[string]pool.User{"al": squatter}}, Conflict, "", squatter.Sub, false},
		"by the same person":                     {nameHolders{byName: map[string]pool.User{"a@b.c": alias}}, Existing, "", "", false},
		"by nobody whom anything shows":          {nameHolders{}, Conflict, PathAPI, "", true},
		"by nobody, an address alike":            {nameHolders{listed: []pool.User{unverified}}, Conflict, PathAPI, "", true},
		"who may not be asked":                   {nameHolders{getErr: denied, listed: []pool.User{squatter}}, Conflict, "", squatter.Sub, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := &importer{ImportUsers: &ImportUsers{API: &test.api}, plan: Plan{Target: testRules(emailAlias, selfSignUp).Target, Started: began}}
			w.rules = w.plan.rules()
			e := Entry{User: user(pool.Confirmed, "al", "email=a@b.c", "email_verified=true")}
			have, err := w.whoIsThere(t.Context(), &e, userResult{Path: PathAPI})
			if err != nil || have.Outcome != test.outcome || have.Path != test.path || have.Detail != test.detail {
				t.Fatalf("%+v, %v", have, err)
			}
			c := testCensus(w.rules, e)
			j := judged{chunk: chunk{Entries: []Entry{e}}, imported: importResult{Users: []userResult{have}}, done: true}
			c.learn(&j, 0)
			c.sort()
			v := &verifier{comparison: &comparison{census: c, at: &position{}}}
			if _, again := v.left(0, &e); again != (test.again || test.outcome != Conflict) { // nothing of it is listed yet
				t.Errorf("another round: %t", again)
			}
			if verdict := v.user(0, &e); test.outcome == Conflict && (verdict.Outcome != Conflict || verdict.Reason != ReasonNameTaken || verdict.Detail != test.detail) {
				t.Errorf("%+v", verdict)
			}
		})
	}
}

// silentCreator creates users and says nothing of them.
type silentCreator struct{ UserCreator }

func (silentCreator) AdminCreateUser(context.Context, *idp.AdminCreateUserInput, ...func(*idp.Options)) (*idp.AdminCreateUserOutput, error) {
	return &idp.AdminCreateUserOutput{}, nil
}

// TestAnswerWithoutUser: the API reference lets AdminCreateUser answer without
// a user, who is known by the name then.
func TestAnswerWithoutUser(t *testing.T) {
	w := &importer{ImportUsers: &ImportUsers{API: silentCreator{}}, plan: Plan{Target: testRules(byEmail).Target}}
	w.rules = w.plan.rules()
	e := Entry{User: user(pool.Confirmed, testSub, "email=a@b.c", "email_verified=true")}
	if r, err := w.create(t.Context(), &e, userResult{Path: PathAPI}); err != nil || r.Outcome != Restored || r.Username != "a@b.c" || r.Sub != "" {
		t.Errorf("%+v, %v", r, err)
	}
}

// askedFor answers every search with an error that repeats the filter.
type askedFor struct {
	UserCreator
	filters []string
	err     func(message string) error
}

func (a *askedFor) ListUsers(_ context.Context, in *idp.ListUsersInput, _ ...func(*idp.Options)) (*idp.ListUsersOutput, error) {
	a.filters = append(a.filters, *in.Filter)
	return nil, a.err("bad filter " + *in.Filter)
}

func (a *askedFor) AdminGetUser(context.Context, *idp.AdminGetUserInput, ...func(*idp.Options)) (*idp.AdminGetUserOutput, error) {
	return nil, &types.UserNotFoundException{}
}

// TestUnaskableNames: a name that cannot be searched for fails its user alone,
// and no error text repeats it.
func TestUnaskableNames(t *testing.T) {
	refuse := func(message string) error { return &types.InvalidParameterException{Message: &message} }
	broken := func(message string) error { return &types.InternalErrorException{Message: &message} }
	for name, test := range map[string]struct {
		username string
		err      func(string) error
		asked    bool
		fails    bool
	}{
		"refused":  {"al", refuse, true, false},
		"too long": {strings.Repeat("a", 250), broken, false, false},
		"broken":   {"al", broken, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			api := &askedFor{err: test.err}
			w := &importer{ImportUsers: &ImportUsers{API: api},
				plan: Plan{Target: Settings{ID: "us-west-2_T"}}}
			w.rules = w.plan.rules()
			e := Entry{User: user(pool.Confirmed, test.username)}
			result, err := w.whoIsThere(t.Context(), &e, userResult{})
			if (len(api.filters) > 0) != test.asked || (err != nil) != test.fails {
				t.Fatalf("asked for %q: %v", api.filters, err)
			}
			if test.fails {
				if api := new(types.InternalErrorException); !errors.As(err, &api) || strings.Contains(err.Error(), "filter") {
					t.Errorf("the error is %v", err)
				}
			} else if result.Outcome != Conflict {
				t.Errorf("%+v", result)
			}
		})
	}
}
