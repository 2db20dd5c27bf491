package api

// SendGridSettings are the settings of the transport sendgrid. The key is the service's: there is none to give.
type SendGridSettings struct {
	// Careful has SendGrid keep each mail for twenty minutes before it sends it, so that one whose hand-over broke off can be taken
	// back and sent again by itself, instead of being uncertain. For batches; a one-off mail leaves twenty minutes late.
	Careful bool `json:"careful,omitempty"`
	// Tracking lets SendGrid rewrite the links of the HTML and add an invisible image, to tell who opened the mail and clicked.
	Tracking bool `json:"tracking,omitempty"`
}

// SendGridSettingsPatch edits the settings of the transport sendgrid.
type SendGridSettingsPatch struct {
	// Careful has SendGrid keep each mail for twenty minutes before it sends it, so that it can be taken back when its hand-over broke off.
	Careful *bool `json:"careful,omitempty"`
	// Tracking lets SendGrid rewrite links and add an invisible image.
	Tracking *bool `json:"tracking,omitempty"`
}
