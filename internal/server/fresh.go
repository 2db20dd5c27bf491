package server

import (
	"context"
	"errors"
	"sync"
	"time"
)

// fresh shares one look-up among the requests that ask for the same thing at the same moment. It is no cache: whoever asks
// gets what was read after it asked, so an edit that was answered is seen by every later request. A look-up that has begun is
// therefore not joined; those who come meanwhile share the next one.
type fresh[K comparable, V any] struct {
	mu    sync.Mutex
	loads map[K]*load[V]
}

type load[V any] struct {
	done  chan struct{}
	next  *load[V] // of those who came after it had begun
	value V
	err   error
}

var errLookUp = errors.New("look-up ended in a panic")

const loadTimeout = 15 * time.Second

// get reads the value for k with read. The value is shared: nobody may change it.
func (f *fresh[K, V]) get(ctx context.Context, k K, read func(context.Context) (V, error)) (V, error) {
	f.mu.Lock()
	l := f.loads[k]
	switch {
	case l == nil:
		if f.loads == nil {
			f.loads = map[K]*load[V]{}
		}
		l = &load[V]{done: make(chan struct{})}
		f.loads[k] = l
		f.mu.Unlock()
		f.run(ctx, k, l, read)
		return l.value, l.err
	case l.next == nil:
		l.next = &load[V]{done: make(chan struct{})}
		running, mine := l, l.next
		f.mu.Unlock()
		<-running.done // bounded by loadTimeout
		f.mu.Lock()
		f.loads[k] = mine
		f.mu.Unlock()
		f.run(ctx, k, mine, read)
		return mine.value, mine.err
	}
	l = l.next
	f.mu.Unlock()
	select {
	case <-l.done:
		return l.value, l.err
	case <-ctx.Done():
		var zero V
		return zero, ctx.Err()
	}
}

func (f *fresh[K, V]) run(ctx context.Context, k K, l *load[V], read func(context.Context) (V, error)) {
	// Others wait for it too: it must not end with the first one's request.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	defer cancel()
	defer func() {
		f.mu.Lock()
		if l.next == nil {
			delete(f.loads, k)
		}
		f.mu.Unlock()
		close(l.done)
	}()
	l.err = errLookUp // stays when read panics
	l.value, l.err = read(ctx)
}
