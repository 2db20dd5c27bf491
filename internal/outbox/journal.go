package outbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// journal writes the marks and outcomes of all lanes of the process, as many as there are in one commit, and begins the next
// commit as soon as the last one is back. So durability costs a few statements per hundred messages.
//
// A mark waits for its commit. An outcome does not: it is written by the same or an earlier commit than the lane's next mark,
// so at most the one hand-over before it is unrecorded at any time. An outcome is kept until it is written; while outcomes
// cannot be written, healthy is false and lanes claim nothing new.
type journal struct {
	store *store.Store
	log   *slog.Logger

	mu      sync.Mutex
	marks   []markEntry
	settled []store.Settled
	ended   []string      // claims of which every outcome is in settled or was
	wake    chan struct{} // has one element when there is something to write

	unsent  func([]store.Settled) // is told of outcomes that are on disk, those of sent mails left out
	failing atomic.Bool
	quit    chan struct{}
	done    chan struct{}
}

type markEntry struct {
	store.Mark
	done chan error
}

// errFenced: the message was canceled or taken by somebody else since it was claimed.
var errFenced = errors.New("outbox: the claim is no longer ours")

func newJournal(st *store.Store, log *slog.Logger) *journal {
	return &journal{store: st, log: log, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
}

func (j *journal) start() { go j.run() }

// healthy is false while outcomes cannot be written.
func (j *journal) healthy() bool { return !j.failing.Load() }

// mark asks to record that the message is about to be handed over. Only after wait returned nil may the far end be allowed to
// take it.
func (j *journal) mark(m store.Mark) (wait func(context.Context) error) {
	e := markEntry{m, make(chan error, 1)}
	j.mu.Lock()
	j.marks = append(j.marks, e)
	j.mu.Unlock()
	j.signal()
	return func(ctx context.Context) error {
		select {
		case err := <-e.done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle records an outcome, soon.
func (j *journal) settle(o store.Settled) {
	j.mu.Lock()
	j.settled = append(j.settled, o)
	j.mu.Unlock()
	j.signal()
}

// endClaim says that the outcome of every message of a claim was given to settle. It is not worth a commit of its own.
func (j *journal) endClaim(token string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = append(j.ended, token)
}

func (j *journal) signal() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// stop writes what there is and ends. When that takes longer than ctx, and a little more because the last hand-overs may have
// used up its time, what could not be written is left to the leases.
func (j *journal) stop(ctx context.Context) {
	close(j.quit)
	select {
	case <-j.done:
		return
	case <-ctx.Done():
	}
	select {
	case <-j.done:
	case <-time.After(stopGrace):
		j.log.Error("outcomes could not be written before the stop; the messages will be uncertain", "error", ctx.Err())
	}
}

func (j *journal) run() {
	defer close(j.done)
	for {
		select {
		case <-j.wake:
			j.flush()
		case <-j.quit:
			j.flush()
			return
		}
	}
}

// flush writes everything that waits. Marks that fail are refused at once; outcomes are tried until they are on disk.
func (j *journal) flush() {
	j.mu.Lock()
	marks, settled, ended := j.marks, j.settled, j.ended
	j.marks, j.settled, j.ended = nil, nil, nil
	j.mu.Unlock()

	for wait := 50 * time.Millisecond; len(marks)+len(settled)+len(ended) > 0; wait = min(2*wait, 5*time.Second) {
		err := j.write(marks, settled, ended)
		if err == nil {
			j.failing.Store(false)
			return
		}
		for _, m := range marks {
			m.done <- err
		}
		marks = nil
		if len(settled) == 0 {
			return
		}
		j.failing.Store(true)
		j.log.Error("outcomes cannot be written, trying again", "outcomes", len(settled), "wait", wait, "error", err)
		select {
		case <-time.After(wait):
		case <-j.quit:
			if err := j.write(nil, settled, ended); err != nil {
				j.log.Error("outcomes lost to the leases", "outcomes", len(settled), "error", err)
			}
			return
		}
	}
}

func (j *journal) write(marks []markEntry, settled []store.Settled, ended []string) error {
	// The commit has a limit, so that a database that hangs is noticed.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ms := make([]store.Mark, len(marks))
	for i, m := range marks {
		ms[i] = m.Mark
	}
	res, err := j.store.Journal(ctx, ms, settled, ended)
	if err != nil {
		return err
	}
	for _, m := range marks {
		if res.Marked[m.Mark] {
			m.done <- nil
		} else {
			m.done <- errFenced
		}
	}
	j.tell(settled)
	for i := range settled {
		if !res.Settled[settled[i].Claim()] {
			j.log.Warn("an outcome came too late for its lease", "message", settled[i].MessageID, "outcome", settled[i].Outcome.String(), "code", settled[i].Code)
		}
	}
	return nil
}

func (j *journal) tell(settled []store.Settled) {
	var unsent []store.Settled
	for i := range settled {
		if settled[i].Outcome != mail.OutcomeSent {
			unsent = append(unsent, settled[i])
		}
	}
	if len(unsent) > 0 && j.unsent != nil {
		j.unsent(unsent)
	}
}
