package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// A batch's text is stored once, and nobody who reads a message can tell: not a lane, not the one who shows it. It goes with the
// last message that has it.
func TestSharedTexts(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		p := newProfile(t, s, newTenant(t, s))
		template := &mail.Template{ID: "tpl_1", DocumentType: "invoice", DefaultLanguage: "fr", Translations: map[string]mail.Translation{
			"fr": {Subject: "Facture NUMFACT", Text: "Bonjour NOMCLIENT,\n" + strings.Repeat("Voici la facture. ", 30), HTML: "<p>Bonjour NOMCLIENT</p>" + strings.Repeat("<p>Voici.</p>", 30)},
			"nl": {Subject: "Factuur NUMFACT", Text: "Beste NOMCLIENT,\n" + strings.Repeat("Hierbij de factuur. ", 30)},
		}}
		composer := mail.NewComposer(p, template)
		var messages []store.NewMessage
		for i, language := range []string{"fr", "nl", "fr", "nl", "fr"} {
			d := mail.SampleDraft(template, language)
			d.MessageID, d.Client.Name = store.NewID("msg"), fmt.Sprintf("Zoé & %d", i)
			content, recipients, ps := composer.Compose(d, time.Now())
			if len(ps) > 0 {
				t.Fatal(ps)
			}
			messages = append(messages, store.NewMessage{ID: d.MessageID, Priority: mail.PriorityBatch, ExpiresAt: time.Now().Add(time.Hour), Recipients: recipients, Content: content})
		}
		// One job goes by single statements, one by COPY.
		for _, copies := range []int{1, 30} {
			job := store.NewJob{ID: store.NewID("job"), TenantID: p.TenantID, ProfileID: p.ID, Purpose: "batch", CreatedAt: store.Now()}
			var all []store.NewMessage
			want := map[string]*mail.Content{}
			for range copies {
				for _, m := range messages {
					m.ID = store.NewID("msg")
					all, want[m.ID] = append(all, m), m.Content
				}
			}
			insert(t, s, job, all)
			if n := count(t, s, "SELECT count(*) FROM shared_texts WHERE job_id = '"+job.ID+"'"); n != 2 {
				t.Fatalf("%d shared texts", n)
			}
			if n := count(t, s, "SELECT max(length(text) + length(html)) FROM message_contents"); n > 50 {
				t.Errorf("a message is stored with a text of %d characters", n)
			}
			for id, c := range want {
				got, err := s.MessageContent(ctx, p.TenantID, id)
				if err != nil || got.Subject != c.Subject || got.Text != c.Text || got.HTML != c.HTML {
					t.Fatalf("read %+v, %v; want %+v", got, err, c)
				}
			}
			claimed, err := s.Claim(ctx, p.ID, job.ID, time.Minute, len(all))
			if err != nil || len(claimed) != len(all) {
				t.Fatalf("%d claimed, %v", len(claimed), err)
			}
			for _, got := range claimed {
				content, err := got.Content()
				if c := want[got.ID]; err != nil || content.Subject != c.Subject || content.Text != c.Text || content.HTML != c.HTML {
					t.Fatalf("claimed %+v, %v; want %+v", content, err, c)
				}
			}
			sql(t, s, "UPDATE messages SET status = 'sent'")
			for i, m := range all {
				err := s.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
					_, err := s.Erase(ctx, tx, p.TenantID, m.ID, store.Erasure{})
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				if c, err := s.MessageContent(ctx, p.TenantID, m.ID); err != nil || !c.Erased || c.Text+c.HTML != "" {
					t.Fatalf("erased %+v, %v", c, err)
				}
				left := 0
				for _, language := range []string{"fr", "nl"} {
					for _, rest := range all[i+1:] {
						if rest.Content.Language == language {
							left++
							break
						}
					}
				}
				if n := count(t, s, "SELECT count(*) FROM shared_texts WHERE job_id = '"+job.ID+"'"); n != left {
					t.Fatalf("after %d erasures there are %d shared texts, want %d", i+1, n, left)
				}
			}
		}
	})
}

// A shared text that is gone, as after a repair by hand, stops its own mails and no others; nobody is shown half a mail.
func TestSharedTextIsGone(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		p := newProfile(t, s, newTenant(t, s))
		messages := make([]store.NewMessage, 2)
		for i := range messages {
			messages[i] = store.NewMessage{
				ID: store.NewID("msg"), Priority: mail.PriorityBatch, ExpiresAt: time.Now().Add(time.Hour), Recipients: []mail.Recipient{},
				Content: &mail.Content{Format: 1, Text: strings.Repeat("Bonjour. ", 60)},
			}
		}
		job := store.NewJob{ID: store.NewID("job"), TenantID: p.TenantID, ProfileID: p.ID, Purpose: "batch", CreatedAt: store.Now()}
		insert(t, s, job, messages)
		sql(t, s, "DELETE FROM shared_texts")
		_, others := submit(t, s, p, 1)
		if c, err := s.MessageContent(ctx, p.TenantID, messages[0].ID); err == nil {
			t.Errorf("read %+v", c)
		}
		claimed, err := s.Claim(ctx, p.ID, "token", time.Minute, 10)
		if err != nil || len(claimed) != 3 {
			t.Fatalf("%d claimed, %v", len(claimed), err)
		}
		for _, c := range claimed {
			if content, err := c.Content(); (err == nil) != (c.ID == others[0]) {
				t.Errorf("%s: %+v, %v", c.ID, content, err)
			}
		}
	})
}

// A program from before shared texts, which may still run beside a migrated database or be put back, must not take a mail's values
// for its text.
func TestOlderProgramsReadNoTexts(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		err := s.Write(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
			const old = `SELECT subject, body_text, body_html, content FROM message_contents`
			if tx.PG != nil {
				_, err = tx.PG.Exec(ctx, old)
			} else {
				_, err = tx.SQL.ExecContext(ctx, old)
			}
			return err
		})
		if err == nil {
			t.Error("the statement of an older program finds texts")
		}
	})
}
