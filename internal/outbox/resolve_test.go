package outbox_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// resends makes a profile whose uncertain mails are sent again by themselves.
func (h *house) resends() *mail.Profile {
	h.t.Helper()
	p := h.profile(2)
	p.ResendUncertain = true
	if err := h.store.UpdateProfile(h.t.Context(), p, p.Version); err != nil {
		h.t.Fatal(err)
	}
	return p
}

// by counts the audit events about a message by the actor.
func (h *house) by(actor, subject string) (n int) {
	h.t.Helper()
	events, err := h.store.ListAudit(h.t.Context(), h.tenant.ID, store.Page{Limit: store.MaxPage})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range events.Items {
		if e.Actor == actor && e.Subject == subject {
			n++
		}
	}
	return n
}

// A mail that is uncertain goes out again by itself, with the same Message-ID, twice and no more; another one is sent at the first repetition.
func TestUncertainIsSentAgain(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		var tries, other atomic.Int32
		far.answer = func(m *mail.Rendered) mail.Verdict {
			if m.Content.Subject == "batch 0" && tries.Add(1) > 0 || m.Content.Subject == "batch 1" && other.Add(1) == 1 {
				return mail.Verdict{Step: "final", Code: "smtp_outcome_unknown"}
			}
			return mail.Verdict{Outcome: mail.OutcomeSent}
		}
		o := h.engine(far, outbox.Config{ResendAfter: time.Millisecond, Sweep: 10 * time.Millisecond})
		p := h.resends()
		r := h.submit(o, p, outbox.PurposeBatch, 2)
		// Its third try is a third sign of a silent server, or comes behind a pause: either way it ends.
		eventually(t, func() error {
			h.endPause(p.ID)
			if n := value[int](h, `SELECT count(*) FROM reconciliations`); n != 0 || tries.Load() < 3 {
				return fmt.Errorf("%d tries, %d still to come", tries.Load(), n)
			}
			return nil
		})
		m := h.given(r.Messages[0].ID, mail.StatusUncertain)
		if m.Attempts != 3 || tries.Load() != 3 || h.by(outbox.ActorOnUncertain, m.ID) != 2 {
			t.Errorf("%d attempts, %d tries, %d repetitions", m.Attempts, tries.Load(), h.by(outbox.ActorOnUncertain, m.ID))
		}
		if m := h.given(r.Messages[1].ID, mail.StatusSent); m.Attempts != 2 || h.by(outbox.ActorOnUncertain, m.ID) != 1 {
			t.Errorf("the other one: %d attempts, %d repetitions", m.Attempts, h.by(outbox.ActorOnUncertain, m.ID))
		}
	})
}

// By default nothing is sent again, and a profile that is edited back before the pause is over takes its word back.
func TestUncertainWaitsByDefault(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(*mail.Rendered) mail.Verdict { return mail.Verdict{Step: "final", Code: "smtp_outcome_unknown"} }
		o := h.engine(far, outbox.Config{ResendAfter: time.Hour, Sweep: 10 * time.Millisecond})
		plain := h.submit(o, h.profile(1), outbox.PurposeBatch, 1).Messages[0].ID
		p := h.resends()
		back := h.submit(o, p, outbox.PurposeBatch, 1).Messages[0].ID
		for _, id := range []string{plain, back} {
			eventually(t, func() error {
				if m := h.message(id); m.Status != mail.StatusUncertain {
					return fmt.Errorf("the message is %s", m.Status)
				}
				return nil
			})
		}
		if n := value[int](h, `SELECT count(*) FROM reconciliations WHERE message_id = $1`, plain); n != 0 {
			t.Error("a repetition is planned that nobody asked for")
		}
		p.ResendUncertain = false
		if err := h.store.UpdateProfile(t.Context(), p, p.Version); err != nil {
			t.Fatal(err)
		}
		h.exec(`UPDATE reconciliations SET due_at = 0, since = 0`)
		if m := h.given(back, mail.StatusUncertain); m.Attempts != 1 {
			t.Errorf("%d attempts", m.Attempts)
		}
	})
}

// Of a canceled job nothing is sent again by itself; a person may still say so.
func TestUncertainOfACanceledJob(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		var tries atomic.Int32
		far.answer = func(*mail.Rendered) mail.Verdict {
			if tries.Add(1) == 1 {
				return mail.Verdict{Step: "final", Code: "smtp_outcome_unknown"}
			}
			return mail.Verdict{Outcome: mail.OutcomeSent}
		}
		o := h.engine(far, outbox.Config{ResendAfter: time.Hour, Sweep: 10 * time.Millisecond})
		r := h.submit(o, h.resends(), outbox.PurposeBatch, 1)
		id := r.Messages[0].ID
		h.await(r.JobID, map[mail.Status]int{mail.StatusUncertain: 1})
		if _, err := o.CancelJob(t.Context(), h.tenant.ID, "key_test", r.JobID); err != nil {
			t.Fatal(err)
		}
		h.exec(`UPDATE reconciliations SET due_at = 0, since = 0`)
		if m := h.given(id, mail.StatusUncertain); m.Attempts != 1 || tries.Load() != 1 {
			t.Errorf("%d attempts, %d tries", m.Attempts, tries.Load())
		}
		if err := o.Resolve(t.Context(), h.tenant.ID, "key_test", id, outbox.ResolveResend, ""); err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 1})
	})
}

// A provider that can look has its say first: what it finds is not sent again although the profile would have it so.
func TestFoundIsNotSentAgain(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newMailbox(true, "batch 0")
		cfg := at(time.Millisecond, 2*time.Millisecond)
		cfg.ResendAfter = time.Millisecond
		o := h.engine(far, cfg)
		r := h.submit(o, h.resends(), outbox.PurposeBatch, 1)
		m := h.given(r.Messages[0].ID, mail.StatusSent)
		if m.Attempts != 1 || far.total() != 1 || h.by(outbox.ActorOnUncertain, m.ID) != 0 || h.by(outbox.ActorReconciliation, m.ID) != 1 {
			t.Errorf("%d attempts, %d accepted", m.Attempts, far.total())
		}
	})
}

func noRecord(*outbox.JobResolution) (*store.IdempotencyRecord, error) { return nil, nil }

// 250 uncertain messages of a job are resolved at once; those of another job, and what was sent, stay as they are.
func TestResolveJob(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{})
		p := h.profile(1)
		job, other := h.submit(o, p, outbox.PurposeBatch, 260), h.submit(o, p, outbox.PurposeBatch, 2)
		for _, r := range []*outbox.Receipt{job, other} {
			h.await(r.JobID, map[mail.Status]int{mail.StatusSent: len(r.Messages)})
		}
		for _, m := range slices.Concat(job.Messages[:250], other.Messages[:1]) {
			h.exec(`UPDATE messages SET status = 'uncertain', sent_at = NULL, recipients = replace(recipients, '"s":"sent"', '"s":"uncertain"') WHERE id = $1`, m.ID)
		}
		resolve := func(as string) (done outbox.JobResolution) {
			t.Helper()
			err := o.ResolveJob(t.Context(), h.tenant.ID, "key_test", job.JobID, as, "looked", func(r *outbox.JobResolution) (*store.IdempotencyRecord, error) {
				done = *r
				return nil, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		if done := resolve(outbox.ResolveSent); done.Resolved != 250 || len(done.Skipped) != 0 {
			t.Errorf("%+v", done)
		}
		if got := h.counts(job.JobID); got[mail.StatusSent] != 260 || h.counts(other.JobID)[mail.StatusUncertain] != 1 {
			t.Errorf("%v, the other job %v", got, h.counts(other.JobID))
		}
		if far.total() != 262 || h.by("key_test", job.JobID) != 1 || value[int](h, `SELECT count(*) FROM audit_events WHERE action = 'message.resolve'`) != 250 {
			t.Errorf("%d accepted, %d events", far.total(), h.by("key_test", job.JobID))
		}
		if done := resolve(outbox.ResolveResend); done.Resolved != 0 {
			t.Errorf("a second time %+v", done)
		}
		if err := o.ResolveJob(t.Context(), h.tenant.ID, "key_test", "job_none", outbox.ResolveSent, "", noRecord); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("no such job: %v", err)
		}
	})
}

// Of two uncertain invoices one was sent anew in another mail: it is skipped and named, the other one goes out again.
func TestResolveJobAsksForDocuments(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		var broken atomic.Bool
		broken.Store(true)
		far.answer = func(*mail.Rendered) mail.Verdict {
			if broken.Load() {
				return mail.Verdict{Step: "final", Code: "smtp_outcome_unknown"}
			}
			return mail.Verdict{Outcome: mail.OutcomeSent}
		}
		o := h.engine(far, outbox.Config{})
		p := h.profile(1)
		job, err := o.Submit(t.Context(), h.invoices(p, "INV-", 2))
		if err != nil {
			t.Fatal(err)
		}
		h.await(job.JobID, map[mail.Status]int{mail.StatusUncertain: 2})
		broken.Store(false)
		again := h.invoices(p, "INV-", 1)
		again.Items[0].AllowDuplicate = "the client lacks it"
		anew, err := o.Submit(t.Context(), again)
		if err != nil {
			t.Fatal(err)
		}
		h.await(anew.JobID, map[mail.Status]int{mail.StatusSent: 1})
		if err := o.Resolve(t.Context(), h.tenant.ID, "key_test", job.Messages[0].ID, outbox.ResolveResend, ""); !errors.Is(err, outbox.ErrDocumentTaken) {
			t.Fatalf("resolved alone: %v", err)
		}
		var done outbox.JobResolution
		err = o.ResolveJob(t.Context(), h.tenant.ID, "key_test", job.JobID, outbox.ResolveResend, "", func(r *outbox.JobResolution) (*store.IdempotencyRecord, error) {
			done = *r
			return nil, nil
		})
		if err != nil || done.Resolved != 1 || !slices.Equal(done.Skipped, []string{job.Messages[0].ID}) {
			t.Fatalf("%+v, %v", done, err)
		}
		h.await(job.JobID, map[mail.Status]int{mail.StatusUncertain: 1, mail.StatusSent: 1})
		if far.total() != 2 || far.duplicates() != 0 {
			t.Errorf("%d accepted, %d twice", far.total(), far.duplicates())
		}
	})
}
