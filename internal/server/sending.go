package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// Codes of what a mail refers to.
const (
	codeSenderMissing           = "sender_missing"           // field
	codeSenderNotFound          = "sender_profile_not_found" // reference
	codeTemplateNotFound        = "template_not_found"       // template_id
	codeTemplateDefaultMissing  = "template_default_missing" // document_type
	codeTemplateAndContent      = "template_and_content"
	codeAttachmentIDOrContent   = "attachment_id_or_content"
	codeAttachmentFieldsWithID  = "attachment_fields_with_id"
	codeAttachmentContentNeeded = "attachment_content_missing"
	codeFileTooLarge            = "file_too_large"           // limit
	codeMessageNotFound         = "message_not_found"        // id
	codeSendAtTooFar            = "send_at_too_far"          // max: days
	codeDocumentSentBefore      = "document_sent_before"     // number, recipient, at, message_id
	codeDocumentAcceptedBefore  = "document_accepted_before" // likewise; that mail is on its way, or its outcome uncertain
)

// Reasons why a profile was chosen.
const (
	reasonRequested      = "requested"
	reasonUserDefault    = "user_default"
	reasonCompanyDefault = "company_default"
)

const (
	maxSendAhead  = 400 * 24 * time.Hour
	maxReferences = 20
)

// sendRequest is what the two requests that send have in common.
type sendRequest struct {
	purpose                        string
	profileID, userRef, companyRef string
	// What holds for the mails that do not say themselves.
	templateID, documentType, language string
	attachments                        []api.MessageAttachment
	sendAt                             *time.Time
	job                                store.JobDetail
	rules                              mail.JobRules

	mails []api.Mail
	at    func(i int) string // JSON pointer of a mail in the request
}

// sending is a request as it is worked out: every reference looked up, every mail a draft.
type sending struct {
	s      *Server
	c      *gin.Context
	ctx    context.Context
	tenant string
	req    *sendRequest
	now    time.Time

	problems  mail.Problems
	profile   *mail.Profile // a stand-in when the one asked for is not there
	sender    api.Sender
	asked     string // JSON pointer of the field that asks for the profile
	reference string // and its value
	files     map[string]*store.Attachment
	templates map[templateKey]*mail.Template // nil: not there
	composers map[*mail.Template]*mail.Composer
	replies   map[string]*mail.Content // by message id; nil: not there
	items     []outbox.Item
	unsure    []bool // items whose content is not known
	first     []int  // where in problems those of each item begin; they go on to the next one's
	inline    []inlineFile
}

// inlineFile is a file that came with the request.
type inlineFile struct {
	content []byte
	meta    store.AttachmentMeta
	places  []*mail.Attachment // the drafts' entries that get its id
}

// prepare works a request out and finds everything that is wrong with it, f included. Nothing is stored.
func (s *Server) prepare(c *gin.Context, req *sendRequest, f *findings) (*sending, error) {
	w, err := s.lookUp(c, req)
	if err != nil {
		return nil, err
	}
	// The outbox composes, too. Here it is done only when the request cannot be accepted anyway, so that the answer names
	// every problem, and before files are stored, so that nothing is stored of a request that is refused.
	if len(w.problems) > 0 || len(f.list) > 0 || len(w.inline) > 0 {
		for i := range w.items {
			_, ps := w.compose(i)
			w.problems.Under("", ps)
		}
	}
	f.merge(w.problems)
	return w, f.err()
}

// lookUp looks up all that a request refers to and makes its drafts. What is wrong with the references is in problems.
func (s *Server) lookUp(c *gin.Context, req *sendRequest) (*sending, error) {
	w := s.newSending(c, req)
	for _, step := range []func() error{w.findSender, w.findFiles, w.makeDrafts} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (s *Server) newSending(c *gin.Context, req *sendRequest) *sending {
	return &sending{
		s: s, c: c, ctx: c.Request.Context(), tenant: tenantOf(c), req: req, now: time.Now().UTC(),
		templates: map[templateKey]*mail.Template{}, composers: map[*mail.Template]*mail.Composer{}, replies: map[string]*mail.Content{},
		items: make([]outbox.Item, len(req.mails)), unsure: make([]bool, len(req.mails)), first: make([]int, len(req.mails)),
	}
}

func (w *sending) makeDrafts() error {
	common := make([]mail.Attachment, len(w.req.attachments))
	inline := make([]int, len(common)) // their indexes in w.inline, -1: none
	for i := range common {
		inline[i] = w.attach(&common[i], &w.req.attachments[i], "/attachments/"+strconv.Itoa(i))
	}
	if w.req.sendAt != nil {
		w.checkSendAt("/send_at", *w.req.sendAt)
	}
	for i := range w.req.mails {
		m, at := &w.req.mails[i], w.req.at(i)
		w.first[i] = len(w.problems)
		t, err := w.findTemplate(i, m)
		if err != nil {
			return err
		}
		d := w.draft(m)
		if m.InReplyTo != "" {
			if err := w.thread(d, m.InReplyTo, at+"/in_reply_to"); err != nil {
				return err
			}
		}
		if err := w.attachAll(d, t, m, at, common, inline); err != nil {
			return err
		}
		item := &w.items[i]
		item.Draft, item.Template = d, t
		if m.SendAt != nil {
			w.checkSendAt(at+"/send_at", *m.SendAt)
			item.SendAt = w.due(m.SendAt)
		}
		item.Detail = store.MessageDetail{
			Document: d.Document, Client: d.Client, ExternalID: m.ExternalID, Tags: m.Tags, Metadata: m.Metadata, LanguageAsked: d.Language,
			SenderLevel: w.profile.Level, SenderReason: w.sender.Reason, RequestedBy: apiKey(w.c).ID, CompanyRef: w.company(),
		}
		if m.AllowDuplicate != nil {
			item.AllowDuplicate = m.AllowDuplicate.Reason
		}
		if t != nil {
			item.Detail.TemplateID, item.Detail.TemplateVersion = t.ID, t.Version
		}
	}
	return nil
}

// company is whose documents the mails bring.
func (w *sending) company() string {
	if w.req.companyRef == "" && w.profile.Level == mail.LevelCompany {
		return w.profile.OwnerRef
	}
	return w.req.companyRef
}

// draft is a mail without its references, with what the request says for all.
func (w *sending) draft(m *api.Mail) *mail.Draft {
	d := &mail.Draft{
		Language: m.Language, Subject: m.Subject, Text: m.Text, HTML: m.HTML,
		To: addressesFrom(m.To), CC: addressesFrom(m.CC), BCC: addressesFrom(m.BCC), ReplyTo: addressesFrom(m.ReplyTo),
		Tokens: m.Tokens, Reminder: reminderFrom(m.Reminder), OverrideSuppression: m.OverrideSuppression, Tags: m.Tags,
	}
	if d.Language == "" {
		d.Language = w.req.language
	}
	if m.Document != nil {
		d.Document = mail.Document(*m.Document)
	}
	if d.Document.Type == "" {
		d.Document.Type = w.req.documentType
	}
	if m.Client != nil {
		d.Client = mail.Client(*m.Client)
	}
	for _, h := range m.Headers {
		d.Headers = append(d.Headers, mail.Header(h))
	}
	return d
}

// attachAll gives a draft its files: the mail's own, those of the request, and the profile's for the mail's language.
func (w *sending) attachAll(d *mail.Draft, t *mail.Template, m *api.Mail, at string, common []mail.Attachment, inline []int) error {
	n := len(m.Attachments) + len(common) + len(w.profile.Attachments)
	if n == 0 {
		return nil
	}
	d.Attachments = make([]mail.Attachment, 0, n) // never grown: inline files point into it
	add := func(a mail.Attachment, inlineFile int) {
		d.Attachments = append(d.Attachments, a)
		if inlineFile >= 0 {
			f := &w.inline[inlineFile]
			f.places = append(f.places, &d.Attachments[len(d.Attachments)-1])
		}
	}
	for k := range m.Attachments {
		var a mail.Attachment
		f := w.attach(&a, &m.Attachments[k], at+"/attachments/"+strconv.Itoa(k))
		add(a, f)
	}
	for k := range common {
		add(common[k], inline[k])
	}
	for _, id := range w.profile.AttachmentIDs(w.languageOf(t, d.Language)) {
		file := w.files[id]
		if file == nil {
			return errors.New("server: an attachment of profile " + w.profile.ID + " is not there")
		}
		add(file.Attachment, -1)
	}
	return nil
}

// languageOf says in which language a mail will be, which decides which of the profile's files go with it.
func (w *sending) languageOf(t *mail.Template, asked string) string {
	if len(w.profile.Attachments) == 0 {
		return ""
	}
	return w.composer(t).Language(asked)
}

func (w *sending) composer(t *mail.Template) *mail.Composer {
	c := w.composers[t]
	if c == nil {
		c = mail.NewComposer(w.profile, t)
		w.composers[t] = c
	}
	return c
}

func (w *sending) checkSendAt(pointer string, t time.Time) {
	if t.After(w.now.Add(maxSendAhead)) {
		w.problems.Add(pointer, codeSendAtTooFar, "max", strconv.Itoa(int(maxSendAhead.Hours()/24)))
	}
}

// due is when to send; zero for at once. A time that is over must not overtake mails that came before.
func (w *sending) due(t *time.Time) time.Time {
	if t == nil || !t.After(w.now) {
		return time.Time{}
	}
	return *t
}

// compose finds the problems of one mail, with pointers into the request. Without problems it gives the content, too; a mail whose
// content is not known has none.
func (w *sending) compose(i int) (*mail.Content, mail.Problems) {
	d := *w.items[i].Draft
	if w.unsure[i] {
		d.Subject, d.Text = "-", "-" // nobody knows what it says, which is said already
	}
	content, _, ps := w.composer(w.items[i].Template).Compose(&d, w.now)
	for k := range ps {
		ps[k].Pointer = w.locate(i, ps[k].Pointer)
	}
	if w.unsure[i] {
		content = nil
	}
	return content, ps
}

// locate makes a pointer into the i-th mail one into the request: the attachments of the job stand elsewhere.
func (w *sending) locate(i int, pointer string) string {
	if rest, ok := strings.CutPrefix(pointer, "/attachments/"); ok {
		index, field, _ := strings.Cut(rest, "/")
		own := len(w.req.mails[i].Attachments)
		if n, err := strconv.Atoi(index); err == nil && n >= own && n < own+len(w.req.attachments) {
			return "/attachments/" + strconv.Itoa(n-own) + "/" + field
		}
	}
	return w.req.at(i) + pointer
}

// submit stores the files that came with the request and hands the rest to the outbox. accept makes the answer.
func (w *sending) submit(id *idempotency, accept func(*outbox.Receipt) (*answer, error)) (*answer, error) {
	if len(w.inline) > 0 {
		if err := id.used(w.c); err != nil {
			return nil, err
		}
		for i := range w.inline {
			if err := w.storeFile(&w.inline[i]); err != nil {
				return nil, err
			}
		}
	}
	var a *answer
	sub := &outbox.Submission{
		TenantID: w.tenant, Actor: apiKey(w.c).ID, Purpose: w.req.purpose, Profile: w.profile, Job: w.req.job, Rules: w.req.rules,
		SendAt: w.due(w.req.sendAt), Items: w.items,
	}
	sub.Job.SenderLevel, sub.Job.SenderReason = w.profile.Level, w.sender.Reason
	if id != nil {
		sub.Record = func(r *outbox.Receipt) (*store.IdempotencyRecord, error) {
			var err error
			if a, err = accept(r); err != nil {
				return nil, err
			}
			return id.record(a), nil
		}
	}
	receipt, err := w.s.outbox.Submit(w.ctx, sub)
	var problems mail.Problems
	if errors.As(err, &problems) {
		return nil, w.refused(problems)
	}
	var duplicates *store.DuplicateError
	if errors.As(err, &duplicates) {
		return nil, w.hadBefore(duplicates)
	}
	if errors.Is(err, store.ErrNotFound) { // it was deleted since it was looked up
		return nil, refuseField(w.asked, codeSenderNotFound, "reference", mail.Shown(w.reference))
	}
	if err != nil {
		return nil, err
	}
	if a == nil {
		return accept(receipt)
	}
	return a, nil
}

// refused turns the outbox's pointers, which begin with the mail's index, into pointers into the request.
func (w *sending) refused(problems mail.Problems) error {
	var f findings
	for _, p := range problems {
		index, _, _ := strings.Cut(strings.TrimPrefix(p.Pointer, "/"), "/")
		if i, err := strconv.Atoi(index); err == nil && i < len(w.items) {
			p.Pointer = w.locate(i, strings.TrimPrefix(p.Pointer, "/"+index))
		}
		f.put(p)
	}
	return f.err()
}

// hadBefore names the documents that somebody has, with when they went to whom.
func (w *sending) hadBefore(e *store.DuplicateError) error {
	slices.SortFunc(e.Duplicates, func(a, b store.Duplicate) int { return cmp.Compare(a.Message, b.Message) })
	var f findings
	for _, d := range e.Duplicates {
		detail := &w.items[d.Message].Detail
		code, at := codeDocumentAcceptedBefore, d.AcceptedAt
		if d.Status == mail.StatusSent {
			code, at = codeDocumentSentBefore, d.SentAt
		}
		f.add(w.req.at(d.Message)+"/document/number", code, "number", mail.Shown(detail.Document.Number), "recipient", w.recipientOf(d),
			"at", at.Format("2006-01-02 15:04")+" UTC", "message_id", d.EarlierID)
	}
	return &refusal{status: http.StatusConflict, code: codeDuplicateDocument, problems: f.list, omitted: f.omitted}
}

// recipientOf is the address that a duplicate's key is about.
func (w *sending) recipientOf(d store.Duplicate) string {
	item := &w.items[d.Message]
	for _, to := range item.Draft.To {
		form, _ := mail.EnvelopeForm(to.Address)
		recipients := []mail.Recipient{{Address: mail.Address{Address: form}, Kind: mail.KindTo}}
		if keys := mail.DocumentKeys(item.Detail.CompanyRef, item.Detail.Document, recipients); len(keys) == 1 && keys[0] == d.Key {
			return mail.Shown(to.Address)
		}
	}
	return ""
}

func (w *sending) storeFile(f *inlineFile) error {
	stored, err := w.s.keepFile(w.c, f.content, f.meta)
	if err != nil {
		return err
	}
	for _, place := range f.places {
		contentID := place.ContentID
		*place = stored.Attachment
		place.ContentID = contentID
	}
	return nil
}

// held says what the profile's hold means for what was just accepted.
func (w *sending) held() (status string, problem *api.Trouble) {
	if w.profile.Hold == nil {
		return string(mail.StatusQueued), nil
	}
	return string(mail.StatusHeld), profileTrouble(language(w.c), w.profile.Hold)
}

func templateUse(id string, version int64) *api.TemplateUse {
	if id == "" {
		return nil
	}
	return &api.TemplateUse{ID: id, Version: version}
}
