package server

import (
	"testing"
	"time"

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

func TestHealthStates(t *testing.T) {
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	trouble := &mail.ProfileTrouble{Code: mail.CodeServerSilent, Since: now}
	unconnected := consent.Unconnected()
	later := now.Add(5 * time.Minute)
	for name, c := range map[string]struct {
		profile        mail.Profile
		state, breaker string
		until          bool
		problem        string
	}{
		"ready":                 {mail.Profile{}, "ready", "closed", false, ""},
		"paused":                {mail.Profile{Pause: trouble, PauseCount: 2, PausedUntil: later}, "paused", "open", true, mail.CodeServerSilent},
		"after the pause":       {mail.Profile{Pause: trouble, PauseCount: 2, PausedUntil: now}, "recovering", "half_open", false, mail.CodeServerSilent},
		"held":                  {mail.Profile{Hold: &mail.ProfileTrouble{Code: "smtp_login_refused"}}, "held", "closed", false, "smtp_login_refused"},
		"held while paused":     {mail.Profile{Hold: &mail.ProfileTrouble{Code: "smtp_login_refused"}, Pause: trouble, PauseCount: 1, PausedUntil: later}, "held", "open", false, "smtp_login_refused"},
		"not connected":         {mail.Profile{Hold: &unconnected}, "not_connected", "closed", false, consent.CodeReauthorizationRequired},
		"limited":               {mail.Profile{LimitedUntil: later, LimitedBy: mail.LimitPerDay}, "limited", "closed", true, ""},
		"limited some time ago": {mail.Profile{LimitedUntil: now, LimitedBy: mail.LimitPerDay}, "ready", "closed", false, ""},
	} {
		for _, lang := range []string{"fr", "nl", "en", "de"} {
			w := healthOf(lang, &store.Health{Profile: &c.profile, At: now})
			problem := ""
			if w.Problem != nil {
				problem = w.Problem.Code
			}
			if w.State != c.state || w.Breaker.State != c.breaker || (w.Until != nil) != c.until || problem != c.problem || w.Text == "" || w.Text == c.state {
				t.Errorf("%s: %+v, problem %q", name, w, problem)
			}
			if w.Until != nil && !w.Until.Equal(later) {
				t.Errorf("%s: until %s", name, w.Until)
			}
		}
	}

	p := mail.Profile{Limits: mail.Limits{PerMinute: 60, PerDay: 100}}
	h := &store.Health{Profile: &p, At: now, Waiting: 50, Used: mail.Usage{{At: now.Add(-2 * time.Hour).Unix(), Mails: 80}}}
	w := healthOf("en", h)
	if len(w.Limits) != 2 || w.Limits[1].Left != 20 || w.EmptyAt == nil || w.EmptyAt.Before(now.Add(21*time.Hour)) || w.LastHandedOverAt == nil {
		t.Errorf("%+v", w)
	}
	p.Hold = &mail.ProfileTrouble{Code: "smtp_login_refused"}
	if w := healthOf("en", h); w.EmptyAt != nil {
		t.Errorf("a held profile is done at %s", w.EmptyAt)
	}
}
