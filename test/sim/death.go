package sim

import (
	"context"
	"errors"
	"sync"
	"time"

	"cognito-backup/internal/step"
)

// Death is when an invocation of a function is killed: after a number of calls,
// in the middle of whatever it does then, or at its end, when everything is done
// and the answer is lost. The zero value lets it live.
type Death struct {
	After int
	AtEnd bool
}

// life is that of one invocation. Killed, it reaches no service any more,
// whatever its code still tries.
type life struct {
	mu    sync.Mutex
	calls int // left until it dies
	dead  bool
	end   context.CancelFunc
}

type lifeKey struct{}

var errKilled = errors.New("the function was killed")

// live gives the invocation so many calls to live.
func live(ctx context.Context, calls int) (context.Context, *life) {
	ctx, cancel := context.WithCancel(ctx)
	l := &life{calls: calls, end: cancel}
	return context.WithValue(ctx, lifeKey{}, l), l
}

func (l *life) spend() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls--; l.calls == 0 {
		l.dead = true
		l.end() // those under way have reached their service or not
	}
	return !l.dead
}

func (l *life) killed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// reach is the time that a call takes. The killed do not get there.
func reach(ctx context.Context, d time.Duration) error {
	if l, mortal := ctx.Value(lifeKey{}).(*life); mortal && !l.spend() {
		return errKilled
	}
	return step.Sleep(ctx, d)
}
