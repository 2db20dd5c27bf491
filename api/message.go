package api

import "time"

// Document is what a mail is about. It fills the tokens NUMFACT, DATEFACT and TYPEDOC.
type Document struct {
	// Type of the document: invoice, credit_note, reminder, quote, letter, or one of the firm's own. It also finds the template.
	Type string `json:"type,omitempty" example:"invoice" validate:"max=200"`
	// Number of the document, as the client knows it.
	Number string `json:"number,omitempty" example:"2026/0042" validate:"max=200"`
	// Date of the document, a day as ISO 8601 has it. It is written the way of the mail's language.
	Date string `json:"date,omitempty" format:"date" example:"2026-11-23"`
	// ReminderLevel tells a first reminder (1) from a second one (2), so that each can be sent. 0 or absent: the document itself.
	ReminderLevel int `json:"reminder_level,omitempty" example:"1" minimum:"0" maximum:"99"`
}

// AllowDuplicate permits to send a document once more to somebody who has it.
type AllowDuplicate struct {
	// Reason why, for the audit trail.
	Reason string `json:"reason" example:"the client has lost it" validate:"required,max=500"`
}

// Client is who a document is for. Its name fills the token NOMCLIENT.
type Client struct {
	// Ref is your own code of the client.
	Ref string `json:"ref,omitempty" example:"C001" validate:"max=200"`
	// Name of the client.
	Name string `json:"name,omitempty" example:"Café Zoë" validate:"max=200"`
}

// ReminderItem is one unpaid document: a row of the table that {REMINDER} becomes. Amounts are shown as they are given.
type ReminderItem struct {
	// Number of the document.
	Number string `json:"number" example:"2026/0042" validate:"required,max=200"`
	// Date of the document, ISO 8601.
	Date string `json:"date" format:"date" example:"2026-09-23" validate:"required"`
	// DueDate when it was to be paid, ISO 8601.
	DueDate string `json:"due_date,omitempty" format:"date" example:"2026-10-23"`
	// Amount of the document.
	Amount string `json:"amount" example:"1.210,00 €" validate:"required,max=200"`
	// Open is what is still to be paid. Default: amount.
	Open string `json:"open,omitempty" example:"210,00 €" validate:"max=200"`
}

// Header is one further field of a mail's header.
type Header struct {
	// Name of the field. Those that the service sets itself are refused.
	Name string `json:"name" example:"X-Dossier" validate:"required,max=76"`
	// Value of the field, one line.
	Value string `json:"value" example:"2026-17" validate:"required,max=900"`
}

// Mail is what one mail says and to whom. Its content is either a template's (template_id, or found by the company and the
// document's type) or its own subject with text or html; tokens work in both.
type Mail struct {
	// To are the recipients, at least one. With cc and bcc at most 100.
	To []Address `json:"to" validate:"required,max=100"`
	// CC get a visible copy.
	CC []Address `json:"cc,omitempty" validate:"max=100"`
	// BCC get a hidden copy.
	BCC []Address `json:"bcc,omitempty" validate:"max=100"`
	// ReplyTo is where answers go. Default: the sender profile's.
	ReplyTo []Address `json:"reply_to,omitempty" validate:"max=10"`
	// Language of the client, such as fr-BE. The nearest translation is used (nl-BE, then nl, then the template's default), and the
	// answer says which.
	Language string `json:"language,omitempty" example:"fr-BE" validate:"max=35"`
	// TemplateID of the template to use.
	TemplateID string `json:"template_id,omitempty" example:"tpl_01kbvf8q3d9x5t2m7n4c6w1e0z" validate:"max=100"`
	// Subject of the mail's own content.
	Subject string `json:"subject,omitempty" example:"Facture NUMFACT" validate:"max=500"`
	// Text is the plain text of the mail's own content. When absent it is made from html.
	Text string `json:"text,omitempty" example:"Bonjour NOMCLIENT," validate:"max=524288" text:"block"`
	// HTML is the formatted text of the mail's own content.
	HTML string `json:"html,omitempty" example:"<p>Bonjour NOMCLIENT,</p>" validate:"max=524288" text:"block"`
	// Document that the mail is about.
	Document *Document `json:"document,omitempty"`
	// Client that the mail is for.
	Client *Client `json:"client,omitempty"`
	// Tokens are values of the firm's own tokens, or instead of the built-in ones'.
	Tokens map[string]string `json:"tokens,omitempty" validate:"max=100,itemmax=10000" text:"block"`
	// Reminder is the rows of {REMINDER}.
	Reminder []ReminderItem `json:"reminder,omitempty" validate:"max=500"`
	// Attachments of this mail, in this order.
	Attachments []MessageAttachment `json:"attachments,omitempty" validate:"max=50"`
	// Headers are further fields of the mail's header.
	Headers []Header `json:"headers,omitempty" validate:"max=20"`
	// InReplyTo is the id of an earlier message that this one belongs to: mail programs show a reminder under its invoice.
	InReplyTo string `json:"in_reply_to,omitempty" example:"msg_01kbvf8q3d9x5t2m7n4c6w1e0z" validate:"max=100"`
	// ExternalID is your own number of this mail; messages can be listed by it.
	ExternalID string `json:"external_id,omitempty" example:"mail-42" validate:"max=200"`
	// Tags of your own. With SendGrid the first ten in plain ASCII are the mail's categories, for its statistics: do not put anybody's name there.
	Tags []string `json:"tags,omitempty" example:"november" validate:"max=20,itemmax=100"`
	// Metadata of your own; it comes back in every answer and is never sent.
	Metadata map[string]string `json:"metadata,omitempty" validate:"max=50,itemmax=1000" text:"block"`
	// AllowDuplicate permits to send the document although it went to one of the recipients in to before. Without it a mail about a
	// document with a number is refused (409) when an earlier one of the same company, document type, number and reminder_level
	// to the same recipient was accepted and neither failed nor was canceled.
	AllowDuplicate *AllowDuplicate `json:"allow_duplicate,omitempty"`
	// OverrideSuppression sends it to addresses that are suppressed, too. Without it they get nothing, and when nobody else is left the
	// message fails (recipient_suppressed). It is written to the audit trail.
	OverrideSuppression bool `json:"override_suppression,omitempty" example:"false"`
	// SendAt is when to send it, at most 400 days ahead. Default: at once.
	SendAt *time.Time `json:"send_at,omitempty" format:"date-time" example:"2026-11-24T07:00:00Z"`
}

// MessageRequest sends one mail: a send job of one, with the purpose one_off.
type MessageRequest struct {
	// SenderProfileID of the profile to send with. Give it or user_ref.
	SenderProfileID string `json:"sender_profile_id,omitempty" example:"prf_01kbvf8q3d9x5t2m7n4c6w1e0z" validate:"max=100"`
	// UserRef is your own code of the collaborator whose default profile sends it.
	UserRef string `json:"user_ref,omitempty" example:"jdupont" validate:"max=100"`
	// CompanyRef is your own code of the billing company. It finds the template; it never chooses the sender of a one-off mail.
	CompanyRef string `json:"company_ref,omitempty" example:"C001" validate:"max=100"`
	Mail
}

// Sender says which profile sends a mail and why.
type Sender struct {
	// ProfileID of the sender profile.
	ProfileID string `json:"profile_id" example:"prf_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Level of the profile.
	Level string `json:"level" enums:"user,company" example:"user"`
	// Reason it was chosen: requested by its id, or the default of the user or the company.
	Reason string `json:"reason" enums:"requested,user_default,company_default" example:"user_default"`
}

// TemplateUse says which version of a template a mail was made from.
type TemplateUse struct {
	// ID of the template.
	ID string `json:"id" example:"tpl_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Version of the template.
	Version int64 `json:"version" example:"3"`
}

// Links are the paths of what belongs to a message or a job.
type Links struct {
	// Self is the resource itself.
	Self string `json:"self" example:"/v1/messages/msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Job is the send job that a message belongs to.
	Job string `json:"job,omitempty"`
	// Messages lists the messages of a job.
	Messages string `json:"messages,omitempty"`
	// Events is the stream of a job's progress.
	Events string `json:"events,omitempty"`
	// Report is what became of every message of a job.
	Report string `json:"report,omitempty"`
	// Attempts lists the attempts of a message.
	Attempts string `json:"attempts,omitempty"`
	// Raw is the mail as it is sent.
	Raw string `json:"raw,omitempty"`
	// Proof is the proof of dispatch.
	Proof string `json:"proof,omitempty"`
}

// AcceptedMessage is the answer to an accepted mail. It is stored, and will be sent or end in a state that can be asked for.
type AcceptedMessage struct {
	// ID of the message.
	ID string `json:"id" example:"msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// JobID of its send job.
	JobID string `json:"job_id" example:"job_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Status is queued, or held when the sender profile is held: then it waits until the profile is mended.
	Status string `json:"status" enums:"queued,held" example:"queued"`
	// Sender that was chosen.
	Sender Sender `json:"sender"`
	// Language of the translation used, or the mail's own.
	Language string `json:"language,omitempty" example:"fr"`
	// Template that was used; absent for own content.
	Template *TemplateUse `json:"template,omitempty"`
	// ExternalID as given.
	ExternalID string `json:"external_id,omitempty" example:"mail-42"`
	// Problem is why it is held, and what to do.
	Problem *Trouble `json:"problem,omitempty"`
	// CreatedAt is when it was accepted.
	CreatedAt time.Time `json:"created_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
	// SendAt as given; absent: at once.
	SendAt *time.Time `json:"send_at,omitempty" format:"date-time" example:"2026-11-24T07:00:00Z"`
	// Links to the message and what belongs to it.
	Links Links `json:"links"`
}

// Message is one mail and what became of it.
type Message struct {
	// ID of the message.
	ID string `json:"id" example:"msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// JobID of its send job.
	JobID string `json:"job_id" example:"job_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Status of the message. queued: waits for its turn. sending: is being handed over. sent: the next mail server took it, which does
	// not prove that it is in the mailbox. deferred: is tried again by itself. held: waits for the sender profile to be mended.
	// failed: was not sent. uncertain: may or may not have been sent; a person decides (resolve), or the mailbox of a Gmail profile
	// with reconcile, which is searched. canceled: was stopped. paused: waits for its send job to be released or to go on. draft: is
	// being prepared; language and subject are those that it would have now.
	Status string `json:"status" enums:"queued,sending,sent,deferred,failed,held,uncertain,canceled,paused,draft" example:"sent"`
	// Problem is what happened and what to do, for a message that is deferred, held, failed, uncertain, or sent to some of its
	// recipients only. Absent when there is nothing to say.
	Problem *Trouble `json:"problem,omitempty"`
	// EvidenceText says in words what is known of the last hand-over of a message that is uncertain, in the reader's language.
	EvidenceText string `json:"evidence_text,omitempty" example:"The mail server closed the connection after it had been given the whole mail and before it answered."`
	// ResolveHint says how a person finds out whether a message that is uncertain was sent. Lists leave it out.
	ResolveHint *ResolveHint `json:"resolve_hint,omitempty"`
	// Delivery is what is known of the mail after it was sent.
	Delivery string `json:"delivery" enums:"unknown,delivered,bounced,complained" example:"unknown"`
	// Sender that was chosen.
	Sender Sender `json:"sender"`
	// Language of the translation used, or the mail's own.
	Language string `json:"language,omitempty" example:"fr"`
	// LanguageAsked is the language that the request asked for.
	LanguageAsked string `json:"language_asked,omitempty" example:"fr-BE"`
	// Template that was used; absent for own content.
	Template *TemplateUse `json:"template,omitempty"`
	// Subject as it is sent.
	Subject string `json:"subject" example:"Facture 2026/0042 du 23/11/2026"`
	// Recipients and what became of each.
	Recipients []MessageRecipient `json:"recipients"`
	// Document that the mail is about.
	Document *Document `json:"document,omitempty"`
	// Client that the mail is for.
	Client *Client `json:"client,omitempty"`
	// Attempts made so far.
	Attempts int `json:"attempts" example:"1"`
	// NextAttemptAt is when it is tried next, for a message that is queued or deferred.
	NextAttemptAt *time.Time `json:"next_attempt_at,omitempty" format:"date-time" example:"2026-11-23T08:05:00Z"`
	// ExpiresAt is when a deferred message is given up.
	ExpiresAt *time.Time `json:"expires_at,omitempty" format:"date-time" example:"2026-11-25T08:00:00Z"`
	// ExternalID as given.
	ExternalID string `json:"external_id,omitempty" example:"mail-42"`
	// Tags as given.
	Tags []string `json:"tags,omitempty" example:"november"`
	// Metadata as given.
	Metadata map[string]string `json:"metadata,omitempty"`
	// CreatedAt is when it was accepted.
	CreatedAt time.Time `json:"created_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
	// UpdatedAt is when its state last changed.
	UpdatedAt time.Time `json:"updated_at" format:"date-time" example:"2026-11-23T08:00:02Z"`
	// SentAt is when the next mail server took it.
	SentAt *time.Time `json:"sent_at,omitempty" format:"date-time" example:"2026-11-23T08:00:02Z"`
	// ContentErasedAt is when its content was erased: it can be neither shown nor sent any more.
	ContentErasedAt *time.Time `json:"content_erased_at,omitempty" format:"date-time" example:"2027-11-23T08:00:02Z"`
	// Links to what belongs to it.
	Links Links `json:"links"`
}

// ResolveHint says how a person finds out whether an uncertain message was sent.
type ResolveHint struct {
	// Text says where to look and what to do then, for a person, in the language asked for.
	Text string `json:"text" example:"The link shows whether this mail is among the sent mail of billing@firm.example."`
	// URL opens the search for the mail, for a profile that sends through Gmail.
	URL string `json:"url,omitempty" format:"uri" example:"https://mail.google.com/mail/u/?authuser=billing%40firm.example#search/rfc822msgid:01kbvf8q3d9x5t2m7n4c6w1e0z%40firm.example"`
	// MessageID is the mail's Message-ID header.
	MessageID string `json:"message_id" example:"<01kbvf8q3d9x5t2m7n4c6w1e0z@firm.example>"`
}

// MessageRecipient is one recipient of a message and what became of it.
type MessageRecipient struct {
	// Kind is the header that the recipient stands in.
	Kind string `json:"kind" enums:"to,cc,bcc" example:"to"`
	// Name as given.
	Name string `json:"name,omitempty" example:"Café Zoë"`
	// Address as given.
	Address string `json:"address" example:"compta@zoe.example"`
	// Status of this recipient.
	Status string `json:"status" enums:"pending,sent,failed,uncertain" example:"sent"`
	// Reply is the far end's last word on this recipient.
	Reply *Reply `json:"reply,omitempty"`
	// Delivery is what was reported of this recipient after the mail was sent. Absent when nothing was, and in lists.
	Delivery *RecipientDelivery `json:"delivery,omitempty"`
}

// RecipientDelivery is what was reported of a mail at one recipient. A report never takes back one that says more: a mail that bounced stays
// bounced.
type RecipientDelivery struct {
	// State is delivered when the recipient's server took the mail, bounced when it came back or was dropped on the way, complained when
	// the recipient called it spam.
	State string `json:"state" enums:"delivered,bounced,complained" example:"bounced"`
	// At is when it happened.
	At time.Time `json:"at" format:"date-time" example:"2026-11-23T08:00:07Z"`
	// Evidence is what was said.
	Evidence string `json:"evidence,omitempty" example:"550 5.1.1 no such user"`
}

// Attempts are the counted tries to hand one message over, oldest first.
type Attempts struct {
	// Items are the attempts.
	Items []Attempt `json:"items"`
}

// Attempt is one counted try to hand a message over.
type Attempt struct {
	// Number of the attempt, from 1.
	Number int `json:"number" example:"1"`
	// StartedAt is when it began.
	StartedAt time.Time `json:"started_at" format:"date-time" example:"2026-11-23T08:00:01Z"`
	// FinishedAt is when its outcome was known.
	FinishedAt time.Time `json:"finished_at" format:"date-time" example:"2026-11-23T08:00:02Z"`
	// Outcome of the attempt.
	Outcome string `json:"outcome" enums:"sent,temporary,permanent,uncertain" example:"temporary"`
	// Problem is what happened. Absent when sent to every recipient.
	Problem *Trouble `json:"problem,omitempty"`
	// Step where it ended: connect, tls, login, mail, rcpt, data, body, final.
	Step string `json:"step,omitempty" example:"rcpt"`
	// Reply is the answer that decided.
	Reply *Reply `json:"reply,omitempty"`
	// EvidenceText says in words, for an attempt that is uncertain, how it ended.
	EvidenceText string `json:"evidence_text,omitempty" example:"The mail server closed the connection after it had been given the whole mail and before it answered."`
	// Evidence may help to find the mail at the far end, such as a queue id.
	Evidence string `json:"evidence,omitempty" example:"250 2.0.0 queued as 4XyZ1"`
	// Recipients that had an answer of their own.
	Recipients []AttemptRecipient `json:"recipients,omitempty"`
	// NextAttemptAt is when the next attempt was planned for.
	NextAttemptAt *time.Time `json:"next_attempt_at,omitempty" format:"date-time" example:"2026-11-23T08:05:00Z"`
}

// AttemptRecipient is the far end's answer on one recipient.
type AttemptRecipient struct {
	// Address as it was given to the far end: an internationalised domain is in its ASCII form.
	Address string `json:"address" example:"compta@zoe.example"`
	// Outcome for this recipient.
	Outcome string `json:"outcome" enums:"sent,temporary,permanent,uncertain" example:"permanent"`
	// Problem is what happened. Absent when sent.
	Problem *Trouble `json:"problem,omitempty"`
	// Reply of the far end.
	Reply *Reply `json:"reply,omitempty"`
}

// ResolveRequest settles a message that is uncertain, by the word of a person who looked.
type ResolveRequest struct {
	// As says what is to be: sent when it did arrive, resend when it is to be sent (again), with the same Message-ID.
	As string `json:"as" enums:"sent,resend" example:"sent" validate:"required"`
	// Note says how the person knows. It goes to the audit trail.
	Note string `json:"note,omitempty" example:"The client has it." validate:"max=1000" text:"block"`
}
