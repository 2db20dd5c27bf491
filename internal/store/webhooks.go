package store

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/winprest/facteur/internal/mail"
)

// WebhookEndpoint is an address of a tenant's program that is told what happens.
type WebhookEndpoint struct {
	ID, TenantID     string
	URL, Description string
	Events           []EventType // empty: all
	Language         string      // of the texts in the events
	Enabled          bool
	// DisabledCode is why the service switched it off; empty when it is on, or the tenant did.
	DisabledCode string
	// FailingSince is the first failure after the last success.
	FailingSince time.Time
	// Secret signs; Previous does too until PreviousUntil.
	Secret, Previous     mail.Secret
	PreviousUntil        time.Time
	CreatedAt, UpdatedAt time.Time
}

// MaxWebhookEndpoints is how many endpoints a tenant may have.
const MaxWebhookEndpoints = 20

// WebhookSecretPrefix begins every signing secret; what follows is the key in base64 (Standard Webhooks).
const WebhookSecretPrefix = "whsec_"

// NewWebhookSecret makes a signing secret of 256 bits.
func NewWebhookSecret() mail.Secret {
	key := make([]byte, 32)
	rand.Read(key) //nolint:errcheck // never fails
	return mail.Secret(WebhookSecretPrefix + base64.StdEncoding.EncodeToString(key))
}

type endpointRow struct {
	ID, TenantID, URL, Description, Events, Language string
	Enabled                                          bool
	DisabledCode                                     string
	FailingSince                                     int64
	SealedSecret, SealedPrevious                     []byte
	PreviousUntil                                    int64
	CreatedAt                                        int64 `gorm:"autoCreateTime:false"`
	UpdatedAt                                        int64 `gorm:"autoUpdateTime:false"`
}

func (endpointRow) TableName() string { return "webhook_endpoints" }

func (s *Store) endpointRow(e *WebhookEndpoint) (*endpointRow, error) {
	types := e.Events
	if types == nil {
		types = []EventType{}
	}
	events, err := json.Marshal(types)
	if err != nil {
		return nil, err
	}
	r := &endpointRow{
		ID: e.ID, TenantID: e.TenantID, URL: e.URL, Description: e.Description, Events: string(events), Language: e.Language, Enabled: e.Enabled,
		DisabledCode: e.DisabledCode, FailingSince: micros(e.FailingSince), PreviousUntil: micros(e.PreviousUntil),
		CreatedAt: micros(e.CreatedAt), UpdatedAt: micros(e.UpdatedAt),
	}
	if r.SealedSecret, err = s.seal(signingSecretIn, e.TenantID, e.ID, e.Secret); err != nil {
		return nil, err
	}
	r.SealedPrevious, err = s.seal(formerSecretIn, e.TenantID, e.ID, e.Previous)
	return r, err
}

// endpoint is the row without its secrets.
func (r *endpointRow) endpoint() (*WebhookEndpoint, error) {
	e := &WebhookEndpoint{
		ID: r.ID, TenantID: r.TenantID, URL: r.URL, Description: r.Description, Language: r.Language, Enabled: r.Enabled, DisabledCode: r.DisabledCode,
		FailingSince: fromMicros(r.FailingSince), PreviousUntil: fromMicros(r.PreviousUntil), CreatedAt: fromMicros(r.CreatedAt), UpdatedAt: fromMicros(r.UpdatedAt),
	}
	return e, json.Unmarshal([]byte(r.Events), &e.Events)
}

func (s *Store) openEndpoint(r *endpointRow) (*WebhookEndpoint, error) {
	e, err := r.endpoint()
	if err != nil {
		return nil, err
	}
	if e.Secret, err = s.open(signingSecretIn, r.TenantID, r.ID, r.SealedSecret); err != nil {
		return nil, err
	}
	e.Previous, err = s.open(formerSecretIn, r.TenantID, r.ID, r.SealedPrevious)
	return e, err
}

// auditEndpoint leaves a trace of what was done to an endpoint. The path of a URL may hold a secret: only its host is told.
func auditEndpoint(tx *gorm.DB, actor, action string, e *endpointRow, changed ...string) error {
	detail := map[string]any{"enabled": e.Enabled}
	if u, err := url.Parse(e.URL); err == nil {
		detail["host"] = u.Host
	}
	if len(changed) > 0 {
		detail["changed"] = changed
	}
	return audit(tx, &AuditEvent{TenantID: e.TenantID, Actor: actor, Action: "webhook_endpoint." + action, Subject: e.ID}, detail)
}

// changes names what of an endpoint became different.
func (r *endpointRow) changes(before *endpointRow) (names []string) {
	for _, f := range []struct {
		name      string
		different bool
	}{
		{"url", r.URL != before.URL}, {"description", r.Description != before.Description}, {"events", r.Events != before.Events},
		{"language", r.Language != before.Language}, {"enabled", r.Enabled != before.Enabled},
	} {
		if f.different {
			names = append(names, f.name)
		}
	}
	return names
}

// CreateWebhookEndpoint stores an endpoint, switched on, for the actor. ErrConflict: the tenant has MaxWebhookEndpoints. ErrSealed: the store has
// no keyset.
func (s *Store) CreateWebhookEndpoint(ctx context.Context, e *WebhookEndpoint, actor string) error {
	defer s.audience.forget()
	fill("whe", &e.ID, &e.CreatedAt)
	e.UpdatedAt, e.Enabled = e.CreatedAt, true
	row, err := s.endpointRow(e)
	if err != nil {
		return err
	}
	return failed("create webhook endpoint", s.transaction(ctx, func(tx *gorm.DB) error {
		// Two that are made at the same time count each other.
		if err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", e.TenantID).Take(&tenantRow{}).Error; err != nil {
			return err
		}
		var n int64
		if err := tx.Model(&endpointRow{}).Where("tenant_id = ?", e.TenantID).Count(&n).Error; err != nil {
			return err
		}
		if n >= MaxWebhookEndpoints {
			return ErrConflict
		}
		if err := tx.Create(row).Error; err != nil {
			return err
		}
		return auditEndpoint(tx, actor, "create", row)
	}))
}

// WebhookEndpoint gives an endpoint without its secrets.
func (s *Store) WebhookEndpoint(ctx context.Context, tenantID, id string) (*WebhookEndpoint, error) {
	var row endpointRow
	if err := s.ro.WithContext(ctx).Where("tenant_id = ? AND id = ?", tenantID, id).Take(&row).Error; err != nil {
		return nil, failed("webhook endpoint", err)
	}
	return row.endpoint()
}

// ListWebhookEndpoints lists a tenant's endpoints, newest first, without their secrets.
func (s *Store) ListWebhookEndpoints(ctx context.Context, tenantID string, p Page) (*List[*WebhookEndpoint], error) {
	return list(s.ro.WithContext(ctx).Where("tenant_id = ?", tenantID), p, "id", func(r *endpointRow) string { return r.ID }, (*endpointRow).endpoint)
}

// ChangeWebhookEndpoint locks an endpoint, lets change edit it, secrets included, for the actor, and gives it as it is then.
func (s *Store) ChangeWebhookEndpoint(ctx context.Context, tenantID, id, actor string, change func(*WebhookEndpoint)) (e *WebhookEndpoint, err error) {
	defer s.audience.forget()
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		var old endpointRow
		if err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("tenant_id = ? AND id = ?", tenantID, id).Take(&old).Error; err != nil {
			return err
		}
		var err error
		if e, err = s.openEndpoint(&old); err != nil {
			return err
		}
		secret := e.Secret
		change(e)
		e.UpdatedAt = fromMicros(later(old.UpdatedAt))
		row, err := s.endpointRow(e)
		if err != nil {
			return err
		}
		if err := tx.Select("*").Where("tenant_id = ?", tenantID).Updates(row).Error; err != nil {
			return err
		}
		if e.Secret != secret {
			return auditEndpoint(tx, actor, "rotate_secret", row)
		}
		return auditEndpoint(tx, actor, "change", row, row.changes(&old)...)
	})
	return e, failed("change webhook endpoint", err)
}

// DeleteWebhookEndpoint forgets an endpoint with all its deliveries, for the actor.
func (s *Store) DeleteWebhookEndpoint(ctx context.Context, tenantID, id, actor string) error {
	defer s.audience.forget()
	return failed("delete webhook endpoint", s.transaction(ctx, func(tx *gorm.DB) error {
		var row endpointRow
		if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("tenant_id = ? AND id = ?", tenantID, id).Take(&row).Error; err != nil {
			return err
		}
		if err := tx.Where("tenant_id = ? AND id = ?", tenantID, id).Delete(&endpointRow{}).Error; err != nil {
			return err
		}
		return auditEndpoint(tx, actor, "delete", &row)
	}))
}
