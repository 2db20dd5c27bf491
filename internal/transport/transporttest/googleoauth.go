package transporttest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// googleCode is what an authorization code stands for.
type googleCode struct {
	authorization
	account string
	granted []string
	used    bool
}

// googleGrant is what a refresh token stands for.
type googleGrant struct {
	client, account string
	scopes          []string
	revoked         bool
}

// googleAccess is what an access token stands for.
type googleAccess struct {
	grant   *googleGrant
	expires time.Time
}

// consented makes the code of a consent.
func (g *Google) consented(a authorization, account string, granted []string) string {
	code := secret("4/")
	g.mu.Lock()
	defer g.mu.Unlock()
	g.codes[code] = &googleCode{authorization: a, account: account, granted: granted}
	return code
}

// Grant gives a refresh token as if its owner had just consented.
func (g *Google) Grant(client, account string, scopes ...string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.newGrant(client, account, scopes)
}

func (g *Google) newGrant(client, account string, scopes []string) string {
	refresh := secret("1//")
	g.grants[refresh] = &googleGrant{client: client, account: account, scopes: scopes}
	return refresh
}

// AccessToken gives an access token as if it had just been got, for a grant of its own.
func (g *Google) AccessToken(account string, scopes ...string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.newAccess(g.grants[g.newGrant(g.cfg.Clients[0].ID, account, scopes)])
}

func (g *Google) newAccess(grant *googleGrant) string {
	token := secret("ya29.")
	g.access[token] = &googleAccess{grant, time.Now().Add(g.cfg.TokenLife)}
	return token
}

// ExpireAccessTokens ends all access tokens; refresh tokens stay good.
func (g *Google) ExpireAccessTokens() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.access)
}

// Revoke does what the owner of an account does when he takes back his consent: all tokens of his end.
func (g *Google) Revoke(account string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, grant := range g.grants {
		if strings.EqualFold(grant.account, account) {
			grant.revoked = true
		}
	}
}

// token is the token endpoint.
func (g *Google) token(w http.ResponseWriter, r *http.Request) {
	kind := r.PostFormValue("grant_type")
	action := g.step(GoogleStep{Endpoint: "token", GrantType: kind, Account: g.refreshing(r.PostFormValue("refresh_token"))})
	if g.apply(w, r, action, true) {
		return
	}
	id, key, basic := r.BasicAuth()
	if !basic {
		id, key = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	client, known := g.client(id)
	if !known || client.Secret != key {
		oauthError(w, http.StatusUnauthorized, "invalid_client", "The OAuth client was not found.")
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch kind {
	case "authorization_code":
		g.exchangeCode(w, r, client, action)
	case "refresh_token":
		g.refresh(w, r, client, action)
	default:
		oauthError(w, http.StatusBadRequest, "unsupported_grant_type", "Invalid grant_type: "+kind)
	}
}

// refreshing is whose refresh token it is.
func (g *Google) refreshing(token string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if grant := g.grants[token]; grant != nil {
		return grant.account
	}
	return ""
}

func (g *Google) exchangeCode(w http.ResponseWriter, r *http.Request, client GoogleClient, action GoogleAction) {
	code := g.codes[r.PostFormValue("code")]
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	switch {
	case code == nil || code.used || code.client != client.ID:
		oauthError(w, http.StatusBadRequest, "invalid_grant", "Malformed auth code.")
		return
	case code.redirect != r.PostFormValue("redirect_uri"):
		oauthError(w, http.StatusBadRequest, "redirect_uri_mismatch", "Bad Request")
		return
	case base64.RawURLEncoding.EncodeToString(sum[:]) != code.challenge:
		oauthError(w, http.StatusBadRequest, "invalid_grant", "Invalid code verifier.")
		return
	}
	code.used = true
	// Google gives a refresh token with the first consent, and again only when it was told to ask anew.
	first := true
	for _, grant := range g.grants {
		if grant.client == client.ID && grant.account == code.account && !grant.revoked {
			first = false
		}
	}
	refresh := g.newGrant(client.ID, code.account, code.granted)
	body := g.tokens(g.grants[refresh])
	body["id_token"] = g.idToken(client.ID, code.account)
	if code.offline && (first || code.forced) && !action.NoRefreshToken {
		body["refresh_token"] = refresh
	}
	answer(w, http.StatusOK, body)
}

func (g *Google) refresh(w http.ResponseWriter, r *http.Request, client GoogleClient, action GoogleAction) {
	old := r.PostFormValue("refresh_token")
	grant := g.grants[old]
	if grant == nil || grant.revoked || grant.client != client.ID {
		oauthError(w, http.StatusBadRequest, "invalid_grant", "Token has been expired or revoked.")
		return
	}
	body := g.tokens(grant)
	if g.cfg.RotateRefreshTokens && !action.NoRefreshToken {
		next := secret("1//")
		delete(g.grants, old)
		g.grants[next] = grant
		body["refresh_token"] = next
	}
	answer(w, http.StatusOK, body)
}

func (g *Google) tokens(grant *googleGrant) map[string]any {
	return map[string]any{
		"access_token": g.newAccess(grant), "expires_in": int(g.cfg.TokenLife.Seconds()), "token_type": "Bearer",
		"scope": strings.Join(grant.scopes, " "),
	}
}

// idToken says who consented. Nobody can check its signature, and nobody needs to who has it from the token endpoint itself
// (OpenID Connect Core section 3.1.3.7).
func (g *Google) idToken(client, account string) string {
	now := time.Now()
	claims, _ := json.Marshal(map[string]any{
		"iss": "https://accounts.google.com", "aud": client, "azp": client, "sub": subject(account),
		"email": account, "email_verified": true, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"RS256","kid":"fake","typ":"JWT"}`)) + "." + part(claims) + "." + part([]byte("no signature"))
}

// subject is the number of an account.
func subject(account string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(account)))
	digits := make([]byte, 21)
	for i := range digits {
		digits[i] = '0' + sum[i]%10
	}
	return string(digits)
}

// revoke ends an account's whole consent to a client, by any of its tokens.
func (g *Google) revoke(w http.ResponseWriter, r *http.Request) {
	if g.apply(w, r, g.step(GoogleStep{Endpoint: "revoke"}), true) {
		return
	}
	token := r.FormValue("token")
	g.mu.Lock()
	defer g.mu.Unlock()
	grant := g.grants[token]
	if a := g.access[token]; a != nil {
		grant = a.grant
	}
	if grant == nil || grant.revoked {
		oauthError(w, http.StatusBadRequest, "invalid_token", "Token expired or revoked")
		return
	}
	for _, other := range g.grants {
		if other.client == grant.client && strings.EqualFold(other.account, grant.account) {
			other.revoked = true
		}
	}
	answer(w, http.StatusOK, map[string]any{})
}

// bearer is whose token a request has; nil when it is good no more.
func (g *Google) bearer(token string) *googleGrant {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.access[token]
	if a == nil || a.grant.revoked || time.Now().After(a.expires) {
		return nil
	}
	return a.grant
}

// authorized is the grant of a request to an API: with one of the scopes, and past the hook. Otherwise it is nil and the answer
// was given.
func (g *Google) authorized(w http.ResponseWriter, r *http.Request, endpoint string, scopes ...string) *googleGrant {
	grant := g.bearer(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	step := GoogleStep{Endpoint: endpoint}
	if grant != nil {
		step.Account = grant.account
	}
	if g.apply(w, r, g.step(step), false) {
		return nil
	}
	switch {
	case grant == nil:
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://accounts.google.com/", error="invalid_token"`)
		apiError(w, http.StatusUnauthorized, "authError", "Invalid Credentials")
		return nil
	case !slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(grant.scopes, s) }):
		apiError(w, http.StatusForbidden, "insufficientPermissions", "Request had insufficient authentication scopes.")
		return nil
	}
	return grant
}

func (g *Google) userinfo(w http.ResponseWriter, r *http.Request) {
	if grant := g.authorized(w, r, "userinfo", "openid", "email"); grant != nil {
		body := map[string]any{"sub": subject(grant.account)}
		if slices.Contains(grant.scopes, "email") {
			body["email"], body["email_verified"] = grant.account, true
		}
		answer(w, http.StatusOK, body)
	}
}

func (g *Google) tokeninfo(w http.ResponseWriter, r *http.Request) {
	if g.apply(w, r, g.step(GoogleStep{Endpoint: "tokeninfo"}), true) {
		return
	}
	grant := g.bearer(r.FormValue("access_token"))
	if grant == nil {
		oauthError(w, http.StatusBadRequest, "invalid_token", "Invalid Value")
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"aud": grant.client, "azp": grant.client, "sub": subject(grant.account), "scope": strings.Join(grant.scopes, " "),
		"email": grant.account, "email_verified": "true", "access_type": "offline",
	})
}
