package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/transport/transporttest"
)

const oneClient = `FACTEUR_GOOGLE_CLIENTS=[{"name":"key-1","client_id":"client-1","client_secret":"client-1-secret","state":"current"}]`

func TestGoogleConfig(t *testing.T) {
	c, err := readConfig([]string{oneClient, "FACTEUR_RETURN_URLS=https://a.example/x,winprest:done", "FACTEUR_PUBLIC_URL=https://mail.example.com"})
	if err != nil || len(c.googleClients) != 1 || c.googleClients[0].Secret != "client-1-secret" || len(c.ReturnURLs) != 2 {
		t.Fatalf("%+v, %v", c.googleClients, err)
	}
	path := filepath.Join(t.TempDir(), "clients")
	if err := os.WriteFile(path, []byte(strings.TrimPrefix(oneClient, "FACTEUR_GOOGLE_CLIENTS=")), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err = readConfig([]string{"FACTEUR_GOOGLE_CLIENTS_FILE=" + path}); err != nil || len(c.googleClients) != 1 {
		t.Errorf("from a file: %+v, %v", c.googleClients, err)
	}
	var table strings.Builder
	c.writeTable(&table)
	if strings.Contains(table.String(), "client-1-secret") {
		t.Errorf("a secret was printed:\n%s", table.String())
	}
	// Everything is named at once.
	_, err = readConfig([]string{
		`FACTEUR_GOOGLE_CLIENTS=[{"name":"Clé","client_id":"a","client_secret":"hunter2","state":"current"},{"name":"b","client_id":"","client_secret":"","state":"old"}]`,
		"FACTEUR_PUBLIC_URL=http://mail.example.com", "FACTEUR_RETURN_URLS=javascript:x", "FACTEUR_GOOGLE_URL=google",
	})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{
		"FACTEUR_GOOGLE_CLIENTS: OAuth client 1", "FACTEUR_GOOGLE_CLIENTS: OAuth client 2 (b): it needs", `its state is "old"`, "FACTEUR_PUBLIC_URL: ",
		"FACTEUR_RETURN_URLS: ", "FACTEUR_GOOGLE_URL: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	for _, doc := range []string{`{"hunter2"}`, `[{"name":"a","password":"hunter2"}]`, `[]{`, `[{"name":5}]`, `["hunter2"]`} {
		if _, err := readConfig([]string{"FACTEUR_GOOGLE_CLIENTS=" + doc}); err == nil || !strings.Contains(err.Error(), "FACTEUR_GOOGLE_CLIENTS") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", doc, err)
		}
	}
	for _, more := range []string{"FACTEUR_LISTEN=:8025", "FACTEUR_ENV=production"} {
		if _, err := readConfig([]string{oneClient, more}); err == nil || !strings.Contains(err.Error(), "FACTEUR_PUBLIC_URL") {
			t.Errorf("no public URL with %s: %v", more, err)
		}
	}
}

// The client's calls on the real program, and what the doctor says of it.
func TestClientConnectsToGmail(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	google := transporttest.StartGoogle(t, transporttest.GoogleConfig{})
	environ := []string{oneClient, "FACTEUR_GOOGLE_URL=http://" + google.Addr(), "FACTEUR_RETURN_URLS=https://app.example/mail"}
	p := launch(t, dir, environ, "serve")
	operator := newClient(t, p.url, must(t, dir, "key", "create", "--operator"))
	c := newClient(t, p.url, must(t, dir, "key", "create", must(t, dir, "tenant", "create", "Zoë")))
	profile := ok(c.CreateSenderProfile(ctx, api.SenderProfileRequest{
		Level: "company", OwnerRef: "C001", From: api.Address{Address: "a@firm.example"}, Transport: "gmail", Gmail: &api.GmailSettings{Client: "key-1"},
	}))(t)
	if st := ok(c.Authorization(ctx, profile.ID))(t); st.State != "none" {
		t.Errorf("authorization is %+v", st)
	}
	start := ok(c.BeginAuthorization(ctx, profile.ID, api.AuthorizationRequest{ReturnURL: "https://app.example/mail/done"}))(t)

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	visit := func(method, url string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp := ok(browser.Do(req))(t)
		defer resp.Body.Close()
		return resp, string(ok(io.ReadAll(resp.Body))(t))
	}
	visit("GET", start.URL)
	left, _ := visit("POST", start.URL)
	back := ok(google.Decide(ctx, left.Header.Get("Location"), transporttest.GoogleDecision{}))(t)
	if resp, page := visit("GET", back.String()); resp.StatusCode != http.StatusOK {
		t.Fatalf("callback: %d %s", resp.StatusCode, page)
	}
	if st := ok(c.Authorization(ctx, profile.ID))(t); st.State != "connected" || st.Client != "key-1" {
		t.Errorf("authorization is %+v", st)
	}
	if on := collect(t, c.SenderProfilesOnGmailClient(ctx, "key-1")); len(on) != 1 || on[0].ID != profile.ID {
		t.Errorf("profiles on key-1: %+v", on)
	}
	if check := ok(c.CheckSenderProfile(ctx, profile.ID))(t); !check.OK {
		t.Errorf("check is %+v", check)
	}
	ok(c.PutGmailClient(ctx, "own", api.GmailClientRequest{ClientID: "x", ClientSecret: "y"}))(t)
	if clients := ok(c.GmailClients(ctx))(t); len(clients) != 2 || clients[0].Owner != "tenant" || clients[1].Connected != 1 {
		t.Errorf("clients are %+v", clients)
	}
	if err := c.DeleteGmailClient(ctx, "own"); err != nil {
		t.Error(err)
	}
	if report := ok(operator.GmailClientReport(ctx))(t); len(report) != 1 || report[0].Connected != 1 {
		t.Errorf("report is %+v", report)
	}
	if on := collect(t, operator.GmailClientProfiles(ctx, "key-1")); len(on) != 1 || on[0].Address != "a@firm.example" {
		t.Errorf("profiles are %+v", on)
	}

	doctor := func(code int, environ []string, want ...string) {
		t.Helper()
		stdout, stderr, got := facteur(t, dir, environ, "doctor")
		for _, w := range want {
			if !strings.Contains(stdout, w) {
				t.Errorf("the doctor does not say %q:\n%s%s", w, stdout, stderr)
			}
		}
		if got != code || strings.Contains(stdout+stderr, "-secret") {
			t.Errorf("exit code %d, want %d:\n%s%s", got, code, stdout, stderr)
		}
	}
	here := append(environ, "FACTEUR_PUBLIC_URL="+p.url)
	doctor(0, here, "register this redirect URI", p.url+"/oauth/google/callback", "is this service", "client key-1 is current, and Google knows", "1 profiles of 1 firms")
	doctor(1, []string{"FACTEUR_GOOGLE_URL=http://" + google.Addr(), "FACTEUR_PUBLIC_URL=" + p.url}, "FACTEUR_GOOGLE_CLIENTS is not set", "bad   1 profiles of 1 firms are connected through client key-1, which is not configured")
	doctor(1, append(here[1:], strings.Replace(oneClient, "client-1-secret", "nobodys-secret", 1)), "bad   client key-1: Google does not take")
	doctor(0, append(here[1:], strings.Replace(oneClient, `"current"`, `"retired"`, 1)), "warn  no OAuth client is current", "which is retired")

	empty := t.TempDir()
	stdout, stderr, _ := facteur(t, empty, environ, "doctor", "--offline")
	if !strings.Contains(stdout, "there is no database") || !strings.Contains(stdout, "key-1") {
		t.Errorf("the doctor in an empty folder:\n%s%s", stdout, stderr)
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("the doctor left %v, %v", left, err)
	}

	if err := c.RevokeAuthorization(ctx, profile.ID); err != nil {
		t.Error(err)
	}
	if st := ok(c.Authorization(ctx, profile.ID))(t); st.State != "revoked" {
		t.Errorf("authorization is %+v", st)
	}
}
