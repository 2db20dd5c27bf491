package transporttest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxSendGridMail is SendGrid's limit for a mail with its attachments, 30 MB.
const maxSendGridMail = 30 << 20

// sendGridRequest is the body of POST /v3/mail/send, as far as Facteur uses it. What it does not use is refused, so that nobody
// is led to believe that it does something.
type sendGridRequest struct {
	Personalizations []struct {
		To         []SendGridAddress `json:"to"`
		CC         []SendGridAddress `json:"cc"`
		BCC        []SendGridAddress `json:"bcc"`
		Headers    map[string]string `json:"headers"`
		CustomArgs map[string]string `json:"custom_args"`
		Subject    string            `json:"subject"`
		SendAt     int64             `json:"send_at"`
	} `json:"personalizations"`
	From        *SendGridAddress  `json:"from"`
	ReplyTo     *SendGridAddress  `json:"reply_to"`
	ReplyToList []SendGridAddress `json:"reply_to_list"`
	Subject     string            `json:"subject"`
	Content     []struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	} `json:"content"`
	Attachments []struct {
		Content     string `json:"content"`
		Type        string `json:"type"`
		Filename    string `json:"filename"`
		Disposition string `json:"disposition"`
		ContentID   string `json:"content_id"`
	} `json:"attachments"`
	Headers      map[string]string `json:"headers"`
	Categories   []string          `json:"categories"`
	CustomArgs   map[string]string `json:"custom_args"`
	SendAt       int64             `json:"send_at"`
	BatchID      string            `json:"batch_id"`
	MailSettings struct {
		SandboxMode struct {
			Enable bool `json:"enable"`
		} `json:"sandbox_mode"`
	} `json:"mail_settings"`
	TrackingSettings struct {
		ClickTracking struct {
			Enable     *bool `json:"enable"`
			EnableText *bool `json:"enable_text"`
		} `json:"click_tracking"`
		OpenTracking struct {
			Enable *bool `json:"enable"`
		} `json:"open_tracking"`
		SubscriptionTracking struct {
			Enable *bool `json:"enable"`
		} `json:"subscription_tracking"`
	} `json:"tracking_settings"`
}

// send is POST /v3/mail/send.
func (s *SendGrid) send(w http.ResponseWriter, r *http.Request) {
	step := s.begin(w, r, "upload", "mail.send")
	if step == nil {
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxSendGridMail+1))
	switch {
	case err != nil:
		panic(http.ErrAbortHandler)
	case len(body) > maxSendGridMail:
		sendGridError(w, http.StatusRequestEntityTooLarge, "", "Payload too large")
		return
	case r.Header.Get("Content-Type") != "application/json":
		sendGridError(w, http.StatusUnsupportedMediaType, "", "Content-Type should be application/json.")
		return
	}
	var q sendGridRequest
	words := json.NewDecoder(bytes.NewReader(body))
	words.DisallowUnknownFields()
	if err := words.Decode(&q); err != nil {
		sendGridError(w, http.StatusBadRequest, "", "Bad Request: "+err.Error())
		return
	}
	m, refusal := s.mail(&q)
	if refusal != nil {
		sendGridError(w, http.StatusBadRequest, refusal.field, refusal.message)
		return
	}
	step.Endpoint, step.MessageID, step.From, step.Sandbox = "send", m.MessageID, m.From.Email, q.MailSettings.SandboxMode.Enable
	m.Key, m.Subuser, m.Size, m.Conn, m.ReceivedAt = step.Key, step.Subuser, len(body), r.RemoteAddr, time.Now()
	if !s.cfg.DiscardData {
		m.Body = body
	}
	action := s.step(step)
	if action.Accept {
		s.accept(m)
	}
	s.pause(r, s.cfg.Delay)
	if s.apply(w, r, action) {
		return
	}
	switch {
	case !s.maySendFrom(step.Subuser, m.From.Email):
		sendGridError(w, http.StatusForbidden, "from", "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved. "+
			"Visit https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ to see the Sender Identity requirements")
	case step.Sandbox:
		w.WriteHeader(http.StatusOK)
	default:
		if !action.Accept {
			s.accept(m)
		}
		w.Header().Set("X-Message-Id", m.ID)
		w.WriteHeader(http.StatusAccepted)
	}
}

type sendGridRefusal struct{ field, message string }

// reservedHeaders cannot be set (https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors#headers-errors).
var reservedHeaders = []string{
	"x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding", "to", "from", "subject", "reply-to", "cc", "bcc",
}

// mail checks a request and makes the mail of it.
func (s *SendGrid) mail(q *sendGridRequest) (*SendGridMail, *sendGridRefusal) {
	refuse := func(field, message string) (*SendGridMail, *sendGridRefusal) {
		return nil, &sendGridRefusal{field, message}
	}
	if len(q.Personalizations) != 1 { // Facteur sends one mail with each call
		return refuse("personalizations", "The personalizations field is required and must have at least one personalization.")
	}
	p := q.Personalizations[0]
	switch {
	case q.From == nil || !isSendGridAddress(q.From.Email):
		return refuse("from.email", "The from email does not contain a valid address.")
	case len(p.To) == 0:
		return refuse("personalizations.0.to", "The to array is required for all personalization objects, and must have at least one email object with a valid email address.")
	case len(p.To)+len(p.CC)+len(p.BCC) > 1000:
		return refuse("personalizations", "There must be no more than 1000 total recipients.")
	case q.Subject == "" && p.Subject == "":
		return refuse("subject", "The subject is required. You can get around this requirement if you use a template with a subject defined or if every personalization has a subject defined.")
	case len(q.Content) == 0:
		return refuse("content", "Unless a valid template_id is provided, the content parameter is required. There must be at least one defined content block.")
	case q.ReplyTo != nil && len(q.ReplyToList) > 0:
		return refuse("reply_to", "The reply_to and reply_to_list parameters cannot be used together.")
	case len(q.Categories) > 10:
		return refuse("categories", "You may have up to ten categories per email.")
	}
	m := &SendGridMail{
		From: *q.From, To: p.To, CC: p.CC, BCC: p.BCC, Subject: q.Subject, ReplyTo: q.ReplyToList, Headers: map[string]string{},
		CustomArgs: map[string]string{}, Categories: q.Categories, SendAt: q.SendAt, BatchID: q.BatchID, ClickTracking: true, OpenTracking: true,
	}
	if p.Subject != "" {
		m.Subject = p.Subject
	}
	if p.SendAt != 0 {
		m.SendAt = p.SendAt
	}
	if q.ReplyTo != nil {
		m.ReplyTo = []SendGridAddress{*q.ReplyTo}
	}
	seen := map[string]bool{}
	for kind, list := range map[string][]SendGridAddress{"to": p.To, "cc": p.CC, "bcc": p.BCC} {
		for _, a := range list {
			if !isSendGridAddress(a.Email) {
				return refuse("personalizations.0."+kind, "Does not contain a valid address.")
			}
			if seen[strings.ToLower(a.Email)] {
				return refuse("personalizations", "Each email address in the personalization block should be unique between to, cc, and bcc. "+
					"We found the first duplicate instance of ["+a.Email+"] in the personalizations.0."+kind+" field.")
			}
			seen[strings.ToLower(a.Email)] = true
		}
	}
	for _, a := range m.ReplyTo {
		if !isSendGridAddress(a.Email) {
			return refuse("reply_to", "The reply_to email does not contain a valid address.")
		}
	}
	if refusal := m.content(q); refusal != nil {
		return nil, refusal
	}
	for i, a := range q.Attachments {
		at := fmt.Sprintf("attachments.%d.", i)
		data, err := base64.StdEncoding.DecodeString(a.Content)
		switch {
		case a.Content == "" || err != nil:
			return refuse(at+"content", "The attachment content must be base64 encoded.")
		case a.Filename == "":
			return refuse(at+"filename", "The filename of the attachment is required.")
		case strings.ContainsAny(a.Type, ";\r\n,"):
			return refuse(at+"type", "The attachment type cannot contain ‘;’, ‘,’, or CRLF.")
		case a.Disposition != "" && a.Disposition != "inline" && a.Disposition != "attachment":
			return refuse(at+"disposition", "The disposition must be inline or attachment.")
		}
		file := SendGridAttachment{Filename: a.Filename, Type: a.Type, Disposition: a.Disposition, ContentID: a.ContentID, Data: data, Size: len(data)}
		if s.cfg.DiscardData {
			file.Data = nil
		}
		m.Attachments = append(m.Attachments, file)
	}
	if refusal := m.headers(q.Headers, p.Headers, q.CustomArgs, p.CustomArgs); refusal != nil {
		return nil, refusal
	}
	if on := q.TrackingSettings.ClickTracking.Enable; on != nil {
		m.ClickTracking = *on
	}
	if on := q.TrackingSettings.OpenTracking.Enable; on != nil {
		m.OpenTracking = *on
	}
	return m, s.checkSchedule(m)
}

func (m *SendGridMail) content(q *sendGridRequest) *sendGridRefusal {
	for i, c := range q.Content {
		switch {
		case c.Value == "":
			return &sendGridRefusal{"content.value", "The content value must be a string at least one character in length."}
		case c.Type == "text/plain" && i == 0:
			m.Text = c.Value
		case c.Type == "text/plain":
			return &sendGridRefusal{"content", "If present, text/plain and text/html may only be provided once, with text/plain first."}
		case c.Type == "text/html" && m.HTML == "":
			m.HTML = c.Value
		default:
			return &sendGridRefusal{"content.type", "The content type is not one that this SendGrid knows: " + c.Type}
		}
	}
	return nil
}

func (m *SendGridMail) headers(headers, ofOne, args, argsOfOne map[string]string) *sendGridRefusal {
	for _, given := range [...]map[string]string{headers, ofOne} {
		for name, value := range given {
			if slices.Contains(reservedHeaders, strings.ToLower(name)) {
				return &sendGridRefusal{"headers", "Header '" + name + "' is reserved and cannot be set."}
			}
			if name == "" || strings.ContainsAny(name+value, "\r\n") || !isASCII(name+value) {
				return &sendGridRefusal{"headers", "Headers must be ASCII strings without line breaks."}
			}
			m.Headers[name] = value
			if strings.EqualFold(name, "Message-ID") {
				m.MessageID = value
			}
		}
	}
	size := 0
	for _, given := range [...]map[string]string{args, argsOfOne} {
		for name, value := range given {
			m.CustomArgs[name] = value
			size += len(name) + len(value)
		}
	}
	if size >= 10_000 {
		return &sendGridRefusal{"custom_args", "The custom_args must be less than 10,000 bytes."}
	}
	return nil
}

func (s *SendGrid) checkSchedule(m *SendGridMail) *sendGridRefusal {
	if m.SendAt != 0 && time.Unix(m.SendAt, 0).After(s.cfg.Now().Add(72*time.Hour)) {
		return &sendGridRefusal{"send_at", "Scheduling more than 72 hours in advance is forbidden."}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.BatchID != "" && s.batches[m.BatchID] == nil {
		return &sendGridRefusal{"batch_id", "The batch_id is invalid."}
	}
	return nil
}

// isSendGridAddress is as strict as needed: ASCII, one @, no spaces.
func isSendGridAddress(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && local != "" && strings.Contains(domain, ".") && !strings.ContainsAny(domain, "@ ") && !strings.Contains(local, " ") && isASCII(s)
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 126 }) < 0
}

// accept takes a mail.
func (s *SendGrid) accept(m *SendGridMail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.ID = rand.Text()[:22]
	s.mails = append(s.mails, m)
	if b := s.batches[m.BatchID]; b != nil {
		b.mails = append(b.mails, m)
		m.Canceled = b.status == "cancel" && s.stoppable(m)
	}
	if !m.Canceled {
		s.count(m, 1)
	}
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// count adds to how often each recipient has the mail. The lock is held.
func (s *SendGrid) count(m *SendGridMail, n int) {
	for _, to := range m.Recipients() {
		s.given[delivery{m.MessageID, to}] += n
	}
}
