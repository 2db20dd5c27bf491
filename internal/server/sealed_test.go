package server

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// A profile whose secrets cannot be opened (their key has left the keyset) is shown, and takes mails that wait for it; who
// gives the password anew mends it. The others are none the worse.
func TestProfileWithUnreadableSecrets(t *testing.T) {
	both(t, func(t *testing.T, url string) {
		h := newHouse(t, url)
		f := h.furnish(h.ours.all)
		keyset, err := store.NewKeyset()
		if err != nil {
			t.Fatal(err)
		}
		elsewhere, err := store.Open(t.Context(), store.Config{URL: url, Keyset: keyset, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer elsewhere.Close()
		p := &mail.Profile{
			TenantID: h.ours.id, Level: mail.LevelUser, OwnerRef: "mpeeters", Default: true, Transport: "smtp", MaxConnections: 1,
			From: mail.Address{Address: "marie@firm.example"},
			SMTP: &mail.SMTPSettings{Host: "smtp.firm.example", Port: 587, Security: mail.SecuritySTARTTLS, Auth: mail.AuthAuto, Username: "marie", Password: "lost-pass"},
		}
		if err := elsewhere.CreateProfile(t.Context(), p, nil); err != nil {
			t.Fatal(err)
		}
		at := "/v1/sender-profiles/" + p.ID
		passwordSet := func(doc map[string]any) any {
			smtp, _ := doc["smtp"].(map[string]any)
			return smtp["password_set"]
		}

		shown := h.must(http.StatusOK, h.ours.all, "GET", at, nil, "If-None-Match", `"1"`)
		if passwordSet(shown.doc) != false {
			t.Errorf("shown as %s", shown.Body)
		}
		set := map[string]any{}
		for _, item := range h.must(http.StatusOK, h.ours.all, "GET", "/v1/sender-profiles", nil).doc["items"].([]any) {
			doc := item.(map[string]any)
			set[doc["id"].(string)] = passwordSet(doc)
		}
		if len(set) != 3 || set[p.ID] != false || set[f.user] != true {
			t.Errorf("listed: %v", set)
		}
		h.must(http.StatusOK, h.ours.all, "GET", at+"/health", nil)

		// A mail waits; nobody tries to log in without the password.
		message := f.invoice()
		message["sender_profile_id"] = p.ID
		message["subject"], message["text"] = "Bonjour", "Bonjour"
		for _, gone := range []string{"document", "tokens", "client"} {
			delete(message, gone)
		}
		h.must(http.StatusAccepted, h.ours.all, "POST", "/v1/messages", message)
		if a := h.must(http.StatusInternalServerError, h.ours.all, "POST", at+"/check", nil); a.text("code") != codeSecretsUnavailable {
			t.Errorf("checked: %s", a.Body)
		}

		// Neither does the check of a job, which says what is wrong.
		job := object{"name": "November", "sender_profile_id": p.ID, "messages": []any{with{"sender_profile_id": nil}.of(message)}}
		checked := h.must(http.StatusOK, h.ours.all, "POST", "/v1/send-jobs/check", job)
		if checked.doc["ready"] != false || !strings.Contains(checked.Body.String(), codeSecretsUnavailable) {
			t.Errorf("checked as part of a job: %s", checked.Body)
		}

		// An edit without the password loses nothing: it is refused where there is a login, else what is sealed stays.
		a := h.must(http.StatusUnprocessableEntity, h.ours.all, "PATCH", at, `{"name":"Marie"}`)
		if got := strings.Join(a.errors(), ","); got != "/smtp/password field_required" {
			t.Errorf("edited without a password: %s", got)
		}
		h.must(http.StatusOK, h.ours.all, "PATCH", at, `{"name":"Marie","smtp":{"auth":"none"}}`)
		if q, err := elsewhere.ProfileWithSecrets(t.Context(), p.TenantID, p.ID); err != nil || q.Name != "Marie" || q.SMTP.Password != "lost-pass" {
			t.Errorf("after an edit without a login: %v", err)
		}
		if a := h.must(http.StatusOK, h.ours.all, "PATCH", at, `{"smtp":{"auth":"auto","password":"new-pass"}}`); passwordSet(a.doc) != true {
			t.Errorf("mended: %s", a.Body)
		}
		if q, err := h.store.ProfileWithSecrets(t.Context(), p.TenantID, p.ID); err != nil || q.SMTP.Password != "new-pass" || q.SMTP.Username != "marie" {
			t.Errorf("mended: %v", err)
		}
		h.must(http.StatusOK, h.ours.all, "POST", at+"/check", nil)
	})
}
