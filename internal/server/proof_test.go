package server

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/store"
)

// Only the far end's own word proves a dispatch.
func TestProvesDispatch(t *testing.T) {
	try := func(transport string, o mail.Outcome) store.Attempt {
		return store.Attempt{Outcome: o, Detail: store.AttemptDetail{Transport: transport}}
	}
	resolved := func(actor, as string) []*store.AuditEvent {
		return []*store.AuditEvent{{Actor: actor, Action: "message.resolve", Detail: json.RawMessage(`{"as":"` + as + `"}`)}}
	}
	sent, uncertain := try("smtp", mail.OutcomeSent), try("smtp", mail.OutcomeUncertain)
	for name, c := range map[string]struct {
		status   mail.Status
		attempts []store.Attempt
		events   []*store.AuditEvent
		want     bool
	}{
		"taken":                          {mail.StatusSent, []store.Attempt{sent}, nil, true},
		"taken at the second try":        {mail.StatusSent, []store.Attempt{uncertain, sent}, resolved("key_1", "resend"), true},
		"nothing tried":                  {mail.StatusSent, nil, nil, false},
		"not sent":                       {mail.StatusFailed, []store.Attempt{sent}, nil, false},
		"a person's word":                {mail.StatusSent, []store.Attempt{uncertain}, resolved("key_1", "sent"), false},
		"a person's word for the rest":   {mail.StatusSent, []store.Attempt{sent, uncertain}, resolved("key_1", "sent"), false},
		"a person's word for one":        {mail.StatusSent, []store.Attempt{uncertain, sent}, resolved("key_1", "sent"), false},
		"found in the mailbox":           {mail.StatusSent, []store.Attempt{uncertain}, resolved(outbox.ActorReconciliation, "sent"), true},
		"not found and sent again":       {mail.StatusSent, []store.Attempt{uncertain}, resolved(outbox.ActorReconciliation, "resend"), false},
		"reported by the provider":       {mail.StatusSent, []store.Attempt{uncertain}, resolved(outbox.ActorEvents, "sent"), true},
		"kept by the sandbox":            {mail.StatusSent, []store.Attempt{try("sandbox", mail.OutcomeSent)}, nil, false},
		"sandbox before, really sent":    {mail.StatusSent, []store.Attempt{try("sandbox", mail.OutcomeTemporary), sent}, nil, true},
		"uncertain in the sandbox, word": {mail.StatusSent, []store.Attempt{try("sandbox", mail.OutcomeUncertain)}, resolved("key_1", "sent"), false},
	} {
		if got := provesDispatch(&store.Message{Status: c.status}, c.attempts, c.events); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTrialIsNoProof(t *testing.T) {
	text := proofText("fr", &api.Proof{Trial: true, Message: api.Message{Status: "sent", Document: &api.Document{Type: "invoice", Number: "2026/0042"}}})
	for _, want := range []string{"\ufeffPAS UNE PREUVE D’ENVOI : ceci était un essai\r\n", "Document: Facture 2026/0042\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("without %q:\n%s", want, text)
		}
	}
}
