package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/pkg/client"
)

// SendGrid is what happens at SendGrid itself.
type SendGrid struct {
	// Publish is the owner of a domain who publishes the records that SendGrid wants.
	Publish func(domain string)
	// Report has SendGrid report, to the signed event webhook of the service at url, that it took every mail it was given, and
	// delivered it, but for those to one address: there is no such mailbox.
	Report func(ctx context.Context, url, nobody string) (events int, err error)
	// Posts is how often it was asked to send a mail.
	Posts func() int
}

// switchOn is the reseller, who has sold the firm the add-on.
func (r *run) switchOn(ctx context.Context, operator *client.Client, tenantID string) error {
	var refused *client.Error
	_, err := r.c.CreateSenderProfile(ctx, api.SenderProfileRequest{
		Level: "company", OwnerRef: companyRef, From: api.Address{Address: seller.Mail}, Transport: "sendgrid",
	})
	if !errors.As(err, &refused) || refused.Code != "add_on_required" {
		return fmt.Errorf("a SendGrid profile without the add-on: %w", err)
	}
	r.screen.done("a SendGrid profile without the add-on is refused: %s", refused.Code)
	if _, err := operator.PutTenantAddOn(ctx, tenantID, "sendgrid", api.AddOnRequest{}); err != nil {
		return fmt.Errorf("switch the add-on on: %w", err)
	}
	r.screen.done("add-on sendgrid switched on by the reseller")
	return nil
}

// prove is the firm, which proves that the domain of its senders is its own. The second profile of the domain has nothing to prove.
func (r *run) prove(ctx context.Context, p api.SenderProfile) error {
	if p.Status == "ready" {
		return nil
	}
	if p.Problem == nil || p.Problem.Code != "sendgrid_sender_unverified" {
		return fmt.Errorf("the profile is %s: %+v", p.Status, p.Problem)
	}
	r.screen.done("%-7s profile held until its sender is verified", p.Level)
	v, err := r.c.BeginSenderVerification(ctx, p.ID, api.SenderVerificationRequest{Method: "domain"})
	if err != nil {
		return err
	}
	r.screen.done("%s: the records that the firm publishes in its DNS:", v.Identity)
	for line := range strings.Lines(v.ZoneFile) {
		r.screen.note("%s", strings.TrimSpace(line))
	}
	r.SendGrid.Publish(v.Identity)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for v.State == "pending" {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the sender is not verified: %s", v.Text)
		}
		if v, err = r.c.SenderVerification(ctx, p.ID); err != nil {
			return err
		}
	}
	if v.State != "verified" {
		return fmt.Errorf("the sender is %s: %s", v.State, v.Text)
	}
	r.screen.done("%s: verified at SendGrid, the profile is released", v.Identity)
	return nil
}

// reported is what SendGrid says after sending, and what comes of it.
func (r *run) reported(ctx context.Context) error {
	silent, err := r.count(ctx, func(m api.Message) string { return m.Status })
	if err != nil {
		return err
	}
	if silent["uncertain"] == 0 {
		return errors.New("no answer of SendGrid's was lost, and the demo is about that too")
	}
	r.screen.title("What SendGrid reports by its signed webhook:")
	nobody := r.invoices[len(r.invoices)-1].Buyer
	posts := r.SendGrid.Posts()
	events, err := r.SendGrid.Report(ctx, r.URL+"/webhooks/sendgrid", nobody.Mail)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	r.screen.done("%d events taken", events)
	statuses, err := r.count(ctx, func(m api.Message) string { return m.Status })
	if err != nil {
		return err
	}
	if statuses["sent"] != r.Count || r.SendGrid.Posts() != posts {
		return fmt.Errorf("after the events the batch is %v, and SendGrid was asked to send %d more", statuses, r.SendGrid.Posts()-posts)
	}
	r.screen.done("%d mails were taken without an answer: not sent again, but proved sent by an event", silent["uncertain"])
	deliveries, err := r.count(ctx, func(m api.Message) string { return m.Delivery })
	if err != nil {
		return err
	}
	if deliveries["bounced"] == 0 || deliveries["delivered"]+deliveries["bounced"] != r.Count {
		return fmt.Errorf("the batch is %v", deliveries)
	}
	r.screen.done("delivered: %d, bounced: %d, all to %s", deliveries["delivered"], deliveries["bounced"], nobody.Mail)
	for s, err := range r.c.Suppressions(ctx, nobody.Mail, "") {
		if err != nil {
			return fmt.Errorf("list the suppressions: %w", err)
		}
		r.screen.note("%s", s.Evidence)
		r.screen.done("%s is suppressed: %s", s.Address, s.Reason)
	}
	return r.suppressed(ctx, nobody)
}

// suppressed sends another mail to an address that bounced.
func (r *run) suppressed(ctx context.Context, to party) error {
	posts := r.SendGrid.Posts()
	m, err := r.c.Send(ctx, api.MessageRequest{SenderProfileID: r.result.ProfileID, Mail: api.Mail{
		To: []api.Address{{Name: to.Contact, Address: to.Mail}}, Language: to.Language,
		Document: &api.Document{Type: "letter", Date: "2026-12-01"}, Client: &api.Client{Name: to.Name},
	}}, client.IdempotencyKey("demo-again"))
	if err != nil {
		return fmt.Errorf("send another mail: %w", err)
	}
	if err := r.follow(ctx, m.JobID, nil); err != nil {
		return err
	}
	again, err := r.c.Message(ctx, m.ID)
	if err != nil {
		return err
	}
	if again.Status != "failed" || again.Problem == nil || again.Problem.Code != "recipient_suppressed" || r.SendGrid.Posts() != posts {
		return fmt.Errorf("another mail to %s is %s: %+v", to.Mail, again.Status, again.Problem)
	}
	r.screen.done("another mail to it: %s, %s; SendGrid was not asked", again.Status, again.Problem.Code)
	return nil
}

// usage is what the reseller's invoice is made from.
func (r *run) usage(ctx context.Context) error {
	u, err := r.c.Usage(ctx, "")
	if err != nil {
		return fmt.Errorf("usage: %w", err)
	}
	t := u.Total
	if want := int64(r.Count) + 2; t.Messages != want || t.Sent != want-1 || t.Failed != 1 {
		return fmt.Errorf("usage of %d messages is %+v", want, t)
	}
	r.screen.title("The usage of " + u.Month + ", to invoice from:")
	r.screen.done("%d messages, %d sent, %d failed, %d KB", t.Messages, t.Sent, t.Failed, t.Bytes/1000)
	return nil
}

// count is the batch by something of each message.
func (r *run) count(ctx context.Context, what func(api.Message) string) (map[string]int, error) {
	counts := map[string]int{}
	for m, err := range r.c.JobMessages(ctx, r.result.JobID, "") {
		if err != nil {
			return nil, fmt.Errorf("list the batch: %w", err)
		}
		counts[what(m)]++
	}
	return counts, nil
}
