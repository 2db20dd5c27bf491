package outbox_test

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// What is counted is what became of a known set of mails: sent, sent to one of two, refused, tried twice, uncertain, canceled and
// waiting.
func TestUsage(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h, far := newHouse(t, url), newFarEnd()
		var mu sync.Mutex
		var bytes int64
		tried := map[string]int{}
		far.answer = func(m *mail.Rendered) mail.Verdict {
			mu.Lock()
			defer mu.Unlock()
			first := m.Envelope.To[0]
			if tried[first]++; tried[first] == 1 {
				bytes += m.Size()
			}
			switch {
			case strings.HasPrefix(first, "refused"):
				return mail.Verdict{Outcome: mail.OutcomePermanent, Scope: mail.ScopeMessage, Code: mail.CodePartlyRefused}
			case strings.HasPrefix(first, "partly"):
				return mail.Verdict{Outcome: mail.OutcomeSent, Recipients: []mail.RecipientVerdict{{Address: m.Envelope.To[1], Outcome: mail.OutcomePermanent, Code: mail.CodePartlyRefused}}}
			case strings.HasPrefix(first, "later") && tried[first] == 1:
				return mail.Verdict{Outcome: mail.OutcomeTemporary, Scope: mail.ScopeMessage, Code: mail.CodeGreylisted}
			case strings.HasPrefix(first, "unsure"):
				return mail.Verdict{}
			}
			return mail.Verdict{Outcome: mail.OutcomeSent}
		}
		o := h.engine(far, outbox.Config{})
		p, other := h.profile(2), h.profile(1)
		send := func(p *mail.Profile, at time.Time, to ...string) *outbox.Receipt {
			t.Helper()
			s := &outbox.Submission{TenantID: h.tenant.ID, Actor: "key_test", Purpose: outbox.PurposeOneOff, Profile: p, SendAt: at}
			d := &mail.Draft{Subject: "Invoice", Text: "Hello"}
			for _, local := range to {
				d.To = append(d.To, mail.Address{Address: local + "@client.example"})
			}
			s.Items = []outbox.Item{{Draft: d}}
			r, err := o.Submit(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		for i := range 5 {
			h.await(send(p, time.Time{}, fmt.Sprintf("good%d", i)).JobID, map[mail.Status]int{mail.StatusSent: 1})
		}
		h.await(send(p, time.Time{}, "partly", "nobody").JobID, map[mail.Status]int{mail.StatusSent: 1})
		h.await(send(p, time.Time{}, "refused", "refused2").JobID, map[mail.Status]int{mail.StatusFailed: 1})
		h.await(send(p, time.Time{}, "unsure").JobID, map[mail.Status]int{mail.StatusUncertain: 1})
		later := send(p, time.Time{}, "later")
		h.await(later.JobID, map[mail.Status]int{mail.StatusDeferred: 1})
		tomorrow := time.Now().Add(24 * time.Hour)
		canceled := send(p, tomorrow, "canceled")
		if err := o.Cancel(t.Context(), h.tenant.ID, "key_test", canceled.Messages[0].ID); err != nil {
			t.Fatal(err)
		}
		send(p, tomorrow, "waiting")
		h.await(send(other, time.Time{}, "good").JobID, map[mail.Status]int{mail.StatusSent: 1})
		h.exec(`UPDATE messages SET not_before = 0 WHERE status = 'deferred'`)
		h.await(later.JobID, map[mail.Status]int{mail.StatusSent: 1})

		month := time.Date(time.Now().UTC().Year(), time.Now().UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
		from, to := month.AddDate(0, -1, 0), month.AddDate(0, 2, 0) // whatever the time
		got, err := h.store.Usage(t.Context(), h.tenant.ID, from, to)
		if err != nil || len(got) != 2 {
			t.Fatalf("%+v, %v", got, err)
		}
		if got[0].ProfileID != p.ID {
			got[0], got[1] = got[1], got[0]
		}
		if got[0].Bytes+got[1].Bytes != bytes || got[1].Bytes == 0 {
			t.Errorf("%d + %d bytes, want %d", got[0].Bytes, got[1].Bytes, bytes)
		}
		got[0].Bytes, got[1].Bytes = 0, 0
		want := []*store.Usage{
			{ProfileID: p.ID, ProfileName: "Profile", Transport: "far", Messages: 11, Recipients: 13, RecipientsSent: 7, Outcomes: map[mail.Status]int64{
				mail.StatusSent: 7, mail.StatusFailed: 1, mail.StatusUncertain: 1, mail.StatusCanceled: 1, mail.StatusQueued: 1,
			}},
			{ProfileID: other.ID, ProfileName: "Profile", Transport: "far", Messages: 1, Recipients: 1, RecipientsSent: 1, Outcomes: map[mail.Status]int64{mail.StatusSent: 1}},
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v %+v\nwant %+v %+v", got[0], got[1], want[0], want[1])
		}
		// Another transport since does not change what went before, only what was never tried.
		edited, err := h.store.Profile(t.Context(), h.tenant.ID, p.ID)
		if err != nil {
			t.Fatal(err)
		}
		edited.Transport = "sandbox"
		if err := h.store.UpdateProfile(t.Context(), edited, 0); err != nil {
			t.Fatal(err)
		}
		got, err = h.store.Usage(t.Context(), h.tenant.ID, from, to)
		if err != nil || len(got) != 3 {
			t.Fatalf("%d, %v", len(got), err)
		}
		for _, u := range got {
			if u.Transport == "sandbox" && u.Messages != 2 {
				t.Errorf("%+v", u)
			}
		}
		for _, outside := range [][2]time.Time{{from.AddDate(0, -1, 0), from}, {to, to.AddDate(0, 1, 0)}} {
			if got, err = h.store.Usage(t.Context(), h.tenant.ID, outside[0], outside[1]); err != nil || len(got) != 0 {
				t.Errorf("%+v, %v", got, err)
			}
		}
		if got, err = h.store.Usage(t.Context(), "tnt_other", from, to); err != nil || len(got) != 0 {
			t.Errorf("another tenant: %+v, %v", got, err)
		}
	})
}
