package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/dial"
)

// Codes of the driver's verdicts. Those without "smtp_" are about one mail or recipient and could come from any transport.
const (
	CodeHostNotFound       = "smtp_host_not_found"       // no such name
	CodeDNSFailed          = "smtp_dns_failed"           // the name could not be looked up just now
	CodeConnectionRefused  = "smtp_connection_refused"   // nobody listens there
	CodeConnectionFailed   = "smtp_connection_failed"    // no way to the host
	CodeConnectionLost     = "smtp_connection_lost"      // it ended in the middle
	CodeConnectionRejected = "smtp_connection_rejected"  // the server wants nothing from this host
	CodeTimeout            = "smtp_timeout"              // no answer in time
	CodeProtocolError      = "smtp_protocol_error"       // what answers does not speak SMTP properly
	CodeServiceUnavailable = "smtp_service_unavailable"  // 421: down, busy, too many connections
	CodeSTARTTLSNotOffered = "smtp_starttls_not_offered" // the profile requires it
	CodeSTARTTLSRefused    = "smtp_starttls_refused"     // offered, then refused
	CodeTLSInjection       = "smtp_tls_injection"        // something was said in clear behind STARTTLS
	CodeTLSFailed          = "smtp_tls_failed"           // no TLS there, or none in common
	CodeCertificateInvalid = "smtp_certificate_invalid"  // expired, wrong name, unknown issuer; the file of roots
	CodeLoginRefused       = "smtp_login_refused"        // user name or password
	CodeLoginUnavailable   = "smtp_login_unavailable"    // the server cannot check logins just now
	CodeLoginRequired      = "smtp_login_required"       // the profile has none
	CodeLoginNotOffered    = "smtp_login_not_offered"    // no way to log in that both sides know
	CodeLoginNeedsTLS      = "smtp_login_needs_tls"      // the password would cross an open line
	CodeLoginFailed        = "smtp_login_failed"         // the server did not keep to the mechanism or did not prove itself
	CodeSenderRefused      = "smtp_sender_refused"       // this profile may not send as this address
	CodeSenderDeferred     = "smtp_sender_deferred"      // not now, for any mail of this sender
	CodeCommandRefused     = "smtp_command_refused"      // a command or parameter that the server itself offered
	CodeStorageFull        = "smtp_storage_full"         // the server has no room just now
	CodeMessageDeferred    = "smtp_message_deferred"     // not now, for another reason
	CodeOutcomeUnknown     = "smtp_outcome_unknown"      // all was handed over and no answer came
	CodeSMTPUTF8NotOffered = "smtputf8_not_offered"      // an address with letters that the server cannot take
	CodeMessageTooLarge    = "message_too_large"         // for the server or a mailbox
	CodeMessageRefused     = "message_refused"           // for a reason of its own
	CodeContentRefused     = "content_refused"           // taken for spam, a virus or against a rule
	CodeNotAuthenticated   = "sender_not_authenticated"  // SPF, DKIM or DMARC of the sender's domain
	CodeEnvelopeInvalid    = "envelope_invalid"          // an address that would break the protocol
	CodeContentUnavailable = "content_unavailable"       // an attachment could not be read
	CodeRecipientUnknown   = "recipient_unknown"         // no such mailbox or domain
	CodeRecipientRefused   = "recipient_refused"         // without saying why
	CodeRecipientPolicy    = "recipient_refused_policy"  // the server may not or will not relay to it
	CodeRecipientDeferred  = "recipient_deferred"        // not now, for another reason
	CodeRecipientOverLimit = "recipient_over_limit"      // too many in one mail: the rest goes with the next attempt
	CodeMailboxFull        = "mailbox_full"              // of the recipient
	CodeMailboxDisabled    = "mailbox_disabled"          // takes no mail any more
)

// Steps of a session, as verdicts and checks name them.
const (
	stepConnect = "connect"
	stepTLS     = "tls"
	stepLogin   = "login"
	stepMail    = "mail"
	stepRcpt    = "rcpt"
	stepData    = "data"
	stepBody    = "body"
	stepFinal   = "final"
)

// rule says what a refusal means. The first that fits counts.
type rule struct {
	steps    string // those it is for, separated by spaces
	code     string // a reply code or the beginning of one
	enhanced string // "": any or none; ".7.1": that subject and detail; ".7.": that subject; ".7.2?": one more digit
	outcome  mail.Outcome
	scope    mail.Scope
	name     string
}

const (
	temporary = mail.OutcomeTemporary
	permanent = mail.OutcomePermanent
)

// rules are from RFC 5321 section 4.2.3 (codes) and 4.3.2 (which may come when), RFC 3463 and the IANA registry of enhanced
// status codes, and the extensions named. A profile's permanent refusal holds it until a person mends it; a temporary one
// pauses it.
var rules = []rule{
	// 421 closes the line (RFC 5321 section 3.8). As a final reply it is about a mail that was given whole and not taken.
	{"final body", "421", "", temporary, mail.ScopeMessage, CodeServiceUnavailable},
	{"connect tls login mail rcpt data", "421", "", temporary, mail.ScopeProfile, CodeServiceUnavailable},

	// The greeting and EHLO: 554 is "no SMTP service here" (section 3.1), mostly for hosts with a bad reputation.
	{"connect", "4", "", temporary, mail.ScopeProfile, CodeServiceUnavailable},
	{"connect", "5", "", permanent, mail.ScopeProfile, CodeConnectionRejected},

	// STARTTLS (RFC 3207 section 4): 454 TLS not available for a time.
	{"tls", "4", "", temporary, mail.ScopeProfile, CodeSTARTTLSRefused},
	{"tls", "5", "", permanent, mail.ScopeProfile, CodeSTARTTLSRefused},

	// AUTH (RFC 4954 sections 4 and 6). 432: only a person can set the new password.
	{"login", "432", "", permanent, mail.ScopeProfile, CodeLoginRefused},
	{"login", "4", "", temporary, mail.ScopeProfile, CodeLoginUnavailable},
	{"login", "504", "", permanent, mail.ScopeProfile, CodeLoginNotOffered},
	{"login", "502", "", permanent, mail.ScopeProfile, CodeLoginNotOffered},
	{"login", "538", "", permanent, mail.ScopeProfile, CodeLoginNeedsTLS},
	{"login", "5", "", permanent, mail.ScopeProfile, CodeLoginRefused},
	{"mail rcpt data final", "530", "", permanent, mail.ScopeProfile, CodeLoginRequired},
	{"mail rcpt data final", "538", "", permanent, mail.ScopeProfile, CodeLoginNeedsTLS},

	// Out of step: 503 is bad sequence of commands. A new connection starts afresh.
	{"mail rcpt data", "503", "", temporary, mail.ScopeMessage, CodeProtocolError},

	// Size: RFC 1870 section 6.1; 5.3.4 message too big for system, 5.2.3 too long for the mailbox.
	{"mail data body final", "5", ".3.4", permanent, mail.ScopeMessage, CodeMessageTooLarge},
	{"mail data body final", "5", ".2.3", permanent, mail.ScopeMessage, CodeMessageTooLarge},
	{"mail", "552", "", permanent, mail.ScopeMessage, CodeMessageTooLarge},
	{"rcpt", "5", ".2.3", permanent, mail.ScopeRecipient, CodeMessageTooLarge},

	// SMTPUTF8: RFC 6531 section 3.5; 5.6.7 non-ASCII addresses not permitted.
	{"mail data body final", "5", ".6.7", permanent, mail.ScopeMessage, CodeSMTPUTF8NotOffered},
	{"rcpt", "5", ".6.7", permanent, mail.ScopeRecipient, CodeSMTPUTF8NotOffered},

	// MAIL sees nothing but the sender and the parameters: what it refuses, it refuses every mail of the profile.
	{"mail", "452", "", temporary, mail.ScopeMessage, CodeStorageFull},
	{"mail", "4", ".3.1", temporary, mail.ScopeMessage, CodeStorageFull},
	{"mail", "4", "", temporary, mail.ScopeProfile, CodeSenderDeferred},
	{"mail", "500", "", permanent, mail.ScopeProfile, CodeCommandRefused},
	{"mail", "502", "", permanent, mail.ScopeProfile, CodeCommandRefused},
	{"mail", "504", "", permanent, mail.ScopeProfile, CodeCommandRefused},
	{"mail", "555", "", permanent, mail.ScopeProfile, CodeCommandRefused}, // section 4.1.1.11
	{"mail", "5", "", permanent, mail.ScopeProfile, CodeSenderRefused},

	// RCPT. Greylisting (RFC 6647) says 450 or 451 with 4.7.1, or 4.2.0 as Postfix puts it.
	{"rcpt", "45", ".7.1", temporary, mail.ScopeRecipient, mail.CodeGreylisted},
	{"rcpt", "450", ".2.0", temporary, mail.ScopeRecipient, mail.CodeGreylisted},
	{"rcpt", "4", ".2.2", temporary, mail.ScopeRecipient, CodeMailboxFull},
	{"rcpt", "4", ".5.3", temporary, mail.ScopeRecipient, CodeRecipientOverLimit},
	{"rcpt", "4", ".3.1", temporary, mail.ScopeRecipient, CodeStorageFull},
	{"rcpt", "452", "", temporary, mail.ScopeRecipient, CodeRecipientOverLimit}, // section 4.5.3.1.10
	{"rcpt", "4", "", temporary, mail.ScopeRecipient, CodeRecipientDeferred},
	{"rcpt", "5", ".5.3", temporary, mail.ScopeRecipient, CodeRecipientOverLimit}, // likewise, to be taken as 452
	{"rcpt", "5", ".2.2", permanent, mail.ScopeRecipient, CodeMailboxFull},
	{"rcpt", "5", ".2.1", permanent, mail.ScopeRecipient, CodeMailboxDisabled},
	{"rcpt", "552", "", temporary, mail.ScopeRecipient, CodeMailboxFull}, // without more words it may mean either
	{"rcpt", "5", ".1.1", permanent, mail.ScopeRecipient, CodeRecipientUnknown},
	{"rcpt", "5", ".1.2", permanent, mail.ScopeRecipient, CodeRecipientUnknown},  // bad destination system
	{"rcpt", "5", ".1.3", permanent, mail.ScopeRecipient, CodeRecipientUnknown},  // bad syntax
	{"rcpt", "5", ".1.6", permanent, mail.ScopeRecipient, CodeRecipientUnknown},  // has moved
	{"rcpt", "5", ".1.10", permanent, mail.ScopeRecipient, CodeRecipientUnknown}, // null MX, RFC 7505
	{"rcpt", "5", ".4.4", permanent, mail.ScopeRecipient, CodeRecipientUnknown},  // unable to route
	{"rcpt", "5", ".7.", permanent, mail.ScopeRecipient, CodeRecipientPolicy},
	{"rcpt", "5", "", permanent, mail.ScopeRecipient, CodeRecipientRefused},

	// DATA and the final reply are about the mail. 5.7.20 to 5.7.29 are SPF, DKIM, reverse DNS,
	// null MX and ARC of the sender (RFC 7372, RFC 7505, RFC 8617); Gmail says 5.7.26.
	{"data body final", "45", ".7.1", temporary, mail.ScopeMessage, mail.CodeGreylisted},
	{"data body final", "4", ".2.2", temporary, mail.ScopeMessage, CodeMailboxFull},
	{"data body final", "452", "", temporary, mail.ScopeMessage, CodeStorageFull},
	{"data body final", "4", ".3.1", temporary, mail.ScopeMessage, CodeStorageFull},
	{"data body final", "4", "", temporary, mail.ScopeMessage, CodeMessageDeferred},
	{"data body final", "5", ".2.2", permanent, mail.ScopeMessage, CodeMailboxFull},
	{"data body final", "5", ".7.28", permanent, mail.ScopeMessage, CodeMessageRefused}, // mail flood
	{"data body final", "5", ".7.2?", permanent, mail.ScopeMessage, CodeNotAuthenticated},
	{"data body final", "552", "", permanent, mail.ScopeMessage, CodeMessageTooLarge},
	{"data body final", "5", ".6.", permanent, mail.ScopeMessage, CodeContentRefused},
	{"data body final", "5", ".7.", permanent, mail.ScopeMessage, CodeContentRefused},
	{"body final", "554", "", permanent, mail.ScopeMessage, CodeContentRefused},
	{"body final", "550", "", permanent, mail.ScopeMessage, CodeContentRefused},
	{"data body final", "5", "", permanent, mail.ScopeMessage, CodeMessageRefused},
}

func (r *rule) fits(step string, code, status string) bool {
	if !strings.HasPrefix(code, r.code) || !strings.Contains(r.steps, step) {
		return false
	}
	if r.enhanced == "" {
		return true
	}
	if status == "" {
		return false
	}
	detail := status[1:] // without the class, which is that of the code
	if head, ok := strings.CutSuffix(r.enhanced, "?"); ok {
		return strings.HasPrefix(detail, head) && len(detail) == len(head)+1
	}
	if strings.HasSuffix(r.enhanced, ".") {
		return strings.HasPrefix(detail, r.enhanced)
	}
	return detail == r.enhanced
}

// classify turns a reply that is not the wanted one into a verdict. A positive reply in the wrong place is no SMTP: temporary
// before the dot, uncertain after it.
func classify(step string, r mail.Reply) mail.Verdict {
	code := [3]byte{byte('0' + r.Code/100), byte('0' + r.Code/10%10), byte('0' + r.Code%10)}
	for i := range rules {
		if c := &rules[i]; c.fits(step, string(code[:]), r.Enhanced) {
			return mail.Verdict{Outcome: c.outcome, Scope: c.scope, Code: c.name, Step: step, Reply: r}
		}
	}
	v := lineFailure(step, errProtocol)
	v.Reply = r
	return v
}

// lineFailure is the verdict on a connection that failed after it was made. A fresh connection that fails before RCPT would
// fail any mail of the profile; later it may be this mail that the other side cannot bear.
func lineFailure(step string, err error) mail.Verdict {
	v := mail.Verdict{Outcome: temporary, Scope: mail.ScopeMessage, Code: CodeConnectionLost, Step: step}
	switch step {
	case stepConnect, stepTLS, stepLogin, stepMail:
		v.Scope = mail.ScopeProfile
	case stepFinal:
		v.Outcome = mail.OutcomeUncertain
	}
	switch {
	case errors.Is(err, errProtocol):
		v.Code, v.Reply.Text = CodeProtocolError, mail.LineGarbled
	case isTimeout(err):
		v.Code, v.Reply.Text = CodeTimeout, mail.LineTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		v.Reply.Text = mail.LineClosed
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		v.Reply.Text = mail.LineReset
	default:
		v.Reply.Text = mail.LineBroke
	}
	if step == stepFinal {
		v.Code = CodeOutcomeUnknown
		v.Evidence = "after the whole mail: " + v.Reply.Text
	}
	return v
}

// dialFailure is the verdict on a connection that was not made.
func dialFailure(err error) mail.Verdict {
	v := mail.Verdict{Outcome: temporary, Scope: mail.ScopeProfile, Code: CodeConnectionFailed, Step: stepConnect}
	var refused *dial.Error
	var dns *net.DNSError
	switch {
	case errors.As(err, &refused):
		v.Outcome, v.Code, v.Reply.Text = permanent, dial.CodeAddressNotAllowed, "the address is not allowed"
	case errors.As(err, &dns) && dns.IsNotFound && !dns.IsTemporary:
		v.Outcome, v.Code, v.Reply.Text = permanent, CodeHostNotFound, "no such host"
	case errors.As(err, &dns):
		v.Code, v.Reply.Text = CodeDNSFailed, "the name server does not answer"
	case errors.Is(err, syscall.ECONNREFUSED):
		v.Code, v.Reply.Text = CodeConnectionRefused, "connection refused"
	case isTimeout(err):
		v.Code, v.Reply.Text = CodeTimeout, "no answer in time"
	default:
		v.Reply.Text = "no connection"
	}
	return v
}

// tlsFailure is the verdict on a handshake. What is not the line's fault needs a person, here or at the server.
func tlsFailure(err error) mail.Verdict {
	v := mail.Verdict{Outcome: permanent, Scope: mail.ScopeProfile, Code: CodeTLSFailed, Step: stepTLS}
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
		network      *net.OpError
		alert        tls.AlertError
	)
	switch {
	case errors.As(err, &verification), errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid):
		v.Code = CodeCertificateInvalid
	case errors.As(err, &alert): // wrapped in a net.OpError
	case errors.As(err, &network), isTimeout(err), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return lineFailure(stepTLS, err)
	}
	v.Reply.Text = mail.ReplyText(err.Error())
	return v
}

// stale is the verdict on a kept connection that turned out dead.
func stale(step string) mail.Verdict {
	return mail.Verdict{Outcome: temporary, Scope: mail.ScopeMessage, Code: transport.CodeStale, Step: step}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}
