package stacks

import (
	"testing"
	"time"
)

func TestSchedules(t *testing.T) {
	tests := []struct {
		give       string
		expression string
		gap        time.Duration
		window     time.Duration // of the alarm on a missing restore point
	}{
		{"EVERY_DAY", "rate(1 day)", day, 2 * day},
		{"EVERY_7_DAYS", "rate(7 days)", 7 * day, 0},
		{"EVERY_30_DAYS", "rate(30 days)", 30 * day, 0},
		{"rate(30 minutes)", "rate(30 minutes)", 30 * time.Minute, 7 * time.Hour},
		{"rate(1 hour)", "rate(1 hour)", time.Hour, 7 * time.Hour},
		{"rate(12 hours)", "rate(12 hours)", 12 * time.Hour, day},
		{"rate(6 days)", "rate(6 days)", 6 * day, 7 * day},
		{"cron(0 3 * * ? *)", "cron(0 3 * * ? *)", day, 2 * day},
		{"cron(15 0/6 ? * * *)", "cron(15 0/6 ? * * *)", day, 2 * day},
		{"cron(0 3 ? * MON-FRI *)", "cron(0 3 ? * MON-FRI *)", 3 * day, 4 * day},
		{"cron(0 3 ? * 2,4,6 *)", "cron(0 3 ? * 2,4,6 *)", 3 * day, 4 * day},
		{"cron(0 3 ? * SUN *)", "cron(0 3 ? * SUN *)", 7 * day, 0},
		{"cron(0 3 1 * ? *)", "cron(0 3 1 * ? *)", 0, 0},
		{"cron(0 3 L * ? *)", "cron(0 3 L * ? *)", 0, 0},
		{"cron(0 3 ? * FRI#2 *)", "cron(0 3 ? * FRI#2 *)", 0, 0},
		{"cron(0 3 ? JAN-JUN MON 2026-2030)", "cron(0 3 ? JAN-JUN MON 2026-2030)", 0, 0},
	}
	for _, test := range tests {
		t.Run(test.give, func(t *testing.T) {
			s, err := ParseSchedule(test.give)
			if err != nil {
				t.Fatal(err)
			}
			if s.Expression != test.expression || s.LongestGap != test.gap {
				t.Errorf("got %q, gap %v; want %q, gap %v", s.Expression, s.LongestGap, test.expression, test.gap)
			}
			if got := restorePointWindow(s); got != test.window {
				t.Errorf("alarm after %v, want %v", got, test.window)
			}
		})
	}
}

func TestSchedulesThatAreNone(t *testing.T) {
	for _, give := range []string{
		"", "every_day", "EVERY_2_DAYS", "rate()", "rate(1)", "rate(1 week)", "rate(-1 days)", "rate(1.5 days)", "rate(99999 days)", "rate(1 day) ",
		"at(2026-11-22T09:00:00)", "cron()", "cron(0 3 * * ?)", "cron(0 3 * * * *)", "cron(0 3 ? * ? *)", "cron(60 3 * * ? *)",
		"cron(0 24 * * ? *)", "cron(0 3 32 * ? *)", "cron(0 3 ? 13 MON *)", "cron(0 3 ? * MUN *)", "cron(0 3 ? * FRI-MON *)", "cron(0/0 3 * * ? *)",
	} {
		if s, err := ParseSchedule(give); err == nil {
			t.Errorf("%q is accepted as %q", give, s.Expression)
		}
	}
}
