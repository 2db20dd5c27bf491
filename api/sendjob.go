package api

import "time"

// SendJobRequest sends a number of mails with one sender: a batch of invoices, or a one-off mail to many. All of it is
// accepted or nothing is. What is given here holds for each message that does not give its own.
type SendJobRequest struct {
	// Purpose: a batch leaves with the company's default profile, behind one-off mails; a one_off with the user's. Default: batch.
	Purpose string `json:"purpose,omitempty" enums:"batch,one_off" example:"batch"`
	// SenderProfileID of the profile to send with. Give it or, for a batch, company_ref, for a one_off, user_ref.
	SenderProfileID string `json:"sender_profile_id,omitempty" example:"prf_01kbvf8q3d9x5t2m7n4c6w1e0z" validate:"max=100"`
	// UserRef is your own code of the collaborator whose default profile sends a one_off.
	UserRef string `json:"user_ref,omitempty" example:"jdupont" validate:"max=100"`
	// CompanyRef is your own code of the billing company whose default profile sends a batch. It also finds the templates.
	CompanyRef string `json:"company_ref,omitempty" example:"C001" validate:"max=100"`
	// TemplateID of the template for the messages that name none and have no content of their own.
	TemplateID string `json:"template_id,omitempty" example:"tpl_01kbvf8q3d9x5t2m7n4c6w1e0z" validate:"max=100"`
	// DocumentType of the messages whose document has none.
	DocumentType string `json:"document_type,omitempty" example:"invoice" validate:"max=200"`
	// Language of the messages that name none.
	Language string `json:"language,omitempty" example:"fr" validate:"max=35"`
	// Attachments that go with every message, after its own.
	Attachments []MessageAttachment `json:"attachments,omitempty" validate:"max=50"`
	// Name is what a person calls the job.
	Name string `json:"name,omitempty" example:"Invoices of November" validate:"max=200"`
	// ExternalID is your own number of the job.
	ExternalID string `json:"external_id,omitempty" example:"batch-2026-11" validate:"max=200"`
	// Tags of your own.
	Tags []string `json:"tags,omitempty" example:"november" validate:"max=20,itemmax=100"`
	// Metadata of your own; it comes back in every answer and is never sent.
	Metadata map[string]string `json:"metadata,omitempty" validate:"max=50,itemmax=1000" text:"block"`
	// SendAt is when to send it, at most 400 days ahead. Default: at once.
	SendAt *time.Time `json:"send_at,omitempty" format:"date-time" example:"2026-11-24T07:00:00Z"`
	// Draft keeps the job as it is asked, to be looked at first: nothing is composed or sent before it is released. Only the form of its messages
	// is checked now. A draft takes 0 to 1,000 messages here and more by appending.
	Draft bool `json:"draft,omitempty" example:"false"`
	// Release says who sets the job going. manual: its messages are composed and kept until somebody releases it; a draft always is. Default:
	// immediate.
	Release string `json:"release,omitempty" enums:"immediate,manual" example:"immediate"`
	// Canary is how many messages go first. The others follow by themselves when all of these were sent; when one of them was not, a person
	// decides.
	Canary int `json:"canary,omitempty" minimum:"1" maximum:"100" example:"3"`
	// StopAfterFailures stops the job as soon as so many of its messages failed or are uncertain. A few more may be on their way then. A person
	// decides whether it goes on.
	StopAfterFailures int `json:"stop_after_failures,omitempty" minimum:"1" maximum:"50000" example:"10"`
	// Window is when its messages may leave. Default: at any time.
	Window *SendingWindow `json:"window,omitempty"`
	// Messages of the job, 1 to 10,000; of a draft, 0 to 1,000. The whole request may have 24 MiB: upload attachments first and name them by id.
	Messages []Mail `json:"messages,omitempty" validate:"max=10000"`
}

// SendingWindow is when messages of a job may leave. Outside of it they wait.
type SendingWindow struct {
	// Days of the week. Default: Monday to Friday.
	Days []string `json:"days,omitempty" enums:"mon,tue,wed,thu,fri,sat,sun" example:"mon" validate:"max=7,itemmax=3"`
	// From is the time of the day from which messages leave.
	From string `json:"from" example:"08:00" validate:"required,max=5"`
	// To is the time of the day from which they leave no more; later than from, 24:00 at most.
	To string `json:"to" example:"18:00" validate:"required,max=5"`
	// TimeZone of the two, a name of the IANA database. Default: Europe/Brussels.
	TimeZone string `json:"time_zone,omitempty" example:"Europe/Brussels" validate:"max=64"`
	// Holidays are the days on which nothing leaves: the public holidays of Belgium (BE), or none. Default: none.
	Holidays string `json:"holidays,omitempty" enums:"BE,none" example:"BE"`
}

// DraftMessages are messages for a draft.
type DraftMessages struct {
	// Messages to append, 1 to 1,000. A job has 50,000 at most.
	Messages []Mail `json:"messages" validate:"required,max=1000"`
}

// AppendedMessages is the answer to appended messages. All of them are stored.
type AppendedMessages struct {
	// JobID of the draft.
	JobID string `json:"job_id" example:"job_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Total number of messages of the draft.
	Total int `json:"total" example:"1800"`
	// Messages in the order of the request.
	Messages []DraftMessageID `json:"messages"`
}

// DraftMessageID names a message of a draft.
type DraftMessageID struct {
	// ID of the message; it keeps it when the draft is released.
	ID string `json:"id" example:"msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// ExternalID as given.
	ExternalID string `json:"external_id,omitempty" example:"mail-42"`
}

// DraftMessage is a message of a draft as it was asked. Files that came with the request are named by their ids.
type DraftMessage struct {
	// ID of the message.
	ID string `json:"id" example:"msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// JobID of the draft.
	JobID string `json:"job_id" example:"job_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	Mail
}

// JobNote says why a job is paused or goes on.
type JobNote struct {
	// Note is kept with the job and in the audit trail.
	Note string `json:"note,omitempty" example:"The terms are being corrected." validate:"max=1000" text:"block"`
}

// JobGate is why messages of a job wait.
type JobGate struct {
	// Code of the reason. awaiting_release, canary_failed, stopped and paused wait for a person; outside_window and canary open by themselves.
	Code string `json:"code" enums:"awaiting_release,outside_window,canary,canary_failed,stopped,paused" example:"outside_window"`
	// Title in the reader's language.
	Title string `json:"title" example:"Outside the sending hours"`
	// Detail says what happens next, or what to do.
	Detail string `json:"detail" example:"Nothing to do."`
	// Since when.
	Since time.Time `json:"since" format:"date-time" example:"2026-11-23T17:00:00Z"`
	// Until is when it opens by itself, where the clock decides.
	Until *time.Time `json:"until,omitempty" format:"date-time" example:"2026-11-24T07:00:00Z"`
	// By is the id of the API key of who paused it.
	By string `json:"by,omitempty" example:"key_01kbvf8q3dx1e0z9"`
	// Note of who paused it.
	Note string `json:"note,omitempty" example:"The terms are being corrected."`
}

// RetriedJob is the answer to the retry of what failed.
type RetriedJob struct {
	// Retried is how many messages are tried again.
	Retried int `json:"retried" example:"8"`
	// Skipped is how many failed messages stay so, because another message brings their document by now.
	Skipped int `json:"skipped" example:"1"`
	// SkippedMessages are the first 1,000 of them.
	SkippedMessages []SkippedMessage `json:"skipped_messages"`
}

// SkippedMessage is a message that was left as it is.
type SkippedMessage struct {
	// ID of the message.
	ID string `json:"id" example:"msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Number of the document.
	Number string `json:"number,omitempty" example:"2026/0042"`
	// SentBy is the message that brings the document instead.
	SentBy string `json:"sent_by,omitempty" example:"msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Problem is why, and what to do.
	Problem *Trouble `json:"problem"`
}

// AcceptedSendJob is the answer to an accepted send job. All of its messages are stored.
type AcceptedSendJob struct {
	// ID of the job.
	ID string `json:"id" example:"job_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Purpose of the job.
	Purpose string `json:"purpose" enums:"batch,one_off" example:"batch"`
	// Status of its messages: queued, held when the sender profile is held, paused when they wait for something else, or draft.
	Status string `json:"status" enums:"queued,held,paused,draft" example:"queued"`
	// Sender that was chosen.
	Sender Sender `json:"sender"`
	// Total number of messages.
	Total int `json:"total" example:"800"`
	// Messages in the order of the request.
	Messages []AcceptedJobMessage `json:"messages"`
	// ExternalID as given.
	ExternalID string `json:"external_id,omitempty" example:"batch-2026-11"`
	// Problem is why it is held, and what to do.
	Problem *Trouble `json:"problem,omitempty"`
	// CreatedAt is when it was accepted.
	CreatedAt time.Time `json:"created_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
	// SendAt as given; absent: at once.
	SendAt *time.Time `json:"send_at,omitempty" format:"date-time" example:"2026-11-24T07:00:00Z"`
	// Links to the job and its messages.
	Links Links `json:"links"`
}

// AcceptedJobMessage is one accepted message of a job.
type AcceptedJobMessage struct {
	// ID of the message.
	ID string `json:"id" example:"msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// ExternalID as given.
	ExternalID string `json:"external_id,omitempty" example:"mail-42"`
	// Language of the translation used, or the mail's own.
	Language string `json:"language,omitempty" example:"fr"`
	// Template that was used; absent for own content.
	Template *TemplateUse `json:"template,omitempty"`
}

// SendJobSummary is a send job as a list shows it.
type SendJobSummary struct {
	// ID of the job.
	ID string `json:"id" example:"job_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Purpose of the job.
	Purpose string `json:"purpose" enums:"batch,one_off" example:"batch"`
	// Sender that was chosen.
	Sender Sender `json:"sender"`
	// Name as given.
	Name string `json:"name,omitempty" example:"Invoices of November"`
	// ExternalID as given.
	ExternalID string `json:"external_id,omitempty" example:"batch-2026-11"`
	// Tags as given.
	Tags []string `json:"tags,omitempty" example:"november"`
	// Metadata as given.
	Metadata map[string]string `json:"metadata,omitempty"`
	// Total number of messages.
	Total int `json:"total" example:"800"`
	// State: a draft is not sent before it is released; an expired one was never released.
	State string `json:"state" enums:"draft,released,canceled,expired" example:"released"`
	// Gate is why messages wait although their time has come; absent: nothing keeps them.
	Gate *JobGate `json:"gate,omitempty"`
	// Release as given.
	Release string `json:"release" enums:"immediate,manual" example:"immediate"`
	// Canary as given.
	Canary int `json:"canary,omitempty" example:"3"`
	// StopAfterFailures as given.
	StopAfterFailures int `json:"stop_after_failures,omitempty" example:"10"`
	// Window as given, its defaults filled in.
	Window *SendingWindow `json:"window,omitempty"`
	// ExpiresAt is when it expires unless it is released before, or changed.
	ExpiresAt *time.Time `json:"expires_at,omitempty" format:"date-time" example:"2026-12-23T08:00:00Z"`
	// FinishedAt is when nothing of it could move by itself any more. It is absent again when something is retried.
	FinishedAt *time.Time `json:"finished_at,omitempty" format:"date-time" example:"2026-11-23T08:10:00Z"`
	// SendAt as given; absent: at once.
	SendAt *time.Time `json:"send_at,omitempty" format:"date-time" example:"2026-11-24T07:00:00Z"`
	// CreatedAt is when it was accepted.
	CreatedAt time.Time `json:"created_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
	// CreatedBy is the id of the API key that asked.
	CreatedBy string `json:"created_by" example:"key_01kbvf8q3dx1e0z9"`
	// Links to the job and its messages.
	Links Links `json:"links"`
}

// SendJob is one act of sending and how far it is.
type SendJob struct {
	SendJobSummary
	// Counts of the messages by status, live.
	Counts JobCounts `json:"counts"`
	// Done is how many have come to an end: sent, failed or canceled. A message that is uncertain waits for a person.
	Done int `json:"done" example:"790"`
	// Partial is how many of the sent ones were refused for some of their recipients.
	Partial int `json:"partial" example:"2"`
	// Finished says that all are done.
	Finished bool `json:"finished"`
	// Over says that nothing of the job moves by itself any more: every message is done, or is uncertain and waits for a person.
	Over bool `json:"over"`
	// Rate is how many messages were sent a second, over the last minute. It is absent when too few were to tell.
	Rate float64 `json:"rate,omitempty" example:"12.5"`
	// EstimatedEnd is when the messages that are queued or being sent will have been tried, at this rate. Deferred ones may come later. It
	// is absent when nobody can say: nothing was sent lately, or a limit of the sender profile may come in between.
	EstimatedEnd *time.Time `json:"estimated_end,omitempty" format:"date-time" example:"2026-11-23T08:01:05Z"`
	// Version changes whenever anything else here does, except for rate and estimated_end. Compare it, and read nothing into it.
	Version string `json:"version" example:"5f2c9a1b7d3e4f60"`
}

// JobCounts are numbers of messages by status.
type JobCounts struct {
	// Queued messages wait for their turn.
	Queued int `json:"queued" example:"4"`
	// Sending messages are being handed over.
	Sending int `json:"sending" example:"2"`
	// Sent messages were taken by the next mail server.
	Sent int `json:"sent" example:"780"`
	// Deferred messages are tried again by themselves.
	Deferred int `json:"deferred" example:"3"`
	// Failed messages were not sent.
	Failed int `json:"failed" example:"8"`
	// Held messages wait for the sender profile to be mended.
	Held int `json:"held" example:"0"`
	// Uncertain messages may or may not have been sent.
	Uncertain int `json:"uncertain" example:"1"`
	// Canceled messages were stopped.
	Canceled int `json:"canceled" example:"2"`
	// Paused messages wait for the job to be released or to go on.
	Paused int `json:"paused" example:"0"`
	// Draft messages are still being prepared.
	Draft int `json:"draft" example:"0"`
}

// ResolvedJob is the answer to the resolving of a job's uncertain messages.
type ResolvedJob struct {
	// Resolved is how many messages this call settled.
	Resolved int `json:"resolved" example:"4"`
	// Skipped is how many stay uncertain, because another message brings their document by now.
	Skipped int `json:"skipped" example:"0"`
	// SkippedMessages are the first 1,000 of them.
	SkippedMessages []SkippedMessage `json:"skipped_messages"`
	// Job as it is now.
	Job SendJob `json:"job"`
}

// CanceledJob is the answer to the cancelling of a job.
type CanceledJob struct {
	// Canceled is how many messages this call stopped. Those that were sent or on their way keep their course.
	Canceled int `json:"canceled" example:"12"`
	// Job as it is now.
	Job SendJob `json:"job"`
}
