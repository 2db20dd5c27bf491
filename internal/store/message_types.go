package store

import (
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// Message is the state of one message as it is read.
type Message struct {
	ID, TenantID, JobID, ProfileID string

	Status     mail.Status // held when it waits and its profile has a hold
	Phase      mail.Phase
	Priority   mail.Priority
	NotBefore  time.Time
	ExpiresAt  time.Time
	Attempts   int
	Recipients []mail.Recipient
	Code       string // of the last verdict; of the profile's hold when held; empty when there is nothing to say
	Delivery   mail.Delivery
	Latest     *Attempt // nil: there was none yet

	CreatedAt, UpdatedAt time.Time
	SentAt               time.Time // zero: not sent

	Subject  string
	Language string // that was used
	Detail   MessageDetail
}

// MessageDetail is what the caller asked and how it was decided. It is written with the message; only an erasure adds to it.
type MessageDetail struct {
	Document        mail.Document     `json:"document,omitzero"`
	Client          mail.Client       `json:"client,omitzero"`
	CompanyRef      string            `json:"company_ref,omitempty"` // whose document it is
	ExternalID      string            `json:"external_id,omitempty"`
	Tags            []string          `json:"tags,omitempty"`
	Metadata        map[string]string `json:"metadata,omitempty"`
	TemplateID      string            `json:"template_id,omitempty"`
	TemplateVersion int64             `json:"template_version,omitempty"`
	LanguageAsked   string            `json:"language_asked,omitempty"`
	SenderLevel     mail.Level        `json:"sender_level,omitempty"`
	SenderReason    string            `json:"sender_reason,omitempty"`
	RequestedBy     string            `json:"requested_by,omitempty"`
	// AllowedDuplicateReason is why a person may have sent this document to this client once more.
	AllowedDuplicateReason string `json:"allowed_duplicate_reason,omitempty"`
	// Erased is set when the content was erased.
	Erased *Erasure `json:"erased,omitempty"`
}

// Erasure is what is kept of a content that was erased.
type Erasure struct {
	At     time.Time `json:"at"`
	SHA256 string    `json:"sha256"` // of the mail as it was rendered, in hex
	Size   int64     `json:"size"`   // of it, in bytes
}

// Attempt is one counted try to hand a message over.
type Attempt struct {
	MessageID             string
	N                     int // from 1
	StartedAt, FinishedAt time.Time
	Outcome               mail.Outcome
	Detail                AttemptDetail
}

// AttemptDetail is the evidence of an attempt.
type AttemptDetail struct {
	Scope         mail.Scope              `json:"scope,omitempty"`
	Code          string                  `json:"code,omitempty"`
	Step          string                  `json:"step,omitempty"`
	Reply         mail.Reply              `json:"reply,omitzero"`
	Evidence      string                  `json:"evidence,omitempty"`
	Recipients    []mail.RecipientVerdict `json:"recipients,omitempty"`
	NextAttemptAt time.Time               `json:"next_attempt_at,omitzero"`
	// For the usage: the way it left, and the size of the whole mail.
	Transport string `json:"transport,omitempty"`
	Bytes     int64  `json:"bytes,omitempty"`
}

// MessageFilter selects messages; zero fields select everything.
type MessageFilter struct {
	JobID, ProfileID, ExternalID string
	Status                       mail.Status // held included; queued and deferred leave out what is held
	Delivery                     mail.Delivery
	CreatedAfter, CreatedBefore  time.Time // after is included, before is not
}
