package sendgrid

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/onepost"
)

// Codes of the driver's verdicts. Those without "sendgrid_" could come from any transport.
const (
	CodeSenderUnverified   = "sendgrid_sender_unverified"    // From is no verified sender and on no authenticated domain
	CodeFromUnverified     = "sendgrid_from_unverified"      // likewise, and the profile has another From by now
	CodeKeyRefused         = "sendgrid_key_refused"          // the service's key is not valid (any more)
	CodeKeyMissing         = "sendgrid_key_missing"          // the service has no key for this account
	CodeAccountUnavailable = "sendgrid_account_unavailable"  // whose account it is cannot be found out just now
	CodeCreditsExhausted   = "sendgrid_credits_exhausted"    // the account has sent all that it may
	CodeRequestRefused     = "sendgrid_request_refused"      // for a reason that nobody knew when this was written
	CodeRateLimited        = "sendgrid_rate_limited"         // too fast
	CodeServiceUnavailable = "sendgrid_service_unavailable"  // a fault at SendGrid before it had the mail
	CodeConnectionFailed   = "sendgrid_connection_failed"    // no way to SendGrid
	CodeConnectionLost     = "sendgrid_connection_lost"      // it ended before the mail was whole
	CodeTLSFailed          = "sendgrid_tls_failed"           // who answers cannot prove to be SendGrid
	CodeTimeout            = "sendgrid_timeout"              // no answer in time, and the mail was not whole
	CodeProtocolError      = "sendgrid_protocol_error"       // what answers is not SendGrid
	CodeOutcomeUnknown     = "sendgrid_outcome_unknown"      // all was handed over and no answer says what became of it
	CodeTakenBack          = "sendgrid_taken_back"           // likewise, but SendGrid has canceled it for us
	CodeMessageInvalid     = "sendgrid_message_invalid"      // SendGrid refuses this mail
	CodePartlySent         = "sendgrid_partly_sent"          // it would reach somebody a second time
	CodeTooManyRecipients  = "sendgrid_too_many_recipients"  // in one mail
	CodeAddressNotASCII    = "sendgrid_address_not_accepted" // an address with letters that SendGrid does not take
	CodeMessageTooLarge    = "message_too_large"             // for SendGrid
	CodeEnvelopeInvalid    = "envelope_invalid"              // nobody to send to
	CodeContentUnavailable = "content_unavailable"           // an attachment could not be read
)

// Steps, as verdicts and checks name them.
const (
	stepLogin   = "login"   // the key, and calls that send no mail
	stepMail    = "mail"    // what is looked at before anything is sent
	stepConnect = "connect" // TCP and TLS
	stepBody    = "body"    // until the mail is whole
	stepFinal   = "final"   // the answer
	stepSender  = "sender"  // of a check: whether From is verified
)

const (
	temporary = mail.OutcomeTemporary
	permanent = mail.OutcomePermanent
)

// rule says what a refusal means. The first that fits counts.
type rule struct {
	status  int
	field   string // begins the name of the field that SendGrid complains of; "": any or none; "-": the answer is not in SendGrid's form
	words   string // are in SendGrid's message, in lower case; "": any
	outcome mail.Outcome
	scope   mail.Scope
	code    string
}

// rules are from https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors and
// https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/responses. A 4xx is a promise that the request
// was not carried out (RFC 9110 section 15.5). A profile's permanent refusal holds it until a person mends it; what only the
// service's operator can mend, the key and the plan, pauses it, so that all profiles recover by themselves.
//
// SendGrid has no codes in its errors. Its messages decide where it gives nothing else to tell two cases by; a message that nobody
// knows falls back to what its status means.
var rules = []rule{
	{400, "-", "", temporary, mail.ScopeProfile, CodeProtocolError},
	{400, "from", "verified sender", permanent, mail.ScopeProfile, CodeSenderUnverified},
	{400, "from", "", permanent, mail.ScopeProfile, CodeRequestRefused}, // every mail of the profile has this From
	{400, "batch_id", "", temporary, mail.ScopeMessage, CodeServiceUnavailable},
	{400, "send_at", "", temporary, mail.ScopeMessage, CodeServiceUnavailable},
	{400, "", "", permanent, mail.ScopeMessage, CodeMessageInvalid},

	{401, "", "credits exceeded", temporary, mail.ScopeProfile, CodeCreditsExhausted},
	{401, "-", "", temporary, mail.ScopeProfile, CodeProtocolError},
	{401, "", "", temporary, mail.ScopeProfile, CodeKeyRefused},

	{403, "", "verified sender", permanent, mail.ScopeProfile, CodeSenderUnverified},
	{403, "from", "", permanent, mail.ScopeProfile, CodeSenderUnverified},
	{403, "", "credits exceeded", temporary, mail.ScopeProfile, CodeCreditsExhausted},
	{403, "-", "", temporary, mail.ScopeProfile, CodeProtocolError},
	{403, "", "", permanent, mail.ScopeProfile, CodeRequestRefused},

	{404, "-", "", temporary, mail.ScopeProfile, CodeProtocolError},
	{404, "", "", permanent, mail.ScopeProfile, CodeRequestRefused},
	{405, "-", "", temporary, mail.ScopeProfile, CodeProtocolError},
	{405, "", "", permanent, mail.ScopeProfile, CodeRequestRefused},
	{408, "", "", temporary, mail.ScopeMessage, CodeTimeout}, // the request did not come in time, RFC 9110 section 15.5.9
	{413, "", "", permanent, mail.ScopeMessage, CodeMessageTooLarge},
	{425, "", "", temporary, mail.ScopeMessage, CodeServiceUnavailable}, // RFC 8470 section 5.2
	{429, "", "", temporary, mail.ScopeProfile, CodeRateLimited},
}

// statusClientClosed is what a proxy in front notes when it thinks that we went away: no promise that nothing was done.
const statusClientClosed = 499

// classify turns an exchange into the verdict on its mail. It is the only place where that is decided. A 5xx behind a whole mail is
// uncertain: SendGrid says of it that an error occurred on its side, not that the mail was not taken. So is a 2xx other than 202:
// 200 is its word for a mail that is valid and was not queued, which it says to sandbox_mode, and we did not ask for that.
func classify(x onepost.Exchange) mail.Verdict {
	a := parseAnswer(x)
	v := mail.Verdict{Step: stepFinal, Reply: mail.Reply{Code: x.Status, Text: a.text}, RetryAfter: a.retryAfter}
	switch {
	case x.Status == 0:
		return x.NoAnswer(codes)
	case x.Status/100 == 4 && !(x.Whole && x.Status == statusClientClosed):
		v.Outcome, v.Scope, v.Code = refusal(x.Status, a)
	case x.Whole && x.Status == http.StatusAccepted:
		v.Outcome = mail.OutcomeSent // whatever else the answer says, or fails to
		v.Evidence = evidence(x.Header)
	case x.Whole:
		v.Scope, v.Code = mail.ScopeMessage, CodeOutcomeUnknown
		v.Reply.Text = cmp.Or(v.Reply.Text, http.StatusText(x.Status))
		v.Evidence = "after the whole mail: status " + strconv.Itoa(x.Status)
	case x.Status/100 == 5:
		v.Outcome, v.Scope, v.Code, v.Step = temporary, mail.ScopeProfile, CodeServiceUnavailable, stepBody
	default:
		v.Outcome, v.Scope, v.Code, v.Step = temporary, mail.ScopeProfile, CodeProtocolError, stepBody
	}
	return v
}

func refusal(status int, a answer) (mail.Outcome, mail.Scope, string) {
	for i := range rules {
		if r := &rules[i]; r.status == status && r.fits(a) {
			return r.outcome, r.scope, r.code
		}
	}
	if !a.known {
		return temporary, mail.ScopeProfile, CodeProtocolError
	}
	// It says nothing of this mail: it would be said of the next one too.
	return permanent, mail.ScopeProfile, CodeRequestRefused
}

func (r *rule) fits(a answer) bool {
	if r.field == "-" {
		return !a.known
	}
	return strings.HasPrefix(a.field, r.field) && strings.Contains(strings.ToLower(a.text), r.words)
}

// answer is what a verdict needs of a refusal.
type answer struct {
	known      bool // it is in SendGrid's form
	field      string
	text       string
	retryAfter time.Duration
}

// parseAnswer reads a refusal: {"errors": [{"message", "field", "help"}]}. The first error counts.
func parseAnswer(x onepost.Exchange) answer {
	a := answer{retryAfter: retryAfter(x.Header, x.Now)}
	if x.Status < 400 {
		return a
	}
	var refused struct {
		Errors []struct {
			Message string          `json:"message"`
			Field   json.RawMessage `json:"field"`
		} `json:"errors"`
	}
	if json.Unmarshal(x.Body, &refused) != nil || len(refused.Errors) == 0 || refused.Errors[0].Message == "" {
		a.text = mail.ReplyText(http.StatusText(x.Status))
		return a
	}
	a.known, a.text = true, mail.ReplyText(refused.Errors[0].Message)
	if json.Unmarshal(refused.Errors[0].Field, &a.field) != nil {
		a.field = "" // it may be null, and is not always a string
	}
	return a
}

// retryAfter is until X-RateLimit-Reset, a time in Unix seconds
// (https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/rate-limits), or Retry-After.
func retryAfter(h http.Header, now time.Time) time.Duration {
	const most = 24 * time.Hour // a wrong clock must not stop a profile for years
	if value := h.Get("Retry-After"); value != "" {
		if seconds, err := strconv.Atoi(value); err == nil {
			return time.Duration(min(max(seconds, 0), 24*3600)) * time.Second
		}
		if at, err := http.ParseTime(value); err == nil {
			return min(max(at.Sub(now), 0), most)
		}
	}
	reset, err := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64)
	if err != nil || reset <= 0 {
		return 0
	}
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		now = at // the far end's own clock
	}
	if reset-now.Unix() > int64(most/time.Second) {
		return most
	}
	return max(time.Unix(reset, 0).Sub(now), 0)
}

// Evidence of a mail that SendGrid has: "sendgrid message=" and its X-Message-Id, with which the sg_message_id of its events begins.
const evidencePrefix = "sendgrid message="

func evidence(h http.Header) string {
	id := h.Get("X-Message-Id")
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "sendgrid accepted it without saying under which id"
	}
	return evidencePrefix + id
}

// ParseEvidence takes evidence apart that this driver gave.
func ParseEvidence(s string) (messageID string, ok bool) { return strings.CutPrefix(s, evidencePrefix) }

// codes name how a call can break.
var codes = onepost.Codes{
	TimedOut: CodeTimeout, TLSFailed: CodeTLSFailed, ConnectionFailed: CodeConnectionFailed, ConnectionLost: CodeConnectionLost,
	OutcomeUnknown: CodeOutcomeUnknown, ContentUnavailable: CodeContentUnavailable,
}

// failure is a verdict as an error, for the log.
func failure(v mail.Verdict) error {
	return errors.New("sendgrid: " + strings.TrimSpace(strconv.Itoa(v.Reply.Code)+" "+v.Reply.Text))
}

func verdictOf(err error) mail.Verdict {
	var e *transport.Error
	errors.As(err, &e) // Client gives no others
	return e.Verdict
}
