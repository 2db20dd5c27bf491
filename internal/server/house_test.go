package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// house is the API over a real store, with two tenants. Nothing is sent: the outbox has no workers.
type house struct {
	*testing.T
	server       *Server
	store        *store.Store
	log          *lockedBuffer
	google       *transporttest.Google
	sendGrid     *transporttest.SendGrid
	operator     string
	ours, theirs tenantKeys
}

// tenantKeys are a tenant's keys by what they may do.
type tenantKeys struct {
	id, all, send, read, manage string
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

// both runs a test on a migrated database of either kind.
func both(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	pgtest.BothPrepared(t, "server", migrate, test)
}

func migrate(url string) error { return store.Migrate(context.Background(), url, outbox.Migrate) }

// onBoth runs a test on both databases.
func onBoth(t *testing.T, test func(h *house)) {
	t.Helper()
	both(t, func(t *testing.T, url string) { test(newHouse(t, url)) })
}

// onSQLite is for what has nothing to do with the database.
func onSQLite(t *testing.T) *house {
	t.Helper()
	return newHouse(t, pgtest.PreparedSQLite(t, "server", migrate))
}

func newHouse(t *testing.T, url string) *house {
	t.Helper()
	ctx := t.Context()
	keyset, err := store.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	h := &house{T: t, log: &lockedBuffer{}}
	logger := slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if h.store, err = store.Open(ctx, store.Config{URL: url, Keyset: keyset, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			t.Error(err)
		}
	})
	ways := transport.NewRegistry(contractFarEnd{"smtp"}, contractFarEnd{"sandbox"}, contractFarEnd{"gmail"}, contractFarEnd{"sendgrid"})
	box, err := outbox.New(h.store, ways, outbox.Config{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	h.google = transporttest.StartGoogle(t, transporttest.GoogleConfig{Clients: googleClients})
	h.sendGrid = transporttest.StartSendGrid(t, transporttest.SendGridConfig{})
	h.server = New(Config{Store: h.store, Outbox: box, Transports: ways, Logger: logger, CheckBounces: checkBounces, Consent: newConsent(t, h.store, box, h.google, logger), Senders: newSenders(t, h.store, box, h.sendGrid)})
	h.operator = h.key("", store.ScopeOperator)
	h.ours, h.theirs = h.tenant("ours"), h.tenant("theirs")
	return h
}

func (h *house) key(tenant string, scopes ...store.Scope) string {
	h.Helper()
	_, plaintext, err := h.store.CreateKey(h.Context(), tenant, "test", scopes)
	if err != nil {
		h.Fatal(err)
	}
	return plaintext
}

func (h *house) tenant(name string) tenantKeys {
	h.Helper()
	t := &store.Tenant{Name: name}
	if err := h.store.CreateTenant(h.Context(), t, nil); err != nil {
		h.Fatal(err)
	}
	return tenantKeys{
		id: t.ID, all: h.key(t.ID, store.ScopeSend, store.ScopeRead, store.ScopeManage),
		send: h.key(t.ID, store.ScopeSend), read: h.key(t.ID, store.ScopeRead), manage: h.key(t.ID, store.ScopeManage),
	}
}

// answered is an answer with its body read.
type answered struct {
	*httptest.ResponseRecorder
	doc map[string]any
}

// do makes one call. body is a string, an io.Reader or something to marshal; headers are name, value pairs.
func (h *house) do(key, method, path string, body any, headers ...string) answered {
	h.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	case io.Reader:
		r = b
	default:
		j, err := json.Marshal(b)
		if err != nil {
			h.Fatal(err)
		}
		r = bytes.NewReader(j)
	}
	req := httptest.NewRequestWithContext(h.Context(), method, path, r)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	a := answered{ResponseRecorder: httptest.NewRecorder()}
	h.server.ServeHTTP(a.ResponseRecorder, req)
	if strings.Contains(a.Header().Get("Content-Type"), "json") {
		if err := json.Unmarshal(a.Body.Bytes(), &a.doc); err != nil {
			h.Fatalf("%s %s: %v in %.200s", method, path, err, a.Body)
		}
	}
	return a
}

// must makes a call that is answered with the status, and gives the answer.
func (h *house) must(status int, key, method, path string, body any, headers ...string) answered {
	h.Helper()
	a := h.do(key, method, path, body, headers...)
	if a.Code != status {
		h.Fatalf("%s %s: status %d, want %d: %.600s", method, path, a.Code, status, a.Body)
	}
	return a
}

func (a answered) text(field string) string {
	s, _ := a.doc[field].(string)
	return s
}

// errors lists a problem's fields as "pointer code".
func (a answered) errors() []string {
	list, _ := a.doc["errors"].([]any)
	out := make([]string, len(list))
	for i, e := range list {
		m := e.(map[string]any)
		out[i] = m["pointer"].(string) + " " + m["code"].(string)
	}
	return out
}

// stored counts what every tenant has.
func (h *house) stored() map[string]int {
	h.Helper()
	counts := map[string]int{}
	for _, key := range []string{h.ours.all, h.theirs.all} {
		for _, path := range []string{"/v1/sender-profiles", "/v1/templates", "/v1/messages", "/v1/send-jobs", "/v1/audit-events"} {
			counts[path] += len(h.must(http.StatusOK, key, "GET", path+"?limit=200", nil).doc["items"].([]any))
		}
	}
	return counts
}

// furniture is what a tenant needs to send.
type furniture struct {
	user, company, template, file string
}

func (h *house) furnish(key string) furniture {
	h.Helper()
	post := func(path string, body any, headers ...string) string {
		return h.must(http.StatusCreated, key, "POST", path, body, headers...).text("id")
	}
	return furniture{
		user: post("/v1/sender-profiles", `{"level":"user","owner_ref":"jdupont","default":true,"from":{"name":"Jean","address":"jean@firm.example"},
			"transport":"smtp","smtp":{"host":"smtp.firm.example","username":"jean","password":"s3cret-pass"}}`),
		company: post("/v1/sender-profiles", `{"level":"company","owner_ref":"C001","default":true,"from":{"address":"invoices@firm.example"},"transport":"sandbox"}`),
		template: post("/v1/templates", `{"name":"Invoices","document_type":"invoice","default":true,"default_language":"fr","tokens":["MONTANT"],"translations":{
			"fr":{"subject":"Facture NUMFACT","text":"Bonjour NOMCLIENT, MONTANT"},"nl":{"subject":"Factuur NUMFACT","html":"<p>Dag NOMCLIENT, MONTANT</p>"}}}`),
		file: post("/v1/attachments?filename=a.pdf&kind=invoice_pdf", "%PDF-1.4", "Content-Type", "application/pdf"),
	}
}

// invoice is a good mail.
func (f furniture) invoice() object {
	return object{
		"to": []any{object{"address": "client@zoe.example"}}, "language": "nl-BE", "document": object{"type": "invoice", "number": "2026/1", "date": "2026-11-23"},
		"client": object{"name": "Zoë"}, "tokens": object{"MONTANT": "1 €"}, "attachments": []any{object{"id": f.file}},
	}
}

// with is a copy of o with some fields changed; nil removes one.
func (o2 with) of(o object) object {
	out := object{}
	for k, v := range o {
		out[k] = v
	}
	for k, v := range o2 {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

type with object
