package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/winprest/facteur/internal/mail"
)

// A lane is the right to hold one connection of a profile, on whatever machine. Three rules keep wake-ups from being lost:
//
//  1. Who adds messages locks lane 0 of the profile, in the transaction that adds them, and then wakes a sleeping lane.
//  2. A lane that goes to sleep locks lane 0 too, and sleeps only if it then finds nothing due.
//  3. What is left (a process that died, messages that become due by the clock) is found by SweepLanes every second.
//
// Because of the lock either the adder sees the lane asleep, or the lane sees the message.

// Lane names one lane.
type Lane struct {
	ProfileID string
	Number    int
}

// Wake is a lane that was marked awake and for which the caller must insert a wake-up job in the same transaction.
type Wake struct {
	Lane
	Priority mail.Priority
}

// Ring asks for lanes of a profile because messages were added.
type Ring struct {
	ProfileID string
	Messages  int
	Priority  mail.Priority
}

// awake values of the lanes table.
func awakeFor(p mail.Priority) int {
	if p == mail.PriorityOneOff {
		return 2
	}
	return 1
}

// nowPostgres and nowSQLite are the database's clock in microseconds. The PostgreSQL form is stable within a statement, so
// that it can bound an index scan.
const (
	nowPostgres = `(extract(epoch FROM statement_timestamp()) * 1000000)::bigint`
	nowSQLite   = `CAST(unixepoch('subsec') * 1000000 AS integer)`
)

// RingLanes wakes as many sleeping lanes of each profile as there are new messages. For a one-off mail, when every lane
// is awake but the first still waits for its turn behind batches, the first is woken again with the higher priority. It is
// ErrNotFound when a profile was deleted meanwhile.
func (s *Store) RingLanes(ctx context.Context, tx *Tx, rings []Ring) ([]Wake, error) {
	var wakes []Wake
	for _, r := range rings {
		w, err := tx.ring(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("store: ring lanes: %w", err)
		}
		wakes = append(wakes, w...)
	}
	return wakes, nil
}

// lanesAllowed is how many lanes of a profile p may work. After a pause it is one, until a mail has got through.
const lanesAllowed = `(CASE WHEN p.pause_count > 0 THEN 1 ELSE p.max_connections END)`

const (
	lockLaneZero = `SELECT 1 FROM lanes WHERE profile_id = $1 AND lane = 0 FOR UPDATE`
	// The lock holds off a deletion until the messages that are to be sent can be seen by it; one that came before is seen here.
	standsPostgres = standsSQLite + ` FOR KEY SHARE`
	standsSQLite   = `SELECT 1 FROM sender_profiles WHERE id = $1 AND deleted_at IS NULL`
	wakePostgres   = `UPDATE lanes SET awake = $3, rung_at = ` + nowPostgres + ` WHERE profile_id = $1 AND lane IN (
	SELECT l.lane FROM lanes l JOIN sender_profiles p ON p.id = l.profile_id
	WHERE l.profile_id = $1 AND l.lane < ` + lanesAllowed + ` AND l.awake = 0 ORDER BY l.lane LIMIT $2) AND awake = 0 RETURNING lane`
	wakeSQLite = `UPDATE lanes SET awake = $3, rung_at = ` + nowSQLite + ` WHERE profile_id = $1 AND lane IN (
	SELECT l.lane FROM lanes l JOIN sender_profiles p ON p.id = l.profile_id
	WHERE l.profile_id = $1 AND l.lane < ` + lanesAllowed + ` AND l.awake = 0 ORDER BY l.lane LIMIT $2) RETURNING lane`
	overtakePostgres = `UPDATE lanes SET awake = 2 WHERE profile_id = $1 AND lane = 0 AND awake = 1 AND (token IS NULL OR lease_until < ` + nowPostgres + `) RETURNING lane`
	overtakeSQLite   = `UPDATE lanes SET awake = 2 WHERE profile_id = $1 AND lane = 0 AND awake = 1 AND (token IS NULL OR lease_until < ` + nowSQLite + `) RETURNING lane`
)

func (tx *Tx) ring(ctx context.Context, r Ring) ([]Wake, error) {
	if tx.PG != nil {
		if _, err := tx.PG.Exec(ctx, lockLaneZero, r.ProfileID); err != nil {
			return nil, err
		}
	}
	stands, err := column[int](ctx, tx, standsPostgres, standsSQLite, r.ProfileID)
	if err != nil {
		return nil, err
	}
	if len(stands) == 0 {
		return nil, ErrNotFound
	}
	lanes, err := column[int](ctx, tx, wakePostgres, wakeSQLite, r.ProfileID, r.Messages, awakeFor(r.Priority))
	if err != nil {
		return nil, err
	}
	if len(lanes) == 0 && r.Priority == mail.PriorityOneOff {
		if lanes, err = column[int](ctx, tx, overtakePostgres, overtakeSQLite, r.ProfileID); err != nil {
			return nil, err
		}
	}
	wakes := make([]Wake, len(lanes))
	for i, n := range lanes {
		wakes[i] = Wake{Lane{r.ProfileID, n}, r.Priority}
	}
	return wakes, nil
}

// column runs the statement of the transaction's database and gives its one column.
func column[T any](ctx context.Context, tx *Tx, postgres, sqlite string, args ...any) (out []T, err error) {
	var v T
	err = tx.each(ctx, postgres, sqlite, args, []any{&v}, func() { out = append(out, v) })
	return out, err
}

// each runs the statement of the transaction's database, and has every row scanned to dest and then taken.
func (tx *Tx) each(ctx context.Context, postgres, sqlite string, args, dest []any, take func()) error {
	if tx.PG != nil {
		rows, err := tx.PG.Query(ctx, postgres, args...)
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, dest, func() error { take(); return nil })
		return err
	}
	rows, err := tx.SQL.QueryContext(ctx, sqlite, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		take()
	}
	return rows.Err()
}

// row runs the statement of the transaction's database and scans its one row.
func (tx *Tx) row(ctx context.Context, postgres, sqlite string, args []any, dest ...any) error {
	if tx.PG != nil {
		return tx.PG.QueryRow(ctx, postgres, args...).Scan(dest...)
	}
	return tx.SQL.QueryRowContext(ctx, sqlite, args...).Scan(dest...)
}

// one runs the statement of the transaction's database and says whether it touched a row.
func (tx *Tx) one(ctx context.Context, postgres, sqlite string, args ...any) (bool, error) {
	n, err := tx.affect(ctx, postgres, sqlite, args...)
	return n > 0, err
}

// affect runs the statement of the transaction's database and gives how many rows it touched.
func (tx *Tx) affect(ctx context.Context, postgres, sqlite string, args ...any) (int, error) {
	if tx.PG != nil {
		tag, err := tx.PG.Exec(ctx, postgres, args...)
		return int(tag.RowsAffected()), err
	}
	res, err := tx.SQL.ExecContext(ctx, sqlite, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

const (
	takeLanePostgres = `UPDATE lanes SET token = $3, lease_until = ` + nowPostgres + ` + $4 WHERE profile_id = $1 AND lane = $2 AND awake > 0
	AND (token IS NULL OR lease_until < ` + nowPostgres + `) ` + isLimited
	takeLaneSQLite = `UPDATE lanes SET token = $3, lease_until = ` + nowSQLite + ` + $4 WHERE profile_id = $1 AND lane = $2 AND awake > 0
	AND (token IS NULL OR lease_until < ` + nowSQLite + `) ` + isLimited
	isLimited   = `RETURNING (SELECT per_minute > 0 OR per_hour > 0 OR per_day > 0 FROM sender_profiles WHERE id = $1)`
	restLane    = `UPDATE lanes SET awake = 0, token = NULL, lease_until = 0 WHERE profile_id = $1 AND lane = $2 AND token = $3`
	duePostgres = `SELECT 1 FROM sender_profiles p WHERE p.id = $1 AND p.hold IS NULL AND p.deleted_at IS NULL AND p.paused_until <= ` + nowPostgres + ` AND p.limited_until <= ` + nowPostgres + ` AND (
	EXISTS (SELECT 1 FROM messages WHERE profile_id = $1 AND waiting IN ('queued', 'deferred') AND priority = 0 AND not_before <= ` + nowPostgres + `)
	OR EXISTS (SELECT 1 FROM messages WHERE profile_id = $1 AND waiting IN ('queued', 'deferred') AND priority = 1 AND not_before <= ` + nowPostgres + `))`
	dueSQLite = `SELECT 1 FROM sender_profiles p WHERE p.id = $1 AND p.hold IS NULL AND p.deleted_at IS NULL AND p.paused_until <= ` + nowSQLite + ` AND p.limited_until <= ` + nowSQLite + ` AND (
	EXISTS (SELECT 1 FROM messages WHERE profile_id = $1 AND waiting IN ('queued', 'deferred') AND priority = 0 AND not_before <= ` + nowSQLite + `)
	OR EXISTS (SELECT 1 FROM messages WHERE profile_id = $1 AND waiting IN ('queued', 'deferred') AND priority = 1 AND not_before <= ` + nowSQLite + `))`
	yieldPostgres = `UPDATE lanes SET token = NULL, lease_until = 0, awake = 1, rung_at = ` + nowPostgres + ` WHERE profile_id = $1 AND lane = $2 AND token = $3`
	yieldSQLite   = `UPDATE lanes SET token = NULL, lease_until = 0, awake = 1, rung_at = ` + nowSQLite + ` WHERE profile_id = $1 AND lane = $2 AND token = $3`
)

// TakeLane gives the lane to token for the lease. It is false when the lane sleeps or another holds it. limited says that the
// profile has limits.
func (s *Store) TakeLane(ctx context.Context, l Lane, token string, lease time.Duration) (ok, limited bool, err error) {
	err = s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		taken, err := column[bool](ctx, tx, takeLanePostgres, takeLaneSQLite, l.ProfileID, l.Number, token, lease.Microseconds())
		ok = len(taken) > 0
		limited = ok && taken[0]
		return err
	})
	return ok, limited, err
}

// RestLane puts the lane to sleep unless the profile has a message due and, as far as is known, room for it. It is false when
// there is one and the lane stays.
func (s *Store) RestLane(ctx context.Context, l Lane, token string) (asleep bool, err error) {
	err = s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		if tx.PG != nil {
			if _, err := tx.PG.Exec(ctx, lockLaneZero, l.ProfileID); err != nil {
				return err
			}
		}
		due, err := column[int](ctx, tx, duePostgres, dueSQLite, l.ProfileID)
		if err != nil {
			return err
		}
		if len(due) > 0 {
			asleep = false
			return nil
		}
		asleep = true
		_, err = tx.one(ctx, restLane, restLane, l.ProfileID, l.Number, token)
		return err
	})
	return asleep, err
}

// due says whether the profile may send, as far as is known, and has a message to send now.
func (s *Store) due(ctx context.Context, profileID string) (bool, error) {
	query := duePostgres
	if s.pg == nil {
		query = dueSQLite
	}
	var one int
	err := s.row(ctx, query, []any{profileID}, &one)
	if noRows(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("store: due: %w", err)
	}
	return true, nil
}

// YieldLane gives the lane back while it stays awake: the caller inserts another wake-up in the same transaction, at the end
// of the queue. It is false when token no longer holds the lane; then there is nothing to insert.
func (s *Store) YieldLane(ctx context.Context, tx *Tx, l Lane, token string) (bool, error) {
	return tx.one(ctx, yieldPostgres, yieldSQLite, l.ProfileID, l.Number, token)
}

// SleepLane puts the lane to sleep whatever is due: SweepLanes wakes it again. It is for a worker that must stop.
func (s *Store) SleepLane(ctx context.Context, l Lane, token string) error {
	return s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := tx.one(ctx, restLane, restLane, l.ProfileID, l.Number, token)
		return err
	})
}

const (
	renewLanesPostgres  = `UPDATE lanes SET lease_until = ` + nowPostgres + ` + $2 WHERE token = ANY($1) RETURNING token`
	renewLanesSQLite    = `UPDATE lanes SET lease_until = ` + nowSQLite + ` + $2 WHERE token IN (SELECT value FROM json_each($1)) RETURNING token`
	renewClaimsPostgres = `UPDATE claims SET lease_until = ` + nowPostgres + ` + $2 WHERE token = ANY($1)`
	renewClaimsSQLite   = `UPDATE claims SET lease_until = ` + nowSQLite + ` + $2 WHERE token IN (SELECT value FROM json_each($1))`
)

// Renew prolongs the leases of lanes and of claims by their tokens, and gives those of lanes that still hold theirs.
func (s *Store) Renew(ctx context.Context, lanes, claims []string, lease time.Duration) (held []string, err error) {
	if len(lanes) > 0 {
		err = s.Write(ctx, func(ctx context.Context, tx *Tx) error {
			list, err := tx.list(lanes)
			if err != nil {
				return err
			}
			held, err = column[string](ctx, tx, renewLanesPostgres, renewLanesSQLite, list, lease.Microseconds())
			return err
		})
	}
	if err == nil && len(claims) > 0 {
		err = s.Write(ctx, func(ctx context.Context, tx *Tx) error {
			list, err := tx.list(claims)
			if err != nil {
				return err
			}
			_, err = tx.affect(ctx, renewClaimsPostgres, renewClaimsSQLite, list, lease.Microseconds())
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("store: renew: %w", err)
	}
	return held, nil
}

const (
	// staleLanes puts lanes to sleep whose holder died (its lease is over), or whose wake-up was lost: they were rung patience
	// before any wake-up that still waits, and nobody took them up.
	staleLanesPostgres = `UPDATE lanes SET awake = 0, token = NULL, lease_until = 0 WHERE awake > 0 AND lease_until < ` + nowPostgres + ` AND (token IS NOT NULL OR rung_at < least(` + nowPostgres + `, $2::bigint) - $1::bigint)`
	staleLanesSQLite   = `UPDATE lanes SET awake = 0, token = NULL, lease_until = 0 WHERE awake > 0 AND lease_until < ` + nowSQLite + ` AND (token IS NOT NULL OR rung_at < min(` + nowSQLite + `, $2) - $1)`
	// dueProfiles finds profiles with something to send and a lane asleep; the count stops at the profile's connections.
	dueProfilesPostgres = `SELECT p.id, o.n, b.n FROM sender_profiles p
	CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT 1 FROM messages m WHERE m.profile_id = p.id AND m.waiting IN ('queued', 'deferred') AND m.priority = 0 AND m.not_before <= ` + nowPostgres + ` LIMIT p.max_connections) x) o
	CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT 1 FROM messages m WHERE m.profile_id = p.id AND m.waiting IN ('queued', 'deferred') AND m.priority = 1 AND m.not_before <= ` + nowPostgres + ` LIMIT p.max_connections) x) b
	WHERE p.hold IS NULL AND p.deleted_at IS NULL AND p.paused_until <= ` + nowPostgres + ` AND p.limited_until <= ` + nowPostgres + ` AND o.n + b.n > 0
	AND EXISTS (SELECT 1 FROM lanes l WHERE l.profile_id = p.id AND l.lane < ` + lanesAllowed + ` AND l.awake = 0)`
	dueProfilesSQLite = `SELECT id, one_off, batch FROM (SELECT p.id,
	(SELECT count(*) FROM (SELECT 1 FROM messages m WHERE m.profile_id = p.id AND m.waiting IN ('queued', 'deferred') AND m.priority = 0 AND m.not_before <= ` + nowSQLite + ` LIMIT 50)) AS one_off,
	(SELECT count(*) FROM (SELECT 1 FROM messages m WHERE m.profile_id = p.id AND m.waiting IN ('queued', 'deferred') AND m.priority = 1 AND m.not_before <= ` + nowSQLite + ` LIMIT 50)) AS batch
	FROM sender_profiles p WHERE p.hold IS NULL AND p.deleted_at IS NULL AND p.paused_until <= ` + nowSQLite + ` AND p.limited_until <= ` + nowSQLite + `
	AND EXISTS (SELECT 1 FROM lanes l WHERE l.profile_id = p.id AND l.lane < ` + lanesAllowed + ` AND l.awake = 0)) WHERE one_off + batch > 0`
)

// DueProfiles says which profiles have something to send while a lane of theirs sleeps, for rings that RingLanes is then
// given. It first puts lanes to sleep whose lease is over, or that nobody has taken up within patience although wake-ups as
// old had their turn: oldest is when the oldest one that waits for a worker was made, zero when none waits.
func (s *Store) DueProfiles(ctx context.Context, patience time.Duration, oldest time.Time) ([]Ring, error) {
	front := int64(math.MaxInt64)
	if !oldest.IsZero() {
		front = micros(oldest)
	}
	err := s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := tx.affect(ctx, staleLanesPostgres, staleLanesSQLite, patience.Microseconds(), front)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: stale lanes: %w", err)
	}
	var rings []Ring
	add := func(id string, oneOff, batch int) {
		r := Ring{ProfileID: id, Messages: oneOff + batch, Priority: mail.PriorityBatch}
		if oneOff > 0 {
			r.Priority = mail.PriorityOneOff
		}
		rings = append(rings, r)
	}
	if s.pg != nil {
		rows, err := s.pg.Query(ctx, dueProfilesPostgres)
		if err != nil {
			return nil, fmt.Errorf("store: due profiles: %w", err)
		}
		var id string
		var oneOff, batch int
		_, err = pgx.ForEachRow(rows, []any{&id, &oneOff, &batch}, func() error { add(id, oneOff, batch); return nil })
		return rings, err
	}
	rows, err := s.liteRead.QueryContext(ctx, dueProfilesSQLite)
	if err != nil {
		return nil, fmt.Errorf("store: due profiles: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var oneOff, batch int
		if err := rows.Scan(&id, &oneOff, &batch); err != nil {
			return nil, err
		}
		add(id, oneOff, batch)
	}
	return rings, rows.Err()
}

// noRows says that a query found nothing, on either database.
func noRows(err error) bool {
	return errors.Is(err, sql.ErrNoRows) || errors.Is(err, pgx.ErrNoRows)
}
