package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/winprest/facteur/internal/mail"
)

// IdentityMethod is how it was proved that a tenant may send from an address or a domain.
type IdentityMethod string

const (
	IdentityDomain       IdentityMethod = "domain"        // records in the domain's DNS
	IdentitySingleSender IdentityMethod = "single_sender" // a link in a mail to the address
	IdentityGranted      IdentityMethod = "granted"       // an operator's word
)

// IdentityState is how far the proof is.
type IdentityState string

const (
	IdentityPending  IdentityState = "pending"
	IdentityVerified IdentityState = "verified"
	IdentityFailed   IdentityState = "failed" // not proved in time
)

// Identity is an address or a domain that a tenant may send from, or will when it is proved.
type Identity struct {
	TenantID     string
	Name         string // as mail.SenderIdentity gives it
	Method       IdentityMethod
	State        IdentityState
	Key, Subuser string // the account at SendGrid
	ProviderID   int64  // SendGrid's id of it
	Records      []DNSRecord
	Looks        int // at SendGrid, since it is pending
	LookedAt     time.Time
	CreatedAt    time.Time
	Since        time.Time // of the state
}

// DNSRecord is one that a domain needs.
type DNSRecord struct {
	Name   string `json:"name"` // SendGrid's, such as "dkim1"
	Type   string `json:"type"` // "CNAME"
	Host   string `json:"host"`
	Value  string `json:"value"`
	Valid  bool   `json:"valid"`
	Reason string `json:"reason,omitempty"` // SendGrid's words for what is missing
}

type identityRow struct {
	TenantID   string `gorm:"primaryKey"`
	Name       string `gorm:"primaryKey"`
	Method     string
	State      string
	KeyName    string
	Subuser    string
	ProviderID int64
	Records    string
	Looks      int
	NextLook   int64
	LookedAt   int64
	Look       *string
	CreatedAt  int64 `gorm:"autoCreateTime:false"`
	Since      int64
}

func (identityRow) TableName() string { return "sender_identities" }

func (r *identityRow) identity() (*Identity, error) {
	i := &Identity{
		TenantID: r.TenantID, Name: r.Name, Method: IdentityMethod(r.Method), State: IdentityState(r.State), Key: r.KeyName, Subuser: r.Subuser,
		ProviderID: r.ProviderID, Looks: r.Looks, LookedAt: fromMicros(r.LookedAt), CreatedAt: fromMicros(r.CreatedAt), Since: fromMicros(r.Since),
	}
	return i, json.Unmarshal([]byte(r.Records), &i.Records)
}

// ErrTaken: another tenant has begun to prove the address or domain, or has proved it.
var ErrTaken = errors.New("store: the sender identity is another tenant's")

// Identities gives a tenant's identities of these names; no names: all.
func (s *Store) Identities(ctx context.Context, tenantID string, names ...string) ([]*Identity, error) {
	q := s.ro.WithContext(ctx).Where("tenant_id = ?", tenantID)
	if len(names) > 0 {
		q = q.Where("name IN ?", names)
	}
	var rows []identityRow
	if err := q.Order("name").Find(&rows).Error; err != nil {
		return nil, failed("sender identities", err)
	}
	out := make([]*Identity, len(rows))
	for i := range rows {
		var err error
		if out[i], err = rows[i].identity(); err != nil {
			return nil, failed("sender identity", err)
		}
	}
	return out, nil
}

// IdentityTaken says whether an address is another tenant's: the address itself, or its domain as a whole, is proved or being
// proved by it, and nothing of the two is the tenant's own.
func (s *Store) IdentityTaken(ctx context.Context, tenantID, address string) (bool, error) {
	return s.identityTaken(s.ro.WithContext(ctx), tenantID, address)
}

func (s *Store) identityTaken(tx *gorm.DB, tenantID, name string) (bool, error) {
	names := []string{name}
	if mailbox, domain := mail.SenderIdentities(name); mailbox != "" {
		names = []string{mailbox, domain}
	}
	var rows []identityRow
	if err := tx.Where("name IN ? AND state IN ('pending', 'verified')", names).Find(&rows).Error; err != nil {
		return false, failed("sender identities", err)
	}
	taken := false
	for i := range rows {
		switch {
		case rows[i].TenantID == tenantID && rows[i].State == string(IdentityVerified):
			return false, nil
		case rows[i].TenantID != tenantID && (rows[i].State == string(IdentityVerified) || rows[i].Name == name):
			taken = true
		}
	}
	return taken, nil
}

// unfinished is when a claim is looked at that nobody completed.
const unfinished = int64(10 * time.Minute / time.Microsecond)

// ClaimIdentity begins a proof: no other tenant can until it failed. ErrTaken: one has. What is proved already stays so, unless
// the account at SendGrid is another by now. i becomes what is stored, and first says that there was none.
func (s *Store) ClaimIdentity(ctx context.Context, i *Identity, e *AuditEvent) (first bool, err error) {
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		if err := lockTenant(tx, i.TenantID); err != nil {
			return err
		}
		var row identityRow
		err := tx.Where("tenant_id = ? AND name = ?", i.TenantID, i.Name).Take(&row).Error
		known := err == nil
		if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
			return err
		}
		sameAccount := row.KeyName == i.Key && row.Subuser == i.Subuser
		if known && (row.Method == string(IdentityGranted) || sameAccount && row.State != string(IdentityFailed)) {
			first = false
			got, err := row.identity()
			*i = *got
			return err
		}
		if taken, err := s.identityTaken(tx, i.TenantID, i.Name); err != nil {
			return err
		} else if taken {
			return ErrTaken
		}
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		first = true
		next := identityRow{
			TenantID: i.TenantID, Name: i.Name, Method: string(i.Method), State: string(IdentityPending), KeyName: i.Key, Subuser: i.Subuser,
			Records: "[]", CreatedAt: now, Since: now, NextLook: now + unfinished,
		}
		if err := tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "tenant_id"}, {Name: "name"}}, UpdateAll: true}).Create(&next).Error; err != nil {
			if errors.Is(err, gorm.ErrDuplicatedKey) { // another began at this moment
				return ErrTaken
			}
			return err
		}
		got, err := next.identity()
		if err != nil {
			return err
		}
		*i = *got
		return appendAudit(tx, e)
	})
	if errors.Is(err, ErrTaken) {
		return false, ErrTaken
	}
	return first, failed("claim sender identity", err)
}

// BegunByAnother says whether another tenant has begun the proof that SendGrid knows under this id in i's account.
func (s *Store) BegunByAnother(ctx context.Context, i *Identity, providerID int64) (bool, error) {
	var n int64
	err := s.ro.WithContext(ctx).Model(&identityRow{}).Where("name = ? AND tenant_id <> ? AND key_name = ? AND subuser = ? AND provider_id = ?",
		i.Name, i.TenantID, i.Key, i.Subuser, providerID).Count(&n).Error
	return n > 0, failed("sender identity", err)
}

// DropClaim takes back a claim that came to nothing at SendGrid.
func (s *Store) DropClaim(ctx context.Context, i *Identity) error {
	return failed("drop claim", s.db.WithContext(ctx).Where("tenant_id = ? AND name = ? AND state = 'pending' AND provider_id = 0 AND created_at = ?",
		i.TenantID, i.Name, micros(i.CreatedAt)).Delete(&identityRow{}).Error)
}

// GrantIdentity records an operator's word that a tenant may send from an address or a domain, and releases its profiles.
func (s *Store) GrantIdentity(ctx context.Context, i *Identity, e *AuditEvent) (released []string, err error) {
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		if err := lockTenant(tx, i.TenantID); err != nil {
			return err
		}
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		row := identityRow{
			TenantID: i.TenantID, Name: i.Name, Method: string(IdentityGranted), State: string(IdentityVerified), Records: "[]", CreatedAt: now, Since: now,
		}
		if err := tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "tenant_id"}, {Name: "name"}}, UpdateAll: true}).Create(&row).Error; err != nil {
			return err
		}
		got, err := row.identity()
		if err != nil {
			return err
		}
		*i = *got
		if released, err = s.regate(tx, i.TenantID); err != nil {
			return err
		}
		return appendAudit(tx, e)
	})
	return released, failed("grant sender identity", err)
}

// RemoveIdentity takes an identity from a tenant: its profiles that need it are held, and another tenant may prove it.
func (s *Store) RemoveIdentity(ctx context.Context, tenantID, name string, e *AuditEvent) error {
	return failed("remove sender identity", s.transaction(ctx, func(tx *gorm.DB) error {
		if err := lockTenant(tx, tenantID); err != nil {
			return err
		}
		q := tx.Where("tenant_id = ? AND name = ?", tenantID, name).Delete(&identityRow{})
		if q.Error != nil {
			return q.Error
		}
		if q.RowsAffected == 0 {
			return gorm.ErrRecordNotFound
		}
		if _, err := s.regate(tx, tenantID); err != nil {
			return err
		}
		return appendAudit(tx, e)
	}))
}

// LeaseLooks gives the caller identities that are to be looked up at SendGrid now, at most n, for a while: nobody else gets them
// meanwhile. Tell SaveLook what was found.
func (s *Store) LeaseLooks(ctx context.Context, token string, lasts time.Duration, n int) ([]*Identity, error) {
	return s.leaseLooks(ctx, token, lasts, "next_look > 0 AND next_look <= "+s.now()+" ORDER BY next_look LIMIT ?", n)
}

// LeaseLook is LeaseLooks for one identity, whenever it was to be looked up. Nil: another is looking.
func (s *Store) LeaseLook(ctx context.Context, i *Identity, token string, lasts time.Duration) (*Identity, error) {
	got, err := s.leaseLooks(ctx, token, lasts, "tenant_id = ? AND name = ? AND (look IS NULL OR next_look <= "+s.now()+") LIMIT 1", i.TenantID, i.Name)
	if err != nil || len(got) == 0 {
		return nil, err
	}
	return got[0], nil
}

func (s *Store) leaseLooks(ctx context.Context, token string, lasts time.Duration, which string, args ...any) ([]*Identity, error) {
	skip := ""
	if s.pg != nil {
		skip = " FOR UPDATE SKIP LOCKED"
	}
	var rows []identityRow
	err := s.transaction(ctx, func(tx *gorm.DB) error {
		rows = nil
		return tx.Raw(`UPDATE sender_identities SET look = ?, next_look = `+s.now()+` + ? WHERE (tenant_id, name) IN (
			SELECT tenant_id, name FROM sender_identities WHERE `+which+skip+`) RETURNING *`,
			append([]any{token, lasts.Microseconds()}, args...)...).Scan(&rows).Error
	})
	if err != nil {
		return nil, failed("lease looks", err)
	}
	out := make([]*Identity, len(rows))
	for i := range rows {
		if out[i], err = rows[i].identity(); err != nil {
			return nil, failed("lease looks", err)
		}
	}
	return out, nil
}

// SaveLook stores what a look found: i's state, provider id, records and number of looks, and has the next one made after a
// time, 0: none. It ends the look, and holds or releases the tenant's profiles. False: the look was another's by then, and
// nothing was stored.
func (s *Store) SaveLook(ctx context.Context, i *Identity, token string, next time.Duration, e *AuditEvent) (stored bool, released []string, err error) {
	records, err := json.Marshal(i.Records)
	if err != nil {
		return false, nil, err
	}
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		stored, released = false, nil
		if err := lockTenant(tx, i.TenantID); err != nil {
			return err
		}
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		var nextLook int64
		if next > 0 {
			nextLook = now + next.Microseconds()
		}
		q := tx.Model(&identityRow{}).Where("tenant_id = ? AND name = ?", i.TenantID, i.Name)
		if token == "" { // it was begun just now, and nobody looks yet
			q = q.Where("look IS NULL AND created_at = ?", micros(i.CreatedAt))
		} else {
			q = q.Where("look = ?", token)
		}
		q = q.UpdateColumns(map[string]any{
			"state": string(i.State), "provider_id": i.ProviderID, "records": string(records), "looks": i.Looks, "next_look": nextLook, "looked_at": now,
			"look": nil, "since": gorm.Expr("CASE WHEN state = ? THEN since ELSE ? END", string(i.State), now),
		})
		if q.Error != nil || q.RowsAffected == 0 {
			return q.Error
		}
		stored = true
		if released, err = s.regate(tx, i.TenantID); err != nil {
			return err
		}
		return appendAudit(tx, e)
	})
	return stored, released, failed("save look", err)
}

// doubtIdentity has an identity looked up again that SendGrid does not know any more, sooner or later as it was often doubted.
// An operator's word is not doubted: SendGrid knows nothing of it.
func (s *Store) doubtIdentity(ctx context.Context, p *mail.Profile) error {
	mailbox, domain := mail.SenderIdentities(p.From.Address)
	const most = 12
	return failed("doubt sender identity", s.db.WithContext(ctx).Exec(`UPDATE sender_identities SET state = 'pending', since = `+s.now()+`, looks = looks + 1,
		next_look = `+s.now()+` + CAST(10000000 AS bigint) * (1 << CASE WHEN looks < ? THEN looks ELSE ? END)
		WHERE tenant_id = ? AND name IN (?, ?) AND state = 'verified' AND method <> 'granted'
		AND EXISTS (SELECT 1 FROM sender_profiles WHERE tenant_id = ? AND id = ? AND version = ?)`,
		most, most, p.TenantID, mailbox, domain, p.TenantID, p.ID, p.Version).Error)
}
