package cognito

import (
	"encoding/base64"
	"encoding/json"
	"hash/crc32"
	"strings"

	"cognito-backup/test/localaws/wire"
)

// cursor is a place in a listing: the item it stands on, which was returned last.
type cursor struct {
	Value string `json:"v,omitempty"` // of the attribute that a filter orders by
	Rank  uint64 `json:"r,omitempty"`
	Name  string `json:"n,omitempty"`
}

// after tells whether an item at c comes after the cursor d.
func (c cursor) after(d cursor) bool {
	if c.Value != d.Value {
		return c.Value > d.Value
	}
	if c.Rank != d.Rank {
		return c.Rank > d.Rank
	}
	return c.Name > d.Name
}

// pageToken is what a pagination token holds. It says nothing to a caller.
type pageToken struct {
	Params uint32  `json:"p"` // checksum of the operation and its parameters
	Page   int     `json:"i"` // the page it leads to
	Issued int64   `json:"t"`
	Last   *cursor `json:"c,omitempty"` // nil at the start of the listing
	Done   bool    `json:"d,omitempty"` // nothing follows but an empty page
}

// page is one call of a listing: where it starts and how much it may return.
type page struct {
	service *Service
	faults  PagingFaults
	params  uint32
	number  int
	start   *cursor
	limit   int
	done    bool

	items []cursor // returned so far
	more  bool
}

const maxToken = 131_072 // characters, API model

// openPage reads the token of a call. A token is good for the parameters that it
// was given for and no others; params are all of them but the token.
func (s *Service) openPage(c *wire.Call, token string, limit, usual int, params any) (*page, error) {
	text, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	p := &page{
		service: s,
		faults:  s.settings.pagingFaults(c.Operation),
		params:  crc32.ChecksumIEEE(append([]byte(c.Operation+" "+s.region+" "), text...)),
		number:  1,
		limit:   limit,
	}
	if limit == 0 {
		p.limit = usual
	}
	if token != "" {
		t, ok := parseToken(token)
		if !ok || t.Params != p.params {
			return nil, invalid("Invalid pagination token.")
		}
		if life := s.settings.Values().TokenLifetime; life > 0 && s.now().UnixMilli()-t.Issued > life.Milliseconds() {
			s.settings.count(func(i *Injected) *int { return &i.AgedTokens })
			return nil, invalid("Pagination token has expired.")
		}
		if s.settings.expire(c.Operation, t.Page) {
			return nil, invalid("Pagination token has expired.")
		}
		p.number, p.start, p.done = t.Page, t.Last, t.Done
	}
	switch {
	case every(p.faults.EmptyEvery, p.number):
		p.limit = 0
		s.settings.count(func(i *Injected) *int { return &i.EmptyPages })
	case every(p.faults.ShortEvery, p.number):
		p.limit = (p.limit + 1) / 2
		s.settings.count(func(i *Injected) *int { return &i.ShortPages })
	}
	return p, nil
}

func every(n, page int) bool { return n > 0 && page%n == 0 }

// reached tells whether an item is still to be listed.
func (p *page) reached(at cursor) bool { return !p.done && (p.start == nil || at.after(*p.start)) }

// add asks to return the item at a place. When it answers false the page is full
// and the item shows that more follows.
func (p *page) add(at cursor) bool {
	if len(p.items) >= p.limit {
		p.more = true
		return false
	}
	p.items = append(p.items, at)
	return true
}

// next is the token of the page that follows, "" when there is none.
func (p *page) next() string {
	t := pageToken{Params: p.params, Page: p.number + 1, Issued: p.service.now().UnixMilli(), Last: p.start}
	n := len(p.items)
	switch {
	case p.more && n > 1 && every(p.faults.RepeatEvery, p.number):
		t.Last = &p.items[n-2]
		p.service.settings.count(func(i *Injected) *int { return &i.RepeatedItems })
	case p.more && n > 0:
		t.Last = &p.items[n-1]
	case p.more:
	case p.faults.TrailingPage && !p.done:
		t.Done = true
		p.service.settings.count(func(i *Injected) *int { return &i.TrailingPages })
	default:
		return ""
	}
	if p.faults.LongTokens {
		p.service.settings.count(func(i *Injected) *int { return &i.LongTokens })
	}
	return t.text(p.faults.LongTokens)
}

func (t pageToken) text(long bool) string {
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // a struct of numbers and strings
	}
	if long {
		b = append(b, strings.Repeat(" ", maxToken/4*3-len(b))...)
	}
	for i := range b {
		b[i] ^= 0x5a // opaque: nobody should read a place out of it
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseToken(text string) (pageToken, bool) {
	var t pageToken
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return t, false
	}
	for i := range b {
		b[i] ^= 0x5a
	}
	return t, json.Unmarshal(b, &t) == nil
}

// rank spreads names evenly, so that no listing is in the order of insertion or
// of the alphabet.
func rank(name string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>32
}
