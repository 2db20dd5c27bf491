package store

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/winprest/facteur/internal/mail"
)

type profileRow struct {
	ID              string
	TenantID        string
	Version         int64
	Level           string
	OwnerRef        string
	Name            string
	IsDefault       bool
	Transport       string
	MaxConnections  int
	PerMinute       int
	PerHour         int
	PerDay          int
	LimitedUntil    int64
	LimitedBy       string
	ResendUncertain bool
	Settings        string
	SealedSecrets   []byte
	Hold, Pause     *string
	PausedUntil     int64
	PauseCount      int
	CreatedAt       int64 `gorm:"autoCreateTime:false"`
	UpdatedAt       int64 `gorm:"autoUpdateTime:false"`
	DeletedAt       *int64
}

func (profileRow) TableName() string { return "sender_profiles" }

func (r *profileRow) aad() string { return profileSecretsIn.aad(r.TenantID, r.ID) }

// profileSettings is the JSON of sender_profiles.settings. It holds no secret.
type profileSettings struct {
	From        mail.Address              `json:"from"`
	ReplyTo     []mail.Address            `json:"reply_to,omitempty"`
	AlwaysCC    []mail.Address            `json:"always_cc,omitempty"`
	AlwaysBCC   []mail.Address            `json:"always_bcc,omitempty"`
	Signatures  map[string]mail.Signature `json:"signatures,omitempty"`
	Attachments []mail.ProfileAttachment  `json:"attachments,omitempty"`
	SMTP        *smtpSettings             `json:"smtp,omitempty"`
	Gmail       *gmailSettings            `json:"gmail,omitempty"`
	SendGrid    *sendGridSettings         `json:"sendgrid,omitempty"`
	Bounces     *bounceSettings           `json:"bounce_mailbox,omitempty"`
}

type smtpSettings struct {
	Host                string        `json:"host"`
	Port                int           `json:"port"`
	Security            mail.Security `json:"security"`
	Auth                mail.Auth     `json:"auth"`
	Username            string        `json:"username,omitempty"`
	AllowPlaintextLogin bool          `json:"allow_plaintext_login,omitempty"`
	HELO                string        `json:"helo,omitempty"`
	TLSServerName       string        `json:"tls_server_name,omitempty"`
	CACertificates      string        `json:"ca_certificates,omitempty"`
	DSN                 bool          `json:"dsn,omitempty"`
	EnvelopeFrom        string        `json:"envelope_from,omitempty"`
}

type gmailSettings struct {
	Client    string   `json:"client,omitempty"`
	Aliases   []string `json:"aliases,omitempty"`
	Reconcile bool     `json:"reconcile,omitempty"`
}

type sendGridSettings struct {
	Careful  bool `json:"careful,omitempty"`
	Tracking bool `json:"tracking,omitempty"`
}

// profileSecrets is the JSON that sender_profiles.sealed_secrets seals.
type profileSecrets struct {
	SMTPPassword    string `json:"smtp_password,omitempty"`
	BouncesPassword string `json:"bounces_password,omitempty"`
	VERPKey         string `json:"verp_key,omitempty"`
}

// profileRow encodes a profile and seals its secrets.
func (s *Store) profileRow(p *mail.Profile) (*profileRow, error) {
	settings := profileSettings{
		From: p.From, ReplyTo: p.ReplyTo, AlwaysCC: p.AlwaysCC, AlwaysBCC: p.AlwaysBCC, Signatures: p.Signatures, Attachments: p.Attachments,
	}
	var secrets profileSecrets
	if c := p.SMTP; c != nil {
		settings.SMTP = &smtpSettings{
			Host: c.Host, Port: c.Port, Security: c.Security, Auth: c.Auth, Username: c.Username, AllowPlaintextLogin: c.AllowPlaintextLogin,
			HELO: c.HELO, TLSServerName: c.TLSServerName, CACertificates: c.CACertificates, DSN: c.DSN, EnvelopeFrom: c.EnvelopeFrom,
		}
		secrets.SMTPPassword = string(c.Password)
	}
	if c := p.Gmail; c != nil {
		settings.Gmail = &gmailSettings{Client: c.Client, Aliases: c.Aliases, Reconcile: c.Reconcile}
	}
	if c := p.SendGrid; c != nil {
		settings.SendGrid = &sendGridSettings{Careful: c.Careful, Tracking: c.Tracking}
	}
	if c := p.BounceMailbox; c != nil {
		settings.Bounces = bounceSettingsOf(c)
		secrets.BouncesPassword, secrets.VERPKey = string(c.Password), string(c.VERPKey)
	}
	doc, err := json.Marshal(settings)
	if err != nil {
		return nil, fmt.Errorf("store: profile settings: %w", err)
	}
	row := &profileRow{
		ID: p.ID, TenantID: p.TenantID, Version: p.Version, Level: string(p.Level), OwnerRef: p.OwnerRef, Name: p.Name, IsDefault: p.Default,
		Transport: p.Transport, MaxConnections: p.MaxConnections,
		PerMinute: p.Limits.PerMinute, PerHour: p.Limits.PerHour, PerDay: p.Limits.PerDay, ResendUncertain: p.ResendUncertain, Settings: string(doc), PausedUntil: micros(p.PausedUntil), PauseCount: p.PauseCount,
		CreatedAt: micros(p.CreatedAt), UpdatedAt: micros(p.UpdatedAt),
	}
	if secrets == (profileSecrets{}) {
		return row, nil
	}
	plain, err := json.Marshal(secrets)
	if err != nil {
		return nil, ErrSealed
	}
	row.SealedSecrets, err = s.keyset.Seal(row.aad(), plain)
	return row, err
}

// openProfile is the reverse of profileRow. With ErrSealed it gives the profile without its secrets.
func (s *Store) openProfile(r *profileRow) (*mail.Profile, error) {
	var settings profileSettings
	if err := json.Unmarshal([]byte(r.Settings), &settings); err != nil {
		return nil, fmt.Errorf("store: settings of %s: %w", r.ID, err)
	}
	p := &mail.Profile{
		ID: r.ID, TenantID: r.TenantID, Version: r.Version, Level: mail.Level(r.Level), OwnerRef: r.OwnerRef, Name: r.Name, Default: r.IsDefault,
		From: settings.From, ReplyTo: settings.ReplyTo, AlwaysCC: settings.AlwaysCC, AlwaysBCC: settings.AlwaysBCC,
		Signatures: settings.Signatures, Attachments: settings.Attachments,
		Transport: r.Transport, MaxConnections: r.MaxConnections, PausedUntil: fromMicros(r.PausedUntil), PauseCount: r.PauseCount,
		Limits:       mail.Limits{PerMinute: r.PerMinute, PerHour: r.PerHour, PerDay: r.PerDay},
		LimitedUntil: fromMicros(r.LimitedUntil), LimitedBy: mail.Limit(r.LimitedBy), ResendUncertain: r.ResendUncertain,
		CreatedAt: fromMicros(r.CreatedAt), UpdatedAt: fromMicros(r.UpdatedAt),
	}
	var err error
	if p.Hold, err = trouble(r.Hold); err != nil {
		return nil, fmt.Errorf("store: hold of %s: %w", r.ID, err)
	}
	if p.Pause, err = trouble(r.Pause); err != nil {
		return nil, fmt.Errorf("store: pause of %s: %w", r.ID, err)
	}
	if c := settings.Gmail; c != nil {
		p.Gmail = &mail.GmailSettings{Client: c.Client, Aliases: c.Aliases, Reconcile: c.Reconcile}
	}
	if c := settings.SendGrid; c != nil {
		p.SendGrid = &mail.SendGridSettings{Careful: c.Careful, Tracking: c.Tracking}
	}
	secrets, err := s.openProfileSecrets(r)
	if c := settings.SMTP; c != nil {
		p.SMTP = &mail.SMTPSettings{
			Host: c.Host, Port: c.Port, Security: c.Security, Auth: c.Auth, Username: c.Username, Password: mail.Secret(secrets.SMTPPassword),
			AllowPlaintextLogin: c.AllowPlaintextLogin, HELO: c.HELO, TLSServerName: c.TLSServerName, CACertificates: c.CACertificates,
			DSN: c.DSN, EnvelopeFrom: c.EnvelopeFrom,
		}
	}
	if c := settings.Bounces; c != nil {
		p.BounceMailbox = c.mailbox(&secrets)
	}
	return p, err
}

// openProfileSecrets opens what a row has sealed. It gives none with ErrSealed.
func (s *Store) openProfileSecrets(r *profileRow) (profileSecrets, error) {
	if r.SealedSecrets == nil {
		return profileSecrets{}, nil
	}
	plain, err := s.keyset.Open(r.aad(), r.SealedSecrets)
	if err != nil {
		return profileSecrets{}, err
	}
	var secrets profileSecrets
	if json.Unmarshal(plain, &secrets) != nil {
		return profileSecrets{}, ErrSealed // the cause would quote the secret
	}
	return secrets, nil
}

// openSettings is openProfile for whoever shows or edits a profile: secrets that cannot be opened are left out, and it says so.
func (s *Store) openSettings(r *profileRow) (*mail.Profile, error) {
	p, err := s.openProfile(r)
	if errors.Is(err, ErrSealed) {
		s.log.Warn("the secrets of a profile cannot be opened: is a key missing in the keyset?", "profile", r.ID)
		p.SecretsUnreadable, err = true, nil
	}
	return p, err
}

func trouble(doc *string) (*mail.ProfileTrouble, error) {
	if doc == nil {
		return nil, nil
	}
	var t mail.ProfileTrouble
	if err := json.Unmarshal([]byte(*doc), &t); err != nil {
		return nil, err
	}
	return &t, nil
}
