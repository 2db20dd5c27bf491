package store

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// AddOnSendGrid is the one add-on that there is.
const AddOnSendGrid = "sendgrid"

// AddOn is what the reseller switched on for a tenant. Its dates are told by the database's clock.
type AddOn struct {
	TenantID, Name string
	Active         bool      // now
	From           time.Time // zero in PutAddOn: as it was while it is on, else now
	Until          time.Time // zero: until it is switched off
	Key            string    // name of the service's key at SendGrid; empty: the default one
	Subuser        string    // at SendGrid; empty: none
	UpdatedAt      time.Time
}

type addOnRow struct {
	TenantID  string `gorm:"primaryKey"`
	Name      string `gorm:"primaryKey"`
	Active    bool
	StartsAt  int64
	EndsAt    int64
	ChangesAt int64
	KeyName   string
	Subuser   string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	UpdatedAt int64 `gorm:"autoUpdateTime:false"`
}

func (addOnRow) TableName() string { return "add_ons" }

type addOnPeriodRow struct {
	TenantID string `gorm:"primaryKey"`
	Name     string `gorm:"primaryKey"`
	StartsAt int64  `gorm:"primaryKey;autoIncrement:false"`
	EndsAt   int64
}

func (addOnPeriodRow) TableName() string { return "add_on_periods" }

// on says whether it is on at a time, and when that changes next; 0: never.
func (r *addOnRow) on(now int64) (active bool, changesAt int64) {
	switch {
	case now < r.StartsAt && (r.EndsAt == 0 || r.StartsAt < r.EndsAt):
		return false, r.StartsAt
	case now < r.StartsAt || r.EndsAt > 0 && now >= r.EndsAt:
		return false, 0
	}
	return true, r.EndsAt
}

func (r *addOnRow) addOn() *AddOn {
	return &AddOn{
		TenantID: r.TenantID, Name: r.Name, Active: r.Active, From: fromMicros(r.StartsAt), Until: fromMicros(r.EndsAt), Key: r.KeyName, Subuser: r.Subuser,
		UpdatedAt: fromMicros(r.UpdatedAt),
	}
}

// AddOns gives a tenant's add-ons, those that ended too.
func (s *Store) AddOns(ctx context.Context, tenantID string) ([]*AddOn, error) {
	var rows []addOnRow
	if err := s.ro.WithContext(ctx).Where("tenant_id = ?", tenantID).Order("name").Find(&rows).Error; err != nil {
		return nil, failed("add-ons", err)
	}
	now, err := s.clock(s.ro.WithContext(ctx))
	out := make([]*AddOn, len(rows))
	for i := range rows {
		rows[i].Active, _ = rows[i].on(now)
		out[i] = rows[i].addOn()
	}
	return out, err
}

// AddOn gives one. ErrNotFound: the tenant never had it.
func (s *Store) AddOn(ctx context.Context, tenantID, name string) (*AddOn, error) {
	var row addOnRow
	if err := s.ro.WithContext(ctx).Where("tenant_id = ? AND name = ?", tenantID, name).Take(&row).Error; err != nil {
		return nil, failed("add-on", err)
	}
	now, err := s.clock(s.ro.WithContext(ctx))
	row.Active, _ = row.on(now)
	return row.addOn(), err
}

// clock is the database's.
func (s *Store) clock(tx *gorm.DB) (now int64, err error) {
	err = tx.Raw("SELECT " + s.now()).Scan(&now).Error
	return now, failed("clock", err)
}

// PutAddOn switches an add-on on, from a time and until a time, or changes it. In the same transaction the tenant's profiles are
// held or released, as its dates say; it gives the ids of those released, to be woken. a becomes what is stored.
func (s *Store) PutAddOn(ctx context.Context, a *AddOn, e *AuditEvent) (released []string, err error) {
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		released = nil
		if err := lockTenant(tx, a.TenantID); err != nil {
			return err
		}
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		row := addOnRow{TenantID: a.TenantID, Name: a.Name, CreatedAt: now}
		err = tx.Where("tenant_id = ? AND name = ?", a.TenantID, a.Name).Take(&row).Error
		if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
			return err
		}
		known := err == nil
		was, next := row.on(now)
		from := micros(a.From)
		switch {
		case from == 0 && known && was:
			from = row.StartsAt
		case from == 0:
			from = now
		}
		// Of a period that began, what is over was used, and is invoiced; one that is still to come makes room.
		switch {
		case known && !was && next > 0, known && was && from <= now:
			if err := tx.Where("tenant_id = ? AND name = ? AND starts_at = ?", a.TenantID, a.Name, row.StartsAt).Delete(&addOnPeriodRow{}).Error; err != nil {
				return err
			}
		case known && was:
			if err := endPeriod(tx, &row, now); err != nil {
				return err
			}
		}
		row.StartsAt, row.EndsAt, row.KeyName, row.Subuser, row.UpdatedAt = from, micros(a.Until), a.Key, a.Subuser, now
		row.Active, row.ChangesAt = row.on(now)
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error; err != nil {
			return err
		}
		period := addOnPeriodRow{a.TenantID, a.Name, row.StartsAt, row.EndsAt}
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&period).Error; err != nil {
			return err
		}
		*a = *row.addOn()
		if released, err = s.regate(tx, a.TenantID); err != nil {
			return err
		}
		return appendAudit(tx, e)
	})
	return released, failed("put add-on", err)
}

func endPeriod(tx *gorm.DB, row *addOnRow, now int64) error {
	return tx.Model(&addOnPeriodRow{}).Where("tenant_id = ? AND name = ? AND starts_at = ?", row.TenantID, row.Name, row.StartsAt).
		UpdateColumns(map[string]any{"ends_at": now}).Error
}

// EndAddOn switches an add-on off now. The tenant's profiles that need it are held in the same transaction. One that is off
// already is left as it is, and one that is still to come never does.
func (s *Store) EndAddOn(ctx context.Context, tenantID, name string, e *AuditEvent) error {
	return failed("end add-on", s.transaction(ctx, func(tx *gorm.DB) error {
		if err := lockTenant(tx, tenantID); err != nil {
			return err
		}
		var row addOnRow
		if err := tx.Where("tenant_id = ? AND name = ?", tenantID, name).Take(&row).Error; err != nil {
			return err
		}
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		active, next := row.on(now)
		if !active && next == 0 {
			return nil
		}
		if active {
			err = endPeriod(tx, &row, now)
		} else {
			now = row.StartsAt
			err = tx.Where("tenant_id = ? AND name = ? AND starts_at = ?", tenantID, name, row.StartsAt).Delete(&addOnPeriodRow{}).Error
		}
		if err != nil {
			return err
		}
		err = tx.Model(&addOnRow{}).Where("tenant_id = ? AND name = ?", tenantID, name).
			UpdateColumns(map[string]any{"active": false, "ends_at": now, "changes_at": 0, "updated_at": micros(Now())}).Error
		if err != nil {
			return err
		}
		if _, err := s.regate(tx, tenantID); err != nil {
			return err
		}
		return appendAudit(tx, e)
	}))
}

// TurnAddOns has the dates of add-ons that came since take effect: profiles are held or released. Every process may do it at any
// time. Released ones are found by DueProfiles.
func (s *Store) TurnAddOns(ctx context.Context) error {
	var due []addOnRow
	err := s.ro.WithContext(ctx).Where("changes_at > 0 AND changes_at <= " + s.now()).Order("changes_at").Limit(MaxPage).Find(&due).Error
	if err != nil {
		return failed("add-ons that change", err)
	}
	for _, r := range due {
		err := s.transaction(ctx, func(tx *gorm.DB) error {
			if err := lockTenant(tx, r.TenantID); err != nil {
				return err
			}
			var row addOnRow
			if err := tx.Where("tenant_id = ? AND name = ?", r.TenantID, r.Name).Take(&row).Error; err != nil {
				return err
			}
			now, err := s.clock(tx)
			if err != nil {
				return err
			}
			active, next := row.on(now)
			err = tx.Model(&addOnRow{}).Where("tenant_id = ? AND name = ?", r.TenantID, r.Name).UpdateColumns(map[string]any{"active": active, "changes_at": next}).Error
			if err != nil {
				return err
			}
			_, err = s.regate(tx, r.TenantID)
			return err
		})
		if err != nil {
			return failed("turn add-on", err)
		}
	}
	return nil
}
