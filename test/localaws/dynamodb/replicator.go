package dynamodb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Replicator copies the changes of global tables between Regions: item by
// item, asynchronously, the last writer wins. A replica may therefore hold part
// of what was written together, and in another order.
type Replicator struct {
	stripes [256]sync.Mutex // serialize writers of the same item, so that the order of changes is that of the writes

	mu       sync.Mutex
	wake     *sync.Cond
	services map[string]*Service
	versions map[string]uint64 // Region, table and key → number of the change the item holds
	number   uint64
	pending  []change
	busy     int // changes being applied
	lagMin   time.Duration
	lagMax   time.Duration
	reorder  bool
	stopped  bool
	cut      map[string]bool // Regions without connection
	copied   int
	late     int // changes that were held up on purpose
	severed  int // changes that were held up by Cut
	random   *rand.Rand
	errs     []error
	closed   bool
	done     chan struct{}
}

// change is one item that was written.
type change struct {
	table   string
	key     item
	keyText string
	item    item // nil when deleted
	deleted bool
	to      []string

	from   string
	number uint64
	due    time.Time
}

// NewReplicator makes a replicator that copies at once.
func NewReplicator(seed uint64) *Replicator {
	r := &Replicator{
		services: map[string]*Service{}, versions: map[string]uint64{}, cut: map[string]bool{},
		random: rand.New(rand.NewPCG(seed, seed)), done: make(chan struct{}),
	}
	r.wake = sync.NewCond(&r.mu)
	go r.run()
	return r
}

// SetLag delays each change by something between min and max; with max > min
// changes overtake each other.
func (r *Replicator) SetLag(min, max time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lagMin, r.lagMax = min, max
}

// SetReorder applies changes in random order.
func (r *Replicator) SetReorder(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reorder = on
}

// Stop holds back all changes until Resume.
func (r *Replicator) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
}

// Resume ends Stop.
func (r *Replicator) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = false
	r.wake.Broadcast()
}

// Cut takes a Region off the replication, or reconnects it.
func (r *Replicator) Cut(region string, cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut[region] = cut
	r.wake.Broadcast()
}

// Pending counts the changes not applied yet.
func (r *Replicator) Pending() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pending) + r.busy
}

// Copied counts the changes that reached a replica.
func (r *Replicator) Copied() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.copied
}

// Late counts the changes that a lag, Stop or Cut held up.
func (r *Replicator) Late() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.late
}

// Severed counts the changes that Cut held up.
func (r *Replicator) Severed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.severed
}

// Drain applies everything pending now, whatever its lag, and waits for it.
func (r *Replicator) Drain(ctx context.Context) error {
	r.mu.Lock()
	if r.stopped {
		r.mu.Unlock()
		return errors.New("the replication is stopped: Resume it before Drain")
	}
	for i := range r.pending {
		r.pending[i].due = time.Time{}
	}
	r.wake.Broadcast()
	r.mu.Unlock()
	for {
		r.mu.Lock()
		left := r.busy
		for _, c := range r.pending {
			if c.due.IsZero() && !r.cut[c.from] && !r.cut[c.to[0]] {
				left++
			}
		}
		err := errors.Join(r.errs...)
		r.mu.Unlock()
		if left == 0 || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d changes not replicated: %w", left, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Close ends the replication; what is pending is lost.
func (r *Replicator) Close() {
	r.mu.Lock()
	r.closed = true
	r.wake.Broadcast()
	r.mu.Unlock()
	<-r.done
}

func (r *Replicator) join(s *Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.services[s.region] = s
}

// lock holds the items still while they are written in a Region.
func (r *Replicator) lock(region string, changes []change) (unlock func()) {
	var stripes []int
	for _, c := range changes {
		if len(c.to) > 0 {
			stripes = append(stripes, stripe(region, c.table, c.keyText))
		}
	}
	slices.Sort(stripes)
	stripes = slices.Compact(stripes)
	for _, i := range stripes {
		r.stripes[i].Lock()
	}
	return func() {
		for _, i := range stripes {
			r.stripes[i].Unlock()
		}
	}
}

func stripe(region, table, key string) int {
	h := fnv.New32a()
	h.Write([]byte(region + "\x00" + table + "\x00" + key))
	return int(h.Sum32() % 256)
}

func versionKey(region string, c *change) string {
	return region + "\x00" + c.table + "\x00" + c.keyText
}

// publish queues what was written in a Region. The caller holds lock.
func (r *Replicator) publish(region string, changes []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		if len(c.to) == 0 {
			continue
		}
		r.number++
		c.from, c.number = region, r.number
		r.versions[versionKey(region, &c)] = c.number
		lag := r.lagMin
		if r.lagMax > r.lagMin {
			lag += time.Duration(r.random.Int64N(int64(r.lagMax - r.lagMin)))
		}
		for _, to := range c.to {
			if lag > 0 || r.stopped || r.cut[region] || r.cut[to] {
				r.late++
			}
			if r.cut[region] || r.cut[to] {
				r.severed++
			}
			one := c
			one.to, one.due = []string{to}, time.Now().Add(lag)
			r.pending = append(r.pending, one)
		}
	}
	r.wake.Broadcast()
}

// without drops the changes that came back unprocessed.
func without(changes []change, unprocessed json.RawMessage) []change {
	var tables map[string][]writeRequest
	if json.Unmarshal(unprocessed, &tables) != nil || len(tables) == 0 {
		return changes
	}
	return slices.DeleteFunc(changes, func(c change) bool {
		for _, w := range tables[c.table] {
			var i item
			if w.PutRequest != nil {
				i = w.PutRequest.Item
			} else if w.DeleteRequest != nil {
				i = w.DeleteRequest.Key
			}
			same := true
			for name, value := range c.key {
				same = same && scalar(i[name]) == scalar(value)
			}
			if same {
				return true
			}
		}
		return false
	})
}

// run applies due changes until Close.
func (r *Replicator) run() {
	defer close(r.done)
	for {
		batch, ok := r.take()
		if !ok {
			return
		}
		err := r.apply(batch)
		r.mu.Lock()
		r.busy -= len(batch)
		r.copied += len(batch)
		if err != nil && !r.closed {
			r.errs = append(r.errs, err)
		}
		r.mu.Unlock()
	}
}

const batchLimit = 25 // items; BatchWriteItem's limit

// take waits for due changes and returns some for one table in one Region,
// each of another item.
func (r *Replicator) take() ([]change, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if r.closed {
			return nil, false
		}
		now := time.Now()
		var next time.Time
		var batch []change
		if !r.stopped {
			if r.reorder {
				r.random.Shuffle(len(r.pending), func(i, j int) { r.pending[i], r.pending[j] = r.pending[j], r.pending[i] })
			}
			seen := map[string]bool{}
			rest := r.pending[:0]
			i := 0
		scan:
			for ; i < len(r.pending) && len(batch) < batchLimit; i++ {
				c := r.pending[i]
				switch {
				case r.cut[c.from] || r.cut[c.to[0]]:
					rest = append(rest, c)
				case c.due.After(now):
					if next.IsZero() || c.due.Before(next) {
						next = c.due
					}
					rest = append(rest, c)
				case seen[c.keyText] || (len(batch) > 0 && (batch[0].table != c.table || batch[0].to[0] != c.to[0])):
					break scan
				default:
					seen[c.keyText] = true
					batch = append(batch, c)
				}
			}
			if len(rest) == 0 {
				r.pending = r.pending[i:] // the usual case, without moving a long queue
			} else {
				r.pending = append(rest, r.pending[i:]...)
			}
		}
		if len(batch) > 0 {
			r.busy += len(batch)
			return batch, true
		}
		if !next.IsZero() {
			timer := time.AfterFunc(time.Until(next), r.wake.Broadcast)
			r.wake.Wait()
			timer.Stop()
			continue
		}
		r.wake.Wait()
	}
}

// apply writes changes to a replica, unless it holds something newer.
func (r *Replicator) apply(batch []change) error {
	region, name := batch[0].to[0], batch[0].table
	unlock := r.lock(region, batch)
	defer unlock()

	r.mu.Lock()
	target := r.services[region]
	var writes []any
	for _, c := range batch {
		if r.versions[versionKey(region, &c)] >= c.number {
			continue
		}
		r.versions[versionKey(region, &c)] = c.number
		if c.item == nil {
			writes = append(writes, map[string]any{"DeleteRequest": map[string]any{"Key": c.key}})
		} else {
			writes = append(writes, map[string]any{"PutRequest": map[string]any{"Item": c.item}})
		}
	}
	r.mu.Unlock()
	if len(writes) == 0 {
		return nil
	}
	if target == nil {
		return fmt.Errorf("replicate to %s: no DynamoDB there", region)
	}
	ctx := context.Background()
	server, err := target.running(ctx)
	if err != nil {
		return fmt.Errorf("replicate to %s: %w", region, err)
	}
	if _, err := server.call(ctx, "BatchWriteItem", encode(map[string]any{"RequestItems": map[string]any{name: writes}})); err != nil {
		return fmt.Errorf("replicate to %s: %w", region, err)
	}
	return nil
}
