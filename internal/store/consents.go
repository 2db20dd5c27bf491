package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/winprest/facteur/internal/mail"
)

// Outcomes of a consent that are no problem's code. An open one has the outcome "".
const (
	ConsentExchanging = "exchanging" // the browser is back from Google; the code is being exchanged
	ConsentConnected  = "connected"
	ConsentReplaced   = "replaced" // another one was asked for, or the profile has no more use for it
)

// Consent is one asking of a person's consent at Google: from the API's answer to the browser's return. What travels through the
// browser is known by its SHA-256.
type Consent struct {
	ID, TenantID, ProfileID, Actor string
	Client                         string
	ClientOwn                      bool
	ClientID                       string
	Language, ReturnURL            string
	TicketHash                     []byte // of the start page's address
	StateHash                      []byte // of the state at Google; nil: no browser has left for Google
	BrowserHash                    []byte // of the cookie of the browser that has
	Verifier                       mail.Secret
	Outcome                        string
	Params                         map[string]string // fill the text of an outcome that is a problem's code
	CreatedAt, ExpiresAt           time.Time
	FinishedAt                     time.Time
}

type consentRow struct {
	ID, TenantID, ProfileID, Actor string
	Client                         string
	ClientOwn                      bool
	ClientID, Language, ReturnURL  string
	TicketHash                     []byte
	StateHash                      []byte
	BrowserHash                    []byte
	SealedVerifier                 []byte
	Outcome, Params                string
	CreatedAt                      int64 `gorm:"autoCreateTime:false"`
	ExpiresAt, FinishedAt          int64
}

func (consentRow) TableName() string { return "gmail_consents" }

// CreateConsent stores an open consent and ends an earlier one of the same profile: a profile has one at a time. ErrVersion: p is not
// a Gmail profile any more.
func (s *Store) CreateConsent(ctx context.Context, c *Consent) error {
	fill("cns", &c.ID, &c.CreatedAt)
	return failed("create consent", s.transaction(ctx, func(tx *gorm.DB) error {
		p, err := lockProfile(tx, c.TenantID, c.ProfileID, 0, "NO KEY UPDATE")
		if err != nil {
			return err
		}
		if p.Transport != gmailTransport {
			return ErrVersion
		}
		if err := tx.Model(&consentRow{}).Where("profile_id = ? AND outcome IN ('', ?)", c.ProfileID, ConsentExchanging).
			UpdateColumns(map[string]any{"outcome": ConsentReplaced, "finished_at": micros(c.CreatedAt), "sealed_verifier": nil}).Error; err != nil {
			return err
		}
		return tx.Create(&consentRow{
			ID: c.ID, TenantID: c.TenantID, ProfileID: c.ProfileID, Actor: c.Actor, Client: c.Client, ClientOwn: c.ClientOwn, ClientID: c.ClientID,
			Language: c.Language, ReturnURL: c.ReturnURL, TicketHash: c.TicketHash, Params: "{}", CreatedAt: micros(c.CreatedAt), ExpiresAt: micros(c.ExpiresAt),
		}).Error
	}))
}

// ConsentByTicket gives the consent that a start page's address belongs to, of whatever tenant and outcome.
func (s *Store) ConsentByTicket(ctx context.Context, hash []byte) (*Consent, error) {
	return s.oneConsent(s.ro.WithContext(ctx).Where("ticket_hash = ?", hash))
}

// ConsentByState gives the consent that a state belongs to, of whatever tenant and outcome.
func (s *Store) ConsentByState(ctx context.Context, hash []byte) (*Consent, error) {
	return s.oneConsent(s.ro.WithContext(ctx).Where("state_hash = ?", hash))
}

// LastConsent gives the newest consent of a profile.
func (s *Store) LastConsent(ctx context.Context, tenantID, profileID string) (*Consent, error) {
	return s.oneConsent(s.ro.WithContext(ctx).Where("tenant_id = ? AND profile_id = ?", tenantID, profileID).Order("created_at DESC").Limit(1))
}

func (s *Store) oneConsent(q *gorm.DB) (*Consent, error) {
	var r consentRow
	if err := q.Take(&r).Error; err != nil {
		return nil, failed("consent", err)
	}
	c := &Consent{
		ID: r.ID, TenantID: r.TenantID, ProfileID: r.ProfileID, Actor: r.Actor, Client: r.Client, ClientOwn: r.ClientOwn, ClientID: r.ClientID,
		Language: r.Language, ReturnURL: r.ReturnURL, TicketHash: r.TicketHash, StateHash: r.StateHash, BrowserHash: r.BrowserHash, Outcome: r.Outcome,
		CreatedAt: fromMicros(r.CreatedAt), ExpiresAt: fromMicros(r.ExpiresAt), FinishedAt: fromMicros(r.FinishedAt),
	}
	err := json.Unmarshal([]byte(r.Params), &c.Params)
	if err != nil {
		return nil, fmt.Errorf("store: params of %s: %w", r.ID, err)
	}
	c.Verifier, err = s.open(verifierIn, r.TenantID, r.ID, r.SealedVerifier)
	return c, err
}

// LeaveConsent binds a consent to the browser that leaves for Google and stores its state and verifier. The same browser may
// leave again, with new ones; another may not. False: it may not, or the consent is not open any more.
func (s *Store) LeaveConsent(ctx context.Context, c *Consent) (bool, error) {
	sealed, err := s.seal(verifierIn, c.TenantID, c.ID, c.Verifier)
	if err != nil {
		return false, err
	}
	q := s.db.WithContext(ctx).Exec(`UPDATE gmail_consents SET state_hash = ?, browser_hash = ?, sealed_verifier = ?
		WHERE id = ? AND outcome = '' AND expires_at > ? AND (browser_hash IS NULL OR browser_hash = ?)`,
		c.StateHash, c.BrowserHash, sealed, c.ID, micros(Now()), c.BrowserHash)
	return q.RowsAffected > 0, failed("leave consent", q.Error)
}

// UseConsent takes a consent for the one exchange that it is good for. False: somebody else has it.
func (s *Store) UseConsent(ctx context.Context, c *Consent) (bool, error) {
	q := s.db.WithContext(ctx).Exec("UPDATE gmail_consents SET outcome = ?, sealed_verifier = NULL WHERE id = ? AND outcome = '' AND state_hash = ?",
		ConsentExchanging, c.ID, c.StateHash)
	return q.RowsAffected > 0, failed("use consent", q.Error)
}

// EndConsent records that a consent came to nothing, and why.
func (s *Store) EndConsent(ctx context.Context, c *Consent, outcome string, params map[string]string) error {
	doc, err := json.Marshal(params)
	if err != nil {
		return err
	}
	return failed("end consent", s.db.WithContext(ctx).Exec(`UPDATE gmail_consents SET outcome = ?, params = ?, finished_at = ?, sealed_verifier = NULL
		WHERE id = ? AND outcome IN ('', ?)`, outcome, string(doc), micros(Now()), c.ID, ConsentExchanging).Error)
}

// ForgetConsents removes consents that expired before a time.
func (s *Store) ForgetConsents(ctx context.Context, before time.Time) error {
	return failed("forget consents", s.db.WithContext(ctx).Exec("DELETE FROM gmail_consents WHERE expires_at < ?", micros(before)).Error)
}
