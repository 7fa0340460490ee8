package restore

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
	"cognito-backup/internal/step/steptest"
)

// TestTally: the report that only counts says the same of an import that was
// stopped as the one that goes record by record, and that it only counts.
func TestTally(t *testing.T) {
	const execution = "arn:aws:states:us-west-2:123456789012:execution:CognitoBackup-ImportWorkflow:restore-1"
	person := func(n int, status string, groups ...string) Entry {
		u := user(status, "user-"+string(rune('a'+n)), "email=a@b.c", "email_verified=true")
		u.Sub = "00000000-0000-4000-8000-00000000000" + string(rune('0'+n))
		return Entry{User: u, Groups: groups}
	}
	chunks := []chunk{
		{Entries: []Entry{person(0, pool.Confirmed, "a", "b"), person(1, pool.Confirmed, "a"), person(2, pool.ExternalProvider, "a"), person(3, pool.Unconfirmed, "b")}},
		{Entries: []Entry{person(4, pool.Confirmed, "a"), person(5, pool.Confirmed)}},
		{Entries: []Entry{person(6, pool.Confirmed, "a", "b"), person(7, pool.ExternalProvider, "b")}},
	}
	newSub := "99999999-0000-4000-8000-000000000000"
	write := func(t *testing.T, bucket *steptest.Bucket) *step.Objects {
		r := run{&step.Slice{Event: step.Event{Execution: execution}, Objects: &step.Objects{API: bucket, Bucket: "bucket"}}}
		frozen := Frozen{Chunks: len(chunks), Groups: 1}
		for i := range chunks {
			for j := range chunks[i].Entries {
				e := &chunks[i].Entries[j]
				frozen.Read.Users++
				frozen.Read.Memberships += int64(len(e.Groups))
				frozen.Stats.Users++
				frozen.Stats.Memberships += int64(len(e.Groups))
			}
		}
		for key, v := range map[string]any{
			r.planKey():         Plan{Input: Input{Mode: EmptyPool}, Target: testRules().Target, Header: testRules().Header, Key: []byte("key")},
			r.frozenKey():       frozen,
			r.groupsKey(0):      []pool.Group{{Name: "a"}, {Name: "b"}, {Name: "c"}},
			r.groupResultsKey(): map[string]groupResult{"a": {Outcome: Restored}, "b": {Outcome: Restored}},
			r.roundKey(1):       round{Chunks: len(chunks)},
			r.importResultKey(chunkName(1, 1)): importResult{Users: []userResult{
				{Outcome: Restored, Path: PathCSV, Username: "user-a"}, {Outcome: Conflict, Reason: ReasonNameTaken, Detail: newSub},
				{Outcome: Deferred, Path: PathDeferred, Reason: ReasonFederated}, {Outcome: Failed, Path: PathAPI, Reason: ReasonInvalid, Detail: "InvalidParameterException"}}},
			r.updateResultKey(chunkName(1, 1)): updateResult{Done: 1, Failures: []updateFailure{{Sub: chunks[0].Entries[0].User.Sub, Kind: kindMembership, Name: "b", Reason: ReasonLimit}}},
			r.importResultKey(chunkName(1, 2)): importResult{Users: []userResult{
				{Outcome: Restored, Path: PathAPI, Username: "user-e", Sub: newSub, Reason: ReasonNotCSV}, {Outcome: Restored, Path: PathCSV, Username: "user-f"}}},
		} {
			if err := r.put(t.Context(), key, v); err != nil {
				t.Fatal(err)
			}
		}
		for i := range chunks {
			if err := r.put(t.Context(), r.chunkKey(chunkName(1, i+1)), chunks[i]); err != nil {
				t.Fatal(err)
			}
		}
		return r.Objects
	}
	report := func(most int64) (*Report, bool) {
		bucket := new(steptest.Bucket)
		written, err := reportUnfinished(t.Context(), write(t, bucket), execution, "ABORTED", time.Now(), most)
		if err != nil || !written {
			t.Fatal(written, err)
		}
		r := new(Report)
		if err := json.Unmarshal(bucket.Bytes("reports/restore-1/report.json"), r); err != nil {
			t.Fatal(err)
		}
		return r, bucket.Bytes("reports/restore-1/mapping.csv") != nil
	}
	each, mapped := report(1000)
	counted, mappedToo := report(5)
	if !mapped || mappedToo || slices.Contains(each.Warnings, onlyCounts) || !slices.Contains(counted.Warnings, onlyCounts) {
		t.Errorf("mappings %t and %t, warnings %q and %q", mapped, mappedToo, each.Warnings, counted.Warnings)
	}
	if each.Users != counted.Users || each.Groups != counted.Groups || each.Memberships != counted.Memberships {
		t.Errorf("record by record users %+v, groups %+v, memberships %+v\ncounted users %+v, groups %+v, memberships %+v",
			each.Users, each.Groups, each.Memberships, counted.Users, counted.Groups, counted.Memberships)
	}
	if want := (Counts{Total: 8, Restored: 3, Deferred: 2, Conflict: 1, Failed: 2}); counted.Users != want {
		t.Errorf("users %+v", counted.Users)
	}
	if counted.State != "ABORTED" || counted.Verified || len(counted.Problems) != len(each.Problems) {
		t.Errorf("%s, problems %+v\nand %+v", counted.State, counted.Problems, each.Problems)
	}
}
