package server

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/winprest/facteur/internal/store"
)

// scopes is who may do what. A route that is not here fails the test.
var scopes = map[string]store.Scope{
	"GET /healthz": "", "GET /readyz": "",

	"POST /v1/sender-profiles": store.ScopeManage, "GET /v1/sender-profiles": store.ScopeRead, "GET /v1/sender-profiles/:id": store.ScopeRead,
	"PATCH /v1/sender-profiles/:id": store.ScopeManage, "DELETE /v1/sender-profiles/:id": store.ScopeManage,
	"POST /v1/sender-profiles/:id/check": store.ScopeManage, "POST /v1/sender-profiles/:id/test-message": store.ScopeSend,

	"POST /v1/sender-profiles/:id/authorization": store.ScopeManage, "GET /v1/sender-profiles/:id/authorization": store.ScopeRead,
	"DELETE /v1/sender-profiles/:id/authorization": store.ScopeManage,
	"GET /v1/gmail-clients":                        store.ScopeRead, "PUT /v1/gmail-clients/:name": store.ScopeManage, "DELETE /v1/gmail-clients/:name": store.ScopeManage,
	"GET /v1/gmail-client-report": store.ScopeOperator, "GET /v1/gmail-client-report/profiles": store.ScopeOperator,
	"GET /oauth/google/start": "", "POST /oauth/google/start": "", "GET /oauth/google/callback": "",

	"POST /v1/templates": store.ScopeManage, "GET /v1/templates": store.ScopeRead, "GET /v1/templates/:id": store.ScopeRead,
	"PATCH /v1/templates/:id": store.ScopeManage, "DELETE /v1/templates/:id": store.ScopeManage,
	"PUT /v1/templates/:id/translations/:language": store.ScopeManage, "DELETE /v1/templates/:id/translations/:language": store.ScopeManage,
	"POST /v1/templates/:id/preview": store.ScopeRead, "GET /v1/template-tokens": store.ScopeRead,

	"POST /v1/attachments": store.ScopeSend, "GET /v1/attachments/:id": store.ScopeRead, "GET /v1/attachments/:id/content": store.ScopeRead,

	"POST /v1/messages": store.ScopeSend, "GET /v1/messages": store.ScopeRead, "GET /v1/messages/:id": store.ScopeRead,
	"GET /v1/messages/:id/attempts": store.ScopeRead, "GET /v1/messages/:id/raw": store.ScopeRead, "POST /v1/messages/:id/retry": store.ScopeSend,
	"POST /v1/messages/:id/cancel": store.ScopeSend, "POST /v1/messages/:id/resolve": store.ScopeSend,

	"POST /v1/send-jobs": store.ScopeSend, "POST /v1/send-jobs/check": store.ScopeSend, "POST /v1/send-jobs/:id/check": store.ScopeSend, "GET /v1/send-jobs": store.ScopeRead, "GET /v1/send-jobs/:id": store.ScopeRead,
	"GET /v1/send-jobs/:id/events": store.ScopeRead, "GET /v1/send-jobs/:id/report": store.ScopeRead,
	"GET /v1/send-jobs/:id/messages": store.ScopeRead, "POST /v1/send-jobs/:id/cancel": store.ScopeSend,
	"POST /v1/send-jobs/:id/resolve": store.ScopeSend, "GET /v1/messages/:id/proof": store.ScopeRead, "DELETE /v1/messages/:id/content": store.ScopeManage,
	"GET /v1/sender-profiles/:id/health": store.ScopeRead,
	"POST /v1/send-jobs/:id/messages":    store.ScopeSend, "GET /v1/send-jobs/:id/messages/:message": store.ScopeRead,
	"PUT /v1/send-jobs/:id/messages/:message": store.ScopeSend, "DELETE /v1/send-jobs/:id/messages/:message": store.ScopeSend,
	"POST /v1/send-jobs/:id/release": store.ScopeSend, "POST /v1/send-jobs/:id/pause": store.ScopeSend,
	"POST /v1/send-jobs/:id/resume": store.ScopeSend, "POST /v1/send-jobs/:id/retry-failed": store.ScopeSend,

	"POST /v1/webhook-endpoints": store.ScopeManage, "GET /v1/webhook-endpoints": store.ScopeRead, "GET /v1/webhook-endpoints/:id": store.ScopeRead,
	"PATCH /v1/webhook-endpoints/:id": store.ScopeManage, "DELETE /v1/webhook-endpoints/:id": store.ScopeManage,
	"POST /v1/webhook-endpoints/:id/rotate-secret": store.ScopeManage, "POST /v1/webhook-endpoints/:id/test": store.ScopeManage,
	"GET /v1/webhook-endpoints/:id/deliveries": store.ScopeRead, "POST /v1/webhook-endpoints/:id/deliveries/:delivery/replay": store.ScopeManage,
	"POST /v1/webhook-endpoints/:id/replay-failed": store.ScopeManage,
	"GET /v1/notice-settings":                      store.ScopeRead, "PUT /v1/notice-settings": store.ScopeManage, "DELETE /v1/notice-settings": store.ScopeManage,
	"POST /v1/suppressions": store.ScopeManage, "GET /v1/suppressions": store.ScopeRead, "DELETE /v1/suppressions/:id": store.ScopeManage,
	"POST /webhooks/sendgrid": "", // the signature says who it is

	"GET /v1/audit-events": store.ScopeRead,

	"POST /v1/tenants": store.ScopeOperator, "GET /v1/tenants": store.ScopeOperator, "GET /v1/tenants/:id": store.ScopeOperator,
	"POST /v1/tenants/:id/api-keys": store.ScopeOperator, "GET /v1/tenants/:id/api-keys": store.ScopeOperator,
	"DELETE /v1/tenants/:id/api-keys/:key": store.ScopeOperator,

	"POST /v1/sender-profiles/:id/sender-verification": store.ScopeManage, "GET /v1/sender-profiles/:id/sender-verification": store.ScopeRead,
	"GET /v1/add-ons": store.ScopeRead, "GET /v1/usage": store.ScopeRead,
	"GET /v1/tenants/:id/add-ons": store.ScopeOperator, "GET /v1/tenants/:id/add-ons/:name": store.ScopeOperator,
	"PUT /v1/tenants/:id/add-ons/:name": store.ScopeOperator, "DELETE /v1/tenants/:id/add-ons/:name": store.ScopeOperator,
	"GET /v1/tenants/:id/sender-identities": store.ScopeOperator, "PUT /v1/tenants/:id/sender-identities/:identity": store.ScopeOperator,
	"DELETE /v1/tenants/:id/sender-identities/:identity": store.ScopeOperator, "GET /v1/usage-report": store.ScopeOperator,
}

func TestScopes(t *testing.T) {
	h := onSQLite(t)
	keys := map[store.Scope]string{
		store.ScopeSend: h.ours.send, store.ScopeRead: h.ours.read, store.ScopeManage: h.ours.manage, store.ScopeOperator: h.operator,
	}
	path := strings.NewReplacer(":id", "msg_0", ":message", "msg_0", ":key", "key_0", ":language", "fr")
	for _, r := range h.server.routes() {
		name := r.method + " " + r.path
		want, known := scopes[name]
		if !known {
			t.Errorf("%s is not in the table of scopes", name)
			continue
		}
		for scope, key := range keys {
			a := h.do(key, r.method, path.Replace(r.path), `{`)
			allowed := want == "" || scope == want
			if refused := a.Code == http.StatusForbidden; refused == allowed {
				t.Errorf("%s with %s: status %d", name, scope, a.Code)
			}
			if !allowed && a.text("code") != codeForbiddenScope {
				t.Errorf("%s with %s: %s", name, scope, a.Body)
			}
		}
		if want == "" {
			continue
		}
		for _, auth := range []string{"", "Basic abc", "Bearer", "Bearer ", "Bearer fct_nonsense", "Bearer " + h.ours.all + "x", "Bearer \x00", "bearer " + h.ours.all[:len(h.ours.all)-1] + "!"} {
			a := h.do("", r.method, path.Replace(r.path), `{}`, "Authorization", auth)
			if a.Code != http.StatusUnauthorized || a.Header().Get("WWW-Authenticate") == "" || a.text("code") != codeUnauthorized {
				t.Errorf("%s with %q: %d %s", name, auth, a.Code, a.Body)
			}
		}
	}
	if len(scopes) != len(h.server.routes()) {
		t.Errorf("%d routes, %d in the table", len(h.server.routes()), len(scopes))
	}
}

func TestRevokedKey(t *testing.T) {
	h := onSQLite(t)
	made := h.must(http.StatusCreated, h.operator, "POST", "/v1/tenants/"+h.ours.id+"/api-keys", `{"name":"x","scopes":["read"]}`)
	key := made.text("key")
	h.must(http.StatusOK, key, "GET", "/v1/messages", nil)
	h.must(http.StatusNotFound, h.operator, "DELETE", "/v1/tenants/"+h.theirs.id+"/api-keys/"+made.text("id"), nil)
	h.must(http.StatusNoContent, h.operator, "DELETE", "/v1/tenants/"+h.ours.id+"/api-keys/"+made.text("id"), nil)
	h.must(http.StatusUnauthorized, key, "GET", "/v1/messages", nil)
	for _, body := range []string{`{"name":"x","scopes":[]}`, `{"name":"x","scopes":["operator"]}`, `{"name":"x"}`, `{"scopes":["read"]}`, `{"name":" ","scopes":["read"]}`} {
		h.must(http.StatusUnprocessableEntity, h.operator, "POST", "/v1/tenants/"+h.ours.id+"/api-keys", body)
	}
	h.must(http.StatusNotFound, h.operator, "POST", "/v1/tenants/tnt_none/api-keys", `{"name":"x","scopes":["read"]}`)
	if strings.Contains(h.log.String(), key) {
		t.Error("the log holds a key")
	}
}

func TestUnknownPaths(t *testing.T) {
	h := onSQLite(t)
	for _, path := range []string{"/", "/v2/messages", "/v1/messages/", "/v1/messages/x/y", "/favicon.ico"} {
		if a := h.do(h.ours.all, "GET", path, nil); a.Code != http.StatusNotFound || a.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", path, a.Code, a.Body)
		}
	}
	if a := h.do(h.ours.all, "PUT", "/v1/messages", `{}`); a.Code != http.StatusMethodNotAllowed || a.Header().Get("Allow") == "" {
		t.Errorf("PUT: %d, Allow %q", a.Code, a.Header().Get("Allow"))
	}
}

func TestProblemsInTheReadersLanguage(t *testing.T) {
	h := onSQLite(t)
	titles := map[string]bool{}
	for _, lang := range []string{"fr-BE, nl;q=0.5", "nl", "de", "en", "zh"} {
		a := h.must(http.StatusNotFound, h.ours.all, "GET", "/v1/messages/msg_none", nil, "Accept-Language", lang, "X-Request-Id", "my-request")
		titles[a.text("title")] = true
		if a.text("request_id") != "my-request" || a.Header().Get("X-Request-Id") != "my-request" || a.text("detail") == "" {
			t.Errorf("%s: %s", lang, a.Body)
		}
	}
	if len(titles) != 4 {
		t.Errorf("titles: %v", titles)
	}
}

func TestUnexpectedErrorsTellNothing(t *testing.T) {
	h := onSQLite(t)
	for _, name := range []string{"/boom-error", "/boom-panic"} {
		h.server.engine.GET(name, h.server.handle(route{handler: failing(name)}))
		a := h.do("", "GET", name, nil, "X-Request-Id", "req-"+name[1:])
		if a.Code != http.StatusInternalServerError || a.text("code") != codeInternalError || strings.Contains(a.Body.String(), "hunter2") {
			t.Errorf("%s: %d %s", name, a.Code, a.Body)
		}
		if !strings.Contains(h.log.String(), "hunter2") || !strings.Contains(h.log.String(), "req-"+name[1:]) {
			t.Errorf("%s: the cause is not in the log", name)
		}
	}
}

func TestSendOne(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		// A one-off mail leaves with the user's profile, a batch with the company's.
		one := h.must(http.StatusAccepted, h.ours.send, "POST", "/v1/messages", with{"user_ref": "jdupont", "external_id": "x-1", "tags": []string{"a"}}.of(f.invoice()))
		if s := one.doc["sender"].(object); s["profile_id"] != f.user || s["reason"] != "user_default" || one.text("language") != "nl" || one.text("status") != "queued" {
			h.Errorf("accepted: %s", one.Body)
		}
		m := h.must(http.StatusOK, h.ours.read, "GET", one.Header().Get("Location"), nil)
		if m.text("subject") != "Factuur 2026/1" || m.text("language_asked") != "nl-BE" || m.doc["template"].(object)["id"] != f.template || m.text("external_id") != "x-1" {
			h.Errorf("message: %s", m.Body)
		}
		raw := h.must(http.StatusOK, h.ours.read, "GET", one.Header().Get("Location")+"/raw", nil)
		if !strings.Contains(raw.Body.String(), "Subject: Factuur 2026/1\r\n") || raw.Header().Get("Content-Type") != "message/rfc822" {
			h.Errorf("raw: %.300s", raw.Body)
		}
		if l := h.must(http.StatusOK, h.ours.read, "GET", "/v1/messages?external_id=x-1&status=queued", nil); len(l.doc["items"].([]any)) != 1 {
			h.Errorf("list: %s", l.Body)
		}

		// A reminder belongs to the invoice's mail.
		reply := h.must(http.StatusAccepted, h.ours.send, "POST", "/v1/messages", with{
			"user_ref": "jdupont", "in_reply_to": one.text("id"), "document": object{"type": "invoice", "number": "2026/1", "date": "2026-11-23", "reminder_level": 1},
		}.of(f.invoice()))
		raw = h.must(http.StatusOK, h.ours.read, "GET", reply.Header().Get("Location")+"/raw", nil)
		if !strings.Contains(raw.Body.String(), "In-Reply-To: <"+strings.TrimPrefix(one.text("id"), "msg_")+"@firm.example>") {
			h.Errorf("raw: %.600s", raw.Body)
		}

		// Files in the request itself.
		inline := object{"filename": "2026-1.xml", "kind": "ubl", "content": base64.StdEncoding.EncodeToString([]byte("<Invoice/>"))}
		h.must(http.StatusAccepted, h.ours.send, "POST", "/v1/messages", with{"sender_profile_id": f.company, "attachments": []any{inline}}.of(f.invoice()))

		job := h.must(http.StatusAccepted, h.ours.send, "POST", "/v1/send-jobs", object{
			"company_ref": "C001", "language": "fr", "document_type": "invoice", "attachments": []any{inline, object{"id": f.file}},
			"messages": []any{with{"language": nil, "document": object{"number": "7", "date": "2026-11-23"}}.of(f.invoice()), with{"document": object{"number": "8", "date": "2026-11-23"}}.of(f.invoice())},
		})
		messages := job.doc["messages"].([]any)
		if s := job.doc["sender"].(object); s["profile_id"] != f.company || s["reason"] != "company_default" || len(messages) != 2 || messages[0].(object)["language"] != "fr" {
			h.Errorf("job: %s", job.Body)
		}
		j := h.must(http.StatusOK, h.ours.read, "GET", job.Header().Get("Location"), nil)
		if j.doc["counts"].(object)["queued"] != 2.0 || j.doc["finished"] != false || j.doc["total"] != 2.0 {
			h.Errorf("job: %s", j.Body)
		}
		canceled := h.must(http.StatusOK, h.ours.send, "POST", job.Header().Get("Location")+"/cancel", nil)
		if canceled.doc["canceled"] != 2.0 || canceled.doc["job"].(object)["finished"] != true {
			h.Errorf("cancel: %s", canceled.Body)
		}
		// Cancelling again is no error; the others have rules.
		path := one.Header().Get("Location")
		for range 2 {
			if a := h.must(http.StatusOK, h.ours.send, "POST", path+"/cancel", nil); a.text("status") != "canceled" {
				h.Errorf("cancel: %s", a.Body)
			}
		}
		for action, want := range map[string]string{"retry": codeNotFailed, "resolve": codeNotUncertain} {
			if a := h.must(http.StatusConflict, h.ours.send, "POST", path+"/"+action, `{"as":"sent"}`); a.text("code") != want {
				h.Errorf("%s: %s", action, a.Body)
			}
		}
	})
}

func TestNoOtherSender(t *testing.T) {
	h := onSQLite(t)
	f := h.furnish(h.ours.all)
	for _, tc := range []struct {
		path string
		ask  with
		want string
	}{
		{"/v1/messages", with{}, "/user_ref " + codeSenderMissing},
		{"/v1/messages", with{"company_ref": "C001"}, "/user_ref " + codeSenderMissing},
		{"/v1/messages", with{"user_ref": "nobody"}, "/user_ref " + codeSenderNotFound},
		{"/v1/messages", with{"user_ref": "C001"}, "/user_ref " + codeSenderNotFound},
		{"/v1/messages", with{"sender_profile_id": "prf_none", "user_ref": "jdupont"}, "/sender_profile_id " + codeSenderNotFound},
		{"/v1/send-jobs", with{"user_ref": "jdupont"}, "/company_ref " + codeSenderMissing},
		{"/v1/send-jobs", with{"company_ref": "C002"}, "/company_ref " + codeSenderNotFound},
		{"/v1/send-jobs", with{"purpose": "one_off", "company_ref": "C001"}, "/user_ref " + codeSenderMissing},
	} {
		body := tc.ask.of(f.invoice())
		if tc.path == "/v1/send-jobs" {
			body = tc.ask.of(object{"messages": []any{f.invoice()}})
		}
		if a := h.must(http.StatusUnprocessableEntity, h.ours.all, "POST", tc.path, body); !slices.Equal(a.errors(), []string{tc.want}) {
			t.Errorf("%s %v: %v, want %s", tc.path, tc.ask, a.errors(), tc.want)
		}
	}
	if n := h.stored()["/v1/messages"]; n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

func TestIdempotencyRace(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		body := with{"user_ref": "jdupont"}.of(f.invoice())
		var mu sync.Mutex
		ids, statuses := map[string]int{}, map[int]int{}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				a := h.do(h.ours.all, "POST", "/v1/messages", body, "Idempotency-Key", "race")
				mu.Lock()
				defer mu.Unlock()
				statuses[a.Code]++
				if a.Code == http.StatusAccepted {
					ids[a.text("id")]++
				} else if a.text("code") != codeKeyInFlight || a.Header().Get("Retry-After") == "" {
					h.Errorf("%d %s", a.Code, a.Body)
				}
			})
		}
		wg.Wait()
		if len(ids) != 1 || h.stored()["/v1/messages"] != 1 {
			h.Errorf("%d ids, %d stored", len(ids), h.stored()["/v1/messages"])
		}
		// The same key in two processes: the second knows nothing of the first's requests in flight.
		other := New(Config{Store: h.store, Outbox: h.server.outbox, Transports: h.server.transports, Logger: h.server.log})
		first, id := h.server, ""
		body = with{"allow_duplicate": object{"reason": "a test"}}.of(body)
		for i, s := range []*Server{first, other, first} {
			h.server = s
			a := h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/messages", body, "Idempotency-Key", "two processes")
			if id == "" {
				id = a.text("id")
			}
			if replayed := a.Header().Get("Idempotent-Replayed") == "true"; a.text("id") != id || replayed != (i > 0) || a.Header().Get("Location") != "/v1/messages/"+id {
				h.Errorf("%d: %s %v", i, a.Body, a.Header())
			}
		}
	})
}

func TestIdempotencyKeys(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		message := with{"user_ref": "jdupont"}.of(f.invoice())
		profile := `{"level":"user","owner_ref":"x","from":{"address":"x@firm.example"},"transport":"smtp","smtp":{"host":"h.example","username":"u","password":"%s"}}`
		for _, tc := range []struct {
			key, path  string
			body, same any
			other      any
			status     int
		}{
			{h.ours.all, "/v1/messages", message, message, with{"subject": "other", "text": "x"}.of(message), http.StatusAccepted},
			{h.ours.all, "/v1/send-jobs", object{"company_ref": "C001", "messages": []any{f.invoice()}}, object{"company_ref": "C001", "messages": []any{f.invoice()}},
				object{"company_ref": "C001", "messages": []any{f.invoice(), f.invoice()}}, http.StatusAccepted},
			{h.ours.all, "/v1/templates", `{"document_type":"quote","translations":{"fr":{"subject":"a","text":"b"}}}`,
				` { "translations" : {"fr":{"text":"b","subject":"a"}}, "document_type":"quote"}`, `{"document_type":"letter","translations":{"fr":{"subject":"a","text":"b"}}}`, http.StatusCreated},
			{h.ours.all, "/v1/sender-profiles", fmt.Sprintf(profile, "one"), fmt.Sprintf(profile, "one"), fmt.Sprintf(profile, "two"), http.StatusCreated},
			{h.ours.all, "/v1/attachments?filename=x.txt", "abc", "abc", "abd", http.StatusCreated},
			{h.ours.all, "/v1/sender-profiles/" + f.user + "/test-message", `{"to":{"address":"a@b.example"}}`, `{"to":{"address":"a@b.example"}}`, `{"to":{"address":"c@b.example"}}`, http.StatusAccepted},
			{h.operator, "/v1/tenants", `{"name":"x"}`, `{"name":"x"}`, `{"name":"y"}`, http.StatusCreated},
		} {
			key := "key of " + tc.path
			headers := []string{"Idempotency-Key", key}
			first := h.must(tc.status, tc.key, "POST", tc.path, tc.body, headers...)
			again := h.must(tc.status, tc.key, "POST", tc.path, tc.same, headers...)
			if first.Body.String() != again.Body.String() || first.Header().Get("Location") != again.Header().Get("Location") || first.Header().Get("ETag") != again.Header().Get("ETag") {
				h.Errorf("%s: %s\n%s", tc.path, first.Body, again.Body)
			}
			if first.Header().Get("Idempotent-Replayed") != "" || again.Header().Get("Idempotent-Replayed") != "true" {
				h.Errorf("%s: Idempotent-Replayed", tc.path)
			}
			if a := h.must(http.StatusUnprocessableEntity, tc.key, "POST", tc.path, tc.other, headers...); a.text("code") != codeKeyReused {
				h.Errorf("%s: %s", tc.path, a.Body)
			}
		}
		// A key is a tenant's own; a refused request leaves none.
		if a := h.do(h.theirs.all, "POST", "/v1/attachments?filename=x.txt", "zzz", "Idempotency-Key", "key of /v1/attachments?filename=x.txt"); a.Code != http.StatusCreated {
			h.Errorf("another tenant's key: %s", a.Body)
		}
		h.must(http.StatusUnprocessableEntity, h.ours.all, "POST", "/v1/messages", `{}`, "Idempotency-Key", "mended")
		h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/messages", with{"allow_duplicate": object{"reason": "a test"}}.of(message), "Idempotency-Key", "mended")
		for _, key := range []string{"", "é", "a\x7f", strings.Repeat("k", 256)} {
			if a := h.do(h.ours.all, "POST", "/v1/messages", message, "Idempotency-Key", key); a.Code != http.StatusBadRequest || a.text("code") != codeKeyInvalid {
				h.Errorf("key %.20q: %d", key, a.Code)
			}
		}
	})
}

func TestPaging(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		for range 7 {
			h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/messages", with{"user_ref": "jdupont", "allow_duplicate": object{"reason": "a test"}}.of(f.invoice()))
		}
		var ids []string
		cursor, pages := "", 0
		for {
			a := h.must(http.StatusOK, h.ours.all, "GET", "/v1/messages?limit=3&cursor="+cursor, nil)
			for _, item := range a.doc["items"].([]any) {
				ids = append(ids, item.(object)["id"].(string))
			}
			pages++
			if cursor = a.text("next_cursor"); cursor == "" {
				break
			}
		}
		if pages != 3 || len(ids) != 7 || !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(b, a) }) {
			h.Errorf("%d pages: %v", pages, ids)
		}
		for query, want := range map[string]string{
			"cursor=nonsense": "?cursor cursor_invalid", "limit=0": "?limit number_range", "limit=201": "?limit number_range", "limit=x": "?limit number_range",
			"status=gone": "?status value_unknown", "created_after=today": "?created_after time_invalid", "stauts=sent": "?stauts field_unknown",
			"job_id=a%00b": "?job_id parameter_invalid", "external_id=%ff": "?external_id parameter_invalid", "status=sent&status=failed": "?status parameter_invalid",
			"%zz": "? parameter_invalid",
		} {
			if a := h.must(http.StatusUnprocessableEntity, h.ours.all, "GET", "/v1/messages?"+query, nil); !slices.Equal(a.errors(), []string{want}) {
				h.Errorf("%s: %v, want %s", query, a.errors(), want)
			}
		}
	})
}

func TestETags(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		for path, patch := range map[string]string{"/v1/sender-profiles/" + f.user: `{"name":"new"}`, "/v1/templates/" + f.template: `{"name":"new"}`} {
			a := h.must(http.StatusOK, h.ours.all, "GET", path, nil)
			if a.Header().Get("ETag") != `"1"` {
				h.Fatalf("%s: ETag %s", path, a.Header().Get("ETag"))
			}
			if n := h.must(http.StatusNotModified, h.ours.all, "GET", path, nil, "If-None-Match", `W/"1", "7"`); n.Body.Len() > 0 {
				h.Errorf("%s: 304 has a body", path)
			}
			for _, stale := range []string{`"2"`, `W/"1"`, `1`, `""`} {
				if a := h.must(http.StatusPreconditionFailed, h.ours.all, "PATCH", path, patch, "If-Match", stale); a.text("code") != codeVersionMismatch {
					h.Errorf("%s: %s", path, a.Body)
				}
				h.must(http.StatusPreconditionFailed, h.ours.all, "DELETE", path, nil, "If-Match", stale)
			}
			if a := h.must(http.StatusOK, h.ours.all, "PATCH", path, patch, "If-Match", `"1"`); a.Header().Get("ETag") != `"2"` || a.text("name") != "new" {
				h.Errorf("%s: %s", path, a.Body)
			}
			h.must(http.StatusOK, h.ours.all, "PATCH", path, patch, "If-Match", `*`)
			h.must(http.StatusOK, h.ours.all, "PATCH", path, patch)
			// Edits without If-Match at the same time all take effect, one after the other.
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() { h.do(h.ours.all, "PATCH", path, patch) })
			}
			wg.Wait()
		}
	})
}

func TestProfileSecretsNeverComeOut(t *testing.T) {
	h := onSQLite(t)
	f := h.furnish(h.ours.all)
	path := "/v1/sender-profiles/" + f.user
	smtp := func(a answered) object { return a.doc["smtp"].(object) }
	if s := smtp(h.must(http.StatusOK, h.ours.read, "GET", path, nil)); s["password_set"] != true || s["port"] != 587.0 || s["auth"] != "auto" {
		t.Errorf("smtp: %v", s)
	}
	if s := smtp(h.must(http.StatusOK, h.ours.all, "PATCH", path, `{"smtp":{"port":2525}}`)); s["password_set"] != true || s["port"] != 2525.0 {
		t.Errorf("the password must stay: %v", s)
	}
	// A password goes to the server that it was typed for, and to no other.
	a := h.must(http.StatusUnprocessableEntity, h.ours.all, "PATCH", path, `{"smtp":{"host":"evil.example"}}`)
	if !slices.Equal(a.errors(), []string{"/smtp/password field_required"}) {
		t.Errorf("%v", a.errors())
	}
	h.must(http.StatusUnprocessableEntity, h.ours.all, "PATCH", path, `{"smtp":{"password":null}}`)
	h.must(http.StatusOK, h.ours.all, "PATCH", path, `{"smtp":{"password":null,"username":null,"auth":"none"},"signatures":{"fr":{"text":"x"}}}`)
	if a := h.must(http.StatusOK, h.ours.all, "PATCH", path, `{"signatures":{"fr":null}}`); len(a.doc["signatures"].(object)) != 0 {
		t.Errorf("%s", a.Body)
	}
	if strings.Contains(h.log.String(), "s3cret-pass") {
		t.Error("the log holds a password")
	}
}

// failing is a handler that meets what nobody expected.
func failing(how string) func(*gin.Context) error {
	return func(*gin.Context) error {
		if strings.HasSuffix(how, "panic") {
			panic("hunter2")
		}
		return errors.New("dial postgres://user:hunter2@db")
	}
}

func TestHeadAndEscapedPaths(t *testing.T) {
	h := onSQLite(t)
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"HEAD", "/healthz", 200},
		{"HEAD", "/v1/messages", 200},
		{"HEAD", "/v1/messages/msg_0", 404},
		{"HEAD", "/v1/messages/msg_0/cancel", 405},
		{"GET", "/v1%2Fmessages", 404},
		{"GET", "/v1/messages/..%2ftemplates", 404},
		{"GET", "/v1/messages/..%2f..%2fhealthz", 404},
	} {
		if a := h.do(h.ours.all, tt.method, tt.path, nil); a.Code != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, a.Code, tt.want)
		}
	}
}
