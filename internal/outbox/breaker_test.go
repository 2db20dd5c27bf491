package outbox_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
)

// endPause lets a profile's pause be over, as its time does.
func (h *house) endPause(profileID string) {
	h.t.Helper()
	h.exec(`UPDATE sender_profiles SET paused_until = 0 WHERE id = $1`, profileID)
}

// pausedFor waits until the profile is paused for the n-th time in a row.
func (h *house) pausedFor(profileID, code string, n int) {
	h.t.Helper()
	eventually(h.t, func() error {
		p, err := h.store.Profile(h.t.Context(), h.tenant.ID, profileID)
		if err != nil || p.Pause == nil || p.Pause.Code != code || p.PauseCount != n || p.PausedUntil.IsZero() {
			return fmt.Errorf("pause %+v, count %d, %v", p.Pause, p.PauseCount, err)
		}
		return nil
	})
}

// rested waits until no message of the job is on its way.
func (h *house) rested(jobID string) map[mail.Status]int {
	h.t.Helper()
	var counts map[mail.Status]int
	eventually(h.t, func() error {
		if counts = h.counts(jobID); counts[mail.StatusSending] > 0 {
			return fmt.Errorf("%d are on their way", counts[mail.StatusSending])
		}
		return nil
	})
	return counts
}

// A server takes every mail of 800 and says nothing: a few are uncertain, three and one for each further connection, then one for each pause. When it
// has recovered all the rest is sent, by several connections again, and none twice.
func TestSilentServerStopsTheBatch(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		const connections = 4
		h, far := newHouse(t, url), newFarEnd()
		var broken atomic.Bool
		broken.Store(true)
		far.answer = func(*mail.Rendered) mail.Verdict {
			if broken.Load() {
				return mail.Verdict{Outcome: mail.OutcomeUncertain, Code: "smtp_outcome_unknown", Step: "final"}
			}
			return mail.Verdict{Outcome: mail.OutcomeSent, Step: "final"}
		}
		o := h.engine(far, outbox.Config{})
		p := h.profile(connections)
		r := h.submit(o, p, outbox.PurposeBatch, 800)
		h.pausedFor(p.ID, mail.CodeServerSilent, 1)
		unsure := h.rested(r.JobID)[mail.StatusUncertain]
		if unsure < 3 || unsure > 3+connections-1 {
			t.Errorf("%d mails are uncertain", unsure)
		}
		for probe := 2; probe <= 4; probe++ {
			h.endPause(p.ID)
			h.pausedFor(p.ID, mail.CodeServerSilent, probe)
			if got := h.rested(r.JobID)[mail.StatusUncertain]; got != unsure+1 {
				t.Errorf("a probe made %d mails uncertain", got-unsure)
			}
			unsure++
		}
		broken.Store(false)
		h.endPause(p.ID)
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 800 - unsure, mail.StatusUncertain: unsure})
		if far.total() != 800-unsure || far.duplicates() != 0 {
			t.Errorf("%d accepted, %d twice", far.total(), far.duplicates())
		}
		if q, err := h.store.Profile(t.Context(), h.tenant.ID, p.ID); err != nil || q.PauseCount != 0 || q.Pause != nil {
			t.Errorf("the profile has not recovered: %+v, %v", q.Pause, err)
		}
	})
}

// Two processes count each for itself, and the pause of one stops both.
func TestSilentServerStopsBothProcesses(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		const connections = 4
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(*mail.Rendered) mail.Verdict { return mail.Verdict{Step: "final", Code: "smtp_outcome_unknown"} }
		a, _ := h.engine(far, outbox.Config{}), h.engine(far, outbox.Config{})
		p := h.profile(connections)
		r := h.submit(a, p, outbox.PurposeBatch, 200)
		h.pausedFor(p.ID, mail.CodeServerSilent, 1)
		if unsure := h.rested(r.JobID)[mail.StatusUncertain]; unsure < 3 || unsure > 2*3+connections {
			t.Errorf("%d mails are uncertain", unsure)
		}
	})
}

// Every mail is put off: some burn an attempt, the rest waits for the server without one.
func TestServerThatDefersStopsTheBatch(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(*mail.Rendered) mail.Verdict {
			return mail.Verdict{Outcome: mail.OutcomeTemporary, Code: "smtp_message_deferred", Step: "final", Reply: mail.Reply{Code: 451}}
		}
		o := h.engine(far, outbox.Config{})
		p := h.profile(2)
		r := h.submit(o, p, outbox.PurposeBatch, 800)
		h.pausedFor(p.ID, mail.CodeServerDefers, 1)
		if n := h.rested(r.JobID)[mail.StatusDeferred]; n < 10 || n > 11 {
			t.Errorf("%d mails burnt an attempt", n)
		}
		h.endPause(p.ID)
		h.pausedFor(p.ID, mail.CodeServerDefers, 2)
		if n := h.rested(r.JobID)[mail.StatusDeferred]; n > 12 {
			t.Errorf("%d mails burnt an attempt", n)
		}
	})
}

// A batch to a hundred addresses that do not exist is no fault of the server's.
func TestRefusedRecipientsPauseNothing(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(*mail.Rendered) mail.Verdict {
			return mail.Verdict{Outcome: mail.OutcomePermanent, Scope: mail.ScopeRecipient, Code: "recipient_unknown", Step: "rcpt", Reply: mail.Reply{Code: 550, Enhanced: "5.1.1"}}
		}
		o := h.engine(far, outbox.Config{})
		p := h.profile(2)
		r := h.submit(o, p, outbox.PurposeBatch, 100)
		h.await(r.JobID, map[mail.Status]int{mail.StatusFailed: 100})
		if q, err := h.store.Profile(t.Context(), h.tenant.ID, p.ID); err != nil || q.Pause != nil {
			t.Errorf("%+v, %v", q.Pause, err)
		}
	})
}
