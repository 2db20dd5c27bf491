package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/winprest/facteur/internal/mail"
)

// Claimed is a message that a lane holds: nobody else sends it while the lease lasts.
type Claimed struct {
	ID, TenantID string
	Token        string // the claim; every later write is fenced by it
	Attempts     int    // counted so far
	Recipients   []mail.Recipient
	// ProfileVersion and PauseCount are the profile's at the time of the claim: they tell a lane that the profile it connected
	// with was edited since, or paused by another lane.
	ProfileVersion int64
	PauseCount     int

	stored storedContent
}

// Content makes the message's content, anew each time: a claim has many messages, and is held while they go out one by one.
func (c *Claimed) Content() (*mail.Content, error) {
	content, err := c.stored.content()
	if err != nil {
		return nil, fmt.Errorf("store: content of %s: %w", c.ID, err)
	}
	return content, nil
}

const (
	// By ctid, because the rows are locked where they are. One that moved just before it was locked is not seen, and is claimed
	// next time.
	// A claim need not wait for the disk. One that a crash of the database undoes was never marked: a mark waits for the disk, and
	// with it for all that was written before.
	claimPostgres = pickPostgres + `INSERT INTO claims (token, tenant_id, messages, lease_until)
	SELECT $3, u.tenant_id, array_agg(u.id), ` + nowPostgres + ` + $4 FROM u GROUP BY u.tenant_id` + pickedPostgres
	claimLimitedPostgres = pickPostgres + `INSERT INTO claims (token, tenant_id, messages, lease_until, limited)
	SELECT $3, u.tenant_id, array_agg(u.id), ` + nowPostgres + ` + $4, $1 FROM u GROUP BY u.tenant_id` + pickedPostgres
	pickPostgres = `WITH p AS (
	SELECT tenant_id, id, version, pause_count, set_config('synchronous_commit', 'off', true) FROM sender_profiles WHERE id = $1 AND hold IS NULL AND deleted_at IS NULL AND paused_until <= ` + nowPostgres + `
), a AS (
	SELECT m.ctid FROM messages m WHERE m.profile_id = (SELECT id FROM p) AND m.waiting IN ('queued', 'deferred') AND m.priority = 0 AND m.not_before <= ` + nowPostgres + `
	ORDER BY m.not_before, m.id LIMIT $2 FOR UPDATE SKIP LOCKED
), b AS (
	SELECT m.ctid FROM messages m WHERE m.profile_id = (SELECT id FROM p) AND m.waiting IN ('queued', 'deferred') AND m.priority = 1 AND m.not_before <= ` + nowPostgres + `
	ORDER BY m.not_before, m.id LIMIT $2 - (SELECT count(*) FROM a) FOR UPDATE SKIP LOCKED
), u AS (
	UPDATE messages m SET status = 'sending', phase = 'claimed', claim = $3
	FROM (SELECT ctid FROM a UNION ALL SELECT ctid FROM b) x WHERE m.ctid = x.ctid
	RETURNING m.id, m.tenant_id, m.priority, m.not_before, m.attempts, m.recipients
), l AS (
	`
	pickedPostgres = `
)
SELECT u.id, u.tenant_id, u.attempts, u.recipients, p.version, p.pause_count, c.subject, c.text, c.html, coalesce(c.shared_text_id, ''), c.content
FROM u CROSS JOIN p JOIN message_contents c ON c.tenant_id = u.tenant_id AND c.message_id = u.id ORDER BY u.priority, u.not_before, u.id`

	// The casts hide the values from SQLite's planner. It looks at the value of a bare parameter, to plan for it, and so compiles the
	// statement anew whenever that is bound.
	pickSQLite = `SELECT m.id, m.tenant_id, m.attempts, m.recipients, p.version, p.pause_count FROM messages m JOIN sender_profiles p ON p.id = m.profile_id
WHERE m.profile_id = CAST($1 AS text) AND m.waiting IN ('queued', 'deferred') AND m.priority = CAST($2 AS integer) AND m.not_before <= ` + nowSQLite + `
AND p.hold IS NULL AND p.deleted_at IS NULL AND p.paused_until <= ` + nowSQLite + ` ORDER BY m.not_before, m.id LIMIT CAST($3 AS integer)`
	contentsSQLite = `SELECT message_id, subject, text, html, coalesce(shared_text_id, ''), content FROM message_contents
WHERE tenant_id = $1 AND message_id IN (SELECT value FROM json_each($2))`
	claimOneSQLite    = `UPDATE messages SET status = 'sending', phase = 'claimed', claim = $3 WHERE tenant_id = $1 AND id = $2`
	insertClaimSQLite = `INSERT INTO claims (token, tenant_id, messages, lease_until, limited) VALUES ($1, $2, $3, ` + nowSQLite + ` + $4, $5)`
)

// Claim takes at most n due messages of the profile for the lease, one-off mails first, oldest first. None are due while the
// profile is held or paused. Tell Journal when the claim is done with.
func (s *Store) Claim(ctx context.Context, profileID, token string, lease time.Duration, n int) ([]Claimed, error) {
	if s.pg == nil {
		return s.claimSQLite(ctx, profileID, token, lease, n, false)
	}
	rows, err := s.pg.Query(ctx, claimPostgres, profileID, n, token, lease.Microseconds())
	if err != nil {
		return nil, fmt.Errorf("store: claim: %w", err)
	}
	claimed, err := readClaimed(rows, token)
	if err != nil {
		return nil, fmt.Errorf("store: claim: %w", err)
	}
	s.findSharedTexts(ctx, claimed)
	return claimed, nil
}

// ClaimWithin is Claim for a profile with limits: it takes no more than they allow now, and counts what it takes as open. The
// caller says with Spend what became of it, before it tells Journal.
func (s *Store) ClaimWithin(ctx context.Context, profileID, token string, lease time.Duration, n int) (claimed []Claimed, err error) {
	// Lanes look often, and mostly in vain: that needs no lock.
	if due, err := s.due(ctx, profileID); err != nil || !due {
		return nil, err
	}
	if s.pg == nil {
		return s.claimSQLite(ctx, profileID, token, lease, n, true)
	}
	err = s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		claimed = nil
		room, err := tx.room(ctx, profileID, n)
		if err != nil || room == 0 {
			return err
		}
		rows, err := tx.PG.Query(ctx, claimLimitedPostgres, profileID, room, token, lease.Microseconds())
		if err != nil {
			return err
		}
		claimed, err = readClaimed(rows, token)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store: claim: %w", err)
	}
	s.findSharedTexts(ctx, claimed)
	return claimed, nil
}

func readClaimed(rows pgx.Rows, token string) ([]Claimed, error) {
	var claimed []Claimed
	c := Claimed{Token: token}
	var recipients []byte
	dest := append([]any{&c.ID, &c.TenantID, &c.Attempts, &recipients, &c.ProfileVersion, &c.PauseCount}, c.stored.columns()...)
	_, err := pgx.ForEachRow(rows, dest, func() error {
		claimed = append(claimed, c)
		return claimed[len(claimed)-1].setRecipients(recipients)
	})
	return claimed, err
}

func (c *Claimed) setRecipients(doc []byte) error {
	c.Recipients = nil
	if err := json.Unmarshal(doc, &c.Recipients); err != nil {
		return fmt.Errorf("recipients of %s: %w", c.ID, err)
	}
	return nil
}

// claimSQLite keeps the one writer no longer than it must: contents are read when the claim is on disk.
func (s *Store) claimSQLite(ctx context.Context, profileID, token string, lease time.Duration, most int, limited bool) ([]Claimed, error) {
	var claimed []Claimed
	var ids, counts any
	err := s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		claimed = nil
		n := most
		if limited {
			room, err := tx.room(ctx, profileID, most)
			if err != nil {
				return err
			}
			n, counts = room, profileID
		}
		for _, priority := range []mail.Priority{mail.PriorityOneOff, mail.PriorityBatch} {
			if len(claimed) == n {
				break
			}
			var err error
			if claimed, err = s.pick(ctx, tx, claimed, profileID, priority, n); err != nil {
				return err
			}
		}
		if len(claimed) == 0 {
			return nil
		}
		list := make([]string, len(claimed))
		for i := range claimed {
			c := &claimed[i]
			c.Token, list[i] = token, c.ID
			if err := s.exec(ctx, tx, claimOneSQLite, c.TenantID, c.ID, token); err != nil {
				return err
			}
		}
		var err error
		if ids, err = tx.list(list); err != nil {
			return err
		}
		return s.exec(ctx, tx, insertClaimSQLite, token, claimed[0].TenantID, ids, lease.Microseconds(), counts)
	})
	if err == nil && len(claimed) > 0 {
		err = s.readContents(context.WithoutCancel(ctx), claimed, ids)
	}
	if err != nil {
		return nil, fmt.Errorf("store: claim: %w", err)
	}
	return claimed, nil
}

func (s *Store) pick(ctx context.Context, tx *Tx, claimed []Claimed, profileID string, priority mail.Priority, n int) ([]Claimed, error) {
	rows, err := s.query(ctx, tx, pickSQLite, profileID, priority, n-len(claimed))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c Claimed
		var recipients []byte
		if err := rows.Scan(&c.ID, &c.TenantID, &c.Attempts, &recipients, &c.ProfileVersion, &c.PauseCount); err != nil {
			return nil, err
		}
		if err := c.setRecipients(recipients); err != nil {
			return nil, err
		}
		claimed = append(claimed, c)
	}
	return claimed, rows.Err()
}

func (s *Store) readContents(ctx context.Context, claimed []Claimed, ids any) error {
	byID := make(map[string]*Claimed, len(claimed))
	for i := range claimed {
		byID[claimed[i].ID] = &claimed[i]
	}
	rows, err := s.prepared.contents.QueryContext(ctx, claimed[0].TenantID, ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var stored storedContent
		if err := rows.Scan(append([]any{&id}, stored.columns()...)...); err != nil {
			return err
		}
		byID[id].stored = stored
	}
	if err := rows.Err(); err != nil {
		return err
	}
	s.findSharedTexts(ctx, claimed)
	return nil
}
