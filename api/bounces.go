package api

import "time"

// BounceMailbox is a mailbox that the reports on a profile's mails arrive in ("mail could not be delivered"). It is read every minute over
// IMAP: a mail whose report says that it failed becomes delivery bounced, and an address that does not exist is suppressed. A
// report that was taken in is marked as read; nothing is deleted, and every other mail stays as it is.
type BounceMailbox struct {
	// Host is the name or IP address of the IMAP server.
	Host string `json:"host" example:"imap.zoe.example"`
	// Port of the IMAP server.
	Port int `json:"port" example:"993" minimum:"1" maximum:"65535"`
	// Security of the connection: tls from the first byte, starttls (a server that does not offer it is not used), or none.
	Security string `json:"security" enums:"tls,starttls,none" example:"tls"`
	// Username to log in with.
	Username string `json:"username" example:"invoices@zoe.example"`
	// PasswordSet says whether a password is stored that the service can read; where it logs in and cannot, a patch gives one
	// anew. The password itself is never shown.
	PasswordSet bool `json:"password_set"`
	// Folder that is read.
	Folder string `json:"folder" example:"INBOX"`
	// MoveTo is the folder that reports are moved to once they are taken in; absent: they stay where they are.
	MoveTo string `json:"move_to,omitempty" example:"Bounces"`
	// VERP gives every mail a return path of its own.
	VERP bool `json:"verp"`
	// ReadAt is when it was last read; absent: not yet.
	ReadAt *time.Time `json:"read_at,omitempty" format:"date-time" example:"2026-11-23T08:00:00Z"`
	// Problem is what keeps it from being read, and what to do. It keeps no mail from being sent, and is tried again by itself.
	Problem *Trouble `json:"problem,omitempty"`
}

// BounceMailboxRequest are the settings of a bounce mailbox. A server whose certificate is signed by ca_certificates of smtp is
// trusted here too.
type BounceMailboxRequest struct {
	// Host is the name or IP address of the IMAP server.
	Host string `json:"host" example:"imap.zoe.example" validate:"required,max=253"`
	// Port of the IMAP server. Default: 993 with tls, 143 otherwise.
	Port int `json:"port,omitempty" example:"993" minimum:"1" maximum:"65535"`
	// Security of the connection. Default: tls. none needs allow_plaintext_login of smtp.
	Security string `json:"security,omitempty" enums:"tls,starttls,none" example:"tls"`
	// Username to log in with.
	Username string `json:"username" example:"invoices@zoe.example" validate:"required,max=1000"`
	// Password to log in with, often an app password. It is stored sealed and never shown again.
	Password string `json:"password" example:"correct horse battery staple" validate:"required,max=1000"`
	// Folder that is read. Default: INBOX.
	Folder string `json:"folder,omitempty" example:"INBOX" validate:"max=200"`
	// MoveTo is a folder that reports are moved to once they are taken in. It must exist. Default: they stay where they are.
	MoveTo string `json:"move_to,omitempty" example:"Bounces" validate:"max=200"`
	// VERP gives every mail a return path of its own (invoices+…@zoe.example), by which a report is matched with certainty. The mail server of
	// the return path must deliver such addresses (plus-addressing), and the one that sends must allow them. For smtp only; the part before
	// the @ can have at most 24 characters. Mails on their way when the mailbox is taken away are no longer recognized by it.
	VERP bool `json:"verp,omitempty"`
}

// BounceMailboxPatch edits a bounce mailbox, or sets one up when host, username and password are given. A new host without a
// password in the same edit forgets the stored password.
type BounceMailboxPatch struct {
	// Host is the name or IP address of the IMAP server.
	Host *string `json:"host,omitempty" example:"imap.zoe.example" validate:"max=253"`
	// Port of the IMAP server; null: the usual one of the security.
	Port *int `json:"port,omitempty" example:"993" minimum:"1" maximum:"65535"`
	// Security of the connection; null: tls.
	Security *string `json:"security,omitempty" enums:"tls,starttls,none" example:"tls"`
	// Username to log in with.
	Username *string `json:"username,omitempty" example:"invoices@zoe.example" validate:"max=1000"`
	// Password to log in with; absent: the stored one stays; null: it is forgotten.
	Password *string `json:"password,omitempty" example:"correct horse battery staple" validate:"max=1000"`
	// Folder that is read; null: INBOX.
	Folder *string `json:"folder,omitempty" example:"INBOX" validate:"max=200"`
	// MoveTo is a folder that reports are moved to once they are taken in; null: they stay.
	MoveTo *string `json:"move_to,omitempty" example:"Bounces" validate:"max=200"`
	// VERP gives every mail a return path of its own.
	VERP *bool `json:"verp,omitempty"`
}
