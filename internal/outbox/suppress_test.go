package outbox_test

import (
	"strings"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

// headed is a far end that sends to everybody whom the header names.
type headed struct{ *farEnd }

func (headed) Info() transport.Info { return transport.Info{Name: "far", AddressesByHeader: true} }

// envelopes keeps for whom each mail was handed over, by its subject.
func envelopes(far *farEnd) map[string]string {
	got := map[string]string{}
	far.before = func(m *mail.Rendered) {
		far.mu.Lock()
		defer far.mu.Unlock()
		got[m.Content.Subject] += strings.Join(m.Envelope.To, " ")
	}
	return got
}

func (h *house) suppress(address string) *store.Suppression {
	h.t.Helper()
	p := &store.Suppression{TenantID: h.tenant.ID, Address: address, Reason: mail.SuppressedManual, CreatedBy: "key_test"}
	if err := h.store.AddSuppression(h.t.Context(), p, nil); err != nil {
		h.t.Fatal(err)
	}
	return p
}

// Mails that were accepted before their recipient was suppressed do not go to him; those for others as well go to the others.
func TestSuppressedRecipientsGetNothing(t *testing.T) {
	const gone, fine = "gone@client.example", "fine@client.example"
	to := func(addresses ...string) (list []mail.Address) {
		for _, a := range addresses {
			list = append(list, mail.Address{Address: a})
		}
		return list
	}
	for name, c := range map[string]struct {
		headed bool
		both   string // for whom the mail to both is handed over
	}{"envelope": {false, fine}, "header": {true, ""}} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, url string) {
				h, far := newHouse(t, url), newFarEnd()
				got := envelopes(far)
				var driver transport.Transport = far
				if c.headed {
					driver = headed{far}
				}
				p := h.profile(1)
				idle, err := outbox.New(h.store, nil, outbox.Config{})
				if err != nil {
					t.Fatal(err)
				}
				defer idle.Stop(t.Context()) //nolint:errcheck // it only accepts
				s := &outbox.Submission{TenantID: h.tenant.ID, Actor: "key_test", Purpose: outbox.PurposeBatch, Profile: p, Items: []outbox.Item{
					{Draft: &mail.Draft{Subject: "alone", Text: "x", To: to("Gone@client.example")}},
					{Draft: &mail.Draft{Subject: "both", Text: "x", To: to(fine), CC: to(gone)}},
					{Draft: &mail.Draft{Subject: "hidden", Text: "x", To: to(fine), BCC: to(gone)}},
					{Draft: &mail.Draft{Subject: "anyway", Text: "x", To: to(gone), OverrideSuppression: true}},
					{Draft: &mail.Draft{Subject: "other", Text: "x", To: to(fine)}},
				}}
				r, err := idle.Submit(t.Context(), s)
				if err != nil {
					t.Fatal(err)
				}
				sup := h.suppress(gone)
				o := h.engine(driver, outbox.Config{})
				want := map[mail.Status]int{mail.StatusFailed: 1, mail.StatusSent: 4}
				if c.headed {
					want = map[mail.Status]int{mail.StatusFailed: 2, mail.StatusSent: 3}
				}
				h.await(r.JobID, want)
				far.mu.Lock()
				for subject, envelope := range map[string]string{"alone": "", "both": c.both, "hidden": fine, "anyway": gone, "other": fine} {
					if got[subject] != envelope {
						t.Errorf("%s was handed over for %q, want %q", subject, got[subject], envelope)
					}
				}
				far.mu.Unlock()
				m := h.message(r.Messages[0].ID)
				if m.Code != mail.CodeRecipientSuppressed || m.Recipients[0].Status != mail.RecipientFailed || m.Recipients[0].Reply == nil {
					t.Errorf("%+v", m)
				}
				if attempts, err := h.store.Attempts(t.Context(), h.tenant.ID, m.ID); err != nil || len(attempts) != 1 || attempts[0].Detail.Code != mail.CodeRecipientSuppressed {
					t.Errorf("attempts %+v, %v", attempts, err)
				}
				if m := h.message(r.Messages[1].ID); !c.headed && (m.Code != mail.CodePartlyRefused || m.Recipients[1].Status != mail.RecipientFailed) {
					t.Errorf("both: %+v", m)
				}
				if err := h.store.LiftSuppression(t.Context(), h.tenant.ID, sup.ID, "key_test"); err != nil {
					t.Fatal(err)
				}
				// The engine of the other process may believe for a moment longer that there is one; it asks for each claim then.
				if err := o.Retry(t.Context(), h.tenant.ID, "key_test", m.ID); err != nil {
					t.Fatal(err)
				}
				eventually(t, func() error { return statusIs(h, m.ID, mail.StatusSent) })
			})
		})
	}
}

// A mail whose content cannot be read may override suppressions: it is put off, not refused for good.
func TestUnreadableContentIsNotSuppressed(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		idle, err := outbox.New(h.store, nil, outbox.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer idle.Stop(t.Context()) //nolint:errcheck // it only accepts
		s := &outbox.Submission{TenantID: h.tenant.ID, Actor: "key_test", Purpose: outbox.PurposeBatch, Profile: h.profile(1)}
		for range 2 {
			s.Items = append(s.Items, outbox.Item{Draft: &mail.Draft{
				Subject: "anyway", Text: strings.Repeat("the same in both. ", 30), To: []mail.Address{{Address: "gone@client.example"}}, OverrideSuppression: true,
			}})
		}
		r, err := idle.Submit(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		h.suppress("gone@client.example")
		h.exec("DELETE FROM shared_texts")
		h.engine(far, outbox.Config{})
		h.await(r.JobID, map[mail.Status]int{mail.StatusDeferred: 2})
		if m := h.message(r.Messages[0].ID); m.Code != mail.CodeContentUnavailable {
			t.Errorf("%+v", m)
		}
	})
}

// The far end's word that there is no such mailbox suppresses the address in the commit of the outcome; other refusals do not.
func TestUnknownMailboxIsSuppressed(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		replies := map[string]mail.Reply{
			"client0@client.example": {Code: 550, Enhanced: "5.1.1", Text: "no such user"},
			"client1@client.example": {Code: 550, Enhanced: "5.7.1", Text: "policy"},
			"client2@client.example": {Code: 552, Enhanced: "5.2.2", Text: "full"},
		}
		far.answer = func(m *mail.Rendered) mail.Verdict {
			to := m.Envelope.To[0]
			rv := mail.RecipientVerdict{Address: to, Outcome: mail.OutcomePermanent, Code: "refused", Reply: replies[to]}
			return mail.Verdict{Outcome: mail.OutcomePermanent, Scope: mail.ScopeRecipient, Step: "rcpt", Recipients: []mail.RecipientVerdict{rv}}
		}
		o := h.engine(far, outbox.Config{})
		r := h.submit(o, h.profile(1), outbox.PurposeBatch, 3)
		h.await(r.JobID, map[mail.Status]int{mail.StatusFailed: 3})
		l, err := h.store.ListSuppressions(t.Context(), h.tenant.ID, store.SuppressionFilter{}, store.Page{})
		if err != nil || len(l.Items) != 1 {
			t.Fatalf("%+v %v", l, err)
		}
		if p := l.Items[0]; p.Address != "client0@client.example" || p.Reason != mail.SuppressedBounce || p.MessageID != r.Messages[0].ID || p.Evidence != "550 5.1.1 no such user" {
			t.Errorf("%+v", p)
		}
	})
}
