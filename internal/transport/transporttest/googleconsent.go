package transporttest

import (
	"context"
	"errors"
	"fmt"
	pages "html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// GoogleDecision is what a person does on the consent screen.
type GoogleDecision struct {
	Deny    bool
	Account string   // who he is logged in as; empty: whom login_hint names, or the first account
	Untick  []string // scopes whose box he clears
}

// Decide does what a person with a browser does at an authorization URL, and gives the URL that Google sends the browser back
// to. The error is what the page says when Google sends nobody back.
func (g *Google) Decide(ctx context.Context, authURL string, d GoogleDecision) (*url.URL, error) {
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer browser.CloseIdleConnections()
	do := func(req *http.Request, err error) (*http.Response, string, error) {
		if err != nil {
			return nil, "", err
		}
		resp, err := browser.Do(req)
		if err != nil {
			return nil, "", err
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		return resp, string(page), err
	}
	resp, page, err := do(http.NewRequestWithContext(ctx, http.MethodGet, authURL, nil))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("consent screen: %d %s", resp.StatusCode, page)
	}
	u, err := url.Parse(authURL)
	if err != nil {
		return nil, err
	}
	asked := u.Query()
	form := url.Values{"request": {u.RawQuery}, "decision": {"approve"}, "account": {d.Account}}
	if d.Deny {
		form.Set("decision", "deny")
	}
	for _, s := range strings.Fields(asked.Get("scope")) {
		if !slices.Contains(d.Untick, s) {
			form.Add("scope", s)
		}
	}
	u.RawQuery = ""
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(form.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, page, err = do(req, err)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSeeOther {
		return nil, fmt.Errorf("consent: %d %s", resp.StatusCode, page)
	}
	return resp.Location()
}

// authorization is a request for consent.
type authorization struct {
	client, redirect, state, challenge string
	scopes                             []string
	hint                               string
	offline, forced                    bool
}

// parseAuthorization checks a request as far as Google shows a page of its own instead of going back. PKCE and state, which
// Google leaves to the client, are demanded too.
func (g *Google) parseAuthorization(q url.Values) (authorization, error) {
	a := authorization{
		client: q.Get("client_id"), redirect: q.Get("redirect_uri"), state: q.Get("state"), challenge: q.Get("code_challenge"),
		scopes: strings.Fields(q.Get("scope")), hint: q.Get("login_hint"),
		offline: q.Get("access_type") == "offline", forced: slices.Contains(strings.Fields(q.Get("prompt")), "consent"),
	}
	client, known := g.client(a.client)
	to, err := url.Parse(a.redirect)
	switch {
	case !known:
		return a, errors.New("invalid_client: no such OAuth client")
	case err != nil || !to.IsAbs() || to.Host == "" || to.Fragment != "":
		return a, errors.New("invalid_request: redirect_uri")
	case len(client.RedirectURIs) > 0 && !slices.Contains(client.RedirectURIs, a.redirect):
		return a, errors.New("redirect_uri_mismatch")
	case q.Get("response_type") != "code":
		return a, errors.New("unsupported_response_type")
	case len(a.scopes) == 0:
		return a, errors.New("invalid_request: scope")
	case a.state == "":
		return a, errors.New("invalid_request: state")
	case q.Get("code_challenge_method") != "S256" || len(a.challenge) != 43: // RFC 7636 section 4.2: 32 octets in base64url
		return a, errors.New("invalid_request: code_challenge")
	}
	return a, nil
}

func (g *Google) consentScreen(w http.ResponseWriter, r *http.Request) {
	a := g.step(GoogleStep{Endpoint: "auth"})
	if g.apply(w, r, a, false) {
		return
	}
	asked, err := g.parseAuthorization(r.URL.Query())
	if err != nil {
		http.Error(w, "Error 400: "+err.Error(), http.StatusBadRequest)
		return
	}
	view := struct {
		Client, Request  string
		Accounts, Scopes []string
	}{Client: asked.client, Request: r.URL.RawQuery, Accounts: g.choices(asked.hint)}
	for _, s := range asked.scopes {
		if !isIdentity(s) {
			view.Scopes = append(view.Scopes, s)
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	consentPage.Execute(w, view) //nolint:errcheck // the browser's loss
}

// choices are the accounts that a person can be, the likeliest first.
func (g *Google) choices(hint string) []string {
	var out []string
	if hint != "" {
		out = append(out, hint)
	}
	for _, a := range g.cfg.Accounts {
		if !slices.Contains(out, a.Address) {
			out = append(out, a.Address)
		}
	}
	if len(out) == 0 {
		out = []string{"someone@gmail.example"}
	}
	return out
}

// isIdentity says that a scope has no box on the screen: who he is he tells by consenting.
func isIdentity(scope string) bool {
	return scope == "openid" || scope == "email" || scope == "profile" || strings.HasPrefix(scope, "https://www.googleapis.com/auth/userinfo.")
}

func (g *Google) consentGiven(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.PostFormValue("request"))
	if err != nil {
		http.Error(w, "Error 400", http.StatusBadRequest)
		return
	}
	asked, err := g.parseAuthorization(q)
	if err != nil {
		http.Error(w, "Error 400: "+err.Error(), http.StatusBadRequest)
		return
	}
	back, _ := url.Parse(asked.redirect)
	values := back.Query()
	values.Set("state", asked.state)
	if r.PostFormValue("decision") == "approve" {
		granted := slices.DeleteFunc(slices.Clone(asked.scopes), func(s string) bool {
			return !isIdentity(s) && !slices.Contains(r.PostForm["scope"], s)
		})
		account := r.PostFormValue("account")
		if account == "" {
			account = g.choices(asked.hint)[0]
		}
		values.Set("code", g.consented(asked, account, granted))
		values.Set("scope", strings.Join(granted, " "))
	} else {
		values.Set("error", "access_denied")
	}
	back.RawQuery = values.Encode()
	w.Header().Set("Location", back.String())
	w.WriteHeader(http.StatusSeeOther)
}

var consentPage = pages.Must(pages.New("").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Consent (not the real Google)</title>
<style>body{font:1rem/1.5 sans-serif;max-width:32rem;margin:2rem auto;padding:0 1rem}fieldset{margin:1rem 0}button{font:inherit;padding:.4rem 1rem}</style></head>
<body><main><h1>A Google of our own</h1>
<p>This page stands in for Google's consent screen. Nothing leaves this computer.</p>
<p><strong>{{.Client}}</strong> wants to use a mailbox.</p>
<form method="post"><input type="hidden" name="request" value="{{.Request}}">
<fieldset><legend>Account</legend>
{{range $i, $a := .Accounts}}<div><label><input type="radio" name="account" value="{{$a}}"{{if not $i}} checked{{end}}> {{$a}}</label></div>
{{end}}</fieldset>
<fieldset><legend>It may</legend>
{{range .Scopes}}<div><label><input type="checkbox" name="scope" value="{{.}}" checked> {{.}}</label></div>
{{end}}</fieldset>
<button id="approve" name="decision" value="approve">Continue</button> <button id="deny" name="decision" value="deny">Cancel</button>
</form></main></body></html>
`))
