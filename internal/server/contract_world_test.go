package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/openapi/contract"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/server/docs"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
	sendgrid "github.com/winprest/facteur/internal/transport/sendgrid/events"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// contractFarEnd is a transport whose far end answers by the recipient's local part.
type contractFarEnd struct{ name string }

func (f contractFarEnd) Info() transport.Info { return transport.Info{Name: f.name} }

func (f contractFarEnd) Check(_ context.Context, p *mail.Profile) []transport.CheckStep {
	if p.SMTP != nil && p.SMTP.Auth != mail.AuthNone && p.SMTP.Password == "" {
		panic("a login without a password")
	}
	steps := []transport.CheckStep{{Name: "connect", OK: true, Reply: mail.Reply{Code: 220, Text: "mx.example ready"}}}
	if p.OwnerRef == "broken" {
		return append(steps, transport.CheckStep{Name: "login", Code: "connection_failed", Reply: mail.Reply{Code: 535, Enhanced: "5.7.8", Text: "no"}})
	}
	return steps
}

func (f contractFarEnd) Open(context.Context, *mail.Profile) (transport.Session, error) {
	return contractSession{}, nil
}

type contractSession struct{}

func (contractSession) Alive() bool  { return true }
func (contractSession) Close() error { return nil }

func (contractSession) Send(ctx context.Context, m *mail.Rendered, commit func(context.Context) error) mail.Verdict {
	if err := commit(ctx); err != nil {
		return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: transport.CodeNotCommitted}
	}
	no := mail.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user"}
	local, _, _ := strings.Cut(m.Envelope.To[0], "@")
	switch local {
	case "refused":
		return mail.Verdict{
			Outcome: mail.OutcomePermanent, Scope: mail.ScopeRecipient, Code: mail.CodePartlyRefused, Step: "rcpt", Reply: no,
			Recipients: []mail.RecipientVerdict{{Address: m.Envelope.To[0], Outcome: mail.OutcomePermanent, Code: mail.CodePartlyRefused, Reply: no}},
		}
	case "later":
		return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: mail.CodeGreylisted, Step: "rcpt", Reply: mail.Reply{Code: 450, Text: "later"}}
	case "unsure":
		return mail.Verdict{Outcome: mail.OutcomeUncertain, Code: mail.CodeWorkerLost, Step: "final"}
	}
	return mail.Verdict{Outcome: mail.OutcomeSent, Step: "final", Reply: mail.Reply{Code: 250, Text: "queued as 4XyZ1"}, Evidence: "4XyZ1"}
}

// contractWorld is a service with its database, and what was made in it so far.
type contractWorld struct {
	*testing.T
	contract *contract.Contract
	server   *httptest.Server
	outbox   *outbox.Outbox
	store    *store.Store
	google   *transporttest.Google
	sendgrid *transporttest.SendGrid
	tenantID string

	operator, full, readOnly string // keys
	attachment               string
	user, company            string // profiles
	template                 string
	ids                      map[string]string // messages by the local part of their recipient
}

func newContractWorld(t *testing.T) *contractWorld {
	t.Helper()
	ctx := t.Context()
	keys, err := store.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(ctx, store.Config{URL: pgtest.PreparedSQLite(t, "server", migrate), Keyset: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	ways := transport.NewRegistry(contractFarEnd{"smtp"}, contractFarEnd{"sandbox"}, contractFarEnd{"gmail"}, contractFarEnd{"sendgrid"})
	box, err := outbox.New(st, ways, outbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Stop(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	c, err := contract.Load(docs.Document())
	if err != nil {
		t.Fatal(err)
	}
	google := transporttest.StartGoogle(t, transporttest.GoogleConfig{Clients: googleClients})
	grid := transporttest.StartSendGrid(t, transporttest.SendGridConfig{})
	webhook, err := sendgrid.ParseKeys("eu=" + grid.EventKey())
	if err != nil {
		t.Fatal(err)
	}
	w := &contractWorld{T: t, store: st, sendgrid: grid, contract: c, google: google, outbox: box, ids: map[string]string{}}
	quiet := slog.New(slog.DiscardHandler)
	api := New(Config{Store: st, Outbox: box, Transports: ways, Logger: quiet, CheckBounces: checkBounces, SendGridKeys: webhook, Consent: newConsent(t, st, box, google, quiet), Senders: newSenders(t, st, box, grid)})
	w.server = httptest.NewServer(c.Handler(t, api))
	t.Cleanup(w.server.Close)
	if _, w.operator, err = st.CreateKey(ctx, "", "operator", []store.Scope{store.ScopeOperator}); err != nil {
		t.Fatal(err)
	}
	return w
}

// contractCall is one call.
type contractCall struct {
	key, method, path string
	body              any // a string or bytes go as they are, everything else as JSON
	header            http.Header
}

// contractAnswer is the answer to it.
type contractAnswer struct {
	status int
	header http.Header
	body   []byte
}

// do makes a call and fails the test when the answer's status is not the wanted one.
func (w *contractWorld) do(want int, call contractCall) contractAnswer {
	w.Helper()
	var body io.Reader
	header := call.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	switch b := call.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	case []byte:
		body = bytes.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			w.Fatal(err)
		}
		body = bytes.NewReader(j)
	}
	if body != nil && header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/json")
	}
	req, err := http.NewRequestWithContext(w.Context(), call.method, w.server.URL+call.path, body)
	if err != nil {
		w.Fatal(err)
	}
	req.Header = header
	if call.key != "" {
		req.Header.Set("Authorization", "Bearer "+call.key)
	}
	if req.Header.Get("Accept-Language") == "" {
		req.Header.Set("Accept-Language", "nl-BE, fr;q=0.5")
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // a redirect is an answer
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	if resp.StatusCode != want {
		w.Fatalf("%s %s: %d, want %d\n%s", call.method, call.path, resp.StatusCode, want, got)
	}
	if bytes.Contains(got, []byte("Er is een probleem opgetreden")) {
		w.Errorf("%s %s: a code without texts: %s", call.method, call.path, got)
	}
	return contractAnswer{resp.StatusCode, resp.Header, got}
}

func (w *contractWorld) get(path string) contractAnswer {
	w.Helper()
	return w.do(200, contractCall{key: w.full, method: "GET", path: path})
}

func (w *contractWorld) post(want int, path string, body any) contractAnswer {
	w.Helper()
	return w.do(want, contractCall{key: w.full, method: "POST", path: path, body: body})
}

// refuse makes a call that must end in a problem with the code, for the whole or for a field.
func (w *contractWorld) refuse(status int, code string, call contractCall) {
	w.Helper()
	a := w.do(status, call)
	var p struct {
		Code   string
		Errors []struct{ Code string }
	}
	a.into(w, &p)
	if p.Code != code && !slices.ContainsFunc(p.Errors, func(e struct{ Code string }) bool { return e.Code == code }) {
		w.Errorf("%s %s: %s, want code %s", call.method, call.path, a.body, code)
	}
}

func (a contractAnswer) into(w *contractWorld, v any) {
	w.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		w.Fatalf("%v: %s", err, a.body)
	}
}

// text is the string at a field of the answer.
func (a contractAnswer) text(w *contractWorld, field string) string {
	w.Helper()
	var m map[string]any
	a.into(w, &m)
	s, _ := m[field].(string)
	return s
}

type object = map[string]any

// labelled says that every entry of a list has a label in the reader's language, not just its own name.
func (w *contractWorld) labelled(name string, a contractAnswer, list string) {
	w.Helper()
	var m map[string]json.RawMessage
	a.into(w, &m)
	var entries []map[string]any
	if err := json.Unmarshal(m[list], &entries); err != nil || len(entries) == 0 {
		w.Errorf("%v: %s", err, a.body)
	}
	for _, e := range entries {
		if e["label"] == "" || e["label"] == e[name] {
			w.Errorf("%v has no label of its own", e[name])
		}
	}
}

// until asks for a message again and again until it has the status.
func (w *contractWorld) until(path, status string) {
	w.Helper()
	const patience = 20 * time.Second
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for got := ""; got != status; <-tick.C {
		if got = w.get(path).text(w, "status"); got != status && time.Now().After(deadline) {
			w.Fatalf("%s is still %s after %s, want %s", path, got, patience, status)
		}
	}
}
