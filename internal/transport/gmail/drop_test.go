package gmail_test

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/gmail"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

// breakingTransport makes connections that take so many bytes and no more.
func breakingTransport(t testing.TB, g *tt.Google, k gmail.Tokens, after int) *gmail.Transport {
	t.Helper()
	connections := trusting(g)
	connections.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		return &breakingConn{c, after}, err
	}
	tr, err := gmail.New(gmail.Config{Tokens: k, BaseURL: g.URLs().Gmail, HTTP: connections})
	if err != nil {
		t.Fatal(err)
	}
	return tr
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

// exchangeMail sends one mail and holds the verdict against what Google has. It returns the verdict.
func exchangeMail(t *testing.T, tr transport.Transport, g *tt.Google) mail.Verdict {
	t.Helper()
	s, err := tr.Open(t.Context(), profile())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before, commits := g.Accepted(), 0
	v := s.Send(t.Context(), tt.Message(t, profile(), "a@zoe.example", "b@zoe.example"), func(context.Context) error {
		if commits++; g.Accepted() != before || g.Calls("upload") != 0 {
			t.Error("something was sent before commit")
		}
		return nil
	})
	if commits != 1 || v.Step == "" || v.Outcome != mail.OutcomeSent && v.Code == "" {
		t.Errorf("%d commits, verdict %+v", commits, v)
	}
	return v
}

// settleUp compares the verdict with what Google has when both sides are done.
func settleUp(t *testing.T, g *tt.Google, v mail.Verdict) {
	t.Helper()
	g.Close()
	posts, accepted := g.Calls("upload"), g.Accepted()
	switch {
	case posts > 1 || accepted > 1 || g.Duplicates() > 0:
		t.Errorf("%d POSTs, accepted %d times", posts, accepted)
	case accepted == 0 && v.Outcome == mail.OutcomeSent, accepted == 1 && v.Outcome != mail.OutcomeSent && v.Outcome != mail.OutcomeUncertain:
		t.Errorf("accepted %d times, verdict %+v", accepted, v)
	case v.Outcome == mail.OutcomePermanent:
		t.Errorf("verdict %+v", v)
	}
}

// The client's own side breaks after every byte that it writes of a mail: nothing is ever in doubt.
func TestWriteFailsAtEveryByte(t *testing.T) {
	t.Run("plain", func(t *testing.T) { writeFails(t, tt.GoogleConfig{}, 1) })
	t.Run("tls", func(t *testing.T) { writeFails(t, tt.GoogleConfig{TLS: true}, 19) })
}

func writeFails(t *testing.T, cfg tt.GoogleConfig, stride int) {
	for n := 0; ; n += stride {
		g := tt.StartGoogle(t, cfg)
		v := exchangeMail(t, breakingTransport(t, g, &tokens{google: g, scopes: sendScopes}, n), g)
		settleUp(t, g, v)
		if v.Outcome == mail.OutcomeSent {
			if n < 500 {
				t.Errorf("a mail of %d bytes", n)
			}
			break
		}
		if v.Outcome != mail.OutcomeTemporary || v.Code != gmail.CodeConnectionLost && v.Code != gmail.CodeConnectionFailed {
			t.Errorf("verdict %+v", v)
		}
		if t.Failed() {
			t.Fatalf("the client's line broke after %d bytes", n)
		}
	}
}

// The line is cut at Google's end after every few bytes, in both directions and with TLS too.
func TestCutAtManyBytes(t *testing.T) {
	for name, test := range map[string]struct {
		tls     bool
		stride  int64
		outward bool // of Google's answer
	}{
		"to Google":             {false, 7, false},
		"from Google":           {false, 1, true},
		"to Google with TLS":    {true, 53, false},
		"from Google, with TLS": {true, 53, true},
	} {
		t.Run(name, func(t *testing.T) {
			for n := int64(1); ; n += test.stride {
				cfg := tt.GoogleConfig{TLS: test.tls, DropAfterRead: n}
				if test.outward {
					cfg.DropAfterRead, cfg.DropAfterWrite = 0, n
				}
				g := tt.StartGoogle(t, cfg)
				v := exchangeMail(t, newTransport(t, g, &tokens{google: g, scopes: sendScopes}), g)
				settleUp(t, g, v)
				if t.Failed() {
					t.Fatalf("cut after %d bytes", n)
				}
				if v.Outcome == mail.OutcomeSent && v.Reply.Code == 200 && gotIDs(v) {
					break
				}
				if n > 20_000 {
					t.Fatal("never sent")
				}
			}
		})
	}
}

func gotIDs(v mail.Verdict) bool {
	_, _, ok := gmail.ParseEvidence(v.Evidence)
	return ok
}
