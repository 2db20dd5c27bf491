package api

import "time"

// WebhookEvent is what a webhook endpoint is sent: as the body of a POST that is signed by Standard Webhooks
// (https://www.standardwebhooks.com). It tells what happened by ids and codes and holds nothing of a mail's content. The id of the event
// is in the header webhook-id and is the same at every try: an event may come more than once, and events may overtake each other.
type WebhookEvent struct {
	// Type says what happened.
	Type string `json:"type" enums:"message.sent,message.failed,message.deferred,message.uncertain,message.delivered,message.bounced,message.complained,send_job.completed,send_job.paused,send_job.expiring,send_job.expired,sender_profile.needs_attention,sender_profile.recovered,webhook_endpoint.disabled,webhook_endpoint.test" example:"message.failed"`
	// Timestamp is when it happened.
	Timestamp time.Time `json:"timestamp" format:"date-time" example:"2026-11-23T08:00:02Z"`
	// Data are the facts.
	Data WebhookEventData `json:"data"`
}

// WebhookEventData are the facts of an event. What does not belong to its type is absent.
type WebhookEventData struct {
	// ID of the message, send job, sender profile or webhook endpoint that it is about.
	ID string `json:"id" example:"msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Link is where to ask for the whole of it.
	Link string `json:"link" example:"/v1/messages/msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Name of the send job, sender profile or endpoint.
	Name string `json:"name,omitempty" example:"Invoices of November"`
	// Status of the message or send job after the event. It may be another one by now.
	Status string `json:"status,omitempty" example:"failed"`
	// Problem says why, and what to do, in the language of the endpoint.
	Problem *Trouble `json:"problem,omitempty"`
	// SendJobID of the message.
	SendJobID string `json:"send_job_id,omitempty" example:"job_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// SenderProfileID of the message or send job.
	SenderProfileID string `json:"sender_profile_id,omitempty" example:"prf_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// ExternalID is the caller's own reference of the message.
	ExternalID string `json:"external_id,omitempty" example:"F2026-0042"`
	// Attempts to hand the message over, so far.
	Attempts int `json:"attempts,omitempty" example:"1"`
	// NextAttemptAt is when a deferred message is tried again.
	NextAttemptAt *time.Time `json:"next_attempt_at,omitempty" format:"date-time" example:"2026-11-23T08:01:00Z"`
	// Recipient that a delivery event is about.
	Recipient string `json:"recipient,omitempty" example:"compta@zoe.example"`
	// Counts of the send job's messages by status.
	Counts map[string]int `json:"counts,omitempty"`
	// ExpiresAt is when the send job ends by itself.
	ExpiresAt *time.Time `json:"expires_at,omitempty" format:"date-time" example:"2026-12-23T08:00:00Z"`
}

// WebhookEndpoint is an address of yours that is told what happens. Its secret is never shown again.
type WebhookEndpoint struct {
	// ID of the endpoint.
	ID string `json:"id" example:"whe_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// URL that events are posted to.
	URL string `json:"url" example:"https://app.zoe.example/hooks/facteur"`
	// Description is what a person calls it.
	Description string `json:"description,omitempty" example:"Invoicing"`
	// Events that it is sent; empty: all.
	Events []string `json:"events" enums:"message.sent,message.failed,message.deferred,message.uncertain,message.delivered,message.bounced,message.complained,send_job.completed,send_job.paused,send_job.expiring,send_job.expired,sender_profile.needs_attention,sender_profile.recovered,webhook_endpoint.disabled" example:"message.failed"`
	// Language of the texts in the events.
	Language string `json:"language" enums:"fr,nl,en,de" example:"fr"`
	// Enabled says whether events are sent to it.
	Enabled bool `json:"enabled" example:"true"`
	// Disabled is why the service switched it off. Absent when it is on, or you switched it off.
	Disabled *Trouble `json:"disabled,omitempty"`
	// FailingSince is when it first failed to take an event after the last success. Absent when all is well.
	FailingSince *time.Time `json:"failing_since,omitempty" format:"date-time" example:"2026-11-23T08:00:00Z"`
	// FormerSecretUntil is until when the secret before the last rotation signs as well.
	FormerSecretUntil *time.Time `json:"former_secret_until,omitempty" format:"date-time" example:"2026-11-24T08:00:00Z"`
	// CreatedAt is when it was made.
	CreatedAt time.Time `json:"created_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
	// UpdatedAt is when it was last edited.
	UpdatedAt time.Time `json:"updated_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
}

// WebhookEndpointRequest makes an endpoint.
type WebhookEndpointRequest struct {
	// URL that events are posted to. It must begin with https; redirects are not followed.
	URL string `json:"url" example:"https://app.zoe.example/hooks/facteur" validate:"required,max=2000"`
	// Description is what a person calls it.
	Description string `json:"description,omitempty" example:"Invoicing" validate:"max=200"`
	// Events that it is sent. Default: all, new types included.
	Events []string `json:"events,omitempty" enums:"message.sent,message.failed,message.deferred,message.uncertain,message.delivered,message.bounced,message.complained,send_job.completed,send_job.paused,send_job.expiring,send_job.expired,sender_profile.needs_attention,sender_profile.recovered,webhook_endpoint.disabled" example:"message.failed" validate:"max=50"`
	// Language of the texts in the events. Default: that of the request.
	Language string `json:"language,omitempty" enums:"fr,nl,en,de" example:"fr"`
}

// WebhookEndpointPatch edits an endpoint.
type WebhookEndpointPatch struct {
	// URL that events are posted to.
	URL *string `json:"url,omitempty" example:"https://app.zoe.example/hooks/facteur" validate:"max=2000"`
	// Description is what a person calls it.
	Description *string `json:"description,omitempty" example:"Invoicing" validate:"max=200"`
	// Events that it is sent; empty: all.
	Events *[]string `json:"events,omitempty" enums:"message.sent,message.failed,message.deferred,message.uncertain,message.delivered,message.bounced,message.complained,send_job.completed,send_job.paused,send_job.expiring,send_job.expired,sender_profile.needs_attention,sender_profile.recovered,webhook_endpoint.disabled" example:"message.failed" validate:"max=50"`
	// Language of the texts in the events.
	Language *string `json:"language,omitempty" enums:"fr,nl,en,de" example:"fr"`
	// Enabled switches it off, or on again. What was under way when it went off is sent then; what happened meanwhile is not.
	Enabled *bool `json:"enabled,omitempty"`
}

// WebhookEndpointSecret is an endpoint with its signing secret, which is shown this once.
type WebhookEndpointSecret struct {
	WebhookEndpoint
	// Secret to verify the signatures with. It cannot be had again.
	Secret string `json:"secret" example:"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"`
}

// WebhookDelivery is an event on its way to an endpoint.
type WebhookDelivery struct {
	// ID of the delivery.
	ID string `json:"id" example:"whd_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// EventID is what the header webhook-id says at every try.
	EventID string `json:"event_id" example:"evt_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Event as it is sent.
	Event WebhookEvent `json:"event"`
	// Status is pending until the endpoint answered with a 2xx status (delivered) or all tries are used up (failed).
	Status string `json:"status" enums:"pending,delivered,failed" example:"pending"`
	// Attempts made so far. A replay counts anew.
	Attempts int `json:"attempts" example:"2"`
	// NextAttemptAt is when it is tried next. Absent unless it is pending.
	NextAttemptAt *time.Time `json:"next_attempt_at,omitempty" format:"date-time" example:"2026-11-23T08:05:00Z"`
	// LastAttemptAt is when it was last tried.
	LastAttemptAt *time.Time `json:"last_attempt_at,omitempty" format:"date-time" example:"2026-11-23T08:00:05Z"`
	// ResponseStatus is the HTTP status of the last answer. Absent when there was none.
	ResponseStatus int `json:"response_status,omitempty" example:"503"`
	// ResponseExcerpt is the beginning of the last answer's body. Of a receiver in the operator's own networks it is not kept.
	ResponseExcerpt string `json:"response_excerpt,omitempty" example:"upstream is down"`
	// Problem is why the last try failed, and what to do.
	Problem *Trouble `json:"problem,omitempty"`
	// CreatedAt is when the event was given to this endpoint.
	CreatedAt time.Time `json:"created_at" format:"date-time" example:"2026-11-23T08:00:00Z"`
}

// WebhookReplayRequest sends again what failed.
type WebhookReplayRequest struct {
	// Since is the time from which on failed deliveries are sent again; they are kept 30 days.
	Since time.Time `json:"since" format:"date-time" example:"2026-11-22T00:00:00Z" validate:"required"`
}

// WebhookReplay says how many deliveries are sent again.
type WebhookReplay struct {
	// Replayed deliveries.
	Replayed int `json:"replayed" example:"17"`
}

// NoticeSettings say who is told by mail when something needs a person.
type NoticeSettings struct {
	// Addresses that get the notices.
	Addresses []string `json:"addresses" example:"compta@zoe.example" validate:"required,max=10"`
	// Language of the notices.
	Language string `json:"language" enums:"fr,nl,en,de" example:"fr" validate:"required"`
	// SenderProfileID of the sender profile that the notices are sent from. When that one is itself in trouble, its notices wait with its other
	// mails: take one that works apart from the others.
	SenderProfileID string `json:"sender_profile_id" example:"prf_01kbvf8q3d9x5t2m7n4c6w1e0z" validate:"required"`
	// Kinds of notices: a send job that ended with mails not sent, or stands still; a sender profile that needs attention; a webhook endpoint
	// that was switched off.
	Kinds []string `json:"kinds" enums:"send_job_failures,sender_profile,webhook_endpoint" example:"sender_profile" validate:"required,max=10"`
}
