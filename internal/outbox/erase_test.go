package outbox_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// What is erased is gone from the database, and its hash is that of the mail as it was.
func TestErase(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		o := h.engine(far, outbox.Config{})
		p := h.profile(1)
		id := h.submit(o, p, outbox.PurposeBatch, 1).Messages[0].ID
		eventually(t, func() error {
			if h.message(id).Status != mail.StatusSent {
				return errors.New("not sent yet")
			}
			return nil
		})
		rendered, err := o.Render(t.Context(), h.tenant.ID, id)
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.New()
		size, err := rendered.WriteTo(hash)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := o.Erase(t.Context(), h.tenant.ID, "key_test", id); err != nil {
				t.Fatal(err)
			}
		}
		m := h.message(id)
		if e := m.Detail.Erased; e == nil || e.SHA256 != hex.EncodeToString(hash.Sum(nil)) || e.Size != size || m.Subject != "batch 0" || m.SentAt.IsZero() || len(m.Recipients) != 1 {
			t.Errorf("%+v, erased %+v", m, e)
		}
		if n := value[int](h, `SELECT count(*) FROM message_contents WHERE message_id = $1 AND text = '' AND html = ''`, id); n != 1 {
			t.Error("the texts are still there")
		}
		if _, err := o.Render(t.Context(), h.tenant.ID, id); !errors.Is(err, mail.ErrErased) {
			t.Errorf("it can still be rendered: %v", err)
		}
		if n := h.by("key_test", id); n != 1 {
			t.Errorf("%d audit events", n)
		}
		if err := o.Erase(t.Context(), "ten_other", "key_test", id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("another tenant: %v", err)
		}
		if err := h.store.HoldProfile(t.Context(), p, mail.ProfileTrouble{Code: "a test looks"}); err != nil {
			t.Fatal(err)
		}
		waits := h.submit(o, p, outbox.PurposeBatch, 1).Messages[0].ID
		var state *outbox.StateError
		if err := o.Erase(t.Context(), h.tenant.ID, "key_test", waits); !errors.As(err, &state) {
			t.Errorf("a mail that waits: %v", err)
		}
	})
}

// A failed mail is tried again by one person while another erases it: one of the two wins, and no mail without content goes out.
func TestEraseAgainstRetry(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(*mail.Rendered) mail.Verdict {
			return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "content_refused"}
		}
		o := h.engine(far, outbox.Config{})
		p := h.profile(2)
		const n = 20
		r := h.submit(o, p, outbox.PurposeBatch, n)
		h.await(r.JobID, map[mail.Status]int{mail.StatusFailed: n})
		if err := h.store.HoldProfile(t.Context(), p, mail.ProfileTrouble{Code: "a test looks"}); err != nil {
			t.Fatal(err)
		}
		for _, m := range r.Messages {
			var all sync.WaitGroup
			var erased, retried error
			all.Go(func() { erased = o.Erase(context.Background(), h.tenant.ID, "key_test", m.ID) })
			all.Go(func() { retried = o.Retry(context.Background(), h.tenant.ID, "key_test", m.ID) })
			all.Wait()
			got := h.message(m.ID)
			var state *outbox.StateError
			switch {
			case erased == nil && errors.Is(retried, outbox.ErrErased) && got.Status == mail.StatusFailed && got.Detail.Erased != nil:
			case retried == nil && errors.As(erased, &state) && got.Status == mail.StatusHeld && got.Detail.Erased == nil:
			default:
				t.Errorf("erase %v, retry %v, the message is %s, erased %+v", erased, retried, got.Status, got.Detail.Erased)
			}
		}
	})
}

// What was erased is left out when all that failed of a job is tried again.
func TestErasedIsNotRetried(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		var mended atomic.Bool
		far.answer = func(*mail.Rendered) mail.Verdict {
			if mended.Load() {
				return mail.Verdict{Outcome: mail.OutcomeSent}
			}
			return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "content_refused"}
		}
		o := h.engine(far, outbox.Config{})
		r := h.submit(o, h.profile(1), outbox.PurposeBatch, 3)
		h.await(r.JobID, map[mail.Status]int{mail.StatusFailed: 3})
		if err := o.Erase(t.Context(), h.tenant.ID, "key_test", r.Messages[1].ID); err != nil {
			t.Fatal(err)
		}
		mended.Store(true)
		retried, err := o.RetryFailed(t.Context(), h.tenant.ID, "key_test", r.JobID, nil)
		if err != nil || retried.Messages != 2 {
			t.Fatalf("%+v, %v", retried, err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusFailed: 1, mail.StatusSent: 2})
	})
}
