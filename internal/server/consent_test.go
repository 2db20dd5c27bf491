package server

import (
	"context"
	"html"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

const publicURL = "https://mail.facteur.example"

var googleClients = []transporttest.GoogleClient{
	{ID: "id-1", Secret: "secret-of-1", RedirectURIs: []string{publicURL + consent.CallbackPath}},
	{ID: "id-2", Secret: "secret-of-2", RedirectURIs: []string{publicURL + consent.CallbackPath}},
	{ID: "id-own", Secret: "secret-of-own", RedirectURIs: []string{publicURL + consent.CallbackPath}},
}

func newConsent(t *testing.T, s *store.Store, box *outbox.Outbox, g *transporttest.Google, log *slog.Logger) *consent.Service {
	t.Helper()
	urls := g.URLs()
	svc, err := consent.New(consent.Config{
		Store: s, PublicURL: publicURL, ReturnURLs: []string{"https://app.zoe.example/mail", "winprest:connected"},
		Clients: []consent.Client{
			{Name: "key-1", ID: "id-1", Secret: "secret-of-1", State: consent.Accepting},
			{Name: "key-2", ID: "id-2", Secret: "secret-of-2", State: consent.Current},
		},
		Endpoints: consent.Endpoints{Auth: urls.Auth, Token: urls.Token, Revoke: urls.Revoke}, Wake: box.Wake, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

// person is somebody with a browser.
type person struct {
	*house
	cookie   string
	language string
}

// visit opens a page and keeps its cookie.
func (p *person) visit(method, path string, headers ...string) answered {
	p.Helper()
	if p.cookie != "" {
		headers = append(headers, "Cookie", p.cookie)
	}
	a := p.do("", method, path, nil, append(headers, "Accept-Language", p.language)...)
	if set := a.Header().Get("Set-Cookie"); set != "" {
		p.cookie, _, _ = strings.Cut(set, ";")
	}
	return a
}

// gmailProfile makes a profile and gives its path.
func (h *house) gmailProfile(key, address string) string {
	h.Helper()
	a := h.must(http.StatusCreated, key, "POST", "/v1/sender-profiles", object{
		"level": "user", "owner_ref": address, "name": "Jean <b>Dupont</b>", "transport": "gmail", "from": object{"address": address},
	})
	return "/v1/sender-profiles/" + a.text("id")
}

// start asks for a consent and gives the path of the start page.
func (h *house) start(key, profile string, body any) string {
	h.Helper()
	return strings.TrimPrefix(h.must(http.StatusCreated, key, "POST", profile+"/authorization", body).text("url"), publicURL)
}

// atGoogle goes from the start page to Google, decides, and gives the path of the callback.
func (p *person) atGoogle(start string, d transporttest.GoogleDecision) string {
	p.Helper()
	if a := p.visit("GET", start); a.Code != http.StatusOK {
		p.Fatalf("start page: %d %s", a.Code, a.Body)
	}
	a := p.visit("POST", start, "Sec-Fetch-Site", "same-origin")
	if a.Code != http.StatusSeeOther {
		p.Fatalf("leave: %d %s", a.Code, a.Body)
	}
	back, err := p.google.Decide(p.Context(), a.Header().Get("Location"), d)
	if err != nil {
		p.Fatal(err)
	}
	return back.RequestURI()
}

func TestConnectOverHTTP(t *testing.T) {
	onBoth(t, func(h *house) {
		profile := h.gmailProfile(h.ours.all, "jean@firm.example")
		id := strings.TrimPrefix(profile, "/v1/sender-profiles/")
		p, err := h.store.Profile(h.Context(), h.ours.id, id)
		if err != nil {
			h.Fatal(err)
		}
		if err := h.store.HoldProfile(h.Context(), p, mail.ProfileTrouble{Code: consent.CodeReauthorizationRequired, Since: store.Now()}); err != nil {
			h.Fatal(err)
		}
		for lang, want := range map[string]string{"fr": "Relier votre boîte mail", "nl": "Uw mailbox verbinden", "en": "Connect your mailbox", "de": "Ihr Postfach verbinden"} {
			start := h.start(h.ours.manage, profile, object{"language": lang + "-BE"})
			visitor := &person{house: h, language: "zh"}
			a := visitor.visit("GET", start)
			body := a.Body.String()
			if a.Code != http.StatusOK || !strings.Contains(body, want) || !strings.Contains(body, `<html lang="`+lang+`">`) || a.Header().Get("Content-Language") != lang {
				h.Errorf("%s: %d %s", lang, a.Code, body)
			}
			for _, shown := range []string{"ours", "Jean &lt;b&gt;Dupont&lt;/b&gt;", "jean@firm.example"} {
				if !strings.Contains(body, shown) {
					h.Errorf("%s: the page does not say %q", lang, shown)
				}
			}
			plainPage(h.T, a)
		}
		start := h.start(h.ours.manage, profile, object{"return_url": "https://app.zoe.example/mail?x=1&y=2"})
		visitor := &person{house: h, language: "de-AT"}
		callback := visitor.atGoogle(start, transporttest.GoogleDecision{})
		if a := visitor.visit("HEAD", callback); a.Code != http.StatusOK { // a link checker's
			h.Errorf("HEAD: %d", a.Code)
		}
		a := visitor.visit("GET", callback)
		if a.Code != http.StatusOK || !strings.Contains(a.Body.String(), "jean@firm.example ist verbunden") ||
			!strings.Contains(a.Body.String(), `href="https://app.zoe.example/mail?x=1&amp;y=2"`) {
			h.Errorf("callback: %d %s", a.Code, a.Body)
		}
		plainPage(h.T, a)
		if st := h.must(http.StatusOK, h.ours.read, "GET", profile+"/authorization", nil); st.text("state") != "connected" || st.text("address") != "jean@firm.example" || st.text("client") != "key-2" {
			h.Errorf("authorization: %s", st.Body)
		}
		if got := h.must(http.StatusOK, h.ours.read, "GET", profile, nil); got.text("status") != "ready" {
			h.Errorf("the profile is still held: %s", got.Body)
		}
		if a := visitor.visit("GET", callback); a.Code != http.StatusBadRequest || !strings.Contains(a.Body.String(), "schon benutzt") {
			h.Errorf("reload: %d %s", a.Code, a.Body)
		}
		h.must(http.StatusNoContent, h.ours.manage, "DELETE", profile+"/authorization", nil)
		if st := h.must(http.StatusOK, h.ours.read, "GET", profile+"/authorization", nil); st.text("state") != "revoked" {
			h.Errorf("authorization: %s", st.Body)
		}
		if got := h.must(http.StatusOK, h.ours.read, "GET", profile, nil); got.text("status") != "held" {
			h.Errorf("the profile is not held: %s", got.Body)
		}
		if h.google.Calls("revoke") != 1 {
			h.Errorf("%d revocations at Google", h.google.Calls("revoke"))
		}
	})
}

var external = regexp.MustCompile(`(?i)<script|<link|<img|<iframe|src=|@import|url\(|\son[a-z]+=`)

// plainPage says that a page loads nothing, runs nothing, and that its policy says so too.
func plainPage(t *testing.T, a answered) {
	t.Helper()
	if found := external.FindString(a.Body.String()); found != "" {
		t.Errorf("the page holds %q", found)
	}
	policy := a.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "style-src 'sha256-", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self' https:"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %s", policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") || a.Header().Get("Cache-Control") != "no-store" || a.Header().Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("headers: %v", a.Header())
	}
}

// Each failure has a page of its own, in four languages, that says what to do and offers the way back.
func TestFailurePages(t *testing.T) {
	onBoth(t, func(h *house) {
		profile := h.gmailProfile(h.ours.all, "jean@firm.example")
		down := func(s transporttest.GoogleStep) transporttest.GoogleAction {
			if s.Endpoint == "token" {
				return transporttest.GoogleAction{Status: http.StatusBadGateway}
			}
			return transporttest.GoogleAction{}
		}
		for code, tt := range map[string]struct {
			status   int
			decision transporttest.GoogleDecision
			hook     func(transporttest.GoogleStep) transporttest.GoogleAction
			change   func(p *person, callback string) string
		}{
			"consent_denied":             {status: 400, decision: transporttest.GoogleDecision{Deny: true}},
			"consent_scope_missing":      {status: 400, decision: transporttest.GoogleDecision{Untick: []string{consent.ScopeSend}}},
			"consent_other_account":      {status: 400, decision: transporttest.GoogleDecision{Account: "private@gmail.example"}},
			"consent_google_unreachable": {status: 502, hook: down},
			"consent_other_browser": {status: 400, change: func(p *person, callback string) string {
				p.cookie = ""
				return callback
			}},
			"consent_unknown": {status: 400, change: func(_ *person, callback string) string {
				u, _ := url.Parse(callback)
				return u.Path + "?code=x&state=" + consent.NewBrowser()
			}},
			"consent_used": {status: 400, change: func(p *person, callback string) string {
				p.visit("GET", callback)
				return callback
			}},
		} {
			for _, lang := range []string{"fr", "nl", "en", "de"} {
				h.google.SetHook(tt.hook)
				visitor := &person{house: h, language: lang}
				callback := visitor.atGoogle(h.start(h.ours.manage, profile, object{"language": lang, "return_url": "winprest:connected"}), tt.decision)
				if tt.change != nil {
					callback = tt.change(visitor, callback)
				}
				a := visitor.visit("GET", callback)
				title, _ := texts.Lookup(lang, code, nil)
				if body := html.UnescapeString(a.Body.String()); a.Code != tt.status || !strings.Contains(body, title) || strings.Contains(body, "…") {
					h.Errorf("%s in %s: %d %s", code, lang, a.Code, a.Body)
				}
				back := strings.Contains(a.Body.String(), `href="winprest:connected"`)
				if wanted := code != "consent_unknown" && code != "consent_other_browser"; back != wanted {
					h.Errorf("%s offers a way back: %v", code, back)
				}
				plainPage(h.T, a)
			}
			h.google.SetHook(nil)
		}
		a := h.do("", "GET", consent.StartPath+"?ticket=x", nil)
		if a.Code != http.StatusBadRequest || a.Header().Get("Set-Cookie") != "" {
			h.Errorf("a forged ticket: %d, cookie %q", a.Code, a.Header().Get("Set-Cookie"))
		}
		st := h.must(http.StatusOK, h.ours.read, "GET", profile+"/authorization", nil, "Accept-Language", "fr")
		if st.text("state") == "pending" {
			h.Errorf("authorization: %s", st.Body)
		}
	})
}

// The start page's button can be pressed on the start page alone.
func TestLeaveIsOnlyForTheStartPage(t *testing.T) {
	h := onSQLite(t)
	start := h.start(h.ours.manage, h.gmailProfile(h.ours.all, "jean@firm.example"), nil)
	visitor := &person{house: h, language: "en"}
	if a := visitor.visit("POST", start); a.Code != http.StatusBadRequest {
		t.Errorf("without the page's cookie: %d", a.Code)
	}
	a := visitor.visit("GET", start)
	cookie := a.Header().Get("Set-Cookie")
	for _, want := range []string{"__Host-facteur-consent=", "Path=/", "HttpOnly", "Secure", "SameSite=Lax"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie %q lacks %s", cookie, want)
		}
	}
	for _, site := range []string{"cross-site", "same-site", "none"} {
		if a := visitor.visit("POST", start, "Sec-Fetch-Site", site); a.Code != http.StatusBadRequest {
			t.Errorf("from %s: %d", site, a.Code)
		}
	}
	if again := visitor.visit("GET", start).Header().Get("Set-Cookie"); !strings.HasPrefix(again, visitor.cookie) {
		t.Errorf("another cookie for the same browser: %q", again)
	}
	if a := visitor.visit("POST", start); a.Code != http.StatusSeeOther || !strings.HasPrefix(a.Header().Get("Location"), h.google.URLs().Auth) {
		t.Errorf("%d to %q", a.Code, a.Header().Get("Location"))
	}
}

func TestAuthorizationIsRefused(t *testing.T) {
	h := onSQLite(t)
	f := h.furnish(h.ours.all)
	profile := h.gmailProfile(h.ours.all, "jean@firm.example")
	h.must(http.StatusNotFound, h.theirs.all, "POST", profile+"/authorization", nil)
	h.must(http.StatusNotFound, h.theirs.all, "GET", profile+"/authorization", nil)
	h.must(http.StatusNotFound, h.theirs.all, "DELETE", profile+"/authorization", nil)
	if a := h.must(http.StatusConflict, h.ours.all, "POST", "/v1/sender-profiles/"+f.user+"/authorization", `{}`); a.text("code") != "gmail_profile_required" {
		t.Errorf("%s", a.Body)
	}
	a := h.must(http.StatusUnprocessableEntity, h.ours.all, "POST", profile+"/authorization", object{"return_url": "https://evil.example"})
	if got := a.errors(); !slices.Equal(got, []string{"/return_url return_url_not_allowed"}) {
		t.Errorf("%v", got)
	}
	a = h.must(http.StatusUnprocessableEntity, h.ours.all, "PATCH", profile, object{"gmail": object{"client": "key-9", "aliases": []any{"no address"}}})
	if got := a.errors(); !slices.Equal(got, []string{"/gmail/aliases/0 address_invalid", "/gmail/client gmail_client_unknown"}) {
		t.Errorf("%v", got)
	}
	a = h.must(http.StatusUnprocessableEntity, h.ours.all, "PATCH", "/v1/sender-profiles/"+f.user, object{"gmail": object{}})
	if got := a.errors(); !slices.Equal(got, []string{"/gmail gmail_settings_not_used"}) {
		t.Errorf("%v", got)
	}
}

// A firm's own client is used by its profiles, and seen by nobody else.
func TestOwnClient(t *testing.T) {
	onBoth(t, func(h *house) {
		put := func(status int, key, name string, body object) answered {
			h.Helper()
			return h.must(status, key, "PUT", "/v1/gmail-clients/"+name, body)
		}
		put(422, h.ours.all, "workspace", object{"client_id": "id-own"}) // no secret
		put(422, h.ours.all, "Work%20space", object{"client_id": "id-own", "client_secret": "secret-of-own"})
		put(409, h.ours.all, "key-1", object{"client_id": "id-own", "client_secret": "secret-of-own"})
		put(200, h.ours.all, "workspace", object{"client_id": "id-own", "client_secret": "secret-of-own", "state": "current"})
		profile := h.gmailProfile(h.ours.all, "jean@firm.example")
		visitor := &person{house: h}
		if a := visitor.visit("GET", visitor.atGoogle(h.start(h.ours.manage, profile, nil), transporttest.GoogleDecision{})); a.Code != http.StatusOK {
			h.Fatalf("%d %s", a.Code, a.Body)
		}
		list := h.must(200, h.ours.read, "GET", "/v1/gmail-clients", nil).Body.String()
		if !strings.Contains(list, `{"name":"workspace","owner":"tenant","state":"current","client_id":"id-own","connected":1,"need_reauthorization":0}`) {
			h.Errorf("clients: %s", list)
		}
		if theirs := h.must(200, h.theirs.read, "GET", "/v1/gmail-clients", nil).Body.String(); strings.Contains(theirs, "workspace") || strings.Contains(theirs, "id-1") {
			h.Errorf("the other firm's clients: %s", theirs)
		}
		h.must(404, h.theirs.all, "DELETE", "/v1/gmail-clients/workspace", nil)
		h.must(409, h.ours.all, "DELETE", "/v1/gmail-clients/workspace", nil)
		put(409, h.ours.all, "workspace", object{"client_id": "id-else", "client_secret": "x"})
		put(200, h.ours.all, "workspace", object{"client_id": "id-own", "state": "retired"})
		st := h.must(200, h.ours.read, "GET", profile+"/authorization", nil, "Accept-Language", "fr")
		if problem, _ := st.doc["problem"].(map[string]any); st.text("state") != "connected" || problem["code"] != "gmail_client_retired" || strings.Contains(st.Body.String(), "…") {
			h.Errorf("on a retired client: %s", st.Body)
		}
		// The next consent uses the service's.
		if a := visitor.visit("GET", visitor.atGoogle(h.start(h.ours.manage, profile, nil), transporttest.GoogleDecision{})); a.Code != http.StatusOK {
			h.Fatalf("%d %s", a.Code, a.Body)
		}
		if st := h.must(200, h.ours.read, "GET", profile+"/authorization", nil); st.text("client") != "key-2" {
			h.Errorf("authorization: %s", st.Body)
		}
		h.must(204, h.ours.all, "DELETE", "/v1/gmail-clients/workspace", nil)
		report := h.must(200, h.operator, "GET", "/v1/gmail-client-report", nil).Body.String()
		if !strings.Contains(report, `{"name":"key-2","state":"current","connected":1,"need_reauthorization":0,"tenants":1}`) {
			h.Errorf("report: %s", report)
		}
		if on := h.must(200, h.operator, "GET", "/v1/gmail-client-report/profiles?client=key-2", nil).doc["items"].([]any); len(on) != 1 {
			h.Errorf("profiles: %v", on)
		}
		for query, want := range map[string]int{"key-2": 1, "workspace": 0, "key-1": 0} {
			if got := h.must(200, h.ours.read, "GET", "/v1/sender-profiles?gmail_client="+query, nil).doc["items"].([]any); len(got) != want {
				h.Errorf("%d profiles on %s, want %d", len(got), query, want)
			}
			if got := h.must(200, h.theirs.read, "GET", "/v1/sender-profiles?gmail_client="+query, nil).doc["items"].([]any); len(got) != 0 {
				h.Errorf("the other firm sees %d profiles on %s", len(got), query)
			}
		}
	})
}

// Who stops using Gmail leaves nothing at Google.
func TestLeavingGmail(t *testing.T) {
	onBoth(t, func(h *house) {
		for i, leave := range []func(profile string){
			func(profile string) { h.must(204, h.ours.all, "DELETE", profile, nil) },
			func(profile string) { h.must(200, h.ours.all, "PATCH", profile, object{"transport": "sandbox"}) },
		} {
			profile := h.gmailProfile(h.ours.all, "jean@firm.example")
			visitor := &person{house: h}
			visitor.visit("GET", visitor.atGoogle(h.start(h.ours.manage, profile, nil), transporttest.GoogleDecision{}))
			leave(profile)
			g, err := h.store.Grant(context.Background(), h.ours.id, strings.TrimPrefix(profile, "/v1/sender-profiles/"))
			if err != nil || g.State != store.GrantRevoked || g.RefreshToken != "" || g.AccessToken != "" || h.google.Calls("revoke") != i+1 {
				h.Errorf("grant %+v, %v; %d revocations", g, err, h.google.Calls("revoke"))
			}
		}
	})
}

// No token, secret, ticket, state or code in any log at debug level, and none in any answer but those that are made of them.
func TestNoTokenInLogsAndAnswers(t *testing.T) {
	onBoth(t, func(h *house) {
		h.must(200, h.ours.all, "PUT", "/v1/gmail-clients/own", object{"client_id": "id-own", "client_secret": "secret-of-own", "state": "current"})
		profile := h.gmailProfile(h.ours.all, "jean@firm.example")
		start := h.start(h.ours.manage, profile, nil)
		visitor := &person{house: h}
		callback := visitor.atGoogle(start, transporttest.GoogleDecision{})
		shown := visitor.visit("GET", callback).Body.String()
		for _, path := range []string{"/v1/sender-profiles", profile, profile + "/authorization", "/v1/gmail-clients", "/v1/audit-events"} {
			shown += h.must(200, h.ours.all, "GET", path, nil).Body.String()
		}
		g, err := h.store.Grant(h.Context(), h.ours.id, strings.TrimPrefix(profile, "/v1/sender-profiles/"))
		if err != nil {
			h.Fatal(err)
		}
		back, err := url.Parse(callback)
		if err != nil {
			h.Fatal(err)
		}
		_, ticket, _ := strings.Cut(start, "=")
		_, browser, _ := strings.Cut(visitor.cookie, "=")
		for name, secret := range map[string]string{
			"refresh token": string(g.RefreshToken), "access token": string(g.AccessToken), "client secret": "secret-of", "ticket": ticket, "cookie": browser,
			"state": back.Query().Get("state"), "code": back.Query().Get("code"),
		} {
			if secret == "" {
				h.Errorf("no %s", name)
			} else if strings.Contains(h.log.String(), secret) || strings.Contains(shown, secret) {
				h.Errorf("the %s is shown", name)
			}
		}
	})
}

// A Gmail profile that nobody has consented for says so from the start, and an edit does not end that.
func TestUnconnectedProfileIsHeld(t *testing.T) {
	onBoth(t, func(h *house) {
		held := func(a answered) {
			h.Helper()
			if a.text("status") != "held" || !strings.Contains(a.Body.String(), consent.CodeReauthorizationRequired) {
				h.Errorf("%s", a.Body)
			}
		}
		made := h.must(http.StatusCreated, h.ours.all, "POST", "/v1/sender-profiles", object{
			"level": "user", "owner_ref": "jd", "default": true, "from": object{"address": "jd@gmail.com"}, "transport": "gmail",
		})
		path := made.Header().Get("Location")
		held(made)
		held(h.must(http.StatusOK, h.ours.all, "GET", path, nil))
		held(h.must(http.StatusOK, h.ours.all, "PATCH", path, object{"name": "Jean"}))
		held(h.must(http.StatusOK, h.ours.all, "GET", path, nil))
		h.must(http.StatusOK, h.ours.all, "PATCH", path, object{"transport": "sandbox"})
		if a := h.must(http.StatusOK, h.ours.all, "GET", path, nil); a.text("status") != "ready" {
			h.Errorf("%s", a.Body)
		}
		held(h.must(http.StatusOK, h.ours.all, "PATCH", path, object{"transport": "gmail"}))
	})
}
