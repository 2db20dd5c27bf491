package consent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// States of a profile's authorization.
const (
	StateNone                 = "none"                  // never connected
	StatePending              = "pending"               // a person was asked, and nothing else is in force
	StateConnected            = "connected"             //
	StateNeedsReauthorization = "needs_reauthorization" // connected once; only a new consent helps
	StateRevoked              = "revoked"               // ended by the firm
)

// Status is how a profile stands with Google.
type Status struct {
	State   string
	Address string // of the Google account; empty: never connected
	Scopes  []string
	Client  string
	Since   time.Time
	// PendingUntil is when an open consent ends, in whatever state; zero: none is open.
	PendingUntil time.Time
	// Code is what the person should know: why a new consent is needed, or that the client is retired. Empty: nothing.
	Code   string
	Params map[string]string
	// Failure is why the last consent came to nothing, and when. Empty when it did not, or another is open.
	Failure       string
	FailureParams map[string]string
	FailureAt     time.Time
	// RefreshExpiresAt is when the grant will end by itself: the consent screen is in testing. Zero: it does not.
	RefreshExpiresAt time.Time
}

// Status tells how a profile stands with Google, without asking there.
func (s *Service) Status(ctx context.Context, p *mail.Profile) (*Status, error) {
	st := &Status{State: StateNone}
	g, err := s.store.Grant(ctx, p.TenantID, p.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrSealed) {
		return nil, err
	}
	if g != nil {
		if err := s.describe(ctx, st, p, g); err != nil {
			return nil, err
		}
	}
	c, err := s.store.LastConsent(ctx, p.TenantID, p.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return st, nil
	case err != nil && !errors.Is(err, store.ErrSealed):
		return nil, err
	}
	open := c.Outcome == "" || c.Outcome == store.ConsentExchanging
	switch {
	case open && time.Now().Before(c.ExpiresAt):
		st.PendingUntil = c.ExpiresAt
		if st.State != StateConnected {
			st.State = StatePending
		}
	case open:
		st.Failure, st.FailureAt = codeExpired, c.ExpiresAt
	case c.Outcome != store.ConsentConnected && c.Outcome != store.ConsentReplaced:
		st.Failure, st.FailureParams, st.FailureAt = c.Outcome, c.Params, c.FinishedAt
	}
	return st, nil
}

func (s *Service) describe(ctx context.Context, st *Status, p *mail.Profile, g *store.Grant) error {
	st.Address, st.Scopes, st.Client, st.Since = g.Address, g.Scopes, g.Client, g.Since
	switch g.State {
	case store.GrantRevoking, store.GrantRevoked:
		st.State = StateRevoked
		return nil
	case store.GrantNeedsReauthorization:
		st.State, st.Code = StateNeedsReauthorization, g.Code
		return nil
	}
	if !p.MayConnect(g.Address) {
		st.State, st.Code = StateNeedsReauthorization, codeOtherAccount
		st.Params = map[string]string{"account": g.Address, "wanted": p.From.Address}
		return nil
	}
	if p.Hold != nil && p.Hold.Code == CodeReauthorizationRequired {
		// Gmail refuses what the token endpoint goes on to give.
		st.State, st.Code = StateNeedsReauthorization, p.Hold.Code
		return nil
	}
	st.State, st.RefreshExpiresAt = StateConnected, g.RefreshExpiresAt
	c, err := s.named(ctx, g.TenantID, g.Client, g.ClientOwn, g.ClientID)
	if err != nil && !errors.Is(err, store.ErrSealed) {
		return err
	}
	switch {
	case c == nil && err == nil:
		st.Code = CodeClientUnavailable
	case c != nil && c.State == Retired:
		st.Code, st.Params = codeClientRetired, map[string]string{"client": c.Name}
	case slices.ContainsFunc(neededScopes(p), func(scope string) bool { return !slices.Contains(g.Scopes, scope) }):
		st.Code = codeReadScopeMissing // without the other it would not be connected
	}
	return nil
}

// Revoke ends a profile's consent: at once here, in every process, and at Google as soon as it can be reached. The profile's
// mail is held. A profile that is not connected is left as it is.
func (s *Service) Revoke(ctx context.Context, p *mail.Profile, actor string) error {
	detail, err := json.Marshal(map[string]string{"reason": "asked for"})
	if err != nil {
		return err
	}
	event := &store.AuditEvent{TenantID: p.TenantID, Actor: actor, Action: "authorization.revoke", Subject: p.ID, Detail: detail}
	if err := s.store.RevokeGrant(ctx, p.TenantID, p.ID, Unconnected(), event); err != nil {
		return err
	}
	s.Left(ctx, p)
	return nil
}

// Left revokes at Google what a profile does not use any more, after the store ended its use: the profile is deleted, or has
// another transport. What cannot be done now is done by CheckGrants.
func (s *Service) Left(ctx context.Context, p *mail.Profile) {
	s.forget(p.ID)
	g, err := s.store.Grant(ctx, p.TenantID, p.ID)
	if err == nil && g.State == store.GrantRevoking {
		err = s.revokeGrant(context.WithoutCancel(ctx), g)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.log.Warn("a grant is not revoked at Google yet; it is not used any more, and will be tried again", "profile", p.ID, "error", err)
	}
}
