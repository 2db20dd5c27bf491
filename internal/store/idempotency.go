package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// IdempotencyRecord is the answer that a key's first request got. It is stored in the transaction of what that request
// made, so that neither exists without the other.
type IdempotencyRecord struct {
	TenantID    string // empty: an operator's request
	Key         string
	RequestHash string // of the request; another request under the same key is refused
	Status      int
	Headers     map[string]string
	Body        []byte // never holds a secret
	CreatedAt   time.Time
}

type idempotencyRow struct {
	TenantID    string `gorm:"primaryKey"`
	Key         string `gorm:"primaryKey"`
	RequestHash string
	Status      int
	Headers     string
	Body        []byte
	CreatedAt   int64 `gorm:"autoCreateTime:false"`
}

func (idempotencyRow) TableName() string { return "idempotency_records" }

func (r *IdempotencyRecord) row() (*idempotencyRow, error) {
	headers := []byte("{}")
	if len(r.Headers) > 0 {
		var err error
		if headers, err = json.Marshal(r.Headers); err != nil {
			return nil, fmt.Errorf("store: idempotency headers: %w", err)
		}
	}
	row := &idempotencyRow{
		TenantID: r.TenantID, Key: r.Key, RequestHash: r.RequestHash, Status: r.Status, Headers: string(headers), Body: r.Body,
		CreatedAt: micros(r.CreatedAt),
	}
	if row.CreatedAt == 0 {
		row.CreatedAt = micros(time.Now())
	}
	if row.Body == nil {
		row.Body = []byte{}
	}
	return row, nil
}

// Replay gives the record of a key, ErrNotFound when the key was not used.
func (s *Store) Replay(ctx context.Context, tenantID, key string) (*IdempotencyRecord, error) {
	var row idempotencyRow
	if err := s.ro.WithContext(ctx).Where("tenant_id = ? AND key = ?", tenantID, key).Take(&row).Error; err != nil {
		return nil, failed("replay", err)
	}
	r := &IdempotencyRecord{
		TenantID: row.TenantID, Key: row.Key, RequestHash: row.RequestHash, Status: row.Status, Body: row.Body,
		CreatedAt: fromMicros(row.CreatedAt),
	}
	if err := json.Unmarshal([]byte(row.Headers), &r.Headers); err != nil {
		return nil, fmt.Errorf("store: idempotency headers: %w", err)
	}
	return r, nil
}

// create runs fn in a transaction that also stores rec, when there is one. A used key is ErrKeyUsed and fn does not run.
func (s *Store) create(ctx context.Context, doing string, rec *IdempotencyRecord, fn func(tx *gorm.DB) error) error {
	return failed(doing, s.transaction(ctx, func(tx *gorm.DB) error {
		if rec != nil {
			row, err := rec.row()
			if err != nil {
				return err
			}
			saved := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(row)
			if saved.Error != nil {
				return saved.Error
			}
			if saved.RowsAffected == 0 {
				return ErrKeyUsed
			}
		}
		return fn(tx)
	}))
}

const (
	saveRecordsPostgres = `INSERT INTO idempotency_records (tenant_id, key, request_hash, status, headers, body, created_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[], $6::bytea[], $7::bigint[])
ON CONFLICT DO NOTHING RETURNING tenant_id, key`
	saveRecordSQLite = `INSERT INTO idempotency_records (tenant_id, key, request_hash, status, headers, body, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`
)

// SaveIdempotency writes records in a transaction of the delivery path and gives the indexes of those whose key is taken, by
// an earlier request or by an earlier one of recs. Entries may be nil: they are left out and conflict with nothing.
func (s *Store) SaveIdempotency(ctx context.Context, tx *Tx, recs []*IdempotencyRecord) (conflicts []int, err error) {
	rows := make([]*idempotencyRow, len(recs))
	order := make([]int, 0, len(recs))
	for i, r := range recs {
		if r == nil {
			continue
		}
		if rows[i], err = r.row(); err != nil {
			return nil, err
		}
		order = append(order, i)
	}
	if len(order) == 0 {
		return nil, nil
	}
	// In one order for everybody, or two transactions that share two keys wait for each other for ever.
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(rows[a].TenantID, rows[b].TenantID), cmp.Compare(rows[a].Key, rows[b].Key))
	})
	if tx.PG != nil {
		conflicts, err = saveRecordsInPostgres(ctx, tx.PG, rows, order)
	} else {
		conflicts, err = s.saveRecordsInSQLite(ctx, tx, rows, order)
	}
	if err != nil {
		return nil, fmt.Errorf("store: save idempotency records: %w", err)
	}
	slices.Sort(conflicts)
	return conflicts, nil
}

func saveRecordsInPostgres(ctx context.Context, tx pgx.Tx, rows []*idempotencyRow, order []int) (conflicts []int, err error) {
	texts := newColumns(4, len(order))
	var status []int32
	var bodies [][]byte
	var created []int64
	for _, i := range order {
		r := rows[i]
		texts.add(r.TenantID, r.Key, r.RequestHash, r.Headers)
		status = append(status, int32(r.Status))
		bodies = append(bodies, r.Body)
		created = append(created, r.CreatedAt)
	}
	answer, err := tx.Query(ctx, saveRecordsPostgres, texts[0], texts[1], texts[2], status, texts[3], bodies, created)
	if err != nil {
		return nil, err
	}
	type key struct{ tenant, key string }
	saved := make(map[key]bool, len(order))
	var k key
	if _, err := pgx.ForEachRow(answer, []any{&k.tenant, &k.key}, func() error { saved[k] = true; return nil }); err != nil {
		return nil, err
	}
	for _, i := range order {
		k := key{rows[i].TenantID, rows[i].Key}
		if !saved[k] {
			conflicts = append(conflicts, i)
		}
		delete(saved, k) // a second one of the same batch was not saved
	}
	return conflicts, nil
}

func (s *Store) saveRecordsInSQLite(ctx context.Context, tx *Tx, rows []*idempotencyRow, order []int) (conflicts []int, err error) {
	insert := tx.SQL.StmtContext(ctx, s.prepared.stmts[saveRecordSQLite])
	for _, i := range order {
		r := rows[i]
		res, err := insert.ExecContext(ctx, r.TenantID, r.Key, r.RequestHash, r.Status, r.Headers, r.Body, r.CreatedAt)
		if err != nil {
			return nil, err
		}
		if n, err := res.RowsAffected(); err != nil {
			return nil, err
		} else if n == 0 {
			conflicts = append(conflicts, i)
		}
	}
	return conflicts, nil
}

// SweepIdempotency forgets records that are older than age, and says how many.
func (s *Store) SweepIdempotency(ctx context.Context, age time.Duration) (int, error) {
	gone := s.db.WithContext(ctx).Where("created_at < ?", micros(time.Now().Add(-age))).Delete(&idempotencyRow{})
	return int(gone.RowsAffected), failed("sweep idempotency records", gone.Error)
}
