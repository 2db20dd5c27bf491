package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// invoices is a submission of n mails that bring the same documents to the same clients each time.
func (h *house) invoices(p *mail.Profile, prefix string, n int) *outbox.Submission {
	s := h.submission(p, outbox.PurposeBatch, n)
	for i := range s.Items {
		s.Items[i].Detail.Document = mail.Document{Type: "invoice", Number: fmt.Sprintf("%s/%d", prefix, i)}
	}
	return s
}

// A failed mail is tried again by one person while another sends its document anew: one of the two wins.
func TestRetryAgainstANewMail(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(*mail.Rendered) mail.Verdict {
			return mail.Verdict{Outcome: mail.OutcomePermanent, Code: "content_refused"}
		}
		o := h.engine(far, outbox.Config{})
		p := h.profile(4)
		const n = 20
		failed, err := o.Submit(t.Context(), h.invoices(p, "2026", n))
		if err != nil {
			t.Fatal(err)
		}
		h.await(failed.JobID, map[mail.Status]int{mail.StatusFailed: n})
		held := mail.ProfileTrouble{Code: "a test looks"}
		if err := h.store.HoldProfile(t.Context(), p, held); err != nil {
			t.Fatal(err)
		}
		for i, m := range failed.Messages {
			anew := h.invoices(p, "2026", n)
			anew.Items = anew.Items[i : i+1]
			var all sync.WaitGroup
			var retried, sent error
			all.Go(func() { retried = o.Retry(context.Background(), h.tenant.ID, "key_test", m.ID) })
			all.Go(func() { _, sent = o.Submit(context.Background(), anew) })
			all.Wait()
			var duplicate *store.DuplicateError
			switch {
			case retried == nil && errors.As(sent, &duplicate):
				if d := duplicate.Duplicates; len(d) != 1 || d[0].EarlierID != m.ID || d[0].Status != mail.StatusQueued {
					t.Errorf("%d: %+v", i, d)
				}
			case errors.Is(retried, outbox.ErrDocumentTaken) && sent == nil:
			default:
				t.Errorf("%d: retry %v, new mail %v", i, retried, sent)
			}
		}
	})
}

// Two processes accept the same batch at once, in opposite orders: one of them, whole.
func TestTheSameBatchInTwoProcesses(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		p := h.profile(1)
		for round := range 5 {
			var all sync.WaitGroup
			errs := make([]error, 2)
			for k := range errs {
				o, err := outbox.New(openStore(t, url), nil, outbox.Config{})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { o.Stop(context.Background()) }) //nolint:errcheck // never started
				s := h.invoices(p, fmt.Sprint("round ", round), 200)
				if k == 1 {
					for i, j := 0, len(s.Items)-1; i < j; i, j = i+1, j-1 {
						s.Items[i], s.Items[j] = s.Items[j], s.Items[i]
					}
				}
				all.Go(func() { _, errs[k] = o.Submit(context.Background(), s) })
			}
			all.Wait()
			var duplicate *store.DuplicateError
			if errs[0] != nil {
				errs[0], errs[1] = errs[1], errs[0]
			}
			if errs[0] != nil || !errors.As(errs[1], &duplicate) || len(duplicate.Duplicates) != 200 {
				t.Errorf("round %d: %v, %v", round, errs[0], errs[1])
			}
		}
	})
}

// A mail that has reached one of its two recipients is canceled before the other's turn: only the other has not got the document.
func TestCanceledHalfway(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		far.answer = func(m *mail.Rendered) mail.Verdict {
			return mail.Verdict{Outcome: mail.OutcomeSent, Recipients: []mail.RecipientVerdict{
				{Address: "slow@client.example", Outcome: mail.OutcomeTemporary, Code: mail.CodeGreylisted},
			}}
		}
		o := h.engine(far, outbox.Config{})
		p := h.profile(1)
		to := func(addresses ...string) *outbox.Submission {
			s := h.invoices(p, "2026", 1)
			s.Items[0].Draft.To = nil
			for _, a := range addresses {
				s.Items[0].Draft.To = append(s.Items[0].Draft.To, mail.Address{Address: a})
			}
			return s
		}
		r, err := o.Submit(t.Context(), to("quick@client.example", "slow@client.example"))
		if err != nil {
			t.Fatal(err)
		}
		h.await(r.JobID, map[mail.Status]int{mail.StatusDeferred: 1})
		if err := o.Cancel(t.Context(), h.tenant.ID, "key_test", r.Messages[0].ID); err != nil {
			t.Fatal(err)
		}
		var duplicate *store.DuplicateError
		if _, err := o.Submit(t.Context(), to("slow@client.example", "quick@client.example")); !errors.As(err, &duplicate) || len(duplicate.Duplicates) != 1 {
			t.Errorf("to both again: %v", err)
		}
		if _, err := o.Submit(t.Context(), to("slow@client.example")); err != nil {
			t.Errorf("to the other: %v", err)
		}
	})
}
