package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"gorm.io/gorm"

	"github.com/winprest/facteur/internal/mail"
)

// The bounce mailbox of a profile is read by whichever process comes first when it is due. A reading is leased by the database's clock;
// what it says of its progress is fenced by its token.

// bounceSettings is the part of profileSettings about the bounce mailbox.
type bounceSettings struct {
	Host     string        `json:"host"`
	Port     int           `json:"port"`
	Security mail.Security `json:"security"`
	Username string        `json:"username"`
	Folder   string        `json:"folder"`
	MoveTo   string        `json:"move_to,omitempty"`
	VERP     bool          `json:"verp,omitempty"`
}

func bounceSettingsOf(c *mail.BounceMailbox) *bounceSettings {
	return &bounceSettings{Host: c.Host, Port: c.Port, Security: c.Security, Username: c.Username, Folder: c.Folder, MoveTo: c.MoveTo, VERP: c.VERP}
}

func (c *bounceSettings) mailbox(secrets *profileSecrets) *mail.BounceMailbox {
	return &mail.BounceMailbox{
		Host: c.Host, Port: c.Port, Security: c.Security, Username: c.Username, Password: mail.Secret(secrets.BouncesPassword),
		Folder: c.Folder, MoveTo: c.MoveTo, VERP: c.VERP, VERPKey: mail.Secret(secrets.VERPKey),
	}
}

// makeVERPKey gives a profile its key when it wants one. The key stays as long as the mailbox does, switched on or off: reports on mails
// that left with it come later.
func makeVERPKey(p *mail.Profile) {
	if b := p.BounceMailbox; b != nil && b.VERP && b.VERPKey == "" {
		b.VERPKey = mail.Secret(rand.Text())
	}
}

type bounceMailboxRow struct {
	TenantID    string
	ProfileID   string `gorm:"primaryKey"`
	Place       string
	UIDValidity int64 `gorm:"column:uid_validity"`
	LastUID     int64 `gorm:"column:last_uid"`
	DueAt       int64
	Token       *string
	Failures    int
	Problem     *string
	ReadAt      int64
}

func (bounceMailboxRow) TableName() string { return "bounce_mailboxes" }

// followBounceMailbox brings the reading in line with the profile's settings. Whoever edits means to mend: it is due at once, and
// a reading under way is fenced off.
func (s *Store) followBounceMailbox(tx *gorm.DB, p *mail.Profile) error {
	b := p.BounceMailbox
	if b == nil {
		return tx.Where("tenant_id = ? AND profile_id = ?", p.TenantID, p.ID).Delete(&bounceMailboxRow{}).Error
	}
	place := strconv.Quote(b.Username) + "@" + b.Host + ":" + strconv.Itoa(b.Port) + "/" + b.Folder
	return tx.Exec(`INSERT INTO bounce_mailboxes (tenant_id, profile_id, place, due_at) VALUES (?, ?, ?, `+s.now()+`)
	ON CONFLICT (profile_id) DO UPDATE SET due_at = excluded.due_at, token = NULL, failures = 0, problem = NULL, place = excluded.place,
	uid_validity = CASE WHEN bounce_mailboxes.place = excluded.place THEN bounce_mailboxes.uid_validity ELSE 0 END,
	last_uid = CASE WHEN bounce_mailboxes.place = excluded.place THEN bounce_mailboxes.last_uid ELSE 0 END,
	read_at = CASE WHEN bounce_mailboxes.place = excluded.place THEN bounce_mailboxes.read_at ELSE 0 END`, p.TenantID, p.ID, place).Error
}

// BounceReading is one reading of a bounce mailbox, leased to the caller.
type BounceReading struct {
	TenantID, ProfileID, Token string
	UIDValidity, LastUID       uint32
	Failures                   int
}

const (
	readingDue          = `SELECT EXISTS (SELECT 1 FROM bounce_mailboxes WHERE due_at <= `
	takeReadingPostgres = `UPDATE bounce_mailboxes b SET token = $1, due_at = ` + nowPostgres + ` + $2 FROM (
	SELECT profile_id FROM bounce_mailboxes WHERE due_at <= ` + nowPostgres + ` ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED) d
	WHERE b.profile_id = d.profile_id RETURNING b.tenant_id, b.profile_id, b.uid_validity, b.last_uid, b.failures`
	takeReadingSQLite = `UPDATE bounce_mailboxes SET token = $1, due_at = ` + nowSQLite + ` + $2 WHERE profile_id IN (
	SELECT profile_id FROM bounce_mailboxes WHERE due_at <= ` + nowSQLite + ` ORDER BY due_at LIMIT $3)
	RETURNING tenant_id, profile_id, uid_validity, last_uid, failures`
	keepReadingPostgres = `UPDATE bounce_mailboxes SET uid_validity = $3, last_uid = $4, due_at = ` + nowPostgres + ` + $5` + ofReading
	keepReadingSQLite   = `UPDATE bounce_mailboxes SET uid_validity = $3, last_uid = $4, due_at = ` + nowSQLite + ` + $5` + ofReading
	endReadingPostgres  = `UPDATE bounce_mailboxes SET token = NULL, due_at = ` + nowPostgres + ` + $3, problem = $4, failures = $5,
	read_at = CASE WHEN $6::boolean THEN ` + nowPostgres + ` ELSE read_at END` + ofReading
	endReadingSQLite = `UPDATE bounce_mailboxes SET token = NULL, due_at = ` + nowSQLite + ` + $3, problem = $4, failures = $5,
	read_at = CASE WHEN $6 THEN ` + nowSQLite + ` ELSE read_at END` + ofReading
	ofReading = ` WHERE profile_id = $1 AND token = $2`
)

// BounceReadings leases at most n readings that are due, and gives them the token.
func (s *Store) BounceReadings(ctx context.Context, token string, lease time.Duration, n int) ([]BounceReading, error) {
	var due bool
	if err := s.ro.WithContext(ctx).Raw(readingDue + s.now() + ")").Scan(&due).Error; err != nil || !due {
		return nil, failed("bounce readings", err)
	}
	var list []BounceReading
	err := s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		list = nil
		r := BounceReading{Token: token}
		dest := []any{&r.TenantID, &r.ProfileID, &r.UIDValidity, &r.LastUID, &r.Failures}
		return tx.each(ctx, takeReadingPostgres, takeReadingSQLite, []any{token, lease.Microseconds(), n}, dest, func() { list = append(list, r) })
	})
	return list, failed("bounce readings", err)
}

// KeepBounceReading records that everything up to r.LastUID was taken in, and renews the lease. ErrNotFound: the reading is another's by now, or the
// mailbox was edited.
func (s *Store) KeepBounceReading(ctx context.Context, r *BounceReading, lease time.Duration) error {
	return failed("bounce reading", s.ofReading(ctx, keepReadingPostgres, keepReadingSQLite,
		r.ProfileID, r.Token, int64(r.UIDValidity), int64(r.LastUID), lease.Microseconds()))
}

// EndBounceReading ends a reading; the next is due after in. problem is what was wrong; nil: the mailbox was read. See KeepBounceReading for ErrNotFound.
func (s *Store) EndBounceReading(ctx context.Context, r *BounceReading, in time.Duration, problem *mail.ProfileTrouble) error {
	var doc *string
	failures := 0
	if problem != nil {
		b, err := json.Marshal(problem)
		if err != nil {
			return err
		}
		text := string(b)
		doc, failures = &text, r.Failures+1
	}
	return failed("bounce reading", s.ofReading(ctx, endReadingPostgres, endReadingSQLite,
		r.ProfileID, r.Token, in.Microseconds(), doc, failures, problem == nil))
}

func (s *Store) ofReading(ctx context.Context, postgres, sqlite string, args ...any) error {
	return s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		ours, err := tx.one(ctx, postgres, sqlite, args...)
		if err == nil && !ours {
			err = ErrNotFound
		}
		return err
	})
}

// ReadBouncesNow makes a mailbox due, unless it is being read.
func (s *Store) ReadBouncesNow(ctx context.Context, tenantID, profileID string) error {
	return failed("bounce mailbox", s.db.WithContext(ctx).Exec(`UPDATE bounce_mailboxes SET due_at = `+s.now()+`
	WHERE tenant_id = ? AND profile_id = ? AND token IS NULL`, tenantID, profileID).Error)
}

// BounceState is how the reading of a bounce mailbox is doing.
type BounceState struct {
	Problem *mail.ProfileTrouble // nil: none
	ReadAt  time.Time            // zero: it was never read to its end
}

// BounceStates gives the states of the profiles' bounce mailboxes, by profile; those without one are left out.
func (s *Store) BounceStates(ctx context.Context, tenantID string, profileIDs []string) (map[string]BounceState, error) {
	if len(profileIDs) == 0 {
		return nil, nil
	}
	var rows []bounceMailboxRow
	if err := s.ro.WithContext(ctx).Where("tenant_id = ? AND profile_id IN ?", tenantID, profileIDs).Find(&rows).Error; err != nil {
		return nil, failed("bounce mailboxes", err)
	}
	states := make(map[string]BounceState, len(rows))
	for _, r := range rows {
		problem, err := trouble(r.Problem)
		if err != nil {
			return nil, fmt.Errorf("store: bounce mailbox of %s: %w", r.ProfileID, err)
		}
		states[r.ProfileID] = BounceState{problem, fromMicros(r.ReadAt)}
	}
	return states, nil
}
