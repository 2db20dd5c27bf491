package consent

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"time"

	"golang.org/x/oauth2"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// Request asks for a person's consent.
type Request struct {
	Language  string // of the pages: fr, nl, en, de; empty: the browser's
	ReturnURL string // where the pages offer to go back to; empty: nowhere
	Actor     string // API key id
}

// Start is where the person has to go.
type Start struct {
	URL       string // of our own start page; good once, and for whoever has it
	ExpiresAt time.Time
}

// Page is what one of the two pages has to say.
type Page struct {
	Language, ReturnURL string // as asked for
	Firm, Profile, From string // what is connected
	Account             string // the Google account, once it is connected
	// Code is what went wrong; empty: nothing.
	Code   string
	Params map[string]string
	Cause  error // for the log
}

// secret is a new unguessable text: 256 bits in 43 characters.
func secret() string { return oauth2.GenerateVerifier() }

func hash(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

// NewBrowser makes the value of the cookie that a browser is known by.
func NewBrowser() string { return secret() }

// GoodBrowser says whether a cookie's value can be one of NewBrowser.
func GoodBrowser(cookie string) bool { return len(cookie) == len(secret()) }

// ErrReturnURL is a Request whose ReturnURL is not on the list.
var ErrReturnURL = errors.New("consent: the return URL is not on the list")

// Begin makes the address that a person opens to connect the profile. An earlier one of the profile is good no more. The error is a
// *Refusal when the profile or the set-up does not allow it, or ErrReturnURL.
func (s *Service) Begin(ctx context.Context, p *mail.Profile, r Request) (*Start, error) {
	if p.Transport != "gmail" {
		return nil, refuse(codeNotGmail)
	}
	if r.ReturnURL != "" && !s.returnable(r.ReturnURL) {
		return nil, ErrReturnURL
	}
	if s.public == "" {
		return nil, refuse(codeNotSetUp)
	}
	client, err := s.forNew(ctx, p)
	if err != nil {
		return nil, err
	}
	ticket, now := secret(), store.Now()
	c := &store.Consent{
		TenantID: p.TenantID, ProfileID: p.ID, Actor: r.Actor, Client: client.Name, ClientOwn: client.Own, ClientID: client.ID,
		Language: r.Language, ReturnURL: r.ReturnURL, TicketHash: hash(ticket), CreatedAt: now, ExpiresAt: now.Add(Validity),
	}
	if err := s.store.CreateConsent(ctx, c); errors.Is(err, store.ErrVersion) {
		return nil, refuse(codeNotGmail)
	} else if err != nil {
		return nil, err
	}
	return &Start{URL: s.public + StartPath + "?ticket=" + ticket, ExpiresAt: c.ExpiresAt}, nil
}

// asked is an open consent with everything that it is about.
type asked struct {
	consent *store.Consent
	profile *mail.Profile
	client  *Client
	page    Page
}

// Opened is the start page: what will be connected, or why it cannot be. It changes nothing, so that a mail program or a virus
// scanner may look at the address before the person does.
func (s *Service) Opened(ctx context.Context, ticket, browser string) (Page, error) {
	a, err := s.byTicket(ctx, ticket, browser)
	if err != nil {
		return Page{}, err
	}
	return a.page, nil
}

// Leave binds the consent to the browser and gives Google's address for it. The page has a Code when it cannot be.
func (s *Service) Leave(ctx context.Context, ticket, browser string) (address string, p Page, err error) {
	a, err := s.byTicket(ctx, ticket, browser)
	if err != nil || a.page.Code != "" {
		return "", a.page, err
	}
	state, verifier := secret(), oauth2.GenerateVerifier()
	a.consent.StateHash, a.consent.BrowserHash, a.consent.Verifier = hash(state), hash(browser), mail.Secret(verifier)
	ok, err := s.store.LeaveConsent(ctx, a.consent)
	if err != nil {
		return "", a.page, err
	}
	if !ok { // used, or taken by another browser, since it was read
		again, err := s.byTicket(ctx, ticket, browser)
		if err == nil && again.page.Code == "" {
			again.page.Code = CodeUsed
		}
		return "", again.page, err
	}
	conf := s.oauth(a.client)
	conf.Scopes = wantedScopes(a.profile)
	hint := a.profile.From.Address
	if g, err := s.store.Grant(ctx, a.profile.TenantID, a.profile.ID); err == nil && a.profile.MayConnect(g.Address) {
		hint = g.Address
	}
	return conf.AuthCodeURL(state,
		oauth2.AccessTypeOffline, oauth2.S256ChallengeOption(verifier),
		// Without it Google gives a refresh token at the first consent only.
		oauth2.SetAuthURLParam("prompt", "consent"),
		oauth2.SetAuthURLParam("login_hint", hint),
	), a.page, nil
}

// wantedScopes are those that the profile needs, and its owner's address.
func wantedScopes(p *mail.Profile) []string {
	return append([]string{"openid", "email"}, neededScopes(p)...)
}

func neededScopes(p *mail.Profile) []string {
	if p.Gmail != nil && p.Gmail.Reconcile {
		return []string{ScopeSend, ScopeRead}
	}
	return []string{ScopeSend}
}

func (s *Service) byTicket(ctx context.Context, ticket, browser string) (asked, error) {
	if len(ticket) != len(secret()) {
		return asked{page: Page{Code: codeUnknown}}, nil
	}
	c, err := s.store.ConsentByTicket(ctx, hash(ticket))
	if errors.Is(err, store.ErrNotFound) {
		return asked{page: Page{Code: codeUnknown}}, nil
	}
	if err != nil && !errors.Is(err, store.ErrSealed) {
		return asked{}, err
	}
	return s.about(ctx, c, browser)
}

// about finds out what a consent is about and whether it may go on in this browser.
func (s *Service) about(ctx context.Context, c *store.Consent, browser string) (asked, error) {
	a := asked{consent: c, page: Page{Language: c.Language, ReturnURL: c.ReturnURL}}
	switch {
	case c.Outcome != "":
		a.page.Code = CodeUsed
		return a, nil
	case !time.Now().Before(c.ExpiresAt):
		a.page.Code = codeExpired
		return a, nil
	case c.BrowserHash != nil && subtle.ConstantTimeCompare(c.BrowserHash, hash(browser)) != 1:
		a.page.Code = CodeOtherBrowser
		return a, nil
	}
	var err error
	a.profile, err = s.store.Profile(ctx, c.TenantID, c.ProfileID)
	if errors.Is(err, store.ErrNotFound) || err == nil && a.profile.Transport != "gmail" {
		a.page.Code = codeProfileChanged
		return a, nil
	}
	if err != nil {
		return a, err
	}
	firm, err := s.store.Tenant(ctx, c.TenantID)
	if err != nil {
		return a, err
	}
	a.page.Firm, a.page.Profile, a.page.From = firm.Name, a.profile.Name, a.profile.From.Address
	if a.client, err = s.named(ctx, c.TenantID, c.Client, c.ClientOwn, c.ClientID); err != nil {
		return a, err
	}
	if a.client == nil || a.client.State == Retired {
		a.page.Code, a.page.Params = codeClientRetired, map[string]string{"client": c.Client}
	}
	return a, nil
}
