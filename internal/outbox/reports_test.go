package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
)

func statusIs(h *house, id string, want mail.Status) error {
	if m := h.message(id); m.Status != want {
		return fmt.Errorf("%s is %s, want %s", id, m.Status, want)
	}
	return nil
}

// event is a report on the i-th mail of a submission.
func (h *house) event(r *outbox.Receipt, i int, kind mail.EventKind, id string) mail.Event {
	e := mail.Event{
		TenantID: h.tenant.ID, MessageID: r.Messages[i].ID, ID: id, Kind: kind, Address: fmt.Sprintf("Client%d@CLIENT.example", i),
		Evidence: "said " + string(kind), At: time.Now().UnixMicro(),
	}
	if kind == mail.EventBounced {
		e.Suppress = mail.SuppressedBounce
	}
	return e
}

func (h *house) take(o *outbox.Outbox, want outbox.EventCounts, events ...mail.Event) {
	h.t.Helper()
	got, err := o.TakeEvents(h.t.Context(), "far", events)
	if err != nil || got != want {
		h.t.Errorf("taken %+v, want %+v, %v", got, want, err)
	}
}

// A mail whose hand-over nobody answered is sent when an event says so; what failed or was canceled stays so.
func TestEventsProveThatMailWasSent(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(m *mail.Rendered) mail.Verdict {
			switch m.Content.Subject {
			case "batch 0":
				return mail.Verdict{Outcome: mail.OutcomeSent}
			case "batch 2":
				return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "refused"}
			}
			return mail.Verdict{Code: "line_lost"}
		}
		o := h.engine(far, outbox.Config{})
		r := h.submit(o, h.profile(1), outbox.PurposeBatch, 5)
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 1, mail.StatusFailed: 1, mail.StatusUncertain: 3})
		sub := h.submission(h.profile(1), outbox.PurposeBatch, 1)
		sub.SendAt = time.Now().Add(time.Hour)
		later, err := o.Submit(t.Context(), sub)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Cancel(t.Context(), h.tenant.ID, "key_test", later.Messages[0].ID); err != nil {
			t.Fatal(err)
		}
		h.take(o, outbox.EventCounts{New: 5, Proven: 2},
			h.event(r, 1, mail.EventBounced, "b"), h.event(r, 1, mail.EventProcessed, "a"), // out of order
			h.event(r, 2, mail.EventProcessed, "a"), h.event(r, 3, mail.EventDropped, "a"), h.event(later, 0, mail.EventProcessed, "a"))
		for id, want := range map[string]struct {
			status   mail.Status
			delivery mail.Delivery
		}{
			r.Messages[0].ID:     {mail.StatusSent, mail.DeliveryUnknown},
			r.Messages[1].ID:     {mail.StatusSent, mail.DeliveryBounced},
			r.Messages[2].ID:     {mail.StatusFailed, mail.DeliveryUnknown},
			r.Messages[3].ID:     {mail.StatusSent, mail.DeliveryBounced},
			r.Messages[4].ID:     {mail.StatusUncertain, mail.DeliveryUnknown},
			later.Messages[0].ID: {mail.StatusCanceled, mail.DeliveryUnknown},
		} {
			if m := h.message(id); m.Status != want.status || m.Delivery != want.delivery {
				t.Errorf("%s: %s %s, want %+v", m.Subject, m.Status, m.Delivery, want)
			}
		}
		attempts, err := h.store.Attempts(t.Context(), h.tenant.ID, r.Messages[1].ID)
		if err != nil || len(attempts) != 1 || attempts[0].Detail.Evidence != "said bounced" {
			t.Errorf("attempts %+v %v", attempts, err)
		}
		trail, err := h.store.ListAudit(t.Context(), h.tenant.ID, store.Page{})
		if err != nil {
			t.Fatal(err)
		}
		proven := 0
		for _, e := range trail.Items {
			if e.Actor == outbox.ActorEvents && e.Action == "message.resolve" {
				proven++
			}
		}
		if proven != 2 {
			t.Errorf("%d resolutions in the audit trail", proven)
		}
		if far.total() != 1 {
			t.Errorf("%d accepted", far.total())
		}
	})
}

// Events that are faster than the answer of the hand-over prove it when no answer comes.
func TestEventBeforeTheOutcome(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{Sweep: 10 * time.Millisecond})
		taken := make(chan error, 2)
		far.answer = func(m *mail.Rendered) mail.Verdict {
			e := mail.Event{
				TenantID: h.tenant.ID, MessageID: "msg_" + m.Content.MessageIDHeader[1:27], ID: "early", Kind: mail.EventProcessed,
				Address: m.Envelope.To[0], Evidence: "early bird", At: 1,
			}
			n, err := o.TakeEvents(context.Background(), "far", []mail.Event{e})
			if n.New != 1 && err == nil {
				err = fmt.Errorf("%+v", n)
			}
			taken <- err
			if m.Content.Subject == "batch 0" {
				return mail.Verdict{Code: "line_lost"}
			}
			return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "refused"}
		}
		r := h.submit(o, h.profile(1), outbox.PurposeBatch, 2)
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 1, mail.StatusFailed: 1})
		for range 2 {
			if err := <-taken; err != nil {
				t.Error(err)
			}
		}
		eventually(t, func() error {
			if n := value[int](h, `SELECT count(*) FROM message_events WHERE early`); n != 0 {
				return fmt.Errorf("%d events are still early", n)
			}
			return nil
		})
		if err := statusIs(h, r.Messages[1].ID, mail.StatusFailed); err != nil {
			t.Error(err)
		}
	})
}

// Replays, other tenants, other transports and strangers' addresses change nothing; the order of events does not matter.
func TestEventsChangeOnlyWhatTheyAreAbout(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{})
		r := h.submit(o, h.profile(1), outbox.PurposeBatch, 2)
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 2})
		other := &store.Tenant{Name: "Other"}
		if err := h.store.CreateTenant(t.Context(), other, nil); err != nil {
			t.Fatal(err)
		}
		stolen, unknown, stranger := h.event(r, 0, mail.EventBounced, "x"), h.event(r, 0, mail.EventBounced, "x"), h.event(r, 0, mail.EventBounced, "x")
		stolen.TenantID, unknown.MessageID, stranger.Address = other.ID, "msg_nobody", "client1@client.example"
		h.take(o, outbox.EventCounts{Foreign: 3}, stolen, unknown, stranger)
		if n, err := o.TakeEvents(t.Context(), "sendgrid", []mail.Event{h.event(r, 0, mail.EventBounced, "x")}); err != nil || n != (outbox.EventCounts{Foreign: 1}) {
			t.Errorf("of another transport: %+v %v", n, err)
		}
		for _, tenant := range []string{h.tenant.ID, other.ID} {
			if l, err := h.store.ListSuppressions(t.Context(), tenant, store.SuppressionFilter{}, store.Page{}); err != nil || len(l.Items) != 0 {
				t.Errorf("suppressions %+v %v", l, err)
			}
		}

		bounce, delivered := h.event(r, 0, mail.EventBounced, "b"), h.event(r, 0, mail.EventDelivered, "d")
		h.take(o, outbox.EventCounts{New: 2, Known: 1}, bounce, delivered, bounce)
		h.take(o, outbox.EventCounts{New: 1}, h.event(r, 1, mail.EventDelivered, "d"))
		if a, b := h.message(r.Messages[0].ID), h.message(r.Messages[1].ID); a.Delivery != mail.DeliveryBounced || b.Delivery != mail.DeliveryDelivered {
			t.Errorf("%s %s", a.Delivery, b.Delivery)
		}
		known, err := h.store.Deliveries(t.Context(), h.tenant.ID, r.Messages[0].ID)
		if d := known["client0@client.example"]; err != nil || len(known) != 1 || d.Delivery != mail.DeliveryBounced || d.Evidence != "said bounced" {
			t.Errorf("%+v %v", known, err)
		}
		// What was lifted is not brought back by the same event.
		l, err := h.store.ListSuppressions(t.Context(), h.tenant.ID, store.SuppressionFilter{}, store.Page{})
		if err != nil || len(l.Items) != 1 || l.Items[0].MessageID != r.Messages[0].ID {
			t.Fatalf("%+v %v", l, err)
		}
		if err := h.store.LiftSuppression(t.Context(), h.tenant.ID, l.Items[0].ID, "key_test"); err != nil {
			t.Fatal(err)
		}
		h.take(o, outbox.EventCounts{Known: 2}, bounce, delivered)
		if l, err := h.store.ListSuppressions(t.Context(), h.tenant.ID, store.SuppressionFilter{}, store.Page{}); err != nil || len(l.Items) != 0 {
			t.Errorf("suppressed again: %+v %v", l, err)
		}
		if l, err := h.store.ListMessages(t.Context(), h.tenant.ID, store.MessageFilter{Delivery: mail.DeliveryBounced}, store.Page{}); err != nil || len(l.Items) != 1 {
			t.Errorf("list: %+v %v", l, err)
		}
	})
}

// What is reported of a mail counts when its profile sends otherwise by now, and the profile's new way has no say in it.
func TestEventsOfAProfileThatChangedItsTransport(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{})
		p := h.profile(1)
		r := h.submit(o, p, outbox.PurposeBatch, 1)
		h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 1})
		p, err := h.store.Profile(t.Context(), p.TenantID, p.ID)
		if err != nil {
			t.Fatal(err)
		}
		p.Transport = "other"
		if err := h.store.UpdateProfile(t.Context(), p, p.Version); err != nil {
			t.Fatal(err)
		}
		e := h.event(r, 0, mail.EventBounced, "b")
		if n, err := o.TakeEvents(t.Context(), "other", []mail.Event{e}); err != nil || n != (outbox.EventCounts{Foreign: 1}) {
			t.Errorf("of the new transport: %+v %v", n, err)
		}
		h.take(o, outbox.EventCounts{New: 1}, e)
		if m := h.message(r.Messages[0].ID); m.Delivery != mail.DeliveryBounced {
			t.Errorf("%+v", m)
		}
	})
}

// The same batch from many senders at once, in any order, while mail is sent: everything is stored once.
func TestEventsFromManySendersAtOnce(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		const n = 60
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{})
		r := h.submit(o, h.profile(4), outbox.PurposeBatch, n)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var sum outbox.EventCounts
		for turn := range 4 {
			wg.Go(func() {
				var events []mail.Event
				for i := range n {
					i = (i*7 + turn*11) % n
					events = append(events, h.event(r, i, mail.EventBounced, "b"), h.event(r, i, mail.EventProcessed, "a"))
				}
				for {
					got, err := o.TakeEvents(t.Context(), "far", events)
					mu.Lock()
					sum.New += got.New
					mu.Unlock()
					if errors.Is(err, outbox.ErrBusy) { // as SendGrid does
						continue
					}
					if err != nil {
						t.Error(err)
					}
					return
				}
			})
		}
		wg.Wait()
		// A mail that was not handed over yet when its address bounced is not sent any more; that depends on who was faster.
		eventually(t, func() error {
			c := h.counts(r.JobID)
			if c[mail.StatusSent]+c[mail.StatusFailed] != n {
				return fmt.Errorf("%v", c)
			}
			return nil
		})
		if sum.New != 2*n {
			t.Errorf("%d events were new, want %d", sum.New, 2*n)
		}
		if bounced := value[int](h, `SELECT count(*) FROM messages WHERE delivery = 'bounced'`); bounced != n {
			t.Errorf("%d bounced, want %d", bounced, n)
		}
		if l := value[int](h, `SELECT count(*) FROM suppressions`); l != n {
			t.Errorf("%d suppressed, want %d", l, n)
		}
	})
}

// A message that somebody is writing holds up nobody: the others of the batch are taken, and the sender is asked to come again.
func TestEventsDoNotWaitForALockedMessage(t *testing.T) {
	url := pgtest.Prepared(t, "outbox", migrate)
	h, far := newHouse(t, url), newFarEnd()
	o := h.engine(far, outbox.Config{})
	r := h.submit(o, h.profile(1), outbox.PurposeBatch, 2)
	h.await(r.JobID, map[mail.Status]int{mail.StatusSent: 2})
	tx, err := h.store.Postgres().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT 1 FROM messages WHERE id = $1 FOR UPDATE`, r.Messages[0].ID); err != nil {
		t.Fatal(err)
	}
	events := []mail.Event{h.event(r, 0, mail.EventDelivered, "d"), h.event(r, 1, mail.EventDelivered, "d")}
	n, err := o.TakeEvents(t.Context(), "far", events)
	if !errors.Is(err, outbox.ErrBusy) || n.New != 1 {
		t.Errorf("%+v %v", n, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.take(o, outbox.EventCounts{New: 1, Known: 1}, events...)
}
