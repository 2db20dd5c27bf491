package smtp

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
)

// session is a connection that is ready for mail.
type session struct {
	t        *Transport
	c        *conn
	settings *mail.SMTPSettings
	helo     string
	ext      extensions
	secure   bool // TLS

	next     *mail.Rendered // announced for after the current one
	begun    *transaction   // its commands were written together with the dot of the mail before, and not one reply was read
	begunFor *mail.Rendered

	alive bool
	used  bool // a mail went before: the connection may have died since
	reset bool // a transaction of a refused mail is to be taken back (RSET) before the next MAIL
}

// Alive implements transport.Session.
func (s *session) Alive() bool { return s.alive }

// Close implements transport.Session.
func (s *session) Close() error {
	if !s.alive {
		return nil
	}
	if s.begun != nil { // the server may be waiting for a body, and would take a QUIT for one
		s.cut()
		return nil
	}
	s.alive = false
	s.c.ask(s.t.timeouts.Quit, "QUIT") //nolint:errcheck // every mail has its verdict; this is courtesy
	return s.c.nc.Close()
}

// cut ends the session at once.
func (s *session) cut() {
	s.alive = false
	s.c.cut()
}

// Announce implements transport.Pipeliner.
func (s *session) Announce(next *mail.Rendered) { s.next = next }

// Send implements transport.Session.
func (s *session) Send(ctx context.Context, m *mail.Rendered, commit func(context.Context) error) mail.Verdict {
	defer s.Announce(nil)
	if !s.alive {
		return stale(stepMail)
	}
	if v, ok := s.refuse(m); ok {
		return v
	}
	stop := s.c.watch(ctx)
	v, ok := s.offer(ctx, m)
	if !stop() { // from here on only commit looks at ctx
		s.cut()
		return transport.NotCommitted(v.Step)
	}
	if !ok {
		s.used = true
		return v
	}
	s.used = true
	if err := commit(ctx); err != nil {
		s.cut()
		return transport.NotCommitted(stepBody)
	}
	final := s.finish()
	final.Recipients = v.Recipients
	return final
}

// refuse finds what the server would refuse by what it offered, and what would break the protocol.
func (s *session) refuse(m *mail.Rendered) (mail.Verdict, bool) {
	v := mail.Verdict{Outcome: permanent, Scope: mail.ScopeMessage, Step: stepMail}
	switch {
	case len(m.Envelope.To) == 0 || !validPath(m.Envelope.From) || !validPaths(m.Envelope.To):
		v.Code, v.Reply.Text = CodeEnvelopeInvalid, "the envelope cannot be sent"
	case s.ext.size > 0 && m.Size() > s.ext.size:
		v.Code = CodeMessageTooLarge
		v.Reply.Text = "the server takes " + strconv.FormatInt(s.ext.size, 10) + " bytes, the mail has " + strconv.FormatInt(m.Size(), 10)
	case m.NeedsSMTPUTF8() && !s.ext.utf8:
		v.Code, v.Reply.Text = CodeSMTPUTF8NotOffered, "the server does not offer SMTPUTF8"
	default:
		return v, false
	}
	return v, true
}

func validPaths(list []string) bool {
	for _, a := range list {
		if a == "" || !validPath(a) {
			return false
		}
	}
	return true
}

// validPath is a last look at an address that was checked long ago: nothing that could end the path or the line.
func validPath(a string) bool {
	for i := range len(a) {
		if c := a[i]; c <= ' ' || c == '<' || c == '>' || c == 0x7f {
			return false
		}
	}
	return true
}

// offer brings a mail to where only the dot is missing; ok says that it is there. Otherwise v is the verdict, and the session
// is cut unless it can take another mail.
func (s *session) offer(ctx context.Context, m *mail.Rendered) (v mail.Verdict, ok bool) {
	t := s.begun
	switch s.begun = nil; {
	case t != nil && s.begunFor != m:
		s.cut()
		return stale(stepMail), false
	case t == nil && s.used:
		if spoke, err := s.c.spoke(true); spoke || err != nil {
			s.cut()
			return stale(stepMail), false
		}
	}
	if t == nil {
		t = s.transaction(m)
	}
	if v, ok := s.run(t); !ok {
		s.cut()
		if t.ahead {
			v = stale(v.Step)
		}
		return v, false
	}
	if v, ok := s.outcome(t); !ok {
		if t.ahead && t.refusal != nil {
			// It may be about what came before, or about commands that come with a dot: a new connection tells.
			s.cut()
			return stale(v.Step), false
		}
		if t.goAhead {
			// The server waits for a body although nobody is to get it. Even an empty one would be taken for a mail.
			s.cut()
		}
		if v.Code == CodeProtocolError { // the two are out of step
			s.cut()
		}
		s.reset = true
		return v, false
	}
	if s.c.br.Buffered() > 0 { // a refusal, or what would be taken for the final reply
		v := s.early(nil)
		s.cut()
		return v, false
	}
	s.c.within(s.t.timeouts.body(m.Size()))
	_, err := m.WriteTo(s.c.bw)
	if err == nil {
		err = s.c.bw.Flush()
	}
	if err != nil {
		v := s.bodyFailure(ctx, err)
		s.cut()
		return v, false
	}
	return mail.Verdict{Step: stepBody, Recipients: t.refused}, true
}

// bodyFailure is the verdict on a body that broke off. A server that refuses it half-way may have said why.
func (s *session) bodyFailure(ctx context.Context, err error) mail.Verdict {
	if ctx.Err() != nil {
		return transport.NotCommitted(stepBody)
	}
	if !s.c.broken() {
		return mail.Verdict{
			Outcome: temporary, Scope: mail.ScopeMessage, Code: CodeContentUnavailable, Step: stepBody,
			Reply: mail.Reply{Text: "an attachment could not be read"},
		}
	}
	if !isTimeout(err) {
		s.c.raw.SetReadDeadline(time.Now().Add(s.t.timeouts.Quit)) //nolint:errcheck // read tells
		if r, readErr := s.c.read(); readErr == nil && r.code >= 400 {
			return classify(stepBody, s.c.shown(r))
		}
	}
	return lineFailure(stepBody, err)
}

// finish ends the mail and gives the server's word on it.
func (s *session) finish() mail.Verdict {
	// A connection that ended while commit was at work is known to have ended before the dot.
	if spoke, err := s.c.spoke(false); spoke || err != nil {
		v := s.early(err)
		s.cut()
		return v
	}
	s.c.within(s.t.timeouts.Final)
	s.c.bw.WriteString(".\r\n") //nolint:errcheck // Flush tells
	s.beginNext()
	whole := s.c.bw.Buffered()
	if err := s.c.bw.Flush(); err != nil {
		_, secure := s.c.nc.(*tls.Conn)
		step := stepFinal
		if !secure && s.c.bw.Buffered() == whole { // not a byte of it left
			step = stepBody
		}
		s.cut()
		return lineFailure(step, err)
	}
	r, err := s.c.read()
	if err != nil {
		s.cut()
		return lineFailure(stepFinal, err)
	}
	if r.code == 421 || r.code/100 == 3 {
		s.cut()
	}
	shown := s.c.shown(r)
	if r.ok() {
		return mail.Verdict{Outcome: mail.OutcomeSent, Step: stepFinal, Reply: shown, Evidence: shown.Text}
	}
	return classify(stepFinal, shown)
}

// maxAhead is how many commands of the next mail may go with a dot: with it they always fit into the buffer, and so into one
// write.
const maxAhead = 30

// beginNext writes the announced mail's commands behind the dot. RFC 2920 section 3.1: the end of a message may be the first
// "command" of a group that begins the next message.
func (s *session) beginNext() {
	if s.next == nil || !s.ext.pipelining || s.t.deaf.has(s.server()) {
		return
	}
	if _, refused := s.refuse(s.next); refused {
		return
	}
	t := s.transaction(s.next)
	if t.total() > maxAhead {
		return
	}
	t.ahead = true
	for ; t.written < t.total(); t.written++ {
		s.write(t)
	}
	s.begun, s.begunFor = t, s.next
}

// server names the server among all.
func (s *session) server() string {
	return net.JoinHostPort(s.settings.Host, strconv.Itoa(s.settings.Port))
}

// early is the verdict on a server that hung up (err) or spoke before the dot.
func (s *session) early(err error) mail.Verdict {
	if err != nil {
		return lineFailure(stepBody, err)
	}
	s.c.within(s.t.timeouts.Quit)
	r, err := s.c.read()
	if err != nil {
		return lineFailure(stepBody, err)
	}
	if r.code >= 400 {
		return classify(stepBody, s.c.shown(r))
	}
	return lineFailure(stepBody, errProtocol)
}

// probeID is no message's: a profile that gives every mail a return path of its own is asked about one like those.
const probeID = "msg_00000000000000000000000000"

// probe asks whether the server takes the profile's sender, without sending anything.
func (s *session) probe(ctx context.Context, p *mail.Profile) mail.Verdict {
	self, _ := mail.EnvelopeForm(p.From.Address)
	t := &transaction{from: p.ReturnPath(probeID), to: []string{self}}
	if !validPath(t.from) || !validPath(self) {
		return mail.Verdict{Outcome: permanent, Scope: mail.ScopeProfile, Code: CodeEnvelopeInvalid, Step: stepMail}
	}
	stop := s.c.watch(ctx)
	defer stop()
	if v, ok := s.run(t); !ok {
		s.cut()
		return v
	}
	s.c.ask(s.t.timeouts.Command, "RSET") //nolint:errcheck // QUIT or the end of the connection takes it back as well
	switch {
	case t.refusal != nil:
		return *t.refusal
	case t.accepted == 0 && t.refused[0].Outcome == permanent:
		r := t.refused[0]
		return mail.Verdict{Outcome: permanent, Scope: mail.ScopeProfile, Code: r.Code, Step: stepRcpt, Reply: r.Reply}
	}
	return mail.Verdict{Outcome: mail.OutcomeSent}
}
