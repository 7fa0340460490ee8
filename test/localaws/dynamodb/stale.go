package dynamodb

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// stale makes eventually consistent reads eventually consistent: dynalite
// always answers the newest state, real DynamoDB does not. What was written
// within the window is answered as it was before, unless ConsistentRead is set.
type stale struct {
	mu     sync.Mutex
	window time.Duration
	before map[string]former // table and key → what the item was
	shown  int               // items shown as they were
}

type former struct {
	item item // nil when there was none
	at   time.Time
}

// SetStaleReads makes reads without ConsistentRead show each item as it was up
// to so long ago; 0 switches that off. An item that was deleted within the
// window stays deleted in Scan and Query.
func (s *Service) SetStaleReads(window time.Duration) {
	s.stale.mu.Lock()
	defer s.stale.mu.Unlock()
	s.stale.window, s.stale.before = window, map[string]former{}
}

// StaleReads counts the items that were shown as they had been before.
func (s *Service) StaleReads() int {
	s.stale.mu.Lock()
	defer s.stale.mu.Unlock()
	return s.stale.shown
}

func (t *stale) on() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.window > 0
}

// remember reads the items that are about to be written. The caller holds the
// replicator's lock on them, which makes reading and writing one step where
// tables are global, as the backup table is.
func (p *proxied) remember(ctx context.Context, changes []change) (func(), error) {
	if len(changes) == 0 || !p.s.stale.on() {
		return func() {}, nil
	}
	var formers []item
	for _, c := range changes {
		got, err := p.server.call(ctx, "GetItem", encode(map[string]any{"TableName": c.table, "Key": c.key, "ConsistentRead": true}))
		if err != nil {
			return nil, fmt.Errorf("remember an item: %w", err)
		}
		var now struct{ Item item }
		if err := json.Unmarshal(got, &now); err != nil {
			return nil, err
		}
		formers = append(formers, now.Item)
	}
	return func() {
		t := &p.s.stale
		t.mu.Lock()
		defer t.mu.Unlock()
		now := time.Now()
		for i, c := range changes {
			key := c.table + "\x00" + c.keyText
			if old, ok := t.before[key]; ok && now.Sub(old.at) < t.window {
				continue // still shown as it was before the first of these writes
			}
			t.before[key] = former{formers[i], now}
		}
	}, nil
}

// former is what the item was, if it was written within the window.
func (t *stale) former(table, keyText string) (item, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, ok := t.before[table+"\x00"+keyText]
	if !ok {
		return nil, false
	}
	if time.Since(f.at) >= t.window {
		delete(t.before, table+"\x00"+keyText)
		return nil, false
	}
	t.shown++
	return f.item, true
}

// age makes an answer to an eventually consistent read as old as it may be.
func (p *proxied) age(input, answer map[string]json.RawMessage) error {
	if !p.s.stale.on() {
		return nil
	}
	switch p.operation {
	case "GetItem":
		t := p.s.table(p.TableName)
		if t == nil || isTrue(input["ConsistentRead"]) {
			return nil
		}
		if was, changed := p.s.stale.former(p.TableName, keyText(t, p.Key)); changed {
			delete(answer, "Item")
			if was != nil {
				answer["Item"] = encode(was)
			}
		}
	case "Query", "Scan":
		if isTrue(input["ConsistentRead"]) || answer["Items"] == nil {
			return nil
		}
		aged, err := p.ageItems(p.TableName, answer["Items"])
		answer["Items"] = aged
		return err
	case "BatchGetItem":
		var responses map[string]json.RawMessage
		if err := json.Unmarshal(answer["Responses"], &responses); err != nil {
			return err
		}
		for name, items := range responses {
			var asked map[string]json.RawMessage
			if err := json.Unmarshal(p.RequestItems[name], &asked); err != nil {
				return err
			}
			if isTrue(asked["ConsistentRead"]) {
				continue
			}
			aged, err := p.ageItems(name, items)
			if err != nil {
				return err
			}
			responses[name] = aged
		}
		answer["Responses"] = encode(responses)
	}
	return nil
}

// ageItems replaces items by what they were and drops those that were not.
func (p *proxied) ageItems(name string, list json.RawMessage) (json.RawMessage, error) {
	t := p.s.table(name)
	var items []item
	if err := json.Unmarshal(list, &items); err != nil || t == nil {
		return list, err
	}
	aged := []item{}
	for _, i := range items {
		if i[t.hash] == nil { // a projection without the key
			aged = append(aged, i)
			continue
		}
		was, changed := p.s.stale.former(name, keyText(t, i))
		switch {
		case !changed:
			aged = append(aged, i)
		case was != nil:
			shown := item{}
			for attribute := range i { // what the projection left
				if was[attribute] != nil {
					shown[attribute] = was[attribute]
				}
			}
			aged = append(aged, shown)
		}
	}
	return encode(aged), nil
}

func isTrue(v json.RawMessage) bool { return string(v) == "true" }
