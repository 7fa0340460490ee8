package export_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/backup/backuptest"
	"cognito-backup/internal/export"
	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
	"cognito-backup/internal/step/steptest"

	"github.com/aws/aws-sdk-go-v2/aws"
	idptypes "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const poolID = "eu-west-1_Test"

// memoryQueue delivers each message once, in order, and forgets it when it is deleted.
type memoryQueue struct {
	pending []types.Message
	n       int
	drop    int // so many messages are lost on the way
}

func (q *memoryQueue) SendMessageBatch(_ context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	for _, e := range in.Entries {
		if q.drop > 0 {
			q.drop--
			continue
		}
		q.n++
		q.pending = append(q.pending, types.Message{Body: e.MessageBody, ReceiptHandle: aws.String(fmt.Sprint(q.n))})
	}
	return &sqs.SendMessageBatchOutput{}, nil
}

func (q *memoryQueue) ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	n := min(10, len(q.pending))
	out := q.pending[:n]
	q.pending = q.pending[n:]
	return &sqs.ReceiveMessageOutput{Messages: out}, nil
}

func (q *memoryQueue) DeleteMessage(context.Context, *sqs.DeleteMessageInput, ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error) {
	return &sqs.DeleteMessageOutput{}, nil
}

// world is a pool, its backup and a clock that exports advance.
type world struct {
	pool   *fakePool
	table  *backuptest.Table
	store  *backup.Store
	bucket *steptest.Bucket
	queue  *memoryQueue
	now    time.Time
	runs   int

	retentionDays int
	shards        int
	segments      int
	input         string
	slice         time.Duration
	metrics       bytes.Buffer
	serial        bool             // one group at a time
	clock         func() time.Time // of the slices; now when nil
	kill          func()           // arms a crash before each step
	abandon       int              // the run dies for good at this kill
	wrap          func(name string, s step.Step) step.Step
}

func newWorld() *world {
	w := &world{pool: newPool(), table: &backuptest.Table{PageSize: 5}, bucket: new(steptest.Bucket), queue: new(memoryQueue),
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), retentionDays: 35, shards: 1, input: "{}", slice: time.Hour}
	w.store = &backup.Store{Table: w.table}
	return w
}

type named struct {
	name string
	step step.Step
}

func (w *world) steps() []named {
	parallel := 4
	if w.serial {
		parallel = 1
	}
	source := export.Source{UserPoolID: poolID, Store: w.store, Limits: pool.NewLimits(1_000_000)}
	return []named{
		{"CheckUserPoolConfig", &export.Configuration{Source: source, API: w.pool, TPS: 10, Slice: 10 * time.Minute}},
		{"ExportUsers", &export.Users{Source: source, API: w.pool, Shards: w.shards}},
		{"ListGroups", &export.Groups{Source: source, API: w.pool}},
		{"ExportGroupMembers", &export.Memberships{Source: source, API: w.pool, Parallel: parallel}},
		{"CleanUpBackupTable", &export.CleanUp{Source: source, Queue: w.queue, QueueURL: "q", Segments: w.segments, RetentionDays: w.retentionDays, MassDeletionPercent: 20,
			Metrics: &step.Metrics{Out: &w.metrics, Now: func() time.Time { return w.now }}, Now: func() time.Time { return w.now }}},
	}
}

// export runs an export, or its first steps only, and returns its run id.
func (w *world) export(ctx context.Context, steps int) (string, *steptest.Workflow, error) {
	w.now = w.now.Add(time.Hour)
	w.runs++
	flow := &steptest.Workflow{Name: "ExportWorkflow", Execution: fmt.Sprintf("run-%d", w.runs), Input: w.input, Bucket: w.bucket,
		Slice: w.slice, Now: func() time.Time { return w.now }, Run: step.Run{RunID: step.FormatTime(w.now)}}
	if w.clock != nil {
		flow.Now = w.clock
	}
	for _, s := range w.steps()[:steps] {
		if w.kill != nil {
			w.kill()
		}
		if w.wrap != nil {
			s.step = w.wrap(s.name, s.step)
		}
		err := flow.Do(ctx, s.name, s.step)
		for deaths := 1; errors.Is(err, errKilled) || errors.Is(err, errLost); deaths++ {
			if w.abandon > 0 {
				if w.abandon--; w.abandon == 0 {
					return flow.Run.RunID, flow, err
				}
			}
			if w.kill != nil && deaths < 3 {
				w.kill() // and again
			}
			err = flow.Do(ctx, s.name, s.step)
		}
		if err != nil {
			return flow.Run.RunID, flow, err
		}
	}
	return step.FormatTime(w.now), flow, nil
}

// state is what a pool, or a restore point of it, holds.
type state map[backup.Key]string

func (w *world) state() state {
	s := state{}
	add := func(r backup.Record, err error) {
		if err != nil {
			panic(err)
		}
		s[r.Key] = string(r.Content)
	}
	for _, u := range w.pool.users {
		add(backup.FromUser(u))
	}
	for _, g := range w.pool.groups {
		add(backup.FromGroup(g))
	}
	for group, subs := range w.pool.members {
		for sub := range subs {
			if _, exists := w.pool.users[sub]; exists {
				add(backup.FromMembership(sub, group))
			}
		}
	}
	return s
}

// asOf reads the table as of a restore point and checks it against its commit record.
func (w *world) asOf(ctx context.Context, id string) (state, error) {
	point, err := w.store.RestorePoint(ctx, poolID, id)
	if err != nil {
		return nil, err
	}
	s := state{}
	var sum backup.Summary
	for i := range 3 {
		for p := (backup.Position{}); !p.Done; {
			items, next, err := w.store.ReadAsOf(ctx, id, backup.Segment{Index: i, Of: 3}, p)
			if err != nil {
				return nil, err
			}
			for _, item := range items {
				sum.Add(&item)
				if item.Kind() != backup.KindPool {
					s[item.Key] = string(item.Content)
				}
			}
			p = next
		}
	}
	if sum != point.Summary {
		return nil, fmt.Errorf("restore point %s says %+v, read were %+v", id, point.Summary, sum)
	}
	return s, nil
}

func (s state) diff(other state) string {
	var b strings.Builder
	for _, k := range slices.SortedFunc(maps.Keys(s), func(a, b backup.Key) int { return strings.Compare(a.ID+a.Type, b.ID+b.Type) }) {
		if other[k] != s[k] {
			fmt.Fprintf(&b, "%v: %s instead of %s\n", k, other[k], s[k])
		}
	}
	for k := range other {
		if _, ok := s[k]; !ok {
			fmt.Fprintf(&b, "%v: too much\n", k)
		}
	}
	return b.String()
}

func (w *world) fill(users int, groups ...string) {
	for _, g := range groups {
		w.pool.addGroup(g)
	}
	for n := range users {
		sub := w.pool.addUser(n)
		if len(groups) > 0 {
			w.pool.members[groups[n%len(groups)]][sub] = true
		}
	}
}

func (w *world) mustExport(t *testing.T) string {
	t.Helper()
	want := w.state()
	id, _, err := w.export(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.asOf(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if d := want.diff(got); d != "" {
		t.Fatalf("restore point %s differs from the pool:\n%s", id, d)
	}
	return id
}

func TestListingOddities(t *testing.T) {
	cases := map[string]func(*world){
		"plain":               func(*world) {},
		"empty pages":         func(w *world) { w.pool.emptyPages = true },
		"short pages":         func(w *world) { w.pool.pageSize = 1 },
		"a user on two pages": func(w *world) { w.pool.repeatUser = true },
		"token expires":       func(w *world) { w.pool.expireAfter = 4 },
		"token expires late":  func(w *world) { w.pool.expireAfter = 9 },
		"16 shards":           func(w *world) { w.shards = 16 },
		"16 shards, all of it": func(w *world) {
			w.shards, w.pool.emptyPages, w.pool.repeatUser, w.pool.expireAfter = 16, true, true, 20
		},
	}
	for name, set := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.fill(100, "a", "b", "B", "a!", "読者")
			set(w)
			w.mustExport(t)
		})
	}
}

func TestUnchangedPoolIsNotWritten(t *testing.T) {
	w := newWorld()
	w.fill(300, "a", "b")
	w.mustExport(t)
	before := w.table.Writes
	w.mustExport(t)
	if wrote := w.table.Writes - before; wrote != 1 {
		t.Errorf("an export of an unchanged pool wrote %d items, want 1, the commit record", wrote)
	}
}

// TestScanOrder changes users and memberships between exports, so that records
// have older versions, over a table that scans each partition from its end.
// A group's name has a space, which Cognito takes from nobody.
func TestScanOrder(t *testing.T) {
	w := newWorld()
	w.table.Backwards = true
	w.fill(40, "Power", "Power Users", "a!")
	var points []string
	var states []state
	for i := range 6 {
		for sub, user := range w.pool.users {
			if user.Username[len(user.Username)-1] == byte('0'+i) {
				user.Attributes = maps.Clone(user.Attributes)
				user.Attributes["given_name"] = fmt.Sprint(i)
				w.pool.users[sub] = user
				for _, group := range []string{"Power", "Power Users"} {
					if w.pool.members[group][sub] = !w.pool.members[group][sub]; !w.pool.members[group][sub] {
						delete(w.pool.members[group], sub)
					}
				}
			}
		}
		states = append(states, w.state())
		points = append(points, w.mustExport(t))
	}
	for i, point := range points {
		got, err := w.asOf(t.Context(), point)
		if err != nil {
			t.Fatal(err)
		}
		if d := states[i].diff(got); d != "" {
			t.Errorf("restore point %d of %d is no longer the pool as it was then:\n%s", i, len(points), d)
		}
	}
}

// TestMembersWithoutSub: a membership that cannot be recorded is no membership
// less in the restore point, but a failure.
func TestMembersWithoutSub(t *testing.T) {
	w := newWorld()
	w.fill(10, "a")
	w.wrap = func(name string, s step.Step) step.Step {
		if name == "ExportGroupMembers" {
			for sub, user := range w.pool.users {
				user.Attributes = maps.Clone(user.Attributes)
				delete(user.Attributes, "sub")
				w.pool.users[sub] = user
			}
		}
		return s
	}
	if _, _, err := w.export(t.Context(), 5); err == nil || !strings.Contains(err.Error(), "sub") {
		t.Errorf("the export of memberships without a sub ended with %v", err)
	}
}

// TestConfigurationInParts: Cognito refuses parts of the configuration; users
// are backed up all the same, and the backup keeps what had been read of them.
func TestConfigurationInParts(t *testing.T) {
	w := newWorld()
	w.fill(10, "a")
	stored := func() (c pool.Configuration) {
		item := w.table.Items()[backup.PoolKey(poolID)]
		if err := item.Decode(&c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	w.mustExport(t)
	if c := stored(); len(c.Clients) != 1 || len(c.NotRead) > 0 {
		t.Fatalf("%d clients, not read: %q", len(c.Clients), c.NotRead)
	}
	for name, refusal := range map[string]error{
		"unknown operation": &smithy.GenericAPIError{Code: "UnknownOperationException"},
		"no answer":         &smithy.GenericAPIError{Code: "UnknownError"},
		"a page of a proxy": &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: http.StatusNotFound}},
			Err: &smithy.DeserializationError{Err: errors.New("invalid character '<'")}},
		"excluded by plan": &idptypes.FeatureUnavailableInTierException{},
	} {
		w.pool.refuseParts = refusal
		_, flow, err := w.export(t.Context(), 5)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := stored()
		if want := []string{"MFA", "Clients", "IdentityProviders", "ResourceServers"}; !slices.Equal(c.NotRead, want) || flow.Run.Counts[step.CountNotRead] != 4 {
			t.Errorf("%s: not read are %q, people are told of %d", name, c.NotRead, flow.Run.Counts[step.CountNotRead])
		}
		if len(c.Clients) != 1 || len(c.IdentityProviders) != 1 || c.MFA.MfaConfiguration != "OFF" {
			t.Errorf("%s: the parts read before are gone: %+v", name, c)
		}
	}
	before := w.table.Writes
	w.mustExport(t)
	if wrote := w.table.Writes - before; wrote != 1 {
		t.Errorf("an export that met the same refusal wrote %d items, want 1, the commit record", wrote)
	}
	for name, failure := range map[string]error{
		"throttled":          &idptypes.TooManyRequestsException{},
		"error of Cognito":   &idptypes.InternalErrorException{},
		"permission missing": &smithy.GenericAPIError{Code: "AccessDeniedException"},
	} {
		w.pool.refuseParts = failure
		if _, _, err := w.export(t.Context(), 5); !errors.Is(err, failure) {
			t.Errorf("%s: the export ended with %v", name, err)
		}
	}
}

// TestConfigurationListsExpire: the token of a list of clients expires between
// two pages.
func TestConfigurationListsExpire(t *testing.T) {
	w := newWorld()
	w.pool.moreClients = 2
	w.mustExport(t)
	var c pool.Configuration
	item := w.table.Items()[backup.PoolKey(poolID)]
	if err := item.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if len(c.Clients) != 2 || len(c.NotRead) > 0 || w.pool.moreClients != 0 {
		t.Errorf("%d clients, not read: %q", len(c.Clients), c.NotRead)
	}

	w.pool.moreClients = 1_000_000 // never again
	w.pool.tokensExpire = true
	if _, _, err := w.export(t.Context(), 5); !errors.As(err, new(*step.TransientError)) {
		t.Errorf("a list of which every token expires ended the export with %v", err)
	}
}

func TestConfigurationHoldsNoSecret(t *testing.T) {
	w := newWorld()
	_, flow, err := w.export(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	if n := flow.Run.Counts[step.CountSecrets]; n != 2 {
		t.Errorf("%d secrets were left out, not that of the client and that of the provider", n)
	}
	for key, item := range w.table.Items() {
		if strings.Contains(string(item.Content), "secret-value") {
			t.Errorf("%v holds a secret", key)
		}
	}
}

func TestPoolDeletedDuringExportMakesNoRestorePoint(t *testing.T) {
	for call := 1; call < 40; call += 3 {
		w := newWorld()
		w.fill(50, "a", "b", "c")
		first := w.mustExport(t)
		w.pool.calls = 0
		w.pool.onCall = func(n int) {
			if n == call {
				w.pool.mu.Lock()
				w.pool.gone = true
				w.pool.mu.Unlock()
			}
		}
		_, _, err := w.export(t.Context(), 5)
		w.pool.mu.Lock()
		gone := w.pool.gone
		w.pool.mu.Unlock()
		points, readErr := w.store.RestorePoints(t.Context(), poolID)
		if readErr != nil {
			t.Fatal(readErr)
		}
		if gone && (err == nil || len(points) != 1) {
			t.Errorf("pool deleted at call %d: error %v, %d restore points", call, err, len(points))
		}
		if _, err := w.asOf(t.Context(), first); err != nil {
			t.Errorf("pool deleted at call %d: the restore point before is damaged: %v", call, err)
		}
	}
}

func TestMassDeletion(t *testing.T) {
	w := newWorld()
	w.fill(400, "a", "b")
	before := w.state()
	good := w.mustExport(t)
	for sub := range w.pool.users {
		if len(w.pool.users) > 20 {
			delete(w.pool.users, sub)
		}
	}
	suspect := w.mustExport(t)
	point, err := w.store.RestorePoint(t.Context(), poolID, suspect)
	if err != nil {
		t.Fatal(err)
	}
	if !point.Suspect || point.Gone != 380 || point.Reference != good {
		t.Fatalf("after 380 of 400 users vanished: %+v", point)
	}
	for range 10 {
		w.now = w.now.AddDate(0, 0, 10)
		if p, _ := w.store.RestorePoint(t.Context(), poolID, w.mustExport(t)); !p.Suspect {
			t.Fatal("a later export is trustworthy although the users are not back")
		}
	}
	got, err := w.asOf(t.Context(), good)
	if err != nil {
		t.Fatalf("100 days later the last trustworthy restore point is damaged: %v", err)
	}
	if d := before.diff(got); d != "" {
		t.Fatalf("100 days later the last trustworthy restore point differs:\n%s", d)
	}
	w.input = `{"AcceptMassDeletion": true}`
	accepted := w.mustExport(t)
	if p, _ := w.store.RestorePoint(t.Context(), poolID, accepted); p.Suspect || !p.Accepted {
		t.Fatalf("accepted: %+v", p)
	}
	for key, item := range w.table.Items() {
		if key.Kind() == backup.KindUser && item.DeletedAt != "" && item.DeletedAt < suspect {
			t.Fatalf("%v is still kept after acceptance", key)
		}
	}
	if n := len(w.table.Items()); n > 20+20+2+1+12 {
		t.Errorf("after acceptance the table still holds %d items", n)
	}
}

func TestAcceptanceHolds(t *testing.T) {
	w := newWorld()
	w.fill(100)
	w.mustExport(t)
	for sub := range w.pool.users {
		if len(w.pool.users) > 20 {
			delete(w.pool.users, sub)
		}
	}
	w.mustExport(t)
	w.input = `{"AcceptMassDeletion": true}`
	w.mustExport(t)
	w.input = "{}"
	for range 3 { // hours after the larger restore point
		if p, _ := w.store.RestorePoint(t.Context(), poolID, w.mustExport(t)); p.Suspect {
			t.Fatalf("an export after acceptance is suspect: %+v", p)
		}
	}
}

// TestUsersWhoVanishedOnceAndAreGoneNow: a listing that saw too few users made
// tombstones; after they were seen again, all of them vanish.
func TestUsersWhoVanishedOnceAndAreGoneNow(t *testing.T) {
	w := newWorld()
	w.fill(100)
	w.mustExport(t)
	all := maps.Clone(w.pool.users)
	for sub := range w.pool.users {
		if len(w.pool.users) > 20 {
			delete(w.pool.users, sub)
		}
	}
	w.mustExport(t)
	w.pool.users = all
	for sub := range all {
		delete(all, sub) // one less than before, so that the first stays the largest
		break
	}
	if p, _ := w.store.RestorePoint(t.Context(), poolID, w.mustExport(t)); p.Suspect {
		t.Fatalf("users who are back are gone: %+v", p)
	}
	w.pool.users = map[string]pool.User{}
	if p, _ := w.store.RestorePoint(t.Context(), poolID, w.mustExport(t)); !p.Suspect || p.Gone < 99 {
		t.Fatalf("an empty pool is not suspect: %+v", p)
	}
}

func TestRestoredUsersAreBack(t *testing.T) {
	for _, generated := range []bool{false, true} { // usernames that Cognito generated
		w := newWorld()
		w.fill(100, "a")
		for sub, u := range w.pool.users {
			if generated {
				u.Username = sub
			}
			w.pool.users[sub] = u
		}
		w.mustExport(t)
		lost := w.pool.users
		w.pool.users = map[string]pool.User{}
		if p, _ := w.store.RestorePoint(t.Context(), poolID, w.mustExport(t)); !p.Suspect {
			t.Fatal("an empty pool is not suspect")
		}
		n := 0
		for _, u := range lost { // restored: new subs
			n++
			sub := fmt.Sprintf("%08x-1111-4000-8000-000000000000", n)
			if generated {
				u.Username = sub
			}
			u.Attributes = map[string]string{"sub": sub, "email": u.Attributes["email"]}
			u.Sub = sub
			w.pool.users[sub] = u
		}
		if p, _ := w.store.RestorePoint(t.Context(), poolID, w.mustExport(t)); p.Suspect || p.Users != 100 {
			t.Errorf("after all users were restored: %+v", p)
		}
	}
}

func TestReplacedUsersAreGone(t *testing.T) {
	w := newWorld()
	w.fill(100)
	w.mustExport(t)
	w.pool.users = map[string]pool.User{}
	for n := range 100 { // as many strangers
		w.pool.addUser(1000 + n)
	}
	if p, _ := w.store.RestorePoint(t.Context(), poolID, w.mustExport(t)); !p.Suspect {
		t.Errorf("all users were replaced by strangers: %+v", p)
	}
}

func TestRetention(t *testing.T) {
	w := newWorld()
	w.fill(60, "a")
	for day := range 80 {
		for sub, u := range w.pool.users { // one user changes each day
			u.Attributes = map[string]string{"sub": sub, "nickname": fmt.Sprint(day)}
			w.pool.users[sub] = u
			break
		}
		w.mustExport(t)
		w.now = w.now.Add(23 * time.Hour)
	}
	points, err := w.store.RestorePoints(t.Context(), poolID)
	if err != nil {
		t.Fatal(err)
	}
	if len(points) != 36 {
		t.Errorf("%d restore points are kept of 80 daily ones and 35 days of retention", len(points))
	}
	for _, p := range points {
		if _, err := w.asOf(t.Context(), p.ID()); err != nil {
			t.Error(err)
		}
	}
	if versions := len(w.table.Items()) - 60 - 60 - 1 - 1 - len(points); versions > 36 {
		t.Errorf("%d older versions are kept, more than there were changes within the retention", versions)
	}
}

func TestNewestRestorePointOutlivesFailingExports(t *testing.T) {
	w := newWorld()
	w.fill(60, "a")
	want := w.state()
	id := w.mustExport(t)
	for range 50 { // exports that die after the users, in a pool that changes
		for sub := range w.pool.users {
			delete(w.pool.users, sub)
			break
		}
		w.now = w.now.AddDate(0, 0, 1)
		if _, _, err := w.export(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
	}
	got, err := w.asOf(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if d := want.diff(got); d != "" {
		t.Error(d)
	}
}

func TestRemovalIsAccountedFor(t *testing.T) {
	w := newWorld()
	w.retentionDays = 1
	w.fill(30, "a")
	w.mustExport(t)
	for sub := range w.pool.users {
		if len(w.pool.users) > 25 {
			delete(w.pool.users, sub)
		}
	}
	w.mustExport(t)
	w.now = w.now.AddDate(0, 0, 3)
	w.queue.drop = 3 // the queue loses messages: accounting finds out
	w.mustExport(t)
	for key, item := range w.table.Items() {
		if item.DeletedAt != "" {
			t.Errorf("%v was not removed", key)
		}
	}
}
