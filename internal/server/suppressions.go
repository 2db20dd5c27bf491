package server

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// codeAlreadySuppressed refuses to suppress an address again: the first reason and evidence stay.
const codeAlreadySuppressed = "already_suppressed"

// createSuppression adds an address.
//
//	@Summary		Suppress an address
//	@Description	No mail of the firm is sent to it from then on, what is queued already included. An address that is suppressed already is refused (409).
//	@ID				createSuppression
//	@Tags			suppressions
//	@Accept			json
//	@Produce		json
//	@Param			Idempotency-Key	header		string					false	"-"
//	@Param			suppression		body		api.SuppressionRequest	true	"The address."
//	@Success		201				{object}	api.Suppression
//	@Failure		409				{object}	api.Problem	"The address is suppressed already."
//	@Failure		422				{object}	api.Problem
//	@Router			/v1/suppressions [post]
func (s *Server) createSuppression(c *gin.Context) error {
	return s.once(c, func(id *idempotency) (*answer, error) {
		var req api.SuppressionRequest
		f, err := s.decode(c, &req, s.limits.Body)
		if err != nil {
			return nil, err
		}
		if err := id.about(c, req); err != nil {
			return nil, err
		}
		f.merge(mail.Address{Address: req.Address}.Check())
		if err := f.err(); err != nil {
			return nil, err
		}
		p := &store.Suppression{
			ID: store.NewID("sup"), TenantID: tenantOf(c), Address: mail.NormalAddress(req.Address), Reason: mail.SuppressionReason(req.Reason),
			Note: req.Note, CreatedBy: apiKey(c).ID, CreatedAt: store.Now(),
		}
		if p.Reason == "" {
			p.Reason = mail.SuppressedManual
		}
		a, err := newAnswer(http.StatusCreated, suppressionOf(p))
		if err != nil {
			return nil, err
		}
		err = s.store.AddSuppression(c.Request.Context(), p, id.record(a))
		if errors.Is(err, store.ErrConflict) {
			return nil, refuse(http.StatusConflict, codeAlreadySuppressed)
		}
		return a, err
	})
}

func suppressionOf(p *store.Suppression) api.Suppression {
	return api.Suppression{
		ID: p.ID, Address: p.Address, Reason: string(p.Reason), Note: p.Note, Evidence: p.Evidence, MessageID: p.MessageID,
		CreatedBy: p.CreatedBy, CreatedAt: p.CreatedAt,
	}
}

// listSuppressions lists suppressed addresses.
//
//	@Summary		List suppressed addresses
//	@Description	Nothing is sent to them, by whatever transport, unless a mail says `override_suppression`.
//	@ID				listSuppressions
//	@Tags			suppressions
//	@Produce		json
//	@Param			address	query		string	false	"Only this address, in any form."
//	@Param			reason	query		string	false	"Only those for this reason."	Enums(bounce, complaint, manual)
//	@Param			cursor	query		string	false	"next_cursor of the page before."
//	@Param			limit	query		int		false	"Items of a page."	minimum(1)	maximum(200)	default(50)
//	@Success		200		{object}	api.List[api.Suppression]
//	@Failure		422		{object}	api.Problem
//	@Router			/v1/suppressions [get]
func (s *Server) listSuppressions(c *gin.Context) error {
	q := newQuery(c)
	f := store.SuppressionFilter{Address: q.text("address"), Reason: mail.SuppressionReason(q.oneOf("reason", "bounce", "complaint", "manual"))}
	page := q.page()
	if err := q.err(); err != nil {
		return err
	}
	l, err := s.store.ListSuppressions(c.Request.Context(), tenantOf(c), f, page)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, listOf(l, suppressionOf))
}

// deleteSuppression lifts a suppression.
//
//	@Summary		Lift a suppression
//	@Description	Mail goes to the address again, and the audit trail keeps who said so. What failed meanwhile stays failed until it is tried again. For SendGrid the address may be on a list of SendGrid's own, too.
//	@ID				deleteSuppression
//	@Tags			suppressions
//	@Param			id	path	string	true	"Id of the suppression."
//	@Success		204	"It is lifted."
//	@Router			/v1/suppressions/{id} [delete]
func (s *Server) deleteSuppression(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	if err := s.store.LiftSuppression(c.Request.Context(), tenantOf(c), id, apiKey(c).ID); err != nil {
		return err
	}
	return (&answer{status: http.StatusNoContent}).write(c)
}
