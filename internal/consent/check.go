package consent

import (
	"context"
	"errors"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

const (
	checkEvery = 24 * time.Hour
	// So many in a row that Google does not answer, and the rest waits for the next time.
	enoughWeather = 3
	// A consent's end can be asked for this long.
	rememberConsents = 24 * time.Hour
)

// CheckGrants asks Google about every grant that was not used for a day, so that a dead one is known, and its profile held with the
// reason, before the monthly run; revokes at Google what could not be revoked there when it was asked for; and forgets old consents. It is
// made to be called every few minutes in every process: a grant that one process is at is left alone by the others.
func (s *Service) CheckGrants(ctx context.Context) error {
	return errors.Join(s.revokeRest(ctx), s.checkDue(ctx), s.store.ForgetConsents(ctx, time.Now().Add(-rememberConsents)))
}

func (s *Service) checkDue(ctx context.Context) error {
	due, after, storms := time.Now().Add(-checkEvery), "", 0
	for {
		grants, err := s.store.GrantsToCheck(ctx, due, after)
		if err != nil || len(grants) == 0 {
			return err
		}
		for _, g := range grants {
			err := s.check(ctx, g)
			switch verdict := verdictOf(err); {
			case err == nil:
				storms = 0
			case verdict == nil:
				return err
			case verdict.Code != CodeTokenUnavailable || !isWeather(err):
				s.log.Warn("a grant cannot be checked", "tenant", g.TenantID, "profile", g.ProfileID, "client", g.Client, "code", verdict.Code)
			default:
				if storms++; storms == enoughWeather {
					return err
				}
			}
			after = g.ProfileID
		}
	}
}

// isWeather says that Google, or the way there, is out of order: not that it refused this grant for whatever reason.
func isWeather(err error) bool {
	var e *tokenError
	return !errors.As(err, &e) || e.grade == weather
}

func verdictOf(err error) *mail.Verdict {
	var e *transport.Error
	if !errors.As(err, &e) {
		return nil
	}
	return &e.Verdict
}

// check refreshes one grant, unless another process did since g was read, and holds its profile when it is dead. The error is
// that it could not be learnt.
func (s *Service) check(ctx context.Context, g *store.Grant) error {
	p, err := s.store.Profile(ctx, g.TenantID, g.ProfileID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = s.fresh(ctx, p, "", g.Generation)
	verdict := verdictOf(err)
	if verdict == nil || verdict.Outcome != mail.OutcomePermanent {
		return err
	}
	s.forget(p.ID)
	if p.Hold != nil {
		return nil
	}
	t := Unconnected()
	t.Reply = verdict.Reply
	return s.store.HoldProfile(ctx, p, t)
}

func (s *Service) revokeRest(ctx context.Context) error {
	grants, err := s.store.GrantsToRevoke(ctx)
	if err != nil {
		return err
	}
	for _, g := range grants {
		if err := s.revokeGrant(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// giveUpRevoking is how long Google may be out of reach before a token is forgotten without it.
const giveUpRevoking = 7 * 24 * time.Hour

// revokeGrant revokes a grant at Google and forgets its token.
func (s *Service) revokeGrant(ctx context.Context, g *store.Grant) error {
	if g.RefreshToken != "" && time.Since(g.Since) < giveUpRevoking {
		// The profile itself may be connected anew since g was read.
		connected, err := s.store.Connected(ctx, g.ClientID, g.Address)
		if err != nil {
			return err
		}
		if !connected {
			if err := s.revoke(ctx, g.RefreshToken); err != nil {
				return err
			}
		}
	}
	return s.store.ForgetGrant(ctx, g)
}
