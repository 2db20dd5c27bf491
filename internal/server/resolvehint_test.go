package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/winprest/facteur/api"
)

// hints asks in every language where to look for an uncertain message of an SMTP profile.
func (w *contractWorld) hints(message string) {
	w.Helper()
	said := map[string]bool{}
	for _, language := range []string{"fr", "nl", "en", "de"} {
		var m api.Message
		w.do(200, contractCall{key: w.full, method: "GET", path: message, header: http.Header{"Accept-Language": {language}}}).into(w, &m)
		if m.ResolveHint == nil {
			w.Fatal("there is no hint")
		}
		for _, part := range []string{m.ResolveHint.MessageID, "smtp.zoe.example"} {
			if part == "" || !strings.Contains(m.ResolveHint.Text, part) {
				w.Errorf("%s: the hint does not name %q: %s", language, part, m.ResolveHint.Text)
			}
		}
		if m.ResolveHint.URL != "" {
			w.Errorf("a link to %s", m.ResolveHint.URL)
		}
		said[m.ResolveHint.Text] = true
	}
	if len(said) != 4 {
		w.Errorf("%d texts in four languages: %v", len(said), said)
	}
}

func TestGmailSearch(t *testing.T) {
	for _, c := range []struct{ account, id, want string }{
		{"billing@firm.example", "<01kb@firm.example>", "?authuser=billing%40firm.example#search/rfc822msgid:01kb%40firm.example"},
		{"a+b&c=d@firm.example", "<x+y#z/é@firm.example>", "?authuser=a%2Bb%26c%3Dd%40firm.example#search/rfc822msgid:x%2By%23z%2F%C3%A9%40firm.example"},
	} {
		if got := gmailSearch(c.account, c.id); got != "https://mail.google.com/mail/u/"+c.want {
			t.Errorf("%s", got)
		}
	}
}
