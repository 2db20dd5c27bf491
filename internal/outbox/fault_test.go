package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

// barrier holds whoever waits until it is opened.
type barrier struct {
	once sync.Once
	ch   chan struct{}
}

func newBarrier() *barrier { return &barrier{ch: make(chan struct{})} }

func (b *barrier) open() { b.once.Do(func() { close(b.ch) }) }
func (b *barrier) wait() { <-b.ch }

// Every kind of verdict, from the far end to the state that a caller reads.
func TestVerdictsBecomeStates(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(m *mail.Rendered) mail.Verdict {
			switch word, _, _ := strings.Cut(m.Envelope.To[0], "@"); word {
			case "permanent":
				return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "recipient_unknown", Reply: mail.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user"}}
			case "temporary":
				return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: "mailbox_busy", Reply: mail.Reply{Code: 450}}
			case "uncertain":
				return mail.Verdict{Code: "smtp_final_lost"}
			}
			return mail.Verdict{Outcome: mail.OutcomeSent}
		}
		o := h.engine(far, outbox.Config{})
		p := h.profile(2)
		want := map[string]struct {
			status   mail.Status
			attempts int
			code     string
		}{
			"sent": {mail.StatusSent, 1, ""}, "permanent": {mail.StatusFailed, 1, "recipient_unknown"},
			"temporary": {mail.StatusDeferred, 1, "mailbox_busy"}, "uncertain": {mail.StatusUncertain, 1, "smtp_final_lost"},
		}
		for word, w := range want {
			s := h.submission(p, outbox.PurposeOneOff, 1)
			s.Items[0].Draft.To[0].Address = word + "@client.example"
			r, err := o.Submit(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			id := r.Messages[0].ID
			eventually(t, func() error {
				if m := h.message(id); m.Status != w.status || m.Attempts != w.attempts || m.Code != w.code {
					return fmt.Errorf("%s: %s, %d attempts, code %q", word, m.Status, m.Attempts, m.Code)
				}
				return nil
			})
			m := h.message(id)
			if word == "temporary" {
				if gap := time.Until(m.NotBefore); gap < 50*time.Second || gap > 73*time.Second {
					t.Errorf("next attempt in %s", gap)
				}
			}
			if word == "permanent" && (m.Recipients[0].Reply == nil || m.Recipients[0].Reply.Enhanced != "5.1.1") {
				t.Errorf("reply %+v", m.Recipients[0].Reply)
			}
		}
	})
}

// A bad login on the first of 200: the profile is held after at most one try a connection, nothing is burnt, and the edit
// that mends it sends everything once.
func TestProfileTroubleHoldsTheQueue(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		var mu sync.Mutex
		tries, mended := 0, false
		far.openErr = func(*mail.Profile) error {
			mu.Lock()
			defer mu.Unlock()
			if mended {
				return nil
			}
			tries++
			return &transport.Error{Err: errors.New("no"), Verdict: mail.Verdict{
				Outcome: mail.OutcomePermanent, Scope: mail.ScopeProfile, Code: "smtp_login_refused", Step: "login", Reply: mail.Reply{Code: 535}}}
		}
		o := h.engine(far, outbox.Config{})
		p := h.profile(4)
		r := h.submit(o, p, outbox.PurposeBatch, 200)
		h.await(r.JobID, map[mail.Status]int{mail.StatusHeld: 200})
		held, err := h.store.Profile(t.Context(), h.tenant.ID, p.ID)
		if err != nil || held.Hold == nil || held.Hold.Code != "smtp_login_refused" || held.Hold.Reply.Code != 535 {
			t.Fatalf("hold %+v, %v", held.Hold, err)
		}
		mu.Lock()
		if tries > 4 {
			t.Errorf("%d logins with a refused password", tries)
		}
		mended = true
		mu.Unlock()
		if m := h.message(r.Messages[0].ID); m.Attempts != 0 || m.Status != mail.StatusHeld {
			t.Errorf("%s after %d attempts", m.Status, m.Attempts)
		}
		held.Name = "Mended"
		if err := h.store.UpdateProfile(t.Context(), held, held.Version); err != nil {
			t.Fatal(err)
		}
		if err := o.Wake(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 200})
		if far.duplicates() != 0 {
			t.Errorf("%d sent twice", far.duplicates())
		}
	})
}

// A server that is away pauses the profile and is tried again by itself.
func TestServerAwayPausesTheProfile(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.openErr = func(*mail.Profile) error {
			return &transport.Error{Err: errors.New("refused"), Verdict: mail.Verdict{
				Outcome: mail.OutcomeTemporary, Scope: mail.ScopeProfile, Code: "smtp_connection_refused", Step: "connect"}}
		}
		o := h.engine(far, outbox.Config{})
		p := h.profile(3)
		r := h.submit(o, p, outbox.PurposeBatch, 50)
		eventually(t, func() error {
			q, err := h.store.Profile(context.Background(), h.tenant.ID, p.ID)
			if err != nil {
				return err
			}
			if q.Pause == nil || q.Hold != nil || q.PauseCount != 1 {
				return fmt.Errorf("pause %+v count %d hold %+v", q.Pause, q.PauseCount, q.Hold)
			}
			if gap := time.Until(q.PausedUntil); gap < 5*time.Second || gap > 13*time.Second {
				t.Fatalf("paused for %s", gap)
			}
			return nil
		})
		h.await(r.JobID, map[mail.Status]int{mail.StatusQueued: 50})
		// The pause is over before its time, as far as the database knows.
		far.openErr = nil
		q, err := h.store.Profile(t.Context(), h.tenant.ID, p.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.store.PauseProfile(t.Context(), q, *q.Pause, -time.Second); err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 50})
		eventually(t, func() error {
			if q, err := h.store.Profile(context.Background(), h.tenant.ID, p.ID); err != nil || q.PauseCount != 0 || q.Pause != nil {
				return fmt.Errorf("pause count %d, %v", q.PauseCount, err)
			}
			return nil
		})
	})
}

// A kept connection that turns out dead costs nothing: the same attempt goes on over a new one.
func TestStaleConnectionIsReplaced(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		var mu sync.Mutex
		n := 0
		far.stale = func() bool {
			mu.Lock()
			defer mu.Unlock()
			n++
			return n%10 == 0
		}
		o := h.engine(far, outbox.Config{})
		r := h.submit(o, h.profile(2), outbox.PurposeBatch, 60)
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 60})
		if m := h.message(r.Messages[11].ID); m.Attempts != 1 {
			t.Errorf("%d attempts", m.Attempts)
		}
		if far.duplicates() != 0 || far.opened < 4 {
			t.Errorf("%d twice, %d connections", far.duplicates(), far.opened)
		}
	})
}

// Cancel, between the claim and the mark, wins: the mark is fenced off and nothing is handed over.
func TestCancelAfterClaim(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		reached, goOn := make(chan struct{}), newBarrier()
		defer goOn.open() // before the engine stops, which waits for it
		var first atomic.Bool
		far.before = func(*mail.Rendered) {
			if first.CompareAndSwap(false, true) {
				close(reached)
				goOn.wait()
			}
		}
		o := h.engine(far, outbox.Config{})
		p := h.profile(1)
		r := h.submit(o, p, outbox.PurposeBatch, 10)
		<-reached
		canceled := r.Messages[0].ID
		if err := o.Cancel(t.Context(), h.tenant.ID, "key_test", canceled); err != nil {
			t.Fatal(err)
		}
		goOn.open()
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 9, mail.StatusCanceled: 1})
		if far.total() != 9 {
			t.Errorf("%d accepted", far.total())
		}
		var state *outbox.StateError
		if err := o.Cancel(t.Context(), h.tenant.ID, "key_test", r.Messages[5].ID); !errors.As(err, &state) || state.Status != mail.StatusSent {
			t.Errorf("cancel of a sent mail: %v", err)
		}
		if err := o.Cancel(t.Context(), "ten_other", "key_test", r.Messages[5].ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("cancel by another tenant: %v", err)
		}
	})
}

func TestCancelJobLeavesNothingBehind(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{})
		r := h.submit(o, h.profile(3), outbox.PurposeBatch, 1000)
		eventually(t, func() error {
			if far.total() < 50 {
				return errors.New("too early")
			}
			return nil
		})
		canceled, err := o.CancelJob(t.Context(), h.tenant.ID, "key_test", r.JobID)
		if err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 1000 - canceled, mail.StatusCanceled: canceled})
		if far.total() != 1000-canceled {
			t.Errorf("%d accepted, %d not canceled", far.total(), 1000-canceled)
		}
	})
}

// A process that dies (here: an engine whose lease runs out under it) between the mark and the outcome leaves uncertain, and
// its own late outcome, if it comes, is proof.
func TestLateOutcomeIsProof(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		reached, goOn := make(chan struct{}), newBarrier()
		defer goOn.open() // before the engine stops, which waits for it
		far.answer = func(*mail.Rendered) mail.Verdict {
			close(reached)
			goOn.wait()
			return mail.Verdict{Outcome: mail.OutcomeSent, Evidence: "late"}
		}
		o := h.engine(far, outbox.Config{Sweep: time.Hour})
		r := h.submit(o, h.profile(1), outbox.PurposeOneOff, 1)
		<-reached
		h.expireLeases()
		if err := o.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		m := h.message(r.Messages[0].ID)
		if m.Status != mail.StatusUncertain || m.Code != mail.CodeWorkerLost || m.Recipients[0].Status != mail.RecipientUncertain {
			t.Errorf("%s %s %+v", m.Status, m.Code, m.Recipients)
		}
		goOn.open()
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 1})
	})
}

// A lease that runs out before the mark: the message goes back, another lane sends it, and the first one's mark is refused.
func TestLostClaimGoesBack(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		reached, goOn := make(chan struct{}), newBarrier()
		defer goOn.open() // before the engine stops, which waits for it
		var first atomic.Bool
		far.before = func(*mail.Rendered) {
			if first.CompareAndSwap(false, true) {
				close(reached)
				goOn.wait()
			}
		}
		o := h.engine(far, outbox.Config{Sweep: time.Hour})
		r := h.submit(o, h.profile(2), outbox.PurposeBatch, 1)
		<-reached
		h.expireLeases()
		if err := o.Sweep(t.Context()); err != nil { // gives it back, and wakes the second lane
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 1})
		goOn.open()
		eventually(t, func() error {
			if far.total() != 1 {
				return fmt.Errorf("%d accepted", far.total())
			}
			return nil
		})
	})
}

func TestResolveAndRetry(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		var mu sync.Mutex
		verdict := mail.Verdict{Code: "smtp_final_lost"}
		set := func(v mail.Verdict) { mu.Lock(); defer mu.Unlock(); verdict = v }
		far.answer = func(*mail.Rendered) mail.Verdict { mu.Lock(); defer mu.Unlock(); return verdict }
		o := h.engine(far, outbox.Config{})
		p, ctx := h.profile(1), t.Context()

		asSent := h.submit(o, p, outbox.PurposeOneOff, 1)
		h.await(asSent.JobID, map[mail.Status]int{mail.StatusUncertain: 1})
		if err := o.Resolve(ctx, h.tenant.ID, "key_test", asSent.Messages[0].ID, outbox.ResolveSent, "the client has it"); err != nil {
			t.Fatal(err)
		}
		if m := h.message(asSent.Messages[0].ID); m.Status != mail.StatusSent || m.SentAt.IsZero() || m.Recipients[0].Status != mail.RecipientSent {
			t.Errorf("%+v", m)
		}

		resend := h.submit(o, p, outbox.PurposeOneOff, 1)
		h.await(resend.JobID, map[mail.Status]int{mail.StatusUncertain: 1})
		set(mail.Verdict{Outcome: mail.OutcomePermanent, Code: "content_refused"})
		if err := o.Resolve(ctx, h.tenant.ID, "key_test", resend.Messages[0].ID, outbox.ResolveResend, ""); err != nil {
			t.Fatal(err)
		}
		h.await(resend.JobID, map[mail.Status]int{mail.StatusFailed: 1})
		set(mail.Verdict{Outcome: mail.OutcomeSent})
		if err := o.Retry(ctx, h.tenant.ID, "key_test", resend.Messages[0].ID); err != nil {
			t.Fatal(err)
		}
		h.await(resend.JobID, map[mail.Status]int{mail.StatusSent: 1})
		if m := h.message(resend.Messages[0].ID); m.Attempts != 3 {
			t.Errorf("%d attempts", m.Attempts)
		}

		var state *outbox.StateError
		if err := o.Retry(ctx, h.tenant.ID, "key_test", resend.Messages[0].ID); !errors.As(err, &state) {
			t.Errorf("retry of a sent mail: %v", err)
		}
		if err := o.Resolve(ctx, h.tenant.ID, "key_test", resend.Messages[0].ID, outbox.ResolveSent, ""); !errors.As(err, &state) {
			t.Errorf("resolve of a sent mail: %v", err)
		}
		events, err := h.store.ListAudit(ctx, h.tenant.ID, store.Page{})
		if err != nil || len(events.Items) != 3 {
			t.Errorf("audit: %v, %v", events, err)
		}
	})
}

func TestExpiredMailFails(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(*mail.Rendered) mail.Verdict {
			return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: "mailbox_busy"}
		}
		o := h.engine(far, outbox.Config{MaxWait: 300 * time.Millisecond})
		r := h.submit(o, h.profile(1), outbox.PurposeOneOff, 1)
		h.await(r.JobID, map[mail.Status]int{mail.StatusFailed: 1})
		if m := h.message(r.Messages[0].ID); m.Code != mail.CodeExpired || m.Attempts != 1 {
			t.Errorf("%s after %d attempts", m.Code, m.Attempts)
		}
	})
}

func TestScheduledMailWaits(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{})
		s := h.submission(h.profile(1), outbox.PurposeOneOff, 1)
		s.SendAt = time.Now().Add(700 * time.Millisecond)
		r, err := o.Submit(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 1})
		if early := time.Until(s.SendAt); early > 0 {
			t.Errorf("sent %s early", early)
		}
	})
}

func TestWrongInputStoresNothing(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{})
		s := h.submission(h.profile(1), outbox.PurposeBatch, 3)
		s.Items[1].Draft.To = nil
		s.Items[2].Draft.Subject = "two\r\nlines"
		_, err := o.Submit(t.Context(), s)
		var problems mail.Problems
		if !errors.As(err, &problems) || len(problems) != 2 {
			t.Fatalf("%v", err)
		}
		if !strings.HasPrefix(problems[0].Pointer, "/1/") || !strings.HasPrefix(problems[1].Pointer, "/2/") {
			t.Errorf("%v", problems)
		}
		jobs, err := h.store.ListJobs(t.Context(), h.tenant.ID, store.JobFilter{}, store.Page{})
		if err != nil || len(jobs.Items) != 0 {
			t.Errorf("%v, %v", jobs, err)
		}
	})
}

// Fifty submissions with one key at once are one job; the others are told that the key is used.
func TestOneKeyOneJob(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		engines := []*outbox.Outbox{h.engine(far, outbox.Config{}), h.engine(far, outbox.Config{})}
		p := h.profile(2)
		var wg sync.WaitGroup
		var mu sync.Mutex
		accepted, refused := 0, 0
		for i := range 50 {
			wg.Go(func() {
				s := h.submission(p, outbox.PurposeOneOff, 1)
				s.Record = func(r *outbox.Receipt) (*store.IdempotencyRecord, error) {
					return &store.IdempotencyRecord{TenantID: h.tenant.ID, Key: "same", RequestHash: "h", Status: 202, Body: []byte(r.JobID), CreatedAt: r.CreatedAt}, nil
				}
				_, err := engines[i%2].Submit(context.Background(), s)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					accepted++
				case errors.Is(err, store.ErrKeyUsed):
					refused++
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if accepted != 1 || refused != 49 {
			t.Errorf("%d accepted, %d refused", accepted, refused)
		}
		jobs, err := h.store.ListJobs(t.Context(), h.tenant.ID, store.JobFilter{}, store.Page{})
		if err != nil || len(jobs.Items) != 1 {
			t.Errorf("%d jobs, %v", len(jobs.Items), err)
		}
	})
}

// A worker with the wrong keyset pauses the profile and says why; the mail waits for the right one.
func TestWrongKeysetPausesTheProfile(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		right, err := store.NewKeyset()
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := store.Open(t.Context(), store.Config{URL: url, Keyset: right, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer sealed.Close()
		h, far := newHouse(t, url), newFarEnd() // its store has no keyset
		p := &mail.Profile{
			TenantID: h.tenant.ID, Level: mail.LevelCompany, OwnerRef: "C1", Name: "Sealed", Default: true, Transport: "far", MaxConnections: 1,
			From: mail.Address{Address: "billing@firm.example"},
			SMTP: &mail.SMTPSettings{Host: "mail.example", Port: 25, Auth: mail.AuthPlain, Username: "u", Password: "p"},
		}
		if err := sealed.CreateProfile(t.Context(), p, nil); err != nil {
			t.Fatal(err)
		}
		o := h.engine(far, outbox.Config{})
		r := h.submit(o, p, outbox.PurposeBatch, 5)
		eventually(t, func() error {
			q, err := sealed.Profile(context.Background(), h.tenant.ID, p.ID)
			if err != nil || q.Pause == nil || q.Pause.Code != outbox.CodeSecretsUnavailable {
				return fmt.Errorf("pause %+v, %w", q.Pause, err)
			}
			return nil
		})
		h.await(r.JobID, map[mail.Status]int{mail.StatusQueued: 5})
	})
}
