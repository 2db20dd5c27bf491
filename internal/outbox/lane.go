package outbox

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

// Codes that the engine itself gives.
const (
	CodeContentUnavailable   = mail.CodeContentUnavailable
	CodeContentErased        = "content_erased"            // somebody had it forgotten
	CodeTransportUnavailable = "transport_unavailable"     // this process has no such transport
	CodeInternal             = "internal_error"            // a fault of ours; the log has it
	CodeSecretsUnavailable   = mail.CodeSecretsUnavailable // the profile was sealed with another keyset
)

const (
	// A claim is as many messages as the lane sends in claimTime, so that a one-off mail never waits long behind a batch.
	claimTime = 300 * time.Millisecond
	maxClaim  = 64
	// lookAgain is how often a profile's first lane, when it lingers, looks for mail that another process accepted.
	lookAgain = 50 * time.Millisecond
)

// laneRun is one turn of a lane at a worker: it holds the lane, claims the profile's due messages and sends them over one
// connection, until nothing is due or others have waited long enough.
type laneRun struct {
	*Outbox
	lane    store.Lane
	token   string
	log     *slog.Logger
	profile *mail.Profile
	session transport.Session
	parents map[string]string // of the claim: by the id of the mail answered, what proved that it was sent
	ahead   ahead
	// Recipients of the claim's messages as they were before the suppressed ones were taken out.
	unsuppressed map[string][]mail.Recipient
	breaker      *breaker
	opened       uint64 // times that the breaker had opened before the claim
	claim        int
	size         int64 // of the mail that is being handed over
	limited      bool  // the profile has limits, so that claims are counted
	blocked      bool  // the profile was held or paused in this turn, or allows fewer lanes by now
}

// workLane is what a wake-up does.
func (o *Outbox) workLane(ctx context.Context, lane store.Lane) {
	r := &laneRun{Outbox: o, lane: lane, token: newToken(), claim: 4, breaker: o.breakers.of(lane.ProfileID),
		log: o.log.With("profile", lane.ProfileID, "lane", lane.Number)}
	ok, limited, err := o.store.TakeLane(ctx, lane, r.token, o.cfg.Lease)
	r.limited = limited
	if err != nil {
		r.log.Error("take lane", "error", err) // the reaper wakes it again
		return
	}
	if !ok {
		return
	}
	o.leases.addLane(r.token)
	o.active.Add(1)
	defer func() {
		r.closeSession()
		o.active.Add(-1)
		o.leases.removeLane(r.token)
	}()
	if err := r.run(ctx); err != nil {
		r.log.Error("lane", "error", err)
		r.sleep()
	}
}

func (r *laneRun) run(ctx context.Context) error {
	turn := time.Now()
	var idle time.Time // since when nothing is due
	for {
		if r.stopped(ctx) || r.blocked {
			r.sleep()
			return nil
		}
		kicks := r.kicks.count(r.lane.ProfileID) // before the claim, so that no kick falls between
		r.opened = r.breaker.times()
		claimed, err := r.next(ctx)
		if err != nil {
			return err
		}
		if len(claimed) > 0 {
			idle = time.Time{}
			if len(claimed) == r.claim { // there is more: lanes that linger may help
				r.kicks.kick(r.lane.ProfileID, r.claim)
			}
			if err := r.sendAll(ctx, claimed); err != nil {
				return err
			}
			if time.Since(turn) > r.cfg.Slice && r.contended() {
				return r.yield(ctx)
			}
			continue
		}
		if idle.IsZero() {
			idle = time.Now()
		}
		if rest := r.cfg.Linger - time.Since(idle); r.session != nil && !r.contended() && rest > 0 {
			r.linger(ctx, kicks, rest)
			continue
		}
		r.closeSession()
		asleep, err := r.store.RestLane(ctx, r.lane, r.token)
		if asleep {
			r.tender.rested(r.lane.ProfileID)
		}
		if err != nil || asleep {
			return err
		}
	}
}

// linger waits for mail, a while. Mail that another process accepts is found by the profile's first lane.
func (r *laneRun) linger(ctx context.Context, kicks uint64, rest time.Duration) {
	if r.lane.Number == 0 {
		rest = min(rest, lookAgain)
	}
	kicked, done := r.kicks.wait(r.lane.ProfileID, kicks)
	defer done()
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-kicked:
	case <-timer.C:
	case <-r.stopping:
	case <-ctx.Done():
	}
}

// contended says that other lanes may be waiting for a worker of this process.
func (r *laneRun) contended() bool { return r.active.Load() >= int64(r.cfg.Workers) }

// stopped says that the lane must end its turn: the process stops, or another one holds the lane by now.
func (r *laneRun) stopped(ctx context.Context) bool {
	select {
	case <-r.stopping:
		return true
	default:
		return ctx.Err() != nil || !r.leases.hasLane(r.token)
	}
}

// sendAll sends the claimed messages one after the other, and gives back the rest when it has to stop.
func (r *laneRun) sendAll(ctx context.Context, claimed []store.Claimed) error {
	claim, limited := claimed[0].Token, r.limited
	r.leases.addClaim(claim)
	defer r.leases.removeClaim(claim)
	handed, err := r.sendClaim(ctx, claimed)
	// Not after a panic: what has no outcome then is the reaper's, which finds it by the claim.
	if !limited || r.spend(claim, handed) {
		r.journal.endClaim(claim)
	}
	return err
}

// sendClaim says how many mails the far end may have seen.
func (r *laneRun) sendClaim(ctx context.Context, claimed []store.Claimed) (handed int, err error) {
	limited := r.limited
	if err := r.load(ctx, &claimed[0]); err != nil {
		r.releaseAll(claimed)
		return 0, err
	}
	if r.profile.Hold != nil || r.profile.PauseCount != claimed[0].PauseCount { // another lane met trouble since the claim
		r.releaseAll(claimed)
		return 0, nil
	}
	if r.limited = r.profile.Limits.Any(); r.limited && !limited { // limits were set since
		r.releaseAll(claimed)
		return 0, nil
	}
	if r.lane.Number > 0 && r.profile.PauseCount > 0 || r.lane.Number >= max(r.profile.MaxConnections, 1) {
		r.releaseAll(claimed)
		r.blocked = true
		return 0, nil
	}
	if err := r.findParents(ctx, claimed); err != nil {
		r.releaseAll(claimed)
		return 0, err
	}
	rest, err := r.suppress(ctx, claimed)
	if err != nil {
		r.releaseAll(claimed)
		return 0, err
	}
	if claimed = rest; len(claimed) == 0 {
		return 0, nil
	}
	began := time.Now()
	for i := range claimed {
		r.blocked = r.blocked || r.breaker.times() != r.opened
		if r.stopped(ctx) || r.blocked {
			r.releaseAll(claimed[i:])
			return handed, nil
		}
		var next *store.Claimed
		if i+1 < len(claimed) {
			next = &claimed[i+1]
		}
		if r.send(ctx, &claimed[i], next) {
			handed++
		}
	}
	per := time.Since(began) / time.Duration(len(claimed))
	r.claim = int(min(max(claimTime/max(per, time.Microsecond), 1), maxClaim))
	return handed, nil
}

// load has the profile as the claim saw it, or newer. An edited profile gets a new connection. A hold is read again: a claim
// says that it is over, and its end changes nothing else.
func (r *laneRun) load(ctx context.Context, c *store.Claimed) error {
	if r.profile != nil && r.profile.Hold == nil && r.profile.Version == c.ProfileVersion && r.profile.PauseCount == c.PauseCount {
		return nil
	}
	if r.profile != nil && r.profile.Version != c.ProfileVersion {
		r.closeSession()
	}
	p, err := r.store.ProfileByID(ctx, r.lane.ProfileID)
	if errors.Is(err, store.ErrSealed) {
		r.profile = p
		r.log.Error("the profile's secrets cannot be opened: is this the right keyset?")
		v := mail.Verdict{Outcome: mail.OutcomeTemporary, Scope: mail.ScopeProfile, Code: CodeSecretsUnavailable, Step: "connect"}
		r.trouble(v, mail.Settlement{Pause: true})
		return nil
	}
	if err != nil {
		return err
	}
	r.profile = p
	return nil
}

// trouble holds or pauses the profile: the fault is not the message's.
func (r *laneRun) trouble(v mail.Verdict, s mail.Settlement) {
	r.blocked = true
	t := mail.ProfileTrouble{Code: v.Code, Reply: v.Reply, Since: time.Now().UTC()}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var err error
	if s.Hold {
		err = r.store.HoldProfile(ctx, r.profile, t)
		r.log.Warn("profile held until a person mends it", "code", v.Code, "step", v.Step, "reply", v.Reply.Code)
	} else {
		gap := mail.PauseGap(v, r.profile.PauseCount+1, rand.Float64()) //nolint:gosec // jitter
		err = r.store.PauseProfile(ctx, r.profile, t, gap)
		r.log.Warn("profile paused", "code", v.Code, "step", v.Step, "reply", v.Reply.Code, "gap", gap)
	}
	if err != nil {
		r.log.Error("profile trouble could not be recorded", "error", err)
	}
}

// recovered forgets the pauses of a profile whose server answers again.
func (r *laneRun) recovered() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.store.ClearPause(ctx, r.profile); err != nil {
		r.log.Error("clear pause", "error", err)
		return
	}
	r.profile.PauseCount = 0
}

// yield lets other lanes have the worker: this one goes to the end of the queue.
func (r *laneRun) yield(ctx context.Context) error {
	r.closeSession()
	return r.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
		held, err := r.store.YieldLane(ctx, tx, r.lane, r.token)
		if err != nil || !held {
			return err
		}
		return r.queue.wake(ctx, tx, []store.Wake{{Lane: r.lane, Priority: mail.PriorityBatch}})
	})
}

// sleep gives up the lane whatever is due; the reaper, here or elsewhere, wakes it when that is right.
func (r *laneRun) sleep() {
	r.closeSession()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.store.SleepLane(ctx, r.lane, r.token); err != nil {
		r.log.Error("sleep lane", "error", err)
	}
}

func (r *laneRun) closeSession() {
	session := r.session
	if session == nil {
		return
	}
	r.session = nil
	defer func() { // the lane and its claim are still to be given back
		if p := recover(); p != nil {
			r.log.Error("panic while a session was closed", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if err := session.Close(); err != nil {
		r.log.Debug("close session", "error", err)
	}
}
