package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/winprest/facteur/internal/pgtest"
	"github.com/winprest/facteur/internal/store"
)

// problem is a refusal as a caller reads it.
type problem struct {
	status              int
	Code, Title, Detail string
	Errors              []struct{ Pointer, Code, Title, Detail string }
}

// fields are the refused ones as "pointer code", in order.
func (p *problem) fields() []string {
	list := make([]string, len(p.Errors))
	for i, e := range p.Errors {
		list[i] = e.Pointer + " " + e.Code
	}
	slices.Sort(list)
	return list
}

// refused makes a request over HTTP that must be refused with a whole problem, and with an idempotency key that it must not
// use up.
func (s *service) refused(method, path string, body io.Reader) *problem {
	s.in.t.Helper()
	req, err := http.NewRequest(method, s.base+path, body)
	if err != nil {
		s.in.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.in.key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept-Language", "fr")
	req.Header.Set("X-Request-Id", "r")
	if method == http.MethodPost {
		req.Header.Set("Idempotency-Key", "refused")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.in.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	p := &problem{status: resp.StatusCode}
	if err := json.NewDecoder(resp.Body).Decode(p); err != nil || resp.Header.Get("Content-Type") != "application/problem+json" || resp.StatusCode < 400 || resp.StatusCode >= 500 {
		s.in.t.Fatalf("%s %s: %s %+v %v", method, path, resp.Status, p, err)
	}
	if p.Code == "" || p.Title == "" || p.Detail == "" {
		s.in.t.Errorf("%s %s: %+v", method, path, p)
	}
	for _, e := range p.Errors {
		if e.Pointer == "" && p.Code == "validation_failed" && e.Code == "" || e.Title == "" || e.Detail == "" {
			s.in.t.Errorf("%s %s: %+v", method, path, e)
		}
	}
	return p
}

// stored counts the rows of everything that a request can make.
func (in *installation) stored() map[string]int {
	in.t.Helper()
	counts := map[string]int{}
	for _, table := range []string{"sender_profiles", "templates", "attachments", "messages", "message_contents", "send_jobs", "document_keys", "attempts", "idempotency_records", "audit_events", "river_job"} {
		query, n := "SELECT count(*) FROM "+table, 0
		var err error
		if pool := in.store.Postgres(); pool != nil {
			err = pool.QueryRow(context.Background(), query).Scan(&n)
		} else {
			err = in.store.SQLite().QueryRow(query).Scan(&n)
		}
		if err != nil {
			in.t.Fatal(err)
		}
		counts[table] = n
	}
	return counts
}

// furniture is what a tenant needs to send, and what it sent.
type furniture struct{ profile, template, file, message, job string }

// furnish makes a tenant's things, with a profile whose server does not exist.
func (s *service) furnish() furniture {
	s.in.t.Helper()
	f := furniture{profile: s.smtpProfile("127.0.0.1:1", 1, nil), file: s.upload(10)}
	f.template = s.must("POST", "/v1/templates", map[string]any{
		"name": "Invoices", "document_type": "invoice", "default": true, "default_language": "fr", "tokens": []any{"MONTANT"},
		"translations": map[string]any{"fr": map[string]any{"subject": "Facture NUMFACT", "text": "Bonjour NOMCLIENT, MONTANT"}},
	})["id"].(string)
	m := s.must("POST", "/v1/messages", f.mail(nil))
	f.message, f.job = m["id"].(string), m["job_id"].(string)
	return f
}

// mail is a good mail that uses every field, with some changed; nil removes one.
func (f furniture) mail(change map[string]any) map[string]any {
	address := func(word string) []any {
		return []any{map[string]any{"name": "Café Zoë", "address": word + "@zoe.example"}}
	}
	m := map[string]any{
		"sender_profile_id": f.profile, "to": address("to"), "cc": address("cc"), "bcc": address("bcc"), "reply_to": address("reply"), "language": "nl-BE",
		"template_id": f.template, "document": map[string]any{"type": "invoice", "number": "2026/1", "date": "2026-11-23"}, "client": map[string]any{"ref": "C1", "name": "Zoë"},
		"tokens": map[string]any{"MONTANT": "1,00 €"}, "attachments": []any{map[string]any{"id": f.file}, map[string]any{"filename": "a.xml", "kind": "ubl", "content": "PGEvPg=="}},
		"headers": []any{map[string]any{"name": "X-Dossier", "value": "D1"}}, "external_id": "E1", "tags": []any{"november"}, "metadata": map[string]any{"k": "v"},
		"reminder": []any{map[string]any{"number": "1", "date": "2026-01-01", "due_date": "2026-02-01", "amount": "1,00", "open": "1,00"}},
	}
	if f.message != "" {
		m["in_reply_to"] = f.message
	}
	for k, v := range change {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
	return m
}

func reader(t *testing.T, v any) io.Reader {
	t.Helper()
	if s, ok := v.(string); ok {
		return strings.NewReader(s)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReader(string(b))
}

// TestBadInput sends what is wrong to the real service: a clear problem each time, and nothing stored. package server has
// the long lists.
func TestBadInput(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		in := install(t, url)
		s := in.start("serve", "--no-workers")
		f := s.furnish()
		before := in.stored()

		type object = map[string]any
		to := func(address string) object { return object{"to": []any{object{"address": address}}} }
		const huge = 30_000_000
		for _, tc := range []struct {
			name, method, path string
			body               any // io.Reader, text, or something to marshal
			status             int
			want               string // code of the problem, or of its only field with its pointer
		}{
			{"nothing", "POST", "/v1/messages", "", 400, "json_malformed"},
			{"malformed", "POST", "/v1/messages", `{"to":[`, 400, "json_malformed"},
			{"two values", "POST", "/v1/messages", `{} {}`, 400, "json_malformed"},
			{"not UTF-8", "POST", "/v1/messages", "{\"subject\":\"\xff\"}", 422, ""},
			{"array", "POST", "/v1/messages", `[]`, 422, ""},
			{"deep", "POST", "/v1/messages", strings.Repeat(`{"a":`, 100_000), 400, ""},
			{"unknown field", "POST", "/v1/messages", f.mail(object{"sender": "x"}), 422, "/sender field_unknown"},
			{"wrong type", "POST", "/v1/messages", f.mail(object{"tags": "november"}), 422, "/tags field_type"},
			{"30 MB", "POST", "/v1/messages", strings.NewReader(strings.Repeat(" ", huge)), 413, "body_too_large"},
			{"30 MB in chunks", "POST", "/v1/send-jobs", io.MultiReader(strings.NewReader(strings.Repeat(" ", huge))), 413, "body_too_large"},
			{"30 MB of settings", "POST", "/v1/sender-profiles", io.MultiReader(strings.NewReader(strings.Repeat(" ", huge))), 413, "body_too_large"},
			{"30 MB of template", "POST", "/v1/templates", strings.NewReader(strings.Repeat(" ", huge)), 413, "body_too_large"},
			{"file of 30 MB", "POST", "/v1/attachments?filename=a.pdf", io.MultiReader(strings.NewReader(strings.Repeat(" ", huge))), 413, ""},
			{"no recipient", "POST", "/v1/messages", f.mail(object{"to": []any{}, "cc": nil, "bcc": nil}), 422, "/to recipients_missing"},
			{"quoted", "POST", "/v1/messages", f.mail(to(`"a> ORCPT=evil"@zoe.example`)), 422, "/to/0/address address_quoted_local"},
			{"long before the @", "POST", "/v1/messages", f.mail(to(strings.Repeat("a", 65) + "@zoe.example")), 422, "/to/0/address address_too_long"},
			{"long", "POST", "/v1/messages", f.mail(to(strings.Repeat("a", 60) + "@" + strings.Repeat("a.", 100) + "example")), 422, "/to/0/address address_too_long"},
			{"a second command", "POST", "/v1/messages", f.mail(to("a@zoe.example>\r\nRCPT TO:<b@zoe.example")), 422, "/to/0/address address_control_character"},
			{"unfilled token", "POST", "/v1/messages", f.mail(object{"tokens": nil}), 422, "/tokens/MONTANT token_unfilled"},
			{"missing file", "POST", "/v1/messages", f.mail(object{"attachments": []any{object{"id": "att_none"}}}), 422, "/attachments/0/id attachment_not_found"},
			{"no such language", "POST", "/v1/messages", f.mail(object{"language": "français"}), 422, "/language language_invalid"},
			{"no template for it", "POST", "/v1/messages", f.mail(object{"template_id": nil, "document": object{"type": "reminder", "number": "1", "date": "2026-11-23"}}), 422, "/document/type template_default_missing"},
			// A template always has its default language, so that one always fits: it cannot be made or left without.
			{"template without its language", "POST", "/v1/templates", object{"name": "n", "document_type": "quote", "default_language": "nl", "translations": object{"fr": object{"subject": "s", "text": "t"}}}, 422, "/default_language default_language_missing"},
			{"template without texts", "POST", "/v1/templates", object{"name": "n", "document_type": "quote", "default_language": "nl", "translations": object{}}, 422, "/translations translations_missing"},
			{"a language that is needed", "DELETE", "/v1/templates/" + f.template + "/translations/fr", "", 409, "default_language_kept"},
			{"empty batch", "POST", "/v1/send-jobs", object{"sender_profile_id": f.profile, "messages": []any{}}, 422, "/messages field_required"},
			{"one bad of two", "POST", "/v1/send-jobs", object{"sender_profile_id": f.profile, "messages": []any{f.own(), f.own("bad")}}, 422, "/messages/1/to/0/address address_invalid"},
		} {
			body, ok := tc.body.(io.Reader)
			if !ok {
				body = reader(t, tc.body)
			}
			p := s.refused(tc.method, tc.path, body)
			fields := strings.Join(p.fields(), ", ")
			if p.status != tc.status || tc.want != "" && tc.want != fields && (tc.want != p.Code || fields != "") {
				t.Errorf("%s: %d %s [%s], want %d %s", tc.name, p.status, p.Code, fields, tc.status, tc.want)
			}
		}
		if n := s.poison(f); n < 60 {
			t.Errorf("only %d poisoned mails", n)
		}
		if after := in.stored(); !maps.Equal(before, after) {
			t.Errorf("stored %v, before %v", after, before)
		}

		// What only looks odd is taken.
		for _, address := range []string{"compta@zoé.example", "zoë@zoe.example", "o'brien+tag@sub.zoe.example"} {
			s.must("POST", "/v1/messages", f.mail(to(address)))
		}
		if m := s.must("POST", "/v1/messages", f.mail(object{"language": "it", "document": object{"type": "invoice", "number": "2026/2", "date": "2026-11-23"}})); m["language"] != "fr" {
			t.Errorf("the answer does not say that French was used: %v", m)
		}
	})
}

// own is a mail with its own content, of a batch.
func (f furniture) own(to ...string) map[string]any {
	address := strings.Join(append(to, "a@zoe.example")[:1], "")
	return map[string]any{"to": []any{map[string]any{"address": address}}, "subject": "s", "text": "t"}
}

// poison sends a full mail again and again, each time with one of its texts poisoned, and gives how often.
func (s *service) poison(f furniture) (n int) {
	s.in.t.Helper()
	whole, err := json.Marshal(f.mail(nil))
	if err != nil {
		s.in.t.Fatal(err)
	}
	var leaves func(v any, at string) []string
	leaves = func(v any, at string) (list []string) {
		switch v := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				list = append(list, leaves(v[k], at+"/"+k)...)
			}
		case []any:
			for i, e := range v {
				list = append(list, leaves(e, fmt.Sprintf("%s/%d", at, i))...)
			}
		case string:
			list = append(list, at)
		}
		return list
	}
	for _, leaf := range leaves(f.mail(nil), "") {
		for _, bad := range []string{"a\x00b", "a\r\nBcc: evil@example.com", "a\nb"} {
			if bad != "a\x00b" && (strings.HasPrefix(leaf, "/metadata/") || strings.HasPrefix(leaf, "/tokens/")) {
				continue // texts of several lines
			}
			var doc map[string]any
			if err := json.Unmarshal(whole, &doc); err != nil {
				s.in.t.Fatal(err)
			}
			put(doc, strings.Split(leaf, "/")[1:], bad)
			p := s.refused("POST", "/v1/messages", reader(s.in.t, doc))
			if p.status != http.StatusUnprocessableEntity || !slices.ContainsFunc(p.fields(), func(e string) bool { return strings.HasPrefix(e, leaf+" ") }) {
				s.in.t.Errorf("%s with %q: %d %s %v", leaf, bad, p.status, p.Code, p.fields())
			}
			n++
		}
	}
	return n
}

// put sets the text at a pointer.
func put(v any, path []string, text string) {
	switch v := v.(type) {
	case map[string]any:
		if len(path) == 1 {
			v[path[0]] = text
			return
		}
		put(v[path[0]], path[1:], text)
	case []any:
		var i int
		fmt.Sscan(path[0], &i) //nolint:errcheck // a pointer of our own
		if len(path) == 1 {
			v[i] = text
			return
		}
		put(v[i], path[1:], text)
	}
}

// TestAnotherTenantsIDs uses another tenant's ids in every place where an id can stand: the answer is the same as for an id
// that never was, and nothing happens.
func TestAnotherTenantsIDs(t *testing.T) {
	pgtest.Both(t, func(t *testing.T, url string) {
		in := install(t, url)
		s := in.start("serve", "--no-workers")
		f := s.furnish()
		them := *in
		them.tenant = &store.Tenant{Name: "Other firm"}
		if err := in.store.CreateTenant(t.Context(), them.tenant, nil); err != nil {
			t.Fatal(err)
		}
		var err error
		if _, them.key, err = in.store.CreateKey(t.Context(), them.tenant.ID, "e2e", []store.Scope{store.ScopeSend, store.ScopeRead, store.ScopeManage}); err != nil {
			t.Fatal(err)
		}
		other := *s
		other.in = &them
		theirs := other.furnish()
		before := in.stored()

		type object = map[string]any
		mail := func(field string) object { return f.mail(object{field: "ID"}) }
		file := object{"attachments": []any{object{"id": "ID"}}}
		for _, tc := range []struct {
			method, path string
			body         any
			id           string
			status       int
		}{
			{"GET", "/v1/sender-profiles/ID", "", theirs.profile, 404},
			{"PATCH", "/v1/sender-profiles/ID", object{"name": "x"}, theirs.profile, 404},
			{"DELETE", "/v1/sender-profiles/ID", "", theirs.profile, 404},
			{"POST", "/v1/sender-profiles/ID/check", "", theirs.profile, 404},
			{"POST", "/v1/sender-profiles/ID/test-message", object{"to": object{"address": "a@zoe.example"}}, theirs.profile, 404},
			{"GET", "/v1/templates/ID", "", theirs.template, 404},
			{"PATCH", "/v1/templates/ID", object{"name": "x"}, theirs.template, 404},
			{"DELETE", "/v1/templates/ID", "", theirs.template, 404},
			{"PUT", "/v1/templates/ID/translations/nl", object{"subject": "s", "text": "t"}, theirs.template, 404},
			{"DELETE", "/v1/templates/ID/translations/nl", "", theirs.template, 404},
			{"POST", "/v1/templates/ID/preview", object{}, theirs.template, 404},
			{"GET", "/v1/attachments/ID", "", theirs.file, 404},
			{"GET", "/v1/attachments/ID/content", "", theirs.file, 404},
			{"GET", "/v1/messages/ID", "", theirs.message, 404},
			{"GET", "/v1/messages/ID/attempts", "", theirs.message, 404},
			{"GET", "/v1/messages/ID/raw", "", theirs.message, 404},
			{"POST", "/v1/messages/ID/retry", "", theirs.message, 404},
			{"POST", "/v1/messages/ID/cancel", "", theirs.message, 404},
			{"POST", "/v1/messages/ID/resolve", object{"as": "sent"}, theirs.message, 404},
			{"GET", "/v1/send-jobs/ID", "", theirs.job, 404},
			{"GET", "/v1/send-jobs/ID/messages", "", theirs.job, 404},
			{"POST", "/v1/send-jobs/ID/cancel", "", theirs.job, 404},
			{"POST", "/v1/messages", mail("sender_profile_id"), theirs.profile, 422},
			{"POST", "/v1/messages", mail("template_id"), theirs.template, 422},
			{"POST", "/v1/messages", mail("in_reply_to"), theirs.message, 422},
			{"POST", "/v1/messages", f.mail(file), theirs.file, 422},
			{"POST", "/v1/send-jobs", object{"sender_profile_id": "ID", "messages": []any{f.own()}}, theirs.profile, 422},
			{"POST", "/v1/send-jobs", object{"sender_profile_id": f.profile, "template_id": "ID", "messages": []any{object{"to": []any{object{"address": "a@zoe.example"}}}}}, theirs.template, 422},
			{"POST", "/v1/send-jobs", object{"sender_profile_id": f.profile, "attachments": file["attachments"], "messages": []any{f.own()}}, theirs.file, 422},
			{"POST", "/v1/templates/" + f.template + "/preview", object{"sender_profile_id": "ID"}, theirs.profile, 422},
			{"PATCH", "/v1/sender-profiles/" + f.profile, object{"attachments": []any{object{"attachment_id": "ID"}}}, theirs.file, 422},
		} {
			body, err := io.ReadAll(reader(t, tc.body))
			if err != nil {
				t.Fatal(err)
			}
			ask := func(id string) *problem {
				return s.refused(tc.method, strings.ReplaceAll(tc.path, "ID", id), strings.NewReader(strings.ReplaceAll(string(body), `"ID"`, `"`+id+`"`)))
			}
			unknown := tc.id[:4] + strings.Repeat("0", len(tc.id)-4)
			a, b := ask(tc.id), ask(unknown)
			if got, want := strings.ReplaceAll(fmt.Sprintf("%+v", *a), tc.id, unknown), fmt.Sprintf("%+v", *b); got != want || a.status != tc.status {
				t.Errorf("%s %s: %s\nan id that never was: %s", tc.method, tc.path, got, want)
			}
		}
		for _, query := range []string{"job_id=" + theirs.job, "sender_profile_id=" + theirs.profile} {
			if items := s.must("GET", "/v1/messages?"+query, nil)["items"].([]any); len(items) != 0 {
				t.Errorf("%s: %v", query, items)
			}
		}
		if after := in.stored(); !maps.Equal(before, after) {
			t.Errorf("stored %v, before %v", after, before)
		}
		if m := other.must("GET", "/v1/messages/"+theirs.message, nil); m["status"] != "queued" {
			t.Errorf("their mail: %v", m)
		}
	})
}
