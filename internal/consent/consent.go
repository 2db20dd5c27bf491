// Package consent gets a person's consent at Google for a sender profile, once, and keeps it alive.
//
// The way of a consent: Begin makes an address of our own start page; Opened shows there what will be connected; Leave binds
// the consent to the browser and sends it to Google; Finish takes it back, proves that it is the one that left, and stores a
// grant. From then on AccessToken gives the transport a token, and CheckGrants finds out about a dead grant before the
// monthly run does.
//
// What it promises:
//   - A consent is good once, for ten minutes, in the browser that opened its start page, for the profile it was asked for. What
//     fails leaves no grant behind, here or at Google.
//   - The Google account is the profile's From or an address that the profile declares. A profile is never connected to another.
//   - A refresh token is used by one process at a time. Bad weather at Google is never taken for a dead grant, and what Google
//     says of an old token never for one of a new token.
//   - Secrets are in no error, log or answer.
//
// It does not send, and does not decide what becomes of mail: errors of AccessToken are *transport.Error with a verdict.
package consent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/winprest/facteur/internal/store"
)

// Scopes that are asked for (https://developers.google.com/gmail/api/auth/scopes). Searching in Sent by Message-ID is not possible with
// gmail.metadata, so it takes the read scope.
const (
	ScopeSend = "https://www.googleapis.com/auth/gmail.send"
	ScopeRead = "https://www.googleapis.com/auth/gmail.readonly"
)

// Validity is how long the start page and all that follows of one consent are good.
const Validity = 10 * time.Minute

// Paths of the two pages below Config.PublicURL.
const (
	StartPath    = "/oauth/google/start"
	CallbackPath = "/oauth/google/callback"
)

// Endpoints are Google's addresses. The zero value is Google's own; others are for tests.
type Endpoints struct {
	Auth, Token, Revoke string
	// Issuer is what identity tokens must come from; empty with other endpoints than Google's: not compared.
	Issuer string
}

// google is https://accounts.google.com/.well-known/openid-configuration.
var google = Endpoints{
	Auth:   "https://accounts.google.com/o/oauth2/v2/auth",
	Token:  "https://oauth2.googleapis.com/token",
	Revoke: "https://oauth2.googleapis.com/revoke",
	Issuer: "https://accounts.google.com",
}

func (e Endpoints) orGoogle() Endpoints {
	if e == (Endpoints{}) {
		return google
	}
	for _, p := range []struct{ to, def *string }{{&e.Auth, &google.Auth}, {&e.Token, &google.Token}, {&e.Revoke, &google.Revoke}} {
		if *p.to == "" {
			*p.to = *p.def
		}
	}
	return e
}

// Config is what the service needs. Store is required.
type Config struct {
	Store *store.Store
	// Clients are the service's OAuth clients; at most one is current.
	Clients []Client
	// PublicURL is where browsers reach this service, such as https://mail.example.com. It is https, or http on a loopback
	// address: Google takes no other. Empty: no consent can be asked for, as in a process that only sends.
	PublicURL string
	// ReturnURLs are where a person may be sent back to: an address with everything below its path.
	ReturnURLs []string
	Endpoints  Endpoints
	// Wake tells the engine that a profile may send again. nil: nobody is told.
	Wake   func(ctx context.Context, profileID string) error
	Logger *slog.Logger // nil: slog.Default()
	// Timeout bounds each request to Google; 0: 15 seconds.
	Timeout time.Duration
}

// Service is safe for concurrent use.
type Service struct {
	store     *store.Store
	clients   []Client
	public    string
	returns   []*url.URL
	endpoints Endpoints
	wake      func(ctx context.Context, profileID string) error
	log       *slog.Logger
	http      *http.Client
	timeout   time.Duration
	tokens    tokens
}

const defaultTimeout = 15 * time.Second

// New makes a service. The error names everything that is wrong with the configuration, and no secret.
func New(c Config) (*Service, error) {
	s := &Service{
		store: c.Store, clients: c.Clients, public: strings.TrimSuffix(c.PublicURL, "/"), endpoints: c.Endpoints.orGoogle(), wake: c.Wake, log: c.Logger,
		timeout: c.Timeout,
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.timeout == 0 {
		s.timeout = defaultTimeout
	}
	s.http = &http.Client{
		Timeout: s.timeout,
		// A token endpoint has no reason to send us elsewhere, with our secrets.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	errs := []error{CheckClients(c.Clients)}
	if s.public != "" {
		errs = append(errs, CheckPublicURL(s.public))
	}
	for _, r := range c.ReturnURLs {
		u, err := parseReturn(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.returns = append(s.returns, u)
	}
	return s, errors.Join(errs...)
}

// RedirectURI is what has to be registered at Google for every client.
func (s *Service) RedirectURI() string { return s.public + CallbackPath }

// AuthOrigin is the origin of Google's consent page: a form of ours leads there.
func (s *Service) AuthOrigin() string {
	u, err := url.Parse(s.endpoints.Auth)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// Secure says that browsers reach the pages over TLS.
func (s *Service) Secure() bool { return strings.HasPrefix(s.public, "https://") }

// CheckPublicURL holds the address to Google's rules for redirect URIs
// (https://developers.google.com/identity/protocols/oauth2/web-server#uri-validation).
func CheckPublicURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Contains(u.Path, ".."):
		return fmt.Errorf("%q is not an address such as https://mail.example.com", s)
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	case u.Scheme != "https":
		return fmt.Errorf("%q must begin with https:// (http only for localhost)", s)
	case net.ParseIP(u.Hostname()) != nil && !isLoopback(u.Hostname()):
		return fmt.Errorf("%q is a raw IP address, which Google takes for no redirect", s)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Refusal is why a consent cannot be asked for.
type Refusal struct {
	Code   string
	Params map[string]string
}

func (r *Refusal) Error() string { return "consent: " + r.Code }

func refuse(code string, params ...string) *Refusal {
	r := &Refusal{Code: code}
	if len(params) > 0 {
		r.Params = make(map[string]string, len(params)/2)
		for i := 0; i+1 < len(params); i += 2 {
			r.Params[params[i]] = params[i+1]
		}
	}
	return r
}
