package main

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"cognito-backup/test/localaws/cognito"
	"cognito-backup/test/seed"
)

// meter turns a growing number into a rate, over the last few looks.
type meter struct {
	times  []time.Time
	values []int
}

const meterLooks = 10

func (m *meter) look(now time.Time, value int) {
	m.times, m.values = append(m.times, now), append(m.values, value)
	if len(m.times) > meterLooks {
		m.times, m.values = m.times[1:], m.values[1:]
	}
}

// rate is per second.
func (m *meter) rate() float64 {
	n := len(m.times)
	if n < 2 {
		return 0
	}
	return float64(m.values[n-1]-m.values[0]) / m.times[n-1].Sub(m.times[0]).Seconds()
}

// left says how long the rest takes at this rate, "" when that cannot be told.
func (m *meter) left(total int) string {
	rate := m.rate()
	if rate <= 0 {
		return ""
	}
	rest := float64(total-m.values[len(m.values)-1]) / rate
	if rest < 1 {
		return ""
	}
	return fmt.Sprintf(", about %s left", time.Duration(rest*float64(time.Second)).Round(time.Second))
}

func sum(counts map[string]cognito.Count) int {
	n := 0
	for c := range maps.Values(counts) {
		n += c.Succeeded + c.Throttled
	}
	return n
}

// exportGauge tells of the calls to Cognito; how many a listing needs follows
// from what was seeded.
func (d *demo) exportGauge() func() string {
	service := d.bed.Cognito(d.expects.primary)
	pages := func(n int) int { return max(1, (n+59)/60) }
	total := pages(len(d.seeded.Users)) + pages(len(d.seeded.Groups))
	for _, g := range d.seeded.Groups {
		total += pages(len(d.seeded.Members[g.GroupName]))
	}
	var m meter
	return func() string {
		m.look(time.Now(), sum(service.Counts()))
		return fmt.Sprintf("Cognito: %.1f calls/s%s", m.rate(), m.left(total))
	}
}

// importGauge tells how much of the pool is back.
func (d *demo) importGauge(pool string) func() string {
	service := d.bed.Cognito(d.expects.secondary)
	users, memberships := 0, 0
	federated := map[string]bool{}
	for _, u := range d.seeded.Users {
		if u.UserStatus == seed.External {
			federated[u.Username] = true
		} else {
			users++
		}
	}
	for _, members := range d.seeded.Members {
		for _, u := range members {
			if !federated[u] {
				memberships++
			}
		}
	}
	var calls, records meter
	var next time.Time
	var haveUsers, haveMemberships int
	return func() string {
		now := time.Now()
		calls.look(now, sum(service.Counts()))
		if now.After(next) {
			began := time.Now()
			haveUsers, haveMemberships = held(service, pool)
			// A large pool takes a while to count: spend a twentieth on it at most.
			next = now.Add(20 * time.Since(began))
			records.look(now, haveUsers+haveMemberships)
		}
		parts := []string{
			fmt.Sprintf("users %d/%d", haveUsers, users),
			fmt.Sprintf("memberships %d/%d", haveMemberships, memberships),
			fmt.Sprintf("Cognito: %.1f calls/s%s", calls.rate(), records.left(users+memberships)),
		}
		return strings.Join(parts, "  ")
	}
}

func held(service *cognito.Service, pool string) (users, memberships int) {
	s, err := service.Snapshot(pool)
	if err != nil {
		return 0, 0 // only a gauge
	}
	for _, members := range s.Members {
		memberships += len(members)
	}
	return len(s.Users), memberships
}
