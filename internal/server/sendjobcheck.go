package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/preflight"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
)

// checkSendJob looks at a batch before it is sent.
//
//	@Summary		Check a batch
//	@Description	Looks at a batch that is to be sent and stores nothing. The answer lists every problem of every mail, with what to do about it: what would have the request refused, and what would go wrong later (a sender that is not ready, addresses that cannot be reached, documents that went out before, files that are broken or another client's, mails that are too large), and forecasts when the last mail will have gone. Only a body that is not as documented here is refused. It may take some 15 seconds, when the sender's mail server is slow to answer.
//	@ID				checkSendJob
//	@Tags			send-jobs
//	@Accept			json
//	@Produce		json
//	@Param			job	body		api.SendJobRequest	true	"The mails, as they would be sent. The whole request may have 24 MiB."
//	@Success		200	{object}	api.SendJobCheck
//	@Failure		422	{object}	api.Problem
//	@Router			/v1/send-jobs/check [post]
func (s *Server) checkSendJob(c *gin.Context) error {
	var req api.SendJobRequest
	f, err := s.decode(c, &req, s.limits.SendBody)
	if err != nil {
		return err
	}
	if len(req.Messages) == 0 {
		f.merge(mail.Problems{{Pointer: "/messages", Code: mail.CodeFieldRequired}})
	}
	rules := jobRules(&req, &f)
	if slices.ContainsFunc(f.list, misshapen) {
		return f.err()
	}
	ctx, cancel := context.WithCancel(c.Request.Context())
	defer cancel()
	b := &batchCheck{s: s, c: c, req: jobRequest(&req), shape: shapeOf(&f), window: rules.Window}
	for start := 0; start < len(req.Messages); start += checkPage {
		page := req.Messages[start:min(start+checkPage, len(req.Messages))]
		if err := b.page(ctx, page, nil, func(i int) string { return "/messages/" + strconv.Itoa(start+i) }); err != nil {
			return err
		}
	}
	answer, err := b.finish(ctx)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, answer)
}

// checkDraft looks at a draft before it is released.
//
//	@Summary		Check a draft
//	@Description	Looks at all messages of a send job that is a draft, as they would be if it was released now, and changes nothing. The answer is that of `POST /v1/send-jobs/check`; its messages have their ids, and pointers begin with `/messages/` and the message's id.
//	@ID				checkDraftSendJob
//	@Tags			send-jobs
//	@Produce		json
//	@Param			id	path		string	true	"Id of the job."
//	@Success		200	{object}	api.SendJobCheck
//	@Failure		409	{object}	api.Problem	"The job is no draft any more."
//	@Router			/v1/send-jobs/{id}/check [post]
func (s *Server) checkDraft(c *gin.Context) error {
	j, err := s.jobInPath(c)
	if err != nil {
		return err
	}
	if j.State != mail.JobDraft {
		return refuse(http.StatusConflict, codeJobNotCheckable)
	}
	ctx, cancel := context.WithCancel(c.Request.Context())
	defer cancel()
	b := &batchCheck{s: s, c: c, window: j.Rules.Window}
	for after := ""; ; {
		page, err := s.store.DraftsAfter(ctx, j.TenantID, j.ID, after, checkPage)
		if err != nil {
			return err
		}
		if len(page) == 0 && b.check != nil {
			break
		}
		if b.req, err = draftRequest(j, page); err != nil {
			return err
		}
		ids := make([]string, len(page))
		for i := range page {
			ids[i], after = page[i].ID, page[i].ID
		}
		if err := b.page(ctx, b.req.mails, ids, b.req.at); err != nil {
			return err
		}
		if len(page) < checkPage {
			break
		}
	}
	answer, err := b.finish(ctx)
	if err != nil {
		return err
	}
	if answer.Sender != nil {
		answer.Sender.Reason = j.Detail.SenderReason
	}
	return reply(c, http.StatusOK, answer)
}

// checkPage is how many mails are worked out at a time.
const checkPage = 1000

// misshapen says that a body is not of the documented form. What is merely a bad value is a problem like others.
func misshapen(p mail.Problem) bool {
	switch p.Code {
	case codeFieldUnknown, codeFieldDuplicate, codeFieldType, mail.CodeInvalidUTF8:
		return true
	}
	return p.Pointer == "/messages"
}

// shapeOf sorts the problems of shape by the mail that they are in; "" has the rest.
func shapeOf(f *findings) map[string]mail.Problems {
	by := map[string]mail.Problems{}
	for _, p := range f.list {
		at := ""
		if rest, ok := strings.CutPrefix(p.Pointer, "/messages/"); ok {
			index, _, _ := strings.Cut(rest, "/")
			at = "/messages/" + index
		}
		by[at] = append(by[at], p)
	}
	return by
}

// batchCheck is the check of one batch, page by page. The pages of a stored batch are checked like those of a request: with the
// messages' ids, and pointers of the caller's choice, which must differ from message to message.
type batchCheck struct {
	s      *Server
	c      *gin.Context
	req    *sendRequest             // without mails
	shape  map[string]mail.Problems // by the pointer of the mail; nil: none
	window *mail.Window             // nil: none

	check  *preflight.Check
	sender *api.Sender
	mails  int
}

// page looks at the next mails. ids may be nil: they have none yet.
func (b *batchCheck) page(ctx context.Context, mails []api.Mail, ids []string, at func(i int) string) error {
	req := *b.req
	req.mails, req.at = mails, at
	w, err := b.s.lookUp(b.c, &req)
	if err != nil {
		return err
	}
	inline := w.hashInline()
	if b.check == nil {
		b.begin(ctx, w)
	}
	common := w.problems
	if len(mails) > 0 {
		common = w.problems[:w.first[0]]
	}
	for _, p := range unsaid(b.shape[""], common) {
		b.check.Fault(p)
	}
	messages := make([]preflight.Message, len(mails))
	for i := range mails {
		m, item := &mails[i], &w.items[i]
		item.Draft.MessageID = store.NewID("msg")
		item.Draft.Automatic = req.purpose == outbox.PurposeBatch
		last := len(w.problems)
		if i+1 < len(mails) {
			last = w.first[i+1]
		}
		content, ps := w.compose(i)
		ref := preflight.Ref{Index: b.mails, ExternalID: m.ExternalID, Document: item.Draft.Document.Number}
		if len(m.To) > 0 {
			ref.Recipient = m.To[0].Address
		}
		if ids != nil {
			ref.ID = ids[i]
		}
		messages[i] = preflight.Message{
			Ref: ref, At: at(i), Draft: item.Draft, Content: content, Faults: unsaid(b.shape[at(i)], append(w.problems[w.first[i]:last:last], ps...)),
			Company: item.Detail.CompanyRef, SendAt: item.SendAt, Template: item.Template, AllowDuplicate: item.AllowDuplicate != "",
			Own: len(m.Attachments), Common: len(req.attachments),
		}
		b.mails++
	}
	return b.check.Page(ctx, messages, inline)
}

// unsaid is the problems of the shape and those of the content that they do not explain.
func unsaid(shape, content mail.Problems) mail.Problems {
	if len(shape) == 0 {
		return content
	}
	f := findings{list: slices.Clone(shape)}
	f.merge(content)
	return f.list
}

// begin starts the check, once the sender is known.
func (b *batchCheck) begin(ctx context.Context, w *sending) {
	cfg := preflight.Config{
		TenantID: w.tenant, Store: b.s.store, Resolver: b.s.resolver, Now: w.now, SendAt: w.due(b.req.sendAt), Window: b.window,
	}
	if w.sender.ProfileID != "" {
		b.sender, cfg.Profile = &w.sender, w.profile
		if t, ok := b.s.transports[w.profile.Transport]; ok {
			cfg.Transport = t
		}
	}
	b.check = preflight.New(ctx, cfg)
}

// hashInline gives the files that came with the request by their SHA-256, and tells the drafts.
func (w *sending) hashInline() map[string][]byte {
	if len(w.inline) == 0 {
		return nil
	}
	contents := make(map[string][]byte, len(w.inline))
	for i := range w.inline {
		f := &w.inline[i]
		sum := sha256.Sum256(f.content)
		name := hex.EncodeToString(sum[:])
		contents[name] = f.content
		for _, place := range f.places {
			place.SHA256, place.Size = name, int64(len(f.content))
		}
	}
	return contents
}

// finish ends the check and makes the answer.
func (b *batchCheck) finish(ctx context.Context) (*api.SendJobCheck, error) {
	r, err := b.check.Finish(ctx)
	if err != nil {
		return nil, err
	}
	lang := language(b.c)
	answer := &api.SendJobCheck{
		Messages: r.Messages, Codes: make([]api.CheckCode, len(r.Counts)), Problems: make([]api.CheckProblem, len(r.Problems)), ProblemsOmitted: r.Omitted,
		Sender: b.sender,
	}
	for i, n := range r.Counts {
		answer.Codes[i] = api.CheckCode{Code: n.Code, Severity: string(n.Severity), Count: n.Count, Listed: n.Listed}
		switch n.Severity {
		case preflight.Blocking:
			answer.Counts.Blocking += n.Count
		case preflight.Warning:
			answer.Counts.Warning += n.Count
		case preflight.Info:
			answer.Counts.Info += n.Count
		}
	}
	answer.Ready = answer.Counts.Blocking == 0
	for i := range r.Problems {
		answer.Problems[i] = checkProblem(lang, &r.Problems[i])
	}
	if f := r.Forecast; f != nil {
		answer.Forecast = &api.Forecast{
			Messages: f.Mails, Ahead: f.Ahead, StartsAt: f.Start.UTC(), DoneAt: f.Done.UTC(), Days: f.Days,
			PerMinute: math.Round(f.Rate*600) / 10, RateBasis: "assumed", LimitedBy: string(f.Limit), Limit: f.Most,
		}
		if f.Measured {
			answer.Forecast.RateBasis = "measured"
		}
	}
	return answer, nil
}

func checkProblem(lang string, p *preflight.Problem) api.CheckProblem {
	w := api.CheckProblem{Severity: string(p.Severity), Code: p.Code, Pointer: p.Pointer, Remedy: texts.Word(lang, "remedy", p.Remedy)}
	w.Title, w.Detail = texts.Lookup(lang, p.Code, p.Params)
	if p.Cause != nil {
		w.Cause = profileTrouble(lang, p.Cause)
	}
	if m := p.Message; m != nil {
		w.Message = &api.CheckedMessage{
			Index: m.Index, ID: m.ID, ExternalID: m.ExternalID, DocumentNumber: mail.Shown(m.Document), Recipient: mail.Shown(m.Recipient),
		}
	}
	return w
}
