package store_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

func TestFileEnds(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		tenant, other := newTenant(t, s), newTenant(t, s)
		const n = 2048
		want := map[string][]byte{}
		var sums []string
		for i, size := range []int{1, n - 1, n, n + 1, chunk, chunk + 1, chunk + n, 2*chunk + 7} {
			data := make([]byte, size)
			rand.NewChaCha8([32]byte{byte(i)}).Read(data)
			a, err := upload(t, s, tenant, string(data), nil)
			if err != nil {
				t.Fatal(err)
			}
			want[a.SHA256] = data
			sums = append(sums, a.SHA256)
		}
		if _, err := upload(t, s, other, "theirs", nil); err != nil {
			t.Fatal(err)
		}
		got, err := s.FileEnds(ctx, tenant, append(sums, "nothing"), n)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d of %d, %v", len(got), len(want), err)
		}
		for sum, data := range want {
			e := got[sum]
			if !bytes.Equal(e.Head, data[:min(n, len(data))]) || !bytes.Equal(e.Tail, data[max(0, len(data)-n):]) {
				t.Errorf("%d bytes: head of %d, tail of %d", len(data), len(e.Head), len(e.Tail))
			}
		}
		if got, err := s.FileEnds(ctx, other, sums, n); err != nil || len(got) != 0 {
			t.Errorf("another tenant's: %d, %v", len(got), err)
		}
	})
}

func TestDocumentsBefore(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p := newProfile(t, s, newTenant(t, s))
		foreign := newTenant(t, s)
		document := mail.Document{Type: "invoice", Number: "2026/0042"}
		keysOf := func(rs []mail.Recipient) []mail.DocumentKey { return mail.DocumentKeys("C1", document, rs) }
		to := func(address string) []mail.Recipient {
			return []mail.Recipient{{Address: mail.Address{Address: address}, Kind: mail.KindTo, Status: mail.RecipientPending}}
		}
		now := store.Now()
		use := func(address string) store.DocumentUse {
			return store.DocumentUse{Key: keysOf(to(address))[0], KeysOf: keysOf}
		}
		var ids []string
		for _, address := range []string{"queued@zoe.example", "failed@zoe.example"} {
			rs := to(address)
			m := store.NewMessage{
				ID: store.NewID("msg"), Priority: mail.PriorityBatch, ExpiresAt: now.Add(time.Hour), Recipients: rs,
				Content:  &mail.Content{Format: 1, From: p.From, To: []mail.Address{rs[0].Address}, Subject: "x", Text: "x"},
				Detail:   store.MessageDetail{Document: document, CompanyRef: "C1"},
				Document: store.Document{Keys: keysOf(rs), KeysOf: keysOf},
			}
			ids = append(ids, m.ID)
			sub, err := store.NewSubmission(store.NewJob{ID: store.NewID("job"), TenantID: p.TenantID, ProfileID: p.ID, Purpose: "batch", CreatedAt: now})
			if err == nil {
				err = sub.Add(m)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
				if err := s.InsertSubmissions(ctx, tx, []*store.Submission{sub}); err != nil {
					return err
				}
				return s.ClaimDocuments(ctx, tx, []*store.Submission{sub})
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
			const cancel = `UPDATE messages SET status = 'canceled' WHERE tenant_id = $1 AND id = $2`
			if tx.PG != nil {
				_, err := tx.PG.Exec(ctx, cancel, p.TenantID, ids[1])
				return err
			}
			_, err := tx.SQL.ExecContext(ctx, cancel, p.TenantID, ids[1])
			return err
		}); err != nil {
			t.Fatal(err)
		}
		uses := []store.DocumentUse{use("new@zoe.example"), use("failed@zoe.example"), use("queued@zoe.example")}
		got, err := s.DocumentsBefore(ctx, p.TenantID, uses)
		if err != nil || len(got) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		if d := got[0]; d.Message != 2 || d.EarlierID != ids[0] || d.Status != mail.StatusQueued || !d.AcceptedAt.Equal(now) || !d.SentAt.IsZero() {
			t.Errorf("%+v", d)
		}
		if got, err := s.DocumentsBefore(ctx, foreign, uses); err != nil || len(got) != 0 {
			t.Errorf("another tenant's: %+v, %v", got, err)
		}
	})
}

func TestBacklog(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		p, claim := limited(t, s, mail.Limits{PerDay: 100}, 30)
		claim("a", time.Minute, 4, 4)
		claim("b", time.Minute, 3, 3)
		if err := s.Spend(ctx, p.ID, "b", 2); err != nil {
			t.Fatal(err)
		}
		b, err := s.Backlog(ctx, p.TenantID, p.ID, store.Now().Add(time.Minute))
		if err != nil || b.Waiting != 23 || b.Open != 4 || len(b.Used) != 1 || b.Used[0].Mails != 2 || len(b.Sent) != 0 {
			t.Errorf("%+v, %v", b, err)
		}
		if b, err = s.Backlog(ctx, p.TenantID, p.ID, time.Unix(1, 0)); err != nil || b.Waiting != 0 {
			t.Errorf("before all of it: %+v, %v", b, err)
		}
		if b, err = s.Backlog(ctx, p.TenantID, "prf_none", store.Now()); err != nil || b.Waiting != 0 || b.Used != nil {
			t.Errorf("no profile: %+v, %v", b, err)
		}
	})
}
