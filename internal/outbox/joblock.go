package outbox

import (
	"context"
	"sync"

	"github.com/winprest/facteur/internal/store"
)

// jobLocks let one change of a job at a time into the database. There the job's row is locked anyway; but who waits for it there holds a
// connection, and a release, which holds the row for long, needs a second one to look things up.
type jobLocks struct {
	mu   sync.Mutex
	jobs map[store.JobID]*jobLock
}

type jobLock struct {
	held  chan struct{} // has an element while somebody has it
	users int           // that have it or wait for it
}

// take waits for the job. leave must be called when the error is nil.
func (l *jobLocks) take(ctx context.Context, id store.JobID) (leave func(), err error) {
	l.mu.Lock()
	if l.jobs == nil {
		l.jobs = map[store.JobID]*jobLock{}
	}
	j := l.jobs[id]
	if j == nil {
		j = &jobLock{held: make(chan struct{}, 1)}
		l.jobs[id] = j
	}
	j.users++
	l.mu.Unlock()
	done := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if j.users--; j.users == 0 {
			delete(l.jobs, id)
		}
	}
	select {
	case j.held <- struct{}{}:
		return func() { <-j.held; done() }, nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}
