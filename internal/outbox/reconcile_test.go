package outbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

// mailbox is a far end whose sent mail can be looked up.
type mailbox struct {
	*farEnd

	mu    sync.Mutex
	drops map[string]int // by subject: how many more hand-overs break off
	keeps bool           // what breaks off is accepted all the same
	looks map[string]int // by Message-ID
	// find answers instead; nil: what was accepted is found.
	find func(messageID string) (found bool, err error)
}

func newMailbox(keeps bool, drops ...string) *mailbox {
	b := &mailbox{farEnd: newFarEnd(), drops: map[string]int{}, looks: map[string]int{}, keeps: keeps}
	for _, subject := range drops {
		b.drops[subject]++
	}
	b.answer = b.take
	return b
}

func (b *mailbox) take(m *mail.Rendered) mail.Verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drops[m.Content.Subject] == 0 {
		return mail.Verdict{Outcome: mail.OutcomeSent, Evidence: "queued"}
	}
	b.drops[m.Content.Subject]--
	if b.keeps {
		b.farEnd.mu.Lock()
		b.accepted[m.Content.MessageIDHeader]++
		b.farEnd.mu.Unlock()
	}
	return mail.Verdict{Code: "line_lost", Evidence: "the line broke"}
}

func (b *mailbox) Find(_ context.Context, _ *mail.Profile, messageID string) (string, bool, error) {
	b.mu.Lock()
	b.looks[messageID]++
	find := b.find
	b.mu.Unlock()
	if find != nil {
		found, err := find(messageID)
		return "found", found, err
	}
	b.farEnd.mu.Lock()
	defer b.farEnd.mu.Unlock()
	return "found", b.accepted[messageID] > 0, nil
}

func (b *mailbox) setFind(find func(string) (bool, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.find = find
}

// at are looks so soon that a test need not wait.
func at(looks ...time.Duration) outbox.Config {
	return outbox.Config{Looks: looks, LostLook: time.Millisecond, Sweep: 10 * time.Millisecond}
}

// given waits until a message is looked for no more, and checks how it is.
func (h *house) given(id string, want mail.Status) *store.Message {
	h.t.Helper()
	eventually(h.t, func() error {
		if n := value[int](h, `SELECT count(*) FROM reconciliations`); n != 0 {
			return fmt.Errorf("%d messages are looked for", n)
		}
		if m := h.message(id); m.Status != want {
			return fmt.Errorf("the message is %s", m.Status)
		}
		return nil
	})
	return h.message(id)
}

// reconciled are the resolutions that no person made, by message.
func (h *house) reconciled() map[string]string {
	h.t.Helper()
	events, err := h.store.ListAudit(h.t.Context(), h.tenant.ID, store.Page{Limit: store.MaxPage})
	if err != nil {
		h.t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range events.Items {
		var detail struct{ As string }
		if err := json.Unmarshal(e.Detail, &detail); err != nil {
			h.t.Fatal(err)
		}
		if e.Actor == outbox.ActorReconciliation && e.Action == "message.resolve" {
			out[e.Subject] += detail.As
		}
	}
	return out
}

// Two processes, and 5 of 50 mails that are accepted without an answer: all are found, each by one look, none is sent twice.
func TestUncertainMailIsFound(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newMailbox(true, "batch 3", "batch 17", "batch 18", "batch 30", "batch 49")
		a, b := h.engine(far, at(time.Millisecond, time.Hour)), h.engine(far, at(time.Millisecond, time.Hour))
		_ = b
		r := h.submit(a, h.profile(4), outbox.PurposeBatch, 50)
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 50})
		if far.total() != 50 || far.duplicates() != 0 {
			t.Errorf("%d accepted, %d twice", far.total(), far.duplicates())
		}
		audit := h.reconciled()
		if len(audit) != 5 || len(far.looks) != 5 {
			t.Errorf("audit %v, looks %v", audit, far.looks)
		}
		for id, as := range audit {
			m := h.message(id)
			attempts, err := h.store.Attempts(t.Context(), h.tenant.ID, id)
			if err != nil || as != outbox.ResolveSent || m.Code != "" || m.SentAt.IsZero() || m.Recipients[0].Status != mail.RecipientSent ||
				len(attempts) != 1 || attempts[0].Detail.Evidence != "found" || attempts[0].Outcome != mail.OutcomeUncertain {
				t.Errorf("%s: %+v, %+v, %v", as, m, attempts, err)
			}
		}
		for id, n := range far.looks {
			if n != 1 {
				t.Errorf("%s was looked for %d times", id, n)
			}
		}
	})
}

// A mail that is not there, in a mailbox that shows the mails beside it, is sent again with the same Message-ID.
func TestAbsentMailIsSentAgain(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newMailbox(false, "batch 1", "batch 1", "batch 4")
		o := h.engine(far, at(time.Millisecond, 50*time.Millisecond))
		r := h.submit(o, h.profile(1), outbox.PurposeBatch, 5)
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 5})
		if far.total() != 5 || far.duplicates() != 0 {
			t.Errorf("%d accepted, %d twice", far.total(), far.duplicates())
		}
		// The first of them broke off twice.
		if m := h.message(r.Messages[1].ID); m.Attempts != 3 {
			t.Errorf("%d attempts", m.Attempts)
		}
		again := outbox.ResolveResend
		if audit := h.reconciled(); len(audit) != 2 || audit[r.Messages[1].ID] != again+again || audit[r.Messages[4].ID] != again {
			t.Errorf("audit %v", audit)
		}
	})
}

// A search that finds nothing proves nothing, unless it finds what must be there.
func TestAbsenceIsProven(t *testing.T) {
	transient := &transport.Error{Verdict: mail.Verdict{Outcome: mail.OutcomeTemporary}, Err: errors.New("weather")}
	for name, c := range map[string]struct {
		mails int
		find  func(drop, id string) (bool, error)
	}{
		"no other mail":    {1, nil},
		"an empty mailbox": {3, func(string, string) (bool, error) { return false, nil }},
		"it cannot look":   {3, func(string, string) (bool, error) { return false, transport.ErrCannotFind }},
		"nor for others": {3, func(drop, id string) (bool, error) {
			if id == drop {
				return false, nil
			}
			return false, transport.ErrCannotFind
		}},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, url string) {
				h, far := newHouse(t, url), newMailbox(false, "batch 0")
				o := h.engine(far, at(time.Millisecond, 20*time.Millisecond))
				far.setFind(func(string) (bool, error) { return false, transient }) // until the others are sent
				p := h.profile(1)
				r := h.submit(o, p, outbox.PurposeBatch, c.mails)
				h.await(r.JobID, counted(c.mails-1))
				id := r.Messages[0].ID
				content, err := h.store.MessageContent(t.Context(), h.tenant.ID, id)
				if err != nil {
					t.Fatal(err)
				}
				far.setFind(nil)
				if c.find != nil {
					far.setFind(func(id string) (bool, error) { return c.find(content.MessageIDHeader, id) })
				}
				h.lookNow()
				if m := h.given(id, mail.StatusUncertain); m.Code != "line_lost" || m.Attempts != 1 {
					t.Errorf("%+v", m)
				}
				if audit := h.reconciled(); len(audit) != 0 || far.total() != c.mails-1 {
					t.Errorf("audit %v, %d accepted", audit, far.total())
				}
			})
		})
	}
}

// counted is one uncertain mail beside so many that are sent.
func counted(sent int) map[mail.Status]int {
	counts := map[mail.Status]int{mail.StatusUncertain: 1}
	if sent > 0 {
		counts[mail.StatusSent] = sent
	}
	return counts
}

// lookNow has the time of every look come.
func (h *house) lookNow() {
	h.t.Helper()
	h.exec(`UPDATE reconciliations SET due_at = 0`)
}

// After an edit of the profile, which every new consent is too, the mailbox may be another one: what it does not show may be in
// the first. What it shows was sent.
func TestEditedProfileProvesNoAbsence(t *testing.T) {
	for name, keeps := range map[string]bool{"it had arrived": true, "it had not": false} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, url string) {
				h, far := newHouse(t, url), newMailbox(keeps, "batch 1")
				o := h.engine(far, at(time.Hour))
				p := h.profile(1)
				r := h.submit(o, p, outbox.PurposeBatch, 3)
				h.await(r.JobID, counted(2))
				p.Name = "Another"
				if err := h.store.UpdateProfile(t.Context(), p, p.Version); err != nil {
					t.Fatal(err)
				}
				h.exec(`UPDATE messages SET sent_at = sent_at - 4000000000`)
				h.exec(`UPDATE reconciliations SET due_at = 0, since = since - 4000000000`)
				want := mail.StatusUncertain
				if keeps {
					want = mail.StatusSent
				}
				h.given(r.Messages[1].ID, want)
			})
		})
	}
}

// Nobody expects a mail of last week any more: a person decides.
func TestOldMailIsNotSentAgain(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newMailbox(false, "batch 1")
		o := h.engine(far, at(time.Hour))
		r := h.submit(o, h.profile(1), outbox.PurposeBatch, 3)
		h.await(r.JobID, counted(2))
		h.exec(`UPDATE messages SET expires_at = 1, sent_at = sent_at - 4000000000`)
		h.exec(`UPDATE reconciliations SET due_at = 0, since = since - 4000000000`)
		h.given(r.Messages[1].ID, mail.StatusUncertain)
	})
}

// Bad weather and a dead consent change nothing, however long they last; the look is made again.
func TestFailedSearchChangesNothing(t *testing.T) {
	for name, err := range map[string]error{
		"weather":        &transport.Error{Verdict: mail.Verdict{Outcome: mail.OutcomeTemporary, Scope: mail.ScopeProfile}, Err: errors.New("503")},
		"a dead consent": &transport.Error{Verdict: mail.Verdict{Outcome: mail.OutcomePermanent, Scope: mail.ScopeProfile}, Err: errors.New("invalid_grant")},
		"a riddle":       errors.New("riddle"),
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, url string) {
				h, far := newHouse(t, url), newMailbox(true, "batch 1")
				far.setFind(func(string) (bool, error) { return false, err })
				o := h.engine(far, at(time.Millisecond))
				r := h.submit(o, h.profile(1), outbox.PurposeBatch, 3)
				for n := 1; n <= 3; n++ {
					eventually(t, func() error {
						// The look is over when it is no longer leased.
						if value[int](h, `SELECT count(*) FROM reconciliations WHERE token IS NULL AND due_at > since + 30000000`) != 1 {
							return errors.New("not looked for yet")
						}
						return nil
					})
					if m := h.message(r.Messages[1].ID); m.Status != mail.StatusUncertain {
						t.Fatalf("after %d looks it is %s", n, m.Status)
					}
					h.lookNow()
				}
				far.setFind(nil)
				eventually(t, func() error {
					if m := h.message(r.Messages[1].ID); m.Status != mail.StatusSent {
						h.exec(`UPDATE reconciliations SET due_at = 0 WHERE token IS NULL`)
						return fmt.Errorf("it is %s", m.Status)
					}
					return nil
				})
			})
		})
	}
}

// The looks are in the database: another process makes them when the first is gone.
func TestLooksSurviveTheProcess(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newMailbox(true, "batch 0")
		o := h.engine(far, at(time.Hour))
		r := h.submit(o, h.profile(1), outbox.PurposeBatch, 1)
		h.await(r.JobID, counted(0))
		if err := o.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.lookNow()
		h.engine(far, at(time.Hour))
		h.given(r.Messages[0].ID, mail.StatusSent)
	})
}

// A process that is lost in a hand-over is no other case: what it had handed over is found, the rest is absent.
func TestLostWorkerIsReconciled(t *testing.T) {
	for name, keeps := range map[string]bool{"it had arrived": true, "it had not": false} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, url string) {
				h, far := newHouse(t, url), newMailbox(keeps, "one_off 0")
				p := h.profile(2)
				reached, goOn := make(chan struct{}), newBarrier()
				defer goOn.open() // before the engine stops, which waits for it
				var once sync.Once
				far.answer = func(m *mail.Rendered) mail.Verdict {
					v := far.take(m)
					if v.Outcome == mail.OutcomeUncertain {
						once.Do(func() { close(reached) })
						goOn.wait()
					}
					return v
				}
				o := h.engine(far, at(time.Millisecond))
				other := h.submit(o, p, outbox.PurposeBatch, 1) // so that the search can be proven
				h.await(other.JobID, map[mail.Status]int{mail.StatusSent: 1})
				r := h.submit(o, p, outbox.PurposeOneOff, 1)
				<-reached
				eventually(t, func() error {
					h.expireLeases()
					if m := h.message(r.Messages[0].ID); m.Status != mail.StatusSent {
						return fmt.Errorf("it is %s", m.Status)
					}
					return nil
				})
				if far.total() != 2 || far.duplicates() != 0 {
					t.Errorf("%d accepted, %d twice", far.total(), far.duplicates())
				}
				as := outbox.ResolveResend
				if keeps {
					as = outbox.ResolveSent
				}
				if audit := h.reconciled(); audit[r.Messages[0].ID] != as {
					t.Errorf("audit %v", audit)
				}
			})
		})
	}
}

// A person may be faster than the search, which then has nothing more to say.
func TestPersonOvertakesTheSearch(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newMailbox(false, "one_off 0")
		looking, goOn := make(chan struct{}), newBarrier()
		defer goOn.open()
		var once sync.Once
		far.setFind(func(string) (bool, error) {
			once.Do(func() { close(looking) })
			goOn.wait()
			return true, nil
		})
		o := h.engine(far, at(time.Millisecond))
		r := h.submit(o, h.profile(1), outbox.PurposeOneOff, 1)
		<-looking
		if err := o.Resolve(t.Context(), h.tenant.ID, "key_test", r.Messages[0].ID, outbox.ResolveResend, ""); err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 1})
		goOn.open()
		m := h.given(r.Messages[0].ID, mail.StatusSent)
		attempts, err := h.store.Attempts(t.Context(), h.tenant.ID, m.ID)
		if err != nil || len(attempts) != 2 || attempts[1].Detail.Evidence != "queued" || len(h.reconciled()) != 0 || far.total() != 1 {
			t.Errorf("attempts %+v, audit %v, %d accepted, %v", attempts, h.reconciled(), far.total(), err)
		}
	})
}

// Nobody looks for mails of a transport that cannot.
func TestNoLooksWithoutAFinder(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(*mail.Rendered) mail.Verdict { return mail.Verdict{Code: "line_lost"} }
		o := h.engine(far, at(time.Millisecond))
		r := h.submit(o, h.profile(1), outbox.PurposeBatch, 2)
		h.await(r.JobID, map[mail.Status]int{mail.StatusUncertain: 2})
		if n := value[int](h, `SELECT count(*) FROM reconciliations`); n != 0 {
			t.Errorf("%d rows", n)
		}
	})
}

// A person has sent the document of an uncertain mail anew, and said why: its absence is no reason to send it a second time.
func TestReplacedMailIsNotSentAgain(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newMailbox(false, "batch 1")
		o := h.engine(far, at(time.Hour))
		p := h.profile(1)
		r, err := o.Submit(t.Context(), h.invoices(p, "2026", 2))
		if err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 1, mail.StatusUncertain: 1})
		anew := h.invoices(p, "2026", 2)
		anew.Items = anew.Items[1:]
		anew.Items[0].AllowDuplicate = "the client did not get it"
		second, err := o.Submit(t.Context(), anew)
		if err != nil {
			t.Fatal(err)
		}
		h.await(second.JobID, map[mail.Status]int{mail.StatusSent: 1})
		h.exec(`UPDATE reconciliations SET since = 1`)
		h.exec(`UPDATE messages SET sent_at = 1 WHERE status = 'sent'`)
		h.lookNow()
		h.given(r.Messages[1].ID, mail.StatusUncertain)
		if far.total() != 2 || len(h.reconciled()) != 0 {
			t.Errorf("%d accepted, audit %v", far.total(), h.reconciled())
		}
	})
}
