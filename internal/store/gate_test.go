package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// A pause reaches what a lane has claimed: its mark is refused, so that nothing is handed over once the pause is answered. What was
// marked keeps its course.
func TestPauseFencesClaims(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := newProfile(t, s, newTenant(t, s))
		jobID, ids := submit(t, s, p, 3)
		claimed, err := s.Claim(ctx, p.ID, "a", time.Minute, 2)
		if err != nil || len(claimed) != 2 {
			t.Fatalf("%d claimed, %v", len(claimed), err)
		}
		mark := func(i int) bool {
			t.Helper()
			j, err := s.Journal(ctx, []store.Mark{{TenantID: p.TenantID, MessageID: claimed[i].ID, Token: "a"}}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			return j.Marked[store.Mark{TenantID: p.TenantID, MessageID: claimed[i].ID, Token: "a"}]
		}
		if !mark(0) {
			t.Fatal("the first is not marked")
		}
		err = s.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
			job, err := s.LockJob(ctx, tx, p.TenantID, jobID)
			if err != nil {
				return err
			}
			n, err := s.PauseMessages(ctx, tx, job, store.Now())
			if err == nil && n != 2 {
				t.Errorf("%d messages paused", n)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if mark(1) {
			t.Error("what was only claimed is handed over after the pause")
		}
		for i, want := range []mail.Status{mail.StatusSending, mail.StatusPaused, mail.StatusPaused} {
			if m, err := s.Message(ctx, p.TenantID, ids[i]); err != nil || m.Status != want {
				t.Errorf("message %d is %s, want %s, %v", i, m.Status, want, err)
			}
		}
	})
}
