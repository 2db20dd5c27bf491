package mail

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var limitsNow = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func ago(d time.Duration) int64 { return limitsNow.Add(-d).Unix() }

func TestRoom(t *testing.T) {
	after := func(d time.Duration) time.Time { return limitsNow.Add(d) }
	tests := []struct {
		name   string
		limits Limits
		used   Usage
		open   int
		want   Room
	}{
		{"no limit", Limits{}, Usage{{ago(0), 1e6}}, 1e6, Room{Mails: math.MaxInt}},
		{"a sixth at once", Limits{PerMinute: 30}, nil, 0, Room{Mails: 5}},
		{"a limit under six", Limits{PerMinute: 2}, nil, 0, Room{Mails: 1}},
		{"what is open counts", Limits{PerMinute: 30}, nil, 3, Room{Mails: 2}},
		{"only open ones", Limits{PerMinute: 30}, nil, 5, Room{0, after(8 * time.Second), LimitPerMinute}},
		{"a sixth is used", Limits{PerMinute: 30}, Usage{{ago(5 * time.Second), 5}}, 0, Room{0, after(3 * time.Second), LimitPerMinute}},
		{"a use ends at the edge", Limits{PerMinute: 30}, Usage{{ago(8 * time.Second), 5}}, 0, Room{Mails: 5}},
		{"the minute is used", Limits{PerMinute: 6}, Usage{{ago(59 * time.Second), 1}, {ago(50 * time.Second), 5}}, 0, Room{0, after(time.Second), LimitPerMinute}},
		{"the oldest does not make room enough", Limits{PerMinute: 6}, Usage{{ago(59 * time.Second), 1}, {ago(50 * time.Second), 6}}, 0, Room{0, after(10 * time.Second), LimitPerMinute}},
		{"the hour goes by the minute", Limits{PerHour: 10}, Usage{{ago(59*time.Minute + 30*time.Second), 10}}, 0, Room{0, after(time.Minute), LimitPerHour}},
		{"the day", Limits{PerMinute: 60, PerDay: 500}, Usage{{ago(20 * time.Hour), 400}, {ago(time.Hour), 90}}, 4, Room{Mails: 6}},
		{"the limit that lasts the longest", Limits{PerMinute: 6, PerDay: 500}, Usage{{ago(20 * time.Hour), 494}, {ago(10 * time.Second), 6}}, 0, Room{0, after(4 * time.Hour), LimitPerDay}},
		{"a limit that was lowered", Limits{PerDay: 10}, Usage{{ago(2 * time.Hour), 100}}, 0, Room{0, after(22 * time.Hour), LimitPerDay}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.limits.Room(tt.used, tt.open, limitsNow); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// Whatever the order in which mails are allowed, seen by the far end and counted, no window of the far end has too many. And
// nothing waits without need: Until is exact.
func TestNoSlidingWindowExceedsALimit(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test
		l := Limits{PerMinute: r.IntN(40), PerHour: r.IntN(400), PerDay: r.IntN(3000)}
		if !l.Any() {
			continue
		}
		type flight struct {
			ends  time.Time
			mails int
		}
		var (
			used    Usage
			flights []flight
			seen    []time.Time
			now     = limitsNow.Add(time.Duration(r.Int64N(int64(time.Minute))))
			end     = now.Add(50 * time.Hour)
		)
		for now.Before(end) && len(seen) < 5000 {
			open := 0
			flights = slices.DeleteFunc(flights, func(f flight) bool {
				if !f.ends.After(now) {
					used = used.Add(f.mails, now)
					return true
				}
				open += f.mails
				return false
			})
			room := l.Room(used, open, now)
			if room.Mails > 0 {
				k := min(room.Mails, 1+r.IntN(20))
				took := time.Duration(r.Int64N(int64(30 * time.Second)))
				if r.IntN(3) > 0 {
					took /= 1000
				}
				for range k {
					seen = append(seen, now.Add(time.Duration(r.Int64N(int64(took)+1))))
				}
				flights = append(flights, flight{now.Add(took), k})
			} else if open == 0 {
				if !room.Until.After(now) {
					t.Fatalf("seed %d: until %s at %s", seed, room.Until, now)
				}
				if before := l.Room(used, 0, room.Until.Add(-time.Second)); before.Mails > 0 && room.Until.Add(-time.Second).After(now) {
					t.Fatalf("seed %d: there was room before %s", seed, room.Until)
				}
				if now = room.Until; l.Room(used, 0, now).Mails == 0 {
					t.Fatalf("seed %d: no room at %s", seed, now)
				}
				continue
			}
			if len(flights) > 0 && (room.Mails == 0 || r.IntN(2) == 0) {
				next := slices.MinFunc(flights, func(a, b flight) int { return a.ends.Compare(b.ends) }).ends
				if next.After(now) {
					now = next
				}
			} else {
				now = now.Add(time.Duration(r.Int64N(int64(3 * time.Second))))
			}
		}
		slices.SortFunc(seen, time.Time.Compare)
		for length, most := range map[time.Duration]int{time.Minute: l.PerMinute, time.Hour: l.PerHour, 24 * time.Hour: l.PerDay} {
			if most == 0 {
				continue
			}
			for i := 0; i+most < len(seen); i++ {
				if d := seen[i+most].Sub(seen[i]); d < length {
					t.Fatalf("seed %d, %+v: %d mails in %s", seed, l, most+1, d)
				}
			}
		}
	}
}

func TestUsageStaysSmall(t *testing.T) {
	var used Usage
	total := 0
	for now := limitsNow; now.Before(limitsNow.Add(30 * time.Hour)); now = now.Add(3100 * time.Millisecond) {
		used = used.Add(1, now)
		total++
	}
	kept := 0
	for _, u := range used {
		kept += u.Mails
	}
	inADay := int(24 * time.Hour / (3100 * time.Millisecond))
	if len(used) > 1600 || kept < inADay || kept > inADay+60 {
		t.Errorf("%d entries, %d of %d mails, want the %d of a day", len(used), kept, total, inADay)
	}
	if used = used.Add(0, limitsNow.Add(60*time.Hour)); len(used) != 0 {
		t.Errorf("a day later there are %d entries", len(used))
	}
	// A clock that goes back forgets nothing.
	used = Usage{}.Add(3, limitsNow).Add(4, limitsNow.Add(-time.Hour))
	if len(used) != 1 || used[0] != (Use{limitsNow.Unix(), 7}) {
		t.Errorf("%v", used)
	}
}

func TestForecast(t *testing.T) {
	tests := []struct {
		limits  Limits
		used    Usage
		open, n int
		want    time.Duration
	}{
		{Limits{}, nil, 0, 1000, 0},
		{Limits{PerMinute: 30}, nil, 0, 0, 0},
		{Limits{PerMinute: 30}, nil, 0, 5, 0},
		{Limits{PerMinute: 30}, nil, 0, 6, 8 * time.Second},
		{Limits{PerMinute: 30}, nil, 5, 1, 8 * time.Second},
		{Limits{PerMinute: 30}, nil, 0, 30, 40 * time.Second},
		{Limits{PerMinute: 30}, nil, 0, 31, 60 * time.Second},
		{Limits{PerMinute: 30}, nil, 0, 800, 26*time.Minute + 24*time.Second},
		{Limits{PerDay: 500}, nil, 0, 500, 0},
		{Limits{PerDay: 500}, nil, 0, 501, 24 * time.Hour},
		{Limits{PerDay: 500}, Usage{{ago(23 * time.Hour), 500}}, 0, 800, 25 * time.Hour},
		{Limits{PerMinute: 60, PerDay: 2000}, nil, 0, 2000, 33*time.Minute + 8*time.Second},
		{Limits{PerMinute: 60, PerDay: 2000}, nil, 0, 2001, 24 * time.Hour},
		{Limits{PerHour: 100, PerDay: 150}, nil, 0, 160, 24 * time.Hour},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%+v %v %d %d", tt.limits, tt.used, tt.open, tt.n), func(t *testing.T) {
			if got := tt.limits.Forecast(tt.used, tt.open, tt.n, limitsNow).Sub(limitsNow); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestDefaultLimits(t *testing.T) {
	for _, tt := range []struct{ transport, address, preset string }{
		{"gmail", "a@gmail.com", "gmail_personal"}, {"gmail", "A@GoogleMail.com", "gmail_personal"},
		{"gmail", "a@firm.example", "gmail_workspace"}, {"smtp", "a@gmail.com", "none"}, {"sandbox", "a@firm.example", "none"},
	} {
		if got := DefaultLimits(tt.transport, tt.address); got != LimitPresets[tt.preset] {
			t.Errorf("%s %s: %+v, want %s", tt.transport, tt.address, got, tt.preset)
		}
	}
}
