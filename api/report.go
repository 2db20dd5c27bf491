package api

import "time"

// SendJobReport is what became of every message of a job.
type SendJobReport struct {
	// GeneratedAt is when the report was begun.
	GeneratedAt time.Time `json:"generated_at" format:"date-time" example:"2026-11-23T08:10:00Z"`
	// Job as it was then. When it is not over, messages may have moved on before their line was written.
	Job SendJob `json:"job"`
	// Lines are the messages, one each, in the order of the request. A draft has none yet.
	Lines []ReportLine `json:"lines"`
}

// ReportLine is one message of a report.
type ReportLine struct {
	// ID of the message.
	ID string `json:"id" example:"msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// ExternalID as given.
	ExternalID string `json:"external_id,omitempty" example:"mail-42"`
	// Document that the mail is about.
	Document *Document `json:"document,omitempty"`
	// Client that the mail is for.
	Client *Client `json:"client,omitempty"`
	// Recipients and what became of each.
	Recipients []MessageRecipient `json:"recipients"`
	// Status of the message.
	Status string `json:"status" enums:"queued,sending,sent,deferred,failed,held,uncertain,canceled,paused" example:"sent"`
	// Code of the reason; stable, for programs. Absent when there is nothing to say.
	Code string `json:"code,omitempty" example:"recipient_unknown"`
	// Reason is what happened and what to do, in words.
	Reason string `json:"reason,omitempty" example:"This address does not exist. The recipient’s mail server does not know this address."`
	// Time when it was sent, or when its state last changed.
	Time time.Time `json:"time" format:"date-time" example:"2026-11-23T08:00:02Z"`
	// Evidence is what the far end said last, or in words what was seen of it.
	Evidence string `json:"evidence,omitempty" example:"250 2.0.0 queued as 4XyZ1"`
	// Attempts made so far.
	Attempts int `json:"attempts" example:"1"`
	// MessageID is the mail's Message-ID header.
	MessageID string `json:"message_id,omitempty" example:"<01kbvf8q3d9x5t2m7n4c6w1e0z@firm.example>"`
}
