package mailbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"golang.org/x/net/idna"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport/dial"
)

// Codes of what keeps a mailbox from being read.
const (
	CodeUnreachable  = "bounce_mailbox_unreachable"
	CodeTLSFailed    = "bounce_mailbox_tls_failed"
	CodeLoginRefused = "bounce_mailbox_login_refused"
	CodeNoFolder     = "bounce_mailbox_no_folder"
	CodeRefused      = "bounce_mailbox_refused"
	CodeSealed       = "bounce_mailbox_sealed" // its password was sealed with another keyset
)

// failure is what keeps a mailbox from being read, to tell a person.
type failure struct {
	Code  string
	Reply mail.Reply
	err   error
}

func (f *failure) Error() string { return fmt.Sprintf("%s: %v", f.Code, f.err) }
func (f *failure) Unwrap() error { return f.err }

// session is one connection with the mailbox selected.
type session struct {
	client   *imapclient.Client
	settings *mail.BounceMailbox
	selected *imap.SelectData
	release  func() bool
}

const (
	connectWithin = 20 * time.Second
	// maxReceived bounds what a server can make us read in one session, and with it the memory that it can make the client take.
	maxReceived = 32 << 20
)

// open connects, logs in and selects the folder. It is broken off when ctx ends.
func (r *Reader) open(ctx context.Context, p *mail.Profile) (*session, *failure) {
	b := p.BounceMailbox
	host := b.Host
	if form, err := idna.Lookup.ToASCII(host); err == nil {
		host = form
	}
	dialing, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	raw, err := r.cfg.Dialer.DialContext(dialing, "tcp", net.JoinHostPort(host, strconv.Itoa(b.Port)))
	if err != nil {
		return nil, dialFailure(err)
	}
	s := &session{settings: b, release: context.AfterFunc(ctx, func() { raw.Close() })}
	if f := s.begin(dialing, &boundedConn{Conn: raw, left: maxReceived}, tlsConfig(p, host)); f != nil {
		s.close()
		raw.Close()
		return nil, f
	}
	return s, nil
}

func (s *session) begin(ctx context.Context, conn net.Conn, secure *tls.Config) *failure {
	b := s.settings
	switch b.Security {
	case mail.SecurityTLS:
		secure.NextProtos = []string{"imap"}
		c := tls.Client(conn, secure)
		if err := c.HandshakeContext(ctx); err != nil {
			return tlsFailure(err)
		}
		conn = c
	case mail.SecuritySTARTTLS:
		// A server that does not offer it is not used; the client refuses what is said before.
		c, err := imapclient.NewStartTLS(conn, &imapclient.Options{TLSConfig: secure})
		if err != nil {
			var refused *imap.Error
			if errors.As(err, &refused) {
				return &failure{CodeTLSFailed, s.reply(refused), err}
			}
			return tlsFailure(err)
		}
		s.client = c
	}
	if s.client == nil {
		s.client = imapclient.New(conn, nil)
	}
	if err := s.client.WaitGreeting(); err != nil {
		return s.failure(CodeUnreachable, err)
	}
	if err := s.login(); err != nil {
		return s.failure(CodeLoginRefused, err)
	}
	var err error
	if s.selected, err = s.client.Select(b.Folder, nil).Wait(); err != nil {
		return s.failure(CodeNoFolder, err)
	}
	if b.MoveTo != "" {
		if _, err := s.client.Status(b.MoveTo, &imap.StatusOptions{UIDValidity: true}).Wait(); err != nil {
			return s.failure(CodeNoFolder, err)
		}
	}
	return nil
}

func (s *session) login() error {
	if s.client.State() == imap.ConnStateAuthenticated {
		return &imap.Error{Type: imap.StatusResponseTypeNo, Text: "the server wants no login: it is not known whose mailbox this is"}
	}
	name, password := s.settings.Username, string(s.settings.Password)
	if s.client.Caps().Has(imap.AuthCap(sasl.Plain)) {
		return s.client.Authenticate(sasl.NewPlainClient("", name, password))
	}
	return s.client.Login(name, password).Wait()
}

// close ends the session without a word: what is done is done.
func (s *session) close() {
	s.release()
	if s.client != nil {
		s.client.Close() //nolint:errcheck // nothing depends on it
	}
}

// failure tells what the server refused from a line that broke.
func (s *session) failure(code string, err error) *failure {
	var refused *imap.Error
	if !errors.As(err, &refused) {
		text := mail.LineBroke
		var timeout net.Error
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
			text = mail.LineClosed
		case errors.As(err, &timeout) && timeout.Timeout():
			text = mail.LineTimeout
		}
		return &failure{CodeUnreachable, mail.Reply{Text: text}, err}
	}
	if refused.Type == imap.StatusResponseTypeBye || refused.Code == imap.ResponseCodeUnavailable {
		code = CodeUnreachable
	}
	return &failure{code, s.reply(refused), errors.New(string(refused.Type))}
}

// reply is what the server said. One that repeats the password is not quoted.
func (s *session) reply(e *imap.Error) mail.Reply {
	if p := string(s.settings.Password); p != "" && strings.Contains(e.Text, p) {
		return mail.Reply{}
	}
	return mail.Reply{Text: mail.ReplyText(e.Text)}
}

func dialFailure(err error) *failure {
	var refused *dial.Error
	var dns *net.DNSError
	switch {
	case errors.As(err, &refused):
		return &failure{dial.CodeAddressNotAllowed, mail.Reply{Text: "the address is not allowed"}, err}
	case errors.As(err, &dns):
		return &failure{CodeUnreachable, mail.Reply{Text: "no such host, or the name server does not answer"}, err}
	}
	return &failure{CodeUnreachable, mail.Reply{Text: "no connection"}, err}
}

func tlsFailure(err error) *failure {
	var verification *tls.CertificateVerificationError
	text := "no secure connection could be agreed on"
	if errors.As(err, &verification) {
		text = "the certificate is not valid for this server"
	}
	return &failure{CodeTLSFailed, mail.Reply{Text: text}, err}
}

// tlsConfig trusts who the system trusts, and the roots that the profile gives for its SMTP server: it is mostly the same firm's.
func tlsConfig(p *mail.Profile, host string) *tls.Config {
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if p.SMTP != nil && p.SMTP.CACertificates != "" {
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		roots.AppendCertsFromPEM([]byte(p.SMTP.CACertificates))
		c.RootCAs = roots
	}
	return c
}

var errTooMuch = errors.New("mailbox: the server sends too much")

// boundedConn is a connection that ends after so many bytes.
type boundedConn struct {
	net.Conn
	left int
}

func (c *boundedConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}
