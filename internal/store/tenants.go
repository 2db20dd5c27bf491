package store

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// Tenant is one customer firm.
type Tenant struct {
	ID, Name  string // "tnt_…"
	CreatedAt time.Time
}

type tenantRow struct {
	ID, Name  string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
}

func (tenantRow) TableName() string { return "tenants" }

func (r *tenantRow) tenant() (*Tenant, error) {
	return &Tenant{r.ID, r.Name, fromMicros(r.CreatedAt)}, nil
}

// CreateTenant stores a tenant.
//
// Like every Create function it fills what is empty of the argument (id, times, version), and stores rec with it in one
// transaction; a nil rec is none. A caller whose rec holds the answer sets the id and the times itself, with NewID and Now.
// ErrKeyUsed: rec's key is taken and nothing was stored. ErrNotFound: the tenant or another thing it refers to is not there.
func (s *Store) CreateTenant(ctx context.Context, t *Tenant, rec *IdempotencyRecord) error {
	fill("tnt", &t.ID, &t.CreatedAt)
	return s.create(ctx, "create tenant", rec, func(tx *gorm.DB) error {
		return tx.Create(&tenantRow{t.ID, t.Name, micros(t.CreatedAt)}).Error
	})
}

// Tenant gives one tenant.
func (s *Store) Tenant(ctx context.Context, id string) (*Tenant, error) {
	var row tenantRow
	if err := s.ro.WithContext(ctx).Where("id = ?", id).Take(&row).Error; err != nil {
		return nil, failed("tenant", err)
	}
	return row.tenant()
}

// ListTenants lists all tenants, newest first.
func (s *Store) ListTenants(ctx context.Context, p Page) (*List[*Tenant], error) {
	return list(s.ro.WithContext(ctx), p, "id", func(r *tenantRow) string { return r.ID }, (*tenantRow).tenant)
}

// CountTenants says how many there are.
func (s *Store) CountTenants(ctx context.Context) (int, error) {
	var n int64
	err := s.ro.WithContext(ctx).Model(&tenantRow{}).Count(&n).Error
	return int(n), failed("count tenants", err)
}
