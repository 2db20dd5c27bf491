package store

import (
	"context"
	"database/sql"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/winprest/facteur/internal/mail"
)

// ProfileFilter selects profiles; zero fields select everything.
type ProfileFilter struct {
	Level    mail.Level
	OwnerRef string
	// GmailClient selects profiles that are connected through the OAuth client of this name, well or no more.
	GmailClient string
}

// CreateProfile stores a profile with version 1, its lanes, and what it used of its limits: nothing. A new default takes the place of the old one. See
// CreateTenant for rec. ErrSealed: it has a secret and the store has no keyset. A profile of the transport sendgrid gets the hold
// that it must have, whatever p says.
func (s *Store) CreateProfile(ctx context.Context, p *mail.Profile, rec *IdempotencyRecord) error {
	fill("prf", &p.ID, &p.CreatedAt)
	p.Version, p.UpdatedAt = 1, p.CreatedAt
	makeVERPKey(p)
	row, err := s.profileRow(p)
	if err != nil {
		return err
	}
	if row.Hold, err = holdText(p.Hold); err != nil { // it is not ready for use yet
		return err
	}
	return s.create(ctx, "create profile", rec, func(tx *gorm.DB) error {
		if p.Transport == sendGridTransport {
			if err := lockTenant(tx, p.TenantID); err != nil {
				return err
			}
			hold, err := s.gateHold(tx, p.TenantID, p.Transport, p.From.Address)
			if err != nil {
				return err
			}
			if row.Hold, err = holdText(hold); err != nil {
				return err
			}
		}
		if err := yieldDefaultProfile(tx, row); err != nil {
			return err
		}
		if err := tx.Create(row).Error; err != nil {
			return err
		}
		if err := makeCompanions(tx, row); err != nil {
			return err
		}
		return s.followBounceMailbox(tx, p)
	})
}

// Profile gives a profile, to be shown, edited or sent with later. Where its secrets cannot be opened it is SecretsUnreadable.
func (s *Store) Profile(ctx context.Context, tenantID, id string) (*mail.Profile, error) {
	return oneProfile(s.ro.WithContext(ctx).Where("tenant_id = ? AND id = ?", tenantID, id), s.openSettings)
}

// ProfileWithSecrets gives a profile to log in with. With ErrSealed it comes too, without its secrets.
func (s *Store) ProfileWithSecrets(ctx context.Context, tenantID, id string) (*mail.Profile, error) {
	return oneProfile(s.ro.WithContext(ctx).Where("tenant_id = ? AND id = ?", tenantID, id), s.openProfile)
}

// ProfileByID is ProfileWithSecrets for a profile of whatever tenant. It is for workers, which are told ids by their own queue.
func (s *Store) ProfileByID(ctx context.Context, id string) (*mail.Profile, error) {
	return oneProfile(s.ro.WithContext(ctx).Where("id = ?", id), s.openProfile)
}

// DefaultProfile gives the profile that is used for (level, ownerRef) when the caller names none; see Profile.
func (s *Store) DefaultProfile(ctx context.Context, tenantID string, level mail.Level, ownerRef string) (*mail.Profile, error) {
	return oneProfile(s.ro.WithContext(ctx).Where("tenant_id = ? AND level = ? AND owner_ref = ? AND is_default", tenantID, string(level), ownerRef), s.openSettings)
}

func oneProfile(q *gorm.DB, open func(*profileRow) (*mail.Profile, error)) (*mail.Profile, error) {
	var row profileRow
	if err := q.Where("deleted_at IS NULL").Take(&row).Error; err != nil {
		return nil, failed("profile", err)
	}
	return open(&row)
}

// ListProfiles lists a tenant's profiles, newest first; see Profile.
func (s *Store) ListProfiles(ctx context.Context, tenantID string, f ProfileFilter, p Page) (*List[*mail.Profile], error) {
	q := s.ro.WithContext(ctx).Where("tenant_id = ? AND deleted_at IS NULL", tenantID)
	if f.Level != "" {
		q = q.Where("level = ?", string(f.Level))
	}
	if f.OwnerRef != "" {
		q = q.Where("owner_ref = ?", f.OwnerRef)
	}
	if f.GmailClient != "" {
		q = q.Where("id IN (SELECT profile_id FROM gmail_grants WHERE client = ? AND state IN ('connected', 'needs_reauthorization'))", f.GmailClient)
	}
	return list(q, p, "id", func(r *profileRow) string { return r.ID }, s.openSettings)
}

// UpdateProfile replaces a profile's settings, and clears its hold and pause: whoever edits means to mend. One of the transport
// sendgrid keeps or gets the hold that it must have. Limits that were
// edited hold from the next claim on, with what was used since there are any. version is the
// one that the row must have (If-Match), 0 for any; a caller that edits what it read passes the version it read, and
// reads again on ErrVersion. Secrets that could not be read are kept unless p has some by now: their key may come back. p gets its
// new version and times.
func (s *Store) UpdateProfile(ctx context.Context, p *mail.Profile, version int64) error {
	makeVERPKey(p)
	row, err := s.profileRow(p)
	if err != nil {
		return err
	}
	var hold *mail.ProfileTrouble
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		if p.Transport == sendGridTransport {
			if err := lockTenant(tx, p.TenantID); err != nil {
				return err
			}
		}
		old, err := lockProfile(tx, p.TenantID, p.ID, version, "NO KEY UPDATE")
		if err != nil {
			return err
		}
		if p.SecretsUnreadable && row.SealedSecrets == nil {
			row.SealedSecrets = old.SealedSecrets
		}
		row.Version, row.CreatedAt, row.UpdatedAt = old.Version+1, old.CreatedAt, later(old.UpdatedAt)
		row.Pause, row.PausedUntil, row.PauseCount = nil, 0, 0
		if hold, err = s.gateHold(tx, p.TenantID, p.Transport, p.From.Address); err != nil {
			return err
		}
		if row.Hold, err = holdText(hold); err != nil {
			return err
		}
		if old.Transport == gmailTransport && row.Transport != gmailTransport {
			if err := leaveGrant(tx, p.TenantID, p.ID); err != nil {
				return err
			}
		}
		if err := yieldDefaultProfile(tx, row); err != nil {
			return err
		}
		if err := tx.Select("*").Where("tenant_id = ?", p.TenantID).Updates(row).Error; err != nil {
			return err
		}
		if err := s.regarded(tx, old, hold); err != nil {
			return err
		}
		if err := makeCompanions(tx, row); err != nil {
			return err
		}
		return s.followBounceMailbox(tx, p)
	})
	if err != nil {
		return failed("update profile", err)
	}
	p.Version, p.CreatedAt, p.UpdatedAt = row.Version, fromMicros(row.CreatedAt), fromMicros(row.UpdatedAt)
	p.Hold, p.Pause, p.PausedUntil, p.PauseCount = hold, nil, time.Time{}, 0
	p.LimitedUntil, p.LimitedBy = time.Time{}, ""
	return nil
}

// needsProfile says that messages still need a profile: queued, deferred and uncertain ones, those on their way, and those of a draft
// or of a job whose gate is closed.
func (s *Store) needsProfile(tx *gorm.DB, tenantID, id string) (needed bool, err error) {
	sending := sendingSQLite + ` AND c.tenant_id = @tenant AND m.profile_id = @id`
	if s.pg != nil {
		sending = sendingPostgres + ` OFFSET 0) m WHERE c.tenant_id = @tenant AND m.profile_id = @id`
	}
	err = tx.Raw(`SELECT EXISTS (SELECT 1 FROM messages WHERE profile_id = @id AND waiting IN ('queued', 'deferred'))
OR EXISTS (SELECT 1 FROM messages WHERE profile_id = @id AND waiting = 'uncertain')
OR EXISTS (SELECT 1 FROM send_jobs WHERE sender_profile_id = @id AND due_at > 0 AND (state = 'draft' OR gate <> ''))
OR EXISTS (SELECT 1 `+sending+`)`,
		sql.Named("id", id), sql.Named("tenant", tenantID)).Scan(&needed).Error
	return needed, err
}

// DeleteProfile takes a profile away and forgets its secrets, but for a grant's refresh token, which is kept until Google has
// revoked it. What it sent keeps naming it. ErrInUse: messages still need
// it. version is as for UpdateProfile.
func (s *Store) DeleteProfile(ctx context.Context, tenantID, id string, version int64) error {
	return failed("delete profile", s.transaction(ctx, func(tx *gorm.DB) error {
		// The strongest lock waits for transactions that are adding messages to the profile.
		old, err := lockProfile(tx, tenantID, id, version, "UPDATE")
		if err != nil {
			return err
		}
		needed, err := s.needsProfile(tx, tenantID, id)
		if err != nil {
			return err
		}
		if needed {
			return ErrInUse
		}
		if err := leaveGrant(tx, tenantID, id); err != nil {
			return err
		}
		if err := s.followBounceMailbox(tx, &mail.Profile{ID: id, TenantID: tenantID}); err != nil {
			return err
		}
		now := later(old.UpdatedAt)
		return tx.Model(&profileRow{}).Where("tenant_id = ? AND id = ?", tenantID, id).UpdateColumns(map[string]any{
			"deleted_at": now, "updated_at": now, "version": old.Version + 1, "is_default": false, "sealed_secrets": nil,
		}).Error
	}))
}

// lockProfile reads a row for a change of it.
func lockProfile(tx *gorm.DB, tenantID, id string, version int64, strength string) (*profileRow, error) {
	var row profileRow
	err := tx.Clauses(clause.Locking{Strength: strength}).Where("tenant_id = ? AND id = ? AND deleted_at IS NULL", tenantID, id).Take(&row).Error
	if err != nil {
		return nil, err
	}
	if version != 0 && version != row.Version {
		return nil, ErrVersion
	}
	return &row, nil
}

// yieldDefaultProfile makes room for row as the default of its owner.
func yieldDefaultProfile(tx *gorm.DB, row *profileRow) error {
	if !row.IsDefault {
		return nil
	}
	return tx.Model(&profileRow{}).
		Where("tenant_id = ? AND level = ? AND owner_ref = ? AND is_default AND deleted_at IS NULL AND id <> ?", row.TenantID, row.Level, row.OwnerRef, row.ID).
		UpdateColumns(map[string]any{"is_default": false, "version": gorm.Expr("version + 1"), "updated_at": row.UpdatedAt}).Error
}

type laneRow struct {
	ProfileID string `gorm:"primaryKey"`
	Lane      int    `gorm:"primaryKey;autoIncrement:false"`
}

func (laneRow) TableName() string { return "lanes" }

type usageRow struct {
	ProfileID string `gorm:"primaryKey"`
}

func (usageRow) TableName() string { return "profile_usage" }

// makeCompanions adds the lanes that the profile has not yet, and a place for what it uses of its limits. Lanes over its limit
// stay and are not used.
func makeCompanions(tx *gorm.DB, row *profileRow) error {
	if row.PerMinute > 0 || row.PerHour > 0 || row.PerDay > 0 {
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&usageRow{row.ID}).Error; err != nil {
			return err
		}
	}
	lanes := make([]laneRow, max(row.MaxConnections, 1))
	for i := range lanes {
		lanes[i] = laneRow{row.ID, i}
	}
	return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&lanes).Error
}

// later is now, or just after a time of a process whose clock is ahead.
func later(than int64) int64 { return max(micros(time.Now()), than+1) }

// GateHold is the hold that a profile with these settings would have at once; nil: none.
func (s *Store) GateHold(ctx context.Context, p *mail.Profile) (*mail.ProfileTrouble, error) {
	hold, err := s.gateHold(s.ro.WithContext(ctx), p.TenantID, p.Transport, p.From.Address)
	return hold, failed("gate", err)
}
