package store_test

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
)

func TestReadMessages(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := newProfile(t, s, newTenant(t, s))
		jobID, ids := submit(t, s, p, 4)
		otherJob, _ := submit(t, s, p, 1)
		sql(t, s, "UPDATE messages SET status = 'sent', code = $1, sent_at = 1700000000000000 WHERE id = $2", mail.CodePartlyRefused, ids[0])
		sql(t, s, "UPDATE messages SET status = 'deferred', code = 'greylisted' WHERE id = $1", ids[1])
		sql(t, s, "UPDATE messages SET status = 'failed', code = 'mailbox_unknown' WHERE id = $1", ids[2])

		m, err := s.Message(ctx, p.TenantID, ids[0])
		if err != nil || m.Status != mail.StatusSent || m.Subject != "Facture" || m.Language != "fr" || m.Detail.Document.Number != "2026/0042" ||
			m.JobID != jobID || m.ProfileID != p.ID || len(m.Recipients) != 1 || m.SentAt.Unix() != 1_700_000_000 || m.Delivery != "unknown" {
			t.Errorf("message %+v, %v", m, err)
		}
		c, err := s.MessageContent(ctx, p.TenantID, ids[0])
		if err != nil || c.Subject != "Facture" || c.Text != "Bonjour" || c.HTML != "<p>Bonjour</p>" || c.From != p.From {
			t.Errorf("content %+v, %v", c, err)
		}
		counts := func(want map[mail.Status]int) {
			t.Helper()
			j, err := s.Job(ctx, p.TenantID, jobID)
			if err != nil || !maps.Equal(j.Counts, want) || j.Partial != 1 || j.Total != 4 || j.Detail.ExternalID != "run-11" {
				t.Errorf("job %+v, %v; want %v", j, err, want)
			}
		}
		list := func(f store.MessageFilter, want ...string) {
			t.Helper()
			l, err := s.ListMessages(ctx, p.TenantID, f, store.Page{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range l.Items {
				got = append(got, m.ID)
				if f.Status != "" && m.Status != f.Status {
					t.Errorf("%s is %s", m.ID, m.Status)
				}
			}
			want = slices.Sorted(slices.Values(want))
			slices.Reverse(want)
			if !slices.Equal(got, want) {
				t.Errorf("%+v: %v, want %v", f, got, want)
			}
		}
		in := func(status mail.Status) store.MessageFilter { return store.MessageFilter{JobID: jobID, Status: status} }
		counts(map[mail.Status]int{mail.StatusSent: 1, mail.StatusDeferred: 1, mail.StatusFailed: 1, mail.StatusQueued: 1})
		list(in(mail.StatusQueued), ids[3])
		list(in(mail.StatusDeferred), ids[1])
		list(in(mail.StatusHeld))

		if err := s.HoldProfile(ctx, p, mail.ProfileTrouble{Code: "smtp_login_refused"}); err != nil {
			t.Fatal(err)
		}
		counts(map[mail.Status]int{mail.StatusSent: 1, mail.StatusHeld: 2, mail.StatusFailed: 1})
		list(in(mail.StatusQueued))
		list(in(mail.StatusDeferred))
		list(in(mail.StatusHeld), ids[1], ids[3])
		list(in(mail.StatusFailed), ids[2])
		list(in(""), ids...)
		list(store.MessageFilter{ExternalID: "F-2"}, ids[2])
		list(store.MessageFilter{ProfileID: "prf_none"})
		list(store.MessageFilter{JobID: jobID, CreatedBefore: time.Now().Add(time.Hour), CreatedAfter: time.Now().Add(-time.Hour)}, ids...)
		list(store.MessageFilter{CreatedAfter: time.Now().Add(time.Hour)})
		if m, err := s.Message(ctx, p.TenantID, ids[1]); err != nil || m.Status != mail.StatusHeld || m.Code != "smtp_login_refused" {
			t.Errorf("held %+v, %v", m, err)
		}

		jobs, err := s.ListJobs(ctx, p.TenantID, store.JobFilter{Purpose: "batch", ProfileID: p.ID}, store.Page{})
		if err != nil || len(jobs.Items) != 2 || jobs.Items[0].ID != max(jobID, otherJob) {
			t.Errorf("jobs %+v, %v", jobs, err)
		}
	})
}

func TestAttempts(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := newProfile(t, s, newTenant(t, s))
		_, ids := submit(t, s, p, 1)
		if got, err := s.Attempts(ctx, p.TenantID, ids[0]); err != nil || len(got) != 0 {
			t.Errorf("before the first: %v, %v", got, err)
		}
		var want []store.Attempt
		for n := 1; n <= 3; n++ {
			token := strconv.Itoa(n)
			claimed, err := s.Claim(ctx, p.ID, token, time.Minute, 10)
			if err != nil || len(claimed) != 1 || claimed[0].Attempts != n-1 {
				t.Fatalf("claim %d: %+v, %v", n, claimed, err)
			}
			a := store.Attempt{
				MessageID: ids[0], N: n, StartedAt: time.Unix(int64(n), 0).UTC(), FinishedAt: time.Unix(int64(n), 5000).UTC(), Outcome: mail.OutcomeTemporary,
				Detail: store.AttemptDetail{
					Scope: mail.ScopeRecipient, Code: "mailbox_busy", Step: "rcpt", Reply: mail.Reply{Code: 450, Enhanced: "4.2.1", Text: token},
					Recipients: []mail.RecipientVerdict{{Address: "zoe0@zoe.example", Outcome: mail.OutcomeTemporary, Code: "mailbox_busy"}},
				},
			}
			want = append(want, a)
			outcome := store.Settled{
				MessageID: ids[0], TenantID: p.TenantID, Token: token, Attempts: n - 1, Started: a.StartedAt, Ended: a.FinishedAt, Outcome: a.Outcome, Attempt: a.Detail,
				Settlement: mail.Settlement{Status: mail.StatusDeferred, Burnt: true, Recipients: claimed[0].Recipients, NotBefore: a.FinishedAt},
			}
			for range 2 { // the answer to the first commit may have been lost
				if _, err := s.Journal(ctx, nil, []store.Settled{outcome}, []string{token}); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := s.Attempts(ctx, p.TenantID, ids[0]); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("after %d: %+v, %v", n, got, err)
			}
		}
		if _, err := s.Attempts(ctx, newTenant(t, s), ids[0]); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("another tenant's: %v", err)
		}
	})
}

// An outcome that is fenced off between its two statements, here by a cancel, leaves no attempt in the list twice.
func TestFencedOutcomeAddsNoAttempt(t *testing.T) {
	s := open(t, pgtest.Prepared(t, "store", migrate))
	ctx := t.Context()
	p := newProfile(t, s, newTenant(t, s))
	_, ids := submit(t, s, p, 1)
	outcome := func(token string, n int) store.Settled {
		claimed, err := s.Claim(ctx, p.ID, token, time.Minute, 1)
		if err != nil || len(claimed) != 1 {
			t.Fatalf("%+v, %v", claimed, err)
		}
		return store.Settled{
			MessageID: ids[0], TenantID: p.TenantID, Token: token, Attempts: n, Started: time.Unix(int64(n), 0), Ended: time.Unix(int64(n), 0),
			Settlement: mail.Settlement{Status: mail.StatusDeferred, Burnt: true, Recipients: claimed[0].Recipients, NotBefore: time.Unix(int64(n), 0)},
		}
	}
	if _, err := s.Journal(ctx, nil, []store.Settled{outcome("one", 0)}, nil); err != nil {
		t.Fatal(err)
	}
	second := outcome("two", 1)
	done := make(chan error, 1)
	err := s.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
		err := s.ChangeMessage(ctx, tx, p.TenantID, ids[0], time.Now(), func(m *store.MessageState) error {
			m.Status = mail.StatusCanceled
			return nil
		})
		if err != nil {
			return err
		}
		go func() {
			_, err := s.Journal(context.WithoutCancel(ctx), nil, []store.Settled{second}, nil)
			done <- err
		}()
		for waits := false; !waits; { // until the journal is held up by the cancel
			const query = `SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`
			if err := s.Postgres().QueryRow(ctx, query).Scan(&waits); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got, err := s.Attempts(ctx, p.TenantID, ids[0]); err != nil || len(got) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}
