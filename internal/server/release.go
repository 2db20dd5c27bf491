package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// releaseSendJob sends a draft on its way, or lets a job go that waits for it.
//
//	@Summary		Release a send job
//	@Description	Composes every message of a draft and sets it going, all of it or nothing: when anything is wrong with any message nothing changes, and `errors` names every field, with pointers that begin with `/messages/` and the message's id. A job with `release: manual` was composed before and just goes. Releasing it again changes nothing.
//	@ID				releaseSendJob
//	@Tags			send-jobs
//	@Produce		json
//	@Param			id				path		string	true	"Id of the job."
//	@Param			Idempotency-Key	header		string	false	"-"
//	@Success		200				{object}	api.SendJob
//	@Failure		409				{object}	api.Problem	"It was canceled or has expired, it has no messages, or one of its documents was sent before."
//	@Failure		422				{object}	api.Problem
//	@Router			/v1/send-jobs/{id}/release [post]
func (s *Server) releaseSendJob(c *gin.Context) error {
	return s.once(c, func(id *idempotency) (*answer, error) {
		job, err := pathID(c, "id")
		if err != nil {
			return nil, err
		}
		if err := id.about(c, nil); err != nil {
			return nil, err
		}
		accept := func(j *store.Job) (*answer, error) { return newAnswer(http.StatusOK, jobOf(language(c), j)) }
		prepare := func() outbox.Preparer { return &releaser{s: s, c: c} }
		return recorded(id, accept, func(record func(*store.Job) (*store.IdempotencyRecord, error)) (*store.Job, error) {
			return s.outbox.Release(c.Request.Context(), tenantOf(c), apiKey(c).ID, job, prepare, record)
		})
	})
}

// releaser works out the pages of a draft as if they had just been asked for, and gathers what is wrong with them.
type releaser struct {
	s          *Server
	c          *gin.Context
	page       *sending // the last one
	found      findings
	duplicates findings
}

// draftRequest is the request that a page of a draft stands for. Messages are named by their ids.
func draftRequest(j *store.Job, page []store.DraftMessage) (*sendRequest, error) {
	var all api.SendJobRequest
	if err := json.Unmarshal(j.Draft, &all); err != nil {
		return nil, err
	}
	mails := make([]api.Mail, len(page))
	for i := range page {
		if err := json.Unmarshal(page[i].Source, &mails[i]); err != nil {
			return nil, err
		}
	}
	return &sendRequest{
		// The profile is the one that was chosen, whatever is the default by now.
		purpose: j.Purpose, profileID: j.ProfileID, companyRef: all.CompanyRef, templateID: all.TemplateID, documentType: all.DocumentType,
		language: all.Language, attachments: all.Attachments, sendAt: all.SendAt, job: j.Detail, rules: j.Rules,
		mails: mails, at: func(i int) string { return "/messages/" + page[i].ID },
	}, nil
}

func (r *releaser) Prepare(_ context.Context, j *store.Job, page []store.DraftMessage) (*mail.Profile, []outbox.Item, error) {
	req, err := draftRequest(j, page)
	if err != nil {
		return nil, nil, err
	}
	var f findings
	w, err := r.s.prepare(r.c, req, &f)
	var refused *refusal
	switch {
	case errors.As(err, &refused) && len(refused.problems) > 0:
		gather(&r.found, refused)
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	}
	for i := range w.items {
		w.items[i].Detail.SenderReason = j.Detail.SenderReason
	}
	r.page = w
	return w.profile, w.items, nil
}

func (r *releaser) Refuse(err error) {
	var problems mail.Problems
	var duplicates *store.DuplicateError
	var refused *refusal
	if errors.As(err, &problems) && errors.As(r.page.refused(problems), &refused) {
		gather(&r.found, refused)
	}
	if errors.As(err, &duplicates) && errors.As(r.page.hadBefore(duplicates), &refused) {
		gather(&r.duplicates, refused)
	}
}

func gather(to *findings, refused *refusal) {
	for _, p := range refused.problems {
		to.put(p)
	}
	to.omitted += refused.omitted
}

func (r *releaser) Err() error {
	if err := r.found.err(); err != nil {
		return err
	}
	if len(r.duplicates.list) == 0 {
		return nil
	}
	return &refusal{status: http.StatusConflict, code: codeDuplicateDocument, problems: r.duplicates.list, omitted: r.duplicates.omitted}
}

// answerDrafts lists the messages of a draft, as they would be if it was released now.
func (s *Server) answerDrafts(c *gin.Context, j *store.Job) error {
	q := newQuery(c)
	status, page := q.status(true), q.page()
	if err := q.err(); err != nil {
		return err
	}
	if status != "" && status != mail.StatusDraft {
		return reply(c, http.StatusOK, api.List[api.Message]{Items: []api.Message{}})
	}
	l, err := s.store.ListDrafts(c.Request.Context(), j.TenantID, j.ID, page)
	if err != nil {
		return err
	}
	drafts := make([]store.DraftMessage, len(l.Items))
	for i, d := range l.Items {
		drafts[i] = *d
	}
	req, err := draftRequest(j, drafts)
	if err != nil {
		return err
	}
	w, err := s.prepare(c, req, &findings{})
	var refused *refusal
	if err != nil && !(errors.As(err, &refused) && w != nil) { // what is wrong is not asked for here
		return err
	}
	i := -1
	return reply(c, http.StatusOK, listOf(l, func(d *store.DraftMessage) api.Message {
		i++
		return w.draftMessage(j, i, d.ID)
	}))
}

// draftMessage is the i-th mail of a page as it would be, as far as that is known.
func (w *sending) draftMessage(j *store.Job, i int, id string) api.Message {
	m, item := &w.req.mails[i], &w.items[i]
	made := store.IDTime(id)
	out := api.Message{
		ID: id, JobID: j.ID, Status: string(mail.StatusDraft), Delivery: "unknown",
		Sender:   api.Sender{ProfileID: j.ProfileID, Level: string(j.Detail.SenderLevel), Reason: j.Detail.SenderReason},
		Language: m.Language, LanguageAsked: item.Detail.LanguageAsked, Template: templateUse(item.Detail.TemplateID, item.Detail.TemplateVersion),
		Subject: m.Subject, Document: m.Document, Client: m.Client, ExternalID: m.ExternalID, Tags: m.Tags, Metadata: m.Metadata,
		Recipients: []api.MessageRecipient{}, CreatedAt: made, UpdatedAt: made,
		Links: api.Links{Self: "/v1/send-jobs/" + j.ID + "/messages/" + id, Job: "/v1/send-jobs/" + j.ID},
	}
	add := func(kind mail.RecipientKind, list []api.Address) {
		for _, a := range list {
			out.Recipients = append(out.Recipients, api.MessageRecipient{Kind: string(kind), Name: a.Name, Address: a.Address, Status: string(mail.RecipientPending)})
		}
	}
	add(mail.KindTo, m.To)
	add(mail.KindCC, m.CC)
	add(mail.KindBCC, m.BCC)
	if w.unsure[i] {
		return out
	}
	d := *item.Draft
	d.MessageID = id
	if content, _, ps := w.composer(item.Template).Compose(&d, w.now); len(ps) == 0 {
		out.Language, out.Subject = content.Language, content.Subject
	}
	return out
}
