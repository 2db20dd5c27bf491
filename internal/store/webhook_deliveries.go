package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// DeliveryStatus is how the delivery of an event to an endpoint stands.
type DeliveryStatus string

// A delivery is pending until the endpoint has taken it or the tries are used up.
const (
	DeliveryPending   DeliveryStatus = "pending"
	DeliveryDelivered DeliveryStatus = "delivered"
	DeliveryFailed    DeliveryStatus = "failed"
)

// Delivery is an event on its way to an endpoint.
type Delivery struct {
	ID, TenantID, EndpointID string
	Event                    Event
	Status                   DeliveryStatus
	Attempts                 int // counted so far; a replay begins anew
	NextAt                   time.Time
	Token                    string // of a claim: it fences the result
	ResponseStatus           int    // of the last try; 0: there was no answer
	Code                     string // why the last try failed
	Excerpt                  string // the beginning of the last answer
	AttemptedAt              time.Time
	CreatedAt                time.Time
}

type webhookDeliveryRow struct {
	ID, TenantID, EndpointID, EventID, Status string
	Attempts                                  int
	NextAt                                    int64
	Token                                     *string
	ResponseStatus                            int
	Code, Excerpt                             string
	AttemptedAt                               int64
	CreatedAt                                 int64 `gorm:"autoCreateTime:false"`
}

func (webhookDeliveryRow) TableName() string { return "webhook_deliveries" }

var skipLocked = clause.Locking{Strength: "NO KEY UPDATE", Options: "SKIP LOCKED"}

func (r *eventRow) event() (*Event, error) {
	e := &Event{ID: r.ID, TenantID: r.TenantID, Type: EventType(r.Type), Subject: r.Subject, At: fromMicros(r.At)}
	if err := json.Unmarshal([]byte(r.Data), &e.Data); err != nil {
		return nil, fmt.Errorf("store: data of %s: %w", r.ID, err)
	}
	return e, nil
}

// FanOut gives at most n new events the deliveries and notices that were asked for, each event once whichever process comes
// first, and says how many events there were.
func (s *Store) FanOut(ctx context.Context, n int, now time.Time) (int, error) {
	var fresh bool
	if err := s.ro.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM events WHERE NOT fanned_out)").Scan(&fresh).Error; err != nil || !fresh {
		return 0, failed("fan out", err)
	}
	done := 0
	err := s.transaction(ctx, func(tx *gorm.DB) error {
		var rows []eventRow
		if err := tx.Clauses(skipLocked).Where("NOT fanned_out").Order("id").Limit(n).Find(&rows).Error; err != nil || len(rows) == 0 {
			return err
		}
		f := fanOut{tx: tx, now: now, endpoints: map[string][]*WebhookEndpoint{}, contacts: map[string]*NoticeSettings{}}
		if err := f.run(rows); err != nil {
			return err
		}
		done = len(rows)
		return nil
	})
	return done, failed("fan out", err)
}

// fanOut is one turn of FanOut.
type fanOut struct {
	tx        *gorm.DB
	now       time.Time
	endpoints map[string][]*WebhookEndpoint // by tenant
	contacts  map[string]*NoticeSettings
}

func (f *fanOut) run(rows []eventRow) error {
	if err := f.readAudience(rows); err != nil {
		return err
	}
	origins, err := f.origins(rows)
	if err != nil {
		return err
	}
	var deliveries []webhookDeliveryRow
	for i := range rows {
		r := &rows[i]
		e, err := r.event()
		if err != nil {
			return err
		}
		if o, ok := origins[e.Subject]; ok && o.TenantID == e.TenantID {
			e.Data.JobID, e.Data.ProfileID, e.Data.ExternalID = o.JobID, o.ProfileID, o.ExternalID
			data, err := json.Marshal(e.Data)
			if err != nil {
				return err
			}
			r.Data = string(data)
		}
		r.FannedOut = true
		for _, to := range f.endpoints[e.TenantID] {
			if len(to.Events) == 0 || slices.Contains(to.Events, e.Type) {
				deliveries = append(deliveries, newDelivery(e, to.ID, f.now))
			}
		}
		if n := f.contacts[e.TenantID]; n != nil {
			if err := addNotice(f.tx, n, e, f.now); err != nil {
				return err
			}
		}
	}
	if len(deliveries) > 0 {
		if err := f.tx.CreateInBatches(deliveries, 500).Error; err != nil {
			return err
		}
	}
	return f.tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.AssignmentColumns([]string{"data", "fanned_out"})}).Create(&rows).Error
}

func newDelivery(e *Event, endpointID string, now time.Time) webhookDeliveryRow {
	return webhookDeliveryRow{
		ID: NewID("whd"), TenantID: e.TenantID, EndpointID: endpointID, EventID: e.ID, Status: string(DeliveryPending), NextAt: micros(now), CreatedAt: micros(now),
	}
}

// readAudience reads whom the tenants of the events want to be told. Their endpoints cannot be deleted meanwhile, and two turns
// do not tell the same person of the same trouble.
func (f *fanOut) readAudience(rows []eventRow) error {
	var tenants []string
	for _, r := range rows {
		if !slices.Contains(tenants, r.TenantID) {
			tenants = append(tenants, r.TenantID)
		}
	}
	var endpoints []endpointRow
	if err := f.tx.Clauses(clause.Locking{Strength: "KEY SHARE"}).Where("tenant_id IN ? AND enabled", tenants).Order("id").Find(&endpoints).Error; err != nil {
		return err
	}
	for i := range endpoints {
		e, err := endpoints[i].endpoint()
		if err != nil {
			return err
		}
		f.endpoints[e.TenantID] = append(f.endpoints[e.TenantID], e)
	}
	var contacts []noticeSettingsRow
	if err := f.tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("tenant_id IN ?", tenants).Order("tenant_id").Find(&contacts).Error; err != nil {
		return err
	}
	for i := range contacts {
		n, err := contacts[i].settings()
		if err != nil {
			return err
		}
		f.contacts[n.TenantID] = n
	}
	return nil
}

// origin is where a message comes from, for those who know it by other ids than ours.
type origin struct{ TenantID, ID, JobID, ProfileID, ExternalID string }

// origins gives those of the events that are about messages, by message.
func (f *fanOut) origins(rows []eventRow) (map[string]origin, error) {
	ids := map[string][]string{}
	for _, r := range rows {
		if len(r.Subject) > 4 && r.Subject[:4] == "msg_" {
			ids[r.TenantID] = append(ids[r.TenantID], r.Subject)
		}
	}
	out := map[string]origin{}
	for tenant, list := range ids {
		var found []origin
		err := f.tx.Raw(`SELECT m.tenant_id, m.id, m.job_id, m.profile_id, coalesce(c.external_id, '') AS external_id FROM messages m
			JOIN message_contents c ON c.tenant_id = m.tenant_id AND c.message_id = m.id WHERE m.tenant_id = ? AND m.id IN ?`, tenant, list).Scan(&found).Error
		if err != nil {
			return nil, err
		}
		for _, o := range found {
			out[o.ID] = o
		}
	}
	return out, nil
}

// TestWebhookEndpoint sends an event of the type EventEndpointTest to an endpoint, as any other. ErrInUse: it is switched off.
func (s *Store) TestWebhookEndpoint(ctx context.Context, tenantID, id string) (*Delivery, error) {
	var d *Delivery
	err := s.transaction(ctx, func(tx *gorm.DB) error {
		to, err := enabledEndpoint(tx, tenantID, id)
		if err != nil {
			return err
		}
		e := &Event{TenantID: tenantID, Type: EventEndpointTest, Subject: id, Data: EventData{Name: to.Description}}
		event, err := e.row()
		if err != nil {
			return err
		}
		event.FannedOut = true
		if err := tx.Create(&event).Error; err != nil {
			return err
		}
		row := newDelivery(e, id, Now())
		d = row.delivery(e)
		return tx.Create(&row).Error
	})
	return d, failed("test webhook endpoint", err)
}

func enabledEndpoint(tx *gorm.DB, tenantID, id string) (*endpointRow, error) {
	var e endpointRow
	if err := tx.Clauses(clause.Locking{Strength: "KEY SHARE"}).Where("tenant_id = ? AND id = ?", tenantID, id).Take(&e).Error; err != nil {
		return nil, err
	}
	if !e.Enabled {
		return nil, ErrInUse
	}
	return &e, nil
}

func (r *webhookDeliveryRow) delivery(e *Event) *Delivery {
	return &Delivery{
		ID: r.ID, TenantID: r.TenantID, EndpointID: r.EndpointID, Event: *e, Status: DeliveryStatus(r.Status), Attempts: r.Attempts, NextAt: fromMicros(r.NextAt),
		ResponseStatus: r.ResponseStatus, Code: r.Code, Excerpt: r.Excerpt, AttemptedAt: fromMicros(r.AttemptedAt), CreatedAt: fromMicros(r.CreatedAt),
	}
}

// deliveries gives rows the events that they carry. A row whose event was swept away is left out.
func deliveries(q *gorm.DB, rows []webhookDeliveryRow) ([]*Delivery, error) {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.EventID
	}
	var events []eventRow
	if err := q.Where("id IN ?", ids).Find(&events).Error; err != nil {
		return nil, err
	}
	byID := make(map[string]*Event, len(events))
	for i := range events {
		e, err := events[i].event()
		if err != nil {
			return nil, err
		}
		byID[e.ID] = e
	}
	out := make([]*Delivery, 0, len(rows))
	for i := range rows {
		if e := byID[rows[i].EventID]; e != nil {
			out = append(out, rows[i].delivery(e))
		}
	}
	return out, nil
}

// ListDeliveries lists an endpoint's deliveries, newest first; status narrows them unless empty.
func (s *Store) ListDeliveries(ctx context.Context, tenantID, endpointID string, status DeliveryStatus, p Page) (*List[*Delivery], error) {
	if _, err := s.WebhookEndpoint(ctx, tenantID, endpointID); err != nil {
		return nil, err
	}
	q := s.ro.WithContext(ctx).Where("tenant_id = ? AND endpoint_id = ?", tenantID, endpointID)
	if status != "" {
		q = q.Where("status = ?", string(status))
	}
	l, err := list(q, p, "id", func(r *webhookDeliveryRow) string { return r.ID }, func(r *webhookDeliveryRow) (webhookDeliveryRow, error) { return *r, nil })
	if err != nil {
		return nil, err
	}
	items, err := deliveries(s.ro.WithContext(ctx), l.Items)
	return &List[*Delivery]{Items: items, Next: l.Next}, failed("deliveries", err)
}

// replayed is what a replay writes: all tries anew, from now.
func replayed(now time.Time) map[string]any {
	return map[string]any{"status": string(DeliveryPending), "attempts": 0, "next_at": micros(now)}
}

// ReplayDelivery sends a delivery again, as the event that it was. One that is being tried just now is left to that. ErrInUse: the endpoint is
// switched off.
func (s *Store) ReplayDelivery(ctx context.Context, tenantID, endpointID, id string) (d *Delivery, err error) {
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		if _, err := enabledEndpoint(tx, tenantID, endpointID); err != nil {
			return err
		}
		mine := tx.Where("tenant_id = ? AND endpoint_id = ? AND id = ?", tenantID, endpointID, id).Session(&gorm.Session{})
		if err := mine.Model(&webhookDeliveryRow{}).Where("token IS NULL").UpdateColumns(replayed(Now())).Error; err != nil {
			return err
		}
		var row webhookDeliveryRow
		if err := mine.Take(&row).Error; err != nil {
			return err
		}
		list, err := deliveries(tx.Session(&gorm.Session{NewDB: true}), []webhookDeliveryRow{row})
		if err == nil && len(list) == 0 {
			err = ErrNotFound
		}
		if err == nil {
			d = list[0]
		}
		return err
	})
	return d, failed("replay", err)
}

// ReplayFailed sends again all that failed of the events since a time, and says how many. ErrInUse as for ReplayDelivery.
func (s *Store) ReplayFailed(ctx context.Context, tenantID, endpointID string, since time.Time) (n int, err error) {
	err = s.transaction(ctx, func(tx *gorm.DB) error {
		if _, err := enabledEndpoint(tx, tenantID, endpointID); err != nil {
			return err
		}
		q := tx.Model(&webhookDeliveryRow{}).Where("tenant_id = ? AND endpoint_id = ? AND status = 'failed' AND created_at >= ?", tenantID, endpointID, micros(since)).
			UpdateColumns(replayed(Now()))
		n = int(q.RowsAffected)
		return q.Error
	})
	return n, failed("replay", err)
}

// SweepEvents forgets what is older than age: deliveries and notices, and the events that nothing refers to any more.
func (s *Store) SweepEvents(ctx context.Context, age time.Duration, now time.Time) error {
	const most = 5000 // in one commit
	// An event outlives its deliveries, whose last try may come days after.
	for _, t := range []struct {
		table, prefix string
		age           time.Duration
	}{{"webhook_deliveries", "whd_", age}, {"notices", "ntc_", age}, {"events", "evt_", age + 7*24*time.Hour}} {
		for {
			q := s.db.WithContext(ctx).Exec(fmt.Sprintf("DELETE FROM %s WHERE id IN (SELECT id FROM %[1]s WHERE id < ? ORDER BY id LIMIT %d)", t.table, most), firstID(t.prefix, now.Add(-t.age)))
			if q.Error != nil {
				return failed("sweep events", q.Error)
			}
			if q.RowsAffected < most {
				break
			}
		}
	}
	return nil
}

// firstID is before every id with the prefix that was made at t or later.
func firstID(prefix string, t time.Time) string {
	var id ulid.ULID
	if err := id.SetTime(ulid.Timestamp(t)); err != nil {
		return prefix
	}
	return prefix + strings.ToLower(id.String())
}
