package notify

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/dial"
)

// verifies says whether an independent library takes a post as signed with the secret.
func verifies(t testing.TB, secret mail.Secret, p post) bool {
	t.Helper()
	wh, err := standardwebhooks.NewWebhook(string(secret))
	if err != nil {
		t.Fatal(err)
	}
	return wh.Verify(p.body, p.header) == nil
}

func TestEventsAreSignedAndFiltered(t *testing.T) {
	both(t, func(w *world) {
		tenant, other := w.tenant(), w.tenant()
		all, failed, foreign := w.endpoint(tenant, w.receiver.url+"/all"), w.endpoint(tenant, w.receiver.url+"/failed", store.EventMessageFailed), w.endpoint(other, w.receiver.url+"/other")
		w.append(
			store.Event{TenantID: tenant, Type: store.EventMessageFailed, Subject: "msg_1", Data: store.EventData{Status: "failed", Code: "smtp_outcome_unknown"}},
			store.Event{TenantID: tenant, Type: store.EventMessageSent, Subject: "msg_2", Data: store.EventData{Status: "sent"}},
		)
		e := w.engine()
		w.deliver(e)
		w.deliver(e) // nothing is sent again
		posts := w.receiver.take()
		if len(posts) != 3 {
			w.Fatalf("%d posts, want 3", len(posts))
		}
		for _, p := range posts {
			if byAll, byFailed := verifies(w, all.Secret, p), verifies(w, failed.Secret, p); byAll == byFailed || verifies(w, foreign.Secret, p) {
				w.Errorf("signed by all %v, by failed %v", byAll, byFailed)
			}
			var event api.WebhookEvent
			if err := json.Unmarshal(p.body, &event); err != nil {
				w.Fatal(err)
			}
			if verifies(w, failed.Secret, p) && event.Type != "message.failed" {
				w.Errorf("the filter let %s through", event.Type)
			}
			if event.Data.ID == "msg_1" && (event.Data.Problem == nil || event.Data.Problem.Title != "Il n’est pas certain que l’e-mail soit parti" && event.Data.Problem.Detail == "") {
				w.Errorf("no texts: %s", p.body)
			}
			if event.Data.Link != "/v1/messages/"+event.Data.ID {
				w.Errorf("link %s", event.Data.Link)
			}
		}
		if n := len(w.deliveries(foreign, "")); n != 0 {
			w.Errorf("another tenant has %d deliveries", n)
		}
		if n := len(w.deliveries(all, store.DeliveryDelivered)); n != 2 {
			w.Errorf("%d are delivered, want 2", n)
		}
		// One tenant's delivery cannot be reached by way of another's endpoint.
		mine := w.deliveries(all, "")[0]
		if _, err := w.store.ReplayDelivery(w.Context(), other, foreign.ID, mine.ID); err != store.ErrNotFound { //nolint:errorlint // the package's own
			w.Errorf("replay by another tenant: %v", err)
		}
		if _, err := w.store.ReplayDelivery(w.Context(), other, all.ID, mine.ID); err != store.ErrNotFound { //nolint:errorlint // likewise
			w.Errorf("replay by another tenant: %v", err)
		}
	})
}

func TestRotation(t *testing.T) {
	both(t, func(w *world) {
		endpoint, e := w.endpoint(w.tenant(), w.receiver.url), w.engine()
		rotated, err := w.store.ChangeWebhookEndpoint(w.Context(), endpoint.TenantID, endpoint.ID, "key_test", func(e *store.WebhookEndpoint) {
			e.Previous, e.PreviousUntil, e.Secret = e.Secret, w.now().Add(24*time.Hour), store.NewWebhookSecret()
		})
		if err != nil {
			w.Fatal(err)
		}
		w.happen(endpoint.TenantID, 1)
		w.deliver(e)
		p := w.receiver.take()[0]
		if !verifies(w, endpoint.Secret, p) || !verifies(w, rotated.Secret, p) {
			w.Errorf("signatures of both: %s", p.header.Get("Webhook-Signature"))
		}
		w.advance(24 * time.Hour)
		w.happen(endpoint.TenantID, 1)
		w.deliver(e)
		p = w.receiver.take()[0]
		if n := len(strings.Fields(p.header.Get("Webhook-Signature"))); n != 1 {
			w.Errorf("%d signatures a day later", n)
		}
		wh, err := standardwebhooks.NewWebhook(string(rotated.Secret))
		if err != nil || wh.VerifyIgnoringTimestamp(p.body, p.header) != nil {
			w.Errorf("the new secret does not verify: %v", err)
		}
	})
}

// A receiver that is down is tried over three days, each time later and with the same id; then the delivery has failed and can be
// replayed.
func TestRetries(t *testing.T) {
	both(t, func(w *world) {
		endpoint, e := w.endpoint(w.tenant(), w.receiver.url), w.engine()
		w.receiver.say(http.StatusServiceUnavailable)
		w.happen(endpoint.TenantID, 1)
		began := w.now()
		var ids []string
		for i := range len(retryGaps) + 1 {
			w.deliver(e)
			w.deliver(e)
			posts := w.receiver.take()
			if len(posts) != 1 {
				w.Fatalf("try %d: %d posts, want 1", i+1, len(posts))
			}
			ids = append(ids, posts[0].id())
			if i == len(retryGaps) {
				break
			}
			d := w.deliveries(endpoint, store.DeliveryPending)[0]
			gap := d.NextAt.Sub(w.now())
			if d.Attempts != i+1 || d.Code != CodeRefused || d.ResponseStatus != 503 || gap < retryGaps[i] || gap > retryGaps[i]*6/5 {
				w.Fatalf("after try %d: next in %v, %+v", i+1, gap, d)
			}
			w.advance(gap - time.Second)
			w.deliver(e)
			if n := len(w.receiver.take()); n != 0 {
				w.Fatalf("try %d came too early", i+2)
			}
			w.advance(time.Second)
		}
		if took := w.now().Sub(began); took < 3*24*time.Hour || took > 4*24*time.Hour {
			w.Errorf("the tries took %v", took)
		}
		if slices.ContainsFunc(ids, func(id string) bool { return id != ids[0] || id == "" }) {
			w.Errorf("ids %q", ids)
		}
		if got := w.read(endpoint); !got.Enabled || !got.FailingSince.Equal(began.UTC()) {
			w.Errorf("the endpoint: %+v", got)
		}
		w.advance(24 * time.Hour)
		w.deliver(e)
		if len(w.receiver.take()) != 0 {
			w.Error("it was tried after the last time")
		}

		w.receiver.say(http.StatusOK)
		failed := w.deliveries(endpoint, store.DeliveryFailed)
		if len(failed) != 1 {
			w.Fatalf("%d failed, want 1", len(failed))
		}
		if _, err := w.store.ReplayDelivery(w.Context(), endpoint.TenantID, endpoint.ID, failed[0].ID); err != nil {
			w.Fatal(err)
		}
		if d := w.deliveries(endpoint, "")[0]; d.Status != store.DeliveryPending || d.Attempts != 0 {
			w.Errorf("replayed: %+v", d)
		}
		w.deliver(e)
		if posts := w.receiver.take(); len(posts) != 1 || posts[0].id() != ids[0] {
			w.Errorf("the replay: %+v", posts)
		}
		if got := w.read(endpoint); !got.FailingSince.IsZero() || len(w.deliveries(endpoint, store.DeliveryDelivered)) != 1 {
			w.Errorf("after the replay: %+v", got)
		}
	})
}

// exhaust has every try of what is pending fail.
func (w *world) exhaust(e *Engine, endpoint *store.WebhookEndpoint) {
	w.Helper()
	w.receiver.say(http.StatusInternalServerError)
	for range len(retryGaps) + 1 {
		for range 3 { // a failing endpoint's worker takes few at a time
			w.deliver(e)
		}
		if pending := w.deliveries(endpoint, store.DeliveryPending); len(pending) > 0 {
			last := slices.MaxFunc(pending, func(a, b *store.Delivery) int { return a.NextAt.Compare(b.NextAt) })
			w.advance(last.NextAt.Sub(w.now()))
		}
	}
}

func TestReplayFailed(t *testing.T) {
	both(t, func(w *world) {
		endpoint, e := w.endpoint(w.tenant(), w.receiver.url), w.engine()
		w.happen(endpoint.TenantID, 3)
		w.exhaust(e, endpoint)
		if n := len(w.deliveries(endpoint, store.DeliveryFailed)); n != 3 {
			w.Fatalf("%d failed, want 3", n)
		}
		w.receiver.say(http.StatusOK)
		w.receiver.take()
		for since, want := range map[time.Time]int{w.now(): 0, w.now().AddDate(0, 0, -20): 3} {
			if n, err := w.store.ReplayFailed(w.Context(), endpoint.TenantID, endpoint.ID, since); err != nil || n != want {
				w.Errorf("replayed %d since %v, %v, want %d", n, since, err, want)
			}
		}
		w.deliver(e)
		w.deliver(e)
		if n := len(w.receiver.take()); n != 3 {
			w.Errorf("%d posts, want 3", n)
		}
	})
}

// An endpoint that says 410, or takes nothing for days, is switched off, and the tenant's others are told.
func TestDisabled(t *testing.T) {
	both(t, func(w *world) {
		tenant := w.tenant()
		watcher := newReceiver(w, false)
		w.endpoint(tenant, watcher.url, store.EventEndpointDisabled)
		gone, failing := w.endpoint(tenant, w.receiver.url+"/gone", store.EventMessageFailed), w.endpoint(tenant, w.receiver.url+"/failing", store.EventMessageFailed)
		w.receiver.answer = func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/gone" {
				rw.WriteHeader(http.StatusGone)
			} else {
				rw.WriteHeader(http.StatusBadGateway)
			}
		}
		e := w.engine()
		w.happen(tenant, 1)
		w.deliver(e)
		if got := w.read(gone); got.Enabled || got.DisabledCode != store.CodeEndpointGone {
			w.Errorf("after 410: %+v", got)
		}
		for range len(retryGaps) {
			w.advance(29 * time.Hour)
			w.happen(tenant, 1)
			for range 3 { // a failing endpoint's worker takes few at a time
				w.deliver(e)
			}
		}
		if got := w.read(failing); got.Enabled || got.DisabledCode != store.CodeEndpointFailing {
			w.Errorf("after days: %+v", got)
		}
		w.receiver.take()
		w.deliver(e)
		w.advance(time.Hour)
		w.deliver(e)
		if n := len(w.receiver.take()); n != 0 {
			w.Errorf("%d posts to endpoints that are off", n)
		}
		var told []string
		for _, p := range watcher.take() {
			var event api.WebhookEvent
			if err := json.Unmarshal(p.body, &event); err != nil {
				w.Fatal(err)
			}
			told = append(told, event.Data.ID+" "+event.Data.Problem.Code)
		}
		if want := []string{gone.ID + " " + store.CodeEndpointGone, failing.ID + " " + store.CodeEndpointFailing}; !slices.Equal(told, want) {
			w.Errorf("told %q, want %q", told, want)
		}
	})
}

// A firm sends once a month. What its endpoint did not take a month ago is no reason to switch it off at the first failure of today.
func TestQuietEndpointHasItsTries(t *testing.T) {
	both(t, func(w *world) {
		tenant := w.tenant()
		endpoint := w.endpoint(tenant, w.receiver.url, store.EventMessageFailed)
		e := w.engine()
		w.receiver.say(http.StatusBadGateway)
		w.happen(tenant, 1)
		w.deliver(e)
		for _, gap := range retryGaps {
			w.advance(gap + gap/5)
			w.deliver(e)
		}
		if n := len(w.deliveries(endpoint, store.DeliveryFailed)); n != 1 || !w.read(endpoint).Enabled {
			w.Fatalf("%d failed for good, endpoint %+v", n, w.read(endpoint))
		}
		w.advance(27 * 24 * time.Hour)
		w.happen(tenant, 1)
		w.deliver(e)
		if got := w.read(endpoint); !got.Enabled {
			w.Fatalf("switched off by one failure: %+v", got)
		}
		w.receiver.say(http.StatusOK)
		w.advance(10 * time.Second)
		w.deliver(e)
		if got := w.read(endpoint); len(w.deliveries(endpoint, store.DeliveryDelivered)) != 1 || !got.FailingSince.IsZero() {
			w.Errorf("%+v", got)
		}
	})
}

// Where a URL leads is checked at the connection; what is not a success is never taken for one.
func TestWhatIsNoSuccess(t *testing.T) {
	both(t, func(w *world) {
		elsewhere, insecure := newReceiver(w, false), newReceiver(w, false)
		w.receiver.answer = func(rw http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/redirect":
				http.Redirect(rw, r, elsewhere.url, http.StatusTemporaryRedirect)
			case "/cut":
				panic(http.ErrAbortHandler)
			case "/long":
				rw.WriteHeader(http.StatusTeapot)
				rw.Write([]byte("\x00\xff<b>" + strings.Repeat("a", 1<<20))) //nolint:errcheck // the other side reads a little
			}
		}
		private := dial.Policy{}
		for _, c := range []struct {
			name, url, code string
			change          func(*Config)
		}{
			{"redirect", w.receiver.url + "/redirect", CodeRedirected, nil},
			{"cut", w.receiver.url + "/cut", CodeUnreachable, nil},
			{"long", w.receiver.url + "/long", CodeRefused, nil},
			{"private address", w.receiver.url, CodeAddressNotAllowed, func(c *Config) { c.Policy = private }},
			{"private name", strings.Replace(w.receiver.url, "127.0.0.1", "localhost", 1), CodeAddressNotAllowed, func(c *Config) { c.Policy = private }},
			{"unknown certificate", w.receiver.url, CodeTLSFailed, func(c *Config) { c.Roots = nil }},
			{"not TLS", strings.Replace(insecure.url, "http:", "https:", 1), CodeTLSFailed, nil},
			{"nobody there", "https://127.0.0.1:1/", CodeUnreachable, nil},
		} {
			endpoint := w.endpoint(w.tenant(), c.url)
			w.happen(endpoint.TenantID, 1)
			var change []func(*Config)
			if c.change != nil {
				change = append(change, c.change)
			}
			w.deliver(w.engine(change...))
			d := w.deliveries(endpoint, "")[0]
			if d.Status != store.DeliveryPending || d.Code != c.code || d.Excerpt != "" { // of the operator's own network nothing is shown
				w.Errorf("%s: %s, code %q, want %q", c.name, d.Status, d.Code, c.code)
			}
			if err := w.store.DeleteWebhookEndpoint(w.Context(), endpoint.TenantID, endpoint.ID, "key_test"); err != nil {
				w.Fatal(err)
			}
		}
		if len(elsewhere.take()) != 0 {
			w.Error("a redirect was followed")
		}
		if len(insecure.take()) != 0 {
			w.Error("a post arrived over http")
		}
	})
}

// Plain http is for the ranges that the operator allows: not for the public ones, however they are permitted.
func TestPlainHTTP(t *testing.T) {
	for _, c := range []struct {
		allow bool
		addr  string
		want  bool
	}{{true, "127.0.0.1:80", true}, {true, "[::ffff:127.0.0.1]:80", true}, {true, "8.8.8.8:80", false}, {false, "127.0.0.1:80", false}} {
		policy := dial.Policy{}
		if c.allow {
			policy.Allow = dial.Loopback()
		}
		if got := allowed(policy, address(c.addr)); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// Two processes deliver each event once when nothing fails.
func TestTwoProcesses(t *testing.T) {
	both(t, func(w *world) {
		const n = 300
		endpoint := w.endpoint(w.tenant(), w.receiver.url)
		engines := []*Engine{w.engine(), w.engine(func(c *Config) { c.Store = w.open() })}
		w.happen(endpoint.TenantID, n)
		got := map[string]int{}
		for len(w.deliveries(endpoint, store.DeliveryPending)) > 0 || len(got) == 0 {
			var wg sync.WaitGroup
			for _, e := range engines {
				wg.Go(func() {
					if err := e.turn(); err != nil {
						w.Error(err)
					}
					e.workers.Wait()
				})
			}
			wg.Wait()
			for _, p := range w.receiver.take() {
				got[p.id()]++
			}
		}
		if len(got) != n || slices.Max(slices.Collect(maps.Values(got))) != 1 {
			w.Errorf("%d events, one up to %d times", len(got), slices.Max(slices.Collect(maps.Values(got))))
		}
	})
}

// A process that dies between the receiver's answer and its record leaves the delivery to another, which sends the same event again.
func TestDeathBeforeTheRecord(t *testing.T) {
	both(t, func(w *world) {
		endpoint := w.endpoint(w.tenant(), w.receiver.url)
		w.happen(endpoint.TenantID, 1)
		dying, next := w.engine(), w.engine()
		if _, err := w.store.FanOut(w.Context(), 10, w.now()); err != nil {
			w.Fatal(err)
		}
		opened, claimed, err := w.store.ClaimDeliveries(w.Context(), endpoint.ID, "dying", claimLease, 10, w.now())
		if err != nil {
			w.Fatal(err)
		}
		late := dying.post(opened, claimed)
		first := w.receiver.take()
		w.deliver(next)
		if n := len(w.receiver.take()); n != 0 {
			w.Fatalf("%d posts while the lease stands", n)
		}
		w.advance(claimLease + time.Second)
		w.deliver(next)
		second := w.receiver.take()
		if len(first) != 1 || len(second) != 1 || first[0].id() != second[0].id() || string(first[0].body) != string(second[0].body) {
			w.Fatalf("%d and %d posts", len(first), len(second))
		}
		// The dead one was only slow: its record changes nothing.
		late[0].Status, late[0].Attempts = store.DeliveryFailed, 9
		if _, err := w.store.RecordDeliveries(w.Context(), endpoint.ID, late, time.Time{}); err != nil {
			w.Fatal(err)
		}
		if d := w.deliveries(endpoint, "")[0]; d.Status != store.DeliveryDelivered || d.Attempts != 1 {
			w.Errorf("%+v", d)
		}
	})
}

// Old events go, with their deliveries.
func TestSweep(t *testing.T) {
	both(t, func(w *world) {
		endpoint, e := w.endpoint(w.tenant(), w.receiver.url), w.engine()
		w.happen(endpoint.TenantID, 2)
		w.deliver(e)
		for _, c := range []struct{ days, left int }{{29, 2}, {31, 0}} {
			if err := w.store.SweepEvents(w.Context(), keepFor, w.now().AddDate(0, 0, c.days)); err != nil {
				w.Fatal(err)
			}
			if n := len(w.deliveries(endpoint, "")); n != c.left {
				w.Errorf("after %d days %d deliveries are left, want %d", c.days, n, c.left)
			}
		}
	})
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"\x00\xff<b>\r\nZo\u00eb\x7f ": "<b>  Zo\u00eb", "cut in a letter \xc3": "cut in a letter", "": "", "\n\t": "",
	} {
		if got := printable([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// While a batch goes on, more is new at each turn than is fanned out at once; the posts do not wait for its end.
func TestPostsDoNotWaitForTheEndOfABatch(t *testing.T) {
	both(t, func(w *world) {
		tenant := w.tenant()
		w.endpoint(tenant, w.receiver.url, store.EventMessageFailed)
		w.happen(tenant, 4*fanOutAtOnce)
		e := w.engine()
		waiting := make(chan int, 1)
		var once sync.Once
		w.receiver.answer = func(http.ResponseWriter, *http.Request) {
			once.Do(func() {
				n, err := w.store.FanOut(w.Context(), 1, w.now()) // is there one left?
				if err != nil {
					w.Error(err)
				}
				waiting <- n
			})
		}
		w.deliver(e)
		if n := <-waiting; n == 0 {
			w.Error("the first post came when all was fanned out")
		}
	})
}
