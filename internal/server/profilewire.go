package server

import (
	"strconv"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/server/texts"
)

const defaultConnections = 2

// sendGridTransport is the transport that needs no settings of the profile's, and may have some.
const (
	sendGridTransport   = "sendgrid"
	codeSendGridNotUsed = "sendgrid_settings_not_used"
)

// Values of on_uncertain.
const (
	onUncertainWait   = "wait"
	onUncertainResend = "resend"
)

func onUncertain(p *mail.Profile) string {
	if p.ResendUncertain {
		return onUncertainResend
	}
	return onUncertainWait
}

func newProfile(r *api.SenderProfileRequest) *mail.Profile {
	p := &mail.Profile{
		Level: mail.Level(r.Level), OwnerRef: r.OwnerRef, Name: r.Name, Default: r.Default, From: addressFrom(r.From),
		ReplyTo: addressesFrom(r.ReplyTo), AlwaysCC: addressesFrom(r.AlwaysCC), AlwaysBCC: addressesFrom(r.AlwaysBCC),
		Attachments: filesFrom(r.Attachments), Transport: r.Transport, MaxConnections: r.MaxConnections,
		Limits: mail.DefaultLimits(r.Transport, r.From.Address), ResendUncertain: r.OnUncertain == onUncertainResend,
	}
	setLimits(&p.Limits, r.Limits)
	if len(r.Signatures) > 0 {
		p.Signatures = make(map[string]mail.Signature, len(r.Signatures))
		for tag, sig := range r.Signatures {
			p.Signatures[mail.NormalizeLanguage(tag)] = mail.Signature(sig)
		}
	}
	if q := r.SMTP; q != nil {
		p.SMTP = &mail.SMTPSettings{
			Host: q.Host, Port: q.Port, Security: mail.Security(q.Security), Auth: mail.Auth(q.Auth), Username: q.Username,
			Password: mail.Secret(q.Password), AllowPlaintextLogin: q.AllowPlaintextLogin, HELO: q.HELO, TLSServerName: q.TLSServerName,
			CACertificates: q.CACertificates, DSN: q.DSN, EnvelopeFrom: q.EnvelopeFrom,
		}
	}
	if q := r.Gmail; q != nil {
		p.Gmail = &mail.GmailSettings{Client: q.Client, Aliases: q.Aliases, Reconcile: q.Reconcile}
	}
	if q := r.SendGrid; q != nil {
		p.SendGrid = &mail.SendGridSettings{Careful: q.Careful, Tracking: q.Tracking}
	}
	if q := r.BounceMailbox; q != nil {
		p.BounceMailbox = &mail.BounceMailbox{
			Host: q.Host, Port: q.Port, Security: mail.Security(q.Security), Username: q.Username, Password: mail.Secret(q.Password),
			Folder: q.Folder, MoveTo: q.MoveTo, VERP: q.VERP,
		}
	}
	fillDefaults(p)
	return p
}

// fillDefaults gives the settings that were left out the values that package api promises.
func fillDefaults(p *mail.Profile) {
	if p.Name == "" {
		p.Name = p.From.Address
	}
	if p.MaxConnections == 0 {
		p.MaxConnections = defaultConnections
	}
	if p.Transport == gmailTransport && p.Gmail == nil {
		p.Gmail = &mail.GmailSettings{}
	}
	if p.Transport == sendGridTransport && p.SendGrid == nil {
		p.SendGrid = &mail.SendGridSettings{}
	}
	if p.BounceMailbox != nil {
		fillBounceMailbox(p.BounceMailbox)
	}
	q := p.SMTP
	if q == nil {
		return
	}
	if q.Security == "" {
		q.Security = mail.SecuritySTARTTLS
	}
	if q.Port == 0 {
		switch q.Security {
		case mail.SecurityTLS:
			q.Port = 465
		case mail.SecurityNone:
			q.Port = 25
		default:
			q.Port = 587
		}
	}
	if q.Auth == "" {
		q.Auth = mail.AuthNone
		if q.Username != "" {
			q.Auth = mail.AuthAuto
		}
	}
}

func setLimits(l *mail.Limits, r *api.LimitsRequest) {
	if r == nil {
		return
	}
	if preset, ok := mail.LimitPresets[r.Preset]; ok {
		*l = preset
	}
	set(&l.PerMinute, r.PerMinute)
	set(&l.PerHour, r.PerHour)
	set(&l.PerDay, r.PerDay)
}

func patchSMTP(q *mail.SMTPSettings, r *api.SMTPSettingsPatch) {
	if r.Host != nil && *r.Host != q.Host {
		q.Host, q.Password = *r.Host, ""
	}
	set(&q.Port, r.Port)
	if r.Security != nil {
		q.Security = mail.Security(*r.Security)
	}
	if r.Auth != nil {
		q.Auth = mail.Auth(*r.Auth)
	}
	set(&q.Username, r.Username)
	if r.Password != nil {
		q.Password = mail.Secret(*r.Password)
	}
	set(&q.AllowPlaintextLogin, r.AllowPlaintextLogin)
	set(&q.HELO, r.HELO)
	set(&q.TLSServerName, r.TLSServerName)
	set(&q.CACertificates, r.CACertificates)
	set(&q.DSN, r.DSN)
	set(&q.EnvelopeFrom, r.EnvelopeFrom)
}

func patchSendGrid(p *mail.Profile, r *api.SendGridSettingsPatch) {
	q := mail.SendGridSettings{}
	if p.SendGrid != nil {
		q = *p.SendGrid
	}
	set(&q.Careful, r.Careful)
	set(&q.Tracking, r.Tracking)
	p.SendGrid = &q
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func profileOf(lang string, p *mail.Profile) api.SenderProfile {
	w := api.SenderProfile{
		ID: p.ID, Level: string(p.Level), OwnerRef: p.OwnerRef, Name: p.Name, Default: p.Default, From: api.Address(p.From),
		ReplyTo: addressesOf(p.ReplyTo), AlwaysCC: addressesOf(p.AlwaysCC), AlwaysBCC: addressesOf(p.AlwaysBCC),
		Signatures: make(map[string]api.Signature, len(p.Signatures)), Attachments: make([]api.ProfileAttachment, len(p.Attachments)),
		Transport: p.Transport, MaxConnections: p.MaxConnections, Limits: api.Limits(p.Limits), Limited: limitedOf(lang, p), OnUncertain: onUncertain(p), Status: "ready", Version: p.Version,
		CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
	}
	for tag, sig := range p.Signatures {
		w.Signatures[tag] = api.Signature(sig)
	}
	for i, a := range p.Attachments {
		w.Attachments[i] = api.ProfileAttachment(a)
	}
	if q := p.SMTP; q != nil {
		w.SMTP = &api.SMTPSettings{
			Host: q.Host, Port: q.Port, Security: string(q.Security), Auth: string(q.Auth), Username: q.Username, PasswordSet: q.Password != "",
			AllowPlaintextLogin: q.AllowPlaintextLogin, HELO: q.HELO, TLSServerName: q.TLSServerName, CACertificates: q.CACertificates,
			DSN: q.DSN, EnvelopeFrom: q.EnvelopeFrom,
		}
	}
	if q := p.Gmail; q != nil {
		w.Gmail = &api.GmailSettings{Client: q.Client, Aliases: q.Aliases, Reconcile: q.Reconcile}
	}
	if q := p.SendGrid; q != nil {
		w.SendGrid = &api.SendGridSettings{Careful: q.Careful, Tracking: q.Tracking}
	}
	if q := p.BounceMailbox; q != nil {
		w.BounceMailbox = &api.BounceMailbox{
			Host: q.Host, Port: q.Port, Security: string(q.Security), Username: q.Username, PasswordSet: q.Password != "",
			Folder: q.Folder, MoveTo: q.MoveTo, VERP: q.VERP,
		}
	}
	switch {
	case p.Hold != nil:
		w.Status, w.Problem = "held", profileTrouble(lang, p.Hold)
	case p.Pause != nil && time.Now().Before(p.PausedUntil):
		w.Status, w.Problem, w.PausedUntil = "paused", profileTrouble(lang, p.Pause), optional(p.PausedUntil)
	}
	return w
}

// limitedOf is nil when the profile's limits leave room.
func limitedOf(lang string, p *mail.Profile) *api.Limited {
	if !time.Now().Before(p.LimitedUntil) {
		return nil
	}
	text := texts.Phrase(lang, "limit", string(p.LimitedBy), "max", strconv.Itoa(p.Limits.Of(p.LimitedBy)))
	return &api.Limited{Limit: string(p.LimitedBy), Until: p.LimitedUntil, Text: text}
}

func profileTrouble(lang string, t *mail.ProfileTrouble) *api.Trouble {
	w := trouble(lang, t.Code, &t.Reply)
	w.Since = optional(t.Since)
	return w
}

// optional is nil for the zero time.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func addressFrom(a api.Address) mail.Address { return mail.Address(a) }

func addressesFrom(list []api.Address) []mail.Address {
	if len(list) == 0 {
		return nil
	}
	out := make([]mail.Address, len(list))
	for i, a := range list {
		out[i] = mail.Address(a)
	}
	return out
}

func addressesOf(list []mail.Address) []api.Address {
	out := make([]api.Address, len(list))
	for i, a := range list {
		out[i] = api.Address(a)
	}
	return out
}

func filesFrom(list []api.ProfileAttachment) []mail.ProfileAttachment {
	if len(list) == 0 {
		return nil
	}
	out := make([]mail.ProfileAttachment, len(list))
	for i, a := range list {
		out[i] = mail.ProfileAttachment{AttachmentID: a.AttachmentID}
		for _, tag := range a.Languages {
			out[i].Languages = append(out[i].Languages, mail.NormalizeLanguage(tag))
		}
	}
	return out
}
