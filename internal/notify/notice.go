package notify

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/outbox"
	"github.com/winprest/facteur/internal/server/texts"
	"github.com/winprest/facteur/internal/store"
)

const (
	noticesAtOnce = 20
	noticeLease   = 5 * time.Minute // after a failure, too: the notice is written again then
)

// writeNotices makes ordinary mails of the notices that are due.
func (e *Engine) writeNotices() error {
	if e.cfg.Outbox == nil || e.stopped() {
		return nil
	}
	notices, err := e.store.ClaimNotices(e.ctx, noticesAtOnce, noticeLease, e.now())
	if err != nil {
		return err
	}
	for i := range notices {
		n := &notices[i]
		queued, err := e.writeNotice(n)
		if err != nil {
			e.log.Error("a notice could not be written; it is tried again", "notice", n.ID, "tenant", n.TenantID, "error", err)
			continue
		}
		if !queued {
			e.log.Warn("a notice cannot be sent: its settings or its sender profile are gone or not fit", "notice", n.ID, "tenant", n.TenantID)
		}
		if err := e.store.EndNotice(e.ctx, n.ID, queued); err != nil {
			return err
		}
	}
	return nil
}

// writeNotice puts the mail of a notice into the outbox, once: a repetition finds its idempotency record. False: it never can.
func (e *Engine) writeNotice(n *store.Notice) (queued bool, err error) {
	settings, err := e.store.NoticeSettings(e.ctx, n.TenantID)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	profile, err := e.store.Profile(e.ctx, n.TenantID, settings.SenderProfileID)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	subject, text := NoticeText(settings.Language, &n.Event)
	draft := &mail.Draft{Language: settings.Language, Subject: subject, Text: text, Automatic: true, Tokens: map[string]string{}}
	for _, t := range mail.BuiltinTokens() { // a job may be called NUMFACT
		draft.Tokens[strings.Trim(t.Name, "{}")] = t.Name
	}
	for _, a := range settings.Addresses {
		draft.To = append(draft.To, mail.Address{Address: a})
	}
	sub := &outbox.Submission{
		TenantID: n.TenantID, Actor: store.ActorNotices, Purpose: outbox.PurposeOneOff, Profile: profile, Items: []outbox.Item{{Draft: draft}},
		Job: store.JobDetail{Name: subject, SenderLevel: profile.Level, SenderReason: "requested"},
		Record: func(*outbox.Receipt) (*store.IdempotencyRecord, error) {
			return &store.IdempotencyRecord{TenantID: n.TenantID, Key: "notice " + n.ID, RequestHash: n.ID, Status: 202, Headers: map[string]string{}}, nil
		},
	}
	_, err = e.cfg.Outbox.Submit(e.ctx, sub)
	var wrong mail.Problems
	switch {
	case errors.Is(err, store.ErrKeyUsed):
		return true, nil
	case errors.As(err, &wrong):
		e.log.Error("a notice does not compose", "notice", n.ID, "error", err)
		return false, nil
	}
	return err == nil, err
}

// NoticeText is what a person is told of an event.
func NoticeText(lang string, e *store.Event) (subject, text string) {
	kind := map[store.EventType]string{
		store.EventJobCompleted: "job_completed", store.EventJobPaused: "job_paused", store.EventJobExpiring: "job_expiring", store.EventJobExpired: "job_expired",
		store.EventProfileNeedsAttention: "profile", store.EventEndpointDisabled: "endpoint",
	}[e.Type]
	name := e.Data.Name
	if name == "" {
		name = e.Subject
	}
	name = strings.NewReplacer("{", "(", "}", ")").Replace(name) // no {REMINDER} of a profile's name
	why := ""
	if e.Data.Code != "" {
		title, detail := texts.Lookup(lang, e.Data.Code, e.Data.Params)
		why = title + "\n" + detail + "\n\n"
	}
	values := []string{
		"name", mail.Shown(name), "why", why, "id", e.Subject, "sent", count(e, "sent"), "failed", count(e, "failed"), "uncertain", count(e, "uncertain"),
		"expires", e.Data.ExpiresAt.UTC().Format("2006-01-02 15:04") + " UTC",
	}
	return texts.Phrase(lang, "notice", kind+"_subject", values...), texts.Phrase(lang, "notice", kind+"_text", values...) + "\n\n" + texts.Word(lang, "notice", "footer")
}

func count(e *store.Event, status string) string { return strconv.Itoa(e.Data.Counts[status]) }
