package server

import (
	"encoding/json"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/store"
)

// listAuditEvents lists what was done by hand.
//
//	@Summary		List audit events
//	@Description	What was decided by a person or a program about messages that were sent already or on their way: who cancelled, retried or resolved what; and who changed webhook endpoints, notice settings and suppressions.
//	@ID				listAuditEvents
//	@Tags			audit-events
//	@Produce		json
//	@Param			cursor	query		string	false	"next_cursor of the page before."
//	@Param			limit	query		int		false	"Items of a page."	minimum(1)	maximum(200)	default(50)
//	@Success		200		{object}	api.List[api.AuditEvent]
//	@Failure		422		{object}	api.Problem
//	@Router			/v1/audit-events [get]
func (s *Server) listAuditEvents(c *gin.Context) error {
	q := newQuery(c)
	page := q.page()
	if err := q.err(); err != nil {
		return err
	}
	l, err := s.store.ListAudit(c.Request.Context(), tenantOf(c), page)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, listOf(l, func(e *store.AuditEvent) api.AuditEvent {
		detail := e.Detail
		if len(detail) == 0 || string(detail) == "null" {
			detail = json.RawMessage("{}") // nothing more to say, in the type that the contract gives it
		}
		return api.AuditEvent{ID: e.ID, Actor: e.Actor, Action: e.Action, Subject: e.Subject, Detail: detail, CreatedAt: e.CreatedAt}
	}))
}
