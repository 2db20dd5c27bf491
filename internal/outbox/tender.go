package outbox

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/winprest/facteur/internal/store"
)

// tender looks after the jobs whose state follows from their messages or the clock. Lanes tell it what may matter, at no cost for a mail
// that is sent: a mail that was not, and that nothing is left to send. What no lane of this process can tell, the jobs' own times bring up.
type tender struct {
	mu     sync.Mutex
	failed []store.Mark    // messages that were not sent
	idle   map[string]bool // profiles with a lane that found nothing to send
	wake   chan struct{}   // has one element when there is something of the two
}

func (t *tender) init() { t.idle, t.wake = map[string]bool{}, make(chan struct{}, 1) }

func (t *tender) unsent(settled []store.Settled) {
	t.mu.Lock()
	for i := range settled {
		t.failed = append(t.failed, settled[i].Claim())
	}
	t.mu.Unlock()
	t.signal()
}

func (t *tender) rested(profileID string) {
	t.mu.Lock()
	t.idle[profileID] = true
	t.mu.Unlock()
	t.signal()
}

func (t *tender) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *tender) take() (failed []store.Mark, idle []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	failed, idle = t.failed, slices.Collect(maps.Keys(t.idle))
	t.failed = nil
	clear(t.idle)
	return failed, idle
}

const (
	// gather is how long news wait for more, so that a hundred lanes that fail at once make one look.
	gather = 50 * time.Millisecond
	// A look at a job counts its messages. This many times as long as that took nothing is looked at.
	rest = 4
)

// tend looks after jobs until the engine stops.
func (o *Outbox) tend() {
	ticker := time.NewTicker(o.cfg.Sweep)
	defer ticker.Stop()
	ctx, cancel := context.WithCancel(o.background)
	defer cancel()
	for {
		var wait time.Duration
		select {
		case <-o.stopping:
			return
		case <-o.tender.wake:
			if !o.idle(gather) {
				return
			}
			began := time.Now()
			o.tendTold(ctx)
			wait = rest * time.Since(began)
		case <-ticker.C:
			began := time.Now()
			o.tendDue(ctx)
			wait = rest * time.Since(began)
		}
		if !o.idle(min(wait, time.Second)) {
			return
		}
	}
}

// idle waits. It is false when the engine stops.
func (o *Outbox) idle(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-o.stopping:
		return false
	}
}

func (o *Outbox) tendTold(ctx context.Context) {
	failed, idle := o.tender.take()
	var jobs []store.JobID
	for len(failed) > 0 {
		n := min(len(failed), 1000)
		concerned, err := o.store.ConcernedJobs(ctx, failed[:n])
		if err != nil {
			o.complain(err)
			return
		}
		jobs, failed = append(jobs, concerned...), failed[n:]
	}
	if len(idle) > 0 {
		rested, err := o.store.RestedJobs(ctx, idle)
		if err != nil {
			o.complain(err)
			return
		}
		jobs = append(jobs, rested...)
	}
	seen := map[store.JobID]bool{}
	for _, id := range jobs {
		if !seen[id] {
			seen[id] = true
			o.complain(o.lookAfter(ctx, id, false))
		}
	}
}

func (o *Outbox) tendDue(ctx context.Context) {
	due, err := o.store.DueJobs(ctx, time.Now())
	o.complain(err)
	for _, id := range due {
		o.complain(o.lookAfter(ctx, id, true))
	}
}

// catchUp looks after the jobs whose time came while no process ran, before any lane works: the hours of some are over.
func (o *Outbox) catchUp(ctx context.Context) error {
	seen := map[store.JobID]bool{}
	for {
		due, err := o.store.DueJobs(ctx, time.Now())
		if err != nil {
			return err
		}
		n := len(seen)
		for _, id := range due {
			if !seen[id] {
				seen[id] = true
				o.complain(o.lookAfter(ctx, id, true))
			}
		}
		if len(seen) == n {
			return ctx.Err()
		}
	}
}

func (o *Outbox) complain(err error) {
	if err != nil && o.background.Err() == nil {
		o.log.Error("look after send jobs", "error", err)
	}
}

var errNotDue = errors.New("outbox: the job was looked after by another process")

// lookAfter takes the step that a job's messages and the clock ask for. With due, only if its time has come still.
func (o *Outbox) lookAfter(ctx context.Context, id store.JobID, due bool) error {
	_, err := o.changeJob(ctx, id.TenantID, id.ID, func(c *jobChange) error {
		if c.job.DueAt.IsZero() || due && c.job.DueAt.After(c.now) {
			return errNotDue
		}
		return nil
	})
	if errors.Is(err, errNotDue) || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
