package senders

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/sendgrid"
)

const (
	// Patience is how long a proof may take. After it another firm may begin.
	Patience  = 14 * 24 * time.Hour
	lookLease = time.Minute
	oneRound  = 20
)

// gaps are the waits before the first, second, … look; the last repeats.
var gaps = []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

func gap(looks int) time.Duration { return gaps[min(looks, len(gaps)-1)] }

// Run looks for what is pending until ctx ends.
func (s *Service) Run(ctx context.Context) {
	ticker := time.NewTicker(s.Every)
	defer ticker.Stop()
	for {
		if err := s.LookAll(ctx); err != nil && ctx.Err() == nil {
			s.Logger.Error("sender verification", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// LookAll looks for what is due, once.
func (s *Service) LookAll(ctx context.Context) error {
	token := rand.Text()
	due, err := s.Store.LeaseLooks(ctx, token, lookLease, oneRound)
	if err != nil {
		return err
	}
	for _, i := range due {
		if err := s.look(ctx, i, token); err != nil {
			return err
		}
	}
	return nil
}

// Status is the identity that a profile's From has, the one that is proved before others; nil: there is none. SendGrid is asked
// when the last look is old.
func (s *Service) Status(ctx context.Context, p *mail.Profile) (*store.Identity, error) {
	on, err := s.addOn(ctx, p)
	if err != nil {
		return nil, err
	}
	mailbox, domain := mail.SenderIdentities(p.From.Address)
	list, err := s.Store.Identities(ctx, p.TenantID, mailbox, domain)
	if err != nil {
		return nil, err
	}
	var best *store.Identity
	for _, i := range list {
		if i.Method != store.IdentityGranted && (i.Key != on.Key || i.Subuser != on.Subuser) {
			continue // proved in another account
		}
		if i = s.fresh(ctx, i); best == nil || rank(i) > rank(best) {
			best = i
		}
	}
	return best, nil
}

func rank(i *store.Identity) int {
	switch i.State {
	case store.IdentityVerified:
		return 2
	case store.IdentityPending:
		return 1
	}
	return 0
}

// fresh looks again when the last look is old. What goes wrong then leaves what was known.
func (s *Service) fresh(ctx context.Context, i *store.Identity) *store.Identity {
	if i.State != store.IdentityPending || i.ProviderID == 0 || time.Since(i.LookedAt) < s.Old {
		return i
	}
	token := rand.Text()
	leased, err := s.Store.LeaseLook(ctx, i, token, lookLease)
	if err == nil && leased != nil {
		if err = s.look(ctx, leased, token); err == nil {
			return leased
		}
	}
	if err != nil {
		s.Logger.Warn("sender verification", "error", err)
	}
	return i
}

// look asks SendGrid about an identity that the token leases, and stores what it says.
func (s *Service) look(ctx context.Context, i *store.Identity, token string) error {
	was := i.State
	ctx, cancel := context.WithTimeout(ctx, lookLease/2)
	defer cancel()
	next := gap(i.Looks)
	known, err := s.ask(ctx, i)
	switch {
	case err != nil:
		s.Logger.Warn("SendGrid could not be asked about a sender", "tenant", i.TenantID, "error", err)
	case !known: // nobody proves what SendGrid has not
		i.State = store.IdentityFailed
	}
	i.Looks++
	if i.State == store.IdentityPending && time.Since(i.Since) > Patience {
		i.State = store.IdentityFailed
	}
	if i.State != store.IdentityPending {
		next = 0
	}
	var event *store.AuditEvent
	if i.State != was {
		detail, err := json.Marshal(map[string]string{"name": i.Name, "state": string(i.State)})
		if err != nil {
			return err
		}
		event = &store.AuditEvent{TenantID: i.TenantID, Actor: "sender_verification", Action: "sender_identity." + string(i.State), Subject: i.Name, Detail: detail}
	}
	// What SendGrid said is worth keeping even when who asked has gone.
	saving, done := context.WithTimeout(context.WithoutCancel(ctx), lookLease/4)
	defer done()
	stored, released, err := s.Store.SaveLook(saving, i, token, next, event)
	if err != nil || !stored {
		return err
	}
	i.LookedAt = store.Now()
	for _, id := range released {
		if s.Wake == nil {
			break
		}
		if err := s.Wake(saving, id); err != nil {
			s.Logger.Warn("wake", "profile", id, "error", err) // the engine finds it by itself
		}
	}
	return nil
}

// ask has SendGrid say how far a proof is. known is false when SendGrid has not got it.
func (s *Service) ask(ctx context.Context, i *store.Identity) (known bool, err error) {
	if i.ProviderID == 0 { // whoever began it did not come to the end
		return false, nil
	}
	c, err := s.client(i.Key, i.Subuser)
	if err != nil {
		return true, err
	}
	if i.Method == store.IdentitySingleSender {
		list, err := c.VerifiedSenders(ctx)
		if err != nil {
			return true, err
		}
		for _, v := range list {
			if v.ID == i.ProviderID && mail.SenderIdentity(v.FromEmail) == i.Name {
				if v.Verified {
					i.State = store.IdentityVerified
				}
				return true, nil
			}
		}
		return false, nil
	}
	d, err := c.Domain(ctx, i.ProviderID)
	if err != nil {
		return !notThere(err), weather(err)
	}
	if mail.SenderIdentity(d.Domain) != i.Name {
		return false, nil
	}
	v, err := c.ValidateDomain(ctx, i.ProviderID)
	if err != nil {
		return !notThere(err), weather(err)
	}
	i.Records = records(d.DNS, v.Records)
	if v.Valid {
		i.State = store.IdentityVerified
	}
	return true, nil
}

func notThere(err error) bool {
	var te *transport.Error
	return errors.As(err, &te) && te.Verdict.Reply.Code == http.StatusNotFound
}

func weather(err error) error {
	if notThere(err) {
		return nil
	}
	return err
}

var _ sendgrid.Accounts = Accounts{}
