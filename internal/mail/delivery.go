package mail

import "strings"

// Delivery is what is known of a mail at its recipient, after the next mail server took it.
type Delivery string

const (
	DeliveryUnknown    Delivery = "unknown"
	DeliveryDelivered  Delivery = "delivered"  // the recipient's server took it
	DeliveryBounced    Delivery = "bounced"    // it came back, or was dropped on the way
	DeliveryComplained Delivery = "complained" // it arrived, and the recipient called it spam
)

// rank orders what is known by how much it says. Reports come late, twice and in any order, so only the order of the states counts
// and never that of their arrival.
func (d Delivery) rank() int {
	switch d {
	case DeliveryDelivered:
		return 1
	case DeliveryBounced:
		return 2
	case DeliveryComplained:
		return 3
	}
	return 0
}

// After is what is known of one recipient when next is reported and d was known. A bounce may follow a delivery (a server takes a
// mail and sends it back later), and is not undone by one; who complains has the mail whatever else was said.
func (d Delivery) After(next Delivery) Delivery {
	if next.rank() > d.rank() {
		return next
	}
	if d.rank() == 0 {
		return DeliveryUnknown
	}
	return d
}

// DeliveryOf is what is known of a mail as a whole: the worst of any recipient that it was sent to, and delivered only when it is for each of them. known
// is by NormalAddress.
func DeliveryOf(recipients []Recipient, known map[string]Delivery) Delivery {
	worst, delivered, sent := DeliveryUnknown, 0, 0
	for _, r := range recipients {
		d := known[NormalAddress(r.Envelope())]
		switch {
		case d.rank() > DeliveryDelivered.rank():
			worst = worst.After(d)
		case d == DeliveryDelivered:
			delivered++
		case r.Status == RecipientFailed:
			continue // it was refused: nothing will be reported
		}
		sent++
	}
	if worst == DeliveryUnknown && sent > 0 && delivered == sent {
		return DeliveryDelivered
	}
	return worst
}

// EventKind is what was reported of a mail.
type EventKind string

const (
	EventProcessed    EventKind = "processed" // the provider took it and will try
	EventDelivered    EventKind = "delivered"
	EventDeferred     EventKind = "deferred" // the provider goes on trying
	EventBounced      EventKind = "bounced"
	EventDropped      EventKind = "dropped" // the provider took it, and will not try
	EventComplained   EventKind = "complained"
	EventOpened       EventKind = "opened"
	EventClicked      EventKind = "clicked"
	EventUnsubscribed EventKind = "unsubscribed"
)

// Delivery is what an event says of its recipient. Opening a mail proves that it is there; that a person unsubscribed from the
// provider's list says nothing that the firm's invoices depend on, but proves it too.
func (k EventKind) Delivery() Delivery {
	switch k {
	case EventDelivered, EventOpened, EventClicked, EventUnsubscribed:
		return DeliveryDelivered
	case EventBounced, EventDropped:
		return DeliveryBounced
	case EventComplained:
		return DeliveryComplained
	}
	return DeliveryUnknown
}

// Event is one report on a mail.
type Event struct {
	TenantID, MessageID string
	ID                  string // whoever reports gives each event one of its own
	Kind                EventKind
	Address             string // of the recipient, as reported
	Evidence            string // what was said, see ReplyText
	At                  int64  // microseconds since 1970
	// Suppress is why the address must have no more mail; empty: it may.
	Suppress SuppressionReason
}

// SuppressionReason is why no mail is sent to an address.
type SuppressionReason string

const (
	SuppressedBounce    SuppressionReason = "bounce"    // there is no such mailbox
	SuppressedComplaint SuppressionReason = "complaint" // its owner called a mail spam
	SuppressedManual    SuppressionReason = "manual"    // a person said so
)

// CodeRecipientSuppressed: nothing was handed over, because the address must have no more mail.
const CodeRecipientSuppressed = "recipient_suppressed"

// NormalAddress is an address as addresses are compared: as the envelope has it, in lower case. RFC 5321 lets a server tell local
// parts apart by their case; none does.
func NormalAddress(address string) string {
	form, _ := EnvelopeForm(strings.TrimSpace(address))
	return strings.ToLower(form)
}

// NoSuchMailbox says whether an enhanced status code (RFC 3463, IANA registry) is the final word that the address does not exist.
// Others of the class 5.1 are about the sender (5.1.7, 5.1.8) or are used for anything (5.1.0); policy, spam, size and quota are in
// other classes.
func NoSuchMailbox(enhanced string) bool {
	switch enhanced {
	case "5.1.1", // bad destination mailbox address
		"5.1.2",  // bad destination system address: no such domain
		"5.1.6",  // moved, and nobody knows where
		"5.1.10": // the domain takes no mail (RFC 7505); Exchange Online: no such recipient
		return true
	}
	return false
}

// NoSuchMailboxes gives those of the verdict's recipients that the far end refused for good because there is no such address,
// with what it said.
func (v *Verdict) NoSuchMailboxes() (gone []RecipientVerdict) {
	for _, r := range v.Recipients {
		if r.Outcome == OutcomePermanent && r.Reply.Code/100 == 5 && NoSuchMailbox(r.Reply.Enhanced) {
			gone = append(gone, r)
		}
	}
	return gone
}
