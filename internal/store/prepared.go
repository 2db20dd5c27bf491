package store

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
)

// prepared keeps the SQLite statements of the delivery path, compiled once on the one write connection, and the one that the
// readers run for it.
type prepared struct {
	mu       sync.Mutex
	stmts    map[string]*sql.Stmt
	contents *sql.Stmt
}

// deliverySQLite lists every statement that exec, query and queryRow may be given. They are compiled together before the first
// transaction: inside one, its connection is the only one there is.
var deliverySQLite = []string{
	insertJobSQLite, insertMessageSQLite, insertContentSQLite, insertKeySQLite,
	markSQLite, settleSQLite, keepAttemptSQLite, pickSQLite, claimOneSQLite, insertClaimSQLite, endClaimSQLite,
	saveRecordSQLite, insertBlob, insertChunk, insertAttachment,
}

func (s *Store) prepareDelivery(ctx context.Context) error {
	s.prepared.mu.Lock()
	defer s.prepared.mu.Unlock()
	if s.prepared.stmts != nil {
		return nil
	}
	stmts := make(map[string]*sql.Stmt, len(deliverySQLite))
	for _, query := range deliverySQLite {
		st, err := s.lite.PrepareContext(ctx, query)
		if err != nil {
			for _, st := range stmts {
				st.Close()
			}
			return fmt.Errorf("store: prepare: %w", err)
		}
		stmts[query] = st
	}
	contents, err := s.liteRead.PrepareContext(ctx, contentsSQLite)
	if err != nil {
		for _, st := range stmts {
			st.Close()
		}
		return fmt.Errorf("store: prepare: %w", err)
	}
	s.prepared.stmts, s.prepared.contents = stmts, contents
	return nil
}

// exec runs one of deliverySQLite.
func (s *Store) exec(ctx context.Context, tx *Tx, query string, args ...any) error {
	_, err := tx.SQL.StmtContext(ctx, s.prepared.stmts[query]).ExecContext(ctx, args...)
	return err
}

// query runs one of deliverySQLite that answers rows.
func (s *Store) query(ctx context.Context, tx *Tx, query string, args ...any) (*sql.Rows, error) {
	return tx.SQL.StmtContext(ctx, s.prepared.stmts[query]).QueryContext(ctx, args...)
}

// queryRow runs one of deliverySQLite that answers a row.
func (s *Store) queryRow(ctx context.Context, tx *Tx, query string, args ...any) *sql.Row {
	return tx.SQL.StmtContext(ctx, s.prepared.stmts[query]).QueryRowContext(ctx, args...)
}
