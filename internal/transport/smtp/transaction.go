package smtp

import (
	"errors"
	"strconv"
	"strings"

	"github.com/winprest/facteur/internal/mail"
)

// maxGroup is how many commands are sent before their replies are read. RFC 2920 section 3.1: both sides could wait for ever
// if neither reads what the other writes; this many fit into any TCP window.
const maxGroup = 100

// transaction is one mail's way from MAIL to the reply to DATA.
type transaction struct {
	from, params string // of MAIL
	to           []string
	notify       string // parameter of RCPT
	reset, data  int    // commands of that kind: 0 or 1
	ahead        bool   // it came with the dot of the mail before

	written, read int // commands
	refusal       *mail.Verdict
	refused       []mail.RecipientVerdict
	accepted      int
	goAhead       bool // 354
}

func (t *transaction) total() int { return t.reset + 1 + len(t.to) + t.data }

// pointless says that no command of the transaction would still do anything.
func (t *transaction) pointless() bool {
	return t.refusal != nil || t.accepted == 0 && t.read >= t.reset+1+len(t.to)
}

// transaction is what to say for a mail, with the parameters that the server offered.
func (s *session) transaction(m *mail.Rendered) *transaction {
	t := &transaction{from: m.Envelope.From, to: m.Envelope.To, data: 1}
	if s.reset {
		t.reset = 1
	}
	var params []byte
	if s.ext.hasSize {
		params = strconv.AppendInt(append(params, " SIZE="...), m.Size(), 10) // RFC 1870
	}
	if m.NeedsSMTPUTF8() {
		params = append(params, " SMTPUTF8"...) // RFC 6531 section 3.4
		if s.ext.eightBit {
			params = append(params, " BODY=8BITMIME"...)
		}
	}
	if s.settings.DSN && s.ext.dsn {
		params = append(params, " RET=HDRS"...) // RFC 3461 section 4
		if id := strings.Trim(m.Content.MessageIDHeader, "<>"); id != "" && len(id) <= 100 {
			params = append(append(params, " ENVID="...), xtext(id)...)
		}
		t.notify = " NOTIFY=FAILURE"
	}
	t.params = string(params)
	return t
}

// xtext encodes a parameter's value (RFC 3461 section 4).
func xtext(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			b.Write([]byte{'+', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// run has the transaction's commands answered: in groups when the server takes that, else one by one. It ends early when the
// rest would be pointless. When the connection is of no use any more it returns false and the verdict.
func (s *session) run(t *transaction) (mail.Verdict, bool) {
	group := 1
	if s.ext.pipelining {
		group = maxGroup
	}
	for t.read < t.total() && !t.pointless() {
		if t.read == t.written && s.c.br.Buffered() > 0 { // an answer before the question
			return s.lost(t, errProtocol), false
		}
		s.c.within(s.t.timeouts.Command)
		for n := min(t.total(), t.written+group); t.written < n; t.written++ {
			s.write(t)
		}
		if err := s.c.bw.Flush(); err != nil {
			return s.lost(t, err), false
		}
		for t.read < t.written {
			r, err := s.c.read()
			if err != nil {
				return s.lost(t, err), false
			}
			if v, ok := s.note(t, r); !ok {
				return v, false
			}
			t.read++
		}
	}
	return mail.Verdict{}, true
}

// step names the command that the next reply is for.
func (t *transaction) step() string {
	switch i := t.read - t.reset; {
	case i <= 0:
		return stepMail
	case i <= len(t.to):
		return stepRcpt
	}
	return stepData
}

// lost is the verdict on a connection that fails during the transaction. A kept connection that ends before its first reply
// was dead already.
func (s *session) lost(t *transaction, err error) mail.Verdict {
	if t.ahead && t.read == 0 && isTimeout(err) && (s.c.ctx == nil || s.c.ctx.Err() == nil) {
		s.t.deaf.add(s.server())
	}
	if s.used && t.read == 0 && !errors.Is(err, errProtocol) {
		return stale(stepMail)
	}
	return lineFailure(t.step(), err)
}

// write puts the next command into the buffer.
func (s *session) write(t *transaction) {
	switch i := t.written - t.reset; {
	case i < 0:
		s.c.command("RSET")
	case i == 0:
		s.c.command("MAIL FROM:<", t.from, ">", t.params)
	case i <= len(t.to):
		s.c.command("RCPT TO:<", t.to[i-1], ">", t.notify)
	default:
		s.c.command("DATA")
	}
}

// note takes the reply to the next command. It returns false and the verdict when the server ends the session with it.
func (s *session) note(t *transaction, r reply) (mail.Verdict, bool) {
	step := t.step()
	if r.code == 421 {
		v := classify(step, s.c.shown(r))
		if s.used { // servers close long sessions so
			v = stale(step)
		}
		return v, false
	}
	i := t.read - t.reset
	switch {
	case r.code/100 == 3 && (step != stepData || r.code != 354), step == stepData && r.ok():
		return lineFailure(step, errProtocol), false
	case i < 0:
		s.reset = !r.ok()
	case r.ok() && step == stepRcpt:
		t.accepted++
	case r.code == 354:
		t.goAhead = true
	case r.ok():
	case step == stepRcpt:
		if t.refusal == nil {
			s.refuseRecipient(t, t.to[i-1], r)
		}
	case t.refusal == nil && (step == stepMail || t.accepted > 0):
		v := classify(step, s.c.shown(r))
		t.refusal = &v
	}
	return mail.Verdict{}, true
}

// refuseRecipient notes a refusal of RCPT. Some are about the whole profile, whichever recipient they answer.
func (s *session) refuseRecipient(t *transaction, address string, r reply) {
	v := classify(stepRcpt, s.c.shown(r))
	if v.Scope != mail.ScopeRecipient {
		t.refusal = &v
		return
	}
	t.refused = append(t.refused, mail.RecipientVerdict{Address: address, Outcome: v.Outcome, Code: v.Code, Reply: v.Reply})
}

// outcome says whether the body is to follow, and if not the verdict.
func (s *session) outcome(t *transaction) (mail.Verdict, bool) {
	if t.refusal != nil {
		v := *t.refusal
		if v.Scope != mail.ScopeProfile {
			v.Recipients = t.refused
		}
		return v, false
	}
	if t.accepted > 0 && t.goAhead {
		return mail.Verdict{}, true
	}
	v := mail.Verdict{Outcome: permanent, Scope: mail.ScopeRecipient, Step: stepRcpt, Recipients: t.refused}
	for i, r := range t.refused {
		if i == 0 || r.Outcome == temporary && v.Outcome != temporary {
			v.Outcome, v.Code, v.Reply = r.Outcome, r.Code, r.Reply
		}
	}
	return v, false
}
