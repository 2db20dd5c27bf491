package outbox

import (
	"context"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// suppress takes the suppressed recipients out of claimed messages, right before they are handed over: a suppression may have come
// after the mail was accepted. It gives the messages that are still to be sent; those of which nobody is left are settled here. A
// tenant without suppressions costs nothing.
func (r *laneRun) suppress(ctx context.Context, claimed []store.Claimed) ([]store.Claimed, error) {
	r.unsuppressed = nil
	tenant := claimed[0].TenantID // a profile belongs to one
	has, err := r.store.Suppresses(ctx, tenant)
	if err != nil || !has {
		return claimed, err
	}
	var addresses []string
	for i := range claimed {
		addresses = append(addresses, envelope(r.profile, claimed[i].ID, claimed[i].Recipients).To...)
	}
	suppressed, err := r.store.Suppressed(ctx, tenant, addresses)
	if err != nil || len(suppressed) == 0 {
		return claimed, err
	}
	// Who reads the recipients from the header would send to all of them.
	whole := false
	if driver, ok := r.transports[r.profile.Transport]; ok {
		whole = driver.Info().AddressesByHeader
	}
	rest := make([]store.Claimed, 0, len(claimed))
	r.unsuppressed = map[string][]mail.Recipient{}
	for _, c := range claimed {
		recipients, left, verdict := withoutSuppressed(c.Recipients, suppressed, whole)
		switch {
		case len(verdict.Recipients) == 0 || mayOverride(&c):
			rest = append(rest, c)
		case left:
			r.unsuppressed[c.ID] = c.Recipients
			c.Recipients = recipients
			rest = append(rest, c)
		default:
			r.refuseSuppressed(&c, verdict)
		}
	}
	return rest, nil
}

// mayOverride says whether a mail goes to suppressed addresses too. One whose content cannot be read might: it is not sent, but put off
// when its turn comes.
func mayOverride(c *store.Claimed) bool {
	content, err := c.Content()
	return err != nil || content.OverrideSuppression
}

// withoutSuppressed fails the suppressed ones of the pending recipients, all of the pending ones when whole and one of them is suppressed. left says that
// the mail is still for somebody.
func withoutSuppressed(recipients []mail.Recipient, suppressed map[string]store.Suppression, whole bool) (_ []mail.Recipient, left bool, v mail.Verdict) {
	v = mail.Verdict{Outcome: mail.OutcomePermanent, Scope: mail.ScopeRecipient, Code: mail.CodeRecipientSuppressed, Step: "suppression"}
	out := make([]mail.Recipient, len(recipients))
	hit := false
	for i, rc := range recipients {
		out[i] = rc
		if rc.Status != mail.RecipientPending {
			continue
		}
		s, ok := suppressed[rc.Envelope()]
		if !ok {
			left = true
			continue
		}
		reply := mail.Reply{Text: mail.ReplyText("suppressed since " + s.CreatedAt.Format(time.DateOnly) + ": " + string(s.Reason))}
		out[i].Status, out[i].Reply = mail.RecipientFailed, &reply
		v.Recipients = append(v.Recipients, mail.RecipientVerdict{
			Address: rc.Envelope(), Outcome: mail.OutcomePermanent, Code: mail.CodeRecipientSuppressed, Reply: reply,
		})
		hit = hit || whole && rc.Kind != mail.KindBCC
	}
	if !left || !hit {
		return out, left, v
	}
	reply := mail.Reply{Text: "another recipient is suppressed, and this transport sends a mail to all whom it names or to nobody"}
	for _, rc := range recipients {
		if _, ok := suppressed[rc.Envelope()]; rc.Status == mail.RecipientPending && !ok {
			v.Recipients = append(v.Recipients, mail.RecipientVerdict{
				Address: rc.Envelope(), Outcome: mail.OutcomePermanent, Code: mail.CodeRecipientSuppressed, Reply: reply,
			})
		}
	}
	return out, false, v
}

// refuseSuppressed settles a message of which nobody is left to send to. Nothing was handed over.
func (r *laneRun) refuseSuppressed(c *store.Claimed, v mail.Verdict) {
	now := time.Now()
	v.Reply = v.Recipients[0].Reply
	s := mail.Settle(v, c.Attempts+1, c.Recipients, now, 0)
	r.journal.settle(store.Settled{
		MessageID: c.ID, TenantID: c.TenantID, Token: c.Token, Attempts: c.Attempts, Settlement: s,
		Attempt: attemptDetail(v, time.Time{}), Outcome: v.Outcome, Started: now, Ended: now,
	})
	r.log.Info("not sent", "message", c.ID, "code", v.Code, "status", s.Status)
}
