package mail

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rickar/cal/v2/be"
)

// Codes of a sending window.
const (
	CodeWindowEmpty     = "window_empty"
	CodeTimeOfDay       = "time_of_day_invalid" // value
	CodeTimeZoneUnknown = "time_zone_unknown"   // value
)

// DefaultTimeZone is that of a window that names none.
const DefaultTimeZone = "Europe/Brussels"

// Window is when mail of a send job may leave: on some days of the week, between two times of the day.
type Window struct {
	Days     []string `json:"days,omitempty"` // "mon" … "sun"; empty: Monday to Friday
	From     string   `json:"from"`           // "08:00"
	To       string   `json:"to"`             // "18:00", later than From; "24:00" is midnight
	TimeZone string   `json:"time_zone"`      // of the IANA database
	// Holidays are days on which nothing leaves: "BE" for the public holidays of Belgium, "" for none.
	Holidays string `json:"holidays,omitempty"`
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// Check finds what is wrong with the window.
func (w *Window) Check() (ps Problems) {
	from, ok1 := timeOfDay(w.From)
	if !ok1 {
		ps.Add("/from", CodeTimeOfDay, "value", Shown(w.From))
	}
	to, ok2 := timeOfDay(w.To)
	if !ok2 {
		ps.Add("/to", CodeTimeOfDay, "value", Shown(w.To))
	}
	if ok1 && ok2 && from >= to {
		ps.Add("/to", CodeWindowEmpty)
	}
	// "Local" is a place, but not always the same one.
	if _, err := time.LoadLocation(w.TimeZone); err != nil || w.TimeZone == "" || w.TimeZone == "Local" {
		ps.Add("/time_zone", CodeTimeZoneUnknown, "value", Shown(w.TimeZone))
	}
	return ps
}

// timeOfDay reads "HH:MM" as minutes since midnight, "24:00" included.
func timeOfDay(s string) (minutes int, ok bool) {
	h, m, found := strings.Cut(s, ":")
	if !found || len(h) != 2 || len(m) != 2 {
		return 0, false
	}
	hours, err1 := strconv.ParseUint(h, 10, 8)
	mins, err2 := strconv.ParseUint(m, 10, 8)
	minutes = int(hours)*60 + int(mins) //nolint:gosec // two digits each
	return minutes, err1 == nil && err2 == nil && mins < 60 && minutes <= 24*60
}

// horizon is how far ahead an opening is looked for. No calendar has as many holidays in a row.
const horizon = 60

// At says whether the window is open, and until when that holds; zero: for good. A window that Check refuses is open.
func (w *Window) At(t time.Time) (open bool, until time.Time) {
	zone, err := time.LoadLocation(w.TimeZone)
	from, ok1 := timeOfDay(w.From)
	to, ok2 := timeOfDay(w.To)
	if err != nil || !ok1 || !ok2 {
		return true, time.Time{}
	}
	year, month, day := t.In(zone).Date()
	for d := range horizon {
		// Noon is there on every day; a time of the day may be skipped, or come twice.
		noon := time.Date(year, month, day+d, 12, 0, 0, 0, zone)
		if !w.on(noon) {
			continue
		}
		y, m, dd := noon.Date()
		opens, closes := time.Date(y, m, dd, 0, from, 0, 0, zone), time.Date(y, m, dd, 0, to, 0, 0, zone)
		switch {
		case !opens.Before(closes):
		case t.Before(opens):
			return false, opens.UTC()
		case t.Before(closes):
			return true, closes.UTC()
		}
	}
	return false, t.AddDate(0, 0, horizon).UTC()
}

// NextOpening is when mail may leave again, t itself while it may.
func (w *Window) NextOpening(t time.Time) time.Time {
	open, until := w.At(t)
	if open {
		return t
	}
	return until
}

// on says whether the window opens on a day, given by its noon.
func (w *Window) on(noon time.Time) bool {
	name := weekdays[noon.Weekday()]
	if len(w.Days) == 0 && (name == "sat" || name == "sun") || len(w.Days) > 0 && !slices.Contains(w.Days, name) {
		return false
	}
	return w.Holidays != "BE" || !belgianHoliday(noon)
}

func belgianHoliday(day time.Time) bool {
	for _, h := range be.Holidays {
		if actual, _ := h.Calc(day.Year()); actual.Month() == day.Month() && actual.Day() == day.Day() {
			return true
		}
	}
	return false
}
