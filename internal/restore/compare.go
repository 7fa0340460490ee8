package restore

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"cognito-backup/internal/pool"

	"github.com/aws/aws-sdk-go-v2/aws"
	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"golang.org/x/sync/errgroup"
)

// Lister lists the target.
type Lister = pool.ListAPI

// groupsAtOnce is how many groups' members are listed side by side, so that
// the quota and not the latency of one call sets the rate.
const groupsAtOnce = 16

// position is how far the listing of the target has come.
type position struct {
	Pass      int // listings of the target so far, from 0
	Began     time.Time
	Users     pool.Chain
	Groups    pool.Chain
	Next      int           // next group whose members nobody lists yet
	Members   []*pool.Chain // listings that the slice ended in; Name is the group's number
	Observed  string        // S3 keys of what was observed, without the number of the part
	Parts     int
	Strangers int64 // users of the target who are nobody of the restore point
	// Present are the groups of the restore point that the target has; Differ
	// names what is not as it was, by group.
	Present map[string]bool
	Differ  map[string]string
	// Made are those of them that came into being while the import ran.
	Made map[string]bool
	// Details are the attributes that differ, by person, for the first of them.
	Details map[uint32][]string
	// Renamed are the usernames of people with linked identities who have another
	// one than in the restore point.
	Renamed map[uint32]string
	// TakenBy are the subs of those who hold a person's name.
	TakenBy map[uint32]string
}

// comparison lists the target into a census.
type comparison struct {
	run
	api    Lister
	target string
	census *census
	frozen *Frozen
	at     *position
	// ours says that attributes which differ are to be named: the users are of
	// this import, not of a pool in use.
	explain bool
	started time.Time // of the import; zero: nothing has been made yet

	mu     sync.Mutex
	subs   []uint32 // people found, by new sub
	recent map[int]*chunk
}

// list brings the listing forward and says whether it has reached its end.
func (c *comparison) list(ctx context.Context) (bool, error) {
	if c.at.Began.IsZero() {
		c.at.Began = time.Now().UTC()
		c.at.Present, c.at.Made, c.at.Differ, c.at.Details = map[string]bool{}, map[string]bool{}, map[string]string{}, map[uint32][]string{}
		c.at.TakenBy, c.at.Renamed = map[uint32]string{}, map[uint32]string{}
	}
	c.census.takenBy, c.census.renamed = c.at.TakenBy, c.at.Renamed
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.listUsers(gctx) })
	g.Go(func() error { return c.listGroups(gctx) })
	if err := g.Wait(); err != nil {
		return false, err
	}
	if !c.at.Users.Done || !c.at.Groups.Done {
		return false, nil
	}
	c.bySub()
	return c.listMembers(ctx)
}

func (c *comparison) listUsers(ctx context.Context) error {
	return c.at.Users.Follow(ctx, c.Expired, func(ctx context.Context, token *string) (*string, error) {
		users, next, err := pool.UsersPage(ctx, c.api, c.target, "", token)
		if err != nil {
			return nil, err
		}
		for i := range users {
			person, known := c.census.observe(&users[i])
			if !known {
				c.at.Strangers++
				continue
			}
			if err := c.explainDifference(ctx, person, &users[i]); err != nil {
				return nil, err
			}
		}
		return next, nil
	})
}

// maxDetails bounds how many users' differences are named: each may cost the
// reading of a chunk, and whoever has more will not read them one by one.
const maxDetails = 1000

func (c *comparison) explainDifference(ctx context.Context, person uint32, u *pool.User) error {
	p := &c.census.people[person]
	same := p.saw&sawSame != 0 && p.has.is(enabled) == (p.saw&sawEnabled != 0)
	if !c.explain || !p.has.is(created) || same || len(c.at.Details) >= maxDetails {
		return nil
	}
	entry, err := c.entry(ctx, person)
	if err != nil {
		return err
	}
	c.at.Details[person] = c.census.rules.differences(&entry.User, u)
	return nil
}

// entry reads a person's record, keeping the last chunks at hand.
func (c *comparison) entry(ctx context.Context, person uint32) (*Entry, error) {
	at, exact := slices.BinarySearch(c.census.chunks, int32(person))
	if !exact {
		at--
	}
	// Empty chunks do not occur, so that starts are unique.
	n := at + 1
	if c.recent[n] == nil {
		if len(c.recent) >= 8 {
			clear(c.recent)
		}
		read := new(chunk)
		if err := c.Objects.Get(ctx, c.chunkKey(chunkName(c.census.round, n)), read); err != nil {
			return nil, err
		}
		if c.recent == nil {
			c.recent = map[int]*chunk{}
		}
		c.recent[n] = read
	}
	return &c.recent[n].Entries[int32(person)-c.census.chunks[at]], nil
}

func (c *comparison) listGroups(ctx context.Context) error {
	return c.at.Groups.Follow(ctx, c.Expired, func(ctx context.Context, token *string) (*string, error) {
		groups, next, err := pool.GroupsPage(ctx, c.api, c.target, token)
		if err != nil {
			return nil, err
		}
		for i := range groups {
			no, known := c.census.group(groups[i].Name)
			if !known {
				continue
			}
			c.at.Present[groups[i].Name] = true
			if !c.started.IsZero() && !groups[i].Created.Before(c.started.Truncate(time.Second)) {
				c.at.Made[groups[i].Name] = true
			}
			if d := groupDifference(&c.census.groups[no], &groups[i]); d != "" {
				c.at.Differ[groups[i].Name] = d
			}
		}
		return next, nil
	})
}

// groupDifference names what of a group is not as in the restore point.
func groupDifference(want, have *pool.Group) string {
	var different []string
	if want.Description != have.Description {
		different = append(different, "description")
	}
	if want.RoleARN != have.RoleARN {
		different = append(different, "role")
	}
	if (want.Precedence == nil) != (have.Precedence == nil) || want.Precedence != nil && *want.Precedence != *have.Precedence {
		different = append(different, "precedence")
	}
	s := fmt.Sprint(different)
	return s[1 : len(s)-1]
}

// listMembers reads the members of every group that both the restore point and
// the target have, several groups side by side.
func (c *comparison) listMembers(ctx context.Context) (bool, error) {
	waiting, open := c.at.Members, []*pool.Chain(nil)
	take := func() *pool.Chain {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(waiting) > 0 {
			first := waiting[0]
			waiting = waiting[1:]
			return first
		}
		for c.at.Next < len(c.census.groups) {
			c.at.Next++
			if name := c.census.groups[c.at.Next-1].Name; c.at.Present[name] {
				return &pool.Chain{Name: name}
			}
		}
		return nil
	}
	g, gctx := errgroup.WithContext(ctx)
	for range groupsAtOnce {
		g.Go(func() error {
			for !c.Expired() && gctx.Err() == nil {
				chain := take()
				if chain == nil {
					return nil
				}
				if err := c.follow(gctx, chain); err != nil {
					return err
				}
				if !chain.Done {
					c.mu.Lock()
					open = append(open, chain)
					c.mu.Unlock()
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	c.at.Members = append(open, waiting...)
	return len(c.at.Members) == 0 && c.at.Next == len(c.census.groups), nil
}

func (c *comparison) follow(ctx context.Context, chain *pool.Chain) error {
	no, _ := c.census.group(chain.Name)
	return chain.Follow(ctx, c.Expired, func(ctx context.Context, token *string) (*string, error) {
		users, next, err := pool.MembersPage(ctx, c.api, c.target, chain.Name, token)
		if isCode(err, "ResourceNotFoundException") {
			return nil, c.gone(ctx, no)
		}
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for i := range users {
			if person, known := c.person(users[i].Sub); known {
				if at, wanted := c.census.want(person, no); wanted {
					c.census.seen.set(at)
				}
			}
		}
		return next, nil
	})
}

// gone notes that a group was deleted since the groups were listed, unless it
// is the pool that is gone.
func (c *comparison) gone(ctx context.Context, group uint16) error {
	if _, err := c.api.ListUsers(ctx, &idp.ListUsersInput{UserPoolId: &c.target, Limit: aws.Int32(1)}); err != nil {
		return fmt.Errorf("look whether user pool %s still exists: %w", c.target, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.at.Present, c.census.groups[group].Name)
	for i, want := range c.census.wants {
		if uint16(want) == group {
			c.census.seen.clear(i)
		}
	}
	return nil
}

// bySub orders the people found by their new sub.
func (c *comparison) bySub() {
	c.subs = slices.Grow(c.subs[:0], len(c.census.people))
	for i := range c.census.people {
		if c.census.people[i].proof != NoProof {
			c.subs = append(c.subs, uint32(i))
		}
	}
	slices.SortFunc(c.subs, func(a, b uint32) int {
		return bytes.Compare(c.census.people[a].sub[:], c.census.people[b].sub[:])
	})
}

func (c *comparison) person(sub string) (uint32, bool) {
	packed := packSub(sub)
	i, found := slices.BinarySearchFunc(c.subs, packed, func(person uint32, sub [16]byte) int {
		return bytes.Compare(c.census.people[person].sub[:], sub[:])
	})
	if !found {
		return 0, false
	}
	return c.subs[i], true
}

// observationSize is how much is kept of a person between slices.
const observationSize = 16 + 3

// observedPart is how much of it one object holds: the lease leaves a write
// some seconds, and memory holds one at a time.
const observedPart = 4 << 20

func observedKey(key string, part int) string { return fmt.Sprintf("%s.%d", key, part) }

// partWriter writes objects of that size one after the other.
type partWriter struct {
	put   func(part int, b []byte) error
	b     []byte
	parts int
}

func (w *partWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	for len(w.b) >= observedPart {
		if err := w.flush(observedPart); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (w *partWriter) flush(n int) error {
	if err := w.put(w.parts, w.b[:n]); err != nil {
		return err
	}
	w.parts++
	w.b = w.b[:copy(w.b, w.b[n:])]
	return nil
}

// partReader reads them again.
type partReader struct {
	get   func(part int) ([]byte, error)
	parts int
	next  int
	b     []byte
}

func (r *partReader) Read(p []byte) (int, error) {
	for len(r.b) == 0 {
		if r.next == r.parts {
			return 0, io.EOF
		}
		var err error
		if r.b, err = r.get(r.next); err != nil {
			return 0, err
		}
		r.next++
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

// save keeps what was observed so far.
func (c *comparison) save(ctx context.Context) error {
	key := c.Prefix() + "verify/" + c.Invocation() + ".bin"
	parts := &partWriter{put: func(part int, b []byte) error {
		return c.Objects.PutBytes(ctx, observedKey(key, part), "application/octet-stream", b)
	}}
	z := gzip.NewWriter(parts)
	err := c.census.writeObserved(z)
	if err == nil {
		err = z.Close()
	}
	if err == nil {
		err = parts.flush(len(parts.b))
	}
	if err != nil {
		return fmt.Errorf("keep observations: %w", err)
	}
	c.at.Observed, c.at.Parts = key, parts.parts
	return nil
}

// writeObserved writes how many people and words of seen there are, and all of
// them; then the subs that are no UUIDs, if there are any.
func (c *census) writeObserved(w io.Writer) error {
	b := bufio.NewWriter(w)
	record := binary.BigEndian.AppendUint64(nil, uint64(len(c.people)))
	b.Write(binary.BigEndian.AppendUint64(record, uint64(len(c.seen)))) // a bufio.Writer keeps its error for Flush
	for i := range c.people {
		p := &c.people[i]
		record = append(append(record[:0], p.sub[:]...), byte(p.proof), byte(p.state), byte(p.saw))
		b.Write(record)
	}
	for _, word := range c.seen {
		b.Write(binary.BigEndian.AppendUint64(record[:0], word))
	}
	if len(c.odd) > 0 {
		if err := json.NewEncoder(b).Encode(slices.Collect(maps.Values(c.odd))); err != nil {
			return err
		}
	}
	return b.Flush()
}

// restore brings back what earlier slices observed.
func (c *comparison) restore(ctx context.Context) error {
	if c.at.Observed == "" {
		return nil
	}
	z, err := gzip.NewReader(&partReader{parts: c.at.Parts, get: func(part int) ([]byte, error) {
		return c.Objects.GetBytes(ctx, observedKey(c.at.Observed, part))
	}})
	if err == nil {
		err = c.census.readObserved(z)
	}
	if err != nil {
		return fmt.Errorf("read observations: %w", err)
	}
	return nil
}

func (c *census) readObserved(r io.Reader) error {
	b := bufio.NewReader(r)
	var record [observationSize]byte
	if _, err := io.ReadFull(b, record[:16]); err != nil {
		return err
	}
	people, words := binary.BigEndian.Uint64(record[:]), binary.BigEndian.Uint64(record[8:])
	if people != uint64(len(c.people)) || words != uint64(len(c.seen)) {
		return fmt.Errorf("they are of %d users, not %d", people, len(c.people))
	}
	for i := range c.people {
		if _, err := io.ReadFull(b, record[:]); err != nil {
			return err
		}
		p := &c.people[i]
		copy(p.sub[:], record[:])
		p.proof, p.state, p.saw = Proof(record[16]), status(record[17]), sighting(record[18])
	}
	for i := range c.seen {
		if _, err := io.ReadFull(b, record[:8]); err != nil {
			return err
		}
		c.seen[i] = binary.BigEndian.Uint64(record[:])
	}
	var odd []string
	if err := json.NewDecoder(b).Decode(&odd); err != nil && err != io.EOF {
		return err
	}
	for _, sub := range odd {
		c.pack(sub)
	}
	return nil
}

// again begins another listing of the target from nothing.
func (c *comparison) again() {
	for i := range c.census.people {
		c.census.people[i].observation = observation{}
	}
	clear(c.census.seen)
	*c.at = position{Pass: c.at.Pass + 1}
}
