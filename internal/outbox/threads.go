package outbox

import (
	"context"

	"github.com/winprest/facteur/internal/store"
)

// findParents looks up what proved that the mails were sent which these answer, for a transport that files mails in threads.
func (r *laneRun) findParents(ctx context.Context, claimed []store.Claimed) (err error) {
	r.parents = nil
	driver, ok := r.transports[r.profile.Transport]
	if !ok || !driver.Info().Threads {
		return nil
	}
	var ids []string
	for i := range claimed {
		// One that cannot be read shows when its turn comes.
		if content, err := claimed[i].Content(); err == nil {
			if id := content.InReplyToID(); id != "" {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) > 0 {
		r.parents, err = r.store.SentEvidence(ctx, claimed[0].TenantID, r.profile.ID, ids)
	}
	return err
}
