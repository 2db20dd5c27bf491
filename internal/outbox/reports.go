package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/winprest/facteur/internal/mail"
	"github.com/winprest/facteur/internal/store"
)

// ActorEvents is who acts, in the audit trail, when a provider's event proves that an uncertain message was sent.
const ActorEvents = "events"

// ErrBusy: some of the messages that events are about are being written just now, again and again. What could be taken is taken; the same
// events may be given again.
var ErrBusy = errors.New("outbox: some messages are busy")

// EventCounts says what became of a batch of events.
type EventCounts struct {
	New, Known, Foreign int
	Proven              int // uncertain messages that are sent now
}

const (
	takeAtOnce = 250 // events of one transaction: SQLite has one writer, and mail waits for it
	takeTries  = 8
)

// TakeEvents stores what a provider reports of mails that were sent with its transport, in any order and any number of times. An
// event proves that the mail was handed over: an uncertain message is sent then. Nothing else moves a message's status.
func (o *Outbox) TakeEvents(ctx context.Context, transport string, events []mail.Event) (n EventCounts, err error) {
	for wait := 5 * time.Millisecond; len(events) > 0; {
		part := events[:min(takeAtOnce, len(events))]
		rings := []store.Ring(nil)
		in, err := o.store.TakeEvents(ctx, transport, part, func(ctx context.Context, tx *store.Tx, proven []store.EventSubject) (err error) {
			rings, err = o.settleProven(ctx, tx, proven)
			return err
		})
		if err != nil {
			return n, err
		}
		o.kickAll(rings)
		n.New, n.Known, n.Foreign, n.Proven = n.New+in.New, n.Known+in.Known, n.Foreign+in.Foreign, n.Proven+len(in.Uncertain)
		events = append(in.Left, events[len(part):]...)
		if len(in.Left) < len(part) {
			continue
		}
		if wait *= 2; wait > 5*time.Millisecond<<takeTries {
			return n, ErrBusy
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
	return n, nil
}

// settleEarly takes events into account that were faster than the outcome of the hand-over.
func (o *Outbox) settleEarly(ctx context.Context) error {
	var rings []store.Ring
	err := o.store.SettleEarly(ctx, func(ctx context.Context, tx *store.Tx, proven []store.EventSubject) (err error) {
		rings, err = o.settleProven(ctx, tx, proven)
		return err
	})
	if err == nil {
		o.kickAll(rings)
	}
	return err
}

func (o *Outbox) kickAll(rings []store.Ring) {
	for _, r := range rings {
		o.kicks.kick(r.ProfileID, r.Messages)
	}
}

// settleProven settles uncertain messages as sent, by the same rules as a person's word.
func (o *Outbox) settleProven(ctx context.Context, tx *store.Tx, proven []store.EventSubject) (rings []store.Ring, err error) {
	now := time.Now().UTC()
	for _, p := range proven {
		settled := false
		err := o.store.ChangeMessage(ctx, tx, p.TenantID, p.MessageID, now, func(m *store.MessageState) error {
			if settled = m.Status == mail.StatusUncertain; !settled {
				return errOvertaken
			}
			*m = resolvedAsSent(*m, now)
			if m.Status != mail.StatusSent {
				rings = append(rings, store.Ring{ProfileID: m.ProfileID, Messages: 1, Priority: m.Priority})
			}
			return nil
		})
		if errors.Is(err, errOvertaken) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := o.store.KeepEvidence(ctx, tx, p.TenantID, p.MessageID, p.Evidence); err != nil {
			return nil, err
		}
		trail, err := json.Marshal(map[string]string{"as": ResolveSent, "evidence": p.Evidence})
		if err != nil {
			return nil, err
		}
		err = o.store.AppendAudit(ctx, tx, &store.AuditEvent{
			TenantID: p.TenantID, Actor: ActorEvents, Action: "message.resolve", Subject: p.MessageID, Detail: trail, CreatedAt: now,
		})
		if err != nil {
			return nil, err
		}
	}
	if len(rings) == 0 {
		return nil, nil
	}
	return rings, o.ringTx(ctx, tx, mergeRings(rings))
}
