package consent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// What the doctor finds in the grants.
func TestExamine(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		findings := func() string {
			w.Helper()
			found, err := w.service.Examine(w.Context(), consent.Examination{Offline: true, Production: true})
			if err != nil {
				w.Fatal(err)
			}
			var b strings.Builder
			for _, f := range found {
				b.WriteString(string(f.Grade) + " " + f.Text + "\n")
			}
			return b.String()
		}
		says := func(want ...string) {
			w.Helper()
			got := findings()
			for _, s := range want {
				if !strings.Contains(got, s) {
					w.Errorf("%q is not in:\n%s", s, got)
				}
			}
		}
		says("do register this redirect URI", publicURL+consent.CallbackPath, "ok client key-2 is current", "7 days")
		if got := findings(); strings.Contains(got, "bad ") || strings.Contains(got, "warn ") {
			w.Errorf("nothing is wrong yet:\n%s", got)
		}
		p := w.newProfile(w.profile.TenantID, address, &mail.GmailSettings{})
		w.connect(p)
		says("ok 1 profiles of 1 firms are connected through client key-2")

		p = w.read(p)
		p.Gmail.Reconcile = true
		if err := w.store.UpdateProfile(w.Context(), p, 0); err != nil {
			w.Fatal(err)
		}
		says("warn profile " + p.ID + " of " + p.TenantID + " lacks the scope " + consent.ScopeRead)

		w.sql("UPDATE gmail_grants SET refresh_expires_at = ?", time.Now().Add(time.Hour).UnixMicro())
		says(`bad client key-2: Google ends 1 connections by itself`, "Testing")

		week := 7 * 24 * time.Hour
		w.sql("UPDATE gmail_grants SET state = 'needs_reauthorization', refresh_expires_at = 0, granted_at = ?, since = ?",
			time.Now().Add(-week-time.Hour).UnixMicro(), time.Now().UnixMicro())
		says("warn client key-2: 1 connections ended about 7 days after", "1 profiles were connected through client key-2 and need a new consent")

		w.config.Clients, w.config.PublicURL = w.config.Clients[:1], ""
		w.service = w.serve(w.store)
		says("bad FACTEUR_PUBLIC_URL is not set", "warn no OAuth client is current")
	})
}
