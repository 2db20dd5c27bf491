package mail

import "time"

// Plan is a batch that is to be sent by one profile, and what stands in its way.
type Plan struct {
	Mails  int
	Ahead  int       // mails of the profile that go before it
	Open   int       // mails on their way
	Used   Usage     // what the limits count already
	Start  time.Time // when the batch may begin
	Limits Limits
	Rate   float64 // mails a second that the profile manages when no limit holds it up; over 0
	Window *Window // of the batch; nil: it goes at any time
}

// Outlook says how a Plan will go.
type Outlook struct {
	Start time.Time // when its first mail may go
	Done  time.Time // when its last one has gone
	Days  int       // periods of 24 hours that it takes, begun ones included; 0 for no mails
	// Limit is the one that Done depends on; empty when it is only the rate.
	Limit Limit
}

// Outlook works a plan out, from now.
func (p Plan) Outlook(now time.Time) Outlook {
	begin, done := p.run(p.Limits, now)
	o := Outlook{Start: begin, Done: done}
	if p.Mails == 0 {
		return o
	}
	o.Days = int(done.Sub(begin)/(24*time.Hour)) + 1
	_, free := p.run(Limits{}, now)
	for _, name := range []Limit{LimitPerMinute, LimitPerHour, LimitPerDay} {
		// The one without which it is done soonest. None alone may be it, when two would hold it up as long.
		if _, alone := p.run(p.Limits.only(name), now); alone.After(free) {
			free, o.Limit = alone, name
		}
	}
	return o
}

// only is a limit without the others.
func (l Limits) only(name Limit) Limits {
	switch name {
	case LimitPerMinute:
		return Limits{PerMinute: l.PerMinute}
	case LimitPerHour:
		return Limits{PerHour: l.PerHour}
	}
	return Limits{PerDay: l.PerDay}
}

// run says when the batch begins and is done under limits. What takes longest decides: the limits, or the rate.
func (p Plan) run(l Limits, now time.Time) (begin, done time.Time) {
	used, begin := l.after(p.Used, p.Open, p.Ahead, now)
	begin = latest(begin, now.Add(p.takes(p.Ahead)), p.Start)
	if p.Window != nil {
		begin = p.Window.NextOpening(begin)
		return begin, p.within(l, used, begin)
	}
	_, done = l.after(used, 0, p.Mails, begin)
	return begin, latest(done, begin.Add(p.takes(p.Mails)))
}

// within says when the batch, begun at t, is done if its mails go in its window alone.
func (p Plan) within(l Limits, used Usage, t time.Time) time.Time {
	for left := p.Mails; left > 0; {
		open, until := p.Window.At(t)
		if !open {
			t = until
			continue
		}
		n := left
		if !until.IsZero() { // one that begins before the end still goes
			n = min(n, int(until.Sub(t).Seconds()*p.Rate)+1)
		}
		if l.Any() {
			room := l.Room(used, 0, t)
			if room.Mails == 0 {
				t = room.Until
				continue
			}
			n = min(n, room.Mails)
			used = used.Add(n, t)
		}
		t, left = t.Add(p.takes(n)), left-n
	}
	return t
}

func (p Plan) takes(mails int) time.Duration {
	return time.Duration(float64(mails) / p.Rate * float64(time.Second))
}

func latest(times ...time.Time) time.Time {
	var t time.Time
	for _, other := range times {
		if other.After(t) {
			t = other
		}
	}
	return t
}

const (
	leastMeasured = 20               // mails that make a rate
	longestGap    = 10 * time.Second // between two mails of a run; a longer one was idleness
)

// MeasuredRate is how many mails a second a profile has sent while it had mails to send, from the times when its latest ones
// were sent, newest first. ok is false when they are too few to say.
func MeasuredRate(sent []time.Time) (rate float64, ok bool) {
	var busy time.Duration
	gaps := 0
	for i := 1; i < len(sent); i++ {
		if gap := sent[i-1].Sub(sent[i]); gap >= 0 && gap <= longestGap {
			busy += gap
			gaps++
		}
	}
	if gaps < leastMeasured || busy <= 0 {
		return 0, false
	}
	return float64(gaps) / busy.Seconds(), true
}
