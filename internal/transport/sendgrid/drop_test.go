package sendgrid_test

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport/sendgrid"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

// breakingTransport makes connections that take so many bytes and no more.
func breakingTransport(t testing.TB, s *tt.SendGrid, after int) *sendgrid.Transport {
	t.Helper()
	return newTransport(t, s, func(c *sendgrid.Config) {
		c.HTTP.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			return &breakingConn{c, after}, err
		}
	})
}

type breakingConn struct {
	net.Conn
	left int
}

func (c *breakingConn) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.Conn.Write(p)
	}
	n, _ := c.Conn.Write(p[:c.left])
	c.left = 0
	c.Conn.Close()
	return n, io.ErrClosedPipe
}

// settleUp compares the verdict with what SendGrid has when both sides are done.
func settleUp(t *testing.T, s *tt.SendGrid, v mail.Verdict) {
	t.Helper()
	s.Close()
	posts, accepted := s.Calls("upload"), s.Accepted()
	switch {
	case posts > 1 || accepted > 1 || s.Duplicates() > 0:
		t.Errorf("%d POSTs, accepted %d times", posts, accepted)
	case accepted == 0 && v.Outcome == mail.OutcomeSent, accepted == 1 && v.Outcome != mail.OutcomeSent && v.Outcome != mail.OutcomeUncertain:
		t.Errorf("accepted %d times, verdict %+v", accepted, v)
	case v.Outcome == mail.OutcomePermanent:
		t.Errorf("verdict %+v", v)
	}
}

// The client's own side breaks after every byte that it writes of a mail: nothing is ever in doubt.
func TestWriteFailsAtEveryByte(t *testing.T) {
	t.Run("plain", func(t *testing.T) { writeFails(t, tt.SendGridConfig{AnySender: true}, 1) })
	t.Run("tls", func(t *testing.T) { writeFails(t, tt.SendGridConfig{AnySender: true, TLS: true}, 19) })
}

func writeFails(t *testing.T, cfg tt.SendGridConfig, stride int) {
	for n := 0; ; n += stride {
		s := tt.StartSendGrid(t, cfg)
		v := attempt(t, breakingTransport(t, s, n), s, profile(), tt.Message(t, profile(), "a@zoe.example", "b@zoe.example"))
		settleUp(t, s, v)
		if v.Outcome == mail.OutcomeSent {
			if n < 500 {
				t.Errorf("a mail of %d bytes", n)
			}
			break
		}
		if v.Outcome != mail.OutcomeTemporary || v.Code != sendgrid.CodeConnectionLost && v.Code != sendgrid.CodeConnectionFailed {
			t.Errorf("verdict %+v", v)
		}
		if t.Failed() {
			t.Fatalf("the client's line broke after %d bytes", n)
		}
	}
}

// The line is cut at SendGrid's end after every few bytes, in both directions and with TLS too.
func TestCutAtManyBytes(t *testing.T) {
	for name, test := range map[string]struct {
		tls     bool
		stride  int64
		outward bool // of SendGrid's answer
	}{
		"to SendGrid":             {false, 1, false},
		"from SendGrid":           {false, 1, true},
		"to SendGrid with TLS":    {true, 53, false},
		"from SendGrid, with TLS": {true, 53, true},
	} {
		t.Run(name, func(t *testing.T) {
			for n := int64(1); ; n += test.stride {
				cfg := tt.SendGridConfig{AnySender: true, TLS: test.tls, DropAfterRead: n}
				if test.outward {
					cfg.DropAfterRead, cfg.DropAfterWrite = 0, n
				}
				s := tt.StartSendGrid(t, cfg)
				v := attempt(t, newTransport(t, s), s, profile(), tt.Message(t, profile(), "a@zoe.example", "b@zoe.example"))
				settleUp(t, s, v)
				if t.Failed() {
					t.Fatalf("cut after %d bytes", n)
				}
				if _, named := sendgrid.ParseEvidence(v.Evidence); v.Outcome == mail.OutcomeSent && named {
					break
				}
				if n > 4000 && !test.tls || n > 20_000 {
					t.Fatal("never sent")
				}
			}
		})
	}
}
