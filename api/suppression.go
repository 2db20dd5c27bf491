package api

import "time"

// Suppression is an address that the firm's mail is not sent to. A mail for it fails before it is handed over (recipient_suppressed), or goes
// to its other recipients only, unless it says override_suppression.
type Suppression struct {
	// ID of the suppression.
	ID string `json:"id" example:"sup_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// Address in the form in which addresses are compared: in lower case, an internationalised domain in its ASCII form.
	Address string `json:"address" example:"compta@zoe.example"`
	// Reason is bounce when there is no such mailbox, complaint when its owner called a mail spam, manual when a person said so.
	Reason string `json:"reason" enums:"bounce,complaint,manual" example:"bounce"`
	// Note of the person who added it.
	Note string `json:"note,omitempty" example:"Asked by phone on 23 November."`
	// Evidence is what was said at the far end.
	Evidence string `json:"evidence,omitempty" example:"550 5.1.1 no such user"`
	// MessageID of the message that brought it.
	MessageID string `json:"message_id,omitempty" example:"msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// CreatedBy is the id of the API key that added it; absent when the service did.
	CreatedBy string `json:"created_by,omitempty" example:"key_01kbvf8q3dx1e0z9"`
	// CreatedAt is when it began.
	CreatedAt time.Time `json:"created_at" format:"date-time" example:"2026-11-23T08:00:07Z"`
}

// SuppressionRequest adds an address by hand.
type SuppressionRequest struct {
	// Address that no mail may be sent to.
	Address string `json:"address" example:"compta@zoe.example" validate:"required" text:"raw"`
	// Reason, manual when absent. The others are for a list that is brought from elsewhere.
	Reason string `json:"reason,omitempty" enums:"bounce,complaint,manual" example:"manual"`
	// Note says why, for whoever asks later.
	Note string `json:"note,omitempty" example:"Asked by phone on 23 November." validate:"max=1000" text:"block"`
}

// TakenEvents says what became of a batch of events.
type TakenEvents struct {
	// Stored is how many were new.
	Stored int `json:"stored" example:"12"`
	// Known is how many were stored before.
	Known int `json:"known" example:"0"`
	// Ignored is how many say nothing about a mail that was sent this way.
	Ignored int `json:"ignored" example:"0"`
}
