package mail_test

import (
	"testing"

	"github.com/winprest/facteur/internal/mail"
)

func TestMayConnect(t *testing.T) {
	p := &mail.Profile{From: mail.Address{Address: "Billing@Zoë.example"}, Gmail: &mail.GmailSettings{Aliases: []string{"owner@gmail.com"}}}
	ascii, _ := mail.EnvelopeForm("BILLING@zoë.example")
	for account, want := range map[string]bool{
		"billing@zoë.example": true, ascii: true, "owner@gmail.com": true, "OWNER@GMAIL.COM": true,
		"": false, "billing": false, "own.er@gmail.com": false, "owner+x@gmail.com": false, "billing@zoe.example": false, "owner@gmail.com.evil.example": false,
	} {
		if got := p.MayConnect(account); got != want {
			t.Errorf("%q: %t", account, got)
		}
	}
	if mail.SameMailbox("", "") || mail.SameMailbox("no address", "no address") || (&mail.Profile{}).MayConnect("") {
		t.Error("what is no address is somebody's")
	}
}
