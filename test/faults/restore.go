package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/restore"
	"cognito-backup/test/seed"
)

// restore restores a restore point, mostly the newest, into an empty pool of
// the other Region and holds the outcome against the truth. An import that
// failed is taken up again as its documentation says: with MISSING_ONLY.
func (r *run) restore(ctx context.Context, n *rand.Rand) error {
	trouble := []string{replicaLags, replicaHalts, replicaStopped, "", "", "", "", "", ""}[n.IntN(9)]
	older := n.IntN(4) == 0
	if err := r.replicate(ctx, n, trouble); err != nil {
		return err
	}
	if trouble == "" {
		if err := r.bed.Replicator().Drain(ctx); err != nil {
			return err
		}
	}
	points, err := r.store(r.primary).RestorePoints(ctx, r.pool)
	if err != nil {
		return err
	}
	in := map[string]any{}
	want := slices.IndexFunc(points, func(p backup.RestorePoint) bool { return p.Trustworthy() })
	if older && len(points) > 1 {
		want = 1 + n.IntN(len(points)-1)
		in["RestorePoint"] = points[want].EndedAt.Format(time.RFC3339Nano)
		r.note("restore point %s is asked for", points[want].ID())
	}
	e, err := r.execute(ctx, n, r.secondary, importWorkflow, func(attempt int) (string, error) {
		if attempt > 0 && trouble != "" {
			if err := r.catchUp(ctx); err != nil { // as anybody waits for who reads why it failed
				return "", err
			}
		}
		if attempt == 0 || trouble != "" { // the next attempt may choose another restore point
			target, err := r.bed.Cognito(r.secondary).Seed(seed.Empty(r.seeded, ""))
			if err != nil {
				return "", err
			}
			r.target = target
		} else {
			in["Mode"] = restore.MissingOnly
		}
		in["NewUserPoolId"] = r.target
		j, err := json.Marshal(in)
		return string(j), err
	})
	if err != nil {
		return err
	}
	r.result.Imports++
	restored, err := r.compareTarget(ctx, e)
	if restored != points[want].ID() && trouble == "" {
		err = errors.Join(err, fmt.Errorf("restore point %s was restored, not %s", restored, points[want].ID()))
	}
	if caught := r.catchUp(ctx); caught != nil {
		return errors.Join(err, caught)
	}
	// An import changes nothing in the backup, in neither Region.
	return errors.Join(err, r.compareRestorePoints(ctx, r.primary), r.compareRestorePoints(ctx, r.secondary))
}

// replicate exports once more, under a trouble of the replication unless that is
// empty. It is the export that sees what has come back since the one before saw
// it gone.
func (r *run) replicate(ctx context.Context, n *rand.Rand, trouble string) error {
	replicator := r.bed.Replicator()
	if err := replicator.Drain(ctx); err != nil {
		return err
	}
	late := replicator.Late()
	switch lag := time.Duration(200+n.IntN(2000)) * time.Millisecond; trouble {
	case replicaStopped:
		replicator.Stop()
	case replicaLags, replicaHalts:
		replicator.SetLag(50*time.Millisecond, lag)
		replicator.SetReorder(true)
	}
	if err := r.export(ctx, n); err != nil || trouble == "" {
		return err
	}
	r.result.Troubled[trouble] = 1
	late = replicator.Late() - late
	if trouble == replicaHalts {
		replicator.Stop()
		late = replicator.Pending()
	}
	r.count(trouble, late)
	return nil
}

// catchUp ends the troubles of the replication.
func (r *run) catchUp(ctx context.Context) error {
	replicator := r.bed.Replicator()
	replicator.SetLag(0, 0)
	replicator.SetReorder(false)
	replicator.Resume()
	return replicator.Drain(ctx)
}
