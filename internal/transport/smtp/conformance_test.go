package smtp_test

import (
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport/dial"
	"github.com/winprest/facteur/internal/transport/smtp"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

const (
	user     = "factures@etudes.example"
	password = "correct horse battery"
)

// newTransport reaches loopback and loses patience quickly.
func newTransport() *smtp.Transport {
	return smtp.New(smtp.Config{
		Dialer: dial.New(dial.Policy{Allow: dial.Loopback()}), HELO: "facteur.example",
		Timeouts: smtp.Timeouts{Greeting: 5 * time.Second, Command: 5 * time.Second, Body: 5 * time.Second, Final: 5 * time.Second},
	})
}

func profile(s *tt.SMTPServer) *mail.Profile {
	return &mail.Profile{
		ID: "prf_1", From: mail.Address{Name: "Études & Conseils", Address: user}, Transport: smtp.Name,
		SMTP: &mail.SMTPSettings{Host: s.Host(), Port: s.Port(), Security: mail.SecurityNone, Auth: mail.AuthNone, Username: user, Password: password},
	}
}

func TestConformance(t *testing.T) {
	all := []tt.Weather{
		tt.RefusesOne, tt.RefusesAll, tt.DefersAll, tt.RefusesProfile, tt.BreaksBefore, tt.BreaksAfter, tt.NeverAnswers, tt.Babbles, tt.Repeats,
	}
	for name, cfg := range map[string]tt.SMTPConfig{
		"pipelining": {},
		"one by one": {Hide: []string{"PIPELINING"}},
		"starttls":   {TLS: true, Users: map[string]string{user: password}},
		"tls":        {ImplicitTLS: true, Users: map[string]string{user: password}, Mechanisms: []string{"PLAIN"}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.Run(t, tt.Harness{Weathers: all, Start: func(t *testing.T, w tt.Weather) *tt.FarEnd { return start(t, cfg, w) }})
		})
	}
}

func start(t *testing.T, cfg tt.SMTPConfig, w tt.Weather) *tt.FarEnd {
	var transport = newTransport()
	f := &tt.FarEnd{To: []string{"compta@zoe.example", "refused@zoe.example"}, Refused: "refused@zoe.example", Secrets: []string{password}}
	cfg.Hook = hooks[w]
	if w == tt.NeverAnswers {
		transport = smtp.New(smtp.Config{Dialer: dial.New(dial.Policy{Allow: dial.Loopback()}), Timeouts: smtp.Timeouts{Final: 50 * time.Millisecond}})
	}
	s := tt.StartSMTP(t, cfg)
	p := profile(s)
	if len(cfg.Users) > 0 {
		p.SMTP.Auth, p.SMTP.CACertificates = mail.AuthAuto, s.CA()
		p.SMTP.Security = mail.SecuritySTARTTLS
		if cfg.ImplicitTLS {
			p.SMTP.Security = mail.SecurityTLS
		}
	}
	f.Transport, f.Profile, f.Accepted = transport, p, s.Accepted
	return f
}

var hooks = map[tt.Weather]func(tt.Step) tt.Action{
	tt.RefusesOne: func(s tt.Step) tt.Action {
		if s.Verb == "RCPT" && s.Arg == "TO:<refused@zoe.example>" {
			return tt.Action{Reply: "550 5.1.1 no such user"}
		}
		return tt.Action{}
	},
	tt.RefusesAll:     at("RCPT", tt.Action{Reply: "550 5.1.1 no such user"}),
	tt.DefersAll:      at("DOT", tt.Action{Reply: "451 4.3.0 try later"}),
	tt.RefusesProfile: at("MAIL", tt.Action{Reply: "550 5.7.1 not your address"}),
	tt.BreaksBefore:   at("DATA", tt.Action{Drop: true}),
	tt.BreaksAfter:    at("DOT", tt.Action{Accept: true, Drop: true}),
	tt.NeverAnswers:   at("DOT", tt.Action{Accept: true, Hang: true}),
	tt.Babbles:        at("DOT", tt.Action{Reply: "HTTP/1.1 200 OK"}),
	tt.Repeats:        at("MAIL", tt.Action{Reply: "550 5.7.8 you said " + password}),
}

// at acts at one verb.
func at(verb string, a tt.Action) func(tt.Step) tt.Action {
	return func(s tt.Step) tt.Action {
		if s.Verb == verb {
			return a
		}
		return tt.Action{}
	}
}
