// Package senders is the way from the From of a SendGrid profile to the proof that its firm may send from it.
//
// All firms share the service's accounts at SendGrid, and an account sends from every sender and domain that is verified in it,
// whoever asks. So whose they are is recorded here: the first firm to begin the proof of a domain or an address has it, until it
// is proved, or was not for two weeks. What SendGrid says is verified without a firm of ours having begun it is nobody's: an
// operator grants it. The store holds the profiles of a firm that lacks a proof, and releases them in the transaction that
// records it.
//
// Every process looks at SendGrid for what is pending; leases in the database see to it that one does at a time, less and less
// often. This package asks SendGrid through the client of package sendgrid, and knows neither HTTP pages nor the engine.
package senders

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/sendgrid"
)

// Codes of what goes wrong; each has texts in four languages. After each the names of its params, if any.
const (
	codeTaken           = "sender_identity_taken"           // name
	codeVerifiedAlready = "sender_identity_unowned"         // name; SendGrid has it verified, and nobody here began it
	codeNotSendGrid     = "sendgrid_profile_required"       //
	codeUnavailable     = "sender_verification_unavailable" // SendGrid cannot be asked now
	codeRefused         = "sender_verification_refused"     // reply: SendGrid's words
)

// Refusal says why a proof cannot be begun.
type Refusal struct {
	Status int // of HTTP
	Code   string
	Params map[string]string
	Cause  error // for the log
}

func (r *Refusal) Error() string { return "senders: " + r.Code }
func (r *Refusal) Unwrap() error { return r.Cause }

func refuse(status int, code string, cause error, params ...string) *Refusal {
	r := &Refusal{Status: status, Code: code, Cause: cause, Params: map[string]string{}}
	for i := 0; i+1 < len(params); i += 2 {
		r.Params[params[i]] = params[i+1]
	}
	return r
}

// Accounts is whose account a firm's mails go with, as its add-on says. It gives nothing to a profile that may not send: the store
// holds those, and this is asked again for each session.
type Accounts struct{ Store *store.Store }

// Account implements sendgrid.Accounts.
func (a Accounts) Account(ctx context.Context, p *mail.Profile) (sendgrid.Account, error) {
	hold, err := a.Store.GateHold(ctx, p)
	if err != nil {
		return sendgrid.Account{}, err
	}
	if hold != nil {
		return sendgrid.Account{}, &transport.Error{Err: errors.New("senders: the profile may not send"), Verdict: mail.Verdict{
			Outcome: mail.OutcomePermanent, Scope: mail.ScopeProfile, Code: hold.Code, Step: "login",
		}}
	}
	on, err := a.Store.AddOn(ctx, p.TenantID, store.AddOnSendGrid)
	if err != nil {
		return sendgrid.Account{}, err
	}
	return sendgrid.Account{Key: on.Key, Subuser: on.Subuser}, nil
}

// Config is what the service needs. Store is required.
type Config struct {
	Store    *store.Store
	SendGrid *sendgrid.Transport // nil: nothing can be proved here
	Logger   *slog.Logger        // nil: nothing is logged
	// Wake is told of profiles that may send again; nil: the engine finds them by itself.
	Wake func(ctx context.Context, profileID string) error
	// Every is how often what is due is looked for: 5 s.
	Every time.Duration
	// Old is when somebody who asks has SendGrid asked again: 20 s after the last look.
	Old time.Duration
}

// Service proves senders. It is safe for concurrent use.
type Service struct{ Config }

// New makes the service.
func New(cfg Config) *Service {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Every == 0 {
		cfg.Every = 5 * time.Second
	}
	if cfg.Old == 0 {
		cfg.Old = 20 * time.Second
	}
	return &Service{cfg}
}

// Request asks for a proof.
type Request struct {
	Method store.IdentityMethod // IdentityDomain or IdentitySingleSender
	Sender sendgrid.VerifiedSender
}

// Begin begins the proof that a profile's firm may send from its From, and says what is to be done. What was begun before is
// told again. A *Refusal says why it cannot be.
func (s *Service) Begin(ctx context.Context, p *mail.Profile, r Request, actor string) (*store.Identity, error) {
	on, err := s.addOn(ctx, p)
	if err != nil {
		return nil, err
	}
	mailbox, name := mail.SenderIdentities(p.From.Address)
	if r.Method == store.IdentitySingleSender {
		name = mailbox
	}
	// Another firm's domain covers the address, too.
	if taken, err := s.Store.IdentityTaken(ctx, p.TenantID, mailbox); err != nil {
		return nil, err
	} else if taken {
		return nil, refuse(http.StatusConflict, codeTaken, nil, "name", name)
	}
	client, err := s.client(on.Key, on.Subuser)
	if err != nil {
		return nil, refuse(http.StatusServiceUnavailable, codeUnavailable, err)
	}
	detail, err := json.Marshal(map[string]string{"name": name, "method": string(r.Method)})
	if err != nil {
		return nil, err
	}
	i := &store.Identity{TenantID: p.TenantID, Name: name, Method: r.Method, Key: on.Key, Subuser: on.Subuser}
	event := &store.AuditEvent{TenantID: p.TenantID, Actor: actor, Action: "sender_identity.begin", Subject: p.ID, Detail: detail}
	first, err := s.Store.ClaimIdentity(ctx, i, event)
	switch {
	case errors.Is(err, store.ErrTaken):
		return nil, refuse(http.StatusConflict, codeTaken, nil, "name", name)
	case err != nil:
		return nil, err
	case !first && (i.ProviderID != 0 || i.State == store.IdentityVerified):
		return s.fresh(ctx, i), nil
	}
	if r.Method == store.IdentityDomain {
		err = s.beginDomain(ctx, client, i)
	} else {
		err = s.beginSender(ctx, client, i, r.Sender)
	}
	if err != nil && first {
		return nil, errors.Join(err, s.Store.DropClaim(context.WithoutCancel(ctx), i))
	}
	if err != nil {
		return nil, err
	}
	stored, _, err := s.Store.SaveLook(ctx, i, "", gap(0), nil)
	if err == nil && !stored { // taken away meanwhile
		err = refuse(http.StatusServiceUnavailable, codeUnavailable, nil)
	}
	return i, err
}

func (s *Service) addOn(ctx context.Context, p *mail.Profile) (*store.AddOn, error) {
	if p.Transport != sendgrid.Name {
		return nil, refuse(http.StatusConflict, codeNotSendGrid, nil)
	}
	on, err := s.Store.AddOn(ctx, p.TenantID, store.AddOnSendGrid)
	if errors.Is(err, store.ErrNotFound) || err == nil && !on.Active {
		return nil, refuse(http.StatusForbidden, mail.CodeAddOnRequired, nil)
	}
	return on, err
}

// KeyNames are the names of the service's keys at SendGrid; none when this process has none.
func (s *Service) KeyNames() []string {
	if s.SendGrid == nil {
		return nil
	}
	return s.SendGrid.KeyNames()
}

func (s *Service) client(key, subuser string) (*sendgrid.Client, error) {
	if s.SendGrid == nil {
		return nil, errors.New("senders: no SendGrid is configured")
	}
	return s.SendGrid.Client(sendgrid.Account{Key: key, Subuser: subuser})
}

func (s *Service) beginDomain(ctx context.Context, c *sendgrid.Client, i *store.Identity) error {
	known, err := c.Domains(ctx, i.Name)
	if err != nil {
		return failed(err)
	}
	if slices.ContainsFunc(known, func(d sendgrid.Domain) bool { return d.Valid }) {
		return refuse(http.StatusConflict, codeVerifiedAlready, nil, "name", i.Name)
	}
	var d sendgrid.Domain
	for _, k := range known {
		mine, err := s.takeOver(ctx, i, k.ID, c.DeleteDomain)
		if err != nil {
			return err
		}
		if mine {
			d = k
		}
	}
	if d.ID == 0 {
		if d, err = c.AuthenticateDomain(ctx, i.Name); err != nil {
			return failed(err)
		}
	}
	i.ProviderID, i.Records = d.ID, records(d.DNS, nil)
	return nil
}

// takeOver says whether a proof that was begun at SendGrid, and never came to its end, can become i. One that another firm began
// cannot: that firm may do today what it was asked to do, and would prove it for i. It is deleted there, and i begins its own.
func (s *Service) takeOver(ctx context.Context, i *store.Identity, id int64, del func(context.Context, int64) error) (mine bool, err error) {
	another, err := s.Store.BegunByAnother(ctx, i, id)
	if err != nil || !another {
		return !another, err
	}
	if err := weather(del(ctx, id)); err != nil {
		return false, failed(err)
	}
	return false, nil
}

func (s *Service) beginSender(ctx context.Context, c *sendgrid.Client, i *store.Identity, v sendgrid.VerifiedSender) error {
	known, err := c.VerifiedSenders(ctx)
	if err != nil {
		return failed(err)
	}
	if n := slices.IndexFunc(known, func(o sendgrid.VerifiedSender) bool { return strings.EqualFold(o.FromEmail, i.Name) }); n >= 0 {
		if known[n].Verified {
			return refuse(http.StatusConflict, codeVerifiedAlready, nil, "name", i.Name)
		}
		mine, err := s.takeOver(ctx, i, known[n].ID, c.DeleteVerifiedSender)
		if err != nil {
			return err
		}
		if mine {
			i.ProviderID = known[n].ID
			return nil
		}
	}
	v.Nickname, v.FromEmail = i.Name, i.Name
	if v.ReplyTo == "" {
		v.ReplyTo = i.Name
	}
	made, err := c.CreateVerifiedSender(ctx, v)
	if err != nil {
		return failed(err)
	}
	i.ProviderID = made.ID
	return nil
}

// failed is what an error of the client is to the caller: SendGrid's own refusal, or bad weather.
func failed(err error) error {
	var te *transport.Error
	if errors.As(err, &te) && te.Verdict.Reply.Code == http.StatusBadRequest {
		return refuse(http.StatusUnprocessableEntity, codeRefused, err, "reply", mail.Shown(te.Verdict.Reply.Text))
	}
	return refuse(http.StatusServiceUnavailable, codeUnavailable, err)
}

// records are SendGrid's as they are kept, in an order that stays.
func records(dns map[string]sendgrid.DNSRecord, found map[string]sendgrid.RecordValidation) []store.DNSRecord {
	var out []store.DNSRecord
	for name, r := range dns {
		one := store.DNSRecord{Name: name, Type: strings.ToUpper(r.Type), Host: r.Host, Value: r.Data, Valid: r.Valid}
		if f, ok := found[name]; ok {
			one.Valid, one.Reason = f.Valid, mail.Shown(f.Reason)
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b store.DNSRecord) int { return strings.Compare(a.Name, b.Name) })
	return out
}
