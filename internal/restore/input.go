package restore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Mode says what the target may hold already.
type Mode string

// The modes of an import.
const (
	EmptyPool   Mode = "EMPTY_POOL"   // the target has no users
	MissingOnly Mode = "MISSING_ONLY" // the target is in use; only what it lacks is restored
)

// Memberships says to whom a MISSING_ONLY import adds memberships.
type Memberships string

// The choices for Memberships.
const (
	Recreated      Memberships = "RECREATED" // users and groups that this import recreates
	AllMemberships Memberships = "ALL"       // everybody who lacks one
)

// Input is what a person starts the ImportWorkflow with.
type Input struct {
	NewUserPoolID   string      `json:"NewUserPoolId"`
	RestorePoint    *time.Time  `json:",omitempty"`
	Mode            Mode        `json:",omitempty"`
	Users           []string    `json:",omitempty"` // subs or usernames
	UsersObject     string      `json:",omitempty"` // S3 key of a list of them
	Memberships     Memberships `json:",omitempty"`
	SubAttribute    string      `json:",omitempty"` // with its custom: prefix
	AllowIncomplete bool        `json:",omitempty"`
	DryRun          bool        `json:",omitempty"`
}

// chosen says that only some users are to be restored.
func (in *Input) chosen() bool { return in.Users != nil || in.UsersObject != "" }

// inputKeys are the keys of the input in the order in which people are told of them.
var inputKeys = []string{"NewUserPoolId", "RestorePoint", "Mode", "Users", "Memberships", "SubAttribute", "AllowIncomplete", "DryRun"}

// poolID is the pattern of the API, narrowed to the Region that precedes the
// underscore.
var poolID = regexp.MustCompile(`^([a-z]{2}(?:-[a-z]+)+-[0-9]+)_[0-9a-zA-Z]+$`)

const maxPoolID = 55 // characters, API model

// ParseInput reads the workflow's input for an import that runs in region with
// the bucket for lists of users. It returns every problem, each a sentence
// that ends with what to do.
func ParseInput(raw json.RawMessage, region, bucket string) (*Input, []string) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil || keys == nil {
		return nil, []string{`the input is no JSON object; start the workflow with {"NewUserPoolId": "` + region + `_XXXXXXXXX"}`}
	}
	p := inputParser{in: &Input{Mode: EmptyPool}, keys: keys}
	p.unknown()
	p.newUserPoolID(region)
	p.restorePoint()
	p.mode()
	p.users(bucket)
	p.memberships()
	p.subAttribute()
	p.flag("AllowIncomplete", &p.in.AllowIncomplete)
	p.flag("DryRun", &p.in.DryRun)
	if p.problems != nil {
		return nil, p.problems
	}
	return p.in, nil
}

type inputParser struct {
	in       *Input
	keys     map[string]json.RawMessage
	problems []string
}

func (p *inputParser) problem(format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

func (p *inputParser) unknown() {
	var unknown []string
	for key := range p.keys {
		if !slices.Contains(inputKeys, key) {
			unknown = append(unknown, key)
		}
	}
	slices.Sort(unknown)
	for _, key := range unknown {
		p.problem("the input has the unknown key %q; known are %s", key, strings.Join(inputKeys, ", "))
	}
}

// text reads a string; null counts as absent.
func (p *inputParser) text(key string) (string, bool) {
	raw, ok := p.keys[key]
	if !ok || string(raw) == "null" {
		return "", false
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		p.problem("%s is %s; give a string", key, shown(raw))
		return "", false
	}
	return s, true
}

func (p *inputParser) flag(key string, v *bool) {
	raw, ok := p.keys[key]
	if !ok || string(raw) == "null" {
		return
	}
	if err := json.Unmarshal(raw, v); err != nil {
		p.problem("%s is %s; give true or false", key, shown(raw))
	}
}

func (p *inputParser) newUserPoolID(region string) {
	if _, ok := p.keys["NewUserPoolId"]; !ok {
		p.problem(`NewUserPoolId is missing; name the user pool to restore into: {"NewUserPoolId": "%s_XXXXXXXXX"}`, region)
		return
	}
	id, ok := p.text("NewUserPoolId")
	match := poolID.FindStringSubmatch(id)
	switch {
	case !ok && p.problems != nil && strings.HasPrefix(p.problems[len(p.problems)-1], "NewUserPoolId"):
	case match == nil || len(id) > maxPoolID:
		p.problem(`NewUserPoolId is %q, which is no user pool id; it looks like "%s_XXXXXXXXX"`, id, region)
	case match[1] != region:
		p.problem("NewUserPoolId %s is in %s, and this ImportWorkflow restores in %s; start the ImportWorkflow in %s, or name a pool in %s",
			id, match[1], region, match[1], region)
	default:
		p.in.NewUserPoolID = id
	}
}

// timeLayouts are what people write; all of them name their offset, because a
// restore point an hour off is the wrong one.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04Z07:00"}

func (p *inputParser) restorePoint() {
	s, ok := p.text("RestorePoint")
	if !ok {
		return
	}
	for _, layout := range timeLayouts {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		t = t.UTC()
		if t.Year() < 0 || t.Year() > 9999 { // its offset carried it there; plans could not store it
			p.problem("RestorePoint is %q, which in UTC is not within the years 0000 to 9999; write it like 2026-11-22T09:00:00Z", s)
			return
		}
		p.in.RestorePoint = &t
		return
	}
	p.problem("RestorePoint is %q, which is no time with an offset; write it like 2026-11-22T09:00:00Z or 2026-11-22T18:00:00+09:00", s)
}

func (p *inputParser) mode() {
	s, ok := p.text("Mode")
	if !ok {
		return
	}
	switch Mode(s) {
	case EmptyPool, MissingOnly:
		p.in.Mode = Mode(s)
	default:
		p.problem("Mode is %q; give EMPTY_POOL or MISSING_ONLY", s)
	}
}

// missingOnly complains about a key that needs the other mode.
func (p *inputParser) missingOnly(key string) {
	if p.in.Mode != MissingOnly {
		p.problem(`%s is only for "Mode": "MISSING_ONLY"; add the mode or leave %s out`, key, key)
	}
}

func (p *inputParser) users(bucket string) {
	raw, ok := p.keys["Users"]
	if !ok || string(raw) == "null" {
		return
	}
	p.missingOnly("Users")
	// What Users holds goes into no message: it may name a person.
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		users, err := listed(list)
		if err != nil {
			p.problem("Users %v; list subs or usernames, or leave Users out to restore everybody who is missing", err)
			return
		}
		p.in.Users = users
		return
	}
	var object string
	if json.Unmarshal(raw, &object) != nil {
		p.problem("Users is %s; give a list of subs or usernames, or the key of such a list in the bucket %s", kind(raw), bucket)
		return
	}
	key, ok := objectKey(object, bucket)
	if !ok {
		p.problem("Users is a string that names no object of the bucket %s; give a list of subs or usernames, or an object of that bucket, for example s3://%s/users.json", bucket, bucket)
		return
	}
	p.in.UsersObject = key
}

// listed reads a list of names. The error says which is wrong by its position.
func listed(list []json.RawMessage) ([]string, error) {
	if len(list) == 0 {
		return nil, errors.New("is an empty list")
	}
	names := make([]string, len(list))
	for i, raw := range list {
		if kind(raw) != "a string" || json.Unmarshal(raw, &names[i]) != nil {
			return nil, fmt.Errorf("holds %s as number %d of the list", kind(raw), i+1)
		}
		if names[i] == "" {
			return nil, fmt.Errorf("holds an empty name as number %d of the list", i+1)
		}
	}
	return names, nil
}

// kind is what a JSON value is, without the value.
func kind(raw json.RawMessage) string {
	switch raw = bytes.TrimSpace(raw); {
	case len(raw) == 0:
		return "nothing"
	case raw[0] == '"':
		return "a string"
	case raw[0] == '{':
		return "an object"
	case raw[0] == '[':
		return "a list"
	case raw[0] == 't', raw[0] == 'f':
		return "true or false"
	case raw[0] == 'n':
		return "null"
	}
	return "a number"
}

// objectKey reads an S3 address or a bare key.
func objectKey(object, bucket string) (string, bool) {
	if address, ok := strings.CutPrefix(object, "s3://"); ok {
		b, key, _ := strings.Cut(address, "/")
		return key, b == bucket && key != ""
	}
	return object, object != ""
}

func (p *inputParser) memberships() {
	s, ok := p.text("Memberships")
	if !ok {
		return
	}
	p.missingOnly("Memberships")
	switch Memberships(s) {
	case Recreated, AllMemberships:
		p.in.Memberships = Memberships(s)
	default:
		p.problem("Memberships is %q; give RECREATED or ALL", s)
	}
}

func (p *inputParser) subAttribute() {
	s, ok := p.text("SubAttribute")
	if !ok {
		return
	}
	name := strings.TrimPrefix(s, "custom:")
	if name == "" {
		p.problem("SubAttribute is empty; name a custom attribute of the target, for example custom:old_sub, or leave it out")
		return
	}
	p.in.SubAttribute = "custom:" + name
}

// shown is a JSON value short enough for a sentence.
func shown(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return "not readable"
	}
	// By characters: half of one at the end would be no text.
	text := []rune(b.String())
	if len(text) > 60 {
		return string(text[:57]) + "..."
	}
	return string(text)
}

// parseUserList reads the object that Users names: a JSON list, or one sub or
// username per line. Errors hold none of them.
func parseUserList(b []byte) ([]string, error) {
	var users []string
	if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 && trimmed[0] == '[' {
		var list []json.RawMessage
		if json.Unmarshal(trimmed, &list) != nil {
			return nil, errors.New("begins like a JSON list and is none")
		}
		var err error
		if users, err = listed(list); err != nil {
			return nil, err
		}
	} else {
		users = strings.Fields(string(b)) // neither subs nor usernames hold white space
	}
	if len(users) == 0 {
		return nil, errors.New("is empty")
	}
	return users, nil
}
