package outbox

import (
	"context"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// next claims what is due. It claims nothing while outcomes cannot be written. Every claim has a token of its own: what is
// written late for one must not touch the same message in another.
func (r *laneRun) next(ctx context.Context) ([]store.Claimed, error) {
	for !r.journal.healthy() {
		select {
		case <-time.After(lookAgain):
		case <-r.stopping:
			return nil, nil
		case <-ctx.Done():
			return nil, nil
		}
	}
	if r.limited {
		return r.store.ClaimWithin(ctx, r.lane.ProfileID, newToken(), r.cfg.Lease, r.claim)
	}
	return r.store.Claim(ctx, r.lane.ProfileID, newToken(), r.cfg.Lease, r.claim)
}

// spend counts what a claim of a profile with limits came to. When it cannot, the claim is left to its lease, and all of it
// counts then.
func (r *laneRun) spend(claim string, handed int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err := r.store.Spend(ctx, r.lane.ProfileID, claim, handed)
	if err != nil {
		r.log.Error("what was handed over could not be counted for the profile's limits", "error", err)
	}
	return err == nil
}

// release gives a claimed message back as it was.
func (r *laneRun) release(c *store.Claimed) {
	now := time.Now()
	recipients := c.Recipients
	if before, ok := r.unsuppressed[c.ID]; ok {
		recipients = before
	}
	r.journal.settle(store.Settled{
		MessageID: c.ID, TenantID: c.TenantID, Token: c.Token, Started: now, Ended: now,
		Settlement: mail.Settlement{Status: mail.Waiting(c.Attempts), Recipients: recipients},
		Outcome:    mail.OutcomeTemporary,
	})
}

func (r *laneRun) releaseAll(claimed []store.Claimed) {
	for i := range claimed {
		r.release(&claimed[i])
	}
}
