// Package watch lets many readers follow a few things that change in a database, at the price of one.
//
// A thing that somebody watches has one poller, which all of its watchers share. A poller reads at most twice a second; all pollers
// together are at most about a twentieth of the time in a read, however many there are and however long one takes, and bring at
// most about a thousand news a second to the watchers; what does not change is read less often. A thing that nobody watches is
// not read.
//
// A watcher gets the latest value and never a queue of them: one that is slow skips what came meanwhile, and one that is gone
// leaves nothing behind. No watcher is shown a value that is older than one it knows.
//
// The package knows nothing of what is watched, nor of HTTP.
package watch

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// fastest is the shortest time from the beginning of one read to the next.
	fastest = 500 * time.Millisecond
	// calm is the longest time between reads of what does not change, as far as reads are cheap.
	calm = 2 * time.Second
	// share is the part of the time that all pollers together may be in a read: 1/20.
	share = 20
	// delivery is how much longer each watcher makes the time between two reads at least. To tell one watcher costs some 50 µs.
	delivery = time.Millisecond
	// patience is how long a read may take.
	patience = 30 * time.Second
)

var (
	// ErrTooMany: the tenant has as many watchers as it may have.
	ErrTooMany = errors.New("watch: too many watchers")
	// ErrStopped: the process ends. Another one goes on from the version that the watcher has.
	ErrStopped = errors.New("watch: stopped")
)

// Key names a thing: the tenant that it belongs to, which is part of its name, and its id.
type Key struct{ Tenant, ID string }

// State is a value and its version. Two values with the same version are the same to a reader.
type State[V any] struct {
	Value   V
	Version string
}

// Read reads a thing as it is now.
type Read[V any] func(ctx context.Context, k Key) (State[V], error)

// Hub is the pollers of a process and their watchers. It is safe for concurrent use.
type Hub[V any] struct {
	read Read[V]
	most int // watchers of one tenant

	ctx  context.Context // of the pollers
	stop context.CancelFunc
	wg   sync.WaitGroup // the pollers

	mu      sync.Mutex
	topics  map[Key]*topic[V]
	tenants map[string]int // watchers
	all     int            // watchers
}

// topic is a thing that is watched. The hub's lock guards it; state, reads and gone are written by the poller alone.
type topic[V any] struct {
	watchers int
	state    State[V]
	reads    int           // finished ones
	good     int           // the number of the last one that succeeded; 0: none did
	reading  bool          // the next one has begun
	err      error         // of the last one
	gone     bool          // nothing is read any more
	changed  chan struct{} // closed when there is something new for a watcher
	waiting  bool          // somebody needs the next read, even if it brings nothing new
	joined   chan struct{} // tells the poller that a watcher came
}

// New makes a hub that reads with read, and lets every tenant have so many watchers at once.
func New[V any](read Read[V], watchersOfTenant int) *Hub[V] {
	h := &Hub[V]{read: read, most: watchersOfTenant, topics: map[Key]*topic[V]{}, tenants: map[string]int{}}
	h.ctx, h.stop = context.WithCancel(context.Background()) //nolint:gosec // Stop calls it
	return h
}

// Stop ends every watching with ErrStopped, and returns when nothing is being read any more.
func (h *Hub[V]) Stop() {
	h.mu.Lock()
	h.stop()
	h.mu.Unlock()
	h.wg.Wait()
}

// Watcher is one reader's place. It is for one goroutine, which closes it.
type Watcher[V any] struct {
	h *Hub[V]
	k Key
	t *topic[V]
	// fresh is the number of the first read that certainly is not older than what the watcher knew when it came.
	fresh int
}

// Watch begins to watch a thing. Whether it exists shows in the first state.
func (h *Hub[V]) Watch(k Key) (*Watcher[V], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ctx.Err() != nil:
		return nil, ErrStopped
	case h.tenants[k.Tenant] >= h.most:
		return nil, ErrTooMany
	}
	t := h.topics[k]
	if t == nil {
		t = &topic[V]{changed: make(chan struct{}), joined: make(chan struct{}, 1)}
		h.topics[k] = t
		h.wg.Go(func() { h.poll(k, t) })
	}
	h.tenants[k.Tenant]++
	h.all++
	t.watchers++
	select {
	case t.joined <- struct{}{}:
	default:
	}
	w := &Watcher[V]{h: h, k: k, t: t, fresh: t.reads + 1}
	if t.reading {
		w.fresh++
	}
	return w, nil
}

// Close ends the watching.
func (w *Watcher[V]) Close() {
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	w.t.watchers--
	w.h.all--
	if w.h.tenants[w.k.Tenant]--; w.h.tenants[w.k.Tenant] == 0 {
		delete(w.h.tenants, w.k.Tenant)
	}
}

// First gives the state to begin with, for a reader that has the version known, or none (""). What a poller has is good enough for
// who knows nothing, or knows just that; another version may come from another process and be newer, so that the next read
// is waited for. Its errors are those of the read.
func (w *Watcher[V]) First(ctx context.Context, known string) (State[V], error) {
	return w.await(ctx, func(t *topic[V]) (bool, error) {
		switch {
		case t.good >= w.fresh, t.good > 0 && (known == "" || known == t.state.Version):
			return true, nil
		case t.reads >= w.fresh, t.gone:
			return false, t.err
		}
		t.waiting = true
		return false, nil
	})
}

// Next waits for a state with another version than known, and gives the latest. Reads that fail are waited over.
func (w *Watcher[V]) Next(ctx context.Context, known string) (State[V], error) {
	return w.await(ctx, func(t *topic[V]) (bool, error) { return t.good > 0 && t.state.Version != known, nil })
}

func (w *Watcher[V]) await(ctx context.Context, look func(*topic[V]) (enough bool, err error)) (State[V], error) {
	for {
		w.h.mu.Lock()
		enough, err := look(w.t)
		state, changed := w.t.state, w.t.changed
		w.h.mu.Unlock()
		if enough || err != nil {
			return state, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return state, ctx.Err()
		case <-w.h.ctx.Done():
			return state, ErrStopped
		}
	}
}

// poll reads a thing until nobody watches it.
func (h *Hub[V]) poll(k Key, t *topic[V]) {
	pause := fastest
	for h.begin(k, t) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(h.ctx, patience)
		state, err := h.read(ctx, k)
		cancel()
		if h.ctx.Err() != nil {
			err = ErrStopped
		}
		changed := h.publish(k, t, state, err)
		least := h.pause(time.Since(began))
		if pause = min(pause*3/2, calm); changed {
			pause = fastest
		}
		if t.gone || !h.sleep(t, began, least, max(least, pause)) {
			return
		}
	}
}

// pause is the shortest time from the beginning of a read that took so long to the next.
func (h *Hub[V]) pause(took time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(fastest, took*share*time.Duration(len(h.topics)), delivery*time.Duration(h.all))
}

// begin says whether another read is wanted. When nobody watches any more, the topic is gone.
func (h *Hub[V]) begin(k Key, t *topic[V]) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.watchers == 0 {
		h.remove(k, t)
	}
	t.reading = !t.gone
	return t.reading
}

func (h *Hub[V]) remove(k Key, t *topic[V]) {
	if !t.gone {
		t.gone = true
		delete(h.topics, k)
	}
}

// publish tells the watchers what was read.
func (h *Hub[V]) publish(k Key, t *topic[V], state State[V], err error) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.reads++
	t.reading, t.err = false, err
	if err == nil {
		changed = t.good == 0 || t.state.Version != state.Version
		t.good, t.state = t.reads, state
	}
	if t.good == 0 {
		h.remove(k, t) // it may not exist: for whoever asks again it is read again
	}
	if changed || t.waiting {
		t.waiting = false
		close(t.changed)
		t.changed = make(chan struct{})
	}
	return changed
}

// sleep waits until the next read is due: after the longer time, or, when a watcher comes, after the shorter one. It is false when
// the hub has stopped.
func (h *Hub[V]) sleep(t *topic[V], began time.Time, least, most time.Duration) bool {
	due := time.NewTimer(time.Until(began.Add(most)))
	defer due.Stop()
	for {
		select {
		case <-due.C:
			return true
		case <-t.joined:
			due.Reset(time.Until(began.Add(least)))
		case <-h.ctx.Done():
			return false
		}
	}
}
