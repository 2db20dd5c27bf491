package gmail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/transport"
	"github.com/winprest/facteur/internal/transport/onepost"
)

const (
	sent      = mail.OutcomeSent
	uncertain = mail.OutcomeUncertain
	message   = mail.ScopeMessage
	prof      = mail.ScopeProfile
)

var now = time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)

// refusalBody is an error in the form of Google's guide.
func refusalBody(status int, reason, text string) []byte {
	body, _ := json.Marshal(map[string]any{"error": map[string]any{
		"code": status, "message": text, "errors": []map[string]any{{"domain": "global", "reason": reason, "message": text}},
	}})
	return body
}

// One row for every status and reason of https://developers.google.com/workspace/gmail/api/guides/handle-errors and of the
// errors that are known from the field.
func TestClassifyRefusals(t *testing.T) {
	for _, test := range []struct {
		status  int
		reason  string
		text    string
		outcome mail.Outcome
		scope   mail.Scope
		code    string
	}{
		{400, "badRequest", "Bad Request", permanent, message, CodeMessageInvalid},
		{400, "invalidArgument", "Recipient address required", permanent, message, CodeMessageInvalid},
		{400, "invalidArgument", "Invalid To header", permanent, message, CodeMessageInvalid},
		{400, "parseError", "Parse Error", permanent, message, CodeMessageInvalid},
		{400, "failedPrecondition", "Mail service not enabled", permanent, prof, CodeMailServiceDisabled},
		{400, "failedPrecondition", "Precondition check failed.", permanent, prof, CodeMailServiceDisabled},

		{401, "authError", "Invalid Credentials", permanent, prof, CodeReauthorizationRequired},
		{401, "required", "Login Required", permanent, prof, CodeReauthorizationRequired},

		{402, "paymentRequired", "Payment Required", permanent, prof, CodeRequestRefused},

		{403, "dailyLimitExceeded", "Daily Limit Exceeded", temporary, prof, CodeDailyLimit},
		{403, "dailyLimitExceededUnreg", "Daily Limit for Unauthenticated Use Exceeded.", temporary, prof, CodeDailyLimit},
		{403, "userRateLimitExceeded", "User Rate Limit Exceeded", temporary, prof, CodeRateLimited},
		{403, "rateLimitExceeded", "Rate Limit Exceeded", temporary, prof, CodeRateLimited},
		{403, "quotaExceeded", "Quota exceeded", temporary, prof, CodeRateLimited},
		{403, "userRateLimitExceeded", "User-rate limit exceeded (Mail sending)", temporary, prof, CodeSendingLimit},
		{403, "domainPolicy", "The domain administrators have disabled Gmail apps.", permanent, prof, CodeDomainPolicy},
		{403, "insufficientPermissions", "Insufficient Permission", permanent, prof, CodeScopeMissing},
		{403, "accessNotConfigured", "Gmail API has not been used in project 1 before or it is disabled.", permanent, prof, CodeAPIDisabled},
		{403, "accountDisabled", "Account disabled", permanent, prof, CodeMailServiceDisabled},
		{403, "forbidden", "Delegation denied for x@y.example", permanent, prof, CodeRequestRefused},

		{404, "notFound", "Requested entity was not found.", permanent, prof, CodeRequestRefused},
		{405, "httpMethodNotAllowed", "Method not allowed", permanent, prof, CodeRequestRefused},
		{408, "requestTimeout", "Request Timeout", temporary, message, CodeTimeout},
		{409, "aborted", "The operation was aborted.", temporary, message, CodeServiceUnavailable},
		{410, "gone", "Gone", permanent, prof, CodeRequestRefused},
		{413, "uploadTooLarge", "Message exceeded size limit.", permanent, message, CodeMessageTooLarge},
		{425, "tooEarly", "Too Early", temporary, message, CodeServiceUnavailable},

		{429, "rateLimitExceeded", "Rate Limit Exceeded", temporary, prof, CodeRateLimited},
		{429, "userRateLimitExceeded", "Too many concurrent requests for user.", temporary, prof, CodeRateLimited},
		{429, "userRateLimitExceeded", "User-rate limit exceeded.  Retry after 2026-11-24T10:30:00.500Z (Mail sending)", temporary, prof, CodeSendingLimit},
		{429, "dailyLimitExceeded", "Daily Limit Exceeded", temporary, prof, CodeDailyLimit},
	} {
		for _, whole := range []bool{true, false} { // a 4xx means the same whenever it comes
			v := classify(exchange{Status: test.status, Body: refusalBody(test.status, test.reason, test.text), Whole: whole, Connected: true, Now: now})
			if v.Outcome != test.outcome || v.Scope != test.scope || v.Code != test.code || v.Reply != (mail.Reply{Code: test.status, Text: test.text}) || v.Step == "" {
				t.Errorf("%d %s %q, whole %v: %s %s %s %+v, want %s %s %s", test.status, test.reason, test.text, whole,
					v.Outcome, v.Scope, v.Code, v.Reply, test.outcome, test.scope, test.code)
			}
		}
	}
}

// Newer front ends say it in google.rpc's words, and a proxy in none.
func TestClassifyOtherForms(t *testing.T) {
	for _, test := range []struct {
		status  int
		body    string
		outcome mail.Outcome
		scope   mail.Scope
		code    string
	}{
		{400, `{"error":{"code":400,"message":"Precondition check failed.","status":"FAILED_PRECONDITION"}}`, permanent, prof, CodeMailServiceDisabled},
		{400, `{"error":{"code":400,"message":"Invalid value","status":"INVALID_ARGUMENT"}}`, permanent, message, CodeMessageInvalid},
		{401, `{"error":{"code":401,"message":"Request is missing required authentication credential.","status":"UNAUTHENTICATED"}}`, permanent, prof, CodeReauthorizationRequired},
		{403, `{"error":{"code":403,"message":"Request had insufficient authentication scopes.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}`, permanent, prof, CodeScopeMissing},
		{403, `{"error":{"code":403,"message":"disabled","status":"PERMISSION_DENIED","details":[{"reason":"SERVICE_DISABLED"}]}}`, permanent, prof, CodeAPIDisabled},
		{403, `{"error":{"code":403,"message":"Quota exceeded for quota metric 'Queries'","status":"RESOURCE_EXHAUSTED","details":[{"reason":"RATE_LIMIT_EXCEEDED"}]}}`, temporary, prof, CodeRateLimited},
		{403, `{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}`, permanent, prof, CodeRequestRefused},
		{404, `{"error":{"code":404,"message":"Requested entity was not found.","status":"NOT_FOUND"}}`, permanent, prof, CodeRequestRefused},
		{429, `{"error":{"code":429,"message":"Resource has been exhausted","status":"RESOURCE_EXHAUSTED"}}`, temporary, prof, CodeRateLimited},
		// Not in Google's words: it may not be Google who speaks, and nobody's mail is to be lost for it.
		{400, "<html>Bad Request</html>", temporary, prof, CodeProtocolError},
		{403, "<html>Forbidden</html>", temporary, prof, CodeProtocolError},
		{403, "", temporary, prof, CodeProtocolError},
		{403, `{"error":"access_denied"}`, temporary, prof, CodeProtocolError},
		{404, "<html>Not Found</html>", temporary, prof, CodeProtocolError},
		{407, "", temporary, prof, CodeProtocolError},
		{418, "", temporary, prof, CodeProtocolError},
		{401, "", permanent, prof, CodeReauthorizationRequired},
		{413, "<html>Too large</html>", permanent, message, CodeMessageTooLarge},
		{429, "", temporary, prof, CodeRateLimited},
	} {
		v := classify(exchange{Status: test.status, Body: []byte(test.body), Whole: true, Connected: true, Now: now})
		if v.Outcome != test.outcome || v.Scope != test.scope || v.Code != test.code {
			t.Errorf("%d %s: %s %s %s, want %s %s %s", test.status, test.body, v.Outcome, v.Scope, v.Code, test.outcome, test.scope, test.code)
		}
	}
}

func TestClassifyAfterTheWholeMail(t *testing.T) {
	for status := 100; status < 600; status++ {
		v := classify(exchange{Status: status, Body: []byte("<html>"), Whole: true, Connected: true, Now: now})
		want := uncertain
		switch {
		case status/100 == 2:
			want = sent
		case status/100 == 4 && status != statusCancelled:
			continue // above
		}
		if v.Outcome != want || (v.Code == "") != (want == sent) || v.Evidence == "" {
			t.Errorf("%d: %+v", status, v)
		}
		if v = classify(exchange{Status: status, Connected: true, Now: now}); v.Outcome != temporary || v.Code == "" {
			t.Errorf("%d before the mail was whole: %+v", status, v)
		}
	}
	for body, want := range map[string]string{
		`{"id":"18c2","threadId":"18c1"}`:    "gmail message=18c2 thread=18c1",
		`{"id":"18c2"}`:                      "gmail message=18c2",
		`{"id":"18c2","threadId":"\" or 1"}`: "gmail message=18c2",
		`{"id":"18 c2","threadId":"18c1"}`:   acceptedUnread,
		`{}`:                                 acceptedUnread,
		`{"id":"18c2","thr`:                  acceptedUnread,
		``:                                   acceptedUnread,
		`{"id":18}`:                          acceptedUnread,
		`{"id":"` + strings.Repeat("a", 65) + `"}`:       acceptedUnread,
		`{"id":"18c2","threadId":"18c1","labelIds":[1]}`: acceptedUnread,
	} {
		if v := classify(exchange{Status: 200, Body: []byte(body), Whole: true, Now: now}); v.Outcome != sent || v.Evidence != want {
			t.Errorf("%s: %+v", body, v)
		}
	}
}

func TestClassifyWithoutAnswer(t *testing.T) {
	lost, late := io.ErrUnexpectedEOF, onepost.ErrTooSlow
	for name, test := range map[string]struct {
		x       exchange
		outcome mail.Outcome
		scope   mail.Scope
		code    string
	}{
		"no connection":       {exchange{Err: &net.OpError{Op: "dial", Err: errors.New("refused")}}, temporary, prof, CodeConnectionFailed},
		"no name":             {exchange{Err: &net.DNSError{Err: "no such host"}}, temporary, prof, CodeConnectionFailed},
		"slow to connect":     {exchange{Err: context.DeadlineExceeded}, temporary, prof, CodeTimeout},
		"wrong certificate":   {exchange{Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}, temporary, prof, CodeTLSFailed},
		"alert":               {exchange{Err: fmt.Errorf("remote error: %w", tls.AlertError(40))}, temporary, prof, CodeTLSFailed},
		"no TLS there":        {exchange{Err: tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}}, temporary, prof, CodeTLSFailed},
		"lost in the middle":  {exchange{Err: lost, Connected: true}, temporary, message, CodeConnectionLost},
		"kept and dead":       {exchange{Err: lost, Connected: true, Reused: true}, temporary, message, transport.CodeStale},
		"slow in the middle":  {exchange{Err: late, Connected: true}, temporary, message, CodeTimeout},
		"kept and slow":       {exchange{Err: late, Connected: true, Reused: true}, temporary, message, CodeTimeout},
		"unreadable":          {exchange{Err: lost, Connected: true, Unreadable: errors.New("no file")}, temporary, message, CodeContentUnavailable},
		"unreadable and kept": {exchange{Err: lost, Connected: true, Reused: true, Unreadable: errors.New("no file")}, temporary, message, CodeContentUnavailable},
		"lost afterwards":     {exchange{Err: lost, Connected: true, Whole: true}, uncertain, message, CodeOutcomeUnknown},
		"kept, lost after":    {exchange{Err: lost, Connected: true, Reused: true, Whole: true}, uncertain, message, CodeOutcomeUnknown},
		"slow afterwards":     {exchange{Err: late, Connected: true, Whole: true}, uncertain, message, CodeOutcomeUnknown},
	} {
		test.x.Now = now
		v := classify(test.x)
		if v.Outcome != test.outcome || v.Scope != test.scope || v.Code != test.code || v.Step == "" || (v.Evidence != "") != (test.outcome == uncertain) {
			t.Errorf("%s: %+v, want %s %s %s", name, v, test.outcome, test.scope, test.code)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	words := func(at string) []byte {
		return refusalBody(429, "userRateLimitExceeded", "User-rate limit exceeded.  Retry after "+at)
	}
	for name, test := range map[string]struct {
		header string
		body   []byte
		want   time.Duration
	}{
		"none":              {"", words("later"), 0},
		"seconds":           {"90", nil, 90 * time.Second},
		"negative":          {"-5", nil, 0},
		"absurd":            {strconv.Itoa(1 << 40), nil, 7 * 24 * time.Hour},
		"date":              {now.Add(time.Hour).Format(http.TimeFormat), nil, time.Hour},
		"date gone by":      {now.Add(-time.Hour).Format(http.TimeFormat), nil, 0},
		"nonsense":          {"soon", nil, 0},
		"words":             {"", words("2026-11-24T10:15:30.250Z (Mail sending)"), 15*time.Minute + 30*time.Second + 250*time.Millisecond},
		"words with a zone": {"", words("2026-11-24T12:00:00+01:00"), time.Hour},
		"words gone by":     {"", words("2026-11-24T09:15:30.250Z"), 0},
		"header and words":  {"60", words("2026-11-24T10:15:30.250Z"), time.Minute},
	} {
		h := http.Header{}
		if test.header != "" {
			h.Set("Retry-After", test.header)
		}
		v := classify(exchange{Status: 429, Header: h, Body: test.body, Whole: true, Now: now})
		if v.RetryAfter != test.want || v.Outcome != temporary || v.Scope != prof {
			t.Errorf("%s: %s, want %s", name, v.RetryAfter, test.want)
		}
	}
}

// Whatever comes, it gets a verdict; nothing but a 2xx is sent, and what may be at Google is never temporary.
func FuzzClassify(f *testing.F) {
	f.Add(403, "30", refusalBody(403, "rateLimitExceeded", "x"), true)
	f.Add(200, "", []byte(`{"id":"1"}`), true)
	f.Add(0, "", []byte(nil), false)
	f.Fuzz(func(t *testing.T, status int, after string, body []byte, whole bool) {
		v := classify(exchange{Status: status, Header: http.Header{"Retry-After": {after}}, Body: body, Whole: whole, Connected: true, Err: io.EOF, Now: now})
		switch {
		case (v.Outcome == sent) != (whole && status/100 == 2), v.Outcome == sent && v.Evidence == "", v.Outcome != sent && v.Code == "",
			v.RetryAfter < 0, len(v.Reply.Text) > 500,
			whole && status/100 != 4 && status/100 != 2 && v.Outcome != uncertain, !whole && v.Outcome == uncertain:
			t.Errorf("%d %q %q whole %v: %+v", status, after, body, whole, v)
		}
	})
}

func TestParseEvidence(t *testing.T) {
	for s, want := range map[string][2]string{
		"gmail message=18c2 thread=18c1": {"18c2", "18c1"},
		"gmail message=18c2":             {"18c2", ""},
	} {
		if m, th, ok := ParseEvidence(s); !ok || m != want[0] || th != want[1] {
			t.Errorf("%s: %s %s %v", s, m, th, ok)
		}
	}
	for _, s := range []string{"", acceptedUnread, "250 2.0.0 queued as 4711", "gmail message=", "gmail message=a b", "gmail message=18c2 thread=", `gmail message=18c2 thread="},{`} {
		if _, _, ok := ParseEvidence(s); ok {
			t.Errorf("%q is evidence", s)
		}
	}
}
