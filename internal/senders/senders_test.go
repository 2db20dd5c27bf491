package senders_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/senders"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/sendgrid"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// house is the engine over one account at a SendGrid of our own, which two firms share.
type house struct {
	*testing.T
	store        *store.Store
	far          *transporttest.SendGrid
	driver       *sendgrid.Transport
	outbox       *outbox.Outbox
	senders      *senders.Service
	ours, theirs string
}

func onBoth(t *testing.T, test func(h *house)) {
	t.Helper()
	migrate := func(url string) error { return store.Migrate(context.Background(), url, outbox.Migrate) }
	pgtest.BothPrepared(t, "senders", migrate, func(t *testing.T, url string) {
		ctx := t.Context()
		h := &house{T: t, far: transporttest.StartSendGrid(t, transporttest.SendGridConfig{Subusers: []string{"zoe"}})}
		var err error
		if h.store, err = store.Open(ctx, store.Config{URL: url}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.store.Close() })
		h.driver, err = sendgrid.New(sendgrid.Config{
			Keys:     map[string]sendgrid.Key{"main": {Secret: transporttest.SendGridTestKey, BaseURL: h.far.URL()}},
			Accounts: senders.Accounts{Store: h.store},
		})
		h.do(err)
		h.outbox, err = outbox.New(h.store, transport.NewRegistry(h.driver), outbox.Config{Sweep: 20 * time.Millisecond, Linger: 10 * time.Millisecond})
		h.do(err)
		h.do(h.outbox.Start(ctx))
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			h.do(h.outbox.Stop(ctx))
		})
		h.senders = senders.New(senders.Config{Store: h.store, SendGrid: h.driver, Wake: h.outbox.Wake})
		h.ours, h.theirs = h.tenant(), h.tenant()
		test(h)
	})
}

func (h *house) do(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *house) tenant() string {
	h.Helper()
	t := &store.Tenant{Name: "Firm"}
	h.do(h.store.CreateTenant(h.Context(), t, nil))
	return t.ID
}

func (h *house) addOn(a store.AddOn) {
	h.Helper()
	a.Name = store.AddOnSendGrid
	_, err := h.store.PutAddOn(h.Context(), &a, nil)
	h.do(err)
}

func (h *house) profile(tenant, from string) *mail.Profile {
	h.Helper()
	p := &mail.Profile{
		TenantID: tenant, Level: mail.LevelCompany, OwnerRef: store.NewID("own"), Name: "Invoices", From: mail.Address{Name: "Firm", Address: from},
		Transport: sendgrid.Name, MaxConnections: 2,
	}
	h.do(h.store.CreateProfile(h.Context(), p, nil))
	return h.read(p)
}

func (h *house) read(p *mail.Profile) *mail.Profile {
	h.Helper()
	got, err := h.store.Profile(h.Context(), p.TenantID, p.ID)
	h.do(err)
	return got
}

// held fails unless the profile is held with the code; "": it may send.
func (h *house) held(p *mail.Profile, code string) {
	h.Helper()
	got := ""
	if hold := h.read(p).Hold; hold != nil {
		got = hold.Code
	}
	if got != code {
		h.Errorf("hold %q, want %q", got, code)
	}
}

func (h *house) submit(p *mail.Profile, n int) (job string) {
	h.Helper()
	sub := &outbox.Submission{TenantID: p.TenantID, Actor: "key_test", Purpose: outbox.PurposeBatch, Profile: h.read(p)}
	for i := range n {
		sub.Items = append(sub.Items, outbox.Item{Draft: &mail.Draft{
			Subject: "Invoice", Text: "Hello", To: []mail.Address{{Address: fmt.Sprintf("client%d@client.example", i)}},
		}})
	}
	r, err := h.outbox.Submit(h.Context(), sub)
	h.do(err)
	return r.JobID
}

// await waits until every message of the job has the status.
func (h *house) await(tenant, job string, want mail.Status, n int) {
	h.Helper()
	eventually(h.T, func() error {
		j, err := h.store.Job(h.Context(), tenant, job)
		if err == nil && (len(j.Counts) != 1 || j.Counts[want] != n) {
			err = fmt.Errorf("%v, want %d %s", j.Counts, n, want)
		}
		return err
	})
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (h *house) sql(query string) {
	h.Helper()
	h.do(h.store.Write(h.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		if tx.PG != nil {
			_, err = tx.PG.Exec(ctx, query)
		} else {
			_, err = tx.SQL.ExecContext(ctx, query)
		}
		return err
	}))
}

// look has what is pending looked up now.
func (h *house) look() {
	h.Helper()
	h.sql(`UPDATE sender_identities SET next_look = 1 WHERE next_look > 0`)
	h.do(h.senders.LookAll(h.Context()))
}

func (h *house) refused(err error, status int, code string) {
	h.Helper()
	var r *senders.Refusal
	if !errors.As(err, &r) || r.Status != status || r.Code != code {
		h.Errorf("refused with %v, want %d %s", err, status, code)
	}
}

func (h *house) sweep() {
	h.Helper()
	h.do(h.outbox.Sweep(h.Context()))
}

// A batch that waits for its sender goes once the records are found, and not before. The domain is then nobody else's, although
// SendGrid would send from it for everybody on the account.
func TestDomainFromPendingToVerified(t *testing.T) {
	onBoth(t, func(h *house) {
		ctx := h.Context()
		h.addOn(store.AddOn{TenantID: h.ours})
		h.addOn(store.AddOn{TenantID: h.theirs})
		p := h.profile(h.ours, "Invoices@Zoe.example")
		h.held(p, mail.CodeSenderUnverified)
		job := h.submit(p, 20)

		i, err := h.senders.Begin(ctx, p, senders.Request{Method: store.IdentityDomain}, "key_test")
		h.do(err)
		if i.Name != "zoe.example" || i.State != store.IdentityPending || len(i.Records) != 3 || i.Records[0].Type != "CNAME" || i.Records[0].Valid {
			h.Errorf("%+v", i)
		}
		again, err := h.senders.Begin(ctx, p, senders.Request{Method: store.IdentityDomain}, "key_test")
		h.do(err)
		if again.ProviderID != i.ProviderID {
			h.Errorf("begun twice: %+v", again)
		}
		other := h.profile(h.theirs, "invoices@zoe.example")
		_, err = h.senders.Begin(ctx, other, senders.Request{Method: store.IdentityDomain}, "key_test")
		h.refused(err, http.StatusConflict, "sender_identity_taken")

		h.far.Publish("", "zoe.example", "dkim1")
		h.look()
		h.held(p, mail.CodeSenderUnverified)
		if i, err = h.senders.Status(ctx, p); err != nil || i.State != store.IdentityPending || !i.Records[0].Valid || i.Records[1].Valid || i.Records[1].Reason == "" {
			h.Errorf("%+v, %v", i, err)
		}
		h.await(h.ours, job, mail.StatusHeld, 20)

		h.far.Publish("", "zoe.example")
		h.look()
		h.held(p, "")
		h.await(h.ours, job, mail.StatusSent, 20)
		if h.far.Accepted() != 20 || h.far.Duplicates() != 0 {
			h.Errorf("%d accepted, %d twice", h.far.Accepted(), h.far.Duplicates())
		}

		// The other firm, with the same address, by every way there is.
		stopped := h.submit(other, 5)
		h.do(h.store.ClearHold(ctx, h.theirs, other.ID))
		edited := h.read(other)
		edited.Name = "Another name"
		h.do(h.store.UpdateProfile(ctx, edited, edited.Version))
		if edited.Hold == nil {
			h.Error("an edit has ended the hold")
		}
		_, err = h.senders.Begin(ctx, other, senders.Request{Method: store.IdentitySingleSender}, "key_test")
		h.refused(err, http.StatusConflict, "sender_identity_taken")
		h.sql(`UPDATE sender_profiles SET hold = NULL WHERE id = '` + other.ID + `'`) // even then
		eventually(h.T, func() error {
			if h.read(other).Hold == nil {
				return errors.New("not held again")
			}
			return nil
		})
		h.held(other, mail.CodeSenderUnverified)
		h.await(h.theirs, stopped, mail.StatusHeld, 5)
		if h.far.Accepted() != 20 {
			h.Errorf("%d accepted: another firm has sent from the domain", h.far.Accepted())
		}

		// What SendGrid does not know any more is doubted, and believed again when it is back.
		doubted := h.read(p)
		h.do(h.store.HoldProfile(ctx, doubted, mail.ProfileTrouble{Code: mail.CodeSenderUnverified, Since: store.Now()}))
		h.do(h.store.ClearHold(ctx, h.ours, p.ID))
		h.held(p, mail.CodeSenderUnverified)
		h.look()
		h.held(p, "")
		h.do(h.store.RemoveIdentity(ctx, h.ours, "zoe.example", nil))
		h.held(p, mail.CodeSenderUnverified)
	})
}

// What SendGrid has verified and nobody here began is an operator's to give.
func TestUnownedDomainIsGranted(t *testing.T) {
	onBoth(t, func(h *house) {
		ctx := h.Context()
		h.far.Verify("", "old.example")
		h.far.Verify("", "boss@solo.example")
		h.addOn(store.AddOn{TenantID: h.ours})
		p, solo := h.profile(h.ours, "a@old.example"), h.profile(h.ours, "boss@solo.example")
		_, err := h.senders.Begin(ctx, p, senders.Request{Method: store.IdentityDomain}, "key_test")
		h.refused(err, http.StatusConflict, "sender_identity_unowned")
		_, err = h.senders.Begin(ctx, solo, senders.Request{Method: store.IdentitySingleSender}, "key_test")
		h.refused(err, http.StatusConflict, "sender_identity_unowned")
		if list, err := h.store.Identities(ctx, h.ours); err != nil || len(list) != 0 {
			h.Errorf("refused claims stay: %v, %v", list, err)
		}
		job := h.submit(p, 3)
		_, err = h.store.GrantIdentity(ctx, &store.Identity{TenantID: h.ours, Name: "old.example"}, nil)
		h.do(err)
		h.await(h.ours, job, mail.StatusSent, 3)
		h.held(solo, mail.CodeSenderUnverified)
	})
}

func TestSingleSender(t *testing.T) {
	onBoth(t, func(h *house) {
		ctx := h.Context()
		h.addOn(store.AddOn{TenantID: h.ours, Subuser: "zoe"})
		p, near := h.profile(h.ours, "zoe@mail.example"), h.profile(h.ours, "other@mail.example")
		r := senders.Request{Method: store.IdentitySingleSender}
		_, err := h.senders.Begin(ctx, p, r, "key_test")
		h.refused(err, http.StatusUnprocessableEntity, "sender_verification_refused") // SendGrid wants an address
		r.Sender = sendgrid.VerifiedSender{FromName: "Zoë", Address: "Rue Haute 1", City: "Bruxelles", Country: "Belgium"}
		if i, err := h.senders.Begin(ctx, p, r, "key_test"); err != nil || i.State != store.IdentityPending || i.Name != "zoe@mail.example" {
			h.Fatalf("%+v, %v", i, err)
		}
		job := h.submit(p, 2)
		h.far.Verify("zoe", "zoe@mail.example")
		h.look()
		h.await(h.ours, job, mail.StatusSent, 2)
		h.held(near, mail.CodeSenderUnverified)
		for _, m := range h.far.Mails() {
			if m.Subuser != "zoe" {
				h.Errorf("sent on behalf of %q", m.Subuser)
			}
		}
		// Another account knows nothing of it.
		h.addOn(store.AddOn{TenantID: h.ours})
		h.held(p, mail.CodeSenderUnverified)
		h.addOn(store.AddOn{TenantID: h.ours, Subuser: "zoe"})
		h.held(p, "")
	})
}

// Bad weather at SendGrid changes nothing, and two weeks without a proof make room for another firm.
func TestProofThatDoesNotCome(t *testing.T) {
	onBoth(t, func(h *house) {
		ctx := h.Context()
		h.addOn(store.AddOn{TenantID: h.ours})
		h.addOn(store.AddOn{TenantID: h.theirs})
		p, other := h.profile(h.ours, "a@zoe.example"), h.profile(h.theirs, "a@zoe.example")
		down := func(transporttest.SendGridStep) transporttest.SendGridAction {
			return transporttest.SendGridAction{Status: http.StatusServiceUnavailable}
		}
		h.far.SetHook(down)
		_, err := h.senders.Begin(ctx, p, senders.Request{Method: store.IdentityDomain}, "key_test")
		h.refused(err, http.StatusServiceUnavailable, "sender_verification_unavailable")
		h.far.SetHook(nil)
		_, err = h.senders.Begin(ctx, p, senders.Request{Method: store.IdentityDomain}, "key_test")
		h.do(err)
		h.far.SetHook(down)
		h.look()
		if i, err := h.senders.Status(ctx, p); err != nil || i.State != store.IdentityPending || len(i.Records) != 3 || i.Looks != 1 {
			h.Errorf("%+v, %v", i, err)
		}
		h.far.SetHook(nil)
		h.sql(fmt.Sprintf(`UPDATE sender_identities SET since = since - %d`, senders.Patience.Microseconds()))
		h.look()
		if i, err := h.senders.Status(ctx, p); err != nil || i.State != store.IdentityFailed {
			h.Errorf("%+v, %v", i, err)
		}
		_, err = h.senders.Begin(ctx, other, senders.Request{Method: store.IdentityDomain}, "key_test")
		h.do(err)
		_, err = h.senders.Begin(ctx, p, senders.Request{Method: store.IdentityDomain}, "key_test")
		h.refused(err, http.StatusConflict, "sender_identity_taken")
		h.far.Publish("", "zoe.example")
		h.look()
		h.held(other, "")
		h.held(p, mail.CodeSenderUnverified)
	})
}

func TestAddOnOffAndOn(t *testing.T) {
	onBoth(t, func(h *house) {
		ctx := h.Context()
		p := h.profile(h.ours, "a@zoe.example")
		h.held(p, mail.CodeAddOnRequired)
		h.far.Verify("", "zoe.example")
		_, err := h.store.GrantIdentity(ctx, &store.Identity{TenantID: h.ours, Name: "zoe.example"}, nil)
		h.do(err)
		h.held(p, mail.CodeAddOnRequired)
		job := h.submit(p, 10)
		h.await(h.ours, job, mail.StatusHeld, 10)
		h.addOn(store.AddOn{TenantID: h.ours})
		h.await(h.ours, job, mail.StatusSent, 10)

		h.do(h.store.EndAddOn(ctx, h.ours, store.AddOnSendGrid, nil))
		h.held(p, mail.CodeAddOnRequired)
		h.do(h.store.ClearHold(ctx, h.ours, p.ID)) // a good check does not end it
		h.held(p, mail.CodeAddOnRequired)
		if _, err := h.driver.Open(ctx, h.read(p)); err == nil {
			h.Error("a session is opened without the add-on")
		}
		job = h.submit(p, 3)
		h.sweep()
		h.await(h.ours, job, mail.StatusHeld, 3)

		// It is to come, comes by the clock, and runs out by the clock.
		now := time.Now()
		h.addOn(store.AddOn{TenantID: h.ours, From: now.Add(time.Hour), Until: now.Add(2 * time.Hour)})
		h.sweep()
		h.held(p, mail.CodeAddOnRequired)
		h.sql(`UPDATE add_ons SET starts_at = starts_at - 3600000000 - 60000000, changes_at = changes_at - 3600000000 - 60000000`)
		h.await(h.ours, job, mail.StatusSent, 3)
		h.sql(`UPDATE add_ons SET ends_at = 1, changes_at = 1`)
		eventually(h.T, func() error {
			if hold := h.read(p).Hold; hold == nil || hold.Code != mail.CodeAddOnRequired {
				return errors.New("it ran out and the profile is not held")
			}
			return nil
		})
		job = h.submit(p, 4)
		h.await(h.ours, job, mail.StatusHeld, 4)
		h.addOn(store.AddOn{TenantID: h.ours})
		h.await(h.ours, job, mail.StatusSent, 4)
		if h.far.Accepted() != 17 || h.far.Duplicates() != 0 {
			h.Errorf("%d accepted, %d twice", h.far.Accepted(), h.far.Duplicates())
		}
		// Another reason to be held is not the add-on's to end.
		h.do(h.store.HoldProfile(ctx, h.read(p), mail.ProfileTrouble{Code: "sendgrid_key_refused", Since: store.Now()}))
		h.addOn(store.AddOn{TenantID: h.ours})
		h.held(p, "sendgrid_key_refused")
	})
}

func TestZoneLines(t *testing.T) {
	for _, c := range []struct{ kind, host, value, name, line string }{
		{"CNAME", "em1.zoe.example", "u7.wl1.sendgrid.net", "em1", "em1.zoe.example. IN CNAME u7.wl1.sendgrid.net."},
		{"CNAME", "s1._domainkey.mail.zoe.co.uk", "x.sendgrid.net.", "s1._domainkey.mail", "s1._domainkey.mail.zoe.co.uk. IN CNAME x.sendgrid.net."},
		{"TXT", "zoe.example", `v=spf1 "q"`, "@", `zoe.example. IN TXT "v=spf1 \"q\""`},
		{"MX", "em.zoe.example", "mx.sendgrid.net", "em", "em.zoe.example. IN MX 10 mx.sendgrid.net."},
		{"TXT", "a.zoe.example", strings.Repeat("k", 300), "a", `a.zoe.example. IN TXT "` + strings.Repeat("k", 255) + `" "` + strings.Repeat("k", 45) + `"`},
	} {
		r := store.DNSRecord{Type: c.kind, Host: c.host, Value: c.value}
		if name, line := senders.NameInZone(c.host), senders.ZoneLine(r); name != c.name || line != c.line {
			t.Errorf("%s: %q %q, want %q %q", c.host, name, line, c.name, c.line)
		}
	}
}

// A mail keeps the From that it was accepted with. A profile that has a good one by now does not carry it out under another
// firm's address, which SendGrid would take.
func TestMailKeepsItsFromAndIsNotSentUnderAnothersName(t *testing.T) {
	onBoth(t, func(h *house) {
		ctx := h.Context()
		h.far.Verify("", "zoe.example")
		h.far.Verify("", "thief.example")
		h.addOn(store.AddOn{TenantID: h.ours})
		h.addOn(store.AddOn{TenantID: h.theirs})
		grant := func(tenant, name string) {
			_, err := h.store.GrantIdentity(ctx, &store.Identity{TenantID: tenant, Name: name}, nil)
			h.do(err)
		}
		grant(h.ours, "zoe.example")
		p := h.profile(h.theirs, "boss@zoe.example")
		foreign := h.submit(p, 3)
		h.await(h.theirs, foreign, mail.StatusHeld, 3)
		grant(h.theirs, "thief.example")
		p = h.read(p)
		p.From.Address = "a@thief.example"
		h.do(h.store.UpdateProfile(ctx, p, p.Version))
		h.held(p, "")
		own := h.submit(p, 2)
		h.await(h.theirs, own, mail.StatusSent, 2)
		h.await(h.theirs, foreign, mail.StatusFailed, 3)
		if h.far.Accepted() != 2 {
			h.Errorf("%d accepted: sent from another firm's address", h.far.Accepted())
		}
		h.held(p, "")

		// An address of its own, proved too, is as good as before.
		h.do(h.store.EndAddOn(ctx, h.theirs, store.AddOnSendGrid, nil))
		before := h.submit(p, 2)
		h.await(h.theirs, before, mail.StatusHeld, 2)
		p = h.read(p)
		p.From.Address = "B@Thief.example"
		h.do(h.store.UpdateProfile(ctx, p, p.Version))
		h.addOn(store.AddOn{TenantID: h.theirs})
		h.await(h.theirs, before, mail.StatusSent, 2)
	})
}

// The records that one firm published are not another's proof.
func TestRecordsOfAnotherFirmProveNothing(t *testing.T) {
	onBoth(t, func(h *house) {
		ctx := h.Context()
		h.addOn(store.AddOn{TenantID: h.ours})
		h.addOn(store.AddOn{TenantID: h.theirs})
		domain := senders.Request{Method: store.IdentityDomain}
		p, thief := h.profile(h.ours, "a@zoe.example"), h.profile(h.theirs, "a@zoe.example")
		begun, err := h.senders.Begin(ctx, p, domain, "key_test")
		h.do(err)
		h.sql(fmt.Sprintf(`UPDATE sender_identities SET since = since - %d`, senders.Patience.Microseconds()))
		h.look()
		h.far.Publish("", "zoe.example") // a day too late
		stolen, err := h.senders.Begin(ctx, thief, domain, "key_test")
		h.do(err)
		h.look()
		h.held(thief, mail.CodeSenderUnverified)
		if stolen.ProviderID == begun.ProviderID {
			h.Error("another firm got the same records")
		}
		// Nor is the link that was mailed when it asked.
		single := senders.Request{Method: store.IdentitySingleSender, Sender: sendgrid.VerifiedSender{Address: "Rue Haute 1", City: "Bruxelles", Country: "Belgium"}}
		p, thief = h.profile(h.ours, "a@solo.example"), h.profile(h.theirs, "a@solo.example")
		begun, err = h.senders.Begin(ctx, p, single, "key_test")
		h.do(err)
		h.sql(fmt.Sprintf(`UPDATE sender_identities SET since = since - %d`, senders.Patience.Microseconds()))
		h.look()
		if stolen, err = h.senders.Begin(ctx, thief, single, "key_test"); err != nil || stolen.ProviderID == begun.ProviderID {
			h.Errorf("another firm got the same link: %+v, %v", stolen, err)
		}
		// Who asks again himself has what he published still count.
		p = h.profile(h.ours, "a@late.example")
		begun, err = h.senders.Begin(ctx, p, domain, "key_test")
		h.do(err)
		h.sql(fmt.Sprintf(`UPDATE sender_identities SET since = since - %d`, senders.Patience.Microseconds()))
		h.look()
		h.far.Publish("", "late.example")
		again, err := h.senders.Begin(ctx, p, domain, "key_test")
		h.do(err)
		h.look()
		h.held(p, "")
		if again.ProviderID != begun.ProviderID {
			h.Error("the firm got other records than before")
		}
	})
}
