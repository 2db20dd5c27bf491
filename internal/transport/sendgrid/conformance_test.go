package sendgrid_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/sendgrid"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

const from = "factures@etudes.example"

var patience = sendgrid.Timeouts{Connect: 5 * time.Second, Body: 5 * time.Second, Answer: 5 * time.Second, Read: 5 * time.Second}

// newTransport speaks to a SendGrid of ours and loses patience quickly.
func newTransport(t testing.TB, s *tt.SendGrid, more ...func(*sendgrid.Config)) *sendgrid.Transport {
	t.Helper()
	cfg := sendgrid.Config{
		Keys: map[string]sendgrid.Key{"main": {Secret: tt.SendGridTestKey, BaseURL: s.URL()}}, HTTP: trusting(s), Timeouts: patience,
	}
	for _, change := range more {
		change(&cfg)
	}
	tr, err := sendgrid.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// trusting knows the root of a SendGrid with TLS.
func trusting(s *tt.SendGrid) *http.Transport {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.CA()))
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
}

func profile() *mail.Profile {
	return &mail.Profile{
		ID: "prf_1", TenantID: "ten_1", From: mail.Address{Name: "Études & Conseils", Address: from}, Transport: sendgrid.Name, SendGrid: &mail.SendGridSettings{},
	}
}

func careful() *mail.Profile {
	p := profile()
	p.SendGrid.Careful = true
	return p
}

func TestConformance(t *testing.T) {
	for name, cfg := range map[string]tt.SendGridConfig{"plain": {}, "tls": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			tt.Run(t, tt.Harness{
				// RefusesOne is nothing that SendGrid does: it takes a mail for all or for none.
				Weathers: []tt.Weather{
					tt.RefusesAll, tt.DefersAll, tt.RefusesProfile, tt.BreaksBefore, tt.BreaksAfter, tt.NeverAnswers, tt.Babbles, tt.Repeats,
				},
				Start: func(t *testing.T, w tt.Weather) *tt.FarEnd { return start(t, cfg, w) },
			})
		})
	}
}

func start(t *testing.T, cfg tt.SendGridConfig, w tt.Weather) *tt.FarEnd {
	if w != tt.RefusesProfile {
		cfg.Domains = []string{"etudes.example"}
	}
	cfg.Hook = hooks(w)
	s := tt.StartSendGrid(t, cfg)
	var tr transport.Transport = newTransport(t, s)
	switch w {
	case tt.BreaksBefore:
		tr = breakingTransport(t, s, 600)
	case tt.NeverAnswers:
		tr = newTransport(t, s, func(c *sendgrid.Config) { c.Timeouts.Answer = 50 * time.Millisecond })
	}
	return &tt.FarEnd{
		Transport: tr, Profile: profile(), To: []string{"compta@zoe.example", "chef@zoe.example"}, Secrets: []string{tt.SendGridTestKey}, Accepted: s.Accepted,
	}
}

// at acts at one endpoint.
func at(endpoint string, a tt.SendGridAction) func(tt.SendGridStep) tt.SendGridAction {
	return func(s tt.SendGridStep) tt.SendGridAction {
		if s.Endpoint == endpoint {
			return a
		}
		return tt.SendGridAction{}
	}
}

func hooks(w tt.Weather) func(tt.SendGridStep) tt.SendGridAction {
	switch w {
	case tt.RefusesAll:
		return at("send", tt.SendGridAction{Status: 400, Field: "personalizations.0.to", Message: "Does not contain a valid address."})
	case tt.DefersAll:
		return at("send", tt.SendGridAction{Status: 429, Message: "too many requests"})
	case tt.BreaksAfter:
		return at("send", tt.SendGridAction{Accept: true, Drop: true})
	case tt.NeverAnswers:
		return at("send", tt.SendGridAction{Accept: true, Hang: true})
	case tt.Babbles:
		return at("send", tt.SendGridAction{Raw: "250 2.0.0 OK\r\n"})
	case tt.Repeats:
		return at("send", tt.SendGridAction{Status: 400, Message: "you said Bearer " + tt.SendGridTestKey})
	}
	return nil
}

// attempt sends one mail over a new session and holds the number of POSTs and commits to what they may be.
func attempt(t *testing.T, tr transport.Transport, s *tt.SendGrid, p *mail.Profile, m *mail.Rendered) mail.Verdict {
	t.Helper()
	session, err := tr.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	posts, commits := s.Calls("upload"), 0
	v := session.Send(t.Context(), m, func(context.Context) error {
		if commits++; s.Calls("upload") != posts {
			t.Error("something was sent before commit")
		}
		return nil
	})
	if commits > 1 || v.Step == "" || v.Outcome != mail.OutcomeSent && v.Code == "" {
		t.Errorf("%d commits, verdict %+v", commits, v)
	}
	return v
}
