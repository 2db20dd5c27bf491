package sendgrid

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"slices"
	"strconv"
	"strings"
	"unicode"

	api "github.com/sendgrid/sendgrid-go/helpers/mail"

	"github.com/winprest/facteur/internal/mail"
)

// request is the body of a POST to mail/send: the JSON that the builders make, and in it the places of the files, which are
// written there in base64 while the request is sent. So a file is never in memory as a string within a string.
type request struct {
	mail   *mail.Rendered
	pieces [][]byte // of the JSON: around the files, in the order of Content.Attachments
	tail   string   // the last byte, without which it is no JSON
	size   int64
}

// unfit says why a mail cannot be sent through SendGrid; the zero Verdict has no Code: it can.
func unfit(m *mail.Rendered) mail.Verdict {
	v := mail.Verdict{Outcome: permanent, Scope: mail.ScopeMessage, Step: stepMail}
	c := m.Content
	_, err := m.Hidden()
	switch {
	case len(m.Envelope.To) == 0:
		v.Code, v.Reply.Text = CodeEnvelopeInvalid, "the envelope has no recipient"
	case errors.Is(err, mail.ErrAddresseeSettled):
		v.Code, v.Reply.Text = CodePartlySent, "the header names a recipient who was settled by an earlier attempt"
	case err != nil:
		v.Code, v.Reply.Text = CodeEnvelopeInvalid, "a recipient cannot be named"
	case len(c.To) == 0:
		v.Code, v.Reply.Text = CodeEnvelopeInvalid, "SendGrid needs a recipient in To"
	case len(m.Envelope.To) > MaxRecipients:
		v.Code = CodeTooManyRecipients
		v.Reply.Text = "SendGrid takes " + strconv.Itoa(MaxRecipients) + " recipients, the mail has " + strconv.Itoa(len(m.Envelope.To))
	case m.NeedsSMTPUTF8():
		v.Code, v.Reply.Text = CodeAddressNotASCII, "SendGrid takes no address with other than ASCII letters before the @"
	case m.Size() > MaxBytes:
		v.Code = CodeMessageTooLarge
		v.Reply.Text = "SendGrid takes " + strconv.Itoa(MaxBytes) + " bytes, the mail has " + strconv.FormatInt(m.Size(), 10)
	case slices.ContainsFunc(c.Attachments, func(a mail.Attachment) bool { return a.Size == 0 }):
		v.Code, v.Reply.Text = CodeMessageInvalid, "SendGrid takes no empty file"
	}
	return v
}

// compose says a mail in SendGrid's terms, the contents of its files left out.
func compose(m *mail.Rendered, p *mail.Profile) *api.SGMailV3 {
	c := m.Content
	hidden, _ := m.Hidden() // unfit has seen the error
	q := api.NewV3Mail()
	q.SetFrom(email(c.From))
	q.Subject = line(c.Subject)
	q.AddPersonalizations(personalization(c, hidden, p))
	if replyTo := emails(c.ReplyTo, nil); len(replyTo) > 0 {
		q.SetReplyToList(replyTo)
	}
	if c.Text != "" {
		q.AddContent(api.NewContent("text/plain", c.Text))
	}
	if c.HTML != "" {
		q.AddContent(api.NewContent("text/html", c.HTML))
	}
	setHeaders(q, c)
	for i := range c.Attachments {
		a := &c.Attachments[i]
		file := api.NewAttachment().SetType(mediaType(a.MediaType)).SetFilename(a.Filename).SetDisposition("attachment")
		if a.ContentID != "" {
			file.SetContentID(a.ContentID)
		}
		if c.Inline(i) {
			file.SetDisposition("inline")
		}
		q.AddAttachment(file)
	}
	q.AddCategories(categories(c.Categories)...)
	q.SetTrackingSettings(tracking(p.SendGrid != nil && p.SendGrid.Tracking))
	return q
}

// maxCategories is how many SendGrid takes (https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send).
const maxCategories = 10

// categories are the first of the tags that SendGrid's statistics can show, each once.
func categories(tags []string) []string {
	var out []string
	for _, t := range tags {
		t = line(t)
		plain := t != "" && !strings.ContainsFunc(t, func(r rune) bool { return r > unicode.MaxASCII })
		if plain && len(out) < maxCategories && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// personalization is whom the mail is for, and what SendGrid's events are to say of it: our ids, and nothing of anybody.
func personalization(c *mail.Content, hidden []mail.Address, p *mail.Profile) *api.Personalization {
	one := api.NewPersonalization()
	seen := map[string]bool{} // an address that is there twice would be refused
	one.AddTos(emails(c.To, seen)...)
	one.AddCCs(emails(c.CC, seen)...)
	one.AddBCCs(emails(hidden, seen)...)
	one.SetCustomArg("facteur_tenant", p.TenantID)
	one.SetCustomArg("facteur_message", c.ID())
	return one
}

func email(a mail.Address) *api.Email {
	form, _ := mail.EnvelopeForm(a.Address)
	return api.NewEmail(line(a.Name), form)
}

func emails(list []mail.Address, seen map[string]bool) []*api.Email {
	var out []*api.Email
	for _, a := range list {
		e := email(a)
		if key := strings.ToLower(e.Address); seen != nil {
			if seen[key] {
				continue
			}
			seen[key] = true
		}
		out = append(out, e)
	}
	return out
}

// setHeaders sets the header fields that SendGrid does not make itself. It takes their values as they are to stand in the mail,
// and lets Message-ID be set, but none of those that it makes.
func setHeaders(q *api.SGMailV3, c *mail.Content) {
	q.SetHeader("Message-ID", c.MessageIDHeader)
	if c.InReplyTo != "" {
		q.SetHeader("In-Reply-To", c.InReplyTo)
	}
	if len(c.References) > 0 {
		q.SetHeader("References", strings.Join(c.References, " "))
	}
	if c.Automatic {
		q.SetHeader("Auto-Submitted", "auto-generated")
	}
	for _, h := range c.Headers { // Render has looked at their names
		value := mime.QEncoding.Encode("utf-8", line(h.Value))
		if before, ok := q.Headers[h.Name]; ok { // an object has a name once
			value = before + ", " + value
		}
		q.SetHeader(h.Name, value)
	}
}

// tracking says explicitly what is wanted: the account's own setting, which somebody may change at SendGrid, does not count.
func tracking(on bool) *api.TrackingSettings {
	off := false
	return api.NewTrackingSettings().
		SetClickTracking(&api.ClickTrackingSetting{Enable: &on, EnableText: &off}).
		SetOpenTracking(api.NewOpenTrackingSetting().SetEnable(on)).
		SetSubscriptionTracking(&api.SubscriptionTrackingSetting{Enable: &off})
}

// line makes any text one line of valid UTF-8, as Render does.
func line(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD")))
}

// mediaType is without parameters, which SendGrid does not take; as in our own mails XML is application/xml.
func mediaType(s string) string {
	t, _, err := mime.ParseMediaType(s)
	switch {
	case err != nil || !mail.CheckMediaType(s):
		return "application/octet-stream"
	case t == "text/xml":
		return "application/xml"
	}
	return t
}

// newRequest makes the JSON. Each file's content is a word that stands nowhere else, and is cut out.
func newRequest(q *api.SGMailV3, m *mail.Rendered) (*request, error) {
	word := rand.Text()
	for i, a := range q.Attachments {
		a.SetContent(word + strconv.Itoa(i))
	}
	doc, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	r := &request{mail: m, size: int64(len(doc))}
	for i := range q.Attachments {
		before, after, ok := bytes.Cut(doc, []byte(word+strconv.Itoa(i)+`"`))
		if !ok {
			return nil, errors.New("sendgrid: a file has no place in the request")
		}
		r.pieces = append(r.pieces, before)
		r.size += mail.FileBase64Size(m.Content.Attachments[i].Size) - int64(len(word)+len(strconv.Itoa(i)))
		doc = slices.Concat([]byte{'"'}, after)
	}
	r.pieces, r.tail = append(r.pieces, doc[:len(doc)-1]), string(doc[len(doc)-1:])
	return r, nil
}

// write writes all but the tail.
func (r *request) write(w io.Writer) error {
	for i, piece := range r.pieces {
		if _, err := w.Write(piece); err != nil {
			return err
		}
		if i == len(r.pieces)-1 {
			break
		}
		if err := r.mail.WriteFileBase64(w, i); err != nil {
			return err
		}
	}
	return nil
}
