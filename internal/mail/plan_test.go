package mail

import (
	"math"
	"testing"
	"time"
)

func TestOutlook(t *testing.T) {
	now := limitsNow
	for name, tt := range map[string]struct {
		plan        Plan
		start, done time.Duration
		days        int
		limit       Limit
	}{
		"nothing":                  {Plan{Rate: 1}, 0, 0, 0, ""},
		"the rate":                 {Plan{Mails: 60, Rate: 2}, 0, 30 * time.Second, 1, ""},
		"behind others":            {Plan{Mails: 60, Ahead: 60, Rate: 2}, 30 * time.Second, time.Minute, 1, ""},
		"later":                    {Plan{Mails: 60, Ahead: 60, Rate: 2, Start: now.Add(time.Hour)}, time.Hour, time.Hour + 30*time.Second, 1, ""},
		"a limit that is not hit":  {Plan{Mails: 60, Rate: 2, Limits: Limits{PerDay: 500}}, 0, 30 * time.Second, 1, ""},
		"over three days":          {Plan{Mails: 1200, Rate: 100, Limits: Limits{PerDay: 500}}, 0, 48 * time.Hour, 3, LimitPerDay},
		"the day is used":          {Plan{Mails: 1, Rate: 100, Limits: Limits{PerDay: 5}, Used: Usage{{now.Unix() - 3600, 5}}}, 0, 23 * time.Hour, 1, LimitPerDay},
		"used, but not that day":   {Plan{Mails: 1, Rate: 100, Limits: Limits{PerDay: 5}, Used: Usage{{now.Unix() - 3600, 5}}, Start: now.Add(48 * time.Hour)}, 48 * time.Hour, 48*time.Hour + 10*time.Millisecond, 1, ""},
		"those ahead use the day":  {Plan{Mails: 1, Ahead: 5, Rate: 100, Limits: Limits{PerDay: 5}}, 50 * time.Millisecond, 24 * time.Hour, 1, LimitPerDay},
		"on their way use it, too": {Plan{Mails: 1, Open: 5, Rate: 100, Limits: Limits{PerDay: 5}}, 0, 24 * time.Hour, 2, LimitPerDay},
		"the hour more than day":   {Plan{Mails: 30, Rate: 100, Limits: Limits{PerHour: 10, PerDay: 500}}, 0, 2 * time.Hour, 1, LimitPerHour},
	} {
		got := tt.plan.Outlook(now)
		// The limits count whole minutes after the first two.
		near := func(got time.Time, want time.Duration) bool {
			return math.Abs(float64(got.Sub(now.Add(want)))) <= float64(2*time.Minute) && (want >= time.Hour || got.Equal(now.Add(want)))
		}
		if !near(got.Start, tt.start) || !near(got.Done, tt.done) || got.Days != tt.days || got.Limit != tt.limit {
			t.Errorf("%s: start %v, done %v, %d days, limit %q; want %v, %v, %d, %q", name, got.Start.Sub(now), got.Done.Sub(now), got.Days, got.Limit, tt.start, tt.done, tt.days, tt.limit)
		}
	}
}

// A batch that is too long for the hours of a day goes on in those of the next.
func TestOutlookWithinAWindow(t *testing.T) {
	friday := time.Date(2026, 10, 23, 15, 0, 0, 0, time.UTC) // 17:00 in Brussels; the clocks go back on Sunday
	office := &Window{From: "08:00", To: "18:00", TimeZone: "Europe/Brussels", Holidays: "BE"}
	monday := time.Date(2026, 10, 26, 7, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		plan        Plan
		start, done time.Time
		limit       Limit
	}{
		"within the hour":   {Plan{Mails: 1800, Rate: 1}, friday, friday.Add(30 * time.Minute), ""},
		"over the week-end": {Plan{Mails: 5400, Rate: 1}, friday, monday.Add(30 * time.Minute), ""},
		"begun at night":    {Plan{Mails: 60, Rate: 1, Start: friday.Add(5 * time.Hour)}, monday, monday.Add(time.Minute), ""},
		"a limit":           {Plan{Mails: 90, Rate: 10, Limits: Limits{PerHour: 30}}, friday, monday.Add(time.Hour), LimitPerHour},
		"behind others":     {Plan{Mails: 60, Ahead: 7200, Rate: 1}, monday, monday.Add(time.Minute), ""},
	} {
		tt.plan.Window = office
		got := tt.plan.Outlook(friday)
		if near := got.Done.Sub(tt.done).Abs() <= 2*time.Minute; !got.Start.Equal(tt.start) || !near || got.Limit != tt.limit {
			t.Errorf("%s: %+v; want %s, %s, %q", name, got, tt.start, tt.done, tt.limit)
		}
	}
}

func TestMeasuredRate(t *testing.T) {
	at := func(gaps ...time.Duration) []time.Time {
		times := []time.Time{limitsNow}
		for _, g := range gaps {
			times = append(times, times[len(times)-1].Add(-g))
		}
		return times
	}
	many := func(n int, g time.Duration) []time.Duration {
		gaps := make([]time.Duration, n)
		for i := range gaps {
			gaps[i] = g
		}
		return gaps
	}
	for name, tt := range map[string]struct {
		sent []time.Time
		want float64
		ok   bool
	}{
		"none":        {nil, 0, false},
		"too few":     {at(many(19, time.Second)...), 0, false},
		"one a sec":   {at(many(20, time.Second)...), 1, true},
		"idle nights": {at(append(append(many(20, 500*time.Millisecond), 8*time.Hour), many(20, 500*time.Millisecond)...)...), 2, true},
		"all at once": {at(many(100, 0)...), 0, false},
	} {
		if got, ok := MeasuredRate(tt.sent); ok != tt.ok || math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: %v, %v; want %v, %v", name, got, ok, tt.want, tt.ok)
		}
	}
}
