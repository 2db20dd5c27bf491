package sendgrid

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/onepost"
)

const (
	uncertain = mail.OutcomeUncertain
	sent      = mail.OutcomeSent
	prof      = mail.ScopeProfile
	message   = mail.ScopeMessage
)

var now = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

const unverified = `{"errors":[{"message":"The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.","field":"from","help":null}]}`

func complaint(field, text string) string {
	if field == "" {
		return `{"errors":[{"message":"` + text + `","field":null,"help":null}]}`
	}
	return `{"errors":[{"message":"` + text + `","field":"` + field + `","help":null}]}`
}

// What SendGrid's every answer means, after the whole mail and before.
func TestClassifyAnswers(t *testing.T) {
	for _, test := range []struct {
		status  int
		body    string
		outcome mail.Outcome
		scope   mail.Scope
		code    string
		before  string // the code when the mail was not whole yet, if another; the outcome is then temporary
	}{
		{202, "", sent, "", "", CodeProtocolError},
		{200, "", uncertain, message, CodeOutcomeUnknown, CodeProtocolError},
		{204, "", uncertain, message, CodeOutcomeUnknown, CodeProtocolError},
		{303, "", uncertain, message, CodeOutcomeUnknown, CodeProtocolError},
		{500, complaint("", "internal"), uncertain, message, CodeOutcomeUnknown, CodeServiceUnavailable},
		{502, "<html>", uncertain, message, CodeOutcomeUnknown, CodeServiceUnavailable},
		{503, "", uncertain, message, CodeOutcomeUnknown, CodeServiceUnavailable},
		{504, "", uncertain, message, CodeOutcomeUnknown, CodeServiceUnavailable},
		{499, "", uncertain, message, CodeOutcomeUnknown, CodeProtocolError},

		{400, complaint("personalizations.0.to.0.email", "Does not contain a valid address."), permanent, message, CodeMessageInvalid, ""},
		{400, complaint("attachments.0.content", "must be base64"), permanent, message, CodeMessageInvalid, ""},
		{400, complaint("", "Bad Request"), permanent, message, CodeMessageInvalid, ""},
		{400, complaint("from.email", "The from email does not contain a valid address."), permanent, prof, CodeRequestRefused, ""},
		{400, unverified, permanent, prof, CodeSenderUnverified, ""},
		{400, complaint("batch_id", "The batch_id is invalid."), temporary, message, CodeServiceUnavailable, ""},
		{400, complaint("send_at", "too late"), temporary, message, CodeServiceUnavailable, ""},
		{400, "<html>a proxy's</html>", temporary, prof, CodeProtocolError, ""},
		{401, complaint("", "The provided authorization grant is invalid, expired, or revoked"), temporary, prof, CodeKeyRefused, ""},
		{401, complaint("", "Maximum credits exceeded"), temporary, prof, CodeCreditsExhausted, ""},
		{401, "", temporary, prof, CodeProtocolError, ""},
		{403, unverified, permanent, prof, CodeSenderUnverified, ""},
		{403, complaint("from", "some other words"), permanent, prof, CodeSenderUnverified, ""},
		{403, complaint("", "access forbidden"), permanent, prof, CodeRequestRefused, ""},
		{403, "blocked by your firewall", temporary, prof, CodeProtocolError, ""},
		{404, complaint("", "not found"), permanent, prof, CodeRequestRefused, ""},
		{404, "", temporary, prof, CodeProtocolError, ""},
		{405, complaint("", "method not allowed"), permanent, prof, CodeRequestRefused, ""},
		{405, "", temporary, prof, CodeProtocolError, ""},
		{407, "", temporary, prof, CodeProtocolError, ""},
		{408, "", temporary, message, CodeTimeout, ""},
		{413, "", permanent, message, CodeMessageTooLarge, ""},
		{415, complaint("", "Content-Type should be application/json."), permanent, prof, CodeRequestRefused, ""},
		{425, "", temporary, message, CodeServiceUnavailable, ""},
		{429, complaint("", "too many requests"), temporary, prof, CodeRateLimited, ""},
		{429, "", temporary, prof, CodeRateLimited, ""},
	} {
		v := classify(onepost.Exchange{Status: test.status, Body: []byte(test.body), Whole: true, Connected: true, Now: now})
		if v.Outcome != test.outcome || v.Scope != test.scope || v.Code != test.code || v.Step != stepFinal || v.Reply.Code != test.status {
			t.Errorf("%d %s: %+v", test.status, test.body, v)
		}
		if v.Outcome == uncertain && v.Evidence == "" {
			t.Errorf("%d: uncertain without evidence", test.status)
		}
		outcome, code := test.outcome, test.code
		if test.before != "" {
			outcome, code = temporary, test.before
		}
		v = classify(onepost.Exchange{Status: test.status, Body: []byte(test.body), Connected: true, Now: now})
		if v.Outcome != outcome || v.Code != code {
			t.Errorf("%d before the mail was whole: %+v", test.status, v)
		}
	}
}

func TestClassifySilence(t *testing.T) {
	lost, late := &net.OpError{Op: "read", Err: errors.New("reset")}, onepost.ErrTooSlow
	for name, test := range map[string]struct {
		x       onepost.Exchange
		outcome mail.Outcome
		scope   mail.Scope
		code    string
	}{
		"no connection":      {onepost.Exchange{Err: &net.OpError{Op: "dial", Err: errors.New("refused")}}, temporary, prof, CodeConnectionFailed},
		"no name":            {onepost.Exchange{Err: &net.DNSError{Err: "no such host"}}, temporary, prof, CodeConnectionFailed},
		"slow to connect":    {onepost.Exchange{Err: context.DeadlineExceeded}, temporary, prof, CodeTimeout},
		"wrong certificate":  {onepost.Exchange{Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}, temporary, prof, CodeTLSFailed},
		"lost in the middle": {onepost.Exchange{Err: lost, Connected: true}, temporary, message, CodeConnectionLost},
		"kept and dead":      {onepost.Exchange{Err: lost, Connected: true, Reused: true}, temporary, message, transport.CodeStale},
		"slow in the middle": {onepost.Exchange{Err: late, Connected: true}, temporary, message, CodeTimeout},
		"unreadable":         {onepost.Exchange{Err: lost, Connected: true, Unreadable: io.EOF}, temporary, message, CodeContentUnavailable},
		"lost afterwards":    {onepost.Exchange{Err: lost, Connected: true, Whole: true}, uncertain, message, CodeOutcomeUnknown},
		"kept, lost after":   {onepost.Exchange{Err: lost, Connected: true, Reused: true, Whole: true}, uncertain, message, CodeOutcomeUnknown},
		"slow afterwards":    {onepost.Exchange{Err: late, Connected: true, Whole: true}, uncertain, message, CodeOutcomeUnknown},
	} {
		v := classify(test.x)
		if v.Outcome != test.outcome || v.Scope != test.scope || v.Code != test.code || (v.Outcome == uncertain) != (v.Evidence != "") {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	unix := "1795426200" // now
	if now.Unix() != 1795426200 {
		t.Fatal(now.Unix())
	}
	for _, test := range []struct {
		header http.Header
		want   time.Duration
	}{
		{http.Header{}, 0},
		{http.Header{"X-Ratelimit-Reset": {"1795429800"}}, time.Hour},
		{http.Header{"X-Ratelimit-Reset": {unix}}, 0},
		{http.Header{"X-Ratelimit-Reset": {"1"}}, 0},
		{http.Header{"X-Ratelimit-Reset": {"9223372036854775807"}}, 24 * time.Hour},
		{http.Header{"X-Ratelimit-Reset": {"soon"}}, 0},
		// By SendGrid's clock, which is ten minutes ahead of ours.
		{http.Header{"X-Ratelimit-Reset": {"1795429800"}, "Date": {now.Add(10 * time.Minute).Format(http.TimeFormat)}}, 50 * time.Minute},
		{http.Header{"Retry-After": {"90"}, "X-Ratelimit-Reset": {"1795429800"}}, 90 * time.Second},
		{http.Header{"Retry-After": {"-5"}}, 0},
	} {
		if got := retryAfter(test.header, now); got != test.want {
			t.Errorf("%v: %s, want %s", test.header, got, test.want)
		}
	}
}

// Whatever answers: a mail is sent only after 202 to the whole of it, and a 5xx is never a no.
func FuzzClassify(f *testing.F) {
	f.Add(202, []byte(""), "id", "60", true)
	f.Add(403, []byte(unverified), "", "", true)
	f.Add(500, []byte(`{"errors":[{"message":"x","field":{"a":1}}]}`), "", "-1", true)
	f.Fuzz(func(t *testing.T, status int, body []byte, id, after string, whole bool) {
		if status < 200 || status > 599 {
			return
		}
		v := classify(onepost.Exchange{
			Status: status, Header: http.Header{"X-Message-Id": {id}, "Retry-After": {after}, "X-Ratelimit-Reset": {after}}, Body: body, Whole: whole, Connected: true, Now: now,
		})
		switch {
		case (v.Outcome == sent) != (whole && status == 202):
			t.Errorf("%d: %+v", status, v)
		case whole && status >= 500 && v.Outcome != uncertain:
			t.Errorf("%d: %+v", status, v)
		case v.RetryAfter < 0 || v.RetryAfter > 24*time.Hour:
			t.Errorf("%s", v.RetryAfter)
		case strings.ContainsAny(v.Evidence+v.Reply.Text, "\r\n\x00") || len(v.Reply.Text) > 500:
			t.Errorf("%+v", v)
		}
	})
}
