package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// bill is the mail of a draft about the i-th document.
func (f furniture) bill(i int) object {
	return with{
		"document": object{"type": "invoice", "number": fmt.Sprintf("2026/%d", i), "date": "2026-11-23"}, "external_id": fmt.Sprintf("mail-%d", i),
	}.of(f.invoice())
}

func (f furniture) bills(from, n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = f.bill(from + i)
	}
	return list
}

func (a answered) read(h *house, v any) {
	h.Helper()
	if err := json.Unmarshal(a.Body.Bytes(), v); err != nil {
		h.Fatalf("%v: %.600s", err, a.Body)
	}
}

func (h *house) countsOf(job string) api.SendJob {
	h.Helper()
	var j api.SendJob
	h.must(http.StatusOK, h.ours.all, "GET", "/v1/send-jobs/"+job, nil).read(h, &j)
	return j
}

// A draft takes what does not compose, says so when it is released, and nothing changes then; mended, it goes whole.
func TestDraft(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		create := func(key string, body object) answered {
			h.Helper()
			return h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/send-jobs", with{"draft": true, "company_ref": "C001"}.of(body), "Idempotency-Key", key)
		}
		made := create("k1", object{"messages": f.bills(0, 2), "name": "November"})
		job := made.text("id")
		path := "/v1/send-jobs/" + job
		if again := create("k1", object{"messages": f.bills(0, 2), "name": "November"}); again.text("id") != job {
			h.Errorf("made again: %s", again.Body)
		}
		if made.text("status") != "draft" {
			h.Errorf("%s", made.Body)
		}
		file := base64.StdEncoding.EncodeToString([]byte("%PDF-1.7\n"))
		faulty := f.bill(2)
		faulty["to"] = []any{object{"address": "nobody"}}
		faulty["attachments"] = []any{object{"filename": "2.pdf", "kind": "invoice_pdf", "content": file}}
		twice := f.bill(1)
		page := object{"messages": []any{faulty, twice, f.bill(3)}}
		var appended api.AppendedMessages
		for range 2 {
			h.must(http.StatusCreated, h.ours.all, "POST", path+"/messages", page, "Idempotency-Key", "k2").read(h, &appended)
		}
		if appended.Total != 5 || len(appended.Messages) != 3 || appended.Messages[0].ID >= appended.Messages[1].ID {
			h.Fatalf("%+v", appended)
		}
		var listed api.List[api.Message]
		h.must(http.StatusOK, h.ours.all, "GET", path+"/messages?status=draft", nil).read(h, &listed)
		if len(listed.Items) != 5 || listed.Items[0].Status != "draft" || listed.Items[4].Subject == "" || listed.Items[4].ExternalID != "mail-0" {
			h.Errorf("%+v", listed)
		}
		bad, double := path+"/messages/"+appended.Messages[0].ID, path+"/messages/"+appended.Messages[1].ID
		var kept api.DraftMessage
		h.must(http.StatusOK, h.ours.all, "GET", bad, nil).read(h, &kept)
		if len(kept.Attachments) != 1 || kept.Attachments[0].ID == "" || len(kept.Attachments[0].Content) > 0 {
			h.Errorf("%+v", kept.Attachments)
		}
		refused := h.must(http.StatusUnprocessableEntity, h.ours.all, "POST", path+"/release", nil)
		if !strings.Contains(refused.Body.String(), "/messages/"+appended.Messages[0].ID+"/to/0/address") {
			h.Errorf("%s", refused.Body)
		}
		if j := h.countsOf(job); j.State != "draft" || j.Counts.Draft != 5 || j.Total != 5 {
			h.Errorf("%+v", j)
		}
		if got := h.stored()["/v1/messages"]; got != 0 {
			h.Errorf("%d messages", got)
		}
		kept.To[0].Address = "client@zoe.example"
		h.must(http.StatusOK, h.ours.all, "PUT", bad, kept.Mail)
		refused = h.must(http.StatusUnprocessableEntity, h.ours.all, "POST", path+"/release", nil)
		if !strings.Contains(refused.Body.String(), mail.CodeDocumentTwice) {
			h.Errorf("%s", refused.Body)
		}
		h.must(http.StatusNotFound, h.theirs.all, "DELETE", double, nil)
		h.must(http.StatusNotFound, h.theirs.all, "GET", double, nil)
		h.must(http.StatusNotFound, h.theirs.all, "PUT", double, kept.Mail)
		h.must(http.StatusNotFound, h.theirs.all, "POST", path+"/messages", page)
		for _, action := range []string{"release", "pause", "resume", "retry-failed", "cancel"} {
			h.must(http.StatusNotFound, h.theirs.all, "POST", path+"/"+action, nil)
		}
		h.must(http.StatusNoContent, h.ours.all, "DELETE", double, nil)
		first := h.must(http.StatusOK, h.ours.all, "POST", path+"/release", nil, "Idempotency-Key", "k3")
		if again := h.must(http.StatusOK, h.ours.all, "POST", path+"/release", nil, "Idempotency-Key", "k3"); again.Body.String() != first.Body.String() {
			h.Errorf("replayed %s\nwas %s", again.Body, first.Body)
		}
		j := h.countsOf(job)
		if j.State != "released" || j.Counts.Queued != 4 || j.Total != 4 || j.Sender.Reason != "company_default" {
			h.Errorf("%+v", j)
		}
		h.must(http.StatusOK, h.ours.all, "POST", path+"/release", nil)
		var m api.Message
		h.must(http.StatusOK, h.ours.all, "GET", "/v1/messages/"+appended.Messages[0].ID, nil).read(h, &m)
		if m.Sender.Reason != "company_default" || m.JobID != job {
			h.Errorf("%+v", m)
		}
		// A document that went out is not released again.
		again := create("k4", object{"messages": f.bills(3, 1)}).text("id")
		if a := h.must(http.StatusConflict, h.ours.all, "POST", "/v1/send-jobs/"+again+"/release", nil); a.text("code") != codeDuplicateDocument {
			h.Errorf("%s", a.Body)
		}
	})
}

// Fifty programs ask for the same draft at once, and one is made.
func TestOneDraftForOneKey(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				a := h.do(h.ours.all, "POST", "/v1/send-jobs", object{"draft": true, "company_ref": "C001", "messages": f.bills(0, 3)}, "Idempotency-Key", "one")
				if a.Code != http.StatusAccepted && a.Code != http.StatusConflict {
					h.Errorf("%d %s", a.Code, a.Body)
				}
			})
		}
		wg.Wait()
		if got := h.stored()["/v1/send-jobs"]; got != 1 {
			h.Errorf("%d jobs", got)
		}
	})
}

// Appending, changing and removing race with the release: what was answered with success before it is in it, and nothing is half.
func TestDraftRaces(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		for round := range 5 {
			base := round * 1000
			made := h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/send-jobs", object{"draft": true, "company_ref": "C001", "messages": f.bills(base, 20)})
			job := made.text("id")
			path := "/v1/send-jobs/" + job
			var accepted api.AcceptedSendJob
			made.read(h, &accepted)
			var mu sync.Mutex
			total := 20
			count := func(a answered, success, n int) {
				mu.Lock()
				defer mu.Unlock()
				switch a.Code {
				case success:
					total += n
				case http.StatusConflict:
				default:
					h.Errorf("%d %s", a.Code, a.Body)
				}
			}
			var wg sync.WaitGroup
			for i := range 6 {
				wg.Go(func() {
					count(h.do(h.ours.all, "POST", path+"/messages", object{"messages": f.bills(base+100+10*i, 5)}), http.StatusCreated, 5)
				})
				wg.Go(func() {
					count(h.do(h.ours.all, "DELETE", path+"/messages/"+accepted.Messages[i].ID, nil), http.StatusNoContent, -1)
				})
				wg.Go(func() {
					count(h.do(h.ours.all, "PUT", path+"/messages/"+accepted.Messages[10+i].ID, f.bill(base+500+i)), http.StatusOK, 0)
				})
			}
			wg.Go(func() { h.must(http.StatusOK, h.ours.all, "POST", path+"/release", nil) })
			wg.Wait()
			if j := h.countsOf(job); j.State != "released" || j.Total != total || j.Counts.Queued != total {
				h.Errorf("%d in all, want %d: %+v", j.Total, total, j.Counts)
			}
		}
	})
}

// A job has 50,000 messages and no more.
func TestDraftIsBounded(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		job := h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/send-jobs", object{"draft": true, "company_ref": "C001"}).text("id")
		ctx := context.Background()
		err := h.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
			j, err := h.store.LockJob(ctx, tx, h.ours.id, job)
			if err != nil {
				return err
			}
			j.Total = 49_999
			return h.store.SaveJob(ctx, tx, j)
		})
		if err != nil {
			h.Fatal(err)
		}
		path := "/v1/send-jobs/" + job + "/messages"
		a := h.must(http.StatusUnprocessableEntity, h.ours.all, "POST", path, object{"messages": f.bills(0, 2)})
		if !strings.Contains(a.Body.String(), codeJobTooLarge) {
			h.Errorf("%s", a.Body)
		}
		h.must(http.StatusCreated, h.ours.all, "POST", path, object{"messages": f.bills(0, 1)})
	})
}
