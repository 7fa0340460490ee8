package faults

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

func kinds(s *Set, c Call, n int) string {
	var b strings.Builder
	for range n {
		switch f := s.For(c); {
		case f.Kind != "":
			b.WriteByte(f.Kind[0])
		case f.Unprocessed > 0:
			b.WriteByte('u')
		default:
			b.WriteByte('.')
		}
	}
	return b.String()
}

func TestRules(t *testing.T) {
	call := Call{Service: "dynamodb", Operation: "PutItem", Region: "eu-west-1", Function: "T-export-users"}
	for name, c := range map[string]struct {
		rule Rule
		want string
	}{
		"every call":               {Rule{Kind: Throttle}, "ttttt"},
		"count":                    {Rule{Kind: Throttle, Count: 2}, "tt..."},
		"skip and count":           {Rule{Kind: ServerError, Skip: 1, Count: 2}, ".ss.."},
		"service":                  {Rule{Kind: Throttle, Service: "s3"}, "....."},
		"operation":                {Rule{Kind: Throttle, Operation: "PutItem"}, "ttttt"},
		"operation by prefix":      {Rule{Kind: Throttle, Operation: "Put*"}, "ttttt"},
		"another operation":        {Rule{Kind: Throttle, Operation: "Put"}, "....."},
		"Region":                   {Rule{Kind: Throttle, Region: "us-east-1"}, "....."},
		"function by suffix":       {Rule{Kind: DropAfter, Function: "*-export-users"}, "ddddd"},
		"another function":         {Rule{Kind: DropAfter, Function: "*-import-users"}, "....."},
		"function by prefix":       {Rule{Kind: DropAfter, Function: "T-*"}, "ddddd"},
		"another prefix":           {Rule{Kind: DropAfter, Function: "U-*"}, "....."},
		"any caller":               {Rule{Kind: DropAfter, Function: "*"}, "ddddd"},
		"half, the same each time": {Rule{Kind: Throttle, Probability: 0.5}, ""},
		"unprocessed":              {Rule{Kind: Unprocessed, Count: 1}, "u...."},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := New(7), New(7)
			first.Add(c.rule)
			second.Add(c.rule)
			if c.rule.Probability > 0 {
				a, b := kinds(first, call, 100), kinds(second, call, 100)
				if n := strings.Count(a, "t"); a != b || n < 30 || n > 70 {
					t.Errorf("%s\n%s", a, b)
				}
				return
			}
			if got := kinds(first, call, 5); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestSeveralRules(t *testing.T) {
	s := New(1)
	s.Latency("", 10*time.Millisecond, 5*time.Millisecond)
	remove := s.Add(Rule{Kind: Throttle, Count: 1})
	s.Add(Rule{Name: "odd", Kind: Fail, Code: "Odd", Status: 418, Count: 1})
	f := s.For(Call{})
	if f.Delay < 10*time.Millisecond || f.Delay >= 15*time.Millisecond || f.Kind != Throttle {
		t.Errorf("first: %+v", f)
	}
	if err := s.VerifyAllExercised(); err == nil || !strings.Contains(err.Error(), "fail") {
		t.Errorf("exercised: %v", err)
	}
	if f := s.For(Call{}); f.Kind != Fail || f.Code != "Odd" || f.Status != 418 {
		t.Errorf("second: %+v", f)
	}
	if err := s.VerifyAllExercised(); err != nil {
		t.Error(err)
	}
	remove()
	if got := fmt.Sprint(s.Injected()); got != "map[delay:2 fail:1 throttle:1]" {
		t.Errorf("injected %s", got)
	}
	if got := s.InjectedBy(); got["odd"] != 1 || got[""] != 3 {
		t.Errorf("injected by name %v", got)
	}
	s.Clear()
	if f := s.For(Call{}); f != (Fault{}) {
		t.Errorf("after Clear: %+v", f)
	}
	if got := From(With(context.Background(), Fault{Unprocessed: 0.2})); got.Unprocessed != 0.2 {
		t.Errorf("from context: %+v", got)
	}
}
