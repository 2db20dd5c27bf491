package outbox

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/winprest/facteur/internal/store"
)

// mergeRings sorts rings by profile and makes one of those for the same profile. Sorted, because a ring locks the profile's
// first lane and two processes must lock in the same order.
func mergeRings(rings []store.Ring) []store.Ring {
	slices.SortFunc(rings, func(a, b store.Ring) int {
		return cmp.Or(cmp.Compare(a.ProfileID, b.ProfileID), cmp.Compare(a.Priority, b.Priority))
	})
	merged := rings[:0]
	for _, r := range rings {
		if n := len(merged); n > 0 && merged[n-1].ProfileID == r.ProfileID {
			merged[n-1].Messages += r.Messages // the first of them has the higher priority
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// ring wakes lanes in a transaction of its own.
func (o *Outbox) ring(ctx context.Context, rings []store.Ring) error {
	if len(rings) == 0 {
		return nil
	}
	rings = mergeRings(rings)
	err := o.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error { return o.ringTx(ctx, tx, rings) })
	if err != nil {
		return err
	}
	for _, r := range rings {
		o.kicks.kick(r.ProfileID)
	}
	return nil
}

func (o *Outbox) ringTx(ctx context.Context, tx *store.Tx, rings []store.Ring) error {
	wakes, err := o.store.RingLanes(ctx, tx, rings)
	if err != nil {
		return err
	}
	return o.queue.wake(ctx, tx, wakes)
}

// kicks tells lanes of this process that linger on their connection that their profile has new mail. It is a short cut: a
// lane that misses a kick looks again by itself.
type kicks struct {
	mu      sync.Mutex
	waiting map[string]chan struct{} // by profile; closed by the next kick
}

func (k *kicks) init() { k.waiting = map[string]chan struct{}{} }

// wait gives a channel that the next kick of the profile closes.
func (k *kicks) wait(profileID string) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	ch, ok := k.waiting[profileID]
	if !ok {
		ch = make(chan struct{})
		k.waiting[profileID] = ch
	}
	return ch
}

func (k *kicks) kick(profileID string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ch, ok := k.waiting[profileID]; ok {
		close(ch)
		delete(k.waiting, profileID)
	}
}
