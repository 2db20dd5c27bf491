package store

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// This file holds the signatures until their implementations land.

type Tenant struct {
	ID, Name  string
	CreatedAt time.Time
}

// Create functions: a nil rec means no idempotency. ID, CreatedAt, UpdatedAt (and Version 1) of the argument are filled when they are zero,
// so a caller that needs them for the record's Body sets them itself first: ID with NewID, times with Now().
func (s *Store) CreateTenant(ctx context.Context, t *Tenant, rec *IdempotencyRecord) error {
	panic("pending")
}
func (s *Store) Tenant(ctx context.Context, id string) (*Tenant, error) { panic("pending") }
func (s *Store) ListTenants(ctx context.Context, p Page) (*List[*Tenant], error) {
	panic("pending")
}
func (s *Store) CountTenants(ctx context.Context) (int, error) { panic("pending") }

// Now is the time, cut to the microseconds that the database keeps.
func Now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

type Scope string

const (
	ScopeSend     Scope = "send"
	ScopeRead     Scope = "read"
	ScopeManage   Scope = "manage"
	ScopeOperator Scope = "operator"
)

type APIKey struct {
	ID                    string // "key_…"
	TenantID              string // empty: an operator's
	Name                  string
	Scopes                []Scope
	CreatedAt             time.Time
	LastUsedAt, RevokedAt time.Time // zero: never
}

func (k *APIKey) Has(scope Scope) bool { panic("pending") }

func (s *Store) CreateKey(ctx context.Context, tenantID, name string, scopes []Scope) (*APIKey, string, error) {
	panic("pending")
}
func (s *Store) Authenticate(ctx context.Context, plaintext string) (*APIKey, error) {
	panic("pending")
}
func (s *Store) RevokeKey(ctx context.Context, tenantID, id string) error { panic("pending") }
func (s *Store) KeyByID(ctx context.Context, id string) (*APIKey, error)  { panic("pending") }
func (s *Store) ListKeys(ctx context.Context, tenantID string, p Page) (*List[*APIKey], error) {
	panic("pending")
}

type ProfileFilter struct {
	Level    mail.Level
	OwnerRef string
}

func (s *Store) CreateProfile(ctx context.Context, p *mail.Profile, rec *IdempotencyRecord) error {
	panic("pending")
}
func (s *Store) Profile(ctx context.Context, tenantID, id string) (*mail.Profile, error) {
	panic("pending")
}
func (s *Store) ProfileByID(ctx context.Context, id string) (*mail.Profile, error) { panic("pending") }
func (s *Store) ListProfiles(ctx context.Context, tenantID string, f ProfileFilter, p Page) (*List[*mail.Profile], error) {
	panic("pending")
}

// UpdateProfile: version is what the row must have (If-Match), 0 = any. For a PATCH without If-Match pass the Version that was read, and read again on ErrVersion. On success p has the new
// Version and UpdatedAt, and Hold and Pause are cleared.
func (s *Store) UpdateProfile(ctx context.Context, p *mail.Profile, version int64) error {
	panic("pending")
}
func (s *Store) DeleteProfile(ctx context.Context, tenantID, id string, version int64) error {
	panic("pending")
}
func (s *Store) DefaultProfile(ctx context.Context, tenantID string, level mail.Level, ownerRef string) (*mail.Profile, error) {
	panic("pending")
}

type TemplateFilter struct{ DocumentType, CompanyRef string }

func (s *Store) CreateTemplate(ctx context.Context, t *mail.Template, rec *IdempotencyRecord) error {
	panic("pending")
}
func (s *Store) Template(ctx context.Context, tenantID, id string) (*mail.Template, error) {
	panic("pending")
}
func (s *Store) TemplateVersion(ctx context.Context, tenantID, id string, version int64) (*mail.Template, error) {
	panic("pending")
}
func (s *Store) ListTemplates(ctx context.Context, tenantID string, f TemplateFilter, p Page) (*List[*mail.Template], error) {
	panic("pending")
}
func (s *Store) UpdateTemplate(ctx context.Context, t *mail.Template, version int64) error {
	panic("pending")
}
func (s *Store) PutTranslation(ctx context.Context, tenantID, id, language string, tr mail.Translation, version int64) (*mail.Template, error) {
	panic("pending")
}

// ErrConflict when it is the default language's.
func (s *Store) DeleteTranslation(ctx context.Context, tenantID, id, language string, version int64) (*mail.Template, error) {
	panic("pending")
}
func (s *Store) DeleteTemplate(ctx context.Context, tenantID, id string, version int64) error {
	panic("pending")
}
func (s *Store) FindTemplate(ctx context.Context, tenantID, companyRef, documentType string) (*mail.Template, error) {
	panic("pending")
}

type Attachment struct {
	mail.Attachment
	TenantID  string
	CreatedAt time.Time
}

// AttachmentMeta is what the caller says of an upload.
type AttachmentMeta struct {
	ID                        string // empty: a new one
	Filename, MediaType, Kind string
	CreatedAt                 time.Time // zero: now
}

// Upload is an io.Writer; Write gives ErrTooLarge over the limit.
type Upload struct{}

func (s *Store) NewUpload(ctx context.Context, tenantID string, limit int64) *Upload {
	panic("pending")
}
func (u *Upload) Write(p []byte) (int, error) { panic("pending") }
func (u *Upload) Size() int64                 { panic("pending") }
func (u *Upload) SHA256() string              { panic("pending") }
func (u *Upload) Commit(ctx context.Context, meta AttachmentMeta, rec *IdempotencyRecord) (*Attachment, error) {
	panic("pending")
}
func (u *Upload) Abort() { panic("pending") }

func (s *Store) SweepUploads(ctx context.Context, olderThan time.Duration) (int, error) {
	panic("pending")
}
func (s *Store) Attachment(ctx context.Context, tenantID, id string) (*Attachment, error) {
	panic("pending")
}

// Attachments leaves out the ids that are not there.
func (s *Store) Attachments(ctx context.Context, tenantID string, ids []string) (map[string]*Attachment, error) {
	panic("pending")
}
func (s *Store) OpenAttachment(ctx context.Context, tenantID, sha256 string) (io.ReadCloser, error) {
	panic("pending")
}
func (s *Store) Files(tenantID string) mail.Files { panic("pending") }

// Replay gives ErrNotFound when the key was not used.
func (s *Store) Replay(ctx context.Context, tenantID, key string) (*IdempotencyRecord, error) {
	panic("pending")
}
func (s *Store) SaveIdempotency(ctx context.Context, tx *Tx, recs []*IdempotencyRecord) (conflicts []int, err error) {
	panic("pending")
}
func (s *Store) SweepIdempotency(ctx context.Context, olderThan time.Duration) (int, error) {
	panic("pending")
}

type AuditEvent struct {
	ID, TenantID, Actor, Action, Subject string
	Detail                               json.RawMessage
	CreatedAt                            time.Time
}

func (s *Store) AppendAudit(ctx context.Context, tx *Tx, e *AuditEvent) error { panic("pending") }
func (s *Store) ListAudit(ctx context.Context, tenantID string, p Page) (*List[*AuditEvent], error) {
	panic("pending")
}

func (s *Store) Message(ctx context.Context, tenantID, id string) (*Message, error) {
	panic("pending")
}
func (s *Store) ListMessages(ctx context.Context, tenantID string, f MessageFilter, p Page) (*List[*Message], error) {
	panic("pending")
}
func (s *Store) Attempts(ctx context.Context, tenantID, id string) ([]Attempt, error) {
	panic("pending")
}
func (s *Store) MessageContent(ctx context.Context, tenantID, id string) (*mail.Content, error) {
	panic("pending")
}
func (s *Store) Job(ctx context.Context, tenantID, id string) (*Job, error) { panic("pending") }
func (s *Store) ListJobs(ctx context.Context, tenantID string, f JobFilter, p Page) (*List[*Job], error) {
	panic("pending")
}

func (s *Store) RewrapAll(ctx context.Context) (int, error) { panic("pending") }

type keyCache struct{}

func (s *Store) flushKeyUse() {}

type uploadQueue struct{}

func (*uploadQueue) stop() {}
