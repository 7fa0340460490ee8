package export_test

import (
	"errors"
	"testing"
	"time"

	"cognito-backup/internal/export"
)

func TestPlanOfTheLargestPools(t *testing.T) {
	cases := []struct {
		name                       string
		users, groups, memberships int64
		tps                        int
		fits                       int // 0: it fits
	}{
		{"small", 500, 105, 350, 10, 0},
		{"40 million users", 40_000_000, 10, 0, 10, 0},
		{"40 million users in a group each", 40_000_000, 10_000, 40_000_000, 10, 0},
		{"40 million users in a group each, all of the quota", 40_000_000, 10_000, 40_000_000, 30, 0},
		{"40 million users in 20 groups each", 40_000_000, 10_000, 800_000_000, 10, 0},
		{"40 million users in 100 groups each", 40_000_000, 10_000, 4_000_000_000, 10, 47},
		{"40 million users in 100 groups each, slowly", 40_000_000, 10_000, 4_000_000_000, 1, 40},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := export.NewPlan(c.users, c.groups, c.memberships, c.tps, 10*time.Minute)
			err := p.Fits(c.tps, 10*time.Minute)
			t.Logf("%d calls, %.1f hours, %d slices, %d events", p.Calls, p.Duration.Hours(), p.Slices, p.Events)
			tooLarge := new(export.TooLargeError)
			switch {
			case c.fits == 0 && err != nil:
				t.Error(err)
			case c.fits != 0 && !errors.As(err, &tooLarge):
				t.Errorf("%+v fits, want an error", p)
			case c.fits != 0:
				t.Log(err)
			}
		})
	}
}
