package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// Reaping finds what a dead process left behind and what has waited too long. Every process may do it at any time: each
// step is one fenced UPDATE.

const (
	// A lease that is over before anything was handed over: the message simply goes back.
	unclaimPostgres = `UPDATE messages m SET status = CASE WHEN m.attempts > 0 THEN 'deferred' ELSE 'queued' END, phase = '', claim = NULL FROM (
	SELECT m.tenant_id, m.id ` + sendingPostgres + ` AND phase = 'claimed' FOR UPDATE SKIP LOCKED` + overPostgres + `) d WHERE m.tenant_id = d.tenant_id AND m.id = d.id`
	unclaimSQLite = `UPDATE messages SET status = CASE WHEN attempts > 0 THEN 'deferred' ELSE 'queued' END, phase = '', claim = NULL
	WHERE (tenant_id, id) IN (SELECT m.tenant_id, m.id ` + deadSQLite + ` AND m.phase = 'claimed')`
	// The profile's version is that of the hand-over when it was last edited before the message was accepted.
	lost = `SELECT m.id, m.tenant_id, m.claim, m.attempts, m.recipients, c.lease_until,
	(SELECT p.transport FROM sender_profiles p WHERE p.id = m.profile_id),
	coalesce((SELECT p.version FROM sender_profiles p WHERE p.id = m.profile_id AND p.updated_at <= m.created_at), 0),
	(SELECT p.resend_uncertain FROM sender_profiles p WHERE p.id = m.profile_id) `
	lostPostgres = lost + sendingPostgres + ` AND phase = 'committing' OFFSET 0` + overPostgres + ` ORDER BY c.lease_until LIMIT 500`
	lostSQLite   = lost + deadSQLite + ` AND m.phase = 'committing' ORDER BY c.lease_until LIMIT 500`
	// Dead claims, counted, of which nothing is sending any more. Nothing becomes sending under an old token again.
	forgetPostgres = `DELETE FROM claims d WHERE lease_until < ` + nowPostgres + ` AND limited IS NULL AND NOT EXISTS (SELECT 1 ` + sendingPostgres + ` OFFSET 0` + overPostgres + ` AND c.token = d.token)`
	forgetSQLite   = `DELETE FROM claims AS d WHERE lease_until < ` + nowSQLite + ` AND limited IS NULL AND NOT EXISTS (SELECT 1 ` + deadSQLite + ` AND c.token = d.token)`

	// The messages m that are still sending under a claim c; then those whose lease is over. They are looked up one by one from
	// the claim, whatever the planners believe (LATERAL with OFFSET or FOR UPDATE, CROSS JOIN): without statistics they would
	// rather read every message there is.
	sendingPostgres = `FROM claims c CROSS JOIN LATERAL unnest(c.messages) AS i (id) CROSS JOIN LATERAL (
	SELECT * FROM messages WHERE tenant_id = c.tenant_id AND id = i.id AND claim = c.token AND status = 'sending'`
	sendingSQLite = `FROM claims c CROSS JOIN json_each(c.messages) AS i CROSS JOIN messages m ON m.tenant_id = c.tenant_id AND m.id = i.value
	WHERE m.claim = c.token AND m.status = 'sending'`
	overPostgres = `) m WHERE c.lease_until < ` + nowPostgres
	deadSQLite   = sendingSQLite + ` AND c.lease_until < ` + nowSQLite

	expiredPostgres = `SELECT id, tenant_id, '', attempts, recipients, expires_at, '', 0, false FROM messages WHERE waiting = 'deferred' AND expires_at < ` + nowPostgres + ` ORDER BY expires_at LIMIT 500`
	expiredSQLite   = `SELECT id, tenant_id, '', attempts, recipients, expires_at, '', 0, false FROM messages WHERE waiting = 'deferred' AND expires_at < ` + nowSQLite + ` ORDER BY expires_at LIMIT 500`
	// A message that was tried since it was listed has other recipients left, and its attempt may have been sent to some.
	expireRow = `UPDATE messages SET status = $2, code = $3, recipients = $4, updated_at = $5,
	sent_at = CASE WHEN $2 = 'sent' THEN $5 ELSE sent_at END WHERE tenant_id = $7 AND id = $1 AND status = 'deferred' AND attempts = $6`
)

// Lost is a message whose hand-over had begun when its process disappeared, or one that waited too long.
type Lost struct {
	MessageID, TenantID, Token string
	Attempts                   int
	Recipients                 []mail.Recipient
	Since                      time.Time
	// Of a hand-over that had begun: the profile's transport by now, and the version of the profile that it was made with, 0 when
	// that is not certain; and whether the profile wants it sent again by itself.
	Transport       string
	ProfileVersion  int64
	ResendUncertain bool
}

// ReapUnclaimed gives back the messages of dead leases of which nothing was handed over.
func (s *Store) ReapUnclaimed(ctx context.Context) (n int, err error) {
	err = s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		n, err = tx.affect(ctx, unclaimPostgres, unclaimSQLite)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("store: reap: %w", err)
	}
	return n, nil
}

// LostHandovers lists at most 500 messages of dead leases that the far end may have. Settle them with Journal: their token
// fences them. Then forget the claims.
func (s *Store) LostHandovers(ctx context.Context) ([]Lost, error) {
	return s.lost(ctx, lostPostgres, lostSQLite)
}

// ForgetClaims ends the claims of dead leases of which no message is sending any more. Where a profile has limits, all that was
// claimed counts as handed over by now.
func (s *Store) ForgetClaims(ctx context.Context) error {
	if err := s.spendLost(ctx); err != nil {
		return err
	}
	err := s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := tx.affect(ctx, forgetPostgres, forgetSQLite)
		return err
	})
	if err != nil {
		return fmt.Errorf("store: forget claims: %w", err)
	}
	return nil
}

// Expired lists at most 500 deferred messages that have waited too long.
func (s *Store) Expired(ctx context.Context) ([]Lost, error) {
	return s.lost(ctx, expiredPostgres, expiredSQLite)
}

// Expire records that a message listed by Expired is given up, unless it was tried again since.
func (s *Store) Expire(ctx context.Context, l Lost, to mail.Settlement, now time.Time) error {
	recipients, err := json.Marshal(to.Recipients)
	if err != nil {
		return err
	}
	return s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		expired, err := tx.one(ctx, expireRow, expireRow, l.MessageID, string(to.Status), to.Code, string(recipients), micros(now), l.Attempts, l.TenantID)
		if err != nil || !expired {
			return err
		}
		return s.changeEvent(ctx, tx, l.TenantID, l.MessageID, to.Status, to.Code, l.Attempts, now)
	})
}

// scanner is what rows of pgx and of database/sql have in common.
type scanner interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
}

func (s *Store) lost(ctx context.Context, postgres, sqlite string) ([]Lost, error) {
	var rows scanner
	if s.pg != nil {
		r, err := s.pg.Query(ctx, postgres)
		if err != nil {
			return nil, fmt.Errorf("store: reap: %w", err)
		}
		defer r.Close()
		rows = r
	} else {
		r, err := s.liteRead.QueryContext(ctx, sqlite)
		if err != nil {
			return nil, fmt.Errorf("store: reap: %w", err)
		}
		defer r.Close()
		rows = r
	}
	var out []Lost
	for rows.Next() {
		var l Lost
		var recipients []byte
		var since int64
		if err := rows.Scan(&l.MessageID, &l.TenantID, &l.Token, &l.Attempts, &recipients, &since, &l.Transport, &l.ProfileVersion, &l.ResendUncertain); err != nil {
			return nil, fmt.Errorf("store: reap: %w", err)
		}
		if err := json.Unmarshal(recipients, &l.Recipients); err != nil {
			return nil, fmt.Errorf("store: recipients of %s: %w", l.MessageID, err)
		}
		l.Since = fromMicros(since)
		out = append(out, l)
	}
	return out, rows.Err()
}
