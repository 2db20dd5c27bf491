package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"github.com/winprest/facteur/internal/mail"
)

// Reconciling looks for mails of uncertain outcome at the provider that they were handed to. Every process may do it: a look is
// leased, and what comes of it is fenced by the look's token and by the claim of the hand-over that it is about.

// Watch asks Journal to have a message looked up, in the commit that makes it uncertain.
type Watch struct {
	// ProfileVersion is the profile's that the hand-over was made with. 0: not known for certain; then the mail may be found but
	// never be said to be absent.
	ProfileVersion int64
	// Lost says that the process disappeared during the hand-over.
	Lost bool
	// First is when to look first, counted from the commit.
	First time.Duration
}

// Look is one look at the provider, leased to the caller.
type Look struct {
	TenantID, MessageID, ProfileID string
	Claim, Token                   string
	ProfileVersion                 int64
	Lost                           bool
	Elapsed                        time.Duration // since the outcome became uncertain, by the database's clock
}

const (
	watchPostgres = `INSERT INTO reconciliations (tenant_id, message_id, profile_id, claim, profile_version, lost, since, due_at)
	SELECT DISTINCT ON (m.tenant_id, m.id) m.tenant_id, m.id, m.profile_id, m.claim, v.version, v.lost, ` + nowPostgres + `, ` + nowPostgres + ` + v.first
	FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::boolean[], $6::bigint[]) AS v (tenant_id, id, token, version, lost, first)
	JOIN messages m ON m.tenant_id = v.tenant_id AND m.id = v.id WHERE m.claim = v.token AND m.status = 'uncertain'` + watchAgain
	watchSQLite = `INSERT INTO reconciliations (tenant_id, message_id, profile_id, claim, profile_version, lost, since, due_at)
	SELECT tenant_id, id, profile_id, claim, $4, $5, ` + nowSQLite + `, ` + nowSQLite + ` + $6 FROM messages
	WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND status = 'uncertain'` + watchAgain
	watchAgain = ` ON CONFLICT (tenant_id, message_id) DO UPDATE SET claim = excluded.claim, profile_version = excluded.profile_version,
	lost = excluded.lost, since = excluded.since, due_at = excluded.due_at, token = NULL`

	lookDue          = `SELECT EXISTS (SELECT 1 FROM reconciliations WHERE due_at <= `
	takeLookPostgres = `UPDATE reconciliations r SET token = $1, due_at = ` + nowPostgres + ` + $2 FROM (
	SELECT tenant_id, message_id FROM reconciliations WHERE due_at <= ` + nowPostgres + ` ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED) d
	WHERE r.tenant_id = d.tenant_id AND r.message_id = d.message_id
	RETURNING r.tenant_id, r.message_id, r.profile_id, r.claim, r.profile_version, r.lost, ` + nowPostgres + ` - r.since`
	takeLookSQLite = `UPDATE reconciliations SET token = $1, due_at = ` + nowSQLite + ` + $2 WHERE (tenant_id, message_id) IN (
	SELECT tenant_id, message_id FROM reconciliations WHERE due_at <= ` + nowSQLite + ` ORDER BY due_at LIMIT $3)
	RETURNING tenant_id, message_id, profile_id, claim, profile_version, lost, ` + nowSQLite + ` - since`
	lookAgainPostgres = `UPDATE reconciliations SET token = NULL, due_at = ` + nowPostgres + ` + $4 WHERE tenant_id = $1 AND message_id = $2 AND token = $3`
	lookAgainSQLite   = `UPDATE reconciliations SET token = NULL, due_at = ` + nowSQLite + ` + $4 WHERE tenant_id = $1 AND message_id = $2 AND token = $3`
	endLook           = `DELETE FROM reconciliations WHERE tenant_id = $1 AND message_id = $2 AND token = $3`
)

// watchesPostgres is the statement, and its columns, for those outcomes that are to be watched. It comes behind the settling.
func watchesPostgres(b *pgx.Batch, outcomes []outcome) {
	cols := newColumns(3, 0)
	var versions, first []int64
	var lost []bool
	for i := range outcomes {
		o := &outcomes[i]
		if o.watched() {
			cols.add(o.TenantID, o.MessageID, o.Token)
			versions, lost, first = append(versions, o.Watch.ProfileVersion), append(lost, o.Watch.Lost), append(first, o.Watch.First.Microseconds())
		}
	}
	if len(first) > 0 {
		b.Queue(watchPostgres, cols[0], cols[1], cols[2], versions, lost, first)
	}
}

func (o *Settled) watched() bool { return o.Watch != nil && o.Status == mail.StatusUncertain }

func watchInSQLite(ctx context.Context, tx *Tx, o *Settled) error {
	_, err := tx.SQL.ExecContext(ctx, watchSQLite, o.TenantID, o.MessageID, o.Token, o.Watch.ProfileVersion, o.Watch.Lost, o.Watch.First.Microseconds())
	return err
}

// Looks leases at most n looks that are due, and gives them the token.
func (s *Store) Looks(ctx context.Context, token string, lease time.Duration, n int) ([]Look, error) {
	var due bool
	if err := s.ro.WithContext(ctx).Raw(lookDue + s.now() + ")").Scan(&due).Error; err != nil || !due {
		return nil, failed("looks", err)
	}
	var looks []Look
	err := s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		looks = nil
		l := Look{Token: token}
		var elapsed int64
		dest := []any{&l.TenantID, &l.MessageID, &l.ProfileID, &l.Claim, &l.ProfileVersion, &l.Lost, &elapsed}
		return tx.each(ctx, takeLookPostgres, takeLookSQLite, []any{token, lease.Microseconds(), n}, dest, func() {
			l.Elapsed = time.Duration(elapsed) * time.Microsecond
			looks = append(looks, l)
		})
	})
	return looks, failed("looks", err)
}

// LookAgain ends a look that settled nothing; the next one is due after in.
func (s *Store) LookAgain(ctx context.Context, l *Look, in time.Duration) error {
	return failed("look again", s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := tx.one(ctx, lookAgainPostgres, lookAgainSQLite, l.TenantID, l.MessageID, l.Token, in.Microseconds())
		return err
	}))
}

// EndLook ends a look together with all further ones. It is false when the look was another's by now.
func (s *Store) EndLook(ctx context.Context, tx *Tx, l *Look) (bool, error) {
	return tx.one(ctx, endLook, endLook, l.TenantID, l.MessageID, l.Token)
}

// KeepEvidence notes in the record of a message's latest attempt what proves that it was sent.
func (s *Store) KeepEvidence(ctx context.Context, tx *Tx, tenantID, messageID, evidence string) error {
	const (
		read  = `SELECT coalesce(attempt, '') FROM messages WHERE tenant_id = $1 AND id = $2`
		write = `UPDATE messages SET attempt = $3 WHERE tenant_id = $1 AND id = $2`
	)
	docs, err := column[string](ctx, tx, read, read, tenantID, messageID)
	if err != nil || len(docs) == 0 || docs[0] == "" {
		return err
	}
	var a attemptRecord
	if err := json.Unmarshal([]byte(docs[0]), &a); err != nil {
		return fmt.Errorf("store: attempt of %s: %w", messageID, err)
	}
	a.Detail.Evidence = evidence
	doc, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = tx.one(ctx, write, write, tenantID, messageID, string(doc))
	return err
}

// SentBeside gives the ids of the profile's messages, sent before a time, that were accepted next before and next after a message:
// at most one of each.
func (s *Store) SentBeside(ctx context.Context, tenantID, profileID, messageID string, before time.Time) (ids []string, err error) {
	q := s.ro.WithContext(ctx).Table("messages").
		Where("tenant_id = ? AND profile_id = ? AND status = 'sent' AND sent_at < ?", tenantID, profileID, micros(before)).Limit(1)
	for _, side := range []struct{ where, order string }{{"id < ?", "id DESC"}, {"id > ?", "id"}} {
		var id []string
		if err := q.Session(&gorm.Session{}).Where(side.where, messageID).Order(side.order).Pluck("id", &id).Error; err != nil {
			return nil, failed("sent messages", err)
		}
		ids = append(ids, id...)
	}
	return ids, nil
}

// SentEvidence gives the evidence of those of the messages that the profile has sent, by their ids.
func (s *Store) SentEvidence(ctx context.Context, tenantID, profileID string, ids []string) (map[string]string, error) {
	var rows []struct{ ID, Attempt string }
	err := s.ro.WithContext(ctx).Table("messages").Select("id, attempt").
		Where("tenant_id = ? AND id IN ? AND profile_id = ? AND status = 'sent' AND attempt IS NOT NULL", tenantID, ids, profileID).Scan(&rows).Error
	if err != nil {
		return nil, failed("sent evidence", err)
	}
	evidence := make(map[string]string, len(rows))
	for _, r := range rows {
		var a attemptRecord
		if err := json.Unmarshal([]byte(r.Attempt), &a); err != nil {
			return nil, fmt.Errorf("store: attempt of %s: %w", r.ID, err)
		}
		evidence[r.ID] = a.Detail.Evidence
	}
	return evidence, nil
}
