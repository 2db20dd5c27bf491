package server

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// sendMessage accepts one mail.
//
//	@Summary		Send a mail
//	@Description	Stores one mail, a send job of one, and answers before it is sent. It leaves with the profile asked for or the user's default one, never with another. A token that nothing fills is refused here.
//	@ID				sendMessage
//	@Tags			messages
//	@Accept			json
//	@Produce		json
//	@Param			Idempotency-Key	header		string				false	"-"
//	@Param			message			body		api.MessageRequest	true	"The mail. The whole request may have 24 MiB."
//	@Success		202				{object}	api.AcceptedMessage	"It is stored."
//	@Header			202				{string}	Location			"-"
//	@Failure		422				{object}	api.Problem
//	@Failure		503				{object}	api.Problem
//	@Router			/v1/messages [post]
func (s *Server) sendMessage(c *gin.Context) error {
	return s.once(c, func(id *idempotency) (*answer, error) {
		var req api.MessageRequest
		f, err := s.decode(c, &req, s.limits.SendBody)
		if err != nil {
			return nil, err
		}
		if err := id.about(c, req); err != nil {
			return nil, err
		}
		sendAt := req.SendAt
		w, err := s.prepare(c, &sendRequest{
			purpose: outbox.PurposeOneOff, profileID: req.SenderProfileID, userRef: req.UserRef, companyRef: req.CompanyRef,
			job:   store.JobDetail{ExternalID: req.ExternalID},
			mails: []api.Mail{req.Mail}, at: func(int) string { return "" },
		}, &f)
		if err != nil {
			return nil, err
		}
		return w.submit(id, func(r *outbox.Receipt) (*answer, error) { return w.acceptedMessage(r, sendAt) })
	})
}

func (w *sending) acceptedMessage(r *outbox.Receipt, sendAt *time.Time) (*answer, error) {
	m, d := r.Messages[0], w.items[0].Detail
	accepted := api.AcceptedMessage{
		ID: m.ID, JobID: r.JobID, Sender: w.sender, Language: m.Language, Template: templateUse(d.TemplateID, d.TemplateVersion),
		ExternalID: d.ExternalID, CreatedAt: r.CreatedAt, SendAt: sendAt, Links: messageLinks(m.ID, r.JobID),
	}
	accepted.Status, accepted.Problem = w.held()
	a, err := newAnswer(http.StatusAccepted, accepted)
	if err != nil {
		return nil, err
	}
	a.location = accepted.Links.Self
	return a, nil
}

func messageLinks(id, job string) api.Links {
	self := "/v1/messages/" + id
	return api.Links{Self: self, Job: "/v1/send-jobs/" + job, Attempts: self + "/attempts", Raw: self + "/raw", Proof: self + "/proof"}
}

// listMessages lists messages.
//
//	@Summary	List messages
//	@ID			listMessages
//	@Tags		messages
//	@Produce	json
//	@Param		status				query		string	false	"Only messages with this status."	Enums(queued, sending, sent, deferred, failed, held, uncertain, canceled, paused)
//	@Param		delivery			query		string	false	"Only messages of which this is known."	Enums(unknown, delivered, bounced, complained)
//	@Param		job_id				query		string	false	"Only messages of this send job."
//	@Param		sender_profile_id	query		string	false	"Only messages of this sender profile."
//	@Param		external_id			query		string	false	"Only messages with this number of your own."
//	@Param		created_after		query		string	false	"Only messages accepted at or after this time."	format(date-time)
//	@Param		created_before		query		string	false	"Only messages accepted before this time."		format(date-time)
//	@Param		cursor				query		string	false	"next_cursor of the page before."
//	@Param		limit				query		int		false	"Items of a page."	minimum(1)	maximum(200)	default(50)
//	@Success	200					{object}	api.List[api.Message]
//	@Failure	422					{object}	api.Problem
//	@Router		/v1/messages [get]
func (s *Server) listMessages(c *gin.Context) error {
	return s.answerMessages(c, "")
}

// answerMessages lists the messages that the query selects, of one job when jobID is not empty.
func (s *Server) answerMessages(c *gin.Context, jobID string) error {
	q := newQuery(c)
	f := store.MessageFilter{JobID: jobID, Status: q.status(jobID != "")}
	if jobID == "" {
		f.JobID, f.ProfileID, f.ExternalID = q.text("job_id"), q.text("sender_profile_id"), q.text("external_id")
		f.CreatedAfter, f.CreatedBefore = q.time("created_after"), q.time("created_before")
		f.Delivery = mail.Delivery(q.oneOf("delivery", "unknown", "delivered", "bounced", "complained"))
	}
	page := q.page()
	if err := q.err(); err != nil {
		return err
	}
	l, err := s.store.ListMessages(c.Request.Context(), tenantOf(c), f, page)
	if err != nil {
		return err
	}
	lang := language(c)
	return reply(c, http.StatusOK, listOf(l, func(m *store.Message) api.Message { return messageOf(lang, m) }))
}

// status is a message's; one of a job may be a draft.
func (q *query) status(ofJob bool) mail.Status {
	known := []string{"queued", "sending", "sent", "deferred", "failed", "held", "uncertain", "canceled", "paused"}
	if ofJob {
		known = append(known, "draft")
	}
	return mail.Status(q.oneOf("status", known...))
}

// getMessage gives one message.
//
//	@Summary	Get a message
//	@ID			getMessage
//	@Tags		messages
//	@Produce	json
//	@Param		id	path		string	true	"Id of the message."
//	@Success	200	{object}	api.Message
//	@Router		/v1/messages/{id} [get]
func (s *Server) getMessage(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	m, err := s.store.Message(c.Request.Context(), tenantOf(c), id)
	if err != nil {
		return err
	}
	w := messageOf(language(c), m)
	if m.Status == mail.StatusSent || m.Delivery != mail.DeliveryUnknown { // of a part of the recipients something may be known
		if err := s.showDeliveries(c, m, &w); err != nil {
			return err
		}
	}
	if m.Status == mail.StatusUncertain {
		if w.ResolveHint, err = s.resolveHint(c, m); err != nil {
			return err
		}
	}
	return reply(c, http.StatusOK, w)
}

// showDeliveries says what was reported of each recipient.
func (s *Server) showDeliveries(c *gin.Context, m *store.Message, w *api.Message) error {
	known, err := s.store.Deliveries(c.Request.Context(), m.TenantID, m.ID)
	if err != nil {
		return err
	}
	for i, r := range m.Recipients {
		if d, ok := known[mail.NormalAddress(r.Envelope())]; ok {
			w.Recipients[i].Delivery = &api.RecipientDelivery{State: string(d.Delivery), At: d.At, Evidence: d.Evidence}
		}
	}
	return nil
}

func messageOf(lang string, m *store.Message) api.Message {
	d := &m.Detail
	w := api.Message{
		ID: m.ID, JobID: m.JobID, Status: string(m.Status), Delivery: string(m.Delivery),
		Sender:   api.Sender{ProfileID: m.ProfileID, Level: string(d.SenderLevel), Reason: d.SenderReason},
		Language: m.Language, LanguageAsked: d.LanguageAsked, Template: templateUse(d.TemplateID, d.TemplateVersion), Subject: m.Subject,
		Recipients: make([]api.MessageRecipient, len(m.Recipients)), Attempts: m.Attempts,
		ExternalID: d.ExternalID, Tags: d.Tags, Metadata: d.Metadata, CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt,
		SentAt: optional(m.SentAt), Links: messageLinks(m.ID, m.JobID),
	}
	if d.Document != (mail.Document{}) {
		w.Document = (*api.Document)(&d.Document)
	}
	if d.Client != (mail.Client{}) {
		w.Client = (*api.Client)(&d.Client)
	}
	var decisive *mail.Reply
	for i, r := range m.Recipients {
		w.Recipients[i] = api.MessageRecipient{
			Kind: string(r.Kind), Name: r.Address.Name, Address: r.Address.Address, Status: string(r.Status), Reply: replyOf(r.Reply),
		}
		if r.Status != mail.RecipientSent && decisive == nil {
			decisive = r.Reply
		}
	}
	if m.Detail.Erased != nil {
		w.ContentErasedAt = optional(m.Detail.Erased.At)
	}
	if m.Status == mail.StatusUncertain && m.Latest != nil {
		w.EvidenceText = evidenceText(lang, m.Latest)
	}
	if m.Code != "" {
		w.Problem = trouble(lang, m.Code, decisive)
	}
	if m.Status == mail.StatusQueued || m.Status == mail.StatusDeferred {
		w.NextAttemptAt, w.ExpiresAt = optional(m.NotBefore), optional(m.ExpiresAt)
	}
	return w
}

// listAttempts lists the attempts of a message.
//
//	@Summary	List the attempts of a message
//	@ID			listMessageAttempts
//	@Tags		messages
//	@Produce	json
//	@Param		id	path		string	true	"Id of the message."
//	@Success	200	{object}	api.Attempts
//	@Router		/v1/messages/{id}/attempts [get]
func (s *Server) listAttempts(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	attempts, err := s.store.Attempts(c.Request.Context(), tenantOf(c), id)
	if err != nil {
		return err
	}
	lang := language(c)
	list := api.Attempts{Items: make([]api.Attempt, len(attempts))}
	for i, a := range attempts {
		list.Items[i] = attemptOf(lang, &a)
	}
	return reply(c, http.StatusOK, list)
}

func attemptOf(lang string, a *store.Attempt) api.Attempt {
	d := &a.Detail
	w := api.Attempt{
		Number: a.N, StartedAt: a.StartedAt, FinishedAt: a.FinishedAt, Outcome: a.Outcome.String(), Step: d.Step, Reply: replyOf(&d.Reply),
		Evidence: d.Evidence, NextAttemptAt: optional(d.NextAttemptAt),
	}
	if a.Outcome == mail.OutcomeUncertain {
		w.EvidenceText = evidenceText(lang, a)
	}
	if d.Code != "" {
		w.Problem = trouble(lang, d.Code, &d.Reply)
	}
	for _, r := range d.Recipients {
		one := api.AttemptRecipient{Address: r.Address, Outcome: r.Outcome.String(), Reply: replyOf(&r.Reply)}
		if r.Code != "" {
			one.Problem = trouble(lang, r.Code, nil)
		}
		w.Recipients = append(w.Recipients, one)
	}
	return w
}

// getRawMessage gives the mail itself.
//
//	@Summary		Get the mail as it is sent
//	@Description	The exact bytes (RFC 5322), as they were or will be handed over. Bcc recipients are not in it.
//	@ID				getRawMessage
//	@Tags			messages
//	@Produce		message/rfc822
//	@Param			id	path		string	true	"Id of the message."
//	@Success		200	{file}		binary
//	@Header			200	{string}	Content-Disposition	"A file name for it."
//	@Failure		410	"The content was erased."
//	@Router			/v1/messages/{id}/raw [get]
func (s *Server) getRawMessage(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	m, err := s.outbox.Render(c.Request.Context(), tenantOf(c), id)
	if err != nil {
		return err
	}
	return writeMail(c, m, id)
}

func writeMail(c *gin.Context, m *mail.Rendered, name string) error {
	h := c.Writer.Header()
	h.Set("Content-Type", "message/rfc822")
	h.Set("Content-Length", strconv.FormatInt(m.Size(), 10))
	h.Set("Content-Disposition", disposition(name+".eml"))
	c.Writer.WriteHeader(http.StatusOK)
	if _, err := m.WriteTo(writerOnly{c.Writer}); err != nil {
		panic(http.ErrAbortHandler) // the length was promised: the caller must see that it is not whole
	}
	return nil
}

type writerOnly struct{ io.Writer }

// retryMessage queues a failed message again.
//
//	@Summary		Try a failed message again
//	@Description	For the recipients that failed. Only a message that failed can be tried again (409).
//	@ID				retryMessage
//	@Tags			messages
//	@Produce		json
//	@Param			id	path		string	true	"Id of the message."
//	@Success		200	{object}	api.Message
//	@Failure		409	{object}	api.Problem	"The message has not failed, or its content was erased."
//	@Router			/v1/messages/{id}/retry [post]
func (s *Server) retryMessage(c *gin.Context) error {
	return s.act(c, func(id string) error {
		return s.outbox.Retry(c.Request.Context(), tenantOf(c), apiKey(c).ID, id)
	})
}

// cancelMessage stops a message.
//
//	@Summary		Cancel a message
//	@Description	Stops a message that was not handed over yet; cancelling it again changes nothing. Too late: 409.
//	@ID				cancelMessage
//	@Tags			messages
//	@Produce		json
//	@Param			id	path		string	true	"Id of the message."
//	@Success		200	{object}	api.Message
//	@Failure		409	{object}	api.Problem	"It was sent or is being handed over."
//	@Router			/v1/messages/{id}/cancel [post]
func (s *Server) cancelMessage(c *gin.Context) error {
	return s.act(c, func(id string) error {
		err := s.outbox.Cancel(c.Request.Context(), tenantOf(c), apiKey(c).ID, id)
		var state *outbox.StateError
		if errors.As(err, &state) && state.Status == mail.StatusCanceled {
			return nil
		}
		return err
	})
}

// resolveMessage settles an uncertain message.
//
//	@Summary		Resolve an uncertain message
//	@Description	A person who looked says that it arrived, or that it is to be sent (again, with the same Message-ID). Only for a message that is uncertain; it is not sent again when another message has brought its document since (409).
//	@ID				resolveMessage
//	@Tags			messages
//	@Accept			json
//	@Produce		json
//	@Param			id			path		string				true	"Id of the message."
//	@Param			resolution	body		api.ResolveRequest	true	"What is to be."
//	@Success		200			{object}	api.Message
//	@Failure		409			{object}	api.Problem	"The message is not uncertain, or another message brings its document by now."
//	@Failure		422			{object}	api.Problem
//	@Router			/v1/messages/{id}/resolve [post]
func (s *Server) resolveMessage(c *gin.Context) error {
	var req api.ResolveRequest
	f, err := s.decode(c, &req, s.limits.Body)
	if err != nil {
		return err
	}
	if err := f.err(); err != nil {
		return err
	}
	return s.act(c, func(id string) error {
		return s.outbox.Resolve(c.Request.Context(), tenantOf(c), apiKey(c).ID, id, req.As, req.Note)
	})
}

// act does something with the message in the path and answers with the message as it is then.
func (s *Server) act(c *gin.Context, do func(id string) error) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	if err := do(id); err != nil {
		return err
	}
	return s.getMessage(c)
}
