package server

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// settleAs gives a waiting message the outcome of an attempt, as a worker would.
func (h *house) settleAs(id string, status mail.Status) {
	h.Helper()
	ctx := context.Background()
	m, err := h.store.Message(ctx, h.ours.id, id)
	if err != nil {
		h.Fatal(err)
	}
	claimed, err := h.store.Claim(ctx, m.ProfileID, "token of "+id, time.Minute, 100)
	if err != nil {
		h.Fatal(err)
	}
	for _, c := range claimed {
		o := store.Settled{MessageID: c.ID, TenantID: c.TenantID, Token: c.Token, Started: store.Now(), Ended: store.Now(), Outcome: mail.OutcomePermanent}
		o.Settlement = mail.Settlement{Status: status, Recipients: c.Recipients, Code: "recipient_unknown", Burnt: true}
		if c.ID != id {
			o.Settlement = mail.Settlement{Status: mail.StatusQueued, Recipients: c.Recipients}
		}
		if _, err := h.store.Journal(ctx, nil, []store.Settled{o}, nil); err != nil {
			h.Fatal(err)
		}
	}
}

// A document goes to a recipient once, for ever, unless somebody says why it may go again.
func TestNobodyGetsADocumentTwice(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		send := func(want int, changes with) answered {
			h.Helper()
			return h.must(want, h.ours.all, "POST", "/v1/messages", with{"user_ref": "jdupont"}.of(with(changes).of(f.invoice())))
		}
		document := func(number string, more with) object {
			return object(with(more).of(object{"type": "invoice", "number": number, "date": "2026-11-23"}))
		}
		first := send(http.StatusAccepted, nil)

		refused := send(http.StatusConflict, nil)
		if refused.text("code") != codeDuplicateDocument || h.stored()["/v1/messages"] != 1 {
			h.Errorf("%d stored, %s", h.stored()["/v1/messages"], refused.Body)
		}
		for _, want := range []string{codeDocumentAcceptedBefore, "/document/number", "client@zoe.example", first.text("id"), "2026/1"} {
			if !strings.Contains(refused.Body.String(), want) {
				h.Errorf("%s is not in %s", want, refused.Body)
			}
		}
		// Case and spaces do not make another document, nor a copy to somebody else another recipient.
		send(http.StatusConflict, with{"document": document(" 2026/1 ", nil), "to": []any{object{"address": "CLIENT@zoe.example"}}})
		send(http.StatusConflict, with{"to": []any{object{"address": "other@zoe.example"}, object{"address": "client@zoe.example"}}})

		// What is another document, or for somebody else, goes.
		for _, changes := range []with{
			{"document": document("2026/2", nil)},
			{"document": document("2026/1", with{"reminder_level": 1})},
			{"document": document("2026/1", with{"reminder_level": 2})},
			{"document": document("2026/1", with{"type": "credit_note"}), "template_id": f.template},
			{"to": []any{object{"address": "other@zoe.example"}}},
			{"to": []any{object{"address": "third@zoe.example"}}, "cc": []any{object{"address": "client@zoe.example"}}},
			{"company_ref": "C002"},
			{"document": object{"type": "invoice", "date": "2026-11-23"}, "tokens": object{"NUMFACT": "2026/1", "MONTANT": "1 €"}},
		} {
			send(http.StatusAccepted, changes)
		}

		// What was sent says when; what came to nothing gave the document to nobody.
		h.settleAs(first.text("id"), mail.StatusSent)
		if a := send(http.StatusConflict, nil); !strings.Contains(a.Body.String(), codeDocumentSentBefore) {
			h.Errorf("%s", a.Body)
		}
		again := send(http.StatusAccepted, with{"allow_duplicate": object{"reason": "the client has lost it"}})
		if audit := h.must(http.StatusOK, h.ours.all, "GET", "/v1/audit-events", nil); !strings.Contains(audit.Body.String(), "the client has lost it") ||
			!strings.Contains(audit.Body.String(), "message.allow_duplicate") || !strings.Contains(audit.Body.String(), first.text("id")) {
			h.Errorf("audit: %s", audit.Body)
		}
		if a := send(http.StatusConflict, nil); !strings.Contains(a.Body.String(), again.text("id")) {
			h.Errorf("the later one is not named: %s", a.Body)
		}
		h.must(http.StatusOK, h.ours.all, "POST", "/v1/messages/"+again.text("id")+"/cancel", nil)
		afterCancel := send(http.StatusAccepted, nil)
		h.settleAs(afterCancel.text("id"), mail.StatusFailed)
		replacement := send(http.StatusAccepted, nil)

		// The failed one has lost its place, until its replacement fails too.
		if a := h.must(http.StatusConflict, h.ours.all, "POST", "/v1/messages/"+afterCancel.text("id")+"/retry", nil); a.text("code") != codeDocumentSentSince {
			h.Errorf("%s", a.Body)
		}
		h.settleAs(replacement.text("id"), mail.StatusFailed)
		h.must(http.StatusOK, h.ours.all, "POST", "/v1/messages/"+replacement.text("id")+"/retry", nil)

		// Another firm's documents are its own.
		g := h.furnish(h.theirs.all)
		h.must(http.StatusAccepted, h.theirs.all, "POST", "/v1/messages", with{"user_ref": "jdupont"}.of(g.invoice()))
	})
}

func TestADocumentTwiceInABatch(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		job := func(messages ...any) object { return object{"company_ref": "C001", "messages": messages} }
		a := h.must(http.StatusUnprocessableEntity, h.ours.all, "POST", "/v1/send-jobs", job(f.invoice(), f.invoice()))
		if !strings.Contains(a.Body.String(), mail.CodeDocumentTwice) || !strings.Contains(a.Body.String(), "/messages/1/document/number") {
			h.Errorf("%s", a.Body)
		}
		allowed := with{"allow_duplicate": object{"reason": "two departments"}}.of(f.invoice())
		a = h.must(http.StatusUnprocessableEntity, h.ours.all, "POST", "/v1/send-jobs", job(allowed, f.invoice()))
		if !strings.Contains(a.Body.String(), mail.CodeDocumentTwice) || !strings.Contains(a.Body.String(), "/messages/1/document/number") {
			h.Errorf("behind one that is allowed: %s", a.Body)
		}
		if a := h.must(http.StatusOK, h.ours.all, "POST", "/v1/send-jobs/check", job(allowed, f.invoice())); !strings.Contains(a.Body.String(), mail.CodeDocumentTwice) {
			h.Errorf("the check: %s", a.Body)
		}
		h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/send-jobs", job(f.invoice(), allowed))
		// All of a batch or nothing, and each one named.
		other := with{"document": object{"type": "invoice", "number": "2026/2", "date": "2026-11-23"}}.of(f.invoice())
		a = h.must(http.StatusConflict, h.ours.all, "POST", "/v1/send-jobs", job(other, f.invoice()))
		if !strings.Contains(a.Body.String(), `"/messages/1/document/number"`) || strings.Contains(a.Body.String(), `"/messages/0`) {
			h.Errorf("%s", a.Body)
		}
		h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/send-jobs", job(other))
		if a := h.must(http.StatusUnprocessableEntity, h.ours.all, "POST", "/v1/send-jobs", job(with{"allow_duplicate": object{}}.of(other))); !strings.Contains(a.Body.String(), "/messages/0/allow_duplicate/reason") {
			h.Errorf("a duplicate without a reason: %s", a.Body)
		}
	})
}

// Fifty requests for the same document at once, with keys of their own: one is accepted.
func TestTheSameDocumentAtOnce(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		var wg sync.WaitGroup
		var mu sync.Mutex
		count := map[int]int{}
		for range 50 {
			wg.Go(func() {
				a := h.do(h.ours.all, "POST", "/v1/messages", with{"user_ref": "jdupont"}.of(f.invoice()))
				mu.Lock()
				defer mu.Unlock()
				count[a.Code]++
			})
		}
		wg.Wait()
		if count[http.StatusAccepted] != 1 || count[http.StatusConflict] != 49 {
			h.Errorf("%v", count)
		}
	})
}
