package api

// Problem is the body of every refusal (RFC 9457), with the media type application/problem+json. Nothing was stored or
// changed when a request is answered with a problem, except where its code says otherwise.
type Problem struct {
	// Type is always "about:blank": the code says what kind of problem it is.
	Type string `json:"type" example:"about:blank"`
	// Title is the problem in a few words, in the reader's language (Accept-Language: fr, nl, en or de).
	Title string `json:"title" example:"Some fields need your attention"`
	// Status is the HTTP status of the answer.
	Status int `json:"status" example:"422"`
	// Detail is what happened and what to do next, in the reader's language. Made to be shown to a person as it is.
	Detail string `json:"detail" example:"The request was not carried out because some fields are not right."`
	// Code is the stable name of the problem, for programs.
	Code string `json:"code" example:"validation_failed"`
	// RequestID names the request in the service's log. Give it to whoever runs the service.
	RequestID string `json:"request_id,omitempty" example:"req_3f6c0a1be9d24c07"`
	// Errors lists every wrong field at once. At most 1,000; see errors_omitted.
	Errors []FieldError `json:"errors,omitempty"`
	// ErrorsOmitted is how many more wrong fields there are than errors lists. Absent when none.
	ErrorsOmitted int `json:"errors_omitted,omitempty" example:"12"`
}

// FieldError is one wrong field of a request.
type FieldError struct {
	// Pointer is the JSON pointer (RFC 6901) of the field in the request's body, "?name" for a parameter of the query, or the name
	// of a header. Empty: the body as a whole.
	Pointer string `json:"pointer" example:"/to/0/address"`
	// Code is the stable name of what is wrong with the field.
	Code string `json:"code" example:"address_invalid"`
	// Title is what is wrong in a few words, in the reader's language.
	Title string `json:"title" example:"This is not an e-mail address"`
	// Detail is what is wrong and how to mend it, in the reader's language.
	Detail string `json:"detail"`
}
