package server

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/demo"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/preflight"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport"
)

// checkedWay is a transport that carries mails of up to 2 MiB.
type checkedWay struct{ contractFarEnd }

func (checkedWay) Info() transport.Info { return transport.Info{Name: "smtp", MaxBytes: 2 << 20} }

// zone is a DNS in which every domain has a mail server, but for some.
type zone map[string]string // "": nothing; "a": an address only; "null": RFC 7505; "fail": no answer

func (z zone) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	domain := strings.TrimSuffix(name, ".")
	switch kind, special := z[domain]; {
	case domain == name:
		return nil, fmt.Errorf("%s is looked for below the machine's own domain", name)
	case !special:
		return []*net.MX{{Host: "mx." + name, Pref: 10}}, nil
	case kind == "null":
		return []*net.MX{{Host: "."}}, nil
	case kind == "fail":
		return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z zone) LookupHost(_ context.Context, name string) ([]string, error) {
	if z[strings.TrimSuffix(name, ".")] == "a" {
		return []string{"192.0.2.1"}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// checkWorld is a house with a batch of good invoices.
type checkWorld struct {
	*house
	profile, template string
	mails             []object
	uploads           int
}

func newCheckWorld(h *house) *checkWorld {
	h.server.transports["smtp"] = checkedWay{}
	h.server.resolver = zone{
		"gmial.com": "", "hotmial.fr": "a", "outlok.be": "", "skynet.eb": "", "without.example": "", "null.example": "null", "silent.example": "fail",
		"old.example": "a",
	}
	h.must(http.StatusCreated, h.ours.all, "POST", "/v1/suppressions", object{"address": "bounced@zoe.example"})
	w := &checkWorld{house: h}
	terms := w.upload("terms.pdf", "terms", "application/pdf", facturxOf("terms"))
	post := func(path string, body any) string {
		return h.must(http.StatusCreated, h.ours.all, "POST", path, body).text("id")
	}
	w.profile = post("/v1/sender-profiles", object{
		"level": "company", "owner_ref": "C001", "default": true, "from": object{"address": "invoices@firm.example"}, "transport": "smtp",
		"smtp": object{"host": "smtp.firm.example"}, "attachments": []any{object{"attachment_id": terms}}, "limits": object{"per_day": 600},
	})
	w.template = post("/v1/templates", `{"name":"Invoices","document_type":"invoice","default":true,"default_language":"fr","tokens":["MONTANT"],"translations":{
		"fr":{"subject":"Facture NUMFACT","text":"Bonjour NOMCLIENT, MONTANT"},"nl":{"subject":"Factuur NUMFACT","html":"<p>Dag NOMCLIENT, MONTANT</p>"},
		"en":{"subject":"Invoice NUMFACT","text":"Hello NOMCLIENT, MONTANT"},"de":{"subject":"Rechnung NUMFACT","text":"Guten Tag NOMCLIENT, MONTANT"}}}`)
	return w
}

func (w *checkWorld) upload(name, kind, mediaType, data string) string {
	w.Helper()
	w.uploads++
	return w.must(http.StatusCreated, w.ours.all, "POST", "/v1/attachments?kind="+kind+"&filename="+name, data, "Content-Type", mediaType).text("id")
}

// good fills the batch with n good mails; every tenth has its files in it.
func (w *checkWorld) good(n int) {
	for i := range n {
		s, err := demo.NewSample(i + 1)
		if err != nil {
			w.Fatal(err)
		}
		files := []any{
			object{"filename": s.FileBase + ".pdf", "kind": "invoice_pdf", "content": s.PDF}, object{"filename": s.FileBase + ".xml", "kind": "ubl", "content": s.UBL},
		}
		if i%10 > 0 {
			files = []any{object{"id": w.upload(s.FileBase+".pdf", "invoice_pdf", "application/pdf", string(s.PDF))}}
		}
		w.mails = append(w.mails, object{
			"to": []any{object{"name": s.Name, "address": s.Address}}, "language": s.Language, "external_id": fmt.Sprint("x-", i),
			"document": object{"type": "invoice", "number": s.Number, "date": "2026-11-23"}, "client": object{"ref": fmt.Sprint("K", i), "name": s.Name},
			"tokens": object{"MONTANT": "1 €"}, "attachments": files,
		})
	}
}

func (w *checkWorld) check(fields object, headers ...string) api.SendJobCheck {
	w.Helper()
	body := object{"company_ref": "C001", "messages": w.mails}
	for k, v := range fields {
		body[k] = v
	}
	a := w.must(http.StatusOK, w.ours.send, "POST", "/v1/send-jobs/check", body, headers...)
	var out api.SendJobCheck
	if err := json.Unmarshal(a.Body.Bytes(), &out); err != nil {
		w.Fatal(err)
	}
	return out
}

// facturxOf is a PDF that embeds a Factur-X invoice.
func facturxOf(number string) string {
	var z bytes.Buffer
	f := zlib.NewWriter(&z)
	fmt.Fprintf(f, `<rsm:CrossIndustryInvoice xmlns:rsm="urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100" xmlns:ram="r">`+
		`<rsm:ExchangedDocument><ram:ID>%s</ram:ID></rsm:ExchangedDocument></rsm:CrossIndustryInvoice>`, number)
	f.Close() //nolint:errcheck // into memory
	return "%PDF-1.7\n1 0 obj\n<< /Type /EmbeddedFile /Filter /FlateDecode >>\nstream\n" + z.String() + "\nendstream\nendobj\nstartxref\n0\n%%EOF\n"
}

func setTo(address string) func(object) {
	return func(m object) { m["to"] = []any{object{"address": address}} }
}

func document(m object) object { return m["document"].(object) }

func inlineFileOf(name, kind, content string) func(object) {
	return func(m object) {
		m["attachments"] = append(slices.Clone(m["attachments"].([]any)), object{"filename": name, "kind": kind, "content": base64.StdEncoding.EncodeToString([]byte(content))})
	}
}

// The problem list of a prepared batch of 1,000 with 40 planted faults finds all 40 and nothing else.
func TestCheckFindsThePlantedFaults(t *testing.T) {
	onBoth(t, func(h *house) {
		w := newCheckWorld(h)
		w.good(1000)
		at := func(i int) object { return w.mails[i] }

		// What looks like a fault and is none.
		setTo("kim@gmai.be")(at(1))        // near a provider, with a mail server of its own
		setTo("kim@old.example")(at(2))    // no MX, but an address
		setTo("zoë@bücher.example")(at(3)) // international
		at(4)["to"] = []any{object{"address": "a@zoe.example"}, object{"address": "A@zoe.example"}, object{"address": "a@zoe.example"}}
		at(6)["attachments"], at(6)["client"] = at(5)["attachments"], at(5)["client"] // two files of one client
		document(at(7))["reminder_level"] = 1
		at(7)["reminder"] = []any{object{"number": "2026/0041", "date": "2026-10-01", "amount": "1 €"}}
		other, err := demo.NewSample(41)
		if err != nil {
			h.Fatal(err)
		}
		inlineFileOf("earlier.xml", "ubl", string(other.UBL)[:len(other.UBL)]+"<!-- copy -->")(at(7))
		leaflet := base64.StdEncoding.EncodeToString([]byte("our opening hours"))
		for _, m := range w.mails {
			m["attachments"] = append(slices.Clone(m["attachments"].([]any)), object{"filename": "hours.txt", "content": leaflet})
		}
		inlineFileOf("x.pdf", "facturx_pdf", facturxOf("2026-0009"))(at(8))
		if got := w.check(object{"attachments": []any{object{"filename": "note.txt", "content": base64.StdEncoding.EncodeToString([]byte("note"))}}}); len(got.Problems) != 1 ||
			got.Problems[0].Code != "day_limit_exceeded" || !got.Ready {
			h.Fatalf("a clean batch: %+v", got.Problems)
		}

		// Some of the documents went out before.
		before := object{"company_ref": "C001", "messages": []any{at(20), at(21), at(22)}}
		job := h.must(http.StatusAccepted, h.ours.send, "POST", "/v1/send-jobs", before)
		sentID := job.doc["messages"].([]any)[1].(object)["id"].(string)
		h.settle(sentID, "sent")
		h.settle(job.doc["messages"].([]any)[2].(object)["id"].(string), "canceled") // no fault

		var want []string
		plant := func(i int, code string, change func(object)) {
			if i >= 0 && change != nil {
				change(at(i))
			}
			want = append(want, fmt.Sprintf("%d %s", i, code))
		}
		plant(20, "document_accepted_before", nil)
		plant(21, "document_sent_before", nil)
		plant(30, "address_invalid", setTo("nobody"))
		plant(31, "address_missing", setTo(""))
		plant(32, "recipients_missing", func(m object) { m["to"] = []any{} })
		plant(33, "address_quoted_local", setTo(`"a b"@zoe.example`))
		plant(34, "domain_typo", setTo("a@gmial.com"))
		plant(35, "domain_typo", setTo("a@hotmial.fr"))
		plant(36, "domain_typo", setTo("a@outlok.be"))
		plant(37, "domain_typo", func(m object) { m["cc"] = []any{object{"address": "a@skynet.eb"}} })
		plant(38, "domain_without_mail", setTo("a@without.example"))
		plant(39, "domain_refuses_mail", setTo("a@null.example"))
		plant(40, "recipient_suppressed", setTo("bounced@zoe.example"))
		setTo("a@silent.example")(at(41))
		plant(-1, "domains_unchecked", nil)
		plant(50, "template_not_found", func(m object) { m["template_id"] = "tpl_none" })
		plant(51, "template_default_missing", func(m object) { document(m)["type"] = "quote" })
		plant(52, "template_and_content", func(m object) { m["template_id"], m["subject"] = w.template, "x" })
		plant(53, "token_unfilled", func(m object) { delete(m, "tokens") })
		plant(54, "token_unknown", func(m object) { m["tokens"] = object{"MONTANT": "1", "ECHEANCE": "2"} })
		plant(55, "date_invalid", func(m object) { document(m)["date"] = "2026-02-30" })
		plant(56, "language_invalid", func(m object) { m["language"] = "français" })
		plant(61, "language_not_in_template", func(m object) { m["language"] = "it-IT" })
		plant(57, "header_name_reserved", func(m object) { m["headers"] = []any{object{"name": "Received", "value": "x"}} })
		plant(58, "message_not_found", func(m object) { m["in_reply_to"] = "msg_none" })
		plant(59, "send_at_too_far", func(m object) { m["send_at"] = "2099-01-01T00:00:00Z" })
		plant(60, "number_range", func(m object) { document(m)["reminder_level"] = 1000 })
		plant(70, "document_twice", func(m object) {
			m["document"], m["to"], m["attachments"], m["client"] = at(71)["document"], at(71)["to"], at(71)["attachments"], at(71)["client"]
		})
		want[len(want)-1] = "71 document_twice" // the later one
		plant(72, "document_twice", func(m object) {
			m["document"], m["to"] = object{"type": "invoice", "number": " 2026/0011 "}, at(10)["to"]
			m["attachments"] = []any{}
		})
		plant(75, "file_of_another_client", func(m object) { m["attachments"] = []any{at(73)["attachments"].([]any)[0]} })
		plant(77, "file_of_another_client", func(m object) {
			inlineFileOf("contract.doc", "other", "between you and us")(at(76))
			inlineFileOf("agreement.doc", "other", "between you and us")(m)
			m["to"] = []any{object{"address": "q@zoe.example"}}
		})
		plant(80, "attachment_not_found", func(m object) { m["attachments"] = []any{object{"id": "att_none"}} })
		plant(81, "attachment_content_missing", inlineFileOf("empty.pdf", "invoice_pdf", ""))
		plant(82, "file_not_pdf", inlineFileOf("a.pdf", "invoice_pdf", "<html>Session expired</html>"))
		cut, err := demo.NewSample(84)
		if err != nil {
			h.Fatal(err)
		}
		plant(83, "file_not_pdf", func(m object) {
			m["attachments"] = []any{object{"id": w.upload("cut.pdf", "invoice_pdf", "application/pdf", string(cut.PDF[:len(cut.PDF)-9]))}}
		})
		plant(84, "file_not_xml", inlineFileOf("a.xml", "ubl", "<Invoice><ID>2026/0085</ID>"))
		plant(85, "file_doctype", func(m object) {
			m["attachments"] = []any{object{"id": w.upload("a.xml", "e_fff", "application/xml", `<!DOCTYPE a [<!ENTITY b "x">]><a>&b;</a>`)}}
		})
		plant(86, "file_not_ubl", inlineFileOf("a.xml", "e_fff", "<Invoice><ID>2026/0087</ID></Invoice>"))
		plant(87, "file_of_other_document", inlineFileOf("a.xml", "ubl", string(cut.UBL)))
		plant(88, "file_of_other_document", inlineFileOf("a.pdf", "facturx_pdf", facturxOf("2026/0084")))
		plant(89, "message_over_size_limit", func(m object) {
			m["attachments"] = []any{object{"id": w.upload("big.bin", "other", "application/octet-stream", strings.Repeat("x", 1600<<10))}}
		})
		plant(-1, "day_limit_exceeded", nil)
		plant(-1, "time_zone_unknown", nil)
		plant(-1, "profile_not_ready", nil)
		p, err := h.store.Profile(h.Context(), h.ours.id, w.profile)
		if err != nil {
			h.Fatal(err)
		}
		if err := h.store.HoldProfile(h.Context(), p, mail.ProfileTrouble{Code: "smtp_login_refused", Reply: mail.Reply{Code: 535}, Since: time.Now()}); err != nil {
			h.Fatal(err)
		}
		if len(want) < 40 {
			h.Fatalf("only %d faults", len(want))
		}

		stored := h.stored()
		got := w.check(object{"window": object{"from": "08:00", "to": "18:00", "time_zone": "Europe/Bruxelles"}}, "Accept-Language", "nl-BE")
		var found []string
		for _, p := range got.Problems {
			i := -1
			if p.Message != nil {
				i = p.Message.Index
				if at := fmt.Sprintf("/messages/%d/", i); !strings.HasPrefix(p.Pointer+"/", at) || p.Message.ExternalID != fmt.Sprint("x-", i) {
					h.Errorf("%+v of %+v", p, p.Message)
				}
			}
			if p.Title == "" || p.Detail == "" || strings.Contains(p.Detail, "…") || !strings.HasSuffix(p.Remedy, ".") {
				h.Errorf("%s: %q, %q, %q", p.Code, p.Title, p.Detail, p.Remedy)
			}
			if p.Code == "profile_not_ready" && (p.Cause == nil || p.Cause.Code != "smtp_login_refused") {
				h.Errorf("the cause: %+v", p.Cause)
			}
			found = append(found, fmt.Sprintf("%d %s", i, p.Code))
		}
		slices.Sort(found)
		slices.Sort(want)
		if !slices.Equal(found, want) {
			h.Errorf("missing: %q\nnot planted: %q", without(want, found), without(found, want))
		}
		n := got.Counts
		if got.Ready || n.Blocking+n.Warning+n.Info != len(want) || got.ProblemsOmitted != 0 || got.Messages != 1000 || got.Sender == nil || got.Sender.ProfileID != w.profile {
			h.Errorf("%+v of %d", got.Counts, len(want))
		}
		if f := got.Forecast; f == nil || f.Messages != 1000 || f.Days != 2 || f.LimitedBy != "per_day" || f.Limit != 600 || f.RateBasis != "assumed" {
			h.Errorf("forecast: %+v", f)
		}
		if after := h.stored(); fmt.Sprint(after) != fmt.Sprint(stored) {
			h.Errorf("stored: %v, before %v", after, stored)
		}
	})
}

func without(list, other []string) (rest []string) {
	other = slices.Clone(other)
	for _, s := range list {
		if i := slices.Index(other, s); i >= 0 {
			other = slices.Delete(other, i, i+1)
		} else {
			rest = append(rest, s)
		}
	}
	return rest
}

// settle gives a message a state, as the engine would.
func (h *house) settle(id, status string) {
	h.Helper()
	if err := h.store.Write(h.Context(), func(ctx context.Context, tx *store.Tx) error {
		const query = `UPDATE messages SET status = $3, sent_at = CASE WHEN $3 = 'sent' THEN created_at END WHERE tenant_id = $1 AND id = $2`
		if tx.PG != nil {
			_, err := tx.PG.Exec(ctx, query, h.ours.id, id, status)
			return err
		}
		_, err := tx.SQL.ExecContext(ctx, query, h.ours.id, id, status)
		return err
	}); err != nil {
		h.Fatal(err)
	}
}

// Thousands of the same fault do not crowd out the one that matters, and are counted in full.
func TestCheckCapsTheList(t *testing.T) {
	w := newCheckWorld(onSQLite(t))
	for i := range 2500 {
		w.mails = append(w.mails, object{"to": []any{object{"address": "nobody"}, object{"address": "a@zoe.example"}}, "subject": "x", "text": fmt.Sprint("x", i)})
	}
	w.mails[2400]["send_at"] = "2099-01-01T00:00:00Z"
	got := w.check(nil)
	if len(got.Problems) != 202 || got.Counts.Blocking != 2501 || got.ProblemsOmitted != 2300 || got.Counts.Warning != 1 {
		t.Errorf("%d listed, %d omitted, %+v", len(got.Problems), got.ProblemsOmitted, got.Counts)
	}
	if want := []api.CheckCode{
		{Code: "address_invalid", Severity: "blocking", Count: 2500, Listed: 200}, {Code: "send_at_too_far", Severity: "blocking", Count: 1, Listed: 1},
		{Code: "day_limit_exceeded", Severity: "warning", Count: 1, Listed: 1},
	}; !slices.Equal(got.Codes, want) {
		t.Errorf("%+v", got.Codes)
	}
}

// The forecast knows the hours of the batch, of a draft too.
func TestCheckForecastsWithinTheWindow(t *testing.T) {
	w := newCheckWorld(onSQLite(t))
	later := time.Now().UTC().Add(48 * time.Hour)
	day := strings.ToLower(later.Weekday().String()[:3])
	opens := later.Truncate(24 * time.Hour)
	w.mails = []object{{"to": []any{object{"address": "a@zoe.example"}}, "subject": "x", "text": "x"}}
	job := object{"company_ref": "C001", "draft": true, "messages": w.mails, "window": object{"days": []any{day}, "from": "00:00", "to": "24:00", "time_zone": "UTC"}}
	draft := w.must(http.StatusAccepted, w.ours.send, "POST", "/v1/send-jobs", job)
	for _, path := range []string{"/v1/send-jobs/check", "/v1/send-jobs/" + draft.text("id") + "/check"} {
		a := w.must(http.StatusOK, w.ours.send, "POST", path, job)
		var got api.SendJobCheck
		if err := json.Unmarshal(a.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if f := got.Forecast; f == nil || !f.StartsAt.Equal(opens) || !f.DoneAt.After(opens) {
			t.Errorf("%s: %+v, opens at %s", path, f, opens)
		}
	}
}

// Only a body that is not the documented one is refused.
func TestCheckRefusals(t *testing.T) {
	w := newCheckWorld(onSQLite(t))
	for _, tc := range []struct {
		body string
		want []string
	}{
		{`{"company_ref":"C001","messages":[{"to":5}]}`, []string{"/messages/0/to field_type"}},
		{`{"company_ref":"C001","messages":[{"too":[]}]}`, []string{"/messages/0/too field_unknown"}},
		{`{"company_ref":"C001","messages":[]}`, []string{"/messages field_required"}},
		{`{}`, []string{"/messages field_required"}},
	} {
		a := w.must(http.StatusUnprocessableEntity, w.ours.send, "POST", "/v1/send-jobs/check", tc.body)
		got := a.errors()
		slices.Sort(got)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q", tc.body, got)
		}
	}
	// No sender is a problem like others.
	a := w.must(http.StatusOK, w.ours.send, "POST", "/v1/send-jobs/check", `{"company_ref":"C404","messages":[{"to":[{"address":"a@zoe.example"}],"subject":"x","text":"x"}]}`)
	if !strings.Contains(a.Body.String(), `"sender_profile_not_found"`) || a.doc["sender"] != nil || a.doc["forecast"] != nil || a.doc["ready"] != false {
		t.Errorf("%s", a.Body)
	}
}

func TestEveryRemedyHasTexts(t *testing.T) {
	for _, lang := range []string{"fr", "nl", "en", "de"} {
		for _, key := range preflight.Remedies() {
			if texts.Word(lang, "remedy", key) == key {
				t.Errorf("%s: no text for the remedy %s", lang, key)
			}
		}
	}
}
