package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// complaints keeps what an engine logs as errors.
type complaints struct {
	mu    sync.Mutex
	lines []string
}

func (c *complaints) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (c *complaints) WithAttrs([]slog.Attr) slog.Handler           { return c }
func (c *complaints) WithGroup(string) slog.Handler                { return c }

func (c *complaints) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, line)
	return nil
}

func (c *complaints) about(word string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.lines), func(l string) bool { return !strings.Contains(l, word) })
}

// exec changes the database behind the engine's back.
func (h *house) exec(query string, args ...any) {
	h.t.Helper()
	var err error
	if pool := h.store.Postgres(); pool != nil {
		_, err = pool.Exec(context.Background(), query, args...)
	} else {
		_, err = h.store.SQLite().ExecContext(context.Background(), query, args...)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// value gives the one value of a query.
func value[T any](h *house, query string, args ...any) (v T) {
	h.t.Helper()
	var err error
	if pool := h.store.Postgres(); pool != nil {
		err = pool.QueryRow(context.Background(), query, args...).Scan(&v)
	} else {
		err = h.store.SQLite().QueryRowContext(context.Background(), query, args...).Scan(&v)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

// Renewals, the reaper and a cancel write to the messages that the journal is writing to: they must not wait for each other
// in a ring.
func TestWritersDoNotDeadlock(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far, log := newHouse(t, url), newFarEnd(), &complaints{}
		o := h.engine(far, outbox.Config{Lease: 60 * time.Millisecond, Logger: slog.New(log)})
		p := h.profile(12)
		var jobs []*outbox.Receipt
		for range 8 {
			jobs = append(jobs, h.submit(o, p, outbox.PurposeBatch, 400))
		}
		canceled := 0
		for _, j := range jobs[4:] {
			n, err := o.CancelJob(t.Context(), h.tenant.ID, "key_test", j.JobID)
			if err != nil {
				t.Fatal(err)
			}
			canceled += n
		}
		eventually(t, func() error {
			done := 0
			for _, j := range jobs {
				c := h.counts(j.JobID)
				done += c[mail.StatusSent] + c[mail.StatusCanceled] + c[mail.StatusUncertain]
			}
			if done != 8*400 {
				return fmt.Errorf("%d settled", done)
			}
			return nil
		})
		if far.duplicates() != 0 {
			t.Errorf("%d sent twice", far.duplicates())
		}
		if lines := log.about("deadlock"); len(lines) > 0 {
			t.Errorf("%d deadlocks: %s", len(lines), lines[0])
		}
	})
}

// A message that is queued again while its profile is being deleted would wait for ever.
func TestRetryOfADeletedProfile(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(*mail.Rendered) mail.Verdict {
			return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "content_refused"}
		}
		o := h.engine(far, outbox.Config{})
		for range 15 {
			p := h.profile(1)
			r := h.submit(o, p, outbox.PurposeOneOff, 1)
			h.await(r.JobID, map[mail.Status]int{mail.StatusFailed: 1})
			var wg sync.WaitGroup
			var deleted, retried error
			wg.Go(func() { deleted = h.store.DeleteProfile(context.Background(), h.tenant.ID, p.ID, 0) })
			wg.Go(func() { retried = o.Retry(context.Background(), h.tenant.ID, "key_test", r.Messages[0].ID) })
			wg.Wait()
			// Both may succeed when the retry has run its course first. Below, a mail queued for a profile that is gone would
			// never be failed again.
			var state *outbox.StateError
			if retried != nil && !errors.As(retried, &state) {
				t.Errorf("retry: %v", retried)
			}
			if deleted != nil && !errors.Is(deleted, store.ErrInUse) {
				t.Errorf("delete: %v", deleted)
			}
			h.await(r.JobID, map[mail.Status]int{mail.StatusFailed: 1})
		}
	})
}

// A lane that lost its lease to another process stops, also when mail is due without end: two would be over the limit.
func TestLostLaneStops(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.before = func(*mail.Rendered) { time.Sleep(time.Millisecond) }
		o := h.engine(far, outbox.Config{Lease: 300 * time.Millisecond})
		r := h.submit(o, h.profile(1), outbox.PurposeBatch, 3000)
		eventually(t, func() error {
			if far.total() == 0 {
				return errors.New("nothing sent yet")
			}
			return nil
		})
		h.exec(`UPDATE lanes SET token = 'another', lease_until = 9000000000000000`)
		eventually(t, func() error {
			if open := far.sessions(); open != 0 {
				return fmt.Errorf("%d sessions", open)
			}
			return nil
		})
		if c := h.counts(r.JobID); c[mail.StatusQueued] == 0 {
			t.Errorf("the lost lane sent everything: %v", c)
		}
	})
}

// A lower limit of connections holds at once, also for lanes at work.
func TestLowerLimitStopsLanes(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.before = func(*mail.Rendered) { time.Sleep(2 * time.Millisecond) }
		o := h.engine(far, outbox.Config{})
		p := h.profile(4)
		r := h.submit(o, p, outbox.PurposeBatch, 3000)
		eventually(t, func() error {
			if open := far.sessions(); open != 4 {
				return fmt.Errorf("%d sessions", open)
			}
			return nil
		})
		p.MaxConnections = 1
		if err := h.store.UpdateProfile(t.Context(), p, 0); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if open := far.sessions(); open > 1 {
				return fmt.Errorf("%d sessions", open)
			}
			return nil
		})
		if c := h.counts(r.JobID); c[mail.StatusQueued] == 0 {
			t.Errorf("four lanes sent everything: %v", c)
		}
	})
}

// Wake-ups that wait long behind others are not lost: making them again every half minute would pile them up.
func TestWaitingWakeUpsAreNotMadeAgain(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		reached, goOn := make(chan struct{}), newBarrier()
		defer goOn.open()
		var once sync.Once
		far.before = func(*mail.Rendered) { once.Do(func() { close(reached) }); goOn.wait() }
		o := h.engine(far, outbox.Config{Workers: 1, Sweep: time.Hour})
		r := h.submit(o, h.profile(20), outbox.PurposeBatch, 200)
		<-reached
		const waiting = `SELECT count(*) FROM river_job WHERE state = 'available' AND kind = 'lane'`
		if n := value[int](h, waiting); n != 19 {
			t.Fatalf("%d wake-ups wait", n)
		}
		// A minute goes by.
		h.exec(`UPDATE lanes SET rung_at = rung_at - 60000000`)
		if h.store.Dialect() == "postgres" {
			h.exec(`UPDATE river_job SET scheduled_at = scheduled_at - interval '1 minute'`)
		} else {
			h.exec(`UPDATE river_job SET scheduled_at = strftime('%Y-%m-%d %H:%M:%f', scheduled_at, '-1 minute')`)
		}
		if err := o.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := value[int](h, waiting); n != 19 {
			t.Errorf("%d wake-ups for 19 lanes", n)
		}
		// One that is lost is made again when those before it have had their turn.
		h.exec(`DELETE FROM river_job WHERE state = 'available'`)
		if err := o.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := value[int](h, waiting); n != 19 {
			t.Errorf("%d wake-ups after all were lost", n)
		}
		goOn.open()
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 200})
	})
}

// A mail whose rendering or hand-over panics harms no other, and is not sent again once the far end may have it.
func TestPanicIsOneMailsTrouble(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.before = func(m *mail.Rendered) {
			if m.Content.Subject == "batch 0" {
				panic("before the hand-over")
			}
		}
		far.answer = func(m *mail.Rendered) mail.Verdict {
			if m.Content.Subject == "batch 1" {
				panic("after the commit")
			}
			return mail.Verdict{Outcome: mail.OutcomeSent}
		}
		o := h.engine(far, outbox.Config{})
		r := h.submit(o, h.profile(1), outbox.PurposeBatch, 20)
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 18, mail.StatusDeferred: 1, mail.StatusUncertain: 1})
		for i, want := range []mail.Status{mail.StatusDeferred, mail.StatusUncertain} {
			if m := h.message(r.Messages[i].ID); m.Status != want || m.Attempts != 1 || m.Code != outbox.CodeInternal {
				t.Errorf("message %d: %s, %d attempts, %s", i, m.Status, m.Attempts, m.Code)
			}
		}
	})
}

// A panic outside of a hand-over ends a lane's turn, and leaves neither the lane nor the mails of its claim behind for ever.
func TestPanicEndsTheTurn(t *testing.T) {
	for name, harm := range map[string]func(*farEnd, func()){
		"closing": func(f *farEnd, done func()) {
			f.before = func(m *mail.Rendered) {
				if m.Content.Subject == "batch 2" {
					panic("before the hand-over")
				}
			}
			f.closing = func() { done(); panic("while closing") }
		},
		"after": func(f *farEnd, done func()) {
			var once sync.Once
			f.asked = func() { once.Do(func() { done(); panic("after the hand-over") }) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, url string) {
				h, far := newHouse(t, url), newFarEnd()
				harmed := make(chan struct{})
				harm(far, sync.OnceFunc(func() { close(harmed) }))
				o := h.engine(far, outbox.Config{Lease: time.Second})
				r := h.submit(o, h.profile(1), outbox.PurposeBatch, 20)
				<-harmed
				other := h.submit(o, h.profile(1), outbox.PurposeOneOff, 1) // has the journal write
				h.await(other.JobID, map[mail.Status]int{mail.StatusSent: 1})
				eventually(t, func() error {
					if c := h.counts(r.JobID); c[mail.StatusSent] != 19 || c[mail.StatusDeferred]+c[mail.StatusUncertain] != 1 {
						return fmt.Errorf("counts %v", c)
					}
					return nil
				})
			})
		})
	}
}

// No claim has the token of another, so that what was written late for one cannot touch the next.
func TestClaimsHaveTokensOfTheirOwn(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		tokens := map[string]bool{}
		p := h.profile(1)
		far.answer = func(m *mail.Rendered) mail.Verdict {
			tokens[value[string](h, `SELECT claim FROM messages WHERE status = 'sending' AND phase = 'committing'`)] = true
			return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: "busy"}
		}
		o := h.engine(far, outbox.Config{})
		r := h.submit(o, p, outbox.PurposeBatch, 8) // the first claim of a turn is for four
		h.await(r.JobID, map[mail.Status]int{mail.StatusDeferred: 8})
		if len(tokens) < 2 {
			t.Errorf("%d tokens for at least two claims", len(tokens))
		}
	})
}

// The clock of the process that accepts may be ahead of the database's: the mail goes out at once all the same.
func TestClocksOfProcessesDiffer(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{Sweep: time.Hour})
		p := h.profile(1)
		ahead := time.Now().Add(time.Hour)
		id := store.NewID("msg")
		sub, err := store.NewSubmission(store.NewJob{
			ID: store.NewID("job"), TenantID: h.tenant.ID, ProfileID: p.ID, Purpose: outbox.PurposeOneOff, CreatedBy: "key_test", CreatedAt: ahead,
		})
		if err != nil {
			t.Fatal(err)
		}
		err = sub.Add(store.NewMessage{
			ID: id, ExpiresAt: ahead.Add(time.Hour), Recipients: []mail.Recipient{{Address: mail.Address{Address: "a@client.example"}, Kind: mail.KindTo, Status: mail.RecipientPending}},
			Content: &mail.Content{Format: 1, MessageIDHeader: "<" + id + "@facteur>", From: p.From, To: []mail.Address{{Address: "a@client.example"}}, Subject: "s", Text: "t"},
		})
		if err != nil {
			t.Fatal(err)
		}
		err = h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return h.store.InsertSubmissions(ctx, tx, []*store.Submission{sub})
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Wake(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if m := h.message(id); m.Status != mail.StatusSent {
				return fmt.Errorf("%s, not before %s", m.Status, m.NotBefore)
			}
			return nil
		})
	})
}
