package gmail

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport/onepost"
)

// Codes of the driver's verdicts. Those without "gmail_" could come from any transport.
const (
	CodeReauthorizationRequired = "gmail_reauthorization_required" // the consent is gone: a person has to give it again
	CodeTokenUnavailable        = "gmail_token_unavailable"        // Google gives no access token just now
	CodeScopeMissing            = "gmail_scope_missing"            // the consent does not cover this call
	CodeAccountMismatch         = "gmail_account_mismatch"         // connected to another account than the profile's
	CodeSenderNotAllowed        = "gmail_sender_not_allowed"       // From is no address that the account may send as
	CodeMailServiceDisabled     = "gmail_mail_service_disabled"    // the account has no Gmail
	CodeDomainPolicy            = "gmail_domain_policy"            // the firm's Workspace administrator forbids it
	CodeAPIDisabled             = "gmail_api_disabled"             // the OAuth client's project has not switched on the Gmail API
	CodeRequestRefused          = "gmail_request_refused"          // for a reason that nobody knew when this was written
	CodeRateLimited             = "gmail_rate_limited"             // too fast
	CodeSendingLimit            = "gmail_sending_limit"            // the account has sent all that it may for now
	CodeDailyLimit              = "gmail_daily_limit"              // the OAuth client's project has used up its day
	CodeServiceUnavailable      = "gmail_service_unavailable"      // a fault at Google before it had the mail
	CodeConnectionFailed        = "gmail_connection_failed"        // no way to Google
	CodeConnectionLost          = "gmail_connection_lost"          // it ended before the mail was whole
	CodeTLSFailed               = "gmail_tls_failed"               // who answers cannot prove to be Google
	CodeTimeout                 = "gmail_timeout"                  // no answer in time, and the mail was not whole
	CodeProtocolError           = "gmail_protocol_error"           // what answers is not the Gmail API
	CodeOutcomeUnknown          = "gmail_outcome_unknown"          // all was handed over and no answer says what became of it
	CodeMessageInvalid          = "gmail_message_invalid"          // Google refuses this mail
	CodePartlySent              = "gmail_partly_sent"              // it would reach somebody a second time
	CodeTooManyRecipients       = "gmail_too_many_recipients"      // in one mail
	CodeMessageTooLarge         = "message_too_large"              // for Gmail
	CodeEnvelopeInvalid         = "envelope_invalid"               // nobody to send to
	CodeContentUnavailable      = "content_unavailable"            // an attachment could not be read
)

// Steps, as verdicts and checks name them.
const (
	stepLogin   = "login"   // the access token
	stepMail    = "mail"    // what is looked at before anything is sent
	stepConnect = "connect" // TCP and TLS
	stepBody    = "body"    // until the mail is whole
	stepFinal   = "final"   // the answer
	stepSender  = "sender"  // of a check: whose account it is
)

const (
	temporary = mail.OutcomeTemporary
	permanent = mail.OutcomePermanent
)

// exchange is all that is known of one call when it is over.
type exchange = onepost.Exchange

// rule says what a refusal means. The first that fits counts.
type rule struct {
	status  int
	reasons string // any of these, separated by spaces; "": any or none; "-": Google gave none, so it may not be Google who speaks
	outcome mail.Outcome
	scope   mail.Scope
	code    string
}

// rules are from https://developers.google.com/workspace/gmail/api/guides/handle-errors, the reasons of Google's older APIs
// (https://developers.google.com/webmaster-tools/v1/errors has the list) and those of google.rpc.ErrorInfo and google.rpc.Code,
// which newer front ends give (https://cloud.google.com/apis/design/errors). A 4xx is a promise that the request was not
// carried out (RFC 9110 section 15.5); a profile's permanent refusal holds it until a person mends it, a temporary one pauses it.
var rules = []rule{
	{400, "failedPrecondition FAILED_PRECONDITION", permanent, mail.ScopeProfile, CodeMailServiceDisabled}, // "Mail service not enabled"
	{400, "-", temporary, mail.ScopeProfile, CodeProtocolError},
	{400, "", permanent, mail.ScopeMessage, CodeMessageInvalid}, // badRequest, invalidArgument, parseError; "Recipient address required"

	{401, "", permanent, mail.ScopeProfile, CodeReauthorizationRequired}, // authError; the driver renews the token once before

	{403, "dailyLimitExceeded dailyLimitExceededUnreg", temporary, mail.ScopeProfile, CodeDailyLimit},
	{403, rateReasons, temporary, mail.ScopeProfile, CodeRateLimited},
	{403, "domainPolicy", permanent, mail.ScopeProfile, CodeDomainPolicy},
	{403, "insufficientPermissions ACCESS_TOKEN_SCOPE_INSUFFICIENT", permanent, mail.ScopeProfile, CodeScopeMissing},
	{403, "accessNotConfigured SERVICE_DISABLED", permanent, mail.ScopeProfile, CodeAPIDisabled},
	{403, "accountDisabled accountDeleted accountUnverified", permanent, mail.ScopeProfile, CodeMailServiceDisabled},
	{403, "-", temporary, mail.ScopeProfile, CodeProtocolError},
	{403, "", permanent, mail.ScopeProfile, CodeRequestRefused},

	{408, "", temporary, mail.ScopeMessage, CodeTimeout},            // the request did not come in time, RFC 9110 section 15.5.9
	{409, "", temporary, mail.ScopeMessage, CodeServiceUnavailable}, // google.rpc.Code ABORTED: to be tried again
	{413, "", permanent, mail.ScopeMessage, CodeMessageTooLarge},
	{425, "", temporary, mail.ScopeMessage, CodeServiceUnavailable}, // RFC 8470 section 5.2

	{429, "dailyLimitExceeded", temporary, mail.ScopeProfile, CodeDailyLimit},
	{429, "", temporary, mail.ScopeProfile, CodeRateLimited},
}

const rateReasons = "userRateLimitExceeded userRateLimitExceededUnreg rateLimitExceeded rateLimitExceededUnreg quotaExceeded " +
	"concurrentLimitExceeded servingLimitExceeded limitExceeded RATE_LIMIT_EXCEEDED RESOURCE_EXHAUSTED"

// classify turns an exchange into the verdict on its mail. It is the only place where that is decided.
//
// A 5xx behind a whole mail is uncertain. Google's guide to errors only says to try again, which a caller may who does not mind
// a second mail; google.rpc.Code says of UNAVAILABLE (503) that "it is not always safe to retry non-idempotent operations" and of
// DEADLINE_EXCEEDED (504) that it "may be returned even if the operation has completed successfully"
// (https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto). Sending is not idempotent: 500 and 502 promise
// no more than they do. A redirect is no yes and no no either: 303 is what a page answers that has done what it was asked to.
func classify(x exchange) mail.Verdict {
	a := parseAnswer(x)
	v := mail.Verdict{Step: stepFinal, Reply: mail.Reply{Code: x.Status, Text: a.text}, RetryAfter: a.retryAfter}
	switch {
	case x.Status == 0:
		return x.NoAnswer(codes)
	case x.Status/100 == 4 && !(x.Whole && x.Status == statusCancelled):
		v.Outcome, v.Scope, v.Code = refusal(x.Status, a)
		if v.Code == CodeRateLimited && strings.Contains(a.text, "(Mail sending)") {
			// The guide's own mark of the account's daily limit; it decides what the user reads and nothing else.
			v.Code = CodeSendingLimit
		}
	case x.Whole && x.Status/100 == 2:
		v.Outcome = mail.OutcomeSent // whatever else the answer says, or fails to
		v.Evidence = evidence(x.Body)
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

// statusCancelled is what google.rpc.Code CANCELLED becomes: the call was given up on the way, and no promise that nothing was done.
const statusCancelled = 499

func refusal(status int, a answer) (mail.Outcome, mail.Scope, string) {
	for _, r := range rules {
		if r.status == status && r.fits(a.reasons) {
			return r.outcome, r.scope, r.code
		}
	}
	if len(a.reasons) == 0 {
		return temporary, mail.ScopeProfile, CodeProtocolError
	}
	// It says nothing of this mail: 404, 405 and their like would be said of the next one too.
	return permanent, mail.ScopeProfile, CodeRequestRefused
}

func (r *rule) fits(given []string) bool {
	switch r.reasons {
	case "":
		return true
	case "-":
		return len(given) == 0
	}
	for known := range strings.FieldsSeq(r.reasons) {
		if slices.Contains(given, known) {
			return true
		}
	}
	return false
}

// codes name how a call can break.
var codes = onepost.Codes{
	TimedOut: CodeTimeout, TLSFailed: CodeTLSFailed, ConnectionFailed: CodeConnectionFailed, ConnectionLost: CodeConnectionLost,
	OutcomeUnknown: CodeOutcomeUnknown, ContentUnavailable: CodeContentUnavailable,
}
