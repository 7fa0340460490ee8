package restore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cognito-backup/internal/backup"

	"golang.org/x/sync/errgroup"
)

// usage is what a look through the backup found about attributes that the
// target has not, or has otherwise. It is kept between slices.
type usage struct {
	Positions []backup.Position
	Used      map[string]int    // users who have a value, by attribute
	Refused   map[string]string // attribute: how the target refuses a value
}

// schema compares the attributes. One that differs stops the import only if
// somebody uses it, which only the records tell.
func (c *checker) schema(ctx context.Context) (bool, error) {
	differing := c.differing()
	if len(differing) == 0 {
		return true, nil
	}
	if done, err := c.lookForUse(ctx, differing); err != nil || !done {
		return false, err
	}
	for _, name := range slices.Sorted(maps.Keys(differing)) {
		used := c.cursor.Usage.Used[name]
		refused := c.cursor.Usage.Refused[name]
		_, there := c.plan.Target.Schema[name]
		switch {
		case used == 0:
			c.warn("%s has the attribute %s otherwise than the source: %s. Nobody in the restore point uses it.", c.plan.Target.ID, name, differing[name])
		case there && refused == "" && strings.HasPrefix(differing[name], "length"):
			c.warn("%s has the attribute %s otherwise than the source: %s. All stored values fit.", c.plan.Target.ID, name, differing[name])
		case there && refused != "":
			c.stop("%s refuses values of the attribute %s: a value %s; create the pool with the source's schema", c.plan.Target.ID, name, refused)
		default:
			c.stop("the attribute %s, in use, differs: %s; create the pool with the source's schema, or add the attribute", name, differing[name])
		}
	}
	return true, nil
}

// differing describes the attributes that are not the same in the target.
func (c *checker) differing() map[string]string {
	d := map[string]string{}
	for name, s := range c.plan.Source.Schema {
		if slices.Contains(notWritable, name) {
			continue
		}
		t, there := c.plan.Target.Schema[name]
		switch {
		case !there:
			d[name] = "the target lacks it"
		case s.Type != t.Type:
			d[name] = fmt.Sprintf("type %s in the source, %s in the target", s.Type, t.Type)
		case s.Mutable != t.Mutable:
			d[name] = fmt.Sprintf("mutable %t in the source, %t in the target", s.Mutable, t.Mutable)
		case narrower(&s, &t):
			d[name] = "length or range narrower in the target"
		}
	}
	return d
}

// narrower says that t does not take everything that s takes.
func narrower(s, t *Attribute) bool {
	low := func(s, t *int) bool { return t != nil && *t > 0 && (s == nil || *s < *t) }
	high := func(s, t *int) bool { return t != nil && (s == nil || *s > *t) }
	return low(s.MinLength, t.MinLength) || high(s.MaxLength, t.MaxLength) ||
		t.Min != nil && (s.Min == nil || *s.Min < *t.Min) || t.Max != nil && (s.Max == nil || *s.Max > *t.Max)
}

// lookForUse reads the restore point until every attribute is known to be in
// use in a way that the target refuses, or to the end.
func (c *checker) lookForUse(ctx context.Context, differing map[string]string) (bool, error) {
	if c.cursor.Usage == nil {
		c.cursor.Usage = &usage{Positions: make([]backup.Position, segments(c.plan.Points)), Used: map[string]int{}, Refused: map[string]string{}}
	}
	u := c.cursor.Usage
	if len(c.plan.Points) == 0 {
		return true, nil
	}
	asOf := c.plan.Points[0].ID()
	for slices.ContainsFunc(u.Positions, func(p backup.Position) bool { return !p.Done }) {
		if c.Expired() {
			return false, nil
		}
		pages := make([][]backup.Item, len(u.Positions))
		g, gctx := errgroup.WithContext(ctx)
		for i, position := range u.Positions {
			if position.Done {
				continue
			}
			g.Go(func() (err error) {
				pages[i], u.Positions[i], err = c.Store.ReadAsOf(gctx, asOf, backup.Segment{Index: i, Of: len(u.Positions)}, position)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return false, err
		}
		for _, item := range slices.Concat(pages...) {
			if err := c.use(&item, differing); err != nil {
				return false, err
			}
		}
		if c.allRefused(differing) {
			return true, nil
		}
	}
	return true, nil
}

func (c *checker) use(item *backup.Item, differing map[string]string) error {
	if item.Kind() != backup.KindUser {
		return nil
	}
	var user backup.User
	if err := item.Decode(&user); err != nil {
		return err
	}
	for name := range differing {
		value := user.Attributes[name]
		if value == "" {
			continue
		}
		c.cursor.Usage.Used[name]++
		if a, there := c.plan.Target.Schema[name]; there {
			if why := a.accepts(value); why != "" {
				c.cursor.Usage.Refused[name] = why
			}
		}
	}
	return nil
}

// allRefused says that no further record can change what is known.
func (c *checker) allRefused(differing map[string]string) bool {
	for name, how := range differing {
		if c.cursor.Usage.Used[name] == 0 || strings.HasPrefix(how, "length") && c.cursor.Usage.Refused[name] == "" {
			return false
		}
	}
	return true
}
