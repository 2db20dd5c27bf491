package store_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
)

func TestConcurrentMigrations(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		ctx := context.Background()
		var ran sync.WaitGroup
		var inside atomic.Int32
		for range 6 {
			ran.Go(func() {
				err := store.Migrate(ctx, url, func(context.Context, *store.Store) error {
					if inside.Add(1) != 1 {
						t.Error("two migrations at once")
					}
					runtime.Gosched()
					inside.Add(-1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		ran.Wait()
		s := open(t, url)
		if pending, err := s.MigrationsPending(ctx); err != nil || pending {
			t.Errorf("pending %v, %v", pending, err)
		}
	})
}

func TestMigrationsPendingChangesNothing(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		ctx := context.Background()
		s := open(t, url)
		for range 2 {
			if pending, err := s.MigrationsPending(ctx); err != nil || !pending {
				t.Fatalf("pending %v, %v", pending, err)
			}
		}
		if err := s.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Migrate(ctx); err != nil {
			t.Fatalf("again: %v", err)
		}
		if pending, err := s.MigrationsPending(ctx); err != nil || pending {
			t.Fatalf("pending %v, %v", pending, err)
		}
		if err := s.Ping(ctx); err != nil {
			t.Error(err)
		}
	})
}

// open opens a database as it is; the test closes it.
func open(t testing.TB, url string) *store.Store {
	t.Helper()
	keys, err := store.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return openWith(t, url, keys)
}

func openWith(t testing.TB, url string, keys *store.Keyset) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), store.Config{URL: url, Keyset: keys})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
