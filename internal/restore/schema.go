package restore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cognito-backup/internal/backup"
	"cognito-backup/internal/step"

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
// somebody uses it, which only the records tell. ScanTable looks again at those
// that it freezes, which may be of an older restore point.
func (c *checker) schema(ctx context.Context) (bool, error) {
	differing := c.plan.differing()
	if len(differing) == 0 {
		return true, nil
	}
	if done, err := c.lookForUse(ctx, differing); err != nil || !done {
		return false, err
	}
	used := c.cursor.Usage
	for _, name := range slices.Sorted(maps.Keys(differing)) {
		switch stopper := c.plan.stopper(name, differing[name], used); {
		case stopper != "":
			c.stop("%s", stopper)
		case used.Used[name] == 0:
			c.warn("%s has the attribute %s otherwise than the source: %s. Nobody in the restore point uses it.", c.plan.Target.ID, name, differing[name])
		default:
			c.warn("%s has the attribute %s otherwise than the source: %s. All stored values fit.", c.plan.Target.ID, name, differing[name])
		}
	}
	return true, nil
}

// stopper says why an import cannot go on with an attribute that differs, ""
// when it can.
func (p *Plan) stopper(name, how string, u *usage) string {
	_, there := p.Target.Schema[name]
	switch refused := u.Refused[name]; {
	case u.Used[name] == 0:
		return ""
	case there && refused != "":
		return fmt.Sprintf("%s refuses values of the attribute %s: a value %s; create the pool with the source's schema", p.Target.ID, name, refused)
	case there && strings.HasPrefix(how, "length"):
		return ""
	}
	return fmt.Sprintf("the attribute %s, in use, differs: %s; create the pool with the source's schema, or add the attribute", name, how)
}

// lacks is how an attribute differs that the target has not.
const lacks = "the target lacks it"

// differing describes the attributes that are not the same in the target.
func (p *Plan) differing() map[string]string {
	d := map[string]string{}
	for name, s := range p.Source.Schema {
		if slices.Contains(notWritable, name) {
			continue
		}
		t, there := p.Target.Schema[name]
		switch {
		case !there:
			d[name] = lacks
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
	asOf := step.FormatTime(c.plan.Started) // no commit record at all: as the table is now
	if len(c.plan.Points) > 0 {
		asOf = c.plan.Points[0].ID()
	}
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
	c.cursor.Usage.note(&c.plan, user.Attributes, differing)
	return nil
}

// note takes down which of the attributes that differ are in use. An attribute
// that the target lacks is among them even if the source's are not known.
func (u *usage) note(p *Plan, attributes, differing map[string]string) {
	for name, value := range attributes {
		a, there := p.Target.Schema[name]
		_, differs := differing[name]
		if value == "" || there && !differs && p.Source.Schema != nil || slices.Contains(notWritable, name) {
			continue
		}
		if u.Used[name]++; !there {
			continue
		}
		if why := a.accepts(value); why != "" {
			u.Refused[name] = why
		}
	}
}

// stoppers are the reasons not to write what was frozen: nobody would be told
// of an attribute that gets lost.
func (u *usage) stoppers(p *Plan) []string {
	var found []string
	differing := p.differing()
	for _, name := range slices.Sorted(maps.Keys(u.Used)) {
		how, differs := differing[name]
		if _, there := p.Target.Schema[name]; !there {
			how = lacks
		} else if !differs && u.Refused[name] == "" {
			continue
		}
		if s := p.stopper(name, how, u); s != "" {
			found = append(found, s)
		}
	}
	return found
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
