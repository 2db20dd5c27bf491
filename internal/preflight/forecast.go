package preflight

import (
	"context"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// Forecast says how the batch will go, if the profile is ready and nobody stops it.
type Forecast struct {
	mail.Outlook
	Mails    int
	Most     int     // what Limit allows
	Ahead    int     // mails of the profile that go before it
	Rate     float64 // mails a second
	Measured bool    // the rate is what the profile has managed lately; else it is assumed
}

const (
	profileTime = 15 * time.Second
	// assumedRate is how many mails a second go over one connection when nothing better is known: cautious.
	assumedRate = 1.0
)

// readiness is what a profile's own check came to.
type readiness struct {
	trouble    *mail.ProfileTrouble // nil: none was found
	unfinished bool
	maxBytes   int64 // the largest mail that the far end takes; 0: it does not say
}

// checkProfile proves that the profile works.
func (cfg *Config) checkProfile(ctx context.Context) (r readiness) {
	if cfg.Profile == nil || cfg.Transport == nil {
		return r
	}
	if cfg.Profile.SecretsUnreadable {
		r.trouble = &mail.ProfileTrouble{Code: mail.CodeSecretsUnavailable}
		return r
	}
	limit := cfg.ProfileTime
	if limit <= 0 {
		limit = profileTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, step := range cfg.Transport.Check(ctx, cfg.Profile) {
		r.maxBytes = max(r.maxBytes, step.MaxBytes)
		if step.OK {
			continue
		}
		if r.unfinished = ctx.Err() != nil; !r.unfinished { // else it says nothing about the settings
			r.trouble = &mail.ProfileTrouble{Code: step.Code, Reply: step.Reply}
		}
		break
	}
	return r
}

// finishProfile says whether the profile is ready: as its own check has gone, and as it is held or paused.
func (c *Check) finishProfile(ctx context.Context) error {
	var r readiness
	select {
	case r = <-c.profile:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.compareSizes(r.maxBytes)
	p := c.cfg.Profile
	const at = "/sender_profile_id"
	switch {
	case c.cfg.Transport == nil || r.trouble != nil:
		c.problems.put(profileProblem(at, CodeProfileNotReady, Blocking, r.trouble))
	case p.Hold != nil:
		c.problems.put(profileProblem(at, CodeProfileNotReady, Blocking, p.Hold))
	case p.Pause != nil && p.PausedUntil.After(c.cfg.Now):
		c.problems.put(profileProblem(at, CodeProfilePaused, Warning, p.Pause))
	case r.unfinished:
		c.problems.put(profileProblem(at, CodeProfileUnchecked, Info, nil))
	}
	return nil
}

func profileProblem(pointer, code string, severity Severity, cause *mail.ProfileTrouble) Problem {
	return Problem{Problem: mail.Problem{Pointer: pointer, Code: code}, Severity: severity, Cause: cause}
}

// forecast works out how the batch will go, and warns when it will take more than a day's mails.
func (c *Check) forecast(ctx context.Context) (*Forecast, error) {
	p, now := c.cfg.Profile, c.cfg.Now
	start := now
	if c.cfg.SendAt.After(start) {
		start = c.cfg.SendAt
	}
	b, err := c.cfg.Store.Backlog(ctx, c.cfg.TenantID, p.ID, start)
	if err != nil {
		return nil, err
	}
	f := &Forecast{Mails: c.messages, Ahead: b.Waiting}
	if f.Rate, f.Measured = mail.MeasuredRate(b.Sent); !f.Measured {
		f.Rate = assumedRate * float64(max(p.MaxConnections, 1))
	}
	f.Outlook = mail.Plan{Mails: c.messages, Ahead: b.Waiting, Open: b.Open, Used: b.Used, Start: start, Limits: p.Limits, Rate: f.Rate, Window: c.cfg.Window}.Outlook(now)
	if f.Limit != "" {
		f.Most = p.Limits.Of(f.Limit)
	}
	if f.Limit == mail.LimitPerDay && f.Days > 1 {
		c.problems.add(nil, Warning, "/messages", CodeDayLimit, "max", itoa(p.Limits.PerDay), "days", itoa(f.Days))
	}
	if c.lastDue.After(f.Done) {
		f.Done = c.lastDue
		if c.cfg.Window != nil {
			f.Done = c.cfg.Window.NextOpening(f.Done)
		}
	}
	return f, nil
}
