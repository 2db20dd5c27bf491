package mail

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
