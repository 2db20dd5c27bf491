package notify

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

func (w *world) contact(p *mail.Profile, kinds ...store.NoticeKind) {
	w.Helper()
	n := &store.NoticeSettings{TenantID: p.TenantID, Addresses: []string{"zoe@zoe.example", "jean@zoe.example"}, Language: "fr", SenderProfileID: p.ID, Kinds: kinds}
	if err := w.store.PutNoticeSettings(w.Context(), n, "key_test"); err != nil {
		w.Fatal(err)
	}
}

// subjects are those of the tenant's mails in the outbox, newest first, with their count of recipients.
func (w *world) subjects(tenant string) (out []string) {
	w.Helper()
	l, err := w.store.ListMessages(w.Context(), tenant, store.MessageFilter{}, store.Page{})
	if err != nil {
		w.Fatal(err)
	}
	for _, m := range l.Items {
		out = append(out, fmt.Sprintf("%d: %s", len(m.Recipients), m.Subject))
	}
	return out
}

func (w *world) outbox() *outbox.Outbox {
	w.Helper()
	o, err := outbox.New(w.store, nil, outbox.Config{})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := o.Stop(context.Background()); err != nil {
			w.Error(err)
		}
	})
	return o
}

// A person is told once of a trouble, in his language, from the profile of his choice, and again when some hours have gone by.
func TestNoticeOfAProfile(t *testing.T) {
	both(t, func(w *world) {
		box := w.outbox()
		e := w.engine(func(c *Config) { c.Outbox = box })
		p := w.profile(w.tenant())
		other := w.profile(p.TenantID)
		w.contact(other, store.NoticeProfile)
		trouble := mail.ProfileTrouble{Code: "smtp_login_refused"}
		hold := func() {
			w.Helper()
			if err := w.store.HoldProfile(w.Context(), p, trouble); err != nil {
				w.Fatal(err)
			}
			if err := w.store.ClearHold(w.Context(), p.TenantID, p.ID); err != nil {
				w.Fatal(err)
			}
			w.deliver(e)
			w.deliver(e)
		}
		hold()
		hold()
		want := "2: L’expéditeur « Factures NUMFACT (REMINDER) » a besoin de vous"
		if got := w.subjects(p.TenantID); len(got) != 1 || got[0] != want {
			w.Fatalf("mails: %q, want %q once", got, want)
		}
		w.advance(7 * time.Hour)
		hold()
		if n := len(w.subjects(p.TenantID)); n != 2 {
			w.Errorf("%d mails after seven hours, want 2", n)
		}
		trouble.Code = "smtp_timeout"
		hold()
		if n := len(w.subjects(p.TenantID)); n != 3 {
			w.Errorf("%d mails after another trouble, want 3", n)
		}
	})
}

func TestNoticeOfAJob(t *testing.T) {
	both(t, func(w *world) {
		box := w.outbox()
		e := w.engine(func(c *Config) { c.Outbox = box })
		p := w.profile(w.tenant())
		w.contact(p, store.NoticeJobFailures)
		job := func(t store.EventType, id string, sent, failed int) store.Event {
			return store.Event{TenantID: p.TenantID, Type: t, Subject: id, Data: store.EventData{Name: "Novembre", Counts: map[string]int{"sent": sent, "failed": failed}, ExpiresAt: w.now()}}
		}
		w.append(job(store.EventJobCompleted, "job_good", 40, 0), job(store.EventJobCompleted, "job_bad", 38, 2), job(store.EventJobExpiring, "job_old", 0, 0))
		w.deliver(e)
		got := w.subjects(p.TenantID)
		if len(got) != 2 || !strings.Contains(strings.Join(got, "\n"), "tout n’est pas parti") || !strings.Contains(strings.Join(got, "\n"), "expire bientôt") {
			w.Fatalf("mails: %q", got)
		}
		// What becomes of the job of a notice is told to nobody.
		jobs, err := w.store.ListJobs(w.Context(), p.TenantID, store.JobFilter{}, store.Page{})
		if err != nil {
			w.Fatal(err)
		}
		for _, j := range jobs.Items {
			w.append(job(store.EventJobCompleted, j.ID, 0, 1))
		}
		w.deliver(e)
		if n := len(w.subjects(p.TenantID)); n != 2 {
			w.Errorf("%d mails, want 2: a notice of a notice", n)
		}
	})
}

// A notice that was written, but not recorded as written, is not sent twice.
func TestNoticeOnce(t *testing.T) {
	both(t, func(w *world) {
		box := w.outbox()
		e := w.engine(func(c *Config) { c.Outbox = box })
		p := w.profile(w.tenant())
		w.contact(p, store.NoticeProfile)
		w.append(store.Event{TenantID: p.TenantID, Type: store.EventProfileNeedsAttention, Subject: p.ID, Data: store.EventData{Code: "smtp_login_refused", Name: p.Name}})
		if _, err := w.store.FanOut(w.Context(), 10, w.now()); err != nil {
			w.Fatal(err)
		}
		notices, err := w.store.ClaimNotices(w.Context(), 10, noticeLease, w.now())
		if err != nil || len(notices) != 1 {
			w.Fatalf("%+v, %v", notices, err)
		}
		if queued, err := e.writeNotice(&notices[0]); err != nil || !queued {
			w.Fatal(queued, err)
		}
		w.advance(noticeLease + time.Second)
		w.deliver(e)
		w.advance(noticeLease + time.Second)
		w.deliver(e)
		if got := w.subjects(p.TenantID); len(got) != 1 {
			w.Errorf("mails: %q", got)
		}
	})
}

// Every event that is told by mail has a text of its own in every language, with nothing left open.
func TestNoticeTexts(t *testing.T) {
	types := []store.EventType{store.EventJobCompleted, store.EventJobPaused, store.EventJobExpiring, store.EventJobExpired, store.EventProfileNeedsAttention, store.EventEndpointDisabled}
	seen := map[string]bool{}
	for _, lang := range []string{"fr", "nl", "en", "de"} {
		for _, event := range types {
			subject, text := NoticeText(lang, &store.Event{Type: event, Subject: "x_1", Data: store.EventData{Code: store.CodeEndpointGone}})
			if !strings.Contains(subject, "x_1") || strings.Contains(subject+text, "…") || strings.Contains(text, "_text") || strings.Contains(text, "footer") || seen[subject] {
				t.Errorf("%s %s: %s\n%s", lang, event, subject, text)
			}
			seen[subject] = true
		}
	}
}

// A receiver that never answers holds up neither mail nor another tenant's receiver: while it blocks, every mail is sent and every event
// of the others arrives.
func TestDeadReceiver(t *testing.T) {
	both(t, func(w *world) {
		const mails = 100
		release := make(chan struct{})
		w.receiver.answer = func(http.ResponseWriter, *http.Request) { <-release }
		w.Cleanup(func() { close(release) })
		healthy := newReceiver(w, false)
		dead, alive := w.profile(w.tenant()), w.profile(w.tenant())
		blocked := w.endpoint(dead.TenantID, w.receiver.url)
		good := w.endpoint(alive.TenantID, healthy.url, store.EventMessageSent, store.EventJobCompleted)
		box := w.startOutbox()
		e := w.engine(func(c *Config) { c.Now = time.Now })
		e.Start()
		w.Cleanup(func() {
			ctx, cancel := context.WithCancel(context.Background())
			cancel() // the blocked posts are broken off
			e.Stop(ctx)
		})
		for _, p := range []*mail.Profile{dead, alive} {
			sub := &outbox.Submission{TenantID: p.TenantID, Actor: "key_x", Purpose: outbox.PurposeBatch, Profile: p, Items: make([]outbox.Item, mails)}
			for i := range sub.Items {
				sub.Items[i].Draft = &mail.Draft{Subject: "Facture", Text: "Bonjour", To: []mail.Address{{Address: fmt.Sprintf("zoe%d@zoe.example", i)}}}
			}
			if _, err := box.Submit(w.Context(), sub); err != nil {
				w.Fatal(err)
			}
		}
		deadline := time.After(time.Minute)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for w.sandbox.Count() < 2*mails || len(w.deliveries(good, store.DeliveryDelivered)) < mails+1 {
			select {
			case <-tick.C:
			case <-deadline:
				w.Fatalf("%d mails of %d sent, %d events of %d delivered", w.sandbox.Count(), 2*mails, len(w.deliveries(good, store.DeliveryDelivered)), mails+1)
			}
		}
		for _, d := range w.deliveries(good, "") {
			switch e := d.Event; e.Type {
			case store.EventMessageSent:
				if e.Data.JobID == "" || e.Data.ProfileID != alive.ID || e.Data.Status != "sent" || e.Data.Attempts != 1 {
					w.Errorf("a sent mail: %+v", e)
				}
			case store.EventJobCompleted:
				if e.Data.Counts["sent"] != mails {
					w.Errorf("the job: %+v", e)
				}
			}
		}
		if n := len(w.deliveries(blocked, store.DeliveryDelivered)); n != 0 {
			w.Errorf("%d deliveries to the dead receiver", n)
		}
	})
}
