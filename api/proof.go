package api

import "time"

// Proof is proof.json in the zip of a message's proof of dispatch.
type Proof struct {
	// Format of this document: 1.
	Format int `json:"format" example:"1"`
	// ProvesDispatch says that the far end itself confirmed that it took the mail, for at least one recipient. Everything else is
	// a record of what happened and no proof.
	ProvesDispatch bool `json:"proves_dispatch"`
	// Trial: the mail went through a sandbox, which keeps mails and sends none.
	Trial bool `json:"trial,omitempty"`
	// Message is the mail, its recipients and what became of each.
	Message Message `json:"message"`
	// MessageIDHeader is the mail's Message-ID header.
	MessageIDHeader string `json:"message_id_header" example:"<01kbvf8q3d9x5t2m7n4c6w1e0z@firm.example>"`
	// From is the address that the mail comes from.
	From Address `json:"from"`
	// Attempts to hand it over, with the far end's replies.
	Attempts []Attempt `json:"attempts"`
	// Decisions that were made about it afterwards, by a person or the service.
	Decisions []ProofDecision `json:"decisions"`
	// Firm that sent it.
	Firm ProofParty `json:"firm"`
	// RequestedBy is the API key that asked for it.
	RequestedBy ProofParty `json:"requested_by"`
	// Job that it belongs to.
	Job SendJobSummary `json:"job"`
	// Mail is the exact mail.
	Mail ProofMail `json:"mail"`
}

// ProofParty is who had to do with a mail.
type ProofParty struct {
	// ID of the firm or the key.
	ID string `json:"id" example:"key_01kbvf8q3dx1e0z9"`
	// Name of it.
	Name string `json:"name,omitempty" example:"WinPrest"`
}

// ProofDecision is what was decided about a mail.
type ProofDecision struct {
	// Action that was taken.
	Action string `json:"action" example:"message.resolve"`
	// As is what it was resolved as: sent or resend.
	As string `json:"as,omitempty" example:"sent"`
	// Actor is the id of the API key, or which part of the service it was: reconciliation found or missed it in the mailbox,
	// on_uncertain had it sent again.
	Actor string `json:"actor" example:"key_01kbvf8q3dx1e0z9"`
	// Note that was given.
	Note string `json:"note,omitempty" example:"The client has it."`
	// At is when.
	At time.Time `json:"at" format:"date-time" example:"2026-11-23T08:00:02Z"`
}

// ProofMail says which bytes were handed over.
type ProofMail struct {
	// File in the zip; empty when the content was erased.
	File string `json:"file,omitempty" example:"message.eml"`
	// SHA256 of the mail, in hex.
	SHA256 string `json:"sha256" example:"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
	// Size of the mail in bytes.
	Size int64 `json:"size" example:"104822"`
	// ErasedAt is when the content was erased.
	ErasedAt *time.Time `json:"erased_at,omitempty" format:"date-time" example:"2027-11-23T08:00:02Z"`
}
