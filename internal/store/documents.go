package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/winprest/facteur/internal/mail"
)

// Document says which document a message brings, so that nobody gets it twice.
type Document struct {
	Keys []mail.DocumentKey // nil: about no document
	// KeysOf gives the keys that the document has for other recipients.
	KeysOf func([]mail.Recipient) []mail.DocumentKey
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

	recipients []byte // of that one
	reached    bool   // that one was, or may have been, handed over for this recipient
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
	// In the order of the uses, which is everybody's.
	standingPostgres = `SELECT v.i, d.message_id FROM unnest($1::int[], $2::text[], $3::bytea[]) AS v (i, tenant_id, key)
	JOIN document_keys d ON d.tenant_id = v.tenant_id AND d.key = v.key AND NOT d.superseded ORDER BY v.i FOR UPDATE OF d`
	earlierPostgres = `SELECT v.i, m.status, m.created_at, coalesce(m.sent_at, 0), m.recipients FROM unnest($1::int[], $2::text[], $3::text[]) AS v (i, tenant_id, id)
	JOIN messages m ON m.tenant_id = v.tenant_id AND m.id = v.id`
	standingSQLite = `SELECT m.id, m.status, m.created_at, coalesce(m.sent_at, 0), m.recipients FROM document_keys d
	JOIN messages m ON m.tenant_id = d.tenant_id AND m.id = d.message_id WHERE d.tenant_id = $1 AND d.key = $2 AND NOT d.superseded`
	supersedeSQL = `UPDATE document_keys SET superseded = true WHERE tenant_id = $1 AND key = $2 AND NOT superseded`
	takenSQL     = `SELECT message_id FROM document_keys WHERE tenant_id = $1 AND key = $2 AND NOT superseded`
)

// ClaimDocuments writes down which documents the messages of the submissions bring to whom, for ever. It comes after the messages. The
// error is a *DuplicateError when somebody has one of them already; a message that failed or was canceled gave it to nobody, but for
// those recipients that it had reached before.
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
		texts := newColumns(2, len(uses))
		keys := make([][]byte, len(uses))
		for i := range uses {
			u := &uses[i]
			texts.add(u.sub.TenantID, u.messageID())
			keys[i] = u.key[:]
		}
		tag, err := tx.PG.Exec(ctx, insertKeysPostgres, texts[0], keys, texts[1])
		return int(tag.RowsAffected()), err
	}
	return s.insertMany(ctx, tx, insertKeySQLite, len(uses), func(i int) []any {
		u := &uses[i]
		return []any{u.sub.TenantID, u.key[:], u.messageID()}
	})
}

// settleDuplicates goes through the uses whose key was not free. It takes the place of a message that came to nothing, and of any other when
// that is allowed.
func (s *Store) settleDuplicates(ctx context.Context, tx *Tx, uses []keyUse) error {
	var refused DuplicateError
	for len(uses) > 0 {
		standing, err := s.standing(ctx, tx, uses)
		if err != nil {
			return err
		}
		var again []keyUse
		for i := range uses {
			u, d := &uses[i], standing[i]
			if d != nil && d.EarlierID == u.messageID() {
				continue
			}
			if d != nil && !d.void() && u.allowed() == "" {
				refused.Duplicates = append(refused.Duplicates, *d)
				continue
			}
			if d != nil {
				if err := s.supersede(ctx, tx, u, d); err != nil {
					return err
				}
			}
			n, err := s.insertKeys(ctx, tx, uses[i:i+1])
			if err != nil {
				return err
			}
			if n == 0 { // it changed hands since it was read
				again = append(again, *u)
			}
		}
		uses = again
	}
	if len(refused.Duplicates) > 0 {
		return &refused
	}
	return nil
}

// void says that the earlier message brought the document to nobody, and will not.
func (d *Duplicate) void() bool {
	return (d.Status == mail.StatusFailed || d.Status == mail.StatusCanceled) && !d.reached
}

// look finds out whether the earlier message has reached the recipient of the use.
func (d *Duplicate) look(u *keyUse) error {
	return d.lookFor(u.key, u.sub.rows[u.message].document.KeysOf)
}

func (d *Duplicate) lookFor(key mail.DocumentKey, keysOf func([]mail.Recipient) []mail.DocumentKey) error {
	var recipients []mail.Recipient
	if err := json.Unmarshal(d.recipients, &recipients); err != nil {
		return fmt.Errorf("recipients of %s: %w", d.EarlierID, err)
	}
	recipients = slices.DeleteFunc(recipients, func(r mail.Recipient) bool {
		return r.Status != mail.RecipientSent && r.Status != mail.RecipientUncertain
	})
	d.reached = slices.Contains(keysOf(recipients), key)
	return nil
}

func (s *Store) supersede(ctx context.Context, tx *Tx, u *keyUse, d *Duplicate) error {
	if _, err := tx.one(ctx, supersedeSQL, supersedeSQL, u.sub.TenantID, u.key[:]); err != nil || d.void() {
		return err
	}
	detail, err := json.Marshal(map[string]string{"reason": u.allowed(), "earlier_message_id": d.EarlierID})
	if err != nil {
		return err
	}
	return s.AppendAudit(ctx, tx, &AuditEvent{
		TenantID: u.sub.TenantID, Actor: u.sub.job.createdBy, Action: "message.allow_duplicate", Subject: u.messageID(), Detail: detail,
	})
}

// standing gives for each use the message that stands for its key, nil when none does. The keys are locked first and the messages read
// after: a retry of such a message does the same, so one of the two sees the other.
func (s *Store) standing(ctx context.Context, tx *Tx, uses []keyUse) ([]*Duplicate, error) {
	found := make([]*Duplicate, len(uses))
	if tx.PG == nil {
		for i := range uses {
			u := &uses[i]
			d := &Duplicate{Message: u.message, Key: u.key}
			var accepted, sent int64
			err := tx.SQL.QueryRowContext(ctx, standingSQLite, u.sub.TenantID, u.key[:]).Scan(&d.EarlierID, &d.Status, &accepted, &sent, &d.recipients)
			if noRows(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			d.AcceptedAt, d.SentAt = fromMicros(accepted), fromMicros(sent)
			if err := d.look(u); err != nil {
				return nil, err
			}
			found[i] = d
		}
		return found, nil
	}
	texts, index, keys := newColumns(1, len(uses)), make([]int32, len(uses)), make([][]byte, len(uses))
	for i := range uses {
		texts.add(uses[i].sub.TenantID)
		index[i], keys[i] = int32(i), uses[i].key[:] //nolint:gosec // at most a million
	}
	rows, err := tx.PG.Query(ctx, standingPostgres, index, texts[0], keys)
	if err != nil {
		return nil, err
	}
	var i int
	var id string
	messages := newColumns(2, 0)
	index = index[:0]
	if _, err := pgx.ForEachRow(rows, []any{&i, &id}, func() error {
		found[i] = &Duplicate{Message: uses[i].message, Key: uses[i].key, EarlierID: id}
		index = append(index, int32(i)) //nolint:gosec // as above
		messages.add(uses[i].sub.TenantID, id)
		return nil
	}); err != nil {
		return nil, err
	}
	rows, err = tx.PG.Query(ctx, earlierPostgres, index, messages[0], messages[1])
	if err != nil {
		return nil, err
	}
	var status mail.Status
	var accepted, sent int64
	var recipients []byte
	_, err = pgx.ForEachRow(rows, []any{&i, &status, &accepted, &sent, &recipients}, func() error {
		d := found[i]
		d.Status, d.AcceptedAt, d.SentAt, d.recipients = status, fromMicros(accepted), fromMicros(sent), recipients
		return d.look(&uses[i])
	})
	return found, err
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
			err := tx.row(ctx, takenSQL+` FOR UPDATE`, takenSQL, []any{tenantID, k[:]}, &standing)
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
