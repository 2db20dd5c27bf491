package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/server/docs"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// TestContract makes every documented call to the real handler on a real database, and holds every answer to openapi.yaml.
// A documented call that it does not make, or a documented success that never comes, fails it.
func TestContract(t *testing.T) {
	w := newContractWorld(t)
	w.tenants()
	w.attachments()
	w.profiles()
	w.gmail()
	w.addOns()
	w.templates()
	w.messagesAtRest()
	w.jobs()
	w.messagesOnTheirWay()
	w.webhooks()
	w.suppressions()
	w.events()
	w.refusals()
	for _, missing := range w.contract.Unseen() {
		t.Errorf("%s is documented and was never answered", missing)
	}
}

// The document has exactly the routes of the handler.
func TestContractHasEveryRoute(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(docs.Document(), &doc); err != nil {
		t.Fatal(err)
	}
	var documented, routed []string
	for path, item := range doc.Paths {
		for method := range item {
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	parameter := regexp.MustCompile(`:([a-z_]+)`)
	for _, r := range new(Server).routes() {
		routed = append(routed, r.method+" "+parameter.ReplaceAllString(r.path, "{$1}"))
	}
	slices.Sort(documented)
	slices.Sort(routed)
	if !slices.Equal(documented, routed) {
		t.Errorf("documented:\n%s\nrouted:\n%s", strings.Join(documented, "\n"), strings.Join(routed, "\n"))
	}
}

// The problems that the document shows as examples say what the service says.
func TestContractExamplesAreTexts(t *testing.T) {
	var doc any
	if err := json.Unmarshal(docs.Document(), &doc); err != nil {
		t.Fatal(err)
	}
	seen := 0
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, sub := range v {
				visit(sub)
			}
		case map[string]any:
			code, _ := v["code"].(string)
			title, _ := v["title"].(string)
			detail, _ := v["detail"].(string)
			if code != "" && title != "" && detail != "" {
				seen++
				params := map[string]string{"scope": "manage", "limit": "8 MiB", "expected": "application/json"}
				if wantTitle, wantDetail := texts.Lookup("en", code, params); title != wantTitle || detail != wantDetail {
					t.Errorf("the example of %s says\n%s: %s\nwant\n%s: %s", code, title, detail, wantTitle, wantDetail)
				}
			}
			for _, sub := range v {
				visit(sub)
			}
		}
	}
	visit(doc)
	if seen < 5 {
		t.Errorf("found only %d examples of problems", seen)
	}
}

func (w *contractWorld) tenants() {
	named := contractCall{key: w.operator, method: "POST", path: "/v1/tenants", body: object{"name": "Zoë SRL"}, header: http.Header{"Idempotency-Key": {"t1"}}}
	tenant := w.do(201, named).text(w, "id")
	w.do(200, contractCall{key: w.operator, method: "GET", path: "/v1/tenants"})
	w.do(200, contractCall{key: w.operator, method: "GET", path: "/v1/tenants/" + tenant})

	keys := "/v1/tenants/" + tenant + "/api-keys"
	key := func(scopes ...string) (id, secret string) {
		a := w.do(201, contractCall{key: w.operator, method: "POST", path: keys, body: object{"name": "key", "scopes": scopes}})
		return a.text(w, "id"), a.text(w, "key")
	}
	w.tenantID = tenant
	_, w.full = key("send", "read", "manage")
	_, w.readOnly = key("read")
	spare, _ := key("read")
	w.do(200, contractCall{key: w.operator, method: "GET", path: keys})
	w.do(204, contractCall{key: w.operator, method: "DELETE", path: keys + "/" + spare})
	w.do(200, contractCall{key: w.operator, method: "GET", path: keys})
}

func (w *contractWorld) attachments() {
	upload := contractCall{
		key: w.full, method: "POST", path: "/v1/attachments?filename=2026-0042.pdf&kind=invoice_pdf", body: "%PDF-1.7\n",
		header: http.Header{"Content-Type": {"application/pdf"}, "Idempotency-Key": {"a1"}},
	}
	first := w.do(201, upload)
	if again := w.do(201, upload); again.header.Get("Idempotent-Replayed") != "true" || !bytes.Equal(again.body, first.body) {
		w.Errorf("the repeated upload: %v %s", again.header, again.body)
	}
	w.attachment = first.text(w, "id")

	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	if err := m.WriteField("kind", "ubl"); err != nil {
		w.Fatal(err)
	}
	part, err := m.CreateFormFile("file", "2026-0042.xml")
	if err != nil {
		w.Fatal(err)
	}
	if _, err := io.WriteString(part, "<Invoice/>"); err != nil {
		w.Fatal(err)
	}
	if err := m.Close(); err != nil {
		w.Fatal(err)
	}
	w.do(201, contractCall{
		key: w.full, method: "POST", path: "/v1/attachments", body: form.Bytes(), header: http.Header{"Content-Type": {m.FormDataContentType()}},
	})

	w.get("/v1/attachments/" + w.attachment)
	content := w.get("/v1/attachments/" + w.attachment + "/content")
	w.do(304, contractCall{
		key: w.full, method: "GET", path: "/v1/attachments/" + w.attachment + "/content",
		header: http.Header{"If-None-Match": {content.header.Get("ETag")}},
	})
}

func (w *contractWorld) profiles() {
	profile := func(level, owner string) contractAnswer {
		return w.post(201, "/v1/sender-profiles", object{
			"level": level, "owner_ref": owner, "default": true, "transport": "smtp",
			"from":        object{"name": "Zoë SRL", "address": "invoices@zoe.example"},
			"reply_to":    []any{object{"address": "office@zoe.example"}},
			"signatures":  object{"fr": object{"text": "Zoë SRL"}},
			"attachments": []any{object{"attachment_id": w.attachment, "languages": []string{"nl"}}},
			"smtp":        object{"host": "smtp.zoe.example", "username": "invoices", "password": "correct horse"},
		})
	}
	made := profile("user", "jdupont")
	w.user = made.text(w, "id")
	w.company = profile("company", "C001").text(w, "id")
	broken := profile("user", "broken").text(w, "id")

	list := w.get("/v1/sender-profiles?limit=1&level=user")
	w.get("/v1/sender-profiles?limit=1&level=user&cursor=" + list.text(w, "next_cursor"))
	one := "/v1/sender-profiles/" + w.user
	tag := w.get(one).header.Get("ETag")
	w.do(304, contractCall{key: w.full, method: "GET", path: one, header: http.Header{"If-None-Match": {tag}}})
	patched := w.do(200, contractCall{
		key: w.full, method: "PATCH", path: one, header: http.Header{"If-Match": {tag}},
		body: object{"name": "Jean", "reply_to": nil, "signatures": object{"fr": nil, "nl": object{"html": "<p>Zoë</p>"}}, "smtp": object{"port": nil, "password": "new horse"}},
	})
	if bytes.Contains(patched.body, []byte("horse")) {
		w.Errorf("a password is shown: %s", patched.body)
	}
	w.refuse(412, "version_mismatch", contractCall{key: w.full, method: "PATCH", path: one, header: http.Header{"If-Match": {tag}}, body: object{"name": "Jan"}})
	w.labelled("name", w.post(200, one+"/check", nil), "steps")
	for _, host := range []string{"imap.zoe.example", "refuses.zoe.example"} {
		w.do(200, contractCall{key: w.full, method: "PATCH", path: one, body: object{
			"bounce_mailbox": object{"host": host, "username": "invoices", "password": "horse", "verp": true},
		}})
		w.post(200, one+"/check", nil)
	}
	w.get(one)
	w.do(200, contractCall{key: w.full, method: "PATCH", path: one, body: object{"bounce_mailbox": nil}})
	w.get(one + "/health")
	resends := w.do(200, contractCall{key: w.full, method: "PATCH", path: one, body: object{"on_uncertain": "resend"}})
	back := w.do(200, contractCall{key: w.full, method: "PATCH", path: one, body: object{"on_uncertain": nil}})
	if resends.text(w, "on_uncertain") != "resend" || back.text(w, "on_uncertain") != "wait" || made.text(w, "on_uncertain") != "wait" {
		w.Errorf("on_uncertain: %s, then %s", resends.body, back.body)
	}
	w.refuse(422, "value_unknown", contractCall{key: w.full, method: "PATCH", path: one, body: object{"on_uncertain": "guess"}})
	w.post(200, "/v1/sender-profiles/"+broken+"/check", nil)
	w.post(202, one+"/test-message", object{"to": object{"address": "jean@zoe.example"}, "language": "fr"})
	w.do(204, contractCall{key: w.full, method: "DELETE", path: "/v1/sender-profiles/" + broken})
	w.refuse(409, "profile_in_use", contractCall{key: w.full, method: "DELETE", path: one})
	w.refuse(422, "address_invalid", contractCall{key: w.full, method: "POST", path: "/v1/sender-profiles", body: object{
		"level": "user", "owner_ref": "x", "transport": "sandbox", "from": object{"address": "no address"},
	}})
}

func (w *contractWorld) gmail() {
	client := "/v1/gmail-clients/workspace"
	w.do(200, contractCall{key: w.full, method: "PUT", path: client, body: object{"client_id": "own", "client_secret": "own-secret"}})
	w.do(200, contractCall{key: w.full, method: "PUT", path: client, body: object{"client_id": "own", "state": "retired"}})
	w.refuse(422, "field_required", contractCall{key: w.full, method: "PUT", path: client, body: object{"client_id": "other"}})
	w.get("/v1/gmail-clients")
	w.do(204, contractCall{key: w.full, method: "DELETE", path: client})
	made := w.post(201, "/v1/sender-profiles", object{
		"level": "company", "owner_ref": "G001", "transport": "gmail", "from": object{"address": "invoices@zoe.example"},
		"gmail": object{"client": "key-2", "aliases": []string{"zoe@gmail.example"}, "reconcile": true},
	})
	one := "/v1/sender-profiles/" + made.text(w, "id")
	w.do(200, contractCall{key: w.full, method: "PATCH", path: one, body: object{"gmail": object{"client": nil, "aliases": nil, "reconcile": false}}})
	w.get(one + "/authorization")
	w.post(201, one+"/authorization", nil)
	start := w.post(201, one+"/authorization", object{"return_url": "https://app.zoe.example/mail", "language": "nl-BE"}).text(w, "url")
	w.get(one + "/authorization")
	start = strings.TrimPrefix(start, publicURL)
	page := w.do(200, contractCall{method: "GET", path: start})
	cookie, _, _ := strings.Cut(page.header.Get("Set-Cookie"), ";")
	browser := http.Header{"Cookie": {cookie}}
	w.do(400, contractCall{method: "POST", path: start})
	left := w.do(303, contractCall{method: "POST", path: start, header: browser})
	back, err := w.google.Decide(w.Context(), left.header.Get("Location"), transporttest.GoogleDecision{})
	if err != nil {
		w.Fatal(err)
	}
	w.do(200, contractCall{method: "GET", path: back.RequestURI(), header: browser})
	w.do(400, contractCall{method: "GET", path: back.RequestURI(), header: browser})
	if st := w.get(one+"/authorization").text(w, "state"); st != "connected" {
		w.Errorf("state %s", st)
	}
	w.get("/v1/sender-profiles?gmail_client=key-2")
	w.do(200, contractCall{key: w.operator, method: "GET", path: "/v1/gmail-client-report"})
	w.do(200, contractCall{key: w.operator, method: "GET", path: "/v1/gmail-client-report/profiles?client=key-2&limit=1"})
	w.do(204, contractCall{key: w.full, method: "DELETE", path: one + "/authorization"})
	w.get(one + "/authorization")
	w.do(204, contractCall{key: w.full, method: "DELETE", path: one})
	w.refuse(409, "gmail_profile_required", contractCall{key: w.full, method: "POST", path: "/v1/sender-profiles/" + w.user + "/authorization"})
}

func (w *contractWorld) addOns() {
	made := w.do(201, contractCall{key: w.operator, method: "POST", path: "/v1/tenants", body: object{"name": "=Zoë & Cie"}}).text(w, "id")
	tenant := "/v1/tenants/" + made
	manage := w.do(201, contractCall{key: w.operator, method: "POST", path: tenant + "/api-keys", body: object{"name": "key", "scopes": []string{"send", "read", "manage"}}}).text(w, "key")
	own := func(want int, method, path string, body any) contractAnswer {
		w.Helper()
		return w.do(want, contractCall{key: manage, method: method, path: path, body: body})
	}
	operator := func(want int, method, path string, body any) contractAnswer {
		w.Helper()
		return w.do(want, contractCall{key: w.operator, method: method, path: path, body: body})
	}
	profile := object{
		"level": "company", "owner_ref": "S001", "transport": "sendgrid", "from": object{"address": "invoices@cie.example"},
		"sendgrid": object{"careful": true},
	}
	w.refuse(403, "add_on_required", contractCall{key: manage, method: "POST", path: "/v1/sender-profiles", body: profile})
	operator(404, "GET", tenant+"/add-ons/sendgrid", nil)
	w.refuse(422, "until_before_from", contractCall{key: w.operator, method: "PUT", path: tenant + "/add-ons/sendgrid", body: object{"until": "2020-01-01T00:00:00Z"}})
	operator(200, "PUT", tenant+"/add-ons/sendgrid", object{"from": "2026-01-01T00:00:00Z", "until": "2199-01-01T00:00:00Z"})
	operator(200, "GET", tenant+"/add-ons/sendgrid", nil)
	operator(200, "GET", tenant+"/add-ons", nil)
	own(200, "GET", "/v1/add-ons", nil)
	one := "/v1/sender-profiles/" + own(201, "POST", "/v1/sender-profiles", profile).text(w, "id")
	if st := own(200, "GET", one, nil).text(w, "status"); st != "held" {
		w.Errorf("a profile without a verified sender is %s", st)
	}
	verification := one + "/sender-verification"
	own(200, "GET", verification, nil)
	own(200, "POST", one+"/check", nil)
	w.refuse(422, "field_required", contractCall{key: manage, method: "POST", path: verification, body: object{"method": "single_sender"}})
	own(200, "POST", verification, object{"method": "domain"})
	own(200, "GET", verification, nil)
	w.refuse(409, "sendgrid_profile_required", contractCall{key: w.full, method: "POST", path: "/v1/sender-profiles/" + w.user + "/sender-verification", body: object{"method": "domain"}})
	w.refuse(409, "sendgrid_profile_required", contractCall{key: w.full, method: "GET", path: "/v1/sender-profiles/" + w.user + "/sender-verification"})
	operator(200, "PUT", tenant+"/sender-identities/Invoices@cie.example", nil)
	w.refuse(422, "sender_identity_invalid", contractCall{key: w.operator, method: "PUT", path: tenant + "/sender-identities/nothing", body: nil})
	operator(200, "GET", tenant+"/sender-identities", nil)
	if st := own(200, "GET", one, nil).text(w, "status"); st != "ready" {
		w.Errorf("with a granted sender the profile is %s", st)
	}
	operator(204, "DELETE", tenant+"/sender-identities/invoices@cie.example", nil)
	operator(204, "DELETE", tenant+"/add-ons/sendgrid", nil)
	w.refuse(403, "add_on_required", contractCall{key: manage, method: "GET", path: verification})
	w.refuse(403, "add_on_required", contractCall{key: manage, method: "POST", path: verification, body: object{"method": "domain"}})
	own(200, "GET", "/v1/usage", nil)
	own(200, "GET", "/v1/usage?month=2026-10", nil)
	w.refuse(422, "month_invalid", contractCall{key: manage, method: "GET", path: "/v1/usage?month=2026-13"})
	operator(200, "GET", "/v1/usage-report", nil)
	report := operator(200, "GET", "/v1/usage-report?format=csv", nil)
	if !bytes.Contains(report.body, []byte("'=Zoë & Cie")) {
		w.Errorf("a formula is not defused: %s", report.body)
	}
	w.refuse(422, "value_unknown", contractCall{key: w.operator, method: "GET", path: "/v1/usage-report?format=xls"})
}

func (w *contractWorld) templates() {
	made := w.post(201, "/v1/templates", object{
		"name": "Invoices", "document_type": "invoice", "default": true, "default_language": "fr", "tokens": []string{"MONTANT"},
		"translations": object{
			"fr": object{"subject": "Facture NUMFACT", "text": "Bonjour NOMCLIENT, MONTANT", "html": "<p>Bonjour NOMCLIENT, MONTANT</p>"},
			"nl": object{"subject": "Factuur NUMFACT", "text": "Dag NOMCLIENT, MONTANT"},
		},
	})
	w.template = made.text(w, "id")
	one := "/v1/templates/" + w.template
	w.get("/v1/templates?document_type=invoice&limit=5")
	tag := w.get(one).header.Get("ETag")
	w.do(304, contractCall{key: w.full, method: "GET", path: one, header: http.Header{"If-None-Match": {tag}}})
	w.do(200, contractCall{key: w.full, method: "PATCH", path: one, header: http.Header{"If-Match": {tag}}, body: object{"name": "Invoices 2026", "company_ref": nil}})
	w.get(one + "?version=1")
	w.do(200, contractCall{key: w.full, method: "PUT", path: one + "/translations/en", body: object{"subject": "Invoice NUMFACT", "text": "Dear NOMCLIENT, MONTANT"}})
	w.do(200, contractCall{key: w.full, method: "DELETE", path: one + "/translations/en"})
	w.refuse(409, "default_language_kept", contractCall{key: w.full, method: "DELETE", path: one + "/translations/fr"})
	for _, format := range []string{"", "?format=html", "?format=text", "?format=eml"} {
		w.post(200, one+"/preview"+format, object{"language": "fr-BE", "client": object{"name": "Café Zoë"}})
	}
	w.labelled("token", w.get("/v1/template-tokens"), "items")
	spare := w.post(201, "/v1/templates", object{"document_type": "quote", "translations": object{"fr": object{"subject": "Offre", "text": "Voici"}}})
	w.do(204, contractCall{key: w.full, method: "DELETE", path: "/v1/templates/" + spare.text(w, "id")})
	w.refuse(422, "translations_missing", contractCall{key: w.full, method: "POST", path: "/v1/templates", body: object{"document_type": "quote", "translations": object{}}})
}

func (w *contractWorld) invoice(to string) object {
	return object{
		"to": []any{object{"name": "Café Zoë", "address": to + "@zoe.example"}}, "language": "fr-BE",
		"document": object{"type": "invoice", "number": "2026/0042", "date": "2026-11-23"}, "client": object{"ref": "C1", "name": "Café Zoë"},
		"tokens": object{"MONTANT": "1.210,00 €"}, "attachments": []any{object{"id": w.attachment}}, "external_id": to,
		"tags": []string{"november"}, "metadata": object{"dossier": "17"},
	}
}

// messagesAtRest are accepted while nothing is sent.
func (w *contractWorld) messagesAtRest() {
	for _, to := range []string{"good", "refused", "later", "unsure", "stopped"} {
		body := w.invoice(to)
		body["user_ref"] = "jdupont"
		call := contractCall{key: w.full, method: "POST", path: "/v1/messages", body: body, header: http.Header{"Idempotency-Key": {"m-" + to}}}
		first := w.do(202, call)
		if again := w.do(202, call); again.header.Get("Idempotent-Replayed") != "true" || !bytes.Equal(again.body, first.body) {
			w.Errorf("the repeated message: %v %s", again.header, again.body)
		}
		w.ids[to] = first.text(w, "id")
		body["language"] = "nl"
		w.refuse(422, "idempotency_key_reused", call)
	}
	own := w.post(202, "/v1/messages", object{
		"sender_profile_id": w.user, "to": []any{object{"address": "own@zoe.example"}}, "cc": []any{object{"address": "copy@zoe.example"}},
		"subject": "Hello", "html": "<p>Hello</p>", "in_reply_to": w.ids["good"], "headers": []any{object{"name": "X-Dossier", "value": "17"}},
		"attachments": []any{object{"filename": "a.txt", "content": "aGVsbG8="}}, "send_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
	})
	w.get("/v1/messages/" + own.text(w, "id"))
	w.get("/v1/messages/" + own.text(w, "id") + "/raw")
	w.get("/v1/messages?limit=2&status=queued")
	w.get("/v1/messages?external_id=good")
	w.post(200, "/v1/messages/"+w.ids["stopped"]+"/cancel", nil)
	w.refuse(409, "not_failed", contractCall{key: w.full, method: "POST", path: "/v1/messages/" + w.ids["good"] + "/retry"})
	w.refuse(409, "not_uncertain", contractCall{key: w.full, method: "POST", path: "/v1/messages/" + w.ids["good"] + "/resolve", body: object{"as": "sent"}})
	body := w.invoice("unfilled")
	body["user_ref"] = "jdupont"
	delete(body, "tokens")
	w.refuse(422, "token_unfilled", contractCall{key: w.full, method: "POST", path: "/v1/messages", body: body})
}

func (w *contractWorld) jobs() {
	var messages []any
	for i := range 3 {
		messages = append(messages, w.invoice(fmt.Sprintf("job%d", i)))
	}
	job := w.do(202, contractCall{
		key: w.full, method: "POST", path: "/v1/send-jobs", header: http.Header{"Idempotency-Key": {"j1"}},
		body: object{"company_ref": "C001", "name": "Invoices of November", "external_id": "b1", "messages": messages},
	}).text(w, "id")
	w.check(messages)
	w.get("/v1/send-jobs?limit=2")
	w.get("/v1/send-jobs/" + job)
	w.get("/v1/send-jobs/" + job + "/messages?limit=2&status=queued")
	version := w.get("/v1/send-jobs/"+job).text(w, "version")
	w.get("/v1/send-jobs/" + job + "?wait=10ms&since=" + version)
	w.post(200, "/v1/send-jobs/"+job+"/cancel", nil)
	version = w.get("/v1/send-jobs/"+job).text(w, "version")
	if again := w.get("/v1/send-jobs/" + job + "?wait=60s&since=old"); again.text(w, "version") != version {
		w.Errorf("version %s, and waited for: %s", version, again.body)
	}
	events := contractCall{key: w.full, method: "GET", path: "/v1/send-jobs/" + job + "/events"}
	w.do(200, events)
	events.header = http.Header{"Last-Event-ID": {version + "-finished"}}
	w.do(204, events)
	w.get("/v1/send-jobs/" + job + "/report")
	w.get("/v1/send-jobs/" + job + "/report?format=csv")
	w.refuse(422, "number_range", contractCall{key: w.full, method: "GET", path: "/v1/send-jobs/" + job + "?wait=2m"})
	w.drafts()
	w.gates()
}

// drafts are prepared, mended, and released.
func (w *contractWorld) drafts() {
	send := func(want int, method, path string, body any) contractAnswer {
		return w.do(want, contractCall{key: w.full, method: method, path: path, body: body})
	}
	faulty := w.invoice("draft1")
	delete(faulty, "tokens")
	job := w.do(202, contractCall{
		key: w.full, method: "POST", path: "/v1/send-jobs", header: http.Header{"Idempotency-Key": {"d1"}},
		body: object{
			"draft": true, "company_ref": "C001", "canary": 1, "stop_after_failures": 2, "messages": []any{w.invoice("draft0")},
			"window": object{"from": "08:00", "to": "18:00", "holidays": "BE"},
		},
	}).text(w, "id")
	path := "/v1/send-jobs/" + job
	w.refuse(409, "send_job_not_released", contractCall{key: w.full, method: "POST", path: path + "/pause"})
	var appended struct{ Messages []struct{ ID string } }
	w.do(201, contractCall{
		key: w.full, method: "POST", path: path + "/messages", header: http.Header{"Idempotency-Key": {"d2"}},
		body: object{"messages": []any{faulty, w.invoice("draft2")}},
	}).into(w, &appended)
	w.get(path + "/messages?status=draft")
	w.get("/v1/send-jobs?state=draft")
	if a := w.post(200, path+"/check", nil); !bytes.Contains(a.body, []byte(`"messages":3,`)) {
		w.Errorf("the check of a draft: %s", a.body)
	}
	w.refuse(422, "token_unfilled", contractCall{key: w.full, method: "POST", path: path + "/release"})
	message := path + "/messages/" + appended.Messages[0].ID
	send(200, "GET", message, nil)
	send(200, "PUT", message, w.invoice("draft1"))
	send(204, "DELETE", path+"/messages/"+appended.Messages[1].ID, nil)
	send(404, "DELETE", path+"/messages/"+appended.Messages[1].ID, nil)
	w.do(200, contractCall{key: w.full, method: "POST", path: path + "/release", header: http.Header{"Idempotency-Key": {"d3"}}})
	w.refuse(409, "send_job_not_draft", contractCall{key: w.full, method: "DELETE", path: message})
	w.refuse(422, "time_zone_unknown", contractCall{key: w.full, method: "POST", path: "/v1/send-jobs", body: object{
		"draft": true, "company_ref": "C001", "window": object{"from": "08:00", "to": "18:00", "time_zone": "Europe/Bruxelles"},
	}})
	empty := send(202, "POST", "/v1/send-jobs", object{"draft": true, "company_ref": "C001"}).text(w, "id")
	w.post(200, "/v1/send-jobs/"+empty+"/check", nil)
	w.refuse(409, "send_job_not_checkable", contractCall{key: w.full, method: "POST", path: path + "/check"})
	w.refuse(409, "draft_empty", contractCall{key: w.full, method: "POST", path: "/v1/send-jobs/" + empty + "/release"})
	w.post(200, "/v1/send-jobs/"+empty+"/cancel", nil)
	w.refuse(409, "send_job_over", contractCall{key: w.full, method: "POST", path: "/v1/send-jobs/" + empty + "/release"})
}

// gates keep the messages of a job.
func (w *contractWorld) gates() {
	job := w.post(202, "/v1/send-jobs", object{"company_ref": "C001", "release": "manual", "messages": []any{w.invoice("gate0"), w.invoice("gate1")}}).text(w, "id")
	path := "/v1/send-jobs/" + job
	w.get(path + "/messages?status=paused")
	w.post(200, path+"/release", nil)
	w.post(200, path+"/pause", object{"note": "The terms are being corrected."})
	w.get(path)
	w.post(200, path+"/pause", nil)
	w.post(200, path+"/resume", object{})
	w.post(200, path+"/retry-failed", nil)
	w.post(200, path+"/cancel", nil)
}

// check looks at a batch that has gone already, with one mail more.
func (w *contractWorld) check(messages []any) {
	unfilled := w.invoice("unfilled")
	delete(unfilled, "tokens")
	a := w.post(200, "/v1/send-jobs/check", object{"company_ref": "C001", "messages": append(slices.Clone(messages), unfilled)})
	for _, code := range []string{"document_accepted_before", "token_unfilled", "file_not_pdf"} {
		if !bytes.Contains(a.body, []byte(code)) {
			w.Errorf("%s is not found: %s", code, a.body)
		}
	}
	w.post(200, "/v1/send-jobs/check", object{"sender_profile_id": "prf_none", "messages": []any{w.invoice("x")}})
	w.refuse(422, "field_unknown", contractCall{key: w.full, method: "POST", path: "/v1/send-jobs/check", body: object{"messages": []any{object{"recipient": "x"}}}})
}

// messagesOnTheirWay are sent, and end in every state.
func (w *contractWorld) messagesOnTheirWay() {
	if err := w.outbox.Start(w.Context()); err != nil {
		w.Fatal(err)
	}
	for to, status := range map[string]string{"good": "sent", "refused": "failed", "later": "deferred", "unsure": "uncertain", "stopped": "canceled"} {
		w.until("/v1/messages/"+w.ids[to], status)
		w.get("/v1/messages/" + w.ids[to] + "/attempts")
	}
	w.hints("/v1/messages/" + w.ids["unsure"])
	w.get("/v1/messages/" + w.ids["good"] + "/raw")
	w.get("/v1/messages?status=failed")
	for to := range maps.Values(w.ids) {
		w.get("/v1/send-jobs/" + w.get("/v1/messages/"+to).text(w, "job_id") + "/report")
	}
	w.refuse(409, "too_late_to_cancel", contractCall{key: w.full, method: "POST", path: "/v1/messages/" + w.ids["good"] + "/cancel"})
	w.post(200, "/v1/messages/"+w.ids["refused"]+"/retry", nil)
	w.proofs()
	w.post(200, "/v1/messages/"+w.ids["unsure"]+"/resolve", object{"as": "sent", "note": "The client has it."})
	w.get("/v1/send-jobs")
	w.get("/v1/audit-events")
}

func (w *contractWorld) webhooks() {
	const all = "/v1/webhook-endpoints"
	made := w.post(201, all, object{"url": "https://app.zoe.example/hook", "description": "Invoicing", "events": []string{"message.failed"}, "language": "fr"})
	secret := made.text(w, "secret")
	one := all + "/" + made.text(w, "id")
	w.refuse(422, "webhook_url_insecure", contractCall{key: w.full, method: "POST", path: all, body: object{"url": "http://app.zoe.example/hook"}})
	w.refuse(422, "webhook_url_invalid", contractCall{key: w.full, method: "POST", path: all, body: object{"url": "https://user:pw@app.zoe.example/"}})
	w.refuse(422, "value_unknown", contractCall{key: w.full, method: "POST", path: all, body: object{"url": "https://app.zoe.example/", "events": []string{"message.eaten"}}})
	rotated := w.post(200, one+"/rotate-secret", nil).text(w, "secret")
	if secret == rotated || !strings.HasPrefix(secret, "whsec_") || !strings.HasPrefix(rotated, "whsec_") {
		w.Errorf("secrets %q and %q", secret, rotated)
	}
	delivery := w.post(202, one+"/test", nil).text(w, "id")
	never := []contractAnswer{w.get(all), w.get(one), w.get(one + "/deliveries?status=pending&limit=1")}
	never = append(never, w.do(202, contractCall{key: w.full, method: "POST", path: one + "/deliveries/" + delivery + "/replay"}))
	w.post(202, one+"/replay-failed", object{"since": "2026-01-01T00:00:00Z"})
	never = append(never, w.do(200, contractCall{key: w.full, method: "PATCH", path: one, body: object{"enabled": false, "events": nil, "language": nil, "description": nil}}))
	for _, a := range never {
		if bytes.Contains(a.body, []byte("whsec_")) || bytes.Contains(a.body, []byte(secret[6:])) || bytes.Contains(a.body, []byte(rotated[6:])) {
			w.Errorf("a secret is shown again: %s", a.body)
		}
	}
	w.refuse(409, "webhook_endpoint_disabled", contractCall{key: w.full, method: "POST", path: one + "/test"})
	w.refuse(409, "webhook_endpoint_disabled", contractCall{key: w.full, method: "POST", path: one + "/deliveries/" + delivery + "/replay"})
	w.refuse(422, "field_required", contractCall{key: w.full, method: "PATCH", path: one, body: object{"url": nil}})
	w.do(204, contractCall{key: w.full, method: "DELETE", path: one})
	w.refuse(404, "not_found", contractCall{key: w.full, method: "GET", path: one + "/deliveries"})
	for range 20 {
		w.post(201, all, object{"url": "https://app.zoe.example/hook"})
	}
	w.refuse(409, "webhook_endpoints_too_many", contractCall{key: w.full, method: "POST", path: all, body: object{"url": "https://app.zoe.example/hook"}})

	const notices = "/v1/notice-settings"
	w.refuse(404, "not_found", contractCall{key: w.full, method: "GET", path: notices})
	settings := object{"addresses": []string{"compta@zoe.example"}, "language": "nl", "sender_profile_id": w.user, "kinds": []string{"sender_profile"}}
	w.do(200, contractCall{key: w.full, method: "PUT", path: notices, body: settings})
	w.get(notices)
	bad := maps.Clone(settings)
	bad["addresses"], bad["sender_profile_id"] = []string{"compta"}, "prf_01kbvf8q3d9x5t2m7n4c6w1e0z"
	w.refuse(422, "sender_profile_not_found", contractCall{key: w.full, method: "PUT", path: notices, body: bad})
	w.refuse(422, "address_invalid", contractCall{key: w.full, method: "PUT", path: notices, body: bad})
	w.do(204, contractCall{key: w.full, method: "DELETE", path: notices})
}

// suppressions begin with the one that a refused recipient has brought.
func (w *contractWorld) suppressions() {
	const path = "/v1/suppressions"
	w.until("/v1/messages/"+w.ids["refused"], "failed") // from the retry before
	w.post(200, "/v1/messages/"+w.ids["refused"]+"/retry", nil)
	w.until("/v1/messages/"+w.ids["refused"], "failed")
	if p := w.get("/v1/messages/" + w.ids["refused"]); !bytes.Contains(p.body, []byte(`"recipient_suppressed"`)) {
		w.Errorf("the second time: %s", p.body)
	}
	var found struct{ Items []struct{ ID, Reason string } }
	w.get(path+"?address=REFUSED@zoe.example&reason=bounce").into(w, &found)
	if len(found.Items) != 1 {
		w.Fatalf("suppressions: %+v", found)
	}
	w.do(204, contractCall{key: w.full, method: "DELETE", path: path + "/" + found.Items[0].ID})
	w.refuse(404, "not_found", contractCall{key: w.full, method: "DELETE", path: path + "/" + found.Items[0].ID})
	made := contractCall{
		key: w.full, method: "POST", path: path, header: http.Header{"Idempotency-Key": {"s1"}},
		body: object{"address": "Good@zoe.example", "note": "asked by phone"},
	}
	first := w.do(201, made)
	if again := w.do(201, made); again.header.Get("Idempotent-Replayed") != "true" || !bytes.Equal(again.body, first.body) {
		w.Errorf("the repeated suppression: %v %s", again.header, again.body)
	}
	w.refuse(409, "already_suppressed", contractCall{key: w.full, method: "POST", path: path, body: object{"address": "good@zoe.example", "reason": "bounce"}})
	w.refuse(422, "address_invalid", contractCall{key: w.full, method: "POST", path: path, body: object{"address": "good"}})
	w.get(path + "?limit=1")
	again := w.invoice("good")
	again["user_ref"], again["allow_duplicate"] = "jdupont", object{"reason": "a trial"}
	w.until("/v1/messages/"+w.post(202, "/v1/messages", again).text(w, "id"), "failed")
	again["override_suppression"] = true
	w.until("/v1/messages/"+w.post(202, "/v1/messages", again).text(w, "id"), "sent")
	if trail := w.get("/v1/audit-events"); !bytes.Contains(trail.body, []byte("message.override_suppression")) {
		w.Errorf("no trace of the override: %s", trail.body)
	}
}

// events are SendGrid's, about a mail that was sent with its transport.
func (w *contractWorld) events() {
	profile := w.post(201, "/v1/sender-profiles", object{
		"level": "user", "owner_ref": "events", "transport": "sandbox", "from": object{"address": "invoices@zoe.example"},
	}).text(w, "id")
	id := w.post(202, "/v1/messages", object{
		"sender_profile_id": profile, "to": []any{object{"address": "events@zoe.example"}}, "subject": "Hello", "text": "Hello",
	}).text(w, "id")
	w.until("/v1/messages/"+id, "sent")
	// The driver is not part of this test: it becomes a mail that was sent with SendGrid.
	if err := w.store.Write(w.Context(), func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.SQL.ExecContext(ctx, "UPDATE messages SET attempt = json_set(attempt, '$.detail.transport', 'sendgrid') WHERE id = ?", id)
		return err
	}); err != nil {
		w.Fatal(err)
	}
	m, err := w.store.Message(w.Context(), w.tenantID, id)
	if err != nil {
		w.Fatal(err)
	}
	sent := transporttest.SendGridMail{ID: "abc", CustomArgs: map[string]string{"facteur_tenant": m.TenantID, "facteur_message": id}}
	body := transporttest.EventBody(
		w.sendgrid.Event(sent, "events@zoe.example", "processed", nil), w.sendgrid.Event(sent, "events@zoe.example", "bounce", nil),
		w.sendgrid.Event(sent, "stranger@zoe.example", "bounce", nil),
	)
	call := func(body []byte, at time.Time) contractCall {
		signature, timestamp := w.sendgrid.SignEvents(body, at)
		return contractCall{method: "POST", path: "/webhooks/sendgrid", body: body, header: http.Header{
			"X-Twilio-Email-Event-Webhook-Signature": {signature}, "X-Twilio-Email-Event-Webhook-Timestamp": {timestamp},
		}}
	}
	good := call(body, time.Now())
	forged := good
	forged.body = bytes.Replace(body, []byte("events@zoe.example"), []byte("evonts@zoe.example"), 1)
	w.refuse(401, "webhook_signature_invalid", forged)
	w.refuse(401, "webhook_signature_invalid", contractCall{method: "POST", path: "/webhooks/sendgrid", body: body})
	w.refuse(401, "webhook_signature_stale", call(body, time.Now().Add(-25*time.Hour)))
	w.refuse(400, "json_malformed", call([]byte("{}"), time.Now()))
	w.refuse(413, "body_too_large", call(bytes.Repeat([]byte(" "), 3<<20), time.Now()))
	if delivery := w.get("/v1/messages/"+id).text(w, "delivery"); delivery != "unknown" {
		w.Errorf("forged and stale events made it %s", delivery)
	}
	for _, want := range []string{`{"stored":2,"known":0,"ignored":1}`, `{"stored":0,"known":2,"ignored":1}`} {
		if got := w.do(200, good); strings.TrimSpace(string(got.body)) != want {
			w.Errorf("taken: %s, want %s", got.body, want)
		}
	}
	if shown := w.get("/v1/messages/" + id); shown.text(w, "delivery") != "bounced" || !bytes.Contains(shown.body, []byte(`"state":"bounced"`)) {
		w.Errorf("shown: %s", shown.body)
	}
	var list struct{ Items []struct{ ID string } }
	w.get("/v1/messages?delivery=bounced").into(w, &list)
	if len(list.Items) != 1 || list.Items[0].ID != id {
		w.Errorf("bounced: %+v", list)
	}
	w.get("/v1/messages?delivery=unknown&limit=1")
}

// proofs are of messages that have ended in every way, and of one whose content was erased.
func (w *contractWorld) proofs() {
	for to, name := range map[string]string{"good": "proof", "refused": "not-a-proof", "unsure": "not-a-proof"} {
		a := w.get("/v1/messages/" + w.ids[to] + "/proof")
		if got := a.header.Get("Content-Disposition"); got != `attachment; filename="`+w.ids[to]+"."+name+`.zip"` {
			w.Errorf("%s: %s", to, got)
		}
	}
	unsure := "/v1/messages/" + w.ids["unsure"]
	if text := w.get(unsure).text(w, "evidence_text"); !strings.HasPrefix(text, "De dienst zelf werd onderbroken") {
		w.Errorf("evidence: %s", text)
	}
	resolve := contractCall{
		key: w.full, method: "POST", path: "/v1/send-jobs/" + w.get(unsure).text(w, "job_id") + "/resolve", body: object{"as": "resend", "note": "The log does not have it."},
		header: http.Header{"Idempotency-Key": {"r1"}},
	}
	first := w.do(200, resolve)
	w.until(unsure, "uncertain")
	if again := w.do(200, resolve); again.header.Get("Idempotent-Replayed") != "true" || !bytes.Equal(again.body, first.body) {
		w.Errorf("the repeated resolution: %v %s", again.header, again.body)
	}
	w.refuse(422, "field_required", contractCall{key: w.full, method: "POST", path: resolve.path, body: object{}})
	w.refuse(404, "not_found", contractCall{key: w.full, method: "POST", path: "/v1/send-jobs/job_01kbvf8q3d9x5t2m7n4c6w1e0z/resolve", body: object{"as": "sent"}})

	w.refuse(409, "message_not_finished", contractCall{key: w.full, method: "DELETE", path: unsure + "/content"})
	stopped := "/v1/messages/" + w.ids["stopped"]
	for range 2 {
		w.do(204, contractCall{key: w.full, method: "DELETE", path: stopped + "/content"})
	}
	w.get(stopped)
	w.get(stopped + "/proof")
	w.refuse(410, "content_erased", contractCall{key: w.full, method: "GET", path: stopped + "/raw"})
}

// refusals are the problems that every operation can answer with.
func (w *contractWorld) refusals() {
	message := "/v1/messages"
	for status, call := range map[string]contractCall{
		"401 unauthorized":             {method: "GET", path: message},
		"403 forbidden_scope":          {key: w.readOnly, method: "POST", path: message, body: object{}},
		"404 not_found":                {key: w.full, method: "GET", path: "/v1/messages/msg_01kbvf8q3d9x5t2m7n4c6w1e0z"},
		"405 method_not_allowed":       {key: w.full, method: "PUT", path: message},
		"400 json_malformed":           {key: w.full, method: "POST", path: message, body: `{"to": [`},
		"400 idempotency_key_invalid":  {key: w.full, method: "POST", path: message, body: object{}, header: http.Header{"Idempotency-Key": {strings.Repeat("k", 256)}}},
		"415 media_type_unsupported":   {key: w.full, method: "POST", path: message, body: "x", header: http.Header{"Content-Type": {"text/plain"}}},
		"413 body_too_large":           {key: w.full, method: "POST", path: "/v1/templates", body: strings.Repeat(" ", 9<<20)},
		"422 field_unknown":            {key: w.full, method: "POST", path: message, body: object{"recipient": "x"}},
		"422 field_type":               {key: w.full, method: "POST", path: message, body: object{"to": 5}},
		"422 field_required":           {key: w.full, method: "POST", path: message, body: object{}},
		"422 cursor_invalid":           {key: w.full, method: "GET", path: message + "?cursor=x"},
		"422 number_range":             {key: w.full, method: "GET", path: message + "?limit=201"},
		"422 sender_profile_not_found": {key: w.full, method: "POST", path: message, body: w.invoiceFrom("nobody")},
	} {
		var want int
		var code string
		if _, err := fmt.Sscan(status, &want, &code); err != nil {
			w.Fatal(err)
		}
		w.refuse(want, code, call)
	}
	w.do(404, contractCall{key: w.full, method: "GET", path: "/v1/nothing"})
	w.do(200, contractCall{method: "GET", path: "/healthz"})
	w.do(200, contractCall{method: "GET", path: "/readyz"})
}

func (w *contractWorld) invoiceFrom(user string) object {
	body := maps.Clone(w.invoice("good"))
	body["user_ref"] = user
	return body
}
