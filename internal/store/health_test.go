package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

func TestHealth(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := newProfile(t, s, newTenant(t, s))
		get := func() *store.Health {
			t.Helper()
			h, err := s.Health(ctx, p.TenantID, p.ID)
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		if h := get(); h.Waiting != 0 || h.Connections != 0 || !h.OldestSince.IsZero() || !h.NextDue.IsZero() || time.Since(h.At).Abs() > time.Minute {
			t.Errorf("nothing there: %+v", h)
		}
		_, ids := submit(t, s, p, 7)
		soon := time.Now().Add(time.Hour).UnixMicro()
		sql(t, s, "UPDATE messages SET status = 'sent' WHERE id = $1", ids[0])
		sql(t, s, "UPDATE messages SET status = 'deferred', not_before = $1 WHERE id = $2", soon, ids[1])
		sql(t, s, "UPDATE messages SET status = 'uncertain' WHERE id = $1", ids[2])
		claimed, err := s.Claim(ctx, p.ID, "tok", time.Minute, 2)
		if err != nil || len(claimed) != 2 {
			t.Fatal(claimed, err)
		}
		sql(t, s, "UPDATE lanes SET token = 'lane', lease_until = $1 WHERE profile_id = $2 AND lane = 0", soon, p.ID)
		h := get()
		if h.Waiting != 3 || h.Deferred != 1 || h.Due != 2 || h.Sending != 2 || h.Uncertain != 1 || h.Connections != 1 || h.More {
			t.Errorf("%+v", h)
		}
		if m, err := s.Message(ctx, p.TenantID, ids[5]); err != nil || h.OldestSince.After(m.CreatedAt) || h.NextDue.After(time.Now()) {
			t.Errorf("oldest %s, next due %s, %v", h.OldestSince, h.NextDue, err)
		}
		sql(t, s, "UPDATE lanes SET lease_until = 1 WHERE profile_id = $1", p.ID)
		if h := get(); h.Connections != 0 {
			t.Errorf("a connection of a dead process counts")
		}
		if _, err := s.Health(ctx, newTenant(t, s), p.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("another tenant: %v", err)
		}

		p.Limits = mail.Limits{PerDay: 10}
		if err := s.UpdateProfile(ctx, p, 0); err != nil {
			t.Fatal(err)
		}
		sql(t, s, "UPDATE messages SET not_before = 0 WHERE status = 'deferred'")
		open, err := s.ClaimWithin(ctx, p.ID, "tok2", time.Minute, 2)
		if err != nil || len(open) != 2 {
			t.Fatal(open, err)
		}
		if h := get(); h.Open != 2 || len(h.Used) != 0 {
			t.Errorf("on their way: %+v", h)
		}
		if err := s.Spend(ctx, p.ID, "tok2", 2); err != nil {
			t.Fatal(err)
		}
		h = get()
		uses := h.Profile.Limits.Uses(h.Used, h.Open, h.At)
		if len(uses) != 1 || uses[0] != (mail.WindowUse{Limit: mail.LimitPerDay, Max: 10, Used: 2, Left: 8}) {
			t.Errorf("handed over: %+v, %+v", h, uses)
		}
	})
}
