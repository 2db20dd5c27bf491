package mail

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Outcome is what a transport says of one attempt. The zero value is OutcomeUncertain: what nobody classified is never
// retried by itself.
type Outcome int

const (
	OutcomeUncertain Outcome = iota // the far end may have it
	OutcomeSent                     // the far end said yes
	OutcomeTemporary                // the far end does not have it; later may work
	OutcomePermanent                // the far end does not have it and will not take it
)

func (o Outcome) String() string {
	switch o {
	case OutcomeSent:
		return "sent"
	case OutcomeTemporary:
		return "temporary"
	case OutcomePermanent:
		return "permanent"
	}
	return "uncertain"
}

func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

func (o *Outcome) UnmarshalText(b []byte) error {
	switch string(b) {
	case "sent":
		*o = OutcomeSent
	case "temporary":
		*o = OutcomeTemporary
	case "permanent":
		*o = OutcomePermanent
	default:
		*o = OutcomeUncertain
	}
	return nil
}

// Scope is what a verdict is about.
type Scope string

const (
	ScopeMessage   Scope = "message"   // this mail; the zero value "" means the same
	ScopeRecipient Scope = "recipient" // see Verdict.Recipients
	ScopeProfile   Scope = "profile"   // every mail of the profile would meet the same: hold or pause the profile
)

// Reply is the far end's own words.
type Reply struct {
	Code     int    `json:"code,omitempty"`     // SMTP reply code or HTTP status; 0 when it said nothing
	Enhanced string `json:"enhanced,omitempty"` // RFC 3463, "5.1.1"
	Text     string `json:"text,omitempty"`     // see ReplyText; never a secret
}

// What a driver says in Reply.Text of a line that failed, when the far end said nothing itself.
const (
	LineClosed  = "the server closed the connection"
	LineReset   = "the connection was reset"
	LineBroke   = "the connection broke"
	LineTimeout = "no answer in time"
	LineGarbled = "the answer was not SMTP"
)

const maxReplyText = 500

// ReplyText keeps what a person can read of a far end's words, on one line, at most 500 bytes.
func ReplyText(s string) string {
	if len(s) <= maxReplyText && isLine(s) && isASCII(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			r = '?'
		}
		if b.Len()+utf8.RuneLen(r) > maxReplyText {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// String is the reply as a server's log has it: "550 5.1.1 no such user".
func (r Reply) String() string {
	var parts []string
	if r.Code != 0 {
		parts = append(parts, strconv.Itoa(r.Code))
	}
	for _, p := range []string{r.Enhanced, r.Text} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, " ")
}

// IsZero says that the far end said nothing.
func (r Reply) IsZero() bool { return r == Reply{} }

// Verdict is the result of one attempt to hand a message over.
type Verdict struct {
	Outcome Outcome
	Scope   Scope
	// Code is our stable name for what happened: "smtp_login_refused". Each has texts in four languages. Empty when sent.
	Code string
	// Step is where it happened: "connect", "tls", "login", "mail", "rcpt", "data", "body", "final".
	Step string
	// Reply is the answer that decided, or for a failure of the line our own words in Text.
	Reply Reply
	// Evidence is what proves or may help to find the mail at the far end: a queue id, a provider's message id.
	Evidence string
	// RetryAfter is how long the far end asked us to wait; 0 when it did not.
	RetryAfter time.Duration
	// Recipients has one entry per envelope recipient that has a verdict of its own. Those not listed share Outcome.
	// A mail that some recipients were refused and others accepted has Outcome sent and lists the refused ones.
	Recipients []RecipientVerdict
}

// RecipientVerdict is the far end's word on one recipient.
type RecipientVerdict struct {
	Address string  `json:"address"`
	Outcome Outcome `json:"outcome"`
	Code    string  `json:"code,omitempty"`
	Reply   Reply   `json:"reply"`
}
