package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/sandbox"
	tt "github.com/winprest/facteur/internal/transport/transporttest"
)

var profile = &mail.Profile{ID: "prf_1", TenantID: "ten_1", From: mail.Address{Address: "factures@etudes.example"}, Transport: sandbox.Name}

func TestConformance(t *testing.T) {
	to := map[tt.Weather]string{
		tt.Fine: "compta@zoe.example", tt.RefusesOne: "permanent@zoe.example", tt.RefusesAll: "permanent+2@zoe.example", tt.DefersAll: "temporary@zoe.example",
		tt.RefusesProfile: "held@zoe.example", tt.BreaksAfter: "uncertain@zoe.example",
	}
	tt.Run(t, tt.Harness{
		Weathers: []tt.Weather{tt.RefusesOne, tt.RefusesAll, tt.DefersAll, tt.BreaksAfter},
		Start: func(_ *testing.T, w tt.Weather) *tt.FarEnd {
			s := sandbox.New(sandbox.Config{})
			f := &tt.FarEnd{Transport: s, Profile: profile, Refused: to[w], Accepted: s.Count, To: []string{"bureau@zoe.example", to[w]}}
			if w == tt.RefusesAll || w == tt.DefersAll {
				f.To = []string{to[w], to[w]}
			}
			return f
		},
	})
}

func send(t *testing.T, s *sandbox.Transport, to ...string) mail.Verdict {
	t.Helper()
	session, err := s.Open(t.Context(), profile)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	return session.Send(t.Context(), tt.Message(t, profile, to...), func(context.Context) error { return nil })
}

func TestMagicRecipients(t *testing.T) {
	for _, test := range []struct {
		to      []string
		outcome mail.Outcome
		scope   mail.Scope
		code    string
		own     int // recipients with a verdict of their own
		kept    []string
	}{
		{to: []string{"a@x.example"}, outcome: mail.OutcomeSent, kept: []string{"a@x.example"}},
		{to: []string{"a@x.example", "permanent@x.example", "Temporary+1@y.example"}, outcome: mail.OutcomeSent, own: 2, kept: []string{"a@x.example"}},
		{to: []string{"permanent@x.example"}, outcome: mail.OutcomePermanent, scope: mail.ScopeRecipient, code: "recipient_unknown", own: 1},
		{to: []string{"permanent@x.example", "temporary@x.example"}, outcome: mail.OutcomeTemporary, scope: mail.ScopeRecipient, code: mail.CodeGreylisted, own: 2},
		{to: []string{"uncertain@x.example"}, outcome: mail.OutcomeUncertain, code: sandbox.CodeUncertain, kept: []string{"uncertain@x.example"}},
		{to: []string{"a@x.example", "held@x.example"}, outcome: mail.OutcomePermanent, scope: mail.ScopeProfile, code: sandbox.CodeHeld},
		{to: []string{"paused@x.example"}, outcome: mail.OutcomeTemporary, scope: mail.ScopeProfile, code: sandbox.CodePaused},
		{to: []string{"permanently@x.example"}, outcome: mail.OutcomeSent, kept: []string{"permanently@x.example"}},
		{outcome: mail.OutcomePermanent, code: "envelope_invalid"},
	} {
		s := sandbox.New(sandbox.Config{})
		v := send(t, s, test.to...)
		if v.Outcome != test.outcome || v.Scope != test.scope || v.Code != test.code || len(v.Recipients) != test.own {
			t.Errorf("%q: verdict %+v", test.to, v)
		}
		var kept []string
		for _, m := range s.Mails() {
			kept = append(kept, m.To...)
		}
		if fmt.Sprint(kept) != fmt.Sprint(test.kept) {
			t.Errorf("%q: kept %q", test.to, kept)
		}
	}
}

func TestKeepsTheLatest(t *testing.T) {
	s := sandbox.New(sandbox.Config{MaxMails: 3})
	for i := range 10 {
		if v := send(t, s, fmt.Sprintf("n%d@x.example", i)); v.Outcome != mail.OutcomeSent || v.Evidence == "" {
			t.Fatalf("verdict %+v", v)
		}
	}
	mails := s.Mails()
	if len(mails) != 3 || s.Count() != 10 || mails[0].ID != 8 || mails[2].To[0] != "n9@x.example" || mails[2].TenantID != "ten_1" {
		t.Errorf("kept %+v", mails)
	}
	if !bytes.Contains(mails[0].Data, []byte("\r\nMessage-ID: <")) && !bytes.Contains(mails[0].Data, []byte("\r\nMessage-Id: <")) {
		t.Errorf("data %q", mails[0].Data)
	}
	size := mails[0].Size
	s = sandbox.New(sandbox.Config{MaxBytes: 2*size + size/2})
	for range 5 {
		send(t, s, "a@x.example")
	}
	if n := len(s.Mails()); n != 2 {
		t.Errorf("%d mails in room for two", n)
	}
	s = sandbox.New(sandbox.Config{MaxBytes: size / 2})
	send(t, s, "a@x.example")
	if m := s.Mails(); len(m) != 1 || m[0].Data != nil || m[0].Size < size/2 {
		t.Errorf("a large mail: %+v", m)
	}
}

var _ transport.Transport = (*sandbox.Transport)(nil)
