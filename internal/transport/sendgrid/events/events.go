package events

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// The custom_args that our mails carry. They come back at the top level of each event.
const (
	ArgTenant  = "facteur_tenant"
	ArgMessage = "facteur_message"
)

// wire is what we read of an event; SendGrid sends more, and may add to it.
type wire struct {
	Event          string `json:"event"`
	Email          string `json:"email"`
	Timestamp      int64  `json:"timestamp"`
	ID             string `json:"sg_event_id"`
	MessageID      string `json:"sg_message_id"`
	Type           string `json:"type"` // of a bounce: "bounce" or "blocked"
	Status         string `json:"status"`
	Reason         string `json:"reason"`
	Response       string `json:"response"`
	Classification string `json:"bounce_classification"`
	Tenant         string `json:"facteur_tenant"`
	Message        string `json:"facteur_message"`
}

// kinds maps SendGrid's events. What is not here says nothing of a mail: group_resubscribe, account_status_change.
var kinds = map[string]mail.EventKind{
	"processed":         mail.EventProcessed,
	"delivered":         mail.EventDelivered,
	"deferred":          mail.EventDeferred,
	"bounce":            mail.EventBounced, // both types: the mail did not arrive
	"dropped":           mail.EventDropped, // instead of processed: it is on one of SendGrid's own lists
	"spamreport":        mail.EventComplained,
	"open":              mail.EventOpened,
	"click":             mail.EventClicked,
	"unsubscribe":       mail.EventUnsubscribed,
	"group_unsubscribe": mail.EventUnsubscribed,
}

// ErrMalformed: the body is not a JSON array.
var ErrMalformed = errors.New("events: not a JSON array of events")

// Parse reads a batch. ignored counts the events that cannot be about a mail of ours: without our ids, or of a kind that says nothing. One that is
// damaged does not spoil the others.
func Parse(body []byte, now time.Time) (events []mail.Event, ignored int, err error) {
	var batch []json.RawMessage
	if err := json.Unmarshal(body, &batch); err != nil {
		return nil, 0, ErrMalformed
	}
	events = make([]mail.Event, 0, len(batch))
	for _, doc := range batch {
		var w wire
		var wrongType *json.UnmarshalTypeError // the rest is read all the same
		if err := json.Unmarshal(doc, &w); err != nil && !errors.As(err, &wrongType) {
			ignored++
			continue
		}
		e, ok := w.event(doc, now)
		if !ok {
			ignored++
			continue
		}
		events = append(events, e)
	}
	return events, ignored, nil
}

func (w *wire) event(doc []byte, now time.Time) (mail.Event, bool) {
	kind, ok := kinds[w.Event]
	if !ok || !isID(w.Tenant) || !isID(w.Message) || mail.CheckAddress(w.Email) != "" {
		return mail.Event{}, false
	}
	at := time.Unix(w.Timestamp, 0)
	if w.Timestamp <= 0 || at.After(now.Add(24*time.Hour)) {
		at = now
	}
	e := mail.Event{
		TenantID: w.Tenant, MessageID: w.Message, ID: w.ID, Kind: kind, Address: w.Email, At: at.UnixMicro(),
		Evidence: mail.ReplyText(w.evidence()), Suppress: w.suppress(),
	}
	if !isEventID(e.ID) { // a dropped event may have none; the same event must have the same one again
		sum := sha256.Sum256(doc)
		e.ID = "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return e, true
}

// evidence is what the recipient's server or SendGrid said, else the id under which SendGrid's support finds the mail.
func (w *wire) evidence() string {
	for _, s := range []string{w.Reason, w.Response, w.MessageID} {
		if s != "" {
			return s
		}
	}
	return "SendGrid: " + w.Event
}

// suppress says why the address must have no more mail. A bounce is final only when it says that there is no such mailbox: one
// for a full mailbox, a policy or a bad reputation passes. SendGrid drops what is on its own lists, and says which.
func (w *wire) suppress() mail.SuppressionReason {
	switch {
	case w.Event == "spamreport", w.Event == "dropped" && w.Reason == "Spam Reporting Address":
		return mail.SuppressedComplaint
	case w.Event == "dropped" && w.Reason == "Bounced Address",
		w.Event == "bounce" && w.Type != "blocked" && (mail.NoSuchMailbox(w.Status) || w.Classification == "Invalid Address"):
		return mail.SuppressedBounce
	}
	return ""
}

// isID says whether s can be an id of ours.
func isID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

func isEventID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
