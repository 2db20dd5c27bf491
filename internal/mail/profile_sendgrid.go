package mail

// SendGridSettings are the settings of the transport sendgrid. The API key is the service's and no setting; which of several, and
// on behalf of which subuser, belongs to the tenant.
type SendGridSettings struct {
	// Careful sends each mail twenty minutes ahead in a batch of its own, so that one whose hand-over broke off can be taken back
	// at SendGrid and is then sent again instead of being uncertain.
	Careful bool
	// Tracking lets SendGrid rewrite links and add an invisible image, to tell who opened a mail and clicked. An invoice is no
	// marketing: it is off unless somebody wants it.
	Tracking bool
}
