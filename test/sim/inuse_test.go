package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"cognito-backup/internal/restore"
	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/localaws/wire"
	"cognito-backup/test/seed"
)

// inUse is a pool that people use, with a restore point from before it lost a
// group.
type inUse struct {
	*Cloud
	t           *testing.T
	definitions Definitions
	source      *cognito.Seed
	lost        string // the group
}

// use carries out a test on a pool in use.
func use(t *testing.T, test func(*inUse)) {
	t.Helper()
	d := definitions(t)
	synctest.Test(t, func(t *testing.T) {
		cloud := NewCloud(Typical())
		cloud.Validate = true
		source := seed.Pool(seed.Options{PoolID: sourceID, Users: 300, Groups: 6, Seed: 17})
		u := &inUse{Cloud: cloud, t: t, definitions: d, source: source}
		now := seed.Empty(source, targetID)
		now.Users, now.Members = source.Users, map[string][]string{}
		for _, g := range source.Groups {
			if u.lost == "" && len(source.Members[g.GroupName]) > 10 {
				u.lost = g.GroupName
				continue
			}
			now.Groups = append(now.Groups, g)
			now.Members[g.GroupName] = source.Members[g.GroupName]
		}
		if u.lost == "" {
			t.Fatal("no group has enough members")
		}
		for _, s := range []*cognito.Seed{source, now} {
			if _, err := cloud.Cognito.Seed(s); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := cloud.Execute(d, "ExportWorkflow", "export", "{}", deployed); err != nil {
			t.Fatal(err)
		}
		test(u)
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
	})
}

var deployed = Deployment{PoolID: sourceID, TPS: 10, Shards: 1, Slice: slice}

// restore restores what the pool lacks. More is added to the input.
func (u *inUse) restore(name, more string) (*restore.Report, error) {
	u.t.Helper()
	_, err := u.Execute(u.definitions, "ImportWorkflow", name, fmt.Sprintf(`{"NewUserPoolId": %q, "Mode": "MISSING_ONLY"%s}`, targetID, more), deployed)
	if err != nil {
		return nil, err
	}
	report := new(restore.Report)
	return report, json.Unmarshal(u.Bucket.Bytes("reports/"+name+"/report.json"), report)
}

// whole checks that the group that was lost has its members again, and that
// the import says so.
func (u *inUse) whole(r *restore.Report) {
	u.t.Helper()
	if !r.Verified || len(r.Problems) > 0 {
		u.t.Errorf("verified %t, problems %+v", r.Verified, r.Problems)
	}
	if have, want := u.members(), len(u.source.Members[u.lost]); len(have) != want {
		u.t.Fatalf("the group has %d of %d members", len(have), want)
	}
}

func (u *inUse) members() []string {
	u.t.Helper()
	now, err := u.Cognito.Snapshot(targetID)
	if err != nil {
		u.t.Fatal(err)
	}
	return now.Members[u.lost]
}

// TestGroupRecreatedByHalf: an import that had created a group again and added
// only some of its members before it was stopped is gone on with.
func TestGroupRecreatedByHalf(t *testing.T) {
	for _, calls := range []int{0, 3} {
		t.Run(fmt.Sprintf("%d added", calls), func(t *testing.T) {
			use(t, func(u *inUse) {
				adds := 0
				u.Refuse = func(operation string, _ json.RawMessage) error {
					if operation != "AdminAddUserToGroup" {
						return nil
					}
					if adds++; adds > calls {
						return wire.Errorf("InternalErrorException", "The pool cannot be reached.")
					}
					return nil
				}
				if _, err := u.restore("stopped", ""); err == nil {
					t.Fatal("the import was not stopped")
				}
				if n := len(u.members()); n != calls {
					t.Fatalf("the import added %d members before it was stopped", n)
				}
				u.Refuse = nil
				dry, err := u.restore("dry", `, "DryRun": true`)
				if err != nil {
					t.Fatal(err)
				}
				r, err := u.restore("resumed", "")
				if err != nil {
					t.Fatal(err)
				}
				u.whole(r)
				if left := int64(len(u.source.Members[u.lost]) - calls); r.Memberships.Restored != left || dry.Memberships != r.Memberships {
					t.Errorf("memberships %+v, the dry run promised %+v, want %d restored", r.Memberships, dry.Memberships, left)
				}
				if r, err = u.restore("again", ""); err != nil || r.Memberships.Restored > 0 {
					t.Errorf("a third import restored memberships: %+v, %v", r, err)
				}
			})
		})
	}
}

// TestOwedMemberships: what an import could not give to somebody who was there
// all along is tried again by the next one, and by no later one.
func TestOwedMemberships(t *testing.T) {
	use(t, func(u *inUse) {
		u.Refuse = func(operation string, _ json.RawMessage) error {
			if operation == "AdminAddUserToGroup" {
				return wire.Errorf("UserNotFoundException", "User does not exist.")
			}
			return nil
		}
		r, err := u.restore("refused", "")
		if want := len(u.source.Members[u.lost]); err != nil || r.Verified || r.Memberships.Failed != int64(want) {
			t.Fatalf("%+v, %v, want %d failed", r, err, want)
		}
		u.Refuse = nil
		if r, err = u.restore("mended", ""); err != nil {
			t.Fatal(err)
		}
		u.whole(r)
		member := u.members()[0]
		if _, err := u.call("AdminRemoveUserFromGroup", map[string]string{"UserPoolId": targetID, "Username": member, "GroupName": u.lost}); err != nil {
			t.Fatal(err)
		}
		if r, err = u.restore("later", ""); err != nil || r.Memberships.Restored > 0 || slices.Contains(u.members(), member) {
			t.Errorf("a later import gave back what was taken away: %+v, %v", r, err)
		}
	})
}

// call makes a call as the application would.
func (u *inUse) call(operation string, in any) (any, error) {
	input, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	out, err := u.Cognito.Handle(u.t.Context(), &wire.Call{Service: "cognito-idp", Operation: operation, Region: Region, Input: input})
	if refused, ok := errors.AsType[*wire.Error](err); ok {
		return nil, fmt.Errorf("%s: %s", refused.Code, refused.Message)
	}
	return out, err
}

// TestPassingRefusals: what Cognito refuses once, as it does while it has not
// yet seen a group or user everywhere, is done in the next round.
func TestPassingRefusals(t *testing.T) {
	for operation, code := range map[string]string{
		"AdminAddUserToGroup": "UserNotFoundException", "AdminDisableUser": "UserNotFoundException",
		"AdminLinkProviderForUser": "UserNotFoundException", "AdminCreateUser": "UnexpectedLambdaException",
	} {
		t.Run(operation, func(t *testing.T) {
			use(t, func(u *inUse) {
				empty := seed.Empty(u.source, targetID+"2")
				if _, err := u.Cognito.Seed(empty); err != nil {
					t.Fatal(err)
				}
				refused := 0
				u.Refuse = func(o string, _ json.RawMessage) error {
					if o == operation && refused < 2 {
						refused++
						return wire.Errorf(code, "Refused.")
					}
					return nil
				}
				if _, err := u.Execute(u.definitions, "ImportWorkflow", "import", fmt.Sprintf(`{"NewUserPoolId": %q}`, empty.Pool.Id), deployed); err != nil {
					t.Fatal(err)
				}
				var report restore.Report
				if err := json.Unmarshal(u.Bucket.Bytes("reports/import/report.json"), &report); err != nil {
					t.Fatal(err)
				}
				after, err := u.Cognito.Snapshot(empty.Pool.Id)
				if err != nil {
					t.Fatal(err)
				}
				if result := seed.Compare(u.source, after); refused != 2 || !report.Verified || !result.Verified() {
					t.Errorf("%d calls refused; verified %t, problems %+v; %+v", refused, report.Verified, report.Problems, result)
				}
			})
		})
	}
}

// TestGroupDeletedMeanwhile: a group that is deleted while the import runs is
// created once more, with its members, and stops nothing.
func TestGroupDeletedMeanwhile(t *testing.T) {
	for _, when := range []string{"AdminAddUserToGroup", "ListUsersInGroup"} {
		t.Run("before "+when, func(t *testing.T) {
			use(t, func(u *inUse) {
				deleted := false
				u.Refuse = func(operation string, input json.RawMessage) error {
					var in struct{ GroupName string }
					if deleted || operation != when || json.Unmarshal(input, &in) != nil || in.GroupName != u.lost {
						return nil
					}
					deleted = true
					_, err := u.call("DeleteGroup", map[string]string{"UserPoolId": targetID, "GroupName": u.lost})
					return err
				}
				r, err := u.restore("import", "")
				if err != nil || !deleted {
					t.Fatal(deleted, err)
				}
				u.whole(r)
			})
		})
	}
}
