package server

import (
	"cmp"
	"math"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
)

// createSendJob accepts a batch.
//
//	@Summary		Send a batch
//	@Description	Stores 1 to 10,000 mails in one commit, all or nothing, and answers before they are sent. When anything is wrong with any of them nothing is stored and `errors` names every field. Their texts may have 256 MiB in all, where what they say alike counts once. With `draft` they are kept as they are asked, and composed when the job is released.
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
		if req.Purpose == "" {
			req.Purpose = outbox.PurposeBatch
		}
		rules := jobRules(&req, &f)
		if req.Draft {
			return s.createDraft(c, id, &req, rules, &f)
		}
		if len(req.Messages) == 0 {
			f.merge(mail.Problems{{Pointer: "/messages", Code: mail.CodeFieldRequired}})
		}
		asked := jobRequest(&req)
		asked.rules, asked.mails, asked.at = rules, req.Messages, func(i int) string { return "/messages/" + strconv.Itoa(i) }
		w, err := s.prepare(c, asked, &f)
		if err != nil {
			return nil, err
		}
		return w.submit(id, w.acceptedJob)
	})
}

// jobRequest is what a job's request says for all of its mails.
func jobRequest(req *api.SendJobRequest) *sendRequest {
	return &sendRequest{
		purpose: cmp.Or(req.Purpose, outbox.PurposeBatch), profileID: req.SenderProfileID, userRef: req.UserRef, companyRef: req.CompanyRef,
		templateID: req.TemplateID, documentType: req.DocumentType, language: req.Language, attachments: req.Attachments,
		sendAt: req.SendAt, job: jobDetail(req),
	}
}

func jobDetail(req *api.SendJobRequest) store.JobDetail {
	return store.JobDetail{ExternalID: req.ExternalID, Name: req.Name, Tags: req.Tags, Metadata: req.Metadata, TemplateID: req.TemplateID}
}

// Values of a job's release.
const (
	releaseImmediate = "immediate"
	releaseManual    = "manual"
)

// jobRules reads how the job is to be sent.
func jobRules(req *api.SendJobRequest, f *findings) mail.JobRules {
	r := mail.JobRules{Manual: req.Release == releaseManual, Canary: req.Canary, StopAfter: req.StopAfterFailures}
	if w := req.Window; w != nil {
		r.Window = &mail.Window{Days: w.Days, From: w.From, To: w.To, TimeZone: cmp.Or(w.TimeZone, mail.DefaultTimeZone), Holidays: w.Holidays}
		if w.Holidays == "none" {
			r.Window.Holidays = ""
		}
		var ps mail.Problems
		ps.Under("/window", r.Window.Check())
		f.merge(ps)
	}
	return r
}

func windowOf(w *mail.Window) *api.SendingWindow {
	if w == nil {
		return nil
	}
	days := w.Days
	if len(days) == 0 {
		days = []string{"mon", "tue", "wed", "thu", "fri"}
	}
	return &api.SendingWindow{Days: days, From: w.From, To: w.To, TimeZone: w.TimeZone, Holidays: cmp.Or(w.Holidays, "none")}
}

func (w *sending) acceptedJob(r *outbox.Receipt) (*answer, error) {
	accepted := api.AcceptedSendJob{
		ID: r.JobID, Purpose: w.req.purpose, Sender: w.sender, Total: len(r.Messages), Messages: make([]api.AcceptedJobMessage, len(r.Messages)),
		ExternalID: w.req.job.ExternalID, CreatedAt: r.CreatedAt, SendAt: w.req.sendAt, Links: jobLinks(r.JobID),
	}
	accepted.Status, accepted.Problem = w.held()
	if accepted.Problem == nil && r.Gate.Lets() != mail.PassAll {
		accepted.Status = string(mail.StatusPaused)
	}
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
	return api.Links{Self: self, Messages: self + "/messages", Events: self + "/events", Report: self + "/report"}
}

// listSendJobs lists send jobs.
//
//	@Summary	List send jobs
//	@ID			listSendJobs
//	@Tags		send-jobs
//	@Produce	json
//	@Param		purpose				query		string	false	"Only jobs with this purpose."	Enums(batch, one_off)
//	@Param		sender_profile_id	query		string	false	"Only jobs of this sender profile."
//	@Param		state				query		string	false	"Only jobs in this state."			Enums(draft, released, canceled, expired)
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
		State:        mail.JobState(q.oneOf("state", string(mail.JobDraft), string(mail.JobReleased), string(mail.JobCanceled), string(mail.JobExpired))),
		CreatedAfter: q.time("created_after"), CreatedBefore: q.time("created_before"),
	}
	page := q.page()
	if err := q.err(); err != nil {
		return err
	}
	lang := language(c)
	l, err := s.store.ListJobs(c.Request.Context(), tenantOf(c), f, page)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, listOf(l, func(j *store.Job) api.SendJobSummary { return jobSummary(lang, j) }))
}

func jobSummary(lang string, j *store.Job) api.SendJobSummary {
	w := api.SendJobSummary{
		ID: j.ID, Purpose: j.Purpose, Sender: api.Sender{ProfileID: j.ProfileID, Level: string(j.Detail.SenderLevel), Reason: j.Detail.SenderReason},
		Name: j.Detail.Name, ExternalID: j.Detail.ExternalID, Tags: j.Detail.Tags, Metadata: j.Detail.Metadata, Total: j.Total,
		State: string(j.State), Gate: gateOf(lang, &j.Gate), Release: releaseImmediate, Canary: j.Rules.Canary,
		StopAfterFailures: j.Rules.StopAfter, Window: windowOf(j.Rules.Window), FinishedAt: optional(j.FinishedAt),
		SendAt: optional(j.SendAt), CreatedAt: j.CreatedAt, CreatedBy: j.CreatedBy, Links: jobLinks(j.ID),
	}
	if j.Rules.Manual || j.State == mail.JobDraft {
		w.Release = releaseManual
	}
	if j.State == mail.JobDraft || j.Gate.Code == mail.GateAwaitingRelease {
		w.ExpiresAt = optional(j.ExpiresAt)
	}
	return w
}

func gateOf(lang string, g *store.JobGate) *api.JobGate {
	if g.Code == mail.GateOpen {
		return nil
	}
	w := &api.JobGate{Code: string(g.Code), Since: g.Since, Until: optional(g.Until), By: g.By, Note: g.Note}
	w.Title, w.Detail = texts.Lookup(lang, w.Code, nil)
	return w
}

func (s *Server) jobInPath(c *gin.Context) (*store.Job, error) {
	id, err := pathID(c, "id")
	if err != nil {
		return nil, err
	}
	return s.store.Job(c.Request.Context(), tenantOf(c), id)
}

func jobOf(lang string, j *store.Job) api.SendJob {
	n := j.Counts
	w := api.SendJob{
		SendJobSummary: jobSummary(lang, j), Partial: j.Partial,
		Counts: api.JobCounts{
			Queued: n[mail.StatusQueued], Sending: n[mail.StatusSending], Sent: n[mail.StatusSent], Deferred: n[mail.StatusDeferred],
			Failed: n[mail.StatusFailed], Held: n[mail.StatusHeld], Uncertain: n[mail.StatusUncertain], Canceled: n[mail.StatusCanceled],
			Paused: n[mail.StatusPaused], Draft: n[mail.StatusDraft],
		},
	}
	w.Done = w.Counts.Sent + w.Counts.Failed + w.Counts.Canceled
	w.Finished = w.Done == w.Total && j.State != mail.JobDraft
	w.Over = w.Done+w.Counts.Uncertain == w.Total && j.State != mail.JobDraft
	w.Version = versionOf(w)
	w.Rate = math.Round(j.Pace.Rate()*100) / 100
	w.EstimatedEnd = optional(j.Pace.End(w.Counts.Queued+w.Counts.Sending, w.Total))
	return w
}

// listSendJobMessages lists the messages of a job.
//
//	@Summary	List the messages of a send job
//	@ID			listSendJobMessages
//	@Tags		send-jobs
//	@Produce	json
//	@Param		id		path		string	true	"Id of the job."
//	@Param		status	query		string	false	"Only messages with this status."	Enums(queued, sending, sent, deferred, failed, held, uncertain, canceled, paused, draft)
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
	if j.State == mail.JobDraft {
		return s.answerDrafts(c, j)
	}
	return s.answerMessages(c, j.ID)
}

// cancelSendJob stops what was not handed over.
//
//	@Summary		Cancel a send job
//	@Description	Stops every message that was not handed over. What was sent or is on its way keeps its course, and is not tried again. The messages of a draft are thrown away.
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
	return reply(c, http.StatusOK, api.CanceledJob{Canceled: n, Job: jobOf(language(c), j)})
}

// resolveSendJob settles the uncertain messages of a job.
//
//	@Summary		Resolve the uncertain messages of a send job
//	@Description	A person who looked says of all that are uncertain at once that they arrived, or that they are to be sent (again, with the same Message-ID). One whose document another message has brought since is not sent again: it is skipped, named and stays uncertain. When the call breaks off, repeat it: what was resolved stays so.
//	@ID				resolveSendJob
//	@Tags			send-jobs
//	@Accept			json
//	@Produce		json
//	@Param			id				path		string				true	"Id of the job."
//	@Param			Idempotency-Key	header		string				false	"-"
//	@Param			resolution		body		api.ResolveRequest	true	"What is to be."
//	@Success		200				{object}	api.ResolvedJob
//	@Failure		422				{object}	api.Problem
//	@Router			/v1/send-jobs/{id}/resolve [post]
func (s *Server) resolveSendJob(c *gin.Context) error {
	jobID, err := pathID(c, "id")
	if err != nil {
		return err
	}
	return s.once(c, func(id *idempotency) (*answer, error) {
		var req api.ResolveRequest
		f, err := s.decode(c, &req, s.limits.Body)
		if err != nil {
			return nil, err
		}
		if err := f.err(); err != nil {
			return nil, err
		}
		if err := id.about(c, req); err != nil {
			return nil, err
		}
		if err := id.used(c); err != nil { // before anything is resolved
			return nil, err
		}
		var a *answer
		ctx, lang := c.Request.Context(), language(c)
		err = s.outbox.ResolveJob(ctx, tenantOf(c), apiKey(c).ID, jobID, req.As, req.Note, func(r *outbox.JobResolution) (*store.IdempotencyRecord, error) {
			j, err := s.store.Job(ctx, tenantOf(c), jobID)
			if err != nil {
				return nil, err
			}
			w := api.ResolvedJob{Resolved: r.Resolved, Skipped: len(r.Skipped), SkippedMessages: []api.SkippedMessage{}, Job: jobOf(lang, j)}
			for _, skipped := range r.Skipped[:min(len(r.Skipped), maxListed)] {
				w.SkippedMessages = append(w.SkippedMessages, api.SkippedMessage{ID: skipped, Problem: trouble(lang, codeDocumentSentSince, nil)})
			}
			if a, err = newAnswer(http.StatusOK, w); err != nil {
				return nil, err
			}
			return id.record(a), nil
		})
		return a, err
	})
}
