package dynamodb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/test/localaws/faults"
	"cognito-backup/test/localaws/wire"
)

const (
	here  = "eu-west-1"
	there = "us-east-1"
)

// newTables makes a global table Tab in two Regions.
func newTables(t *testing.T) (r *Replicator, local, remote *Service) {
	t.Helper()
	r = NewReplicator(1)
	local, remote = New(".", here, r), New(".", there, r)
	t.Cleanup(func() { r.Close(); local.Close(); remote.Close() })
	for s, other := range map[*Service]string{local: there, remote: here} {
		spec := TableSpec{Name: "Tab", Replicas: []string{other},
			Attributes: json.RawMessage(`[{"AttributeName":"id","AttributeType":"S"},{"AttributeName":"type","AttributeType":"S"}]`),
			Keys:       json.RawMessage(`[{"AttributeName":"id","KeyType":"HASH"},{"AttributeName":"type","KeyType":"RANGE"}]`)}
		if err := s.CreateTable(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	return r, local, remote
}

func call(ctx context.Context, s *Service, operation, input string) (map[string]json.RawMessage, error) {
	out, err := s.Handle(ctx, &wire.Call{Service: "dynamodb", Operation: operation, Region: s.region, Input: json.RawMessage(input)})
	m, _ := out.(map[string]json.RawMessage)
	return m, err
}

func must(t *testing.T, s *Service, operation, input string) map[string]json.RawMessage {
	t.Helper()
	out, err := call(t.Context(), s, operation, input)
	if err != nil {
		t.Fatalf("%s %s: %v", operation, input, err)
	}
	return out
}

// contents reads a table: value of v by id.
func contents(t *testing.T, s *Service) map[string]string {
	t.Helper()
	var page struct {
		Items []map[string]struct{ S, N string }
	}
	if err := json.Unmarshal(encode(must(t, s, "Scan", `{"TableName":"Tab"}`)), &page); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, i := range page.Items {
		out[i["id"].S] = i["v"].S + i["v"].N
	}
	return out
}

func putInput(id, v string) string {
	return fmt.Sprintf(`{"TableName":"Tab","Item":{"id":{"S":%q},"type":{"S":"X"},"v":{"S":%q}}}`, id, v)
}

func key(id string) string { return fmt.Sprintf(`{"id":{"S":%q},"type":{"S":"X"}}`, id) }

func TestReplication(t *testing.T) {
	r, local, remote := newTables(t)
	ctx := t.Context()
	same := func(t *testing.T) {
		t.Helper()
		if err := r.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		if a, b := contents(t, local), contents(t, remote); !maps.Equal(a, b) {
			t.Errorf("replicas differ: %v and %v", a, b)
		}
	}
	t.Run("every kind of write", func(t *testing.T) {
		must(t, local, "PutItem", putInput("USER-1", "a"))
		must(t, local, "PutItem", putInput("USER-2", "b"))
		must(t, local, "PutItem", putInput("USER-3", "c"))
		must(t, local, "DeleteItem", `{"TableName":"Tab","Key":`+key("USER-2")+`}`)
		out := must(t, local, "UpdateItem", `{"TableName":"Tab","Key":`+key("USER-1")+`,"UpdateExpression":"SET v = :v","ExpressionAttributeValues":{":v":{"S":"z"}}}`)
		if len(out) != 0 {
			t.Errorf("UpdateItem answers what nobody asked for: %s", encode(out))
		}
		out = must(t, local, "UpdateItem", `{"TableName":"Tab","Key":`+key("USER-3")+`,"UpdateExpression":"SET v = :v","ReturnValues":"UPDATED_OLD","ExpressionAttributeValues":{":v":{"S":"y"}}}`)
		if string(out["Attributes"]) != `{"v":{"S":"c"}}` {
			t.Errorf("UPDATED_OLD: %s", encode(out))
		}
		must(t, local, "BatchWriteItem", `{"RequestItems":{"Tab":[{"PutRequest":{"Item":{"id":{"S":"GROUP-1"},"type":{"S":"X"},"v":{"N":"7"}}}},{"DeleteRequest":{"Key":`+key("USER-9")+`}}]}}`)
		must(t, remote, "PutItem", putInput("LEASE-there", "l"))
		same(t)
		want := map[string]string{"USER-1": "z", "USER-3": "y", "GROUP-1": "7", "LEASE-there": "l"}
		if got := contents(t, remote); !maps.Equal(got, want) {
			t.Errorf("remote holds %v, want %v", got, want)
		}
	})
	t.Run("stopped and resumed", func(t *testing.T) {
		r.Stop()
		must(t, local, "PutItem", putInput("USER-4", "d"))
		time.Sleep(20 * time.Millisecond)
		if _, there := contents(t, remote)["USER-4"]; there || r.Pending() != 1 {
			t.Errorf("copied while stopped; %d pending", r.Pending())
		}
		if r.Late() != 1 {
			t.Errorf("%d changes held up", r.Late())
		}
		if err := r.Drain(ctx); err == nil {
			t.Error("Drain of a stopped replication succeeds")
		}
		r.Resume()
		same(t)
	})
	t.Run("lag", func(t *testing.T) {
		r.SetLag(time.Hour, time.Hour)
		must(t, local, "PutItem", putInput("USER-5", "e"))
		time.Sleep(20 * time.Millisecond)
		if _, there := contents(t, remote)["USER-5"]; there {
			t.Error("copied before its time")
		}
		r.SetLag(0, 0)
		same(t)
	})
	t.Run("out of order", func(t *testing.T) {
		r.SetReorder(true)
		r.SetLag(0, 5*time.Millisecond)
		for i := range 20 {
			must(t, local, "PutItem", putInput("USER-6", fmt.Sprint(i)))
			must(t, local, "PutItem", putInput(fmt.Sprintf("USER-7-%d", i), "x"))
		}
		r.SetReorder(false)
		r.SetLag(0, 0)
		same(t)
		if got := contents(t, remote)["USER-6"]; got != "19" {
			t.Errorf("the last writer did not win: %s", got)
		}
	})
	t.Run("a Region cut off", func(t *testing.T) {
		r.Cut(there, true)
		must(t, local, "PutItem", putInput("USER-8", "first"))
		must(t, remote, "PutItem", putInput("USER-8", "later"))
		if err := r.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, local)["USER-8"]; got != "first" {
			t.Errorf("copied from a Region cut off: %s", got)
		}
		r.Cut(there, false)
		same(t)
		if got := contents(t, local)["USER-8"]; got != "later" {
			t.Errorf("after the reunion: %s", got)
		}
	})
	t.Run("a refused write is not copied", func(t *testing.T) {
		input := strings.Replace(putInput("USER-1", "never"), "{", `{"ConditionExpression":"attribute_not_exists(id)","ReturnValuesOnConditionCheckFailure":"ALL_OLD",`, 1)
		_, err := call(ctx, local, "PutItem", input)
		var refused *Refusal
		if !errors.As(err, &refused) || refused.Code != "ConditionalCheckFailedException" || !strings.Contains(string(refused.Document["Item"]), `"z"`) {
			t.Fatalf("error %v, %s", err, encode(refused.Document))
		}
		same(t)
	})
}

func TestStatsAndUnprocessed(t *testing.T) {
	_, s, _ := newTables(t)
	var writes []string
	for i := range 10 {
		writes = append(writes, fmt.Sprintf(`{"PutRequest":{"Item":{"id":{"S":"USER-%d"},"type":{"S":"X"},"v":{"S":"a"}}}}`, i))
	}
	ctx := faults.With(t.Context(), faults.Fault{Unprocessed: 0.3})
	out, err := call(ctx, s, "BatchWriteItem", `{"RequestItems":{"Tab":[`+strings.Join(writes, ",")+`]}}`)
	if err != nil {
		t.Fatal(err)
	}
	var left map[string][]json.RawMessage
	if err := json.Unmarshal(out["UnprocessedItems"], &left); err != nil || len(left["Tab"]) != 3 {
		t.Errorf("unprocessed: %s", out["UnprocessedItems"])
	}
	if n := len(contents(t, s)); n != 7 {
		t.Errorf("%d items written", n)
	}
	must(t, s, "BatchWriteItem", `{"RequestItems":`+string(out["UnprocessedItems"])+`}`)
	if n := len(contents(t, s)); n != 10 {
		t.Errorf("%d items after the rest", n)
	}
	out, err = call(ctx, s, "BatchGetItem", `{"RequestItems":{"Tab":{"ConsistentRead":true,"Keys":[`+key("USER-1")+","+key("USER-2")+`]}}}`)
	var keys map[string]struct {
		ConsistentRead bool
		Keys           []json.RawMessage
	}
	if err != nil || json.Unmarshal(out["UnprocessedKeys"], &keys) != nil || len(keys["Tab"].Keys) != 1 || !keys["Tab"].ConsistentRead {
		t.Errorf("unprocessed keys: %s, %v", out["UnprocessedKeys"], err)
	}
	must(t, s, "DeleteItem", `{"TableName":"Tab","Key":`+key("USER-1")+`}`)
	stats := s.Stats()
	if stats.Puts["USER"] != 10 || stats.Deletes["USER"] != 1 || stats.Operations["BatchWriteItem"] != 2 || stats.WriteUnits != 11 || stats.ReadUnits == 0 {
		t.Errorf("stats %+v", stats)
	}
	s.ResetStats()
	if stats := s.Stats(); len(stats.Operations) != 0 {
		t.Errorf("stats after the reset %+v", stats)
	}
}

func TestStaleReads(t *testing.T) {
	_, s, _ := newTables(t)
	must(t, s, "PutItem", putInput("USER-1", "old"))
	s.SetStaleReads(300 * time.Millisecond)
	must(t, s, "PutItem", putInput("USER-1", "new"))
	must(t, s, "PutItem", putInput("USER-1", "newer"))
	must(t, s, "PutItem", putInput("USER-2", "new"))
	got := func(input string) string {
		return string(encode(must(t, s, "GetItem", strings.Replace(input, "KEY", key("USER-1"), 1))["Item"]))
	}
	if v := got(`{"TableName":"Tab","Key":KEY}`); !strings.Contains(v, `"old"`) {
		t.Errorf("GetItem: %s", v)
	}
	if v := got(`{"TableName":"Tab","Key":KEY,"ConsistentRead":true}`); !strings.Contains(v, `"newer"`) {
		t.Errorf("consistent GetItem: %s", v)
	}
	if v := contents(t, s); !maps.Equal(v, map[string]string{"USER-1": "old"}) {
		t.Errorf("Scan: %v", v)
	}
	batch := func(consistent bool) string {
		return string(must(t, s, "BatchGetItem", fmt.Sprintf(`{"RequestItems":{"Tab":{"ConsistentRead":%v,"ProjectionExpression":"id,#t,v","ExpressionAttributeNames":{"#t":"type"},"Keys":[%s,%s]}}}`, consistent, key("USER-1"), key("USER-2")))["Responses"])
	}
	if v := batch(false); !strings.Contains(v, `"old"`) || strings.Contains(v, "USER-2") {
		t.Errorf("BatchGetItem: %s", v)
	}
	if v := batch(true); !strings.Contains(v, `"newer"`) || !strings.Contains(v, "USER-2") {
		t.Errorf("consistent BatchGetItem: %s", v)
	}
	if n := s.StaleReads(); n < 4 {
		t.Errorf("%d stale reads were counted", n)
	}
	time.Sleep(350 * time.Millisecond)
	if v := contents(t, s); !maps.Equal(v, map[string]string{"USER-1": "newer", "USER-2": "new"}) {
		t.Errorf("Scan after the window: %v", v)
	}
	s.SetStaleReads(0)
}

func TestPermissions(t *testing.T) {
	r := NewReplicator(1)
	defer r.Close()
	s := New(".", here, r)
	s.tables["Tab"] = &table{hash: "id", sort: "type"}
	const tableARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/Tab"
	for _, c := range []struct{ operation, input, resource, keys string }{
		{"PutItem", putInput("USER-1", "x"), tableARN, "USER-1"},
		{"GetItem", `{"TableName":"Tab","Key":` + key("USER-1") + `}`, tableARN, "USER-1"},
		{"GetItem", `{"TableName":"` + tableARN + `","Key":` + key("USER-1") + `}`, tableARN, "USER-1"},
		{"Query", `{"TableName":"Tab","KeyConditionExpression":"#id = :id AND begins_with(#t, :t)","ExpressionAttributeNames":{"#id":"id","#t":"type"},"ExpressionAttributeValues":{":id":{"S":"USER-1"},":t":{"S":"USER"}}}`, tableARN, "USER-1"},
		{"Query", `{"TableName":"Tab","IndexName":"I","KeyConditionExpression":"id=:id","ExpressionAttributeValues":{":id":{"S":"USER-1"}}}`, tableARN + "/index/I", "USER-1"},
		{"Scan", `{"TableName":"Tab"}`, tableARN, ""},
		{"BatchGetItem", `{"RequestItems":{"Tab":{"Keys":[` + key("USER-1") + "," + key("USER-2") + "," + key("USER-1") + `]}}}`, tableARN, "USER-1\nUSER-2"},
		{"BatchWriteItem", `{"RequestItems":{"Tab":[{"PutRequest":{"Item":` + key("USER-1") + `}},{"DeleteRequest":{"Key":` + key("USER-2") + `}}]}}`, tableARN, "USER-1\nUSER-2"},
		{"ListTables", `{}`, "*", ""},
	} {
		list := s.Permissions(&wire.Call{Operation: c.operation, Region: here, Input: json.RawMessage(c.input)})
		if len(list) != 1 || list[0].Action != "dynamodb:"+c.operation || list[0].Resource != c.resource || list[0].Context["dynamodb:LeadingKeys"] != c.keys {
			t.Errorf("%s %s: %+v", c.operation, c.input, list)
		}
	}
}

func TestMissingTools(t *testing.T) {
	if err := CheckInstalled(t.TempDir()); err == nil || !strings.Contains(err.Error(), "npm ci") {
		t.Errorf("no node_modules: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if err := CheckInstalled("."); err == nil || !strings.Contains(err.Error(), "install Node.js") {
		t.Errorf("no node: %v", err)
	}
}

func TestWithhold(t *testing.T) {
	for n := range 6 {
		var entries []string
		for i := range n {
			entries = append(entries, fmt.Sprint(i))
		}
		kept, held, err := withhold("BatchWriteItem", map[string]json.RawMessage{"T": json.RawMessage("[" + strings.Join(entries, ",") + "]")}, 0.5)
		if err != nil {
			t.Fatal(err)
		}
		var k, h []int
		json.Unmarshal(kept["T"], &k)
		json.Unmarshal(held["T"], &h)
		all := append(slices.Clone(k), h...)
		slices.Sort(all)
		if len(all) != n || (n > 0 && len(k) == 0) || (n > 1 && len(h) == 0) {
			t.Errorf("%d entries: kept %v, held %v", n, k, h)
		}
	}
}
