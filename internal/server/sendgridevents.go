package server

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	sendgrid "github.com/winprest/facteur/internal/transport/sendgrid/events"
)

// Codes of the event webhook. Who reads them is whoever sets it up at SendGrid.
const (
	codeWebhookSignature = "webhook_signature_invalid"
	codeWebhookStale     = "webhook_signature_stale"
)

const (
	sendGridName = "sendgrid" // the transport of the profiles that it reports on
	// maxEventsBody is twice what SendGrid puts into one request.
	maxEventsBody = 2 << 20
	// maxEventRequests bounds what strangers can make the service hold: nobody is known before the whole body is read.
	maxEventRequests = 32
)

// takeSendGridEvents takes what SendGrid reports.
//
//	@Summary		Take SendGrid's events
//	@Description	For SendGrid's signed event webhook: set its address to this path, and give the service its public key. No key of the API is needed; the signature proves who it is. Events come in any order and any number of times; what is not about a mail of this service is ignored.
//	@ID				takeSendGridEvents
//	@Tags			webhooks
//	@Accept			json
//	@Produce		json
//	@Param			events	body		[]object	true	"A batch of events, as SendGrid documents them. At most 2 MiB."
//	@Success		200		{object}	api.TakenEvents
//	@Failure		400		{object}	api.Problem
//	@Failure		401		{object}	api.Problem	"It is not signed with a key that the service has, or was signed more than a day ago."
//	@Failure		413		{object}	api.Problem
//	@Failure		429		{object}	api.Problem	"Too much at once. SendGrid tries again by itself."
//	@Failure		500		{object}	api.Problem
//	@Router			/webhooks/sendgrid [post]
func (s *Server) takeSendGridEvents(c *gin.Context) error {
	if s.eventRequests.Add(1) > maxEventRequests {
		s.eventRequests.Add(-1)
		return tooBusy()
	}
	defer s.eventRequests.Add(-1)
	h := c.Request.Header
	signature, timestamp := h.Get(sendgrid.SignatureHeader), h.Get(sendgrid.TimestampHeader)
	if len(s.sendGridKeys) == 0 || signature == "" || timestamp == "" {
		return refuse(http.StatusUnauthorized, codeWebhookSignature)
	}
	var batch []mail.Event
	var ignored int
	err := s.withBody(c, maxEventsBody, func(body []byte) (err error) {
		now := time.Now()
		if err := s.sendGridKeys.Verify(signature, timestamp, body, now); err != nil {
			return err
		}
		batch, ignored, err = sendgrid.Parse(body, now)
		return err
	})
	switch {
	case errors.Is(err, sendgrid.ErrSignature):
		return refuse(http.StatusUnauthorized, codeWebhookSignature)
	case errors.Is(err, sendgrid.ErrStale):
		return refuse(http.StatusUnauthorized, codeWebhookStale)
	case errors.Is(err, sendgrid.ErrMalformed):
		return refuse(http.StatusBadRequest, codeJSONMalformed)
	case err != nil:
		return err
	}
	n, err := s.outbox.TakeEvents(c.Request.Context(), sendGridName, batch)
	if errors.Is(err, outbox.ErrBusy) {
		return tooBusy()
	}
	if err != nil {
		return err
	}
	if foreign := ignored + n.Foreign; foreign > 0 || n.Proven > 0 {
		s.log.Info("events", slog.String("from", sendGridName), slog.Int("stored", n.New), slog.Int("known", n.Known), slog.Int("ignored", foreign), slog.Int("proven", n.Proven))
	}
	return reply(c, http.StatusOK, api.TakenEvents{Stored: n.New, Known: n.Known, Ignored: ignored + n.Foreign})
}

func tooBusy() *refusal {
	r := refuse(http.StatusTooManyRequests, codeRateLimited)
	r.retryAfter = 5 * time.Second
	return r
}
