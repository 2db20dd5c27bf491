// Package sandbox is a transport that delivers nothing and keeps the latest mails to be looked at: for demos, for tests, and
// for integrators who build against the service.
//
// Every mail is sent, but for recipients with one of these local parts, at any domain, with or without a "+detail":
//
//	permanent@   this recipient is refused for good (550 5.1.1)
//	temporary@   this recipient is refused for now (451 4.7.1), again at each attempt
//	uncertain@   the mail is handed over and no answer comes
//	held@        the profile is held, as after a refused login; a check of the profile clears it
//	paused@      the profile is paused, as when its server is out of reach
//
// It follows the contract to the letter: commit is called before a mail is kept.
package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
)

// Name is the driver's name in the registry and in profiles.
const Name = "sandbox"

// Codes of the verdicts that a mail can only have here. The others are those of a real server.
const (
	CodeHeld          = "sandbox_held"
	CodePaused        = "sandbox_paused"
	CodeUncertain     = "sandbox_uncertain"
	codeUnknown       = "recipient_unknown"
	codeNoRecipients  = "envelope_invalid"
	codeNotRenderable = "content_unavailable"
)

// Config bounds what is kept.
type Config struct {
	MaxMails int   // 0: 200
	MaxBytes int64 // 0: 16 MiB; a mail that is larger alone is kept without its data
}

// Mail is a mail that was "sent".
type Mail struct {
	ID        int // counts from 1
	TenantID  string
	ProfileID string
	From      string
	To        []string
	Data      []byte // nil when it was too large to keep; not to be changed
	Size      int64
	At        time.Time
}

// Transport is the driver. It is safe for concurrent use.
type Transport struct {
	cfg Config

	mu    sync.Mutex
	mails []Mail // oldest first
	bytes int64
	count int
}

// New makes a driver with nothing in it.
func New(cfg Config) *Transport {
	if cfg.MaxMails <= 0 {
		cfg.MaxMails = 200
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 16 << 20
	}
	return &Transport{cfg: cfg}
}

// Info implements transport.Transport.
func (t *Transport) Info() transport.Info { return transport.Info{Name: Name} }

// Check implements transport.Transport. The sandbox is always ready.
func (t *Transport) Check(context.Context, *mail.Profile) []transport.CheckStep {
	return []transport.CheckStep{{Name: "connect", OK: true}, {Name: "sender", OK: true}}
}

// Open implements transport.Transport. It never fails.
func (t *Transport) Open(context.Context, *mail.Profile) (transport.Session, error) {
	return &session{t: t, alive: true}, nil
}

// Mails lists what is kept, oldest first.
func (t *Transport) Mails() []Mail {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Mail(nil), t.mails...)
}

// Count is how many mails were ever sent.
func (t *Transport) Count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

// keep takes a mail and drops the oldest ones that there is no room for. It returns the mail's number.
func (t *Transport) keep(m Mail) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	m.ID = t.count
	if int64(len(m.Data)) > t.cfg.MaxBytes {
		m.Data = nil
	}
	t.mails = append(t.mails, m)
	t.bytes += int64(len(m.Data))
	drop := 0
	for len(t.mails)-drop > t.cfg.MaxMails || t.bytes > t.cfg.MaxBytes {
		t.bytes -= int64(len(t.mails[drop].Data))
		t.mails[drop] = Mail{} // its data is not to stay alive in the array
		drop++
	}
	t.mails = t.mails[drop:]
	return m.ID
}

type session struct {
	t     *Transport
	alive bool
}

func (s *session) Alive() bool { return s.alive }

func (s *session) Close() error {
	s.alive = false
	return nil
}

// Send implements transport.Session.
func (s *session) Send(ctx context.Context, m *mail.Rendered, commit func(context.Context) error) mail.Verdict {
	v, wishes := play(m.Envelope.To)
	if v.Outcome != mail.OutcomeSent && !wishes.uncertain {
		return v
	}
	var data bytes.Buffer
	if m.Size() <= s.t.cfg.MaxBytes {
		data.Grow(int(m.Size()))
		if _, err := m.WriteTo(&data); err != nil && ctx.Err() == nil {
			return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: codeNotRenderable, Step: "body"}
		}
	}
	if ctx.Err() != nil || commit(ctx) != nil {
		return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: transport.CodeNotCommitted, Step: "body"}
	}
	kept := Mail{From: m.Envelope.From, To: wishes.accepted, Data: data.Bytes(), Size: m.Size(), At: time.Now()}
	if m.Profile != nil {
		kept.TenantID, kept.ProfileID = m.Profile.TenantID, m.Profile.ID
	}
	id := s.t.keep(kept)
	if wishes.uncertain {
		return v
	}
	v.Reply = mail.Reply{Code: 250, Enhanced: "2.0.0", Text: fmt.Sprintf("kept in the sandbox as %d", id)}
	v.Evidence = v.Reply.Text
	return v
}

// wishes are what a mail's recipients ask the sandbox to do.
type wishes struct {
	accepted  []string
	uncertain bool
}

// play makes the verdict that the recipients ask for.
func play(to []string) (mail.Verdict, wishes) {
	var w wishes
	v := mail.Verdict{Outcome: mail.OutcomeSent, Step: "final"}
	for _, address := range to {
		local, _, _ := strings.Cut(address, "@")
		local, _, _ = strings.Cut(local, "+")
		switch strings.ToLower(local) {
		case "held":
			return trouble(mail.OutcomePermanent, CodeHeld, "held by a recipient of the sandbox"), w
		case "paused":
			return trouble(mail.OutcomeTemporary, CodePaused, "paused by a recipient of the sandbox"), w
		case "uncertain":
			w.uncertain = true
			w.accepted = append(w.accepted, address)
		case "permanent":
			v.Recipients = append(v.Recipients, mail.RecipientVerdict{
				Address: address, Outcome: mail.OutcomePermanent, Code: codeUnknown,
				Reply: mail.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user in the sandbox"},
			})
		case "temporary":
			v.Recipients = append(v.Recipients, mail.RecipientVerdict{
				Address: address, Outcome: mail.OutcomeTemporary, Code: mail.CodeGreylisted,
				Reply: mail.Reply{Code: 451, Enhanced: "4.7.1", Text: "the sandbox does not take it now"},
			})
		default:
			w.accepted = append(w.accepted, address)
		}
	}
	switch {
	case len(to) == 0:
		v.Outcome, v.Code = mail.OutcomePermanent, codeNoRecipients
	case len(w.accepted) == 0:
		v.Scope, v.Step = mail.ScopeRecipient, "rcpt"
		for i, r := range v.Recipients {
			if i == 0 || r.Outcome == mail.OutcomeTemporary && v.Outcome != mail.OutcomeTemporary {
				v.Outcome, v.Code, v.Reply = r.Outcome, r.Code, r.Reply
			}
		}
	case w.uncertain:
		v.Outcome, v.Code = mail.OutcomeUncertain, CodeUncertain
		v.Reply.Text = "the sandbox does not say whether it has the mail"
		v.Evidence = v.Reply.Text
	}
	return v, w
}

func trouble(o mail.Outcome, code, text string) mail.Verdict {
	return mail.Verdict{Outcome: o, Scope: mail.ScopeProfile, Code: code, Step: "login", Reply: mail.Reply{Text: text}}
}
