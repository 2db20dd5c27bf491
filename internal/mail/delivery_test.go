package mail

import "testing"

// What may follow what: a state gives way only to one that says more.
func TestDeliveryIsMonotone(t *testing.T) {
	const u, d, b, c = DeliveryUnknown, DeliveryDelivered, DeliveryBounced, DeliveryComplained
	for was, follows := range map[Delivery]map[Delivery]Delivery{
		"": {u: u, d: d, b: b, c: c},
		u:  {u: u, d: d, b: b, c: c},
		d:  {u: d, d: d, b: b, c: c},
		b:  {u: b, d: b, b: b, c: c},
		c:  {u: c, d: c, b: c, c: c},
	} {
		for next, want := range follows {
			if got := was.After(next); got != want {
				t.Errorf("%s after %q: %s, want %s", next, was, got, want)
			}
		}
	}
}

func TestEventKindSaysDelivery(t *testing.T) {
	for kind, want := range map[EventKind]Delivery{
		EventProcessed: DeliveryUnknown, EventDeferred: DeliveryUnknown, "group_resubscribe": DeliveryUnknown,
		EventDelivered: DeliveryDelivered, EventOpened: DeliveryDelivered, EventClicked: DeliveryDelivered, EventUnsubscribed: DeliveryDelivered,
		EventBounced: DeliveryBounced, EventDropped: DeliveryBounced, EventComplained: DeliveryComplained,
	} {
		if got := kind.Delivery(); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}

func TestDeliveryOf(t *testing.T) {
	to := func(address string, s RecipientStatus) Recipient {
		return Recipient{Address: Address{Address: address}, Status: s}
	}
	a, b := to("A@zoe.example", RecipientSent), to("b@zoe.example", RecipientSent)
	refused := to("c@zoe.example", RecipientFailed)
	const an, bn = "a@zoe.example", "b@zoe.example"
	for name, c := range map[string]struct {
		recipients []Recipient
		known      map[string]Delivery
		want       Delivery
	}{
		"nothing known":          {[]Recipient{a, b}, nil, DeliveryUnknown},
		"one of two":             {[]Recipient{a, b}, map[string]Delivery{an: DeliveryDelivered}, DeliveryUnknown},
		"both":                   {[]Recipient{a, b}, map[string]Delivery{an: DeliveryDelivered, bn: DeliveryDelivered}, DeliveryDelivered},
		"one bounced":            {[]Recipient{a, b}, map[string]Delivery{an: DeliveryDelivered, bn: DeliveryBounced}, DeliveryBounced},
		"one complained":         {[]Recipient{a, b}, map[string]Delivery{an: DeliveryComplained, bn: DeliveryBounced}, DeliveryComplained},
		"the rest was refused":   {[]Recipient{a, refused}, map[string]Delivery{an: DeliveryDelivered}, DeliveryDelivered},
		"all refused":            {[]Recipient{refused}, nil, DeliveryUnknown},
		"of somebody else alone": {[]Recipient{a}, map[string]Delivery{bn: DeliveryBounced}, DeliveryUnknown},
	} {
		if got := DeliveryOf(c.recipients, c.known); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Only codes that say that the address does not exist suppress it.
func TestNoSuchMailbox(t *testing.T) {
	for code, want := range map[string]bool{
		"5.1.1": true, "5.1.2": true, "5.1.6": true, "5.1.10": true,
		"": false, "4.1.1": false, "5.1.0": false, "5.1.3": false, "5.1.7": false, "5.1.8": false, "5.2.1": false, "5.2.2": false,
		"5.4.1": false, "5.7.1": false, "5.7.26": false, "5.0.0": false, "5.1.11": false,
	} {
		if got := NoSuchMailbox(code); got != want {
			t.Errorf("%q: %v", code, got)
		}
	}
	no := func(code int, enhanced string, o Outcome) RecipientVerdict {
		return RecipientVerdict{Address: enhanced, Outcome: o, Reply: Reply{Code: code, Enhanced: enhanced}}
	}
	v := Verdict{Recipients: []RecipientVerdict{
		no(550, "5.1.1", OutcomePermanent), no(450, "5.1.1", OutcomePermanent), no(550, "5.1.10", OutcomeTemporary), no(550, "5.7.1", OutcomePermanent),
	}}
	if gone := v.NoSuchMailboxes(); len(gone) != 1 || gone[0].Address != "5.1.1" {
		t.Errorf("gone: %+v", gone)
	}
}
