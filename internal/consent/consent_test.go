package consent_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

func TestConnect(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		if st := w.status(w.profile); st.State != consent.StateNone || st.Failure != "" {
			w.Errorf("before: %+v", st)
		}
		// A worker found out that it is not connected.
		_, err := w.service.AccessToken(w.Context(), w.profile, "")
		e := w.fails(err, mail.OutcomePermanent, consent.CodeReauthorizationRequired)
		stale := w.read(w.profile)
		if err := w.store.HoldProfile(w.Context(), stale, mail.ProfileTrouble{Code: e.Verdict.Code, Since: store.Now()}); err != nil {
			w.Fatal(err)
		}

		ticket, browser := w.begin(w.profile), consent.NewBrowser()
		if st := w.status(w.profile); st.State != consent.StatePending || st.PendingUntil.IsZero() {
			w.Errorf("pending: %+v", st)
		}
		for range 2 { // looking changes nothing
			p, err := w.service.Opened(w.Context(), ticket, "")
			if err != nil || p.Code != "" || p.Firm != "Zoë SRL" || p.Profile != "Invoices" || p.From != address || p.Language != "fr" {
				w.Errorf("start page: %+v, %v", p, err)
			}
		}
		w.leave(ticket, browser) // and Back in the browser
		to := w.leave(ticket, browser)
		u, err := url.Parse(to)
		if err != nil {
			w.Fatal(err)
		}
		for name, want := range map[string]string{
			"client_id": "id-2", "redirect_uri": publicURL + consent.CallbackPath, "response_type": "code", "access_type": "offline", "prompt": "consent",
			"code_challenge_method": "S256", "login_hint": address, "scope": "openid email " + consent.ScopeSend,
		} {
			if got := u.Query().Get(name); got != want {
				w.Errorf("Google is asked with %s=%q, want %q", name, got, want)
			}
		}
		page := w.finish(w.decide(to, transporttest.GoogleDecision{}), browser)
		if page.Code != "" || page.Account != address || page.Firm != "Zoë SRL" {
			w.Fatalf("page: %+v", page)
		}
		p := w.read(w.profile)
		if p.Hold != nil || p.Version != 2 || !slices.Equal(w.woken, []string{p.ID}) {
			w.Errorf("the profile is not free: %+v, woken %v", p, w.woken)
		}
		// The hold of a worker that has not heard of it yet comes too late.
		if err := w.store.HoldProfile(w.Context(), stale, mail.ProfileTrouble{Code: "late"}); err != nil || w.read(p).Hold != nil {
			w.Errorf("held again: %v", err)
		}
		st := w.status(p)
		if st.State != consent.StateConnected || st.Address != address || st.Client != "key-2" || !slices.Contains(st.Scopes, consent.ScopeSend) || st.Since.IsZero() || st.Code != "" {
			w.Errorf("connected: %+v", st)
		}
		token, err := w.service.AccessToken(w.Context(), p, "")
		if err != nil || token == "" || w.google.Calls("token") != 1 {
			w.Errorf("the consent's own token is not used: %v, %d calls", err, w.google.Calls("token"))
		}
		audit, err := w.store.ListAudit(w.Context(), p.TenantID, store.Page{})
		if err != nil || len(audit.Items) != 1 || audit.Items[0].Action != "authorization.connect" || audit.Items[0].Actor != "key_1" {
			w.Errorf("audit: %+v, %v", audit, err)
		}
	})
}

// Every way in which a consent can fail has a code of its own and leaves nothing behind.
func TestConsentComesToNothing(t *testing.T) {
	hook := func(a transporttest.GoogleAction) func(w *world) {
		return func(w *world) {
			w.google.SetHook(func(s transporttest.GoogleStep) transporttest.GoogleAction {
				if s.Endpoint == "token" {
					return a
				}
				return transporttest.GoogleAction{}
			})
		}
	}
	for _, tt := range []struct {
		name, code string
		decision   transporttest.GoogleDecision
		before     func(w *world)            // the callback
		query      func(url.Values)          // what the browser brings
		browser    func(string) string       // what browser it is
		profile    func(*mail.GmailSettings) // its settings
		revokes    int
	}{
		{name: "denied", code: "consent_denied", decision: transporttest.GoogleDecision{Deny: true}},
		{name: "unticked", code: "consent_scope_missing", decision: transporttest.GoogleDecision{Untick: []string{consent.ScopeSend}}, revokes: 1},
		{
			name: "read scope unticked", code: "consent_scope_missing", decision: transporttest.GoogleDecision{Untick: []string{consent.ScopeRead}}, revokes: 1,
			profile: func(s *mail.GmailSettings) { s.Reconcile = true },
		},
		{name: "other account", code: "consent_other_account", decision: transporttest.GoogleDecision{Account: other}, revokes: 1},
		{name: "other browser", code: "consent_other_browser", browser: func(string) string { return consent.NewBrowser() }},
		{name: "no cookie", code: "consent_other_browser", browser: func(string) string { return "" }},
		{name: "expired", code: "consent_expired", before: func(w *world) { w.sql("UPDATE gmail_consents SET expires_at = 1") }},
		{name: "Google's error", code: "consent_google_refused", query: func(q url.Values) { q.Set("error", "admin_policy_enforced") }},
		{name: "no code", code: "consent_google_refused", query: func(q url.Values) { q.Del("code") }},
		{name: "two codes", code: "consent_google_refused", query: func(q url.Values) { q.Add("code", "4/x") }},
		{name: "forged code", code: "consent_google_refused", query: func(q url.Values) { q.Set("code", "4/forged") }},
		{
			name: "another consent's verifier", code: "consent_google_refused",
			before: func(w *world) {
				// A code that was made for another challenge, as one that somebody injects.
				browser := consent.NewBrowser()
				stolen := w.decide(w.leave(w.begin(w.newProfile(w.profile.TenantID, address, nil)), browser), transporttest.GoogleDecision{})
				w.stolen = stolen.Get("code")
			},
		},
		{name: "no verifier", code: "consent_google_refused", before: func(w *world) { w.sql("UPDATE gmail_consents SET sealed_verifier = NULL") }},
		{name: "token endpoint down", code: "consent_google_unreachable", before: hook(transporttest.GoogleAction{Status: 503})},
		{name: "token endpoint drops", code: "consent_google_unreachable", before: hook(transporttest.GoogleAction{Drop: true})},
		{name: "token endpoint babbles", code: "consent_google_unreachable", before: hook(transporttest.GoogleAction{Status: 200, Body: "<html>hotel wifi</html>"})},
		{name: "no refresh token", code: "consent_incomplete", before: hook(transporttest.GoogleAction{NoRefreshToken: true}), revokes: 1},
		{name: "wrong secret", code: "consent_client_refused", before: func(w *world) {
			w.config.Clients[1].Secret = "secret-of-nobody"
			w.service = w.serve(w.store)
		}},
		{name: "retired meanwhile", code: "gmail_client_retired", before: func(w *world) {
			w.config.Clients[1].State = consent.Retired
			w.service = w.serve(w.store)
		}},
		{name: "client replaced", code: "gmail_client_retired", before: func(w *world) {
			w.config.Clients[1].ID = "id-9"
			w.service = w.serve(w.store)
		}},
		{name: "profile edited meanwhile", code: "consent_other_account", revokes: 1, before: func(w *world) {
			p := w.read(w.profile)
			p.From.Address = "else@zoe.example"
			if err := w.store.UpdateProfile(w.Context(), p, 0); err != nil {
				w.Fatal(err)
			}
		}},
		{name: "profile edited in the last moment", code: "consent_profile_changed", revokes: 1, before: func(w *world) {
			w.google.SetHook(func(s transporttest.GoogleStep) transporttest.GoogleAction {
				if s.Endpoint == "token" {
					p := w.read(w.profile)
					if err := w.store.UpdateProfile(context.Background(), p, 0); err != nil {
						w.Error(err)
					}
				}
				return transporttest.GoogleAction{}
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			both(t, transporttest.GoogleConfig{Accounts: []transporttest.GoogleAccount{{Address: address}, {Address: other}}}, func(w *world) {
				if tt.profile != nil {
					settings := &mail.GmailSettings{}
					tt.profile(settings)
					w.profile = w.newProfile(w.profile.TenantID, address, settings)
				}
				browser := consent.NewBrowser()
				query := w.decide(w.leave(w.begin(w.profile), browser), tt.decision)
				if tt.before != nil {
					tt.before(w)
				}
				if w.stolen != "" {
					query.Set("code", w.stolen)
				}
				if tt.query != nil {
					tt.query(query)
				}
				came := browser
				if tt.browser != nil {
					came = tt.browser(browser)
				}
				page := w.finish(query, came)
				if page.Code != tt.code || page.Account != "" {
					t.Errorf("page: %+v, want %s", page, tt.code)
				}
				if tt.browser != nil && (page.Firm != "" || page.From != "") {
					t.Errorf("another browser is told of %+v", page)
				}
				w.nothingConnected(tt.code)
				if got := w.google.Calls("revoke"); got != tt.revokes {
					t.Errorf("%d tokens revoked at Google, want %d", got, tt.revokes)
				}
				// It is good no more, not even for the right browser.
				again := w.finish(query, browser)
				if again.Code != "consent_used" {
					t.Errorf("a second time: %+v", again)
				}
				w.nothingConnected(tt.code)
			})
		})
	}
}

func TestForgedState(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		browser := consent.NewBrowser()
		query := w.decide(w.leave(w.begin(w.profile), browser), transporttest.GoogleDecision{})
		state := query.Get("state")
		for name, forged := range map[string][]string{
			"none": nil, "empty": {""}, "random": {consent.NewBrowser()}, "short": {state[1:]}, "long": {state + "x"}, "twice": {state, state},
			"changed": {"A" + state[1:]}, "binary": {"\x00' OR 1=1 --"}, "huge": {strings.Repeat("x", 1<<20)},
		} {
			q := url.Values{"code": query["code"], "state": forged}
			if forged != nil && forged[0] == state && name == "changed" {
				continue
			}
			if p := w.finish(q, browser); p.Code != "consent_unknown" || p.Firm != "" || p.Language != "" {
				w.Errorf("%s: %+v", name, p)
			}
		}
		if w.google.Calls("token") != 0 {
			w.Error("a forged state led to Google")
		}
		if p := w.finish(query, browser); p.Code != "" {
			w.Errorf("the true state is not good any more: %+v", p)
		}
	})
}

// A firm cannot finish what another firm began, nor be made to.
func TestAnotherTenantsState(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		theirs := w.newProfile(w.newTenant("Mallory"), address, nil)
		ours, mallory := consent.NewBrowser(), consent.NewBrowser()
		query := w.decide(w.leave(w.begin(w.profile), ours), transporttest.GoogleDecision{})
		their := w.decide(w.leave(w.begin(theirs), mallory), transporttest.GoogleDecision{})

		// Mallory gets our person to open his callback: login CSRF.
		if p := w.finish(their, ours); p.Code != "consent_other_browser" {
			w.Errorf("theirs in our browser: %+v", p)
		}
		// Mallory puts our state on his own code.
		if p := w.finish(url.Values{"state": query["state"], "code": their["code"]}, mallory); p.Code != "consent_other_browser" {
			w.Errorf("our state in their browser: %+v", p)
		}
		for _, p := range []*mail.Profile{w.profile, theirs} {
			if _, err := w.store.Grant(w.Context(), p.TenantID, p.ID); !errors.Is(err, store.ErrNotFound) {
				w.Errorf("%s is connected: %v", p.ID, err)
			}
		}
		if w.google.Calls("token") != 0 {
			w.Error("a code was exchanged")
		}
	})
}

func TestStartPageIsGoodOnce(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		opened := func(ticket, browser, want string) {
			w.Helper()
			if p, err := w.service.Opened(w.Context(), ticket, browser); err != nil || p.Code != want {
				w.Errorf("start page: %+v, %v, want %q", p, err, want)
			}
			to, p, err := w.service.Leave(w.Context(), ticket, browser)
			if err != nil || p.Code != want || (want == "") != (to != "") {
				w.Errorf("leave: %q %+v, %v, want %q", to, p, err, want)
			}
		}
		browser := consent.NewBrowser()
		for _, forged := range []string{"", "x", consent.NewBrowser(), strings.Repeat("x", 1<<20)} {
			opened(forged, browser, "consent_unknown")
		}
		first := w.begin(w.profile)
		second := w.begin(w.profile)
		opened(first, browser, "consent_used") // replaced
		opened(second, browser, "")
		opened(second, consent.NewBrowser(), "consent_other_browser")
		opened(second, browser, "")
		w.sql("UPDATE gmail_consents SET expires_at = 1")
		opened(second, browser, "consent_expired")
		if st := w.status(w.profile); st.State != consent.StateNone || st.Failure != "consent_expired" {
			w.Errorf("status: %+v", st)
		}

		third := w.begin(w.profile)
		if err := w.store.DeleteProfile(w.Context(), w.profile.TenantID, w.profile.ID, 0); err != nil {
			w.Fatal(err)
		}
		opened(third, browser, "consent_used")
	})
}

// Two callbacks of one consent at the same moment: one exchange.
func TestCallbackTwiceAtOnce(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		browser := consent.NewBrowser()
		query := w.decide(w.leave(w.begin(w.profile), browser), transporttest.GoogleDecision{})
		services := []*consent.Service{w.service, w.serve(w.open())}
		codes := make([]string, 8)
		var wg sync.WaitGroup
		for i := range codes {
			wg.Go(func() {
				p, err := services[i%2].Finish(w.Context(), query, browser)
				if err != nil {
					w.Error(err)
				}
				codes[i] = p.Code
			})
		}
		wg.Wait()
		slices.Sort(codes)
		if codes[0] != "" || codes[1] != "consent_used" || w.google.Calls("token") != 1 {
			w.Errorf("codes %q, %d exchanges", codes, w.google.Calls("token"))
		}
	})
}

func TestAliasMayConnect(t *testing.T) {
	both(t, transporttest.GoogleConfig{Accounts: []transporttest.GoogleAccount{{Address: other}}}, func(w *world) {
		p := w.newProfile(w.profile.TenantID, address, &mail.GmailSettings{Aliases: []string{strings.ToUpper(other)}})
		browser := consent.NewBrowser()
		page := w.finish(w.decide(w.leave(w.begin(p), browser), transporttest.GoogleDecision{Account: other}), browser)
		if page.Code != "" || page.Account != other {
			w.Fatalf("page: %+v", page)
		}
		if _, err := w.service.AccessToken(w.Context(), w.read(p), ""); err != nil {
			w.Error(err)
		}
		// Without the alias the mails would leave as the account's.
		edited := w.read(p)
		edited.Gmail.Aliases = nil
		if err := w.store.UpdateProfile(w.Context(), edited, 0); err != nil {
			w.Fatal(err)
		}
		_, err := w.service.AccessToken(w.Context(), edited, "")
		w.fails(err, mail.OutcomePermanent, consent.CodeReauthorizationRequired)
		if st := w.status(p); st.State != consent.StateNeedsReauthorization || st.Code != "consent_other_account" || st.Params["account"] != other {
			w.Errorf("status: %+v", st)
		}
	})
}

func TestReturnURLs(t *testing.T) {
	w := newWorld(t, pgtest.PreparedSQLite(t, "consent", migrate), transporttest.GoogleConfig{})
	for address, want := range map[string]bool{
		"":                             true,
		"https://app.zoe.example/mail": true, "https://app.zoe.example/mail/": true, "https://app.zoe.example/mail/done?x=1": true, "https://APP.zoe.example/mail": true,
		"winprest:connected": true,
		"winprest:other":     false, "winprest://connected": false, "javascript:alert(1)": false, "JavaScript:alert(1)": false, "data:text/html,x": false,
		"https://app.zoe.example/": false, "https://app.zoe.example/mailbox": false, "https://app.zoe.example.evil.example/mail": false,
		"https://app.zoe.example@evil.example/mail": false, "https://app.zoe.example:8443/mail": false, "http://app.zoe.example/mail": false,
		"https://app.zoe.example/mail/../evil": false, "https://app.zoe.example/mail/%2e%2e/evil": false, `https://app.zoe.example\@evil.example/mail`: false,
		"//app.zoe.example/mail": false, "/mail": false, "https:app.zoe.example/mail": false, "https://app.zoe.example/mail#x": false, "https:///mail": false,
	} {
		_, err := w.service.Begin(t.Context(), w.profile, consent.Request{ReturnURL: address})
		if got := err == nil; got != want || err != nil && !errors.Is(err, consent.ErrReturnURL) {
			t.Errorf("%q: %v, want allowed %v", address, err, want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := consent.Client{Name: "key-1", ID: "id", Secret: "hunter2", State: consent.Current}
	with := func(change func(*consent.Client)) consent.Client {
		c := good
		change(&c)
		return c
	}
	for name, tt := range map[string]struct {
		config consent.Config
		want   string
	}{
		"clear":            {consent.Config{PublicURL: "http://mail.example.com"}, "https://"},
		"raw address":      {consent.Config{PublicURL: "https://192.0.2.1"}, "raw IP"},
		"query":            {consent.Config{PublicURL: "https://a.example/?x"}, "not an address"},
		"no secret":        {consent.Config{PublicURL: "https://a.example", Clients: []consent.Client{with(func(c *consent.Client) { c.Secret = "" })}}, "client_secret"},
		"no state":         {consent.Config{PublicURL: "https://a.example", Clients: []consent.Client{with(func(c *consent.Client) { c.State = "" })}}, "must be current"},
		"bad name":         {consent.Config{PublicURL: "https://a.example", Clients: []consent.Client{with(func(c *consent.Client) { c.Name = "Clé 1" })}}, "name"},
		"two current":      {consent.Config{PublicURL: "https://a.example", Clients: []consent.Client{good, with(func(c *consent.Client) { c.Name, c.ID = "b", "b" })}}, "at most one"},
		"the same twice":   {consent.Config{PublicURL: "https://a.example", Clients: []consent.Client{good, with(func(c *consent.Client) { c.State = "retired" })}}, "twice"},
		"return to script": {consent.Config{ReturnURLs: []string{"javascript:x"}}, "cannot be sent"},
		"return in clear":  {consent.Config{ReturnURLs: []string{"http://a.example"}}, "https://"},
	} {
		_, err := consent.New(tt.config)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	for _, public := range []string{"https://mail.example.com", "https://mail.example.com/facteur/", "http://localhost:8025", "http://127.0.0.1:8025"} {
		if _, err := consent.New(consent.Config{PublicURL: public, Clients: []consent.Client{good}}); err != nil {
			t.Errorf("%s: %v", public, err)
		}
	}
}

// While the code is exchanged the firm says that it wants no connection after all, or asks for another one.
func TestConsentIsEndedDuringTheExchange(t *testing.T) {
	for name, end := range map[string]func(*world) error{
		"revoked":  func(w *world) error { return w.service.Revoke(w.Context(), w.profile, "key_1") },
		"replaced": func(w *world) error { _, err := w.service.Begin(w.Context(), w.profile, consent.Request{}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			both(t, transporttest.GoogleConfig{}, func(w *world) {
				browser := consent.NewBrowser()
				query := w.decide(w.leave(w.begin(w.profile), browser), transporttest.GoogleDecision{})
				w.google.SetHook(func(s transporttest.GoogleStep) transporttest.GoogleAction {
					if s.Endpoint == "token" {
						if err := end(w); err != nil {
							w.Error(err)
						}
					}
					return transporttest.GoogleAction{}
				})
				if p := w.finish(query, browser); p.Code != "consent_profile_changed" {
					w.Errorf("page: %+v", p)
				}
				if _, err := w.store.Grant(w.Context(), w.profile.TenantID, w.profile.ID); !errors.Is(err, store.ErrNotFound) {
					w.Errorf("connected: %v", err)
				}
				if w.google.Calls("revoke") != 1 || len(w.woken) > 0 {
					w.Errorf("%d revocations, woken %v", w.google.Calls("revoke"), w.woken)
				}
			})
		})
	}
}

// The person closes the window while Google is slow.
func TestClosedBrowserDoesNotUndoAConsent(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		browser := consent.NewBrowser()
		query := w.decide(w.leave(w.begin(w.profile), browser), transporttest.GoogleDecision{})
		ctx, leave := context.WithCancel(w.Context())
		w.google.SetHook(func(transporttest.GoogleStep) transporttest.GoogleAction {
			leave()
			return transporttest.GoogleAction{}
		})
		if p, err := w.service.Finish(ctx, query, browser); err != nil || p.Code != "" {
			w.Errorf("%+v, %v", p, err)
		}
		if st := w.status(w.profile); st.State != consent.StateConnected {
			w.Errorf("status: %+v", st)
		}
	})
}

// What is amiss with a connected profile is said where people look.
func TestStatusSaysWhatIsAmiss(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		w.connect(w.profile)
		p := w.read(w.profile)
		p.Gmail.Reconcile = true
		if err := w.store.UpdateProfile(w.Context(), p, 0); err != nil {
			w.Fatal(err)
		}
		if st := w.status(p); st.State != consent.StateConnected || st.Code != "gmail_read_scope_missing" {
			w.Errorf("without the read scope: %+v", st)
		}
		w.connect(w.read(p))
		if st := w.status(p); st.State != consent.StateConnected || st.Code != "" {
			w.Errorf("with it: %+v", st)
		}
		// Gmail refuses every token, and Google gives another each time.
		if err := w.store.HoldProfile(w.Context(), w.read(p), mail.ProfileTrouble{Code: consent.CodeReauthorizationRequired}); err != nil {
			w.Fatal(err)
		}
		if st := w.status(p); st.State != consent.StateNeedsReauthorization || st.Code != consent.CodeReauthorizationRequired {
			w.Errorf("held: %+v", st)
		}
		w.connect(w.read(p))
		if st := w.status(p); st.State != consent.StateConnected || st.Code != "" {
			w.Errorf("connected again: %+v", st)
		}
	})
}

// Two browsers press the button of one start page at the same moment: the consent is one's, and the other gets no state.
func TestOneBrowserLeaves(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		ticket := sha256.Sum256([]byte(w.begin(w.profile)))
		for i, browser := range []string{"one", "another", "one"} {
			c, err := w.store.ConsentByTicket(w.Context(), ticket[:])
			if err != nil {
				w.Fatal(err)
			}
			c.BrowserHash, c.StateHash, c.Verifier = []byte(browser), []byte{byte(i)}, "v"
			if ok, err := w.store.LeaveConsent(w.Context(), c); err != nil || ok != (browser == "one") {
				w.Errorf("%d, %s: %v, %v", i, browser, ok, err)
			}
		}
	})
}

// Whose the account is counts only when Google says so, of this client, now.
func TestIdentity(t *testing.T) {
	w := newWorld(t, pgtest.PreparedSQLite(t, "consent", migrate), transporttest.GoogleConfig{})
	claims := func(change map[string]any) string {
		c := map[string]any{"iss": "https://accounts.google.com", "aud": "id-2", "exp": time.Now().Add(time.Hour).Unix(), "email": address, "email_verified": true}
		maps.Copy(c, change)
		doc, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return "h." + base64.RawURLEncoding.EncodeToString(doc) + ".s"
	}
	for name, tt := range map[string]struct{ token, code string }{
		"other client":     {claims(map[string]any{"aud": "id-1"}), "consent_incomplete"},
		"no client":        {claims(map[string]any{"aud": nil}), "consent_incomplete"},
		"other issuer":     {claims(map[string]any{"iss": "https://accounts.google.example"}), "consent_incomplete"},
		"old":              {claims(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), "consent_incomplete"},
		"not verified":     {claims(map[string]any{"email_verified": false}), "consent_incomplete"},
		"two lines":        {claims(map[string]any{"email": address + "\r\nBcc: x@evil.example"}), "consent_incomplete"},
		"no token":         {"", "consent_incomplete"},
		"half a token":     {"h." + strings.Split(claims(nil), ".")[1], "consent_incomplete"},
		"somebody else":    {claims(map[string]any{"email": other}), "consent_other_account"},
		"several audience": {claims(map[string]any{"aud": []string{"id-1", "id-2"}, "email": other}), "consent_other_account"}, // read, and not his
	} {
		t.Run(name, func(t *testing.T) {
			body, err := json.Marshal(map[string]any{"access_token": "ya29.x", "refresh_token": "1//x", "expires_in": 3600, "token_type": "Bearer",
				"scope": "openid email " + consent.ScopeSend, "id_token": tt.token})
			if err != nil {
				t.Fatal(err)
			}
			browser := consent.NewBrowser()
			query := w.decide(w.leave(w.begin(w.profile), browser), transporttest.GoogleDecision{})
			w.google.SetHook(func(s transporttest.GoogleStep) transporttest.GoogleAction {
				if s.Endpoint == "token" {
					return transporttest.GoogleAction{Raw: fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)}
				}
				return transporttest.GoogleAction{}
			})
			defer w.google.SetHook(nil)
			if p := w.finish(query, browser); p.Code != tt.code {
				t.Errorf("page: %+v", p)
			}
			w.nothingConnected(tt.code)
		})
	}
}
