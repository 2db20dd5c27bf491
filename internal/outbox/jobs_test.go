package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

func (h *house) job(id string) *store.Job {
	h.t.Helper()
	j, err := h.store.Job(context.Background(), h.tenant.ID, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return j
}

func (h *house) awaitJob(id string, what string, is func(*store.Job) bool) *store.Job {
	h.t.Helper()
	var j *store.Job
	eventually(h.t, func() error {
		if j = h.job(id); !is(j) {
			return fmt.Errorf("not %s: state %s, gate %+v, finished %s, counts %v", what, j.State, j.Gate, j.FinishedAt, j.Counts)
		}
		return nil
	})
	return j
}

func (h *house) submitWith(o *outbox.Outbox, s *outbox.Submission, rules mail.JobRules) *outbox.Receipt {
	h.t.Helper()
	s.Rules = rules
	r, err := o.Submit(h.t.Context(), s)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// When a pause is answered, nothing is handed over any more but what was marked, by no process.
func TestPauseHoldsInEveryProcess(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		const n = 2000
		begun := make(chan struct{})
		var once sync.Once
		var accepted atomic.Int64
		far.answer = func(*mail.Rendered) mail.Verdict {
			if accepted.Add(1) == 100 {
				once.Do(func() { close(begun) })
			}
			return mail.Verdict{Outcome: mail.OutcomeSent}
		}
		o := h.engine(far, outbox.Config{})
		h.engine(far, outbox.Config{})
		r := h.submit(o, h.profile(8), outbox.PurposeBatch, n)
		<-begun
		if err := o.PauseJob(t.Context(), h.tenant.ID, "key_test", r.JobID, "the terms are wrong"); err != nil {
			t.Fatal(err)
		}
		j := h.job(r.JobID)
		sent, sending, paused := j.Counts[mail.StatusSent], j.Counts[mail.StatusSending], j.Counts[mail.StatusPaused]
		if sent+sending+paused != n || paused == 0 || j.Gate.Code != mail.GatePaused || j.Gate.By != "key_test" || j.Gate.Note != "the terms are wrong" {
			t.Fatalf("%+v, counts %v", j.Gate, j.Counts)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: sent + sending, mail.StatusPaused: paused})
		if far.total() != sent+sending {
			t.Errorf("the far end has %d, %d are sent", far.total(), sent+sending)
		}
		if err := o.PauseJob(t.Context(), h.tenant.ID, "key_other", r.JobID, ""); err != nil || h.job(r.JobID).Gate.By != "key_test" {
			t.Errorf("paused again: %v, by %s", err, h.job(r.JobID).Gate.By)
		}
		for range 2 {
			if err := o.ResumeJob(t.Context(), h.tenant.ID, "key_test", r.JobID, ""); err != nil {
				t.Fatal(err)
			}
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: n})
		if far.duplicates() != 0 {
			t.Errorf("%d were sent twice", far.duplicates())
		}
		h.awaitJob(r.JobID, "finished", func(j *store.Job) bool { return !j.FinishedAt.IsZero() })
		var state *outbox.JobStateError
		if err := o.PauseJob(t.Context(), h.tenant.ID, "key_test", r.JobID, ""); !errors.As(err, &state) {
			t.Errorf("a finished job is paused: %v", err)
		}
	})
}

// Canceled in the middle, every message ends sent or canceled, and the far end has exactly those that are sent.
func TestCancelInTheMiddle(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		const n = 10_000
		reached := make(chan struct{})
		var accepted atomic.Int64
		far.answer = func(*mail.Rendered) mail.Verdict {
			if accepted.Add(1) == 3000 {
				close(reached)
			}
			return mail.Verdict{Outcome: mail.OutcomeSent}
		}
		o := h.engine(far, outbox.Config{})
		r := h.submit(o, h.profile(8), outbox.PurposeBatch, n)
		<-reached
		canceled, err := o.CancelJob(t.Context(), h.tenant.ID, "key_test", r.JobID)
		if err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: n - canceled, mail.StatusCanceled: canceled})
		if far.total() != n-canceled || far.duplicates() != 0 || canceled == 0 {
			t.Errorf("the far end has %d, %d twice; %d were canceled", far.total(), far.duplicates(), canceled)
		}
		if j := h.job(r.JobID); j.State != mail.JobCanceled {
			t.Errorf("state %s", j.State)
		}
	})
}

// What was being handed over when its job was stopped, and comes back, waits or is canceled with the others.
func TestWhatComesBackFollowsItsJob(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		const lanes = 3
		arrived, answer := make(chan struct{}, 100), make(chan struct{}, 100)
		far.answer = func(*mail.Rendered) mail.Verdict {
			arrived <- struct{}{}
			<-answer
			return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: "try_later"}
		}
		t.Cleanup(func() { close(answer) }) // before the engine stops, also when something failed
		o := h.engine(far, outbox.Config{})
		t.Cleanup(func() {
			for range lanes {
				answer <- struct{}{}
			}
		})
		for _, stop := range []mail.Status{mail.StatusPaused, mail.StatusCanceled} {
			r := h.submit(o, h.profile(lanes), outbox.PurposeBatch, 20)
			for range lanes {
				<-arrived
			}
			var err error
			if stop == mail.StatusPaused {
				err = o.PauseJob(t.Context(), h.tenant.ID, "key_test", r.JobID, "")
			} else {
				_, err = o.CancelJob(t.Context(), h.tenant.ID, "key_test", r.JobID)
			}
			if err != nil {
				t.Fatal(err)
			}
			h.await(r.JobID, map[mail.Status]int{mail.StatusSending: lanes, stop: 20 - lanes})
			for range lanes {
				answer <- struct{}{}
			}
			h.await(r.JobID, map[mail.Status]int{stop: 20})
		}

		// Also when all of it was on its way.
		r := h.submit(o, h.profile(1), outbox.PurposeBatch, 1)
		<-arrived
		if n, err := o.CancelJob(t.Context(), h.tenant.ID, "key_test", r.JobID); n != 0 || err != nil {
			t.Fatalf("%d canceled, %v", n, err)
		}
		answer <- struct{}{}
		h.await(r.JobID, map[mail.Status]int{mail.StatusCanceled: 1})
	})
}

func TestCanary(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		const n = 40
		answers := make(chan mail.Verdict)
		var open atomic.Bool
		far.answer = func(*mail.Rendered) mail.Verdict {
			if open.Load() {
				return mail.Verdict{Outcome: mail.OutcomeSent}
			}
			return <-answers
		}
		o := h.engine(far, outbox.Config{})
		sent, refused := mail.Verdict{Outcome: mail.OutcomeSent}, mail.Verdict{Outcome: mail.OutcomePermanent, Code: "content_refused"}

		// drain answers who has asked already, until all of the job is sent.
		drain := func(jobID string) {
			h.t.Helper()
			done := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					select {
					case answers <- sent:
					case <-done:
						return
					}
				}
			})
			h.await(jobID, map[mail.Status]int{mail.StatusSent: n})
			close(done)
			wg.Wait()
		}

		good := h.submitWith(o, h.submission(h.profile(4), outbox.PurposeBatch, n), mail.JobRules{Canary: 3})
		if good.Gate != mail.GateCanary {
			t.Errorf("gate %q", good.Gate)
		}
		answers <- sent
		answers <- sent
		h.await(good.JobID, map[mail.Status]int{mail.StatusSent: 2, mail.StatusSending: 1, mail.StatusPaused: n - 3})
		open.Store(true)
		drain(good.JobID)
		open.Store(false)

		bad := h.submitWith(o, h.submission(h.profile(4), outbox.PurposeBatch, n), mail.JobRules{Canary: 3})
		answers <- sent
		answers <- refused
		answers <- sent
		h.awaitJob(bad.JobID, "failed", func(j *store.Job) bool {
			return j.Gate.Code == mail.GateCanaryFailed && j.Counts[mail.StatusSent] == 2 && j.Counts[mail.StatusPaused] == n-3
		})
		if m := h.message(bad.Messages[n-1].ID); m.Status != mail.StatusPaused {
			t.Errorf("the last message is %s", m.Status)
		}
		open.Store(true)
		if err := o.ResumeJob(t.Context(), h.tenant.ID, "key_test", bad.JobID, ""); err != nil {
			t.Fatal(err)
		}
		h.await(bad.JobID, map[mail.Status]int{mail.StatusSent: n - 1, mail.StatusFailed: 1})

		// A person's pause in between changes nothing about who may go.
		open.Store(false)
		between := h.submitWith(o, h.submission(h.profile(1), outbox.PurposeBatch, n), mail.JobRules{Canary: 2})
		answers <- sent
		if err := o.PauseJob(t.Context(), h.tenant.ID, "key_test", between.JobID, ""); err != nil {
			t.Fatal(err)
		}
		if err := o.ResumeJob(t.Context(), h.tenant.ID, "key_test", between.JobID, ""); err != nil {
			t.Fatal(err)
		}
		if j := h.job(between.JobID); j.Gate.Code != mail.GateCanary || j.Counts[mail.StatusPaused] != n-2 {
			t.Errorf("gate %s, counts %v", j.Gate.Code, j.Counts)
		}
		open.Store(true)
		drain(between.JobID)
		if far.duplicates() != 0 {
			t.Errorf("%d twice", far.duplicates())
		}
	})
}

// The stop rule holds many lanes: what fails after it is what they had in hand.
func TestStopRule(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		const n, limit = 2000, 5
		far.answer = func(*mail.Rendered) mail.Verdict {
			time.Sleep(20 * time.Millisecond) // as a server does
			return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "content_refused"}
		}
		o := h.engine(far, outbox.Config{})
		r := h.submitWith(o, h.submission(h.profile(8), outbox.PurposeBatch, n), mail.JobRules{StopAfter: limit})
		j := h.awaitJob(r.JobID, "stopped", func(j *store.Job) bool { return j.Gate.Code == mail.GateStopped && j.Counts[mail.StatusSending] == 0 })
		first := j.Counts[mail.StatusFailed]
		if first < limit || first > n/2 || first+j.Counts[mail.StatusPaused] != n {
			t.Errorf("counts %v", j.Counts)
		}
		t.Logf("%d failed before %d stopped them", first, limit)
		if err := o.ResumeJob(t.Context(), h.tenant.ID, "key_test", r.JobID, ""); err != nil {
			t.Fatal(err)
		}
		h.awaitJob(r.JobID, "stopped again", func(j *store.Job) bool {
			return j.Gate.Code == mail.GateStopped && j.Counts[mail.StatusFailed] >= first+limit && j.Counts[mail.StatusSending] == 0
		})
	})
}

func TestManualRelease(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{})
		r := h.submitWith(o, h.submission(h.profile(4), outbox.PurposeBatch, 150), mail.JobRules{Manual: true})
		j := h.job(r.JobID)
		if j.Gate.Code != mail.GateAwaitingRelease || j.Counts[mail.StatusPaused] != 150 || j.ExpiresAt.Before(time.Now().AddDate(0, 0, 29)) {
			t.Fatalf("%+v", j)
		}
		var state *outbox.JobStateError
		if err := o.PauseJob(t.Context(), h.tenant.ID, "key_test", r.JobID, ""); !errors.As(err, &state) {
			t.Errorf("paused before it was released: %v", err)
		}
		if err := o.ResumeJob(t.Context(), h.tenant.ID, "key_test", r.JobID, ""); !errors.As(err, &state) {
			t.Errorf("resumed before it was released: %v", err)
		}
		for range 2 {
			if _, err := o.Release(t.Context(), h.tenant.ID, "key_test", r.JobID, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 150})
	})
}

// What nobody releases comes to an end, and is still there to be looked at.
func TestUnreleasedJobsExpire(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{Unreleased: time.Millisecond})
		p := h.profile(4)
		manual := h.submitWith(o, h.submission(p, outbox.PurposeBatch, 12), mail.JobRules{Manual: true}).JobID
		draft, err := o.CreateDraft(t.Context(), &outbox.Draft{
			TenantID: h.tenant.ID, Actor: "key_test", Purpose: outbox.PurposeBatch, ProfileID: p.ID, Source: []byte(`{}`),
			Messages: []store.DraftMessage{{ID: store.NewID("msg"), Source: []byte(`{}`)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for id, n := range map[string]int{manual: 12, draft.ID: 1} {
			h.awaitJob(id, "expired", func(j *store.Job) bool {
				return j.State == mail.JobExpired && j.Counts[mail.StatusCanceled] == n && !j.FinishedAt.IsZero() && j.DueAt.IsZero()
			})
			var state *outbox.JobStateError
			if _, err := o.Release(t.Context(), h.tenant.ID, "key_test", id, nil, nil); !errors.As(err, &state) {
				t.Errorf("released: %v", err)
			}
		}
		if far.total() != 0 {
			t.Errorf("%d were sent", far.total())
		}
	})
}

func TestADraftKeepsItsProfile(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{})
		p := h.profile(1)
		draft, err := o.CreateDraft(t.Context(), &outbox.Draft{TenantID: h.tenant.ID, Purpose: outbox.PurposeBatch, ProfileID: p.ID, Source: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		manual := h.submitWith(o, h.submission(p, outbox.PurposeBatch, 1), mail.JobRules{Manual: true})
		for _, id := range []string{draft.ID, manual.JobID} {
			if err := h.store.DeleteProfile(t.Context(), h.tenant.ID, p.ID, 0); !errors.Is(err, store.ErrInUse) {
				t.Errorf("deleted: %v", err)
			}
			if _, err := o.CancelJob(t.Context(), h.tenant.ID, "key_test", id); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, func() error { return h.store.DeleteProfile(context.Background(), h.tenant.ID, p.ID, 0) })
		if _, err := o.CreateDraft(t.Context(), &outbox.Draft{TenantID: h.tenant.ID, Purpose: outbox.PurposeBatch, ProfileID: p.ID, Source: []byte(`{}`)}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a draft with a deleted profile: %v", err)
		}
	})
}

func TestRetryFailed(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		var mended atomic.Bool
		far.answer = func(m *mail.Rendered) mail.Verdict {
			switch {
			case mended.Load():
				return mail.Verdict{Outcome: mail.OutcomeSent}
			case strings.HasSuffix(m.Content.Subject, " 0"):
				return mail.Verdict{}
			}
			return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "content_refused"}
		}
		o := h.engine(far, outbox.Config{})
		p := h.profile(4)
		const n = 30
		r, err := o.Submit(t.Context(), h.invoices(p, "2026", n))
		if err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusFailed: n - 1, mail.StatusUncertain: 1})
		h.awaitJob(r.JobID, "finished", func(j *store.Job) bool { return !j.FinishedAt.IsZero() })
		mended.Store(true)
		anew := h.invoices(p, "2026", n)
		anew.Items = anew.Items[5:8]
		other, err := o.Submit(t.Context(), anew)
		if err != nil {
			t.Fatal(err)
		}
		got, err := o.RetryFailed(t.Context(), h.tenant.ID, "key_test", r.JobID, nil)
		if err != nil || got.Messages != n-4 || len(got.Skipped) != 3 {
			t.Fatalf("%+v, %v", got, err)
		}
		for _, s := range got.Skipped {
			i := 0
			for i < n && r.Messages[i].ID != s.MessageID {
				i++
			}
			if i < 5 || i > 7 || s.By != other.Messages[i-5].ID || s.Number != fmt.Sprintf("2026/%d", i) {
				t.Errorf("skipped %+v", s)
			}
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: n - 4, mail.StatusFailed: 3, mail.StatusUncertain: 1})
		h.awaitJob(r.JobID, "finished again", func(j *store.Job) bool { return !j.FinishedAt.IsZero() })
		if far.duplicates() != 0 {
			t.Errorf("%d twice", far.duplicates())
		}
	})
}

// What is retried while the gate is closed waits with the others, whoever retries it.
func TestRetryBehindAClosedGate(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(*mail.Rendered) mail.Verdict {
			return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "content_refused"}
		}
		o := h.engine(far, outbox.Config{})
		r := h.submitWith(o, h.submission(h.profile(1), outbox.PurposeBatch, 20), mail.JobRules{Canary: 4})
		h.awaitJob(r.JobID, "failed", func(j *store.Job) bool {
			return j.Gate.Code == mail.GateCanaryFailed && j.Counts[mail.StatusSending]+j.Counts[mail.StatusQueued] == 0 && j.Counts[mail.StatusFailed] > 0
		})
		failed := h.job(r.JobID).Counts[mail.StatusFailed]
		if err := o.Retry(t.Context(), h.tenant.ID, "key_test", r.Messages[0].ID); err != nil && failed == 4 {
			t.Fatal(err)
		}
		if _, err := o.RetryFailed(t.Context(), h.tenant.ID, "key_test", r.JobID, nil); err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusPaused: 20})
		if far.total() != 0 {
			t.Errorf("%d were sent", far.total())
		}
		if err := o.Cancel(t.Context(), h.tenant.ID, "key_test", r.Messages[0].ID); err != nil {
			t.Error(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusPaused: 19, mail.StatusCanceled: 1})
	})
}

// The window is a gate like the others; the clock moves it.
func TestOutsideTheWindow(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{})
		// Closed for the next hours, on whatever day this runs.
		later := time.Now().UTC().Add(48 * time.Hour)
		day := []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}[later.Weekday()]
		closed := &mail.Window{Days: []string{day}, From: "00:00", To: "24:00", TimeZone: "UTC"}
		r := h.submitWith(o, h.submission(h.profile(4), outbox.PurposeBatch, 120), mail.JobRules{Window: closed})
		j := h.job(r.JobID)
		if j.Gate.Code != mail.GateOutsideWindow || !j.Gate.Until.Equal(later.Truncate(24*time.Hour)) || j.Counts[mail.StatusPaused] != 120 {
			t.Fatalf("%+v %v", j.Gate, j.Counts)
		}
		if err := o.PauseJob(t.Context(), h.tenant.ID, "key_test", r.JobID, ""); err != nil {
			t.Fatal(err)
		}
		if err := o.ResumeJob(t.Context(), h.tenant.ID, "key_test", r.JobID, ""); err != nil {
			t.Fatal(err)
		}
		if j := h.job(r.JobID); j.Gate.Code != mail.GateOutsideWindow || far.total() != 0 {
			t.Errorf("resumed at night: %+v, %d sent", j.Gate, far.total())
		}
		// The clock is the database's row: a window that is open by now.
		err := h.store.Write(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			j, err := h.store.LockJob(ctx, tx, h.tenant.ID, r.JobID)
			if err != nil {
				return err
			}
			j.Rules.Window, j.DueAt = &mail.Window{Days: []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}, From: "00:00", To: "24:00", TimeZone: "UTC"}, store.Now()
			return h.store.SaveJob(ctx, tx, j)
		})
		if err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 120})
	})
}
