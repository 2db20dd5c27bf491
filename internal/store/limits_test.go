package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// limited makes a profile with limits and n messages, and gives a claim of it.
func limited(t *testing.T, s *store.Store, l mail.Limits, n int) (p *mail.Profile, claim func(token string, lease time.Duration, n, want int)) {
	t.Helper()
	p = testProfile(newTenant(t, s))
	p.Limits = l
	if err := s.CreateProfile(context.Background(), p, nil); err != nil {
		t.Fatal(err)
	}
	submit(t, s, p, n)
	return p, func(token string, lease time.Duration, n, want int) {
		t.Helper()
		claimed, err := s.ClaimWithin(context.Background(), p.ID, token, lease, n)
		if err != nil || len(claimed) != want {
			t.Fatalf("claim %s: %d of %d, %v", token, len(claimed), want, err)
		}
	}
}

func TestClaimWithinLimits(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p, claim := limited(t, s, mail.Limits{PerDay: 10}, 30)
		claim("a", time.Minute, 4, 4)
		claim("b", time.Minute, 64, 6)
		claim("c", time.Minute, 64, 0)
		full, err := s.Profile(ctx, p.TenantID, p.ID)
		if err != nil || full.LimitedBy != mail.LimitPerDay || time.Until(full.LimitedUntil) < 23*time.Hour || full.Hold != nil || full.Pause != nil {
			t.Errorf("%+v, %v", full, err)
		}
		if rings, err := s.DueProfiles(ctx, time.Minute, time.Time{}); err != nil || len(rings) != 0 {
			t.Errorf("woken without room: %+v, %v", rings, err)
		}
		// One of a was handed over: three come back.
		if err := s.Spend(ctx, p.ID, "a", 1); err != nil {
			t.Fatal(err)
		}
		if rings, err := s.DueProfiles(ctx, time.Minute, time.Time{}); err != nil || len(rings) != 1 {
			t.Errorf("not woken for what was given back: %+v, %v", rings, err)
		}
		claim("d", time.Minute, 64, 3)
		for token, mails := range map[string]int{"b": 6, "d": 3} {
			if err := s.Spend(ctx, p.ID, token, mails); err != nil {
				t.Fatal(err)
			}
		}
		claim("e", time.Minute, 64, 0)
		// An edit is looked at once.
		if full, err = s.Profile(ctx, p.TenantID, p.ID); err != nil {
			t.Fatal(err)
		}
		full.Limits.PerDay = 12
		if err := s.UpdateProfile(ctx, full, 0); err != nil {
			t.Fatal(err)
		}
		claim("f", time.Minute, 64, 2)
		full.Limits = mail.Limits{}
		if err := s.UpdateProfile(ctx, full, 0); err != nil {
			t.Fatal(err)
		}
		claim("g", time.Minute, 64, 15)
	})
}

// What a dead process had claimed counts as handed over, once.
func TestLostClaimsCountAsUsed(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p, claim := limited(t, s, mail.Limits{PerDay: 10}, 30)
		claim("dead", -time.Minute, 4, 4)
		if n, err := s.ReapUnclaimed(ctx); err != nil || n != 4 {
			t.Fatalf("%d reaped, %v", n, err)
		}
		for range 2 {
			if err := s.ForgetClaims(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if n := count(t, s, `SELECT count(*) FROM claims`); n != 0 {
			t.Errorf("%d claims are left", n)
		}
		claim("a", time.Minute, 64, 6)
		// It was not dead after all, and says so too late: better twice than not at all.
		if err := s.Spend(ctx, p.ID, "dead", 2); err != nil {
			t.Fatal(err)
		}
		if err := s.Spend(ctx, p.ID, "a", 0); err != nil {
			t.Fatal(err)
		}
		claim("b", time.Minute, 64, 4)
	})
}
