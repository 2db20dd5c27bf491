package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
)

// extensions are what the server offered in its EHLO reply.
type extensions struct {
	pipelining, eightBit, utf8, dsn, starttls bool
	size                                      int64 // largest message; 0: not said
	hasSize                                   bool
	auth                                      []string // mechanisms in upper case
}

// opening names the steps of open for a profile, in order.
func opening(p *mail.SMTPSettings) []string {
	steps := []string{stepConnect}
	if p.Security != mail.SecurityNone {
		steps = append(steps, stepTLS)
	}
	if wantsLogin(p) {
		steps = append(steps, stepLogin)
	}
	return steps
}

func fail(v mail.Verdict, err error) *transport.Error {
	if err == nil {
		err = errors.New(v.Reply.Text)
	}
	return &transport.Error{Verdict: v, Err: err}
}

// open makes a session that is ready for mail.
func (t *Transport) open(ctx context.Context, p *mail.Profile) (*session, *transport.Error) {
	settings := p.SMTP
	dialing, cancel := context.WithTimeout(ctx, t.timeouts.Connect)
	defer cancel()
	raw, err := t.dialer.DialContext(dialing, "tcp", net.JoinHostPort(asciiHost(settings.Host), strconv.Itoa(settings.Port)))
	if err != nil {
		if ctx.Err() != nil {
			return nil, fail(transport.NotCommitted(stepConnect), err)
		}
		return nil, fail(dialFailure(err), err)
	}
	s := &session{t: t, c: newConn(raw), settings: settings, helo: t.helo}
	s.c.keepSecret(string(settings.Password))
	if settings.HELO != "" {
		s.helo = asciiHost(settings.HELO)
	}
	stop := s.c.watch(ctx)
	oe := s.begin()
	if good := stop(); !good {
		oe = fail(transport.NotCommitted(stepConnect), context.Cause(ctx))
	}
	if oe != nil {
		s.c.cut()
		return nil, oe
	}
	s.alive = true
	return s, nil
}

// begin is all that comes before mail, in the order of the profile's security.
func (s *session) begin() *transport.Error {
	if s.settings.Security == mail.SecurityTLS {
		if oe := s.handshake(); oe != nil {
			return oe
		}
	}
	s.c.within(s.t.timeouts.Greeting)
	r, err := s.c.read()
	if oe := s.unless2xx(stepConnect, r, err); oe != nil {
		return oe
	}
	if oe := s.hello(stepConnect); oe != nil {
		return oe
	}
	if s.settings.Security == mail.SecuritySTARTTLS {
		if oe := s.startTLS(); oe != nil {
			return oe
		}
	}
	if wantsLogin(s.settings) {
		return s.login()
	}
	return nil
}

// unless2xx is the failure that a reply or an error means at a step; nil when all is well.
func (s *session) unless2xx(step string, r reply, err error) *transport.Error {
	if err != nil {
		return fail(lineFailure(step, err), err)
	}
	if !r.ok() {
		return fail(classify(step, s.c.shown(r)), nil)
	}
	return nil
}

// hello says EHLO, or HELO to a server that does not know EHLO (RFC 5321 section 3.2).
func (s *session) hello(step string) *transport.Error {
	r, err := s.c.ask(s.t.timeouts.Command, "EHLO ", s.helo)
	if err == nil && r.ok() {
		s.ext = parseExtensions(string(r.text))
		return nil
	}
	if err == nil && r.code/100 == 5 && r.code != 554 {
		s.ext = extensions{}
		r, err = s.c.ask(s.t.timeouts.Command, "HELO ", s.helo)
	}
	return s.unless2xx(step, r, err)
}

// parseExtensions reads the lines of an EHLO reply after the first (RFC 5321 section 4.1.1.1). What it does not know it skips.
func parseExtensions(text string) extensions {
	var e extensions
	_, rest, _ := strings.Cut(text, "\n")
	for line := range strings.SplitSeq(rest, "\n") {
		words := strings.Fields(strings.ToUpper(line))
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "PIPELINING":
			e.pipelining = true
		case "8BITMIME":
			e.eightBit = true
		case "SMTPUTF8":
			e.utf8 = true
		case "DSN":
			e.dsn = true
		case "STARTTLS":
			e.starttls = true
		case "SIZE":
			e.hasSize = true
			if len(words) > 1 {
				if n, err := strconv.ParseInt(words[1], 10, 64); err == nil {
					e.size = max(n, 0)
				}
			}
		case "AUTH":
			e.auth = append(e.auth, words[1:]...)
		default:
			// "AUTH=LOGIN" is from before RFC 2554; some servers still offer it only so.
			if m, ok := strings.CutPrefix(words[0], "AUTH="); ok {
				e.auth = append(append(e.auth, m), words[1:]...)
			}
		}
	}
	slices.Sort(e.auth)
	e.auth = slices.Compact(e.auth)
	return e
}

// startTLS protects the connection (RFC 3207). What the server or somebody between said behind its reply in clear would be
// taken for the protected server's words: the session ends there.
func (s *session) startTLS() *transport.Error {
	if !s.ext.starttls {
		return fail(mail.Verdict{
			Outcome: permanent, Scope: mail.ScopeProfile, Code: CodeSTARTTLSNotOffered, Step: stepTLS,
			Reply: mail.Reply{Text: "the server does not offer STARTTLS"},
		}, nil)
	}
	r, err := s.c.ask(s.t.timeouts.Command, "STARTTLS")
	if oe := s.unless2xx(stepTLS, r, err); oe != nil {
		return oe
	}
	if s.c.br.Buffered() > 0 {
		return fail(mail.Verdict{
			Outcome: permanent, Scope: mail.ScopeProfile, Code: CodeTLSInjection, Step: stepTLS,
			Reply: mail.Reply{Text: "something was said in clear after STARTTLS"},
		}, nil)
	}
	if oe := s.handshake(); oe != nil {
		return oe
	}
	s.ext = extensions{} // what was offered in clear does not count, RFC 3207 section 4.2
	return s.hello(stepTLS)
}

// handshake makes TLS 1.2 or later and checks the server's name.
func (s *session) handshake() *transport.Error {
	name := s.settings.TLSServerName
	if name == "" {
		name = s.settings.Host
	}
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: asciiHost(name),
		DynamicRecordSizingDisabled: true, // mail wants few large records
	}
	if s.settings.CACertificates != "" {
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM([]byte(s.settings.CACertificates)) {
			return fail(mail.Verdict{
				Outcome: permanent, Scope: mail.ScopeProfile, Code: CodeCertificateInvalid, Step: stepTLS,
				Reply: mail.Reply{Text: "the profile's root certificates cannot be read"},
			}, nil)
		}
		cfg.RootCAs = roots
	}
	nc := tls.Client(s.c.raw, cfg)
	s.c.within(s.t.timeouts.TLS)
	if err := nc.Handshake(); err != nil {
		return fail(tlsFailure(err), err)
	}
	s.c.secured(nc)
	s.secure = true
	return nil
}
