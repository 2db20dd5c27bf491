package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"github.com/winprest/facteur/internal/mail"
)

// Events tell a tenant's programs (webhooks) and people (notices) what happened. An event is written in the commit of what it tells,
// so that neither is without the other; what becomes of it is the business of package notify. A tenant with nobody to tell it to
// has no events, and pays for none.

// EventType says what happened.
type EventType string

// The types of events. The subject is the id of the message, send job, sender profile or webhook endpoint.
const (
	EventMessageSent       EventType = "message.sent"
	EventMessageFailed     EventType = "message.failed"
	EventMessageDeferred   EventType = "message.deferred"
	EventMessageUncertain  EventType = "message.uncertain"
	EventMessageDelivered  EventType = "message.delivered"
	EventMessageBounced    EventType = "message.bounced"
	EventMessageComplained EventType = "message.complained"

	EventJobCompleted EventType = "send_job.completed"
	EventJobPaused    EventType = "send_job.paused"
	EventJobExpiring  EventType = "send_job.expiring"
	EventJobExpired   EventType = "send_job.expired"

	EventProfileNeedsAttention EventType = "sender_profile.needs_attention"
	EventProfileRecovered      EventType = "sender_profile.recovered"

	EventEndpointDisabled EventType = "webhook_endpoint.disabled"
	EventEndpointTest     EventType = "webhook_endpoint.test" // to that endpoint alone, whatever its filter
)

// EventTypes are those that an endpoint may ask for.
var EventTypes = []EventType{
	EventMessageSent, EventMessageFailed, EventMessageDeferred, EventMessageUncertain, EventMessageDelivered, EventMessageBounced, EventMessageComplained,
	EventJobCompleted, EventJobPaused, EventJobExpiring, EventJobExpired,
	EventProfileNeedsAttention, EventProfileRecovered, EventEndpointDisabled,
}

// Event is one thing that happened.
type Event struct {
	ID       string // "evt_…"; empty: a new one
	TenantID string
	Type     EventType
	Subject  string    // the id of what it happened to
	At       time.Time // zero: now
	// Data are the facts, for the API: ids, states, codes and times, never a mail's content. See EventData.
	Data EventData
}

// EventData are the facts of an event; those that its type does not have are left out.
type EventData struct {
	Status string `json:"status,omitempty"` // of the message or job after the event
	Code   string `json:"code,omitempty"`   // why; it has texts
	// Params fill the texts of Code.
	Params        map[string]string `json:"params,omitempty"`
	JobID         string            `json:"job_id,omitempty"`      // of a message; filled in by the fan-out
	ExternalID    string            `json:"external_id,omitempty"` // likewise
	ProfileID     string            `json:"profile_id,omitempty"`  // of a message or job; of a message filled in likewise
	Name          string            `json:"name,omitempty"`        // of the job, profile or endpoint
	Attempts      int               `json:"attempts,omitempty"`
	NextAttemptAt time.Time         `json:"next_attempt_at,omitzero"`
	Recipient     string            `json:"recipient,omitempty"` // of a delivery event that is about one of several
	Counts        map[string]int    `json:"counts,omitempty"`    // of a job: messages by status
	ExpiresAt     time.Time         `json:"expires_at,omitzero"`
}

const (
	insertEventsPostgres = `INSERT INTO events (id, tenant_id, type, subject, at, data)
	SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])`
	insertEventSQLite = `INSERT INTO events (id, tenant_id, type, subject, at, data) VALUES (?, ?, ?, ?, ?, ?)`

	// The events of outcomes go before the settling and lock what it will change: an outcome that is fenced off, or written for
	// the second time, has no event.
	outcomeEventsPostgres = `WITH m AS MATERIALIZED (
	SELECT v.event, m.tenant_id, v.type, m.id, v.finished, v.data
	FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[]) AS v (tenant_id, id, token, status, event, type, data, finished)
	JOIN messages m ON m.tenant_id = v.tenant_id AND m.id = v.id
	WHERE m.claim = v.token AND m.status IN ('sending', 'uncertain') AND m.status <> v.status FOR NO KEY UPDATE OF m)
	INSERT INTO events (id, tenant_id, type, subject, at, data) SELECT * FROM m`
	outcomeEventSQLite = `INSERT INTO events (id, tenant_id, type, subject, at, data) SELECT $5, tenant_id, $6, id, $8, $7 FROM messages
	WHERE tenant_id = $1 AND id = $2 AND claim = $3 AND status IN ('sending', 'uncertain') AND status <> $4`
)

// AppendEvents writes events in the transaction of what they tell. Those that nobody of their tenant asked for are left out, and
// cost nothing.
func (s *Store) AppendEvents(ctx context.Context, tx *Tx, events []Event) error {
	rows, err := s.wantedEvents(events, func() (audience, error) {
		a := audience{}
		var r audienceRow
		var wrong error
		err := tx.each(ctx, audienceSQL, audienceSQL, nil, []any{&r.TenantID, &r.Events, &r.Kinds}, func() { wrong = errors.Join(wrong, a.add(r)) })
		return a, failed("audience", errors.Join(err, wrong))
	})
	if err != nil || len(rows) == 0 {
		return err
	}
	if tx.PG == nil {
		for _, r := range rows {
			if _, err := tx.SQL.ExecContext(ctx, insertEventSQLite, r.ID, r.TenantID, r.Type, r.Subject, r.At, r.Data); err != nil {
				return failed("events", err)
			}
		}
		return nil
	}
	cols, at := newColumns(5, len(rows)), make([]int64, len(rows))
	for i, r := range rows {
		cols.add(r.ID, r.TenantID, r.Type, r.Subject, r.Data)
		at[i] = r.At
	}
	_, err = tx.PG.Exec(ctx, insertEventsPostgres, cols[0], cols[1], cols[2], cols[3], at, cols[4])
	return failed("events", err)
}

// appendEvents is AppendEvents for a transaction of the resources.
func (s *Store) appendEvents(tx *gorm.DB, events ...Event) error {
	rows, err := s.wantedEvents(events, func() (audience, error) { return readAudience(tx) })
	if err != nil || len(rows) == 0 {
		return err
	}
	return tx.Create(&rows).Error
}

type eventRow struct {
	ID, TenantID, Type, Subject string
	At                          int64
	Data                        string
	FannedOut                   bool
}

func (eventRow) TableName() string { return "events" }

// wantedEvents are the rows of those events that somebody asked for. read must use the caller's own connection: who holds one
// and waits for another may wait for himself.
func (s *Store) wantedEvents(events []Event, read func() (audience, error)) ([]eventRow, error) {
	audience, err := s.audience.now(read)
	if err != nil || len(audience) == 0 {
		return nil, err
	}
	var rows []eventRow
	for i := range events {
		e := &events[i]
		if !audience.wants(e.TenantID, e.Type) {
			continue
		}
		r, err := e.row()
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (e *Event) row() (eventRow, error) {
	fill("evt", &e.ID, &e.At)
	data, err := json.Marshal(e.Data)
	return eventRow{ID: e.ID, TenantID: e.TenantID, Type: string(e.Type), Subject: e.Subject, At: micros(e.At), Data: string(data)}, err
}

// eventOf is the type of event that a message's new status is; empty: none.
func eventOf(status mail.Status) EventType {
	switch status {
	case mail.StatusSent:
		return EventMessageSent
	case mail.StatusFailed:
		return EventMessageFailed
	case mail.StatusDeferred:
		return EventMessageDeferred
	case mail.StatusUncertain:
		return EventMessageUncertain
	}
	return ""
}

// outcomeEvent is the event of an outcome with what fences it.
type outcomeEvent struct {
	*Settled
	row eventRow
}

// outcomeEvents are the events of those outcomes that somebody asked to be told of.
func (s *Store) outcomeEvents(ctx context.Context, settled []Settled) ([]outcomeEvent, error) {
	if len(settled) == 0 {
		return nil, nil
	}
	audience, err := s.audience.now(func() (audience, error) { return readAudience(s.ro.WithContext(ctx)) })
	if err != nil || len(audience) == 0 {
		return nil, err
	}
	var out []outcomeEvent
	for i := range settled {
		o := &settled[i]
		e := Event{TenantID: o.TenantID, Type: eventOf(o.Status), Subject: o.MessageID, At: o.Ended}
		if e.Type == "" || !audience.wants(e.TenantID, e.Type) {
			continue
		}
		e.Data = EventData{Status: string(o.Status), Code: o.Code, Attempts: o.Attempts}
		if o.Burnt {
			e.Data.Attempts++
		}
		if o.Status == mail.StatusDeferred {
			e.Data.NextAttemptAt = o.NotBefore.UTC().Truncate(time.Microsecond) // as everywhere
		}
		r, err := e.row()
		if err != nil {
			return nil, err
		}
		out = append(out, outcomeEvent{o, r})
	}
	return out, nil
}

func outcomeEventsInPostgres(b *pgx.Batch, events []outcomeEvent) {
	if len(events) == 0 {
		return
	}
	cols, at := newColumns(7, len(events)), make([]int64, len(events))
	for i, e := range events {
		cols.add(e.TenantID, e.MessageID, e.Token, string(e.Status), e.row.ID, e.row.Type, e.row.Data)
		at[i] = e.row.At
	}
	b.Queue(outcomeEventsPostgres, cols[0], cols[1], cols[2], cols[3], cols[4], cols[5], cols[6], at)
}

func (s *Store) outcomeEventsInSQLite(ctx context.Context, tx *Tx, events []outcomeEvent) error {
	for _, e := range events {
		if err := s.exec(ctx, tx, outcomeEventSQLite, e.TenantID, e.MessageID, e.Token, string(e.Status), e.row.ID, e.row.Type, e.row.Data, e.row.At); err != nil {
			return err
		}
	}
	return nil
}

// changeEvent tells that a message is in a new state by something else than a hand-over.
func (s *Store) changeEvent(ctx context.Context, tx *Tx, tenantID, id string, status mail.Status, code string, attempts int, now time.Time) error {
	t := eventOf(status)
	if t == "" {
		return nil
	}
	return s.AppendEvents(ctx, tx, []Event{{
		TenantID: tenantID, Type: t, Subject: id, At: now, Data: EventData{Status: string(status), Code: code, Attempts: attempts},
	}})
}

// LongPauses is how many pauses in a row make a profile need attention: its server has been out of reach for over twenty minutes.
const LongPauses = 6

// troubleEvent tells that a profile needs a person, or needs one no more when code is empty.
func troubleEvent(tenantID, profileID, name, code string) Event {
	e := Event{TenantID: tenantID, Type: EventProfileNeedsAttention, Subject: profileID, Data: EventData{Code: code, Name: name}}
	if code == "" {
		e.Type = EventProfileRecovered
	}
	return e
}

// audienceFor is how long a process may not know of an endpoint or a contact that another process was given.
const audienceFor = 5 * time.Second

// audience is who asked for what: by tenant, the types of events.
type audience map[string]map[EventType]bool

func (a audience) wants(tenantID string, t EventType) bool { return a[tenantID][t] }

// audienceCache keeps the audience of all tenants a short while, because every outcome asks for it and most tenants have none.
type audienceCache struct {
	mu      sync.Mutex
	known   audience
	until   time.Time
	changes int // made by this process
}

func (c *audienceCache) now(read func() (audience, error)) (audience, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := time.Now()
	if asked.Before(c.until) {
		return c.known, nil
	}
	known, err := read()
	if err != nil {
		return nil, err
	}
	c.known, c.until = known, asked.Add(audienceFor)
	return known, nil
}

// forget has the next event look anew: this process has changed the audience.
func (c *audienceCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = time.Time{}
	c.changes++
}

// RefreshAudience reads anew who asked for what, so that no outcome has to wait for it, and says whether anybody did.
func (s *Store) RefreshAudience(ctx context.Context) (anybody bool, err error) {
	c := &s.audience
	c.mu.Lock()
	changes := c.changes
	c.mu.Unlock()
	asked := time.Now()
	known, err := readAudience(s.ro.WithContext(ctx))
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == changes {
		c.known, c.until = known, asked.Add(audienceFor)
	}
	return len(known) > 0, nil
}

const audienceSQL = `SELECT tenant_id, events, '' AS kinds FROM webhook_endpoints WHERE enabled UNION ALL SELECT tenant_id, '', kinds FROM notice_settings`

type audienceRow struct{ TenantID, Events, Kinds string }

func readAudience(q *gorm.DB) (audience, error) {
	var rows []audienceRow
	if err := q.Raw(audienceSQL).Scan(&rows).Error; err != nil {
		return nil, failed("audience", err)
	}
	a := audience{}
	for _, r := range rows {
		if err := a.add(r); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a audience) add(r audienceRow) error {
	types, err := typesOf(r.Events, r.Kinds)
	if err != nil {
		return err
	}
	for _, t := range types {
		if a[r.TenantID] == nil {
			a[r.TenantID] = map[EventType]bool{}
		}
		a[r.TenantID][t] = true
	}
	return nil
}

// typesOf are the types that an endpoint's filter and a contact's kinds ask for; an empty filter is no filter.
func typesOf(events, kinds string) (types []EventType, err error) {
	if events != "" {
		if err := json.Unmarshal([]byte(events), &types); err != nil {
			return nil, fmt.Errorf("store: filter of an endpoint: %w", err)
		}
		if len(types) == 0 {
			types = EventTypes
		}
	}
	if kinds != "" {
		var list []NoticeKind
		if err := json.Unmarshal([]byte(kinds), &list); err != nil {
			return nil, fmt.Errorf("store: kinds of notices: %w", err)
		}
		for _, k := range list {
			types = append(types, noticeTypes[k]...)
		}
	}
	return types, nil
}
