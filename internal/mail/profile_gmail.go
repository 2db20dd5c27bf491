package mail

import (
	"slices"
	"strings"
)

// GmailSettings are the settings of the transport gmail. The consent itself is a grant and kept apart.
type GmailSettings struct {
	// Client names the OAuth client to ask for consent with; empty: the current one.
	Client string
	// Aliases are further addresses of the Google account that the profile may be connected to: its From is a send-as
	// address there (https://support.google.com/mail/answer/22370).
	Aliases []string
	// Reconcile asks for a scope that may read the mailbox, so that a mail of uncertain outcome can be looked up.
	Reconcile bool
}

// MayConnect says whether the profile may be connected to a Google account: its address is the profile's From or a declared
// alias. Gmail would send from the account's own address otherwise.
func (p *Profile) MayConnect(account string) bool {
	if SameMailbox(p.From.Address, account) {
		return true
	}
	return p.Gmail != nil && slices.ContainsFunc(p.Gmail.Aliases, func(alias string) bool { return SameMailbox(alias, account) })
}

// SameMailbox says whether two addresses are one mailbox at Google, which tells no upper case from lower. Dots and plus signs are
// compared as they are: whoever writes his address in another way declares it as an alias. What is no address is nobody's.
func SameMailbox(a, b string) bool {
	if CheckAddress(a) != "" || CheckAddress(b) != "" {
		return false
	}
	a, _ = EnvelopeForm(a)
	b, _ = EnvelopeForm(b)
	return strings.EqualFold(a, b)
}
