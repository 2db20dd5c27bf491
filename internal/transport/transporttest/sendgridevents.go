package transporttest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"
)

// SendGridEvent is one event of the event webhook (https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event): its
// fields as they stand in the JSON.
type SendGridEvent map[string]any

// Event makes an event of a mail for one of its recipients: "processed", "delivered", "deferred", "bounce", "dropped",
// "spamreport", "open" or "click". It has an id of its own, the mail's custom_args, and what SendGrid adds to such an event. more
// overrides.
func (s *SendGrid) Event(m SendGridMail, recipient, kind string, more SendGridEvent) SendGridEvent {
	e := SendGridEvent{
		"email": recipient, "event": kind, "timestamp": s.cfg.Now().Unix(), "sg_event_id": base64.RawURLEncoding.EncodeToString([]byte(rand.Text())),
		"sg_message_id": m.ID + ".recvd-5f54b5d587-c6pxf-1-65661A00-12.0", "smtp-id": m.MessageID,
	}
	for name, value := range m.CustomArgs {
		e[name] = value
	}
	if len(m.Categories) > 0 {
		e["category"] = m.Categories
	}
	switch kind {
	case "delivered":
		e["response"] = "250 2.0.0 OK 1700000000 abc123"
	case "deferred":
		e["response"], e["attempt"] = "451 4.7.1 Greylisted, try again later", "1"
	case "bounce":
		e["type"], e["status"], e["reason"] = "bounce", "5.1.1", "550 5.1.1 The email account that you tried to reach does not exist"
		e["bounce_classification"] = "Invalid Address"
	case "dropped":
		e["reason"], e["status"] = "Bounced Address", "5.0.0"
	case "open", "click":
		e["useragent"], e["ip"] = "Mozilla/5.0", "192.0.2.7"
		if kind == "click" {
			e["url"] = "https://example.com/"
		}
	}
	maps.Copy(e, more)
	return e
}

// EventKey is the public key of the signatures as SendGrid shows it: DER in base64.
func (s *SendGrid) EventKey() string {
	der, err := x509.MarshalPKIXPublicKey(&s.signing.PublicKey)
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// SignEvents gives the signature of a body at a time, and the timestamp that goes with it
// (https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features).
func (s *SendGrid) SignEvents(body []byte, at time.Time) (signature, timestamp string) {
	timestamp = strconv.FormatInt(at.Unix(), 10)
	sum := sha256.Sum256(append([]byte(timestamp), body...))
	der, err := ecdsa.SignASN1(rand.Reader, s.signing, sum[:])
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(der), timestamp
}

// EventBody is a batch of events as it is posted.
func EventBody(events ...SendGridEvent) []byte {
	if events == nil {
		events = []SendGridEvent{}
	}
	body, err := json.Marshal(events)
	if err != nil {
		panic(err)
	}
	return append(body, '\r', '\n') // SendGrid's ends so, and it is signed
}

// PostEvents posts a signed batch and gives the status of the answer.
func (s *SendGrid) PostEvents(ctx context.Context, url string, events ...SendGridEvent) (int, error) {
	body := EventBody(events...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	signature, timestamp := s.SignEvents(body, s.cfg.Now())
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "SendGrid Event API")
	req.Header.Set("X-Twilio-Email-Event-Webhook-Signature", signature)
	req.Header.Set("X-Twilio-Email-Event-Webhook-Timestamp", timestamp)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
