package smtp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/dial"
	"github.com/winprest/facteur/internal/transport/smtp"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

// countingDialer counts what crosses its connections.
type countingDialer struct{ read, written atomic.Int64 }

func (d *countingDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := dial.New(dial.Policy{Allow: dial.Loopback()}).DialContext(ctx, network, address)
	return &countingConn{c, d}, err
}

type countingConn struct {
	net.Conn
	d *countingDialer
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.d.read.Add(int64(n))
	return n, err
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.d.written.Add(int64(n))
	return n, err
}

// converse opens a session and sends two mails to two recipients, as the engine would, the second one announced during the
// first. It counts the verdicts.
func converse(t *testing.T, tr transport.Transport, p *mail.Profile, accepted func() int) (sent, uncertain int) {
	t.Helper()
	s, err := tr.Open(t.Context(), p)
	if err != nil {
		var oe *transport.Error
		if !errors.As(err, &oe) || oe.Verdict.Outcome != mail.OutcomeTemporary || oe.Verdict.Code == "" {
			t.Errorf("open: %v", err)
		}
		return 0, 0
	}
	defer s.Close()
	mails := []*mail.Rendered{tt.Message(t, p, "a@zoe.example", "b@zoe.example"), tt.Message(t, p, "a@zoe.example", "b@zoe.example")}
	for i, m := range mails {
		if !s.Alive() {
			break
		}
		before, commits := accepted(), 0
		v := s.Send(t.Context(), m, func(context.Context) error {
			if commits++; accepted() != before {
				t.Error("accepted before commit")
			}
			if i == 0 {
				s.(transport.Pipeliner).Announce(mails[1])
			}
			return nil
		})
		took := accepted() - before
		switch {
		case took > 1 || commits > 1 || took == 1 && commits == 0:
			t.Errorf("accepted %d times, %d commits", took, commits)
		case v.Outcome == mail.OutcomeSent && took == 0:
			t.Errorf("not accepted, and the verdict is %+v", v)
		case v.Outcome != mail.OutcomeSent && v.Outcome != mail.OutcomeUncertain && took == 1:
			t.Errorf("accepted, and the verdict is %+v", v)
		case v.Outcome == mail.OutcomeUncertain && commits == 0:
			t.Errorf("uncertain without commit: %+v", v)
		}
		switch v.Outcome {
		case mail.OutcomeSent:
			sent++
		case mail.OutcomeUncertain:
			uncertain++
		}
	}
	return sent, uncertain
}

// cutConversation converses with a server that cuts the line, and compares once both sides are done.
func cutConversation(t *testing.T, tr transport.Transport, cfg tt.SMTPConfig, login func(*tt.SMTPServer) *mail.Profile) {
	t.Helper()
	s := tt.StartSMTP(t, cfg)
	sent, uncertain := converse(t, tr, login(s), s.Accepted)
	s.Close()
	if n := s.Accepted(); n < sent || n > sent+uncertain {
		t.Errorf("the server has %d mails; %d sent, %d uncertain", n, sent, uncertain)
	}
}

// The line is cut after every single byte of a conversation, in both directions.
func TestCutAtEveryByte(t *testing.T) {
	users := map[string]string{user: password}
	for name, test := range map[string]struct {
		cfg      tt.SMTPConfig
		security mail.Security
		stride   int64 // of TLS's many bytes only some
	}{
		"pipelining": {tt.SMTPConfig{Users: users, Mechanisms: []string{"PLAIN"}}, mail.SecurityNone, 1},
		"one by one": {tt.SMTPConfig{Users: users, Mechanisms: []string{"CRAM-MD5"}, Hide: []string{"PIPELINING"}}, mail.SecurityNone, 1},
		"starttls":   {tt.SMTPConfig{TLS: true}, mail.SecuritySTARTTLS, 11},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := test.cfg
			login := func(s *tt.SMTPServer) *mail.Profile {
				p := profile(s)
				p.SMTP.Security, p.SMTP.CACertificates = test.security, s.CA()
				if len(cfg.Users) > 0 {
					p.SMTP.Auth, p.SMTP.AllowPlaintextLogin = mail.AuthAuto, true
				}
				return p
			}
			count := &countingDialer{}
			whole := tt.StartSMTP(t, cfg)
			converse(t, smtp.New(smtp.Config{Dialer: count}), login(whole), whole.Accepted)
			sent, received := count.written.Load(), count.read.Load()
			if whole.Accepted() != 2 || sent < 500 || received < 300 {
				t.Fatalf("accepted %d, sent %d bytes, received %d", whole.Accepted(), sent, received)
			}
			tr := newTransport()
			for n := int64(0); n < sent; n += test.stride {
				cut := cfg
				cut.DropAfterRead = n + 1
				cutConversation(t, tr, cut, login)
				if t.Failed() {
					t.Fatalf("cut after %d of %d bytes to the server", n+1, sent)
				}
			}
			for n := int64(0); n < received; n += test.stride {
				cut := cfg
				cut.DropAfterWrite = n + 1
				cutConversation(t, tr, cut, login)
				if t.Failed() {
					t.Fatalf("cut after %d of %d bytes from the server", n+1, received)
				}
			}
		})
	}
}

// The client's own side breaks after every byte that it writes of a mail.
func TestWriteFailsAtEveryByte(t *testing.T) {
	s := tt.StartSMTP(t, tt.SMTPConfig{})
	count := &countingDialer{}
	converse(t, smtp.New(smtp.Config{Dialer: count}), profile(s), s.Accepted)
	if s.Accepted() != 2 {
		t.Fatalf("accepted %d", s.Accepted())
	}
	for n := range count.written.Load() {
		// A server of its own: it may take a mail whose dot got out after the client has given up.
		cutConversation(t, smtp.New(smtp.Config{Dialer: &failingDialer{left: n}}), tt.SMTPConfig{}, profile)
		if t.Failed() {
			t.Fatalf("the client's line broke after %d bytes", n)
		}
	}
}

// failingDialer makes connections that take so many bytes and no more.
type failingDialer struct{ left int64 }

func (d *failingDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	return &failingConn{c, d.left}, err
}

type failingConn struct {
	net.Conn
	left int64
}

func (c *failingConn) Write(p []byte) (int, error) {
	if int64(len(p)) <= c.left {
		c.left -= int64(len(p))
		return c.Conn.Write(p)
	}
	n, _ := c.Conn.Write(p[:c.left])
	c.left = 0
	c.Conn.Close()
	return n, io.ErrClosedPipe
}
