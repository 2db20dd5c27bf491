package transporttest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

const (
	verifier = "a-verifier-that-is-long-enough-for-rfc-7636-4.1"
	callback = "http://127.0.0.1/oauth/google/callback"
	mailbox  = "factures@etudes.example"
)

// authorization is a good request for consent, changed by pairs of a parameter and its value; "" leaves it out.
func authorization(g *tt.Google, pairs ...string) string {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"client_id": {"client-1"}, "redirect_uri": {callback}, "response_type": {"code"}, "state": {"s1"}, "access_type": {"offline"},
		"scope": {tt.GoogleScopeSend + " openid email"}, "login_hint": {mailbox},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(pairs); i += 2 {
		if q.Del(pairs[i]); pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return g.URLs().Auth + "?" + q.Encode()
}

// post posts a form and gives the status and the JSON of the answer.
func post(t *testing.T, to string, pairs ...string) (int, map[string]any) {
	t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	resp, err := http.PostForm(to, form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

func exchange(t *testing.T, g *tt.Google, code string, pairs ...string) (int, map[string]any) {
	t.Helper()
	return post(t, g.URLs().Token, append([]string{
		"grant_type", "authorization_code", "client_id", "client-1", "client_secret", "client-1-secret", "code", code,
		"redirect_uri", callback, "code_verifier", verifier,
	}, pairs...)...)
}

func refresh(t *testing.T, g *tt.Google, token string) (int, map[string]any) {
	t.Helper()
	return post(t, g.URLs().Token, "grant_type", "refresh_token", "client_id", "client-1", "client_secret", "client-1-secret", "refresh_token", token)
}

func decide(t *testing.T, g *tt.Google, authURL string, d tt.GoogleDecision) url.Values {
	t.Helper()
	back, err := g.Decide(t.Context(), authURL, d)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(back.String(), callback+"?") {
		t.Fatalf("sent back to %s", back)
	}
	return back.Query()
}

func TestGoogleConsent(t *testing.T) {
	g := tt.StartGoogle(t, tt.GoogleConfig{})
	back := decide(t, g, authorization(g), tt.GoogleDecision{})
	if back.Get("state") != "s1" || back.Get("code") == "" || back.Get("scope") != tt.GoogleScopeSend+" openid email" {
		t.Fatalf("%v", back)
	}
	for name, pair := range map[string][2]string{
		"other verifier": {"code_verifier", "another"}, "no verifier": {"code_verifier", ""}, "other redirect": {"redirect_uri", "http://x.example/"},
		"other secret": {"client_secret", "guess"}, "no code": {"code", "4/guess"}, "other grant": {"grant_type", "password"},
	} {
		if status, body := exchange(t, g, back.Get("code"), pair[0], pair[1]); status == http.StatusOK {
			t.Errorf("%s: %v", name, body)
		}
	}
	status, body := exchange(t, g, back.Get("code"))
	if status != http.StatusOK || body["refresh_token"] == nil || body["access_token"] == nil || body["token_type"] != "Bearer" || body["expires_in"] != 3600.0 {
		t.Fatalf("%d %v", status, body)
	}
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(body["id_token"].(string), ".")[1])
	if err != nil || !strings.Contains(string(claims), `"email":"`+mailbox+`"`) {
		t.Errorf("id_token %s: %v", claims, err)
	}
	if status, _ := exchange(t, g, back.Get("code")); status != http.StatusBadRequest {
		t.Error("a code is good twice")
	}
	info := userinfo(t, g, body["access_token"].(string))
	if info["email"] != mailbox || info["email_verified"] != true {
		t.Errorf("userinfo %v", info)
	}

	// The second consent has no refresh token, unless it was asked for anew.
	back = decide(t, g, authorization(g), tt.GoogleDecision{})
	if _, body = exchange(t, g, back.Get("code")); body["refresh_token"] != nil || body["access_token"] == nil {
		t.Errorf("the second time: %v", body)
	}
	back = decide(t, g, authorization(g, "prompt", "consent"), tt.GoogleDecision{Account: "chef@etudes.example", Untick: []string{tt.GoogleScopeSend}})
	if back.Get("scope") != "openid email" {
		t.Errorf("an unticked scope is granted: %v", back)
	}
	if _, body = exchange(t, g, back.Get("code")); body["refresh_token"] == nil || userinfo(t, g, body["access_token"].(string))["email"] != "chef@etudes.example" {
		t.Errorf("another account: %v", body)
	}
	if back = decide(t, g, authorization(g), tt.GoogleDecision{Deny: true}); back.Get("error") != "access_denied" || back.Get("state") != "s1" || back.Has("code") {
		t.Errorf("denied: %v", back)
	}
}

func TestGoogleShowsAPageForABadRequest(t *testing.T) {
	g := tt.StartGoogle(t, tt.GoogleConfig{Clients: []tt.GoogleClient{{ID: "client-1", Secret: "client-1-secret", RedirectURIs: []string{callback}}}})
	for name, pair := range map[string][2]string{
		"unknown client": {"client_id", "x"}, "no client": {"client_id", ""}, "other redirect": {"redirect_uri", callback + "x"},
		"no state": {"state", ""}, "no challenge": {"code_challenge", ""}, "plain": {"code_challenge_method", "plain"},
		"no scope": {"scope", ""}, "token": {"response_type", "token"},
	} {
		if back, err := g.Decide(t.Context(), authorization(g, pair[0], pair[1]), tt.GoogleDecision{}); err == nil {
			t.Errorf("%s: sent back to %s", name, back)
		}
	}
	if n := g.Calls("auth"); n != 8 {
		t.Errorf("%d calls", n)
	}
}

func TestGoogleRefresh(t *testing.T) {
	g := tt.StartGoogle(t, tt.GoogleConfig{RotateRefreshTokens: true})
	first := g.Grant("client-1", mailbox, tt.GoogleScopeSend, "email")
	_, body := refresh(t, g, first)
	second, _ := body["refresh_token"].(string)
	if second == "" || second == first {
		t.Fatalf("not rotated: %v", body)
	}
	if status, body := refresh(t, g, first); status != http.StatusBadRequest || body["error"] != "invalid_grant" {
		t.Errorf("the token before: %d %v", status, body)
	}
	g.SetHook(func(s tt.GoogleStep) tt.GoogleAction {
		return tt.GoogleAction{NoRefreshToken: s.Endpoint == "token" && s.Account == mailbox}
	})
	status, body := refresh(t, g, second)
	access, _ := body["access_token"].(string)
	if status != http.StatusOK || body["refresh_token"] != nil || access == "" {
		t.Errorf("%d %v", status, body)
	}
	g.ExpireAccessTokens()
	if info := userinfo(t, g, access); info["error"] == nil {
		t.Errorf("an expired token: %v", info)
	}
	g.SetHook(func(s tt.GoogleStep) tt.GoogleAction { return tt.GoogleAction{Status: 503, Reason: "backend_error"} })
	if status, body := refresh(t, g, second); status != 503 || body["error"] != "backend_error" {
		t.Errorf("%d %v", status, body)
	}
	g.SetHook(nil)
	if status, _ := post(t, g.URLs().Revoke, "token", second); status != http.StatusOK {
		t.Error("not revoked")
	}
	if status, _ := post(t, g.URLs().Revoke, "token", second); status != http.StatusBadRequest {
		t.Error("revoked twice")
	}
	if status, body := refresh(t, g, second); status != http.StatusBadRequest || body["error"] != "invalid_grant" {
		t.Errorf("a revoked token: %d %v", status, body)
	}
	third := g.Grant("client-1", mailbox, "email")
	_, body = refresh(t, g, third)
	g.Revoke(mailbox)
	if info := userinfo(t, g, body["access_token"].(string)); info["error"] == nil {
		t.Errorf("the access token of a revoked grant: %v", info)
	}
}

func userinfo(t *testing.T, g *tt.Google, token string) map[string]any {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URLs().Userinfo, nil)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return body
}

// The screen can be used by a person: what he needs is there, and nothing comes from elsewhere.
func TestGoogleConsentScreen(t *testing.T) {
	g := tt.StartGoogle(t, tt.GoogleConfig{Accounts: []tt.GoogleAccount{{Address: "chef@etudes.example"}}})
	resp, err := http.Get(authorization(g, "login_hint", `"><b>`+mailbox))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`lang="en"`, "<h1>", "chef@etudes.example", tt.GoogleScopeSend, `id="approve"`, `id="deny"`, "client-1"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, bad := range []string{"<b>", "src=", "href="} {
		if strings.Contains(string(page), bad) {
			t.Errorf("the page has %s", bad)
		}
	}
}

// A request that is no whole mail is none.
func TestGoogleTakesOnlyWholeUploads(t *testing.T) {
	g := tt.StartGoogle(t, tt.GoogleConfig{})
	token := g.AccessToken(mailbox, tt.GoogleScopeSend)
	mail := "From: " + mailbox + "\r\nTo: a@zoe.example\r\nMessage-ID: <1@x.example>\r\n\r\nBonjour\r\n"
	upload := func(kind, body string) int {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URLs().Gmail+"upload/gmail/v1/users/me/messages/send?uploadType=multipart", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	const kind = "multipart/related; boundary=b"
	meta := "--b\r\nContent-Type: application/json\r\n\r\n{}\r\n"
	for name, test := range map[string][2]string{
		"no end":       {kind, meta + "--b\r\nContent-Type: message/rfc822\r\n\r\n" + mail},
		"no mail":      {kind, meta + "--b--\r\n"},
		"not a mail":   {kind, meta + "--b\r\nContent-Type: text/plain\r\n\r\n" + mail + "\r\n--b--\r\n"},
		"three parts":  {kind, meta + "--b\r\nContent-Type: message/rfc822\r\n\r\n" + mail + "\r\n--b\r\n\r\n\r\n--b--\r\n"},
		"other type":   {"message/rfc822", mail},
		"no recipient": {kind, meta + "--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@b.example\r\n\r\n\r\n--b--\r\n"},
		"bad address":  {kind, meta + "--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@b.example\r\nTo: a b c\r\n\r\n\r\n--b--\r\n"},
		"no thread":    {kind, strings.Replace(meta, "{}", `{"threadId":"x"}`, 1) + "--b\r\nContent-Type: message/rfc822\r\n\r\n" + mail + "\r\n--b--\r\n"},
	} {
		if status := upload(test[0], test[1]); status/100 != 4 || g.Accepted() != 0 {
			t.Errorf("%s: %d, %d mails", name, status, g.Accepted())
		}
	}
	good := meta + "--b\r\nContent-Type: message/rfc822\r\n\r\n" + mail + "\r\n--b--\r\n"
	if status := upload(kind, good); status != 200 || g.Accepted() != 1 || string(g.Mails()[0].Data) != mail {
		t.Errorf("%d, %+v", status, g.Mails())
	}
	if upload(kind, good); g.Duplicates() != 1 || g.ByMessageID()["<1@x.example>"] != 2 {
		t.Errorf("%d twice", g.Duplicates())
	}
	g.ExpireAccessTokens()
	if status := upload(kind, good); status != 401 {
		t.Errorf("%d without a token", status)
	}
	if token = g.AccessToken(mailbox, "email"); upload(kind, good) != 403 {
		t.Error("sent without the scope")
	}
}
