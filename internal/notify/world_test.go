package notify

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/dial"
	"github.com/winprest/facteur/internal/transport/sandbox"
)

// world is a database, a receiver and a clock, for as many engines as a test wants.
type world struct {
	*testing.T
	url      string
	keys     *store.Keyset
	store    *store.Store
	receiver *receiver
	sandbox  *sandbox.Transport

	mu    sync.Mutex
	clock time.Time
}

func both(t *testing.T, test func(w *world)) {
	t.Helper()
	migrate := func(url string) error { return store.Migrate(context.Background(), url, outbox.Migrate) }
	pgtest.BothPrepared(t, "notify", migrate, func(t *testing.T, url string) {
		keys, err := store.NewKeyset()
		if err != nil {
			t.Fatal(err)
		}
		w := &world{T: t, url: url, keys: keys, clock: time.Now().Truncate(time.Second), sandbox: sandbox.New(sandbox.Config{})}
		w.store = w.open()
		w.receiver = newReceiver(t, true)
		test(w)
	})
}

func (w *world) open() *store.Store {
	w.Helper()
	s, err := store.Open(w.Context(), store.Config{URL: w.url, Keyset: w.keys})
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

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

// engine is one process on the world's database; it works when deliver is called.
func (w *world) engine(change ...func(*Config)) *Engine {
	w.Helper()
	cfg := Config{Store: w.store, Policy: dial.Policy{Allow: dial.Loopback()}, Roots: w.receiver.roots, Now: w.now, Logger: slog.New(slog.NewTextHandler(w.Output(), nil))}
	for _, c := range change {
		c(&cfg)
	}
	e := New(cfg)
	w.Cleanup(e.cancel)
	return e
}

// deliver has an engine do all that is due.
func (w *world) deliver(e *Engine) {
	w.Helper()
	if err := e.turn(); err != nil {
		w.Fatal(err)
	}
	e.workers.Wait()
}

func (w *world) tenant() string {
	w.Helper()
	t := &store.Tenant{Name: "Zoë SRL"}
	if err := w.store.CreateTenant(w.Context(), t, nil); err != nil {
		w.Fatal(err)
	}
	return t.ID
}

func (w *world) endpoint(tenant, url string, types ...store.EventType) *store.WebhookEndpoint {
	w.Helper()
	e := &store.WebhookEndpoint{TenantID: tenant, URL: url, Events: types, Language: "fr", Secret: store.NewWebhookSecret(), Description: "Facturation"}
	if err := w.store.CreateWebhookEndpoint(w.Context(), e, "key_test"); err != nil {
		w.Fatal(err)
	}
	return e
}

func (w *world) read(e *store.WebhookEndpoint) *store.WebhookEndpoint {
	w.Helper()
	got, err := w.store.WebhookEndpoint(w.Context(), e.TenantID, e.ID)
	if err != nil {
		w.Fatal(err)
	}
	return got
}

func (w *world) append(events ...store.Event) {
	w.Helper()
	err := w.store.Write(w.Context(), func(ctx context.Context, tx *store.Tx) error { return w.store.AppendEvents(ctx, tx, events) })
	if err != nil {
		w.Fatal(err)
	}
}

// happen has n mails of a tenant fail.
func (w *world) happen(tenant string, n int) {
	w.Helper()
	events := make([]store.Event, n)
	for i := range events {
		events[i] = store.Event{TenantID: tenant, Type: store.EventMessageFailed, Subject: store.NewID("msg"), Data: store.EventData{Status: "failed", Code: "smtp_outcome_unknown"}}
	}
	w.append(events...)
}

func (w *world) deliveries(e *store.WebhookEndpoint, status store.DeliveryStatus) []*store.Delivery {
	w.Helper()
	l, err := w.store.ListDeliveries(w.Context(), e.TenantID, e.ID, status, store.Page{Limit: store.MaxPage})
	if err != nil {
		w.Fatal(err)
	}
	return l.Items
}

func (w *world) profile(tenant string) *mail.Profile {
	w.Helper()
	p := &mail.Profile{
		TenantID: tenant, Level: mail.LevelCompany, OwnerRef: store.NewID("c"), Name: "Factures NUMFACT {REMINDER}", From: mail.Address{Address: "factures@zoe.example"},
		Transport: sandbox.Name, MaxConnections: 2,
	}
	if err := w.store.CreateProfile(w.Context(), p, nil); err != nil {
		w.Fatal(err)
	}
	return p
}

// startOutbox runs the delivery engine with the sandbox.
func (w *world) startOutbox() *outbox.Outbox {
	w.Helper()
	o, err := outbox.New(w.store, transport.NewRegistry(w.sandbox), outbox.Config{Linger: time.Millisecond})
	if err != nil {
		w.Fatal(err)
	}
	if err := o.Start(w.Context()); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := o.Stop(context.Background()); err != nil {
			w.Error(err)
		}
	})
	return o
}

// post is a request as the receiver got it.
type post struct {
	header http.Header
	body   []byte
}

func (p post) id() string { return p.header.Get("Webhook-Id") }

// receiver is a program of the tenant. answer decides; nil: 204.
type receiver struct {
	url   string
	roots *x509.CertPool

	mu     sync.Mutex
	posts  []post
	answer func(w http.ResponseWriter, r *http.Request)
}

func newReceiver(t testing.TB, secure bool) *receiver {
	r := &receiver{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.posts = append(r.posts, post{req.Header.Clone(), body})
		answer := r.answer
		r.mu.Unlock()
		if answer != nil {
			answer(w, req)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	srv := httptest.NewUnstartedServer(handler)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if secure {
		srv.StartTLS()
		r.roots = x509.NewCertPool()
		r.roots.AddCert(srv.Certificate())
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

func (r *receiver) say(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// take gives what came since it was last asked.
func (r *receiver) take() []post {
	r.mu.Lock()
	defer r.mu.Unlock()
	posts := r.posts
	r.posts = nil
	return posts
}
