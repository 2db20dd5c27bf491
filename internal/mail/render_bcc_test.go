package mail

import (
	"errors"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"
)

func TestAddressedByHeader(t *testing.T) {
	c := plainContent()
	c.To = []Address{{Name: "Café Zoë", Address: "compta@Café-Zoë.example"}, {Address: "b@zoe.example"}}
	c.CC = []Address{{Address: "chef@zoe.example"}}
	files := memFiles{}
	c.Attachments = []Attachment{files.add("facture.pdf", "application/pdf", randomBytes(5000))}
	form, _ := EnvelopeForm("compta@Café-Zoë.example")
	seen := []string{form, "b@zoe.example", "chef@zoe.example"}

	plain, text := mustRender(t, c, Envelope{From: c.From.Address, To: seen}, files)
	if r, err := plain.AddressedByHeader(); err != nil || r != plain {
		t.Errorf("a mail without Bcc is not what it was: %v", err)
	}

	hidden := []string{"archive@etudes.example", "Dupont@etudes.example"}
	r, _ := mustRender(t, c, Envelope{From: c.From.Address, To: append(slices.Clone(seen), hidden...)}, files)
	named, err := r.AddressedByHeader()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	n, err := named.WriteTo(&b)
	if err != nil || n != named.Size() || int(n) != b.Len() {
		t.Errorf("wrote %d of %d bytes: %v", n, named.Size(), err)
	}
	field, rest, _ := strings.Cut(b.String(), "\r\n")
	if field != "Bcc: archive@etudes.example, Dupont@etudes.example" || rest != text {
		t.Errorf("the field is %q; the rest is the mail: %v", field, rest == text)
	}
	m, err := netmail.ReadMessage(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if list, err := m.Header.AddressList("Bcc"); err != nil || len(list) != 2 {
		t.Errorf("Bcc %v: %v", list, err)
	}
	b.Reset()
	if _, err := r.WriteTo(&b); err != nil || b.String() != text {
		t.Errorf("the mail itself has changed: %v", err)
	}
}

// Somebody who has the mail must not get it again because the header names him.
func TestAddressedByHeaderRefusesTheSettled(t *testing.T) {
	c := plainContent()
	c.To = []Address{{Address: "a@zoe.example"}, {Address: "b@zoe.example"}}
	c.CC = []Address{{Address: "c@zoe.example"}}
	for _, pending := range [][]string{{"a@zoe.example", "b@zoe.example"}, {"b@zoe.example", "c@zoe.example"}, {"bcc@zoe.example"}, nil} {
		r, _ := mustRender(t, c, Envelope{From: c.From.Address, To: pending}, nil)
		if _, err := r.AddressedByHeader(); !errors.Is(err, ErrAddresseeSettled) {
			t.Errorf("%v: %v", pending, err)
		}
	}
	// A hidden one who has it is simply not named.
	r, _ := mustRender(t, c, Envelope{From: c.From.Address, To: []string{"a@zoe.example", "b@zoe.example", "c@zoe.example"}}, nil)
	if _, err := r.AddressedByHeader(); err != nil {
		t.Error(err)
	}
}
