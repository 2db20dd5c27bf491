package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// Claimed is a message that a lane holds: nobody else sends it while the lease lasts.
type Claimed struct {
	ID, TenantID string
	Token        string // the claim; every later write is fenced by it
	Attempts     int    // counted so far
	Recipients   []mail.Recipient
	Content      *mail.Content
	// ProfileVersion and PauseCount are the profile's at the time of the claim: they tell a lane that the profile it connected
	// with was edited since, or paused by another lane.
	ProfileVersion int64
	PauseCount     int
}

const (
	// By ctid, because the rows are locked where they are. One that moved just before it was locked is not seen, and is claimed
	// next time.
	claimPostgres = `WITH p AS (
	SELECT tenant_id, id, version, pause_count FROM sender_profiles WHERE id = $1 AND hold IS NULL AND deleted_at IS NULL AND paused_until <= ` + nowPostgres + `
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
	INSERT INTO claims (token, tenant_id, messages, lease_until)
	SELECT $3, u.tenant_id, array_agg(u.id), ` + nowPostgres + ` + $4 FROM u GROUP BY u.tenant_id
)
SELECT u.id, u.tenant_id, u.attempts, u.recipients, p.version, p.pause_count, c.subject, c.body_text, c.body_html, c.content
FROM u CROSS JOIN p JOIN message_contents c ON c.tenant_id = u.tenant_id AND c.message_id = u.id ORDER BY u.priority, u.not_before, u.id`

	pickSQLite = `SELECT m.id, m.tenant_id, m.attempts, m.recipients, p.version, p.pause_count, c.subject, c.body_text, c.body_html, c.content
FROM messages m JOIN sender_profiles p ON p.id = m.profile_id JOIN message_contents c ON c.tenant_id = m.tenant_id AND c.message_id = m.id
WHERE m.profile_id = $1 AND m.waiting IN ('queued', 'deferred') AND m.priority = $2 AND m.not_before <= ` + nowSQLite + `
AND p.hold IS NULL AND p.deleted_at IS NULL AND p.paused_until <= ` + nowSQLite + ` ORDER BY m.not_before, m.id LIMIT $3`
	claimOneSQLite    = `UPDATE messages SET status = 'sending', phase = 'claimed', claim = $3 WHERE tenant_id = $1 AND id = $2`
	insertClaimSQLite = `INSERT INTO claims (token, tenant_id, messages, lease_until) VALUES ($1, $2, $3, ` + nowSQLite + ` + $4)`
)

// Claim takes at most n due messages of the profile for the lease, one-off mails first, oldest first. None are due while the
// profile is held or paused. Tell Journal when the claim is done with.
func (s *Store) Claim(ctx context.Context, profileID, token string, lease time.Duration, n int) ([]Claimed, error) {
	if s.pg == nil {
		return s.claimSQLite(ctx, profileID, token, lease, n)
	}
	rows, err := s.pg.Query(ctx, claimPostgres, profileID, n, token, lease.Microseconds())
	if err != nil {
		return nil, fmt.Errorf("store: claim: %w", err)
	}
	defer rows.Close()
	return scanClaimed(rows, token, nil)
}

func (s *Store) claimSQLite(ctx context.Context, profileID, token string, lease time.Duration, n int) (claimed []Claimed, err error) {
	err = s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		claimed = nil
		for _, priority := range []mail.Priority{mail.PriorityOneOff, mail.PriorityBatch} {
			if len(claimed) == n {
				break
			}
			rows, err := tx.SQL.QueryContext(ctx, pickSQLite, profileID, priority, n-len(claimed))
			if err != nil {
				return err
			}
			claimed, err = scanClaimed(rows, token, claimed)
			rows.Close()
			if err != nil {
				return err
			}
		}
		if len(claimed) == 0 {
			return nil
		}
		ids := make([]string, len(claimed))
		for i := range claimed {
			ids[i] = claimed[i].ID
			if err := s.exec(ctx, tx, claimOneSQLite, claimed[i].TenantID, claimed[i].ID, token); err != nil {
				return err
			}
		}
		list, err := tx.list(ids)
		if err != nil {
			return err
		}
		return s.exec(ctx, tx, insertClaimSQLite, token, claimed[0].TenantID, list, lease.Microseconds())
	})
	if err != nil {
		return nil, fmt.Errorf("store: claim: %w", err)
	}
	return claimed, nil
}

// scanner is what rows of pgx and of database/sql have in common.
type scanner interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
}

func scanClaimed(rows scanner, token string, claimed []Claimed) ([]Claimed, error) {
	for rows.Next() {
		c := Claimed{Token: token, Content: &mail.Content{}}
		var recipients, content []byte
		err := rows.Scan(&c.ID, &c.TenantID, &c.Attempts, &recipients, &c.ProfileVersion, &c.PauseCount, &c.Content.Subject, &c.Content.Text, &c.Content.HTML, &content)
		if err != nil {
			return nil, fmt.Errorf("store: claim: %w", err)
		}
		if err := json.Unmarshal(recipients, &c.Recipients); err != nil {
			return nil, fmt.Errorf("store: recipients of %s: %w", c.ID, err)
		}
		if err := json.Unmarshal(content, c.Content); err != nil {
			return nil, fmt.Errorf("store: content of %s: %w", c.ID, err)
		}
		claimed = append(claimed, c)
	}
	return claimed, rows.Err()
}
