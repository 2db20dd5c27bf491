package mail

import (
	"math"
	"strings"
	"time"
)

// Limits are how many mails a profile hands over at most, on all machines together; 0 is no limit. They count mails, not
// recipients, and hold for every window of their length, wherever it begins.
type Limits struct {
	PerMinute int // in any 60 seconds
	PerHour   int // in any 60 minutes
	PerDay    int // in any 24 hours
}

// Any says whether there is a limit at all.
func (l Limits) Any() bool { return l != Limits{} }

// Limit names one of Limits, as the API does.
type Limit string

const (
	LimitPerMinute Limit = "per_minute"
	LimitPerHour   Limit = "per_hour"
	LimitPerDay    Limit = "per_day"
)

// Of gives the number of one limit.
func (l Limits) Of(name Limit) int {
	switch name {
	case LimitPerMinute:
		return l.PerMinute
	case LimitPerHour:
		return l.PerHour
	}
	return l.PerDay
}

// LimitPresets are limits by a name. Google: 6,000 quota units a minute and user for Cloud projects that first used the Gmail API
// after April 2026, 15,000 for older ones, and 100 units a mail (https://developers.google.com/workspace/gmail/api/reference/quota);
// 500 mails a day for a personal account, 2,000 for one of Google Workspace (https://support.google.com/a/answer/166852).
// Microsoft: 30 mails a minute and 10,000 recipients a day
// (https://learn.microsoft.com/office365/servicedescriptions/exchange-online-service-description/exchange-online-limits).
// Providers of access publish no rates for their relays: isp_relay is cautious.
var LimitPresets = map[string]Limits{
	"none":                        {},
	"gmail_personal":              {PerMinute: 60, PerDay: 500},
	"gmail_personal_old_project":  {PerMinute: 150, PerDay: 500},
	"gmail_workspace":             {PerMinute: 60, PerDay: 2000},
	"gmail_workspace_old_project": {PerMinute: 150, PerDay: 2000},
	"microsoft_365":               {PerMinute: 30, PerDay: 10000},
	"isp_relay":                   {PerMinute: 20, PerHour: 300, PerDay: 1000},
}

// DefaultLimits are those of a profile that asks for none: for Gmail the preset gmail_personal when its address is at Google's
// own domains, gmail_workspace otherwise; none for other transports.
func DefaultLimits(transport, address string) Limits {
	if transport != "gmail" {
		return Limits{}
	}
	_, domain, _ := strings.Cut(strings.ToLower(address), "@")
	if domain == "gmail.com" || domain == "googlemail.com" {
		return LimitPresets["gmail_personal"]
	}
	return LimitPresets["gmail_workspace"]
}

// Room is what limits leave at a moment.
type Room struct {
	Mails int       // how many may be handed over now
	Until time.Time // when Mails is 0: the earliest moment with room
	Limit Limit     // when Mails is 0: the limit that keeps it so
}

// window is a limit as it is counted.
type window struct {
	limit  Limit
	length int64 // seconds
	most   int
	grain  int64 // uses are taken to end at the end of such a second or minute
}

const (
	minute = int64(60)
	hour   = 60 * minute
	day    = 24 * hour
)

// windows lists what is counted. A sixth of a minute's limit is for any eight seconds, so that a batch does not use up a minute
// at once and have a one-off mail wait for its end; a little more than its share, so that a worker that is late loses nothing.
func (l Limits) windows() []window {
	all := [...]window{
		{LimitPerMinute, 8, (l.PerMinute + 5) / 6, 1},
		{LimitPerMinute, minute, l.PerMinute, 1},
		{LimitPerHour, hour, l.PerHour, minute},
		{LimitPerDay, day, l.PerDay, minute},
	}
	set := all[:0:0]
	for _, w := range all {
		if w.most > 0 {
			set = append(set, w)
		}
	}
	return set
}

// Room says how many mails may be handed over now. open are those that may be on their way at this moment: nobody knows yet
// when the far end sees them.
//
// Whoever hands over no more than that, counts it as open until the far end has answered, and then as used by the time of the
// answer, never exceeds a limit as the far end sees it. For take any window at the far end, and the mail in it that was allowed
// last: every other one was by then either open, or used no longer ago than the window is long. So it was counted.
func (l Limits) Room(used Usage, open int, now time.Time) Room {
	room := Room{Mails: math.MaxInt}
	for _, w := range l.windows() {
		left, free := used.left(w, open, now.Unix())
		if left > 0 {
			room.Mails = min(room.Mails, left)
			continue
		}
		room.Mails = 0
		if at := time.Unix(free, 0).UTC(); at.After(room.Until) {
			room.Until, room.Limit = at, w.limit
		}
	}
	if room.Mails > 0 {
		return Room{Mails: room.Mails}
	}
	return room
}

// WindowUse is how much of a limit is used at a moment.
type WindowUse struct {
	Limit     Limit
	Max, Used int       // mails; Used counts those on their way
	Left      int       // never negative
	FreeAt    time.Time // when Left is 0: the earliest moment with room
}

// Uses says how much of each limit is used now; open as for Room.
func (l Limits) Uses(used Usage, open int, now time.Time) []WindowUse {
	var uses []WindowUse
	for _, w := range l.windows() {
		if w.length < minute { // a share of the minute's
			continue
		}
		left, free := used.left(w, open, now.Unix())
		u := WindowUse{Limit: w.limit, Max: w.most, Used: w.most - left, Left: max(left, 0)}
		if u.Left == 0 {
			u.FreeAt = time.Unix(free, 0).UTC()
		}
		uses = append(uses, u)
	}
	return uses
}

// Forecast says when the last of n more mails may be handed over, when nothing but the limits holds them up and nobody else's
// mail goes before them.
func (l Limits) Forecast(used Usage, open, n int, now time.Time) time.Time {
	_, last := l.after(used, open, n, now)
	return last
}

// after is Forecast with what is used by then.
func (l Limits) after(used Usage, open, n int, now time.Time) (Usage, time.Time) {
	if !l.Any() {
		return used, now
	}
	used = used.Add(open, now)
	for n > 0 {
		room := l.Room(used, 0, now)
		if room.Mails == 0 {
			now = room.Until
			continue
		}
		k := min(n, room.Mails)
		used, n = used.Add(k, now), n-k
	}
	return used, now
}

// Usage is what a profile handed over in the last day, oldest first. It is kept by the second for two minutes and by the minute
// after that, so that it never has more than some 1,600 entries.
type Usage []Use

// Use is a number of mails that were handed over at At, in seconds since 1970 UTC, or shortly before.
type Use struct {
	At    int64
	Mails int
}

// Add counts mails that were handed over by now, and forgets what is older than a day.
func (u Usage) Add(mails int, now time.Time) Usage {
	sec := now.Unix()
	kept := make(Usage, 0, len(u)+1)
	add := func(use Use) {
		// When the clock went back, the later time is the careful one.
		if n := len(kept); n > 0 && kept[n-1].At >= use.At {
			kept[n-1].Mails += use.Mails
			return
		}
		kept = append(kept, use)
	}
	for _, use := range u {
		if use.At <= sec-2*minute { // rounded up it is still out of the last minute
			use.At = up(use.At, minute)
		}
		if use.At > sec-day {
			add(use)
		}
	}
	if mails > 0 {
		if now.Nanosecond() > 0 {
			sec++
		}
		add(Use{sec, mails})
	}
	return kept
}

// left is how many mails a window leaves, and when that is none, the second of the next.
func (u Usage) left(w window, open int, now int64) (left int, free int64) {
	left = w.most - open
	first := len(u) // of the window
	for i := len(u) - 1; i >= 0 && up(u[i].At, w.grain) > now-w.length; i-- {
		left -= u[i].Mails
		first = i
	}
	free = now + w.length // the earliest for what is open
	for would := left; first < len(u); first++ {
		if would += u[first].Mails; would > 0 {
			return left, up(u[first].At, w.grain) + w.length
		}
	}
	return left, free
}

// up rounds seconds up to whole grains.
func up(at, grain int64) int64 { return (at + grain - 1) / grain * grain }
