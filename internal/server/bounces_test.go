package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
)

const bounceTrouble = "bounce_mailbox_login_refused"

// checkBounces takes every login but at hosts whose name says no.
func checkBounces(_ context.Context, p *mail.Profile) *mail.ProfileTrouble {
	if strings.HasPrefix(p.BounceMailbox.Host, "refuses.") {
		return &mail.ProfileTrouble{Code: bounceTrouble, Reply: mail.Reply{Text: "no"}, Since: time.Now()}
	}
	return nil
}

func TestBounceMailboxSettings(t *testing.T) {
	onBoth(t, func(h *house) {
		profile := func(transport string, smtp any, box object) object {
			return object{
				"level": "company", "owner_ref": "C9", "transport": transport, "from": object{"address": "billing@firm.example"}, "smtp": smtp, "bounce_mailbox": box,
			}
		}
		server := object{"host": "smtp.firm.example"}
		box := object{"host": "imap.firm.example", "username": "billing", "password": "geheim"}
		for name, c := range map[string]struct {
			body object
			want string
		}{
			"sandbox":            {profile("sandbox", nil, box), "/bounce_mailbox bounce_mailbox_not_used"},
			"verp by gmail":      {profile("gmail", nil, with{"verp": true}.of(box)), "/bounce_mailbox/verp verp_not_possible"},
			"in clear":           {profile("smtp", server, with{"security": "none"}.of(box)), "/bounce_mailbox/security plaintext_login_not_allowed"},
			"no password":        {profile("smtp", server, with{"password": nil}.of(box)), "/bounce_mailbox/password field_required"},
			"host with a scheme": {profile("smtp", server, with{"host": "imap://x.example"}.of(box)), "/bounce_mailbox/host host_invalid"},
			"verp and a long address": {profile("smtp", object{"host": "smtp.firm.example", "envelope_from": strings.Repeat("b", 25) + "@firm.example"},
				with{"verp": true}.of(box)), "/bounce_mailbox/verp verp_address_too_long"},
		} {
			a := h.must(http.StatusUnprocessableEntity, h.ours.all, "POST", "/v1/sender-profiles", c.body)
			if got := a.errors(); !slices.Equal(got, []string{c.want}) {
				h.Errorf("%s: %v", name, got)
			}
		}
		h.must(http.StatusCreated, h.ours.all, "POST", "/v1/sender-profiles", profile("smtp", object{"host": "smtp.firm.example", "security": "none", "allow_plaintext_login": true},
			with{"security": "none"}.of(box)))

		made := h.must(http.StatusCreated, h.ours.all, "POST", "/v1/sender-profiles", profile("smtp", server, with{"verp": true}.of(box)))
		path := "/v1/sender-profiles/" + made.text("id")
		get := func(lang string) *api.BounceMailbox {
			a := h.must(http.StatusOK, h.ours.all, "GET", path, nil, "Accept-Language", lang)
			var p api.SenderProfile
			if err := json.Unmarshal(a.Body.Bytes(), &p); err != nil {
				h.Fatal(err)
			}
			if strings.Contains(a.Body.String(), "geheim") {
				h.Errorf("a password is shown: %s", a.Body)
			}
			return p.BounceMailbox
		}
		want := api.BounceMailbox{Host: "imap.firm.example", Port: 993, Security: "tls", Username: "billing", PasswordSet: true, Folder: "INBOX", VERP: true}
		if got := get("en"); got == nil || *got != want {
			h.Fatalf("%+v, want %+v", got, want)
		}
		stored, err := h.store.Profile(h.Context(), h.ours.id, made.text("id"))
		if err != nil || stored.BounceMailbox.VERPKey == "" || stored.BounceMailbox.Password != "geheim" {
			h.Fatalf("%+v, %v", stored, err)
		}

		// What is wrong is shown in the reader's language, holds nothing, and ends with an edit.
		readings, err := h.store.BounceReadings(h.Context(), "token", time.Minute, 9)
		if err != nil || len(readings) != 2 {
			h.Fatalf("%+v, %v", readings, err)
		}
		for i := range readings {
			if err := h.store.EndBounceReading(h.Context(), &readings[i], time.Hour, &mail.ProfileTrouble{Code: bounceTrouble, Since: time.Now()}); err != nil {
				h.Fatal(err)
			}
		}
		seen := map[string]bool{}
		for _, lang := range []string{"fr", "nl", "en", "de"} {
			b := get(lang)
			if b.Problem == nil || b.Problem.Code != bounceTrouble || b.Problem.Since == nil || seen[b.Problem.Title] {
				h.Errorf("%s: %+v", lang, b.Problem)
				continue
			}
			seen[b.Problem.Title] = true
		}
		if a := h.must(http.StatusOK, h.ours.all, "GET", path, nil); a.text("status") != "ready" {
			h.Errorf("status %s", a.text("status"))
		}
		if a := h.must(http.StatusOK, h.ours.all, "GET", "/v1/sender-profiles", nil); !strings.Contains(a.Body.String(), bounceTrouble) {
			h.Errorf("not in the list: %s", a.Body)
		}
		h.must(http.StatusOK, h.ours.all, "PATCH", path, object{"bounce_mailbox": object{"port": 1993}})
		want.Port = 1993
		if got := get("en"); *got != want {
			h.Errorf("%+v, want %+v", got, want)
		}
		if after, err := h.store.Profile(h.Context(), h.ours.id, made.text("id")); err != nil || after.BounceMailbox.VERPKey != stored.BounceMailbox.VERPKey {
			h.Errorf("another key: %v", err)
		}

		// Another server never gets the password that was typed for this one.
		a := h.must(http.StatusUnprocessableEntity, h.ours.all, "PATCH", path, object{"bounce_mailbox": object{"host": "refuses.firm.example"}})
		if got := a.errors(); !slices.Equal(got, []string{"/bounce_mailbox/password field_required"}) {
			h.Errorf("%v", got)
		}
		steps := func() (bool, []string) {
			var c api.ProfileCheck
			if err := json.Unmarshal(h.must(http.StatusOK, h.ours.all, "POST", path+"/check", nil).Body.Bytes(), &c); err != nil {
				h.Fatal(err)
			}
			var list []string
			for _, s := range c.Steps {
				text := s.Name
				if s.Problem != nil {
					text += " " + s.Problem.Code
				}
				list = append(list, text)
			}
			return c.OK, list
		}
		if ok, list := steps(); !ok || !slices.Equal(list, []string{"connect", "bounce_mailbox"}) {
			h.Errorf("check %t %q", ok, list)
		}
		h.must(http.StatusOK, h.ours.all, "PATCH", path, object{"bounce_mailbox": object{"host": "refuses.firm.example", "password": "geheim2"}})
		held, err := h.store.Profile(h.Context(), h.ours.id, made.text("id"))
		if err == nil {
			err = h.store.HoldProfile(h.Context(), held, mail.ProfileTrouble{Code: "smtp_login_refused", Since: time.Now()})
		}
		if err != nil {
			h.Fatal(err)
		}
		if ok, list := steps(); ok || !slices.Equal(list, []string{"connect", "bounce_mailbox " + bounceTrouble}) {
			h.Errorf("check %t %q", ok, list)
		}
		if a := h.must(http.StatusOK, h.ours.all, "GET", path, nil); a.text("status") != "ready" {
			h.Errorf("the mailbox keeps the profile %s", a.text("status"))
		}
		h.must(http.StatusOK, h.ours.all, "PATCH", path, object{"bounce_mailbox": nil})
		if got := get("en"); got != nil {
			h.Errorf("%+v after null", got)
		}
		h.must(http.StatusOK, h.ours.all, "PATCH", path, object{"bounce_mailbox": box})
		h.must(http.StatusOK, h.ours.all, "PATCH", path, object{"transport": "gmail"})
		if got := get("en"); got != nil {
			h.Errorf("%+v after another transport", got)
		}
		h.must(http.StatusNoContent, h.ours.all, "DELETE", path, nil)
	})
}
