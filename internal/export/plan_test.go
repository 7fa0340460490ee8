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
		fits                       int // the rate that would; 0: it fits, -1: none does
	}{
		{"small", 500, 105, 350, 10, 0},
		{"40 million users", 40_000_000, 10, 0, 10, 0},
		{"40 million users in a group each", 40_000_000, 10_000, 40_000_000, 10, 0},
		{"40 million users in a group each, all of the quota", 40_000_000, 10_000, 40_000_000, 30, 0},
		{"40 million users in 20 groups each, all of the quota", 40_000_000, 10_000, 800_000_000, 30, 0},
		{"40 million users in 20 groups each", 40_000_000, 10_000, 800_000_000, 10, 23},
		{"40 million users in 100 groups each", 40_000_000, 10_000, 4_000_000_000, 10, -1},
		{"40 million users in a group each, slowly", 40_000_000, 10_000, 40_000_000, 1, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := export.NewPlan(c.users, c.groups, c.memberships, c.tps, 10*time.Minute)
			err := p.Check()
			t.Logf("%d calls, %.1f hours, %d slices, %d events", p.Calls, p.Duration.Hours(), p.Slices, p.Events)
			if c.fits == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			tooLarge := new(export.TooLargeError)
			if !errors.As(err, &tooLarge) {
				t.Fatalf("%+v fits, want an error", p)
			}
			t.Log(err)
			if tooLarge.Fits != max(c.fits, 0) {
				t.Errorf("cognitoTps %d is said to fit, want %d", tooLarge.Fits, max(c.fits, 0))
			}
		})
	}
}
