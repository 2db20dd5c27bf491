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
		o.kicks.kick(r.ProfileID, r.Messages)
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

// kicks tells lanes of this process that linger on their connection that their profile has new mail. It is a short cut: the
// first lane of a profile, wherever it is, looks again by itself.
type kicks struct {
	mu       sync.Mutex
	profiles map[string]*waiters
}

type waiters struct {
	count uint64          // kicks so far
	lanes []chan struct{} // one for each lane that waits
}

func (k *kicks) init() { k.profiles = map[string]*waiters{} }

func (k *kicks) of(profileID string) *waiters {
	w, ok := k.profiles[profileID]
	if !ok {
		w = &waiters{}
		k.profiles[profileID] = w
	}
	return w
}

// count is how often the profile was kicked. A lane notes it before it looks for mail.
func (k *kicks) count(profileID string) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.of(profileID).count
}

// wait gives a channel that a later kick closes, or has closed when there was one since count. done ends the waiting.
func (k *kicks) wait(profileID string, count uint64) (kicked <-chan struct{}, done func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w, ch := k.of(profileID), make(chan struct{})
	if w.count != count {
		close(ch)
		return ch, func() {}
	}
	w.lanes = append(w.lanes, ch)
	return ch, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if i := slices.Index(w.lanes, ch); i >= 0 {
			w.lanes = slices.Delete(w.lanes, i, i+1)
		}
	}
}

// kick wakes as many lanes of the profile as there are new messages.
func (k *kicks) kick(profileID string, messages int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w, ok := k.profiles[profileID]
	if !ok {
		return
	}
	w.count++
	n := min(messages, len(w.lanes))
	for _, ch := range w.lanes[:n] {
		close(ch)
	}
	w.lanes = slices.Delete(w.lanes, 0, n)
}
