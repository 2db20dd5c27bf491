package server

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/winprest/facteur/internal/server/texts"
)

// refused makes a call that must be refused with a clear problem: a known code, texts, and fields when it is about fields.
func (h *house) refused(key, method, path string, body any, headers ...string) answered {
	h.Helper()
	a := h.do(key, method, path, body, headers...)
	if a.Code < 400 || a.Code >= 500 || a.Header().Get("Content-Type") != "application/problem+json" {
		h.Fatalf("%s %s: %d %.500s", method, path, a.Code, a.Body)
	}
	codes := []string{a.text("code")}
	for _, e := range a.errors() {
		codes = append(codes, e[strings.LastIndexByte(e, ' ')+1:])
	}
	for _, code := range codes {
		if !slices.Contains(texts.Codes(), code) {
			h.Errorf("%s %s: code %q has no texts", method, path, code)
		}
	}
	if a.Code == http.StatusUnprocessableEntity && a.text("code") == codeValidationFailed && len(codes) == 1 {
		h.Errorf("%s %s names no field: %s", method, path, a.Body)
	}
	return a
}

func TestBadRequests(t *testing.T) {
	h := onSQLite(t)
	f := h.furnish(h.ours.all)
	before := h.stored()
	bodies := []string{"", "{", "[]", "null", `"x"`, "{}x", "\xff", `{"unknown":1}`, strings.Repeat("[", 10_000), `{"a":` + strings.Repeat(`{"a":`, 10_000)}
	writes := []struct{ method, path string }{
		{"POST", "/v1/sender-profiles"}, {"PATCH", "/v1/sender-profiles/" + f.user}, {"POST", "/v1/sender-profiles/" + f.user + "/test-message"},
		{"POST", "/v1/templates"}, {"PATCH", "/v1/templates/" + f.template}, {"PUT", "/v1/templates/" + f.template + "/translations/fr"},
		{"POST", "/v1/templates/" + f.template + "/preview"}, {"POST", "/v1/messages"}, {"POST", "/v1/send-jobs"},
	}
	for _, w := range writes {
		for _, body := range bodies {
			h.refused(h.ours.all, w.method, w.path, body)
			h.refused(h.ours.all, w.method, w.path, body, "Idempotency-Key", "k")
		}
		for _, headers := range [][]string{{"Content-Type", "text/plain"}, {"Content-Type", "application/x-www-form-urlencoded"}, {"Content-Encoding", "gzip"}} {
			if a := h.refused(h.ours.all, w.method, w.path, "{}", headers...); a.Code != http.StatusUnsupportedMediaType {
				t.Errorf("%s with %v: %d", w.path, headers, a.Code)
			}
		}
		// 30 MB, announced and not.
		const huge = 30 << 20
		spaces := strings.Repeat(" ", huge)
		for _, body := range []io.Reader{strings.NewReader(spaces), io.MultiReader(strings.NewReader(spaces))} {
			if a := h.refused(h.ours.all, w.method, w.path, body); a.Code != http.StatusRequestEntityTooLarge || a.text("code") != codeBodyTooLarge {
				t.Errorf("%s: 30 MB: %d", w.path, a.Code)
			}
		}
	}
	for _, body := range []io.Reader{strings.NewReader(strings.Repeat("x", 30<<20)), io.MultiReader(strings.NewReader(strings.Repeat("x", 30<<20)))} {
		if a := h.refused(h.ours.all, "POST", "/v1/attachments?filename=a.pdf", body); a.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("a file of 30 MB: %d", a.Code)
		}
	}
	if after := h.stored(); !maps.Equal(before, after) {
		t.Errorf("something was stored: %v, before %v", after, before)
	}
}

// Every string of a request, wherever it stands, with a NUL, with line breaks, with bytes that are no text, and as another type.
func TestEveryFieldIsGuarded(t *testing.T) {
	onBoth(t, func(h *house) {
		f := h.furnish(h.ours.all)
		mailFields := with{
			"cc": []any{object{"address": "c@zoe.example", "name": "C"}}, "bcc": []any{object{"address": "b@zoe.example", "name": "B"}},
			"reply_to": []any{object{"address": "r@zoe.example", "name": "R"}}, "external_id": "x", "tags": []any{"t"}, "metadata": object{"k": "v"},
			"headers": []any{object{"name": "X-Dossier", "value": "v"}}, "client": object{"ref": "C", "name": "N"},
			"reminder": []any{object{"number": "1", "date": "2026-01-01", "due_date": "2026-01-01", "amount": "1", "open": "1"}},
			"to":       []any{object{"address": "to@zoe.example", "name": "T"}}, "send_at": "2026-12-01T00:00:00Z", "template_id": f.template,
		}.of(f.invoice())
		message := with{"sender_profile_id": f.user, "user_ref": "jdupont", "company_ref": "C001"}.of(mailFields)
		ownContent := with{"template_id": nil, "subject": "s", "text": "t", "html": "<p>h</p>", "in_reply_to": "msg_none"}.of(message)
		profile := object{
			"level": "user", "owner_ref": "o", "name": "n", "from": object{"address": "f@firm.example", "name": "F"}, "reply_to": []any{object{"address": "r@firm.example", "name": "R"}},
			"always_cc": []any{object{"address": "c@firm.example", "name": "C"}}, "always_bcc": []any{object{"address": "b@firm.example", "name": "B"}},
			"signatures": object{"fr": object{"text": "t", "html": "<p>h</p>"}}, "attachments": []any{object{"attachment_id": f.file, "languages": []any{"fr"}}}, "transport": "smtp",
			"smtp": object{
				"host": "h.example", "security": "starttls", "auth": "auto", "username": "u", "password": "p", "helo": "x.example", "tls_server_name": "y.example",
				"envelope_from": "e@firm.example", "ca_certificates": "x",
			},
			"bounce_mailbox": object{"host": "h.example", "security": "tls", "username": "u", "password": "p", "folder": "INBOX", "move_to": "Done"},
		}
		template := object{
			"name": "n", "document_type": "d", "company_ref": "c", "default_language": "fr", "tokens": []any{"MONTANT"},
			"translations": object{"fr": object{"subject": "s", "text": "t", "html": "<p>h</p>"}},
		}
		before := h.stored()
		for _, request := range []struct {
			path string
			doc  object
		}{
			{"/v1/messages", message},
			{"/v1/messages", ownContent},
			{"/v1/send-jobs", object{
				"purpose": "batch", "sender_profile_id": f.company, "user_ref": "u", "company_ref": "C001", "template_id": f.template, "document_type": "d", "language": "fr",
				"attachments": []any{object{"id": f.file, "filename": "f.pdf"}}, "name": "n", "external_id": "x", "tags": []any{"t"}, "metadata": object{"k": "v"},
				"messages": []any{mailFields},
			}},
			{"/v1/sender-profiles", profile},
			{"/v1/templates", template},
			{"/v1/templates/" + f.template + "/preview", object{
				"language": "fr", "sender_profile_id": f.user, "document": object{"type": "t", "number": "n", "date": "2026-01-01"}, "client": object{"ref": "r", "name": "n"},
				"tokens": object{"MONTANT": "1"}, "reminder": mailFields["reminder"],
			}},
			{"/v1/sender-profiles/" + f.company + "/test-message", object{"to": object{"address": "a@b.example", "name": "n"}, "language": "fr"}},
		} {
			leaves := leavesOf(request.doc, "")
			if len(leaves) < 3 {
				h.Fatalf("%s: only %d fields", request.path, len(leaves))
			}
			for _, leaf := range leaves {
				for _, bad := range []string{`a\u0000b`, "a\xffb", `a\r\nBcc: evil@example.com`} {
					multiline := strings.HasSuffix(leaf, "/text") || strings.HasSuffix(leaf, "/html") || strings.Contains(leaf, "/metadata/") || strings.Contains(leaf, "/tokens/M") ||
						strings.HasSuffix(leaf, "/ca_certificates")
					if multiline && strings.Contains(bad, "Bcc") {
						continue // a line break is text there
					}
					body := replaceLeaf(request.doc, leaf, `"`+bad+`"`)
					a := h.refused(h.ours.all, "POST", request.path, body)
					if a.Code != http.StatusUnprocessableEntity || !slices.ContainsFunc(a.errors(), func(e string) bool { return strings.HasPrefix(e, leaf+" ") }) {
						h.Errorf("%s %s with %q: %d %v", request.path, leaf, bad, a.Code, a.errors())
					}
				}
				if a := h.refused(h.ours.all, "POST", request.path, replaceLeaf(request.doc, leaf, `{"x":[1]}`)); !slices.Contains(a.errors(), leaf+" field_type") {
					h.Errorf("%s %s with an object: %v", request.path, leaf, a.errors())
				}
			}
		}
		if after := h.stored(); !maps.Equal(before, after) {
			h.Errorf("something was stored: %v, before %v", after, before)
		}
	})
}

// leavesOf lists the pointers of every string.
func leavesOf(v any, at string) (leaves []string) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			leaves = append(leaves, leavesOf(v[k], at+"/"+k)...)
		}
	case []any:
		for i, e := range v {
			leaves = append(leaves, leavesOf(e, fmt.Sprintf("%s/%d", at, i))...)
		}
	case string:
		leaves = append(leaves, at)
	}
	return leaves
}

// replaceLeaf writes the document with other JSON in the place of one string.
func replaceLeaf(doc object, leaf, with string) string {
	const mark = "--here--"
	b, err := json.Marshal(marked(doc, "", leaf, mark))
	if err != nil {
		panic(err)
	}
	return strings.Replace(string(b), `"`+mark+`"`, with, 1)
}

func marked(v any, at, leaf, mark string) any {
	switch v := v.(type) {
	case map[string]any:
		out := object{}
		for k, e := range v {
			out[k] = marked(e, at+"/"+k, leaf, mark)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = marked(e, fmt.Sprintf("%s/%d", at, i), leaf, mark)
		}
		return out
	}
	if at == leaf {
		return mark
	}
	return v
}

func TestBadMails(t *testing.T) {
	h := onSQLite(t)
	f := h.furnish(h.ours.all)
	before := h.stored()
	to := func(address string) []any { return []any{object{"address": address}} }
	for _, tc := range []struct {
		name string
		body with
		want []string
	}{
		{"no recipients", with{"to": []any{}}, []string{"/to recipients_missing"}},
		{"no to", with{"to": nil}, []string{"/to recipients_missing"}},
		{"quoted", with{"to": to(`"a> ORCPT=evil"@x.example`)}, []string{"/to/0/address address_quoted_local"}},
		{"too long", with{"to": to(strings.Repeat("a", 65) + "@x.example")}, []string{"/to/0/address address_too_long"}},
		{"too long in all", with{"to": to(strings.Repeat("a", 60) + "@" + strings.Repeat("a.", 100) + "example")}, []string{"/to/0/address address_too_long"}},
		{"bad IDN", with{"to": to("a@\u200d.example")}, []string{"/to/0/address address_domain_invalid"}},
		{"injection", with{"to": to("a@x.example\r\nRCPT TO:<b@x.example>")}, []string{"/to/0/address address_control_character"}},
		{"language", with{"language": "!"}, []string{"/language language_invalid"}},
		{"token", with{"tokens": nil}, []string{"/tokens/MONTANT token_unfilled"}},
		{"template id", with{"template_id": "tpl_none"}, []string{"/template_id template_not_found"}},
		{"document type", with{"document": object{"type": "rumour", "number": "1", "date": "2026-01-01"}}, []string{"/document/type template_default_missing"}},
		{"template and content", with{"template_id": f.template, "text": "x"}, []string{"/template_id template_and_content"}},
		{"attachment", with{"attachments": []any{object{"id": f.file}, object{"id": "att_none"}, object{"id": "\u2603"}}}, []string{"/attachments/1/id attachment_not_found", "/attachments/2/id attachment_not_found"}},
		{"attachment both", with{"attachments": []any{object{"id": f.file, "content": "AAAA"}}}, []string{"/attachments/0/content attachment_id_or_content"}},
		{"attachment none", with{"attachments": []any{object{"filename": "a.pdf"}}}, []string{"/attachments/0/content attachment_content_missing"}},
		{"attachment name", with{"attachments": []any{object{"filename": "../a.pdf", "content": "AAAA", "kind": "other"}}}, []string{"/attachments/0/filename filename_invalid"}},
		{"in reply to", with{"in_reply_to": "msg_none"}, []string{"/in_reply_to message_not_found"}},
		{"send at", with{"send_at": "2099-01-01T00:00:00Z"}, []string{"/send_at send_at_too_far"}},
		{"header", with{"headers": []any{object{"name": "Bcc", "value": "x@x.example"}}}, []string{"/headers/0/name header_name_reserved"}},
		{"everything at once", with{"to": to("x"), "user_ref": "nobody", "template_id": "tpl_none", "attachments": []any{object{"id": "att_none"}}, "bogus": 1, "tags": "t", "document": object{"date": "x"}},
			[]string{"/attachments/0/id attachment_not_found", "/bogus field_unknown", "/document/date date_invalid", "/tags field_type", "/template_id template_not_found",
				"/to/0/address address_invalid", "/user_ref sender_profile_not_found"}},
	} {
		a := h.refused(h.ours.all, "POST", "/v1/messages", with{"user_ref": "jdupont"}.of(tc.body.of(f.invoice())))
		if _, own := tc.body["user_ref"]; own {
			a = h.refused(h.ours.all, "POST", "/v1/messages", tc.body.of(f.invoice()))
		}
		got := a.errors()
		slices.Sort(got)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q\nwant %q", tc.name, got, tc.want)
		}
		// The same in a batch points into the batch.
		if slices.ContainsFunc([]string{"user_ref"}, func(k string) bool { _, ok := tc.body[k]; return ok }) {
			continue
		}
		a = h.refused(h.ours.all, "POST", "/v1/send-jobs", object{"company_ref": "C001", "messages": []any{f.invoice(), tc.body.of(f.invoice())}})
		for i, e := range tc.want {
			tc.want[i] = "/messages/1" + e
		}
		got = a.errors()
		slices.Sort(got)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s in a batch: got %q\nwant %q", tc.name, got, tc.want)
		}
	}
	// The job's own fields are said once.
	a := h.refused(h.ours.all, "POST", "/v1/send-jobs", object{
		"company_ref": "C001", "template_id": "tpl_none", "attachments": []any{object{"id": "att_none"}}, "messages": []any{f.invoice(), f.invoice()},
	})
	if want := []string{"/attachments/0/id attachment_not_found", "/template_id template_not_found"}; !slices.Equal(a.errors(), want) {
		t.Errorf("got %q, want %q", a.errors(), want)
	}
	h.refused(h.ours.all, "POST", "/v1/send-jobs", `{"company_ref":"C001","messages":[]}`)
	// More than a list can hold.
	messages := make([]any, 1500)
	for i := range messages {
		messages[i] = with{"to": to("x")}.of(f.invoice())
	}
	a = h.refused(h.ours.all, "POST", "/v1/send-jobs", object{"company_ref": "C001", "messages": messages})
	if len(a.errors()) != maxListed || a.doc["errors_omitted"] != 500.0 {
		t.Errorf("%d listed, %v omitted", len(a.errors()), a.doc["errors_omitted"])
	}
	var many strings.Builder
	many.WriteString(`{"company_ref":"C001","messages":[{}` + strings.Repeat(",{}", 10_000) + `]}`)
	if a := h.refused(h.ours.all, "POST", "/v1/send-jobs", many.String()); !slices.Contains(a.errors(), "/messages too_many") {
		t.Errorf("10,001 messages: %q", a.errors()[:3])
	}
	if after := h.stored(); !maps.Equal(before, after) {
		t.Errorf("something was stored: %v, before %v", after, before)
	}
	// And what looks odd but is good.
	for _, address := range []string{"compta@zoé.example", "zoë@zoé.example", "a+b@sub.domain.example", "o'brien@x.example"} {
		h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/messages", with{"user_ref": "jdupont", "to": to(address)}.of(f.invoice()))
	}
}

// Another tenant's id does the same as one that never was: the same words, and nothing happens.
func TestAnotherTenantsIDs(t *testing.T) {
	onBoth(t, func(h *house) {
		f, theirs := h.furnish(h.ours.all), h.furnish(h.theirs.all)
		sent := h.must(http.StatusAccepted, h.theirs.all, "POST", "/v1/messages", with{"user_ref": "jdupont"}.of(theirs.invoice()))
		message, job := sent.text("id"), sent.text("job_id")
		before := h.stored()

		same := func(method, path, body string, theirID string) {
			h.Helper()
			unknown := theirID[:4] + strings.Repeat("0", len(theirID)-4)
			a := h.refused(h.ours.all, method, strings.ReplaceAll(path, "ID", theirID), strings.ReplaceAll(body, "ID", theirID), "X-Request-Id", "r")
			b := h.refused(h.ours.all, method, strings.ReplaceAll(path, "ID", unknown), strings.ReplaceAll(body, "ID", unknown), "X-Request-Id", "r")
			if a.Code != b.Code || strings.ReplaceAll(a.Body.String(), theirID, unknown) != b.Body.String() {
				h.Errorf("%s %s: %d %s\nan unknown id: %d %s", method, path, a.Code, a.Body, b.Code, b.Body)
			}
		}
		mine := func(change with) string {
			b, err := json.Marshal(change.of(f.invoice()))
			if err != nil {
				h.Fatal(err)
			}
			return string(b)
		}
		for _, r := range h.server.routes() {
			id := map[string]string{"sender-profiles": theirs.user, "templates": theirs.template, "attachments": theirs.file, "messages": message, "send-jobs": job}[strings.Split(r.path, "/")[min(2, len(strings.Split(r.path, "/"))-1)]]
			if !strings.Contains(r.path, ":id") || id == "" {
				continue
			}
			body := map[string]string{
				"POST /v1/sender-profiles/:id/test-message":    `{"to":{"address":"a@b.example"}}`,
				"PUT /v1/templates/:id/translations/:language": `{"subject":"a","text":"b"}`,
				"POST /v1/messages/:id/resolve":                `{"as":"sent"}`,
			}[r.method+" "+r.path]
			if body == "" {
				body = "{}"
			}
			same(r.method, strings.NewReplacer(":id", "ID", ":language", "fr").Replace(r.path), body, id)
		}
		same("POST", "/v1/messages", mine(with{"sender_profile_id": "ID"}), theirs.user)
		same("POST", "/v1/messages", mine(with{"user_ref": "jdupont", "template_id": "ID"}), theirs.template)
		same("POST", "/v1/messages", mine(with{"user_ref": "jdupont", "attachments": []any{object{"id": "ID"}}}), theirs.file)
		same("POST", "/v1/messages", mine(with{"user_ref": "jdupont", "in_reply_to": "ID"}), message)
		same("POST", "/v1/send-jobs", `{"sender_profile_id":"ID","messages":[`+mine(with{})+`]}`, theirs.company)
		same("POST", "/v1/send-jobs", `{"company_ref":"C001","template_id":"ID","messages":[`+mine(with{})+`]}`, theirs.template)
		same("POST", "/v1/send-jobs", `{"company_ref":"C001","attachments":[{"id":"ID"}],"messages":[`+mine(with{})+`]}`, theirs.file)
		same("PATCH", "/v1/sender-profiles/"+f.user, `{"attachments":[{"attachment_id":"ID"}]}`, theirs.file)
		same("POST", "/v1/sender-profiles", `{"level":"user","owner_ref":"x","from":{"address":"a@b.example"},"transport":"sandbox","attachments":[{"attachment_id":"ID"}]}`, theirs.file)
		same("POST", "/v1/templates/"+f.template+"/preview", `{"sender_profile_id":"ID"}`, theirs.user)
		for _, query := range []string{"job_id=" + job, "sender_profile_id=" + theirs.user} {
			if a := h.must(http.StatusOK, h.ours.all, "GET", "/v1/messages?"+query, nil); len(a.doc["items"].([]any)) != 0 {
				h.Errorf("%s: %s", query, a.Body)
			}
		}
		if after := h.stored(); !maps.Equal(before, after) {
			h.Errorf("something was stored: %v, before %v", after, before)
		}
		if a := h.must(http.StatusOK, h.theirs.all, "GET", "/v1/messages/"+message, nil); a.text("status") != "queued" {
			h.Errorf("their message: %s", a.Body)
		}
	})
}

func TestUploads(t *testing.T) {
	onBoth(t, func(h *house) {
		big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB: more than one chunk
		a := h.must(http.StatusCreated, h.ours.send, "POST", "/v1/attachments?kind=ubl", strings.NewReader(big),
			"Content-Disposition", "attachment; filename*=UTF-8''caf%C3%A9.xml", "Content-Type", "application/xml")
		if a.text("filename") != "café.xml" || a.doc["size"] != float64(len(big)) || a.text("kind") != "ubl" {
			h.Errorf("%s", a.Body)
		}
		content := h.must(http.StatusOK, h.ours.read, "GET", a.Header().Get("Location")+"/content", nil)
		if content.Body.String() != big || content.Header().Get("ETag") != `"`+a.text("sha256")+`"` || !strings.HasPrefix(content.Header().Get("Content-Disposition"), "attachment;") {
			h.Errorf("content: %d bytes, %v", content.Body.Len(), content.Header())
		}
		form := "--b\r\nContent-Disposition: form-data; name=\"kind\"\r\n\r\nterms\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"t.pdf\"\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n--b--\r\n"
		if a := h.must(http.StatusCreated, h.ours.send, "POST", "/v1/attachments", form, "Content-Type", "multipart/form-data; boundary=b"); a.text("filename") != "t.pdf" || a.text("kind") != "terms" || a.doc["size"] != 4.0 {
			h.Errorf("%s", a.Body)
		}
		if a := h.must(http.StatusCreated, h.ours.send, "POST", "/v1/attachments?filename=x.pdf", "x", "Content-Type", "application/x-www-form-urlencoded"); a.text("media_type") != "application/pdf" {
			h.Errorf("%s", a.Body)
		}
		for _, bad := range []struct {
			path, body, contentType, want string
		}{
			{"/v1/attachments", "x", "", "/filename field_required"},
			{"/v1/attachments?filename=a/b", "x", "", "/filename filename_invalid"},
			{"/v1/attachments?filename=a%00b", "x", "", "?filename parameter_invalid"},
			{"/v1/attachments?filename=a&kind=virus", "x", "", "?kind value_unknown"},
			{"/v1/attachments?filename=a", "", "", "/file file_empty"},
			{"/v1/attachments?filename=a", "x", "text", "/media_type media_type_invalid"},
			{"/v1/attachments?file=a", "x", "", "?file field_unknown"},
			{"/v1/attachments", strings.Replace(form, "terms", "x", 1), "multipart/form-data; boundary=b", "/kind value_unknown"},
			{"/v1/attachments", strings.Replace(form, `"file"`, `"other"`, 1), "multipart/form-data; boundary=b", "/other field_unknown"},
			{"/v1/attachments", "--b--\r\n", "multipart/form-data; boundary=b", "/file file_missing"},
		} {
			if a := h.refused(h.ours.send, "POST", bad.path, bad.body, "Content-Type", bad.contentType); !slices.Equal(a.errors(), []string{bad.want}) {
				h.Errorf("%s: %d %q, want %s", bad.path, a.Code, a.errors(), bad.want)
			}
		}
		if a := h.refused(h.ours.send, "POST", "/v1/attachments", form[:60], "Content-Type", "multipart/form-data; boundary=b"); a.text("code") != codeBodyIncomplete {
			h.Errorf("half a form: %s", a.Body)
		}
	})
}
