package dynamodb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cognito-backup/test/localaws/faults"
	"cognito-backup/test/localaws/wire"
)

// Service is DynamoDB in one Region.
type Service struct {
	region     string
	root       string // module root, for node_modules
	replicator *Replicator
	stale      stale

	mu     sync.Mutex
	server *dynalite
	tables map[string]*table
	stats  Stats
}

// table is what the proxy must know of a table to find keys in requests.
type table struct {
	hash, sort string   // key attributes; sort is "" without one
	replicas   []string // other Regions that hold a replica
	key        string   // ARN of the customer managed key, "" for AWS\'s own
}

// Stats counts what reached DynamoDB. A kind is the part of a partition key
// before its first hyphen: USER of USER-1234.
type Stats struct {
	Operations map[string]int // calls by operation
	Puts       map[string]int // items put, by kind
	Updates    map[string]int // items updated, by kind
	Deletes    map[string]int // items deleted, by kind
	ReadUnits  float64
	WriteUnits float64
}

func newStats() Stats {
	return Stats{Operations: map[string]int{}, Puts: map[string]int{}, Updates: map[string]int{}, Deletes: map[string]int{}}
}

// New makes the service of a Region; dynalite starts with the first table. The
// replicator is shared by all Regions.
func New(root, region string, replicator *Replicator) *Service {
	s := &Service{region: region, root: root, replicator: replicator, tables: map[string]*table{}, stats: newStats()}
	replicator.join(s)
	return s
}

// Start starts dynalite unless it runs.
func (s *Service) Start(ctx context.Context) error {
	_, err := s.running(ctx)
	return err
}

func (s *Service) running(ctx context.Context) (*dynalite, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		server, err := startDynalite(ctx, s.root, s.region)
		if err != nil {
			return nil, err
		}
		s.server = server
	}
	return s.server, nil
}

// Close stops dynalite.
func (s *Service) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		s.server.close()
		s.server = nil
	}
}

// Stats are the counts since the start or the last ResetStats.
func (s *Service) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Operations = maps.Clone(s.stats.Operations)
	out.Puts = maps.Clone(s.stats.Puts)
	out.Updates = maps.Clone(s.stats.Updates)
	out.Deletes = maps.Clone(s.stats.Deletes)
	return out
}

// ResetStats sets all counts to zero.
func (s *Service) ResetStats() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats = newStats()
}

// TableSpec is a table to be created.
type TableSpec struct {
	Name       string
	Attributes json.RawMessage // AttributeDefinitions
	Keys       json.RawMessage // KeySchema
	Replicas   []string        // other Regions of a global table
	Key        string          // ARN of a customer managed key
}

// CreateTable creates a table in this Region.
func (s *Service) CreateTable(ctx context.Context, spec TableSpec) error {
	server, err := s.running(ctx)
	if err != nil {
		return err
	}
	var keys []struct{ AttributeName, KeyType string }
	if err := json.Unmarshal(spec.Keys, &keys); err != nil {
		return fmt.Errorf("key schema: %w", err)
	}
	input, err := json.Marshal(map[string]any{
		"TableName": spec.Name, "AttributeDefinitions": spec.Attributes, "KeySchema": spec.Keys, "BillingMode": "PAY_PER_REQUEST",
	})
	if err != nil {
		return err
	}
	if _, err := server.call(ctx, "CreateTable", input); err != nil {
		return fmt.Errorf("create table %s: %w", spec.Name, err)
	}
	t := &table{replicas: spec.Replicas, key: spec.Key}
	for _, k := range keys {
		if k.KeyType == "HASH" {
			t.hash = k.AttributeName
		} else {
			t.sort = k.AttributeName
		}
	}
	s.mu.Lock()
	s.tables[spec.Name] = t
	s.mu.Unlock()
	return nil
}

// table finds what is known of a table by its name or ARN; nil when nothing is.
func (s *Service) table(name string) *table {
	if i := strings.Index(name, ":table/"); i >= 0 { // an ARN is a name, too
		name = name[i+len(":table/"):]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tables[name]
}

// request is the part of all inputs that matters here.
type request struct {
	TableName                           string
	IndexName                           string
	Key                                 item
	Item                                item
	KeyConditionExpression              string
	ExpressionAttributeNames            map[string]string
	ExpressionAttributeValues           item
	ReturnValues                        string
	ReturnConsumedCapacity              string
	ReturnValuesOnConditionCheckFailure string
	RequestItems                        map[string]json.RawMessage
}

// item is an item or a key, attribute values left alone.
type item = map[string]json.RawMessage

type writeRequest struct {
	PutRequest    *struct{ Item item }
	DeleteRequest *struct{ Key item }
}

// Permissions implements wire.Service.
func (s *Service) Permissions(c *wire.Call) []wire.Permission {
	var r request
	json.Unmarshal(c.Input, &r) // what does not parse dynalite refuses
	action := "dynamodb:" + c.Operation
	if r.TableName == "" && len(r.RequestItems) == 0 {
		return []wire.Permission{{Action: action, Resource: "*"}}
	}
	leading := map[string][]string{}
	note := func(name string, key item) {
		keys := leading[name]
		if t := s.table(name); t != nil {
			if v := scalar(key[t.hash]); v != "" && !slices.Contains(keys, v) {
				keys = append(keys, v)
			}
		}
		leading[name] = keys
	}
	for name, raw := range r.RequestItems {
		var writes []writeRequest
		var gets struct{ Keys []item }
		leading[name] = nil
		switch c.Operation {
		case "BatchWriteItem":
			json.Unmarshal(raw, &writes)
		case "BatchGetItem":
			json.Unmarshal(raw, &gets)
		}
		for _, w := range writes {
			if w.PutRequest != nil {
				note(name, w.PutRequest.Item)
			} else if w.DeleteRequest != nil {
				note(name, w.DeleteRequest.Key)
			}
		}
		for _, key := range gets.Keys {
			note(name, key)
		}
	}
	if r.TableName != "" {
		switch {
		case r.Key != nil:
			note(r.TableName, r.Key)
		case r.Item != nil:
			note(r.TableName, r.Item)
		case r.KeyConditionExpression != "":
			note(r.TableName, s.queriedKey(r))
		default:
			leading[r.TableName] = nil
		}
	}
	var list []wire.Permission
	for _, name := range slices.Sorted(maps.Keys(leading)) {
		p := wire.Permission{Action: action, Resource: s.arn(name)}
		if r.IndexName != "" {
			p.Resource += "/index/" + r.IndexName
		}
		if len(leading[name]) > 0 {
			p.Context = map[string]string{"dynamodb:LeadingKeys": strings.Join(leading[name], "\n")}
		}
		list = append(list, p)
		if t := s.table(name); t != nil && t.key != "" && overData[c.Operation] {
			list = append(list, wire.Permission{Action: "kms:Decrypt", Resource: t.key})
		}
	}
	return list
}

// overData are the operations that read or write items.
var overData = map[string]bool{"GetItem": true, "PutItem": true, "UpdateItem": true, "DeleteItem": true, "BatchGetItem": true, "BatchWriteItem": true, "Query": true, "Scan": true}

func (s *Service) arn(table string) string {
	if strings.HasPrefix(table, "arn:") {
		return table
	}
	return fmt.Sprintf("arn:aws:dynamodb:%s:%s:table/%s", s.region, wire.Account, table)
}

var equality = regexp.MustCompile(`([#\w.-]+)\s*=\s*(:\w+)`)

// queriedKey finds the partition key that a key condition asks for.
func (s *Service) queriedKey(r request) item {
	key := item{}
	for _, m := range equality.FindAllStringSubmatch(r.KeyConditionExpression, -1) {
		name := m[1]
		if actual, ok := r.ExpressionAttributeNames[name]; ok {
			name = actual
		}
		key[name] = r.ExpressionAttributeValues[m[2]]
	}
	return key
}

// scalar is the text of a key attribute: {"S":"USER-1"} → USER-1.
func scalar(attribute json.RawMessage) string {
	var v struct{ S, N, B string }
	json.Unmarshal(attribute, &v)
	return v.S + v.N + v.B
}

// Handle implements wire.Service.
func (s *Service) Handle(ctx context.Context, c *wire.Call) (any, error) {
	server, err := s.running(ctx)
	if err != nil {
		return nil, err
	}
	var r request
	if err := json.Unmarshal(c.Input, &r); err != nil {
		return nil, &wire.Error{Code: "SerializationException", Message: "Start of structure or map found where not expected.", Status: 400}
	}
	s.mu.Lock()
	s.stats.Operations[c.Operation]++
	s.mu.Unlock()
	call := &proxied{s: s, server: server, operation: c.Operation, request: r}
	// A caller that hangs up must not part a write from its replication.
	return call.do(context.WithoutCancel(ctx), c.Input)
}

// proxied is one call on its way to dynalite.
type proxied struct {
	s         *Service
	server    *dynalite
	operation string
	request
}

func (p *proxied) do(ctx context.Context, input json.RawMessage) (any, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(input, &fields); err != nil {
		return nil, err
	}
	if overData[p.operation] {
		fields["ReturnConsumedCapacity"] = quoted("TOTAL")
	}
	var withheld map[string]json.RawMessage
	if share := faults.From(ctx).Unprocessed; share > 0 && len(p.RequestItems) > 0 {
		kept, held, err := withhold(p.operation, p.RequestItems, share)
		if err != nil {
			return nil, err
		}
		p.RequestItems, withheld = kept, held
		fields["RequestItems"] = encode(kept)
	}
	changes := p.changes()
	global := p.operation == "UpdateItem" && len(changes) == 1
	if global && (p.ReturnValues == "" || p.ReturnValues == "NONE") {
		fields["ReturnValues"] = quoted("ALL_NEW") // the replica needs to know what became of the item
	}

	unlock := p.s.replicator.lock(p.s.region, changes)
	defer unlock()
	remembered, err := p.remember(ctx, changes)
	if err != nil {
		return nil, err
	}
	output, err := p.server.call(ctx, p.operation, encode(fields))
	if err != nil {
		var refused *Refusal
		if errors.As(err, &refused) && refused.Code == "ConditionalCheckFailedException" && p.ReturnValuesOnConditionCheckFailure == "ALL_OLD" {
			p.addItem(ctx, refused)
		}
		return nil, err
	}
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(output, &answer); err != nil {
		return nil, fmt.Errorf("%s: answer of dynalite: %w", p.operation, err)
	}
	remembered()
	if err := p.age(fields, answer); err != nil {
		return nil, fmt.Errorf("%s: %w", p.operation, err)
	}
	unprocessed := answer["UnprocessedItems"]
	if global {
		if err := p.learn(ctx, &changes[0], answer); err != nil {
			return nil, err
		}
	}
	p.count(answer["ConsumedCapacity"])
	p.s.replicator.publish(p.s.region, without(changes, unprocessed))
	if overData[p.operation] && (p.ReturnConsumedCapacity == "" || p.ReturnConsumedCapacity == "NONE") {
		delete(answer, "ConsumedCapacity")
	}
	if len(withheld) > 0 {
		name := map[string]string{"BatchWriteItem": "UnprocessedItems", "BatchGetItem": "UnprocessedKeys"}[p.operation]
		answer[name] = encode(merge(answer[name], withheld))
	}
	return answer, nil
}

// changes lists the items that the call writes, with their new content where
// the request tells it.
func (p *proxied) changes() []change {
	one := func(name string, key, content item, deleted bool) []change {
		t := p.s.table(name)
		if t == nil {
			return nil
		}
		return []change{{table: name, key: keyOf(t, key), keyText: keyText(t, key), item: content, deleted: deleted, to: t.replicas}}
	}
	switch p.operation {
	case "PutItem":
		return one(p.TableName, p.Item, p.Item, false)
	case "UpdateItem":
		return one(p.TableName, p.Key, nil, false)
	case "DeleteItem":
		return one(p.TableName, p.Key, nil, true)
	case "BatchWriteItem":
		var list []change
		for _, name := range slices.Sorted(maps.Keys(p.RequestItems)) {
			var writes []writeRequest
			json.Unmarshal(p.RequestItems[name], &writes) // what does not parse dynalite refuses
			for _, w := range writes {
				if w.PutRequest != nil {
					list = append(list, one(name, w.PutRequest.Item, w.PutRequest.Item, false)...)
				} else if w.DeleteRequest != nil {
					list = append(list, one(name, w.DeleteRequest.Key, nil, true)...)
				}
			}
		}
		return list
	}
	return nil
}

// learn completes the change of an UpdateItem with what the item is now.
func (p *proxied) learn(ctx context.Context, c *change, answer map[string]json.RawMessage) error {
	switch p.ReturnValues {
	case "", "NONE":
		err := json.Unmarshal(answer["Attributes"], &c.item)
		delete(answer, "Attributes")
		return err
	case "ALL_NEW":
		return json.Unmarshal(answer["Attributes"], &c.item)
	}
	got, err := p.server.call(ctx, "GetItem", encode(map[string]any{"TableName": p.TableName, "Key": p.Key, "ConsistentRead": true}))
	if err != nil {
		return err
	}
	var now struct{ Item item }
	err = json.Unmarshal(got, &now)
	c.item = now.Item
	return err
}

// addItem puts the present item into the refusal of a conditional write, which
// dynalite does not do.
func (p *proxied) addItem(ctx context.Context, refused *Refusal) {
	key := p.Key
	if t := p.s.table(p.TableName); key == nil && t != nil {
		key = keyOf(t, p.Item)
	}
	got, err := p.server.call(ctx, "GetItem", encode(map[string]any{"TableName": p.TableName, "Key": key, "ConsistentRead": true}))
	var now map[string]json.RawMessage
	if err == nil && json.Unmarshal(got, &now) == nil && now["Item"] != nil {
		refused.Document["Item"] = now["Item"]
	}
}

// count books a successful call.
func (p *proxied) count(consumed json.RawMessage) {
	type capacity struct{ CapacityUnits float64 }
	var units float64
	var one capacity
	var several []capacity
	if json.Unmarshal(consumed, &one) == nil {
		units = one.CapacityUnits
	} else if json.Unmarshal(consumed, &several) == nil {
		for _, c := range several {
			units += c.CapacityUnits
		}
	}
	changes := p.changes()
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	switch p.operation {
	case "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem":
		p.s.stats.WriteUnits += units
	default:
		p.s.stats.ReadUnits += units
	}
	for _, c := range changes {
		kind, _, _ := strings.Cut(c.keyText, "-")
		switch {
		case c.deleted:
			p.s.stats.Deletes[kind]++
		case p.operation == "UpdateItem":
			p.s.stats.Updates[kind]++
		default:
			p.s.stats.Puts[kind]++
		}
	}
}

// withhold splits a batch: about share of its items come back unprocessed, at
// least one, and at least one goes through, as DynamoDB promises.
func withhold(operation string, items map[string]json.RawMessage, share float64) (kept, held map[string]json.RawMessage, err error) {
	kept, held = map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for _, name := range slices.Sorted(maps.Keys(items)) {
		fields := map[string]json.RawMessage{}
		list := items[name]
		if operation == "BatchGetItem" {
			if err := json.Unmarshal(items[name], &fields); err != nil {
				return nil, nil, err
			}
			list = fields["Keys"]
		}
		var entries []json.RawMessage
		if err := json.Unmarshal(list, &entries); err != nil {
			return nil, nil, err
		}
		n := min(max(int(share*float64(len(entries))), 1), len(entries)-1)
		rand.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		put := func(into map[string]json.RawMessage, entries []json.RawMessage) {
			if len(entries) == 0 {
				return
			}
			if operation == "BatchGetItem" {
				same := maps.Clone(fields)
				same["Keys"] = encode(entries)
				into[name] = encode(same)
				return
			}
			into[name] = encode(entries)
		}
		put(held, entries[:max(n, 0)])
		put(kept, entries[max(n, 0):])
	}
	return kept, held, nil
}

// merge adds what the testbed withheld to what dynalite left unprocessed.
func merge(unprocessed json.RawMessage, withheld map[string]json.RawMessage) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	json.Unmarshal(unprocessed, &out) // absent is empty
	for name, raw := range withheld {
		if out[name] == nil {
			out[name] = raw
		}
	}
	return out
}

// keyOf is the key of an item.
func keyOf(t *table, i item) item {
	key := item{t.hash: i[t.hash]}
	if t.sort != "" {
		key[t.sort] = i[t.sort]
	}
	return key
}

// keyText tells keys of a table apart; it begins with the partition key.
func keyText(t *table, i item) string { return scalar(i[t.hash]) + "\x00" + scalar(i[t.sort]) }

func quoted(s string) json.RawMessage { return json.RawMessage(`"` + s + `"`) }

func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // made of decoded JSON, which always encodes
	}
	return b
}
