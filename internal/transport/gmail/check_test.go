package gmail_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/gmail"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

func (b blob) attachment() mail.Attachment {
	sum := sha256.Sum256(b)
	return mail.Attachment{ID: "att_1", SHA256: hex.EncodeToString(sum[:]), Filename: "f.pdf", MediaType: "application/pdf", Size: int64(len(b))}
}

func TestCheck(t *testing.T) {
	invalid := &transport.Error{Err: errors.New("invalid_grant"), Verdict: mail.Verdict{
		Outcome: mail.OutcomePermanent, Scope: mail.ScopeProfile, Code: gmail.CodeReauthorizationRequired, Step: "login",
	}}
	for name, test := range map[string]struct {
		from     string
		settings *mail.GmailSettings
		scopes   []string
		err      error
		hook     tt.GoogleAction // of userinfo
		steps    int
		code     string // of the last step
	}{
		"good":                   {from: from, scopes: sendScopes, steps: 2},
		"without settings":       {from: "FACTURES@Etudes.example", scopes: sendScopes, steps: 2},
		"grant dead":             {from: from, scopes: sendScopes, err: invalid, steps: 1, code: gmail.CodeReauthorizationRequired},
		"store away":             {from: from, scopes: sendScopes, err: errors.New("away"), steps: 1, code: gmail.CodeTokenUnavailable},
		"token refused":          {from: from, scopes: sendScopes, hook: tt.GoogleAction{Status: 401, Reason: "authError"}, steps: 1, code: gmail.CodeReauthorizationRequired},
		"Google down":            {from: from, scopes: sendScopes, hook: tt.GoogleAction{Status: 503}, steps: 2, code: gmail.CodeServiceUnavailable},
		"line cut":               {from: from, scopes: sendScopes, hook: tt.GoogleAction{Drop: true}, steps: 2, code: gmail.CodeConnectionLost},
		"not Google":             {from: from, scopes: sendScopes, hook: tt.GoogleAction{Body: "<html>"}, steps: 2, code: gmail.CodeProtocolError},
		"no address":             {from: from, scopes: []string{tt.GoogleScopeSend, "openid"}, steps: 2, code: gmail.CodeScopeMissing},
		"other account":          {from: "chef@etudes.example", scopes: sendScopes, steps: 2, code: gmail.CodeAccountMismatch},
		"alias":                  {from: "chef@etudes.example", settings: &mail.GmailSettings{Aliases: []string{from}}, scopes: sendScopes, steps: 2},
		"alias, may read":        {from: "chef@etudes.example", settings: &mail.GmailSettings{Aliases: []string{from}, Reconcile: true}, scopes: append(sendScopes, tt.GoogleScopeReadonly), steps: 2},
		"not its alias":          {from: "autre@etudes.example", settings: &mail.GmailSettings{Aliases: []string{from}, Reconcile: true}, scopes: append(sendScopes, tt.GoogleScopeReadonly), steps: 2, code: gmail.CodeSenderNotAllowed},
		"wants to read, may not": {from: "chef@etudes.example", settings: &mail.GmailSettings{Aliases: []string{from}, Reconcile: true}, scopes: sendScopes, steps: 2, code: gmail.CodeScopeMissing},
	} {
		t.Run(name, func(t *testing.T) {
			g := tt.StartGoogle(t, tt.GoogleConfig{
				Accounts: []tt.GoogleAccount{{Address: from, SendAs: []string{"chef@etudes.example"}}},
				Hook: func(s tt.GoogleStep) tt.GoogleAction {
					if s.Endpoint == "userinfo" {
						return test.hook
					}
					return tt.GoogleAction{}
				},
			})
			p := profile()
			p.From.Address, p.Gmail = test.from, test.settings
			steps := newTransport(t, g, &tokens{google: g, scopes: test.scopes, err: test.err}).Check(t.Context(), p)
			if len(steps) != test.steps {
				t.Fatalf("steps %+v", steps)
			}
			for i, s := range steps {
				last := i == len(steps)-1
				if s.OK != (!last || test.code == "") || last && s.Code != test.code {
					t.Errorf("step %+v, want %q", s, test.code)
				}
			}
			if g.Accepted() != 0 || g.Calls("upload") != 0 {
				t.Error("a check sent something")
			}
		})
	}
}

func TestFind(t *testing.T) {
	w := newWorld(t, tt.GoogleConfig{})
	m := tt.Message(t, profile(), "a@zoe.example")
	id := m.Content.MessageIDHeader
	sent := w.s.Send(t.Context(), m, commit)
	p := profile()
	if _, _, err := w.tr.Find(t.Context(), p, id); !errors.Is(err, transport.ErrCannotFind) {
		t.Errorf("a profile that did not opt in: %v", err)
	}
	p.Gmail.Reconcile = true
	var oe *transport.Error
	if _, _, err := w.tr.Find(t.Context(), p, id); !errors.As(err, &oe) || oe.Verdict.Code != gmail.CodeScopeMissing {
		t.Errorf("a grant without the scope: %v", err)
	}
	w.tokens.scopes = append(sendScopes, tt.GoogleScopeReadonly)
	w.ExpireAccessTokens() // the new one has it
	if evidence, found, err := w.tr.Find(t.Context(), p, id); err != nil || !found || evidence != sent.Evidence {
		t.Errorf("found %v %q, want %q: %v", found, evidence, sent.Evidence, err)
	}
	if _, found, err := w.tr.Find(t.Context(), p, "<other@facteur.example>"); err != nil || found {
		t.Errorf("found %v: %v", found, err)
	}
	for _, bad := range []string{"", "<>", "<a b@c>", "<a@b> OR in:anywhere"} {
		if _, _, err := w.tr.Find(t.Context(), p, bad); err == nil {
			t.Errorf("%q is a message id", bad)
		}
	}
	for _, a := range []tt.GoogleAction{{Status: 503}, {Drop: true}, {Body: "<html>"}, {Status: 429, RetryAfter: "5"}} {
		w.SetHook(func(s tt.GoogleStep) tt.GoogleAction { return a })
		if _, found, err := w.tr.Find(t.Context(), p, id); !errors.As(err, &oe) || found || oe.Verdict.Outcome != mail.OutcomeTemporary {
			t.Errorf("%+v: found %v: %v", a, found, err)
		}
	}
}

// Google's client logs its requests when the environment says so: the token is added below it.
func TestNoTokenInTheClientsLog(t *testing.T) {
	t.Setenv("GOOGLE_SDK_GO_LOGGING_LEVEL", "debug")
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = out
	defer func() { os.Stderr = stderr }()
	logged := make(chan []byte)
	go func() {
		text, _ := io.ReadAll(r)
		logged <- text
	}()
	w := newWorld(t, tt.GoogleConfig{})
	w.tokens.scopes = append(sendScopes, tt.GoogleScopeReadonly)
	w.ExpireAccessTokens()
	p := profile()
	p.Gmail.Reconcile = true
	if _, _, err := w.tr.Find(t.Context(), p, "<1@facteur.example>"); err != nil {
		t.Error(err)
	}
	w.s.Send(t.Context(), tt.Message(t, p, "a@zoe.example"), commit)
	out.Close()
	if text := <-logged; !bytes.Contains(text, []byte("rfc822msgid")) || bytes.Contains(text, []byte(w.tokens.current)) {
		t.Errorf("logged:\n%s", text)
	}
}
