// Package outbox is the delivery engine: it accepts composed mail durably, hands it to the transports, and follows every
// message to exactly one end.
//
// The way of a message:
//
//	Submit     composes and stores a job, its messages and a wake-up in one commit (submit.go)
//	queue      River carries the wake-up to a worker on some machine (queue.go)
//	lane       the worker claims the profile's due messages and sends them over one kept connection (lane.go, claim.go,
//	           handover.go); one that finds that the server fails every mail pauses the profile (breaker.go)
//	journal    marks "committing" before, and outcomes after each hand-over, many in one commit (journal.go)
//	reaper     finds what a dead process left, what has waited too long, and what is due without a wake-up (reaper.go)
//	jobs       moves the gate of a send job: who may go, and when (jobs.go, tender.go); drafts and their release (drafts.go, release.go)
//	reconcile  looks for mails of uncertain outcome where the transport can do that (reconcile.go), and sends them again where
//	           the profile says so (resend.go)
//
// The message rows are the truth. A wake-up that runs twice, late or on two machines finds nothing to claim; one that is
// lost is made again by the reaper.
//
// It is the only package that knows River.
package outbox

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

// Config tunes the engine; every zero value has a default that is right for production.
type Config struct {
	Logger *slog.Logger
	// Workers is how many lanes this process works at once: 64. A lane holds at most one connection and one rendered mail.
	Workers int
	// Lease is how long a claim outlives a process that stopped answering: 60 s. It is renewed three times in that time.
	Lease time.Duration
	// Slice is how long a lane may keep its worker while other lanes wait: 3 s.
	Slice time.Duration
	// Linger is how long an idle lane keeps its connection for the next mail: 1 s.
	Linger time.Duration
	// Sweep is how often the reaper looks: 1 s.
	Sweep time.Duration
	// MaxWait is how long a mail may stay deferred before it fails as expired: 48 h.
	MaxWait time.Duration
	// Looks are when a mail of uncertain outcome is looked for at its provider, counted from when it became uncertain and in
	// order: 5 s, 30 s, 2 min, 10 min. One that is not found at the last of them is absent.
	Looks []time.Duration
	// LostLook is when one of a worker that disappeared is looked for at last, before it counts as absent: 2 h. The worker may
	// only be cut off from the database, and 35 MB on the slowest line that is tolerated take it an hour and a half.
	LostLook time.Duration
	// Unreleased is how long a draft, or a job that is to be released by a person, is kept after its last change: 30 days.
	Unreleased time.Duration
	// ResendAfter is how long a mail of uncertain outcome waits at least before it is sent again by itself, for profiles that
	// want that: 5 min. One of a worker that disappeared waits for LostLook.
	ResendAfter time.Duration
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if c.Workers == 0 {
		c.Workers = 64
	}
	def(&c.Lease, time.Minute)
	def(&c.Slice, 3*time.Second)
	def(&c.Linger, time.Second)
	def(&c.Sweep, time.Second)
	def(&c.MaxWait, 48*time.Hour)
	if len(c.Looks) == 0 {
		c.Looks = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute}
	}
	def(&c.LostLook, 2*time.Hour)
	def(&c.Unreleased, 30*24*time.Hour)
	def(&c.ResendAfter, 5*time.Minute)
	return c
}

// Outbox is the engine of one process. Submit and the actions work without Start; Start adds the workers.
type Outbox struct {
	cfg        Config
	store      *store.Store
	transports transport.Registry
	queue      queue
	log        *slog.Logger

	intake   chan *pending
	accepted chan struct{} // closed when nothing of intake is committed any more
	journal  *journal
	kicks    kicks
	tender   tender
	jobs     jobLocks
	releases chan struct{} // has an element for each release under way, and no more room than there may be
	breakers breakers

	active   atomic.Int64 // lanes at work in this process
	stopping chan struct{}
	leases   leases

	background context.Context // ends when Stop has written everything
	cancel     context.CancelFunc
	wg         sync.WaitGroup
	started    bool
	stopOnce   sync.Once
}

// New makes an engine on a migrated store. transports may be empty for a process that only accepts.
func New(st *store.Store, transports transport.Registry, cfg Config) (*Outbox, error) {
	cfg = cfg.withDefaults()
	o := &Outbox{
		cfg: cfg, store: st, transports: transports, log: cfg.Logger,
		intake:   make(chan *pending, 256),
		accepted: make(chan struct{}),
		stopping: make(chan struct{}),
		releases: make(chan struct{}, maxReleases),
	}
	o.background, o.cancel = context.WithCancel(context.Background())
	o.journal = newJournal(st, cfg.Logger)
	o.kicks.init()
	o.tender.init()
	o.journal.unsent = o.tender.unsent
	o.breakers.init()
	o.leases.init()
	var err error
	if o.queue, err = newQueue(st, o.workLane, cfg); err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	o.wg.Go(o.accept)
	return o, nil
}

// Migrate brings River's own tables up to date. It is safe to call from several processes at once.
func Migrate(ctx context.Context, st *store.Store) error { return migrateQueue(ctx, st) }

// Start begins to work lanes.
func (o *Outbox) Start(ctx context.Context) error {
	if err := o.catchUp(ctx); err != nil {
		return fmt.Errorf("outbox: start: %w", err)
	}
	if err := o.queue.start(ctx); err != nil {
		return fmt.Errorf("outbox: start: %w", err)
	}
	o.started = true
	o.journal.start()
	o.wg.Go(o.reap)
	o.wg.Go(o.renew)
	o.wg.Go(o.tend)
	o.wg.Go(o.reconcile)
	return nil
}

// Stop accepts nothing new, lets the hand-overs in flight end, gives back what was only claimed, and writes every outcome.
// When ctx ends first, what is still in flight is broken off within a few seconds or left to its lease: it goes back to the
// queue, or becomes uncertain.
func (o *Outbox) Stop(ctx context.Context) error {
	var err error
	o.stopOnce.Do(func() {
		close(o.stopping)
		if o.started {
			err = o.queue.stop(ctx)
			o.journal.stop(ctx)
		}
		o.cancel()
		o.wg.Wait()
	})
	return err
}

// newToken makes a lease token: nobody else has ever had it.
func newToken() string { return rand.Text() }
