package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

func suppress(t *testing.T, s *store.Store, tenant, address string) *store.Suppression {
	t.Helper()
	p := &store.Suppression{TenantID: tenant, Address: address, Reason: mail.SuppressedManual, Note: "asked by phone", CreatedBy: "key_x"}
	if err := s.AddSuppression(context.Background(), p, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSuppressions(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		mine, other := newTenant(t, s), newTenant(t, s)
		if has, err := s.Suppresses(ctx, mine); err != nil || has {
			t.Fatalf("a new tenant suppresses: %v %v", has, err)
		}
		p := suppress(t, s, mine, " Zoë@CAFÉ.example ")
		if p.Address != "zoë@xn--caf-dma.example" {
			t.Errorf("normal form %q", p.Address)
		}
		// What this process adds is known at once, although it has just said that there is none.
		if has, err := s.Suppresses(ctx, mine); err != nil || !has {
			t.Errorf("Suppresses: %v %v", has, err)
		}
		if err := s.AddSuppression(ctx, &store.Suppression{TenantID: mine, Address: "zoë@café.example"}, nil); !errors.Is(err, store.ErrConflict) {
			t.Errorf("added twice: %v", err)
		}
		suppress(t, s, other, "else@zoe.example")

		asked := []string{"ZOË@café.example", "else@zoe.example", "free@zoe.example", "no address"}
		found, err := s.Suppressed(ctx, mine, asked)
		if err != nil || len(found) != 1 || found[asked[0]].ID != p.ID || found[asked[0]].Reason != mail.SuppressedManual {
			t.Errorf("Suppressed: %+v %v", found, err)
		}
		for _, f := range []struct {
			filter store.SuppressionFilter
			want   int
		}{
			{store.SuppressionFilter{}, 1},
			{store.SuppressionFilter{Address: "Zoë@café.example", Reason: mail.SuppressedManual}, 1},
			{store.SuppressionFilter{Address: "else@zoe.example"}, 0},
			{store.SuppressionFilter{Reason: mail.SuppressedBounce}, 0},
		} {
			if n, err := size(s.ListSuppressions(ctx, mine, f.filter, store.Page{})); err != nil || n != f.want {
				t.Errorf("%+v: %d, want %d, %v", f.filter, n, f.want, err)
			}
		}
		if err := s.LiftSuppression(ctx, other, p.ID, "key_y"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("lifted by another tenant: %v", err)
		}
		if err := s.LiftSuppression(ctx, mine, p.ID, "key_y"); err != nil {
			t.Fatal(err)
		}
		if has, err := s.Suppresses(ctx, mine); err != nil || has {
			t.Errorf("lifted: %v %v", has, err)
		}
		l, err := s.ListAudit(ctx, mine, store.Page{})
		if err != nil || len(l.Items) != 2 || l.Items[0].Action != "suppression.lift" || l.Items[0].Actor != "key_y" || l.Items[0].Subject != p.ID {
			t.Errorf("audit: %+v %v", l, err)
		}
	})
}
