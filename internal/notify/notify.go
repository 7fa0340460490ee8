// Package notify is what people are told: one e-mail per run, written for
// somebody who reads it on a phone and wants to know whether to act.
//
// Messages are plain text in short lines, without JSON dumps and without
// personal data: counts, states, times, ids of pools and executions. Subjects
// are ASCII and shorter than 100 characters, which is what SNS accepts. Every
// message that asks for something says what to do next.
package notify

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// Message is one e-mail.
type Message struct {
	Subject string
	Body    string
	// Urgent messages are sent whatever the preference: failures, suspect restore
	// points, restores that leave something to do.
	Urgent bool
}

// Preference says which messages are wanted: SNS_PREFERENCE of the function.
type Preference string

// The preferences a deployment can choose.
const (
	InfoAndErrors Preference = "INFO_AND_ERRORS"
	ErrorsOnly    Preference = "ERRORS_ONLY"
)

// Wants says whether m is to be sent.
func (p Preference) Wants(m Message) bool { return m.Urgent || p != ErrorsOnly }

// Publisher is what Topic needs of SNS.
type Publisher interface {
	Publish(context.Context, *sns.PublishInput, ...func(*sns.Options)) (*sns.PublishOutput, error)
}

// Topic is where messages go.
type Topic struct {
	API        Publisher
	ARN        string
	Preference Preference
}

// Send publishes m, unless the preference suppresses it, and says whether it
// did. It is not idempotent: a retry after an unclear failure may send twice,
// which beats not sending.
func (t *Topic) Send(ctx context.Context, m Message) (bool, error) {
	if !t.Preference.Wants(m) {
		return false, nil
	}
	_, err := t.API.Publish(ctx, &sns.PublishInput{TopicArn: &t.ARN, Subject: &m.Subject, Message: &m.Body})
	if err != nil {
		return false, fmt.Errorf("publish message: %w", err)
	}
	return true, nil
}

// maxSubject is one below the 100 characters at which SNS refuses a subject.
const maxSubject = 99

// subject joins the deployment's prefix and what happened. Characters outside
// printable ASCII, which SNS refuses, become question marks.
func subject(prefix, format string, args ...any) string {
	s := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, fmt.Sprintf("["+prefix+"] "+format, args...))
	if len(s) > maxSubject {
		s = s[:maxSubject-3] + "..."
	}
	return s
}

// text collects the lines of a body.
type text struct{ b strings.Builder }

func (t *text) line(format string, args ...any) {
	fmt.Fprintf(&t.b, format+"\n", args...)
}

// width of a line that e-mail programs show without breaking it.
const width = 72

// say writes a sentence, broken between words into short lines; indent starts
// the first of them, and as many spaces the others. Links and input to copy
// are written with line instead.
func (t *text) say(indent, format string, args ...any) {
	line := indent
	for i, word := range strings.Fields(fmt.Sprintf(format, args...)) {
		switch {
		case i == 0:
			line += word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			t.line("%s", line)
			line = strings.Repeat(" ", len(indent)) + word
		}
	}
	t.line("%s", line)
}

func (t *text) blank() { t.b.WriteByte('\n') }

// list writes a heading and its items; nothing when there are none.
func (t *text) list(heading string, items []string) {
	if len(items) == 0 {
		return
	}
	t.blank()
	t.line("%s", heading)
	for _, item := range items {
		t.say("- ", "%s", item)
	}
}

func (t *text) String() string { return t.b.String() }

// count writes n with its noun: 1 user, 1,234 users.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

// number writes n with a comma between thousands.
func number(n int64) string {
	s := fmt.Sprint(n)
	from := 0
	if n < 0 {
		from = 1
	}
	for i := len(s) - 3; i > from; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// duration writes d as a person would: 43 seconds, 4 minutes 10 seconds, 2 hours 5 minutes, 3 days 4 hours.
func duration(d time.Duration) string {
	units := []struct {
		noun string
		size time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}}
	d = d.Round(time.Second)
	for i, u := range units {
		if d < u.size {
			continue
		}
		s := count(int64(d/u.size), u.noun)
		if rest := d % u.size; i+1 < len(units) && rest >= units[i+1].size {
			s += " " + count(int64(rest/units[i+1].size), units[i+1].noun)
		}
		return s
	}
	return "less than a second"
}

// moment writes a time in UTC to the second.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }
