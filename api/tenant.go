package api

import (
	"encoding/json"
	"time"
)

// Tenant is one customer firm. It owns everything else.
type Tenant struct {
	// ID of the tenant.
	ID string `json:"id" example:"tnt_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Name of the firm.
	Name string `json:"name" example:"Zoë SRL"`
	// CreatedAt is when it was made.
	CreatedAt time.Time `json:"created_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
}

// TenantRequest makes a tenant.
type TenantRequest struct {
	// Name of the firm.
	Name string `json:"name" example:"Zoë SRL" validate:"required,max=200"`
}

// APIKey is a key of a tenant, without its secret.
type APIKey struct {
	// ID of the key.
	ID string `json:"id" example:"key_01kbvf8q3dx1e0z9"`
	// Name is what a person calls it.
	Name string `json:"name" example:"WinPrest of the front office"`
	// Scopes are what it may do.
	Scopes []string `json:"scopes" enums:"send,read,manage" example:"send"`
	// CreatedAt is when it was made.
	CreatedAt time.Time `json:"created_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
	// LastUsedAt is when it was last used, at most a minute late; absent: never.
	LastUsedAt *time.Time `json:"last_used_at,omitempty" format:"date-time" example:"2026-11-23T08:00:00Z"`
	// RevokedAt is when it was revoked; absent: it works.
	RevokedAt *time.Time `json:"revoked_at,omitempty" format:"date-time" example:"2026-11-23T08:00:00Z"`
}

// APIKeyRequest makes a key.
type APIKeyRequest struct {
	// Name is what a person calls it.
	Name string `json:"name" example:"WinPrest of the front office" validate:"required,max=200"`
	// Scopes are what it may do: send mail and upload files; read everything of the tenant; manage profiles and templates.
	Scopes []string `json:"scopes" enums:"send,read,manage" example:"send" validate:"required,max=10"`
}

// NewAPIKey is a key with its secret, which is shown this once.
type NewAPIKey struct {
	APIKey
	// Key is the bearer token. It cannot be had again.
	Key string `json:"key" example:"fct_01kbvf8q3dx1e0z9_4x7q..."`
}

// AuditEvent is one act of a person or program that a firm may want to look up.
type AuditEvent struct {
	// ID of the event.
	ID string `json:"id" example:"aud_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Actor is the id of the API key that asked; reconciliation when the service found out by itself what became of a message, events when
	// a provider's report said so.
	Actor string `json:"actor" example:"key_01kbvf8q3dx1e0z9"`
	// Action that was done.
	Action string `json:"action" example:"message.resolve"`
	// Subject is the id of what it was done to.
	Subject string `json:"subject" example:"msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Detail of the act; its fields depend on the action.
	Detail json.RawMessage `json:"detail" swaggertype:"object"`
	// CreatedAt is when it happened.
	CreatedAt time.Time `json:"created_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
}

// Health says that the process answers.
type Health struct {
	// Status is ok.
	Status string `json:"status" enums:"ok" example:"ok"`
}

// Readiness says whether the service can do its work.
type Readiness struct {
	// Status is ready or not_ready.
	Status string `json:"status" enums:"ready,not_ready" example:"ready"`
	// Database says whether the database answers and has the schema of this version.
	Database string `json:"database" enums:"ok,unreachable,not_migrated" example:"ok"`
}
