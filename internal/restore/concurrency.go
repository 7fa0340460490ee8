package restore

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// limited is a group of calls of which at most n are under way at once.
func limited(ctx context.Context, n int) (*errgroup.Group, context.Context) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(n)
	return g, gctx
}
