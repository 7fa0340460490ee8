package cognito

import (
	"context"
	"iter"
	"slices"
	"strings"

	"cognito-backup/test/localaws/wire"
)

// usualPage is the size of a page when the caller does not ask for one. Cognito's
// own is not documented, only that it is smaller than the maximum of 60.
const usualPage = 20

// filter is the Filter of ListUsers: one attribute, equal or with a prefix.
type filter struct {
	attribute string
	value     string
	prefix    bool
}

// parseFilter reads `attribute = "value"` or `attribute ^= "value"`. A quotation
// mark or a backslash in the value has a backslash before it.
func parseFilter(text string) (*filter, error) {
	rest := strings.TrimSpace(text)
	if rest == "" {
		return nil, nil
	}
	bad := invalid("Error while parsing filter rule.")
	at := strings.IndexAny(rest, "=^ \t")
	if at <= 0 {
		return nil, bad
	}
	f := &filter{attribute: strings.Trim(rest[:at], `"`)}
	rest = strings.TrimSpace(rest[at:])
	switch {
	case strings.HasPrefix(rest, "^="):
		f.prefix, rest = true, rest[2:]
	case strings.HasPrefix(rest, "="):
		rest = rest[1:]
	default:
		return nil, bad
	}
	rest = strings.TrimSpace(rest)
	if len(rest) < 2 || rest[0] != '"' {
		return nil, bad
	}
	var value strings.Builder
	for i := 1; ; i++ {
		switch {
		case i >= len(rest):
			return nil, bad
		case rest[i] == '\\' && i+1 < len(rest) && (rest[i+1] == '"' || rest[i+1] == '\\'):
			i++
			value.WriteByte(rest[i])
		case rest[i] == '"':
			if i != len(rest)-1 {
				return nil, bad
			}
			f.value = value.String()
			if !slices.Contains(searchable, f.attribute) {
				return nil, invalid("Invalid search attribute: %s", f.attribute)
			}
			return f, nil
		default:
			value.WriteByte(rest[i])
		}
	}
}

func (f *filter) matches(value string) bool {
	if f.prefix {
		return strings.HasPrefix(value, f.value)
	}
	return value == f.value
}

// UserPage is what ListUsers returns.
type UserPage struct {
	Users           []User
	PaginationToken string `json:",omitempty"`
}

func (s *Service) listUsers(_ context.Context, c *wire.Call) (any, error) {
	var in struct {
		AttributesToGet []string
		Limit           int
		PaginationToken string
		Filter          string
	}
	p, err := s.begin(c, &in)
	if err != nil {
		return nil, err
	}
	f, err := parseFilter(in.Filter)
	if err != nil {
		return nil, err
	}
	pg, err := s.openPage(c, in.PaginationToken, in.Limit, usualPage, []any{p.id, in.AttributesToGet, in.Limit, in.Filter})
	if err != nil {
		return nil, err
	}
	now := s.now().UnixMilli()

	p.mu.RLock()
	if len(p.ghosts) > 0 || f != nil && p.indexes[f.attribute] == nil {
		p.mu.RUnlock()
		p.mu.Lock()
		p.sweep(now)
		if f != nil {
			p.buildIndex(f.attribute)
		}
		p.mu.Unlock()
		p.mu.RLock()
	}
	defer p.mu.RUnlock()
	for _, name := range in.AttributesToGet {
		if p.schema.find(name) == nil {
			return nil, invalid("One or more requested attributes do not exist.")
		}
	}
	out := UserPage{Users: []User{}}
	lagging := false
	defer func() {
		if lagging {
			s.settings.count(func(i *Injected) *int { return &i.LaggingPages })
		}
	}()
	for u, at := range p.candidates(f, pg) {
		lagging = lagging || u.lags(now)
		view, ok := p.listed(u, now)
		if !ok {
			continue
		}
		if !pg.add(at) {
			break
		}
		if in.AttributesToGet != nil {
			if view.Attributes, err = only(view.Attributes, in.AttributesToGet); err != nil {
				return nil, err
			}
		}
		out.Users = append(out.Users, view)
	}
	out.PaginationToken = pg.next()
	return out, nil
}

// candidates are the users that a page may list, in the order of the listing.
func (p *pool) candidates(f *filter, pg *page) iter.Seq2[*user, cursor] {
	return func(yield func(*user, cursor) bool) {
		if f == nil {
			for u := range p.order.from(func(u *user) bool { return pg.reached(u.cursor()) }) {
				if !yield(u, u.cursor()) {
					return
				}
			}
			return
		}
		wanted := *f
		switch f.attribute {
		case "username", "email", "preferred_username":
			wanted.value = p.fold(f.value)
		case "cognito:user_status":
			wanted.value = strings.ToLower(f.value)
		}
		for e := range p.indexes[f.attribute].from(func(e indexed) bool {
			return e.value >= wanted.value && pg.reached(e.cursor())
		}) {
			if !wanted.matches(e.value) || !yield(e.user, e.cursor()) {
				return
			}
		}
	}
}

// only keeps the attributes asked for. As documented, asking for one that cannot
// be searched is an error when a user on the page does not have it.
func only(attrs []Attribute, names []string) ([]Attribute, error) {
	kept := []Attribute{}
	for _, name := range names {
		i := slices.IndexFunc(attrs, func(a Attribute) bool { return a.Name == name })
		switch {
		case i >= 0:
			kept = append(kept, attrs[i])
		case !slices.Contains(searchable, name):
			return nil, invalid("One or more requested attributes do not exist.")
		}
	}
	return kept, nil
}
