package server

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/senders"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/sendgrid"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

func newSenders(t *testing.T, s *store.Store, box *outbox.Outbox, far *transporttest.SendGrid) *senders.Service {
	t.Helper()
	driver, err := sendgrid.New(sendgrid.Config{Keys: map[string]sendgrid.Key{"main": {Secret: transporttest.SendGridTestKey, BaseURL: far.URL()}}})
	if err != nil {
		t.Fatal(err)
	}
	return senders.New(senders.Config{Store: s, SendGrid: driver, Wake: box.Wake})
}

const sendGridProfile = `{"level":"user","owner_ref":"jdupont","default":true,"from":{"address":"jean@zoe.example"},"transport":"sendgrid"}`

// Without the add-on a SendGrid profile is of no use, by whatever way, and every refusal says whom to ask in the reader's language.
func TestAddOnRequired(t *testing.T) {
	onBoth(t, func(h *house) {
		addOn := "/v1/tenants/" + h.ours.id + "/add-ons/sendgrid"
		required := func(method, path string, body any) {
			t.Helper()
			a := h.must(http.StatusForbidden, h.ours.all, method, path, body, "Accept-Language", "fr-BE")
			if a.text("code") != "add_on_required" || !strings.Contains(a.text("detail"), "revendeur") {
				t.Errorf("%s %s: %s", method, path, a.Body)
			}
		}
		required("POST", "/v1/sender-profiles", sendGridProfile)
		smtp := h.furnish(h.ours.all).user
		required("PATCH", "/v1/sender-profiles/"+smtp, `{"transport":"sendgrid"}`)

		h.must(http.StatusOK, h.operator, "PUT", addOn, `{}`)
		p := h.must(http.StatusCreated, h.ours.all, "POST", "/v1/sender-profiles", sendGridProfile)
		if p.text("status") != "held" || p.doc["problem"].(map[string]any)["code"] != "sendgrid_sender_unverified" {
			t.Errorf("%s", p.Body)
		}
		one := "/v1/sender-profiles/" + p.text("id")
		mail := object{"user_ref": "jdupont", "to": []any{object{"address": "client@x.example"}}, "subject": "Invoice", "text": "Hello"}
		first := h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/messages", mail, "Idempotency-Key", "k1")
		check := h.must(http.StatusOK, h.ours.all, "POST", one+"/check", nil)
		if check.doc["ok"] != false || h.must(http.StatusOK, h.ours.all, "GET", one, nil).text("status") != "held" {
			t.Errorf("the check of a sender that is not proved: %s", check.Body)
		}

		h.must(http.StatusNoContent, h.operator, "DELETE", addOn, nil)
		h.must(http.StatusNoContent, h.operator, "DELETE", addOn, nil)
		required("POST", "/v1/messages", mail)
		if again := h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/messages", mail, "Idempotency-Key", "k1"); !bytes.Equal(again.Body.Bytes(), first.Body.Bytes()) {
			t.Error("a repeated request is answered otherwise since")
		}
		required("POST", one+"/check", nil)
		required("POST", one+"/test-message", `{"to":{"address":"a@x.example"}}`)
		required("PATCH", one, `{"name":"Jean"}`)
		required("POST", one+"/sender-verification", `{"method":"domain"}`)
		required("GET", one+"/sender-verification", nil)
		m := h.must(http.StatusOK, h.ours.all, "GET", "/v1/messages/"+first.text("id"), nil)
		if m.text("status") != "held" || !strings.Contains(m.Body.String(), "add_on_required") {
			t.Errorf("the mail that waits: %s", m.Body)
		}
		// It may be made something else.
		h.must(http.StatusOK, h.ours.all, "PATCH", one, `{"transport":"sandbox"}`)

		var actions []string
		for _, e := range h.must(http.StatusOK, h.ours.all, "GET", "/v1/audit-events", nil).doc["items"].([]any) {
			actions = append(actions, e.(map[string]any)["action"].(string))
		}
		if got := strings.Join(actions, " "); got != "add_on.end add_on.put" {
			t.Errorf("audited: %s", got)
		}
		// A key that the service has not would keep the firm's mail waiting for ever.
		if got := h.must(http.StatusUnprocessableEntity, h.operator, "PUT", addOn, `{"key":"mian"}`).errors(); len(got) != 1 || got[0] != "/key value_unknown" {
			t.Errorf("%v", got)
		}
		// Nothing of the service's account is the firm's to know.
		h.must(http.StatusOK, h.operator, "PUT", addOn, `{"key":"main","subuser":"sub-zoe"}`)
		for _, path := range []string{"/v1/audit-events", "/v1/add-ons", "/v1/sender-profiles", one} {
			if a := h.must(http.StatusOK, h.ours.all, "GET", path, nil); strings.Contains(a.Body.String(), `"main"`) || strings.Contains(a.Body.String(), "sub-zoe") {
				t.Errorf("%s: %s", path, a.Body)
			}
		}
		for _, path := range []string{addOn, "/v1/tenants/" + h.ours.id + "/sender-identities", "/v1/usage-report"} {
			h.must(http.StatusForbidden, h.ours.all, "GET", path, nil)
		}
	})
}

// A domain that another firm has proved is refused wherever it is named, without a word of who has it.
func TestForeignSenderIsRefused(t *testing.T) {
	onBoth(t, func(h *house) {
		for _, tenant := range []tenantKeys{h.ours, h.theirs} {
			h.must(http.StatusOK, h.operator, "PUT", "/v1/tenants/"+tenant.id+"/add-ons/sendgrid", `{}`)
		}
		h.must(http.StatusOK, h.operator, "PUT", "/v1/tenants/"+h.theirs.id+"/sender-identities/ZOE.example", nil)
		h.sendGrid.Verify("", "zoe.example")
		mine := strings.Replace(sendGridProfile, "jean@zoe.example", "jean@mine.example", 1)
		p := h.must(http.StatusCreated, h.ours.all, "POST", "/v1/sender-profiles", mine)
		for _, a := range []answered{
			h.must(http.StatusUnprocessableEntity, h.ours.all, "POST", "/v1/sender-profiles", sendGridProfile),
			h.must(http.StatusUnprocessableEntity, h.ours.all, "PATCH", "/v1/sender-profiles/"+p.text("id"), `{"from":{"address":"x@Zoe.Example"}}`),
		} {
			if got := a.errors(); len(got) != 1 || got[0] != "/from/address sender_identity_taken" || strings.Contains(a.Body.String(), h.theirs.id) || strings.Contains(a.Body.String(), "theirs") {
				t.Errorf("%s", a.Body)
			}
		}
		if got := h.must(http.StatusCreated, h.theirs.all, "POST", "/v1/sender-profiles", sendGridProfile).text("status"); got != "ready" {
			t.Errorf("its own firm's profile is %s", got)
		}
	})
}

func TestUsageReport(t *testing.T) {
	onBoth(t, func(h *house) {
		month := time.Now().UTC().Format(monthFormat)
		name := `=SUM(1), "Zoë" & fils`
		with := h.tenant(name)
		h.must(http.StatusOK, h.operator, "PUT", "/v1/tenants/"+with.id+"/add-ons/sendgrid", object{"from": month + "-01T00:00:00Z"})
		f := h.furnish(h.ours.all)
		for range 3 {
			h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/messages", object{
				"sender_profile_id": f.user, "to": []any{object{"address": "a@x.example"}, object{"address": "b@x.example"}}, "subject": "Hi", "text": "Hello",
			})
		}
		usage := h.must(http.StatusOK, h.ours.read, "GET", "/v1/usage?month="+month, nil)
		total := usage.doc["total"].(map[string]any)
		if total["messages"] != 3.0 || total["recipients"] != 6.0 || total["waiting"] != 3.0 || total["sent"] != 0.0 {
			t.Errorf("%s", usage.Body)
		}
		if got := h.must(http.StatusOK, h.theirs.read, "GET", "/v1/usage", nil).doc["items"].([]any); len(got) != 0 {
			t.Errorf("another firm's: %v", got)
		}
		a := h.must(http.StatusOK, h.operator, "GET", "/v1/usage-report?format=csv&month="+month, nil)
		lines, err := csv.NewReader(a.Body).ReadAll()
		if err != nil || len(lines) != 3 {
			t.Fatalf("%v, %v", lines, err)
		}
		days := time.Now().UTC().Format("2")
		for _, want := range [][]string{
			{month, h.ours.id, "ours", "0", f.user, "jean@firm.example", "smtp", "3", "6", "0", "0", "3", "0", "0", "0", "0"},
			{month, with.id, "'" + name, days, "", "", "", "0", "0", "0", "0", "0", "0", "0", "0", "0"},
		} {
			found := false
			for _, line := range lines[1:] {
				found = found || strings.Join(line, "|") == strings.Join(want, "|")
			}
			if !found {
				t.Errorf("no line %q in %q", want, lines)
			}
		}
	})
}
