package watch

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// source is a thing that changes: its value is a number, and reading it takes a while.
type source struct {
	value atomic.Int64
	took  time.Duration
	reads atomic.Int64

	mu   sync.Mutex
	fail error
}

func (s *source) read(ctx context.Context, _ Key) (State[int64], error) {
	s.reads.Add(1)
	v := s.value.Load()
	select {
	case <-time.After(s.took):
	case <-ctx.Done():
		return State[int64]{}, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return State[int64]{Value: v, Version: strconv.FormatInt(v, 10)}, s.fail
}

func (s *source) failing(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

var job = Key{"tnt_1", "job_1"}

func watched(t *testing.T, h *Hub[int64], k Key) *Watcher[int64] {
	t.Helper()
	w, err := h.Watch(k)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestThousandWatchersShareOnePoller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{took: 5 * time.Millisecond}
		h := New(s.read, 1000)
		var last [1000]int64
		var wg sync.WaitGroup
		for i := range last {
			w := watched(t, h, job)
			wg.Go(func() {
				defer w.Close()
				for st, err := w.First(t.Context(), ""); ; st, err = w.Next(t.Context(), st.Version) {
					if err != nil {
						t.Error(err)
						return
					}
					if last[i] = st.Value; st.Value == 100 {
						return
					}
				}
			})
		}
		for range 100 { // ten seconds
			time.Sleep(100 * time.Millisecond)
			s.value.Add(1)
		}
		wg.Wait()
		if n := s.reads.Load(); n > 12 { // once a second: each time a thousand are told
			t.Errorf("%d reads in ten seconds", n)
		}
		h.Stop()
	})
}

// All reads together take a twentieth of the time, whether one thing is slow to read or there are many.
func TestReadingTakesATwentiethOfTheTime(t *testing.T) {
	for _, tt := range []struct {
		name   string
		things int
		took   time.Duration
	}{{"slow", 1, 200 * time.Millisecond}, {"many", 20, 40 * time.Millisecond}, {"fast", 1, time.Millisecond}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{took: tt.took}
				h := New(s.read, 1000)
				for i := range tt.things {
					watched(t, h, Key{"tnt_1", strconv.Itoa(i)})
				}
				const whole = 10 * time.Minute
				go func() {
					for h.ctx.Err() == nil { // it always changes
						s.value.Add(1)
						time.Sleep(10 * time.Millisecond)
					}
				}()
				time.Sleep(whole)
				n := s.reads.Load()
				if spent := time.Duration(n) * tt.took; spent > whole/20+time.Duration(tt.things)*tt.took {
					t.Errorf("%s of %s were spent reading", spent, whole)
				}
				if n > 2*int64(whole/time.Second)+2 || n < int64(whole/time.Second)/10 {
					t.Errorf("%d reads in %s", n, whole)
				}
				h.Stop()
				time.Sleep(time.Second) // what makes it change ends
			})
		})
	}
}

func TestWhatRestsIsReadLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		h := New(s.read, 1000)
		w := watched(t, h, job)
		first, err := w.First(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		before := s.reads.Load()
		time.Sleep(time.Minute)
		if n := s.reads.Load() - before; n < 29 || n > 31 {
			t.Errorf("%d reads in a quiet minute", n)
		}
		began := time.Now()
		s.value.Add(1)
		if st, err := w.Next(t.Context(), first.Version); err != nil || st.Value != 1 || time.Since(began) > calm {
			t.Errorf("%+v, %v after %s", st, err, time.Since(began))
		}
		h.Stop()
	})
}

func TestNobodyWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		h := New(s.read, 1000)
		w := watched(t, h, job)
		if _, err := w.First(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		w.Close()
		time.Sleep(calm)
		n := s.reads.Load()
		time.Sleep(time.Hour)
		if h.mu.Lock(); s.reads.Load() != n || len(h.topics) != 0 || len(h.tenants) != 0 || h.all != 0 {
			t.Errorf("%d reads more, topics %v, tenants %v", s.reads.Load()-n, h.topics, h.tenants)
		}
		h.mu.Unlock()
		// The poller is gone: were it not, the bubble would not end.
	})
}

func TestSlowWatcherSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		h := New(s.read, 1000)
		w := watched(t, h, job)
		st, err := w.First(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			s.value.Add(1)
			time.Sleep(time.Second)
		}
		if st, err = w.Next(t.Context(), st.Version); err != nil || st.Value != 10 {
			t.Errorf("%+v, %v: not the latest", st, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if st, err := w.Next(ctx, st.Version); !errors.Is(err, context.DeadlineExceeded) || st.Value != 10 {
			t.Errorf("%+v, %v: it has the latest already", st, err)
		}
		h.Stop()
	})
}

// Somebody who read elsewhere may know more than the poller: he is not shown what is older.
func TestFirst(t *testing.T) {
	for _, tt := range []struct {
		name, knows string
		at          time.Duration // after the poller's last read, which was at 0 and found 0; since then the value is 1
		want        int64
		within      time.Duration
	}{
		{"knows nothing", "", time.Millisecond, 0, 0},
		{"knows the same", "0", time.Millisecond, 0, 0},
		{"knows a newer one", "1", time.Millisecond, 1, fastest},
		{"knows an unknown one", "old", time.Millisecond, 1, fastest},
		{"comes late", "old", fastest * 5 / 4, 1, 0}, // the poller rests for longer by now, and is woken
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{}
				h := New(s.read, 1000)
				other := watched(t, h, job)
				if _, err := other.First(t.Context(), ""); err != nil {
					t.Fatal(err)
				}
				if tt.at > fastest {
					time.Sleep(time.Minute)
					for n := s.reads.Load(); s.reads.Load() == n; {
						time.Sleep(time.Millisecond)
					}
				}
				s.value.Store(1)
				time.Sleep(tt.at)
				began := time.Now()
				w := watched(t, h, job)
				st, err := w.First(t.Context(), tt.knows)
				if took := time.Since(began); err != nil || st.Value != tt.want || took > tt.within {
					t.Errorf("%+v, %v after %s; want %d within %s", st, err, took, tt.want, tt.within)
				}
				h.Stop()
			})
		})
	}
}

// A read that had begun when the watcher came may be older than what it knows.
func TestFirstDuringARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{took: 10 * time.Millisecond}
		h := New(s.read, 1000)
		watched(t, h, job)
		time.Sleep(5 * time.Millisecond) // the poller has 0 in its hands
		s.value.Store(1)
		if st, err := watched(t, h, job).First(t.Context(), "1"); err != nil || st.Value != 1 {
			t.Errorf("%+v, %v", st, err)
		}
		h.Stop()
	})
}

func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, broken := &source{took: time.Millisecond}, errors.New("broken")
		h := New(s.read, 1000)
		s.failing(broken)
		for range 3 { // each is read for, and told
			a := watched(t, h, job)
			synctest.Wait()
			b := watched(t, h, job) // during the read
			for _, w := range []*Watcher[int64]{a, b} {
				if _, err := w.First(t.Context(), "x"); !errors.Is(err, broken) {
					t.Errorf("error %v", err)
				}
				w.Close()
			}
		}
		h.mu.Lock()
		if n := s.reads.Load(); n != 3 || len(h.topics) != 0 {
			t.Errorf("%d reads, topics %v", n, h.topics)
		}
		h.mu.Unlock()
		s.failing(nil)
		w := watched(t, h, job)
		st, err := w.First(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		s.failing(broken)
		time.AfterFunc(time.Minute, func() {
			s.value.Store(7)
			s.failing(nil)
		})
		time.Sleep(time.Second)
		if _, err := watched(t, h, job).First(t.Context(), "y"); !errors.Is(err, broken) {
			t.Errorf("who has seen nothing is told: %v", err)
		}
		if st, err = w.Next(t.Context(), st.Version); err != nil || st.Value != 7 {
			t.Errorf("who has a state waits: %+v, %v", st, err)
		}
		h.Stop()
	})
}

func TestWatchersOfATenantAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New((&source{}).read, 2)
		a := watched(t, h, job)
		watched(t, h, Key{"tnt_1", "job_2"})
		if _, err := h.Watch(job); !errors.Is(err, ErrTooMany) {
			t.Errorf("the third: %v", err)
		}
		watched(t, h, Key{"tnt_2", "job_1"})
		a.Close()
		watched(t, h, job)
		h.Stop()
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{took: time.Hour}
		h := New(s.read, 1000)
		got := make(chan error, 2)
		for range 2 {
			w := watched(t, h, job)
			go func() {
				_, err := w.First(t.Context(), "")
				got <- err
			}()
		}
		synctest.Wait()
		h.Stop()
		for range 2 {
			if err := <-got; !errors.Is(err, ErrStopped) {
				t.Error(err)
			}
		}
		if _, err := h.Watch(job); !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
	})
}
