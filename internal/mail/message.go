package mail

import (
	"strings"
	"time"
)

// Draft is one mail as its caller asks for it, with every reference already looked up.
type Draft struct {
	MessageID string // our id, "msg_…"; the Message-ID header is made from it
	Language  string // asked for: "fr-BE"; empty: the template's default

	// Own content, used when the Composer has no template. At least one of Text and HTML.
	Subject, Text, HTML string

	To, CC, BCC []Address
	ReplyTo     []Address // empty: the profile's

	Document Document
	Client   Client
	Tokens   map[string]string // adds to the built-in tokens or overrides them
	Reminder []ReminderItem    // the rows of {REMINDER}

	Attachments []Attachment
	Headers     []Header
	InReplyTo   string   // Message-ID header value with angle brackets, or ""
	References  []string // likewise, oldest first, InReplyTo last
	Tags        []string // the caller's own
	// OverrideSuppression sends it to addresses that are suppressed, too.
	OverrideSuppression bool
	// Automatic marks a mail that no person released one by one: it gets "Auto-Submitted: auto-generated" (RFC 3834).
	Automatic bool
}

// Document is what the mail is about. It fills NUMFACT, DATEFACT and TYPEDOC.
type Document struct {
	Type   string // as Template.DocumentType
	Number string
	Date   string // ISO 8601 day, "2026-11-23"
	// ReminderLevel counts the reminders of a document, from 1; 0 is the document itself.
	ReminderLevel int
}

// Client is who the document is for. Name fills NOMCLIENT.
type Client struct {
	Ref, Name string
}

// ReminderItem is one unpaid document of a reminder's table. Amounts are texts: they are shown as given.
type ReminderItem struct {
	Number  string `json:"number"`
	Date    string `json:"date"`     // ISO 8601 day
	DueDate string `json:"due_date"` // ISO 8601 day, may be empty
	Amount  string `json:"amount"`
	Open    string `json:"open,omitempty"` // what is still to be paid; empty: Amount
}

// Attachment is a stored file as it goes with one mail.
type Attachment struct {
	ID        string `json:"id"` // "att_…"
	SHA256    string `json:"sha256"`
	Filename  string `json:"filename"`
	MediaType string `json:"media_type"`
	Kind      string `json:"kind"`
	Size      int64  `json:"size"`
	// ContentID makes it an inline image that the HTML shows as <img src="cid:ContentID">.
	ContentID string `json:"content_id,omitempty"`
}

// Header is one further header field of the caller's.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Content is a composed mail: everything that its bytes are made from, except the attachments' contents. It is stored when
// the mail is accepted and never changes.
type Content struct {
	// Format is the version of the rendering rules that made the mail. A released format's bytes never change, so that a
	// mail can be shown exactly as it was sent.
	Format int `json:"format"`

	MessageIDHeader string    `json:"message_id"` // with angle brackets
	Date            time.Time `json:"date"`
	From            Address   `json:"from"`
	ReplyTo         []Address `json:"reply_to,omitempty"`
	To              []Address `json:"to"`
	CC              []Address `json:"cc,omitempty"`
	InReplyTo       string    `json:"in_reply_to,omitempty"`
	References      []string  `json:"references,omitempty"`
	Headers         []Header  `json:"headers,omitempty"`
	Automatic       bool      `json:"automatic,omitempty"`
	Language        string    `json:"language"`
	// Categories are the tags, for SendGrid's own statistics. They are no part of the mail.
	Categories []string `json:"categories,omitempty"`
	// OverrideSuppression is as in Draft.
	OverrideSuppression bool `json:"override_suppression,omitempty"`

	Attachments []Attachment `json:"attachments,omitempty"`

	// Erased says that the texts, the attachments and the caller's headers are gone: the mail cannot be rendered any more.
	Erased bool `json:"erased,omitempty"`

	// Stored beside the rest, not in its JSON: they are the bulk.
	Subject string `json:"-"`
	Text    string `json:"-"` // never empty: made from HTML when none was given
	HTML    string `json:"-"` // may be empty

	// Where Text and HTML have the mail's own values, in order. The rest is often the same in every mail of a batch. Compose
	// fills them, unless there are very many; a content that was stored has none.
	TextValues []Span `json:"-"`
	HTMLValues []Span `json:"-"`
}

// Span is a piece of a text, in bytes: text[From:To].
type Span struct{ From, To int }

// InReplyToID is our id of the mail that this one answers; empty when it answers none.
func (c *Content) InReplyToID() string { return idOf(c.InReplyTo) }

// ID is our id of the mail, from its Message-ID; empty when that is not one of ours.
func (c *Content) ID() string { return idOf(c.MessageIDHeader) }

func idOf(messageID string) string {
	unique, _, ok := strings.Cut(strings.TrimPrefix(messageID, "<"), "@")
	if !ok {
		return ""
	}
	return "msg_" + unique
}

// Envelope is what the transport is told, apart from the mail's own header (RFC 5321 section 2.3.1).
type Envelope struct {
	From string   // may be empty only for bounces, which we do not send
	To   []string // those still to be reached; Bcc included
}

// RecipientKind says in which header a recipient stands.
type RecipientKind string

const (
	KindTo  RecipientKind = "to"
	KindCC  RecipientKind = "cc"
	KindBCC RecipientKind = "bcc"
)

// Recipient is one address of a message and what became of it.
type Recipient struct {
	Address Address         `json:"a"`
	Kind    RecipientKind   `json:"k"`
	Status  RecipientStatus `json:"s"`
	Reply   *Reply          `json:"r,omitempty"` // the far end's last word on it
	// ASCII is the address as the envelope has it, its domain as A-labels, when that is not Address as typed. Compose sets it.
	ASCII string `json:"e,omitempty"`
}

// Envelope is the address as the envelope has it.
func (r Recipient) Envelope() string {
	if r.ASCII != "" {
		return r.ASCII
	}
	return r.Address.Address
}

// RecipientStatus is the state of one recipient of a message.
type RecipientStatus string

const (
	RecipientPending   RecipientStatus = "pending"
	RecipientSent      RecipientStatus = "sent"
	RecipientFailed    RecipientStatus = "failed"
	RecipientUncertain RecipientStatus = "uncertain"
)

// Status is the state of a message.
type Status string

const (
	StatusQueued    Status = "queued"
	StatusSending   Status = "sending"
	StatusSent      Status = "sent"
	StatusDeferred  Status = "deferred"
	StatusFailed    Status = "failed"
	StatusHeld      Status = "held" // never stored: queued or deferred while the profile has a Hold
	StatusUncertain Status = "uncertain"
	StatusCanceled  Status = "canceled"
	StatusPaused    Status = "paused" // waits for its send job to be released or to go on
	StatusDraft     Status = "draft"  // never stored: of a send job that is being prepared
)

// Final says that no automation moves the message any more.
func (s Status) Final() bool {
	return s == StatusSent || s == StatusFailed || s == StatusCanceled
}

// Phase is how far the current attempt is known to have come. It is durable.
type Phase string

const (
	PhaseNone       Phase = ""
	PhaseClaimed    Phase = "claimed"    // nothing was handed over
	PhaseCommitting Phase = "committing" // the far end may have it
)

// Priority orders the messages of one profile: lower first.
type Priority int

const (
	PriorityOneOff Priority = 0
	PriorityBatch  Priority = 1
)
