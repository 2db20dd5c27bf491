package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/winprest/facteur/internal/mail"
)

// Events of a provider come in batches of many messages, while the outcomes of some of them are being written. They are taken in
// by a fixed number of statements, and never wait for a message that a lane is writing: what cannot be locked at once is left to
// the caller to try again.

// Intake is what became of a batch of events.
type Intake struct {
	New       int // stored now
	Known     int // stored before
	Foreign   int // about no message of the tenant that was sent that way, or no recipient of it
	Left      []mail.Event
	Uncertain []EventSubject // messages that the events prove to be sent
}

// EventSubject is a message that an event is about.
type EventSubject struct {
	TenantID, MessageID string
	Evidence            string
}

type eventMessage struct {
	tenantID, id, status, delivery string
	recipients                     []mail.Recipient
	events                         []*mail.Event
	known                          map[string]mail.Delivery
}

const (
	// A profile may have another transport by now than when it sent the message. What it is sending, it sends with the present one.
	sentWithPostgres      = `($3::text = '' OR m.status = 'sending' AND p.transport = $3 OR coalesce(m.attempt::json #>> '{detail,transport}', p.transport) = $3)`
	eventMessagesPostgres = `SELECT m.tenant_id, m.id, m.status, m.delivery, m.recipients FROM unnest($1::text[], $2::text[]) AS v (tenant_id, id)
	JOIN messages m ON m.tenant_id = v.tenant_id AND m.id = v.id JOIN sender_profiles p ON p.id = m.profile_id
	WHERE ` + sentWithPostgres + ` FOR UPDATE OF m SKIP LOCKED`
	eventMessageSQLite = `SELECT m.tenant_id, m.id, m.status, m.delivery, m.recipients FROM messages m JOIN sender_profiles p ON p.id = m.profile_id
	WHERE m.tenant_id = $1 AND m.id = $2 AND ($3 = '' OR m.status = 'sending' AND p.transport = $3 OR coalesce(json_extract(m.attempt, '$.detail.transport'), p.transport) = $3)`
	// Those that are there and were not locked are somebody else's at this moment.
	eventMessagesThere = `SELECT m.tenant_id, m.id FROM unnest($1::text[], $2::text[]) AS v (tenant_id, id)
	JOIN messages m ON m.tenant_id = v.tenant_id AND m.id = v.id JOIN sender_profiles p ON p.id = m.profile_id WHERE ` + sentWithPostgres

	knownDeliveriesPostgres = `SELECT d.tenant_id, d.message_id, d.address, d.delivery FROM unnest($1::text[], $2::text[]) AS v (tenant_id, id)
	JOIN deliveries d ON d.tenant_id = v.tenant_id AND d.message_id = v.id`
	knownDeliveriesSQLite = `SELECT tenant_id, message_id, address, delivery FROM deliveries WHERE tenant_id = $1 AND message_id = $2`

	insertReportsPostgres = `INSERT INTO message_events (tenant_id, message_id, id, kind, address, evidence, at, early)
	SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::boolean[])
	ON CONFLICT DO NOTHING RETURNING tenant_id, message_id, id`
	insertReportSQLite = `INSERT INTO message_events (tenant_id, message_id, id, kind, address, evidence, at, early)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`

	putDeliveriesPostgres = `INSERT INTO deliveries (tenant_id, message_id, address, delivery, evidence, at)
	SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])` + putDelivery
	putDeliverySQLite = `INSERT INTO deliveries (tenant_id, message_id, address, delivery, evidence, at) VALUES ($1, $2, $3, $4, $5, $6)` + putDelivery
	putDelivery       = ` ON CONFLICT (tenant_id, message_id, address) DO UPDATE SET delivery = excluded.delivery, evidence = excluded.evidence, at = excluded.at`

	// No index has the column, so the row stays where the indexes find it (HOT).
	setDeliveriesPostgres = `UPDATE messages m SET delivery = v.delivery FROM unnest($1::text[], $2::text[], $3::text[]) AS v (tenant_id, id, delivery)
	WHERE m.tenant_id = v.tenant_id AND m.id = v.id`
	setDeliverySQLite = `UPDATE messages SET delivery = $3 WHERE tenant_id = $1 AND id = $2`
)

type messageKey struct{ tenantID, id string }

// TakeEvents stores events about messages that were sent by the transport, by any when it is empty, and what they say of each recipient; settle is called
// in the same transaction for the uncertain messages that they prove to be sent.
func (s *Store) TakeEvents(ctx context.Context, transport string, events []mail.Event, settle func(context.Context, *Tx, []EventSubject) error) (*Intake, error) {
	var in *Intake
	var suppressed []Suppression
	err := s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		in, suppressed = &Intake{}, nil
		found, err := s.lockForEvents(ctx, tx, transport, events, in)
		if err != nil || len(found) == 0 {
			return err
		}
		fresh, err := s.insertEvents(ctx, tx, found, in)
		if err != nil {
			return err
		}
		if err := s.readDeliveries(ctx, tx, found); err != nil {
			return err
		}
		if err := s.putDeliveries(ctx, tx, found, fresh); err != nil {
			return err
		}
		for _, e := range fresh {
			if e.Suppress != "" {
				suppressed = append(suppressed, Suppression{TenantID: e.TenantID, Address: e.Address, Reason: e.Suppress, Evidence: e.Evidence, MessageID: e.MessageID})
			}
		}
		if _, err := s.suppress(ctx, tx, suppressed); err != nil {
			return err
		}
		for _, m := range found {
			if mail.Status(m.status) == mail.StatusUncertain && len(m.events) > 0 {
				in.Uncertain = append(in.Uncertain, EventSubject{m.tenantID, m.id, m.events[0].Evidence})
			}
		}
		if len(in.Uncertain) == 0 {
			return nil
		}
		return settle(ctx, tx, in.Uncertain)
	})
	if err != nil {
		return nil, failed("take events", err)
	}
	for _, p := range suppressed {
		s.suppressing.forget(p.TenantID)
	}
	return in, nil
}

// lockForEvents finds and locks the messages that the events are about, in the order of their ids.
func (s *Store) lockForEvents(ctx context.Context, tx *Tx, transport string, events []mail.Event, in *Intake) ([]*eventMessage, error) {
	by := map[messageKey][]*mail.Event{}
	for i := range events {
		k := messageKey{events[i].TenantID, events[i].MessageID}
		by[k] = append(by[k], &events[i])
	}
	tenants, ids := keyColumns(by)
	var found []*eventMessage
	var m eventMessage
	var doc []byte
	var bad error
	dest := []any{&m.tenantID, &m.id, &m.status, &m.delivery, &doc}
	take := func() {
		one := m
		if err := json.Unmarshal(doc, &one.recipients); err != nil && bad == nil {
			bad = fmt.Errorf("store: recipients of %s: %w", m.id, err)
		}
		found = append(found, &one)
	}
	if tx.PG != nil {
		if err := tx.each(ctx, eventMessagesPostgres, "", []any{tenants, ids, transport}, dest, take); err != nil {
			return nil, err
		}
		if len(found) < len(by) {
			locked := map[messageKey]bool{}
			for _, m := range found {
				locked[messageKey{m.tenantID, m.id}] = true
			}
			var k messageKey
			err := tx.each(ctx, eventMessagesThere, "", []any{tenants, ids, transport}, []any{&k.tenantID, &k.id}, func() {
				if !locked[k] {
					for _, e := range by[k] {
						in.Left = append(in.Left, *e)
					}
					delete(by, k)
				}
			})
			if err != nil {
				return nil, err
			}
		}
	} else {
		for i := range ids {
			if err := tx.each(ctx, "", eventMessageSQLite, []any{tenants[i], ids[i], transport}, dest, take); err != nil {
				return nil, err
			}
		}
	}
	if bad != nil {
		return nil, bad
	}
	for _, m := range found {
		k := messageKey{m.tenantID, m.id}
		m.known = map[string]mail.Delivery{}
		for _, e := range by[k] {
			e.Address = mail.NormalAddress(e.Address)
			if slices.ContainsFunc(m.recipients, func(r mail.Recipient) bool { return mail.NormalAddress(r.Envelope()) == e.Address }) {
				m.events = append(m.events, e)
			} else {
				in.Foreign++
			}
		}
		delete(by, k)
	}
	for _, nobodys := range by {
		in.Foreign += len(nobodys)
	}
	return found, nil
}

// keyColumns gives the keys in order, as columns.
func keyColumns[V any](by map[messageKey]V) (tenants, ids []string) {
	keys := make([]messageKey, 0, len(by))
	for k := range by {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b messageKey) int {
		return cmp.Or(cmp.Compare(a.tenantID, b.tenantID), cmp.Compare(a.id, b.id))
	})
	for _, k := range keys {
		tenants, ids = append(tenants, k.tenantID), append(ids, k.id)
	}
	return tenants, ids
}

// insertEvents stores the events and gives those that are new.
func (s *Store) insertEvents(ctx context.Context, tx *Tx, found []*eventMessage, in *Intake) (fresh []*mail.Event, err error) {
	type eventKey struct{ tenantID, messageID, id string }
	waiting := map[eventKey]*mail.Event{}
	cols := newColumns(6, 0)
	var at []int64
	var early []bool
	for _, m := range found {
		for _, e := range m.events {
			k := eventKey{e.TenantID, e.MessageID, e.ID}
			if waiting[k] != nil {
				in.Known++
				continue
			}
			waiting[k] = e
			cols.add(e.TenantID, e.MessageID, e.ID, string(e.Kind), e.Address, e.Evidence)
			at, early = append(at, e.At), append(early, mail.Status(m.status) == mail.StatusSending)
		}
	}
	if tx.PG != nil {
		var k eventKey
		err := tx.each(ctx, insertReportsPostgres, "", []any{cols[0], cols[1], cols[2], cols[3], cols[4], cols[5], at, early},
			[]any{&k.tenantID, &k.messageID, &k.id}, func() { fresh = append(fresh, waiting[k]) })
		if err != nil {
			return nil, err
		}
	} else {
		for i := range at {
			isNew, err := tx.one(ctx, "", insertReportSQLite, cols[0][i], cols[1][i], cols[2][i], cols[3][i], cols[4][i], cols[5][i], at[i], early[i])
			if err != nil {
				return nil, err
			}
			if isNew {
				fresh = append(fresh, waiting[eventKey{cols[0][i], cols[1][i], cols[2][i]}])
			}
		}
	}
	in.New = len(fresh)
	in.Known += len(at) - len(fresh)
	return fresh, nil
}

// readDeliveries reads what is known of the messages' recipients.
func (s *Store) readDeliveries(ctx context.Context, tx *Tx, found []*eventMessage) error {
	by := make(map[messageKey]*eventMessage, len(found))
	for _, m := range found {
		by[messageKey{m.tenantID, m.id}] = m
	}
	var k messageKey
	var address, delivery string
	dest := []any{&k.tenantID, &k.id, &address, &delivery}
	take := func() { by[k].known[address] = mail.Delivery(delivery) }
	tenants, ids := keyColumns(by)
	if tx.PG != nil {
		return tx.each(ctx, knownDeliveriesPostgres, "", []any{tenants, ids}, dest, take)
	}
	for i := range ids {
		if err := tx.each(ctx, "", knownDeliveriesSQLite, []any{tenants[i], ids[i]}, dest, take); err != nil {
			return err
		}
	}
	return nil
}

// putDeliveries brings what is known of recipients and messages up to the fresh events.
func (s *Store) putDeliveries(ctx context.Context, tx *Tx, found []*eventMessage, fresh []*mail.Event) error {
	by := make(map[messageKey]*eventMessage, len(found))
	for _, m := range found {
		by[messageKey{m.tenantID, m.id}] = m
	}
	type recipient struct {
		messageKey
		address string
	}
	changed := map[recipient]*mail.Event{}
	for _, e := range fresh {
		k := messageKey{e.TenantID, e.MessageID}
		was := by[k].known[e.Address]
		if now := was.After(e.Kind.Delivery()); now != was && now != mail.DeliveryUnknown {
			by[k].known[e.Address] = now
			changed[recipient{k, e.Address}] = e
		}
	}
	cols := newColumns(5, len(changed))
	at := make([]int64, 0, len(changed))
	touched := map[messageKey]*eventMessage{}
	var told []Event
	for r, e := range changed {
		m := by[r.messageKey]
		cols.add(r.tenantID, r.id, r.address, string(m.known[r.address]), e.Evidence)
		at = append(at, e.At)
		touched[r.messageKey] = m
		told = append(told, Event{TenantID: r.tenantID, Type: eventOfDelivery[m.known[r.address]], Subject: r.id, At: fromMicros(e.At), Data: EventData{Status: m.status, Recipient: r.address}})
	}
	whole := newColumns(3, len(touched))
	tenants, ids := keyColumns(touched)
	for i := range ids {
		m := touched[messageKey{tenants[i], ids[i]}]
		if d := mail.DeliveryOf(m.recipients, m.known); string(d) != m.delivery {
			whole.add(m.tenantID, m.id, string(d))
		}
	}
	if err := s.writeDeliveries(ctx, tx, cols, at, whole); err != nil {
		return err
	}
	return s.AppendEvents(ctx, tx, told)
}

// eventOfDelivery is what is told of a recipient's new state.
var eventOfDelivery = map[mail.Delivery]EventType{
	mail.DeliveryDelivered: EventMessageDelivered, mail.DeliveryBounced: EventMessageBounced, mail.DeliveryComplained: EventMessageComplained,
}

// writeDeliveries writes the states of recipients, then those of whole messages.
func (s *Store) writeDeliveries(ctx context.Context, tx *Tx, cols columns, at []int64, whole columns) error {
	if tx.PG != nil {
		if len(at) > 0 {
			if _, err := tx.PG.Exec(ctx, putDeliveriesPostgres, cols[0], cols[1], cols[2], cols[3], cols[4], at); err != nil {
				return err
			}
		}
		if len(whole[0]) == 0 {
			return nil
		}
		_, err := tx.PG.Exec(ctx, setDeliveriesPostgres, whole[0], whole[1], whole[2])
		return err
	}
	for i := range at {
		if _, err := tx.affect(ctx, "", putDeliverySQLite, cols[0][i], cols[1][i], cols[2][i], cols[3][i], cols[4][i], at[i]); err != nil {
			return err
		}
	}
	for i := range whole[0] {
		if _, err := tx.affect(ctx, "", setDeliverySQLite, whole[0][i], whole[1][i], whole[2][i]); err != nil {
			return err
		}
	}
	return nil
}

const (
	earlyPostgres = earlySQLite + ` FOR UPDATE OF m SKIP LOCKED`
	earlySQLite   = `SELECT e.tenant_id, e.message_id, e.id, e.evidence, m.status FROM message_events e
	JOIN messages m ON m.tenant_id = e.tenant_id AND m.id = e.message_id WHERE e.early AND m.status <> 'sending' LIMIT 1000`
	endEarlyPostgres = `UPDATE message_events e SET early = false FROM unnest($1::text[], $2::text[], $3::text[]) AS v (tenant_id, message_id, id)
	WHERE e.tenant_id = v.tenant_id AND e.message_id = v.message_id AND e.id = v.id`
	endEarlySQLite = `UPDATE message_events SET early = false WHERE tenant_id = $1 AND message_id = $2 AND id = $3`
)

// SettleEarly looks again at events that came before the outcome of the hand-over was known, and calls settle for messages that became uncertain
// since.
func (s *Store) SettleEarly(ctx context.Context, settle func(context.Context, *Tx, []EventSubject) error) error {
	var waits bool
	if err := s.row(ctx, `SELECT EXISTS (SELECT 1 FROM message_events WHERE early)`, nil, &waits); err != nil || !waits {
		return failed("early events", err)
	}
	return failed("early events", s.Write(ctx, func(ctx context.Context, tx *Tx) error {
		cols := newColumns(3, 0)
		proven := map[messageKey]EventSubject{}
		var e EventSubject
		var id, status string
		err := tx.each(ctx, earlyPostgres, earlySQLite, nil, []any{&e.TenantID, &e.MessageID, &id, &e.Evidence, &status}, func() {
			cols.add(e.TenantID, e.MessageID, id)
			if mail.Status(status) == mail.StatusUncertain {
				proven[messageKey{e.TenantID, e.MessageID}] = e
			}
		})
		if err != nil || len(cols[0]) == 0 {
			return err
		}
		if tx.PG != nil {
			_, err = tx.PG.Exec(ctx, endEarlyPostgres, cols[0], cols[1], cols[2])
		} else {
			for i := range cols[0] {
				if _, err = tx.affect(ctx, "", endEarlySQLite, cols[0][i], cols[1][i], cols[2][i]); err != nil {
					break
				}
			}
		}
		if err != nil || len(proven) == 0 {
			return err
		}
		var list []EventSubject
		tenants, ids := keyColumns(proven)
		for i := range ids {
			list = append(list, proven[messageKey{tenants[i], ids[i]}])
		}
		return settle(ctx, tx, list)
	}))
}

// RecipientDelivery is what is known of a mail at one recipient.
type RecipientDelivery struct {
	Delivery mail.Delivery
	Evidence string
	At       time.Time
}

type deliveryRow struct {
	TenantID, MessageID, Address, Delivery, Evidence string
	At                                               int64
}

func (deliveryRow) TableName() string { return "deliveries" }

// Deliveries gives what is known of a message at its recipients, by their mail.NormalAddress; those of whom nothing is known are left out.
func (s *Store) Deliveries(ctx context.Context, tenantID, messageID string) (map[string]RecipientDelivery, error) {
	var rows []deliveryRow
	if err := s.ro.WithContext(ctx).Where("tenant_id = ? AND message_id = ?", tenantID, messageID).Find(&rows).Error; err != nil {
		return nil, failed("deliveries", err)
	}
	known := make(map[string]RecipientDelivery, len(rows))
	for _, r := range rows {
		known[r.Address] = RecipientDelivery{mail.Delivery(r.Delivery), r.Evidence, fromMicros(r.At)}
	}
	return known, nil
}
