package consent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

const (
	// A lease outlasts the request to Google and the store of its answer.
	leaseFor = 40 * time.Second
	// Waiters look this often whether the process with the lease is done.
	lookEvery = 100 * time.Millisecond
	// A token is believed this long without a look at the row.
	believe = 15 * time.Second
)

// tokens are the access tokens that this process knows, and the look-ups under way.
type tokens struct {
	mu      sync.Mutex
	known   map[string]known // by profile
	flights map[flightKey]*flight
	flying  sync.WaitGroup
}

type known struct {
	version int64 // of the profile: a revocation and a new consent count it
	token   mail.Secret
	until   time.Time
	read    time.Time
}

type flightKey struct {
	profile  string
	version  int64
	rejected mail.Secret
}

// flight is one look-up that all who ask for the same share.
type flight struct {
	done  chan struct{}
	token mail.Secret
	err   error
}

// AccessToken gives a token that is good for a while. rejected, when not empty, is one that Google refused just now; it is not
// given again. Any number of calls in any number of processes lead to one refresh.
//
// An error is a *transport.Error of profile scope: permanent with gmail_reauthorization_required when only a person can help;
// temporary with gmail_token_unavailable for Google's and the line's bad weather, gmail_client_unavailable for a fault of the
// set-up, secrets_unavailable for a wrong keyset. The error of ctx comes as it is.
func (s *Service) AccessToken(ctx context.Context, p *mail.Profile, rejected string) (string, error) {
	k := flightKey{p.ID, p.Version, mail.Secret(rejected)}
	t := &s.tokens
	t.mu.Lock()
	if have, ok := t.known[p.ID]; ok && have.version == p.Version && string(have.token) != rejected &&
		time.Now().Before(have.until) && time.Since(have.read) < believe {
		t.mu.Unlock()
		return string(have.token), nil
	}
	f := t.flights[k]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		if t.flights == nil {
			t.flights, t.known = map[flightKey]*flight{}, map[string]known{}
		}
		t.flights[k] = f
		// It goes on when the first caller gives up: others wait for it, and a rotated token must be stored.
		t.flying.Go(func() { s.fly(context.WithoutCancel(ctx), p, k, f) })
	}
	t.mu.Unlock()
	select {
	case <-f.done:
		return string(f.token), f.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Wait waits, before the process ends, for refreshes that nobody waits for any more: a token that Google has rotated is nowhere
// else. Nobody asks for a token by then.
func (s *Service) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.tokens.flying.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Service) fly(ctx context.Context, p *mail.Profile, k flightKey, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, leaseFor+2*s.timeout)
	defer cancel()
	f.err = trouble(mail.OutcomeTemporary, CodeTokenUnavailable, 0, errors.New("look-up ended in a panic")) // stays when there is one
	defer func() {
		s.tokens.mu.Lock()
		delete(s.tokens.flights, k)
		s.tokens.mu.Unlock()
		close(f.done)
	}()
	g, err := s.fresh(ctx, p, k.rejected, 0)
	if err != nil {
		f.err = err
		s.forget(p.ID)
		return
	}
	f.token, f.err = g.AccessToken, nil
	s.tokens.mu.Lock()
	s.tokens.known[p.ID] = known{p.Version, g.AccessToken, g.AccessUntil, time.Now()}
	s.tokens.mu.Unlock()
}

func (s *Service) forget(profileID string) {
	s.tokens.mu.Lock()
	delete(s.tokens.known, profileID)
	s.tokens.mu.Unlock()
}

// fresh gives a grant of a later generation than after with a good access token, refreshed by this process or by another.
func (s *Service) fresh(ctx context.Context, p *mail.Profile, rejected mail.Secret, after int64) (*store.Grant, error) {
	for {
		g, err := s.usable(ctx, p)
		if err != nil {
			return nil, err
		}
		if g.Generation > after && g.AccessToken != "" && time.Now().Before(g.AccessUntil) && g.AccessToken != rejected {
			return g, nil
		}
		lease := secret()
		mine, err := s.store.LeaseGrant(ctx, g, lease, leaseFor)
		if err != nil {
			return nil, trouble(mail.OutcomeTemporary, CodeTokenUnavailable, 0, err)
		}
		if mine {
			fresh, again, err := s.refreshLeased(ctx, g, lease)
			if err != nil || !again {
				return fresh, err
			}
			continue
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return nil, trouble(mail.OutcomeTemporary, CodeTokenUnavailable, 0, ctx.Err())
		}
	}
}

// usable reads the profile's grant. The error says why it cannot be used.
func (s *Service) usable(ctx context.Context, p *mail.Profile) (*store.Grant, error) {
	g, err := s.store.Grant(ctx, p.TenantID, p.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, trouble(mail.OutcomePermanent, CodeReauthorizationRequired, 0, errors.New("the profile was never connected"))
	case errors.Is(err, store.ErrSealed):
		return nil, trouble(mail.OutcomeTemporary, codeSecretsUnavailable, 0, err)
	case err != nil:
		return nil, trouble(mail.OutcomeTemporary, CodeTokenUnavailable, 0, err)
	case g.State != store.GrantConnected:
		return nil, trouble(mail.OutcomePermanent, CodeReauthorizationRequired, 0, errors.New("the grant is "+string(g.State)))
	case !p.MayConnect(g.Address):
		// Gmail would write the account's own address over the From.
		return nil, trouble(mail.OutcomePermanent, CodeReauthorizationRequired, 0, errors.New("the profile's From is not the connected account's"))
	}
	return g, nil
}

// refreshLeased asks Google for a token and stores it. again: the grant is another one by now, look again.
func (s *Service) refreshLeased(ctx context.Context, g *store.Grant, lease string) (_ *store.Grant, again bool, err error) {
	// Whoever asked may be stopped: a refresh that Google has seen may have rotated the token, and must come to its end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseFor)
	defer cancel()
	defer func() {
		if err != nil {
			// What failed may be tried again at once by whoever comes next.
			if err := s.store.ReleaseGrant(context.WithoutCancel(ctx), g, lease); err != nil {
				s.log.Warn("a lease was not given back", "profile", g.ProfileID, "error", err)
			}
		}
	}()
	client, err := s.named(ctx, g.TenantID, g.Client, g.ClientOwn, g.ClientID)
	if err != nil {
		return nil, false, trouble(mail.OutcomeTemporary, codeSecretsUnavailable, 0, err)
	}
	if client == nil {
		return nil, false, trouble(mail.OutcomeTemporary, CodeClientUnavailable, 0, errors.New("no OAuth client "+g.Client+" with the grant's client_id"))
	}
	got, err := s.refresh(ctx, client, g.RefreshToken)
	var refused *tokenError
	switch {
	case err == nil:
		return s.save(ctx, g, lease, got)
	case !errors.As(err, &refused) || refused.grade == weather || refused.grade == otherRefused:
		e := trouble(mail.OutcomeTemporary, CodeTokenUnavailable, 0, err)
		if refused != nil {
			e.Verdict.Reply, e.Verdict.RetryAfter = mail.Reply{Code: refused.status, Text: refused.Error()}, refused.retryAfter
		}
		return nil, false, e
	case refused.grade == deadClient:
		return nil, false, trouble(mail.OutcomeTemporary, CodeClientUnavailable, refused.status, err)
	}
	// What Google refused may be a token that another process has replaced. Only if the row still is as it was read is it dead.
	died, err := s.store.GrantDied(ctx, g, lease, CodeReauthorizationRequired)
	if err != nil {
		return nil, false, trouble(mail.OutcomeTemporary, CodeTokenUnavailable, 0, err)
	}
	if !died {
		return nil, true, nil
	}
	s.log.Warn("Google takes a grant no more: the profile needs a new consent", "tenant", g.TenantID, "profile", g.ProfileID, "client", g.Client)
	return nil, false, trouble(mail.OutcomePermanent, CodeReauthorizationRequired, refused.status, refused)
}

// save stores what a refresh gave. A refresh token that Google rotated is nowhere else, so it is tried for a while.
func (s *Service) save(ctx context.Context, g *store.Grant, lease string, got *answered) (_ *store.Grant, again bool, err error) {
	next := *g
	next.AccessToken, next.AccessUntil = got.access, got.until
	if got.refresh != "" {
		next.RefreshToken = got.refresh
	}
	if !got.refreshExpires.IsZero() {
		next.RefreshExpiresAt = got.refreshExpires
	}
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		ok, err := s.store.SaveTokens(ctx, &next, lease)
		if err == nil && ok {
			next.Generation++
			return &next, false, nil
		}
		if err == nil { // revoked, or consented to anew
			return nil, true, nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, false, trouble(mail.OutcomeTemporary, CodeTokenUnavailable, 0, err)
		}
	}
}

func trouble(o mail.Outcome, code string, status int, err error) *transport.Error {
	v := mail.Verdict{Outcome: o, Scope: mail.ScopeProfile, Code: code, Step: "login"}
	if status != 0 {
		v.Reply = mail.Reply{Code: status, Text: err.Error()}
	}
	return &transport.Error{Verdict: v, Err: err}
}
