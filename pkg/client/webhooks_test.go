package client

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/winprest/facteur/api"
)

const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// signed is a webhook as an independent library signs it.
func signed(t testing.TB, body string, at time.Time) http.Header {
	t.Helper()
	wh, err := standardwebhooks.NewWebhook(webhookSecret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := wh.Sign("evt_1", at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	h.Set(standardwebhooks.HeaderWebhookID, "evt_1")
	h.Set(standardwebhooks.HeaderWebhookTimestamp, formatUnix(at))
	h.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return h
}

func formatUnix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

func TestVerifyWebhook(t *testing.T) {
	now := time.Unix(1_795_766_400, 0)
	const body = `{"type":"message.failed","timestamp":"2026-11-23T08:00:02Z","data":{"id":"msg_1","link":"/v1/messages/msg_1","new":true}}`
	for name, c := range map[string]struct {
		change func(http.Header)
		body   string
		secret string
		now    time.Time
		good   bool
	}{
		"as it is":            {good: true},
		"a clock ahead":       {now: now.Add(-4 * time.Minute), good: true},
		"while rotating":      {good: true, change: func(h http.Header) { h.Set("Webhook-Signature", "v1,AAAA "+h.Get("Webhook-Signature")) }},
		"replayed later":      {now: now.Add(6 * time.Minute)},
		"from the future":     {now: now.Add(-6 * time.Minute)},
		"another body":        {body: strings.Replace(body, "failed", "sent", 1)},
		"another secret":      {secret: "whsec_AAAA9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		"another id":          {change: func(h http.Header) { h.Set("Webhook-Id", "evt_2") }},
		"another time":        {change: func(h http.Header) { h.Set("Webhook-Timestamp", formatUnix(now.Add(time.Second))) }},
		"no id":               {change: func(h http.Header) { h.Del("Webhook-Id") }},
		"no time":             {change: func(h http.Header) { h.Del("Webhook-Timestamp") }},
		"a huge time":         {change: func(h http.Header) { h.Set("Webhook-Timestamp", "9223372036854775807") }},
		"no signature":        {change: func(h http.Header) { h.Del("Webhook-Signature") }},
		"an empty signature":  {change: func(h http.Header) { h.Set("Webhook-Signature", "v1,") }},
		"another version":     {change: func(h http.Header) { h.Set("Webhook-Signature", "v2"+h.Get("Webhook-Signature")[2:]) }},
		"half of a signature": {change: func(h http.Header) { h.Set("Webhook-Signature", h.Get("Webhook-Signature")[:20]) }},
	} {
		h := signed(t, body, now)
		if c.change != nil {
			c.change(h)
		}
		if c.body == "" {
			c.body = body
		}
		if c.secret == "" {
			c.secret = webhookSecret
		}
		if c.now.IsZero() {
			c.now = now
		}
		id, e, err := verifyWebhook(c.secret, h, []byte(c.body), c.now)
		if c.good && (err != nil || id != "evt_1" || e.Type != "message.failed" || e.Data.ID != "msg_1") {
			t.Errorf("%s: %q, %+v, %v", name, id, e, err)
		}
		if !c.good && !errors.Is(err, ErrWebhookSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := VerifyWebhook("whsec_?", signed(t, body, time.Now()), []byte(body)); err == nil || errors.Is(err, ErrWebhookSignature) || strings.Contains(err.Error(), "?") {
		t.Errorf("a bad secret: %v", err)
	}
}

// Whatever a stranger sends is refused without harm.
func FuzzVerifyWebhook(f *testing.F) {
	f.Add("evt_1", "1795766400", "v1,AAAA v1,BBBB", []byte("{}"))
	f.Add("", "-1", ",", []byte("null"))
	f.Fuzz(func(t *testing.T, id, stamp, signature string, body []byte) {
		h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {stamp}, "Webhook-Signature": {signature}}
		if _, _, err := verifyWebhook(webhookSecret, h, body, time.Unix(1_795_766_400, 0)); err == nil {
			t.Error("a forged webhook was taken")
		}
	})
}

// An answer with a secret that is lost on its way is not asked for again: a second rotation would end the secret that the receiver has.
func TestSecretsAreAskedForOnce(t *testing.T) {
	var calls atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if calls.Add(1); r.Header.Get("Idempotency-Key") != "" {
			t.Error("an idempotency key")
		}
		panic(http.ErrAbortHandler)
	}))
	defer web.Close()
	c, err := New(web.URL, "key")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.RotateWebhookSecret(t.Context(), "whe_1"); err == nil || calls.Load() != 1 {
		t.Errorf("rotated: %d calls, %v", calls.Load(), err)
	}
	if _, err := c.CreateWebhookEndpoint(t.Context(), api.WebhookEndpointRequest{}); err == nil || calls.Load() != 2 {
		t.Errorf("made: %d calls, %v", calls.Load(), err)
	}
}
