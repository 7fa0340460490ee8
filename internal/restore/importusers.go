package restore

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"sync/atomic"
	"time"

	idp "github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"

	"cognito-backup/internal/step"
)

// UserCreator is what creating users by API needs of Cognito.
type UserCreator interface {
	AdminCreateUser(context.Context, *idp.AdminCreateUserInput, ...func(*idp.Options)) (*idp.AdminCreateUserOutput, error)
	AdminSetUserPassword(context.Context, *idp.AdminSetUserPasswordInput, ...func(*idp.Options)) (*idp.AdminSetUserPasswordOutput, error)
	AdminGetUser(context.Context, *idp.AdminGetUserInput, ...func(*idp.Options)) (*idp.AdminGetUserOutput, error)
	ListUsers(context.Context, *idp.ListUsersInput, ...func(*idp.Options)) (*idp.ListUsersOutput, error)
}

// ImportUsers is the step that creates users: by CSV import jobs where a user
// qualifies, by AdminCreateUser otherwise.
//
// It works file by file. A file is a list of chunks, written down before its
// import job exists; from then on the queue is not needed for them. When every
// user of a chunk has an outcome, the chunk's result is stored and the chunk
// is handed to UpdateUsers, which runs at the same time.
type ImportUsers struct {
	API      UserCreator
	Jobs     JobsAPI
	Upload   func(ctx context.Context, url string, body []byte) error
	NewUsers *Queue
	Updates  *Queue
	JobRole  string
	InFlight int // calls under way at once
	Metrics  *step.Metrics
	Random   io.Reader
	Now      func() time.Time
}

// importCursor is where ImportUsers left off.
type importCursor struct {
	File   int       // at work or next, from 1
	Job    string    // id of the file's import job, once known
	Tries  int       // import jobs made for this file
	Waits  int       // of them, that expired while somebody else's job ran
	Waited bool      // somebody else's job kept this one from starting
	Begun  time.Time // when the job was seen to run first
	ByAPI  bool      // whoever of the file goes by API has been created
	// Active says that the job was started, or may have been.
	Active   bool
	Progress progress // of the job
	Stopped  bool     // it hung and was stopped
	GivenUp  bool     // the file's users go by API because the tool was waited for long enough
	importTool
}

// file is the durable assignment of chunks to one CSV file.
type file struct {
	Chunks []string
	Rows   int
}

// partial is what is known of a chunk's users while it is at work.
type partial struct {
	Users []userResult // in the chunk's order; no outcome yet: empty
	// Usable are the users created by API who have their random password.
	Usable []bool
}

// Run works on the files of the round until all chunks have results.
func (s *ImportUsers) Run(ctx context.Context, slice *step.Slice) (step.Run, error) {
	r := run{slice}
	w := &importer{ImportUsers: s, run: r, round: slice.Event.Run.Round, beginning: make(chan struct{}, 1)}
	if err := r.Objects.Get(ctx, r.planKey(), &w.plan); err != nil {
		return step.Run{}, err
	}
	w.rules = w.plan.rules()
	if resumed, err := r.LoadCursor(ctx, &w.cursor); err != nil {
		return step.Run{}, err
	} else if !resumed {
		w.cursor.File = 1
		if _, err := r.get(ctx, r.importToolKey(), &w.cursor.importTool); err != nil {
			return step.Run{}, err
		}
	}
	return w.work(ctx)
}

type importer struct {
	*ImportUsers
	run
	plan     Plan
	rules    *Rules
	round    int
	total    int // chunks of the round
	cursor   importCursor
	assigned map[string]bool
	drained  bool // the queue has nothing more for this round
	failing  bool // the import tool, when it was last asked
	// beginning holds a token while users of the first half of a chunk are created
	// by API: so two chunks are never both at their end, where one of the two
	// quotas is not used.
	beginning chan struct{}
}

func (w *importer) work(ctx context.Context) (step.Run, error) {
	if err := w.survey(ctx); err != nil {
		return step.Run{}, err
	}
	for !w.Expired() {
		f, err := w.assign(ctx)
		if err != nil {
			return step.Run{}, err
		}
		if f == nil {
			return w.Next(), w.put(ctx, w.importToolKey(), w.cursor.importTool)
		}
		wait, err := w.workOn(ctx, f)
		if err != nil {
			return step.Run{}, err
		}
		if wait > 0 {
			next, err := w.SaveCursor(ctx, w.cursor)
			next.WaitSeconds = max(1, int(wait.Seconds()))
			return next, err
		}
	}
	return w.SaveCursor(ctx, w.cursor)
}

// survey reads how many chunks the round has and which have been assigned.
func (w *importer) survey(ctx context.Context) error {
	var round round
	if err := w.Objects.Get(ctx, w.roundKey(w.round), &round); err != nil {
		return err
	}
	w.total, w.assigned = round.Chunks, map[string]bool{}
	for n := 1; ; n++ {
		var f file
		if there, err := w.get(ctx, w.fileKey(w.round, n), &f); err != nil || !there {
			return err
		}
		for _, name := range f.Chunks {
			w.assigned[name] = true
		}
	}
}

// rowsOf is how many rows the n-th file should have. The first files are
// small, so that memberships can begin early. Each is 1.4 times the one before:
// about as much faster are users imported than memberships added at their
// highest rate, so that there is always a membership to add.
func rowsOf(n int) int {
	return int(min(maxFileRows, 1000*math.Pow(1.4, float64(n-1))))
}

// assign returns the file to work on: the one written down before, or a new
// one from what the queue brings. There is none when every chunk is assigned
// and done.
func (w *importer) assign(ctx context.Context) (*file, error) {
	f := new(file)
	key := w.fileKey(w.round, w.cursor.File)
	if there, err := w.get(ctx, key, f); err != nil || there {
		return f, err
	}
	receipts, err := w.gather(ctx, f)
	if err != nil {
		return nil, err
	}
	if len(f.Chunks) > 0 {
		if err := w.put(ctx, key, f); err != nil {
			return nil, err
		}
		for _, name := range f.Chunks {
			w.assigned[name] = true
		}
	}
	if err := w.NewUsers.delete(ctx, receipts); err != nil {
		return nil, err
	}
	if len(f.Chunks) == 0 {
		return nil, nil
	}
	return f, nil
}

// lacks is how many more chunks the file takes, ten at most, if they hold as
// many rows as those before: the first files are to stay small.
func (f *file) lacks(rows int) int32 {
	if len(f.Chunks) == 0 {
		return 1
	}
	perChunk := max(1, f.Rows/len(f.Chunks))
	return int32(min(max((rows-f.Rows+perChunk-1)/perChunk, 1), batchLimit))
}

// gather takes chunks from the queue until the file is full. Chunks that the
// queue does not bring, because it lost or still hides a message, are taken
// from the round's own count: this invocation is the only one at work.
func (w *importer) gather(ctx context.Context, f *file) ([]receipt, error) {
	var receipts []receipt
	gathered := map[string]bool{}
	bytes := 0
	for empty := 0; f.Rows < rowsOf(w.cursor.File) && len(w.assigned)+len(gathered) < w.total; {
		if bytes > maxFile/2 || len(f.Chunks) >= 2*rowsOf(w.cursor.File)/100 {
			break
		}
		var names []string
		if empty < 2 && !w.drained {
			received, err := w.NewUsers.receive(ctx, w.ExecutionName(), f.lacks(rowsOf(w.cursor.File)), int32(empty))
			if err != nil {
				return nil, err
			}
			if len(received) == 0 {
				empty++
				continue
			}
			receipts = append(receipts, received...)
			for _, r := range received {
				names = append(names, r.chunk)
			}
		} else {
			w.drained = true
			names = w.unassigned(gathered, int(f.lacks(rowsOf(w.cursor.File))))
		}
		for _, name := range names {
			if w.assigned[name] || gathered[name] || !w.ofRound(name) {
				continue
			}
			rows, size, err := w.weigh(ctx, name)
			if err != nil {
				return nil, err
			}
			gathered[name] = true
			f.Chunks, f.Rows = append(f.Chunks, name), f.Rows+rows
			bytes += size
		}
	}
	slices.Sort(f.Chunks)
	return receipts, nil
}

// ofRound says that the chunk belongs to the round at work; a late double of
// an earlier round does not.
func (w *importer) ofRound(name string) bool {
	var round, n int
	_, err := fmt.Sscanf(name, "%d/%d", &round, &n)
	return err == nil && round == w.round && n >= 1 && n <= w.total && name == chunkName(round, n)
}

// unassigned names the next chunks that no message brought.
func (w *importer) unassigned(gathered map[string]bool, most int) []string {
	var names []string
	for n := 1; n <= w.total && len(names) < most; n++ {
		if name := chunkName(w.round, n); !w.assigned[name] && !gathered[name] {
			names = append(names, name)
		}
	}
	return names
}

// weigh counts the rows that a chunk adds to a CSV file, and their bytes.
func (w *importer) weigh(ctx context.Context, name string) (rows, size int, err error) {
	var c chunk
	if err := w.Objects.Get(ctx, w.chunkKey(name), &c); err != nil {
		return 0, 0, err
	}
	for i := range c.Entries {
		if line := w.line(&c.Entries[i]); line != "" {
			rows++
			size += len(line) + len(newline)
		}
	}
	return rows, size, nil
}

// line is the entry's row in the CSV file, "" if it goes another way.
func (w *importer) line(e *Entry) string {
	if e.Present != nil {
		return ""
	}
	return w.rules.Row(&e.User)
}

// workOn brings one file forward. It returns how long to wait before coming
// back, 0 if the file is done or the slice is used up.
func (w *importer) workOn(ctx context.Context, f *file) (time.Duration, error) {
	if done, err := w.get(ctx, w.doneKey(w.round, w.cursor.File), new(struct{})); err != nil {
		return 0, err
	} else if done {
		w.next()
		return 0, w.announce(ctx, f.Chunks)
	}
	ended, err := w.job(ctx, f)
	if err != nil {
		return 0, err
	}
	// While the job runs, the users of the same chunks who go by API.
	if !w.cursor.ByAPI {
		if done, err := w.createByAPI(ctx, f); err != nil || !done {
			return 0, err
		}
		w.cursor.ByAPI = true
	}
	if ended == nil {
		return w.patience(f.Rows), nil
	}
	if done, err := w.settle(ctx, f, ended); err != nil || !done {
		return 0, err
	}
	if done, err := w.createByAPI(ctx, f); err != nil || !done {
		return 0, err
	}
	if err := w.put(ctx, w.doneKey(w.round, w.cursor.File), struct{}{}); err != nil {
		return 0, err
	}
	w.next()
	return 0, nil
}

func (w *importer) next() {
	w.cursor = importCursor{File: w.cursor.File + 1, importTool: w.cursor.importTool}
}

// createByAPI carries every chunk of the file as far as it goes without the
// import job, and says whether it got through all of them in this slice.
func (w *importer) createByAPI(ctx context.Context, f *file) (bool, error) {
	finished, err := w.finishedChunks(ctx)
	if err != nil {
		return false, err
	}
	var unfinished atomic.Bool
	g, gctx := limited(ctx, chunksAtOnce)
	for _, name := range f.Chunks {
		if finished[name] {
			continue
		}
		g.Go(func() error {
			if w.Expired() {
				unfinished.Store(true)
				return nil
			}
			done, err := w.createChunk(gctx, name)
			if !done {
				unfinished.Store(true)
			}
			return err
		})
	}
	err = g.Wait()
	return !unfinished.Load() && err == nil, err
}

// chunksAtOnce is how many chunks' users are created by API side by side: while
// one waits for the last of its users, the other uses the quota.
const chunksAtOnce = 2

func (w *importer) finishedChunks(ctx context.Context) (map[string]bool, error) {
	keys, err := w.Objects.List(ctx, w.importResults(w.round))
	if err != nil {
		return nil, err
	}
	finished := make(map[string]bool, len(keys))
	for _, key := range keys {
		finished[nameOf(key, w.Prefix()+"results/import/")] = true
	}
	return finished, nil
}

// begin gives each user of the chunk the outcome that needs no call.
func (w *importer) begin(c *chunk) *partial {
	p := &partial{Users: make([]userResult, len(c.Entries)), Usable: make([]bool, len(c.Entries))}
	for i := range c.Entries {
		e := &c.Entries[i]
		if e.Present != nil {
			p.Users[i] = userResult{Outcome: Existing, Username: e.Present.Username, Sub: e.Present.Sub}
			continue
		}
		way := w.rules.Recreate(&e.User)
		p.Users[i] = userResult{Path: way.Path, Username: way.Username, Reason: way.Reason}
		switch way.Path {
		case PathDeferred:
			p.Users[i].Outcome = Deferred
		case PathNone:
			p.Users[i].Outcome = Failed
		}
	}
	return p
}

// createChunk creates the chunk's users who go by API. The chunk's result is
// stored when no user of it waits for the import job.
func (w *importer) createChunk(ctx context.Context, name string) (bool, error) {
	var c chunk
	if err := w.Objects.Get(ctx, w.chunkKey(name), &c); err != nil {
		return false, err
	}
	p := new(partial)
	if there, err := w.get(ctx, w.partialKey("import", name), p); err != nil {
		return false, err
	} else if !there {
		p = w.begin(&c)
	}
	a := apiWork{importer: w, name: name, chunk: &c, partial: p}
	if done, err := a.run(ctx); err != nil || !done {
		return false, err
	}
	if slices.ContainsFunc(p.Users, func(u userResult) bool { return u.Outcome == "" }) {
		return true, nil // the rest waits for the import job
	}
	return true, w.conclude(ctx, name, p)
}

// openAPI says that the user is still to be created by API.
func (u userResult) openAPI() bool { return u.Outcome == "" && u.Path == PathAPI }

// conclude stores the chunk's result and hands the chunk on.
func (w *importer) conclude(ctx context.Context, name string, p *partial) error {
	if err := w.put(ctx, w.importResultKey(name), importResult{Users: p.Users}); err != nil {
		return err
	}
	restored := 0
	for _, u := range p.Users {
		if u.Outcome == Restored {
			restored++
		}
	}
	if err := w.Metrics.Emit(w.Workflow, map[string]float64{"UsersRestored": float64(restored)}); err != nil {
		return err
	}
	return w.announce(ctx, []string{name})
}

// announce tells UpdateUsers of chunks with results; twice does no harm.
func (w *importer) announce(ctx context.Context, names []string) error {
	messages := make([]message, len(names))
	for i, name := range names {
		messages[i] = message{Execution: w.ExecutionName(), Chunk: name}
	}
	return w.Updates.send(ctx, messages)
}
