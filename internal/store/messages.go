package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/winprest/facteur/internal/mail"
)

// isHeld is true of a message m that waits while its profile p has a hold.
const isHeld = "(m.status IN ('queued', 'deferred') AND p.hold IS NOT NULL)"

// readRow is a message m with its contents c and what is wrong with its profile p.
type readRow struct {
	ID, TenantID, JobID, ProfileID string
	Status, Phase                  string
	Priority                       int
	NotBefore, ExpiresAt           int64
	Attempts                       int
	Recipients, Code, Delivery     string
	Attempt                        *string
	CreatedAt                      int64 `gorm:"autoCreateTime:false"`
	UpdatedAt                      int64 `gorm:"autoUpdateTime:false"`
	SentAt                         *int64

	Subject, Content, Detail string
	Hold                     *string
}

func messages(q *gorm.DB, tenantID string) *gorm.DB {
	return joined(q.Table("messages m"), tenantID)
}

func joined(q *gorm.DB, tenantID string) *gorm.DB {
	return q.Select("m.*, c.subject, c.content, c.detail, p.hold").
		Joins("JOIN message_contents c ON c.tenant_id = m.tenant_id AND c.message_id = m.id").
		Joins("JOIN sender_profiles p ON p.id = m.profile_id").
		Where("m.tenant_id = ?", tenantID)
}

func (r *readRow) message() (*Message, error) {
	m := &Message{
		ID: r.ID, TenantID: r.TenantID, JobID: r.JobID, ProfileID: r.ProfileID,
		Status: mail.Status(r.Status), Phase: mail.Phase(r.Phase), Priority: mail.Priority(r.Priority),
		NotBefore: fromMicros(r.NotBefore), ExpiresAt: fromMicros(r.ExpiresAt), Attempts: r.Attempts, Code: r.Code, Delivery: mail.Delivery(r.Delivery),
		CreatedAt: fromMicros(r.CreatedAt), UpdatedAt: fromMicros(r.UpdatedAt), SentAt: fromOptional(r.SentAt), Subject: r.Subject,
	}
	var content struct {
		Language string `json:"language"`
	}
	for _, part := range []struct {
		doc  string
		into any
	}{{r.Recipients, &m.Recipients}, {r.Detail, &m.Detail}, {r.Content, &content}} {
		if err := json.Unmarshal([]byte(part.doc), part.into); err != nil {
			return nil, fmt.Errorf("store: message %s: %w", r.ID, err)
		}
	}
	m.Language = content.Language
	if r.Attempt != nil {
		latest, err := attemptOf(r.ID, attemptRow{r.Attempts, r.Attempt})
		if err != nil {
			return nil, err
		}
		m.Latest = latest
	}
	if r.Hold != nil && (m.Status == mail.StatusQueued || m.Status == mail.StatusDeferred) {
		hold, err := trouble(r.Hold)
		if err != nil {
			return nil, fmt.Errorf("store: hold of %s: %w", r.ProfileID, err)
		}
		m.Status, m.Code = mail.StatusHeld, hold.Code
	}
	return m, nil
}

// Message gives one message.
func (s *Store) Message(ctx context.Context, tenantID, id string) (*Message, error) {
	var row readRow
	done := messages(s.ro.WithContext(ctx), tenantID).Where("m.id = ?", id).Limit(1).Scan(&row)
	if done.Error != nil {
		return nil, failed("message", done.Error)
	}
	if done.RowsAffected == 0 {
		return nil, ErrNotFound
	}
	return row.message()
}

// ListMessages lists a tenant's messages, newest first.
func (s *Store) ListMessages(ctx context.Context, tenantID string, f MessageFilter, p Page) (*List[*Message], error) {
	q := messages(s.ro.WithContext(ctx), tenantID)
	if f.Status == mail.StatusUncertain {
		q = joined(s.uncertainMessages(s.ro.WithContext(ctx), tenantID), tenantID)
	}
	if f.JobID != "" {
		q = q.Where("m.job_id = ?", f.JobID)
	}
	if f.ProfileID != "" {
		q = q.Where("m.profile_id = ?", f.ProfileID)
	}
	if f.ExternalID != "" {
		q = q.Where("c.tenant_id = ? AND c.external_id = ?", tenantID, f.ExternalID)
	}
	switch f.Status {
	case "":
	case mail.StatusHeld:
		q = q.Where(isHeld)
	case mail.StatusQueued, mail.StatusDeferred:
		q = q.Where("m.status = ? AND p.hold IS NULL", string(f.Status))
	default:
		q = q.Where("m.status = ?", string(f.Status))
	}
	if f.Delivery != "" {
		q = q.Where("m.delivery = ?", string(f.Delivery))
	}
	if f.Delivery == mail.DeliveryBounced || f.Delivery == mail.DeliveryComplained {
		// They are few among many, and messages have no index for it: it would cost every mail that is sent.
		q = q.Where("m.id IN (SELECT d.message_id FROM deliveries d WHERE d.tenant_id = ? AND d.delivery = ?)", tenantID, string(f.Delivery))
	}
	q = created(q, "m.created_at", f.CreatedAfter, f.CreatedBefore)
	return list(q, p, "m.id", func(r *readRow) string { return r.ID }, (*readRow).message)
}

func created(q *gorm.DB, column string, after, before time.Time) *gorm.DB {
	if !after.IsZero() {
		q = q.Where(column+" >= ?", micros(after))
	}
	if !before.IsZero() {
		q = q.Where(column+" < ?", micros(before))
	}
	return q
}

// MessageContent gives what a message's bytes are made from.
func (s *Store) MessageContent(ctx context.Context, tenantID, id string) (*mail.Content, error) {
	var stored storedContent
	var shared sharedText
	err := s.row(ctx, contentSQL, []any{tenantID, id}, append(stored.columns(), &shared.id, &shared.text, &shared.html)...)
	if err != nil {
		return nil, failed("message content", err)
	}
	if shared.id != "" {
		stored.shared = &shared
	}
	c, err := stored.content()
	if err != nil {
		return nil, fmt.Errorf("store: content of %s: %w", id, err)
	}
	return c, nil
}

const contentSQL = `SELECT c.subject, c.text, c.html, coalesce(c.shared_text_id, ''), c.content, coalesce(t.id, ''), coalesce(t.text, ''), coalesce(t.html, '')
FROM message_contents c LEFT JOIN shared_texts t ON t.tenant_id = c.tenant_id AND t.id = c.shared_text_id
WHERE c.tenant_id = $1 AND c.message_id = $2`

type attemptRow struct {
	N       int
	Attempt *string
}

// attemptsOf is the earlier attempts and then the latest one, which is null when there was none yet.
const attemptsOf = `SELECT n, attempt FROM attempts WHERE tenant_id = @tenant AND message_id = @id
UNION SELECT attempts, attempt FROM messages WHERE tenant_id = @tenant AND id = @id ORDER BY 1`

// Attempts lists a message's attempts, oldest first.
func (s *Store) Attempts(ctx context.Context, tenantID, id string) ([]Attempt, error) {
	var rows []attemptRow
	err := s.ro.WithContext(ctx).Raw(attemptsOf, sql.Named("tenant", tenantID), sql.Named("id", id)).Scan(&rows).Error
	if err != nil {
		return nil, failed("attempts", err)
	}
	if len(rows) == 0 {
		return nil, ErrNotFound
	}
	attempts := make([]Attempt, 0, len(rows))
	for _, r := range rows {
		if r.Attempt == nil {
			continue
		}
		a, err := attemptOf(id, r)
		if err != nil {
			return nil, err
		}
		attempts = append(attempts, *a)
	}
	return attempts, nil
}

func attemptOf(id string, r attemptRow) (*Attempt, error) {
	var a attemptRecord
	if err := json.Unmarshal([]byte(*r.Attempt), &a); err != nil {
		return nil, fmt.Errorf("store: attempt %d of %s: %w", r.N, id, err)
	}
	return &Attempt{
		MessageID: id, N: r.N, StartedAt: fromMicros(a.Started), FinishedAt: fromMicros(a.Finished), Outcome: a.Outcome, Detail: a.Detail,
	}, nil
}
