// Package api is the wire contract of Facteur's HTTP API, version 1: the JSON bodies of requests and answers.
//
// It imports the standard library only, so that a client may depend on it and on nothing else. The doc comments become the
// descriptions of openapi.yaml, and the tags are not decoration: the service refuses what they exclude. `validate:"required"`
// is a field that must be there, `max` is the most bytes of a string or entries of a list or map, `enums`, `minimum` and
// `maximum` bound a value. A string is one line without control characters unless `text` says otherwise: "block" may have
// line breaks and tabs.
//
// Names are snake_case, times are UTC in RFC 3339, ids are opaque texts with a type prefix ("prf_", "msg_"). In a request
// null is the same as leaving the field out, except in a PATCH (JSON merge patch, RFC 7386), where it clears the field.
// Unknown fields are refused. Fields may be added to answers at any time; a client must ignore those it does not know.
package api

import "time"

// Address is a mailbox: an e-mail address and the name shown with it.
type Address struct {
	// Name as the recipient's mail program shows it. At most 200 bytes.
	Name string `json:"name,omitempty" example:"Café Zoë" validate:"max=200"`
	// Address of the form local@domain. The local part is plain (no quotes, spaces or brackets), in any script; the domain may be
	// internationalised. At most 254 bytes, 64 of them before the @.
	Address string `json:"address" example:"compta@zoe.example" validate:"required" text:"raw"`
}

// List is one page of a list, newest first.
type List[T any] struct {
	// Items of this page, newest first; empty when there are none.
	Items []T `json:"items"`
	// NextCursor is the value of `cursor` that gives the next page. Absent on the last page. Opaque; valid for as long as you like.
	NextCursor string `json:"next_cursor,omitempty" example:"PG1zZ18wMWtidmY4"`
}

// Reply is the far end's own words on a mail or a recipient.
type Reply struct {
	// Code is the SMTP reply code (RFC 5321) or the HTTP status of a provider's API. Absent when the far end said nothing.
	Code int `json:"code,omitempty" example:"550"`
	// Enhanced is the enhanced status code (RFC 3463) when the far end gave one.
	Enhanced string `json:"enhanced,omitempty" example:"5.1.1"`
	// Text is what the far end said, at most 500 bytes of printable text. Where it said nothing (a connection that broke) it is the
	// service's own description.
	Text string `json:"text,omitempty" example:"no such user"`
}

// Trouble says what is the matter with a mail or a profile and what to do about it, made to be shown to a person.
type Trouble struct {
	// Code is the stable name of what happened.
	Code string `json:"code" example:"smtp_login_refused"`
	// Title is the matter in a few words, in the reader's language (Accept-Language).
	Title string `json:"title" example:"The mail server refuses the login"`
	// Detail is what happened and what to do next, in the reader's language.
	Detail string `json:"detail"`
	// Reply is what the far end said, when it said something.
	Reply *Reply `json:"reply,omitempty"`
	// Since is when the trouble began. Present for a profile's trouble.
	Since *time.Time `json:"since,omitempty" format:"date-time" example:"2026-11-23T08:00:00Z"`
}
