package server

import (
	"strconv"
	"strings"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/server/texts"
)

// proofText is a proof for a person's files: UTF-8 with a byte order mark, as a Windows program wants it, and CRLF.
func proofText(lang string, p *api.Proof) string {
	t := proofWriter{lang: lang}
	m := &p.Message
	title, statement := t.word(proofKey(p)), t.word(proofKey(p)+"_text")
	t.line(title)
	t.line(strings.Repeat("=", len([]rune(title))))
	t.line("")
	t.line(statement)
	t.line("")
	t.field("status", texts.Word(lang, "status", m.Status))
	t.field("sent_at", moment(m.SentAt))
	t.field("firm", p.Firm.Name)
	t.field("from", mailbox(p.From.Name, p.From.Address))
	t.field("subject", m.Subject)
	if d := m.Document; d != nil {
		t.field("document", strings.Join(strings.Fields(texts.Word(lang, "document", d.Type)+" "+d.Number+" "+d.Date), " "))
	}
	t.field("accepted_at", moment(&m.CreatedAt))
	t.field("requested_by", strings.TrimSpace(p.RequestedBy.Name+" ("+p.RequestedBy.ID+")"))
	t.field("job", strings.TrimSpace(p.Job.Name+" ("+p.Job.ID+")"))
	t.field("message", m.ID)
	t.field("message_id", p.MessageIDHeader)
	t.field("sender_profile", m.Sender.ProfileID)
	if m.Template != nil {
		t.field("template", m.Template.ID+", "+t.word("version")+" "+strconv.FormatInt(m.Template.Version, 10))
	}
	t.field("sha256", p.Mail.SHA256)
	if p.Mail.ErasedAt != nil {
		t.field("erased_at", moment(p.Mail.ErasedAt))
	}
	t.section("recipients")
	for _, r := range m.Recipients {
		t.line("- " + r.Kind + ": " + mailbox(r.Name, r.Address) + ": " + texts.Word(lang, "status", r.Status) + said(r.Reply))
	}
	t.section("attempts")
	if len(p.Attempts) == 0 {
		t.line(t.word("no_attempts"))
	}
	for _, a := range p.Attempts {
		t.line(strconv.Itoa(a.Number) + ". " + moment(&a.StartedAt) + " - " + moment(&a.FinishedAt) + ": " + texts.Word(lang, "status", a.Outcome) + said(a.Reply))
		for _, more := range []string{problemTitle(a.Problem), a.EvidenceText, a.Evidence} {
			if more != "" {
				t.line("   " + more)
			}
		}
	}
	if len(p.Decisions) > 0 {
		t.section("decisions")
	}
	for _, d := range p.Decisions {
		t.line("- " + strings.TrimSpace(moment(&d.At)+": "+d.Action+" "+d.As) + ", " + d.Actor + oneLine(d.Note))
	}
	return t.b.String()
}

// proofKey names what a proof says at its head.
func proofKey(p *api.Proof) string {
	m := &p.Message
	if p.ProvesDispatch {
		for _, r := range m.Recipients {
			if r.Status != "sent" {
				return "partly"
			}
		}
		return "sent"
	}
	if p.Trial {
		return "trial"
	}
	switch m.Status {
	case "sent":
		return "resolved"
	case "uncertain":
		return "uncertain"
	}
	return "not_sent"
}

type proofWriter struct {
	lang string
	b    strings.Builder
}

func (t *proofWriter) word(key string) string { return texts.Word(t.lang, "proof", key) }

func (t *proofWriter) line(s string) {
	if t.b.Len() == 0 {
		t.b.WriteString("\ufeff")
	}
	t.b.WriteString(s + "\r\n")
}

func (t *proofWriter) field(key, value string) {
	if value != "" {
		t.line(t.word(key) + ": " + value)
	}
}

func (t *proofWriter) section(key string) {
	t.line("")
	t.line(t.word(key))
}

func moment(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.UTC().Format("2006-01-02 15:04:05 UTC")
}

func mailbox(name, address string) string {
	if name == "" {
		return address
	}
	return name + " <" + address + ">"
}

func said(r *api.Reply) string {
	if r == nil {
		return ""
	}
	code := ""
	if r.Code != 0 {
		code = strconv.Itoa(r.Code)
	}
	return " [" + strings.Join(strings.Fields(code+" "+r.Enhanced+" "+r.Text), " ") + "]"
}

func problemTitle(t *api.Trouble) string {
	if t == nil {
		return ""
	}
	return t.Title
}

// oneLine is a note behind what it is about.
func oneLine(note string) string {
	if note = strings.Join(strings.Fields(note), " "); note != "" {
		return ": " + note
	}
	return ""
}
