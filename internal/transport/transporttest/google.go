package transporttest

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Scopes that a Google knows, as far as it matters here.
const (
	GoogleScopeSend     = "https://www.googleapis.com/auth/gmail.send"
	GoogleScopeReadonly = "https://www.googleapis.com/auth/gmail.readonly"
)

// GoogleConfig says how a Google behaves. The zero value has one OAuth client, knows every account that somebody names, answers
// at once and keeps everything.
type GoogleConfig struct {
	// Clients are the OAuth clients; none: one with the id "client-1" and the secret "client-1-secret", any redirect URI.
	Clients []GoogleClient
	// Accounts can be chosen on the consent screen, besides the one that login_hint names.
	Accounts []GoogleAccount
	// RotateRefreshTokens gives a new refresh token with each refresh; the one before is then refused.
	RotateRefreshTokens bool
	// TokenLife is how long an access token is good; 0: an hour.
	TokenLife time.Duration
	// Delay is waited before each answer to a mail.
	Delay time.Duration
	// DiscardData keeps only what can be counted of each mail, for a sink of many.
	DiscardData bool
	// Hook may change what happens at a step; it is called from many goroutines. nil: nothing changes. See Google.SetHook.
	Hook func(GoogleStep) GoogleAction
	// TLS speaks TLS with a certificate of this flaw; see Google.CA.
	TLS         bool
	Certificate CertificateKind
	// DropAfterRead cuts each connection once so many bytes have come in, DropAfterWrite once so many have gone out; 0: never.
	DropAfterRead, DropAfterWrite int64
}

// GoogleClient is an OAuth client.
type GoogleClient struct {
	ID, Secret   string
	RedirectURIs []string // none: any
}

// GoogleAccount is a mailbox.
type GoogleAccount struct {
	Address string
	SendAs  []string // further addresses that it may send as; a From that is none of them is replaced by Address
}

// GoogleURLs are where the endpoints of a Google are.
type GoogleURLs struct {
	Auth, Token, Revoke, Userinfo, Tokeninfo string
	Gmail                                    string // the base URL of the Gmail API, with a slash at the end
}

// GoogleStep is a moment at which a Hook may act.
type GoogleStep struct {
	// Endpoint is "auth", "token", "revoke", "userinfo", "tokeninfo", "list", "get" or "sendas"; or "upload" when the header of
	// a mail's request has come, and "send" when the whole mail has.
	Endpoint  string
	N         int    // how often it was called, from 1
	Account   string // whose token it is, if any
	GrantType string // of "token"
	MessageID string // of "send", with angle brackets
}

// GoogleAction is what a Hook wants. The zero GoogleAction lets Google go on.
type GoogleAction struct {
	// Status is answered instead, with Reason and Message in the form of Google's errors, or with Body. 200 when there is only
	// Body.
	Status          int
	Reason, Message string
	RetryAfter      string // the header field
	Body            string
	// Raw is written to the connection as it is, which then ends.
	Raw string
	// Drop ends the connection without an answer.
	Drop bool
	// Hang says nothing more, until the client or the server closes the connection.
	Hang bool
	// Accept takes the mail at "send" whatever else happens.
	Accept bool
	// NoRefreshToken leaves the refresh token out of the answer of "token".
	NoRefreshToken bool
	// Delay is waited first.
	Delay time.Duration
}

// GoogleMail is a mail that was sent.
type GoogleMail struct {
	ID, ThreadID string
	Account      string   // whose mailbox it was sent from
	From         string   // the address that its recipients see: Gmail replaces one that the account may not send as
	To           []string // everybody named in To, Cc and Bcc
	Data         []byte   // as it was given; nil with DiscardData
	Size         int
	MessageID    string // with angle brackets
	Subject      string
	Conn         string // the client's address
	ReceivedAt   time.Time

	references string
}

// Google is a Google of our own on loopback, as far as Facteur sees it: the consent screen, the token, revocation and user info
// endpoints of its OAuth (https://developers.google.com/identity/protocols/oauth2/web-server), and of the Gmail API sending,
// searching and reading. It is strict where Google is, and misbehaves where its Hook says so. It is safe for concurrent use.
type Google struct {
	cfg      GoogleConfig
	listener net.Listener
	server   *http.Server
	scheme   string
	ca       string
	done     chan struct{}
	wg       sync.WaitGroup

	mu      sync.Mutex
	hook    func(GoogleStep) GoogleAction
	calls   map[string]int
	codes   map[string]*googleCode
	grants  map[string]*googleGrant // by refresh token
	access  map[string]*googleAccess
	mails   []*GoogleMail
	byID    map[string]*GoogleMail
	threads map[string]*GoogleMail // by account and thread id: the first mail
	ids     map[string]int         // Message-ID: how often
	given   map[delivery]int
	again   int
	changed chan struct{} // closed when a mail is accepted and somebody waits
}

// NewGoogle starts a Google on a free port of 127.0.0.1.
func NewGoogle(cfg GoogleConfig) (*Google, error) {
	if len(cfg.Clients) == 0 {
		cfg.Clients = []GoogleClient{{ID: "client-1", Secret: "client-1-secret"}}
	}
	if cfg.TokenLife == 0 {
		cfg.TokenLife = time.Hour
	}
	g := &Google{
		cfg: cfg, hook: cfg.Hook, scheme: "http", done: make(chan struct{}),
		calls: map[string]int{}, codes: map[string]*googleCode{}, grants: map[string]*googleGrant{}, access: map[string]*googleAccess{},
		byID: map[string]*GoogleMail{}, threads: map[string]*GoogleMail{}, ids: map[string]int{}, given: map[delivery]int{},
	}
	var err error
	if g.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	var l net.Listener = &cuttingListener{g.listener, cfg.DropAfterRead, cfg.DropAfterWrite}
	if cfg.TLS {
		cert, ca, err := certificate(cfg.Certificate)
		if err != nil {
			return nil, err
		}
		g.scheme, g.ca = "https", ca
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	}
	g.server = &http.Server{Handler: g.routes(), ErrorLog: quiet, ReadHeaderTimeout: time.Minute}
	g.wg.Go(func() { g.server.Serve(l) }) //nolint:errcheck // it ends with Close
	return g, nil
}

// StartGoogle starts a Google that ends with the test.
func StartGoogle(t testing.TB, cfg GoogleConfig) *Google {
	t.Helper()
	g, err := NewGoogle(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() }) //nolint:errcheck // it ends with the test
	return g
}

func (g *Google) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /o/oauth2/v2/auth", g.consentScreen)
	mux.HandleFunc("POST /o/oauth2/v2/auth", g.consentGiven)
	mux.HandleFunc("POST /token", g.token)
	mux.HandleFunc("POST /revoke", g.revoke)
	mux.HandleFunc("GET /v1/userinfo", g.userinfo)
	mux.HandleFunc("GET /tokeninfo", g.tokeninfo)
	mux.HandleFunc("POST /upload/gmail/v1/users/me/messages/send", g.send)
	mux.HandleFunc("GET /gmail/v1/users/me/messages", g.list)
	mux.HandleFunc("GET /gmail/v1/users/me/messages/{id}", g.get)
	mux.HandleFunc("GET /gmail/v1/users/me/settings/sendAs", g.sendAs)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.wg.Add(1)
		defer g.wg.Done()
		mux.ServeHTTP(w, r)
	})
}

// Close cuts all connections and waits for their end.
func (g *Google) Close() error {
	g.mu.Lock()
	select {
	case <-g.done:
	default:
		close(g.done)
	}
	g.mu.Unlock()
	err := g.server.Close()
	g.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Addr is "127.0.0.1:port".
func (g *Google) Addr() string { return g.listener.Addr().String() }

// CA is the root, in PEM, that signed the certificate. It is valid for 127.0.0.1.
func (g *Google) CA() string { return g.ca }

// URLs are where the endpoints are.
func (g *Google) URLs() GoogleURLs {
	base := g.scheme + "://" + g.Addr()
	return GoogleURLs{
		Auth: base + "/o/oauth2/v2/auth", Token: base + "/token", Revoke: base + "/revoke",
		Userinfo: base + "/v1/userinfo", Tokeninfo: base + "/tokeninfo", Gmail: base + "/",
	}
}

// SetHook changes the hook; nil: none.
func (g *Google) SetHook(hook func(GoogleStep) GoogleAction) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hook = hook
}

// Calls is how often an endpoint was called so far; the names are those of GoogleStep.
func (g *Google) Calls(endpoint string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls[endpoint]
}

// Mails are those accepted so far, in order.
func (g *Google) Mails() []GoogleMail {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]GoogleMail, len(g.mails))
	for i, m := range g.mails {
		out[i] = *m
	}
	return out
}

// Accepted is the number of mails accepted so far.
func (g *Google) Accepted() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.mails)
}

// Duplicates is how often a recipient was given a mail that he had already, by Message-ID.
func (g *Google) Duplicates() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.again
}

// ByMessageID counts the accepted mails by their Message-ID (with angle brackets).
func (g *Google) ByMessageID() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make(map[string]int, len(g.ids))
	for id, n := range g.ids {
		out[id] = n
	}
	return out
}

// Wait waits until n mails were accepted in all, or d has passed; it says whether they were.
func (g *Google) Wait(n int, d time.Duration) bool {
	timeout := time.After(d)
	for {
		g.mu.Lock()
		if len(g.mails) >= n {
			g.mu.Unlock()
			return true
		}
		if g.changed == nil {
			g.changed = make(chan struct{})
		}
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
		case <-timeout:
			return false
		case <-g.done:
			return false
		}
	}
}

// step counts a call and asks the hook.
func (g *Google) step(s GoogleStep) GoogleAction {
	g.mu.Lock()
	g.calls[s.Endpoint]++
	s.N = g.calls[s.Endpoint]
	hook := g.hook
	g.mu.Unlock()
	if hook == nil {
		return GoogleAction{}
	}
	return hook(s)
}

// account finds a declared account, or makes one of an address.
func (g *Google) account(address string) GoogleAccount {
	for _, a := range g.cfg.Accounts {
		if strings.EqualFold(a.Address, address) {
			return a
		}
	}
	return GoogleAccount{Address: address}
}

func (g *Google) client(id string) (GoogleClient, bool) {
	i := slices.IndexFunc(g.cfg.Clients, func(c GoogleClient) bool { return c.ID == id })
	if i < 0 {
		return GoogleClient{}, false
	}
	return g.cfg.Clients[i], true
}

// secret makes what nobody can guess; kind shows in it what it is.
func secret(kind string) string { return kind + rand.Text() }
