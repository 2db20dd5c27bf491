package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// maxDraftPage is the most messages that a draft takes with one request.
const maxDraftPage = 1000

const codeJobTooLarge = "send_job_too_large" // max

// createDraft keeps a job as it is asked. Only its form and its sender are checked.
func (s *Server) createDraft(c *gin.Context, id *idempotency, req *api.SendJobRequest, rules mail.JobRules, f *findings) (*answer, error) {
	if len(req.Messages) > maxDraftPage {
		f.add("/messages", mail.CodeTooMany, "max", strconv.Itoa(maxDraftPage))
	}
	w := s.newSending(c, &sendRequest{
		purpose: req.Purpose, profileID: req.SenderProfileID, userRef: req.UserRef, companyRef: req.CompanyRef, sendAt: req.SendAt, job: jobDetail(req),
	})
	if err := w.findSender(); err != nil {
		return nil, err
	}
	if req.SendAt != nil {
		w.checkSendAt("/send_at", *req.SendAt)
	}
	k := fileKeeper{s: s, c: c}
	k.look("", req.Attachments)
	for i := range req.Messages {
		k.look("/messages/"+strconv.Itoa(i), req.Messages[i].Attachments)
	}
	f.merge(append(w.problems, k.problems...))
	if err := f.err(); err != nil {
		return nil, err
	}
	if err := k.keep(id); err != nil {
		return nil, err
	}
	drafts, err := newDrafts(req.Messages)
	if err != nil {
		return nil, err
	}
	mails := req.Messages
	req.Messages = nil
	source, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	d := &outbox.Draft{
		TenantID: w.tenant, Actor: apiKey(c).ID, Purpose: req.Purpose, ProfileID: w.profile.ID, Job: w.req.job, Rules: rules, SendAt: w.due(req.SendAt),
		Source: source, Messages: drafts,
	}
	d.Job.SenderLevel, d.Job.SenderReason = w.profile.Level, w.sender.Reason
	accept := func(j *store.Job) (*answer, error) {
		accepted := api.AcceptedSendJob{
			ID: j.ID, Purpose: j.Purpose, Status: string(mail.StatusDraft), Sender: w.sender, Total: j.Total,
			Messages: make([]api.AcceptedJobMessage, len(drafts)), ExternalID: j.Detail.ExternalID, CreatedAt: j.CreatedAt, SendAt: req.SendAt, Links: jobLinks(j.ID),
		}
		for i := range drafts {
			accepted.Messages[i] = api.AcceptedJobMessage{ID: drafts[i].ID, ExternalID: mails[i].ExternalID}
		}
		a, err := newAnswer(http.StatusAccepted, accepted)
		if err == nil {
			a.location = accepted.Links.Self
		}
		return a, err
	}
	return recorded(id, accept, func(record func(*store.Job) (*store.IdempotencyRecord, error)) (*store.Job, error) {
		d.Record = record
		j, err := s.outbox.CreateDraft(w.ctx, d)
		if errors.Is(err, store.ErrNotFound) { // the profile was deleted since it was looked up
			return nil, refuseField(w.asked, codeSenderNotFound, "reference", mail.Shown(w.reference))
		}
		return j, err
	})
}

// recorded runs do, which makes something and may store the record of its answer with it. accept makes the answer.
func recorded[T any](id *idempotency, accept func(T) (*answer, error), do func(record func(T) (*store.IdempotencyRecord, error)) (T, error)) (*answer, error) {
	var a *answer
	var record func(T) (*store.IdempotencyRecord, error)
	if id != nil {
		record = func(made T) (*store.IdempotencyRecord, error) {
			var err error
			if a, err = accept(made); err != nil {
				return nil, err
			}
			return id.record(a), nil
		}
	}
	made, err := do(record)
	if err != nil {
		return nil, err
	}
	if a == nil {
		return accept(made)
	}
	return a, nil
}

// newDrafts gives mails their ids, in their order.
func newDrafts(mails []api.Mail) ([]store.DraftMessage, error) {
	drafts := make([]store.DraftMessage, len(mails))
	for i, id := range store.NewIDs("msg", len(mails)) {
		source, err := json.Marshal(&mails[i])
		if err != nil {
			return nil, err
		}
		drafts[i] = store.DraftMessage{ID: id, Source: source}
	}
	return drafts, nil
}

// fileKeeper stores the files that come with the messages of a draft, and names them by their ids instead.
type fileKeeper struct {
	s        *Server
	c        *gin.Context
	problems mail.Problems
	files    []draftFile
}

type draftFile struct {
	meta store.AttachmentMeta
	at   *api.MessageAttachment
}

// look finds the files among attachments, and what is wrong with them.
func (k *fileKeeper) look(at string, attachments []api.MessageAttachment) {
	for i := range attachments {
		a := &attachments[i]
		if len(a.Content) == 0 {
			continue
		}
		pointer := at + "/attachments/" + strconv.Itoa(i)
		switch meta, size := (store.AttachmentMeta{Filename: a.Filename, MediaType: a.MediaType, Kind: a.Kind}), int64(len(a.Content)); {
		case a.ID != "":
			k.problems.Add(pointer+"/content", codeAttachmentIDOrContent)
		case size > k.s.limits.Attachment:
			k.problems.Add(pointer+"/content", codeFileTooLarge, "limit", bytesText(k.s.limits.Attachment))
		default:
			var wrong mail.Problems
			if err := checkFile(&meta, size); errors.As(err, &wrong) {
				k.problems.Under(pointer, wrong)
				continue
			}
			k.files = append(k.files, draftFile{meta, a})
		}
	}
}

// keep stores the files. id is asked first, so that a repeated request stores none.
func (k *fileKeeper) keep(id *idempotency) error {
	if len(k.files) == 0 {
		return nil
	}
	if err := id.used(k.c); err != nil {
		return err
	}
	for i := range k.files {
		f := &k.files[i]
		stored, err := k.s.keepFile(k.c, f.at.Content, f.meta)
		if err != nil {
			return err
		}
		*f.at = api.MessageAttachment{ID: stored.ID, ContentID: f.at.ContentID}
	}
	return nil
}

func (s *Server) keepFile(c *gin.Context, content []byte, meta store.AttachmentMeta) (*store.Attachment, error) {
	ctx := c.Request.Context()
	up := s.store.NewUpload(ctx, tenantOf(c), s.limits.Attachment)
	defer up.Abort()
	if _, err := up.Write(content); err != nil {
		return nil, err
	}
	return up.Commit(ctx, meta, nil)
}

// appendDraftMessages adds messages to a draft.
//
//	@Summary		Append messages to a draft
//	@Description	Adds 1 to 1,000 messages to a send job that is a draft, all or nothing, until it has 50,000. Only their form is checked now; what does not compose is found by the check and by the release.
//	@ID				appendDraftMessages
//	@Tags			send-jobs
//	@Accept			json
//	@Produce		json
//	@Param			id				path		string				true	"Id of the job."
//	@Param			Idempotency-Key	header		string				false	"-"
//	@Param			messages		body		api.DraftMessages	true	"The messages. The whole request may have 24 MiB."
//	@Success		201				{object}	api.AppendedMessages
//	@Failure		409				{object}	api.Problem	"The job is no draft any more."
//	@Failure		422				{object}	api.Problem
//	@Router			/v1/send-jobs/{id}/messages [post]
func (s *Server) appendDraftMessages(c *gin.Context) error {
	return s.once(c, func(id *idempotency) (*answer, error) {
		job, err := pathID(c, "id")
		if err != nil {
			return nil, err
		}
		var req api.DraftMessages
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
		k := fileKeeper{s: s, c: c}
		for i := range req.Messages {
			k.look("/messages/"+strconv.Itoa(i), req.Messages[i].Attachments)
		}
		f.merge(k.problems)
		if err := f.err(); err != nil {
			return nil, err
		}
		if err := k.keep(id); err != nil {
			return nil, err
		}
		drafts, err := newDrafts(req.Messages)
		if err != nil {
			return nil, err
		}
		accept := func(j *store.Job) (*answer, error) {
			out := api.AppendedMessages{JobID: j.ID, Total: j.Total, Messages: make([]api.DraftMessageID, len(drafts))}
			for i := range drafts {
				out.Messages[i] = api.DraftMessageID{ID: drafts[i].ID, ExternalID: req.Messages[i].ExternalID}
			}
			return newAnswer(http.StatusCreated, out)
		}
		return recorded(id, accept, func(record func(*store.Job) (*store.IdempotencyRecord, error)) (*store.Job, error) {
			j, err := s.outbox.AppendDraft(c.Request.Context(), tenantOf(c), job, drafts, record)
			if errors.Is(err, outbox.ErrTooMany) {
				return nil, refuseField("/messages", codeJobTooLarge, "max", strconv.Itoa(outbox.MaxMessages))
			}
			return j, err
		})
	})
}

// getDraftMessage gives a message of a draft.
//
//	@Summary		Get a message of a draft
//	@Description	As it was asked. When the draft was released, its messages are under `/v1/messages`.
//	@ID				getDraftMessage
//	@Tags			send-jobs
//	@Produce		json
//	@Param			id		path		string	true	"Id of the job."
//	@Param			message	path		string	true	"Id of the message."
//	@Success		200		{object}	api.DraftMessage
//	@Router			/v1/send-jobs/{id}/messages/{message} [get]
func (s *Server) getDraftMessage(c *gin.Context) error {
	job, id, err := draftInPath(c)
	if err != nil {
		return err
	}
	return s.answerDraft(c, job, id)
}

func (s *Server) answerDraft(c *gin.Context, job, id string) error {
	d, err := s.store.Draft(c.Request.Context(), tenantOf(c), job, id)
	if err != nil {
		return err
	}
	w := api.DraftMessage{ID: d.ID, JobID: job}
	if err := json.Unmarshal(d.Source, &w.Mail); err != nil {
		return err
	}
	return reply(c, http.StatusOK, w)
}

func draftInPath(c *gin.Context) (job, message string, err error) {
	job, err1 := pathID(c, "id")
	message, err2 := pathID(c, "message")
	return job, message, errors.Join(err1, err2)
}

// putDraftMessage replaces a message of a draft.
//
//	@Summary		Replace a message of a draft
//	@Description	The message keeps its id and its place. Only its form is checked now.
//	@ID				putDraftMessage
//	@Tags			send-jobs
//	@Accept			json
//	@Produce		json
//	@Param			id		path		string		true	"Id of the job."
//	@Param			message	path		string		true	"Id of the message."
//	@Param			mail	body		api.Mail	true	"The message as it is to be."
//	@Success		200		{object}	api.DraftMessage
//	@Failure		409		{object}	api.Problem	"The job is no draft any more."
//	@Failure		422		{object}	api.Problem
//	@Router			/v1/send-jobs/{id}/messages/{message} [put]
func (s *Server) putDraftMessage(c *gin.Context) error {
	job, id, err := draftInPath(c)
	if err != nil {
		return err
	}
	var req api.Mail
	f, err := s.decode(c, &req, s.limits.SendBody)
	if err != nil {
		return err
	}
	k := fileKeeper{s: s, c: c}
	k.look("", req.Attachments)
	f.merge(k.problems)
	if err := f.err(); err != nil {
		return err
	}
	if err := k.keep(nil); err != nil {
		return err
	}
	source, err := json.Marshal(&req)
	if err != nil {
		return err
	}
	if err := s.outbox.ReplaceDraft(c.Request.Context(), tenantOf(c), job, store.DraftMessage{ID: id, Source: source}); err != nil {
		return err
	}
	return reply(c, http.StatusOK, api.DraftMessage{ID: id, JobID: job, Mail: req})
}

// deleteDraftMessage takes a message out of a draft.
//
//	@Summary		Remove a message from a draft
//	@Description	The others stay as they are. When the draft was released it is too late (409): cancel the message.
//	@ID				deleteDraftMessage
//	@Tags			send-jobs
//	@Param			id		path	string	true	"Id of the job."
//	@Param			message	path	string	true	"Id of the message."
//	@Success		204
//	@Failure		409	{object}	api.Problem	"The job is no draft any more."
//	@Router			/v1/send-jobs/{id}/messages/{message} [delete]
func (s *Server) deleteDraftMessage(c *gin.Context) error {
	job, id, err := draftInPath(c)
	if err != nil {
		return err
	}
	if err := s.outbox.RemoveDraft(c.Request.Context(), tenantOf(c), job, id); err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}
