package outbox

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

const (
	tidyEvery         = 10 * time.Minute
	keepIdempotency   = 30 * 24 * time.Hour // as the API promises
	keepUnfinishedFor = 24 * time.Hour      // uploads that nobody completed
)

// patience is how long a wake-up may be under way, once those made before it had their turn, before its lane is taken to be
// forgotten.
const patience = 30 * time.Second

// reap looks every Sweep after what nobody else would: every process does, and each step is fenced.
func (o *Outbox) reap() {
	ticker := time.NewTicker(o.cfg.Sweep)
	defer ticker.Stop()
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	for {
		select {
		case <-o.stopping:
			return
		case <-tidy.C:
			if err := o.tidy(o.background); err != nil && o.background.Err() == nil {
				o.log.Error("tidy", "error", err)
			}
			continue
		case <-ticker.C:
		}
		if err := o.Sweep(o.background); err != nil && o.background.Err() == nil {
			o.log.Error("sweep", "error", err)
		}
	}
}

// tidy throws away what nobody can ask for any more.
func (o *Outbox) tidy(ctx context.Context) error {
	_, err1 := o.store.SweepIdempotency(ctx, keepIdempotency)
	_, err2 := o.store.SweepUploads(ctx, keepUnfinishedFor)
	return errors.Join(err1, err2)
}

// Sweep is one look of the reaper: have the dates of add-ons take effect, give back the claims of dead processes, declare uncertain what they were handing over,
// give up what has waited too long, and wake lanes of profiles that have something due.
func (o *Outbox) Sweep(ctx context.Context) error {
	if err := o.store.TurnAddOns(ctx); err != nil {
		return err
	}
	n, err := o.store.ReapUnclaimed(ctx)
	if err != nil {
		return err
	}
	if n > 0 {
		o.log.Warn("claims of a lost worker went back to the queue", "messages", n)
	}
	if err := o.reapLost(ctx); err != nil {
		return err
	}
	if err := o.store.ForgetClaims(ctx); err != nil {
		return err
	}
	if err := o.settleEarly(ctx); err != nil {
		return err
	}
	expired, err := o.store.Expired(ctx)
	if err != nil {
		return err
	}
	for _, l := range expired {
		if err := o.store.Expire(ctx, l, mail.Expire(l.Recipients), time.Now()); err != nil {
			return err
		}
	}
	oldest, err := o.queue.oldest(ctx)
	if err != nil {
		return err
	}
	rings, err := o.store.DueProfiles(ctx, patience, oldest)
	if err != nil {
		return err
	}
	return o.ring(ctx, rings)
}

// reapLost settles as uncertain the messages whose process disappeared between the mark and the outcome.
func (o *Outbox) reapLost(ctx context.Context) error {
	lost, err := o.store.LostHandovers(ctx)
	if err != nil || len(lost) == 0 {
		return err
	}
	now := time.Now()
	settled := make([]store.Settled, len(lost))
	for i, l := range lost {
		v := mail.Verdict{Outcome: mail.OutcomeUncertain, Code: mail.CodeWorkerLost, Step: "final"}
		settled[i] = store.Settled{
			MessageID: l.MessageID, TenantID: l.TenantID, Token: l.Token, Attempts: l.Attempts,
			Settlement: mail.Settle(v, l.Attempts+1, l.Recipients, now, rand.Float64()), //nolint:gosec // jitter
			Attempt:    attemptDetail(v, time.Time{}), Outcome: v.Outcome,
			Started: l.Since, Ended: now, Watch: o.watch(l.Transport, l.ProfileVersion, l.ResendUncertain, true, l.Recipients),
		}
	}
	if _, err := o.store.Journal(ctx, nil, settled, nil); err != nil {
		return err
	}
	o.log.Warn("a worker was lost during hand-overs; their outcome is uncertain", "messages", len(lost))
	return nil
}

// leases are the tokens that this process holds: one for each lane at work, and one for each claim it made.
type leases struct {
	mu     sync.Mutex
	lanes  map[string]bool // false: another holds the lane by now
	claims map[string]bool
}

func (l *leases) init() { l.lanes, l.claims = map[string]bool{}, map[string]bool{} }

func (l *leases) addLane(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lanes[token] = true
}

func (l *leases) removeLane(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.lanes, token)
}

func (l *leases) addClaim(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claims[token] = true
}

func (l *leases) removeClaim(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.claims, token)
}

// hasLane is false when the lane was found to be another's.
func (l *leases) hasLane(token string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lanes[token]
}

func (l *leases) list() (lanes, claims []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.lanes)), slices.Collect(maps.Keys(l.claims))
}

// keep notes which of the lanes that were to be renewed are lost.
func (l *leases) keep(renewed, held []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, token := range renewed {
		if _, ok := l.lanes[token]; ok && !slices.Contains(held, token) {
			l.lanes[token] = false
		}
	}
}

// renew prolongs the leases of this process three times in their length.
func (o *Outbox) renew() {
	ticker := time.NewTicker(o.cfg.Lease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-o.background.Done():
			return
		case <-ticker.C:
		}
		lanes, claims := o.leases.list()
		held, err := o.store.Renew(o.background, lanes, claims, o.cfg.Lease)
		if err == nil {
			o.leases.keep(lanes, held)
		} else if o.background.Err() == nil {
			o.log.Error("renew leases", "error", err)
		}
	}
}
