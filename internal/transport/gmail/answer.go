package gmail

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	api "google.golang.org/api/gmail/v1"
	"google.golang.org/api/googleapi"

	"github.com/winprest/facteur/internal/mail"
)

// answer is what a verdict needs of the body and the header of a refusal.
type answer struct {
	reasons    []string // of errors[] and of google.rpc.ErrorInfo, and the google.rpc.Code; empty: not in Google's words
	text       string
	retryAfter time.Duration
}

// parseAnswer reads a refusal: {"error": {"code", "message", "status", "errors": [{"reason"}], "details": [{"reason"}]}}.
func parseAnswer(x exchange) answer {
	a := answer{retryAfter: retryAfter(x.Header.Get("Retry-After"), x.Now)}
	if x.Status < 400 {
		return a
	}
	var refused *googleapi.Error
	err := googleapi.CheckResponseWithBody(&http.Response{StatusCode: x.Status, Header: x.Header}, x.Body)
	if !errors.As(err, &refused) || refused.Message == "" {
		a.text = mail.ReplyText(http.StatusText(x.Status))
		return a
	}
	a.text = mail.ReplyText(refused.Message)
	for _, e := range refused.Errors {
		if e.Reason != "" {
			a.reasons = append(a.reasons, e.Reason)
		}
	}
	for _, d := range refused.Details {
		if info, ok := d.(map[string]any); ok {
			if reason, _ := info["reason"].(string); reason != "" {
				a.reasons = append(a.reasons, reason)
			}
		}
	}
	var status struct {
		Error struct {
			Status string `json:"status"`
		} `json:"error"`
	}
	if json.Unmarshal(x.Body, &status) == nil && status.Error.Status != "" {
		a.reasons = append(a.reasons, status.Error.Status)
	}
	if m := retryText.FindStringSubmatch(refused.Message); m != nil && a.retryAfter == 0 {
		if at, err := time.Parse(time.RFC3339, m[1]); err == nil {
			a.retryAfter = max(at.Sub(x.Now), 0)
		}
	}
	return a
}

// retryText is how Gmail says until when: "User-rate limit exceeded.  Retry after 2026-11-24T10:15:30.123Z (Mail sending)".
var retryText = regexp.MustCompile(`Retry after (\S+)`)

// retryAfter reads the header field: seconds or a date (RFC 9110 section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(seconds, 0), 7*24*3600)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// Evidence of a mail that Google has: "gmail message=19283ab4c5d6e7f8 thread=19283ab4c5d6e7f8", the ids of users.messages. They
// are those of the account that the profile was connected to then.
const evidencePrefix = "gmail message="

// acceptedUnread is the evidence of a mail that Google has without having said under which ids.
const acceptedUnread = "gmail accepted it with an answer that could not be read"

// evidence makes the evidence of an answer's body.
func evidence(body []byte) string {
	var m api.Message
	if json.Unmarshal(body, &m) != nil {
		return acceptedUnread
	}
	return evidenceOf(&m)
}

func evidenceOf(m *api.Message) string {
	switch {
	case !isID(m.Id):
		return acceptedUnread
	case !isID(m.ThreadId):
		return evidencePrefix + m.Id
	}
	return evidencePrefix + m.Id + " thread=" + m.ThreadId
}

// ParseEvidence takes evidence apart that this driver gave. ok is false for anything else; thread may be empty.
func ParseEvidence(s string) (message, thread string, ok bool) {
	rest, ok := strings.CutPrefix(s, evidencePrefix)
	if !ok {
		return "", "", false
	}
	message, thread, threaded := strings.Cut(rest, " thread=")
	if !isID(message) || threaded && !isID(thread) {
		return "", "", false
	}
	return message, thread, true
}

// isID says whether a string can be one of Google's ids, and can stand anywhere without harm.
func isID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}
