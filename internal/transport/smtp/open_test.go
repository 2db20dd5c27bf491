package smtp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/dial"
	"github.com/winprest/facteur/internal/transport/smtp"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

func openError(t *testing.T, tr transport.Transport, p *mail.Profile) mail.Verdict {
	t.Helper()
	s, err := tr.Open(t.Context(), p)
	if err == nil {
		s.Close()
		t.Error("opened")
		return mail.Verdict{}
	}
	var oe *transport.Error
	if !errors.As(err, &oe) || oe.Err == nil {
		t.Fatalf("not a *transport.Error: %v", err)
	}
	if strings.Contains(fmt.Sprintf("%v %+v", err, oe), password) {
		t.Errorf("the password shows: %v", err)
	}
	return oe.Verdict
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

func TestConnect(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	server := tt.StartSMTP(t, tt.SMTPConfig{})
	p := profile(server)
	refused := *p
	settings := *p.SMTP
	settings.Port = closed.Addr().(*net.TCPAddr).Port
	refused.SMTP = &settings

	failing := func(err error) transport.Transport {
		return smtp.New(smtp.Config{Dialer: dialFunc(func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
		})})
	}
	for name, test := range map[string]struct {
		tr      transport.Transport
		p       *mail.Profile
		outcome mail.Outcome
		code    string
	}{
		"refused":        {newTransport(), &refused, mail.OutcomeTemporary, smtp.CodeConnectionRefused},
		"not allowed":    {smtp.New(smtp.Config{}), p, mail.OutcomePermanent, dial.CodeAddressNotAllowed},
		"no such host":   {failing(&net.DNSError{Err: "no such host", IsNotFound: true}), p, mail.OutcomePermanent, smtp.CodeHostNotFound},
		"DNS is ill":     {failing(&net.DNSError{Err: "server misbehaving", IsTemporary: true}), p, mail.OutcomeTemporary, smtp.CodeDNSFailed},
		"DNS is slow":    {failing(&net.DNSError{Err: "i/o timeout", IsTimeout: true}), p, mail.OutcomeTemporary, smtp.CodeDNSFailed},
		"no answer":      {failing(context.DeadlineExceeded), p, mail.OutcomeTemporary, smtp.CodeTimeout},
		"no route there": {failing(errors.New("no route to host")), p, mail.OutcomeTemporary, smtp.CodeConnectionFailed},
	} {
		v := openError(t, test.tr, test.p)
		if v.Outcome != test.outcome || v.Scope != mail.ScopeProfile || v.Code != test.code || v.Step != "connect" || v.Reply.Text == "" {
			t.Errorf("%s: verdict %+v", name, v)
		}
		if steps := test.tr.Check(t.Context(), test.p); len(steps) != 1 || steps[0].OK || steps[0].Code != test.code || steps[0].Name != "connect" {
			t.Errorf("%s: check %+v", name, steps)
		}
	}
}

func TestGreeting(t *testing.T) {
	for _, test := range []struct {
		verb    string
		action  tt.Action
		outcome mail.Outcome
		code    string
	}{
		{"CONNECT", tt.Action{Reply: "421 4.3.2 busy"}, mail.OutcomeTemporary, smtp.CodeServiceUnavailable},
		{"CONNECT", tt.Action{Reply: "554 5.7.1 blocked"}, mail.OutcomePermanent, smtp.CodeConnectionRejected},
		{"CONNECT", tt.Action{Reply: "SSH-2.0-OpenSSH_9.6"}, mail.OutcomeTemporary, smtp.CodeProtocolError},
		{"CONNECT", tt.Action{Reply: "220 hello\r\n250 eager"}, mail.OutcomeTemporary, smtp.CodeProtocolError},
		{"CONNECT", tt.Action{Drop: true}, mail.OutcomeTemporary, smtp.CodeConnectionLost},
		{"EHLO", tt.Action{Reply: "421 4.3.2 busy"}, mail.OutcomeTemporary, smtp.CodeServiceUnavailable},
		{"EHLO", tt.Action{Reply: "554 5.7.1 blocked"}, mail.OutcomePermanent, smtp.CodeConnectionRejected},
		{"EHLO", tt.Action{Drop: true}, mail.OutcomeTemporary, smtp.CodeConnectionLost},
		{"EHLO", tt.Action{Reply: strings.Repeat("250-x\r\n", 200) + "250 x"}, mail.OutcomeTemporary, smtp.CodeProtocolError},
	} {
		s := tt.StartSMTP(t, tt.SMTPConfig{Hook: at(test.verb, test.action)})
		v := openError(t, newTransport(), profile(s))
		if v.Outcome != test.outcome || v.Scope != mail.ScopeProfile || v.Code != test.code || v.Step != "connect" {
			t.Errorf("%s %.40q: verdict %+v", test.verb, test.action.Reply, v)
		}
	}
	full := tt.StartSMTP(t, tt.SMTPConfig{MaxConnections: 1})
	open(t, profile(full))
	if v := openError(t, newTransport(), profile(full)); v.Code != smtp.CodeServiceUnavailable || full.MaxConnections() != 2 {
		t.Errorf("verdict %+v", v)
	}
}

func TestTLS(t *testing.T) {
	const (
		starttls = mail.SecuritySTARTTLS
		implicit = mail.SecurityTLS
	)
	for name, test := range map[string]struct {
		cfg      tt.SMTPConfig
		security mail.Security
		edit     func(*mail.SMTPSettings)
		outcome  mail.Outcome // sent: it opens
		code     string
	}{
		"starttls":             {tt.SMTPConfig{TLS: true}, starttls, nil, mail.OutcomeSent, ""},
		"tls":                  {tt.SMTPConfig{ImplicitTLS: true}, implicit, nil, mail.OutcomeSent, ""},
		"another name":         {tt.SMTPConfig{ImplicitTLS: true}, implicit, func(s *mail.SMTPSettings) { s.TLSServerName = "localhost" }, mail.OutcomeSent, ""},
		"name given":           {tt.SMTPConfig{TLS: true, Certificate: tt.CertificateWrongName}, starttls, func(s *mail.SMTPSettings) { s.TLSServerName = "elsewhere.example" }, mail.OutcomeSent, ""},
		"expired":              {tt.SMTPConfig{TLS: true, Certificate: tt.CertificateExpired}, starttls, nil, mail.OutcomePermanent, smtp.CodeCertificateInvalid},
		"wrong name":           {tt.SMTPConfig{ImplicitTLS: true, Certificate: tt.CertificateWrongName}, implicit, nil, mail.OutcomePermanent, smtp.CodeCertificateInvalid},
		"unknown root":         {tt.SMTPConfig{TLS: true, Certificate: tt.CertificateUnknown}, starttls, nil, mail.OutcomePermanent, smtp.CodeCertificateInvalid},
		"root not given":       {tt.SMTPConfig{TLS: true}, starttls, func(s *mail.SMTPSettings) { s.CACertificates = "" }, mail.OutcomePermanent, smtp.CodeCertificateInvalid},
		"roots unreadable":     {tt.SMTPConfig{TLS: true}, starttls, func(s *mail.SMTPSettings) { s.CACertificates = "no PEM" }, mail.OutcomePermanent, smtp.CodeCertificateInvalid},
		"stripped":             {tt.SMTPConfig{TLS: true, Hide: []string{"STARTTLS"}}, starttls, nil, mail.OutcomePermanent, smtp.CodeSTARTTLSNotOffered},
		"without EHLO":         {tt.SMTPConfig{NoEHLO: true}, starttls, nil, mail.OutcomePermanent, smtp.CodeSTARTTLSNotOffered},
		"unavailable":          {tt.SMTPConfig{TLS: true, Hook: at("STARTTLS", tt.Action{Reply: "454 4.7.0 no TLS now"})}, starttls, nil, mail.OutcomeTemporary, smtp.CodeSTARTTLSRefused},
		"refused":              {tt.SMTPConfig{TLS: true, Hook: at("STARTTLS", tt.Action{Reply: "501 5.5.4 no"})}, starttls, nil, mail.OutcomePermanent, smtp.CodeSTARTTLSRefused},
		"injected":             {tt.SMTPConfig{TLS: true, Hook: at("STARTTLS", tt.Action{Reply: "220 go\r\n250-sink\r\n250 AUTH PLAIN"})}, starttls, nil, mail.OutcomePermanent, smtp.CodeTLSInjection},
		"no TLS behind it":     {tt.SMTPConfig{TLS: true, Hook: babbleAfterStartTLS()}, starttls, nil, mail.OutcomeTemporary, smtp.CodeConnectionLost},
		"implicit where plain": {tt.SMTPConfig{}, implicit, nil, mail.OutcomePermanent, smtp.CodeTLSFailed},
	} {
		t.Run(name, func(t *testing.T) {
			s := tt.StartSMTP(t, test.cfg)
			p := profile(s)
			p.SMTP.Security, p.SMTP.CACertificates = test.security, s.CA()
			if test.edit != nil {
				test.edit(p.SMTP)
			}
			if test.outcome == mail.OutcomeSent {
				if v := open(t, p).Send(t.Context(), tt.Message(t, p, "a@zoe.example"), commit); v.Outcome != mail.OutcomeSent || !s.Mails()[0].TLS {
					t.Errorf("verdict %+v", v)
				}
				return
			}
			v := openError(t, newTransport(), p)
			if v.Outcome != test.outcome || v.Scope != mail.ScopeProfile || v.Code != test.code || v.Step != "tls" || v.Reply.IsZero() {
				t.Errorf("verdict %+v", v)
			}
			steps := newTransport().Check(t.Context(), p)
			if last := steps[len(steps)-1]; last.OK || last.Name != "tls" || last.Code != test.code {
				t.Errorf("check %+v", steps)
			}
		})
	}
}

// babbleAfterStartTLS hangs up behind its yes to STARTTLS.
func babbleAfterStartTLS() func(tt.Step) tt.Action {
	return at("STARTTLS", tt.Action{Reply: "220 go", Drop: true})
}

// recorder keeps what a client writes.
type recorder struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (r *recorder) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := dial.New(dial.Policy{Allow: dial.Loopback()}).DialContext(ctx, network, address)
	return &recordedConn{c, r}, err
}

type recordedConn struct {
	net.Conn
	r *recorder
}

func (c *recordedConn) Write(p []byte) (int, error) {
	c.r.mu.Lock()
	c.r.out.Write(p)
	c.r.mu.Unlock()
	return c.Conn.Write(p)
}

// shows says whether the password crossed the line in a form that can be read.
func (r *recorder) shows(secret string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + secret))
	oauth := base64.StdEncoding.EncodeToString([]byte("user=" + user + "\x01auth=Bearer " + secret + "\x01\x01"))
	for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), plain, oauth} {
		if strings.Contains(r.out.String(), form) {
			return true
		}
	}
	return false
}

func TestLogin(t *testing.T) {
	all := []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2"}
	for name, test := range map[string]struct {
		auth    mail.Auth
		offered []string
		secure  bool
		allow   bool // AllowPlaintextLogin
		code    string
		clear   bool // the password crosses an open line
	}{
		"plain":                     {auth: mail.AuthPlain, offered: all, secure: true},
		"login":                     {auth: mail.AuthLogin, offered: all, secure: true},
		"cram-md5":                  {auth: mail.AuthCRAMMD5, offered: all},
		"scram-sha-1":               {auth: mail.AuthSCRAMSHA1, offered: all},
		"scram-sha-256":             {auth: mail.AuthSCRAMSHA256, offered: all},
		"xoauth2":                   {auth: mail.AuthXOAUTH2, offered: all, secure: true},
		"auto":                      {auth: mail.AuthAuto, offered: all, secure: true},
		"auto in clear":             {auth: mail.AuthAuto, offered: all},
		"auto, plain only":          {auth: mail.AuthAuto, offered: []string{"PLAIN", "LOGIN"}, secure: true},
		"auto, plain only in clear": {auth: mail.AuthAuto, offered: []string{"PLAIN", "LOGIN"}, code: smtp.CodeLoginNeedsTLS},
		"plain in clear":            {auth: mail.AuthPlain, offered: all, code: smtp.CodeLoginNeedsTLS},
		"login in clear":            {auth: mail.AuthLogin, offered: all, code: smtp.CodeLoginNeedsTLS},
		"xoauth2 in clear":          {auth: mail.AuthXOAUTH2, offered: all, code: smtp.CodeLoginNeedsTLS},
		"plain in clear, allowed":   {auth: mail.AuthPlain, offered: all, allow: true, clear: true},
		"login in clear, allowed":   {auth: mail.AuthLogin, offered: all, allow: true, clear: true},
		"not offered":               {auth: mail.AuthCRAMMD5, offered: []string{"PLAIN"}, secure: true, code: smtp.CodeLoginNotOffered},
		"unknown offers":            {auth: mail.AuthAuto, offered: []string{"GSSAPI", "NTLM", "XOAUTH2"}, secure: true, code: smtp.CodeLoginNotOffered},
		"nothing offered":           {auth: mail.AuthAuto, offered: []string{}, secure: true, code: smtp.CodeLoginNotOffered},
	} {
		t.Run(name, func(t *testing.T) {
			s := tt.StartSMTP(t, tt.SMTPConfig{TLS: test.secure, Users: map[string]string{user: password}, Mechanisms: test.offered})
			p := profile(s)
			p.SMTP.Auth, p.SMTP.AllowPlaintextLogin = test.auth, test.allow
			if test.secure {
				p.SMTP.Security, p.SMTP.CACertificates = mail.SecuritySTARTTLS, s.CA()
			}
			line := &recorder{}
			tr := smtp.New(smtp.Config{Dialer: line})
			if test.code != "" {
				v := openError(t, tr, p)
				if v.Code != test.code || v.Outcome != mail.OutcomePermanent || v.Scope != mail.ScopeProfile || v.Step != "login" {
					t.Errorf("verdict %+v", v)
				}
			} else {
				session, err := tr.Open(t.Context(), p)
				if err != nil {
					t.Fatal(err)
				}
				if v := session.Send(t.Context(), tt.Message(t, p, "a@zoe.example"), commit); v.Outcome != mail.OutcomeSent || s.Mails()[0].User != user {
					t.Errorf("verdict %+v", v)
				}
				session.Close()

				p.SMTP.Password = "not " + password
				if v := openError(t, tr, p); v.Code != smtp.CodeLoginRefused || v.Outcome != mail.OutcomePermanent || v.Scope != mail.ScopeProfile {
					t.Errorf("wrong password: verdict %+v", v)
				}
			}
			if line.shows(password) != test.clear {
				t.Errorf("the password in clear: %v", !test.clear)
			}
		})
	}
}

// What a server may say to AUTH, and that it may not repeat the password in any form.
func TestLoginReplies(t *testing.T) {
	echo := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	for reply, want := range map[string]string{
		"535 5.7.8 wrong":                           smtp.CodeLoginRefused,
		"534 5.7.9 needs an app password":           smtp.CodeLoginRefused,
		"454 4.7.0 later":                           smtp.CodeLoginUnavailable,
		"421 4.7.0 too many":                        smtp.CodeServiceUnavailable,
		"504 5.5.4 unknown":                         smtp.CodeLoginNotOffered,
		"538 5.7.11 encrypt":                        smtp.CodeLoginNeedsTLS,
		"334 !!!":                                   smtp.CodeLoginFailed,
		"334 ":                                      smtp.CodeLoginFailed,
		"535 5.7.8 wrong: AUTH PLAIN " + echo:       smtp.CodeLoginRefused,
		"535-5.7.8 wrong:\r\n535 5.7.8 " + password: smtp.CodeLoginRefused,
		"what": smtp.CodeProtocolError,
	} {
		s := tt.StartSMTP(t, tt.SMTPConfig{
			ImplicitTLS: true, Users: map[string]string{user: password}, Mechanisms: []string{"PLAIN"}, Hook: at("AUTH", tt.Action{Reply: reply}),
		})
		p := profile(s)
		p.SMTP.Security, p.SMTP.CACertificates, p.SMTP.Auth = mail.SecurityTLS, s.CA(), mail.AuthAuto
		v := openError(t, newTransport(), p)
		if v.Code != want || v.Scope != mail.ScopeProfile || v.Step != "login" {
			t.Errorf("%q: verdict %+v", reply, v)
		}
		if text := fmt.Sprintf("%+v", v); strings.Contains(text, password) || strings.Contains(text, echo) {
			t.Errorf("the password shows: %s", text)
		}
	}
}

// A server may offer a mechanism for which it has no form of this user's password.
func TestLoginFallsToAnotherMechanism(t *testing.T) {
	for _, refusal := range []string{"535 5.7.8 no", "504 5.5.4 not for you"} {
		l := &log{act: func(s tt.Step) tt.Action {
			if s.Verb == "AUTH" && !strings.HasPrefix(s.Arg, "PLAIN") {
				return tt.Action{Reply: refusal}
			}
			return tt.Action{}
		}}
		s := tt.StartSMTP(t, tt.SMTPConfig{ImplicitTLS: true, Users: map[string]string{user: password}, Hook: l.hook})
		p := profile(s)
		p.SMTP.Security, p.SMTP.CACertificates, p.SMTP.Auth = mail.SecurityTLS, s.CA(), mail.AuthAuto
		open(t, p)
		if !l.has("AUTH SCRAM-SHA-256") || !l.has("AUTH PLAIN") {
			t.Errorf("said %q", l.lines)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		hook func(tt.Step) tt.Action
		code string
	}{
		"good":                  {},
		"sender refused":        {at("MAIL", tt.Action{Reply: "553 5.7.1 not you"}), smtp.CodeSenderRefused},
		"login required":        {at("MAIL", tt.Action{Reply: "530 5.7.0 who are you"}), smtp.CodeLoginRequired},
		"no relay":              {at("RCPT", tt.Action{Reply: "554 5.7.1 relay denied"}), smtp.CodeRecipientPolicy},
		"greylisting is no ill": {at("RCPT", tt.Action{Reply: "451 4.7.1 greylisted"}), ""},
		"hangs up":              {at("RCPT", tt.Action{Drop: true}), smtp.CodeConnectionLost},
	} {
		l := &log{act: test.hook}
		s := tt.StartSMTP(t, tt.SMTPConfig{Hook: l.hook})
		steps := newTransport().Check(t.Context(), profile(s))
		if len(steps) != 2 || steps[0].Name != "connect" || !steps[0].OK || steps[1].Name != "sender" || steps[1].Code != test.code || steps[1].OK != (test.code == "") {
			t.Errorf("%s: %+v", name, steps)
		}
		if s.Close(); l.has("DATA") {
			t.Errorf("%s: said %q", name, l.lines)
		}
	}
}
