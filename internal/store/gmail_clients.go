package store

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/winprest/facteur/internal/mail"
)

// GmailClient is an OAuth client that a tenant brings, such as one that only its own Google Workspace may use.
type GmailClient struct {
	TenantID, Name       string
	ClientID             string
	Secret               mail.Secret // empty in PutGmailClient: the stored one stays
	State                string      // current, accepting, retired
	CreatedAt, UpdatedAt time.Time
}

type gmailClientRow struct {
	TenantID     string `gorm:"primaryKey"`
	Name         string `gorm:"primaryKey"`
	ClientID     string
	State        string
	SealedSecret []byte
	CreatedAt    int64 `gorm:"autoCreateTime:false"`
	UpdatedAt    int64 `gorm:"autoUpdateTime:false"`
}

func (gmailClientRow) TableName() string { return "gmail_clients" }

// PutGmailClient stores a tenant's client. When it becomes the current one, the former is accepting from then on. ErrInUse: it has another ClientID
// and profiles are connected through it. ErrNotFound: it has no secret, given or stored.
func (s *Store) PutGmailClient(ctx context.Context, c *GmailClient) error {
	return failed("put gmail client", s.transaction(ctx, func(tx *gorm.DB) error {
		now := micros(Now())
		var old gmailClientRow
		found := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("tenant_id = ? AND name = ?", c.TenantID, c.Name).Limit(1).Find(&old)
		if found.Error != nil {
			return found.Error
		}
		made := found.RowsAffected == 0
		row := &gmailClientRow{TenantID: c.TenantID, Name: c.Name, ClientID: c.ClientID, State: c.State, CreatedAt: now, UpdatedAt: now}
		if !made {
			row.CreatedAt, row.UpdatedAt, row.SealedSecret = old.CreatedAt, later(old.UpdatedAt), old.SealedSecret
			if old.ClientID != c.ClientID {
				if used, err := ownClientUsed(tx, c.TenantID, c.Name); err != nil || used {
					return inUse(err)
				}
				row.SealedSecret = nil // it belongs to the other id
			}
		}
		if c.Secret != "" {
			var err error
			if row.SealedSecret, err = s.seal(clientSecretIn, c.TenantID, c.Name, c.Secret); err != nil {
				return err
			}
		}
		if row.SealedSecret == nil {
			return ErrNotFound
		}
		if c.State == "current" {
			if err := tx.Model(&gmailClientRow{}).Where("tenant_id = ? AND name <> ? AND state = 'current'", c.TenantID, c.Name).
				UpdateColumns(map[string]any{"state": "accepting", "updated_at": now}).Error; err != nil {
				return err
			}
		}
		c.CreatedAt, c.UpdatedAt = fromMicros(row.CreatedAt), fromMicros(row.UpdatedAt)
		return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(row).Error
	}))
}

func inUse(err error) error {
	if err == nil {
		err = ErrInUse
	}
	return err
}

func ownClientUsed(tx *gorm.DB, tenantID, name string) (used bool, err error) {
	err = tx.Raw("SELECT EXISTS (SELECT 1 FROM gmail_grants WHERE tenant_id = ? AND client_own AND client = ? AND state IN ('connected', 'revoking'))", tenantID, name).Scan(&used).Error
	return used, err
}

// DeleteGmailClient forgets a tenant's client. ErrInUse: profiles are connected through it.
func (s *Store) DeleteGmailClient(ctx context.Context, tenantID, name string) error {
	return failed("delete gmail client", s.transaction(ctx, func(tx *gorm.DB) error {
		var row gmailClientRow
		if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("tenant_id = ? AND name = ?", tenantID, name).Take(&row).Error; err != nil {
			return err
		}
		if used, err := ownClientUsed(tx, tenantID, name); err != nil || used {
			return inUse(err)
		}
		return tx.Where("tenant_id = ? AND name = ?", tenantID, name).Delete(&gmailClientRow{}).Error
	}))
}

// GmailClients gives a tenant's clients by name, with their secrets. With ErrSealed they come without.
func (s *Store) GmailClients(ctx context.Context, tenantID string) ([]*GmailClient, error) {
	var rows []gmailClientRow
	if err := s.ro.WithContext(ctx).Where("tenant_id = ?", tenantID).Order("name").Find(&rows).Error; err != nil {
		return nil, failed("gmail clients", err)
	}
	var unopened error
	out := make([]*GmailClient, len(rows))
	for i, r := range rows {
		out[i] = &GmailClient{TenantID: r.TenantID, Name: r.Name, ClientID: r.ClientID, State: r.State, CreatedAt: fromMicros(r.CreatedAt), UpdatedAt: fromMicros(r.UpdatedAt)}
		var err error
		if out[i].Secret, err = s.open(clientSecretIn, r.TenantID, r.Name, r.SealedSecret); err != nil {
			unopened = err
		}
	}
	return out, unopened
}

// GmailClientUse is how many profiles are on an OAuth client.
type GmailClientUse struct {
	Client                         string
	Own                            bool // of the tenant
	Connected, NeedReauthorization int
	Tenants                        int
}

// GmailClientUses counts the profiles by client: of one tenant, or of all with an empty tenantID, where tenants' own clients are left out.
func (s *Store) GmailClientUses(ctx context.Context, tenantID string) ([]GmailClientUse, error) {
	where, args := "NOT client_own", []any(nil)
	if tenantID != "" {
		where, args = "tenant_id = ?", []any{tenantID}
	}
	var uses []GmailClientUse
	err := s.ro.WithContext(ctx).Raw(`SELECT client, client_own AS own, sum(CASE WHEN state = 'connected' THEN 1 ELSE 0 END) AS connected,
		sum(CASE WHEN state = 'needs_reauthorization' THEN 1 ELSE 0 END) AS need_reauthorization, count(DISTINCT tenant_id) AS tenants
		FROM gmail_grants WHERE `+where+` AND state IN ('connected', 'needs_reauthorization') GROUP BY client, client_own ORDER BY client, client_own`, args...).Scan(&uses).Error
	return uses, failed("gmail client uses", err)
}

// GmailClientProfile is one profile that is on an OAuth client of the service.
type GmailClientProfile struct {
	TenantID, TenantName, ProfileID, ProfileName string
	Client, Address                              string
	State                                        GrantState
	Since                                        time.Time
}

type clientProfileRow struct {
	TenantID, TenantName, ProfileID, ProfileName string
	Client, Address, State                       string
	Since                                        int64
}

// GmailClientProfiles lists the profiles of all tenants on the service's clients, newest first; client narrows them unless empty.
func (s *Store) GmailClientProfiles(ctx context.Context, client string, p Page) (*List[*GmailClientProfile], error) {
	q := s.ro.WithContext(ctx).Table("gmail_grants AS g").Select(`g.tenant_id, t.name AS tenant_name, g.profile_id, p.name AS profile_name, g.client, g.address, g.state, g.since`).
		Joins("JOIN tenants t ON t.id = g.tenant_id").Joins("JOIN sender_profiles p ON p.id = g.profile_id").
		Where("NOT g.client_own AND g.state IN ('connected', 'needs_reauthorization')")
	if client != "" {
		q = q.Where("g.client = ?", client)
	}
	return list(q, p, "g.profile_id", func(r *clientProfileRow) string { return r.ProfileID }, func(r *clientProfileRow) (*GmailClientProfile, error) {
		return &GmailClientProfile{
			TenantID: r.TenantID, TenantName: r.TenantName, ProfileID: r.ProfileID, ProfileName: r.ProfileName, Client: r.Client, Address: r.Address,
			State: GrantState(r.State), Since: fromMicros(r.Since),
		}, nil
	})
}
