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
	// Messages of the job, 1 to 10,000. The whole request may have 24 MiB: upload attachments first and name them by id.
	Messages []Mail `json:"messages" validate:"required,max=10000"`
}

// AcceptedSendJob is the answer to an accepted send job. All of its messages are stored.
type AcceptedSendJob struct {
	// ID of the job.
	ID string `json:"id" example:"job_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Purpose of the job.
	Purpose string `json:"purpose" enums:"batch,one_off" example:"batch"`
	// Status of its messages: queued, or held when the sender profile is held.
	Status string `json:"status" enums:"queued,held" example:"queued"`
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
}

// CanceledJob is the answer to the cancelling of a job.
type CanceledJob struct {
	// Canceled is how many messages this call stopped. Those that were sent or on their way keep their course.
	Canceled int `json:"canceled" example:"12"`
	// Job as it is now.
	Job SendJob `json:"job"`
}
