package gmail_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/gmail"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

const from = "factures@etudes.example"

// tokens is one grant's access tokens, without a store: each that is refused is replaced by a new one.
type tokens struct {
	google *tt.Google
	scopes []string
	err    error // instead

	mu      sync.Mutex
	current string
	asked   int
	renewed int
}

func (k *tokens) AccessToken(_ context.Context, _ *mail.Profile, rejected string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	if k.err != nil {
		return "", k.err
	}
	if k.current == "" || k.current == rejected {
		k.current = k.google.AccessToken(from, k.scopes...)
		k.renewed++
	}
	return k.current, nil
}

var sendScopes = []string{tt.GoogleScopeSend, "openid", "email"}

// newTransport speaks to a Google of ours and loses patience quickly.
func newTransport(t testing.TB, g *tt.Google, k gmail.Tokens) *gmail.Transport {
	t.Helper()
	tr, err := gmail.New(gmail.Config{
		Tokens: k, HTTP: trusting(g), BaseURL: g.URLs().Gmail, UserinfoURL: g.URLs().Userinfo,
		Timeouts: gmail.Timeouts{Connect: 5 * time.Second, Token: 5 * time.Second, Body: 5 * time.Second, Answer: 5 * time.Second, Read: 5 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// trusting knows the root of a Google with TLS.
func trusting(g *tt.Google) *http.Transport {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(g.CA()))
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
}

func profile() *mail.Profile {
	return &mail.Profile{ID: "prf_1", From: mail.Address{Name: "Études & Conseils", Address: from}, Transport: gmail.Name, Gmail: &mail.GmailSettings{}}
}

func TestConformance(t *testing.T) {
	for name, cfg := range map[string]tt.GoogleConfig{"plain": {}, "tls": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			tt.Run(t, tt.Harness{
				// RefusesOne is nothing that Gmail does: it takes a mail for all or for none.
				Weathers: []tt.Weather{
					tt.RefusesAll, tt.DefersAll, tt.RefusesProfile, tt.BreaksBefore, tt.BreaksAfter, tt.NeverAnswers, tt.Babbles, tt.Repeats,
				},
				Start: func(t *testing.T, w tt.Weather) *tt.FarEnd { return start(t, cfg, w) },
			})
		})
	}
}

func start(t *testing.T, cfg tt.GoogleConfig, w tt.Weather) *tt.FarEnd {
	g := tt.StartGoogle(t, cfg)
	k := &tokens{google: g, scopes: sendScopes}
	token, _ := k.AccessToken(t.Context(), nil, "")
	g.SetHook(hooks(w, token))
	var tr transport.Transport = newTransport(t, g, k)
	switch w {
	case tt.BreaksBefore:
		tr = breakingTransport(t, g, k, 600)
	case tt.NeverAnswers:
		tr, _ = gmail.New(gmail.Config{Tokens: k, BaseURL: g.URLs().Gmail, HTTP: trusting(g), Timeouts: gmail.Timeouts{Answer: 50 * time.Millisecond}})
	}
	return &tt.FarEnd{
		Transport: tr, Profile: profile(), To: []string{"compta@zoe.example", "chef@zoe.example"}, Secrets: []string{token}, Accepted: g.Accepted,
	}
}

func hooks(w tt.Weather, token string) func(tt.GoogleStep) tt.GoogleAction {
	at := func(endpoint string, a tt.GoogleAction) func(tt.GoogleStep) tt.GoogleAction {
		return func(s tt.GoogleStep) tt.GoogleAction {
			if s.Endpoint == endpoint {
				return a
			}
			return tt.GoogleAction{}
		}
	}
	switch w {
	case tt.RefusesAll:
		return at("send", tt.GoogleAction{Status: 400, Reason: "invalidArgument", Message: "Invalid To header"})
	case tt.DefersAll:
		return at("send", tt.GoogleAction{Status: 429, Reason: "rateLimitExceeded"})
	case tt.RefusesProfile:
		return func(s tt.GoogleStep) tt.GoogleAction {
			return tt.GoogleAction{Status: 403, Reason: "domainPolicy", Message: "The domain administrators have disabled Gmail apps."}
		}
	case tt.BreaksAfter:
		return at("send", tt.GoogleAction{Accept: true, Drop: true})
	case tt.NeverAnswers:
		return at("send", tt.GoogleAction{Accept: true, Hang: true})
	case tt.Babbles:
		return at("send", tt.GoogleAction{Raw: "250 2.0.0 OK\r\n"})
	case tt.Repeats:
		return at("send", tt.GoogleAction{Status: 400, Reason: "badRequest", Message: "you said Bearer " + token})
	}
	return nil
}
