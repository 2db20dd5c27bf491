package store_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/winprest/facteur/internal/store"
)

func TestAuthenticate(t *testing.T) {
	bothURLs(t, func(t *testing.T, url string) {
		ctx := context.Background()
		s := open(t, url)
		tenant := newTenant(t, s)
		key, plaintext, err := s.CreateKey(ctx, tenant, "WinPrest", []store.Scope{store.ScopeSend, store.ScopeRead})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(plaintext, "fct_"+strings.TrimPrefix(key.ID, "key_")+"_") {
			t.Errorf("%s for %s", plaintext, key.ID)
		}
		got, err := s.Authenticate(ctx, plaintext)
		if err != nil || !reflect.DeepEqual(got, key) || !got.Has(store.ScopeSend) || got.Has(store.ScopeManage) {
			t.Fatalf("authenticated %+v, %v", got, err)
		}
		_, another, err := s.CreateKey(ctx, "", "operator", []store.Scope{store.ScopeOperator})
		if err != nil {
			t.Fatal(err)
		}
		if op, err := s.Authenticate(ctx, another); err != nil || op.TenantID != "" || !op.Has(store.ScopeOperator) {
			t.Errorf("operator %+v, %v", op, err)
		}
		wrong := []string{
			"", "fct_", "fct__", plaintext[:len(plaintext)-1], plaintext + "a", strings.ToUpper(plaintext), " " + plaintext,
			plaintext[:len(plaintext)-1] + "!", plaintext[:21] + another[21:], "fct_" + strings.Repeat("0", 16) + plaintext[20:],
			"fct_" + strings.Repeat("\x00", 16) + plaintext[20:], strings.Replace(plaintext, "_", "-", 1),
		}
		for _, w := range wrong {
			if k, err := s.Authenticate(ctx, w); err != store.ErrUnauthenticated || k != nil { //nolint:errorlint // the same for everything
				t.Errorf("%q: %+v, %v", w, k, err)
			}
		}
		if err := s.RevokeKey(ctx, tenant, key.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Authenticate(ctx, plaintext); err != store.ErrUnauthenticated { //nolint:errorlint // the same for everything
			t.Errorf("revoked: %v", err)
		}
		if err := s.RevokeKey(ctx, tenant, key.ID); err != nil {
			t.Errorf("revoke again: %v", err)
		}
		if _, err := open(t, url).Authenticate(ctx, plaintext); err != store.ErrUnauthenticated { //nolint:errorlint // the same for everything
			t.Errorf("revoked, in another process: %v", err)
		}
	})
}

func TestLastUseIsWritten(t *testing.T) {
	bothURLs(t, func(t *testing.T, url string) {
		ctx := context.Background()
		keys, err := store.NewKeyset()
		if err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(ctx, store.Config{URL: url, Keyset: keys})
		if err != nil {
			t.Fatal(err)
		}
		tenant := newTenant(t, s)
		key, plaintext, err := s.CreateKey(ctx, tenant, "k", []store.Scope{store.ScopeSend})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				for range 100 {
					if _, err := s.Authenticate(ctx, plaintext); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if err := s.Close(); err != nil { // waits for what is being written
			t.Fatal(err)
		}
		l, err := open(t, url).ListKeys(ctx, tenant, store.Page{})
		if err != nil || len(l.Items) != 1 || l.Items[0].ID != key.ID || l.Items[0].LastUsedAt.IsZero() {
			t.Errorf("keys %+v, %v", l, err)
		}
	})
}

func TestKeyScopes(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		tenant := newTenant(t, s)
		for _, c := range []struct {
			tenant string
			scopes []store.Scope
			want   error
		}{
			{tenant, nil, store.ErrScope},
			{tenant, []store.Scope{"fly"}, store.ErrScope},
			{tenant, []store.Scope{store.ScopeSend, store.ScopeOperator}, store.ErrScope},
			{"", []store.Scope{store.ScopeOperator, store.ScopeSend}, store.ErrScope},
			{"tnt_none", []store.Scope{store.ScopeSend}, store.ErrNotFound},
			{tenant, []store.Scope{store.ScopeManage}, nil},
		} {
			if _, _, err := s.CreateKey(ctx, c.tenant, "k", c.scopes); !errors.Is(err, c.want) {
				t.Errorf("%v for %q: %v", c.scopes, c.tenant, err)
			}
		}
	})
}
