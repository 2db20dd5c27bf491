package smtp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"

	"github.com/wneessen/go-mail/smtp"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
)

// mechanism is one way to log in (RFC 4954, RFC 4422).
type mechanism struct {
	auth  mail.Auth
	name  string
	plain bool // the secret itself crosses the line
	start func(user, password, host string) smtp.Auth
}

// mechanisms are in the order of AuthAuto's preference. XOAUTH2 is last and only by name: its secret is no password.
var mechanisms = []mechanism{
	{mail.AuthSCRAMSHA256, "SCRAM-SHA-256", false, func(u, p, _ string) smtp.Auth { return &scram{Auth: smtp.ScramSHA256Auth(u, p)} }},
	{mail.AuthSCRAMSHA1, "SCRAM-SHA-1", false, func(u, p, _ string) smtp.Auth { return &scram{Auth: smtp.ScramSHA1Auth(u, p)} }},
	{mail.AuthCRAMMD5, "CRAM-MD5", false, func(u, p, _ string) smtp.Auth { return smtp.CRAMMD5Auth(u, p) }},
	{mail.AuthPlain, "PLAIN", true, func(u, p, host string) smtp.Auth { return smtp.PlainAuth("", u, p, host, true) }},
	{mail.AuthLogin, "LOGIN", true, func(u, p, host string) smtp.Auth { return smtp.LoginAuth(u, p, host, true) }},
	{mail.AuthXOAUTH2, "XOAUTH2", true, func(u, p, _ string) smtp.Auth { return smtp.XOAuth2Auth(u, p) }},
}

// maxChallenges bounds an exchange; the longest known has three.
const maxChallenges = 8

// wantsLogin says whether a profile logs in at all.
func wantsLogin(p *mail.SMTPSettings) bool {
	return p.Auth != mail.AuthNone && p.Auth != "" && (p.Auth != mail.AuthAuto || p.Username != "")
}

// login logs in with the mechanism that the profile names, or with the best one. A server may offer what it cannot do for this
// user (it keeps no password that CRAM-MD5 or SCRAM could use): after such a refusal the next mechanism is tried, once the
// plain ones.
func (s *session) login() *transport.Error {
	usable, needTLS := s.mechanisms()
	if len(usable) == 0 {
		v := mail.Verdict{
			Outcome: permanent, Scope: mail.ScopeProfile, Code: CodeLoginNotOffered, Step: stepLogin,
			Reply: mail.Reply{Text: "the server offers no way to log in that can be used"},
		}
		if needTLS {
			v.Code, v.Reply.Text = CodeLoginNeedsTLS, "the password would be sent in clear"
		}
		return fail(v, nil)
	}
	var refused *transport.Error
	for _, m := range usable {
		if refused != nil && refused.Verdict.Code == CodeLoginRefused && !m.plain {
			continue
		}
		oe := s.authenticate(m)
		if oe == nil {
			return nil
		}
		again := oe.Verdict.Code == CodeLoginNotOffered || oe.Verdict.Code == CodeLoginRefused && !m.plain
		if refused = oe; !again {
			break
		}
	}
	return refused
}

// mechanisms are those that may be tried. needTLS says that one was left out because the connection is open to others.
func (s *session) mechanisms() (usable []mechanism, needTLS bool) {
	for _, m := range mechanisms {
		if s.settings.Auth == mail.AuthAuto {
			if m.auth == mail.AuthXOAUTH2 || !slices.Contains(s.ext.auth, m.name) {
				continue
			}
		} else if s.settings.Auth != m.auth || !slices.Contains(s.ext.auth, m.name) {
			continue
		}
		if m.plain && !s.secure && !s.settings.AllowPlaintextLogin {
			needTLS = true
			continue
		}
		usable = append(usable, m)
	}
	return usable, needTLS
}

// authenticate is one AUTH exchange.
func (s *session) authenticate(m mechanism) *transport.Error {
	host := s.settings.Host
	a := m.start(s.settings.Username, string(s.settings.Password), host)
	name, initial, err := a.Start(&smtp.ServerInfo{Name: host, TLS: s.secure, Auth: s.ext.auth})
	if err != nil {
		return loginFailed(err)
	}
	var r reply
	if initial == nil {
		r, err = s.c.ask(s.t.timeouts.Command, "AUTH ", name)
	} else {
		r, err = s.c.ask(s.t.timeouts.Command, "AUTH ", name, " ", s.encode(initial))
	}
	for range maxChallenges {
		if err != nil || r.code != 334 {
			break
		}
		answer, failed := s.answer(a, r.text)
		if failed != nil {
			s.c.ask(s.t.timeouts.Command, "*") //nolint:errcheck // the exchange is given up, RFC 4954 section 4
			return loginFailed(failed)
		}
		r, err = s.c.ask(s.t.timeouts.Command, s.encode(answer))
	}
	if err == nil && r.code == 334 {
		return loginFailed(errors.New("smtp: the login does not end"))
	}
	if oe := s.unless2xx(stepLogin, r, err); oe != nil {
		return oe
	}
	if v, ok := a.(*scram); ok && !v.verified() {
		return loginFailed(errors.New("smtp: the server did not prove that it knows the password"))
	}
	return nil
}

// answer is what to say to a challenge.
func (s *session) answer(a smtp.Auth, challenge []byte) ([]byte, error) {
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(challenge)))
	n, err := base64.StdEncoding.Decode(decoded, bytes.TrimSpace(challenge))
	if err != nil {
		return nil, errors.New("smtp: a challenge is not base64")
	}
	return a.Next(decoded[:n], true)
}

// encode is a response as it goes over the line, which no reply may show.
func (s *session) encode(response []byte) string {
	b := base64.StdEncoding.EncodeToString(response)
	if len(b) > 4 {
		s.c.keepSecret(b)
	}
	return b
}

// loginFailed is the verdict on an exchange that the server did not conduct as its mechanism wants.
func loginFailed(err error) *transport.Error {
	return &transport.Error{Err: err, Verdict: mail.Verdict{
		Outcome: permanent, Scope: mail.ScopeProfile, Code: CodeLoginFailed, Step: stepLogin,
		Reply: mail.Reply{Text: "the server did not keep to the login mechanism"},
	}}
}

// Bounds of what a server may ask of SCRAM: fewer rounds than RFC 7677 section 4 wants would sell the password cheaply, more
// would only burn our time.
const (
	minIterations = 4096
	maxIterations = 1_000_000
)

// scram holds a SCRAM exchange (RFC 5802) to its order, so that the server's proof cannot be left out or made from nothing.
type scram struct {
	smtp.Auth
	stage int // challenges answered
}

func (a *scram) verified() bool { return a.stage == 3 }

// Next implements smtp.Auth.
func (a *scram) Next(challenge []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	good := false
	switch a.stage {
	case 0:
		good = len(challenge) == 0
	case 1:
		_, count, found := bytes.Cut(challenge, []byte(",i="))
		n, err := strconv.Atoi(string(count))
		good = bytes.HasPrefix(challenge, []byte("r=")) && found && err == nil && n >= minIterations && n <= maxIterations
	case 2:
		good = bytes.HasPrefix(challenge, []byte("v="))
	}
	if !good {
		return nil, errors.New("smtp: a SCRAM challenge is out of order or out of bounds")
	}
	answer, err := a.Auth.Next(challenge, true)
	if err != nil {
		return nil, errors.New("smtp: SCRAM: the server's message does not fit")
	}
	a.stage++
	return answer, nil
}
