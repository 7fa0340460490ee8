package restore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"

	"cognito-backup/internal/pool"
)

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
			w := &importer{ImportUsers: &ImportUsers{API: api, Sleep: func(context.Context, time.Duration) error { return nil }},
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
