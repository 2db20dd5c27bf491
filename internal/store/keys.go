package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"gorm.io/gorm"
)

// Scope is what an API key may do.
type Scope string

const (
	ScopeSend     Scope = "send"     // send mail, upload attachments
	ScopeRead     Scope = "read"     // read everything of the tenant
	ScopeManage   Scope = "manage"   // edit profiles and templates
	ScopeOperator Scope = "operator" // tenants and their keys; the only scope of a key without a tenant
)

// ErrScope: an unknown scope, none at all, or operator for a tenant's key.
var ErrScope = errors.New("store: scopes do not fit the key")

// APIKey is a key without its secret.
type APIKey struct {
	ID                    string // "key_…"
	TenantID              string // empty: an operator's
	Name                  string
	Scopes                []Scope
	CreatedAt             time.Time
	LastUsedAt, RevokedAt time.Time // zero: never; LastUsedAt is at most a minute late
}

// Has says that the key may do what scope allows.
func (k *APIKey) Has(scope Scope) bool { return slices.Contains(k.Scopes, scope) }

type keyRow struct {
	ID         string
	TenantID   *string
	Name       string
	SecretHash []byte
	Scopes     string
	CreatedAt  int64 `gorm:"autoCreateTime:false"`
	LastUsedAt *int64
	RevokedAt  *int64
}

func (keyRow) TableName() string { return "api_keys" }

func (r *keyRow) key() (*APIKey, error) {
	k := &APIKey{ID: r.ID, Name: r.Name, CreatedAt: fromMicros(r.CreatedAt), LastUsedAt: fromOptional(r.LastUsedAt), RevokedAt: fromOptional(r.RevokedAt)}
	if r.TenantID != nil {
		k.TenantID = *r.TenantID
	}
	if err := json.Unmarshal([]byte(r.Scopes), &k.Scopes); err != nil {
		return nil, fmt.Errorf("store: scopes of %s: %w", r.ID, err)
	}
	return k, nil
}

const (
	keyPrefix     = "key_"
	keyIDLen      = 16 // after the prefix
	keySecretLen  = 52 // 256 bits in base32
	keyTTL        = 5 * time.Second
	keyUseEvery   = time.Minute
	keyCacheLimit = 10_000
)

var keyEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// CreateKey makes a key of a tenant, or an operator's when tenantID is empty. plaintext is "fct_<id>_<secret>" and cannot be
// had again: the database has its hash.
func (s *Store) CreateKey(ctx context.Context, tenantID, name string, scopes []Scope) (key *APIKey, plaintext string, err error) {
	if err := checkScopes(tenantID, scopes); err != nil {
		return nil, "", err
	}
	doc, err := json.Marshal(scopes)
	if err != nil {
		return nil, "", err
	}
	var secret [32]byte
	rand.Read(secret[:])
	encoded := keyEncoding.EncodeToString(secret[:])
	hash := sha256.Sum256([]byte(encoded))
	id := NewID("")[1:]
	id = id[:10] + id[len(id)-6:] // the time and 30 random bits: sorts by time, and is no secret
	now := Now()
	row := keyRow{ID: keyPrefix + id, Name: name, SecretHash: hash[:], Scopes: string(doc), CreatedAt: micros(now)}
	if tenantID != "" {
		row.TenantID = &tenantID
	}
	if err := s.db.WithContext(ctx).Create(&row).Error; err != nil {
		return nil, "", failed("create key", err)
	}
	key, err = row.key()
	return key, "fct_" + id + "_" + encoded, err
}

func checkScopes(tenantID string, scopes []Scope) error {
	if len(scopes) == 0 {
		return ErrScope
	}
	for _, scope := range scopes {
		switch scope {
		case ScopeSend, ScopeRead, ScopeManage:
			if tenantID == "" {
				return ErrScope
			}
		case ScopeOperator:
			if tenantID != "" {
				return ErrScope
			}
		default:
			return ErrScope
		}
	}
	return nil
}

// keyCache keeps keys for keyTTL, so that thousands of requests a second ask the database now and then. A revoked key works
// for at most that long in other processes, and no longer at all in the one that revoked it.
type keyCache struct {
	mu      sync.Mutex
	entries map[string]*cachedKey
	revoked int // counts revocations: what was read before one is not kept after it
	flight  singleflight.Group
	writing sync.WaitGroup // of last_used_at
}

type cachedKey struct {
	key   *APIKey // nil: there is no such key, or it is revoked
	hash  [sha256.Size]byte
	until time.Time
	used  time.Time // when last_used_at was last written
}

// Authenticate gives the key that plaintext is. Everything else is ErrUnauthenticated, or the database's own error.
func (s *Store) Authenticate(ctx context.Context, plaintext string) (*APIKey, error) {
	id, secret, ok := splitKey(plaintext)
	if !ok {
		return nil, ErrUnauthenticated
	}
	entry, err := s.cachedKey(ctx, id)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(hash[:], entry.hash[:]) != 1 || entry.key == nil {
		return nil, ErrUnauthenticated
	}
	s.noteUse(entry)
	return entry.key, nil
}

func splitKey(plaintext string) (id, secret string, ok bool) {
	rest, ok := strings.CutPrefix(plaintext, "fct_")
	if !ok || len(rest) != keyIDLen+1+keySecretLen || rest[keyIDLen] != '_' {
		return "", "", false
	}
	for _, c := range []byte(rest[:keyIDLen]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return "", "", false
		}
	}
	return keyPrefix + rest[:keyIDLen], rest[keyIDLen+1:], true
}

func (s *Store) cachedKey(ctx context.Context, id string) (*cachedKey, error) {
	c := &s.keys
	c.mu.Lock()
	entry := c.entries[id]
	c.mu.Unlock()
	if entry != nil && time.Now().Before(entry.until) {
		return entry, nil
	}
	v, err, _ := c.flight.Do(id, func() (any, error) {
		// Others wait for this query too: it must not end with the first one's request.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyTTL)
		defer cancel()
		return s.fetchKey(ctx, id, entry)
	})
	if err != nil {
		return nil, err
	}
	return v.(*cachedKey), nil
}

func (s *Store) fetchKey(ctx context.Context, id string, old *cachedKey) (*cachedKey, error) {
	c := &s.keys
	c.mu.Lock()
	revoked := c.revoked
	c.mu.Unlock()
	entry := &cachedKey{until: time.Now().Add(keyTTL)}
	var row keyRow
	err := s.ro.WithContext(ctx).Where("id = ?", id).Take(&row).Error
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
	case err != nil:
		return nil, failed("authenticate", err)
	default:
		copy(entry.hash[:], row.SecretHash)
		if row.RevokedAt == nil {
			if entry.key, err = row.key(); err != nil {
				return nil, err
			}
			entry.used = entry.key.LastUsedAt
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.revoked != revoked {
		return entry, nil
	}
	if old != nil && old.used.After(entry.used) {
		entry.used = old.used
	}
	if c.entries == nil || len(c.entries) >= keyCacheLimit { // made-up ids fill it too
		c.entries = make(map[string]*cachedKey)
	}
	c.entries[id] = entry
	return entry, nil
}

// noteUse writes last_used_at at most once a minute for each key, beside the request.
func (s *Store) noteUse(entry *cachedKey) {
	now := time.Now()
	s.keys.mu.Lock()
	due := now.Sub(entry.used) >= keyUseEvery
	if due {
		entry.used = now
		s.keys.writing.Add(1)
	}
	s.keys.mu.Unlock()
	if !due {
		return
	}
	go func() {
		defer s.keys.writing.Done()
		ctx, cancel := context.WithTimeout(context.Background(), keyUseEvery)
		defer cancel()
		err := s.db.WithContext(ctx).Model(&keyRow{}).Where("id = ? AND coalesce(last_used_at, 0) < ?", entry.key.ID, micros(now)).
			UpdateColumn("last_used_at", micros(now)).Error
		if err != nil {
			s.log.Warn("the last use of an API key was not written", slog.String("key", entry.key.ID), slog.Any("error", err))
		}
	}()
}

// flushKeyUse waits for the last uses that are being written.
func (s *Store) flushKeyUse() { s.keys.writing.Wait() }

// RevokeKey ends a key of the tenant, or an operator's when tenantID is empty. Revoking it again changes nothing.
func (s *Store) RevokeKey(ctx context.Context, tenantID, id string) error {
	q := s.db.WithContext(ctx).Model(&keyRow{}).Where("id = ?", id)
	done := ofTenantKeys(q, tenantID).UpdateColumn("revoked_at", gorm.Expr("coalesce(revoked_at, ?)", micros(time.Now())))
	if done.Error != nil {
		return failed("revoke key", done.Error)
	}
	if done.RowsAffected == 0 {
		return ErrNotFound
	}
	s.keys.mu.Lock()
	delete(s.keys.entries, id)
	s.keys.revoked++
	s.keys.mu.Unlock()
	s.keys.flight.Forget(id)
	return nil
}

// KeyByID gives a key of whatever tenant. It is for the operator.
func (s *Store) KeyByID(ctx context.Context, id string) (*APIKey, error) {
	var row keyRow
	if err := s.ro.WithContext(ctx).Where("id = ?", id).Take(&row).Error; err != nil {
		return nil, failed("key", err)
	}
	return row.key()
}

// ListKeys lists a tenant's keys, revoked ones too, or the operators' when tenantID is empty.
func (s *Store) ListKeys(ctx context.Context, tenantID string, p Page) (*List[*APIKey], error) {
	return list(ofTenantKeys(s.ro.WithContext(ctx), tenantID), p, "id", func(r *keyRow) string { return r.ID }, (*keyRow).key)
}

func ofTenantKeys(q *gorm.DB, tenantID string) *gorm.DB {
	if tenantID == "" {
		return q.Where("tenant_id IS NULL")
	}
	return q.Where("tenant_id = ?", tenantID)
}
