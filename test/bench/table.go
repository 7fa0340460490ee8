package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// tableServer is a DynamoDB table in memory behind DynamoDB's protocol, for
// millions of records: the testbed's own DynamoDB is exact and slow. It knows
// the calls and expressions that the functions make, and refuses others.
type tableServer struct {
	server   *http.Server
	listener net.Listener

	mu         sync.RWMutex
	partitions map[string]*partition
	segments   map[int][][]*partition // by number of segments; nil after a new partition
}

type partition struct {
	id    string
	hash  uint32
	items []stored
}

// stored is an item: its sort key and all of it as JSON.
type stored struct {
	sort string
	json []byte
}

// attributes is an item as the protocol has it.
type attributes map[string]json.RawMessage

func startTable() (*tableServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tableServer{listener: l, partitions: map[string]*partition{}}
	t.server = &http.Server{Handler: t}
	go t.server.Serve(l)
	return t, nil
}

func (t *tableServer) endpoint() string { return "http://" + t.listener.Addr().String() }

func (t *tableServer) close() { t.server.Close() }

// refusal is an error of the protocol.
type refusal struct{ code, message string }

func (r *refusal) Error() string { return r.code + ": " + r.message }

// request is the members of all calls.
type request struct {
	Key, Item                 attributes
	ConditionExpression       string
	UpdateExpression          string
	KeyConditionExpression    string
	ProjectionExpression      string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues map[string]json.RawMessage
	ExclusiveStartKey         attributes
	ReturnValues              string
	Segment, TotalSegments    int
	RequestItems              map[string]struct {
		Keys                     []attributes
		ProjectionExpression     string
		ExpressionAttributeNames map[string]string
	}
}

func (t *tableServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var in request
	var out any
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if err = json.Unmarshal(body, &in); err == nil {
		out, err = t.carryOut(operation, &in)
	}
	status := http.StatusOK
	if err != nil {
		status = http.StatusBadRequest
		code, message := "ValidationException", err.Error()
		if refused, ok := err.(*refusal); ok {
			code, message = refused.code, refused.message
		}
		out = map[string]string{"__type": "com.amazonaws.dynamodb.v20120810#" + code, "message": message}
	}
	document, err := json.Marshal(out)
	if err != nil {
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-amz-json-1.0")
	h.Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(document)), 10))
	w.WriteHeader(status)
	w.Write(document) // a client that hung up is no concern of the server's
}

func (t *tableServer) carryOut(operation string, in *request) (any, error) {
	switch operation {
	case "BatchGetItem":
		return t.batchGet(in)
	case "GetItem":
		t.mu.RLock()
		defer t.mu.RUnlock()
		if item := t.find(in.Key); item != nil {
			return map[string]any{"Item": json.RawMessage(item)}, nil
		}
		return struct{}{}, nil
	case "PutItem", "DeleteItem", "UpdateItem":
		return t.write(operation, in)
	case "Query":
		return t.query(in)
	case "Scan":
		return t.scan(in)
	}
	return nil, fmt.Errorf("the table does not know %s", operation)
}

// text is the value of a string attribute.
func text(raw json.RawMessage) string {
	var v struct{ S string }
	_ = json.Unmarshal(raw, &v) // another type is no key
	return v.S
}

func (t *tableServer) find(key attributes) []byte {
	p := t.partitions[text(key["id"])]
	if p == nil {
		return nil
	}
	if at, ok := p.find(text(key["type"])); ok {
		return p.items[at].json
	}
	return nil
}

func (p *partition) find(sort string) (int, bool) {
	return slices.BinarySearchFunc(p.items, sort, func(s stored, sort string) int { return strings.Compare(s.sort, sort) })
}

func (t *tableServer) batchGet(in *request) (any, error) {
	responses := map[string][]json.RawMessage{}
	t.mu.RLock()
	defer t.mu.RUnlock()
	for table, asked := range in.RequestItems {
		responses[table] = []json.RawMessage{}
		for _, key := range asked.Keys {
			item := t.find(key)
			if item == nil {
				continue
			}
			if asked.ProjectionExpression != "" {
				var all attributes
				if err := json.Unmarshal(item, &all); err != nil {
					return nil, err
				}
				some := attributes{}
				for name := range strings.SplitSeq(asked.ProjectionExpression, ",") {
					name = strings.TrimSpace(name)
					name = cmp.Or(asked.ExpressionAttributeNames[name], name)
					if value, ok := all[name]; ok {
						some[name] = value
					}
				}
				var err error
				if item, err = json.Marshal(some); err != nil {
					return nil, err
				}
			}
			responses[table] = append(responses[table], item)
		}
	}
	return map[string]any{"Responses": responses, "UnprocessedKeys": struct{}{}}, nil
}

func (t *tableServer) write(operation string, in *request) (any, error) {
	key := in.Key
	if operation == "PutItem" {
		key = in.Item
	}
	id, sort := text(key["id"]), text(key["type"])
	t.mu.Lock()
	defer t.mu.Unlock()
	old := attributes(nil)
	was := t.find(key)
	if was != nil && (in.ConditionExpression != "" || operation == "UpdateItem") {
		if err := json.Unmarshal(was, &old); err != nil {
			return nil, err
		}
	}
	if in.ConditionExpression != "" {
		met, err := in.holds(in.ConditionExpression, old)
		if err != nil {
			return nil, err
		}
		if !met {
			return nil, &refusal{"ConditionalCheckFailedException", "The conditional request failed"}
		}
	}
	item := in.Item
	switch operation {
	case "DeleteItem":
		t.remove(id, sort)
		return struct{}{}, nil
	case "UpdateItem":
		item = attributes{}
		for name, value := range old {
			item[name] = value
		}
		for name, value := range in.Key {
			item[name] = value
		}
		if err := in.update(item); err != nil {
			return nil, err
		}
	}
	b, err := json.Marshal(item)
	if err != nil {
		return nil, err
	}
	t.put(id, sort, b)
	if in.ReturnValues == "ALL_OLD" && was != nil {
		return map[string]any{"Attributes": json.RawMessage(was)}, nil
	}
	return struct{}{}, nil
}

func (t *tableServer) put(id, sort string, item []byte) {
	p := t.partitions[id]
	if p == nil {
		p = &partition{id: id, hash: hash(id)}
		t.partitions[id] = p
		t.segments = nil
	}
	at, there := p.find(sort)
	if !there {
		p.items = slices.Insert(p.items, at, stored{sort: sort})
	}
	p.items[at].json = item
}

func (t *tableServer) remove(id, sort string) {
	if p := t.partitions[id]; p != nil {
		if at, there := p.find(sort); there {
			p.items = slices.Delete(p.items, at, at+1)
		}
	}
}

func hash(id string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(id))
	return h.Sum32()
}

func (t *tableServer) query(in *request) (any, error) {
	// The SDK's expression builder writes (#0 = :0) or (#0 = :0) AND (begins_with (#1, :1)).
	condition, prefix := in.KeyConditionExpression, ""
	if first, second, both := strings.Cut(condition, " AND "); both {
		condition = first
		_, argument, ok := strings.Cut(strings.Trim(second, "() "), ",")
		if !ok || !strings.Contains(second, "begins_with") {
			return nil, fmt.Errorf("key condition %q", in.KeyConditionExpression)
		}
		prefix = text(in.ExpressionAttributeValues[strings.Trim(argument, "() ")])
	}
	_, value, ok := strings.Cut(strings.Trim(condition, "() "), " = ")
	if !ok {
		return nil, fmt.Errorf("key condition %q", in.KeyConditionExpression)
	}
	items := []json.RawMessage{}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if p := t.partitions[text(in.ExpressionAttributeValues[value])]; p != nil {
		for _, s := range p.items {
			if strings.HasPrefix(s.sort, prefix) {
				items = append(items, s.json)
			}
		}
	}
	return map[string]any{"Items": items, "Count": len(items)}, nil
}

const pageBytes = 1 << 20 // of a Scan; DynamoDB developer guide

func (t *tableServer) scan(in *request) (any, error) {
	all := t.segment(in.Segment, max(1, in.TotalSegments))
	t.mu.RLock()
	defer t.mu.RUnlock()
	at, after := 0, ""
	if in.ExclusiveStartKey != nil {
		id := text(in.ExclusiveStartKey["id"])
		after = text(in.ExclusiveStartKey["type"])
		var there bool
		if at, there = slices.BinarySearchFunc(all, &partition{id: id, hash: hash(id)}, inOrder); !there {
			after = ""
		}
	}
	var items []json.RawMessage
	size := 0
	for i, p := range all[at:] {
		for _, s := range p.items {
			if i == 0 && after != "" && s.sort <= after {
				continue
			}
			items = append(items, s.json)
			if size += len(s.json); size >= pageBytes {
				last := map[string]any{"id": map[string]string{"S": p.id}, "type": map[string]string{"S": s.sort}}
				return map[string]any{"Items": items, "Count": len(items), "LastEvaluatedKey": last}, nil
			}
		}
	}
	if items == nil {
		items = []json.RawMessage{}
	}
	return map[string]any{"Items": items, "Count": len(items)}, nil
}

func inOrder(a, b *partition) int {
	return cmp.Or(cmp.Compare(a.hash, b.hash), strings.Compare(a.id, b.id))
}

func (t *tableServer) segment(index, of int) []*partition {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.segments == nil {
		t.segments = map[int][][]*partition{}
	}
	if t.segments[of] == nil {
		divided := make([][]*partition, of)
		for _, p := range t.partitions {
			i := int(p.hash) % of
			divided[i] = append(divided[i], p)
		}
		for _, d := range divided {
			slices.SortFunc(d, inOrder)
		}
		t.segments[of] = divided
	}
	return t.segments[of][index]
}

// holds evaluates a condition as the SDK's expression builder writes it:
// comparisons, attribute_not_exists and AND.
func (in *request) holds(condition string, item attributes) (bool, error) {
	condition = strings.TrimSpace(condition)
	if left, right, both := cutAnd(condition); both {
		met, err := in.holds(left, item)
		if err != nil || !met {
			return met, err
		}
		return in.holds(right, item)
	}
	if inner, ok := strings.CutPrefix(condition, "("); ok {
		return in.holds(strings.TrimSuffix(inner, ")"), item)
	}
	if argument, ok := strings.CutPrefix(condition, "attribute_not_exists"); ok {
		_, there := item[in.name(strings.Trim(argument, "() "))]
		return !there, nil
	}
	if left, right, ok := strings.Cut(condition, " = "); ok {
		return bytes.Equal(item[in.name(left)], in.ExpressionAttributeValues[strings.TrimSpace(right)]), nil
	}
	return false, fmt.Errorf("condition %q", condition)
}

// cutAnd cuts a condition at its first AND outside of parentheses.
func cutAnd(condition string) (left, right string, both bool) {
	depth := 0
	for i := range condition {
		switch {
		case condition[i] == '(':
			depth++
		case condition[i] == ')':
			depth--
		case depth == 0 && strings.HasPrefix(condition[i:], " AND "):
			return condition[:i], condition[i+len(" AND "):], true
		}
	}
	return "", "", false
}

func (in *request) name(token string) string {
	token = strings.TrimSpace(token)
	return cmp.Or(in.ExpressionAttributeNames[token], token)
}

// update carries out SET and REMOVE.
func (in *request) update(item attributes) error {
	for line := range strings.Lines(in.UpdateExpression) {
		verb, clauses, _ := strings.Cut(strings.TrimSpace(line), " ")
		for clause := range strings.SplitSeq(clauses, ",") {
			switch verb {
			case "SET":
				name, value, _ := strings.Cut(clause, "=")
				item[in.name(name)] = in.ExpressionAttributeValues[strings.TrimSpace(value)]
			case "REMOVE":
				delete(item, in.name(clause))
			default:
				return fmt.Errorf("update %q", in.UpdateExpression)
			}
		}
	}
	return nil
}
