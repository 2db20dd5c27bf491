package server

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/notify"
	"github.com/winprest/facteur/internal/store"
)

const (
	codeEndpointDisabled = "webhook_endpoint_disabled"
	codeEndpointsTooMany = "webhook_endpoints_too_many" // max
)

// formerSecretFor is how long a secret signs on after its rotation.
const formerSecretFor = 24 * time.Hour

// createWebhookEndpoint makes an endpoint.
//
//	@Summary		Make a webhook endpoint
//	@Description	The answer holds the secret that the events are signed with, this once. Because a secret is never kept in the clear, the call takes no Idempotency-Key: when an answer was lost, rotate the secret. Events that happen from now on are sent, at the latest five seconds from now. At most 20 endpoints.
//	@ID				createWebhookEndpoint
//	@Tags			webhook-endpoints
//	@Accept			json
//	@Produce		json
//	@Param			endpoint	body		api.WebhookEndpointRequest	true	"Where to, and what."
//	@Success		201			{object}	api.WebhookEndpointSecret
//	@Header			201			{string}	Location	"-"
//	@Failure		409			{object}	api.Problem	"There are 20 already."
//	@Router			/v1/webhook-endpoints [post]
func (s *Server) createWebhookEndpoint(c *gin.Context) error {
	var req api.WebhookEndpointRequest
	f, err := s.decode(c, &req, s.limits.Body)
	if err != nil {
		return err
	}
	if err := s.checkEndpoint(&f, req.URL); err != nil {
		return err
	}
	e := &store.WebhookEndpoint{
		TenantID: tenantOf(c), URL: req.URL, Description: req.Description, Events: eventTypes(req.Events), Language: req.Language, Secret: store.NewWebhookSecret(),
	}
	if e.Language == "" {
		e.Language = language(c)
	}
	err = s.store.CreateWebhookEndpoint(c.Request.Context(), e, apiKey(c).ID)
	if errors.Is(err, store.ErrConflict) {
		return refuse(http.StatusConflict, codeEndpointsTooMany, "max", strconv.Itoa(store.MaxWebhookEndpoints))
	}
	if err != nil {
		return err
	}
	a, err := newAnswer(http.StatusCreated, endpointWithSecret(language(c), e))
	if err != nil {
		return err
	}
	a.location = "/v1/webhook-endpoints/" + e.ID
	return a.write(c)
}

// checkEndpoint adds what is wrong with an endpoint's URL.
func (s *Server) checkEndpoint(f *findings, url string) error {
	if url != "" {
		if code := notify.CheckURL(url, s.plainHooks); code != "" {
			f.merge(mail.Problems{{Pointer: "/url", Code: code}})
		}
	}
	return f.err()
}

func eventTypes(names []string) []store.EventType {
	types := make([]store.EventType, len(names))
	for i, n := range names {
		types[i] = store.EventType(n)
	}
	return types
}

func endpointOf(lang string, e *store.WebhookEndpoint) api.WebhookEndpoint {
	w := api.WebhookEndpoint{
		ID: e.ID, URL: e.URL, Description: e.Description, Events: make([]string, len(e.Events)), Language: e.Language, Enabled: e.Enabled,
		FailingSince: timeOf(e.FailingSince), CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt,
	}
	for i, t := range e.Events {
		w.Events[i] = string(t)
	}
	if e.DisabledCode != "" {
		w.Disabled = trouble(lang, e.DisabledCode, nil)
	}
	if e.PreviousUntil.After(time.Now()) {
		w.FormerSecretUntil = timeOf(e.PreviousUntil)
	}
	return w
}

func endpointWithSecret(lang string, e *store.WebhookEndpoint) api.WebhookEndpointSecret {
	return api.WebhookEndpointSecret{WebhookEndpoint: endpointOf(lang, e), Secret: string(e.Secret)}
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// listWebhookEndpoints lists endpoints.
//
//	@Summary	List webhook endpoints
//	@ID			listWebhookEndpoints
//	@Tags		webhook-endpoints
//	@Produce	json
//	@Param		cursor	query		string	false	"next_cursor of the page before."
//	@Param		limit	query		int		false	"Items of a page."	minimum(1)	maximum(200)	default(50)
//	@Success	200		{object}	api.List[api.WebhookEndpoint]
//	@Failure	422		{object}	api.Problem
//	@Router		/v1/webhook-endpoints [get]
func (s *Server) listWebhookEndpoints(c *gin.Context) error {
	q := newQuery(c)
	page := q.page()
	if err := q.err(); err != nil {
		return err
	}
	l, err := s.store.ListWebhookEndpoints(c.Request.Context(), tenantOf(c), page)
	if err != nil {
		return err
	}
	lang := language(c)
	return reply(c, http.StatusOK, listOf(l, func(e *store.WebhookEndpoint) api.WebhookEndpoint { return endpointOf(lang, e) }))
}

// getWebhookEndpoint gives one endpoint.
//
//	@Summary	Get a webhook endpoint
//	@ID			getWebhookEndpoint
//	@Tags		webhook-endpoints
//	@Produce	json
//	@Param		id	path		string	true	"Id of the endpoint."
//	@Success	200	{object}	api.WebhookEndpoint
//	@Router		/v1/webhook-endpoints/{id} [get]
func (s *Server) getWebhookEndpoint(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	e, err := s.store.WebhookEndpoint(c.Request.Context(), tenantOf(c), id)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, endpointOf(language(c), e))
}

// patchWebhookEndpoint edits an endpoint.
//
//	@Summary		Edit a webhook endpoint
//	@Description	Fields that are left out stay as they are. An endpoint that the service switched off is switched on again with enabled.
//	@ID				updateWebhookEndpoint
//	@Tags			webhook-endpoints
//	@Accept			json
//	@Produce		json
//	@Param			id			path		string						true	"Id of the endpoint."
//	@Param			endpoint	body		api.WebhookEndpointPatch	true	"What is to change."
//	@Success		200			{object}	api.WebhookEndpoint
//	@Router			/v1/webhook-endpoints/{id} [patch]
func (s *Server) patchWebhookEndpoint(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	var req api.WebhookEndpointPatch
	f, err := s.decodePatch(c, &req)
	if err != nil {
		return err
	}
	url := ""
	if req.URL != nil {
		if url = *req.URL; url == "" {
			f.merge(mail.Problems{{Pointer: "/url", Code: mail.CodeFieldRequired}})
		}
	}
	if req.Language != nil && *req.Language == "" { // null
		*req.Language = language(c)
	}
	if err := s.checkEndpoint(&f, url); err != nil {
		return err
	}
	e, err := s.store.ChangeWebhookEndpoint(c.Request.Context(), tenantOf(c), id, apiKey(c).ID, func(e *store.WebhookEndpoint) {
		set(&e.URL, req.URL)
		set(&e.Description, req.Description)
		set(&e.Language, req.Language)
		if req.Events != nil {
			e.Events = eventTypes(*req.Events)
		}
		if req.Enabled != nil && *req.Enabled != e.Enabled {
			e.Enabled, e.DisabledCode, e.FailingSince = *req.Enabled, "", time.Time{}
		}
	})
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, endpointOf(language(c), e))
}

// deleteWebhookEndpoint forgets an endpoint.
//
//	@Summary		Delete a webhook endpoint
//	@Description	Its deliveries go with it, those that are under way too.
//	@ID				deleteWebhookEndpoint
//	@Tags			webhook-endpoints
//	@Param			id	path	string	true	"Id of the endpoint."
//	@Success		204	"It is gone."
//	@Router			/v1/webhook-endpoints/{id} [delete]
func (s *Server) deleteWebhookEndpoint(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	if err := s.store.DeleteWebhookEndpoint(c.Request.Context(), tenantOf(c), id, apiKey(c).ID); err != nil {
		return err
	}
	return (&answer{status: http.StatusNoContent}).write(c)
}

// rotateWebhookSecret gives an endpoint a new secret.
//
//	@Summary		Rotate a webhook endpoint's secret
//	@Description	The answer holds the new secret, this once. For 24 hours events carry a signature of both, so that the receiver can change over without losing one. A secret before the former one is worth nothing any more.
//	@ID				rotateWebhookSecret
//	@Tags			webhook-endpoints
//	@Produce		json
//	@Param			id	path		string	true	"Id of the endpoint."
//	@Success		200	{object}	api.WebhookEndpointSecret
//	@Router			/v1/webhook-endpoints/{id}/rotate-secret [post]
func (s *Server) rotateWebhookSecret(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	e, err := s.store.ChangeWebhookEndpoint(c.Request.Context(), tenantOf(c), id, apiKey(c).ID, func(e *store.WebhookEndpoint) {
		e.Previous, e.PreviousUntil = e.Secret, store.Now().Add(formerSecretFor)
		e.Secret = store.NewWebhookSecret()
	})
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, endpointWithSecret(language(c), e))
}

// testWebhookEndpoint sends a test event.
//
//	@Summary		Test a webhook endpoint
//	@Description	Sends an event of the type webhook_endpoint.test to this endpoint, whatever events it asked for. What becomes of it is among its deliveries.
//	@ID				testWebhookEndpoint
//	@Tags			webhook-endpoints
//	@Produce		json
//	@Param			id	path		string	true	"Id of the endpoint."
//	@Success		202	{object}	api.WebhookDelivery
//	@Failure		409	{object}	api.Problem	"It is switched off."
//	@Router			/v1/webhook-endpoints/{id}/test [post]
func (s *Server) testWebhookEndpoint(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	d, err := s.store.TestWebhookEndpoint(c.Request.Context(), tenantOf(c), id)
	if err != nil {
		return endpointError(err)
	}
	return reply(c, http.StatusAccepted, deliveryOf(language(c), d))
}

// endpointError knows the endpoint that is switched off.
func endpointError(err error) error {
	if errors.Is(err, store.ErrInUse) {
		return refuse(http.StatusConflict, codeEndpointDisabled)
	}
	return err
}

func deliveryOf(lang string, d *store.Delivery) api.WebhookDelivery {
	w := api.WebhookDelivery{
		ID: d.ID, EventID: d.Event.ID, Event: notify.Event(lang, &d.Event), Status: string(d.Status), Attempts: d.Attempts, LastAttemptAt: timeOf(d.AttemptedAt),
		ResponseStatus: d.ResponseStatus, ResponseExcerpt: d.Excerpt, CreatedAt: d.CreatedAt,
	}
	if d.Status == store.DeliveryPending {
		w.NextAttemptAt = timeOf(d.NextAt)
	}
	if d.Code != "" {
		w.Problem = trouble(lang, d.Code, nil)
	}
	return w
}

// listWebhookDeliveries lists an endpoint's deliveries.
//
//	@Summary		List the deliveries of a webhook endpoint
//	@Description	Newest first, with what became of the last try; kept 30 days. The texts are in the language of this request.
//	@ID				listWebhookDeliveries
//	@Tags			webhook-endpoints
//	@Produce		json
//	@Param			id		path		string	true	"Id of the endpoint."
//	@Param			status	query		string	false	"Only deliveries with this status."	Enums(pending, delivered, failed)
//	@Param			cursor	query		string	false	"next_cursor of the page before."
//	@Param			limit	query		int		false	"Items of a page."	minimum(1)	maximum(200)	default(50)
//	@Success		200		{object}	api.List[api.WebhookDelivery]
//	@Failure		422		{object}	api.Problem
//	@Router			/v1/webhook-endpoints/{id}/deliveries [get]
func (s *Server) listWebhookDeliveries(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	q := newQuery(c)
	status, page := q.oneOf("status", string(store.DeliveryPending), string(store.DeliveryDelivered), string(store.DeliveryFailed)), q.page()
	if err := q.err(); err != nil {
		return err
	}
	l, err := s.store.ListDeliveries(c.Request.Context(), tenantOf(c), id, store.DeliveryStatus(status), page)
	if err != nil {
		return err
	}
	lang := language(c)
	return reply(c, http.StatusOK, listOf(l, func(d *store.Delivery) api.WebhookDelivery { return deliveryOf(lang, d) }))
}

// replayWebhookDelivery sends a delivery again.
//
//	@Summary		Replay a webhook delivery
//	@Description	The event is sent again, as it was and with the same webhook-id, with all tries anew. One that is pending is tried at once.
//	@ID				replayWebhookDelivery
//	@Tags			webhook-endpoints
//	@Produce		json
//	@Param			id			path		string	true	"Id of the endpoint."
//	@Param			delivery	path		string	true	"Id of the delivery."
//	@Success		202			{object}	api.WebhookDelivery
//	@Failure		409			{object}	api.Problem	"The endpoint is switched off."
//	@Router			/v1/webhook-endpoints/{id}/deliveries/{delivery}/replay [post]
func (s *Server) replayWebhookDelivery(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	delivery, err := pathID(c, "delivery")
	if err != nil {
		return err
	}
	d, err := s.store.ReplayDelivery(c.Request.Context(), tenantOf(c), id, delivery)
	if err != nil {
		return endpointError(err)
	}
	return reply(c, http.StatusAccepted, deliveryOf(language(c), d))
}

// replayFailedWebhooks sends again what failed.
//
//	@Summary		Replay what failed
//	@Description	Sends again all deliveries of the endpoint that failed, of events since a time: after a receiver was down for longer than the tries last.
//	@ID				replayFailedWebhooks
//	@Tags			webhook-endpoints
//	@Accept			json
//	@Produce		json
//	@Param			id		path		string						true	"Id of the endpoint."
//	@Param			replay	body		api.WebhookReplayRequest	true	"Since when."
//	@Success		202		{object}	api.WebhookReplay
//	@Failure		409		{object}	api.Problem	"The endpoint is switched off."
//	@Router			/v1/webhook-endpoints/{id}/replay-failed [post]
func (s *Server) replayFailedWebhooks(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	var req api.WebhookReplayRequest
	f, err := s.decode(c, &req, s.limits.Body)
	if err != nil {
		return err
	}
	if err := f.err(); err != nil {
		return err
	}
	n, err := s.store.ReplayFailed(c.Request.Context(), tenantOf(c), id, req.Since)
	if err != nil {
		return endpointError(err)
	}
	return reply(c, http.StatusAccepted, api.WebhookReplay{Replayed: n})
}
