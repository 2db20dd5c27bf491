package store

import (
	"context"
	"strings"
	"testing"

	"github.com/winprest/facteur/internal/pgtest"
)

// A list of what is uncertain reads nothing of what is not, however long a tenant's history is and whatever is known of it.
func TestUncertainIsFoundByItsIndex(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		ctx := context.Background()
		if err := Migrate(ctx, url); err != nil {
			t.Fatal(err)
		}
		s, err := Open(ctx, Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		explain, from := "EXPLAIN QUERY PLAN ", uncertainSQLite
		if s.pg != nil {
			explain, from = "EXPLAIN ", uncertainPostgres
		}
		query := "SELECT m.* FROM " + strings.Replace(from, "?", "'ten_1'", 1) + " WHERE m.tenant_id = 'ten_1' ORDER BY m.id DESC LIMIT 51"
		plan, err := s.plan(explain + query)
		if err != nil || !strings.Contains(plan, "messages_uncertain") || strings.Contains(plan, "Seq Scan on messages") {
			t.Errorf("%v\n%s", err, plan)
		}
	})
}
