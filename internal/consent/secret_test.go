package consent_test

import (
	"bytes"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/winprest/facteur/internal/consent"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

// dump is everything that the tables of Gmail hold.
func (w *world) dump() []byte {
	w.Helper()
	db := w.store.SQLite()
	if pool := w.store.Postgres(); pool != nil {
		db = stdlib.OpenDBFromPool(pool)
		defer db.Close()
	}
	var b bytes.Buffer
	for _, table := range []string{"gmail_grants", "gmail_consents", "gmail_clients", "sender_profiles", "audit_events"} {
		rows, err := db.QueryContext(w.Context(), "SELECT * FROM "+table)
		if err != nil {
			w.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			w.Fatal(err)
		}
		cells := make([]sql.RawBytes, len(columns))
		dest := make([]any, len(columns))
		for i := range cells {
			dest[i] = &cells[i]
		}
		for rows.Next() {
			if err := rows.Scan(dest...); err != nil {
				w.Fatal(err)
			}
			for _, c := range cells {
				b.Write(c)
				b.WriteByte('\n')
			}
		}
		if err := rows.Err(); err != nil {
			w.Fatal(err)
		}
		rows.Close()
	}
	return b.Bytes()
}

// A dump of the database tells no secret, a rotated keyset reads them all, and the old one none.
func TestSecretsAreSealed(t *testing.T) {
	both(t, transporttest.GoogleConfig{}, func(w *world) {
		own := &store.GmailClient{TenantID: w.profile.TenantID, Name: "own", ClientID: "id-own", Secret: "secret-of-own", State: "current"}
		if err := w.store.PutGmailClient(w.Context(), own); err != nil {
			w.Fatal(err)
		}
		g := w.connect(w.profile)
		if g.Client != "own" || !g.ClientOwn {
			w.Errorf("the tenant's own client is not used: %+v", g)
		}
		browser := consent.NewBrowser()
		ticket := w.begin(w.profile)
		query := w.decide(w.leave(ticket, browser), transporttest.GoogleDecision{})
		dump := w.dump()
		for name, secret := range map[string]string{
			"refresh token": string(g.RefreshToken), "access token": string(g.AccessToken), "client secret": "secret-of-own", "ticket": ticket, "browser": browser,
			"state": query.Get("state"), "code": query.Get("code"),
		} {
			if secret == "" || bytes.Contains(dump, []byte(secret)) {
				w.Errorf("the %s is in the dump, or there is none", name)
			}
		}

		if err := w.keyset.Rotate(); err != nil {
			w.Fatal(err)
		}
		if n, err := w.store.RewrapAll(w.Context()); err != nil || n != 4 { // two tokens, a verifier, a client's secret
			w.Fatalf("%d secrets sealed again, %v", n, err)
		}
		if n, err := w.store.RewrapAll(w.Context()); err != nil || n != 0 {
			w.Errorf("%d secrets sealed a third time, %v", n, err)
		}
		if page := w.finish(query, browser); page.Code != "" {
			w.Errorf("after the rotation: %+v", page)
		}
		w.expireAccess(w.profile)
		if _, err := w.service.AccessToken(w.Context(), w.read(w.profile), ""); err != nil {
			w.Errorf("after the rotation: %v", err)
		}

		// Another firm's row does not open with this firm's secret in it.
		w.sql("UPDATE gmail_clients SET name = ?", "stolen")
		if _, err := w.store.GmailClients(w.Context(), w.profile.TenantID); err == nil {
			w.Error("a secret opens in another row")
		}

		// A process with another keyset sends nothing and breaks nothing.
		var err error
		if w.keyset, err = store.NewKeyset(); err != nil {
			w.Fatal(err)
		}
		stranger := w.open()
		if err := stranger.CheckKeyset(w.Context()); err == nil {
			w.Error("the wrong keyset is not noticed")
		}
		w.sql("UPDATE gmail_grants SET checked_at = 1")
		service := w.serve(stranger)
		_, err = service.AccessToken(w.Context(), w.read(w.profile), "")
		w.fails(err, mail.OutcomeTemporary, "secrets_unavailable")
		if err := service.CheckGrants(w.Context()); err != nil || w.status(w.profile).State != consent.StateConnected {
			w.Errorf("check with the wrong keyset: %v, %s", err, w.status(w.profile).State)
		}
	})
}
