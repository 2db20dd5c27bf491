package smtp_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/dial"
	"github.com/winprest/facteur/internal/transport/smtp"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

func commit(context.Context) error { return nil }

func open(t *testing.T, p *mail.Profile) transport.Session {
	t.Helper()
	s, err := newTransport().Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// log is a hook that notes the commands and acts as another says.
type log struct {
	mu    sync.Mutex
	lines []string
	act   func(tt.Step) tt.Action
}

func (l *log) hook(s tt.Step) tt.Action {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimSpace(s.Verb+" "+s.Arg))
	if l.act != nil {
		return l.act(s)
	}
	return tt.Action{}
}

func (l *log) has(line string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(s string) bool { return strings.HasPrefix(s, line) })
}

// What the server says at each step of a mail, and what becomes of the mail and the session.
func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		verb    string
		action  tt.Action
		outcome mail.Outcome
		scope   mail.Scope
		code    string
		step    string
		alive   bool
	}{
		{"MAIL", tt.Action{Reply: "530 5.7.0 log in"}, mail.OutcomePermanent, mail.ScopeProfile, smtp.CodeLoginRequired, "mail", true},
		{"MAIL", tt.Action{Reply: "421 4.3.2 going down", Drop: true}, mail.OutcomeTemporary, mail.ScopeProfile, smtp.CodeServiceUnavailable, "mail", false},
		{"MAIL", tt.Action{Drop: true}, mail.OutcomeTemporary, mail.ScopeProfile, smtp.CodeConnectionLost, "mail", false},
		{"MAIL", tt.Action{Reply: "what do you mean"}, mail.OutcomeTemporary, mail.ScopeProfile, smtp.CodeProtocolError, "mail", false},
		{"MAIL", tt.Action{Reply: "354 too early"}, mail.OutcomeTemporary, mail.ScopeProfile, smtp.CodeProtocolError, "mail", false},
		{"RCPT", tt.Action{Reply: "421 4.7.0 too much"}, mail.OutcomeTemporary, mail.ScopeProfile, smtp.CodeServiceUnavailable, "rcpt", false},
		{"RCPT", tt.Action{Drop: true}, mail.OutcomeTemporary, mail.ScopeMessage, smtp.CodeConnectionLost, "rcpt", false},
		{"RCPT", tt.Action{Reply: "550 5.1.1 unknown"}, mail.OutcomePermanent, mail.ScopeRecipient, smtp.CodeRecipientUnknown, "rcpt", true},
		{"RCPT", tt.Action{Reply: "451 4.7.1 greylisted"}, mail.OutcomeTemporary, mail.ScopeRecipient, mail.CodeGreylisted, "rcpt", true},
		{"RCPT", tt.Action{Reply: "530 5.7.0 log in"}, mail.OutcomePermanent, mail.ScopeProfile, smtp.CodeLoginRequired, "rcpt", true},
		{"RCPT", tt.Action{Reply: "503 5.5.1 what"}, mail.OutcomeTemporary, mail.ScopeMessage, smtp.CodeProtocolError, "rcpt", false},
		{"DATA", tt.Action{Reply: "554 5.7.1 no"}, mail.OutcomePermanent, mail.ScopeMessage, smtp.CodeContentRefused, "data", true},
		{"DATA", tt.Action{Reply: "451 4.3.0 later"}, mail.OutcomeTemporary, mail.ScopeMessage, smtp.CodeMessageDeferred, "data", true},
		{"DATA", tt.Action{Reply: "250 fine"}, mail.OutcomeTemporary, mail.ScopeMessage, smtp.CodeProtocolError, "data", false},
		{"DATA", tt.Action{Reply: "354 go\r\n250 and taken"}, mail.OutcomeTemporary, mail.ScopeMessage, smtp.CodeProtocolError, "body", false},
		{"DATA", tt.Action{Drop: true}, mail.OutcomeTemporary, mail.ScopeMessage, smtp.CodeConnectionLost, "data", false},
		{"DOT", tt.Action{Drop: true}, mail.OutcomeUncertain, mail.ScopeMessage, smtp.CodeOutcomeUnknown, "final", false},
		{"DOT", tt.Action{Reply: "250-half a reply", Drop: true}, mail.OutcomeUncertain, mail.ScopeMessage, smtp.CodeOutcomeUnknown, "final", false},
		{"DOT", tt.Action{Reply: "999 what"}, mail.OutcomeUncertain, mail.ScopeMessage, smtp.CodeOutcomeUnknown, "final", false},
		{"DOT", tt.Action{Reply: "354 more"}, mail.OutcomeUncertain, mail.ScopeMessage, smtp.CodeOutcomeUnknown, "final", false},
		{"DOT", tt.Action{Reply: "552 5.3.4 too big"}, mail.OutcomePermanent, mail.ScopeMessage, smtp.CodeMessageTooLarge, "final", true},
		{"DOT", tt.Action{Reply: "554 5.7.1 spam"}, mail.OutcomePermanent, mail.ScopeMessage, smtp.CodeContentRefused, "final", true},
		{"DOT", tt.Action{Reply: "452 4.3.1 full"}, mail.OutcomeTemporary, mail.ScopeMessage, smtp.CodeStorageFull, "final", true},
		{"DOT", tt.Action{Reply: "421 4.3.2 down", Drop: true}, mail.OutcomeTemporary, mail.ScopeMessage, smtp.CodeServiceUnavailable, "final", false},
		{"DOT", tt.Action{Reply: "259 odd but yes"}, mail.OutcomeSent, "", "", "final", true},
		{"QUIT", tt.Action{Drop: true}, mail.OutcomeSent, "", "", "final", true},
	} {
		for _, hide := range [][]string{nil, {"PIPELINING"}} {
			s := tt.StartSMTP(t, tt.SMTPConfig{Hook: at(test.verb, test.action), Hide: hide})
			session := open(t, profile(s))
			v := session.Send(t.Context(), tt.Message(t, profile(s), "a@zoe.example", "b@zoe.example"), commit)
			if v.Outcome != test.outcome || v.Scope != test.scope || v.Code != test.code || v.Step != test.step || session.Alive() != test.alive {
				t.Errorf("%s %+v, hiding %v: alive %v, verdict %+v", test.verb, test.action, hide, session.Alive(), v)
			}
			if v.Outcome != mail.OutcomeSent && v.Reply.IsZero() {
				t.Errorf("%s %+v: the verdict has no words", test.verb, test.action)
			}
			session.Close()
		}
	}
}

// A session takes the next mail after a refused one, with the refused one's transaction taken back.
func TestGoesOnAfterRefusal(t *testing.T) {
	for _, verb := range []string{"MAIL", "RCPT", "DATA", "DOT"} {
		for _, hide := range [][]string{nil, {"PIPELINING"}} {
			s := tt.StartSMTP(t, tt.SMTPConfig{Hide: hide, Hook: func(s tt.Step) tt.Action {
				if s.Verb == verb && s.N == 1 {
					return tt.Action{Reply: "550 5.2.0 not this one"}
				}
				return tt.Action{}
			}})
			session := open(t, profile(s))
			if v := session.Send(t.Context(), tt.Message(t, profile(s), "a@zoe.example"), commit); v.Outcome != mail.OutcomePermanent {
				t.Errorf("%s: %+v", verb, v)
			}
			for range 2 {
				if v := session.Send(t.Context(), tt.Message(t, profile(s), "b@zoe.example"), commit); v.Outcome != mail.OutcomeSent {
					t.Errorf("%s, hiding %v: then %+v", verb, hide, v)
				}
			}
			if s.Accepted() != 2 || s.Connections() != 1 {
				t.Errorf("%s: accepted %d over %d connections", verb, s.Accepted(), s.Connections())
			}
			for _, m := range s.Mails() {
				if fmt.Sprint(m.To) != "[b@zoe.example]" {
					t.Errorf("%s: to %v", verb, m.To)
				}
			}
		}
	}
}

// A server that says 354 although it took no recipient, or no sender, gets no mail, not even an empty one.
func TestCutsWhenNobodyIsToGetTheBody(t *testing.T) {
	for _, verb := range []string{"MAIL", "RCPT"} {
		l := &log{act: func(s tt.Step) tt.Action {
			switch s.Verb {
			case verb:
				return tt.Action{Reply: "550 5.1.1 no"}
			case "DATA":
				return tt.Action{Reply: "354 go"}
			}
			return tt.Action{}
		}}
		s := tt.StartSMTP(t, tt.SMTPConfig{Hook: l.hook})
		session := open(t, profile(s))
		v := session.Send(t.Context(), tt.Message(t, profile(s), "a@zoe.example"), func(context.Context) error {
			t.Error("commit was called")
			return nil
		})
		session.Close()
		s.Close()
		if v.Outcome != mail.OutcomePermanent || session.Alive() || l.has("DOT") || s.Accepted() != 0 {
			t.Errorf("%s: alive %v, %v, verdict %+v", verb, session.Alive(), l.lines, v)
		}
	}
}

func TestRecipients(t *testing.T) {
	replies := map[string]string{
		"TO:<gone@zoe.example>": "550 5.1.1 gone", "TO:<grey@zoe.example>": "451 4.7.1 greylisted", "TO:<full@zoe.example>": "552 5.2.2 full",
	}
	s := tt.StartSMTP(t, tt.SMTPConfig{Hook: func(s tt.Step) tt.Action { return tt.Action{Reply: replies[s.Arg]} }})
	session := open(t, profile(s))
	v := session.Send(t.Context(), tt.Message(t, profile(s), "gone@zoe.example", "a@zoe.example", "grey@zoe.example", "b@zoe.example", "full@zoe.example"), commit)
	want := []mail.RecipientVerdict{
		{Address: "gone@zoe.example", Outcome: mail.OutcomePermanent, Code: smtp.CodeRecipientUnknown, Reply: mail.Reply{Code: 550, Enhanced: "5.1.1", Text: "gone"}},
		{Address: "grey@zoe.example", Outcome: mail.OutcomeTemporary, Code: mail.CodeGreylisted, Reply: mail.Reply{Code: 451, Enhanced: "4.7.1", Text: "greylisted"}},
		{Address: "full@zoe.example", Outcome: mail.OutcomePermanent, Code: smtp.CodeMailboxFull, Reply: mail.Reply{Code: 552, Enhanced: "5.2.2", Text: "full"}},
	}
	if v.Outcome != mail.OutcomeSent || !slices.Equal(v.Recipients, want) {
		t.Errorf("verdict %+v", v)
	}
	if m := s.Mails(); len(m) != 1 || fmt.Sprint(m[0].To) != "[a@zoe.example b@zoe.example]" {
		t.Errorf("mails %+v", m)
	}
	v = session.Send(t.Context(), tt.Message(t, profile(s), "gone@zoe.example", "grey@zoe.example"), commit)
	if v.Outcome != mail.OutcomeTemporary || v.Scope != mail.ScopeRecipient || v.Code != mail.CodeGreylisted || len(v.Recipients) != 2 {
		t.Errorf("verdict %+v", v)
	}
}

// More recipients than one group of commands.
func TestManyRecipients(t *testing.T) {
	s := tt.StartSMTP(t, tt.SMTPConfig{})
	var to []string
	for i := range 350 {
		to = append(to, fmt.Sprintf("r%d@zoe.example", i))
	}
	if v := open(t, profile(s)).Send(t.Context(), tt.Message(t, profile(s), to...), commit); v.Outcome != mail.OutcomeSent {
		t.Errorf("verdict %+v", v)
	}
	if m := s.Mails(); len(m) != 1 || !slices.Equal(m[0].To, to) {
		t.Errorf("mails %+v", m)
	}
}

// A kept connection that died is found out before the mail is at risk, and only then.
func TestStale(t *testing.T) {
	second := func(a tt.Action) func(tt.Step) tt.Action {
		return func(s tt.Step) tt.Action {
			if s.Verb == "MAIL" && s.N == 2 {
				return a
			}
			return tt.Action{}
		}
	}
	for name, hook := range map[string]func(tt.Step) tt.Action{
		"hung up while idle": func(s tt.Step) tt.Action {
			return tt.Action{Drop: s.Verb == "DOT", Accept: s.Verb == "DOT", Reply: said(s, "250 ok")}
		},
		"421 while idle":  func(s tt.Step) tt.Action { return tt.Action{Reply: said(s, "250 ok\r\n421 4.4.2 idle")} },
		"hung up at MAIL": second(tt.Action{Drop: true}),
		"421 at MAIL":     second(tt.Action{Reply: "421 4.7.0 enough", Drop: true}),
		"421 at the recipient": func(s tt.Step) tt.Action {
			return tt.Action{Reply: map[bool]string{true: "421 4.7.0 enough"}[s.Verb == "RCPT" && s.N == 2]}
		},
	} {
		for _, hide := range [][]string{nil, {"PIPELINING"}} {
			s := tt.StartSMTP(t, tt.SMTPConfig{Hook: hook, Hide: hide})
			session := open(t, profile(s))
			if v := session.Send(t.Context(), tt.Message(t, profile(s), "a@zoe.example"), commit); v.Outcome != mail.OutcomeSent {
				t.Fatalf("%s: %+v", name, v)
			}
			v := session.Send(t.Context(), tt.Message(t, profile(s), "a@zoe.example"), func(context.Context) error {
				t.Errorf("%s: commit was called", name)
				return nil
			})
			if v.Code != transport.CodeStale || v.Outcome != mail.OutcomeTemporary || session.Alive() || s.Accepted() != 1 {
				t.Errorf("%s: alive %v, verdict %+v", name, session.Alive(), v)
			}
		}
	}
}

func said(s tt.Step, reply string) string {
	if s.Verb == "DOT" {
		return reply
	}
	return ""
}

// A server that hangs up while commit is at work has not got the mail: that is known, not uncertain.
func TestHangUpDuringCommit(t *testing.T) {
	for name, cfg := range map[string]tt.SMTPConfig{"plain": {}, "tls": {ImplicitTLS: true}} {
		s := tt.StartSMTP(t, cfg)
		p := profile(s)
		if cfg.ImplicitTLS {
			p.SMTP.Security, p.SMTP.CACertificates = mail.SecurityTLS, s.CA()
		}
		session := open(t, p)
		v := session.Send(t.Context(), tt.Message(t, p, "a@zoe.example"), func(context.Context) error { return s.Close() })
		if v.Outcome != mail.OutcomeTemporary || v.Code != smtp.CodeConnectionLost || v.Step != "body" || session.Alive() {
			t.Errorf("%s: verdict %+v", name, v)
		}
	}
}

// A server that refuses in the middle of a body that it does not read to its end: more than the line holds, so it cannot be
// written.
func TestRefusedInTheBody(t *testing.T) {
	s := tt.StartSMTP(t, tt.SMTPConfig{Hook: at("BODY", tt.Action{Reply: "552 5.3.4 too big", Drop: true})})
	p := profile(s)
	session := open(t, p)
	small := tt.Message(t, p, "a@zoe.example")
	c := *small.Content
	c.Text = strings.Repeat("Voici votre facture, et encore une ligne.\n", 1<<20)
	large, err := mail.Render(t.Context(), &c, p, small.Envelope, nil)
	if err != nil {
		t.Fatal(err)
	}
	v := session.Send(t.Context(), large, func(context.Context) error {
		t.Error("commit was called")
		return nil
	})
	// Either the words arrive or the reset is faster; both are known to be before the dot.
	if v.Outcome != mail.OutcomePermanent && v.Outcome != mail.OutcomeTemporary || v.Step != "body" || s.Accepted() != 0 {
		t.Errorf("verdict %+v", v)
	}
}

// The same with a body that the line holds: the refusal meets the mail before its dot or just after it, and then a reset may
// take the words away.
func TestRefusedBesideTheDot(t *testing.T) {
	s := tt.StartSMTP(t, tt.SMTPConfig{Hook: at("BODY", tt.Action{Reply: "552 5.3.4 too big", Drop: true})})
	for range 200 {
		session := open(t, profile(s))
		v := session.Send(t.Context(), tt.Message(t, profile(s), "a@zoe.example"), commit)
		switch {
		case v.Outcome == mail.OutcomePermanent && v.Code == smtp.CodeMessageTooLarge && (v.Step == "body" || v.Step == "final"):
		case v.Outcome == mail.OutcomeTemporary && v.Step == "body":
		case v.Outcome == mail.OutcomeUncertain && v.Step == "final":
		default:
			t.Errorf("verdict %+v", v)
		}
	}
	if s.Accepted() != 0 {
		t.Errorf("%d mails accepted", s.Accepted())
	}
}

func TestHang(t *testing.T) {
	for verb, want := range map[string]mail.Outcome{
		"CONNECT": mail.OutcomeTemporary, "EHLO": mail.OutcomeTemporary, "MAIL": mail.OutcomeTemporary, "RCPT": mail.OutcomeTemporary,
		"DATA": mail.OutcomeTemporary, "DOT": mail.OutcomeUncertain,
	} {
		s := tt.StartSMTP(t, tt.SMTPConfig{Hook: at(verb, tt.Action{Hang: true})})
		const soon = 50 * time.Millisecond
		tr := smtp.New(smtp.Config{
			Dialer:   dial.New(dial.Policy{Allow: dial.Loopback()}),
			Timeouts: smtp.Timeouts{Greeting: soon, Command: soon, Body: soon, Final: soon},
		})
		session, err := tr.Open(t.Context(), profile(s))
		var v mail.Verdict
		var oe *transport.Error
		if errors.As(err, &oe) {
			v = oe.Verdict
		} else {
			v = session.Send(t.Context(), tt.Message(t, profile(s), "a@zoe.example"), commit)
			if session.Alive() {
				t.Errorf("%s: alive", verb)
			}
		}
		if v.Outcome != want || v.Code != smtp.CodeTimeout && v.Code != smtp.CodeOutcomeUnknown {
			t.Errorf("%s: verdict %+v", verb, v)
		}
	}
}

// The end of the context breaks off a wait before commit.
func TestCancelWhileWaiting(t *testing.T) {
	for _, verb := range []string{"CONNECT", "EHLO", "MAIL", "DATA"} {
		ctx, cancel := context.WithCancel(t.Context())
		s := tt.StartSMTP(t, tt.SMTPConfig{Hook: func(s tt.Step) tt.Action {
			if s.Verb == verb {
				cancel()
				return tt.Action{Hang: true}
			}
			return tt.Action{}
		}})
		session, err := smtp.New(smtp.Config{Dialer: dial.New(dial.Policy{Allow: dial.Loopback()})}).Open(ctx, profile(s))
		var v mail.Verdict
		var oe *transport.Error
		if errors.As(err, &oe) {
			v = oe.Verdict
		} else {
			v = session.Send(ctx, tt.Message(t, profile(s), "a@zoe.example"), commit)
		}
		if v.Code != transport.CodeNotCommitted || v.Outcome != mail.OutcomeTemporary {
			t.Errorf("%s: verdict %+v", verb, v)
		}
		cancel()
	}
}

func TestParameters(t *testing.T) {
	l := &log{}
	s := tt.StartSMTP(t, tt.SMTPConfig{Hook: l.hook})
	p := profile(s)
	p.SMTP.DSN, p.SMTP.EnvelopeFrom, p.SMTP.HELO = true, "bounces@etudes.example", "büro.example"
	m := tt.Message(t, p, "zoë@zoe.example")
	if v := open(t, p).Send(t.Context(), m, commit); v.Outcome != mail.OutcomeSent {
		t.Fatalf("verdict %+v", v)
	}
	id := strings.Trim(m.Content.MessageIDHeader, "<>")
	for _, want := range []string{
		"EHLO xn--bro-hoa.example",
		fmt.Sprintf("MAIL FROM:<bounces@etudes.example> SIZE=%d SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=%s", m.Size(), id),
		"RCPT TO:<zoë@zoe.example> NOTIFY=FAILURE",
	} {
		if !l.has(want) {
			t.Errorf("%q was not said; %q", want, l.lines)
		}
	}

	bare := &log{}
	s = tt.StartSMTP(t, tt.SMTPConfig{Hook: bare.hook, NoEHLO: true})
	p = profile(s)
	p.SMTP.DSN = true
	if v := open(t, p).Send(t.Context(), tt.Message(t, p, "a@zoe.example"), commit); v.Outcome != mail.OutcomeSent {
		t.Fatalf("verdict %+v", v)
	}
	if !slices.Contains(bare.lines, "HELO facteur.example") || !slices.Contains(bare.lines, "MAIL FROM:<"+user+">") || !slices.Contains(bare.lines, "RCPT TO:<a@zoe.example>") {
		t.Errorf("said %q", bare.lines)
	}
}

// What the server's offer rules out is refused without a word, and the session stays.
func TestRefusedBeforeMAIL(t *testing.T) {
	s := tt.StartSMTP(t, tt.SMTPConfig{Size: 100, Hide: []string{"SMTPUTF8"}})
	session := open(t, profile(s))
	v := session.Send(t.Context(), tt.Message(t, profile(s), "a@zoe.example"), commit)
	if v.Code != smtp.CodeMessageTooLarge || v.Outcome != mail.OutcomePermanent || v.Scope != mail.ScopeMessage {
		t.Errorf("verdict %+v", v)
	}
	s = tt.StartSMTP(t, tt.SMTPConfig{Hide: []string{"SMTPUTF8"}})
	session = open(t, profile(s))
	v = session.Send(t.Context(), tt.Message(t, profile(s), "zoë@zoe.example"), commit)
	if v.Code != smtp.CodeSMTPUTF8NotOffered || v.Outcome != mail.OutcomePermanent {
		t.Errorf("verdict %+v", v)
	}
	m := tt.Message(t, profile(s), "a@zoe.example")
	for _, to := range [][]string{nil, {""}, {"a@zoe.example>\r\nRCPT TO:<b@zoe.example"}, {"a b@zoe.example"}, {"<a@zoe.example>"}} {
		m.Envelope.To = to
		if v := session.Send(t.Context(), m, commit); v.Code != smtp.CodeEnvelopeInvalid || v.Outcome != mail.OutcomePermanent {
			t.Errorf("%q: verdict %+v", to, v)
		}
	}
	if !session.Alive() || s.Accepted() != 0 {
		t.Error("the session is gone, or a mail went")
	}
	m.Envelope.To = []string{"a@zoe.example"}
	if v := session.Send(t.Context(), m, commit); v.Outcome != mail.OutcomeSent {
		t.Errorf("verdict %+v", v)
	}
}

// The bytes that arrive are those that were rendered.
func TestBytes(t *testing.T) {
	s := tt.StartSMTP(t, tt.SMTPConfig{})
	session := open(t, profile(s))
	for range 2 {
		m := tt.Message(t, profile(s), "a@zoe.example")
		var want strings.Builder
		if _, err := m.WriteTo(&want); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(want.String(), "\n.") {
			t.Fatal("a line begins with a dot")
		}
		if v := session.Send(t.Context(), m, commit); v.Outcome != mail.OutcomeSent || !strings.HasPrefix(v.Evidence, "ok: queued as ") {
			t.Errorf("verdict %+v", v)
		}
		mails := s.Mails()
		if got := mails[len(mails)-1]; string(got.Data) != want.String() || int64(got.Size) != m.Size() || got.MessageID != m.Content.MessageIDHeader {
			t.Errorf("arrived: %q", got.Data)
		}
	}
	if s.Duplicates() != 0 || len(s.ByMessageID()) != 2 {
		t.Errorf("duplicates %d, by id %v", s.Duplicates(), s.ByMessageID())
	}
}
