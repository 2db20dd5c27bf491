package api

import "time"

// SenderProfile is one way to send: who the mail is from and how it leaves. A profile is used as it is or not at all:
// nothing ever falls back from one to another.
type SenderProfile struct {
	// ID of the profile.
	ID string `json:"id" example:"prf_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Level says whose mail it sends: a collaborator's one-off mails (user) or a billing company's batches (company).
	Level string `json:"level" enums:"user,company" example:"company"`
	// OwnerRef is your own code of the collaborator or the billing company.
	OwnerRef string `json:"owner_ref" example:"C001"`
	// Name is what a person calls the profile.
	Name string `json:"name" example:"Invoices of Zoë SRL"`
	// Default says that the profile is used for its level and owner_ref when a mail names no profile. At most one is.
	Default bool `json:"default"`
	// From is the address that the mails come from.
	From Address `json:"from"`
	// ReplyTo is where answers go; empty: to from.
	ReplyTo []Address `json:"reply_to"`
	// AlwaysCC get a visible copy of every mail of the profile.
	AlwaysCC []Address `json:"always_cc"`
	// AlwaysBCC get a hidden copy of every mail of the profile, such as the firm's own archive.
	AlwaysBCC []Address `json:"always_bcc"`
	// Signatures put under every mail, by language tag in lower case.
	Signatures map[string]Signature `json:"signatures"`
	// Attachments that go with every mail of the profile, such as the general terms, in this order, after the mail's own.
	Attachments []ProfileAttachment `json:"attachments"`
	// Transport is the way the mails leave.
	Transport string `json:"transport" example:"smtp"`
	// SMTP has the settings of the transport smtp; absent for others.
	SMTP *SMTPSettings `json:"smtp,omitempty"`
	// Gmail has the settings of the transport gmail; absent for others.
	Gmail *GmailSettings `json:"gmail,omitempty"`
	// SendGrid has the settings of the transport sendgrid; absent for others.
	SendGrid *SendGridSettings `json:"sendgrid,omitempty"`
	// BounceMailbox is where reports on mails that could not be delivered are read; absent: nowhere.
	BounceMailbox *BounceMailbox `json:"bounce_mailbox,omitempty"`
	// MaxConnections is how many connections to the mail server are open at once at most, over all machines of the service.
	MaxConnections int `json:"max_connections" example:"2"`
	// Limits in force: how many mails are handed over at most, over all machines of the service.
	Limits Limits `json:"limits"`
	// OnUncertain is what becomes of a mail when it is not certain whether it was sent. wait: a person decides. resend: it is sent again by
	// itself, so that a client may get it twice or three times.
	OnUncertain string `json:"on_uncertain" enums:"wait,resend" example:"wait"`
	// Limited says that mails wait because a limit leaves no room now. They go by themselves: the profile stays ready. Absent when
	// there is room.
	Limited *Limited `json:"limited,omitempty"`
	// Status is ready; held when it sends nothing until a person mends it; or paused when its server is out of reach or fails every mail, and is tried
	// again by itself. While it is held or paused its mails wait and none is lost.
	Status string `json:"status" enums:"ready,held,paused" example:"ready"`
	// Problem is why it is held or paused, and what to do. Absent when ready.
	Problem *Trouble `json:"problem,omitempty"`
	// PausedUntil is when a paused profile is tried again.
	PausedUntil *time.Time `json:"paused_until,omitempty" format:"date-time" example:"2026-11-23T08:05:00Z"`
	// Version counts the edits, from 1. The ETag is the same number in quotes.
	Version int64 `json:"version" example:"3"`
	// CreatedAt is when it was made.
	CreatedAt time.Time `json:"created_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
	// UpdatedAt is when it was last edited.
	UpdatedAt time.Time `json:"updated_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
}

// Signature is put under a mail. Either of the two is made from the other when only one is given.
type Signature struct {
	// Text is the signature of the plain text.
	Text string `json:"text,omitempty" example:"Zoë SRL" validate:"max=65536" text:"block"`
	// HTML is the signature of the formatted text.
	HTML string `json:"html,omitempty" example:"<p><b>Zoë SRL</b></p>" validate:"max=65536" text:"block"`
}

// ProfileAttachment is a file that goes with every mail of a profile.
type ProfileAttachment struct {
	// AttachmentID of an uploaded file.
	AttachmentID string `json:"attachment_id" example:"att_01kbvf8q3d9x5t2m7n4c6w1e0z" validate:"required,max=100"`
	// Languages of the mails that it goes with, such as "fr" (which includes "fr-be"). Empty or absent: every mail.
	Languages []string `json:"languages,omitempty" example:"fr" validate:"max=50"`
}

// SMTPSettings are the settings of the transport smtp as they are shown: the password is not.
type SMTPSettings struct {
	// Host is the name or IP address of the mail server.
	Host string `json:"host" example:"smtp.zoe.example"`
	// Port of the mail server.
	Port int `json:"port" example:"587" minimum:"1" maximum:"65535"`
	// Security of the connection: starttls (a server that does not offer it is not used), tls from the first byte, or none.
	Security string `json:"security" enums:"starttls,tls,none" example:"starttls"`
	// Auth is how to log in: auto takes the best that the server offers, none does not log in.
	Auth string `json:"auth" enums:"none,auto,plain,login,cram-md5,scram-sha-1,scram-sha-256,xoauth2" example:"auto"`
	// Username to log in with.
	Username string `json:"username,omitempty" example:"invoices@zoe.example"`
	// PasswordSet says whether a password is stored that the service can read; where it logs in and cannot, a patch gives one
	// anew. The password itself is never shown.
	PasswordSet bool `json:"password_set"`
	// AllowPlaintextLogin permits a login that sends the password over an unprotected connection.
	AllowPlaintextLogin bool `json:"allow_plaintext_login"`
	// HELO is the name given to the server in EHLO; absent: the service's own.
	HELO string `json:"helo,omitempty" example:"mail.zoe.example"`
	// TLSServerName is checked against the server's certificate instead of host; absent: host.
	TLSServerName string `json:"tls_server_name,omitempty" example:"mail.provider.example"`
	// CACertificates are further roots, in PEM, that this server's certificate may be signed by.
	CACertificates string `json:"ca_certificates,omitempty"`
	// DSN asks the server for a notification when a mail cannot be delivered (RFC 3461), where the server offers it.
	DSN bool `json:"dsn"`
	// EnvelopeFrom is the address that bounces go to; absent: the from address.
	EnvelopeFrom string `json:"envelope_from,omitempty" example:"bounces@zoe.example"`
}

// SenderProfileRequest makes a sender profile.
type SenderProfileRequest struct {
	// Level says whose mail it sends: a collaborator's one-off mails (user) or a billing company's batches (company).
	Level string `json:"level" enums:"user,company" example:"company" validate:"required"`
	// OwnerRef is your own code of the collaborator or the billing company.
	OwnerRef string `json:"owner_ref" example:"C001" validate:"required,max=100"`
	// Name is what a person calls the profile. Default: the from address.
	Name string `json:"name,omitempty" example:"Invoices of Zoë SRL" validate:"max=200"`
	// Default makes it the one that is used for its level and owner_ref when a mail names no profile. The former default is none any more.
	Default bool `json:"default,omitempty"`
	// From is the address that the mails come from.
	From Address `json:"from" validate:"required"`
	// ReplyTo is where answers go. Default: to from.
	ReplyTo []Address `json:"reply_to,omitempty" validate:"max=10"`
	// AlwaysCC get a visible copy of every mail.
	AlwaysCC []Address `json:"always_cc,omitempty" validate:"max=20"`
	// AlwaysBCC get a hidden copy of every mail.
	AlwaysBCC []Address `json:"always_bcc,omitempty" validate:"max=20"`
	// Signatures put under every mail, by language tag ("fr", "nl-be").
	Signatures map[string]Signature `json:"signatures,omitempty" validate:"max=50"`
	// Attachments that go with every mail of the profile, in this order, after the mail's own.
	Attachments []ProfileAttachment `json:"attachments,omitempty" validate:"max=20"`
	// Transport is the way the mails leave: smtp, or sandbox, which keeps them and delivers nothing.
	Transport string `json:"transport" example:"smtp" validate:"required,max=50"`
	// SMTP has the settings of the transport smtp. Required for it and refused for others.
	SMTP *SMTPSettingsRequest `json:"smtp,omitempty"`
	// Gmail has the settings of the transport gmail.
	Gmail *GmailSettings `json:"gmail,omitempty"`
	// SendGrid has the settings of the transport sendgrid.
	SendGrid *SendGridSettings `json:"sendgrid,omitempty"`
	// BounceMailbox is where reports on mails that could not be delivered are to be read. For smtp and gmail only.
	BounceMailbox *BounceMailboxRequest `json:"bounce_mailbox,omitempty"`
	// MaxConnections is how many connections are open at once at most. Default: 2. Many small hosts refuse more.
	MaxConnections int `json:"max_connections,omitempty" example:"2" minimum:"1" maximum:"50"`
	// Limits are how many mails are handed over at most. Default: for gmail the preset gmail_personal when from is at gmail.com or
	// googlemail.com, gmail_workspace otherwise; none for other transports.
	Limits *LimitsRequest `json:"limits,omitempty"`
	// OnUncertain is what becomes of a mail when it is not certain whether it was sent, because the server took all of it and did not
	// answer. wait: nothing, until a person resolves it. resend: it is sent again by itself, with the same Message-ID, after
	// five minutes and after a Gmail mailbox with reconcile was searched (after an interruption of the service: two hours), at most
	// twice. Warning: with resend your client may get the same mail two or three times. Default: wait.
	OnUncertain string `json:"on_uncertain,omitempty" enums:"wait,resend" example:"wait"`
}

// Limits are how many mails of a profile are handed over at most, over all machines of the service; 0 is no limit. They count
// mails that reached the server, accepted or not, whatever their number of recipients, and hold for every window of their length,
// wherever it begins. A sixth of per_minute at most goes at once, within 8 seconds, so that mails are spread. One-off mails go
// before those of a batch. Counting begins when a profile gets its first limit.
type Limits struct {
	// PerMinute is for any 60 seconds.
	PerMinute int `json:"per_minute" example:"30" minimum:"0" maximum:"1000000"`
	// PerHour is for any 60 minutes. A mail counts until the end of the minute that it went in.
	PerHour int `json:"per_hour" example:"0" minimum:"0" maximum:"1000000"`
	// PerDay is for any 24 hours. A mail counts until the end of the minute that it went in.
	PerDay int `json:"per_day" example:"10000" minimum:"0" maximum:"1000000"`
}

// LimitsRequest sets the limits of a profile: {"preset": "microsoft_365"}, {"per_minute": 30, "per_day": 10000}, or a preset
// with a number of your own, {"preset": "gmail_workspace", "per_day": 1500}. A preset sets all three numbers; those that are
// given beside it win. Without one, a number that is absent stays as it was, in a new profile as the transport has it by default.
// The preset is not kept: the answer shows the numbers.
type LimitsRequest struct {
	// Preset by name, as mails a minute / an hour / a day: none 0/0/0; gmail_personal 60/0/500; gmail_workspace 60/0/2000; both with
	// _old_project 150 a minute, when the OAuth client's Google Cloud project used the Gmail API before May 2026; microsoft_365
	// 30/0/10000; isp_relay 20/300/1000, a cautious guess for providers of access, which publish none.
	Preset string `json:"preset,omitempty" enums:"none,gmail_personal,gmail_personal_old_project,gmail_workspace,gmail_workspace_old_project,microsoft_365,isp_relay" example:"microsoft_365"`
	// PerMinute is for any 60 seconds; 0: no limit.
	PerMinute *int `json:"per_minute,omitempty" example:"30" minimum:"0" maximum:"1000000"`
	// PerHour is for any 60 minutes; 0: no limit.
	PerHour *int `json:"per_hour,omitempty" example:"0" minimum:"0" maximum:"1000000"`
	// PerDay is for any 24 hours; 0: no limit.
	PerDay *int `json:"per_day,omitempty" example:"10000" minimum:"0" maximum:"1000000"`
}

// Limited says which limit of a profile leaves no room now.
type Limited struct {
	// Limit that leaves no room for the longest.
	Limit string `json:"limit" enums:"per_minute,per_hour,per_day" example:"per_day"`
	// Until is when the next mail may go.
	Until time.Time `json:"until" format:"date-time" example:"2026-11-24T08:00:00Z"`
	// Text says it to a person, in the reader's language.
	Text string `json:"text" example:"The limit of 500 mails in 24 hours is reached. The other mails wait and go by themselves."`
}

// SMTPSettingsRequest are the settings of the transport smtp.
type SMTPSettingsRequest struct {
	// Host is the name or IP address of the mail server.
	Host string `json:"host" example:"smtp.zoe.example" validate:"required,max=253"`
	// Port of the mail server. Default: 587 with starttls, 465 with tls, 25 with none.
	Port int `json:"port,omitempty" example:"587" minimum:"1" maximum:"65535"`
	// Security of the connection. Default: starttls.
	Security string `json:"security,omitempty" enums:"starttls,tls,none" example:"starttls"`
	// Auth is how to log in. Default: auto when there is a username, otherwise none, as a provider's relay wants it.
	Auth string `json:"auth,omitempty" enums:"none,auto,plain,login,cram-md5,scram-sha-1,scram-sha-256,xoauth2" example:"auto"`
	// Username to log in with.
	Username string `json:"username,omitempty" example:"invoices@zoe.example" validate:"max=1000"`
	// Password to log in with, for xoauth2 an access token. It is stored sealed and never shown again.
	Password string `json:"password,omitempty" example:"correct horse battery staple" validate:"max=1000"`
	// AllowPlaintextLogin permits a login that sends the password over an unprotected connection.
	AllowPlaintextLogin bool `json:"allow_plaintext_login,omitempty"`
	// HELO is the name given to the server in EHLO. Default: the service's own.
	HELO string `json:"helo,omitempty" example:"mail.zoe.example" validate:"max=253"`
	// TLSServerName is checked against the server's certificate instead of host. Default: host.
	TLSServerName string `json:"tls_server_name,omitempty" example:"mail.provider.example" validate:"max=253"`
	// CACertificates are further roots, in PEM, that this server's certificate may be signed by.
	CACertificates string `json:"ca_certificates,omitempty" validate:"max=262144" text:"block"`
	// DSN asks the server for a notification when a mail cannot be delivered (RFC 3461).
	DSN bool `json:"dsn,omitempty"`
	// EnvelopeFrom is the address that bounces go to. Default: the from address.
	EnvelopeFrom string `json:"envelope_from,omitempty" example:"bounces@zoe.example" text:"raw"`
}

// SenderProfilePatch edits a sender profile (JSON merge patch, RFC 7386): what is absent stays, null clears. Lists are
// replaced whole; of signatures each language is replaced or, with null, removed. Level and owner_ref cannot be edited. An
// edit ends a hold and a pause.
type SenderProfilePatch struct {
	// Name is what a person calls the profile.
	Name *string `json:"name,omitempty" example:"Invoices of Zoë SRL" validate:"max=200"`
	// Default makes it the one used for its level and owner_ref. The former default is none any more.
	Default *bool `json:"default,omitempty"`
	// From is the address that the mails come from, replaced whole.
	From *Address `json:"from,omitempty"`
	// ReplyTo is where answers go.
	ReplyTo *[]Address `json:"reply_to,omitempty" validate:"max=10"`
	// AlwaysCC get a visible copy of every mail.
	AlwaysCC *[]Address `json:"always_cc,omitempty" validate:"max=20"`
	// AlwaysBCC get a hidden copy of every mail.
	AlwaysBCC *[]Address `json:"always_bcc,omitempty" validate:"max=20"`
	// Signatures by language tag; null removes one.
	Signatures map[string]*Signature `json:"signatures,omitempty" validate:"max=50"`
	// Attachments that go with every mail of the profile.
	Attachments *[]ProfileAttachment `json:"attachments,omitempty" validate:"max=20"`
	// Transport is the way the mails leave. The settings of the former transport, and of its bounce mailbox, are forgotten.
	Transport *string `json:"transport,omitempty" example:"smtp" validate:"max=50"`
	// SMTP has the settings of the transport smtp to change.
	SMTP *SMTPSettingsPatch `json:"smtp,omitempty"`
	// Gmail has the settings of the transport gmail to change.
	Gmail *GmailSettingsPatch `json:"gmail,omitempty"`
	// SendGrid has the settings of the transport sendgrid to change.
	SendGrid *SendGridSettingsPatch `json:"sendgrid,omitempty"`
	// BounceMailbox has the settings of the bounce mailbox to change, or a new one; null: it is read no more, and its password is forgotten.
	BounceMailbox **BounceMailboxPatch `json:"bounce_mailbox,omitempty"`
	// MaxConnections is how many connections are open at once at most; null: 2.
	MaxConnections *int `json:"max_connections,omitempty" example:"2" minimum:"1" maximum:"50"`
	// Limits to change. With a new transport and without limits: those that it has by default.
	Limits *LimitsRequest `json:"limits,omitempty"`
	// OnUncertain is what becomes of a mail when it is not certain whether it was sent; null: wait. Warning: with resend your client
	// may get the same mail two or three times. It holds for mails that become uncertain from then on.
	OnUncertain *string `json:"on_uncertain,omitempty" enums:"wait,resend" example:"wait"`
}

// SMTPSettingsPatch edits the settings of the transport smtp. A new host without a password in the same edit forgets the
// stored password, so that it is never shown to another server than the one it was typed for.
type SMTPSettingsPatch struct {
	// Host is the name or IP address of the mail server.
	Host *string `json:"host,omitempty" example:"smtp.zoe.example" validate:"max=253"`
	// Port of the mail server; null: the usual one of the security.
	Port *int `json:"port,omitempty" example:"587" minimum:"1" maximum:"65535"`
	// Security of the connection; null: starttls.
	Security *string `json:"security,omitempty" enums:"starttls,tls,none" example:"starttls"`
	// Auth is how to log in; null: auto when there is a username, otherwise none.
	Auth *string `json:"auth,omitempty" enums:"none,auto,plain,login,cram-md5,scram-sha-1,scram-sha-256,xoauth2" example:"auto"`
	// Username to log in with.
	Username *string `json:"username,omitempty" example:"invoices@zoe.example" validate:"max=1000"`
	// Password to log in with; absent: the stored one stays; null: it is forgotten.
	Password *string `json:"password,omitempty" example:"correct horse battery staple" validate:"max=1000"`
	// AllowPlaintextLogin permits a login that sends the password over an unprotected connection.
	AllowPlaintextLogin *bool `json:"allow_plaintext_login,omitempty"`
	// HELO is the name given to the server in EHLO.
	HELO *string `json:"helo,omitempty" example:"mail.zoe.example" validate:"max=253"`
	// TLSServerName is checked against the server's certificate instead of host.
	TLSServerName *string `json:"tls_server_name,omitempty" example:"mail.provider.example" validate:"max=253"`
	// CACertificates are further roots, in PEM.
	CACertificates *string `json:"ca_certificates,omitempty" validate:"max=262144" text:"block"`
	// DSN asks the server for a notification when a mail cannot be delivered.
	DSN *bool `json:"dsn,omitempty"`
	// EnvelopeFrom is the address that bounces go to.
	EnvelopeFrom *string `json:"envelope_from,omitempty" example:"bounces@zoe.example" text:"raw"`
}

// ProfileCheck is the result of a check of a profile's settings. Nothing was sent.
type ProfileCheck struct {
	// OK says that every step went well. A hold ends as well when only the last one, bounce_mailbox, did not: it keeps no mail from
	// being sent.
	OK bool `json:"ok"`
	// Steps that were tried, in order. The check ends at the first that fails.
	Steps []CheckStep `json:"steps"`
}

// CheckStep is one thing that a check tried.
type CheckStep struct {
	// Name of the step: connect, tls, login, sender, bounce_mailbox.
	Name string `json:"name" example:"login"`
	// Label is the step's name in the reader's language.
	Label string `json:"label" example:"Login"`
	// OK says that it went well.
	OK bool `json:"ok"`
	// Problem is what went wrong and what to do. Absent when ok.
	Problem *Trouble `json:"problem,omitempty"`
	// Reply is what the server said.
	Reply *Reply `json:"reply,omitempty"`
}

// TestMessageRequest asks for a short mail that proves that a profile works.
type TestMessageRequest struct {
	// To is who gets it.
	To Address `json:"to" validate:"required"`
	// Language of its text: fr, nl, en or de. Default: the reader's (Accept-Language).
	Language string `json:"language,omitempty" example:"fr" validate:"max=35"`
}
