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
	Token        string // the lease; every later write is fenced by it
	Attempts     int    // counted so far
	Recipients   []mail.Recipient
	Content      *mail.Content
	// ProfileVersion tells a lane that the profile it connected with was edited since.
	ProfileVersion int64
}

const (
	claimPostgres = `WITH p AS (
	SELECT id, version FROM sender_profiles WHERE id = $1 AND hold IS NULL AND deleted_at IS NULL AND paused_until <= ` + nowPostgres + `
), a AS (
	SELECT m.id FROM messages m WHERE m.profile_id = (SELECT id FROM p) AND m.status IN ('queued', 'deferred') AND m.priority = 0 AND m.not_before <= ` + nowPostgres + `
	ORDER BY m.not_before, m.id LIMIT $2 FOR UPDATE SKIP LOCKED
), b AS (
	SELECT m.id FROM messages m WHERE m.profile_id = (SELECT id FROM p) AND m.status IN ('queued', 'deferred') AND m.priority = 1 AND m.not_before <= ` + nowPostgres + `
	ORDER BY m.not_before, m.id LIMIT $2 - (SELECT count(*) FROM a) FOR UPDATE SKIP LOCKED
), u AS (
	UPDATE messages m SET status = 'sending', phase = 'claimed', lease_token = $3, lease_until = ` + nowPostgres + ` + $4
	FROM (SELECT id FROM a UNION ALL SELECT id FROM b) x WHERE m.id = x.id
	RETURNING m.id, m.tenant_id, m.priority, m.not_before, m.attempts, m.recipients
)
SELECT u.id, u.tenant_id, u.attempts, u.recipients, p.version, c.subject, c.body_text, c.body_html, c.content
FROM u CROSS JOIN p JOIN message_contents c ON c.message_id = u.id ORDER BY u.priority, u.not_before, u.id`

	pickSQLite = `SELECT m.id, m.tenant_id, m.attempts, m.recipients, p.version, c.subject, c.body_text, c.body_html, c.content
FROM messages m JOIN sender_profiles p ON p.id = m.profile_id JOIN message_contents c ON c.message_id = m.id
WHERE m.profile_id = $1 AND m.status IN ('queued', 'deferred') AND m.priority = $2 AND m.not_before <= ` + nowSQLite + `
AND p.hold IS NULL AND p.deleted_at IS NULL AND p.paused_until <= ` + nowSQLite + ` ORDER BY m.not_before, m.id LIMIT $3`
	claimOneSQLite = `UPDATE messages SET status = 'sending', phase = 'claimed', lease_token = $2, lease_until = ` + nowSQLite + ` + $3 WHERE id = $1`
)

// Claim takes at most n due messages of the profile for the lease, one-off mails first, oldest first. None are due while the
// profile is held or paused.
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
		for i := range claimed {
			if err := s.exec(ctx, tx, claimOneSQLite, claimed[i].ID, token, lease.Microseconds()); err != nil {
				return err
			}
		}
		return nil
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
		err := rows.Scan(&c.ID, &c.TenantID, &c.Attempts, &recipients, &c.ProfileVersion, &c.Content.Subject, &c.Content.Text, &c.Content.HTML, &content)
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
