package notify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/winprest/facteur/api"
	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
)

// Codes of an endpoint's URL.
const (
	CodeURLInvalid  = "webhook_url_invalid"
	CodeURLInsecure = "webhook_url_insecure"
)

// CheckURL gives the code of what is wrong with an endpoint's URL; empty: nothing. Where its host leads is checked at every
// connection. insecure permits http; the connection is still checked.
func CheckURL(raw string, insecure bool) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" || strings.ContainsAny(raw, " \t\r\n") {
		return CodeURLInvalid
	}
	switch u.Scheme {
	case "https":
		return ""
	case "http":
		if insecure {
			return ""
		}
		return CodeURLInsecure
	}
	return CodeURLInvalid
}

// Event is an event as it is sent, with its texts in a language.
func Event(lang string, e *store.Event) api.WebhookEvent {
	d := e.Data
	w := api.WebhookEvent{Type: string(e.Type), Timestamp: e.At, Data: api.WebhookEventData{
		ID: e.Subject, Link: link(e.Subject), Name: d.Name, Status: d.Status, SendJobID: d.JobID, SenderProfileID: d.ProfileID, ExternalID: d.ExternalID,
		Attempts: d.Attempts, Recipient: d.Recipient, Counts: d.Counts, NextAttemptAt: optional(d.NextAttemptAt), ExpiresAt: optional(d.ExpiresAt),
	}}
	if d.Code != "" {
		w.Data.Problem = &api.Trouble{Code: d.Code}
		w.Data.Problem.Title, w.Data.Problem.Detail = texts.Lookup(lang, d.Code, d.Params)
	}
	return w
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// paths are where the things that events are about are found, by the prefix of their ids.
var paths = map[string]string{"msg": "/v1/messages/", "job": "/v1/send-jobs/", "prf": "/v1/sender-profiles/", "whe": "/v1/webhook-endpoints/"}

func link(id string) string {
	prefix, _, _ := strings.Cut(id, "_")
	return paths[prefix] + id
}

// Body is the JSON of an event: the same bytes at every try.
func Body(lang string, e *store.Event) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(Event(lang, e))
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

// sign makes the headers of Standard Webhooks: one signature for each secret that is valid at the time.
func sign(e *store.WebhookEndpoint, id string, at time.Time, body []byte) (http.Header, error) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	secrets := []mail.Secret{e.Secret}
	if e.Previous != "" && at.Before(e.PreviousUntil) {
		secrets = append(secrets, e.Previous)
	}
	signatures := make([]string, len(secrets))
	for i, s := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(s), store.WebhookSecretPrefix))
		if err != nil {
			return nil, store.ErrSealed // the error would have a part of the secret
		}
		h := hmac.New(sha256.New, key)
		h.Write([]byte(id + "." + stamp + "."))
		h.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	return http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {stamp}, "Webhook-Signature": {strings.Join(signatures, " ")}}, nil
}
