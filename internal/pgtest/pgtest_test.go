package pgtest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/winprest/facteur/internal/pgtest"
)

func TestRestartKeepsWhatWasCommitted(t *testing.T) {
	ctx := context.Background()
	url := pgtest.Prepared(t, "one table", func(url string) error {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, "CREATE TABLE t (n int)")
		return err
	})
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "INSERT INTO t VALUES (42)"); err != nil {
		t.Fatal(err)
	}
	pgtest.Restart(t)
	if err := conn.Ping(ctx); err == nil {
		t.Error("the connection outlived the server")
	}
	if conn, err = pgx.Connect(ctx, url); err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var n int
	if err := conn.QueryRow(ctx, "SELECT n FROM t").Scan(&n); err != nil || n != 42 {
		t.Fatalf("after the restart: %d, %v", n, err)
	}
}
