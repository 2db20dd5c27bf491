package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/winprest/facteur/internal/mail"
)

// NoticeKind is what a person wants to be told by mail.
type NoticeKind string

const (
	NoticeJobFailures NoticeKind = "send_job_failures" // a send job ended with mails that were not sent, or it stands still
	NoticeProfile     NoticeKind = "sender_profile"    // a sender profile needs a person
	NoticeEndpoint    NoticeKind = "webhook_endpoint"  // a webhook endpoint was switched off
)

// noticeTypes are the events that each kind is about.
var noticeTypes = map[NoticeKind][]EventType{
	NoticeJobFailures: {EventJobCompleted, EventJobPaused, EventJobExpiring, EventJobExpired},
	NoticeProfile:     {EventProfileNeedsAttention},
	NoticeEndpoint:    {EventEndpointDisabled},
}

// ActorNotices is who made the send jobs of notice mails. What becomes of those is told by no further notice.
const ActorNotices = "notices"

// noticeAgain is how long the same trouble of the same thing is not told again.
const noticeAgain = 6 * time.Hour

// NoticeSettings say whom a tenant wants to be told by mail, of what, and from which sender profile.
type NoticeSettings struct {
	TenantID        string
	Addresses       []string
	Language        string
	SenderProfileID string
	Kinds           []NoticeKind
	UpdatedAt       time.Time
}

// Notice is a notice mail that is to be written.
type Notice struct {
	ID, TenantID string
	Event        Event
	CreatedAt    time.Time
}

type noticeSettingsRow struct {
	TenantID                                    string `gorm:"primaryKey"`
	Addresses, Language, SenderProfileID, Kinds string
	UpdatedAt                                   int64 `gorm:"autoUpdateTime:false"`
}

func (noticeSettingsRow) TableName() string { return "notice_settings" }

type noticeRow struct {
	ID, TenantID, EventID, Subject, Trouble, State string
	DueAt                                          int64
	CreatedAt                                      int64 `gorm:"autoCreateTime:false"`
}

func (noticeRow) TableName() string { return "notices" }

func (r *noticeSettingsRow) settings() (*NoticeSettings, error) {
	n := &NoticeSettings{TenantID: r.TenantID, Language: r.Language, SenderProfileID: r.SenderProfileID, UpdatedAt: fromMicros(r.UpdatedAt)}
	if err := json.Unmarshal([]byte(r.Addresses), &n.Addresses); err != nil {
		return nil, fmt.Errorf("store: notice addresses: %w", err)
	}
	return n, json.Unmarshal([]byte(r.Kinds), &n.Kinds)
}

// NoticeSettings gives a tenant's settings; ErrNotFound: it has none, and nobody is told.
func (s *Store) NoticeSettings(ctx context.Context, tenantID string) (*NoticeSettings, error) {
	var row noticeSettingsRow
	if err := s.ro.WithContext(ctx).Where("tenant_id = ?", tenantID).Take(&row).Error; err != nil {
		return nil, failed("notice settings", err)
	}
	return row.settings()
}

// PutNoticeSettings replaces a tenant's settings, for the actor. ErrNotFound: the sender profile is not its own.
func (s *Store) PutNoticeSettings(ctx context.Context, n *NoticeSettings, actor string) error {
	defer s.audience.forget()
	n.UpdatedAt = Now()
	addresses, err := json.Marshal(n.Addresses)
	if err != nil {
		return err
	}
	kinds, err := json.Marshal(n.Kinds)
	if err != nil {
		return err
	}
	row := &noticeSettingsRow{
		TenantID: n.TenantID, Addresses: string(addresses), Language: n.Language, SenderProfileID: n.SenderProfileID, Kinds: string(kinds), UpdatedAt: micros(n.UpdatedAt),
	}
	return failed("put notice settings", s.transaction(ctx, func(tx *gorm.DB) error {
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(row).Error; err != nil {
			return err
		}
		return auditNotices(tx, n.TenantID, actor, "change", map[string]any{"addresses": n.Addresses, "kinds": n.Kinds, "sender_profile_id": n.SenderProfileID})
	}))
}

// DeleteNoticeSettings has nobody of the tenant told by mail any more, for the actor.
func (s *Store) DeleteNoticeSettings(ctx context.Context, tenantID, actor string) error {
	defer s.audience.forget()
	return failed("delete notice settings", s.transaction(ctx, func(tx *gorm.DB) error {
		q := tx.Where("tenant_id = ?", tenantID).Delete(&noticeSettingsRow{})
		if q.Error != nil || q.RowsAffected == 0 {
			return q.Error
		}
		return auditNotices(tx, tenantID, actor, "delete", struct{}{})
	}))
}

func auditNotices(tx *gorm.DB, tenantID, actor, action string, detail any) error {
	return audit(tx, &AuditEvent{TenantID: tenantID, Actor: actor, Action: "notice_settings." + action, Subject: tenantID}, detail)
}

// addNotice has a person told of an event, when it is for him and was not told before.
func addNotice(tx *gorm.DB, n *NoticeSettings, e *Event, now time.Time) error {
	if !n.wants(e) {
		return nil
	}
	if e.isOfJob() {
		var by string
		err := tx.Raw("SELECT created_by FROM send_jobs WHERE tenant_id = ? AND id = ?", e.TenantID, e.Subject).Scan(&by).Error
		if err != nil || by == ActorNotices {
			return err
		}
	}
	row := &noticeRow{
		ID: NewID("ntc"), TenantID: e.TenantID, EventID: e.ID, Subject: e.Subject, Trouble: string(e.Type) + " " + e.Data.Code,
		State: "pending", DueAt: micros(now), CreatedAt: micros(now),
	}
	var told bool
	err := tx.Raw("SELECT EXISTS (SELECT 1 FROM notices WHERE tenant_id = ? AND subject = ? AND trouble = ? AND created_at > ?)",
		row.TenantID, row.Subject, row.Trouble, micros(now.Add(-noticeAgain))).Scan(&told).Error
	if err != nil || told {
		return err
	}
	return tx.Create(row).Error
}

func (n *NoticeSettings) wants(e *Event) bool {
	switch {
	case e.Type == EventJobCompleted && e.Data.Counts["failed"]+e.Data.Counts["uncertain"] == 0:
		return false
	case e.Type == EventJobPaused && e.Data.Code == string(mail.GatePaused): // somebody did it, and knows
		return false
	}
	for _, k := range n.Kinds {
		for _, t := range noticeTypes[k] {
			if t == e.Type {
				return true
			}
		}
	}
	return false
}

func (e *Event) isOfJob() bool {
	return e.Type == EventJobCompleted || e.Type == EventJobPaused || e.Type == EventJobExpiring || e.Type == EventJobExpired
}

// ClaimNotices leases at most n notices that are to be written to the caller.
func (s *Store) ClaimNotices(ctx context.Context, n int, lease time.Duration, now time.Time) (notices []Notice, err error) {
	const due = "state = 'pending' AND due_at <= ?"
	var waiting bool
	if err := s.ro.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM notices WHERE "+due+")", micros(now)).Scan(&waiting).Error; err != nil || !waiting {
		return nil, failed("notices", err)
	}
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		notices = nil
		var rows []noticeRow
		if err := tx.Clauses(skipLocked).Where(due, micros(now)).Order("due_at").Limit(n).Find(&rows).Error; err != nil {
			return err
		}
		for _, r := range rows {
			if err := tx.Model(&noticeRow{}).Where("id = ?", r.ID).UpdateColumn("due_at", micros(now.Add(lease))).Error; err != nil {
				return err
			}
			var row eventRow
			if err := tx.Where("id = ?", r.EventID).Take(&row).Error; err != nil {
				return err
			}
			e, err := row.event()
			if err != nil {
				return err
			}
			notices = append(notices, Notice{ID: r.ID, TenantID: r.TenantID, Event: *e, CreatedAt: fromMicros(r.CreatedAt)})
		}
		return nil
	})
	return notices, failed("notices", err)
}

// EndNotice records that the mail of a notice is in the outbox, or will not be.
func (s *Store) EndNotice(ctx context.Context, id string, queued bool) error {
	state := "dropped"
	if queued {
		state = "queued"
	}
	return failed("end notice", s.db.WithContext(ctx).Model(&noticeRow{}).Where("id = ?", id).UpdateColumn("state", state).Error)
}
