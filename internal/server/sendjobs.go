package server

import (
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// createSendJob accepts a batch.
//
//	@Summary		Send a batch
//	@Description	Stores 1 to 10,000 mails in one commit, all or nothing, and answers before they are sent. When anything is wrong with any of them nothing is stored and `errors` names every field.
//	@ID				createSendJob
//	@Tags			send-jobs
//	@Accept			json
//	@Produce		json
//	@Param			Idempotency-Key	header		string				false	"-"
//	@Param			job				body		api.SendJobRequest	true	"The mails. The whole request may have 24 MiB."
//	@Success		202				{object}	api.AcceptedSendJob	"All of it is stored."
//	@Header			202				{string}	Location			"-"
//	@Failure		422				{object}	api.Problem
//	@Failure		503				{object}	api.Problem
//	@Router			/v1/send-jobs [post]
func (s *Server) createSendJob(c *gin.Context) error {
	return s.once(c, func(id *idempotency) (*answer, error) {
		var req api.SendJobRequest
		f, err := s.decode(c, &req, s.limits.SendBody)
		if err != nil {
			return nil, err
		}
		if err := id.about(c, req); err != nil {
			return nil, err
		}
		if len(req.Messages) == 0 {
			f.merge(mail.Problems{{Pointer: "/messages", Code: mail.CodeFieldRequired}})
		}
		asked := jobRequest(&req)
		asked.mails, asked.at = req.Messages, func(i int) string { return "/messages/" + strconv.Itoa(i) }
		w, err := s.prepare(c, asked, &f)
		if err != nil {
			return nil, err
		}
		return w.submit(id, w.acceptedJob)
	})
}

// jobRequest is what a job's request says for all of its mails.
func jobRequest(req *api.SendJobRequest) *sendRequest {
	purpose := req.Purpose
	if purpose == "" {
		purpose = outbox.PurposeBatch
	}
	return &sendRequest{
		purpose: purpose, profileID: req.SenderProfileID, userRef: req.UserRef, companyRef: req.CompanyRef,
		templateID: req.TemplateID, documentType: req.DocumentType, language: req.Language, attachments: req.Attachments,
		sendAt: req.SendAt,
		job: store.JobDetail{
			ExternalID: req.ExternalID, Name: req.Name, Tags: req.Tags, Metadata: req.Metadata, TemplateID: req.TemplateID,
		},
	}
}

func (w *sending) acceptedJob(r *outbox.Receipt) (*answer, error) {
	accepted := api.AcceptedSendJob{
		ID: r.JobID, Purpose: w.req.purpose, Sender: w.sender, Total: len(r.Messages), Messages: make([]api.AcceptedJobMessage, len(r.Messages)),
		ExternalID: w.req.job.ExternalID, CreatedAt: r.CreatedAt, SendAt: w.req.sendAt, Links: jobLinks(r.JobID),
	}
	accepted.Status, accepted.Problem = w.held()
	for i, m := range r.Messages {
		d := &w.items[i].Detail
		accepted.Messages[i] = api.AcceptedJobMessage{
			ID: m.ID, ExternalID: d.ExternalID, Language: m.Language, Template: templateUse(d.TemplateID, d.TemplateVersion),
		}
	}
	a, err := newAnswer(http.StatusAccepted, accepted)
	if err != nil {
		return nil, err
	}
	a.location = accepted.Links.Self
	return a, nil
}

func jobLinks(id string) api.Links {
	self := "/v1/send-jobs/" + id
	return api.Links{Self: self, Messages: self + "/messages"}
}

// listSendJobs lists send jobs.
//
//	@Summary	List send jobs
//	@ID			listSendJobs
//	@Tags		send-jobs
//	@Produce	json
//	@Param		purpose				query		string	false	"Only jobs with this purpose."	Enums(batch, one_off)
//	@Param		sender_profile_id	query		string	false	"Only jobs of this sender profile."
//	@Param		created_after		query		string	false	"Only jobs accepted at or after this time."	format(date-time)
//	@Param		created_before		query		string	false	"Only jobs accepted before this time."		format(date-time)
//	@Param		cursor				query		string	false	"next_cursor of the page before."
//	@Param		limit				query		int		false	"Items of a page."	minimum(1)	maximum(200)	default(50)
//	@Success	200					{object}	api.List[api.SendJobSummary]
//	@Failure	422					{object}	api.Problem
//	@Router		/v1/send-jobs [get]
func (s *Server) listSendJobs(c *gin.Context) error {
	q := newQuery(c)
	f := store.JobFilter{
		Purpose: q.oneOf("purpose", outbox.PurposeBatch, outbox.PurposeOneOff), ProfileID: q.text("sender_profile_id"),
		CreatedAfter: q.time("created_after"), CreatedBefore: q.time("created_before"),
	}
	page := q.page()
	if err := q.err(); err != nil {
		return err
	}
	l, err := s.store.ListJobs(c.Request.Context(), tenantOf(c), f, page)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, listOf(l, jobSummary))
}

func jobSummary(j *store.Job) api.SendJobSummary {
	return api.SendJobSummary{
		ID: j.ID, Purpose: j.Purpose, Sender: api.Sender{ProfileID: j.ProfileID, Level: string(j.Detail.SenderLevel), Reason: j.Detail.SenderReason},
		Name: j.Detail.Name, ExternalID: j.Detail.ExternalID, Tags: j.Detail.Tags, Metadata: j.Detail.Metadata, Total: j.Total,
		SendAt: optional(j.SendAt), CreatedAt: j.CreatedAt, CreatedBy: j.CreatedBy, Links: jobLinks(j.ID),
	}
}

// getSendJob gives one send job.
//
//	@Summary	Get a send job
//	@ID			getSendJob
//	@Tags		send-jobs
//	@Produce	json
//	@Param		id	path		string	true	"Id of the job."
//	@Success	200	{object}	api.SendJob
//	@Router		/v1/send-jobs/{id} [get]
func (s *Server) getSendJob(c *gin.Context) error {
	j, err := s.jobInPath(c)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, jobOf(j))
}

func (s *Server) jobInPath(c *gin.Context) (*store.Job, error) {
	id, err := pathID(c, "id")
	if err != nil {
		return nil, err
	}
	return s.store.Job(c.Request.Context(), tenantOf(c), id)
}

func jobOf(j *store.Job) api.SendJob {
	n := j.Counts
	w := api.SendJob{
		SendJobSummary: jobSummary(j), Partial: j.Partial,
		Counts: api.JobCounts{
			Queued: n[mail.StatusQueued], Sending: n[mail.StatusSending], Sent: n[mail.StatusSent], Deferred: n[mail.StatusDeferred],
			Failed: n[mail.StatusFailed], Held: n[mail.StatusHeld], Uncertain: n[mail.StatusUncertain], Canceled: n[mail.StatusCanceled],
		},
	}
	w.Done = w.Counts.Sent + w.Counts.Failed + w.Counts.Canceled
	w.Finished = w.Done == w.Total
	return w
}

// listSendJobMessages lists the messages of a job.
//
//	@Summary	List the messages of a send job
//	@ID			listSendJobMessages
//	@Tags		send-jobs
//	@Produce	json
//	@Param		id		path		string	true	"Id of the job."
//	@Param		status	query		string	false	"Only messages with this status."	Enums(queued, sending, sent, deferred, failed, held, uncertain, canceled)
//	@Param		cursor	query		string	false	"next_cursor of the page before."
//	@Param		limit	query		int		false	"Items of a page."	minimum(1)	maximum(200)	default(50)
//	@Success	200		{object}	api.List[api.Message]
//	@Failure	422		{object}	api.Problem
//	@Router		/v1/send-jobs/{id}/messages [get]
func (s *Server) listSendJobMessages(c *gin.Context) error {
	j, err := s.jobInPath(c)
	if err != nil {
		return err
	}
	return s.answerMessages(c, j.ID)
}

// cancelSendJob stops what was not handed over.
//
//	@Summary		Cancel a send job
//	@Description	Stops every message that was not handed over. What was sent or is on its way keeps its course.
//	@ID				cancelSendJob
//	@Tags			send-jobs
//	@Produce		json
//	@Param			id	path		string	true	"Id of the job."
//	@Success		200	{object}	api.CanceledJob
//	@Router			/v1/send-jobs/{id}/cancel [post]
func (s *Server) cancelSendJob(c *gin.Context) error {
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	n, err := s.outbox.CancelJob(c.Request.Context(), tenantOf(c), apiKey(c).ID, id)
	if err != nil {
		return err
	}
	j, err := s.jobInPath(c)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, api.CanceledJob{Canceled: n, Job: jobOf(j)})
}
