package restore

import (
	"context"
	"time"

	"cognito-backup/internal/pool"
	"cognito-backup/internal/step"
)

// phase is when a step's last slice ended, and how many of its calls were
// throttled.
type phase struct {
	Ended     time.Time
	Throttled int64
}

// Timed makes a step note for the report how long it took and how often its
// calls were throttled. Two steps run side by side and only the document of
// one of them travels on, so that this stands in S3.
type Timed struct {
	step.Step
	Limits  *pool.Limits
	Metrics *step.Metrics
	Now     func() time.Time
}

// Run runs the step's slice and notes its end.
func (t *Timed) Run(ctx context.Context, slice *step.Slice) (step.Run, error) {
	before := t.Limits.Throttled()
	next, err := t.Step.Run(ctx, slice)
	if err != nil {
		return next, err
	}
	r := run{slice}
	var p phase
	if _, err := r.get(ctx, r.phaseKey(slice.Step), &p); err != nil {
		return next, err
	}
	throttled := t.Limits.Throttled() - before
	p.Ended, p.Throttled = t.Now().UTC(), p.Throttled+throttled
	if err := r.put(ctx, r.phaseKey(slice.Step), p); err != nil {
		return next, err
	}
	return next, t.Metrics.Emit(slice.Workflow, map[string]float64{"ThrottledCalls": float64(throttled)})
}
