package mail

import "strings"

// Why a profile of the transport sendgrid may not send.
const (
	CodeAddOnRequired    = "add_on_required"            // the firm does not have the add-on, now
	CodeSenderUnverified = "sendgrid_sender_unverified" // nobody proved that the firm may send from this address
)

// SenderIdentities are the names of which one must be verified for a sender: its address and its domain, in lower case and with
// the domain as A-labels. Firms that share an account at a provider are told apart by who proved which of them. Both are empty
// for what is no address.
func SenderIdentities(address string) (mailbox, domain string) {
	if CheckAddress(address) != "" {
		return "", ""
	}
	form, _ := EnvelopeForm(address)
	mailbox = strings.ToLower(form)
	_, domain, _ = strings.Cut(mailbox, "@")
	return mailbox, domain
}

// SenderIdentity is the name of an identity as it is compared: of an address, or of a domain; empty when it is neither.
func SenderIdentity(addressOrDomain string) string {
	if strings.Contains(addressOrDomain, "@") {
		mailbox, _ := SenderIdentities(addressOrDomain)
		return mailbox
	}
	_, domain := SenderIdentities("x@" + addressOrDomain)
	return domain
}
