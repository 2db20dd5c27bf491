package smtp_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/dial"
	"github.com/winprest/facteur/internal/transport/smtp"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

// announcing is a commit that announces the next mail.
func announcing(s transport.Session, next *mail.Rendered) func(context.Context) error {
	return func(context.Context) error {
		s.(transport.Pipeliner).Announce(next)
		return nil
	}
}

// The next mail's envelope goes with the dot of the one before it, where the server takes that, and its body does not.
func TestNextEnvelopeGoesWithTheDot(t *testing.T) {
	for _, test := range []struct {
		name string
		hide []string
	}{
		{"pipelining", nil},
		{"one by one", []string{"PIPELINING"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := make(chan struct{})
			s := tt.StartSMTP(t, tt.SMTPConfig{Hide: test.hide, Hook: func(st tt.Step) tt.Action {
				if st.Verb == "MAIL" && st.N == 2 {
					close(asked)
				}
				return tt.Action{}
			}})
			p := profile(s)
			session := open(t, p)
			first, second := tt.Message(t, p, "a@zoe.example"), tt.Message(t, p, "b@zoe.example")
			if v := session.Send(t.Context(), first, announcing(session, second)); v.Outcome != mail.OutcomeSent {
				t.Fatalf("%+v", v)
			}
			if test.hide == nil {
				<-asked // without anybody having called Send
			}
			if v := session.Send(t.Context(), second, commit); v.Outcome != mail.OutcomeSent {
				t.Fatalf("%+v", v)
			}
			if s.Accepted() != 2 || s.Connections() != 1 {
				t.Errorf("accepted %d over %d connections", s.Accepted(), s.Connections())
			}
			for i, m := range s.Mails() {
				if want := []string{"a@zoe.example", "b@zoe.example"}[i]; !slices.Equal(m.To, []string{want}) {
					t.Errorf("mail %d went to %q", i, m.To)
				}
			}
		})
	}
}

// An announced mail that is not sent after all leaves nothing at the server, whatever comes instead.
func TestAnnouncedAndNotSent(t *testing.T) {
	for name, instead := range map[string]func(t *testing.T, s transport.Session, announced *mail.Rendered){
		"the session is closed": func(*testing.T, transport.Session, *mail.Rendered) {},
		"another mail is sent": func(t *testing.T, s transport.Session, announced *mail.Rendered) {
			other := tt.Message(t, announced.Profile, "c@zoe.example")
			v := s.Send(t.Context(), other, func(context.Context) error { t.Error("committed"); return nil })
			if v.Code != transport.CodeStale || s.Alive() {
				t.Errorf("alive %t, %+v", s.Alive(), v)
			}
		},
		"its claim was fenced": func(t *testing.T, s transport.Session, announced *mail.Rendered) {
			v := s.Send(t.Context(), announced, func(context.Context) error { return errors.New("not ours any more") })
			if v.Code != transport.CodeNotCommitted || s.Alive() {
				t.Errorf("alive %t, %+v", s.Alive(), v)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := tt.StartSMTP(t, tt.SMTPConfig{TakesTruncated: true})
			p := profile(s)
			session := open(t, p)
			announced := tt.Message(t, p, "b@zoe.example")
			if v := session.Send(t.Context(), tt.Message(t, p, "a@zoe.example"), announcing(session, announced)); v.Outcome != mail.OutcomeSent {
				t.Fatalf("%+v", v)
			}
			instead(t, session, announced)
			session.Close()
			s.Close()
			if s.Accepted() != 1 {
				t.Errorf("the server took %d mails", s.Accepted())
			}
		})
	}
}

// What the server says to the two mails is not mixed up.
func TestAnnouncedAfterTrouble(t *testing.T) {
	for _, test := range []struct {
		verb          string
		n             int // which of that verb
		reply         string
		drop          bool
		first, second mail.Outcome
		code          string // of the second
		alive         bool
	}{
		{"DOT", 1, "554 5.7.1 spam", false, mail.OutcomePermanent, mail.OutcomeSent, "", true},
		{"DOT", 1, "452 4.3.1 full", false, mail.OutcomeTemporary, mail.OutcomeSent, "", true},
		{"DOT", 1, "", true, mail.OutcomeUncertain, mail.OutcomeTemporary, transport.CodeStale, false},
		{"DOT", 1, "421 4.3.2 down", true, mail.OutcomeTemporary, mail.OutcomeTemporary, transport.CodeStale, false},
		{"DOT", 1, "250 2.0.0 taken\r\n250 2.0.0 and again", false, mail.OutcomeSent, mail.OutcomeTemporary, transport.CodeStale, false},
		{"DOT", 1, "250 2.0.0 taken\r\n550 5.5.1 what", false, mail.OutcomeSent, mail.OutcomeTemporary, transport.CodeStale, false},
		{"MAIL", 2, "554 5.5.0 synchronization error", false, mail.OutcomeSent, mail.OutcomeTemporary, transport.CodeStale, false},
		{"MAIL", 2, "503 5.5.1 improper command pipelining", false, mail.OutcomeSent, mail.OutcomeTemporary, transport.CodeStale, false},
		{"MAIL", 2, "450 4.7.1 enough on this line", false, mail.OutcomeSent, mail.OutcomeTemporary, transport.CodeStale, false},
		{"MAIL", 2, "", true, mail.OutcomeSent, mail.OutcomeTemporary, transport.CodeStale, false},
		{"MAIL", 2, "421 4.3.2 enough for today", true, mail.OutcomeSent, mail.OutcomeTemporary, transport.CodeStale, false},
		{"RCPT", 2, "550 5.1.1 unknown", false, mail.OutcomeSent, mail.OutcomePermanent, smtp.CodeRecipientUnknown, true},
		{"RCPT", 2, "451 4.7.1 greylisted", false, mail.OutcomeSent, mail.OutcomeTemporary, mail.CodeGreylisted, true},
		{"DATA", 2, "554 5.7.1 no", false, mail.OutcomeSent, mail.OutcomeTemporary, transport.CodeStale, false},
		{"DOT", 2, "", true, mail.OutcomeSent, mail.OutcomeUncertain, smtp.CodeOutcomeUnknown, false},
	} {
		t.Run(strings.Join([]string{test.verb, test.reply}, " "), func(t *testing.T) {
			s := tt.StartSMTP(t, tt.SMTPConfig{Hook: func(st tt.Step) tt.Action {
				if st.Verb == test.verb && st.N == test.n {
					return tt.Action{Reply: test.reply, Drop: test.drop}
				}
				return tt.Action{}
			}})
			p := profile(s)
			session := open(t, p)
			second := tt.Message(t, p, "b@zoe.example")
			if v := session.Send(t.Context(), tt.Message(t, p, "a@zoe.example"), announcing(session, second)); v.Outcome != test.first {
				t.Errorf("first %+v", v)
			}
			v := session.Send(t.Context(), second, commit)
			if v.Outcome != test.second || v.Code != test.code || session.Alive() != test.alive {
				t.Errorf("second, alive %t: %+v", session.Alive(), v)
			}
			if session.Alive() {
				if v := session.Send(t.Context(), tt.Message(t, p, "c@zoe.example"), commit); v.Outcome != mail.OutcomeSent {
					t.Errorf("third %+v", v)
				}
			}
		})
	}
}

// One reply too many may have the next mail's recipients answered by each other's replies: nobody is refused by that, and no
// server is left to wait for a body.
func TestOneReplyTooMany(t *testing.T) {
	for _, test := range []struct {
		to   []string
		gone string
	}{
		{[]string{"gone@zoe.example"}, "gone@zoe.example"},
		{[]string{"a@zoe.example", "gone@zoe.example"}, "gone@zoe.example"},
		{[]string{"gone@zoe.example", "a@zoe.example"}, "gone@zoe.example"},
	} {
		s := tt.StartSMTP(t, tt.SMTPConfig{Hook: func(st tt.Step) tt.Action {
			switch {
			case st.Verb == "DOT" && st.N == 1:
				return tt.Action{Reply: "250 2.0.0 taken\r\n250 2.0.0 and again"}
			case strings.Contains(st.Arg, test.gone):
				return tt.Action{Reply: "550 5.1.1 unknown"}
			}
			return tt.Action{}
		}})
		p := profile(s)
		session := open(t, p)
		second := tt.Message(t, p, test.to...)
		if v := session.Send(t.Context(), tt.Message(t, p, "b@zoe.example"), announcing(session, second)); v.Outcome != mail.OutcomeSent {
			t.Fatalf("%+v", v)
		}
		if v := session.Send(t.Context(), second, commit); v.Code != transport.CodeStale || session.Alive() {
			t.Errorf("%q, alive %t: %+v", test.to, session.Alive(), v)
		}
	}
}

// A server that throws away what came with a dot costs one wait, not one for each mail.
func TestDeafAfterADot(t *testing.T) {
	s := tt.StartSMTP(t, tt.SMTPConfig{Hook: func(st tt.Step) tt.Action { return tt.Action{Hang: st.Verb == "MAIL" && st.N > 1 && st.Conn == 1} }})
	p := profile(s)
	tr := smtp.New(smtp.Config{Dialer: dial.New(dial.Policy{Allow: dial.Loopback()}), Timeouts: smtp.Timeouts{Command: 500 * time.Millisecond}})
	for conn := 1; conn <= 2; conn++ {
		session, err := tr.Open(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		next := tt.Message(t, p, "b@zoe.example")
		if v := session.Send(t.Context(), tt.Message(t, p, "a@zoe.example"), announcing(session, next)); v.Outcome != mail.OutcomeSent {
			t.Fatalf("%+v", v)
		}
		if conn == 1 {
			if v := session.Send(t.Context(), next, commit); v.Code != transport.CodeStale {
				t.Errorf("%+v", v)
			}
			continue
		}
		// Nothing was begun, so another mail may come as well.
		if v := session.Send(t.Context(), tt.Message(t, p, "c@zoe.example"), commit); v.Outcome != mail.OutcomeSent {
			t.Errorf("%+v", v)
		}
		session.Close()
	}
}
