// Package notify tells a tenant what happened: his programs by webhooks, his people by notice mails.
//
// The way of an event: it is written by package store in the commit of what it tells; a turn of the engine fans it out into one
// delivery for each endpoint that asked for it and a notice where a person did (store.FanOut); deliveries are posted here, signed by
// Standard Webhooks, and tried again over three days (deliver.go); notices become ordinary mails of the outbox (notice.go).
//
// Promises: an event reaches its endpoint at least once, with the same webhook-id at every try, and each try is made by one process.
// Not promised: order. A receiver that is slow or dead holds up nobody but itself, and never the sending of mail, which this package
// does not touch.
package notify

import (
	"context"
	"crypto/x509"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/dial"
)

// Config is what the engine needs. Store is required; zero values of the rest are right for production.
type Config struct {
	Store *store.Store
	// Outbox takes the notice mails. nil: none are written.
	Outbox *outbox.Outbox
	// Policy says which addresses may be connected to. Ranges that it allows besides the public ones may be reached over http, too.
	Policy dial.Policy
	// Roots verify the receivers' certificates. nil: the system's.
	Roots  *x509.CertPool
	Logger *slog.Logger
	// Now is the clock of what is due. nil: time.Now.
	Now func() time.Time
}

const (
	turnEvery     = 500 * time.Millisecond
	audienceEvery = 2 * time.Second // less than a process may go on without asking
	sweepEvery    = time.Hour
	keepFor       = 30 * 24 * time.Hour

	fanOutAtOnce = 500
	fanOutRest   = 9 // times what it took, before the next
	// Endpoints that are posted to at once, and how many of them may be failing ones: those that work always have room.
	maxEndpoints, maxFailing = 64, 32
)

// Engine is the part of one process. Any number of processes may run it on one database.
type Engine struct {
	cfg    Config
	store  *store.Store
	log    *slog.Logger
	now    func() time.Time
	client *http.Client

	mu   sync.Mutex
	busy map[string]bool // endpoints that a worker is at; true: a failing one

	again    chan struct{} // has one element when a turn is worth while
	stopping chan struct{}
	ctx      context.Context // of the posts under way
	cancel   context.CancelFunc
	loop     sync.WaitGroup
	workers  sync.WaitGroup
}

// New makes an engine; Start has it work.
func New(cfg Config) *Engine {
	e := &Engine{
		cfg: cfg, store: cfg.Store, log: cfg.Logger, now: cfg.Now, client: newClient(cfg.Policy, cfg.Roots),
		busy: map[string]bool{}, again: make(chan struct{}, 1), stopping: make(chan struct{}),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if e.now == nil {
		e.now = time.Now
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

// Start works until Stop.
func (e *Engine) Start() { e.loop.Go(e.run) }

// Stop begins no more posts and waits for those under way until ctx ends. What was not posted is left to the next process.
func (e *Engine) Stop(ctx context.Context) {
	close(e.stopping)
	done := make(chan struct{})
	go func() {
		e.loop.Wait()
		e.workers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		e.cancel()
		<-done
	}
	e.cancel()
	e.client.CloseIdleConnections()
}

func (e *Engine) run() {
	turn, audience, sweep := time.NewTicker(turnEvery), time.NewTicker(audienceEvery), time.NewTicker(sweepEvery)
	defer turn.Stop()
	defer audience.Stop()
	defer sweep.Stop()
	anybody := e.look(false)
	for {
		select {
		case <-e.stopping:
			return
		case <-audience.C:
			anybody = e.look(anybody)
			continue
		case <-sweep.C:
			if err := e.store.SweepEvents(e.ctx, keepFor, e.now()); err != nil {
				e.log.Error("sweep events", "error", err)
			}
			continue
		case <-turn.C:
		case <-e.again:
		}
		if !anybody { // most services: nothing is asked of the database
			continue
		}
		if err := e.turn(); err != nil && e.ctx.Err() == nil {
			e.log.Error("events", "error", err)
		}
	}
}

// look says whether any tenant has somebody to tell.
func (e *Engine) look(before bool) bool {
	anybody, err := e.store.RefreshAudience(e.ctx)
	if err != nil {
		e.log.Error("who is to be told of events", "error", err)
		return before
	}
	return anybody
}

// turn fans out what is new, begins what is due, and writes the notices. While more is new than is fanned out at once, a batch is
// probably being sent: it does not wait for this, and what was fanned out does not wait for its end.
func (e *Engine) turn() error {
	for {
		began := time.Now()
		n, err := e.store.FanOut(e.ctx, fanOutAtOnce, e.now())
		if err != nil {
			return err
		}
		if err := e.begin(); err != nil {
			return err
		}
		if err := e.writeNotices(); err != nil {
			return err
		}
		if n < fanOutAtOnce || !e.rest(fanOutRest*time.Since(began)) {
			return nil
		}
	}
}

// rest leaves the database to others for a while. It is false when the engine stops.
func (e *Engine) rest(d time.Duration) bool {
	select {
	case <-e.stopping:
		return false
	case <-time.After(d):
		return true
	}
}

// begin gives every endpoint with something due a worker of its own, as far as there is room.
func (e *Engine) begin() error {
	busy, failing := e.busyNow()
	room := maxEndpoints - len(busy)
	if room <= 0 || e.stopped() {
		return nil
	}
	due, err := e.store.DueEndpoints(e.ctx, busy, failing < maxFailing, room, e.now())
	if err != nil {
		return err
	}
	for _, d := range due {
		if d.Failing {
			if failing++; failing > maxFailing {
				break // the healthy ones come first
			}
		}
		e.mu.Lock()
		e.busy[d.ID] = d.Failing
		e.mu.Unlock()
		e.workers.Go(func() { e.work(d) })
	}
	return nil
}

func (e *Engine) busyNow() (ids []string, failing int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, f := range e.busy {
		ids = append(ids, id)
		if f {
			failing++
		}
	}
	return ids, failing
}

func (e *Engine) release(id string) {
	e.mu.Lock()
	delete(e.busy, id)
	e.mu.Unlock()
	select {
	case e.again <- struct{}{}:
	default:
	}
}

func (e *Engine) stopped() bool {
	select {
	case <-e.stopping:
		return true
	default:
		return false
	}
}

// retryGaps are the waits after each try: over three days in all, so that a receiver may be down for a long weekend.
var retryGaps = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// giveUpAfter is how long an endpoint may take nothing before it is switched off: all tries of an event and then some.
const giveUpAfter = 5 * 24 * time.Hour

// nextTry is when to try again after so many tries; false: never. Jitter keeps those that failed together from coming together.
func nextTry(attempts int, now time.Time) (time.Time, bool) {
	if attempts > len(retryGaps) {
		return time.Time{}, false
	}
	gap := retryGaps[attempts-1]
	return now.Add(gap + time.Duration(rand.Float64()*float64(gap)/5)), true //nolint:gosec // jitter
}
