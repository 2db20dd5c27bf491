package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// FailedMessage is a message of a job that failed, with what it takes to try it again.
type FailedMessage struct {
	ID         string
	Recipients []mail.Recipient
	Document   mail.Document
	CompanyRef string
	Erased     bool // its content is gone: it cannot be tried again
}

const (
	failedPageSQL = `SELECT m.id, m.recipients, c.detail FROM messages m JOIN message_contents c ON c.tenant_id = m.tenant_id AND c.message_id = m.id
	WHERE m.job_id = $1 AND m.tenant_id = $2 AND m.status = 'failed' AND m.id > $3 ORDER BY m.id LIMIT $4`
	// One by one and in their order, whatever the planner believes.
	keysTakenPostgres = `SELECT d.key, d.message_id FROM unnest($2::bytea[]) AS v (key) CROSS JOIN LATERAL (
	SELECT key, message_id FROM document_keys WHERE tenant_id = $1 AND key = v.key AND NOT superseded FOR UPDATE) d`
	requeuePostgres = `UPDATE messages m SET status = v.status, phase = '', claim = NULL, recipients = v.recipients, code = '',
	not_before = ` + nowPostgres + `, expires_at = $5, sent_at = NULL, updated_at = $6
	FROM unnest($2::text[], $3::text[], $4::text[]) AS v (id, status, recipients) WHERE m.tenant_id = $1 AND m.id = v.id AND m.status = 'failed'`
	requeueSQLite = `UPDATE messages SET status = $3, phase = '', claim = NULL, recipients = $4, code = '',
	not_before = ` + nowSQLite + `, expires_at = $5, sent_at = NULL, updated_at = $6 WHERE tenant_id = $1 AND id = $2 AND status = 'failed'`
)

// FailedPage gives at most n failed messages of a locked job above an id.
func (s *Store) FailedPage(ctx context.Context, tx *Tx, j *Job, after string, n int) ([]FailedMessage, error) {
	var page []FailedMessage
	var bad error
	var id, recipients, detail string
	err := tx.each(ctx, failedPageSQL, failedPageSQL, []any{j.ID, j.TenantID, after, n}, []any{&id, &recipients, &detail}, func() {
		var d MessageDetail
		m := FailedMessage{ID: id}
		if err := json.Unmarshal([]byte(detail), &d); err != nil {
			bad = fmt.Errorf("store: detail of %s: %w", id, err)
		}
		if err := json.Unmarshal([]byte(recipients), &m.Recipients); err != nil {
			bad = fmt.Errorf("store: recipients of %s: %w", id, err)
		}
		m.Document, m.CompanyRef, m.Erased = d.Document, d.CompanyRef, d.Erased != nil
		page = append(page, m)
	})
	if err == nil {
		err = bad
	}
	return page, failed("failed messages", err)
}

// Replaced gives, of the messages whose document another one brings by now, that other one. It locks the documents' keys, so that none can be
// taken before the transaction ends.
func (s *Store) Replaced(ctx context.Context, tx *Tx, tenantID string, messages []FailedMessage) (map[string]string, error) {
	owners := map[mail.DocumentKey][]string{}
	var keys []mail.DocumentKey
	for i := range messages {
		m := &messages[i]
		for _, k := range mail.DocumentKeys(m.CompanyRef, m.Document, m.Recipients) {
			if owners[k] == nil {
				keys = append(keys, k)
			}
			owners[k] = append(owners[k], m.ID)
		}
	}
	// In one order for everybody, or two transactions that share two keys wait for each other for ever.
	slices.SortFunc(keys, func(a, b mail.DocumentKey) int { return bytes.Compare(a[:], b[:]) })
	replaced := map[string]string{}
	note := func(k mail.DocumentKey, standing string) {
		for _, id := range owners[k] {
			if id != standing {
				replaced[id] = standing
			}
		}
	}
	if tx.PG == nil {
		for _, k := range keys {
			var standing string
			err := tx.SQL.QueryRowContext(ctx, takenSQL, tenantID, k[:]).Scan(&standing)
			if err == nil {
				note(k, standing)
			} else if !noRows(err) {
				return nil, fmt.Errorf("store: documents: %w", err)
			}
		}
		return replaced, nil
	}
	raw := make([][]byte, len(keys))
	for i := range keys {
		raw[i] = keys[i][:]
	}
	// Twice, because the first only waits: what it finds after a wait is what it saw before.
	for range 2 {
		clear(replaced)
		var key []byte
		var standing string
		err := tx.each(ctx, keysTakenPostgres, "", []any{tenantID, raw}, []any{&key, &standing}, func() { note(mail.DocumentKey(key), standing) })
		if err != nil {
			return nil, fmt.Errorf("store: documents: %w", err)
		}
	}
	return replaced, nil
}

// Requeue has failed messages of a locked job tried again, or paused when its gate does not let them through. Their recipients are those of
// the messages given.
func (s *Store) Requeue(ctx context.Context, tx *Tx, j *Job, messages []FailedMessage, expires, now time.Time) error {
	cols := newColumns(3, len(messages))
	for i := range messages {
		m := &messages[i]
		recipients, err := json.Marshal(m.Recipients)
		if err != nil {
			return err
		}
		status := mail.StatusQueued
		if j.Keeps(m.ID) {
			status = mail.StatusPaused
		}
		if tx.PG != nil {
			cols.add(m.ID, string(status), string(recipients))
			continue
		}
		if _, err := tx.one(ctx, "", requeueSQLite, j.TenantID, m.ID, string(status), string(recipients), micros(expires), micros(now)); err != nil {
			return fmt.Errorf("store: requeue: %w", err)
		}
	}
	if tx.PG == nil || len(messages) == 0 {
		return nil
	}
	if _, err := tx.one(ctx, requeuePostgres, "", j.TenantID, cols[0], cols[1], cols[2], micros(expires), micros(now)); err != nil {
		return fmt.Errorf("store: requeue: %w", err)
	}
	return nil
}
