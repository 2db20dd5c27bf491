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

// GrantState is what is known of a profile's consent at Google.
type GrantState string

const (
	GrantConnected            GrantState = "connected"
	GrantNeedsReauthorization GrantState = "needs_reauthorization" // Google takes its refresh token no more
	GrantRevoking             GrantState = "revoking"              // not used any more; its refresh token waits to be revoked at Google
	GrantRevoked              GrantState = "revoked"               // and forgotten
)

const gmailTransport = "gmail"

// Grant is a profile's consent at Google, with its tokens.
type Grant struct {
	TenantID, ProfileID string
	Client              string // name of the OAuth client
	ClientOwn           bool   // the client is the tenant's own
	ClientID            string // Google's id of it
	Address             string // of the Google account
	Scopes              []string
	State               GrantState
	Code                string    // why it needs a new consent
	Since               time.Time // of the state
	GrantedAt           time.Time
	RefreshExpiresAt    time.Time // zero unless Google said that the refresh token ends by itself
	CheckedAt           time.Time // Google last took the refresh token, or gave it
	Generation          int64     // counts the changes of the tokens
	RefreshToken        mail.Secret
	AccessToken         mail.Secret
	AccessUntil         time.Time // the access token is not used after this
}

type grantRow struct {
	ProfileID        string `gorm:"primaryKey"`
	TenantID         string
	Client           string
	ClientOwn        bool
	ClientID         string
	Address          string
	Scopes           string
	State            string
	Code             string
	Since            int64
	GrantedAt        int64
	RefreshExpiresAt int64
	SealedRefresh    []byte
	SealedAccess     []byte
	AccessUntil      int64
	Generation       int64
	Lease            *string
	LeaseUntil       int64
	CheckedAt        int64
}

func (grantRow) TableName() string { return "gmail_grants" }

// openGrant gives the grant of a row. With ErrSealed it comes without its tokens.
func (s *Store) openGrant(r *grantRow) (*Grant, error) {
	g := &Grant{
		TenantID: r.TenantID, ProfileID: r.ProfileID, Client: r.Client, ClientOwn: r.ClientOwn, ClientID: r.ClientID, Address: r.Address,
		State: GrantState(r.State), Code: r.Code, Since: fromMicros(r.Since), GrantedAt: fromMicros(r.GrantedAt),
		RefreshExpiresAt: fromMicros(r.RefreshExpiresAt), CheckedAt: fromMicros(r.CheckedAt), Generation: r.Generation, AccessUntil: fromMicros(r.AccessUntil),
	}
	if err := json.Unmarshal([]byte(r.Scopes), &g.Scopes); err != nil {
		return nil, err
	}
	var err, err2 error
	g.RefreshToken, err = s.open(refreshTokenIn, r.TenantID, r.ProfileID, r.SealedRefresh)
	g.AccessToken, err2 = s.open(accessTokenIn, r.TenantID, r.ProfileID, r.SealedAccess)
	return g, errors.Join(err, err2)
}

// Grant gives a profile's grant with its tokens, whatever its state. ErrNotFound: there never was one. With ErrSealed the grant
// comes too, without its tokens.
func (s *Store) Grant(ctx context.Context, tenantID, profileID string) (*Grant, error) {
	var row grantRow
	if err := s.ro.WithContext(ctx).Where("tenant_id = ? AND profile_id = ?", tenantID, profileID).Take(&row).Error; err != nil {
		return nil, failed("grant", err)
	}
	return s.openGrant(&row)
}

// now is the database's clock in SQL: leases of several machines are told by one clock.
func (s *Store) now() string {
	if s.pg != nil {
		return nowPostgres
	}
	return nowSQLite
}

// LeaseGrant gives the caller the right to refresh g for a while. It is refused while another has it, and when the grant is
// not as the caller read it any more.
func (s *Store) LeaseGrant(ctx context.Context, g *Grant, lease string, lasts time.Duration) (bool, error) {
	q := s.db.WithContext(ctx).Exec(`UPDATE gmail_grants SET lease = ?, lease_until = `+s.now()+` + ?
		WHERE profile_id = ? AND generation = ? AND state = 'connected' AND lease_until <= `+s.now(), lease, lasts.Microseconds(), g.ProfileID, g.Generation)
	return q.RowsAffected > 0, failed("lease grant", q.Error)
}

// ReleaseGrant ends a lease that led to nothing.
func (s *Store) ReleaseGrant(ctx context.Context, g *Grant, lease string) error {
	return failed("release grant", s.db.WithContext(ctx).Exec("UPDATE gmail_grants SET lease = NULL, lease_until = 0 WHERE profile_id = ? AND lease = ?", g.ProfileID, lease).Error)
}

// SaveTokens stores g's tokens after a refresh, ends the lease, and counts the generation. False: the lease was lost, or the
// grant is another one by now; nothing was stored.
func (s *Store) SaveTokens(ctx context.Context, g *Grant, lease string) (bool, error) {
	refresh, err := s.seal(refreshTokenIn, g.TenantID, g.ProfileID, g.RefreshToken)
	if err != nil {
		return false, err
	}
	access, err := s.seal(accessTokenIn, g.TenantID, g.ProfileID, g.AccessToken)
	if err != nil {
		return false, err
	}
	q := s.db.WithContext(ctx).Exec(`UPDATE gmail_grants SET sealed_refresh = ?, sealed_access = ?, access_until = ?, refresh_expires_at = ?,
		generation = generation + 1, lease = NULL, lease_until = 0, checked_at = ?
		WHERE profile_id = ? AND generation = ? AND lease = ? AND state = 'connected'`,
		refresh, access, micros(g.AccessUntil), micros(g.RefreshExpiresAt), micros(Now()), g.ProfileID, g.Generation, lease)
	return q.RowsAffected > 0, failed("save tokens", q.Error)
}

// GrantDied records that Google takes g's refresh token no more. False: the grant is not as the caller read it any more, and
// what Google said of the old token says nothing of it.
func (s *Store) GrantDied(ctx context.Context, g *Grant, lease, code string) (bool, error) {
	q := s.db.WithContext(ctx).Exec(`UPDATE gmail_grants SET state = 'needs_reauthorization', code = ?, since = ?, sealed_refresh = NULL, sealed_access = NULL,
		generation = generation + 1, lease = NULL, lease_until = 0
		WHERE profile_id = ? AND generation = ? AND lease = ? AND state = 'connected'`, code, micros(Now()), g.ProfileID, g.Generation, lease)
	return q.RowsAffected > 0, failed("grant died", q.Error)
}

// SaveGrant stores a new consent's grant in place of the profile's former one, ends the consent it came from and the profile's hold and
// pause, and gives the profile a new version, so that trouble that a worker met before is not recorded after. p is the
// profile that the grant was compared with: ErrVersion when it was edited since, or the consent was ended: by a revocation, or by
// another that was asked for. g gets its times and its generation.
func (s *Store) SaveGrant(ctx context.Context, p *mail.Profile, consentID string, g *Grant, e *AuditEvent) error {
	now := Now()
	g.State, g.Code, g.Since, g.GrantedAt, g.CheckedAt = GrantConnected, "", now, now, now
	scopes, err := json.Marshal(g.Scopes)
	if err != nil {
		return err
	}
	row := &grantRow{
		ProfileID: p.ID, TenantID: p.TenantID, Client: g.Client, ClientOwn: g.ClientOwn, ClientID: g.ClientID, Address: g.Address, Scopes: string(scopes),
		State: string(g.State), Since: micros(now), GrantedAt: micros(now), CheckedAt: micros(now), RefreshExpiresAt: micros(g.RefreshExpiresAt),
		AccessUntil: micros(g.AccessUntil), Generation: 1,
	}
	if row.SealedRefresh, err = s.seal(refreshTokenIn, p.TenantID, p.ID, g.RefreshToken); err != nil {
		return err
	}
	if row.SealedAccess, err = s.seal(accessTokenIn, p.TenantID, p.ID, g.AccessToken); err != nil {
		return err
	}
	return failed("save grant", s.transaction(ctx, func(tx *gorm.DB) error {
		old, err := lockProfile(tx, p.TenantID, p.ID, p.Version, "NO KEY UPDATE")
		if err != nil {
			return err
		}
		if old.Transport != gmailTransport {
			return ErrVersion
		}
		var former grantRow
		err = tx.Where("profile_id = ?", p.ID).Take(&former).Error
		if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
			return err
		}
		row.Generation = former.Generation + 1
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(row).Error; err != nil {
			return err
		}
		used := tx.Model(&consentRow{}).Where("id = ? AND outcome = ?", consentID, ConsentExchanging).UpdateColumns(map[string]any{
			"outcome": ConsentConnected, "finished_at": micros(now), "sealed_verifier": nil,
		})
		if used.Error != nil {
			return used.Error
		}
		if used.RowsAffected == 0 {
			return ErrVersion
		}
		if err := s.touchProfile(tx, old, nil); err != nil {
			return err
		}
		g.Generation = row.Generation
		return appendAudit(tx, e)
	}))
}

// RevokeGrant ends a profile's grant here and holds the profile: nothing is sent with it any more, in no process. A consent
// that was asked for ends too. The refresh token stays until ForgetGrant, so that it can be revoked at Google. A profile
// without a grant is left as it is.
func (s *Store) RevokeGrant(ctx context.Context, tenantID, profileID string, hold mail.ProfileTrouble, e *AuditEvent) error {
	return failed("revoke grant", s.transaction(ctx, func(tx *gorm.DB) error {
		old, err := lockProfile(tx, tenantID, profileID, 0, "NO KEY UPDATE")
		if err != nil {
			return err
		}
		var inUse bool
		if err := tx.Raw("SELECT EXISTS (SELECT 1 FROM gmail_grants WHERE tenant_id = ? AND profile_id = ? AND state IN ('connected', 'needs_reauthorization'))",
			tenantID, profileID).Scan(&inUse).Error; err != nil {
			return err
		}
		if err := leaveGrant(tx, tenantID, profileID); err != nil || !inUse {
			return err
		}
		if err := s.touchProfile(tx, old, &hold); err != nil {
			return err
		}
		return appendAudit(tx, e)
	}))
}

// touchProfile sets or ends a profile's hold, ends its pause, and counts its version.
func (s *Store) touchProfile(tx *gorm.DB, old *profileRow, hold *mail.ProfileTrouble) error {
	text, err := holdText(hold)
	if err != nil {
		return err
	}
	err = tx.Model(&profileRow{}).Where("tenant_id = ? AND id = ?", old.TenantID, old.ID).UpdateColumns(map[string]any{
		"hold": text, "pause": nil, "paused_until": 0, "pause_count": 0, "version": old.Version + 1, "updated_at": later(old.UpdatedAt),
	}).Error
	if err != nil {
		return err
	}
	return s.regarded(tx, old, hold)
}

// leaveGrant ends the use of a profile's grant and of consents that were asked for.
func leaveGrant(tx *gorm.DB, tenantID, profileID string) error {
	now := micros(Now())
	err := tx.Model(&grantRow{}).Where("tenant_id = ? AND profile_id = ? AND state IN ('connected', 'needs_reauthorization')", tenantID, profileID).UpdateColumns(map[string]any{
		"state": string(GrantRevoking), "code": "", "since": now, "sealed_access": nil, "access_until": 0, "generation": gorm.Expr("generation + 1"),
		"lease": nil, "lease_until": 0,
	}).Error
	if err != nil {
		return err
	}
	return tx.Model(&consentRow{}).Where("tenant_id = ? AND profile_id = ? AND outcome IN ('', ?)", tenantID, profileID, ConsentExchanging).
		UpdateColumns(map[string]any{"outcome": ConsentReplaced, "finished_at": now, "sealed_verifier": nil}).Error
}

// ForgetGrant forgets the refresh token of a grant that is revoked at Google, or is not to be revoked there.
func (s *Store) ForgetGrant(ctx context.Context, g *Grant) error {
	return failed("forget grant", s.db.WithContext(ctx).Exec(
		"UPDATE gmail_grants SET state = 'revoked', sealed_refresh = NULL WHERE profile_id = ? AND generation = ? AND state = 'revoking'", g.ProfileID, g.Generation).Error)
}

// Connected says whether any profile is connected to a Google account through a client: to revoke one token of the two at
// Google ends them all.
func (s *Store) Connected(ctx context.Context, clientID, address string) (bool, error) {
	var found bool
	err := s.ro.WithContext(ctx).Raw(`SELECT EXISTS (SELECT 1 FROM gmail_grants WHERE client_id = ? AND lower(address) = lower(?) AND state = 'connected')`,
		clientID, address).Scan(&found).Error
	return found, failed("grants of an account", err)
}

// GrantsToCheck gives connected grants that Google was last asked about before a time, a page of them: those of profiles after an id.
func (s *Store) GrantsToCheck(ctx context.Context, before time.Time, after string) ([]*Grant, error) {
	return s.grants(s.ro.WithContext(ctx).Where("state = 'connected' AND checked_at < ? AND profile_id > ?", micros(before), after).Order("profile_id"))
}

// GrantsToRevoke gives a page of the grants whose refresh token waits to be revoked at Google, the longest ago first.
func (s *Store) GrantsToRevoke(ctx context.Context) ([]*Grant, error) {
	return s.grants(s.ro.WithContext(ctx).Where("state = 'revoking'").Order("since"))
}

// EachGrant calls fn for every grant in use, of all tenants, until it fails. They come without their tokens.
func (s *Store) EachGrant(ctx context.Context, fn func(*Grant) error) error {
	for after := ""; ; {
		var rows []grantRow
		if err := s.ro.WithContext(ctx).Where("state IN ('connected', 'needs_reauthorization') AND profile_id > ?", after).Order("profile_id").Limit(MaxPage).Find(&rows).Error; err != nil {
			return failed("grants", err)
		}
		for i := range rows {
			rows[i].SealedRefresh, rows[i].SealedAccess = nil, nil
			g, err := s.openGrant(&rows[i])
			if err != nil {
				return err
			}
			if err := fn(g); err != nil {
				return err
			}
			after = g.ProfileID
		}
		if len(rows) < MaxPage {
			return nil
		}
	}
}

// grants reads a page. Those that the keyset does not open are left out: nothing can be done with them.
func (s *Store) grants(q *gorm.DB) ([]*Grant, error) {
	var rows []grantRow
	if err := q.Limit(MaxPage).Find(&rows).Error; err != nil {
		return nil, failed("grants", err)
	}
	out := make([]*Grant, 0, len(rows))
	for i := range rows {
		g, err := s.openGrant(&rows[i])
		switch {
		case err == nil:
			out = append(out, g)
		case !errors.Is(err, ErrSealed):
			return nil, err
		}
	}
	return out, nil
}

// appendAudit writes an event in gorm's transaction.
func appendAudit(tx *gorm.DB, e *AuditEvent) error {
	if e == nil {
		return nil
	}
	fill("aud", &e.ID, &e.CreatedAt)
	if len(e.Detail) == 0 {
		e.Detail = json.RawMessage("{}")
	}
	return tx.Create(&auditRow{
		ID: e.ID, TenantID: e.TenantID, Actor: e.Actor, Action: e.Action, Subject: e.Subject, Detail: string(e.Detail), CreatedAt: micros(e.CreatedAt),
	}).Error
}
