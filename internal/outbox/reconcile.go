package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

// Reconciling settles uncertain mails without a person where the transport can look for them (transport.Finder). A mail that is
// found was sent. One that is not found is queued again, but only when its absence is proven:
//
//   - It was not found at the last time of Config.Looks, for a lost worker's mail Config.LostLook, nor at any look before.
//   - The profile, its consent included, is as it was when the mail was handed over: the look is into the same mailbox.
//   - The search works: mails of the same profile that are known to be sent, the ones next to this one, are found, and after
//     them this one still is not.
//   - It is not older than a mail may become that waits (Config.MaxWait): nobody expects it any more.
//   - Its job was not canceled, and nobody has sent its document anew in another mail.
//
// Without that it stays uncertain, for a person. What goes wrong with a search changes no mail's state.

// ActorReconciliation is who acts, in the audit trail, when the engine itself settles an uncertain message.
const ActorReconciliation = "reconciliation"

const (
	lookLease = 5 * time.Minute // longer than lookLimit: what comes of a look is fenced all the same
	lookLimit = 2 * time.Minute
	looksOnce = 8 // how many looks a process makes at once
	// After a search that failed: weather clears up by itself, the rest needs a person.
	lookRetry     = time.Minute
	lookRetryHeld = 15 * time.Minute
)

// watch has an uncertain hand-over looked up, when the transport can do that, or sent again, when the profile says so. It is nil
// too when a recipient is uncertain from an earlier one.
func (o *Outbox) watch(transportName string, version int64, resend, lost bool, before []mail.Recipient) *store.Watch {
	first := o.cfg.Looks[0]
	if _, ok := o.transports[transportName].(transport.Finder); !ok {
		if !resend {
			return nil
		}
		first = o.resendAfter(lost)
	}
	for _, r := range before {
		if r.Status == mail.RecipientUncertain {
			return nil
		}
	}
	return &store.Watch{ProfileVersion: version, Lost: lost, First: first}
}

// reconcile looks for uncertain mails until the engine stops.
func (o *Outbox) reconcile() {
	ticker := time.NewTicker(o.cfg.Sweep)
	defer ticker.Stop()
	ctx, cancel := context.WithCancel(o.background)
	defer cancel()
	go func() { // a search is not worth waiting for
		select {
		case <-o.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for {
			n, err := o.lookAround(ctx)
			if err != nil && ctx.Err() == nil {
				o.log.Error("reconcile", "error", err)
			}
			if n == 0 || err != nil || ctx.Err() != nil {
				break
			}
		}
	}
}

// lookAround makes the looks that are due, a few at once, and says how many there were.
func (o *Outbox) lookAround(ctx context.Context) (int, error) {
	looks, err := o.store.Looks(ctx, newToken(), lookLease, looksOnce)
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	for i := range looks {
		wg.Go(func() {
			l := &looks[i]
			limited, cancel := context.WithTimeout(ctx, lookLimit)
			defer cancel()
			if err := o.look(limited, l); err != nil && ctx.Err() == nil {
				o.log.Error("look for an uncertain mail", "message", l.MessageID, "error", err)
			}
		})
	}
	wg.Wait()
	return len(looks), nil
}

// look is one look for a mail, and what follows from it. Its errors are those of the database: the look is then made again when
// its lease is over.
func (o *Outbox) look(ctx context.Context, l *store.Look) error {
	searching := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookLease-lookLimit)
	defer cancel()
	profile, err := o.store.ProfileByID(ctx, l.ProfileID)
	if errors.Is(err, store.ErrNotFound) {
		return o.giveUp(ctx, l, "the profile is gone")
	}
	if errors.Is(err, store.ErrSealed) {
		return o.store.LookAgain(ctx, l, lookRetryHeld)
	}
	if err != nil {
		return err
	}
	finder, ok := o.transports[profile.Transport].(transport.Finder)
	if !ok {
		return o.notFound(ctx, l, profile, "the transport cannot look")
	}
	s := search{o, finder, profile}
	evidence, found, err := s.find(searching, l.TenantID, l.MessageID)
	if err == nil && !found {
		if next := o.nextLook(l); next > 0 {
			return o.store.LookAgain(ctx, l, next)
		}
		if l.ProfileVersion != profile.Version {
			return o.notFound(ctx, l, profile, "the profile was edited or connected anew since it was handed over")
		}
		var works bool
		if works, err = s.works(searching, l); err == nil && !works {
			return o.notFound(ctx, l, profile, "no mail that is known to be sent is found either")
		}
		if err == nil {
			evidence, found, err = s.find(searching, l.TenantID, l.MessageID)
		}
	}
	switch {
	case errors.Is(err, transport.ErrCannotFind):
		return o.notFound(ctx, l, profile, "the profile does not allow to look")
	case err != nil:
		return o.store.LookAgain(ctx, l, o.afterFailure(l, err))
	}
	r := resolution{actor: ActorReconciliation, as: ResolveResend, evidence: evidence}
	if found {
		r.as = ResolveSent
	}
	return o.settleLook(ctx, l, r)
}

// nextLook is how long to wait for the next look; 0: this was the last one.
func (o *Outbox) nextLook(l *store.Look) time.Duration {
	for _, at := range o.cfg.Looks {
		if at > l.Elapsed {
			return at - l.Elapsed
		}
	}
	if l.Lost && o.cfg.LostLook > l.Elapsed {
		return o.cfg.LostLook - l.Elapsed
	}
	return 0
}

// afterFailure is when to look again after a search that failed.
func (o *Outbox) afterFailure(l *store.Look, err error) time.Duration {
	select {
	case <-o.stopping: // the search was broken off
		return 0
	default:
	}
	gap := lookRetryHeld
	var verdict *transport.Error
	if errors.As(err, &verdict) && verdict.Verdict.Outcome == mail.OutcomeTemporary {
		gap = lookRetry
	}
	o.log.Info("an uncertain mail could not be looked for", "message", l.MessageID, "profile", l.ProfileID, "error", err, "again", gap)
	// Soon after the hand-over the schedule is closer than that.
	if next := o.nextLook(l); next > 0 {
		gap = min(gap, next)
	}
	return gap
}

// search looks for mails of one profile.
type search struct {
	*Outbox
	finder  transport.Finder
	profile *mail.Profile
}

func (s search) find(ctx context.Context, tenantID, messageID string) (evidence string, found bool, err error) {
	content, err := s.store.MessageContent(ctx, tenantID, messageID)
	if err != nil {
		return "", false, err
	}
	return s.finder.Find(ctx, s.profile, content.MessageIDHeader)
}

// works proves that the search finds what the profile has sent: the mails before and after this one. It is false too when there
// is none to prove it with. A mail that was sent just now need not be in the provider's index yet.
func (s search) works(ctx context.Context, l *store.Look) (bool, error) {
	indexed := time.Now().Add(-s.cfg.Looks[min(1, len(s.cfg.Looks)-1)])
	ids, err := s.store.SentBeside(ctx, l.TenantID, l.ProfileID, l.MessageID, indexed)
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		if _, found, err := s.find(ctx, l.TenantID, id); err != nil || !found {
			return false, err
		}
	}
	return len(ids) > 0, nil
}

var (
	// errOvertaken: somebody else has settled the message, or is looking.
	errOvertaken = errors.New("outbox: the look was overtaken")
	errTooOld    = errors.New("outbox: the message is too old to be sent again by itself")
	errCanceled  = errors.New("outbox: the message's job was canceled")
	errReplaced  = errors.New("outbox: another message brings the document by now")
)

// resolution is what the engine itself makes of an uncertain message, and why.
type resolution struct {
	actor, as, evidence string
	why                 string // it is sent again without proof
}

func (r *resolution) trail() map[string]string {
	if r.why != "" {
		return map[string]string{"as": r.as, "why": r.why}
	}
	return map[string]string{"as": r.as, "evidence": r.evidence}
}

// settleLook records that the mail was found, or is to be sent again, in one commit with the end of the look.
func (o *Outbox) settleLook(ctx context.Context, l *store.Look, r resolution) error {
	now := time.Now().UTC()
	as, found := r.as, r.as == ResolveSent
	trail, err := json.Marshal(r.trail())
	if err != nil {
		return err
	}
	var ring store.Ring
	err = o.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
		ring = store.Ring{}
		var recipients []mail.Recipient
		err := o.store.ChangeMessage(ctx, tx, l.TenantID, l.MessageID, now, func(m *store.MessageState) error {
			recipients = m.Recipients
			if m.Status != mail.StatusUncertain || m.Claim != l.Claim {
				return errOvertaken
			}
			switch {
			case found:
				*m = resolvedAsSent(*m, now)
			case now.After(m.ExpiresAt):
				return errTooOld
			case m.JobState == mail.JobCanceled:
				return errCanceled
			default:
				// The time that the mail may wait is not given anew: nobody asked for that.
				m.Status, m.Code, m.NotBefore = mail.StatusQueued, "", time.Time{}
				m.Recipients = mail.Requeue(m.Recipients, mail.RecipientUncertain)
			}
			if m.Status != mail.StatusSent {
				ring = store.Ring{ProfileID: m.ProfileID, Messages: 1, Priority: m.Priority}
			}
			return nil
		})
		if err != nil {
			return err
		}
		ours, err := o.store.EndLook(ctx, tx, l)
		if err != nil {
			return err
		}
		if !ours {
			return errOvertaken
		}
		if !found {
			taken, err := o.store.DocumentsTaken(ctx, tx, l.TenantID, l.MessageID, recipients)
			if err != nil {
				return err
			}
			if taken {
				return errReplaced
			}
		}
		if found {
			if err := o.store.KeepEvidence(ctx, tx, l.TenantID, l.MessageID, r.evidence); err != nil {
				return err
			}
		}
		err = o.store.AppendAudit(ctx, tx, &store.AuditEvent{
			TenantID: l.TenantID, Actor: r.actor, Action: actionResolve, Subject: l.MessageID, Detail: trail, CreatedAt: now,
		})
		if err != nil || ring.ProfileID == "" {
			return err
		}
		return o.ringTx(ctx, tx, []store.Ring{ring})
	})
	switch {
	case errors.Is(err, errOvertaken), errors.Is(err, store.ErrNotFound):
		return o.giveUp(ctx, l, "it is settled otherwise")
	case errors.Is(err, errTooOld):
		return o.giveUp(ctx, l, "it is too old to be sent again by itself")
	case errors.Is(err, errCanceled):
		return o.giveUp(ctx, l, "its job was canceled")
	case errors.Is(err, errReplaced):
		return o.giveUp(ctx, l, "its document was sent anew")
	case err != nil:
		return err
	}
	o.log.Info("an uncertain mail was resolved", "message", l.MessageID, "by", r.actor, "as", as, "evidence", r.evidence)
	if ring.ProfileID != "" {
		o.kicks.kick(ring.ProfileID, ring.Messages)
	}
	return nil
}

// giveUp ends the looks for a mail and leaves it as it is.
func (o *Outbox) giveUp(ctx context.Context, l *store.Look, why string) error {
	var ours bool
	err := o.store.Write(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		ours, err = o.store.EndLook(ctx, tx, l)
		return err
	})
	if err == nil && ours {
		o.log.Info("an uncertain mail is looked for no more", "message", l.MessageID, "profile", l.ProfileID, "why", why)
	}
	return err
}
