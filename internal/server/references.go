package server

import (
	"context"
	"errors"
	"slices"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// findSender finds the profile as the request asks for it, and no other: a one-off mail leaves with the user's default profile,
// a batch with the company's.
func (w *sending) findSender() error {
	r := w.req
	w.asked, w.reference = "/sender_profile_id", r.profileID
	key := profileKey{tenant: w.tenant, id: r.profileID}
	w.sender.Reason = reasonRequested
	if r.profileID == "" {
		if r.purpose == outbox.PurposeBatch {
			w.asked, w.reference = "/company_ref", r.companyRef
			key.level, w.sender.Reason = mail.LevelCompany, reasonCompanyDefault
		} else {
			w.asked, w.reference = "/user_ref", r.userRef
			key.level, w.sender.Reason = mail.LevelUser, reasonUserDefault
		}
		key.owner = w.reference
	}
	var err error
	switch {
	case w.reference == "":
		w.problems.Add(w.asked, codeSenderMissing, "field", w.asked[1:])
	case r.profileID != "":
		w.profile, err = w.s.profileByID(w.ctx, w.tenant, r.profileID)
	default:
		w.profile, err = w.s.profiles.get(w.ctx, key, func(ctx context.Context) (*mail.Profile, error) {
			return w.s.store.DefaultProfile(ctx, key.tenant, key.level, key.owner)
		})
	}
	if errors.Is(err, store.ErrNotFound) {
		w.problems.Add(w.asked, codeSenderNotFound, "reference", mail.Shown(w.reference))
		err = nil
	}
	if err != nil {
		return err
	}
	if w.profile == nil {
		w.profile = &mail.Profile{From: mail.Address{Address: "sender@facteur.example"}}
		return nil
	}
	w.sender.ProfileID, w.sender.Level = w.profile.ID, string(w.profile.Level)
	return needAddOn(w.profile)
}

type profileKey struct {
	tenant, id string
	level      mail.Level
	owner      string
}

// profileByID gives a tenant's profile, which is shared and must not be changed.
func (s *Server) profileByID(ctx context.Context, tenant, id string) (*mail.Profile, error) {
	if !goodID.MatchString(id) {
		return nil, store.ErrNotFound
	}
	return s.profiles.get(ctx, profileKey{tenant: tenant, id: id}, func(ctx context.Context) (*mail.Profile, error) {
		return s.store.Profile(ctx, tenant, id)
	})
}

// findFiles looks up every attachment that the request and the profile name.
func (w *sending) findFiles() error {
	var ids []string
	seen := map[string]bool{}
	add := func(id string) {
		if id != "" && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	for _, a := range w.req.attachments {
		add(a.ID)
	}
	for i := range w.req.mails {
		for _, a := range w.req.mails[i].Attachments {
			add(a.ID)
		}
	}
	for _, a := range w.profile.Attachments {
		add(a.AttachmentID)
	}
	var err error
	w.files, err = w.s.attachments(w.ctx, w.tenant, ids)
	return err
}

type templateKey struct{ tenant, id, company, documentType string }

// findTemplate finds the template of a mail; nil for own content, or when there is something wrong.
func (w *sending) findTemplate(i int, m *api.Mail) (*mail.Template, error) {
	own := m.Subject != "" || m.Text != "" || m.HTML != ""
	at := w.req.at(i)
	key := templateKey{tenant: w.tenant, id: m.TemplateID}
	pointer := at + "/template_id"
	switch {
	case own && m.TemplateID != "":
		w.unsure[i] = true
		w.problems.Add(pointer, codeTemplateAndContent)
		return nil, nil
	case own:
		return nil, nil
	case key.id != "":
	case w.req.templateID != "":
		key.id, pointer = w.req.templateID, "/template_id"
	default:
		pointer = at + "/document/type"
		if key.documentType = w.req.documentType; m.Document != nil && m.Document.Type != "" {
			key.documentType = m.Document.Type
		}
		if key.documentType == "" {
			return nil, nil // the composer says that the content is missing
		}
		if key.company = w.req.companyRef; key.company == "" && w.profile.Level == mail.LevelCompany {
			key.company = w.profile.OwnerRef
		}
	}
	t, known := w.templates[key]
	if !known {
		var err error
		t, err = w.s.template(w.ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		w.templates[key] = t
	}
	if t != nil {
		return t, nil
	}
	w.unsure[i] = true
	switch {
	case key.id == "":
		w.problems.Add(pointer, codeTemplateDefaultMissing, "document_type", mail.Shown(key.documentType))
	case !known || pointer != "/template_id" || at == "": // the job's own is said once
		w.problems.Add(pointer, codeTemplateNotFound, "template_id", mail.Shown(key.id))
	}
	return nil, nil
}

func (s *Server) template(ctx context.Context, key templateKey) (*mail.Template, error) {
	if key.id != "" && !goodID.MatchString(key.id) {
		return nil, store.ErrNotFound
	}
	return s.templates.get(ctx, key, func(ctx context.Context) (*mail.Template, error) {
		if key.id != "" {
			return s.store.Template(ctx, key.tenant, key.id)
		}
		return s.store.FindTemplate(ctx, key.tenant, key.company, key.documentType)
	})
}

// attach makes a draft's entry of an attachment and gives the index of its inline file, -1 when it has none.
func (w *sending) attach(to *mail.Attachment, a *api.MessageAttachment, at string) int {
	// What is wrong keeps its place, so that the problems of the others point at the right ones.
	*to = mail.Attachment{Filename: "file", ContentID: a.ContentID}
	switch {
	case a.ID != "" && len(a.Content) > 0:
		w.problems.Add(at+"/content", codeAttachmentIDOrContent)
	case a.ID != "":
		file := w.files[a.ID]
		if file == nil {
			w.problems.Add(at+"/id", codeAttachmentNotFound, "id", mail.Shown(a.ID))
			return -1
		}
		if a.Kind != "" || a.MediaType != "" {
			w.problems.Add(at, codeAttachmentFieldsWithID)
		}
		*to = file.Attachment
		to.ContentID = a.ContentID
		if a.Filename != "" {
			to.Filename = a.Filename
		}
	case len(a.Content) == 0:
		w.problems.Add(at+"/content", codeAttachmentContentNeeded)
	case int64(len(a.Content)) > w.s.limits.Attachment:
		w.problems.Add(at+"/content", codeFileTooLarge, "limit", bytesText(w.s.limits.Attachment))
	default:
		meta := store.AttachmentMeta{Filename: a.Filename, MediaType: a.MediaType, Kind: a.Kind}
		var wrong mail.Problems
		if err := checkFile(&meta, int64(len(a.Content))); errors.As(err, &wrong) {
			w.problems.Under(at, wrong)
			return -1
		}
		to.Filename, to.MediaType, to.Kind = meta.Filename, meta.MediaType, meta.Kind
		w.inline = append(w.inline, inlineFile{content: a.Content, meta: meta})
		return len(w.inline) - 1
	}
	return -1
}

// thread makes a mail an answer to an earlier message (RFC 5322 section 3.6.4).
func (w *sending) thread(d *mail.Draft, id, pointer string) error {
	earlier, known := w.replies[id]
	if !known && goodID.MatchString(id) {
		var err error
		earlier, err = w.s.store.MessageContent(w.ctx, w.tenant, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		w.replies[id] = earlier
	}
	if earlier == nil {
		w.problems.Add(pointer, codeMessageNotFound, "id", mail.Shown(id))
		return nil
	}
	d.InReplyTo = earlier.MessageIDHeader
	d.References = append(slices.Clone(earlier.References), earlier.MessageIDHeader)
	if n := len(d.References); n > maxReferences { // the first and the latest
		d.References = append(d.References[:1:1], d.References[n-maxReferences+1:]...)
	}
	return nil
}
