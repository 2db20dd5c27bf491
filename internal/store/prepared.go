package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
)

// prepared keeps the SQLite statements of the delivery path, compiled once on the one write connection, and the one that the
// readers run for it.
type prepared struct {
	mu       sync.Mutex
	stmts    map[string]*sql.Stmt
	several  map[string]*sql.Stmt // of rowsAtOnce rows, by the INSERT of one
	contents *sql.Stmt
}

// deliverySQLite lists every statement that exec, query and queryRow may be given. They are compiled together before the first
// transaction: inside one, its connection is the only one there is.
var deliverySQLite = []string{
	insertJobSQLite, insertMessageSQLite, insertContentSQLite, insertKeySQLite, insertDraftSQLite,
	markSQLite, settleSQLite, keepAttemptSQLite, outcomeEventSQLite, pickSQLite, claimOneSQLite, insertClaimSQLite, endClaimSQLite,
	saveRecordSQLite, insertBlob, insertChunk, insertAttachment,
}

// severalSQLite lists those of them that insertMany may be given.
var severalSQLite = []string{insertMessageSQLite, insertContentSQLite, insertKeySQLite, insertDraftSQLite}

func (s *Store) prepareDelivery(ctx context.Context) error {
	s.prepared.mu.Lock()
	defer s.prepared.mu.Unlock()
	if s.prepared.stmts != nil {
		return nil
	}
	var made []*sql.Stmt
	var err error
	prepare := func(db *sql.DB, query string) (st *sql.Stmt) {
		if err == nil {
			if st, err = db.PrepareContext(ctx, query); err == nil {
				made = append(made, st)
			}
		}
		return st
	}
	stmts, several := make(map[string]*sql.Stmt, len(deliverySQLite)), make(map[string]*sql.Stmt, len(severalSQLite))
	for _, query := range deliverySQLite {
		stmts[query] = prepare(s.lite, query)
	}
	for _, insert := range severalSQLite {
		several[insert] = prepare(s.lite, atOnce(insert))
	}
	contents := prepare(s.liteRead, contentsSQLite)
	if err != nil {
		for _, st := range made {
			st.Close()
		}
		return fmt.Errorf("store: prepare: %w", err)
	}
	s.prepared.stmts, s.prepared.several, s.prepared.contents = stmts, several, contents
	return nil
}

// exec runs one of deliverySQLite.
func (s *Store) exec(ctx context.Context, tx *Tx, query string, args ...any) error {
	_, err := s.execOne(ctx, tx, query, args...)
	return err
}

// execOne runs one of deliverySQLite and says whether it touched a row. A RETURNING would cost more.
func (s *Store) execOne(ctx context.Context, tx *Tx, query string, args ...any) (bool, error) {
	res, err := tx.SQL.StmtContext(ctx, s.prepared.stmts[query]).ExecContext(ctx, args...)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// rowsAtOnce is how many rows one INSERT takes where there are that many: most of the cost of a small statement is around it.
const rowsAtOnce = 32

// atOnce is an INSERT of one row, "… VALUES (…) …", as one of rowsAtOnce rows.
func atOnce(insert string) string {
	before, rest, _ := strings.Cut(insert, "VALUES (")
	depth := 1
	end := strings.IndexFunc(rest, func(r rune) bool {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		return depth == 0
	})
	row := "(" + rest[:end] + ")"
	return before + "VALUES " + row + strings.Repeat(", "+row, rowsAtOnce-1) + rest[end+1:]
}

// insertMany runs one of severalSQLite for n rows, and says how many were inserted.
func (s *Store) insertMany(ctx context.Context, tx *Tx, insert string, n int, args func(i int) []any) (inserted int, err error) {
	for i := 0; i < n; {
		stmt, rows := s.prepared.stmts[insert], 1
		if n-i >= rowsAtOnce {
			stmt, rows = s.prepared.several[insert], rowsAtOnce
		}
		var all []any
		for end := i + rows; i < end; i++ {
			all = append(all, args(i)...)
		}
		res, err := tx.SQL.StmtContext(ctx, stmt).ExecContext(ctx, all...)
		if err != nil {
			return inserted, err
		}
		k, err := res.RowsAffected()
		if err != nil {
			return inserted, err
		}
		inserted += int(k)
	}
	return inserted, nil
}

// query runs one of deliverySQLite that answers rows.
func (s *Store) query(ctx context.Context, tx *Tx, query string, args ...any) (*sql.Rows, error) {
	return tx.SQL.StmtContext(ctx, s.prepared.stmts[query]).QueryContext(ctx, args...)
}
