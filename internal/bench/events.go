package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/sendgrid/events"
)

// signing makes the key of a stand-in for SendGrid's event webhook.
var signing = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

func eventsEnv() []string {
	der, err := x509.MarshalPKIXPublicKey(&signing().PublicKey)
	if err != nil {
		panic(err)
	}
	return []string{"FACTEUR_SENDGRID_WEBHOOK_KEYS=bench=" + base64.StdEncoding.EncodeToString(der)}
}

// takeEvents: 40,000 signed events about 20,000 sent mails, two for each (processed, delivered), in requests of 1,000, over two connections.
func takeEvents(ctx context.Context, b *bed) error {
	const mails, perRequest = 20_000, 1000
	ids, err := b.sentMails(ctx, mails)
	if err != nil {
		return err
	}
	var bodies [][]byte
	for _, kind := range []string{"processed", "delivered"} {
		for first := 0; first < mails; first += perRequest {
			batch := make([]map[string]any, perRequest)
			for i := range batch {
				batch[i] = map[string]any{
					"event": kind, "email": fmt.Sprintf("client%d@client.example", first+i), "timestamp": time.Now().Unix(), "sg_event_id": rand.Text(),
					"sg_message_id": rand.Text() + ".recvd-5f54b5d587-c6pxf-1-65661A00-12.0", "smtp-id": "<" + ids[first+i] + "@bench.example>",
					"response": "250 2.0.0 OK", "category": []string{"invoice"}, events.ArgTenant: b.tenant, events.ArgMessage: ids[first+i],
				}
			}
			body, err := json.Marshal(batch)
			if err != nil {
				return err
			}
			bodies = append(bodies, body)
		}
	}
	reference, err := b.bareEvents(ctx, ids, perRequest)
	if err != nil {
		return err
	}
	var took latencies
	began := time.Now()
	err = parallel(2, len(bodies), func(i int) error {
		start := time.Now()
		defer func() { took.add(time.Since(start)) }()
		return b.postEvents(bodies[i])
	})
	if err != nil {
		return err
	}
	rate := 2 * mails / time.Since(began).Seconds()
	aim := ""
	if b.database == "postgres" {
		aim = ">= 5,000/s"
	}
	b.row("events of SendGrid, 1,000 a request", perSecond(rate), "bare inserts "+perSecond(reference), rate/reference, aim)
	slowest := time.Duration(0)
	for _, d := range took.all {
		slowest = max(slowest, d)
	}
	b.row("the slowest request of 1,000 events", seconds(slowest), "1 s", slowest.Seconds(), "<= 1")
	return nil
}

// sentMails stores mails as SendGrid's transport leaves them.
func (s *service) sentMails(ctx context.Context, n int) (ids []string, err error) {
	p := &mail.Profile{
		TenantID: s.tenant, Level: mail.LevelCompany, OwnerRef: store.NewID("own"), Name: "Bench", Transport: "sendgrid", MaxConnections: 1,
		From: mail.Address{Address: "billing@bench.example"},
	}
	if err := s.store.CreateProfile(ctx, p, nil); err != nil {
		return nil, err
	}
	now := store.Now()
	for first := 0; first < n; first += 1000 {
		messages := make([]store.NewMessage, 1000)
		for i := range messages {
			to := mail.Address{Address: fmt.Sprintf("client%d@client.example", first+i)}
			id := store.NewID("msg")
			ids = append(ids, id)
			messages[i] = store.NewMessage{
				ID: id, Priority: mail.PriorityBatch, ExpiresAt: now.Add(48 * time.Hour), NotBefore: now.Add(time.Hour),
				Recipients: []mail.Recipient{{Address: to, Kind: mail.KindTo, Status: mail.RecipientSent}},
				Content:    &mail.Content{Format: 1, From: p.From, To: []mail.Address{to}, Language: "en", Subject: "Invoice", Text: "Hello"},
			}
		}
		sub, err := store.NewSubmission(store.NewJob{ID: store.NewID("job"), TenantID: s.tenant, ProfileID: p.ID, Purpose: "batch", CreatedAt: now})
		if err == nil {
			err = sub.Add(messages...)
		}
		if err != nil {
			return nil, err
		}
		err = s.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
			return s.store.InsertSubmissions(ctx, tx, []*store.Submission{sub})
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, s.exec(ctx, `UPDATE messages SET status = 'sent'`)
}

func (s *service) exec(ctx context.Context, query string, args ...any) error {
	return s.store.Write(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		if tx.PG != nil {
			_, err = tx.PG.Exec(ctx, query, args...)
		} else {
			_, err = tx.SQL.ExecContext(ctx, query, args...)
		}
		return err
	})
}

// bareEvents inserts as many rows as narrow as can be, a commit for each request, with nothing looked up. It gives rows per second.
func (s *service) bareEvents(ctx context.Context, ids []string, perCommit int) (float64, error) {
	if err := s.exec(ctx, `CREATE TABLE bare_events (tenant_id text, message_id text, id text, kind text, PRIMARY KEY (tenant_id, message_id, id))`); err != nil {
		return 0, err
	}
	began := time.Now()
	for _, kind := range []string{"processed", "delivered"} {
		for first := 0; first < len(ids); first += perCommit {
			err := s.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
				part := ids[first : first+perCommit]
				if tx.PG != nil {
					_, err := tx.PG.Exec(ctx, `INSERT INTO bare_events SELECT $1, id, $3 || id, $3 FROM unnest($2::text[]) AS u (id)`, s.tenant, part, kind)
					return err
				}
				for _, id := range part {
					if _, err := tx.SQL.ExecContext(ctx, `INSERT INTO bare_events VALUES (?, ?, ?, ?)`, s.tenant, id, kind+id, kind); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return 0, err
			}
		}
	}
	return float64(2*len(ids)) / time.Since(began).Seconds(), nil
}

func (s *service) postEvents(body []byte) error {
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	sum := sha256.Sum256(append([]byte(timestamp), body...))
	signature, err := ecdsa.SignASN1(rand.Reader, signing(), sum[:])
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, s.base+"/webhooks/sendgrid", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(events.SignatureHeader, base64.StdEncoding.EncodeToString(signature))
	req.Header.Set(events.TimestampHeader, timestamp)
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var taken struct{ Stored int }
	if err := json.NewDecoder(resp.Body).Decode(&taken); err != nil || resp.StatusCode != http.StatusOK || taken.Stored == 0 {
		return fmt.Errorf("events: %s, %d stored, %w", resp.Status, taken.Stored, err)
	}
	return nil
}
