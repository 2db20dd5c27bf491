package server

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
)

// getProfileHealth says how a profile is doing.
//
//	@Summary		Get the health of a sender profile
//	@Description	Whether it sends, what keeps it from sending and until when, how much of its limits and connections is used, and how much mail waits. It asks nobody outside.
//	@ID				getSenderProfileHealth
//	@Tags			sender-profiles
//	@Produce		json
//	@Param			id	path		string	true	"Id of the profile."
//	@Success		200	{object}	api.ProfileHealth
//	@Router			/v1/sender-profiles/{id}/health [get]
func (s *Server) getProfileHealth(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	h, err := s.store.Health(c.Request.Context(), tenantOf(c), id)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, healthOf(language(c), h))
}

// shownTime is how a time stands in a sentence.
const shownTime = "2006-01-02 15:04 UTC"

func healthOf(lang string, h *store.Health) api.ProfileHealth {
	p, now := h.Profile, h.At
	w := api.ProfileHealth{
		ProfileID: p.ID, State: "ready", Limits: []api.LimitUse{}, Breaker: api.Breaker{State: "closed", Pauses: p.PauseCount},
		Connections: api.ConnectionUse{Allowed: p.MaxConnections, InUse: h.Connections},
		Waiting: api.Waiting{
			Total: h.Waiting, More: h.More, Due: h.Due, Deferred: h.Deferred, OldestSince: optional(h.OldestSince), NextDueAt: optional(h.NextDue),
		},
		Sending: h.Sending, Uncertain: h.Uncertain, CheckedAt: now,
	}
	from := now // when the next mail may go
	paused := p.PauseCount > 0 && p.Pause != nil
	if paused {
		w.Breaker.State = "half_open"
		if now.Before(p.PausedUntil) {
			w.Breaker.State = "open"
		}
	}
	var until time.Time
	switch {
	case p.Hold != nil && p.Hold.Code == consent.CodeReauthorizationRequired:
		w.State, w.Problem = "not_connected", profileTrouble(lang, p.Hold)
	case p.Hold != nil:
		w.State, w.Problem = "held", profileTrouble(lang, p.Hold)
	case paused && now.Before(p.PausedUntil):
		w.State, w.Problem, until, from = "paused", profileTrouble(lang, p.Pause), p.PausedUntil, p.PausedUntil
	case paused:
		w.State, w.Problem = "recovering", profileTrouble(lang, p.Pause)
	case now.Before(p.LimitedUntil):
		w.State, until = "limited", p.LimitedUntil
	}
	w.Text, w.Until = texts.Phrase(lang, "health", w.State, "until", until.UTC().Format(shownTime)), optional(until)
	for _, u := range p.Limits.Uses(h.Used, h.Open, now) {
		w.Limits = append(w.Limits, api.LimitUse{Limit: string(u.Limit), Max: u.Max, Used: u.Used, Left: u.Left, FreeAt: optional(u.FreeAt)})
	}
	if n := len(h.Used); n > 0 {
		last := time.Unix(h.Used[n-1].At, 0).UTC()
		w.LastHandedOverAt = &last
	}
	if h.Waiting > 0 && !h.More && p.Hold == nil && p.Limits.Any() {
		empty := p.Limits.Forecast(h.Used, h.Open, h.Waiting, from)
		w.EmptyAt = &empty
	}
	return w
}
