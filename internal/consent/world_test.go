package consent_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// world is a service with a database, a Google and a firm with one Gmail profile.
type world struct {
	*testing.T
	url     string
	keyset  *store.Keyset
	store   *store.Store
	google  *transporttest.Google
	service *consent.Service
	config  consent.Config
	log     *lockedBuffer
	profile *mail.Profile
	woken   []string
	stolen  string // a code
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const (
	publicURL = "https://mail.facteur.example"
	address   = "invoices@zoe.example"
	other     = "private@gmail.example"
)

// both runs a test in a fresh world on each database.
func both(t *testing.T, google transporttest.GoogleConfig, test func(w *world)) {
	t.Helper()
	pgtest.BothPrepared(t, "consent", migrate, func(t *testing.T, url string) { test(newWorld(t, url, google)) })
}

func migrate(url string) error { return store.Migrate(context.Background(), url) }

func newWorld(t *testing.T, dsn string, google transporttest.GoogleConfig) *world {
	t.Helper()
	google.Clients = []transporttest.GoogleClient{
		{ID: "id-1", Secret: "secret-of-1", RedirectURIs: []string{publicURL + consent.CallbackPath}},
		{ID: "id-2", Secret: "secret-of-2", RedirectURIs: []string{publicURL + consent.CallbackPath}},
		{ID: "id-3", Secret: "secret-of-3", RedirectURIs: []string{publicURL + consent.CallbackPath}},
		{ID: "id-own", Secret: "secret-of-own", RedirectURIs: []string{publicURL + consent.CallbackPath}},
	}
	w := &world{T: t, url: dsn, google: transporttest.StartGoogle(t, google), log: &lockedBuffer{}}
	var err error
	if w.keyset, err = store.NewKeyset(); err != nil {
		t.Fatal(err)
	}
	w.store = w.open()
	urls := w.google.URLs()
	w.config = consent.Config{
		Clients: []consent.Client{
			{Name: "key-1", ID: "id-1", Secret: "secret-of-1", State: consent.Accepting},
			{Name: "key-2", ID: "id-2", Secret: "secret-of-2", State: consent.Current},
			{Name: "key-0", ID: "id-3", Secret: "secret-of-3", State: consent.Retired},
		},
		PublicURL: publicURL, ReturnURLs: []string{"https://app.zoe.example/mail", "winprest:connected"},
		Endpoints: consent.Endpoints{Auth: urls.Auth, Token: urls.Token, Revoke: urls.Revoke, Issuer: "https://accounts.google.com"},
		Wake:      func(_ context.Context, id string) error { w.woken = append(w.woken, id); return nil },
		Logger:    slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	w.service = w.serve(w.store)
	w.profile = w.newProfile(w.newTenant("Zoë SRL"), address, nil)
	t.Cleanup(func() { w.noSecrets() })
	return w
}

// open is another process's handle on the database.
func (w *world) open() *store.Store {
	w.Helper()
	s, err := store.Open(w.Context(), store.Config{URL: w.url, Keyset: w.keyset, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := s.Close(); err != nil {
			w.Error(err)
		}
	})
	return s
}

func (w *world) serve(s *store.Store) *consent.Service {
	w.Helper()
	c := w.config
	c.Store = s
	service, err := consent.New(c)
	if err != nil {
		w.Fatal(err)
	}
	return service
}

func (w *world) newTenant(name string) string {
	w.Helper()
	t := &store.Tenant{Name: name}
	if err := w.store.CreateTenant(w.Context(), t, nil); err != nil {
		w.Fatal(err)
	}
	return t.ID
}

func (w *world) newProfile(tenant, from string, settings *mail.GmailSettings) *mail.Profile {
	w.Helper()
	if settings == nil {
		settings = &mail.GmailSettings{}
	}
	p := &mail.Profile{
		TenantID: tenant, Level: mail.LevelCompany, OwnerRef: "C001", Name: "Invoices", From: mail.Address{Address: from}, Transport: "gmail", Gmail: settings, MaxConnections: 2,
	}
	if err := w.store.CreateProfile(w.Context(), p, nil); err != nil {
		w.Fatal(err)
	}
	return p
}

// read is the profile as it is stored.
func (w *world) read(p *mail.Profile) *mail.Profile {
	w.Helper()
	got, err := w.store.Profile(w.Context(), p.TenantID, p.ID)
	if err != nil {
		w.Fatal(err)
	}
	return got
}

// begin asks for a consent and gives the ticket of its start page.
func (w *world) begin(p *mail.Profile) string {
	w.Helper()
	start, err := w.service.Begin(w.Context(), p, consent.Request{Actor: "key_1", Language: "fr"})
	if err != nil {
		w.Fatal(err)
	}
	u, err := url.Parse(start.URL)
	if err != nil || !strings.HasPrefix(start.URL, publicURL+consent.StartPath+"?ticket=") {
		w.Fatalf("%v, %v", start.URL, err)
	}
	return u.Query().Get("ticket")
}

// leave goes through the start page to Google's address.
func (w *world) leave(ticket, browser string) string {
	w.Helper()
	if p, err := w.service.Opened(w.Context(), ticket, browser); err != nil || p.Code != "" {
		w.Fatalf("start page: %+v, %v", p, err)
	}
	to, p, err := w.service.Leave(w.Context(), ticket, browser)
	if err != nil || p.Code != "" {
		w.Fatalf("leave: %+v, %v", p, err)
	}
	return to
}

// decide is what the person does at Google; it gives the query of the callback.
func (w *world) decide(to string, d transporttest.GoogleDecision) url.Values {
	w.Helper()
	back, err := w.google.Decide(w.Context(), to, d)
	if err != nil {
		w.Fatal(err)
	}
	if !strings.HasPrefix(back.String(), publicURL+consent.CallbackPath+"?") {
		w.Fatalf("Google sends the browser to %s", back)
	}
	return back.Query()
}

func (w *world) finish(query url.Values, browser string) consent.Page {
	w.Helper()
	p, err := w.service.Finish(w.Context(), query, browser)
	if err != nil {
		w.Fatal(err)
	}
	return p
}

// connect goes the whole good way.
func (w *world) connect(p *mail.Profile) *store.Grant {
	w.Helper()
	browser := consent.NewBrowser()
	page := w.finish(w.decide(w.leave(w.begin(p), browser), transporttest.GoogleDecision{}), browser)
	if page.Code != "" || page.Account != p.From.Address {
		w.Fatalf("connect: %+v", page)
	}
	return w.grant(p)
}

func (w *world) grant(p *mail.Profile) *store.Grant {
	w.Helper()
	g, err := w.store.Grant(w.Context(), p.TenantID, p.ID)
	if err != nil {
		w.Fatal(err)
	}
	return g
}

func (w *world) status(p *mail.Profile) *consent.Status {
	w.Helper()
	st, err := w.service.Status(w.Context(), w.read(p))
	if err != nil {
		w.Fatal(err)
	}
	return st
}

// nothingConnected says that a consent came to nothing, here and at Google.
func (w *world) nothingConnected(code string) {
	w.Helper()
	if _, err := w.store.Grant(w.Context(), w.profile.TenantID, w.profile.ID); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("%s left a grant: %v", code, err)
	}
	if st := w.status(w.profile); st.State != consent.StateNone || st.Failure != code || !st.PendingUntil.IsZero() {
		w.Errorf("status after %s: %+v", code, st)
	}
	if len(w.woken) > 0 {
		w.Errorf("%s woke %v", code, w.woken)
	}
}

// sql changes the database as a test needs it: parameters are written ?.
func (w *world) sql(query string, args ...any) {
	w.Helper()
	var err error
	if lite := w.store.SQLite(); lite != nil {
		_, err = lite.ExecContext(w.Context(), query, args...)
	} else {
		for i := 1; strings.Contains(query, "?"); i++ {
			query = strings.Replace(query, "?", "$"+string(rune('0'+i)), 1)
		}
		_, err = w.store.Postgres().Exec(w.Context(), query, args...)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// expireAccess ends the stored access token's time.
func (w *world) expireAccess(p *mail.Profile) {
	w.sql("UPDATE gmail_grants SET access_until = 1 WHERE profile_id = ?", p.ID)
}

// fails says that a token is refused with a code.
func (w *world) fails(err error, outcome mail.Outcome, code string) *transport.Error {
	w.Helper()
	var e *transport.Error
	if !errors.As(err, &e) {
		w.Fatalf("the error is %v, want %s", err, code)
	}
	if e.Verdict.Outcome != outcome || e.Verdict.Code != code || e.Verdict.Scope != mail.ScopeProfile {
		w.Errorf("the verdict is %+v (%v), want %v %s", e.Verdict, e.Err, outcome, code)
	}
	return e
}

// noSecrets looks for tokens and secrets in the log.
func (w *world) noSecrets() {
	w.Helper()
	for _, secret := range []string{"ya29.", "1//", "4/", "secret-of", "eyJ"} {
		if strings.Contains(w.log.String(), secret) {
			w.Errorf("the log holds %q:\n%s", secret, w.log)
		}
	}
}
