package store_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// events are those of a tenant, oldest first.
func events(t testing.TB, s *store.Store, tenant string) []store.Event {
	t.Helper()
	var out []store.Event
	err := s.Write(context.Background(), func(ctx context.Context, tx *store.Tx) error {
		const query = `SELECT type, subject, data FROM events WHERE tenant_id = $1 ORDER BY at, id`
		var r struct {
			Next func() bool
			Scan func(...any) error
		}
		if tx.PG != nil {
			rows, err := tx.PG.Query(ctx, query, tenant)
			if err != nil {
				return err
			}
			defer rows.Close()
			r.Next, r.Scan = rows.Next, rows.Scan
		} else {
			rows, err := tx.SQL.QueryContext(ctx, query, tenant)
			if err != nil {
				return err
			}
			defer rows.Close()
			r.Next, r.Scan = rows.Next, rows.Scan
		}
		for r.Next() {
			var e store.Event
			var data string
			if err := r.Scan(&e.Type, &e.Subject, &data); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(data), &e.Data); err != nil {
				return err
			}
			out = append(out, e)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func eventTypes(list []store.Event) (types []store.EventType) {
	for _, e := range list {
		types = append(types, e.Type)
	}
	return types
}

func listen(t testing.TB, s *store.Store, tenant string, types ...store.EventType) *store.WebhookEndpoint {
	t.Helper()
	e := &store.WebhookEndpoint{TenantID: tenant, URL: "https://firm.example/hook", Events: types, Language: "fr", Secret: store.NewWebhookSecret()}
	if err := s.CreateWebhookEndpoint(context.Background(), e, "key_test"); err != nil {
		t.Fatal(err)
	}
	return e
}

// settle records an outcome of the message under a new claim.
func settle(t testing.TB, s *store.Store, p *mail.Profile, token string, status mail.Status) (store.Settled, store.Journaled) {
	t.Helper()
	claimed, err := s.Claim(context.Background(), p.ID, token, time.Minute, 1)
	if err != nil || len(claimed) != 1 {
		t.Fatalf("%+v, %v", claimed, err)
	}
	now := time.Now()
	o := store.Settled{
		MessageID: claimed[0].ID, TenantID: p.TenantID, Token: token, Attempts: claimed[0].Attempts, Started: now, Ended: now,
		Settlement: mail.Settlement{Status: status, Burnt: true, Code: "smtp_outcome_unknown", Recipients: claimed[0].Recipients, NotBefore: now},
	}
	return o, journal(t, s, o)
}

func journal(t testing.TB, s *store.Store, o store.Settled) store.Journaled {
	t.Helper()
	j, err := s.Journal(context.Background(), nil, []store.Settled{o}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// Every change of a message's state has its event, in the commit of the change and once: an outcome that is written twice, or
// that was fenced off, has none.
func TestMessageEvents(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := newProfile(t, s, newTenant(t, s))
		_, ids := submit(t, s, p, 1)
		listen(t, s, p.TenantID)

		deferred, _ := settle(t, s, p, "one", mail.StatusDeferred)
		journal(t, s, deferred)
		sql(t, s, `UPDATE messages SET not_before = 0 WHERE id = $1`, ids[0])
		uncertain, _ := settle(t, s, p, "two", mail.StatusUncertain)
		journal(t, s, uncertain)
		change := func(to mail.Status) {
			t.Helper()
			err := s.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
				return s.ChangeMessage(ctx, tx, p.TenantID, ids[0], time.Now(), func(m *store.MessageState) error { m.Status = to; return nil })
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		change(mail.StatusSent)
		sent := uncertain
		sent.Status = mail.StatusSent
		if j := journal(t, s, sent); j.Settled[sent.Claim()] {
			t.Error("an outcome after a person's word was taken")
		}
		got := events(t, s, p.TenantID)
		want := []store.EventType{store.EventMessageDeferred, store.EventMessageUncertain, store.EventMessageSent}
		if !slices.Equal(eventTypes(got), want) {
			t.Fatalf("events are %q, want %q", eventTypes(got), want)
		}
		for i, attempts := range []int{1, 2, 2} {
			if got[i].Subject != ids[0] || got[i].Data.Attempts != attempts {
				t.Errorf("event %d: %+v", i, got[i])
			}
		}

		change(mail.StatusDeferred)
		sql(t, s, `UPDATE messages SET expires_at = 1 WHERE id = $1`, ids[0])
		expired, err := s.Expired(ctx)
		if err != nil || len(expired) != 1 {
			t.Fatalf("%+v, %v", expired, err)
		}
		for range 2 {
			if err := s.Expire(ctx, expired[0], mail.Expire(expired[0].Recipients), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if got := eventTypes(events(t, s, p.TenantID))[3:]; !slices.Equal(got, []store.EventType{store.EventMessageDeferred, store.EventMessageFailed}) {
			t.Errorf("expiry: %q", got)
		}
	})
}

// A tenant with nobody to tell has no events; a filter lets nothing else through.
func TestEventsAreForThoseWhoAsked(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		silent, filtered, contact := newProfile(t, s, newTenant(t, s)), newProfile(t, s, newTenant(t, s)), newProfile(t, s, newTenant(t, s))
		listen(t, s, filtered.TenantID, store.EventMessageFailed)
		n := &store.NoticeSettings{TenantID: contact.TenantID, Addresses: []string{"zoe@zoe.example"}, Language: "fr", SenderProfileID: contact.ID, Kinds: []store.NoticeKind{store.NoticeProfile}}
		if err := s.PutNoticeSettings(context.Background(), n, "key_test"); err != nil {
			t.Fatal(err)
		}
		for _, p := range []*mail.Profile{silent, filtered, contact} {
			submit(t, s, p, 2)
			settle(t, s, p, store.NewID("one"), mail.StatusSent)
			settle(t, s, p, store.NewID("two"), mail.StatusFailed)
			if err := s.HoldProfile(context.Background(), p, mail.ProfileTrouble{Code: "smtp_login_refused"}); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			p    *mail.Profile
			want []store.EventType
		}{{silent, nil}, {filtered, []store.EventType{store.EventMessageFailed}}, {contact, []store.EventType{store.EventProfileNeedsAttention}}} {
			if got := eventTypes(events(t, s, c.p.TenantID)); !slices.Equal(got, c.want) {
				t.Errorf("events are %q, want %q", got, c.want)
			}
		}
	})
}

// A profile's trouble is told once however many lanes meet it, a pause when it has become long, and the end of both.
func TestProfileEvents(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := newProfile(t, s, newTenant(t, s))
		listen(t, s, p.TenantID)
		trouble := mail.ProfileTrouble{Code: "smtp_login_refused"}
		step := func(what string, do func() error, want ...store.EventType) {
			t.Helper()
			before := len(events(t, s, p.TenantID))
			if err := do(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if got := eventTypes(events(t, s, p.TenantID))[before:]; !slices.Equal(got, want) {
				t.Errorf("%s: events are %q, want %q", what, got, want)
			}
		}
		step("hold", func() error { return s.HoldProfile(ctx, p, trouble) }, store.EventProfileNeedsAttention)
		step("hold again", func() error { return s.HoldProfile(ctx, p, trouble) })
		step("check", func() error { return s.ClearHold(ctx, p.TenantID, p.ID) }, store.EventProfileRecovered)
		step("check again", func() error { return s.ClearHold(ctx, p.TenantID, p.ID) })
		for i := range store.LongPauses + 1 {
			want := []store.EventType{store.EventProfileNeedsAttention}
			if i+1 != store.LongPauses {
				want = nil
			}
			step("pause", func() error { return s.PauseProfile(ctx, p, trouble, time.Minute) }, want...)
			p.PauseCount = i + 1
		}
		step("answer", func() error { return s.ClearPause(ctx, p) }, store.EventProfileRecovered)
		step("answer again", func() error { return s.ClearPause(ctx, p) })
		p.PauseCount = 0
		step("short pause", func() error { return s.PauseProfile(ctx, p, trouble, time.Minute) })
		step("edit", func() error { return s.UpdateProfile(ctx, p, 0) })
		step("hold after the edit", func() error { return s.HoldProfile(ctx, p, trouble) }, store.EventProfileNeedsAttention)
		step("edit that mends", func() error { return s.UpdateProfile(ctx, p, 0) }, store.EventProfileRecovered)
	})
}

// What is reported after sending is told once for each recipient whose state it changes.
func TestDeliveryEvents(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := newProfile(t, s, newTenant(t, s))
		listen(t, s, p.TenantID, store.EventMessageDelivered, store.EventMessageBounced)
		_, ids := submit(t, s, p, 1)
		settle(t, s, p, "a", mail.StatusSent)
		report := func(id string, kind mail.EventKind) mail.Event {
			return mail.Event{ID: id, TenantID: p.TenantID, MessageID: ids[0], Address: "zoe0@zoe.example", Kind: kind, At: time.Now().UnixMicro()}
		}
		for _, e := range []mail.Event{
			report("1", mail.EventDelivered), report("1", mail.EventDelivered), report("2", mail.EventDelivered), report("3", mail.EventBounced), report("4", mail.EventDelivered),
		} {
			if _, err := s.TakeEvents(ctx, p.Transport, []mail.Event{e}, nil); err != nil {
				t.Fatal(err)
			}
		}
		told := events(t, s, p.TenantID)
		if got := eventTypes(told); !slices.Equal(got, []store.EventType{store.EventMessageDelivered, store.EventMessageBounced}) {
			t.Fatalf("told: %v", got)
		}
		if e := told[1]; e.Subject != ids[0] || e.Data.Recipient != "zoe0@zoe.example" || e.Data.Status != "sent" {
			t.Errorf("%+v", e)
		}
	})
}
