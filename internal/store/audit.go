package store

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"gorm.io/gorm"
)

// AuditEvent is one act of a person or program that the tenant may want to look up.
type AuditEvent struct {
	ID       string // "aud_…"; empty: a new one
	TenantID string
	Actor    string // API key id
	Action   string // "message.resolve"
	Subject  string // the id it was done to
	Detail   json.RawMessage
	// CreatedAt is now when zero.
	CreatedAt time.Time
}

type auditRow struct {
	ID, TenantID, Actor, Action, Subject, Detail string
	CreatedAt                                    int64 `gorm:"autoCreateTime:false"`
}

func (auditRow) TableName() string { return "audit_events" }

const insertAudit = `INSERT INTO audit_events (id, tenant_id, actor, action, subject, detail, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`

// AppendAudit writes an event in the transaction of what it tells.
func (s *Store) AppendAudit(ctx context.Context, tx *Tx, e *AuditEvent) error {
	fill("aud", &e.ID, &e.CreatedAt)
	if len(e.Detail) == 0 {
		e.Detail = json.RawMessage("{}")
	}
	_, err := tx.affect(ctx, insertAudit, insertAudit, e.ID, e.TenantID, e.Actor, e.Action, e.Subject, string(e.Detail), micros(e.CreatedAt))
	return failed("audit", err)
}

// audit is AppendAudit for a transaction of the resources. detail becomes JSON.
func audit(tx *gorm.DB, e *AuditEvent, detail any) error {
	fill("aud", &e.ID, &e.CreatedAt)
	doc, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	return tx.Create(&auditRow{e.ID, e.TenantID, e.Actor, e.Action, e.Subject, string(doc), micros(e.CreatedAt)}).Error
}

// ListAudit lists a tenant's events, newest first.
func (s *Store) ListAudit(ctx context.Context, tenantID string, p Page) (*List[*AuditEvent], error) {
	return list(s.ro.WithContext(ctx).Where("tenant_id = ?", tenantID), p, "id",
		func(r *auditRow) string { return r.ID },
		func(r *auditRow) (*AuditEvent, error) { return r.event(), nil })
}

// AuditOf gives the events about a message, oldest first. They are looked for among those of its tenant since it was made: ids
// sort by time.
func (s *Store) AuditOf(ctx context.Context, tenantID, messageID string) ([]*AuditEvent, error) {
	_, made, _ := strings.Cut(messageID, "_")
	const halfMinute = 7 // of the ten letters that are an id's time: the clocks of two machines may differ
	since := "aud_" + made[:min(len(made), halfMinute)]
	var rows []auditRow
	err := s.ro.WithContext(ctx).Where("tenant_id = ? AND id >= ? AND subject = ?", tenantID, since, messageID).Order("id").Find(&rows).Error
	if err != nil {
		return nil, failed("audit", err)
	}
	events := make([]*AuditEvent, len(rows))
	for i := range rows {
		events[i] = rows[i].event()
	}
	return events, nil
}

func (r *auditRow) event() *AuditEvent {
	return &AuditEvent{
		ID: r.ID, TenantID: r.TenantID, Actor: r.Actor, Action: r.Action, Subject: r.Subject,
		Detail: json.RawMessage(r.Detail), CreatedAt: fromMicros(r.CreatedAt),
	}
}
