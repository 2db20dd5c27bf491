package api

import "time"

// SendJobCheck is what is wrong with a batch, all of it, and how it would go. Nothing was stored.
type SendJobCheck struct {
	// Ready says that nothing blocking was found.
	Ready bool `json:"ready"`
	// Messages is how many mails were looked at.
	Messages int `json:"messages" example:"800"`
	// Counts of the problems by severity, in full.
	Counts CheckCounts `json:"counts"`
	// Codes are the counts by code, in full, the blocking ones first.
	Codes []CheckCode `json:"codes"`
	// Problems that were found: those of the batch first, then in the order of the messages. At most 1,000, the gravest, and of
	// those with the same code and severity at most 200; see problems_omitted and codes.
	Problems []CheckProblem `json:"problems"`
	// ProblemsOmitted is how many more problems there are than problems lists. Absent when none.
	ProblemsOmitted int `json:"problems_omitted,omitempty" example:"12"`
	// Sender that was chosen. Absent when there is none, which is then one of the problems.
	Sender *Sender `json:"sender,omitempty"`
	// Forecast says how the batch would go. Absent without a sender.
	Forecast *Forecast `json:"forecast,omitempty"`
}

// CheckCounts are numbers of problems by severity.
type CheckCounts struct {
	// Blocking problems: the mail would be refused or would fail, or would bring somebody what is not his.
	Blocking int `json:"blocking" example:"3"`
	// Warning problems: the mail can go, but a person should look first.
	Warning int `json:"warning" example:"1"`
	// Info is good to know.
	Info int `json:"info" example:"0"`
}

// CheckCode is how often a problem was found.
type CheckCode struct {
	// Code of the problem.
	Code string `json:"code" example:"domain_typo"`
	// Severity of the problem.
	Severity string `json:"severity" enums:"blocking,warning,info" example:"blocking"`
	// Count of the problems with this code and severity.
	Count int `json:"count" example:"3"`
	// Listed is how many of them problems lists.
	Listed int `json:"listed" example:"3"`
}

// CheckProblem is one thing that is wrong, or worth a look, with a mail or with the batch.
type CheckProblem struct {
	// Severity of the problem. blocking: do not send it as it is; it would be refused or would fail, or would bring somebody what is
	// not his. warning: it can go, but a person should look first. info: good to know.
	Severity string `json:"severity" enums:"blocking,warning,info" example:"blocking"`
	// Code is the stable name of the problem: one of those below, or of those that a refused request has in errors.
	// profile_not_ready (see cause), profile_paused, profile_unchecked; domain_typo, domain_without_mail, domain_refuses_mail,
	// domains_unchecked; token_unknown;
	// document_sent_before, document_accepted_before, document_twice; language_not_in_template; recipient_suppressed; file_empty, file_not_pdf,
	// file_not_xml, file_doctype, file_not_ubl, file_of_other_document, file_of_another_client; message_over_size_limit;
	// day_limit_exceeded.
	Code string `json:"code" example:"domain_typo"`
	// Pointer is the JSON pointer (RFC 6901) of the field in the request's body. Empty: the batch as a whole.
	Pointer string `json:"pointer" example:"/messages/17/to/0/address"`
	// Message that has the problem. Absent when it is the batch's.
	Message *CheckedMessage `json:"message,omitempty"`
	// Title is what is wrong in a few words, in the reader's language (Accept-Language).
	Title string `json:"title" example:"The address looks like a typing error"`
	// Detail is what is wrong, in the reader's language.
	Detail string `json:"detail" example:"“compta@gmial.com” is one letter away from a well-known mail provider. Probably “compta@gmail.com” is meant."`
	// Remedy is what to do about it, in the reader's language.
	Remedy string `json:"remedy" example:"Correct the address on the client’s card and check again."`
	// Cause is why the sender profile is not ready or pauses.
	Cause *Trouble `json:"cause,omitempty"`
}

// CheckedMessage says which mail a problem is about.
type CheckedMessage struct {
	// Index of the mail among those that were checked, from 0.
	Index int `json:"index" example:"17"`
	// ID of the message, when it is stored.
	ID string `json:"id,omitempty" example:"msg_01kbvf8q3d9x5t2m7n4c6w1e0z"`
	// ExternalID as given.
	ExternalID string `json:"external_id,omitempty" example:"mail-42"`
	// DocumentNumber of the mail.
	DocumentNumber string `json:"document_number,omitempty" example:"2026/0042"`
	// Recipient is the first address in to.
	Recipient string `json:"recipient,omitempty" example:"compta@gmial.com"`
}

// Forecast says how a batch will go when its sender is ready, nobody stops it and no one-off mail goes before it. Its sending hours (window)
// count.
type Forecast struct {
	// Messages of the batch.
	Messages int `json:"messages" example:"1200"`
	// Ahead is how many mails of the same profile wait to go first.
	Ahead int `json:"ahead" example:"40"`
	// StartsAt is when the first one goes.
	StartsAt time.Time `json:"starts_at" format:"date-time" example:"2026-11-23T08:00:40Z"`
	// DoneAt is when the last one has gone.
	DoneAt time.Time `json:"done_at" format:"date-time" example:"2026-11-25T08:05:00Z"`
	// Days is over how many periods of 24 hours the batch is spread.
	Days int `json:"days" example:"3"`
	// PerMinute is how many mails go in a minute when no limit of the profile holds them up.
	PerMinute float64 `json:"per_minute" example:"60"`
	// RateBasis says where per_minute comes from: measured in the last day, or assumed (one mail a second and connection) because
	// the profile has sent too little to measure.
	RateBasis string `json:"rate_basis" enums:"measured,assumed" example:"assumed"`
	// LimitedBy is the limit of the profile that done_at depends on. Absent when it depends on the rate alone.
	LimitedBy string `json:"limited_by,omitempty" enums:"per_minute,per_hour,per_day" example:"per_day"`
	// Limit is how many mails that limit allows.
	Limit int `json:"limit,omitempty" example:"500"`
}
