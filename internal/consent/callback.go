package consent

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/url"
	"slices"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// Finish is the callback page: the browser is back from Google with a query. When the page has no Code the profile is connected and its
// waiting mail goes out; otherwise nothing of the consent is left. An error is our own trouble.
func (s *Service) Finish(ctx context.Context, query url.Values, browser string) (Page, error) {
	state := param(query, "state")
	if len(state) != len(secret()) {
		return Page{Code: codeUnknown}, nil
	}
	c, err := s.store.ConsentByState(ctx, hash(state))
	if errors.Is(err, store.ErrNotFound) {
		return Page{Code: codeUnknown}, nil
	}
	if err != nil && !errors.Is(err, store.ErrSealed) {
		return Page{}, err
	}
	if err != nil {
		return Page{Language: c.Language, ReturnURL: c.ReturnURL}, err
	}
	if c.Outcome == "" && (c.BrowserHash == nil || subtle.ConstantTimeCompare(c.BrowserHash, hash(browser)) != 1) {
		// Somebody has a state that is not his. It is good for nobody from now on, and he learns nothing of whose it is.
		return Page{Language: c.Language, Code: CodeOtherBrowser}, s.store.EndConsent(ctx, c, CodeOtherBrowser, nil)
	}
	a, err := s.about(ctx, c, browser)
	if err != nil {
		return a.page, err
	}
	if a.page.Code != "" {
		if c.Outcome == "" {
			err = s.store.EndConsent(ctx, c, a.page.Code, a.page.Params)
		}
		return a.page, err
	}
	if ok, err := s.store.UseConsent(ctx, c); err != nil || !ok {
		if err == nil {
			a.page.Code = CodeUsed
		}
		return a.page, err
	}
	ctx = context.WithoutCancel(ctx) // a closed browser does not undo a consent
	if err := s.connect(ctx, &a, query); err != nil {
		return a.page, errors.Join(err, s.store.EndConsent(ctx, c, codeInternal, nil))
	}
	if a.page.Code == "" {
		return a.page, nil
	}
	return a.page, s.store.EndConsent(ctx, c, a.page.Code, a.page.Params)
}

// param is a parameter that is there once; "" otherwise.
func param(query url.Values, name string) string {
	values := query[name]
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// connect turns the query into a grant, or says in the page why not.
func (s *Service) connect(ctx context.Context, a *asked, query url.Values) error {
	page := &a.page
	if e := clean(param(query, "error")); e != "" {
		page.Code = codeGoogleRefused
		if e == "access_denied" {
			page.Code = codeDenied
		}
		page.Cause = errors.New("Google's consent page answered " + e)
		return nil
	}
	grant := param(query, "code") // the authorization code (RFC 6749 section 4.1.2)
	if grant == "" || len(grant) > 2000 || a.consent.Verifier == "" {
		page.Code = codeGoogleRefused
		return nil
	}
	got, err := s.exchange(ctx, a.client, grant, a.consent.Verifier)
	if err != nil {
		page.Cause = err
		page.failed(err, a.client.Name)
		return nil
	}
	account, err := s.accountOf(got.idToken, a.client.ID)
	if err != nil {
		page.Code, page.Cause = codeIncomplete, err
		return nil
	}
	if got.scopes == nil {
		got.scopes = wantedScopes(a.profile)
	}
	switch {
	case !a.profile.MayConnect(account):
		page.Code, page.Params = codeOtherAccount, map[string]string{"account": account, "wanted": a.profile.From.Address}
	case slices.ContainsFunc(neededScopes(a.profile), func(scope string) bool { return !slices.Contains(got.scopes, scope) }):
		page.Code = codeScopeMissing
	case got.refresh == "":
		page.Code = codeIncomplete
	}
	if page.Code == "" {
		if err := s.keep(ctx, a, got, account); err != nil {
			s.undo(ctx, a.client.ID, got, account)
			return err
		}
	}
	if page.Code != "" {
		s.undo(ctx, a.client.ID, got, account)
	}
	return nil
}

// failed says in the page why a code was not exchanged.
func (p *Page) failed(err error, client string) {
	var e *tokenError
	errors.As(err, &e) // exchange gives no other
	switch {
	case e == nil || e.grade == weather:
		p.Code = CodeGoogleDown
	case e.grade == deadClient:
		p.Code, p.Params = codeClientRefused, map[string]string{"client": client}
	default:
		p.Code = codeGoogleRefused
	}
}

// keep stores the grant and lets the profile send again.
func (s *Service) keep(ctx context.Context, a *asked, got *answered, account string) error {
	former, err := s.store.Grant(ctx, a.profile.TenantID, a.profile.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrSealed) {
		return err
	}
	g := &store.Grant{
		TenantID: a.profile.TenantID, ProfileID: a.profile.ID, Client: a.client.Name, ClientOwn: a.client.Own, ClientID: a.client.ID,
		Address: account, Scopes: got.scopes, RefreshToken: got.refresh, RefreshExpiresAt: got.refreshExpires, AccessToken: got.access, AccessUntil: got.until,
	}
	detail, err := json.Marshal(map[string]string{"address": account, "client": a.client.Name})
	if err != nil {
		return err
	}
	event := &store.AuditEvent{TenantID: a.profile.TenantID, Actor: a.consent.Actor, Action: "authorization.connect", Subject: a.profile.ID, Detail: detail}
	err = s.store.SaveGrant(ctx, a.profile, a.consent.ID, g, event)
	if errors.Is(err, store.ErrVersion) || errors.Is(err, store.ErrNotFound) {
		// It was edited while the person was at Google, so that what was compared may not hold any more; or this is not wanted now.
		a.page.Code = codeProfileChanged
		return nil
	}
	if err != nil {
		return err
	}
	a.page.Account = account
	s.log.Info("profile connected to Gmail", "tenant", a.profile.TenantID, "profile", a.profile.ID, "client", a.client.Name)
	if former != nil && former.RefreshToken != "" && (!mail.SameMailbox(former.Address, account) || former.ClientID != a.client.ID) {
		s.undo(ctx, former.ClientID, &answered{refresh: former.RefreshToken}, former.Address)
	}
	if s.wake == nil {
		return nil
	}
	// The grant is stored and the profile free: the engine finds the mail by itself if this fails, only later.
	if err := s.wake(ctx, a.profile.ID); err != nil {
		s.log.Warn("a connected profile could not be woken", "profile", a.profile.ID, "error", err)
	}
	return nil
}

// undo revokes a token that leads to no grant, unless that would end another profile's: Google revokes the whole consent of
// an account to a client.
func (s *Service) undo(ctx context.Context, clientID string, got *answered, account string) {
	token := got.refresh
	if token == "" {
		token = got.access
	}
	connected, err := s.store.Connected(ctx, clientID, account)
	if err == nil && !connected {
		err = s.revoke(ctx, token)
	}
	if err != nil {
		s.log.Warn("a token that is not used could not be revoked at Google; it is forgotten", "error", err)
	}
}

// Unconnected is the trouble of a profile that needs a consent, a first one or a new one.
func Unconnected() mail.ProfileTrouble {
	return mail.ProfileTrouble{Code: CodeReauthorizationRequired, Since: store.Now()}
}
