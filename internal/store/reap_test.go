package store

import (
	"context"
	"strings"
	"testing"

	"github.com/winprest/facteur/internal/pgtest"
)

// The reaper finds messages by their claim from the first day on, when there are no statistics, and on SQLite there never are:
// else every sweep would read all that a tenant has ever sent.
func TestReaperLooksUpMessages(t *testing.T) {
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
		explain, queries := "EXPLAIN QUERY PLAN ", map[string]string{"unclaim": unclaimSQLite, "lost": lostSQLite, "forget": forgetSQLite}
		want := "SEARCH m USING INDEX sqlite_autoindex_messages_1 (tenant_id=? AND id=?)"
		if s.pg != nil {
			explain, queries = "EXPLAIN ", map[string]string{"unclaim": unclaimPostgres, "lost": lostPostgres, "forget": forgetPostgres}
			want = "Index Cond: ((tenant_id = c.tenant_id) AND (id = i.id))"
		}
		for name, query := range queries {
			plan, err := s.plan(explain + query)
			if err != nil || !strings.Contains(plan, want) {
				t.Errorf("%s: %v\n%s", name, err, plan)
			}
		}
	})
}

// plan gives the last column of an EXPLAIN.
func (s *Store) plan(query string) (string, error) {
	db, err := s.db.DB()
	if err != nil {
		return "", err
	}
	rows, err := db.Query(query)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var b strings.Builder
	for rows.Next() {
		var skip any
		var line string
		dest := []any{&line}
		if s.pg == nil {
			dest = []any{&skip, &skip, &skip, &line}
		}
		if err := rows.Scan(dest...); err != nil {
			return "", err
		}
		b.WriteString(line + "\n")
	}
	return b.String(), rows.Err()
}
