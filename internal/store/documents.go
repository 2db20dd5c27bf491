package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// Document says which document a message brings, so that nobody gets it twice.
type Document struct {
	Keys []mail.DocumentKey // nil: about no document
	// AllowDuplicate is why it may be sent although somebody has it; empty: it may not.
	AllowDuplicate string
}

// Duplicate is a document that somebody has already, or will have.
type Duplicate struct {
	Message    int              // index of the message in its submission
	Key        mail.DocumentKey // one of its keys
	EarlierID  string           // the message that brought it
	Status     mail.Status      // of that one, as stored: never held
	AcceptedAt time.Time        // of that one
	SentAt     time.Time        // zero: not sent yet
}

// DuplicateError refuses a submission: it would bring documents to somebody who has them.
type DuplicateError struct{ Duplicates []Duplicate }

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("store: %d documents were sent before", len(e.Duplicates))
}

// keyUse is a key that a message of a submission wants.
type keyUse struct {
	sub     *Submission
	message int
	key     mail.DocumentKey
}

func (u *keyUse) messageID() string { return u.sub.rows[u.message].id }
func (u *keyUse) allowed() string   { return u.sub.rows[u.message].document.AllowDuplicate }

const (
	insertKeysPostgres = `INSERT INTO document_keys (tenant_id, key, message_id) SELECT * FROM unnest($1::text[], $2::bytea[], $3::text[])
	ON CONFLICT (tenant_id, key) WHERE NOT superseded DO NOTHING`
	insertKeySQLite = `INSERT INTO document_keys (tenant_id, key, message_id) VALUES (?, ?, ?) ON CONFLICT (tenant_id, key) WHERE NOT superseded DO NOTHING`
	standingSQL     = `SELECT message_id FROM document_keys WHERE tenant_id = $1 AND key = $2 AND NOT superseded`
	supersedeSQL    = `UPDATE document_keys SET superseded = true WHERE tenant_id = $1 AND key = $2 AND NOT superseded`
	earlierSQL      = `SELECT status, created_at, coalesce(sent_at, 0) FROM messages WHERE tenant_id = $1 AND id = $2`
)

// ClaimDocuments writes down which documents the messages of the submissions bring to whom, for ever. It comes after the messages. The
// error is a *DuplicateError when somebody has one of them already; a message that failed or was canceled gave it to nobody.
func (s *Store) ClaimDocuments(ctx context.Context, tx *Tx, subs []*Submission) error {
	var uses []keyUse
	for _, sub := range subs {
		for i := range sub.rows {
			for _, k := range sub.rows[i].document.Keys {
				uses = append(uses, keyUse{sub, i, k})
			}
		}
	}
	if len(uses) == 0 {
		return nil
	}
	// In one order for everybody, or two transactions that share two keys wait for each other for ever.
	slices.SortStableFunc(uses, func(a, b keyUse) int {
		return cmp.Or(cmp.Compare(a.sub.TenantID, b.sub.TenantID), bytes.Compare(a.key[:], b.key[:]))
	})
	n, err := s.insertKeys(ctx, tx, uses)
	if err == nil && n < len(uses) {
		err = s.settleDuplicates(ctx, tx, uses)
	}
	if err != nil {
		return fmt.Errorf("store: claim documents: %w", err)
	}
	return nil
}

// insertKeys inserts what is free and says how many.
func (s *Store) insertKeys(ctx context.Context, tx *Tx, uses []keyUse) (int, error) {
	if tx.PG != nil {
		texts := newColumns(len(uses))
		keys := make([][]byte, len(uses))
		for i := range uses {
			u := &uses[i]
			texts.add(u.sub.TenantID, u.messageID())
			keys[i] = u.key[:]
		}
		tag, err := tx.PG.Exec(ctx, insertKeysPostgres, texts[0], keys, texts[1])
		return int(tag.RowsAffected()), err
	}
	insert, total := tx.SQL.StmtContext(ctx, s.prepared.stmts[insertKeySQLite]), 0
	for i := range uses {
		u := &uses[i]
		res, err := insert.ExecContext(ctx, u.sub.TenantID, u.key[:], u.messageID())
		if err != nil {
			return 0, err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return 0, err
		}
		total += int(n)
	}
	return total, nil
}

// settleDuplicates finds the keys that another message stands for. It takes the place of one that came to nothing, and of any other
// when that is allowed.
func (s *Store) settleDuplicates(ctx context.Context, tx *Tx, uses []keyUse) error {
	var refused DuplicateError
	for i := range uses {
		u := &uses[i]
		d, err := s.standing(ctx, tx, u)
		if err != nil {
			return err
		}
		if d == nil {
			continue
		}
		void := d.Status == mail.StatusFailed || d.Status == mail.StatusCanceled
		if !void && u.allowed() == "" {
			refused.Duplicates = append(refused.Duplicates, *d)
			continue
		}
		if _, err := tx.one(ctx, supersedeSQL, supersedeSQL, u.sub.TenantID, u.key[:]); err != nil {
			return err
		}
		if _, err := s.insertKeys(ctx, tx, uses[i:i+1]); err != nil {
			return err
		}
		if void {
			continue
		}
		detail, err := json.Marshal(map[string]string{"reason": u.allowed(), "earlier_message_id": d.EarlierID})
		if err != nil {
			return err
		}
		if err := s.AppendAudit(ctx, tx, &AuditEvent{
			TenantID: u.sub.TenantID, Actor: u.sub.job.createdBy, Action: "message.allow_duplicate", Subject: u.messageID(), Detail: detail,
		}); err != nil {
			return err
		}
	}
	if len(refused.Duplicates) > 0 {
		return &refused
	}
	return nil
}

// standing is the other message that stands for the key, nil when there is none. Its row is locked first and its message read after: a retry
// of that message does the same, so one of the two sees the other.
func (s *Store) standing(ctx context.Context, tx *Tx, u *keyUse) (*Duplicate, error) {
	d := &Duplicate{Message: u.message, Key: u.key}
	err := tx.row(ctx, standingSQL+` FOR UPDATE`, standingSQL, []any{u.sub.TenantID, u.key[:]}, &d.EarlierID)
	if noRows(err) || err == nil && d.EarlierID == u.messageID() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var accepted, sent int64
	if err := tx.row(ctx, earlierSQL, earlierSQL, []any{u.sub.TenantID, d.EarlierID}, &d.Status, &accepted, &sent); err != nil {
		return nil, err
	}
	d.AcceptedAt, d.SentAt = fromMicros(accepted), fromMicros(sent)
	return d, nil
}

// DocumentsTaken says whether another message stands by now for one of the documents that this one was to bring: then it must not be
// sent after all. It locks the keys, so that none can be taken before the transaction ends.
func (s *Store) DocumentsTaken(ctx context.Context, tx *Tx, tenantID, messageID string, recipients []mail.Recipient) (bool, error) {
	const query = `SELECT detail FROM message_contents WHERE tenant_id = $1 AND message_id = $2`
	var doc string
	if err := tx.row(ctx, query, query, []any{tenantID, messageID}, &doc); err != nil {
		return false, fmt.Errorf("store: documents: %w", err)
	}
	var detail MessageDetail
	if err := json.Unmarshal([]byte(doc), &detail); err != nil {
		return false, fmt.Errorf("store: detail of %s: %w", messageID, err)
	}
	keys := mail.DocumentKeys(detail.CompanyRef, detail.Document, recipients)
	slices.SortFunc(keys, func(a, b mail.DocumentKey) int { return bytes.Compare(a[:], b[:]) })
	for _, k := range keys {
		// Twice, because the first only waits: what it finds after a wait is what it saw before.
		for range 2 {
			var standing string
			err := tx.row(ctx, standingSQL+` FOR UPDATE`, standingSQL, []any{tenantID, k[:]}, &standing)
			if err != nil && !noRows(err) {
				return false, fmt.Errorf("store: documents: %w", err)
			}
			if err == nil && standing != messageID {
				return true, nil
			}
		}
	}
	return false, nil
}

// row runs the statement of the transaction's database and scans its one row.
func (tx *Tx) row(ctx context.Context, postgres, sqlite string, args []any, dest ...any) error {
	if tx.PG != nil {
		return tx.PG.QueryRow(ctx, postgres, args...).Scan(dest...)
	}
	return tx.SQL.QueryRowContext(ctx, sqlite, args...).Scan(dest...)
}
