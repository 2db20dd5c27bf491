package mail

import (
	"testing"
	"time"
	_ "time/tzdata"
)

func TestWindow(t *testing.T) {
	office := Window{From: "08:00", To: "18:00", TimeZone: DefaultTimeZone}
	holidays := Window{From: "08:00", To: "18:00", TimeZone: DefaultTimeZone, Holidays: "BE"}
	daily := []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}
	night := Window{Days: daily, From: "00:00", To: "06:00", TimeZone: DefaultTimeZone}
	gap := Window{Days: daily, From: "02:15", To: "02:45", TimeZone: DefaultTimeZone}
	whole := Window{Days: daily, From: "00:00", To: "24:00", TimeZone: DefaultTimeZone}
	for name, tt := range map[string]struct {
		w     Window
		at    string // UTC, as all here
		open  bool
		until string
	}{
		"before it opens":                {office, "2026-11-25 06:59", false, "2026-11-25 07:00"},
		"as it opens":                    {office, "2026-11-25 07:00", true, "2026-11-25 17:00"},
		"before it closes":               {office, "2026-11-25 16:59", true, "2026-11-25 17:00"},
		"as it closes":                   {office, "2026-11-25 17:00", false, "2026-11-26 07:00"},
		"in summer":                      {office, "2026-07-01 06:00", true, "2026-07-01 16:00"},
		"over a weekend":                 {office, "2026-11-27 17:00", false, "2026-11-30 07:00"},
		"over a weekend of summer's end": {office, "2026-10-23 16:00", false, "2026-10-26 07:00"},
		"over a weekend of its begin":    {office, "2026-03-27 17:00", false, "2026-03-30 06:00"},
		"on a Sunday":                    {Window{Days: []string{"sun"}, From: "10:00", To: "12:00", TimeZone: DefaultTimeZone}, "2026-11-25 00:00", false, "2026-11-29 09:00"},
		"without holidays":               {office, "2026-12-25 10:00", true, "2026-12-25 17:00"},
		"at Christmas, a Friday":         {holidays, "2026-12-25 10:00", false, "2026-12-28 07:00"},
		"at Easter":                      {holidays, "2026-04-03 17:00", false, "2026-04-07 06:00"},
		"the evening before a holiday":   {holidays, "2026-07-20 16:00", false, "2026-07-22 06:00"},
		"a night of 5 hours":             {night, "2026-03-28 23:00", true, "2026-03-29 04:00"},
		"a night of 7 hours":             {night, "2026-10-24 22:00", true, "2026-10-25 05:00"},
		"a time that does not come":      {gap, "2026-03-28 12:00", false, "2026-03-29 01:15"},
		"a day without an end":           {whole, "2026-11-25 22:59", true, "2026-11-25 23:00"},
		"the next one":                   {whole, "2026-11-25 23:00", true, "2026-11-26 23:00"},
		"far away":                       {Window{Days: daily, From: "08:00", To: "18:00", TimeZone: "Asia/Kathmandu"}, "2026-11-25 02:15", true, "2026-11-25 12:15"},
	} {
		if ps := tt.w.Check(); len(ps) > 0 {
			t.Fatalf("%s: %v", name, ps)
		}
		open, until := tt.w.At(at(tt.at))
		if open != tt.open || !until.Equal(at(tt.until)) {
			t.Errorf("%s: open %v until %s, want %v until %s", name, open, until, tt.open, tt.until)
		}
		next := tt.w.NextOpening(at(tt.at))
		if is, _ := tt.w.At(next); !is || next.Before(at(tt.at)) || tt.open && !next.Equal(at(tt.at)) {
			t.Errorf("%s: the next opening is %s", name, next)
		}
	}
}

// The ten public holidays of the law of 4 January 1974.
func TestBelgianHolidays(t *testing.T) {
	moving := map[int][]string{ // Easter Monday, Ascension, Whit Monday
		2024: {"04-01", "05-09", "05-20"}, 2025: {"04-21", "05-29", "06-09"}, 2026: {"04-06", "05-14", "05-25"},
		2027: {"03-29", "05-06", "05-17"}, 2028: {"04-17", "05-25", "06-05"}, 2038: {"04-26", "06-03", "06-14"},
	}
	for year, days := range moving {
		want := map[string]bool{"01-01": true, "05-01": true, "07-21": true, "08-15": true, "11-01": true, "11-11": true, "12-25": true}
		for _, d := range days {
			want[d] = true
		}
		for day := time.Date(year, 1, 1, 12, 0, 0, 0, time.UTC); day.Year() == year; day = day.AddDate(0, 0, 1) {
			if got := belgianHoliday(day); got != want[day.Format("01-02")] {
				t.Errorf("%s: %v", day.Format(time.DateOnly), got)
			}
		}
	}
}

func TestWindowCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		w    Window
		code string
	}{
		"no time":          {Window{From: "8:00", To: "18:00", TimeZone: "UTC"}, CodeTimeOfDay},
		"no minute":        {Window{From: "08:60", To: "18:00", TimeZone: "UTC"}, CodeTimeOfDay},
		"a sign":           {Window{From: "08:00", To: "+1:00", TimeZone: "UTC"}, CodeTimeOfDay},
		"after midnight":   {Window{From: "08:00", To: "24:01", TimeZone: "UTC"}, CodeTimeOfDay},
		"never open":       {Window{From: "18:00", To: "18:00", TimeZone: "UTC"}, CodeWindowEmpty},
		"no zone":          {Window{From: "08:00", To: "18:00"}, CodeTimeZoneUnknown},
		"here, as it were": {Window{From: "08:00", To: "18:00", TimeZone: "Local"}, CodeTimeZoneUnknown},
		"a file":           {Window{From: "08:00", To: "18:00", TimeZone: "../../etc/passwd"}, CodeTimeZoneUnknown},
	} {
		if ps := tt.w.Check(); len(ps) != 1 || ps[0].Code != tt.code {
			t.Errorf("%s: %v", name, ps)
		}
	}
}

// Whatever a window says, its answers agree with each other.
func FuzzWindow(f *testing.F) {
	f.Add("08:00", "18:00", "Europe/Brussels", int64(1_795_600_000), uint8(0b0011111))
	f.Add("02:15", "02:45", "Europe/Brussels", int64(1_774_742_400), uint8(0b1111111))
	f.Add("00:00", "24:00", "Africa/Casablanca", int64(0), uint8(1))
	f.Fuzz(func(t *testing.T, from, to, zone string, unix int64, days uint8) {
		w := Window{From: from, To: to, TimeZone: zone, Holidays: "BE"}
		for i, d := range weekdays {
			if days&(1<<i) != 0 {
				w.Days = append(w.Days, d)
			}
		}
		now := time.Unix(unix%(100*365*24*3600), 0)
		if len(w.Check()) > 0 {
			return
		}
		open, until := w.At(now)
		if !until.After(now) {
			t.Fatalf("%+v at %s: open %v until %s", w, now, open, until)
		}
		if before, same := w.At(until.Add(-time.Second)); !until.Add(-time.Second).Before(now) && (before != open || !same.Equal(until)) {
			t.Errorf("%+v: at %s open %v until %s; just before that %v until %s", w, now, open, until, before, same)
		}
	})
}
