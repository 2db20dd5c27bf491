package store

import (
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// paceWindow is how far back Pace looks.
const paceWindow = time.Minute

// Pace is how fast a job is sent just now. It is counted from the messages, so that every process says the same.
type Pace struct {
	At     time.Time   // when it was counted
	Sent   int         // messages sent in the minute before
	Since  time.Time   // when the first of them was; zero: none
	Limits mail.Limits // of the sender profile, by the hour and the day: the minute's shows in the pace
}

func (p *Pace) add(sent int, since time.Time, limits mail.Limits) {
	p.Sent += sent
	if !since.IsZero() && (p.Since.IsZero() || since.Before(p.Since)) {
		p.Since = since
	}
	p.Limits = limits
}

// Rate is the messages a second from the first of the last minute's to now. It is 0 when there are too few to tell.
func (p Pace) Rate() float64 {
	took := p.At.Sub(p.Since).Seconds()
	if p.Sent < 2 || took <= 0 {
		return 0
	}
	return float64(p.Sent-1) / took
}

// End is when n more messages, of a job of total, will have been tried at this rate. It is zero when that would be a guess: the
// rate rests on few messages, or a limit of the profile may come in between.
func (p Pace) End(n, total int) time.Time {
	const enough = 10
	rate := p.Rate()
	if n == 0 || p.Sent < enough || rate <= 0 {
		return time.Time{}
	}
	end := time.Duration(float64(n) / rate * float64(time.Second))
	for limit, window := range map[int]time.Duration{p.Limits.PerHour: time.Hour, p.Limits.PerDay: 24 * time.Hour} {
		if limit > 0 && total > limit && rate*window.Seconds() > float64(limit) {
			return time.Time{}
		}
	}
	return p.At.Add(end).Truncate(time.Second)
}
