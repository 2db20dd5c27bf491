package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// StateError refuses an action that the message's state does not allow.
type StateError struct {
	Action string // "cancel", "retry", "resolve"
	Status mail.Status
	Phase  mail.Phase
}

func (e *StateError) Error() string {
	return fmt.Sprintf("outbox: cannot %s a message that is %s", e.Action, e.Status)
}

// ErrDocumentTaken refuses to send a message again: another one brings the same document to the same recipient by now.
var ErrDocumentTaken = errors.New("outbox: another message brings the document by now")

// Ways to resolve an uncertain message.
const (
	ResolveSent   = "sent"   // a person knows that it arrived
	ResolveResend = "resend" // a person knows that it did not, or prefers twice to never; same Message-ID
)

// Cancel stops a message that was not handed over. It is too late (*StateError) once the hand-over began.
func (o *Outbox) Cancel(ctx context.Context, tenantID, actor, messageID string) error {
	return o.act(ctx, tenantID, actor, messageID, "message.cancel", nil, func(m *store.MessageState) error {
		waits := m.Status == mail.StatusQueued || m.Status == mail.StatusDeferred || m.Status == mail.StatusPaused
		claimed := m.Status == mail.StatusSending && m.Phase == mail.PhaseClaimed // the mark will be fenced off
		if !waits && !claimed {
			return &StateError{"cancel", m.Status, m.Phase}
		}
		m.Status = mail.StatusCanceled
		return nil
	})
}

// Retry queues a failed message again, for the recipients that failed. It is ErrDocumentTaken when another message has brought them the
// document since, or will.
func (o *Outbox) Retry(ctx context.Context, tenantID, actor, messageID string) error {
	return o.act(ctx, tenantID, actor, messageID, actionRetry, nil, func(m *store.MessageState) error {
		if m.Status != mail.StatusFailed {
			return &StateError{"retry", m.Status, m.Phase}
		}
		o.requeue(m, mail.RecipientFailed)
		return nil
	})
}

// Resolve settles an uncertain message by a person's word: as sent, or to be sent again. note goes to the audit trail. It is
// ErrDocumentTaken when it was to be sent again and another message has brought the document since, or will.
func (o *Outbox) Resolve(ctx context.Context, tenantID, actor, messageID, as, note string) error {
	detail := map[string]string{"as": as, "note": note}
	return o.act(ctx, tenantID, actor, messageID, actionResolve, detail, func(m *store.MessageState) error {
		if m.Status != mail.StatusUncertain {
			return &StateError{"resolve", m.Status, m.Phase}
		}
		o.resolve(m, as)
		return nil
	})
}

// resolve settles an uncertain message by a person's word.
func (o *Outbox) resolve(m *store.MessageState, as string) {
	if as == ResolveResend {
		o.requeue(m, mail.RecipientUncertain)
		return
	}
	*m = resolvedAsSent(*m, time.Now())
	if m.Status == mail.StatusDeferred {
		o.dueNow(m)
	}
}

// resolvedAsSent takes the uncertain recipients as sent. Those that were still to be tried are tried: the message is
// deferred then, and sent when they are done.
func resolvedAsSent(m store.MessageState, now time.Time) store.MessageState {
	recipients := make([]mail.Recipient, len(m.Recipients))
	m.Status, m.Code, m.SentAt = mail.StatusSent, "", now
	for i, r := range m.Recipients {
		switch r.Status {
		case mail.RecipientUncertain:
			r.Status = mail.RecipientSent
		case mail.RecipientFailed:
			if m.Status == mail.StatusSent {
				m.Code = mail.CodePartlyRefused
			}
		case mail.RecipientPending:
			m.Status, m.SentAt = mail.StatusDeferred, time.Time{}
		}
		recipients[i] = r
	}
	m.Recipients = recipients
	return m
}

func (o *Outbox) requeue(m *store.MessageState, from mail.RecipientStatus) {
	m.Status, m.Code = mail.StatusQueued, ""
	m.Recipients = mail.Requeue(m.Recipients, from)
	o.dueNow(m)
}

// dueNow has the message tried at once, and gives it all the time again that a mail may wait.
func (o *Outbox) dueNow(m *store.MessageState) {
	m.NotBefore, m.ExpiresAt = time.Time{}, time.Now().Add(o.cfg.MaxWait)
}

const (
	actionRetry   = "message.retry"
	actionResolve = "message.resolve"
)

// act changes one message by a person's will, leaves a trace, and wakes a lane when there is something to send.
func (o *Outbox) act(ctx context.Context, tenantID, actor, messageID, action string, detail map[string]string, change func(*store.MessageState) error) error {
	now := time.Now().UTC()
	trail, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	var ring store.Ring
	err = o.store.Write(ctx, func(ctx context.Context, tx *store.Tx) error {
		ring = store.Ring{}
		var before store.MessageState
		err := o.store.ChangeMessage(ctx, tx, tenantID, messageID, now, func(m *store.MessageState) error {
			before = *m
			if err := change(m); err != nil {
				return err
			}
			if m.Status == mail.StatusQueued || m.Status == mail.StatusDeferred {
				ring = store.Ring{ProfileID: m.ProfileID, Messages: 1, Priority: m.Priority}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if action == actionRetry || detail["as"] == ResolveResend {
			erased, err := o.store.ErasedOf(ctx, tx, tenantID, messageID)
			if err != nil {
				return err
			}
			if erased {
				return ErrErased
			}
			taken, err := o.store.DocumentsTaken(ctx, tx, tenantID, messageID, before.Recipients)
			if err != nil {
				return err
			}
			if taken {
				return ErrDocumentTaken
			}
		}
		err = o.store.AppendAudit(ctx, tx, &store.AuditEvent{
			TenantID: tenantID, Actor: actor, Action: action, Subject: messageID, Detail: trail, CreatedAt: now,
		})
		if err != nil || ring.ProfileID == "" {
			return err
		}
		err = o.ringTx(ctx, tx, []store.Ring{ring})
		if errors.Is(err, store.ErrNotFound) { // the profile is gone, not the message
			_, verb, _ := strings.Cut(action, ".")
			return &StateError{verb, before.Status, before.Phase}
		}
		return err
	})
	if err == nil && ring.ProfileID != "" {
		o.kicks.kick(ring.ProfileID, ring.Messages)
	}
	return err
}

// Render makes the exact mail as it was or will be sent.
func (o *Outbox) Render(ctx context.Context, tenantID, messageID string) (*mail.Rendered, error) {
	content, err := o.store.MessageContent(ctx, tenantID, messageID)
	if err != nil {
		return nil, err
	}
	return mail.Render(ctx, content, nil, mail.Envelope{}, o.store.Files(tenantID))
}

// Wake looks at once for what a mended profile has to send.
func (o *Outbox) Wake(ctx context.Context, profileID string) error {
	return o.ring(ctx, []store.Ring{{ProfileID: profileID, Messages: 1, Priority: mail.PriorityBatch}})
}
