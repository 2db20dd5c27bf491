package preflight

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// recipient is a good address of a message.
type recipient struct {
	message *Message
	pointer string // of its address
	shown   string
	form    string // as the envelope has it
	kind    mail.RecipientKind
}

// recipients lists the addresses of messages that are addresses, the profile's own left out.
func recipients(messages []Message, kinds ...mail.RecipientKind) []recipient {
	var all []recipient
	for i := range messages {
		m := &messages[i]
		for _, kind := range kinds {
			list := m.Draft.To
			switch kind {
			case mail.KindCC:
				list = m.Draft.CC
			case mail.KindBCC:
				list = m.Draft.BCC
			}
			for k := range list {
				if mail.CheckAddress(list[k].Address) != "" {
					continue
				}
				form, _ := mail.EnvelopeForm(list[k].Address)
				all = append(all, recipient{m, m.At + "/" + string(kind) + "/" + itoa(k) + "/address", list[k].Address, form, kind})
			}
		}
	}
	return all
}

// checkTokens names values that no text asks for: the word in the template may be misspelt, or the value's name. It is said once of each.
func (c *Check) checkTokens(m *Message) {
	if m.Template == nil && m.Content == nil { // nobody knows what it says
		return
	}
	for name := range m.Draft.Tokens {
		if mail.IsBuiltinToken(name) || !mail.CheckTokenName(name) {
			continue
		}
		if m.Template != nil {
			if slices.Contains(m.Template.Tokens, name) {
				continue
			}
		} else if strings.Contains(m.Draft.Subject+m.Draft.Text+m.Draft.HTML, name) {
			continue
		}
		if c.problems.first("", CodeTokenUnknown+" "+name) {
			c.problems.add(m, Info, m.At+"/tokens/"+mail.EscapePointer(name), CodeTokenUnknown, "token", name)
		}
	}
}

// checkLanguage names a mail that would go out in another language than was asked for, because its template has no text in that one.
func (c *Check) checkLanguage(m *Message) {
	if m.Template == nil || m.Content == nil {
		return
	}
	asked, _, _ := strings.Cut(mail.NormalizeLanguage(m.Draft.Language), "-")
	used, _, _ := strings.Cut(m.Content.Language, "-")
	if asked != "" && asked != used {
		c.problems.add(m, Warning, m.At+"/language", CodeLanguageNotInTemplate, "language", mail.Shown(m.Draft.Language), "used", used)
	}
}

// checkDocuments finds those that two mails of the batch bring to the same recipient, and those that somebody has.
func (c *Check) checkDocuments(ctx context.Context, messages []Message) error {
	var uses []store.DocumentUse
	var of []recipient // of each use
	var twice *Message // the last one of which it was said
	for _, to := range recipients(messages, mail.KindTo) {
		m := to.message
		keysOf := func(rs []mail.Recipient) []mail.DocumentKey {
			return mail.DocumentKeys(m.Company, m.Draft.Document, rs)
		}
		keys := keysOf([]mail.Recipient{{Address: mail.Address{Address: to.form}, Kind: mail.KindTo}})
		if len(keys) == 0 {
			continue
		}
		other, taken := c.documents[keys[0]]
		if m.AllowDuplicate { // who comes after it brings the document once more all the same
			if !taken {
				c.documents[keys[0]] = m.Index
			}
			continue
		}
		switch {
		case !taken:
			c.documents[keys[0]] = m.Index
			uses, of = append(uses, store.DocumentUse{Key: keys[0], KeysOf: keysOf}), append(of, to)
		case other != m.Index && twice != m: // a mail may have an address twice
			c.problems.add(m, Blocking, m.At+"/document/number", mail.CodeDocumentTwice, "number", mail.Shown(m.Draft.Document.Number))
			twice = m
		}
	}
	before, err := c.cfg.Store.DocumentsBefore(ctx, c.cfg.TenantID, uses)
	if err != nil {
		return err
	}
	for _, d := range before {
		to := &of[d.Message]
		code, at := CodeDocumentAcceptedEarly, d.AcceptedAt
		if d.Status == mail.StatusSent {
			code, at = CodeDocumentSentBefore, d.SentAt
		}
		c.problems.add(to.message, Blocking, to.message.At+"/document/number", code, "number", mail.Shown(to.message.Draft.Document.Number),
			"recipient", mail.Shown(to.shown), "at", at.Format("2006-01-02 15:04")+" UTC", "message_id", d.EarlierID)
	}
	return nil
}

func (c *Check) checkSuppressed(ctx context.Context, messages []Message) error {
	all := recipients(messages, mail.KindTo, mail.KindCC, mail.KindBCC)
	addresses := make([]string, len(all))
	for i := range all {
		addresses[i] = all[i].form
	}
	suppressed, err := c.cfg.Store.Suppressed(ctx, c.cfg.TenantID, addresses)
	if err != nil {
		return err
	}
	for i := range all {
		if _, ok := suppressed[all[i].form]; ok && !all[i].message.Draft.OverrideSuppression {
			c.problems.add(all[i].message, Blocking, all[i].pointer, mail.CodeRecipientSuppressed)
		}
	}
	return nil
}

// leastLimit is the least size that anybody refuses: smaller mails are not measured.
const leastLimit = 1 << 20

// measured is a mail that may be too large.
type measured struct {
	place
	size int64
}

// measure notes how large the mails are as they will be encoded. What the far end takes is known when the profile is checked.
func (c *Check) measure(_ context.Context, messages []Message) error {
	for i := range messages {
		m := &messages[i]
		if m.Content == nil {
			continue
		}
		rough := 3 * (len(m.Content.Text) + len(m.Content.HTML))
		for k := range m.Content.Attachments {
			rough += int(m.Content.Attachments[k].Size*3/2) + 1000
		}
		if rough < leastLimit {
			continue
		}
		size, err := mail.RenderedSize(m.Content)
		if err != nil {
			return err
		}
		if size >= leastLimit {
			c.large = append(c.large, measured{place{ref: m.Ref, at: m.At, pointer: m.At + "/attachments"}, size})
		}
	}
	return nil
}

// compareSizes finds the mails that the way they take cannot carry. server is what the far end says it takes; 0: it does not say.
func (c *Check) compareSizes(server int64) {
	limit := server
	if c.cfg.Transport != nil {
		if most := c.cfg.Transport.Info().MaxBytes; most > 0 && (limit == 0 || most < limit) {
			limit = most
		}
	}
	if limit == 0 {
		return
	}
	for i := range c.large {
		if l := &c.large[i]; l.size > limit {
			m := Message{Ref: l.ref, At: l.at}
			c.problems.add(&m, Blocking, l.pointer, CodeMessageTooLarge, "size", mebibytes(l.size), "limit", mebibytes(limit))
		}
	}
}

// mebibytes writes a size as a person reads it.
func mebibytes(n int64) string {
	return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
}
