package sendgrid

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	api "github.com/sendgrid/sendgrid-go/helpers/mail"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
)

// Check asks for the key's permissions, then whether From is a verified sender or on an authenticated domain, and then has SendGrid
// look at a mail in sandbox_mode, which it does not send. A key that may send and not read senders passes when SendGrid has nothing
// against that mail.
func (t *Transport) Check(ctx context.Context, p *mail.Profile) []transport.CheckStep {
	login := transport.CheckStep{Name: stepLogin, OK: true}
	sender := transport.CheckStep{Name: stepSender, OK: true}
	failed := func(s transport.CheckStep, err error) transport.CheckStep {
		v := verdictOf(err)
		s.OK, s.Code, s.Reply = false, v.Code, v.Reply
		return s
	}
	c, err := t.client(ctx, p)
	if err == nil {
		err = c.maySend(ctx)
	}
	if err != nil {
		return []transport.CheckStep{failed(login, err)}
	}
	if err := c.knowsSender(ctx, p.From.Address); err != nil {
		return []transport.CheckStep{login, failed(sender, err)}
	}
	if err := c.sandbox(ctx, p); err != nil {
		return []transport.CheckStep{login, failed(sender, err)}
	}
	return []transport.CheckStep{login, sender}
}

func (c *Client) maySend(ctx context.Context) error {
	scopes, err := c.Scopes(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(scopes, "mail.send") {
		return &transport.Error{Err: errors.New("sendgrid: the key lacks mail.send"), Verdict: mail.Verdict{
			Outcome: temporary, Scope: mail.ScopeProfile, Code: CodeKeyRefused, Step: stepLogin, Reply: mail.Reply{Text: "the key lacks the permission mail.send"},
		}}
	}
	return nil
}

// knowsSender looks an address up. What the key may not read is not held against it.
func (c *Client) knowsSender(ctx context.Context, from string) error {
	address, _ := mail.EnvelopeForm(from)
	domain := address[strings.LastIndexByte(address, '@')+1:]
	domains, unread := c.Domains(ctx, domain)
	if slices.ContainsFunc(domains, func(d Domain) bool { return d.Valid }) {
		return nil
	}
	if unread != nil && verdictOf(unread).Code != CodeRequestRefused {
		return unread
	}
	senders, err := c.VerifiedSenders(ctx)
	if slices.ContainsFunc(senders, func(s VerifiedSender) bool { return s.Verified && strings.EqualFold(s.FromEmail, address) }) {
		return nil
	}
	switch {
	case err != nil && verdictOf(err).Code != CodeRequestRefused:
		return err
	case err != nil || unread != nil:
		return nil
	}
	return &transport.Error{Err: errors.New("sendgrid: not a verified sender"), Verdict: mail.Verdict{
		Outcome: permanent, Scope: mail.ScopeProfile, Code: CodeSenderUnverified, Step: stepSender,
		Reply: mail.Reply{Text: "neither " + mail.ReplyText(address) + " nor its domain is verified"},
	}}
}

// sandbox has a mail from the profile to itself checked and thrown away.
func (c *Client) sandbox(ctx context.Context, p *mail.Profile) error {
	q := api.NewV3Mail()
	q.SetFrom(email(p.From))
	q.Subject = "Facteur"
	to := api.NewPersonalization()
	to.AddTos(email(p.From))
	q.AddPersonalizations(to)
	q.AddContent(api.NewContent("text/plain", "Facteur"))
	q.SetMailSettings(api.NewMailSettings().SetSandboxMode(api.NewSetting(true)))
	r, err := newRequest(q, nil)
	if err != nil {
		return &transport.Error{Err: err, Verdict: mail.Verdict{Outcome: permanent, Scope: mail.ScopeProfile, Code: CodeRequestRefused, Step: stepSender}}
	}
	x := c.post(ctx, r)
	if x.Status == http.StatusOK {
		return nil
	}
	x.Whole = false // nothing was to be sent
	v := classify(x)
	v.Step = stepSender
	return &transport.Error{Verdict: v, Err: failure(v)}
}

func sameDomain(a, b string) bool { return strings.EqualFold(a, b) }

var _ transport.Transport = (*Transport)(nil)
