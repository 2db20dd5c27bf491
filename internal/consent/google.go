package consent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/winprest/facteur/internal/mail"
)

// answered is what the token endpoint gave.
type answered struct {
	access         mail.Secret
	until          time.Time // use it no longer
	refresh        mail.Secret
	refreshExpires time.Time // zero: it does not end by itself
	scopes         []string  // empty: those that were asked for (RFC 6749 section 5.1)
	idToken        mail.Secret
}

// grade is what a failure at the token endpoint says.
type grade int

const (
	weather      grade = iota // nothing of the grant: try again later
	deadGrant                 // Google does not take the code or the refresh token
	deadClient                // Google does not take the client
	otherRefused              // a refusal that nobody foresaw
)

// tokenError is a failure at the token endpoint. It never quotes the answer, which may hold a token.
type tokenError struct {
	grade      grade
	status     int    // 0: no answer
	code       string // RFC 6749 section 5.2
	retryAfter time.Duration
	cause      string
}

func (e *tokenError) Error() string {
	if e.status == 0 {
		return "Google's token endpoint: " + e.cause
	}
	return strings.TrimSpace(fmt.Sprintf("Google's token endpoint answered %d %s", e.status, e.code))
}

// gradeOf classifies an answer of the token endpoint by its status and RFC 6749 code. Google's: https://developers.google.com/identity/protocols/oauth2/web-server#offline
func gradeOf(status int, code string) grade {
	if status < 400 || status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests {
		return weather
	}
	switch code {
	case "invalid_grant":
		return deadGrant
	case "invalid_client", "unauthorized_client", "deleted_client", "disabled_client":
		return deadClient
	case "":
		return weather // no OAuth answer at all: a proxy's page
	}
	return otherRefused
}

func (s *Service) oauth(c *Client) *oauth2.Config {
	return &oauth2.Config{
		ClientID: c.ID, ClientSecret: string(c.Secret), RedirectURL: s.RedirectURI(),
		Endpoint: oauth2.Endpoint{AuthURL: s.endpoints.Auth, TokenURL: s.endpoints.Token, AuthStyle: oauth2.AuthStyleInParams},
	}
}

// exchange turns the code of a callback into tokens.
func (s *Service) exchange(ctx context.Context, c *Client, authorization string, verifier mail.Secret) (*answered, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, s.http), s.timeout)
	defer cancel()
	t, err := s.oauth(c).Exchange(ctx, authorization, oauth2.VerifierOption(string(verifier)))
	return read(t, err)
}

// refresh asks for a new access token. The answer's refresh token is the given one unless Google sent another.
func (s *Service) refresh(ctx context.Context, c *Client, token mail.Secret) (*answered, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, s.http), s.timeout)
	defer cancel()
	t, err := s.oauth(c).TokenSource(ctx, &oauth2.Token{RefreshToken: string(token)}).Token()
	return read(t, err)
}

func read(t *oauth2.Token, err error) (*answered, error) {
	if err != nil {
		return nil, classify(err)
	}
	lasts := time.Duration(t.ExpiresIn) * time.Second
	if lasts <= 0 {
		lasts = 5 * time.Minute
	}
	// A token that ends while a mail is on its way is no use.
	a := &answered{access: mail.Secret(t.AccessToken), until: time.Now().Add(lasts - min(2*time.Minute, lasts/4)), refresh: mail.Secret(t.RefreshToken)}
	if scope, ok := t.Extra("scope").(string); ok {
		a.scopes = strings.Fields(scope)
	}
	if id, ok := t.Extra("id_token").(string); ok {
		a.idToken = mail.Secret(id)
	}
	if seconds, ok := t.Extra("refresh_token_expires_in").(float64); ok && seconds > 0 {
		a.refreshExpires = time.Now().Add(time.Duration(seconds) * time.Second)
	}
	return a, nil
}

func classify(err error) *tokenError {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		e := &tokenError{cause: "no usable answer"}
		var line *url.Error
		if errors.As(err, &line) {
			e.cause = line.Err.Error() // of the connection; the request's body is not in it
		}
		return e
	}
	e := &tokenError{code: clean(refused.ErrorCode)}
	if refused.Response != nil {
		e.status = refused.Response.StatusCode
		if seconds, err := strconv.Atoi(refused.Response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			e.retryAfter = time.Duration(seconds) * time.Second
		}
	}
	e.grade = gradeOf(e.status, e.code)
	return e
}

// clean keeps what an OAuth error code is made of (RFC 6749 section 5.2), at most 60 bytes.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.' {
			return r
		}
		return -1
	}, name)
	return name[:min(len(name), 60)]
}

// revoke ends a token at Google, and with it the account's whole consent to the client
// (https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke). A token that is dead already is a success.
func (s *Service) revoke(ctx context.Context, token mail.Secret) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	body := url.Values{"token": {string(token)}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoints.Revoke, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.http.Do(req)
	if err != nil {
		return classify(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var answer struct {
		Error string `json:"error"`
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if json.Unmarshal(b, &answer) == nil && resp.StatusCode == http.StatusBadRequest && answer.Error == "invalid_token" {
		return nil
	}
	return &tokenError{status: resp.StatusCode, code: clean(answer.Error)}
}

var errIdentity = errors.New("consent: the identity token is not usable")

// accountOf reads the account's address from an identity token. It came straight from the token endpoint over TLS, which stands for
// its signature (OpenID Connect Core 1.0 section 3.1.3.7, rule 6).
func (s *Service) accountOf(idToken mail.Secret, clientID string) (string, error) {
	parts := strings.Split(string(idToken), ".")
	if len(parts) != 3 {
		return "", errIdentity
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", errIdentity
	}
	var claims struct {
		Issuer   string          `json:"iss"`
		Audience json.RawMessage `json:"aud"`
		Expires  int64           `json:"exp"`
		Email    string          `json:"email"`
		Verified any             `json:"email_verified"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return "", errIdentity
	}
	var audience []string
	var one string
	if json.Unmarshal(claims.Audience, &one) == nil {
		audience = []string{one}
	} else if json.Unmarshal(claims.Audience, &audience) != nil {
		return "", errIdentity
	}
	const skew = 5 * time.Minute
	issuer := s.endpoints.Issuer
	switch {
	case issuer != "" && claims.Issuer != issuer && claims.Issuer != strings.TrimPrefix(issuer, "https://"),
		!slices.Contains(audience, clientID),
		time.Now().After(time.Unix(claims.Expires, 0).Add(skew)),
		claims.Verified != true && claims.Verified != "true",
		mail.CheckAddress(claims.Email) != "":
		return "", errIdentity
	}
	return claims.Email, nil
}
