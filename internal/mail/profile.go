package mail

import "time"

// Level says whose mail a profile sends.
type Level string

const (
	LevelUser    Level = "user"    // a collaborator's one-off mails
	LevelCompany Level = "company" // a billing company's batches
)

// Profile is one way to send: who the mail is from and how it leaves. A profile is used as it is or not at all: nothing
// ever falls back from one to another.
type Profile struct {
	ID, TenantID string
	Version      int64 // counts every edit; the ETag

	Level    Level
	OwnerRef string // the caller's own code of the collaborator or the company
	Name     string // what a person calls it
	Default  bool   // the one used for (Level, OwnerRef) when the caller names no profile; at most one

	From        Address
	ReplyTo     []Address
	AlwaysCC    []Address
	AlwaysBCC   []Address
	Signatures  map[string]Signature // by language
	Attachments []ProfileAttachment  // in the order they are attached, after the mail's own

	Transport string // name in the transport registry: "smtp", "gmail", "sendgrid", "sandbox"
	SMTP      *SMTPSettings
	Gmail     *GmailSettings
	SendGrid  *SendGridSettings

	// BounceMailbox is where reports on mails that could not be delivered are read; nil: nowhere.
	BounceMailbox *BounceMailbox

	MaxConnections int // across all machines; 1..50
	Limits         Limits

	// ResendUncertain has a message whose outcome is uncertain sent again by itself, at most twice. Its recipients may get it more
	// than once then.
	ResendUncertain bool

	// Hold is set when only a person can mend the profile (bad password, refused sender). While it is set nothing of the
	// profile is sent and nothing is lost; an edit of the settings or a good check clears it.
	Hold *ProfileTrouble
	// PausedUntil and Pause are set while the far end is out of reach; it is tried again by itself after PausedUntil.
	PausedUntil time.Time
	Pause       *ProfileTrouble
	PauseCount  int // consecutive pauses; chooses the gap
	// SecretsUnreadable says that secrets are stored which could not be opened. They are empty here, and nobody may log in so.
	SecretsUnreadable bool
	// LimitedUntil is when the next mail may go, once LimitedBy left no room. It is no trouble and ends by itself.
	LimitedUntil time.Time
	LimitedBy    Limit

	CreatedAt, UpdatedAt time.Time
}

// ProfileTrouble is why a profile does not send just now.
type ProfileTrouble struct {
	Code  string    `json:"code"` // of the verdict: "smtp_login_refused"
	Reply Reply     `json:"reply"`
	Since time.Time `json:"since"`
}

// Signature is appended to a mail in its language. Text is made from HTML when only HTML is given, and the reverse.
type Signature struct {
	Text string `json:"text,omitempty"`
	HTML string `json:"html,omitempty"`
}

// ProfileAttachment is a file that goes with every mail of the profile, such as the general terms.
type ProfileAttachment struct {
	AttachmentID string   `json:"attachment_id"`
	Languages    []string `json:"languages,omitempty"` // empty: every language
}

// Security is how an SMTP connection is protected.
type Security string

const (
	SecuritySTARTTLS Security = "starttls" // required: a server that does not offer it is not used (RFC 3207)
	SecurityTLS      Security = "tls"      // from the first byte (RFC 8314)
	SecurityNone     Security = "none"     // in clear
)

// Auth is an SMTP login mechanism (RFC 4954). AuthAuto takes the best one that the server offers and the connection allows.
type Auth string

const (
	AuthNone        Auth = "none" // no login, as an ISP's relay wants it
	AuthAuto        Auth = "auto"
	AuthPlain       Auth = "plain"
	AuthLogin       Auth = "login"
	AuthCRAMMD5     Auth = "cram-md5"
	AuthSCRAMSHA1   Auth = "scram-sha-1"
	AuthSCRAMSHA256 Auth = "scram-sha-256"
	AuthXOAUTH2     Auth = "xoauth2" // the password is an access token
)

// SMTPSettings are the settings of the smtp transport.
type SMTPSettings struct {
	Host     string   // a DNS name or an IP address
	Port     int      // 1..65535
	Security Security //
	Auth     Auth
	Username string
	Password Secret
	// AllowPlaintextLogin permits PLAIN, LOGIN and XOAUTH2 on an unprotected connection. Somebody has to say so in so many words.
	AllowPlaintextLogin bool
	// HELO is the name given in EHLO; empty: the service's own.
	HELO string
	// TLSServerName is checked against the certificate instead of Host; empty: Host.
	TLSServerName string
	// CACertificates are further roots in PEM that this server's certificate may be signed by.
	CACertificates string
	// DSN asks for delivery status notifications on failure where the server offers them (RFC 3461).
	DSN bool
	// EnvelopeFrom is where bounces go; empty: the From address.
	EnvelopeFrom string
}
