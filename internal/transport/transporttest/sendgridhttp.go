package transporttest

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// sendGridScopes are those that Facteur's calls need (https://www.twilio.com/docs/sendgrid/api-reference/api-key-permissions).
var sendGridScopes = []string{
	"mail.send", "mail.batch.create", "mail.batch.read", "sender_verification_eligible", "user.scheduled_sends.create",
	"user.scheduled_sends.delete", "user.scheduled_sends.read", "user.scheduled_sends.update", "whitelabel.create", "whitelabel.read",
	"whitelabel.update", "whitelabel.delete",
}

// begin counts a call, asks the hook and looks at the key; nil: it was answered.
func (s *SendGrid) begin(w http.ResponseWriter, r *http.Request, endpoint, scope string) *SendGridStep {
	step := &SendGridStep{Endpoint: endpoint, Method: r.Method, Subuser: r.Header.Get("On-Behalf-Of")}
	step.Key, _ = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	action := s.step(step)
	if action.Accept && endpoint == "scheduled" {
		step.late = action
	} else if s.apply(w, r, action) {
		return nil
	}
	key, ok := s.key(step.Key)
	switch {
	case !ok:
		sendGridError(w, http.StatusUnauthorized, "", "The provided authorization grant is invalid, expired, or revoked")
	case step.Subuser != "" && !slices.Contains(s.cfg.Subusers, step.Subuser):
		sendGridError(w, http.StatusForbidden, "", "access forbidden")
	case scope != "" && len(key.Scopes) > 0 && !slices.Contains(key.Scopes, scope):
		sendGridError(w, http.StatusForbidden, "", "access forbidden")
	default:
		return step
	}
	return nil
}

func (s *SendGrid) step(step *SendGridStep) SendGridAction {
	s.mu.Lock()
	s.calls[step.Endpoint]++
	step.N = s.calls[step.Endpoint]
	hook := s.hook
	s.mu.Unlock()
	if hook == nil {
		return SendGridAction{}
	}
	return hook(*step)
}

// apply does what a hook wants; it says whether the request is done with.
func (s *SendGrid) apply(w http.ResponseWriter, r *http.Request, a SendGridAction) bool {
	s.pause(r, a.Delay)
	switch {
	case a.Hang:
		select {
		case <-r.Context().Done():
		case <-s.done:
		}
		panic(http.ErrAbortHandler)
	case a.Raw != "":
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			io.WriteString(c, a.Raw) //nolint:errcheck // the connection ends anyway
			c.Close()
		}
		return true
	case a.Drop:
		panic(http.ErrAbortHandler)
	}
	for name, value := range a.Header {
		w.Header().Set(name, value)
	}
	switch {
	case a.Body != "":
		if a.Status == 0 {
			a.Status = http.StatusOK
		}
		w.WriteHeader(a.Status)
		io.WriteString(w, a.Body) //nolint:errcheck // the client's loss
	case a.Status != 0:
		sendGridError(w, a.Status, a.Field, a.Message)
	default:
		return false
	}
	return true
}

// pause waits, as long as there is somebody to wait for.
func (s *SendGrid) pause(r *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return
	case <-r.Context().Done():
	case <-s.done:
	}
	panic(http.ErrAbortHandler)
}

// sendGridError is an error of SendGrid (https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors).
func sendGridError(w http.ResponseWriter, status int, field, message string) {
	if message == "" {
		message = http.StatusText(status)
	}
	detail := map[string]any{"message": message, "field": nil, "help": nil}
	if field != "" {
		detail["field"] = field
	}
	answer(w, status, map[string]any{"errors": []any{detail}})
}

// readJSON reads a small body; false: it was answered.
func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(into); err != nil {
		sendGridError(w, http.StatusBadRequest, "", "Bad Request")
		return false
	}
	return true
}

// scopes is GET /v3/scopes.
func (s *SendGrid) scopes(w http.ResponseWriter, r *http.Request) {
	step := s.begin(w, r, "scopes", "")
	if step == nil {
		return
	}
	key, _ := s.key(step.Key)
	list := key.Scopes
	if len(list) == 0 {
		list = sendGridScopes
	}
	answer(w, http.StatusOK, map[string]any{"scopes": list})
}
