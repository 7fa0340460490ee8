package restore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

// census is a frozen restore point in a form of which tens of millions of
// records fit into a function's memory, to compare the target with. It follows
// from the chunks and their results; only what is observed in the target has
// to be kept between slices.
type census struct {
	rules  *Rules
	key    []byte // of the hashes
	round  int    // whose chunks it stands for
	chunks []int32
	people []person
	bySubs bool  // people are found by their old subs, too
	refs   []ref // each pair of hash and person once; in their order when sorted
	sorted bool
	fresh  []ref // noted since the last sort
	since  time.Time

	linkSets map[uint32][]uint64 // hashes of linked identities

	groups  []pool.Group
	groupNo map[string]uint16

	wants  []uint64 // memberships: person<<16 | group, ascending
	asked  bitset   // those that this import was to add
	owed   bitset   // those that an earlier import was to add and did not
	failed bitset   // those that UpdateUsers could not add
	seen   bitset   // those observed in the target

	renamed  map[uint32]string     // usernames in the target of linked people who had another
	takenBy  map[uint32]string     // subs of those who hold a name, of the first people
	notes    map[uint32]userResult // of conflicts and failures
	byReason map[string]int64      // users created by API, by the reason why not by CSV

	noFlag  map[uint32][]updateFailure // disabled flags and links that failed
	noGroup map[int]updateFailure      // memberships that failed, by their place in wants

	// odd are the subs that are no UUIDs, by what is stored for them. Cognito gives
	// out none; whatever else answers in its place may.
	odd map[[16]byte]string

	orphans int64 // memberships of the restore point whose group it does not have
}

// person is what the census knows of a user of the restore point.
type person struct {
	print  uint64 // fingerprint of the comparable attributes
	status status
	has    trait
	observation
}

// observation is what the listing of the target tells about a person.
type observation struct {
	sub   [16]byte // new sub
	proof Proof
	state status
	saw   sighting
}

// trait is what is known of a person before the listing.
type trait uint16

const (
	enabled    trait = 1 << iota
	linked           // has linked identities
	requested        // was part of a chunk of a restoring round
	whole            // was to get flag and links too, not only memberships
	created          // by this import
	byAPI            // created by AdminCreateUser
	existing         // ImportUsers found the same person there
	conflicted       // ImportUsers met somebody else who holds the name
	refused          // could not be created
	flagFailed       // UpdateUsers could not disable
	linkFailed       // UpdateUsers could not link
	earlier          // an unfinished earlier import set out to create
	recorded         // an earlier import recorded the new sub
	updated          // UpdateUsers is done with the person
)

func (t trait) is(u trait) bool { return t&u != 0 }

// sighting is what the listing saw.
type sighting uint8

const (
	sawEnabled sighting = 1 << iota
	sawSame             // every comparable attribute as in the restore point
	sawLinks            // every linked identity
	sawTaken            // somebody else holds the name
	sawTwice            // two users of the target could be this person, or one could be this or another
)

// status is a user's status in a byte.
type status uint8

var statuses = []string{"", pool.Confirmed, pool.Unconfirmed, pool.ResetRequired, pool.ForceChangePassword, pool.ExternalProvider,
	"ARCHIVED", "COMPROMISED", "UNKNOWN"}

func statusOf(s string) status { return status(max(0, slices.Index(statuses, s))) }

func (s status) String() string { return statuses[s] }

// ref leads from the hash of a value to a person. One value often stands for
// several things: a username is a claim, and the name that only one can have.
type ref struct {
	hash   uint64
	person uint32
	as     role
}

// role is what a value is to a person: a bit for each proof that it may be, and
// those below.
type role uint16

const (
	held  role = 1 << (iota + 8) // a name that only one user can have
	made                         // the name of a user whom this import created
	maybe                        // the name of a user whom an import that was stopped was creating
)

// anyProof is the roles of claims.
const anyProof = held - 1

func (p Proof) role() role { return 1 << p }

// proofs are the proofs among the roles, strongest first.
func (r role) proofs(do func(Proof)) {
	for p := ProofSub; p.role() < held; p++ {
		if r&p.role() != 0 {
			do(p)
		}
	}
}

// hash is 8 bytes that stand for a value. They depend on a key that nobody
// outside this import knows: otherwise somebody could look for a username that
// hashes like another person's address, and be taken for that person.
func (c *census) hash(parts ...string) uint64 {
	h := sha256.New()
	h.Write(c.key)
	for _, part := range parts {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return binary.LittleEndian.Uint64(h.Sum(nil))
}

// load reads the frozen chunks and groups and builds the census, to learn what
// was done up to a round.
func (r run) load(ctx context.Context, plan *Plan, frozen *Frozen, round int) (*census, error) {
	// In a pool that was empty nobody has an old sub, and the first round's chunks
	// are those of the census.
	c := &census{bySubs: plan.Input.Mode == MissingOnly || round > plan.first(), rules: plan.rules(), key: plan.Key, round: plan.first(), since: plan.Since().Add(-clockSkew), groupNo: map[string]uint16{}, linkSets: map[uint32][]uint64{},
		notes: map[uint32]userResult{}, byReason: map[string]int64{},
		noFlag: map[uint32][]updateFailure{}, noGroup: map[int]updateFailure{}}
	for n := range frozen.Groups {
		var groups []pool.Group
		if err := r.Objects.Get(ctx, r.groupsKey(n), &groups); err != nil {
			return nil, err
		}
		for _, g := range groups {
			c.groupNo[g.Name] = uint16(len(c.groups))
			c.groups = append(c.groups, g)
		}
	}
	// As large as they will be, so that growing leaves no copies behind.
	c.people, c.wants = make([]person, 0, frozen.Stats.Users), make([]uint64, 0, frozen.Stats.Memberships)
	owed := map[uint32][]string{}
	err := r.eachChunk(ctx, c.round, frozen.Chunks, func(chunk *chunk) error {
		c.chunks = append(c.chunks, int32(len(c.people)))
		for i := range chunk.Entries {
			if groups := chunk.Entries[i].Owed; len(groups) > 0 {
				owed[uint32(len(c.people))] = groups
			}
			c.add(&chunk.Entries[i])
		}
		if len(c.chunks) == 1 {
			expected := len(c.refs) * int(frozen.Stats.Users) / max(1, len(c.people))
			if round > 0 {
				expected += int(frozen.Stats.API) // the new subs that are known without a listing
			}
			c.refs = slices.Grow(c.refs, expected)
			step.Hold(c.size())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(c.wants)
	c.sort()
	c.asked, c.owed, c.failed, c.seen = newBitset(len(c.wants)), newBitset(len(c.wants)), newBitset(len(c.wants)), newBitset(len(c.wants))
	for person, groups := range owed {
		c.owe(person, groups)
	}
	return c, nil
}

// release forgets by what people are found, once all of them are: a report is
// long, and takes the room.
func (c *census) release() {
	c.refs, c.fresh = nil, nil
	step.Hold(c.size() + mappingBytes)
}

// size is about how many bytes the census takes, with the order by sub.
func (c *census) size() int {
	const person, ref, want, place = 32, 16, 8, 4
	return cap(c.people)*(person+place) + cap(c.refs)*ref + cap(c.wants)*want
}

func (c *census) add(e *Entry) {
	i := uint32(len(c.people))
	p := person{print: c.fingerprint(c.rules.comparable(&e.User)), status: statusOf(e.User.Status)}
	if e.User.Enabled {
		p.has |= enabled
	}
	if links := c.linkHashes(Links(&e.User)); len(links) > 0 {
		p.has |= linked
		c.linkSets[i] = links
	}
	if e.NewSub != "" {
		p.has |= recorded
	}
	first := len(c.refs)
	refer := func(value string, as role) {
		hash := c.hash(value)
		for at := first; at < len(c.refs); at++ {
			if c.refs[at].hash == hash {
				c.refs[at].as |= as
				return
			}
		}
		c.refs = append(c.refs, ref{hash, i, as})
	}
	for _, claim := range c.rules.claims(&e.User, e.NewSub) {
		if claim.Proof != ProofSub || c.bySubs {
			refer(claim.Value, claim.Proof.role())
		}
	}
	if e.User.Status != pool.ExternalProvider {
		for _, name := range c.rules.names(&e.User, c.rules.signInName(&e.User)) {
			refer(name, held)
		}
	}
	for _, name := range e.Groups {
		g, known := c.groupNo[name]
		if !known {
			c.orphans++
			continue
		}
		c.wants = append(c.wants, uint64(i)<<16|uint64(g))
	}
	c.people = append(c.people, p)
}

// note adds a role to a value of a person. It counts from the next sort on.
func (c *census) note(value string, person uint32, as role) {
	r := ref{c.hash(value), person, as}
	if at, known := slices.BinarySearchFunc(c.refs, r, ref.compare); known {
		c.refs[at].as |= as
		return
	}
	if c.fresh = append(c.fresh, r); len(c.fresh) == notes {
		c.sort()
	}
}

// notes is how many are sorted in at once: a million in a slice of their own
// would take as much memory again.
const notes = 1 << 16

func (r ref) compare(o ref) int {
	return cmp.Or(cmp.Compare(r.hash, o.hash), cmp.Compare(r.person, o.person))
}

// sort makes what was added searchable.
func (c *census) sort() {
	if !c.sorted {
		slices.SortFunc(c.refs, ref.compare)
		c.sorted = true
	}
	slices.SortFunc(c.fresh, ref.compare)
	n := 0
	for _, r := range c.fresh {
		if n > 0 && c.fresh[n-1].compare(r) == 0 {
			c.fresh[n-1].as |= r.as
			continue
		}
		c.fresh[n] = r
		n++
	}
	// Merged from the end, into the room that they need.
	old := len(c.refs)
	c.refs = slices.Grow(c.refs, n)[:old+n]
	for at := old + n - 1; n > 0; at-- {
		if old > 0 && c.refs[old-1].compare(c.fresh[n-1]) > 0 {
			old--
			c.refs[at] = c.refs[old]
		} else {
			n--
			c.refs[at] = c.fresh[n]
		}
	}
	c.fresh = c.fresh[:0]
}

// find calls do for every person to whom the value is any of the roles, and
// with which of them.
func (c *census) find(value string, as role, do func(person uint32, as role)) {
	hash := c.hash(value)
	i, _ := slices.BinarySearchFunc(c.refs, hash, func(r ref, h uint64) int { return cmp.Compare(r.hash, h) })
	for ; i < len(c.refs) && c.refs[i].hash == hash; i++ {
		if is := c.refs[i].as & as; is != 0 {
			do(c.refs[i].person, is)
		}
	}
}

// bySub finds the person of the restore point with the old sub; nobody unless
// bySubs.
func (c *census) bySub(sub string) (uint32, bool) {
	var person uint32
	var found bool
	c.find("sub:"+sub, ProofSub.role(), func(p uint32, _ role) { person, found = p, true })
	return person, found
}

func (c *census) linkHashes(links []Link) []uint64 {
	hashes := make([]uint64, len(links))
	for i, l := range links {
		hashes[i] = c.hash(l.Provider, l.UserID)
	}
	return hashes
}

// linkedAll says that the target's user has every linked identity of the person.
func (c *census) linkedAll(person uint32, u *pool.User) bool {
	have := c.linkHashes(identities(u))
	return !slices.ContainsFunc(c.linkSets[person], func(want uint64) bool { return !slices.Contains(have, want) })
}

// fingerprint is a hash of attributes.
func (c *census) fingerprint(attributes map[string]string) uint64 {
	parts := make([]string, 0, 2*len(attributes))
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		parts = append(parts, name, attributes[name])
	}
	return c.hash(parts...)
}

// observe records a user of the target and says which person it is, if any.
func (c *census) observe(u *pool.User) (uint32, bool) {
	var best struct {
		person uint32
		proof  Proof
	}
	var rivals []uint32 // those whom u proves to be as well as best
	better := func(person uint32, proof Proof) {
		switch {
		case best.proof == NoProof || proof < best.proof:
			best.person, best.proof, rivals = person, proof, nil
		case proof == best.proof && person != best.person:
			rivals = append(rivals, person)
		}
	}
	for _, proof := range c.rules.proofs(u) {
		c.find(proof.Value, anyProof, func(person uint32, as role) {
			as.proofs(func(p Proof) { better(person, p) })
		})
	}
	if u.Status != pool.ExternalProvider {
		for _, name := range c.rules.names(u, u.Username) {
			c.find(name, made, func(person uint32, _ role) { better(person, ProofRecorded) })
			c.find(name, maybe, func(person uint32, _ role) {
				if reachableByImportOnly(u, c.since) && c.fingerprint(c.rules.comparable(u)) == c.people[person].print {
					better(person, ProofRecorded)
				}
			})
		}
	}
	matched := best.proof != NoProof && len(rivals) == 0 && c.claim(best.person, best.proof, u)
	if len(rivals) > 0 { // somebody must decide who of them it is
		for _, person := range append(rivals, best.person) {
			if p := &c.people[person]; p.proof == NoProof || p.proof >= best.proof {
				p.saw |= sawTwice
			}
		}
	}
	same := false
	if u.Status != pool.ExternalProvider {
		for _, name := range c.rules.names(u, u.Username) {
			c.find(name, held, func(person uint32, _ role) {
				same = same || person == best.person
				if !matched || person != best.person {
					c.people[person].saw |= sawTaken
					if c.takenBy != nil && len(c.takenBy) < maxRecords {
						c.takenBy[person] = u.Sub
					}
				}
			})
		}
	}
	if matched && !same && c.renamed != nil && c.people[best.person].has.is(linked) && !c.rules.Target.generatedUsernames() {
		c.renamed[best.person] = u.Username
	}
	return best.person, matched
}

// claim gives the person to the user of the target who proves it best.
func (c *census) claim(person uint32, proof Proof, u *pool.User) bool {
	p := &c.people[person]
	sub := c.pack(u.Sub)
	if p.proof != NoProof && p.sub != sub {
		if proof > p.proof {
			return false
		}
		if proof == p.proof {
			p.saw |= sawTwice
			return false
		}
	}
	keep := p.saw & (sawTaken | sawTwice)
	p.observation = observation{sub: sub, proof: proof, state: statusOf(u.Status), saw: keep}
	if u.Enabled {
		p.saw |= sawEnabled
	}
	if c.fingerprint(c.rules.comparable(u)) == p.print {
		p.saw |= sawSame
	}
	if !p.has.is(linked) || c.linkedAll(person, u) {
		p.saw |= sawLinks
	}
	return true
}

// group finds a group of the restore point by its name.
func (c *census) group(name string) (uint16, bool) {
	g, ok := c.groupNo[name]
	return g, ok
}

// want finds the membership of the person in the group.
func (c *census) want(person uint32, group uint16) (int, bool) {
	return slices.BinarySearch(c.wants, uint64(person)<<16|uint64(group))
}

// memberships calls do for each membership of the person: its place in wants
// and its group.
func (c *census) memberships(person uint32, do func(i int, group uint16)) {
	i, _ := slices.BinarySearch(c.wants, uint64(person)<<16)
	for ; i < len(c.wants) && uint32(c.wants[i]>>16) == person; i++ {
		do(i, uint16(c.wants[i]))
	}
}

// bitset is a set of small numbers.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (b bitset) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bitset) clear(i int)    { b[i/64] &^= 1 << (i % 64) }
func (b bitset) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

// packSub stores a sub, which is a UUID as Cognito writes them, in 16 bytes.
// Anything else is hashed; census.odd has its text.
func packSub(sub string) (packed [16]byte) {
	if b, err := hex.DecodeString(strings.ReplaceAll(sub, "-", "")); err == nil && isUUID(sub) {
		copy(packed[:], b)
		return packed
	}
	h := fnv.New128a()
	h.Write([]byte(sub))
	copy(packed[:], h.Sum(nil))
	return packed
}

// isUUID says that the sub is the text of 16 bytes, letter for letter.
func isUUID(sub string) bool {
	if len(sub) != 36 {
		return false
	}
	for i := range len(sub) {
		switch c := sub[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return true
}

// pack stores a sub that is to be written out again.
func (c *census) pack(sub string) [16]byte {
	packed := packSub(sub)
	if sub != "" && !isUUID(sub) {
		if c.odd == nil {
			c.odd = map[[16]byte]string{}
		}
		c.odd[packed] = sub
	}
	return packed
}

// unpack is the sub as text.
func (c *census) unpack(packed [16]byte) string {
	if sub, is := c.odd[packed]; is {
		return sub
	}
	if packed == ([16]byte{}) {
		return ""
	}
	h := hex.EncodeToString(packed[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
